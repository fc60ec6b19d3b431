//! Images on disk: an OCI layout folder, an archive of `docker save`, `type=docker` or `type=oci`, or the JSON of an
//! image configuration. Layers are not read.

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

/// One image of `manifest.json`, as `docker save` writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

/// Reads an image for a platform. `path` is an OCI layout folder, an archive or an image configuration; `reference`
/// chooses among several images by tag or digest.
pub fn read(path: &Path, reference: Option<&str>, platform: &Platform) -> Result<BaseImage, ImageError> {
    let documents = Documents::open(path)?;
    if let Documents::Single(bytes) = &documents {
        return read_config(path, bytes);
    }
    if let Some(index) = documents.get("index.json")? {
        return read_index(path, &documents, &index, reference, platform);
    }
    let malformed =
        |message: &str| ImageError::Malformed { path: path.to_path_buf(), message: message.to_owned() };
    let Some(list) = documents.get("manifest.json")? else {
        return Err(malformed("neither index.json (OCI layout) nor manifest.json (docker save) is in it"));
    };
    let saved: Vec<Saved> = json(&path.join("manifest.json"), &list)?;
    let named = |s: &&Saved| {
        reference
            .is_some_and(|r| s.repo_tags.iter().flatten().any(|t| t == r || t.ends_with(&format!(":{r}"))))
    };
    let one = saved.iter().find(named).or(saved.first()).ok_or_else(|| malformed("no image is in it"))?;
    let config =
        documents.get(&one.config)?.ok_or_else(|| malformed("the configuration of the image is missing"))?;
    // The digest of the manifest in a registry is not known to `docker save`; the layers are.
    Ok(image(None, json(&path.join(&one.config), &config)?))
}

/// The documents of an image by their paths.
enum Documents {
    Folder(PathBuf),
    Archive(PathBuf),
    /// a file that is no archive
    Single(Vec<u8>),
}

impl Documents {
    fn open(path: &Path) -> Result<Self, ImageError> {
        use std::io::Read as _;
        let fail = |source| ImageError::Read { path: path.to_path_buf(), source };
        if std::fs::metadata(path).map_err(fail)?.is_dir() {
            return Ok(Documents::Folder(path.to_path_buf()));
        }
        let mut head = Vec::new();
        let file = std::fs::File::open(path).map_err(fail)?;
        file.take(512).read_to_end(&mut head).map_err(fail)?;
        let is_tar = head.get(257..262) == Some(b"ustar".as_slice());
        if is_tar || head.starts_with(&[0x1f, 0x8b]) {
            return Ok(Documents::Archive(path.to_path_buf()));
        }
        Ok(Documents::Single(bytes(path)?))
    }

    /// A document, if it is there. An archive is read up to it; nothing of it is unpacked to disk.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        match self {
            Documents::Folder(root) => {
                let path = root.join(name);
                if path.exists() { bytes(&path).map(Some) } else { Ok(None) }
            }
            Documents::Archive(path) => {
                archived(path, name).map_err(|source| ImageError::Read { path: path.clone(), source })
            }
            Documents::Single(_) => Ok(None),
        }
    }
}

fn archived(path: &Path, name: &str) -> std::io::Result<Option<Vec<u8>>> {
    use std::io::{BufRead as _, Read};
    let mut file = std::io::BufReader::new(std::fs::File::open(path)?);
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> =
        if packed { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) };
    for entry in tar::Archive::new(reader).entries()? {
        let entry = entry?;
        let found = entry.path_bytes();
        if found.strip_prefix(b"./").unwrap_or(&found) != name.as_bytes() {
            continue;
        }
        if entry.size() > LIMIT {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
        }
        let mut out = Vec::new();
        entry.take(LIMIT).read_to_end(&mut out)?;
        return Ok(Some(out));
    }
    Ok(None)
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

