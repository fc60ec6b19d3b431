//! The file system of an image: its layers laid over each other, in memory, without the contents of files.

use super::error::EvidenceError;
use super::image::{StoredImage, StoredImages};
use super::layer::{Check, Layer, LayerEntry, LayerKind, resolved};
use super::packed::bound;
use bstr::{BStr, BString, ByteSlice as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an image may cost to read, against those that expand without end.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that one layer may unpack to; `None` for 200 times its size, and 256 MiB at least.
    pub layer: Option<u64>,
    /// Paths in all layers together.
    pub paths: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layer: None, paths: 4_000_000 }
    }
}

/// What an image holds, with the layer that each path comes from.
#[derive(Debug, Default)]
pub struct ImageTree {
    /// By paths without a leading `/`: what each layer says of it, the lowest first.
    paths: BTreeMap<BString, Vec<Version>>,
}

/// What one layer says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which layer.
    pub layer: usize,
    /// What it puts there; `None` if it takes away what was there.
    pub entry: Option<LayerEntry>,
}

impl ImageTree {
    /// Reads all layers of an image, several at the same time. `done` is told how many have been read.
    pub fn read(
        images: &StoredImages,
        image: &StoredImage,
        limits: &Limits,
        done: impl Fn(usize) + Sync,
    ) -> Result<Self, EvidenceError> {
        let count = image.layers.len();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8).min(count);
        let (next, finished, paths) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let read: Mutex<BTreeMap<usize, Result<Layer, EvidenceError>>> = Mutex::default();
        let too_many = || EvidenceError::TooLarge {
            place: images.store.path.display().to_string(),
            what: "the number of its paths",
            limit: limits.paths.to_string(),
        };
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(layer) = image.layers.get(number) else { return };
                let check = match layer.by_content {
                    true => Check::Unpacked(&layer.digest),
                    false => Check::Stored(&layer.digest),
                };
                let limit = |size| limits.layer.unwrap_or(bound(size));
                let mut result = Layer::checked(&images.store, &layer.name, check, limit);
                if let Ok(layer) = &result {
                    let before = paths.fetch_add(layer.len(), Ordering::Relaxed);
                    if before.saturating_add(layer.len()) > limits.paths {
                        result = Err(too_many());
                    }
                }
                let failed = result.is_err();
                if let Ok(mut read) = read.lock() {
                    read.insert(number, result);
                }
                if failed {
                    // The others would be read for nothing.
                    next.store(count, Ordering::Relaxed);
                }
                done(finished.fetch_add(1, Ordering::Relaxed) + 1);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let mut tree = Self::default();
        // A thread that panicked would have been told by now.
        for (number, layer) in read.into_inner().unwrap_or_default() {
            let layer = layer?;
            // An absolute path is taken as one inside, as an engine does; a path that leads out is refused by it.
            let leads_out = |path: &&BString| path.split_str("/").any(|part| part == b"..");
            if let Some(path) = layer.foreign.iter().find(leads_out) {
                let digest = image.layers.get(number).map(|l| l.digest.as_str()).unwrap_or_default();
                return Err(EvidenceError::malformed(
                    format!("layer {digest}"),
                    super::store::leads_out(path),
                ));
            }
            tree.lay(number, layer);
        }
        Ok(tree)
    }

    /// Lays a layer over those below.
    fn lay(&mut self, number: usize, layer: Layer) {
        for path in &layer.opaque {
            self.clear_below(number, path);
        }
        for path in &layer.deleted {
            self.clear(number, path.as_bstr());
        }
        for (path, entry) in layer.entries {
            if entry.kind != LayerKind::Dir {
                self.clear_below(number, &path);
            }
            let entry = match &entry.kind {
                // Another name of a file in a layer below.
                LayerKind::Hardlink { target } => match self.get(target) {
                    Some(found) => found.clone(),
                    None => entry,
                },
                _ => entry,
            };
            self.put(path, Version { layer: number, entry: Some(entry) });
        }
    }

    fn put(&mut self, path: BString, version: Version) {
        let versions = self.paths.entry(path).or_default();
        // Deleted and made again by one layer.
        if versions.last().is_some_and(|v| v.layer == version.layer) {
            versions.pop();
        }
        versions.push(version);
    }

    fn clear(&mut self, layer: usize, path: &BStr) {
        if self.get(path).is_some() {
            self.put(path.into(), Version { layer, entry: None });
        }
        self.clear_below(layer, path);
    }

    fn clear_below(&mut self, layer: usize, path: &[u8]) {
        let mut start = BString::from(path);
        if !path.is_empty() {
            start.push(b'/');
        }
        let from = self.paths.range_mut(start.clone()..);
        for (_, versions) in from.take_while(|(p, _)| p.starts_with(&start)) {
            if versions.last().is_some_and(|v| v.entry.is_some() && v.layer < layer) {
                versions.push(Version { layer, entry: None });
            }
        }
    }

    /// What is at a path without a leading `/` in the end; links on the way are not followed.
    pub fn get(&self, path: &[u8]) -> Option<&LayerEntry> {
        self.versions(path).last()?.entry.as_ref()
    }

    /// What the layers say of a path, the lowest first.
    pub fn versions(&self, path: &[u8]) -> &[Version] {
        self.paths.get(path.as_bstr()).map(Vec::as_slice).unwrap_or_default()
    }

    /// The layer that gave a path what it has in the end, or took it away. Layers above that write the same content
    /// again change owners, modes or times.
    pub fn writer(&self, path: &[u8]) -> Option<usize> {
        let versions = self.versions(path);
        let kind = |v: &Version| v.entry.as_ref().map(|e| e.kind.clone());
        let last = kind(versions.last()?);
        versions.iter().rev().take_while(|v| kind(v) == last).last().map(|v| v.layer)
    }

    /// Whether a layer changes what is at a path: its content, not its owner, mode or times.
    pub fn changes(&self, layer: usize, path: &[u8]) -> bool {
        let versions = self.versions(path);
        let Some(at) = versions.iter().position(|v| v.layer == layer) else { return false };
        let kind = |at: usize| versions.get(at).and_then(|v| v.entry.as_ref()).map(|e| &e.kind);
        at.checked_sub(1).and_then(kind) != kind(at)
    }

    /// Whether a path is a directory in the end. The root is one.
    pub fn is_dir(&self, path: &[u8]) -> bool {
        path.is_empty() || self.get(path).is_some_and(|e| e.kind == LayerKind::Dir)
    }

    /// Everything that is there in the end.
    pub fn entries(&self) -> impl Iterator<Item = (&BString, &LayerEntry)> {
        self.paths.iter().filter_map(|(path, versions)| Some((path, versions.last()?.entry.as_ref()?)))
    }

    /// Where a path leads when links to directories on the way are followed, and the last part if `whole`; links stay
    /// inside the root.
    pub fn resolved(&self, path: &[u8], whole: bool) -> BString {
        resolved(path, whole, |at| self.get(at))
    }

    /// The contents of regular files, by path, as far as they have no more than `limit` bytes.
    pub fn contents(
        &self,
        images: &StoredImages,
        image: &StoredImage,
        wanted: &BTreeSet<BString>,
        limit: u64,
    ) -> BTreeMap<BString, Vec<u8>> {
        let mut by_layer: BTreeMap<usize, BTreeSet<BString>> = BTreeMap::new();
        for path in wanted {
            let versions = self.versions(path);
            if let Some(Version { layer, entry: Some(LayerEntry { kind: LayerKind::File { size, .. }, .. }) }) =
                versions.last()
                && *size <= limit
            {
                by_layer.entry(*layer).or_default().insert(path.clone());
            }
        }
        let mut out = BTreeMap::new();
        for (number, wanted) in by_layer {
            let Some(layer) = image.layers.get(number) else { continue };
            // It has been read once already; what fails now is left out.
            if let Ok(found) = Layer::contents(&images.store, &layer.name, &wanted, limit) {
                out.extend(found);
            }
        }
        out
    }
}
