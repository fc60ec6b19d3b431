//! The stage graph: text, JSON, DOT, Mermaid.

use crate::source::SourceFile;
use crate::stage::{Base, Stage, StageGraph, Use, UseKind};
use crate::syntax::Instruction;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dockerfile: &'a str,
    global_args: Vec<Item<'a>>,
    stages: Vec<StageItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

#[derive(Serialize)]
struct Item<'a> {
    instruction: &'a str,
    line: u32,
    end_line: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
}

#[derive(Serialize)]
struct StageItem<'a> {
    index: usize,
    name: &'a str,
    base: &'a str,
    platform: &'a str,
    line: u32,
    reachable: bool,
    instructions: Vec<Item<'a>>,
    uses: Vec<UseItem>,
}

#[derive(Serialize)]
struct UseItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    by: &'static str,
    line: u32,
}

fn item<'a>(file: &SourceFile, instruction: &'a Instruction) -> Item<'a> {
    let flags = instruction.flags.iter().map(|f| file.text(f.span).into_owned()).collect();
    Item {
        instruction: instruction.keyword.name(),
        line: instruction.line,
        end_line: instruction.end_line,
        flags,
    }
}

fn line(graph: &StageGraph<'_>, used: &Use) -> u32 {
    graph.document.instructions.get(used.instruction).map_or(0, |i| i.line)
}

