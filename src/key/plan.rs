//! What every step is keyed by: operation digest, content digests, and the chain of both.

use super::content::Files;
use super::matching::{Facts, Input};
use super::operation::cache_maps;
use super::{sha256, sha256_joined};
use crate::build::lower::{BuildGraph, CopyAction, FileKind, Local, Op, Vertex, VertexId};
use crate::context::{ContextError, ContextIndex, Entry, EntryKind, MemoryEntry, Selector, Tree, View};
use std::collections::HashMap;
use std::rc::Rc;

/// The contexts that a build takes files from.
#[derive(Debug, Default)]
pub struct Contexts {
    /// The main one; `None` when no instruction takes files from it.
    pub main: Option<ContextIndex>,
    /// Folders of `--build-context`, by their value on the command line.
    pub named: HashMap<String, ContextIndex>,
}

impl Contexts {
    /// Walks what the operations of a build take files from, and nothing else. `main` stands in for the main context.
    pub fn open(
        graph: &BuildGraph<'_>,
        root: &std::path::Path,
        dockerfile: Option<&std::path::Path>,
        main: Option<ContextIndex>,
    ) -> Result<Self, ContextError> {
        let mut out = Contexts { main, ..Contexts::default() };
        for vertex in &graph.vertices {
            match &vertex.op {
                Op::Local(Local { folder: None, .. }) if out.main.is_none() => {
                    out.main = Some(ContextIndex::open(root, dockerfile)?);
                }
                Op::Local(Local { folder: Some(folder), .. }) if !out.named.contains_key(folder) => {
                    let index = ContextIndex::open(std::path::Path::new(folder), None)?;
                    out.named.insert(folder.clone(), index);
                }
                _ => {}
            }
        }
        Ok(out)
    }

    /// Fails if sending what the operations need would fail: a pattern that is refused when it is first tried, or
    /// something unreadable that no pattern leaves out.
    pub fn check(&self, graph: &BuildGraph<'_>) -> Result<(), ContextError> {
        for vertex in &graph.vertices {
            let Op::Local(local) = &vertex.op else { continue };
            // A context that could be sent as a whole can be sent in part.
            if let Some(index) =
                self.of(local).filter(|i| i.problem().is_some() || local.follow_paths.is_some())
            {
                index.view(local.follow_paths.as_deref())?;
            }
        }
        Ok(())
    }

    pub(super) fn of(&self, local: &Local) -> Option<&ContextIndex> {
        match &local.folder {
            None => self.main.as_ref(),
            Some(folder) => self.named.get(folder),
        }
    }
}

/// The keys of a build, one for each vertex of its graph and in the same order.
#[derive(Clone, Debug)]
pub struct KeyPlan {
    /// By [`VertexId`].
    pub steps: Vec<StepKey>,
}

/// What decides whether the result of one operation is reused.
#[derive(Clone, Debug)]
pub struct StepKey {
    /// SHA-256 of the first cache map; `None` for local folders and for sources that are not known.
    pub op_digest: Option<String>,
    /// All cache map digests (a base image has two).
    pub op_digests: Vec<String>,
    /// Equal if and only if BuildKit reuses: over the operation, the content of what it copies and mounts, and the
    /// keys of everything else below it.
    pub key: String,
    /// Nothing outside is unknown.
    pub exact: bool,
    /// What is unknown, here or in the steps below, as things a person could supply.
    pub unknown: Vec<String>,
    /// Per input of the operation.
    pub inputs: Vec<InputKey>,
    /// Why BuildKit would fail to compute the key.
    pub error: Option<String>,
}

/// How one input enters the key of an operation.
#[derive(Clone, Debug)]
pub struct InputKey {
    /// Which operation.
    pub vertex: VertexId,
    /// Digest of the paths taken from it, if only some are.
    pub selector: Option<String>,
    /// Whether what is taken counts by its content too.
    pub by_content: bool,
    /// Content of what is taken, where it can be computed.
    pub content: Option<Content>,
}

