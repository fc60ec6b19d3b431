//! What a log proves on its own: a placeholder that ships, a git context of another commit, package lists from before.

use super::cargo::Compiled;
use super::sketch::Sketch;
use super::{Build, Places, Reading, Step, finding_in_log};
use crate::cargo::timeline::{Crate, StaleBuild, Timeline};
use crate::evidence::log::StepState;
use crate::finding::{Finding, Severity};
use std::collections::HashMap;

/// Whether a line of output is worth keeping for what is looked for here.
pub fn is_telling(text: &str) -> bool {
    super::cargo::is_report(text) || commit_in(text).is_some()
}

/// Everything that a log proves. `timeline` is what the Dockerfile does with cargo, if it is at hand; `given` are the
/// build arguments that are known beside the log.
pub fn findings(
    reading: &mut Reading<'_>,
    places: &Places<'_>,
    timeline: Option<&Timeline>,
    given: &[(String, String)],
) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut updated: HashMap<String, f64> = HashMap::new();
    for build in &mut reading.builds {
        out.extend(placeholders(build, places, timeline));
        out.extend(commits(build, places, given));
        out.extend(package_lists(build, places, &mut updated));
    }
    out
}

/// cargo says `Finished` without having compiled what a placeholder stands for.
fn placeholders(build: &Build<'_>, places: &Places<'_>, timeline: Option<&Timeline>) -> Vec<Finding> {
    let of_span = |offset: u32| {
        let inside = |s: &&Step<'_>| {
            let span = places.known(s).and_then(|k| k.span);
            s.parts.keyword() == "RUN" && span.is_some_and(|span| span.start <= offset && offset < span.end)
        };
        // On several platforms each has its own.
        build.steps.iter().enumerate().filter(|(_, s)| inside(s)).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let mut out = Vec::new();
    match timeline {
        Some(timeline) if build.steps.iter().any(|s| s.place.is_some()) => {
            for stale in &timeline.stale {
                for at in of_span(stale.build.instruction.start) {
                    out.extend(placeholder(build, places, stale, at));
                }
            }
        }
        _ => {
            let Some(sketch) = Sketch::of(build) else { return out };
            for stale in &sketch.timeline.stale {
                if let Some(at) = sketch.step(stale.build.instruction.start) {
                    out.extend(placeholder(build, places, stale, at));
                }
            }
        }
    }
    out
}

fn placeholder(build: &Build<'_>, places: &Places<'_>, stale: &StaleBuild, at: usize) -> Option<Finding> {
    let step = build.steps.get(at)?;
    if step.state != StepState::Done {
        return None;
    }
    let compiled = Compiled::of(step.logged?);
    let finished = compiled.finished?;
    let left: Vec<&Crate> = stale.stale.iter().filter(|c| !was_compiled(c, &compiled)).collect();
    if left.is_empty() {
        return None;
    }
    let names: Vec<String> = left.iter().map(|c| c.title()).collect();
    let what = match names.as_slice() {
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
        [] => return None,
    };
    let message = format!(
        "this build ships the placeholder of {what}: cargo said `Finished` without compiling it, after its real source \
         was copied"
    );
    let at = ("finds nothing to compile", "no `Compiling` of it above");
    let mut finding = places.finding("placeholder-shipped", Severity::Error, message, step, at);
    let line = places.in_log(finished, "no `Compiling` of it above");
    match finding.primary.file == places.log {
        true => finding.primary = line,
        false => finding.related = vec![line],
    }
    let roots: Vec<&str> = left.iter().map(|c| c.shown.as_str()).collect();
    let plain = roots.iter().all(|r| r.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)));
    let touch =
        if plain && roots.len() < 5 { roots.join(" ") } else { "the root file of every crate".to_owned() };
    Some(
        finding
            .help(format!(
                "do not deploy this image; give the sources a new time in this RUN, before cargo builds: `touch {touch}`; \
                 `--no-cache` makes it certain, not better"
            ))
            .evidence("crates", left.iter().map(|c| c.package.clone().unwrap_or_else(|| c.shown.clone())).collect::<Vec<_>>())
            .evidence("roots", roots),
    )
}

fn was_compiled(of: &Crate, compiled: &Compiled<'_>) -> bool {
    match &of.package {
        Some(package) => compiled.has(package),
        // Which package a root file belongs to is not known: any of the project's own counts.
        None => !compiled.own.is_empty(),
    }
}

