//! Downloads and installs that may fail while their RUN succeeds, so that the incomplete layer is kept.
//!
//! A shell's verdict is that of its last command. What fails before it counts under `set -e`, behind `&&`, or not at all.

use super::variables;
use super::work::{self, Work};
use super::{Cx, Rule, words};
use crate::build::model::{Action, Run, Step};
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::shell::{Connector, Script, ShellCommand};
use std::collections::HashSet;

/// See `rules/swallowed-failure-cached.md`.
pub(super) const RULE: Rule = Rule {
    name: "swallowed-failure-cached",
    page: include_str!("../../rules/swallowed-failure-cached.md"),
    check,
};

/// Failures that are named beside the first one.
const NAMED: usize = 3;

/// What makes a failure go unnoticed.
enum Cover {
    /// `|| true`
    Or(Span),
    /// a later command that succeeds anyway
    Later(Span),
    /// the other end of a pipe
    Pipe(Span),
    /// curl takes an error page for content
    Page,
    /// the next round of a loop
    Rounds,
}

struct Swallowed {
    span: Span,
    shown: String,
    cover: Cover,
}

/// What a shell was told about failures.
#[derive(Clone, Copy, Default)]
struct Manner {
    exits: bool,
    pipefail: bool,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        for step in &stage.steps {
            let Action::Run(run) = &step.action else { continue };
            let Some(script) = variables::script(cx, step) else { continue };
            // Exec form has no shell of its own; the one that it names brings its options.
            let first = if run.shell_form { first_manner(step, run) } else { Manner::default() };
            let found = swallowed(cx, script, first);
            if !found.is_empty() && told.insert(step.instruction.span) {
                findings.extend(finding(cx, step, &found));
            }
        }
    }
}

/// What SHELL and the `#!` of a heredoc say.
fn first_manner(step: &Step<'_>, run: &Run<'_>) -> Manner {
    let line = run.script_file.as_ref().and_then(|(_, content)| content.lines().next());
    let words: Vec<String> = match line {
        Some(line) => line.split_whitespace().skip(1).map(str::to_owned).collect(),
        None => step.state.shell_words().into_iter().skip(1).collect(),
    };
    options(words.iter().map(String::as_str), Manner::default())
}

/// Options of `set` and of shells.
fn options<'w>(words: impl Iterator<Item = &'w str>, mut manner: Manner) -> Manner {
    for word in words {
        let (on, letters) = match (word.strip_prefix('-'), word.strip_prefix('+')) {
            (Some(letters), _) => (true, letters),
            (_, Some(letters)) => (false, letters),
            _ => match word {
                "pipefail" => {
                    manner.pipefail = true;
                    continue;
                }
                "errexit" => {
                    manner.exits = true;
                    continue;
                }
                _ => continue,
            },
        };
        if !letters.starts_with('-') && letters.contains('e') {
            manner.exits = on;
        }
    }
    manner
}

fn swallowed(cx: &Cx<'_>, script: &Script, first: Manner) -> Vec<Swallowed> {
    let commands = &script.commands;
    let mut manners = vec![first];
    let mut found = Vec::new();
    for (at, command) in commands.iter().enumerate() {
        let depth = command.subshell_depth;
        while manners.len() > depth + 1 {
            manners.pop();
        }
        while manners.len() <= depth {
            // `sh -c` begins anew with its own options; `(…)` goes on with those around it.
            let outer = at.checked_sub(1).and_then(|n| commands.get(n)).filter(|c| is_shell(c));
            let inherited = manners.last().copied().unwrap_or_default();
            manners.push(match outer {
                Some(shell) => options(shell.words.iter().map(|w| w.text.as_str()), Manner::default()),
                None => inherited,
            });
        }
        let Some(manner) = manners.get_mut(depth) else { continue };
        if command.name() == "set" {
            let words = command.words.iter().skip(1).map(|w| w.text.as_str());
            *manner = options(words, *manner);
            continue;
        }
        let piped =
            commands.get(at + 1).is_some_and(|c| c.connector == Connector::Pipe && c.group == command.group);
        if !brings_content(command, piped)
            || is_asked(cx, command)
            || command.negated
            || is_tried_again(commands, command)
        {
            continue;
        }
        let manner = *manner;
        if let Some(cover) = cover(commands, at, manner).or_else(|| rounds(commands, at, manner)) {
            let text = words::joined(&cx.file.text(command.span));
            found.push(Swallowed { span: command.span, shown: words::shortened(&text, 60), cover });
        }
    }
    found
}

