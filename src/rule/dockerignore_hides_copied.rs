//! Paths that an instruction names and that the ignore file leaves out.

use super::command;
use super::transfer::{self, Transfer};
use super::{Cx, Rule, variables, words};
use crate::build::model::{Step, is_below};
use crate::context::path::{clean_str, has_wildcard, path_match};
use crate::context::{ContextIndex, IgnoreFile, LeftOut, Pattern};
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::shell::Script;
use std::collections::BTreeMap;

/// See `rules/dockerignore-hides-copied.md`.
pub(super) const RULE: Rule = Rule {
    name: "dockerignore-hides-copied",
    page: include_str!("../../rules/dockerignore-hides-copied.md"),
    check,
};

/// Paths and instructions that a finding names.
const NAMED: usize = 3;

/// What an instruction does not get.
enum Hidden {
    /// A literal source is not there: the build stops.
    Source,
    /// A wildcard takes nothing, or less than it is written for: nobody is told.
    Wildcard(Vec<String>),
    /// A file that an install below looks for is missing from what is copied.
    Needed { path: String, installer: &'static str, line: u32 },
}

/// One thing that is hidden from one transfer, by one pattern.
struct Found<'m, 'a> {
    transfer: Transfer<'m, 'a>,
    hidden: Hidden,
    pattern: usize,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let all = || cx.model.steps().flat_map(transfer::of_step);
    if all().next().is_none() {
        return;
    }
    let Some(context) = cx.context() else { return };
    let Some(ignore) = context.ignore.as_ref().filter(|i| !i.unreadable) else { return };
    let plausible = is_the_context(context, all());
    let mut found: BTreeMap<(u32, usize), Found<'_, '_>> = BTreeMap::new();
    for transfer in all() {
        let hidden = if has_wildcard(&transfer.path) {
            behind_wildcard(context, &transfer)
        } else if plausible {
            literal(context, &transfer)
        } else {
            None
        };
        let hidden = hidden.or_else(|| needed(cx, context, &transfer));
        if let Some((hidden, pattern)) = hidden {
            // A trigger and an inherited stage meet the same words again.
            found.entry((transfer.span.start, pattern)).or_insert(Found { transfer, hidden, pattern });
        }
    }
    findings.extend(found.values().filter_map(|f| finding(cx, context, ignore, f)));
}

/// Whether this folder is really what the file is built from: some source of it is there, or nothing speaks against it.
fn is_the_context<'m, 'a: 'm>(context: &ContextIndex, all: impl Iterator<Item = Transfer<'m, 'a>>) -> bool {
    let mut any = false;
    for transfer in all.filter(|t| !has_wildcard(&t.path) && !t.is_whole()) {
        let path = transfer.path.trim_start_matches('/').as_bytes();
        if context.entry(path).is_some() || is_on_disk(context, path) {
            return true;
        }
        any |= context.decided_by(path, false).is_none();
    }
    !any
}

/// Whether a path that is left out exists, as far as the walk can tell.
fn is_on_disk(context: &ContextIndex, path: &[u8]) -> bool {
    context.left_out().any(|l| {
        *l.path == *path
            || (l.pruned && path.strip_prefix(&**l.path).is_some_and(|r| r.first() == Some(&b'/')))
    })
}

fn literal(context: &ContextIndex, transfer: &Transfer<'_, '_>) -> Option<(Hidden, usize)> {
    if transfer.is_whole() {
        return None;
    }
    let path = transfer.path.trim_start_matches('/').as_bytes();
    // Something below it may be brought back; then it is there.
    if context.entry(path).is_some() {
        return None;
    }
    let pattern = context.decided_by(path, false)?;
    Some((Hidden::Source, pattern))
}

/// A pattern in an instruction that would take what the ignore file leaves out.
fn behind_wildcard(context: &ContextIndex, transfer: &Transfer<'_, '_>) -> Option<(Hidden, usize)> {
    let pattern = transfer.path.trim_start_matches('/');
    let last = pattern.rsplit('/').next().unwrap_or(pattern);
    // `*` means what is there, whatever that is.
    if transfer.is_whole() || last.trim_matches(['*', '?']).is_empty() {
        return None;
    }
    let is_meant = |l: &LeftOut<'_>| path_match(pattern, &**l.path).unwrap_or(false);
    let hidden: Vec<LeftOut<'_>> = context.left_out().filter(is_meant).collect();
    let first = hidden.first()?;
    let gets = context.select(&transfer.selector).is_ok_and(|s| !s.is_empty());
    let name = |l: &LeftOut<'_>| {
        String::from_utf8_lossy(l.path.rsplit(|b| *b == b'/').next().unwrap_or_default()).into_owned()
    };
    let paths = |some: &[LeftOut<'_>]| some.iter().map(|l| l.path.to_string()).collect::<Vec<_>>();
    if !gets {
        return Some((Hidden::Wildcard(paths(&hidden)), first.pattern));
    }
    // Of several files it is a lockfile that a wildcard makes optional by mistake.
    let pins: Vec<LeftOut<'_>> = hidden.into_iter().filter(|l| is_lockfile(&name(l))).collect();
    let first = pins.first()?;
    Some((Hidden::Wildcard(paths(&pins)), first.pattern))
}

