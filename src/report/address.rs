//! Names of files for machines, and who a finding is for those that compare runs.

use crate::finding::Finding;
use crate::key::sha256_joined;
use std::fmt::Write as _;

/// A path as a URI reference (RFC 3986): relative ones stay relative, behind `prefix`; absolute ones become `file:`.
pub(super) fn uri(prefix: &str, path: &str) -> String {
    let mut out = String::new();
    let path = if path.starts_with('/') {
        out.push_str("file://");
        path.to_owned()
    } else {
        from_root(prefix, path)
    };
    for byte in path.bytes() {
        // A colon in the first part would end a scheme.
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte as char)
            }
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A path behind the way from the root of the repository; `..` is resolved as far as there is something to go up.
pub(super) fn from_root(prefix: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Who a finding is in a repository: its fingerprint and its path.
pub(super) fn identity(prefix: &str, finding: &Finding) -> String {
    digest(&[&from_root(prefix, &finding.primary.file), &finding.fingerprint])
}

/// Thirty-two hexadecimal digits for some texts.
pub(super) fn digest(parts: &[&str]) -> String {
    let digest = sha256_joined(parts);
    digest.trim_start_matches("sha256:").get(..32).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        for (prefix, path, expected) in [
            ("", "a/Dockerfile", "a/Dockerfile"),
            ("sub/", "a b/Dockerfile#1?x%", "sub/a%20b/Dockerfile%231%3Fx%25"),
            ("", "a:b/ü\n[1]", "a%3Ab/%C3%BC%0A%5B1%5D"),
            ("sub/dir/", "../Dockerfile", "sub/Dockerfile"),
            ("", "../Dockerfile", "../Dockerfile"),
            ("sub/", "/abs/Dockerfile", "file:///abs/Dockerfile"),
            ("", "C:\\x", "C%3A%5Cx"),
        ] {
            assert_eq!(uri(prefix, path), expected);
        }
    }
}
