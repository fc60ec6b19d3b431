//! `layerlint graph`

use super::{BuildArgs, CliError, Console, Exit};
use crate::report::graph;
use crate::stage::StageGraph;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  layerlint graph                    the stages as text\n  layerlint graph --target runtime   which of them this target needs\n  layerlint graph --format dot | dot -Tsvg -o stages.svg\n  layerlint graph --format mermaid   a picture for a Markdown file"
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
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let build = args.build.load()?;
    let stages = StageGraph::new(&build.document, &build.invocation);
    let out = &mut console.out;
    match args.format {
        Format::Human => graph::human(out, &stages, &build.file)?,
        Format::Json => graph::json(out, &stages, &build.file)?,
        Format::Dot => graph::dot(out, &stages)?,
        Format::Mermaid => graph::mermaid(out, &stages)?,
    }
    build.accept(&stages)?;
    Ok(Exit::Clean)
}
