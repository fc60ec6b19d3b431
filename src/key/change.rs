//! What of a build is made anew between two states, and why.

use super::matching::{Facts, Outcome, Records, find};
use super::saved::{Entry, SavedInput, State, Step};
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::{BTreeMap, HashMap};

/// The second state, step by step.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One for each step of the second state.
    pub steps: Vec<StepChange>,
    /// What changed and is in no key.
    pub notes: Vec<Note>,
}

/// What becomes of a step.
#[derive(Clone, Debug)]
pub struct StepChange {
    /// Reused: progress says CACHED.
    pub cached: bool,
    /// False where the result of another step decides, which nobody knows before it is built.
    pub sure: bool,
    /// Why it is made anew; `None` for what is reused.
    pub cause: Option<Cause>,
    /// The step of the first state that it corresponds to.
    pub before: Option<usize>,
    /// Whether progress says CACHED on a daemon that still has the files of the first state, where that is another
    /// answer: such a daemon is not sent what has the same size and time (`tonistiigi/fsutil`, `diff_containerd.go`).
    pub warm: Option<bool>,
}

/// What has to be done again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Steps that are made anew.
    pub steps: usize,
    /// Steps of which that depends on the results of others.
    pub open: usize,
    /// Files of build contexts that these copy or mount.
    pub files: usize,
    /// Bytes of those files.
    pub bytes: u64,
}

/// Why a step is made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What kind of cause.
    pub kind: CauseKind,
    /// In words, without full stop.
    pub detail: String,
    /// Files that changed.
    pub paths: Vec<PathChange>,
    /// For a cause below: the step that it comes from.
    pub step: Option<usize>,
    /// The instruction before and now, where its words changed.
    pub words: Option<(String, String)>,
}

/// Kinds of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CauseKind {
    Content,
    Instruction,
    Arg,
    Env,
    Base,
    Parent,
    None,
}

impl CauseKind {
    /// As in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            CauseKind::Content => "content",
            CauseKind::Instruction => "instruction",
            CauseKind::Arg => "arg",
            CauseKind::Env => "env",
            CauseKind::Base => "base",
            CauseKind::Parent => "parent",
            CauseKind::None => "none",
        }
    }
}

/// A file that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// Path in the context.
    pub path: String,
    /// How.
    pub change: Change,
    /// Digest of header and content before.
    pub before: Option<String>,
    /// And now.
    pub after: Option<String>,
    /// A daemon that still has the former one does not see the difference.
    pub unseen: bool,
}

/// How a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Change {
    Modified,
    Added,
    Removed,
    Mode,
    Type,
}

impl Change {
    /// As in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Change::Modified => "modified",
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Mode => "mode",
            Change::Type => "type",
        }
    }
}

/// Something worth knowing beside what becomes of the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub kind: NoteKind,
    /// In words, without full stop.
    pub text: String,
    /// Line of the Dockerfile, if it is about one.
    pub line: Option<u32>,
}

/// Kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoteKind {
    /// It changed, and makes nothing anew.
    NoEffect,
    /// A daemon that still has the former files goes by them.
    Warm,
    /// It could not be compared, or only in part.
    Uncertain,
}

impl Note {
    /// A change without effect.
    pub fn no_effect(text: impl Into<String>) -> Self {
        Self { kind: NoteKind::NoEffect, text: text.into(), line: None }
    }

    /// Something that could not be compared.
    pub fn uncertain(text: impl Into<String>) -> Self {
        Self { kind: NoteKind::Uncertain, text: text.into(), line: None }
    }
}

