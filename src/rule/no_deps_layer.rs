//! A build of the whole source that fetches or compiles its dependencies anew after every edit.

use super::command;
use super::ecosystem::{WHOLE_BUILDS, WholeBuild};
use super::source_before_deps::source_among;
use super::transfer::{self, Transfer};
use super::{Cx, Finding, Rule, caches, words};
use crate::build::model::{Action, MountKind, Run, Step, is_below};
use crate::build::process::{Process, processes};
use crate::context::path::clean_str;
use crate::source::Span;
use crate::syntax::Keyword;
use std::collections::HashSet;

/// See `rules/no-deps-layer.md`.
pub(super) const RULE: Rule =
    Rule { name: "no-deps-layer", page: include_str!("../../rules/no-deps-layer.md"), check };

/// Most bytes of a manifest that is read.
const LONGEST: u64 = 1 << 20;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    rust(cx, findings);
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        let mut copies: Vec<Transfer<'_, '_>> = Vec::new();
        let mut prepared: HashSet<&str> = HashSet::new();
        for step in cx.model.lineage_steps(stage.index) {
            let Action::Run(run) = &step.action else {
                if matches!(&step.action, Action::Copy(c) if c.from.is_some()) {
                    // What another stage fetched may come with it.
                    prepared.extend(WHOLE_BUILDS.iter().filter(|b| brings(step, b)).map(|b| b.name));
                }
                copies.extend(transfer::of_step(step));
                continue;
            };
            let Some(script) = run.script() else { continue };
            prepared.extend(command::installs(script, &step.state).iter().map(|i| i.installer.name));
            let list = processes(run, &step.state);
            for process in &list {
                let Some(build) = whole_build(process) else { continue };
                let above = copies.iter().rev().find(|c| is_source(c, process));
                // What builds first prepares what is below.
                let first = prepared.insert(build.name);
                if let Some(copy) = above
                    && first
                    && !is_kept(cx, run, step, &list)
                    && has_dependencies(cx, &copies, process, build)
                    && told.insert(process.command.span)
                {
                    findings.push(finding(
                        cx,
                        process.command.span,
                        copy.step.instruction.span,
                        build.name,
                        build.help,
                    ));
                }
            }
        }
    }
}

/// Builds with cargo, which the timeline follows.
fn rust(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for found in &cx.cargo().unprepared {
        let instruction = |span: Span| {
            let holds =
                |s: &&Step<'_>| s.instruction.span.start <= span.start && span.end <= s.instruction.span.end;
            cx.model.steps().find(holds)
        };
        let step = instruction(found.build.span);
        let wrapped = step.is_some_and(|s| {
            s.instruction.text.to_str().contains("sccache")
                || s.state.env.iter().any(|(name, value)| name == "RUSTC_WRAPPER" && !value.is_empty())
        });
        let copy = found
            .copies
            .iter()
            .find_map(|span| instruction(*span))
            .filter(|s| matches!(s.instruction.keyword, Keyword::Copy | Keyword::Add));
        let Some(copy) = copy.filter(|_| !wrapped) else { continue };
        if !has_crates(cx, found.source.as_deref()) {
            continue;
        }
        let help = "compile the dependencies in a step that sees the manifests only, with cargo-chef (`cargo chef cook`) above the \
                    copy; or keep them in a cache mount on the target directory, and copy the program out in the same RUN";
        findings.push(finding(cx, found.build.span, copy.instruction.span, "cargo", help));
    }
}

/// Whether the lockfile lists crates from elsewhere; true if it is not known.
fn has_crates(cx: &Cx<'_>, folder: Option<&str>) -> bool {
    let Some(context) = cx.context() else { return true };
    let path = match folder.unwrap_or_default() {
        "" => "Cargo.lock".to_owned(),
        folder => format!("{folder}/Cargo.lock"),
    };
    match context.read(path.as_bytes(), LONGEST) {
        Ok(Some(bytes)) => bytes.is_empty() || String::from_utf8_lossy(&bytes).contains("source = "),
        _ => true,
    }
}

