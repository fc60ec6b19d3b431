//! The two formats in XML: Checkstyle, which code review bots read, and JUnit, which every CI server reads.

use super::excerpt::clean;
use super::{Entry, Report, Sources};
use crate::finding::{Label, Severity};
use std::io::{self, Write};

/// Text between tags or in an attribute. What XML 1.0 has no way to write is made visible.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // In attributes a reader makes spaces of them.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{FFFE}' | '\u{FFFF}' => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

/// What both formats say of an entry.
struct Said<'a> {
    label: &'a Label,
    severity: Severity,
    name: &'a str,
    message: &'a str,
    help: Option<&'a str>,
    problem: bool,
}

impl<'a> Said<'a> {
    fn of(entry: &Entry<'a>) -> Self {
        match entry {
            Entry::Problem(p) => Self {
                label: &p.place,
                severity: Severity::Error,
                name: p.kind.name(),
                message: &p.message,
                help: p.help.as_deref(),
                problem: true,
            },
            Entry::Finding(f) => Self {
                label: &f.primary,
                severity: f.severity,
                name: f.rule,
                message: &f.message,
                help: f.help.as_deref(),
                problem: false,
            },
        }
    }
}

/// Writes problems and findings for readers of Checkstyle.
pub(super) fn checkstyle(out: &mut impl Write, report: &Report, sources: &Sources) -> io::Result<()> {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<checkstyle version=\"4.3\">")?;
    let entries = report.entries();
    let mut open: Option<&str> = None;
    for entry in &entries {
        let said = Said::of(entry);
        if open != Some(&said.label.file) {
            if open.is_some() {
                writeln!(out, "  </file>")?;
            }
            writeln!(out, "  <file name=\"{}\">", escape(&said.label.file))?;
            open = Some(&said.label.file);
        }
        let place = sources.positions(said.label).map_or(String::new(), |(start, _)| {
            format!(" line=\"{}\" column=\"{}\"", start.line, start.column)
        });
        let (severity, message, name) = (said.severity.name(), escape(said.message), said.name);
        writeln!(
            out,
            "    <error{place} severity=\"{severity}\" message=\"{message}\" source=\"layerlint.{name}\"/>"
        )?;
    }
    if open.is_some() {
        writeln!(out, "  </file>")?;
    }
    writeln!(out, "</checkstyle>")
}

/// Writes a test suite for every file: errors and warnings are failures, what cannot be looked at is an error, an info
/// is a note of a test that passes, and a file without any of them is such a test.
pub(super) fn junit(out: &mut impl Write, report: &Report, sources: &Sources) -> io::Result<()> {
    let entries = report.entries();
    let all: Vec<Said<'_>> = entries.iter().map(Said::of).collect();
    let mut files: Vec<&str> = all.iter().map(|said| said.label.file.as_str()).collect();
    files.extend(report.paths.iter().map(String::as_str));
    files.sort_unstable();
    files.dedup();
    let counts = |of: &dyn Fn(&Said<'_>) -> bool| {
        let here = || all.iter().filter(|said| of(said));
        let errors = here().filter(|said| said.problem).count();
        let failures = here().filter(|said| !said.problem && said.severity > Severity::Info).count();
        (here().count(), failures, errors)
    };
    let clean = files.iter().filter(|file| all.iter().all(|said| said.label.file != **file)).count();
    let (tests, failures, errors) = counts(&|_| true);
    writeln!(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>")?;
    writeln!(
        out,
        "<testsuites name=\"layerlint\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\">",
        tests + clean
    )?;
    for file in files {
        let (tests, failures, errors) = counts(&|said| said.label.file == file);
        let name = escape(file);
        writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\">",
            tests.max(1)
        )?;
        if tests == 0 {
            writeln!(out, "    <testcase name=\"no findings\" classname=\"{name}\" file=\"{name}\"/>")?;
        }
        for said in all.iter().filter(|said| said.label.file == file) {
            case(out, said, sources)?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

fn case(out: &mut impl Write, said: &Said<'_>, sources: &Sources) -> io::Result<()> {
    let file = escape(&said.label.file);
    let (place, line) = match sources.positions(said.label) {
        Some((start, _)) => (
            format!("{}:{}:{}", said.label.file, start.line, start.column),
            format!(" line=\"{}\"", start.line),
        ),
        None => (said.label.file.clone(), String::new()),
    };
    // Two findings of a rule in one file are two tests.
    let name = escape(&format!("{} {place}", said.name));
    writeln!(out, "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\"{line}>")?;
    let help = said.help.map_or(String::new(), |help| format!("\nhelp: {help}"));
    let body = escape(&format!("{place}: {}{help}", said.message));
    let (message, kind) = (escape(said.message), said.name);
    match said.severity {
        _ if said.problem => {
            writeln!(out, "      <error type=\"{kind}\" message=\"{message}\">{body}</error>")?
        }
        Severity::Info => writeln!(out, "      <system-out>{body}</system-out>")?,
        _ => writeln!(out, "      <failure type=\"{kind}\" message=\"{message}\">{body}</failure>")?,
    }
    writeln!(out, "    </testcase>")
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_would_end_a_text_or_cannot_be_written_is_replaced() {
        assert_eq!(escape("a<b>&\"'\n\t"), "a&lt;b&gt;&amp;&quot;&apos;&#10;&#9;");
        assert_eq!(escape("\0\u{1b}\u{7f}\u{85}\u{FFFE}\u{202E}"), "␀␛␡\u{FFFD}\u{FFFD}\u{FFFD}");
    }
}
