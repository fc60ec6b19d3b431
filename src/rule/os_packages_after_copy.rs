//! Packages of the distribution below a copy that they have nothing to do with.

use super::order::{self, Delayed, Kind};
use super::{Cx, Finding, Rule};

/// See `rules/os-packages-after-copy.md`.
pub(super) const RULE: Rule = Rule {
    name: "os-packages-after-copy",
    page: include_str!("../../rules/os-packages-after-copy.md"),
    check,
};

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for stage in &cx.model.stages {
        let groups = order::groups(cx, stage.index, |kind| kind == Kind::System);
        findings.extend(groups.iter().filter_map(|group| finding(cx, group)));
    }
}

fn finding(cx: &Cx<'_>, group: &[Delayed<'_, '_>]) -> Option<Finding> {
    let (delayed, others) = group.split_first()?;
    let first = delayed.copies.first()?;
    let late = &delayed.late;
    let line = cx.line(first.step.instruction.span);
    let when = match first.copy.from {
        Some(_) => "brings another result",
        None => "takes an edited file",
    };
    let message = format!(
        "`{}` downloads and unpacks its packages again each time `{}` on line {line} {when}, although it needs nothing of it",
        late.shown,
        first.shown()
    );
    let finding = Finding::at(&RULE, cx, late.span, message)
        .label("runs again with every change above")
        .also(first.step.instruction.span, "changes more often than the packages")
        .help(format!("install the packages in a RUN of their own above line {line}"))
        .evidence("copied_line", line);
    Some(order::with_others(finding, delayed, others))
}
