//! `ARG TARGETARCH=amd64` in a stage: the default takes the place of the value that BuildKit provides (`dispatchArg` in
//! `dockerfile2llb/convert.go`: the automatic value is asked for only where there is neither a given value nor a default).

use super::platform_arg_missing::MACHINE;
use super::variables;
use super::{Cx, Finding, Rule};
use crate::build::model::{Action, ArgOrigin};
use crate::syntax::{Args, Keyword};

/// See `rules/platform-arg-default.md`.
pub(super) const RULE: Rule =
    Rule { name: "platform-arg-default", page: include_str!("../../rules/platform-arg-default.md"), check };

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for stage in &cx.model.stages {
        for (number, step) in stage.steps.iter().enumerate() {
            let (Action::Arg(args), Args::ArgDefs(pairs)) = (&step.action, &step.instruction.args) else {
                continue;
            };
            for (arg, pair) in args.iter().zip(pairs) {
                let own = arg.value.as_deref().is_some_and(|v| !v.is_empty());
                let constant = pair.value.as_ref().is_some_and(|v| !v.text.contains('$'));
                if !MACHINE.contains(&arg.name.as_str())
                    || arg.origin != ArgOrigin::Default
                    || !own
                    || !constant
                {
                    continue;
                }
                let later = stage.steps.get(number + 1..).unwrap_or_default();
                let used = later.iter().find_map(|s| {
                    let script =
                        variables::script(cx, s).map(|t| variables::read_by(cx, t)).unwrap_or_default();
                    let found = script.into_iter().chain(variables::expanded_in(cx, s.instruction));
                    let found: Vec<_> = found.filter(|r| r.name == arg.name).collect();
                    found.first().filter(|_| s.instruction.keyword != Keyword::Label).map(|r| r.span)
                });
                let Some(used) = used else { continue };
                let value = arg.value.as_deref().unwrap_or_default();
                let name = &arg.name;
                let message = format!(
                    "`{name}` is `{value}` for every platform: a default inside a stage takes the place of the value that \
                     BuildKit provides, so line {} uses `{value}` in the images of the others too",
                    cx.line(used)
                );
                findings.push(
                    Finding::at(&RULE, cx, pair.span, message)
                        .label("replaces the value for the target")
                        .also(used, "uses it")
                        .help(format!("declare it without a default: `ARG {name}`"))
                        .evidence("argument", name)
                        .evidence("default", value),
                );
            }
        }
    }
}