/// A git context is one commit, and a build argument names another.
fn commits(build: &Build<'_>, places: &Places<'_>, given: &[(String, String)]) -> Vec<Finding> {
    let logged = build.logged;
    let Some(source) = logged.steps.iter().find(|s| s.name.contains("] load git source ")) else {
        return Vec::new();
    };
    let address = source.name.split("] load git source ").nth(1).unwrap_or_default();
    let reference = address.split_once('#').map(|(_, r)| r.split(':').next().unwrap_or(r));
    let said = source.kept.iter().rev().find_map(|(line, text)| Some((commit_in(text)?, *line)));
    let named = reference.filter(|r| is_commit(r) && r.len() == 40).map(|r| (r, source.line));
    let Some((built, line)) = named.or(said) else { return Vec::new() };
    let shown = logged
        .command
        .iter()
        .flat_map(|c| c.build_args.iter().chain(&c.labels).map(move |pair| (pair, Some(c.line))));
    let all = given.iter().map(|pair| (pair, None)).chain(shown);
    let mut seen: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    for ((name, value), at) in all {
        let value = value.trim();
        if seen.contains(&name.as_str()) || !is_commit(value) || !names_commit(name) {
            continue;
        }
        seen.push(name);
        if built.starts_with(&value.to_ascii_lowercase()) {
            continue;
        }
        let short = |commit: &str| commit.get(..12).unwrap_or(commit).to_owned();
        let message = format!(
            "the image says that it is commit {} ({name}), and was built from commit {}: its build context is the git \
             address in the log, not what was checked out",
            short(value),
            short(built)
        );
        let label = places.in_log(line, "the commit that was built");
        let mut finding = finding_in_log("commit-mismatch", Severity::Error, message, label)
            .help(
                "give the directory as build context (`.`, or `context: .` in a workflow step), or the same commit in \
                 both places",
            )
            .evidence("built", built)
            .evidence("argument", name)
            .evidence("value", value)
            .evidence("context", address);
        if let Some(at) = at {
            finding.related.push(places.in_log(at, format!("`{name}` names another one")));
        }
        let declared = declaring(build, places, name);
        finding.related.extend(declared);
        out.push(finding);
    }
    out
}

/// The steps that a wrong commit reaches: the copies from the context.
fn declaring(build: &Build<'_>, places: &Places<'_>, _name: &str) -> Vec<crate::finding::Label> {
    let copies = build.steps.iter().filter(|s| matches!(s.parts.keyword(), "COPY" | "ADD"));
    let from_context = copies.filter(|s| !s.parts.text.contains("--from=") && !s.parts.text.contains("://"));
    from_context.filter_map(|s| places.in_dockerfile(s, "copies the files of that commit")).take(3).collect()
}

/// 7 to 40 hexadecimal digits, not all of them decimal ones (a date), unless there are 40.
fn is_commit(text: &str) -> bool {
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    hex && ((7..=40).contains(&text.len()) && text.bytes().any(|b| b.is_ascii_alphabetic())
        || text.len() == 40)
}

/// A whole commit at the beginning of a line that git printed: alone, or as `ls-remote` shows it.
fn commit_in(text: &str) -> Option<&str> {
    let first = text.split_whitespace().next()?;
    let alone = text.trim() == first || text.contains("\trefs/") || text.contains("\tHEAD");
    (alone && first.len() == 40 && is_commit(first) && !first.bytes().any(|b| b.is_ascii_uppercase()))
        .then_some(first)
}

/// Whether an argument says which commit of the project is built: all its words are general ones, and one of them means
/// a commit. `RUST_COMMIT` pins something else.
fn names_commit(name: &str) -> bool {
    const MEANS: [&str; 9] =
        ["COMMIT", "SHA", "SHA1", "REV", "REVISION", "REF", "HASH", "COMMITHASH", "GITSHA"];
    const GENERAL: [&str; 24] = [
        "GIT",
        "VCS",
        "BUILD",
        "SOURCE",
        "SRC",
        "APP",
        "CI",
        "GITHUB",
        "GITLAB",
        "HEAD",
        "IMAGE",
        "REPO",
        "ID",
        "VERSION",
        "SHORT",
        "FULL",
        "CURRENT",
        "LAST",
        "SCM",
        "DRONE",
        "CIRCLE",
        "BITBUCKET",
        "SERVICE",
        "RELEASE",
    ];
    if name == "org.opencontainers.image.revision" || name == "org.label-schema.vcs-ref" {
        return true;
    }
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(['_', '-', '.']).filter(|w| !w.is_empty()).collect();
    let means = |w: &&str| MEANS.contains(w);
    words.iter().any(means) && words.iter().all(|w| means(w) || GENERAL.contains(w))
}

