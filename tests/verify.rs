//! Images against their source trees: recorded ones from a real builder, and ones that are made here.

#![allow(clippy::unwrap_used, clippy::panic)]

mod images;

use images::{Image, Item, dir, file, gone, hard, link, project};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Exit code, standard output and standard error.
fn layerlint(args: &[&str], stdin: Option<&Path>) -> (i32, String, String) {
    let stdin = stdin.map_or_else(Stdio::null, |path| std::fs::File::open(path).unwrap().into());
    let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .args(args)
        .stdin(stdin)
        .env("NO_COLOR", "1")
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_WORKSPACE")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The JSON of `verify IMAGE … CONTEXT`, which must exit as its verdict says.
fn verify(image: &Path, context: &Path, more: &[&str]) -> Value {
    let mut args = vec!["verify", image.to_str().unwrap(), context.to_str().unwrap(), "--format", "json"];
    args.extend(more);
    let (code, out, err) = layerlint(&args, None);
    let document: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    let wanted = match document["verdict"].as_str().unwrap() {
        "faithful" => 0,
        "differs" => 1,
        _ => 2,
    };
    assert_eq!(code, wanted, "{out}");
    document
}

/// `change path` of each difference.
fn differences(document: &Value) -> Vec<String> {
    listed(&document["differences"])
}

fn listed(items: &Value) -> Vec<String> {
    let items = items.as_array().unwrap();
    items
        .iter()
        .map(|d| format!("{} {}", d["change"].as_str().unwrap(), d["path"].as_str().unwrap()))
        .collect()
}

fn recorded() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors/images");
    let mut out: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    out.retain(|p| p.is_dir());
    out.sort();
    assert_eq!(out.len(), 11);
    out
}

#[test]
fn recorded_images_are_judged_by_the_files_they_hold() {
    for case in recorded() {
        let expect: Value =
            serde_json::from_slice(&std::fs::read(case.join("expect.json")).unwrap()).unwrap();
        let unlike: BTreeSet<&str> = expect["images"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|i| i["compare"].as_array().unwrap())
            .filter(|c| c["result"] != "same")
            .map(|c| c["source"].as_str().unwrap())
            .collect();
        for archive in ["image.oci.tar", "image.docker.tar"].map(|name| case.join(name)) {
            if !archive.exists() {
                continue;
            }
            let document = verify(&archive, &case.join("source"), &[]);
            assert_eq!(document["verdict"], expect["verdict"], "{}: {document:#}", archive.display());
            let found: BTreeSet<&str> = document["differences"]
                .as_array()
                .unwrap()
                .iter()
                .map(|d| d["path"].as_str().unwrap())
                .collect();
            assert_eq!(found, unlike, "{}", archive.display());
            let platforms: Vec<String> = expect["images"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| {
                    let part = |name: &str| i["platform"][name].as_str().unwrap().to_owned();
                    format!("{}/{}", part("os"), part("architecture"))
                })
                .collect();
            let told: Vec<&str> =
                document["platforms"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
            assert_eq!(told, platforms);
        }
    }
}

#[test]
fn folders_pipes_and_packed_archives_are_read_like_archives() {
    let case = &recorded()[4];
    let source = case.join("source");
    let expected = differences(&verify(&case.join("image.oci.tar"), &source, &[]));
    assert_eq!(expected.len(), 5);
    let place = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(case.join("image.oci.tar")).unwrap();

    let folder = place.path().join("layout");
    tar::Archive::new(bytes.as_slice()).unpack(&folder).unwrap();
    assert_eq!(differences(&verify(&folder, &source, &[])), expected);

    let packed = place.path().join("image.tar.gz");
    std::fs::write(&packed, images::gzip(&bytes)).unwrap();
    assert_eq!(differences(&verify(&packed, &source, &[])), expected);

    let archive = case.join("image.oci.tar");
    for piped in [&archive, &packed] {
        let args = ["verify", "-", source.to_str().unwrap(), "--format", "json"];
        let (code, out, err) = layerlint(&args, Some(piped));
        assert_eq!(code, 1, "{err}");
        assert_eq!(differences(&serde_json::from_str(&out).unwrap()), expected);
    }
}

#[test]
fn the_layer_that_wrote_a_file_tells_who_made_it_different() {
    let source = project(&[
        ("Dockerfile", "FROM base\nCOPY . /app\nRUN ./prepare\nCOPY late /app/late\n"),
        ("a", "a"),
        ("b", "b"),
        ("late", "now"),
    ]);
    let image = Image::new()
        .base(&[dir("app")])
        .layer(
            "COPY . /app # buildkit",
            &[
                file("app/Dockerfile", &images::read(&source, "Dockerfile")),
                file("app/a", "old"),
                file("app/b", "b"),
                file("app/late", "now"),
            ],
        )
        .layer("RUN /bin/sh -c ./prepare # buildkit", &[file("app/b", "prepared")])
        .layer("COPY late /app/late # buildkit", &[file("app/late", "then")])
        .write();
    let document = verify(&image.path, source.path(), &[]);
    assert_eq!(differences(&document), ["modified a", "modified b", "modified late"]);
    let told: Vec<(&str, u64)> = document["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["by"].as_str().unwrap(), d["instruction"]["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("copy", 2), ("run", 3), ("copy", 4)]);

    let document = verify(&image.path, source.path(), &["--accept-run"]);
    assert_eq!(differences(&document), ["modified a", "modified late"]);
    assert_eq!(listed(&document["accepted"]), ["modified b"]);
}

