//! What comparing an image costs, beside the bare work: unpacking the archive and its layers, and hashing every file,
//! as `docker save | tar x | sha256sum` does, here without a disk.
//!
//! `LAYERLINT_BENCH_IMAGE=FILE cargo bench --bench verify` measures an archive of your own.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

fn main() {
    divan::main();
    // As `cargo test --benches` calls it: every benchmark once, no figures.
    if !std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        figures();
    }
}

static LAID: LazyLock<Laid> = LazyLock::new(Laid::new);

/// An image of four layers with 20,000 files and 200 MB, of which the last layer is the context.
struct Laid {
    _home: tempfile::TempDir,
    image: PathBuf,
    context: PathBuf,
}

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn content(number: usize) -> Vec<u8> {
    // Neither all alike nor all random, as programs are.
    let length = [100, 800, 3000, 9000, 30_000, 20_000][number % 6];
    (0..length).map(|at| ((at * (number + 7)) >> 3) as u8 ^ (at as u8 & 15)).collect()
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}

impl Laid {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let context = home.path().join("context");
        std::fs::create_dir_all(&context).unwrap();
        std::fs::write(context.join("Dockerfile"), "FROM base\nCOPY src /app\n").unwrap();
        let mut layers = Vec::new();
        for layer in 0..4 {
            let mut tar = tar::Builder::new(Vec::new());
            for file in 0..5000 {
                let (number, folder) = (layer * 5000 + file, file / 100);
                let bytes = content(number);
                if layer == 3 {
                    let folder = context.join(format!("src/d{folder}"));
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(folder.join(format!("f{file}")), &bytes).unwrap();
                }
                let root = if layer == 3 { "app" } else { "usr" };
                entry(&mut tar, &format!("{root}/d{folder}/f{file}"), &bytes);
            }
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut packed, &tar.into_inner().unwrap()).unwrap();
            layers.push(packed.finish().unwrap());
        }
        let mut archive = tar::Builder::new(Vec::new());
        let mut blob = |bytes: &[u8]| {
            let digest = sha(bytes);
            entry(&mut archive, &format!("blobs/sha256/{digest}"), bytes);
            format!("{{\"digest\":\"sha256:{digest}\",\"size\":{}}}", bytes.len())
        };
        let layers: Vec<String> = layers.iter().map(|l| blob(l)).collect();
        let made = ["ADD rootfs /", "RUN install", "RUN more", "COPY src /app # buildkit"];
        let history: Vec<String> = made.iter().map(|by| format!("{{\"created_by\":\"{by}\"}}")).collect();
        let config =
            format!("{{\"os\":\"linux\",\"architecture\":\"amd64\",\"history\":[{}]}}", history.join(","));
        let config = blob(config.as_bytes());
        let manifest = blob(format!("{{\"config\":{config},\"layers\":[{}]}}", layers.join(",")).as_bytes());
        entry(&mut archive, "index.json", format!("{{\"manifests\":[{manifest}]}}").as_bytes());
        let own = std::env::var_os("LAYERLINT_BENCH_IMAGE").map(PathBuf::from);
        let image = own.unwrap_or_else(|| {
            let path = home.path().join("image.tar");
            std::fs::write(&path, archive.into_inner().unwrap()).unwrap();
            path
        });
        Self { image, context, _home: home }
    }
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn verify_an_image_of_20_000_files() {
    verify(&LAID);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn unpack_and_hash_20_000_files() {
    divan::black_box(unpack_and_hash(&LAID.image));
}

fn verify(laid: &Laid) -> Option<u64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
    command.arg("verify").arg(&laid.image).arg(&laid.context).env_remove("GITHUB_ACTIONS");
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    // The most memory that it ever held, as long as it runs.
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        peak = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).or(peak);
        if child.try_wait().unwrap().is_some() {
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The bare work, on one thread, in the order of the archive.
fn unpack_and_hash(image: &Path) -> usize {
    let mut files = 0;
    let mut archive = tar::Archive::new(std::io::BufReader::new(std::fs::File::open(image).unwrap()));
    for blob in archive.entries().unwrap() {
        let mut blob = std::io::BufReader::new(blob.unwrap());
        if !std::io::BufRead::fill_buf(&mut blob).unwrap().starts_with(&[0x1f, 0x8b]) {
            continue;
        }
        let mut layer = tar::Archive::new(flate2::bufread::GzDecoder::new(blob));
        let mut buffer = vec![0; 128 << 10];
        for file in layer.entries().unwrap() {
            let mut file = file.unwrap();
            let mut hash = Sha256::new();
            loop {
                match file.read(&mut buffer).unwrap() {
                    0 => break,
                    n => hash.update(&buffer[..n]),
                }
            }
            divan::black_box(hash.finalize());
            files += 1;
        }
    }
    files
}

fn figures() {
    let laid = &*LAID;
    let (mut work, mut bare, mut peak) = (f64::MAX, f64::MAX, None);
    for _ in 0..5 {
        let start = Instant::now();
        unpack_and_hash(&laid.image);
        bare = bare.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        peak = verify(laid).max(peak);
        work = work.min(start.elapsed().as_secs_f64());
    }
    println!(
        "verify {work:.2} s, bare unpacking and hashing {bare:.2} s on one thread: ratio {:.2}",
        work / bare
    );
    if let Some(peak) = peak {
        let size = std::fs::metadata(&laid.image).map_or(0, |m| m.len());
        println!("memory at its most: {} MB, image: {} MB packed", peak / 1000, size / 1_000_000);
    }
}