fn is_shell(command: &ShellCommand) -> bool {
    matches!(command.name(), "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh")
}

/// Whether a command downloads or installs something that stays. An index alone is none: without it the install fails.
fn brings_content(command: &ShellCommand, piped: bool) -> bool {
    if work::of(command) != Work::Fetch {
        return false;
    }
    let Some((name, arguments)) = work::program(command) else { return false };
    let has = |words: &[&str]| arguments.iter().any(|w| words.contains(&w.text.as_str()));
    match name {
        "curl" => {
            piped
                || writes(command)
                || arguments.iter().any(|w| is_short(&w.text, 'o') || is_short(&w.text, 'O'))
                || has(&["--output", "--remote-name"])
        }
        "wget" => {
            let quiet = has(&["--spider", "--version"]);
            let out = arguments
                .iter()
                .any(|w| w.text == "-" || w.text.ends_with("O-") || w.text == "--output-document=-");
            !quiet && (!out || piped || writes(command))
        }
        "apt-get" | "apt" | "aptitude" | "apk" | "opkg" => {
            !has(&["update"]) || has(&["install", "add", "upgrade"])
        }
        "dnf" | "yum" | "microdnf" | "tdnf" | "zypper" => {
            !has(&["makecache", "refresh", "ref", "check-update", "update", "upgrade", "module"])
        }
        // Keys and settings of repositories; the install says if they are missing.
        "apt-key" | "add-apt-repository" | "corepack" | "nvm" | "fnm" | "sdk" | "volta" => false,
        "rustup" => {
            has(&["install", "toolchain", "target", "component", "update", "default"]) && !has(&["list"])
        }
        "git" => has(&["clone", "submodule", "pull"]),
        _ => true,
    }
}

/// `-o`, `-sLo`, `-fsSLO`
fn is_short(word: &str, letter: char) -> bool {
    word.strip_prefix('-').is_some_and(|w| !w.starts_with('-') && w.contains(letter))
}

/// Whether standard output goes into a file.
fn writes(command: &ShellCommand) -> bool {
    command.redirects.iter().any(|r| {
        matches!(r.op.as_str(), ">" | ">>" | ">|")
            && r.fd.unwrap_or(1) == 1
            && !r.target.text.starts_with("/dev/")
    })
}

/// Whether a command is the question of `if`, `while` or `until`.
fn is_asked(cx: &Cx<'_>, command: &ShellCommand) -> bool {
    let start = command.span.start as usize;
    let before = cx.file.text(Span::new(start.saturating_sub(40), start)).into_owned();
    let word = before
        .trim_end_matches([' ', '\t', '\n', '\\', '!'])
        .rsplit([' ', '\t', '\n', ';', '&', '|', '('])
        .next();
    matches!(word, Some("if" | "elif" | "while" | "until"))
}

/// Whether a loop or a branch around it deals with failures: `break`, `exit`, `return`.
fn is_tried_again(commands: &[ShellCommand], command: &ShellCommand) -> bool {
    let same = |other: &&ShellCommand| {
        other.group == command.group
            || (!command.loops.is_empty() && other.loops.len() == command.loops.len())
    };
    commands.iter().filter(same).any(|c| matches!(c.name(), "break" | "exit" | "return") && !exits_well(c))
}

fn exits_well(command: &ShellCommand) -> bool {
    matches!(command.name(), "exit" | "return") && command.words.get(1).is_some_and(|w| w.text == "0")
}

