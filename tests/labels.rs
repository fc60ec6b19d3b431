//! Labels that people gave while they read real projects, against what the rules find there: how many of the risks are
//! found, and how many tempting places are left alone. Of a project only its Dockerfiles, its ignore files and the names at
//! its root are known; all other files are empty.
//!
//! The projects are not part of this repository; without them the test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Classes of labels, and the rules that are about them.
const CLASSES: &[(&str, &[&str])] = &[
    ("apt-lists-kept", &["apt-update-split"]),
    ("apt-no-update", &["apt-update-split"]),
    ("apt-split", &["apt-update-split"]),
    ("arg-redeclared", &["arg-scope-lost"]),
    ("arg-scope", &["arg-too-early", "volatile-arg-early"]),
    ("arg-to-env", &["arg-too-early", "volatile-arg-early", "platform-arg-too-early"]),
    ("base-mutable-channel", &["mutable-base-tag"]),
    ("base-mutable-tag", &["mutable-base-tag"]),
    ("bind-whole-context", &["source-before-deps", "duplicate-context-copy", "git-dir-copied"]),
    ("cache-mount-default-id", &["cache-mount-shared-id"]),
    ("cache-mount-output-lost", &["cache-mount-output-lost"]),
    ("cache-mount-platform-id", &["cache-mount-shared-id"]),
    ("cache-mount-sharing", &["cache-mount-shared-id"]),
    ("context-before-deps", &["source-before-deps"]),
    ("context-noise-git", &["git-dir-copied"]),
    ("copy-source-missing", &["dockerignore-hides-copied"]),
    ("date-in-run", &["stamp-frozen"]),
    ("deps-after-source", &["source-before-deps"]),
    ("deps-into-cache-mount", &["deps-into-cache-mount"]),
    ("dockerignore-pattern", &["dockerignore-gap"]),
    ("dockerignore-wrong-pattern", &["dockerignore-gap"]),
    ("external-image-mutable", &["mutable-copy-from"]),
    ("fetch-into-cache-mount", &["cache-mount-cross-run-state"]),
    ("flag-mismatch", &["dependency-build-mismatch"]),
    ("layer-dup", &["copy-overwrites", "duplicate-context-copy"]),
    ("missing-file-config", &["missing-manifest"]),
    ("missing-manifest", &["missing-manifest"]),
    ("no-deps-layer", &["source-before-deps", "no-deps-layer"]),
    ("no-dockerignore", &["missing-dockerignore"]),
    ("order-copy", &["source-before-deps"]),
    ("order-cross-stage", &["order-cross-stage", "source-before-deps", "tool-after-source"]),
    ("os-packages-after-copy", &["tool-after-source", "os-packages-after-copy"]),
    ("pip-no-cache-dir", &["cache-mount-defeated"]),
    ("planner-whole-context", &["source-before-deps", "duplicate-context-copy", "git-dir-copied"]),
    ("platform-arg-default", &["platform-arg-default", "platform-arg-missing"]),
    ("platform-arg-too-early", &["platform-arg-too-early", "volatile-arg-early"]),
    ("remote-fetch-stale", &["moving-remote-fetch"]),
    ("remote-script-stale", &["moving-remote-fetch"]),
    ("stale-dummy", &["rust-dummy-build-stale", "rust-partial-touch"]),
    ("syntax-mutable", &["mutable-base-tag"]),
    ("tool-after-source", &["tool-after-source"]),
    ("unpinned-tool", &["moving-remote-fetch", "unpinned-tool"]),
    ("unused-arg", &["arg-scope-lost"]),
    ("unused-stage", &["unreachable-check-stage"]),
    ("volatile-arg-early", &["volatile-arg-early"]),
    ("whole-context-late", &["source-before-deps", "duplicate-context-copy"]),
];

/// How many of the risks are found at least. No tempting place is reported.
const FOUND: usize = 52;

/// By repository, commit and path.
type Key = (String, String, String);

