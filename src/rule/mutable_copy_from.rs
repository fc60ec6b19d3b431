//! Files taken from an image by a tag that moves: `COPY --from=IMAGE`, `RUN --mount=from=IMAGE`.

use super::images::{self, Moving};
use super::mutable_base_tag::repository;
use super::{Cx, Rule, words};
use crate::finding::Finding;
use crate::image::reference::Reference;
use crate::source::Span;
use crate::stage::{Base, UseKind};
use crate::syntax::Instruction;

/// See `rules/mutable-copy-from.md`.
pub(super) const RULE: Rule =
    Rule { name: "mutable-copy-from", page: include_str!("../../rules/mutable-copy-from.md"), check };

/// Instructions that are named beside the first one.
const NAMED: usize = 3;

/// One image and what takes files from it.
struct Taken<'a> {
    written: String,
    reference: Reference,
    moving: Moving,
    by: Vec<(Span, &'a Instruction)>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut found: Vec<Taken<'_>> = Vec::new();
    for stage in &cx.graph.stages {
        for used in stage.uses.iter().filter(|u| u.kind != UseKind::From) {
            let Base::Image(name) = &used.source else { continue };
            let Some(instruction) = cx.document.instructions.get(used.instruction) else { continue };
            // The normalised name says `latest` where nothing is written.
            let written = cx.file.text(used.span);
            let written = written.trim_start_matches("from=").trim_matches('"').to_owned();
            let Some(reference) = Reference::parse(&written).filter(|r| r.tagged() == *name) else {
                continue;
            };
            if images::is_local_name(&reference) || images::is_allowed(cx, &RULE, &written, &reference) {
                continue;
            }
            let Some(moving) = images::moving(&reference) else { continue };
            match found.iter_mut().find(|t| t.reference.tagged() == *name) {
                Some(known) => known.by.push((used.span, instruction)),
                None => found.push(Taken { written, reference, moving, by: vec![(used.span, instruction)] }),
            }
        }
    }
    findings.extend(found.iter().filter_map(|taken| finding(cx, taken)));
}

fn finding(cx: &Cx<'_>, taken: &Taken<'_>) -> Option<Finding> {
    let Taken { written, moving, by, .. } = taken;
    let ((span, instruction), others) = by.split_first()?;
    let shown = words::of_instruction(instruction);
    let message = format!(
        "`{shown}` takes files from whatever `{written}` is on the day of the build ({}): what is installed changes while \
         this file does not",
        moving.reason()
    );
    let pinned = match moving {
        Moving::Major(_) => format!("{written}@sha256:<digest>"),
        _ => format!("{}:<version>@sha256:<digest>", repository(written)),
    };
    let stage = taken.reference.name.rsplit('/').next().unwrap_or("tools");
    let help = format!(
        "pin it: `--from={pinned}`; or give it a stage, which bots renew like any base:\nFROM {pinned} AS {stage}\nand take \
         from there: `--from={stage}`. `docker buildx imagetools inspect {written}` prints the digest of today"
    );
    let mut finding = Finding::at(&RULE, cx, *span, message)
        .label("an image from elsewhere, by a tag that moves")
        .help(help)
        .evidence("image", written)
        .evidence("lines", by.iter().map(|(span, _)| cx.line(*span)).collect::<Vec<_>>());
    for (other, _) in others.iter().take(NAMED) {
        finding = finding.also(*other, "so does this");
    }
    Some(finding)
}
