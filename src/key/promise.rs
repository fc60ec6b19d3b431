//! What the key of a COPY or ADD promises about its result: which files, with which content, at which paths.
//!
//! Mirrors `solver/llbsolver/file/backend.go` and `fsutil/copy`. Times and owners are left out: they differ without
//! harm.

use super::plan::{Contexts, selector};
use super::sha256;
use crate::build::lower::{BuildGraph, CopyAction, FileKind, Op, VertexId};
use crate::context::path::Wildcard;
use crate::context::{Entry, EntryKind, Selector, View};
use bstr::{BString, ByteSlice as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::rc::Rc;

/// The files that an instruction puts into its stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// One for each source, in the order in which they are copied.
    pub copies: Vec<PromisedCopy>,
}

/// One source, or one of those that a wildcard stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromisedCopy {
    /// Where to: a cleaned path without leading or final `/`, empty for the root.
    pub dest: BString,
    /// The destination is written as a directory.
    pub into_folder: bool,
    /// The source is a directory, of which the content is copied.
    pub from_folder: bool,
    /// The last part of the source's path, which a file keeps in a directory.
    pub name: BString,
    /// What is copied.
    pub files: Vec<PromisedFile>,
    /// ADD unpacks it if it is an archive: its place on the disk.
    pub archive: Option<PathBuf>,
}

/// One path that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromisedFile {
    /// Below the destination; empty for the source itself.
    pub relative: BString,
    /// The path in the context; the name of a heredoc.
    pub path: BString,
    /// What it is.
    pub kind: PromisedKind,
    /// Permission bits; `None` where they are not told.
    pub mode: Option<u32>,
}

/// What a promised path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromisedKind {
    /// a regular file
    File {
        /// bytes
        size: u64,
        /// `sha256:…`; `None` if the content does not travel
        digest: Option<String>,
    },
    /// a directory
    Dir,
    /// a symbolic link with its text
    Symlink {
        /// the text
        target: BString,
    },
    /// a pipe, socket or device
    Special,
}

/// Why nobody can say what an instruction should put into its stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPromise {
    /// No COPY or ADD.
    #[error("only COPY and ADD of known files promise anything")]
    NoCopy,
    /// The files come from elsewhere.
    #[error("its files come from {0}, which only a build knows")]
    Elsewhere(String),
    /// Part of the instruction is not known.
    #[error("its words depend on {0}")]
    Words(String),
    /// The files cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// The promises of a build, each made once. Files are read here.
pub struct Promises<'b> {
    graph: &'b BuildGraph<'b>,
    contexts: &'b Contexts,
    known: HashMap<VertexId, Result<Rc<Promise>, NoPromise>>,
    /// What stages of nothing but copies hold after an operation.
    trees: HashMap<VertexId, Result<Rc<Files>, NoPromise>>,
}

/// The files of a stage by their paths, without leading `/`.
type Files = BTreeMap<BString, PromisedFile>;

impl<'b> Promises<'b> {
    /// Nothing is read yet.
    pub fn new(graph: &'b BuildGraph<'b>, contexts: &'b Contexts) -> Self {
        Self { graph, contexts, known: HashMap::new(), trees: HashMap::new() }
    }

    /// What the operation `id` promises.
    pub fn of(&mut self, id: VertexId) -> Result<Rc<Promise>, NoPromise> {
        // Stages that are copied from come first, each before those that copy from it: their operations have lower
        // numbers.
        let mut needed: BTreeSet<VertexId> = BTreeSet::new();
        let mut open = self.sources(id);
        while let Some(source) = open.pop() {
            if needed.insert(source)
                && let Some(vertex) = self.graph.vertices.get(source)
                && matches!(vertex.op, Op::File(_) | Op::Merge)
            {
                open.extend(&vertex.inputs);
            }
        }
        for source in needed {
            if !self.trees.contains_key(&source) {
                let tree = self.tree(source).map(Rc::new);
                self.trees.insert(source, tree);
            }
        }
        self.made(id)
    }

