//! BuildKit's own lowering: what each instruction means, and the operations it becomes.
//!
//! [`model::BuildModel`] follows every instruction of every stage with the state it sees (environment, directory,
//! user, shell) and its words expanded; rules read that. [`lower::BuildGraph`] holds the operations of the stages
//! that a target needs; keys are made of those. Nothing is hashed here.

pub mod lower;
pub mod mapping;
pub mod model;
pub mod process;
pub mod remote;
pub mod state;

mod mount;
mod name;
mod system;
mod value;
