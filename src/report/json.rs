//! `layerlint.check/1`.

use super::{Known, Report, Sources};
use crate::finding::{Finding, Label, Problem, Safety, Severity, Unseen};
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    findings: Vec<Item<'a>>,
    errors: Vec<Failure<'a>>,
    /// What rules could not look at.
    not_looked_at: &'a [Unseen],
    summary: Summary<'a>,
}

/// A finding as it is written.
#[derive(Serialize)]
pub(super) struct Item<'a> {
    rule: &'a str,
    severity: Severity,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    /// The page of the rule; left out as long as the project has no address.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    related: Vec<Related<'a>>,
    evidence: &'a serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<Repair<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    range: Option<Range>,
}

#[derive(Serialize)]
struct Range {
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
}

#[derive(Serialize)]
struct Related<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
}

#[derive(Serialize)]
struct Repair<'a> {
    safety: Safety,
    description: &'a str,
    edits: Vec<Edit<'a>>,
}

#[derive(Serialize)]
struct Edit<'a> {
    path: &'a str,
    start: u32,
    end: u32,
    text: &'a str,
}

#[derive(Serialize)]
struct Failure<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct Summary<'a> {
    files: usize,
    findings: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'a Known>,
}

#[derive(Serialize)]
struct Counts {
    error: usize,
    warning: usize,
    info: usize,
}

/// Writes the document and a line end.
pub(super) fn write(out: &mut impl Write, report: &Report, sources: &Sources) -> io::Result<()> {
    let place = |label: &'_ Label| range(label, sources);
    let count = |severity| report.count(severity);
    let document = Document {
        schema: "layerlint.check/1",
        findings: report.findings.iter().map(|f| item(f, &place)).collect(),
        errors: report.problems.iter().map(|p| failure(p, &place)).collect(),
        not_looked_at: &report.unseen,
        summary: Summary {
            files: report.files,
            findings: Counts {
                error: count(Severity::Error),
                warning: count(Severity::Warning),
                info: count(Severity::Info),
            },
            baseline: report.baseline.as_ref(),
        },
    };
    serde_json::to_writer(&mut *out, &document)?;
    writeln!(out)
}

/// Findings of a document that has more than them.
pub(super) fn items<'a>(findings: &'a [Finding], sources: &Sources) -> Vec<Item<'a>> {
    let place = |label: &'_ Label| range(label, sources);
    findings.iter().map(|f| item(f, &place)).collect()
}

fn range(label: &Label, sources: &Sources) -> Option<Range> {
    let (start, end) = sources.positions(label)?;
    Some(Range { line: start.line, column: start.column, end_line: end.line, end_column: end.column })
}

fn item<'a>(finding: &'a Finding, place: &impl Fn(&Label) -> Option<Range>) -> Item<'a> {
    let related = |label: &'a Label| Related {
        message: &label.message,
        place: Place { path: &label.file, range: place(label) },
    };
    Item {
        rule: finding.rule,
        severity: finding.severity,
        message: &finding.message,
        help: finding.help.as_deref(),
        url: page_address(finding.rule),
        place: Place { path: &finding.primary.file, range: place(&finding.primary) },
        stage: finding.stage.as_deref(),
        related: finding.related.iter().map(related).collect(),
        evidence: &finding.evidence,
        fix: finding.fix.as_ref().map(|fix| Repair {
            safety: fix.safety,
            description: &fix.description,
            edits: fix
                .edits
                .iter()
                .map(|e| Edit { path: &e.file, start: e.span.start, end: e.span.end, text: &e.text })
                .collect(),
        }),
    }
}

fn failure<'a>(problem: &'a Problem, place: &impl Fn(&Label) -> Option<Range>) -> Failure<'a> {
    Failure {
        place: Place { path: &problem.place.file, range: place(&problem.place) },
        message: &problem.message,
        help: problem.help.as_deref(),
    }
}

/// Where the page of a rule can be read, from `repository` of the manifest.
pub(super) fn page_address(rule: &str) -> Option<String> {
    const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
    (!REPOSITORY.is_empty()).then(|| format!("{REPOSITORY}/blob/main/rules/{rule}.md"))
}
