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
fn a_run_that_changes_owners_did_not_write_what_is_in_the_files() {
    let source =
        project(&[("Dockerfile", "FROM scratch\nCOPY src /app\nRUN chown -R 1 /app\n"), ("src/a", "new")]);
    let image = Image::new()
        .layer("COPY src /app # buildkit", &[file("app/a", "old"), file("app/left", "l")])
        .layer("RUN /bin/sh -c chown -R 1 /app # buildkit", &[file("app/a", "old"), file("app/left", "l")])
        .write();
    let document = verify(&image.path, source.path(), &[]);
    assert_eq!(differences(&document), ["modified src/a", "extra /app/left"]);
    for difference in document["differences"].as_array().unwrap() {
        assert_eq!((&difference["by"], &difference["instruction"]["line"]), (&"copy".into(), &2.into()));
    }
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

// What people and programs are told.

/// A project in a git repository with one commit for each of these contents of `settings.py`.
fn committed(contents: &[&str]) -> tempfile::TempDir {
    let place = project(&[("Dockerfile", "FROM scratch\nCOPY . /app\n"), (".dockerignore", ".git")]);
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.test",
                "-c",
                "commit.gpgsign=false",
                "-C",
            ])
            .arg(place.path())
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "-q"]);
    for (number, content) in contents.iter().enumerate() {
        std::fs::write(place.path().join("settings.py"), content).unwrap();
        git(&["add", "."]);
        git(&["commit", "-q", "-m", &format!("Change {number}")]);
    }
    place
}

fn copied(project: &tempfile::TempDir, files: &[(&str, &str)]) -> images::Written {
    let mut items = vec![dir("app")];
    for name in ["Dockerfile", ".dockerignore"] {
        items.push(file(&format!("app/{name}"), &images::read(project, name)));
    }
    items.extend(files.iter().map(|(path, content)| file(&format!("app/{path}"), content)));
    Image::new().layer("COPY . /app # buildkit", &items).write()
}

#[test]
fn the_commit_that_an_image_was_made_of_is_found() {
    let source = committed(&["PORT = 1\n", "PORT = 2\n", "PORT = 3\n", "PORT = 4\n"]);
    let image = copied(&source, &[("settings.py", "PORT = 2\n")]);
    let document = verify(&image.path, source.path(), &["--since", "HEAD~3"]);
    assert_eq!(differences(&document), ["modified settings.py"]);
    assert_eq!(document["differences"][0]["cause"]["kind"], "revision");
    let note = document["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("all that is different is as in commit ") && note.ends_with("Change 1)"),
        "{note}"
    );
    // Too late to have it.
    let document = verify(&image.path, source.path(), &["--since", "HEAD~1"]);
    assert_eq!(document["notes"][0], "no commit that was looked at has the files of the image");
    let args =
        ["verify", image.path.to_str().unwrap(), source.path().to_str().unwrap(), "--since", "nowhere"];
    assert_eq!(layerlint(&args, None).0, 2);
}

#[test]
fn a_file_of_an_older_commit_was_not_made_by_a_command() {
    let source = committed(&["PORT = 1\n", "PORT = 2\n"]);
    std::fs::write(
        source.path().join("Dockerfile"),
        "FROM scratch AS b\nCOPY settings.py /s/\nRUN [\"/prepare\"]\nFROM scratch\nCOPY --from=b /s /app\n",
    )
    .unwrap();
    let image = |content: &str| {
        Image::new().layer("COPY /s /app # buildkit", &[dir("app"), file("app/settings.py", content)]).write()
    };
    let of = |content: &str| {
        verify(&image(content).path, source.path(), &["--since", "HEAD~1"])["verdict"].clone()
    };
    assert_eq!(of("PORT = 1\n"), "differs");
    assert_eq!(of("PORT = 9\n"), "undecided");
    assert_eq!(of("PORT = 2\n"), "faithful");
}

