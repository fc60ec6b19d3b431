//! `operations.json`: what BuildKit's Dockerfile frontend makes of odd Dockerfiles, as names and cache map digests.

#![allow(clippy::unwrap_used, clippy::panic)]

use layerlint::build::lower::{BuildGraph, Op};
use layerlint::build::model::BuildModel;
use layerlint::image::{Images, layout};
use layerlint::invoke::Invocation;
use layerlint::invoke::platform::Platform;
use layerlint::key::operation::cache_maps;
use layerlint::stage::StageGraph;
use layerlint::syntax;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::Path;

fn invocation(options: &Value, context: &Path) -> Invocation {
    let mut build = Invocation { context: context.to_path_buf(), args_known: true, ..Invocation::default() };
    for (name, value) in options.as_object().unwrap() {
        let value = value.as_str().unwrap().to_owned();
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match name.as_str() {
            "platform" => build.platforms = list(),
            "target" => build.target = Some(value),
            "no-cache" if value.is_empty() => build.no_cache = true,
            "no-cache" => build.no_cache_filter = list(),
            "add-hosts" => build.add_hosts = list(),
            "ulimit" => build.ulimits = list(),
            "shm-size" => build.shm_size = Some(value),
            "cgroup-parent" => build.cgroup_parent = Some(value),
            "force-network-mode" => build.network = Some(value),
            name => match name.split_once(':').unwrap() {
                ("build-arg", name) => build.build_args.push((name.to_owned(), value)),
                ("context", name) => {
                    build.contexts.push((name.to_owned(), value.trim_start_matches("local:").to_owned()));
                }
                other => panic!("option {other:?}"),
            },
        }
    }
    build
}

/// Names and digests of everything but sources, or what is wrong.
fn told(case: &Value, images: &Images, context: &Path) -> Result<BTreeSet<(String, String)>, String> {
    let build = invocation(&case["options"], context);
    let document = syntax::parse(case["dockerfile"].as_str().unwrap().as_bytes());
    if let Some(error) = document.errors.first() {
        return Err(error.message.clone());
    }
    let stages = StageGraph::new(&document, &build);
    if let Some(error) = stages.refusals().next() {
        return Err(error.message.clone());
    }
    let model = BuildModel::new(&stages, &build, images);
    let graph = BuildGraph::new(&model, images);
    if let Some(error) = model.errors().chain(&graph.errors).next() {
        return Err(error.message.clone());
    }
    let own = graph
        .vertices
        .iter()
        .filter(|v| !matches!(v.op, Op::Local(_) | Op::Image { .. } | Op::Http { .. } | Op::Git { .. }));
    let digest = |text: &String| {
        let hex: String = Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{hex}")
    };
    Ok(own.map(|v| (v.name.clone(), cache_maps(v).first().map(digest).unwrap_or_default())).collect())
}

#[test]
fn operations_are_those_of_buildkit() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors/operations.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let (mut wrong, mut right, mut refused) = (Vec::new(), 0, 0);
    for case in vectors["cases"].as_array().unwrap() {
        let platform = case["options"]["platform"].as_str().unwrap().split(',').next().unwrap();
        let platform = Platform::parse(platform).unwrap();
        let mut images = Images::default();
        for (reference, number) in case["images"].as_object().unwrap() {
            let file = temp.path().join(format!("{number}.json"));
            std::fs::write(&file, vectors["images"][number.as_u64().unwrap() as usize].to_string()).unwrap();
            images.insert(reference, layout::read(&file, None, &platform).unwrap());
        }
        let text = &case["dockerfile"];
        match (told(case, &images, temp.path()), &case["steps"]) {
            (Err(_), Value::Null) => refused += 1,
            (Ok(_), Value::Null) => wrong.push(format!("{text} is refused: {}", case["refused"])),
            (Err(message), _) => wrong.push(format!("{text} is accepted, and not refused: {message}")),
            (Ok(said), steps) => {
                // Equal operations are one for BuildKit, with the name of one of them.
                let digests: BTreeSet<&str> = said.iter().map(|(_, digest)| digest.as_str()).collect();
                let pairs: Vec<(&str, &str)> = steps
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|s| (s[0].as_str().unwrap(), s[1].as_str().unwrap()))
                    .collect();
                let expected: BTreeSet<&str> = pairs.iter().map(|(_, digest)| *digest).collect();
                let lost = pairs.iter().find(|(name, digest)| {
                    !digests.contains(digest) || !said.iter().any(|(n, d)| n == name && d == digest)
                });
                match lost {
                    Some((name, _)) => wrong.push(format!("{text}: no {name} in {said:#?}")),
                    None if digests != expected => wrong.push(format!("{text}: too much in {said:#?}")),
                    None => right += 1,
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong, {right} right:\n{}", wrong.len(), wrong.join("\n"));
    assert!(right > 200 && refused > 20, "{right} right, {refused} refused");
}
