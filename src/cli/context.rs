//! `layerlint context`

use super::build::{asked_dockerfile, check_context};
use super::console::Busy;
use super::{BuildArgs, CliError, Console, Exit};
use crate::context::ContextIndex;
use crate::finding::Problem;
use crate::report::{ContextFormat, write_context};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  layerlint context              what is sent, what is left out and why\n  layerlint context --format json app\n  layerlint context --format make   prerequisites: `image: $(shell layerlint context --format make)`"
)]
pub(super) struct Args {
    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// List every path, not only sums and examples
    #[arg(long)]
    files: bool,
    #[command(flatten)]
    build: BuildArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person
    Human,
    /// For a program
    Json,
    /// The files as prerequisites of a make rule
    Make,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let invocation = args.build.invocation()?;
    check_context(&invocation.context)?;
    let dockerfile = asked_dockerfile(&invocation)?;
    let refused =
        |error: &_| CliError::Problems { problems: vec![Problem::context(error)], files: Vec::new() };
    let busy = Busy::with("walking the build context");
    let index =
        ContextIndex::open(&invocation.context, dockerfile.as_deref()).map_err(|error| refused(&error))?;
    if let Some(problem) = index.problem() {
        return Err(refused(problem));
    }
    drop(busy);
    let format = match args.format {
        Format::Human => ContextFormat::Human { files: args.files },
        Format::Json => ContextFormat::Json,
        Format::Make => ContextFormat::Make,
    };
    write_context(&mut console.out, &index, format)?;
    Ok(Exit::Clean)
}
