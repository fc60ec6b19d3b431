//! Where documents and layers are: a folder or an archive, read in place.

use super::error::EvidenceError;
use super::packed::{Hashing, Metered, Packing, bound, text, unpacked};
use crate::context::path::clean;
use bstr::ByteSlice as _;
use sha2::Digest as _;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Most bytes of a document.
const DOCUMENT: u64 = 32 << 20;
/// Most files in an archive.
const FILES: usize = 200_000;

/// A folder or an archive that holds blobs under their digests.
#[derive(Debug)]
pub struct Store {
    /// Where it is.
    pub path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder,
    Archive { packed: bool, files: HashMap<String, Place>, links: HashMap<String, String> },
}

/// Where a file is in an archive, in bytes after unpacking.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    size: u64,
}

/// Whether a digest is written as it should be, so that it can be a file name.
pub(super) fn is_digest(digest: &str) -> bool {
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// What a file holds, and its size.
type OpenFile<'s> = (Box<dyn Read + 's>, u64);

impl Store {
    /// Looks at a folder or archive. Of an archive only the headers are read.
    pub fn open(path: &Path) -> Result<Self, EvidenceError> {
        let fail = |source| EvidenceError::Read { path: path.to_path_buf(), source };
        let metadata = std::fs::metadata(path).map_err(fail)?;
        if metadata.is_dir() {
            return Ok(Self { path: path.to_path_buf(), kind: Kind::Folder });
        }
        if !metadata.is_file() {
            return Err(fail(io::Error::other("neither a folder nor a file")));
        }
        let mut file = BufReader::new(File::open(path).map_err(fail)?);
        let packed = Packing::of(file.fill_buf().map_err(fail)?) != Packing::None;
        let name = path.display().to_string();
        let reader = unpacked(file).map_err(fail)?;
        let (files, links) = index(reader, &name, bound(metadata.len()))?;
        if files.is_empty() {
            return Err(EvidenceError::Kind {
                path: path.to_path_buf(),
                message: "it is neither a folder nor a tar archive".to_owned(),
            });
        }
        Ok(Self { path: path.to_path_buf(), kind: Kind::Archive { packed, files, links } })
    }

    /// A file by its path in the folder or archive, with its size; none if it is not there.
    pub(super) fn file(&self, name: &str) -> Result<Option<OpenFile<'_>>, EvidenceError> {
        if safe(name.as_bytes()).is_none() {
            return Err(EvidenceError::malformed(
                self.path.display().to_string(),
                leads_out(name.as_bytes()),
            ));
        }
        match &self.kind {
            Kind::Folder => {
                let path = self.path.join(name);
                let fail = |source| EvidenceError::Read { path: path.clone(), source };
                match std::fs::metadata(&path) {
                    // A named pipe would never end, and a device hold more than the world.
                    Ok(metadata) if !metadata.is_file() => Err(fail(io::Error::other("not a regular file"))),
                    Ok(metadata) => Ok(Some((Box::new(File::open(&path).map_err(fail)?), metadata.len()))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(fail(error)),
                }
            }
            Kind::Archive { packed, files, links } => {
                let Some(place) = files.get(name).or_else(|| files.get(links.get(name)?)) else {
                    return Ok(None);
                };
                let fail = |source| EvidenceError::Read { path: self.path.clone(), source };
                let mut file = File::open(&self.path).map_err(fail)?;
                if !packed {
                    file.seek(SeekFrom::Start(place.start)).map_err(fail)?;
                    return Ok(Some((Box::new(file.take(place.size)), place.size)));
                }
                let mut reader = unpacked(BufReader::new(file)).map_err(fail)?;
                io::copy(&mut (&mut reader).take(place.start), &mut io::sink()).map_err(fail)?;
                Ok(Some((Box::new(reader.take(place.size)), place.size)))
            }
        }
    }

