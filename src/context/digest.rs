//! The digest of one entry: `cache/contenthash/filehash.go` and `tarsum.go`.
//!
//! A header in the manner of old tar sums, then the content. Name, times, inode and link count are not in it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::tree::{Entry, EntryKind, Extended};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// The size of reads; larger ones are no faster, and mapping files is slower.
pub(crate) const BUFFER: usize = 128 << 10;

/// `sha256:` and the digest in hexadecimal.
pub(crate) fn text(hash: &Hash) -> String {
    let mut out = String::with_capacity(7 + 64);
    out.push_str("sha256:");
    for byte in hash {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The same as bytes on the stack, for hashing many.
pub(crate) fn text_bytes(hash: &Hash) -> [u8; 71] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
    for (pair, byte) in out[7..].chunks_exact_mut(2).zip(hash) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    out
}

/// The hash so far after an entry's header. For a directory or a link that is all there is.
pub(crate) fn header(entry: &Entry, extended: &Extended) -> Sha256 {
    let mut text = String::with_capacity(128);
    let (kind, size, device) = match &entry.kind {
        EntryKind::File => ('0', entry.size, (0, 0)),
        // The transfer knows no sockets; they arrive as empty files.
        EntryKind::Socket => ('0', 0, (0, 0)),
        EntryKind::Dir => ('5', 0, (0, 0)),
        EntryKind::Symlink { .. } => ('2', 0, (0, 0)),
        EntryKind::CharDevice { major, minor } => ('3', 0, (*major, *minor)),
        EntryKind::BlockDevice { major, minor } => ('4', 0, (*major, *minor)),
        EntryKind::Fifo => ('6', 0, (0, 0)),
    };
    let mode = entry.mode & 0o7777;
    let _ = write!(text, "namemode{mode}uid{}gid{}size{size}typeflag{kind}linkname", entry.uid, entry.gid);
    let mut hash = Sha256::new_with_prefix(&text);
    if let EntryKind::Symlink { target } = &entry.kind {
        hash.update(target);
    }
    text.clear();
    let _ = write!(text, "unamegnamedevmajor{}devminor{}", device.0, device.1);
    hash.update(&text);
    for (name, value) in extended {
        if counts(name) {
            hash.update(name);
            hash.update(value);
        }
    }
    hash
}

/// Whether an extended attribute is part of the digest.
fn counts(name: &[u8]) -> bool {
    name == b"security.capability"
        || !(name.starts_with(b"security.")
            || name.starts_with(b"system.")
            || name.starts_with(b"com.apple."))
}

/// The digest of a regular file on the disk, and whether it could be opened. If not it arrives empty, and BuildKit
/// says nothing.
pub(crate) fn file(entry: &Entry, path: &Path, buffer: &mut Vec<u8>) -> io::Result<(Hash, bool)> {
    let Ok(mut file) = File::open(path) else {
        return Ok((header(entry, &extended(path)?).finalize().into(), false));
    };
    let mut hash = header(entry, &extended_of_open(&file)?);
    buffer.resize(BUFFER, 0);
    let mut done = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(n) => {
                hash.update(buffer.get(..n).unwrap_or_default());
                done += n as u64;
                // As much as the walk has seen: asking once more for the end costs as much as reading a small file.
                if done == entry.size {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((hash.finalize().into(), true))
}

/// Adds a file's content, all of it. False if it cannot be opened.
pub(crate) fn add_file(hash: &mut Sha256, path: &Path, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let Ok(mut file) = File::open(path) else { return Ok(false) };
    buffer.resize(BUFFER, 0);
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(true),
            Ok(n) => hash.update(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The extended attributes of a file that the transfer carries, by name. A file system without any has none.
#[cfg(target_os = "linux")]
pub(crate) fn extended(path: &Path) -> io::Result<Extended> {
    counted(xattr::list(path), |name| xattr::get(path, name))
}

/// The same of an open file, without another look for its path.
#[cfg(target_os = "linux")]
fn extended_of_open(file: &File) -> io::Result<Extended> {
    use xattr::FileExt as _;
    counted(file.list_xattr(), |name| file.get_xattr(name))
}

#[cfg(target_os = "linux")]
fn counted(
    names: io::Result<xattr::XAttrs>,
    get: impl Fn(&std::ffi::OsStr) -> io::Result<Option<Vec<u8>>>,
) -> io::Result<Extended> {
    use std::os::unix::ffi::OsStrExt as _;
    let names = match names {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Extended::new()),
        // Gone since the walk: who reads the file will find out.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Extended::new()),
        Err(error) => return Err(error),
    };
    let mut out = Extended::new();
    for name in names {
        if !counts(name.as_bytes()) {
            continue;
        }
        // What cannot be read is left out, as there.
        if let Ok(Some(value)) = get(&name) {
            out.insert(name.as_bytes().to_vec(), value);
        }
    }
    Ok(out)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn extended(_: &Path) -> io::Result<Extended> {
    Ok(Extended::new())
}

#[cfg(not(target_os = "linux"))]
fn extended_of_open(_: &File) -> io::Result<Extended> {
    Ok(Extended::new())
}
