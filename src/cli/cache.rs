//! `layerlint cache`

use super::build::Planned;
use super::console::Busy;
use super::place::in_registry;
use super::{BuildArgs, CliError, Console, Exit};
use crate::evidence::EvidenceError;
use crate::evidence::audit::{Verdict, audit};
use crate::evidence::cache::ExportedCache;
use crate::evidence::prediction::predict;
use crate::evidence::store::Store;
use crate::key::plan::Detail;
use crate::report::cache::{Answers, human, json};
use crate::report::keys::Preview;
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Will this exported cache hit, and does it hold what its keys promise?\n\n\
        Every step of the build is looked for in the cache the way BuildKit does, and the cause of each miss is \
        named. Then the layers behind COPY and ADD are read and compared with the files that their keys stand for: \
        BuildKit never does that, so a cache with exchanged layers is served as CACHED.\n\n\
        Nothing is unpacked to disk or run. Only with `--resolve` anything is fetched: a cache that is named by \
        its reference in a registry, its layers where they are compared, and what is to be known of base images.",
    after_help = "Examples:\n  \
        layerlint cache ./cache                           a folder of --cache-to type=local,dest=./cache\n  \
        layerlint cache app.tar --target runtime .        an image with inline cache, from docker save or type=oci\n  \
        layerlint cache ./cache --image rust:1.90=rust.oci   certain also below FROM rust:1.90\n  \
        layerlint cache ./cache --ref main --format json  one of several manifests, for a program\n  \
        layerlint cache registry.example/app:cache --resolve   a cache of --cache-to type=registry or inline\n\n\
        HIT      taken from the cache, or not needed because what uses it is\n\
        MISS     runs\n\
        UNKNOWN  depends on something that is not here, such as the digest of a base image\n\n\
        Exit code 1 says that a layer does not hold what its key promises, 2 that the cache cannot be read or must \
        not be used; a miss alone is no failure."
)]
pub(super) struct Args {
    /// The cache: a folder of `--cache-to type=local`, an OCI layout, an archive of an image with inline cache or, with
    /// `--resolve`, a reference in a registry
    #[arg(value_name = "CACHE", help_heading = "Arguments")]
    cache: PathBuf,
    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// Do not read the layers: neither whether they are there nor what they hold
    #[arg(long)]
    no_verify: bool,
    /// The manifest to look into, by name or digest [default: `latest`, else all]
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<String>,
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
    build.warn_of_platforms(&mut console.err)?;
    let busy = Busy::with("reading the cache");
    let store = match in_registry(&args.cache, &args.build, "cache")? {
        Some(store) => store,
        None => Store::open(&args.cache).map_err(failed)?,
    };
    let cache = ExportedCache::of_store(store, args.reference.as_deref(), !args.no_verify);
    let cache = cache.map_err(failed)?;
    build.planned(
        None,
        Detail::Files,
        |_, _| Ok(()),
        |planned| {
            let &Planned { model, graph, contexts, plan } = planned;
            let target = model.graph.target.and_then(|t| graph.outputs.get(t).copied().flatten().flatten());
            let mut predictions = predict(&cache, graph, plan, target, !args.no_verify);
            let (audits, errors) = match args.no_verify {
                true => (Vec::new(), Vec::new()),
                false => audit(&cache, graph, plan, contexts, &mut predictions),
            };
            drop(busy);
            let ignore = contexts.main.as_ref().and_then(|c| c.ignore.as_ref());
            let preview = Preview {
                file: &build.file,
                model,
                graph,
                plan,
                ignore_file: ignore.map(|i| i.file.name.clone()),
                all_files: false,
            };
            let answers =
                Answers { preview: &preview, cache: &cache, predictions: &predictions, audits: &audits };
            match args.format {
                Format::Human => human(&mut console.out, &answers)?,
                Format::Json => json(&mut console.out, &answers)?,
            }
            if !errors.is_empty() {
                console.out.flush()?;
                for error in &errors {
                    writeln!(console.err, "\x1b[31;1merror\x1b[0m: {error}")?;
                }
                return Ok(Exit::Failed);
            }
            let differs = audits.iter().any(|a| matches!(a.verdict, Verdict::Differs(_)));
            Ok(if differs { Exit::Findings } else { Exit::Clean })
        },
    )
}

fn failed(error: EvidenceError) -> CliError {
    let error = match error {
        EvidenceError::Registry(error) => return error.into(),
        other => other,
    };
    let message = error.to_string();
    match error {
        EvidenceError::Reference { known, .. } => {
            CliError::failed_with_help(message, format!("there is: {}", known.join(", ")))
        }
        EvidenceError::Kind { .. } => CliError::failed_with_help(
            message,
            "give a folder of `--cache-to type=local,dest=DIR`, or an image built with `--cache-to type=inline`",
        ),
        _ => CliError::failed(message),
    }
}
