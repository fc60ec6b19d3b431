//! A log beside the keys of two states: the build before, and the tree that was built.

use super::cargo::Compiled;
use super::{Build, Expected, Places, Reading, Step, finding_in_log, sent};
use crate::evidence::log::{StepState, Transfer};
use crate::finding::{Finding, Severity};
use crate::key::change::{Cause, CauseKind, Change, Comparison, PathChange};
use crate::key::saved::{Entry, State};
use std::collections::{BTreeMap, HashMap};

/// Two states, and what is known of the second beside its keys.
pub struct Compared<'c> {
    /// What the builder had built before.
    pub before: &'c State,
    /// What was built.
    pub after: &'c State,
    /// The keys of both.
    pub comparison: &'c Comparison,
    /// How the first is called: `since HEAD~1`.
    pub since: &'c str,
    /// The outline that the steps of the states stand for.
    pub outline: usize,
    /// The context as it is transferred.
    pub listed: Option<Listed>,
    /// `--no-cache` was given.
    pub no_cache: bool,
    /// Packages of cargo by their folder in the context, `""` for its root.
    pub packages: BTreeMap<String, String>,
}

/// What a client lists of a context.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Bytes of the list.
    pub bytes: u64,
    /// How many of its files carry the most common time, and how many there are.
    pub same_time: (usize, usize),
    /// The times of files, in nanoseconds since 1970.
    pub times: HashMap<String, i128>,
    /// The most common time.
    pub common: i128,
}

impl Listed {
    /// Of a view of a context.
    pub fn new(view: &crate::context::View<'_>) -> Self {
        let mut times = HashMap::new();
        let mut counts: HashMap<i128, usize> = HashMap::new();
        for entry in view.entries().filter(|e| e.is_file()) {
            *counts.entry(entry.mtime_ns).or_default() += 1;
            times.insert(entry.path.to_string(), entry.mtime_ns);
        }
        let common =
            counts.iter().max_by_key(|(time, n)| (**n, **time)).map_or((0, 0), |(time, n)| (*time, *n));
        Self { bytes: sent::list(view), same_time: (common.1, times.len()), times, common: common.0 }
    }
}

/// Says for every step what the keys expect, and finds where the log says otherwise.
pub fn findings(reading: &mut Reading<'_>, places: &Places<'_>, compared: &Compared<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    for build in &mut reading.builds {
        expect(build, compared);
        let facts = Facts::new(build, compared);
        let mut found = stale(build, places, compared, &facts);
        if found.is_empty() {
            found.extend(not_sent(build, places, compared, &facts));
        }
        out.extend(found);
        out.extend(not_compiled(build, places, compared));
        out.extend(rebuilt(build, places, compared));
    }
    out
}

fn expect(build: &mut Build<'_>, compared: &Compared<'_>) {
    let ignores = build.logged.command.as_ref().is_some_and(|c| c.no_cache);
    for step in &mut build.steps {
        let Some(place) = step.place.filter(|p| p.outline == compared.outline) else { continue };
        if !step.counts() {
            continue;
        }
        let Some(change) = compared.comparison.steps.get(place.vertex) else { continue };
        let workdir = step.parts.keyword() == "WORKDIR";
        step.expected = match (change.cached, change.sure) {
            (_, false) => Expected::Unknown,
            // The command line in the log says more than the one that was given here.
            (true, true) if ignores && !workdir => Expected::Done,
            (true, true) => Expected::Cached,
            (false, true) => Expected::Done,
        };
    }
}

/// What changed in the context, and what of it was sent.
struct Facts<'c> {
    changed: Vec<Changed<'c>>,
    transfer: Option<Transfer>,
    git: Option<String>,
}

#[derive(Clone)]
struct Changed<'c> {
    path: &'c str,
    how: Change,
    before: Option<&'c Entry>,
    after: Option<&'c Entry>,
}

impl Changed<'_> {
    /// The builder asks for its content, whatever its time: size or mode differ, or it is new.
    fn is_visible(&self) -> bool {
        match (self.before, self.after) {
            (Some(a), Some(b)) => a.1 != b.1 || a.2 != b.2 || a.3 != b.3,
            _ => true,
        }
    }

    /// The fewest bytes that its content takes on its way.
    fn bytes(&self) -> u64 {
        self.after.filter(|e| e.1 == 'f').map_or(0, |e| sent::content(e.3))
    }
}

