//! What people and programs get to see. Each format is a small function over the same data; the only room that
//! knows miette. It analyses nothing.

mod address;
pub mod cache;
mod cause;
mod concise;
mod context;
mod excerpt;
mod github;
mod gitlab;
pub mod graph;
mod human;
mod json;
pub mod keys;
pub mod log;
mod markdown;
mod page;
mod sarif;
pub mod verify;
pub mod why;
mod xml;

pub use context::{ContextFormat, write_context};
pub use human::Human;
pub use page::write_page;

use crate::finding::{Finding, Label, Problem, ProblemKind, Safety, Severity, Unseen};
use crate::source::{Position, SourceFile};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// The files that findings point into, by the names under which they are shown.
///
/// A file that nobody handed over is read when a label asks for it.
#[derive(Default)]
pub struct Sources {
    files: RefCell<HashMap<String, Option<Arc<SourceFile>>>>,
}

impl Sources {
    /// Starts with the files that are in memory already.
    pub fn new(files: impl IntoIterator<Item = Arc<SourceFile>>) -> Self {
        let files = files.into_iter().map(|file| (file.name.clone(), Some(file))).collect();
        Self { files: RefCell::new(files) }
    }

    /// Adds a file that is in memory already.
    pub fn add(&self, file: Arc<SourceFile>) {
        self.files.borrow_mut().insert(file.name.clone(), Some(file));
    }

    /// The file of that name, if it can be read.
    pub fn get(&self, name: &str) -> Option<Arc<SourceFile>> {
        let mut files = self.files.borrow_mut();
        if let Some(file) = files.get(name) {
            return file.clone();
        }
        let file = SourceFile::read(Path::new(name), name).ok().map(Arc::new);
        files.insert(name.to_owned(), file.clone());
        file
    }
}

impl Sources {
    /// Where a label begins and ends, if it has a place in a file that can be read.
    pub fn positions(&self, label: &Label) -> Option<(Position, Position)> {
        let span = label.span?;
        Some(self.get(&label.file)?.positions(span))
    }
}

/// What `check` has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which they are shown.
    pub findings: Vec<Finding>,
    /// Files that could not be read or that BuildKit would refuse.
    pub problems: Vec<Problem>,
    /// What rules could not look at.
    pub unseen: Vec<Unseen>,
    /// What is known already, where there is a baseline.
    pub baseline: Option<Known>,
    /// The Dockerfiles that were looked at, by the names under which they are shown.
    pub paths: Vec<String>,
    /// Number of Dockerfiles that were looked at, the refused ones included.
    pub files: usize,
}

/// What a baseline did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Known {
    /// Number of findings that are known, and not shown.
    pub known: usize,
    /// Entries that nothing fits any more.
    pub stale: Vec<Stale>,
}

/// An entry of a baseline that nothing fits any more.
#[derive(Clone, Debug, Serialize)]
pub struct Stale {
    /// The baseline.
    pub baseline: String,
    /// The file, as the baseline knows it.
    pub path: String,
    /// The rule.
    pub rule: String,
}

impl Known {
    /// In two sentences, for the end of a report.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.known > 0 {
            writeln!(
                out,
                "not shown because of the baseline: {}",
                counted(self.known, "finding", "findings")
            )?;
        }
        let Some(first) = self.stale.first() else { return Ok(()) };
        writeln!(
            out,
            "no longer found: {} of `{}`; --write-baseline writes it anew",
            counted(self.stale.len(), "entry", "entries"),
            first.baseline
        )?;
        self.stale.iter().try_for_each(|stale| writeln!(out, "  {}: {}", stale.path, stale.rule))
    }
}

/// One thing to be shown.
enum Entry<'a> {
    Problem(&'a Problem),
    Finding(&'a Finding),
}

/// The formats of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The lines themselves, underlined.
    Human {
        /// With colour.
        color: bool,
        /// With links to web pages, for terminals.
        links: bool,
    },
    /// One line each.
    Concise,
    /// `layerlint.check/1`.
    Json,
    /// Workflow commands of GitHub Actions.
    Github {
        /// From the root of the repository to the working directory: empty, or ends with `/`.
        prefix: String,
    },
    /// SARIF 2.1.0.
    Sarif {
        /// From the root of the repository to the working directory: empty, or ends with `/`.
        prefix: String,
    },
    /// GitLab's code quality report.
    Gitlab {
        /// From the root of the repository to the working directory: empty, or ends with `/`.
        prefix: String,
    },
    /// Checkstyle's XML.
    Checkstyle,
    /// JUnit's XML.
    Junit,
    /// Markdown, for a job summary.
    Markdown,
}