fn cover(commands: &[ShellCommand], at: usize, manner: Manner) -> Option<Cover> {
    let command = commands.get(at)?;
    // Commands of substitutions and inner shells stand between those of a list.
    let depth = command.subshell_depth;
    let rest: Vec<&ShellCommand> =
        commands.get(at + 1..)?.iter().take_while(|c| c.subshell_depth >= depth).collect();
    let level: Vec<&ShellCommand> = rest.into_iter().filter(|c| c.subshell_depth == depth).collect();
    let list: Vec<&&ShellCommand> = level.iter().filter(|c| c.group == command.group).collect();
    let pipe = list.first().filter(|c| c.connector == Connector::Pipe);
    if let Some(next) = pipe {
        let last = list.iter().take_while(|c| c.connector == Connector::Pipe).last().unwrap_or(next);
        let (blind, end) = (is_blind(last), last.span);
        let guarded = list.iter().take_while(|c| c.connector == Connector::Pipe).any(|c| !is_blind(c));
        // What it should have installed is used at once: that fails, and nothing is kept.
        let uses = |c: &&ShellCommand| {
            work::of(c) == Work::Other
                || matches!(
                    c.name(),
                    "mv" | "cp" | "chmod" | "ln" | "test" | "[" | "command" | "which" | "source" | "."
                )
        };
        let used = level.iter().skip_while(|c| c.span.start <= end.start).any(uses);
        return (!manner.pipefail && blind && !guarded && !used).then_some(Cover::Pipe(end));
    }
    // `fetch || true`; another way to get it is none.
    if let Some(other) = list.iter().find(|c| c.connector == Connector::Or) {
        return is_shrug(other).then_some(Cover::Or(other.span));
    }
    let is_last_of_list = list.is_empty();
    // `-e` looks at the last command of a list only.
    let noticed = manner.exits && is_last_of_list;
    // A group in braces has lists of its own, and the list around it may go on behind it.
    let end = level.iter().rposition(|c| c.group == command.group).map_or(0, |n| n + 1);
    let behind: Vec<&ShellCommand> =
        level.iter().skip(end).filter(|c| c.loops.len() <= command.loops.len()).copied().collect();
    if !noticed && !command.conditional && (depth == 0 || in_own_shell(commands, at)) {
        let last_group = behind.last().map(|c| c.group);
        let final_list: Vec<&ShellCommand> =
            behind.iter().filter(|c| Some(c.group) == last_group).copied().collect();
        let sure =
            !final_list.is_empty() && final_list.iter().all(|c| succeeds_anyway(c) && !depends(c, command));
        let checked = behind.iter().chain(list.iter().copied()).any(|c| is_check(c)) && manner.exits;
        if sure && !checked {
            return final_list.first().map(|c| Cover::Later(c.span));
        }
    }
    (command.name() == "curl" && takes_error_page(command) && !is_examined(command, &level))
        .then_some(Cover::Page)
}

/// Whether a command is one of a script that a shell is given, in a list of its own: `sh -c "…"`, a heredoc.
fn in_own_shell(commands: &[ShellCommand], at: usize) -> bool {
    let before = commands.get(..at).unwrap_or_default();
    let Some(depth) = commands.get(at).map(|c| c.subshell_depth) else { return false };
    let outer = before.iter().rposition(|c| c.subshell_depth < depth);
    let Some(shell) = outer.and_then(|n| commands.get(n)) else { return false };
    // Nothing behind the shell asks what came of it.
    let last = outer.is_some_and(|n| !commands.iter().skip(n + 1).any(|c| c.subshell_depth < depth));
    is_shell(shell) && shell.subshell_depth == 0 && depth == 1 && last && !shell.conditional
}

/// A round of a `for` loop that fails, before one that succeeds.
fn rounds(commands: &[ShellCommand], at: usize, manner: Manner) -> Option<Cover> {
    let command = commands.get(at)?;
    let innermost = command.loops.last()?;
    let several = innermost.values.len() > 1 || innermost.values.iter().any(|v| v.expands || v.glob);
    let rest: Vec<&ShellCommand> = commands.get(at + 1..)?.iter().collect();
    let alone = !rest.iter().any(|c| c.group == command.group);
    if manner.exits || !several || command.conditional || !alone || is_examined(command, &rest) {
        return None;
    }
    Some(Cover::Rounds)
}