#[test]
fn likely_causes_are_told() {
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid {}\nsize 4\n", images::sha("real"));
    let source = project(&[
        ("Dockerfile", "FROM scratch\nCOPY . /app\n"),
        (".dockerignore", ""),
        ("stat", "new"),
        ("lines", "a\nb\n"),
        ("pulled", "real"),
        ("pointer", pointer.as_str()),
        ("other", "x"),
    ]);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(images::TIME);
    let touched = std::fs::File::options().write(true).open(source.path().join("stat")).unwrap();
    touched.set_modified(time).unwrap();
    let image = copied(
        &source,
        &[
            ("stat", "old"),
            ("lines", "a\r\nb\r\n"),
            ("pulled", &pointer),
            ("pointer", "real"),
            ("other", "yy"),
        ],
    );
    let document = verify(&image.path, source.path(), &[]);
    let causes: Vec<(&str, Option<&str>)> = document["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["path"].as_str().unwrap(), d["cause"]["kind"].as_str()))
        .collect();
    assert_eq!(
        causes,
        [
            ("lines", Some("line-ends")),
            ("other", None),
            ("pointer", Some("lfs-pointer")),
            ("pulled", Some("lfs-pointer")),
            ("stat", Some("same-size-and-time")),
        ]
    );
}

#[test]
fn people_see_the_instruction_the_layer_and_the_lines() {
    let source = project(&[
        ("Dockerfile", "FROM scratch\nCOPY app.py \\\n  /app/\n"),
        ("app.py", "import os\nport = 9090\n"),
    ]);
    let image = Image::new()
        .layer("COPY app.py /app/ # buildkit", &[file("app/app.py", "import os\nport = 8080\n")])
        .write();
    let folder = source.path().to_str().unwrap();
    let (code, out, err) = layerlint(&["verify", image.path.to_str().unwrap(), "--diff", folder], None);
    assert_eq!((code, err.as_str()), (1, ""));
    let out = out.replace(image.path.to_str().unwrap(), "IMAGE").replace(folder, "SOURCE");
    let layer = out.split("layer ").nth(1).unwrap()[..12].to_owned();
    let out = out.replace(&layer, "LAYER");
    let digest = |text: &str| images::sha(text)[7..19].to_owned();
    let wanted = format!(
        "IMAGE does not hold the source tree: 1 path of 1 file differs\n\n\
         SOURCE/Dockerfile:2 COPY app.py /app/  layer LAYER\n  modified  app.py  as /app/app.py\n            \
         tree {}, image {}\n            --- tree/app.py\n            +++ image/app/app.py\n            \
         @@ -1,2 +1,2 @@\n             import os\n            -port = 9090\n            +port = 8080\n",
        digest("import os\nport = 9090\n"),
        digest("import os\nport = 8080\n"),
    );
    assert_eq!(out, wanted);
}

#[test]
fn annotations_and_summaries_name_the_files_and_cannot_be_broken_out_of() {
    let source =
        project(&[("Dockerfile", "FROM scratch\nCOPY . /app\n"), ("a|b,c::`d", "new"), ("gone", "g")]);
    let image = Image::new()
        .layer(
            "COPY . /app # buildkit",
            &[
                dir("app"),
                file("app/Dockerfile", "FROM scratch\nCOPY . /app\n"),
                file("app/a|b,c::`d", "old"),
                file("app/x\n::error::y", "z"),
            ],
        )
        .write();
    let summary = source.path().join("summary.md");
    let path = image.path.to_str().unwrap();
    let (image_arg, folder) = (path, source.path().to_str().unwrap());
    // The summary is not in the image, and is not there yet when the tree is read.
    let args = ["verify", image_arg, folder, "--format", "github", "--summary", summary.to_str().unwrap()];
    let (code, out, _) = layerlint(&args, None);
    assert_eq!(code, 1);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[0].starts_with("::error file=a|b%2Cc%3A%3A`d,title=layerlint verify::"), "{out}");
    assert!(lines.iter().all(|l| l.starts_with("::")), "{out}");
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("### ❌ "), "{text}");
    assert!(
        text.contains("| ``a\\|b,c::`d`` | ``/app/a\\|b,c::`d`` | modified | `line 2: COPY . /app` |"),
        "{text}"
    );
    assert_eq!(text.lines().filter(|l| l.starts_with('|')).count(), 5, "{text}");
}

#[test]
fn what_a_base_image_decides_is_taken_from_the_image_built_on_it() {
    let source = project(&[("Dockerfile", "FROM base\nCOPY a $HERE/x/\nCOPY a .\n"), ("a", "a")]);
    let mut image = Image::new()
        .base(&[dir("srv")])
        .layer("COPY a /place/x/ # buildkit", &[file("place/x/a", "a")])
        .layer("COPY a . # buildkit", &[file("srv/a", "b")]);
    image.config = serde_json::json!({"Env": ["HERE=/place"], "WorkingDir": "/srv"});
    let document = verify(&image.write().path, source.path(), &[]);
    assert_eq!(document["differences"][0]["image_path"], "/srv/a");
    assert_eq!(document["checked"], 2);
}

