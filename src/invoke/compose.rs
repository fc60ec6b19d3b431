//! Compose files: services with `build`, `extends`, several files on top of each other, `${NAME:-default}`.

use super::call::{Cache, Call, Source, Starter, Text, Value, join};
use super::command::{argument, is_remote};
use super::script::fill;
use super::yaml::{Kind, Node};
use crate::source::Span;
use std::sync::Arc;

/// `extends` upon `extends`.
const MAX_DEPTH: usize = 16;

/// A compose file that was read.
pub(super) struct File {
    pub file: usize,
    /// Its directory, relative to the root of the project it belongs to.
    pub folder: String,
    pub root: Arc<Node>,
}

/// Variables that are known to fill in.
pub(super) type Variables = [(String, Value)];

/// The services that are built, as builds. `open` reads another file by its path relative to the same root.
pub(super) fn calls(
    files: &[File],
    variables: &Variables,
    open: &mut dyn FnMut(&str) -> Option<File>,
) -> Vec<Call> {
    let mut names: Vec<String> = Vec::new();
    for file in files {
        let Some(services) = file.root.get("services") else { continue };
        for (name, _, _) in services.entries() {
            if !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
    }
    let mut calls = Vec::new();
    for name in names {
        let mut builds: Vec<Said> = Vec::new();
        for file in files {
            collect(file, &name, open, &mut Vec::new(), &mut builds);
        }
        calls.extend(call(&name, &builds, variables));
    }
    calls
}

/// A `build` of a service in one file.
struct Said {
    file: usize,
    folder: String,
    key: Span,
    build: Arc<Node>,
}

/// The `build` of a service with those it extends, the base-most first.
fn collect(
    file: &File,
    service: &str,
    open: &mut dyn FnMut(&str) -> Option<File>,
    above: &mut Vec<(String, String)>,
    out: &mut Vec<Said>,
) {
    let here = (format!("{}#{}", file.folder, file.file), service.to_owned());
    if above.len() >= MAX_DEPTH || above.contains(&here) {
        return;
    }
    let Some(node) = file.root.get("services").and_then(|s| s.get(service)).cloned() else { return };
    above.push(here);
    if let Some(extends) = node.get("extends") {
        let base = extends.text().or_else(|| extends.get("service").and_then(|s| s.text()));
        let path = extends.get("file").and_then(|f| f.text());
        match (base, path) {
            (Some(base), None) => collect(file, base, open, above, out),
            (Some(base), Some(path)) => {
                if let Some(other) = open(&join(&file.folder, path)) {
                    collect(&other, base, open, above, out);
                }
            }
            _ => {}
        }
    }
    above.pop();
    if let Some((key, build)) = node.entry("build") {
        let folder = file.folder.clone();
        out.push(Said { file: file.file, folder, key: key.span, build: build.clone() });
    }
}

/// `${NAME:-default}` with the variables filled in; `$$` is a dollar.
fn text(node: &Node, variables: &Variables) -> Option<Text> {
    let raw = node.text()?;
    let value = match raw.contains("$$") {
        true => match fill(&raw.replace("$$", "\u{1}"), true, variables) {
            Value::Known(text) => Value::Known(text.replace('\u{1}', "$")),
            Value::Unknown(text) => Value::Unknown(text.replace('\u{1}', "$$")),
        },
        false => fill(raw, true, variables),
    };
    Some(Text { value, span: node.span })
}

fn call(service: &str, builds: &[Said], variables: &Variables) -> Option<Call> {
    let last = builds.last()?;
    let span = last.key.to(last.build.span);
    let mut call = Call::new(Starter::Service(service.to_owned()), last.file, span, last.key);
    let mut context: Option<(Text, String)> = None;
    let mut dockerfile: Option<Text> = None;
    let mut inline = false;
    for said in builds {
        let build = &said.build;
        if let Some(short) = text(build, variables) {
            context = Some((short, said.folder.clone()));
            continue;
        }
        let get = |name: &str| build.get(name);
        let scalar = |name: &str| get(name).and_then(|n| text(n, variables));
        let list = |name: &str| -> Option<Vec<Text>> {
            let node = get(name)?;
            match &node.kind {
                Kind::List(list) => Some(list.iter().filter_map(|n| text(n, variables)).collect()),
                _ => text(node, variables).map(|t| vec![t]),
            }
        };
        if let Some(said_context) = scalar("context") {
            context = Some((said_context, said.folder.clone()));
        }
        if let Some(file) = scalar("dockerfile") {
            dockerfile = Some(file);
            inline = false;
        }
        inline |= get("dockerfile_inline").is_some();
        call.target = scalar("target").or(call.target.take());
        for (name, value) in pairs(get("args"), variables) {
            call.args.retain(|(n, _)| *n != name);
            call.args.push((name, value));
        }
        for (name, value) in pairs(get("additional_contexts"), variables) {
            call.contexts.retain(|(n, _)| *n != name);
            call.contexts.extend(value.map(|v| (name, v)));
        }
        let cache = |list: Vec<Text>| list.into_iter().map(Cache::new).collect::<Vec<_>>();
        call.cache_from.extend(list("cache_from").map(cache).unwrap_or_default());
        call.cache_to.extend(list("cache_to").map(cache).unwrap_or_default());
        call.platforms.extend(list("platforms").unwrap_or_default());
        call.tags.extend(list("tags").unwrap_or_default());
        call.secrets.extend(list("secrets").unwrap_or_default());
        for (name, option) in [("network", "network"), ("shm_size", "shm-size")] {
            call.options.extend(scalar(name).map(|value| (option.to_owned(), value)));
        }
        if let Some(hosts) = get("extra_hosts") {
            let listed = list("extra_hosts").filter(|_| !hosts.is_map()).unwrap_or_default();
            let listed = listed.into_iter().map(|h| h.map(|h| h.replacen('=', ":", 1)));
            let mapped = hosts.entries();
            let mapped = mapped
                .into_iter()
                .filter_map(|(host, _, ip)| Some(text(ip, variables)?.map(|ip| format!("{host}:{ip}"))));
            call.options.extend(listed.chain(mapped).map(|host| ("add-host".to_owned(), host)));
        }
        for (name, _, limit) in get("ulimits").map(|l| l.entries()).unwrap_or_default() {
            let bound = |key: &str| limit.get(key).and_then(|n| n.text().map(str::to_owned));
            let value = match (text(limit, variables), bound("soft"), bound("hard")) {
                (Some(both), ..) => both.map(|n| format!("{name}={n}:{n}")),
                (None, Some(soft), Some(hard)) => Text::new(format!("{name}={soft}:{hard}"), limit.span),
                _ => continue,
            };
            call.options.push(("ulimit".to_owned(), value));
        }
        if let Some(no_cache) = get("no_cache") {
            call.no_cache = no_cache.boolean();
        }
        // Settings that bake reads and compose does not.
        if let Some(bake) = get("x-bake") {
            let list = |name: &str| -> Vec<Text> {
                bake.get(name).map_or_else(Vec::new, |node| match &node.kind {
                    Kind::List(list) => list.iter().filter_map(|n| text(n, variables)).collect(),
                    _ => text(node, variables).into_iter().collect(),
                })
            };
            call.cache_from.extend(cache(list("cache-from")));
            call.cache_to.extend(cache(list("cache-to")));
            call.platforms.extend(list("platforms"));
            call.outputs.extend(list("output"));
            call.tags.extend(list("tags"));
        }
    }
    let (context, folder) = context.unwrap_or_else(|| (Text::new(".", last.key), last.folder.clone()));
    let written = context.written().to_owned();
    if is_remote(&written) {
        call.context = Some(Source::Elsewhere(context));
        return Some(call);
    }
    let directory = context.map(|c| join(&folder, c));
    let file = dockerfile.unwrap_or_else(|| Text::new("Dockerfile", call.head));
    if !inline {
        let value = match (directory.known(), file.known()) {
            (Some(directory), Some(file)) => Value::Known(join(directory, file)),
            _ => Value::Unknown(join(directory.written(), file.written())),
        };
        call.dockerfile = Some(Text { value, span: file.span });
    }
    call.context = Some(Source::Directory(directory));
    Some(call)
}

/// A mapping, or a list of `NAME=VALUE`.
fn pairs(node: Option<&Arc<Node>>, variables: &Variables) -> Vec<(String, Option<Text>)> {
    let Some(node) = node else { return Vec::new() };
    match &node.kind {
        Kind::List(list) => list.iter().filter_map(|n| text(n, variables)).map(|t| argument(&t)).collect(),
        _ => node
            .entries()
            .into_iter()
            .map(|(name, _, value)| (name.to_owned(), text(value, variables)))
            .collect(),
    }
}

/// `NAME=VALUE` lines of an environment file.
pub(super) fn environment(bytes: &[u8]) -> Vec<(String, Value)> {
    let text = String::from_utf8_lossy(bytes);
    let line = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=')?;
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
        let value = quoted.unwrap_or_else(|| value.split(" #").next().unwrap_or_default().trim());
        (plain && !name.is_empty()).then(|| (name.to_owned(), Value::Known(value.to_owned())))
    };
    text.lines().filter_map(line).collect()
}
