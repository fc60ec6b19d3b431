//! The projects in `fixtures/projects` do what their pages say: here the Rust workspace is really built, with its
//! Dockerfile's own commands and cargo, once as it is and once with the cure.

#![allow(clippy::unwrap_used, clippy::panic)]

use layerlint::syntax::{self, Args, Command as Form, Keyword, TransferSource};
use std::fs::{File, FileTimes};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/projects/rust-workspace");

/// Copies a file or the content of a directory, as COPY does: every file keeps a modification time from before the
/// build.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
        return;
    }
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
    let checkout = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(to).unwrap().set_times(FileTimes::new().set_modified(checkout)).unwrap();
}

/// Runs the instructions of the first stage in a directory, its WORKDIR.
fn build(dockerfile: &str, dir: &Path) {
    let document = syntax::parse(dockerfile.as_bytes());
    assert!(document.errors.is_empty(), "{:?}", document.errors);
    let mut stages = 0;
    for instruction in &document.instructions {
        stages += usize::from(instruction.keyword == Keyword::From);
        match &instruction.args {
            _ if stages > 1 => return,
            Args::Transfer { sources, dest, .. } => {
                for source in sources {
                    let TransferSource::Path(source) = source else { panic!("a heredoc") };
                    let from = Path::new(WORKSPACE).join(&source.text);
                    let into = dir.join(&dest.text);
                    let folder = dest.text.ends_with('/') && from.is_file();
                    copy(&from, &if folder { into.join(from.file_name().unwrap()) } else { into });
                }
            }
            Args::Command(Form::Shell(command)) => {
                let output = Command::new("sh")
                    .args(["-ec", &command.text])
                    .current_dir(dir)
                    .env("CARGO_NET_OFFLINE", "true")
                    .env_remove("CARGO_TARGET_DIR")
                    .env_remove("RUSTFLAGS")
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{}:\n{said}", command.text);
            }
            _ => {}
        }
    }
}

/// What the two programs print that the last stage ships.
fn shipped(dockerfile: &str) -> [String; 2] {
    let dir = tempfile::tempdir().unwrap();
    build(dockerfile, dir.path());
    [("server", ["lamp", "2"].as_slice()), ("nightly", &[])].map(|(name, args)| {
        let program = dir.path().join("target/release").join(name);
        String::from_utf8(Command::new(program).args(args).output().unwrap().stdout).unwrap()
    })
}

#[test]
fn the_touch_that_misses_bin_ships_a_placeholder_and_the_cure_does_not() {
    let dockerfile = std::fs::read_to_string(format!("{WORKSPACE}/Dockerfile")).unwrap();
    // `nightly` depends on no touched crate: it is still `fn main() {}`.
    assert_eq!(shipped(&dockerfile), ["total: 98.00\n", ""]);

    let cured = dockerfile
        .replace("touch crates/*/src/lib.rs &&", "find crates bin -name '*.rs' -exec touch {} + &&");
    assert_ne!(cured, dockerfile);
    assert_eq!(shipped(&cured), ["total: 98.00\n", "nightly: 3 baskets older than a week are gone\n"]);
}
