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
        if !is_host(domain) {
            return None;
        }
        let piece = |p: &str| {
            let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
            // Separators are `.`, `_`, `__` and any number of `-`.
            let lone = !["..", "___", "._", "_.", "-.", ".-", "-_", "_-"].iter().any(|s| p.contains(s));
            p.bytes().all(ok) && edge(p.bytes().next()) && edge(p.bytes().last()) && lone
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

    /// The registry: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        self.name.split_once('/').map_or("docker.io", |(registry, _)| registry)
    }

    /// The name inside the registry: `library/alpine`.
    pub fn repository(&self) -> &str {
        self.name.split_once('/').map_or(self.name.as_str(), |(_, repository)| repository)
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

/// Whether this is `host[:port]`, the host a name, an address or an IPv6 address in brackets.
fn is_host(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
        Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            ("ip", rest.strip_prefix(':'))
        }
        Some(_) => return false,
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, Some("0")),
        },
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.split('.').all(label)
        && port.is_some_and(|p| !p.is_empty() && p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()))
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
        assert_eq!(t("[::1]:5000/x:1").as_deref(), Some("[::1]:5000/x:1"));
        for wrong in
            ["a.b?c/x", "user:pass/x", "a..b/x", "-a.b/x", "[::z]:1/x", "[::1]x/y", "a.b:/x", "a b.c/x"]
        {
            assert_eq!(t(wrong), None, "{wrong}");
        }
        let familiar = |s: &str| Reference::parse(s).map(|r| r.familiar());
        assert_eq!(familiar("docker.io/library/alpine:3").as_deref(), Some("alpine:3"));
        assert_eq!(familiar("registry.example/a:latest").as_deref(), Some("registry.example/a"));
    }
}
