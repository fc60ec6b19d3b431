//! What the rules believe of cargo, tried with the real one: for every cure and every trap, a placeholder is compiled,
//! sources with an older time are put over it, and the program that comes out is run. A rule must say that a crate
//! ships as its placeholder exactly when it does.
//!
//! Needs `cargo` and a POSIX shell, but no network; says that it skipped where there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// A project, its placeholder RUN, and its final RUN.
struct Case {
    /// Manifests and sources; a source says REAL and the name of its crate.
    files: &'static [(&'static str, &'static str)],
    /// Copied before the placeholder.
    manifests: &'static [&'static str],
    placeholder: &'static str,
    /// Copied after it.
    sources: &'static [&'static str],
    last: &'static str,
    /// Programs that come out: path of the file and root source file.
    programs: &'static [(&'static str, &'static str)],
}

const SINGLE: &[(&str, &str)] = &[
    ("Cargo.toml", "[package]\nname = \"svc\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"svc\"\nversion = \"0.1.0\"\n"),
    ("src/main.rs", "fn main() { println!(\"REAL\"); }\n"),
];

/// `tool` depends on nothing, `api` on `core`.
const SPACE: &[(&str, &str)] = &[
    ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\", \"bin/*\"]\nresolver = \"2\"\n"),
    ("crates/core/Cargo.toml", "[package]\nname = \"mycore\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("crates/core/src/lib.rs", "pub fn word() -> &'static str { \"REAL\" }\n"),
    (
        "bin/api/Cargo.toml",
        "[package]\nname = \"api\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nmycore = { path = \"../../crates/core\" }\n",
    ),
    ("bin/api/src/main.rs", "fn main() { println!(\"{}\", mycore::word()); }\n"),
    ("bin/tool/Cargo.toml", "[package]\nname = \"tool\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("bin/tool/src/main.rs", "fn main() { println!(\"REAL\"); }\n"),
];

const SPACE_PROGRAMS: &[(&str, &str)] = &[
    ("target/release/api", "/app/bin/api/src/main.rs"),
    ("target/release/tool", "/app/bin/tool/src/main.rs"),
];

const SPACE_PLACEHOLDER: &str = "for m in crates/core bin/api bin/tool; do mkdir -p $m/src; done; touch crates/core/src/lib.rs; \
     for m in api tool; do echo 'fn main() { println!(\"DUMMY\"); }' > bin/$m/src/main.rs; done; cargo build --release";

const PLACEHOLDER: &str = "mkdir src && echo 'fn main() { println!(\"DUMMY\"); }' > src/main.rs && cargo build --release && rm -rf src";

const fn single(placeholder: &'static str, last: &'static str) -> Case {
    Case {
        files: SINGLE,
        manifests: &["Cargo.toml", "Cargo.lock"],
        placeholder,
        sources: &["src"],
        last,
        programs: &[("target/release/svc", "/app/src/main.rs")],
    }
}

const fn space(last: &'static str) -> Case {
    Case {
        files: SPACE,
        manifests: &["Cargo.toml", "crates/core/Cargo.toml", "bin/api/Cargo.toml", "bin/tool/Cargo.toml"],
        placeholder: SPACE_PLACEHOLDER,
        sources: &["crates", "bin"],
        last,
        programs: SPACE_PROGRAMS,
    }
}

const CASES: &[Case] = &[
    single(PLACEHOLDER, "cargo build --release"),
    single(PLACEHOLDER, "touch src/main.rs && cargo build --release"),
    single(PLACEHOLDER, "touch src && cargo build --release"),
    single(PLACEHOLDER, "touch src/* && cargo build --release"),
    single(PLACEHOLDER, "find . -name '*.rs' -exec touch {} + && cargo build --release"),
    single(PLACEHOLDER, "find src -type f | xargs touch && cargo build --release"),
    single(PLACEHOLDER, "find . -type d -exec touch {} + && cargo build --release"),
    single(PLACEHOLDER, "cargo clean --release -p svc && cargo build --release"),
    single(PLACEHOLDER, "cargo clean -r -p svc; cargo build -r"),
    single(PLACEHOLDER, "cargo clean --profile release -p svc && cargo build --release"),
    single(PLACEHOLDER, "cargo clean -p svc && cargo build --release"),
    single(PLACEHOLDER, "cargo clean --release && cargo build --release"),
    single(PLACEHOLDER, "cargo clean && cargo build --release"),
    single(PLACEHOLDER, "rm -rf target && cargo build --release"),
    single(PLACEHOLDER, "rm -rf target/release && cargo build --release"),
    single(PLACEHOLDER, "rm -f target/release/svc && cargo build --release"),
    single(PLACEHOLDER, "rm -rf target/release/.fingerprint/svc-* && cargo build --release"),
    single(PLACEHOLDER, "rm -f target/release/deps/svc* && cargo build --release"),
    single(PLACEHOLDER, "rm -rf target/release/incremental && cargo build --release"),
    single(PLACEHOLDER, "rm -rf target/debug && cargo build --release"),
    single(
        PLACEHOLDER,
        "cargo install --path . --force --root /tmp/layerlint-nowhere 2>/dev/null; cargo build --release",
    ),
    single(PLACEHOLDER, "RUSTFLAGS='-C debuginfo=1' cargo build --release"),
    single(PLACEHOLDER, "CARGO_INCREMENTAL=1 cargo build --release"),
    single(PLACEHOLDER, "CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo build --release"),
    single(PLACEHOLDER, "cargo build --release --bin svc"),
    single(PLACEHOLDER, "cargo build --release --offline -j 1 -q"),
    single(PLACEHOLDER, "cargo rustc --release"),
    single(PLACEHOLDER, "cargo run --release"),
    single(PLACEHOLDER, "echo >> src/main.rs && cargo build --release"),
    single(PLACEHOLDER, "sed -i 's/REAL/REAL/' src/main.rs && cargo build --release"),
    single(PLACEHOLDER, "cp src/main.rs /tmp/layerlint-main.rs && cargo build --release"),
    single("cargo init -q --name svc . 2>/dev/null; cargo build --release", "cargo build --release"),
    single(
        "rm Cargo.toml && cargo init -q --vcs none --name svc && cargo build --release",
        "cargo build --release",
    ),
    single("mkdir src && touch src/main.rs && cargo fetch; rm -r src", "cargo build --release"),
    single("mkdir src && echo 'fn main() {}' > src/main.rs && cargo build", "cargo build --release"),
    single(
        "mkdir src && echo 'fn main() {}' > src/main.rs && cargo check --release",
        "cargo build --release",
    ),
    single(
        "mkdir src && echo 'fn main() {}' > src/main.rs && CARGO_TARGET_DIR=other cargo build --release",
        "cargo build --release",
    ),
    single(
        "mkdir src && echo 'pub fn f() {}' > src/lib.rs && cargo build --release && rm -r src",
        "cargo build --release",
    ),
    space("cargo build --release"),
    space("touch crates/*/src/lib.rs && cargo build --release"),
    space("touch bin/*/src/main.rs && cargo build --release"),
    space("touch bin/**/*.rs && cargo build --release"),
    space("touch */*/src/*.rs && cargo build --release"),
    space("find crates bin -name main.rs -exec touch {} \\; && cargo build --release"),
    space("cargo clean --release -p tool && cargo build --release"),
    space("cargo clean --release -p mycore && cargo build --release"),
    space("for p in mycore api tool; do cargo clean --release -p $p; done; cargo build --release"),
    space(
        "touch crates/core/src/lib.rs && cargo build --release -p api && touch bin/tool/src/main.rs && cargo build --release",
    ),
    space("rm -rf target/release/.fingerprint/tool-* && cargo build --release --workspace"),
    space(
        "touch bin/api/src/main.rs && cd bin/tool && cargo build --release; cd ../.. && cargo build --release",
    ),
];

/// A library with its binary, a second binary, an example, a build script and a binary somewhere else.
const RICH: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[package]\nname = \"rich\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[features]\nextra = []\n[profile.dist]\ninherits = \"release\"\n[[bin]]\nname = \"odd\"\npath = \"cmd/odd.rs\"\n",
    ),
    ("src/lib.rs", "pub fn word() -> &'static str { \"REAL\" }\n"),
    ("src/main.rs", "fn main() { println!(\"REAL\"); }\n"),
    ("src/bin/two.rs", "fn main() { println!(\"REAL\"); }\n"),
    ("cmd/odd.rs", "fn main() { println!(\"REAL\"); }\n"),
];

