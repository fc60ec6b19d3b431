//! Files that decide what a step installs or compiles ahead, and that it does not have.

use super::command::{self, Install};
use super::ecosystem::INSTALL_SETTINGS;
use super::source_before_deps::{named_source, source_among};
use super::transfer::{self, Transfer};
use super::{Cx, Finding, Rule, words};
use crate::build::model::{Action, Run, Step};
use crate::cargo::timeline::{Lack, Prepared};
use crate::context::ContextIndex;
use crate::context::path::clean_str;
use crate::source::Span;
use std::collections::HashSet;

/// See `rules/missing-manifest.md`.
pub(super) const RULE: Rule =
    Rule { name: "missing-manifest", page: include_str!("../../rules/missing-manifest.md"), check };

/// Most bytes of a settings file that is read.
const LONGEST: u64 = 1 << 18;

/// Files that a message names.
const NAMED: usize = 3;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for prepared in &cx.cargo().prepared {
        // One build that lacks nothing is what it is for.
        if let Some(last) = prepared.finals.first().filter(|f| !f.lacks.is_empty()) {
            findings.push(crates(cx, prepared, &last.lacks, last.build.span));
        }
    }
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        let mut copies: Vec<Transfer<'_, '_>> = Vec::new();
        let mut done = HashSet::new();
        let steps: Vec<&Step<'_>> = cx.model.lineage_steps(stage.index).collect();
        for (number, step) in steps.iter().enumerate() {
            if let Action::Run(run) = &step.action
                && let Some(script) = run.script()
            {
                let mounts = transfer::of_step(step);
                for install in command::installs(script, &step.state) {
                    // What a second install lacks, the first one lacked.
                    if !done.insert(install.installer.name) || !told.insert(install.span) {
                        continue;
                    }
                    if !INSTALL_SETTINGS.iter().any(|(name, ..)| *name == install.installer.name) {
                        continue;
                    }
                    let here: Vec<Transfer<'_, '_>> =
                        copies.iter().map(again).chain(mounts.iter().map(again)).collect();
                    let later = steps.get(number + 1..).unwrap_or_default();
                    findings.extend(settings(cx, (step, run), &install, &here, later));
                }
            } else {
                copies.extend(transfer::of_step(step));
            }
        }
    }
}

fn again<'m, 'a>(transfer: &Transfer<'m, 'a>) -> Transfer<'m, 'a> {
    Transfer {
        step: transfer.step,
        span: transfer.span,
        path: transfer.path.clone(),
        selector: transfer.selector.clone(),
        dest: transfer.dest.clone(),
        copy: transfer.copy,
    }
}

