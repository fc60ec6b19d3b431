//! The build context against answers of the real BuildKit: `fixtures/vectors/dockerignore.json`,
//! `dockerignore-parent-matches.jsonl.gz` and `contenthash.json`, on the disk and in memory.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use layerlint::context::pattern::Matcher;
use layerlint::context::{
    ContextIndex, EntryKind, IgnoreFile, MemoryEntry, RootRecord, Selector, Tree, content_digest, dedupe,
    selector_digest,
};
use layerlint::source::SourceFile;
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|s| s.as_str().unwrap().to_owned()).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn ignore(text: &str) -> Option<IgnoreFile> {
    Some(IgnoreFile::parse(SourceFile::from_bytes(".dockerignore", text)).unwrap())
}

/// Collects what went wrong, so that one run shows all of it.
#[derive(Default)]
struct Report {
    right: usize,
    wrong: Vec<String>,
}

impl Report {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, case: &Value, got: T, want: T) {
        if got == want {
            self.right += 1;
        } else {
            let comment = if case["comment"].is_string() { &case["comment"] } else { &case["note"] };
            self.wrong.push(format!("{} ({comment}): got {got:?}, want {want:?}", case["id"]));
        }
    }

    fn finish(self, at_least: usize) {
        assert!(self.wrong.is_empty(), "{} wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        assert!(self.right >= at_least, "only {} cases", self.right);
    }
}

// Trees.

/// One entry of a vector's tree; hard links keep their target.
#[derive(Clone)]
struct Laid {
    entry: MemoryEntry,
    link: Option<String>,
    mtime_ns: Option<i64>,
}

fn laid(entries: &[Value]) -> Vec<Laid> {
    let mut out: Vec<Laid> = Vec::new();
    for e in entries {
        let path = text(e, "path");
        let mode = u32::from_str_radix(e["mode"].as_str().unwrap_or("0644"), 8).unwrap();
        let mut link = None;
        let mut entry = match text(e, "type") {
            "dir" => MemoryEntry::dir(path, mode),
            "symlink" => MemoryEntry::symlink(path, text(e, "target")),
            "fifo" => MemoryEntry::dir(path, mode).with(EntryKind::Fifo),
            "socket" => MemoryEntry::dir(path, mode).with(EntryKind::Socket),
            "hardlink" => {
                link = Some(text(e, "target").to_owned());
                let source = out.iter().find(|l| l.entry.path == text(e, "target")).unwrap();
                source.entry.clone().at(path)
            }
            "file" => {
                let content = match e["content_base64"].as_str() {
                    Some(coded) => base64(coded),
                    None => text(e, "content").as_bytes().to_vec(),
                };
                MemoryEntry::file(path, mode, content)
            }
            other => panic!("type {other}"),
        };
        entry.uid = e["uid"].as_u64().unwrap_or(0) as u32;
        entry.gid = e["gid"].as_u64().unwrap_or(0) as u32;
        for (name, value) in e["xattrs"].as_object().into_iter().flatten() {
            entry.extended.insert(name.clone().into_bytes(), value.as_str().unwrap().as_bytes().to_vec());
        }
        out.push(Laid { entry, link, mtime_ns: e["mtime_ns"].as_i64() });
    }
    out
}

fn base64(coded: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(coded).unwrap()
}

/// The short form of `trees`: `path`, `path/`, `path -> link text`, `path => hard link`.
fn listed(tree: &[Value]) -> Vec<Laid> {
    let mut out: Vec<Laid> = Vec::new();
    for t in tree.iter().map(|t| t.as_str().unwrap()) {
        let mut link = None;
        let entry = if let Some((path, target)) = t.split_once(" -> ") {
            MemoryEntry::symlink(path, target)
        } else if let Some((path, target)) = t.split_once(" => ") {
            link = Some(target.to_owned());
            MemoryEntry::file(path, 0o644, "x")
        } else if let Some(path) = t.strip_suffix('/') {
            MemoryEntry::dir(path, 0o755)
        } else {
            MemoryEntry::file(t, 0o644, "x")
        };
        out.push(Laid { entry, link, mtime_ns: None });
    }
    out
}

