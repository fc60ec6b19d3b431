//! Whether the layer behind a record holds what its key promises.
//!
//! BuildKit checks that a blob has the digest it is called by, and never that a record points to the right blob: a
//! cache whose layer was exchanged, digests and all, is served as CACHED. For files whose content is in the key the
//! promise can be checked.

use super::cache::ExportedCache;
use super::error::EvidenceError;
use super::layer::{Layer, LayerEntry, LayerKind, resolved};
use super::prediction::{Prediction, Search, Status};
use crate::build::lower::{BuildGraph, Op, VertexId};
use crate::key::change::{self, CauseKind, PathChange};
use crate::key::plan::{Contexts, KeyPlan};
use crate::key::promise::{NoPromise, Promise, PromisedCopy, PromisedFile, PromisedKind, Promises};
use bstr::{BString, ByteSlice as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// What came of comparing a step's layer with its promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The layer holds exactly what is promised.
    Verified {
        /// regular files that were compared
        files: usize,
    },
    /// It does not.
    Differs(Vec<Difference>),
    /// Not compared, and why: a sentence without full stop.
    NotChecked(String),
}

/// One path at which a layer is not what its key promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In the context; in the image where the context has nothing like it.
    pub path: BString,
    /// In the image, with a leading `/`.
    pub image_path: BString,
    /// What is different.
    pub change: Change,
    /// Digest, link text, mode or type that is promised.
    pub expected: Option<String>,
    /// The same as it is in the layer.
    pub found: Option<String>,
}

/// Kinds of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// other content, link, mode or type
    Modified,
    /// promised, not there
    Missing,
    /// there, not promised
    Extra,
}

impl Change {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Change::Modified => "modified",
            Change::Missing => "missing",
            Change::Extra => "extra",
        }
    }
}

/// The audit of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepAudit {
    /// The step.
    pub vertex: VertexId,
    /// The record that was looked at, as an index of [`ExportedCache::records`].
    pub record: Option<usize>,
    /// Digest of the layer that was looked at.
    pub layer: Option<String>,
    /// What came of it.
    pub verdict: Verdict,
}

/// Most results that are looked at for one step; a cache that was exported again and again has two or three.
const RESULTS: usize = 16;
/// Most differences of one layer that are listed.
const LISTED: usize = 1000;

/// Reads the layers behind the COPY and ADD steps of a build and compares them with what their keys promise. Where a
/// step is missed because of its files, the same comparison says which ones. What cannot be read is returned beside
/// the audits.
pub fn audit(
    cache: &ExportedCache,
    graph: &BuildGraph<'_>,
    plan: &KeyPlan,
    contexts: &Contexts,
    predictions: &mut [Prediction],
) -> (Vec<StepAudit>, Vec<EvidenceError>) {
    let search = Search::new(cache, graph, plan);
    let mut promises = Promises::new(graph, contexts);
    let mut reader = Reader { cache, layers: HashMap::new(), errors: Vec::new() };
    let mut out = Vec::new();
    for prediction in predictions {
        let id = prediction.vertex;
        let (Some(vertex), Some(key)) = (graph.vertices.get(id), plan.steps.get(id)) else { continue };
        // What `--link` lays over the stage is promised by the copy below it.
        let (promising, records) = match vertex.op {
            Op::File(_) => {
                let mut records = search.by_content(vertex, key);
                // Files of a stage may be known although the record was found without looking at them.
                if prediction.status == Status::Hit && !vertex.inputs.is_empty() {
                    records.extend(&prediction.records);
                    records.sort_unstable();
                    records.dedup();
                }
                (id, records)
            }
            Op::Merge => match vertex.inputs.last() {
                Some(copy) => (*copy, prediction.records.clone()),
                None => continue,
            },
            _ => continue,
        };
        let audit = |record, layer, verdict| StepAudit { vertex: id, record, layer, verdict };
        if records.is_empty() && prediction.cause.kind != CauseKind::Content {
            if prediction.status != Status::Miss
                && let Err(reason) = promises.of(promising).map(drop)
                && reason != NoPromise::NoCopy
            {
                out.push(audit(None, None, Verdict::NotChecked(reason.to_string())));
            }
            continue;
        }
        let promise = match promises.of(promising).and_then(unpacked) {
            Ok(promise) => promise,
            Err(NoPromise::NoCopy) => continue,
            Err(reason) => {
                out.push(audit(None, None, Verdict::NotChecked(reason.to_string())));
                continue;
            }
        };
        if records.is_empty() {
            let candidates = search.by_words(vertex, key);
            match reader.changes(&candidates, &promise) {
                Some(paths) => prediction.cause.paths = paths,
                None => {
                    "its layer holds the same files under another key: another version of BuildKit wrote this cache"
                        .clone_into(&mut prediction.cause.detail);
                }
            }
            continue;
        }
        out.push(reader.step(id, &records, &promise));
    }
    (out, reader.errors)
}

