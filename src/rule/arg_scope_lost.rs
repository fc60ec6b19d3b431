//! Build arguments that are used where no ARG declares them.
//!
//! An ARG before the first FROM is for FROM lines; one in a stage is for that stage and those built on it.

use super::edit::{needs_review, safe};
use super::variables::{self, Reading};
use super::{Cx, Rule, images, words};
use crate::build::model::Step;
use crate::finding::{Finding, Fix};
use crate::source::Span;
use crate::stage::{AUTOMATIC_ARGS, Base};
use crate::syntax::word::Variables as _;
use crate::syntax::{Args, Instruction, Keyword, Pair};

/// See `rules/arg-scope-lost.md`.
pub(super) const RULE: Rule =
    Rule { name: "arg-scope-lost", page: include_str!("../../rules/arg-scope-lost.md"), check };

/// Uses that are named beside the first one.
const NAMED: usize = 3;

/// What a shell or the engine sets in every RUN, and the proxies that need no ARG.
const ALWAYS_THERE: &[&str] = &[
    "PATH",
    "HOME",
    "PWD",
    "OLDPWD",
    "HOSTNAME",
    "UID",
    "EUID",
    "PPID",
    "SHLVL",
    "RANDOM",
    "IFS",
    "OSTYPE",
    "HOSTTYPE",
    "MACHTYPE",
    "LINENO",
    "SECONDS",
    "OPTARG",
    "OPTIND",
    "REPLY",
    "TERM",
    "SHELL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// One ARG of a name.
#[derive(Clone, Copy)]
struct Declaration<'a> {
    pair: &'a Pair,
    /// `None` before the first FROM.
    stage: Option<usize>,
}

/// The uses of one name in one stage.
struct Lost<'m, 'a> {
    name: String,
    step: &'m Step<'a>,
    uses: Vec<Reading>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let declared = declarations(cx);
    if declared.is_empty() && !mentions_automatic(cx) {
        return;
    }
    for stage in &cx.model.stages {
        let mut lost: Vec<Lost<'_, '_>> = Vec::new();
        // A stage made of a `--build-context` runs none of its steps.
        for step in &stage.steps {
            for reading in readings(cx, step) {
                if !is_missing(cx, step, &reading, &declared) {
                    continue;
                }
                match lost.iter_mut().find(|l| l.name == reading.name) {
                    Some(known) => known.uses.push(reading),
                    None => lost.push(Lost { name: reading.name.clone(), step, uses: vec![reading] }),
                }
            }
        }
        findings.extend(lost.iter().filter_map(|l| finding(cx, l, &declared)));
    }
}

fn declarations<'a>(cx: &Cx<'a>) -> Vec<Declaration<'a>> {
    let document = cx.document;
    let mut stage: Option<usize> = None;
    let mut out = Vec::new();
    for instruction in &document.instructions {
        match (&instruction.args, instruction.keyword) {
            (_, Keyword::From) => stage = Some(stage.map_or(0, |s| s + 1)),
            (Args::ArgDefs(pairs), _) => out.extend(pairs.iter().map(|pair| Declaration { pair, stage })),
            _ => {}
        }
    }
    out
}

fn mentions_automatic(cx: &Cx<'_>) -> bool {
    let text = |i: &crate::syntax::Instruction| {
        i.text.to_str().contains("TARGET") || i.text.to_str().contains("BUILD")
    };
    cx.document.instructions.iter().any(text)
        || cx.document.instructions.iter().any(|i| !i.heredocs.is_empty())
}

fn readings(cx: &Cx<'_>, step: &Step<'_>) -> Vec<Reading> {
    let mut found = variables::expanded_in(cx, step.instruction);
    if let Some(script) = variables::script(cx, step) {
        let read = variables::read_by(cx, script).into_iter();
        found.extend(read.filter(|r| !variables::is_set_before(script, r)));
    } else {
        found.extend(variables::read_by_windows(cx, step));
    }
    // `${NAME:?}` stops the build: nothing goes unnoticed.
    found.retain(|r| r.operator != Some('?'));
    found
}

