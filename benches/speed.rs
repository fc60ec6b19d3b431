//! How long layerlint takes as a program, from exec to exit, beside what its work costs at the least.
//!
//! `cargo bench` prints divan's table of wall time, then what a table of wall times cannot hold: seconds of CPU, and
//! the ratio of `keys` to a bare walk that reads and hashes the same files in the same run.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::expect_used)]

use base64::Engine;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn main() {
    divan::main();
    // As `cargo test --benches` calls it: every benchmark once, no figures.
    if !std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        figures();
    }
}

/// An ordinary Dockerfile with its context.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn check_one_file() {
    layerlint(Path::new(ROOT), &["check", "fixtures/projects/python-service"]);
}

/// The least that any program costs here, for comparison.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn start_and_exit() {
    layerlint(Path::new(ROOT), &["--version"]);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn check_a_thousand_dockerfiles() {
    layerlint(&PILE.dir, &["check", "."]);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn keys_of_50_000_files() {
    layerlint(&CONTEXT, &["keys", "."]);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn walk_and_hash_50_000_files() {
    divan::black_box(walk_and_hash(&CONTEXT));
}

fn figures() {
    let cpu = (0..5)
        .map(|_| {
            let before = cpu_of_children();
            check_a_thousand_dockerfiles();
            cpu_of_children().zip(before).map(|(after, before)| after - before)
        })
        .min()
        .flatten();
    let cpu = cpu.map_or("unknown here".to_owned(), |cpu| format!("{:.2} s", cpu.as_secs_f64()));
    println!("\ncheck of 1,000 Dockerfiles ({}): {cpu} of CPU (goal: under 1 s)", PILE.origin);

    // Both in turn, so that a slow moment of the machine falls on both; the best of each is the least disturbed.
    let (mut bare, mut keys) = (Duration::MAX, Duration::MAX);
    for _ in 0..15 {
        let start = Instant::now();
        walk_and_hash_50_000_files();
        bare = bare.min(start.elapsed());
        let start = Instant::now();
        keys_of_50_000_files();
        keys = keys.min(start.elapsed());
    }
    let (files, bytes) = walk_and_hash(&CONTEXT);
    println!(
        "keys of {files} files, {} MB: {keys:.0?}; walking, reading and hashing them on as many threads: {bare:.0?}; \
         ratio {:.2} (goal: at most 1.3)",
        bytes / 1_000_000,
        keys.as_secs_f64() / bare.as_secs_f64()
    );
}

/// Runs the program and throws away what it says.
fn layerlint(dir: &Path, args: &[&str]) {
    let status = Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    // 4: the pile has files that BuildKit refuses, too.
    assert!(matches!(status.code(), Some(0 | 1 | 4)), "{args:?}: {status}");
}

/// CPU time of ended child processes, user and system; Linux only.
fn cpu_of_children() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which ends with the last `)`, state is field 3; cutime and cstime are fields 16 and 17.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    // The kernel reports in hundredths of a second to every program, whatever its own clock is.
    Some(Duration::from_millis(ticks * 10))
}

/// Number and bytes of the files below a directory, each read and hashed, on all processors.
fn walk_and_hash(dir: &Path) -> (u64, u64) {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let (files, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    ignore::WalkBuilder::new(dir).standard_filters(false).threads(threads).build_parallel().run(|| {
        let mut buffer = vec![0; 128 * 1024];
        let (files, bytes) = (&files, &bytes);
        Box::new(move |entry| {
            let entry = entry.unwrap();
            if entry.file_type().is_some_and(|kind| kind.is_file()) {
                let mut file = std::fs::File::open(entry.path()).unwrap();
                let mut hash = Sha256::new();
                loop {
                    let read = file.read(&mut buffer).unwrap();
                    if read == 0 {
                        break;
                    }
                    hash.update(&buffer[..read]);
                    bytes.fetch_add(read as u64, Relaxed);
                }
                divan::black_box(hash.finalize());
                files.fetch_add(1, Relaxed);
            }
            ignore::WalkState::Continue
        })
    });
    (files.into_inner(), bytes.into_inner())
}

/// A thousand Dockerfiles, each in its own directory.
struct Pile {
    dir: PathBuf,
    origin: &'static str,
}

static PILE: LazyLock<Pile> = LazyLock::new(|| {
    let shared =
        std::env::var_os("LAYERLINT_SHARED").map_or(Path::new(ROOT).join("../shared"), PathBuf::from);
    let corpus = shared.join("corpus/dockerfiles.jsonl.gz");
    let (texts, origin) = match std::fs::File::open(corpus) {
        Ok(file) => (collected(file), "of public repositories"),
        Err(_) => ((0..1000).map(|n| generated(n).into_bytes()).collect(), "generated"),
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pile");
    let _ = std::fs::remove_dir_all(&dir);
    // A repository of its own: nothing above it may become the context of one of them.
    std::fs::create_dir_all(dir.join(".git")).unwrap();
    for (n, text) in texts.iter().enumerate() {
        let folder = dir.join(format!("project-{n:04}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("Dockerfile"), text).unwrap();
    }
    Pile { dir, origin }
});

/// The first thousand Dockerfiles of a file that has one JSON object a line.
fn collected(file: std::fs::File) -> Vec<Vec<u8>> {
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    let bytes = |line: std::io::Result<String>| {
        let entry: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        match entry["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => {
                let text = entry["text_b64"].as_str().unwrap();
                base64::engine::general_purpose::STANDARD.decode(text).unwrap()
            }
        }
    };
    lines.take(1000).map(bytes).collect()
}

/// A Dockerfile of usual length: two stages, packages, variables, copies, a heredoc now and then.
fn generated(n: usize) -> String {
    let mut text =
        format!("# service {n}\nARG VERSION=1.{n}\nFROM debian:12.{} AS build\nWORKDIR /src\n", n % 10);
    for step in 0..n % 17 {
        let _ = writeln!(text, "ENV NAME_{step}=value-{n} OTHER_{step}=\"$NAME_{step}:/opt/{n}\"");
        let _ = writeln!(text, "COPY part-{step}/ ./part-{step}/");
        let _ = writeln!(
            text,
            "RUN apt-get update \\\n && apt-get install -y --no-install-recommends \\\n    gcc make lib{step}-dev \\\n \
             && if [ -f part-{step}/configure ]; then cd part-{step} && ./configure --prefix=/usr; fi \\\n \
             && make -C part-{step} -j\"$(nproc)\" install \\\n && rm -rf /var/lib/apt/lists/*"
        );
    }
    if n.is_multiple_of(5) {
        text.push_str("RUN <<EOF\nset -e\nfor tool in a b c; do\n  echo $tool > /etc/$tool\ndone\nEOF\n");
    }
    text.push_str("FROM debian:12\nCOPY --from=build /usr /usr\nUSER nobody\nCMD [\"service\"]\n");
    text
}

/// A context of 50,000 files of 4 KiB in the mean, most of them smaller, in 1,000 folders.
static CONTEXT: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("context");
    // The Dockerfile is written last: when it is there, an earlier run has left a whole context.
    if dir.join("Dockerfile").exists() {
        walk_and_hash(&dir);
        return dir;
    }
    // Any cheap generator does: sizes must only be spread and be the same in every run.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let filler: Vec<u8> = (0..1 << 16).map(|_| next().to_le_bytes()[0]).collect();
    for folder in 0..1000 {
        let folder = dir.join(format!("src/part-{:02}/module-{:02}", folder / 40, folder % 40));
        std::fs::create_dir_all(&folder).unwrap();
        for file in 0..50 {
            // The square of an even spread: many small files, some large ones.
            let spread = next() % 111;
            let size = (spread * spread) as usize;
            let start = next() as usize % (filler.len() - size);
            std::fs::write(folder.join(format!("file-{file}.txt")), &filler[start..start + size]).unwrap();
        }
    }
    std::fs::write(dir.join(".dockerignore"), ".git\n**/node_modules\n**/*.log\ntarget\n").unwrap();
    let dockerfile = "FROM debian:12\nWORKDIR /app\nCOPY . .\nRUN make\n";
    std::fs::write(dir.join("Dockerfile"), dockerfile).unwrap();
    // The first read is the disk's, not ours.
    walk_and_hash(&dir);
    dir
});
