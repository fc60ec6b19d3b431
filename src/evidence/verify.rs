//! Whether an image holds the files of its source tree.
//!
//! Contents are compared, never times and sizes. For every file the layers tell which instruction of the final stage
//! wrote it last; what processes of other stages did to a file can only be guessed from their words, and where it
//! cannot, the file is left undecided.

use super::audit::{describe, described, name, name_of};
use super::effect::{Effect, effect};
use super::expected::{Claim, Event, Expected, Origin, joined};
use super::image::{Made, StoredImage};
use super::layer::{LayerEntry, LayerKind};
use super::store::digest_of;
use super::tree::ImageTree;
use crate::build::lower::{BuildGraph, FileKind, Op, Vertex, VertexId};
use crate::build::model::{Action, BuildModel, Step};
use crate::key::promise::PromisedKind;
use bstr::{BString, ByteSlice as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An instruction, as stage and index in [`crate::build::model::StageModel::steps`].
pub type StepId = (usize, usize);

/// What came of comparing an image with its source tree.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Files and links that were compared.
    pub checked: usize,
    /// Paths at which the image does not hold what the source tree has.
    pub differences: Vec<Difference>,
    /// Paths at which it does not, while an instruction may have meant that.
    pub undecided: Vec<Difference>,
    /// Files of the source tree that another instruction of the final stage replaced by something that is not of the
    /// source tree.
    pub replaced: usize,
    /// Instructions of which nobody can say what they copy, and why.
    pub unclear: Vec<(Option<StepId>, String)>,
    /// Links of the image that are files in the tree with the target as their text: a checkout without links.
    pub links_as_text: usize,
    /// Whether the history of the image is that of the Dockerfile.
    pub history: History,
}

/// How the recorded history of an image fits a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum History {
    /// Each layer belongs to an instruction.
    #[default]
    Fits,
    /// There is none.
    Absent,
    /// It was made by other instructions.
    Differs {
        /// what the image says
        made_by: String,
        /// the instruction at its place; none if the Dockerfile has fewer
        step: Option<StepId>,
    },
}

/// One path at which an image is not as its source tree.
#[derive(Clone, Debug)]
pub struct Difference {
    /// In the source tree; in the image where the source tree has nothing like it.
    pub path: BString,
    /// In the image, with a leading `/`.
    pub image_path: BString,
    /// What is different.
    pub change: Change,
    /// Digest, link text, mode or type that is expected.
    pub expected: Option<String>,
    /// The same as it is in the image.
    pub found: Option<String>,
    /// The layer that put it there or took it away, as an index of [`StoredImage::layers`].
    pub layer: Option<usize>,
    /// The instruction that did so.
    pub step: Option<StepId>,
    /// Who made it different.
    pub by: By,
    /// Where the file comes from.
    pub origin: Origin,
    /// What explains it, if anything does.
    pub cause: Option<Cause>,
}

/// Kinds of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// other content or link text
    Modified,
    /// not there
    Missing,
    /// there, but not in the source tree
    Extra,
    /// other permissions
    Mode,
    /// a directory in place of a file, or the like
    Type,
}

impl Change {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Change::Modified => "modified",
            Change::Missing => "missing",
            Change::Extra => "extra",
            Change::Mode => "mode",
            Change::Type => "type",
        }
    }
}

/// Who made a file of the image different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The instruction that copied it brought it so.
    Copy,
    /// A RUN wrote it or took it away.
    Run(StepId),
    /// These may have.
    Perhaps(Vec<StepId>),
}

/// What explains a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The image's file has the size and the time of the source tree's, so that a builder with an older copy of the
    /// context does not see that it has changed.
    SameStat,
    /// Line ends alone are different.
    LineEnds {
        /// the image has those of Windows
        crlf_in_image: bool,
    },
    /// One of the two is a pointer of git LFS to the content of the other.
    LfsPointer {
        /// the pointer is in the image
        in_image: bool,
    },
    /// The file as it was in a commit.
    Revision(String),
    /// The file in the source tree was written after the image was made.
    Later,
}

