//! Images made for the occasion.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

pub(crate) fn sha(bytes: impl AsRef<[u8]>) -> String {
    let hex: String = Sha256::digest(bytes.as_ref()).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// A layer; a path that ends with `/` is a directory.
pub(crate) fn tar_of(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (path, mode, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        out.append_data(&mut header, path, *content).unwrap();
    }
    out.into_inner().unwrap()
}

/// An image for one platform.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) config: Value,
    architecture: String,
    layers: Vec<Vec<u8>>,
}

impl Image {
    pub(crate) fn new(architecture: &str, config: &Value, layers: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(sha).collect();
        let config = json!({"os": "linux", "architecture": architecture, "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        Self { config, architecture: architecture.to_owned(), layers: layers.to_vec() }
    }

    pub(crate) fn config_bytes(&self) -> Vec<u8> {
        self.config.to_string().into_bytes()
    }

    pub(crate) fn config_digest(&self) -> String {
        sha(self.config_bytes())
    }

    pub(crate) fn manifest(&self) -> Value {
        let described = |kind: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": sha(bytes), "size": bytes.len()});
        let layers: Vec<Value> = self.layers.iter().map(|l| described("layer.v1.tar", l)).collect();
        json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": described("config.v1+json", &self.config_bytes()), "layers": layers})
    }
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes an OCI layout: the image itself, or an index of several.
pub(crate) fn layout(root: &Path, images: &[&Image]) -> PathBuf {
    let blobs = root.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = sha(bytes);
        std::fs::write(blobs.join(&digest[7..]), bytes).unwrap();
        digest
    };
    let mut manifests = Vec::new();
    for image in images {
        put(&image.config_bytes());
        image.layers.iter().for_each(|l| {
            put(l);
        });
        let manifest = image.manifest().to_string();
        manifests
            .push(json!({"mediaType": MANIFEST, "digest": put(manifest.as_bytes()), "size": manifest.len(),
            "platform": {"os": "linux", "architecture": image.architecture}}));
    }
    let top = match manifests.as_slice() {
        [only] => only.clone(),
        _ => {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
            json!({"mediaType": INDEX, "digest": put(index.as_bytes()), "size": index.len()})
        }
    };
    let index = json!({"schemaVersion": 2, "manifests": [top]});
    std::fs::write(root.join("index.json"), index.to_string()).unwrap();
    root.to_path_buf()
}

/// The digest that a layout is about.
pub(crate) fn root(layout: &Path) -> String {
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}
