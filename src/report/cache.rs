//! What an exported cache does for a build.

use super::cause::CauseItem;
use super::keys::{Preview, clipped, short, summary};
use crate::build::lower::{Op, VertexId};
use crate::build::model::Step;
use crate::evidence::audit::{Difference, StepAudit, Verdict};
use crate::evidence::cache::ExportedCache;
use crate::evidence::prediction::{Prediction, Status};
use crate::key::change::{Cause, CauseKind};
use bstr::ByteSlice as _;
use serde::Serialize;
use std::io::{self, Write};

/// Everything that is to be told.
pub struct Answers<'a> {
    /// The build.
    pub preview: &'a Preview<'a>,
    /// The cache.
    pub cache: &'a ExportedCache,
    /// What it does for each step.
    pub predictions: &'a [Prediction],
    /// Layers that were compared; empty if none were to be.
    pub audits: &'a [StepAudit],
}

/// Number of files that are named for a person.
const NAMED: usize = 10;

impl Answers<'_> {
    fn audit(&self, id: VertexId) -> Option<&StepAudit> {
        self.audits.iter().find(|a| a.vertex == id)
    }

    /// The record of a step and the top layer of its newest result.
    fn found(&self, prediction: &Prediction) -> (Option<&str>, Option<&str>) {
        let audit = self.audit(prediction.vertex);
        let record = audit.and_then(|a| a.record).or(prediction.records.first().copied());
        let record = record.and_then(|r| self.cache.records.get(r));
        let layer = audit.and_then(|a| a.layer.as_deref()).or_else(|| {
            let newest = record?.results.iter().max_by(|a, b| a.created.cmp(&b.created))?;
            let top = self.cache.chain(newest).first().copied()?;
            self.cache.layers.get(top).map(|l| l.digest.as_str())
        });
        (record.map(|r| r.digest.as_str()), layer)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    dockerfile: &'a str,
    context: String,
    platform: String,
    cache: String,
    manifests: Vec<Manifest<'a>>,
    steps: Vec<Item<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Manifest<'a> {
    name: &'a str,
    inline: bool,
    records: usize,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    id: VertexId,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    instruction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    status: &'static str,
    cause: CauseItem<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<&'a str>,
    content: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_checked: Option<&'a str>,
    differences: Vec<DifferenceItem<'a>>,
}

#[derive(Serialize)]
struct DifferenceItem<'a> {
    path: String,
    image_path: String,
    change: &'static str,
    expected: Option<&'a str>,
    found: Option<&'a str>,
}

#[derive(Serialize)]
struct Summary {
    hit: usize,
    miss: usize,
    unknown: usize,
    verified: usize,
    differs: usize,
    not_checked: usize,
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Hit => "HIT",
        Status::Miss => "MISS",
        Status::Unknown => "UNKNOWN",
    }
}

fn summed(answers: &Answers<'_>) -> Summary {
    let of = |status| answers.predictions.iter().filter(|p| p.status == status).count();
    let verdict = |f: fn(&Verdict) -> bool| answers.audits.iter().filter(|a| f(&a.verdict)).count();
    Summary {
        hit: of(Status::Hit),
        miss: of(Status::Miss),
        unknown: of(Status::Unknown),
        verified: verdict(|v| matches!(v, Verdict::Verified { .. })),
        differs: verdict(|v| matches!(v, Verdict::Differs(_))),
        not_checked: verdict(|v| matches!(v, Verdict::NotChecked(_))),
    }
}

/// `layerlint.cache/1`.
pub fn json(out: &mut impl Write, answers: &Answers<'_>) -> io::Result<()> {
    let model = answers.preview.model;
    let manifests = answers.cache.manifests.iter();
    let document = Document {
        schema: "layerlint.cache/1",
        dockerfile: &answers.preview.file.name,
        context: crate::source::shown(&model.build.context),
        platform: model.graph.platform.to_string(),
        cache: crate::source::shown(&answers.cache.store.path),
        manifests: manifests
            .map(|m| Manifest { name: &m.name, inline: m.inline, records: m.records })
            .collect(),
        steps: answers.predictions.iter().filter_map(|p| item(answers, p)).collect(),
        summary: summed(answers),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn item<'p>(answers: &'p Answers<'_>, prediction: &'p Prediction) -> Option<Item<'p>> {
    let preview = answers.preview;
    let vertex = preview.graph.vertices.get(prediction.vertex)?;
    let (record, layer) = answers.found(prediction);
    let verdict = answers.audit(prediction.vertex).map(|a| &a.verdict);
    let (content, not_checked, differences) = match verdict {
        Some(Verdict::Verified { .. }) => ("verified", None, Vec::new()),
        Some(Verdict::Differs(found)) => ("differs", None, found.iter().map(difference).collect()),
        Some(Verdict::NotChecked(reason)) => ("not-checked", Some(reason.as_str()), Vec::new()),
        None => ("not-checked", None, Vec::new()),
    };
    Some(Item {
        name: &vertex.name,
        id: prediction.vertex,
        stage: vertex.stage.and_then(|s| preview.model.graph.stages.get(s)).map(|s| s.label()),
        instruction: preview.instruction_of(vertex),
        line: preview.line_of(vertex).map(|l| l.0),
        status: word(prediction.status),
        cause: CauseItem::new(&prediction.cause),
        record,
        layer,
        content,
        not_checked,
        differences,
    })
}