struct Reader<'c> {
    cache: &'c ExportedCache,
    layers: HashMap<String, Option<Rc<Layer>>>,
    errors: Vec<EvidenceError>,
}

impl Reader<'_> {
    /// Most layers that are kept in memory.
    const KEPT: usize = 64;

    /// Looks at every result of a step; the first one that differs counts.
    fn step(&mut self, vertex: VertexId, records: &[usize], promise: &Promise) -> StepAudit {
        let mut done: Vec<usize> = Vec::new();
        let mut best: Option<StepAudit> = None;
        let cache = self.cache;
        for record in records {
            let results = cache.records.get(*record).map(|r| r.results.as_slice()).unwrap_or_default();
            for result in results {
                let chain = cache.chain(result);
                let Some((top, below)) = chain.split_first() else { continue };
                if done.contains(top) || done.len() >= RESULTS {
                    continue;
                }
                done.push(*top);
                let verdict = self.compare(*top, below, promise);
                let layer = cache.layers.get(*top).map(|l| l.digest.clone());
                let rank = |v: &Verdict| match v {
                    Verdict::Differs(_) => 2,
                    Verdict::NotChecked(_) => 1,
                    Verdict::Verified { .. } => 0,
                };
                if best.as_ref().is_none_or(|b| rank(&verdict) > rank(&b.verdict)) {
                    best = Some(StepAudit { vertex, record: Some(*record), layer, verdict });
                }
            }
        }
        best.unwrap_or_else(|| {
            let reason = "there is no layer behind its record".to_owned();
            StepAudit {
                vertex,
                record: records.first().copied(),
                layer: None,
                verdict: Verdict::NotChecked(reason),
            }
        })
    }

    fn layer(&mut self, at: usize, expected: u64) -> Result<Rc<Layer>, EvidenceError> {
        let Some(entry) = self.cache.layers.get(at) else {
            return Err(EvidenceError::Missing { digest: at.to_string() });
        };
        match self.layers.get(&entry.digest) {
            Some(Some(layer)) => return Ok(Rc::clone(layer)),
            Some(None) => return Err(EvidenceError::Missing { digest: entry.digest.clone() }),
            None => {}
        }
        if self.layers.len() >= Self::KEPT {
            self.layers.clear();
        }
        let read = Layer::read(&self.cache.store, &entry.name, &entry.digest, expected).map(Rc::new);
        self.layers.insert(entry.digest.clone(), read.as_ref().ok().map(Rc::clone));
        read
    }

    fn compare(&mut self, top: usize, below: &[usize], promise: &Promise) -> Verdict {
        let digest = self.cache.layers.get(top).map(|l| l.digest.clone()).unwrap_or_default();
        let read = self.layer(top, promise.bytes()).and_then(|layer| {
            layer.refuse_foreign(&digest)?;
            Ok(layer)
        });
        let layer = match read {
            Ok(layer) => layer,
            Err(error @ EvidenceError::Missing { .. }) => return Verdict::NotChecked(error.to_string()),
            Err(error) => {
                let reason = error.to_string();
                self.errors.push(error);
                return Verdict::NotChecked(reason);
            }
        };
        let mut found = differences(promise, &layer, None);
        let settled = |d: &Difference| d.change == Change::Modified;
        if !found.iter().all(settled) && !below.is_empty() {
            // A file that was there already may be left out, and a link on the way may lead elsewhere: only the
            // layers below can tell.
            match self.below(below) {
                Ok(stack) => found = differences(promise, &layer, Some(&stack)),
                Err(reason) => {
                    found.retain(settled);
                    if found.is_empty() {
                        return Verdict::NotChecked(reason);
                    }
                }
            }
        }
        if let Some((path, kind)) = device(&layer, &found) {
            self.errors.push(Layer::refuse_device(&path, kind, &digest));
        }
        found.truncate(LISTED);
        if found.is_empty() { Verdict::Verified { files: promise.files() } } else { Verdict::Differs(found) }
    }

    /// The layers below, the uppermost first.
    fn below(&mut self, chain: &[usize]) -> Result<Vec<Rc<Layer>>, String> {
        let mut out = Vec::with_capacity(chain.len());
        for at in chain {
            match self.layer(*at, 0) {
                Ok(layer) => out.push(layer),
                Err(error) => {
                    return Err(format!("some of its files may be in the layers below, and {error}"));
                }
            }
        }
        Ok(out)
    }

    /// The files that differ from those of the closest result with the same words; none if none does.
    fn changes(&mut self, candidates: &[usize], promise: &Promise) -> Option<Vec<PathChange>> {
        let cache = self.cache;
        let mut results: Vec<_> =
            candidates.iter().filter_map(|r| cache.records.get(*r)).flat_map(|r| &r.results).collect();
        results.sort_by(|a, b| b.created.cmp(&a.created));
        let mut best: Option<Vec<Difference>> = None;
        for result in results.into_iter().take(3) {
            let chain = cache.chain(result);
            let Some((top, below)) = chain.split_first() else { continue };
            // Whether this layer can be read is of no interest here: nobody is going to use it.
            let errors = self.errors.len();
            let verdict = self.compare(*top, below, promise);
            self.errors.truncate(errors);
            match verdict {
                Verdict::Verified { .. } => return None,
                Verdict::Differs(found) if best.as_ref().is_none_or(|b| found.len() < b.len()) => {
                    best = Some(found);
                }
                _ => {}
            }
        }
        let changes = best.unwrap_or_default().into_iter().map(|d| PathChange {
            path: d.path.to_str_lossy().into_owned(),
            change: match d.change {
                Change::Modified => change::Change::Modified,
                Change::Missing => change::Change::Added,
                Change::Extra => change::Change::Removed,
            },
            before: d.found,
            after: d.expected,
            unseen: false,
        });
        Some(changes.collect())
    }
}

