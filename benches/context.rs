//! What a large context costs: the walk, the walk with patterns, and hashing everything.
//!
//! `LAYERLINT_BENCH_CONTEXT=DIR cargo bench --bench context` measures a directory of your own.

#![allow(clippy::unwrap_used)]

use layerlint::context::{ContextIndex, Selector};
use std::path::{Path, PathBuf};

const IGNORE: &str = "*.log\n**/node_modules\n**/*.pyc\ntarget\n!keep.log\n**/f?.md\n";

fn main() {
    divan::main();
}

/// A context of 20,000 files, or the one that was asked for; and a Dockerfile beside it.
struct Laid {
    context: PathBuf,
    home: tempfile::TempDir,
}

impl Laid {
    fn new(ignore: Option<&str>) -> Self {
        let home = tempfile::tempdir().unwrap();
        if let Some(ignore) = ignore {
            std::fs::write(home.path().join("Dockerfile.dockerignore"), ignore).unwrap();
        }
        let context = match std::env::var_os("LAYERLINT_BENCH_CONTEXT") {
            Some(directory) => PathBuf::from(directory),
            None => {
                let context = home.path().join("context");
                generate(&context);
                context
            }
        };
        Self { context, home }
    }

    fn open(&self) -> ContextIndex {
        ContextIndex::open(&self.context, Some(&self.home.path().join("Dockerfile"))).unwrap()
    }
}

fn generate(context: &Path) {
    for directory in 0..400 {
        let directory = context.join(format!("d{}/e{}", directory / 20, directory % 20));
        std::fs::create_dir_all(&directory).unwrap();
        for file in 0..50_usize {
            let content = vec![b'x'; [100, 800, 3000, 3000, 9000, 20_000][file % 6]];
            std::fs::write(directory.join(format!("f{file}.txt")), content).unwrap();
        }
    }
}

#[divan::bench(sample_count = 10)]
fn walk(bencher: divan::Bencher<'_, '_>) {
    let laid = Laid::new(None);
    bencher.bench_local(|| laid.open());
}

#[divan::bench(sample_count = 10)]
fn walk_with_patterns(bencher: divan::Bencher<'_, '_>) {
    let laid = Laid::new(Some(IGNORE));
    bencher.bench_local(|| laid.open());
}

#[divan::bench(sample_count = 10)]
fn walk_and_hash(bencher: divan::Bencher<'_, '_>) {
    let laid = Laid::new(None);
    bencher.bench_local(|| laid.open().checksum(&Selector::of_source(".")).unwrap().digest);
}

#[divan::bench(sample_count = 10)]
fn walk_and_hash_with_patterns(bencher: divan::Bencher<'_, '_>) {
    let laid = Laid::new(Some(IGNORE));
    bencher.bench_local(|| laid.open().checksum(&Selector::of_source(".")).unwrap().digest);
}
