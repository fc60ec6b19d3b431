//! What a build makes anew, and why: for a person and for programs.

use super::cause::CauseItem;
use super::keys::clipped;
use crate::key::change::{Cause, CauseKind, Comparison, Note, NoteKind, StepChange};
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
    steps: Vec<Item<'a>>,
    notes: Vec<NoteItem<'a>>,
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
    cause: CauseItem<'a>,
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
    let document = Document {
        schema: "layerlint.why/1",
        dockerfile: &why.after.dockerfile,
        target: why.after.target.as_deref(),
        steps: steps.map(|(id, (step, change))| item(id, step, change)).collect(),
        notes: why.comparison.notes.iter().map(note).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn note(note: &Note) -> NoteItem<'_> {
    let kind = match note.kind {
        NoteKind::NoEffect => "no-effect",
        NoteKind::Uncertain => "uncertain",
    };
    NoteItem { kind, text: &note.text, line: note.line }
}

fn item<'s>(id: usize, step: &'s Step, change: &'s StepChange) -> Item<'s> {
    let cause = change.cause.as_ref().map_or_else(CauseItem::none, CauseItem::new);
    Item {
        id,
        name: &step.name,
        stage: step.stage.as_deref(),
        line: step.line,
        status: if change.cached { "CACHED" } else { "DONE" },
        exact: change.sure,
        cause,
    }
}

/// For a person.
pub fn human(out: &mut impl Write, why: &Why<'_>) -> io::Result<()> {
    let shown = |step: &Step| !step.instruction.is_empty() && step.instruction != "FROM";
    let steps =
        || why.after.steps.iter().zip(&why.comparison.steps).enumerate().filter(|(_, (s, _))| shown(s));
    let anew = |change: &StepChange| !change.cached && change.cause.is_some();
    let count = steps().filter(|(_, (_, c))| anew(c)).count();
    let total = steps().count();
    let target = why.after.target.as_deref().unwrap_or_default();
    writeln!(out, "\x1b[1m{}\x1b[0m  target {target}, {}", why.after.dockerfile, why.since)?;
    if count == 0 {
        writeln!(out, "All {total} steps are reused.")?;
    } else {
        writeln!(out, "{count} of {total} steps are made anew, {} reused.", total - count)?;
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
            (true, false) => ("rebuilt?", "33"),
        };
        let text = clipped(&one_line(&step.text), 90);
        writeln!(out, "{line:>5}  \x1b[{color}m{mark:8}\x1b[0m {text}")?;
        if let Some(cause) = change.cause.as_ref().filter(|_| anew(change)) {
            person_cause(out, why, number, cause)?;
        }
    }
    for (kind, heading) in [
        (NoteKind::NoEffect, "Changed, and in no key:"),
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
