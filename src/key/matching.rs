//! Which steps of a build are found in recorded results: BuildKit's solver in set form
//! (`solver/edge.go`, `solver/cachemanager.go`, `solver/exporter.go`).
//!
//! A record is the result of one operation; links say which records it was made from. There is no hash over a whole
//! chain: the graph of links is the key.

use super::sha256;
use std::collections::{BTreeSet, HashMap};

/// Index of a record in [`Records`].
pub type RecordId = usize;

/// One step of a build as far as matching goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Cache map digests; a base image has two. Empty for local folders.
    pub digests: Vec<String>,
    /// What it is made from.
    pub inputs: Vec<Input>,
    /// `--no-cache`: recorded results are not looked for.
    pub ignore_cache: bool,
}

/// One input of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Index of the step.
    pub step: usize,
    /// Digest of the paths taken from it; `None` where everything is.
    pub selector: Option<String>,
    /// Whether what is taken also counts by its content.
    pub by_content: bool,
    /// The digest of that content, if it is known.
    pub content: Option<String>,
}

/// Recorded results and how they were made from one another.
#[derive(Clone, Debug, Default)]
pub struct Records {
    has_result: Vec<bool>,
    roots: HashMap<String, Vec<RecordId>>,
    links: HashMap<Link, Vec<RecordId>>,
    /// The records that have any input of this number and are made by this operation.
    by_operation: HashMap<(String, usize), BTreeSet<RecordId>>,
    /// Those of them that some content leads to, nobody knows which.
    open: HashMap<(String, usize), BTreeSet<RecordId>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Link {
    from: RecordId,
    input: usize,
    digest: String,
    selector: String,
}

/// The digest of a record: the operation and its only output.
pub fn record_digest(cache_map_digest: &str) -> String {
    sha256(format!("{cache_map_digest}@0"))
}

/// The digest of the record that stands for some content.
pub fn content_record_digest(content: &str) -> String {
    sha256(format!("{content}@-1"))
}

impl Records {
    /// Nothing recorded.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.has_result.len()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.has_result.is_empty()
    }

    /// Adds a record without inputs: a source, an operation on nothing, or some content.
    pub fn root(&mut self, digest: &str, has_result: bool) -> RecordId {
        let known = self.roots.get(digest).and_then(|r| r.first()).copied();
        if let Some(id) = known {
            return id;
        }
        let id = self.push(has_result);
        self.roots.entry(digest.to_owned()).or_default().push(id);
        id
    }

    /// Adds a record; links are added with [`Records::link`].
    pub fn push(&mut self, has_result: bool) -> RecordId {
        self.has_result.push(has_result);
        self.has_result.len() - 1
    }

    /// Says that record `to`, whose digest is `digest`, has `from` as its input number `input`.
    pub fn link(&mut self, from: RecordId, input: usize, digest: &str, selector: Option<&str>, to: RecordId) {
        let link = Link {
            from,
            input,
            digest: digest.to_owned(),
            selector: selector.unwrap_or_default().to_owned(),
        };
        self.by_operation.entry((digest.to_owned(), input)).or_default().insert(to);
        let targets = self.links.entry(link).or_default();
        if !targets.contains(&to) {
            targets.push(to);
        }
    }

    /// Says that record `to` can also be found through the content of its input number `input`, which is not known.
    pub fn leave_open(&mut self, input: usize, digest: &str, to: RecordId) {
        self.open.entry((digest.to_owned(), input)).or_default().insert(to);
    }

    /// Records without inputs that have this digest.
    pub fn roots(&self, digest: &str) -> &[RecordId] {
        self.roots.get(digest).map_or(&[], Vec::as_slice)
    }

    /// All records without inputs.
    pub fn all_roots(&self) -> impl Iterator<Item = (&str, RecordId)> {
        self.roots.iter().flat_map(|(digest, ids)| ids.iter().map(move |id| (digest.as_str(), *id)))
    }

    /// Whether a record has a result that can be used.
    pub fn has_result(&self, id: RecordId) -> bool {
        self.has_result.get(id).copied().unwrap_or(false)
    }

    /// Records made from `from` by an operation.
    pub fn made_from(
        &self,
        from: RecordId,
        input: usize,
        digest: &str,
        selector: Option<&str>,
    ) -> &[RecordId] {
        let link = Link {
            from,
            input,
            digest: digest.to_owned(),
            selector: selector.unwrap_or_default().to_owned(),
        };
        self.links.get(&link).map_or(&[], Vec::as_slice)
    }

    /// What a builder without any cache records while it builds these steps (`--cache-to …,mode=max`).
    pub fn of_build(steps: &[Facts]) -> Self {
        let mut out = Self::new();
        let mut of_step: Vec<Vec<RecordId>> = Vec::with_capacity(steps.len());
        for step in steps {
            let made = out.record(step, &of_step);
            of_step.push(made);
        }
        out
    }