#[test]
fn an_image_of_another_dockerfile_is_told() {
    let source = project(&[("Dockerfile", "FROM base\nCOPY a /a\nRUN [\"/x\"]\n"), ("a", "a")]);
    let image = Image::new().layer("COPY a /a # buildkit", &[file("a", "a")]).write();
    let document = verify(&image.path, source.path(), &[]);
    assert_eq!(document["verdict"], "faithful");
    assert_eq!(
        document["notes"][0],
        "the image was made by other instructions: `COPY a /a` in place of line 3: RUN [\"/x\"]"
    );
}

#[test]
fn what_replaces_files_of_the_tree_is_not_held_against_them() {
    let source = project(&[
        (
            "Dockerfile",
            "FROM tools AS b\nRUN [\"/build\"]\nFROM base\nCOPY . /app\nCOPY --from=b /out /app/dist\n",
        ),
        (".dockerignore", "Dockerfile\n.dockerignore"),
        ("dist/main.js", "stale"),
        ("a", "a"),
    ]);
    let image = Image::new()
        .layer("COPY . /app # buildkit", &[file("app/a", "a"), file("app/dist/main.js", "stale")])
        .layer("COPY /out /app/dist # buildkit", &[file("app/dist/main.js", "fresh")])
        .write();
    let document = verify(&image.path, source.path(), &[]);
    assert_eq!((&document["verdict"], &document["checked"]), (&"faithful".into(), &1.into()), "{document:#}");
}

// Input that nobody should trust.

fn fails(args: &[&str], stdin: Option<&Path>) -> String {
    let (code, out, err) = layerlint(args, stdin);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.starts_with("error: "), "{err}");
    err
}

fn refuses(bytes: &[u8], more: &[&str]) -> String {
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "a")]);
    let image = images::Written::of(bytes);
    let mut args = vec!["verify", image.path.to_str().unwrap(), source.path().to_str().unwrap()];
    args.extend(more);
    fails(&args, None).replace(image.path.to_str().unwrap(), "IMAGE")
}

fn small() -> Image {
    Image::new().layer("COPY a /a # buildkit", &[file("a", "a")])
}

#[test]
fn damaged_archives_are_refused_wherever_they_end() {
    let whole = small().oci();
    for length in [0, 1, 511, 512, 513, 1536, 2000, whole.len() / 2, whole.len() - 1600] {
        let told = refuses(&whole[..length], &[]);
        assert!(
            told.contains("IMAGE") || told.contains("missing") || told.contains("digest"),
            "{length}: {told}"
        );
    }
    assert!(refuses(b"#!/bin/sh\n", &[]).contains("IMAGE"));
    assert!(refuses(&images::gzip(b"nothing"), &[]).contains("IMAGE"));
}

#[test]
fn blobs_under_a_wrong_name_are_refused() {
    let image = small();
    for (number, what) in ["layer", "config", "manifest"].into_iter().enumerate() {
        let (mut blobs, descriptor) = image.blobs();
        blobs[number].1.push(b' ');
        let index = serde_json::json!({"manifests": [descriptor]});
        blobs.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
        let told = refuses(&images::archive(&blobs), &[]);
        assert!(told.contains("has other content than its name says"), "{what}: {told}");
    }
    let mut files = image.saved("app:1");
    let layer = files.iter().position(|(name, _)| name.ends_with("layer.tar")).unwrap();
    files[layer].1 = images::tar_of(&[file("a", "b")]);
    assert!(refuses(&images::archive(&files), &[]).contains("has other content than its name says"));
    files.remove(layer);
    assert!(refuses(&images::archive(&files), &[]).contains("is missing"));
}

#[test]
fn digests_that_are_paths_are_refused() {
    let index = serde_json::json!({"manifests": [{"digest": "sha256:../../../etc/passwd"}]});
    let files = [("index.json".to_owned(), serde_json::to_vec(&index).unwrap())];
    assert!(refuses(&images::archive(&files), &[]).contains("this is no SHA-256 digest"));
}

#[test]
fn layers_that_lead_out_are_refused_and_absolute_paths_stay_inside() {
    let image = Image::new().layer("COPY a /a # buildkit", &[Item::Raw(b"../a".to_vec())]);
    assert!(refuses(&image.oci(), &[]).contains("leads out"));
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "x")]);
    let image = Image::new().layer("COPY a /a # buildkit", &[Item::Raw(b"/a".to_vec())]).write();
    assert_eq!(verify(&image.path, source.path(), &[])["verdict"], "faithful");
}

