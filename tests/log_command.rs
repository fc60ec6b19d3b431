//! `layerlint log` as a user meets it: what it finds in real logs, and what it leaves alone.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/logs").join(name)
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    for variable in ["GITHUB_ACTIONS", "GITHUB_WORKSPACE", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

/// Exit code, standard output, standard error.
fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let output = command(dir, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(dir: &Path, args: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(dir, &[args, &["--format", "json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}")))
}

/// Rule and severity of each finding.
fn found(document: &Value) -> Vec<(String, String)> {
    let findings = document["findings"].as_array().unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    findings.iter().map(|f| (text(&f["rule"]), text(&f["severity"]))).collect()
}

fn pair(rule: &str, severity: &str) -> Vec<(String, String)> {
    vec![(rule.to_owned(), severity.to_owned())]
}

/// A log alone, with no Dockerfile near it.
fn alone(name: &str, file: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(case(name).join(file), dir.path().join(file)).unwrap();
    (dir, file.to_owned())
}

/// The context of a vector, with content of the sizes that are listed; `fill` makes one file differ.
fn lay_out(name: &str, to: &Path, fill: &dyn Fn(&str) -> u8) {
    let entries: Value =
        serde_json::from_slice(&std::fs::read(case(name).join("context.json")).unwrap()).unwrap();
    for entry in entries.as_array().unwrap() {
        let path = entry["path"].as_str().unwrap();
        let at = to.join(path);
        if entry["type"] == "dir" {
            std::fs::create_dir_all(&at).unwrap();
            continue;
        }
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let size = usize::try_from(entry["size"].as_u64().unwrap()).unwrap();
        match path {
            "Dockerfile" => std::fs::copy(case(name).join(path), &at).map(drop).unwrap(),
            _ => std::fs::write(&at, vec![fill(path); size]).unwrap(),
        }
        let mtime = entry["mtime_ns"].as_u64().unwrap_or(1_700_000_000_000_000_000);
        set_time(&at, mtime);
    }
    if !to.join("Dockerfile").exists() {
        std::fs::copy(case(name).join("Dockerfile"), to.join("Dockerfile")).unwrap();
    }
}

fn set_time(path: &Path, nanoseconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn plain(_: &str) -> u8 {
    b'a'
}

#[test]
fn steps_meet_the_lines_of_the_dockerfile_beside_the_log() {
    let dir = case("05-three-calls-1");
    for file in ["log.plain.txt", "log.rawjson"] {
        let (code, document) = json(&dir, &["log", file]);
        assert_eq!((code, document["schema"].as_str()), (0, Some("layerlint.log/1")));
        assert_eq!(document["dockerfile"], "Dockerfile");
        let lines: Vec<(u64, &str)> = document["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|s| Some((s["line"].as_u64()?, s["name"].as_str()?)))
            .collect();
        for (line, name) in [
            (
                1,
                "[builder 1/5] FROM docker.io/library/busybox:1.36@sha256:324c609eea4c5a219883676e7b49cbaf95424b2962a0002724e0c752a14d73c0",
            ),
            (3, "[builder 3/5] COPY . /app"),
            (5, "[builder 5/5] RUN mkdir -p .venv && sha256sum common/settings.py > .venv/stamp"),
            (11, "[stage-1 4/4] COPY . /app"),
        ] {
            assert!(lines.contains(&(line, name)), "{file}: {name} in {lines:?}");
        }
    }
}

#[test]
fn names_with_values_of_arguments_meet_their_line() {
    let dir = case("32-copy-link-parent-changed");
    let (_, document) = json(&dir, &["log", "log.rawjson"]);
    let step =
        document["steps"].as_array().unwrap().iter().find(|s| s["name"] == "[2/3] RUN echo 12 > /v").unwrap();
    assert_eq!((step["line"].as_u64(), step["matched"].as_str()), (Some(3), Some("name")));
}

#[test]
fn every_platform_has_its_own_steps() {
    let dir = case("11-multi-platform-cold");
    let (_, document) = json(&dir, &["log", "log.plain.txt"]);
    let line = |name: &str| {
        let steps = document["steps"].as_array().unwrap();
        steps
            .iter()
            .find(|s| s["name"] == name)
            .map(|s| (s["line"].as_u64().unwrap(), s["state"].as_str().unwrap().to_owned()))
    };
    let run = "[linux/386 build 4/4] RUN echo \"compile for 386\" && cp main.c /out.386 && ln /out.386 /out";
    assert_eq!(line(run), Some((5, "done".to_owned())));
    assert_eq!(
        line("[linux/amd64 stage-1 1/1] COPY --from=build /out /app"),
        Some((7, "not-started".to_owned()))
    );
}

#[test]
fn a_placeholder_that_ships_is_proved_by_the_log_alone() {
    for file in ["log.plain.txt", "log.rawjson"] {
        for (name, ships) in [
            ("23-rust-dummy-cold-ships-dummy", true),
            ("24-rust-dummy-warm-edit-ok", false),
            ("25-rust-dummy-no-cache-ships-dummy", true),
        ] {
            let expected = if ships { pair("placeholder-shipped", "error") } else { Vec::new() };
            let (dir, log) = alone(name, file);
            let (code, document) = json(dir.path(), &["log", &log]);
            assert_eq!((code, found(&document)), (i32::from(ships), expected.clone()), "{name} {file}");
            assert!(document["dockerfile"].is_null());
            // With the Dockerfile, the finding is at its line.
            let (code, document) = json(&case(name), &["log", file]);
            assert_eq!((code, found(&document)), (i32::from(ships), expected), "{name} {file}");
            if ships {
                assert_eq!(
                    (&document["findings"][0]["path"], &document["findings"][0]["line"]),
                    (&"Dockerfile".into(), &6.into())
                );
            }
        }
    }
}

#[test]
fn another_commit_than_the_one_that_the_image_names_is_found() {
    let (first, second) =
        ("f41d5b2a785f901d8b18e1a4635882d45565f185", "151100e6159957baba0b11bbbd68e080221e3cb2");
    for (name, commit, differs) in [
        ("29-git-context-1", first, false),
        ("30-git-context-other-commit", second, true),
        ("30-git-context-other-commit", &second[..8], true),
        ("30-git-context-other-commit", &first[..8], false),
        ("30-git-context-other-commit", "main", false),
    ] {
        let expected = if differs { pair("commit-mismatch", "error") } else { Vec::new() };
        for file in ["log.plain.txt", "log.rawjson"] {
            let (code, document) =
                json(&case(name), &["log", file, "--build-arg", &format!("BUILD_COMMIT={commit}")]);
            assert_eq!(
                (code, found(&document)),
                (i32::from(differs), expected.clone()),
                "{name} {file} {commit}"
            );
        }
        // The command line that a CI system shows says as much.
        let (dir, log) = alone(name, "log.plain.txt");
        let text = std::fs::read_to_string(dir.path().join(&log)).unwrap();
        let shown = format!(
            "[command]/usr/bin/docker buildx build --build-arg BUILD_COMMIT={commit} --push x\n{text}"
        );
        std::fs::write(dir.path().join(&log), shown).unwrap();
        let (code, document) = json(dir.path(), &["log", &log]);
        assert_eq!((code, found(&document)), (i32::from(differs), expected), "{name} shown {commit}");
        if differs {
            assert_eq!(document["findings"][0]["evidence"]["built"], first);
        }
    }
    let (code, document) = json(
        &case("30-git-context-other-commit"),
        &["log", "log.plain.txt", "--build-arg", "RUST_COMMIT=151100e"],
    );
    assert_eq!((code, found(&document)), (0, Vec::new()), "a pin of something else");
}

/// A context before and after an edit, with a saved state of the first; the log is that of a vector.
struct Edited {
    dir: TempDir,
}

impl Edited {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        lay_out(name, &dir.path().join("app"), &plain);
        let (code, _, err) =
            run(dir.path(), &["keys", "app", "--platform", "linux/amd64", "--save", "before.json"]);
        assert_eq!(code, 0, "{err}");
        Self { dir }
    }

    fn edit(&self, path: &str, content: &[u8], nanoseconds: u64) {
        let path = self.dir.path().join("app").join(path);
        std::fs::write(&path, content).unwrap();
        set_time(&path, nanoseconds);
    }

    fn log(&self, log: &Path) -> (i32, Value) {
        let log = log.display().to_string();
        json(self.dir.path(), &["log", &log, "--baseline", "before.json", "--platform", "linux/amd64", "app"])
    }
}

const SAME: u64 = 1_700_000_000_000_000_000;

#[test]
fn a_step_that_was_cached_although_a_file_of_equal_size_and_time_changed_is_an_error() {
    let edited = Edited::new("10-stale-metadata-2");
    edited.edit("common/settings.py", &[b'b'; 32], SAME);
    for file in ["log.plain.txt", "log.rawjson"] {
        let (code, document) = edited.log(&case("10-stale-metadata-2").join(file));
        assert_eq!((code, found(&document)), (1, pair("cached-although-changed", "error")), "{file}");
        let finding = &document["findings"][0];
        assert_eq!((&finding["path"], &finding["line"]), (&"app/Dockerfile".into(), &3.into()));
        assert_eq!(finding["evidence"]["paths"][0]["path"], "common/settings.py");
        assert_eq!(finding["evidence"]["mechanism"], "equal-size-and-time");
        assert_eq!(
            (finding["evidence"]["transferred"].as_u64(), finding["evidence"]["list"].as_u64()),
            (Some(154), Some(154))
        );
        let other = finding["related"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["path"] == "app/Dockerfile" && r["line"] == 11);
        assert!(other, "the second copy of the same files belongs to it: {finding:#}");
        let expected: Vec<(&str, &str)> = document["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|s| s["instruction"] == "COPY" || s["instruction"] == "WORKDIR")
            .map(|s| (s["name"].as_str().unwrap(), s["expected"].as_str().unwrap()))
            .collect();
        for step in [
            ("[builder 2/5] WORKDIR /app", "CACHED"),
            ("[builder 3/5] COPY . /app", "DONE"),
            ("[stage-1 3/4] COPY --from=builder /app/.venv /app/.venv", "unknown"),
            ("[stage-1 4/4] COPY . /app", "DONE"),
        ] {
            assert!(expected.contains(&step), "{step:?} in {expected:?}");
        }
    }
}

#[test]
fn a_second_build_of_one_tree_is_right_to_be_cached() {
    let edited = Edited::new("10-stale-metadata-2");
    for name in ["06-three-calls-2", "07-three-calls-3", "10-stale-metadata-2"] {
        let (code, document) = edited.log(&case(name).join("log.plain.txt"));
        assert_eq!((code, found(&document)), (0, Vec::new()), "{name}");
    }
}

#[test]
fn files_that_were_sent_and_found_were_built_before() {
    // A new builder: everything is sent, and the imported cache has these very files.
    let edited = Edited::new("09-stale-metadata-1");
    edited.edit("common/settings.py", &[b'b'; 32], SAME);
    let (code, document) = edited.log(&case("08-fresh-builder-registry-import").join("log.plain.txt"));
    assert_eq!((code, found(&document)), (0, Vec::new()));
    let remarks = document["steps"].as_array().unwrap().iter().filter(|s| s["remark"].is_string()).count();
    assert!(remarks >= 2, "{document:#}");
}

#[test]
fn a_size_that_changed_unseen_means_that_the_builder_knew_it() {
    let edited = Edited::new("10-stale-metadata-2");
    edited.edit("common/settings.py", &[b'b'; 33], SAME);
    let (code, document) = edited.log(&case("10-stale-metadata-2").join("log.plain.txt"));
    assert_eq!((code, found(&document)), (1, pair("cached-although-changed", "warning")));
    assert_eq!(document["findings"][0]["evidence"]["mechanism"], "baseline-too-old");
}

#[test]
fn a_file_that_was_not_sent_is_found_although_everything_was_built_anew() {
    let edited = Edited::new("10-stale-metadata-2");
    edited.edit("common/settings.py", &[b'b'; 32], SAME);
    let text = std::fs::read_to_string(case("10-stale-metadata-2").join("log.plain.txt")).unwrap();
    let log = edited.dir.path().join("no-cache.txt");
    std::fs::write(&log, text.replace("CACHED", "DONE 0.1s")).unwrap();
    let (code, document) = edited.log(&log);
    assert_eq!(code, 1);
    assert!(found(&document).contains(&pair("context-not-sent", "error")[0]), "{:?}", found(&document));
}

#[test]
fn a_step_that_ran_for_nothing_is_explained() {
    let edited = Edited::new("09-stale-metadata-1");
    let (code, document) = edited.log(&case("09-stale-metadata-1").join("log.plain.txt"));
    assert_eq!((code, found(&document)), (0, pair("rebuilt-without-change", "info")));
    let message = document["findings"][0]["message"].as_str().unwrap();
    assert!(message.contains("the builder was new or pruned"), "{message}");
    let (_, document) = edited.log(&case("05-three-calls-1").join("log.plain.txt"));
    let message = document["findings"][0]["message"].as_str().unwrap();
    assert!(message.contains("the cache could not be imported"), "{message}");
}

#[test]
fn sources_that_changed_and_were_not_compiled_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("app");
    std::fs::create_dir_all(app.join("src")).unwrap();
    let dockerfile = "FROM rust:1.95\nWORKDIR /app\nCOPY . .\n\
        RUN --mount=type=cache,target=/app/target cargo build --release && cp target/release/svc /svc\n";
    for (path, text) in [
        ("Dockerfile", dockerfile),
        ("Cargo.toml", "[package]\nname = \"svc\"\nversion = \"0.1.0\"\nedition = \"2024\"\n"),
        ("src/main.rs", "fn main() {}\n"),
        ("README.md", "a\n"),
    ] {
        std::fs::write(app.join(path), text).unwrap();
    }
    let save = || run(dir.path(), &["keys", "app", "--platform", "linux/amd64", "--save", "before.json"]).0;
    assert_eq!(save(), 0);
    let log = |output: &str| {
        let text = format!(
            "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\n#2 [internal] load build context\n\
             #2 transferring context: 5.00kB done\n#2 DONE 0.0s\n\n#3 [2/4] WORKDIR /app\n#3 CACHED\n\n#4 [3/4] COPY . .\n\
             #4 DONE 0.1s\n\n#5 [4/4] RUN --mount=type=cache,target=/app/target cargo build --release && cp \
             target/release/svc /svc\n{output}#5 0.90     Finished `release` profile [optimized] target(s) in 0.02s\n\
             #5 DONE 1.0s\n"
        );
        std::fs::write(dir.path().join("log"), text).unwrap();
        json(dir.path(), &["log", "log", "--baseline", "before.json", "--platform", "linux/amd64", "app"])
    };
    std::fs::write(app.join("README.md"), "b\n").unwrap();
    assert_eq!(found(&log("").1), Vec::new(), "no source of a crate changed");
    std::fs::write(app.join("src/main.rs"), "fn main() { println!() }\n").unwrap();
    let (code, document) = log("");
    assert_eq!((code, found(&document)), (1, pair("changed-source-not-compiled", "error")));
    let (code, document) = log("#5 0.50    Compiling svc v0.1.0 (/app)\n");
    assert_eq!((code, found(&document)), (0, Vec::new()));
}

#[test]
fn the_age_of_package_lists_is_known_from_an_earlier_build_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let build = |day: u32, end: &str| {
        let at = format!("2026-11-{day:02}T10:00:00.0Z");
        format!(
            "{at} #1 [internal] load build definition from Dockerfile\n{at} #1 DONE 0.0s\n{at} \n\
             {at} #2 [2/2] RUN apt-get update && apt-get install -y curl\n{at} #2 {end}\n"
        )
    };
    std::fs::write(dir.path().join("log"), build(2, "DONE 30.0s") + &build(21, "CACHED")).unwrap();
    let (code, document) = json(dir.path(), &["log", "log"]);
    assert_eq!((code, found(&document)), (0, pair("old-package-lists", "info")));
    assert!(document["findings"][0]["message"].as_str().unwrap().contains("19 days old"), "{document:#}");
    let second = &document["builds"][1];
    assert_eq!((second["saved_seconds"].as_f64(), second["saved_known"].as_u64()), (Some(30.0), Some(1)));
}

#[test]
fn the_first_step_that_ran_is_charged_with_what_stands_on_it() {
    for file in ["log.plain.txt", "log.rawjson"] {
        let (dir, log) = alone("04-single-deps-changed", file);
        let (_, document) = json(dir.path(), &["log", &log]);
        let first = &document["builds"][0]["first_done"];
        assert_eq!(
            (first["name"].as_str(), first["below_steps"].as_u64()),
            (Some("[3/5] COPY requirements.txt ."), Some(2)),
            "{file}"
        );
        assert!(first["below_seconds"].as_f64().unwrap() > 0.3);
    }
}

#[test]
fn what_is_transferred_is_counted_as_buildkit_counts_it() {
    use layerlint::context::ContextIndex;
    use layerlint::reuse::sent;
    for (name, all_sent, paths) in [
        ("01-single-cold", true, None),
        ("05-three-calls-1", true, None),
        ("07-three-calls-3", false, None),
        ("09-stale-metadata-1", true, None),
        ("10-stale-metadata-2", false, None),
        ("21-mounts-second-run", false, Some(vec!["src".to_owned(), "src/run.sh".to_owned()])),
        ("32-copy-link-parent-changed", false, Some(vec!["big".to_owned()])),
    ] {
        let dir = tempfile::tempdir().unwrap();
        lay_out(name, dir.path(), &plain);
        let context = ContextIndex::open(dir.path(), None).unwrap();
        let view = context.view(paths.as_deref()).unwrap();
        let log = std::fs::read_to_string(case(name).join("log.plain.txt")).unwrap();
        let mut transfers = log.lines().filter_map(|l| l.split_once("transferring context: "));
        let bytes: u64 = transfers.next_back().unwrap().1.split('B').next().unwrap().parse().unwrap();
        let (list, files) = (sent::list(&view), view.entries().filter(|e| e.is_file()).count() as u64);
        let content: u64 = view.entries().filter(|e| e.is_file()).map(|e| sent::content(e.size)).sum();
        match all_sent {
            false => assert_eq!(list, bytes, "{name}"),
            true => assert!(
                list + content <= bytes && bytes <= list + content + 8 * files,
                "{name}: {list} {content} {bytes}"
            ),
        }
    }
}

#[test]
fn a_log_comes_from_standard_input_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = command(dir.path(), &["log", "-", "--format", "concise"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = std::fs::read(case("23-rust-dummy-cold-ships-dummy").join("log.rawjson")).unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.starts_with("<stdin>:") && out.contains("error[placeholder-shipped]"), "{out}");
}

#[test]
fn annotations_point_at_the_dockerfile() {
    let (code, out, _) =
        run(&case("23-rust-dummy-cold-ships-dummy"), &["log", "log.plain.txt", "--format", "github"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("::error file=Dockerfile,line=6,endLine=6,col=1,"), "{out}");
}

#[test]
fn what_is_no_log_of_buildkit_is_said() {
    let dir = tempfile::tempdir().unwrap();
    for (text, says) in [
        ("", "has no progress of BuildKit"),
        ("hello\n# 1 x\n#2 nothing\n", "has no progress of BuildKit"),
        ("Step 1/2 : FROM alpine\n ---> 14119a10abf4\nStep 2/2 : RUN x\n", "classic builder"),
    ] {
        std::fs::write(dir.path().join("log"), text).unwrap();
        let (code, _, err) = run(dir.path(), &["log", "log"]);
        assert!(code == 3 && err.contains(says), "{code} {err}");
    }
    assert_eq!(run(dir.path(), &["log", "absent"]).0, 2);
    assert_eq!(run(dir.path(), &["log", "."]).0, 2);
    std::fs::copy(case("01-single-cold").join("log.plain.txt"), dir.path().join("log")).unwrap();
    assert_eq!(run(dir.path(), &["log", "log", "--since", "HEAD"]).0, 2, "there is nothing to compare with");
}

#[test]
fn what_a_person_sees() {
    let (code, out, err) = run(&case("12-multi-platform-source-changed"), &["log", "log.plain.txt"]);
    insta::assert_snapshot!(format!("exit {code}\n{out}{err}"), @r##"
    exit 0
    log.plain.txt  Dockerfile
    2 of 8 steps reused, 5 made in 0.9 s.
    The first that was not reused is `COPY main.c .` on line 4: 0.0 s, and 0.5 s of 1 step that stands on it.

    linux/386 build
        3  CACHED             WORKDIR /src
        4  DONE        0.0 s  COPY main.c .
        5  DONE        0.5 s  RUN echo "compile for 386" && cp main.c /out.386 && ln /out.386 /out

    linux/386 stage-1
        7  not begun          COPY --from=build /out /app

    linux/amd64 build
        3  CACHED             WORKDIR /src
        4  DONE        0.0 s  COPY main.c .
        5  DONE        0.4 s  RUN echo "compile for amd64" && cp main.c /out.amd64 && ln /out.amd64 /out

    linux/amd64 stage-1
        7  DONE        0.0 s  COPY --from=build /out /app
    "##);
}

#[test]
fn values_of_arguments_are_read_from_the_names_of_steps() {
    let dir = tempfile::tempdir().unwrap();
    let dockerfile = "ARG BASE=alpine\nFROM $BASE AS a\nARG V=1\nARG W\nRUN echo $V\nCOPY x /$W/x\n\
        RUN for i in 1 2; do echo $i $V; done\nRUN false\nRUN echo $W never\nCOPY --link y /$W/y\n";
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    let log = "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\n\
        #2 [1/7] FROM docker.io/library/debian:13@sha256:aa\n#2 CACHED\n\n#3 [2/7] RUN echo 2\n#3 CACHED\n\n\
        #4 [3/7] COPY x /w/x\n#4 CACHED\n\n#5 [4/7] RUN for i in 1 2; do echo $i 2; done\n#5 DONE 0.1s\n\n\
        #6 [5/7] RUN false\n#6 ERROR: process \"/bin/sh -c false\" did not complete successfully: exit code: 1\n";
    std::fs::write(dir.path().join("log"), log).unwrap();
    let (code, document) = json(dir.path(), &["log", "log"]);
    let steps: Vec<(u64, &str, &str)> = document["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|s| Some((s["line"].as_u64()?, s["state"].as_str()?, s["name"].as_str()?)))
        .collect();
    assert_eq!(code, 0);
    assert_eq!(
        steps,
        [
            (2, "cached", "[1/7] FROM docker.io/library/debian:13@sha256:aa"),
            (5, "cached", "[2/7] RUN echo 2"),
            (6, "cached", "[3/7] COPY x /w/x"),
            (7, "done", "[4/7] RUN for i in 1 2; do echo $i 2; done"),
            (8, "error", "[5/7] RUN false"),
            (9, "not-started", "[6/7] RUN echo w never"),
            (10, "not-started", "[7/7] COPY --link y /w/y"),
            (10, "not-started", "[7/7] LINK COPY --link y /w/y"),
        ]
    );
}

#[test]
fn a_label_that_names_another_commit_is_found() {
    let (dir, log) = alone("30-git-context-other-commit", "log.plain.txt");
    let text = std::fs::read_to_string(dir.path().join(&log)).unwrap();
    for (commit, code) in
        [("151100e6159957baba0b11bbbd68e080221e3cb2", 1), ("f41d5b2a785f901d8b18e1a4635882d45565f185", 0)]
    {
        let label = format!("--label org.opencontainers.image.revision={commit}");
        std::fs::write(
            dir.path().join("with"),
            format!("##[group]docker buildx build {label} -t x .\n{text}"),
        )
        .unwrap();
        assert_eq!(json(dir.path(), &["log", "with"]).0, code, "{commit}");
    }
}

#[test]
fn a_revision_is_compared_with_the_arguments_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
            .args(args);
        assert!(
            command.current_dir(app).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        );
    };
    std::fs::write(app.join("Dockerfile"), "FROM alpine\nARG V\nRUN echo $V > /v\nCOPY settings /settings\n")
        .unwrap();
    std::fs::write(app.join("settings"), "timeout=30").unwrap();
    std::fs::write(app.join(".dockerignore"), "*\n!settings\n").unwrap();
    git(&["init"]);
    git(&["add", "."]);
    git(&["commit", "-m", "x"]);
    std::fs::write(app.join("settings"), "timeout=45").unwrap();
    let log = |bytes: u64| {
        let text = format!(
            "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\n#2 [internal] load build context\n\
             #2 transferring context: {bytes}B done\n#2 DONE 0.0s\n\n#3 [2/3] RUN echo 7 > /v\n#3 CACHED\n\n\
             #4 [3/3] COPY settings /settings\n#4 CACHED\n"
        );
        std::fs::write(app.join("log"), text).unwrap();
        json(app, &["log", "log", "--since", "HEAD", "--platform", "linux/amd64", "."])
    };
    // The list alone: 2 for the end, 29 for the file.
    let (code, document) = log(31);
    assert_eq!((code, found(&document)), (1, pair("cached-although-changed", "error")), "{document:#}");
    let run = document["steps"].as_array().unwrap().iter().find(|s| s["instruction"] == "RUN").unwrap();
    assert_eq!((run["expected"].as_str(), run["line"].as_u64()), (Some("CACHED"), Some(3)));
    let (code, document) = log(31 + 16);
    assert_eq!((code, found(&document)), (0, Vec::new()), "{document:#}");
}
