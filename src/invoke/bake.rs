//! Bake files: docker-bake.hcl, docker-bake.json, and compose files used as such. Follows `bake/bake.go` of buildx:
//! groups, targets, `inherits`, variables with defaults, `matrix`, `--set`.

use super::call::{Cache, Call, Source, Starter, Text, Value, is_expression, join};
use super::command::{BakeOrder, argument, is_remote, pair};
use super::hcl::{self, Attribute, Block, Expr, Val, ValKind};
use super::yaml::{self, Kind, Node};
use crate::source::{SourceFile, Span};
use std::collections::HashMap;
use std::sync::Arc;

/// Targets inside each other, groups inside each other.
const MAX_DEPTH: usize = 32;
/// Targets that one matrix makes.
const MAX_ROWS: usize = 256;

/// One or more bake files as one.
#[derive(Default)]
pub(super) struct Bake {
    variables: Vec<(String, Val)>,
    groups: Vec<(String, Vec<String>)>,
    targets: Vec<Target>,
    /// Targets that others inherit from.
    inherited: Vec<String>,
}

/// A target that was not resolved yet.
#[derive(Clone)]
struct Target {
    name: String,
    file: usize,
    span: Span,
    head: Span,
    attributes: Vec<Attribute>,
    /// The variables of its matrix.
    row: Vec<(String, Val)>,
    /// The name in the file, before the matrix.
    family: String,
}

/// A target with all that it inherits.
#[derive(Clone)]
pub(super) struct Resolved {
    pub name: String,
    pub file: usize,
    pub span: Span,
    pub head: Span,
    values: HashMap<String, Val>,
}

impl Bake {
    /// Adds a file. The environment decides variables before their defaults do.
    pub(super) fn add(
        &mut self,
        file: usize,
        source: &SourceFile,
        environment: &dyn Fn(&str) -> Option<Value>,
    ) -> Result<(), (Span, String)> {
        let json = source.name.ends_with(".json");
        let (blocks, attributes) =
            if json { json_blocks(&source.bytes)? } else { hcl::parse(&source.bytes)? };
        for block in blocks.iter().filter(|b| b.kind == "variable") {
            let Some(name) = block.labels.first() else { continue };
            let default = block.attributes.iter().find(|a| a.name == "default");
            let value = match (environment(name), default) {
                (Some(value), _) => Val { kind: ValKind::Text(value), span: block.span },
                (None, Some(default)) => hcl::evaluate(&default.value, &|n| self.variable(n)),
                (None, None) => continue,
            };
            self.set_variable(name, value);
        }
        for attribute in &attributes {
            let value = hcl::evaluate(&attribute.value, &|n| self.variable(n));
            self.set_variable(&attribute.name, value);
        }
        for block in blocks {
            let Some(name) = block.labels.first().cloned() else { continue };
            match block.kind.as_str() {
                "group" => {
                    let members = block.attributes.iter().find(|a| a.name == "targets");
                    let members = members.map_or_else(Vec::new, |a| self.texts(&a.value));
                    match self.groups.iter_mut().find(|(n, _)| *n == name) {
                        Some((_, known)) => known.extend(members),
                        None => self.groups.push((name, members)),
                    }
                }
                "target" => self.add_target(file, name, block),
                _ => {}
            }
        }
        Ok(())
    }

    fn set_variable(&mut self, name: &str, value: Val) {
        self.variables.retain(|(n, _)| n != name);
        self.variables.push((name.to_owned(), value));
    }

    fn variable(&self, name: &str) -> Option<Val> {
        self.variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    fn texts(&self, value: &Expr) -> Vec<String> {
        match hcl::evaluate(value, &|n| self.variable(n)).kind {
            ValKind::List(list) => list.iter().filter_map(|v| v.known().map(str::to_owned)).collect(),
            ValKind::Text(Value::Known(text)) => vec![text],
            _ => Vec::new(),
        }
    }

    fn add_target(&mut self, file: usize, name: String, block: Block) {
        if let Some(parents) = block.attributes.iter().find(|a| a.name == "inherits") {
            let parents = self.texts(&parents.value);
            self.inherited.extend(parents);
        }
        let target = Target {
            name: name.clone(),
            file,
            span: block.span,
            head: block.head,
            attributes: block.attributes,
            row: Vec::new(),
            family: name.clone(),
        };
        let matrix = target.attributes.iter().find(|a| a.name == "matrix");
        let Some(matrix) = matrix else {
            // The same name again adds to the target.
            match self.targets.iter_mut().find(|t| t.name == name) {
                Some(known) => known.attributes.extend(target.attributes),
                None => self.targets.push(target),
            }
            return;
        };
        let mut rows: Vec<Vec<(String, Val)>> = vec![Vec::new()];
        if let ValKind::Map(axes) = hcl::evaluate(&matrix.value, &|n| self.variable(n)).kind {
            for (axis, values) in axes {
                let ValKind::List(values) = values.kind else { continue };
                if rows.len().saturating_mul(values.len()) > MAX_ROWS {
                    continue;
                }
                rows = rows
                    .iter()
                    .flat_map(|row| {
                        values.iter().map(|v| [row.as_slice(), &[(axis.clone(), v.clone())]].concat())
                    })
                    .collect();
            }
        }
        let mut members = Vec::new();
        for (number, row) in rows.into_iter().enumerate() {
            let mut each = Target { row, ..target.clone() };
            let naming =
                each.attributes.iter().find(|a| a.name == "name").map(|a| self.value(&each, &a.value));
            each.name = match naming.as_ref().and_then(Val::known) {
                Some(known) => known.to_owned(),
                None => format!("{name}-{number}"),
            };
            members.push(each.name.clone());
            self.targets.push(each);
        }
        // The name of the block stands for all of them.
        self.groups.push((name, members));
    }

    fn value(&self, target: &Target, value: &Expr) -> Val {
        hcl::evaluate(value, &|name| {
            target.row.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).or_else(|| self.variable(name))
        })
    }

