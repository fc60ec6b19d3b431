//! Lines of a log, without what terminals and CI systems put around them.

use std::io::{self, BufRead, Read};

/// Longer lines of plain progress are cut.
const PLAIN: usize = 1 << 16;
/// Longer lines of JSON progress are not read.
const JSON: usize = 1 << 26;

/// The lines of a log; one is held at a time.
pub(super) struct Lines<R> {
    reader: Decoded<R>,
    /// Number of the last line, from 1.
    pub(super) number: u64,
    bytes: Vec<u8>,
}

/// One line.
pub(super) struct Line<'l> {
    /// Its number, from 1.
    pub(super) number: u64,
    bytes: &'l [u8],
    /// Where JSON begins in it.
    json: Option<usize>,
}

impl<R: super::Source> Lines<R> {
    pub(super) fn new(mut reader: R) -> io::Result<Self> {
        // What PowerShell writes with `>`.
        let wide = reader.fill_buf()?.starts_with(&[0xff, 0xfe]);
        let reader = Decoded { inner: reader, wide, out: Vec::new(), at: 0 };
        Ok(Self { reader, number: 0, bytes: Vec::new() })
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.bytes.clear();
        let mut json = None;
        let mut any = false;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = bstr::ByteSlice::find_byte(buffer, b'\n');
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
            let limit = if json.is_some() { JSON } else { PLAIN };
            let room = limit.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            let used = end.map_or(buffer.len(), |e| e + 1);
            if json.is_none() && (end.is_some() || self.bytes.len() >= 1024) {
                json = json_start(&self.bytes);
            }
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        if json.is_none() {
            json = json_start(&self.bytes);
        }
        self.number += 1;
        Ok(Some(Line { number: self.number, bytes: &self.bytes, json }))
    }
}

/// Where a status of JSON progress begins, behind what a CI system puts before it.
fn json_start(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..bytes.len().min(256)).unwrap_or(bytes);
    let at = bstr::ByteSlice::find_byte(head, b'{')?;
    let rest = bytes.get(at..)?;
    let is = ["{\"vertexes\":", "{\"statuses\":", "{\"logs\":", "{\"warnings\":", "{\"vertexes\" :"];
    // Output of a process has a number before it, and the log says so.
    let plain = bytes.get(..at)?.contains(&b'#');
    (!plain && is.iter().any(|start| rest.starts_with(start.as_bytes()))).then_some(at)
}

impl Line<'_> {
    pub(super) fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// The JSON document of the line.
    pub(super) fn json(&self) -> &[u8] {
        self.bytes.get(self.json.unwrap_or(0)..).unwrap_or_default()
    }

    /// The text: without colours and other sequences of a terminal, marks of sections, and the line end.
    pub(super) fn text(&self) -> String {
        let bytes = if self.number == 1 {
            self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.bytes)
        } else {
            self.bytes
        };
        let text = without_sequences(bytes);
        let text = text.trim_end_matches('\r');
        let text = without_sections(text);
        text.trim_start_matches('\r').to_owned()
    }
}

/// GitLab's `section_start:1700000000:name[options]\r`, which ends without a line end.
fn without_sections(mut text: &str) -> &str {
    while let Some(at) = text.find("section_start:").or_else(|| text.find("section_end:")) {
        let Some(end) = text.get(at..).and_then(|t| t.find('\r')) else { break };
        // What is before it is a time at most.
        if at > 64 {
            break;
        }
        text = text.get(at + end + 1..).unwrap_or_default();
    }
    text
}