impl<'c> Facts<'c> {
    fn new(build: &Build<'_>, compared: &Compared<'c>) -> Self {
        let entries = |state: &'c State| -> HashMap<&'c str, &'c Entry> {
            state.entries.iter().map(|e| (e.0.as_str(), e)).collect()
        };
        let (before, after) = (entries(compared.before), entries(compared.after));
        let mut changed: BTreeMap<&str, Changed<'c>> = BTreeMap::new();
        for cause in compared.comparison.steps.iter().filter_map(|s| s.cause.as_ref()) {
            for path in cause.paths.iter().filter(|_| cause.kind == CauseKind::Content) {
                let (before, after) = (before.get(path.path.as_str()), after.get(path.path.as_str()));
                changed.insert(
                    &path.path,
                    Changed {
                        path: &path.path,
                        how: path.change,
                        before: before.copied(),
                        after: after.copied(),
                    },
                );
            }
        }
        let steps = &build.logged.steps;
        let context = |name: &str| name.ends_with("load build context");
        let transfer =
            steps.iter().rev().find(|s| context(&s.name)).and_then(|s| s.transfer("context")).cloned();
        let git =
            steps.iter().find_map(|s| s.name.split_once("] load git source ")).map(|(_, a)| a.to_owned());
        Self { changed: changed.into_values().collect(), transfer, git }
    }

    fn of<'f>(&'f self, paths: &'f [PathChange]) -> impl Iterator<Item = &'f Changed<'c>> {
        self.changed.iter().filter(|c| paths.iter().any(|p| p.path == c.path))
    }
}

/// Whether changed files can have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// There was room for them.
    Maybe,
    /// Not all of them, and nothing but their time could have told the builder.
    Unseen,
    /// Not all of them, although their sizes differ: the builder knew them already.
    Known,
    /// The log does not say, or it is of another tree.
    Unknown,
}

fn sent(facts: &Facts<'_>, paths: &[PathChange], compared: &Compared<'_>) -> Sent {
    let (Some(transfer), Some(listed)) = (&facts.transfer, &compared.listed) else { return Sent::Unknown };
    if transfer.most < listed.bytes {
        return Sent::Unknown;
    }
    let room = transfer.most - listed.bytes;
    let visible: u64 = facts.changed.iter().filter(|c| c.is_visible()).map(Changed::bytes).sum();
    if room < visible {
        return Sent::Known;
    }
    let unseen: u64 = facts.of(paths).filter(|c| !c.is_visible()).map(Changed::bytes).sum();
    if room < visible + unseen { Sent::Unseen } else { Sent::Maybe }
}

