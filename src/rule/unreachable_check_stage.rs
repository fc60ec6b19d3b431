//! Tests and linters in a stage that no build needs, so that they never run.

use super::{Cx, Rule, checks, words};
use crate::finding::Finding;
use crate::invoke::Invocation;
use crate::invoke::call::{Call, FileKind};
use crate::source::Span;
use crate::stage::StageGraph;
use crate::syntax::{Keyword, shell};
use std::collections::HashSet;

/// See `rules/unreachable-check-stage.md`.
pub(super) const RULE: Rule = Rule {
    name: "unreachable-check-stage",
    page: include_str!("../../rules/unreachable-check-stage.md"),
    check,
};

/// Builds that are shown.
const SHOWN: usize = 3;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let stages = &cx.graph.stages;
    let found: Vec<(usize, Span, String)> = stages
        .iter()
        .filter_map(|s| Some((s.index, first_check(s)?)))
        .map(|(i, (span, text))| (i, span, text))
        .collect();
    if found.is_empty() {
        return;
    }
    let Some(built) = built(cx) else { return };
    // An image that no known build makes is made by one that is not known, and so may the checks be. A file whose last
    // stage checks is a collection of checks.
    let unknown_builds =
        stages.iter().any(|s| !built.contains(&s.index) && cx.ends(s.index) && first_check(s).is_none());
    let collection =
        stages.last().is_some_and(|last| first_check(last).is_some() && built.contains(&last.index));
    if unknown_builds || collection {
        return;
    }
    for (index, span, command) in &found {
        let Some(stage) = stages.get(*index) else { continue };
        if built.contains(index) || may_be_built(cx, *index) {
            continue;
        }
        // What continues it says so itself.
        let said_above = stage.parent().is_some_and(|parent| {
            !built.contains(&parent) && found.iter().any(|(other, ..)| *other == parent)
        });
        if said_above && stages.iter().filter(|s| s.parent() == stage.parent()).count() < 2 {
            continue;
        }
        findings.push(finding(cx, *index, *span, command));
    }
}

/// The first command of a stage that checks something and is allowed to fail the build.
fn first_check(stage: &crate::stage::Stage<'_>) -> Option<(Span, String)> {
    stage.instructions.iter().filter(|i| i.keyword == Keyword::Run).find_map(|instruction| {
        let script = shell::script_of(instruction);
        let command = script.commands.iter().find(|c| checks::is_check(c))?;
        Some((command.span, words::shortened(&words::of_command(command), 60)))
    })
}

/// The stages that some build needs; `None` if a build is known of which the stage is not.
fn built(cx: &Cx<'_>) -> Option<HashSet<usize>> {
    let mut targets: Vec<Option<String>> = Vec::new();
    for call in &cx.calls {
        targets.push(call.stage().ok()?.map(str::to_owned));
    }
    // Somebody may build a file that is not known here with a stage that is not known either.
    let blind = |call: &&Call| cx.project.dockerfile_of(call).is_none() && call.stage().is_err();
    if cx.project.calls.iter().any(|call| blind(&call)) {
        return None;
    }
    let decisive = cx.calls.iter().any(|call| {
        let kind = cx.project.file_of(call).map(|f| f.kind);
        matches!(kind, Some(FileKind::Workflow | FileKind::Action | FileKind::Gitlab | FileKind::Bake))
    });
    if !decisive {
        // Nobody but people builds it: the last stage, or the one that the configuration names.
        targets.push(cx.invocation.target.clone());
        targets.push(None);
    }
    let mut out = HashSet::new();
    for target in targets {
        let invocation = Invocation { target, ..cx.invocation.clone() };
        let graph = StageGraph::new(cx.document, &invocation);
        // A stage that does not exist builds nothing, and says so elsewhere.
        graph.target?;
        out.extend(graph.stages.iter().filter(|s| s.reachable).map(|s| s.index));
    }
    Some(out)
}

/// Whether something names the stage as one to build, or it looks like an image of its own.
fn may_be_built(cx: &Cx<'_>, index: usize) -> bool {
    let Some(stage) = cx.graph.stages.get(index) else { return true };
    let own_image =
        stage.instructions.iter().any(|i| matches!(i.keyword, Keyword::Cmd | Keyword::Entrypoint));
    // `FROM check-$KIND` may continue it.
    let chosen = cx.graph.stages.iter().any(|other| {
        other.base_written.split_once('$').is_some_and(|(start, _)| {
            stage.name.as_deref().unwrap_or_default().starts_with(&start.to_lowercase())
        }) && other.index > index
    });
    let names: Vec<&str> = (0..cx.graph.stages.len())
        .filter(|other| *other == index || cx.graph.reaches(*other, index))
        .filter_map(|other| cx.graph.stages.get(other)?.name.as_deref())
        .collect();
    let named = names.iter().any(|name| {
        cx.project.mentioned.contains(*name)
            || cx.project.calls.iter().any(|call| {
                cx.project.dockerfile_of(call).is_none()
                    && call.stage().ok().flatten().is_some_and(|target| target.eq_ignore_ascii_case(name))
            })
    });
    own_image || chosen || named
}

fn finding(cx: &Cx<'_>, index: usize, span: Span, command: &str) -> Finding {
    let stage = cx.graph.stages.get(index);
    let label = stage.map_or_else(String::new, |s| s.label());
    let from = stage.map_or(span, |s| s.from.span);
    let built: Vec<String> = {
        let mut names: Vec<String> = Vec::new();
        for call in &cx.calls {
            let name = match call.stage() {
                Ok(Some(name)) => name.to_lowercase(),
                _ => cx.graph.stages.last().map_or_else(String::new, |s| s.label()),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            names.extend(cx.graph.target.and_then(|t| cx.graph.stages.get(t)).map(|s| s.label()));
        }
        names
    };
    let message = format!(
        "`{command}` in stage `{label}` never runs: {} does not need this stage, and BuildKit leaves out what nothing \
         needs, so the build is green even if the check fails",
        if built.len() == 1 {
            format!("the build of `{}`", built.concat())
        } else {
            format!("no build of {}", words::list(&built, SHOWN))
        },
    );
    let named = stage.and_then(|s| s.name.clone());
    let target = built.first().cloned().unwrap_or_default();
    let help = match &named {
        Some(name) => format!(
            "make the image depend on it: end the check with `&& touch /checked` and write `COPY --from={name} /checked \
             /checked` into stage `{target}`; or build it in CI beside the image: `docker build --target {name} .`"
        ),
        None => format!(
            "give the stage a name, and build it in CI with `--target NAME`, or copy something of it into stage `{target}`"
        ),
    };
    let mut finding = Finding::at(&RULE, cx, from, message)
        .label("no build needs this stage")
        .also(span, "so this never runs")
        .help(help)
        .evidence("stage", label)
        .evidence("built", &built);
    let mut shown = 0;
    for call in &cx.calls {
        if shown < SHOWN {
            shown += 1;
            finding.related.push(super::builds::label(
                cx.project,
                (call.file, call.head),
                "builds another stage",
            ));
        }
    }
    finding.related.dedup();
    finding
}
