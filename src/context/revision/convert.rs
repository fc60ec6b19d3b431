//! Files whose recorded content is not what a checkout writes: Git LFS, line ends, filters.
//!
//! Only files whose size differs from the working tree's are looked at: where sizes agree a conversion has changed
//! nothing, or both are compared byte by byte anyway.

use std::collections::HashSet;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice as _};
use sha2::{Digest as _, Sha256};

use super::repository::{Repository, Settings};
use super::{Note, NoteKind, RevisionError};
use crate::context::digest;
use crate::context::tree::{Entry, Source, Tree, Verdict, system_path};

/// Pointers are shorter than this.
const LONGEST_POINTER: u64 = 1024;

/// Longer files are not compared but for their bytes.
const LONGEST_TEXT: u64 = 64 << 20;

/// Git looks for a zero byte in so many bytes to tell what is no text.
const TELLTALE: usize = 8000;

/// What stands in for a file in Git LFS.
#[derive(PartialEq, Eq, Debug)]
struct Pointer {
    oid: String,
    size: u64,
}

impl Pointer {
    fn parse(content: &[u8]) -> Option<Self> {
        if !is_pointer(content) {
            return None;
        }
        let (mut oid, mut size) = (None, None);
        for line in content.lines() {
            if let Some(text) = line.strip_prefix(b"oid sha256:") {
                oid =
                    text.to_str().ok().filter(|t| t.len() == 64 && t.bytes().all(|b| b.is_ascii_hexdigit()));
            } else if let Some(text) = line.strip_prefix(b"size ") {
                size = text.to_str().ok().and_then(|t| t.parse().ok());
            }
        }
        Some(Self { oid: oid?.to_ascii_lowercase(), size: size? })
    }
}

fn is_pointer(content: &[u8]) -> bool {
    content.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// Finds out where the content of such files is, and notes what cannot be found out.
pub(super) fn settle(
    tree: &mut Tree,
    disk: &Tree,
    missing: &HashSet<&BStr>,
    settings: &Settings,
    repository: &Repository,
    notes: &mut Vec<Note>,
) -> Result<(), RevisionError> {
    let there = |path: &BString| disk.find(path).and_then(|at| disk.entries.get(at)).filter(|e| e.is_file());
    let mut doubtful = Vec::new();
    let mut paths = Vec::new();
    for (at, entry) in tree.entries.iter().enumerate() {
        let counts = entry.is_file() && entry.verdict == Verdict::Kept;
        if counts
            && !missing.contains(entry.path.as_bstr())
            && there(&entry.path).is_none_or(|e| e.size != entry.size)
        {
            doubtful.push(at);
            paths.push(entry.path.clone());
        }
    }
    let names = ["text", "eol", "filter", "ident", "working-tree-encoding"];
    let attributes = repository.attributes(names, &paths)?;
    for (at, [text, eol, filter, ident, encoding]) in doubtful.into_iter().zip(attributes) {
        let Some(entry) = tree.entries.get_mut(at) else { continue };
        let on_disk = there(&entry.path);
        let place = repository.base.join(system_path(&entry.path));
        let is_set = |value: &BString| *value != "unspecified" && *value != "unset";
        let converted = |by: String| Some(NoteKind::Converted { by });
        let kind = if filter == "lfs" {
            lfs(entry, on_disk, &place, settings, repository)?
        } else if settings.filters.contains(&filter) {
            converted(format!("filter={filter}"))
        } else if is_set(&encoding) {
            converted("working-tree-encoding".to_owned())
        } else if ident == "set" && recorded(entry, repository)?.contains_str("$Id") {
            converted("ident".to_owned())
        } else if let Some(on_disk) = on_disk
            && text != "unset"
            && (is_set(&text) || is_set(&eol) || settings.converts_text)
        {
            line_ends(entry, on_disk, &place, text == "set", repository)?
        } else {
            None
        };
        notes.extend(kind.map(|kind| Note { path: entry.path.clone(), kind }));
    }
    Ok(())
}

/// The content that git recorded for a file.
fn recorded(entry: &Entry, repository: &Repository) -> Result<Vec<u8>, RevisionError> {
    match &entry.source {
        Source::Object { id, .. } => repository.content(id, &repository.whole_path(&entry.path)),
        _ => Ok(Vec::new()),
    }
}

/// Puts the file in place of its pointer, as a checkout with Git LFS would.
fn lfs(
    entry: &mut Entry,
    on_disk: Option<&Entry>,
    place: &Path,
    settings: &Settings,
    repository: &Repository,
) -> Result<Option<NoteKind>, RevisionError> {
    if entry.size > LONGEST_POINTER {
        return Ok(None);
    }
    let Some(Pointer { oid, size }) = Pointer::parse(&recorded(entry, repository)?) else { return Ok(None) };
    // A clone without Git LFS has the pointers themselves.
    let raw = match on_disk {
        Some(file) if file.size <= LONGEST_POINTER => {
            std::fs::read(place).is_ok_and(|content| is_pointer(&content))
        }
        Some(_) => false,
        None => !settings.filters.contains(BStr::new("lfs")),
    };
    if raw {
        return Ok(None);
    }
    let stored = repository.lfs_place(&oid);
    let stored = stored.filter(|file| std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.len() == size));
    if let Some(file) = stored {
        entry.source = Source::Elsewhere { file: file.into_boxed_path(), on_disk: on_disk.is_some() };
    } else if on_disk.is_some_and(|file| file.size == size) && has_digest(place, &oid) {
        entry.source = Source::Disk;
    } else {
        return Ok(Some(NoteKind::LfsPointer { oid, size }));
    }
    entry.size = size;
    Ok(None)
}

/// Whether a file has this SHA-256.
fn has_digest(place: &Path, oid: &str) -> bool {
    let mut hash = Sha256::new();
    let read = digest::add_file(&mut hash, place, &mut Vec::new());
    matches!(read, Ok(true)) && digest::text(&hash.finalize().into()).strip_prefix("sha256:") == Some(oid)
}

/// Takes the working file where it is the recorded one with other line ends.
fn line_ends(
    entry: &mut Entry,
    on_disk: &Entry,
    place: &Path,
    is_text: bool,
    repository: &Repository,
) -> Result<Option<NoteKind>, RevisionError> {
    // Each line feed can have got one more byte.
    let most = entry.size.saturating_mul(2).min(LONGEST_TEXT);
    if on_disk.size <= entry.size || on_disk.size > most {
        return Ok(None);
    }
    // What cannot be read is told by the walk.
    let Ok(working) = std::fs::read(place) else { return Ok(None) };
    let looks_binary = working.get(..TELLTALE).unwrap_or(&working).contains(&0);
    if (looks_binary && !is_text) || working.replace("\r\n", "\n") != recorded(entry, repository)? {
        return Ok(None);
    }
    (entry.source, entry.size) = (Source::Disk, on_disk.size);
    Ok(Some(NoteKind::LineEnds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_its_digest_and_size() {
        let oid = "ab".repeat(32);
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12\n");
        assert_eq!(Pointer::parse(text.as_bytes()), Some(Pointer { oid, size: 12 }));
        assert_eq!(Pointer::parse(b"version https://git-lfs.github.com/spec/v1\nsize 12\n"), None);
        assert_eq!(Pointer::parse(b"oid sha256:abc\nsize 12\n"), None);
    }
}
