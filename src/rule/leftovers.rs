//! Files that tools left in the build context and that an instruction takes.

use super::ecosystem::{LEFTOVERS, Leftover, LeftoverKind, Proof, SAMPLE_FOLDERS};
use super::transfer::Transfer;
use super::{Cx, Rule};
use crate::context::ContextIndex;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::collections::{BTreeMap, HashSet};

/// Most bytes of a .gitignore.
const LONGEST: u64 = 1 << 20;

/// Leftovers of one sort below one path.
pub(super) struct Found {
    /// What it is.
    pub leftover: &'static Leftover,
    /// The path in the context.
    pub path: Vec<u8>,
    /// Regular files of it that are taken.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Found {
    /// For people; a folder ends with `/`.
    pub(super) fn shown(&self) -> String {
        let path = String::from_utf8_lossy(&self.path);
        if self.leftover.folder { format!("{path}/") } else { path.into_owned() }
    }

    /// Whether the configuration says that it is meant to be sent; a folder is named with or without a slash.
    pub(super) fn is_allowed(&self, cx: &Cx<'_>, rule: &Rule) -> bool {
        let shown = self.shown();
        cx.settings.allows(rule, &shown) || cx.settings.allows(rule, shown.trim_end_matches('/'))
    }

    /// The last part of the path.
    pub(super) fn name(&self) -> &[u8] {
        self.path.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }
}

/// What makes a name a leftover in this context.
pub(super) struct Judge<'c> {
    context: &'c ContextIndex,
    /// Folders that hold a file that some proof asks for by pattern, with that pattern.
    patterned: HashSet<(Vec<u8>, &'static str)>,
    ignored: Option<Gitignore>,
    /// Whether nobody has thought of an ignore file, so that the usual suspects count too.
    lenient: bool,
}

impl<'c> Judge<'c> {
    /// `lenient` admits names that are mostly, but not always leftovers.
    pub(super) fn new(context: &'c ContextIndex, lenient: bool) -> Self {
        let patterns: Vec<&'static str> = LEFTOVERS
            .iter()
            .filter_map(|l| match l.proof {
                Proof::Beside(names) => Some(names),
                _ => None,
            })
            .flatten()
            .copied()
            .filter(|name| name.contains('*'))
            .collect();
        let mut patterned = HashSet::new();
        for entry in context.entries().filter(|e| e.is_file()) {
            let (folder, name) = split(&entry.path);
            for pattern in patterns.iter().filter(|p| matches(p, name)) {
                patterned.insert((folder.to_vec(), *pattern));
            }
        }
        let ignored = if lenient { gitignore(context) } else { None };
        Self { context, patterned, ignored, lenient }
    }

    /// What a transfer takes of them, folders as a whole, by path.
    pub(super) fn taken(&self, transfer: &Transfer<'_, '_>) -> Vec<Found> {
        // Who copies a folder of build output means what is in it.
        let meant = |part: &str| LEFTOVERS.iter().any(|l| l.folder && matches(l.name, part.as_bytes()));
        if transfer.spelled_parts().any(meant) {
            return Vec::new();
        }
        let Ok(selection) = self.context.select(&transfer.selector) else { return Vec::new() };
        let mut found: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
        // Folders that are none, so that each is asked about once.
        let mut clean: HashSet<&[u8]> = HashSet::new();
        for entry in selection.entries() {
            let (files, bytes) = (u64::from(entry.is_file()), entry.size);
            for (end, name) in transfer.below(entry) {
                let path = entry.path.get(..end).unwrap_or_default();
                let folder = end < entry.path.len() || entry.is_dir();
                if folder && clean.contains(path) {
                    continue;
                }
                if let Some(known) = found.get_mut(path) {
                    known.files += files;
                    known.bytes += bytes;
                    break;
                }
                if let Some(leftover) = self.leftover(path, name, folder) {
                    found.insert(path.to_vec(), Found { leftover, path: path.to_vec(), files, bytes });
                    break;
                }
                if folder {
                    clean.insert(path);
                }
            }
        }
        // An empty folder is nothing.
        found.into_values().filter(|f| f.files > 0).collect()
    }

    fn leftover(&self, path: &[u8], name: &[u8], folder: bool) -> Option<&'static Leftover> {
        let found = LEFTOVERS
            .iter()
            .filter(|l| l.folder == folder && matches(l.name, name))
            .find(|l| self.is_proved(l.proof, path, folder))?;
        let sample = |part: &[u8]| SAMPLE_FOLDERS.iter().any(|s| s.as_bytes() == part);
        let made_up = found.kind == LeftoverKind::Log && path.split(|b| *b == b'/').any(sample);
        (!made_up).then_some(found)
    }

    fn is_proved(&self, proof: Proof, path: &[u8], folder: bool) -> bool {
        let (parent, _) = split(path);
        let holds = |folder: &[u8], name: &str| {
            let path = if folder.is_empty() {
                name.as_bytes().to_vec()
            } else {
                [folder, b"/", name.as_bytes()].concat()
            };
            self.context.entry(&path).is_some()
        };
        match proof {
            Proof::Name => true,
            Proof::Usual => self.lenient,
            Proof::Beside(names) => names.iter().any(|name| match name.contains('*') {
                true => self.patterned.contains(&(parent.to_vec(), *name)),
                false => holds(parent, name),
            }),
            Proof::Inside(names) => names.iter().any(|name| holds(path, name)),
            Proof::Ignored => {
                let path = String::from_utf8_lossy(path);
                self.ignored
                    .as_ref()
                    .is_some_and(|i| i.matched_path_or_any_parents(&*path, folder).is_ignore())
            }
        }
    }
}

/// The folder and the last part of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

/// Patterns here have one `*` at most, and names no `/`.
fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.split_once('*') {
        None => pattern.as_bytes() == name,
        Some((head, tail)) => {
            name.len() >= head.len() + tail.len()
                && name.starts_with(head.as_bytes())
                && name.ends_with(tail.as_bytes())
        }
    }
}

/// The .gitignore in the root of the context.
fn gitignore(context: &ContextIndex) -> Option<Gitignore> {
    let bytes = context.read(b".gitignore", LONGEST).ok().flatten()?;
    let mut builder = GitignoreBuilder::new("");
    for line in String::from_utf8_lossy(&bytes).lines() {
        builder.add_line(None, line).ok()?;
    }
    builder.build().ok()
}

/// How many files and bytes, in words.
pub(super) fn amount(files: u64, bytes: u64) -> String {
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    let scaled = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => files,
        1_000..1_000_000 => format!("{files}, {} kB", scaled(1_000)),
        1_000_000..1_000_000_000 => format!("{files}, {} MB", scaled(1_000_000)),
        _ => format!("{files}, {} GB", scaled(1_000_000_000)),
    }
}