/// The content that an instruction takes from a tree.
#[derive(Clone, Debug)]
pub struct Content {
    /// Where from.
    pub from: ContentSource,
    /// Paths and patterns as BuildKit holds them.
    pub sources: Vec<String>,
    /// Digest over the checksums.
    pub digest: String,
    /// Regular files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Regular files with their sizes, sorted by path, each once.
    pub paths: Vec<(String, u64)>,
    /// Everything that is taken, sorted by path, with digests; only where [`Detail::Entries`] was asked for.
    pub entries: Vec<TakenEntry>,
}

/// One file, directory or link that an instruction takes from a context.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TakenEntry {
    /// Path below the root of the tree.
    pub path: String,
    /// `f`ile, `d`irectory, `l`ink or `s`pecial file.
    pub kind: char,
    /// Permission bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Digest of header and content.
    pub digest: String,
    /// When it was last changed, in nanoseconds since 1970. It is in no key; a daemon that has the file compares it.
    pub modified: Option<i128>,
}

impl TakenEntry {
    /// What of it is in a key.
    pub fn identity(&self) -> (&str, char, u32, u64, &str) {
        (&self.path, self.kind, self.mode, self.size, &self.digest)
    }
}

/// How much a plan keeps of what instructions take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Detail {
    /// Names and sizes of regular files.
    #[default]
    Files,
    /// Every entry with its digest, to compare with another plan.
    Entries,
}

/// Kinds of trees whose content is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentSource {
    /// the main build context
    Context,
    /// a `--build-context`
    Named(String),
    /// a heredoc
    Heredoc,
    /// another stage, made of copies alone
    Stage,
}

impl KeyPlan {
    /// The steps as far as matching with recorded results goes. A source that is not known is taken to be the same
    /// as another one of the same name.
    pub fn facts(&self, graph: &BuildGraph<'_>) -> Vec<Facts> {
        let steps = self.steps.iter().zip(&graph.vertices);
        steps
            .map(|(key, vertex)| Facts {
                digests: match &vertex.op {
                    Op::Local(_) => Vec::new(),
                    _ if key.op_digests.is_empty() => vec![key.key.clone()],
                    _ => key.op_digests.clone(),
                },
                inputs: key
                    .inputs
                    .iter()
                    .map(|i| Input {
                        step: i.vertex,
                        selector: i.selector.clone(),
                        by_content: i.by_content,
                        content: i.content.as_ref().map(|c| c.digest.clone()),
                    })
                    .collect(),
                ignore_cache: vertex.ignore_cache,
            })
            .collect()
    }

    /// Computes all keys. Files are read here, each once, those of all instructions together and in parallel.
    pub fn new(graph: &BuildGraph<'_>, contexts: &Contexts) -> Self {
        Self::with_detail(graph, contexts, Detail::Files)
    }

    /// The same, keeping more of what instructions take.
    pub fn with_detail(graph: &BuildGraph<'_>, contexts: &Contexts, detail: Detail) -> Self {
        let mut views = views(graph, contexts);
        prefetch(graph, &views);
        add_stages(graph, &mut views);
        let mut plan = KeyPlan { steps: Vec::with_capacity(graph.vertices.len()) };
        for vertex in &graph.vertices {
            let step = plan.step(vertex, &views, detail);
            plan.steps.push(step);
        }
        plan
    }

