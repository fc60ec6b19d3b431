//! The history of the repository in a layer: `.git` by name, or within a broad copy.

use super::leftovers::amount;
use super::transfer::{self, Transfer};
use super::work::{self, Work};
use super::{Cx, Rule, variables};
use crate::build::model::{Action, Step};
use crate::context::ContextIndex;
use crate::context::path::{has_wildcard, path_match};
use crate::finding::Finding;
use crate::source::{Span, shown};
use crate::syntax::shell::ShellCommand;
use std::collections::HashSet;

/// See `rules/git-dir-copied.md`.
pub(super) const RULE: Rule =
    Rule { name: "git-dir-copied", page: include_str!("../../rules/git-dir-copied.md"), check };

/// How `.git` gets into a layer.
enum Way {
    /// The instruction names it.
    Named,
    /// It is among what a broad copy takes: files and bytes.
    Within(u64, u64),
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        for (number, step) in stage.steps.iter().enumerate() {
            if !matches!(step.action, Action::Copy(_)) {
                continue;
            }
            let below = stage.steps.get(number + 1..).unwrap_or_default();
            for transfer in transfer::of_step(step) {
                let Some(way) = way(cx, &transfer, below) else { continue };
                // A side stage that only asks git, and whose answer others take, costs nothing.
                if !in_image(cx, stage.index) && !runs_more_than_git(cx, stage.index, below) {
                    continue;
                }
                if told.insert(transfer.span) {
                    findings.push(finding(cx, &transfer, &way, below));
                }
            }
        }
    }
}

/// Whether the files of a stage are those of the image that is built.
fn in_image(cx: &Cx<'_>, stage: usize) -> bool {
    cx.graph.target.is_none_or(|target| cx.graph.continues(target, stage))
}

fn way(cx: &Cx<'_>, transfer: &Transfer<'_, '_>, below: &[Step<'_>]) -> Option<Way> {
    let path = transfer.path.trim_matches('/');
    let names = path.split('/').any(|part| part == ".git");
    let matches_it =
        has_wildcard(path) && path.starts_with(".g") && path_match(path, ".git").unwrap_or(false);
    let context = cx.context();
    if names {
        // Left out it does not arrive; that is another finding.
        let kept_out = context.is_some_and(|c| {
            c.entry(path.as_bytes()).is_none() && c.decided_by(path.as_bytes(), true).is_some()
        });
        return (!kept_out).then_some(Way::Named);
    }
    let context = context?;
    let (files, bytes) = taken(context, transfer)?;
    if matches_it {
        return Some(Way::Named);
    }
    // Without an ignore file that is what is missing, unless the history is wanted.
    (context.ignore.is_some() || git_below(cx, below).is_some()).then_some(Way::Within(files, bytes))
}

/// Files and bytes of the folder `.git` that a transfer takes; none where `.git` is the file of a work tree.
fn taken(context: &ContextIndex, transfer: &Transfer<'_, '_>) -> Option<(u64, u64)> {
    let root = transfer.path.trim_matches(['/', '*']);
    let folder = if root.is_empty() { ".git".to_owned() } else { format!("{root}/.git") };
    let is_folder = |path: &str| context.entry(path.as_bytes()).is_some_and(|e| e.is_dir());
    if !is_folder(&folder) && !is_folder(".git") {
        return None;
    }
    let selection = context.select(&transfer.selector).ok()?;
    let inside = |path: &[u8]| {
        let mut parts = path.split(|b| *b == b'/');
        parts.any(|part| part == b".git") && parts.next().is_some()
    };
    let files = selection.entries().filter(|e| e.is_file() && inside(&e.path));
    let (files, bytes) = files.fold((0, 0), |(n, b), e| (n + 1, b + e.size));
    (files > 0).then_some((files, bytes))
}

