//! Where instructions and shell text read variables, and where a shell sets them itself.

use super::Cx;
use super::images;
use crate::build::model::{Action, Step};
use crate::source::Span;
use crate::syntax::shell::{Script, ShellCommand, ShellWord};
use crate::syntax::{Escape, Instruction, Keyword};
use std::collections::HashSet;
use std::sync::Arc;

/// One place that asks for the value of a variable.
pub(super) struct Reading {
    /// The variable.
    pub name: String,
    /// Where, the dollar included.
    pub span: Span,
    /// The operator behind the name if there is one: `-`, `+`, `=`, `?`, with or without colon.
    pub operator: Option<char>,
    /// Number of the command of a script; `None` outside of commands.
    pub command: Option<usize>,
}

/// How a text is read.
#[derive(Clone, Copy)]
struct Manner {
    escape: char,
    /// Quotes mean something.
    quotes: bool,
    /// Command substitutions are somebody else's to read.
    commands: bool,
}

const SHELL: Manner = Manner { escape: '\\', quotes: true, commands: true };
const BODY: Manner = Manner { escape: '\\', quotes: false, commands: false };

/// The commands of a RUN, if a POSIX shell reads them and they could be read to the end.
pub(super) fn script<'s>(cx: &Cx<'_>, step: &'s Step<'_>) -> Option<&'s Script> {
    let Action::Run(run) = &step.action else { return None };
    // What a base image of Windows calls its shell is not known; it is none of these.
    if run.shell_form && step.state.shell.is_none() && is_windows(cx, step.stage) {
        return None;
    }
    run.script().filter(|s| !s.foreign && !s.incomplete)
}

/// Whether a stage is one for Windows, as far as its base or the escape character tell.
fn is_windows(cx: &Cx<'_>, stage: usize) -> bool {
    let root = cx.graph.lineage(stage).first().and_then(|s| cx.graph.stages.get(*s));
    cx.document.escape == Escape::Backtick || root.is_some_and(|s| images::is_windows(&s.base_text))
}

/// The variables that PowerShell (`$env:NAME`) or the command line of Windows (`%NAME%`) read in a RUN, but those
/// that it sets itself.
pub(super) fn read_by_windows(cx: &Cx<'_>, step: &Step<'_>) -> Vec<Reading> {
    let (Action::Run(run), text) = (&step.action, &step.instruction.rest) else { return Vec::new() };
    let words = step.state.shell_words();
    let program = words.first().map(String::as_str).unwrap_or_default();
    let name = program.rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase();
    let power = matches!(name.trim_end_matches(".exe"), "powershell" | "pwsh");
    if !run.shell_form || !(power || is_windows(cx, step.stage)) {
        return Vec::new();
    }
    let written = text.to_str();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let lower = written.to_ascii_lowercase();
    let mut out: Vec<Reading> = Vec::new();
    let mut add = |name: &str, at: usize, end: usize| {
        if !name.is_empty() && name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit()) {
            out.push(Reading {
                name: name.to_owned(),
                span: text.span(at..end),
                operator: None,
                command: None,
            });
        }
    };
    for (at, start) in written.match_indices("$env:").chain(written.match_indices("${env:")) {
        let rest = written.get(at + start.len()..).unwrap_or_default();
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        add(rest.get(..end).unwrap_or_default(), at, at + start.len() + end);
    }
    if !power {
        let marks: Vec<usize> = written.match_indices('%').map(|(at, _)| at).collect();
        let mut marks = marks.into_iter().peekable();
        while let Some(at) = marks.next() {
            let Some(end) = marks.peek().copied() else { break };
            let name = written.get(at + 1..end).unwrap_or_default();
            if !name.is_empty() && name.chars().all(is_name) {
                add(name, at, end + 1);
                marks.next();
            }
        }
    }
    let mut set: HashSet<&str> = HashSet::new();
    for (at, start) in lower.match_indices("$env:").chain(lower.match_indices("set ")) {
        let rest = lower.get(at + start.len()..).unwrap_or_default().trim_start_matches('"');
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, behind) = (rest.get(..end).unwrap_or_default(), rest.get(end..).unwrap_or_default());
        let behind = behind.trim_start();
        if behind.starts_with('=') && !behind.starts_with("==") {
            set.insert(name);
        }
    }
    out.retain(|r| !set.contains(r.name.to_ascii_lowercase().as_str()));
    out.sort_by_key(|r| r.span.start);
    out
}

