//! Registries (OCI distribution specification): manifests and blobs of one repository, and what a reference resolves
//! to.
//!
//! The only room of the program that opens a connection, and only when a command line asks for it. It can be left
//! out: without the cargo feature `registry` everything here is still named, and [`Registries::repository`] says that
//! this binary cannot do it. Nothing is believed: documents have bounds, and their digests are checked. Whoever reads
//! a layer has to check its digest at the end.

use super::layout::{Source, descend};
use super::reference::Reference;
use super::{BaseImage, is_digest, sha256};
use crate::invoke::platform::Platform;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod error;

#[cfg(not(feature = "registry"))]
mod absent;
#[cfg(feature = "registry")]
mod client;
#[cfg(feature = "registry")]
mod credentials;

#[cfg(not(feature = "registry"))]
use absent as client;

pub use error::RegistryError;

/// A layer as it comes from the network, and its length as the registry states it.
pub type Download = (Box<dyn Read + Send>, Option<u64>);

/// A manifest or index, and the digest that the registry states for it.
type Manifest = (Vec<u8>, Option<String>);

/// The registries that one run of the program has asked. Each reference is looked up once, so that everything that is
/// said about it is about the same image.
#[derive(Clone, Debug, Default)]
pub struct Registries(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    hosts: HashMap<String, Arc<client::Host>>,
    roots: HashMap<String, Root>,
}

/// What a reference stands for: a manifest, or an index of manifests.
#[derive(Clone, Debug)]
struct Root {
    digest: String,
    bytes: Arc<Vec<u8>>,
}

/// One repository in a registry, seen through a reference.
#[derive(Debug)]
pub struct Repository {
    reference: Reference,
    connection: client::Connection,
    root: Root,
    /// What indexes call a manifest: that lies in another place than blobs do.
    manifests: Mutex<HashSet<String>>,
}

/// As much of an index as it takes to know what is a manifest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Listed {
    manifests: Option<Vec<ListedManifest>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListedManifest {
    media_type: String,
    digest: String,
}

/// Nothing here panics while it holds a lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registries {
    /// Whether this binary can ask registries at all.
    pub const AVAILABLE: bool = cfg!(feature = "registry");

    /// Asks what a reference stands for.
    pub fn repository(&self, reference: &Reference) -> Result<Repository, RegistryError> {
        let registry = reference.registry().to_owned();
        let host = locked(&self.0).hosts.get(&registry).cloned();
        let host = match host {
            Some(host) => host,
            None => {
                let host = Arc::new(client::Host::new(&registry)?);
                locked(&self.0).hosts.insert(registry, Arc::clone(&host));
                host
            }
        };
        let connection = client::Connection::new(host, reference);
        let name = reference.tagged();
        let known = locked(&self.0).roots.get(&name).cloned();
        let root = match known {
            Some(root) => root,
            None => {
                let root = root(&connection, reference)?;
                locked(&self.0).roots.insert(name, root.clone());
                root
            }
        };
        let manifests = Mutex::new(HashSet::from([root.digest.clone()]));
        let repository = Repository { reference: reference.clone(), connection, root, manifests };
        repository.learn(&repository.root.bytes);
        Ok(repository)
    }

    /// What BuildKit would take for a reference when it builds for a platform.
    pub fn resolve(&self, reference: &str, platform: &Platform) -> Result<BaseImage, RegistryError> {
        let reference =
            Reference::parse(reference).ok_or_else(|| RegistryError::Reference(reference.to_owned()))?;
        let repository = self.repository(&reference)?;
        descend(&repository, &repository.root.digest, platform)
    }
}

fn root(connection: &client::Connection, reference: &Reference) -> Result<Root, RegistryError> {
    let wanted = match (&reference.digest, &reference.tag) {
        (Some(digest), _) if !is_digest(digest) => {
            return Err(RegistryError::Reference(reference.tagged()));
        }
        (Some(digest), _) => digest.as_str(),
        (None, Some(tag)) => tag,
        (None, None) => "latest",
    };
    let name = || reference.tagged();
    let found = connection.manifest(wanted)?.ok_or_else(|| RegistryError::NotFound { reference: name() })?;
    let (bytes, stated) = found;
    let digest = sha256(&bytes);
    let expected = reference.digest.clone().or(stated.filter(|d| is_digest(d)));
    if let Some(expected) = expected.filter(|e| *e != digest) {
        return Err(RegistryError::Digest { reference: name(), expected, found: digest });
    }
    Ok(Root { digest, bytes: Arc::new(bytes) })
}