/// Where the layers of an image come from.
#[derive(Debug, Default)]
pub struct Instructions {
    layers: HashMap<StepId, Option<usize>>,
    steps: BTreeMap<usize, StepId>,
    /// How well it fits.
    pub history: History,
}

/// What makes an entry in the history of an image, among those that may make a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Run,
    Copy,
    Add,
    Workdir,
}

impl Maker {
    fn of_step(step: &Step<'_>) -> Option<Self> {
        match &step.action {
            Action::Run(_) => Some(Maker::Run),
            Action::Copy(copy) if copy.is_add => Some(Maker::Add),
            Action::Copy(_) => Some(Maker::Copy),
            Action::Workdir(_) => Some(Maker::Workdir),
            _ => None,
        }
    }

    /// By what BuildKit and the classic builder write.
    fn of_history(by: &str) -> Option<Self> {
        let by = by.trim_start();
        let classic = by.split_once("#(nop)").map(|(_, rest)| rest.trim_start());
        let text = classic.unwrap_or(by);
        let word = text.split_whitespace().next().unwrap_or_default();
        match word {
            "RUN" => Some(Maker::Run),
            "COPY" => Some(Maker::Copy),
            "ADD" => Some(Maker::Add),
            "WORKDIR" => Some(Maker::Workdir),
            "ARG" | "CMD" | "ENTRYPOINT" | "ENV" | "EXPOSE" | "HEALTHCHECK" | "LABEL" | "MAINTAINER"
            | "ONBUILD" | "SHELL" | "STOPSIGNAL" | "USER" | "VOLUME" => None,
            // The classic builder leaves the word away.
            _ if classic.is_none() => Some(Maker::Run),
            _ => None,
        }
    }
}

impl Instructions {
    /// Finds the instruction of each layer by the history of the image, from its end.
    pub fn new(model: &BuildModel<'_>, target: usize, image: &StoredImage) -> Self {
        let steps: Vec<(StepId, Maker)> = model
            .graph
            .lineage(target)
            .into_iter()
            .filter_map(|stage| model.stages.get(stage))
            .flat_map(|stage| {
                stage.steps.iter().enumerate().map(|(number, step)| ((stage.index, number), step))
            })
            .filter_map(|(id, step)| Some((id, Maker::of_step(step)?)))
            .collect();
        if image.history.is_empty() {
            let history = if steps.is_empty() { History::Fits } else { History::Absent };
            return Self { history, ..Self::default() };
        }
        let made: Vec<(&Made, Maker)> =
            image.history.iter().filter_map(|m| Some((m, Maker::of_history(&m.by)?))).collect();
        let mut out = Self::default();
        let mut upwards = made.into_iter().rev();
        for (id, maker) in steps.into_iter().rev() {
            let step = Some(id);
            match upwards.next() {
                Some((made, found)) if found == maker => {
                    out.layers.insert(id, made.layer);
                    if let Some(layer) = made.layer {
                        out.steps.insert(layer, id);
                    }
                }
                Some((made, _)) => {
                    let history = History::Differs { made_by: made.by.clone(), step };
                    return Self { history, ..Self::default() };
                }
                None => {
                    let history = History::Differs { made_by: String::new(), step };
                    return Self { history, ..Self::default() };
                }
            }
        }
        out
    }

    /// The layer of an instruction: `None` if that is not known, `Some(None)` if it made none.
    pub fn layer(&self, step: StepId) -> Option<Option<usize>> {
        self.layers.get(&step).copied()
    }

    /// The instruction of a layer, if it is one of the Dockerfile.
    pub fn step(&self, layer: usize) -> Option<StepId> {
        self.steps.get(&layer).copied()
    }
}

/// Everything that is needed to compare.
pub struct Verifying<'v> {
    /// The Dockerfile and its operations; none where paths are mapped by hand.
    pub build: Option<(&'v BuildModel<'v>, &'v BuildGraph<'v>)>,
    /// What should be there.
    pub expected: &'v Expected,
    /// What is there.
    pub tree: &'v ImageTree,
    /// Which instruction made which layer.
    pub instructions: &'v Instructions,
}

