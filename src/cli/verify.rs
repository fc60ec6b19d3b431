//! `layerlint verify`

use super::console::Busy;
use super::place::{in_engine, in_registry};
use super::{BuildArgs, CliError, Console, Exit};
use crate::context::{ContextError, ContextIndex, find_past, path_bytes};
use crate::evidence::EvidenceError;
use crate::evidence::expected::{ByHandError, Expected, base_of, by_hand, expect};
use crate::evidence::explain::{explain, explain_past, past_contents};
use crate::evidence::image::{StoredImage, StoredImages};
use crate::evidence::store::Store;
use crate::evidence::tree::{ImageTree, Limits};
use crate::evidence::verify::{Instructions, Verification, Verifying};
use crate::finding::Problem;
use crate::invoke::platform::Platform;
use crate::key::plan::Contexts;
use crate::report::verify::{Verdict, Verified, github, human, json, markdown, sarif};
use crate::source::{reason, shown};
use crate::stage::StageGraph;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Does the image hold the files of this source tree?\n\n\
        From the Dockerfile it is known which file of the context must be where in the image, through all stages. \
        The layers are read and compared with these files, by content; times and sizes mean nothing. Nothing is \
        unpacked to disk or run. Only with `--resolve` anything is fetched: an image that is named by its reference \
        in a registry, and what is to be known of base images.",
    after_help = "Examples:\n  \
        docker save app | layerlint verify - .           what `docker build -t app .` made\n  \
        docker buildx build --output type=oci,dest=- . | layerlint verify - .\n  \
        layerlint verify docker://app .                  the same, asked of the engine behind its socket\n  \
        layerlint verify registry.example/app:1.4 . --resolve   what was pushed\n  \
        layerlint verify app.tar --target runtime --build-arg MARKET=eu .\n  \
        layerlint verify app.tar --diff .                 with the lines that differ\n  \
        layerlint verify app.tar --root /app=src          without a Dockerfile: /app of the image is src\n\n\
        Exit code 0: faithful. 1: the image holds something else. 2: undecided, or the image cannot be read.\n\
        A file that a RUN rewrites or removes counts as different, since the image does not hold it; with\n\
        `--accept-run` it counts as meant."
)]
pub(super) struct Args {
    /// The image: an archive of `docker save`, `type=docker` or `type=oci`, an OCI layout folder, `-`, docker://NAME for
    /// an image of a running engine or, with `--resolve`, a reference in a registry
    #[arg(value_name = "IMAGE", help_heading = "Arguments")]
    stored: PathBuf,
    /// How to show it [default: human; github in GitHub Actions]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where IMAGE_PATH comes from in the context; the Dockerfile is not looked at
    #[arg(long = "root", value_name = "IMAGE_PATH=FOLDER", value_parser = root)]
    roots: Vec<(String, String)>,
    /// What a RUN rewrites or removes counts as meant
    #[arg(long)]
    accept_run: bool,
    /// Also append a table in Markdown to this file, such as $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Which image, where there are several: by name or digest
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<String>,
    /// Find the commit that the image was made of, among those since REV
    #[arg(long, value_name = "REV", value_delimiter = ',')]
    since: Vec<String>,
    /// Show the lines that differ
    #[arg(long)]
    diff: bool,
    /// How much a layer may unpack to, such as 64G [default: 200 times its size]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_layer: Option<u64>,
    #[command(flatten)]
    build: BuildArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person
    Human,
    /// For a program
    Json,
    /// Annotations in GitHub Actions
    Github,
    /// A table for the summary of a job
    Markdown,
    /// Static analysis results, for code scanning
    Sarif,
}

