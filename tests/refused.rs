//! What stops a build before it runs: `check` says it with its line, and says it of nothing else.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn check(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.arg("check").args(args).current_dir(dir).env_remove("GITHUB_ACTIONS").output().unwrap()
}

/// `LINE: message` of every error, and the exit code.
fn refusals(dockerfile: &str) -> (Vec<String>, Option<i32>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    errors(dir.path())
}

fn errors(dir: &Path) -> (Vec<String>, Option<i32>) {
    let output = check(dir, &["--format", "json", "--fail-on", "never"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let line = |e: &serde_json::Value| e["line"].as_u64().map_or("-".to_owned(), |n| n.to_string());
    let list = document["errors"].as_array().unwrap();
    let text = |e| format!("{}: {}", line(e), e["message"].as_str().unwrap());
    (list.iter().map(text).collect(), output.status.code())
}

#[test]
fn what_buildkit_refuses_is_said_with_its_line() {
    let cases: &[(&str, &str)] = &[
        ("FROM a AS x\nFROM scratch\nCOPY --from=7 /a /a\n", "3: there is no stage 7: the file has 2"),
        ("FROM scratch\nCOPY --from=$X /a /a\n", "2: `--from=$X` holds a variable"),
        ("FROM Upper\n", "1: `Upper` is neither a stage above nor an image reference"),
        ("FROM ${X}\n", "1: the base `${X}` is empty"),
        (
            "FROM a AS x\nCOPY --from=y /a /a\nFROM a AS y\nCOPY --from=x /a /a\n",
            "2: stages `x` and `y` need each other",
        ),
        // Circles and references count in stages that are not built, too.
        (
            "FROM scratch AS x\nCOPY --from=Bad: /a /a\nFROM scratch\n",
            "2: `Bad:` is neither a stage nor an image reference",
        ),
        (
            "FROM a\nCOPY --from=late /a /a\nFROM a AS late\nFROM 0\nCOPY --from=0 /a /a\n",
            "2: stage `stage-0` takes from stage `late`, which is defined below it",
        ),
        ("FROM scratch\nENV A=\"x\n", "2: `\"` is opened and never closed"),
        ("FROM scratch\nLABEL a=${b^c}\n", "2: `^` is no modifier that BuildKit knows in a substitution"),
        (
            "FROM scratch\nCOPY https://x.example/a /\n",
            "2: COPY takes files of the context or a stage; \
            `https://x.example/a` is a place elsewhere: use ADD",
        ),
        ("FROM scratch\nCOPY --chmod=rwx a /\n", "2: `rwx` is no mode: write it like 0755 or u=rwX,go=rX"),
        (
            "FROM scratch\nADD --checksum=sha256:x a /\n",
            "2: `--checksum` is for downloads over http and for git repositories",
        ),
        (
            "FROM scratch\nADD --checksum=x https://x.example/a /\n",
            "2: `x` is no checksum: write it like sha256:…, 64 digits in lower case",
        ),
        ("FROM scratch\nADD https://x.example/a.git?depth=1 /\n", "2: a git address has no `depth`"),
        (
            "FROM scratch\nADD --keep-git-dir=false https://x.example/a.git?keep-git-dir /\n",
            "2: `keep-git-dir` of the address contradicts what was said before",
        ),
        (
            "FROM scratch\nEXPOSE 80 http\n",
            "2: `http` is no port: `http` is neither a number from 0 to 65535 nor a range of them",
        ),
        ("FROM scratch\nSTOPSIGNAL SIGSTP\n", "2: `SIGSTP` is no signal"),
        ("FROM scratch\nVOLUME [\"/a\", \"''\"]\n", "2: a volume has no name"),
        ("FROM scratch\nRUN --mount=type=secret,sharing=locked true\n", "2: a secret mount has no `sharing`"),
        ("FROM scratch\nRUN --mount=type=cache,target=/ true\n", "2: a mount cannot cover `/`"),
        // A trigger is looked at where it runs, and once for all stages that run it.
        (
            "FROM scratch AS p\nONBUILD EXPOSE x\nFROM p AS q\nFROM p\nCOPY --from=q /a /a\n",
            "2: `x` is no port: `x` is neither a number from 0 to 65535 nor a range of them",
        ),
    ];
    for (dockerfile, message) in cases {
        let first: Vec<String> = vec![(*message).to_owned()];
        assert_eq!(refusals(dockerfile), (first, Some(4)), "{dockerfile}");
    }
}

#[test]
fn what_arguments_the_base_image_or_another_target_decide_is_no_refusal() {
    for dockerfile in [
        "ARG BASE\nFROM $BASE\n",
        "ARG TAG\nFROM a:$TAG\n",
        "ARG P\nFROM --platform=$P scratch\n",
        "FROM a\nEXPOSE $PORT\nSTOPSIGNAL $SIGNAL\nVOLUME $DIR\n",
        "FROM scratch\nARG PORT\nEXPOSE $PORT\n",
        "FROM scratch\nARG MODE=x\nCOPY --chmod=$MODE . /\n",
        "FROM scratch\nARG V\nENV V=\"${V:?say which}\"\n",
        "FROM scratch AS unused\nEXPOSE x\nSTOPSIGNAL x\nCOPY --from=late /a /a\nFROM scratch AS late\nFROM scratch\n",
        "FROM scratch\nONBUILD EXPOSE x\n",
        "FROM scratch\nSTOPSIGNAL 37\nEXPOSE 80-90/udp 127.0.0.1:1:2\nVOLUME /a /b\nCOPY --chmod=u=rwX,go= . /\n",
        "FROM scratch\nARG X='unused and fine'\nADD https://x.example/a.git#v1:sub?x /\n",
    ] {
        assert_eq!(refusals(dockerfile), (Vec::new(), Some(0)), "{dockerfile}");
    }
}

#[test]
fn a_refused_ignore_file_is_said_once_for_all_dockerfiles_that_use_it() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.Dockerfile", "FROM scratch\nCOPY . /\n"),
        ("b.Dockerfile", "FROM scratch\n"),
        (".dockerignore", "x\n[\n"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let (list, code) = errors(dir.path());
    assert_eq!(list.len(), 1, "{list:?}");
    assert!(list.iter().all(|e| e.starts_with("2: `[`")), "{list:?}");
    assert_eq!(code, Some(4));
}

#[test]
fn a_folder_that_cannot_be_read_counts_where_a_dockerfile_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let locked = dir.path().join("locked");
    std::fs::create_dir_all(&locked).unwrap();
    std::fs::write(dir.path().join("a"), "a").unwrap();
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&locked).is_ok() {
        eprintln!("skipped: this user can read everything");
        return;
    }
    let whole = errors(dir.path());
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY a /\n").unwrap();
    let part = errors(dir.path());
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(whole.1, Some(2), "{whole:?}");
    assert_eq!(part, (Vec::new(), Some(0)));
}

