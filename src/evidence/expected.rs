//! What the instructions of a build say about the files of its image: which file of the source tree is where, and
//! which instructions may have written there since.
//!
//! Follows the operations from the first to the last, like `solver/llbsolver/file` would, with names instead of
//! contents. Files that a process makes, and those of other images, are not known; that they may lie over known ones is.

use super::audit::unpacked;
use super::image::StoredImage;
use crate::build::lower::{BuildGraph, CopyAction, FileAction, FileKind, Local, Op, Vertex, VertexId};
use crate::build::mapping::Mapping;
use crate::build::model::{Action, BuildModel, Copy};
use crate::context::path::{base, clean};
use crate::context::{ContextError, ContextIndex, EntryKind};
use crate::image::{BaseImage, Config};
use crate::key::plan::Contexts;
use crate::key::promise::{NoPromise, PromisedCopy, PromisedFile, PromisedKind, Promises};
use crate::stage::{Base, StageGraph};
use crate::syntax::{Args, Keyword};
use bstr::{BString, ByteSlice as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// What should be in an image.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Files of the source tree by their place in the image, without a leading `/`.
    pub claims: BTreeMap<BString, Claim>,
    /// Instructions of which nobody can say what they copy from the source tree, and why.
    pub unclear: Vec<(VertexId, String)>,
}

impl Expected {
    /// Leaves out what is at or below a path of the main context.
    pub fn forget(&mut self, path: &[u8]) {
        self.claims
            .retain(|_, claim| claim.origin != Origin::Context || !is_at_or_below(&claim.file.path, path));
    }
}

/// A file of the source tree at a place of the image.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is expected.
    pub file: Rc<PromisedFile>,
    /// Where it comes from.
    pub origin: Origin,
    /// The instruction that put it where it is.
    pub via: VertexId,
    /// If a directory is at its place, it is in there under this name: `COPY a /b` where nobody knows what `/b` is.
    pub inside: Option<BString>,
    /// The mode is what an instruction says, not what the source tree has.
    pub exact_mode: bool,
    /// What may have written it since it left the source tree, the latest first.
    pub trace: Option<Rc<Trace>>,
}

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// the main build context
    Context,
    /// the folder of a `--build-context`
    Named(Rc<str>),
    /// a heredoc in the Dockerfile
    Heredoc,
    /// an archive in a context, which ADD unpacks
    Archive,
}

/// Something that happened to a file, and what happened before.
#[derive(Debug)]
pub struct Trace {
    /// What happened.
    pub event: Event,
    /// What happened before it.
    pub before: Option<Rc<Trace>>,
}

/// What may happen to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation may have written it.
    Written(VertexId),
    /// It was copied from this path of another stage.
    Copied(BString),
}

/// What is known of a file system in the course of a build.
#[derive(Clone, Debug, Default)]
struct Stage {
    claims: BTreeMap<BString, Claim>,
    folders: BTreeSet<BString>,
    /// There may be more than is known.
    open: bool,
}

/// Follows the operations that lead to `target`. Files of the contexts are read here.
pub fn expect(
    model: &BuildModel<'_>,
    graph: &BuildGraph<'_>,
    contexts: &Contexts,
    target: VertexId,
) -> Expected {
    let mut needed: BTreeSet<VertexId> = BTreeSet::new();
    let mut open = vec![target];
    while let Some(id) = open.pop() {
        if needed.insert(id)
            && let Some(vertex) = graph.vertices.get(id)
        {
            open.extend(&vertex.inputs);
        }
    }
    let mut uses: HashMap<VertexId, usize> = HashMap::new();
    for id in &needed {
        for input in graph.vertices.get(*id).into_iter().flat_map(|v| &v.inputs) {
            *uses.entry(*input).or_default() += 1;
        }
    }
    let mut following = Following {
        model,
        graph,
        promises: Promises::new(graph, contexts),
        stages: HashMap::new(),
        uses,
        unclear: Vec::new(),
    };
    // Inputs have lower numbers.
    for id in needed {
        following.one(id);
    }
    let claims = following.stages.remove(&target).unwrap_or_default().claims;
    Expected { claims, unclear: following.unclear }
}

struct Following<'b> {
    model: &'b BuildModel<'b>,
    graph: &'b BuildGraph<'b>,
    promises: Promises<'b>,
    stages: HashMap<VertexId, Stage>,
    /// How often what an operation makes is still needed.
    uses: HashMap<VertexId, usize>,
    unclear: Vec<(VertexId, String)>,
}

