//! Plain progress: `#5 [2/5] RUN make`, `#5 0.123 output`, `#5 DONE 3.4s`
//! (`textMux` in `util/progress/progressui/printer.go`).
//!
//! The printer shows one step at a time. It goes to another only when the current one has ended, or after `#5 ...`, and
//! then names the step it goes to; what processes print has a time before it. So a line counts only where it can stand.
//! That matters where something between splits lines at carriage returns: then a process can begin a line. What cannot
//! stand where it stands is kept back: if the current step goes on, it was a process's; if steps follow in good order,
//! lines are missing from the log.

use super::command::BuildCommand;
use super::line::{self, Candidate};
use super::name::StepName;
use super::{Keep, LoggedBuild, LoggedStep, MOST_STEPS, StepState, Transfer, clipped, time};
use std::collections::HashMap;

/// Builds that write into one log at the same time, each with its own prefix.
const MOST_STREAMS: usize = 64;
/// Records that are kept back.
const MOST_PENDING: usize = 512;
/// Bytes kept of a name.
const LONGEST_NAME: usize = 1 << 16;

/// Reads the lines of a log that are plain progress.
pub(super) struct Reader<'k> {
    keep: Keep<'k>,
    streams: Vec<(String, Stream)>,
    /// The stream of the last record, which speaks for lines without one.
    last: usize,
    steps: usize,
}

/// Lines with one prefix: builds that follow each other.
#[derive(Default)]
struct Stream {
    done: Vec<LoggedBuild>,
    build: LoggedBuild,
    by_number: HashMap<u64, usize>,
    /// The step that is shown.
    current: Option<u64>,
    /// It was left; another step must be named before anything else.
    left: bool,
    highest: u64,
    /// The client said that the build failed.
    failed: bool,
    /// It prints the digest of each step, as clients did until 2021.
    old: bool,
    pending: Vec<Record>,
}

/// One line `#5 …`.
#[derive(Clone)]
struct Record {
    line: u64,
    number: u64,
    rest: String,
    time: Option<f64>,
}

