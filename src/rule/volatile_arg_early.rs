//! Arguments with another value for every build, in the keys of steps that do not need them.
//!
//! BuildKit puts every declared ARG that has a value into the environment, and so into the key, of each RUN below it.

use super::variables;
use super::work::{self, Work};
use super::{Cx, Rule, words};
use crate::build::model::{Action, Arg, ArgOrigin, Step};
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::shell::ShellCommand;
use crate::syntax::{Args, Keyword, Pair};
use std::collections::{BTreeMap, HashSet};

/// See `rules/volatile-arg-early.md`.
pub(super) const RULE: Rule =
    Rule { name: "volatile-arg-early", page: include_str!("../../rules/volatile-arg-early.md"), check };

/// Arguments and steps that a finding names.
const NAMED: usize = 3;

/// An argument that changes with every build.
struct Volatile<'m, 'a> {
    pair: &'a Pair,
    /// Itself and the ENV variables made from it.
    names: Vec<String>,
    /// Slow steps below it that do not need it.
    delayed: Vec<&'m Step<'a>>,
    /// The first step that names it.
    used: Option<&'m Step<'a>>,
    /// Whether nothing more can be told, because a step may use it unseen.
    closed: bool,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told: HashSet<Span> = HashSet::new();
    for stage in &cx.model.stages {
        let mut open: Vec<Volatile<'_, '_>> = Vec::new();
        for step in cx.model.lineage_steps(stage.index) {
            follow(cx, step, &mut open);
        }
        // Arguments that stand together have one cure.
        let mut groups: BTreeMap<u32, Vec<Volatile<'_, '_>>> = BTreeMap::new();
        for volatile in open {
            if let Some(first) = volatile.delayed.first()
                && told.insert(volatile.pair.span)
            {
                groups.entry(first.instruction.span.start).or_default().push(volatile);
            }
        }
        findings.extend(groups.values().filter_map(|group| finding(cx, group)));
    }
}

fn follow<'m, 'a>(cx: &Cx<'_>, step: &'m Step<'a>, open: &mut Vec<Volatile<'m, 'a>>) {
    match (&step.action, &step.instruction.args) {
        (Action::Arg(args), Args::ArgDefs(pairs)) => {
            for (pair, arg) in pairs.iter().zip(args) {
                // A second ARG of the name takes the place of the first.
                let before = open.iter().any(|v| !v.closed && v.names.contains(&arg.name));
                if !before && is_volatile(cx, arg) {
                    open.push(Volatile {
                        pair,
                        names: vec![arg.name.clone()],
                        delayed: Vec::new(),
                        used: None,
                        closed: false,
                    });
                }
            }
        }
        (Action::Env(_), Args::Pairs { pairs, .. }) => {
            let read = variables::expanded_in(cx, step.instruction);
            for volatile in open.iter_mut().filter(|v| !v.closed) {
                for pair in pairs {
                    let inside = |span: Span| pair.span.start <= span.start && span.end <= pair.span.end;
                    if read.iter().any(|r| inside(r.span) && volatile.names.contains(&r.name)) {
                        volatile.names.push(pair.key.text.clone());
                        volatile.used.get_or_insert(step);
                    }
                }
            }
        }
        (Action::Run(_), _) => run(cx, step, open),
        _ => {
            let read = variables::expanded_in(cx, step.instruction);
            for volatile in open.iter_mut().filter(|v| !v.closed) {
                if read.iter().any(|r| volatile.names.contains(&r.name)) {
                    volatile.used.get_or_insert(step);
                    // Configuration is in no key; a copy or directory is, and runs all below again.
                    volatile.closed |= !matches!(step.action, Action::Config);
                }
            }
        }
    }
}

fn run<'m, 'a>(cx: &Cx<'_>, step: &'m Step<'a>, open: &mut [Volatile<'m, 'a>]) {
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
    let slow = script.commands.iter().any(|c| work::of(c) == Work::Fetch);
    let opaque = script.commands.iter().any(|c| work::of(c) == Work::Other && !is_quiet(c));
    for volatile in open.iter_mut().filter(|v| !v.closed) {
        let named = |n: &String| {
            read.iter().chain(&mounts).any(|r| r.name == *n)
                || text.contains(n.as_str())
                || bodies.iter().any(|b| b.contains(n.as_str()))
        };
        if volatile.names.iter().any(named) {
            volatile.used.get_or_insert(step);
            volatile.closed = true;
        } else if opaque {
            volatile.closed = true;
        } else if slow {
            volatile.delayed.push(step);
        }
    }
}

