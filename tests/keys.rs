//! Keys against what a real BuildKit stored: `fixtures/vectors/cachekeys`, one build a file. Not only the digests
//! but the very texts that are hashed, the selectors, the content digests and the names of steps.

#![allow(clippy::unwrap_used, clippy::panic)]

mod vectors;

use layerlint::key::operation::cache_maps;
use serde_json::Value;
use std::collections::HashSet;

fn cases() -> Vec<(String, Value)> {
    let mut out: Vec<_> = std::fs::read_dir(vectors::path("cachekeys"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.file_stem().unwrap().to_string_lossy().into_owned(), vectors::load(&p)))
        .collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(out.len() >= 97, "{} vectors", out.len());
    out
}

#[test]
fn every_operation_hashes_the_text_that_buildkit_hashed() {
    let mut wrong = Vec::new();
    let mut right = 0;
    for (name, case) in cases() {
        let temp = tempfile::tempdir().unwrap();
        let (build, images) = vectors::invocation(temp.path(), &case, &case["images"]);
        vectors::with_plan(&build, &images, |_, graph, plan| {
            let maps: HashSet<String> = graph.vertices.iter().flat_map(cache_maps).collect();
            let inputs = || plan.steps.iter().flat_map(|s| &s.inputs);
            let selectors: HashSet<&str> = inputs().filter_map(|i| i.selector.as_deref()).collect();
            let contents: HashSet<&str> =
                inputs().filter_map(|i| i.content.as_ref()).map(|c| c.digest.as_str()).collect();
            let names: HashSet<&str> = graph.vertices.iter().map(|v| v.name.as_str()).collect();
            let mut check = |ok: bool, what: String| {
                if ok {
                    right += 1;
                } else {
                    wrong.push(format!("{name}: {what}"));
                }
            };
            let steps = case["steps"].as_array().unwrap();
            let deps = steps.iter().flat_map(|s| s["deps"].as_array().into_iter().flatten());
            let known: HashSet<&str> = deps.filter_map(|d| d["content_digest"].as_str()).collect();
            for content in &contents {
                // Also of stages: what is computed is what BuildKit found.
                check(known.contains(content), format!("content {content} is none of {known:?}"));
            }
            for step in steps {
                let remote = |s: &Value| {
                    ["http", "git"].iter().any(|k| s["source"].as_str().is_some_and(|u| u.starts_with(k)))
                };
                // What was fetched from a server is not known here.
                let fetched = |s: &Value| s["op"] == "source" && remote(s);
                if let Some(map) = step["cache_map"].as_str() {
                    check(maps.contains(map), format!("{} {map}\n  have {maps:#?}", step["name"]));
                }
                for map in step["cache_maps"].as_array().into_iter().flatten().filter(|_| !fetched(step)) {
                    let text = map["cache_map"].as_str().or(map.as_str()).unwrap_or_default();
                    if !text.is_empty() {
                        check(maps.contains(text), format!("{} {text}\n  have {maps:#?}", step["name"]));
                    }
                }
                let name = step["name"].as_str().unwrap();
                if step["op"] != "source" && !name.starts_with("[internal]") {
                    check(names.contains(name), format!("no step named {name}: {names:?}"));
                }
                let deps = step["deps"].as_array().into_iter().flatten();
                for (dep, input) in deps.zip(step["inputs"].as_array().into_iter().flatten()) {
                    if let Some(selector) = dep["selector_digest"].as_str() {
                        check(selectors.contains(selector), format!("{name}: selector {}", dep["selector"]));
                    }
                    let below = &steps[usize::try_from(input["step"].as_u64().unwrap()).unwrap()];
                    let known = below["source"].as_str().is_some_and(|s| s.starts_with("local://"))
                        || below["name"] == "[internal] preparing inline document";
                    if let Some(content) = dep["content_digest"].as_str().filter(|_| known) {
                        check(contents.contains(content), format!("{name}: content {}", dep["content"]));
                    }
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), wrong.len() + right, wrong.join("\n"));
    assert!(right > 600, "only {right} facts were compared");
}

#[test]
fn what_is_not_known_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let case = serde_json::json!({
        "dockerfile": "FROM rust:1.90\nCOPY a /a\nWORKDIR /w\nCOPY a b/\nRUN make\nFROM scratch\nCOPY a /a\nCOPY --from=0 /w /w\nADD https://files.invalid/x /x\n",
        "context": [{"path": "a", "content": "1"}],
    });
    let (build, images) = vectors::invocation(temp.path(), &case, &Value::Null);
    let exact: Vec<(String, bool, Vec<String>)> = vectors::with_plan(&build, &images, |_, graph, plan| {
        let steps = graph.vertices.iter().zip(&plan.steps);
        steps
            .filter(|(v, _)| v.step.is_some())
            .map(|(v, k)| (v.name.clone(), k.exact, k.unknown.clone()))
            .collect()
    });
    let told = |name: &str| {
        exact.iter().find(|(n, ..)| n.ends_with(name)).unwrap_or_else(|| panic!("{name}: {exact:?}"))
    };
    assert!(!told("] RUN make").1);
    assert!(
        told("] RUN make").2.iter().any(|u| u == "docker-image://docker.io/library/rust:1.90 (environment)")
    );
    assert!(told("[stage-1 1/3] COPY a /a").1, "a copy onto an empty file system depends on nothing else");
    assert!(!told("COPY --from=0 /w /w").1);
    assert!(told("ADD https://files.invalid/x /x").2.iter().any(|u| u.contains("files.invalid")));
}

/// Their keys can be computed, but the copying fails, so nothing is ever recorded under them.
#[test]
fn sources_that_are_not_there_are_told_though_the_checksum_does_not_notice() {
    let told = |copy: &str| -> Option<String> {
        let temp = tempfile::tempdir().unwrap();
        let case = serde_json::json!({
            "dockerfile": format!("FROM scratch\n{copy}\n"),
            "context": [{"path": "lib/a", "content": "1"}, {"path": "l", "target": "lib"}, {"path": "gone", "target": "x"}],
        });
        let (build, images) = vectors::invocation(temp.path(), &case, &Value::Null);
        vectors::with_plan(&build, &images, |_, _, plan| plan.steps.iter().find_map(|s| s.error.clone()))
    };
    assert_eq!(told("COPY lib/missing lib /w/").as_deref(), Some("\"/lib/missing\": not found"));
    assert_eq!(told("COPY lib/a/below lib /w/").as_deref(), Some("\"/lib/a/below\": not found"));
    assert_eq!(told("COPY lib/../gone lib ./ /w/").as_deref(), Some("\"/gone\": not found"));
    assert_eq!(told("COPY docs/*.md /w/").as_deref(), Some("\"/docs\": not found"));
    assert_eq!(told("COPY lib/deep/*/x? /w/").as_deref(), Some("\"/lib/deep\": not found"));
    for fine in
        ["COPY lib/a lib /w/", "COPY lib/*.md /w/", "COPY l/* /w/", "COPY no* /w/", "COPY l/a l lib /w/"]
    {
        assert_eq!(told(fine), None, "{fine}");
    }
}

/// `invalidation.json`: a build, one edit, and what a builder with nothing but the first build's cache reuses.
#[test]
fn reuse_after_an_edit_is_what_buildkit_reused() {
    use layerlint::key::matching::{Records, find};
    use std::collections::HashMap;
    let cases = vectors::load(&vectors::path("invalidation.json"));
    let mut wrong = Vec::new();
    let mut right = 0;
    for case in cases.as_array().unwrap() {
        let temp = tempfile::tempdir().unwrap();
        let facts = |side: &str| {
            let (build, images) = vectors::invocation(&temp.path().join(side), &case[side], &case["images"]);
            vectors::with_plan(&build, &images, |model, graph, plan| {
                let target = model.graph.target.and_then(|t| graph.outputs[t]).flatten();
                let names: Vec<String> = graph.vertices.iter().map(|v| v.name.clone()).collect();
                (plan.facts(graph), target, names)
            })
        };
        let (before, _, _) = facts("before");
        let (after, target, names) = facts("after");
        let outcomes = find(&after, target, &Records::of_build(&before), &HashMap::new());
        let expected = if case["steps_import"].is_array() { &case["steps_import"] } else { &case["steps"] };
        for step in expected.as_array().unwrap() {
            let name = step["name"].as_str().unwrap();
            let status = step["status"].as_str().unwrap();
            let source =
                name.starts_with("[internal]") || name.starts_with("[context") || name.contains("FROM ");
            if source || !matches!(status, "CACHED" | "DONE") {
                continue;
            }
            let said: Vec<&str> = names
                .iter()
                .zip(&outcomes)
                .filter(|(n, _)| *n == name)
                .map(|(_, o)| if o.cached { "CACHED" } else { "DONE" })
                .collect();
            if said.contains(&status) {
                right += 1;
            } else {
                wrong.push(format!("{}: {name} is {status}, said {said:?} ({})", case["name"], case["edit"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), wrong.len() + right, wrong.join("\n"));
    assert!(right > 300, "only {right} steps were compared");
}
