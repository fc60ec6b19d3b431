//! What a build leaves behind: exported caches, the layers in them, and logs. Read, compared with what keys promise, never
//! trusted and never written.
//!
//! Everything here may come from somebody else. Documents are taken only if their digest is the one they are called
//! by, indexes are checked before they are followed, packed data has a bound on what it may unpack to, and nothing is
//! ever laid out on a disk. What belongs here: reading, and stating differences. What does not: whether a difference
//! matters.

pub mod audit;
pub mod cache;
pub mod effect;
pub mod engine;
pub mod expected;
pub mod explain;
pub mod image;
pub mod layer;
pub mod log;
pub mod prediction;
pub mod store;
pub mod tree;
pub mod verify;

mod error;
mod oci;
mod packed;
mod remote;

pub use error::EvidenceError;
