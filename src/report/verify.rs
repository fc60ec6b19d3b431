//! Whether an image holds the files of its source tree.

use super::address::uri;
use super::cache::{brief, counted, printable};
use super::github::{data, property};
use super::keys::clipped;
use crate::build::model::BuildModel;
use crate::evidence::image::StoredImage;
use crate::evidence::verify::{By, Cause, Change, Difference, History, StepId, Verification};
use crate::source::SourceFile;
use bstr::{BString, ByteSlice as _};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::sync::Arc;

/// The answer of `verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every file that was compared is the one of the source tree.
    Faithful,
    /// Some are not.
    Differs,
    /// That cannot be said.
    Undecided,
}

/// What is told about an image, over all of its platforms.
#[derive(Debug, Default)]
pub struct Verified {
    /// The image, as it was asked for.
    pub image: String,
    /// The context, as shown.
    pub context: String,
    /// The Dockerfile, if there is one.
    pub dockerfile: Option<Arc<SourceFile>>,
    /// What a RUN rewrote or removed counts as meant.
    pub accept_run: bool,
    platforms: Vec<String>,
    compared: usize,
    differences: Items,
    undecided: Items,
    accepted: Items,
    blockers: Vec<String>,
    notes: Vec<String>,
}

/// A path, and what is to be told about it.
#[derive(Clone, Debug, Serialize)]
struct Item {
    path: String,
    image_path: String,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instruction: Option<Place>,
    /// `copy`, `run`, or `unknown` with the instructions that may have been.
    by: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    perhaps: Vec<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    /// Only where the image has several.
    platforms: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Told {
    kind: &'static str,
    detail: String,
}

impl Item {
    /// What is different, in a sentence without full stop.
    fn sentence(&self) -> String {
        let mut text = match self.change {
            "missing" => format!("{} is not in the image", self.image_path),
            "extra" => format!("{} is in the image, and not in the source tree", self.image_path),
            "mode" => format!("{} has other permissions in the image", self.image_path),
            "type" => format!("{} is something else in the image", self.image_path),
            _ => format!("{} in the image is not this file", self.image_path),
        };
        if let Some(place) = &self.instruction {
            text.push_str(&format!(" ({})", place.short()));
        }
        if let Some(cause) = &self.cause {
            text.push_str(&format!(": {}", cause.detail));
        }
        text
    }
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Place {
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    instruction: String,
}

impl Place {
    fn of(model: &BuildModel<'_>, (stage, number): StepId) -> Option<Self> {
        let step = model.stages.get(stage)?.steps.get(number)?;
        let written = step.position.and_then(|p| model.graph.document.instructions.get(p));
        let text =
            step.instruction.text.bytes.to_str_lossy().split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Self {
            stage: model.graph.stages.get(stage).map(|s| s.label()),
            line: written.map(|i| i.line),
            instruction: clipped(&text, WIDTH),
        })
    }

    fn short(&self) -> String {
        match self.line {
            Some(line) => format!("line {line}: {}", self.instruction),
            None => self.instruction.clone(),
        }
    }
}

impl Verified {
    /// Nothing is known yet. Both as shown.
    pub fn new(image: String, context: String) -> Self {
        Self { image, context, ..Self::default() }
    }