/// What is at the place of a claim.
enum Found {
    Same,
    /// The same, for git: a link in a checkout without links is a file with the target as its text.
    LinkAsText,
    /// Nobody can tell.
    Unknown,
    Other {
        change: Change,
        expected: Option<String>,
        found: Option<String>,
    },
}

/// Who may have written a file, and whether that is certain.
enum Writer {
    /// nobody but the instruction that copied it
    Copy,
    /// an instruction that puts something else in its place
    Replaced,
    Run(StepId),
    Perhaps(Vec<StepId>),
}

impl<'v> Verifying<'v> {
    fn vertex(&self, id: VertexId) -> Option<&'v Vertex<'v>> {
        self.build.and_then(|(_, graph)| graph.vertices.get(id))
    }

    /// Compares.
    pub fn verify(&self) -> Verification {
        let mut out = Verification { history: self.instructions.history.clone(), ..Verification::default() };
        let step = |id: &VertexId| self.vertex(*id).and_then(|v| v.step);
        out.unclear = self.expected.unclear.iter().map(|(id, why)| (step(id), why.clone())).collect();
        let mut places: BTreeSet<BString> = BTreeSet::new();
        for (path, claim) in &self.expected.claims {
            let mut at = self.tree.resolved(path, false);
            if let Some(name) = &claim.inside {
                let folder = self.tree.resolved(path, true);
                if self.tree.is_dir(&folder) {
                    at = joined(&folder, name);
                }
            }
            // A file that is copied over a link goes to where it leads.
            let is_file = matches!(claim.file.kind, PromisedKind::File { .. });
            let is_link = self.tree.get(&at).is_some_and(|e| matches!(e.kind, LayerKind::Symlink { .. }));
            if is_file && is_link && !self.is_link_as_text(claim, &at) {
                let end = self.tree.resolved(&at, true);
                if self.tree.get(&end).is_some_and(|e| matches!(e.kind, LayerKind::File { .. })) {
                    places.insert(at);
                    at = end;
                }
            }
            places.insert(at.clone());
            self.claim(path, claim, at, &mut out);
        }
        self.extra(&places, &mut out);
        out
    }

    fn claim(&self, path: &BString, claim: &Claim, at: BString, out: &mut Verification) {
        let is_dir = claim.file.kind == PromisedKind::Dir;
        let found = self.found(claim, &at);
        let (change, expected, found) = match found {
            Found::Same => {
                out.checked += usize::from(!is_dir);
                return;
            }
            Found::LinkAsText => {
                out.checked += 1;
                out.links_as_text += 1;
                return;
            }
            Found::Unknown => return,
            Found::Other { change, expected, found } => (change, expected, found),
        };
        if is_dir && change == Change::Missing {
            // Its files tell more; and git does not know empty directories.
            return;
        }
        let mut difference = Difference {
            path: claim.file.path.clone(),
            image_path: [b"/", at.as_slice()].concat().into(),
            change,
            expected,
            found,
            layer: self.tree.writer(&at),
            step: None,
            by: By::Copy,
            origin: claim.origin.clone(),
            cause: None,
        };
        difference.step = difference
            .layer
            .and_then(|l| self.instructions.step(l))
            .or_else(|| self.vertex(claim.via).and_then(|v| v.step));
        if difference.layer.is_none() {
            // It never was there: the layer of the copy is the one to look at.
            let copied = difference.step.and_then(|s| self.instructions.layer(s));
            difference.layer = copied.flatten();
        }
        let writer = self.writer(claim, path, &at, change == Change::Mode);
        // Modes are changed by chmod on purpose.
        let meant = change == Change::Mode && !matches!(writer, Writer::Copy);
        match writer {
            _ if meant => out.checked += 1,
            Writer::Replaced => out.replaced += 1,
            Writer::Copy => {
                out.checked += 1;
                out.differences.push(difference);
            }
            Writer::Run(step) => {
                out.checked += 1;
                difference.by = By::Run(step);
                if difference.step != Some(step) {
                    // It happened in a stage of which the image has no layers.
                    difference.layer = None;
                    difference.step = Some(step);
                }
                out.differences.push(difference);
            }
            Writer::Perhaps(steps) => {
                difference.by = By::Perhaps(steps);
                out.undecided.push(difference);
            }
        }
    }