impl<'b> Following<'b> {
    fn one(&mut self, id: VertexId) {
        let graph = self.graph;
        let Some(vertex) = graph.vertices.get(id) else { return };
        let stage = match &vertex.op {
            Op::Image { .. } => Stage { open: true, ..Stage::default() },
            Op::Http { .. } | Op::Git { .. } => Stage { open: true, ..Stage::default() },
            Op::Local(_) => Stage { open: true, ..Stage::default() },
            Op::Exec(exec) => {
                let root = exec.mounts.iter().find(|m| m.dest == "/" && m.output == 0);
                let root = root.and_then(|m| usize::try_from(m.input).ok());
                let mut stage = self.input(vertex, root);
                let covered: Vec<&[u8]> = exec
                    .mounts
                    .iter()
                    .filter(|m| m.dest != "/")
                    .map(|m| m.dest.trim_matches('/').as_bytes())
                    .collect();
                let mut touched = Touching::new(id);
                for (path, claim) in &mut stage.claims {
                    if !covered.iter().any(|dest| is_at_or_below(path, dest)) {
                        touched.touch(claim);
                    }
                }
                Stage { open: true, ..stage }
            }
            Op::Merge => {
                let mut stage = self.input(vertex, Some(0));
                let above = self.input(vertex, Some(1));
                if above.open {
                    stage.open = true;
                }
                stage.folders.extend(above.folders);
                for (path, claim) in above.claims {
                    stage.claims.insert(path, claim);
                }
                stage
            }
            Op::File(actions) => {
                let base = match actions.first().map(|a| a.input) {
                    Some(0) => Some(0),
                    _ => None,
                };
                let mut stage = self.input(vertex, base);
                self.file(id, vertex, actions, &mut stage);
                stage
            }
        };
        self.stages.insert(id, stage);
    }

    /// What an input holds; taken away when nobody needs it any more.
    fn input(&mut self, vertex: &Vertex<'_>, number: Option<usize>) -> Stage {
        let Some(id) = number.and_then(|n| vertex.inputs.get(n)) else { return Stage::default() };
        match self.uses.get_mut(id) {
            Some(count) if *count <= 1 => self.stages.remove(id).unwrap_or_default(),
            Some(count) => {
                *count -= 1;
                self.stages.get(id).cloned().unwrap_or_default()
            }
            None => Stage::default(),
        }
    }

    fn copy_of(&self, vertex: &Vertex<'_>) -> Option<&'b Copy<'b>> {
        let (stage, number) = vertex.step?;
        match &self.model.stages.get(stage)?.steps.get(number)?.action {
            Action::Copy(copy) => Some(copy),
            _ => None,
        }
    }

    fn file(&mut self, id: VertexId, vertex: &'b Vertex<'b>, actions: &'b [FileAction], stage: &mut Stage) {
        let mut copies: Vec<(&CopyAction, Option<VertexId>)> = Vec::new();
        for action in actions {
            match &action.kind {
                FileKind::Mkdir { path, .. } => stage.make_folder(inside(path).as_slice()),
                FileKind::Mkfile { .. } => {}
                FileKind::Copy(copy) => {
                    let source = usize::try_from(action.secondary).ok().and_then(|i| vertex.inputs.get(i));
                    copies.push((copy, source.copied()));
                }
            }
        }
        if copies.is_empty() {
            return;
        }
        let from_stage = |source: &Option<VertexId>| {
            let source = source.and_then(|s| self.graph.vertices.get(s));
            source.is_some_and(|v| matches!(v.op, Op::Exec(_) | Op::Merge) || is_stage(v))
        };
        if copies.iter().any(|(_, source)| from_stage(source)) {
            return self.stage_copy(id, vertex, &copies, stage);
        }
        let exact = copies.iter().any(|(copy, _)| copy.mode != -1 || !copy.mode_str.is_empty());
        let origin = self.origin(&copies);
        match self.promises.of(id) {
            Ok(promise) => {
                // What ADD unpacks is known by reading the archive.
                let archives = promise.copies.iter().any(|c| c.archive.is_some());
                match unpacked(promise) {
                    Ok(promise) => {
                        for copy in &promise.copies {
                            let is_archive = archives && copy.from_folder;
                            let origin = if is_archive { Origin::Archive } else { origin.clone() };
                            stage.place(copy, id, &origin, exact);
                        }
                    }
                    Err(reason) => self.give_up(id, &copies, stage, &reason),
                }
            }
            Err(NoPromise::NoCopy) => {}
            Err(reason) => self.give_up(id, &copies, stage, &reason),
        }
    }

