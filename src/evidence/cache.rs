//! Exported caches: records, how they were made from one another, and the layers that are their results
//! (`cache/remotecache/v1`).

use super::error::EvidenceError;
use super::oci::{CacheConfig, CacheRecord, Descriptor, ImageConfig, Node, Saved};
use super::store::{Store, is_digest, shortened};
use crate::key::matching::{RecordId, Records};
use base64::Engine as _;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::Path;

/// Most manifests of one cache.
const MANIFESTS: usize = 1000;

/// A cache that a build has exported, all manifests of it taken together.
#[derive(Debug)]
pub struct ExportedCache {
    /// Where the layers are.
    pub store: Store,
    /// What was read.
    pub manifests: Vec<CacheManifest>,
    /// Results of operations.
    pub records: Vec<CacheRecordEntry>,
    /// Layers that records point to.
    pub layers: Vec<CacheLayerEntry>,
}

/// One manifest of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheManifest {
    /// The name it is known by, or its digest.
    pub name: String,
    /// Records inside an image, in place of a cache of its own.
    pub inline: bool,
    /// Number of records.
    pub records: usize,
}

/// The result of an operation, or the mark of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRecordEntry {
    /// What it is looked up by.
    pub digest: String,
    /// Per input, the records it was made from.
    pub inputs: Vec<Vec<CacheLink>>,
    /// What can be taken in place of running the operation.
    pub results: Vec<CacheResultEntry>,
}

/// A record that another one was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheLink {
    /// Digest of the paths that were taken; empty for all.
    pub selector: String,
    /// Index of the record.
    pub from: usize,
}

/// One result of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheResultEntry {
    /// Layers, the top one last; of a single one the layers below follow from [`CacheLayerEntry::parent`].
    pub layers: Vec<usize>,
    /// When it was made, as the cache says.
    pub created: String,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheLayerEntry {
    /// Digest of its bytes as stored.
    pub digest: String,
    /// The layer below.
    pub parent: Option<usize>,
    /// Its path in the store.
    pub(super) name: String,
    /// Whether it is there.
    pub(super) own: bool,
    /// Whether it is there, with all that is below it.
    pub present: bool,
}

impl ExportedCache {
    /// Reads a folder of `--cache-to type=local`, or an image with inline cache: an OCI layout folder, or an archive
    /// of `docker save`, `type=oci` or `type=docker`. `reference` chooses one manifest by its name or digest; without
    /// it, the one called `latest` is taken, as BuildKit does, or else all.
    pub fn open(path: &Path, reference: Option<&str>) -> Result<Self, EvidenceError> {
        Self::of_store(Store::open(path)?, reference, true)
    }

    /// The same for any place that holds the files of an OCI layout. Without `look`, all layers are taken to be there.
    pub fn of_store(store: Store, reference: Option<&str>, look: bool) -> Result<Self, EvidenceError> {
        let path = store.path.clone();
        let cache = ExportedCache { store, manifests: Vec::new(), records: Vec::new(), layers: Vec::new() };
        let mut reading = Reading { cache, read: 0 };
        if let Some(bytes) = reading.cache.store.document("index.json")? {
            let index: Node = json("index.json", &bytes)?;
            reading.index(index, reference)?;
        } else if let Some(bytes) = reading.cache.store.document("manifest.json")? {
            let saved: Vec<Saved> = json("manifest.json", &bytes)?;
            reading.saved(saved, reference)?;
        } else {
            return Err(EvidenceError::Kind {
                path,
                message:
                    "it holds neither index.json (type=local, OCI layout) nor manifest.json (docker save)"
                        .to_owned(),
            });
        }
        let mut cache = reading.cache;
        if cache.manifests.is_empty() {
            return Err(EvidenceError::Kind {
                path,
                message: "there is an image in it but no cache; `--cache-to type=inline` would add one"
                    .to_owned(),
            });
        }
        cache.check_loops()?;
        cache.look_for_layers(look)?;
        Ok(cache)
    }

    /// The records as they are matched, and for each of [`ExportedCache::records`] its number there.
    /// With `present`, a result counts only if its layers are there.
    pub fn database(&self, present: bool) -> (Records, Vec<RecordId>) {
        let mut out = Records::new();
        let ids: Vec<RecordId> = self
            .records
            .iter()
            .map(|record| {
                let has_result = record.results.iter().any(|r| !present || self.is_present(r));
                if record.inputs.is_empty() {
                    out.root(&record.digest, has_result)
                } else {
                    out.push(has_result)
                }
            })
            .collect();
        for (record, to) in self.records.iter().zip(&ids) {
            for (number, links) in record.inputs.iter().enumerate() {
                for link in links {
                    let Some(from) = ids.get(link.from) else { continue };
                    let selector = Some(link.selector.as_str()).filter(|s| !s.is_empty());
                    out.link(*from, number, &record.digest, selector, *to);
                }
            }
        }
        (out, ids)
    }