/// Steps that were reused although files that they take changed.
fn stale(
    build: &mut Build<'_>,
    places: &Places<'_>,
    compared: &Compared<'_>,
    facts: &Facts<'_>,
) -> Vec<Finding> {
    let mut out: Vec<Finding> = Vec::new();
    let mut remarks = Vec::new();
    let mut known: Vec<(Vec<&str>, usize)> = Vec::new();
    let mut order: Vec<(usize, &Step<'_>)> = build.steps.iter().enumerate().collect();
    order.sort_by_key(|(at, step)| (places.known(step).and_then(|k| k.lines), *at));
    for (at, step) in order {
        if step.state != StepState::Cached || step.expected != Expected::Done {
            continue;
        }
        let Some(cause) = cause_of(step, compared) else { continue };
        if cause.step.is_some() {
            continue;
        }
        if cause.kind != CauseKind::Content || cause.paths.is_empty() {
            remarks.push((at, format!("{}, and it was reused: an earlier build had the same", cause.detail)));
            continue;
        }
        let sent = if facts.git.is_some() { Sent::Unknown } else { sent(facts, &cause.paths, compared) };
        if sent == Sent::Maybe {
            remarks.push((
                at,
                "its files changed and were sent, and it was reused: an earlier build, here or in an imported cache, had \
                 the same files"
                    .to_owned(),
            ));
            continue;
        }
        // The same files may be taken more than once.
        let paths: Vec<&str> = cause.paths.iter().map(|p| p.path.as_str()).collect();
        match known.iter().find(|(known, _)| *known == paths).and_then(|(_, at)| out.get_mut(*at)) {
            Some(found) => {
                let line = step.logged.map_or(0, |l| l.end_line);
                found.related.extend(places.in_dockerfile(step, "takes it as well, and was not made anew"));
                found.related.push(places.in_log(line, "was not made anew"));
            }
            None => {
                known.push((paths, out.len()));
                out.push(stale_step(step, cause, sent, places, compared, facts));
            }
        }
    }
    for (at, remark) in remarks {
        if let Some(step) = build.steps.get_mut(at) {
            step.remark = Some(remark);
        }
    }
    out
}

fn cause_of<'c>(step: &Step<'_>, compared: &Compared<'c>) -> Option<&'c Cause> {
    let vertex = step.place.filter(|p| p.outline == compared.outline)?.vertex;
    compared.comparison.steps.get(vertex)?.cause.as_ref()
}

fn stale_step(
    step: &Step<'_>,
    cause: &Cause,
    sent: Sent,
    places: &Places<'_>,
    compared: &Compared<'_>,
    facts: &Facts<'_>,
) -> Finding {
    let files = names(&cause.paths.iter().map(|p| p.path.as_str()).collect::<Vec<_>>());
    let verb = if cause.paths.len() == 1 { "differs" } else { "differ" };
    let since = compared.since;
    let what = clipped(&step.parts.text);
    let mut message = format!("`{what}` was CACHED although {files} {verb} {since}");
    let severity = if sent == Sent::Known { Severity::Warning } else { Severity::Error };
    let (mechanism, help) = match (sent, &facts.git) {
        (_, Some(address)) => (
            "git-context",
            format!(
                "the build context in the log is {}, not this directory: what was built is that commit",
                clipped(address)
            ),
        ),
        (Sent::Unseen, _) => {
            message.push_str(if cause.paths.len() == 1 {
                ": the builder did not ask for it, because its size and time are those of the copy that it has, so the \
                 image holds the old one"
            } else {
                ": the builder did not ask for them, because their size and time are those of the copy that it has, so \
                 the image holds the old ones"
            });
            (
                "equal-size-and-time",
                "touch these files and build again, or let the builder forget its copy (`docker builder prune --filter \
                 type=source.local`); `--no-cache` does not help. Do not set the times of files to a constant before a \
                 build on a builder that lasts"
                    .to_owned(),
            )
        }
        (Sent::Known, _) => (
            "baseline-too-old",
            "the builder did not ask for files whose size changed, so it had them already: if it has built this tree \
             before, CACHED is right, and the state of that build is the one to compare with. Compare the image with the \
             tree to be sure"
                .to_owned(),
        ),
        (Sent::Unknown | Sent::Maybe, _) => (
            "unknown",
            "if the builder, or the cache that it imports, has built this tree before, CACHED is right; otherwise the image \
             holds the old files. Compare the image with the tree"
                .to_owned(),
        ),
    };
    let at = (if cause.paths.len() == 1 { "takes it" } else { "takes them" }, "was not made anew");
    let paths: Vec<serde_json::Value> = cause
        .paths
        .iter()
        .take(1000)
        .map(|p| serde_json::json!({"path": p.path, "change": p.change.name(), "before": p.before, "after": p.after}))
        .collect();
    let mut finding = places.finding("cached-although-changed", severity, message, step, at);
    if let Some(transfer) = &facts.transfer {
        finding.related.push(places.in_log(transfer.line, "too little to hold them").clone());
        if sent != Sent::Unseen && sent != Sent::Known {
            finding.related.pop();
        }
        finding = finding.evidence("transferred", transfer.most);
    }
    if let Some(listed) = &compared.listed {
        finding = finding.evidence("list", listed.bytes);
        let constant = cause.paths.iter().all(|p| listed.times.get(&p.path) == Some(&listed.common));
        if constant && listed.same_time.0 > 2 && listed.same_time.0 * 2 > listed.same_time.1 {
            finding = finding.evidence("files_with_the_same_time", listed.same_time.0);
        }
    }
    for path in cause.paths.iter().take(5) {
        finding = finding.also_file(path.path.clone(), path.change.name());
    }
    finding.help(help).evidence("paths", paths).evidence("mechanism", mechanism)
}

/// Nothing was reused wrongly, and still a changed file did not reach the builder (`--no-cache` makes such builds).
fn not_sent(
    build: &Build<'_>,
    places: &Places<'_>,
    compared: &Compared<'_>,
    facts: &Facts<'_>,
) -> Option<Finding> {
    if facts.git.is_some()
        || !build.steps.iter().any(|s| s.place.is_some_and(|p| p.outline == compared.outline))
    {
        return None;
    }
    let (transfer, listed) = (facts.transfer.as_ref()?, compared.listed.as_ref()?);
    if transfer.most < listed.bytes || facts.changed.is_empty() {
        return None;
    }
    let room = transfer.most - listed.bytes;
    let sum = |visible: bool| {
        facts.changed.iter().filter(|c| c.is_visible() == visible).map(Changed::bytes).sum::<u64>()
    };
    let (visible, unseen) = (sum(true), sum(false));
    // If what the builder must have asked for was not sent, it was there: this is not its first build of the tree.
    if room < visible || room >= visible + unseen {
        return None;
    }
    let left: Vec<&str> = facts
        .changed
        .iter()
        .filter(|c| !c.is_visible() && c.how == Change::Modified)
        .map(|c| c.path)
        .collect();
    if left.is_empty() {
        return None;
    }
    let files = names(&left);
    let message = format!(
        "{files} changed {} and did not reach the builder: the context transfer of {} B has room for the list of files and \
         {room} B of content. The builder took its own copy, which has the same size and time, also where a step was made \
         anew",
        compared.since, transfer.most
    );
    let label = places.in_log(transfer.line, "too little to hold them");
    let mut finding = finding_in_log("context-not-sent", Severity::Error, message, label)
        .help(
            "touch these files and build again, or let the builder forget its copy (`docker builder prune --filter \
             type=source.local`); `--no-cache` does not help",
        )
        .evidence("paths", &left)
        .evidence("transferred", transfer.most)
        .evidence("list", listed.bytes)
        .evidence("mechanism", "equal-size-and-time");
    for path in left.iter().take(5) {
        finding = finding.also_file((*path).to_owned(), "modified");
    }
    Some(finding)
}

/// Sources of a package changed and were copied, and cargo did not compile it.
fn not_compiled(build: &Build<'_>, places: &Places<'_>, compared: &Compared<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    if compared.packages.is_empty() {
        return out;
    }
    let parents = |vertex: usize| compared.after.steps.get(vertex).map(|s| &s.inputs);
    for step in build.steps.iter().filter(|s| s.state == StepState::Done && s.parts.keyword() == "RUN") {
        let (Some(logged), Some(place)) = (step.logged, step.place.filter(|p| p.outline == compared.outline))
        else {
            continue;
        };
        let compiled = Compiled::of(logged);
        let Some(finished) = compiled.finished else { continue };
        // Down to the copies that this step stands on; an earlier build among them may have done the work.
        let mut open: Vec<usize> = parents(place.vertex).into_iter().flatten().map(|i| i.step).collect();
        let mut seen = std::collections::BTreeSet::new();
        let mut packages: BTreeMap<&str, &str> = BTreeMap::new();
        let made = |vertex: usize| {
            build
                .steps
                .iter()
                .find(|s| s.place.is_some_and(|p| p.outline == place.outline && p.vertex == vertex))
        };
        while let Some(vertex) = open.pop() {
            if !seen.insert(vertex) {
                continue;
            }
            open.extend(parents(vertex).into_iter().flatten().map(|i| i.step));
            let Some(copy) = made(vertex).filter(|s| matches!(s.parts.keyword(), "COPY" | "ADD")) else {
                continue;
            };
            let Some(cause) = cause_of(copy, compared).filter(|c| c.kind == CauseKind::Content) else {
                continue;
            };
            for path in cause.paths.iter().filter(|p| is_source(&p.path) && p.change != Change::Removed) {
                if let Some(package) = package_of(&path.path, &compared.packages) {
                    packages.insert(package, &path.path);
                }
            }
        }
        let earlier = |package: &str| {
            seen.iter().filter_map(|v| made(*v)?.logged).any(|l| Compiled::of(l).has(package))
        };
        // A command for some packages leaves the others alone.
        let narrow = step.parts.text.contains(" -p ") || step.parts.text.contains("--package");
        for (package, path) in
            packages.into_iter().filter(|(p, _)| !compiled.has(p) && !earlier(p) && !narrow)
        {
            let message = format!(
                "cargo said `Finished` without compiling `{package}`, although {path} differs {}: the image holds what was \
                 compiled before",
                compared.since
            );
            let at = ("finds nothing to compile", "no `Compiling` of it above");
            let mut finding =
                places.finding("changed-source-not-compiled", Severity::Error, message, step, at);
            if let Some(line) = finding.related.first_mut() {
                *line = places.in_log(finished, "no `Compiling` of it above");
            }
            out.push(
                finding
                    .help(
                        "cargo compares times: give the sources a new one in this RUN, before it builds \
                         (`find . -name '*.rs' -exec touch {} +`)",
                    )
                    .evidence("package", package)
                    .evidence("path", path),
            );
        }
    }
    out
}

fn is_source(path: &str) -> bool {
    path.ends_with(".rs") && (path.contains("src/") || path.ends_with("build.rs"))
}

/// The package of the nearest folder that has one.
fn package_of<'p>(path: &str, packages: &'p BTreeMap<String, String>) -> Option<&'p str> {
    let mut folder = path;
    loop {
        folder = folder.rsplit_once('/').map_or("", |(folder, _)| folder);
        if let Some(package) = packages.get(folder) {
            return Some(package);
        }
        if folder.is_empty() {
            return None;
        }
    }
}

