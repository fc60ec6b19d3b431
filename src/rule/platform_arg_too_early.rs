//! The platform as an argument above steps of a stage for the build platform that do not need it.

use super::early::{self, Text, Watch};
use super::platform_arg_missing::pinned;
use super::{Cx, Finding, Rule};

/// See `rules/platform-arg-too-early.md`.
pub(super) const RULE: Rule = Rule {
    name: "platform-arg-too-early",
    page: include_str!("../../rules/platform-arg-too-early.md"),
    check,
};

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let watch = Watch {
        // A stage that follows the target has other steps for each platform anyway.
        wanted: &|stage, arg| is_target(&arg.name) && pinned(cx, stage).is_some(),
        slow: &|_, script| early::fetches(script),
        like: &is_target,
    };
    let what = Text {
        effect: "a build for several platforms runs it once for each, on the same machine",
        label: "another value for every platform",
    };
    findings.extend(early::groups(cx, &watch).iter().filter_map(|g| early::finding(&RULE, cx, g, &what)));
}

fn is_target(name: &str) -> bool {
    matches!(name, "TARGETPLATFORM" | "TARGETARCH" | "TARGETVARIANT" | "TARGETOS")
}