/// The build of a whole project that a command is.
fn whole_build(process: &Process<'_>) -> Option<&'static WholeBuild> {
    let (name, arguments) = process.program()?;
    let build = WHOLE_BUILDS.iter().find(|b| b.programs.contains(&name))?;
    let words = command::operands(arguments, build.valued);
    let does = words.iter().any(|w| build.verbs.contains(&w.text.rsplit(':').next().unwrap_or_default()));
    let not = arguments
        .iter()
        .any(|w| build.not_with.iter().any(|o| w.text == *o || w.text.contains("-mod=vendor")));
    (does && !not && !process.command.negated).then_some(build)
}

/// Whether a copy brings the folder in which a command runs, source included.
fn is_source(copy: &Transfer<'_, '_>, process: &Process<'_>) -> bool {
    let Some(cwd) = process.cwd.as_deref() else { return false };
    let name = copy.path.rsplit('/').next().unwrap_or_default();
    copy.copy.is_some()
        && (is_below(cwd, &copy.dest) && copy.is_whole()
            || is_below(&copy.dest, cwd) && matches!(name, "src" | "cmd" | "internal" | "app")
            || is_below(cwd, &copy.dest) && copy.dest != "/" && !name.contains('.') && !name.contains('*'))
}

/// Whether a cache mount keeps what some program of the RUN fetches or compiles.
fn is_kept(cx: &Cx<'_>, run: &Run<'_>, step: &Step<'_>, list: &[Process<'_>]) -> bool {
    let uses = caches::uses(list);
    run.mounts.iter().filter(|m| m.kind == MountKind::Cache).any(|m| {
        uses.is_empty() || uses.iter().any(|u| u.is_served_by(cx, step, &m.path)) || m.path.contains("cache")
    })
}

/// Whether what another stage made brings the dependencies of a build.
fn brings(step: &Step<'_>, build: &WholeBuild) -> bool {
    let text = step.instruction.text.to_str();
    build.kept_in.iter().any(|folder| text.contains(folder))
}

/// Whether the project has dependencies; true if that is not known.
fn has_dependencies(
    cx: &Cx<'_>,
    copies: &[Transfer<'_, '_>],
    process: &Process<'_>,
    build: &WholeBuild,
) -> bool {
    let (Some(context), Some(cwd)) = (cx.context(), process.cwd.as_deref()) else { return true };
    // A module may lie above the folder in which its command runs.
    let at = |name: &str| source_among(copies, &clean_str(&format!("{cwd}/{name}")));
    let there = |path: &String| context.entry(path.as_bytes()).is_some();
    let vendored = build.name == "go" && at("vendor").as_ref().is_some_and(there);
    let manifest = at(build.manifest).as_ref().is_some_and(there);
    let listed = || match at(build.listed_in).map(|path| context.read(path.as_bytes(), LONGEST)) {
        Some(Ok(Some(bytes))) => {
            bytes.is_empty() || String::from_utf8_lossy(&bytes).contains(build.listed_as)
        }
        _ => false,
    };
    // Before modules, packages lay in a path of their own, with all they need.
    let old = build.name == "go" && (cwd.contains("/src/github.com/") || cwd.starts_with("/go/src/"));
    !vendored && if manifest { listed() } else { !old }
}

fn finding(cx: &Cx<'_>, build: Span, copy: Span, tool: &str, help: &str) -> Finding {
    let shown = |span| words::shortened(&words::joined(&cx.file.text(span)), 60);
    let does = if tool == "cargo" { "compiles" } else { "fetches" };
    let message = format!(
        "`{}` {does} every dependency again after each edit: `{}` on line {} brings the source above it, no step prepares \
         them before, and no cache mount keeps them",
        shown(build),
        shown(copy),
        cx.line(copy),
    );
    Finding::at(&RULE, cx, build, message)
        .label("begins from nothing after every edit")
        .also(copy, "brings the source")
        .help(help)
        .evidence("tool", tool)
}