/// The variables that a script reads, in order. Single quotes, escapes and quoted heredocs are no readings.
pub(super) fn read_by(cx: &Cx<'_>, script: &Script) -> Vec<Reading> {
    let mut out = Vec::new();
    let mut loops = Vec::new();
    for (number, command) in script.commands.iter().enumerate() {
        let mut word = |word: &ShellWord| of_word(cx, word, Some(number), &mut out);
        for this in &command.loops {
            if !loops.iter().any(|known| Arc::ptr_eq(known, this)) {
                this.values.iter().for_each(&mut word);
                loops.push(this.clone());
            }
        }
        command.assignments.iter().for_each(|(_, value)| word(value));
        command.words.iter().for_each(&mut word);
        for redirect in &command.redirects {
            match &redirect.heredoc {
                Some(body) if !redirect.target.quoted => {
                    let found = scan(body, BODY).into_iter().map(|found| Reading {
                        name: found.name,
                        span: redirect.target.span,
                        operator: found.operator,
                        command: Some(number),
                    });
                    out.extend(found);
                }
                Some(_) => {}
                None => of_word(cx, &redirect.target, Some(number), &mut out),
            }
        }
    }
    script.subjects.iter().for_each(|word| of_word(cx, word, None, &mut out));
    out
}

fn of_word(cx: &Cx<'_>, word: &ShellWord, command: Option<usize>, out: &mut Vec<Reading>) {
    if !word.expands {
        return;
    }
    let written = cx.file.text(word.span);
    for found in scan(&word.raw, SHELL) {
        let text = word.raw.get(found.at..found.end).unwrap_or_default();
        // Joined lines move what stands behind them.
        let at = if *written == *word.raw { Some(found.at) } else { written.find(text) };
        let span = at.map_or(word.span, |at| {
            let start = word.span.start as usize + at;
            Span::new(start, start + text.len())
        });
        out.push(Reading { name: found.name, span, operator: found.operator, command });
    }
}

/// The variables in the words, flags and heredocs of an instruction that BuildKit expands: of RUN the mounts, of CMD
/// and its like nothing.
pub(super) fn expanded_in(cx: &Cx<'_>, instruction: &Instruction) -> Vec<Reading> {
    use Keyword::{Add, Arg, Copy, Env, Expose, Label, Run, Stopsignal, User, Volume, Workdir};
    let manner = Manner { escape: cx.document.escape.char(), quotes: true, commands: false };
    let mut out = Vec::new();
    let flags: &[&str] = match instruction.keyword {
        Run => &["mount"],
        Add | Arg | Copy | Env | Expose | Label | Stopsignal | User | Volume | Workdir => {
            let rest = &instruction.rest;
            let text = String::from_utf8_lossy(&rest.bytes);
            for found in scan(&text, manner) {
                let span = rest.span(found.at..found.end);
                out.push(Reading { name: found.name, span, operator: found.operator, command: None });
            }
            &["chown", "chmod", "checksum"]
        }
        _ => return Vec::new(),
    };
    for flag in instruction.flags.iter().filter(|f| flags.contains(&f.name.as_str())) {
        for found in scan(flag.value(), manner) {
            let (name, operator) = (found.name, found.operator);
            out.push(Reading { name, span: flag.value_span, operator, command: None });
        }
    }
    let heredocs = instruction.heredocs.iter().filter(|h| h.expand && instruction.keyword != Run);
    for heredoc in heredocs {
        let body = String::from_utf8_lossy(&heredoc.body);
        for found in scan(&body, BODY) {
            let start = heredoc.body_span.start as usize;
            let span = Span::new(start + found.at, start + found.end);
            out.push(Reading { name: found.name, span, operator: found.operator, command: None });
        }
    }
    out
}

/// Whether the shell itself gives a variable its value before a place that reads it, or may do so.
pub(super) fn is_set_before(script: &Script, reading: &Reading) -> bool {
    let here = reading.command;
    let asks = |n: usize| {
        script
            .commands
            .get(n)
            .is_some_and(|c| matches!(c.words.first().map(|w| w.text.as_str()), Some("[" | "[[" | "test")))
    };
    script.commands.iter().enumerate().any(|(number, command)| {
        let looped = command.loops.iter().any(|l| l.variable == reading.name);
        let sets = sets(command, &reading.name);
        match here {
            // A command behind it may come before it in a loop or a function; not where it asks for a default.
            Some(here) if number > here => (sets || looped) && !asks(here),
            Some(here) if number == here => looped || (sets && assigns_first(command, &reading.name)),
            _ => sets || looped || may_set(command),
        }
    })
}

/// Whether a command gives a variable a value.
fn sets(command: &ShellCommand, name: &str) -> bool {
    let begins = |word: &ShellWord| {
        word.text.strip_prefix(name).is_some_and(|rest| rest.starts_with('=') || rest.starts_with("+="))
    };
    let is = |word: &ShellWord| word.text == name;
    let programs = command.words.first().map(|w| w.text.as_str()).unwrap_or_default();
    command.assignments.iter().any(|(n, _)| n == name)
        || match programs {
            "read" | "mapfile" | "readarray" | "getopts" | "unset" => command.words.iter().any(is),
            "printf" => command.words.iter().any(|w| w.text == "-v") && command.words.iter().any(is),
            "export" | "declare" | "typeset" | "local" | "readonly" | "env" | "sudo" => {
                command.words.iter().any(begins)
            }
            _ => false,
        }
        || command.words.iter().any(|w| w.expands && w.raw.contains(&format!("${{{name}:=")))
}

