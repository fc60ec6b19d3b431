//! SARIF 2.1.0 (OASIS), as far as it is needed: only what is emitted is modelled. `tests/formats.rs` holds it against
//! the official schema.

use super::address::{identity, uri};
use super::json::page_address;
use super::{Report, Sources};
use crate::finding::{Finding, Fix, Label, Problem, ProblemKind, Safety, Severity};
use crate::rule::{Page, Rule};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::{self, Write};

pub(super) const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    invocations: [Invocation; 1],
    /// Our columns count characters.
    column_kind: &'static str,
    results: Vec<Outcome<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    name: &'static str,
    semantic_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    information_uri: Option<&'static str>,
    rules: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    id: &'a str,
    short_description: Text,
    help: Help<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<String>,
    default_configuration: Configuration,
    properties: Tags<'a>,
}

#[derive(Serialize)]
struct Help<'a> {
    text: &'a str,
    markdown: &'a str,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Tags<'a> {
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    level: &'static str,
    message: Text,
    locations: Vec<Location>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    partial_fingerprints: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixes: Vec<Repair>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Physical,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<Logical>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Text>,
}

#[derive(Serialize)]
struct Logical {
    name: String,
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct Artifact {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    start_column: u32,
    end_line: u32,
    end_column: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Repair {
    description: Text,
    artifact_changes: Vec<Change>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    artifact_location: Artifact,
    replacements: Vec<Replacement>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replacement {
    deleted_region: Region,
    inserted_content: Text,
}

/// Writes findings, and refused files as findings of a rule of that name. `prefix` leads from the root of the
/// repository to the working directory: it is empty or ends with `/`.
pub(super) fn write(
    out: &mut impl Write,
    report: &Report,
    sources: &Sources,
    prefix: &str,
) -> io::Result<()> {
    let refused = || report.problems.iter().filter(|problem| problem.kind == ProblemKind::Refused);
    let names: BTreeSet<&str> = report.findings.iter().map(|finding| finding.rule).collect();
    let mut rules: Vec<Descriptor<'_>> =
        names.iter().filter_map(|name| Rule::named(name)).map(descriptor).collect();
    if refused().next().is_some() {
        rules.push(of_refusals());
    }
    let writing = Writing { sources, prefix, rules: rules.iter().map(|rule| rule.id).collect() };
    let results =
        refused().map(|p| writing.refusal(p)).chain(report.findings.iter().map(|f| writing.result(f)));
    let results = results.collect();
    let others = report.problems.iter().filter(|problem| problem.kind != ProblemKind::Refused);
    let notifications: Vec<Notification> = others.map(|problem| writing.notification(problem)).collect();
    let repository = env!("CARGO_PKG_REPOSITORY");
    let driver = Driver {
        name: "layerlint",
        semantic_version: env!("CARGO_PKG_VERSION"),
        information_uri: (!repository.is_empty()).then_some(repository),
        rules,
    };
    let invocation = Invocation {
        execution_successful: notifications.is_empty(),
        tool_execution_notifications: notifications,
    };
    let run =
        Run { tool: Tool { driver }, invocations: [invocation], column_kind: "unicodeCodePoints", results };
    serde_json::to_writer(&mut *out, &Log { schema: SCHEMA, version: "2.1.0", runs: [run] })?;
    writeln!(out)
}

fn descriptor(rule: &'static Rule) -> Descriptor<'static> {
    let page = Page::parse(rule.page);
    Descriptor {
        id: rule.name,
        short_description: Text { text: page.summary() },
        help: Help { text: page.body, markdown: page.body },
        help_uri: page_address(rule.name),
        default_configuration: Configuration { level: level(rule.severity()) },
        properties: Tags { tags: vec![page.group] },
    }
}

fn of_refusals() -> Descriptor<'static> {
    const TEXT: &str = "A file that BuildKit refuses";
    Descriptor {
        id: ProblemKind::Refused.name(),
        short_description: Text { text: TEXT.to_owned() },
        help: Help { text: TEXT, markdown: TEXT },
        help_uri: None,
        default_configuration: Configuration { level: "error" },
        properties: Tags { tags: vec!["build"] },
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// A message; what looks like a link of SARIF's own is none.
fn text(message: &str, help: Option<&str>) -> Text {
    let text = match help {
        Some(help) => format!("{message}\nhelp: {help}"),
        None => message.to_owned(),
    };
    let text = if text.contains("](") { text.replace('[', "\\[").replace(']', "\\]") } else { text };
    Text { text }
}

struct Writing<'w> {
    sources: &'w Sources,
    prefix: &'w str,
    rules: Vec<&'w str>,
}

impl Writing<'_> {
    fn result<'a>(&self, finding: &'a Finding) -> Outcome<'a> {
        let mut location = self.location(&finding.primary);
        location.logical_locations =
            finding.stage.iter().map(|stage| Logical { name: stage.clone(), kind: "stage" }).collect();
        let related = finding.related.iter().map(|label| {
            let message = (!label.message.is_empty()).then(|| text(&label.message, None));
            Location { message, ..self.location(label) }
        });
        let mut properties = Map::new();
        if !finding.evidence.is_empty() {
            properties.insert("evidence".to_owned(), Value::Object(finding.evidence.clone()));
        }
        if let Some(fix) = &finding.fix {
            let safety = if fix.safety == Safety::Safe { "safe" } else { "unsafe" };
            properties.insert("fixSafety".to_owned(), safety.into());
        }
        Outcome {
            rule_id: finding.rule,
            rule_index: self.index(finding.rule),
            level: level(finding.severity),
            message: text(&finding.message, finding.help.as_deref()),
            locations: vec![location],
            related_locations: related.collect(),
            partial_fingerprints: fingerprints(identity(self.prefix, finding)),
            fixes: finding.fix.iter().map(|fix| self.fix(fix)).collect(),
            properties,
        }
    }

    fn refusal<'a>(&self, problem: &'a Problem) -> Outcome<'a> {
        let name = problem.kind.name();
        Outcome {
            rule_id: name,
            rule_index: self.index(name),
            level: "error",
            message: text(&problem.message, problem.help.as_deref()),
            locations: vec![self.location(&problem.place)],
            related_locations: Vec::new(),
            partial_fingerprints: Map::new(),
            fixes: Vec::new(),
            properties: Map::new(),
        }
    }

    fn notification(&self, problem: &Problem) -> Notification {
        let message = text(&problem.message, problem.help.as_deref());
        Notification { level: "error", message, locations: vec![self.location(&problem.place)] }
    }

    fn index(&self, rule: &str) -> usize {
        self.rules.iter().position(|name| *name == rule).unwrap_or_default()
    }

    fn location(&self, label: &Label) -> Location {
        let region = self.sources.positions(label).map(|(start, end)| Region {
            start_line: start.line,
            start_column: start.column,
            end_line: end.line,
            end_column: end.column,
        });
        let artifact_location = Artifact { uri: uri(self.prefix, &label.file) };
        Location {
            physical_location: Physical { artifact_location, region },
            logical_locations: Vec::new(),
            message: None,
        }
    }

    fn fix(&self, fix: &Fix) -> Repair {
        let mut changes: Vec<(&str, Vec<Replacement>)> = Vec::new();
        for edit in &fix.edits {
            let label = Label { file: edit.file.clone(), span: Some(edit.span), message: String::new() };
            // A file that is not there yet begins, and ends, where everything does.
            let start = Region { start_line: 1, start_column: 1, end_line: 1, end_column: 1 };
            let replacement = Replacement {
                deleted_region: self.location(&label).physical_location.region.unwrap_or(start),
                inserted_content: Text { text: edit.text.clone() },
            };
            match changes.iter_mut().find(|(file, _)| *file == edit.file) {
                Some((_, list)) => list.push(replacement),
                None => changes.push((&edit.file, vec![replacement])),
            }
        }
        let change = |(file, replacements)| Change {
            artifact_location: Artifact { uri: uri(self.prefix, file) },
            replacements,
        };
        Repair {
            description: text(&fix.description, None),
            artifact_changes: changes.into_iter().map(change).collect(),
        }
    }
}

fn fingerprints(identity: String) -> Map<String, Value> {
    Map::from_iter([("layerlint/v1".to_owned(), Value::String(identity))])
}
