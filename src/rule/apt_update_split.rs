//! An index of packages fetched in one RUN and used in a later one.
//!
//! Read over the whole lineage of a stage, because `FROM stage` continues with its files.

use super::command::{is_opaque, removes_index, system_step};
use super::ecosystem::SystemManager;
use super::edit::safe;
use super::{Cx, Rule, words};
use crate::build::model::{Action, Run, Step};
use crate::finding::{Finding, Fix};
use crate::source::Span;
use crate::syntax::shell::{self, Connector, Script, ShellCommand};
use crate::syntax::{Args, Command, Keyword};
use std::collections::HashSet;

/// See `rules/apt-update-split.md`.
pub(super) const RULE: Rule =
    Rule { name: "apt-update-split", page: include_str!("../../rules/apt-update-split.md"), check };

/// Installs that are named beside the first one.
const NAMED: usize = 3;

/// An index that a RUN left behind.
struct Index {
    manager: &'static SystemManager,
    /// Where it was fetched.
    span: Span,
    /// By what.
    fetched: String,
    /// The instruction.
    instruction: u32,
    /// Whether that RUN only fetched it.
    alone: bool,
    /// The cache mount it lies in, if it is not in the layer.
    mount: Option<String>,
    /// Installs in later RUNs.
    uses: Vec<Install>,
}

struct Install {
    span: Span,
    /// From the program to the verb.
    shown: String,
    instruction: u32,
    command: String,
    /// Where the index could be fetched instead.
    at: Span,
    /// Whether it is the first command of its script.
    first: bool,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut seen = HashSet::new();
    for stage in &cx.model.stages {
        let mut indexes: Vec<Index> = Vec::new();
        let steps = || cx.model.lineage_steps(stage.index);
        steps().filter(|step| !is_triggered_run(step)).for_each(|step| follow(step, &mut indexes));
        // Triggers run after all of it, in the build that continues with this image.
        let triggers = steps().filter(|step| step.stage == stage.index && is_triggered_run(step));
        triggers.for_each(|step| follow(step, &mut indexes));
        for mut index in indexes {
            // What an inherited stage does has been said there.
            index.uses.retain(|used| seen.insert((index.span, used.span)));
            findings.extend(finding(cx, &index));
        }
    }
}

fn follow(step: &Step<'_>, indexes: &mut Vec<Index>) {
    let trigger;
    let (script, run): (&Script, Option<&Run<'_>>) = match &step.action {
        Action::Run(run) => match run.script() {
            Some(script) => (script, Some(run)),
            None => return,
        },
        Action::Config if is_triggered_run(step) => {
            trigger = shell::script_of(step.instruction);
            (&trigger, None)
        }
        _ => return,
    };
    let here = step.instruction.span.start;
    // In a script that could not be read to the end a refresh may be hidden.
    let mut hidden = script.incomplete || script.foreign;
    for (position, command) in script.commands.iter().enumerate() {
        indexes.iter_mut().for_each(|index| {
            if removes_index(command, index.manager) {
                index.mount = Some("removed".to_owned());
            }
        });
        let Some(found) = system_step(command) else {
            hidden |= is_opaque(command);
            continue;
        };
        let mount = mount_of(run, found.manager);
        if found.refreshes {
            // Only the newest index counts; what was found about an older one stays.
            let keep = !found.manager.refresh.is_empty() || found.manager.name == "pacman";
            let others = script.commands.iter().enumerate().any(|(n, c)| n != position && does_work(c));
            indexes.push(Index {
                manager: found.manager,
                span: found.span,
                fetched: words::within(command, found.span),
                instruction: here,
                alone: keep && !others,
                mount: if found.installs && found.manager.name == "apk" && command.has_flag(&["--no-cache"]) {
                    Some("not kept".to_owned())
                } else {
                    mount
                },
                uses: Vec::new(),
            });
            continue;
        }
        let newest = indexes.iter_mut().rev().find(|index| index.manager.name == found.manager.name);
        let Some(index) = newest.filter(|_| found.installs && !hidden) else { continue };
        if index.instruction != here && index.mount == mount {
            index.uses.push(Install {
                span: found.span,
                shown: words::within(command, found.span),
                instruction: here,
                command: words::of_command(command),
                at: command.span,
                first: position == 0 && command.connector == Connector::First && !command.negated,
            });
        }
    }
}

