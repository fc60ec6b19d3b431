//! What a log says was reused, and whether that agrees with what the build is keyed by.
//!
//! [`evidence::log`](crate::evidence::log) says what was printed; here its steps meet the instructions of a Dockerfile
//! ([`place`]), are counted ([`cost`]), and are judged: against the keys of two states ([`agreement`]), and by what a log
//! proves on its own ([`proof`]). What belongs here: facts about one log. What does not: risks of a Dockerfile, which
//! are rules.

pub mod agreement;
pub mod cost;
pub mod outline;
pub mod place;
pub mod proof;
pub mod sent;

mod cargo;
mod sketch;

use crate::evidence::log::name::StepName;
use crate::evidence::log::{LoggedBuild, LoggedStep, StepState};
use crate::finding::{Finding, Label, Severity};
use crate::source::Span;
use outline::Outline;

/// The builds of a log with what is known about them.
#[derive(Debug, Default)]
pub struct Reading<'l> {
    /// One for each build of the log.
    pub builds: Vec<Build<'l>>,
}

/// One build.
#[derive(Debug)]
pub struct Build<'l> {
    /// As it was printed.
    pub logged: &'l LoggedBuild,
    /// Its steps: those of the log, then those of the Dockerfile that it never came to.
    pub steps: Vec<Step<'l>>,
    /// Steps of the Dockerfile that the log has under other words, or not at all.
    pub unmatched: usize,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step<'l> {
    /// As it was printed; `None` for a step that is not in the log.
    pub logged: Option<&'l LoggedStep>,
    /// Its name.
    pub name: String,
    /// The name in parts.
    pub parts: StepName,
    /// What became of it.
    pub state: StepState,
    /// Its instruction.
    pub place: Option<Place>,
    /// What the keys say, if two states were compared.
    pub expected: Expected,
    /// Why it was made anew although nothing in its key changed, or the like.
    pub remark: Option<String>,
}

/// The instruction of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which outline.
    pub outline: usize,
    /// Which step of it.
    pub vertex: usize,
    /// How it was found.
    pub how: How,
}

/// How the instruction of a step was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// By its name.
    Name,
    /// By its place in its stage; its words fit, with values of variables that are not known here.
    Position,
    /// By its words, at another place.
    Text,
}

impl How {
    /// As in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            How::Name => "name",
            How::Position => "position",
            How::Text => "text",
        }
    }
}

/// What the keys say about a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Reused.
    Cached,
    /// Made anew.
    Done,
    /// Not known.
    #[default]
    Unknown,
}

impl Expected {
    /// As in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Expected::Cached => "CACHED",
            Expected::Done => "DONE",
            Expected::Unknown => "unknown",
        }
    }
}

impl Step<'_> {
    /// A step of the Dockerfile that can be reused: no image, no folder, no work of BuildKit's own.
    pub fn counts(&self) -> bool {
        self.parts.is_instruction() && self.parts.keyword() != "FROM"
    }
}

impl Build<'_> {
    /// Whether the log has the steps of the Dockerfile, with nothing left over.
    pub fn fits(&self) -> bool {
        let mut counted = self.steps.iter().filter(|s| s.logged.is_some() && s.counts()).peekable();
        counted.peek().is_some() && counted.all(|s| s.place.is_some())
    }
}

/// Where findings point.
pub struct Places<'p> {
    /// The log, as it is called.
    pub log: &'p str,
    /// The Dockerfile, as it is called.
    pub dockerfile: Option<&'p str>,
    /// What it would have in a log.
    pub outlines: &'p [Outline],
    /// Where lines of the log begin in what is shown of it.
    pub span: &'p dyn Fn(u64) -> Option<Span>,
}

impl Places<'_> {
    /// A line of the log.
    pub fn in_log(&self, line: u64, message: impl Into<String>) -> Label {
        Label { file: self.log.to_owned(), span: (self.span)(line), message: message.into() }
    }

    /// The instruction of a step.
    pub fn in_dockerfile(&self, step: &Step<'_>, message: impl Into<String>) -> Option<Label> {
        let known = self.known(step)?;
        Some(Label { file: self.dockerfile?.to_owned(), span: Some(known.span?), message: message.into() })
    }

    /// What the Dockerfile says about a step.
    pub fn known(&self, step: &Step<'_>) -> Option<&outline::Known> {
        let place = step.place?;
        self.outlines.get(place.outline)?.steps.get(place.vertex)
    }

    /// A finding about a step: at its instruction, if that is known, and at its line of the log.
    fn finding(
        &self,
        rule: &'static str,
        severity: Severity,
        message: String,
        step: &Step<'_>,
        at: (&str, &str),
    ) -> Finding {
        let line = step.logged.map_or(0, |l| l.end_line);
        let log = self.in_log(line, at.1);
        let (primary, related) = match self.in_dockerfile(step, at.0) {
            Some(primary) => (primary, vec![log]),
            None => (log, Vec::new()),
        };
        let stage = self.known(step).and_then(|k| k.stage.clone()).or_else(|| step.parts.stage.clone());
        let finding = Finding {
            rule,
            severity,
            message,
            primary,
            related,
            help: None,
            stage,
            evidence: serde_json::Map::new(),
            fix: None,
            fingerprint: String::new(),
        };
        finding.evidence("step", &step.name).evidence("log_line", line)
    }
}

/// A finding about the log as a whole, or a line of it.
fn finding_in_log(rule: &'static str, severity: Severity, message: String, primary: Label) -> Finding {
    Finding {
        rule,
        severity,
        message,
        primary,
        related: Vec::new(),
        help: None,
        stage: None,
        evidence: serde_json::Map::new(),
        fix: None,
        fingerprint: String::new(),
    }
}
