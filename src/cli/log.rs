//! `layerlint log`

use super::console::Busy;
use super::{Build, BuildArgs, CliError, Console, Exit};
use crate::build::lower::{BuildGraph, Op};
use crate::build::model::{Action, BuildModel};
use crate::cargo::timeline::{Timeline, follow, mentions_cargo};
use crate::cargo::workspace::{Sources as Manifests, Workspace};
use crate::context::ContextIndex;
use crate::evidence::log::BuildLog;
use crate::finding::{Finding, Severity};
use crate::invoke::Invocation;
use crate::key::change::Comparison;
use crate::key::plan::Detail;
use crate::key::saved::State;
use crate::report::log::{Told, human, json};
use crate::report::{self, Human, Report, Sources};
use crate::reuse::agreement::{self, Compared, Listed};
use crate::reuse::outline::Outline;
use crate::reuse::{Places, Reading, cost, place, proof};
use crate::source::{Span, reason, shown};
use crate::stage::{AUTOMATIC_ARGS, StageGraph};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "What did that build really reuse, and does it agree with the keys?\n\n\
        Reads what a build printed: BuildKit's progress as text (`--progress=plain`, as CI systems show it) or as JSON \
        (`--progress=rawjson`). Every step is shown with what became of it and the line of its instruction, if the \
        Dockerfile is at hand: given as for `docker buildx build`, or lying in this directory or beside the log.\n\n\
        With `--baseline` or `--since`, the state that the builder had built before, it says what the keys expect, and \
        finds steps that were CACHED although their files changed. The directory has to be as it was when the log was \
        made.",
    after_help = "Examples:\n  \
        layerlint log build.log                               what was reused, and what the log proves\n  \
        docker buildx build --progress=rawjson . 2>&1 | layerlint log -\n  \
        layerlint log build.log -f app/Dockerfile .           with lines of this Dockerfile\n  \
        layerlint log build.log --since HEAD~1 .              was it right to reuse that?\n  \
        layerlint log build.log --baseline last.json .        since `layerlint keys --save last.json`\n  \
        layerlint log build.log --build-arg COMMIT=$SHA .     was that commit built?\n\n\
        Findings: cached-although-changed, context-not-sent, placeholder-shipped, changed-source-not-compiled, \
        commit-mismatch (errors); rebuilt-without-change, old-package-lists (info).\n\n\
        Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 usage or unreadable input, 3 no progress of BuildKit \
        in the log."
)]
pub(super) struct Args {
    /// The log; `-` reads standard input
    #[arg(value_name = "LOG", help_heading = "Arguments")]
    log: PathBuf,
    /// The builder had built a state saved with `layerlint keys --save`
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    baseline: Option<PathBuf>,
    /// The builder had built this git revision; it is read from the object store, nothing is checked out
    #[arg(long, value_name = "REV")]
    since: Option<String>,
    /// How to show it [default: human; github in GitHub Actions]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Exit with 1 from this severity on
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    fail_on: Threshold,
    #[command(flatten)]
    build: BuildArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person
    Human,
    /// The findings alone, one line each
    Concise,
    /// For a program
    Json,
    /// The findings alone, as annotations of GitHub Actions
    Github,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Threshold {
    Error,
    Warning,
    Info,
    Never,
}

/// What of a Dockerfile counts for a log.
struct Known {
    build: Build,
    outlines: Vec<Outline>,
    timeline: Timeline,
    /// Names of build arguments.
    declared: Vec<String>,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let stdin = args.log == Path::new("-");
    if stdin && args.build.invocation()?.dockerfile.as_deref() == Some(Path::new("-")) {
        return Err(CliError::failed("standard input cannot be both the log and the Dockerfile"));
    }
    let in_actions = || std::env::var("GITHUB_ACTIONS").is_ok_and(|v| v == "true");
    let format = args.format.unwrap_or_else(|| if in_actions() { Format::Github } else { Format::Human });
    let busy = Busy::with("reading the log");
    let log = read(&args.log)?;
    drop(busy);
    let name = if stdin { "<stdin>".to_owned() } else { shown(&args.log) };
    let mut notes = log.notes.clone();
    if log.is_empty() && format != Format::Json {
        writeln!(console.err, "{}", nothing(&log, &name))?;
        return Ok(Exit::Nothing);
    }
    if log.is_empty() {
        notes.push(nothing(&log, &name));
    }
    let known = dockerfile(args, &log)?;
    let outlines: &[Outline] = known.as_ref().map_or(&[], |k| &k.outlines);
    let mut reading = place::place(&log, outlines);
    let excerpt = Arc::new(log.excerpt(&name));
    let span = |line: u64| {
        let line = u32::try_from(line).ok()?;
        let (start, end) = (excerpt.index.line_start(line)?, excerpt.index.line_start(line + 1)?);
        (start + 1 < end).then(|| Span { start, end: end - 1 })
    };
    let places = Places {
        log: &name,
        dockerfile: known.as_ref().map(|k| k.build.file.name.as_str()),
        outlines,
        span: &span,
    };
    let given = args.build.invocation()?.build_args;
    let timeline = known.as_ref().map(|k| &k.timeline);
    let mut findings = proof::findings(&mut reading, &places, timeline, &given);
    let mut since = None;
    if args.baseline.is_some() || args.since.is_some() {
        let known = known.as_ref().ok_or_else(|| {
            CliError::failed_with_help(
                "there is no Dockerfile to compare the log with",
                "give the build context and the Dockerfile as for `docker buildx build`",
            )
        })?;
        let busy = Busy::with("comparing two states");
        since = Some(compare(args, known, &mut reading, &places, &mut findings, &mut notes)?);
        drop(busy);
    }
    for build in &reading.builds {
        if build.logged.headless {
            notes.push(format!(
                "the log begins in the middle of the build that is in line {}",
                build.logged.line
            ));
        }
    }
    let sources = Sources::new([excerpt.clone()]);
    if let Some(known) = &known {
        sources.add(known.build.file.clone());
    }
    let costs = cost::costs(&reading, outlines);
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let told = Told {
        log: &log,
        reading: &reading,
        costs: &costs,
        places: &places,
        since: since.as_deref(),
        findings: &findings,
        notes: &notes,
    };
    match format {
        Format::Json => json(&mut console.out, &told, &sources)?,
        Format::Human => {
            let drawn = Human::new(console.color, console.terminal && console.color);
            human(&mut console.out, &told, &drawn, &sources)?;
        }
        Format::Concise | Format::Github => {}
    }
    let (empty, exit) = (log.is_empty(), exit(args, &findings));
    let report = Report { findings, files: reading.builds.len(), ..Report::default() };
    match format {
        Format::Concise => report.write(&mut console.out, &report::Format::Concise, &sources)?,
        Format::Github => {
            let prefix = super::check::below("GITHUB_WORKSPACE");
            report.write(&mut console.out, &report::Format::Github { prefix }, &sources)?;
        }
        Format::Human | Format::Json => {}
    }
    console.out.flush()?;
    if format != Format::Json {
        for note in &notes {
            writeln!(console.err, "note: {note}")?;
        }
    }
    Ok(if empty { Exit::Nothing } else { exit })
}

fn exit(args: &Args, findings: &[Finding]) -> Exit {
    let threshold = match args.fail_on {
        Threshold::Error => Severity::Error,
        Threshold::Warning => Severity::Warning,
        Threshold::Info => Severity::Info,
        Threshold::Never => return Exit::Clean,
    };
    if findings.iter().any(|f| f.severity >= threshold) { Exit::Findings } else { Exit::Clean }
}

fn read(path: &Path) -> Result<BuildLog, CliError> {
    let failed = |e: &std::io::Error| {
        let name = if path == Path::new("-") { "standard input".to_owned() } else { shown(path) };
        CliError::failed(format!("cannot read {name}: {}", reason(e)))
    };
    let keep = &proof::is_telling;
    if path == Path::new("-") {
        return BuildLog::read(std::io::stdin().lock(), keep).map_err(|e| failed(&e));
    }
    let file = std::fs::File::open(path).map_err(|e| failed(&e))?;
    BuildLog::read(file, keep).map_err(|e| failed(&e))
}

fn nothing(log: &BuildLog, name: &str) -> String {
    match log.classic {
        true => format!(
            "{name} is a log of the classic builder: it has no steps of BuildKit. Build with `DOCKER_BUILDKIT=1`"
        ),
        false => format!(
            "{name} has no progress of BuildKit: write one with `docker buildx build --progress=plain`"
        ),
    }
}

/// The Dockerfile that the log is of: the one that is given, else one that lies at hand and has its steps.
fn dockerfile(args: &Args, log: &BuildLog) -> Result<Option<Known>, CliError> {
    // What the log says of its own command line counts where nothing else is said.
    let shown: Vec<(String, String)> =
        log.builds.iter().filter_map(|b| b.command.as_ref()).flat_map(|c| c.build_args.clone()).collect();
    let complete = |mut invocation: Invocation| {
        for pair in shown.iter().rev() {
            if invocation.build_arg(&pair.0).is_none() {
                invocation.build_args.insert(0, pair.clone());
            }
        }
        invocation
    };
    if args.build.says_where() || args.baseline.is_some() || args.since.is_some() {
        let mut build = args.build.load()?;
        build.invocation = complete(build.invocation);
        return informed(build, log).map(Some);
    }
    let beside = args.log.parent().filter(|p| !p.as_os_str().is_empty() && *p != Path::new("."));
    for folder in std::iter::once(Path::new(".")).chain(beside) {
        let mut invocation = complete(args.build.invocation()?);
        invocation.context = folder.to_path_buf();
        invocation.dockerfile = Some(folder.join("Dockerfile"));
        if folder == Path::new(".") {
            invocation.dockerfile = Some(PathBuf::from("Dockerfile"));
        }
        // Nobody asked for these: one that cannot be read or built is none.
        let found = args.build.load_as(invocation).and_then(|build| informed(build, log));
        let Ok(known) = found else { continue };
        let reading = place::place(log, &known.outlines);
        if is_of(&reading) {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// Whether most steps of some build are those of the Dockerfile.
fn is_of(reading: &Reading<'_>) -> bool {
    reading.builds.iter().any(|build| {
        let counted = || build.steps.iter().filter(|s| s.logged.is_some() && s.parts.is_instruction());
        let placed = counted().filter(|s| s.place.is_some()).count();
        placed > 0 && placed * 2 > counted().count()
    })
}

/// What the Dockerfile would have in a log, with the values of build arguments that the log shows.
fn informed(build: Build, log: &BuildLog) -> Result<Known, CliError> {
    let mut known = outlined(build, log)?;
    let found = place::arguments(log, &known.outlines, &known.declared);
    let new = |(name, _): &(String, String)| known.build.invocation.build_arg(name).is_none();
    let found: Vec<(String, String)> = found.into_iter().filter(new).collect();
    if !found.is_empty() {
        known.build.invocation.build_args.extend(found);
        known = outlined(known.build, log)?;
    }
    Ok(known)
}

/// What the Dockerfile would have in a log, for every platform that is in it.
fn outlined(build: Build, log: &BuildLog) -> Result<Known, CliError> {
    let images = build.images()?;
    let mut platforms = place::platforms(log);
    if platforms.is_empty() {
        platforms = build.invocation.platforms.iter().take(1).cloned().collect();
    }
    let mut outlines = Vec::new();
    let mut timeline = Timeline::default();
    let mut declared = Vec::new();
    for number in 0..platforms.len().max(1) {
        let mut invocation = build.invocation.clone();
        if let Some(platform) = platforms.get(number) {
            invocation.platforms = vec![platform.clone()];
        }
        let stages = StageGraph::new(&build.document, &invocation);
        build.accept(&stages)?;
        let model = BuildModel::new(&stages, &invocation, &images);
        let graph = BuildGraph::new(&model, &images);
        outlines.push(Outline::new(&model, &graph));
        if number == 0 {
            let of_stages = model.steps().filter_map(|s| match &s.action {
                Action::Arg(args) => Some(args.iter().map(|a| a.name.clone())),
                _ => None,
            });
            declared = of_stages.flatten().filter(|n| !AUTOMATIC_ARGS.contains(&n.as_str())).collect();
            for global in stages.global_args {
                if let crate::syntax::Args::ArgDefs(pairs) = &global.args {
                    declared.extend(pairs.iter().map(|p| p.key.text.clone()));
                }
            }
            // The manifests are worth a walk only where cargo runs.
            let open = || ContextIndex::open(&invocation.context, build.dockerfile().as_deref()).ok();
            let context = mentions_cargo(&model).then(open).flatten();
            let manifests = context.as_ref().map(Manifests::new);
            timeline = follow(&model, manifests.as_ref());
        }
    }
    Ok(Known { build, outlines, timeline, declared })
}

/// Compares the log with the keys; says with what.
fn compare(
    args: &Args,
    known: &Known,
    reading: &mut Reading<'_>,
    places: &Places<'_>,
    findings: &mut Vec<Finding>,
    notes: &mut Vec<String>,
) -> Result<String, CliError> {
    let (before, since) = match (&args.baseline, &args.since) {
        (Some(path), _) => (super::why::read_state(path)?, format!("since {}", shown(path))),
        (None, Some(revision)) => {
            let mut uncertain = Vec::new();
            // Both sides with the arguments of the build that the log is of.
            let mut past = args.build.load()?;
            past.invocation.build_args.clone_from(&known.build.invocation.build_args);
            let (state, commit) = super::state::state_of(past, revision, &mut uncertain)?;
            notes.extend(uncertain.into_iter().map(|n| n.text));
            (state, format!("since {revision} ({commit})"))
        }
        (None, None) => return Ok(String::new()),
    };
    let build = &known.build;
    let change = |_: &BuildModel<'_>, _: &mut crate::key::plan::Contexts| Ok(());
    build.planned(None, Detail::Entries, change, |planned| {
        let after = State::new(&build.file.name, planned.model, planned.graph, planned.plan);
        let outline = known.outlines.iter().position(|o| o.platform == after.platform);
        let Some(outline) = outline else {
            notes.push(format!("the log has no steps for {}: nothing is compared", after.platform));
            return Ok(());
        };
        if before.platform != after.platform {
            notes.push(format!("the first state is for {}, the log for {}", before.platform, after.platform));
        }
        let comparison = Comparison::new(&before, &after);
        let main = planned.contexts.main.as_ref();
        let listed = planned.graph.vertices.iter().find_map(|v| match &v.op {
            Op::Local(local) if local.folder.is_none() => {
                let view = main?.view(local.follow_paths.as_deref()).ok()?;
                Some(Listed::new(&view))
            }
            _ => None,
        });
        let compared = Compared {
            before: &before,
            after: &after,
            comparison: &comparison,
            since: &since,
            outline,
            listed,
            no_cache: build.invocation.no_cache,
            packages: main.map(packages).unwrap_or_default(),
        };
        findings.extend(agreement::findings(reading, places, &compared));
        Ok(())
    })?;
    Ok(since)
}

/// The packages of cargo in a context, by folder.
fn packages(context: &ContextIndex) -> BTreeMap<String, String> {
    let manifests = Manifests::new(context);
    let mut out = BTreeMap::new();
    for dir in manifests.manifest_dirs().take(2000) {
        if let Some(workspace) = Workspace::read(&manifests, dir)
            && let Some(package) = workspace.package_in(dir).and_then(|at| workspace.packages.get(at))
        {
            out.insert(dir.to_owned(), package.name.clone());
        }
    }
    out
}
