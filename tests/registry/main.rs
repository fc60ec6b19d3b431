//! Caches and base images in a registry: Debian's `docker-registry`, started here on this machine and stopped again,
//! and servers made for the occasion where a real one would not misbehave.

#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../vectors/mod.rs"]
mod vectors;

mod engine;
mod image;
mod server;

use engine::Registry;
use image::{Image, sha, tar_of};
use serde_json::{Value, json};
use server::{Answer, Server};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A project, and the folder of docker's configuration that is used with it.
struct Project {
    dir: TempDir,
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Project {
    fn new(dockerfile: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = Self { dir };
        std::fs::create_dir_all(project.path("context")).unwrap();
        std::fs::create_dir_all(project.path("docker")).unwrap();
        std::fs::write(project.path("context/Dockerfile"), dockerfile).unwrap();
        std::fs::write(project.path("context/a.txt"), "alpha\n").unwrap();
        project
    }

    /// The build of a vector.
    fn of_vector(case: &Value) -> Self {
        let project = Self::new(case["dockerfile"].as_str().unwrap());
        vectors::lay_out(&project.path("context"), &case["context"]);
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self, configuration: &Value) {
        std::fs::write(self.path("docker/config.json"), configuration.to_string()).unwrap();
    }

    fn run_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
        command.args(args).current_dir(self.path("context")).stdin(Stdio::null());
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "COLUMNS", "SSL_CERT_DIR", "SSL_CERT_FILE"] {
            command.env_remove(name);
        }
        command.env("DOCKER_CONFIG", self.path("docker")).env("HOME", self.dir.path());
        command.envs(environment.iter().copied());
        let output = command.output().unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--format", "json"]].concat());
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr))
    }
}

/// A registry, or a word about why the test is over.
macro_rules! registry {
    ($options:expr) => {
        match Registry::start($options) {
            Some(registry) => registry,
            None => {
                println!("skipped: the program docker-registry is not installed");
                return;
            }
        }
    };
}

fn debian(architecture: &str) -> Image {
    Image::new(
        architecture,
        &json!({"Env": [format!("ARCH={architecture}")], "WorkingDir": "/srv"}),
        &[tar_of(&[("etc/arch", 0o644, architecture.as_bytes())])],
    )
}

// Base images.