fn difference(difference: &Difference) -> DifferenceItem<'_> {
    DifferenceItem {
        path: difference.path.to_str_lossy().into_owned(),
        image_path: difference.image_path.to_str_lossy().into_owned(),
        change: difference.change.name(),
        expected: difference.expected.as_deref(),
        found: difference.found.as_deref(),
    }
}

/// For a person.
pub fn human(out: &mut impl Write, answers: &Answers<'_>) -> io::Result<()> {
    let preview = answers.preview;
    let graph = preview.model.graph;
    let cache = answers.cache;
    let target = graph.target.and_then(|t| graph.stages.get(t)).map(|s| s.label()).unwrap_or_default();
    let inline = if cache.manifests.iter().all(|m| m.inline) { "inline cache" } else { "cache" };
    let names: Vec<&str> = cache.manifests.iter().map(|m| named(&m.name)).collect();
    writeln!(
        out,
        "\x1b[1m{}\x1b[0m  {inline} {}, {}, {}",
        crate::source::shown(&cache.store.path),
        printable(&clipped(&names.join(", "), 60)),
        counted(cache.records.len(), "record"),
        counted(cache.layers.len(), "layer"),
    )?;
    writeln!(
        out,
        "\x1b[1m{}\x1b[0m  target {target}, {}, context {}",
        preview.file.name,
        graph.platform,
        crate::source::shown(&preview.model.build.context),
    )?;
    for stage in graph.stages.iter().filter(|s| s.reachable) {
        let of_stage = |p: &&Prediction| {
            preview.graph.vertices.get(p.vertex).is_some_and(|v| v.stage == Some(stage.index))
        };
        writeln!(
            out,
            "\n\x1b[1;36m{}\x1b[0m  FROM {}  \x1b[2mline {}\x1b[0m",
            stage.label(),
            stage.base_written,
            stage.from.line
        )?;
        for prediction in answers.predictions.iter().filter(of_stage) {
            person_step(out, answers, prediction)?;
        }
    }
    let sum = summed(answers);
    let mut parts = vec![format!("{} taken from the cache", counted(sum.hit, "step"))];
    if sum.miss > 0 {
        parts.push(format!("{} to be run", sum.miss));
    }
    if sum.unknown > 0 {
        parts.push(format!("{} unknown", sum.unknown));
    }
    writeln!(out, "\n{}.", parts.join(", "))?;
    if !answers.audits.is_empty() {
        let mut parts = vec![format!("{} verified", sum.verified)];
        if sum.differs > 0 {
            let text = if sum.differs == 1 { "differs from its key" } else { "differ from their keys" };
            parts.push(format!("\x1b[31m{} {text}\x1b[0m", sum.differs));
        }
        if sum.not_checked > 0 {
            parts.push(format!("{} not checked", sum.not_checked));
        }
        writeln!(out, "Layers of COPY and ADD: {}.", parts.join(", "))?;
    }
    if sum.differs > 0 {
        writeln!(
            out,
            "\nBuildKit would serve these layers as CACHED. Delete this cache, find out who could write to it, and \
             build once with `--no-cache`."
        )?;
    }
    let guess = |p: &Prediction| p.status == Status::Unknown && is_image(answers, p.vertex);
    if answers.predictions.iter().any(guess) {
        writeln!(
            out,
            "\nTo know more give base images with `--image REF=PATH` (an OCI layout or an image config), or have \
             registries asked with `--resolve`."
        )?;
    }
    Ok(())
}

fn is_image(answers: &Answers<'_>, id: VertexId) -> bool {
    answers.preview.graph.vertices.get(id).is_some_and(|v| matches!(v.op, Op::Image { .. }))
}

