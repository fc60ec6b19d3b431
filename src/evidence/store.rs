//! Where documents and layers are: a folder or an archive, read in place.

use super::error::EvidenceError;
use super::packed::{Hashing, Metered, Packing, bound, text, unpacked};
use crate::context::path::clean;
use bstr::ByteSlice as _;
use sha2::Digest as _;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

/// Most bytes of a document.
const DOCUMENT: u64 = 32 << 20;
/// Most files in an archive.
const FILES: usize = 200_000;

/// A folder or an archive that holds blobs under their digests.
#[derive(Debug)]
pub struct Store {
    /// Where it is, or what it is called.
    pub path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder,
    Archive { file: File, packed: bool, files: HashMap<String, Place>, links: HashMap<String, String> },
    Other(Box<dyn Blobs>),
}

/// Another place that holds the files of an OCI image layout: a registry, for example.
pub trait Blobs: std::fmt::Debug + Send + Sync {
    /// A file by its path in the layout (`index.json`, `blobs/sha256/…`), and its size in bytes; none if it is not
    /// there. What is read is checked against its digest by the caller.
    fn open(&self, name: &str) -> Result<Option<OpenFile<'_>>, EvidenceError>;

    /// Whether a file is there, without reading it.
    fn has(&self, name: &str) -> Result<bool, EvidenceError>;
}

/// A part of a file. Several may be read at the same time.
struct Part<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl io::Seek for Part<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            io::SeekFrom::Start(at) => (at, 0),
            io::SeekFrom::Current(offset) => (self.at, offset),
            io::SeekFrom::End(offset) => (self.end, offset),
        };
        let at = base.checked_add_signed(offset);
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let length = buf.len().min(left);
        let Some(buf) = buf.get_mut(..length).filter(|b| !b.is_empty()) else { return Ok(0) };
        #[cfg(unix)]
        let n = std::os::unix::fs::FileExt::read_at(self.file, buf, self.at)?;
        #[cfg(windows)]
        let n = std::os::windows::fs::FileExt::seek_read(self.file, buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Where a file is in an archive, in bytes after unpacking.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    size: u64,
}

pub(super) use crate::image::is_digest;

/// The digest of a document.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    text(&sha2::Sha256::digest(bytes))
}