fn in_memory(tree: &[Laid]) -> Vec<MemoryEntry> {
    tree.iter().map(|l| l.entry.clone()).collect()
}

#[cfg(target_os = "linux")]
fn on_disk(root: &Path, tree: &[Laid]) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let mut late = Vec::new();
    std::fs::create_dir_all(root).unwrap();
    for laid in tree {
        let entry = &laid.entry;
        let place = root.join(entry.path.to_string());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        let mode = std::fs::Permissions::from_mode(entry.mode);
        match &entry.kind {
            _ if laid.link.is_some() => {
                std::fs::hard_link(root.join(laid.link.as_ref().unwrap()), &place).unwrap();
            }
            EntryKind::Dir => {
                std::fs::create_dir_all(&place).unwrap();
                late.push((place.clone(), mode));
            }
            EntryKind::Symlink { target } => symlink(target.to_string(), &place).unwrap(),
            EntryKind::Fifo => {
                assert!(std::process::Command::new("mkfifo").arg(&place).status().unwrap().success());
                std::fs::set_permissions(&place, mode).unwrap();
            }
            EntryKind::Socket => {
                std::os::unix::net::UnixListener::bind(&place).unwrap();
                std::fs::set_permissions(&place, mode).unwrap();
            }
            _ => {
                std::fs::write(&place, &entry.content).unwrap();
                std::fs::set_permissions(&place, mode).unwrap();
            }
        }
        for (name, value) in &entry.extended {
            xattr::set(&place, std::str::from_utf8(name).unwrap(), value).unwrap();
        }
        if let Some(mtime) = laid.mtime_ns {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(mtime as u64);
            std::fs::File::open(&place).unwrap().set_modified(time).unwrap();
        }
    }
    for (place, mode) in late {
        std::fs::set_permissions(place, mode).unwrap();
    }
}

/// Opens a laid out context whose ignore file stands beside a Dockerfile outside.
#[cfg(target_os = "linux")]
fn open(home: &Path, tree: &[Laid], ignore: &str) -> ContextIndex {
    on_disk(&home.join("c"), tree);
    std::fs::write(home.join("Dockerfile.dockerignore"), ignore).unwrap();
    ContextIndex::open(&home.join("c"), Some(&home.join("Dockerfile"))).unwrap()
}

/// Runs a check on the same context from memory and from the disk.
fn both(tree: &[Laid], ignored: &str, mut check: impl FnMut(&ContextIndex)) {
    check(&ContextIndex::from_memory(in_memory(tree), ignore(ignored)).unwrap());
    #[cfg(target_os = "linux")]
    {
        let home = tempfile::tempdir().unwrap();
        check(&open(home.path(), tree, ignored));
    }
}

fn shown<'e>(entries: impl Iterator<Item = &'e layerlint::context::Entry>) -> Vec<String> {
    entries.map(|e| format!("{}{}", e.path, if e.is_dir() { "/" } else { "" })).collect()
}

// dockerignore.json

#[test]
fn a_single_path_is_excluded_as_by_buildkit() {
    let all = vectors("dockerignore.json");
    let mut report = Report::default();
    for case in list(&all, "match") {
        let path = text(case, "path");
        let patterns = strings(&case["patterns"]);
        let matcher = match Matcher::new(&patterns) {
            Ok(matcher) => matcher,
            Err(_) => {
                report.check(case, "new", text(case, "stage"));
                continue;
            }
        };
        let outcome = (|| -> Result<bool, ()> {
            let (mut above, mut flags) = (None::<Vec<bool>>, Vec::new());
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            for end in ends {
                let decision =
                    matcher.decide(&path.as_bytes()[..end], above.as_deref(), &mut flags).map_err(drop)?;
                let is_dir = end < path.len() || case["is_dir"] == true;
                let prune = decision.matched && is_dir && matcher.may_prune(&path.as_bytes()[..end], true);
                if prune || end == path.len() {
                    return Ok(decision.matched);
                }
                above = Some(std::mem::take(&mut flags));
            }
            unreachable!()
        })();
        match outcome {
            Err(()) => report.check(case, "match", text(case, "stage")),
            Ok(excluded) => report.check(case, Some(excluded), case["excluded"].as_bool()),
        }
        if case["excluded"].is_boolean() {
            let want = case["matches_or_parent_matches"].as_bool().or(case["excluded"].as_bool());
            let got = matcher.covers(path.as_bytes()).map(|d| d.matched).ok();
            report.check(case, got, want);
        }
    }
    report.finish(1000);
}

