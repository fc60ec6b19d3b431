//! Words of a shell: quotes and escapes removed, variables kept.

use std::ops::Range;

use bstr::ByteSlice;

use super::scan;
use super::{LogicalText, ShellWord};

/// Reads the word that stands in a range of the text.
pub(super) fn read(source: &LogicalText, range: Range<usize>) -> ShellWord {
    let (content, traits) = unquoted(source, range.clone());
    ShellWord {
        raw: source.bytes.get(range.clone()).unwrap_or_default().to_str_lossy().into_owned(),
        text: content.to_str().into_owned(),
        span: source.span(range),
        quoted: traits.quoted,
        expands: traits.expands,
        glob: traits.glob,
    }
}

/// What a word has in it.
#[derive(Default)]
pub(super) struct Traits {
    pub(super) quoted: bool,
    pub(super) expands: bool,
    pub(super) glob: bool,
}

/// The content of a word, each byte still knowing its place.
pub(super) fn unquoted(source: &LogicalText, range: Range<usize>) -> (LogicalText, Traits) {
    let text = source.bytes.get(..range.end).unwrap_or(&source.bytes);
    let mut reader = Reader {
        source,
        text,
        at: range.start,
        kept: range.start,
        out: LogicalText::new(),
        traits: Traits::default(),
    };
    reader.read();
    (reader.out, reader.traits)
}

struct Reader<'a> {
    source: &'a LogicalText,
    /// The text up to the end of the word.
    text: &'a [u8],
    at: usize,
    /// Where the bytes begin that are to be kept next.
    kept: usize,
    out: LogicalText,
    traits: Traits,
}

impl Reader<'_> {
    fn read(&mut self) {
        let mut in_quote = false;
        while let Some(b) = self.byte(0) {
            match b {
                b'\\' => self.escape(in_quote),
                b'"' => {
                    in_quote = !in_quote;
                    self.traits.quoted = true;
                    self.drop_bytes(1);
                }
                b'`' => self.expansion(),
                b'$' => self.dollar(in_quote),
                b'\'' if !in_quote => self.single_quoted(),
                b'*' | b'?' | b'[' if !in_quote => {
                    self.traits.glob = true;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
        self.keep(self.text.len());
        if self.out.bytes.is_empty() {
            self.out.push(&[], self.source.file_offset(self.kept));
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.checked_add(ahead)?).copied()
    }

    /// Hands on what was kept so far, up to `end`.
    fn keep(&mut self, end: usize) {
        if end > self.kept {
            self.out.extend(&self.source.slice(self.kept..end));
        }
        self.kept = self.kept.max(end);
    }

    /// Leaves out the next bytes.
    fn drop_bytes(&mut self, count: usize) {
        self.keep(self.at);
        self.at = (self.at + count).min(self.text.len());
        self.kept = self.at;
    }

    fn escape(&mut self, in_quote: bool) {
        match self.byte(1) {
            Some(b'\n') => self.drop_bytes(2),
            Some(b) if !in_quote || matches!(b, b'"' | b'$' | b'`' | b'\\') => {
                self.traits.quoted = true;
                self.drop_bytes(1);
                self.at += 1;
            }
            _ => self.at += 1,
        }
    }

    fn single_quoted(&mut self) {
        self.traits.quoted = true;
        self.drop_bytes(1);
        while self.byte(0).is_some_and(|b| b != b'\'') {
            self.at += 1;
        }
        self.drop_bytes(1);
    }

    fn dollar(&mut self, in_quote: bool) {
        match self.byte(1) {
            Some(b'(' | b'{') => self.expansion(),
            Some(b'\'') if !in_quote => self.ansi_c(),
            Some(b'"') if !in_quote => self.drop_bytes(1),
            Some(b)
                if b.is_ascii_alphanumeric()
                    || matches!(b, b'_' | b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!') =>
            {
                self.traits.expands = true;
                self.at += 2;
            }
            _ => self.at += 1,
        }
    }

    /// Keeps `$(…)`, `${…}` and backticks as they are written.
    fn expansion(&mut self) {
        self.traits.expands = true;
        self.at = scan::expansion_end(self.text, self.at).max(self.at + 1);
    }

    /// `$'…'`, with its commonest escapes.
    fn ansi_c(&mut self) {
        self.traits.quoted = true;
        self.drop_bytes(2);
        while let Some(b) = self.byte(0).filter(|b| *b != b'\'') {
            let escaped = self.byte(1).filter(|_| b == b'\\');
            let meant = match escaped {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b @ (b'\\' | b'\'' | b'"' | b'?')) => b,
                _ => {
                    self.at += 1;
                    continue;
                }
            };
            self.keep(self.at);
            self.out.push(&[meant], self.source.file_offset(self.at));
            self.at += 2;
            self.kept = self.at;
        }
        self.drop_bytes(1);
    }
}

/// Splits text at blanks outside of quotes and expansions, for the insides of `[ … ]`.
pub(super) fn split(source: &LogicalText, range: Range<usize>) -> Vec<Range<usize>> {
    let text = source.bytes.get(..range.end).unwrap_or(&source.bytes);
    let mut words = Vec::new();
    let mut at = range.start;
    let mut start = None;
    let mut in_quote = false;
    while let Some(b) = text.get(at).copied() {
        if b.is_ascii_whitespace() && !in_quote {
            words.extend(start.take().map(|s| s..at));
            at += 1;
            continue;
        }
        start.get_or_insert(at);
        at = match (b, text.get(at + 1)) {
            (b'\\', _) => at + 2,
            (b'\'', _) if !in_quote => {
                let rest = text.get(at + 1..).unwrap_or_default();
                at + 1 + rest.iter().position(|b| *b == b'\'').map_or(rest.len(), |n| n + 1)
            }
            (b'`', _) | (b'$', Some(b'(' | b'{')) => scan::expansion_end(text, at).max(at + 1),
            _ => {
                in_quote ^= b == b'"';
                at + 1
            }
        };
    }
    words.extend(start.map(|s| s..text.len()));
    words
}
