//! Physical lines to logical lines: byte order mark, directives, comments, continuations, heredocs.

use super::Document;

pub(super) fn parse(_bytes: &[u8]) -> Document {
    Document::default()
}