/// Installers whose name tells nothing but that they install.
fn is_quiet(command: &ShellCommand) -> bool {
    let name = command.name();
    name.starts_with("install-") || name.ends_with("-install") || name == "setup-buildx"
}

/// Whether an argument has another value for every build or release, by its name and its default.
fn is_volatile(cx: &Cx<'_>, arg: &Arg) -> bool {
    if cx.settings.allows(&RULE, &arg.name) {
        return false;
    }
    if cx.settings.names(&RULE).contains(&arg.name) {
        return true;
    }
    let pinned = match arg.origin {
        ArgOrigin::Given => false,
        _ => arg.value.as_deref().is_some_and(|v| !is_placeholder(v)),
    };
    !pinned && has_volatile_name(&arg.name)
}

/// A default that stands for "not given".
fn is_placeholder(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let words = [
        "",
        "unknown",
        "dev",
        "none",
        "local",
        "latest",
        "head",
        "main",
        "master",
        "development",
        "undefined",
        "unset",
        "n/a",
        "na",
        "-",
        "0",
        "0.0.0",
        "0.0.0-dev",
        "snapshot",
        "null",
        "nil",
        "todo",
        "unspecified",
        "not-set",
        "notset",
        "dirty",
        "now",
        "v0.0.0",
        "0.0.0-unknown",
        "not set",
        "missing",
        "empty",
        "default",
        "localbuild",
        "local-build",
        "test",
        "unversioned",
        "(unknown)",
        "<unknown>",
        "custom",
        "manual",
    ];
    words.contains(&value.as_str())
        || (value.len() >= 7 && value.bytes().all(|b| b == b'0'))
        || value.starts_with("1970-01-01")
}

/// Whether a name says that the value is that of one commit, build or release of this project.
pub(super) fn has_volatile_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    // `GIT_SHA` and `GitSha` alike.
    let spaced: String = name
        .char_indices()
        .flat_map(|(at, c)| {
            let lower_before = at > 0 && name.as_bytes().get(at - 1).is_some_and(u8::is_ascii_lowercase);
            [(c.is_ascii_uppercase() && lower_before).then_some('_'), Some(c.to_ascii_uppercase())]
        })
        .flatten()
        .collect();
    let words: Vec<&str> = spaced.split(['_', '-', '.']).filter(|w| !w.is_empty()).collect();
    let has = |word: &str| words.contains(&word);
    let any = |list: &[&str]| list.iter().any(|w| has(w));
    // A cache buster is where it should be; sources of tools are pinned elsewhere.
    if upper.contains("BUST")
        || upper.contains("CACHE")
        || upper == "SOURCE_DATE_EPOCH"
        || upper.contains("CHECKSUM")
    {
        return false;
    }
    if any(&[
        "URL",
        "REPO",
        "REPOSITORY",
        "USER",
        "TOKEN",
        "HOST",
        "PATH",
        "DIR",
        "FILE",
        "ORIGIN",
        "REMOTE",
        "KEY",
    ]) {
        return false;
    }
    let project = any(&[
        "GIT",
        "VCS",
        "BUILD",
        "CI",
        "SOURCE",
        "SRC",
        "APP",
        "IMAGE",
        "PROJECT",
        "HEAD",
        "CURRENT",
        "SHORT",
        "LONG",
        "GITHUB",
        "GITLAB",
        "CIRCLE",
        "TRAVIS",
        "RELEASE",
        "VERGEN",
        "BUILDKITE",
        "DRONE",
        "JENKINS",
        "SCM",
        "HG",
        "DEPLOY",
    ]);
    let plain = words.len() == 1;
    let moment = any(&[
        "DATE",
        "TIME",
        "TIMESTAMP",
        "DATETIME",
        "CREATED",
        "NUMBER",
        "NUM",
        "NO",
        "ID",
        "RUN",
        "COUNTER",
        "DESCRIBE",
        "DIRTY",
    ]);
    let state = any(&["SHA", "SHA1", "HASH", "REF", "REV", "REVISION", "COMMIT", "BRANCH", "TAG", "TAGS"]);
    let joined = [
        "GITSHA",
        "GITCOMMIT",
        "GITREV",
        "GITHASH",
        "BUILDDATE",
        "BUILDTIME",
        "BUILDNUMBER",
        "BUILDID",
        "COMMITSHA",
        "COMMITHASH",
        "VCSREF",
        "REVISION",
    ];
    (has("COMMIT")
        && (plain || project || moment || state && words.len() > 1)
        && words.len() <= 4
        && !is_of_a_tool(&words))
        || (project && (moment || state) && !is_of_a_tool(&words))
        || (plain && any(&["SHA", "COMMIT", "REVISION", "VERSION", "RELEASE", "BUILD", "TIMESTAMP", "NOW"]))
        || (plain && joined.contains(&spaced.as_str()))
        || (words.len() == 2
            && any(&["APP", "RELEASE", "BUILD", "IMAGE", "PROJECT", "PRODUCT", "SERVICE"])
            && has("VERSION"))
}