    /// Adds what came of one platform. `diffs` are unified diffs by image path.
    pub fn add(
        &mut self,
        image: &StoredImage,
        model: Option<&BuildModel<'_>>,
        verification: &Verification,
        diffs: &BTreeMap<BString, String>,
    ) {
        let platform = image.platform.to_string();
        self.platforms.push(platform.clone());
        self.compared = self.compared.max(verification.checked);
        let place = |step: StepId| model.and_then(|m| Place::of(m, step));
        let item = |d: &Difference| Item {
            path: d.path.to_str_lossy().into_owned(),
            image_path: d.image_path.to_str_lossy().into_owned(),
            change: d.change.name(),
            expected: d.expected.clone(),
            found: d.found.clone(),
            layer: d.layer.and_then(|l| image.layers.get(l)).map(|l| l.digest.clone()),
            instruction: d.step.and_then(place).or_else(|| {
                // Without a Dockerfile the image's own history has to do.
                let made = image.history.iter().find(|m| d.layer.is_some() && m.layer == d.layer)?;
                let instruction = clipped(made.by.trim_end_matches(" # buildkit"), WIDTH);
                Some(Place { stage: None, line: None, instruction })
            }),
            by: match &d.by {
                By::Copy => "copy",
                By::Run(_) => "run",
                By::Perhaps(_) => "unknown",
            },
            perhaps: match &d.by {
                By::Perhaps(steps) => steps.iter().filter_map(|s| place(*s)).collect(),
                _ => Vec::new(),
            },
            cause: told(d),
            diff: diffs.get(&d.image_path).cloned(),
            platforms: vec![platform.clone()],
        };
        for difference in &verification.differences {
            let accepted = self.accept_run && matches!(difference.by, By::Run(_));
            let list = if accepted { &mut self.accepted } else { &mut self.differences };
            list.add(item(difference));
        }
        for difference in &verification.undecided {
            let list = if self.accept_run { &mut self.accepted } else { &mut self.undecided };
            list.add(item(difference));
        }
        for (step, why) in &verification.unclear {
            let which =
                step.and_then(place).map_or_else(|| "a COPY".to_owned(), |p| format!("`{}`", p.instruction));
            push(&mut self.blockers, format!("{which} is not compared: {why}"));
        }
        if verification.links_as_text > 0 {
            let links = counted(verification.links_as_text, "link");
            let text =
                format!("{links} of the image: text files in the tree, which is a checkout without links");
            push(&mut self.notes, text);
        }
        match &verification.history {
            History::Fits => {}
            History::Absent => push(
                &mut self.notes,
                "the image does not say which instruction made which layer, so differences cannot be traced to one"
                    .to_owned(),
            ),
            History::Differs { made_by, step } => {
                let here = step.and_then(place).map(|p| p.short()).unwrap_or_default();
                let text = match made_by.as_str() {
                    "" => format!("the image has fewer instructions than the Dockerfile: none for {here}"),
                    made_by => {
                        let made_by = clipped(made_by.trim_end_matches(" # buildkit"), WIDTH);
                        format!("the image was made by other instructions: `{made_by}` in place of {here}")
                    }
                };
                push(&mut self.notes, text);
            }
        }
    }

    /// Adds a remark.
    pub fn note(&mut self, text: impl Into<String>) {
        push(&mut self.notes, text.into());
    }

    /// The answer.
    pub fn verdict(&self) -> Verdict {
        if !self.differences.is_empty() {
            Verdict::Differs
        } else if !self.undecided.is_empty() || !self.blockers.is_empty() || self.compared == 0 {
            Verdict::Undecided
        } else {
            Verdict::Faithful
        }
    }