#[test]
fn layers_that_expand_without_end_are_stopped() {
    let zeros = "0".repeat(8 << 20);
    let image = Image::new().layer("COPY a /a # buildkit", &[file("a", &zeros)]);
    let told = refuses(&image.oci(), &["--max-layer", "1M"]);
    assert!(told.contains("what it unpacks to exceeds 1 MiB"), "{told}");
    let told =
        refuses(&images::gzip(&images::archive(&[("x".to_owned(), zeros.into())])), &["--max-layer", "2M"]);
    assert!(told.contains("exceeds 2 MiB"), "{told}");
}

#[test]
fn of_entries_with_one_name_the_last_counts() {
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "second")]);
    let image =
        Image::new().layer("COPY a /a # buildkit", &[file("a", "first"), file("a", "second")]).write();
    assert_eq!(verify(&image.path, source.path(), &[])["verdict"], "faithful");
}

#[cfg(target_os = "linux")]
#[test]
fn names_in_odd_encodings_are_compared_as_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY d /d\n"), ("d/é", "1")]);
    let odd = std::ffi::OsStr::from_bytes(b"latin-\xe9");
    std::fs::write(source.path().join("d").join(odd), "2").unwrap();
    let layer = |content: &str| {
        let mut out = tar::Builder::new(images::tar_of(&[file("d/é", "1")])[..1024].to_vec());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        let name = Path::new(std::ffi::OsStr::from_bytes(b"d/latin-\xe9"));
        out.append_data(&mut header, name, content.as_bytes()).unwrap();
        Image::new().packed("COPY d /d # buildkit", images::gzip(&out.into_inner().unwrap())).write()
    };
    assert_eq!(verify(&layer("2").path, source.path(), &[])["checked"], 2);
    assert_eq!(verify(&layer("3").path, source.path(), &[])["differences"][0]["path"], "d/latin-\u{fffd}");
}

#[test]
fn platforms_are_chosen_and_those_that_are_not_there_are_told() {
    let amd = small();
    let arm =
        Image { architecture: "arm64", ..Image::new().layer("COPY a /a # buildkit", &[file("a", "b")]) };
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "a")]);
    let both = images::Written::of(&images::oci(&[amd.clone(), arm.clone()]));
    assert_eq!(verify(&both.path, source.path(), &["--platform", "linux/amd64"])["verdict"], "faithful");
    let document = verify(&both.path, source.path(), &[]);
    assert_eq!(document["differences"][0]["platforms"], serde_json::json!(["linux/arm64"]));

    let told = refuses(&arm.oci(), &["--platform", "linux/amd64"]);
    assert!(told.contains("there is no image for linux/amd64") && told.contains("linux/arm64"), "{told}");

    // Named in the index, as an engine saves an image of which it has one platform.
    let (mut blobs, here) = amd.blobs();
    let (_, elsewhere) = arm.blobs();
    let index = serde_json::json!({"manifests": [here, elsewhere]});
    blobs.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
    let document = verify(&images::Written::of(&images::archive(&blobs)).path, source.path(), &[]);
    assert_eq!(document["verdict"], "faithful");
    assert_eq!(document["notes"][0], "the image for linux/arm64 is named but not there");
}

#[test]
fn of_several_images_one_must_be_chosen() {
    let (a, b) = (small(), Image::new().layer("COPY a /a # buildkit", &[file("a", "b")]));
    let (mut blobs, mut first) = a.blobs();
    let (more, mut second) = b.blobs();
    blobs.extend(more);
    for (descriptor, name) in [(&mut first, "app:1"), (&mut second, "app:2")] {
        descriptor["annotations"] = serde_json::json!({"io.containerd.image.name": name});
    }
    let index = serde_json::json!({"manifests": [first, second]});
    blobs.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
    let bytes = images::archive(&blobs);
    let told = refuses(&bytes, &[]);
    assert!(told.contains("choose one with `--ref NAME`: app:1, app:2"), "{told}");
    assert!(refuses(&bytes, &["--ref", "app:3"]).contains("nothing in IMAGE is called `app:3`"));
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "a")]);
    let image = images::Written::of(&bytes);
    assert_eq!(verify(&image.path, source.path(), &["--ref", "app:1"])["verdict"], "faithful");
    assert_eq!(verify(&image.path, source.path(), &["--ref", "app:2"])["verdict"], "differs");
}

