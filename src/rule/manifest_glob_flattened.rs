//! Wildcards in directories: COPY drops what they match, and files of one name overwrite each other.

use super::ecosystem::{INSTALLERS, OTHER_MANIFESTS};
use super::transfer::{self, Transfer};
use super::{Cx, Rule, words};
use crate::context::path::{clean_str, has_wildcard, path_match};
use crate::context::{ContextIndex, Entry};
use crate::finding::Finding;
use std::collections::{BTreeMap, HashSet};

/// See `rules/manifest-glob-flattened.md`.
pub(super) const RULE: Rule = Rule {
    name: "manifest-glob-flattened",
    page: include_str!("../../rules/manifest-glob-flattened.md"),
    check,
};

/// Most bytes of a file that is compared with another.
const LONGEST: u64 = 1 << 20;
/// Files that a message names.
const NAMED: usize = 3;

/// A file with the place where it lands.
struct Landing<'c> {
    entry: &'c Entry,
    /// Below the destination; empty for the destination itself.
    rest: String,
    /// A directory that a wildcard matched is lost on the way.
    flattened: bool,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for step in cx.model.steps() {
        let sources: Vec<Transfer<'_, '_>> =
            transfer::of_step(step).into_iter().filter(|t| t.copy.is_some_and(|c| !c.parents)).collect();
        let wild = |t: &&Transfer<'_, '_>| has_wildcard(&t.path);
        if sources.iter().any(|t| wild(&t)) && told.insert(step.instruction.span) {
            let Some(context) = cx.context() else { return };
            findings.extend(sources.iter().filter(wild).find_map(|t| finding(cx, context, t, &sources)));
        }
    }
}

fn finding(
    cx: &Cx<'_>,
    context: &ContextIndex,
    glob: &Transfer<'_, '_>,
    sources: &[Transfer<'_, '_>],
) -> Option<Finding> {
    let own = landings(context, glob);
    if !own.iter().any(|l| l.flattened) {
        return None;
    }
    // By the place they land on; files of the other sources count as well.
    let mut places: BTreeMap<&str, BTreeMap<&[u8], &Landing<'_>>> = BTreeMap::new();
    let others: Vec<Landing<'_>> =
        sources.iter().filter(|t| t.span != glob.span).flat_map(|t| landings(context, t)).collect();
    for landing in own.iter().chain(&others) {
        places.entry(&landing.rest).or_default().insert(&landing.entry.path, landing);
    }
    let mut lost: Vec<(&str, Vec<&Landing<'_>>)> = places
        .into_iter()
        .map(|(rest, files)| (rest, files.into_values().collect::<Vec<_>>()))
        .filter(|(rest, files)| {
            // A manifest counts by its place: equal ones are lost as well.
            files.len() > 1
                && files.iter().any(|f| f.flattened)
                && (is_manifest(rest, files) || differ(context, files))
        })
        .collect();
    // Manifests decide what is built.
    lost.sort_by_key(|(rest, files)| (!is_manifest(rest, files), *rest));
    let (rest, files) = lost.first()?;
    let target = clean_str(&format!("{}/{rest}", glob.dest));
    let paths: Vec<String> =
        files.iter().map(|f| String::from_utf8_lossy(&f.entry.path).into_owned()).collect();
    let stays = paths.last()?;
    let more = match lost.len() {
        1 => String::new(),
        n => format!(", and the same happens to {} more names", n - 1),
    };
    let message = format!(
        "`{}` puts {} on top of each other at `{target}`: COPY drops the directories that a wildcard matches, and only \
         `{stays}` stays{more}",
        glob.shown(),
        words::list(&paths, NAMED)
    );
    let evidence: BTreeMap<&str, Vec<String>> = lost
        .iter()
        .take(20)
        .map(|(rest, f)| {
            (*rest, f.iter().map(|f| String::from_utf8_lossy(&f.entry.path).into_owned()).collect())
        })
        .collect();
    Some(
        Finding::at(&RULE, cx, glob.span, message)
            .label(format!("{} files become `{target}`", files.len()))
            .help(advice(cx, glob))
            .evidence("target", target)
            .evidence("files", evidence),
    )
}

/// The files of a source with the places where they land.
fn landings<'c>(context: &'c ContextIndex, source: &Transfer<'_, '_>) -> Vec<Landing<'c>> {
    let Ok(selection) = context.select(&source.selector) else { return Vec::new() };
    let pattern: Vec<&str> = source.path.split('/').filter(|p| !p.is_empty()).collect();
    let inner = pattern.split_last().is_some_and(|(_, folders)| folders.iter().any(has_wildcard));
    let wild = has_wildcard(&source.path);
    let mut out = Vec::new();
    for entry in selection.entries().filter(|e| e.is_file()) {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let (Some(matched), Some(below)) = (parts.get(..pattern.len()), parts.get(pattern.len()..)) else {
            continue;
        };
        let (rest, flattened) = if below.is_empty() {
            (matched.last().map_or(String::new(), |n| (*n).to_owned()), inner)
        } else {
            // The content of a matched folder lands without the folder.
            (below.join("/"), wild)
        };
        out.push(Landing { entry, rest, flattened });
    }
    out
}

