//! The cache-key preview: what each instruction is keyed by and which files feed it.

use super::size;
use crate::build::lower::{BuildGraph, Op, Vertex, VertexId};
use crate::build::model::{Action, ArgOrigin, BuildModel, Step};
use crate::build::state::is_secret;
use crate::key::plan::{Content, ContentSource, KeyPlan, StepKey};
use crate::source::SourceFile;
use crate::stage::Base;
use crate::syntax::Keyword;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Everything the preview is made of.
pub struct Preview<'a> {
    /// The Dockerfile.
    pub file: &'a SourceFile,
    /// What its instructions mean.
    pub model: &'a BuildModel<'a>,
    /// The operations.
    pub graph: &'a BuildGraph<'a>,
    /// Their keys.
    pub plan: &'a KeyPlan,
    /// The ignore file that applies, as shown.
    pub ignore_file: Option<String>,
    /// All files are listed, not only the heaviest.
    pub all_files: bool,
}

/// Number of files that are named when not all are.
const HEAVIEST: usize = 5;

/// A variable that enters a key; values of secret-looking names are masked.
struct Variable {
    is_arg: bool,
    text: String,
}

impl<'a> Preview<'a> {
    fn step_of(&self, vertex: &Vertex<'a>) -> Option<&'a Step<'a>> {
        let (stage, number) = vertex.step?;
        self.model.stages.get(stage)?.steps.get(number)
    }

    fn variables(&self, vertex: &Vertex<'a>) -> Vec<Variable> {
        let Some(step) = self.step_of(vertex).filter(|_| !vertex.internal) else { return Vec::new() };
        let shown = |name: &str, value: &str| {
            let is_arg = !step.state.config_env.iter().any(|(k, _)| k == name);
            let value = if is_secret(name) { "****" } else { value };
            Variable { is_arg, text: format!("{name}={value}") }
        };
        match &vertex.op {
            Op::Exec(exec) => exec.env.iter().map(|(k, v)| shown(k, v)).collect(),
            _ => {
                let names = step.variables(self.model.graph.document.escape.char()).used;
                let value = |name: &String| step.state.env.iter().find(|(k, _)| k == name);
                names.iter().filter_map(value).map(|(k, v)| shown(k, v)).collect()
            }
        }
    }

    pub(super) fn line_of(&self, vertex: &Vertex<'a>) -> Option<(u32, u32)> {
        match self.step_of(vertex) {
            Some(step) => match step.position {
                Some(at) => self.model.graph.document.instructions.get(at).map(|i| (i.line, i.end_line)),
                None => None,
            },
            None => match vertex.op {
                Op::Image { .. } => {
                    let from = self.model.graph.stages.get(vertex.stage?)?.from;
                    Some((from.line, from.end_line))
                }
                _ => None,
            },
        }
    }

    /// The operation of a stage's base image; stages with the same base share it.
    fn base_of(&self, stage: usize) -> Option<VertexId> {
        let stage = self.model.graph.stages.get(stage)?;
        let Base::Image(wanted) = &stage.base else { return None };
        let platform = stage.platform.as_ref().unwrap_or(&self.model.graph.platform);
        self.graph.vertices.iter().position(|v| match &v.op {
            Op::Image { reference, .. } => reference == wanted && v.platform == *platform,
            _ => false,
        })
    }