#[test]
fn old_archives_and_images_without_history_are_compared() {
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY . /app\nRUN [\"/configure\"]\n"), ("a", "a")]);
    let dockerfile = images::read(&source, "Dockerfile");
    let image = |a: &str| {
        Image::new()
            .layer("COPY . /app # buildkit", &[file("app/Dockerfile", &dockerfile), file("app/a", a)])
            .layer("RUN /configure # buildkit", &[file("app/b", "b")])
    };
    let old = |image: &Image| images::Written::of(&images::archive(&image.saved("app:1")));
    assert_eq!(verify(&old(&image("a")).path, source.path(), &[])["verdict"], "faithful");
    assert_eq!(verify(&old(&image("b")).path, source.path(), &[])["verdict"], "differs");

    // Nobody knows whether the RUN or the COPY wrote it.
    let silent = Image { history: Vec::new(), ..image("b") };
    let document = verify(&old(&silent).path, source.path(), &[]);
    assert_eq!(document["verdict"], "undecided");
    assert!(document["notes"][0].as_str().unwrap().starts_with("the image does not say which instruction"));
    let silent = Image { history: Vec::new(), ..image("a") };
    assert_eq!(verify(&old(&silent).path, source.path(), &[])["verdict"], "faithful");
}

#[test]
fn an_image_in_which_nothing_can_be_compared_is_undecided() {
    let source = project(&[
        ("Dockerfile", "FROM gcc AS b\nCOPY . .\nRUN make\nFROM scratch\nCOPY --from=b /app /app\n"),
        ("a", "a"),
    ]);
    let image = Image::new().layer("COPY /app /app # buildkit", &[file("app", "elf")]).write();
    let document = verify(&image.path, source.path(), &[]);
    assert_eq!((&document["verdict"], &document["checked"]), (&"undecided".into(), &0.into()));
}

#[test]
fn links_that_go_round_in_circles_end() {
    let source = project(&[("Dockerfile", "FROM base\nCOPY a /x/a\n"), ("a", "a")]);
    let image = Image::new()
        .base(&[link("x", "y"), link("y", "x")])
        .layer("COPY a /x/a # buildkit", &[file("z", "a")])
        .write();
    assert_eq!(verify(&image.path, source.path(), &[])["verdict"], "differs");
}

#[test]
fn nothing_stays_behind_where_temporary_files_are() {
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "a")]);
    let temporary = tempfile::tempdir().unwrap();
    let image = images::Written::of(&images::gzip(&small().oci()));
    for stdin in [false, true] {
        let path = if stdin { "-" } else { image.path.to_str().unwrap() };
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
        command.args(["verify", path, source.path().to_str().unwrap()]).env("TMPDIR", temporary.path());
        command.env_remove("GITHUB_ACTIONS").stdin(std::fs::File::open(&image.path).unwrap());
        assert_eq!(command.output().unwrap().status.code(), Some(0));
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}

