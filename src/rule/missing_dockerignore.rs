//! Broad copies from a context that no ignore file narrows, and what they really take that nobody wants.

use super::edit::needs_review;
use super::leftovers::{Found, Judge, amount};
use super::{Cx, Rule, transfer, words};
use crate::finding::{Edit, Finding};
use crate::source::{Span, shown};
use std::collections::BTreeMap;
use std::path::Path;

/// See `rules/missing-dockerignore.md`.
pub(super) const RULE: Rule =
    Rule { name: "missing-dockerignore", page: include_str!("../../rules/missing-dockerignore.md"), check };

/// Leftovers and copies that a message names.
const NAMED: usize = 3;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    // Without a copy of the context nobody needs to walk it.
    let transfers: Vec<_> = transfer::needed(cx.model).collect();
    if transfers.is_empty() {
        return;
    }
    let Some(context) = cx.context().filter(|c| c.ignore.is_none()) else { return };
    // Podman and Buildah read this one.
    if context.entry(b".containerignore").is_some() {
        return;
    }
    let judge = Judge::new(context, true);
    let mut all: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
    let mut takers = Vec::new();
    for transfer in &transfers {
        let mut found = judge.taken(transfer);
        found.retain(|f| !f.is_allowed(cx, &RULE));
        if !found.is_empty() {
            takers.push(transfer);
            all.extend(found.into_iter().map(|f| (f.path.clone(), f)));
        }
    }
    let Some((first, others)) = takers.split_first() else { return };
    let mut found: Vec<Found> = all.into_values().collect();
    // The heaviest sort of thing is what people care about first.
    found.sort_by(|a, b| (b.bytes, &a.path).cmp(&(a.bytes, &b.path)));
    let names: Vec<String> = found.iter().map(Found::shown).collect();
    let (files, bytes) = found.iter().fold((0, 0), |(f, b), x| (f + x.files, b + x.bytes));
    let misplaced = misplaced(cx);
    let why = match &misplaced {
        Some(place) => format!("`{place}` is not read: Docker looks in the root of the context"),
        None => "no ignore file applies to this Dockerfile".to_owned(),
    };
    let message = format!(
        "`{}` takes {} along ({}): {why}",
        first.shown(),
        words::list(&names, NAMED),
        amount(files, bytes)
    );
    let mut patterns: Vec<String> = Vec::new();
    for pattern in found.iter().map(pattern) {
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    patterns.sort();
    let target = shown(&cx.invocation.context.join(".dockerignore"));
    let help = match &misplaced {
        Some(place) => {
            format!("move `{place}` to `{target}`, with these lines in it:\n{}", patterns.join("\n"))
        }
        None => format!("write `{target}`, for example:\n{}", patterns.join("\n")),
    };
    let mut finding = Finding::at(&RULE, cx, first.span, message)
        .label(format!("takes {}", words::list(&names, 1)))
        .help(help)
        .fix(misplaced.is_none().then(|| {
            let text = format!("{}\n", patterns.join("\n"));
            let edit = Edit { file: target.clone(), span: Span::new(0, 0), text };
            needs_review(format!("write `{target}`"), vec![edit])
        }))
        .evidence("paths", &names)
        .evidence("files", files)
        .evidence("bytes", bytes)
        .evidence("patterns", &patterns);
    for other in others.iter().take(NAMED) {
        finding = finding.also(other.span, "so does this");
    }
    if let Some(place) = misplaced {
        finding = finding.also_file(place, "has no effect here");
    }
    findings.push(finding);
}

/// The line of an ignore file that leaves it out.
fn pattern(found: &Found) -> String {
    let name = found.leftover.name;
    match name {
        ".env" | ".env.local" | ".env.*.local" => "**/.env*".to_owned(),
        // These are certain in their place only.
        "bin" | "obj" => format!("**/{name}"),
        "build" | "dist" | "out" | "deps" | "vendor" | "tmp" | "temp" | "log" | "logs" | "env" => {
            String::from_utf8_lossy(&found.path).into_owned()
        }
        ".git" | ".svn" | ".hg" if found.path == name.as_bytes() => name.to_owned(),
        _ => format!("**/{name}"),
    }
}

/// An ignore file beside a Dockerfile that is not in the root of its context.
fn misplaced(cx: &Cx<'_>) -> Option<String> {
    let dockerfile = cx.invocation.dockerfile.as_deref()?;
    let beside = dockerfile.parent()?.join(".dockerignore");
    let context = cx.context()?;
    let root = std::path::absolute(&cx.invocation.context).ok()?;
    let absolute = std::path::absolute(&beside).ok()?;
    let inner: &Path = absolute.strip_prefix(&root).ok()?;
    let path = inner.to_str()?.replace('\\', "/");
    context.entry(path.as_bytes()).map(|_| shown(&beside))
}