const fn rich(placeholder: &'static str, last: &'static str) -> Case {
    Case {
        files: RICH,
        manifests: &["Cargo.toml"],
        placeholder,
        sources: &["src", "cmd"],
        last,
        programs: &[
            ("target/release/rich", "/app/src/main.rs"),
            ("target/release/two", "/app/src/bin/two.rs"),
            ("target/release/odd", "/app/cmd/odd.rs"),
        ],
    }
}

const RICH_BUILT: &str = "mkdir -p src/bin cmd; for f in src/main.rs src/bin/two.rs cmd/odd.rs; do echo 'fn main() { println!(\"DUMMY\"); }' > $f; done; touch src/lib.rs; cargo build --release; rm -r src cmd";

/// What is beside the package in these cases: a build script that comes with the real sources.
const SCRIPTED: &[(&str, &str)] = &[
    ("Cargo.toml", "[package]\nname = \"svc\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("src/main.rs", "fn main() { println!(\"REAL\"); }\n"),
    ("build.rs", "fn main() {}\n"),
];

const fn scripted(placeholder: &'static str, sources: &'static [&'static str], last: &'static str) -> Case {
    Case {
        files: SCRIPTED,
        manifests: &["Cargo.toml"],
        placeholder,
        sources,
        last,
        programs: &[("target/release/svc", "/app/src/main.rs")],
    }
}

const MORE: &[Case] = &[
    rich(RICH_BUILT, "cargo build --release"),
    rich(RICH_BUILT, "touch src/lib.rs && cargo build --release"),
    rich(RICH_BUILT, "touch src/lib.rs src/main.rs && cargo build --release --features extra"),
    rich(RICH_BUILT, "touch src/lib.rs src/main.rs src/bin/two.rs cmd/odd.rs && cargo build --release"),
    rich(RICH_BUILT, "touch src/*.rs && cargo build --release"),
    rich(RICH_BUILT, "find src -name '*.rs' -exec touch '{}' ';' && cargo build --release"),
    rich(RICH_BUILT, "touch src/main.rs && cargo build --release"),
    rich(RICH_BUILT, "rm -f target/release/deps/rich* && cargo build --release"),
    rich(RICH_BUILT, "rm -f target/release/deps/*rich* && cargo build --release"),
    rich(RICH_BUILT, "rm -f target/release/deps/two* target/release/deps/librich* && cargo build --release"),
    rich(RICH_BUILT, "find target/release -name '*odd*' -delete && cargo build --release"),
    rich(RICH_BUILT, "cargo build --release --bin two; cargo build --release"),
    single(PLACEHOLDER, "cargo build --release --target-dir target"),
    single(PLACEHOLDER, "cargo build --release --manifest-path ./Cargo.toml"),
    single(PLACEHOLDER, "cd src && cargo build --release && cd .."),
    single(PLACEHOLDER, "FLAGS='--release --offline'; cargo build $FLAGS"),
    single(PLACEHOLDER, "if [ -f Cargo.toml ]; then touch src/main.rs; fi; cargo build --release"),
    single(PLACEHOLDER, "(cd src && touch main.rs) && cargo build --release"),
    single(PLACEHOLDER, "for f in src/*.rs; do touch \"$f\"; done; cargo build --release"),
    single(PLACEHOLDER, "sh -c 'touch src/main.rs' && cargo build --release"),
    single(PLACEHOLDER, "find src -name '*.rs' | while read f; do touch $f; done; cargo build --release"),
    single(PLACEHOLDER, "touch -a src/main.rs && cargo build --release"),
    single(PLACEHOLDER, "touch src/lib.rs && rm src/lib.rs && cargo build --release"),
    single(PLACEHOLDER, "cat src/main.rs > x.rs && cat x.rs > src/main.rs && cargo build --release"),
    scripted(PLACEHOLDER, &["src"], "cargo build --release"),
    scripted(PLACEHOLDER, &["src", "build.rs"], "cargo build --release"),
    scripted(
        "echo 'fn main() {}' > build.rs && mkdir src && echo 'fn main() {}' > src/main.rs && cargo build --release",
        &["src", "build.rs"],
        "cargo build --release",
    ),
    scripted(
        "echo 'fn main() {}' > build.rs && mkdir src && echo 'fn main() {}' > src/main.rs && cargo build --release",
        &["src", "build.rs"],
        "touch build.rs && cargo build --release",
    ),
    scripted(
        "mkdir src && echo 'fn main() {}' > src/main.rs && cargo build --release --target x86_64-unknown-linux-gnu",
        &["src"],
        "cargo build --release",
    ),
];

fn shell(dir: &Path, script: &str) -> Output {
    let mut command = Command::new("sh");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if (text.starts_with("CARGO") && text != "CARGO_HOME")
            || text.starts_with("RUST") && text != "RUSTUP_HOME" && text != "RUSTUP_TOOLCHAIN"
        {
            command.env_remove(&name);
        }
    }
    command.arg("-c").arg(script).current_dir(dir).env("CARGO_NET_OFFLINE", "true").output().unwrap()
}

fn put(dir: &Path, path: &str, text: &str, time: SystemTime) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
}

/// Roots of the programs that come out as their placeholder; `None` if the last RUN fails.
fn truth(case: &Case) -> Option<BTreeSet<&'static str>> {
    let dir = tempfile::tempdir().unwrap();
    let old = SystemTime::now() - Duration::from_secs(3600);
    let below =
        |path: &str, list: &[&str]| list.iter().any(|l| path == *l || path.starts_with(&format!("{l}/")));
    for (path, text) in case.files.iter().filter(|(path, _)| below(path, case.manifests)) {
        put(dir.path(), path, text, old);
    }
    shell(dir.path(), case.placeholder);
    for (path, text) in case.files.iter().filter(|(path, _)| below(path, case.sources)) {
        put(dir.path(), path, text, old);
    }
    let last = shell(dir.path(), case.last);
    if !last.status.success() {
        return None;
    }
    let mut stale = BTreeSet::new();
    for (program, root) in case.programs {
        let output = Command::new(dir.path().join(program)).output().unwrap();
        if !String::from_utf8_lossy(&output.stdout).contains("REAL") {
            stale.insert(*root);
        }
    }
    Some(stale)
}