    /// The answer in a sentence without full stop.
    fn headline(&self) -> String {
        let files = counted(self.compared, "file");
        let image = printable(&self.image);
        match self.verdict() {
            Verdict::Faithful => format!("{image} holds the source tree: {files} compared"),
            Verdict::Differs => {
                let differ = counted(self.differences.len(), "path");
                let verb = if self.differences.len() == 1 { "differs" } else { "differ" };
                format!("{image} does not hold the source tree: {differ} of {files} {verb}")
            }
            Verdict::Undecided
                if self.compared == 0 && self.undecided.is_empty() && self.blockers.is_empty() =>
            {
                format!("undecided: no file of the context is known to be in {image}")
            }
            Verdict::Undecided => format!("undecided: {files} of {image} compared, and not all could be"),
        }
    }
}

fn push(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

/// Differences, of which the same one on several platforms is told once.
#[derive(Debug, Default)]
struct Items {
    list: Vec<Item>,
    known: HashMap<(String, String, &'static str, Option<String>), usize>,
}

impl Items {
    fn add(&mut self, item: Item) {
        let key = (item.image_path.clone(), item.path.clone(), item.change, item.found.clone());
        match self.known.get(&key).and_then(|at| self.list.get_mut(*at)) {
            Some(known) => known.platforms.extend(item.platforms),
            None => {
                self.known.insert(key, self.list.len());
                self.list.push(item);
            }
        }
    }
}

impl std::ops::Deref for Items {
    type Target = [Item];

    fn deref(&self) -> &[Item] {
        &self.list
    }
}

fn told(difference: &Difference) -> Option<Told> {
    let (kind, detail) = match difference.cause.as_ref()? {
        Cause::SameStat => (
            "same-size-and-time",
            "size and modification time are those of the tree: a builder with an older copy of the context does not \
             see that the file has changed"
                .to_owned(),
        ),
        Cause::LineEnds { crlf_in_image: true } => ("line-ends", "the image has CRLF where the tree has LF".to_owned()),
        Cause::LineEnds { .. } => ("line-ends", "the image has LF where the tree has CRLF".to_owned()),
        Cause::LfsPointer { in_image: true } => (
            "lfs-pointer",
            "the image has the pointer of git LFS: the build ran in a checkout without LFS".to_owned(),
        ),
        Cause::LfsPointer { .. } => (
            "lfs-pointer",
            "the tree has the pointer of git LFS, and the image the file it stands for: `git lfs pull`".to_owned(),
        ),
        Cause::Revision(commit) => ("revision", format!("it is the file of commit {commit}")),
        Cause::Later => ("later", "the file in the tree was written after the image was made".to_owned()),
    };
    Some(Told { kind, detail })
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    image: &'a str,
    context: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dockerfile: Option<&'a str>,
    verdict: Verdict,
    platforms: &'a [String],
    checked: usize,
    differences: &'a [Item],
    undecided: &'a [Item],
    #[serde(skip_serializing_if = "<[Item]>::is_empty")]
    accepted: &'a [Item],
    notes: Vec<&'a String>,
}

/// `layerlint.verify/1`.
pub fn json(out: &mut impl Write, verified: &Verified) -> io::Result<()> {
    let document = Document {
        schema: "layerlint.verify/1",
        image: &verified.image,
        context: &verified.context,
        dockerfile: verified.dockerfile.as_ref().map(|f| f.name.as_str()),
        verdict: verified.verdict(),
        platforms: &verified.platforms,
        checked: verified.compared,
        differences: &verified.differences,
        undecided: &verified.undecided,
        accepted: &verified.accepted,
        notes: verified.blockers.iter().chain(&verified.notes).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// Characters of an instruction that are shown.
const WIDTH: usize = 90;
/// Number of paths that are named for a person.
const NAMED: usize = 50;

/// For people.
pub fn human(out: &mut impl Write, verified: &Verified) -> io::Result<()> {
    let color = match verified.verdict() {
        Verdict::Faithful => "32",
        Verdict::Differs => "31",
        Verdict::Undecided => "33",
    };
    writeln!(out, "\x1b[{color};1m{}\x1b[0m", verified.headline())?;
    groups(out, verified, &verified.differences)?;
    if !verified.undecided.is_empty() {
        writeln!(out, "\nNot as in the tree, and an instruction may have meant that:")?;
        groups(out, verified, &verified.undecided)?;
    }
    if !verified.accepted.is_empty() {
        let paths = counted(verified.accepted.len(), "path");
        writeln!(out, "\x1b[2m{paths} changed by RUN, accepted as meant\x1b[0m")?;
    }
    for note in verified.blockers.iter().chain(&verified.notes) {
        writeln!(out, "\x1b[2mnote: {}\x1b[0m", printable(note))?;
    }
    Ok(())
}

/// Differences under the instruction that made them.
fn groups(out: &mut impl Write, verified: &Verified, items: &[Item]) -> io::Result<()> {
    let mut done: Vec<(&Option<Place>, &'static str)> = Vec::new();
    let mut named = 0;
    for first in items {
        let group = (&first.instruction, first.by);
        if done.contains(&group) {
            continue;
        }
        done.push(group);
        writeln!(out)?;
        let layer =
            first.layer.as_deref().map(|l| format!("  \x1b[2mlayer {}\x1b[0m", brief(l))).unwrap_or_default();
        match &first.instruction {
            Some(place) => {
                let file = verified.dockerfile.as_ref().map(|f| f.name.as_str()).unwrap_or("Dockerfile");
                let at =
                    place.line.map(|l| format!("\x1b[2m{}:{l}\x1b[0m ", printable(file))).unwrap_or_default();
                writeln!(out, "{at}{}{layer}", printable(&place.instruction))?;
            }
            None => writeln!(out, "in the image{layer}")?,
        }
        let members: Vec<&Item> =
            items.iter().filter(|i| i.instruction == first.instruction && i.by == first.by).collect();
        for item in &members {
            if named >= NAMED {
                break;
            }
            named += 1;
            one(out, verified, item)?;
        }
    }
    match items.len().saturating_sub(named) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

fn one(out: &mut impl Write, verified: &Verified, item: &Item) -> io::Result<()> {
    let (path, image_path) = (printable(&item.path), printable(&item.image_path));
    let place = if path == image_path { path } else { format!("{path}  \x1b[2mas\x1b[0m {image_path}") };
    let platforms = match item.platforms.len() < verified.platforms.len() {
        true => format!("  \x1b[2m({})\x1b[0m", item.platforms.join(", ")),
        false => String::new(),
    };
    writeln!(out, "  {:8}  {place}{platforms}", item.change)?;
    let indent = "            ";
    match (&item.expected, &item.found) {
        (Some(expected), Some(found)) => {
            let (expected, found) = (printable(brief(expected)), printable(brief(found)));
            writeln!(out, "{indent}\x1b[2mtree {expected}, image {found}\x1b[0m")?;
        }
        (None, Some(_)) => writeln!(out, "{indent}\x1b[2mnot in the tree\x1b[0m")?,
        _ => {}
    }
    if item.by == "run" {
        let what = if item.change == Change::Missing.name() { "removes" } else { "rewrites" };
        writeln!(out, "{indent}\x1b[2mthe RUN {what} it\x1b[0m")?;
    }
    if !item.perhaps.is_empty() {
        let lines: Vec<String> = item.perhaps.iter().map(|p| printable(&p.short())).collect();
        writeln!(out, "{indent}\x1b[2mperhaps by {}\x1b[0m", lines.join("; "))?;
    }
    if let Some(cause) = &item.cause {
        writeln!(out, "{indent}{}", printable(&cause.detail))?;
    }
    for line in item.diff.iter().flat_map(|d| d.lines()) {
        let color = match line.as_bytes().first() {
            Some(b'+') => "32",
            Some(b'-') => "31",
            _ => "2",
        };
        writeln!(out, "{indent}\x1b[{color}m{}\x1b[0m", printable(line))?;
    }
    Ok(())
}

/// Workflow commands of GitHub Actions: one annotation for each path. `prefix` leads from the root of the repository
/// to the context: it is empty or ends with `/`.
pub fn github(out: &mut impl Write, verified: &Verified, prefix: &str) -> io::Result<()> {
    let annotate = |out: &mut dyn Write, level: &str, item: &Item| {
        let from_tree = item.change != Change::Extra.name();
        let file = match from_tree {
            true => format!("{prefix}{}", item.path),
            false => verified.dockerfile.as_ref().map(|f| f.name.clone()).unwrap_or_default(),
        };
        let text = item.sentence();
        let title = "layerlint verify";
        writeln!(out, "::{level} file={},title={}::{}", property(&file), property(title), data(&text))
    };
    for item in verified.differences.iter().take(NAMED) {
        annotate(out, "error", item)?;
    }
    for item in verified.undecided.iter().take(NAMED) {
        annotate(out, "warning", item)?;
    }
    let level = match verified.verdict() {
        Verdict::Faithful => "notice",
        Verdict::Differs => "error",
        Verdict::Undecided => "warning",
    };
    writeln!(out, "::{level} title={}::{}", property("layerlint verify"), data(&verified.headline()))
}

/// SARIF 2.1.0: one result for each path. `prefix` as for [`github`].
pub fn sarif(out: &mut impl Write, verified: &Verified, prefix: &str) -> io::Result<()> {
    let result = |item: &Item, level: &str| {
        let file = match (item.change, &verified.dockerfile) {
            ("extra", Some(dockerfile)) => uri("", &dockerfile.name),
            _ => uri(prefix, &item.path),
        };
        let place = json!({"artifactLocation": {"uri": file}, "region": {"startLine": 1}});
        json!({
            "ruleId": RULE, "level": level, "message": {"text": item.sentence()},
            "locations": [{"physicalLocation": place}],
            "partialFingerprints": {"path/v1": format!("{}:{}", item.change, item.image_path)},
        })
    };
    let errors = verified.differences.iter().map(|i| result(i, "error"));
    let results: Vec<_> = errors.chain(verified.undecided.iter().map(|i| result(i, "warning"))).collect();
    let rule = json!({
        "id": RULE,
        "shortDescription": {"text": "The image does not hold a file of its source tree"},
    });
    let driver = json!({"name": "layerlint", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": [rule]});
    let document = json!({
        "$schema": super::sarif::SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    });
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// What [`sarif`] calls a difference.
const RULE: &str = "image-differs";

/// For the summary of a job: a table in Markdown.
pub fn markdown(out: &mut impl Write, verified: &Verified) -> io::Result<()> {
    let mark = match verified.verdict() {
        Verdict::Faithful => "✅",
        Verdict::Differs => "❌",
        Verdict::Undecided => "⚠️",
    };
    writeln!(out, "### {mark} {}\n", escaped(&verified.headline()))?;
    let rows = || verified.differences.iter().chain(verified.undecided.iter());
    if rows().next().is_some() {
        writeln!(
            out,
            "| path | in the image | change | instruction | cause |\n| --- | --- | --- | --- | --- |"
        )?;
        for item in rows().take(NAMED) {
            let place = match (&item.instruction, item.perhaps.first()) {
                (_, Some(place)) => format!("perhaps {}", place.short()),
                (Some(place), None) => place.short(),
                (None, None) => String::new(),
            };
            let cause = item.cause.as_ref().map(|c| c.detail.as_str()).unwrap_or_default();
            writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                code(&item.path),
                code(&item.image_path),
                item.change,
                if place.is_empty() { String::new() } else { code(&place) },
                escaped(cause)
            )?;
        }
        if rows().count() > NAMED {
            writeln!(out, "\nand {} more", rows().count() - NAMED)?;
        }
        writeln!(out)?;
    }
    for note in verified.blockers.iter().chain(&verified.notes) {
        writeln!(out, "- {}", escaped(note))?;
    }
    Ok(())
}

/// Text in a table of Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '|' | '*' | '_' | '[' | ']' | '`' | '\\' | '#' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            _ => out.push(c),
        }
    }
    out
}

/// A path or command in a table of Markdown.
fn code(text: &str) -> String {
    let text = printable(text).replace('|', "\\|");
    // A fence longer than any in it.
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}
