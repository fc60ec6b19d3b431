//! A copy at the end of a base stage, which runs the installs of all stages on top again.

use super::command::{self, Install};
use super::order::{self, Delayed, Kind, Lineage, Moving};
use super::{Cx, Finding, Rule, words};
use crate::build::model::{Action, is_below};
use crate::context::path::clean_str;
use crate::source::Span;
use std::collections::HashMap;

/// See `rules/order-cross-stage.md`.
pub(super) const RULE: Rule =
    Rule { name: "order-cross-stage", page: include_str!("../../rules/order-cross-stage.md"), check };

/// Steps and copies that are named.
const NAMED: usize = 3;

/// An install in a stage on top.
struct Above {
    span: Span,
    stage: usize,
    shown: String,
}

/// A stage with the installs that its own copies delay.
struct Line<'m, 'a> {
    lineage: Lineage<'m, 'a>,
    own: Vec<Delayed<'m, 'a>>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut lines: HashMap<usize, Option<Line<'_, '_>>> = HashMap::new();
    for base in &cx.model.stages {
        let copies: Vec<Moving<'_, '_>> = base
            .steps
            .iter()
            .filter(|s| order::ends_its_stage(cx, s))
            .filter_map(|s| order::moving(cx, s))
            .filter(|m| m.copy.from.is_none())
            .collect();
        let mut found: Vec<(&Moving<'_, '_>, Vec<Above>)> = Vec::new();
        for copy in &copies {
            let mut delayed: Vec<Above> = Vec::new();
            for stage in cx.model.stages.iter().filter(|s| s.index != base.index) {
                if !cx.graph.continues(stage.index, base.index) {
                    continue;
                }
                let line = lines.entry(stage.index).or_insert_with(|| {
                    let lineage = Lineage::of(cx, stage.index)?;
                    let own = order::delayed(cx, &lineage, stage.index);
                    Some(Line { lineage, own })
                });
                let Some(line) = line else { continue };
                for above in installs(cx, line, stage.index, copy) {
                    if !delayed.iter().any(|d| d.span == above.span) {
                        delayed.push(above);
                    }
                }
            }
            if !delayed.is_empty() {
                found.push((copy, delayed));
            }
        }
        findings.extend(finding(cx, base.index, &found));
    }
}

/// The installs of a stage that a copy of a stage below it delays, and nothing of its own does.
fn installs(cx: &Cx<'_>, line: &Line<'_, '_>, stage: usize, copy: &Moving<'_, '_>) -> Vec<Above> {
    let Line { lineage, own } = line;
    let steps = &lineage.steps;
    let mut out = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if step.stage != stage || own.iter().any(|d| std::ptr::eq(d.step, *step)) {
            continue;
        }
        // Some step on the way uses it.
        let start = copy.step.instruction.span;
        let below = steps.iter().take(number + 1).filter(|s| s.instruction.span.start > start.start);
        if below.filter(|s| matches!(s.action, Action::Run(_))).any(|s| order::mentions(s, copy.copy)) {
            continue;
        }
        let late = order::installs(step).into_iter().find(|late| {
            late.kind != Kind::Toolchain
                && lineage.unused_above(cx, number, late).iter().any(|m| std::ptr::eq(m.step, copy.step))
        });
        if let Some(late) = late {
            out.push(Above { span: late.span, stage, shown: late.shown });
            continue;
        }
        let Action::Run(run) = &step.action else { continue };
        // A script on the way may use what was copied.
        if steps
            .iter()
            .zip(&lineage.barriers)
            .take(number + 1)
            .any(|(s, barrier)| s.stage == stage && *barrier)
        {
            continue;
        }
        let Some(script) = run.script() else { continue };
        let install = command::installs(script, &step.state).into_iter().find(|i| !concerns(copy, i));
        out.extend(install.map(|install| {
            let shown = words::shortened(&words::of_command(install.command), 60);
            Above { span: install.span, stage, shown }
        }));
    }
    out
}

/// Whether what a copy brings may be a part of what an install reads.
fn concerns(copy: &Moving<'_, '_>, install: &Install<'_>) -> bool {
    let dest = clean_str(&copy.copy.dest);
    let whole =
        copy.copy.from.is_some() || copy.copy.paths().any(|(_, path)| path == "/" || path.contains('*'));
    let meets = |path: &str| dest != "/" && (is_below(path, &dest) || is_below(&dest, path));
    whole || meets(&install.folder) || install.files.iter().any(|f| meets(f))
}

fn finding(cx: &Cx<'_>, base: usize, found: &[(&Moving<'_, '_>, Vec<Above>)]) -> Option<Finding> {
    let ((copy, delayed), others) = found.split_first()?;
    let (first, rest) = delayed.split_first()?;
    let label = |stage: usize| cx.graph.stages.get(stage).map(|s| s.label()).unwrap_or_default();
    let mut stages: Vec<String> = Vec::new();
    for name in delayed.iter().map(|d| label(d.stage)) {
        if !stages.contains(&name) {
            stages.push(name);
        }
    }
    let message = format!(
        "every edit of what `{}` takes runs `{}` on line {} again, in {} on top of `{}`, although it needs nothing of it",
        copy.shown(),
        first.shown,
        cx.line(first.span),
        match stages.as_slice() {
            [one] => format!("stage `{one}`"),
            more =>
                format!("stages {}", words::list(&more.iter().map(String::as_str).collect::<Vec<_>>(), NAMED)),
        },
        label(base),
    );
    let mut finding = Finding::at(&RULE, cx, copy.step.instruction.span, message)
        .label("in the key of every stage on top")
        .also(first.span, "runs again with every edit")
        .help(format!(
            "copy it in {}, below the installs; or into a stage of its own, from which they take it with `COPY --from`",
            match stages.as_slice() {
                [one] => format!("`{one}`"),
                _ => "the stages that ship it".to_owned(),
            }
        ))
        .evidence("stages", &stages)
        .evidence("delayed_lines", delayed.iter().map(|d| cx.line(d.span)).collect::<Vec<_>>());
    for above in rest.iter().take(NAMED) {
        finding = finding.also(above.span, "so does this");
    }
    for (other, _) in others.iter().take(NAMED) {
        finding = finding.also(other.step.instruction.span, "so it is with this copy");
    }
    Some(finding)
}