fn read_config(path: &Path, bytes: &[u8]) -> Result<BaseImage, ImageError> {
    let config: Result<ImageConfig, _> = serde_json::from_slice(bytes);
    match config {
        Ok(config)
            if !config.platform.os.is_empty() || config.config.is_some() || config.rootfs.is_some() =>
        {
            Ok(image(None, config))
        }
        _ => Err(ImageError::Malformed {
            path: path.to_path_buf(),
            message:
                "neither an OCI layout folder, nor an image archive, nor the JSON of an image configuration"
                    .to_owned(),
        }),
    }
}

fn read_index(
    root: &Path,
    documents: &Documents,
    index: &[u8],
    reference: Option<&str>,
    platform: &Platform,
) -> Result<BaseImage, ImageError> {
    let path = root.join("index.json");
    let index: Index = json(&path, index)?;
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
    let folder = Layout { root, documents };
    descend(&folder, &digest, platform)
}

/// Where the documents of an image are found by their digests.
pub(super) trait Source {
    /// Why one cannot be had.
    type Error;
    /// A manifest, or an index of manifests.
    fn manifest(&self, digest: &str) -> Result<Vec<u8>, Self::Error>;
    /// An image configuration.
    fn config(&self, digest: &str) -> Result<Vec<u8>, Self::Error>;
    /// The error for a document that says something else than it should.
    fn malformed(&self, digest: &str, message: String) -> Self::Error;
    /// The error for an index without a fitting image.
    fn other_platforms(&self, wanted: &Platform, known: &[Platform]) -> Self::Error;
}

struct Layout<'a> {
    root: &'a Path,
    documents: &'a Documents,
}

impl Source for Layout<'_> {
    type Error = ImageError;

    fn manifest(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let missing = || ImageError::Malformed {
            path: self.root.join("index.json"),
            message: format!("blob {digest} is missing"),
        };
        self.documents.get(&blob(self.root, digest)?)?.ok_or_else(missing)
    }

    fn config(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        self.manifest(digest)
    }

    fn malformed(&self, digest: &str, message: String) -> ImageError {
        let path = match blob(self.root, digest) {
            Ok(name) => self.root.join(name),
            Err(error) => return error,
        };
        ImageError::Malformed { path, message }
    }

    fn other_platforms(&self, wanted: &Platform, _: &[Platform]) -> ImageError {
        let message = format!("no image for {wanted} in this layout");
        ImageError::Malformed { path: self.root.join("index.json"), message }
    }
}

/// Follows a manifest or index to the image for a platform. The image has the digest that this began with: that is
/// what BuildKit puts into keys, also where it is an index.
pub(super) fn descend<S: Source>(
    source: &S,
    digest: &str,
    platform: &Platform,
) -> Result<BaseImage, S::Error> {
    let mut at = digest.to_owned();
    // An index may hold indexes; four levels are more than anybody writes.
    for _ in 0..4 {
        let node: Index = parsed(source, &at, &source.manifest(&at)?)?;
        if let Some(config) = node.config {
            if config.media_type.contains("buildkit.cacheconfig") {
                let message = "this is a build cache that BuildKit exported, and no image";
                return Err(source.malformed(&at, message.to_owned()));
            }
            let bytes = source.config(&config.digest)?;
            return Ok(image(Some(digest.to_owned()), parsed(source, &config.digest, &bytes)?));
        }
        let manifests = node.manifests.unwrap_or_default();
        if manifests.is_empty() {
            return Err(source.malformed(&at, "it names neither a configuration nor manifests".to_owned()));
        }
        let of = |d: &Descriptor| d.platform.as_ref().map(DescribedPlatform::normalized);
        // Only Windows builds differ by version, and its exact match is BuildKit's business.
        let same = |a: &Platform, b: &Platform| (&a.os, &a.arch, &a.variant) == (&b.os, &b.arch, &b.variant);
        let acceptable = platform.acceptable();
        let next = acceptable
            .iter()
            .find_map(|wanted| manifests.iter().find(|d| of(d).is_some_and(|p| same(&p, wanted))));
        // What does not say what it is for is for everything.
        let only = || manifests.first().filter(|d| manifests.len() == 1 && d.platform.is_none());
        let Some(next) = next.or_else(only) else {
            let known: Vec<Platform> =
                manifests.iter().filter_map(of).filter(|p| p.os != "unknown").collect();
            return Err(source.other_platforms(platform, &known));
        };
        at = next.digest.clone();
    }
    Err(source.malformed(digest, "indexes are nested too deeply".to_owned()))
}

