//! Writing a file whole or not at all.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes a file so that a reader finds the old content or the new one, never a part. A link is written through, the
/// permissions stay; what is no regular file (`/dev/stdout`, a pipe) is written to as it is.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (target, known) = match std::fs::canonicalize(path) {
        Ok(target) => {
            let meta = std::fs::metadata(&target)?;
            if !meta.is_file() {
                return std::fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
            }
            (target, Some(meta.permissions()))
        }
        // A link that leads to a place where nothing is yet.
        Err(_) if path.symlink_metadata().is_ok() => return std::fs::write(path, bytes),
        Err(_) => (path.to_path_buf(), None),
    };
    // Renaming does not ask whether the file may be written to.
    if known.as_ref().is_some_and(std::fs::Permissions::readonly) {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    let part = beside(&target);
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&part)?;
        file.write_all(bytes)?;
        if let Some(permissions) = known {
            file.set_permissions(permissions)?;
        }
        std::fs::rename(&part, &target)
    };
    let written = write();
    // A part that was there before is somebody else's.
    if written.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists) {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// A name of our own in the same folder, hidden.
fn beside(target: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    target.with_file_name(name)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn links_are_written_through_and_permissions_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn new_files_appear_and_protected_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        write_whole(&dir.path().join("new"), b"1").unwrap();
        assert_eq!(std::fs::read(dir.path().join("new")).unwrap(), b"1");
        std::fs::set_permissions(dir.path().join("new"), std::fs::Permissions::from_mode(0o444)).unwrap();
        assert!(write_whole(&dir.path().join("new"), b"2").is_err());
        assert!(write_whole(&dir.path().join("no/such"), b"1").is_err());
        write_whole(Path::new("/dev/null"), b"1").unwrap();
    }
}
