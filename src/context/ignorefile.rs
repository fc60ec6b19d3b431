//! Which ignore file applies, and what is written in it.
//!
//! The choice is `frontend/dockerui/config.go`, the reading `PM/ignorefile/ignorefile.go`.

use std::io;
use std::path::{Component, Path, PathBuf};

use bstr::{BString, ByteSlice as _};

use super::error::IgnoreError;
use super::path;
use super::pattern::{Matcher, PatternError, PatternProblem};
use super::tree::system_path;
use crate::source::{SourceFile, Span, shown};

/// A line of this many bytes is too long for the reader.
const LONGEST_LINE: usize = 1 << 16;
/// More links than this lead nowhere.
const MOST_LINKS: usize = 255;

/// One pattern of an ignore file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// The pattern, cleaned, without its `!` and without a leading `/`.
    pub text: BString,
    /// Whether a `!` stands before it: an exception.
    pub negated: bool,
    /// Where it is written, `!` included, blanks around it not.
    pub span: Span,
    /// 1-based line.
    pub line: u32,
}

impl Pattern {
    /// The pattern as the matcher takes it, with its `!`.
    pub fn given(&self) -> BString {
        let mut out = BString::from(if self.negated { "!" } else { "" });
        out.extend_from_slice(&self.text);
        out
    }
}

/// An ignore file with its patterns.
#[derive(Clone, Debug)]
pub struct IgnoreFile {
    /// Name and bytes.
    pub file: SourceFile,
    /// The patterns in the order of the file.
    pub patterns: Vec<Pattern>,
    /// The file is there and may not be read. It counts as an empty one, and Docker says nothing.
    pub unreadable: bool,
}

impl IgnoreFile {
    /// The ignore file of a build: the one named after the Dockerfile and beside it, even when it is empty, else
    /// `.dockerignore` in the root of the context. They are never merged.
    ///
    /// `dockerfile` is the path that was asked for: `Dockerfile` even where a file `dockerfile` took its place,
    /// because BuildKit looks for `Dockerfile.dockerignore` then too.
    pub fn find(root: &Path, dockerfile: Option<&Path>) -> Result<Option<Self>, IgnoreError> {
        let beside = dockerfile.and_then(|file| {
            let mut name = file.file_name()?.to_os_string();
            name.push(".dockerignore");
            Some((file.parent().unwrap_or(Path::new("")), PathBuf::from(name)))
        });
        let own = Some((root, PathBuf::from(".dockerignore")));
        for (directory, name) in [beside, own].into_iter().flatten() {
            if let Some(content) = read_inside(directory, &name) {
                let name_shown = shown(&directory.join(&name));
                let mut file = SourceFile::from_bytes(name_shown, content.clone().unwrap_or_default());
                file.path = directory.join(&name);
                let parsed = Self::parse(file)?;
                return Ok(Some(Self { unreadable: content.is_none(), ..parsed }));
            }
        }
        Ok(None)
    }

    /// Reads the patterns.
    pub fn parse(file: SourceFile) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        let mut offset = 0;
        let mut number = 0;
        for raw in file.bytes.split(|b| *b == b'\n') {
            let start = offset;
            offset += raw.len() + 1;
            number += 1;
            if raw.len() >= LONGEST_LINE {
                return Err(IgnoreError {
                    file: file.name.clone(),
                    line: number,
                    span: Span::new(start, start + raw.len()),
                    text: BString::default(),
                    problem: PatternProblem::TooLong,
                });
            }
            let mut line = raw;
            let mut start = start;
            if number == 1
                && let Some(rest) = line.strip_prefix(b"\xEF\xBB\xBF")
            {
                line = rest;
                start += 3;
            }
            if line.first() == Some(&b'#') {
                continue;
            }
            let trimmed = line.trim_with(char::is_whitespace);
            if trimmed.is_empty() {
                continue;
            }
            start += line.len() - line.trim_start_with(char::is_whitespace).len();
            let negated = trimmed.first() == Some(&b'!');
            let mut text = BString::from(if negated {
                trimmed.get(1..).unwrap_or_default().trim_with(char::is_whitespace)
            } else {
                trimmed
            });
            if !text.is_empty() {
                text = path::clean(text);
                if text.len() > 1 && text.first() == Some(&b'/') {
                    text.remove(0);
                }
            }
            let span = Span::new(start, start + trimmed.len());
            patterns.push(Pattern { text, negated, span, line: number });
        }
        Ok(Self { file, patterns, unreadable: false })
    }

    /// Compiles the patterns.
    pub fn matcher(&self) -> Result<Matcher, IgnoreError> {
        let given: Vec<BString> = self.patterns.iter().map(Pattern::given).collect();
        Matcher::new(&given).map_err(|error| self.refused(&error))
    }

    /// A refusal with its place in the file.
    pub fn refused(&self, error: &PatternError) -> IgnoreError {
        let pattern = self.patterns.get(error.index);
        IgnoreError {
            file: self.file.name.clone(),
            line: pattern.map_or(1, |p| p.line),
            span: pattern.map_or(Span::default(), |p| p.span),
            text: pattern.map_or_else(|| error.text.clone(), Pattern::given),
            problem: error.problem.clone(),
        }
    }
}

/// The content of a regular file below `root`, links followed but never out of it. The outer option says whether
/// there is such a file, the inner one whether it may be read.
fn read_inside(root: &Path, name: &Path) -> Option<Option<Vec<u8>>> {
    let mut place = PathBuf::new();
    let mut pending: Vec<PathBuf> = parts(name);
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part.as_os_str() == ".." {
            place.pop();
            continue;
        }
        let next = place.join(&part);
        let meta = std::fs::symlink_metadata(root.join(&next)).ok()?;
        if meta.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            let target = std::fs::read_link(root.join(&next)).ok()?;
            if target.has_root() {
                place = PathBuf::new();
            }
            pending.extend(parts(&target));
            continue;
        }
        place = next;
        if pending.is_empty() {
            return meta.is_file().then(|| match std::fs::read(root.join(&place)) {
                Ok(content) => Some(Some(content)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(_) => Some(None),
            })?;
        }
    }
    None
}

/// The names of a path, last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = path
        .components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(system_path(b"..")),
            _ => None,
        })
        .collect();
    out.reverse();
    out
}