fn parsed<T: serde::de::DeserializeOwned, S: Source>(
    source: &S,
    digest: &str,
    bytes: &[u8],
) -> Result<T, S::Error> {
    serde_json::from_slice(bytes).map_err(|e| source.malformed(digest, e.to_string()))
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

/// Path of a blob in a layout; a digest that would lead out of it is refused.
fn blob(root: &Path, digest: &str) -> Result<String, ImageError> {
    let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
    match digest.split_once(':') {
        Some((algorithm, hex)) if plain(algorithm) && plain(hex) => Ok(format!("blobs/{algorithm}/{hex}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"os":"linux","architecture":"arm64","variant":"v8","config":{"Env":["A=1"],"OnBuild":null},
        "rootfs":{"type":"layers","diff_ids":["sha256:d1"]}}"#;

    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn arm() -> Platform {
        Platform::parse("linux/arm64").unwrap()
    }

    #[test]
    fn a_saved_image_gives_its_configuration_packed_or_not() {
        let temp = tempfile::tempdir().unwrap();
        let list = r#"[{"Config":"abc.json","RepoTags":["x:1"],"Layers":[]}]"#;
        let tar = packed(&[("abc.json", CONFIG), ("manifest.json", list)]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).unwrap();
        for bytes in [tar, gzip.finish().unwrap()] {
            let path = temp.path().join("image.tar");
            std::fs::write(&path, bytes).unwrap();
            let image = read(&path, None, &arm()).unwrap();
            assert_eq!(
                (image.config.env, image.digest, image.platform),
                (vec!["A=1".to_owned()], None, arm())
            );
            assert_eq!(image.diff_ids, ["sha256:d1"]);
        }
    }

    #[test]
    fn an_archive_of_a_layout_chooses_by_platform() {
        let temp = tempfile::tempdir().unwrap();
        let index = r#"{"manifests":[{"digest":"sha256:aa"}]}"#;
        let list = r#"{"manifests":[{"digest":"sha256:b1","platform":{"os":"linux","architecture":"amd64"}},
            {"digest":"sha256:b2","platform":{"os":"linux","architecture":"arm64"}}]}"#;
        let manifest = r#"{"config":{"digest":"sha256:cc"}}"#;
        let path = temp.path().join("image.tar");
        let files = [
            ("index.json", index),
            ("blobs/sha256/aa", list),
            ("blobs/sha256/b2", manifest),
            ("blobs/sha256/cc", CONFIG),
        ];
        std::fs::write(&path, packed(&files)).unwrap();
        assert_eq!(read(&path, None, &arm()).unwrap().digest.as_deref(), Some("sha256:aa"));
        let missing = read(&path, None, &Platform::parse("linux/amd64").unwrap()).unwrap_err();
        assert!(missing.to_string().ends_with("blob sha256:b1 is missing"), "{missing}");
    }

    #[test]
    fn what_is_no_image_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let told = |name: &str, content: &[u8]| {
            let path = temp.path().join(name);
            std::fs::write(&path, content).unwrap();
            read(&path, None, &arm()).unwrap_err().to_string()
        };
        assert!(told("a", b"hello").contains("neither an OCI layout folder"));
        assert!(told("b", b"{}").contains("neither an OCI layout folder"));
        assert!(told("c", &packed(&[("x", "y")])).contains("neither index.json"));
        assert!(
            told("d", &packed(&[("index.json", r#"{"manifests":[{"digest":"../../etc"}]}"#)]))
                .contains("no digest")
        );
        assert!(told("e", b"\x1f\x8bbroken").contains("cannot read"));
    }
}