/// A lockfile that an install below works with, in a folder that is copied whole.
fn needed(cx: &Cx<'_>, context: &ContextIndex, transfer: &Transfer<'_, '_>) -> Option<(Hidden, usize)> {
    if has_wildcard(&transfer.path) && !transfer.is_whole() {
        return None;
    }
    let source = transfer.path.trim_matches(['/', '*']);
    let steps = cx.model.lineage_steps(transfer.step.stage).filter(|s| {
        s.stage == transfer.step.stage && s.instruction.span.start >= transfer.step.instruction.span.start
    });
    for step in steps {
        let Some(script) = variables::script(cx, step) else { continue };
        for (installer, locks, folder, span) in installs(script, step) {
            if !is_below(&folder, &transfer.dest) {
                continue;
            }
            let folder = folder.strip_prefix(transfer.dest.trim_end_matches('/')).unwrap_or_default();
            for lock in locks.iter().filter(|l| is_lockfile(l)) {
                let path = clean_str(&format!("/{source}/{folder}/{lock}"));
                let path = path.trim_start_matches('/');
                if let Some(gone) = context.left_out().find(|l| *l.path == *path.as_bytes()) {
                    let hidden = Hidden::Needed { path: path.to_owned(), installer, line: cx.line(span) };
                    return Some((hidden, gone.pattern));
                }
            }
        }
    }
    None
}

/// What installs from a lockfile: the program, its lockfiles, the folder it works in, and where it stands.
fn installs(script: &Script, step: &Step<'_>) -> Vec<(&'static str, &'static [&'static str], String, Span)> {
    let known = command::installs(script, &step.state).into_iter();
    let mut out: Vec<_> = known.map(|i| (i.installer.name, i.installer.locks, i.folder, i.span)).collect();
    for (command, folder) in command::with_folders(script, &step.state) {
        let Some(("cargo", arguments)) = command.program() else { continue };
        let builds = ["build", "b", "install", "check", "test", "fetch", "rustc"];
        let verb = arguments.iter().find(|w| !w.text.starts_with(['-', '+']));
        if let Some(folder) = folder.filter(|_| verb.is_some_and(|v| builds.contains(&v.text.as_str()))) {
            out.push(("cargo", &["Cargo.lock"], folder, command.span));
        }
    }
    out
}

fn is_lockfile(name: &str) -> bool {
    let pins = ["go.sum", "npm-shrinkwrap.json", "Package.resolved"];
    pins.contains(&name)
        || name.ends_with(".lock")
        || name.contains("-lock.")
        || name.ends_with(".lockb")
        || name.ends_with(".lockfile")
        || name.ends_with("lock.json")
}

fn finding(
    cx: &Cx<'_>,
    context: &ContextIndex,
    ignore: &IgnoreFile,
    found: &Found<'_, '_>,
) -> Option<Finding> {
    let Found { transfer, hidden, pattern } = found;
    let pattern: &Pattern = ignore.patterns.get(*pattern)?;
    let shown = transfer.shown();
    let file = &ignore.file.name;
    let line = ignore.file.position(pattern.span.start).line;
    let text = ignore.file.text(pattern.span).trim().to_owned();
    let by = format!("`{text}` on line {line} of `{file}` leaves it out");
    let path = transfer.path.trim_start_matches('/');
    let (message, label, paths) = match hidden {
        Hidden::Source => {
            let there =
                if is_on_disk(context, path.as_bytes()) { "" } else { ", whether it is there or not" };
            (
                format!("`{shown}` stops the build: `{path}` is not found, because {by}{there}"),
                "never arrives".to_owned(),
                vec![path.to_owned()],
            )
        }
        Hidden::Wildcard(paths) => (
            format!(
                "`{shown}` does not take {} and says nothing, because {by}: no change of {} can ever show",
                words::list(paths, NAMED),
                if paths.len() == 1 { "it" } else { "them" }
            ),
            "takes nothing of it".to_owned(),
            paths.clone(),
        ),
        Hidden::Needed { path, installer, line } => (
            format!(
                "`{shown}` comes without `{path}`, because {by}: `{installer}` on line {line} does not see what is pinned"
            ),
            "comes without it".to_owned(),
            vec![path.clone()],
        ),
    };
    let back = paths.first().map_or(path, String::as_str);
    let instead = if ignore
        .patterns
        .iter()
        .any(|p| !p.negated && p.span == pattern.span && is_below_pattern(&text, back))
    {
        format!(
            "\n(in place of `{text}`, if it stands for more than `{back}`: name what it should leave out)"
        )
    } else {
        String::new()
    };
    let help = match hidden {
        Hidden::Source => format!(
            "take the pattern out, or bring the path back below it:\n!{back}{instead}\nor do not copy it from the context"
        ),
        _ => format!("take the pattern out, or bring the path back below it:\n!{back}{instead}"),
    };
    Some(
        Finding::at(&RULE, cx, transfer.span, message)
            .label(label)
            .also_in(&ignore.file, pattern.span, "leaves it out")
            .help(help)
            .evidence("pattern", text)
            .evidence("pattern_line", line)
            .evidence("paths", paths),
    )
}

/// Whether a pattern is about a folder above the path.
fn is_below_pattern(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_matches('/').trim_start_matches("**/");
    path.split('/').rev().skip(1).any(|part| part == pattern)
}
