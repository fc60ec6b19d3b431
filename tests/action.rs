//! The steps of `action.yml`, run by bash as a runner of GitHub Actions runs them: with the inputs in the variables
//! that the steps ask for, and files for summary, outputs and paths.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod images;

use images::{Image, dir, file, project};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// One step: its name, its variables with what they are made of, and its script.
struct Step {
    name: String,
    env: Vec<(String, String)>,
    script: String,
}

/// The part of YAML that the file is written in: two blanks deeper for each level, scripts in blocks.
fn action() -> (BTreeMap<String, String>, Vec<Step>) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("action.yml")).unwrap();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut defaults = BTreeMap::new();
    let mut steps: Vec<Step> = Vec::new();
    let (mut input, mut section) = (String::new(), String::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if indent(line) == 0 && !trimmed.is_empty() {
            section = trimmed.trim_end_matches(':').to_owned();
        } else if section == "inputs" && indent(line) == 2 {
            input = trimmed.trim_end_matches(':').to_owned();
        } else if let Some(value) = trimmed.strip_prefix("default: ").filter(|_| section == "inputs") {
            defaults.insert(input.clone(), value.trim_matches('"').to_owned());
        } else if let Some(name) = trimmed.strip_prefix("- name: ") {
            steps.push(Step { name: name.to_owned(), env: Vec::new(), script: String::new() });
        } else if trimmed == "run: |" {
            while let Some(line) = lines.next_if(|l| l.trim().is_empty() || indent(l) >= 8) {
                let step = steps.last_mut().unwrap();
                step.script += line.get(8..).unwrap_or_default();
                step.script.push('\n');
            }
        } else if let Some((name, value)) = trimmed.split_once(": ${{ ").filter(|_| indent(line) == 8) {
            let value = value.trim_end_matches(" }}").to_owned();
            steps.last_mut().unwrap().env.push((name.to_owned(), value));
        }
    }
    (defaults, steps)
}

/// What a runner gives to steps, and what it reads from them.
struct Runner {
    place: TempDir,
}

impl Runner {
    fn new() -> Self {
        let runner = Self { place: tempfile::tempdir().unwrap() };
        let bin = runner.path("temp/layerlint/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_layerlint"), bin.join("layerlint")).unwrap();
        for name in ["summary", "output", "path"] {
            std::fs::write(runner.path(name), "").unwrap();
        }
        runner
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs the step of that name in a work space; exit code and annotations.
    fn run(&self, name: &str, workspace: &Path, inputs: &[(&str, &str)]) -> (i32, String) {
        let (defaults, steps) = action();
        let step = steps.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no step {name}"));
        let script = self.path("script.sh");
        std::fs::write(&script, &step.script).unwrap();
        let added = self.read("path");
        let path =
            added.lines().chain([std::env::var("PATH").unwrap().as_str()]).collect::<Vec<_>>().join(":");
        // As the runner calls it for `shell: bash`.
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-eo", "pipefail"]).arg(&script).current_dir(workspace);
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", workspace);
        command.env("RUNNER_TEMP", self.path("temp"));
        for (variable, file) in
            [("GITHUB_STEP_SUMMARY", "summary"), ("GITHUB_OUTPUT", "output"), ("GITHUB_PATH", "path")]
        {
            command.env(variable, self.path(file));
        }
        for (variable, expression) in &step.env {
            let value = match expression.strip_prefix("inputs.") {
                Some(name) => {
                    let given = inputs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
                    given.unwrap_or_else(|| defaults[name].clone())
                }
                None if expression == "github.action_path" => env!("CARGO_MANIFEST_DIR").to_owned(),
                None => panic!("what is {expression}?"),
            };
            command.env(variable, value);
        }
        let output = command.output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(!err.contains("command not found") && !err.contains("unbound"), "{err}");
        (output.status.code().unwrap(), out + &err)
    }
}

const INSTALL: &str = "Install layerlint";
const CHECK: &str = "Lint Dockerfiles";
const VERIFY: &str = "Compare the image with its source tree";

