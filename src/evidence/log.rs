//! What a build printed: BuildKit's progress, as `--progress=plain` and `--progress=rawjson` write it.
//!
//! A log comes from a terminal, a file or a CI system, which puts times, colours and names in front of the lines, cuts
//! it, or lets several builds write into it; and the processes of the build print into it whatever they like. So it is
//! read as a stream of lines in bounded memory, and a line counts as BuildKit's own only where BuildKit could have
//! printed it (`util/progress/progressui`). What belongs here: which steps there were and what became of them. What does
//! not: whether that is good.

pub mod command;
pub mod name;
pub mod time;

mod line;
mod plain;
mod raw;

use crate::source::SourceFile;
use command::BuildCommand;
use line::Lines;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

/// Steps of one log that are kept; no build has more.
const MOST_STEPS: usize = 200_000;
/// Lines of a step's output that are kept.
const MOST_KEPT: usize = 20_000;
/// Lines after this one are named by their number alone.
const MOST_SHOWN: u64 = 20_000_000;
/// Bytes kept of a line that is shown later.
const WIDEST: usize = 400;

/// What was printed by the builds of one log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BuildLog {
    /// The builds, in the order in which they begin.
    pub builds: Vec<LoggedBuild>,
    /// Number of lines.
    pub lines: u64,
    /// What could not be read, in sentences without full stop.
    pub notes: Vec<String>,
    /// Lines that findings may point at, by number.
    pub shown: BTreeMap<u64, String>,
    /// The classic builder's `Step 1/5 : FROM …` was seen.
    pub classic: bool,
}

/// One build.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoggedBuild {
    /// Its first line in the log.
    pub line: u64,
    /// Its steps, in the order in which the log mentions them first.
    pub steps: Vec<LoggedStep>,
    /// What the client says if the build fails.
    pub error: Option<String>,
    /// The command line that stands above it, if the log shows one.
    pub command: Option<BuildCommand>,
    /// The log does not have its beginning.
    pub headless: bool,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StepState {
    /// It was named and never started, or it is not in the log at all.
    NotStarted,
    /// It began; the log does not have its end.
    #[default]
    Unfinished,
    /// Taken from the cache.
    Cached,
    /// Made anew; for what has no cache, done.
    Done,
    /// It failed.
    Error,
    /// Stopped, because another step failed or the result was not needed any more.
    Canceled,
}

impl StepState {
    /// As in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            StepState::NotStarted => "not-started",
            StepState::Unfinished => "unfinished",
            StepState::Cached => "cached",
            StepState::Done => "done",
            StepState::Error => "error",
            StepState::Canceled => "canceled",
        }
    }
}

/// One step (BuildKit's vertex).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoggedStep {
    /// The number that plain progress gives it.
    pub number: Option<u64>,
    /// Its digest, in JSON progress.
    pub digest: Option<String>,
    /// Its name; empty if the log does not have it.
    pub name: String,
    /// What became of it.
    pub state: StepState,
    /// How long it took.
    pub seconds: Option<f64>,
    /// What failed.
    pub error: Option<String>,
    /// The steps it is made from, as indexes; known from JSON progress only.
    pub inputs: Vec<usize>,
    /// The line that names it first.
    pub line: u64,
    /// The line that says what became of it.
    pub end_line: u64,
    /// When it ended, in seconds since 1970, if the log says so.
    pub ended: Option<f64>,
    /// What was transferred for it, by what it is called: `context`, `dockerfile`.
    pub transfers: Vec<Transfer>,
    /// Layers were fetched or unpacked for it.
    pub unpacked: bool,
    /// Lines of output that the reader was asked to keep, with their numbers in the log.
    pub kept: Vec<(u64, String)>,
    /// Lines of output.
    pub output_lines: u64,
}

/// Bytes that were transferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What: `context`, `dockerfile`, the name of another context.
    pub what: String,
    /// At least so many; the log rounds.
    pub least: u64,
    /// At most so many.
    pub most: u64,
    /// The line that says so.
    pub line: u64,
}

impl LoggedStep {
    /// The transfer of that name.
    pub fn transfer(&self, what: &str) -> Option<&Transfer> {
        self.transfers.iter().find(|t| t.what == what)
    }

    fn transferred(&mut self, found: Transfer) {
        if let Some(known) = self.transfers.iter_mut().find(|t| t.what == found.what) {
            *known = found;
        } else if self.transfers.len() < 100 {
            self.transfers.push(found);
        }
    }

