//! What a real engine reuses after random edits of random projects is what `why` says. Needs root and Debian's
//! `docker.io`, so it is not run by `cargo test`: `tests/live.sh` installs and starts what it needs, runs it and
//! takes everything away again.
//!
//! `LAYERLINT_LIVE_SEED` and `LAYERLINT_LIVE_CASES` choose other cases and another number of them, `LAYERLINT_LIVE_CASE`
//! a single one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod client;
mod dice;
mod edit;
mod engine;
mod pair;
mod project;

use dice::Dice;
use engine::{Engine, Status};
use pair::{Pair, Verdict};
use project::Project;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Tests share one engine, and one of them forgetting everything would disturb the others.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Disagreements that are made smaller and printed; more say little more.
const SHOWN: usize = 3;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{variable}={v} is no number")))
}

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn what_an_engine_reuses_after_an_edit_is_what_why_said() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = Engine::of_run();
    let seed = number("LAYERLINT_LIVE_SEED", 1);
    let wanted = number("LAYERLINT_LIVE_CASES", 200);
    let only = std::env::var("LAYERLINT_LIVE_CASE").ok().map(|_| number("LAYERLINT_LIVE_CASE", 0));
    let start = Instant::now();
    let mut edits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut exceptions: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut compared, mut refused, mut invalid) = (0, 0, 0);
    let (mut cached, mut done, mut right, mut wrong) = (0, 0, 0, 0);
    let mut disagreements = Vec::new();
    let mut case = only.unwrap_or(0);
    while compared < wanted && case < wanted * 3 {
        let mut dice = Dice::new(seed, case);
        let before = Project::random(&mut dice);
        let (after, done_edits) = edit::edit(&before, &mut dice);
        let pair = Pair { before, after };
        match pair.judge(&engine) {
            Verdict::NotBuilt(why) => {
                invalid += 1;
                if only.is_some() {
                    println!("{}\n{why}", pair.shown());
                }
            }
            Verdict::Refused => {
                refused += 1;
            }
            Verdict::Compared(found) => {
                compared += 1;
                cached += found.cached;
                done += found.done;
                right += found.guessed_right;
                wrong += found.guessed_wrong;
                for name in found.exceptions {
                    *exceptions.entry(name).or_default() += 1;
                }
                for edit in done_edits {
                    *edits.entry(edit).or_default() += 1;
                }
                if only.is_some() {
                    println!("{}\n{}", pair.shown(), found.table);
                }
                if !found.disagreements.is_empty() {
                    println!("case {case}: {}", found.disagreements.join("; "));
                    disagreements.push((case, pair));
                }
            }
        }
        case += 1;
        if only.is_some() {
            break;
        }
    }
    println!(
        "seed {seed}: {compared} edits compared in {:.0} s: {cached} steps CACHED, {done} DONE as said; \
         {right} guesses right, {wrong} wrong; {refused} edits refused by both, {invalid} with a process that fails",
        start.elapsed().as_secs_f64()
    );
    println!("edits: {edits:?}\nexceptions: {exceptions:?}");
    if !disagreements.is_empty() {
        let mut text = String::new();
        for (case, pair) in disagreements.iter().take(SHOWN) {
            let small = pair.smaller(&engine);
            let Verdict::Compared(found) = small.judge(&engine) else { continue };
            text.push_str(&format!("\ncase {case}, made smaller:\n{}\n{}", small.shown(), found.table));
        }
        panic!("{} of {compared} edits disagree (seed {seed}){text}", disagreements.len());
    }
    if only.is_none() {
        assert!(compared >= wanted, "only {compared} edits could be compared");
        // A run in which nothing or everything is reused proves little.
        let edits = usize::try_from(compared).unwrap();
        assert!(cached > 2 * edits && done > edits / 2, "{cached} CACHED, {done} DONE");
    }
}

/// Files of a context are sent again only if their size, mode or time changed since the last build.
#[test]
#[ignore = "needs root and Debian's docker.io"]
fn a_builder_that_is_warm_misses_an_edit_with_equal_size_and_time() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = Engine::of_run();
    engine.forget();
    let temp = tempfile::tempdir().unwrap();
    // The engine knows the folder from before: it has to be the same one.
    let context = temp.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY settings /settings\n").unwrap();
    let mut builds = 0;
    let mut build = |settings: &str, seconds: u64| {
        builds += 1;
        let file = context.join("settings");
        std::fs::write(&file, settings).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let result = temp.path().join(format!("result-{builds}"));
        let built = engine.build_with(&[], &context, &format!("type=local,dest={}", result.display()));
        assert!(built.succeeded, "{}", built.log);
        let state = temp.path().join(format!("state-{builds}"));
        pair::save(&[], &context, &state).unwrap();
        (built.steps[0].1, std::fs::read_to_string(result.join("settings")).unwrap(), state)
    };
    let (_, shipped, before) = build("timeout=30", 1_700_000_000);
    assert_eq!(shipped, "timeout=30");
    let (status, shipped, after) = build("timeout=45", 1_700_000_000);
    assert_eq!((status, shipped.as_str()), (Status::Cached, "timeout=30"), "the engine ships what is stale");
    let said = pair::why(&before, &after);
    let copy = said.last().unwrap();
    assert_eq!(
        (copy.status, copy.cause.as_str()),
        (Status::Done, "settings was modified"),
        "the keys differ"
    );
    let (status, shipped, _) = build("timeout=45", 1_700_000_001);
    assert_eq!((status, shipped.as_str()), (Status::Done, "timeout=45"), "a touched file is sent");
}

#[test]
#[ignore = "needs root and Debian's docker.io"]
fn an_image_that_the_engine_keeps_is_compared_with_its_source() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = Engine::of_run();
    engine.forget();
    let temp = tempfile::tempdir().unwrap();
    let context = temp.path().join("context");
    std::fs::create_dir(&context).unwrap();
    let dockerfile = "FROM scratch AS build\nCOPY settings /s/\nFROM scratch\nCOPY --from=build /s /app\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let name = "layerlint-live/verified:1";
    let write = |settings: &str| {
        let file = context.join("settings");
        std::fs::write(&file, settings).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let built = engine.build_image(name, &context);
        assert!(built.succeeded, "{}", built.log);
    };
    let verify = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_layerlint"))
            .args(["verify", &format!("docker://{name}"), &context.display().to_string()])
            .env("DOCKER_HOST", engine.host())
            .env_remove("GITHUB_ACTIONS")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    write("timeout=30");
    let (code, said) = verify();
    assert_eq!(code, Some(0), "{said}");
    // What a warm builder does not send.
    write("timeout=45");
    let (code, said) = verify();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("settings"), "{said}");
    engine.remove(name);
    let (code, said) = verify();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("has no image `layerlint-live/verified:1`"), "{said}");
}

#[test]
fn a_saved_state_is_the_same_wherever_and_whenever_it_is_made() {
    let temp = tempfile::tempdir().unwrap();
    for case in 0..20 {
        let mut project = Project::random(&mut Dice::new(7, case));
        project.outside = false;
        let mut save = |place: &str| {
            let laid = project.lay_out(&temp.path().join(format!("{place}{case}")), None);
            for node in project.entries.values_mut() {
                if let project::Node::File { mtime, .. } = node {
                    *mtime += 1;
                }
            }
            let state = temp.path().join(format!("{place}{case}.json"));
            let saved = pair::save(&project.flags(&laid)[2..], &laid.context, &state);
            saved.ok().map(|()| String::from_utf8(std::fs::read(state).unwrap()).unwrap())
        };
        let here = save("here");
        assert_eq!(here, save("there"), "case {case}");
    }
}
