//! Images of an engine, which is played here: what it says on its socket is recorded beside the images.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// An engine that gives one answer to whoever asks.
struct Engine {
    folder: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Engine {
    fn answering(answer: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                log.lock().unwrap().push(first);
                // Who has read enough goes away.
                let _ = (&stream).write_all(&answer);
            }
        });
        Self { folder, asked }
    }

    /// With that archive in chunks, as Docker's sends it.
    fn with(archive: &Path) -> Self {
        let mut answer =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_vec();
        for chunk in std::fs::read(archive).unwrap().chunks(1000) {
            answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
            answer.extend(chunk);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        Self::answering(answer)
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("engine.sock").display())
    }
}

fn layerlint(args: &[&str], host: &str) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .args(args)
        .stdin(Stdio::null())
        .env("DOCKER_HOST", host)
        .env("NO_COLOR", "1")
        .env_remove("GITHUB_ACTIONS")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn recorded() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors/images");
    let cases = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    cases.filter(|case| case.join("image.docker.tar").exists()).collect()
}

#[test]
fn an_image_of_an_engine_is_compared_as_its_archive_is() {
    let mut compared = 0;
    for case in recorded() {
        let source = case.join("source").display().to_string();
        let archive = case.join("image.docker.tar");
        let engine = Engine::with(&archive);
        let verify = |image: &str| {
            let args = ["verify", image, &source, "--format", "json"];
            let (code, out, err) = layerlint(&args, &engine.host());
            let mut document: Value =
                serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
            document.as_object_mut().unwrap().remove("image");
            (code, document)
        };
        assert_eq!(verify("docker://team/app:1.0"), verify(archive.to_str().unwrap()), "{}", case.display());
        assert_eq!(*engine.asked.lock().unwrap(), ["GET /images/team/app:1.0/get HTTP/1.1"]);
        compared += 1;
    }
    assert!(compared > 5, "{compared} images");
}

#[test]
fn what_an_engine_does_not_give_is_told() {
    let case = recorded().remove(0);
    let source = case.join("source").display().to_string();
    let mut all = Vec::new();
    let mut told = |image: &str, host: &str| {
        let (code, out, err) = layerlint(&["verify", image, &source], host);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        all.push(err);
    };
    let missing = Engine::answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}".to_vec());
    told("docker://app", &missing.host());
    let said = b"HTTP/1.1 500 Internal Server Error\r\n\r\n{\"message\":\"no space left\"}".to_vec();
    let failing = Engine::answering(said);
    told("docker://app", &failing.host());
    let whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n100\r\nabc".to_vec();
    told("docker://app", &Engine::answering(whole).host());
    told("docker://app", "unix:///nowhere/engine.sock");
    told("docker://app", "tcp://127.0.0.1:2375");
    told("docker://", &missing.host());
    told("docker://../info", &missing.host());
    let failing = failing.host();
    let socket = failing.strip_prefix("unix://").unwrap();
    insta::assert_snapshot!(all.concat().replace(socket, "SOCKET"), @r"
    error: the engine has no image `app`
    help: `docker image ls` lists what it has; nothing is pulled here
    error: the engine at SOCKET answers 500: no space left
    error: cannot read docker://app: unexpected end of file
    error: cannot reach the engine at /nowhere/engine.sock: no such file or directory
    help: DOCKER_HOST says where an engine listens, as `unix:///PATH`; `docker context ls` shows it
    error: the engine at tcp://127.0.0.1:2375 is not asked: only engines behind a socket on this machine are
    help: pipe the image in: `docker save NAME | layerlint verify -`
    error: `` is neither the name of an image nor an image ID
    error: `../info` is neither the name of an image nor an image ID
    ");
}

#[test]
fn only_a_name_of_an_engine_asks_it() {
    let case = recorded().remove(0);
    let engine = Engine::answering(Vec::new());
    let archive = case.join("image.docker.tar").display().to_string();
    let source = case.join("source").display().to_string();
    layerlint(&["verify", &archive, &source], &engine.host());
    let (code, _, err) = layerlint(&["verify", "app:1", &source], &engine.host());
    assert_eq!(code, Some(2));
    assert!(err.contains("`layerlint verify docker://app:1`"), "{err}");
    layerlint(&["keys", &source], &engine.host());
    assert_eq!(*engine.asked.lock().unwrap(), Vec::<String>::new());
}
