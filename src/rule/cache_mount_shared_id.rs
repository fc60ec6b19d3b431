//! One cache for steps that must not share it: at the same time, or at all.

use super::caches::{self, base_reference, cache_mounts, family, overlap, uses};
use super::ecosystem::{Family, NATIVE_FOLDERS};
use super::edit::safe;
use super::{Cx, Rule, words};
use crate::build::model::{Action, Run, RunMount, Sharing, Step};
use crate::build::process::processes;
use crate::finding::{Finding, Fix};
use crate::source::Span;
use std::collections::{BTreeMap, HashSet};

/// See `rules/cache-mount-shared-id.md`.
pub(super) const RULE: Rule =
    Rule { name: "cache-mount-shared-id", page: include_str!("../../rules/cache-mount-shared-id.md"), check };

/// One cache mount of one RUN.
struct Mounted<'m, 'a> {
    step: &'m Step<'a>,
    run: &'m Run<'a>,
    mount: &'m RunMount<'a>,
    path: String,
    /// The program that needs it for itself, as it is called.
    exclusive: Option<String>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut by_id: BTreeMap<String, Vec<Mounted<'_, '_>>> = BTreeMap::new();
    for (step, run) in caches::runs_with_caches(cx) {
        let list = processes(run, &step.state);
        let uses = uses(&list);
        for (mount, path) in cache_mounts(run) {
            let exclusive = uses.iter().filter(|u| u.cache.exclusive);
            // Its own folder, or one that another version of the program uses.
            let exclusive = exclusive.filter(|u| {
                u.place(cx, step).is_some_and(|place| overlap(&place, &path))
                    || u.cache.also.contains(&path.as_str())
            });
            let exclusive = exclusive.map(|u| words::within(u.process.command, u.span)).next();
            by_id.entry(mount.cache_id()).or_default().push(Mounted { step, run, mount, path, exclusive });
        }
    }
    // Two mounts of the same two RUNs are one finding.
    let mut told = HashSet::new();
    for (id, group) in &by_id {
        for (n, second) in group.iter().enumerate() {
            let before = group.get(..n).unwrap_or_default();
            let pair = before.iter().find_map(|first| {
                let key = (first.step.instruction.span, second.step.instruction.span);
                if first.step.instruction.span == second.step.instruction.span || told.contains(&key) {
                    return None;
                }
                let found = at_once(cx, id, first, second).or_else(|| mixed(cx, id, first, second))?;
                Some((key, found))
            });
            match pair {
                Some((key, found)) => {
                    told.insert(key);
                    findings.push(found);
                }
                None => findings.extend(platforms(cx, id, second)),
            }
        }
    }
}

fn is_unlocked(mount: &RunMount<'_>) -> bool {
    matches!(mount.sharing, None | Some(Sharing::Shared))
}

/// Whether BuildKit may run two steps at the same time.
fn may_overlap(cx: &Cx<'_>, a: &Step<'_>, b: &Step<'_>) -> bool {
    let reachable = |s: &Step<'_>| cx.graph.stages.get(s.stage).is_some_and(|s| s.reachable);
    reachable(a) && reachable(b) && !caches::depends(cx, a, b) && !caches::depends(cx, b, a)
}

fn stage(cx: &Cx<'_>, step: &Step<'_>) -> String {
    cx.graph.stages.get(step.stage).map(crate::stage::Stage::label).unwrap_or_default()
}

/// The target as it stands in the flag.
fn locked(mount: &RunMount<'_>, id: &str) -> String {
    format!("--mount=type=cache,id={id},target={},sharing=locked", mount.target)
}