/// A device among what is not promised.
fn device(layer: &Layer, found: &[Difference]) -> Option<(BString, &'static str)> {
    found.iter().filter(|d| d.change == Change::Extra).find_map(|d| {
        let path = d.image_path.strip_prefix(b"/").unwrap_or(&d.image_path);
        match layer.entries.get(path.as_bstr())?.kind {
            LayerKind::Device(kind) => Some((path.into(), kind)),
            _ => None,
        }
    })
}

/// What a stack of layers holds at a path, the uppermost first.
fn look<'l>(stack: &'l [Rc<Layer>], path: &[u8]) -> Option<&'l LayerEntry> {
    for layer in stack {
        if let Some(entry) = layer.entries.get(path.as_bstr()) {
            return Some(entry);
        }
        if layer.deleted.contains(path.as_bstr()) {
            return None;
        }
        for above in above(path) {
            let hidden = layer.deleted.contains(above) || layer.opaque.contains(above);
            if hidden || layer.entries.get(above).is_some_and(|e| e.kind != LayerKind::Dir) {
                return None;
            }
        }
    }
    None
}

/// The directories above a path, the root left out.
fn above(path: &[u8]) -> impl Iterator<Item = &bstr::BStr> {
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    ends.filter_map(move |at| path.get(..at)).map(|p| p.as_bstr())
}

fn joined(folder: &[u8], path: &[u8]) -> BString {
    let mut out = BString::from(folder);
    if !folder.is_empty() && !path.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(path);
    out
}

