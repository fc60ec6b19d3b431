//! `layerlint check`: finds Dockerfiles, lints them in parallel, reports in one order.

use super::builds::BuildFiles;
use super::configuration::{ConfigArgs, today};
use super::repair::{FixArgs, Repairs};
use super::{CliError, Console, Exit, build, rules};
use crate::baseline::{self, Baseline};
use crate::config::{self, Config};
use crate::finding::{Finding, Problem, Severity, Unseen};
use crate::invoke::{Invocation, choose_context, context_candidates, literal_sources, without_dots};
use crate::report::{self, Report, Sources};
use crate::rule::{ALL, Linter, Rule, Settings};
use crate::source::{
    ReadError, SourceFile, dockerfiles_below, is_dockerfile_name, is_ignore_file_name, reason, shown,
    write_whole,
};
use crate::syntax::{self, Document};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    layerlint check                              every Dockerfile below this directory\n  \
    layerlint check app/Dockerfile --context .   one Dockerfile, built in this directory\n  \
    layerlint check --format json --output findings.json\n  \
    layerlint check - --stdin-filename app/Dockerfile < app/Dockerfile\n\n\
    A comment `# layerlint ignore=RULE reason=\"…\"` above an instruction silences a rule there, above FROM for the \
    whole stage; `# layerlint global ignore=RULE` at the top of the file for the whole file; `until=2027-01-31` in it is \
    its last day.\n\n\
    layerlint.toml beside a Dockerfile or above it chooses rules, severities, options and builds; the README and \
    layerlint.schema.json tell what it may hold.\n\n\
    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 usage, configuration or unreadable input, 3 no Dockerfile found, \
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
    /// Show nothing less severe [default: info]
    #[arg(long, value_name = "SEVERITY")]
    min_severity: Option<Level>,
    /// Exit with 1 from this severity on [default: warning]
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Threshold>,
    #[command(flatten)]
    fixes: FixArgs,
    /// Show nothing that is known from a file of --write-baseline, wherever its lines have moved to
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write all findings to a file as known ones, and fail on none of them
    #[arg(long, value_name = "FILE")]
    write_baseline: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Leave out what the configuration excludes, even if it is named (hooks name every file)
    #[arg(long)]
    force_exclude: bool,
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
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Code quality report of GitLab
    Gitlab,
    /// Checkstyle's XML, for review bots
    Checkstyle,
    /// JUnit's XML, for CI servers
    Junit,
    /// A table, for a job summary
    Markdown,
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

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Severity::Error,
            Level::Warning => Severity::Warning,
            Level::Info => Severity::Info,
        }
    }
}

impl From<Threshold> for config::Threshold {
    fn from(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Error => Self::Error,
            Threshold::Warning => Self::Warning,
            Threshold::Info => Self::Info,
            Threshold::Never => Self::Never,
        }
    }
}

/// A Dockerfile to lint.
struct Target {
    path: PathBuf,
    /// Whether it was found, not named.
    found: bool,
    /// The directory that was searched, or the working directory.
    limit: PathBuf,
    /// Present when it is in memory already.
    file: Option<SourceFile>,
}

/// How a Dockerfile is linted, by the command line and its configuration.
struct Terms {
    settings: Settings,
    config: Option<Arc<Config>>,
    fail_on: config::Threshold,
    min_severity: Severity,
    baseline: Option<PathBuf>,
}

/// Findings that are known already.
#[derive(Default)]
struct Known {
    baselines: BTreeMap<PathBuf, Baseline>,
}

impl Known {
    /// Takes away what the baseline of a Dockerfile knows.
    fn take(&mut self, findings: &mut Vec<Finding>, terms: &Terms) -> Result<(), CliError> {
        let Some(path) = &terms.baseline else { return Ok(()) };
        if !self.baselines.contains_key(path) {
            let read = Baseline::read(path).map_err(|e| {
                CliError::failed_with_help(
                    e.to_string(),
                    "write one with `layerlint check --write-baseline FILE`",
                )
            })?;
            self.baselines.insert(path.clone(), read);
        }
        if let Some(baseline) = self.baselines.get_mut(path) {
            findings.retain(|finding| !baseline.knows(finding));
        }
        Ok(())
    }

