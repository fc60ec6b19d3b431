//! The few lines of a file that a diagnostic shows, in the shape miette can draw.
//!
//! miette wants text and offsets into it. A Dockerfile is bytes: lines may be a megabyte long, end in CR LF, hold
//! control characters or bytes that are not UTF-8. So the lines around each label are copied, cleaned and shortened,
//! and the labels follow the copy. Line and column in the heading are those of the file.

use crate::source::{SourceFile, Span};
use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Lines shown before and after a label.
pub(super) const AROUND: u32 = 1;
/// A label over more lines than this is drawn on its first line only.
const TALLEST: u32 = 6;
/// Longer lines are shortened, bytes.
const WIDEST: usize = 220;
/// Bytes kept on both sides of a label in a shortened line.
const MARGIN: usize = 60;

/// A copied line.
#[derive(Debug)]
struct Line {
    /// Offset in the copy.
    start: usize,
    /// Its number in the file, from 1.
    number: u32,
}

/// Copied lines of one file and the labels on them.
#[derive(Debug)]
pub(super) struct Excerpt {
    name: String,
    text: String,
    lines: Vec<Line>,
    /// Offset in the copy and in the file of every label's start, for the heading.
    places: Vec<(usize, usize, usize)>,
}

impl Excerpt {
    /// Copies what is needed to show `spans`; the second value holds their places in the copy.
    pub(super) fn new(file: &SourceFile, spans: &[Span]) -> (Self, Vec<SourceSpan>) {
        let size = Span::new(0, file.bytes.len()).end;
        let spans: Vec<Span> = spans.iter().map(|s| clip(file, *s, size)).collect();
        // Behind the last line end there is nothing to show.
        let last_line = file.index.lines() - u32::from(file.bytes.ends_with(b"\n"));
        let mut numbers = Vec::new();
        for span in &spans {
            let (first, last) = (file.index.line(span.start), file.index.line(last_byte(*span)));
            numbers.extend(first.saturating_sub(AROUND).max(1)..=(last + AROUND).min(last_line).max(last));
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut excerpt =
            Self { name: file.name.clone(), text: String::new(), lines: Vec::new(), places: Vec::new() };
        // Even numbers are starts, odd ones ends. A start belongs to the line that begins there, an end to the line that
        // ends there.
        let is_start = |edge: usize| edge.is_multiple_of(2);
        let mut edges: Vec<(u32, usize)> =
            spans.iter().enumerate().flat_map(|(i, s)| [(s.start, 2 * i), (s.end, 2 * i + 1)]).collect();
        edges.sort_unstable_by_key(|(at, edge)| (*at, is_start(*edge)));
        let mut found = vec![0; edges.len()];
        let mut edges = edges.as_slice();
        for (i, number) in numbers.iter().enumerate() {
            let start = file.index.line_start(*number).unwrap_or(size);
            let end = file.index.line_start(number + 1).unwrap_or(size);
            let here = |(at, edge): &(u32, usize)| *at < end || (*at == end && !is_start(*edge));
            let count = if i + 1 == numbers.len() { edges.len() } else { edges.partition_point(here) };
            let (mine, rest) = edges.split_at(count);
            excerpt.copy_line(file, *number, Span { start, end }, mine, &mut found);
            edges = rest;
        }
        let shown = spans.iter().enumerate().map(|(i, span)| {
            let (start, end) = (found[2 * i], found[2 * i + 1].max(found[2 * i]));
            let place = file.position(span.start);
            excerpt.places.push((start, place.line as usize, place.column as usize));
            SourceSpan::from((start, end - start))
        });
        let shown = shown.collect();
        (excerpt, shown)
    }

    /// Copies one line without its end and notes where the edges of labels come to lie.
    fn copy_line(
        &mut self,
        file: &SourceFile,
        number: u32,
        line: Span,
        edges: &[(u32, usize)],
        found: &mut [usize],
    ) {
        self.lines.push(Line { start: self.text.len(), number });
        let bytes = file.bytes.get(line.range()).unwrap_or_default();
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let long = bytes.len() > WIDEST;
        let keep = |at: usize| {
            !long
                || at < MARGIN
                || edges.iter().any(|(edge, _)| {
                    let edge = (edge - line.start) as usize;
                    at + MARGIN >= edge && at < edge + MARGIN
                })
        };
        let mut edges = edges.iter().map(|(at, i)| ((at - line.start) as usize, *i)).peekable();
        let mut at = 0;
        let mut left_out = false;
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid().chars().map(|c| (c, c.len_utf8()));
            let broken =
                (!chunk.invalid().is_empty()).then_some((char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
            for (c, width) in valid.chain(broken) {
                while edges.next_if(|(edge, _)| *edge < at + width).is_some_and(|(_, i)| {
                    found[i] = self.text.len();
                    true
                }) {}
                match (keep(at), left_out) {
                    (true, _) => {
                        self.text.push(visible(c));
                        left_out = false;
                    }
                    (false, false) => {
                        self.text.push('…');
                        left_out = true;
                    }
                    (false, true) => {}
                }
                at += width;
            }
        }
        for (_, i) in edges {
            found[i] = self.text.len();
        }
        self.text.push('\n');
    }
}

/// Text with its control characters made visible; line ends stay.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { visible(c) }).collect()
}

/// Control characters would move the cursor, and those that turn the direction of text would hide what is written.
fn visible(c: char) -> char {
    match c {
        '\t' => '\t',
        '\u{FEFF}' => '\u{2060}',
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

fn last_byte(span: Span) -> u32 {
    span.end.saturating_sub(1).max(span.start)
}

/// Keeps a span inside the file and short enough to be drawn.
fn clip(file: &SourceFile, span: Span, size: u32) -> Span {
    let start = span.start.min(size);
    let span = Span { start, end: span.end.clamp(start, size) };
    let first = file.index.line(span.start);
    if file.index.line(last_byte(span)) - first < TALLEST {
        return span;
    }
    let end = file.index.line_start(first + 1).unwrap_or(size);
    let line = file.bytes.get(span.start as usize..end as usize).unwrap_or_default();
    let kept = line.trim_ascii_end().len();
    Span::new(span.start as usize, span.start as usize + kept)
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let line_at = |offset| self.lines.partition_point(|l| l.start <= offset).saturating_sub(1);
        let mut first = line_at(span.offset());
        let mut last = line_at((span.offset() + span.len()).saturating_sub(1).max(span.offset()));
        let neighbours = |upper: usize, lower: usize| {
            self.lines.get(upper).zip(self.lines.get(lower)).is_some_and(|(u, l)| u.number + 1 == l.number)
        };
        for _ in 0..before {
            if first > 0 && neighbours(first - 1, first) {
                first -= 1;
            }
        }
        for _ in 0..after {
            if neighbours(last, last + 1) {
                last += 1;
            }
        }
        let start = self.lines.get(first).map_or(0, |l| l.start);
        let end = self.lines.get(last + 1).map_or(self.text.len(), |l| l.start);
        let text = self.text.get(start..end).ok_or(MietteError::OutOfBounds)?;
        let (line, column) = match self.places.iter().find(|(at, ..)| *at == span.offset()) {
            Some((_, line, column)) if before == 0 => (line - 1, column - 1),
            _ => (self.lines.get(first).map_or(0, |l| l.number as usize - 1), 0),
        };
        let shown = SourceSpan::from((start, end - start));
        let contents = MietteSpanContents::new_named(
            self.name.clone(),
            text.as_bytes(),
            shown,
            line,
            column,
            last - first + 1,
        );
        Ok(Box::new(contents))
    }
}
