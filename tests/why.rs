//! `layerlint why` and saved states, as a user meets them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod vectors;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const DOCKERFILE: &str = "\
FROM scratch AS build
ARG MARKET=us
ENV MODE=release
COPY manifest /m/
RUN fetch
COPY src /src/
RUN compile $MARKET
LABEL version=1
FROM scratch
COPY --from=build /src/a /a
COPY --from=build /out /out
";

struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Self { dir: tempfile::tempdir().unwrap() };
        project.put("Dockerfile", DOCKERFILE);
        project.put(".dockerignore", "*.log\n");
        project.put("manifest", "m");
        project.put("src/a", "a");
        project.put("src/b", "b");
        project.put("debug.log", "x");
        project
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_layerlint")).current_dir(self.path()).args(args).output().unwrap()
    }

    fn save(&self, name: &str) {
        let output = self.run(&["keys", "--platform", "linux/amd64", "--save", name]);
        assert!(output.status.success(), "{output:?}");
    }

    fn why(&self, args: &[&str]) -> Value {
        let args = [&["why", "--platform", "linux/amd64", "--format", "json"], args].concat();
        let output = self.run(&args);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What becomes of each line, and why: `7 DONE content`.
    fn told(&self, args: &[&str]) -> Vec<String> {
        told(&self.why(args))
    }
}

