//! `layerlint keys`

use super::{BuildArgs, CliError, Console, Exit};
use crate::build::lower::BuildGraph;
use crate::build::model::BuildModel;
use crate::key::plan::{Contexts, Detail, KeyPlan};
use crate::key::saved::State;
use crate::report::keys::{Preview, human, json};
use crate::stage::StageGraph;
use std::path::Path;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  layerlint keys                                        the build in this directory\n  layerlint keys -f app/Dockerfile --target runtime .   a stage of another Dockerfile\n  layerlint keys --image rust:1.90=rust.oci .           exact also below FROM rust:1.90\n  layerlint keys --build-arg MARKET=us --format json    for a program\n\nA key that is marked `~` is not exact: the list at the end says what would have to be known.\nExit code 1 says that the build would fail, 4 that BuildKit would refuse the Dockerfile."
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person
    Human,
    /// For a program
    Json,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let build = args.build.load()?;
    let images = build.images()?;
    let stages = StageGraph::new(&build.document, &build.invocation);
    build.accept(&stages)?;
    let model = BuildModel::new(&stages, &build.invocation, &images);
    let graph = BuildGraph::new(&model, &images);
    build.accept_model(&model, &graph)?;
    let contexts = Contexts::open(&graph, &build.invocation.context, build.dockerfile().as_deref())
        .map_err(|e| build.context_error(&e))?;
    let detail = if args.save.is_some() { Detail::Entries } else { Detail::Files };
    let plan = KeyPlan::with_detail(&graph, &contexts, detail);
    let ignore = contexts.main.as_ref().and_then(|c| c.ignore.as_ref());
    let preview = Preview {
        file: &build.file,
        model: &model,
        graph: &graph,
        plan: &plan,
        ignore_file: ignore.map(|i| i.file.name.clone()),
        all_files: args.files,
    };
    match args.format {
        Format::Human => human(&mut console.out, &preview)?,
        Format::Json => json(&mut console.out, &preview)?,
    }
    if let Some(path) = &args.save {
        let state = State::new(&build.file.name, &model, &graph, &plan);
        let bytes = state.to_json().map_err(std::io::Error::from)?;
        // Whole or not at all: the file appears when everything is in it.
        write_whole(path, &bytes).map_err(|e| {
            let reason = crate::source::reason(&e);
            CliError::failed(format!("cannot write `{}`: {reason}", crate::source::shown(path)))
        })?;
    }
    // A step whose key cannot be computed is a step at which the build fails.
    let fails = plan.steps.iter().any(|s| s.error.is_some());
    Ok(if fails { Exit::Findings } else { Exit::Clean })
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = Path::new(&name);
    let written = std::fs::write(part, bytes).and_then(|()| std::fs::rename(part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(part);
    }
    written
}
