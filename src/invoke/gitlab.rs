//! GitLab CI: jobs with their scripts, `extends`, `include: local`, `!reference`, `parallel: matrix`.

use super::call::{Job, Lifetime, Value};
use super::project::Reader;
use super::script::{self, Surroundings};
use super::yaml::{Kind, Node};
use std::sync::Arc;

/// Keys at the top of the file that are no jobs.
const RESERVED: [&str; 14] = [
    "default",
    "include",
    "stages",
    "variables",
    "workflow",
    "image",
    "services",
    "cache",
    "before_script",
    "after_script",
    "pages:deploy",
    "spec",
    "types",
    "component",
];
/// Files that include each other, jobs that extend each other, references in references.
const MAX_DEPTH: usize = 12;
/// Lines of a script.
const MAX_LINES: usize = 2_000;
/// Combinations of a matrix.
const MAX_ROWS: usize = 200;

/// A mapping and the file it is written in.
#[derive(Clone)]
struct Layer {
    file: usize,
    node: Arc<Node>,
}

/// Reads a file that GitLab starts with.
pub(super) fn read(reader: &mut Reader, file: usize) {
    let mut documents = Vec::new();
    include(reader, file, &mut Vec::new(), &mut documents);
    let mut names: Vec<(String, Layer)> = Vec::new();
    for layer in &documents {
        for (name, _, node) in layer.node.entries() {
            if node.is_map() && !name.starts_with('.') && !RESERVED.contains(&name) {
                // A later file replaces the job of an included one.
                names.retain(|(n, _)| n != name);
                names.push((name.to_owned(), Layer { file: layer.file, node: node.clone() }));
            }
        }
    }
    for (name, layer) in names {
        if reader.is_full() {
            return;
        }
        job(reader, &documents, &name, layer);
    }
}

/// The documents of a file and of those it includes; the included ones first.
fn include(reader: &mut Reader, file: usize, above: &mut Vec<usize>, out: &mut Vec<Layer>) {
    if above.len() >= MAX_DEPTH || above.contains(&file) {
        return;
    }
    above.push(file);
    for node in reader.yaml(file).unwrap_or_default() {
        if let Some(included) = node.get("include") {
            let entries = match &included.kind {
                Kind::List(list) => list.clone(),
                _ => vec![included.clone()],
            };
            for entry in entries {
                let path =
                    entry.text().map(str::to_owned).or_else(|| entry.get("local")?.text().map(str::to_owned));
                let Some(path) = path.filter(|p| !p.contains("://")) else { continue };
                if let Some(other) = reader.gitlab_at(file, path.trim_start_matches('/')) {
                    include(reader, other, above, out);
                }
            }
        }
        out.push(Layer { file, node });
    }
    above.pop();
}

/// A top-level mapping by its name; the last file counts.
fn find(documents: &[Layer], name: &str) -> Option<Layer> {
    documents.iter().rev().find_map(|d| Some(Layer { file: d.file, node: d.node.get(name)?.clone() }))
}

/// A job and what it extends, nearest first.
fn layers(documents: &[Layer], job: Layer) -> Vec<Layer> {
    let mut out: Vec<Layer> = Vec::new();
    let mut open = vec![job];
    while let Some(layer) = open.pop() {
        if out.len() >= MAX_DEPTH || out.iter().any(|l| Arc::ptr_eq(&l.node, &layer.node)) {
            continue;
        }
        let parents: Vec<String> = match layer.node.get("extends") {
            None => Vec::new(),
            Some(node) => match &node.kind {
                Kind::List(list) => list.iter().filter_map(|n| n.text().map(str::to_owned)).collect(),
                _ => node.text().map(str::to_owned).into_iter().collect(),
            },
        };
        out.push(layer);
        // The last one of a list is nearest.
        open.extend(parents.iter().filter_map(|name| find(documents, name)));
    }
    out
}

fn get(layers: &[Layer], key: &str) -> Option<Layer> {
    layers.iter().find_map(|l| Some(Layer { file: l.file, node: l.node.get(key)?.clone() }))
}

