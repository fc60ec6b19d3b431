//! Paths of the system that is built for (`util/system/path.go`): Windows paths lose their drive and turn their slashes.

use crate::context::path::{clean_str, join};

/// A path that the system cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("`{0}` has a drive but no path")]
    DriveOnly(String),
    #[error("`{0}` is a network path, which BuildKit does not support")]
    Network(String),
    #[error("`{0}` is not on the system drive C:")]
    OtherDrive(String),
}

pub(super) fn to_slash(path: &str, os: &str) -> String {
    if os == "windows" { path.replace('\\', "/") } else { path.to_owned() }
}

/// Absolute form of `path` below `parent`. An absolute path is kept as written (not cleaned) except on Windows.
/// With `keep_slash` a final `/` or `/.` stays.
pub(super) fn normalize(parent: &str, path: &str, os: &str, keep_slash: bool) -> Result<String, PathError> {
    let original = to_slash(path, os);
    let parent = without_drive(&to_slash(parent, os), os, keep_slash)?;
    let parent = if parent.starts_with('/') { parent } else { joined(&["/", &parent]) };
    let mut out = if original.is_empty() { parent.clone() } else { original.clone() };
    out = without_drive(&out, os, keep_slash)?;
    if !out.starts_with('/') {
        out = joined(&[&parent, &out]);
    }
    if keep_slash {
        if original.ends_with('/') && !out.ends_with('/') {
            out.push('/');
        } else if original.ends_with("/.") {
            if out != "/" {
                out.push('/');
            }
            out.push('.');
        }
    }
    Ok(to_slash(&out, os))
}

/// Takes `C:` off a Windows path; elsewhere the path stays as it is.
pub(super) fn without_drive(path: &str, os: &str, keep_slash: bool) -> Result<String, PathError> {
    if os != "windows" {
        return Ok(path.to_owned());
    }
    if path.len() == 2 && path.ends_with(':') {
        return Err(PathError::DriveOnly(path.to_owned()));
    }
    let path = to_slash(path, os);
    if path.starts_with("//") {
        return Err(PathError::Network(path));
    }
    let rest = match path.split_once(':') {
        None => path.as_str(),
        Some((drive, rest)) if drive.eq_ignore_ascii_case("c") => rest,
        Some(_) => return Err(PathError::OtherDrive(path)),
    };
    let mut out = clean_str(rest);
    if keep_slash && out.len() > 1 && rest.ends_with('/') {
        out.push('/');
    }
    Ok(out)
}

pub(super) fn joined(parts: &[&str]) -> String {
    let bytes: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
    join(&bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_paths_stay_as_written_when_absolute() {
        let n = |parent, path, keep| normalize(parent, path, "linux", keep).unwrap();
        assert_eq!(n("/w", "/abs/./x/", false), "/abs/./x/");
        assert_eq!(n("/w", "a/../b", false), "/w/b");
        assert_eq!(n("/w", "x/", true), "/w/x/");
        assert_eq!(n("/w", "x/.", true), "/w/x/.");
        assert_eq!(n("/w", "./", true), "/w/");
    }

    #[test]
    fn windows_paths_lose_their_drive() {
        let n = |path| normalize("/", path, "windows", true);
        assert_eq!(n(r"C:\app\").unwrap(), "/app/");
        assert_eq!(n("app").unwrap(), "/app");
        assert!(n(r"D:\app").is_err());
        assert!(n(r"\\server\share").is_err());
    }
}
