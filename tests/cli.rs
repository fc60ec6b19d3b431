//! The binary as a user meets it: exit codes, formats, pipes, broken input.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A directory with these files. A name that ends with `/` is a directory.
fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        if name.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
            continue;
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    for variable in
        ["GITHUB_ACTIONS", "GITHUB_WORKSPACE", "NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "COLUMNS"]
    {
        command.env_remove(variable);
    }
    command
}

/// What came of a run.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// As a snapshot.
    fn shown(&self) -> String {
        let mut text = format!("exit {}\n", self.code.map_or("by signal".to_owned(), |c| c.to_string()));
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                let _ = write!(text, "--- {name}\n{stream}");
            }
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", self.stdout, self.stderr))
    }
}

fn run(dir: &TempDir, args: &[&str]) -> Ran {
    Ran::of(command(dir.path(), args))
}

const CLEAN: &[u8] = b"FROM scratch\n";
/// One finding of a rule that will always be there.
const NOTED: &[u8] = b"FROM scratch\n\n# layerlint ignore=no-such-rule\nCMD [\"/x\"]\n";
const BROKEN: &[u8] = b"FROM scratch\nFLY away\n";

#[test]
fn a_clean_file_is_success() {
    let dir = tree(&[("Dockerfile", CLEAN)]);
    insta::assert_snapshot!(run(&dir, &["check"]).shown(), @r#"
    exit 0
    --- stderr
    no findings in 1 file
    "#);
}

#[test]
fn a_person_sees_the_line_and_advice() {
    let dir = tree(&[("app/Dockerfile", NOTED)]);
    insta::assert_snapshot!(run(&dir, &["check"]).shown(), @r#"
    exit 0
    --- stdout
    info[unused-ignore]

      ☞ there is no rule `no-such-rule`
       ╭─[app/Dockerfile:3:20]
     2 │
     3 │ # layerlint ignore=no-such-rule
       ·                    ──────┬─────
       ·                          ╰── unknown
     4 │ CMD ["/x"]
       ╰────
      help: `layerlint rules` lists the names

    --- stderr
    1 finding (1 info) in 1 file
    "#);
}

#[test]
fn one_line_each() {
    let dir = tree(&[("Dockerfile", NOTED), ("b/Dockerfile", BROKEN)]);
    insta::assert_snapshot!(run(&dir, &["check", "--format", "concise"]).shown(), @r#"
    exit 4
    --- stdout
    Dockerfile:3:20: info[unused-ignore] there is no rule `no-such-rule`
    b/Dockerfile:2:1: error[refused] `FLY` is no instruction
    "#);
}

#[test]
fn a_program_gets_everything() {
    let dir = tree(&[("Dockerfile", NOTED), ("b/Dockerfile", BROKEN)]);
    let ran = run(&dir, &["check", "--format", "json"]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&ran.json()).unwrap(), @r##"
    {
      "errors": [
        {
          "column": 1,
          "end_column": 4,
          "end_line": 2,
          "line": 2,
          "message": "`FLY` is no instruction",
          "path": "b/Dockerfile"
        }
      ],
      "findings": [
        {
          "column": 20,
          "end_column": 32,
          "end_line": 3,
          "evidence": {},
          "help": "`layerlint rules` lists the names",
          "line": 3,
          "message": "there is no rule `no-such-rule`",
          "path": "Dockerfile",
          "related": [],
          "rule": "unused-ignore",
          "severity": "info",
          "stage": "0"
        }
      ],
      "not_looked_at": [],
      "schema": "layerlint.check/1",
      "summary": {
        "files": 2,
        "findings": {
          "error": 0,
          "info": 1,
          "warning": 0
        }
      }
    }
    "##);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(4), ""));
}

#[test]
fn github_gets_annotations_without_being_told() {
    let dir = tree(&[("sub/Dockerfile", NOTED)]);
    let mut command = command(&dir.path().join("sub"), &["check"]);
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", dir.path().canonicalize().unwrap());
    insta::assert_snapshot!(Ran::of(command).shown(), @r#"
    exit 0
    --- stdout
    ::notice file=sub/Dockerfile,line=3,endLine=3,col=20,endColumn=32,title=layerlint%3A unused-ignore::there is no rule `no-such-rule`%0Ahelp: `layerlint rules` lists the names
    "#);
}

#[test]
fn refused_files_are_shown_with_their_line_and_hide_no_other() {
    let dir = tree(&[("a.Dockerfile", BROKEN), ("b.Dockerfile", NOTED), ("c.Dockerfile", b"")]);
    insta::assert_snapshot!(run(&dir, &["check"]).shown(), @r#"
    exit 4
    --- stdout
    error[refused]

      × `FLY` is no instruction
       ╭─[a.Dockerfile:2:1]
     1 │ FROM scratch
     2 │ FLY away
       · ─┬─
       ·  ╰── here
       ╰────

    info[unused-ignore]

      ☞ there is no rule `no-such-rule`
       ╭─[b.Dockerfile:3:20]
     2 │
     3 │ # layerlint ignore=no-such-rule
       ·                    ──────┬─────
       ·                          ╰── unknown
     4 │ CMD ["/x"]
       ╰────
      help: `layerlint rules` lists the names

    error[refused]

      × c.Dockerfile: the file has no instructions
      help: a Dockerfile begins with `FROM image`

    --- stderr
    1 finding (1 info) in 3 files; BuildKit would refuse 2 files
    "#);
}

#[test]
fn the_threshold_decides_between_0_and_1() {
    let dir = tree(&[("Dockerfile", NOTED)]);
    for (args, code) in [
        (&["check"][..], 0),
        (&["check", "--fail-on", "info"], 1),
        (&["check", "--fail-on", "info", "--min-severity", "warning"], 0),
        (&["check", "--fail-on", "info", "--ignore", "unused-ignore"], 0),
        (&["check", "--fail-on", "info", "--select", "unused-ignore"], 1),
        (&["check", "--fail-on", "never"], 0),
        (&["check", "--fail-on", "info", "--format", "json"], 1),
    ] {
        assert_eq!(run(&dir, args).code, Some(code), "{args:?}");
    }
}

#[test]
fn codes_have_an_order_2_4_1_3() {
    let dir = tree(&[("noted/Dockerfile", NOTED), ("broken/Dockerfile", BROKEN), ("empty/", b"")]);
    for (paths, code) in [
        (&["empty"][..], 3),
        (&["noted", "empty"], 1),
        (&["noted", "broken"], 4),
        (&["noted", "broken", "missing"], 2),
        (&["missing"], 2),
        (&["--nonsense"], 2),
    ] {
        let args: Vec<&str> = ["check", "--fail-on", "info"].iter().chain(paths).copied().collect();
        assert_eq!(run(&dir, &args).code, Some(code), "{paths:?}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tree(&[("Dockerfile/", b""), ("good.Dockerfile", CLEAN)]);
    insta::assert_snapshot!(run(&dir, &["check", "missing.Dockerfile", "Dockerfile", "good.Dockerfile"]).shown(), @r#"
    exit 2
    --- stdout
    error[unreadable]

      × Dockerfile: cannot be read: is a directory

    error[unreadable]

      × missing.Dockerfile: cannot be read: no such file or directory

    --- stderr
    no findings in 1 file; unreadable: 2 files
    "#);
    // A directory of that name in a search is none of our business.
    assert_eq!(run(&dir, &["check"]).code, Some(0));
}

#[test]
fn nothing_to_lint_is_said() {
    let dir = tree(&[("README.md", b"")]);
    insta::assert_snapshot!(run(&dir, &["check"]).shown(), @r#"
    exit 3
    --- stderr
    nothing to lint: no Dockerfile found in `.`
    "#);
    let json = run(&dir, &["check", "--format", "json"]);
    assert_eq!((json.code, json.json()["summary"]["files"].as_u64()), (Some(3), Some(0)));
}

#[test]
fn files_are_found_by_name_and_gitignore_counts() {
    let names =
        ["Dockerfile", "a/Containerfile", "a/web.Dockerfile", "b/Dockerfile.dev", ".devcontainer/Dockerfile"];
    let others = ["Dockerfile.dockerignore", "skipped/Dockerfile", "notes.md", ".git/Dockerfile"];
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|n| (*n, NOTED)).collect();
    files.extend(others.iter().map(|n| (*n, NOTED)));
    files.push((".gitignore", b"skipped\n"));
    let dir = tree(&files);
    let found = |args: &[&str]| -> Vec<String> {
        let report = run(&dir, args).json();
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f["path"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(found(&["check", "--format", "json"]), sorted);
    assert_eq!(found(&["check", "--format", "json", "notes.md", "./notes.md"]), ["notes.md"]);
    assert_eq!(found(&["check", "--format", "json", "skipped/Dockerfile"]), ["skipped/Dockerfile"]);
}

#[test]
fn an_ignore_file_stands_for_the_dockerfiles_that_use_it() {
    let dir = tree(&[
        (".dockerignore", b"x\n"),
        ("Dockerfile", NOTED),
        ("web.Dockerfile", NOTED),
        ("web.Dockerfile.dockerignore", b"y\n"),
        ("sub/Dockerfile", NOTED),
        // Its sources are in the folder above, so that is where it is built.
        ("docker/Dockerfile", &[NOTED, b"COPY src /src\n"].concat()),
        ("docker/own.Dockerfile", &[NOTED, b"COPY src /src\n"].concat()),
        ("docker/own.Dockerfile.dockerignore", b"z\n"),
        ("src/main", b"x"),
    ]);
    let found = |path: &str| {
        let report = run(&dir, &["check", "--format", "concise", path]).stdout;
        report.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(".dockerignore"), ["Dockerfile", "docker/Dockerfile"]);
    assert_eq!(found("web.Dockerfile.dockerignore"), ["web.Dockerfile"]);
}

#[test]
fn standard_input_has_the_name_it_is_given() {
    let dir = tree(&[]);
    let ask = |args: &[&str]| {
        let mut child =
            command(dir.path(), args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(NOTED).unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        text.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(ask(&["check", "-", "--format", "concise"]), "<stdin>:3:20:");
    let named = ["check", "-", "--format", "concise", "--stdin-filename", "app/Dockerfile"];
    assert_eq!(ask(&named), "app/Dockerfile:3:20:");
}

#[test]
fn hostile_bytes_end_in_diagnostics() {
    let garbage: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut wide = b"FROM scratch\nRUN echo ".to_vec();
    wide.resize(200_000, b'x');
    wide.extend(b"\nFLY away\n");
    let cases: [(&str, &[u8]); 7] = [
        ("garbage", &garbage),
        ("empty", b""),
        ("zero", b"\0\0\0\n\0"),
        ("escapes", b"FROM scratch\n\x1b]0;title\x07\x1b[31mFLY\x1b[0m\taway\r\n"),
        ("latin1", b"FROM scratch\nFLY \xe9t\xe9 # \xff\xfe\n"),
        ("wide", &wide),
        ("bom", b"\xef\xbb\xbfFLY x\r\n\r\n"),
    ];
    for (name, bytes) in cases {
        let dir = tree(&[("Dockerfile", bytes)]);
        for format in ["human", "concise", "json", "github"] {
            let ran = run(&dir, &["check", "--format", format]);
            assert_eq!(ran.code, Some(4), "{name} {format}: {}", ran.shown());
            assert!(!ran.stdout.contains('\x1b'), "{name} {format}: {:?}", ran.stdout);
            assert!(ran.stdout.len() < 100_000, "{name} {format}: {} bytes", ran.stdout.len());
        }
    }
}

#[test]
fn tabs_crlf_and_broken_text_keep_the_underline_in_place() {
    let dir = tree(&[("Dockerfile", b"FROM scratch\r\n# \xff\xe9\tlayerlint\r\n\tFLY\t\xffaway\r\n")]);
    insta::assert_snapshot!(run(&dir, &["check"]).shown(), @r#"
    exit 4
    --- stdout
    error[refused]

      × `FLY` is no instruction
       ╭─[Dockerfile:3:2]
     2 │ # ��    layerlint
     3 │     FLY �away
       ·     ─┬─
       ·      ╰── here
       ╰────

    --- stderr
    no findings in 1 file; BuildKit would refuse 1 file
    "#);
}

#[test]
fn colour_is_for_those_who_want_it() {
    let dir = tree(&[("Dockerfile", NOTED)]);
    let colored = |args: &[&str], variable: Option<(&str, &str)>| {
        let mut command = command(dir.path(), args);
        command.envs(variable);
        Ran::of(command).stdout.contains("\x1b[")
    };
    assert!(!colored(&["check"], None));
    assert!(colored(&["check", "--color", "always"], None));
    assert!(colored(&["check", "--color", "always"], Some(("NO_COLOR", "1"))));
    assert!(colored(&["check"], Some(("CLICOLOR_FORCE", "1"))));
    assert!(!colored(&["--color", "never", "check"], Some(("CLICOLOR_FORCE", "1"))));
    assert!(!colored(&["check", "--format", "json", "--color", "always"], None));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let files: Vec<(String, Vec<u8>)> =
        (0..300).map(|i| (format!("{i}.Dockerfile"), NOTED.to_vec())).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    let dir = tree(&files);
    for args in [&["check"][..], &["check", "--format", "json"], &["rules", "unused-ignore"]] {
        let mut child =
            command(dir.path(), args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }
}

#[test]
fn output_goes_to_a_file() {
    let dir = tree(&[("Dockerfile", NOTED)]);
    let ran = run(&dir, &["check", "--format", "json", "--output", "out.json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    let text = std::fs::read_to_string(dir.path().join("out.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["schema"], "layerlint.check/1");
    let ran = run(&dir, &["check", "--output", "no/such/folder"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no/such/folder"), "{}", ran.stderr);
}

#[test]
fn comments_silence_rules() {
    let cases = [
        ("# layerlint global ignore=unused-ignore\nFROM scratch\n# layerlint ignore=nothing\nUSER a\n", 0),
        ("FROM scratch\n# layerlint ignore=nothing\nUSER a\n", 1),
        ("FROM scratch\nRUN a \\\n# layerlint ignore=nothing\n b\n", 1),
        ("FROM scratch\n# hadolint ignore=DL3006\nUSER a\n", 0),
        ("# check=skip=all\nFROM scratch\n", 0),
        ("FROM scratch\n# layerlint ignore=unused-ignore\n", 1),
        ("FROM scratch\n# layerlint global ignore=unused-ignore\nUSER a\n", 1),
    ];
    for (text, count) in cases {
        let dir = tree(&[("Dockerfile", text.as_bytes())]);
        let report = run(&dir, &["check", "--format", "json"]).json();
        assert_eq!(report["findings"].as_array().unwrap().len(), count, "{text}\n{report}");
    }
}

#[test]
fn unknown_rules_are_refused_with_the_nearest_name() {
    let dir = tree(&[]);
    insta::assert_snapshot!(run(&dir, &["rules", "unused-ignroe"]).shown(), @r#"
    exit 2
    --- stderr
    error: there is no rule `unused-ignroe`
    help: the nearest name is `unused-ignore`
    "#);
    insta::assert_snapshot!(run(&dir, &["check", "--select", "DL3008"]).shown(), @r#"
    exit 2
    --- stderr
    error: there is no rule `DL3008`
    help: `layerlint rules` lists the names
    "#);
}

#[test]
fn the_page_of_a_rule_can_be_read() {
    let dir = tree(&[]);
    let page = run(&dir, &["rules", "unused-ignore"]);
    assert_eq!(page.code, Some(0));
    assert!(
        page.stdout.contains("Why it hurts\n") && page.stdout.contains("\n    FROM scratch\n"),
        "{}",
        page.stdout
    );
    assert!(!page.stdout.contains("```"), "{}", page.stdout);
    let list = run(&dir, &["rules"]).stdout;
    assert!(list.lines().any(|line| line.starts_with("unused-ignore ") && line.contains(" info ")), "{list}");
    let json = run(&dir, &["rules", "unused-ignore", "--format", "json"]).json();
    assert_eq!(
        (json["schema"].as_str(), json["rules"][0]["group"].as_str()),
        (Some("layerlint.rules/1"), Some("comments"))
    );
}

#[test]
fn builds_are_taken_as_docker_takes_them() {
    let dir =
        tree(&[("app/dockerfile", CLEAN), ("d/Dockerfile/", b""), ("file", b""), ("bad/Dockerfile", BROKEN)]);
    for command in ["keys", "context", "graph"] {
        for (args, code) in [
            (&["app", "-t", "x", "--push", "--provenance=true", "--cache-to=type=local,dest=c", "-q"][..], 0),
            (&["-f", "app/dockerfile"], 0),
            (&["--file=app/dockerfile", ".", "--build-arg", "A=1", "--build-arg", "B", "--no-cache"], 0),
            (&["."], 2),
            (&["d"], 2),
            (&["file"], 2),
            (&["missing"], 2),
            (&["https://example.com/r.git"], 2),
            (&["--build-context", "nonsense", "app"], 2),
            (&["bad"], 4),
        ] {
            // A context can be looked at without the Dockerfile that needs it.
            let code = if command == "context" && matches!(args[0], "." | "d" | "bad") { 0 } else { code };
            let args: Vec<&str> = [command].iter().chain(args).copied().collect();
            let ran = run(&dir, &args);
            assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.shown());
            assert_eq!(ran.stderr.is_empty(), code == 0, "{args:?}: {}", ran.shown());
        }
    }
}

#[test]
fn cargo_finds_it_too() {
    let dir = tree(&[("Dockerfile", CLEAN)]);
    let output = Command::new(env!("CARGO_BIN_EXE_cargo-layerlint"))
        .args(["layerlint", "check"])
        .current_dir(dir.path())
        .env_remove("GITHUB_ACTIONS")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn help_and_version_are_results() {
    let dir = tree(&[]);
    for args in [&["--help"][..], &["--version"], &["check", "-h"], &["keys", "--help"]] {
        let ran = run(&dir, args);
        assert_eq!(
            (ran.code, ran.stderr.as_str(), ran.stdout.ends_with('\n')),
            (Some(0), "", true),
            "{args:?}"
        );
    }
    let nothing = run(&dir, &[]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(2), ""));
}
