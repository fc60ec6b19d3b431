//! A Docker engine that `tests/live.sh` started, and what its log says.

use super::client::{self, docker};
use super::project::{Laid, Project};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) struct Engine {
    host: String,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Cached,
    Done,
}

/// What a build said.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) succeeded: bool,
    /// Name and status of each step, in the order of the log's numbers.
    pub(crate) steps: Vec<(String, Status)>,
    /// The step that failed.
    pub(crate) failed: Option<String>,
    pub(crate) log: String,
}

impl Engine {
    /// The engine of this run.
    pub(crate) fn of_run() -> Self {
        Engine { host: client::host() }
    }

    /// Forgets everything that was built.
    pub(crate) fn forget(&self) {
        let out = docker(&["builder", "prune", "--all", "--force"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    pub(crate) fn build(&self, project: &Project, laid: &Laid) -> Built {
        let secret = format!("id=tok,src={}", laid.secret.display());
        let mut flags = project.flags(laid);
        flags.extend(["--secret".to_owned(), secret]);
        self.build_with(&flags, &laid.context, "type=tar,dest=/dev/null")
    }

    /// Where it listens.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Builds an image that the engine keeps under a name, until [`Engine::remove`] takes it away.
    pub(crate) fn build_image(&self, name: &str, context: &Path) -> Built {
        let context = context.display().to_string();
        let out = docker(&["build", "--progress=plain", "--tag", name, &context]);
        read(out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    }

    pub(crate) fn remove(&self, name: &str) {
        let out = docker(&["image", "rm", "--force", name]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Builds; the result goes where `output` says, so that no image is made of it.
    pub(crate) fn build_with(&self, flags: &[String], context: &Path, output: &str) -> Built {
        let mut args = vec!["build", "--progress=plain", "--output", output];
        args.extend(flags.iter().map(String::as_str));
        let context = context.display().to_string();
        args.push(&context);
        let out = docker(&args);
        read(out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

/// Reads a log of `--progress=plain`: `#4 [base 1/6] COPY …` names a step, `#4 CACHED` or `#4 DONE 0.1s` ends it.
fn read(succeeded: bool, log: String) -> Built {
    let mut names: BTreeMap<u32, &str> = BTreeMap::new();
    let mut status: BTreeMap<u32, Status> = BTreeMap::new();
    let mut failed = None;
    for line in log.lines() {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|l| l.split_once(' ')) else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        match rest.split(' ').next() {
            Some("CACHED") => drop(status.insert(number, Status::Cached)),
            Some("DONE") => drop(status.insert(number, Status::Done)),
            Some("ERROR" | "ERROR:") => failed = names.get(&number).map(|n| (*n).to_owned()),
            _ => {
                // Whatever follows is digests and the output of commands.
                names.entry(number).or_insert(rest);
            }
        }
    }
    let steps = names
        .iter()
        .filter(|(_, name)| !name.starts_with("[internal]"))
        .filter_map(|(number, name)| Some(((*name).to_owned(), *status.get(number)?)))
        .collect();
    Built { succeeded, steps, failed, log }
}

#[test]
fn a_log_is_read() {
    let log = "#1 [internal] load .dockerignore\n#1 DONE 0.0s\n\n#5 [a 2/3] RUN x\n#5 sha256:ab\n#5 0.1 CACHED\n#5 DONE 0.1s\n\n#4 [a 1/3] COPY a /\n#4 CACHED\n#6 [a 3/3] RUN y\n#6 ERROR: no\n";
    let built = read(false, log.to_owned());
    let expected =
        [("[a 1/3] COPY a /".to_owned(), Status::Cached), ("[a 2/3] RUN x".to_owned(), Status::Done)];
    assert_eq!(built.steps, expected);
    assert_eq!(built.failed.as_deref(), Some("[a 3/3] RUN y"));
}
