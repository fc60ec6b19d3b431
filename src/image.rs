//! What FROM resolves to: digest, platform and configuration of base images, read from files that the user names.
//! The network is asked by [`registry`] alone, and only where the user asks for it.

pub mod layout;
pub mod reference;
pub mod registry;

use crate::invoke::platform::Platform;
use crate::syntax::Document;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;

/// A base image as far as it takes part in cache keys.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// Digest of the manifest or index that the reference resolves to; `None` when only the configuration is known.
    pub digest: Option<String>,
    /// What the configuration says it runs on.
    pub platform: Platform,
    /// The part of the configuration that a build starts from.
    pub config: Config,
    /// Digests of the uncompressed layers, base-most first.
    pub diff_ids: Vec<String>,
    /// Whether the image has no layers, which BuildKit treats like `scratch`.
    pub empty: bool,
    /// `config.OnBuild`, each parsed as a Dockerfile of its own.
    pub triggers: Vec<Document>,
}

/// `config` of an image configuration (OCI image specification, `config.md`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// `NAME=value`
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// Directory in which processes start.
    #[serde(deserialize_with = "nullable")]
    pub working_dir: String,
    /// User and group.
    #[serde(deserialize_with = "nullable")]
    pub user: String,
    /// Docker's extension: words before a shell-form command.
    #[serde(deserialize_with = "nullable")]
    pub shell: Vec<String>,
    /// Docker's extension: instructions that a child image runs.
    #[serde(deserialize_with = "nullable")]
    pub on_build: Vec<String>,
}

/// Docker writes `null` for empty lists.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Base images by normalised reference, and by name of build context.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Given by the user, for whatever platform it is asked.
    given: HashMap<String, BaseImage>,
    /// Found by their references.
    found: HashMap<(String, Platform), BaseImage>,
}

/// An image that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of it cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// the file
        path: PathBuf,
        /// what the system said
        source: std::io::Error,
    },
    /// A file of it says something else than it should.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// the file
        path: PathBuf,
        /// what is wrong
        message: String,
    },
}

impl Images {
    /// Adds an image under a reference as a user writes it. It counts for every platform.
    pub fn insert(&mut self, reference: &str, image: BaseImage) {
        self.given.insert(Self::key(reference), image);
    }

    /// Adds what a reference resolves to for one platform.
    pub fn insert_for(&mut self, reference: &str, platform: &Platform, image: BaseImage) {
        self.found.insert((Self::key(reference), platform.clone()), image);
    }

    /// The image of a reference for a platform. What the user gave counts first.
    pub fn get(&self, reference: &str, platform: &Platform) -> Option<&BaseImage> {
        let key = Self::key(reference);
        self.given.get(&key).or_else(|| self.found.get(&(key, platform.clone())))
    }

    fn key(reference: &str) -> String {
        reference::Reference::parse(reference).map_or_else(|| reference.to_owned(), |r| r.tagged())
    }
}

/// `sha256:` and the hexadecimal digest of some bytes.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;
    let digest = Sha256::digest(bytes.as_ref());
    let mut out = String::with_capacity(71);
    out.push_str("sha256:");
    for byte in digest {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Whether a digest is written as it should be, so that it can be a part of a path.
pub(crate) fn is_digest(digest: &str) -> bool {
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}
