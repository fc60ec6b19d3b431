//! JSON progress: one status a line (`SolveStatus` in BuildKit's `client/graph.go`).

use super::command::BuildCommand;
use super::name::StepName;
use super::{Keep, LoggedBuild, LoggedStep, MOST_STEPS, StepState, Transfer, clipped, time};
use base64::Engine as _;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;

/// Bytes kept of a line of output that has no end yet.
const LONGEST_LINE: usize = 1 << 16;

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    vertexes: Option<Vec<Vertex<'a>>>,
    #[serde(borrow, default)]
    statuses: Option<Vec<Progress<'a>>>,
    #[serde(borrow, default)]
    logs: Option<Vec<Output<'a>>>,
}

#[derive(Deserialize)]
struct Vertex<'a> {
    #[serde(borrow, default)]
    digest: Cow<'a, str>,
    #[serde(default)]
    inputs: Option<Vec<String>>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    started: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    completed: Option<Cow<'a, str>>,
    #[serde(default)]
    cached: bool,
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Progress<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    vertex: Cow<'a, str>,
    #[serde(default)]
    current: i64,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow, default)]
    vertex: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
}

/// Reads the lines of a log that are JSON progress.
pub(super) struct Reader<'k> {
    keep: Keep<'k>,
    builds: Vec<Building>,
    steps: usize,
}

#[derive(Default)]
struct Building {
    build: LoggedBuild,
    by_digest: HashMap<String, usize>,
    more: Vec<More>,
}

/// What of a step is known only at the end.
#[derive(Default)]
struct More {
    inputs: Vec<String>,
    /// Start and end of each time that it was looked at.
    intervals: Vec<(f64, Option<f64>)>,
    cached: bool,
    started: bool,
    completed: bool,
    /// Output without its line end.
    partial: Vec<u8>,
}

impl<'k> Reader<'k> {
    pub(super) fn new(keep: Keep<'k>) -> Self {
        Self { keep, builds: Vec::new(), steps: 0 }
    }

    /// Takes a line, or says why it cannot be read.
    pub(super) fn line(
        &mut self,
        number: u64,
        json: &[u8],
        command: &mut Option<BuildCommand>,
    ) -> Result<(), String> {
        let status: Status<'_> = match serde_json::from_slice(json) {
            Ok(status) => status,
            Err(e) if e.is_eof() => return Err("this status is cut off".to_owned()),
            Err(e) => return Err(format!("this is no status of JSON progress: {e}")),
        };
        let vertexes = status.vertexes.unwrap_or_default();
        // A replay lists a whole build in one status, in any order.
        let asked = command.is_some();
        let follows = |b: &Building| vertexes.iter().any(|v| b.is_followed_by(v, number, asked));
        if !vertexes.is_empty() && self.builds.last().is_none_or(follows) {
            let build = LoggedBuild { line: number, command: command.take(), ..LoggedBuild::default() };
            self.builds.push(Building { build, ..Building::default() });
        }
        for vertex in vertexes {
            self.vertex(number, vertex);
        }
        let Some(building) = self.builds.last_mut() else { return Ok(()) };
        for progress in status.statuses.unwrap_or_default() {
            building.progress(number, &progress);
        }
        for output in status.logs.unwrap_or_default() {
            building.output(number, &output, self.keep);
        }
        Ok(())
    }

    fn vertex(&mut self, line: u64, vertex: Vertex<'_>) {
        let Some(building) = self.builds.last_mut() else { return };
        let at = match building.by_digest.get(vertex.digest.as_ref()) {
            Some(at) => *at,
            None if self.steps >= MOST_STEPS => return,
            None => {
                self.steps += 1;
                building.by_digest.insert(vertex.digest.clone().into_owned(), building.build.steps.len());
                building.more.push(More::default());
                building.build.steps.push(LoggedStep {
                    digest: Some(vertex.digest.clone().into_owned()),
                    state: StepState::NotStarted,
                    line,
                    end_line: line,
                    ..LoggedStep::default()
                });
                building.build.steps.len() - 1
            }
        };
        let (Some(step), Some(more)) = (building.build.steps.get_mut(at), building.more.get_mut(at)) else {
            return;
        };
        if !vertex.name.is_empty() {
            step.name = vertex.name.into_owned();
        }
        if let Some(inputs) = vertex.inputs {
            more.inputs = inputs;
        }
        let Some(started) = vertex.started else { return };
        let start = time::parse(&started).unwrap_or_default();
        let end = vertex.completed.as_deref().map(|t| time::parse(t).unwrap_or(start));
        if let Some((_, known)) = more.intervals.iter_mut().find(|(s, _)| *s == start) {
            *known = end.or(*known);
        } else if more.intervals.len() < 1000 {
            more.intervals.push((start, end));
        }
        more.started = true;
        more.completed = vertex.completed.is_some();
        // The layers of what was found may be fetched later; that is no other state.
        more.cached |= vertex.cached;
        step.error = vertex.error.filter(|e| !e.is_empty()).map(|e| clipped(&e));
        step.end_line = line;
        step.ended = end.or(step.ended);
    }

    pub(super) fn finish(self) -> Vec<LoggedBuild> {
        self.builds.into_iter().map(|b| b.finish(self.keep)).collect()
    }
}