fn is_triggered_run(step: &Step<'_>) -> bool {
    match &step.instruction.args {
        Args::Onbuild(trigger) => {
            let exec = matches!(trigger.args, Args::Command(Command::Exec(_)));
            trigger.keyword == Keyword::Run && (exec || step.state.is_posix_shell())
        }
        _ => false,
    }
}

/// Whether a command is more than a remark beside the refresh.
fn does_work(command: &ShellCommand) -> bool {
    !matches!(command.name(), "" | "set" | "echo" | "true" | "sleep" | "export" | "cd")
}

/// The mount that holds the index during a RUN.
fn mount_of(run: Option<&Run<'_>>, manager: &SystemManager) -> Option<String> {
    run?.mount_over(manager.index).map(|mount| format!("{} {}", mount.kind.name(), mount.cache_id()))
}

fn finding(cx: &Cx<'_>, index: &Index) -> Option<Finding> {
    let (first, rest) = index.uses.split_first()?;
    let (fetched, program) = (&index.fetched, &first.shown);
    let line = cx.line(index.span);
    let message = format!(
        "`{program}` uses the package index of line {line}, and that step stays CACHED when this one changes: \
         old versions are installed, or packages that have moved on are not found"
    );
    let also = match (rest.len(), index.alone) {
        (0, _) => String::new(),
        (n, _) => format!(" (and in {n} more)"),
    };
    let command = words::shortened(&first.command, 120);
    let clean = index.manager.clean;
    let help = if index.alone {
        format!(
            "fetch the index in the RUN that installs{also}, and delete the RUN of line {line}: `RUN {fetched} && {command}{clean}`"
        )
    } else {
        format!("fetch the index again in the RUN that installs{also}: `RUN {fetched} && {command}{clean}`")
    };
    let name = index.manager.name;
    let mut finding = Finding::at(&RULE, cx, first.span, message)
        .label("packages are chosen by that index")
        .also(index.span, format!("the {name} index is fetched here, once"))
        .help(help)
        .fix(fix(cx, index))
        .evidence("manager", name)
        .evidence("index_line", line)
        .evidence("install_lines", index.uses.iter().map(|u| cx.line(u.span)).collect::<Vec<_>>());
    let mut named = vec![first.instruction];
    for used in rest {
        if named.len() <= NAMED && !named.contains(&used.instruction) {
            named.push(used.instruction);
            finding = finding.also(used.span, "so are these");
        }
    }
    Some(finding)
}

/// Fetches the index where it is used. The RUN that only fetched it goes, if no other stage continues it.
fn fix(cx: &Cx<'_>, index: &Index) -> Option<Fix> {
    let instructions = &cx.document.instructions;
    let mut seen = HashSet::new();
    let mut edits = Vec::new();
    for used in index.uses.iter().filter(|used| seen.insert(used.instruction)) {
        let own = instructions.iter().find(|i| i.span.start == used.instruction)?;
        // Only where the shell's words are those of the file, and another command can stand before.
        let exec = matches!(own.args, Args::Command(Command::Exec(_)));
        let plain =
            own.keyword == Keyword::Run && !exec && cx.file.text(used.at).starts_with(used.command.get(..3)?);
        if !plain || !(used.first || cx.begins_statement(used.at.start)) {
            return None;
        }
        let here = Span { start: used.at.start, end: used.at.start };
        edits.push(cx.edit(here, format!("{} && ", index.fetched)));
    }
    let own = instructions.iter().find(|i| i.span.start == index.instruction)?;
    let stage = cx.graph.stages.iter().rfind(|s| s.from.span.start < own.span.start)?.index;
    let only = (0..cx.graph.stages.len()).all(|s| s == stage || !cx.graph.continues(s, stage));
    if index.alone && only && own.keyword == Keyword::Run && own.heredocs.is_empty() {
        edits.extend(cx.whole_lines(own.span).map(|lines| cx.edit(lines, "")));
    }
    Some(safe(format!("run `{}` in the step that installs", index.fetched), edits))
}
