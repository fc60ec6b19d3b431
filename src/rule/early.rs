//! Arguments in the keys of steps that do not need them.
//!
//! BuildKit puts every declared ARG that has a value into the environment, and so into the key, of each RUN below it.

use super::variables;
use super::work::{self, Work};
use super::{Cx, Rule, words};
use crate::build::model::{Action, Arg, Step};
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::shell::{Script, ShellCommand};
use crate::syntax::{Args, Keyword, Pair};
use std::collections::{BTreeMap, HashSet};

/// Arguments and steps that a finding names.
const NAMED: usize = 3;

/// Which arguments are followed, and what they delay.
pub(super) struct Watch<'w> {
    /// Whether an argument, declared in a step of a stage, is followed.
    pub wanted: &'w dyn Fn(usize, &Arg) -> bool,
    /// Whether the commands of a step are slow, and deaf to the argument.
    pub slow: &'w dyn Fn(&Step<'_>, &Script) -> bool,
    /// Other names that say the same, so that a step which names one of them has need of it.
    pub like: &'w dyn Fn(&str) -> bool,
}

/// Whether some command installs or downloads.
pub(super) fn fetches(script: &Script) -> bool {
    script.commands.iter().any(|c| work::of(c) == Work::Fetch)
}

/// Arguments of a stage that delay the same first step.
pub(super) fn groups<'m, 'a>(cx: &'m Cx<'a>, watch: &Watch<'_>) -> Vec<Vec<Early<'m, 'a>>> {
    let mut told: HashSet<Span> = HashSet::new();
    let mut out = Vec::new();
    for stage in &cx.model.stages {
        let mut open: Vec<Early<'m, 'a>> = Vec::new();
        for step in cx.model.lineage_steps(stage.index) {
            follow(cx, watch, stage.index, step, &mut open);
        }
        // Arguments that stand together have one cure.
        let mut groups: BTreeMap<u32, Vec<Early<'m, 'a>>> = BTreeMap::new();
        for early in open {
            if let Some(first) = early.delayed.first()
                && told.insert(early.pair.span)
            {
                groups.entry(first.instruction.span.start).or_default().push(early);
            }
        }
        out.extend(groups.into_values());
    }
    out
}

/// An argument above steps that do not need it.
pub(super) struct Early<'m, 'a> {
    /// Its declaration.
    pub pair: &'a Pair,
    /// Itself and the ENV variables made from it.
    pub names: Vec<String>,
    /// Slow steps below it that do not need it.
    pub delayed: Vec<&'m Step<'a>>,
    /// The first step that names it.
    pub used: Option<&'m Step<'a>>,
    /// Slow steps that run a script besides, which might read it; they need it not if a later one names it.
    doubtful: Vec<&'m Step<'a>>,
    /// Whether nothing more can be told, because a step may use it unseen.
    closed: bool,
}

fn follow<'m, 'a>(
    cx: &Cx<'_>,
    watch: &Watch<'_>,
    stage: usize,
    step: &'m Step<'a>,
    open: &mut Vec<Early<'m, 'a>>,
) {
    match (&step.action, &step.instruction.args) {
        (Action::Arg(args), Args::ArgDefs(pairs)) => {
            for (pair, arg) in pairs.iter().zip(args) {
                // A second ARG of the name takes the place of the first.
                let before = open.iter().any(|v| !v.closed && v.names.contains(&arg.name));
                if !before && (watch.wanted)(stage, arg) {
                    open.push(Early {
                        pair,
                        names: vec![arg.name.clone()],
                        delayed: Vec::new(),
                        doubtful: Vec::new(),
                        used: None,
                        closed: false,
                    });
                }
            }
        }
        (Action::Env(_), Args::Pairs { pairs, .. }) => {
            let read = variables::expanded_in(cx, step.instruction);
            for early in open.iter_mut().filter(|v| !v.closed) {
                for pair in pairs {
                    let inside = |span: Span| pair.span.start <= span.start && span.end <= pair.span.end;
                    if read.iter().any(|r| inside(r.span) && early.names.contains(&r.name)) {
                        early.names.push(pair.key.text.clone());
                        early.used.get_or_insert(step);
                    }
                }
            }
        }
        (Action::Run(_), _) => run(cx, watch, step, open),
        _ => {
            let read = variables::expanded_in(cx, step.instruction);
            for early in open.iter_mut().filter(|v| !v.closed) {
                if read.iter().any(|r| early.names.contains(&r.name)) {
                    early.used.get_or_insert(step);
                    // Configuration is in no key; a copy or directory is, and runs all below again.
                    early.closed |= !matches!(step.action, Action::Config);
                }
            }
        }
    }
}