    /// Where files come from that are not those of a stage.
    fn origin(&self, copies: &[(&CopyAction, Option<VertexId>)]) -> Origin {
        for (_, source) in copies {
            match source.and_then(|s| self.graph.vertices.get(s)).map(|v| &v.op) {
                Some(Op::Local(Local { folder: None, .. })) => return Origin::Context,
                Some(Op::Local(Local { folder: Some(folder), .. })) => {
                    return Origin::Named(folder.as_str().into());
                }
                _ => {}
            }
        }
        Origin::Heredoc
    }

    /// Whatever is copied is not known, and neither is what it lies over.
    fn give_up(
        &mut self,
        id: VertexId,
        copies: &[(&CopyAction, Option<VertexId>)],
        stage: &mut Stage,
        reason: &NoPromise,
    ) {
        for (copy, _) in copies {
            stage.cover(id, &inside(&copy.dest));
        }
        if let NoPromise::Words(_) | NoPromise::Unreadable(_) = reason {
            self.unclear.push((id, reason.to_string()));
        }
    }

    fn stage_copy(
        &mut self,
        id: VertexId,
        vertex: &Vertex<'_>,
        copies: &[(&CopyAction, Option<VertexId>)],
        stage: &mut Stage,
    ) {
        let Some((first, Some(source))) = copies.first() else { return };
        let number = vertex.inputs.iter().position(|i| i == source);
        let from = self.input(vertex, number);
        let dest = inside(&first.dest);
        if from.open {
            stage.cover(id, &dest);
        }
        if let Some(unknown) = vertex.unknown.first() {
            return self.give_up(id, copies, stage, &NoPromise::Words(unknown.clone()));
        }
        let Some(copy) = self.copy_of(vertex) else { return };
        let mapping = Mapping::of(copy);
        let pivoted = copies.iter().any(|(copy, _)| !copy.include.is_empty() && copy.src != "/");
        if pivoted || copies.iter().any(|(copy, _)| copy.unpack) {
            return self.give_up(id, copies, stage, &NoPromise::Elsewhere("another stage".to_owned()));
        }
        let simple = copy.exclude.is_empty() && !copy.parents;
        let patterns: Vec<String> = copy.paths().map(|(_, path)| path).collect();
        let into_folder = mapping.folder;
        let mode = first.mode;
        let exact = mode != -1 || !first.mode_str.is_empty();
        let mut placed = Vec::new();
        for (path, claim) in &from.claims {
            let is_dir = claim.file.kind == PromisedKind::Dir;
            for pattern in &patterns {
                let plain = simple && !crate::context::path::has_wildcard(pattern);
                let source = inside(pattern);
                let land = |path: &BString| match plain {
                    // Of a directory the content is copied.
                    true if is_dir && *path == source => Some((dest.clone(), None)),
                    true => landing(&dest, into_folder, &source, path),
                    false if is_dir => None,
                    false => {
                        let text = format!("/{}", path.to_str().ok()?);
                        Some((inside(&mapping.destination(pattern, &text)?), None))
                    }
                };
                // A file whose place is not certain may be asked for by either of its names.
                let inner = claim.inside.as_ref().map(|name| joined(path, name));
                let (to, name, sure) = match (land(path), inner.as_ref().and_then(land)) {
                    (Some((to, name)), _) => (to, name, false),
                    (None, Some((to, name))) => (to, name, true),
                    (None, None) => continue,
                };
                let mut claim = claim.clone();
                if sure {
                    claim.inside = None;
                }
                let before = claim.trace.take();
                let event = Event::Copied(path.clone());
                claim.trace = Some(Rc::new(Trace { event, before }));
                claim.via = id;
                if exact {
                    claim.exact_mode = true;
                    let number = u32::try_from(mode).ok().filter(|_| first.mode_str.is_empty());
                    Rc::make_mut(&mut claim.file).mode = number.map(|m| m & 0o7777);
                }
                placed.push((to, claim, name));
            }
        }
        for (to, claim, name) in placed {
            stage.put(to, claim, name);
        }
    }
}

