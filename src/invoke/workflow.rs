//! GitHub workflows and composite actions: jobs, matrices, steps, reusable workflows of the same repository.

use super::call::{Cache, Call, Job, Lifetime, Source, Starter, Text, Value, join};
use super::command::{BakeOrder, argument, list, pair};
use super::expression::Names;
use super::project::Reader;
use super::script::{self, Surroundings};
use super::yaml::{Kind, Node};
use crate::source::Span;
use std::sync::Arc;

/// Jobs that a matrix makes; GitHub allows no more.
const MAX_ROWS: usize = 256;
/// Workflows and actions that use each other.
const MAX_DEPTH: usize = 8;

/// Reads a workflow that is started by itself.
pub(super) fn read(reader: &mut Reader, file: usize) {
    workflow(reader, file, &Names::default(), &mut Vec::new());
}

/// Reads a composite action that nobody uses here: its inputs and its machine are unknown.
pub(super) fn read_action(reader: &mut Reader, file: usize) {
    let Some(root) = reader.yaml(file).and_then(|documents| documents.first().cloned()) else { return };
    let Some((key, runs)) = root.entry("runs") else { return };
    let job = reader.job(Job {
        file,
        name: "(composite)".to_owned(),
        span: key.span.to(runs.span),
        machine: (Lifetime::Unknown, key.span),
        builder: None,
        keeps_mounts: false,
        row: Vec::new(),
        open_matrix: false,
        deeds: Vec::new(),
    });
    let names = Names::default();
    let mut run = Run { file, job, names, checkout: None, folder: None, condition: None, windows: false };
    steps(reader, &mut run, runs.get("steps"), 1);
}

/// The local workflows that a workflow's jobs use.
pub(super) fn used(root: &Node) -> Vec<String> {
    let jobs = root.get("jobs").map(|jobs| jobs.entries()).unwrap_or_default();
    jobs.into_iter()
        .filter_map(|(_, _, job)| Some(job.get("uses")?.text()?.strip_prefix("./")?.to_owned()))
        .collect()
}

/// Whether a workflow only runs when another one uses it.
pub(super) fn is_only_called(root: &Node) -> bool {
    // `on` is a truth value in old YAML; here it is a text.
    let Some(on) = root.get("on") else { return false };
    let mut triggers: Vec<&str> = on.entries().into_iter().map(|(name, _, _)| name).collect();
    triggers.extend(on.text());
    triggers.extend(on.list().iter().filter_map(|n| n.text()));
    !triggers.is_empty() && triggers.iter().all(|t| *t == "workflow_call")
}

fn workflow(reader: &mut Reader, file: usize, inputs: &Names, above: &mut Vec<usize>) {
    if above.len() >= MAX_DEPTH || above.contains(&file) || reader.is_full() {
        return;
    }
    let Some(root) = reader.yaml(file).and_then(|documents| documents.first().cloned()) else { return };
    above.push(file);
    let mut names = inputs.clone();
    environment(&root, &mut names);
    let folder =
        root.get("defaults").and_then(|d| d.get("run")).and_then(|r| r.get("working-directory")).cloned();
    for (name, key, node) in root.get("jobs").map(|jobs| jobs.entries()).unwrap_or_default() {
        let (rows, open_matrix) = matrix(node, &names);
        for row in rows {
            let mut own = names.clone();
            for (key, value) in &row {
                own.set(format!("matrix.{key}"), value.clone());
            }
            environment(node, &mut own);
            if let Some(uses) = node.get("uses").and_then(|u| u.text()) {
                let Some(path) = uses.strip_prefix("./") else { continue };
                let Some(callee) = reader.workflow_at(file, path) else { continue };
                let given = node.get("with").cloned();
                let inner = callee_inputs(reader, callee, given.as_ref(), &own, "workflow_call");
                workflow(reader, callee, &inner, above);
                continue;
            }
            let shown: Vec<(String, String)> = row
                .iter()
                .map(|(k, v)| match v {
                    Value::Known(v) | Value::Unknown(v) => (k.clone(), v.clone()),
                })
                .collect();
            let machine = machine(node, &own);
            let default_folder = node
                .get("defaults")
                .and_then(|d| d.get("run"))
                .and_then(|r| r.get("working-directory"))
                .or(folder.as_ref())
                .and_then(|n| known(n, &own));
            let mut run = Run {
                file,
                job: reader.job(Job {
                    file,
                    name: name.to_owned(),
                    span: key.span.to(node.span),
                    machine,
                    builder: None,
                    keeps_mounts: false,
                    row: shown,
                    open_matrix,
                    deeds: Vec::new(),
                }),
                names: own,
                checkout: None,
                folder: default_folder,
                condition: node.get("if").and_then(|n| n.text()).map(str::to_owned),
                windows: node.get("runs-on").and_then(|n| n.text()).is_some_and(|t| t.starts_with("windows")),
            };
            steps(reader, &mut run, node.get("steps"), above.len());
        }
    }
    above.pop();
}

