//! Tools and downloads below a copy of the source, or of what was built of it.

use super::order::{self, Delayed, Kind};
use super::{Cx, Finding, Rule};

/// See `rules/tool-after-source.md`.
pub(super) const RULE: Rule =
    Rule { name: "tool-after-source", page: include_str!("../../rules/tool-after-source.md"), check };

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for stage in &cx.model.stages {
        let groups = order::groups(cx, stage.index, |kind| kind != Kind::System);
        findings.extend(groups.iter().filter_map(|group| finding(cx, group)));
    }
}

fn finding(cx: &Cx<'_>, group: &[Delayed<'_, '_>]) -> Option<Finding> {
    let (delayed, others) = group.split_first()?;
    let first = delayed.copies.first()?;
    let late = &delayed.late;
    let line = cx.line(first.step.instruction.span);
    let (needs, help) = match late.kind {
        Kind::Toolchain => (
            "needs one small file of it at most",
            format!("copy the file that names the toolchain alone, and run this above line {line}"),
        ),
        _ => ("needs nothing of it", format!("move it into a RUN above line {line}")),
    };
    let message = format!(
        "`{}` fetches the same again each time `{}` on line {line} brings a change, although it {needs}",
        late.shown,
        first.shown()
    );
    let finding = Finding::at(&RULE, cx, late.span, message)
        .label("runs again with every change above")
        .also(first.step.instruction.span, "changes with the project")
        .help(help)
        .evidence("copied_line", line);
    Some(order::with_others(finding, delayed, others))
}
