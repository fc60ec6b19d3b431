//! Fixes as a user applies them: what changes, what stays, and what is never touched.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

struct Ran {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

fn check(dir: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.arg("check").args(args).current_dir(dir).stdin(Stdio::null()).env_remove("GITHUB_ACTIONS");
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn read(dir: &TempDir, name: &str) -> Vec<u8> {
    std::fs::read(dir.path().join(name)).unwrap()
}

/// Two findings that can be fixed, and one that cannot.
const FIXABLE: &[u8] =
    b"ARG REV=1\nFROM debian:12.8-slim\nRUN apt-get update\n# why curl\nRUN apt-get install -y curl\n\
    # the revision\nRUN echo $REV > /rev\n# layerlint ignore=no-such-rule\nCMD [\"/x\"]\n";
const FIXED: &[u8] =
    b"ARG REV=1\nFROM debian:12.8-slim\n# why curl\nRUN apt-get update && apt-get install -y curl\n\
    ARG REV\n# the revision\nRUN echo $REV > /rev\n# layerlint ignore=no-such-rule\nCMD [\"/x\"]\n";

#[test]
fn fixes_are_applied_and_the_rest_is_reported() {
    let dir = tree(&[("Dockerfile", FIXABLE)]);
    let ran = check(dir.path(), &["--fix", "--format", "concise"]);
    assert_eq!(String::from_utf8_lossy(&read(&dir, "Dockerfile")), String::from_utf8_lossy(FIXED));
    assert_eq!(ran.code, Some(0));
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "Dockerfile:8:20: info[unused-ignore] there is no rule `no-such-rule`\n"
    );
    assert_eq!(ran.stderr, "fixed: apt-update-split, arg-scope-lost\n");
    let again = check(dir.path(), &["--fix", "--format", "concise"]);
    assert_eq!((again.stdout, again.stderr), (ran.stdout, String::new()));
    assert_eq!(read(&dir, "Dockerfile"), FIXED);
}

#[test]
fn a_diff_changes_nothing_and_patch_takes_it() {
    let dir = tree(&[("a b/Dockerfile", FIXABLE), ("c.Dockerfile", FIXABLE), ("d.Dockerfile", FIXED)]);
    let ran = check(dir.path(), &["--diff"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(read(&dir, "a b/Dockerfile"), FIXABLE);
    std::fs::write(dir.path().join("fix.patch"), &ran.stdout).unwrap();
    let status = Command::new("git").args(["apply", "fix.patch"]).current_dir(dir.path()).status().unwrap();
    assert!(status.success());
    for name in ["a b/Dockerfile", "c.Dockerfile", "d.Dockerfile"] {
        assert_eq!(String::from_utf8_lossy(&read(&dir, name)), String::from_utf8_lossy(FIXED), "{name}");
    }
    // Both together: the diff wins, since it promises to change nothing.
    std::fs::write(dir.path().join("c.Dockerfile"), FIXABLE).unwrap();
    check(dir.path(), &["--diff", "--fix"]);
    assert_eq!(read(&dir, "c.Dockerfile"), FIXABLE);
}

#[test]
fn bytes_that_are_not_meant_stay() {
    let crlf = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\n', "\r\n").into_bytes();
    let odd = |bytes: &[u8]| {
        let mut odd = b"\xEF\xBB\xBF# \xff\xfe\r\n".to_vec();
        odd.extend(crlf(bytes));
        odd.extend(b"# no line end");
        odd
    };
    let dir = tree(&[("Dockerfile", &odd(FIXABLE))]);
    check(dir.path(), &["--fix"]);
    assert_eq!(read(&dir, "Dockerfile").escape_ascii().to_string(), odd(FIXED).escape_ascii().to_string());
}

#[cfg(unix)]
#[test]
fn a_link_is_written_through_and_modes_stay() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let dir = tree(&[("real/file", FIXABLE)]);
    let real = dir.path().join("real/file");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
    symlink("real/file", dir.path().join("Dockerfile")).unwrap();
    check(dir.path(), &["--fix"]);
    assert_eq!(read(&dir, "real/file"), FIXED);
    assert!(dir.path().join("Dockerfile").symlink_metadata().unwrap().is_symlink());
    assert_eq!(std::fs::metadata(real).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path().join("real")).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_text_is_no_obstacle() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.Dockerfile"));
    // Some file systems want text.
    if std::fs::write(&path, FIXABLE).is_err() {
        return;
    }
    check(dir.path(), &["--fix"]);
    assert_eq!(std::fs::read(path).unwrap(), FIXED);
}

#[test]
fn what_cannot_be_known_for_certain_is_fixed_on_demand_only() {
    let files: [(&str, &[u8]); 5] = [
        ("Dockerfile", b"FROM node:22.11.0-slim\nCOPY . /app\n"),
        ("dev.Dockerfile", b"FROM node:22.11.0-slim\nCOPY . /srv\n"),
        (".dockerignore", b"*.md"),
        ("package.json", b"{}"),
        ("node_modules/a/index.js", b"1"),
    ];
    let dir = tree(&files);
    let ran = check(dir.path(), &["--fix"]);
    assert_eq!((read(&dir, ".dockerignore"), ran.code), (b"*.md".to_vec(), Some(1)));
    assert!(ran.stderr.contains("2 findings (2 warnings)"), "{}", ran.stderr);
    let ran = check(dir.path(), &["--fix", "--unsafe-fixes"]);
    assert_eq!(String::from_utf8(read(&dir, ".dockerignore")).unwrap(), "*.md\n**/node_modules\n");
    assert!(ran.code == Some(0) && ran.stderr.contains("no findings in 2 files"), "{}", ran.stderr);
    assert_eq!(check(dir.path(), &[]).code, Some(0));
}

#[test]
fn what_is_known_or_not_selected_is_left_alone() {
    let dir = tree(&[("Dockerfile", FIXABLE)]);
    check(dir.path(), &["--write-baseline", "known.json"]);
    check(dir.path(), &["--baseline", "known.json", "--fix"]);
    assert_eq!(read(&dir, "Dockerfile"), FIXABLE);
    check(dir.path(), &["--ignore", "apt-update-split,arg-scope-lost", "--fix"]);
    assert_eq!(read(&dir, "Dockerfile"), FIXABLE);
    let refused = [FIXABLE, b"FLY\n"].concat();
    std::fs::write(dir.path().join("Dockerfile"), &refused).unwrap();
    assert_eq!(check(dir.path(), &["--fix"]).code, Some(4));
    assert_eq!(read(&dir, "Dockerfile"), refused);
}

#[test]
fn standard_input_is_fixed_to_standard_output() {
    for (input, output) in [(FIXABLE, FIXED), (FIXED, FIXED)] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_layerlint"))
            .args(["check", "--fix", "-", "--stdin-filename", "Dockerfile"])
            .current_dir(dir.path())
            .env_remove("GITHUB_ACTIONS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(output));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn exec_form_and_odd_shells_are_not_edited() {
    for run in [
        "RUN [\"apt-get\", \"install\", \"-y\", \"curl\"]",
        "RUN yes | apt-get install -y curl",
        "RUN if true; then apt-get install -y curl; fi",
        "ONBUILD RUN apt-get install -y curl",
    ] {
        let text = format!("FROM debian:12.8-slim\nRUN apt-get update\n{run}\n");
        let dir = tree(&[("Dockerfile", text.as_bytes())]);
        check(dir.path(), &["--fix", "--unsafe-fixes"]);
        assert_eq!(String::from_utf8_lossy(&read(&dir, "Dockerfile")), text);
    }
}
