//! What a project configures: where the file is found, what it changes, and what its mistakes look like.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A directory with these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

/// What came of a run.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", self.stdout, self.stderr))
    }

    /// `path:line rule severity` of every finding.
    fn found(&self) -> Vec<String> {
        let report = self.json();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let line = |f: &Value| {
            format!("{}:{} {} {}", text(&f["path"]), f["line"], text(&f["rule"]), text(&f["severity"]))
        };
        report["findings"].as_array().unwrap().iter().map(line).collect()
    }
}

fn run(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .env_remove("GITHUB_ACTIONS")
        .env("NO_COLOR", "1");
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn check(dir: &TempDir, args: &[&str]) -> Ran {
    run(dir.path(), &[&["check", "--format", "json"], args].concat())
}

/// A warning on line 2 and 3 each.
const SPLIT: &str = "FROM debian:12.8-slim\nRUN apt-get update\nRUN apt-get install -y curl\n";
const MOVING: &str = "FROM example.com/tools/base\nCOPY --from=example.com/tools/bin:latest /a /a\n";

#[test]
fn the_nearest_file_counts_and_only_it() {
    let dir = tree(&[
        ("layerlint.toml", "[rules]\napt-update-split = 'error'\n"),
        ("a/Dockerfile", SPLIT),
        ("b/.layerlint.toml", "[rules]\napt-update-split = 'info'\n"),
        ("b/c/Dockerfile", SPLIT),
        (
            "d/Cargo.toml",
            "[package]\nname = 'd'\n\n[package.metadata.layerlint]\nignore = ['apt-update-split']\n",
        ),
        ("d/Dockerfile", SPLIT),
        ("e/Cargo.toml", "[package]\nname = 'e'\n"),
        ("e/Dockerfile", SPLIT),
        ("f/Cargo.toml", "[workspace.metadata.layerlint.rules]\napt-update-split = 'warning'\n"),
        ("f/g/Dockerfile", SPLIT),
    ]);
    let ran = check(&dir, &[]);
    assert_eq!(
        ran.found(),
        [
            "a/Dockerfile:3 apt-update-split error",
            "b/c/Dockerfile:3 apt-update-split info",
            "e/Dockerfile:3 apt-update-split error",
            "f/g/Dockerfile:3 apt-update-split warning"
        ]
    );
    // From inside it is the same, and by name alone as well.
    assert_eq!(run(&dir.path().join("b/c"), &["check", "Dockerfile"]).code, Some(0));
    assert_eq!(check(&dir, &["--no-config", "b"]).found(), ["b/c/Dockerfile:3 apt-update-split warning"]);
    assert_eq!(check(&dir, &["--config", "d/Cargo.toml"]).found(), Vec::<String>::new());
}

#[test]
fn the_command_line_counts_more() {
    let dir = tree(&[
        ("layerlint.toml", "select = ['stamp-frozen']\nfail-on = 'never'\nmin-severity = 'error'\n"),
        ("Dockerfile", SPLIT),
    ]);
    assert_eq!(check(&dir, &[]).found(), Vec::<String>::new());
    assert_eq!(check(&dir, &["--select", "apt-update-split"]).found(), Vec::<String>::new());
    let ran = check(&dir, &["--select", "apt-update-split", "--min-severity", "info"]);
    assert_eq!((ran.found().len(), ran.code), (1, Some(0)));
    let ran =
        check(&dir, &["--select", "apt-update-split", "--min-severity", "info", "--fail-on", "warning"]);
    assert_eq!(ran.code, Some(1));
}

#[test]
fn each_file_fails_on_what_its_own_configuration_says() {
    let dir = tree(&[
        ("a/layerlint.toml", "fail-on = 'never'\n"),
        ("a/Dockerfile", SPLIT),
        ("b/layerlint.toml", "fail-on = 'error'\n"),
        ("b/Dockerfile", SPLIT),
    ]);
    assert_eq!(check(&dir, &[]).code, Some(0));
    std::fs::write(dir.path().join("b/layerlint.toml"), "fail-on = 'info'\n").unwrap();
    assert_eq!(check(&dir, &[]).code, Some(1));
}

#[test]
fn mistakes_are_shown_with_their_place() {
    let dir = tree(&[
        ("layerlint.toml", "# ours\n[rules.mutable-base-tag]\nalow = ['x']\n"),
        ("Dockerfile", SPLIT),
    ]);
    let ran = check(&dir, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    insta::assert_snapshot!(ran.stderr, @r"
    error[configuration]

      × there is no key `alow` here
       ╭─[layerlint.toml:3:1]
     2 │ [rules.mutable-base-tag]
     3 │ alow = ['x']
       · ──┬─
       ·   ╰── here
       ╰────
      help: the nearest name is `allow`
    ");
    assert_eq!(check(&dir, &["--no-config"]).code, Some(1));
    for (name, text) in [
        ("layerlint.toml", "[rules"),
        ("layerlint.toml", "\u{FEFF}a = \n"),
        ("layerlint.toml", "baseline = 3\n"),
        ("Cargo.toml", "[package.metadata.layerlint]\nx = 1\n"),
        ("Cargo.toml", "[package.metadata.layerlint]\n[workspace.metadata.layerlint]\n"),
    ] {
        let dir = tree(&[(name, text), ("Dockerfile", SPLIT)]);
        assert_eq!(check(&dir, &[]).code, Some(2), "{text}");
    }
    let dir = tree(&[("Dockerfile", SPLIT), ("other.toml", "")]);
    assert_eq!(check(&dir, &["--config", "none.toml"]).code, Some(2));
    assert_eq!(check(&dir, &["--config", "other.toml"]).code, Some(1));
    assert_eq!(check(&dir, &["--config", "other.toml", "--no-config"]).code, Some(2));
}

#[test]
fn a_manifest_of_somebody_else_is_none_of_our_business() {
    for text in ["layerlint = [", "# layerlint\n[package]\n", "[dependencies]\nlayerlint = '1'\n", "\u{FEFF}"]
    {
        let dir = tree(&[("Cargo.toml", text), ("Dockerfile", "FROM scratch\n")]);
        assert_eq!(check(&dir, &[]).code, Some(0), "{text}");
    }
}

#[test]
fn rules_have_options() {
    let dir = tree(&[
        (
            "layerlint.toml",
            "[rules.mutable-base-tag]\nallow = ['example.com/tools/*']\n[rules.mutable-copy-from]\nseverity = 'info'\n",
        ),
        ("Dockerfile", MOVING),
        (
            "args/Dockerfile",
            "FROM debian:12.8-slim\nARG PIPELINE=unknown\nRUN apt-get update && apt-get install -y curl\nRUN echo $PIPELINE > /x\n",
        ),
        ("args/layerlint.toml", "[rules.volatile-arg-early]\nnames = ['PIPELINE']\n"),
    ]);
    assert_eq!(
        check(&dir, &[]).found(),
        ["Dockerfile:2 mutable-copy-from info", "args/Dockerfile:2 volatile-arg-early info"]
    );
}

#[test]
fn paths_have_rules_of_their_own_and_may_be_left_out() {
    let dir = tree(&[
        ("layerlint.toml", "exclude = ['third_party']\n[per-file-ignores]\n'old/*' = ['apt-update-split']\n"),
        ("Dockerfile", SPLIT),
        ("old/Dockerfile", SPLIT),
        ("third_party/x/Dockerfile", SPLIT),
    ]);
    assert_eq!(check(&dir, &[]).found(), ["Dockerfile:3 apt-update-split warning"]);
    let named = "third_party/x/Dockerfile";
    assert_eq!(check(&dir, &[named]).found(), ["third_party/x/Dockerfile:3 apt-update-split warning"]);
    // A hook must not fail because all that was edited is left out.
    assert_eq!(check(&dir, &[named, "--force-exclude"]).code, Some(0));
    assert_eq!(run(&dir.path().join("third_party"), &["check"]).code, Some(3));
}

#[test]
fn a_dockerfile_is_built_as_the_configuration_says() {
    let dir = tree(&[
        (
            "cfg/layerlint.toml",
            "[[build]]\ndockerfile = 'docker/Dockerfile'\ncontext = '../src'\nargs = { A = 1 }\n",
        ),
        ("cfg/docker/Dockerfile", "FROM scratch\nCOPY . /app\n"),
        ("src/.dockerignore", "*.md\n"),
        ("src/node_modules/a/index.js", "1"),
        ("src/package.json", "{}"),
    ]);
    let ran = check(&dir, &["cfg"]);
    assert_eq!(ran.found(), ["cfg/docker/Dockerfile:2 dockerignore-gap warning"]);
    assert_eq!(check(&dir, &["cfg", "--context", "cfg"]).found(), Vec::<String>::new());
}

#[test]
fn base_images_come_from_the_configuration() {
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:aa"]}}"#;
    let dir = tree(&[
        ("layerlint.toml", "[images]\n'example.com/base:1' = 'images/base.json'\n"),
        ("images/base.json", config),
        ("app/Dockerfile", "FROM example.com/base:1\nRUN true\n"),
    ]);
    let keys =
        |args: &[&str]| run(dir.path(), &[&["keys", "--format", "json"], args, &["app"]].concat()).json();
    let env = |keys: &Value| keys["steps"].as_array().unwrap().last().unwrap()["env"].clone();
    assert_eq!(env(&keys(&[])), serde_json::json!(["PATH=/bin"]));
    assert_ne!(env(&keys(&["--no-config"])), serde_json::json!(["PATH=/bin"]));
}