#[test]
fn what_a_builder_stage_may_have_rewritten_is_undecided_unless_its_words_tell() {
    let dockerfile = |run: &str| {
        format!("FROM base AS b\nWORKDIR /s\nCOPY a b ./\nRUN {run}\nFROM scratch\nCOPY --from=b /s /app\n")
    };
    let image = Image::new()
        .layer("COPY /s /app # buildkit", &[dir("app"), file("app/a", "other"), file("app/b", "b")])
        .write();
    for (run, verdict) in [
        // It may do anything.
        ("./configure", "undecided"),
        ("make", "undecided"),
        // It cannot have been one of these.
        ("pip install -r requirements.txt && mkdir -p out && cat b > out/c", "differs"),
        ("cc -o a.out b", "differs"),
        ("cp b c && rm -rf tmp", "differs"),
        // It must have been one of these.
        ("sed -i s/a/other/ a", "differs"),
        ("echo other > a", "differs"),
        ("if [ -n \"$X\" ]; then echo other > a; fi", "undecided"),
    ] {
        let text = dockerfile(run);
        let source = project(&[("Dockerfile", text.as_str()), ("a", "a"), ("b", "b")]);
        let document = verify(&image.path, source.path(), &[]);
        assert_eq!(document["verdict"], verdict, "{run}: {document:#}");
        let list = if verdict == "differs" { &document["differences"] } else { &document["undecided"] };
        assert_eq!(listed(list), ["modified a"], "{run}");
    }
}

#[test]
fn files_that_the_tree_no_longer_has_are_found_under_copied_folders() {
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY src /app\nRUN [\"/x\"]\n"), ("src/a", "a")]);
    let image = Image::new()
        .layer("COPY src /app # buildkit", &[dir("app"), file("app/a", "a"), file("app/removed", "r")])
        .layer("RUN /x # buildkit", &[file("app/made", "m")])
        .write();
    let document = verify(&image.path, source.path(), &[]);
    assert_eq!(differences(&document), ["extra /app/removed"]);
    assert_eq!(document["differences"][0]["instruction"]["line"], 2);
}

