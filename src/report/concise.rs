//! One line each: `path:line:column: severity[rule] message`.

use super::excerpt::clean;
use super::{Entry, Report, Sources};
use crate::finding::{Label, Severity};
use std::io::{self, Write};

/// Writes problems and findings.
pub(super) fn write(out: &mut impl Write, report: &Report, sources: &Sources) -> io::Result<()> {
    for entry in report.entries() {
        let (label, severity, name, message) = match entry {
            Entry::Problem(p) => (&p.place, Severity::Error, p.kind.name(), &p.message),
            Entry::Finding(f) => (&f.primary, f.severity, f.rule, &f.message),
        };
        let line = format!("{}: {}[{name}] {message}", place(label, sources), severity.name());
        writeln!(out, "{}", clean(&line).replace('\n', " "))?;
    }
    Ok(())
}

fn place(label: &Label, sources: &Sources) -> String {
    match sources.positions(label) {
        Some((start, _)) => format!("{}:{}:{}", label.file, start.line, start.column),
        None => label.file.clone(),
    }
}
