//! `layerlint check`: finds Dockerfiles, lints them in parallel, reports in one order.

use super::{CliError, Console, Exit, build, rules};
use crate::finding::{Finding, Problem, Severity, Unseen};
use crate::invoke::{Invocation, choose_context, context_candidates, literal_sources};
use crate::report::{self, Report, Sources};
use crate::rule::{ALL, Linter, Rule};
use crate::source::{
    ReadError, SourceFile, dockerfiles_below, is_dockerfile_name, is_ignore_file_name, shown,
};
use crate::syntax::{self, Document};
use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    layerlint check                              every Dockerfile below this directory\n  \
    layerlint check app/Dockerfile --context .   one Dockerfile, built in this directory\n  \
    layerlint check --format json --output findings.json\n  \
    layerlint check - --stdin-filename app/Dockerfile < app/Dockerfile\n\n\
    A comment `# layerlint ignore=RULE reason=\"…\"` above an instruction silences a rule there, above FROM for the \
    whole stage; `# layerlint global ignore=RULE` at the top of the file for the whole file.\n\n\
    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 usage or unreadable input, 3 no Dockerfile found, \
    4 a Dockerfile that BuildKit would refuse.")]
pub(super) struct Args {
    /// Dockerfiles, and directories to search for them (an ignore file stands for the Dockerfiles that use it); `-`
    /// reads standard input
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// The build context of all these Dockerfiles [default: the nearest directory at or above each of them that has
    /// the files it copies]
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
    /// The name of the Dockerfile on standard input
    #[arg(long, value_name = "NAME")]
    stdin_filename: Option<PathBuf>,
    /// How to show findings [default: human; github where GITHUB_ACTIONS=true]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write the findings to a file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only these rules
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    select: Vec<String>,
    /// Not these rules
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Show nothing less severe
    #[arg(long, value_name = "SEVERITY", default_value = "info")]
    min_severity: Level,
    /// Exit with 1 from this severity on
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    fail_on: Threshold,
    /// Read no configuration file
    #[arg(long)]
    no_config: bool,
    /// Count the findings of every rule
    #[arg(long)]
    statistics: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The lines themselves, with labels and help
    Human,
    /// One line each
    Concise,
    /// For a program
    Json,
    /// Annotations of GitHub Actions
    Github,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    Error,
    Warning,
    Info,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Threshold {
    Error,
    Warning,
    Info,
    Never,
}

/// A Dockerfile to lint.
struct Target {
    path: PathBuf,
    /// The directory that was searched, or the working directory.
    limit: PathBuf,
    /// Present when it is in memory already.
    file: Option<SourceFile>,
}

/// What came of one Dockerfile.
#[derive(Default)]
struct Outcome {
    file: Option<Arc<SourceFile>>,
    findings: Vec<Finding>,
    problems: Vec<Problem>,
    unseen: Vec<Unseen>,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let linter = Linter::new(selection(&args.select, &args.ignore)?);
    if let Some(context) = &args.context {
        build::check_context(context)?;
    }
    let (targets, mut problems) = targets(args)?;
    let files = targets.len();
    let outcomes = in_parallel(targets, |target| lint(target, args, &linter));
    let sources = Sources::default();
    let mut findings = Vec::new();
    let mut unseen = Vec::new();
    for outcome in outcomes {
        // Dockerfiles that are built in one context share what is wrong with it.
        for problem in outcome.problems {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        unseen.extend(outcome.unseen);
        findings.extend(outcome.findings);
        if let Some(file) = outcome.file {
            sources.add(file);
        }
    }
    let lowest = match args.min_severity {
        Level::Error => Severity::Error,
        Level::Warning => Severity::Warning,
        Level::Info => Severity::Info,
    };
    findings.retain(|finding| finding.severity >= lowest);
    let report = Report { findings, problems, unseen, files };
    write(args, console, &report, &sources)?;
    Ok(exit(args, &report))
}

fn exit(args: &Args, report: &Report) -> Exit {
    let threshold = match args.fail_on {
        Threshold::Error => Some(Severity::Error),
        Threshold::Warning => Some(Severity::Warning),
        Threshold::Info => Some(Severity::Info),
        Threshold::Never => None,
    };
    let failing = threshold.is_some_and(|t| report.findings.iter().any(|finding| finding.severity >= t));
    let found = if failing { Exit::Findings } else { Exit::Clean };
    let nothing = if report.files == 0 { Exit::Nothing } else { Exit::Clean };
    report.problems.iter().fold(found.and(nothing), |exit, problem| exit.and(problem.kind.into()))
}

/// The rules to run.
fn selection(select: &[String], ignore: &[String]) -> Result<Vec<&'static Rule>, CliError> {
    let named = |names: &[String]| {
        names.iter().map(|n| Ok(rules::find(n.trim())?.name)).collect::<Result<Vec<_>, CliError>>()
    };
    let (select, ignore) = (named(select)?, named(ignore)?);
    let wanted =
        |rule: &&&Rule| (select.is_empty() || select.contains(&rule.name)) && !ignore.contains(&rule.name);
    Ok(ALL.iter().filter(wanted).copied().collect())
}

/// The Dockerfiles that the paths stand for, sorted by name, each once, and the paths that cannot be read.
fn targets(args: &Args) -> Result<(Vec<Target>, Vec<Problem>), CliError> {
    let mut targets = Vec::new();
    let mut problems = Vec::new();
    let unreadable = |error: &ReadError| Problem::unreadable(shown(&error.path), error);
    for path in &args.paths {
        let here = |path: PathBuf| Target { path, limit: PathBuf::from("."), file: None };
        if path == Path::new("-") {
            let name = args.stdin_filename.as_deref().map_or("<stdin>".to_owned(), shown);
            let file = build::read_stdin(&name)?;
            let path = args.stdin_filename.clone().unwrap_or_else(|| PathBuf::from("<stdin>"));
            targets.push(Target { path, limit: PathBuf::from("."), file: Some(file) });
            continue;
        }
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() && path.file_name().is_some_and(is_dockerfile_name) => {
                let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
                problems.push(unreadable(&ReadError { path: path.clone(), source }));
            }
            Ok(meta) if meta.is_dir() => {
                let (found, errors) = dockerfiles_below(path);
                problems.extend(errors.iter().map(unreadable));
                targets.extend(found.into_iter().map(|found| Target {
                    path: found,
                    limit: path.clone(),
                    file: None,
                }));
            }
            Ok(_) if path.file_name().is_some_and(is_ignore_file_name) => {
                targets.extend(users_of(path, Path::new(".")).into_iter().map(here));
            }
            Ok(_) => targets.push(here(path.clone())),
            Err(source) => problems.push(unreadable(&ReadError { path: path.clone(), source })),
        }
    }
    let mut seen = HashSet::new();
    targets.retain(|target| seen.insert(shown(&target.path)));
    targets.sort_by_cached_key(|target| shown(&target.path));
    Ok((targets, problems))
}

