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
        Self::choose(root, dockerfile, on_disk)
    }

    /// The same, wherever the files are. `read` gives a file of that name below a directory, and whether it may
    /// not be read.
    pub(super) fn choose<E: From<IgnoreError>>(
        root: &Path,
        dockerfile: Option<&Path>,
        mut read: impl FnMut(&Path, &Path) -> Result<Option<(SourceFile, bool)>, E>,
    ) -> Result<Option<Self>, E> {
        let beside = dockerfile.and_then(|file| {
            let mut name = file.file_name()?.to_os_string();
            name.push(".dockerignore");
            Some((file.parent().unwrap_or(Path::new("")), PathBuf::from(name)))
        });
        let own = Some((root, PathBuf::from(".dockerignore")));
        for (directory, name) in [beside, own].into_iter().flatten() {
            if let Some((file, unreadable)) = read(directory, &name)? {
                return Ok(Some(Self { unreadable, ..Self::parse(file)? }));
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

/// What is at a place.
pub(super) enum Found<F> {
    /// A regular file, with what is needed to read it.
    File(F),
    /// A link with its text.
    Link(PathBuf),
    /// A directory or something else.
    Other,
}

/// An ignore file of a directory of the disk, and whether it may not be read.
pub(super) fn on_disk<E>(directory: &Path, name: &Path) -> Result<Option<(SourceFile, bool)>, E> {
    let content = read_inside(
        name,
        |place| Ok(look_on_disk(&directory.join(place))),
        |place, ()| match std::fs::read(directory.join(place)) {
            Ok(content) => Ok(Some(Some(content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Ok(Some(None)),
        },
    )?;
    let path = directory.join(name);
    Ok(content.flatten().map(|content| {
        let unreadable = content.is_none();
        let file = SourceFile::from_bytes(shown(&path), content.unwrap_or_default());
        (SourceFile { path, ..file }, unreadable)
    }))
}

fn look_on_disk(place: &Path) -> Option<Found<()>> {
    let meta = std::fs::symlink_metadata(place).ok()?;
    if meta.is_symlink() {
        return std::fs::read_link(place).ok().map(Found::Link);
    }
    Some(if meta.is_file() { Found::File(()) } else { Found::Other })
}

/// What `read` makes of the regular file `name` of a directory, links followed but never out of it. `look` says what
/// is at a path of the directory.
pub(super) fn read_inside<F, T, E>(
    name: &Path,
    mut look: impl FnMut(&Path) -> Result<Option<Found<F>>, E>,
    mut read: impl FnMut(&Path, F) -> Result<T, E>,
) -> Result<Option<T>, E> {
    let mut place = PathBuf::new();
    let mut pending: Vec<PathBuf> = parts(name);
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part.as_os_str() == ".." {
            place.pop();
            continue;
        }
        let next = place.join(&part);
        match look(&next)? {
            None => return Ok(None),
            Some(Found::Link(target)) => {
                links += 1;
                if links > MOST_LINKS {
                    return Ok(None);
                }
                if target.has_root() {
                    place = PathBuf::new();
                }
                pending.extend(parts(&target));
            }
            Some(Found::File(file)) if pending.is_empty() => return read(&next, file).map(Some),
            Some(Found::Other) if pending.is_empty() => return Ok(None),
            Some(_) => place = next,
        }
    }
    Ok(None)
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