/// The lines of a script with the files they stand in.
fn lines(documents: &[Layer], script: &Layer, depth: usize, out: &mut Vec<Layer>) {
    if depth > MAX_DEPTH || out.len() >= MAX_LINES {
        return;
    }
    let node = &script.node;
    if node.tag.as_deref() == Some("reference") {
        let path: Vec<&str> = node.list().iter().filter_map(|n| n.text()).collect();
        let Some((first, rest)) = path.split_first() else { return };
        let Some(found) = find(documents, first) else { return };
        let all = layers(documents, found);
        let Some((key, inner)) = rest.split_first() else { return };
        let Some(mut at) = get(&all, key) else { return };
        for key in inner {
            let Some(next) = at.node.get(key) else { return };
            at = Layer { file: at.file, node: next.clone() };
        }
        return lines(documents, &at, depth + 1, out);
    }
    match &node.kind {
        Kind::List(list) => {
            for each in list {
                lines(documents, &Layer { file: script.file, node: each.clone() }, depth + 1, out);
            }
        }
        Kind::Scalar { .. } => out.push(script.clone()),
        Kind::Map(_) => {}
    }
}

fn variables(layer: &Layer, key: &str, out: &mut Vec<(String, Value)>) {
    let Some(node) = layer.node.get(key) else { return };
    for (name, _, value) in node.entries() {
        let text = value.text().map(str::to_owned).or_else(|| value.get("value")?.text().map(str::to_owned));
        let filled = text.map_or_else(|| Value::Known(String::new()), |t| script::fill(&t, true, out));
        out.push((name.to_owned(), filled));
    }
}

fn job(reader: &mut Reader, documents: &[Layer], name: &str, own: Layer) {
    let all = layers(documents, own.clone());
    let default = find(documents, "default");
    let setting = |key: &str| {
        get(&all, key)
            .or_else(|| {
                Some(Layer { file: default.as_ref()?.file, node: default.as_ref()?.node.get(key)?.clone() })
            })
            .or_else(|| find(documents, key))
    };
    let mut script = Vec::new();
    for key in ["before_script", "script"] {
        if let Some(found) = setting(key).filter(|_| key != "script" || get(&all, key).is_some()) {
            lines(documents, &found, 0, &mut script);
        }
    }
    if script.is_empty() {
        return;
    }
    let mut known = vec![("CI_PROJECT_DIR".to_owned(), Value::Known(".".to_owned()))];
    for document in documents {
        variables(document, "variables", &mut known);
    }
    for layer in all.iter().rev() {
        variables(layer, "variables", &mut known);
    }
    let fresh = setting("services").is_some_and(|services| {
        services.node.list().iter().any(|s| {
            let text = s.text().or_else(|| s.get("name")?.text());
            text.is_some_and(|t| t.contains("dind") || t.contains("docker"))
        })
    });
    // Without an engine of its own the job can only talk to one that others use too.
    let machine = (if fresh { Lifetime::Run } else { Lifetime::Lasting }, own.node.span);
    for row in rows(&all) {
        let job = reader.job(Job {
            file: own.file,
            name: name.to_owned(),
            span: own.node.span,
            machine,
            builder: None,
            keeps_mounts: false,
            row: row.clone(),
            open_matrix: false,
            deeds: Vec::new(),
        });
        let mut variables = known.clone();
        variables.extend(row.into_iter().map(|(k, v)| (k, Value::Known(v))));
        // All lines run in one shell.
        let mut state = Surroundings { folder: Some(".".to_owned()), variables };
        for line in &script {
            let source = reader.source(line.file);
            let text = line.node.logical(&source.bytes);
            let (deeds, after) = script::commands(line.file, &source, &text, &state);
            state = after;
            reader.follow(deeds, job, |_| {});
        }
    }
}

/// The combinations of `parallel: matrix`.
fn rows(all: &[Layer]) -> Vec<Vec<(String, String)>> {
    let Some(matrix) = get(all, "parallel").and_then(|p| p.node.get("matrix").cloned()) else {
        return vec![Vec::new()];
    };
    let mut out = Vec::new();
    for entry in matrix.list() {
        let mut rows: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for (name, _, values) in entry.entries() {
            let values: Vec<&str> = match &values.kind {
                Kind::List(list) => list.iter().filter_map(|n| n.text()).collect(),
                _ => values.text().into_iter().collect(),
            };
            if values.is_empty() || rows.len().saturating_mul(values.len()) > MAX_ROWS {
                continue;
            }
            rows = rows
                .iter()
                .flat_map(|row| {
                    values.iter().map(move |v| {
                        let mut row = row.clone();
                        row.push((name.to_owned(), (*v).to_owned()));
                        row
                    })
                })
                .collect();
        }
        out.extend(rows);
    }
    out.truncate(MAX_ROWS);
    if out.is_empty() { vec![Vec::new()] } else { out }
}