/// Whether an error is that of a step which was stopped, not of one that failed.
fn is_canceled(error: &str) -> bool {
    error.ends_with("context canceled") || error.contains(": context canceled")
}

impl Building {
    /// Whether a vertex can only belong to another build: loading the Dockerfile comes before all steps of it.
    fn is_followed_by(&self, vertex: &Vertex<'_>, line: u64, asked: bool) -> bool {
        let loads = [
            "[internal] load build definition",
            "[internal] load git source",
            "[internal] load remote build",
        ];
        // The digest of a git context is the same each time.
        let instruction = |s: &&LoggedStep| StepName::parse(&s.name).is_instruction();
        let last = self.build.steps.iter().filter(instruction).filter_map(|s| s.ended).fold(0.0, f64::max);
        let again = || {
            asked || vertex.started.as_deref().and_then(time::parse).is_some_and(|t| t > last && last > 0.0)
        };
        let is_new = !self.by_digest.contains_key(vertex.digest.as_ref()) || again();
        // Of several targets each loads its own.
        is_new
            && loads.iter().any(|l| vertex.name.starts_with(l))
            && self.build.steps.iter().zip(&self.more).any(|(step, more)| {
                // A replay lists everything at once, in any order.
                let over = asked || step.error.is_some() || StepName::parse(&step.name).is_instruction();
                more.started && step.end_line < line && over
            })
    }

    fn progress(&mut self, line: u64, progress: &Progress<'_>) {
        let at = self.by_digest.get(progress.vertex.as_ref());
        let Some(step) = at.and_then(|at| self.build.steps.get_mut(*at)) else { return };
        if let Some(what) = progress.id.strip_prefix("transferring ") {
            let bytes = u64::try_from(progress.current).unwrap_or(0);
            let what = what.trim_end_matches(':').to_owned();
            step.transferred(Transfer { what, least: bytes, most: bytes, line });
        }
        step.unpacked |= progress.id.starts_with("extracting ");
    }

    fn output(&mut self, line: u64, output: &Output<'_>, keep: Keep<'_>) {
        let Some(at) = self.by_digest.get(output.vertex.as_ref()).copied() else { return };
        let (Some(step), Some(more)) = (self.build.steps.get_mut(at), self.more.get_mut(at)) else { return };
        let data = output.data.as_deref().unwrap_or_default();
        let Ok(data) = base64::engine::general_purpose::STANDARD.decode(data) else { return };
        for part in data.split_inclusive(|b| *b == b'\n') {
            let room = LONGEST_LINE.saturating_sub(more.partial.len());
            let text = part.strip_suffix(b"\n");
            let bytes = text.unwrap_or(part);
            more.partial.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
            if text.is_some() {
                let whole = std::mem::take(&mut more.partial);
                step.output(line, String::from_utf8_lossy(&whole).trim_end_matches('\r'), keep);
            }
        }
    }

    fn finish(mut self, keep: Keep<'_>) -> LoggedBuild {
        for (step, more) in self.build.steps.iter_mut().zip(&mut self.more) {
            if !more.partial.is_empty() {
                let text = String::from_utf8_lossy(&more.partial).into_owned();
                step.output(step.end_line, &text, keep);
            }
            let canceled = step.error.as_deref().is_some_and(is_canceled);
            step.state = match (&step.error, more.started, more.completed) {
                (Some(_), ..) if canceled => StepState::Canceled,
                (Some(_), ..) => StepState::Error,
                (None, false, _) => StepState::NotStarted,
                (None, true, false) => StepState::Unfinished,
                (None, true, true) if more.cached => StepState::Cached,
                (None, true, true) => StepState::Done,
            };
            if step.state == StepState::Done {
                step.seconds = Some(length(&mut more.intervals));
            }
            let known = |digest: &String| self.by_digest.get(digest).copied();
            step.inputs = more.inputs.iter().filter_map(known).collect();
        }
        self.build
    }
}

/// How long intervals are together, where they overlap once.
fn length(intervals: &mut [(f64, Option<f64>)]) -> f64 {
    intervals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    let mut until = f64::MIN;
    for (start, end) in intervals.iter() {
        let end = end.unwrap_or(*start);
        sum += (end - start.max(until)).max(0.0);
        until = until.max(end);
    }
    sum
}