#[test]
fn a_tree_is_sent_as_by_buildkit() {
    let all = vectors("dockerignore.json");
    let mut report = Report::default();
    for case in list(&all, "trees") {
        let tree = listed(list(case, "tree"));
        let file = ignore(text(case, "ignore_file_text")).unwrap();
        if file.matcher().is_err() {
            report.check(case, "filter", text(case, "stage"));
            continue;
        }
        let follow = case["follow_paths"].is_array().then(|| strings(&case["follow_paths"]));
        both(&tree, text(case, "ignore_file_text"), |index| {
            let Ok(view) = index.view(follow.as_deref()) else {
                return report.check(case, "walk", text(case, "stage"));
            };
            report.check(case, shown(view.entries()), strings(&case["sent"]));
            let empty: Vec<String> = view.hidden_contents().map(|e| e.path.to_string()).collect();
            report.check(case, empty, strings(&case["sent_but_empty"]));
            if follow.is_none() {
                report.check(case, shown(index.entries()), strings(&case["sent"]));
            }
        });
    }
    report.finish(300);
}

#[test]
fn what_is_left_out_and_what_is_sent_make_up_the_tree() {
    let all = vectors("dockerignore.json");
    for case in list(&all, "trees") {
        let tree = listed(list(case, "tree"));
        let file = ignore(text(case, "ignore_file_text")).unwrap();
        let Ok(matcher) = file.matcher() else { continue };
        let index = ContextIndex::from_memory(in_memory(&tree), Some(file)).unwrap();
        if index.problem().is_some() {
            continue;
        }
        let pruned: Vec<String> =
            index.left_out().filter(|l| l.pruned).map(|l| format!("{}/", l.path)).collect();
        for laid in &tree {
            let path = &laid.entry.path;
            let sent = index.entry(path).is_some();
            let left_out = index.left_out().find(|l| l.path == path);
            let under = pruned.iter().any(|p| path.to_string().starts_with(p));
            assert_eq!(sent, left_out.is_none() && !under, "{} {path}", case["id"]);
            if let Some(left_out) = left_out {
                assert!(!matcher.patterns()[left_out.pattern].exception, "{} {path}", case["id"]);
                let is_dir = laid.entry.kind == EntryKind::Dir;
                assert_eq!(index.decided_by(path, is_dir), Some(left_out.pattern), "{} {path}", case["id"]);
            }
        }
    }
}

#[test]
fn an_ignore_file_is_read_as_by_buildkit() {
    let all = vectors("dockerignore.json");
    let mut report = Report::default();
    for case in list(&all, "parse") {
        let content = match case["ignore_file_repeat"].as_array() {
            Some(runs) => {
                runs.iter().map(|r| r[0].as_str().unwrap().repeat(r[1].as_u64().unwrap() as usize)).collect()
            }
            None => text(case, "ignore_file_text").to_owned(),
        };
        let parsed = IgnoreFile::parse(SourceFile::from_bytes(".dockerignore", content));
        let Ok(parsed) = parsed else {
            report.check(case, "parse", text(case, "stage"));
            continue;
        };
        if let Some(count) = case["pattern_count"].as_u64() {
            report.check(case, parsed.patterns.len() as u64, count);
        }
        if case["patterns"].is_array() {
            let given: Vec<String> = parsed.patterns.iter().map(|p| p.given().to_string()).collect();
            report.check(case, given, strings(&case["patterns"]));
        }
        match parsed.matcher() {
            Err(_) => report.check(case, "new", text(case, "stage")),
            Ok(matcher) if case["compiled"].is_array() => {
                let got: Vec<(bool, String)> =
                    matcher.patterns().iter().map(|p| (p.exception, p.text.to_string())).collect();
                let want: Vec<(bool, String)> = list(case, "compiled")
                    .iter()
                    .map(|c| (c["exclusion"] == true, text(c, "pattern").to_owned()))
                    .collect();
                report.check(case, got, want);
            }
            Ok(_) => report.check(case, case["error"] == true, false),
        }
    }
    report.finish(70);
}

