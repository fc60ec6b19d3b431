//! What is in a layer: every path with type, mode and digest, and what it hides of the layers below
//! (OCI image specification, `layer.md`).

use super::error::EvidenceError;
use super::packed::{Metered, bound, text, unpacked};
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

/// One path of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerEntry {
    /// What it is.
    pub kind: LayerKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
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
        let Some((mut reader, hash, size)) = store.hashed(name)? else {
            return Err(EvidenceError::Missing { digest: digest.to_owned() });
        };
        let limit = bound(size).max(expected.saturating_mul(2));
        let read = list(&mut reader, digest, limit);
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
        let found = text(&hash.borrow().clone().finalize());
        if found != digest {
            return Err(EvidenceError::Digest { digest: digest.to_owned(), found });
        }
        read
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

fn list(reader: impl io::BufRead, digest: &str, limit: u64) -> Result<Layer, EvidenceError> {
    let place = || format!("layer {digest}");
    let damaged =
        |error: io::Error| EvidenceError::malformed(place(), format!("not a readable layer: {error}"));
    let (metered, meter) = Metered::new(unpacked(reader).map_err(damaged)?, limit);
    let too_large = |what, limit: String| EvidenceError::TooLarge { place: place(), what, limit };
    let fail = |error: io::Error| {
        if meter.exceeded() {
            return too_large("what it unpacks to", format!("{} MiB", limit >> 20));
        }
        damaged(error)
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
    layer.entries.insert(path, LayerEntry { kind, mode });
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
