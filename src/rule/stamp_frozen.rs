//! Values of the moment that a RUN bakes in although its key is constant: the first one is served from then on.

use super::transfer;
use super::variables;
use super::volatile_arg_early::has_volatile_name;
use super::work;
use super::{Cx, Rule, words};
use crate::build::model::{Action, Copy, CopySource, MountKind, Run, Step, is_below};
use crate::build::process::{self, Process};
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::shell::{Connector, ShellCommand, ShellWord};
use std::collections::{HashMap, HashSet};

/// See `rules/stamp-frozen.md`.
pub(super) const RULE: Rule =
    Rule { name: "stamp-frozen", page: include_str!("../../rules/stamp-frozen.md"), check };

/// Stamps that are named beside the first one.
const NAMED: usize = 3;

/// What differs each time it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Moment {
    /// the time
    Date,
    /// the machine that builds
    Host,
    /// chance
    Random,
    /// the newest commit of a repository elsewhere
    Remote,
    /// the packages of the day
    Upgrade,
}

/// What code calls for something that differs each time.
const CODE: &[(&[&str], Moment)] = &[
    (
        &[
            "datetime.now",
            "datetime.utcnow",
            "date.today",
            "time.time()",
            "time.strftime(",
            "time.ctime()",
            "Date.now()",
            "new Date()",
            "Time.now",
            "DateTime.now",
            " date(",
            "localtime",
        ],
        Moment::Date,
    ),
    (
        &[
            "secrets.",
            "uuid4",
            "uuid1",
            "randomUUID",
            "randomBytes",
            "random_bytes",
            "SecureRandom",
            "os.urandom",
            "random.random",
            "Math.random",
            "uniqid",
        ],
        Moment::Random,
    ),
    (&["gethostname", "os.hostname()", "platform.node()"], Moment::Host),
];

/// One value that stays.
struct Stamp {
    moment: Moment,
    span: Span,
    /// The command on one line.
    shown: String,
    /// Where it is written, if that can be told.
    file: Option<String>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        let mut bound = false;
        for step in cx.model.lineage_steps(stage.index) {
            bound |= brings_source(step);
            let Action::Run(run) = &step.action else { continue };
            if bound || step.stage != stage.index || is_renewed(cx, step, run) {
                continue;
            }
            let stamps = stamps(cx, step, run);
            if !stamps.is_empty() && told.insert(step.instruction.span) {
                findings.extend(finding(cx, step, &stamps));
            }
        }
    }
}

/// Whether a step ties what is below to the source: to any file but the manifests that rarely change.
fn brings_source(step: &Step<'_>) -> bool {
    match &step.action {
        Action::Copy(copy) => {
            let elsewhere =
                copy.from.is_some() || copy.sources.iter().any(|s| matches!(s, CopySource::Remote { .. }));
            elsewhere || transfer::of_step(step).iter().any(|t| t.is_whole() || is_source(copy, &t.path))
        }
        Action::Run(run) => run.mounts.iter().any(|m| m.kind == MountKind::Bind),
        _ => false,
    }
}

/// A folder, or a file of code.
fn is_source(copy: &Copy<'_>, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let settings = [
        ".json",
        ".lock",
        ".toml",
        ".txt",
        ".conf",
        ".cfg",
        ".ini",
        ".list",
        ".yml",
        ".yaml",
        ".xml",
        ".sum",
        ".mod",
        ".repo",
        ".key",
        ".asc",
        ".gpg",
        ".crt",
        ".pem",
        ".sh",
        ".service",
        ".properties",
        ".env",
    ];
    !copy.is_add
        && !settings.iter().any(|end| name.ends_with(end))
        && (name.contains('.') || !name.is_empty())
}