/// The first step that was made although nothing in its key changed, and why.
fn rebuilt(build: &mut Build<'_>, places: &Places<'_>, compared: &Compared<'_>) -> Option<Finding> {
    let anew = |s: &Step<'_>| s.state == StepState::Done && s.expected == Expected::Cached && !s.parts.link;
    let at = build.steps.iter().position(anew)?;
    let count = build.steps.iter().filter(|s| anew(s)).count();
    let reason = reason(build, compared);
    for step in &mut build.steps {
        if anew(step) {
            step.remark.get_or_insert_with(|| format!("nothing in its key changed: {reason}"));
        }
    }
    let step = build.steps.get(at)?;
    let what = clipped(&step.parts.text);
    let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    let message =
        format!("`{what}`{more} ran again although nothing in its key changed {}: {reason}", compared.since);
    let at = ("ran again", "was made anew");
    Some(places.finding("rebuilt-without-change", Severity::Info, message, step, at).evidence("steps", count))
}

/// Why a step is made anew that could be reused.
fn reason(build: &Build<'_>, compared: &Compared<'_>) -> String {
    let logged = &build.logged.steps;
    if compared.no_cache || build.logged.command.as_ref().is_some_and(|c| c.no_cache) {
        return "`--no-cache` was given".to_owned();
    }
    let counted = || build.steps.iter().filter(|s| s.counts() && s.logged.is_some());
    let import = logged.iter().filter(|s| s.name.starts_with("importing cache"));
    if let Some(error) = import.clone().find_map(|s| s.error.as_deref()) {
        return format!("the cache could not be imported ({})", clipped(error));
    }
    let unpacked = logged.iter().any(|s| s.name.contains(" FROM ") && s.unpacked);
    let nothing = counted().all(|s| s.state != StepState::Cached);
    let imports = import.count() > 0;
    match (nothing, unpacked, imports) {
        (true, true, true) => {
            "the builder was new, and the cache that it imported does not have these steps (it may be exported with \
             mode=min, or by a build of other arguments)"
                .to_owned()
        }
        (true, true, false) => "the builder was new or pruned: it fetched the base image too, and imports no cache".to_owned(),
        (true, false, true) => "neither the builder nor the cache that it imported has it".to_owned(),
        (true, false, false) => {
            "nothing at all was reused: the builder's cache was pruned, `--no-cache` was given, or the base image is \
             another one"
                .to_owned()
        }
        (false, ..) => {
            "its record was pruned, or the build had other arguments than those given here (`--build-arg`, `--platform`)"
                .to_owned()
        }
    }
}

/// Some names, in words.
fn names(all: &[&str]) -> String {
    match all {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        [one, two, rest @ ..] => format!("{one}, {two} and {} more", rest.len()),
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
