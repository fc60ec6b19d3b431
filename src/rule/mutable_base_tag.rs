//! Base images by a tag that moves. Calm: one finding for each image, however many stages are built on it.

use super::images::{self, Moving};
use super::{Cx, Rule};
use crate::finding::Finding;
use crate::image::reference::Reference;
use crate::source::Span;
use crate::stage::{Base, Stage};
use crate::syntax::{Args, Pair};

/// See `rules/mutable-base-tag.md`.
pub(super) const RULE: Rule =
    Rule { name: "mutable-base-tag", page: include_str!("../../rules/mutable-base-tag.md"), check };

/// Stages that are named beside the first one.
const NAMED: usize = 3;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut found: Vec<(String, Moving, Vec<&Stage<'_>>)> = Vec::new();
    for stage in &cx.graph.stages {
        let (Base::Image(_), None) = (&stage.base, &stage.context) else { continue };
        let Some(reference) = Reference::parse(&stage.base_text) else { continue };
        // Such a name may be that of a build context, or of an image that was built a moment ago.
        if images::is_local_name(&reference) || images::is_allowed(cx, &RULE, &stage.base_text, &reference) {
            continue;
        }
        let Some(moving) = images::moving(&reference) else { continue };
        let name = reference.tagged();
        match found.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., stages)) => stages.push(stage),
            None => found.push((name, moving, vec![stage])),
        }
    }
    findings.extend(found.iter().filter_map(|(_, moving, stages)| finding(cx, moving, stages)));
}

fn finding(cx: &Cx<'_>, moving: &Moving, stages: &[&Stage<'_>]) -> Option<Finding> {
    let (first, others) = stages.split_first()?;
    let base = &first.base_text;
    let span = base_span(first);
    let message = format!(
        "`{base}` is another image over time ({}): this file cannot be built again as it was, and everything below runs \
         again on the day it moves",
        moving.reason()
    );
    let mut finding = Finding::at(&RULE, cx, span, message)
        .label("moves")
        .help(help(cx, first, moving))
        .evidence("image", base)
        .evidence("stages", stages.len());
    if let Some(pair) = default_of(cx, first) {
        finding = finding.also(pair.span, "the default says so");
    }
    for other in others.iter().take(NAMED) {
        finding = finding.also(base_span(other), "so does this");
    }
    Some(finding)
}

fn base_span(stage: &Stage<'_>) -> Span {
    match &stage.from.args {
        Args::From { image, .. } => image.span,
        _ => stage.from.span,
    }
}

/// The ARG whose default makes up the reference, if there is one.
fn default_of<'a>(cx: &Cx<'a>, stage: &Stage<'_>) -> Option<&'a Pair> {
    let global_args: &'a [_] = cx.graph.global_args;
    let pairs = global_args.iter().filter_map(|i| match &i.args {
        Args::ArgDefs(pairs) => Some(pairs),
        _ => None,
    });
    let mut named = pairs.flatten().filter(|p| {
        let name = p.key.text.as_str();
        p.value.is_some()
            && (stage.base_written.contains(&format!("${name}"))
                || stage.base_written.contains(&format!("${{{name}")))
    });
    named.next_back()
}

fn help(cx: &Cx<'_>, stage: &Stage<'_>, moving: &Moving) -> String {
    let base = &stage.base_text;
    let repository = repository(base);
    let pinned = match moving {
        Moving::Untagged | Moving::Channel(_) | Moving::Unversioned => {
            format!("{repository}:<version>@sha256:<digest>")
        }
        Moving::Major(_) => format!("{base}@sha256:<digest>"),
    };
    let look = format!("`docker buildx imagetools inspect {base}` prints the digest of today");
    match default_of(cx, stage) {
        Some(pair) if stage.base_written != *base => {
            format!(
                "pin it: let the default of `{}` make `{pinned}` of the reference; {look}, and a bot can renew it",
                pair.key.text
            )
        }
        _ => {
            let name = stage.name.as_ref().map_or(String::new(), |n| format!(" AS {n}"));
            let platform = match stage.platform_written {
                "" => String::new(),
                platform => format!("--platform={platform} "),
            };
            format!("pin it: `FROM {platform}{pinned}{name}`; {look}, and a bot can renew it")
        }
    }
}

/// Without tag.
pub(super) fn repository(base: &str) -> &str {
    match base.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => base,
    }
}
