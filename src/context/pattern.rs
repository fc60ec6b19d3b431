//! Docker's ignore patterns: the language and the decision, as `moby/patternmatcher` has them.
//!
//! A pattern becomes one of four tests (equal, begins with, ends with, a regular expression), and the last
//! pattern that matches decides, except that a pattern which could not change the verdict is not even looked
//! at. Two functions decide, and they disagree: [`Matcher::decide`] walks (`MatchesUsingParentResults`),
//! [`Matcher::covers`] opens (`MatchesOrParentMatches`).

mod dialect;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::OnceLock;

use bstr::{BString, ByteSlice};
use regex::Regex;

use super::path;

/// Why a pattern is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternProblem {
    /// A line of the ignore file is too long to be read.
    #[error("the line is longer than the 65,535 bytes that Docker reads")]
    TooLong,
    /// A `!` with nothing behind it.
    #[error("illegal exclusion pattern: \"!\" needs a path behind it")]
    IllegalException,
    /// Refused by the check when the list is compiled.
    #[error("syntax error in pattern")]
    Syntax,
    /// Passes the first check, and is refused when it is first tried on a path.
    #[error("syntax error in pattern: {0}")]
    Expression(String),
}

/// A list of patterns that is refused, and by which of them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("pattern `{text}`: {problem}")]
pub struct PatternError {
    /// Which pattern of the given list, counted from 0.
    pub index: usize,
    /// The pattern as it was compiled.
    pub text: BString,
    /// What is wrong with it.
    pub problem: PatternProblem,
}

/// How a pattern is tried on a path.
#[derive(Debug)]
enum Test {
    Equal,
    Begins(BString),
    Ends(BString),
    Expression(Box<Regex>),
    /// Stars and question marks between literals: nothing Go could refuse, and most paths do not even begin and
    /// end right, so the expression is made when one does.
    Between {
        head: BString,
        tail: BString,
        expression: String,
        regex: OnceLock<Result<Box<Regex>, String>>,
    },
}

/// One pattern of a compiled list.
#[derive(Debug)]
pub struct Compiled {
    /// The cleaned text without its `!`.
    pub text: BString,
    /// Whether it brings back what earlier patterns took out.
    pub exception: bool,
    /// Which pattern of the given list it came from, counted from 0.
    pub index: usize,
    /// Made when the pattern is first tried, as some patterns are refused only then.
    test: OnceLock<Result<Test, String>>,
}

/// A path about to be tried, with what is made of it on demand.
struct Subject<'a> {
    bytes: &'a [u8],
    /// Its text, where a regular expression wants it.
    text: OnceCell<Cow<'a, str>>,
    /// Its directory, where its parents are tried too.
    directory: OnceCell<BString>,
}

impl<'a> Subject<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, text: OnceCell::new(), directory: OnceCell::new() }
    }

    /// As Go's regular expressions read it: every byte that is not part of a character is U+FFFD.
    fn text(&self) -> &str {
        self.text.get_or_init(|| match std::str::from_utf8(self.bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(characters(self.bytes).collect()),
        })
    }
}

/// The characters of a text as Go decodes it.
fn characters(bytes: &[u8]) -> impl Iterator<Item = char> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (c, len) = path::first_char(rest)?;
        rest = rest.get(len..).unwrap_or_default();
        Some(c)
    })
}

impl Compiled {
    fn matches(&self, subject: &Subject<'_>) -> Result<bool, PatternError> {
        let test = self.test.get_or_init(|| dialect::compile(&self.text));
        let refused = |reason: &String| PatternError {
            index: self.index,
            text: self.text.clone(),
            problem: PatternProblem::Expression(reason.clone()),
        };
        match test.as_ref().map_err(refused)? {
            Test::Equal => Ok(self.text == subject.bytes),
            Test::Begins(head) => Ok(subject.bytes.starts_with(head)),
            Test::Ends(tail) => Ok(subject.bytes.ends_with(tail)
                || tail.split_first().is_some_and(|(first, rest)| *first == b'/' && rest == subject.bytes)),
            Test::Expression(regex) => Ok(regex.is_match(subject.text())),
            Test::Between { head, tail, expression, regex } => {
                if !subject.bytes.starts_with(head) || !subject.bytes.ends_with(tail) {
                    return Ok(false);
                }
                let regex = regex.get_or_init(|| dialect::expression(expression));
                Ok(regex.as_ref().map_err(refused)?.is_match(subject.text()))
            }
        }
    }