/// Layers laid over each other as the specification says it, on a map.
fn laid(layers: &[Vec<(u8, &'static str)>]) -> std::collections::BTreeMap<String, String> {
    let mut out = std::collections::BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        let below = |path: &str, other: &str| other.strip_prefix(path).is_some_and(|r| r.starts_with('/'));
        for (kind, path) in layer {
            match kind {
                2 => out.retain(|p: &String, _| p != path && !below(path, p)),
                3 => out.retain(|p: &String, _| !below(path, p)),
                _ => {}
            }
        }
        for (kind, path) in layer {
            match kind {
                0 => {
                    out.retain(|p: &String, _| !below(path, p));
                    out.insert((*path).to_owned(), format!("{number}"));
                }
                1 => {
                    out.insert((*path).to_owned(), "dir".to_owned());
                }
                _ => {}
            }
        }
    }
    out
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    })]

    /// Kinds: file, directory, deleted, emptied. A path occurs once in a layer, and nothing lies below a file of the
    /// same layer, as in the layers that builders write.
    #[test]
    fn layers_hide_what_the_specification_says_they_hide(
        layers in proptest::collection::vec(
            proptest::collection::btree_map(
                proptest::sample::select(vec!["a", "a/b", "a/b/c", "a/d", "ab", "e"]), 0u8..4, 0..5),
            1..5)
    ) {
        let layers: Vec<Vec<(u8, &'static str)>> = layers
            .into_iter()
            .map(|layer| {
                let mut out: Vec<(u8, &'static str)> = Vec::new();
                for (path, kind) in layer {
                    let above = |p: &str| path.strip_prefix(p).is_some_and(|r| r.starts_with('/'));
                    if !out.iter().any(|(k, p)| (*k == 0 || *k == 2) && above(p)) {
                        out.push((kind, path));
                    }
                }
                out
            })
            .collect();
        let mut image = Image::new();
        for (number, layer) in layers.iter().enumerate() {
            let items: Vec<Item> = layer
                .iter()
                .map(|(kind, path)| match kind {
                    0 => file(path, &number.to_string()),
                    1 => dir(path),
                    2 => gone(path),
                    _ => file(&format!("{path}/.wh..wh..opq"), ""),
                })
                .collect();
            image = image.layer("x", &items);
        }
        let written = image.write();
        let images = layerlint::evidence::image::StoredImages::open(&written.path, None, None).unwrap();
        let tree = layerlint::evidence::tree::ImageTree::read(
            &images, &images.images[0], &layerlint::evidence::tree::Limits::default(), |_| ()).unwrap();
        let found: std::collections::BTreeMap<String, String> = tree
            .entries()
            .map(|(path, entry)| {
                let what = match &entry.kind {
                    layerlint::evidence::layer::LayerKind::File { digest, .. } => {
                        (0..9).find(|n| images::sha(n.to_string()) == *digest).unwrap().to_string()
                    }
                    _ => "dir".to_owned(),
                };
                (path.to_string(), what)
            })
            .collect();
        proptest::prop_assert_eq!(found, laid(&layers));
    }
}

#[test]
fn a_file_that_is_copied_over_a_link_is_where_the_link_leads() {
    let source = project(&[("Dockerfile", "FROM base\nCOPY conf /etc/app.conf\n"), ("conf", "new")]);
    let image = |content: &str| {
        Image::new()
            .base(&[dir("etc"), link("etc/app.conf", "../opt/app.conf"), file("opt/app.conf", "default")])
            .layer("COPY conf /etc/app.conf # buildkit", &[file("opt/app.conf", content)])
            .write()
    };
    assert_eq!(verify(&image("new").path, source.path(), &[])["verdict"], "faithful");
    let document = verify(&image("old").path, source.path(), &[]);
    assert_eq!(differences(&document), ["modified conf"]);
    assert_eq!(document["differences"][0]["image_path"], "/opt/app.conf");
}

#[test]
fn code_scanning_gets_a_result_for_each_path() {
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY a b /\n"), ("a", "new"), ("b", "b")]);
    let image = Image::new().layer("COPY a b / # buildkit", &[file("a", "old")]).write();
    let args = ["verify", image.path.to_str().unwrap(), source.path().to_str().unwrap(), "--format", "sarif"];
    let (code, out, _) = layerlint(&args, None);
    assert_eq!(code, 1);
    let document: Value = serde_json::from_str(&out).unwrap();
    let results = document["runs"][0]["results"].as_array().unwrap();
    let told: Vec<(&str, &str)> = results
        .iter()
        .map(|r| {
            let place = &r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
            (place.as_str().unwrap(), r["message"]["text"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("a", "/a in the image is not this file (line 2: COPY a b /)"),
            ("b", "/b is not in the image (line 2: COPY a b /)"),
        ]
    );
    assert_eq!(document["runs"][0]["tool"]["driver"]["rules"][0]["id"], results[0]["ruleId"]);
}

#[test]
fn without_a_dockerfile_the_way_without_one_is_told() {
    let source = project(&[("a", "a")]);
    let image = small().write();
    let told = fails(&["verify", image.path.to_str().unwrap(), source.path().to_str().unwrap()], None);
    assert!(told.contains("--root /app=src"), "{told}");
}

#[test]
fn an_image_that_lies_in_its_own_context_is_not_looked_for_in_itself() {
    let source = project(&[("Dockerfile", "FROM scratch\nCOPY . /app\n"), ("app.tar.old", "o")]);
    let dockerfile = images::read(&source, "Dockerfile");
    let image = Image::new().layer(
        "COPY . /app # buildkit",
        &[file("app/Dockerfile", &dockerfile), file("app/app.tar.old", "o")],
    );
    let archive = source.path().join("app.tar");
    std::fs::write(&archive, image.oci()).unwrap();
    let summary = source.path().join("summary.md");
    std::fs::write(&summary, "").unwrap();
    let more = ["--summary", summary.to_str().unwrap()];
    assert_eq!(verify(&archive, source.path(), &more)["verdict"], "faithful");
    let document = verify(&archive, source.path(), &["--root", "/app="]);
    assert_eq!(differences(&document), ["missing summary.md"]);
}
