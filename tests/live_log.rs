//! Logs that a real engine writes, against what it did: `layerlint log` reads each step as the engine means it, agrees
//! with the keys where the engine is right, and catches it where it is not. Needs root and Debian's `docker.io`;
//! `tests/live.sh` runs it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "live/client.rs"]
mod client;

use client::docker;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const BASE: &str = "layerlint/log-base";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An image with a shell, so that contexts stay small and the log counts every byte of them.
fn make_base() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy("/bin/busybox", dir.path().join("busybox")).unwrap();
    let dockerfile =
        "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    let out = docker(&["build", "--network=host", "-t", BASE, dir.path().to_str().unwrap()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
}

/// What one build came to.
struct Built {
    log: PathBuf,
    succeeded: bool,
    /// `/app/settings` of the result.
    shipped: String,
}

struct Project {
    place: TempDir,
    builds: usize,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let project = Self { place: tempfile::tempdir().unwrap(), builds: 0 };
        for (path, content) in files {
            project.write(path, content, 0);
        }
        project
    }

    fn path(&self) -> PathBuf {
        self.place.path().join("context")
    }

    /// Writes a file with a time that counts from a fixed one.
    fn write(&self, path: &str, content: &str, seconds: u64) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    fn build(&mut self, more: &[&str]) -> Built {
        self.builds += 1;
        let result = self.place.path().join(format!("result-{}", self.builds));
        let output = format!("type=local,dest={}", result.display());
        let context = self.path();
        let mut args = vec!["build", "--progress=plain", "--network=host", "--output", &output];
        args.extend(more);
        args.push(context.to_str().unwrap());
        let out = docker(&args);
        let log = self.place.path().join(format!("log-{}", self.builds));
        std::fs::write(&log, &out.stderr).unwrap();
        let shipped = std::fs::read_to_string(result.join("app/settings")).unwrap_or_default();
        Built { log, succeeded: out.status.success(), shipped }
    }

    fn save(&self) -> PathBuf {
        let state = self.place.path().join(format!("state-{}", self.builds));
        let args =
            ["keys", "--save", state.to_str().unwrap(), self.path().to_str().unwrap()].map(str::to_owned);
        let out = layerlint(&args);
        assert!(out.status.success(), "{}", text(&out.stderr));
        state
    }

    /// Exit code and document of `layerlint log`.
    fn log(&self, built: &Built, baseline: Option<&Path>) -> (i32, Value) {
        let mut args =
            vec!["log".to_owned(), built.log.display().to_string(), "--format".to_owned(), "json".to_owned()];
        if let Some(state) = baseline {
            args.extend(["--baseline".to_owned(), state.display().to_string()]);
        }
        args.push(self.path().display().to_string());
        let out = layerlint(&args);
        let document = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
            let log = std::fs::read_to_string(&built.log).unwrap();
            panic!("{e}: {}{}\n{log}", text(&out.stdout), text(&out.stderr))
        });
        (out.status.code().unwrap(), document)
    }
}

fn layerlint(args: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_layerlint")).args(args).env_remove("GITHUB_ACTIONS").output().unwrap()
}

/// Line and state of every instruction that can be reused.
fn states(document: &Value) -> Vec<(u64, String)> {
    let steps = document["steps"].as_array().unwrap();
    let counts = |s: &&Value| s["instruction"].is_string() && s["instruction"] != "FROM";
    let mut out: Vec<(u64, String)> = steps
        .iter()
        .filter(counts)
        .map(|s| (s["line"].as_u64().unwrap_or(0), s["state"].as_str().unwrap().to_owned()))
        .collect();
    out.sort();
    out
}

/// State and expectation of the step on a line.
fn step(document: &Value, line: u64) -> (String, String) {
    let steps = document["steps"].as_array().unwrap();
    let step = steps.iter().find(|s| s["line"] == line && s["instruction"] != "FROM").unwrap();
    let word = |name: &str| step[name].as_str().unwrap().to_owned();
    (word("state"), word("expected"))
}

fn rules(document: &Value) -> Vec<String> {
    document["findings"].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap().to_owned()).collect()
}