#[test]
fn a_base_image_resolves_to_what_its_layout_says() {
    let registry = registry!(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (amd, arm) = (debian("amd64"), debian("arm64"));
    let layout = image::layout(&folder.path().join("multi"), &[&amd, &arm]);
    registry.push(&layout, "base", "multi");
    let single = image::layout(&folder.path().join("single"), &[&amd]);
    registry.push(&single, "deep/er/base", "1.0");
    let multi = registry.reference("base", "multi");
    let one = registry.reference("deep/er/base", "1.0");
    let project = Project::new(&format!(
        "FROM {multi} AS a\nCOPY a.txt b/\nRUN make\nFROM {one}\nCOPY --from=a /x /y\n"
    ));
    for platform in ["linux/amd64", "linux/arm64", "linux/arm64/v8"] {
        let build = ["--platform", platform];
        let resolved = project.json(&[&["keys", "--resolve"][..], &build].concat());
        let given = [format!("{multi}={}", layout.display()), format!("{one}={}", single.display())];
        let given =
            project.json(&[&["keys", "--image", &given[0], "--image", &given[1]][..], &build].concat());
        assert_eq!(resolved, given, "{platform}");
        assert!(resolved["steps"].as_array().unwrap().iter().all(|s| s["exact"] == true), "{resolved:#}");
        let name = resolved["steps"][0]["name"].as_str().unwrap();
        assert!(name.contains(&format!("@{}", image::root(&layout))), "{name} must name the index");
    }
    // The same by digest, with a tag that is not looked at, as Docker takes it.
    let pinned = format!("FROM {multi}@{}\nRUN make\n", image::root(&layout));
    std::fs::write(project.path("context/Dockerfile"), pinned).unwrap();
    let ran = project.run(&["keys", "--resolve", "--platform", "linux/arm64"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("RUN make") && !ran.stdout.contains('~'), "{}", ran.stdout);
}

#[test]
fn stages_of_several_platforms_and_images_that_are_copied_from_are_each_resolved() {
    let registry = registry!(&[]);
    let folder = tempfile::tempdir().unwrap();
    let (amd, arm) = (debian("amd64"), debian("arm64"));
    registry.push(&image::layout(folder.path(), &[&amd, &arm]), "base", "1");
    let base = registry.reference("base", "1");
    let dockerfile = format!(
        "FROM --platform=linux/amd64 {base} AS build\nRUN make\nCOPY --from={base} /etc/arch /arch\nFROM {base}\nRUN --mount=from=build,target=/b cp /b/x /x\n"
    );
    let project = Project::new(&dockerfile);
    let document = project.json(&["keys", "--resolve", "--platform", "linux/arm64"]);
    let arch = |name: &str| {
        let steps = document["steps"].as_array().unwrap();
        let step = steps.iter().find(|s| s["name"].as_str().unwrap().ends_with(name)).unwrap();
        step["env"]
            .as_array()
            .unwrap()
            .iter()
            .find(|e| e.as_str().unwrap().starts_with("ARCH="))
            .unwrap()
            .clone()
    };
    assert_eq!(arch("RUN make"), "ARCH=amd64");
    assert_eq!(arch("cp /b/x /x"), "ARCH=arm64");
    assert!(document["steps"].as_array().unwrap().iter().all(|s| s["exact"] == true), "{document:#}");
}

#[test]
fn what_a_base_image_triggers_is_resolved_as_well() {
    let registry = registry!(&[]);
    let folder = tempfile::tempdir().unwrap();
    registry.push(&image::layout(&folder.path().join("tool"), &[&debian("amd64")]), "tool", "1");
    let tool = registry.reference("tool", "1");
    let config = json!({"OnBuild": [format!("COPY --from={tool} /etc/arch /arch"), "RUN check"]});
    let parent = Image::new("amd64", &config, &[tar_of(&[("p", 0o644, b"p")])]);
    registry.push(&image::layout(&folder.path().join("parent"), &[&parent]), "parent", "1");
    let project = Project::new(&format!("FROM {}\n", registry.reference("parent", "1")));
    let document = project.json(&["keys", "--resolve", "--platform", "linux/amd64"]);
    let steps = document["steps"].as_array().unwrap();
    assert!(steps.iter().any(|s| s["name"].as_str().unwrap().contains("RUN check")), "{document:#}");
    assert!(steps.iter().all(|s| s["exact"] == true), "{document:#}");
}

#[test]
fn what_is_not_there_is_told_and_so_is_what_is_there_instead() {
    let registry = registry!(&[]);
    let folder = tempfile::tempdir().unwrap();
    registry.push(&image::layout(folder.path(), &[&debian("amd64"), &debian("arm64")]), "base", "1");
    let told = |reference: &str, platform: &str| {
        let project = Project::new(&format!("FROM {reference}\n"));
        let ran = project.run(&["keys", "--resolve", "--platform", platform]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
        ran.stderr.replace(&registry.address(), "REGISTRY")
    };
    insta::assert_snapshot!(told(&registry.reference("base", "2"), "linux/amd64"), @"error: there is no REGISTRY/base:2 in the registry");
    insta::assert_snapshot!(told(&registry.reference("none", "1"), "linux/amd64"), @"error: there is no REGISTRY/none:1 in the registry");
    insta::assert_snapshot!(told(&registry.reference("base", "1"), "linux/s390x"), @r"
    error: REGISTRY/base:1 has no image for linux/s390x
    help: there is: linux/amd64, linux/arm64
    ");
    insta::assert_snapshot!(told(&format!("{}/base@sha256:{}", registry.address(), "0".repeat(64)), "linux/amd64"), @"error: there is no REGISTRY/base@sha256:0000000000000000000000000000000000000000000000000000000000000000 in the registry");
}

// Credentials.

const USER: &str = "carol";
const PASSWORD: &str = "open sesame";
/// `carol` and her password, as bcrypt.
const HTPASSWD: &str = "carol:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";

fn basic() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

#[test]
fn a_private_registry_is_read_with_the_credentials_of_docker() {
    let registry = registry!(&[("htpasswd", HTPASSWD)]);
    let folder = tempfile::tempdir().unwrap();
    registry.push(&image::layout(folder.path(), &[&debian("amd64")]), "base", "1");
    let address = registry.address();
    let project = Project::new(&format!("FROM {}\nRUN make\n", registry.reference("base", "1")));
    let keys = |path: Option<&Path>| {
        let path = path.map_or_else(|| std::env::var("PATH").unwrap(), |p| p.display().to_string());
        let ran = project.run_with(&["keys", "--resolve", "--platform", "linux/amd64"], &[("PATH", &path)]);
        let stderr = ran.stderr.replace(&address, "REGISTRY");
        (ran.code, stderr.replace(&project.dir.path().display().to_string(), "HOME"))
    };
    let (code, denied) = keys(None);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(denied, @r"
    error: REGISTRY does not let anybody read REGISTRY/base:1
    help: it is private or not there; `docker login REGISTRY` stores credentials that are used here
    ");

    project.configure(&json!({"auths": {&address: {"auth": basic()}}}));
    assert_eq!(keys(None), (Some(0), String::new()));
    project.configure(&json!({"auths": {format!("http://{address}/v2/"): {"auth": basic()}}}));
    assert_eq!(keys(None), (Some(0), String::new()), "a key may be an address");

    project.configure(&json!({"auths": {&address: {"username": USER, "password": "wrong"}}}));
    let (code, denied) = keys(None);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(denied, @r"
    error: REGISTRY does not let the user `carol` read REGISTRY/base:1: authentication required
    help: it is not there, or the credentials do not count any more: `docker login REGISTRY` renews them
    ");

    // A helper program, by host and as the store of everything.
    let programs = project.path("programs");
    std::fs::create_dir_all(&programs).unwrap();
    let helper = |name: &str, script: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = programs.join(format!("docker-credential-{name}"));
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let answer = json!({"ServerURL": address, "Username": USER, "Secret": PASSWORD});
    helper(
        "ours",
        &format!(
            "#!/bin/sh\nread -r server || :\n[ \"$1 $server\" = 'get {address}' ] || exit 7\necho '{answer}'\n"
        ),
    );
    helper("empty", "#!/bin/sh\nread -r server\necho 'credentials not found in native keychain'\nexit 1\n");
    helper("locked", "#!/bin/sh\nread -r server\necho 'the keychain is locked' >&2\nexit 1\n");
    helper("odd", "#!/bin/sh\nread -r server\necho hello\n");
    for configuration in [json!({"credHelpers": {&address: "ours"}}), json!({"credsStore": "ours"})] {
        project.configure(&configuration);
        assert_eq!(keys(Some(&programs)), (Some(0), String::new()));
    }
    let mut told = String::new();
    for name in ["empty", "locked", "odd", "missing"] {
        project.configure(&json!({"credHelpers": {&address: name}}));
        let (code, error) = keys(Some(&programs));
        assert_eq!(code, Some(2));
        told += error.lines().next().unwrap();
        told.push('\n');
    }
    std::fs::write(project.path("docker/config.json"), "{").unwrap();
    told += &keys(None).1;
    insta::assert_snapshot!(told, @r"
    error: REGISTRY does not let anybody read REGISTRY/base:1
    error: cannot get credentials for REGISTRY: docker-credential-locked, which HOME/docker/config.json names, fails: the keychain is locked
    error: cannot get credentials for REGISTRY: the credential helper that HOME/docker/config.json names answers with something else
    error: cannot get credentials for REGISTRY: the credential helper that HOME/docker/config.json names cannot be run: is it installed, and on PATH?
    error: cannot get credentials for REGISTRY: HOME/docker/config.json is not the JSON of docker's configuration
    ");
}

// Caches.

/// A build whose export of `mode=max` is known, and the layers of its two copies, the upper one first.
fn copies(upper: &str) -> (Value, [Vec<u8>; 2]) {
    let case = vectors::load(&vectors::path("cachekeys/copy-two-sources-on-parent.json"));
    let context = case["context"].as_array().unwrap();
    let sh = context.iter().find(|e| e["path"] == "sh").unwrap()["content_b64"].as_str().unwrap();
    use base64::Engine as _;
    let sh = base64::engine::general_purpose::STANDARD.decode(sh).unwrap();
    let layers = [
        tar_of(&[("m/", 0o755, b""), ("m/a.txt", 0o644, upper.as_bytes()), ("m/b.txt", 0o644, b"beta\n")]),
        tar_of(&[("bin/", 0o755, b""), ("bin/sh", 0o755, &sh)]),
    ];
    (case, layers)
}

/// The configuration of that export, with the layers that are made here.
fn cache_config(case: &Value, layers: &[Vec<u8>; 2]) -> Value {
    let mut config = case["export"]["cacheconfig"].clone();
    for (entry, layer) in config["layers"].as_array_mut().unwrap().iter_mut().zip(layers) {
        entry["blob"] = json!(sha(layer));
    }
    config
}

const CACHE: &str = "application/vnd.buildkit.cacheconfig.v0";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Pushes a cache as `--cache-to type=registry,mode=max` does: as an image manifest, or as an index as it used to be.
fn push_cache(registry: &Registry, tag: &str, upper: &str, as_index: bool) -> Value {
    let (case, layers) = copies(upper);
    let config = cache_config(&case, &layers).to_string();
    let described = |bytes: &[u8], kind: &str| json!({"mediaType": kind, "digest": registry.blob("app", bytes), "size": bytes.len()});
    let mut all: Vec<Value> = layers.iter().map(|l| described(l, LAYER)).collect();
    let config = described(config.as_bytes(), CACHE);
    let (kind, manifest) = if as_index {
        all.push(config);
        let kind = "application/vnd.oci.image.index.v1+json";
        (kind, json!({"schemaVersion": 2, "mediaType": kind, "manifests": all}))
    } else {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        (kind, json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": all}))
    };
    registry.manifest("app", tag, kind, manifest.to_string().as_bytes());
    case
}

fn summary(document: &Value) -> Vec<String> {
    let step = |s: &Value| {
        let word = |v: &Value| v.as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", word(&s["status"]), word(&s["content"]), word(&s["name"]))
    };
    document["steps"].as_array().unwrap().iter().map(step).collect()
}

#[test]
fn a_cache_in_a_registry_is_looked_into_and_its_layers_are_compared() {
    let registry = registry!(&[]);
    for as_index in [false, true] {
        let tag = if as_index { "old-cache" } else { "cache" };
        let case = push_cache(&registry, tag, "alpha\n", as_index);
        let project = Project::of_vector(&case);
        let reference = registry.reference("app", tag);
        let args = ["cache", &reference, ".", "--resolve", "--platform", "linux/amd64"];
        let document = project.json(&args);
        assert_eq!(
            summary(&document),
            ["HIT verified [1/2] COPY sh /bin/sh", "HIT verified [2/2] COPY a.txt b.txt /m/"],
            "{document:#}"
        );
        assert_eq!(project.run(&args).code, Some(0));

        // Somebody exchanged a layer, digests and all.
        push_cache(&registry, tag, "evil\n", as_index);
        let document = project.json(&args);
        assert_eq!(summary(&document)[1], "HIT differs [2/2] COPY a.txt b.txt /m/");
        assert_eq!(document["steps"][1]["differences"][0]["path"], "a.txt");
        assert_eq!(project.run(&args).code, Some(1));
    }
}

#[test]
fn an_image_with_inline_cache_is_read_for_all_its_platforms() {
    use base64::Engine as _;
    let registry = registry!(&[]);
    let (case, layers) = copies("alpha\n");
    let mut records = cache_config(&case, &layers)["records"].clone();
    let [upper, lower] = layers;
    // In an image the lowest layer is the first.
    for record in records.as_array_mut().unwrap() {
        for result in record["layers"].as_array_mut().into_iter().flatten() {
            result["layer"] = json!(1 - result["layer"].as_i64().unwrap());
        }
    }
    let cache = base64::engine::general_purpose::STANDARD.encode(records.to_string());
    let mut image = Image::new("amd64", &json!({}), &[lower, upper]);
    image.config["moby.buildkit.cache.v0"] = json!(cache);
    let folder = tempfile::tempdir().unwrap();
    registry.push(&image::layout(folder.path(), &[&debian("arm64"), &image]), "app", "inline");
    let project = Project::of_vector(&case);
    let reference = registry.reference("app", "inline");
    let document = project.json(&["cache", &reference, ".", "--resolve", "--platform", "linux/amd64"]);
    assert_eq!(
        summary(&document),
        ["HIT verified [1/2] COPY sh /bin/sh", "HIT verified [2/2] COPY a.txt b.txt /m/"],
        "{document:#}"
    );
    registry.push(&image::layout(&folder.path().join("none"), &[&debian("amd64")]), "app", "none");
    let ran = project.run(&["cache", &registry.reference("app", "none"), ".", "--resolve"]);
    assert_eq!(ran.code, Some(2));
    insta::assert_snapshot!(ran.stderr.replace(&registry.address(), "REGISTRY"), @r"
    error: REGISTRY/app:none is no exported cache: there is an image in it but no cache; `--cache-to type=inline` would add one
    help: give a folder of `--cache-to type=local,dest=DIR`, or an image built with `--cache-to type=inline`
    ");
}

#[test]
fn a_layer_that_the_registry_has_lost_is_a_miss() {
    let registry = registry!(&[]);
    let case = push_cache(&registry, "cache", "alpha\n", false);
    let (_, [upper, _]) = copies("alpha\n");
    registry.lose(&sha(&upper));
    let project = Project::of_vector(&case);
    let reference = registry.reference("app", "cache");
    let document = project.json(&["cache", &reference, ".", "--resolve", "--platform", "linux/amd64"]);
    assert_eq!(summary(&document)[0], "HIT verified [1/2] COPY sh /bin/sh");
    assert_eq!(document["steps"][1]["status"], "MISS", "{document:#}");
    let detail = document["steps"][1]["cause"]["detail"].as_str().unwrap();
    assert!(detail.contains(&sha(&upper)), "{detail}");
}

// Images.

#[test]
fn a_pushed_image_is_compared_with_its_source_as_its_archive_is() {
    let registry = registry!(&[]);
    let temp = tempfile::tempdir().unwrap();
    let base = image::layout(&temp.path().join("base"), &[&debian("amd64")]);
    let base = format!("busybox:1.36={}", base.display());
    let mut compared = 0;
    for case in std::fs::read_dir(vectors::path("images")).unwrap().map(|e| e.unwrap().path()) {
        let archive = case.join("image.oci.tar");
        if !archive.exists() {
            continue;
        }
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let layout = temp.path().join(&name);
        tar::Archive::new(std::fs::File::open(&archive).unwrap()).unpack(&layout).unwrap();
        registry.push(&layout, &name, "1");
        let project = Project::new("FROM scratch\n");
        let source = case.join("source").display().to_string();
        let verify = |image: &str, more: &[&str]| {
            let mut document =
                project.json(&[&["verify", image, &source, "--image", &base][..], more].concat());
            // It is called otherwise.
            document.as_object_mut().unwrap().remove("image");
            document
        };
        let stored = verify(&archive.display().to_string(), &[]);
        assert!(stored["checked"].as_u64().unwrap() > 0, "{stored:#}");
        assert_eq!(verify(&registry.reference(&name, "1"), &["--resolve"]), stored, "{name}");
        compared += 1;
    }
    assert!(compared > 8, "{compared} images");
}

#[test]
fn an_image_is_compared_also_where_its_base_cannot_be_had() {
    let registry = registry!(&[]);
    let temp = tempfile::tempdir().unwrap();
    let built = Image::new("amd64", &json!({}), &[tar_of(&[("app/a.txt", 0o644, b"alpha\n")])]);
    registry.push(&image::layout(temp.path(), &[&built]), "app", "1");
    let none = registry.reference("none", "1");
    let project = Project::new(&format!(
        "FROM {none} AS build\nRUN make\nFROM scratch\nCOPY a.txt /app/\nCOPY --from=build /x /y\n"
    ));
    let ran = project.run(&["verify", &registry.reference("app", "1"), ".", "--resolve"]);
    let shown = (ran.stdout + &ran.stderr).replace(&registry.address(), "REGISTRY");
    assert!(shown.contains("there is no REGISTRY/none:1 in the registry"), "{shown}");
    assert!(shown.contains("a.txt") || ran.code == Some(0), "{shown}");
    let ran = project.run(&["verify", &registry.reference("app", "1"), "."]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("with `layerlint verify "), "{}", ran.stderr);
    let ran = project.run(&["verify", &registry.reference("app", "2"), ".", "--resolve"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("in the registry"), "{}", ran.stderr);
}

// Nothing is asked unasked.

#[test]
fn without_the_flag_nothing_is_asked() {
    let server = Server::start(|_, _| Answer::status(500));
    let address = server.address();
    let project = Project::new(&format!("FROM {address}/base:1\nCOPY a.txt /\n"));
    let reference = format!("{address}/app:cache");
    assert_eq!(project.run(&["keys"]).code, Some(0));
    assert_eq!(project.run(&["check"]).code, Some(0));
    let ran = project.run(&["cache", &reference, "."]);
    assert_eq!(ran.code, Some(2));
    insta::assert_snapshot!(ran.stderr.replace(&address, "REGISTRY"), @r"
    error: there is no folder or archive `REGISTRY/app:cache`, and registries are asked with `--resolve` only
    help: ask REGISTRY with `layerlint cache REGISTRY/app:cache --resolve`
    ");
    assert_eq!(server.requests(), Vec::<String>::new());
    // And with it, it is.
    assert_eq!(project.run(&["keys", "--resolve"]).code, Some(2));
    assert!(!server.requests().is_empty());
}

#[test]
fn a_folder_counts_before_a_reference_and_a_plain_name_is_none() {
    let project = Project::new("FROM scratch\n");
    for name in ["cache", "team/cache", "./cache", "/nowhere/cache"] {
        let ran = project.run(&["cache", name, ".", "--resolve"]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.starts_with(&format!("error: cannot read {name}")), "{}", ran.stderr);
    }
    std::fs::create_dir_all(project.path("context/localhost:1/cache:x")).unwrap();
    let ran = project.run(&["cache", "localhost:1/cache:x", ".", "--resolve"]);
    assert!(ran.stderr.contains("is no exported cache"), "{}", ran.stderr);
}

// The handshake, and servers that misbehave.

/// What a server with that image has at an address, without credentials of any kind.
fn served(image: &Image, path: &str) -> Option<Answer> {
    let manifest = image.manifest().to_string().into_bytes();
    match path.strip_prefix("/v2/base/")? {
        "manifests/1" => Some(Answer::ok(manifest)),
        blob if blob.ends_with(&image.config_digest()) => Some(Answer::ok(image.config_bytes())),
        _ => None,
    }
}

fn keys_of(address: &str, configuration: &Value) -> (Ran, Project) {
    let project = Project::new(&format!("FROM {address}/base:1\nRUN make\n"));
    project.configure(configuration);
    let ran = project.run(&["keys", "--resolve", "--platform", "linux/amd64"]);
    (ran, project)
}

#[test]
fn a_token_is_fetched_with_the_credentials_and_shown_to_the_registry() {
    let image = debian("amd64");
    let server = Server::start(move |request, address| {
        let authorization = request.header("authorization").unwrap_or_default();
        if request.path.starts_with("/token?") {
            return match authorization == format!("Basic {}", basic()) {
                true => Answer::ok(br#"{"token":"of-the-day"}"#.to_vec()),
                false => Answer::status(401),
            };
        }
        if request.path == "/v2/" {
            return Answer::ok(b"{}".to_vec());
        }
        if authorization != "Bearer of-the-day" {
            let challenge = format!(
                "Bearer realm=\"http://{address}/token\",service=\"the registry\",scope=\"repository:base:pull\""
            );
            return Answer::status(401).with("www-authenticate", &challenge);
        }
        served(&image, &request.path).unwrap_or_else(|| Answer::status(404))
    });
    let address = server.address();
    let (ran, _) = keys_of(&address, &json!({"auths": {&address: {"auth": basic()}}}));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let token = server.requests().into_iter().find(|r| r.contains("/token")).unwrap();
    assert_eq!(token, "GET /token?service=the%20registry&scope=repository%3Abase%3Apull");
    let (ran, _) = keys_of(&address, &json!({}));
    assert_eq!(ran.code, Some(2));
    insta::assert_snapshot!(ran.stderr.replace(&address, "REGISTRY"), @r"
    error: REGISTRY does not let anybody read REGISTRY/base:1
    help: it is private or not there; `docker login REGISTRY` stores credentials that are used here
    ");
}

#[test]
fn an_identity_token_is_exchanged() {
    let image = debian("amd64");
    let server = Server::start(move |request, address| {
        if request.path == "/token" {
            assert_eq!(request.method, "POST");
            let body = String::from_utf8(request.body.clone()).unwrap();
            assert!(
                body.contains("grant_type=refresh_token") && body.contains("refresh_token=long-lived"),
                "{body}"
            );
            return Answer::ok(br#"{"access_token":"short-lived"}"#.to_vec());
        }
        if request.path != "/v2/" && request.header("authorization").as_deref() != Some("Bearer short-lived")
        {
            let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"x\"");
            return Answer::status(401).with("www-authenticate", &challenge);
        }
        served(&image, &request.path)
            .unwrap_or_else(|| Answer::status(if request.path == "/v2/" { 200 } else { 404 }))
    });
    let address = server.address();
    let (ran, _) = keys_of(&address, &json!({"auths": {&address: {"identitytoken": "long-lived"}}}));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn credentials_go_nowhere_else() {
    // A realm that is not encrypted, on another machine.
    let server = Server::start(|request, _| match request.path.as_str() {
        "/v2/" => Answer::ok(Vec::new()),
        _ => Answer::status(401)
            .with("www-authenticate", "Bearer realm=\"http://thief.example/token\",service=\"x\""),
    });
    let address = server.address();
    let (ran, _) = keys_of(&address, &json!({"auths": {&address: {"auth": basic()}}}));
    assert_eq!(ran.code, Some(2));
    insta::assert_snapshot!(ran.stderr.lines().next().unwrap().replace(&address, "REGISTRY"), @"error: REGISTRY/base:1: the registry wants credentials to be sent to http://thief.example/token, which is not encrypted");

    // A redirection to another host, as registries that store blobs elsewhere send it.
    let image = debian("amd64");
    let stored = image.clone();
    let storage = Server::start(move |_, _| Answer::ok(stored.config_bytes()));
    let elsewhere = storage.address();
    let target = elsewhere.replace("127.0.0.1", "localhost");
    let server = Server::start(move |request, _| {
        let authorized = request.header("authorization") == Some(format!("Basic {}", basic()));
        match request.path.as_str() {
            "/v2/" => Answer::ok(Vec::new()),
            _ if !authorized => Answer::status(401).with("www-authenticate", "Basic realm=\"x\""),
            path if path.contains("/blobs/") => {
                Answer::status(307).with("location", &format!("http://{target}/stored?signed"))
            }
            path => served(&image, path).unwrap_or_else(|| Answer::status(404)),
        }
    });
    let address = server.address();
    let (ran, _) = keys_of(&address, &json!({"auths": {&address: {"auth": basic()}}}));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(storage.requests(), ["GET /stored?signed"]);
    assert_eq!(storage.authorizations(), [None]);
}

/// What is said when the manifest is answered so.
fn told(answer: impl Fn(&str) -> Answer + Send + 'static) -> String {
    let server = Server::start(move |request, _| match request.path.as_str() {
        "/v2/" => Answer::ok(Vec::new()),
        path => answer(path),
    });
    let address = server.address();
    let (ran, _) = keys_of(&address, &json!({}));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    ran.stderr.replace(&address, "REGISTRY")
}

#[test]
fn what_a_registry_answers_instead_is_told() {
    let mut all = Vec::new();
    all.push(told(|_| Answer::status(500)));
    let limited =
        br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your\u001b[2J limit"}]}"#;
    all.push(told(|_| Answer { body: limited.to_vec(), ..Answer::status(429) }));
    all.push(told(|_| Answer::ok(b"<html>".to_vec())));
    all.push(told(|_| Answer::ok(b"{}".to_vec())));
    all.push(told(|_| Answer::ok(br#"{"config":{"digest":"../../../etc/passwd"}}"#.to_vec())));
    all.push(told(|_| Answer::ok(b"{}".to_vec()).with("docker-content-digest", &sha(b"something else"))));
    all.push(told(|_| Answer::ok(b"{}".to_vec()).with("content-length", "99999999999")));
    all.push(told(|_| Answer::endless()));
    all.push(told(|_| Answer::status(302).with("location", "/v2/base/manifests/1")));
    // A configuration whose bytes are other ones.
    let image = debian("amd64");
    all.push(told(move |path| match path.contains("/blobs/") {
        true => Answer::ok(b"{\"os\":\"linux\"}".to_vec()),
        false => served(&image, path).unwrap(),
    }));
    let firsts: Vec<&str> = all.iter().map(|t| t.lines().next().unwrap()).collect();
    insta::assert_snapshot!(firsts.join("\n"), @r"
    error: REGISTRY answers 500 for REGISTRY/base:1
    error: REGISTRY answers 429 for REGISTRY/base:1: You have reached your[2J limit
    error: REGISTRY/base:1: sha256:b7d082ee12e91b756ea22e8513b8594eebcf5d39fab813da3cb55794dc888ad7: expected value at line 1 column 1
    error: REGISTRY/base:1: sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a: it names neither a configuration nor manifests
    error: REGISTRY/base:1: it points to `../../../etc/passwd`, which is no SHA-256 digest
    error: REGISTRY/base:1: sha256:f41f3fa625ff120ddca7ef456bf66371ecea23c129f4e4c32367101edb516cf8 was asked for, and what came has the digest sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
    error: REGISTRY/base:1: a document is larger than 8 MiB, which no build makes; it is not read any further
    error: REGISTRY/base:1: a document is larger than 8 MiB, which no build makes; it is not read any further
    error: cannot reach REGISTRY: too many redirects
    error: REGISTRY/base:1: sha256:72f18b2cbcce8c175345e0a5a681b18fae69b52f4221daf2164caf04e24841d1 was asked for, and what came has the digest sha256:5809269daf2d55e988b09feecc13180c284754e4d2376d0f7297ab7c6a90b358
    ");
}

/// A layer of a cache that a server sends so.
fn layer_told(layer: impl Fn() -> Answer + Send + 'static) -> (Option<i32>, String) {
    let (case, layers) = copies("alpha\n");
    let config = cache_config(&case, &layers).to_string().into_bytes();
    let described = |bytes: &[u8], kind: &str| json!({"mediaType": kind, "digest": sha(bytes)});
    let manifest = json!({"schemaVersion": 2, "config": described(&config, CACHE),
        "layers": layers.iter().map(|l| described(l, LAYER)).collect::<Vec<_>>()});
    let [upper, lower] = layers.map(|bytes| (sha(&bytes), bytes));
    let config = (sha(&config), config);
    let server = Server::start(move |request, _| {
        let blob =
            |blob: &(String, Vec<u8>)| request.path.ends_with(&blob.0).then(|| Answer::ok(blob.1.clone()));
        if request.path.ends_with("/manifests/cache") {
            return Answer::ok(manifest.to_string().into_bytes());
        }
        if request.path.ends_with(&upper.0) && request.method == "GET" {
            return layer();
        }
        blob(&config).or_else(|| blob(&lower)).unwrap_or_else(|| Answer::ok(Vec::new()))
    });
    let address = server.address();
    let project = Project::of_vector(&case);
    let reference = format!("{address}/app:cache");
    let ran = project.run(&["cache", &reference, ".", "--resolve", "--platform", "linux/amd64"]);
    let digest = sha(&copies("alpha\n").1[0]);
    (ran.code, ran.stderr.replace(&address, "REGISTRY").replace(&digest, "LAYER"))
}

#[test]
fn a_layer_that_is_sent_otherwise_is_told() {
    let whole = || copies("alpha\n").1[0].clone();
    let unmeasured = layer_told(move || Answer { open: true, ..Answer::ok(whole()) });
    assert_eq!(unmeasured, (Some(0), String::new()), "a layer may come without its length");
    let mut all = Vec::new();
    let mut told = |(code, text): (Option<i32>, String)| {
        assert_eq!(code, Some(2), "{text}");
        all.push(text);
    };
    told(layer_told(|| Answer::ok(b"something else".to_vec())));
    told(layer_told(|| Answer::ok(Vec::new()).with("content-length", "999999999999")));
    told(layer_told(|| Answer::ok(copies("alpha\n").1[0].clone()).with("content-length", "99999")));
    told(layer_told(|| Answer::status(403)));
    // 300 MiB of zeros in little more than one, and then as much as anybody wants.
    told(layer_told(|| {
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut header = tar::Header::new_ustar();
        header.set_size(1 << 40);
        header.set_path("m/a.txt").unwrap();
        header.set_cksum();
        std::io::Write::write_all(&mut bomb, header.as_bytes()).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 300 << 20), &mut bomb).unwrap();
        Answer { body: bomb.finish().unwrap(), endless: true, ..Answer::ok(Vec::new()) }
    }));
    insta::assert_snapshot!(all.concat(), @r"
    error: blob LAYER has other content than its name says: its digest is sha256:f41f3fa625ff120ddca7ef456bf66371ecea23c129f4e4c32367101edb516cf8
    error: blob LAYER: its size exceeds 64 GiB, which no build makes; it is not read any further
    error: layer LAYER: not a readable layer: Peer disconnected
    error: REGISTRY does not let anybody read REGISTRY/app:cache
    error: layer LAYER: what it unpacks to exceeds 256 MiB, which no build makes; it is not read any further
    ");
}

#[test]
fn what_cannot_be_reached_is_told() {
    let mut all = Vec::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (ran, _) = keys_of(&nobody, &json!({}));
    all.push(ran.stderr.replace(&nobody, "NOBODY"));
    let (ran, _) = keys_of("nowhere.invalid", &json!({}));
    all.push(ran.stderr);
    assert_eq!(ran.code, Some(2));
    insta::assert_snapshot!(all.join(""), @r"
    error: cannot reach NOBODY: connection refused
    help: proxies are taken from HTTPS_PROXY and NO_PROXY; what is on this machine can be given with `--image REF=PATH`
    error: cannot reach nowhere.invalid: there is no host of that name
    help: proxies are taken from HTTPS_PROXY and NO_PROXY; what is on this machine can be given with `--image REF=PATH`
    ");
}

#[test]
fn a_proxy_is_asked_for_other_machines_and_not_for_this_one() {
    let proxy = Server::start(|_, _| Answer::status(502));
    let address = proxy.address();
    let project = Project::new("FROM registry.invalid/base:1\n");
    let ran = project.run_with(&["keys", "--resolve"], &[("HTTPS_PROXY", &format!("http://{address}"))]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert_eq!(proxy.requests(), ["CONNECT registry.invalid:443"]);

    let image = debian("amd64");
    let server =
        Server::start(move |request, _| served(&image, &request.path).unwrap_or_else(|| Answer::status(404)));
    let project = Project::new(&format!("FROM {}/base:1\n", server.address()));
    let everything = format!("http://{address}");
    let environment =
        [("HTTP_PROXY", everything.as_str()), ("HTTPS_PROXY", &everything), ("ALL_PROXY", &everything)];
    let ran = project.run_with(&["keys", "--resolve", "--platform", "linux/amd64"], &environment);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn a_certificate_counts_when_it_is_trusted() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", &path("key.pem"), "-out", &path("certificate.pem")])
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: openssl is not installed");
        return;
    }
    let registry = registry!(&[("certificate", &path("certificate.pem")), ("key", &path("key.pem"))]);
    let project = Project::new(&format!("FROM {}\n", registry.reference("base", "1")));
    let run = |file: &str| {
        let ran = project.run_with(&["keys", "--resolve"], &[("SSL_CERT_FILE", file)]);
        assert_eq!(ran.code, Some(2));
        ran.stderr.replace(&registry.address(), "REGISTRY")
    };
    insta::assert_snapshot!(run("/etc/ssl/certs/ca-certificates.crt"), @r"
    error: there is no secure connection to REGISTRY: invalid peer certificate: UnknownIssuer
    help: trust its certificate: in the certificates of the system, in a file that SSL_CERT_FILE names, or in /etc/docker/certs.d/REGISTRY/ca.crt
    ");
    // Trusted, it is asked: what is not there is not there.
    insta::assert_snapshot!(run(&path("certificate.pem")), @"error: there is no REGISTRY/base:1 in the registry");
}