    fn record(&mut self, step: &Facts, of_step: &[Vec<RecordId>]) -> Vec<RecordId> {
        if step.inputs.is_empty() {
            return step.digests.iter().map(|d| self.root(&record_digest(d), false)).collect();
        }
        let Some(digest) = step.digests.first().map(|d| record_digest(d)) else { return Vec::new() };
        let mut links = Vec::new();
        let mut open = Vec::new();
        for (number, input) in step.inputs.iter().enumerate() {
            let before = links.len();
            for from in of_step.get(input.step).map(Vec::as_slice).unwrap_or_default() {
                links.push((*from, number, input.selector.as_deref()));
            }
            if let Some(content) = &input.content {
                let root = self.root(&content_record_digest(content), false);
                links.push((root, number, None));
            } else if input.by_content {
                open.push(number);
            }
            if links.len() == before {
                // Nothing below leads here, so nothing above can be found through it.
                return Vec::new();
            }
        }
        let id = self.push(true);
        for (from, number, selector) in links {
            self.link(from, number, &digest, selector, id);
        }
        for number in open {
            self.leave_open(number, &digest, id);
        }
        vec![id]
    }
}

/// What becomes of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The records that stand for it.
    pub records: Vec<RecordId>,
    /// One of them has a result.
    pub hit: bool,
    /// Its result is asked for.
    pub needed: bool,
    /// BuildKit's progress shows it as CACHED; otherwise as DONE.
    pub cached: bool,
    /// False where the content of another stage or of an image decides, which is known only after building it.
    pub sure: bool,
    /// Inputs through which no record can be reached, by number.
    pub missing: Vec<usize>,
}

/// Looks for the steps of a build among records. `target` is the step whose result is wanted. `assumed` gives records
/// for steps whose own digest is not known, such as base images that nobody could look into.
pub fn find(
    steps: &[Facts],
    target: Option<usize>,
    records: &Records,
    assumed: &HashMap<usize, Vec<RecordId>>,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(steps.len());
    // Inputs whose content has to be computed although their definition is recorded, or because it is not.
    let mut asked_for_content = BTreeSet::new();
    for (number, step) in steps.iter().enumerate() {
        let outcome = if step.inputs.is_empty() {
            let mut found: Vec<RecordId> =
                step.digests.iter().flat_map(|d| records.roots(&record_digest(d))).copied().collect();
            found.extend(assumed.get(&number).into_iter().flatten());
            settle(found, Vec::new(), true, records)
        } else {
            reached(step, &outcomes, records, &mut asked_for_content)
        };
        outcomes.push(outcome);
    }
    // A step is needed if it is the target, if its content is asked for, or if a needed step has to run on it.
    let mut open: Vec<usize> = target.into_iter().chain(asked_for_content).collect();
    while let Some(number) = open.pop() {
        let (Some(outcome), Some(step)) = (outcomes.get_mut(number), steps.get(number)) else { continue };
        if std::mem::replace(&mut outcome.needed, true) {
            continue;
        }
        if !outcome.hit {
            open.extend(step.inputs.iter().map(|i| i.step));
        }
    }
    for (outcome, step) in outcomes.iter_mut().zip(steps) {
        // A step without inputs is reported as done as soon as its key was computed.
        outcome.cached = !step.inputs.is_empty() && (outcome.hit || !outcome.needed);
    }
    outcomes
}

fn settle(mut found: Vec<RecordId>, missing: Vec<usize>, sure: bool, records: &Records) -> Outcome {
    found.sort_unstable();
    found.dedup();
    let hit = found.iter().any(|r| records.has_result(*r));
    Outcome { records: found, hit, needed: false, cached: false, sure, missing }
}

