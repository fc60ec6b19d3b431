//! Physical lines to logical lines: byte order mark, directives, comments, continuations, heredoc bodies.
//!
//! Mirrors `Parse` in BuildKit's `parser/parser.go` and `DirectiveParser` in `parser/directives.go`, but goes on after
//! an error and keeps the place of every byte.

use std::collections::HashMap;
use std::ops::Range;

use bstr::ByteSlice;

use super::heredoc::{self, Opening};
use super::instruction::{self, Head};
use super::{
    Comment, Directive, Document, Escape, Heredoc, Keyword, LogicalText, SyntaxError, Token, TokenKind,
};
use crate::source::Span;

/// A line of this many bytes without its end does not fit the buffer of Go's `bufio.Scanner`.
const MAX_LINE: usize = 64 * 1024;

pub(super) fn parse(bytes: &[u8]) -> Document {
    let mut lines = Lines::new(bytes);
    lines.run();
    lines.finish()
}

/// One physical line.
#[derive(Clone)]
struct Line {
    /// The line without its line end; BuildKit takes all trailing CR and LF for it.
    content: Range<usize>,
    /// Where the next line begins.
    end: usize,
}

struct Lines<'a> {
    bytes: &'a [u8],
    lines: Vec<Line>,
    /// Index of the next line; also the 1-based number of the line read last.
    next: usize,
    directives_end: bool,
    seen_from: bool,
    /// Where the lines stand that could end a heredoc; made when one does not end.
    ends: Option<HashMap<Vec<u8>, Vec<usize>>>,
    tokens: Vec<Token>,
    doc: Document,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut lines = Vec::new();
        let mut tokens = Vec::new();
        let mut start = 0;
        for line in bytes.lines_with_terminator() {
            let end = start + line.len();
            let mut content = start..start + line.trim_end_with(|c| c == '\r' || c == '\n').len();
            if start == 0 && line.starts_with(b"\xEF\xBB\xBF") {
                tokens.push(Token { kind: TokenKind::Bom, span: Span::new(0, 3) });
                content.start = 3;
            }
            lines.push(Line { content, end });
            start = end;
        }
        Self {
            bytes,
            lines,
            next: 0,
            directives_end: false,
            seen_from: false,
            ends: None,
            tokens,
            doc: Document::default(),
        }
    }

    fn run(&mut self) {
        while let Some(line) = self.advance() {
            let start = line.content.start + self.blanks(&line.content);
            let content = start..line.content.end;
            match self.bytes.get(start).filter(|_| start < content.end) {
                Some(b'#') => {
                    if self.directives_end || !self.directive(&content) {
                        self.comment(content, None);
                    }
                    continue;
                }
                None => self.directives_end = true,
                Some(_) => {
                    self.directives_end = true;
                    self.instruction(Line { content, end: line.end });
                }
            }
        }
        if self.doc.instructions.is_empty() && self.doc.errors.is_empty() {
            self.error(
                Span::new(0, 0),
                "the file has no instructions".into(),
                Some("a Dockerfile begins with `FROM image`".into()),
            );
        }
    }

    fn advance(&mut self) -> Option<Line> {
        let line = self.lines.get(self.next)?.clone();
        let start = self.next.checked_sub(1).and_then(|n| self.lines.get(n)).map_or(0, |l| l.end);
        self.next += 1;
        let length = self.bytes.get(start..line.end).unwrap_or_default().trim_end_with(|c| c == '\n').len();
        if length >= MAX_LINE {
            self.error(
                Span::new(start, line.content.end),
                format!(
                    "the line has {length} bytes; BuildKit reads lines of at most {} bytes",
                    MAX_LINE - 1
                ),
                Some("break the line, or move its content into a file".into()),
            );
        }
        Some(line)
    }

    /// Number of bytes of leading blanks, Unicode's included.
    fn blanks(&self, content: &Range<usize>) -> usize {
        let text = self.bytes.get(content.clone()).unwrap_or_default();
        text.len() - text.trim_start().len()
    }

    fn comment(&mut self, content: Range<usize>, inside: Option<usize>) {
        let text = self.bytes.get(content.start + 1..content.end).unwrap_or_default();
        let text = text.trim().to_str_lossy().into_owned();
        let span = Span::new(content.start, content.end);
        self.token(TokenKind::Comment, span);
        self.doc.comments.push(Comment { span, text, inside });
    }

    /// Takes `# name=value`; tells whether it is a directive, be it a wrong one.
    fn directive(&mut self, content: &Range<usize>) -> bool {
        let Some((name, value)) = self.split_directive(content) else {
            self.directives_end = true;
            return false;
        };
        let span = Span::new(content.start, content.end);
        let value_span = Span::new(value.start, value.end);
        let text = self.bytes.get(value).unwrap_or_default().to_str_lossy().into_owned();
        self.token(TokenKind::Directive, span);
        if self.doc.directives.iter().any(|d| d.name == name) {
            let message = format!("the directive `{name}` is given twice");
            self.error(span, message, Some("BuildKit accepts each directive once; remove this line".into()));
            return true;
        }
        if name == "escape" {
            match text.as_str() {
                "\\" => self.doc.escape = Escape::Backslash,
                "`" => self.doc.escape = Escape::Backtick,
                _ => self.error(
                    value_span,
                    format!("`{text}` cannot be the escape character"),
                    Some("it is `\\` or a backtick".into()),
                ),
            }
        }
        self.doc.directives.push(Directive { name, value: text, span, value_span });
        true
    }

    fn split_directive(&self, content: &Range<usize>) -> Option<(String, Range<usize>)> {
        let blank = |b: &u8| matches!(b, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ');
        let text = self.bytes.get(content.start + 1..content.end)?;
        let text = text.trim_start();
        let name_end = text.iter().position(|b| !b.is_ascii_alphanumeric())?;
        let name = text.get(..name_end)?.to_str().ok()?.to_ascii_lowercase();
        if !matches!(name.as_str(), "syntax" | "escape" | "check") {
            return None;
        }
        let rest = text.get(name_end..)?;
        let equals = rest.iter().position(|b| !blank(b)).filter(|n| rest.get(*n) == Some(&b'='))?;
        let rest = rest.get(equals + 1..)?;
        let length = rest.iter().rposition(|b| !blank(b)).map_or(rest.len(), |n| n + 1);
        // Blanks alone are a value of one blank: the value takes at least one character.
        let from = rest.iter().position(|b| !blank(b)).or(rest.len().checked_sub(1))?;
        let base = content.end - rest.len();
        Some((name, base + from..base + length))
    }

    /// Reads the instruction that begins on `first`, its continued lines and its heredocs.
    fn instruction(&mut self, first: Line) {
        let index = self.doc.instructions.len();
        let line_number = self.next;
        let mut text = LogicalText::new();
        let mut empty_continuation = false;
        let mut continued = self.join(&mut text, first);
        while continued {
            let Some(line) = self.advance() else { break };
            let start = line.content.start + self.blanks(&line.content);
            if start >= line.content.end {
                empty_continuation = true;
            } else if self.bytes.get(start) == Some(&b'#') {
                self.comment(start..line.content.end, Some(index));
            } else {
                continued = self.join(&mut text, line);
            }
        }

        let head = Head::split(text, self.doc.escape);
        let opened = head.heredocs_allowed();
        let openings = if opened { heredoc::find(&head.text.bytes) } else { Ok(Vec::new()) };
        let openings = openings.unwrap_or_else(|heredoc::BadDelimiter(range)| {
            self.error(
                head.text.span(range),
                "the delimiter of this heredoc cannot be read".into(),
                Some("write a plain word, as in `<<EOF`".into()),
            );
            Vec::new()
        });
        let heredocs = self.heredocs(&head.text, openings);

        let mut found = instruction::Found::default();
        let mut instruction = instruction::parse(head, heredocs, self.doc.escape, &mut found);
        self.tokens.append(&mut found.tokens);
        self.doc.errors.append(&mut found.errors);
        if let Some(end) = instruction.heredocs.last().map(|h| h.end_span.end) {
            instruction.span.end = instruction.span.end.max(end);
        }
        instruction.line = to_u32(line_number);
        instruction.end_line = to_u32(self.next);
        if let super::Args::Onbuild(trigger) = &mut instruction.args {
            trigger.span.end = instruction.span.end;
            trigger.line = instruction.line;
            trigger.end_line = instruction.end_line;
        }
        instruction.empty_continuation = empty_continuation;
        self.place(&instruction);
        self.doc.instructions.push(instruction);
    }

    /// Complains once about an instruction before the first FROM.
    fn place(&mut self, instruction: &super::Instruction) {
        match instruction.keyword {
            Keyword::From => self.seen_from = true,
            Keyword::Arg | Keyword::Unknown => {}
            _ if !self.seen_from => {
                self.seen_from = true;
                self.error(
                    instruction.keyword_span,
                    format!("`{}` stands before the first `FROM`", instruction.keyword.name()),
                    Some("only `ARG` may; begin the first stage with `FROM image`".into()),
                );
            }
            _ => {}
        }
    }

    /// Appends a line without its continuation; tells whether there is one.
    fn join(&mut self, text: &mut LogicalText, line: Line) -> bool {
        let escape = self.doc.escape.byte();
        let content = self.bytes.get(line.content.clone()).unwrap_or_default();
        let last = content.iter().rposition(|b| !matches!(b, b' ' | b'\t'));
        let continues = |n: usize| {
            let before = n.checked_sub(1).and_then(|n| content.get(n));
            content.get(n) == Some(&escape) && before != Some(&escape)
        };
        match last.filter(|n| continues(*n)) {
            Some(n) => {
                let at = line.content.start + n;
                text.push(content.get(..n).unwrap_or_default(), line.content.start);
                self.token(TokenKind::Continuation, Span::new(at, line.end));
                true
            }
            None => {
                text.push(content, line.content.start);
                false
            }
        }
    }

    /// Reads the bodies of heredocs.
    fn heredocs(&mut self, text: &LogicalText, openings: Vec<Opening>) -> Vec<Heredoc> {
        let mut heredocs = Vec::new();
        for opening in openings {
            let word_span = text.span(opening.range.clone());
            let (body_span, end_span) = self.body(&opening, word_span);
            heredocs.push(Heredoc {
                body: self.bytes.get(body_span.range()).unwrap_or_default().to_vec(),
                name: opening.name,
                fd: opening.fd,
                expand: opening.expand,
                chomp: opening.chomp,
                word_span,
                body_span,
                end_span,
            });
        }
        heredocs
    }

    fn body(&mut self, opening: &Opening, word: Span) -> (Span, Span) {
        let from = self.next;
        let start = from.checked_sub(1).and_then(|n| self.lines.get(n)).map_or(0, |l| l.end);
        let end = self.heredoc_end(opening, from);
        let stop = end.unwrap_or_else(|| {
            let help = format!("end it with a line that holds nothing but `{}`", opening.name);
            self.error(word, format!("the heredoc `{}` never ends", opening.name), Some(help));
            // Nobody can know where it should have ended; the next line that looks like an instruction is likely.
            (from..self.lines.len()).find(|n| self.looks_like_instruction(*n)).unwrap_or(self.lines.len())
        });
        while self.next < stop {
            self.advance();
        }
        let body_end =
            stop.checked_sub(1).and_then(|n| self.lines.get(n)).map_or(start, |l| l.end.max(start));
        let body = Span::new(start, body_end);
        self.token(TokenKind::HeredocBody, body);
        let Some(line) = end.and_then(|_| self.advance()) else {
            return (body, Span::new(body_end, body_end));
        };
        let end = Span::new(body_end, line.content.end);
        self.token(TokenKind::HeredocEnd, end);
        (body, end)
    }

    /// Index of the line that ends a heredoc whose body begins on line `from`.
    fn heredoc_end(&mut self, opening: &Opening, from: usize) -> Option<usize> {
        let key = |chomp: bool, text: &[u8]| [&[u8::from(chomp)], text].concat();
        if let Some(ends) = &self.ends {
            let places = ends.get(&key(opening.chomp, opening.name.as_bytes()))?;
            return places.get(places.partition_point(|n| *n < from)).copied();
        }
        let found = (from..self.lines.len()).find(|n| {
            let line = self.line_text(*n);
            let line = if opening.chomp { line.trim_start_with(|c| c == '\t') } else { line };
            line == opening.name.as_bytes()
        });
        if found.is_none() {
            // Looking through the whole rest once more for each unfinished heredoc would take quadratic time.
            let mut ends: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
            for n in from..self.lines.len() {
                let line = self.line_text(n);
                ends.entry(key(false, line)).or_default().push(n);
                ends.entry(key(true, line.trim_start_with(|c| c == '\t'))).or_default().push(n);
            }
            self.ends = Some(ends);
        }
        found
    }

    fn looks_like_instruction(&self, line: usize) -> bool {
        let text = self.line_text(line);
        let word = text.iter().position(|b| matches!(b, b' ' | b'\t')).and_then(|n| text.get(..n));
        word.and_then(|w| w.to_str().ok()).is_some_and(|w| Keyword::ALL.into_iter().any(|k| k.name() == w))
    }

    fn line_text(&self, line: usize) -> &'a [u8] {
        self.lines.get(line).and_then(|l| self.bytes.get(l.content.clone())).unwrap_or_default()
    }

    fn token(&mut self, kind: TokenKind, span: Span) {
        self.tokens.push(Token { kind, span });
    }

    fn error(&mut self, span: Span, message: String, help: Option<String>) {
        self.doc.errors.push(SyntaxError { span, message, help });
    }

    /// Orders what was found and makes blanks of what no token covers.
    fn finish(mut self) -> Document {
        self.doc.errors.sort_by_key(|e| e.span.start);
        self.tokens.sort_by_key(|t| t.span.start);
        let mut at = 0;
        let tokens = &mut self.doc.tokens;
        let end = Span::new(self.bytes.len(), self.bytes.len()).end;
        for token in self.tokens.into_iter().filter(|t| !t.span.is_empty()) {
            if token.span.start > at {
                tokens
                    .push(Token { kind: TokenKind::Space, span: Span { start: at, end: token.span.start } });
            }
            let span = Span { start: token.span.start.max(at), end: token.span.end };
            if !span.is_empty() {
                tokens.push(Token { kind: token.kind, span });
                at = span.end;
            }
        }
        if at < end {
            tokens.push(Token { kind: TokenKind::Space, span: Span { start: at, end } });
        }
        self.doc
    }
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
