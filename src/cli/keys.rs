//! `layerlint keys`

use super::build::Planned;
use super::console::Busy;
use super::{BuildArgs, CliError, Console, Exit, Format};
use crate::key::plan::Detail;
use crate::key::saved::State;
use crate::report::keys::{Preview, human, json};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  layerlint keys                                        the build in this directory\n  layerlint keys -f app/Dockerfile --target runtime .   a stage of another Dockerfile\n  layerlint keys --image rust:1.90=rust.oci .           exact also below FROM rust:1.90\n  layerlint keys --resolve .                            the same, asked of the registries\n  layerlint keys --build-arg MARKET=us --format json    for a program\n\nA key that is marked `~` is not exact: the list at the end says what would have to be known.\nExit code 1 says that the build would fail, 4 that BuildKit would refuse the Dockerfile."
)]
pub(super) struct Args {
    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// Also save what everything is keyed by, to compare with `layerlint why --baseline`; values are saved as digests
    #[arg(long, value_name = "FILE")]
    save: Option<std::path::PathBuf>,
    /// List all files that feed an instruction, not only the heaviest
    #[arg(long)]
    files: bool,
    #[command(flatten)]
    build: BuildArgs,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let build = args.build.load()?;
    let detail = if args.save.is_some() { Detail::Entries } else { Detail::Files };
    build.warn_of_platforms(&mut console.err)?;
    let busy = Busy::with("reading the build context");
    build.planned(
        None,
        detail,
        |_, _| Ok(()),
        |planned| {
            drop(busy);
            let &Planned { model, graph, contexts, plan } = planned;
            let ignore = contexts.main.as_ref().and_then(|c| c.ignore.as_ref());
            let preview = Preview {
                file: &build.file,
                model,
                graph,
                plan,
                ignore_file: ignore.map(|i| i.file.name.clone()),
                all_files: args.files,
            };
            match args.format {
                Format::Human => human(&mut console.out, &preview)?,
                Format::Json => json(&mut console.out, &preview)?,
            }
            if let Some(path) = &args.save {
                let state = State::new(&build.file.name, model, graph, plan);
                let bytes = state.to_json().map_err(std::io::Error::from)?;
                // Whole or not at all: the file appears when everything is in it.
                crate::source::write_whole(path, &bytes).map_err(|e| {
                    let reason = crate::source::reason(&e);
                    CliError::failed(format!("cannot write `{}`: {reason}", crate::source::shown(path)))
                })?;
            }
            // A step whose key cannot be computed is a step at which the build fails.
            let fails = plan.steps.iter().any(|s| s.error.is_some());
            Ok(if fails { Exit::Findings } else { Exit::Clean })
        },
    )
}