fn reached(
    step: &Facts,
    outcomes: &[Outcome],
    records: &Records,
    asked_for_content: &mut BTreeSet<usize>,
) -> Outcome {
    let digest = step.digests.first().map(|d| record_digest(d)).unwrap_or_default();
    let mut by_definition: Vec<BTreeSet<RecordId>> = Vec::with_capacity(step.inputs.len());
    let mut by_content: Vec<BTreeSet<RecordId>> = Vec::with_capacity(step.inputs.len());
    for (number, input) in step.inputs.iter().enumerate() {
        let below = outcomes.get(input.step).map(|o| o.records.as_slice()).unwrap_or_default();
        let made = |from: &RecordId, selector: Option<&str>| {
            records.made_from(*from, number, &digest, selector).to_vec()
        };
        by_definition.push(below.iter().flat_map(|r| made(r, input.selector.as_deref())).collect());
        let content = input.content.as_deref().map(content_record_digest);
        let roots = content.as_deref().map(|d| records.roots(d)).unwrap_or_default();
        by_content.push(roots.iter().flat_map(|r| made(r, None)).collect());
    }
    let common = |sets: &mut dyn Iterator<Item = BTreeSet<RecordId>>| -> BTreeSet<RecordId> {
        let Some(first) = sets.next() else { return BTreeSet::new() };
        sets.fold(first, |all, set| all.intersection(&set).copied().collect())
    };
    let definitions = common(&mut by_definition.iter().cloned());
    if definitions.is_empty() {
        let all_match = by_definition.iter().all(|s| !s.is_empty());
        for (input, found) in step.inputs.iter().zip(&by_definition) {
            if input.by_content && (found.is_empty() || all_match) {
                asked_for_content.insert(input.step);
            }
        }
    }
    let either: Vec<BTreeSet<RecordId>> =
        by_definition.iter().zip(&by_content).map(|(a, b)| a.union(b).copied().collect()).collect();
    let found = if step.ignore_cache { BTreeSet::new() } else { common(&mut either.iter().cloned()) };
    let missing: Vec<usize> =
        (0..either.len()).filter(|n| either.get(*n).is_some_and(BTreeSet::is_empty)).collect();
    // What could be found if everything that is not known turned out well.
    let mut possible = step.inputs.iter().zip(either).enumerate().map(|(number, (input, mut found))| {
        let operation = (digest.clone(), number);
        let all = |of: &HashMap<_, BTreeSet<RecordId>>| of.get(&operation).cloned().unwrap_or_default();
        let below_is_sure = outcomes.get(input.step).is_none_or(|o| o.sure);
        if !below_is_sure || (input.by_content && input.content.is_none()) {
            found.extend(all(&records.by_operation));
        }
        if !below_is_sure || input.by_content {
            found.extend(all(&records.open));
        }
        found
    });
    let sure = !found.is_empty() || step.ignore_cache || common(&mut possible).is_empty();
    settle(found.into_iter().collect(), missing, sure, records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(digest: &str, inputs: Vec<Input>) -> Facts {
        Facts { digests: vec![digest.to_owned()], inputs, ignore_cache: false }
    }

    fn on(step: usize) -> Input {
        Input { step, ..Input::default() }
    }

    fn content(step: usize, digest: &str) -> Input {
        Input { step, selector: Some("s".into()), by_content: true, content: Some(digest.to_owned()) }
    }

    /// context, `COPY a`, `RUN x`
    fn build(copied: &str, command: &str) -> Vec<Facts> {
        vec![Facts::default(), step("copy", vec![content(0, copied)]), step(command, vec![on(1)])]
    }

    fn cached(before: &[Facts], after: &[Facts]) -> Vec<bool> {
        let records = Records::of_build(before);
        let found = find(after, Some(after.len() - 1), &records, &HashMap::new());
        found.iter().skip(1).map(|o| o.cached).collect()
    }

    #[test]
    fn a_change_is_felt_from_its_step_on() {
        assert_eq!(cached(&build("1", "x"), &build("1", "x")), [true, true]);
        assert_eq!(cached(&build("1", "x"), &build("1", "y")), [true, false]);
        assert_eq!(cached(&build("1", "x"), &build("2", "x")), [false, false]);
    }

    #[test]
    fn no_cache_stops_at_what_counts_by_content() {
        let mut steps = build("1", "x");
        steps.push(step("copy --from", vec![Input { by_content: true, content: Some("r".into()), ..on(2) }]));
        let mut again = steps.clone();
        again[2].ignore_cache = true;
        assert_eq!(cached(&steps, &again), [true, false, true]);
    }

    #[test]
    fn unknown_content_makes_a_guess() {
        let mut before = build("1", "x");
        before.push(step("copy --from", vec![Input { by_content: true, ..on(2) }]));
        let mut after = before.clone();
        after[2].digests = vec!["y".into()];
        let found = find(&after, Some(3), &Records::of_build(&before), &HashMap::new());
        assert!(!found[3].cached && !found[3].sure && found[2].sure);
        // Another instruction was never recorded, whatever it copies.
        after[3].digests = vec!["copy --from --chown".into()];
        assert!(find(&after, Some(3), &Records::of_build(&before), &HashMap::new())[3].sure);
    }

    #[test]
    fn unknown_content_of_a_recorded_result_makes_a_guess() {
        let mut before = build("1", "x");
        before.push(step("copy --from", vec![Input { by_content: true, ..on(2) }]));
        let mut after = build("1", "y");
        after.push(step("copy --from", vec![Input { by_content: true, content: Some("r".into()), ..on(2) }]));
        let found = find(&after, Some(3), &Records::of_build(&before), &HashMap::new());
        assert!(!found[3].cached && !found[3].sure, "the same may have been made in another way");
    }
}
