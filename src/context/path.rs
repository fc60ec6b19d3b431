//! Paths as Go's `path` package sees them: bytes separated by `/`.
//!
//! BuildKit cleans and matches with that package on every system, so the system's own path functions (which
//! keep `..`, for one) would give other keys.

use bstr::BString;

/// The shortest path that names the same file by text alone, as Go's `path.Clean`.
///
/// Runs of `/` and components `.` disappear, `x/..` too, `..` cannot climb above an absolute root, a trailing
/// `/` is dropped, and the empty path becomes `.`.
pub fn clean(path: impl AsRef<[u8]>) -> BString {
    let path = path.as_ref();
    let absolute = path.first() == Some(&b'/');
    let mut out = BString::new(Vec::with_capacity(path.len() + 1));
    if absolute {
        out.push(b'/');
    }
    let root = out.len();
    // Everything before this length is a run of `..` that no later `..` may take back.
    let mut floor = root;
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if out.len() > floor => {
                let cut = out[floor..].iter().rposition(|b| *b == b'/').map_or(floor, |at| floor + at);
                out.truncate(cut);
            }
            b".." if absolute => {}
            _ => {
                if out.len() > root {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
                if part == b".." {
                    floor = out.len();
                }
            }
        }
    }
    if out.is_empty() {
        out.push(b'.');
    }
    out
}

/// [`clean`] for text.
pub fn clean_str(path: &str) -> String {
    // Cleaning cuts at `/` only, which is never inside a character.
    String::from_utf8_lossy(&clean(path)).into_owned()
}

/// The cleaned concatenation with `/` between, as Go's `path.Join`; empty parts do not count.
pub fn join(parts: &[&[u8]]) -> BString {
    let mut all: Vec<u8> = Vec::new();
    for part in parts.iter().filter(|p| !p.is_empty()) {
        if !all.is_empty() {
            all.push(b'/');
        }
        all.extend_from_slice(part);
    }
    if all.is_empty() { BString::default() } else { clean(all) }
}

/// The last component, as Go's `path.Base`: `.` for nothing, `/` for the root.
pub fn base(path: &[u8]) -> &[u8] {
    let trimmed = path.iter().rposition(|b| *b != b'/').map_or(&path[..0], |at| &path[..=at]);
    if trimmed.is_empty() {
        return if path.is_empty() { b"." } else { b"/" };
    }
    trimmed.rsplit(|b| *b == b'/').next().unwrap_or(trimmed)
}

/// Everything but the last component, cleaned, as Go's `path.Dir`.
pub fn dir(path: &[u8]) -> BString {
    clean(path.iter().rposition(|b| *b == b'/').map_or(&path[..0], |at| &path[..=at]))
}

/// Whether the text has a `*`, `?` or `[` that is not escaped (BuildKit's `containsWildcards`).
pub fn has_wildcard(text: impl AsRef<[u8]>) -> bool {
    let mut escaped = false;
    for byte in text.as_ref() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A wildcard that Go's `path.Match` refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// The first character and its length, as Go decodes: a byte that starts nothing valid is U+FFFD of length 1.
pub(crate) fn first_char(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((char::from(first), 1));
    }
    let window = bytes.get(..bytes.len().min(4)).unwrap_or_default();
    let valid = match std::str::from_utf8(window) {
        Ok(text) => text,
        Err(error) => {
            std::str::from_utf8(window.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or("")
        }
    };
    Some(valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8())))
}