    pub(super) fn instruction_of(&self, vertex: &Vertex<'a>) -> &'static str {
        match self.step_of(vertex) {
            Some(step) if !vertex.internal && !is_source(&vertex.op) => step.instruction.keyword.name(),
            None if matches!(vertex.op, Op::Image { .. }) => Keyword::From.name(),
            _ => "",
        }
    }
}

fn is_source(op: &Op<'_>) -> bool {
    matches!(op, Op::Local(_) | Op::Image { .. } | Op::Http { .. } | Op::Git { .. })
}

fn kind(op: &Op<'_>) -> &'static str {
    match op {
        Op::Local(_) | Op::Image { .. } | Op::Http { .. } | Op::Git { .. } => "source",
        Op::File(_) => "file",
        Op::Exec(_) => "exec",
        Op::Merge => "merge",
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dockerfile: &'a str,
    context: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    platform: String,
    build_args: serde_json::Map<String, serde_json::Value>,
    ignore_file: Option<&'a str>,
    steps: Vec<Item<'a>>,
    unused_stages: Vec<String>,
    config_only: Vec<ConfigOnly>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    id: VertexId,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    /// Empty for what stands beside an instruction: the context, the file of a heredoc, the merge of `--link`.
    instruction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_line: Option<u32>,
    op: &'static str,
    key: &'a str,
    op_digest: Option<&'a str>,
    exact: bool,
    unknown: &'a [String],
    parents: Vec<VertexId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignore_cache: bool,
    args: Vec<String>,
    env: Vec<String>,
    content: Vec<ContentItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct ContentItem<'a> {
    from: String,
    sources: &'a [String],
    selector: Option<&'a str>,
    digest: &'a str,
    files: u64,
    bytes: u64,
    paths: Vec<&'a str>,
}

#[derive(Serialize)]
struct ConfigOnly {
    line: u32,
    instruction: &'static str,
}

/// `layerlint.keys/1`.
pub fn json(out: &mut impl Write, preview: &Preview<'_>) -> io::Result<()> {
    let model = preview.model;
    let stages = &model.graph.stages;
    let steps = preview.graph.vertices.iter().zip(&preview.plan.steps).enumerate();
    let steps = steps.map(|(id, (vertex, key))| item(preview, id, vertex, key)).collect();
    let build_args = model.build.build_args.iter().map(|(k, v)| {
        let value = if is_secret(k) { "****" } else { v };
        (k.clone(), value.into())
    });
    let config_only = built_steps(preview)
        .filter(|step| is_config(&step.action))
        .map(|step| ConfigOnly { line: step.instruction.line, instruction: step.instruction.keyword.name() });
    let document = Document {
        schema: "layerlint.keys/1",
        dockerfile: &preview.file.name,
        context: crate::source::shown(&model.build.context),
        target: model.graph.target.and_then(|t| stages.get(t)).map(|s| s.label()),
        platform: model.graph.platform.to_string(),
        build_args: build_args.collect(),
        ignore_file: preview.ignore_file.as_deref(),
        steps,
        unused_stages: stages.iter().filter(|s| !s.reachable).map(|s| s.label()).collect(),
        config_only: config_only.collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn item<'p>(preview: &'p Preview<'_>, id: VertexId, vertex: &'p Vertex<'_>, key: &'p StepKey) -> Item<'p> {
    let lines = preview.line_of(vertex);
    let (args, env) = preview.variables(vertex).into_iter().partition::<Vec<_>, _>(|v| v.is_arg);
    let content = key.inputs.iter().filter_map(|input| {
        let content = input.content.as_ref()?;
        Some(ContentItem {
            from: match &content.from {
                ContentSource::Context => "context".to_owned(),
                ContentSource::Named(name) => format!("context:{name}"),
                ContentSource::Heredoc => "heredoc".to_owned(),
                ContentSource::Stage => "stage".to_owned(),
            },
            sources: &content.sources,
            selector: input.selector.as_deref(),
            digest: &content.digest,
            files: content.files,
            bytes: content.bytes,
            paths: listed(content, preview.all_files).into_iter().map(|(path, _)| path).collect(),
        })
    });
    Item {
        name: &vertex.name,
        id,
        stage: vertex.stage.and_then(|s| preview.model.graph.stages.get(s)).map(|s| s.label()),
        instruction: preview.instruction_of(vertex),
        line: lines.map(|l| l.0),
        end_line: lines.map(|l| l.1),
        op: kind(&vertex.op),
        key: &key.key,
        op_digest: key.op_digest.as_deref(),
        exact: key.exact,
        unknown: &key.unknown,
        parents: vertex.inputs.clone(),
        ignore_cache: vertex.ignore_cache,
        args: args.into_iter().map(|v| v.text).collect(),
        env: env.into_iter().map(|v| v.text).collect(),
        content: content.collect(),
        error: key.error.as_deref(),
    }
}

/// All files, or the heaviest few.
fn listed(content: &Content, all: bool) -> Vec<(&str, u64)> {
    let mut paths: Vec<(&str, u64)> = content.paths.iter().map(|(p, n)| (p.as_str(), *n)).collect();
    if !all && paths.len() > HEAVIEST {
        let heavier = |a: &(&str, u64), b: &(&str, u64)| b.1.cmp(&a.1).then(a.0.cmp(b.0));
        paths.select_nth_unstable_by(HEAVIEST, heavier);
        paths.truncate(HEAVIEST);
        paths.sort_unstable_by(heavier);
    }
    paths
}

/// Steps of the stages that are built.
fn built_steps<'p>(preview: &'p Preview<'_>) -> impl Iterator<Item = &'p Step<'p>> {
    let stages = &preview.model.graph.stages;
    let built = preview.model.stages.iter().filter(|s| stages.get(s.index).is_some_and(|s| s.reachable));
    built.flat_map(|s| &s.steps)
}

fn is_config(action: &Action<'_>) -> bool {
    matches!(action, Action::Config)
}

/// For a person.
pub fn human(out: &mut impl Write, preview: &Preview<'_>) -> io::Result<()> {
    let graph = preview.model.graph;
    let target = graph.target.and_then(|t| graph.stages.get(t)).map(|s| s.label()).unwrap_or_default();
    let ignore = preview.ignore_file.as_deref().unwrap_or("no ignore file");
    writeln!(
        out,
        "\x1b[1m{}\x1b[0m  target {target}, {}, context {} ({ignore})",
        preview.file.name,
        graph.platform,
        crate::source::shown(&preview.model.build.context),
    )?;
    let mut guesses = BTreeSet::new();
    for stage in graph.stages.iter().filter(|s| s.reachable) {
        writeln!(
            out,
            "\n\x1b[1;36m{}\x1b[0m  FROM {}  \x1b[2mline {}\x1b[0m",
            stage.label(),
            stage.base_written,
            stage.from.line
        )?;
        if let Some(id) = preview.base_of(stage.index) {
            head(out, preview, id, stage.from.line, "FROM", &mut guesses)?;
        }
        let Some(model) = preview.model.stages.get(stage.index) else { continue };
        for (number, step) in model.steps.iter().enumerate() {
            person_step(out, preview, (stage.index, number), step, &mut guesses)?;
        }
    }
    let unused: Vec<String> = graph.stages.iter().filter(|s| !s.reachable).map(|s| s.label()).collect();
    if !unused.is_empty() {
        writeln!(out, "\nNever built for this target: {}", unused.join(", "))?;
    }
    if !guesses.is_empty() {
        writeln!(out, "\n\x1b[33m~\x1b[0m not exact, because these are not known:")?;
        // What is unknown of one thing is one line: `NAME (digest, environment)`.
        let mut things: Vec<(&str, Vec<&str>)> = Vec::new();
        for guess in &guesses {
            let (thing, what) =
                guess.strip_suffix(')').and_then(|g| g.rsplit_once(" (")).unwrap_or((guess, ""));
            match things.iter_mut().find(|(t, _)| *t == thing) {
                Some((_, list)) => list.push(what),
                None => things.push((thing, vec![what])),
            }
        }
        for (thing, mut list) in things {
            let whole = list.contains(&"digest and environment");
            list.retain(|w| !(w.is_empty() || (whole && *w == "environment")));
            list.sort_by_key(|w| *w != "digest and environment");
            let list = if list.is_empty() { String::new() } else { format!(": {}", list.join(", ")) };
            writeln!(out, "  {}{list}", thing.strip_prefix("docker-image://").unwrap_or(thing))?;
        }
        if guesses.iter().any(|g| g.starts_with("docker-image://")) {
            writeln!(
                out,
                "  Give base images with `--image REF=PATH` (an OCI layout, an image archive or its config), or \
                 have registries asked with `--resolve`."
            )?;
        }
    }
    Ok(())
}

/// One line with the key of a step.
fn head(
    out: &mut impl Write,
    preview: &Preview<'_>,
    id: VertexId,
    line: u32,
    text: &str,
    guesses: &mut BTreeSet<String>,
) -> io::Result<()> {
    let Some(key) = preview.plan.steps.get(id) else { return Ok(()) };
    let mark = if key.exact { " " } else { "\x1b[33m~\x1b[0m" };
    guesses.extend(key.unknown.iter().cloned());
    let short = short(&key.key);
    writeln!(out, "{line:>5}  \x1b[32m{short}\x1b[0m{mark} {text}")
}

/// An ARG line with the values that count, where the command line gives some; `None` where it stands as it is written.
fn in_force(step: &Step<'_>) -> Option<String> {
    let Action::Arg(args) = &step.action else { return None };
    args.iter().find(|arg| arg.origin == ArgOrigin::Given)?;
    let words = args.iter().map(|arg| match &arg.value {
        Some(_) if is_secret(&arg.name) => format!(" {}=****", arg.name),
        Some(value) => format!(" {}={value}", arg.name),
        None => format!(" {}", arg.name),
    });
    Some(format!("ARG{}", words.collect::<String>()))
}

fn person_step(
    out: &mut impl Write,
    preview: &Preview<'_>,
    at: (usize, usize),
    step: &Step<'_>,
    guesses: &mut BTreeSet<String>,
) -> io::Result<()> {
    let line = match step.position {
        Some(p) => preview.model.graph.document.instructions.get(p).map_or(0, |i| i.line),
        None => 0,
    };
    let text = in_force(step).unwrap_or_else(|| summary(step));
    let own = |internal: bool| {
        preview
            .graph
            .vertices
            .iter()
            .position(|v| v.step == Some(at) && v.internal == internal && !is_source(&v.op))
    };
    let Some(id) = own(false) else {
        let note = match &step.action {
            Action::Env(_) | Action::Arg(_) => "in the key of every RUN below",
            Action::User(_) => "in the key of RUN and WORKDIR below",
            Action::Shell(_) => "in the key of shell-form RUN below",
            Action::Workdir(_) => "makes no layer",
            Action::Invalid => "not understood",
            _ => "image configuration only, in no key",
        };
        return writeln!(out, "{line:>5}  \x1b[2m{:12}  {text}  ({note})\x1b[0m", "·");
    };
    head(out, preview, id, line, &text, guesses)?;
    let (Some(vertex), Some(key)) = (preview.graph.vertices.get(id), preview.plan.steps.get(id)) else {
        return Ok(());
    };
    let indent = "                     ";
    for input in &key.inputs {
        match &input.content {
            Some(content) => files(out, indent, content, preview.all_files)?,
            None => {
                let below = preview.graph.vertices.get(input.vertex);
                let parent = preview.plan.steps.get(input.vertex);
                if let (Some(below), Some(parent)) = (below.filter(|b| !matches!(b.op, Op::Local(_))), parent)
                {
                    // The step right above needs no words.
                    let above =
                        preview.line_of(below).is_some_and(|l| below.stage == vertex.stage && l.0 <= line)
                            || vertex.stage.and_then(|s| preview.base_of(s)) == Some(input.vertex);
                    if !above {
                        let what = clipped(&below.name, 60);
                        writeln!(
                            out,
                            "{indent}\x1b[2mon\x1b[0m {} \x1b[2m{what}\x1b[0m",
                            short(&parent.key)
                        )?;
                    }
                }
            }
        }
    }
    let variables = preview.variables(vertex);
    for (is_arg, word) in [(true, "ARG"), (false, "ENV")] {
        let shown: Vec<String> = variables
            .iter()
            .filter(|v| v.is_arg == is_arg && !v.text.starts_with("PATH="))
            .map(|v| clipped(&v.text, 60))
            .collect();
        if !shown.is_empty() {
            writeln!(out, "{indent}\x1b[2m{word}\x1b[0m {}", shown.join(" "))?;
        }
    }
    if let Op::Exec(exec) = &vertex.op {
        for mount in exec.mounts.iter().filter(|m| m.dest != "/") {
            let (what, note) = mount_note(mount);
            writeln!(out, "{indent}\x1b[2m{what}\x1b[0m {}{note}", mount.dest)?;
        }
    }
    if let Some(merge) = own(true).filter(|_| step.instruction.flag("link").is_some())
        && let Some(key) = preview.plan.steps.get(merge)
    {
        writeln!(out, "{indent}\x1b[2mlinked onto the stage as\x1b[0m {}", short(&key.key))?;
    }
    if vertex.ignore_cache {
        writeln!(out, "{indent}\x1b[33mrebuilt always: --no-cache\x1b[0m")?;
    }
    if let Some(error) = &key.error {
        writeln!(out, "{indent}\x1b[31mthe build fails here: {error}\x1b[0m")?;
    }
    Ok(())
}

fn mount_note(mount: &crate::build::lower::Mount) -> (&'static str, &'static str) {
    use crate::build::lower::MountDetail;
    match &mount.kind {
        MountDetail::Bind => ("bind mount", ""),
        MountDetail::Cache { .. } => ("cache mount", " (its content is in no key)"),
        MountDetail::Tmpfs { .. } => ("tmpfs", ""),
        MountDetail::Secret(_) => ("secret", " (its value is in no key)"),
        MountDetail::Ssh(_) => ("ssh", " (its keys are in no key)"),
    }
}

fn files(out: &mut impl Write, indent: &str, content: &Content, all: bool) -> io::Result<()> {
    let whose = match &content.from {
        ContentSource::Context => "of the context",
        ContentSource::Named(name) => &format!("of context {name}"),
        ContentSource::Heredoc => "of the heredoc",
        ContentSource::Stage => "of that stage",
    };
    let count = if content.files == 1 { "1 file".to_owned() } else { format!("{} files", content.files) };
    let listed = listed(content, all);
    let total = size(content.bytes);
    if all && listed.len() > 1 {
        writeln!(out, "{indent}{count}, {total} {whose}:")?;
        for (path, bytes) in listed {
            writeln!(out, "{indent}  {:>9}  {path}", size(bytes))?;
        }
        return Ok(());
    }
    let names: Vec<String> =
        listed.iter().map(|(path, bytes)| format!("{path} ({})", size(*bytes))).collect();
    let more = content.files.saturating_sub(listed.len() as u64);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    match (names.as_slice(), content.files) {
        ([], _) => writeln!(out, "{indent}no file {whose}"),
        ([_], 1) => writeln!(out, "{indent}{} {whose}", names.join("")),
        _ => writeln!(out, "{indent}{count}, {total} {whose}: {}{more}", names.join(", ")),
    }
}

/// The first twelve hexadecimal digits.
pub(super) fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// The instruction in one line.
pub(super) fn summary(step: &Step<'_>) -> String {
    let text = String::from_utf8_lossy(&step.instruction.text.bytes);
    let mut words = text.split_whitespace();
    let keyword = words.next().unwrap_or_default().to_uppercase();
    let rest = words.collect::<Vec<_>>().join(" ");
    let trigger = if step.onbuild { "ONBUILD " } else { "" };
    clipped(&format!("{trigger}{keyword} {rest}"), 90)
}

/// The beginning of a text that is too long for a line.
pub(super) fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}