/// Whether somebody renews the key on purpose: an argument that changes, or one that the step reads.
fn is_renewed(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>) -> bool {
    let on_purpose = |name: &String| {
        let upper = name.to_ascii_uppercase();
        has_volatile_name(name)
            || [
                "BUST",
                "CACHE",
                "EPOCH",
                "DATE",
                "TIME",
                "NONCE",
                "REFRESH",
                "RELOAD",
                "REBUILD",
                "INVALIDATE",
                "UPGRADE",
                "WEEK",
                "TODAY",
                "NOW",
            ]
            .iter()
            .any(|word| upper.contains(word))
    };
    let read = || {
        let script = variables::script(cx, step).map(|s| variables::read_by(cx, s)).unwrap_or_default();
        script.iter().any(|r| step.state.args.contains(&r.name))
    };
    step.state.args.iter().any(on_purpose) || read() || !run.shell_form && run.script().is_none()
}

fn stamps(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>) -> Vec<Stamp> {
    if variables::script(cx, step).is_none() {
        return Vec::new();
    }
    let commands = process::processes(run, &step.state);
    // The commit of what was just fetched is that of the content.
    let mut names: HashMap<String, Moment> = HashMap::new();
    let mut output: HashMap<(usize, usize), Option<Moment>> = HashMap::new();
    let mut found: Vec<(Stamp, usize)> = Vec::new();
    for (number, process) in commands.iter().enumerate() {
        let command = process.command;
        let key = (command.subshell_depth, command.group);
        if upgrades(command) {
            found.push((stamp(cx, Moment::Upgrade, command, None), number));
            continue;
        }
        let held = |word: &ShellWord| held(word, &names);
        if command.words.is_empty() {
            let held: Vec<_> = command.assignments.iter().map(|(n, v)| (n.clone(), held(v))).collect();
            for (name, moment) in held {
                match moment {
                    Some(moment) => names.insert(name, moment),
                    None => names.remove(&name),
                };
            }
            // `> /file` alone writes nothing.
            continue;
        }
        let piped =
            (command.connector == Connector::Pipe).then(|| output.get(&key).copied().flatten()).flatten();
        let Some((program, arguments)) = process.program() else { continue };
        if matches!(program, "export" | "local" | "readonly" | "declare") {
            let set: Vec<_> = arguments
                .iter()
                .filter_map(|w| Some((w.text.split_once('=')?.0.to_owned(), held(w)?)))
                .collect();
            names.extend(set);
            continue;
        }
        let own = asks(program, arguments);
        let given = arguments.iter().find_map(&held);
        let filter = matches!(
            program,
            "echo"
                | "printf"
                | "cat"
                | "sed"
                | "awk"
                | "tr"
                | "cut"
                | "head"
                | "tee"
                | "tail"
                | "base64"
                | "sha256sum"
                | "md5sum"
                | "xxd"
                | "od"
                | "fold"
                | "date"
                | "grep"
        );
        let in_body = command.redirects.iter().filter(|r| !r.target.quoted).find_map(|r| {
            let body = r.heredoc.as_ref()?;
            in_text(body).or_else(|| {
                names
                    .iter()
                    .find(|(n, _)| body.contains(&format!("${n}")) || body.contains(&format!("${{{n}")))
                    .map(|(_, m)| *m)
            })
        });
        let moment = own.or(if filter { given.or(piped).or(in_body) } else { None });
        output.insert(key, moment);
        if let Some(moment) = moment {
            let writes = |op: &str| matches!(op, ">" | ">>" | "&>" | ">|");
            let mut files: Vec<String> = command
                .redirects
                .iter()
                .filter(|r| writes(&r.op) && r.fd.unwrap_or(1) == 1)
                .map(|r| shown_path(process, &r.target))
                .collect();
            if program == "tee" {
                files.extend(
                    arguments.iter().filter(|w| !w.text.starts_with('-')).map(|w| shown_path(process, w)),
                );
            }
            if program == "sed" && arguments.iter().any(|w| w.text.starts_with("-i")) {
                files.extend(arguments.last().map(|w| shown_path(process, w)));
            }
            if files.is_empty() && arguments.iter().any(|w| writes_file(&w.text)) && own.is_some() {
                found.push((stamp(cx, moment, command, None), number));
            }
            for file in files {
                found.push((stamp(cx, moment, command, Some(file)), number));
            }
            continue;
        }
        // What a compiler is told is in the binary.
        let before = command.assignments.iter().find_map(|(_, v)| held(v));
        let compiles = matches!(
            program,
            "go" | "cargo" | "gcc" | "g++" | "make" | "cmake" | "npm" | "yarn" | "mvn" | "hugo" | "dotnet"
        );
        if compiles && let Some(moment) = given.or(before) {
            found.push((stamp(cx, moment, command, None), number));
        }
    }
    found.retain(|(stamp, number)| match &stamp.file {
        Some(file) => {
            let gone = commands.iter().skip(*number + 1).any(|c| removes(c, file));
            !gone && stays(cx, step, run, file)
        }
        None => true,
    });
    found.into_iter().map(|(stamp, _)| stamp).collect()
}

