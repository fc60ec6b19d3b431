//! From a pattern to its test, through the regular expressions of Go.
//!
//! `patternmatcher` writes a Go expression and compiles it, and what it forgets to escape (`|`, `{}`, `^`,
//! classes, `\d`, `\Q…\E`) means there what it means to Go. So the same expression is written here, read by a
//! small parser for what can occur in one, and written again for the `regex` crate with every literal escaped
//! and every class spelled out, because the two dialects differ in escapes and inside brackets.

use std::fmt::Write as _;
use std::sync::OnceLock;

use bstr::BString;
use regex::{Regex, RegexBuilder};

use super::{Test, characters};

/// Larger programs are refused; Go's own limit is of the same order.
const SIZE_LIMIT: usize = 64 << 20;

/// The test for a cleaned pattern without its `!`, or why Go refuses its expression.
pub(super) fn compile(text: &[u8]) -> Result<Test, String> {
    let (kind, go) = translate(text);
    match kind {
        Kind::Exact => Ok(Test::Equal),
        Kind::Prefix => {
            Ok(Test::Begins(BString::from(text.get(..text.len().saturating_sub(2)).unwrap_or_default())))
        }
        Kind::Suffix => Ok(Test::Ends(BString::from(text.get(2..).unwrap_or_default()))),
        Kind::Regexp => match literal_ends(text) {
            Some((head, tail)) => Ok(Test::Between {
                head: head.into(),
                tail: tail.into(),
                expression: go,
                regex: OnceLock::new(),
            }),
            None => expression(&go).map(Test::Expression),
        },
    }
}

/// What every match begins and ends with, so that most paths need no regular expression. None where more than
/// stars and question marks is in the pattern.
fn literal_ends(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let wild = |b: &u8| matches!(b, b'*' | b'?');
    let (first, last) = (text.iter().position(wild)?, text.iter().rposition(wild)?);
    // A replacement character in the pattern stands for any broken byte of a path, and a byte order mark for none.
    let valid = std::str::from_utf8(text).is_ok_and(|t| !t.contains(['\u{feff}', '\u{fffd}']));
    if !valid || text.iter().any(|b| b"[]\\{}^|".contains(b)) {
        return None;
    }
    let tail = text.get(last + 1..)?;
    // The slash behind `**` is part of it, and optional.
    Some((text.get(..first)?, tail.strip_prefix(b"/").unwrap_or(tail)))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Exact,
    Prefix,
    Suffix,
    Regexp,
}

/// The scan of `Pattern.compile`: which test, and the Go expression should it be needed.
fn translate(text: &[u8]) -> (Kind, String) {
    let mut chars = characters(text).peekable();
    // The scanner that BuildKit reads patterns with drops one byte order mark.
    chars.next_if_eq(&'\u{feff}');
    let mut kind = Kind::Exact;
    let mut out = String::from("^");
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    out.push_str("(.*/)?");
                    kind = Kind::Regexp;
                } else if kind == Kind::Exact {
                    kind = Kind::Prefix;
                } else {
                    out.push_str(".*");
                    kind = Kind::Regexp;
                }
                if first {
                    kind = Kind::Suffix;
                }
            }
            '*' => {
                out.push_str("[^/]*");
                kind = Kind::Regexp;
            }
            '?' => {
                out.push_str("[^/]");
                kind = Kind::Regexp;
            }
            // `{`, `|` and `}` were meant to be here as well; the table in BuildKit is too small for them.
            '.' | '+' | '(' | ')' | '$' => out.extend(['\\', c]),
            '\\' => {
                out.push('\\');
                if let Some(next) = chars.next() {
                    out.push(next);
                    kind = Kind::Regexp;
                }
            }
            '[' | ']' => {
                out.push(c);
                kind = Kind::Regexp;
            }
            _ => out.push(c),
        }
        first = false;
    }
    out.push('$');
    (kind, out)
}

/// Compiles a Go expression with the `regex` crate.
pub(super) fn expression(go: &str) -> Result<Box<Regex>, String> {
    let written = Reader { rest: go }.alternatives()?;
    RegexBuilder::new(&written)
        .size_limit(SIZE_LIMIT)
        .build()
        .map(Box::new)
        .map_err(|_| "the expression is too large".to_owned())
}