    /// Whether all layers of a result are there.
    pub fn is_present(&self, result: &CacheResultEntry) -> bool {
        result.layers.iter().all(|l| self.layers.get(*l).is_some_and(|l| l.present))
    }

    /// The layers of a result, the top one first; no more than images can have.
    pub fn chain(&self, result: &CacheResultEntry) -> Vec<usize> {
        if let [only] = result.layers.as_slice() {
            let parent = |at: &usize| self.layers.get(*at).and_then(|l| l.parent);
            return std::iter::successors(Some(*only), parent).take(1024).collect();
        }
        result.layers.iter().rev().copied().collect()
    }

    /// Fails if records are made from themselves, as BuildKit does.
    fn check_loops(&self) -> Result<(), EvidenceError> {
        // Links left to be followed, per record; a record is settled when all it was made from are.
        let mut open: Vec<usize> = self.records.iter().map(|r| r.inputs.iter().map(Vec::len).sum()).collect();
        let mut made: Vec<Vec<usize>> = vec![Vec::new(); self.records.len()];
        for (to, record) in self.records.iter().enumerate() {
            for link in record.inputs.iter().flatten() {
                if let Some(list) = made.get_mut(link.from) {
                    list.push(to);
                }
            }
        }
        let mut ready: Vec<usize> = (0..open.len()).filter(|i| open.get(*i) == Some(&0)).collect();
        let mut settled = 0;
        while let Some(from) = ready.pop() {
            settled += 1;
            for to in made.get(from).into_iter().flatten() {
                if let Some(count) = open.get_mut(*to) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(*to);
                    }
                }
            }
        }
        match self.records.iter().zip(&open).find(|(_, open)| **open > 0) {
            Some((record, _)) if settled < self.records.len() => Err(EvidenceError::malformed(
                format!("record {}", record.digest),
                "it was made from itself: the records form a loop",
            )),
            _ => Ok(()),
        }
    }

    fn look_for_layers(&mut self, look: bool) -> Result<(), EvidenceError> {
        let mut looked: HashMap<&str, bool> = HashMap::new();
        let mut own: Vec<bool> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let here = match looked.get(layer.name.as_str()) {
                Some(here) => *here,
                None => !look || self.store.has(&layer.name)?,
            };
            looked.insert(&layer.name, here);
            own.push(here);
        }
        // Parents have been checked for loops, so following them ends.
        let mut known: Vec<Option<bool>> = vec![None; own.len()];
        for start in 0..own.len() {
            let mut way = Vec::new();
            let mut at = Some(start);
            let end = loop {
                let Some(here) = at else { break true };
                if let Some(known) = known.get(here).copied().flatten() {
                    break known;
                }
                way.push(here);
                at = self.layers.get(here).and_then(|l| l.parent);
            };
            let mut present = end;
            for here in way.into_iter().rev() {
                present &= own.get(here).copied().unwrap_or(false);
                if let Some(slot) = known.get_mut(here) {
                    *slot = Some(present);
                }
            }
        }
        for (layer, (present, own)) in self.layers.iter_mut().zip(known.into_iter().zip(own)) {
            layer.present = present.unwrap_or(false);
            layer.own = own;
        }
        Ok(())
    }
}

struct Reading {
    cache: ExportedCache,
    read: usize,
}

