//! Quotes, expansions and heredocs of shell text, byte by byte, with a list of what is open instead of recursion.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// What a scanner stands in.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    /// `( … )` or `$( … )`
    Paren,
    /// `" … "`
    Quote,
    /// `${ … }`
    Brace,
    /// `$(( … ))` or `(( … ))`, with the number of parentheses open inside
    Arithmetic(u32),
    /// `` ` … ` ``
    Tick,
}

/// What a step came across.
enum Step {
    /// Nothing of interest.
    Other,
    /// The first byte of a `<<` that begins a heredoc.
    Heredoc(usize),
    /// The first byte of a `<<<`.
    HereString(usize),
    /// A line end; the scanner stands behind it.
    LineEnd,
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    open: Vec<Open>,
    /// One of `open` is a backtick; they do not nest.
    in_ticks: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at, open: Vec::new(), in_ticks: false }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at.checked_add(ahead)?).copied()
    }

    fn step(&mut self) -> Option<Step> {
        let b = self.byte(0)?;
        let open = self.open.last().copied();
        let in_code = matches!(open, None | Some(Open::Paren | Open::Tick));
        let mut width = 1;
        match b {
            b'\\' => width = 2,
            b'$' if self.byte(1) == Some(b'(') => {
                let arithmetic = self.byte(2) == Some(b'(');
                self.open.push(if arithmetic { Open::Arithmetic(0) } else { Open::Paren });
                width = if arithmetic { 3 } else { 2 };
            }
            b'$' if self.byte(1) == Some(b'{') => {
                self.open.push(Open::Brace);
                width = 2;
            }
            b'$' if self.byte(1) == Some(b'\'') && open != Some(Open::Quote) => {
                self.at += 2;
                while let Some(b) = self.byte(0).filter(|b| *b != b'\'') {
                    self.at += if b == b'\\' { 2 } else { 1 };
                }
            }
            b'`' => {
                if self.in_ticks {
                    // What is open inside backticks ends with them.
                    while self.open.pop().is_some_and(|o| o != Open::Tick) {}
                } else {
                    self.open.push(Open::Tick);
                }
                self.in_ticks = !self.in_ticks;
            }
            b'"' if open == Some(Open::Quote) => drop(self.open.pop()),
            b'"' => self.open.push(Open::Quote),
            _ if open == Some(Open::Quote) => {}
            b'\'' => {
                let rest = self.text.get(self.at + 1..).unwrap_or_default();
                width = rest.iter().position(|b| *b == b'\'').map_or(rest.len(), |n| n + 1) + 1;
            }
            b'}' if open == Some(Open::Brace) => drop(self.open.pop()),
            _ if open == Some(Open::Brace) => {}
            b'(' | b')' if matches!(open, Some(Open::Arithmetic(_))) => width = self.arithmetic(b),
            _ if !in_code => {}
            b'(' if self.byte(1) == Some(b'(') => {
                self.open.push(Open::Arithmetic(0));
                width = 2;
            }
            b'(' => self.open.push(Open::Paren),
            b')' if open == Some(Open::Paren) => drop(self.open.pop()),
            b'#' if self.begins_word() => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                let ends = |b: &u8| *b == b'\n' || *b == b'`' && self.in_ticks;
                width = rest.iter().position(ends).unwrap_or(rest.len());
            }
            b'<' if self.byte(1) == Some(b'<') && self.byte(2) == Some(b'<') => {
                let at = self.at;
                self.at += 3;
                return Some(Step::HereString(at));
            }
            b'<' if self.byte(1) == Some(b'<') => {
                let at = self.at;
                self.at += 2;
                return Some(Step::Heredoc(at));
            }
            _ => {}
        }
        self.at += width;
        Some(if b == b'\n' { Step::LineEnd } else { Step::Other })
    }

    /// A parenthesis inside arithmetic; tells how many bytes it takes.
    fn arithmetic(&mut self, b: u8) -> usize {
        match (b, self.open.last_mut()) {
            (b'(', Some(Open::Arithmetic(n))) => *n += 1,
            (_, Some(Open::Arithmetic(n))) if *n > 0 => *n -= 1,
            _ => {
                self.open.pop();
                return if self.byte(1) == Some(b')') { 2 } else { 1 };
            }
        }
        1
    }

    fn begins_word(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|n| self.text.get(n));
        before.is_none_or(|b| {
            matches!(b, b'`' | b' ' | b'\t' | b'\n' | b'\r' | b';' | b'&' | b'|' | b'(' | b')')
        })
    }
}

