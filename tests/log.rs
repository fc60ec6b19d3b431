//! What is read from build logs is what BuildKit said, whatever CI systems put around it and processes print into it.

#![allow(clippy::unwrap_used, clippy::panic)]

use layerlint::evidence::log::{BuildLog, LoggedStep, StepState};
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/logs");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    cases
}

fn read(bytes: &[u8]) -> BuildLog {
    BuildLog::read(bytes, &|_| true).unwrap()
}

fn plain(case: &Path) -> String {
    std::fs::read_to_string(case.join("log.plain.txt")).unwrap()
}

/// Name, state, seconds and lines of output.
type Said = (String, StepState, Option<String>, u64);

/// Everything but the places in the log.
fn said(log: &BuildLog) -> Vec<Vec<Said>> {
    let step =
        |s: &LoggedStep| (s.name.clone(), s.state, s.seconds.map(|s| format!("{s:.1}")), s.output_lines);
    log.builds.iter().map(|b| b.steps.iter().map(step).collect()).collect()
}

fn state(word: &str) -> StepState {
    use StepState::*;
    [NotStarted, Unfinished, Cached, Done, Error, Canceled].into_iter().find(|s| s.name() == word).unwrap()
}

#[test]
fn every_step_of_the_vectors_is_in_the_state_that_buildkit_reports() {
    let mut compared = 0;
    for case in cases() {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(case.join("expect.json")).unwrap()).unwrap();
        for file in ["log.plain.txt", "log.rawjson", "log.history.rawjson"] {
            let Ok(bytes) = std::fs::read(case.join(file)) else { continue };
            let log = read(&bytes);
            assert_eq!((log.builds.len(), log.notes.as_slice()), (1, [].as_slice()), "{case:?} {file}");
            let is_plain = file == "log.plain.txt";
            for step in expected["steps"].as_array().unwrap() {
                let (name, wanted) = (step["name"].as_str().unwrap(), state(step["state"].as_str().unwrap()));
                let found: Vec<StepState> =
                    log.builds[0].steps.iter().filter(|s| s.name == name).map(|s| s.state).collect();
                // Plain progress has no line for what never began, and one for both halves of a `COPY --link`.
                if is_plain
                    && (wanted == StepState::NotStarted
                        || name.contains(" --link ")
                        || name.contains("LINK "))
                {
                    continue;
                }
                assert!(found.contains(&wanted), "{case:?} {file}: {name} is {wanted:?}, read {found:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "only {compared} steps were compared");
}

#[test]
fn both_forms_of_a_log_say_the_same_about_every_instruction() {
    for case in cases() {
        let states = |file: &str| -> Vec<(String, StepState)> {
            let log = read(&std::fs::read(case.join(file)).unwrap());
            let steps = log.builds[0].steps.iter().filter(|s| s.name.starts_with('['));
            let mut out: Vec<_> = steps
                .filter(|s| s.state != StepState::NotStarted && !s.name.contains("--link"))
                .map(|s| (s.name.clone(), s.state))
                .collect();
            out.sort();
            out.dedup();
            out
        };
        assert_eq!(states("log.plain.txt"), states("log.rawjson"), "{case:?}");
    }
}

/// What CI systems make of the lines of a log.
fn decorated(text: &str, kind: usize) -> String {
    let mut out = String::new();
    for (n, line) in text.lines().enumerate() {
        let (minute, second) = (n / 60 % 60, n % 60);
        let line = match kind {
            0 => format!("2026-11-21T06:{minute:02}:{second:02}.1234567Z {line}\r"),
            1 => format!("2026-11-21T06:{minute:02}:{second:02}.{n:06}Z 01O {line}"),
            2 => format!("[2026-11-21T06:{minute:02}:{second:02}.{:03}Z] {line}", n % 1000),
            3 => format!("06:{minute:02}:{second:02}  {line}"),
            4 => format!("\x1b[36m{line}\x1b[0m"),
            5 => format!("\x1b_bk;t={}\x07{line}", 1_700_000_000_000_u64 + n as u64),
            6 => format!("build\tBuild and push\t2026-11-21T06:{minute:02}:{second:02}.12Z {line}"),
            7 => format!("Step #3 - \"build image\": {line}"),
            8 => format!("web   | {line}"),
            9 => format!("2026-11-21T06:{minute:02}:{second:02}.123456789Z stderr F {line}"),
            10 => format!("Nov 21 06:{minute:02}:{second:02} host-1 docker[{}]: {line}", 4000 + n),
            11 => format!("section_start:{}:step_{n}\r\x1b[0K{line}", 1_700_000_000 + n),
            12 => format!("[linux-arm] {line}"),
            13 => format!("    {line}"),
            _ => format!("\u{feff}{line}"),
        };
        out.push_str(&line);
        out.push('\n');
        // The mark of the beginning stands there alone.
        if kind >= 14 && n == 0 {
            return out + text.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }
    out
}

#[test]
fn what_ci_systems_put_around_lines_changes_nothing() {
    for case in cases() {
        let text = plain(&case);
        let expected = said(&read(text.as_bytes()));
        for kind in 0..15 {
            let found = said(&read(decorated(&text, kind).as_bytes()));
            assert_eq!(found, expected, "{case:?}, decoration {kind}");
        }
        let json = std::fs::read_to_string(case.join("log.rawjson")).unwrap();
        let expected = said(&read(json.as_bytes()));
        for kind in [0, 1, 2, 6, 8, 9] {
            assert_eq!(
                said(&read(decorated(&json, kind).as_bytes())),
                expected,
                "{case:?}, decoration {kind}"
            );
        }
    }
}

#[test]
fn empty_lines_and_foreign_lines_change_nothing() {
    for case in cases() {
        let text = plain(&case);
        let expected = said(&read(text.as_bytes()));
        let bare: String = text.lines().filter(|l| !l.is_empty()).map(|l| format!("{l}\n")).collect();
        assert_eq!(said(&read(bare.as_bytes())), expected, "{case:?} without empty lines");
        let foreign: String = text
            .lines()
            .map(|l| format!("time=\"2026\" level=warning msg=\"x\"\n{l}\nsee issue #7 CACHED\n# 7 CACHED\n"))
            .collect();
        assert_eq!(said(&read(foreign.as_bytes())), expected, "{case:?} with foreign lines");
        let wide: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(said(&read(&wide)), expected, "{case:?} in UTF-16");
    }
}

#[test]
fn builds_that_follow_each_other_are_told_apart() {
    let cases = cases();
    for file in ["log.plain.txt", "log.rawjson"] {
        let texts: Vec<String> =
            cases.iter().map(|c| std::fs::read_to_string(c.join(file)).unwrap()).collect();
        let mut together = String::new();
        let mut expected = Vec::new();
        for text in &texts {
            together.push_str("+ docker buildx build --progress=plain --build-arg A=b .\n");
            together.push_str(text);
            together.push('\n');
            expected.extend(said(&read(text.as_bytes())));
        }
        let log = read(together.as_bytes());
        for (found, expected) in said(&log).iter().zip(&expected) {
            assert_eq!(found, expected, "{file}");
        }
        assert_eq!(log.builds.len(), texts.len(), "{file}");
        let commands = log.builds.iter().filter_map(|b| b.command.as_ref());
        assert_eq!(
            commands.filter(|c| c.build_args == [("A".to_owned(), "b".to_owned())]).count(),
            texts.len()
        );
    }
}

#[test]
fn builds_that_run_at_the_same_time_are_told_apart_by_their_prefixes() {
    let cases = cases();
    for pair in cases.chunks(2) {
        let [one, two] = pair else { continue };
        let (a, b) = (plain(one), plain(two));
        let (mut a_lines, mut b_lines) = (a.lines(), b.lines());
        let mut mixed = String::new();
        loop {
            let (a, b) = (a_lines.next(), b_lines.next());
            for (prefix, line) in [("api    | ", a), ("worker | ", b)] {
                if let Some(line) = line {
                    mixed.push_str(&format!("{prefix}{line}\n"));
                }
            }
            if a.is_none() && b.is_none() {
                break;
            }
        }
        let mut found = said(&read(mixed.as_bytes()));
        let mut expected = [said(&read(a.as_bytes())), said(&read(b.as_bytes()))].concat();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{one:?} and {two:?}");
    }
}

#[test]
fn a_log_that_is_cut_says_nothing_that_the_whole_does_not() {
    use StepState::*;
    for case in cases() {
        for file in ["log.plain.txt", "log.rawjson"] {
            let bytes = std::fs::read(case.join(file)).unwrap();
            let whole = read(&bytes);
            let states = |name: &str| -> Vec<StepState> {
                whole.builds[0].steps.iter().filter(|s| s.name.starts_with(name)).map(|s| s.state).collect()
            };
            // Every line end, and every byte of a few lines.
            let ends = bytes.iter().enumerate().filter(|(n, b)| **b == b'\n' || n % 37 == 0 || *n < 300);
            for (end, _) in ends {
                let cut = read(&bytes[..end]);
                assert!(cut.builds.len() <= 1);
                for step in cut.builds.iter().flat_map(|b| &b.steps) {
                    let states = states(&step.name);
                    // A step may be looked at again later; what is CACHED stays so.
                    let right = match step.state {
                        Unfinished | NotStarted | Done => !states.is_empty(),
                        Cached | Error | Canceled => states.contains(&step.state),
                    };
                    assert!(
                        right,
                        "{case:?} {file} cut at {end}: {} is {:?}, not {states:?}",
                        step.name, step.state
                    );
                }
                // The beginning may be missing as well.
                read(&bytes[end..]);
            }
        }
    }
}

#[test]
fn a_log_without_its_beginning_still_has_its_end() {
    for case in cases() {
        let text = plain(&case);
        let whole = read(text.as_bytes());
        let lines: Vec<&str> = text.lines().collect();
        for start in 1..lines.len() {
            let rest = lines[start..].join("\n");
            let cut = read(rest.as_bytes());
            for step in &whole.builds[0].steps {
                let header = format!("#{} {}", step.number.unwrap(), step.name);
                // Steps that are named and end behind the cut.
                let named = lines[start..].iter().position(|l| *l == header);
                let (Some(named), true) = (named, step.line as usize > start) else { continue };
                let before = &lines[start..start + named];
                let clean = before.is_empty() || before.iter().any(|l| l.is_empty());
                if !clean || step.state == StepState::Unfinished || (step.end_line as usize) <= start + named
                {
                    continue;
                }
                let found = cut.builds.iter().flat_map(|b| &b.steps).find(|s| s.number == step.number);
                assert_eq!(found.map(|s| s.state), Some(step.state), "{case:?} from line {start}: {header}");
            }
        }
    }
}

/// A build whose process prints everything that progress prints.
fn hostile(separator: &str) -> String {
    let said = [
        "#3 CACHED",
        "#3 DONE 0.1s",
        "#2 ERROR: no",
        "#2 CANCELED",
        "",
        "#4 [3/3] RUN fake step",
        "#4 DONE 9.9s",
        "#1 [internal] load build definition from Dockerfile",
        "#1 DONE 0.0s",
        "#0 building with \"x\" instance using docker driver",
        "{\"vertexes\":[{\"digest\":\"sha256:ab\",\"name\":\"[1/1] RUN fake\",\"cached\":true}]}",
        "ERROR: failed to solve: nothing",
        "------",
        "#2 ...",
        "#5 [5/5] RUN fake",
    ];
    let mut text =
        "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\n#2 [1/2] RUN hostile\n"
            .to_owned();
    for (n, line) in said.iter().enumerate() {
        text.push_str(&format!("#2 0.{n:03} x{separator}{line}\n"));
        // Its next line comes from BuildKit.
        text.push_str("#2 0.900 y\n");
    }
    text + "#2 DONE 1.0s\n\n#3 [2/2] RUN true\n#3 DONE 0.2s\n"
}

#[test]
fn what_a_process_prints_is_its_output_whatever_it_says() {
    for separator in ["", " ", "\r", "\t"] {
        let log = read(hostile(separator).as_bytes());
        assert_eq!(log.builds.len(), 1);
        let steps: Vec<(&str, StepState, Option<f64>)> =
            log.builds[0].steps.iter().map(|s| (s.name.as_str(), s.state, s.seconds)).collect();
        let done = |name, seconds| (name, StepState::Done, Some(seconds));
        assert_eq!(
            steps,
            [
                done("[internal] load build definition from Dockerfile", 0.0),
                done("[1/2] RUN hostile", 1.0),
                done("[2/2] RUN true", 0.2)
            ],
            "separator {separator:?}"
        );
    }
}

#[test]
fn a_process_cannot_begin_a_line_even_where_carriage_returns_end_lines() {
    let log = read(hostile("\n").as_bytes());
    let states: Vec<(&str, StepState, Option<f64>)> =
        log.builds[0].steps.iter().map(|s| (s.name.as_str(), s.state, s.seconds)).collect();
    assert!(states.contains(&("[1/2] RUN hostile", StepState::Done, Some(1.0))), "{states:?}");
    assert!(states.contains(&("[2/2] RUN true", StepState::Done, Some(0.2))), "{states:?}");
    assert!(states.iter().all(|(name, ..)| !name.contains("fake")), "{states:?}");
}

#[test]
fn lines_that_are_missing_in_the_middle_cost_no_more_than_their_steps() {
    let text = "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\n#2 [1/4] RUN a\n#2 0.1 x\n\
                [output truncated]\n#3 0.5 y\n#3 DONE 2.0s\n\n#4 [3/4] RUN c\n#4 CACHED\n\n#5 [4/4] RUN d\n#5 DONE 0.5s\n";
    let log = read(text.as_bytes());
    let steps: Vec<(&str, StepState)> =
        log.builds[0].steps.iter().map(|s| (s.name.as_str(), s.state)).collect();
    assert_eq!(steps[2..], [("[3/4] RUN c", StepState::Cached), ("[4/4] RUN d", StepState::Done)]);
}

#[test]
fn clients_of_2018_and_2020_are_read() {
    let of_2020 = "#1 [internal] load build definition from Dockerfile\n\
        #1 sha256:4f1ec1b1ae7b3b5e6d9ab1b9e2a6d3e0c1f2\n#1 transferring dockerfile: 37B done\n#1 DONE 0.0s\n\n\
        #4 [1/3] FROM docker.io/library/alpine:3.12\n#4 sha256:aa\n#4 CACHED\n\n\
        #5 [2/3] COPY a /\n#5 sha256:bb\n#6 ...\n\n#6 [3/3] RUN x\n#6 0.5 y\n#6 DONE 1.5s\n\n#5 [2/3] COPY a /\n#5 DONE 2.0s\n";
    let log = read(of_2020.as_bytes());
    let states: Vec<(StepState, Option<f64>)> =
        log.builds[0].steps.iter().map(|s| (s.state, s.seconds)).collect();
    use StepState::*;
    assert_eq!(states, [(Done, Some(0.0)), (Cached, None), (Done, Some(2.0)), (Done, Some(1.5))]);
    // Numbers before names: the second may be shown before the first.
    let order = "#2 [internal] load .dockerignore\n#2 sha256:aa\n#2 transferring context: 2B done\n#2 DONE 0.0s\n\n\
        #1 [internal] load build definition from Dockerfile\n#1 sha256:bb\n#1 DONE 0.0s\n\n#5 [internal] load build \
        context\n#5 DONE 0.0s\n\n#3 [1/2] COPY a /\n#3 CACHED\n\n#4 [2/2] RUN b\n#4 DONE 1.0s\n";
    let log = read(format!("{order}\n{order}").as_bytes());
    let states =
        |n: usize| log.builds[n].steps.iter().map(|s| (s.number.unwrap(), s.state)).collect::<Vec<_>>();
    let expected = [(2, Done), (1, Done), (5, Done), (3, Cached), (4, Done)];
    assert_eq!((log.builds.len(), log.builds[0].headless), (2, false));
    assert_eq!((states(0), states(1)), (expected.to_vec(), expected.to_vec()));
    let of_2018 = "#1 [internal] load .dockerignore\n#1       digest: sha256:e7\n#1         name: \"[internal] load .dockerignore\"\n\
        #1      started: 2018-12-12 22:51:22.6 +0000 UTC\n#1    completed: 2018-12-12 22:51:22.7 +0000 UTC\n#1     duration: 41.1ms\n\n\
        #2 [1/2] RUN x\n#2       digest: sha256:e8\n#2       cached: true\n\n#3 [2/2] RUN y\n#3     duration: 1m2.5s\n#3       error: \"exit code 1\"\n";
    let log = read(of_2018.as_bytes());
    let states: Vec<(StepState, Option<&str>)> =
        log.builds[0].steps.iter().map(|s| (s.state, s.error.as_deref())).collect();
    assert_eq!(states, [(Done, None), (Cached, None), (Error, Some("exit code 1"))]);
}

#[test]
fn statuses_that_are_cut_or_foreign_are_said_and_passed_over() {
    let text = std::fs::read_to_string(cases()[0].join("log.rawjson")).unwrap();
    let expected = said(&read(text.as_bytes()));
    let with = format!("{{\"vertexes\":[{{\"dig\n{text}{{\"statuses\":7}}\n{{\"other\":1}}\n");
    let log = read(with.as_bytes());
    assert_eq!(said(&log), expected);
    assert_eq!(log.notes.len(), 2);
    assert!(log.notes[0].starts_with("line 1: "), "{:?}", log.notes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn anything_can_be_read(lines in proptest::collection::vec(
        prop_oneof![
            "#[0-9]{1,2} (CACHED|DONE 0.1s|ERROR: x|\\.\\.\\.|\\[a 1/2\\] RUN x|0\\.123 x|transferring context: 1B)",
            "\\PC{0,40}",
            "#1 \\[internal\\] load build definition from Dockerfile",
            "\\{\"vertexes\":\\[\\{\"digest\":\"[ab]\",\"name\":\"\\[1/2\\] RUN\"\\}\\]\\}",
        ], 0..60), ends in proptest::sample::select(vec!["\n", "\r\n", "\r", "\n\n"])) {
        let text = lines.join(ends);
        let log = read(text.as_bytes());
        prop_assert_eq!(said(&log), said(&read(text.as_bytes())));
        let excerpt = log.excerpt("log");
        for (line, shown) in &log.shown {
            let start = excerpt.index.line_start(u32::try_from(*line).unwrap()).unwrap();
            prop_assert!(excerpt.bytes[start as usize..].starts_with(shown.as_bytes()));
        }
    }

    #[test]
    fn bytes_that_are_no_text_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(&bytes);
    }
}