#[test]
fn a_bad_pattern_is_refused_where_buildkit_refuses_it() {
    let all = vectors("dockerignore.json");
    let mut report = Report::default();
    for case in list(&all, "bad_patterns") {
        let pattern = text(case, "pattern");
        let list = if pattern.trim().starts_with('!') { vec!["**", pattern] } else { vec![pattern] };
        let stage = match Matcher::new(&list) {
            Err(_) => "new",
            Ok(matcher) => match matcher.decide(b"some/path", None, &mut Vec::new()) {
                Err(_) => "match",
                Ok(_) => "",
            },
        };
        report.check(case, stage, text(case, "stage"));
    }
    report.finish(113);
}

#[test]
fn opening_a_path_asks_all_patterns_as_buildkit_does() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors/dockerignore-parent-matches.jsonl.gz");
    let mut lines = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut lines).unwrap();
    let mut report = Report::default();
    let mut compiled: BTreeMap<String, Option<Matcher>> = BTreeMap::new();
    for line in lines.lines() {
        let mut case: Value = serde_json::from_str(line).unwrap();
        case["id"] = format!("{:?} {:?}", text(&case, "ignore"), text(&case, "path")).into();
        let matcher = compiled
            .entry(text(&case, "ignore").to_owned())
            .or_insert_with(|| ignore(text(&case, "ignore")).unwrap().matcher().ok());
        let path = text(&case, "path").as_bytes();
        let got = matcher.as_ref().and_then(|m| m.covers(path).ok()).map(|d| d.matched);
        report.check(&case, got, case["excluded"].as_bool());
    }
    report.finish(13_128);
}

// contenthash.json

fn selector(value: &Value) -> Selector {
    let copy = value["src"].is_string();
    Selector {
        path: text(value, if copy { "src" } else { "path" }).to_owned(),
        wildcard: value[if copy { "allow_wildcard" } else { "wildcard" }] == true,
        follow: value[if copy { "follow_symlink" } else { "follow_links" }] == true,
        include: strings(&value["include_patterns"]),
        exclude: strings(&value["exclude_patterns"]),
        required: strings(&value["required_paths"]),
    }
}

#[test]
fn a_selector_has_the_checksum_of_buildkit() {
    let all = vectors("contenthash.json");
    let mut report = Report::default();
    for case in list(&all, "cases") {
        let tree = laid(list(case, "tree"));
        let selector = selector(&case["selector"]);
        let want = case["digest"].as_str().map(str::to_owned);
        if case["scan"] == true {
            let mode = u32::from_str_radix(text(case, "root_mode"), 8).unwrap();
            let root = RootRecord::Scanned { mode, uid: 0, gid: 0, extended: Default::default() };
            let tree = Tree::from_memory(in_memory(&tree)).with_root(root);
            report.check(case, tree.checksum(&selector).ok().map(|c| c.digest), want);
            continue;
        }
        let mut reset = tree;
        reset.iter_mut().for_each(|l| (l.entry.uid, l.entry.gid) = (0, 0));
        both(&reset, text(case, "ignore_file_text"), |index| {
            let got = index.checksum(&selector);
            if let Err(error) = &got
                && text(case, "message").ends_with("not found")
            {
                report.check(case, error.to_string(), text(case, "message").to_owned());
            }
            if let Ok(checksum) = &got {
                let selection = index.select(&selector).unwrap();
                report.check(case, selection.entries().count() as u64, checksum.entries);
                report.check(case, checksum.exact, true);
            }
            report.check(case, got.ok().map(|c| c.digest), want.clone());
        });
    }
    report.finish(122);
}