/// One atom, written for the `regex` crate, with the counts it is repeated by, innermost first.
struct Atom {
    written: String,
    counts: Vec<(u32, Option<u32>)>,
}

/// Reads a Go expression.
struct Reader<'a> {
    rest: &'a str,
}

/// A class under construction: the inside of a bracket.
#[derive(Default)]
struct Class {
    inside: String,
}

impl Class {
    fn push(&mut self, lo: u32, hi: u32) {
        // Halves of surrogate pairs are characters to Go, though no text holds one.
        for (lo, hi) in [(lo, hi.min(0xD7FF)), (lo.max(0xE000), hi)] {
            if lo <= hi {
                let _ = write!(self.inside, "\\x{{{lo:X}}}-\\x{{{hi:X}}}");
            }
        }
    }

    fn push_ranges(&mut self, ranges: &[(char, char)], negated: bool) {
        let mut inner = Class::default();
        for (lo, hi) in ranges {
            inner.push(u32::from(*lo), u32::from(*hi));
        }
        self.inside.push_str(&inner.written(negated));
    }

    fn written(self, negated: bool) -> String {
        let inside = if self.inside.is_empty() { "[^\\x{0}-\\x{10FFFF}]" } else { &self.inside };
        format!("[{}{inside}]", if negated { "^" } else { "" })
    }
}

