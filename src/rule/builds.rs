//! What rules about build files share: findings in them, and what two builds have in common.

use super::{Rule, gha_repeat_build, gha_scope_collision, normalised_mtimes};
use crate::finding::{Finding, Label, words_of};
use crate::invoke::Project;
use crate::invoke::call::{Call, FileKind, Starter, Text, Value};
use crate::source::Span;

/// Rules that look at build files alone, not at one Dockerfile.
pub(super) const CHECKS: &[fn(&Project, &mut Vec<Finding>)] =
    &[gha_repeat_build::check, gha_scope_collision::check, normalised_mtimes::check];

/// A finding of `rule` at a place in a build file.
pub(super) fn finding(
    rule: &Rule,
    project: &Project,
    (file, span): (usize, Span),
    message: impl Into<String>,
) -> Finding {
    Finding {
        rule: rule.name,
        severity: rule.severity(),
        message: message.into(),
        primary: Label { file: name(project, file), span: Some(span), message: String::new() },
        related: Vec::new(),
        help: None,
        stage: None,
        evidence: serde_json::Map::new(),
        fix: None,
        fingerprint: String::new(),
    }
}

/// Another place in a build file.
pub(super) fn label(project: &Project, (file, span): (usize, Span), message: impl Into<String>) -> Label {
    Label { file: name(project, file), span: Some(span), message: message.into() }
}

/// The words at a place in a build file.
pub(super) fn words_at(project: &Project, label: &Label) -> String {
    let file = project.files.iter().find(|f| f.source.name == label.file);
    let bytes = file.zip(label.span).and_then(|(file, span)| file.source.bytes.get(span.range()));
    words_of(bytes.unwrap_or_default())
}

/// How a build file is called.
pub(super) fn name(project: &Project, file: usize) -> String {
    project.files.get(file).map(|f| f.source.name.clone()).unwrap_or_default()
}

/// Whether BuildKit builds it, so that its options mean what BuildKit makes of them.
pub(super) fn is_buildkit(call: &Call) -> bool {
    match &call.starter {
        Starter::Command(words) => ["docker", "nerdctl", "depot"].iter().any(|p| words.starts_with(p)),
        Starter::Action(_) | Starter::Bake(_) | Starter::Service(_) => true,
    }
}

/// Whether a CI system starts it.
pub(super) fn is_ci(project: &Project, call: &Call) -> bool {
    let kind = project.file_of(call).map(|f| f.kind);
    matches!(kind, Some(FileKind::Workflow | FileKind::Action | FileKind::Gitlab))
}

/// Where a build says its caches: the entry itself, else the words that start the build.
pub(super) fn cache_place(call: &Call, text: Option<&Text>) -> (usize, Span) {
    let (file, head) = call.cache_at;
    match text {
        Some(text) if !text.span.is_empty() => (file, text.span),
        _ => (file, head),
    }
}

/// What a build makes, in a few words: its target, or the folder that it is made of.
pub(super) fn image(call: &Call) -> String {
    if let Starter::Bake(name) | Starter::Service(name) = &call.starter
        && !call.open
    {
        return format!("`{name}`");
    }
    let dockerfile = call.dockerfile.as_ref().map(Text::written);
    let context = call.context.as_ref().map(|c| c.text().written());
    let usual = match (context, dockerfile) {
        (Some("."), Some(file)) => file == "Dockerfile",
        (Some(context), Some(file)) => file == format!("{context}/Dockerfile"),
        _ => true,
    };
    let place = match (context, dockerfile) {
        (_, Some(file)) if !usual => format!("`{file}`"),
        (Some(context), _) => format!("`{context}`"),
        (None, Some(file)) => format!("`{file}`"),
        (None, None) => call.starter.shown(),
    };
    match call.target.as_ref().map(Text::written).filter(|t| !t.is_empty()) {
        Some(target) => format!("target `{target}` of {place}"),
        None => place,
    }
}

/// Phrases joined to one.
pub(super) fn listed(items: &[String], most: usize) -> String {
    let mut parts: Vec<String> = items.iter().take(most).cloned().collect();
    if items.len() > most {
        parts.push(format!("{} more", items.len() - most));
    }
    match parts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => parts.concat(),
    }
}

/// Whether the expressions in a text come to the same in all jobs that one run of a file starts.
pub(super) fn is_constant_in_run(text: &Text) -> bool {
    let Value::Unknown(written) = &text.value else { return true };
    let mut rest = written.as_str();
    while let Some(at) = rest.find("${{") {
        let inner = rest.get(at + 3..).unwrap_or_default();
        let end = inner.find("}}").unwrap_or(inner.len());
        let expression = inner.get(..end).unwrap_or_default().trim();
        let constant = [
            "github.ref",
            "github.repository",
            "github.base_ref",
            "github.head_ref",
            "github.event",
            "github.sha",
            "github.run_",
            "github.workflow",
            "github.actor",
            "vars.",
            "secrets.",
        ];
        let plain = expression.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !plain || !constant.iter().any(|c| expression.starts_with(c)) {
            return false;
        }
        rest = inner.get(end..).unwrap_or_default();
    }
    // What else is unknown in it are variables of a shell.
    let shell = written.replace("${{", "");
    !shell
        .split('$')
        .skip(1)
        .any(|name| !name.starts_with("CI_") && !name.starts_with("{CI_") || name.contains("CI_JOB"))
}