impl Comparison {
    /// Compares what a builder recorded while it built `before` with what `after` asks for.
    pub fn new(before: &State, after: &State) -> Self {
        let records = Records::of_build(&before.facts());
        let facts = after.facts();
        let outcomes = find(&facts, after.result, &records, &HashMap::new());
        let pairs = counterparts(before, after);
        let mut out =
            Comparison { steps: Vec::with_capacity(after.steps.len()), notes: config_notes(before, after) };
        for (number, step) in after.steps.iter().enumerate() {
            let outcome = outcomes.get(number);
            let cached = outcome.is_some_and(|o| o.cached);
            let old = pairs.get(number).copied().flatten();
            let is_source = step.inputs.is_empty() && step.instruction.is_empty();
            let cause = if cached || is_source {
                None
            } else {
                let old_step = old.and_then(|o| before.steps.get(o));
                cause(before, after, step, old_step, outcome, &out.steps)
            };
            let sure = outcome.is_none_or(|o| o.sure);
            out.steps.push(StepChange { cached, sure, cause, before: old, warm: None });
        }
        out.warm(before, after, facts, &records);
        out.outside(before, after);
        out
    }

    /// What becomes of the steps on a daemon that still has the files of `before`: it goes by them where it sees no
    /// difference.
    fn warm(&mut self, before: &State, after: &State, mut facts: Vec<Facts>, records: &Records) {
        let mut stale: Vec<(usize, Vec<PathChange>)> = Vec::new();
        for (number, step) in after.steps.iter().enumerate() {
            let old = self.steps.get(number).and_then(|s| s.before).and_then(|o| before.steps.get(o));
            let Some(old) = old else { continue };
            for (at, (input, old)) in step.inputs.iter().zip(&old.inputs).enumerate() {
                let differs = input.content != old.content && input.selector == old.selector;
                if !differs || input.entries.is_empty() || old.entries.is_empty() {
                    continue;
                }
                let changes = changes_of(before, after, input, old);
                let total = changes.len();
                let unseen: Vec<PathChange> = changes.into_iter().filter(|c| c.unseen).collect();
                if unseen.is_empty() {
                    continue;
                }
                if unseen.len() == total
                    && let Some(fact) = facts.get_mut(number).and_then(|f| f.inputs.get_mut(at))
                {
                    fact.content.clone_from(&old.content);
                }
                stale.push((number, unseen));
            }
        }
        if stale.is_empty() {
            return;
        }
        let outcomes = find(&facts, after.result, records, &HashMap::new());
        for (step, outcome) in self.steps.iter_mut().zip(&outcomes) {
            step.warm = (step.cached != outcome.cached).then_some(outcome.cached);
        }
        for (number, unseen) in stale {
            let (Some(step), Some(change)) = (after.steps.get(number), self.steps.get(number)) else {
                continue;
            };
            let [first, rest @ ..] = unseen.as_slice() else { continue };
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            let folders = unseen.iter().all(|c| c.change == Change::Mode);
            let reason =
                if folders { "it does not compare modes of folders" } else { "size and time are equal" };
            let becomes = if change.warm == Some(true) {
                "so the step stays CACHED"
            } else {
                "and the step runs with it"
            };
            let cure = if folders { "use a new builder" } else { "touch the file, or use a new builder" };
            let text = format!(
                "a daemon that was sent the former {}{more} keeps it, as {reason}, {becomes}: {cure}",
                first.path
            );
            self.notes.push(Note { kind: NoteKind::Warm, text, line: step.line });
        }
    }

    /// What a reused RUN could read and finds changed, although it is in no key.
    fn outside(&mut self, before: &State, after: &State) {
        for (number, step) in after.steps.iter().enumerate() {
            // A step without inputs is never shown as reused, and is.
            let Some(change) = self.steps.get(number).filter(|c| c.cause.is_none()) else { continue };
            let old = change.before.and_then(|o| before.steps.get(o));
            let mut names: Vec<&String> =
                step.reads.iter().chain(old.iter().flat_map(|o| &o.reads)).collect();
            names.sort();
            names.dedup();
            for name in names {
                let (former, now) = (before.outside.get(name), after.outside.get(name));
                let Some((kind, id)) = name.split_once(' ') else { continue };
                let text = match (former, now) {
                    (Some(a), Some(b)) if a != b => format!("the {kind} `{id}` is another one"),
                    // Who says nothing of a secret may have it all the same.
                    (None, Some(_)) if kind == "proxy" => format!("the proxy {id} is new"),
                    (Some(_), None) if kind == "proxy" => format!("the proxy {id} is gone"),
                    _ => continue,
                };
                let text = format!("{text} and in no key: the step keeps what it made with the former one");
                self.notes.push(Note { line: step.line, ..Note::no_effect(text) });
            }
        }
    }

