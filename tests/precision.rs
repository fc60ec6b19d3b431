//! How often each rule speaks on Dockerfiles of other people, alone and without their contexts. The figures are in
//! `tests/precision.txt`, and the README shows them. `UPDATE_PRECISION=1 cargo test --test precision` measures anew,
//! where the corpus lies beside the repository.

#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(clippy::print_stdout, reason = "a test without the corpus says so")]

use layerlint::finding::Severity;
use layerlint::rule::{ALL, Rule};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/precision.txt");

/// Findings per 100 files by rule, as they were measured.
fn committed() -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(FIGURES).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(rule, figure)| (rule.to_owned(), figure.parse().unwrap())).collect()
}

fn measured(corpus: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let texts: Vec<String> = corpus
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).ok()?["text"].as_str().map(str::to_owned)
        })
        .collect();
    for (n, text) in texts.iter().enumerate() {
        let folder = dir.path().join(n.to_string());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("Dockerfile"), text).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .args(["check", "--format", "json", "--no-config"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut counts: BTreeMap<&str, usize> = ALL.iter().map(|rule| (rule.name, 0)).collect();
    for finding in report["findings"].as_array().unwrap() {
        *counts.get_mut(finding["rule"].as_str().unwrap()).unwrap() += 1;
    }
    #[allow(clippy::cast_precision_loss)]
    let figure = |n: usize| n as f64 * 100.0 / texts.len().max(1) as f64;
    counts.iter().map(|(rule, n)| format!("{rule} {:.1}\n", figure(*n))).collect()
}

#[test]
fn the_figures_are_printed_and_can_be_renewed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/dockerfiles.jsonl.gz");
    let mut text = String::new();
    let file = std::fs::File::open(&corpus);
    if file.and_then(|f| flate2::read::GzDecoder::new(f).read_to_string(&mut text)).is_err() {
        println!("skipped: there is no {}", corpus.display());
        return;
    }
    let now = measured(&text);
    println!("findings per 100 Dockerfiles\n{now}");
    if std::env::var_os("UPDATE_PRECISION").is_some() {
        std::fs::write(FIGURES, now).unwrap();
    }
}

/// A rule that warns on more than one file in twenty has to say why that is right.
#[test]
fn what_warns_often_is_argued_for() {
    for (name, figure) in committed() {
        let Some(rule) = Rule::named(&name).filter(|rule| rule.severity() > Severity::Info) else { continue };
        let argued = ["## How common it is", "It is common"].iter().any(|words| rule.page.contains(words));
        assert!(
            figure <= 5.0 || argued,
            "{name} finds something {figure} times in 100 files: its page does not say why"
        );
    }
}
