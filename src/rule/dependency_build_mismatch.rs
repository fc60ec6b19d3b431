//! Dependencies of a Rust project that are compiled ahead, in a way that the build of the source cannot use.

use super::{Cx, Finding, Rule, words};
use crate::cargo::timeline::{Difference, Final, Prepared};

/// See `rules/dependency-build-mismatch.md`.
pub(super) const RULE: Rule = Rule {
    name: "dependency-build-mismatch",
    page: include_str!("../../rules/dependency-build-mismatch.md"),
    check,
};

/// Differences that a message names.
const NAMED: usize = 3;

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for prepared in &cx.cargo().prepared {
        // One build that can use it is what it is for.
        if prepared.finals.iter().all(|f| !f.differences.is_empty())
            && let Some(last) = prepared.finals.first()
        {
            findings.push(finding(cx, prepared, last));
        }
    }
}

fn finding(cx: &Cx<'_>, prepared: &Prepared, last: &Final) -> Finding {
    let command = words::shortened(&words::joined(&cx.file.text(prepared.build.span)), 60);
    let line = cx.line(last.build.span);
    // Options are no part of the results of all crates.
    let some = last.differences.iter().all(|d| d.what == "the options");
    let list: Vec<String> = last.differences.iter().take(NAMED).map(said).collect();
    let message = format!(
        "`{command}` compiles dependencies that the build on line {line} cannot use: {}; cargo compiles {} again after every \
         edit of the source",
        list.join("; "),
        if some { "those that this changes" } else { "all of them" },
    );
    let differences: Vec<&str> = last.differences.iter().map(|d| d.what.as_str()).collect();
    Finding::at(&RULE, cx, prepared.build.span, message)
        .label("compiles what is not used")
        .also(last.build.span, "compiles the dependencies again")
        .help(format!("give both commands the same {}", same(&last.differences)))
        .evidence("differences", differences)
        .evidence("build_line", line)
}

fn said(difference: &Difference) -> String {
    let shown = |text: &str| match text {
        "" => "nothing".to_owned(),
        text => format!("`{text}`"),
    };
    let Difference { what, ahead, last } = difference;
    match what.as_str() {
        "the options" => match (ahead.as_str(), last.as_str()) {
            ("", last) => format!("it is built with `{last}` there only"),
            (ahead, "") => format!("`{ahead}` is here only"),
            (ahead, last) => format!("`{ahead}` is here, `{last}` there"),
        },
        _ => format!("{what} is {} here and {} there", shown(ahead), shown(last)),
    }
}

fn same(differences: &[Difference]) -> String {
    let names: Vec<String> = differences
        .iter()
        .map(|d| match d.what.strip_prefix("the ") {
            Some(what) => what.to_owned(),
            None => format!("{}: set it with ENV above both", d.what),
        })
        .collect();
    names.join(", ")
}
