//! The documents of the OCI image specification and of `docker save`, as far as caches go.

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
}

impl Descriptor {
    /// BuildKit's own configuration of an exported cache.
    pub(super) const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

    pub(super) fn is_cache_config(&self) -> bool {
        self.media_type == Self::CACHE_CONFIG
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
    pub(super) rootfs: RootFs,
    /// Records of an inline cache, as JSON in base64 (`cache/remotecache/inline`).
    #[serde(rename = "moby.buildkit.cache.v0")]
    pub(super) cache: Option<String>,
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