/// The Dockerfiles that an ignore file counts for: `NAME` beside `NAME.dockerignore`; those in the folder of
/// `.dockerignore`, and those below that are built there, unless they have one of their own.
fn users_of(ignore_file: &Path, limit: &Path) -> Vec<PathBuf> {
    let folder = folder_of(ignore_file);
    let stem = ignore_file.file_stem().unwrap_or_default();
    if !stem.as_encoded_bytes().starts_with(b".") {
        let own = folder.join(stem);
        return if own.is_file() { vec![own] } else { Vec::new() };
    }
    let has_own = |path: &Path| {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".dockerignore");
        path.with_file_name(name).exists()
    };
    let here = std::path::absolute(folder).ok();
    let is_built_here = |path: &Path| {
        let Ok(file) = SourceFile::read(path, shown(path)) else { return false };
        let context = context_of(path, &syntax::parse(&file.bytes), limit);
        here.is_some() && std::path::absolute(context).ok() == here
    };
    // Directories that cannot be searched were not asked for.
    let (mut users, _) = dockerfiles_below(folder);
    users.retain(|path| !has_own(path) && (folder_of(path) == folder || is_built_here(path)));
    users
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The build context of a Dockerfile of which nobody says where it is built.
fn context_of(path: &Path, document: &Document, limit: &Path) -> PathBuf {
    let folder = folder_of(path);
    let candidates = context_candidates(folder, limit);
    let exists = |dir: &Path, path: &str| dir.join(path).symlink_metadata().is_ok();
    choose_context(document, &candidates, exists).map_or(folder, PathBuf::as_path).to_path_buf()
}

/// Says so if the folder that is taken for the build context has not what the Dockerfile copies.
fn guess(file: &SourceFile, document: &Document, context: &Path) -> Option<Unseen> {
    let sources = literal_sources(document);
    let missing = sources.iter().find(|source| context.join(source).symlink_metadata().is_err())?;
    Some(Unseen {
        needs: "context",
        path: file.name.clone(),
        message: format!("no folder at or above it has `{missing}`"),
        help: Some("name the folder with --context".to_owned()),
    })
}

