//! What is in a layer: every path with type, mode and digest, and what it hides of the layers below
//! (OCI image specification, `layer.md`).

use super::error::EvidenceError;
use super::packed::{Hashing, Limit, Metered, bound, text, unpacked};
use super::store::{Store, leads_out, shortened};
use crate::context::path::clean;
use bstr::{BString, ByteSlice as _};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, Read};

/// Most paths in a layer.
const PATHS: usize = 1_000_000;
/// Most bytes of all paths of a layer.
const NAMES: usize = 256 << 20;

/// A layer that has been read.
#[derive(Debug, Default)]
pub struct Layer {
    /// Paths without a leading `/`; of several entries with one path the last counts.
    pub entries: BTreeMap<BString, LayerEntry>,
    /// Paths below that this layer deletes.
    pub deleted: BTreeSet<BString>,
    /// Directories of which this layer hides everything below.
    pub opaque: BTreeSet<BString>,
    /// Paths that a build does not write: absolute, or leading out of the root.
    pub foreign: Vec<BString>,
}

/// How to know that a layer is the one that was meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check<'d> {
    /// by the digest of its bytes as they are stored
    Stored(&'d str),
    /// by the digest of its bytes when unpacked, as in old archives of `docker save`
    Unpacked(&'d str),
}

impl<'d> Check<'d> {
    fn digest(&self) -> &'d str {
        match self {
            Check::Stored(digest) | Check::Unpacked(digest) => digest,
        }
    }
}

/// One path of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerEntry {
    /// What it is.
    pub kind: LayerKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Time of the last change in seconds since 1970.
    pub mtime: i64,
}

impl LayerEntry {
    /// Whether two are the same but for their times.
    pub fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.mode == other.mode
    }
}

/// What a path of a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// a regular file
    File {
        /// bytes
        size: u64,
        /// `sha256:…` of its content
        digest: String,
    },
    /// a directory
    Dir,
    /// a symbolic link with its text
    Symlink {
        /// the text
        target: BString,
    },
    /// another name of a file that this layer does not hold
    Hardlink {
        /// the path of that file
        target: BString,
    },
    /// a device, named by its type
    Device(&'static str),
    /// a named pipe
    Fifo,
}

impl Layer {
    /// Reads a layer: plain, gzip or zstd. `digest` is what its bytes must hash to; `expected` is what it should
    /// hold when unpacked, in bytes, if that is known.
    pub(super) fn read(
        store: &Store,
        name: &str,
        digest: &str,
        expected: u64,
    ) -> Result<Self, EvidenceError> {
        let limit = |size: u64| bound(size).max(expected.saturating_mul(2));
        Self::checked(store, name, Check::Stored(digest), limit)
    }

    /// The same with another way to check it and any bound, which is asked for with the size of the blob.
    pub(super) fn checked(
        store: &Store,
        name: &str,
        check: Check<'_>,
        limit: impl FnOnce(u64) -> u64,
    ) -> Result<Self, EvidenceError> {
        let digest = check.digest();
        let Some((mut reader, hash, size)) = store.hashed(name)? else {
            return Err(EvidenceError::Missing { digest: digest.to_owned() });
        };
        let limit = match store.is_elsewhere() {
            false => Limit::from(limit(size)),
            true => Limit::growing(limit(0), reader.get_ref().passed()),
        };
        let (read, inner) = list(&mut reader, check, limit);
        if store.is_elsewhere() && matches!(read, Err(EvidenceError::TooLarge { .. })) {
            // The rest may have no end.
            return read;
        }
        // Packed data behind the end of the archive belongs to the blob as well. A blob that is not what its name
        // says is told as such, whatever else may be wrong with it.
        let rest = loop {
            match reader.fill_buf().map(<[u8]>::len) {
                Ok(0) => break Ok(()),
                Ok(n) => reader.consume(n),
                Err(error) => break Err(error),
            }
        };
        rest.map_err(|source| EvidenceError::Read { path: store.path.join(name), source })?;
        let found = match check {
            Check::Stored(_) => text(&hash.borrow().clone().finalize()),
            // What is in it cannot be hashed if it cannot be unpacked.
            Check::Unpacked(_) if read.is_err() => return read,
            Check::Unpacked(_) => inner,
        };
        if found != digest {
            return Err(EvidenceError::Digest { digest: digest.to_owned(), found });
        }
        read
    }