impl Repository {
    /// The reference, normalised.
    pub fn reference(&self) -> String {
        self.reference.tagged()
    }

    /// Digest of the manifest or index that the reference stands for.
    pub fn digest(&self) -> &str {
        &self.root.digest
    }

    /// A manifest, an index or a configuration; none if it is not there.
    pub fn document(&self, digest: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        if digest == self.root.digest {
            return Ok(Some(self.root.bytes.as_ref().clone()));
        }
        let digest = self.checked(digest)?;
        if !self.is_manifest(digest) {
            let found = self.connection.document(digest)?;
            return found.map(|bytes| self.verified(digest, bytes)).transpose();
        }
        let Some((bytes, _)) = self.connection.manifest(digest)? else { return Ok(None) };
        let bytes = self.verified(digest, bytes)?;
        self.learn(&bytes);
        Ok(Some(bytes))
    }

    /// Whether an index that has been read calls this a manifest.
    pub fn is_manifest(&self, digest: &str) -> bool {
        locked(&self.manifests).contains(digest)
    }

    fn learn(&self, document: &[u8]) {
        let listed: Listed = serde_json::from_slice(document).unwrap_or_default();
        let is_manifest = |m: &ListedManifest| {
            let kind = m.media_type.as_str();
            // An older form of exported caches lists layers among its manifests.
            kind.is_empty() || kind.contains("manifest") || kind.contains("image.index")
        };
        let digests = listed.manifests.into_iter().flatten().filter(is_manifest).map(|m| m.digest);
        locked(&self.manifests).extend(digests);
    }

    /// Whether a blob is there.
    pub fn has(&self, digest: &str) -> Result<bool, RegistryError> {
        self.connection.has(self.checked(digest)?)
    }

    /// A blob, as it comes; none if it is not there. Its digest is not checked.
    pub fn download(&self, digest: &str) -> Result<Option<Download>, RegistryError> {
        self.connection.download(self.checked(digest)?)
    }

    /// A digest goes into an address: nothing else may.
    fn checked<'d>(&self, digest: &'d str) -> Result<&'d str, RegistryError> {
        if is_digest(digest) {
            return Ok(digest);
        }
        let shown: String = digest.chars().take(80).flat_map(char::escape_debug).collect();
        let message = format!("it points to `{shown}`, which is no SHA-256 digest");
        Err(RegistryError::Malformed { reference: self.reference(), message })
    }

    fn verified(&self, digest: &str, bytes: Vec<u8>) -> Result<Vec<u8>, RegistryError> {
        let found = sha256(&bytes);
        if found == digest {
            return Ok(bytes);
        }
        Err(RegistryError::Digest { reference: self.reference(), expected: digest.to_owned(), found })
    }

    fn missing(&self, digest: &str) -> RegistryError {
        let message = format!("blob {digest} is missing");
        RegistryError::Malformed { reference: self.reference(), message }
    }
}

impl Source for Repository {
    type Error = RegistryError;

    fn manifest(&self, digest: &str) -> Result<Vec<u8>, RegistryError> {
        self.document(digest)?.ok_or_else(|| self.missing(digest))
    }

    fn config(&self, digest: &str) -> Result<Vec<u8>, RegistryError> {
        self.document(digest)?.ok_or_else(|| self.missing(digest))
    }

    fn malformed(&self, digest: &str, message: String) -> RegistryError {
        let message = format!("{digest}: {message}");
        RegistryError::Malformed { reference: self.reference(), message }
    }

    fn other_platforms(&self, wanted: &Platform, known: &[Platform]) -> RegistryError {
        RegistryError::Platform {
            reference: self.reference(),
            wanted: wanted.to_string(),
            known: known.iter().map(Platform::to_string).collect(),
        }
    }
}
