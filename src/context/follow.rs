//! From the sources of a Dockerfile to the patterns that narrow the transfer: `FSU/followlinks.go`.
//!
//! Links on the way are followed on the disk as it is, whether or not an ignore pattern leaves them out.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bstr::BString;

use super::error::ContextError;
use super::path;
use super::tree::{EntryKind, Tree, path_bytes, system_path};

/// Longer paths are not followed; only links made to that end lead to one.
const LONGEST: usize = 1 << 20;

/// The longest path that Linux takes.
const LONGEST_NAME: usize = 4096;

/// Where links are looked up.
pub(super) trait Links {
    /// The text of the link at a path, if there is one.
    fn link(&self, path: &[u8]) -> io::Result<Option<BString>>;
    /// The names in a directory, by their bytes; none if there is no such directory.
    fn names(&self, directory: &[u8]) -> io::Result<Vec<BString>>;
}

/// A directory of the disk.
pub(super) struct Disk(pub(super) PathBuf);

/// What is not there has no links, and neither has what lies below a file.
fn absent<T: Default>(error: io::Error) -> io::Result<T> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            Ok(T::default())
        }
        // A path with a zero byte names nothing.
        io::ErrorKind::InvalidInput => Ok(T::default()),
        _ => Err(error),
    }
}

impl Links for Disk {
    fn link(&self, path: &[u8]) -> io::Result<Option<BString>> {
        let place = self.0.join(system_path(path));
        let read = || -> io::Result<Option<BString>> {
            if !std::fs::symlink_metadata(&place)?.is_symlink() {
                return Ok(None);
            }
            Ok(Some(path_bytes(&std::fs::read_link(&place)?)))
        };
        read().or_else(absent)
    }

    fn names(&self, directory: &[u8]) -> io::Result<Vec<BString>> {
        let place = self.0.join(system_path(directory));
        let read = || -> io::Result<Vec<BString>> {
            // A link to a directory is no directory here.
            if !std::fs::symlink_metadata(&place)?.is_dir() {
                return Ok(Vec::new());
            }
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&place)? {
                names.push(path_bytes(entry?.file_name().as_ref()));
            }
            names.sort_unstable();
            Ok(names)
        };
        read().or_else(absent)
    }
}

impl Links for Tree {
    fn link(&self, path: &[u8]) -> io::Result<Option<BString>> {
        Ok(self.find(path).and_then(|at| match &self.entries.get(at)?.kind {
            EntryKind::Symlink { target } => Some(target.clone()),
            _ => None,
        }))
    }

    fn names(&self, directory: &[u8]) -> io::Result<Vec<BString>> {
        let prefix = if directory == b"." { Vec::new() } else { [directory, b"/"].concat() };
        let names = self.entries.iter().filter_map(|e| e.path.strip_prefix(prefix.as_slice()));
        Ok(names.filter(|rest| !rest.contains(&b'/')).map(BString::from).collect())
    }
}

/// The links at `path`, as paths below the root: none if it is no link and no wildcard that matches one.
fn targets(links: &dyn Links, path: &[u8], wild: bool) -> Result<Vec<BString>, ContextError> {
    let fail = |source| ContextError::Read { path: path.into(), source: Arc::new(source) };
    let last = path::base(path);
    if wild && path::has_wildcard(last) {
        let mut out = Vec::new();
        let directory = path::dir(path);
        let Ok(wildcard) = path::Wildcard::new(last) else { return Ok(out) };
        for name in links.names(&directory).map_err(fail)? {
            if wildcard.matches(&name) {
                out.extend(targets(links, &path::join(&[&directory, &name]), false)?);
            }
        }
        return Ok(out);
    }
    if path == b"." {
        return Ok(Vec::new());
    }
    let Some(text) = links.link(path).map_err(fail)? else { return Ok(Vec::new()) };
    let text = path::clean(&*text);
    Ok(vec![if text.starts_with(b"/") { text } else { path::join(&[b"/", &path::dir(path), &text]) }])
}

/// The include patterns for a set of paths, sorted; empty where nothing narrows the transfer.
///
/// A source that has been resolved as a link is not resolved again, so the second of two sources below one
/// link adds nothing (as in BuildKit).
pub(super) fn include_patterns(links: &dyn Links, paths: &[String]) -> Result<Vec<BString>, ContextError> {
    let mut resolved: BTreeSet<BString> = BTreeSet::new();
    let mut pending: Vec<BString> = paths.iter().rev().map(|p| BString::from(p.as_str())).collect();
    while let Some(path) = pending.pop() {
        if path.len() > LONGEST {
            continue;
        }
        let path = path::clean([b"/".as_slice(), &path].concat());
        let path = path.strip_prefix(b"/").filter(|p| !p.is_empty()).unwrap_or(b".");
        let mut rest = Some(path);
        let mut current = BString::from(".");
        while let Some(path) = rest {
            let (part, tail) = match path.iter().position(|b| *b == b'/') {
                Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..)),
                None => (path, None),
            };
            rest = tail;
            if current == "." {
                current = part.into();
            } else {
                current.push(b'/');
                current.extend_from_slice(part);
            }
            if current.len() > LONGEST_NAME {
                // Nothing on a disk has so long a name.
                current = path::join(&[&current, rest.unwrap_or_default()]);
                resolved.insert(current);
                break;
            }
            let found = targets(links, &current, true)?;
            if rest.is_some() && found.is_empty() {
                continue;
            }
            if resolved.insert(current.clone()) {
                let tail = rest.unwrap_or_default();
                pending.extend(found.iter().rev().map(|target| path::join(&[target, tail])));
            }
            break;
        }
    }
    let mut out: Vec<BString> = Vec::new();
    for path in resolved {
        if path == "." {
            return Ok(Vec::new());
        }
        if out.last().is_some_and(|kept| super::tree::below(kept, &path)) {
            continue;
        }
        out.push(path);
    }
    Ok(out)
}