#[test]
fn links_on_the_way_are_followed_inside_the_image() {
    let source = project(&[
        ("Dockerfile", "FROM base\nCOPY tool /bin/tool\nCOPY conf /etc/app/\nCOPY lib /lib/x/\n"),
        ("tool", "t"),
        ("conf", "c"),
        ("lib", "l"),
    ]);
    let image = Image::new()
        .base(&[
            dir("usr"),
            dir("usr/bin"),
            link("bin", "usr/bin"),
            link("etc", "/private/etc"),
            dir("private"),
            link("lib", "../../../lib64"),
        ])
        .layer("COPY tool /bin/tool # buildkit", &[file("usr/bin/tool", "t")])
        .layer("COPY conf /etc/app/ # buildkit", &[file("private/etc/app/conf", "c")])
        .layer("COPY lib /lib/x/ # buildkit", &[file("lib64/x/lib", "l")])
        .write();
    let document = verify(&image.path, source.path(), &[]);
    assert_eq!((&document["verdict"], &document["checked"]), (&"faithful".into(), &3.into()), "{document:#}");
}

#[test]
fn hard_links_whiteouts_and_replaced_directories_are_resolved() {
    let source = project(&[
        ("Dockerfile", "FROM base\nCOPY a /app/a\nCOPY b /app/b\nCOPY c /dir\n"),
        ("a", "same"),
        ("b", "same"),
        ("c", "c"),
    ]);
    let image = Image::new()
        .base(&[dir("dir"), file("dir/old", "o"), file("app/shared", "same")])
        .layer("COPY a /app/a # buildkit", &[hard("app/a", "app/shared")])
        .layer(
            "COPY b /app/b # buildkit",
            &[file("app/x", "same"), hard("app/b", "app/x"), gone("app/shared")],
        )
        .layer("COPY c /dir # buildkit", &[file("dir/c", "c")])
        .write();
    let document = verify(&image.path, source.path(), &[]);
    // `x` is in the layer of a copy that does not bring it.
    assert_eq!(differences(&document), ["extra /app/x"]);
}

#[test]
fn paths_are_mapped_by_hand_where_there_is_no_dockerfile() {
    let source = project(&[
        ("src/a", "a"),
        ("src/sub/b", "b"),
        ("other", "o"),
        (".dockerignore", "**/*.log"),
        ("src/x.log", "x"),
    ]);
    let image = Image::new()
        .layer(
            "whatever",
            &[dir("app"), file("app/a", "a"), file("app/sub/b", "changed"), file("app/made", "m")],
        )
        .write();
    let document = verify(&image.path, source.path(), &["--root", "/app=src"]);
    assert_eq!(differences(&document), ["modified src/sub/b"]);
    assert_eq!(document["differences"][0]["instruction"]["instruction"], "whatever");
    let document = verify(&image.path, source.path(), &["--root", "/app/a=src/a"]);
    assert_eq!(document["verdict"], "faithful");
    let args =
        ["verify", image.path.to_str().unwrap(), source.path().to_str().unwrap(), "--root", "/app=nothing"];
    let (code, _, err) = layerlint(&args, None);
    assert_eq!(code, 2);
    assert!(err.contains("there is no `nothing` in the context"), "{err}");
}

#[test]
fn modes_count_where_an_instruction_says_them_and_where_a_file_can_no_longer_be_run() {
    let source = project(&[
        ("Dockerfile", "FROM scratch\nCOPY run keep /app/\nCOPY --chmod=640 secret /app/\n"),
        ("run", "r"),
        ("keep", "k"),
        ("secret", "s"),
    ]);
    images::permit(&source.path().join("run"), 0o755);
    images::permit(&source.path().join("keep"), 0o600);
    let image = |run: u32, keep: u32, secret: u32| {
        let mode =
            |path: &'static str, mode: u32, content: &str| Item::File(path.into(), mode, content.into());
        Image::new()
            .layer(
                "COPY run keep /app/ # buildkit",
                &[mode("app/run", run, "r"), mode("app/keep", keep, "k")],
            )
            .layer("COPY secret /app/ # buildkit", &[mode("app/secret", secret, "s")])
            .write()
    };
    let of = |run, keep, secret| differences(&verify(&image(run, keep, secret).path, source.path(), &[]));
    assert!(of(0o755, 0o644, 0o640).is_empty());
    assert_eq!(of(0o644, 0o644, 0o640), ["mode run"]);
    assert_eq!(of(0o755, 0o644, 0o644), ["mode secret"]);
    assert_eq!(of(0o755, 0o4644, 0o640), ["mode keep"]);
}
