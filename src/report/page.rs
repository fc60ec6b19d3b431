//! The page of a rule on a terminal.

use crate::rule::Page;
use std::io::{self, Write};

/// Writes a page plainly: headings in bold (the writer drops what is not wanted), examples indented below the names of
/// their files.
pub fn write_page(out: &mut impl Write, page: &Page<'_>) -> io::Result<()> {
    let severity = page.severity.map_or("", |s| s.name());
    writeln!(out, "\x1b[1m{}\x1b[0m · {severity} · {} · since {}", page.name, page.group, page.since)?;
    let mut fence = 0;
    for line in page.body.lines().skip(1) {
        let bare = line.trim_start_matches('`');
        let ticks = line.len() - bare.len();
        if fence > 0 && ticks >= fence && bare.trim().is_empty() {
            fence = 0;
        } else if fence > 0 {
            writeln!(out, "{}", format!("    {line}").trim_end())?;
        } else if ticks >= 3 {
            fence = ticks;
            if let Some(caption) = caption(bare) {
                writeln!(out, "  \x1b[2m{caption}\x1b[0m")?;
            }
        } else if let Some(title) =
            line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
        {
            writeln!(out, "\x1b[1m{title}\x1b[0m")?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// `bad: Dockerfile`, `.dockerignore`, …
fn caption(info: &str) -> Option<String> {
    let words: Vec<&str> = info.split_whitespace().skip(1).collect();
    let file = words.iter().find_map(|word| word.strip_prefix("file="));
    match (words.iter().find(|word| !word.contains('=')), file) {
        (Some(kind), file) => Some(format!("{kind}: {}", file.unwrap_or("Dockerfile"))),
        (None, Some(file)) => Some(file.to_owned()),
        (None, None) => None,
    }
}
