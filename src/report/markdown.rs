//! Markdown for a job summary or a comment: a table of findings, then what to do about them.

use super::excerpt::clean;
use super::{Entry, Report, Sources};
use crate::finding::{Label, Severity};
use std::io::{self, Write};

/// Writes problems and findings.
pub(super) fn write(out: &mut impl Write, report: &Report, sources: &Sources) -> io::Result<()> {
    writeln!(out, "## layerlint: {}", prose(&report.summary()))?;
    let entries = report.entries();
    if entries.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| severity | rule | place | what happens |\n| --- | --- | --- | --- |")?;
    for entry in &entries {
        let (label, severity, name, message) = match entry {
            Entry::Problem(p) => (&p.place, Severity::Error, p.kind.name(), &p.message),
            Entry::Finding(f) => (&f.primary, f.severity, f.rule, &f.message),
        };
        let place = code(&place(label, sources));
        writeln!(out, "| {} | {name} | {} | {} |", severity.name(), cell(&place), cell(&prose(message)))?;
    }
    let advice: Vec<(&Label, &str, &str)> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Problem(p) => Some((&p.place, p.kind.name(), p.help.as_deref()?)),
            Entry::Finding(f) => Some((&f.primary, f.rule, f.help.as_deref()?)),
        })
        .collect();
    if advice.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n### What to do")?;
    for (label, name, help) in advice {
        let (first, rest) = help.split_once('\n').unwrap_or((help, ""));
        writeln!(out, "\n{} {name}: {}", code(&place(label, sources)), prose(first))?;
        if !rest.is_empty() {
            let rest = clean(rest);
            let fence = "`".repeat(longest_run(&rest).max(2) + 1);
            writeln!(out, "\n{fence}text\n{rest}\n{fence}")?;
        }
    }
    Ok(())
}

fn place(label: &Label, sources: &Sources) -> String {
    match sources.positions(label) {
        Some((start, _)) => format!("{}:{}", label.file, start.line),
        None => label.file.clone(),
    }
}

/// The longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A code span, whatever is in it.
fn code(text: &str) -> String {
    let text = clean(text).replace('\n', " ");
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A message on one line: what stands between backticks is code already, and the rest is no markup.
fn prose(text: &str) -> String {
    let text = clean(text).replace('\n', " ");
    let paired = text.matches('`').count().is_multiple_of(2);
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if c == '`' && paired {
            inside = !inside;
        }
        match c {
            '<' if !inside => out.push_str("&lt;"),
            '&' if !inside => out.push_str("&amp;"),
            '\\' | '*' | '_' | '[' | ']' | '#' | '~' if !inside => {
                out.push('\\');
                out.push(c);
            }
            '`' if !paired => out.push_str("\\`"),
            c => out.push(c),
        }
    }
    out
}

/// In a table a bar would end the cell, in code as well.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        assert_eq!(
            prose("`a_b <c>` is <b>\nand [x](y)"),
            "`a_b <c>` is &lt;b>  and \\[x\\](y)".replace("  ", " ")
        );
        assert_eq!(prose("one ` alone"), "one \\` alone");
        assert_eq!(cell("a|`b|c`"), "a\\|`b\\|c`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`b"), "`` `b ``");
    }
}