/// The end of the `$(…)`, `${…}`, `$((…))` or `` `…` `` that begins at `at`; of the text, if it has none.
pub(super) fn expansion_end(text: &[u8], at: usize) -> usize {
    let mut scan = Scan::new(text, at);
    while scan.step().is_some() && !scan.open.is_empty() {}
    scan.at.min(text.len())
}

/// A heredoc in shell text.
pub(super) struct ShellHeredoc {
    /// `<<-`: leading tabs of body lines are dropped.
    pub(super) chomp: bool,
    /// The body, when the text holds it.
    pub(super) body: Option<Range<usize>>,
}

/// Shell text of which the grammar is spared what it cannot read well.
#[derive(Default)]
pub(super) struct Masked {
    /// The text, of the same length.
    pub(super) text: Vec<u8>,
    /// The heredocs, by the place of `<<`.
    pub(super) heredocs: HashMap<usize, ShellHeredoc>,
    /// The places of `<<<`.
    pub(super) here_strings: HashSet<usize>,
    /// What stands in backticks, these included, in order.
    pub(super) ticks: Vec<Range<usize>>,
    /// A backtick has no partner.
    pub(super) unbalanced: bool,
}

/// Takes out of shell text what tree-sitter's bash grammar cannot read well.
///
/// * It reads heredocs badly when anything but a redirection follows them on the line, and Dockerfiles keep bodies
///   elsewhere. So `<<EOF` becomes a plain redirection, `< EOF`, and the body becomes blanks; no `<<` is left.
/// * Backticks become letters, to be read on their own: they may hold nothing but a comment, which it does not
///   expect, and many of them cost it time and memory without bound.
/// * Bytes beyond ASCII, which mean nothing to a shell, and NUL become letters: its scanner looks them up in a table
///   of 256 entries.
pub(super) fn mask(text: &[u8]) -> Masked {
    let mut masked = text.to_vec();
    let mut found = HashMap::new();
    let mut here_strings = HashSet::new();
    let mut ticks: Vec<Range<usize>> = Vec::new();
    let mut pending: Vec<(usize, Vec<u8>, bool)> = Vec::new();
    let mut scan = Scan::new(text, 0);
    let mut tick = None;
    loop {
        let before = scan.at;
        let Some(step) = scan.step() else { break };
        match (tick, scan.in_ticks) {
            (None, true) => tick = Some(before),
            (Some(start), false) => {
                ticks.push(start..scan.at);
                tick = None;
            }
            _ => {}
        }
        match step {
            Step::Other => {}
            Step::HereString(at) => drop(here_strings.insert(at)),
            Step::Heredoc(at) => {
                let chomp = scan.byte(0) == Some(b'-');
                scan.at += usize::from(chomp);
                let Some(delimiter) = delimiter(&mut scan) else { continue };
                blank(&mut masked, at + 1..at + 2 + usize::from(chomp));
                pending.push((at, delimiter, chomp));
                found.insert(at, ShellHeredoc { chomp, body: None });
            }
            Step::LineEnd => {
                for (at, delimiter, chomp) in pending.drain(..) {
                    let start = scan.at;
                    let (body_end, end) = body(text, start, &delimiter, chomp);
                    blank(&mut masked, start..end);
                    scan.at = end;
                    found.insert(at, ShellHeredoc { chomp, body: Some(start..body_end) });
                }
            }
        }
    }
    for range in ticks.iter().cloned().chain(tick.map(|at| at..at + 1)) {
        masked.get_mut(range).into_iter().flatten().for_each(|b| *b = b'x');
    }
    let mut before = b' ';
    for b in &mut masked {
        if *b >= 0x80 || *b == 0 {
            *b = b'x';
        } else if *b == b'<' && std::mem::replace(&mut before, b'<') == b'<' {
            *b = b' ';
            continue;
        }
        before = *b;
    }
    Masked { text: masked, heredocs: found, here_strings, ticks, unbalanced: tick.is_some() }
}

