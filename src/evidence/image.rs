//! Images as they are stored: an OCI layout, or what `docker save`, `type=docker` and `type=oci` write.
//!
//! Only documents are read here; [`super::tree`] reads the layers. What lies beside images in an index, such as
//! attestations, is left out.

use super::cache::json;
use super::error::EvidenceError;
use super::oci::{Descriptor, History, ImageConfig, Node, Saved};
use super::store::{Store, is_digest, shortened};
use crate::invoke::platform::Platform;
use std::path::Path;

/// Most manifests and indexes that are followed.
const MANIFESTS: usize = 1000;
/// Most layers of an image: Docker itself stops at 127.
const LAYERS: usize = 1024;

/// A folder or archive with one image, for one platform or several.
#[derive(Debug)]
pub struct StoredImages {
    /// Where the blobs are.
    pub store: Store,
    /// One for each platform that is there.
    pub images: Vec<StoredImage>,
    /// What was passed over, as sentences without full stop.
    pub passed_over: Vec<String>,
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// What it is called, if it has a name.
    pub name: Option<String>,
    /// What it runs on.
    pub platform: Platform,
    /// Its layers, the lowest first.
    pub layers: Vec<StoredLayer>,
    /// The instructions that made it, in order; empty if they are not recorded.
    pub history: Vec<Made>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// The directory in which processes start; empty for the root.
    pub working_dir: String,
    /// When it was made, in seconds since 1970, if it says so.
    pub created: Option<i64>,
}

/// One instruction in the history of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What the builder wrote: `COPY . /app # buildkit`.
    pub by: String,
    /// The layer that it made, as an index of [`StoredImage::layers`].
    pub layer: Option<usize>,
}

/// A layer, not yet read.
#[derive(Clone, Debug)]
pub struct StoredLayer {
    /// What it is called by: the digest of its bytes as stored; in old archives of `docker save`, unpacked.
    pub digest: String,
    /// Its path in the store.
    pub(super) name: String,
    /// Whether the digest is that of the unpacked bytes.
    pub(super) by_content: bool,
}

impl StoredImages {
    /// Finds the image in a folder or archive. Where there are several, `reference` says which, by name or digest.
    /// `limit` is how many bytes a packed archive may unpack to, if not as many as is usual.
    pub fn open(path: &Path, reference: Option<&str>, limit: Option<u64>) -> Result<Self, EvidenceError> {
        let store = Store::open_unpacked(path, limit).map_err(|error| match error {
            EvidenceError::Kind { path, message } => EvidenceError::NoImage { path, message },
            other => other,
        })?;
        Self::of_store(store, reference)
    }

    /// The same for any place that holds the files of an image.
    pub fn of_store(store: Store, reference: Option<&str>) -> Result<Self, EvidenceError> {
        let mut reading = Reading { store, images: Vec::new(), passed_over: Vec::new(), read: 0 };
        if let Some(bytes) = reading.store.document("index.json")? {
            let index: Node = json("index.json", &bytes)?;
            reading.index(index, reference)?;
        } else if let Some(bytes) = reading.store.document("manifest.json")? {
            let saved: Vec<Saved> = json("manifest.json", &bytes)?;
            reading.saved(saved, reference)?;
        } else {
            let message = "it holds neither index.json (OCI layout) nor manifest.json (docker save)";
            return Err(reading.no_image(message));
        }
        let Reading { store, images, passed_over, .. } = reading;
        Ok(Self { store, images, passed_over })
    }

    /// Keeps the images for these platforms, all if none is asked for.
    pub fn select(&mut self, platforms: &[Platform]) -> Result<(), EvidenceError> {
        if platforms.is_empty() {
            return Ok(());
        }
        let known: Vec<String> = self.images.iter().map(|i| i.platform.to_string()).collect();
        for wanted in platforms {
            if !self.images.iter().any(|i| is_for(&i.platform, wanted)) {
                let (path, wanted) = (self.store.path.clone(), wanted.to_string());
                return Err(EvidenceError::Platform { path, wanted, known });
            }
        }
        self.images.retain(|i| platforms.iter().any(|wanted| is_for(&i.platform, wanted)));
        Ok(())
    }
}

/// Whether an image is for a platform; versions of Windows are not asked for.
fn is_for(image: &Platform, wanted: &Platform) -> bool {
    image.os == wanted.os && image.arch == wanted.arch && image.variant == wanted.variant
}

struct Reading {
    store: Store,
    images: Vec<StoredImage>,
    passed_over: Vec<String>,
    read: usize,
}

impl Reading {
    fn no_image(&self, message: impl Into<String>) -> EvidenceError {
        EvidenceError::NoImage { path: self.store.path.clone(), message: message.into() }
    }

