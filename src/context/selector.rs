//! What one instruction takes out of a tree, and the digests over several takings.
//!
//! Mirrors `solver/llbsolver/ops/file.go` (`addSelector`, `dedupeSelectors`, `CacheMap`) and
//! `solver/llbsolver/ops/opsutils/contenthash.go`.

use sha2::{Digest as _, Sha256};

use super::path;

/// One source of a file operation, or the source of a bind mount.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct Selector {
    /// The path as BuildKit holds it: cleaned, with a leading `/` for the files of a context or a stage.
    pub path: String,
    /// Whether wildcards in the path count; has no effect on a path without any.
    pub wildcard: bool,
    /// Whether a symlink at the end of the path is followed.
    pub follow: bool,
    /// Patterns of `--parents`.
    pub include: Vec<String>,
    /// Patterns of `--exclude`, as written.
    pub exclude: Vec<String>,
    /// Paths that must be among the selected ones (`--parents` without a wildcard).
    pub required: Vec<String>,
}

impl Selector {
    /// The plain selector of `COPY src`: `clean("/" + src)`, wildcards allowed, links followed.
    pub fn of_source(source: &str) -> Self {
        Self { path: path::clean_str(&format!("/{source}")), wildcard: true, follow: true, ..Self::default() }
    }

    /// Whether the path is looked for as a wildcard.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard && path::has_wildcard(&self.path)
    }

    /// Whether single entries are listed (8.5 of the notes on the context) in place of one record's digest.
    pub fn is_list(&self) -> bool {
        self.is_wildcard() || !self.include.is_empty() || !self.exclude.is_empty()
    }
}

/// The selectors that BuildKit really checksums, in its order.
///
/// Those without wildcards and patterns lose duplicates and whatever lies below another of them; the rest is
/// kept. All are sorted by path.
pub fn dedupe(selectors: Vec<Selector>) -> Vec<Selector> {
    let (lists, plain): (Vec<_>, Vec<_>) = selectors.into_iter().partition(Selector::is_list);
    let mut out = Vec::with_capacity(lists.len() + plain.len());
    for follow in [false, true] {
        let mut paths: Vec<&str> =
            plain.iter().filter(|s| s.follow == follow).map(|s| s.path.as_str()).collect();
        paths.sort_unstable_by(|a, b| path_order(a, b));
        let mut kept: Option<&str> = None;
        for path in paths {
            if kept.is_some_and(|kept| covers(kept, path)) {
                continue;
            }
            kept = Some(path);
            out.push(Selector { path: path.to_owned(), follow, ..Selector::default() });
        }
    }
    out.extend(lists);
    // Stable, which is what BuildKit's own sort was seen to do with equal paths.
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

/// Parents before their children and before siblings whose names merely begin alike.
fn path_order(a: &str, b: &str) -> std::cmp::Ordering {
    let order = |path: &str| -> Vec<u8> { path.bytes().map(|b| if b == b'/' { 0 } else { b }).collect() };
    order(a).cmp(&order(b))
}

/// Whether `path` is `above` or lies below it.
fn covers(above: &str, path: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above == "/")
}

/// The content digest of an instruction: over the checksums of its deduplicated selectors, in their order.
/// Also one alone is hashed once more.
pub fn content_digest<S: AsRef<str>>(checksums: &[S]) -> String {
    joined(checksums.iter().map(AsRef::as_ref))
}

/// The digest over the paths of all selectors of an input (not deduplicated); it qualifies the keys of inputs
/// that have a definition of their own.
pub fn selector_digest<S: AsRef<str>>(paths: &[S]) -> String {
    let mut paths: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
    paths.sort_unstable_by(|a, b| b.cmp(a));
    joined(paths.into_iter())
}

/// The SHA-256 of the parts with a zero byte between.
fn joined<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for (i, part) in parts.enumerate() {
        if i > 0 {
            hash.update([0]);
        }
        hash.update(part);
    }
    super::digest::text(&hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(sources: &[&str]) -> Vec<String> {
        dedupe(sources.iter().map(|s| Selector::of_source(s)).collect()).into_iter().map(|s| s.path).collect()
    }

    #[test]
    fn a_source_below_another_adds_nothing() {
        assert_eq!(paths(&["src/main.rs", "src", "src-x", "src"]), ["/src", "/src-x"]);
        assert_eq!(paths(&["README.md", "."]), ["/"]);
    }

    #[test]
    fn a_wildcard_is_never_covered() {
        assert_eq!(paths(&["*.md", ".", "*.md"]), ["/", "/*.md", "/*.md"]);
    }

    #[test]
    fn one_checksum_is_hashed_once_more() {
        assert_eq!(
            content_digest(&["sha256:1b6602538e2d0ac367add4869e60ae9477b33405ecdd718e72fbbde15ebbf7b3"])
                .len(),
            71
        );
        assert_eq!(
            selector_digest(&["/hello.txt"]),
            "sha256:8c95ecd8d3467fbf8ce3116e580b6a7869cfde8b99ef9a3a7de7fa80102e9618"
        );
    }
}
