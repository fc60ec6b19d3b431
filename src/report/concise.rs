//! One line each: `path:line:column: severity[rule] message`.

use super::{Report, Sources};
use crate::finding::Label;
use std::io::{self, Write};

/// Writes problems and findings.
pub(super) fn write(out: &mut impl Write, report: &Report, sources: &Sources) -> io::Result<()> {
    for problem in &report.problems {
        writeln!(out, "{}: error {}", place(&problem.place, sources), problem.message)?;
    }
    for finding in &report.findings {
        let place = place(&finding.primary, sources);
        writeln!(out, "{place}: {}[{}] {}", finding.severity.name(), finding.rule, finding.message)?;
    }
    Ok(())
}

fn place(label: &Label, sources: &Sources) -> String {
    match sources.positions(label) {
        Some((start, _)) => format!("{}:{}:{}", label.file, start.line, start.column),
        None => label.file.clone(),
    }
}
