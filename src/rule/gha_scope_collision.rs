//! Builds of different images that keep their caches under one name.

use super::Rule;
use super::builds::{self, cache_place, is_constant_in_run};
use super::volatile_arg_early::has_volatile_name;
use crate::finding::Finding;
use crate::invoke::call::{Cache, Call, DEFAULT_SCOPE, Job, Source, Text, Value};
use crate::invoke::{Invocation, Project};
use crate::source::Span;
use crate::stage::StageGraph;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// See `rules/gha-scope-collision.md`.
pub(super) const RULE: Rule = Rule {
    name: "gha-scope-collision",
    page: include_str!("../../rules/gha-scope-collision.md"),
    check: |_, _| {},
};

/// Places that are shown beside the first one.
const SHOWN: usize = 4;
/// Builds of one name that are compared with each other.
const COMPARED: usize = 200;

/// A build that writes a cache.
#[derive(Clone, Copy)]
struct Writer<'p> {
    call: &'p Call,
    cache: &'p Cache,
    job: Option<&'p Job>,
}

pub(super) fn check(project: &Project, findings: &mut Vec<Finding>) {
    // By the repository and the name of the cache; a name with an expression in it counts in one file only.
    let mut groups: BTreeMap<(PathBuf, Option<usize>, String), Vec<Writer<'_>>> = BTreeMap::new();
    for call in project.calls.iter().filter(|call| builds::is_buildkit(call)) {
        for cache in &call.cache_to {
            let Some(destination) = cache.destination() else { continue };
            let known = !destination.contains('$');
            if !known
                && !is_constant_in_run(&Text {
                    value: Value::Unknown(destination.clone()),
                    span: Span::default(),
                })
            {
                continue;
            }
            let Some(file) = project.file_of(call) else { continue };
            let within = (!known).then_some(call.file);
            let writer = Writer { call, cache, job: project.job_of(call) };
            groups.entry((file.root.clone(), within, destination)).or_default().push(writer);
        }
    }
    for ((_, _, destination), writers) in groups {
        findings.extend(collision(project, &destination, &writers));
    }
}

fn collision(project: &Project, destination: &str, writers: &[Writer<'_>]) -> Option<Finding> {
    let mut open_matrix = None;
    // One of each image.
    let mut distinct: Vec<Writer<'_>> = Vec::new();
    for writer in writers.iter().take(COMPARED) {
        if varies_with_matrix(writer) {
            open_matrix = open_matrix.or(Some(*writer));
        }
        if distinct.iter().all(|known| differ(project, known, writer)) {
            distinct.push(*writer);
        }
    }
    let first = open_matrix.or_else(|| distinct.first().copied())?;
    if distinct.len() < 2 && open_matrix.is_none() {
        return None;
    }
    let place = |w: &Writer<'_>| cache_place(w.call, Some(&w.cache.text));
    let mut names: Vec<String> = distinct.iter().map(|w| described(w, &distinct)).collect();
    names.dedup();
    let who = if distinct.len() < 2 {
        format!(
            "the jobs of this matrix, which build {} each with values of its own,",
            builds::image(first.call)
        )
    } else if names.len() < 2 {
        format!("{} builds of {} that differ", distinct.len(), names.join(""))
    } else {
        let plain = builds::listed(&names, SHOWN);
        format!("the builds of {plain}")
    };
    let (kind, name) = destination.split_once(' ').unwrap_or((destination, ""));
    let what = match kind {
        "gha" if name == DEFAULT_SCOPE && first.cache.field("scope").is_none() => {
            "to the one scope that `type=gha` has without `scope=`".to_owned()
        }
        "gha" => format!("to the scope `{name}` of `type=gha`"),
        "registry" => format!("to the reference `{name}`"),
        _ => format!("to the same place in `type={kind}`"),
    };
    let message = format!(
        "{who} export their caches {what}: each export replaces the one before as a whole, so the next run of every \
         other image finds nothing"
    );
    let example = scope_name(&distinct, first.call);
    let help = match kind {
        "gha" => format!(
            "give every image a scope of its own, in cache-to and cache-from: `type=gha,mode=max,scope={example}`"
        ),
        "registry" => format!(
            "give every image a reference of its own, such as `{name}-{example}`, in cache-to and cache-from"
        ),
        _ => {
            format!("give every image a name of its own in cache-to and cache-from, such as `name={example}`")
        }
    };
    let mut finding = builds::finding(&RULE, project, place(&first), message)
        .label(if distinct.len() < 2 {
            "every job of the matrix writes here".to_owned()
        } else {
            format!("writes {} here", described(&first, &distinct))
        })
        .help(help)
        .evidence("cache", destination)
        .evidence("images", names.clone());
    let mut seen = vec![place(&first)];
    for writer in &distinct {
        let at = place(writer);
        if seen.contains(&at) || seen.len() > SHOWN {
            continue;
        }
        seen.push(at);
        finding.related.push(builds::label(
            project,
            at,
            format!("writes {} to the same name", described(writer, &distinct)),
        ));
    }
    Some(finding)
}

/// What tells a build apart from the others.
fn described(writer: &Writer<'_>, all: &[Writer<'_>]) -> String {
    let image = builds::image(writer.call);
    if all.iter().filter(|w| builds::image(w.call) == image).count() < 2 {
        return image;
    }
    let platforms: Vec<&str> = writer.call.platforms.iter().map(Text::written).collect();
    if all.iter().any(|w| w.call.platforms.iter().map(Text::written).ne(platforms.iter().copied()))
        && !platforms.is_empty()
    {
        return format!("{image} for {}", platforms.join(", "));
    }
    let differing = writer.call.args.iter().find(|(name, value)| {
        all.iter().any(|w| {
            w.call
                .args
                .iter()
                .any(|(n, v)| n == name && v.as_ref().map(|t| &t.value) != value.as_ref().map(|t| &t.value))
        })
    });
    match differing {
        Some((name, value)) => {
            format!("{image} with `{name}={}`", value.as_ref().map_or("", |t| t.written()))
        }
        None => image,
    }
}