fn root(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((image, source)) if image.starts_with('/') => Ok((image.to_owned(), source.to_owned())),
        _ => Err("it has the form /PATH/IN/IMAGE=FOLDER".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("a size is a number with B, K, M, G or T behind it".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a size is a number with B, K, M, G or T behind it")?;
    number.checked_mul(1 << shift).filter(|n| *n > 0).ok_or_else(|| "this is no useful size".to_owned())
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let invocation = args.build.invocation()?;
    super::build::check_context(&invocation.context)?;
    let platforms: Result<Vec<Platform>, _> =
        invocation.platforms.iter().map(|p| Platform::parse(p)).collect();
    let platforms = platforms.map_err(|e| CliError::failed(e.to_string()))?;
    let busy = Busy::with("reading the image");
    let mut images = open(args)?;
    images.select(&platforms).map_err(|e| failed(e, args))?;
    let mut verified = Verified::new(args.stored.display().to_string(), shown(&invocation.context));
    verified.accept_run = args.accept_run;
    for text in &images.passed_over {
        verified.note(text.clone());
    }
    if args.roots.is_empty() {
        by_dockerfile(args, &images, &busy, &mut verified)?;
    } else {
        by_roots(args, &images, &busy, &mut verified)?;
    }
    drop(busy);
    let in_actions = std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true");
    match args.format.unwrap_or(if in_actions { Format::Github } else { Format::Human }) {
        Format::Human => human(&mut console.out, &verified)?,
        Format::Json => json(&mut console.out, &verified)?,
        Format::Github => github(&mut console.out, &verified, &context_prefix(&invocation.context))?,
        Format::Markdown => markdown(&mut console.out, &verified)?,
        Format::Sarif => sarif(&mut console.out, &verified, &context_prefix(&invocation.context))?,
    }
    if let Some(path) = &args.summary {
        let write = || {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            let mut out = std::io::BufWriter::new(file);
            markdown(&mut out, &verified)?;
            out.flush()
        };
        let failed = |e| CliError::failed(format!("cannot write `{}`: {}", shown(path), reason(&e)));
        write().map_err(failed)?;
    }
    Ok(match verified.verdict() {
        Verdict::Faithful => Exit::Clean,
        Verdict::Differs => Exit::Findings,
        Verdict::Undecided => Exit::Failed,
    })
}

/// Finds the image: on the disk, in a pipe, in an engine or in a registry.
fn open(args: &Args) -> Result<StoredImages, CliError> {
    let (path, reference, limit) = (&args.stored, args.reference.as_deref(), args.max_layer);
    let store = if path == Path::new("-") {
        let store = Store::from_stream("standard input", std::io::stdin().lock(), limit);
        Some(store.map_err(|e| failed(e, args))?)
    } else if let Some(store) = in_engine(path, limit)? {
        Some(store)
    } else {
        in_registry(path, &args.build, "verify")?
    };
    let images = match store {
        Some(store) => StoredImages::of_store(store, reference),
        None => StoredImages::open(path, reference, limit),
    };
    images.map_err(|e| failed(e, args))
}

fn layers(
    args: &Args,
    images: &StoredImages,
    image: &StoredImage,
    busy: &Busy,
) -> Result<ImageTree, CliError> {
    let limits = Limits { layer: args.max_layer, ..Limits::default() };
    let count = image.layers.len();
    let tree = ImageTree::read(images, image, &limits, |done| {
        busy.now(format!("reading layers of {}: {done} of {count}", image.platform));
    });
    tree.map_err(|e| failed(e, args))
}

fn by_dockerfile(
    args: &Args,
    images: &StoredImages,
    busy: &Busy,
    verified: &mut Verified,
) -> Result<(), CliError> {
    let mut build = args.build.load().map_err(|error| match error {
        CliError::Failed { message, help: Some(help) }
            if message.starts_with("cannot read the Dockerfile") =>
        {
            CliError::failed_with_help(
                message,
                format!("{help}, or say what is where with `--root /app=src`"),
            )
        }
        error => error,
    })?;
    verified.dockerfile = Some(build.file.clone());
    let mut context: Option<ContextIndex> = None;
    for image in &images.images {
        build.invocation.platforms = vec![image.platform.to_string()];
        let mut bases = build.given_images()?;
        if let Some((reference, base)) = base_of(&StageGraph::new(&build.document, &build.invocation), image)
            && bases.get(&reference, &image.platform).is_none()
        {
            bases.insert_for(&reference, &image.platform, base);
        }
        // Little of what is compared depends on base images.
        if let Err(error) = build.resolve(&mut bases) {
            verified.note(error.to_string());
        }
        let tree = layers(args, images, image, busy)?;
        busy.now("comparing".to_owned());
        context = build.lowered(&bases, context.take(), |model, graph, mut contexts| {
            let target = model.graph.target.unwrap_or_default();
            let output = graph.outputs.get(target).copied().flatten().flatten();
            let mut expected =
                output.map_or_else(Expected::default, |id| expect(model, graph, &contexts, id));
            forget_own(args, &mut expected);
            let instructions = Instructions::new(model, target, image);
            let build = Some((model, graph));
            let verifying =
                Verifying { build, expected: &expected, tree: &tree, instructions: &instructions };
            let mut verification = verifying.verify();
            busy.now("looking for causes".to_owned());
            let diffs = explain(&mut verification, images, image, &tree, &contexts, args.diff);
            look_back(args, &mut verification, verified)?;
            verified.add(image, Some(model), &verification, &diffs);
            Ok(contexts.main.take())
        })?;
    }
    Ok(())
}

fn by_roots(
    args: &Args,
    images: &StoredImages,
    busy: &Busy,
    verified: &mut Verified,
) -> Result<(), CliError> {
    let invocation = args.build.invocation()?;
    let problem =
        |e: &ContextError| CliError::Problems { problems: vec![Problem::context(e)], files: Vec::new() };
    let context = ContextIndex::open(&invocation.context, None).map_err(|e| problem(&e))?;
    let contexts = Contexts { main: Some(context), ..Contexts::default() };
    let expected =
        contexts.main.as_ref().map_or_else(|| Ok(Expected::default()), |c| by_hand(c, &args.roots));
    let mut expected = expected.map_err(|error| match error {
        ByHandError::Nothing(_) => CliError::failed(error.to_string()),
        ByHandError::Context(error) => problem(&error),
    })?;
    forget_own(args, &mut expected);
    for image in &images.images {
        let tree = layers(args, images, image, busy)?;
        let instructions = Instructions::default();
        let verifying =
            Verifying { build: None, expected: &expected, tree: &tree, instructions: &instructions };
        let mut verification = verifying.verify();
        let diffs = explain(&mut verification, images, image, &tree, &contexts, args.diff);
        look_back(args, &mut verification, verified)?;
        verified.add(image, None, &verification, &diffs);
    }
    Ok(())
}

/// The image itself may lie in the context, and so may what is told about it: neither was there when it was built.
fn forget_own(args: &Args, expected: &mut Expected) {
    let invocation = args.build.invocation().ok();
    let Some(context) = invocation.and_then(|i| i.context.canonicalize().ok()) else { return };
    for path in [Some(&args.stored), args.summary.as_ref()].into_iter().flatten() {
        if let Ok(path) = path.canonicalize()
            && let Ok(inside) = path.strip_prefix(&context)
            && !inside.as_os_str().is_empty()
        {
            expected.forget(&path_bytes(inside));
        }
    }
}

/// Looks for the commit that the image was made of.
fn look_back(args: &Args, verification: &mut Verification, verified: &mut Verified) -> Result<(), CliError> {
    let wanted = past_contents(verification);
    if args.since.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let root = args.build.invocation()?.context;
    let past = find_past(&root, &args.since, &wanted).map_err(|e| super::state::revision_error(&e))?;
    let Some(past) = past else {
        verified.note("no commit that was looked at has the files of the image");
        return Ok(());
    };
    explain_past(verification, &past);
    let commit = past.commit.get(..12).unwrap_or(&past.commit);
    let what = match past.all {
        true => "all that is different is".to_owned(),
        false => format!("{} of {} that are different are", past.paths.len(), wanted.len()),
    };
    verified.note(format!("{what} as in commit {commit} ({})", past.title));
    Ok(())
}

/// What leads from the root of the repository to the context, where GitHub says where that is.
fn context_prefix(context: &Path) -> String {
    let prefix = || {
        let workspace = PathBuf::from(std::env::var_os("GITHUB_WORKSPACE")?).canonicalize().ok()?;
        let context = context.canonicalize().ok()?;
        let below = shown(context.strip_prefix(workspace).ok()?);
        Some(if below.is_empty() || below == "." { String::new() } else { format!("{below}/") })
    };
    prefix().unwrap_or_default()
}

fn failed(error: EvidenceError, args: &Args) -> CliError {
    let error = match error {
        EvidenceError::Registry(error) => return error.into(),
        other => other,
    };
    let message = error.to_string();
    match error {
        EvidenceError::Reference { known, .. } | EvidenceError::Platform { known, .. } => {
            CliError::failed_with_help(message, format!("there is: {}", known.join(", ")))
        }
        EvidenceError::Several { known, .. } => {
            CliError::failed_with_help(message, format!("choose one with `--ref NAME`: {}", known.join(", ")))
        }
        EvidenceError::NoImage { .. } => CliError::failed_with_help(
            message,
            "give an archive of `docker save` or `docker buildx build --output type=oci,dest=FILE`, or an OCI layout",
        ),
        EvidenceError::TooLarge { what: "what it unpacks to", .. } if args.max_layer.is_none() => {
            CliError::failed_with_help(message, "if it is yours, `--max-layer SIZE` allows more")
        }
        _ => CliError::failed(message),
    }
}