/// Where a copy goes, as a path of the layer.
fn destination(copy: &PromisedCopy, layer: &Layer, below: Option<&[Rc<Layer>]>) -> BString {
    let dest = match below {
        Some(stack) => resolved(&copy.dest, true, |at| look(stack, at)),
        None => copy.dest.clone(),
    };
    if copy.from_folder {
        return dest;
    }
    let is_folder = copy.into_folder
        || dest.is_empty()
        || match layer.entries.get(&dest) {
            Some(entry) => entry.kind == LayerKind::Dir,
            None => below.and_then(|b| look(b, &dest)).is_some_and(|e| e.kind == LayerKind::Dir),
        };
    if is_folder { joined(&dest, &copy.name) } else { dest }
}

fn differences(promise: &Promise, layer: &Layer, below: Option<&[Rc<Layer>]>) -> Vec<Difference> {
    let mut wanted: BTreeMap<BString, &PromisedFile> = BTreeMap::new();
    let mut folders: BTreeSet<BString> = BTreeSet::new();
    for copy in &promise.copies {
        let dest = destination(copy, layer, below);
        folders.extend(above(&dest).map(BString::from));
        if copy.from_folder {
            folders.insert(dest.clone());
        }
        for file in &copy.files {
            let path = joined(&dest, &file.relative);
            if !path.is_empty() {
                folders.extend(above(&path).map(BString::from));
                wanted.insert(path, file);
            }
        }
    }
    let mut out = Vec::new();
    let image_path = |path: &BString| BString::from([b"/", path.as_slice()].concat());
    for (path, file) in &wanted {
        let entry = layer.entries.get(path);
        let entry = match entry {
            None if !layer.deleted.contains(path) => below.and_then(|b| look(b, path)),
            entry => entry,
        };
        let entry = match entry {
            Some(LayerEntry { kind: LayerKind::Hardlink { target }, .. }) => {
                // The other name lies below; without that there is nothing to compare.
                let Some(found) = below.and_then(|b| look(b, target)) else { continue };
                Some(found)
            }
            entry => entry,
        };
        let (change, expected, found) = match entry {
            // Pipes and sockets do not always survive the way into a layer.
            None if file.kind == PromisedKind::Special => continue,
            None => (Change::Missing, described(&file.kind), None),
            Some(entry) => match unlike(file, entry) {
                None => continue,
                Some((expected, found)) => (Change::Modified, Some(expected), Some(found)),
            },
        };
        out.push(Difference {
            path: file.path.clone(),
            image_path: image_path(path),
            change,
            expected,
            found,
        });
    }
    let mut extra = |path: &BString, found: Option<String>| {
        out.push(Difference {
            path: path.clone(),
            image_path: image_path(path),
            change: Change::Extra,
            expected: None,
            found,
        });
    };
    for (path, entry) in &layer.entries {
        if wanted.contains_key(path) || (entry.kind == LayerKind::Dir && folders.contains(path)) {
            continue;
        }
        // Written again as it was: of no effect.
        if below.and_then(|b| look(b, path)).is_some_and(|e| e.is_like(entry)) {
            continue;
        }
        extra(path, describe(entry));
    }
    for path in &layer.deleted {
        let of_effect = below.is_none_or(|b| look(b, path).is_some());
        if of_effect && !wanted.contains_key(path) {
            extra(path, Some("deleted".to_owned()));
        }
    }
    for path in &layer.opaque {
        let hides = below.is_some_and(|b| {
            let mut inside = path.to_vec();
            inside.push(b'/');
            b.iter().any(|l| {
                let from = l.entries.range(BString::from(inside.clone())..);
                let mut under = from.map(|(p, _)| p).take_while(|p| p.starts_with(&inside));
                under.any(|p| look(b, p).is_some() && !wanted.contains_key(p))
            })
        });
        if hides {
            extra(path, Some("emptied".to_owned()));
        }
    }
    out
}

