//! Real workflows are read as another reader of YAML reads them. The corpus lies beside the repository; without it the
//! test says that it did not run.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use flate2::read::GzDecoder;
use layerlint::invoke::Project;
use layerlint::invoke::call::{Cache, Call, DEFAULT_SCOPE, Starter, Text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/workflows.jsonl.gz");

/// Counts what was compared, and lists what differs.
#[derive(Default)]
struct Comparison {
    compared: usize,
    differences: Vec<String>,
}

impl Comparison {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, place: &str, what: &str, got: T, wanted: T) {
        self.compared += 1;
        if got != wanted {
            self.differences.push(format!("{place}: {what}: got {got:?}, wanted {wanted:?}"));
        }
    }
}

/// The steps of a job as the file has them: the calls at each place, the first execution for all.
fn steps<'p>(project: &'p Project, job: &str) -> Vec<Vec<&'p Call>> {
    let mut by_place: BTreeMap<u32, Vec<&Call>> = BTreeMap::new();
    for call in &project.calls {
        let here = project.job_of(call).is_some_and(|j| j.name == job);
        let step = match &call.starter {
            // The truth knows Docker's own actions only.
            Starter::Action(_) | Starter::Bake(_) => {
                let file = project.file_of(call).unwrap();
                file.source.text(call.head).contains("docker/")
            }
            Starter::Service(_) | Starter::Command(_) => false,
        };
        if here && step {
            by_place.entry(call.span.start).or_default().push(call);
        }
    }
    by_place.into_values().collect()
}

fn has_expression(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("${{"))
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|list| list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}

fn kinds(caches: &[Cache]) -> Vec<String> {
    caches.iter().map(|c| c.kind().unwrap_or("expression").to_owned()).collect()
}

fn compare(record: &Value, totals: &mut Comparison) {
    let text = record["text"].as_str().unwrap();
    let truth = &record["truth"];
    let name = format!("{} {}", record["repo"].as_str().unwrap(), record["path"].as_str().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(record["path"].as_str().unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    let project = Project::read(&[path]);
    let parsed = project.files.iter().all(|f| f.problem.is_none());
    totals.same(&name, "parses", parsed, truth["ok"] == true);
    let Some(jobs) = truth["jobs"].as_object() else { return };
    for (job, wanted) in jobs {
        let place = format!("{name} {job}");
        let steps = steps(&project, job);
        let count = wanted["build_push_steps"].as_u64().unwrap() + wanted["bake_steps"].as_u64().unwrap();
        totals.same(&place, "steps", steps.len() as u64, count);
        for (calls, wanted) in steps.iter().zip(wanted["steps"].as_array().unwrap()) {
            let call = calls[0];
            let place = format!("{place} at {}", call.span.start);
            let action = matches!(call.starter, Starter::Action(_));
            totals.same(&place, "kind", action, wanted["kind"] == "build-push");
            if !action {
                continue;
            }
            let known = |text: Option<&Text>| text.and_then(Text::known).map(str::to_owned);
            let clean = |path: &str| {
                let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
                if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
            };
            for (field, got) in [
                ("context", known(call.context.as_ref().map(|c| c.text()))),
                ("file", known(call.dockerfile.as_ref())),
                ("target", known(call.target.as_ref())),
            ] {
                let Some(text) = wanted[field].as_str().filter(|t| !t.is_empty()) else { continue };
                let local = !text.contains("://") && !text.starts_with("{{");
                if !has_expression(&wanted[field]) && local {
                    let got = got.map(|g| if field == "target" { g } else { clean(&g) });
                    let text = if field == "target" { text.to_owned() } else { clean(text) };
                    totals.same(&place, field, got, Some(text));
                }
            }
            let names: BTreeSet<String> = call.args.iter().map(|(name, _)| name.clone()).collect();
            let wanted_names: BTreeSet<String> = strings(&wanted["build_args"]).into_iter().collect();
            totals.same(&place, "build arguments", names, wanted_names);
            for (field, got) in [("cache_from", &call.cache_from), ("cache_to", &call.cache_to)] {
                let list = wanted[field].as_array().unwrap();
                let wanted_kinds: Vec<String> =
                    list.iter().map(|c| c["type"].as_str().unwrap().to_owned()).collect();
                totals.same(&place, field, kinds(got), wanted_kinds);
                for (got, wanted) in got.iter().zip(list) {
                    let default = got.kind() == Some("gha")
                        && got.field("scope").unwrap_or(DEFAULT_SCOPE) == DEFAULT_SCOPE;
                    totals.same(&place, "default scope", default, wanted["scope_default"] == true);
                    totals.same(&place, "mode", got.field("mode"), wanted["mode"].as_str());
                }
            }
        }
    }
}

#[test]
fn workflows_of_the_corpus_are_read_as_their_truth_says() {
    let Ok(file) = std::fs::File::open(Path::new(CORPUS)) else {
        eprintln!("skipped: there is no {CORPUS}");
        return;
    };
    let mut totals = Comparison::default();
    let mut files = 0;
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        compare(&serde_json::from_str(&line.unwrap()).unwrap(), &mut totals);
        files += 1;
    }
    for difference in &totals.differences {
        eprintln!("{difference}");
    }
    let (compared, different) = (totals.compared, totals.differences.len());
    eprintln!("{files} files, {compared} facts compared, {different} differ");
    assert!(files > 100 && compared > 1_000, "the corpus is smaller than it should be");
    assert!(different * 100 <= compared, "{different} of {compared} facts differ");
}