/// One execution of a job while its steps are read.
struct Run {
    file: usize,
    job: usize,
    names: Names,
    /// The folder that the repository is checked out to, if it is not the workspace.
    checkout: Option<String>,
    folder: Option<String>,
    condition: Option<String>,
    windows: bool,
}

impl Run {
    /// A path from the workspace as one from the root of the repository.
    fn in_repository(&self, path: &str) -> String {
        let path = join(".", path);
        match &self.checkout {
            Some(folder) => match path.strip_prefix(folder.as_str()) {
                Some("") => ".".to_owned(),
                Some(rest) => rest.strip_prefix('/').map_or_else(|| path.clone(), str::to_owned),
                None => path,
            },
            None => path,
        }
    }

    fn text(&self, node: &Node) -> Option<Text> {
        Some(Text { value: self.names.fill(node.text()?), span: node.span })
    }
}

/// A text without unknown parts.
fn known(node: &Node, names: &Names) -> Option<String> {
    match names.fill(node.text()?) {
        Value::Known(text) => Some(text),
        Value::Unknown(_) => None,
    }
}

/// `env:` of a workflow, a job or a step.
fn environment(node: &Node, names: &mut Names) {
    for (name, _, value) in node.get("env").map(|env| env.entries()).unwrap_or_default() {
        let filled = match value.text() {
            Some(text) => names.fill(text),
            None => Value::Known(String::new()),
        };
        names.set(format!("env.{name}"), filled);
    }
}

/// The inputs of a workflow or action: what is given, else the default.
fn callee_inputs(
    reader: &mut Reader,
    callee: usize,
    with: Option<&Arc<Node>>,
    names: &Names,
    trigger: &str,
) -> Names {
    let mut inner = Names::default();
    let Some(root) = reader.yaml(callee).and_then(|documents| documents.first().cloned()) else {
        return inner;
    };
    let declared = match trigger {
        "" => root.get("inputs").cloned(),
        trigger => root.get("on").and_then(|on| on.get(trigger)).and_then(|t| t.get("inputs")).cloned(),
    };
    for (name, _, declaration) in declared.as_ref().map(|d| d.entries()).unwrap_or_default() {
        let value = match (with.and_then(|w| w.get(name)), declaration.get("default")) {
            (Some(given), _) => given.text().map_or(Value::Known(String::new()), |t| names.fill(t)),
            (None, Some(default)) => match default.text() {
                Some(text) => Names::default().fill(text),
                None => Value::Known(String::new()),
            },
            // What nobody gives is empty.
            (None, None) => Value::Known(String::new()),
        };
        inner.set(format!("inputs.{name}"), value);
    }
    inner
}

