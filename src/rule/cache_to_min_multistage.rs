//! A cache export that leaves out the stages where the work is done.

use super::builds::{self, cache_place};
use super::work::{self, Work};
use super::{Cx, Rule};
use crate::finding::{Finding, Label};
use crate::invoke::Invocation;
use crate::invoke::call::{Cache, Call, Lifetime};
use crate::source::Span;
use crate::stage::StageGraph;
use crate::syntax::Keyword;
use crate::syntax::shell;
use std::collections::HashSet;

/// See `rules/cache-to-min-multistage.md`.
pub(super) const RULE: Rule = Rule {
    name: "cache-to-min-multistage",
    page: include_str!("../../rules/cache-to-min-multistage.md"),
    check,
};

/// Stages that are shown.
const SHOWN: usize = 4;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for call in &cx.calls {
        let Some(export) = export(call).filter(|_| builds::is_buildkit(call)) else { continue };
        // What builds there keeps all stages itself.
        let kept =
            cx.project.job_of(call).and_then(|job| job.builder).is_some_and(|(l, _)| l == Lifetime::Lasting);
        let Ok(target) = call.stage() else { continue };
        let place = match &export {
            Export::Entry(cache) => cache_place(call, Some(&cache.text)),
            Export::Inline(span) => (call.cache_at.0, if span.is_empty() { call.cache_at.1 } else { *span }),
        };
        if kept || is_explained(cx, &export, place) {
            continue;
        }
        let lost = lost(cx, target);
        let Some((last, rest)) = lost.split_last() else { continue };
        if !told.insert(place) {
            continue;
        }
        findings.push(finding(cx, &export, place, rest, last));
    }
}

/// An export of the last stage alone.
enum Export<'c> {
    Entry(&'c Cache),
    /// `BUILDKIT_INLINE_CACHE=1`.
    Inline(Span),
}

/// What a build exports, if that is the layers of its image alone, and surely so.
fn export(call: &Call) -> Option<Export<'_>> {
    if call.open || call.cache_to.iter().any(|c| c.keeps_all_stages() != Some(false)) {
        return None;
    }
    match call.cache_to.first() {
        Some(cache) => Some(Export::Entry(cache)),
        None => call.inline_cache().map(|text| Export::Inline(text.span)),
    }
}

/// Whether `mode=min` is written out and a comment beside it says why.
fn is_explained(cx: &Cx<'_>, export: &Export<'_>, (file, span): (usize, Span)) -> bool {
    let Export::Entry(cache) = export else { return false };
    let Some(file) = cx.project.files.get(file).filter(|_| cache.field("mode").is_some()) else {
        return false;
    };
    let line = file.source.index.line(span.start);
    let text = |line: u32| {
        let start = file.source.index.line_start(line)?;
        let end = file.source.index.line_start(line + 1).unwrap_or(u32::MAX);
        let bytes = file.source.bytes.get(start as usize..(end as usize).min(file.source.bytes.len()))?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    let is_comment = |text: &str| text.trim_start().starts_with('#') || text.trim_start().starts_with("//");
    let behind = text(line).is_some_and(|t| t.contains(" #") || t.contains(" //"));
    behind || line.checked_sub(1).and_then(text).is_some_and(|t| is_comment(&t))
}

/// The stages that a target needs, whose layers are not its own, and which do more than arrange files.
fn lost(cx: &Cx<'_>, target: Option<&str>) -> Vec<usize> {
    let invocation = Invocation { target: target.map(str::to_owned), ..cx.invocation.clone() };
    let graph = StageGraph::new(cx.document, &invocation);
    let Some(index) = graph.target else { return Vec::new() };
    let own = graph.lineage(index);
    let works = |stage: &crate::stage::Stage<'_>| {
        let runs = stage.instructions.iter().filter(|i| i.keyword == Keyword::Run);
        runs.flat_map(|i| shell::script_of(i).commands).any(|c| work::of(&c) != Work::Housekeeping)
    };
    let needed =
        graph.stages.iter().filter(|s| s.reachable && !own.contains(&s.index) && s.context.is_none());
    needed.filter(|s| works(s)).map(|s| s.index).collect()
}

fn finding(cx: &Cx<'_>, export: &Export<'_>, place: (usize, Span), rest: &[usize], last: &usize) -> Finding {
    let name = |index: &usize| cx.graph.stages.get(*index).map_or_else(String::new, |s| s.label());
    let stages: Vec<String> = rest.iter().chain([last]).map(name).collect();
    let listed = super::words::list(&stages, SHOWN);
    let plural = if stages.len() > 1 { "stages" } else { "stage" };
    let (what, help) = match export {
        Export::Entry(cache) if cache.kind() == Some("inline") => (
            "an inline cache holds".to_owned(),
            "export to a place of its own with all stages: `type=registry,ref=IMAGE:cache,mode=max`, and read it with \
             cache-from"
                .to_owned(),
        ),
        Export::Inline(_) => (
            "the inline cache of `BUILDKIT_INLINE_CACHE=1` holds".to_owned(),
            "export to a place of its own with all stages: `--cache-to type=registry,ref=IMAGE:cache,mode=max`, and \
             read it with `--cache-from`"
                .to_owned(),
        ),
        Export::Entry(cache) => {
            let written = cache.text.written();
            let fixed = match cache.field("mode") {
                Some(mode) => written.replace(&format!("mode={mode}"), "mode=max"),
                None => format!("{written},mode=max"),
            };
            let what = match cache.field("mode") {
                Some(_) => "an export with `mode=min` holds".to_owned(),
                None => "an export without `mode=max` holds".to_owned(),
            };
            (what, format!("export all stages: `{fixed}`"))
        }
    };
    let message = format!(
        "{what} the layers of the image alone: {plural} {listed} of `{}` {} never in this cache, and every build on a \
         new machine makes {} again",
        cx.file.name,
        if stages.len() > 1 { "are" } else { "is" },
        if stages.len() > 1 { "them" } else { "it" },
    );
    let mut finding = builds::finding(&RULE, cx.project, place, message)
        .label("keeps the last stage only")
        .help(help)
        .evidence("stages", &stages);
    for index in rest.iter().chain([last]).take(SHOWN) {
        if let Some(stage) = cx.graph.stages.get(*index) {
            let span = stage.from.span;
            let message = "is not exported".to_owned();
            finding.related.push(Label { file: cx.file.name.clone(), span: Some(span), message });
        }
    }
    finding
}
