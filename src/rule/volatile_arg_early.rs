//! Arguments with another value for every build, in the keys of steps that do not need them.

use super::early::{self, Text, Watch};
use super::{Cx, Rule};
use crate::build::model::{Arg, ArgOrigin};
use crate::finding::Finding;

/// See `rules/volatile-arg-early.md`.
pub(super) const RULE: Rule =
    Rule { name: "volatile-arg-early", page: include_str!("../../rules/volatile-arg-early.md"), check };

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let watch = Watch {
        wanted: &|_, arg| is_volatile(cx, arg),
        slow: &|_, script| early::fetches(script),
        like: &|_| false,
    };
    let what = Text {
        effect: "every build with another value runs it and all below it again",
        label: "another value for every build",
    };
    findings.extend(early::groups(cx, &watch).iter().filter_map(|g| early::finding(&RULE, cx, g, &what)));
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

/// Words of a name that stand for the project, or for what builds it.
const PROJECT: &[&str] = &[
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
];
/// Words that stand for one moment or one run.
const MOMENT: &[&str] = &[
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
];
/// Words that stand for a state of the source.
const STATE: &[&str] = &["SHA", "SHA1", "HASH", "REF", "REV", "REVISION", "COMMIT", "BRANCH", "TAG", "TAGS"];
/// Words that say more of one of these.
const DETAIL: &[&str] = &[
    "VERSION", "AUTHOR", "MESSAGE", "PIPELINE", "JOB", "WORKFLOW", "NAME", "FULL", "LAST", "DOCKER", "STAMP",
    "EPOCH", "UTC", "ISO",
];

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
    let project = any(PROJECT);
    let plain = words.len() == 1;
    let moment = any(MOMENT);
    let state = any(STATE);
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
    let is_known = |word: &str| [PROJECT, MOMENT, STATE, DETAIL].iter().any(|list| list.contains(&word));
    // One word may be the project's own.
    words.iter().filter(|w| !is_known(w)).count() > 1
        || (words.iter().any(|w| !is_known(w))
            && !words.iter().any(|w| {
                matches!(*w, "DATE" | "TIME" | "TIMESTAMP" | "NUMBER" | "COMMIT" | "BUILD" | "GIT" | "VCS")
            }))
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