/// What an install from manifests that were copied by name lacks.
fn settings(
    cx: &Cx<'_>,
    (step, run): (&Step<'_>, &Run<'_>),
    install: &Install<'_>,
    copies: &[Transfer<'_, '_>],
    later: &[&Step<'_>],
) -> Option<Finding> {
    let wanted: Vec<String> = match install.files.is_empty() {
        true => install.installer.manifests.iter().map(|m| format!("{}/{m}", install.folder)).collect(),
        false => install.files.clone(),
    };
    let (copy, source) = wanted
        .iter()
        .map(|path| clean_str(path))
        .find_map(|path| copies.iter().rev().find_map(|c| Some((c, named_source(c, &path)?))))?;
    let context = cx.context()?;
    let folder = source.rsplit_once('/').map_or("", |(folder, _)| folder);
    let text = step.instruction.text.to_str();
    let mut missing: Vec<(String, String)> = Vec::new();
    for (_, name, decisive) in INSTALL_SETTINGS.iter().filter(|(i, ..)| *i == install.installer.name) {
        let path = if folder.is_empty() { (*name).to_owned() } else { format!("{folder}/{name}") };
        let place = clean_str(&format!("{}/{name}", install.folder));
        let given = run.mounts.iter().any(|m| m.path.ends_with(name) || m.target.ends_with(name))
            || text.contains(name)
            || (*name == "go.work" && step.state.env.iter().any(|(n, _)| n == "GOWORK"));
        if given || !context.entry(path.as_bytes()).is_some_and(|e| e.is_file()) {
            continue;
        }
        let there = source_among(copies, &place).is_some_and(|s| context.entry(s.as_bytes()).is_some());
        if !there && decides(context, &path, decisive) && !written(cx, step, name) {
            missing.push((path, place));
        }
    }
    let (first, place) = missing.first()?;
    let brings = later
        .iter()
        .flat_map(|s| transfer::of_step(s))
        .find_map(|t| source_among(std::slice::from_ref(&t), place).filter(|s| s == first).map(|_| t.span));
    let names: Vec<&String> = missing.iter().map(|(path, _)| path).collect();
    let command = words::within(install.command, install.span);
    let message = format!(
        "`{command}` runs without {}, which {} to the build context and {} what it installs: it resolves in another way than \
         on the developers' machines, and what stands below {}",
        words::list(&names, NAMED),
        if names.len() == 1 { "belongs" } else { "belong" },
        if names.len() == 1 { "decides" } else { "decide" },
        if brings.is_some() { "may do it again" } else { "never sees it" },
    );
    let mut finding = Finding::at(&RULE, cx, install.span, message)
        .label("runs without it")
        .also(copy.span, "brings the manifest alone")
        .help(format!(
            "copy it together with `{source}`: `COPY {source} {} …`",
            names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" ")
        ))
        .evidence("missing", &names);
    if let Some(span) = brings.filter(|s| *s != copy.span) {
        finding = finding.also(span, "brings it too late");
    }
    Some(finding)
}

/// Whether a settings file says something that an install heeds; true if nothing is known of it.
fn decides(context: &ContextIndex, path: &str, decisive: &[&str]) -> bool {
    let Ok(Some(bytes)) = context.read(path.as_bytes(), LONGEST) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    let lines = || text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';']) && !l.is_empty());
    decisive.is_empty() || lines().next().is_none() || lines().any(|l| decisive.iter().any(|d| l.contains(d)))
}

/// Whether a step above writes a file of that name, as with a token for a registry.
fn written(cx: &Cx<'_>, step: &Step<'_>, name: &str) -> bool {
    cx.model.lineage_steps(step.stage).take_while(|s| !std::ptr::eq(*s, step)).any(|s| match &s.action {
        Action::Run(_) => s.instruction.text.to_str().contains(name),
        Action::Copy(copy) => copy.sources.iter().any(|source| match source {
            crate::build::model::CopySource::Heredoc { .. } => copy.dest.ends_with(name),
            _ => copy.from.is_some() && s.instruction.text.to_str().contains(name),
        }),
        _ => false,
    })
}

fn crates(cx: &Cx<'_>, prepared: &Prepared, lacks: &[Lack], last: Span) -> Finding {
    let command = words::shortened(&words::joined(&cx.file.text(prepared.build.span)), 60);
    let shown = |lack: &Lack| lack.source.clone().unwrap_or_else(|| lack.path.clone());
    let names: Vec<String> = lacks.iter().map(shown).collect();
    let effect = if lacks.iter().any(|l| !l.script) {
        "with it cargo compiles all dependencies in another way, and so again after every edit"
    } else {
        "what it needs of other crates is compiled after every edit of the source only then"
    };
    let message = format!(
        "`{command}` compiles the dependencies without {}, and the build on line {} has {}: {effect}",
        words::list(&names, NAMED),
        cx.line(last),
        if names.len() == 1 { "it" } else { "them" },
    );
    let place = lacks.iter().find_map(|l| l.brought);
    let mut finding = Finding::at(&RULE, cx, prepared.build.span, message)
        .label("runs without it")
        .help(format!("copy {} above it, with `Cargo.toml` and `Cargo.lock`", words::list(&names, NAMED)))
        .evidence("missing", &names);
    if let Some(span) = place {
        finding = finding.also(span, "brings it too late");
    }
    finding.also(last, "has it")
}
