//! What is read from build logs is what BuildKit said, whatever CI systems put around it and processes print into it.

#![allow(clippy::unwrap_used, clippy::panic)]

use layerlint::evidence::log::{BuildLog, LoggedStep, StepState};
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/logs");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    cases
}

fn read(bytes: &[u8]) -> BuildLog {
    BuildLog::read(bytes, &|_| true).unwrap()
}

fn plain(case: &Path) -> String {
    std::fs::read_to_string(case.join("log.plain.txt")).unwrap()
}

/// Everything but the places in the log.
fn said(log: &BuildLog) -> Vec<Vec<(String, StepState, Option<String>, u64)>> {
    let step =
        |s: &LoggedStep| (s.name.clone(), s.state, s.seconds.map(|s| format!("{s:.1}")), s.output_lines);
    log.builds.iter().map(|b| b.steps.iter().map(step).collect()).collect()
}

fn state(word: &str) -> StepState {
    use StepState::*;
    [NotStarted, Unfinished, Cached, Done, Error, Canceled].into_iter().find(|s| s.name() == word).unwrap()
}

#[test]
fn every_step_of_the_vectors_is_in_the_state_that_buildkit_reports() {
    let mut compared = 0;
    for case in cases() {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(case.join("expect.json")).unwrap()).unwrap();
        for file in ["log.plain.txt", "log.rawjson", "log.history.rawjson"] {
            let Ok(bytes) = std::fs::read(case.join(file)) else { continue };
            let log = read(&bytes);
            assert_eq!((log.builds.len(), log.notes.as_slice()), (1, [].as_slice()), "{case:?} {file}");
            let is_plain = file == "log.plain.txt";
            for step in expected["steps"].as_array().unwrap() {
                let (name, wanted) = (step["name"].as_str().unwrap(), state(step["state"].as_str().unwrap()));
                let found: Vec<StepState> =
                    log.builds[0].steps.iter().filter(|s| s.name == name).map(|s| s.state).collect();
                // Plain progress has no line for what never began, and one for both halves of a `COPY --link`.
                if is_plain
                    && (wanted == StepState::NotStarted
                        || name.contains(" --link ")
                        || name.contains("LINK "))
                {
                    continue;
                }
                assert!(found.contains(&wanted), "{case:?} {file}: {name} is {wanted:?}, read {found:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "only {compared} steps were compared");
}
