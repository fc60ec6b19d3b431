//! A cache mount where the program of that RUN does not look.

use super::caches::{self, Account, Use, account, cache_mounts, is_configured, is_meant_for, overlap, uses};
use super::edit::safe;
use super::{Cx, Rule, words};
use crate::build::model::{Action, RunMount, Step, is_below};
use crate::build::process::{Process, processes};
use crate::build::state::State;
use crate::finding::{Finding, Fix};
use crate::source::Span;
use crate::syntax::Keyword;
use crate::syntax::word::Variables as _;
use std::collections::HashMap;

/// See `rules/cache-mount-wrong-path.md`.
pub(super) const RULE: Rule = Rule {
    name: "cache-mount-wrong-path",
    page: include_str!("../../rules/cache-mount-wrong-path.md"),
    check,
};

/// Images with programs in folders that people mount, and these folders (by the Dockerfiles of the images).
const PROGRAMS: &[(&str, &[&str], &str)] = &[
    ("docker.io/library/rust", &["cargo", "rustc", "rustup"], "/usr/local/cargo/bin"),
    ("docker.io/lukemathwalker/cargo-chef", &["cargo", "rustc", "rustup"], "/usr/local/cargo/bin"),
    ("docker.io/library/golang", &["go"], "/usr/local/go/bin"),
];

/// Places that a finding names.
const NAMED: usize = 5;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    // The same mistake in many steps is told once.
    let mut told: HashMap<(String, String), usize> = HashMap::new();
    for (step, run) in caches::runs_with_caches(cx) {
        let list = processes(run, &step.state);
        let uses = uses(&list);
        for (mount, path) in cache_mounts(run) {
            let found = hides(cx, step, mount, &path, &list)
                .or_else(|| unexpanded(cx, step, mount, &path))
                .or_else(|| elsewhere(cx, step, mount, &path, &uses));
            let Some(found) = found else { continue };
            let place = found.evidence.get("cache").map(ToString::to_string).unwrap_or_default();
            match told.get(&(path.clone(), place.clone())).and_then(|at| findings.get_mut(*at)) {
                Some(first) if first.related.len() < NAMED => {
                    *first = first.clone().also(mount.flag.span, "and here");
                }
                Some(_) => {}
                None => {
                    told.insert((path, place), findings.len());
                    findings.push(found);
                }
            }
        }
    }
}

