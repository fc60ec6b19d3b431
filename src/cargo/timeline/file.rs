//! Source files in the image: what they hold, and their times.

use super::super::find::{Find, FindAction};
use super::Attempt;
use super::unit::{Key, Record};
use crate::build::mapping::{Covers, Mapping, covers};
use crate::build::model::is_below;
use crate::build::process::{PathValue, Process};
use crate::context::path::{clean_str, has_wildcard, path_match};
use crate::source::Span;
use crate::syntax::shell::Connector;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// What a command wrote at that time.
    Written(u32),
    /// The file of the context.
    Context(Rc<str>),
    /// It cannot be told.
    Unknown,
    /// It is not there, but was.
    Removed,
}

/// The time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// That of the context: on a cold build before anything that the build does.
    Context,
    /// When a command wrote or touched it.
    At(u32),
    /// It cannot be told.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) content: Content,
    pub(super) time: Time,
    /// What gave it its content, and when.
    pub(super) writer: Span,
    pub(super) written: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) at: u32,
    pub(super) attempt: Attempt,
    /// The files or directory it is about.
    pub(super) about: About,
}

#[derive(Clone, Debug)]
pub(super) enum About {
    /// A touch of these.
    Touch(PathValue),
    /// Anything of this target directory.
    Target(String),
}

/// Context sources that were brought.
#[derive(Clone, Debug)]
pub(super) struct Brought {
    pub(super) at: u32,
    pub(super) span: Span,
    pub(super) dest: String,
}

/// A compilation of dependencies alone, as a stage has it.
#[derive(Clone, Debug)]
pub(super) struct Ahead {
    /// Its place in [`super::Timeline::prepared`].
    pub(super) index: usize,
    pub(super) key: Key,
    pub(super) at: u32,
    /// Build scripts that were there.
    pub(super) scripts: Vec<String>,
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<String, File>,
    pub(super) records: Vec<Record>,
    pub(super) notes: Vec<Note>,
    pub(super) brought: Vec<Brought>,
    /// Compilations of dependencies alone.
    pub(super) prepared: Vec<Ahead>,
    /// When some Rust source was touched last, whichever.
    pub(super) touched: u32,
}

pub(super) fn put(state: &mut State, path: &str, content: Content, time: Time, writer: Span, at: u32) {
    if path.ends_with(".rs")
        || !matches!(content, Content::Written(_))
        || path.ends_with("/Cargo.toml")
        || path.contains("/.cargo/config")
    {
        state.files.insert(path.to_owned(), File { content, time, writer, written: at });
    }
}

/// A command writes a file.
pub(super) fn write(state: &mut State, path: &str, append: bool, span: Span, at: u32) {
    if let Some(file) = state.files.get_mut(path).filter(|f| append && f.content != Content::Removed) {
        // What is appended to the real source does not make it another.
        if !matches!(file.content, Content::Context(_)) {
            file.content = Content::Written(at);
        }
        file.time = Time::At(at);
        if path.ends_with(".rs") {
            state.touched = at;
        }
        return;
    }
    put(state, path, Content::Written(at), Time::At(at), span, at);
}

impl State {
    pub(super) fn touch_where(&mut self, at: u32, takes: impl Fn(&str) -> bool) {
        for (path, file) in
            self.files.iter_mut().filter(|(path, f)| f.content != Content::Removed && takes(path))
        {
            file.time = Time::At(at);
            if path.ends_with(".rs") {
                self.touched = at;
            }
        }
        // Without a context the files are not known; a pattern that takes Rust sources takes them all.
        let probes = ["/layerlint/src/main.rs".to_owned()];
        let below = self.brought.iter().map(|b| format!("{}/src/main.rs", b.dest.trim_end_matches('/')));
        if probes.into_iter().chain(below).any(|path| takes(&path)) {
            self.touched = at;
        }
    }

    pub(super) fn touch_all(&mut self, at: u32) {
        for file in self.files.values_mut().filter(|f| f.content != Content::Removed) {
            file.time = Time::At(at);
        }
        self.touched = at;
    }

    /// What looks like a cure of these crates since a time and is none.
    pub(super) fn attempts(&self, key: &Key, since: u32, roots: &[&str]) -> Vec<Attempt> {
        let mut out = Vec::new();
        for note in self.notes.iter().filter(|n| n.at > since) {
            let attempt = match &note.about {
                About::Target(dir) => (*dir == key.dir).then(|| note.attempt.clone()),
                About::Touch(pattern) => {
                    let mut reason = None;
                    for root in roots {
                        match covers(pattern, root) {
                            Covers::Above => {
                                reason = Some(
                                    "changes the time of the directory, which cargo does not look at"
                                        .to_owned(),
                                );
                            }
                            Covers::Itself if self.files.get(*root).is_some_and(|f| f.written > note.at) => {
                                reason =
                                    Some("comes before the copy, which brings the old time back".to_owned());
                            }
                            _ => {}
                        }
                    }
                    reason.map(|reason| Attempt { span: note.attempt.span, reason })
                }
            };
            out.extend(attempt.filter(|a| !out.contains(a)));
        }
        out
    }
}

