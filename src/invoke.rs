//! How a Dockerfile is built: what `docker buildx build` would be told.

mod bake;
pub mod call;
mod command;
mod compose;
mod expression;
mod from_file;
mod gitlab;
mod hcl;
mod make;
pub mod platform;
mod project;
mod root;
mod script;
mod workflow;
mod yaml;

pub use from_file::{Environment, FileError, from_bake, from_compose};
pub use project::{Project, kind_inside, kind_of, may_mention};
pub use root::{choose_context, context_candidates, literal_sources, without_dots};

use std::path::PathBuf;

/// One build, as said on a command line or in a file that builds it.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// `-f`: the Dockerfile; by default `Dockerfile` in the context.
    pub dockerfile: Option<PathBuf>,
    /// The context directory.
    pub context: PathBuf,
    /// `--target`: a stage name or number; by default the last stage.
    pub target: Option<String>,
    /// `--build-arg`, in order; the last one of a name counts.
    pub build_args: Vec<(String, String)>,
    /// Whether these are all arguments: one that is not given is not set. Otherwise it may have any value.
    pub args_known: bool,
    /// `--platform`; empty means the machine's own, `linux/<arch>`.
    pub platforms: Vec<String>,
    /// `--build-context NAME=VALUE`.
    pub contexts: Vec<(String, String)>,
    /// `--image REF=PATH`: where a base image can be read.
    pub images: Vec<(String, PathBuf)>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: stage names.
    pub no_cache_filter: Vec<String>,
    /// `--add-host NAME:IP`.
    pub add_hosts: Vec<String>,
    /// `--ulimit NAME=SOFT[:HARD]`.
    pub ulimits: Vec<String>,
    /// `--shm-size`.
    pub shm_size: Option<String>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--network`.
    pub network: Option<String>,
    /// What processes can read although it is in no key: `secret NAME` and `ssh NAME`, with a short digest of what
    /// `--secret` and `--ssh` give.
    pub outside: Vec<(String, String)>,
}

impl Invocation {
    /// The value of a build argument, if one is given.
    pub fn build_arg(&self, name: &str) -> Option<&str> {
        self.build_args.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}
