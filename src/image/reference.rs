//! Image references, normalised like distribution's `reference` package.

/// `name[:tag][@digest]` with the registry and `library/` filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `docker.io/library/alpine`
    pub name: String,
    /// `3.20`, if written.
    pub tag: Option<String>,
    /// `sha256:…`, if written.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a reference; `None` when it is none (upper-case repository, empty, blanks, …).
    pub fn parse(text: &str) -> Option<Reference> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let (algorithm, hex) = digest.split_once(':')?;
                if algorithm.is_empty() || hex.len() < 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                (rest, Some(digest.to_owned()))
            }
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => {
                let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
                if tag.is_empty() || tag.len() > 128 || !tag.bytes().all(ok) || tag.starts_with(['.', '-']) {
                    return None;
                }
                (path, Some(tag.to_owned()))
            }
            _ => (rest, None),
        };
        let is_domain = |first: &str| {
            first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
        };
        let (domain, repository) = match path.split_once('/') {
            Some((first, rest)) if is_domain(first) => (first, rest),
            _ => ("docker.io", path),
        };
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        let piece = |p: &str| {
            let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
            p.bytes().all(ok) && edge(p.bytes().next()) && edge(p.bytes().last())
        };
        if !repository.split('/').all(piece) {
            return None;
        }
        let name = match (domain, repository.contains('/')) {
            ("docker.io", false) => format!("docker.io/library/{repository}"),
            _ => format!("{domain}/{repository}"),
        };
        Some(Reference { name, tag, digest })
    }

    /// With `:latest` where neither tag nor digest is written.
    pub fn tagged(&self) -> String {
        let mut out = self.name.clone();
        if self.tag.is_none() && self.digest.is_none() {
            out.push_str(":latest");
        }
        if let Some(tag) = &self.tag {
            out.push(':');
            out.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            out.push('@');
            out.push_str(digest);
        }
        out
    }

    /// The short form that names a build context: no `docker.io/library/`, no `:latest`.
    pub fn familiar(&self) -> String {
        let full = self.tagged();
        let short = match full.strip_prefix("docker.io/") {
            Some(rest) => rest.strip_prefix("library/").filter(|r| !r.contains('/')).unwrap_or(rest),
            None => &full,
        };
        short.strip_suffix(":latest").unwrap_or(short).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised() {
        let t = |s: &str| Reference::parse(s).map(|r| r.tagged());
        assert_eq!(t("alpine").as_deref(), Some("docker.io/library/alpine:latest"));
        assert_eq!(t("a/b:1").as_deref(), Some("docker.io/a/b:1"));
        assert_eq!(t("localhost:5000/x").as_deref(), Some("localhost:5000/x:latest"));
        assert_eq!(t("Upper"), None);
        let familiar = |s: &str| Reference::parse(s).map(|r| r.familiar());
        assert_eq!(familiar("docker.io/library/alpine:3").as_deref(), Some("alpine:3"));
        assert_eq!(familiar("registry.example/a:latest").as_deref(), Some("registry.example/a"));
    }
}
