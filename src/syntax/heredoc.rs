//! Heredocs: finding them on a line, using their bodies.
//!
//! BuildKit looks for `<<NAME` with the lexer that also expands variables (`heredocsFromLine` in `parser/parser.go`,
//! `ProcessWords` in `shell/lex.go`), in a mode that keeps quotes and escapes and knows no variable. A line that the
//! lexer cannot read (an unbalanced quote, `${#x}`, `${x^}`) has no heredocs, whatever a shell would see in it; that
//! is mirrored here, quirks included. No recursion: `${a:-${b:-…` nests without limit.

use std::ops::Range;

use bstr::ByteSlice;

use super::Heredoc;

/// The content of a heredoc as it is used.
pub(super) fn content(heredoc: &Heredoc) -> String {
    let text = String::from_utf8_lossy(&heredoc.body).into_owned();
    if !heredoc.chomp {
        return text;
    }
    text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

/// A `<<NAME` on an instruction's line, without its body.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opening {
    pub(super) name: String,
    pub(super) fd: u32,
    pub(super) expand: bool,
    pub(super) chomp: bool,
    /// Place of the word in the joined line.
    pub(super) range: Range<usize>,
}

/// The delimiter of a heredoc cannot be read; the range is the word's in the joined line.
#[derive(Debug, PartialEq)]
pub(super) struct BadDelimiter(pub(super) Range<usize>);

/// The heredocs that a joined line opens.
pub(super) fn find(line: &[u8]) -> Result<Vec<Opening>, BadDelimiter> {
    let mut openings = Vec::new();
    if !line.contains_str("<<") {
        return Ok(openings);
    }
    for (word, range) in words(line, true, true).unwrap_or_default() {
        match opening(&word, range.clone()) {
            Ok(found) => openings.extend(found),
            Err(Unreadable) => return Err(BadDelimiter(range)),
        }
    }
    Ok(openings)
}

/// Whether one argument of COPY or ADD is a heredoc, and its delimiter.
pub(super) fn source_name(word: &str) -> Option<String> {
    opening(word, 0..0).ok().flatten().map(|o| o.name)
}

/// Reads `[fd]<<[-]NAME`.
fn opening(word: &str, range: Range<usize>) -> Result<Option<Opening>, Unreadable> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (fd, rest) = word.split_at(digits);
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let plain = words(rest.as_bytes(), false, false)?;
    let [(name, _)] = plain.as_slice() else { return Ok(None) };
    let raw = words(rest.as_bytes(), true, false)?;
    let [(raw_name, _)] = raw.as_slice() else { return Err(Unreadable) };
    let quotes = |s: &str| s.matches(['\'', '"']).count();
    let fd = if fd.is_empty() { 0 } else { fd.parse().unwrap_or(u32::MAX) };
    Ok(Some(Opening { name: name.clone(), fd, expand: quotes(name) == quotes(raw_name), chomp, range }))
}

/// The lexer gives up.
#[derive(Debug, PartialEq)]
struct Unreadable;

/// Splits a line into words the way BuildKit's expansion lexer does when no variable is set and unset ones stay as
/// they are written. The escape character is always a backslash here.
fn words(
    line: &[u8],
    raw_quotes: bool,
    raw_escapes: bool,
) -> Result<Vec<(String, Range<usize>)>, Unreadable> {
    let line_start = if line.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    let mut lexer = Lexer { line, at: line_start, raw_quotes, raw_escapes };
    let mut words = Words::default();
    while let Some(c) = lexer.peek() {
        let start = lexer.at;
        match c {
            '$' | '\'' | '"' => {
                let mut piece = String::new();
                let nested = lexer.piece(&mut piece)?;
                if nested {
                    // The original uses one buffer for this and the inner word and so forgets what was read.
                    words.buffer.clear();
                }
                if c == '$' {
                    piece.chars().for_each(|c| words.push(c, start..lexer.at));
                } else {
                    words.push_raw(&piece, start..lexer.at);
                }
            }
            '<' => {
                let mut piece = String::new();
                lexer.angle(&mut piece);
                words.push_raw(&piece, start..lexer.at);
            }
            '\\' => {
                lexer.next();
                if raw_escapes {
                    words.push_raw("\\", start..lexer.at);
                }
                let Some(escaped) = lexer.next() else { break };
                words.push_raw(escaped.encode_utf8(&mut [0; 4]), start..lexer.at);
            }
            _ => {
                lexer.next();
                words.push(c, start..lexer.at);
            }
        }
    }
    words.flush();
    Ok(words.done)
}

