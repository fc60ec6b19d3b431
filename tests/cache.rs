//! Exported caches: what hits, what a layer really holds, and what hostile ones are told.
//!
//! The graphs of `fixtures/vectors/cachekeys` are real exports; layers are made here, the way BuildKit makes them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod vectors;

use base64::Engine as _;
use layerlint::build::lower::Op;
use layerlint::evidence::cache::ExportedCache;
use layerlint::evidence::prediction::{Status, predict};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn sha(bytes: impl AsRef<[u8]>) -> String {
    let hex: String = Sha256::digest(bytes.as_ref()).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

// Making caches.

/// One entry of a layer.
#[derive(Clone)]
enum Item {
    Dir(&'static str),
    File(&'static str, u32, Vec<u8>),
    Link(&'static str, &'static str),
    Device(&'static str),
    /// A path that the library refuses to write.
    Raw(&'static str),
}

fn file(path: &'static str, content: &str) -> Item {
    Item::File(path, 0o644, content.into())
}

fn tar_of(items: &[Item]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(1_700_000_000);
        match item {
            Item::Dir(path) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                out.append_data(&mut header, path, &[][..]).unwrap();
            }
            Item::File(path, mode, content) => {
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                out.append_data(&mut header, path, content.as_slice()).unwrap();
            }
            Item::Link(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                out.append_link(&mut header, path, target).unwrap();
            }
            Item::Device(path) => {
                header.set_entry_type(tar::EntryType::Char);
                header.set_mode(0o666);
                header.set_size(0);
                out.append_data(&mut header, path, &[][..]).unwrap();
            }
            Item::Raw(path) => {
                header.set_mode(0o644);
                header.set_size(1);
                let name = &mut header.as_old_mut().name;
                name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_cksum();
                out.append(&header, &b"x"[..]).unwrap();
            }
        }
    }
    out.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    // Two frames with a skippable one between them, as chunked layers have.
    let half = bytes.len() / 2;
    let pack = |b: &[u8]| ruzstd::encoding::compress_to_vec(b, ruzstd::encoding::CompressionLevel::Fastest);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    [pack(&bytes[..half]), skippable.to_vec(), pack(&bytes[half..])].concat()
}

/// A build: its files and its Dockerfile.
struct Project {
    dir: TempDir,
    case: Value,
}

impl Project {
    fn new(dockerfile: &str, files: &[(&str, &str)]) -> Self {
        let context: Vec<Value> = files
            .iter()
            .map(|(path, content)| match content.strip_prefix("-> ") {
                Some(target) => json!({"path": path, "target": target}),
                None => json!({"path": path, "content": content}),
            })
            .collect();
        let case = json!({"dockerfile": dockerfile, "context": context});
        let dir = tempfile::tempdir().unwrap();
        vectors::invocation(dir.path(), &case, &Value::Null);
        // Laid out once.
        Self { dir, case: json!({"dockerfile": dockerfile}) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a builder without any cache exports (`mode=max`): the records, and the configuration's layers. `layer`
    /// gives the number of the layer of a step by its name.
    fn records(&self, layer: &dyn Fn(&str) -> Option<usize>) -> Vec<Value> {
        let (build, images) = vectors::invocation(self.dir.path(), &self.case, &Value::Null);
        vectors::with_plan(&build, &images, |_, graph, plan| {
            let mut records: Vec<Value> = Vec::new();
            let mut of_step: Vec<Vec<usize>> = Vec::new();
            let root = |records: &mut Vec<Value>, digest: String| {
                let known = records.iter().position(|r| r["digest"] == *digest && r["inputs"].is_null());
                known.unwrap_or_else(|| {
                    records.push(json!({"digest": digest}));
                    records.len() - 1
                })
            };
            for (vertex, key) in graph.vertices.iter().zip(&plan.steps) {
                let own = |d: &String| sha(format!("{d}@0"));
                let made = match vertex.op {
                    Op::Local(_) => Vec::new(),
                    Op::Image { .. } if key.op_digests.is_empty() => {
                        vec![root(&mut records, sha("the manifest")), root(&mut records, sha("its chain"))]
                    }
                    _ if vertex.inputs.is_empty() => {
                        key.op_digests.iter().map(|d| root(&mut records, own(d))).collect()
                    }
                    _ => {
                        let mut inputs = Vec::new();
                        for input in &key.inputs {
                            let below = of_step[input.vertex].iter();
                            let selector = input.selector.clone().unwrap_or_default();
                            let mut links: Vec<Value> =
                                below.map(|r| json!({"selector": selector, "link": r})).collect();
                            if let Some(content) = &input.content {
                                let digest = sha(format!("{}@-1", content.digest));
                                links.push(json!({"link": root(&mut records, digest)}));
                            }
                            inputs.push(json!(links));
                        }
                        let mut record = json!({"digest": own(&key.op_digests[0]), "inputs": inputs});
                        if let Some(layer) = layer(&vertex.name) {
                            record["layers"] = json!([{"layer": layer, "createdAt": "2026-01-01T00:00:00Z"}]);
                        }
                        records.push(record);
                        vec![records.len() - 1]
                    }
                };
                of_step.push(made);
            }
            records
        })
    }

    /// Exports with these layers, each on top of the one before, for the steps whose names end so.
    fn export(&self, layers: &[(&str, Vec<u8>)]) -> Cache {
        let cache = Cache { root: self.path("cache") };
        let _ = std::fs::remove_dir_all(&cache.root);
        let mut config_layers = Vec::new();
        for (number, (_, bytes)) in layers.iter().enumerate() {
            let parent = i64::try_from(number).unwrap() - 1;
            config_layers.push(json!({"blob": cache.put(bytes), "parent": parent}));
        }
        let records = self.records(&|name| layers.iter().position(|(step, _)| name.ends_with(step)));
        cache.write(&json!({"layers": config_layers, "records": records}), &[]);
        cache
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.dir.path(), &[&["cache"], args, &["-f", "Dockerfile", "context"]].concat())
    }

    fn json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let ran = self.run(&[args, &["--format", "json"]].concat());
        let document =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr));
        (ran.code, document)
    }
}

/// A folder of `--cache-to type=local`.
struct Cache {
    root: PathBuf,
}

impl Cache {
    fn put(&self, bytes: impl AsRef<[u8]>) -> String {
        let blobs = self.root.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let digest = sha(&bytes);
        std::fs::write(blobs.join(&digest[7..]), bytes).unwrap();
        digest
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.root.join("blobs/sha256").join(&digest[7..])
    }

    fn manifest(&self, config: &Value) -> String {
        let config = config.to_string();
        let digest = self.put(&config);
        let manifest = json!({"schemaVersion": 2, "layers": [], "config": {
            "mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": digest, "size": config.len()}});
        self.put(manifest.to_string())
    }

    /// Writes the configuration as `latest`, beside others.
    fn write(&self, config: &Value, others: &[(&str, &Value)]) {
        let named = |name: &str, config: &Value| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.manifest(config),
                "annotations": {"org.opencontainers.image.ref.name": name}})
        };
        let mut manifests = vec![named("latest", config)];
        manifests.extend(others.iter().map(|(name, config)| named(name, config)));
        self.index(&json!({"schemaVersion": 2, "manifests": manifests}));
    }

    fn index(&self, index: &Value) {
        std::fs::create_dir_all(&self.root).unwrap();
        std::fs::write(self.root.join("index.json"), index.to_string()).unwrap();
    }
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
        command.args(args).current_dir(dir).stdin(Stdio::null());
        for variable in ["NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "COLUMNS"] {
            command.env_remove(variable);
        }
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn shown(&self) -> String {
        let code = self.code.map_or("by signal".to_owned(), |c| c.to_string());
        format!("exit {code}\n{}{}", self.stdout, self.stderr)
    }
}