/// A mount over the folder in which the base image keeps the program: it begins empty.
fn hides(
    cx: &Cx<'_>,
    step: &Step<'_>,
    mount: &RunMount<'_>,
    path: &str,
    list: &[Process<'_>],
) -> Option<Finding> {
    // A mount with `from` begins with files of another stage.
    if mount.from.is_some() || caches::family(&step.state).is_none() {
        return None;
    }
    let image = caches::base_image(&step.state)?;
    let (programs, folder) = PROGRAMS
        .iter()
        .filter(|(name, ..)| *name == image.name)
        .map(|(_, p, f)| (p, f))
        .find(|(_, folder)| is_below(folder, path))?;
    let process = list.iter().find(|p| {
        let first = p.command.words.first().is_some_and(|w| !w.text.contains('/'));
        first && p.program().is_some_and(|(name, _)| programs.contains(&name))
    })?;
    let (program, _) = process.program()?;
    // Something may have put the program elsewhere.
    let moved = cx.model.lineage_steps(step.stage).any(|s| {
        matches!(s.action, Action::Run(_)) && s.instruction.text.to_str().contains("/bin/")
            || matches!(&s.action, Action::Env(pairs) if pairs.iter().any(|(name, _)| name == "PATH" || name.ends_with("_HOME")))
    });
    if moved {
        return None;
    }
    let better = match program {
        "cargo" | "rustup" | "rustc" => {
            format!("`{path}/registry`, and `{path}/git` for crates from repositories")
        }
        _ => "the folder of downloads alone".to_owned(),
    };
    let message = format!(
        "the cache mount on `{path}` hides what the image has there: `{program}` lies in `{folder}`, so the step stops with \
         `{program}: not found`"
    );
    Some(
        Finding::at(&RULE, cx, mount.flag.span, message)
            .label("begins empty")
            .also(process.command.span, "finds no program")
            .help(format!("mount {better}"))
            .evidence("mount", path)
            .evidence("program", program),
    )
}

/// `~` and `$HOME`, which a shell would replace and BuildKit does not.
fn unexpanded(cx: &Cx<'_>, step: &Step<'_>, mount: &RunMount<'_>, path: &str) -> Option<Finding> {
    let fields = mount.flag.mount.as_ref()?;
    let field = fields.fields.iter().find(|f| matches!(f.key.as_str(), "target" | "dst" | "destination"))?;
    let written = field.value.as_deref()?;
    let home = account(cx, step).and_then(|a| a.home);
    let (sign, rest) = if let Some(rest) = written.strip_prefix('~') {
        ("~", rest)
    } else {
        let rest = written.strip_prefix("$HOME").or_else(|| written.strip_prefix("${HOME}"))?;
        let unset = step.state.value("HOME").is_none() && is_environment_known(&step.state);
        ("$HOME", unset.then_some(rest)?)
    };
    if !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let why = match sign {
        "~" => "only a shell makes a home directory of `~`",
        _ => "`HOME` is no variable of this Dockerfile, so BuildKit puts nothing in its place",
    };
    let message = format!(
        "the cache is mounted on `{path}`, where no program looks for it: {why}; everything is downloaded again \
         whenever this step runs"
    );
    let meant = match &home {
        Some(home) => format!("{home}{rest}"),
        None => format!("/HOME-OF-THE-USER{rest}"),
    };
    Some(
        Finding::at(&RULE, cx, field.span, message)
            .label(format!("is `{path}`"))
            .help(format!("write the whole path: `{}`", flag_with(mount, written, &meant)))
            .fix(home.and_then(|_| {
                let plain = !cx.file.text(field.span).contains(['"', '\'', '\\', '\n']);
                let edit = cx.edit(field.span, format!("{}={meant}", field.key));
                (plain && !meant.contains([',', '"', ' ']))
                    .then(|| safe("mount the cache where programs look for it", vec![edit]))
            }))
            .evidence("mount", path)
            .evidence("written", written),
    )
}

/// Whether all variables that a base image sets are known.
fn is_environment_known(state: &State) -> bool {
    !state.unknown.env || caches::base_image(state).is_some()
}

/// The mount with another target.
fn flag_with(mount: &RunMount<'_>, old: &str, new: &str) -> String {
    let value = mount.flag.value();
    format!("--mount={}", value.replacen(old, new, 1))
}

/// A mount for a program that keeps its cache in another place.
fn elsewhere(
    cx: &Cx<'_>,
    step: &Step<'_>,
    mount: &RunMount<'_>,
    path: &str,
    uses: &[Use<'_, '_>],
) -> Option<Finding> {
    let used = uses.iter().find(|u| is_meant_for(path, u.cache))?;
    let place = used.place(cx, step)?;
    // Another command may use it: then it is right, or nobody knows.
    for other in uses {
        let mine = is_meant_for(path, other.cache);
        match other.place(cx, step) {
            Some(place) if overlap(path, &place) => return None,
            None if mine => return None,
            _ => {}
        }
        if other.others(cx, step).iter().any(|p| overlap(path, p)) {
            return None;
        }
    }
    if is_configured(cx, step, used.cache, path) {
        return None;
    }
    let name = used.cache.name;
    let command = words::within(used.process.command, used.span);
    let account = account(cx, step);
    let who = match &account {
        Some(a) if a.uid != Some(0) => {
            format!("`{command}` runs as `{}` and keeps its cache in `{place}`", a.name)
        }
        _ => format!("`{command}` keeps its cache in `{place}`"),
    };
    let message = format!(
        "{who}; the cache mount on `{path}` is never read or written, so everything is downloaded again whenever this \
         step runs"
    );
    // A part of the cache that the mount names stays named.
    let inside = used.cache.tails.iter().find_map(|tail| {
        let last = tail.rsplit('/').next()?;
        let part = path.rsplit('/').next()?;
        (name == "cargo" && part == last && !place.ends_with(last)).then(|| format!("{place}/{last}"))
    });
    let target = inside.unwrap_or_else(|| place.clone());
    let owner = match &account {
        Some(a) if a.uid == Some(0) => String::new(),
        Some(Account { uid: Some(uid), .. }) if mount.uid.is_none() => format!(",uid={uid}"),
        Some(a) if mount.uid.is_none() => format!(",uid=NUMBER-OF-{}", a.name.to_uppercase()),
        _ => String::new(),
    };
    let written = words::joined(mount.target.trim());
    let flag = if mount.flag.value().contains(&written) && !written.is_empty() {
        flag_with(mount, &written, &target)
    } else {
        format!("--mount=type=cache,target={target}")
    };
    let mut finding = Finding::at(&RULE, cx, mount.flag.span, message)
        .label(format!("{name} does not look here"))
        .also(used.span, format!("uses `{place}`"))
        .help(format!("mount the folder that {name} uses: `{flag}{owner}`"))
        .fix(mount_elsewhere(cx, mount, &written, &target, &owner))
        .evidence("tool", name)
        .evidence("mount", path)
        .evidence("cache", &place);
    if let Some(span) = user_since(cx, step) {
        finding = finding.also(span, "who it runs as is decided here");
    }
    Some(finding)
}

/// The mount in the right place, if it is known whose it must be. What it holds is no part of the image.
fn mount_elsewhere(
    cx: &Cx<'_>,
    mount: &RunMount<'_>,
    written: &str,
    target: &str,
    owner: &str,
) -> Option<Fix> {
    let field = mount.flag.mount.as_ref()?.field(&["target", "dst", "destination"])?;
    let text = cx.file.text(field.span);
    let known = !owner.contains("NUMBER-OF") && field.value.as_deref() == Some(written);
    if !known || text.contains(['"', '\'', '\\', '\n']) || target.contains([',', '"', ' ', '$']) {
        return None;
    }
    let edit = cx.edit(field.span, format!("{}={target}{owner}", field.key));
    Some(safe("mount the cache where the program looks for it", vec![edit]))
}

/// The USER instruction that counts for a step.
fn user_since(cx: &Cx<'_>, step: &Step<'_>) -> Option<Span> {
    let before = cx.model.lineage_steps(step.stage).take_while(|other| !std::ptr::eq(*other, step));
    let user = |s: &&Step<'_>| s.instruction.keyword == Keyword::User && matches!(s.action, Action::User(_));
    before.filter(user).last().map(|s| s.instruction.span)
}
