//! Findings that are known already: they stay known when lines move, and come back when something else is written.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const TWO: &str = "FROM debian:12.8-slim AS tools\nRUN apt-get update\nRUN apt-get install -y curl\n\
    FROM debian:12.8-slim\nRUN apt-get update\nRUN apt-get install -y curl\nCOPY --from=tools /a /a\n";

fn project(dockerfile: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    std::fs::write(dir.path().join("app/Dockerfile"), dockerfile).unwrap();
    dir
}

fn check(dir: &Path, args: &[&str]) -> (Option<i32>, serde_json::Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.args(["check", "--format", "json"]).args(args).current_dir(dir).stdin(Stdio::null());
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report, String::from_utf8(output.stderr).unwrap())
}

/// Lines of findings.
fn lines(report: &serde_json::Value) -> Vec<u64> {
    report["findings"].as_array().unwrap().iter().map(|f| f["line"].as_u64().unwrap()).collect()
}

#[test]
fn what_is_known_is_not_shown_and_does_not_fail() {
    let dir = project(TWO);
    let (code, report, stderr) = check(dir.path(), &["--write-baseline", "known.json"]);
    assert_eq!((code, lines(&report)), (Some(0), vec![]));
    assert_eq!(stderr, "2 findings written to `known.json`: they are known from now on\n");
    let (code, report, _) = check(dir.path(), &["--baseline", "known.json"]);
    assert_eq!((code, lines(&report)), (Some(0), vec![]));
    assert_eq!(report["summary"]["baseline"], serde_json::json!({ "known": 2, "stale": [] }));
    // From another folder, and named by the configuration.
    let (code, ..) = check(&dir.path().join("app"), &["--baseline", "../known.json", "Dockerfile"]);
    assert_eq!(code, Some(0));
    std::fs::write(dir.path().join("layerlint.toml"), "baseline = 'known.json'\n").unwrap();
    assert_eq!(check(&dir.path().join("app"), &[]).0, Some(0));
    assert_eq!(check(dir.path(), &["--no-config"]).0, Some(1));
}

#[test]
fn the_file_is_the_same_every_time() {
    let dir = project(TWO);
    check(dir.path(), &["--write-baseline", "a.json"]);
    check(dir.path(), &["--write-baseline", "b.json"]);
    let text = std::fs::read_to_string(dir.path().join("a.json")).unwrap();
    assert_eq!(text, std::fs::read_to_string(dir.path().join("b.json")).unwrap());
    insta::assert_snapshot!(text, @r##"
    {
      "schema": "layerlint.baseline/1",
      "findings": [
        {
          "path": "app/Dockerfile",
          "rule": "apt-update-split",
          "stage": "1",
          "fingerprint": "ef61481bbb5db838aa91d565e97d4c75"
        },
        {
          "path": "app/Dockerfile",
          "rule": "apt-update-split",
          "stage": "tools",
          "fingerprint": "b78ec3b2588db25f422dd4c093a1a3ba"
        }
      ]
    }
    "##);
}

#[test]
fn lines_may_move_and_blanks_may_change() {
    let dir = project(TWO);
    check(dir.path(), &["--write-baseline", "known.json"]);
    let moved = format!("# syntax=docker/dockerfile:1\n\n# a comment\n{TWO}")
        .replace("RUN apt-get install -y curl", "RUN   apt-get \\\n   # why\n  install -y curl");
    std::fs::write(dir.path().join("app/Dockerfile"), moved.replace('\n', "\r\n")).unwrap();
    let (code, report, _) = check(dir.path(), &["--baseline", "known.json"]);
    assert_eq!((code, lines(&report)), (Some(0), vec![]));
}

#[test]
fn what_is_new_comes_up_and_what_is_cured_is_told() {
    let dir = project(TWO);
    check(dir.path(), &["--write-baseline", "known.json"]);
    let edited = TWO.replacen("install -y curl", "install -y curl wget", 1);
    std::fs::write(dir.path().join("app/Dockerfile"), &edited).unwrap();
    let (code, report, _) = check(dir.path(), &["--baseline", "known.json"]);
    assert_eq!((code, lines(&report)), (Some(1), vec![3]));
    let stale = &report["summary"]["baseline"]["stale"];
    assert_eq!(
        *stale,
        serde_json::json!([{ "baseline": "known.json", "path": "app/Dockerfile", "rule": "apt-update-split" }])
    );
    // Who does not run cannot tell, and neither can who does not look.
    let (.., report, _) = check(dir.path(), &["--baseline", "known.json", "--ignore", "apt-update-split"]);
    assert_eq!(report["summary"]["baseline"]["stale"], serde_json::json!([]));
    std::fs::write(dir.path().join("app/Dockerfile"), "FORM x\n").unwrap();
    let (code, report, _) = check(dir.path(), &["--baseline", "known.json"]);
    assert_eq!((code, &report["summary"]["baseline"]["stale"]), (Some(4), &serde_json::json!([])));
    std::fs::remove_file(dir.path().join("app/Dockerfile")).unwrap();
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    let (.., report, _) = check(dir.path(), &["--baseline", "known.json"]);
    assert_eq!(report["summary"]["baseline"]["stale"].as_array().unwrap().len(), 2);
}

#[test]
fn twins_are_told_apart_by_their_number() {
    let twice = "FROM debian:12.8-slim\nRUN apt-get update\nRUN apt-get install -y curl\nRUN apt-get install -y curl\n";
    let dir = project(twice);
    let (.., report, _) = check(dir.path(), &[]);
    let before = lines(&report).len();
    check(dir.path(), &["--write-baseline", "known.json"]);
    std::fs::write(dir.path().join("app/Dockerfile"), format!("{twice}RUN apt-get install -y curl\n"))
        .unwrap();
    let (.., report, _) = check(dir.path(), &[]);
    let after = lines(&report).len();
    let (.., report, _) = check(dir.path(), &["--baseline", "known.json"]);
    assert_eq!(lines(&report).len(), after - before);
}

#[test]
fn another_kind_of_file_is_refused() {
    let dir = project(TWO);
    for (text, words) in [
        ("", "is no baseline"),
        ("{\"findings\":[]}", "has no `schema`"),
        ("{\"schema\":\"layerlint.baseline/2\",\"findings\":3}", "schema is `layerlint.baseline/2`"),
        ("{\"schema\":\"layerlint.baseline/1\",\"findings\":[{}]}", "missing field"),
    ] {
        std::fs::write(dir.path().join("known.json"), text).unwrap();
        let (code, _, stderr) = check(dir.path(), &["--baseline", "known.json"]);
        assert!(code == Some(2) && stderr.contains(words), "{text}: {stderr}");
    }
    let (code, _, stderr) = check(dir.path(), &["--baseline", "none.json"]);
    assert!(code == Some(2) && stderr.contains("cannot read the baseline `none.json`"), "{stderr}");
    assert_eq!(check(dir.path(), &["--write-baseline", "no/such/folder.json"]).0, Some(2));
}