#[test]
fn a_guessed_context_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a/Dockerfile", "FROM scratch\nCOPY dist/app /\n"),
        ("b/Dockerfile", "FROM scratch\nCOPY dist/app /\n"),
        ("c/Dockerfile", "FROM scratch\n"),
        // Whatever is wrong in a folder that may be another one's is not said.
        ("a/.dockerignore", "[\n"),
    ] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let output = check(dir.path(), &[]);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "not known for certain: the build context of a/Dockerfile and 1 more (no folder at or above it has \
         `dist/app`; name the folder with --context)\nno findings in 3 files\n"
    );
    assert_eq!(output.status.code(), Some(0));
    // A rule that looks at the Dockerfile alone misses nothing.
    let output = check(dir.path(), &["--select", "mutable-base-tag"]);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "no findings in 3 files\n");
    let output = check(dir.path(), &["--format", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        document["not_looked_at"][0],
        serde_json::json!({"needs": "context", "path": "a/Dockerfile",
            "message": "no folder at or above it has `dist/app`", "help": "name the folder with --context"})
    );
    assert_eq!(document["not_looked_at"].as_array().unwrap().len(), 2);
}

#[test]
fn manifests_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        (
            "Dockerfile",
            "FROM rust:1.90\nCOPY Cargo.toml Cargo.lock ./\nRUN mkdir src && echo 'fn main(){}' > \
            src/main.rs && cargo build\nCOPY . .\nRUN cargo build\n",
        ),
        ("Cargo.toml", "[package\n"),
        ("Cargo.lock", ""),
        ("src/main.rs", "fn main() {}\n"),
    ] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let output = check(dir.path(), &["--select", "rust-dummy-build-stale"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("not known for certain: the crates of Dockerfile (`Cargo.toml`: "),
        "{stderr}"
    );
}