/// What is promised and what is there, if they are not the same.
fn unlike(file: &PromisedFile, entry: &LayerEntry) -> Option<(String, String)> {
    let kinds = || Some((name_of(&file.kind).to_owned(), name(&entry.kind).to_owned()));
    match (&file.kind, &entry.kind) {
        (PromisedKind::File { digest: Some(want), .. }, LayerKind::File { digest: have, .. })
            if want != have =>
        {
            return Some((want.clone(), have.clone()));
        }
        (PromisedKind::File { .. }, LayerKind::File { .. }) => {}
        (PromisedKind::Symlink { target: want }, LayerKind::Symlink { target: have }) => {
            let text = |t: &BString| format!("link to {}", t.to_str_lossy());
            return (want != have).then(|| (text(want), text(have)));
        }
        // A builder that has an older copy of the context does not notice that a directory's mode has changed, so
        // this differs without anybody's doing (seen on engine 20.10, and in `file-dir-mode` of the vectors).
        (PromisedKind::Dir, LayerKind::Dir) => return None,
        (PromisedKind::Special, _) => return None,
        _ => return kinds(),
    }
    // A bit that gives the rights of the owner is never copied by chance; that it got lost on the way may happen.
    let mode = file.mode?;
    let gains_rights = entry.mode & !mode & 0o6000 != 0;
    let other = entry.mode & 0o777 != mode & 0o777;
    (other || gains_rights).then(|| (format!("mode {mode:04o}"), format!("mode {:04o}", entry.mode)))
}

/// The promise with what ADD unpacks in place of the archives.
pub(super) fn unpacked(promise: Rc<Promise>) -> Result<Rc<Promise>, NoPromise> {
    if promise.copies.iter().all(|c| c.archive.is_none()) {
        return Ok(promise);
    }
    let mut out = Promise::clone(&promise);
    for copy in &mut out.copies {
        let Some(path) = copy.archive.take() else { continue };
        let name = || copy.files.first().map(|f| f.path.to_string()).unwrap_or_default();
        let found = Layer::of_archive(&path)
            .map_err(|reason| NoPromise::Unreadable(format!("ADD may unpack `{}`: {reason}", name())))?;
        // No archive: copied as it is.
        let Some(archive) = found else { continue };
        let origin: BString = copy.files.first().map(|f| f.path.clone()).unwrap_or_default();
        copy.from_folder = true;
        copy.files = Vec::with_capacity(archive.entries.len());
        for (relative, entry) in &archive.entries {
            let kind = match &entry.kind {
                LayerKind::File { size, digest } => {
                    PromisedKind::File { size: *size, digest: Some(digest.clone()) }
                }
                LayerKind::Dir => PromisedKind::Dir,
                LayerKind::Symlink { target } => PromisedKind::Symlink { target: target.clone() },
                LayerKind::Hardlink { .. } | LayerKind::Device(_) | LayerKind::Fifo => PromisedKind::Special,
            };
            let path = joined(&origin, relative);
            copy.files.push(PromisedFile { relative: relative.clone(), path, kind, mode: Some(entry.mode) });
        }
    }
    Ok(Rc::new(out))
}

pub(super) fn name_of(kind: &PromisedKind) -> &'static str {
    match kind {
        PromisedKind::File { .. } => "file",
        PromisedKind::Dir => "directory",
        PromisedKind::Symlink { .. } => "link",
        PromisedKind::Special => "device or pipe",
    }
}

pub(super) fn name(kind: &LayerKind) -> &'static str {
    match kind {
        LayerKind::File { .. } | LayerKind::Hardlink { .. } => "file",
        LayerKind::Dir => "directory",
        LayerKind::Symlink { .. } => "link",
        LayerKind::Device(name) => name,
        LayerKind::Fifo => "pipe",
    }
}

pub(super) fn described(kind: &PromisedKind) -> Option<String> {
    match kind {
        PromisedKind::File { digest, .. } => digest.clone(),
        PromisedKind::Symlink { target } => Some(format!("link to {}", target.to_str_lossy())),
        kind => Some(name_of(kind).to_owned()),
    }
}

pub(super) fn describe(entry: &LayerEntry) -> Option<String> {
    match &entry.kind {
        LayerKind::File { digest, .. } => Some(digest.clone()),
        LayerKind::Symlink { target } => Some(format!("link to {}", target.to_str_lossy())),
        kind => Some(name(kind).to_owned()),
    }
}