/// What the rules say of the same thing as a Dockerfile: roots that stay a placeholder.
fn belief(case: &Case) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in case.files {
        put(dir.path(), path, text, SystemTime::now());
    }
    let manifests: String = case
        .manifests
        .iter()
        .map(|m| {
            format!("COPY {m} {}\n", m.strip_suffix("Cargo.toml").filter(|d| !d.is_empty()).unwrap_or("./"))
        })
        .collect();
    let sources: String = case.sources.iter().map(|s| format!("COPY {s} {s}\n")).collect();
    let dockerfile = format!(
        "FROM rust:1.95\nWORKDIR /app\n{manifests}RUN {}\n{sources}RUN {}\n",
        case.placeholder, case.last
    );
    fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .args([
            "check",
            "--format",
            "json",
            "--no-config",
            "--select",
            "rust-dummy-build-stale,rust-partial-touch",
            ".",
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let roots = findings.iter().flat_map(|f| f["evidence"]["roots"].as_array().unwrap().iter());
    roots.map(|r| r.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_crate_is_reported_exactly_when_cargo_leaves_its_placeholder() {
    let cargo = Command::new("cargo").arg("--version").output();
    if !cargo.is_ok_and(|o| o.status.success()) || cfg!(windows) {
        eprintln!("skipped: there is no cargo to ask, or no POSIX shell");
        return;
    }
    let next = AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).min(4) {
            scope.spawn(|| {
                while let Some(case) = CASES.iter().chain(MORE).nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let believed = belief(case);
                    // Of a library it cannot be seen what it was made of.
                    let seen = |root: &&str| case.programs.iter().any(|(_, r)| r == root);
                    let programs: BTreeSet<&str> = believed.iter().map(String::as_str).filter(seen).collect();
                    let line = match truth(case) {
                        Some(stale) if programs == stale => continue,
                        Some(stale) => format!("cargo leaves {stale:?}"),
                        None if !believed.is_empty() => continue,
                        None => "cargo fails".to_owned(),
                    };
                    let text = format!(
                        "{}\n  then {}\n  {line}, the rules say {believed:?}",
                        case.placeholder, case.last
                    );
                    wrong.lock().unwrap().push(text);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