#[derive(Default)]
struct Words {
    done: Vec<(String, Range<usize>)>,
    buffer: String,
    range: Range<usize>,
    inside: bool,
}

impl Words {
    fn push(&mut self, c: char, at: Range<usize>) {
        if !c.is_whitespace() {
            self.push_raw(c.encode_utf8(&mut [0; 4]), at);
        } else if self.inside && !self.buffer.is_empty() {
            self.flush();
        }
    }

    fn push_raw(&mut self, text: &str, at: Range<usize>) {
        if self.buffer.is_empty() {
            self.range.start = at.start;
        }
        self.range.end = at.end;
        self.buffer.push_str(text);
        self.inside = true;
    }

    fn flush(&mut self) {
        if !self.buffer.is_empty() {
            self.done.push((std::mem::take(&mut self.buffer), self.range.clone()));
            self.inside = false;
        }
    }
}

/// What is open inside a piece.
enum Open {
    /// `"…"`
    Quote,
    /// the word of `${name:-word}` up to `stop`
    Word { stop: char, raw_escapes_outside: bool },
}

struct Lexer<'a> {
    line: &'a [u8],
    at: usize,
    raw_quotes: bool,
    raw_escapes: bool,
}

impl Lexer<'_> {
    /// Reads one quoted string or variable, with all that nests in it, as it is handed on. Tells whether there is a
    /// word in braces in it.
    fn piece(&mut self, out: &mut String) -> Result<bool, Unreadable> {
        let mut open: Vec<Open> = Vec::new();
        let mut nested = false;
        loop {
            let c = self.peek().ok_or(Unreadable)?;
            let in_quote = matches!(open.last(), Some(Open::Quote));
            match (open.last(), c) {
                (Some(Open::Quote), '"') => {
                    self.next();
                    self.quote(out, '"');
                    open.pop();
                }
                (Some(Open::Word { stop, raw_escapes_outside }), _) if c == *stop => {
                    let (stop, raw_escapes_outside) = (*stop, *raw_escapes_outside);
                    self.next();
                    out.push(stop);
                    open.pop();
                    if stop == '/' {
                        open.push(Open::Word { stop: '}', raw_escapes_outside });
                    } else {
                        self.raw_escapes = raw_escapes_outside;
                    }
                }
                (_, '$') => {
                    if let Some(word) = self.dollar(out)? {
                        open.push(word);
                        nested = true;
                    }
                }
                (Some(Open::Quote), '\\') => {
                    self.next();
                    if self.raw_escapes {
                        out.push('\\');
                    }
                    match self.peek() {
                        Some(c @ ('"' | '$' | '\\')) => {
                            self.next();
                            out.push(c);
                        }
                        _ => out.push('\\'),
                    }
                }
                (_, '"') => {
                    self.next();
                    self.quote(out, '"');
                    open.push(Open::Quote);
                }
                (_, '\'') if !in_quote => {
                    self.next();
                    self.quote(out, '\'');
                    loop {
                        match self.next().ok_or(Unreadable)? {
                            '\'' => break,
                            c => out.push(c),
                        }
                    }
                    self.quote(out, '\'');
                }
                (_, '<') if !in_quote => self.angle(out),
                (_, '\\') => {
                    self.next();
                    if self.raw_escapes {
                        out.push('\\');
                    }
                    out.push(self.next().ok_or(Unreadable)?);
                }
                _ => {
                    self.next();
                    out.push(c);
                }
            }
            if open.is_empty() {
                return Ok(nested);
            }
        }
    }

    /// Reads `$name`, `${name}` or the beginning of `${name…word}`, which is then returned.
    fn dollar(&mut self, out: &mut String) -> Result<Option<Open>, Unreadable> {
        self.next();
        out.push('$');
        if self.peek() != Some('{') {
            self.name(out);
            return Ok(None);
        }
        self.next();
        out.push('{');
        if matches!(self.peek(), None | Some('{' | '}' | ':')) {
            return Err(Unreadable);
        }
        self.name(out);
        let operator = self.next().ok_or(Unreadable)?;
        out.push(operator);
        let (stop, raw) = match operator {
            '}' => return Ok(None),
            ':' => {
                let second = self.next().ok_or(Unreadable)?;
                if matches!(second, '#' | '%') {
                    return Err(Unreadable);
                }
                out.push(second);
                ('}', false)
            }
            '+' | '-' | '?' => ('}', false),
            '#' | '%' => ('}', true),
            '/' => {
                if self.peek() == Some('/') {
                    self.next();
                }
                ('/', true)
            }
            _ => return Err(Unreadable),
        };
        let raw_escapes_outside = std::mem::replace(&mut self.raw_escapes, raw);
        Ok(Some(Open::Word { stop, raw_escapes_outside }))
    }

    fn name(&mut self, out: &mut String) {
        match self.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.peek().filter(|c| c.is_numeric()) {
                    self.next();
                    out.push(c);
                }
            }
            Some(c @ ('@' | '*' | '#' | '?' | '-' | '$' | '!')) => {
                self.next();
                out.push(c);
            }
            _ => {
                while let Some(c) = self.peek().filter(|c| c.is_alphanumeric() || *c == '_') {
                    self.next();
                    out.push(c);
                }
            }
        }
    }

    /// `<`, or `<<` with the blanks behind it.
    fn angle(&mut self, out: &mut String) {
        self.next();
        out.push('<');
        if self.peek() == Some('<') {
            self.next();
            out.push('<');
            while let Some(c @ (' ' | '\t' | '\r')) = self.peek() {
                self.next();
                out.push(c);
            }
        }
    }

    fn quote(&self, out: &mut String, quote: char) {
        if self.raw_quotes {
            out.push(quote);
        }
    }

    fn peek(&self) -> Option<char> {
        let rest = self.line.get(self.at..).filter(|r| !r.is_empty())?;
        Some(bstr::decode_utf8(rest).0.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn next(&mut self) -> Option<char> {
        let rest = self.line.get(self.at..).filter(|r| !r.is_empty())?;
        let (c, n) = bstr::decode_utf8(rest);
        self.at += n;
        Some(c.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<(String, u32, bool, bool)> {
        find(line.as_bytes())
            .expect("readable delimiters")
            .into_iter()
            .map(|o| (o.name, o.fd, o.expand, o.chomp))
            .collect()
    }

    #[test]
    fn heredocs_are_words_that_begin_with_two_angles() {
        assert_eq!(found("RUN <<EOF"), [("EOF".into(), 0, true, false)]);
        assert_eq!(found("RUN 3<<-'E F' cat"), [("E F".into(), 3, false, true)]);
        assert_eq!(
            found("COPY <<a <<\"b\" /"),
            [("a".into(), 0, true, false), ("b".into(), 0, false, false)]
        );
        assert_eq!(found("RUN << EOF"), [("EOF".into(), 0, true, false)]);
        assert_eq!(found("RUN cat <<E\\OF|sh"), [("EOF|sh".into(), 0, true, false)]);
    }

    #[test]
    fn here_strings_shifts_and_quoted_angles_are_no_heredocs() {
        for line in
            ["RUN a <<<EOF", "RUN a<<EOF", "RUN echo \"<<EOF\"", "RUN echo '<<EOF'", "RUN a <<-", "RUN <<''"]
        {
            assert_eq!(found(line), [], "{line}");
        }
    }

    #[test]
    fn a_line_that_the_lexer_cannot_read_has_none() {
        for line in ["RUN it's <<EOF", "RUN ${#x} <<EOF", "RUN ${x^} <<EOF", "RUN ${x <<EOF", "RUN ${} <<EOF"]
        {
            assert_eq!(found(line), [], "{line}");
        }
        assert_eq!(found("RUN ${x:-${y:-'}'}} $(a) $$ <<EOF"), [("EOF".into(), 0, true, false)]);
    }

    #[test]
    fn a_word_in_braces_makes_the_lexer_forget_what_stands_before_it() {
        assert_eq!(found("RUN <<EOF${x:-y}"), []);
        assert_eq!(found("RUN <<EOF${x}"), [("EOF${x}".into(), 0, true, false)]);
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let line = format!("RUN {} <<EOF", "${x:-".repeat(100_000));
        assert_eq!(found(&line), []);
    }
}
