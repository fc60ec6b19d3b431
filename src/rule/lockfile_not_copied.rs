//! An install from a manifest whose lockfile stays behind in the context.

use super::command;
use super::ecosystem::LOCKFILES;
use super::transfer::{self, Transfer};
use super::{Cx, Rule, words};
use crate::build::mapping::Mapping;
use crate::build::model::{Action, CopySource, Step, is_below};
use crate::build::process::processes;
use crate::cargo::command::{CargoCommand, Verb};
use crate::context::path::clean_str;
use crate::finding::Finding;
use crate::source::Span;
use std::collections::HashSet;

/// See `rules/lockfile-not-copied.md`.
pub(super) const RULE: Rule =
    Rule { name: "lockfile-not-copied", page: include_str!("../../rules/lockfile-not-copied.md"), check };

/// An install that reads a manifest and a lockfile from one folder.
struct Install {
    name: &'static str,
    manifests: Vec<&'static str>,
    locks: Vec<&'static str>,
    folder: String,
    span: Span,
    shown: String,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        let mut before: Vec<&Step<'_>> = Vec::new();
        for step in cx.model.lineage_steps(stage.index) {
            for install in installs(step) {
                if told.insert(install.span) {
                    findings.extend(finding(cx, step, &before, &install));
                }
            }
            before.push(step);
        }
    }
}

/// The installs of a step that read a lockfile.
fn installs(step: &Step<'_>) -> Vec<Install> {
    let Action::Run(run) = &step.action else { return Vec::new() };
    let Some(script) = run.script() else { return Vec::new() };
    let mut out = Vec::new();
    for found in command::installs(script, &step.state) {
        let installer = found.installer;
        let locks = installer.locks.iter().copied().filter(|l| LOCKFILES.iter().any(|(name, _)| name == l));
        let unlocked =
            ["--no-package-lock", "--no-lockfile", "--no-lock", "--no-shrinkwrap", "--frozen=false"];
        if !found.files.is_empty() || found.command.has_flag(&unlocked) {
            continue;
        }
        out.push(Install {
            name: installer.name,
            manifests: installer.manifests.iter().copied().filter(|m| !m.contains('*')).collect(),
            locks: locks.collect(),
            folder: found.folder.clone(),
            span: found.span,
            shown: words::within(found.command, found.span),
        });
    }
    for process in processes(run, &step.state) {
        let compiles = CargoCommand::of(&process)
            .is_some_and(|c| !c.remote && c.driver == "cargo" && matches!(c.verb, Verb::Compile(_)));
        let (true, Some(cwd)) = (compiles, &process.cwd) else { continue };
        if process.command.has_flag(&["--manifest-path", "--path", "-C", "--lockfile-path"]) {
            continue;
        }
        out.push(Install {
            name: "cargo",
            manifests: vec!["Cargo.toml"],
            locks: vec!["Cargo.lock"],
            folder: cwd.to_string(),
            span: process.command.span,
            shown: words::shortened(&words::of_command(process.command), 40),
        });
    }
    out.retain(|i| !i.locks.is_empty() && !i.manifests.is_empty());
    out
}