fn is_manifest(rest: &str, files: &[&Landing<'_>]) -> bool {
    let name = rest.rsplit('/').next().unwrap_or(rest);
    let known = INSTALLERS.iter().flat_map(|i| i.manifests.iter().chain(i.locks)).chain(OTHER_MANIFESTS);
    files.len() > 1
        && known.copied().any(|m| m == name || (m.contains('*') && path_match(m, name).unwrap_or(false)))
}

/// Whether something is lost: equal files may overwrite each other.
fn differ(context: &ContextIndex, files: &[&Landing<'_>]) -> bool {
    let Some((first, others)) = files.split_first() else { return false };
    if others.iter().any(|o| o.entry.size != first.entry.size) {
        return true;
    }
    let read = |l: &Landing<'_>| context.read(&l.entry.path, LONGEST).ok().flatten();
    let Some(content) = read(first) else { return true };
    others.iter().any(|o| read(o).as_ref() != Some(&content))
}

/// The line to write instead.
fn advice(cx: &Cx<'_>, glob: &Transfer<'_, '_>) -> String {
    let step = glob.step;
    let flags: String = step.instruction.flags.iter().map(|f| format!("{} ", cx.file.text(f.span))).collect();
    let source = glob.path.trim_start_matches('/');
    let (fixed, wild) = split_at_wildcard(source);
    let dest = glob.copy.map_or("", |c| c.dest_word.text.as_str());
    let dest =
        if dest.ends_with('/') || matches!(dest, "." | "") { dest.to_owned() } else { format!("{dest}/") };
    if !wild.contains('/') && wild.chars().all(|c| c == '*') {
        let folder = if fixed.is_empty() { "." } else { fixed };
        return format!("copy the folder itself: `COPY {flags}{folder} {dest}`");
    }
    let kept = if fixed.is_empty() { wild.to_owned() } else { format!("{fixed}/./{wild}") };
    let modern = match cx.document.directives.iter().any(|d| d.name == "syntax") {
        true => "",
        false => ", with `# syntax=docker/dockerfile:1` as the first line",
    };
    format!(
        "keep the directories: `COPY {flags}--parents {kept} {dest}` (Dockerfile syntax 1.20 or later{modern}), or write \
         one COPY for each of them"
    )
}

/// The folders before the first wildcard, and the rest.
fn split_at_wildcard(source: &str) -> (&str, &str) {
    let mut end = 0;
    for part in source.split('/') {
        if has_wildcard(part) {
            break;
        }
        end += part.len() + 1;
    }
    let fixed = source.get(..end.saturating_sub(1)).unwrap_or_default();
    (fixed, source.get(end..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::split_at_wildcard;

    #[test]
    fn a_pattern_has_a_fixed_part() {
        assert_eq!(split_at_wildcard("crates/*/Cargo.toml"), ("crates", "*/Cargo.toml"));
        assert_eq!(split_at_wildcard("*/a"), ("", "*/a"));
        assert_eq!(split_at_wildcard("a/b"), ("a/b", ""));
    }
}