    /// Operations whose files an operation copies.
    fn sources(&self, id: VertexId) -> Vec<VertexId> {
        let Some(vertex) = self.graph.vertices.get(id) else { return Vec::new() };
        let Op::File(actions) = &vertex.op else { return Vec::new() };
        let inputs = actions.iter().filter_map(|a| usize::try_from(a.secondary).ok());
        inputs.filter_map(|i| vertex.inputs.get(i)).copied().collect()
    }

    /// The promise, when all stages that are copied from are known.
    fn made(&mut self, id: VertexId) -> Result<Rc<Promise>, NoPromise> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let made = self.make(id).map(Rc::new);
        self.known.insert(id, made.clone());
        made
    }

    fn make(&self, id: VertexId) -> Result<Promise, NoPromise> {
        let vertex = self.graph.vertices.get(id).ok_or(NoPromise::NoCopy)?;
        let Op::File(actions) = &vertex.op else { return Err(NoPromise::NoCopy) };
        let mut out = Promise::default();
        for action in actions {
            let FileKind::Copy(copy) = &action.kind else { return Err(NoPromise::NoCopy) };
            let input = usize::try_from(action.secondary).ok().and_then(|i| vertex.inputs.get(i));
            let Some((number, source)) = input.and_then(|i| Some((i, self.graph.vertices.get(*i)?))) else {
                return Err(NoPromise::Elsewhere("an empty stage".to_owned()));
            };
            match &source.op {
                Op::Local(local) => {
                    let index = self.contexts.of(local).ok_or(NoPromise::NoCopy)?;
                    let unreadable = |e: crate::context::ContextError| NoPromise::Unreadable(e.to_string());
                    let view = index.view(local.follow_paths.as_deref()).map_err(unreadable)?;
                    out.context(&view, copy, index.root.as_path())?;
                }
                Op::File(_) | Op::Merge => match self.trees.get(number) {
                    Some(Ok(tree)) => out.stage(tree, copy, &source.name)?,
                    Some(Err(reason)) => return Err(reason.clone()),
                    None => return Err(NoPromise::Elsewhere(format!("`{}`", source.name))),
                },
                _ => return Err(NoPromise::Elsewhere(format!("`{}`", source.name))),
            }
        }
        if let Some(unknown) = vertex.unknown.first() {
            return Err(NoPromise::Words(unknown.clone()));
        }
        Ok(out)
    }

    /// What is there after an operation, its inputs being known.
    fn tree(&mut self, id: VertexId) -> Result<Files, NoPromise> {
        let vertex = self.graph.vertices.get(id).ok_or(NoPromise::NoCopy)?;
        let elsewhere = || NoPromise::Elsewhere(format!("`{}`", vertex.name));
        let below = |number: usize| match vertex.inputs.get(number).and_then(|i| self.trees.get(i)) {
            Some(Ok(tree)) => Ok(Files::clone(tree)),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err(elsewhere()),
        };
        match &vertex.op {
            Op::Merge => {
                let mut out = below(0)?;
                for (path, file) in below(1)? {
                    put(&mut out, path, file).ok_or_else(elsewhere)?;
                }
                Ok(out)
            }
            Op::File(actions) => {
                let mut out = match actions.first().map(|a| a.input) {
                    Some(0) => below(0)?,
                    _ => Files::new(),
                };
                if !vertex.unknown.is_empty() {
                    return Err(elsewhere());
                }
                for action in actions {
                    match &action.kind {
                        FileKind::Mkfile { path, mode, data } => {
                            let kind =
                                PromisedKind::File { size: data.len() as u64, digest: Some(sha256(data)) };
                            let path: BString = path.trim_start_matches('/').into();
                            let mode = u32::try_from(*mode).ok();
                            let file =
                                PromisedFile { relative: BString::default(), path: path.clone(), kind, mode };
                            put(&mut out, path, file).ok_or_else(elsewhere)?;
                        }
                        FileKind::Mkdir { path, .. } => {
                            folder(&mut out, path.trim_start_matches('/').as_bytes())
                                .ok_or_else(elsewhere)?;
                        }
                        FileKind::Copy(_) => {}
                    }
                }
                if actions.iter().any(|a| matches!(a.kind, FileKind::Copy(_))) {
                    for copy in &self.made(id)?.copies {
                        apply(&mut out, copy).ok_or_else(elsewhere)?;
                    }
                }
                Ok(out)
            }
            _ => Err(elsewhere()),
        }
    }
}