fn person_step(out: &mut impl Write, answers: &Answers<'_>, prediction: &Prediction) -> io::Result<()> {
    let preview = answers.preview;
    let Some(vertex) = preview.graph.vertices.get(prediction.vertex) else { return Ok(()) };
    let (color, word) = match prediction.status {
        Status::Hit => ("32", "HIT"),
        Status::Miss => ("31", "MISS"),
        Status::Unknown => ("33", "UNKNOWN"),
    };
    let line = preview.line_of(vertex).map_or_else(|| "·".to_owned(), |l| l.0.to_string());
    let step: Option<&Step<'_>> =
        vertex.step.and_then(|(stage, number)| preview.model.stages.get(stage)?.steps.get(number));
    let text = match step.filter(|_| is_own(vertex)) {
        Some(step) => summary(step),
        None => clipped(vertex.name.split_once("] ").map_or(vertex.name.as_str(), |(_, name)| name), 90),
    };
    let because = because(&prediction.cause, preview);
    writeln!(out, "{line:>5}  \x1b[{color}m{word:7}\x1b[0m  {text}{because}")?;
    let indent = "                ";
    let detail = &prediction.cause.detail;
    if !detail.is_empty() && because.is_empty() {
        writeln!(out, "{indent}\x1b[2m{detail}\x1b[0m")?;
    }
    if vertex.ignore_cache && prediction.status == Status::Hit {
        writeln!(out, "{indent}\x1b[33m--no-cache keeps BuildKit from looking\x1b[0m")?;
    }
    for change in prediction.cause.paths.iter().take(NAMED) {
        writeln!(out, "{indent}  {:8}  {}", change.change.name(), printable(&change.path))?;
    }
    more(out, indent, prediction.cause.paths.len())?;
    let Some(audit) = answers.audit(prediction.vertex) else { return Ok(()) };
    let layer = audit.layer.as_deref().map(short).unwrap_or_default();
    match &audit.verdict {
        // What is not going to be used is worth a word only if it is wrong.
        Verdict::Verified { .. } | Verdict::NotChecked(_) if prediction.status == Status::Miss => Ok(()),
        Verdict::Verified { files } => {
            let files = counted(*files, "file");
            writeln!(out, "{indent}\x1b[2mlayer {layer} holds what its key promises: {files}\x1b[0m")
        }
        Verdict::NotChecked(reason) => {
            writeln!(out, "{indent}\x1b[2mnot checked: {}\x1b[0m", printable(reason))
        }
        Verdict::Differs(found) => {
            writeln!(out, "{indent}\x1b[31;1mlayer {layer} does not hold what its key promises:\x1b[0m")?;
            let named: Vec<(String, &Difference)> =
                found.iter().take(NAMED).map(|d| (printable(&d.path.to_str_lossy()), d)).collect();
            let widest = named.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0).min(40);
            for (path, difference) in named {
                let change = difference.change.name();
                match (&difference.expected, &difference.found) {
                    (Some(expected), Some(found)) => {
                        let (expected, found) = (brief(expected), printable(brief(found)));
                        writeln!(
                            out,
                            "{indent}  {change:8}  {path:widest$}  \x1b[2mexpected {expected}, found {found}\x1b[0m"
                        )?;
                    }
                    (None, Some(found)) if !found.starts_with("sha256:") => {
                        let found = printable(found);
                        writeln!(out, "{indent}  {change:8}  {path:widest$}  \x1b[2m{found}\x1b[0m")?;
                    }
                    _ => writeln!(out, "{indent}  {change:8}  {path}")?,
                }
            }
            more(out, indent, found.len())
        }
    }
}

/// Whether an operation is what an instruction does, and not something beside it.
fn is_own(vertex: &crate::build::lower::Vertex<'_>) -> bool {
    !vertex.internal && matches!(vertex.op, Op::File(_) | Op::Exec(_))
}

fn more(out: &mut impl Write, indent: &str, count: usize) -> io::Result<()> {
    match count.saturating_sub(NAMED) {
        0 => Ok(()),
        more => writeln!(out, "{indent}  and {more} more"),
    }
}

/// A step that runs only because of another one says no more than that; the other one says why.
fn because(cause: &Cause, preview: &Preview<'_>) -> String {
    let below = cause.step.filter(|_| matches!(cause.kind, CauseKind::Parent | CauseKind::Base));
    let line = below.and_then(|s| preview.graph.vertices.get(s)).and_then(|v| preview.line_of(v));
    line.map_or_else(String::new, |(line, _)| format!("  \x1b[2m← line {line}\x1b[0m"))
}

/// A digest cut short, anything else as it is.
pub(super) fn brief(text: &str) -> &str {
    if text.starts_with("sha256:") { short(text) } else { text }
}

/// Text of an image or cache as a terminal may see it: whoever made it may have put commands for terminals into it.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A manifest's name; a digest cut short.
fn named(name: &str) -> &str {
    brief(name)
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