/// Programs that need a cache for themselves, in steps that run at the same time.
fn at_once(cx: &Cx<'_>, id: &str, first: &Mounted<'_, '_>, second: &Mounted<'_, '_>) -> Option<Finding> {
    let command = second.exclusive.as_ref()?;
    let other = first.exclusive.as_ref()?;
    if !is_unlocked(first.mount) || !is_unlocked(second.mount) || !may_overlap(cx, first.step, second.step) {
        return None;
    }
    let (a, b) = (stage(cx, first.step), stage(cx, second.step));
    let lines = (cx.line(first.mount.flag.span), cx.line(second.mount.flag.span));
    let message = format!(
        "`{other}` of stage `{a}` (line {}) and `{command}` of stage `{b}` write into the cache `{id}` at the same time, \
         and nothing makes one wait for the other: one of them stops at the lock, or reads an index that is half \
         written",
        lines.0
    );
    let differ = distribution(first.step) != distribution(second.step);
    let own = if differ { format!("{}-{}", distribution(second.step), word(id)) } else { word(id) };
    let more = if differ { ", with an id for each distribution" } else { "" };
    let help = format!("let them wait for each other{more}: `{}`", locked(second.mount, &own));
    Some(
        Finding::at(&RULE, cx, second.mount.flag.span, message)
            .label("shared without a lock")
            .also(first.mount.flag.span, "the same cache, at the same time")
            .help(help)
            .fix(if differ { None } else { lock(cx, first.mount, second.mount) })
            .evidence("id", id)
            .evidence("reason", "exclusive")
            .evidence("stages", [a, b]),
    )
}

/// Makes the steps wait for each other. What a cache mount holds is no part of the image.
fn lock(cx: &Cx<'_>, first: &RunMount<'_>, second: &RunMount<'_>) -> Option<Fix> {
    let edit = |mount: &RunMount<'_>| {
        let fields = mount.flag.mount.as_ref()?;
        if let Some(field) = fields.field(&["sharing"]) {
            return Some(cx.edit(field.span, "sharing=locked"));
        }
        let end = mount.flag.span.end;
        let quoted = cx.file.text(mount.flag.span).contains(['"', '\'']);
        (!quoted).then(|| cx.edit(Span { start: end, end }, ",sharing=locked"))
    };
    Some(safe("let the steps wait for each other", vec![edit(first)?, edit(second)?]))
}

/// `debian`, `ubuntu-24.04` …, as far as it is known.
fn distribution(step: &Step<'_>) -> String {
    match base_reference(&step.state) {
        Some(r) => {
            let name = r.name.rsplit('/').next().unwrap_or_default().to_owned();
            match r.tag {
                Some(tag) => format!("{name}-{tag}"),
                None => name,
            }
        }
        None => "base".to_owned(),
    }
}

/// An id as one word.
fn word(id: &str) -> String {
    id.trim_matches('/').replace('/', "-")
}

/// Compiled files in steps on different systems.
fn mixed(cx: &Cx<'_>, id: &str, first: &Mounted<'_, '_>, second: &Mounted<'_, '_>) -> Option<Finding> {
    if !is_native(&first.path) || !is_native(&second.path) {
        return None;
    }
    let difference = difference(first.step, second.step)?;
    // cargo keeps the results of different compilers apart and locks them, but not the last copy of a binary.
    if [first, second].iter().all(|m| runs_cargo(m))
        && !(is_unlocked(first.mount)
            && is_unlocked(second.mount)
            && may_overlap(cx, first.step, second.step))
    {
        return None;
    }
    let line = cx.line(first.mount.flag.span);
    let message = format!(
        "this step and the one of line {line} keep compiled files in one cache, `{id}`, although they run on {difference}: \
         what one of them leaves there, the other takes for its own"
    );
    let own = format!("{}-{}", word(id), distribution(second.step));
    let help =
        format!("give each an id of its own: `--mount=type=cache,id={own},target={}`", second.mount.target);
    Some(
        Finding::at(&RULE, cx, second.mount.flag.span, message)
            .label("the same cache on another system")
            .also(first.mount.flag.span, "is filled here as well")
            .help(help)
            .evidence("id", id)
            .evidence("reason", "mixed")
            .evidence("bases", [distribution(first.step), distribution(second.step)]),
    )
}

fn is_native(path: &str) -> bool {
    NATIVE_FOLDERS.contains(&path.rsplit('/').next().unwrap_or_default())
}

fn runs_cargo(mounted: &Mounted<'_, '_>) -> bool {
    processes(mounted.run, &mounted.step.state).iter().any(|p| p.program().is_some_and(|(n, _)| n == "cargo"))
}

