use super::{Cx, Finding, Rule, rust};

/// See `rules/rust-dummy-build-stale.md`.
pub(super) const RULE: Rule = Rule {
    name: "rust-dummy-build-stale",
    page: include_str!("../../rules/rust-dummy-build-stale.md"),
    check,
};

fn check(cx: &Cx<'_>, out: &mut Vec<Finding>) {
    for found in cx.cargo().stale.iter().filter(|s| s.cured.is_empty()) {
        let build = &found.build;
        let message = format!(
            "a cold build ships the placeholder of {}: {} the time of the build context, which is older than the \
             placeholder's compilation, so cargo takes that for up to date",
            rust::titles(&found.stale),
            match found.stale.as_slice() {
                [_] => format!("{} keeps", rust::roots(&found.stale)),
                _ => format!("{} keep", rust::roots(&found.stale)),
            },
        );
        let finding = Finding::at(&RULE, cx, build.span, message)
            .label("finds nothing to compile")
            .help(rust::help(build, &found.stale));
        out.push(rust::with_facts(finding, found));
    }
}
