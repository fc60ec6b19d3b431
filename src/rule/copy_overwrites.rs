//! A copy of which nothing is left: a later one puts files on the same places before anything has used them.

use super::ecosystem::{INSTALLERS, OTHER_MANIFESTS};
use super::{Cx, Finding, Rule, words};
use crate::build::mapping::Mapping;
use crate::build::model::{Action, Copy, CopySource, Step};
use crate::context::path::has_wildcard;
use crate::stage::Base;

/// See `rules/copy-overwrites.md`.
pub(super) const RULE: Rule =
    Rule { name: "copy-overwrites", page: include_str!("../../rules/copy-overwrites.md"), check };

/// Instructions behind a copy that are looked at.
const NEAR: usize = 64;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for stage in &cx.model.stages {
        for (number, step) in stage.steps.iter().enumerate() {
            let Action::Copy(copy) = &step.action else { continue };
            if step.position.is_none() || !is_plain(copy) {
                continue;
            }
            let below = stage.steps.iter().skip(number + 1).take(NEAR);
            // A RUN may use what is there by then; triggers run elsewhere.
            let unused = below.take_while(|s| !matches!(s.action, Action::Run(_) | Action::Invalid));
            let later = unused.filter_map(|s| match &s.action {
                Action::Copy(copy) if is_plain(copy) => Some((s, copy)),
                _ => None,
            });
            if let Some((other, same)) = later.into_iter().find_map(|(s, c)| Some((s, covers(cx, copy, c)?)))
            {
                findings.push(finding(cx, step, other, same));
            }
        }
    }
}

/// Whether all that a copy does is to put paths of one tree somewhere.
fn is_plain(copy: &Copy<'_>) -> bool {
    !copy.parents
        && copy.exclude.is_empty()
        && !copy.sources.is_empty()
        // An argument without a value leaves nothing of a source.
        && copy.sources.iter().all(|s| matches!(s, CopySource::Path { text, .. } if !text.is_empty()))
        // An archive is unpacked.
        && !(copy.is_add && copy.paths().any(|(_, p)| [".gz", ".tar", ".tgz", ".xz", ".bz2", ".zst"].iter().any(|e| p.ends_with(e))))
}

/// Whether a later copy takes the place of all that one brings; true inside if it brings the same files.
fn covers(cx: &Cx<'_>, copy: &Copy<'_>, later: &Copy<'_>) -> Option<bool> {
    let (map, other) = (Mapping::of(copy), Mapping::of(later));
    let same_tree = match (&copy.from, &later.from) {
        (None, None) => true,
        (Some(Base::Stage(a)), Some(Base::Stage(b))) => a == b,
        _ => false,
    };
    let mut same = true;
    for (_, path) in copy.paths() {
        if has_wildcard(&path) || path == "/" {
            return None;
        }
        // For what it is a file or a folder, and both where that is not known.
        let probes: Vec<String> = match is_folder(cx, copy, &path) {
            Some(true) => vec![format!("{path}/layerlint")],
            Some(false) => vec![path.clone()],
            None => vec![path.clone(), format!("{path}/layerlint")],
        };
        let whole = same_tree
            && probes.iter().all(|probe| {
                let place = map.destination(&path, probe);
                place.is_some() && later.paths().any(|(_, p)| other.destination(&p, probe) == place)
            });
        let file = || is_folder(cx, copy, &path) == Some(false);
        let replaced = || {
            // A destination that is a folder already takes the file into it.
            let place = map.destination(&path, &path).filter(|p| {
                let name = p.rsplit('/').next().unwrap_or_default();
                name.contains('.') && !name.starts_with('.') && !name.ends_with(".d")
            });
            place.is_some()
                && later.paths().any(|(_, p)| {
                    is_folder(cx, later, &p) == Some(false)
                        && !has_wildcard(&p)
                        && other.destination(&p, &p) == place
                })
        };
        if !whole {
            if !(file() && replaced()) {
                return None;
            }
            same = false;
        }
    }
    Some(same)
}

/// Whether a source is a folder, if that is known.
fn is_folder(cx: &Cx<'_>, copy: &Copy<'_>, path: &str) -> Option<bool> {
    let name = path.rsplit('/').next().unwrap_or_default();
    if path == "/" || has_wildcard(name) {
        return Some(true);
    }
    let entry =
        copy.from.is_none().then(|| cx.context()?.entry(path.trim_start_matches('/').as_bytes())).flatten();
    let listed = || {
        INSTALLERS
            .iter()
            .flat_map(|i| i.manifests.iter().chain(i.locks))
            .chain(OTHER_MANIFESTS)
            .any(|m| *m == name)
    };
    match entry {
        Some(entry) => Some(entry.is_dir()),
        // `nginx.conf` is a file; `conf.d` is none.
        None if listed() => Some(false),
        None => (name.contains('.') && !name.starts_with('.') && !name.ends_with(".d")).then_some(false),
    }
}

fn finding(cx: &Cx<'_>, step: &Step<'_>, later: &Step<'_>, same: bool) -> Finding {
    let shown = words::of_instruction(step.instruction);
    let line = cx.line(later.instruction.span);
    let other = words::of_instruction(later.instruction);
    let (message, help) = match same {
        true => (
            format!(
                "`{shown}` has no effect: `{other}` on line {line} puts the same on the same place, and nothing runs in between"
            ),
            format!(
                "drop it; or, if it is there to keep an install apart from the source, move the install between it and line {line}"
            ),
        ),
        false => (
            format!("`{other}` on line {line} overwrites what `{shown}` brings, before anything has used it"),
            "drop one of the two, or give them different destinations".to_owned(),
        ),
    };
    Finding::at(&RULE, cx, step.instruction.span, message)
        .label("nothing is left of it")
        .also(later.instruction.span, if same { "brings it again" } else { "takes its place" })
        .help(help)
        .evidence("overwritten_on_line", line)
}