/// What a file holds, and its size.
pub type OpenFile<'s> = (Box<dyn Read + 's>, u64);

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
        let file = File::open(path).map_err(fail)?;
        Self::archive(path, file, metadata.len(), bound(metadata.len()))
    }

    /// The same for reading all of it: an archive that is packed as a whole is unpacked once, into a file that has no
    /// name and goes with the store. `limit` is how many bytes it may unpack to, if not as many as is usual.
    pub fn open_unpacked(path: &Path, limit: Option<u64>) -> Result<Self, EvidenceError> {
        let store = Self::open(path)?;
        match store.kind {
            Kind::Archive { file, packed: true, .. } => {
                let fail = |source| EvidenceError::Read { path: path.to_path_buf(), source };
                let size = file.metadata().map_err(fail)?.len();
                let reader = BufReader::new(Part { file: &file, at: 0, end: size });
                let reader = unpacked(reader).map_err(fail)?;
                Self::spooled(path, reader, limit.unwrap_or(bound(size)))
            }
            kind => Ok(Self { path: store.path, kind }),
        }
    }

    /// An archive from a stream, such as standard input or the answer of an engine. It is kept in a file that has no
    /// name and goes with the store. `name` is what messages call it, `limit` how many bytes it may unpack to, if not
    /// as many as is usual.
    pub fn from_stream(name: &str, reader: impl Read, limit: Option<u64>) -> Result<Self, EvidenceError> {
        let path = Path::new(name);
        let fail = |source| EvidenceError::Read { path: path.to_path_buf(), source };
        let mut file = tempfile::tempfile().map_err(fail)?;
        let size = io::copy(&mut BufReader::with_capacity(128 << 10, reader), &mut file).map_err(fail)?;
        file.rewind().map_err(fail)?;
        let mut reader = BufReader::with_capacity(128 << 10, Part { file: &file, at: 0, end: size });
        if Packing::of(reader.fill_buf().map_err(fail)?) == Packing::None {
            drop(reader);
            return Self::archive(path, file, size, bound(size));
        }
        let reader = unpacked(reader).map_err(fail)?;
        Self::spooled(path, reader, limit.unwrap_or(bound(size)))
    }

    /// Keeps unpacked data in a file without a name.
    fn spooled(path: &Path, reader: impl Read, limit: u64) -> Result<Self, EvidenceError> {
        let fail = |source| EvidenceError::Read { path: path.to_path_buf(), source };
        let mut file = tempfile::tempfile().map_err(fail)?;
        let (mut metered, meter) = Metered::new(reader, limit);
        let size = io::copy(&mut metered, &mut file).map_err(|source| match meter.exceeded() {
            true => EvidenceError::TooLarge {
                place: path.display().to_string(),
                what: "what it unpacks to",
                limit: format!("{} MiB", limit >> 20),
            },
            false => fail(source),
        })?;
        Self::archive(path, file, size, size.saturating_add(1))
    }

    fn archive(path: &Path, file: File, size: u64, bound: u64) -> Result<Self, EvidenceError> {
        let fail = |source| EvidenceError::Read { path: path.to_path_buf(), source };
        let mut reader = BufReader::with_capacity(64 << 10, Part { file: &file, at: 0, end: size });
        let packed = Packing::of(reader.fill_buf().map_err(fail)?) != Packing::None;
        let name = path.display().to_string();
        let (files, links) = match packed {
            true => index(unpacked(reader).map_err(fail)?, &name, bound)?,
            false => index_plain(reader, &name, size)?,
        };
        if files.is_empty() {
            return Err(EvidenceError::Kind {
                path: path.to_path_buf(),
                message: "it is neither a folder nor a tar archive".to_owned(),
            });
        }
        Ok(Self { path: path.to_path_buf(), kind: Kind::Archive { file, packed, files, links } })
    }

    /// Files that are neither in a folder nor in an archive, and what messages call the place.
    pub fn of_blobs(name: &str, blobs: Box<dyn Blobs>) -> Self {
        Self { path: PathBuf::from(name), kind: Kind::Other(blobs) }
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
            Kind::Archive { file, packed, files, links } => {
                let Some(place) = files.get(name).or_else(|| files.get(links.get(name)?)) else {
                    return Ok(None);
                };
                let fail = |source| EvidenceError::Read { path: self.path.clone(), source };
                if !packed {
                    let part = Part { file, at: place.start, end: place.start.saturating_add(place.size) };
                    return Ok(Some((Box::new(part), place.size)));
                }
                let size = file.metadata().map_err(fail)?.len();
                let mut reader = unpacked(BufReader::new(Part { file, at: 0, end: size })).map_err(fail)?;
                io::copy(&mut (&mut reader).take(place.start), &mut io::sink()).map_err(fail)?;
                Ok(Some((Box::new(reader.take(place.size)), place.size)))
            }
            Kind::Other(blobs) => blobs.open(name),
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
        let found = digest_of(&bytes);
        if found != digest {
            return Err(EvidenceError::Digest { digest: digest.to_owned(), found });
        }
        Ok(bytes)
    }

    /// Whether what is read comes from somewhere that says what it likes, also about sizes, and another time something
    /// else.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self.kind, Kind::Other(_))
    }

    /// Whether a file is there.
    pub(super) fn has(&self, name: &str) -> Result<bool, EvidenceError> {
        if safe(name.as_bytes()).is_none() {
            return Ok(false);
        }
        Ok(match &self.kind {
            Kind::Folder => std::fs::metadata(self.path.join(name)).is_ok_and(|m| m.is_file()),
            Kind::Archive { files, links, .. } => {
                files.contains_key(name) || links.get(name).is_some_and(|to| files.contains_key(to))
            }
            Kind::Other(blobs) => blobs.has(name)?,
        })
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

/// The files of an archive that can only be read from its start, without their contents.
fn index(reader: impl Read, name: &str, bound: u64) -> Result<Index, EvidenceError> {
    let (metered, meter) = Metered::new(reader, bound);
    let mut archive = tar::Archive::new(metered);
    let fail = |error: io::Error| {
        if meter.exceeded() {
            return EvidenceError::TooLarge {
                place: name.to_owned(),
                what: "what it unpacks to",
                limit: format!("{} MiB", bound >> 20),
            };
        }
        unreadable(name, &error)
    };
    let mut out = Index::default();
    for entry in archive.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        note(&mut out, &entry, name)?;
        io::copy(&mut entry, &mut io::sink()).map_err(fail)?;
    }
    Ok(out)
}

/// The same for a file, of which the headers alone are read.
fn index_plain(reader: BufReader<Part<'_>>, name: &str, size: u64) -> Result<Index, EvidenceError> {
    let mut archive = tar::Archive::new(reader);
    let fail = |error: io::Error| unreadable(name, &error);
    let mut out = Index::default();
    for entry in archive.entries_with_seek().map_err(fail)? {
        let entry = entry.map_err(fail)?;
        note(&mut out, &entry, name)?;
        if entry.raw_file_position().saturating_add(entry.size()) > size {
            return Err(fail(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
    }
    Ok(out)
}

fn unreadable(name: &str, error: &io::Error) -> EvidenceError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return EvidenceError::malformed(
            name,
            "the archive ends in the middle of a file: it is not complete",
        );
    }
    EvidenceError::malformed(name, format!("not a readable tar archive: {error}"))
}

fn note(out: &mut Index, entry: &tar::Entry<'_, impl Read>, name: &str) -> Result<(), EvidenceError> {
    let (files, links) = out;
    let kind = entry.header().entry_type();
    let path = entry.path_bytes().into_owned();
    let clean_path = safe(&path).ok_or_else(|| EvidenceError::malformed(name, leads_out(&path)))?;
    if files.len() + links.len() >= FILES {
        return Err(EvidenceError::TooLarge {
            place: name.to_owned(),
            what: "the number of its files",
            limit: FILES.to_string(),
        });
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
    Ok(())
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