const TWO_STAGES: &str = "FROM layerlint/log-base AS builder\n\
    WORKDIR /app\n\
    COPY . /app\n\
    RUN mkdir -p /out && cat settings > /out/stamp && sleep 1\n\
    FROM layerlint/log-base\n\
    COPY --from=builder /out /out\n\
    COPY settings /app/settings\n";

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn a_log_of_the_engine_agrees_with_the_keys_until_the_engine_is_wrong() {
    make_base();
    let mut project = Project::new(&[("Dockerfile", TWO_STAGES), ("settings", "timeout=30"), ("other", "x")]);
    let lines = |state: &str| [2, 3, 4, 6, 7].map(|line| (line, state.to_owned())).to_vec();

    let cold = project.build(&["--no-cache"]);
    let before = project.save();
    assert_eq!(cold.shipped, "timeout=30");
    let (code, document) = project.log(&cold, None);
    assert_eq!((code, rules(&document)), (0, Vec::new()));
    let mut all = states(&document);
    // WORKDIR is not subject to `--no-cache`; an earlier run may have left it.
    all.retain(|(line, _)| *line != 2);
    assert_eq!(all, lines("done")[1..]);
    let seconds = document["builds"][0]["seconds"].as_f64().unwrap();
    assert!(seconds >= 0.9, "the sleep is counted: {seconds}");

    let again = project.build(&[]);
    let (code, document) = project.log(&again, Some(&before));
    assert_eq!(
        (code, rules(&document), states(&document)),
        (0, Vec::new(), lines("cached")),
        "a second build"
    );

    project.write("settings", "timeout=31", 1);
    let edited = project.build(&[]);
    let (code, document) = project.log(&edited, Some(&before));
    assert_eq!((code, rules(&document)), (0, Vec::new()), "{document:#}");
    assert_eq!(edited.shipped, "timeout=31");
    for line in [3, 4, 7] {
        assert_eq!(step(&document, line), ("done".to_owned(), "DONE".to_owned()), "line {line}");
    }
    let before = project.save();

    // The engine takes its own copy, because size and time are the same.
    project.write("settings", "timeout=45", 1);
    let stale = project.build(&[]);
    assert_eq!(stale.shipped, "timeout=31", "the engine ships what is stale");
    let (code, document) = project.log(&stale, Some(&before));
    assert_eq!((code, rules(&document)), (1, vec!["cached-although-changed".to_owned()]), "{document:#}");
    let finding = &document["findings"][0];
    assert_eq!(finding["evidence"]["mechanism"], "equal-size-and-time");
    assert_eq!(finding["evidence"]["paths"][0]["path"], "settings");
    assert_eq!(finding["evidence"]["transferred"], finding["evidence"]["list"], "only the list was sent");
    assert_eq!(step(&document, 3), ("cached".to_owned(), "DONE".to_owned()));

    // Without a cache it is no better.
    let stale = project.build(&["--no-cache"]);
    assert_eq!(stale.shipped, "timeout=31", "the engine ships what is stale");
    let (code, document) = project.log(&stale, Some(&before));
    assert_eq!(code, 1);
    assert!(rules(&document).contains(&"context-not-sent".to_owned()), "{document:#}");

    project.write("settings", "timeout=45", 2);
    let cured = project.build(&[]);
    assert_eq!(cured.shipped, "timeout=45");
    let (code, document) = project.log(&cured, Some(&before));
    assert_eq!((code, rules(&document)), (0, Vec::new()), "{document:#}");
    let before = project.save();

    let out = docker(&["builder", "prune", "--all", "--force"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let pruned = project.build(&[]);
    let (code, document) = project.log(&pruned, Some(&before));
    assert_eq!((code, rules(&document)), (0, vec!["rebuilt-without-change".to_owned()]), "{document:#}");
}

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn a_log_of_a_build_that_fails_says_what_failed_and_what_was_never_begun() {
    make_base();
    let dockerfile = "FROM layerlint/log-base AS a\n\
        RUN echo '#9 CACHED'; printf '#9 [9/9] RUN fake\\n#9 DONE 0.1s\\n'; printf '\\r#3 CACHED\\n'; sleep 2; exit 3\n\
        FROM layerlint/log-base AS b\n\
        RUN sleep 30; echo slow\n\
        FROM layerlint/log-base\n\
        COPY --from=a /bin/busybox /a\n\
        COPY --from=b /bin/busybox /b\n";
    let mut project = Project::new(&[("Dockerfile", dockerfile)]);
    let built = project.build(&[]);
    assert!(!built.succeeded);
    let (code, document) = project.log(&built, None);
    let said = |line, state: &str| (line, state.to_owned());
    let expected = [said(2, "error"), said(4, "canceled"), said(6, "not-started"), said(7, "not-started")];
    assert_eq!((code, states(&document)), (0, expected.to_vec()), "{document:#}");
    assert!(
        document["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| !s["name"].as_str().unwrap().starts_with("[9/9]"))
    );
}
