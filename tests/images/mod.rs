//! Makes images, the way builders do and otherwise.

#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) fn sha(bytes: impl AsRef<[u8]>) -> String {
    let hex: String = Sha256::digest(bytes.as_ref()).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// A source tree.
pub(crate) fn project(files: &[(&str, &str)]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            None => {
                std::fs::write(&path, content).unwrap();
                permit(&path, 0o644);
            }
        }
    }
    place
}

pub(crate) fn read(project: &TempDir, path: &str) -> String {
    std::fs::read_to_string(project.path().join(path)).unwrap()
}

pub(crate) fn permit(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// One entry of a layer.
#[derive(Clone)]
pub(crate) enum Item {
    Dir(String),
    File(String, u32, Vec<u8>),
    Link(String, String),
    Hard(String, String),
    Device(String),
    /// A path that the library refuses to write.
    Raw(Vec<u8>),
}

pub(crate) fn dir(path: &str) -> Item {
    Item::Dir(path.to_owned())
}

pub(crate) fn file(path: &str, content: &str) -> Item {
    Item::File(path.to_owned(), 0o644, content.into())
}

pub(crate) fn link(path: &str, target: &str) -> Item {
    Item::Link(path.to_owned(), target.to_owned())
}

pub(crate) fn hard(path: &str, target: &str) -> Item {
    Item::Hard(path.to_owned(), target.to_owned())
}

/// A path of a layer below that is taken away.
pub(crate) fn gone(path: &str) -> Item {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    file(format!("{folder}/.wh.{name}").trim_start_matches('/'), "")
}

pub(crate) const TIME: u64 = 1_700_000_000;

pub(crate) fn tar_of(items: &[Item]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(TIME);
        header.set_size(0);
        let entry = |header: &mut tar::Header, kind, mode| {
            header.set_entry_type(kind);
            header.set_mode(mode);
        };
        match item {
            Item::Dir(path) => {
                entry(&mut header, tar::EntryType::Directory, 0o755);
                out.append_data(&mut header, path, &[][..]).unwrap();
            }
            Item::File(path, mode, content) => {
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                out.append_data(&mut header, path, content.as_slice()).unwrap();
            }
            Item::Link(path, target) => {
                entry(&mut header, tar::EntryType::Symlink, 0o777);
                out.append_link(&mut header, path, target).unwrap();
            }
            Item::Hard(path, target) => {
                entry(&mut header, tar::EntryType::Link, 0o644);
                out.append_link(&mut header, path, target).unwrap();
            }
            Item::Device(path) => {
                entry(&mut header, tar::EntryType::Char, 0o666);
                out.append_data(&mut header, path, &[][..]).unwrap();
            }
            Item::Raw(path) => {
                header.set_mode(0o644);
                header.set_size(1);
                header.as_old_mut().name[..path.len()].copy_from_slice(path);
                header.set_cksum();
                out.append(&header, &b"x"[..]).unwrap();
            }
        }
    }
    out.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// An archive of files.
pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<Item> = files.iter().map(|(p, c)| Item::File(p.clone(), 0o644, c.clone())).collect();
    tar_of(&items)
}

/// An image that is on the disk.
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    _place: TempDir,
}

impl Written {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("image.tar");
        std::fs::write(&path, bytes).unwrap();
        Self { path, _place: place }
    }
}

/// An image in the making.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) history: Vec<Value>,
    pub(crate) config: Value,
    pub(crate) architecture: &'static str,
}

impl Image {
    pub(crate) fn new() -> Self {
        Self { layers: Vec::new(), history: Vec::new(), config: json!({}), architecture: "amd64" }
    }

    /// A layer of the base image.
    pub(crate) fn base(self, items: &[Item]) -> Self {
        self.layer("/bin/sh -c #(nop) ADD file:1234 in / ", items)
    }

    pub(crate) fn layer(self, created_by: &str, items: &[Item]) -> Self {
        self.packed(created_by, gzip(&tar_of(items)))
    }

    pub(crate) fn packed(mut self, created_by: &str, layer: Vec<u8>) -> Self {
        self.layers.push(layer);
        self.history.push(json!({"created_by": created_by}));
        self
    }

    /// An instruction without a layer.
    pub(crate) fn says(mut self, created_by: &str) -> Self {
        self.history.push(json!({"created_by": created_by, "empty_layer": true}));
        self
    }

    pub(crate) fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|l| sha(unpacked(l))).collect();
        let mut config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": self.history,
        });
        if self.history.is_empty() {
            config.as_object_mut().unwrap().remove("history");
        }
        serde_json::to_vec(&config).unwrap()
    }

    /// Its blobs, and the descriptor of its manifest.
    pub(crate) fn blobs(&self) -> (Vec<(String, Vec<u8>)>, Value) {
        let name = |bytes: &[u8]| format!("blobs/sha256/{}", &sha(bytes)[7..]);
        let config = self.configuration();
        let layers: Vec<Value> =
            self.layers.iter().map(|l| json!({"digest": sha(l), "size": l.len()})).collect();
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "config": {"digest": sha(&config), "size": config.len()}, "layers": layers,
        }))
        .unwrap();
        let descriptor = json!({"digest": sha(&manifest), "size": manifest.len(),
            "platform": {"os": "linux", "architecture": self.architecture}});
        let all = self.layers.iter().cloned().chain([config, manifest]);
        (all.map(|bytes| (name(&bytes), bytes)).collect(), descriptor)
    }

    /// As an archive of `type=oci`.
    pub(crate) fn oci(&self) -> Vec<u8> {
        oci(std::slice::from_ref(self))
    }

    /// As `docker save` wrote it before version 25.
    pub(crate) fn saved(&self, tag: &str) -> Vec<(String, Vec<u8>)> {
        let config = self.configuration();
        let config_name = format!("{}.json", &sha(&config)[7..]);
        let mut files = vec![(config_name.clone(), config)];
        let mut names = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            let name = format!("layer{number}/layer.tar");
            files.push((name.clone(), unpacked(layer)));
            names.push(name);
        }
        let list = json!([{"Config": config_name, "RepoTags": [tag], "Layers": names}]);
        files.push(("manifest.json".to_owned(), serde_json::to_vec(&list).unwrap()));
        files
    }

    pub(crate) fn write(&self) -> Written {
        Written::of(&self.oci())
    }
}

/// Images for several platforms as one archive of `type=oci`.
pub(crate) fn oci(images: &[Image]) -> Vec<u8> {
    let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    let mut manifests = Vec::new();
    for image in images {
        let (blobs, descriptor) = image.blobs();
        files.extend(blobs);
        manifests.push(descriptor);
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    files.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
    archive(&files)
}

fn unpacked(layer: &[u8]) -> Vec<u8> {
    if !layer.starts_with(&[0x1f, 0x8b]) {
        return layer.to_vec();
    }
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(layer), &mut out).unwrap();
    out
}