    /// What became of the entries, given the files that were linted and the rules that ran on each.
    fn report(&self, looked_at: &[(PathBuf, Settings)]) -> Option<report::Known> {
        if self.baselines.is_empty() {
            return None;
        }
        let absolute = |path: &Path| std::path::absolute(path).map(|path| without_dots(&path)).ok();
        let ran: HashMap<_, _> =
            looked_at.iter().filter_map(|(path, settings)| Some((absolute(path)?, settings))).collect();
        let mut known = report::Known::default();
        for baseline in self.baselines.values() {
            known.known += baseline.met();
            let stale =
                baseline.stale(|path, rule| ran.get(path).is_some_and(|settings| settings.runs(rule)));
            known.stale.extend(stale.into_iter().map(|entry| report::Stale {
                baseline: baseline.name.clone(),
                path: entry.path.clone(),
                rule: entry.rule.clone(),
            }));
        }
        Some(known)
    }
}

/// What came of one Dockerfile.
#[derive(Default)]
struct Outcome {
    file: Option<Arc<SourceFile>>,
    findings: Vec<Finding>,
    /// How it was linted.
    terms: Option<Terms>,
    problems: Vec<Problem>,
    unseen: Vec<Unseen>,
    /// How it is built.
    invocation: Option<Invocation>,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    if let Some(context) = &args.context {
        build::check_context(context)?;
    }
    let (mut targets, build_files, mut problems) = targets(args)?;
    let linter = Linter::new(build_files.read());
    // Dockerfiles that a named build file builds are looked at for its sake.
    let lent = build_files
        .dockerfiles(linter.project(), &targets.iter().map(|t| t.path.clone()).collect::<Vec<_>>());
    targets.extend(lent.iter().map(|path| Target {
        path: path.clone(),
        found: false,
        limit: PathBuf::from("."),
        file: None,
    }));
    // A hook that names what is left out has not failed to find anything.
    let named = targets.iter().any(|target| !target.found) || build_files.is_named();
    let targets = with_terms(targets, args)?;
    let files = targets.iter().filter(|(target, _)| !lent.contains(&target.path)).count();
    let mut paths: Vec<String> = targets.iter().map(|(target, _)| shown(&target.path)).collect();
    let outcomes = in_parallel(targets, |(target, terms)| lint(target, terms, args, &linter));
    let sources = Sources::default();
    let mut found = Vec::new();
    let mut unseen = Vec::new();
    let mut known = Known::default();
    let mut looked_at = Vec::new();
    let mut repairs = Repairs::default();
    let (in_builds, build_names) = in_build_files(&linter, &build_files, args)?;
    let files = files + build_names.len();
    paths.extend(build_names);
    let outcomes = outcomes.into_iter().map(|outcome| for_its_builds(outcome, &lent, &build_files));
    for mut outcome in outcomes.chain(in_builds) {
        let refused = !outcome.problems.is_empty();
        let mut fail_on = config::Threshold::Warning;
        // Dockerfiles that are built in one context share what is wrong with it.
        for problem in outcome.problems {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        unseen.extend(outcome.unseen);
        if let Some(terms) = outcome.terms {
            known.take(&mut outcome.findings, &terms)?;
            outcome.findings.retain(|finding| finding.severity >= terms.min_severity);
            if let (true, false, Some(invocation), Some(file)) =
                (args.fixes.wanted(), refused, &outcome.invocation, &outcome.file)
            {
                let look = |file: &SourceFile| {
                    let mut left = look_again(file, &terms, invocation, &linter)?;
                    known.take(&mut left, &terms).ok()?;
                    Some(left)
                };
                let (file, left) = repairs.dockerfile(&args.fixes, file, outcome.findings.clone(), look);
                if args.fixes.writes() {
                    (outcome.file, outcome.findings) = (Some(file), left);
                }
            }
            fail_on = terms.fail_on;
            if let Some(file) = outcome.file.as_ref().filter(|_| !refused) {
                looked_at.push((file.path.clone(), terms.settings));
            }
        }
        found.push((outcome.findings, fail_on));
        if let Some(file) = outcome.file {
            sources.add(file);
        }
    }
    repairs.others(found.iter_mut().map(|(findings, _)| findings), args.fixes.writes())?;
    let mut failing = found.iter().any(|(findings, t)| findings.iter().any(|f| t.reached(f.severity)));
    let mut findings: Vec<Finding> = found.into_iter().flat_map(|(findings, _)| findings).collect();
    let baseline = known.report(&looked_at);
    if let Some(path) = &args.write_baseline {
        baseline::write(path, &findings).map_err(|e| CliError::failed(e.to_string()))?;
        console.out.flush()?;
        let count = findings.len();
        let text = if count == 1 { "1 finding".to_owned() } else { format!("{count} findings") };
        writeln!(console.err, "{text} written to `{}`: they are known from now on", shown(path))?;
        findings.clear();
        failing = false;
    }
    let stdin = args.paths.iter().any(|path| path == Path::new("-"));
    if args.fixes.writes() && !stdin {
        problems.extend(repairs.write());
    }
    let report = Report { findings, problems, unseen, baseline, paths, files };
    let shown_instead = match (args.fixes.shows(), args.fixes.writes() && stdin) {
        (true, _) => {
            repairs.show(&mut console.out)?;
            true
        }
        (_, true) => {
            let name = args.stdin_filename.as_deref().map_or("<stdin>".to_owned(), shown);
            let content = repairs.content(&name).map(<[u8]>::to_vec);
            let content = content.or_else(|| sources.get(&name).map(|file| file.bytes.clone()));
            console.out.write_all(&content.unwrap_or_default())?;
            true
        }
        _ => false,
    };
    write(args, console, &report, &sources, shown_instead)?;
    if let Some(text) = repairs.summary(args.fixes.writes()) {
        writeln!(console.err, "{text}")?;
    }
    let nothing = report.files == 0 && !named;
    Ok(exit(failing, nothing, &report))
}

fn exit(failing: bool, nothing: bool, report: &Report) -> Exit {
    let found = if failing { Exit::Findings } else { Exit::Clean };
    let nothing = if nothing { Exit::Nothing } else { Exit::Clean };
    report.problems.iter().fold(found.and(nothing), |exit, problem| exit.and(problem.kind.into()))
}

/// The targets that are not excluded, with the terms of each.
fn with_terms(targets: Vec<Target>, args: &Args) -> Result<Vec<(Target, Terms)>, CliError> {
    let named = |names: &[String]| {
        names.iter().map(|name| rules::find(name.trim())).collect::<Result<Vec<&'static Rule>, CliError>>()
    };
    let (select, ignore) = (named(&args.select)?, named(&args.ignore)?);
    let mut configs = args.config.open()?;
    let mut chosen = Vec::new();
    for target in targets {
        let config = configs.of(folder_of(&target.path))?;
        if (target.found || args.force_exclude) && config.as_ref().is_some_and(|c| c.excludes(&target.path)) {
            continue;
        }
        let terms = terms(&target, config, &select, &ignore, args);
        chosen.push((target, terms));
    }
    Ok(chosen)
}

fn terms(
    target: &Target,
    config: Option<Arc<Config>>,
    select: &[&'static Rule],
    ignore: &[&'static Rule],
    args: &Args,
) -> Terms {
    let has = |list: &[&Rule], rule: &Rule| list.iter().any(|r| r.name == rule.name);
    let mut settings = match &config {
        Some(config) => config.settings(&target.path, select, ignore),
        None => {
            let wanted = |rule: &&Rule| (select.is_empty() || has(select, rule)) && !has(ignore, rule);
            Settings::of(ALL.iter().copied().filter(wanted).collect())
        }
    };
    settings.today = today();
    let given = config.as_ref();
    let fail_on = args.fail_on.map(Into::into).or_else(|| given?.fail_on);
    let min_severity = args.min_severity.map(Into::into).or_else(|| given?.min_severity);
    let baseline = args.baseline.clone().or_else(|| given?.baseline.clone());
    Terms {
        settings,
        fail_on: fail_on.unwrap_or(config::Threshold::Warning),
        min_severity: min_severity.unwrap_or(Severity::Info),
        // What is to be written has to be found first.
        baseline: baseline.filter(|_| args.write_baseline.is_none()),
        config,
    }
}

/// The Dockerfiles that the paths stand for, sorted by name, each once, and the paths that cannot be read.
fn targets(args: &Args) -> Result<(Vec<Target>, BuildFiles, Vec<Problem>), CliError> {
    let mut targets = Vec::new();
    let mut build_files = BuildFiles::default();
    let mut problems = Vec::new();
    let unreadable = |error: &ReadError| Problem::unreadable(shown(&error.path), error);
    for path in &args.paths {
        let here = |path: PathBuf| Target { path, found: false, limit: PathBuf::from("."), file: None };
        if path == Path::new("-") {
            let name = args.stdin_filename.as_deref().map_or("<stdin>".to_owned(), shown);
            let file = build::read_stdin(&name)?;
            let path = args.stdin_filename.clone().unwrap_or_else(|| PathBuf::from("<stdin>"));
            targets.push(Target { path, found: false, limit: PathBuf::from("."), file: Some(file) });
            continue;
        }
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() && path.file_name().is_some_and(is_dockerfile_name) => {
                let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
                problems.push(unreadable(&ReadError { path: path.clone(), source }));
            }
            Ok(meta) if meta.is_dir() => {
                let (found, errors) = build_files.search(path);
                problems.extend(errors.iter().map(unreadable));
                targets.extend(found.into_iter().map(|found| Target {
                    path: found,
                    found: true,
                    limit: path.clone(),
                    file: None,
                }));
            }
            Ok(_) if path.file_name().is_some_and(is_ignore_file_name) => {
                targets.extend(users_of(path, Path::new(".")).into_iter().map(here));
            }
            Ok(_) if build_files.name(path) => {}
            Ok(_) => {
                build_files.look_around(folder_of(path));
                targets.push(here(path.clone()));
            }
            Err(source) => problems.push(unreadable(&ReadError { path: path.clone(), source })),
        }
    }
    let mut seen = HashSet::new();
    targets.retain(|target| seen.insert(shown(&target.path)));
    targets.sort_by_cached_key(|target| shown(&target.path));
    Ok((targets, build_files, problems))
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

fn lint(mut target: Target, terms: Terms, args: &Args, linter: &Linter) -> Outcome {
    let file = match target.file.take() {
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
        let (invocation, guessed) = invocation(target, &terms, args, linter, &document);
        let guess = guessed.then(|| guess(&file, &document, &invocation.context)).flatten();
        let linted = linter.check(&terms.settings, &file, &document, &invocation);
        outcome.findings = linted.findings;
        outcome.problems = linted.problems;
        outcome.invocation = Some(invocation);
        outcome.unseen = linted.unseen;
        match guess {
            // What is wrong with another folder is no business of this Dockerfile.
            Some(guess) => {
                outcome.unseen.retain(|unseen| unseen.needs != guess.needs);
                outcome.unseen.extend(Some(guess).filter(|guess| terms.settings.needs(guess.needs)));
            }
            None => outcome.problems.extend(linted.context.iter().map(Problem::context)),
        }
    } else {
        outcome.problems = document.errors.iter().map(|error| Problem::refused(&file, error)).collect();
    }
    outcome.file = Some(Arc::new(file));
    outcome.terms = Some(terms);
    outcome
}

/// What is found in another content of a Dockerfile; nothing if BuildKit would refuse it.
fn look_again(
    file: &SourceFile,
    terms: &Terms,
    invocation: &Invocation,
    linter: &Linter,
) -> Option<Vec<Finding>> {
    let document = syntax::parse(&file.bytes);
    if !document.errors.is_empty() {
        return None;
    }
    let linted = linter.check(&terms.settings, file, &document, invocation);
    let findings = linted.findings.into_iter().filter(|finding| finding.severity >= terms.min_severity);
    linted.problems.is_empty().then(|| findings.collect())
}

/// How a Dockerfile is built, as the command line or its configuration says, or as its sources suggest; and whether
/// its context is such a guess.
fn invocation(
    target: Target,
    terms: &Terms,
    args: &Args,
    linter: &Linter,
    document: &Document,
) -> (Invocation, bool) {
    let mut invocation = Invocation::default();
    let mut said = args.context.clone();
    if let Some(build) = terms.config.as_ref().and_then(|config| config.build(&target.path)) {
        said = said.or_else(|| build.context.clone());
        invocation.target = build.target.clone();
        invocation.build_args = build.args.clone();
        invocation.platforms = build.platforms.clone();
        invocation.contexts = build.contexts.clone();
    }
    if let Some((context, named)) = said_by_builds(linter, &target.path, document) {
        said = said.or(Some(context));
        if invocation.contexts.is_empty() {
            invocation.contexts = named;
        }
    }
    let guessed = said.is_none();
    invocation.context = said.unwrap_or_else(|| context_of(&target.path, document, &target.limit));
    invocation.dockerfile = Some(target.path);
    (invocation, guessed)
}

/// The context and the named contexts that the files which build a Dockerfile say: the first directory that has what
/// it copies, bake files before compose files before workflows.
fn said_by_builds(
    linter: &Linter,
    path: &Path,
    document: &Document,
) -> Option<(PathBuf, Vec<(String, String)>)> {
    let project = linter.project();
    let mut calls = project.calls_of(path);
    let kind = |file: usize| project.files.get(file).map(|f| f.kind);
    calls.sort_by_key(|call| call.via.map_or(kind(call.file), |(file, _)| kind(file)));
    let folders: Vec<PathBuf> =
        calls.iter().filter_map(|call| project.context_of(call)).filter(|folder| folder.is_dir()).collect();
    let exists = |dir: &Path, path: &str| dir.join(path).symlink_metadata().is_ok();
    let folder = choose_context(document, &folders, exists)?.clone();
    let mut named: Vec<(String, String)> = Vec::new();
    for (name, value) in calls.iter().flat_map(|call| &call.contexts) {
        if !named.iter().any(|(n, _)| n == name) {
            named.push((name.clone(), value.written().to_owned()));
        }
    }
    Some((folder, named))
}

/// What the rules about build files find, and the names of the files that they look at.
fn in_build_files(
    linter: &Linter,
    build_files: &BuildFiles,
    args: &Args,
) -> Result<(Vec<Outcome>, Vec<String>), CliError> {
    let mut all = linter.check_builds();
    let target = |path: &Path| Target {
        path: path.to_path_buf(),
        found: !build_files.names(&shown(path)),
        limit: PathBuf::from("."),
        file: None,
    };
    let asked = build_files.asked(linter.project()).into_iter().map(target).collect();
    let mut outcomes = Vec::new();
    let asked = with_terms(asked, args)?;
    let names = asked.iter().map(|(target, _)| shown(&target.path)).collect();
    for (target, terms) in asked {
        let name = shown(&target.path);
        let (mut findings, rest): (Vec<Finding>, Vec<Finding>) =
            all.into_iter().partition(|finding| finding.primary.file == name);
        all = rest;
        let today = terms.settings.today;
        findings.retain(|f| terms.settings.runs(f.rule) && !linter.is_silenced(f, today));
        for finding in &mut findings {
            if let Some(severity) = terms.settings.severities.get(finding.rule) {
                finding.severity = *severity;
            }
        }
        let file = linter.project().files.iter().find(|file| file.source.name == name);
        let file = file.map(|file| file.source.clone());
        outcomes.push(Outcome { file, findings, terms: Some(terms), ..Outcome::default() });
    }
    Ok((outcomes, names))
}

/// Of a Dockerfile that is only looked at because a named build file builds it, what touches that file.
fn for_its_builds(mut outcome: Outcome, lent: &[PathBuf], build_files: &BuildFiles) -> Outcome {
    let Some(file) = outcome.file.as_ref().filter(|file| lent.contains(&file.path)) else { return outcome };
    let touches = |finding: &Finding| {
        let labels = std::iter::once(&finding.primary).chain(&finding.related);
        labels.into_iter().any(|label| label.file != file.name && build_files.names(&label.file))
    };
    outcome.findings.retain(touches);
    outcome.problems.clear();
    outcome.unseen.clear();
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

/// `instead` says that something else than the report is on standard output already.
fn write(
    args: &Args,
    console: &mut Console,
    report: &Report,
    sources: &Sources,
    instead: bool,
) -> Result<(), CliError> {
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
        Format::Github => report::Format::Github { prefix: below("GITHUB_WORKSPACE") },
        Format::Sarif => report::Format::Sarif { prefix: below("GITHUB_WORKSPACE") },
        Format::Gitlab => report::Format::Gitlab { prefix: below("CI_PROJECT_DIR") },
        Format::Checkstyle => report::Format::Checkstyle,
        Format::Junit => report::Format::Junit,
        Format::Markdown => report::Format::Markdown,
    };
    match &args.output {
        Some(path) => {
            let failed = |e| CliError::failed(format!("cannot write `{}`: {}", shown(path), reason(&e)));
            let mut out = Vec::new();
            report
                .write(&mut out, &format, sources)
                .and_then(|()| write_whole(path, &out))
                .map_err(failed)?;
        }
        None if instead => {}
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
        if let Some(fixable) = report.fixable().filter(|_| !args.fixes.wanted()) {
            writeln!(console.err, "{fixable}")?;
        }
        if let Some(baseline) = &report.baseline {
            baseline.write(&mut console.err)?;
        }
    }
    Ok(())
}

/// The way from the root of the repository, which a variable of the CI names, to the working directory.
pub(super) fn below(variable: &str) -> String {
    let below = || {
        let root = PathBuf::from(std::env::var_os(variable)?);
        let here = std::env::current_dir().ok()?;
        let below = here.strip_prefix(root).ok()?;
        if below.as_os_str().is_empty() { None } else { Some(format!("{}/", shown(below))) }
    };
    below().unwrap_or_default()
}