impl Report {
    /// Everything, file by file.
    fn entries(&self) -> Vec<Entry<'_>> {
        let problems = self.problems.iter().map(Entry::Problem);
        let mut entries: Vec<Entry<'_>> = problems.chain(self.findings.iter().map(Entry::Finding)).collect();
        entries.sort_by_key(|entry| match entry {
            Entry::Problem(problem) => &problem.place.file,
            Entry::Finding(finding) => &finding.primary.file,
        });
        entries
    }

    /// Number of findings of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Writes everything.
    pub fn write(&self, out: &mut impl Write, format: &Format, sources: &Sources) -> io::Result<()> {
        match format {
            Format::Human { color, links } => {
                let human = Human::new(*color, *links);
                self.entries().into_iter().try_for_each(|entry| match entry {
                    Entry::Problem(problem) => human.problem(out, problem, sources),
                    Entry::Finding(finding) => human.finding(out, finding, sources),
                })
            }
            Format::Concise => concise::write(out, self, sources),
            Format::Json => json::write(out, self, sources),
            Format::Github { prefix } => github::write(out, self, sources, prefix),
            Format::Sarif { prefix } => sarif::write(out, self, sources, prefix),
            Format::Gitlab { prefix } => gitlab::write(out, self, sources, prefix),
            Format::Checkstyle => xml::checkstyle(out, self, sources),
            Format::Junit => xml::junit(out, self, sources),
            Format::Markdown => markdown::write(out, self, sources),
        }
    }

    /// `2 findings (1 warning, 1 info) in 3 files`.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (severity, one, many) in [
            (Severity::Error, "error", "errors"),
            (Severity::Warning, "warning", "warnings"),
            (Severity::Info, "info", "info"),
        ] {
            match self.count(severity) {
                0 => {}
                1 => parts.push(format!("1 {one}")),
                n => parts.push(format!("{n} {many}")),
            }
        }
        let mut text = match self.findings.len() {
            0 => format!("no findings in {}", counted(self.files, "file", "files")),
            n => format!(
                "{} ({}) in {}",
                counted(n, "finding", "findings"),
                parts.join(", "),
                counted(self.files, "file", "files")
            ),
        };
        for (kind, words) in
            [(ProblemKind::Refused, "BuildKit would refuse"), (ProblemKind::Unreadable, "unreadable:")]
        {
            let mut files: Vec<&str> =
                self.problems.iter().filter(|p| p.kind == kind).map(|p| p.place.file.as_str()).collect();
            files.dedup();
            if !files.is_empty() {
                text.push_str(&format!("; {words} {}", counted(files.len(), "file", "files")));
            }
        }
        text
    }

    /// What rules could not look at, in a line; `None` if they saw everything.
    pub fn unseen(&self) -> Option<String> {
        let mut clauses: Vec<String> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for first in &self.unseen {
            if seen.contains(&first.needs) {
                continue;
            }
            seen.push(first.needs);
            let mut files: Vec<&str> =
                self.unseen.iter().filter(|u| u.needs == first.needs).map(|u| u.path.as_str()).collect();
            files.dedup();
            let what = match first.needs {
                "cargo" => "the crates of",
                _ => "the build context of",
            };
            let more = match files.len() {
                0 | 1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let help = first.help.as_deref().map(|h| format!("; {h}")).unwrap_or_default();
            clauses.push(format!("{what} {}{more} ({}{help})", first.path, first.message));
        }
        (!clauses.is_empty()).then(|| format!("not known for certain: {}", clauses.join("; ")))
    }

    /// `1 finding can be fixed with --fix, 2 more with --fix --unsafe-fixes`.
    pub fn fixable(&self) -> Option<String> {
        let count = |safety| {
            let fixes = self.findings.iter().filter_map(|finding| finding.fix.as_ref());
            fixes.filter(|fix| fix.safety == safety).count()
        };
        match (count(Safety::Safe), count(Safety::Unsafe)) {
            (0, 0) => None,
            (safe, 0) => Some(format!("{} can be fixed with --fix", counted(safe, "finding", "findings"))),
            (0, other) => Some(format!(
                "{} can be fixed with --fix --unsafe-fixes; --diff shows how",
                counted(other, "finding", "findings")
            )),
            (safe, other) => Some(format!(
                "{} can be fixed with --fix, {other} more with --fix --unsafe-fixes",
                counted(safe, "finding", "findings")
            )),
        }
    }

    /// Number of findings per rule, most first.
    pub fn statistics(&self) -> Vec<(&'static str, usize)> {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for finding in &self.findings {
            match counts.iter_mut().find(|(rule, _)| *rule == finding.rule) {
                Some((_, n)) => *n += 1,
                None => counts.push((finding.rule, 1)),
            }
        }
        counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        counts
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Bytes as Docker writes them: three digits, powers of a thousand.
#[allow(clippy::cast_precision_loss)]
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let decimals = if unit == "B" || value >= 99.95 { 0 } else { 1 };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_few_digits() {
        for (bytes, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (99_960, "100 kB"),
            (999_600, "1.0 MB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }
}