/// Drops control sequences (`ESC [ … m`), commands to the terminal (`ESC ] … BEL`, `ESC _ … ESC \`) and single escapes.
fn without_sequences(bytes: &[u8]) -> String {
    if !bytes.contains(&0x1b) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        if b != 0x1b {
            out.push(b);
            at += 1;
            continue;
        }
        let rest = bytes.get(at + 2..).unwrap_or_default();
        at += match bytes.get(at + 1) {
            Some(b'[') => match rest.iter().position(|b| (0x40..=0x7e).contains(b)) {
                Some(end) => end + 3,
                None => bytes.len() - at,
            },
            Some(b']' | b'_' | b'P' | b'^' | b'X') => {
                let bell = rest.iter().position(|b| *b == 7);
                let string = rest.windows(2).position(|w| w == b"\x1b\\");
                match (bell, string) {
                    (Some(bell), Some(string)) if string < bell => string + 4,
                    (Some(bell), _) => bell + 3,
                    (None, Some(string)) => string + 4,
                    (None, None) => 2,
                }
            }
            Some(_) => 2,
            None => 1,
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// UTF-16 as UTF-8; anything else as it is.
struct Decoded<R> {
    inner: R,
    wide: bool,
    out: Vec<u8>,
    at: usize,
}

impl<R: BufRead> BufRead for Decoded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.wide {
            return self.inner.fill_buf();
        }
        if self.at >= self.out.len() {
            self.out.clear();
            self.at = 0;
            let mut units = Vec::with_capacity(1 << 13);
            let mut pair = [0; 2];
            while units.len() < 1 << 13 {
                match self.inner.read_exact(&mut pair) {
                    Ok(()) => {}
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                    Err(e) => return Err(e),
                }
                let unit = u16::from_le_bytes(pair);
                // The mark at the beginning; a pair of surrogates must not be torn apart.
                if unit != 0xfeff {
                    units.push(unit);
                }
                if units.len() + 1 >= 1 << 13 && !(0xd800..0xdc00).contains(&unit) {
                    break;
                }
            }
            self.out.extend_from_slice(String::from_utf16_lossy(&units).as_bytes());
        }
        Ok(self.out.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        if self.wide { self.at += amount } else { self.inner.consume(amount) }
    }
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// One place in a line where a record of plain progress may begin: `#12 `.
pub(super) struct Candidate<'t> {
    /// What stands before it.
    pub(super) prefix: &'t str,
    pub(super) number: u64,
    /// What stands behind the blank.
    pub(super) rest: &'t str,
}

/// Places where a record may begin, from the left.
pub(super) fn candidates(text: &str) -> impl Iterator<Item = Candidate<'_>> {
    let places = text.match_indices('#').take_while(|(at, _)| *at <= 256).take(16);
    let found = places.filter_map(move |(at, _)| {
        let prefix = text.get(..at)?;
        if !prefix.is_empty() && !prefix.ends_with([' ', '\t', '|', ':', ']', ')', '>']) {
            return None;
        }
        let rest = text.get(at + 1..)?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        let number = rest.get(..digits)?.parse().ok()?;
        let rest = rest.get(digits..)?;
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
        Some(Candidate { prefix, number, rest })
    });
    found.take(4)
}

/// A prefix without what differs from line to line: numbers and the width of gaps.
pub(super) fn shape(prefix: &str) -> String {
    let mut out = String::with_capacity(prefix.len());
    for c in prefix.chars() {
        let c = match c {
            c if c.is_ascii_digit() => '0',
            c if c.is_whitespace() => ' ',
            c => c,
        };
        if !(matches!(c, '0' | ' ') && out.ends_with(c)) {
            out.push(c);
        }
    }
    out
}

/// Whether a shape is made of times, counters and brackets alone, as CI systems write them.
pub(super) fn is_noise(shape: &str) -> bool {
    let mut rest = shape.to_owned();
    for word in ["stdout F", "stderr F", "stdout P", "stderr P", "UTC"] {
        rest = rest.replace(word, "");
    }
    rest.chars().all(|c| c.is_ascii_digit() || " -:.,TZOE+/[]()|".contains(c))
}

/// Whether a shape is that of lines which BuildKit's own error report shows: output with its time, lines of the
/// Dockerfile with their numbers.
pub(super) fn is_report(shape: &str) -> bool {
    matches!(shape.trim(), "0.0" | "0 |" | "0 | >>>" | "0" | ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        Line { number: 2, bytes, json: None }.text()
    }

    fn all(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(bytes).unwrap();
        let mut out = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            out.push(line.text());
        }
        out
    }

    #[test]
    fn sequences_of_terminals_and_marks_of_sections_are_dropped() {
        assert_eq!(text(b"\x1b[32m#5 DONE\x1b[0m 0.1s\r"), "#5 DONE 0.1s");
        assert_eq!(text(b"\x1b_bk;t=1700000000\x07#5 CACHED"), "#5 CACHED");
        assert_eq!(text(b"\x1b]0;title\x1b\\#5 CACHED"), "#5 CACHED");
        assert_eq!(text(b"section_start:17:step\r\x1b[0K#5 CACHED"), "#5 CACHED");
        assert_eq!(text(b"\r\x1b[K#5 CACHED"), "#5 CACHED");
        assert_eq!(text(b"a\x1b["), "a");
        assert_eq!(text(b"a\x1b"), "a");
        assert_eq!(text(b"\xff#"), "\u{fffd}#");
    }

    #[test]
    fn utf_16_is_read() {
        let wide: Vec<u8> = "\u{feff}#1 é\r\n#2 𝄞\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(all(&wide), ["#1 é", "#2 𝄞"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_counted_once() {
        let mut long = vec![b'x'; PLAIN * 3];
        long.extend_from_slice(b"\n#2 b");
        let lines = all(&long);
        assert_eq!((lines.len(), lines[0].len(), lines[1].as_str()), (2, PLAIN, "#2 b"));
    }

    #[test]
    fn prefixes_of_one_kind_have_one_shape() {
        assert_eq!(shape("2026-11-21T06:31:09.1234567Z "), shape("2027-01-02T16:01:59.12Z "));
        assert_eq!(shape("web   | "), shape("web | "));
        assert_ne!(shape("web | "), shape("api | "));
        assert!(is_noise(&shape("2026-11-21T06:31:09.123456Z 01O ")) && is_noise(&shape("[06:31:09] ")));
        assert!(!is_noise(&shape("echo ")));
    }
}
