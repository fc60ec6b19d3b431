//! What is sent of a build context, what is left out, and by which pattern.

use super::{counted, size};
use crate::context::{ContextIndex, Entry, EntryKind, LeftOut};
use bstr::{BStr, ByteSlice as _};
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, Write};

/// Folders that are shown to a person.
const HEAVIEST: usize = 10;
/// Paths that are shown to a person of what one pattern leaves out.
const EXAMPLES: usize = 3;

/// The formats of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextFormat {
    /// Sums, the heaviest folders, and what each pattern leaves out; with every path if `files` is set.
    Human {
        /// List every path.
        files: bool,
    },
    /// `layerlint.context/1`.
    Json,
    /// The files that are sent as prerequisites of a make rule, one a line.
    Make,
}

/// Writes what is sent of a context and what is left out.
pub fn write_context(out: &mut impl Write, index: &ContextIndex, format: ContextFormat) -> io::Result<()> {
    match format {
        ContextFormat::Human { files } => human(out, index, files),
        ContextFormat::Json => json(out, index),
        ContextFormat::Make => make(out, index),
    }
}

// For a program.

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    ignore_file: Option<&'a str>,
    sent: Vec<Sent<'a>>,
    left_out: Vec<Left<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Sent<'a> {
    path: std::borrow::Cow<'a, str>,
    r#type: &'static str,
    bytes: u64,
    /// The entry travels, its content does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    empty: bool,
}

#[derive(Serialize)]
struct Left<'a> {
    path: String,
    pattern: std::borrow::Cow<'a, str>,
    line: u32,
}

#[derive(Serialize)]
struct Summary {
    files: usize,
    bytes: u64,
    left_out_files: usize,
    left_out_dirs: usize,
}

fn kind(entry: &Entry) -> &'static str {
    match entry.kind {
        EntryKind::File => "file",
        EntryKind::Dir => "dir",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => "device",
        EntryKind::Socket => "socket",
    }
}

/// The pattern that left something out as it is written, and its line.
fn pattern<'a>(index: &'a ContextIndex, left: &LeftOut<'_>) -> (std::borrow::Cow<'a, str>, u32) {
    let Some(ignore) = &index.ignore else { return Default::default() };
    let pattern = ignore.patterns.get(left.pattern);
    pattern.map_or_else(Default::default, |p| (ignore.file.text(p.span), p.line))
}

fn files(index: &ContextIndex) -> impl Iterator<Item = &Entry> {
    index.entries().filter(|e| e.is_file())
}

fn json(out: &mut impl Write, index: &ContextIndex) -> io::Result<()> {
    let hidden: std::collections::HashSet<&BStr> =
        index.hidden_contents().into_iter().map(|e| BStr::new(&e.path)).collect();
    let document = Document {
        schema: "layerlint.context/1",
        ignore_file: index.ignore.as_ref().map(|i| i.file.name.as_str()),
        sent: index
            .entries()
            .map(|e| Sent {
                path: e.path.to_str_lossy(),
                r#type: kind(e),
                bytes: e.size,
                empty: hidden.contains(BStr::new(&e.path)),
            })
            .collect(),
        left_out: index
            .left_out()
            .map(|left| {
                let (pattern, line) = pattern(index, &left);
                Left { path: format!("{}{}", left.path, if left.is_dir { "/" } else { "" }), pattern, line }
            })
            .collect(),
        summary: Summary {
            files: files(index).count(),
            bytes: files(index).map(|e| e.size).sum(),
            left_out_files: index.left_out().filter(|l| !l.is_dir).count(),
            left_out_dirs: index.left_out().filter(|l| l.is_dir).count(),
        },
    };
    serde_json::to_writer(&mut *out, &document)?;
    writeln!(out)
}

/// Regular files only: the time of a directory says too much, and a link is followed to what may not be sent.
fn make(out: &mut impl Write, index: &ContextIndex) -> io::Result<()> {
    for entry in files(index) {
        let place = index.root.join(entry.path.to_path_lossy());
        let path = crate::source::shown(&place);
        if let Some(path) = prerequisite(&path) {
            writeln!(out, "{path}")?;
        }
    }
    Ok(())
}

/// A path as it is written in a makefile; a line break cannot be.
fn prerequisite(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut backslashes = 0;
    for (at, c) in path.char_indices() {
        match c {
            '\n' | '\r' => return None,
            ' ' | '\t' | '#' | ':' | '%' | '*' | '?' | '[' | ']' => {
                // Backslashes that stand before an escaped character are themselves halved.
                out.extend(std::iter::repeat_n('\\', backslashes + 1));
            }
            '~' if at == 0 => out.push('\\'),
            '$' => out.push('$'),
            _ => {}
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        out.push(c);
    }
    Some(out)
}

// For a person.

/// A sum over a folder.
#[derive(Clone, Copy, Default)]
struct Weight {
    files: usize,
    bytes: u64,
}

impl Weight {
    fn add(&mut self, entry: &Entry) {
        self.files += 1;
        self.bytes += entry.size;
    }
}

/// The folders below the root that weigh most. A folder of which nearly all lies in one of its own gives way to
/// that one. Files of the root itself stand under the empty path.
fn heaviest(index: &ContextIndex) -> Vec<(&BStr, Weight)> {
    let mut all: HashMap<&[u8], Weight> = HashMap::new();
    let mut children: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    let mut own = Weight::default();
    for entry in index.entries() {
        let path = entry.path.as_slice();
        let parent = path.rfind_byte(b'/').and_then(|at| path.get(..at)).unwrap_or_default();
        if entry.is_dir() {
            children.entry(parent).or_default().push(path);
        }
        if !entry.is_file() {
            continue;
        }
        if parent.is_empty() {
            own.add(entry);
        }
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            all.entry(path.get(..at).unwrap_or_default()).or_default().add(entry);
        }
    }
    let weigh = |path: &[u8]| all.get(path).copied().unwrap_or_default();
    let mut out: Vec<(&BStr, Weight)> = Vec::new();
    for top in children.get(&b""[..]).into_iter().flatten() {
        let mut folder = *top;
        let weight = weigh(folder);
        while let Some(inner) = children.get(folder).into_iter().flatten().max_by_key(|c| weigh(c).bytes) {
            if weigh(inner).bytes.saturating_mul(10) < weight.bytes.saturating_mul(9) || weight.bytes == 0 {
                break;
            }
            folder = inner;
        }
        out.push((BStr::new(folder), weigh(folder)));
    }
    if own.files > 0 {
        out.push((BStr::new(""), own));
    }
    out.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then(a.0.cmp(b.0)));
    out
}

