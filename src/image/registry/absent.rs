//! What stands for the client in a binary that was built without it.

use super::super::reference::Reference;
use super::{Download, Manifest, RegistryError};
use std::convert::Infallible;
use std::sync::Arc;

/// A registry that cannot be.
#[derive(Debug)]
pub(super) struct Host(Infallible);

/// A connection that cannot be.
#[derive(Debug)]
pub(super) struct Connection(Infallible);

impl Host {
    pub(super) fn new(_: &str) -> Result<Self, RegistryError> {
        Err(RegistryError::NotBuilt)
    }
}

impl Connection {
    pub(super) fn new(host: Arc<Host>, _: &Reference) -> Self {
        match host.0 {}
    }

    pub(super) fn manifest(&self, _: &str) -> Result<Option<Manifest>, RegistryError> {
        match self.0 {}
    }

    pub(super) fn document(&self, _: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        match self.0 {}
    }

    pub(super) fn has(&self, _: &str) -> Result<bool, RegistryError> {
        match self.0 {}
    }

    pub(super) fn download(&self, _: &str) -> Result<Option<Download>, RegistryError> {
        match self.0 {}
    }
}