    /// What has to be done again: in all, and because of each step without counting itself.
    pub fn costs(&self, after: &State) -> (Cost, HashMap<usize, Cost>) {
        let mut all = Cost::default();
        let mut by_origin: HashMap<usize, Cost> = HashMap::new();
        let mut origins: Vec<usize> = Vec::with_capacity(self.steps.len());
        for (number, (step, change)) in after.steps.iter().zip(&self.steps).enumerate() {
            let parent = change.cause.as_ref().and_then(|c| c.step);
            // A parent is always an earlier step.
            let origin = parent.and_then(|p| origins.get(p).copied()).unwrap_or(number);
            origins.push(origin);
            let again = !change.cached && change.cause.is_some();
            if !again || step.instruction.is_empty() || step.instruction == "FROM" {
                continue;
            }
            let files = step.inputs.iter().flat_map(|i| after.entries_of(i)).filter(|e| e.1 == 'f');
            let (files, bytes) = files.fold((0, 0), |(n, sum), e| (n + 1, e.3.saturating_add(sum)));
            let follows = (origin != number).then(|| by_origin.entry(origin).or_default());
            for cost in std::iter::once(&mut all).chain(follows) {
                *(if change.sure { &mut cost.steps } else { &mut cost.open }) += 1;
                cost.files += files;
                cost.bytes = cost.bytes.saturating_add(bytes);
            }
        }
        (all, by_origin)
    }

    /// The steps on whose results it depends whether a step is reused; empty where that is known.
    pub fn depends_on(&self, after: &State, step: usize) -> Vec<usize> {
        let open = |n: usize| self.steps.get(n).is_some_and(|c| !c.cached && !c.sure);
        if !open(step) {
            return Vec::new();
        }
        let inputs = after.steps.get(step).map(|s| s.inputs.as_slice()).unwrap_or_default();
        let changed = |n: usize| self.steps.get(n).is_some_and(|c| !c.cached);
        let made = inputs.iter().filter(|i| i.by_content && i.content.is_none() && changed(i.step));
        let below = inputs.iter().filter(|i| open(i.step));
        let mut out: Vec<usize> = made.chain(below).map(|i| i.step).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// The step a cause comes from in the end.
    pub fn origin(&self, step: usize) -> usize {
        let mut at = step;
        // A parent is always an earlier step, so this ends.
        while let Some(next) = self.steps.get(at).and_then(|s| s.cause.as_ref()).and_then(|c| c.step) {
            at = next;
        }
        at
    }
}

/// The step of `before` that each step of `after` corresponds to: within stages of one name, instructions are aligned
/// by their text, and what lies between equal ones in order.
fn counterparts(before: &State, after: &State) -> Vec<Option<usize>> {
    let mut out = vec![None; after.steps.len()];
    let mut by_stage: BTreeMap<Option<&str>, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (number, step) in before.steps.iter().enumerate() {
        by_stage.entry(step.stage.as_deref()).or_default().0.push(number);
    }
    for (number, step) in after.steps.iter().enumerate() {
        by_stage.entry(step.stage.as_deref()).or_default().1.push(number);
    }
    // A stage that was renamed is one that has no partner; partners are found in order.
    let lost: Vec<Vec<usize>> =
        by_stage.values().filter(|(_, new)| new.is_empty()).map(|(old, _)| old.clone()).collect();
    let mut lost = lost.into_iter();
    for (old, new) in by_stage.values_mut().filter(|(old, _)| old.is_empty()) {
        debug_assert!(!new.is_empty());
        if let Some(partner) = lost.next() {
            *old = partner;
        }
    }
    for (old, new) in by_stage.values() {
        let word = |state: &State, number: &usize| {
            state.steps.get(*number).map(|s| (s.instruction.clone(), s.text.clone(), s.name_kind()))
        };
        let a: Vec<_> = old.iter().map(|n| word(before, n)).collect();
        let b: Vec<_> = new.iter().map(|n| word(after, n)).collect();
        for op in capture_diff_slices(Algorithm::Myers, &a, &b) {
            match op {
                DiffOp::Equal { old_index, new_index, len } => {
                    for i in 0..len {
                        if let (Some(o), Some(n)) = (old.get(old_index + i), new.get(new_index + i)) {
                            out[*n] = Some(*o);
                        }
                    }
                }
                DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                    let mut left: Vec<usize> = old.iter().skip(old_index).take(old_len).copied().collect();
                    for n in new.iter().skip(new_index).take(new_len) {
                        let same = |o: &usize| match (before.steps.get(*o), after.steps.get(*n)) {
                            (Some(o), Some(n)) => {
                                o.instruction == n.instruction && o.name_kind() == n.name_kind()
                            }
                            _ => false,
                        };
                        if let Some(at) = left.iter().position(same) {
                            out[*n] = Some(left.remove(at));
                        }
                    }
                }
                DiffOp::Delete { .. } | DiffOp::Insert { .. } => {}
            }
        }
    }
    out
}