/// One step of a wildcard.
enum Step {
    /// This very byte.
    Byte(u8),
    /// `?`: one character, but not `/`.
    Any,
    /// A class; `/` may be in it.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// A compiled wildcard of Go's `path.Match`: `*` and `?` stop at `/`, `[^x]` negates, `\` takes the next byte
/// literally.
pub struct Wildcard {
    /// Runs of steps; true when a `*` stands before the run.
    runs: Vec<(bool, Vec<Step>)>,
}

impl Wildcard {
    /// Compiles `pattern`, refusing what Go refuses with `ErrBadPattern`.
    pub fn new(pattern: impl AsRef<[u8]>) -> Result<Self, BadPattern> {
        let mut rest = pattern.as_ref();
        let mut runs: Vec<(bool, Vec<Step>)> = Vec::new();
        let mut star = false;
        let mut steps = Vec::new();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match byte {
                b'*' => {
                    if star && steps.is_empty() {
                        continue;
                    }
                    if star || !steps.is_empty() {
                        runs.push((star, std::mem::take(&mut steps)));
                    }
                    star = true;
                }
                b'?' => steps.push(Step::Any),
                b'[' => {
                    let (step, tail) = class(rest)?;
                    steps.push(step);
                    rest = tail;
                }
                b'\\' => {
                    let (&byte, tail) = rest.split_first().ok_or(BadPattern)?;
                    steps.push(Step::Byte(byte));
                    rest = tail;
                }
                _ => steps.push(Step::Byte(byte)),
            }
        }
        if star || !steps.is_empty() {
            runs.push((star, steps));
        }
        Ok(Self { runs })
    }

    /// Whether the whole of `name` matches.
    ///
    /// Each run between stars takes the first place where it fits and never moves again, as in Go; that
    /// differs from a search of all places only where a class holds `/`.
    pub fn matches(&self, name: &[u8]) -> bool {
        let mut name = name;
        'runs: for (i, (star, steps)) in self.runs.iter().enumerate() {
            let last = i + 1 == self.runs.len();
            if *star && steps.is_empty() {
                return !name.contains(&b'/');
            }
            if let Some(rest) = consume(steps, name)
                && (rest.is_empty() || !last)
            {
                name = rest;
                continue;
            }
            if *star {
                let reach = name.iter().position(|b| *b == b'/').unwrap_or(name.len());
                for skip in 1..=reach {
                    if let Some(rest) = consume(steps, name.get(skip..).unwrap_or_default())
                        && (rest.is_empty() || !last)
                    {
                        name = rest;
                        continue 'runs;
                    }
                }
            }
            return false;
        }
        name.is_empty()
    }
}

/// What is left of `name` after the steps, if they fit at its start.
fn consume<'n>(steps: &[Step], name: &'n [u8]) -> Option<&'n [u8]> {
    let mut rest = name;
    for step in steps {
        let taken = match step {
            Step::Byte(byte) => (rest.first()? == byte).then_some(1)?,
            Step::Any => {
                let (c, len) = first_char(rest)?;
                (c != '/').then_some(len)?
            }
            Step::Class { negated, ranges } => {
                let (c, len) = first_char(rest)?;
                let inside = ranges.iter().any(|(lo, hi)| *lo <= c && c <= *hi);
                (inside != *negated).then_some(len)?
            }
        };
        rest = rest.get(taken..)?;
    }
    Some(rest)
}

/// Reads a class after its `[`.
fn class(mut rest: &[u8]) -> Result<(Step, &[u8]), BadPattern> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if let Some((b']', tail)) = rest.split_first()
            && !ranges.is_empty()
        {
            return Ok((Step::Class { negated, ranges }, tail));
        }
        let (lo, tail) = class_char(rest)?;
        rest = tail;
        let mut hi = lo;
        if let Some((b'-', tail)) = rest.split_first() {
            (hi, rest) = class_char(tail)?;
        }
        ranges.push((lo, hi));
    }
}

/// One end of a range. Something must follow it: at least the `]`.
fn class_char(rest: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let rest = match rest.split_first() {
        None | Some((b'-' | b']', _)) => return Err(BadPattern),
        Some((b'\\', tail)) => tail,
        Some(_) => rest,
    };
    let (c, len) = first_char(rest).ok_or(BadPattern)?;
    if c == char::REPLACEMENT_CHARACTER && len == 1 {
        return Err(BadPattern);
    }
    let rest = rest.get(len..).unwrap_or_default();
    if rest.is_empty() { Err(BadPattern) } else { Ok((c, rest)) }
}

