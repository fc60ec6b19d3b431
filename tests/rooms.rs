//! Data walks one way: a room knows the rooms before it and none after it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

/// A room may name itself and the rooms before it. `invoke` and `image` stand side by side.
const ORDER: [&str; 18] = [
    "source", "syntax", "invoke", "image", "stage", "context", "build", "cargo", "key", "evidence",
    "finding", "reuse", "rule", "config", "baseline", "fix", "report", "cli",
];

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The room of a file below `src`, if it is in one.
fn room(path: &Path, src: &Path) -> Option<String> {
    let below = path.strip_prefix(src).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    let name = first.trim_end_matches(".rs").to_owned();
    (!["lib", "main", "bin"].contains(&name.as_str())).then_some(name)
}

/// Rooms named by `crate::ROOM` or inside `use crate::{…}`; comments are no code.
fn named(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let group = match rest.strip_prefix('{') {
            Some(group) => outer_items(group),
            None => vec![rest],
        };
        let word = |item: &str| {
            item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        };
        found.extend(group.into_iter().map(word));
    }
    found
}

/// The items of a brace group without those of groups inside it.
fn outer_items(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

#[test]
fn no_room_names_a_later_one() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    let mut edges = 0;
    for path in paths {
        let Some(here) = room(&path, &src) else { continue };
        let rank = |room: &str| ORDER.iter().position(|r| *r == room);
        let own = rank(&here).unwrap_or_else(|| panic!("{} is in no room of ORDER", path.display()));
        for there in named(&std::fs::read_to_string(&path).unwrap()) {
            let Some(other) = rank(&there) else { continue };
            assert!(other <= own, "{}: `{here}` must not know `{there}`", path.display());
            edges += 1;
        }
    }
    assert!(edges > 20, "only {edges} edges were found: is the reading of imports broken?");
}

#[test]
fn only_their_own_rooms_name_clap_and_miette() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for (library, home) in [("clap::", "cli"), ("miette::", "report")] {
            let stranger = code.contains(library) && room(&path, &src).is_some_and(|room| room != home);
            assert!(!stranger, "{} names {library}", path.display());
        }
    }
}

#[test]
fn imports_in_groups_are_read() {
    assert_eq!(named("use crate::{source::Span, key::{A, B}, rule};"), ["source", "key", "rule"]);
    assert_eq!(named("let x: crate::stage::StageGraph; // crate::cli"), ["stage"]);
}
