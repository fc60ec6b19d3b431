//! Rust in a build: workspaces as their manifests in the build context tell, cargo's command lines, and which crates
//! a build takes for fresh although other sources were compiled.
//!
//! Cargo compares the time of a crate's files with the time of its last compilation; COPY keeps the times that the
//! files have in the context. [`timeline`] follows both through the steps of a stage. Nothing is executed, and a
//! manifest that cannot be read leaves a note, never a guess.

pub mod command;
pub mod find;
pub mod timeline;
pub mod workspace;

pub use workspace::{Package, Sources, Target, TargetKind, Workspace};
