//! `cargo chef cook` below a copy of the source: it runs again with every edit, so the recipe saves nothing.

use super::{Cx, Finding, Rule, words};

/// See `rules/chef-cook-after-source.md`.
pub(super) const RULE: Rule = Rule {
    name: "chef-cook-after-source",
    page: include_str!("../../rules/chef-cook-after-source.md"),
    check,
};

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for cook in cx.cargo().prepared.iter().filter(|p| p.cook) {
        let Some(above) = cook.above else { continue };
        let command = words::shortened(&words::joined(&cx.file.text(cook.build.span)), 60);
        let copy = words::shortened(&words::joined(&cx.file.text(above)), 60);
        let line = cx.line(above);
        let message = format!(
            "`{command}` compiles all dependencies again after every edit: `{copy}` on line {line} brings the source above it, \
             and the recipe is there so that it need not"
        );
        findings.push(
            Finding::at(&RULE, cx, cook.build.span, message)
                .label("runs again with every edit")
                .also(above, "source, above the dependencies")
                .help(
                    "compute the recipe in a stage of its own, and take nothing else from it:\nFROM chef AS planner\nCOPY . .\nRUN \
                     cargo chef prepare --recipe-path recipe.json\nFROM chef AS builder\nCOPY --from=planner … recipe.json\nRUN cargo \
                     chef cook …\nCOPY . .",
                )
                .evidence("copied_line", line),
        );
    }
}
