//! `layerlint why`

use super::console::Busy;
use super::state::{Edit, live_state};
use super::{BuildArgs, CliError, Console, Exit, Format};
use crate::key::change::{Comparison, Note};
use crate::key::saved::State;
use crate::report::why::{Why, human, json};
use crate::source::shown;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  layerlint why --since HEAD~1 .              what the last commit makes a build do again\n  layerlint why --touch src/main.rs           what editing this file would\n  layerlint why --set-arg MARKET=eu           what another build argument would\n  layerlint why --against ../other-checkout   between two directories\n  layerlint keys --save before.json; …; layerlint why --baseline before.json",
    group(clap::ArgGroup::new("first side").required(true).multiple(true)
        .args(["since", "baseline", "against", "touch", "set_arg", "before"]))
)]
pub(super) struct Args {
    /// The first side is a git revision; it is read from the object store, nothing is checked out
    #[arg(long, value_name = "REV", conflicts_with_all = ["baseline", "against", "before"])]
    since: Option<String>,
    /// The first side is a state saved with `layerlint keys --save`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["against", "before"])]
    baseline: Option<PathBuf>,
    /// The first side is another context directory
    #[arg(long, value_name = "DIR", conflicts_with = "before")]
    against: Option<PathBuf>,
    /// Suppose that this file of the context is edited
    #[arg(long, value_name = "PATH")]
    touch: Vec<String>,
    /// Suppose that this build argument is given
    #[arg(long, value_name = "NAME=VALUE")]
    set_arg: Vec<String>,
    /// Compare two saved states: the first
    #[arg(long, value_name = "FILE", requires = "after")]
    before: Option<PathBuf>,
    /// Compare two saved states: the second
    #[arg(long, value_name = "FILE", requires = "before", conflicts_with_all = ["touch", "set_arg"])]
    after: Option<PathBuf>,
    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// Name all files that changed
    #[arg(long)]
    files: bool,
    #[command(flatten)]
    build: BuildArgs,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let mut notes = Vec::new();
    let busy = Busy::with("reading both sides");
    let (before, after, since) = sides(args, &mut notes)?;
    drop(busy);
    let mut comparison = Comparison::new(&before, &after);
    comparison.notes.append(&mut notes);
    let why = Why { after: &after, comparison: &comparison, since, all_files: args.files };
    match args.format {
        Format::Human => human(&mut console.out, &why)?,
        Format::Json => json(&mut console.out, &why)?,
    }
    Ok(Exit::Clean)
}

fn sides(args: &Args, notes: &mut Vec<Note>) -> Result<(State, State, String), CliError> {
    if let (Some(before), Some(after)) = (&args.before, &args.after) {
        let since = format!("{} to {}", shown(before), shown(after));
        return Ok((read_state(before)?, read_state(after)?, since));
    }
    let supposed = Edit { touch: args.touch.clone(), set_args: pairs(&args.set_arg)? };
    let after = live_state(&args.build, None, &supposed, notes)?;
    let none = Edit::default();
    if let Some(path) = &args.baseline {
        return Ok((read_state(path)?, after, format!("since {}", shown(path))));
    }
    if let Some(dir) = &args.against {
        let before = live_state(&args.build, Some(dir), &none, &mut Vec::new())?;
        return Ok((before, after, format!("against {}", shown(dir))));
    }
    if let Some(revision) = &args.since {
        let (before, commit) = super::state::state_at(&args.build, revision, notes)?;
        return Ok((before, after, format!("since {revision} ({commit})")));
    }
    let before = live_state(&args.build, None, &none, &mut Vec::new())?;
    let words: Vec<String> = args
        .touch
        .iter()
        .map(|t| format!("{t} is edited"))
        .chain(args.set_arg.iter().map(|a| format!("{} is given", a.split('=').next().unwrap_or(a))))
        .collect();
    Ok((before, after, format!("if {}", words.join(" and "))))
}

fn pairs(texts: &[String]) -> Result<Vec<(String, String)>, CliError> {
    texts
        .iter()
        .map(|t| match t.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(CliError::failed(format!("`--set-arg {t}` has not the form NAME=VALUE"))),
        })
        .collect()
}

pub(super) fn read_state(path: &Path) -> Result<State, CliError> {
    let bytes = std::fs::read(path).map_err(|e| {
        CliError::failed(format!("cannot read {}: {}", shown(path), crate::source::reason(&e)))
    })?;
    State::from_json(&bytes).map_err(|e| {
        CliError::failed_with_help(
            format!("{}: {e}", shown(path)),
            "write one with `layerlint keys --save FILE`",
        )
    })
}