const DIGIT: &[(char, char)] = &[('0', '9')];
const SPACE: &[(char, char)] = &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')];
const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The whole expression.
    fn alternatives(mut self) -> Result<String, String> {
        let mut out = String::new();
        let mut atoms: Vec<Atom> = Vec::new();
        // Whether the last thing read was a repetition, which may not be repeated directly.
        let mut repeated = false;
        let atom = |written: String| Atom { written, counts: Vec::new() };
        while let Some(c) = self.peek() {
            let after_repetition = std::mem::take(&mut repeated);
            match c {
                '|' => {
                    self.next();
                    flush(&mut out, &mut atoms);
                    out.push('|');
                }
                '^' | '$' => {
                    self.next();
                    atoms.push(atom(format!("(?:{c})")));
                }
                '.' => {
                    self.next();
                    atoms.push(atom(".".to_owned()));
                }
                '(' => {
                    if !self.eat("(.*/)?") {
                        return Err("unexpected parenthesis".to_owned());
                    }
                    atoms.push(atom("(?:.*/)?".to_owned()));
                    repeated = true;
                }
                '[' => {
                    let written = self.class()?;
                    atoms.push(atom(written));
                }
                '*' | '+' | '?' => {
                    self.next();
                    self.eat("?");
                    let last = atoms.last_mut().ok_or_else(|| format!("nothing for `{c}` to repeat"))?;
                    if after_repetition {
                        return Err(format!("`{c}` repeats a repetition"));
                    }
                    *last = atom(format!("(?:{}){c}", std::mem::take(&mut last.written)));
                    repeated = true;
                }
                '{' => {
                    let before = self.rest;
                    match self.count()? {
                        None => {
                            self.next();
                            atoms.push(atom(literal('{')));
                        }
                        Some((min, max)) => {
                            self.eat("?");
                            let shown = before.get(..before.len() - self.rest.len()).unwrap_or_default();
                            let last =
                                atoms.last_mut().ok_or_else(|| format!("nothing for `{shown}` to repeat"))?;
                            if after_repetition {
                                return Err(format!("`{shown}` repeats a repetition"));
                            }
                            last.repeat(min, max, shown)?;
                            repeated = true;
                        }
                    }
                }
                '\\' => self.escaped(&mut atoms)?,
                _ => {
                    self.next();
                    atoms.push(atom(literal(c)));
                }
            }
        }
        flush(&mut out, &mut atoms);
        Ok(out)
    }

    /// `{n}`, `{n,}` or `{n,m}`; anything else in braces is literal.
    fn count(&mut self) -> Result<Option<(u32, Option<u32>)>, String> {
        fn number(text: &str) -> Option<(Option<u32>, &str)> {
            let len = text.bytes().take_while(u8::is_ascii_digit).count();
            let (digits, rest) = text.split_at(len);
            if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
                return None;
            }
            Some((digits.parse().ok().filter(|n| *n <= 1000), rest))
        }
        let parsed = (|| {
            let (min, rest) = number(self.rest.strip_prefix('{')?)?;
            if let Some(rest) = rest.strip_prefix('}') {
                return Some((min, Some(min), rest));
            }
            let rest = rest.strip_prefix(',')?;
            if let Some(rest) = rest.strip_prefix('}') {
                return Some((min, None, rest));
            }
            let (max, rest) = number(rest)?;
            Some((min, Some(max), rest.strip_prefix('}')?))
        })();
        let Some((min, max, rest)) = parsed else { return Ok(None) };
        let shown = self.rest.get(..self.rest.len() - rest.len()).unwrap_or_default();
        let bad = || format!("invalid repeat count `{shown}`");
        let min = min.ok_or_else(bad)?;
        let max = max.map(|max| max.ok_or_else(bad)).transpose()?;
        if max.is_some_and(|max| max < min) {
            return Err(bad());
        }
        self.rest = rest;
        Ok(Some((min, max)))
    }

    /// A backslash outside brackets.
    fn escaped(&mut self, atoms: &mut Vec<Atom>) -> Result<(), String> {
        let mut push = |written: String| atoms.push(Atom { written, counts: Vec::new() });
        for (shown, written) in
            [("\\A", "(?:\\A)"), ("\\b", "(?-u:\\b)"), ("\\B", "(?-u:\\B)"), ("\\z", "(?:\\z)")]
        {
            if self.eat(shown) {
                push(written.to_owned());
                return Ok(());
            }
        }
        if self.eat("\\Q") {
            let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            quoted.chars().for_each(|c| push(literal(c)));
            self.rest = rest;
            return Ok(());
        }
        let mut class = Class::default();
        if !self.shorthand(&mut class)? {
            let c = self.escape()?;
            class.push(c, c);
        }
        push(class.written(false));
        Ok(())
    }

    /// `\d \s \w`, their opposites, and `\p` classes; false if the next thing is none of them.
    fn shorthand(&mut self, class: &mut Class) -> Result<bool, String> {
        for (shown, ranges, negated) in [
            ("\\d", DIGIT, false),
            ("\\D", DIGIT, true),
            ("\\s", SPACE, false),
            ("\\S", SPACE, true),
            ("\\w", WORD, false),
            ("\\W", WORD, true),
        ] {
            if self.eat(shown) {
                class.push_ranges(ranges, negated);
                return Ok(true);
            }
        }
        let before = self.rest;
        let mut negated = if self.eat("\\p") {
            false
        } else if self.eat("\\P") {
            true
        } else {
            return Ok(false);
        };
        let shown = |after: &str| before.get(..before.len() - after.len()).unwrap_or_default().to_owned();
        let bad = |after: &str| format!("invalid character class `{}`", shown(after));
        let start = self.rest;
        let mut name = match self.next() {
            None => return Err(bad("")),
            Some('{') => match self.rest.split_once('}') {
                None => return Err(bad("")),
                Some((name, rest)) => {
                    self.rest = rest;
                    name
                }
            },
            Some(c) => start.get(..c.len_utf8()).unwrap_or_default(),
        };
        if let Some(rest) = name.strip_prefix('^') {
            (name, negated) = (rest, !negated);
        }
        let known = unicode_class(name).ok_or_else(|| bad(self.rest))?;
        let _ = write!(class.inside, "\\{}{{{known}}}", if negated { 'P' } else { 'p' });
        Ok(true)
    }

    /// The character that a backslash escape stands for.
    fn escape(&mut self) -> Result<u32, String> {
        let before = self.rest;
        self.next();
        let Some(c) = self.next() else { return Err("trailing backslash".to_owned()) };
        let octal = |c: Option<char>| c.and_then(|c| c.to_digit(8));
        let found = match c {
            '0'..='7' if c == '0' || octal(self.peek()).is_some() => {
                let mut value = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    if let Some(digit) = octal(self.peek()) {
                        self.next();
                        value = value * 8 + digit;
                    }
                }
                Some(value)
            }
            'x' if self.eat("{") => match self.rest.split_once('}') {
                Some((digits, rest))
                    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()) =>
                {
                    self.rest = rest;
                    let digits = digits.trim_start_matches('0');
                    let value = if digits.is_empty() { Ok(0) } else { u32::from_str_radix(digits, 16) };
                    value.ok().filter(|v| *v <= 0x10_FFFF)
                }
                _ => None,
            },
            'x' => {
                let digits = [self.next(), self.next()].map(|c| c.and_then(|c| c.to_digit(16)));
                digits[0].zip(digits[1]).map(|(high, low)| high * 16 + low)
            }
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        let shown = before.get(..before.len() - self.rest.len()).unwrap_or_default();
        found.ok_or_else(|| format!("invalid escape sequence `{shown}`"))
    }

    /// A bracket.
    fn class(&mut self) -> Result<String, String> {
        let before = self.rest;
        self.next();
        let negated = self.eat("^");
        let mut class = Class::default();
        let mut first = true;
        loop {
            let Some(c) = self.peek() else { return Err("missing closing `]`".to_owned()) };
            if c == ']' && !first {
                self.next();
                break;
            }
            first = false;
            if self.named(&mut class)? || self.shorthand(&mut class)? {
                continue;
            }
            let lo = self.class_char()?;
            let mut hi = lo;
            if self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]") {
                self.next();
                hi = self.class_char()?;
                if hi < lo {
                    let shown = before.get(..before.len() - self.rest.len()).unwrap_or_default();
                    return Err(format!("invalid character range at the end of `{shown}`"));
                }
            }
            class.push(lo, hi);
        }
        Ok(class.written(negated))
    }

    fn class_char(&mut self) -> Result<u32, String> {
        match self.peek() {
            None => Err("missing closing `]`".to_owned()),
            Some('\\') => self.escape(),
            Some(c) => {
                self.next();
                Ok(u32::from(c))
            }
        }
    }

    /// `[:alpha:]` and its kin. What looks like one and has an unknown name is refused; without a closing `:]`
    /// it is ordinary characters.
    fn named(&mut self, class: &mut Class) -> Result<bool, String> {
        let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|r| r.split_once(":]")) else {
            return Ok(false);
        };
        let (negated, plain) = name.strip_prefix('^').map_or((false, name), |plain| (true, plain));
        let ranges: &[(char, char)] = match plain {
            "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
            "alpha" => &[('A', 'Z'), ('a', 'z')],
            "ascii" => &[('\0', '\x7f')],
            "blank" => &[('\t', '\t'), (' ', ' ')],
            "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
            "digit" => DIGIT,
            "graph" => &[('!', '~')],
            "lower" => &[('a', 'z')],
            "print" => &[(' ', '~')],
            "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
            "space" => &[('\t', '\r'), (' ', ' ')],
            "upper" => &[('A', 'Z')],
            "word" => WORD,
            "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
            _ => return Err(format!("invalid character class `[:{name}:]`")),
        };
        class.push_ranges(ranges, negated);
        self.rest = rest;
        Ok(true)
    }
}

