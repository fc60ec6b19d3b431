//! Images that a real engine builds and saves, against their source trees: faithful ones, and stale ones that the
//! engine was tricked into. Needs root and Debian's `docker.io`; `tests/live.sh` runs it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "live/client.rs"]
mod client;

use client::docker;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// The shell, its commands, and `make` with the libraries it needs.
const BASE: &str = "FROM scratch AS base\n\
    COPY .root /\n\
    RUN [\"/usr/bin/busybox\", \"sh\", \"-c\", \"busybox ln -s usr/bin /bin && busybox --install -s /usr/bin\"]\n";

struct Project {
    place: TempDir,
    name: String,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Project {
    /// Files by path; `-> x` is a link, and what stands before a `#!` is executable.
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let project = Self { place: tempfile::tempdir().unwrap(), name: format!("layerlint/{name}") };
        for (path, content) in files {
            project.write(path, content);
        }
        let root = project.path().join(".root");
        copy("/bin/busybox", &root.join("usr/bin/busybox"));
        project
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            None => {
                std::fs::write(&path, content).unwrap();
                let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }

    /// Puts the host's `make` into the base image.
    fn with_make(self) -> Self {
        let root = self.path().join(".root");
        let make = "/usr/bin/make";
        copy(make, &root.join("usr/bin/make"));
        let listed = text(&Command::new("ldd").arg(make).output().unwrap().stdout);
        for library in listed.split_whitespace().filter(|w| w.starts_with('/')) {
            copy(library, &root.join(library.trim_start_matches('/')));
        }
        self
    }

    fn set_time(&self, path: &str, time: SystemTime) {
        let file = std::fs::File::options().write(true).open(self.path().join(path)).unwrap();
        file.set_modified(time).unwrap();
    }

    fn build(&self) -> String {
        let context = self.path().to_str().unwrap();
        let out = docker(&["build", "--progress=plain", "--network=host", "-t", &self.name, context]);
        let log = text(&out.stderr);
        assert!(out.status.success(), "{log}");
        log
    }

    fn save(&self) -> PathBuf {
        let archive = self.place.path().with_extension("tar");
        let out = docker(&["save", "-o", archive.to_str().unwrap(), &self.name]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        archive
    }

    /// What `verify` says about the image as the engine saves it now.
    fn verify(&self, more: &[&str]) -> Value {
        let archive = self.save();
        let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
            .args(["verify", archive.to_str().unwrap(), self.path().to_str().unwrap(), "--format", "json"])
            .args(more)
            .env_remove("GITHUB_ACTIONS")
            .output()
            .unwrap();
        std::fs::remove_file(&archive).unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}{}", text(&output.stdout), text(&output.stderr)))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        drop(docker(&["image", "rm", "--force", &self.name]));
    }
}

fn copy(from: &str, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(std::fs::canonicalize(from).unwrap(), to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn differences(document: &Value) -> Vec<String> {
    let items = document["differences"].as_array().unwrap();
    items
        .iter()
        .map(|d| format!("{} {}", d["change"].as_str().unwrap(), d["path"].as_str().unwrap()))
        .collect()
}

/// Time that a builder takes for an older one, in whole seconds: layers have no others.
fn past() -> SystemTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(now - 3600)
}

fn service(name: &str) -> Project {
    let dockerfile = format!(
        "{BASE}\
         FROM base AS builder\n\
         WORKDIR /app\n\
         COPY . /app\n\
         RUN mkdir .venv && echo made > .venv/marker\n\
         FROM base\n\
         WORKDIR /app\n\
         COPY --from=builder /app/.venv /app/.venv\n\
         COPY . /app\n\
         RUN adduser -D -H worker; chown -R 1000 /app && chmod -R go-w /app\n\
         CMD [\"python\", \"-m\", \"service\"]\n"
    );
    Project::new(
        name,
        &[
            ("Dockerfile", &dockerfile),
            (".dockerignore", ".git\n**/*.log\n"),
            ("service/__main__.py", "from service import settings\n"),
            ("service/settings.py", "TIMEOUT = 30\n"),
            ("service/with space/ü.txt", "x\n"),
            ("service/current", "-> settings.py"),
            ("run.sh", "#!/bin/sh\nexec true\n"),
            ("debug.log", "left out\n"),
        ],
    )
}

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn a_fresh_image_is_faithful() {
    let project = service("fresh");
    project.build();
    let document = project.verify(&[]);
    assert_eq!(document["verdict"], "faithful", "{document:#}");
    // Each file of the context once, in the final stage; the base's are in .root, which is copied as well.
    assert_eq!(document["checked"], 9, "{document:#}");
    project.write("service/settings.py", "TIMEOUT = 60\n");
    project.write("service/new.py", "");
    let document = project.verify(&[]);
    assert_eq!(differences(&document), ["missing service/new.py", "modified service/settings.py"]);
    let line = document["differences"][1]["instruction"]["line"].as_u64();
    assert_eq!(line, Some(11), "{document:#}");
    println!("a fresh image of a two-stage service is faithful, and edits after it are found");
}

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn what_commands_do_to_files_is_seen_in_the_layers() {
    let dockerfile = format!(
        "{BASE}\
         COPY . /app\n\
         WORKDIR /app\n\
         RUN rm secret && rm -rf cache && mkdir cache && echo fresh > cache/new && echo more >> a && ln b hard\n\
         RUN touch b && chmod 700 run.sh\n\
         COPY tool /bin/tool\n\
         ADD packed.tar /unpacked/\n"
    );
    let project = Project::new(
        "commands",
        &[
            ("Dockerfile", &dockerfile),
            (".dockerignore", ".root/**\n!.root\n"),
            ("secret", "s"),
            ("cache/old", "o"),
            ("a", "a\n"),
            ("b", "b\n"),
            ("run.sh", "#!/bin/sh\n"),
            ("tool", "#!/bin/sh\n"),
        ],
    );
    // The base comes from the context as well.
    project.write(".dockerignore", "");
    let packed = project.path().join("packed.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(packed).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(1);
    tar.append_data(&mut header, "inner/file", &b"i"[..]).unwrap();
    tar.into_inner().unwrap();
    project.build();
    let document = project.verify(&[]);
    assert_eq!(differences(&document), ["modified a", "missing cache/old", "missing secret"], "{document:#}");
    for difference in document["differences"].as_array().unwrap() {
        assert_eq!(difference["by"], "run", "{difference:#}");
        assert_eq!(difference["instruction"]["line"], 6, "{difference:#}");
    }
    assert_eq!(project.verify(&["--accept-run"])["verdict"], "faithful");
    println!("deleted, emptied and appended files are told from those that were only touched");
}

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn an_edit_that_keeps_size_and_time_is_caught() {
    let project = service("same-stat");
    let time = past();
    // Content that no build had before: a cached layer would bring the time of its own build.
    let own = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    project.write("service/settings.py", &format!("TIMEOUT = 30  # {own}\n"));
    project.set_time("service/settings.py", time);
    project.build();
    assert_eq!(project.verify(&[])["verdict"], "faithful");
    project.write("service/settings.py", &format!("TIMEOUT = 60  # {own}\n"));
    project.set_time("service/settings.py", time);
    let log = project.build();
    let document = project.verify(&[]);
    if document["verdict"] == "faithful" {
        panic!("this engine transfers a file of the same size and time after all:\n{log}");
    }
    assert_eq!(differences(&document), ["modified service/settings.py"]);
    assert_eq!(document["differences"][0]["cause"]["kind"], "same-size-and-time", "{document:#}");
    println!("an edit that keeps size and time is shipped stale by this engine, and caught");
}

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn an_image_of_an_older_commit_is_caught() {
    let project = service("commit");
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.test", "-C"]).arg(project.path());
        let out = command.args(args).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
    };
    project.write(".gitignore", ".root\n");
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "First"]);
    project.build();
    for (number, title) in ["Second", "Third"].iter().enumerate() {
        project.write("service/settings.py", &format!("TIMEOUT = {number}\n"));
        git(&["commit", "-q", "-a", "-m", title]);
    }
    let document = project.verify(&["--since", "HEAD~2"]);
    assert_eq!(differences(&document), ["modified service/settings.py"]);
    let note = document["notes"][0].as_str().unwrap();
    assert!(note.starts_with("all that is different is as in commit") && note.ends_with("First)"), "{note}");
    println!("an image of an older commit is caught, and the commit is named");
}

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn stale_output_of_make_is_caught() {
    let dockerfile = format!(
        "{BASE}\
         FROM base AS build\n\
         COPY src /src\n\
         RUN --mount=type=cache,target=/obj,id=layerlint-make make -C /src && cp /obj/app /app\n\
         FROM scratch\n\
         COPY --from=build /app /srv/app\n"
    );
    let makefile = "/obj/app: app.in\n\tcp app.in /obj/app\n";
    let project = Project::new(
        "make",
        &[("Dockerfile", &dockerfile), ("src/Makefile", makefile), ("src/app.in", "version one\n")],
    )
    .with_make();
    let by_hand = ["--root", "/srv/app=src/app.in"];
    project.set_time("src/app.in", past());
    project.build();
    assert_eq!(project.verify(&by_hand)["verdict"], "faithful");
    // Nothing of the source tree is in the image as such.
    assert_eq!(project.verify(&[])["verdict"], "undecided");
    // A checkout that restores times.
    project.write("src/app.in", "version 2, which is newer\n");
    project.set_time("src/app.in", past());
    let log = project.build();
    let document = project.verify(&by_hand);
    if document["verdict"] == "faithful" {
        panic!("make compiled although its sources are older:\n{log}");
    }
    assert_eq!(differences(&document), ["modified src/app.in"], "{document:#}");
    println!("stale output of make in a cache mount is shipped by this engine, and caught");
}