fn stamp(cx: &Cx<'_>, moment: Moment, command: &ShellCommand, file: Option<String>) -> Stamp {
    let text = words::joined(&cx.file.text(command.span));
    Stamp { moment, span: command.span, shown: words::shortened(&text, 60), file }
}

/// What a program says that differs each time.
fn asks(program: &str, arguments: &[ShellWord]) -> Option<Moment> {
    let texts: Vec<&str> = arguments.iter().map(|w| w.text.as_str()).collect();
    let first = texts.iter().find(|t| !t.starts_with('-')).copied().unwrap_or_default();
    match program {
        // `-d`, `-r` and `@…` say which time; `-s` sets it.
        "date" => {
            let told = texts.iter().any(|t| {
                let short =
                    t.starts_with('-') && !t.starts_with("--") && t.contains(['d', 'r', 's', 'f', 'j']);
                short || ["--date", "--reference", "--set", "--file"].iter().any(|o| t.starts_with(o))
            });
            (!told).then_some(Moment::Date)
        }
        "hostname" => arguments.iter().all(|w| w.text.starts_with('-')).then_some(Moment::Host),
        "uuidgen" | "pwgen" | "apg" => Some(Moment::Random),
        "openssl" if first == "rand" => Some(Moment::Random),
        "cat" | "head" | "tail" | "tr" | "dd" | "od" | "xxd" | "base64" => {
            let chance = |t: &&str| {
                t.contains("/dev/urandom") || t.contains("/dev/random") || t.contains("/random/uuid")
            };
            texts.iter().any(chance).then_some(Moment::Random)
        }
        "git" if first == "ls-remote" => Some(Moment::Remote),
        "node" | "bun" | "deno" | "ruby" | "php" | "perl" => in_code(&texts),
        _ if program.starts_with("python") => in_code(&texts),
        _ => None,
    }
}

/// What code on the command line (`-c`, `-e`, `-r`) asks.
fn in_code(texts: &[&str]) -> Option<Moment> {
    let option = |t: &&str| matches!(*t, "-c" | "-e" | "-r" | "-p" | "-pe" | "eval" | "--eval" | "--print");
    let at = texts.iter().position(option)?;
    let code = texts.get(at + 1)?;
    let known = CODE.iter().find(|(words, _)| words.iter().any(|w| code.contains(w)));
    known.map(|(_, moment)| *moment)
}

/// Whether code on the command line writes a file.
fn writes_file(code: &str) -> bool {
    ["writeFile", "write_text", "File.write", "file_put_contents", "\"w\"", "'w'", "\"a\"", "'a'"]
        .iter()
        .any(|w| code.contains(w))
}