fn told(document: &Value) -> Vec<String> {
    let steps = document["steps"].as_array().unwrap();
    let of_instructions = steps.iter().filter(|s| s["line"].is_u64());
    of_instructions
        .map(|s| {
            let guess = if s["exact"] == true { "" } else { "?" };
            let kind = s["cause"]["kind"].as_str().unwrap();
            let kind = if kind == "none" { String::new() } else { format!(" {kind}") };
            format!("{} {}{guess}{kind}", s["line"], s["status"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn nothing_changed_and_nothing_is_made_anew() {
    let project = Project::new();
    project.save("before.json");
    assert_eq!(
        project.told(&["--baseline", "before.json"]),
        ["4 CACHED", "5 CACHED", "6 CACHED", "7 CACHED", "10 CACHED", "11 CACHED"]
    );
}

#[test]
fn an_edit_is_felt_from_the_copy_on_and_content_stops_it() {
    let project = Project::new();
    project.save("before.json");
    project.put("src/b", "c");
    let document = project.why(&["--baseline", "before.json"]);
    // What the stage made of its files is known as far as no process touched them.
    assert_eq!(
        told(&document),
        ["4 CACHED", "5 CACHED", "6 DONE content", "7 DONE parent", "10 DONE? parent", "11 DONE? parent"]
    );
    let cause = &document["steps"].as_array().unwrap().iter().find(|s| s["line"] == 6).unwrap()["cause"];
    assert_eq!(cause["paths"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&cause["paths"][0]["path"], &cause["paths"][0]["change"]),
        (&"src/b".into(), &"modified".into())
    );
}

#[test]
fn changes_of_files_are_told_apart() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = Project::new();
    project.put("src/mode", "x");
    project.put("src/type", "x");
    project.save("before.json");
    let src = project.path().join("src");
    std::fs::set_permissions(src.join("mode"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_file(src.join("type")).unwrap();
    std::os::unix::fs::symlink("a", src.join("type")).unwrap();
    std::fs::remove_file(src.join("a")).unwrap();
    project.put("src/new/file", "x");
    project.put("src/b", "changed");
    let document = project.why(&["--baseline", "before.json"]);
    let cause =
        document["steps"].as_array().unwrap().iter().find(|s| s["line"] == 6).unwrap()["cause"].clone();
    let changes: Vec<String> = cause["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| format!("{} {}", p["path"].as_str().unwrap(), p["change"].as_str().unwrap()))
        .collect();
    assert_eq!(
        changes,
        ["src/a removed", "src/b modified", "src/mode mode", "src/new/file added", "src/type type"]
    );
}

#[test]
fn what_is_in_no_key_changes_nothing() {
    let project = Project::new();
    project.save("before.json");
    project.put("debug.log", "ignored");
    project.put("README", "taken by nobody");
    project.put(
        "Dockerfile",
        &DOCKERFILE.replace("version=1", "version=2").replace("RUN fetch", "# why\nrun   fetch"),
    );
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options()
        .append(true)
        .open(project.path().join("src/a"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let document = project.why(&["--baseline", "before.json"]);
    assert!(told(&document).iter().all(|t| t.ends_with("CACHED")), "{:?}", told(&document));
    assert_eq!(document["notes"][0]["text"], "LABEL changes the image configuration only: it is in no key");
    assert_eq!(document["notes"][0]["line"], 9);
}

#[test]
fn arguments_and_variables_are_named() {
    let project = Project::new();
    project.save("before.json");
    let document = project.why(&["--baseline", "before.json", "--build-arg", "MARKET=eu"]);
    assert_eq!(
        told(&document),
        ["4 CACHED", "5 DONE arg", "6 DONE parent", "7 DONE arg", "10 DONE? parent", "11 DONE? parent"]
    );
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.iter().find(|s| s["line"] == 5).unwrap()["cause"]["detail"], "ARG MARKET changed");
    project.put("Dockerfile", &DOCKERFILE.replace("MODE=release", "MODE=debug"));
    assert_eq!(project.told(&["--baseline", "before.json"])[1], "5 DONE env");
}

#[test]
fn values_that_may_be_secret_are_kept_nowhere() {
    let project = Project::new();
    project.put("Dockerfile", "FROM scratch\nARG API_TOKEN\nENV DB_PASSWORD=hunter2x\nCOPY src /$API_TOKEN/\nRUN login $API_TOKEN $DB_PASSWORD\n");
    let save = ["keys", "--files", "--format", "json", "--build-arg", "API_TOKEN=tok3n", "--save", "s.json"];
    let output = project.run(&save);
    let keys = String::from_utf8(output.stdout).unwrap();
    let state = std::fs::read_to_string(project.path().join("s.json")).unwrap();
    let why = project.why(&["--baseline", "s.json", "--build-arg", "API_TOKEN=tok4n"]).to_string();
    for text in [&keys, &state, &why] {
        assert!(!text.contains("tok3n") && !text.contains("tok4n"), "{text}");
    }
    assert!(!keys.contains("hunter2x"), "{keys}");
    assert!(keys.contains("RUN login **** ****") && keys.contains("API_TOKEN=****"), "{keys}");
    assert!(why.contains("ARG API_TOKEN changed"), "{why}");
}

#[test]
fn supposed_edits_are_followed_without_touching_anything() {
    let project = Project::new();
    let content = |t: &[String]| t.iter().filter(|t| t.contains("content")).cloned().collect::<Vec<_>>();
    assert_eq!(content(&project.told(&["--touch", "src/a"])), ["6 DONE content"]);
    assert_eq!(content(&project.told(&["--touch", "src"])), ["6 DONE content"]);
    assert_eq!(
        content(&project.told(&["--touch", "manifest", "--touch", "src/b"])),
        ["4 DONE content", "6 DONE content"]
    );
    let ignored = project.why(&["--touch", "debug.log"]);
    assert_eq!(ignored["notes"][0]["text"], "debug.log is left out of the context by .dockerignore line 1");
    assert_eq!(project.told(&["--set-arg", "MARKET=eu"])[1], "5 DONE arg");
    let none = project.why(&["--set-arg", "NOPE=1"]);
    assert_eq!(none["notes"][0]["text"], "no stage declares ARG NOPE: it has no effect");
    assert_eq!(project.run(&["why", "--touch", "missing"]).status.code(), Some(2));
}

#[test]
fn two_directories_and_two_saved_states_compare() {
    let (one, two) = (Project::new(), Project::new());
    two.put("src/a", "other");
    let other = one.path().to_str().unwrap();
    assert_eq!(two.told(&["--against", other])[2], "6 DONE content");
    one.save("state.json");
    two.save("state.json");
    let before = one.path().join("state.json");
    assert_eq!(
        two.told(&["--before", before.to_str().unwrap(), "--after", "state.json"])[2],
        "6 DONE content"
    );
}

fn git(dir: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").current_dir(dir).args(identity).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {output:?}");
}

#[test]
fn a_git_revision_is_compared_without_a_checkout() {
    let project = Project::new();
    git(project.path(), &["init", "-q"]);
    project.put(".dockerignore", "*.log\n.git\n");
    git(project.path(), &["add", "."]);
    git(project.path(), &["commit", "-qm", "one"]);
    let reused = ["4 CACHED", "5 CACHED", "6 CACHED", "7 CACHED", "10 CACHED", "11 CACHED"];
    assert_eq!(project.told(&["--since", "HEAD"]), reused, "a clean checkout is what was committed");
    project.put("src/b", "edited");
    assert_eq!(project.told(&["--since", "HEAD"])[2], "6 DONE content");
    git(project.path(), &["commit", "-qam", "two"]);
    assert_eq!(project.told(&["--since", "HEAD"]), reused);
    assert_eq!(project.told(&["--since", "HEAD~1"])[2], "6 DONE content");
    project.put("Dockerfile", &DOCKERFILE.replace("RUN fetch", "RUN fetch it"));
    assert_eq!(project.told(&["--since", "main"])[1], "5 DONE instruction");
    let before = std::fs::read_to_string(project.path().join("Dockerfile")).unwrap();
    assert!(before.contains("fetch it"), "nothing is checked out");
}

#[test]
fn a_revision_that_cannot_be_read_is_told() {
    let project = Project::new();
    let told = |revision: &str| {
        let output = project.run(&["why", "--since", revision]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(told("HEAD").contains("is not in a working tree of git"), "{}", told("HEAD"));
    git(project.path(), &["init", "-q"]);
    assert!(told("HEAD").contains("has no commit yet"), "{}", told("HEAD"));
    git(project.path(), &["add", "."]);
    git(project.path(), &["commit", "-qm", "one"]);
    assert!(told("nope").contains("git knows no commit `nope`"), "{}", told("nope"));
}

#[test]
fn states_are_deterministic() {
    let project = Project::new();
    project.save("one.json");
    project.save("two.json");
    let read = |name: &str| std::fs::read(project.path().join(name)).unwrap();
    assert_eq!(read("one.json"), read("two.json"));
}

#[test]
fn words_that_changed_are_shown_in_place() {
    let project = Project::new();
    project.save("before.json");
    project.put("Dockerfile", &DOCKERFILE.replace("RUN fetch", "RUN fetch --quiet"));
    project.put("src/b", "c");
    let output = project.run(&["why", "--platform", "linux/amd64", "--baseline", "before.json"]);
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @r"
    Dockerfile  target stage-1, since before.json
    3 of 6 steps are made anew, 2 depend on what they make, 1 reused. They take 2 files of the context, 2 B.

    build
        4  reused   COPY manifest /m/
        5  rebuilt  RUN fetch --quiet
                    its words changed
                    RUN fetch{+ --quiet+}
        6  rebuilt  COPY src /src/
                    modified  src/b
        7  rebuilt  RUN compile $MARKET
                    because of line 6

    stage-1
       10  depends  COPY --from=build /src/a /a
                    on the result of line 7: reused if the same comes out again
       11  depends  COPY --from=build /out /out
                    on the results of lines 7 and 10: reused if the same comes out again
    ");
}

#[test]
fn what_is_no_state_is_refused() {
    let project = Project::new();
    project.put("other.json", "{\"schema\":\"something/1\"}");
    project.put("broken.json", "{");
    for (name, word) in
        [("other.json", "something/1"), ("broken.json", "no state"), ("missing.json", "cannot read")]
    {
        let output = project.run(&["why", "--baseline", name]);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(project.run(&["why"]).status.code(), Some(2), "a first side is needed");
}

/// `invalidation.json`, laid out with its times: a step is said to have another status on a warm daemon exactly where
/// BuildKit gave it one, and nothing is said of any other build.
#[test]
fn a_warm_daemon_misses_what_buildkit_missed() {
    let cases = vectors::load(&vectors::path("invalidation.json"));
    let mut missed = 0;
    for case in cases.as_array().unwrap() {
        let temp = tempfile::tempdir().unwrap();
        let sides = ["before", "after"].map(|side| temp.path().join(side));
        for (root, side) in sides.iter().zip(["before", "after"]) {
            vectors::lay_out(root, &case[side]["context"]);
            for entry in case[side]["context"].as_array().unwrap() {
                let at = root.join(entry["path"].as_str().unwrap());
                let seconds = entry["mtime"].as_u64().unwrap_or(1_700_000_000);
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
                if at.symlink_metadata().unwrap().is_file() {
                    std::fs::File::options().read(true).open(&at).unwrap().set_modified(time).unwrap();
                }
            }
            std::fs::write(root.join("the.Dockerfile"), case[side]["dockerfile"].as_str().unwrap()).unwrap();
        }
        // Edits of arguments and images are not said by two directories.
        let edits_files = case["before"]["context"] != case["after"]["context"];
        if !edits_files || !case["before"]["named_contexts"].is_null() {
            continue;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerlint"));
        command.current_dir(&sides[1]).args(["why", "--platform", "linux/amd64", "--format", "json"]);
        command.args(["-f", "./the.Dockerfile", ".", "--against"]).arg(&sides[0]);
        if let Some(target) = case["after"]["target"].as_str() {
            command.args(["--target", target]);
        }
        let output = command.output().unwrap();
        let Ok(document) = serde_json::from_slice::<Value>(&output.stdout) else {
            continue;
        };
        for step in document["steps"].as_array().unwrap().iter().filter(|s| s["line"].is_u64()) {
            let of = |list: &str| {
                let steps = case[list].as_array().into_iter().flatten();
                steps.filter(|s| s["name"] == step["name"]).map(|s| s["status"].clone()).next()
            };
            let (Some(warm), Some(cold)) = (of("steps"), of("steps_import")) else { continue };
            let said = if step["warm_status"].is_null() { &step["status"] } else { &step["warm_status"] };
            if warm != cold {
                missed += 1;
                assert_eq!(said, &warm, "{}: {}", case["name"], step["name"]);
            } else {
                assert!(step["warm_status"].is_null(), "{}: {}", case["name"], step["name"]);
            }
        }
        let notes = document["notes"].as_array().unwrap().iter().filter(|n| n["kind"] == "warm-daemon");
        assert_eq!(
            notes.count() > 0,
            case["steps"] != case["steps_import"] && warm_differs(case),
            "{}",
            case["name"]
        );
    }
    assert!(missed > 1, "no step differed");
}

/// Whether an instruction has another status on the warm daemon.
fn warm_differs(case: &Value) -> bool {
    let of = |list: &str| -> Vec<(String, String)> {
        let steps = case[list].as_array().into_iter().flatten();
        let own =
            steps.map(|s| (s["name"].as_str().unwrap().to_owned(), s["status"].as_str().unwrap().to_owned()));
        own.filter(|(name, _)| !name.starts_with("[internal]") && !name.contains("FROM ")).collect()
    };
    of("steps") != of("steps_import")
}

#[test]
fn an_edit_that_a_warm_daemon_sees_in_part_is_told() {
    let (one, two) = (Project::new(), Project::new());
    two.put("src/a", "b");
    two.put("src/b", "longer");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    for project in [&one, &two] {
        for file in ["src/a", "src/b", "manifest"] {
            let file = std::fs::File::options().append(true).open(project.path().join(file)).unwrap();
            file.set_modified(time).unwrap();
        }
    }
    let document = two.why(&["--against", one.path().to_str().unwrap()]);
    assert_eq!(
        document["notes"],
        serde_json::json!([{
            "kind": "warm-daemon",
            "line": 6,
            "text": "a daemon that was sent the former src/a keeps it, as size and time are equal, and the step runs \
                     with it: touch the file, or use a new builder",
        }])
    );
    assert_eq!(told(&document)[2], "6 DONE content");
    // With another time it is sent.
    std::fs::File::options()
        .append(true)
        .open(two.path().join("src/a"))
        .unwrap()
        .set_modified(time + std::time::Duration::from_nanos(1))
        .unwrap();
    assert_eq!(two.why(&["--against", one.path().to_str().unwrap()])["notes"], serde_json::json!([]));
    // An edit that is only supposed takes place at another time.
    assert_eq!(two.why(&["--touch", "src/a"])["notes"], serde_json::json!([]));
}

#[test]
fn what_a_run_reads_past_its_key_is_told_where_it_is_reused() {
    let project = Project::new();
    project.put(
        "Dockerfile",
        "FROM scratch\nRUN --mount=type=secret,id=tok --mount=type=ssh a\nRUN --mount=type=secret,id=key,env=KEY b\nRUN c\n",
    );
    let why = |secrets: &[&str]| {
        let document = project.why(&[&["--baseline", "before.json"], secrets].concat());
        let notes = document["notes"].as_array().unwrap().clone();
        notes.iter().map(|n| format!("{} {}", n["line"], n["text"].as_str().unwrap())).collect::<Vec<_>>()
    };
    let given =
        ["--secret", "id=tok,src=token", "--secret", "type=file,id=key,source=token", "--ssh", "default=k1"];
    project.put("token", "old secret");
    let mut save = vec!["keys", "--platform", "linux/amd64", "--save", "before.json"];
    save.extend(given);
    assert!(project.run(&save).status.success());
    assert!(!std::fs::read_to_string(project.path().join("before.json")).unwrap().contains("old secret"));
    assert_eq!(why(&given), Vec::<String>::new());
    assert_eq!(why(&[]), Vec::<String>::new(), "who says nothing may have the same");
    project.put("token", "new secret");
    let kept = "and in no key: the step keeps what it made with the former one";
    assert_eq!(
        why(&["--secret", "id=tok,src=token", "--ssh", "default=k2", "--build-arg", "HTTPS_PROXY=http://p"]),
        [
            format!("2 the proxy HTTPS_PROXY is new {kept}"),
            format!("2 the secret `tok` is another one {kept}"),
            format!("2 the ssh `default` is another one {kept}"),
            format!("3 the proxy HTTPS_PROXY is new {kept}"),
            format!("4 the proxy HTTPS_PROXY is new {kept}"),
        ]
    );
    // A step that runs reads the new one.
    let text = "FROM scratch\nRUN --mount=type=secret,id=tok changed\n";
    project.put("Dockerfile", text);
    assert_eq!(why(&given), Vec::<String>::new());
}

#[test]
fn what_follows_from_an_edit_is_counted() {
    let project = Project::new();
    project.save("before.json");
    project.put("manifest", "changed");
    let document = project.why(&["--baseline", "before.json"]);
    assert_eq!(
        document["summary"],
        serde_json::json!({"steps": 6, "reused": 0, "rebuilt": 4, "depends": 2, "files": 3, "bytes": 9})
    );
    let steps = document["steps"].as_array().unwrap();
    let first = steps.iter().find(|s| s["line"] == 4).unwrap();
    assert_eq!(first["follow"], serde_json::json!({"rebuilt": 3, "depends": 2, "files": 2, "bytes": 2}));
}

#[test]
fn hostile_states_are_refused_by_name_and_quickly() {
    let project = Project::new();
    let state = |entries: &str, steps: &str, result: &str| {
        format!(
            "{{\"schema\":\"layerlint.state/1\",\"dockerfile\":\"D\",\"target\":null,\"platform\":\"p\",\
             \"result\":{result},\"entries\":{entries},\"steps\":{steps},\"config\":[]}}"
        )
    };
    let step = |inputs: &str| format!("[{{\"name\":\"a\",\"digests\":[],\"inputs\":{inputs}}}]");
    let hostile = [
        state("[]", &step("[{\"step\":0}]"), "null"),
        state("[]", &step("[{\"step\":18446744073709551615}]"), "null"),
        state("[]", "[]", "18446744073709551615"),
        state("[]", "[]", "1e400"),
        state("[]", "[]", "-1"),
        state("{}", "[]", "null"),
        state("[[\"a\",\"f\",1,99999999999999999999999,\"x\"]]", "[]", "null"),
        state("[]", &"[".repeat(200_000), "null"),
        "\u{feff}\0\u{1}".to_owned(),
        "null".to_owned(),
        "{\"schema\":[]}".to_owned(),
        String::new(),
    ];
    for (number, text) in hostile.iter().enumerate() {
        let name = format!("{number}.json");
        project.put(&name, text);
        let output = project.run(&["why", "--baseline", &name]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(stderr.contains(&name) && stderr.len() < 1000, "{stderr}");
    }
    std::fs::create_dir(project.path().join("folder.json")).unwrap();
    assert_eq!(project.run(&["why", "--baseline", "folder.json"]).status.code(), Some(2));
}

#[test]
fn the_argument_that_counts_is_shown() {
    let project = Project::new();
    let shown = |args: &[&str]| {
        let output = project.run(&[&["keys", "--platform", "linux/amd64"], args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find(|l| l.contains("ARG")).unwrap().trim().to_owned()
    };
    assert!(shown(&[]).contains("ARG MARKET=us  ("));
    assert!(shown(&["--build-arg", "MARKET=eu"]).contains("ARG MARKET=eu  ("));
    project.put("Dockerfile", "FROM scratch\nARG A=1 API_TOKEN=x\nRUN a\n");
    let line = shown(&["--build-arg", "API_TOKEN=secret"]);
    assert!(line.contains("ARG A=1 API_TOKEN=****  ("), "{line}");
}
