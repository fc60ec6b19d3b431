//! Text of an instruction with its continued lines joined, and the way back to the file.

use crate::source::Span;

/// Joined text and where each piece of it stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogicalText {
    /// The joined bytes.
    pub bytes: Vec<u8>,
    /// `(offset in bytes, offset in the file)` of each piece, ascending in both; a piece runs to the next one's start.
    segments: Vec<(u32, u32)>,
}

impl LogicalText {
    /// Nothing, at no place.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes that stand at `file_offset` in the file.
    pub fn push(&mut self, bytes: &[u8], file_offset: usize) {
        if bytes.is_empty() && !self.segments.is_empty() {
            return;
        }
        let here = Span::new(self.bytes.len(), file_offset);
        self.segments.push((here.start, here.end));
        self.bytes.extend_from_slice(bytes);
    }

    /// The text; bytes that are not UTF-8 are replaced.
    pub fn to_str(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Appends another text with its places.
    pub fn extend(&mut self, other: &LogicalText) {
        for (i, (joined, file)) in other.segments.iter().enumerate() {
            let end = other.segments.get(i + 1).map_or(other.bytes.len(), |s| s.0 as usize);
            self.push(other.bytes.get(*joined as usize..end).unwrap_or_default(), *file as usize);
        }
    }

    /// Offset in the file of the byte at `offset` of the joined text. The end of the text maps behind its last byte.
    pub fn file_offset(&self, offset: usize) -> usize {
        let at = Span::new(offset, offset).start;
        let n = self.segments.partition_point(|(joined, _)| *joined <= at);
        match n.checked_sub(1).and_then(|i| self.segments.get(i)) {
            Some((joined, file)) => (*file + (at - *joined)) as usize,
            None => 0,
        }
    }

    /// Place in the file of a range of the joined text. It ends behind the last byte of the range, so that it does
    /// not run over a continuation that follows.
    pub fn span(&self, range: std::ops::Range<usize>) -> Span {
        let start = self.file_offset(range.start);
        let end = if range.end > range.start { self.file_offset(range.end - 1) + 1 } else { start };
        Span::new(start, end)
    }

    /// Place of the whole text.
    pub fn whole(&self) -> Span {
        self.span(0..self.bytes.len())
    }

    /// Places of the pieces that follow each other in the text and may be apart in the file; empty ones are left out.
    pub fn pieces(&self) -> impl Iterator<Item = Span> + '_ {
        self.segments.iter().enumerate().filter_map(|(i, (joined, file))| {
            let end = self.segments.get(i + 1).map_or(self.bytes.len(), |s| s.0 as usize);
            let (file, length) = (*file as usize, end.saturating_sub(*joined as usize));
            (length > 0).then(|| Span::new(file, file + length))
        })
    }

    /// The part of the text in `range`, with its own places.
    pub fn slice(&self, range: std::ops::Range<usize>) -> LogicalText {
        let (from, to) = (range.start.min(self.bytes.len()), range.end.min(self.bytes.len()));
        let mut out = LogicalText::new();
        if from >= to {
            out.push(&[], self.file_offset(from));
            return out;
        }
        let n = self.segments.partition_point(|(joined, _)| *joined as usize <= from).saturating_sub(1);
        for (i, (joined, file)) in self.segments.iter().enumerate().skip(n) {
            let begin = (*joined as usize).max(from);
            let end = self.segments.get(i + 1).map_or(self.bytes.len(), |s| s.0 as usize).min(to);
            if begin >= to {
                break;
            }
            if begin < end {
                out.push(&self.bytes[begin..end], *file as usize + (begin - *joined as usize));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_joining_and_slicing() {
        // RUN a \⏎  b
        let mut t = LogicalText::new();
        t.push(b"RUN a ", 0);
        t.push(b"  b", 8);
        assert_eq!(t.span(4..5), Span::new(4, 5));
        assert_eq!(t.span(8..9), Span::new(10, 11));
        let rest = t.slice(4..9);
        assert_eq!(rest.bytes, b"a   b");
        assert_eq!(rest.span(4..5), Span::new(10, 11));
        assert_eq!(rest.whole(), Span::new(4, 11));
    }
}