    /// All targets that are images by themselves: those that no other one inherits from, unless a group names them.
    pub(super) fn all(&self) -> Vec<String> {
        let grouped = |name: &str| {
            self.groups.iter().any(|(group, members)| {
                members.iter().any(|m| m == name)
                    && !self.targets.iter().any(|t| t.family == *group && t.family != t.name)
            })
        };
        let wanted = |t: &&Target| {
            let base = self.inherited.contains(&t.name)
                || self.inherited.contains(&t.family)
                || t.name.starts_with('_');
            !base || grouped(&t.name)
        };
        self.targets.iter().filter(wanted).map(|t| t.name.clone()).collect()
    }

    /// The targets that names stand for, groups opened, each once.
    pub(super) fn expand(&self, names: &[String]) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        let mut open: Vec<String> = names.iter().rev().cloned().collect();
        while let Some(name) = open.pop() {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name.clone());
            match self.groups.iter().find(|(n, _)| *n == name) {
                Some((_, members)) => open.extend(members.iter().rev().cloned()),
                None if self.targets.iter().any(|t| t.name == name) => out.push(name),
                None => {}
            }
        }
        out
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.targets.iter().any(|t| t.name == name) || self.groups.iter().any(|(n, _)| n == name)
    }

    /// A target with what it inherits.
    pub(super) fn resolve(&self, name: &str) -> Option<Resolved> {
        let target = self.targets.iter().find(|t| t.name == name)?;
        let mut values = HashMap::new();
        self.collect(target, &mut values, &mut Vec::new());
        Some(Resolved {
            name: target.name.clone(),
            file: target.file,
            span: target.span,
            head: target.head,
            values,
        })
    }

    fn collect(&self, target: &Target, values: &mut HashMap<String, Val>, above: &mut Vec<String>) {
        if above.len() >= MAX_DEPTH || above.contains(&target.name) {
            return;
        }
        above.push(target.name.clone());
        if let Some(parents) = target.attributes.iter().rev().find(|a| a.name == "inherits") {
            let parents: Vec<String> = match self.value(target, &parents.value).kind {
                ValKind::List(list) => list.iter().filter_map(|v| v.known().map(str::to_owned)).collect(),
                _ => Vec::new(),
            };
            for parent in parents {
                if let Some(parent) = self.targets.iter().find(|t| t.name == parent) {
                    self.collect(parent, values, above);
                }
            }
        }
        above.pop();
        for attribute in &target.attributes {
            let value = self.value(target, &attribute.value);
            match (attribute.name.as_str(), values.get_mut(&attribute.name), value) {
                // Maps are merged, all else is replaced.
                (
                    "args" | "contexts" | "labels",
                    Some(Val { kind: ValKind::Map(known), .. }),
                    Val { kind: ValKind::Map(more), .. },
                ) => {
                    for (key, value) in more {
                        known.retain(|(k, _)| *k != key);
                        known.push((key, value));
                    }
                }
                (_, _, Val { kind: ValKind::Null, .. }) => {}
                (name, _, value) => {
                    values.insert(name.to_owned(), value);
                }
            }
        }
    }
}

