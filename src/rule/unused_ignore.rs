//! Comments that were meant to silence a rule and do not. The finding itself is made where comments are read
//! (`suppress`), since it depends on what every other rule found.

use super::Rule;

/// See `rules/unused-ignore.md`.
pub(super) const RULE: Rule =
    Rule { name: "unused-ignore", page: include_str!("../../rules/unused-ignore.md"), check: |_, _| {} };
