//! What a log says was reused: for a person and for programs.

use super::keys::clipped;
use super::{Human, Sources, json};
use crate::evidence::log::{BuildLog, StepState};
use crate::finding::{Finding, Severity};
use crate::reuse::cost::Cost;
use crate::reuse::{Build, Expected, Places, Reading, Step};
use serde::Serialize;
use std::io::{self, Write};

/// A log with everything that is known about it.
pub struct Told<'a> {
    /// The log.
    pub log: &'a BuildLog,
    /// Its builds.
    pub reading: &'a Reading<'a>,
    /// Their sums.
    pub costs: &'a [Cost],
    /// How log and Dockerfile are called.
    pub places: &'a Places<'a>,
    /// What it is compared with, in words.
    pub since: Option<&'a str>,
    /// What was found.
    pub findings: &'a [Finding],
    /// What could not be done.
    pub notes: &'a [String],
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    log: &'a str,
    dockerfile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a str>,
    builds: Vec<BuildItem<'a>>,
    steps: Vec<StepItem<'a>>,
    findings: Vec<json::Item<'a>>,
    notes: Vec<&'a str>,
    summary: Summary,
}

#[derive(Serialize)]
struct BuildItem<'a> {
    build: usize,
    log_line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    cached: usize,
    done: usize,
    seconds: f64,
    saved_seconds: f64,
    saved_known: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_done: Option<FirstItem<'a>>,
    unmatched: usize,
}

#[derive(Serialize)]
struct FirstItem<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    seconds: f64,
    below_seconds: f64,
    below_steps: usize,
}

#[derive(Serialize)]
struct StepItem<'a> {
    build: usize,
    name: &'a str,
    state: &'static str,
    seconds: Option<f64>,
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instruction: Option<&'a str>,
    expected: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'a str>,
}

#[derive(Serialize)]
struct Summary {
    builds: usize,
    steps: usize,
    findings: Counts,
}

#[derive(Serialize)]
struct Counts {
    error: usize,
    warning: usize,
    info: usize,
}