/// Why a mapping by hand is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ByHandError {
    /// Nothing is there.
    #[error("there is no `{0}` in the context, or the ignore file leaves it out")]
    Nothing(String),
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
}

/// Maps paths of the image to files and folders of a context by hand, without a Dockerfile: `/app` is `src`. What the
/// ignore file leaves out is not expected.
pub fn by_hand(context: &ContextIndex, roots: &[(String, String)]) -> Result<Expected, ByHandError> {
    let mut out = Expected::default();
    let mut buffer = Vec::new();
    let view = context.view(None)?;
    for (image_path, written) in roots {
        let (image_path, source) = (inside(image_path), inside(written));
        let mut any = false;
        for entry in view.entries().filter(|e| is_at_or_below(&e.path, &source)) {
            any = true;
            let relative = match source.is_empty() {
                true => entry.path.as_slice(),
                false => entry
                    .path
                    .strip_prefix(source.as_slice())
                    .unwrap_or_default()
                    .trim_start_with(|c| c == '/'),
            };
            let kind = match &entry.kind {
                EntryKind::File => {
                    let digest = view.content_digest(entry, &mut buffer)?;
                    PromisedKind::File { size: entry.size, digest }
                }
                EntryKind::Dir => PromisedKind::Dir,
                EntryKind::Symlink { target } => PromisedKind::Symlink { target: target.clone() },
                EntryKind::Fifo
                | EntryKind::Socket
                | EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. } => PromisedKind::Special,
            };
            let path = joined(&image_path, relative);
            let file = PromisedFile {
                relative: relative.into(),
                path: entry.path.clone(),
                kind,
                mode: Some(entry.mode & 0o7777),
            };
            if path.is_empty() {
                continue;
            }
            let claim = Claim {
                file: Rc::new(file),
                origin: Origin::Context,
                via: VertexId::MAX,
                inside: None,
                exact_mode: false,
                trace: None,
            };
            out.claims.insert(path, claim);
        }
        if !any && !source.is_empty() {
            return Err(ByHandError::Nothing(written.clone()));
        }
    }
    Ok(out)
}

/// Whether an operation on files belongs to a stage; the file of a heredoc does not.
fn is_stage(vertex: &Vertex<'_>) -> bool {
    match &vertex.op {
        Op::File(actions) => !actions.iter().all(|a| matches!(a.kind, FileKind::Mkfile { .. })),
        _ => false,
    }
}

/// Marks claims as perhaps written by an operation, with few allocations.
struct Touching {
    by: VertexId,
    made: HashMap<Option<*const Trace>, Rc<Trace>>,
}

impl Touching {
    fn new(by: VertexId) -> Self {
        Self { by, made: HashMap::new() }
    }

    fn touch(&mut self, claim: &mut Claim) {
        let before = claim.trace.take();
        let key = before.as_ref().map(Rc::as_ptr);
        let by = self.by;
        let made = || Rc::new(Trace { event: Event::Written(by), before });
        claim.trace = Some(Rc::clone(self.made.entry(key).or_insert_with(made)));
    }
}

impl Stage {
    fn make_folder(&mut self, path: &[u8]) {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([path.len()]);
        for part in ends.filter_map(|end| path.get(..end)).filter(|p| !p.is_empty()) {
            self.folders.insert(part.into());
        }
    }

    /// Whether a path is known to be a directory; none if nobody knows.
    fn is_folder(&self, path: &BString) -> Option<bool> {
        if path.is_empty() || self.folders.contains(path) {
            return Some(true);
        }
        if let Some(claim) = self.claims.get(path) {
            return Some(claim.file.kind == PromisedKind::Dir);
        }
        let start = BString::from([path.as_slice(), b"/"].concat());
        let below = self.claims.range(start.clone()..).next().is_some_and(|(p, _)| p.starts_with(&start));
        match below {
            true => Some(true),
            false => (!self.open).then_some(false),
        }
    }

    /// An operation may write anything at and below a path.
    fn cover(&mut self, id: VertexId, dest: &BString) {
        let mut touching = Touching::new(id);
        for (path, claim) in &mut self.claims {
            if is_at_or_below(path, dest) {
                touching.touch(claim);
            }
        }
        self.open = true;
    }

