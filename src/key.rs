//! Cache keys: the digests that BuildKit computes for each operation, chained to what decides reuse.
//!
//! A *digest* is bytes, a *key* is what decides reuse. [`operation`] makes the digest of one operation (BuildKit's
//! cache map), [`plan`] joins them with the content digests of what they take in.

pub mod change;
pub mod matching;
pub mod operation;
pub mod plan;
pub mod promise;
pub mod saved;

mod content;
mod json;

pub(crate) use crate::image::sha256;

/// SHA-256 of texts with a zero byte between, in their order.
pub(crate) fn sha256_joined<S: AsRef<str>>(parts: &[S]) -> String {
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    sha256(parts.join("\0"))
}
