//! layerlint tells people the truth about Docker's build cache.
//!
//! Data walks one way; a room knows the rooms before it and none after it:
//!
//! ```text
//!  files ─▶ source ─▶ syntax ─▶ stage ─▶ build ─▶ key ─▶ rule ─▶ report ─▶ people
//!                                  ▲        ▲      ▲       ▲
//!              invoke (how it is built) ────┘      │       │
//!              image  (what FROM resolves to) ─────┤       │
//!              context (what Docker would send) ───┘       │
//!              cargo (manifests of Rust workspaces) ───────┤
//!              evidence (exported caches, logs) ───────────┘
//! ```
//!
//! `tests/rooms.rs` reads the `use crate::` lines and fails on an edge that points backwards.

pub mod baseline;
pub mod build;
pub mod cargo;
pub mod cli;
pub mod config;
pub mod context;
pub mod evidence;
pub mod finding;
pub mod fix;
pub mod image;
pub mod invoke;
pub mod key;
pub mod report;
pub mod reuse;
pub mod rule;
pub mod source;
pub mod stage;
pub mod syntax;