/// The moment that a word holds, by a variable or a substitution.
fn held(word: &ShellWord, names: &HashMap<String, Moment>) -> Option<Moment> {
    if !word.expands {
        return None;
    }
    let named = variables::names_in(word).into_iter().find_map(|n| match n.as_str() {
        "RANDOM" | "SRANDOM" => Some(Moment::Random),
        "EPOCHSECONDS" | "EPOCHREALTIME" => Some(Moment::Date),
        "HOSTNAME" => Some(Moment::Host),
        name => names.get(name).copied(),
    });
    named.or_else(|| in_text(&word.raw))
}

/// The moment in a substitution of a text.
fn in_text(text: &str) -> Option<Moment> {
    let mut rest = text;
    while let Some(at) = rest.find(['$', '`']) {
        let (_, after) = rest.split_at(at);
        let inner = after.strip_prefix("$(").or_else(|| after.strip_prefix('`'));
        if let Some(inner) = inner {
            let end = inner.find([')', '`']).unwrap_or(inner.len());
            let command = inner.get(..end).unwrap_or_default();
            let mut parts = command.split_whitespace().map(|w| w.trim_matches(['"', '\'']));
            let program = parts.next().unwrap_or_default();
            let program = program.rsplit('/').next().unwrap_or(program);
            let words: Vec<ShellWord> =
                parts.map(|w| ShellWord { text: w.to_owned(), ..ShellWord::default() }).collect();
            // What follows a variable is decided by that.
            let told = command.contains('$');
            if let Some(moment) = asks(program, &words).filter(|_| !told) {
                return Some(moment);
            }
        }
        rest = after.get(1..).unwrap_or_default();
    }
    None
}

/// Whether a command brings all packages of the system to the newest version.
fn upgrades(command: &ShellCommand) -> bool {
    let Some((program, arguments)) = work::program(command) else { return false };
    let texts: Vec<&str> = arguments.iter().map(|w| w.text.as_str()).collect();
    let verbs: &[&str] = match program {
        "apt-get" | "apt" | "aptitude" => &["upgrade", "dist-upgrade", "full-upgrade", "safe-upgrade"],
        "apk" => &["upgrade"],
        "dnf" | "yum" | "microdnf" | "tdnf" => {
            &["upgrade", "update", "distro-sync", "upgrade-minimal", "update-minimal"]
        }
        "zypper" => &["up", "update", "dup", "dist-upgrade", "patch"],
        _ => return false,
    };
    let valued = [
        "-o",
        "-t",
        "-c",
        "--repository",
        "-X",
        "--releasever",
        "--setopt",
        "--enablerepo",
        "--disablerepo",
        "-x",
        "--exclude",
        "--nodocs",
    ];
    let mut operands = Vec::new();
    let mut words = texts.iter();
    while let Some(word) = words.next() {
        if valued.contains(word) && *word != "--nodocs" {
            words.next();
        } else if !word.starts_with('-') {
            operands.push(*word);
        }
    }
    // One that names packages is about these; one that only looks changes nothing.
    let looks = texts
        .iter()
        .any(|t| matches!(*t, "-s" | "--simulate" | "--dry-run" | "--assumeno" | "--downloadonly"));
    operands.len() == 1 && operands.first().is_some_and(|verb| verbs.contains(verb)) && !looks
}

fn shown_path(process: &Process<'_>, word: &ShellWord) -> String {
    process.path(word).map_or_else(|| word.text.clone(), |p| p.path)
}

fn removes(process: &Process<'_>, path: &str) -> bool {
    let Some(("rm" | "unlink" | "shred", arguments)) = process.program() else { return false };
    arguments.iter().any(|word| {
        let removed = shown_path(process, word);
        let start = removed.split(['*', '?']).next().unwrap_or_default();
        removed == path
            || is_below(path, &removed)
            || (removed != start && !start.is_empty() && path.starts_with(start))
    })
}

