//! Causes in JSON documents, the same in `why` and `cache`.

use crate::key::change::{Cause, CauseKind, PathChange};
use serde::Serialize;

/// A [`Cause`] as it is written.
#[derive(Serialize)]
pub(super) struct CauseItem<'a> {
    kind: &'static str,
    detail: &'a str,
    paths: Vec<PathItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
}

#[derive(Serialize)]
struct PathItem<'a> {
    path: &'a str,
    change: &'static str,
    before: Option<&'a str>,
    after: Option<&'a str>,
    /// A daemon that still has the former one sees no difference.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unseen_when_warm: bool,
}

impl<'a> CauseItem<'a> {
    pub(super) fn new(cause: &'a Cause) -> Self {
        let path = |change: &'a PathChange| PathItem {
            path: &change.path,
            change: change.change.name(),
            before: change.before.as_deref(),
            after: change.after.as_deref(),
            unseen_when_warm: change.unseen,
        };
        Self {
            kind: cause.kind.name(),
            detail: &cause.detail,
            paths: cause.paths.iter().map(path).collect(),
            step: cause.step,
        }
    }

    /// Nothing changed.
    pub(super) fn none() -> Self {
        Self { kind: CauseKind::None.name(), detail: "", paths: Vec::new(), step: None }
    }
}