    /// Whether a link of the image is a file of the tree with its target as text.
    fn is_link_as_text(&self, claim: &Claim, at: &BString) -> bool {
        let Some(LayerEntry { kind: LayerKind::Symlink { target }, .. }) = self.tree.get(at) else {
            return false;
        };
        match &claim.file.kind {
            PromisedKind::File { size, digest: Some(want) } => {
                *size == target.len() as u64 && *want == digest_of(target)
            }
            _ => false,
        }
    }

    fn found(&self, claim: &Claim, at: &BString) -> Found {
        let file = claim.file.as_ref();
        let other = |change, expected, found| Found::Other { change, expected, found };
        match (&file.kind, self.tree.get(at)) {
            // Pipes and sockets do not always survive the way into a layer.
            (PromisedKind::Special, _) | (PromisedKind::File { digest: None, .. }, _) => Found::Unknown,
            (kind, None) => other(Change::Missing, described(kind), None),
            (kind, Some(entry)) => match (kind, &entry.kind) {
                (_, LayerKind::Hardlink { .. }) => Found::Unknown,
                (PromisedKind::File { digest: Some(want), .. }, LayerKind::File { digest: have, .. }) => {
                    if want != have {
                        return other(Change::Modified, Some(want.clone()), Some(have.clone()));
                    }
                    match self.modes(claim, entry) {
                        Some((want, have)) => other(Change::Mode, Some(want), Some(have)),
                        None => Found::Same,
                    }
                }
                (PromisedKind::Symlink { target: want }, LayerKind::Symlink { target: have }) => {
                    let text = |t: &BString| Some(format!("link to {}", t.to_str_lossy()));
                    if want == have { Found::Same } else { other(Change::Modified, text(want), text(have)) }
                }
                (PromisedKind::File { .. }, LayerKind::Symlink { .. }) if self.is_link_as_text(claim, at) => {
                    Found::LinkAsText
                }
                (PromisedKind::Dir, LayerKind::Dir) => Found::Same,
                // A directory may be reached through a link.
                (PromisedKind::Dir, LayerKind::Symlink { .. })
                    if self.tree.is_dir(&self.tree.resolved(at, true)) =>
                {
                    Found::Same
                }
                (kind, found) => {
                    other(Change::Type, Some(name_of(kind).to_owned()), Some(name(found).to_owned()))
                }
            },
        }
    }

    /// Modes that are different. Without `--chmod`, only whether a file can be executed counts, as in git: the rest
    /// depends on the umask of whoever checked it out.
    fn modes(&self, claim: &Claim, entry: &LayerEntry) -> Option<(String, String)> {
        let mode = claim.file.mode?;
        let text = |mode: u32| format!("mode {mode:04o}");
        let gains_rights = entry.mode & !mode & 0o6000 != 0;
        let differs = match claim.exact_mode {
            true => entry.mode & 0o777 != mode & 0o777,
            false => mode & 0o100 != 0 && entry.mode & 0o111 == 0,
        };
        (differs || gains_rights).then(|| (text(mode), text(entry.mode)))
    }

    /// Whether an operation wrote a path, by the layers: `None` if they do not tell. A `mode` comes from
    /// whatever wrote the path, a content only from what changed it.
    fn wrote(&self, step: StepId, at: &BString, mode: bool) -> Option<bool> {
        match self.instructions.layer(step)? {
            None => Some(false),
            Some(layer) if mode => Some(self.tree.versions(at).iter().any(|v| v.layer == layer)),
            Some(layer) => Some(self.tree.changes(layer, at)),
        }
    }