/// What makes the systems of two steps different, in words.
fn difference(a: &Step<'_>, b: &Step<'_>) -> Option<String> {
    let (base_a, base_b) = (base_reference(&a.state)?, base_reference(&b.state)?);
    let shown = |r: &crate::image::reference::Reference| format!("`{}`", r.familiar());
    let (is_a, is_b) = (family(&a.state), family(&b.state));
    let musl = |f: Option<Family>| f == Some(Family::Alpine);
    if is_a.is_some() && is_b.is_some() && musl(is_a) != musl(is_b) {
        return Some(format!("{} and {}, which have different C libraries", shown(&base_a), shown(&base_b)));
    }
    // python:3.11 and python:3.12: what is compiled for one does not load in the other.
    let version = |tag: &Option<String>| {
        let tag = tag.clone()?;
        let numbers: Vec<String> = tag.split('-').next()?.split('.').take(2).map(str::to_owned).collect();
        let digits = |n: &String| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
        numbers.iter().all(digits).then_some(numbers)
    };
    let short = base_a.name.rsplit('/').next().unwrap_or_default();
    let (va, vb) = (version(&base_a.tag)?, version(&base_b.tag)?);
    let parts = if short == "node" { 1 } else { 2 };
    let differ =
        va.len() >= parts && vb.len() >= parts && va.iter().zip(&vb).take(parts).any(|(x, y)| x != y);
    let runtime = matches!(short, "python" | "node" | "ruby" | "php");
    (base_a.name == base_b.name && runtime && differ)
        .then(|| format!("{} and {}", shown(&base_a), shown(&base_b)))
}

/// Compiled files of all platforms of one build.
fn platforms(cx: &Cx<'_>, id: &str, mounted: &Mounted<'_, '_>) -> Option<Finding> {
    let (mount, step) = (mounted.mount, mounted.step);
    if !is_native(&mounted.path) {
        return None;
    }
    // With a variable in it the id is chosen by somebody who knows why.
    let fields = mount.flag.mount.as_ref()?;
    let key = if mount.id.is_some() { ["id", "id", "id"] } else { ["target", "dst", "destination"] };
    let written = fields.fields.iter().find(|f| key.contains(&f.key.as_str()))?.value.as_deref()?;
    if written.contains('$') {
        return None;
    }
    let lineage = cx.graph.lineage(step.stage);
    // A stage on the platform of the builder compiles for others by options, into folders of their own.
    let native =
        lineage.iter().filter_map(|i| cx.graph.stages.get(*i)).all(|s| s.platform_written.is_empty());
    let asks = |name: &&str| step.state.args.iter().any(|a| a == name);
    let asked = ["TARGETARCH", "TARGETPLATFORM", "TARGETVARIANT"].into_iter().find(asks);
    let several = cx.invocation.platforms.len() > 1;
    if !native || !(several || asked.is_some()) {
        return None;
    }
    let list = processes(mounted.run, &step.state);
    let cargo: Vec<_> = list.iter().filter(|p| p.program().is_some_and(|(n, _)| n == "cargo")).collect();
    let apart = cargo.iter().any(|p| p.command.has_flag(&["--target", "--target-dir"]));
    // cargo keeps platforms apart if only one of them runs at a time.
    if apart
        || list.is_empty()
        || (!is_unlocked(mount) && !cargo.is_empty())
        || mount.sharing == Some(Sharing::Locked)
    {
        return None;
    }
    let why = match asked {
        Some(name) if !several => format!("this stage asks for `{name}`"),
        _ => "several platforms are built".to_owned(),
    };
    let variable = asked.unwrap_or("TARGETARCH");
    let message = format!(
        "{why}, and the builds for all platforms write into one cache, `{id}`, at the same time: an image can get what \
         was compiled for another platform"
    );
    let declared = if asked.is_some() { "" } else { " below `ARG TARGETARCH`" };
    let help = format!(
        "put the platform into the id{declared}: `--mount=type=cache,id={}-${variable},target={}`",
        word(id),
        mount.target
    );
    let mut finding = Finding::at(&RULE, cx, mount.flag.span, message)
        .label("one folder for all platforms")
        .help(help)
        .evidence("id", id)
        .evidence("reason", "platforms");
    let declares =
        |s: &&Step<'_>| matches!(&s.action, Action::Arg(args) if args.iter().any(|a| a.name == variable));
    if let Some(arg) = cx.model.lineage_steps(step.stage).find(declares) {
        finding = finding.also(arg.instruction.span, "the stage is built for several platforms");
    }
    Some(finding)
}