/// Whether Go's `filepath.Match(pattern, ".")` finds no syntax error, which is how `patternmatcher` checks a
/// pattern.
///
/// Unlike `path.Match` it returns at the first run between stars that does not fit, so errors behind that stay
/// unseen: `a*\` passes.
pub(crate) fn passes_check(pattern: &[u8]) -> bool {
    let mut name: &[u8] = b".";
    let mut rest = pattern;
    while !rest.is_empty() {
        let stars = rest.iter().take_while(|b| **b == b'*').count();
        rest = rest.get(stars..).unwrap_or_default();
        let (mut escaped, mut in_class) = (false, false);
        let end = rest.iter().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'[' => in_class = true,
                b']' => in_class = false,
                b'*' => return !in_class,
                _ => {}
            }
            false
        });
        let (run, tail) = rest.split_at(end.unwrap_or(rest.len()));
        rest = tail;
        if run.is_empty() {
            return true;
        }
        let Ok(run) = Wildcard::new(run) else { return false };
        let fits = run.runs.first().and_then(|(_, steps)| consume(steps, name));
        match fits {
            Some(left) if left.is_empty() || !rest.is_empty() => name = left,
            // A star in front cannot help: behind the only character there is nothing left to fit.
            _ => return true,
        }
    }
    true
}

/// Whether `name` matches the wildcard `pattern`, as Go's `path.Match`.
pub fn path_match(pattern: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Result<bool, BadPattern> {
    Ok(Wildcard::new(pattern)?.matches(name.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_is_that_of_go() {
        for (path, want) in [
            ("", "."),
            ("a//b/", "a/b"),
            ("./a/./b", "a/b"),
            ("a/b/..", "a"),
            ("a/..", "."),
            ("a/../..", ".."),
            ("../../a/..", "../.."),
            ("../a/../b", "../b"),
            ("/../a", "/a"),
            ("/a/../..", "/"),
            ("//", "/"),
            ("**/../b", "b"),
            ("/a/b/../../c", "/c"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
    }

    #[test]
    fn the_check_of_a_pattern_sees_the_first_run_only() {
        for (pattern, passes) in [
            ("a*\\", true),
            ("*a\\", false),
            ("**}**[", true),
            (".*[", false),
            ("?*a*[", true),
            ("a[*", false),
        ] {
            assert_eq!(passes_check(pattern.as_bytes()), passes, "{pattern}");
        }
    }

    #[test]
    fn joining_base_and_dir_are_those_of_go() {
        assert_eq!(join(&[b"", b""]), "");
        assert_eq!(join(&[b"a", b"", b"../b"]), "b");
        assert_eq!(join(&[b".", b"/x"]), "x");
        for (path, want) in [("", "."), ("/", "/"), ("a/b/", "b"), ("a", "a")] {
            assert_eq!(base(path.as_bytes()), want.as_bytes(), "{path}");
        }
        for (path, want) in [("", "."), ("/a", "/"), ("a", "."), ("a/b", "a"), ("a/b/", "a/b")] {
            assert_eq!(dir(path.as_bytes()), want, "{path}");
        }
    }

    #[test]
    fn wildcards_are_those_of_go() {
        for (pattern, name, want) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a\u{263a}b", true),
            ("a[^a]b", "a\u{263a}b", true),
            ("a???b", "a\u{263a}b", false),
            ("[a-\u{3b6}]*", "\u{3b1}", true),
            ("a?b", "a/b", false),
            ("a[/]b", "a/b", true),
            ("[\\]a]", "]", true),
            ("*x", "xxx", true),
            ("**", ".hidden", true),
            ("", "", true),
            ("", "a", false),
            // The first place where a run fits is final, even if a later one would do.
            ("*[/x]*b", "x/b", false),
        ] {
            assert_eq!(path_match(pattern, name), Ok(want), "{pattern} {name}");
        }
        for pattern in
            ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "[a-\\", "*["]
        {
            assert_eq!(path_match(pattern, "x"), Err(BadPattern), "{pattern}");
        }
    }
}
