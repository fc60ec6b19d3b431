//! Edits that rules propose: small, and only where the text is what it seems.

use super::Cx;
use crate::finding::{Edit, Fix, Safety};
use crate::source::Span;
use crate::syntax::Instruction;

impl Cx<'_> {
    /// A replacement in the Dockerfile.
    pub(super) fn edit(&self, span: Span, text: impl Into<String>) -> Edit {
        Edit { file: self.file.name.clone(), span, text: text.into() }
    }

    /// A line of its own above an instruction, and above the comments that belong to it.
    pub(super) fn line_above(&self, instruction: &Instruction, line: &str) -> Option<Edit> {
        let at = instruction.span.start;
        let mut number = self.file.index.line(at);
        let indent: String = {
            let start = self.file.index.line_start(number)?;
            let before = self.file.text(Span { start, end: at });
            if before.trim_start_matches(['\u{FEFF}', ' ', '\t']).is_empty() {
                before.into_owned()
            } else {
                return None;
            }
        };
        let is_comment = |number: u32| {
            let (start, end) = (self.file.index.line_start(number)?, self.file.index.line_start(number + 1)?);
            Some(self.file.text(Span { start, end }).trim_start().starts_with('#'))
        };
        while number > 1 && is_comment(number - 1) == Some(true) {
            number -= 1;
        }
        let start = self.file.index.line_start(number)?;
        Some(self.edit(Span { start, end: start }, format!("{indent}{line}\n")))
    }

    /// The whole lines of something that stands alone on them.
    pub(super) fn whole_lines(&self, span: Span) -> Option<Span> {
        let bytes = &self.file.bytes;
        let start = self.file.index.line_start(self.file.index.line(span.start))?;
        let blank = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_whitespace);
        let rest = bytes.get(span.end as usize..)?;
        let length = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
        let alone = blank(bytes.get(start as usize..span.start as usize)?) && blank(rest.get(..length)?);
        alone.then(|| Span::new(start as usize, span.end as usize + length))
    }

    /// What a word takes with it when it goes: the blanks before it, or its whole line if nothing else is there but the
    /// sign that the next line continues it.
    pub(super) fn without_word(&self, span: Span) -> Option<Edit> {
        let bytes = &self.file.bytes;
        let start = self.file.index.line_start(self.file.index.line(span.start))? as usize;
        let before = bytes.get(start..span.start as usize)?;
        let rest = bytes.get(span.end as usize..)?;
        let line = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
        let after = rest.get(..line)?;
        let blank = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_whitespace);
        let continued = after.trim_ascii() == b"\\" || after.trim_ascii() == b"`";
        if blank(before) {
            return continued.then(|| self.edit(Span::new(start, span.end as usize + line), ""));
        }
        let blanks = before.iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count();
        (blanks > 0).then(|| self.edit(Span::new(span.start as usize - blanks, span.end as usize), ""))
    }

    /// Whether a command begins a statement at this place of the file, so that another can be put before it with `&&`.
    pub(super) fn begins_statement(&self, at: u32) -> bool {
        let before = self.file.bytes.get(..at as usize).unwrap_or_default();
        let before = before.trim_ascii_end();
        // Blanks and continued lines stand between; a comment there is too much to understand.
        let mut before = before;
        while let Some(shorter) = before.strip_suffix(b"\\") {
            before = shorter.trim_ascii_end();
        }
        before.ends_with(b"&&") || (before.ends_with(b";") && !before.ends_with(b";;"))
    }
}

/// A fix that may be applied unseen.
pub(super) fn safe(description: impl Into<String>, edits: Vec<Edit>) -> Fix {
    Fix { safety: Safety::Safe, description: description.into(), edits }
}

/// A fix that a person should look at.
pub(super) fn needs_review(description: impl Into<String>, edits: Vec<Edit>) -> Fix {
    Fix { safety: Safety::Unsafe, description: description.into(), edits }
}