/// The blocks of a JSON bake file.
fn json_blocks(bytes: &[u8]) -> Result<(Vec<Block>, Vec<Attribute>), (Span, String)> {
    let documents = yaml::parse(bytes).map_err(|e| (e.span, e.message))?;
    let mut blocks = Vec::new();
    let mut attributes = Vec::new();
    let Some(root) = documents.first() else { return Ok((blocks, attributes)) };
    for (kind, _, held) in root.entries() {
        if !matches!(kind, "variable" | "group" | "target" | "function") {
            attributes.push(Attribute { name: kind.to_owned(), value: Expr::Json(held.clone()) });
            continue;
        }
        for (label, name, body) in held.entries() {
            // `"target": [{…}]` is allowed as well.
            let bodies: Vec<&Arc<Node>> = match &body.kind {
                Kind::List(list) => list.iter().collect(),
                _ => vec![body],
            };
            for body in bodies {
                let attribute = |(n, _, v): (&str, &Arc<Node>, &Arc<Node>)| Attribute {
                    name: n.to_owned(),
                    value: Expr::Json(v.clone()),
                };
                blocks.push(Block {
                    kind: kind.to_owned(),
                    labels: vec![label.to_owned()],
                    span: name.span.to(body.span),
                    head: name.span,
                    attributes: body.entries().into_iter().map(attribute).collect(),
                });
            }
        }
    }
    Ok((blocks, attributes))
}

/// A text of a value.
fn text(val: &Val) -> Option<Text> {
    match &val.kind {
        ValKind::Text(value) => Some(Text { value: value.clone(), span: val.span }),
        _ => None,
    }
}

fn texts(val: &Val) -> Vec<Text> {
    match &val.kind {
        ValKind::List(list) => list.iter().filter_map(text).collect(),
        _ => text(val).into_iter().collect(),
    }
}

/// Entries such as caches and outputs: texts, or objects with the same fields.
fn entries(val: &Val) -> Vec<Text> {
    let one = |val: &Val| match &val.kind {
        ValKind::Map(map) => {
            let fields: Vec<String> =
                map.iter().filter_map(|(k, v)| Some(format!("{k}={}", text(v)?.written()))).collect();
            let joined = fields.join(",");
            let value = if is_expression(&joined) { Value::Unknown(joined) } else { Value::Known(joined) };
            Some(Text { value, span: val.span })
        }
        _ => text(val),
    };
    match &val.kind {
        ValKind::List(list) => list.iter().filter_map(one).collect(),
        _ => one(val).into_iter().collect(),
    }
}

impl Resolved {
    /// As a build, run in a folder.
    pub(super) fn call(&self, folder: Option<&str>) -> Call {
        let mut call = Call::new(Starter::Bake(self.name.clone()), self.file, self.span, self.head);
        let get = |name: &str| self.values.get(name);
        let context = get("context").and_then(text).unwrap_or_else(|| Text::new(".", self.head));
        let dockerfile =
            get("dockerfile").and_then(text).unwrap_or_else(|| Text::new("Dockerfile", self.head));
        set_place(&mut call, &context, &dockerfile, folder);
        if get("dockerfile-inline").is_some() {
            call.dockerfile = None;
        }
        call.target = get("target").and_then(text);
        if let Some(Val { kind: ValKind::Map(args), .. }) = get("args") {
            call.args = args.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        }
        if let Some(Val { kind: ValKind::Map(contexts), .. }) = get("contexts") {
            call.contexts =
                contexts.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect();
        }
        let caches =
            |name: &str| get(name).map(entries).unwrap_or_default().into_iter().map(Cache::new).collect();
        call.cache_from = caches("cache-from");
        call.cache_to = caches("cache-to");
        call.platforms = get("platforms").map(texts).unwrap_or_default();
        call.outputs = get("output").map(entries).unwrap_or_default();
        call.tags = get("tags").map(texts).unwrap_or_default();
        call.secrets = get("secret").map(entries).unwrap_or_default();
        for (name, option) in [
            ("network", "network"),
            ("shm-size", "shm-size"),
            ("ulimits", "ulimit"),
            ("no-cache-filter", "no-cache-filter"),
        ] {
            let values = get(name).map(texts).unwrap_or_default();
            call.options.extend(values.into_iter().map(|value| (option.to_owned(), value)));
        }
        if let Some(Val { kind: ValKind::Map(hosts), .. }) = get("extra-hosts") {
            let hosts =
                hosts.iter().filter_map(|(host, ip)| Some(text(ip)?.map(|ip| format!("{host}:{ip}"))));
            call.options.extend(hosts.map(|host| ("add-host".to_owned(), host)));
        }
        call.no_cache = match get("no-cache").map(|v| v.known().map(|t| t == "true")) {
            None => Some(false),
            Some(known) => known,
        };
        call
    }
}

