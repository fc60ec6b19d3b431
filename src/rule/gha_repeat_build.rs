//! One job that builds the same image again and exports the same cache each time.

use super::builds::{self, cache_place};
use super::{Rule, words};
use crate::finding::Finding;
use crate::invoke::Project;
use crate::invoke::call::{Call, Deed};
use std::collections::HashSet;

/// See `rules/gha-repeat-build.md`.
pub(super) const RULE: Rule = Rule {
    name: "gha-repeat-build",
    page: include_str!("../../rules/gha-repeat-build.md"),
    check: |_, _| {},
};

/// Places that are shown beside the first one.
const SHOWN: usize = 4;

pub(super) fn check(project: &Project, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for job in &project.jobs {
        let calls: Vec<&Call> = job
            .deeds
            .iter()
            .filter_map(|deed| match deed {
                Deed::Build(number) => project.calls.get(*number),
                Deed::Command(_) => None,
            })
            .filter(|call| builds::is_buildkit(call) && !call.open && !call.cache_to.is_empty())
            .collect();
        let mut taken = vec![false; calls.len()];
        for (number, first) in calls.iter().enumerate() {
            if taken.get(number).copied().unwrap_or(true) {
                continue;
            }
            let mut group = vec![*first];
            for (other, call) in calls.iter().enumerate().skip(number + 1) {
                if is_same(first, call) && go_together(first, call) {
                    group.push(call);
                    if let Some(slot) = taken.get_mut(other) {
                        *slot = true;
                    }
                }
            }
            if group.len() < 2 || !told.insert((first.file, first.head)) {
                continue;
            }
            findings.push(finding(project, &group));
        }
    }
}

/// Whether two builds make the same image and keep its cache in the same place.
fn is_same(a: &Call, b: &Call) -> bool {
    let value = |text: &Option<crate::invoke::call::Text>| text.as_ref().map(|t| t.value.clone());
    let values = |list: &[crate::invoke::call::Text]| {
        let mut list: Vec<String> = list.iter().map(|t| t.written().to_owned()).collect();
        list.sort();
        list
    };
    let args = |call: &Call| {
        let mut list: Vec<(String, String)> = call
            .args
            .iter()
            .map(|(n, v)| (n.clone(), v.as_ref().map(|t| t.written().to_owned()).unwrap_or_default()))
            .collect();
        list.sort();
        list
    };
    let exports = |call: &Call| {
        let mut list: Vec<String> = call.cache_to.iter().filter_map(|c| c.destination()).collect();
        list.sort();
        list
    };
    let contexts = |call: &Call| {
        let mut list: Vec<(String, String)> =
            call.contexts.iter().map(|(n, v)| (n.clone(), v.written().to_owned())).collect();
        list.sort();
        list
    };
    let Some(context) = a.context.as_ref() else { return false };
    let shared = exports(a).iter().any(|e| exports(b).contains(e));
    b.context.as_ref().is_some_and(|c| c.text().value == context.text().value)
        && value(&a.dockerfile).is_some()
        && value(&a.dockerfile) == value(&b.dockerfile)
        && value(&a.target) == value(&b.target)
        && values(&a.platforms) == values(&b.platforms)
        && args(a) == args(b)
        && contexts(a) == contexts(b)
        && shared
}

/// Whether both run in one run of the job: conditions that differ may exclude each other.
fn go_together(a: &Call, b: &Call) -> bool {
    match (&a.condition, &b.condition) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

fn finding(project: &Project, group: &[&Call]) -> Finding {
    let times = match group.len() {
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    };
    let Some(first) = group.first() else {
        return builds::finding(&RULE, project, (0, crate::source::Span::default()), "");
    };
    let entry = first.cache_to.first();
    let kept =
        entry.map_or_else(String::new, |c| format!(" to `{}`", words::shortened(c.text.written(), 60)));
    let message = format!(
        "this job builds {} {times} and exports its cache{kept} each time: every build after the first one finds all \
         its steps CACHED, and costs an import and an export for nothing",
        builds::image(first)
    );
    let help = "build once, with all names under `tags` (or all `--tag`s) and all outputs; to test before pushing, load \
                once and then `docker push`, or `docker buildx imagetools create` for another registry";
    let mut finding = builds::finding(&RULE, project, (first.file, first.head), message)
        .label("builds and exports")
        .help(help)
        .evidence("builds", group.len())
        .evidence("cache_to", entry.map(|c| c.text.written().to_owned()));
    let mut seen = vec![(first.file, first.head)];
    for call in group.iter().skip(1) {
        let place = (call.file, call.head);
        if seen.len() <= SHOWN && !seen.contains(&place) {
            seen.push(place);
            finding.related.push(builds::label(project, place, "the same build again, exported again"));
        }
    }
    if let Some(entry) = entry
        && cache_place(first, Some(&entry.text)).0 != first.file
    {
        finding.related.push(builds::label(project, cache_place(first, Some(&entry.text)), "exports here"));
    }
    finding
}