fn blank(text: &mut [u8], range: Range<usize>) {
    for b in text.get_mut(range).into_iter().flatten().filter(|b| **b != b'\n') {
        *b = b' ';
    }
}

/// Reads the word behind `<<`, quotes removed.
fn delimiter(scan: &mut Scan<'_>) -> Option<Vec<u8>> {
    while matches!(scan.byte(0), Some(b' ' | b'\t')) {
        scan.at += 1;
    }
    let start = scan.at;
    let mut word = Vec::new();
    let mut quote = None;
    while let Some(b) = scan.byte(0) {
        match (b, quote) {
            (b'\n', _) => break,
            (b'\\', None | Some(b'"')) => {
                scan.at += 1;
                word.extend(scan.byte(0));
            }
            (_, Some(q)) if q == b => quote = None,
            (_, Some(_)) => word.push(b),
            (b'\'' | b'"', None) => quote = Some(b),
            (b' ' | b'\t' | b'\r' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')', None) => break,
            _ => word.push(b),
        }
        scan.at += 1;
    }
    (scan.at > start).then_some(word)
}

/// Ends of the body and of the line that ends it.
fn body(text: &[u8], start: usize, delimiter: &[u8], chomp: bool) -> (usize, usize) {
    let mut at = start;
    for line in text.get(start..).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
        let mut content = line;
        while let [before @ .., b'\n' | b'\r'] = content {
            content = before;
        }
        while let [b'\t', after @ ..] = content
            && chomp
        {
            content = after;
        }
        if content == delimiter {
            return (at, at + line.len());
        }
        at += line.len();
    }
    (at, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        String::from_utf8_lossy(&mask(text.as_bytes()).text).into_owned()
    }

    #[test]
    fn heredocs_become_redirections_and_blanks() {
        assert_eq!(masked("cat <<A >x && cat <<-'B'\n1\nA\n\tB\nz"), "cat < A >x && cat <  'B'\n \n \n  \nz");
        assert_eq!(masked("x=\"$(cat <<E\n'\nE\n)\" y"), "x=\"$(cat < E\n \n \n)\" y");
        assert_eq!(masked("cat <<EOF"), "cat < EOF");
    }

    #[test]
    fn backticks_become_letters() {
        assert_eq!(masked("a `b \"c\"` `# d` \"`e`\" '`' `f"), "a xxxxxxx xxxxx \"xxx\" '`' xf");
        assert_eq!(mask(b"a `b``c`").ticks, [2..5, 5..8]);
    }

    #[test]
    fn shifts_here_strings_quotes_and_comments_hold_no_heredocs() {
        for text in [
            "echo $((1 << 2))\n2",
            "a <<< b\nb",
            "echo '<<E'\nE",
            "echo \"<<E\"\nE",
            "a # <<E\nE",
            "(( x << 1 ))\n1",
        ] {
            assert!(mask(text.as_bytes()).heredocs.is_empty(), "{text}");
        }
    }

    #[test]
    fn expansions_end_where_their_bracket_closes() {
        for (text, end) in [
            ("$(a (b) ')' \")\" $(c))d", 21),
            ("${a:-$(b })}c", 12),
            ("`a $(b`c", 7),
            ("$((1+(2)))x", 10),
            ("$(a", 3),
        ] {
            assert_eq!(expansion_end(text.as_bytes(), 0), end, "{text}");
        }
    }
}
