//! Which directory a Dockerfile is built in, when nobody says so.

use crate::syntax::{Args, Document, Keyword, TransferSource};
use std::path::{Path, PathBuf};

/// The context of a Dockerfile: the nearest of the `candidates` (its own folder first, then those above) in which
/// every literal source exists that COPY, ADD and bind mounts take from the context; its own folder if there is none.
///
/// `exists` answers for a candidate and a path in it.
pub fn choose_context<'a>(
    document: &Document,
    candidates: &'a [PathBuf],
    exists: impl Fn(&Path, &str) -> bool,
) -> Option<&'a PathBuf> {
    let sources = literal_sources(document);
    let resolves = |dir: &&PathBuf| sources.iter().all(|source| exists(dir, source));
    candidates.iter().find(resolves).or_else(|| candidates.first())
}

/// The folders in which a Dockerfile in `folder` may be built: itself and those above it, up to the root of its git
/// repository, else up to `limit`, if it lies there.
pub fn context_candidates(folder: &Path, limit: &Path) -> Vec<PathBuf> {
    let (Ok(absolute), Ok(limit)) = (std::path::absolute(folder), std::path::absolute(limit)) else {
        return vec![folder.to_path_buf()];
    };
    let absolute = without_dots(&absolute);
    let limit = without_dots(&limit);
    let above: Vec<&Path> = absolute.ancestors().collect();
    let repository = above.iter().position(|dir| dir.join(".git").exists());
    let last = repository.or_else(|| above.iter().position(|dir| *dir == limit)).unwrap_or(0);
    // The first one keeps the name that the user gave it.
    let rest = above.iter().take(last + 1).skip(1).map(|dir| dir.to_path_buf());
    [folder.to_path_buf()].into_iter().chain(rest).collect()
}

/// Drops `.` and resolves `..` by the letter.
pub fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// Paths that a build takes from its context and that can be read off the Dockerfile: no variables, patterns, URLs,
/// other stages. Slashes at the ends, `.` and `..` are resolved as Docker does; the whole context is not listed.
pub fn literal_sources(document: &Document) -> Vec<String> {
    let mut found = Vec::new();
    for instruction in &document.instructions {
        match &instruction.args {
            Args::Transfer { sources, .. } if instruction.flag("from").is_none() => {
                for source in sources {
                    let TransferSource::Path(word) = source else { continue };
                    let remote = instruction.keyword == Keyword::Add && is_remote(&word.text);
                    if !remote {
                        found.extend(literal(&word.text));
                    }
                }
            }
            Args::Command(_) if instruction.keyword == Keyword::Run => {
                for flag in instruction.flags_named("mount") {
                    let Some(mount) = &flag.mount else { continue };
                    if mount.kind() == "bind" && mount.value(&["from"]).is_none() {
                        found.extend(mount.value(&["source", "src"]).and_then(literal));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn is_remote(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@")
}

fn literal(text: &str) -> Option<String> {
    let text = match text.as_bytes() {
        [quote @ (b'"' | b'\''), .., end] if quote == end => text.get(1..text.len() - 1)?,
        _ => text,
    };
    if text.contains(['$', '*', '?', '[', '\\', '"', '\'', '\u{FFFD}']) {
        return None;
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;

    #[test]
    fn only_literal_sources_of_the_context_count() {
        let sources = [
            ("/a/./b/", Some("a/b")),
            ("../x/../y", Some("y")),
            ("\"a b\"", Some("a b")),
            (".", None),
            ("*.txt", None),
            ("$X/a", None),
        ];
        for (text, expected) in sources {
            assert_eq!(literal(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_nearest_folder_that_holds_every_source_is_the_context() {
        let document =
            parse(b"FROM a\nCOPY Cargo.toml src/main.rs /x/\nCOPY --from=b /etc/x /\nADD https://a.b/c /c\n");
        let candidates: Vec<PathBuf> = ["r/a/b", "r/a", "r"].map(PathBuf::from).to_vec();
        let choose = |held: &[(&str, &str)]| {
            let exists = |dir: &Path, file: &str| held.iter().any(|(d, f)| Path::new(d) == dir && *f == file);
            choose_context(&document, &candidates, exists).cloned()
        };
        let all = [("r", "Cargo.toml"), ("r", "src/main.rs"), ("r/a", "Cargo.toml")];
        if document.instructions.is_empty() {
            return;
        }
        assert_eq!(choose(&all), Some(PathBuf::from("r")));
        assert_eq!(choose(&[]), Some(PathBuf::from("r/a/b")));
    }
}