/// The first command below that asks the history.
fn git_below(cx: &Cx<'_>, below: &[Step<'_>]) -> Option<Span> {
    below.iter().find_map(|step| {
        let script = variables::script(cx, step)?;
        let asks = [
            "describe",
            "rev-parse",
            "log",
            "show",
            "rev-list",
            "status",
            "diff",
            "tag",
            "branch",
            "name-rev",
            "shortlog",
        ];
        let git = script.commands.iter().find(|c| {
            c.program().is_some_and(|(p, a)| p == "git" && a.iter().any(|w| asks.contains(&w.text.as_str())))
        })?;
        Some(git.span)
    })
}

/// `cargo chef prepare`.
fn is_recipe(command: &ShellCommand) -> bool {
    command
        .program()
        .is_some_and(|(name, words)| name.starts_with("cargo") && words.iter().any(|w| w.text == "prepare"))
}

/// Whether a stage, or one that continues it, does slow things below the copy.
fn runs_more_than_git(cx: &Cx<'_>, stage: usize, below: &[Step<'_>]) -> bool {
    let later = cx.model.stages.iter().filter(|s| s.index != stage && cx.graph.continues(s.index, stage));
    below.iter().chain(later.flat_map(|s| &s.steps)).any(|step| {
        if !matches!(step.action, Action::Run(_)) {
            return false;
        }
        let Some(script) = variables::script(cx, step) else { return true };
        script.commands.iter().any(|c| match work::of(c) {
            // A recipe takes a second, and is compared by its content.
            Work::Fetch if is_recipe(c) => false,
            Work::Fetch => c.name() != "git",
            Work::Other => c.name() != "git",
            Work::Housekeeping => false,
        })
    })
}

fn finding(cx: &Cx<'_>, transfer: &Transfer<'_, '_>, way: &Way, below: &[Step<'_>]) -> Finding {
    let instruction = transfer.shown();
    let ignore = cx.context().and_then(|c| c.ignore.as_ref());
    let leaks = if cx.ships(transfer.step.stage) { "; and the history is in the image" } else { "" };
    let effect = "every commit, fetch and switch of branches changes it, so this step and all below run again with the same \
                  source";
    let (message, label) = match way {
        Way::Named => (
            format!("`{instruction}` brings the repository's history into a layer: {effect}{leaks}"),
            "changes with every commit",
        ),
        Way::Within(files, bytes) => {
            let why = match ignore {
                Some(file) => format!("which no pattern of `{}` leaves out", file.file.name),
                None => "as no ignore file applies".to_owned(),
            };
            (
                format!(
                    "`{instruction}` takes `.git/` along ({}), {why}: {effect}{leaks}",
                    amount(*files, *bytes)
                ),
                "takes `.git/`",
            )
        }
    };
    let place =
        ignore.map_or_else(|| shown(&cx.invocation.context.join(".dockerignore")), |i| i.file.name.clone());
    let git = git_below(cx, below);
    let mut help = match way {
        Way::Named => "do not copy it".to_owned(),
        Way::Within(..) => format!("leave it out, with this line at the end of `{place}`:\n.git\n"),
    };
    if git.is_some() || matches!(way, Way::Named) {
        let joint = if matches!(way, Way::Named) { "; " } else { "" };
        help.push_str(joint);
        help.push_str(
            "what needs the version gets it as the last argument of the stage, `ARG VERSION`, with `--build-arg VERSION=$(git \
             describe --tags)`, or looks at the history in the last RUN only: `RUN --mount=type=bind,source=.git,target=.git …`",
        );
    }
    let mut finding =
        Finding::at(&RULE, cx, transfer.span, message).label(label).help(help.trim_end().to_owned());
    if let Some(git) = git {
        finding = finding.also(git, "asks it");
    }
    // An exception that brings it back is meant, and costs the same.
    let is_git = |text: &[u8]| text == b".git" || text.starts_with(b".git/");
    if let Some(file) = ignore
        && let Some(pattern) = file.patterns.iter().rev().find(|p| p.negated && is_git(&p.text))
    {
        finding = finding.also_in(&file.file, pattern.span, "brings it back");
    }
    match way {
        Way::Named => finding.evidence("named", true),
        Way::Within(files, bytes) => finding.evidence("files", files).evidence("bytes", bytes),
    }
}