impl Reading {
    fn index(&mut self, index: Node, reference: Option<&str>) -> Result<(), EvidenceError> {
        // `index.json` itself may be the index of a cache in its older form.
        if index.manifests.iter().any(Descriptor::is_cache_config) {
            return self.node(index, "index.json".to_owned(), &mut Vec::new());
        }
        let is = |d: &Descriptor, wanted: &str| {
            d.digest == wanted
                || d.names().any(|n| n == wanted || n.rsplit_once(':').is_some_and(|(_, t)| t == wanted))
        };
        let chosen: Vec<&Descriptor> = match reference {
            Some(wanted) => {
                let found: Vec<&Descriptor> = index.manifests.iter().filter(|d| is(d, wanted)).collect();
                if found.is_empty() {
                    let known =
                        index.manifests.iter().map(|d| d.names().next().unwrap_or(&d.digest).to_owned());
                    return Err(EvidenceError::Reference {
                        path: self.cache.store.path.clone(),
                        wanted: wanted.to_owned(),
                        known: known.collect(),
                    });
                }
                found
            }
            None => {
                let latest: Vec<&Descriptor> = index.manifests.iter().filter(|d| is(d, "latest")).collect();
                if latest.is_empty() { index.manifests.iter().collect() } else { latest }
            }
        };
        // Several names may stand for one manifest.
        let mut done: Vec<&str> = Vec::new();
        for descriptor in chosen {
            if done.contains(&descriptor.digest.as_str()) {
                continue;
            }
            self.count()?;
            done.push(&descriptor.digest);
            let name = descriptor.names().next().unwrap_or(&descriptor.digest).to_owned();
            self.descriptor(descriptor, name)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), EvidenceError> {
        self.read += 1;
        if self.read > MANIFESTS {
            return Err(EvidenceError::TooLarge {
                place: self.cache.store.path.display().to_string(),
                what: "the number of its manifests",
                limit: MANIFESTS.to_string(),
            });
        }
        Ok(())
    }

    /// Follows a descriptor down to configurations, without recursion and each blob once.
    fn descriptor(&mut self, descriptor: &Descriptor, name: String) -> Result<(), EvidenceError> {
        let mut open = vec![descriptor.digest.clone()];
        let mut seen: Vec<String> = Vec::new();
        while let Some(digest) = open.pop() {
            if seen.contains(&digest) {
                continue;
            }
            self.count()?;
            let bytes = match self.cache.store.blob(&digest) {
                // Of an image for several platforms often only one has been fetched.
                Err(EvidenceError::Missing { .. }) if !seen.is_empty() => continue,
                other => other?,
            };
            let node: Node = json(&digest, &bytes)?;
            self.node(node, name.clone(), &mut open)?;
            seen.push(digest);
        }
        Ok(())
    }

    fn node(&mut self, node: Node, name: String, open: &mut Vec<String>) -> Result<(), EvidenceError> {
        if let Some(config) = node.manifests.iter().find(|d| d.is_cache_config()) {
            return self.cache_config(config, name);
        }
        match &node.config {
            Some(config) if config.is_cache_config() => self.cache_config(config, name),
            Some(config) => self.image(config, &node, name),
            None => {
                open.extend(node.manifests.into_iter().map(|d| d.digest));
                Ok(())
            }
        }
    }

    fn cache_config(&mut self, config: &Descriptor, name: String) -> Result<(), EvidenceError> {
        let bytes = self.cache.store.blob(&config.digest)?;
        let config: CacheConfig = json("the cache configuration", &bytes)?;
        let place = "the cache configuration";
        let count = config.layers.len();
        let mut layers = Vec::with_capacity(count);
        for (number, layer) in config.layers.iter().enumerate() {
            let parent = match layer.parent {
                -1 => None,
                parent => match usize::try_from(parent).ok().filter(|p| *p < count) {
                    Some(parent) => Some(parent),
                    None => {
                        let message = format!("layer {number} lies on layer {parent} of {count}");
                        return Err(EvidenceError::malformed(place, message));
                    }
                },
            };
            let name = Store::blob_name(&layer.blob)?;
            layers.push(CacheLayerEntry {
                digest: layer.blob.clone(),
                parent,
                name,
                own: false,
                present: false,
            });
        }
        if let Some(number) = looping(&layers) {
            let message = format!("layer {number} lies on itself: the layers form a loop");
            return Err(EvidenceError::malformed(place, message));
        }
        self.add(place, name, false, layers, config.records)
    }

    fn image(&mut self, config: &Descriptor, manifest: &Node, name: String) -> Result<(), EvidenceError> {
        let bytes = self.cache.store.blob(&config.digest)?;
        // The configuration of an attestation or of anything else that lies in an index is none of ours.
        let Ok(image) = serde_json::from_slice::<ImageConfig>(&bytes) else { return Ok(()) };
        let Some(records) = image.cache else { return Ok(()) };
        let mut layers = Vec::with_capacity(manifest.layers.len());
        for layer in &manifest.layers {
            layers.push((layer.digest.clone(), Store::blob_name(&layer.digest)?));
        }
        self.inline(name, layers, image.rootfs.diff_ids.len(), &records)
    }

    fn saved(&mut self, images: Vec<Saved>, reference: Option<&str>) -> Result<(), EvidenceError> {
        let tag = |name: &str| name.rsplit_once(':').map(|(_, tag)| tag.to_owned());
        let is = |image: &Saved, wanted: &str| {
            image.repo_tags.iter().any(|t| t == wanted || tag(t).as_deref() == Some(wanted))
        };
        if let Some(wanted) = reference
            && !images.iter().any(|i| is(i, wanted))
        {
            return Err(EvidenceError::Reference {
                path: self.cache.store.path.clone(),
                wanted: wanted.to_owned(),
                known: images.into_iter().flat_map(|i| i.repo_tags).collect(),
            });
        }
        for image in images {
            if reference.is_some_and(|wanted| !is(&image, wanted)) {
                continue;
            }
            self.count()?;
            let Some(bytes) = self.cache.store.document(&image.config)? else {
                return Err(EvidenceError::Missing { digest: shortened(&image.config) });
            };
            let config: ImageConfig = json(&image.config, &bytes)?;
            let Some(records) = config.cache else { continue };
            let diff_ids = config.rootfs.diff_ids;
            // Layers are stored unpacked here, so that they are called by the digests of their content.
            let layers: Vec<(String, String)> =
                diff_ids.iter().cloned().zip(image.layers.iter().cloned()).collect();
            if layers.len() != image.layers.len() || layers.iter().any(|(d, _)| !is_digest(d)) {
                let message = "its layers are not those that its configuration lists";
                return Err(EvidenceError::malformed(shortened(&image.config), message));
            }
            let name = image.repo_tags.first().unwrap_or(&image.config).clone();
            self.inline(name, layers, diff_ids.len(), &records)?;
        }
        Ok(())
    }

    /// Records inside an image point to its own layers, each of which lies on the one before.
    fn inline(
        &mut self,
        name: String,
        layers: Vec<(String, String)>,
        diff_ids: usize,
        records: &str,
    ) -> Result<(), EvidenceError> {
        let place = "the inline cache";
        if diff_ids != layers.len() {
            let message = format!("the image has {} layers, and digests for {diff_ids}", layers.len());
            return Err(EvidenceError::malformed(place, message));
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(records)
            .map_err(|e| EvidenceError::malformed(place, format!("not base64: {e}")))?;
        let records: Option<Vec<CacheRecord>> = json(place, &bytes)?;
        let layers = layers.into_iter().enumerate().map(|(number, (digest, name))| CacheLayerEntry {
            digest,
            parent: number.checked_sub(1),
            name,
            own: false,
            present: false,
        });
        self.add(place, name, true, layers.collect(), records.unwrap_or_default())
    }

    fn add(
        &mut self,
        place: &str,
        name: String,
        inline: bool,
        layers: Vec<CacheLayerEntry>,
        records: Vec<CacheRecord>,
    ) -> Result<(), EvidenceError> {
        let (first_layer, first_record) = (self.cache.layers.len(), self.cache.records.len());
        let (layer_count, record_count) = (layers.len(), records.len());
        let at = |index: i64, count: usize, what: &str| {
            usize::try_from(index).ok().filter(|i| *i < count).ok_or_else(|| {
                EvidenceError::malformed(place, format!("a record points to {what} {index} of {count}"))
            })
        };
        for record in records {
            if !is_digest(&record.digest) {
                let message = format!("{} is no digest of a record", shortened(&record.digest));
                return Err(EvidenceError::malformed(place, message));
            }
            let mut inputs = Vec::with_capacity(record.inputs.len());
            for links in record.inputs {
                let mut out = Vec::with_capacity(links.len());
                for link in links {
                    let from = first_record + at(link.link, record_count, "record")?;
                    out.push(CacheLink { selector: link.selector, from });
                }
                inputs.push(out);
            }
            let mut results = Vec::new();
            for result in record.layers {
                let layers = vec![first_layer + at(result.layer, layer_count, "layer")?];
                results.push(CacheResultEntry { layers, created: result.created_at });
            }
            for chain in record.chains {
                let layers = chain.layers.into_iter().map(|l| Ok(first_layer + at(l, layer_count, "layer")?));
                let layers: Vec<usize> = layers.collect::<Result<_, EvidenceError>>()?;
                results.push(CacheResultEntry { layers, created: chain.created_at });
            }
            self.cache.records.push(CacheRecordEntry { digest: record.digest, inputs, results });
        }
        let shifted =
            layers.into_iter().map(|l| CacheLayerEntry { parent: l.parent.map(|p| p + first_layer), ..l });
        self.cache.layers.extend(shifted);
        self.cache.manifests.push(CacheManifest { name, inline, records: record_count });
        Ok(())
    }
}

/// The first layer that lies on itself, over others or not.
fn looping(layers: &[CacheLayerEntry]) -> Option<usize> {
    let mut settled = vec![false; layers.len()];
    for start in 0..layers.len() {
        let mut way = Vec::new();
        let mut at = Some(start);
        while let Some(here) = at.filter(|h| settled.get(*h) == Some(&false)) {
            if way.len() > layers.len() {
                return Some(start);
            }
            way.push(here);
            at = layers.get(here).and_then(|l| l.parent);
        }
        for here in way {
            if let Some(slot) = settled.get_mut(here) {
                *slot = true;
            }
        }
    }
    None
}

pub(super) fn json<T: DeserializeOwned>(place: &str, bytes: &[u8]) -> Result<T, EvidenceError> {
    serde_json::from_slice(bytes).map_err(|e| EvidenceError::malformed(place, e.to_string()))
}