#[test]
fn an_instruction_has_the_content_digest_of_buildkit() {
    let all = vectors("contenthash.json");
    let mut report = Report::default();
    for case in list(&all, "copies") {
        let tree = laid(list(case, "tree"));
        let follow = case["follow_paths"].is_array().then(|| strings(&case["follow_paths"]));
        both(&tree, text(case, "ignore_file_text"), |index| {
            let view = match index.view(follow.as_deref()) {
                Ok(view) => view,
                Err(_) => return report.check(case, !case["sent"].is_array(), case["error"] == true),
            };
            report.check(case, shown(view.entries()), strings(&case["sent"]));
            for op in list(case, "ops") {
                let selectors: Vec<Selector> = list(op, "copies").iter().map(selector).collect();
                let paths: Vec<String> = selectors.iter().map(|s| s.path.clone()).collect();
                report.check(case, selector_digest(&paths).as_str(), text(op, "selector_digest"));
                let sums: Vec<String> =
                    dedupe(selectors).iter().map(|s| view.checksum(s).unwrap().digest).collect();
                report.check(case, content_digest(&sums).as_str(), text(op, "content_digest"));
            }
        });
    }
    report.finish(200);
}

#[test]
fn an_instruction_that_fails_in_buildkit_has_no_content_digest() {
    let all = vectors("contenthash.json");
    let mut report = Report::default();
    for case in list(&all, "copies").iter().filter(|c| c["error"] == true) {
        let words = strings(&case["instructions"])[0].clone();
        let words: Vec<&str> = words.split_whitespace().filter(|w| !w.starts_with("COPY")).collect();
        let parents = words[0] == "--parents";
        let source = words[usize::from(parents)];
        let (pivot, rest) = source.split_once("/./").unwrap_or(("", source));
        let selector = if parents {
            let path = layerlint::context::path::clean_str(&format!("/{pivot}"));
            let rest = layerlint::context::path::clean_str(&format!("/{rest}"));
            Selector {
                include: vec![rest.trim_start_matches('/').to_owned()],
                required: vec![layerlint::context::path::clean_str(&format!("{path}/{rest}"))],
                path,
                ..Selector::of_source("")
            }
        } else {
            Selector::of_source(source)
        };
        let follow = case["follow_paths"].is_array().then(|| strings(&case["follow_paths"]));
        both(&laid(list(case, "tree")), "", |index| {
            let failed = match index.view(follow.as_deref()) {
                Ok(view) => view.checksum(&selector).is_err(),
                Err(_) => true,
            };
            report.check(case, failed, true);
        });
    }
    report.finish(10);
}

#[test]
fn before_and_after_an_edit_the_checksum_is_that_of_a_cold_daemon() {
    let all = vectors("contenthash.json");
    let mut report = Report::default();
    for case in list(&all, "warm") {
        for (side, want) in [("before", "digest_before"), ("after", "digest_fresh")] {
            both(&laid(list(case, side)), "", |index| {
                let got = index.checksum(&selector(&case["selector"])).ok().map(|c| c.digest);
                report.check(case, got, case[want].as_str().map(str::to_owned));
            });
        }
    }
    report.finish(70);
}

// What no vector holds.

#[cfg(target_os = "linux")]
mod disk {
    use super::*;
    use bstr::ByteSlice as _;
    use layerlint::context::{ContextError, EntryKind, SelectError};
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn home() -> (tempfile::TempDir, std::path::PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("c");
        std::fs::create_dir(&root).unwrap();
        (home, root)
    }

    fn paths(index: &ContextIndex) -> Vec<String> {
        index.entries().map(|e| e.path.to_string()).collect()
    }

    #[test]
    fn the_ignore_file_beside_the_dockerfile_wins_even_when_it_is_empty() {
        let (_home, root) = home();
        std::fs::write(root.join(".dockerignore"), "*").unwrap();
        std::fs::write(root.join("sub.Dockerfile.dockerignore"), "").unwrap();
        let index = ContextIndex::open(&root, Some(&root.join("sub.Dockerfile"))).unwrap();
        assert!(index.ignore.unwrap().file.name.ends_with("sub.Dockerfile.dockerignore"));
        let index = ContextIndex::open(&root, Some(&root.join("Dockerfile"))).unwrap();
        assert!(index.ignore.as_ref().unwrap().file.name.ends_with("/.dockerignore"));
        assert_eq!(paths(&index), Vec::<String>::new());
    }