    /// Who may have made a file different since it left the source tree.
    fn writer(&self, claim: &Claim, path: &BString, at: &BString, mode: bool) -> Writer {
        let mut perhaps: Vec<StepId> = Vec::new();
        let mut here = path.clone();
        // Only what happens in the final stage can be seen in the layers.
        let mut in_image = true;
        let mut trace = claim.trace.as_ref();
        while let Some(now) = trace {
            trace = now.before.as_ref();
            let id = match &now.event {
                Event::Copied(from) => {
                    here.clone_from(from);
                    in_image = false;
                    continue;
                }
                Event::Written(id) => *id,
            };
            let Some(vertex) = self.vertex(id) else { continue };
            let Some(step) = vertex.step else { continue };
            let seen = if in_image { self.wrote(step, at, mode) } else { None };
            let is_run = matches!(vertex.op, Op::Exec(_));
            match seen {
                Some(false) => continue,
                Some(true) if is_run => return Writer::Run(step),
                Some(true) => return Writer::Replaced,
                None => {}
            }
            let run = self.build.and_then(|(model, _)| model.stages.get(step.0)?.steps.get(step.1));
            let effect = match (run, here.to_str()) {
                (Some(run_step), Ok(here)) => match &run_step.action {
                    Action::Run(run) => effect(run_step, run, &format!("/{here}")),
                    _ => Effect::Unknown,
                },
                _ => Effect::Unknown,
            };
            match effect {
                Effect::Spares => {}
                // What is certain counts if nothing uncertain came later.
                Effect::Writes | Effect::Removes if perhaps.is_empty() => return Writer::Run(step),
                Effect::Unknown | Effect::Writes | Effect::Removes => perhaps.push(step),
            }
        }
        if perhaps.is_empty() { Writer::Copy } else { Writer::Perhaps(perhaps) }
    }

    /// Files that the layers of copies hold although the source tree does not have them.
    fn extra(&self, places: &BTreeSet<BString>, out: &mut Verification) {
        // Layers of which everything is known.
        let unclear: BTreeSet<VertexId> = self.expected.unclear.iter().map(|(id, _)| *id).collect();
        let mut known: BTreeMap<usize, StepId> = BTreeMap::new();
        let vertices = self.build.map(|(_, graph)| graph.vertices.as_slice()).unwrap_or_default();
        for (id, vertex) in vertices.iter().enumerate() {
            let Some(step) = vertex.step.filter(|_| !unclear.contains(&id)) else { continue };
            if let (Op::File(_), Some(Some(layer))) = (&vertex.op, self.instructions.layer(step))
                && self.is_context_copy(id)
            {
                known.insert(layer, step);
            }
        }
        for (path, entry) in self.tree.entries() {
            if entry.kind == LayerKind::Dir || places.contains(path) {
                continue;
            }
            let Some(layer) = self.tree.writer(path) else { continue };
            let Some(step) = known.get(&layer) else { continue };
            let image_path: BString = [b"/", path.as_slice()].concat().into();
            out.differences.push(Difference {
                path: image_path.clone(),
                image_path,
                change: Change::Extra,
                expected: None,
                found: describe(entry),
                layer: Some(layer),
                step: Some(*step),
                by: By::Copy,
                origin: Origin::Context,
                cause: None,
            });
        }
    }

    /// Whether all that an operation copies comes from contexts and heredocs.
    fn is_context_copy(&self, id: VertexId) -> bool {
        let Some(vertex) = self.vertex(id) else { return false };
        let Op::File(actions) = &vertex.op else { return false };
        let mut any = false;
        for action in actions {
            if !matches!(action.kind, FileKind::Copy(_)) {
                continue;
            }
            any = true;
            let source = usize::try_from(action.secondary).ok().and_then(|i| vertex.inputs.get(i));
            match source.and_then(|s| self.vertex(*s)) {
                Some(source) if matches!(source.op, Op::Local(_)) || source.internal => {}
                _ => return false,
            }
        }
        any
    }
}