    /// A document that has no digest, such as `index.json`.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, EvidenceError> {
        let Some((reader, size)) = self.file(name)? else { return Ok(None) };
        self.read_document(name, reader, size).map(Some)
    }

    fn read_document(&self, name: &str, reader: impl Read, size: u64) -> Result<Vec<u8>, EvidenceError> {
        if size > DOCUMENT {
            return Err(EvidenceError::TooLarge {
                place: name.to_owned(),
                what: "its size",
                limit: format!("{} MiB", DOCUMENT >> 20),
            });
        }
        let mut bytes = Vec::new();
        // The file may have grown since.
        let read = reader.take(DOCUMENT).read_to_end(&mut bytes);
        read.map_err(|source| EvidenceError::Read { path: self.path.join(name), source })?;
        Ok(bytes)
    }

    /// The path of a blob; a digest that would lead elsewhere is refused.
    pub(super) fn blob_name(digest: &str) -> Result<String, EvidenceError> {
        match digest.strip_prefix("sha256:") {
            Some(hex) if is_digest(digest) => Ok(format!("blobs/sha256/{hex}")),
            _ => Err(EvidenceError::malformed(shortened(digest), "this is no SHA-256 digest")),
        }
    }

    /// A document by its digest, which is checked.
    pub(super) fn blob(&self, digest: &str) -> Result<Vec<u8>, EvidenceError> {
        let name = Self::blob_name(digest)?;
        let Some((reader, size)) = self.file(&name)? else {
            return Err(EvidenceError::Missing { digest: digest.to_owned() });
        };
        let bytes = self.read_document(digest, reader, size)?;
        let found = text(&sha2::Sha256::digest(&bytes));
        if found != digest {
            return Err(EvidenceError::Digest { digest: digest.to_owned(), found });
        }
        Ok(bytes)
    }

    /// Whether a file is there.
    pub(super) fn has(&self, name: &str) -> bool {
        if safe(name.as_bytes()).is_none() {
            return false;
        }
        match &self.kind {
            Kind::Folder => std::fs::metadata(self.path.join(name)).is_ok_and(|m| m.is_file()),
            Kind::Archive { files, links, .. } => {
                files.contains_key(name) || links.get(name).is_some_and(|to| files.contains_key(to))
            }
        }
    }
}

/// Text of a document in a message, not too much of it.
pub(super) fn shortened(text: &str) -> String {
    let mut out: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().count() > 80 {
        out.push('…');
    }
    format!("`{out}`")
}

type Index = (HashMap<String, Place>, HashMap<String, String>);

/// The files of an archive, without their contents.
fn index(reader: impl Read, name: &str, bound: u64) -> Result<Index, EvidenceError> {
    let (metered, meter) = Metered::new(reader, bound);
    let mut archive = tar::Archive::new(metered);
    let (mut files, mut links) = (HashMap::new(), HashMap::new());
    let too_large = |what, limit: String| EvidenceError::TooLarge { place: name.to_owned(), what, limit };
    let fail = |error: io::Error| {
        if meter.exceeded() {
            return too_large("what it unpacks to", format!("{} MiB", bound >> 20));
        }
        EvidenceError::malformed(name, format!("not a readable tar archive: {error}"))
    };
    for entry in archive.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let kind = entry.header().entry_type();
        let path = entry.path_bytes().into_owned();
        let clean_path = safe(&path).ok_or_else(|| EvidenceError::malformed(name, leads_out(&path)))?;
        if files.len() + links.len() >= FILES {
            return Err(too_large("the number of its files", FILES.to_string()));
        }
        match kind {
            kind if kind.is_file() => {
                let place = Place { start: entry.raw_file_position(), size: entry.size() };
                files.insert(clean_path, place);
            }
            kind if kind.is_symlink() || kind.is_hard_link() => {
                let target = entry.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default();
                let folder = clean_path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let base = if kind.is_symlink() { folder } else { "" };
                // Kept inside by cleaning from the root: `docker save` shares layers through `../ID/layer.tar`.
                let to = clean([b"/", base.as_bytes(), b"/", target.as_slice()].concat());
                links.insert(clean_path, to.trim_start_with(|c| c == '/').to_str_lossy().into_owned());
            }
            kind if kind.is_dir() || kind.is_pax_global_extensions() => {}
            _ => {
                let path = shortened(&path.to_str_lossy());
                let message = format!("{path} is a device or something else that no image archive holds");
                return Err(EvidenceError::malformed(name, message));
            }
        }
        io::copy(&mut entry, &mut io::sink()).map_err(fail)?;
    }
    Ok((files, links))
}

pub(super) fn leads_out(path: &[u8]) -> String {
    format!("{} leads out of the archive; nothing of it is used", shortened(&path.to_str_lossy()))
}

/// A path in an archive, cleaned; none if it is absolute or leads out.
pub(super) fn safe(path: &[u8]) -> Option<String> {
    if path.starts_with(b"/") || path.split_str("/").any(|part| part == b"..") {
        return None;
    }
    let cleaned = clean([b"/", path].concat());
    Some(cleaned.trim_start_with(|c| c == '/').to_str_lossy().into_owned())
}

/// A blob as it is stored, hashed while it is read.
pub(super) type BlobReader<'s> =
    (BufReader<Hashing<Box<dyn Read + 's>>>, std::rc::Rc<std::cell::RefCell<sha2::Sha256>>, u64);

impl Store {
    /// A layer to be read once, with the hash of its bytes and its size.
    pub(super) fn hashed(&self, name: &str) -> Result<Option<BlobReader<'_>>, EvidenceError> {
        let Some((reader, size)) = self.file(name)? else { return Ok(None) };
        let (reader, hash) = Hashing::new(reader);
        Ok(Some((reader, hash, size)))
    }
}
