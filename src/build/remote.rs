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
    Git(Box<Git>),
}

/// A git repository that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    /// Address without fragment and query.
    pub remote: String,
    /// Branch, tag or commit; empty for the default branch.
    pub reference: String,
    /// Folder in it, cleaned; empty for all.
    pub subdir: String,
    /// `checksum=` or `commit=` of the query.
    pub checksum: Option<String>,
    /// `keep-git-dir=` of the query.
    pub keep_git_dir: Option<bool>,
    /// `submodules=false` of the query.
    pub skip_submodules: bool,
    /// `fetch-by-commit=` of the query: the commit is not looked up in the repository.
    pub by_commit: bool,
}

/// What a source is, if it is not in the context; an error if it is a git address that BuildKit refuses.
pub fn classify(source: &str) -> Option<Result<Remote, String>> {
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
    Some(Ok(Remote::Http { filename: filename.to_owned() }))
}

fn git(source: &str) -> Option<Result<Remote, String>> {
    if source.starts_with("./") || source.starts_with("../") || source.starts_with("github.com/") {
        return None;
    }
    let (address, fragment) = source.split_once('#').unwrap_or((source, ""));
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let is_scheme = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_git = match address.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => rest.contains('/') && address.ends_with(".git"),
            "git" | "ssh" => true,
            _ => false,
        },
        // user@host:path
        None => address.split_once('@').is_some_and(|(user, rest)| {
            let word = |s: &str, more: &[u8]| {
                !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
            };
            rest.split_once(':').is_some_and(|(host, _)| word(user, b"-_") && word(host, b"-."))
        }),
    };
    if !is_git {
        return None;
    }
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut words = Words {
        reference: percent_decoded(reference),
        subdir: clean_folder(&percent_decoded(subdir)),
        ..Words::default()
    };
    Some(words.read(query).map(|()| {
        Remote::Git(Box::new(Git {
            remote: address.to_owned(),
            reference: words.reference,
            subdir: clean_folder(&words.subdir),
            checksum: words.checksum,
            keep_git_dir: words.keep_git_dir,
            skip_submodules: words.submodules == Some(false),
            by_commit: words.by_commit == Some(true),
        }))
    }))
}

/// A folder of a repository as BuildKit notes it: cleaned, without `/` in front.
fn clean_folder(path: &str) -> String {
    let path = crate::context::path::clean_str(&format!("/{path}"));
    path.trim_start_matches('/').to_owned()
}

/// What fragment and query of a git address ask for.
#[derive(Default)]
struct Words {
    reference: String,
    subdir: String,
    tag: String,
    branch: String,
    checksum: Option<String>,
    keep_git_dir: Option<bool>,
    submodules: Option<bool>,
    by_commit: Option<bool>,
}

impl Words {
    /// Adds the query. Two answers to one question are an error, and so is an unknown question (`loadQuery`).
    fn read(&mut self, query: &str) -> Result<(), String> {
        let mut seen: Vec<String> = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty() && !p.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = percent_decoded(&key.replace('+', " "));
            let value = percent_decoded(&value.replace('+', " "));
            if seen.contains(&key) {
                return Err(format!("`{key}` is given twice in the query of a git address"));
            }
            self.answer(&key, value)?;
            seen.push(key);
        }
        for (prefix, name) in [("refs/tags/", &self.tag), ("refs/heads/", &self.branch)] {
            if name.is_empty() {
                continue;
            }
            let full = prefixed(prefix, name);
            if !self.reference.is_empty() && self.reference != full {
                return Err(format!("the git address asks for both `{}` and `{full}`", self.reference));
            }
            self.reference = full;
        }
        Ok(())
    }

    fn answer(&mut self, key: &str, value: String) -> Result<(), String> {
        let boolean = |value: &str| match value {
            "" | "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some(false)),
            other => Err(format!("`{key}` of a git address is true or false, not `{other}`")),
        };
        match key {
            "keep-git-dir" => self.keep_git_dir = boolean(&value)?,
            "submodules" => self.submodules = boolean(&value)?,
            "fetch-by-commit" => self.by_commit = boolean(&value)?,
            _ if value.is_empty() => return Err(format!("`{key}` of a git address has no value")),
            "ref" | "subdir" => {
                let present = if key == "ref" { &mut self.reference } else { &mut self.subdir };
                if !present.is_empty() && *present != value {
                    return Err(format!("the git address asks for both `{present}` and `{value}`"));
                }
                *present = value;
            }
            "tag" => self.tag = value,
            "branch" => self.branch = value,
            "checksum" | "commit" => self.checksum = Some(value),
            // ADD reads it and does nothing with it.
            "mtime" if matches!(value.as_str(), "checkout" | "commit") => {}
            "mtime" => return Err(format!("`mtime` of a git address is checkout or commit, not `{value}`")),
            other => return Err(format!("a git address has no `{other}`")),
        }
        Ok(())
    }
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
        let http = |name: &str| Some(Ok(Remote::Http { filename: name.into() }));
        assert_eq!(classify("https://x.example/a/b.tar?x=1#y"), http("b.tar"));
        assert_eq!(classify("https://x.example"), http("__unnamed__"));
        assert_eq!(classify("https://x.example/a%20b"), http("a b"));
        assert_eq!(classify("src/a"), None);
        assert_eq!(classify("a@b"), None);
        let is_git = |s: &str| matches!(classify(s), Some(Ok(Remote::Git(_))));
        assert!(is_git("https://github.com/a/b.git#v1:sub"));
        assert!(is_git("git@github.com:a/b.git"));
        assert!(is_git("git://x.example/a"));
        assert!(is_git("HTTPS://x.example/a.git"));
        assert!(!is_git("https://x.example/a.git.tar"));
        assert!(!is_git("ftp://x.example/a.git"));
        assert!(!is_git("a.b@x.example:a"));
    }

    #[test]
    fn the_query_of_a_git_address_says_what_is_wanted() {
        let git = |query: &str| match classify(&format!("https://x.example/a.git{query}")) {
            Some(Ok(Remote::Git(git))) => Ok(*git),
            Some(Err(e)) => Err(e),
            _ => panic!("{query} is no git address"),
        };
        assert_eq!(git("#v1:./sub/../dir/").unwrap().subdir, "dir");
        assert_eq!(git("?tag=v1&subdir=/s").unwrap().reference, "refs/tags/v1");
        assert_eq!(git("?subdir=/s").unwrap().subdir, "s");
        assert_eq!(git("?branch=refs/heads/m#refs/heads/m").unwrap().reference, "refs/heads/m");
        assert_eq!(git("?keep-git-dir").unwrap().keep_git_dir, Some(true));
        assert!(git("?submodules=false").unwrap().skip_submodules);
        for refused in [
            "?ref=a#b",
            "?tag=a&branch=b",
            "?ref=",
            "?ref=a&ref=a",
            "?mtime=now",
            "?depth=1",
            "?submodules=no",
        ] {
            assert!(git(refused).is_err(), "{refused}");
        }
    }
}