/// Whether a name is about something that the build fetches: `NGINX_COMMIT`, `TINI_SHA`.
fn is_of_a_tool(words: &[&str]) -> bool {
    const KNOWN: &[&str] = &[
        "GIT",
        "VCS",
        "BUILD",
        "CI",
        "SOURCE",
        "SRC",
        "APP",
        "IMAGE",
        "PROJECT",
        "HEAD",
        "CURRENT",
        "SHORT",
        "LONG",
        "GITHUB",
        "GITLAB",
        "CIRCLE",
        "TRAVIS",
        "RELEASE",
        "VERGEN",
        "BUILDKITE",
        "DRONE",
        "JENKINS",
        "SCM",
        "HG",
        "DEPLOY",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "DATETIME",
        "CREATED",
        "NUMBER",
        "NUM",
        "NO",
        "ID",
        "RUN",
        "COUNTER",
        "DESCRIBE",
        "DIRTY",
        "SHA",
        "SHA1",
        "HASH",
        "REF",
        "REV",
        "REVISION",
        "COMMIT",
        "BRANCH",
        "TAG",
        "TAGS",
        "VERSION",
        "AUTHOR",
        "MESSAGE",
        "PIPELINE",
        "JOB",
        "WORKFLOW",
        "NAME",
        "FULL",
        "LAST",
        "DOCKER",
        "STAMP",
        "EPOCH",
        "UTC",
        "ISO",
    ];
    // One word may be the project's own.
    words.iter().filter(|w| !KNOWN.contains(w)).count() > 1
        || (words.iter().any(|w| !KNOWN.contains(w))
            && !words.iter().any(|w| {
                matches!(*w, "DATE" | "TIME" | "TIMESTAMP" | "NUMBER" | "COMMIT" | "BUILD" | "GIT" | "VCS")
            }))
}

fn finding(cx: &Cx<'_>, group: &[Volatile<'_, '_>]) -> Option<Finding> {
    let (first, others) = group.split_first()?;
    let (delayed, rest) = first.delayed.split_first()?;
    let names: Vec<&str> = group.iter().map(|v| v.pair.key.text.as_str()).collect();
    let one = names.len() == 1;
    let shown = words::of_instruction(delayed.instruction);
    let line = cx.line(delayed.instruction.span);
    let message = format!(
        "{} {} in the key of `{shown}` on line {line}, which does not need {}: every build with another value runs it and all \
         below it again",
        words::list(&names, NAMED),
        if one { "is" } else { "are" },
        if one { "it" } else { "them" },
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
        Some(_) => "another value for every build",
        None => "another value for every build, and nothing names it",
    };
    let mut finding = Finding::at(&RULE, cx, first.pair.span, message)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_commits_builds_and_releases_are_known() {
        let volatile = [
            "GIT_SHA",
            "COMMIT",
            "COMMIT_SHA",
            "GIT_COMMIT",
            "BUILD_DATE",
            "VCS_REF",
            "BUILD_NUMBER",
            "CI_COMMIT_SHA",
            "QW_COMMIT_DATE",
            "QW_COMMIT_HASH",
            "QW_COMMIT_TAGS",
            "VERSION",
            "APP_VERSION",
            "build_date",
            "GitCommit",
            "GITHUB_SHA",
            "BUILD_TIMESTAMP",
            "SHORT_SHA",
            "BUILDDATE",
            "REVISION",
            "BUILD_ID",
            "GITHUB_RUN_ID",
            "VERGEN_GIT_SHA",
        ];
        let still = [
            "NODE_VERSION",
            "TINI_SHA256",
            "CACHEBUST",
            "SOURCE_DATE_EPOCH",
            "NGINX_COMMIT_URL",
            "GIT_VERSION",
            "USER_ID",
            "BUILD_TYPE",
            "PORT",
            "GIT_REPO",
            "TARGETARCH",
            "DATE_FORMAT",
            "BUILD_ENV",
            "GROUP_ID",
            "UID",
            "TZ",
            "FFMPEG_HASH",
        ];
        assert_eq!(volatile.into_iter().filter(|n| !has_volatile_name(n)).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(still.into_iter().filter(|n| has_volatile_name(n)).collect::<Vec<_>>(), [""; 0]);
    }
}