/// Whether a file is in the layer and in what ships.
fn stays(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>, path: &str) -> bool {
    let passing = ["/dev", "/proc", "/sys", "/tmp", "/var/tmp", "/var/log", "/run"];
    let elsewhere = path.is_empty() || path.starts_with('&') || passing.iter().any(|p| is_below(path, p));
    let mounted = path.starts_with('/') && run.mount_over(path).is_some();
    !elsewhere && !mounted && (cx.ships(step.stage) || cx.is_taken(step.stage, path))
}

fn finding(cx: &Cx<'_>, step: &Step<'_>, stamps: &[Stamp]) -> Option<Finding> {
    let (first, rest) = stamps.split_first()?;
    let shown = &first.shown;
    let place = first.file.as_ref().map_or_else(|| "what it makes".to_owned(), |f| format!("`{f}`"));
    let (message, help) = match first.moment {
        Moment::Upgrade => (
            format!(
                "`{shown}` brings the packages of the day on which it first ran: its text does not change, so it stays CACHED \
                 and later fixes never arrive until something above it changes"
            ),
            "renew the base instead, by a digest that a bot keeps fresh; or say when to upgrade, above this RUN:\nARG \
             PACKAGES_OF=2025-01-01\nand pass the day with `--build-arg PACKAGES_OF=…`"
                .to_owned(),
        ),
        Moment::Date => (
            format!(
                "{place} keeps the time at which `{shown}` first ran: the step's text does not change, so every later build \
                 takes that value from the cache"
            ),
            "pass the time in and use it last, at the end of the stage that ships:\nARG BUILD_DATE\nLABEL \
             org.opencontainers.image.created=$BUILD_DATE"
                .to_owned(),
        ),
        Moment::Host => (
            format!(
                "{place} keeps the host name that `{shown}` saw when it first ran in the build, which is that of no container, and \
                 every later build takes it from the cache"
            ),
            "write it when the container starts, or pass it in: `ARG BUILD_HOST` at the end of the stage".to_owned(),
        ),
        Moment::Random => (
            format!(
                "{place} keeps what `{shown}` drew when it first ran: every later build takes the same value from the cache, \
                 and every container shares it"
            ),
            "draw it when the container starts, in the entry point".to_owned(),
        ),
        Moment::Remote => (
            format!(
                "{place} keeps the commit that `{shown}` saw when it first ran: the step's text does not change, so later \
                 commits never show"
            ),
            "pass the commit in, above this RUN: `ARG COMMIT`, and use `$COMMIT`".to_owned(),
        ),
    };
    let kind = |m: Moment| match m {
        Moment::Date => "date",
        Moment::Host => "host",
        Moment::Random => "random",
        Moment::Remote => "remote",
        Moment::Upgrade => "upgrade",
    };
    let mut finding = Finding::at(&RULE, cx, first.span, message)
        .label("runs once, and is CACHED from then on")
        .help(help)
        .evidence("kind", kind(first.moment))
        .evidence("file", &first.file)
        .evidence("instruction_line", cx.line(step.instruction.span));
    for other in rest.iter().filter(|s| s.span != first.span).take(NAMED) {
        finding = finding.also(other.span, "so does this");
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_that_ask_for_the_moment_are_found() {
        let cases = [
            ("$(date)", Some(Moment::Date)),
            ("built-`date -u +%F`", Some(Moment::Date)),
            ("$(date -u -d \"@$SOURCE_DATE_EPOCH\")", None),
            ("$(date --date=2020-01-01)", None),
            ("$(hostname)", Some(Moment::Host)),
            ("$(hostname web)", None),
            ("$(cat /proc/sys/kernel/random/uuid)", Some(Moment::Random)),
            ("$(openssl rand -hex 16)", Some(Moment::Random)),
            ("$(git ls-remote https://a.b/c HEAD | cut -f1)", Some(Moment::Remote)),
            ("$(git rev-parse HEAD)", None),
            ("date", None),
        ];
        for (text, expected) in cases {
            assert_eq!(in_text(text), expected, "{text}");
        }
    }
}