/// A path that does nothing to a terminal.
fn visible(path: &BStr) -> String {
    let text = path.to_str_lossy();
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

fn human(out: &mut impl Write, index: &ContextIndex, list: bool) -> io::Result<()> {
    let name = index.ignore.as_ref().map(|i| i.file.name.as_str());
    let (sent, bytes) = files(index).fold((0, 0), |(n, b), e| (n + 1, b + e.size));
    writeln!(out, "\x1b[1msent\x1b[0m: {}, {}", counted(sent, "file", "files"), size(bytes))?;
    if list {
        for entry in index.entries() {
            let slash = if entry.is_dir() { "/" } else { "" };
            let bytes = if entry.is_file() { size(entry.size) } else { String::new() };
            writeln!(out, "{bytes:>10}  {}{slash}", visible(BStr::new(&entry.path)))?;
        }
    } else {
        let folders = heaviest(index);
        for (path, weight) in folders.iter().take(HEAVIEST) {
            let shown =
                if path.is_empty() { "(the top level)".to_owned() } else { format!("{}/", visible(path)) };
            let files = counted(weight.files, "file", "files");
            writeln!(out, "{:>10}  {files:>12}  {shown}", size(weight.bytes))?;
        }
        if let Some(more) = folders.len().checked_sub(HEAVIEST).filter(|n| *n > 0) {
            writeln!(out, "{:>10}  and {}", "", counted(more, "lighter folder", "lighter folders"))?;
        }
    }
    let Some(name) = name else {
        return writeln!(out, "\n\x1b[1mleft out\x1b[0m: nothing, there is no ignore file");
    };
    left_out(out, index, name, list)?;
    let hidden = index.hidden_contents();
    if !hidden.is_empty() {
        writeln!(
            out,
            "\n\x1b[33;1msent empty\x1b[0m: {} without content, because a pattern is repeated after the exception \
             that brings the file back",
            counted(hidden.len(), "file arrives", "files arrive")
        )?;
        for entry in hidden.iter().take(if list { usize::MAX } else { EXAMPLES }) {
            writeln!(out, "{:>10}  {}", size(entry.size), visible(BStr::new(&entry.path)))?;
        }
    }
    Ok(())
}

fn left_out(out: &mut impl Write, index: &ContextIndex, name: &str, list: bool) -> io::Result<()> {
    let Some(ignore) = &index.ignore else { return Ok(()) };
    let mut by_pattern: Vec<Vec<LeftOut<'_>>> = vec![Vec::new(); ignore.patterns.len()];
    for left in index.left_out() {
        if let Some(paths) = by_pattern.get_mut(left.pattern) {
            paths.push(left);
        }
    }
    let folders = index.left_out().filter(|l| l.is_dir).count();
    let files = index.left_out().count() - folders;
    writeln!(
        out,
        "\n\x1b[1mleft out\x1b[0m by {name}: {}, {}{}",
        counted(files, "file", "files"),
        counted(folders, "folder", "folders"),
        if ignore.unreadable { " (the file cannot be read, so Docker takes it as empty)" } else { "" }
    )?;
    let width = ignore.patterns.iter().map(|p| p.span.len()).max().unwrap_or(0).min(30);
    for (pattern, paths) in ignore.patterns.iter().zip(&by_pattern) {
        let text = ignore.file.text(pattern.span);
        let text = visible(BStr::new(text.as_bytes()));
        write!(out, "{:>6}  {text:width$}  ", pattern.line)?;
        let shown: Vec<String> = paths
            .iter()
            .take(if list { usize::MAX } else { EXAMPLES })
            .map(|l| format!("{}{}", visible(l.path), if l.is_dir { "/" } else { "" }))
            .collect();
        match paths.len() - shown.len() {
            _ if pattern.negated => writeln!(out, "\x1b[2mbrings back\x1b[0m")?,
            0 if shown.is_empty() => writeln!(out, "\x1b[2mnothing\x1b[0m")?,
            0 => writeln!(out, "{}", shown.join(", "))?,
            more => writeln!(out, "{}, and {more} more", shown.join(", "))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn make_reads_back_the_path() {
        assert_eq!(prerequisite("a b#c$d").as_deref(), Some("a\\ b\\#c$$d"));
        assert_eq!(prerequisite("a\\ b").as_deref(), Some("a\\\\\\ b"));
        assert_eq!(prerequisite("a\nb"), None);
    }
}