/// Makes a directory with all above it; none if something else is in the way.
fn folder(files: &mut Files, path: &[u8]) -> Option<()> {
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([path.len()]);
    for part in ends.filter_map(|end| path.get(..end)).filter(|p| !p.is_empty()) {
        let dir = || PromisedFile {
            relative: BString::default(),
            path: part.into(),
            kind: PromisedKind::Dir,
            mode: None,
        };
        if files.entry(part.into()).or_insert_with(dir).kind != PromisedKind::Dir {
            return None;
        }
    }
    Some(())
}

fn put(files: &mut Files, path: BString, file: PromisedFile) -> Option<()> {
    if file.kind == PromisedKind::Dir {
        folder(files, &path)?;
    } else {
        folder(files, path.rsplit_once_str("/").map_or(b"", |(folder, _)| folder))?;
        if files.get(&path).is_some_and(|f| f.kind == PromisedKind::Dir) {
            return None;
        }
    }
    files.insert(path, file);
    Some(())
}

/// Copies; none where that cannot be told by the files alone.
fn apply(files: &mut Files, copy: &PromisedCopy) -> Option<()> {
    if copy.archive.is_some() {
        return None;
    }
    let is_folder = |files: &Files| files.get(&copy.dest).is_some_and(|f| f.kind == PromisedKind::Dir);
    let mut dest = copy.dest.clone();
    if copy.from_folder {
        folder(files, &dest)?;
    } else if copy.into_folder || dest.is_empty() || is_folder(files) {
        if !dest.is_empty() {
            dest.push(b'/');
        }
        dest.extend_from_slice(&copy.name);
    }
    for file in &copy.files {
        let mut path = dest.clone();
        if !path.is_empty() && !file.relative.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&file.relative);
        if !path.is_empty() {
            put(files, path, file.clone())?;
        }
    }
    Some(())
}

impl Promise {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let files = self.copies.iter().flat_map(|c| &c.files);
        files.fold(0, |sum, f| match f.kind {
            PromisedKind::File { size, .. } => sum.saturating_add(size),
            _ => sum,
        })
    }

    /// Number of regular files.
    pub fn files(&self) -> usize {
        let files = self.copies.iter().flat_map(|c| &c.files);
        files.filter(|f| matches!(f.kind, PromisedKind::File { .. })).count()
    }

    fn context(
        &mut self,
        view: &View<'_>,
        copy: &CopyAction,
        root: &std::path::Path,
    ) -> Result<(), NoPromise> {
        let selector: Selector = selector(copy);
        let placed = view.placed(&selector).map_err(|e| NoPromise::Unreadable(e.to_string()))?;
        if placed.is_empty() && !selector.is_list() {
            // An empty directory, or the root of an empty context.
            self.copies.push(PromisedCopy { from_folder: true, ..place(copy, selector.path.as_bytes()) });
        }
        let mut buffer = Vec::new();
        let mut group: Option<(BString, PromisedCopy)> = None;
        for found in placed {
            let entry: &Entry = found.entry;
            if group.as_ref().is_none_or(|(source, _)| *source != found.source) {
                self.copies.extend(group.take().map(|(_, copy)| copy));
                let from_folder = !found.relative.is_empty() || entry.is_dir();
                let new = PromisedCopy { from_folder, ..place(copy, &found.source) };
                group = Some((found.source.clone(), new));
            }
            let Some((_, into)) = &mut group else { continue };
            if copy.unpack && !into.from_folder && entry.is_file() {
                into.archive = Some(root.join(crate::context::system_path(&entry.path)));
            }
            let kind = match &entry.kind {
                EntryKind::File => {
                    let digest = view.content_digest(entry, &mut buffer);
                    let digest = digest.map_err(|e| NoPromise::Unreadable(e.to_string()))?;
                    PromisedKind::File { size: entry.size, digest }
                }
                EntryKind::Dir => PromisedKind::Dir,
                EntryKind::Symlink { target } => PromisedKind::Symlink { target: target.clone() },
                EntryKind::Fifo
                | EntryKind::Socket
                | EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. } => PromisedKind::Special,
            };
            let mode = mode(copy, Some(entry.mode & 0o7777), &kind);
            into.files.push(PromisedFile { relative: found.relative, path: entry.path.clone(), kind, mode });
        }
        self.copies.extend(group.map(|(_, copy)| copy));
        Ok(())
    }
}