/// Programs that make something of an empty input, too, and succeed.
fn is_blind(command: &ShellCommand) -> bool {
    let Some((name, arguments)) = command.program() else { return true };
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match plain {
        // A program on the command line reads its input as it likes.
        "sh" | "bash" | "ash" | "dash" | "zsh" | "python" | "perl" | "node" | "ruby" | "php" => !arguments
            .iter()
            .any(|w| matches!(w.text.as_str(), "-c" | "-e" | "-r" | "-E" | "-n" | "-ne" | "-pe")),
        "sed" | "awk" | "tee" | "cat" | "tr" | "head" | "tail" | "cut" | "base64" | "sort" | "envsubst" => {
            writes(command) || plain == "tee" && !arguments.iter().all(|w| w.text.starts_with("/dev/"))
        }
        _ => false,
    }
}

/// `true`, `:`, `echo …`, `exit 0`
fn is_shrug(command: &ShellCommand) -> bool {
    matches!(command.name(), "true" | ":" | "echo" | "printf")
        && command.redirects.iter().all(|r| r.op != ">")
        || exits_well(command)
}

/// Whether a command succeeds whatever happened before it.
fn succeeds_anyway(command: &ShellCommand) -> bool {
    let Some((name, arguments)) = work::program(command) else {
        // Assignments, and redirections into new files.
        return true;
    };
    let has = |words: &[&str]| arguments.iter().any(|w| words.contains(&w.text.as_str()));
    match name {
        "echo" | "printf" | "true" | ":" | "export" | "unset" | "sleep" | "touch" | "date" | "sync" => true,
        "rm" => arguments.iter().any(|w| is_short(&w.text, 'f') || w.text == "--force"),
        "mkdir" => arguments.iter().any(|w| is_short(&w.text, 'p') || w.text == "--parents"),
        "apt-get" | "apt" | "aptitude" | "yum" | "dnf" | "microdnf" | "tdnf" | "zypper" => {
            has(&["clean", "autoclean", "autoremove"]) && !has(&["install"])
        }
        "npm" | "yarn" | "pip" | "conda" | "composer" | "gem" | "go" => {
            has(&["cache", "clean", "clear-cache", "cleanup"]) && work::of(command) != Work::Fetch
        }
        "apk" => has(&["cache"]),
        "exit" | "return" => exits_well(command),
        _ => false,
    }
}

/// Whether a command names what another one brings.
fn depends(command: &ShellCommand, on: &ShellCommand) -> bool {
    let names: Vec<&str> = on
        .words
        .iter()
        .filter(|w| !w.text.starts_with('-') && w.text.len() > 2)
        .map(|w| w.text.trim_end_matches('/').rsplit('/').next().unwrap_or_default())
        .filter(|n| n.len() > 2)
        .collect();
    // To take it away again asks for nothing.
    let removes = command.name() == "rm";
    !removes && command.words.iter().any(|w| names.iter().any(|n| w.text.contains(n)))
}

fn is_check(command: &ShellCommand) -> bool {
    let name = command.name();
    name.ends_with("sum") || matches!(name, "gpg" | "cosign" | "minisign" | "openssl" | "test" | "[" | "[[")
}

/// Whether curl would store an answer of a server that has nothing: no `--fail`.
fn takes_error_page(command: &ShellCommand) -> bool {
    let Some((_, arguments)) = command.program() else { return false };
    let fails = arguments.iter().any(|w| {
        is_short(&w.text, 'f') || w.text.starts_with("--fail") || w.text == "-K" || w.text == "--config"
    });
    // `-w %{http_code}` looks itself; what a variable holds is not known.
    let looks = arguments.iter().any(|w| {
        w.text == "-w"
            || w.text == "--write-out"
            || w.text == "-I"
            || w.text == "--head"
            || (w.expands && w.text.starts_with('$'))
    });
    let address = |t: &str| t.contains("://") || t.contains('$') || (t.contains('.') && t.contains('/'));
    !fails && !looks && arguments.iter().any(|w| address(&w.text))
}