fn set_place(call: &mut Call, context: &Text, dockerfile: &Text, folder: Option<&str>) {
    let written = context.written().to_owned();
    let folder = folder.map(str::to_owned);
    call.context = if is_remote(&written) || written == "-" {
        Some(Source::Elsewhere(context.clone()))
    } else {
        match (&folder, written.starts_with('/')) {
            (_, true) => Some(Source::Directory(context.clone())),
            (Some(folder), _) => {
                Some(Source::Directory(context.map(|c| join(folder, c.trim_start_matches("cwd://")))))
            }
            (None, _) => None,
        }
    };
    // Relative to the context, unlike with `docker build`.
    call.dockerfile = match &call.context {
        Some(Source::Directory(directory)) => match (directory.known(), dockerfile.known()) {
            (Some(directory), Some(_)) => Some(dockerfile.map(|d| match d.strip_prefix("cwd://") {
                Some(rest) => join(folder.as_deref().unwrap_or("."), rest),
                None => join(directory, d),
            })),
            _ => {
                let joined = join(directory.written(), dockerfile.written());
                Some(Text { value: Value::Unknown(joined), span: dockerfile.span })
            }
        },
        _ => None,
    };
}

/// `--set PATTERN.KEY[.NAME]=VALUE` for a target; `replaced` are the lists that an earlier one has begun anew.
fn apply_set(call: &mut Call, target: &str, set: &Text, folder: Option<&str>, replaced: &mut Vec<String>) {
    let Some((key, _)) = set.written().split_once('=') else { return };
    let (key, added) = match key.strip_suffix('+') {
        Some(key) => (key, true),
        None => (key, false),
    };
    let mut parts = key.splitn(3, '.');
    let (Some(pattern), Some(name)) = (parts.next(), parts.next()) else { return };
    let rest = parts.next();
    let matches = match pattern.split_once('*') {
        Some((start, end)) => target.starts_with(start) && target.ends_with(end),
        None => pattern == target,
    };
    if !matches {
        return;
    }
    let value = set.map(|t| t.split_once('=').map(|(_, v)| v.to_owned()).unwrap_or_default());
    let value = match value.value {
        Value::Unknown(text) if !is_expression(&text) => Text::new(text, value.span),
        _ => value,
    };
    // The first one replaces those of the file, later ones are added.
    let first = !added && !replaced.iter().any(|n| n == name);
    if first {
        replaced.push(name.to_owned());
    }
    let cache = |list: &mut Vec<Cache>| {
        if first {
            list.clear();
        }
        if !value.written().is_empty() {
            list.push(Cache::new(value.clone()));
        }
    };
    match name {
        "cache-to" => cache(&mut call.cache_to),
        "cache-from" => cache(&mut call.cache_from),
        "target" => call.target = Some(value),
        "platform" | "platforms" => call.platforms = super::command::list(&value),
        "args" => {
            if let Some(name) = rest {
                call.args.retain(|(n, _)| n != name);
                call.args.push((name.to_owned(), Some(value)));
            } else {
                let (name, value) = argument(&value);
                call.args.push((name, value));
            }
        }
        "contexts" => {
            if let Some(name) = rest {
                call.contexts.push((name.to_owned(), value));
            } else {
                call.contexts.extend(pair(&value));
            }
        }
        "output" | "outputs" => call.outputs = vec![value],
        "tags" => call.tags.push(value),
        "secrets" | "secret" => call.secrets.push(value),
        "no-cache" => call.no_cache = value.known().map(|v| v == "true" || v.is_empty()),
        "context" => {
            let dockerfile = Text::new("Dockerfile", value.span);
            set_place(call, &value, &dockerfile, folder);
        }
        "dockerfile" => {
            if let Some(Source::Directory(context)) = call.context.clone() {
                call.dockerfile = Some(value.map(|d| join(context.written(), d)));
            }
        }
        _ => {}
    }
}

/// The targets that an order names, as builds.
pub(super) fn calls(bake: &Bake, order: &BakeOrder) -> Vec<Call> {
    let mut names: Vec<String> = Vec::new();
    let mut unknown = false;
    for target in &order.targets {
        match target.known() {
            Some(known) => names.extend(
                known.split([',', '\n', ' ']).map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned),
            ),
            None => unknown = true,
        }
    }
    if names.is_empty() && !unknown {
        names.push("default".to_owned());
        if !bake.has("default") {
            return Vec::new();
        }
    }
    let folder = order.folder.as_deref();
    let expanded = bake.expand(&names);
    let resolved = expanded.iter().filter_map(|name| bake.resolve(name));
    resolved
        .map(|target| {
            let mut call = target.call(folder);
            let mut replaced = Vec::new();
            for set in &order.sets {
                apply_set(&mut call, &target.name, set, folder, &mut replaced);
            }
            call.open |= order.open;
            call
        })
        .collect()
}

/// What `--set` says about every target, for an order whose targets are not known.
pub(super) fn apply_to_any(call: &mut Call, order: &BakeOrder) {
    let mut replaced = Vec::new();
    for set in order.sets.iter().filter(|s| s.written().starts_with("*.")) {
        apply_set(call, "*", set, order.folder.as_deref(), &mut replaced);
    }
}
