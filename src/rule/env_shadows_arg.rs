//! An ARG over an ENV of the same name: the build sees the argument, the image keeps the ENV.
//!
//! In BuildKit the later line wins for what runs during the build; the image configuration knows ENV only.

use super::variables;
use super::{Cx, Rule, words};
use crate::build::model::{Action, Step};
use crate::build::state::is_secret;
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::{Args, Instruction, Pair};
use std::collections::HashSet;

/// See `rules/env-shadows-arg.md`.
pub(super) const RULE: Rule =
    Rule { name: "env-shadows-arg", page: include_str!("../../rules/env-shadows-arg.md"), check };

/// Steps that are named beside the first one.
const NAMED: usize = 3;

/// Characters in front of a name in which code says where it looks: `System.getenv().getOrDefault("`.
const ASKING: usize = 32;

/// Variables that are about the build alone, so that nobody minds what the image says.
const BUILD_ONLY: &[&str] = &["DEBIAN_FRONTEND", "DEBCONF_NONINTERACTIVE_SEEN", "UCF_FORCE_CONFOLD", "PATH"];

/// An ARG and the ENV above it.
struct Shadow<'m, 'a> {
    name: &'a str,
    /// The ARG.
    arg: &'a Pair,
    /// The ENV in effect above it, and its value.
    env: Span,
    kept: String,
    env_stage: usize,
    /// What runs, or is expanded, with the argument.
    uses: Vec<(Span, &'m Step<'a>)>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        if !cx.ends(stage.index) {
            continue;
        }
        let mut shadows = Vec::new();
        // All that ends in this image: the stages that it continues, and those from which it takes files.
        for other in &cx.model.stages {
            if other.index == stage.index || cx.graph.reaches(stage.index, other.index) {
                shadows.extend(shadows_in(cx, other.index));
            }
        }
        let lineage = cx.graph.lineage(stage.index);
        for shadow in shadows {
            let own =
                |step: &&Step<'_>| step.instruction.span.start > shadow.env.start && sets(step, shadow.name);
            // Another ENV below decides for the image, and it follows the argument or is meant.
            let kept = lineage.contains(&shadow.env_stage)
                && !cx.model.lineage_steps(stage.index).any(|step| own(&step));
            if kept && told.insert(shadow.arg.span) {
                findings.extend(finding(cx, &shadow));
            }
        }
    }
}

fn sets(step: &Step<'_>, name: &str) -> bool {
    matches!(&step.action, Action::Env(pairs) if pairs.iter().any(|(n, _)| n == name))
}