    /// Files of a context.
    fn place(&mut self, copy: &PromisedCopy, id: VertexId, origin: &Origin, exact_mode: bool) {
        if copy.from_folder {
            self.make_folder(&copy.dest);
        }
        for file in &copy.files {
            let claim = Claim {
                file: Rc::new(file.clone()),
                origin: origin.clone(),
                via: id,
                inside: None,
                exact_mode,
                trace: None,
            };
            match (copy.from_folder, copy.into_folder) {
                (true, _) => self.put(joined(&copy.dest, &file.relative), claim, None),
                (false, true) => self.put(joined(&copy.dest, &copy.name), claim, None),
                (false, false) => self.put(copy.dest.clone(), claim, Some(copy.name.clone())),
            }
        }
    }

    /// Puts a claim at its place, or under a name into the directory that may be there.
    fn put(&mut self, mut path: BString, mut claim: Claim, name: Option<BString>) {
        if let Some(name) = name {
            match self.is_folder(&path) {
                Some(true) => path = joined(&path, &name),
                Some(false) => {}
                None => claim.inside = Some(name),
            }
        }
        if path.is_empty() {
            return;
        }
        if let Some((folder, _)) = path.rsplit_once_str("/") {
            self.make_folder(folder);
        }
        self.claims.insert(path, claim);
    }
}

/// Where a path at or below `source` lands in `dest`; with the name that it has there if `dest` is a directory.
fn landing(
    dest: &BString,
    into_folder: bool,
    source: &[u8],
    path: &BString,
) -> Option<(BString, Option<BString>)> {
    if source.is_empty() {
        return Some((joined(dest, path), None));
    }
    let rest = path.strip_prefix(source)?;
    match rest.first() {
        None if into_folder => Some((joined(dest, base(source)), None)),
        None => Some((dest.clone(), Some(base(source).into()))),
        Some(b'/') => Some((joined(dest, rest.get(1..).unwrap_or_default()), None)),
        Some(_) => None,
    }
}

/// A path of the image without a leading or final `/`, cleaned.
pub(super) fn inside(path: &str) -> BString {
    clean([b"/", path.as_bytes()].concat()).trim_start_with(|c| c == '/').into()
}

/// `folder/path`, either of which may be empty.
pub(super) fn joined(folder: &[u8], path: &[u8]) -> BString {
    let mut out = BString::from(folder);
    if !folder.is_empty() && !path.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(path);
    out
}

pub(super) fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path.strip_prefix(folder).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// What an image tells about the base image that it was built on: its environment and working directory, as far as no
/// instruction changes them. None if there is no base image, or nothing can be told.
pub fn base_of(graph: &StageGraph<'_>, image: &StoredImage) -> Option<(String, BaseImage)> {
    let lineage = graph.lineage(graph.target?);
    let Base::Image(reference) = &graph.stages.get(*lineage.first()?)?.base else { return None };
    let stages = lineage.iter().filter_map(|s| graph.stages.get(*s));
    let instructions = || stages.clone().flat_map(|s| s.instructions);
    // A working directory that depends on the base's can only be told where it is the base's.
    let first = instructions()
        .find(|i| matches!(i.keyword, Keyword::Workdir | Keyword::Copy | Keyword::Add | Keyword::Run));
    let moved = instructions().any(|i| i.keyword == Keyword::Workdir);
    let settled = first.is_some_and(|i| match &i.args {
        Args::Text(word) => i.keyword == Keyword::Workdir && word.text.starts_with('/'),
        _ => false,
    });
    if moved && !settled {
        return None;
    }
    let set: BTreeSet<&str> = instructions()
        .filter(|i| i.keyword == Keyword::Env)
        .filter_map(|i| match &i.args {
            Args::Pairs { pairs, .. } => Some(pairs),
            _ => None,
        })
        .flatten()
        .map(|p| p.key.text.as_str())
        .collect();
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let env = image.env.iter().filter(|e| !set.contains(name(e).as_str())).cloned().collect();
    let working_dir = if moved { String::new() } else { image.working_dir.clone() };
    let base = BaseImage {
        digest: None,
        platform: image.platform.clone(),
        config: Config { env, working_dir, ..Config::default() },
        // Something has to be there: an image without layers is like none.
        diff_ids: Vec::new(),
        empty: false,
        triggers: Vec::new(),
    };
    Some((reference.clone(), base))
}