    fn step(&self, vertex: &Vertex<'_>, views: &Views<'_>, detail: Detail) -> StepKey {
        let op_digests: Vec<String> = cache_maps(vertex).iter().map(sha256).collect();
        let mut unknown = vertex.unknown.clone();
        let mut error = None;
        let mut inputs = Vec::with_capacity(vertex.inputs.len());
        // A base image is reused when its layers are the same, whatever its manifest says: the last digest counts.
        let mut chain = match (&vertex.op, op_digests.last()) {
            (Op::Local(local), _) => format!("local {}", local.folder.as_deref().unwrap_or("context")),
            (_, Some(digest)) => format!("operation {digest}"),
            (_, None) => format!("unknown {} {}", vertex.unknown.join(", "), vertex.platform),
        };
        for (number, input) in vertex.inputs.iter().enumerate() {
            let taken = Taken::of(vertex, number);
            let mut content = None;
            if let Some(selectors) = &taken.content {
                match checksum(*input, selectors, views, detail) {
                    Some(Ok((found, is_exact))) => {
                        content = Some(found);
                        if !is_exact {
                            unknown
                                .push("the state of the daemon (nothing of the context is sent)".to_owned());
                        }
                    }
                    Some(Err(message)) => error = Some(message),
                    None => {}
                }
            }
            if let (None, Some(Held::Context { view: Ok(view), .. })) = (&error, views.get(input)) {
                let missing = taken.copied.iter().find_map(|source| view.find_source(source).err());
                error = missing.map(|e| e.to_string());
            }
            let selector = taken.selector();
            chain.push('\n');
            match &content {
                Some(content) => chain.push_str(&format!("content {}", content.digest)),
                None => {
                    let key = self.steps.get(*input);
                    chain.push_str(&format!(
                        "input {} {}",
                        selector.as_deref().unwrap_or("-"),
                        key.map_or("", |k| k.key.as_str())
                    ));
                    for name in key.map(|k| k.unknown.as_slice()).unwrap_or_default() {
                        if !unknown.contains(name) {
                            unknown.push(name.clone());
                        }
                    }
                }
            }
            inputs.push(InputKey { vertex: *input, selector, by_content: taken.content.is_some(), content });
        }
        let exact = unknown.is_empty() && error.is_none();
        StepKey {
            op_digest: op_digests.first().cloned(),
            op_digests,
            key: sha256(format!("layerlint.key/1\n{chain}")),
            exact,
            unknown,
            inputs,
            error,
        }
    }
}

/// What an operation takes from one of its inputs.
struct Taken {
    /// Every path, with repetitions, in order.
    paths: Vec<String>,
    /// Paths are sorted for the selector digest.
    sorted: bool,
    /// What is checksummed, if the content enters the key.
    content: Option<Vec<Selector>>,
    /// Every source of a copy; a copy from a source that is not there fails.
    copied: Vec<Selector>,
}

impl Taken {
    fn of(vertex: &Vertex<'_>, input: usize) -> Taken {
        let none = || Taken { paths: Vec::new(), sorted: false, content: None, copied: Vec::new() };
        let number = i64::try_from(input).unwrap_or(i64::MAX);
        match &vertex.op {
            Op::File(actions) => {
                if actions.iter().any(|a| a.input == number) {
                    return none();
                }
                let copies: Vec<&CopyAction> = actions
                    .iter()
                    .filter(|a| a.secondary == number)
                    .filter_map(|a| match &a.kind {
                        FileKind::Copy(copy) => Some(copy),
                        _ => None,
                    })
                    .collect();
                let selectors: Vec<Selector> = copies.iter().map(|c| selector(c)).collect();
                Taken {
                    paths: copies.iter().map(|c| c.src.clone()).collect(),
                    sorted: true,
                    copied: selectors.clone(),
                    content: Some(crate::context::dedupe(selectors)),
                }
            }
            Op::Exec(exec) => {
                let mounts: Vec<_> = exec.mounts.iter().filter(|m| m.input == number).collect();
                let path = |selector: &str| if selector.is_empty() { "/" } else { selector }.to_owned();
                let paths: Vec<String> = mounts.iter().map(|m| path(&m.selector)).collect();
                // The last mount of an input decides for all of them; the root never counts by content.
                let by_content = mounts.last().is_some_and(|m| {
                    m.dest != "/" && (m.output == -1 || m.read_only || m.selector.is_empty())
                });
                let content = by_content.then(|| mount_selectors(&paths));
                Taken { content, paths, sorted: false, copied: Vec::new() }
            }
            Op::Local(_) | Op::Image { .. } | Op::Http { .. } | Op::Git { .. } | Op::Merge => none(),
        }
    }

    fn selector(&self) -> Option<String> {
        if self.paths.is_empty() {
            return None;
        }
        Some(if self.sorted {
            crate::context::selector_digest(&self.paths)
        } else {
            sha256_joined(&self.paths)
        })
    }
}