    fn output(&mut self, line: u64, text: &str, keep: Keep<'_>) {
        self.output_lines += 1;
        if self.kept.len() < MOST_KEPT && keep(text) {
            self.kept.push((line, clipped(text)));
        }
    }
}

/// Which lines of output are worth keeping.
pub type Keep<'k> = &'k dyn Fn(&str) -> bool;

impl BuildLog {
    /// Reads a log to its end.
    pub fn read(reader: impl Read, keep: Keep<'_>) -> io::Result<Self> {
        let mut lines = Lines::new(io::BufReader::with_capacity(1 << 17, reader))?;
        let mut plain = plain::Reader::new(keep);
        let mut json = raw::Reader::new(keep);
        let mut notes = Vec::new();
        let mut classic = false;
        let mut command = None;
        while let Some(line) = lines.next()? {
            let number = line.number;
            if line.is_json() {
                match json.line(number, line.json(), &mut command) {
                    Ok(()) => {}
                    Err(message) if notes.len() < 20 => notes.push(format!("line {number}: {message}")),
                    Err(_) => {}
                }
                continue;
            }
            let text = line.text();
            if plain.line(number, &text, &mut command) {
                continue;
            }
            if let Some(found) = BuildCommand::find(&text, number) {
                command = Some(found);
            }
            classic |= is_classic(&text);
        }
        let lines = lines.number;
        let mut builds = plain.finish();
        builds.extend(json.finish());
        builds.retain(|b| !b.steps.is_empty());
        builds.sort_by_key(|b| b.line);
        let mut shown = BTreeMap::new();
        for build in &builds {
            if let Some(command) = &build.command {
                shown.insert(command.line, command.text.clone());
            }
            for step in &build.steps {
                let number = step.number.map(|n| format!("#{n} ")).unwrap_or_default();
                shown.insert(step.line, clipped(&format!("{number}{}", step.name)));
            }
        }
        for step in builds.iter().flat_map(|b| &b.steps) {
            let number = step.number.map(|n| format!("#{n} ")).unwrap_or_default();
            let end = match (step.state, step.seconds) {
                (StepState::Cached, _) => "CACHED".to_owned(),
                (StepState::Done, Some(seconds)) => format!("DONE {seconds:.1}s"),
                (StepState::Done, None) => "DONE".to_owned(),
                (StepState::Canceled, _) => "CANCELED".to_owned(),
                (StepState::Error, _) => format!("ERROR: {}", step.error.as_deref().unwrap_or_default()),
                (StepState::Unfinished | StepState::NotStarted, _) => continue,
            };
            shown.entry(step.end_line).or_insert_with(|| clipped(&format!("{number}{end}")));
            for (line, text) in &step.kept {
                shown.entry(*line).or_insert_with(|| clipped(&format!("{number}{text}")));
            }
            for transfer in &step.transfers {
                let bytes = transfer.least;
                let text = format!("{number}transferring {}: {bytes}B", transfer.what);
                shown.entry(transfer.line).or_insert(text);
            }
        }
        Ok(BuildLog { builds, lines, notes, shown, classic })
    }

    /// The lines that findings may point at, as a file in which they have their numbers. What is between them is left
    /// out, so that a log of any size can be shown.
    pub fn excerpt(&self, name: &str) -> SourceFile {
        let mut text = String::new();
        let mut at = 1;
        for (line, shown) in self.shown.iter().filter(|(line, _)| **line <= MOST_SHOWN) {
            while at < *line {
                let beside = at + 1 == *line || (at > 1 && self.shown.contains_key(&(at - 1)));
                text.push_str(if beside { "…\n" } else { "\n" });
                at += 1;
            }
            text.push_str(shown);
            text.push('\n');
            at += 1;
        }
        SourceFile::from_bytes(name, text)
    }

    /// Whether nothing of BuildKit was found.
    pub fn is_empty(&self) -> bool {
        self.builds.is_empty()
    }
}

/// The classic builder counts `Step 3/7 : RUN …`.
fn is_classic(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("Step ") else { return false };
    let Some((count, _)) = rest.split_once(" : ") else { return false };
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    count.split_once('/').is_some_and(|(at, of)| number(at) && number(of))
}

/// At most so many bytes of a text as are kept.
fn clipped(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= WIDEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A reader that is read line by line.
trait Source: BufRead {}
impl<R: BufRead> Source for R {}
