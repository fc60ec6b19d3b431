//! Files of a build context that get one constant time before a build on a builder that stays.

use super::{Rule, builds, words};
use crate::finding::Finding;
use crate::invoke::Project;
use crate::invoke::call::{Call, Deed, Deeds, FileKind, Lifetime, Source, Text, Value};
use crate::source::Span;
use crate::syntax::shell::{Connector, ShellWord};
use std::collections::HashSet;

/// See `rules/normalised-mtimes.md`.
pub(super) const RULE: Rule = Rule {
    name: "normalised-mtimes",
    page: include_str!("../../rules/normalised-mtimes.md"),
    check: |_, _| {},
};

/// Times that were set.
struct Normalised<'p> {
    deed: &'p Deeds,
    /// The folder whose files got them, relative to the root of the file; `None` if unknown.
    folder: Option<String>,
    /// The time as written.
    time: String,
}

pub(super) fn check(project: &Project, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for job in &project.jobs {
        // A builder that is new has no older copy of the context.
        if job.lifetime() != Lifetime::Lasting {
            continue;
        }
        let mut set: Vec<Normalised<'_>> = Vec::new();
        let mut packed: Option<String> = None;
        for deed in &job.deeds {
            match deed {
                Deed::Command(deed) => {
                    if forgets(deed) {
                        set.clear();
                    }
                    follow(deed, &mut set, &mut packed);
                }
                Deed::Build(number) => {
                    let Some(call) = project.calls.get(*number) else { continue };
                    for normalised in &set {
                        if reaches(call, normalised)
                            && told.insert((normalised.deed.file, normalised.deed.command.span))
                        {
                            findings.push(finding(project, call, normalised));
                        }
                    }
                }
            }
        }
    }
}

/// Whether a command throws away what the builder knows of the context, or makes the times differ again.
fn forgets(deed: &Deeds) -> bool {
    let Some((name, arguments)) = deed.command.program() else { return false };
    let words: Vec<&str> = arguments.iter().map(|w| w.text.as_str()).collect();
    let has = |word: &str| words.contains(&word);
    match name {
        "docker" | "podman" | "nerdctl" | "buildctl" => {
            has("prune") || (has("buildx") && (has("rm") || has("create")))
        }
        "git" => has("restore-mtime"),
        _ => name.contains("restore-mtime"),
    }
}

/// Takes note of what a command does to times.
fn follow<'p>(deed: &'p Deeds, set: &mut Vec<Normalised<'p>>, packed: &mut Option<String>) {
    let Some((name, arguments)) = deed.command.program() else { return };
    let folder = deed.folder.clone();
    match name.trim_start_matches('g') {
        "touch" => {
            if !takes_many(deed, arguments) {
                return;
            }
            let below = operand_folder(deed, arguments)
                .map_or(folder.clone(), |inner| joined(folder.as_deref(), &inner));
            match time_of(deed, arguments) {
                Time::Constant(time) => set.push(Normalised { deed, folder: below, time }),
                // All times are new: every file is sent.
                Time::Now => set.retain(|n| n.folder != below),
                Time::Unknown => {}
            }
        }
        "find" => {
            let at = arguments.iter().position(|w| matches!(w.text.as_str(), "-exec" | "-execdir" | "-ok"));
            let Some(inner) = at.and_then(|at| arguments.get(at + 1..)) else { return };
            let Some(touch) = inner
                .iter()
                .position(|w| w.text.rsplit('/').next().is_some_and(|n| n == "touch" || n == "gtouch"))
            else {
                return inner_script(deed, inner, arguments, set);
            };
            let end = inner
                .iter()
                .position(|w| matches!(w.text.as_str(), ";" | "+" | "\\;"))
                .unwrap_or(inner.len());
            let options = inner.get(touch + 1..end.max(touch + 1)).unwrap_or_default();
            if let Time::Constant(time) = time_of(deed, options) {
                set.push(Normalised { deed, folder: find_folder(deed, arguments), time });
            }
        }
        "tar" | "bsdtar" | "it" => {
            let git = name == "git";
            if git && !arguments.iter().any(|w| w.text == "archive") {
                return;
            }
            let mtime = option(deed, arguments, "--mtime").filter(|_| git || !extracts(arguments));
            if let Some(value) = mtime {
                *packed = constant(&value);
            } else if !git && extracts(arguments) {
                let now =
                    arguments.iter().any(|w| w.text == "--touch" || (is_letters(w) && w.text.contains('m')));
                if let Some(time) = packed.take().filter(|_| !now) {
                    let into =
                        option(deed, arguments, "-C").or_else(|| option(deed, arguments, "--directory"));
                    let folder = match into {
                        Some(Value::Known(inner)) => joined(folder.as_deref(), &inner),
                        Some(Value::Unknown(_)) => None,
                        None => folder,
                    };
                    set.push(Normalised { deed, folder, time });
                }
            }
        }
        _ => {}
    }
}

