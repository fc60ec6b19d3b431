//! Workflow commands of GitHub Actions, which become annotations on the changed lines.
//! Escaping as in `actions/toolkit`, `packages/core/src/command.ts`.

use super::{Report, Sources};
use crate::finding::{Label, Severity};
use std::io::{self, Write};

/// Writes problems and findings. `prefix` leads from the root of the repository to the working directory: it is empty
/// or ends with `/`.
pub(super) fn write(
    out: &mut impl Write,
    report: &Report,
    sources: &Sources,
    prefix: &str,
) -> io::Result<()> {
    for problem in &report.problems {
        let text = with_help(&problem.message, problem.help.as_deref());
        command(out, Severity::Error, &problem.place, "layerlint", &text, sources, prefix)?;
    }
    for finding in &report.findings {
        let title = format!("layerlint: {}", finding.rule);
        let text = with_help(&finding.message, finding.help.as_deref());
        command(out, finding.severity, &finding.primary, &title, &text, sources, prefix)?;
    }
    Ok(())
}

fn with_help(message: &str, help: Option<&str>) -> String {
    match help {
        Some(help) => format!("{message}\nhelp: {help}"),
        None => message.to_owned(),
    }
}

fn command(
    out: &mut impl Write,
    severity: Severity,
    label: &Label,
    title: &str,
    message: &str,
    sources: &Sources,
    prefix: &str,
) -> io::Result<()> {
    let command = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    write!(out, "::{command} file={}{}", property(prefix), property(&label.file))?;
    if let Some((start, end)) = sources.positions(label) {
        write!(out, ",line={},endLine={}", start.line, end.line)?;
        // Columns of a range over several lines are not understood there.
        if start.line == end.line {
            write!(out, ",col={},endColumn={}", start.column, end.column)?;
        }
    }
    writeln!(out, ",title={}::{}", property(title), data(message))
}

pub(super) fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

pub(super) fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_property_or_a_line_is_escaped() {
        assert_eq!(property("a:b,c%d\n"), "a%3Ab%2Cc%25d%0A");
        assert_eq!(data("50% of a:b,\r\nc"), "50%25 of a:b,%0D%0Ac");
    }
}
