//! `layerlint context`

use super::{BuildArgs, CliError, Console, Exit};
use std::io::Write;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  layerlint context              what is sent, what is left out and why\n  layerlint context --format json app"
)]
pub(super) struct Args {
    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    #[command(flatten)]
    build: BuildArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person
    Human,
    /// For a program
    Json,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let build = args.build.load()?;
    writeln!(console.out, "{}: {} instructions", build.file.name, build.document.instructions.len())?;
    Ok(Exit::Clean)
}