fn finding(cx: &Cx<'_>, step: &Step<'_>, before: &[&Step<'_>], install: &Install) -> Option<Finding> {
    let context = cx.context()?;
    let folder = clean_str(&install.folder);
    let steps = || before.iter().copied().chain([step]);
    // Something else may bring or make a lockfile.
    for other in steps() {
        match &other.action {
            Action::Copy(copy) => {
                let dest = clean_str(&copy.dest);
                let foreign =
                    copy.from.is_some() || copy.sources.iter().any(|s| !matches!(s, CopySource::Path { .. }));
                if foreign && (is_below(&folder, &dest) || is_below(&dest, &folder)) {
                    return None;
                }
            }
            Action::Run(run) => {
                let named = install.locks.iter().any(|l| run.args.iter().any(|a| a.contains(l)))
                    || other
                        .instruction
                        .heredocs
                        .iter()
                        .any(|h| install.locks.iter().any(|l| h.content().contains(l)));
                let mounted = run.mounts.iter().any(|m| m.from.is_some() && is_below(&folder, &m.path));
                if named || mounted && std::ptr::eq(other, step) {
                    return None;
                }
            }
            _ => {}
        }
    }
    // Bind mounts are there during their own RUN only.
    let transfers: Vec<Transfer<'_, '_>> = steps()
        .filter(|s| matches!(s.action, Action::Copy(_)) || std::ptr::eq(*s, step))
        .flat_map(transfer::of_step)
        .collect();
    let lands = |file: &str, at: &str| -> Option<usize> {
        transfers.iter().rposition(|t| {
            let map = match t.copy {
                Some(copy) => Mapping::of(copy),
                None => Mapping::of_mount(&t.dest),
            };
            map.destination(&t.path, &format!("/{file}")).is_some_and(|to| to == at)
        })
    };
    let named = |name: &str| -> Vec<String> {
        let is = |path: &[u8]| path.rsplit(|b| *b == b'/').next() == Some(name.as_bytes());
        let files = context.entries().filter(|e| e.is_file() && is(&e.path));
        files.filter_map(|e| String::from_utf8(e.path.to_vec()).ok()).collect()
    };
    let at = |name: &str| clean_str(&format!("{folder}/{name}"));
    let any_lock = install.locks.iter().any(|lock| named(lock).iter().any(|f| lands(f, &at(lock)).is_some()));
    if any_lock {
        return None;
    }
    // The last copy of a manifest to that folder counts.
    let (by, manifest, name) = install
        .manifests
        .iter()
        .flat_map(|name| named(name).into_iter().map(move |file| (file, *name)))
        .filter_map(|(file, name)| Some((lands(&file, &at(name))?, file, name)))
        .max()?;
    let transfer = transfers.get(by)?;
    let beside = manifest.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = |lock: &str| if beside.is_empty() { lock.to_owned() } else { format!("{beside}/{lock}") };
    let lock = install
        .locks
        .iter()
        .find(|lock| context.entry(path(lock).as_bytes()).is_some_and(|e| e.is_file()))?;
    let lock_path = path(lock);
    let frozen = LOCKFILES.iter().find(|(name, _)| name == lock).map_or("", |(_, frozen)| *frozen);
    let message = format!(
        "`{}` runs without `{lock_path}`, which the context holds: versions are chosen anew whenever this step runs, and \
         a change of the lockfile does not make it run",
        install.shown
    );
    let copy = match transfer.copy {
        Some(copy) => {
            let dest = copy.dest_word.text.as_str();
            let dest = if matches!(dest, "." | "") {
                "./".to_owned()
            } else if dest.ends_with('/') {
                dest.to_owned()
            } else {
                match dest.rsplit_once('/') {
                    Some((head, last)) if last == name => format!("{head}/"),
                    None if dest == name => "./".to_owned(),
                    _ => format!("{dest}/"),
                }
            };
            format!("`COPY {manifest} {lock_path} {dest}`")
        }
        None => format!("`--mount=type=bind,source={lock_path},target={}`", at(lock)),
    };
    let then =
        if frozen.is_empty() { String::new() } else { format!(", and install what it says: `{frozen}`") };
    Some(
        Finding::at(&RULE, cx, transfer.span, message)
            .label(format!("brings `{manifest}` without `{lock}`"))
            .also(install.span, "installs without the lockfile")
            .help(format!("bring the lockfile as well: {copy}{then}"))
            .evidence("installer", install.name)
            .evidence("manifest", &manifest)
            .evidence("lockfile", &lock_path)
            .evidence("install_line", cx.line(install.span)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::ecosystem::{INSTALLERS, LOCKFILES};

    #[test]
    fn every_lockfile_belongs_to_an_installer() {
        for (lock, _) in LOCKFILES {
            let known = INSTALLERS.iter().any(|i| i.locks.contains(lock)) || *lock == "Cargo.lock";
            assert!(known, "{lock}");
        }
    }
}