/// The ARGs of one stage that stand over an ENV, with what sees them.
fn shadows_in<'m, 'a>(cx: &'m Cx<'a>, stage: usize) -> Vec<Shadow<'m, 'a>> {
    let mut out: Vec<Shadow<'m, 'a>> = Vec::new();
    let mut open: Vec<Shadow<'m, 'a>> = Vec::new();
    let mut env: Vec<(&'a str, Span, usize)> = Vec::new();
    for step in cx.model.lineage_steps(stage) {
        let instruction: &'a Instruction = step.instruction;
        match (&step.action, &instruction.args) {
            (Action::Env(_), Args::Pairs { pairs, .. }) => {
                for pair in pairs {
                    let name = pair.key.text.as_str();
                    env.retain(|(n, ..)| *n != name);
                    env.push((name, pair.span, step.stage));
                    out.extend(open.extract_if(.., |s| s.name == name));
                }
            }
            (Action::Arg(_), Args::ArgDefs(pairs)) if step.stage == stage => {
                for pair in pairs.iter().filter(|p| !BUILD_ONLY.contains(&p.key.text.as_str())) {
                    let name = pair.key.text.as_str();
                    let Some((_, span, env_stage)) = env.iter().find(|(n, ..)| *n == name) else { continue };
                    let config = step.state.config_env.iter().find(|(n, _)| n == name);
                    let kept = config.map(|(_, v)| v.clone()).unwrap_or_default();
                    open.push(Shadow {
                        name,
                        arg: pair,
                        env: *span,
                        kept,
                        env_stage: *env_stage,
                        uses: Vec::new(),
                    });
                }
            }
            _ => {}
        }
        for shadow in &mut open {
            if let Some(span) = sees(cx, step, shadow) {
                shadow.uses.push((span, step));
            }
        }
    }
    out.append(&mut open);
    out.retain(|s| !s.uses.is_empty());
    out
}

/// Where a step depends on the argument: it names it, or runs with it in the environment.
fn sees(cx: &Cx<'_>, step: &Step<'_>, shadow: &Shadow<'_, '_>) -> Option<Span> {
    if step.instruction.span.start < shadow.arg.span.start {
        return None;
    }
    let named = variables::expanded_in(cx, step.instruction).into_iter();
    let in_shell = variables::script(cx, step).map(|s| variables::read_by(cx, s)).unwrap_or_default();
    let found = named.chain(in_shell).find(|r| r.name == shadow.name);
    match (&step.action, found) {
        // Its own default may name it.
        (Action::Arg(_), _) => None,
        (_, Some(reading)) => Some(reading.span),
        (Action::Run(_), None) if read_by_tools(shadow.name) || asked_by_code(step, shadow.name) => {
            Some(step.instruction.keyword_span)
        }
        _ => None,
    }
}

/// Whether code within a RUN asks the environment for a variable: `getenv("NAME")`, `os.environ["NAME"]`,
/// `process.env.NAME`, `printenv NAME`.
fn asked_by_code(step: &Step<'_>, name: &str) -> bool {
    let text = step.instruction.text.to_str();
    let bodies = step.instruction.heredocs.iter().map(|h| String::from_utf8_lossy(&h.body));
    std::iter::once(text).chain(bodies).any(|text| {
        text.match_indices(name).any(|(at, _)| {
            let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let before = text.get(..at).unwrap_or_default();
            let after = text.get(at + name.len()..).unwrap_or_default();
            let whole = !before.ends_with(part_of_word)
                && !after.starts_with(part_of_word)
                // `env NAME=value` gives it another one.
                && !after.starts_with('=');
            let start = before.char_indices().rev().nth(ASKING - 1).map_or(0, |(n, _)| n);
            let asks = before.get(start..).unwrap_or_default().to_ascii_lowercase();
            let asks = asks.rsplit([';', '\n', '&', '|']).next().unwrap_or_default();
            whole && asks.contains("env")
        })
    })
}

/// Whether tools read a variable of that name without being told to.
fn read_by_tools(name: &str) -> bool {
    let ends =
        ["_ENV", "FLAGS", "_OPTS", "_OPTIONS", "_ENVIRONMENT", "_SETTINGS_MODULE", "_PROFILE", "_CONFIG"];
    ends.iter().any(|end| name.ends_with(end))
}

fn finding(cx: &Cx<'_>, shadow: &Shadow<'_, '_>) -> Option<Finding> {
    let Shadow { name, arg, .. } = shadow;
    let kept = if is_secret(name) { "…" } else { shadow.kept.as_str() };
    // A step that names it says more than one that merely runs.
    let names = |(span, step): &&(Span, &Step<'_>)| *span != step.instruction.keyword_span;
    let first = shadow.uses.iter().find(names).or(shadow.uses.first())?;
    let given = match &arg.value {
        Some(default) if !is_secret(name) => {
            format!("`{}` or what `--build-arg {name}=…` says", default.text)
        }
        _ => format!("what `--build-arg {name}=…` says"),
    };
    let env_line = cx.line(shadow.env);
    let message = format!(
        "`{}` runs with {given}, but the image keeps `{name}={kept}` of line {env_line}: it is built as one \
         variant and runs as another",
        words::of_instruction(first.1.instruction),
    );
    let written = cx.file.text(arg.span);
    let help = format!(
        "if the image should follow the argument, write behind it:\nARG {written}\nENV {name}=${name}\nif it is about the \
         build only, give the argument another name; if the ENV decides, drop the ARG"
    );
    let mut finding = Finding::at(&RULE, cx, arg.span, message)
        .label("wins during the build only")
        .also(shadow.env, "stays in the image")
        .help(help)
        .evidence("variable", name)
        .evidence("kept", kept)
        .evidence("env_line", env_line)
        .evidence("use_lines", shadow.uses.iter().map(|(span, _)| cx.line(*span)).collect::<Vec<_>>());
    for (span, _) in shadow.uses.iter().filter(names).take(NAMED) {
        finding = finding.also(*span, "sees the argument");
    }
    if !shadow.uses.iter().any(|u| names(&u)) {
        finding = finding.also(first.0, "runs with the argument");
    }
    Some(finding)
}