/// A name for the scope that the help shows.
fn scope_name(distinct: &[Writer<'_>], call: &Call) -> String {
    if let Some(matrix) = matrix_reference(call) {
        return matrix;
    }
    let call = distinct.first().map_or(call, |w| w.call);
    let text = match (&call.target, &call.context) {
        (Some(target), _) => target.written().to_owned(),
        (None, Some(context)) => context.text().written().to_owned(),
        _ => "app".to_owned(),
    };
    let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let clean: String =
        last.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    if clean.is_empty() { "app".to_owned() } else { clean }
}

/// A reference to the matrix in what decides the image.
fn matrix_reference(call: &Call) -> Option<String> {
    identity_texts(call).into_iter().find_map(|text| {
        let Value::Unknown(written) = &text.value else { return None };
        let at = written.find("matrix.")?;
        let name: String = written
            .get(at..)?
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
            .collect();
        Some(format!("${{{{ {name} }}}}"))
    })
}

/// The texts that decide which image it is.
fn identity_texts(call: &Call) -> Vec<&Text> {
    let context = call.context.as_ref().map(Source::text);
    context.into_iter().chain(&call.dockerfile).chain(&call.target).chain(&call.platforms).collect()
}

/// Whether the jobs of a matrix that is not known build different images.
fn varies_with_matrix(writer: &Writer<'_>) -> bool {
    writer.job.is_some_and(|job| job.open_matrix) && matrix_reference(writer.call).is_some()
}

/// Whether two builds are surely of different images, so that the export of one is of no use for the other.
fn differ(project: &Project, a: &Writer<'_>, b: &Writer<'_>) -> bool {
    let (one, two) = (a.call, b.call);
    let known = |texts: (Option<&Text>, Option<&Text>)| {
        let (x, y) = (texts.0?.known()?, texts.1?.known()?);
        Some(x != y)
    };
    let files = (project.dockerfile_of(one), project.dockerfile_of(two));
    if let (Some(x), Some(y)) = &files
        && x != y
    {
        return true;
    }
    let same_file = match &files {
        (Some(x), Some(y)) => x == y,
        _ => one.dockerfile.as_ref().map(|t| &t.value) == two.dockerfile.as_ref().map(|t| &t.value),
    };
    if known((one.context.as_ref().map(Source::text), two.context.as_ref().map(Source::text))) == Some(true) {
        return true;
    }
    if !same_file {
        return false;
    }
    platforms_differ(one, two) || args_differ(one, two) || targets_differ(project, a, b)
}

fn platforms_differ(a: &Call, b: &Call) -> bool {
    let known = |call: &Call| -> Option<BTreeSet<String>> {
        let set: Option<BTreeSet<String>> =
            call.platforms.iter().map(|t| t.known().map(str::to_owned)).collect();
        set.filter(|s| !s.is_empty())
    };
    match (known(a), known(b)) {
        (Some(a), Some(b)) => a.is_disjoint(&b),
        _ => false,
    }
}

/// Whether a build argument has different values that are no mere stamps.
fn args_differ(a: &Call, b: &Call) -> bool {
    a.args.iter().any(|(name, value)| {
        let Some(value) = value.as_ref().and_then(Text::known) else { return false };
        let other = b.args.iter().rev().find(|(n, _)| n == name).and_then(|(_, v)| v.as_ref()?.known());
        other.is_some_and(|other| other != value) && !has_volatile_name(name)
    })
}

/// Whether one of two targets needs stages that the other does not, and the other way round.
fn targets_differ(project: &Project, a: &Writer<'_>, b: &Writer<'_>) -> bool {
    let (Ok(one), Ok(two)) = (a.call.stage(), b.call.stage()) else { return false };
    if one == two {
        return false;
    }
    let Some(document) = project.document_of(a.call).filter(|d| d.errors.is_empty()) else { return false };
    let needed = |target: Option<&str>| -> BTreeSet<usize> {
        let invocation = Invocation { target: target.map(str::to_owned), ..Invocation::default() };
        let graph = StageGraph::new(document, &invocation);
        graph.stages.iter().filter(|s| s.reachable).map(|s| s.index).collect()
    };
    let (one, two) = (needed(one), needed(two));
    !one.is_empty() && !two.is_empty() && !one.is_subset(&two) && !two.is_subset(&one)
}