fn service() -> TempDir {
    project(&[("app/Dockerfile", "FROM scratch\nARG D=/app\nCOPY src $D\n"), ("app/src/a.py", "a\n")])
}

fn image(content: &str) -> Vec<u8> {
    Image::new().layer("COPY src /app # buildkit", &[dir("app"), file("app/a.py", content)]).oci()
}

#[test]
fn scripts_get_inputs_through_variables_alone() {
    let (defaults, steps) = action();
    assert_eq!(steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), [INSTALL, CHECK, VERIFY]);
    assert_eq!(defaults.len(), 9);
    for step in steps {
        assert!(!step.script.contains("${{"), "{}", step.name);
        assert!(!step.env.is_empty());
    }
}

#[test]
fn findings_become_annotations_and_a_summary() {
    let runner = Runner::new();
    let workspace =
        project(&[("Dockerfile", "FROM debian:12.8\nRUN apt-get update\nRUN apt-get install -y curl\n")]);
    assert_eq!(runner.run(INSTALL, workspace.path(), &[]).0, 0);
    assert!(runner.read("path").trim_end().ends_with("layerlint/bin"));
    let (code, out) = runner.run(CHECK, workspace.path(), &[]);
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with("::warning file=Dockerfile,line="), "{out}");
    assert!(runner.read("summary").contains("apt-update-split"));
    assert_eq!(runner.run(CHECK, workspace.path(), &[("fail-on", "error")]).0, 0);
    // Several paths, with blanks.
    let (code, out) = runner.run(CHECK, workspace.path(), &[("path", "no such folder\n\nDockerfile\n")]);
    assert_eq!(code, 2, "{out}");
}

#[test]
fn an_image_is_compared_with_its_source_tree() {
    let runner = Runner::new();
    let workspace = service();
    std::fs::write(workspace.path().join("image.tar"), image("a\n")).unwrap();
    runner.run(INSTALL, workspace.path(), &[]);
    let inputs = [("image", "image.tar"), ("context", "app")];
    let (code, out) = runner.run(VERIFY, workspace.path(), &inputs);
    assert_eq!(code, 0, "{out}");
    assert_eq!(runner.read("output"), "verdict=faithful\n");

    std::fs::write(workspace.path().join("image.tar"), image("old\n")).unwrap();
    let (code, out) = runner.run(VERIFY, workspace.path(), &inputs);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.starts_with("::error file=app/src/a.py,title=layerlint verify::/app/a.py in the image"),
        "{out}"
    );
    assert!(runner.read("output").ends_with("verdict=differs\n"));
    assert!(runner.read("summary").contains("| `src/a.py` | `/app/a.py` | modified |"));

    let other = [("image", "image.tar"), ("context", "app"), ("build-args", "\nD=/srv dir\n")];
    let (code, out) = runner.run(VERIFY, workspace.path(), &other);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("/srv dir/a.py is not in the image"), "{out}");

    let by_hand = [("image", "image.tar"), ("root", "/app=app/src")];
    assert_eq!(runner.run(VERIFY, workspace.path(), &by_hand).0, 1);
}

#[test]
fn an_image_of_the_engine_is_saved_compared_and_removed() {
    let runner = Runner::new();
    let workspace = service();
    let saved = runner.path("saved.tar");
    std::fs::write(&saved, image("a\n")).unwrap();
    let docker = runner.path("bin/docker");
    std::fs::create_dir_all(docker.parent().unwrap()).unwrap();
    let script =
        format!("#!/bin/sh\n[ \"$*\" = \"save --output $3 -- app:1\" ] && cp {} \"$3\"\n", saved.display());
    std::fs::write(&docker, script).unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    runner.run(INSTALL, workspace.path(), &[]);
    let (code, out) = runner.run(VERIFY, workspace.path(), &[("image", "app:1"), ("context", "app")]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(std::fs::read_dir(runner.path("temp")).unwrap().count(), 1);
    let (code, out) = runner.run(VERIFY, workspace.path(), &[("image", "app:2"), ("context", "app")]);
    assert_ne!(code, 0, "{out}");
    assert_eq!(std::fs::read_dir(runner.path("temp")).unwrap().count(), 1);
}