/// What a record says.
enum Says<'r> {
    Pause,
    Cached,
    Done(Option<f64>),
    Canceled,
    Error(&'r str),
    Warning,
    Output(&'r str),
    /// A name, or progress of the step.
    Other(&'r str),
}

impl<'r> Says<'r> {
    fn of(rest: &'r str) -> Self {
        match rest {
            "..." => return Says::Pause,
            "CACHED" => return Says::Cached,
            "DONE" => return Says::Done(None),
            "CANCELED" => return Says::Canceled,
            "ERROR" => return Says::Error(""),
            _ => {}
        }
        if let Some(time) = rest.strip_prefix("DONE ")
            && let Some(seconds) = time.strip_suffix('s').and_then(seconds)
        {
            return Says::Done(Some(seconds));
        }
        if let Some(error) = rest.strip_prefix("ERROR: ") {
            return Says::Error(error);
        }
        if rest.starts_with("WARN: ") {
            return Says::Warning;
        }
        let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
        if first.contains('.') && seconds(first).is_some() {
            return Says::Output(text);
        }
        Says::Other(rest)
    }

    fn is_end(&self) -> bool {
        matches!(self, Says::Cached | Says::Done(_) | Says::Canceled | Says::Error(_))
    }
}

/// `12.3`, digits and a point alone.
fn seconds(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.len() < 20 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { text.parse().ok() } else { None }
}

/// Whether a text can be the name of a step.
fn is_name(text: &str) -> bool {
    const STARTS: [&str; 16] = [
        "importing cache",
        "exporting ",
        "resolve image config",
        "docker-image://",
        "resolving provenance",
        "pushing ",
        "preparing build cache",
        "merging ",
        "load ",
        "local://",
        "git://",
        "https://",
        "http://",
        "copy ",
        "building ",
        "oci-layout://",
    ];
    let name = StepName::parse(text);
    name.index.is_some() || name.internal || STARTS.iter().any(|s| text.starts_with(s))
}

/// Whether a record can only be the beginning of a build.
fn is_beginning(number: u64, rest: &str) -> bool {
    match number {
        0 => rest.starts_with("building with "),
        1 => {
            let name = StepName::parse(rest);
            name.internal && ["load ", "booting "].iter().any(|s| name.text.starts_with(s))
                || rest.starts_with("load build definition")
        }
        // Clients of 2020 number steps before they show them.
        2 => rest.starts_with("[internal] load .dockerignore"),
        _ => false,
    }
}

impl<'k> Reader<'k> {
    pub(super) fn new(keep: Keep<'k>) -> Self {
        Self { keep, streams: Vec::new(), last: 0, steps: 0 }
    }

    /// Takes a line; false if it is none of plain progress. A command that was shown belongs to the build that begins
    /// next.
    pub(super) fn line(&mut self, number: u64, text: &str, command: &mut Option<BuildCommand>) -> bool {
        let found = line::candidates(text).find_map(|c| {
            let shape = line::shape(c.prefix);
            if let Some(at) = self.streams.iter().position(|(s, _)| *s == shape) {
                return Some((at, c));
            }
            self.begins(&shape, &c).then(|| {
                let headless = !is_beginning(c.number, c.rest);
                let build = LoggedBuild { headless, ..LoggedBuild::default() };
                self.streams.push((shape, Stream { build, ..Stream::default() }));
                (self.streams.len() - 1, c)
            })
        });
        let Some((at, candidate)) = found else {
            self.other(text);
            return false;
        };
        self.last = at;
        let mut rest = candidate.rest;
        if rest.len() > LONGEST_NAME {
            let end = (0..=LONGEST_NAME).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(0);
            rest = rest.get(..end).unwrap_or_default();
        }
        let time = prefix_time(candidate.prefix);
        let record = Record { line: number, number: candidate.number, rest: rest.to_owned(), time };
        let Some((_, stream)) = self.streams.get_mut(at) else { return false };
        let before = stream.build.steps.len();
        stream.take(&record, self.keep, self.steps < MOST_STEPS, command);
        self.steps += stream.build.steps.len().saturating_sub(before);
        true
    }

    /// Whether a prefix that was not seen yet may be that of a build.
    fn begins(&self, shape: &str, candidate: &Candidate<'_>) -> bool {
        if self.streams.len() >= MOST_STREAMS || line::is_report(shape) {
            return false;
        }
        if is_beginning(candidate.number, candidate.rest) {
            // Behind a known prefix stands what a report of BuildKit or a process wrote.
            return !self.streams.iter().any(|(s, _)| !s.is_empty() && shape.starts_with(s));
        }
        // The beginning is cut off: any line that only progress has, behind nothing but times.
        let says = Says::of(candidate.rest);
        let plausible = match &says {
            Says::Other(text) => is_name(text),
            Says::Pause | Says::Warning | Says::Error(_) => false,
            _ => true,
        };
        self.streams.is_empty() && candidate.number > 0 && plausible && line::is_noise(shape)
    }

    /// A line that is no record: what the client says.
    fn other(&mut self, text: &str) {
        let Some((_, stream)) = self.streams.get_mut(self.last) else { return };
        let said = ["ERROR: failed to ", "error: failed to ", "failed to solve: "];
        if let Some(at) = said.iter().find_map(|s| text.find(s)).filter(|at| *at < 128)
            && !stream.build.steps.is_empty()
        {
            stream.failed = true;
            stream.build.error = Some(clipped(text.get(at..).unwrap_or_default()));
        }
    }

    pub(super) fn finish(self) -> Vec<LoggedBuild> {
        let mut out = Vec::new();
        for (_, mut stream) in self.streams {
            stream.settle(self.keep);
            stream.close();
            out.append(&mut stream.done);
        }
        for build in &mut out {
            conclude(&mut build.steps);
        }
        out
    }
}

/// Target, platform and stage.
type Stage = (Vec<String>, Option<String>, Option<String>);

/// The printer can miss the end of a step. If a step above it in its stage was made, it was done.
fn conclude(steps: &mut [LoggedStep]) {
    let mut highest: HashMap<Stage, u32> = HashMap::new();
    let place = |name: StepName| (name.index, (name.before, name.platform, name.stage));
    for step in steps.iter().filter(|s| s.state == StepState::Done) {
        if let (Some((index, _)), stage) = place(StepName::parse(&step.name)) {
            let known = highest.entry(stage).or_default();
            *known = index.max(*known);
        }
    }
    for step in steps {
        if step.state == StepState::Unfinished
            && let (Some((index, _)), stage) = place(StepName::parse(&step.name))
            && highest.get(&stage).is_some_and(|made| *made > index)
        {
            step.state = StepState::Done;
        }
        if step.state != StepState::Done {
            step.seconds = None;
        }
    }
}

/// The time in front of a line, if it has a date.
fn prefix_time(prefix: &str) -> Option<f64> {
    let at = prefix.find(|c: char| c.is_ascii_digit())?;
    // `job\tstep\t2026-…`, `[2026-…] `
    let places = std::iter::once(at).chain(prefix.match_indices(['\t', ' ', '[']).map(|(at, _)| at + 1));
    places.take(8).find_map(|at| time::parse_prefix(prefix.get(at..)?).map(|(time, _)| time))
}

impl Stream {
    fn take(&mut self, record: &Record, keep: Keep<'_>, room: bool, command: &mut Option<BuildCommand>) {
        let says = Says::of(&record.rest);
        if record.number == 0 {
            if is_beginning(0, &record.rest) && !self.build.steps.is_empty() && self.open().is_none() {
                self.close();
                self.build.line = record.line;
                self.build.command = command.take();
            }
            return;
        }
        if let Some(open) = self.open() {
            if open != record.number {
                // Clients of 2020 print the number of the step that they go to.
                if self.old && matches!(says, Says::Pause) {
                    self.left = true;
                    return;
                }
                self.hold(record, keep);
                return;
            }
            self.pending.clear();
            self.apply(record, &says, keep);
            return;
        }
        if self.current == Some(record.number) && !self.names(record.number, &says) {
            // It goes on without being named: what ended it was none of BuildKit's.
            self.pending.clear();
            let more = |text: &str| {
                ["completed: ", "duration: ", "cached: ", "error: "]
                    .iter()
                    .any(|k| text.trim_start().starts_with(k))
            };
            if !matches!(says, Says::Other(text) if more(text)) {
                self.reopen(record.number);
            }
            self.apply(record, &says, keep);
            return;
        }
        if self.goes_to(record, &says, room, command) {
            self.pending.clear();
            let Says::Other(_) = says else {
                self.apply(record, &says, keep);
                return;
            };
        } else if !matches!(says, Says::Pause) {
            self.hold(record, keep);
        }
    }

    /// The step that is shown and has not ended.
    fn open(&self) -> Option<u64> {
        self.current.filter(|_| !self.left)
    }

    fn step(&mut self, number: u64) -> Option<&mut LoggedStep> {
        self.build.steps.get_mut(*self.by_number.get(&number)?)
    }

    /// Whether this says the name of the step of that number.
    fn names(&mut self, number: u64, says: &Says<'_>) -> bool {
        let Says::Other(text) = says else { return false };
        self.step(number)
            .is_some_and(|s| if s.name.is_empty() { is_name(text) } else { same_name(&s.name, text) })
    }

    /// Names the step that is shown from now on; false if this line cannot do that.
    fn goes_to(
        &mut self,
        record: &Record,
        says: &Says<'_>,
        room: bool,
        command: &mut Option<BuildCommand>,
    ) -> bool {
        let Record { line, number, rest, .. } = record;
        let first = self.build.steps.is_empty();
        let ended = self.step(*number).is_none_or(|s| s.state != StepState::Unfinished);
        // Clients of 2020 show the first two steps in any order.
        let enough = if self.old || *number > 1 { 3 } else { 2 };
        let starts_over = is_beginning(*number, rest) && (self.highest >= enough && ended || self.failed);
        if starts_over {
            self.close();
        } else if self.by_number.contains_key(number) {
            if !self.names(*number, says) {
                return false;
            }
            if let Some(step) = self.step(*number)
                && step.name.is_empty()
                && let Says::Other(name) = says
            {
                (*name).clone_into(&mut step.name);
            }
            self.current = Some(*number);
            self.left = false;
            return true;
        }
        let name = match says {
            Says::Other(name) if *number == self.highest + 1 || first || is_name(name) => *name,
            // The log was cut here: a step without its name.
            Says::Output(_) | Says::Cached | Says::Done(_) | Says::Canceled if first => "",
            _ => return false,
        };
        // Steps have numbers before they are shown, and where the beginning is missing one may be named late.
        if (*number < self.highest && !first && !starts_over && !is_name(name)) || !room {
            return false;
        }
        // Progress of a step whose name was cut off.
        let name = if first && !is_name(name) && self.build.headless { "" } else { name };
        if self.build.steps.is_empty() {
            self.build.line = *line;
            self.build.command = command.take();
        }
        self.by_number.insert(*number, self.build.steps.len());
        self.build.steps.push(LoggedStep {
            number: Some(*number),
            name: name.to_owned(),
            line: *line,
            end_line: *line,
            ..LoggedStep::default()
        });
        self.highest = self.highest.max(*number);
        self.current = Some(*number);
        self.left = false;
        true
    }

    fn reopen(&mut self, number: u64) {
        self.left = false;
        if let Some(step) = self.step(number) {
            step.state = StepState::Unfinished;
            step.seconds = None;
            step.error = None;
        }
    }

    /// What a record says about the step that is shown.
    fn apply(&mut self, record: &Record, says: &Says<'_>, keep: Keep<'_>) {
        let mut left = says.is_end() || matches!(says, Says::Pause);
        let Some(step) = self.step(record.number) else { return };
        if says.is_end() {
            step.end_line = record.line;
            step.ended = record.time;
        }
        match says {
            Says::Cached => step.state = StepState::Cached,
            // The layers of what was found are fetched later; that is no other state.
            Says::Done(_) if step.state == StepState::Cached => {}
            Says::Done(seconds) => {
                step.state = StepState::Done;
                step.seconds = *seconds;
            }
            Says::Canceled => step.state = StepState::Canceled,
            Says::Error(text) => {
                step.state = StepState::Error;
                step.error = Some(clipped(text));
            }
            Says::Output(text) => step.output(record.line, text, keep),
            Says::Other(text) => {
                left |= status(step, text, record);
                self.old |= text.starts_with("sha256:") && !text.contains(' ');
            }
            Says::Pause | Says::Warning => {}
        }
        self.left = left;
    }

    /// Keeps a record back that cannot stand where it stands.
    fn hold(&mut self, record: &Record, keep: Keep<'_>) {
        if self.pending.len() >= MOST_PENDING {
            self.settle(keep);
            self.pending.clear();
        }
        let rest = clipped(&record.rest);
        self.pending.push(Record { rest, ..record.clone() });
    }

    /// Lines are missing from the log if those that were kept back go on in good order.
    fn settle(&mut self, keep: Keep<'_>) {
        let pending = std::mem::take(&mut self.pending);
        let mut follows = true;
        let mut names = 0;
        for record in &pending {
            let says = Says::of(&record.rest);
            names += usize::from(follows && matches!(&says, Says::Other(text) if is_name(text)));
            follows = says.is_end() || matches!(says, Says::Pause);
        }
        if names < 2 {
            return;
        }
        self.left = true;
        // From the first record that names a step.
        let begin = |r: &&Record| !matches!(Says::of(&r.rest), Says::Other(text) if is_name(text));
        for record in pending.iter().skip_while(begin) {
            self.take(record, keep, true, &mut None);
        }
        self.pending.clear();
    }

    /// The build is over; what follows is another one.
    fn close(&mut self) {
        let mut build = std::mem::take(&mut self.build);
        build.steps.retain(|s| !s.name.is_empty());
        if !build.steps.is_empty() {
            self.done.push(build);
        }
        self.by_number.clear();
        self.current = None;
        self.left = false;
        self.highest = 0;
        self.failed = false;
        self.pending.clear();
    }
}

/// The same name; an old or narrow client shortens it.
fn same_name(known: &str, text: &str) -> bool {
    let shortened = |long: &str, short: &str| {
        short.strip_suffix("...").is_some_and(|s| s.len() > 20 && long.starts_with(s))
    };
    known == text || known.trim_end() == text.trim_end() || shortened(known, text) || shortened(text, known)
}

/// Progress of a step. True if it says, as clients of 2018 do, that the step has ended.
fn status(step: &mut LoggedStep, text: &str, record: &Record) -> bool {
    if let Some(rest) = text.strip_prefix("transferring ")
        && let Some((what, amount)) = rest.split_once(':')
    {
        if let Some((least, most)) = bytes(amount) {
            step.transferred(Transfer { what: what.to_owned(), least, most, line: record.line });
        }
        return false;
    }
    if text.starts_with("extracting ") || (text.starts_with("sha256:") && text.contains(" / ")) {
        step.unpacked = true;
        return false;
    }
    let Some((key, value)) = text.trim_start().split_once(": ") else { return false };
    match key {
        "name" if step.name.is_empty() => {
            value.trim_matches('"').clone_into(&mut step.name);
            return false;
        }
        "completed" => {
            if step.state == StepState::Unfinished {
                step.state = StepState::Done;
            }
            step.ended = time::parse(value.trim());
        }
        "duration" => step.seconds = go_duration(value.trim()),
        "cached" if value.trim() == "true" => step.state = StepState::Cached,
        "error" => {
            step.state = StepState::Error;
            step.error = Some(clipped(value.trim().trim_matches('"')));
        }
        _ => return false,
    }
    step.end_line = record.line;
    true
}

/// The bounds of an amount such as ` 1.08MB 0.1s done`, which is rounded to two digits behind the point.
fn bytes(text: &str) -> Option<(u64, u64)> {
    let word = text.split_whitespace().next()?;
    let at = word.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = word.split_at_checked(at)?;
    let scale: f64 = match unit {
        "B" => return number.parse().ok().map(|n| (n, n)),
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return None,
    };
    let value = number.parse::<f64>().ok().filter(|n| n.is_finite() && *n < 1e9)?;
    let decimals = number.split_once('.').map_or(0, |(_, d)| d.len().min(9));
    let half = (0..decimals).fold(0.5, |half, _| half / 10.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = |n: f64| n.max(0.0) as u64;
    Some((whole(((value - half) * scale).floor()), whole(((value + half) * scale).ceil())))
}

/// Seconds of `38.7ms`, `1m2.5s`.
fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at_checked(end)?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" | "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    Some(sum)
}