pub(super) fn selector(copy: &CopyAction) -> Selector {
    Selector {
        path: copy.src.clone(),
        wildcard: copy.tree,
        follow: copy.tree,
        include: copy.include.clone(),
        exclude: copy.exclude.clone(),
        required: copy.required.clone(),
    }
}

/// Bind mounts take plain paths; one of the whole tree covers all others.
fn mount_selectors(paths: &[String]) -> Vec<Selector> {
    if paths.iter().any(|p| p == "/") {
        return vec![Selector { path: "/".to_owned(), ..Selector::default() }];
    }
    let selectors = paths.iter().map(|p| Selector { path: p.clone(), follow: true, ..Selector::default() });
    crate::context::dedupe(selectors.collect())
}

/// Trees whose content can be looked at, by the vertex that brings them.
enum Held<'c> {
    /// Files of a folder; or why the transfer would fail.
    Context { view: Result<View<'c>, ContextError>, from: ContentSource },
    /// The file of a heredoc and its size.
    File { tree: Tree, path: String, bytes: u64 },
    /// The result of a stage that is made of copies alone.
    Stage { tree: Tree },
}

type Views<'c> = HashMap<VertexId, Held<'c>>;

/// Adds the results of stages that are made of copies alone and that something else copies from or mounts.
fn add_stages(graph: &BuildGraph<'_>, views: &mut Views<'_>) {
    let mut wanted: Vec<VertexId> = Vec::new();
    for vertex in &graph.vertices {
        for (number, input) in vertex.inputs.iter().enumerate() {
            if !views.contains_key(input) && Taken::of(vertex, number).content.is_some() {
                wanted.push(*input);
            }
        }
    }
    let Some(last) = wanted.iter().max().copied() else { return };
    let mut results: Vec<Option<Rc<Files>>> = Vec::with_capacity(last + 1);
    for vertex in graph.vertices.iter().take(last + 1) {
        let result = files_of(vertex, &results, views);
        results.push(result.map(Rc::new));
    }
    for id in wanted {
        if let Some(files) = results.get(id).and_then(Option::as_ref) {
            views.insert(id, Held::Stage { tree: files.tree() });
        }
    }
}

fn files_of(vertex: &Vertex<'_>, results: &[Option<Rc<Files>>], views: &Views<'_>) -> Option<Files> {
    let result = |id: &VertexId| results.get(*id).cloned().flatten();
    match &vertex.op {
        Op::File(actions) => {
            let base = match actions.first()?.input {
                -1 => Files::default(),
                number => {
                    let id = vertex.inputs.get(usize::try_from(number).ok()?)?;
                    result(id)?.as_ref().clone()
                }
            };
            let source = |number: usize| {
                let id = vertex.inputs.get(number)?;
                if let Some(files) = result(id) {
                    return Some(files);
                }
                let Held::Context { view: Ok(view), .. } = views.get(id)? else { return None };
                let paths = Taken::of(vertex, number).paths;
                Files::of_view(view, &paths).map(Rc::new)
            };
            base.apply(actions, &source)
        }
        Op::Merge => {
            let (lower, upper) = (vertex.inputs.first()?, vertex.inputs.get(1)?);
            Some(result(lower)?.as_ref().clone().merged(result(upper)?.as_ref()))
        }
        Op::Local(_) | Op::Image { .. } | Op::Http { .. } | Op::Git { .. } | Op::Exec(_) => None,
    }
}

fn views<'c>(graph: &BuildGraph<'_>, contexts: &'c Contexts) -> Views<'c> {
    let mut out = HashMap::new();
    for (id, vertex) in graph.vertices.iter().enumerate() {
        match &vertex.op {
            Op::Local(local) => {
                let Some(index) = contexts.of(local) else { continue };
                let from = match &local.folder {
                    None => ContentSource::Context,
                    Some(_) => ContentSource::Named(local.name.clone()),
                };
                let view = index.view(local.follow_paths.as_deref());
                out.insert(id, Held::Context { view, from });
            }
            Op::File(actions) if vertex.inputs.is_empty() => {
                if let [only] = actions.as_slice()
                    && let FileKind::Mkfile { path, mode, data } = &only.kind
                {
                    let mode = u32::try_from(*mode).unwrap_or(0o644);
                    let name = path.trim_start_matches('/');
                    let tree = Tree::from_memory(vec![MemoryEntry::file(name, mode, data.clone())]);
                    out.insert(id, Held::File { tree, path: name.to_owned(), bytes: data.len() as u64 });
                }
            }
            _ => {}
        }
    }
    out
}