/// Whether a command below would stop at content that is none: unpacks, checks, runs or installs it.
fn is_examined(command: &ShellCommand, level: &[&ShellCommand]) -> bool {
    let arranges = |c: &ShellCommand| {
        matches!(
            c.name(),
            "chmod"
                | "chown"
                | "mv"
                | "cp"
                | "ln"
                | "install"
                | "mkdir"
                | "rm"
                | "echo"
                | "printf"
                | "touch"
                | "export"
                | "cd"
                | "ls"
                | "sed"
                | "cat"
                | "set"
                | "apt-get"
                | "apk"
                | "yum"
                | "dnf"
                | "curl"
                | "wget"
                | "useradd"
                | "adduser"
                | "groupadd"
                | "addgroup"
                | "ldconfig"
                | "true"
                | ":"
                | "tee"
                | "sleep"
                | "apt"
                | ""
        )
    };
    // Another program may look at it, by whatever name.
    level.iter().any(|c| !arranges(c) || (installs_file(c)))
        || command.words.iter().any(|w| w.text.contains("/.git") || w.text.ends_with(".sh.asc"))
}

/// `apt-get install ./tool.deb`
fn installs_file(command: &ShellCommand) -> bool {
    matches!(command.name(), "apt-get" | "apt" | "yum" | "dnf" | "apk")
        && command.words.iter().any(|w| {
            w.text.contains('/')
                || w.text.ends_with(".deb")
                || w.text.ends_with(".rpm")
                || w.text.ends_with(".apk")
        })
}

fn finding(cx: &Cx<'_>, step: &Step<'_>, found: &[Swallowed]) -> Option<Finding> {
    let (first, rest) = found.split_first()?;
    let shown = &first.shown;
    let later = "the layer without it is kept and reused until something above changes";
    let (message, label, help) = match &first.cover {
        Cover::Or(span) => (
            format!("when `{shown}` fails, `{}` makes a success of it: {later}", covering(cx, *span)),
            "its failure counts as success",
            format!("let it fail: drop `|| {}`; if one try is too few, repeat it and give up with an error", covering(cx, *span)),
        ),
        Cover::Later(span) => (
            format!(
                "when `{shown}` fails, the RUN goes on to `{}` and succeeds: {later}",
                covering(cx, *span)
            ),
            "its failure is forgotten",
            "stop at the first failure: begin with `set -eu;`, and join commands with `&&` only where the last one is the one \
             that can fail"
                .to_owned(),
        ),
        Cover::Pipe(span) => (
            format!(
                "when `{shown}` fails, `{}` gets nothing to do and succeeds: {later}",
                covering(cx, *span)
            ),
            "its failure is lost in the pipe",
            "let the pipe fail as a whole, above this RUN:\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nor download to \
             a file first, and use it behind `&&`"
                .to_owned(),
        ),
        Cover::Rounds => (
            format!("when `{shown}` fails in one round, the loop goes on and the RUN can succeed: {later}"),
            "only the last round counts",
            "stop at the first failure: begin with `set -eu;`, or write `|| exit 1` behind it".to_owned(),
        ),
        Cover::Page => (
            format!(
                "when the server answers `{shown}` with an error, curl stores the error page and succeeds: the layer with it is \
                 kept and reused until something above changes"
            ),
            "an error page is content for curl",
            format!("let it fail: `{}`", shown.replacen("curl ", "curl -f ", 1)),
        ),
    };
    let mut finding = Finding::at(&RULE, cx, first.span, message)
        .label(label)
        .help(help)
        .evidence("instruction_line", cx.line(step.instruction.span))
        .evidence("commands", found.iter().map(|s| &s.shown).collect::<Vec<_>>());
    if let Cover::Or(span) | Cover::Later(span) | Cover::Pipe(span) = first.cover {
        finding = finding.also(span, "succeeds anyway");
    }
    for other in rest.iter().take(NAMED) {
        finding = finding.also(other.span, "so it is with this one");
    }
    Some(finding)
}

fn covering(cx: &Cx<'_>, span: Span) -> String {
    words::shortened(&words::joined(&cx.file.text(span)), 40)
}