/// Whether a command assigns only, so that what stands behind in it sees the value; not `X=${X:-1}`.
fn assigns_first(command: &ShellCommand, name: &str) -> bool {
    let own = command.assignments.iter().any(|(n, v)| n == name && !v.raw.contains(name));
    own && command.words.is_empty()
}

/// Whether a command may set anything.
fn may_set(command: &ShellCommand) -> bool {
    matches!(command.name(), "." | "source" | "eval")
}

/// The variables that a word of a script names.
pub(super) fn names_in(word: &ShellWord) -> Vec<String> {
    if word.expands { scan(&word.raw, SHELL).into_iter().map(|f| f.name).collect() } else { Vec::new() }
}

struct Found {
    name: String,
    at: usize,
    end: usize,
    operator: Option<char>,
}

/// Finds `$NAME` and `${NAME…}`. Bytes are enough: names are ASCII.
fn scan(text: &str, manner: Manner) -> Vec<Found> {
    let bytes = text.as_bytes();
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let mut found = Vec::new();
    let mut at = 0;
    let mut double = false;
    while at < bytes.len() {
        let b = byte(at);
        if char::from(b) == manner.escape {
            at += 2;
            continue;
        }
        match b {
            b'"' if manner.quotes => double = !double,
            b'\'' if manner.quotes && !double => {
                at = end_of(bytes, at + 1, b'\'', false);
                continue;
            }
            b'`' if manner.commands => {
                at = end_of(bytes, at + 1, b'`', true);
                continue;
            }
            b'$' => {
                at = dollar(bytes, at, double, manner, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads what begins with a dollar; returns where to go on.
fn dollar(bytes: &[u8], at: usize, double: bool, manner: Manner, found: &mut Vec<Found>) -> usize {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    match byte(at + 1) {
        b'\'' if manner.commands && !double => end_of(bytes, at + 2, b'\'', true),
        b'(' if manner.commands && byte(at + 2) != b'(' => parenthesis_end(bytes, at + 2),
        b'$' => at + 2,
        b'{' => {
            let start = at + 2 + usize::from(matches!(byte(at + 2), b'#' | b'!'));
            let end = name_end(bytes, start);
            let operator = match byte(end) {
                b':' => byte(end + 1),
                other => other,
            };
            let operator = matches!(operator, b'-' | b'+' | b'=' | b'?').then(|| char::from(operator));
            let name = String::from_utf8_lossy(bytes.get(start..end).unwrap_or_default()).into_owned();
            if !name.is_empty() && !byte(start).is_ascii_digit() {
                let close = if byte(end) == b'}' { end + 1 } else { end };
                found.push(Found { name, at, end: close, operator });
            }
            // The word behind the operator may hold variables of its own.
            end.max(at + 2)
        }
        b if b.is_ascii_alphabetic() || b == b'_' => {
            let end = name_end(bytes, at + 1);
            let name = String::from_utf8_lossy(bytes.get(at + 1..end).unwrap_or_default()).into_owned();
            found.push(Found { name, at, end, operator: None });
            end
        }
        _ => at + 1,
    }
}

fn name_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
}

/// Behind the next `quote`.
fn end_of(bytes: &[u8], from: usize, quote: u8, escapes: bool) -> usize {
    let mut at = from;
    while let Some(b) = bytes.get(at) {
        match *b {
            b'\\' if escapes => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Behind the `)` that closes a `$(`.
fn parenthesis_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 1usize;
    let mut at = from;
    while let Some(b) = bytes.get(at) {
        at += 1;
        match *b {
            b'\\' => at += 1,
            b'\'' => at = end_of(bytes, at, b'\'', false),
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, manner: Manner) -> Vec<String> {
        let found = scan(text, manner);
        found
            .iter()
            .map(|f| format!("{}{}", f.name, f.operator.map_or(String::new(), String::from)))
            .collect()
    }

    #[test]
    fn quotes_escapes_and_substitutions_hide_variables_from_a_shell_word() {
        assert_eq!(names(r#""$a"${b}'$c'\$d"\$e'$f'""#, SHELL), ["a", "b", "f"]);
        assert_eq!(names("$(g $h)$i`j $k`$'$l'", SHELL), ["i"]);
        assert_eq!(names("${m:-$n}${o+x}${p#v}${#q}$1$$r$?", SHELL), ["m-", "n", "o+", "p", "q"]);
        assert_eq!(names("$((s + $t))", SHELL), ["t"]);
    }

    #[test]
    fn a_body_knows_no_quotes() {
        assert_eq!(names(r#"'$a' "$(b $c)" \$d"#, BODY), ["a", "c"]);
    }

    #[test]
    fn broken_text_ends() {
        for text in ["$", "${", "$(", "'", "`", "\\", "${a", "$(a'", "é$é${é}"] {
            let _ = names(text, SHELL);
            let _ = names(text, BODY);
        }
        assert_eq!(names("é$a", SHELL), ["a"]);
    }
}
