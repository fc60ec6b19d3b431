//! Where the files of a source tree land in an image, by their paths alone.

use super::model::{Copy, is_below};
use super::process::PathValue;
use crate::context::path::{clean_str, has_wildcard, path_match};

/// How a path, or a pattern of paths, relates to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// It is the file.
    Itself,
    /// It is a directory above it.
    Above,
    /// It has nothing to do with it.
    No,
}

/// How a path, or a pattern of paths, relates to a file.
pub fn covers(pattern: &PathValue, path: &str) -> Covers {
    if !pattern.glob {
        return match is_below(path, &pattern.path) {
            true if path == pattern.path => Covers::Itself,
            true => Covers::Above,
            false => Covers::No,
        };
    }
    let count = pattern.path.matches('/').count();
    let head = match path.match_indices('/').nth(count) {
        Some((end, _)) => path.get(..end).unwrap_or(path),
        None => path,
    };
    match path_match(&pattern.path, head).unwrap_or(false) {
        true if head.len() == path.len() => Covers::Itself,
        true => Covers::Above,
        false => Covers::No,
    }
}

/// How an instruction maps paths of its source to paths in the image.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The destination, cleaned.
    pub dest: String,
    /// The destination is a directory whatever the source is.
    pub folder: bool,
    /// `--parents`
    pub parents: bool,
    exclude: Vec<String>,
}

impl Mapping {
    /// Of COPY and ADD.
    pub fn of(copy: &Copy<'_>) -> Self {
        Self {
            dest: clean_str(&copy.dest),
            folder: copy.dest.ends_with('/') || copy.dest.ends_with("/.") || copy.sources.len() > 1,
            parents: copy.parents,
            exclude: copy.exclude.clone(),
        }
    }

    /// Of a bind mount on that path.
    pub fn of_mount(path: &str) -> Self {
        Self { dest: clean_str(path), folder: false, parents: false, exclude: Vec::new() }
    }

    /// Where a file of the source tree lands, if the pattern selects it. Both absolute in their tree.
    pub fn destination(&self, pattern: &str, file: &str) -> Option<String> {
        let value = PathValue { path: pattern.to_owned(), glob: has_wildcard(pattern), slash: false };
        let count = if pattern == "/" { 0 } else { pattern.matches('/').count() };
        let covered = if pattern == "/" { Covers::Above } else { covers(&value, file) };
        let rest = match covered {
            Covers::No => return None,
            Covers::Itself => None,
            Covers::Above => {
                let end = file.match_indices('/').nth(count).map_or(0, |(end, _)| end);
                file.get(end..)
            }
        };
        if !self.exclude.is_empty() {
            let matcher = crate::context::pattern::Matcher::new(&self.exclude).ok()?;
            let name = rest.unwrap_or(file).trim_start_matches('/');
            if matcher.covers(name.as_bytes()).is_ok_and(|d| d.matched) {
                return None;
            }
        }
        let to = match rest {
            _ if self.parents => format!("{}/{file}", self.dest),
            Some(rest) => format!("{}/{rest}", self.dest),
            None if self.folder => format!("{}/{}", self.dest, file.rsplit('/').next().unwrap_or_default()),
            None => self.dest.clone(),
        };
        Some(clean_str(&to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(dest: &str, folder: bool) -> Mapping {
        Mapping { dest: dest.to_owned(), folder, parents: false, exclude: Vec::new() }
    }

    #[test]
    fn files_folders_and_patterns_land_where_docker_puts_them() {
        let to = |m: &Mapping, pattern: &str, file: &str| m.destination(pattern, file);
        assert_eq!(to(&map("/app", false), "/", "/src/main.rs").unwrap(), "/app/src/main.rs");
        assert_eq!(to(&map("/app/src", false), "/src", "/src/bin/a.rs").unwrap(), "/app/src/bin/a.rs");
        assert_eq!(to(&map("/app", true), "/Cargo.toml", "/Cargo.toml").unwrap(), "/app/Cargo.toml");
        assert_eq!(to(&map("/app/x.rs", false), "/dummy.rs", "/dummy.rs").unwrap(), "/app/x.rs");
        assert_eq!(to(&map("/app", true), "/crates/*", "/crates/a/src/lib.rs").unwrap(), "/app/src/lib.rs");
        assert_eq!(
            to(&map("/app", true), "/crates/*/Cargo.toml", "/crates/a/Cargo.toml").unwrap(),
            "/app/Cargo.toml"
        );
        assert_eq!(to(&map("/app", true), "/src", "/srcs/a.rs"), None);
        let parents = Mapping { parents: true, ..map("/app", true) };
        assert_eq!(
            to(&parents, "/crates/*/Cargo.toml", "/crates/a/Cargo.toml").unwrap(),
            "/app/crates/a/Cargo.toml"
        );
        let without = Mapping { exclude: vec!["bin".to_owned()], ..map("/app", true) };
        assert_eq!(to(&without, "/src", "/src/bin/a.rs"), None);
    }
}