impl Atom {
    /// Repeats the atom; nested counts may not multiply to more than 1000.
    fn repeat(&mut self, min: u32, max: Option<u32>, shown: &str) -> Result<(), String> {
        self.counts.push((min, max));
        let mut left = 1000;
        for (min, max) in self.counts.iter().rev() {
            let most = max.unwrap_or(*min);
            if most == 0 && max.is_some() {
                break;
            }
            if most > left {
                return Err(format!("invalid repeat count `{shown}`"));
            }
            left = left.checked_div(most).unwrap_or(left);
        }
        let max = match max {
            Some(max) if max == min => String::new(),
            Some(max) => format!(",{max}"),
            None => ",".to_owned(),
        };
        self.written = format!("(?:{}){{{min}{max}}}", self.written);
        Ok(())
    }
}

fn flush(out: &mut String, atoms: &mut Vec<Atom>) {
    atoms.drain(..).for_each(|atom| out.push_str(&atom.written));
}

fn literal(c: char) -> String {
    format!("\\x{{{:X}}}", u32::from(c))
}

/// The name under which the `regex` crate knows a Unicode class of Go: categories by either name, scripts by
/// their long one, loosely spelled.
fn unicode_class(name: &str) -> Option<String> {
    let plain: String = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect();
    if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let plain = plain.to_ascii_lowercase();
    if matches!(plain.as_str(), "any" | "ascii" | "assigned") {
        return Some(plain);
    }
    if plain.starts_with("is") || plain == "unknown" || plain == "katakanaorhiragana" {
        return None;
    }
    let compiles = |class: &str| Regex::new(&format!("\\p{{{class}}}")).is_ok();
    let category = format!("gc={plain}");
    if compiles(&category) {
        return Some(category);
    }
    // Short names of scripts have four letters; so have a few long ones.
    let long = ["ahom", "cham", "kawi", "lisu", "modi", "thai", "toto"];
    let script = format!("sc={plain}");
    ((plain.len() != 4 || long.contains(&plain.as_str())) && compiles(&script)).then_some(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        match compile(pattern.as_bytes()) {
            Ok(Test::Expression(regex)) => regex.is_match(path),
            Ok(Test::Between { expression: go, .. }) => expression(&go).unwrap().is_match(path),
            other => panic!("{pattern}: {other:?}"),
        }
    }

    #[test]
    fn the_kinds_are_those_of_patternmatcher() {
        for (pattern, kind) in [
            ("foo", Kind::Exact),
            ("a|b", Kind::Exact),
            ("foo/**", Kind::Prefix),
            ("**", Kind::Suffix),
            ("**/foo", Kind::Suffix),
            ("**/a/**", Kind::Regexp),
            ("****", Kind::Regexp),
            ("**foo*", Kind::Regexp),
            ("a\\b", Kind::Regexp),
        ] {
            assert_eq!(translate(pattern.as_bytes()).0, kind, "{pattern}");
        }
    }

    #[test]
    fn the_ends_of_plain_patterns_are_known() {
        for (pattern, ends) in [
            ("*.log", Some(("", ".log"))),
            ("a/**/*b?/c", Some(("a/", "c"))),
            ("a**/b", Some(("a", "b"))),
            ("a*|b", None),
            ("a*[b]", None),
            ("\u{feff}a*", None),
        ] {
            let want = ends.map(|(head, tail): (&str, &str)| (head.as_bytes(), tail.as_bytes()));
            assert_eq!(literal_ends(pattern.as_bytes()), want, "{pattern}");
        }
    }

    #[test]
    fn classes_mean_what_they_mean_to_go() {
        assert!(matches("[a&&b]", "&"));
        assert!(matches("[[x]", "["));
        assert!(matches("[~~a]", "~"));
        assert!(matches("[[:^alpha:]]", "1"));
        assert!(matches("[^a]", "/"));
        assert!(matches("a[*]b", "a^]b"));
        assert!(matches("[!a]", "!"));
        assert!(matches("[\\D]", "x"));
        assert!(!matches("\\s", "\u{b}"));
        assert!(matches("[[:space:]]", "\u{b}"));
    }

    #[test]
    fn escapes_mean_what_they_mean_to_go() {
        assert!(matches("\\x{41}\\101\\x41", "AAA"));
        assert!(matches("\\foo", "\u{c}oo"));
        assert!(matches("\\Qa.b", "a\\.b$"));
        assert!(matches("\\pL\\p{Greek}\\P{^Lu}", "éαB"));
        assert!(!matches("\\bé*", "é"));
        assert!(matches("\\Bé*", "é"));
        assert!(matches("[\\x{D800}-\\x{E000}]", "\u{e000}"));
        assert!(!matches("\\x{D800}", "\u{fffd}"));
        for bad in ["\\p{Grek}", "\\p{IsGreek}", "\\p{Alphabetic}", "\\x{110000}", "\\1", "\\u0041", "\\é"] {
            assert!(compile(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_mean_what_they_mean_to_go() {
        assert!(matches("a{2}*", "aab"));
        assert!(matches("a{,2}*", "a{,2}"));
        assert!(matches("a{02}*", "a{02}x"));
        assert!(matches("?{2}", "éé"));
        assert!(matches("a{2}\\Q\\E{3}", "aaaaaa"));
        for bad in ["a{2}\\Q\\E{501}", "a{1001}*", "a{2,1}*", "*{2}", "**{2}x*", "a|{2}*", "a{99999999999}*"]
        {
            assert!(compile(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