fn run<'m, 'a>(cx: &Cx<'_>, watch: &Watch<'_>, step: &'m Step<'a>, open: &mut [Early<'m, 'a>]) {
    if open.iter().all(|v| v.closed) {
        return;
    }
    let Some(script) = variables::script(cx, step) else {
        open.iter_mut().for_each(|v| v.closed = true);
        return;
    };
    let read = variables::read_by(cx, script);
    let mounts = variables::expanded_in(cx, step.instruction);
    // Such names are also read from the environment: `printenv GIT_SHA`, `envsubst '$GIT_SHA'`.
    let text = step.instruction.text.to_str();
    let bodies: Vec<_> = step.instruction.heredocs.iter().map(|h| String::from_utf8_lossy(&h.body)).collect();
    let slow = (watch.slow)(step, script);
    let opaque = script.commands.iter().any(|c| work::of(c) == Work::Other && !is_quiet(c));
    let scripts = script.commands.iter().all(|c| work::of(c) != Work::Other || is_quiet(c) || is_script(c));
    let alike = read.iter().chain(&mounts).any(|r| (watch.like)(&r.name));
    for early in open.iter_mut().filter(|v| !v.closed) {
        let named = |n: &String| {
            read.iter().chain(&mounts).any(|r| r.name == *n)
                || text.contains(n.as_str())
                || bodies.iter().any(|b| b.contains(n.as_str()))
        };
        if alike || early.names.iter().any(named) {
            early.used.get_or_insert(step);
            early.closed = true;
            let doubtful = std::mem::take(&mut early.doubtful);
            early.delayed.splice(0..0, doubtful);
        } else if opaque && scripts && slow {
            early.doubtful.push(step);
        } else if opaque {
            early.closed = true;
        } else if slow {
            early.delayed.push(step);
        }
    }
}

/// A script that is run by its path.
fn is_script(command: &ShellCommand) -> bool {
    command.words.first().is_some_and(|w| w.text.contains('/') && w.text.ends_with(".sh"))
}

/// Installers whose name tells nothing but that they install.
fn is_quiet(command: &ShellCommand) -> bool {
    let name = command.name();
    name.starts_with("install-") || name.ends_with("-install") || name == "setup-buildx"
}

/// What a finding says of an argument.
pub(super) struct Text {
    /// What another value does.
    pub effect: &'static str,
    /// About the values, as a label.
    pub label: &'static str,
}

/// A finding about arguments that delay the same first step.
pub(super) fn finding(rule: &Rule, cx: &Cx<'_>, group: &[Early<'_, '_>], text: &Text) -> Option<Finding> {
    let (first, others) = group.split_first()?;
    let (delayed, rest) = first.delayed.split_first()?;
    let names: Vec<&str> = group.iter().map(|v| v.pair.key.text.as_str()).collect();
    let one = names.len() == 1;
    let shown = words::of_instruction(delayed.instruction);
    let line = cx.line(delayed.instruction.span);
    let message = format!(
        "{} {} in the key of `{shown}` on line {line}, which does not need {}: {}",
        words::list(&names, NAMED),
        if one { "is" } else { "are" },
        if one { "it" } else { "them" },
        text.effect,
    );
    let last = first.delayed.last().map_or(line, |s| cx.line(s.instruction.span));
    let moved: Vec<String> =
        group.iter().map(|v| format!("ARG {}", cx.file.text(v.pair.span).trim())).collect();
    let place = match first.used {
        Some(used) if cx.line(used.instruction.span) > last => {
            format!("directly above line {}, where it is first used", cx.line(used.instruction.span))
        }
        Some(used) if matches!(used.instruction.keyword, Keyword::Env | Keyword::Label) => {
            format!(
                "below line {last}, with the {} of line {}",
                used.instruction.keyword.name(),
                cx.line(used.instruction.span)
            )
        }
        _ => format!("below line {last}, at the end of the stage"),
    };
    let label = match first.used {
        Some(_) => text.label.to_owned(),
        None => format!("{}, and nothing names it", text.label),
    };
    let mut finding = Finding::at(rule, cx, first.pair.span, message)
        .label(label)
        .also(delayed.instruction.span, "runs again for each value")
        .help(format!("declare it {place}:\n{}", moved.join("\n")))
        .evidence("arguments", &names)
        .evidence(
            "delayed_lines",
            first.delayed.iter().map(|s| cx.line(s.instruction.span)).collect::<Vec<_>>(),
        );
    if let Some(used) = first.used.filter(|u| u.instruction.keyword == Keyword::Env) {
        finding = finding.also(used.instruction.span, "carries the value on");
    }
    for other in rest.iter().take(NAMED) {
        finding = finding.also(other.instruction.span, "so does this");
    }
    for other in others.iter().take(NAMED) {
        finding = finding.also(other.pair.span, "so it is with this one");
    }
    Some(finding)
}
