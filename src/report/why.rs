//! What a build makes anew, and why: for a person and for programs.

use super::cause::CauseItem;
use super::keys::clipped;
use crate::key::change::{Cause, CauseKind, Comparison, Cost, Note, NoteKind, StepChange};
use crate::key::saved::{State, Step};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};
use std::io::{self, Write};

/// Files that are named for one cause when not all are.
const NAMED: usize = 8;

/// A comparison and how its sides are called.
pub struct Why<'a> {
    /// The second state.
    pub after: &'a State,
    /// What becomes of it.
    pub comparison: &'a Comparison,
    /// The first side in words: `since HEAD~1`, `against ../other`.
    pub since: String,
    /// All files of a cause are named.
    pub all_files: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dockerfile: &'a str,
    target: Option<&'a str>,
    summary: Summary,
    steps: Vec<Item<'a>>,
    notes: Vec<NoteItem<'a>>,
}

#[derive(Serialize)]
struct Summary {
    steps: usize,
    reused: usize,
    #[serde(flatten)]
    again: Again,
}

/// A [`Cost`] as it is written.
#[derive(Serialize)]
struct Again {
    rebuilt: usize,
    depends: usize,
    files: usize,
    bytes: u64,
}

impl Again {
    fn of(cost: Cost) -> Self {
        Self { rebuilt: cost.steps, depends: cost.open, files: cost.files, bytes: cost.bytes }
    }
}

#[derive(Serialize)]
struct Item<'a> {
    id: usize,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    status: &'static str,
    /// Not sure where the result of another step decides.
    exact: bool,
    /// On a daemon that still has the former files, where that is another status.
    #[serde(skip_serializing_if = "Option::is_none")]
    warm_status: Option<&'static str>,
    cause: CauseItem<'a>,
    /// What has to be done again because of this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    follow: Option<Again>,
}

#[derive(Serialize)]
struct NoteItem<'a> {
    kind: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// `layerlint.why/1`.
pub fn json(out: &mut impl Write, why: &Why<'_>) -> io::Result<()> {
    let steps = why.after.steps.iter().zip(&why.comparison.steps).enumerate();
    let total = shown_steps(why).count();
    let (cost, follow) = why.comparison.costs(why.after);
    let document = Document {
        schema: "layerlint.why/1",
        dockerfile: &why.after.dockerfile,
        target: why.after.target.as_deref(),
        summary: Summary { steps: total, reused: total - cost.steps - cost.open, again: Again::of(cost) },
        steps: steps.map(|(id, (step, change))| item(id, step, change, follow.get(&id))).collect(),
        notes: why.comparison.notes.iter().map(note).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn note(note: &Note) -> NoteItem<'_> {
    let kind = match note.kind {
        NoteKind::NoEffect => "no-effect",
        NoteKind::Warm => "warm-daemon",
        NoteKind::Uncertain => "uncertain",
    };
    NoteItem { kind, text: &note.text, line: note.line }
}

/// The steps that a person knows from the Dockerfile.
fn shown_steps<'a>(why: &'a Why<'_>) -> impl Iterator<Item = (usize, (&'a Step, &'a StepChange))> {
    let shown = |step: &Step| !step.instruction.is_empty() && step.instruction != "FROM";
    let steps = why.after.steps.iter().zip(&why.comparison.steps).enumerate();
    steps.filter(move |(_, (step, _))| shown(step))
}

fn status(cached: bool) -> &'static str {
    if cached { "CACHED" } else { "DONE" }
}

fn item<'s>(id: usize, step: &'s Step, change: &'s StepChange, follow: Option<&Cost>) -> Item<'s> {
    let cause = change.cause.as_ref().map_or_else(CauseItem::none, CauseItem::new);
    Item {
        id,
        name: &step.name,
        stage: step.stage.as_deref(),
        line: step.line,
        status: status(change.cached),
        exact: change.sure,
        warm_status: change.warm.map(status),
        cause,
        follow: follow.copied().map(Again::of),
    }
}

