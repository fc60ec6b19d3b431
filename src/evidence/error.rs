//! Why evidence cannot be read.

use crate::image::registry::RegistryError;
use std::path::PathBuf;

/// Something that a build left behind and that cannot be read, or must not be.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The system refuses.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// the file
        path: PathBuf,
        /// what the system said
        source: std::io::Error,
    },
    /// Neither a folder nor an archive of a known kind.
    #[error("{} is no exported cache: {message}", path.display())]
    Kind {
        /// the file or folder
        path: PathBuf,
        /// what is missing
        message: String,
    },
    /// The same where an image is expected.
    #[error("{} is no image: {message}", path.display())]
    NoImage {
        /// the file or folder
        path: PathBuf,
        /// what is missing
        message: String,
    },
    /// Several images, of which one must be chosen.
    #[error("there are several images in {}", path.display())]
    Several {
        /// the archive
        path: PathBuf,
        /// what they are called
        known: Vec<String>,
    },
    /// An image, but none for that platform.
    #[error("there is no image for {wanted} in {}", path.display())]
    Platform {
        /// the image
        path: PathBuf,
        /// what was asked for
        wanted: String,
        /// what there is
        known: Vec<String>,
    },
    /// A document or archive says something that cannot be.
    #[error("{place}: {message}")]
    Malformed {
        /// the document
        place: String,
        /// what is wrong
        message: String,
    },
    /// Bytes under another name than their own.
    #[error("blob {digest} has other content than its name says: its digest is {found}")]
    Digest {
        /// its name
        digest: String,
        /// what it is
        found: String,
    },
    /// A document or layer that is named but not there.
    #[error("blob {digest} is missing")]
    Missing {
        /// its name
        digest: String,
    },
    /// More than anybody needs; reading on could take all memory or all day.
    #[error("{place}: {what} exceeds {limit}, which no build makes; it is not read any further")]
    TooLarge {
        /// the document, archive or layer
        place: String,
        /// what is too large
        what: &'static str,
        /// the bound, with its unit
        limit: String,
    },
    /// A registry does not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A name of `--ref` that nothing has.
    #[error("nothing in {} is called `{wanted}`", path.display())]
    Reference {
        /// the cache
        path: PathBuf,
        /// what was asked for
        wanted: String,
        /// what there is
        known: Vec<String>,
    },
}

impl EvidenceError {
    pub(super) fn malformed(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Malformed { place: place.into(), message: message.into() }
    }
}