    #[test]
    fn an_ignore_file_may_be_a_link_within_its_source_and_not_out_of_it() {
        let (home, root) = home();
        std::fs::write(root.join("real"), "x\n").unwrap();
        std::fs::write(home.path().join("outside"), "y\n").unwrap();
        // The root of the source is the root of an absolute link.
        symlink("/real", root.join(".dockerignore")).unwrap();
        assert_eq!(IgnoreFile::find(&root, None).unwrap().unwrap().patterns[0].text, "x");
        std::fs::remove_file(root.join(".dockerignore")).unwrap();
        for out in ["../outside", ".dockerignore", "."] {
            symlink(out, root.join(".dockerignore")).unwrap();
            assert!(IgnoreFile::find(&root, None).unwrap().is_none(), "{out}");
            std::fs::remove_file(root.join(".dockerignore")).unwrap();
        }
        std::fs::create_dir(root.join(".dockerignore")).unwrap();
        assert!(IgnoreFile::find(&root, None).unwrap().is_none());
    }

    #[test]
    fn a_refused_pattern_has_its_place() {
        let (_home, root) = home();
        std::fs::write(root.join(".dockerignore"), "# c\na\n  b[  \n").unwrap();
        let Err(ContextError::Ignore(error)) = ContextIndex::open(&root, None) else { panic!() };
        assert_eq!((error.line, error.span.range(), error.text.to_string()), (3, 8..10, "b[".to_owned()));
        assert!(error.to_string().ends_with(".dockerignore:3: `b[`: syntax error in pattern"), "{error}");
    }

    #[test]
    fn names_that_are_no_text_are_bytes() {
        let (_home, root) = home();
        let name = std::ffi::OsStr::from_bytes(b"a\xff b");
        std::fs::write(root.join(name), "x").unwrap();
        std::fs::create_dir(root.join(std::ffi::OsStr::from_bytes(b"\xfe"))).unwrap();
        let index = ContextIndex::open(&root, None).unwrap();
        let paths: Vec<&[u8]> = index.entries().map(|e| e.path.as_bytes()).collect();
        assert_eq!(paths, [&b"a\xff b"[..], b"\xfe"]);
        assert_eq!(index.read(b"a\xff b", 10).unwrap().unwrap(), b"x");
        let checksum = index.checksum(&Selector::of_source("a? b")).unwrap();
        assert_eq!((checksum.files, checksum.bytes), (1, 1));
    }

