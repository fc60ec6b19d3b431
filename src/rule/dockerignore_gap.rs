//! Leftovers that get past the ignore file, and the pattern that was meant for them.

use super::edit::needs_review;
use super::leftovers::{Found, Judge, amount};
use super::{Cx, Rule, transfer, words};
use crate::context::path::path_match;
use crate::context::pattern::Matcher;
use crate::context::{IgnoreFile, Pattern};
use crate::finding::{Edit, Finding, Fix};
use crate::source::{SourceFile, Span};
use bstr::{BStr, ByteSlice as _};
use std::collections::BTreeMap;

/// See `rules/dockerignore-gap.md`.
pub(super) const RULE: Rule =
    Rule { name: "dockerignore-gap", page: include_str!("../../rules/dockerignore-gap.md"), check };

/// Leftovers, copies and patterns that a finding names.
const NAMED: usize = 3;

/// Why the ignore file lets something through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    /// A pattern of that index leaves it out elsewhere.
    Anchored(usize),
    /// An exception of that index brings it back.
    BroughtBack(usize),
    /// No pattern is about it.
    Unnamed,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let transfers: Vec<_> = transfer::needed(cx.model).collect();
    if transfers.is_empty() {
        return;
    }
    let Some(context) = cx.context() else { return };
    let Some(ignore) = context.ignore.as_ref().filter(|i| !i.unreadable) else { return };
    let judge = Judge::new(context, false);
    let singles: Vec<Option<Matcher>> =
        ignore.patterns.iter().map(|p| Matcher::new(&[&p.text]).ok()).collect();
    let mut all: BTreeMap<Vec<u8>, (Found, Gap)> = BTreeMap::new();
    let mut takers = Vec::new();
    for transfer in &transfers {
        let mut takes = false;
        for found in judge.taken(transfer).into_iter().filter(|f| !f.is_allowed(cx, &RULE)) {
            if let Some(gap) = gap(ignore, &singles, &found) {
                takes = true;
                all.insert(found.path.clone(), (found, gap));
            }
        }
        if takes {
            takers.push(transfer);
        }
    }
    let Some((first, others)) = takers.split_first() else { return };
    let mut found: Vec<(Found, Gap)> = all.into_values().collect();
    // What the file meant to leave out comes first.
    found.sort_by(|a, b| (a.1 == Gap::Unnamed, &a.0.path).cmp(&(b.1 == Gap::Unnamed, &b.0.path)));
    let names: Vec<String> = found.iter().map(|(f, _)| f.shown()).collect();
    let (files, bytes) = found.iter().fold((0, 0), |(f, b), (x, _)| (f + x.files, b + x.bytes));
    let meant = found.iter().any(|(_, gap)| *gap != Gap::Unnamed);
    let name = &ignore.file.name;
    let why = if meant {
        format!("although `{name}` has a pattern for it")
    } else {
        format!("which no pattern of `{name}` leaves out")
    };
    let message = format!(
        "`{}` takes {} ({}) {why}; whenever a tool writes there, this step and all below run again",
        first.shown(),
        words::list(&names, NAMED),
        amount(files, bytes),
    );
    let mut lines: Vec<String> = Vec::new();
    for (found, gap) in &found {
        let line = replacement(ignore, found, *gap);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let back = found.iter().any(|(_, gap)| matches!(gap, Gap::BroughtBack(_)));
    let place = if back { " at its end, below the exceptions" } else { "" };
    let help = format!("write into `{name}`{place}:\n{}", lines.join("\n"));
    let mut finding = Finding::at(&RULE, cx, first.span, message)
        .label(format!(
            "takes {} ({})",
            words::list(&names, 1),
            found.first().map_or("", |f| f.0.leftover.kind.name())
        ))
        .help(help)
        .fix(append(&ignore.file, &lines))
        .evidence("paths", &names)
        .evidence("files", files)
        .evidence("bytes", bytes)
        .evidence("patterns", &lines);
    let mut gaps: Vec<(Gap, &Found)> = Vec::new();
    for (found, gap) in &found {
        if *gap != Gap::Unnamed && !gaps.iter().any(|(known, _)| known == gap) {
            gaps.push((*gap, found));
        }
    }
    for (gap, found) in gaps.into_iter().take(NAMED) {
        let (Gap::Anchored(index) | Gap::BroughtBack(index)) = gap else { continue };
        let Some(pattern) = ignore.patterns.get(index) else { continue };
        let text = match gap {
            Gap::BroughtBack(_) => format!("brings `{}` back", found.shown()),
            _ => format!("counts from the root of the context: `{}` passes", found.shown()),
        };
        finding = finding.also_in(&ignore.file, pattern.span, text);
    }
    for other in others.iter().take(NAMED) {
        finding = finding.also(other.span, "takes it as well");
    }
    findings.push(finding);
}

/// Why it got past the ignore file; `None` if an exception asks for it by name.
fn gap(ignore: &IgnoreFile, singles: &[Option<Matcher>], found: &Found) -> Option<Gap> {
    let path = &found.path;
    let covers = |index: usize| {
        singles.get(index).and_then(Option::as_ref).is_some_and(|m| m.covers(path).is_ok_and(|d| d.matched))
    };
    let hits: Vec<(usize, &Pattern)> =
        ignore.patterns.iter().enumerate().filter(|(index, _)| covers(*index)).collect();
    let exception = hits.iter().rev().find(|(_, p)| p.negated);
    if let Some((index, pattern)) = exception {
        // `!packages/api/node_modules` asks for it; `!packages` does not.
        if names(pattern, found) {
            return None;
        }
        // A pattern for all and an exception for a part is an allow list.
        let meant = |p: &Pattern| !p.negated && names(p, found);
        let before = hits.iter().any(|(at, p)| at < index && meant(p));
        if before {
            return Some(Gap::BroughtBack(*index));
        }
    }
    let anchored = ignore.patterns.iter().position(|p| !p.negated && names(p, found));
    Some(match (anchored, exception) {
        (Some(index), _) => Gap::Anchored(index),
        (None, Some((index, _))) => Gap::BroughtBack(*index),
        (None, None) => Gap::Unnamed,
    })
}

/// Whether the last part of a pattern is about the name and not about all names.
fn names(pattern: &Pattern, found: &Found) -> bool {
    let last = pattern.text.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let literal = last.iter().any(|b| !b"*?[]".contains(b));
    literal && (last == found.name() || path_match(last, found.name()).unwrap_or(false))
}

/// The pattern that leaves it out wherever it is.
fn replacement(ignore: &IgnoreFile, found: &Found, gap: Gap) -> String {
    let meant = match gap {
        Gap::Anchored(index) => ignore.patterns.get(index),
        _ => None,
    };
    let last =
        |text: &BStr| text.rsplit(|b| *b == b'/').next().unwrap_or_default().to_str_lossy().into_owned();
    match meant {
        Some(pattern) => format!("**/{}", last(pattern.text.as_bstr())),
        None => format!("**/{}", found.leftover.name),
    }
}

/// The lines at the end of the ignore file. What was taken may have been wanted: a person should look.
fn append(file: &SourceFile, lines: &[String]) -> Fix {
    let end = file.bytes.len();
    let begin = if end == 0 || file.bytes.ends_with(b"\n") { "" } else { "\n" };
    let text = format!("{begin}{}\n", lines.join("\n"));
    let edit = Edit { file: file.name.clone(), span: Span::new(end, end), text };
    needs_review(format!("leave them out in `{}`", file.name), vec![edit])
}