    fn matches_parent(&self, subject: &Subject<'_>) -> bool {
        let directory = subject.directory.get_or_init(|| path::dir(subject.bytes));
        if directory == "." {
            return false;
        }
        let ends = directory.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        // A refusal is not looked at here, as in BuildKit; it has been met on the path itself.
        ends.chain([directory.len()])
            .filter_map(|end| directory.get(..end))
            .any(|parent| self.matches(&Subject::new(parent)).unwrap_or(false))
    }
}

/// What a list says about one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// Whether the list takes the path.
    pub matched: bool,
    /// The pattern that decided, as an index into the given list; none if nothing matched.
    pub by: Option<usize>,
}

/// A compiled list of patterns.
#[derive(Debug, Default)]
pub struct Matcher {
    patterns: Vec<Compiled>,
    exceptions: bool,
    /// See [`Matcher::may_prune`].
    plain: [bool; 2],
}

impl Matcher {
    /// Compiles a list. Empty patterns drop out; the first that the syntax check refuses refuses the list.
    pub fn new<P: AsRef<[u8]>>(list: &[P]) -> Result<Self, PatternError> {
        let mut patterns = Vec::with_capacity(list.len());
        for (index, given) in list.iter().enumerate() {
            let trimmed = given.as_ref().trim_with(char::is_whitespace);
            if trimmed.is_empty() {
                continue;
            }
            let mut text = path::clean(trimmed);
            let exception = text.first() == Some(&b'!');
            let fail = |text: &BString, problem| Err(PatternError { index, text: text.clone(), problem });
            if exception {
                if text.len() == 1 {
                    return fail(&text, PatternProblem::IllegalException);
                }
                text.remove(0);
            }
            if !path::passes_check(&text) {
                return fail(&text, PatternProblem::Syntax);
            }
            patterns.push(Compiled { text, exception, index, test: OnceLock::new() });
        }
        let plain = [false, true].map(|exception| {
            let mut kind = patterns.iter().filter(|p| p.exception == exception);
            kind.all(|p| !literal_part(&p.text).iter().any(|b| b"*[]?^\\".contains(b)))
        });
        Ok(Self { exceptions: patterns.iter().any(|p| p.exception), patterns, plain })
    }

    /// The patterns, in order, without those that dropped out.
    pub fn patterns(&self) -> &[Compiled] {
        &self.patterns
    }

    /// Whether some pattern is an exception. Without one the two ways to decide agree.
    pub fn has_exceptions(&self) -> bool {
        self.exceptions
    }

    /// Decides a path during a walk, where `parent` holds the flags that came out for its directory (none at the
    /// top) and `flags` receives those of this path.
    ///
    /// A pattern that could not have changed the parent's verdict is not flagged there and not tried again
    /// here, so a pattern repeated below an exception has no effect.
    pub fn decide(
        &self,
        path: &[u8],
        parent: Option<&[bool]>,
        flags: &mut Vec<bool>,
    ) -> Result<Decision, PatternError> {
        let parent = parent.filter(|p| !p.is_empty());
        let subject = Subject::new(path);
        let mut decision = Decision::default();
        flags.clear();
        flags.resize(self.patterns.len(), false);
        for (i, (pattern, flag)) in self.patterns.iter().zip(flags.iter_mut()).enumerate() {
            let mut hit = parent.is_some_and(|p| p.get(i).copied().unwrap_or(false));
            if !hit {
                if pattern.exception != decision.matched {
                    continue;
                }
                hit = pattern.matches(&subject)?;
                if !hit && parent.is_none() {
                    hit = pattern.matches_parent(&subject);
                }
            }
            *flag = hit;
            if hit {
                decision = Decision { matched: !pattern.exception, by: Some(pattern.index) };
            }
        }
        Ok(decision)
    }

