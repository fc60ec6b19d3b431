//! What the README files say is so: the commands of their `console` blocks print what stands below them, and the
//! table of rules is that of the program. `UPDATE_README=1 cargo test --test readme` rewrites both.

#![allow(clippy::unwrap_used, clippy::panic)]

use layerlint::rule::{ALL, Page};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Copies a directory with the permissions of a fresh checkout: they are part of every key.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap();
            permit(&target, 0o644);
        }
    }
    permit(to, 0o755);
}

fn permit(path: &Path, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
}

/// A shell as small as the commands in the files: layerlint, or cargo that runs it, cut by `head`; and the exit code.
struct Session {
    dir: PathBuf,
    code: Option<i32>,
}

impl Session {
    fn run(&mut self, line: &str) -> String {
        if line == "echo $?" {
            return format!("{}\n", self.code.unwrap_or_else(|| panic!("`{line}`: nothing ran before")));
        }
        let (command, head) = match line.split_once(" | head -n ") {
            Some((command, lines)) => (command, lines.parse().unwrap()),
            None => (line, usize::MAX),
        };
        let programs = ["layerlint ", "cargo run --quiet --release -- "];
        let args = programs
            .iter()
            .find_map(|program| command.strip_prefix(program))
            .unwrap_or_else(|| panic!("`{line}` cannot be run here"));
        // Both streams into one, as on a terminal.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
        command
            .args(args.split_whitespace())
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        for variable in ["GITHUB_ACTIONS", "GITHUB_WORKSPACE", "CLICOLOR_FORCE", "CLICOLOR", "COLUMNS"] {
            command.env_remove(variable);
        }
        let mut child = command.env("NO_COLOR", "1").spawn().unwrap();
        // The command holds the writing ends too; only without it the reader comes to an end.
        drop(command);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        self.code = child.wait().unwrap().code();
        // Editors cut spaces at the ends of lines.
        output.lines().take(head).fold(String::new(), |text, line| text + line.trim_end() + "\n")
    }
}

/// The text with the output below every command as it is now.
fn replayed(text: &str, dir: &Path) -> String {
    let mut session = Session { dir: dir.to_path_buf(), code: None };
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ => {}
        }
        match line.strip_prefix("$ ") {
            Some(command) if inside => {
                let output = session.run(command);
                let _ = write!(out, "{line}\n{output}");
            }
            // What was below a command is replaced.
            None if inside && line != "```console" => {}
            _ => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

const TABLE: [&str; 2] = ["<!-- rules -->\n", "<!-- end of rules -->\n"];

/// The text with the table of rules as it is now.
fn with_rules(text: &str) -> String {
    let Some((before, rest)) = text.split_once(TABLE[0]) else { return text.to_owned() };
    let (_, after) = rest.split_once(TABLE[1]).unwrap_or_else(|| panic!("the table of rules has no end"));
    let mut table =
        String::from("\n| rule | severity | in 100 files | what it finds |\n| --- | --- | --- | --- |\n");
    let figures = std::fs::read_to_string(Path::new(ROOT).join("tests/precision.txt")).unwrap_or_default();
    for rule in ALL {
        let summary = Page::parse(rule.page).summary().replace('|', "\\|");
        let name = rule.name;
        // A rule that is younger than the figures has none yet.
        let figure =
            figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or("–");
        let severity = rule.severity().name();
        let _ = writeln!(table, "| [`{name}`](rules/{name}.md) | {severity} | {figure} | {summary} |");
    }
    format!("{before}{}{table}\n{}{after}", TABLE[0], TABLE[1])
}

fn is_true(path: &str) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["fixtures/projects", "fixtures/logs"] {
        copy(&Path::new(ROOT).join(folder), &dir.path().join(folder));
    }
    let path = Path::new(ROOT).join(path);
    let written = std::fs::read_to_string(&path).unwrap();
    let now = with_rules(&replayed(&written, dir.path()));
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, &now).unwrap();
        return;
    }
    let first = written.lines().zip(now.lines()).position(|(a, b)| a != b);
    let first = first.unwrap_or_else(|| written.lines().count().min(now.lines().count()));
    assert!(
        written == now,
        "{}:{}: the file says\n  {}\nand it is\n  {}\n(UPDATE_README=1 cargo test --test readme rewrites it)",
        path.display(),
        first + 1,
        written.lines().nth(first).unwrap_or("(nothing)"),
        now.lines().nth(first).unwrap_or("(nothing)")
    );
}

#[test]
fn the_readme_is_true() {
    is_true("README.md");
}

#[test]
fn the_page_of_the_python_service_is_true() {
    is_true("fixtures/projects/python-service/README.md");
}

#[test]
fn the_page_of_the_articles_is_true() {
    is_true("fixtures/projects/multi-market/README.md");
}

#[test]
fn the_page_of_the_rust_workspace_is_true() {
    is_true("fixtures/projects/rust-workspace/README.md");
}

#[test]
fn every_project_has_a_page() {
    let projects = Path::new(ROOT).join("fixtures/projects");
    for entry in std::fs::read_dir(projects).unwrap() {
        let page = entry.unwrap().path().join("README.md");
        assert!(page.is_file(), "{} is missing", page.display());
    }
}