/// Package lists that were fetched by another build: how old they are, if the log has that build too.
fn package_lists(
    build: &mut Build<'_>,
    places: &Places<'_>,
    updated: &mut HashMap<String, f64>,
) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut remarks = Vec::new();
    for (at, step) in build.steps.iter().enumerate() {
        let Some(command) =
            Some(step).filter(|s| s.parts.keyword() == "RUN").and_then(|s| updates(&s.parts.text))
        else {
            continue;
        };
        let ended = step.logged.and_then(|l| l.ended);
        match step.state {
            StepState::Done => {
                if let Some(ended) = ended {
                    updated.insert(step.name.clone(), ended);
                }
            }
            StepState::Cached => {
                let known = updated.get(&step.name).zip(ended);
                let Some((then, now)) = known.filter(|(then, now)| *then <= now) else {
                    remarks.push((
                        at,
                        format!(
                            "its `{command}` is as old as the build that ran it; this log does not say when"
                        ),
                    ));
                    continue;
                };
                let age = now - then;
                let message = format!(
                    "the package lists of this image are {} old: `{command}` was CACHED, and ran last in an earlier \
                     build of this log",
                    shown_age(age)
                );
                let at = ("reused", "CACHED");
                #[allow(clippy::cast_possible_truncation)]
                let seconds = age.round() as i64;
                let finding = places.finding("old-package-lists", Severity::Info, message, step, at);
                out.push(finding.evidence("seconds", seconds).help(
                    "that is right as long as nothing needs newer packages; a build argument above this RUN that changes \
                     every week bounds the age",
                ));
            }
            _ => {}
        }
    }
    for (at, remark) in remarks {
        if let Some(step) = build.steps.get_mut(at) {
            step.remark.get_or_insert(remark);
        }
    }
    out
}

/// The command in a RUN that fetches package lists.
fn updates(text: &str) -> Option<&'static str> {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || ";&|()\"'`".contains(c)).collect();
    let near = |program: &str, verb: &str| {
        words.iter().enumerate().any(|(at, w)| {
            *w == program
                && words.iter().skip(at + 1).take(6).take_while(|w| !w.is_empty()).any(|w| *w == verb)
        })
    };
    [
        ("apt-get", "update", "apt-get update"),
        ("apt", "update", "apt update"),
        ("apk", "update", "apk update"),
    ]
    .into_iter()
    .find(|(program, verb, _)| near(program, verb))
    .map(|(_, _, shown)| shown)
}

fn shown_age(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 120.0 => (s, "second"),
        s if s < 7200.0 => (s / 60.0, "minute"),
        s if s < 172_800.0 => (s / 3600.0, "hour"),
        s => (s / 86_400.0, "day"),
    };
    #[allow(clippy::cast_possible_truncation)]
    let whole = value.round() as i64;
    if whole == 1 { format!("1 {unit}") } else { format!("{whole} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_name_the_commit_are_told_from_pins_of_something_else() {
        for name in [
            "BUILD_COMMIT",
            "GIT_SHA",
            "VCS_REF",
            "commit",
            "SOURCE_COMMIT",
            "CI_COMMIT_SHORT_SHA",
            "REVISION",
        ] {
            assert!(names_commit(name), "{name}");
        }
        for name in ["RUST_COMMIT", "LLVM_REVISION", "VERSION", "BUILD_ID", "NGINX_SHA", "TOKEN"] {
            assert!(!names_commit(name), "{name}");
        }
        assert!(is_commit("f41d5b2") && !is_commit("20240131") && !is_commit("main") && !is_commit("f41d5"));
    }

    #[test]
    fn lists_are_updated_by_the_commands_of_package_managers() {
        assert_eq!(updates("RUN apt-get -qq update && apt-get install -y x"), Some("apt-get update"));
        assert_eq!(updates("RUN (apk update;x)"), Some("apk update"));
        assert_eq!(updates("RUN echo update"), None);
        assert_eq!(updates("RUN apt-get install x; npm update"), None);
    }
}