/// Whether a name has no value here although somebody declares it elsewhere.
fn is_missing(cx: &Cx<'_>, step: &Step<'_>, reading: &Reading, declared: &[Declaration<'_>]) -> bool {
    let name = reading.name.as_str();
    let upper = name.to_ascii_uppercase();
    let state = &step.state;
    if ALWAYS_THERE.contains(&upper.as_str())
        || cx.settings.allows(&RULE, name)
        || state.value(name).is_some()
        || state.args.iter().any(|a| a == name)
    {
        return false;
    }
    let automatic = AUTOMATIC_ARGS.contains(&name);
    if !automatic && !declared.iter().any(|d| d.pair.key.text == name) {
        return false;
    }
    // `ARG NAME=${NAME:-x}` and `ENV NAME=${NAME:-x}` speak of a value from elsewhere.
    let own = match &step.instruction.args {
        Args::ArgDefs(pairs) | Args::Pairs { pairs, .. } => pairs.iter().any(|p| p.key.text == name),
        _ => false,
    };
    if own && reading.operator.is_some() {
        return false;
    }
    if automatic || !state.unknown.env {
        return true;
    }
    let base = base_of(cx, step.stage);
    match base {
        Some(base) if !images::may_set(base, name) => reading.operator.is_none() || images::is_known(base),
        _ => false,
    }
}

/// The image below a stage, if it can be told.
fn base_of<'a>(cx: &'a Cx<'_>, stage: usize) -> Option<&'a str> {
    let root = cx.graph.lineage(stage).first().and_then(|s| cx.graph.stages.get(*s))?;
    match root.base {
        Base::Image(_) | Base::Scratch => Some(root.base_text.as_str()),
        _ => None,
    }
}

fn finding(cx: &Cx<'_>, lost: &Lost<'_, '_>, declared: &[Declaration<'_>]) -> Option<Finding> {
    let first = lost.uses.first()?;
    let name = &lost.name;
    let stage = lost.step.stage;
    let lineage = cx.graph.lineage(stage);
    let of_name = || declared.iter().filter(|d| d.pair.key.text == *name);
    // One behind the use, in the same stage, is the nearest to what was meant.
    let below = of_name().find(|d| d.stage == Some(stage) && d.pair.span.start > first.span.start);
    let global = of_name().find(|d| d.stage.is_none());
    let other = of_name().find(|d| d.stage.is_some_and(|s| !lineage.contains(&s)));
    let declaration = below.or(global).or(other).or_else(|| of_name().next());
    let shown = words::of_instruction(lost.step.instruction);
    let value = match first.operator {
        Some('-' | '=') => "is always the fallback",
        Some('+') => "never counts as set",
        _ => "is empty",
    };
    let here = name_of(cx, stage);
    let (why, label) = match declaration {
        Some(d) if below.is_some() => (
            format!("the ARG stands below, on line {}", cx.line(d.pair.span)),
            "counts from here on only".to_owned(),
        ),
        Some(d) => match d.stage {
            None => (
                format!(
                    "the ARG on line {} stands before the first FROM, and {here} does not declare it",
                    cx.line(d.pair.span)
                ),
                "for FROM lines only".to_owned(),
            ),
            Some(s) => (
                format!(
                    "the ARG on line {} belongs to {}, and {here} does not declare it",
                    cx.line(d.pair.span),
                    name_of(cx, s)
                ),
                format!("for {} only", name_of(cx, s)),
            ),
        },
        None => (
            format!("BuildKit provides it, but only to stages that declare it, and {here} does not"),
            String::new(),
        ),
    };
    let automatic = AUTOMATIC_ARGS.contains(&name.as_str());
    let effect = if automatic {
        "for every platform".to_owned()
    } else {
        format!("whatever `--build-arg {name}=…` says")
    };
    let message = format!("`{name}` {value} in `{shown}`, {effect}: {why}");
    let default = declaration
        .filter(|d| d.stage.is_some() && global.is_none())
        .and_then(|d| d.pair.value.as_ref())
        .map_or(String::new(), |v| format!("={}", v.text));
    let help = if below.is_some() {
        format!(
            "move the declaration above line {}: `ARG {name}{default}`",
            cx.line(lost.step.instruction.span)
        )
    } else {
        format!(
            "declare it in {here}, above line {}: `ARG {name}{default}`",
            cx.line(lost.step.instruction.span)
        )
    };
    let lines: Vec<u32> = lost.uses.iter().map(|u| cx.line(u.span)).collect();
    let mut finding = Finding::at(&RULE, cx, first.span, message)
        .label(value)
        .help(help)
        .fix(fix(cx, lost, declaration, below.is_some(), global.is_some() || automatic))
        .evidence("argument", name)
        .evidence("use_lines", &lines);
    if let Some(d) = declaration {
        finding = finding.also(d.pair.span, label).evidence("declared_line", cx.line(d.pair.span));
    }
    let mut seen: Vec<Span> = vec![first.span];
    for other in &lost.uses {
        if seen.len() <= NAMED && !seen.contains(&other.span) {
            seen.push(other.span);
            finding = finding.also(other.span, "so is this");
        }
    }
    Some(finding)
}

/// Declares the argument above its first use. Without a default nothing has to be guessed.
fn fix(
    cx: &Cx<'_>,
    lost: &Lost<'_, '_>,
    declaration: Option<&Declaration<'_>>,
    below: bool,
    plain: bool,
) -> Option<Fix> {
    let name = &lost.name;
    let instruction = lost.step.instruction;
    if instruction.keyword == Keyword::Onbuild {
        return None;
    }
    let written = match declaration {
        Some(d) if below || !plain => cx.file.text(d.pair.span).into_owned(),
        _ => name.clone(),
    };
    // A default that needs other arguments may not have them here.
    if written.contains(['$', '\n']) {
        return None;
    }
    let mut edits = vec![cx.line_above(instruction, &format!("ARG {written}"))?];
    if let Some(d) = declaration.filter(|_| below) {
        let holds = |i: &&Instruction| i.span.start <= d.pair.span.start && d.pair.span.end <= i.span.end;
        let old = cx.document.instructions.iter().find(holds)?;
        let alone = matches!(&old.args, Args::ArgDefs(pairs) if pairs.len() == 1);
        edits.extend(alone.then(|| cx.whole_lines(old.span)).flatten().map(|span| cx.edit(span, "")));
    }
    let description = format!("declare `{name}` above its first use");
    Some(if below || plain { safe(description, edits) } else { needs_review(description, edits) })
}

/// `stage `build``, or `the stage of line 3`.
fn name_of(cx: &Cx<'_>, stage: usize) -> String {
    let found = cx.graph.stages.get(stage);
    match found.and_then(|s| s.name.as_ref()) {
        Some(name) => format!("stage `{name}`"),
        None => format!("the stage of line {}", found.map_or(1, |s| cx.line(s.from.span))),
    }
}