    #[test]
    fn special_files_are_sent_and_never_opened() {
        let (_home, root) = home();
        assert!(std::process::Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
        std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let index = ContextIndex::open(&root, None).unwrap();
        let kinds: Vec<&EntryKind> = index.entries().map(|e| &e.kind).collect();
        assert_eq!(kinds, [&EntryKind::Fifo, &EntryKind::Socket]);
        let checksum = index.checksum(&Selector::of_source(".")).unwrap();
        assert_eq!((checksum.files, checksum.entries), (0, 2));
        assert_eq!(index.read(b"fifo", 10).unwrap(), None);
    }

    #[test]
    fn links_that_lead_in_a_circle_end() {
        let (_home, root) = home();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        symlink(".", root.join("self")).unwrap();
        let index = ContextIndex::open(&root, None).unwrap();
        assert_eq!(paths(&index), ["a", "b", "self"]);
        for source in ["a", "self/a", "self/self/a/x"] {
            let error = index.checksum(&Selector::of_source(source)).unwrap_err();
            assert!(matches!(error, SelectError::TooManyLinks { .. }), "{source}: {error}");
        }
        let follow = ["a".to_owned(), "self/*/b".to_owned()];
        let view = index.view(Some(&follow)).unwrap();
        assert_eq!(shown(view.entries()), ["a", "b", "self"]);
        assert!(index.checksum(&Selector::of_source("self")).is_ok());
    }

    #[test]
    fn endless_paths_are_not_found_soon() {
        let (_home, root) = home();
        std::fs::write(root.join("f"), "f").unwrap();
        let index = ContextIndex::open(&root, None).unwrap();
        let long = "a..b/".repeat(200_000);
        for source in [long.clone(), format!("{long}*"), format!("*/{long}")] {
            let selector = Selector::of_source(&source);
            let view = index.view(Some(std::slice::from_ref(&source))).unwrap();
            assert_eq!(view.entries().count(), 0);
            assert_eq!(view.checksum(&selector).map(|c| c.files).unwrap_or_default(), 0);
        }
    }

    #[test]
    fn what_vanishes_between_walk_and_hash_is_an_empty_file() {
        let (_home, root) = home();
        std::fs::write(root.join("f"), "content").unwrap();
        let index = ContextIndex::open(&root, None).unwrap();
        std::fs::remove_file(root.join("f")).unwrap();
        let checksum = index.checksum(&Selector::of_source("f")).unwrap();
        assert_eq!(checksum.empty, ["f"]);
    }

    #[test]
    fn a_file_is_read_once_and_only_when_it_is_selected() {
        let (_home, root) = home();
        std::fs::write(root.join("f"), "one").unwrap();
        std::fs::write(root.join("g"), "one").unwrap();
        let index = ContextIndex::open(&root, None).unwrap();
        let first = index.checksum(&Selector::of_source("f")).unwrap();
        std::fs::write(root.join("f"), "two").unwrap();
        std::fs::write(root.join("g"), "two").unwrap();
        assert_eq!(index.checksum(&Selector::of_source("f")).unwrap(), first);
        assert_ne!(index.checksum(&Selector::of_source("g")).unwrap().digest, first.digest);
    }

    #[test]
    fn unreadable_things_matter_only_where_they_are_sent() {
        let (_home, root) = home();
        std::fs::create_dir(root.join("data")).unwrap();
        std::fs::write(root.join("data/x"), "x").unwrap();
        std::fs::write(root.join("f"), "f").unwrap();
        let lock = |mode| {
            std::fs::set_permissions(root.join("data"), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        lock(0);
        if std::fs::read_dir(root.join("data")).is_ok() {
            lock(0o755);
            eprintln!("skipped: this user may read everything");
            return;
        }
        let index = ContextIndex::open(&root, None).unwrap();
        let problem = index.problem().map(ToString::to_string);
        let narrow = index.view(Some(&["f".to_owned()])).is_ok();
        std::fs::write(root.join(".dockerignore"), "data").unwrap();
        let ignored = ContextIndex::open(&root, None).unwrap().problem().is_none();
        lock(0o755);
        assert_eq!(problem.as_deref(), Some("cannot read data in the build context: permission denied"));
        assert!(narrow && ignored);
    }

    #[test]
    fn a_context_of_nothing_has_no_certain_digest() {
        let (_home, root) = home();
        let index = ContextIndex::open(&root, None).unwrap();
        let checksum = index.checksum(&Selector::of_source(".")).unwrap();
        assert!(!checksum.exact);
        assert!(checksum.digest.starts_with("sha256:0e5db883"), "{}", checksum.digest);
        assert!(index.checksum(&Selector::of_source("*.txt")).unwrap().exact);
    }

    #[test]
    fn a_root_that_is_no_directory_is_an_error() {
        let (home, root) = home();
        std::fs::write(root.join("f"), "f").unwrap();
        for path in [root.join("f"), root.join("missing")] {
            assert!(matches!(ContextIndex::open(&path, None), Err(ContextError::Root { .. })));
        }
        // A link to the root is resolved.
        symlink("c", home.path().join("l")).unwrap();
        assert_eq!(paths(&ContextIndex::open(&home.path().join("l"), None).unwrap()), ["f"]);
    }

    #[test]
    fn every_name_of_a_file_has_its_digest() {
        let (_home, root) = home();
        std::fs::write(root.join("a"), "same").unwrap();
        std::fs::hard_link(root.join("a"), root.join("b")).unwrap();
        std::fs::write(root.join(".dockerignore"), "a").unwrap();
        let index = ContextIndex::open(&root, None).unwrap();
        let of = |tree: Tree| tree.checksum(&Selector::of_source("b")).unwrap().digest;
        let mode = index.entry(b"b").unwrap().mode;
        assert_eq!(
            index.checksum(&Selector::of_source("b")).unwrap().digest,
            of(Tree::from_memory(vec![MemoryEntry::file("b", mode, "same")]))
        );
    }
}

/// Properties.
mod properties {
    use super::*;
    use layerlint::context::path::{clean, path_match};
    use proptest::prelude::*;

    /// Patterns of what patterns are made of, and some noise.
    fn pattern() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            8 => prop::sample::select(vec![
                "a", "b", "c", "/", "*", "**", "**/", "?", "[", "]", "[a-c]", "[^a]", "!", "\\", "|", "^", "$", "{2}",
                "{1,2}", ".", "..", "(", ")", "+", "[[:alpha:]]", "\\d", "\\pL", "\\Q", "\\E", "é", " ", "#", "-", "&&",
            ])
            .prop_map(str::to_owned),
            1 => "\\PC",
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec!["a", "b", "c", "ab", "a.b", "é", ".c", "]", "x\n"]),
            1..5,
        )
        .prop_map(|parts| parts.join("/"))
    }

