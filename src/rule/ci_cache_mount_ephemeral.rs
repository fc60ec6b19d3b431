//! Cache mounts that are empty on every run, because the builder is new each time and no exporter takes them along.

use super::caches::cache_mounts;
use super::work::{self, Work};
use super::{Cx, Rule, builds, command, order};
use crate::build::model::{Action, MountKind, Run, Step};
use crate::finding::Finding;
use crate::invoke::Invocation;
use crate::invoke::call::{Call, Lifetime};
use crate::source::Span;
use crate::stage::StageGraph;

/// See `rules/ci-cache-mount-ephemeral.md`.
pub(super) const RULE: Rule = Rule {
    name: "ci-cache-mount-ephemeral",
    page: include_str!("../../rules/ci-cache-mount-ephemeral.md"),
    check,
};

/// Builds that are shown.
const SHOWN: usize = 3;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let calls: Vec<&&Call> = cx.calls.iter().filter(|call| is_ephemeral(cx, call)).collect();
    let Some(first) = calls.first() else { return };
    let mut empty: Vec<(Span, String)> = Vec::new();
    for stage in needed(cx, &calls) {
        let mut told: Vec<Span> = empty.iter().map(|(span, _)| *span).collect();
        for (span, path) in emptied(cx, stage) {
            if !told.contains(&span) {
                told.push(span);
                empty.push((span, path));
            }
        }
    }
    let Some(((span, path), rest)) = empty.split_first() else { return };
    let paths: Vec<&str> =
        std::iter::once(path).chain(rest.iter().map(|(_, p)| p)).map(String::as_str).collect();
    let mounts = super::words::list(&paths, 3);
    let message = format!(
        "the cache mount{} on {mounts} {} empty in every run of this workflow: the builder is new each time, and the \
         exported cache holds layers only; with each edit of the source this step downloads and compiles from zero",
        if paths.len() > 1 { "s" } else { "" },
        if paths.len() > 1 { "are" } else { "is" },
    );
    let help = "give the dependencies a layer of their own, above the copy of the source and without the mount, so that \
                cache-to keeps it; or keep the mounts, with reproducible-containers/buildkit-cache-dance or a builder \
                that stays";
    let mut finding = Finding::at(&RULE, cx, *span, message)
        .label("empty on a new builder")
        .help(help)
        .evidence("mounts", &paths);
    for (span, _) in rest {
        finding = finding.also(*span, "empty as well");
    }
    let mut seen = Vec::new();
    for call in std::iter::once(first).chain(calls.iter().skip(1)) {
        let place = (call.file, call.head);
        if seen.contains(&place) || seen.len() >= SHOWN {
            continue;
        }
        seen.push(place);
        finding.related.push(builds::label(
            cx.project,
            place,
            "builds on a new machine, and keeps layers only",
        ));
        if let Some(job) = cx.project.job_of(call).filter(|_| seen.len() == 1) {
            let (_, span) = job.builder.unwrap_or(job.machine);
            if job.builder.is_some_and(|_| job.file == call.file) || job.builder.is_none() {
                finding.related.push(builds::label(cx.project, (job.file, span), "new for every run"));
            }
        }
    }
    findings.push(finding);
}

/// Whether a build runs on a builder that is new for every run, and moves a layer cache around.
fn is_ephemeral(cx: &Cx<'_>, call: &Call) -> bool {
    let Some(job) = cx.project.job_of(call) else { return false };
    let cached = call.cache_to.iter().chain(&call.cache_from).any(|c| c.kind().is_some());
    builds::is_buildkit(call)
        && builds::is_ci(cx.project, call)
        && cached
        && job.lifetime() == Lifetime::Run
        && !job.keeps_mounts
        && call.no_cache == Some(false)
}

/// The stages that these builds need.
fn needed(cx: &Cx<'_>, calls: &[&&Call]) -> Vec<usize> {
    let mut out = Vec::new();
    for call in calls {
        // Of a stage that is not known, what every build needs is not known either.
        let Ok(target) = call.stage() else { continue };
        let invocation = Invocation { target: target.map(str::to_owned), ..cx.invocation.clone() };
        let graph = StageGraph::new(cx.document, &invocation);
        for stage in graph.stages.iter().filter(|s| s.reachable && s.context.is_none()) {
            if !out.contains(&stage.index) {
                out.push(stage.index);
            }
        }
    }
    out.sort_unstable();
    out
}

/// The cache mounts of a stage that each edit of the source needs and finds empty.
fn emptied(cx: &Cx<'_>, stage: usize) -> Vec<(Span, String)> {
    let mut out = Vec::new();
    let mut source = false;
    let mut separate = false;
    for step in cx.model.lineage_steps(stage) {
        source |= order::moving(cx, step).is_some_and(|copy| copy.broad);
        let Action::Run(run) = &step.action else { continue };
        let bound =
            run.mounts.iter().any(|m| m.kind == MountKind::Bind && m.is_context() && is_folder(&m.source));
        if !source && !bound {
            separate |= keeps_dependencies(step, run);
            continue;
        }
        if separate || step.stage != stage || !works(run) {
            continue;
        }
        out.extend(cache_mounts(run).map(|(mount, path)| (mount.flag.span, path)));
    }
    out
}

/// Whether a bind mount brings a folder of source.
fn is_folder(source: &str) -> bool {
    let name = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    matches!(name, "" | ".") || !name.contains('.')
}

/// Whether a RUN above the source leaves dependencies in its layer.
fn keeps_dependencies(step: &Step<'_>, run: &Run<'_>) -> bool {
    let Some(script) = run.script() else { return false };
    let mounted = cache_mounts(run).next().is_some();
    let installs = command::installs(script, &step.state);
    installs.iter().any(|install| !(mounted && install.installer.kept_by_mount))
        || (installs.is_empty() && !mounted && script.commands.iter().any(is_language_work))
}

/// Whether a command fetches or compiles for a language, not packages of the system.
fn is_language_work(command: &crate::syntax::shell::ShellCommand) -> bool {
    let system = [
        "apt-get", "apt", "apk", "dnf", "yum", "microdnf", "tdnf", "zypper", "pacman", "opkg", "curl",
        "wget", "rustup", "corepack",
    ];
    let Some((name, arguments)) = work::program(command) else { return false };
    let tool =
        name == "cargo" && arguments.first().is_some_and(|w| w.text == "install" || w.text == "binstall");
    work::of(command) != Work::Housekeeping && !system.contains(&name) && !tool
}

/// Whether a RUN downloads or compiles.
fn works(run: &Run<'_>) -> bool {
    run.script().is_none_or(|script| script.commands.iter().any(|c| work::of(c) != Work::Housekeeping))
}
