//! Stages and how they feed each other, through the library and the command.

#![allow(clippy::unwrap_used, clippy::panic)]

use layerlint::invoke::Invocation;
use layerlint::stage::{Base, StageGraph, UseKind};
use layerlint::syntax;

fn with<R>(text: &str, build: &Invocation, look: impl FnOnce(&StageGraph<'_>) -> R) -> R {
    let document = syntax::parse(text.as_bytes());
    assert_eq!(document.errors, []);
    look(&StageGraph::new(&document, build))
}

fn errors(text: &str, build: &Invocation) -> Vec<String> {
    with(text, build, |g| {
        g.errors
            .iter()
            .map(|e| {
                let place = text.get(e.span.range()).unwrap_or_default();
                let help = e.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
                format!("{place}: {}{help}", e.message)
            })
            .collect()
    })
}

fn plain() -> Invocation {
    Invocation { platforms: vec!["linux/amd64".to_owned()], ..Invocation::default() }
}

#[test]
fn stages_are_found_by_name_number_and_mount() {
    let text = "FROM a AS One\nFROM scratch\nCOPY --from=ONE /x /x\nRUN --mount=type=bind,from=one,target=/m true\n\
                FROM one AS three\nCOPY --from=1 /x /x\nCOPY --from=alpine:3 /y /y\n";
    with(text, &plain(), |g| {
        assert_eq!(g.errors, []);
        assert_eq!(g.stages[2].base, Base::Stage(0));
        let uses = |stage: usize| -> Vec<(UseKind, Base)> {
            g.stages[stage].uses.iter().map(|u| (u.kind, u.source.clone())).collect()
        };
        assert_eq!(uses(1), [(UseKind::Copy, Base::Stage(0)), (UseKind::Mount, Base::Stage(0))]);
        assert_eq!(
            uses(2),
            [
                (UseKind::From, Base::Stage(0)),
                (UseKind::Copy, Base::Stage(1)),
                (UseKind::Copy, Base::Image("docker.io/library/alpine:3".to_owned()))
            ]
        );
        assert!(g.stages.iter().all(|s| s.reachable));
    });
}

#[test]
fn from_finds_a_stage_by_the_exact_lower_case_name_only() {
    with("FROM a AS One\nFROM One\n", &plain(), |g| {
        assert_eq!(g.stages[1].base, Base::Unknown, "`One` is no stage and no reference");
    });
}

#[test]
fn only_what_the_target_needs_is_reachable() {
    let text =
        "FROM a AS deps\nFROM deps AS build\nFROM a AS docs\nFROM scratch AS run\nCOPY --from=build /x /x\n";
    let reachable = |build: &Invocation| {
        with(text, build, |g| g.stages.iter().filter(|s| s.reachable).map(|s| s.label()).collect::<Vec<_>>())
    };
    assert_eq!(reachable(&plain()), ["deps", "build", "run"]);
    assert_eq!(reachable(&Invocation { target: Some("DOCS".into()), ..plain() }), ["docs"]);
}

#[test]
fn arguments_before_the_first_from_fill_it() {
    let text =
        "ARG V=1\nARG BASE=alpine:$V\nFROM --platform=$BUILDPLATFORM ${BASE} AS x\nFROM x-$TARGETARCH\n";
    with(text, &plain(), |g| {
        assert_eq!(g.stages[0].base, Base::Image("docker.io/library/alpine:1".into()));
        assert_eq!(g.stages[1].base, Base::Image("docker.io/library/x-amd64:latest".into()));
    });
    let given = Invocation { build_args: vec![("BASE".into(), "x/y".into())], ..plain() };
    with(text, &given, |g| assert_eq!(g.stages[0].base, Base::Image("docker.io/x/y:latest".into())));
}

#[test]
fn a_build_context_replaces_a_stage_an_image_and_a_from() {
    let build = Invocation {
        contexts: vec![("deps".into(), "../d".into()), ("alpine:3".into(), "docker-image://b".into())],
        ..plain()
    };
    let text = "FROM a AS deps\nRUN x\nFROM docker.io/library/alpine:3\nCOPY --from=deps /x /x\n";
    with(text, &build, |g| {
        assert_eq!(g.stages[0].context.as_deref(), Some("../d"));
        assert!(matches!(&g.stages[1].base, Base::Context { value, .. } if value == "docker-image://b"));
        assert_eq!(g.stages[1].uses[1].stage(), Some(0));
    });
}

#[test]
fn what_cannot_be_resolved_is_told_with_its_place() {
    let none = plain();
    assert_eq!(
        errors("FROM a AS build\nFROM b\nCOPY --from=Biuld /x /x\nCOPY --from=7 /x /x\n", &none),
        [
            "Biuld: `Biuld` is neither a stage nor an image reference (a stage `build` exists)",
            "7: there is no stage 7: the file has 2"
        ]
    );
    assert_eq!(
        errors("FROM a AS a1\nCOPY --from=$X /x /x\n", &none),
        [
            "$X: `--from=$X` holds a variable (variables do not expand in `--from`: write `FROM $VARIABLE AS name` above and copy from that stage)"
        ]
    );
    assert_eq!(
        errors("FROM a AS x\nCOPY --from=y /x /x\nFROM b AS y\n", &none),
        ["y: stage `x` takes from stage `y`, which is defined below it (move stage `y` above stage `x`)"]
    );
    assert_eq!(
        errors("FROM a AS x\nCOPY --from=y /x /x\nFROM b AS y\nCOPY --from=x /x /x\n", &none),
        ["y: stages `x` and `y` need each other"]
    );
    assert_eq!(errors("FROM a AS x\nCOPY --from=x /x /x\n", &none), ["x: stage `x` takes from itself"]);
    assert_eq!(
        errors("FROM a AS build\n", &Invocation { target: Some("biuld".into()), ..plain() }),
        [": there is no stage named `biuld` to build (did you mean `build`?)"]
    );
    assert_eq!(
        errors("ARG B\nFROM $B\n", &none),
        ["$B: the base `$B` is empty (give it with `--build-arg B=…`, or write a default: `ARG B=…`)"]
    );
    assert_eq!(
        errors("FROM --platform=nonsense a\n", &none),
        ["nonsense: `nonsense` is no platform: write `os/arch` or `os/arch/variant`, such as `linux/arm64`"]
    );
}

#[test]
fn triggers_of_a_base_stage_count_in_the_child() {
    let text = "FROM a AS tool\nFROM b AS base\nONBUILD COPY --from=tool /x /x\nFROM base\n";
    with(text, &plain(), |g| {
        assert!(!g.stages[1].uses.iter().any(|u| u.kind == UseKind::Copy));
        let used = &g.stages[2].uses[1];
        assert_eq!((used.kind, used.stage(), used.onbuild), (UseKind::Copy, Some(0), true));
        assert!(g.stages[0].reachable);
    });
}

const SMALL: &str = "ARG V=1\nFROM golang:$V AS build\nRUN go build\nFROM alpine AS docs\nFROM scratch\nCOPY --from=build /app /app\n";

fn graph(format: &str) -> String {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("Dockerfile"), SMALL).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .current_dir(temp.path())
        .args(["graph", "--format", format])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_graph_for_a_person() {
    insta::assert_snapshot!(graph("human"), @r"
    Dockerfile: 3 stages, target stage-2

    build  FROM golang:$V  line 2
      ─▶ stage-2

    docs  FROM alpine  line 4  never built for this target

    stage-2  FROM scratch  line 5
      ◀─ stage build  by COPY --from, line 6
    ");
}

#[test]
fn the_graph_for_graphviz() {
    insta::assert_snapshot!(graph("dot"), @r##"
    digraph stages {
      rankdir=LR;
      node [shape=box, style=rounded];
      s0 [label="build\nFROM golang:$V"];
      s1 [label="docs\nFROM alpine", style="rounded,dashed"];
      s2 [label="stage-2\nFROM scratch"];
      s0 -> s2 [label="COPY --from", style=dashed];
    }
    "##);
}

#[test]
fn the_graph_for_markdown() {
    insta::assert_snapshot!(graph("mermaid"), @r##"
    flowchart LR
      s0["build<br/>FROM golang:$V"]
      s1["docs<br/>FROM alpine"]
      s2["stage-2<br/>FROM scratch"]
      s0 -.->|COPY --from| s2
      classDef unused stroke-dasharray: 5 5
      class s1 unused
    "##);
}

#[test]
fn the_graph_for_programs() {
    let document: serde_json::Value = serde_json::from_str(&graph("json")).unwrap();
    assert_eq!(document["schema"], "layerlint.graph/1");
    assert_eq!(
        document["global_args"][0],
        serde_json::json!({"instruction": "ARG", "line": 1, "end_line": 1})
    );
    let stage = &document["stages"][2];
    assert_eq!((&stage["name"], &stage["base"], &stage["line"]), (&"".into(), &"scratch".into(), &5.into()));
    assert_eq!(stage["uses"][0], serde_json::json!({"stage": "build", "by": "COPY --from", "line": 6}));
    assert_eq!(stage["instructions"][1]["flags"][0], "--from=build");
    assert_eq!(document["stages"][1]["reachable"], false);
}

#[test]
fn a_graph_that_buildkit_would_refuse_is_drawn_and_refused() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("Dockerfile"), "FROM a AS x\nCOPY --from=x /x /x\n").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .current_dir(temp.path())
        .arg("graph")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 stage"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("takes from itself"));
}
