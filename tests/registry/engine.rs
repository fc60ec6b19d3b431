//! Debian's `docker-registry`, on a free port of this machine, with its data in a folder that goes with it.

use crate::image::sha;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub(crate) struct Registry {
    child: Child,
    port: u16,
    data: TempDir,
    scheme: &'static str,
    authorization: Option<String>,
}

impl Registry {
    /// Starts it; none if it is not installed. Options: `htpasswd` (the content), `certificate` and `key` (files).
    pub(crate) fn start(options: &[(&str, &str)]) -> Option<Self> {
        let option = |name: &str| options.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().display();
        let mut config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: \"{folder}/data\"}}}}\nhttp:\n  addr: \"127.0.0.1:0\"\n  secret: x\n"
        );
        let mut authorization = None;
        if let (Some(certificate), Some(key)) = (option("certificate"), option("key")) {
            config += &format!("  tls: {{certificate: \"{certificate}\", key: \"{key}\"}}\n");
        }
        if let Some(htpasswd) = option("htpasswd") {
            std::fs::write(data.path().join("htpasswd"), htpasswd).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: here, path: \"{folder}/htpasswd\"}}}}\n");
            authorization = Some(format!("Basic {}", super::basic()));
        }
        let file = data.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("docker-registry: {error}"),
        };
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let port = loop {
            let Some(Ok(line)) = lines.next() else { panic!("docker-registry does not start: {said}") };
            if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break digits.parse().unwrap();
            }
            said += &line;
        };
        // It must never wait for somebody to read what it says.
        std::thread::spawn(move || lines.for_each(drop));
        let scheme = if option("certificate").is_some() { "https" } else { "http" };
        Some(Self { child, port, data, scheme, authorization })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address())
    }

    fn send<S>(&self, request: ureq::RequestBuilder<S>) -> ureq::RequestBuilder<S> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// Uploads a blob.
    pub(crate) fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        assert_eq!(self.scheme, "http");
        let digest = sha(bytes);
        let start = format!("http://{}/v2/{repository}/blobs/uploads/", self.address());
        let answer = self.send(ureq::post(&start)).send_empty().unwrap();
        let place = answer.headers()["location"].to_str().unwrap().to_owned();
        let request = self.send(ureq::put(&place)).query("digest", &digest);
        request.header("content-type", "application/octet-stream").send(bytes).unwrap();
        digest
    }

    /// Uploads a manifest or index.
    pub(crate) fn manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) {
        let place = format!("http://{}/v2/{repository}/manifests/{tag}", self.address());
        self.send(ureq::put(&place)).header("content-type", kind).send(bytes).unwrap();
    }

    /// Uploads everything of an OCI layout.
    pub(crate) fn push(&self, layout: &Path, repository: &str, tag: &str) {
        let read = |digest: &str| std::fs::read(layout.join("blobs/sha256").join(&digest[7..])).unwrap();
        let index: Value =
            serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
        let top = &index["manifests"][0];
        let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
        let bytes = read(&text(top, "digest"));
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let image = |manifest: &Value| {
            let layers = manifest["layers"].as_array().into_iter().flatten();
            for blob in layers.chain([&manifest["config"]]) {
                self.blob(repository, &read(&text(blob, "digest")));
            }
        };
        for entry in document["manifests"].as_array().into_iter().flatten() {
            let digest = text(entry, "digest");
            let bytes = read(&digest);
            image(&serde_json::from_slice(&bytes).unwrap());
            self.manifest(repository, &digest, &text(entry, "mediaType"), &bytes);
        }
        if document["config"].is_object() {
            image(&document);
        }
        self.manifest(repository, tag, &text(top, "mediaType"), &bytes);
    }

    /// Takes the bytes of a blob away behind its back.
    pub(crate) fn lose(&self, digest: &str) {
        let hex = &digest[7..];
        let blobs = self.data.path().join("data/docker/registry/v2/blobs/sha256");
        std::fs::remove_dir_all(blobs.join(&hex[..2]).join(hex)).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
