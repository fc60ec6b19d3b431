//! Images on disk: an OCI layout folder, or the JSON of an image configuration.

use super::{BaseImage, Config, ImageError};
use crate::invoke::platform::Platform;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Documents about an image are small; anything larger is no such document.
const LIMIT: u64 = 16 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<DescribedPlatform>,
    #[serde(default)]
    annotations: Option<std::collections::HashMap<String, String>>,
}

#[derive(Deserialize, Default)]
struct DescribedPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    #[serde(default, rename = "os.version")]
    os_version: String,
}

impl DescribedPlatform {
    fn normalized(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            arch: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
        }
        .normalized()
    }
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
}

#[derive(Deserialize)]
struct ImageConfig {
    #[serde(flatten)]
    platform: DescribedPlatform,
    #[serde(default)]
    config: Option<Config>,
    #[serde(default)]
    rootfs: Option<RootFs>,
    #[serde(default)]
    history: Option<Vec<History>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct History {
    #[serde(default)]
    empty_layer: bool,
}

/// Reads an image for a platform. `path` is an OCI layout folder or an image configuration; `reference` chooses among
/// several images of a layout by tag or digest.
pub fn read(path: &Path, reference: Option<&str>, platform: &Platform) -> Result<BaseImage, ImageError> {
    if path.is_dir() { read_layout(path, reference, platform) } else { read_config(path) }
}

/// Takes `PATH[:TAG][@DIGEST]` of an `oci-layout://` context apart.
pub fn split(place: &str) -> (PathBuf, Option<&str>) {
    if let Some((path, digest)) = place.split_once('@') {
        return (PathBuf::from(path), Some(digest));
    }
    match place.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !Path::new(place).exists() => {
            (PathBuf::from(path), Some(tag))
        }
        _ => (PathBuf::from(place), None),
    }
}

fn read_config(path: &Path) -> Result<BaseImage, ImageError> {
    let config: ImageConfig = json(path, &bytes(path)?)?;
    if config.platform.os.is_empty() && config.config.is_none() && config.rootfs.is_none() {
        return Err(ImageError::Malformed {
            path: path.to_path_buf(),
            message: "neither an OCI layout folder nor the JSON of an image configuration".to_owned(),
        });
    }
    Ok(image(None, config))
}

fn read_layout(root: &Path, reference: Option<&str>, platform: &Platform) -> Result<BaseImage, ImageError> {
    let path = root.join("index.json");
    let index: Index = json(&path, &bytes(&path)?)?;
    let entries = index.manifests.unwrap_or_default();
    let malformed = |message: &str| ImageError::Malformed { path: path.clone(), message: message.to_owned() };
    let wanted = |d: &&Descriptor| {
        let named = d.annotations.as_ref().and_then(|a| a.get("org.opencontainers.image.ref.name"));
        reference.is_some_and(|r| d.digest == r || named.is_some_and(|n| n == r))
    };
    let entry = entries
        .iter()
        .find(wanted)
        .or_else(|| entries.iter().find(|d| !d.media_type.contains("buildkit.cacheconfig")))
        .ok_or_else(|| malformed("no image in this layout"))?;
    let digest = entry.digest.clone();
    let mut at = digest.clone();
    // An index may hold indexes; four levels are more than anybody writes.
    for _ in 0..4 {
        let path = blob(root, &at)?;
        let document: Index = json(&path, &bytes(&path)?)?;
        if let Some(config) = document.config {
            let path = blob(root, &config.digest)?;
            return Ok(image(Some(digest), json(&path, &bytes(&path)?)?));
        }
        let manifests = document.manifests.unwrap_or_default();
        let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.normalized() == *platform);
        let same = |d: &&Descriptor| {
            d.platform
                .as_ref()
                .map(DescribedPlatform::normalized)
                .is_some_and(|p| p.os == platform.os && p.arch == platform.arch)
        };
        let next = manifests.iter().find(fits).or_else(|| manifests.iter().find(same));
        let Some(next) = next.or_else(|| manifests.first().filter(|_| manifests.len() == 1)) else {
            return Err(malformed(&format!("no image for {platform} in this layout")));
        };
        at = next.digest.clone();
    }
    Err(malformed("indexes are nested too deeply"))
}

fn image(digest: Option<String>, config: ImageConfig) -> BaseImage {
    let ImageConfig { platform, config, rootfs, history } = config;
    let config = config.unwrap_or_default();
    let (kind, diff_ids) = rootfs.map_or_else(Default::default, |r| (r.kind, r.diff_ids.unwrap_or_default()));
    let empty = diff_ids.is_empty() && history.unwrap_or_default().iter().all(|h| h.empty_layer);
    let triggers = config.on_build.iter().map(|t| crate::syntax::parse(t.as_bytes())).collect();
    let layered = kind == "layers" || kind.is_empty();
    BaseImage {
        digest,
        platform: platform.normalized(),
        config,
        diff_ids: if layered { diff_ids } else { Vec::new() },
        empty,
        triggers,
    }
}

/// Path of a blob; a digest that would lead out of the folder is refused.
fn blob(root: &Path, digest: &str) -> Result<PathBuf, ImageError> {
    let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
    match digest.split_once(':') {
        Some((algorithm, hex)) if plain(algorithm) && plain(hex) => {
            Ok(root.join("blobs").join(algorithm).join(hex))
        }
        _ => Err(ImageError::Malformed {
            path: root.to_path_buf(),
            message: format!("`{digest}` is no digest"),
        }),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, ImageError> {
    let fail = |source| ImageError::Read { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(fail)?.len() > LIMIT {
        return Err(fail(std::io::Error::from(std::io::ErrorKind::FileTooLarge)));
    }
    std::fs::read(path).map_err(fail)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ImageError::Malformed { path: path.to_path_buf(), message: e.to_string() })
}
