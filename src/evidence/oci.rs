//! The documents of the OCI image specification and of `docker save`, as far as caches go.

use crate::image::Config;
use crate::invoke::platform::Platform;
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;

/// Points to a blob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) annotations: HashMap<String, String>,
    pub(super) platform: Option<DescribedPlatform>,
}

/// What an image runs on, as an index or a configuration says it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DescribedPlatform {
    #[serde(deserialize_with = "nullable")]
    os: String,
    #[serde(deserialize_with = "nullable")]
    architecture: String,
    #[serde(deserialize_with = "nullable")]
    variant: String,
    #[serde(rename = "os.version", deserialize_with = "nullable")]
    os_version: String,
}

impl DescribedPlatform {
    pub(super) fn normalized(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            arch: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
        }
        .normalized()
    }

    /// Attestations call their platform so.
    fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl Descriptor {
    /// BuildKit's own configuration of an exported cache.
    pub(super) const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

    pub(super) fn is_cache_config(&self) -> bool {
        self.media_type == Self::CACHE_CONFIG
    }

    /// What BuildKit says about an image, which is none itself (`exporter/containerimage/writer.go`).
    pub(super) fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
            || self.platform.as_ref().is_some_and(DescribedPlatform::is_unknown)
    }

    /// The full name of an image, or else its tag.
    pub(super) fn image_name(&self) -> Option<&str> {
        ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .into_iter()
            .find_map(|key| self.annotations.get(key))
            .map(String::as_str)
    }

    /// The names that the descriptor is known by.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        ["org.opencontainers.image.ref.name", "io.containerd.image.name"]
            .into_iter()
            .filter_map(|key| self.annotations.get(key))
            .map(String::as_str)
    }
}

/// An index or a manifest: they are told apart by what they hold, since media types may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    #[serde(deserialize_with = "nullable")]
    pub(super) manifests: Vec<Descriptor>,
    pub(super) config: Option<Descriptor>,
    #[serde(deserialize_with = "nullable")]
    pub(super) layers: Vec<Descriptor>,
}

/// One image in `manifest.json` of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Saved {
    pub(super) config: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) layers: Vec<String>,
}

/// An image configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageConfig {
    #[serde(flatten)]
    pub(super) platform: DescribedPlatform,
    #[serde(deserialize_with = "nullable")]
    pub(super) created: String,
    pub(super) rootfs: RootFs,
    pub(super) config: Option<Config>,
    pub(super) history: Option<Vec<History>>,
    /// Records of an inline cache, as JSON in base64 (`cache/remotecache/inline`).
    #[serde(rename = "moby.buildkit.cache.v0")]
    pub(super) cache: Option<String>,
}

/// One instruction that made an image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    #[serde(deserialize_with = "nullable")]
    pub(super) created_by: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) empty_layer: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RootFs {
    #[serde(deserialize_with = "nullable")]
    pub(super) diff_ids: Vec<String>,
}

/// The configuration of an exported cache (`cache/remotecache/v1/spec.go`).
#[derive(Debug, Deserialize)]
pub(super) struct CacheConfig {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) layers: Vec<CacheLayer>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) records: Vec<CacheRecord>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CacheLayer {
    #[serde(default)]
    pub(super) blob: String,
    /// −1 for none; left out for 0.
    #[serde(default)]
    pub(super) parent: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct CacheRecord {
    pub(super) digest: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) inputs: Vec<Vec<CacheInput>>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) layers: Vec<CacheResult>,
    #[serde(default, deserialize_with = "nullable")]
    pub(super) chains: Vec<CacheChain>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CacheInput {
    #[serde(default)]
    pub(super) selector: String,
    pub(super) link: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CacheResult {
    pub(super) layer: i64,
    #[serde(default)]
    pub(super) created_at: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CacheChain {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) layers: Vec<i64>,
    #[serde(default)]
    pub(super) created_at: String,
}

/// Go writes `null` for empty lists.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