    fn count(&mut self) -> Result<(), EvidenceError> {
        self.read += 1;
        if self.read > MANIFESTS {
            return Err(EvidenceError::TooLarge {
                place: self.store.path.display().to_string(),
                what: "the number of its manifests",
                limit: MANIFESTS.to_string(),
            });
        }
        Ok(())
    }

    /// `index.json`: the images that it names, of which one must be meant.
    fn index(&mut self, index: Node, reference: Option<&str>) -> Result<(), EvidenceError> {
        if index.config.is_some() {
            return Err(self.no_image("its index.json is a manifest"));
        }
        let is = |d: &&Descriptor, wanted: &str| {
            let tag = |n: &str| n.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted);
            d.digest == wanted || d.names().any(|n| n == wanted || tag(n))
        };
        let called = |d: &Descriptor| d.image_name().unwrap_or(&d.digest).to_owned();
        let mut images: Vec<&Descriptor> = index.manifests.iter().filter(|d| !d.is_attestation()).collect();
        if let Some(wanted) = reference {
            images.retain(|d| is(d, wanted));
            if images.is_empty() {
                return Err(EvidenceError::Reference {
                    path: self.store.path.clone(),
                    wanted: wanted.to_owned(),
                    known: index.manifests.iter().map(called).collect(),
                });
            }
        }
        // Manifests that differ in their platforms are one image, also without an index of their own.
        let mut digests: Vec<&str> = Vec::new();
        images.retain(|d| {
            !digests.contains(&d.digest.as_str()) && {
                digests.push(&d.digest);
                true
            }
        });
        let mut platforms: Vec<Option<Platform>> = Vec::new();
        for descriptor in &images {
            let platform = descriptor.platform.as_ref().map(super::oci::DescribedPlatform::normalized);
            if images.len() > 1 && (platform.is_none() || platforms.contains(&platform)) {
                return Err(EvidenceError::Several {
                    path: self.store.path.clone(),
                    known: images.iter().map(|d| called(d)).collect(),
                });
            }
            platforms.push(platform);
        }
        let mut missing = Vec::new();
        for descriptor in images {
            self.descriptor(descriptor, &mut missing)?;
        }
        if self.images.is_empty() {
            return Err(missing.into_iter().next().unwrap_or_else(|| self.no_image("no image is in it")));
        }
        Ok(())
    }

    /// Follows a descriptor down to configurations, without recursion and each blob once. Images of which the
    /// manifest or configuration is not there go to `missing`.
    fn descriptor(
        &mut self,
        descriptor: &Descriptor,
        missing: &mut Vec<EvidenceError>,
    ) -> Result<(), EvidenceError> {
        let name = descriptor.image_name().map(str::to_owned);
        let mut open = vec![descriptor.clone()];
        let mut seen: Vec<String> = Vec::new();
        while let Some(next) = open.pop() {
            if seen.contains(&next.digest) {
                continue;
            }
            self.count()?;
            let found = self.node(&next).and_then(|node| match &node.config {
                Some(config) => self.image(&node, config, &next, name.clone()).map(|()| None),
                None => Ok(Some(node)),
            });
            match found {
                Ok(Some(node)) => {
                    let images = node.manifests.into_iter().rev().filter(|d| !d.is_attestation());
                    open.extend(images);
                }
                Ok(None) => {}
                // Of an image for several platforms often only one has been fetched.
                Err(error @ EvidenceError::Missing { .. }) => {
                    if let Some(platform) = &next.platform {
                        let platform = platform.normalized();
                        self.passed_over.push(format!("the image for {platform} is named but not there"));
                    }
                    missing.push(error);
                }
                Err(error) => return Err(error),
            }
            seen.push(next.digest);
        }
        Ok(())
    }

    fn node(&self, descriptor: &Descriptor) -> Result<Node, EvidenceError> {
        json(&descriptor.digest, &self.store.blob(&descriptor.digest)?)
    }

    fn image(
        &mut self,
        manifest: &Node,
        config: &Descriptor,
        descriptor: &Descriptor,
        name: Option<String>,
    ) -> Result<(), EvidenceError> {
        if config.is_cache_config() {
            return Ok(());
        }
        let config: ImageConfig = json(&config.digest, &self.store.blob(&config.digest)?)?;
        let mut layers = Vec::with_capacity(manifest.layers.len().min(LAYERS));
        for layer in &manifest.layers {
            let name = Store::blob_name(&layer.digest)?;
            if !self.store.has(&name)? {
                return Err(EvidenceError::Missing { digest: layer.digest.clone() });
            }
            layers.push(StoredLayer { digest: layer.digest.clone(), name, by_content: false });
        }
        self.add(config, descriptor, layers, name)
    }

    fn add(
        &mut self,
        config: ImageConfig,
        descriptor: &Descriptor,
        layers: Vec<StoredLayer>,
        name: Option<String>,
    ) -> Result<(), EvidenceError> {
        if layers.len() > LAYERS {
            return Err(EvidenceError::TooLarge {
                place: self.store.path.display().to_string(),
                what: "the number of its layers",
                limit: LAYERS.to_string(),
            });
        }
        let mut platform = config.platform.normalized();
        if platform.os.is_empty()
            && let Some(described) = &descriptor.platform
        {
            platform = described.normalized();
        }
        let run = config.config.unwrap_or_default();
        self.images.push(StoredImage {
            name,
            platform,
            history: history(config.history.unwrap_or_default(), layers.len()),
            layers,
            created: seconds(&config.created),
            env: run.env,
            working_dir: run.working_dir,
        });
        Ok(())
    }

    /// `manifest.json` of `docker save` before version 25, and of `type=docker`.
    fn saved(&mut self, images: Vec<Saved>, reference: Option<&str>) -> Result<(), EvidenceError> {
        let tag = |name: &str| name.rsplit_once(':').map(|(_, tag)| tag.to_owned());
        let is = |image: &Saved, wanted: &str| {
            image.repo_tags.iter().any(|t| t == wanted || tag(t).as_deref() == Some(wanted))
        };
        let known: Vec<String> =
            images.iter().map(|i| i.repo_tags.first().unwrap_or(&i.config).clone()).collect();
        let mut chosen: Vec<Saved> =
            images.into_iter().filter(|i| reference.is_none_or(|wanted| is(i, wanted))).collect();
        chosen.dedup_by(|a, b| a.config == b.config);
        let path = self.store.path.clone();
        let image = match (chosen.pop(), reference) {
            (Some(image), _) if chosen.is_empty() => image,
            (Some(_), _) => return Err(EvidenceError::Several { path, known }),
            (None, Some(wanted)) => {
                return Err(EvidenceError::Reference { path, wanted: wanted.to_owned(), known });
            }
            (None, None) => return Err(self.no_image("no image is in it")),
        };
        let Some(bytes) = self.store.document(&image.config)? else {
            return Err(EvidenceError::Missing { digest: shortened(&image.config) });
        };
        // It is called by its digest, in the old form with an ending.
        let hex = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
        let digest = format!("sha256:{hex}");
        let found = super::store::digest_of(&bytes);
        if is_digest(&digest) && found != digest {
            return Err(EvidenceError::Digest { digest, found });
        }
        let config: ImageConfig = json(&image.config, &bytes)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != image.layers.len() || diff_ids.iter().any(|d| !is_digest(d)) {
            let message = "its layers are not those that its configuration lists";
            return Err(EvidenceError::malformed(shortened(&image.config), message));
        }
        let layers = diff_ids.iter().zip(&image.layers).map(|(diff_id, name)| {
            let stored = name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"));
            match stored.filter(|d| is_digest(d)) {
                Some(digest) => StoredLayer { digest, name: name.clone(), by_content: false },
                None => StoredLayer { digest: diff_id.clone(), name: name.clone(), by_content: true },
            }
        });
        let layers: Vec<StoredLayer> = layers.collect();
        for layer in &layers {
            if !self.store.has(&layer.name)? {
                return Err(EvidenceError::Missing { digest: layer.digest.clone() });
            }
        }
        self.add(config, &Descriptor::default(), layers, image.repo_tags.into_iter().next())
    }
}

/// A time of RFC 3339 in seconds since 1970: `2026-11-21T02:35:02.5Z`.
fn seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match rest.strip_prefix(['+', '-']) {
        None => 0,
        Some(zone) => {
            let (hours, minutes) = zone.split_once(':')?;
            let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if rest.starts_with('-') { -seconds } else { seconds }
        }
    };
    // Days since 1970, with years that begin in March.
    let shifted = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        shifted * 365 + shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400) + of_year
            - 719_468;
    (year >= 1970).then_some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// The history with the layers that belong to its entries; empty where the two do not fit.
fn history(entries: Vec<History>, layers: usize) -> Vec<Made> {
    if entries.iter().filter(|h| !h.empty_layer).count() != layers {
        return Vec::new();
    }
    let mut next = 0..layers;
    entries
        .into_iter()
        .map(|h| Made { layer: if h.empty_layer { None } else { next.next() }, by: h.created_by })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_zones() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2024-02-29T12:00:00.5Z"), Some(1_709_208_000));
        assert_eq!(seconds("2026-11-21T02:35:02+02:00"), Some(1_795_221_302));
        assert_eq!(seconds("0001-01-01T00:00:00Z"), None);
        assert_eq!(seconds("yesterday"), None);
    }
}