/// Hashes the files of all instructions at once, so that threads are busy and nothing is read twice.
fn prefetch(graph: &BuildGraph<'_>, views: &Views<'_>) {
    for (id, held) in views {
        let Held::Context { view: Ok(view), .. } = held else { continue };
        let mut selections = Vec::new();
        for vertex in &graph.vertices {
            for (number, input) in vertex.inputs.iter().enumerate() {
                if input == id {
                    let selectors = Taken::of(vertex, number).content.unwrap_or_default();
                    selections.extend(selectors.iter().filter_map(|s| view.select(s).ok()));
                }
            }
        }
        view.hash_all(&selections);
    }
}

type Found = Result<(Content, bool), String>;

fn checksum(id: VertexId, selectors: &[Selector], views: &Views<'_>, detail: Detail) -> Option<Found> {
    let held = views.get(&id)?;
    let mut checksums = Vec::with_capacity(selectors.len());
    let mut exact = true;
    let mut paths: Vec<(String, u64)> = Vec::new();
    let mut entries: Vec<TakenEntry> = Vec::new();
    for selector in selectors {
        let sum = match held {
            Held::Context { view: Err(error), .. } => return Some(Err(error.to_string())),
            Held::Context { view: Ok(view), .. } => {
                if let Ok(selection) = view.select(selector) {
                    let files = selection.entries().filter(|e| e.is_file());
                    paths.extend(files.map(|e| (String::from_utf8_lossy(&e.path).into_owned(), e.size)));
                    if detail == Detail::Entries {
                        entries.extend(selection.entries().map(|e| taken_entry(view, e)));
                    }
                }
                view.checksum(selector)
            }
            Held::File { tree, path, bytes } => {
                paths.push((path.clone(), *bytes));
                tree.checksum(selector)
            }
            Held::Stage { tree } => {
                paths.extend(tree.files_of(selector).unwrap_or_default());
                tree.checksum(selector)
            }
        };
        match sum {
            Ok(sum) => {
                exact &= sum.exact;
                checksums.push(sum.digest);
            }
            Err(error) => return Some(Err(error.to_string())),
        }
    }
    paths.sort();
    paths.dedup();
    entries.sort();
    entries.dedup();
    let from = match held {
        Held::Context { from, .. } => from.clone(),
        Held::File { .. } => ContentSource::Heredoc,
        Held::Stage { .. } => ContentSource::Stage,
    };
    let content = Content {
        from,
        sources: selectors.iter().map(shown).collect(),
        digest: crate::context::content_digest(&checksums),
        files: paths.len() as u64,
        bytes: paths.iter().map(|(_, n)| n).sum(),
        paths,
        entries,
    };
    Some(Ok((content, exact)))
}

fn taken_entry(view: &View<'_>, entry: &Entry) -> TakenEntry {
    let kind = match entry.kind {
        EntryKind::File => 'f',
        EntryKind::Dir => 'd',
        EntryKind::Symlink { .. } => 'l',
        _ => 's',
    };
    TakenEntry {
        path: entry.path.to_string(),
        kind,
        mode: entry.mode,
        size: entry.size,
        // What cannot be read has made the checksum fail already.
        digest: view.digest_of(entry).unwrap_or_default(),
        modified: entry.modified(),
    }
}

/// A selector as a person would write it.
fn shown(selector: &Selector) -> String {
    let path = match selector.include.first() {
        Some(pattern) if selector.path == "/" => pattern.clone(),
        Some(pattern) => format!("{}/{pattern}", selector.path),
        None => selector.path.clone(),
    };
    match path.strip_prefix('/') {
        Some("") => ".".to_owned(),
        Some(rest) => rest.to_owned(),
        None => path,
    }
}
