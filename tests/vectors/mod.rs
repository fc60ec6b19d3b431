//! Builds described by a vector, laid out on the disk and taken through the library as the command line would.

#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use base64::Engine as _;
use layerlint::build::lower::BuildGraph;
use layerlint::build::model::BuildModel;
use layerlint::image::{Images, layout};
use layerlint::invoke::Invocation;
use layerlint::invoke::platform::Platform;
use layerlint::key::plan::{Contexts, KeyPlan};
use layerlint::stage::StageGraph;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A vector file or folder below `fixtures/vectors`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors").join(name)
}

pub(crate) fn load(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Lays out files, directories and links below `root`.
pub(crate) fn lay_out(root: &Path, entries: &Value) {
    std::fs::create_dir_all(root).unwrap();
    let mut directories = Vec::new();
    for entry in entries.as_array().into_iter().flatten() {
        let at = root.join(entry["path"].as_str().unwrap());
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let kind =
            entry["type"].as_str().unwrap_or(if entry["target"].is_string() { "symlink" } else { "file" });
        let mode = |default| u32::from_str_radix(entry["mode"].as_str().unwrap_or(default), 8).unwrap();
        match kind {
            "dir" => {
                std::fs::create_dir_all(&at).unwrap();
                directories.push((at, mode("0755")));
            }
            "symlink" => std::os::unix::fs::symlink(entry["target"].as_str().unwrap(), &at).unwrap(),
            "file" => {
                let content = match entry["content_b64"].as_str() {
                    Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
                    None => entry["content"].as_str().unwrap_or_default().as_bytes().to_vec(),
                };
                std::fs::write(&at, content).unwrap();
                std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode("0644"))).unwrap();
            }
            other => panic!("entry type {other}"),
        }
    }
    for (at, mode) in directories {
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// An OCI layout with the manifest and configuration of an image, and its index if it has one.
pub(crate) fn oci_layout(root: &Path, image: &Value) -> PathBuf {
    let blobs = root.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |text: &str| {
        let hex: String = Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect();
        std::fs::write(blobs.join(&hex), text).unwrap();
        format!("sha256:{hex}")
    };
    put(image["config"].as_str().unwrap());
    let mut digest = put(image["manifest"].as_str().unwrap());
    if let Some(index) = image["index"].as_str() {
        digest = put(index);
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}]});
    std::fs::write(root.join("index.json"), index.to_string()).unwrap();
    root.to_path_buf()
}

/// The build of a vector: its command line, with everything laid out below `root`.
pub(crate) fn invocation(root: &Path, case: &Value, images: &Value) -> (Invocation, Images) {
    let dockerfile = root.join("Dockerfile");
    std::fs::create_dir_all(root).unwrap();
    std::fs::write(&dockerfile, case["dockerfile"].as_str().unwrap()).unwrap();
    lay_out(&root.join("context"), &case["context"]);
    let platform = case["platform"].as_str().unwrap_or("linux/amd64").to_owned();
    let option = |name: &str| case["frontend_opts"][name].as_str().map(str::to_owned);
    let many = |name: &str| -> Vec<String> {
        option(name).map(|v| v.split(',').map(str::to_owned).collect()).unwrap_or_default()
    };
    let mut build = Invocation {
        dockerfile: Some(dockerfile),
        context: root.join("context"),
        target: case["target"].as_str().map(str::to_owned),
        platforms: vec![platform.clone()],
        no_cache: option("no-cache").as_deref() == Some(""),
        no_cache_filter: many("no-cache").into_iter().filter(|s| !s.is_empty()).collect(),
        add_hosts: many("add-hosts"),
        ulimits: many("ulimit"),
        shm_size: option("shm-size"),
        cgroup_parent: option("cgroup-parent"),
        network: option("force-network-mode"),
        ..Invocation::default()
    };
    if let Some(name) = option("hostname") {
        build.build_args.push(("BUILDKIT_SANDBOX_HOSTNAME".to_owned(), name));
    }
    for (name, value) in case["build_args"].as_object().into_iter().flatten() {
        build.build_args.push((name.clone(), value.as_str().unwrap().to_owned()));
    }
    let platform = Platform::parse(&platform).unwrap();
    let mut known = Images::default();
    for (number, (name, value)) in case["named_contexts"].as_object().into_iter().flatten().enumerate() {
        let folder = root.join(format!("named-{number}"));
        let place = match value["image"].as_str() {
            Some(image) => {
                oci_layout(&folder, &images[image]);
                known.insert(&format!("context:{name}"), layout::read(&folder, None, &platform).unwrap());
                format!("oci-layout://{}", folder.display())
            }
            None => {
                lay_out(&folder, &value["context"]);
                folder.display().to_string()
            }
        };
        build.contexts.push((name.clone(), place));
    }
    for group in ["registry_images", "registry_indexes"] {
        for (image, reference) in case[group].as_object().into_iter().flatten() {
            let folder = root.join(format!("registry-{image}"));
            oci_layout(&folder, &images[image]);
            known.insert(reference.as_str().unwrap(), layout::read(&folder, None, &platform).unwrap());
        }
    }
    (build, known)
}

/// Takes a build from its bytes to its keys and hands everything on.
pub(crate) fn with_plan<R>(
    build: &Invocation,
    images: &Images,
    look: impl FnOnce(&BuildModel<'_>, &BuildGraph<'_>, &KeyPlan) -> R,
) -> R {
    let bytes = std::fs::read(build.dockerfile.as_ref().unwrap()).unwrap();
    let document = layerlint::syntax::parse(&bytes);
    assert_eq!(document.errors, []);
    let stages = StageGraph::new(&document, build);
    assert_eq!(stages.errors, []);
    let model = BuildModel::new(&stages, build, images);
    let graph = BuildGraph::new(&model, images);
    assert_eq!(graph.errors, []);
    let contexts = Contexts::open(&graph, &build.context, build.dockerfile.as_deref(), None).unwrap();
    let plan = KeyPlan::new(&graph, &contexts);
    look(&model, &graph, &plan)
}