/// `find … -exec sh -c 'touch -d @0 "$@"' …`.
fn inner_script<'p>(
    deed: &'p Deeds,
    inner: &[ShellWord],
    arguments: &[ShellWord],
    set: &mut Vec<Normalised<'p>>,
) {
    let Some(script) = inner.iter().find(|w| w.text.split_whitespace().next() == Some("touch")) else {
        return;
    };
    let words: Vec<&str> = script.text.split_whitespace().collect();
    let at = words.iter().position(|w| matches!(*w, "-d" | "-t"));
    let Some(value) = at.and_then(|at| words.get(at + 1)) else { return };
    let value = value.trim_matches(['"', '\'']).to_owned();
    if let Some(time) = constant(&Value::Known(value)).filter(|t| !t.contains('$')) {
        set.push(Normalised { deed, folder: find_folder(deed, arguments), time });
    }
}

/// The folder that find searches, if it is one.
fn find_folder(deed: &Deeds, arguments: &[ShellWord]) -> Option<String> {
    let starts: Vec<&ShellWord> = arguments
        .iter()
        .skip_while(|w| matches!(w.text.as_str(), "-L" | "-H" | "-P"))
        .take_while(|w| !w.text.starts_with(['-', '(', '!']))
        .collect();
    match starts.as_slice() {
        [] => deed.folder.clone(),
        [one] => match deed.value(one) {
            Value::Known(path) => joined(deed.folder.as_deref(), &path),
            Value::Unknown(_) => None,
        },
        _ => deed.folder.clone(),
    }
}

/// A path in a folder.
fn joined(folder: Option<&str>, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return Some(crate::context::path::clean_str(path));
    }
    let full = format!("/{}/{path}", folder?);
    let clean = crate::context::path::clean_str(&full);
    Some(clean.trim_start_matches('/').to_owned()).map(|c| if c.is_empty() { ".".to_owned() } else { c })
}

/// Whether a `touch` is for many files: through xargs, in a loop, by a pattern or a list.
fn takes_many(deed: &Deeds, arguments: &[ShellWord]) -> bool {
    let command = &deed.command;
    let first = command.words.first().map(|w| w.text.rsplit('/').next().unwrap_or_default().to_owned());
    if matches!(first.as_deref(), Some("xargs" | "gxargs" | "parallel"))
        || command.words.iter().any(|w| w.text == "xargs")
    {
        return true;
    }
    let operands = operands(arguments);
    let listed = operands.iter().any(|w| w.glob || w.text.contains("$(") || w.text.contains('`'));
    let in_loop = operands.iter().any(|w| {
        w.expands
            && (!command.loops.is_empty() || (command.conditional && command.connector != Connector::First))
    });
    listed || in_loop || operands.len() > 1
}

/// The folder that all operands of a `touch` lie in, if one is spelled.
fn operand_folder(deed: &Deeds, arguments: &[ShellWord]) -> Option<String> {
    let operands = operands(arguments);
    let [only] = operands.as_slice() else { return None };
    let Value::Known(text) = deed.value(only) else { return None };
    let folder = text.split(['*', '?', '[', '{']).next().unwrap_or_default();
    let folder = folder.rsplit_once('/').map_or("", |(folder, _)| folder);
    (!folder.is_empty()).then(|| folder.to_owned())
}

const VALUED: [&str; 5] = ["-d", "-t", "-r", "--date", "--reference"];

fn operands(arguments: &[ShellWord]) -> Vec<&ShellWord> {
    let mut out = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let text = word.text.as_str();
        let letters = is_letters(word) && text.ends_with(['d', 't', 'r', 'A']);
        if VALUED.contains(&text) || letters || text == "--time" {
            rest.next();
        } else if !text.starts_with('-') && text != "{}" && text != ";" && text != "+" {
            out.push(word);
        }
    }
    out
}

/// Whether a word is short options.
fn is_letters(word: &ShellWord) -> bool {
    word.text.strip_prefix('-').is_some_and(|l| !l.is_empty() && l.chars().all(|c| c.is_ascii_alphabetic()))
}

enum Time {
    Constant(String),
    Now,
    Unknown,
}

