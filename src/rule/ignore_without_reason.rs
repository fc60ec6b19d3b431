//! Comments that silence a rule and do not say why, where the configuration asks for reasons. The finding itself is
//! made where comments are read (`suppress`).

use super::Rule;

/// See `rules/ignore-without-reason.md`.
pub(super) const RULE: Rule = Rule {
    name: "ignore-without-reason",
    page: include_str!("../../rules/ignore-without-reason.md"),
    check: |_, _| {},
};
