//! Source that enters the image twice: raw in one stage, and through what another stage made of the same files.

use super::ecosystem::{INSTALLERS, OTHER_MANIFESTS, SOURCE_FOLDERS};
use super::transfer::{self, Transfer};
use super::{Cx, Rule};
use crate::build::model::{Action, is_below};
use crate::context::path::{clean_str, path_match};
use crate::finding::Finding;
use crate::source::Span;
use crate::stage::{Base, UseKind};
use std::collections::{BTreeSet, HashSet};

/// See `rules/duplicate-context-copy.md`.
pub(super) const RULE: Rule = Rule {
    name: "duplicate-context-copy",
    page: include_str!("../../rules/duplicate-context-copy.md"),
    check,
};

/// A broad copy, with the way its files get into the image.
struct Broad<'m, 'a> {
    transfer: Transfer<'m, 'a>,
    stage: usize,
    /// The raw files are in the image; the place that brings them, if it is not the copy itself.
    raw: Option<Option<Span>>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let graph = cx.graph;
    let Some(target) = graph.target else { return };
    let shipped = shipped(cx, target);
    let mut broad = Vec::new();
    for transfer in transfer::needed(cx.model).filter(|t| t.copy.is_some()) {
        if is_broad(cx, &transfer) {
            let stage = transfer.step.stage;
            let raw = raw(cx, &transfer, &shipped);
            broad.push(Broad { transfer, stage, raw });
        }
    }
    let mut told: HashSet<Span> = HashSet::new();
    let mut pairs: HashSet<(usize, usize)> = HashSet::new();
    // The last stage is the one that people ship.
    for copy in broad.iter().rev() {
        let Some(raw) = &copy.raw else { continue };
        for other in broad.iter().rev() {
            let same = other.stage == copy.stage || other.transfer.span == copy.transfer.span;
            if same || told.contains(&other.transfer.span) || !overlap(cx, copy, other) {
                continue;
            }
            let product = match shipped.contains(&other.stage) {
                // Two copies in one line of stages: the later one is the second.
                true if other.stage > copy.stage => continue,
                true => None,
                false => match product(cx, other.stage, &shipped) {
                    Some(found) => Some(found),
                    None => continue,
                },
            };
            told.insert(copy.transfer.span);
            if !pairs.insert((copy.stage, other.stage)) {
                break;
            }
            findings.push(finding(cx, copy, other, *raw, product));
            break;
        }
    }
}

/// The stages whose file system is the image: the target, what it continues, and stages that only gather files for it.
fn shipped(cx: &Cx<'_>, target: usize) -> BTreeSet<usize> {
    let runs = |stage: usize| cx.model.lineage_steps(stage).any(|s| matches!(s.action, Action::Run(_)));
    let mut shipped: BTreeSet<usize> = BTreeSet::new();
    let mut open = vec![target];
    while let Some(stage) = open.pop() {
        for part in cx.graph.lineage(stage) {
            if !shipped.insert(part) {
                continue;
            }
            let uses = cx.graph.stages.get(part).map(|s| s.uses.as_slice()).unwrap_or_default();
            let copied = uses.iter().filter(|u| u.kind == UseKind::Copy).filter_map(|u| u.stage());
            open.extend(copied.filter(|s| !runs(*s)));
        }
    }
    shipped
}

/// Whether the raw files of a copy are in the image.
fn raw(cx: &Cx<'_>, transfer: &Transfer<'_, '_>, shipped: &BTreeSet<usize>) -> Option<Option<Span>> {
    let stage = transfer.step.stage;
    if shipped.contains(&stage) {
        return Some(None);
    }
    for step in shipped.iter().filter_map(|s| cx.model.stages.get(*s)).flat_map(|s| &s.steps) {
        let Action::Copy(copy) = &step.action else { continue };
        let Some(Base::Stage(from)) = copy.from else { continue };
        if !cx.graph.continues(from, stage) {
            continue;
        }
        if let Some((word, _)) = copy.paths().find(|(_, path)| is_below(&transfer.dest, path)) {
            return Some(Some(word.span));
        }
    }
    None
}

/// Where the image takes what a stage made, and from which stage that continues it; other than an empty marker that only forces the stage to run.
fn product(cx: &Cx<'_>, stage: usize, shipped: &BTreeSet<usize>) -> Option<(Span, usize)> {
    for part in shipped {
        let Some(node) = cx.graph.stages.get(*part) else { continue };
        for used in node.uses.iter().filter(|u| u.kind != UseKind::From) {
            let Some(from) = used.stage().filter(|from| cx.graph.continues(*from, stage)) else { continue };
            let step = cx.model.stages.get(*part).and_then(|s| {
                s.steps
                    .iter()
                    .find(|step| step.position == Some(used.instruction) && step.onbuild == used.onbuild)
            });
            let markers = markers(cx, from);
            let empty = step.is_some_and(|step| match &step.action {
                Action::Copy(copy) => copy.paths().all(|(_, path)| markers.contains(&path)),
                _ => false,
            });
            if !empty {
                return Some((step.map_or(used.span, |s| s.instruction.span), from));
            }
        }
    }
    None
}

