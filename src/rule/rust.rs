//! Words that the rules about cargo share.

use crate::cargo::TargetKind;
use crate::cargo::timeline::{Build, Crate, StaleBuild};
use crate::finding::Finding;

/// More names than this are counted.
const NAMES: usize = 4;

/// `a`, `b` and 3 more.
pub(super) fn list(names: &[String]) -> String {
    let shown = if names.len() > NAMES { NAMES - 1 } else { names.len() };
    let (head, rest) = names.split_at(shown);
    match (head, rest.len()) {
        (head, more) if more > 0 => format!("{} and {more} more", head.join(", ")),
        ([head @ .., last], _) if !head.is_empty() => format!("{} and {last}", head.join(", ")),
        (head, _) => head.join(", "),
    }
}

/// Crates by what they are called.
pub(super) fn titles(crates: &[Crate]) -> String {
    list(&crates.iter().map(Crate::title).collect::<Vec<_>>())
}

/// Root files of crates.
pub(super) fn roots(crates: &[Crate]) -> String {
    list(&crates.iter().map(|c| format!("`{}`", c.shown)).collect::<Vec<_>>())
}

/// The command that gives the roots of crates a new time.
fn touch_command(crates: &[Crate]) -> String {
    let plain = |c: &Crate| c.shown.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if crates.len() <= NAMES && crates.iter().all(plain) {
        let files: Vec<&str> = crates.iter().map(|c| c.shown.as_str()).collect();
        return format!("touch {}", files.join(" "));
    }
    let mut folders: Vec<&str> = Vec::new();
    for shown in crates.iter().map(|c| c.shown.as_str()).filter(|s| !s.starts_with('/')) {
        // A root beside the manifest: `build.rs`.
        let folder = shown.split_once('/').map_or(shown, |(first, _)| first);
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    if folders.is_empty() || folders.len() > NAMES {
        folders = vec![". -not -path './target/*'"];
    }
    format!("find {} -name '*.rs' -exec touch {{}} +", folders.join(" "))
}

/// The command that removes what was compiled of these crates, if their packages are known.
fn clean_command(build: &Build, crates: &[Crate]) -> Option<String> {
    let mut words = vec!["cargo clean".to_owned()];
    match build.command.profile.as_str() {
        "release" => words.push("--release".to_owned()),
        "dev" => {}
        other => words.push(format!("--profile {other}")),
    }
    words.extend(build.command.targets.iter().map(|t| format!("--target {t}")));
    let mut packages: Vec<&str> = Vec::new();
    for package in crates.iter().map(|c| c.package.as_deref()) {
        let package = package?;
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    words.extend(packages.iter().map(|p| format!("-p {p}")));
    (!packages.is_empty() && packages.len() <= 2 * NAMES).then(|| words.join(" "))
}

/// How to make cargo compile these crates.
pub(super) fn help(build: &Build, crates: &[Crate]) -> String {
    let clean = clean_command(build, crates);
    match (build.read_only || crates.is_empty(), clean) {
        (true, Some(clean)) => format!("run `{clean}` in this RUN, before cargo builds"),
        (true, None) => "remove what was compiled of your own crates in this RUN, before cargo builds: \
                         `cargo clean --release -p NAME`, in the profile that is built"
            .to_owned(),
        (false, Some(clean)) => format!(
            "give the sources a new time in this RUN, before cargo builds: `{}`; `{clean}` works as well",
            touch_command(crates)
        ),
        (false, None) => {
            format!(
                "give the sources a new time in this RUN, before cargo builds: `{}`",
                touch_command(crates)
            )
        }
    }
}

/// Places and facts of a stale build.
pub(super) fn with_facts(mut finding: Finding, found: &StaleBuild) -> Finding {
    for span in found.written.iter().filter(|s| !overlap(**s, found.first)) {
        finding = finding.also(*span, "the placeholder is written here");
    }
    finding = finding.also(found.first, "the placeholder is compiled here");
    for span in &found.copies {
        finding =
            finding.also(*span, "brings the real source, with the time that it has in the build context");
    }
    for attempt in &found.attempts {
        let place = if overlap(attempt.span, found.build.span) { found.build.span } else { attempt.span };
        finding = finding.also(place, format!("no cure: {}", attempt.reason));
    }
    let names = |crates: &[Crate]| -> Vec<String> {
        crates.iter().map(|c| c.package.clone().unwrap_or_else(|| c.shown.clone())).collect()
    };
    let files = |crates: &[Crate]| -> Vec<String> { crates.iter().map(|c| c.root.clone()).collect() };
    finding
        .evidence("crates", names(&found.stale))
        .evidence("roots", files(&found.stale))
        .evidence("touched", files(&found.cured))
        .evidence("rescued", files(&found.rescued))
        .evidence("profile", &found.build.command.profile)
        .evidence("target_dir", &found.build.target_dir)
        .evidence("manifests_read", found.exact)
}

fn overlap(a: crate::source::Span, b: crate::source::Span) -> bool {
    a.start < b.end && b.start < a.end
}

/// A library of a package whose binary is compiled anew.
pub(super) fn loud(found: &StaleBuild) -> Option<&Crate> {
    let anew = || found.cured.iter().chain(&found.rescued);
    found.stale.iter().find(|c| {
        let folder = |c: &Crate| c.root.rsplit_once("/src/").map(|(dir, _)| dir.to_owned());
        c.kind == TargetKind::Lib
            && anew().any(|other| other.kind == TargetKind::Bin && folder(other) == folder(c))
    })
}