/// Seconds to a thousandth.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// `layerlint.log/1`.
pub fn json(out: &mut impl Write, told: &Told<'_>, sources: &Sources) -> io::Result<()> {
    let builds = told.reading.builds.iter().zip(told.costs).enumerate().map(|(number, (build, cost))| {
        let first = cost.first.as_ref().and_then(|f| {
            let step = build.steps.get(f.step)?;
            Some(FirstItem {
                name: &step.name,
                line: lines(told, step).map(|l| l.0),
                seconds: rounded(f.seconds),
                below_seconds: rounded(f.below),
                below_steps: f.steps,
            })
        });
        BuildItem {
            build: number + 1,
            log_line: build.logged.line,
            error: build.logged.error.as_deref(),
            cached: cost.cached,
            done: cost.done,
            seconds: rounded(cost.seconds),
            saved_seconds: rounded(cost.saved),
            saved_known: cost.saved_steps,
            first_done: first,
            unmatched: unmatched(build),
        }
    });
    let steps = told.reading.builds.iter().enumerate();
    let steps = steps.flat_map(|(number, b)| b.steps.iter().map(move |s| step_item(told, number + 1, s)));
    let steps: Vec<StepItem<'_>> = steps.collect();
    let count = |severity| told.findings.iter().filter(|f| f.severity == severity).count();
    let document = Document {
        schema: "layerlint.log/1",
        log: told.places.log,
        dockerfile: told.places.dockerfile,
        since: told.since,
        builds: builds.collect(),
        summary: Summary {
            builds: told.reading.builds.len(),
            steps: steps.len(),
            findings: Counts {
                error: count(Severity::Error),
                warning: count(Severity::Warning),
                info: count(Severity::Info),
            },
        },
        steps,
        findings: json::items(told.findings, sources),
        notes: told.notes.iter().map(String::as_str).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn step_item<'a>(told: &'a Told<'_>, build: usize, step: &'a Step<'_>) -> StepItem<'a> {
    let known = told.places.known(step);
    let lines = lines(told, step);
    let keyword = step.parts.keyword();
    StepItem {
        build,
        name: &step.name,
        state: step.state.name(),
        seconds: step.logged.and_then(|l| l.seconds).map(rounded).filter(|_| step.state == StepState::Done),
        line: lines.map(|l| l.0),
        end_line: lines.map(|l| l.1),
        stage: known.and_then(|k| k.stage.as_deref()).or(step.parts.stage.as_deref()),
        platform: step.parts.platform.as_deref(),
        instruction: Some(keyword).filter(|k| !k.is_empty()),
        expected: step.expected.name(),
        matched: step.place.map(|p| p.how.name()),
        log_line: step.logged.map(|l| l.line),
        error: step.logged.and_then(|l| l.error.as_deref()),
        remark: step.remark.as_deref(),
    }
}

fn lines(told: &Told<'_>, step: &Step<'_>) -> Option<(u32, u32)> {
    told.places.known(step)?.lines
}

fn unmatched(build: &Build<'_>) -> usize {
    build.steps.iter().filter(|s| s.counts() && s.logged.is_some() && s.place.is_none()).count()
}

/// For a person: the steps, the sums, then the findings.
pub fn human(out: &mut impl Write, told: &Told<'_>, human: &Human, sources: &Sources) -> io::Result<()> {
    let count = told.reading.builds.len();
    for (number, (build, cost)) in told.reading.builds.iter().zip(told.costs).enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        write!(out, "\x1b[1m{}\x1b[0m", told.places.log)?;
        if count > 1 {
            write!(out, "  build {} of {count}, line {}", number + 1, build.logged.line)?;
        }
        if let Some(dockerfile) =
            told.places.dockerfile.filter(|_| build.steps.iter().any(|s| s.place.is_some()))
        {
            write!(out, "  {dockerfile}")?;
        }
        if let Some(since) = told.since {
            write!(out, ", compared with what changed {since}")?;
        }
        writeln!(out)?;
        sums(out, told, build, cost)?;
        steps(out, told, build)?;
    }
    if !told.findings.is_empty() {
        writeln!(out)?;
    }
    told.findings.iter().try_for_each(|finding| human.finding(out, finding, sources))
}

fn sums(out: &mut impl Write, told: &Told<'_>, build: &Build<'_>, cost: &Cost) -> io::Result<()> {
    let other =
        build.steps.iter().filter(|s| s.counts() && !matches!(s.state, StepState::Cached | StepState::Done));
    let other = other.count();
    write!(out, "{} of {} steps reused", cost.cached, cost.cached + cost.done + other)?;
    if cost.saved_steps > 0 {
        let of = if cost.saved_steps < cost.cached {
            format!(" for {} of them", cost.saved_steps)
        } else {
            String::new()
        };
        write!(out, " (saved {:.1} s{of}, going by earlier builds in this log)", cost.saved)?;
    }
    writeln!(out, ", {} made in {:.1} s.", cost.done, cost.seconds)?;
    if let Some(first) = cost.first.as_ref().filter(|_| cost.cached > 0)
        && let Some(step) = build.steps.get(first.step)
    {
        let text = clipped(&step.parts.text, 60);
        let line = lines(told, step).map(|l| format!(" on line {}", l.0)).unwrap_or_default();
        let below = match first.steps {
            0 => "nothing that was made stands on it".to_owned(),
            n => format!(
                "and {:.1} s of {} on it",
                first.below,
                super::counted(n, "step that stands", "steps that stand")
            ),
        };
        writeln!(out, "The first that was not reused is `{text}`{line}: {:.1} s, {below}.", first.seconds)?;
    }
    if let Some(error) = &build.logged.error {
        writeln!(out, "\x1b[31mThe build failed: {}\x1b[0m", super::excerpt::clean(error))?;
    }
    let unmatched = unmatched(build);
    if unmatched > 0 && told.places.dockerfile.is_some() {
        writeln!(
            out,
            "{} of this log not in the Dockerfile as it is now.",
            super::counted(unmatched, "step is", "steps are")
        )?;
    }
    Ok(())
}

fn steps(out: &mut impl Write, told: &Told<'_>, build: &Build<'_>) -> io::Result<()> {
    let mut shown: Vec<(usize, &Step<'_>)> = build
        .steps
        .iter()
        .enumerate()
        .filter(|(_, s)| s.counts() || matches!(s.state, StepState::Error))
        .collect();
    let order = |(at, step): &(usize, &Step<'_>)| {
        let line = lines(told, step).map_or(u32::MAX, |l| l.0);
        (step.parts.index.is_none(), step.parts.before.clone(), step.parts.platform.clone(), line, *at)
    };
    // Without lines, stages stay together in the order in which the log has them.
    let firsts = |step: &Step<'_>| {
        let same = |other: &&Step<'_>| {
            other.parts.stage == step.parts.stage && other.parts.platform == step.parts.platform
        };
        build.steps.iter().position(|s| same(&s))
    };
    if shown.iter().any(|(_, s)| s.place.is_some()) || shown.len() > 5000 {
        shown.sort_by_key(order);
    } else {
        shown.sort_by_key(|(at, s)| (s.parts.index.is_none(), firsts(s), s.parts.index.map(|i| i.0), *at));
    }
    let mut heading = None;
    for (_, step) in shown {
        let stage =
            told.places.known(step).and_then(|k| k.stage.clone()).or_else(|| step.parts.stage.clone());
        let parts =
            [Some(step.parts.before.join(" ")).filter(|b| !b.is_empty()), step.parts.platform.clone(), stage];
        let here: Vec<String> = parts.into_iter().flatten().collect();
        if step.parts.index.is_some() && heading.as_ref() != Some(&here) {
            let name = here.join(" ");
            let title = if name.is_empty() { String::new() } else { format!("\x1b[1;36m{name}\x1b[0m\n") };
            write!(out, "\n{title}")?;
            heading = Some(here);
        }
        if step.parts.index.is_none() && heading.is_some() {
            writeln!(out)?;
            heading = None;
        }
        let (word, color) = match step.state {
            StepState::Cached => ("CACHED", "32"),
            StepState::Done => ("DONE", "33"),
            StepState::Error => ("ERROR", "31;1"),
            StepState::Canceled => ("CANCELED", "2"),
            StepState::Unfinished => ("cut off", "2"),
            StepState::NotStarted => ("not begun", "2"),
        };
        let line = lines(told, step).map(|l| l.0.to_string()).unwrap_or_default();
        let seconds = match (step.state, step.logged.and_then(|l| l.seconds)) {
            (StepState::Done, Some(seconds)) => format!("{seconds:.1} s"),
            _ => String::new(),
        };
        let text = if step.parts.index.is_some() { &step.parts.text } else { &step.name };
        let link = if step.parts.link { "LINK " } else { "" };
        let text = super::excerpt::clean(&clipped(text, 80));
        writeln!(out, "{line:>5}  \x1b[{color}m{word:9}\x1b[0m {seconds:>7}  {link}{text}")?;
        let indent = "                         ";
        let disagrees = matches!(
            (step.state, step.expected),
            (StepState::Cached, Expected::Done) | (StepState::Done, Expected::Cached)
        );
        if disagrees {
            writeln!(out, "{indent}\x1b[2mthe keys say {}\x1b[0m", step.expected.name())?;
        }
        if let Some(remark) = &step.remark {
            writeln!(out, "{indent}\x1b[2m{}\x1b[0m", super::excerpt::clean(remark))?;
        }
        if let Some(error) =
            step.logged.and_then(|l| l.error.as_deref()).filter(|_| step.state == StepState::Error)
        {
            writeln!(out, "{indent}\x1b[2m{}\x1b[0m", super::excerpt::clean(error))?;
        }
    }
    Ok(())
}