/// Files that a stage makes with `touch`.
fn markers(cx: &Cx<'_>, stage: usize) -> HashSet<String> {
    let mut found = HashSet::new();
    for step in cx.model.lineage_steps(stage) {
        let Action::Run(run) = &step.action else { continue };
        let touched = run.script().into_iter().flat_map(|s| &s.commands).filter(|c| c.name() == "touch");
        for word in touched.filter_map(|c| c.program()).flat_map(|(_, words)| words) {
            let path = match word.text.starts_with('/') {
                true => word.text.clone(),
                false => format!("{}/{}", step.state.cwd, word.text),
            };
            found.insert(clean_str(&path));
        }
    }
    found
}

/// The whole context, or a folder of it that is an application: by its manifest or its name.
fn is_broad(cx: &Cx<'_>, transfer: &Transfer<'_, '_>) -> bool {
    if transfer.is_whole() {
        return true;
    }
    let path = transfer.path.trim_start_matches('/');
    let Some(context) = cx.context() else { return false };
    if !context.entry(path.as_bytes()).is_some_and(|e| e.is_dir()) {
        return false;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if SOURCE_FOLDERS.contains(&name) {
        return true;
    }
    let manifests: Vec<&str> =
        INSTALLERS.iter().flat_map(|i| i.manifests).chain(OTHER_MANIFESTS).copied().collect();
    let prefix = format!("{path}/");
    let children = context.entries().filter_map(|e| e.path.strip_prefix(prefix.as_bytes()));
    children.filter(|n| !n.contains(&b'/')).any(|name| {
        manifests
            .iter()
            .any(|m| m.as_bytes() == name || (m.contains('*') && path_match(m, name).unwrap_or(false)))
    })
}

/// Whether two copies take the same part of the context.
fn overlap(cx: &Cx<'_>, a: &Broad<'_, '_>, b: &Broad<'_, '_>) -> bool {
    let both = a.transfer.is_whole() && b.transfer.is_whole();
    if !both && a.transfer.path != b.transfer.path {
        return false;
    }
    let narrowed = |t: &Transfer<'_, '_>| !t.selector.exclude.is_empty();
    if !narrowed(&a.transfer) && !narrowed(&b.transfer) {
        return true;
    }
    shared(cx, a, b).is_none_or(|(files, _)| files > 0)
}

/// Files and bytes that both take.
fn shared(cx: &Cx<'_>, a: &Broad<'_, '_>, b: &Broad<'_, '_>) -> Option<(u64, u64)> {
    let context = cx.context()?;
    let (a, b) = (context.select(&a.transfer.selector).ok()?, context.select(&b.transfer.selector).ok()?);
    let paths: HashSet<&[u8]> = a.entries().filter(|e| e.is_file()).map(|e| e.path.as_slice()).collect();
    let both = b.entries().filter(|e| paths.contains(e.path.as_slice()));
    Some(both.fold((0, 0), |(n, bytes), e| (n + 1, bytes + e.size)))
}

fn finding(
    cx: &Cx<'_>,
    copy: &Broad<'_, '_>,
    other: &Broad<'_, '_>,
    raw: Option<Span>,
    product: Option<(Span, usize)>,
) -> Finding {
    let label = |stage: usize| cx.graph.stages.get(stage).map_or_else(String::new, |s| s.label());
    let (stage, line) = (label(other.stage), cx.line(other.transfer.span));
    let what = if copy.transfer.is_whole() {
        "the whole build context".to_owned()
    } else {
        format!("`{}`", copy.transfer.path.trim_start_matches('/'))
    };
    let shown = copy.transfer.shown();
    let message = match product {
        Some((span, _)) => format!(
            "`{shown}` ships {what} raw, although stage `{stage}` takes the same files on line {line} and the image \
             gets its result on line {}: the source enters the image twice",
            cx.line(span)
        ),
        None => format!(
            "`{shown}` copies {what} over the same files, which stage `{stage}` copied on line {line}: what was made \
             of them since can be replaced"
        ),
    };
    let flags: String =
        copy.transfer.step.instruction.flags.iter().map(|f| format!("{} ", cx.file.text(f.span))).collect();
    let (from, to) = (&other.transfer.dest, &copy.transfer.dest);
    let help = match product {
        Some((_, last)) => format!(
            "let the source enter once: write `COPY {flags}--from={} {from} {to}` in place of this line, or copy \
             only files that the stage does not take",
            label(last)
        ),
        None => "delete this line, or copy only files that the earlier stage does not take".to_owned(),
    };
    let mut finding = Finding::at(&RULE, cx, copy.transfer.span, message)
        .label("the raw files, a second time")
        .also(other.transfer.span, format!("stage `{stage}` takes them here"));
    if let Some((span, _)) = product {
        finding = finding.also(span, "its result is copied here");
    }
    if let Some(span) = raw {
        finding = finding.also(span, "this brings the raw files into the image");
    }
    let (files, bytes) = shared(cx, copy, other).unwrap_or_default();
    finding
        .help(help)
        .evidence("stages", [label(copy.stage), stage])
        .evidence("files", files)
        .evidence("bytes", bytes)
}
