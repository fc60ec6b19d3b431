//! Which steps of a build an exported cache will answer, and what is missing where it will not.
//!
//! A step that is found for certain is found by [`crate::key::matching`]. Beside it stands the set of records that it
//! *might* be, whatever the base image, the downloads and the stages turn out to hold; where that set is empty the
//! answer is a certain no.

use super::cache::ExportedCache;
use crate::build::lower::{BuildGraph, Op, Vertex, VertexId};
use crate::key::change::{Cause, CauseKind};
use crate::key::matching::{content_record_digest, find, record_digest};
use crate::key::plan::{KeyPlan, StepKey};
use std::collections::{BTreeSet, HashMap};

/// What the cache does for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its result is taken from the cache, or is not needed because what stands on it is.
    Hit,
    /// It runs.
    Miss,
    /// It depends on something that is not known here.
    Unknown,
}

/// The answer for one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The step.
    pub vertex: VertexId,
    /// What the cache does.
    pub status: Status,
    /// Why.
    pub cause: Cause,
    /// Records that stand for it, as indexes of [`ExportedCache::records`].
    pub records: Vec<usize>,
}

fn cause(kind: CauseKind, detail: impl Into<String>) -> Cause {
    Cause { kind, detail: detail.into(), paths: Vec::new(), step: None, words: None }
}

/// Looks for all steps but local folders, which no cache holds. `target` is the step that the build is for. With
/// `present`, a result whose layers are not in the cache does not count.
///
/// `--no-cache` plays no part: the question is what the cache holds.
pub fn predict(
    cache: &ExportedCache,
    graph: &BuildGraph<'_>,
    plan: &KeyPlan,
    target: Option<VertexId>,
    present: bool,
) -> Vec<Prediction> {
    let mut facts = plan.facts(graph);
    for fact in &mut facts {
        fact.ignore_cache = false;
    }
    let (records, ids) = cache.database(present);
    let outcomes = find(&facts, target, &records, &HashMap::new());
    let search = Search::new(cache, graph, plan);
    let mut out: Vec<Prediction> = Vec::with_capacity(graph.vertices.len());
    // The step at which a chain breaks, for those above it.
    let mut broken_at: HashMap<VertexId, VertexId> = HashMap::new();
    for (id, vertex) in graph.vertices.iter().enumerate() {
        let (Some(outcome), Some(key)) = (outcomes.get(id), plan.steps.get(id)) else { continue };
        if matches!(vertex.op, Op::Local(_)) {
            continue;
        }
        let certain: Vec<usize> =
            (0..ids.len()).filter(|r| ids.get(*r).is_some_and(|r| outcome.records.contains(r))).collect();
        let possible = search.possible.get(id).cloned().unwrap_or_default();
        let has_result = |r: &usize| ids.get(*r).is_some_and(|r| records.has_result(*r));
        let (status, why, found) = if let Some(error) = &key.error {
            (Status::Miss, cause(CauseKind::Content, format!("the build fails here: {error}")), Vec::new())
        } else if outcome.hit {
            (Status::Hit, cause(CauseKind::None, ""), certain)
        } else if !certain.is_empty() && vertex.inputs.is_empty() {
            let detail = match vertex.op {
                Op::Image { .. } => "the image that this cache was built on",
                _ => "found by its key; it is made anew and has no layer of its own",
            };
            (Status::Hit, cause(CauseKind::None, detail), certain)
        } else if !certain.is_empty() && !outcome.needed {
            let detail = "found by its key; its result is not needed, because what uses it is found as well";
            (Status::Hit, cause(CauseKind::None, detail), certain)
        } else if !certain.is_empty() {
            (Status::Miss, cause(CauseKind::None, search.no_result(&certain)), certain)
        } else if possible.iter().any(has_result) || (!possible.is_empty() && vertex.inputs.is_empty()) {
            (Status::Unknown, search.unsure(id, vertex, key), possible.into_iter().collect())
        } else if !possible.is_empty() {
            (Status::Unknown, search.unsure(id, vertex, key), Vec::new())
        } else {
            (Status::Miss, search.miss(id, vertex, key, &mut broken_at), Vec::new())
        };
        if status == Status::Miss {
            broken_at.entry(id).or_insert(id);
        }
        out.push(Prediction { vertex: id, status, cause: why, records: found });
    }
    out
}

