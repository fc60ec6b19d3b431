//! Builds of many shapes, and what the rules about cargo and cache mounts say of each: `fixtures/cargo/builds.json`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

const RULES: &str =
    "rust-dummy-build-stale,rust-partial-touch,cache-mount-stale-output,cache-mount-output-lost";

#[test]
fn every_build_is_judged_as_its_case_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/cargo/builds.json");
    let cases: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in case["files"].as_object().unwrap() {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.as_str().unwrap()).unwrap();
        }
        fs::write(dir.path().join("Dockerfile"), case["dockerfile"].as_str().unwrap()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
            .args(["check", "--format", "json", "--no-config", "--select", RULES, "."])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let mut found: Vec<&str> = findings.iter().map(|f| f["rule"].as_str().unwrap()).collect();
        found.sort_unstable();
        let wanted: Vec<&str> =
            case["rules"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
        if found != wanted || report["errors"].as_array().is_some_and(|e| !e.is_empty()) {
            wrong.push(format!("{}: wanted {wanted:?}, got {found:?}\n{report:#}", case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