impl Step {
    /// What tells the operations of one instruction apart.
    fn name_kind(&self) -> &'static str {
        if self.local {
            "local"
        } else if self.name.contains("LINK ") && self.instruction.is_empty() {
            "merge"
        } else if self.instruction.is_empty() {
            "internal"
        } else {
            "own"
        }
    }
}

fn cause(
    before: &State,
    after: &State,
    step: &Step,
    old: Option<&Step>,
    outcome: Option<&Outcome>,
    done: &[StepChange],
) -> Option<Cause> {
    let plain =
        |kind, detail: String| Some(Cause { kind, detail, paths: Vec::new(), step: None, words: None });
    if step.ignore_cache {
        return plain(CauseKind::None, "cached results are ignored: `--no-cache`".to_owned());
    }
    if step.instruction == "FROM" {
        let old = old?;
        return (old.digests != step.digests)
            .then(|| plain(CauseKind::Base, "the base image is another one".to_owned()))
            .flatten();
    }
    // A step without inputs is always reported as done; that is no news.
    if step.inputs.is_empty() {
        return old.is_none_or(|o| o.digests != step.digests).then(|| own_cause(step, old)).flatten();
    }
    let Some(old) = old else {
        return plain(CauseKind::Instruction, "the instruction is new".to_owned());
    };
    if old.digests != step.digests {
        return own_cause(step, Some(old));
    }
    let missing = outcome.map(|o| o.missing.as_slice()).unwrap_or_default();
    // Content first: it is what a person changed; a parent is only the way on which it got here.
    for (input, old_input) in step.inputs.iter().zip(&old.inputs) {
        if input.by_content && input.content.is_some() && input.content != old_input.content {
            return Some(content_cause(before, after, input, old_input));
        }
        if input.selector != old_input.selector && input.by_content {
            return plain(CauseKind::Instruction, "it takes other paths".to_owned());
        }
    }
    if step.inputs.len() != old.inputs.len() {
        return plain(CauseKind::Instruction, "it is made from other steps".to_owned());
    }
    let blamed = missing
        .iter()
        .filter_map(|n| step.inputs.get(*n))
        .map(|i| i.step)
        .find(|s| done.get(*s).is_some_and(|d| !d.cached))
        .or_else(|| {
            step.inputs.iter().map(|i| i.step).find(|s| done.get(*s).is_some_and(|d| d.cause.is_some()))
        });
    match blamed {
        Some(parent) => {
            let below = after.steps.get(parent);
            let is_base = below.is_some_and(|b| b.instruction == "FROM");
            let by_content =
                step.inputs.iter().any(|i| i.step == parent && i.by_content && i.content.is_none());
            let name = below.map(|b| b.name.as_str()).unwrap_or_default();
            let (kind, detail) = if is_base {
                (CauseKind::Base, "the base image is another one".to_owned())
            } else if by_content {
                (
                    CauseKind::Parent,
                    format!("it takes files from {name}, which is made anew and may change them"),
                )
            } else {
                (CauseKind::Parent, format!("it stands on {name}, which is made anew"))
            };
            Some(Cause { kind, detail, paths: Vec::new(), step: Some(parent), words: None })
        }
        None => plain(CauseKind::Parent, "no recorded result leads here".to_owned()),
    }
}