/// Status by the end of a step's name.
fn status<'d>(document: &'d Value, step: &str) -> &'d str {
    found(document, step)["status"].as_str().unwrap()
}

fn found<'d>(document: &'d Value, step: &str) -> &'d Value {
    let mut steps = document["steps"].as_array().unwrap().iter();
    steps
        .find(|s| s["name"].as_str().unwrap().ends_with(step))
        .unwrap_or_else(|| panic!("no step {step} in {document:#}"))
}

// What hits.

#[test]
fn every_real_export_answers_the_build_that_made_it() {
    let (mut builds, mut hits) = (0, 0);
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(vectors::path("cachekeys")).unwrap() {
        let case = vectors::load(&entry.unwrap().path());
        let config = &case["export"]["cacheconfig"];
        if config.is_null() || !case["http"].is_null() || !case["git"].is_null() {
            continue;
        }
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache { root: temp.path().join("cache") };
        cache.write(config, &[]);
        let cache = ExportedCache::open(&cache.root, None).unwrap();
        let (build, images) = vectors::invocation(temp.path(), &case, &case["images"]);
        builds += 1;
        vectors::with_plan(&build, &images, |model, graph, plan| {
            let target = model.graph.target.and_then(|t| graph.outputs[t]).flatten();
            for prediction in predict(&cache, graph, plan, target, false) {
                match prediction.status {
                    Status::Hit => hits += 1,
                    other => wrong.push(format!(
                        "{} {}: {other:?}, {}",
                        case["name"], graph.vertices[prediction.vertex].name, prediction.cause.detail
                    )),
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(builds > 85 && hits > 250, "{builds} builds, {hits} hits");
}

const PLAIN: &str = "FROM scratch\nCOPY src /app\nRUN [\"/app/build\"]\nCOPY conf /etc/app.conf\n";

fn plain_files() -> [(&'static str, &'static str); 4] {
    [("src/build", "b"), ("src/sub/deep", "d"), ("src/link", "-> build"), ("conf", "c=1")]
}

fn plain_layers() -> Vec<(&'static str, Vec<u8>)> {
    let sources = [
        Item::Dir("app/"),
        file("app/build", "b"),
        Item::Link("app/link", "build"),
        Item::Dir("app/sub/"),
        file("app/sub/deep", "d"),
    ];
    let conf = [Item::Dir("etc/"), file("etc/app.conf", "c=1")];
    vec![
        ("COPY src /app", gzip(&tar_of(&sources))),
        ("RUN [\"/app/build\"]", gzip(&tar_of(&[file("made", "m")]))),
        ("COPY conf /etc/app.conf", zstd(&tar_of(&conf))),
    ]
}

#[test]
fn a_faithful_cache_is_verified() {
    let project = Project::new(PLAIN, &plain_files());
    project.export(&plain_layers());
    insta::assert_snapshot!(project.run(&["cache"]).shown(), @r#"
    exit 0
    cache  cache latest, 5 records, 3 layers
    Dockerfile  target stage-0, linux/amd64, context context

    stage-0  FROM scratch  line 1
        2  HIT      COPY src /app
                    layer b72650d16a8b holds what its key promises: 2 files
        3  HIT      RUN ["/app/build"]
        4  HIT      COPY conf /etc/app.conf
                    layer 363940fa4a08 holds what its key promises: 1 file

    3 steps taken from the cache.
    Layers of COPY and ADD: 2 verified.
    "#);
    let (code, document) = project.json(&["cache"]);
    assert_eq!(code, Some(0));
    assert_eq!(document["schema"], "layerlint.cache/1");
    assert_eq!(
        document["summary"],
        json!({"hit": 3, "miss": 0, "unknown": 0, "verified": 2, "differs": 0, "not_checked": 0})
    );
    let copy = found(&document, "COPY src /app");
    assert_eq!(copy["content"], "verified");
    assert_eq!(copy["layer"], sha(&plain_layers()[0].1));
    assert_eq!(found(&document, "RUN [\"/app/build\"]")["content"], "not-checked");
}

/// The faithful cache with the layer of `COPY src /app` replaced, and all digests right.
fn poisoned(items: &[Item]) -> (Project, Cache) {
    let project = Project::new(PLAIN, &plain_files());
    let mut layers = plain_layers();
    layers[0].1 = gzip(&tar_of(items));
    let cache = project.export(&layers);
    (project, cache)
}

#[test]
fn a_poisoned_cache_is_reported_with_file_layer_and_instruction() {
    let items = [
        Item::Dir("app/"),
        file("app/build", "evil"),
        Item::Link("app/link", "sub/deep"),
        Item::Dir("app/sub/"),
        file("app/sub/more", "x"),
    ];
    let (project, _) = poisoned(&items);
    insta::assert_snapshot!(project.run(&["cache"]).shown(), @r#"
    exit 1
    cache  cache latest, 5 records, 3 layers
    Dockerfile  target stage-0, linux/amd64, context context

    stage-0  FROM scratch  line 1
        2  HIT      COPY src /app
                    layer 6adb445a9cbc does not hold what its key promises:
                      modified  src/build     expected 3e23e8160039, found b5c1fb2efc6d
                      modified  src/link      expected link to build, found link to sub/deep
                      missing   src/sub/deep
                      extra     app/sub/more
        3  HIT      RUN ["/app/build"]
        4  HIT      COPY conf /etc/app.conf
                    layer 363940fa4a08 holds what its key promises: 1 file

    3 steps taken from the cache.
    Layers of COPY and ADD: 1 verified, 1 differs from its key.

    BuildKit would serve these layers as CACHED. Delete this cache, find out who could write to it, and build once with `--no-cache`.
    "#);
    let (code, document) = project.json(&["cache"]);
    assert_eq!(code, Some(1));
    let copy = found(&document, "COPY src /app");
    assert_eq!((copy["status"].as_str(), copy["content"].as_str()), (Some("HIT"), Some("differs")));
    assert_eq!(copy["line"], 2);
    assert_eq!(
        copy["differences"],
        json!([
            {"path": "src/build", "image_path": "/app/build", "change": "modified", "expected": sha("b"), "found": sha("evil")},
            {"path": "src/link", "image_path": "/app/link", "change": "modified", "expected": "link to build", "found": "link to sub/deep"},
            {"path": "src/sub/deep", "image_path": "/app/sub/deep", "change": "missing", "expected": sha("d"), "found": null},
            {"path": "app/sub/more", "image_path": "/app/sub/more", "change": "extra", "expected": null, "found": sha("x")},
        ])
    );
    assert_eq!(project.run(&["cache", "--no-verify"]).code, Some(0), "nobody looked");
}

#[test]
fn a_bit_more_rights_or_a_deletion_is_a_difference_too() {
    let faithful = [
        Item::Dir("app/"),
        file("app/build", "b"),
        Item::Link("app/link", "build"),
        Item::Dir("app/sub/"),
        file("app/sub/deep", "d"),
    ];
    let with = |change: &dyn Fn(&mut Vec<Item>)| {
        let mut items = faithful.to_vec();
        change(&mut items);
        let (project, _) = poisoned(&items);
        let (code, document) = project.json(&["cache"]);
        assert_eq!(code, Some(1), "{document:#}");
        found(&document, "COPY src /app")["differences"].clone()
    };
    let setuid = with(&|items| items[1] = Item::File("app/build", 0o4644, "b".into()));
    assert_eq!(setuid[0]["found"], "mode 4644");
    let deleted = with(&|items| items.push(file("etc/.wh.passwd", "")));
    assert_eq!((&deleted[0]["path"], &deleted[0]["found"]), (&json!("etc/passwd"), &json!("deleted")));
}

#[test]
fn what_lies_below_explains_links_on_the_way_and_files_left_out() {
    // `/bin` leads to `/usr/bin`, and `/usr/bin/old` is written again as it was.
    let dockerfile =
        "FROM scratch\nCOPY root /\nCOPY tool /bin/tool\nCOPY tool /bin\nCOPY root/usr/bin/old /usr/bin/\n";
    let files = [("root/usr/bin/old", "o"), ("root/bin", "-> usr/bin"), ("tool", "t")];
    let project = Project::new(dockerfile, &files);
    let base =
        [Item::Link("bin", "usr/bin"), Item::Dir("usr/"), Item::Dir("usr/bin/"), file("usr/bin/old", "o")];
    let tool = [Item::Dir("usr/"), Item::Dir("usr/bin/"), file("usr/bin/tool", "t")];
    let layers = |last: &[Item]| {
        vec![
            ("COPY root /", tar_of(&base)),
            ("COPY tool /bin/tool", gzip(&tar_of(&tool))),
            ("COPY tool /bin", gzip(&tar_of(&[]))),
            ("COPY root/usr/bin/old /usr/bin/", gzip(&tar_of(last))),
        ]
    };
    project.export(&layers(&[Item::Dir("usr/"), Item::Dir("usr/bin/")]));
    let (code, document) = project.json(&["cache"]);
    assert_eq!((code, &document["summary"]["verified"]), (Some(0), &json!(4)), "{document:#}");
    project.export(&layers(&[Item::Dir("usr/"), Item::Dir("usr/bin/"), file("usr/bin/.wh.old", "")]));
    let (code, document) = project.json(&["cache"]);
    assert_eq!(code, Some(1));
    assert_eq!(found(&document, "COPY root/usr/bin/old /usr/bin/")["differences"][0]["change"], "missing");
}

#[test]
fn places_of_copied_files_are_buildkits() {
    let dockerfile = "FROM scratch\nWORKDIR /app\nCOPY a.txt .\nCOPY --chmod=0600 a.txt /x/y\nCOPY *.txt dir /t/\nCOPY --parents=true dir/sub /p/\nCOPY --link a.txt /l/\nCOPY <<one <<two /h/\n1\none\n2\ntwo\nADD packed.gz /un/\n";
    let files = [("a.txt", "a"), ("b.txt", "b"), ("dir/sub/deep", "d"), ("packed.gz", "\u{1f}\u{8b}\u{8}")];
    let project = Project::new(dockerfile, &files);
    let packed = project.path("context/packed.gz");
    std::fs::write(&packed, gzip(&tar_of(&[file("inside", "i")]))).unwrap();
    let one = |items: &[Item]| gzip(&tar_of(items));
    let files = [
        ("COPY a.txt .", one(&[Item::Dir("app/"), file("app/a.txt", "a")])),
        ("a.txt /x/y", one(&[Item::Dir("x/"), Item::File("x/y", 0o600, "a".into())])),
        (
            "COPY *.txt dir /t/",
            one(&[
                Item::Dir("t/"),
                file("t/a.txt", "a"),
                file("t/b.txt", "b"),
                Item::Dir("t/sub/"),
                file("t/sub/deep", "d"),
            ]),
        ),
        (
            "dir/sub /p/",
            one(&[
                Item::Dir("p/"),
                Item::Dir("p/dir/"),
                Item::Dir("p/dir/sub/"),
                file("p/dir/sub/deep", "d"),
            ]),
        ),
        ("--link a.txt /l/", one(&[Item::Dir("l/"), file("l/a.txt", "a")])),
        ("<<two /h/", one(&[Item::Dir("h/"), file("h/one", "1\n"), file("h/two", "2\n")])),
        ("ADD packed.gz /un/", one(&[Item::Dir("un/"), file("un/inside", "i")])),
    ];
    project.export(&files);
    let (code, document) = project.json(&["cache"]);
    let wrong: Vec<&Value> =
        document["steps"].as_array().unwrap().iter().filter(|s| s["content"] == "differs").collect();
    assert_eq!(code, Some(0), "{wrong:#?}");
    assert_eq!(document["summary"]["miss"], 0);
    // The link and the merge of it are two steps with one layer.
    assert_eq!(document["summary"]["verified"], 8, "{document:#}");
}

#[test]
fn what_add_unpacks_is_compared_file_by_file() {
    let project = Project::new("FROM scratch\nADD a.tgz note.gz /d/\nADD b.txz /e/\n", &[]);
    let archive = tar_of(&[file("one", "1"), Item::Dir("sub/"), file("sub/two", "2")]);
    std::fs::write(project.path("context/a.tgz"), gzip(&archive)).unwrap();
    let note = gzip(b"no archive");
    std::fs::write(project.path("context/note.gz"), &note).unwrap();
    std::fs::write(project.path("context/b.txz"), b"\xfd7zXZ\0").unwrap();
    let layers = |two| {
        let note = Item::File("d/note.gz", 0o644, note.clone());
        let items = [Item::Dir("d/"), note, file("d/one", "1"), Item::Dir("d/sub/"), file("d/sub/two", two)];
        vec![
            ("ADD a.tgz note.gz /d/", gzip(&tar_of(&items))),
            ("ADD b.txz /e/", tar_of(&[file("e/any", "")])),
        ]
    };
    project.export(&layers("2"));
    let (code, document) = project.json(&["cache"]);
    assert_eq!((code, &found(&document, "/d/")["content"]), (Some(0), &json!("verified")), "{document:#}");
    assert_eq!(found(&document, "/e/")["not_checked"], "ADD may unpack `b.txz`: xz is not read here");
    project.export(&layers("evil"));
    let (code, document) = project.json(&["cache"]);
    assert_eq!(code, Some(1));
    assert_eq!(found(&document, "/d/")["differences"][0]["path"], "a.tgz/sub/two");
}

#[test]
fn files_that_pass_through_a_stage_of_copies_are_compared_too() {
    let dockerfile = "FROM scratch AS b\nWORKDIR /w\nCOPY src .\nCOPY <<note /w/sub/\nhi\nnote\nFROM scratch\nCOPY --from=b --chmod=600 /w/*.txt /w/sub /out/\n";
    let project = Project::new(dockerfile, &[("src/a.txt", "a"), ("src/sub/deep", "d"), ("src/b.bin", "")]);
    let last = "/w/*.txt /w/sub /out/";
    let layers = |deep| {
        let src = [
            Item::Dir("w/"),
            file("w/a.txt", "a"),
            file("w/b.bin", ""),
            Item::Dir("w/sub/"),
            file("w/sub/deep", "d"),
        ];
        let out = [
            Item::Dir("out/"),
            Item::File("out/a.txt", 0o600, "a".into()),
            Item::File("out/deep", 0o600, deep),
            Item::File("out/note", 0o600, "hi\n".into()),
        ];
        vec![
            ("COPY src .", tar_of(&src)),
            ("/w/sub/", tar_of(&[file("w/sub/note", "hi\n")])),
            (last, tar_of(&out)),
        ]
    };
    project.export(&layers(b"d".to_vec()));
    let (code, document) = project.json(&["cache"]);
    assert_eq!((code, &found(&document, last)["content"]), (Some(0), &json!("verified")), "{document:#}");
    project.export(&layers(b"evil".to_vec()));
    let (code, document) = project.json(&["cache"]);
    assert_eq!(code, Some(1));
    assert_eq!(found(&document, last)["differences"][0]["path"], "src/sub/deep");
}

#[test]
fn a_changed_file_is_named() {
    let project = Project::new(PLAIN, &plain_files());
    project.export(&plain_layers());
    std::fs::write(project.path("context/src/build"), "new").unwrap();
    std::fs::write(project.path("context/src/added"), "").unwrap();
    insta::assert_snapshot!(project.run(&["cache"]).shown(), @r#"
    exit 0
    cache  cache latest, 5 records, 3 layers
    Dockerfile  target stage-0, linux/amd64, context context

    stage-0  FROM scratch  line 1
        2  MISS     COPY src /app
                    this cache does not have its files as they are now
                      added     src/added
                      modified  src/build
        3  MISS     RUN ["/app/build"]  ← line 2
        4  MISS     COPY conf /etc/app.conf  ← line 2

    0 steps taken from the cache, 3 to be run.
    Layers of COPY and ADD: 1 verified.
    "#);
    let (code, document) = project.json(&["cache"]);
    assert_eq!(code, Some(0), "a miss is no failure");
    let copy = found(&document, "COPY src /app");
    assert_eq!(copy["status"], "MISS");
    assert_eq!(copy["cause"]["kind"], "content");
    assert_eq!(
        copy["cause"]["paths"],
        json!([
            {"path": "src/added", "change": "added", "before": null, "after": sha("")},
            {"path": "src/build", "change": "modified", "before": sha("b"), "after": sha("new")},
        ])
    );
    assert_eq!(found(&document, "RUN [\"/app/build\"]")["cause"]["kind"], "parent");
}

#[test]
fn changed_words_and_variables_are_a_miss_of_their_own() {
    let project = Project::new("FROM scratch\nCOPY a /a\nRUN [\"/a\"]\n", &[("a", "1")]);
    project.export(&[("COPY a /a", tar_of(&[file("a", "1")])), ("RUN [\"/a\"]", tar_of(&[]))]);
    std::fs::write(project.path("Dockerfile"), "FROM scratch\nCOPY a /a\nARG X=1\nRUN [\"/a\"]\nCOPY a /b\n")
        .unwrap();
    let (_, document) = project.json(&["cache"]);
    assert_eq!(status(&document, "COPY a /a"), "HIT");
    assert_eq!(found(&document, "RUN [\"/a\"]")["cause"]["kind"], "instruction");
    let copy = found(&document, "COPY a /b");
    assert_eq!((copy["status"].as_str(), copy["cause"]["kind"].as_str()), (Some("MISS"), Some("parent")));
}

#[test]
fn below_an_unknown_base_image_only_a_no_is_certain() {
    let project = Project::new("FROM debian:12\nCOPY a /a\nRUN /a\nCOPY b /b\n", &[("a", "1"), ("b", "2")]);
    let layers = [
        ("COPY a /a", tar_of(&[file("a", "1")])),
        ("RUN /a", tar_of(&[])),
        ("COPY b /b", tar_of(&[file("b", "2")])),
    ];
    project.export(&layers);
    insta::assert_snapshot!(project.run(&["cache"]).shown(), @r#"
    exit 0
    cache  cache latest, 7 records, 3 layers
    Dockerfile  target stage-0, linux/amd64, context context

    stage-0  FROM debian:12  line 1
        1  UNKNOWN  FROM docker.io/library/debian:12
                    its digest is not known here
        2  UNKNOWN  COPY a /a
                    reused if docker.io/library/debian:12 is still what this cache was built on
                    layer c9a36ec628de holds what its key promises: 1 file
        3  UNKNOWN  RUN /a
                    depends on the environment of docker.io/library/debian:12, which is not known here
        4  UNKNOWN  COPY b /b
                    reused if docker.io/library/debian:12 is still what this cache was built on
                    layer abfb0e152922 holds what its key promises: 1 file

    0 steps taken from the cache, 4 unknown.
    Layers of COPY and ADD: 2 verified.

    To know more give base images with `--image REF=PATH` (an OCI layout or an image config), or have registries asked with `--resolve`.
    "#);
    let (_, document) = project.json(&["cache"]);
    for step in ["FROM docker.io/library/debian:12", "COPY a /a", "RUN /a", "COPY b /b"] {
        assert_eq!(status(&document, step), "UNKNOWN", "{document:#}");
    }
    assert_eq!(
        found(&document, "COPY a /a")["content"],
        "verified",
        "its files do not depend on the base image"
    );
    std::fs::write(project.path("context/a"), "new").unwrap();
    let (_, document) = project.json(&["cache"]);
    assert_eq!(status(&document, "COPY a /a"), "MISS");
    assert_eq!(found(&document, "COPY a /a")["cause"]["kind"], "content");
    assert_eq!(status(&document, "RUN /a"), "MISS");
}

#[test]
fn a_step_without_a_layer_is_no_hit_but_the_chain_goes_on() {
    let project = Project::new(PLAIN, &plain_files());
    let layers = plain_layers();
    project.export(&layers[2..]);
    let (_, document) = project.json(&["cache", "--no-verify"]);
    // The target hits, so that nobody asks for what is below it.
    assert_eq!(document["summary"]["hit"], 3);
    project.export(&layers[..1]);
    let (_, document) = project.json(&["cache"]);
    assert_eq!(status(&document, "COPY src /app"), "HIT");
    let run = found(&document, "RUN [\"/app/build\"]");
    assert_eq!(run["status"], "MISS");
    assert_eq!(
        run["cause"]["detail"],
        "the cache knows this step but has no layer for it (as with mode=min)"
    );
}

#[test]
fn a_missing_blob_is_no_hit() {
    let project = Project::new(PLAIN, &plain_files());
    let cache = project.export(&plain_layers());
    let last = sha(&plain_layers()[2].1);
    std::fs::remove_file(cache.blob(&last)).unwrap();
    let (code, document) = project.json(&["cache"]);
    let copy = found(&document, "COPY conf /etc/app.conf");
    assert_eq!((code, copy["status"].as_str()), (Some(0), Some("MISS")));
    assert_eq!(copy["cause"]["detail"], format!("its layer cannot be loaded: blob {last} is missing"));
    assert_eq!(status(&document, "COPY src /app"), "HIT");
}

// Where caches are.

#[test]
fn one_of_several_manifests_can_be_chosen() {
    let project = Project::new(PLAIN, &plain_files());
    let cache = project.export(&plain_layers());
    let full = json!({"layers": [], "records": project.records(&|_| None)});
    cache.write(&json!({"layers": [], "records": []}), &[("main", &full)]);
    let miss = |args: &[&str]| {
        project.json(&[&["cache", "--no-verify"], args].concat()).1["summary"]["miss"].clone()
    };
    // With no layer anywhere, what matters is what is known.
    assert_eq!(
        project.json(&["cache"]).1["manifests"],
        json!([{"name": "latest", "inline": false, "records": 0}])
    );
    assert_eq!(miss(&[]), 3);
    let (_, document) = project.json(&["cache", "--ref", "main"]);
    assert!(document["steps"][0]["cause"]["detail"].as_str().unwrap().contains("mode=min"), "{document:#}");
    let ran = project.run(&["cache", "--ref", "nope"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("nothing in cache is called `nope`") && ran.stderr.contains("latest, main"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_older_form_with_an_index_is_read() {
    let project = Project::new(PLAIN, &plain_files());
    let cache = project.export(&[]);
    let config = json!({"layers": [], "records": project.records(&|_| None)}).to_string();
    let list = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": cache.put(&config), "size": config.len()}]});
    let digest = cache.put(list.to_string());
    cache.index(&json!({"manifests": [{"digest": digest, "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}));
    let (code, document) = project.json(&["cache"]);
    assert_eq!((code, document["manifests"][0]["records"].as_u64().unwrap() > 3), (Some(0), true));
}

/// An image with inline cache, as an archive of `docker save` and as an OCI layout in an archive.
fn images(project: &Project) -> [Vec<u8>; 2] {
    let layers = plain_layers();
    let plain: Vec<Vec<u8>> = layers
        .iter()
        .map(|(_, bytes)| {
            let mut out = Vec::new();
            if bytes.starts_with(&[0x1f, 0x8b]) {
                std::io::copy(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut out).unwrap();
            } else {
                out = tar_of(&[Item::Dir("etc/"), file("etc/app.conf", "c=1")]);
            }
            out
        })
        .collect();
    let records = json!(project.records(&|name| layers.iter().position(|(step, _)| name.ends_with(step))));
    let inline = base64::engine::general_purpose::STANDARD.encode(records.to_string());
    let diff_ids: Vec<String> = plain.iter().map(sha).collect();
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "moby.buildkit.cache.v0": inline})
        .to_string();
    let mut saved = Archive::default();
    // Engines save a layer once and link to it from elsewhere.
    let names = ["one/layer.tar", "two/layer.tar", "three/layer.tar"];
    for (name, layer) in names.iter().zip(&plain) {
        saved.add(name, layer);
    }
    saved.link("four/layer.tar", "../three/layer.tar");
    saved.add("config.json", config.as_bytes());
    let manifest = json!([{"Config": "config.json", "RepoTags": ["app:v1"],
        "Layers": ["one/layer.tar", "two/layer.tar", "four/layer.tar"]}]);
    saved.add("manifest.json", manifest.to_string().as_bytes());
    let mut layout = Archive::default();
    let mut blob = |bytes: &[u8]| {
        let digest = sha(bytes);
        layout.add(&format!("blobs/sha256/{}", &digest[7..]), bytes);
        digest
    };
    let packed: Vec<Value> = layers.iter().map(|(_, bytes)| json!({"digest": blob(bytes)})).collect();
    let config =
        json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob(config.as_bytes())});
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": packed}).to_string();
    let manifest = blob(manifest.as_bytes());
    // An index for two platforms of which one was fetched.
    let list = json!({"manifests": [{"digest": manifest}, {"digest": sha("elsewhere")}]}).to_string();
    let list = blob(list.as_bytes());
    layout.add("index.json", json!({"manifests": [{"digest": list}]}).to_string().as_bytes());
    [saved.finish(), layout.finish()]
}

#[derive(Default)]
struct Archive {
    out: Option<tar::Builder<Vec<u8>>>,
}

impl Archive {
    fn builder(&mut self) -> &mut tar::Builder<Vec<u8>> {
        self.out.get_or_insert_with(|| tar::Builder::new(Vec::new()))
    }

    fn add(&mut self, path: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        self.builder().append_data(&mut header, path, bytes).unwrap();
    }

    fn link(&mut self, path: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        self.builder().append_link(&mut header, path, target).unwrap();
    }

    fn finish(self) -> Vec<u8> {
        self.out.unwrap().into_inner().unwrap()
    }
}

#[test]
fn images_with_inline_cache_are_read_from_archives_plain_and_packed() {
    let project = Project::new(PLAIN, &plain_files());
    for bytes in images(&project) {
        for bytes in [bytes.clone(), gzip(&bytes)] {
            std::fs::write(project.path("image.tar"), bytes).unwrap();
            let (code, document) = project.json(&["image.tar"]);
            assert_eq!(code, Some(0));
            assert_eq!(document["manifests"][0]["inline"], true);
            assert_eq!(
                (&document["summary"]["hit"], &document["summary"]["verified"]),
                (&json!(3), &json!(2)),
                "{document:#}"
            );
        }
    }
}

#[test]
fn an_image_without_inline_cache_is_told_so() {
    let project = Project::new(PLAIN, &plain_files());
    let mut saved = Archive::default();
    saved.add("c.json", b"{\"rootfs\":{\"diff_ids\":[]}}");
    saved.add("manifest.json", b"[{\"Config\":\"c.json\",\"Layers\":[]}]");
    std::fs::write(project.path("image.tar"), saved.finish()).unwrap();
    insta::assert_snapshot!(project.run(&["image.tar"]).shown(), @r#"
    exit 2
    error: image.tar is no exported cache: there is an image in it but no cache; `--cache-to type=inline` would add one
    help: give a folder of `--cache-to type=local,dest=DIR`, or an image built with `--cache-to type=inline`
    "#);
}

// Hostile input: exit 2, a sentence, nothing written.

/// All paths below a folder.
fn listing(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            out.push(path);
        }
    }
    out.sort();
    out
}

#[track_caller]
fn refused(project: &Project, says: &str) {
    let before = listing(project.dir.path());
    let ran = project.run(&["cache"]);
    assert_eq!(ran.code, Some(2), "{}", ran.shown());
    assert!(ran.stderr.contains(says), "expected `{says}` in: {}", ran.stderr);
    assert_eq!(listing(project.dir.path()), before, "something was written");
}

fn hostile(config: &Value) -> Project {
    let project = Project::new(PLAIN, &plain_files());
    Cache { root: project.path("cache") }.write(config, &[]);
    project
}

#[test]
fn records_and_layers_that_cannot_be_are_refused() {
    let (a, b) = (sha("a"), sha("b"));
    let cases = [
        (json!({"records": [{"digest": a, "inputs": [[{"link": 7}]]}]}), "a record points to record 7 of 1"),
        (
            json!({"records": [{"digest": a, "inputs": [[{"link": -1}]]}]}),
            "a record points to record -1 of 1",
        ),
        (json!({"records": [{"digest": a, "layers": [{"layer": 3}]}]}), "a record points to layer 3 of 0"),
        (json!({"records": [{"digest": a, "chains": [{"layers": [1]}]}]}), "a record points to layer 1 of 0"),
        (
            json!({"records": [{"digest": a, "inputs": [[{"link": 1}]]}, {"digest": b, "inputs": [[{"link": 0}]]}]}),
            "the records form a loop",
        ),
        (json!({"records": [{"digest": "../../../etc/passwd"}]}), "is no digest of a record"),
        (
            json!({"layers": [{"blob": "sha256:../../../../etc/passwd", "parent": -1}]}),
            "this is no SHA-256 digest",
        ),
        (json!({"layers": [{"blob": a, "parent": 0}]}), "the layers form a loop"),
        (json!({"layers": [{"blob": a, "parent": 1}, {"blob": b, "parent": 0}]}), "the layers form a loop"),
        (json!({"layers": [{"blob": a, "parent": 9}]}), "layer 0 lies on layer 9 of 1"),
        (json!({"records": {"no": "list"}}), "the cache configuration: invalid type"),
        (json!(["list"]), "the cache configuration: "),
    ];
    for (config, says) in cases {
        refused(&hostile(&config), says);
    }
    // Deeper than anybody's stack.
    let project = hostile(&json!({}));
    let cache = Cache { root: project.path("cache") };
    std::fs::write(cache.root.join("index.json"), "[".repeat(1 << 20)).unwrap();
    refused(&project, "index.json: ");
}

#[test]
fn a_long_chain_of_records_is_followed_without_a_deep_stack() {
    let count = 100_000;
    let records: Vec<Value> = (0..count)
        .map(|i: usize| match i.checked_sub(1) {
            None => json!({"digest": sha("x")}),
            Some(below) => json!({"digest": sha("x"), "inputs": [[{"link": below}]]}),
        })
        .collect();
    let layers: Vec<Value> = (0..count).map(|i| json!({"blob": sha("x"), "parent": i as i64 - 1})).collect();
    let project = hostile(&json!({"layers": layers, "records": records}));
    let ran = project.run(&["cache"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn blobs_under_false_names_are_refused() {
    let project = Project::new(PLAIN, &plain_files());
    let cache = project.export(&plain_layers());
    let layer = sha(&plain_layers()[0].1);
    std::fs::write(cache.blob(&layer), gzip(&tar_of(&[]))).unwrap();
    refused(&project, &format!("blob {layer} has other content than its name says"));
    let (_, document) = project.json(&["cache"]);
    assert_eq!(found(&document, "COPY src /app")["content"], "not-checked");

    let manifest = cache.manifest(&json!({"records": []}));
    cache.index(&json!({"manifests": [{"digest": manifest}]}));
    std::fs::write(cache.blob(&manifest), "{}").unwrap();
    refused(&project, &format!("blob {manifest} has other content than its name says"));
    cache.index(&json!({"manifests": [{"digest": sha("gone")}]}));
    refused(&project, "is missing");
}

#[test]
fn layers_that_no_build_makes_are_refused() {
    let lead_out = |path| poisoned(&[Item::Dir("app/"), Item::Raw(path)]).0;
    refused(&lead_out("../../etc/cron.d/x"), "`../../etc/cron.d/x` leads out of the archive");
    refused(&lead_out("/etc/cron.d/x"), "`/etc/cron.d/x` leads out of the archive");
    refused(&poisoned(&[Item::Dir("app/"), Item::Device("app/null")]).0, "`app/null` is a character device");
}

#[test]
fn damaged_layers_are_refused() {
    let with = |bytes: Vec<u8>| {
        let project = Project::new(PLAIN, &plain_files());
        let mut layers = plain_layers();
        layers[0].1 = bytes;
        project.export(&layers);
        project
    };
    let whole = tar_of(&[file("app/build", &"b".repeat(5000))]);
    refused(&with(whole[..2000].to_vec()), "not a readable layer");
    refused(&with(gzip(&whole)[..40].to_vec()), "not a readable layer");
    refused(
        &with(b"not a tar archive, but long enough to be one of its headers".repeat(20)),
        "not a readable layer",
    );
    // A header that promises more than there is in the world.
    let mut header = tar::Header::new_gnu();
    header.set_path("app/build").unwrap();
    header.set_size(1 << 60);
    header.set_cksum();
    refused(&with(header.as_bytes().to_vec()), "not a readable layer");
}

#[test]
fn a_layer_that_unpacks_without_end_is_left() {
    // Much in little: a tar archive of zeros.
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut header = tar::Header::new_gnu();
    header.set_path("app/build").unwrap();
    header.set_size(8 << 30);
    header.set_cksum();
    out.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..300 {
        out.write_all(&zeros).unwrap();
    }
    let bytes = out.finish().unwrap();
    let project = Project::new(PLAIN, &plain_files());
    let mut layers = plain_layers();
    layers[0].1 = bytes;
    project.export(&layers);
    refused(&project, "what it unpacks to exceeds ");
}

#[test]
fn a_name_without_end_is_left() {
    // A long name of GNU tar is kept in memory, so its length has a bound of its own.
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(64 << 20);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(std::iter::repeat_n(b'a', 64 << 20));
    let project = Project::new(PLAIN, &plain_files());
    let mut layers = plain_layers();
    layers[0].1 = gzip(&bytes);
    project.export(&layers);
    refused(&project, "exceeds");
}

#[test]
fn archives_with_foreign_paths_are_refused() {
    let project = Project::new(PLAIN, &plain_files());
    for (items, says) in [
        (vec![Item::Raw("../index.json")], "leads out of the archive"),
        (vec![Item::Raw("/index.json")], "leads out of the archive"),
        (vec![Item::Device("index.json")], "is a device"),
        (vec![], "neither a folder nor a tar archive"),
    ] {
        std::fs::write(project.path("cache"), tar_of(&items)).unwrap();
        refused(&project, says);
    }
    let mut saved = Archive::default();
    saved.add("manifest.json", b"[{\"Config\":\"../../etc/passwd\",\"Layers\":[]}]");
    std::fs::write(project.path("cache"), saved.finish()).unwrap();
    refused(&project, "leads out of the archive");
    std::fs::write(project.path("cache"), "text").unwrap();
    refused(&project, "not a readable tar archive");
}

#[test]
fn what_is_no_cache_is_told_so() {
    let project = Project::new(PLAIN, &plain_files());
    assert!(project.run(&["nowhere"]).stderr.contains("cannot read nowhere"));
    std::fs::create_dir(project.path("empty")).unwrap();
    insta::assert_snapshot!(project.run(&["empty"]).shown(), @r#"
    exit 2
    error: empty is no exported cache: it holds neither index.json (type=local, OCI layout) nor manifest.json (docker save)
    help: give a folder of `--cache-to type=local,dest=DIR`, or an image built with `--cache-to type=inline`
    "#);
    // A pipe would be waited for, for ever.
    #[cfg(unix)]
    {
        let pipe = project.path("empty/index.json");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let ran = project.run(&["empty"]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains("not a regular file"), "{}", ran.stderr);
    }
}