    /// The contents of some regular files of a layer, by their paths without a leading `/`; those with more than
    /// `limit` bytes are left out. The layer has been read before, so what is wrong with it has been told.
    pub(super) fn contents(
        store: &Store,
        name: &str,
        wanted: &BTreeSet<BString>,
        limit: u64,
    ) -> io::Result<BTreeMap<BString, Vec<u8>>> {
        let mut out = BTreeMap::new();
        let Ok(Some((mut reader, hash, _))) = store.hashed(name) else { return Ok(out) };
        let limited = Limit::growing(bound(0), reader.get_ref().passed());
        let mut archive = tar::Archive::new(match store.is_elsewhere() {
            false => unpacked(&mut reader)?,
            true => Box::new(Metered::new(unpacked(&mut reader)?, limited).0),
        });
        for entry in archive.entries()? {
            let entry = entry?;
            let path = clean([b"/", entry.path_bytes().as_ref()].concat());
            let path: BString = path.trim_start_with(|c| c == '/').into();
            if wanted.contains(&path) && entry.header().entry_type().is_file() && entry.size() <= limit {
                let mut bytes = Vec::new();
                entry.take(limit).read_to_end(&mut bytes)?;
                // Of several entries the last counts, as when the layer was read.
                out.insert(path, bytes);
            }
        }
        drop(archive);
        if store.is_elsewhere() {
            // What came this time may be something else.
            io::copy(&mut reader, &mut io::sink())?;
            let found = text(&hash.borrow().clone().finalize());
            if Store::blob_name(&found).ok().as_deref() != Some(name) {
                out.clear();
            }
        }
        Ok(out)
    }

    /// Reads an archive that ADD is given: none if it is no archive, or the reason why nobody here can tell.
    pub(super) fn of_archive(path: &std::path::Path) -> Result<Option<Self>, String> {
        let read = || -> io::Result<_> {
            let file = std::fs::File::open(path)?;
            let size = file.metadata()?.len();
            let mut reader = io::BufReader::with_capacity(128 << 10, file);
            let start = reader.fill_buf()?.to_vec();
            Ok((reader, start, size))
        };
        let (reader, start, size) = read().map_err(|e| e.to_string())?;
        for (magic, name) in [(&b"BZh"[..], "bzip2"), (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz")] {
            if start.starts_with(magic) {
                return Err(format!("{name} is not read here"));
            }
        }
        let mut first = Vec::with_capacity(512);
        let mut reader = match unpacked(reader) {
            Ok(reader) => reader,
            Err(_) => return Ok(None),
        };
        // As Docker decides: an archive is what begins with a readable header.
        if (&mut reader).take(512).read_to_end(&mut first).is_err() || !is_header(&first) {
            return Ok(None);
        }
        let rest = io::Cursor::new(first).chain(reader);
        let read = list_unpacked(rest, &path.display().to_string(), bound(size).into());
        read.map(Some).map_err(|e| e.to_string())
    }

    /// Number of its paths, those that it takes away included.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.deleted.len() + self.opaque.len()
    }

    /// Makes hard links into what they are names of, where this layer holds that.
    fn join_links(&mut self) {
        let links: Vec<(BString, BString)> = self
            .entries
            .iter()
            .filter_map(|(path, entry)| match &entry.kind {
                LayerKind::Hardlink { target } => Some((path.clone(), target.clone())),
                _ => None,
            })
            .collect();
        for (path, target) in links {
            // A writer names a file before its other names, so one step is enough.
            let Some(found) = self.entries.get(&target).cloned() else { continue };
            if let Some(entry) = self.entries.get_mut(&path) {
                *entry = found;
            }
        }
    }
}

/// What is in a layer, and the digest of its unpacked bytes if that is to be checked.
fn list(reader: impl io::BufRead, check: Check<'_>, limit: Limit) -> (Result<Layer, EvidenceError>, String) {
    let place = format!("layer {}", check.digest());
    let unpacked = match unpacked(reader) {
        Ok(unpacked) => unpacked,
        Err(error) => return (Err(damaged(&place, &error)), String::new()),
    };
    if let Check::Stored(_) = check {
        return (list_unpacked(unpacked, &place, limit), String::new());
    }
    let (hashing, hash) = Hashing::new(unpacked);
    let read = list_unpacked(hashing, &place, limit);
    let found = text(&hash.borrow().clone().finalize());
    (read, found)
}

fn damaged(place: &str, error: &io::Error) -> EvidenceError {
    EvidenceError::malformed(place, format!("not a readable layer: {error}"))
}

/// Whether a block begins an archive: its checksum is that of a header.
fn is_header(block: &[u8]) -> bool {
    let Ok(bytes) = <&[u8; 512]>::try_from(block) else { return false };
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(bytes);
    let Ok(stated) = header.cksum() else { return false };
    let counted =
        bytes.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) });
    counted.sum::<u32>() == stated
}