/// The records of a cache by what leads to them, and what every step might be.
pub(super) struct Search<'c> {
    cache: &'c ExportedCache,
    graph: &'c BuildGraph<'c>,
    plan: &'c KeyPlan,
    /// Made from a record, as its input of that number: the record, and the selector.
    made: HashMap<(usize, usize), Vec<(usize, &'c str)>>,
    roots: HashMap<&'c str, Vec<usize>>,
    digests: BTreeSet<&'c str>,
    /// Records without inputs that nothing known of this build accounts for: an unknown base image, an unknown
    /// download or unknown content may be any of them.
    unknown_roots: BTreeSet<usize>,
    /// By step: every record that it might be.
    possible: Vec<BTreeSet<usize>>,
}

impl<'c> Search<'c> {
    pub(super) fn new(cache: &'c ExportedCache, graph: &'c BuildGraph<'c>, plan: &'c KeyPlan) -> Self {
        let mut out = Self {
            cache,
            graph,
            plan,
            made: HashMap::new(),
            roots: HashMap::new(),
            digests: cache.records.iter().map(|r| r.digest.as_str()).collect(),
            unknown_roots: BTreeSet::new(),
            possible: Vec::with_capacity(graph.vertices.len()),
        };
        for (to, record) in cache.records.iter().enumerate() {
            if record.inputs.is_empty() {
                out.roots.entry(&record.digest).or_default().push(to);
            }
            for (number, links) in record.inputs.iter().enumerate() {
                for link in links {
                    out.made.entry((link.from, number)).or_default().push((to, &link.selector));
                }
            }
        }
        out.unknown_roots = out.unaccounted();
        for (id, vertex) in graph.vertices.iter().enumerate() {
            let found = out.might_be(id, vertex);
            out.possible.push(found);
        }
        out
    }

    fn roots(&self, digest: &str) -> &[usize] {
        self.roots.get(digest).map_or(&[], Vec::as_slice)
    }

    fn unaccounted(&self) -> BTreeSet<usize> {
        let mut known: BTreeSet<String> = BTreeSet::new();
        for (vertex, key) in self.graph.vertices.iter().zip(&self.plan.steps) {
            if vertex.inputs.is_empty() {
                known.extend(key.op_digests.iter().map(|d| record_digest(d)));
            }
            let contents = key.inputs.iter().filter_map(|i| i.content.as_ref());
            known.extend(contents.map(|c| content_record_digest(&c.digest)));
        }
        let unknown = self.roots.iter().filter(|(digest, _)| !known.contains(**digest));
        unknown.flat_map(|(_, ids)| ids.iter().copied()).collect()
    }

    fn might_be(&self, id: VertexId, vertex: &Vertex<'_>) -> BTreeSet<usize> {
        let Some(key) = self.plan.steps.get(id) else { return BTreeSet::new() };
        if matches!(vertex.op, Op::Local(_)) {
            return BTreeSet::new();
        }
        if vertex.inputs.is_empty() {
            if key.op_digests.is_empty() {
                return self.unknown_roots.clone();
            }
            return key.op_digests.iter().flat_map(|d| self.roots(&record_digest(d))).copied().collect();
        }
        let mut common: Option<BTreeSet<usize>> = None;
        for number in 0..key.inputs.len() {
            let found = self.through(vertex, key, number);
            common = Some(match common {
                None => found,
                Some(common) => common.intersection(&found).copied().collect(),
            });
        }
        common.unwrap_or_default()
    }