/// The combinations of a job's matrix, and whether there may be others.
fn matrix(job: &Node, names: &Names) -> (Vec<Vec<(String, Value)>>, bool) {
    let one = vec![Vec::new()];
    let Some(matrix) = job.get("strategy").and_then(|s| s.get("matrix")) else { return (one, false) };
    if !matrix.is_map() {
        return (one, true);
    }
    let mut open = false;
    let mut rows: Vec<Vec<(String, Value)>> = one;
    let mut axes = 0;
    for (name, _, values) in matrix.entries() {
        if matches!(name, "include" | "exclude") {
            continue;
        }
        if values.list().is_empty() {
            open = true;
            continue;
        }
        axes += 1;
        if rows.len().saturating_mul(values.list().len()) > MAX_ROWS {
            open = true;
            continue;
        }
        rows = rows
            .iter()
            .flat_map(|row| {
                values.list().iter().map(move |value| {
                    let mut row = row.clone();
                    flatten(name, value, names, &mut row);
                    row
                })
            })
            .collect();
    }
    let original = rows.clone();
    let has = |row: &[(String, Value)], key: &str| row.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    if let Some(exclude) = matrix.get("exclude") {
        for entry in exclude.list() {
            let mut wanted = Vec::new();
            entry.entries().into_iter().for_each(|(k, _, v)| flatten(k, v, names, &mut wanted));
            rows.retain(|row| {
                wanted.is_empty() || !wanted.iter().all(|(k, v)| has(row, k).as_ref() == Some(v))
            });
        }
    }
    if let Some(include) = matrix.get("include") {
        if include.list().is_empty() {
            open = true;
        }
        let mut added = Vec::new();
        for entry in include.list() {
            let mut pairs = Vec::new();
            entry.entries().into_iter().for_each(|(k, _, v)| flatten(k, v, names, &mut pairs));
            // It completes the combinations whose own values it does not change.
            let fits = |row: &Vec<(String, Value)>| {
                axes > 0
                    && pairs.iter().all(|(k, v)| {
                        let own =
                            original.iter().find(|o| o.iter().all(|(k, v)| has(row, k).as_ref() == Some(v)));
                        own.is_none_or(|o| has(o, k).is_none_or(|known| known == *v))
                    })
            };
            let mut any = false;
            for row in rows.iter_mut().filter(|row| fits(row)) {
                any = true;
                row.retain(|(k, _)| !pairs.iter().any(|(p, _)| p == k));
                row.extend(pairs.iter().cloned());
            }
            if !any {
                added.push(pairs);
            }
        }
        if axes == 0 && !added.is_empty() {
            rows.clear();
        }
        rows.extend(added);
        rows.truncate(MAX_ROWS);
    }
    if rows.is_empty() {
        rows.push(Vec::new());
    }
    (rows, open)
}

/// A value of the matrix; one that is a mapping gives a name for each of its fields.
fn flatten(name: &str, value: &Node, names: &Names, out: &mut Vec<(String, Value)>) {
    if let Some(text) = value.text() {
        out.push((name.to_owned(), names.fill(text)));
    }
    for (key, _, inner) in value.entries() {
        if let Some(text) = inner.text() {
            out.push((format!("{name}.{key}"), names.fill(text)));
        }
    }
}

/// How long the machine of a job lives.
fn machine(job: &Node, names: &Names) -> (Lifetime, Span) {
    let Some((key, runs_on)) = job.entry("runs-on") else { return (Lifetime::Unknown, job.span) };
    let span = key.span.to(runs_on.span);
    let labels: Vec<Option<String>> = match &runs_on.kind {
        Kind::List(list) => list.iter().map(|n| known(n, names)).collect(),
        Kind::Map(_) => return (Lifetime::Unknown, span),
        Kind::Scalar { .. } => vec![known(runs_on, names)],
    };
    let any = |test: &dyn Fn(&str) -> bool| labels.iter().flatten().any(|l| test(&l.to_ascii_lowercase()));
    let lifetime = if any(&|l| l == "self-hosted") {
        Lifetime::Lasting
    } else if labels.len() == 1 && any(&|l| is_hosted(l)) {
        Lifetime::Run
    } else {
        Lifetime::Unknown
    };
    (lifetime, span)
}