/// The time that a `touch` sets.
fn time_of(deed: &Deeds, arguments: &[ShellWord]) -> Time {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let text = word.text.as_str();
        if text.starts_with("--reference") || text == "-r" || (is_letters(word) && text.ends_with('r')) {
            return match deed.value(words.next().unwrap_or(word)) {
                Value::Known(file) => {
                    Time::Constant(format!("that of {}", file.trim_start_matches("--reference=")))
                }
                Value::Unknown(_) => Time::Unknown,
            };
        }
        let value = if let Some((_, _)) = text.split_once('=').filter(|(n, _)| *n == "--date") {
            let inner = ShellWord { text: text.trim_start_matches("--date=").to_owned(), ..word.clone() };
            deed.value(&inner)
        } else if text == "--date" || (is_letters(word) && text.ends_with(['d', 't'])) {
            match words.next() {
                Some(next) => deed.value(next),
                None => return Time::Unknown,
            }
        } else if let Some(attached) = text
            .strip_prefix("-t")
            .or_else(|| text.strip_prefix("-d"))
            .filter(|t| t.starts_with(|c: char| c.is_ascii_digit() || c == '@'))
        {
            Value::Known(attached.to_owned())
        } else {
            continue;
        };
        return match (constant(&value), value) {
            (Some(time), _) => Time::Constant(time),
            (None, Value::Known(_)) => Time::Now,
            (None, Value::Unknown(_)) => Time::Unknown,
        };
    }
    Time::Now
}

/// A time that does not depend on when it is asked for.
fn constant(value: &Value) -> Option<String> {
    let Value::Known(text) = value else { return None };
    let lower = text.to_ascii_lowercase();
    let relative = [
        "now",
        "today",
        "yesterday",
        "tomorrow",
        "ago",
        "next",
        "last",
        "hour",
        "minute",
        "second",
        "day",
        "week",
    ];
    let moving = relative.iter().any(|word| lower.contains(word));
    let says = lower.chars().any(|c| c.is_ascii_digit());
    (says && !moving).then(|| text.clone())
}

/// The value of an option.
fn option(deed: &Deeds, arguments: &[ShellWord], name: &str) -> Option<Value> {
    let at = arguments
        .iter()
        .position(|w| w.text == name || w.text.strip_prefix(name).is_some_and(|r| r.starts_with('=')))?;
    let word = arguments.get(at)?;
    match word.text.split_once('=') {
        Some((_, value)) => Some(deed.value(&ShellWord { text: value.to_owned(), ..word.clone() })),
        None => arguments.get(at + 1).map(|w| deed.value(w)),
    }
}

/// Whether a tar command unpacks.
fn extracts(arguments: &[ShellWord]) -> bool {
    let first = arguments
        .first()
        .is_some_and(|w| !w.text.starts_with('-') && w.text.contains('x') && w.text.len() < 6);
    first
        || arguments.iter().any(|w| {
            matches!(w.text.as_str(), "--extract" | "--get") || (is_letters(w) && w.text.contains('x'))
        })
}

/// Whether the times lie in what a build sends.
fn reaches(call: &Call, normalised: &Normalised<'_>) -> bool {
    // A repository or an archive is not sent by its times.
    let Some(Source::Directory(context)) = &call.context else { return false };
    match (context.known(), &normalised.folder) {
        (Some(context), Some(folder)) => {
            // Nobody knows where on the machine the tree lies.
            if context.starts_with('/') != folder.starts_with('/') {
                return false;
            }
            let clean = |path: &str| crate::context::path::clean_str(&format!("/{path}"));
            let (context, folder) = (clean(context), clean(folder));
            crate::build::model::is_below(&context, &folder)
                || crate::build::model::is_below(&folder, &context)
        }
        // One of them is not known: another folder altogether would be strange.
        _ => normalised.folder.is_none() || call.context.is_some(),
    }
}

fn finding(project: &Project, call: &Call, normalised: &Normalised<'_>) -> Finding {
    let deed = normalised.deed;
    let span = deed.command.span;
    let context = call.context.as_ref().map(|c| c.text()).and_then(Text::known).unwrap_or(".");
    let what = words::shortened(&normalised.time, 40);
    let message = format!(
        "every file that this touches gets one time ({what}) before `{context}` is built: BuildKit takes a file whose \
         size, mode and time it knows for unchanged, so an edit that keeps the size is not sent, and COPY is CACHED \
         with the old content"
    );
    let lasting = match project.files.get(deed.file).map(|f| f.kind) {
        Some(FileKind::Workflow | FileKind::Action | FileKind::Gitlab) => {
            "builds on a machine that keeps its copy of the context"
        }
        _ => "a builder that stays compares with its last copy of the context",
    };
    builds::finding(&RULE, project, (deed.file, span), message)
        .label("one time for all files")
        .help(
            "leave the times of the context alone and make those of the image equal: `SOURCE_DATE_EPOCH=… docker buildx \
             build --output type=image,name=…,rewrite-timestamp=true`; where they must be set, use those of the commits \
             (`git restore-mtime`) or build from a git context; `--no-cache` does not help",
        )
        .evidence("time", &normalised.time)
        .evidence("context", context)
        .with(builds::label(project, (call.file, place(call)), lasting))
}

fn place(call: &Call) -> Span {
    call.head
}

impl Finding {
    /// Another place.
    fn with(mut self, label: crate::finding::Label) -> Self {
        self.related.push(label);
        self
    }
}