    /// Decides a path alone, trying every pattern on the path and on each of its parents. BuildKit asks this when
    /// it opens a file, so a file that the walk sends and this refuses arrives empty.
    pub fn covers(&self, path: &[u8]) -> Result<Decision, PatternError> {
        let subject = Subject::new(path);
        let mut decision = Decision::default();
        for pattern in &self.patterns {
            if pattern.exception != decision.matched {
                continue;
            }
            if pattern.matches(&subject)? || pattern.matches_parent(&subject) {
                decision = Decision { matched: !pattern.exception, by: Some(pattern.index) };
            }
        }
        Ok(decision)
    }

    /// Whether the walk may leave out a directory with all that is in it, because no pattern of the given sort
    /// (exceptions or not) begins with a literal part that leads below it.
    ///
    /// A trailing `/**` and then a trailing `/*` are not counted, which loses files when both are there.
    pub fn may_prune(&self, directory: &[u8], exception: bool) -> bool {
        let [includes, exceptions] = self.plain;
        if !(if exception { exceptions } else { includes }) {
            return false;
        }
        let leads_below = |literal: &[u8]| {
            literal.starts_with(directory)
                && (literal.len() == directory.len() || literal.get(directory.len()) == Some(&b'/'))
        };
        !self.patterns.iter().any(|p| p.exception == exception && leads_below(literal_part(&p.text)))
    }
}

/// A pattern without its trailing `/**`, and then without a trailing `/*`.
fn literal_part(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"/**").unwrap_or(text);
    text.strip_suffix(b"/*").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &str) -> bool {
        let matcher = Matcher::new(patterns).unwrap();
        matcher.decide(path.as_bytes(), None, &mut Vec::new()).unwrap().matched
    }

    #[test]
    fn the_last_matching_pattern_decides_and_is_named() {
        let matcher = Matcher::new(&["*", "!a", " ", "a/b"]).unwrap();
        let mut flags = Vec::new();
        let decision = matcher.decide(b"a", None, &mut flags).unwrap();
        assert_eq!((decision.matched, decision.by), (false, Some(1)));
        let parent = flags.clone();
        let decision = matcher.decide(b"a/b", Some(&parent), &mut flags).unwrap();
        assert_eq!((decision.matched, decision.by), (true, Some(3)));
    }

    #[test]
    fn a_pattern_repeated_below_an_exception_hides_the_content_only() {
        let matcher = Matcher::new(&["build", "!build/release", "build"]).unwrap();
        let (mut top, mut below, mut flags) = (Vec::new(), Vec::new(), Vec::new());
        matcher.decide(b"build", None, &mut top).unwrap();
        matcher.decide(b"build/release", Some(&top), &mut below).unwrap();
        assert!(!matcher.decide(b"build/release/app", Some(&below), &mut flags).unwrap().matched);
        assert!(matcher.covers(b"build/release/app").unwrap().matched);
    }

    #[test]
    fn double_stars_are_not_those_of_other_globs() {
        assert!(excluded(&["**foo"], "a/xfoo"));
        assert!(!excluded(&["**foo*"], "xfoo1"));
        assert!(excluded(&["a**b"], "ab"));
        assert!(excluded(&["a**b"], "a/x/b"));
        assert!(!excluded(&["a**b"], "axb"));
        assert!(!excluded(&["foo/**"], "foo"));
        assert!(excluded(&["**"], "a/b"));
    }

    #[test]
    fn a_bar_splits_the_whole_expression() {
        assert!(excluded(&["a|b*"], "ax"));
        assert!(excluded(&["a|b*"], "xb1"));
        assert!(!excluded(&["a|b"], "a"));
    }

    #[test]
    fn bytes_that_are_no_text_match_like_characters() {
        let matcher = Matcher::new(&["a?b"]).unwrap();
        assert!(matcher.covers(b"a\xffb").unwrap().matched);
        assert!(!matcher.covers(b"a\xff\xffb").unwrap().matched);
    }

    #[test]
    fn pruning_looks_at_the_literal_part_only() {
        let matcher = Matcher::new(&["a", "!a/*/**", "!b/c"]).unwrap();
        assert!(matcher.may_prune(b"a/x", true));
        assert!(!matcher.may_prune(b"a", true));
        assert!(!matcher.may_prune(b"b", true));
        assert!(matcher.may_prune(b"c", true));
        assert!(!Matcher::new(&["a", "!a/*.md"]).unwrap().may_prune(b"c", true));
    }
}