/// The labels of machines that GitHub starts anew for each job.
fn is_hosted(label: &str) -> bool {
    ["ubuntu-", "windows-", "macos-"].iter().any(|system| {
        label.strip_prefix(system).is_some_and(|rest| {
            let version = rest.split('-').next().unwrap_or_default();
            version == "latest" || version == "slim" || version.starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

fn steps(reader: &mut Reader, run: &mut Run, steps: Option<&Arc<Node>>, depth: usize) {
    for step in steps.map(|s| s.list()).unwrap_or_default() {
        let names = run.names.clone();
        environment(step, &mut run.names);
        let outer = run.condition.clone();
        if let Some(own) = step.get("if").and_then(|n| n.text()) {
            run.condition = Some(match &outer {
                Some(outer) => format!("{outer} && {own}"),
                None => own.to_owned(),
            });
        }
        if let Some(uses) = step.get("uses").and_then(|n| n.text()) {
            action(reader, run, step, uses, depth);
        } else if let Some(script) = step.get("run") {
            shell_step(reader, run, step, script);
        }
        run.condition = outer;
        run.names = names;
    }
}

fn shell_step(reader: &mut Reader, run: &mut Run, step: &Arc<Node>, text: &Arc<Node>) {
    let shell = step.get("shell").and_then(|n| n.text()).and_then(|t| t.split_whitespace().next());
    let posix = match shell {
        None => !run.windows,
        Some(shell) => matches!(shell, "bash" | "sh" | "/bin/bash" | "/bin/sh"),
    };
    if !posix {
        return;
    }
    let folder = match step.get("working-directory") {
        Some(node) => known(node, &run.names),
        None => Some(run.folder.clone().unwrap_or_else(|| ".".to_owned())),
    };
    let source = reader.source(run.file);
    let logical = text.logical(&source.bytes);
    let (clean, expressions) = script::without_expressions(&logical, |written| run.names.evaluate(written));
    let mut variables: Vec<(String, Value)> = run
        .names
        .values
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("env.")?.to_owned(), value.clone())))
        .collect();
    variables.push(("GITHUB_WORKSPACE".to_owned(), Value::Known(".".to_owned())));
    variables.extend(expressions);
    let folder = folder.map(|f| run.in_repository(&f));
    let (deeds, _) = script::commands(run.file, &source, &clean, &Surroundings { folder, variables });
    let condition = run.condition.clone();
    reader.follow(deeds, run.job, |call| {
        call.condition.clone_from(&condition);
    });
}

fn action(reader: &mut Reader, run: &mut Run, step: &Arc<Node>, uses: &str, depth: usize) {
    let with = step.get("with").cloned();
    let input = |name: &str| with.as_ref().and_then(|w| w.get(name)).cloned();
    let head = step.get("uses").map_or(step.span, |n| n.span);
    if let Some(path) = uses.strip_prefix("./") {
        let path = run.in_repository(path);
        let Some(file) = (depth < MAX_DEPTH).then(|| reader.action_at(run.file, &path)).flatten() else {
            return;
        };
        let Some(root) = reader.yaml(file).and_then(|documents| documents.first().cloned()) else { return };
        let mut names = callee_inputs(reader, file, with.as_ref(), &run.names, "");
        let outer = run.names.values.iter().filter(|(n, _)| n.starts_with("env.")).cloned();
        names.values.splice(0..0, outer);
        let mut inner = Run {
            file,
            job: run.job,
            names,
            checkout: run.checkout.clone(),
            folder: None,
            condition: run.condition.clone(),
            windows: run.windows,
        };
        steps(reader, &mut inner, root.get("runs").and_then(|r| r.get("steps")), depth + 1);
        return;
    }
    let name = uses.split('@').next().unwrap_or_default();
    let short = name.rsplit('/').next().unwrap_or_default();
    match short {
        "checkout" if input("repository").is_none() => {
            if let Some(path) = input("path").and_then(|n| known(&n, &run.names)) {
                let path = join(".", &path);
                run.checkout = (path != ".").then_some(path);
            }
        }
        "setup-buildx-action" => {
            let driver = input("driver").map(|n| known(&n, &run.names));
            let endpoint =
                input("endpoint").and_then(|n| n.text().map(str::to_owned)).filter(|e| !e.is_empty());
            let append = input("append").is_some();
            let kept = input("keep-state").and_then(|n| n.boolean()) == Some(true);
            let lifetime = match driver {
                None if endpoint.is_none() && !append && !kept => Lifetime::Run,
                Some(Some(driver)) if driver == "docker" => reader.machine(run.job),
                Some(Some(driver))
                    if driver == "docker-container" && endpoint.is_none() && !append && !kept =>
                {
                    Lifetime::Run
                }
                Some(None) => Lifetime::Unknown,
                _ => Lifetime::Lasting,
            };
            reader.set_builder(run.job, lifetime, head);
        }
        _ if name.starts_with("depot/setup")
            || short == "nscloud-setup-buildx-action"
            || short == "setup-docker-builder" =>
        {
            reader.set_builder(run.job, Lifetime::Lasting, head);
        }
        _ if short.contains("cache-dance") => reader.keep_mounts(run.job),
        "build-push-action" => {
            if !name.starts_with("docker/") {
                // Depot, Blacksmith and their like build on machines of their own, which stay.
                reader.set_builder(run.job, Lifetime::Lasting, head);
            }
            let mut call = Call::new(Starter::Action(uses.to_owned()), run.file, step.span, head);
            call.condition.clone_from(&run.condition);
            build_push(reader, run, &mut call, with.as_ref());
            reader.build(call, run.job);
        }
        "bake-action" => {
            if !name.starts_with("docker/") {
                reader.set_builder(run.job, Lifetime::Lasting, head);
            }
            let texts = |name: &str, commas: bool| -> Vec<Text> {
                let Some(node) = input(name) else { return Vec::new() };
                let lines = lines(reader, run, &node);
                if commas { lines.iter().flat_map(list).collect() } else { lines }
            };
            let order = BakeOrder {
                files: texts("files", true),
                targets: texts("targets", true),
                sets: texts("set", false),
                folder: match input("workdir") {
                    Some(node) => known(&node, &run.names).map(|f| run.in_repository(&f)),
                    None => Some(".".to_owned()),
                },
                variables: run
                    .names
                    .values
                    .iter()
                    .filter_map(|(n, v)| Some((n.strip_prefix("env.")?.to_owned(), v.clone())))
                    .collect(),
                span: step.span,
                head,
                open: false,
            };
            let condition = run.condition.clone();
            reader.bake(&order, run.file, Some(run.job), |call| {
                call.condition.clone_from(&condition);
            });
        }
        _ => {}
    }
}

/// The lines of a list input, each with its own place.
fn lines(reader: &Reader, run: &Run, node: &Arc<Node>) -> Vec<Text> {
    let source = reader.source(run.file);
    let logical = node.logical(&source.bytes);
    let Some(text) = node.text() else { return Vec::new() };
    let mut out = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            let start = at + (line.len() - line.trim_start().len());
            let span = logical.span(start..start + trimmed.len());
            out.push(Text { value: run.names.fill(trimmed), span });
        }
        at += line.len();
    }
    out
}