    /// Records that the input of that number may lead to.
    fn through(&self, vertex: &Vertex<'_>, key: &StepKey, number: usize) -> BTreeSet<usize> {
        let words = words(vertex, key);
        let fits = |to: usize| {
            let record = self.cache.records.get(to);
            record.is_some_and(|r| {
                r.inputs.len() == key.inputs.len() && words.as_ref().is_none_or(|w| *w == r.digest)
            })
        };
        let mut out = BTreeSet::new();
        let Some(input) = key.inputs.get(number) else { return out };
        let mut follow = |from: usize, selector: &str| {
            let made = self.made.get(&(from, number)).into_iter().flatten();
            out.extend(made.filter(|(to, s)| *s == selector && fits(*to)).map(|(to, _)| *to));
        };
        for from in self.possible.get(input.vertex).into_iter().flatten() {
            follow(*from, input.selector.as_deref().unwrap_or_default());
        }
        match &input.content {
            Some(content) => {
                for from in self.roots(&content_record_digest(&content.digest)) {
                    follow(*from, "");
                }
            }
            None if input.by_content => {
                for from in &self.unknown_roots {
                    follow(*from, "");
                }
            }
            None => {}
        }
        out
    }

    /// Records that a step's words and the content of its known files lead to, whatever it stands on.
    pub(super) fn by_content(&self, vertex: &Vertex<'_>, key: &StepKey) -> Vec<usize> {
        let Some(words) = words(vertex, key) else { return Vec::new() };
        let mut common: Option<BTreeSet<usize>> = None;
        for (number, input) in key.inputs.iter().enumerate() {
            let Some(content) = &input.content else { continue };
            let roots = self.roots(&content_record_digest(&content.digest)).iter();
            let made = roots.flat_map(|from| self.made.get(&(*from, number)).into_iter().flatten());
            let is = |to: &usize| self.cache.records.get(*to).is_some_and(|r| r.digest == words);
            let found: BTreeSet<usize> =
                made.filter(|(to, selector)| selector.is_empty() && is(to)).map(|(to, _)| *to).collect();
            common = Some(match common {
                None => found,
                Some(common) => common.intersection(&found).copied().collect(),
            });
        }
        common.unwrap_or_default().into_iter().collect()
    }

    /// Records with the words of a step, whatever it was made from.
    pub(super) fn by_words(&self, vertex: &Vertex<'_>, key: &StepKey) -> Vec<usize> {
        let Some(words) = words(vertex, key) else { return Vec::new() };
        let records = self.cache.records.iter().enumerate();
        records.filter(|(_, r)| r.digest == words && !r.inputs.is_empty()).map(|(at, _)| at).collect()
    }

    /// Found, needed, and without a layer.
    fn no_result(&self, found: &[usize]) -> String {
        let records = || found.iter().filter_map(|r| self.cache.records.get(*r));
        if records().all(|r| r.results.is_empty()) {
            return "the cache knows this step but has no layer for it (as with mode=min)".to_owned();
        }
        let layers = records().flat_map(|r| &r.results).flat_map(|r| self.cache.chain(r));
        let missing = layers.filter_map(|l| self.cache.layers.get(l)).find(|l| !l.own);
        match missing {
            Some(layer) => format!("its layer cannot be loaded: blob {} is missing", layer.digest),
            None => "its layer cannot be loaded".to_owned(),
        }
    }

