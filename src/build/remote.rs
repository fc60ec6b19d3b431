//! Sources of ADD that are not in the build context: URLs and git references
//! (`frontend/dockerfile/dfgitutil/git_ref.go`, `util/gitutil/git_url.go`).

/// Where a source of COPY or ADD comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// `http://`, `https://`
    Http {
        /// the name that the download gets
        filename: String,
    },
    /// a git repository
    Git {
        /// address without fragment and query
        remote: String,
        /// branch, tag or commit; empty for the default branch
        reference: String,
        /// folder in it; empty for all
        subdir: String,
        /// `checksum=` or `commit=` of the query
        checksum: Option<String>,
        /// `keep-git-dir=` of the query
        keep_git_dir: Option<bool>,
    },
}

/// What a source is, if it is not in the context.
pub fn classify(source: &str) -> Option<Remote> {
    if let Some(git) = git(source) {
        return Some(git);
    }
    let rest = source.strip_prefix("http://").or_else(|| source.strip_prefix("https://"))?;
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let base = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let base = percent_decoded(base);
    let base = base.rsplit('/').next().unwrap_or_default();
    let filename = if matches!(base, "" | ".") { "__unnamed__" } else { base };
    Some(Remote::Http { filename: filename.to_owned() })
}

fn git(source: &str) -> Option<Remote> {
    if source.starts_with("./") || source.starts_with("../") || source.starts_with("github.com/") {
        return None;
    }
    let (address, fragment) = source.split_once('#').unwrap_or((source, ""));
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let is_git = match address.split_once("://") {
        Some(("http" | "https", rest)) => rest.contains('/') && address.ends_with(".git"),
        Some(("git" | "ssh", _)) => true,
        Some(_) => false,
        // user@host:path
        None => address.split_once('@').is_some_and(|(user, rest)| {
            let word = |s: &str| {
                !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            };
            word(user) && rest.split_once(':').is_some_and(|(host, path)| word(host) && !path.is_empty())
        }),
    };
    if !is_git {
        return None;
    }
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut reference = reference.to_owned();
    let mut subdir = subdir.to_owned();
    let mut checksum = None;
    let mut keep_git_dir = None;
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "ref" => reference = value.to_owned(),
            "tag" => reference = prefixed("refs/tags/", value),
            "branch" => reference = prefixed("refs/heads/", value),
            "subdir" => subdir = value.to_owned(),
            "checksum" | "commit" => checksum = Some(value.to_owned()),
            "keep-git-dir" => {
                keep_git_dir = Some(!matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False"))
            }
            _ => {}
        }
    }
    Some(Remote::Git { remote: address.to_owned(), reference, subdir, checksum, keep_git_dir })
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match hex.filter(|_| *first == b'%').and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let http = |name: &str| Some(Remote::Http { filename: name.into() });
        assert_eq!(classify("https://x.example/a/b.tar?x=1#y"), http("b.tar"));
        assert_eq!(classify("https://x.example"), http("__unnamed__"));
        assert_eq!(classify("https://x.example/a%20b"), http("a b"));
        assert_eq!(classify("src/a"), None);
        assert_eq!(classify("a@b"), None);
        let is_git = |s: &str| matches!(classify(s), Some(Remote::Git { .. }));
        assert!(is_git("https://github.com/a/b.git#v1:sub"));
        assert!(is_git("git@github.com:a/b.git"));
        assert!(is_git("git://x.example/a"));
        assert!(!is_git("https://x.example/a.git.tar"));
    }
}
