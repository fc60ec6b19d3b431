//! The client of the Docker engine that `tests/live.sh` started.

use std::process::{Command, Output};

/// Where the engine listens; set by `tests/live.sh`.
const HOST: &str = "LAYERLINT_LIVE_HOST";
/// The client, if it is not Debian's.
const CLIENT: &str = "LAYERLINT_LIVE_DOCKER";

/// The address of the engine of this run.
pub(crate) fn host() -> String {
    std::env::var(HOST)
        .unwrap_or_else(|_| panic!("{HOST} is not set: run tests/live.sh, which starts an engine of its own"))
}

/// What the client answers.
pub(crate) fn docker(args: &[&str]) -> Output {
    let client = std::env::var(CLIENT).unwrap_or_else(|_| "/usr/bin/docker".to_owned());
    Command::new(&client)
        .args(args)
        .env("DOCKER_HOST", host())
        .env("DOCKER_BUILDKIT", "1")
        .env_remove("DOCKER_CONTEXT")
        .output()
        .unwrap_or_else(|e| panic!("{client}: {e}"))
}