fn build_push(reader: &Reader, run: &Run, call: &mut Call, with: Option<&Arc<Node>>) {
    let input = |name: &str| with.and_then(|w| w.get(name)).cloned();
    let text = |name: &str| input(name).and_then(|n| run.text(&n)).filter(|t| t.known() != Some(""));
    let texts = |name: &str| input(name).map(|n| lines(reader, run, &n)).unwrap_or_default();
    let context = match text("context") {
        // By default the builder fetches the repository itself.
        None => Source::Repository(Text::new(".", call.head)),
        Some(text) => {
            let written = text.written().to_owned();
            match written.strip_prefix("{{defaultContext}}") {
                Some(rest) => Source::Repository(text.map(|_| join(".", rest.trim_start_matches(':')))),
                None if super::command::is_remote(&written) || written == "-" => Source::Elsewhere(text),
                None => Source::Directory(text.map(|t| run.in_repository(t))),
            }
        }
    };
    let file = text("file");
    call.dockerfile = match (&context, file) {
        (Source::Elsewhere(_), _) => None,
        // The path of a Dockerfile in a repository begins at its context.
        (Source::Repository(folder), Some(file)) => Some(file.map(|f| join(folder.written(), f))),
        (Source::Directory(_), Some(file)) => Some(file.map(|f| run.in_repository(f))),
        (Source::Directory(folder) | Source::Repository(folder), None) => {
            Some(folder.map(|f| join(f, "Dockerfile")))
        }
    };
    call.context = Some(context);
    call.target = text("target");
    call.args = texts("build-args").iter().map(argument).collect();
    call.platforms = texts("platforms").iter().flat_map(list).collect();
    call.contexts = texts("build-contexts").iter().filter_map(pair).collect();
    call.cache_from = texts("cache-from").into_iter().map(Cache::new).collect();
    call.cache_to = texts("cache-to").into_iter().map(Cache::new).collect();
    call.outputs = texts("outputs");
    call.tags = texts("tags").iter().flat_map(list).collect();
    call.secrets = texts("secrets");
    for (name, output) in [("push", "type=registry"), ("load", "type=docker")] {
        if let Some(node) = input(name)
            && run.text(&node).is_some_and(|t| t.known() == Some("true"))
        {
            call.outputs.push(Text::new(output, node.span));
        }
    }
    call.no_cache = match text("no-cache").map(|t| t.known().map(|t| t == "true")) {
        None => Some(false),
        Some(known) => known,
    };
}