pub(super) fn touch(state: &mut State, process: &Process<'_>, before: Option<&Process<'_>>, at: u32) {
    let Some((_, words)) = process.program() else { return };
    if process.is_fed() {
        let find = before.filter(|_| process.command.connector == Connector::Pipe).and_then(Find::of);
        match find {
            Some(find) if find.action == FindAction::Print => state.touch_where(at, |path| find.takes(path)),
            _ => state.touch_all(at),
        }
        return;
    }
    let mut skip = false;
    for word in words {
        if std::mem::take(&mut skip) {
            continue;
        }
        match word.text.as_str() {
            "-d" | "-t" | "-r" | "--date" | "--reference" => {
                skip = true;
                continue;
            }
            // The time of access only.
            "-a" => return,
            text if text.starts_with('-') => continue,
            _ => {}
        }
        let Some(paths) = process.paths(word) else {
            state.touch_all(at);
            continue;
        };
        for path in paths {
            if !path.glob && path.path.ends_with(".rs") {
                let there = state.files.get(&path.path).is_some_and(|f| f.content != Content::Removed);
                if !there {
                    put(state, &path.path, Content::Written(at), Time::At(at), process.command.span, at);
                    state.touched = at;
                }
            }
            state.touch_where(at, |file| covers(&path, file) == Covers::Itself);
            if path.path.ends_with(".rs") {
                state.touched = at;
            }
            let attempt = Attempt { span: process.command.span, reason: String::new() };
            state.notes.push(Note { at, attempt, about: About::Touch(path) });
        }
    }
}

/// What an instruction brings, as far as the Dockerfile alone tells: manifests by their names, and sources where
/// a file was before.
pub(super) fn guess(map: &Mapping, state: &mut State, pattern: &str, span: Span, at: u32) {
    let name = pattern.rsplit('/').next().unwrap_or_default();
    let fits = |file: &str| name == file || (has_wildcard(name) && path_match(name, file).unwrap_or(false));
    let folder = pattern.strip_suffix(name).unwrap_or("/");
    if fits("Cargo.toml") && !matches!(name, "*" | "") {
        let source = format!("{folder}Cargo.toml");
        let to = if map.parents {
            format!("{}/{source}", map.dest)
        } else if map.folder || has_wildcard(name) {
            format!("{}/Cargo.toml", map.dest)
        } else {
            map.dest.clone()
        };
        put(
            state,
            &clean_str(&to),
            Content::Context(Rc::from(clean_str(&source).as_str())),
            Time::Context,
            span,
            at,
        );
    }
    if name.ends_with(".rs") && !has_wildcard(name) {
        let to = if map.folder { format!("{}/{name}", map.dest) } else { map.dest.clone() };
        put(state, &clean_str(&to), Content::Context(Rc::from(pattern)), Time::Context, span, at);
        return;
    }
    let last = map.dest.rsplit('/').next().unwrap_or_default();
    // `COPY src ./` spreads what is in `src`.
    let spreads = !map.parents && matches!(name, "src" | "crates" | "bin" | "lib") && name != last;
    for (path, file) in state.files.iter_mut().filter(|(path, _)| is_below(path, &map.dest)) {
        let rest = path.strip_prefix(map.dest.trim_end_matches('/')).unwrap_or(path);
        let source = if map.parents {
            if !is_below(rest, pattern) {
                continue;
            }
            rest.to_owned()
        } else if has_wildcard(name) {
            // One level of names: `*`, `*.rs`.
            let first = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
            if !fits(first) || rest.matches('/').count() > 1 {
                continue;
            }
            format!("{folder}{first}")
        } else if spreads || (name.contains('.') && name != "." && !name.starts_with('.')) {
            continue;
        } else {
            format!("{}{rest}", pattern.trim_end_matches('/'))
        };
        let content = Content::Context(Rc::from(clean_str(&source).as_str()));
        *file = File { content, time: Time::Context, writer: span, written: at };
    }
}

/// Whether a source of the context can hold Rust sources, as far as its name tells.
pub(super) fn brings_sources(pattern: &str) -> bool {
    let name = pattern.rsplit('/').next().unwrap_or_default();
    name.ends_with(".rs")
        || (!name.contains('.') && !name.starts_with("Cargo") && !name.starts_with("rust-toolchain"))
}