/// `layerlint.graph/1`.
pub fn json(out: &mut impl Write, graph: &StageGraph<'_>, file: &SourceFile) -> io::Result<()> {
    let stages = graph.stages.iter().map(|stage| {
        let own = std::iter::once(stage.from).chain(stage.instructions);
        let uses = stage.uses.iter().map(|used| {
            let mut item = UseItem {
                stage: None,
                image: None,
                context: None,
                by: used.kind.name(),
                line: line(graph, used),
            };
            match &used.source {
                Base::Stage(i) => item.stage = graph.stages.get(*i).map(Stage::label),
                Base::Image(reference) => item.image = Some(reference.clone()),
                Base::Context { name, .. } => item.context = Some(name.clone()),
                Base::Scratch | Base::Unknown => {}
            }
            item
        });
        StageItem {
            index: stage.index,
            name: stage.name.as_deref().unwrap_or_default(),
            base: stage.base_written,
            platform: stage.platform_written,
            line: stage.from.line,
            reachable: stage.reachable,
            instructions: own.map(|i| item(file, i)).collect(),
            uses: uses.filter(|u| u.stage.is_some() || u.image.is_some() || u.context.is_some()).collect(),
        }
    });
    let document = Document {
        schema: "layerlint.graph/1",
        dockerfile: &file.name,
        global_args: graph.global_args.iter().map(|i| item(file, i)).collect(),
        stages: stages.collect(),
        target: graph.target.and_then(|t| graph.stages.get(t)).map(Stage::label),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// For a person.
pub fn human(out: &mut impl Write, graph: &StageGraph<'_>, file: &SourceFile) -> io::Result<()> {
    let target = graph.target.and_then(|t| graph.stages.get(t)).map(Stage::label).unwrap_or_default();
    let count = graph.stages.len();
    let plural = if count == 1 { "stage" } else { "stages" };
    writeln!(out, "\x1b[1m{}\x1b[0m: {count} {plural}, target {target}", file.name)?;
    for stage in &graph.stages {
        let platform = match stage.platform_written {
            "" => String::new(),
            platform => format!(" on {platform}"),
        };
        let never = if stage.reachable { "" } else { "  \x1b[33mnever built for this target\x1b[0m" };
        writeln!(
            out,
            "\n\x1b[1;36m{}\x1b[0m  FROM {}{platform}  \x1b[2mline {}\x1b[0m{never}",
            stage.label(),
            stage.base_written,
            stage.from.line,
        )?;
        for used in &stage.uses {
            if used.kind == UseKind::From && !matches!(used.source, Base::Stage(_) | Base::Context { .. }) {
                continue;
            }
            let trigger = if used.onbuild { " (ONBUILD)" } else { "" };
            let source = described(graph, &used.source);
            writeln!(
                out,
                "  ◀─ {source}  \x1b[2mby {}{trigger}, line {}\x1b[0m",
                used.kind.name(),
                line(graph, used)
            )?;
        }
        let users: Vec<String> = graph
            .stages
            .iter()
            .filter(|s| s.uses.iter().any(|u| u.stage() == Some(stage.index)))
            .map(Stage::label)
            .collect();
        if !users.is_empty() {
            writeln!(out, "  ─▶ {}", users.join(", "))?;
        }
    }
    Ok(())
}

fn described(graph: &StageGraph<'_>, source: &Base) -> String {
    match source {
        Base::Scratch => "scratch".to_owned(),
        Base::Stage(i) => {
            graph.stages.get(*i).map_or_else(|| i.to_string(), |s| format!("stage {}", s.label()))
        }
        Base::Image(reference) => format!("image {reference}"),
        Base::Context { name, value } => format!("context {name} ({value})"),
        Base::Unknown => "?".to_owned(),
    }
}

/// Graphviz.
pub fn dot(out: &mut impl Write, graph: &StageGraph<'_>) -> io::Result<()> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    writeln!(out, "digraph stages {{\n  rankdir=LR;\n  node [shape=box, style=rounded];")?;
    for stage in &graph.stages {
        let style = if stage.reachable { "" } else { ", style=\"rounded,dashed\"" };
        let label = format!("{}\\nFROM {}", stage.label(), stage.base_written.replace('"', "'"));
        writeln!(out, "  s{} [label=\"{label}\"{style}];", stage.index)?;
    }
    for (number, name) in outside(graph).iter().enumerate() {
        writeln!(out, "  e{number} [label={}, shape=plaintext];", quoted(name))?;
    }
    for (from, stage, used) in edges(graph) {
        let style = if used.kind == UseKind::From { "" } else { ", style=dashed" };
        writeln!(out, "  {from} -> s{stage} [label={}{style}];", quoted(used.kind.name()))?;
    }
    writeln!(out, "}}")
}

/// Mermaid, which GitHub and GitLab draw in Markdown.
pub fn mermaid(out: &mut impl Write, graph: &StageGraph<'_>) -> io::Result<()> {
    let escaped = |text: &str| text.replace('"', "#quot;");
    writeln!(out, "flowchart LR")?;
    for stage in &graph.stages {
        writeln!(
            out,
            "  s{}[\"{}<br/>FROM {}\"]",
            stage.index,
            escaped(&stage.label()),
            escaped(stage.base_written)
        )?;
    }
    for (number, name) in outside(graph).iter().enumerate() {
        writeln!(out, "  e{number}([\"{}\"])", escaped(name))?;
    }
    for (from, stage, used) in edges(graph) {
        let arrow = if used.kind == UseKind::From { "-->" } else { "-.->" };
        writeln!(out, "  {from} {arrow}|{}| s{stage}", used.kind.name())?;
    }
    let unused: Vec<String> =
        graph.stages.iter().filter(|s| !s.reachable).map(|s| format!("s{}", s.index)).collect();
    if !unused.is_empty() {
        writeln!(out, "  classDef unused stroke-dasharray: 5 5")?;
        writeln!(out, "  class {} unused", unused.join(","))?;
    }
    Ok(())
}

/// Images and contexts that stages take from, each once (bases of FROM are in the stage's own box).
fn outside(graph: &StageGraph<'_>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for used in graph.stages.iter().flat_map(|s| &s.uses) {
        let name = described(graph, &used.source);
        let from_image = used.kind == UseKind::From && matches!(used.source, Base::Image(_));
        if used.stage().is_none() && !from_image && !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// Edges as (node, stage that uses it, how), each once.
fn edges<'g>(graph: &'g StageGraph<'_>) -> Vec<(String, usize, &'g Use)> {
    let names = outside(graph);
    let mut out: Vec<(String, usize, &Use)> = Vec::new();
    for stage in &graph.stages {
        for used in &stage.uses {
            let node = match used.stage() {
                Some(i) => Some(format!("s{i}")),
                None => {
                    let name = described(graph, &used.source);
                    names.iter().position(|n| *n == name).map(|n| format!("e{n}"))
                }
            };
            let Some(node) = node else { continue };
            if !out.iter().any(|(n, s, u)| *n == node && *s == stage.index && u.kind == used.kind) {
                out.push((node, stage.index, used));
            }
        }
    }
    out
}
