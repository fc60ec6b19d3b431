//! A repository in a registry, read as if it were an OCI layout.

use super::error::EvidenceError;
use super::store::{Blobs, OpenFile, Store};
use crate::image::registry::Repository;
use serde_json::json;
use std::io::{Cursor, Read};

impl Store {
    /// What a reference stands for, and the blobs beside it. Nothing is fetched before it is read.
    pub fn of_registry(repository: Repository) -> Self {
        Self::of_blobs(&repository.reference(), Box::new(repository))
    }
}

/// Most bytes of a blob; the largest layers that people push have a fifth of it.
const LAYER: u64 = 64 << 30;

fn digest(name: &str) -> Option<String> {
    name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"))
}

impl Blobs for Repository {
    fn open(&self, name: &str) -> Result<Option<OpenFile<'_>>, EvidenceError> {
        let document = |bytes: Vec<u8>| -> OpenFile<'_> {
            let size = bytes.len() as u64;
            (Box::new(Cursor::new(bytes)), size)
        };
        if name == "index.json" {
            let names = json!({ "org.opencontainers.image.ref.name": self.reference() });
            let index = json!({ "manifests": [{ "digest": self.digest(), "annotations": names }] });
            return Ok(Some(document(index.to_string().into_bytes())));
        }
        let Some(digest) = digest(name) else { return Ok(None) };
        if self.is_manifest(&digest) {
            return Ok(self.document(&digest)?.map(document));
        }
        let Some((reader, length)) = self.download(&digest)? else { return Ok(None) };
        if length.is_some_and(|l| l > LAYER) {
            return Err(EvidenceError::TooLarge {
                place: format!("blob {digest}"),
                what: "its size",
                limit: format!("{} GiB", LAYER >> 30),
            });
        }
        // What is longer does not have its digest: it is not read for ever.
        Ok(Some((Box::new(reader.take(LAYER)), length.unwrap_or(0))))
    }

    fn has(&self, name: &str) -> Result<bool, EvidenceError> {
        match digest(name) {
            Some(digest) => Ok(self.is_manifest(&digest) || Repository::has(self, &digest)?),
            None => Ok(name == "index.json"),
        }
    }
}