/// What changed in the operation itself.
fn own_cause(step: &Step, old: Option<&Step>) -> Option<Cause> {
    let Some(old) = old else {
        let detail = "the instruction is new".to_owned();
        return Some(Cause {
            kind: CauseKind::Instruction,
            detail,
            paths: Vec::new(),
            step: None,
            words: None,
        });
    };
    let words = (old.text != step.text).then(|| (old.text.clone(), step.text.clone()));
    let changed_facets: Vec<&str> = step
        .facets
        .keys()
        .chain(old.facets.keys())
        .filter(|f| step.facets.get(*f) != old.facets.get(*f))
        .map(String::as_str)
        .collect();
    let mut named: Vec<&str> = Vec::new();
    for facet in changed_facets {
        if !named.contains(&facet) && facet != "command" {
            named.push(facet);
        }
    }
    let command_changed = step.facets.get("command") != old.facets.get("command");
    let variables = changed_variables(step, old);
    let describe = |arg: bool| {
        let of = |v: &&(String, bool, &'static str)| v.1 == arg;
        let list: Vec<String> =
            variables.iter().filter(of).map(|(name, _, how)| format!("{name} {how}")).collect();
        list.join(", ")
    };
    let (args, envs) = (describe(true), describe(false));
    let (kind, detail) = if command_changed || (words.is_some() && args.is_empty() && envs.is_empty()) {
        let what = match named.as_slice() {
            [] => "its words changed".to_owned(),
            some => format!("its words changed ({})", some.join(", ")),
        };
        (CauseKind::Instruction, what)
    } else if !args.is_empty() {
        (CauseKind::Arg, format!("ARG {args}"))
    } else if !envs.is_empty() {
        (CauseKind::Env, format!("ENV {envs}"))
    } else if !named.is_empty() {
        (CauseKind::Instruction, format!("its {} changed", named.join(", ")))
    } else if order_changed(step, old) {
        (CauseKind::Env, "the variables are set in another order".to_owned())
    } else {
        (CauseKind::Instruction, "the operation changed".to_owned())
    };
    Some(Cause { kind, detail, paths: Vec::new(), step: None, words })
}

fn changed_variables(step: &Step, old: &Step) -> Vec<(String, bool, &'static str)> {
    let mut out = Vec::new();
    for variable in &step.variables {
        match old.variables.iter().find(|v| v.name == variable.name) {
            None => out.push((variable.name.clone(), variable.arg, "is new")),
            Some(v) if v.digest != variable.digest => {
                out.push((variable.name.clone(), variable.arg, "changed"))
            }
            Some(_) => {}
        }
    }
    for variable in &old.variables {
        if !step.variables.iter().any(|v| v.name == variable.name) {
            out.push((variable.name.clone(), variable.arg, "is gone"));
        }
    }
    out
}

fn order_changed(step: &Step, old: &Step) -> bool {
    let names = |s: &Step| s.variables.iter().map(|v| v.name.clone()).collect::<Vec<_>>();
    names(step) != names(old)
}

fn content_cause(before: &State, after: &State, input: &SavedInput, old: &SavedInput) -> Cause {
    let paths = changes_of(before, after, input, old);
    let detail = match paths.as_slice() {
        [] => "what it copies changed".to_owned(),
        [one] => format!("{} {}", one.path, past(one.change)),
        [first, rest @ ..] => {
            format!("{} {} and {} more files changed", first.path, past(first.change), rest.len())
        }
    };
    Cause { kind: CauseKind::Content, detail, paths, step: None, words: None }
}

/// What changed of what an input takes, and whether a daemon that has the former files can see it.
fn changes_of(before: &State, after: &State, input: &SavedInput, old: &SavedInput) -> Vec<PathChange> {
    let mut changes = changed_entries(before.entries_of(old), after.entries_of(input));
    let (former, now) = (before.times_of(old), after.times_of(input));
    if former.is_empty() || now.is_empty() {
        return changes;
    }
    let mut wanted: HashMap<&str, usize> =
        changes.iter().enumerate().map(|(n, c)| (c.path.as_str(), n)).collect();
    wanted.retain(|path, _| former.contains_key(path) && now.contains_key(path));
    let a: HashMap<&str, &Entry> =
        before.entries_of(old).map(|e| (e.0.as_str(), e)).filter(|(p, _)| wanted.contains_key(p)).collect();
    let mut unseen = Vec::new();
    for new in after.entries_of(input) {
        let path = new.0.as_str();
        let (Some(number), Some(old)) = (wanted.get(path), a.get(path)) else { continue };
        let same = match (old.1, new.1) {
            // Modes and attributes of directories are not looked at.
            ('d', 'd') => true,
            ('f', 'f') => old.2 == new.2 && old.3 == new.3 && former.get(path) == now.get(path),
            _ => false,
        };
        if same {
            unseen.push(*number);
        }
    }
    for number in unseen {
        if let Some(change) = changes.get_mut(number) {
            change.unseen = true;
        }
    }
    changes
}

fn past(change: Change) -> &'static str {
    match change {
        Change::Modified => "was modified",
        Change::Added => "was added",
        Change::Removed => "was removed",
        Change::Mode => "has another mode",
        Change::Type => "is of another type",
    }
}