/// For a person.
pub fn human(out: &mut impl Write, why: &Why<'_>) -> io::Result<()> {
    let steps = || shown_steps(why);
    let anew = |change: &StepChange| !change.cached && change.cause.is_some();
    let total = steps().count();
    let (cost, _) = why.comparison.costs(why.after);
    let target = why.after.target.as_deref().unwrap_or_default();
    writeln!(out, "\x1b[1m{}\x1b[0m  target {target}, {}", why.after.dockerfile, why.since)?;
    if cost.steps + cost.open == 0 {
        writeln!(out, "All {total} steps are reused.")?;
    } else {
        let open = match cost.open {
            0 => String::new(),
            1 => ", 1 depends on what they make".to_owned(),
            n => format!(", {n} depend on what they make"),
        };
        let reused = total - cost.steps - cost.open;
        write!(out, "{} of {total} steps are made anew{open}, {reused} reused.", cost.steps)?;
        if cost.files > 0 {
            let (files, bytes) = (super::counted(cost.files, "file", "files"), super::size(cost.bytes));
            write!(out, " They take {files} of the context, {bytes}.")?;
        }
        writeln!(out)?;
    }
    let mut stage = None;
    for (number, (step, change)) in steps() {
        if stage != Some(&step.stage) {
            stage = Some(&step.stage);
            writeln!(out, "\n\x1b[1;36m{}\x1b[0m", step.stage.as_deref().unwrap_or_default())?;
        }
        let line = step.line.map(|l| l.to_string()).unwrap_or_default();
        let (mark, color) = match (anew(change), change.sure) {
            (false, _) => ("reused ", "32"),
            (true, true) => ("rebuilt", "33"),
            (true, false) => ("depends", "33"),
        };
        let text = clipped(&one_line(&step.text), 90);
        writeln!(out, "{line:>5}  \x1b[{color}m{mark:8}\x1b[0m {text}")?;
        if let Some(cause) = change.cause.as_ref().filter(|_| anew(change)) {
            person_cause(out, why, number, cause)?;
        }
    }
    for (kind, heading) in [
        (NoteKind::NoEffect, "Changed, and in no key:"),
        (NoteKind::Warm, "On a daemon that has built the former state, other than on a new one:"),
        (NoteKind::Uncertain, "Not compared, or only in part:"),
    ] {
        let notes: Vec<&Note> = why.comparison.notes.iter().filter(|n| n.kind == kind).collect();
        if notes.is_empty() {
            continue;
        }
        let most = if why.all_files { usize::MAX } else { NAMED };
        writeln!(out, "\n{heading}")?;
        for note in notes.iter().take(most) {
            let line = note.line.map(|l| format!("line {l}: ")).unwrap_or_default();
            writeln!(out, "  {line}{}", note.text)?;
        }
        let more = notes.len().saturating_sub(most);
        if more > 0 {
            writeln!(out, "  and {more} more (`--files` names them)")?;
        }
    }
    Ok(())
}

fn person_cause(out: &mut impl Write, why: &Why<'_>, number: usize, cause: &Cause) -> io::Result<()> {
    let indent = "                ";
    if let Some(parent) = cause.step {
        let origin = why.comparison.origin(number);
        let place = |n: usize| why.after.steps.get(n).and_then(|s| s.line);
        let step = why.after.steps.get(origin);
        let base = step.is_some_and(|s| s.instruction == "FROM");
        let mut lines: Vec<u32> =
            why.comparison.depends_on(why.after, number).into_iter().filter_map(place).collect();
        lines.dedup();
        if let [first, rest @ ..] = lines.as_slice() {
            let rest: String = rest.iter().map(|line| format!(" and {line}")).collect();
            let results = if rest.is_empty() { "result of line" } else { "results of lines" };
            return writeln!(
                out,
                "{indent}\x1b[2mon the {results} {first}{rest}: reused if the same comes out again\x1b[0m"
            );
        }
        return match (place(origin), place(parent)) {
            (Some(line), _) if base => {
                writeln!(out, "{indent}\x1b[2mbecause of the base image, line {line}\x1b[0m")
            }
            (Some(line), _) => writeln!(out, "{indent}\x1b[2mbecause of line {line}\x1b[0m"),
            _ => writeln!(out, "{indent}\x1b[2m{}\x1b[0m", cause.detail),
        };
    }
    match (cause.kind, &cause.words) {
        (CauseKind::Content, _) => {
            let most = if why.all_files { usize::MAX } else { NAMED };
            for path in cause.paths.iter().take(most) {
                let change = path.change.name();
                writeln!(out, "{indent}{change:8}  {}", path.path)?;
            }
            let more = cause.paths.len().saturating_sub(most);
            if more > 0 {
                writeln!(out, "{indent}and {more} more (`--files` names them)")?;
            }
            if cause.paths.is_empty() {
                writeln!(out, "{indent}{}", cause.detail)?;
            }
        }
        (_, Some((before, after))) => {
            writeln!(out, "{indent}{}", cause.detail)?;
            writeln!(out, "{indent}{}", words(before, after))?;
        }
        _ => writeln!(out, "{indent}{}", cause.detail)?,
    }
    Ok(())
}

/// Both texts in one line: what is gone struck out in red, what is new in green.
fn words(before: &str, after: &str) -> String {
    let (before, after) = (one_line(before), one_line(after));
    let diff = TextDiff::from_words(&before, &after);
    // Blanks are words of their own; neighbours of one kind belong together.
    let mut runs: Vec<(ChangeTag, String)> = Vec::new();
    for change in diff.iter_all_changes() {
        match runs.last_mut() {
            Some((tag, text)) if *tag == change.tag() => text.push_str(change.value()),
            _ => runs.push((change.tag(), change.value().to_owned())),
        }
    }
    let shown = runs.into_iter().map(|(tag, text)| match tag {
        ChangeTag::Equal => text,
        ChangeTag::Delete => format!("\x1b[31m[-{text}-]\x1b[0m"),
        ChangeTag::Insert => format!("\x1b[32m{{+{text}+}}\x1b[0m"),
    });
    shown.collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
