//! Which configuration counts: the one that is named, none, or the nearest of each Dockerfile.

use super::CliError;
use crate::config::{Config, ConfigError, Finder};
use crate::rule::Date;
use crate::source::shown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Options of every command that reads the configuration.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration file [default: layerlint.toml, .layerlint.toml or Cargo.toml's metadata, in the folder of the
    /// Dockerfile or above]
    #[arg(long, value_name = "FILE", conflicts_with = "no_config")]
    config: Option<PathBuf>,
    /// Read no configuration file
    #[arg(long)]
    no_config: bool,
}

/// Where configurations come from in this run.
pub(super) enum Configs {
    None,
    Named(Arc<Config>),
    Nearest(Finder),
}

impl ConfigArgs {
    pub(super) fn open(&self) -> Result<Configs, CliError> {
        match &self.config {
            Some(path) if !path.exists() => {
                Err(CliError::failed(format!("there is no configuration file `{}`", shown(path))))
            }
            Some(path) => Ok(Configs::Named(Arc::new(Config::read(path).map_err(failed)?))),
            None if self.no_config => Ok(Configs::None),
            None => Ok(Configs::Nearest(Finder::default())),
        }
    }
}

impl Configs {
    /// The configuration for what lies in a folder.
    pub(super) fn of(&mut self, folder: &Path) -> Result<Option<Arc<Config>>, CliError> {
        match self {
            Configs::None => Ok(None),
            Configs::Named(config) => Ok(Some(config.clone())),
            Configs::Nearest(finder) => finder.find(folder).map_err(failed),
        }
    }
}

fn failed(error: ConfigError) -> CliError {
    let files = error.file().into_iter().collect();
    CliError::Problems { problems: vec![error.problem()], files }
}

/// The day on which comments expire is that of the machine, in UTC.
pub(super) fn today() -> Option<Date> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Date::from_days(now.as_secs() / (24 * 60 * 60)))
}
