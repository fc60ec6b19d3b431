//! Tools that are installed by name alone: the newest version of the day on which the step ran.

use super::command;
use super::ecosystem::MOVING_TAGS;
use super::{Cx, Finding, Rule, variables, words};
use crate::build::model::Action;
use crate::build::process::{Process, processes};
use crate::syntax::shell::ShellWord;
use std::collections::HashSet;

/// See `rules/unpinned-tool.md`.
pub(super) const RULE: Rule =
    Rule { name: "unpinned-tool", page: include_str!("../../rules/unpinned-tool.md"), check };

/// Names that a message shows.
const NAMED: usize = 3;

/// Packages whose newest version is wanted, as they are there to install others.
const INSTALLERS: &[&str] = &["pip", "setuptools", "wheel"];

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for step in cx.model.steps() {
        let Action::Run(run) = &step.action else { continue };
        if variables::script(cx, step).is_none() {
            continue;
        }
        for process in processes(run, &step.state) {
            if told.insert(process.command.span) {
                findings.extend(finding(cx, &process));
            }
        }
    }
}

fn finding(cx: &Cx<'_>, process: &Process<'_>) -> Option<Finding> {
    let found = command::tool_install(process.command)?;
    let (mark, _) = found.tool.version;
    if mark.is_empty() || found.version_given || process.is_fed() {
        return None;
    }
    // `@latest` is the matter of another rule; what is not known is not judged.
    let loose = |w: &&&ShellWord| {
        let value = process.value(w);
        // `@scope/tool`
        let scoped = w.text.starts_with('@');
        let text = value.text.trim_start_matches('@');
        let pinned = text.contains(mark) || text.contains(['=', '<', '>', '~']);
        let named = scoped || !text.contains(['/', ':', '*', ';']);
        value.known && named && !pinned && !text.is_empty() && !INSTALLERS.contains(&text)
    };
    let names: Vec<String> = found.names.iter().filter(loose).map(|w| process.value(w).text).collect();
    if names.is_empty() || names.iter().any(|n| MOVING_TAGS.contains(&n.as_str())) {
        return None;
    }
    let command = words::within(process.command, found.span);
    let example = names.first().map(String::as_str).unwrap_or_default();
    let pin = match mark {
        "=" | "==" => format!("{example}==1.2.3"),
        ":" => format!("{example}:1.2.3"),
        _ => format!("{example}@1.2.3"),
    };
    let message = format!(
        "`{command}` takes {} in the version that is newest on the day the step runs, and the cache keeps it: two builders \
         have different tools for the same source",
        words::list(&names, NAMED)
    );
    let finding = Finding::at(&RULE, cx, found.span, message)
        .label("no version")
        .help(format!("name the version: `{command} {pin}`"))
        .evidence("tools", &names);
    Some(finding)
}
