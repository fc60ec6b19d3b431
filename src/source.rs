//! Bytes and places in them.
//!
//! The only room that reads the files a user edits (Dockerfiles, ignore files, manifests). It does not know
//! what a Dockerfile is.

mod discover;
mod write;

pub use discover::{dockerfiles_below, files_below, is_dockerfile_name, is_ignore_file_name};
pub use write::write_whole;

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The name that was probably meant by a word, if one is near enough: insertions, deletions, replacements and swaps
/// of neighbours count.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    // Nobody types a name of that length from memory, and the comparison is quadratic.
    if length > 40 {
        return None;
    }
    let allowed = if length <= 3 { 1 } else { 2.max(length / 3) };
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// A half-open range of bytes in one file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// The range from `start` up to, but not including, `end`.
    pub fn new(start: usize, end: usize) -> Self {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: clamp(start), end: clamp(end) }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        (self.end.saturating_sub(self.start)) as usize
    }

    /// Whether the range holds no byte.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The smallest range that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// As a range of `usize`, for slicing.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A line and a column, both counted from 1; the column counts characters, not bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct Position {
    /// 1 for the first line.
    pub line: u32,
    /// 1 for the first character of the line.
    pub column: u32,
}

/// Offsets of the line starts of a file.
#[derive(Clone, Debug, Default)]
pub struct LineIndex {
    starts: Vec<u32>,
}

impl LineIndex {
    /// Indexes `bytes`; lines end with LF.
    pub fn new(bytes: &[u8]) -> Self {
        let mut starts = vec![0];
        for (i, b) in bytes.iter().enumerate() {
            if *b == b'\n' {
                starts.push(u32::try_from(i + 1).unwrap_or(u32::MAX));
            }
        }
        Self { starts }
    }

    /// 1-based number of the line that holds the byte at `offset`.
    pub fn line(&self, offset: u32) -> u32 {
        let n = self.starts.partition_point(|s| *s <= offset);
        u32::try_from(n).unwrap_or(u32::MAX)
    }

    /// Offset of the first byte of a 1-based line, if there is such a line.
    pub fn line_start(&self, line: u32) -> Option<u32> {
        self.starts.get((line as usize).checked_sub(1)?).copied()
    }

    /// Number of lines, counting an empty one after a final LF.
    pub fn lines(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }
}

/// A file's bytes with the name under which a person knows it.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The path as it is shown: relative to the working directory, with `/`.
    pub name: String,
    /// Where it was read from; equal to `name` for standard input.
    pub path: PathBuf,
    /// The content, unchanged.
    pub bytes: Vec<u8>,
    /// Where its lines begin.
    pub index: LineIndex,
}

impl SourceFile {
    /// A file that is already in memory.
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let (name, bytes) = (name.into(), bytes.into());
        let index = LineIndex::new(&bytes);
        Self { path: PathBuf::from(&name), name, bytes, index }
    }

    /// Reads `path`; `name` is how it is shown.
    pub fn read(path: &Path, name: impl Into<String>) -> Result<Self, ReadError> {
        let fail = |source| ReadError { path: path.to_path_buf(), source };
        let meta = std::fs::metadata(path).map_err(fail)?;
        if meta.is_dir() {
            return Err(fail(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        if meta.len() > u64::from(u32::MAX) {
            return Err(fail(std::io::Error::from(std::io::ErrorKind::FileTooLarge)));
        }
        let mut file = Self::from_bytes(name, std::fs::read(path).map_err(fail)?);
        file.path = path.to_path_buf();
        Ok(file)
    }

    /// The text of a span; bytes that are not UTF-8 are replaced.
    pub fn text(&self, span: Span) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.bytes.get(span.range()).unwrap_or_default())
    }

    /// Line and column of a byte offset. A byte that is not part of valid UTF-8 counts as one character.
    pub fn position(&self, offset: u32) -> Position {
        let line = self.index.line(offset);
        let start = self.index.line_start(line).unwrap_or(0);
        let before =
            self.bytes.get(start as usize..(offset as usize).min(self.bytes.len())).unwrap_or_default();
        let skip = if line == 1 && before.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        let column = String::from_utf8_lossy(&before[skip..]).chars().count() + 1;
        Position { line, column: u32::try_from(column).unwrap_or(u32::MAX) }
    }

    /// Positions of both ends of a span; the end is exclusive.
    pub fn positions(&self, span: Span) -> (Position, Position) {
        (self.position(span.start), self.position(span.end))
    }
}

/// How a path is shown: relative to the working directory if it is below it, with `/`, without `./`.
pub fn shown(path: &Path) -> String {
    let below = std::env::current_dir().ok().and_then(|dir| path.strip_prefix(dir).ok()).unwrap_or(path);
    let parts: Vec<_> = below
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    match parts.join("/") {
        empty if empty.is_empty() => ".".to_owned(),
        // The root directory is a part of its own on Unix.
        absolute if absolute.starts_with("//") => absolute[1..].to_owned(),
        relative => relative,
    }
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {}", path.display(), self.reason())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

impl ReadError {
    /// What the system said, without its error number.
    pub fn reason(&self) -> String {
        reason(&self.source)
    }
}

/// What the system said, without its error number and not as the beginning of a sentence.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_a_stranger_is_not() {
        let names = ["RUN", "COPY", "ENTRYPOINT"];
        assert_eq!(nearest("RNU", names), Some("RUN"));
        assert_eq!(nearest("ENTRYPIONT", names), Some("ENTRYPOINT"));
        assert_eq!(nearest("CPY", names), Some("COPY"));
        assert_eq!(nearest("ECHO", names), None);
        assert_eq!(nearest(&"COPY".repeat(1000), names), None);
    }

    #[test]
    fn columns_count_characters() {
        let f = SourceFile::from_bytes("x", b"a\n\xc3\xbcb\xff".to_vec());
        assert_eq!(f.position(0), Position { line: 1, column: 1 });
        assert_eq!(f.position(2), Position { line: 2, column: 1 });
        assert_eq!(f.position(4), Position { line: 2, column: 2 });
    }

    #[test]
    fn paths_are_shown_relative_and_with_slashes() {
        let cases = [("./a//b/./c", "a/b/c"), (".", "."), ("../x", "../x"), ("/etc/x", "/etc/x"), ("/", "/")];
        for (path, expected) in cases {
            assert_eq!(shown(Path::new(path)), expected);
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(shown(&here.join("src/lib.rs")), "src/lib.rs");
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        let f = SourceFile::from_bytes("x", b"\xEF\xBB\xBFFROM a".to_vec());
        assert_eq!(f.position(3), Position { line: 1, column: 1 });
    }
}