fn place(copy: &CopyAction, source: &[u8]) -> PromisedCopy {
    let dest = crate::context::path::clean([b"/", copy.dest.as_bytes()].concat());
    PromisedCopy {
        dest: dest.trim_start_with(|c| c == '/').into(),
        into_folder: copy.dest.ends_with('/') || copy.dest.ends_with("/."),
        from_folder: false,
        name: crate::context::path::base(source).into(),
        files: Vec::new(),
        archive: None,
    }
}

/// `--chmod` counts for files and directories alike; links have no mode of their own.
fn mode(copy: &CopyAction, own: Option<u32>, kind: &PromisedKind) -> Option<u32> {
    if !copy.mode_str.is_empty() {
        return None;
    }
    match u32::try_from(copy.mode) {
        Ok(mode) if !matches!(kind, PromisedKind::Symlink { .. }) => Some(mode & 0o7777),
        _ => own,
    }
}

impl Promise {
    /// Copies from the files of a stage.
    fn stage(&mut self, files: &Files, copy: &CopyAction, name: &str) -> Result<(), NoPromise> {
        let elsewhere = || NoPromise::Elsewhere(format!("`{name}`"));
        if !copy.include.is_empty() || !copy.exclude.is_empty() || copy.unpack {
            return Err(elsewhere());
        }
        let source = crate::context::path::clean([b"/", copy.src.as_bytes()].concat());
        let source: BString = source.trim_start_with(|c| c == '/').into();
        let mut tops: Vec<BString> = Vec::new();
        if copy.tree && crate::context::path::has_wildcard(source.as_slice()) {
            let wildcard = Wildcard::new(source.as_slice()).map_err(|_| elsewhere())?;
            for path in files.keys() {
                let covered = tops.last().is_some_and(|top| below(top, path).is_some());
                if !covered && wildcard.matches(path) {
                    tops.push(path.clone());
                }
            }
        } else {
            tops.push(source);
        }
        for top in tops {
            let is_link = |path: &[u8]| {
                files.get(path.as_bstr()).is_some_and(|f| matches!(f.kind, PromisedKind::Symlink { .. }))
            };
            let ends =
                top.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([top.len()]);
            if ends.filter_map(|end| top.get(..end)).any(is_link) {
                return Err(elsewhere());
            }
            let mut out = place(copy, &top);
            match files.get(&top) {
                Some(file) if file.kind != PromisedKind::Dir => {
                    let mode = mode(copy, file.mode, &file.kind);
                    out.files.push(PromisedFile { relative: BString::default(), mode, ..file.clone() });
                }
                Some(_) => out.from_folder = true,
                None if top.is_empty() => out.from_folder = true,
                None => return Err(elsewhere()),
            }
            if out.from_folder {
                // Whatever follows the directory and does not begin like it ends the search.
                let after = files.range(top.clone()..).take_while(|(path, _)| path.starts_with(&top));
                for (path, file) in after {
                    let Some(relative) = below(&top, path) else { continue };
                    let mode = mode(copy, file.mode, &file.kind);
                    out.files.push(PromisedFile { relative: relative.into(), mode, ..file.clone() });
                }
            }
            self.copies.push(out);
        }
        Ok(())
    }
}

/// The path below a directory, if it is there.
fn below<'p>(folder: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    if folder.is_empty() {
        return Some(path);
    }
    path.strip_prefix(folder)?.strip_prefix(b"/")
}
