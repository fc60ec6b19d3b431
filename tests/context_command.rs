//! `layerlint context` as a user meets it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

/// A context of a few files, with this ignore file.
fn laid(ignore: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("app/.dockerignore", ignore),
        ("app/Dockerfile", "FROM scratch\n"),
        ("app/a.log", "1"),
        ("app/b.log", "22"),
        ("app/src/lib/main file.rs", "fn main() {}\n"),
        ("app/target/debug/app", "x"),
    ] {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    home
}

fn run(home: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.arg("context").args(args).current_dir(home);
    for variable in ["NO_COLOR", "CLICOLOR_FORCE", "GITHUB_ACTIONS"] {
        command.env_remove(variable);
    }
    let output = command.output().unwrap();
    format!(
        "exit {}\n{}{}",
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    )
}

const IGNORE: &str = "# built\ntarget/\n*.log\n!b.log\ndist\n";

#[test]
fn a_person_sees_sums_and_what_each_pattern_leaves_out() {
    insta::assert_snapshot!(run(laid(IGNORE).path(), &["app"]), @r"
    exit 0
    sent: 4 files, 62 B
          49 B       3 files  (the top level)
          13 B        1 file  src/lib/

    left out by app/.dockerignore: 1 file, 1 folder
         2  target/  target/
         3  *.log    a.log
         4  !b.log   brings back
         5  dist     nothing
    ");
}

#[test]
fn a_program_sees_every_path() {
    insta::assert_snapshot!(run(laid(IGNORE).path(), &["--format", "json", "app"]), @r#"
    exit 0
    {"schema":"layerlint.context/1","ignore_file":"app/.dockerignore","sent":[{"path":".dockerignore","type":"file","bytes":34},{"path":"Dockerfile","type":"file","bytes":13},{"path":"b.log","type":"file","bytes":2},{"path":"src","type":"dir","bytes":0},{"path":"src/lib","type":"dir","bytes":0},{"path":"src/lib/main file.rs","type":"file","bytes":13}],"left_out":[{"path":"a.log","pattern":"*.log","line":3},{"path":"target/","pattern":"target/","line":2}],"summary":{"files":4,"bytes":62,"left_out_files":1,"left_out_dirs":1}}
    "#);
}

#[test]
fn make_sees_prerequisites() {
    insta::assert_snapshot!(run(laid(IGNORE).path(), &["--format", "make", "app"]), @r"
    exit 0
    app/.dockerignore
    app/Dockerfile
    app/b.log
    app/src/lib/main\ file.rs
    ");
}

#[test]
fn content_that_does_not_travel_is_pointed_out() {
    let home = laid("src\n!src/lib\nsrc\n");
    let seen = run(home.path(), &["app"]);
    assert!(seen.contains("sent empty: 1 file arrives without content"), "{seen}");
    assert!(seen.contains("13 B  src/lib/main file.rs"), "{seen}");
    let json = run(home.path(), &["--format", "json", "app"]);
    assert!(
        json.contains(r#"{"path":"src/lib/main file.rs","type":"file","bytes":13,"empty":true}"#),
        "{json}"
    );
}

#[test]
fn a_refused_pattern_is_shown_and_exits_with_4() {
    insta::assert_snapshot!(run(laid("target\nx[\n").path(), &["app"]), @r"
    exit 4
    error[refused]

      × `x[`: syntax error in pattern
       ╭─[app/.dockerignore:2:1]
     1 │ target
     2 │ x[
       · ─┬
       ·  ╰── here
       ╰────
    ");
    // This one passes the first check and is refused when it is tried.
    assert!(run(laid("[z-a]\n").path(), &["app"]).starts_with("exit 4\n"));
}

#[test]
fn a_context_without_a_dockerfile_can_be_looked_at() {
    let home = laid(IGNORE);
    std::fs::remove_file(home.path().join("app/Dockerfile")).unwrap();
    assert!(run(home.path(), &["app"]).starts_with("exit 0\nsent: 3 files"));
    assert!(run(home.path(), &["-f", "missing", "app"]).starts_with("exit 2\n"));
}