/// Dockerfiles with what BuildKit's parser says of them.
type Files = HashMap<Key, Value>;

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn key(value: &Value) -> Key {
    (text(value, "repo"), text(value, "commit"), text(value, "path"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The labels, the projects and the Dockerfiles, if they are beside the repository.
fn data() -> Option<(Vec<Value>, Vec<Value>, Files)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("LAYERLINT_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let corpus = shared.join("corpus");
    let labels = fs::read_to_string(corpus.join("labels.jsonl")).ok()?;
    let projects = fs::read_to_string(corpus.join("labelled-repos.jsonl")).ok()?;
    let mut dockerfiles = String::new();
    let packed = fs::File::open(corpus.join("dockerfiles.jsonl.gz")).ok()?;
    flate2::read::GzDecoder::new(packed).read_to_string(&mut dockerfiles).ok()?;
    let dockerfiles = lines(&dockerfiles).into_iter().map(|file| (key(&file), file)).collect();
    Some((lines(&labels), lines(&projects), dockerfiles))
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Puts down what is known of a project.
fn lay_out(dir: &Path, project: &Value, dockerfiles: &Files) {
    for name in project["root"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        match name.strip_suffix('/') {
            Some(folder) => fs::create_dir_all(dir.join(folder)).unwrap(),
            None => write(&dir.join(name), ""),
        }
    }
    write(&dir.join(".git/HEAD"), "ref: refs/heads/main\n");
    for path in project["labelled"].as_array().unwrap() {
        let path = path.as_str().unwrap().to_owned();
        let known = dockerfiles.get(&(text(project, "repo"), text(project, "commit"), path.clone()));
        if let Some(file) = known {
            write(&dir.join(&path), file["text"].as_str().unwrap_or_default());
        }
    }
    for (path, file) in project["dockerignore"].as_object().unwrap() {
        write(&dir.join(path), file["text"].as_str().unwrap_or_default());
    }
}

/// Rules with the first lines of their findings in a file.
fn findings(dir: &Path, path: &str) -> Vec<(String, Vec<u64>)> {
    let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .args(["check", "--format", "json", "--no-config", "--min-severity", "info", "--context", ".", path])
        .current_dir(dir)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let line =
        |place: &Value| (place["path"].as_str() == Some(path)).then(|| place["line"].as_u64()).flatten();
    let lines = |finding: &Value| {
        let related = finding["related"].as_array().cloned().unwrap_or_default();
        std::iter::once(finding).chain(&related).filter_map(line).collect()
    };
    let list = report["findings"].as_array().cloned().unwrap_or_default();
    list.iter().map(|f| (text(f, "rule"), lines(f))).collect()
}

#[test]
fn risks_are_found_and_tempting_places_left_alone() {
    let Some((labels, projects, dockerfiles)) = data() else {
        println!("skipped: there are no labelled projects beside the repository");
        return;
    };
    let trees: HashMap<(String, String), tempfile::TempDir> = projects
        .iter()
        .map(|project| {
            let dir = tempfile::tempdir().unwrap();
            lay_out(dir.path(), project, &dockerfiles);
            ((text(project, "repo"), text(project, "commit")), dir)
        })
        .collect();
    let mut known: HashMap<Key, Vec<(String, Vec<u64>)>> = HashMap::new();
    let mut table: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for label in &labels {
        let key = key(label);
        let Some(file) = dockerfiles.get(&key) else { continue };
        let dir = &trees[&(key.0.clone(), key.1.clone())];
        let found = known.entry(key.clone()).or_insert_with(|| findings(dir.path(), &key.2));
        let class = text(label, "class");
        let rules = CLASSES.iter().find(|(name, _)| *name == class).map_or(&[][..], |(_, rules)| *rules);
        let line = label["line"].as_u64().unwrap();
        // The instruction that the label is about.
        let within = file["truth"]["instructions"].as_array().and_then(|list| {
            let list = list.iter().map(|i| (i["s"].as_u64().unwrap_or(0), i["e"].as_u64().unwrap_or(0)));
            list.into_iter().find(|(start, end)| (*start..=*end).contains(&line))
        });
        let (start, end) = within.unwrap_or((line, line));
        let risk = label["verdict"] == "risk";
        let here = |lines: &[u64]| {
            // Of a tempting place only the main place counts.
            let lines = if risk { lines } else { lines.get(..1).unwrap_or_default() };
            lines.iter().any(|l| (start.saturating_sub(1)..=end + 1).contains(l))
        };
        let hit = found.iter().find(|(rule, lines)| rules.contains(&rule.as_str()) && here(lines));
        let row = table.entry(class.clone()).or_default();
        row[usize::from(!risk) * 2] += 1;
        row[usize::from(!risk) * 2 + 1] += usize::from(hit.is_some());
        if !risk && let Some((rule, _)) = hit {
            wrong.push(format!("{} {}:{line}: {rule}, {}", key.0, key.2, text(label, "why")));
        }
    }
    println!("{:28} risks found, tempting places reported", "class");
    let mut sum = [0; 4];
    for (class, row) in &table {
        println!("{class:28} {:2} of {:2}, {:2} of {:2}", row[1], row[0], row[3], row[2]);
        (0..4).for_each(|n| sum[n] += row[n]);
    }
    println!("{:28} {:2} of {:2}, {:2} of {:2}", "all", sum[1], sum[0], sum[3], sum[2]);
    assert!(sum[1] >= FOUND, "{} of {} risks are found, it has been {FOUND}", sum[1], sum[0]);
    assert!(wrong.is_empty(), "false alarms:\n{}", wrong.join("\n"));
}