    fn walk(matcher: &Matcher, path: &str) -> Option<(bool, Vec<bool>)> {
        let (mut above, mut flags) = (None::<Vec<bool>>, Vec::new());
        for end in path.match_indices('/').map(|(at, _)| at) {
            matcher.decide(&path.as_bytes()[..end], above.as_deref(), &mut flags).ok()?;
            above = Some(std::mem::take(&mut flags));
        }
        let matched = matcher.decide(path.as_bytes(), above.as_deref(), &mut flags).ok()?.matched;
        Some((matched, above.unwrap_or_default()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn nothing_makes_the_matcher_panic(
            list in prop::collection::vec(pattern(), 0..4), path in prop::collection::vec(any::<u8>(), 0..12)
        ) {
            if let Ok(matcher) = Matcher::new(&list) {
                let _ = matcher.decide(&path, None, &mut Vec::new());
                let _ = matcher.covers(&path);
                let _ = matcher.may_prune(&path, true);
            }
            for pattern in &list {
                let _ = path_match(pattern, &path);
            }
        }

        #[test]
        fn an_ignore_file_of_any_bytes_is_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(file) = IgnoreFile::parse(SourceFile::from_bytes("x", bytes)) {
                for pattern in &file.patterns {
                    prop_assert_eq!(file.file.index.line(pattern.span.start), pattern.line);
                    prop_assert!(!file.file.bytes[pattern.span.range()].is_empty());
                }
                let _ = file.matcher();
            }
        }

        #[test]
        fn cleaning_twice_is_cleaning_once(path in "[a./]{0,12}") {
            let once = clean(&path);
            prop_assert_eq!(clean(&once), once);
        }

        /// The safe set: cleaned, none of `? [ ] \ { } ^ |`, every `**` a component of its own, no line breaks.
        #[test]
        fn in_the_safe_set_globset_agrees(
            parts in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**", "a*", "*.b", ".c", "ab"]), 1..5),
            path in path().prop_filter("line break", |p| !p.contains('\n')),
        ) {
            let pattern = parts.join("/");
            let glob = globset::GlobBuilder::new(&pattern)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .unwrap()
                .compile_matcher();
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let want = ends.map(|end| &path[..end]).any(|part| glob.is_match(part));
            let matcher = Matcher::new(&[&pattern]).unwrap();
            prop_assert_eq!(matcher.covers(path.as_bytes()).unwrap().matched, want, "{} {}", pattern, path);
        }

        #[test]
        fn without_exceptions_walking_and_opening_agree(
            list in prop::collection::vec(pattern().prop_filter("exception", |p| !p.contains('!')), 0..4), path in path()
        ) {
            if let Ok(matcher) = Matcher::new(&list)
                && let Some((matched, _)) = walk(&matcher, &path)
            {
                prop_assert_eq!(matcher.covers(path.as_bytes()).unwrap().matched, matched);
            }
        }

        /// What lets large contexts skip the question.
        #[test]
        fn below_directories_that_no_pattern_matches_opening_refuses_nothing_sent(
            list in prop::collection::vec(pattern(), 0..5), path in path()
        ) {
            if let Ok(matcher) = Matcher::new(&list)
                && let Some((false, above)) = walk(&matcher, &path)
                && !above.contains(&true)
                && let Ok(opened) = matcher.covers(path.as_bytes())
            {
                prop_assert!(!opened.matched, "{:?} {}", list, path);
            }
        }
    }
}