fn list_unpacked(reader: impl Read, place: &str, limit: Limit) -> Result<Layer, EvidenceError> {
    let (metered, meter) = Metered::new(reader, limit);
    let too_large = |what, limit: String| EvidenceError::TooLarge { place: place.to_owned(), what, limit };
    let fail = |error: io::Error| {
        if meter.exceeded() {
            return too_large("what it unpacks to", format!("{} MiB", meter.bound() >> 20));
        }
        damaged(place, &error)
    };
    let mut archive = tar::Archive::new(metered);
    let mut layer = Layer::default();
    let mut names = 0;
    let mut count = 0;
    meter.headers();
    for entry in archive.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        meter.anything();
        let path = entry.path_bytes().into_owned();
        let target = entry.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default();
        (names, count) = (names + path.len() + target.len(), count + 1);
        if count > PATHS || names > NAMES {
            return Err(too_large("the number of its paths", PATHS.to_string()));
        }
        add(&mut layer, &mut entry, &path, &target).map_err(fail)?;
        // A writer's padding, and whatever was not read of the entry.
        io::copy(&mut entry, &mut io::sink()).map_err(fail)?;
        meter.headers();
    }
    meter.anything();
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(fail)?;
    layer.join_links();
    Ok(layer)
}

fn add(
    layer: &mut Layer,
    entry: &mut tar::Entry<'_, impl Read>,
    path: &[u8],
    target: &[u8],
) -> io::Result<()> {
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() {
        return Ok(());
    }
    if path.starts_with(b"/") || path.split_str("/").any(|part| part == b"..") {
        layer.foreign.push(path.into());
    }
    let inside =
        |path: &[u8]| -> BString { clean([b"/", path].concat()).trim_start_with(|c| c == '/').into() };
    let path = inside(path);
    if path.is_empty() {
        return Ok(());
    }
    let (folder, name) = match path.rsplit_once_str("/") {
        Some((folder, name)) => (folder, name),
        None => (&b""[..], path.as_slice()),
    };
    if name == b".wh..wh..opq" {
        layer.opaque.insert(folder.into());
        return Ok(());
    }
    if let Some(hidden) = name.strip_prefix(b".wh.") {
        let mut hidden_path = BString::from(folder);
        if !folder.is_empty() {
            hidden_path.push(b'/');
        }
        hidden_path.extend_from_slice(hidden);
        layer.deleted.insert(hidden_path);
        return Ok(());
    }
    let kind = match kind {
        tar::EntryType::Directory => LayerKind::Dir,
        tar::EntryType::Symlink => LayerKind::Symlink { target: target.into() },
        tar::EntryType::Link => LayerKind::Hardlink { target: inside(target) },
        tar::EntryType::Char => LayerKind::Device("character device"),
        tar::EntryType::Block => LayerKind::Device("block device"),
        tar::EntryType::Fifo => LayerKind::Fifo,
        _ => {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; 64 << 10];
            let mut size = 0;
            loop {
                match entry.read(&mut buffer)? {
                    0 => break,
                    n => {
                        size += n as u64;
                        hash.update(buffer.get(..n).unwrap_or_default());
                    }
                }
            }
            if size != entry.size() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of a file"));
            }
            LayerKind::File { size, digest: text(&hash.finalize()) }
        }
    };
    let mode = entry.header().mode().unwrap_or(0) & 0o7777;
    let mtime = entry.header().mtime().ok().and_then(|t| i64::try_from(t).ok()).unwrap_or(0);
    layer.entries.insert(path, LayerEntry { kind, mode, mtime });
    Ok(())
}

impl Layer {
    /// Why nobody should use this layer, whatever it is called: names that no build writes.
    pub(super) fn refuse_foreign(&self, digest: &str) -> Result<(), EvidenceError> {
        match self.foreign.first() {
            Some(path) => Err(EvidenceError::malformed(format!("layer {digest}"), leads_out(path))),
            None => Ok(()),
        }
    }

    /// The same for a device.
    pub(super) fn refuse_device(path: &[u8], kind: &str, digest: &str) -> EvidenceError {
        let path = shortened(&path.to_str_lossy());
        EvidenceError::malformed(
            format!("layer {digest}"),
            format!("{path} is a {kind}, which no COPY brings"),
        )
    }
}

/// The parts of a path, the last one first.
pub(super) fn parts(path: &[u8]) -> impl Iterator<Item = BString> {
    path.rsplit(|b| *b == b'/').filter(|p| !p.is_empty()).map(BString::from)
}

/// Where a path leads among entries when links on the way are followed, and the last part if `whole`; links stay
/// inside the root.
pub(super) fn resolved<'e>(
    path: &[u8],
    whole: bool,
    get: impl Fn(&[u8]) -> Option<&'e LayerEntry>,
) -> BString {
    let mut out = BString::default();
    let mut rest: Vec<BString> = parts(path).collect();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match part.as_slice() {
            b"." => continue,
            b".." => {
                let cut = out.rfind_byte(b'/').unwrap_or(0);
                out.truncate(cut);
                continue;
            }
            _ => {}
        }
        let length = out.len();
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(&part);
        if rest.is_empty() && !whole {
            break;
        }
        let Some(LayerEntry { kind: LayerKind::Symlink { target }, .. }) = get(&out) else { continue };
        links += 1;
        if links > 255 {
            break;
        }
        out.truncate(if target.starts_with(b"/") { 0 } else { length });
        rest.extend(parts(target));
    }
    out
}