fn lint(target: Target, args: &Args, linter: &Linter) -> Outcome {
    let file = match target.file {
        Some(file) => file,
        None => match SourceFile::read(&target.path, shown(&target.path)) {
            Ok(file) => file,
            Err(error) => {
                let problem = Problem::unreadable(shown(&target.path), &error);
                return Outcome { problems: vec![problem], ..Outcome::default() };
            }
        },
    };
    let document = syntax::parse(&file.bytes);
    let mut outcome = Outcome::default();
    if document.errors.is_empty() {
        let context = args.context.clone();
        let context = context.unwrap_or_else(|| context_of(&target.path, &document, &target.limit));
        let guess = args.context.is_none().then(|| guess(&file, &document, &context)).flatten();
        let invocation = Invocation { dockerfile: Some(target.path), context, ..Invocation::default() };
        let linted = linter.check(&file, &document, &invocation);
        outcome.findings = linted.findings;
        outcome.problems = linted.problems;
        outcome.unseen = linted.unseen;
        match guess {
            // What is wrong with another folder is no business of this Dockerfile.
            Some(guess) => {
                outcome.unseen.retain(|unseen| unseen.needs != guess.needs);
                outcome.unseen.extend(Some(guess).filter(|guess| linter.needs(guess.needs)));
            }
            None => outcome.problems.extend(linted.context.iter().map(Problem::context)),
        }
    } else {
        outcome.problems = document.errors.iter().map(|error| Problem::refused(&file, error)).collect();
    }
    outcome.file = Some(Arc::new(file));
    outcome
}

/// Applies `work` to every item on all processors; results come back in the order of the items.
fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads < 2 {
        return items.into_iter().map(work).collect();
    }
    let queue = std::sync::Mutex::new(items.into_iter().enumerate());
    let take = || queue.lock().ok().and_then(|mut queue| queue.next());
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let worker = || std::iter::from_fn(take).map(|(i, item)| (i, work(item))).collect::<Vec<_>>();
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            // A defect of ours must not look like a clean file.
            .flat_map(|worker| worker.join().unwrap_or_else(|defect| std::panic::resume_unwind(defect)))
            .collect()
    });
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

fn write(args: &Args, console: &mut Console, report: &Report, sources: &Sources) -> Result<(), CliError> {
    let in_actions = || std::env::var("GITHUB_ACTIONS").is_ok_and(|v| v == "true");
    let default = || if in_actions() { Format::Github } else { Format::Human };
    let chosen = args.format.unwrap_or_else(default);
    let to_file = args.output.is_some();
    let format = match chosen {
        Format::Human => report::Format::Human {
            color: console.color && !to_file,
            links: console.terminal && console.color && !to_file,
        },
        Format::Concise => report::Format::Concise,
        Format::Json => report::Format::Json,
        Format::Github => report::Format::Github { prefix: below_workspace().unwrap_or_default() },
    };
    match &args.output {
        Some(path) => {
            let failed = |error| CliError::failed(format!("cannot write `{}`: {error}", path.display()));
            let mut out = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
            report.write(&mut out, &format, sources).and_then(|()| out.flush()).map_err(failed)?;
        }
        None => report.write(&mut console.out, &format, sources)?,
    }
    if args.statistics {
        for (rule, count) in report.statistics() {
            writeln!(console.err, "{count:6}  {rule}")?;
        }
    }
    console.out.flush()?;
    if report.files == 0 && report.problems.is_empty() {
        let paths: Vec<String> = args.paths.iter().map(|p| format!("`{}`", shown(p))).collect();
        writeln!(console.err, "nothing to lint: no Dockerfile found in {}", paths.join(", "))?;
    } else if chosen == Format::Human {
        if let Some(unseen) = report.unseen() {
            writeln!(console.err, "{unseen}")?;
        }
        writeln!(console.err, "{}", report.summary())?;
    }
    Ok(())
}

/// GitHub wants paths from the root of the repository.
fn below_workspace() -> Option<String> {
    let workspace = PathBuf::from(std::env::var_os("GITHUB_WORKSPACE")?);
    let here = std::env::current_dir().ok()?;
    let below = here.strip_prefix(workspace).ok()?;
    if below.as_os_str().is_empty() { None } else { Some(format!("{}/", shown(below))) }
}
