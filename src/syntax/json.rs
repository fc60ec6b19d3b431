//! The JSON form of arguments, `["a", "b"]`, with the place of each string.
//!
//! BuildKit hands the text to Go's `encoding/json` (`parseJSON` in `parser/line_parsers.go`). What that reads decides
//! between exec and shell form, so this reader accepts the same: standard JSON of at most 10,000 levels, no numbers
//! beyond a 64-bit float, unpaired surrogates and bytes that are not UTF-8 replaced.

use std::ops::Range;

use bstr::ByteSlice;

/// How deeply Go's decoder lets arrays and objects nest.
const MAX_DEPTH: usize = 10_000;

/// What the text is.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    /// No JSON array: it is the plain form.
    Plain,
    /// An array with an element that is not a string, which stands there; BuildKit refuses it.
    NotStrings(Range<usize>),
    /// The decoded strings, with their places between the quotes.
    Strings(Vec<(String, Range<usize>)>),
}

/// Reads the arguments of an instruction.
pub(super) fn parse(text: &[u8]) -> Json {
    let start = text.len() - text.trim_start().len();
    if text.get(start) != Some(&b'[') {
        return Json::Plain;
    }
    let mut reader = Reader { text, at: start + 1 };
    match reader.array() {
        Some((strings, None)) => Json::Strings(strings),
        Some((_, Some(other))) => Json::NotStrings(other),
        None => Json::Plain,
    }
}

type Strings = Vec<(String, Range<usize>)>;

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The rest of the outer array and nothing but blanks behind it: its strings and the first other element.
    fn array(&mut self) -> Option<(Strings, Option<Range<usize>>)> {
        let mut strings = Vec::new();
        let mut other = None;
        self.blanks();
        if self.eat(b']') {
            return self.end().then_some((strings, other));
        }
        loop {
            self.blanks();
            let start = self.at;
            if self.peek() == Some(b'"') {
                strings.push(self.string()?);
            } else {
                self.value()?;
                other.get_or_insert(start..self.at);
            }
            self.blanks();
            if self.eat(b']') {
                return self.end().then_some((strings, other));
            }
            if !self.eat(b',') {
                return None;
            }
        }
    }

    /// Any value but a string at the outer level. Open brackets are kept in a list, so that depth costs no stack.
    fn value(&mut self) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.blanks();
            match self.peek()? {
                bracket @ (b'[' | b'{') => {
                    self.at += 1;
                    // The outer array is a level, too.
                    if open.len() + 2 > MAX_DEPTH {
                        return None;
                    }
                    open.push(bracket);
                    self.blanks();
                    let close = if bracket == b'[' { b']' } else { b'}' };
                    if !self.eat(close) {
                        if bracket == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                    open.pop();
                }
                b'"' => drop(self.string()?),
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.number()?,
            }
            // A value is complete; close what it completes.
            loop {
                let Some(bracket) = open.last() else { return Some(()) };
                let in_object = *bracket == b'{';
                self.blanks();
                if self.eat(b',') {
                    if in_object {
                        self.blanks();
                        self.key()?;
                    }
                    break;
                }
                if !self.eat(if in_object { b'}' } else { b']' }) {
                    return None;
                }
                open.pop();
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        self.string()?;
        self.blanks();
        self.eat(b':').then_some(())
    }

    fn string(&mut self) -> Option<(String, Range<usize>)> {
        if !self.eat(b'"') {
            return None;
        }
        let start = self.at;
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..)?;
            let plain = rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\')?;
            out.push_str(&rest.get(..plain)?.to_str_lossy());
            self.at += plain + 1;
            match *rest.get(plain)? {
                b'"' => return Some((out, start..self.at - 1)),
                b'\\' => {
                    let escaped = *self.text.get(self.at)?;
                    self.at += 1;
                    out.push(match escaped {
                        b'"' | b'\\' | b'/' => char::from(escaped),
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'u' => self.unicode()?,
                        _ => return None,
                    });
                }
                _ => return None,
            }
        }
    }

    /// The four digits after `\u`, and the second half of a surrogate pair.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex(self.at)?;
        self.at += 4;
        if let Some(c) = char::from_u32(first) {
            return Some(c);
        }
        if self.text.get(self.at..self.at + 2) == Some(br"\u")
            && let Some(second) = self.hex(self.at + 2)
            && let Some(Ok(c)) = char::decode_utf16([first as u16, second as u16]).next()
        {
            self.at += 6;
            return Some(c);
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at.checked_add(4)?)?;
        digits.iter().try_fold(0, |n, b| Some(n * 16 + char::from(*b).to_digit(16)?))
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let text = std::str::from_utf8(self.text.get(start..self.at)?).ok()?;
        text.parse::<f64>().is_ok_and(f64::is_finite).then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn literal(&mut self, word: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn end(&mut self) -> bool {
        self.blanks();
        self.at == self.text.len()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Option<Vec<String>> {
        match parse(text.as_bytes()) {
            Json::Strings(strings) => Some(strings.into_iter().map(|(s, _)| s).collect()),
            _ => None,
        }
    }

    #[test]
    fn strings_are_decoded_and_keep_their_places() {
        let text = br#" [ "a" ,"b\n\u00e9" ] "#;
        assert_eq!(parse(text), Json::Strings(vec![("a".into(), 4..5), ("b\n\u{e9}".into(), 9..18)]));
        assert_eq!(strings("[]"), Some(vec![]));
        assert_eq!(strings(r#"["\ud83d\ude00\ud83d"]"#), Some(vec!["\u{1f600}\u{fffd}".into()]));
    }

    #[test]
    fn broken_arrays_are_the_plain_form() {
        for text in
            ["a", "['a']", "[\"a\",]", "[\"a\"", "[\"a\"] x", "[\"a\tb\"]", "[1e999]", "[01]", "[\"a\\x\"]"]
        {
            assert_eq!(parse(text.as_bytes()), Json::Plain, "{text}");
        }
        assert_eq!(parse(&[b"[".repeat(20_000), b"]".repeat(20_000)].concat()), Json::Plain);
    }

    #[test]
    fn other_elements_are_named() {
        for (text, place) in [
            (r#"["a", 1.5e2]"#, 6..11),
            (r#"[["a"], "b"]"#, 1..6),
            (r#"[{"a": {}, "b": [null]}]"#, 1..23),
            ("[null]", 1..5),
        ] {
            assert_eq!(parse(text.as_bytes()), Json::NotStrings(place), "{text}");
        }
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        assert!(matches!(parse(&deep), Json::NotStrings(_)));
    }
}
