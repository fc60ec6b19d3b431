//! What FROM resolves to: digest, platform and configuration of base images, read from files that the user names.
//! The network is never asked.

pub mod layout;
pub mod reference;

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
    images: HashMap<String, BaseImage>,
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
    /// Adds an image under a reference as a user writes it.
    pub fn insert(&mut self, reference: &str, image: BaseImage) {
        self.images.insert(Self::key(reference), image);
    }

    /// The image of a reference.
    pub fn get(&self, reference: &str) -> Option<&BaseImage> {
        self.images.get(&Self::key(reference))
    }

    fn key(reference: &str) -> String {
        reference::Reference::parse(reference).map_or_else(|| reference.to_owned(), |r| r.tagged())
    }
}
