//! What caching saved, and what the first step that was not reused cost.

use super::outline::Outline;
use super::{Build, Reading, Step};
use crate::evidence::log::StepState;
use std::collections::{BTreeSet, HashMap};

/// Sums of one build.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Steps that were reused.
    pub cached: usize,
    /// Steps that were made.
    pub done: usize,
    /// Seconds of the steps that were made.
    pub seconds: f64,
    /// Seconds that the reused steps took when they were made earlier in the same log.
    pub saved: f64,
    /// Of how many of them that is known.
    pub saved_steps: usize,
    /// The first step that was made, and what it cost.
    pub first: Option<First>,
}

/// The first step that was made although what it stands on was there.
#[derive(Clone, Debug, PartialEq)]
pub struct First {
    /// Which step of the build.
    pub step: usize,
    /// How long it took.
    pub seconds: f64,
    /// How long the steps took that were made because they stand on it.
    pub below: f64,
    /// How many they are.
    pub steps: usize,
}

/// Sums of every build of a log.
pub fn costs(reading: &Reading<'_>, outlines: &[Outline]) -> Vec<Cost> {
    // How long a step took when it was made, by its name.
    let mut made: HashMap<&str, f64> = HashMap::new();
    let mut out = Vec::new();
    for build in &reading.builds {
        out.push(cost(build, outlines, &made));
        for step in build.steps.iter().filter(|s| s.counts()) {
            if let Some(seconds) = seconds(step) {
                made.insert(&step.name, seconds);
            }
        }
    }
    out
}

fn seconds(step: &Step<'_>) -> Option<f64> {
    (step.state == StepState::Done).then(|| step.logged.and_then(|l| l.seconds)).flatten()
}

fn cost(build: &Build<'_>, outlines: &[Outline], made: &HashMap<&str, f64>) -> Cost {
    let mut out = Cost::default();
    for step in build.steps.iter().filter(|s| s.counts() && !s.parts.link) {
        match step.state {
            StepState::Cached => {
                out.cached += 1;
                if let Some(seconds) = made.get(step.name.as_str()) {
                    out.saved += seconds;
                    out.saved_steps += 1;
                }
            }
            StepState::Done => {
                out.done += 1;
                out.seconds += seconds(step).unwrap_or_default();
            }
            _ => {}
        }
    }
    let parents = parents(build, outlines);
    let ran: Vec<bool> = build.steps.iter().map(|s| s.counts() && s.state == StepState::Done).collect();
    let runs = |at: usize| ran.get(at).copied().unwrap_or(false);
    let begins =
        |at: &usize| runs(*at) && !parents.get(*at).into_iter().flatten().any(|parent| runs(*parent));
    // Of several, the one that cost most is what people should look at.
    let firsts = (0..build.steps.len()).filter(begins).map(|at| {
        let below = below(at, &parents, &ran);
        let own = |at: &usize| build.steps.get(*at).and_then(seconds).unwrap_or_default();
        // The sum of nothing would be minus zero.
        let sum = below.iter().map(own).fold(0.0, |sum, seconds| sum + seconds);
        First { step: at, seconds: own(&at), below: sum, steps: below.len() }
    });
    out.first = firsts.max_by(|a, b| (a.seconds + a.below).total_cmp(&(b.seconds + b.below)));
    out
}

/// The steps that ran because they stand on one.
fn below(first: usize, parents: &[Vec<usize>], ran: &[bool]) -> Vec<usize> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    for (at, above) in parents.iter().enumerate() {
        for parent in above {
            if let Some(list) = children.get_mut(*parent) {
                list.push(at);
            }
        }
    }
    let mut seen = BTreeSet::from([first]);
    let mut open = vec![first];
    while let Some(at) = open.pop() {
        for child in children.get(at).into_iter().flatten() {
            if ran.get(*child) == Some(&true) && seen.insert(*child) {
                open.push(*child);
            }
        }
    }
    seen.remove(&first);
    seen.into_iter().collect()
}

/// What each step stands on: as the log says, as the Dockerfile says, or by its place in its stage.
pub fn parents(build: &Build<'_>, outlines: &[Outline]) -> Vec<Vec<usize>> {
    let by_place: HashMap<(usize, usize), usize> = build
        .steps
        .iter()
        .enumerate()
        .filter_map(|(at, s)| s.place.map(|p| ((p.outline, p.vertex), at)))
        .collect();
    let by_logged: HashMap<*const crate::evidence::log::LoggedStep, usize> = build
        .steps
        .iter()
        .enumerate()
        .filter_map(|(at, s)| s.logged.map(|l| (std::ptr::from_ref(l), at)))
        .collect();
    type Stage<'s> = (&'s [String], Option<&'s str>, Option<&'s str>);
    let mut stages: HashMap<Stage<'_>, Vec<(u32, usize)>> = HashMap::new();
    for (at, step) in build.steps.iter().enumerate() {
        if let Some((index, _)) = step.parts.index {
            let name = &step.parts;
            let stage = (name.before.as_slice(), name.platform.as_deref(), name.stage.as_deref());
            stages.entry(stage).or_default().push((index, at));
        }
    }
    for steps in stages.values_mut() {
        steps.sort_unstable();
    }
    let of_step = |(at, step): (usize, &Step<'_>)| {
        let logged = step.logged.map(|l| l.inputs.as_slice()).unwrap_or_default();
        if !logged.is_empty() {
            let steps = logged.iter().filter_map(|i| build.logged.steps.get(*i));
            return steps.filter_map(|s| by_logged.get(&std::ptr::from_ref(s)).copied()).collect();
        }
        if let Some(place) = step.place
            && let Some(known) = outlines.get(place.outline).and_then(|o| o.steps.get(place.vertex))
        {
            return known_parents(place.outline, &known.inputs, outlines, &by_place);
        }
        let name = &step.parts;
        let Some((index, _)) = name.index else { return Vec::new() };
        let stage = (name.before.as_slice(), name.platform.as_deref(), name.stage.as_deref());
        let mut out: Vec<usize> = Vec::new();
        let mut earlier =
            stages.get(&stage).into_iter().flatten().filter(|(i, other)| *i < index && *other != at);
        out.extend(earlier.next_back().map(|(_, at)| *at));
        for from in name.text.split_whitespace().filter_map(|w| w.strip_prefix("--from=")) {
            let other = (name.before.as_slice(), name.platform.as_deref(), Some(from));
            out.extend(stages.get(&other).and_then(|s| s.last()).map(|(_, at)| *at));
        }
        out
    };
    build.steps.iter().enumerate().map(of_step).collect()
}

/// The nearest steps of the log below an operation; what the log does not have is looked through.
fn known_parents(
    outline: usize,
    inputs: &[usize],
    outlines: &[Outline],
    by_place: &HashMap<(usize, usize), usize>,
) -> Vec<usize> {
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<usize> = inputs.to_vec();
    while let Some(vertex) = open.pop() {
        if !seen.insert(vertex) {
            continue;
        }
        match by_place.get(&(outline, vertex)) {
            Some(at) => out.push(*at),
            None => {
                let known = outlines.get(outline).and_then(|o| o.steps.get(vertex));
                open.extend(known.into_iter().flat_map(|k| &k.inputs));
            }
        }
    }
    out
}