    fn unsure(&self, id: VertexId, vertex: &Vertex<'_>, key: &StepKey) -> Cause {
        if let (Op::Image { .. }, true) = (&vertex.op, key.op_digests.is_empty()) {
            return cause(CauseKind::Base, "its digest is not known here");
        }
        if let Some(name) = vertex.unknown.first() {
            let (name, what) = taken_apart(name);
            return cause(
                CauseKind::Base,
                format!("depends on the {what} of {name}, which is not known here"),
            );
        }
        for input in &key.inputs {
            if input.content.is_some() {
                continue;
            }
            let Some(below) = self.graph.vertices.get(input.vertex) else { continue };
            let unknown = self.plan.steps.get(input.vertex).map(|k| k.unknown.as_slice()).unwrap_or_default();
            match (unknown.first(), input.by_content) {
                (Some(name), _) => {
                    let name = taken_apart(name).0;
                    let detail = format!("reused if {name} is still what this cache was built on");
                    return cause(CauseKind::Base, detail);
                }
                (None, true) => {
                    let detail = format!("reused if `{}` gives the same files again", below.name);
                    return Cause { step: Some(input.vertex), ..cause(CauseKind::Content, detail) };
                }
                (None, false) => {}
            }
        }
        // What is below is unsure for a reason of its own.
        let below = key.inputs.iter().map(|i| i.vertex).find(|v| *v != id);
        Cause { step: below, ..cause(CauseKind::Parent, "depends on the step below") }
    }

    fn miss(
        &self,
        id: VertexId,
        vertex: &Vertex<'_>,
        key: &StepKey,
        broken_at: &mut HashMap<VertexId, VertexId>,
    ) -> Cause {
        if let Op::Image { .. } = vertex.op {
            return cause(CauseKind::Base, "nothing in this cache was built on this image");
        }
        if vertex.inputs.is_empty() {
            return cause(CauseKind::Instruction, "this cache knows nothing of it");
        }
        let known_words = words(vertex, key).is_none_or(|w| self.digests.contains(w.as_str()));
        let nothing = BTreeSet::new();
        for (number, input) in key.inputs.iter().enumerate() {
            let below = self.possible.get(input.vertex).unwrap_or(&nothing);
            let Some(vertex_below) = self.graph.vertices.get(input.vertex) else { continue };
            let local = matches!(vertex_below.op, Op::Local(_));
            if local || !below.is_empty() || input.content.is_some() {
                continue;
            }
            // Content that only a build can tell might still lead there, but nothing in the cache was found by it.
            if !self.through(vertex, key, number).is_empty() {
                continue;
            }
            let first = broken_at.get(&input.vertex).copied().unwrap_or(input.vertex);
            broken_at.insert(id, first);
            let name = self.graph.vertices.get(first).map(|v| v.name.as_str()).unwrap_or_default();
            let own =
                if known_words { "" } else { "; no step of this cache has its words and variables either" };
            let is_image = matches!(self.graph.vertices.get(first).map(|v| &v.op), Some(Op::Image { .. }));
            let kind = if is_image { CauseKind::Base } else { CauseKind::Parent };
            let detail = format!("stands on `{name}`, which is not in this cache{own}");
            return Cause { step: Some(first), ..cause(kind, detail) };
        }
        if !known_words {
            let what = match vertex.op {
                Op::Exec(_) => "these words, variables and mounts",
                _ => "these words",
            };
            return cause(CauseKind::Instruction, format!("no step of this cache has {what}"));
        }
        for input in &key.inputs {
            let Some(content) = &input.content else { continue };
            let roots = self.roots(&content_record_digest(&content.digest));
            if roots.is_empty() {
                let detail = match content.files {
                    1 => "this cache does not have its file as it is now",
                    _ => "this cache does not have its files as they are now",
                };
                return cause(CauseKind::Content, detail);
            }
        }
        cause(CauseKind::Parent, "this cache has the step only on top of other steps")
    }
}

/// The digest of the records that stand for a step; none if its words depend on something unknown.
fn words(vertex: &Vertex<'_>, key: &StepKey) -> Option<String> {
    if !vertex.unknown.is_empty() {
        return None;
    }
    key.op_digests.first().map(|d| record_digest(d))
}

/// The name of something unknown without its scheme, and what of it is not known.
fn taken_apart(unknown: &str) -> (&str, &str) {
    let name = unknown.strip_prefix("docker-image://").unwrap_or(unknown);
    match name.rsplit_once(" (").and_then(|(name, what)| Some((name, what.strip_suffix(')')?))) {
        Some((name, what)) => (name, what),
        None => (name, "something"),
    }
}
