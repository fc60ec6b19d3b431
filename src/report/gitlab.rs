//! GitLab's code quality report: a JSON array in Code Climate's shape.

use super::address::{digest, from_root, identity};
use super::{Report, Sources};
use crate::finding::{Label, Severity};
use serde::Serialize;
use std::collections::HashSet;
use std::io::{self, Write};

#[derive(Serialize)]
struct Issue<'a> {
    description: &'a str,
    check_name: &'a str,
    /// GitLab drops issues whose fingerprint it has seen in the same report.
    fingerprint: String,
    severity: &'static str,
    location: Location,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: u32,
    end: u32,
}

#[derive(Serialize)]
struct Content<'a> {
    body: &'a str,
}

/// Writes problems and findings. `prefix` leads from the root of the repository to the working directory.
pub(super) fn write(
    out: &mut impl Write,
    report: &Report,
    sources: &Sources,
    prefix: &str,
) -> io::Result<()> {
    let location = |label: &Label| {
        // A file as a whole is shown at its first line.
        let lines = sources
            .positions(label)
            .map_or(Lines { begin: 1, end: 1 }, |(start, end)| Lines { begin: start.line, end: end.line });
        Location { path: from_root(prefix, &label.file), lines }
    };
    let mut seen = HashSet::new();
    let mut unique = |mut fingerprint: String| {
        while !seen.insert(fingerprint.clone()) {
            fingerprint = digest(&[&fingerprint, "again"]);
        }
        fingerprint
    };
    let mut issues = Vec::new();
    for problem in &report.problems {
        let name = problem.kind.name();
        issues.push(Issue {
            description: &problem.message,
            check_name: name,
            fingerprint: unique(digest(&[&from_root(prefix, &problem.place.file), name, &problem.message])),
            severity: "blocker",
            location: location(&problem.place),
            content: problem.help.as_deref().map(|body| Content { body }),
        });
    }
    for finding in &report.findings {
        issues.push(Issue {
            description: &finding.message,
            check_name: finding.rule,
            fingerprint: unique(identity(prefix, finding)),
            severity: match finding.severity {
                Severity::Error => "critical",
                Severity::Warning => "major",
                Severity::Info => "minor",
            },
            location: location(&finding.primary),
            content: finding.help.as_deref().map(|body| Content { body }),
        });
    }
    serde_json::to_writer(&mut *out, &issues)?;
    writeln!(out)
}
