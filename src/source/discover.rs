//! Finding Dockerfiles by their names.

use super::ReadError;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Whether a file of that name is taken for a Dockerfile: `Dockerfile`, `Containerfile`, `*.Dockerfile`,
/// `*.dockerfile`, `Dockerfile.*`, `Containerfile.*`, and no ignore file.
pub fn is_dockerfile_name(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    if name.ends_with(b".dockerignore") || name.ends_with(b".containerignore") {
        return false;
    }
    ["Dockerfile", "Containerfile"].iter().any(|word| {
        name.strip_prefix(word.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
    }) || name.ends_with(b".Dockerfile")
        || name.ends_with(b".dockerfile")
}

/// Whether a file of that name holds Docker's ignore patterns.
pub fn is_ignore_file_name(name: &OsStr) -> bool {
    name.as_encoded_bytes().ends_with(b".dockerignore")
}

/// The innards of version control hold no Dockerfile of anybody's; other hidden directories (`.devcontainer`) may.
const INNARDS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// Dockerfiles below a directory, sorted by path. What .gitignore leaves out is left out; links are not followed.
/// What cannot be read is reported beside the rest.
pub fn dockerfiles_below(dir: &Path) -> (Vec<PathBuf>, Vec<ReadError>) {
    files_below(dir, &|path| path.file_name().is_some_and(is_dockerfile_name))
}

/// Files below a directory that are wanted by their paths, in the same way.
pub fn files_below(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> (Vec<PathBuf>, Vec<ReadError>) {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    let walk = ignore::WalkBuilder::new(dir)
        .require_git(false)
        .hidden(false)
        .filter_entry(|entry| !INNARDS.iter().any(|name| entry.file_name() == *name))
        .sort_by_file_name(Ord::cmp)
        .build();
    for entry in walk {
        match entry {
            Ok(entry) => {
                let kind = entry.file_type();
                let named = wanted(entry.path());
                // A link to a Dockerfile is one; a directory of that name is not.
                if named && kind.is_some_and(|k| k.is_file() || (k.is_symlink() && entry.path().is_file())) {
                    found.push(entry.into_path());
                }
            }
            Err(error) => errors.extend(read_error(dir, error)),
        }
    }
    (found, errors)
}

/// The path and the system's words out of a walk's error; a malformed .gitignore is not our concern.
fn read_error(dir: &Path, error: ignore::Error) -> Option<ReadError> {
    let mut path = dir.to_path_buf();
    let mut inner = &error;
    loop {
        match inner {
            ignore::Error::WithPath { path: at, err } => {
                path = at.clone();
                inner = err;
            }
            ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => inner = err,
            ignore::Error::Io(_) => break,
            _ => return None,
        }
    }
    Some(ReadError { path, source: error.into_io_error()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dockerfiles() {
        let yes = [
            "Dockerfile",
            "Containerfile",
            "a.Dockerfile",
            "a.dockerfile",
            "Dockerfile.prod",
            "Containerfile.x.y",
        ];
        let no = [
            "dockerfile",
            "Dockerfile.dockerignore",
            "Dockerfiles",
            "MyDockerfile",
            ".dockerignore",
            "dockerfile.md",
        ];
        assert_eq!(yes.map(|n| is_dockerfile_name(OsStr::new(n))), [true; 6]);
        assert_eq!(no.map(|n| is_dockerfile_name(OsStr::new(n))), [false; 6]);
    }
}