/// Differences between two lists of entries, by path; folders only where they alone changed.
pub fn changed_entries<'s>(
    before: impl Iterator<Item = &'s Entry>,
    after: impl Iterator<Item = &'s Entry>,
) -> Vec<PathChange> {
    let old: BTreeMap<&str, &Entry> = before.map(|e| (e.0.as_str(), e)).collect();
    let new: BTreeMap<&str, &Entry> = after.map(|e| (e.0.as_str(), e)).collect();
    let mut out = Vec::new();
    for (path, entry) in &new {
        let change = match old.get(path) {
            None => Change::Added,
            Some(o) if o.4 == entry.4 && o.1 == entry.1 => continue,
            Some(o) if o.1 != entry.1 => Change::Type,
            Some(o) if o.2 != entry.2 && o.3 == entry.3 => Change::Mode,
            Some(_) => Change::Modified,
        };
        let before = old.get(path).map(|e| e.4.clone());
        let after = Some(entry.4.clone());
        out.push(PathChange { path: (*path).to_owned(), change, before, after, unseen: false });
    }
    for (path, entry) in &old {
        if !new.contains_key(path) {
            let change = Change::Removed;
            out.push(PathChange {
                path: (*path).to_owned(),
                change,
                before: Some(entry.4.clone()),
                after: None,
                unseen: false,
            });
        }
    }
    // A folder that came or went with its files says nothing that they do not.
    let folders: Vec<String> = out
        .iter()
        .filter(|c| matches!(c.change, Change::Added | Change::Removed))
        .map(|c| c.path.clone())
        .filter(|p| [&old, &new].iter().any(|s| s.get(p.as_str()).is_some_and(|e| e.1 == 'd')))
        .filter(|p| out.iter().any(|c| c.path.strip_prefix(p.as_str()).is_some_and(|r| r.starts_with('/'))))
        .collect();
    out.retain(|c| !folders.contains(&c.path));
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

/// Instructions that only change the configuration of the image.
fn config_notes(before: &State, after: &State) -> Vec<Note> {
    let of = |state: &State| -> Vec<(String, String)> {
        state.config.iter().map(|c| (c.stage.clone(), c.text.clone())).collect()
    };
    let (old, new) = (of(before), of(after));
    let mut out = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &old, &new) {
        let (DiffOp::Insert { new_index, new_len, .. } | DiffOp::Replace { new_index, new_len, .. }) = op
        else {
            continue;
        };
        for config in after.config.iter().skip(new_index).take(new_len) {
            let text =
                format!("{} changes the image configuration only: it is in no key", config.instruction);
            out.push(Note { line: Some(config.line), ..Note::no_effect(text) });
        }
    }
    out
}
