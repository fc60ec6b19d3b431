//! The build context: what Docker would send, what it leaves out and by which pattern, and the digests of what
//! instructions take from it.
//!
//! A context is walked once, in parallel, and nothing is read on the way. Narrowing the transfer to what a
//! Dockerfile needs is a [`View`] over that walk; a file is hashed when a selector takes it, and once.
//!
//! What belongs here: `frontend/dockerui` as far as ignore files go, `moby/patternmatcher`, the sending side of
//! `tonistiigi/fsutil`, and `cache/contenthash`. What does not: Dockerfiles. Digests are those of a daemon that
//! has no older copy of the context.

mod digest;
mod error;
mod follow;
mod ignorefile;
mod object;
pub mod path;
pub mod pattern;
mod revision;
mod selector;
mod tree;
mod view;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::{BStr, BString};

pub use error::{ContextError, IgnoreError, SelectError};
pub use ignorefile::{IgnoreFile, Pattern};
pub use revision::{Note, NoteKind, Past, RevisionContext, RevisionError, find_past, open_revision};
pub use selector::{Selector, content_digest, dedupe, selector_digest};
pub use tree::{Entry, EntryKind, Extended, MemoryEntry, RootRecord, Tree};
pub use view::{Checksum, Placed, Selection, View};

pub(crate) use tree::{path_bytes, system_path};

use pattern::{Matcher, PatternError};
use tree::Verdict;
use view::Scope;

/// Something that the ignore file keeps out of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeftOut<'a> {
    /// The path in the context.
    pub path: &'a BStr,
    /// The pattern that decided, as an index into [`IgnoreFile::patterns`].
    pub pattern: usize,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Whether it is a directory that was not searched: nothing in it can be sent, and nothing of it is listed.
    pub pruned: bool,
}

/// A context after its one walk.
#[derive(Debug)]
pub struct ContextIndex {
    /// The directory as it was given; empty for a context in memory.
    pub root: PathBuf,
    /// The ignore file that applies, if any.
    pub ignore: Option<IgnoreFile>,
    exclude: Option<Arc<Matcher>>,
    tree: Tree,
    full: Scope,
}

impl ContextIndex {
    /// Chooses the ignore file, compiles it, and walks. `dockerfile` is the Dockerfile's path on the disk, as it
    /// was asked for; none where it does not come from a file, and for a named context.
    ///
    /// Fails where every build of this context fails. What only fails when it is sent is kept for later, because
    /// a Dockerfile may need less: see [`ContextIndex::problem`].
    pub fn open(root: &Path, dockerfile: Option<&Path>) -> Result<Self, ContextError> {
        let fail = |source| ContextError::Root { path: root.to_path_buf(), source: Arc::new(source) };
        let base = std::fs::canonicalize(root).map_err(fail)?;
        if !base.is_dir() {
            return Err(fail(std::io::ErrorKind::NotADirectory.into()));
        }
        let ignore = IgnoreFile::find(root, dockerfile)?;
        let exclude = ignore.as_ref().map(IgnoreFile::matcher).transpose()?;
        let exclude = exclude.filter(|m| !m.patterns().is_empty()).map(Arc::new);
        let tree = walk::walk(&base, exclude.clone()).map_err(fail)?;
        Ok(Self::over(root.to_path_buf(), ignore, exclude, tree))
    }

    /// Whether Docker would take the ignore file of a context; nothing is walked.
    pub fn check_ignore_file(root: &Path, dockerfile: Option<&Path>) -> Result<(), ContextError> {
        let ignore = IgnoreFile::find(root, dockerfile)?;
        ignore.as_ref().map(IgnoreFile::matcher).transpose()?;
        Ok(())
    }

    /// A context that is not on a disk.
    pub fn from_memory(entries: Vec<MemoryEntry>, ignore: Option<IgnoreFile>) -> Result<Self, ContextError> {
        let exclude = ignore.as_ref().map(IgnoreFile::matcher).transpose()?;
        let exclude = exclude.filter(|m| !m.patterns().is_empty()).map(Arc::new);
        let tree = Tree::listed(entries, exclude.as_deref());
        Ok(Self::over(PathBuf::new(), ignore, exclude, tree))
    }

    fn over(root: PathBuf, ignore: Option<IgnoreFile>, exclude: Option<Arc<Matcher>>, tree: Tree) -> Self {
        let full = Scope::new(&tree, None, exclude.clone(), &|error| refused(ignore.as_ref(), error));
        Self { root, ignore, exclude, tree, full }
    }

    /// Why sending the whole context would fail: a pattern that is refused when it is first tried, or something
    /// unreadable that no pattern leaves out.
    pub fn problem(&self) -> Option<&ContextError> {
        self.full.problem.as_ref()
    }

    /// Everything that is sent, in the order of the transfer.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.tree.entries.iter().enumerate().filter(|(at, _)| self.full.is_sent(*at)).map(|(_, entry)| entry)
    }

    /// What is left out, in the same order. A directory that is not searched is listed alone.
    pub fn left_out(&self) -> impl Iterator<Item = LeftOut<'_>> {
        let unsent = self.tree.entries.iter().enumerate().filter(|(at, _)| !self.full.is_sent(*at));
        unsent.filter_map(|(_, entry)| {
            let (pattern, pruned) = match entry.verdict {
                Verdict::Excluded(pattern) => (pattern, false),
                Verdict::Pruned(pattern) => (pattern, true),
                Verdict::Kept | Verdict::Refused(_) => return None,
            };
            Some(LeftOut { path: BStr::new(&entry.path), pattern, is_dir: entry.is_dir(), pruned })
        })
    }

    /// A sent entry by its path without a leading `/`.
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        self.tree.find(path).filter(|at| self.full.is_sent(*at)).and_then(|at| self.tree.entries.get(at))
    }

    /// The pattern that keeps a path out, if one does, whether or not anything is there.
    ///
    /// Decided as the walk would: a directory on the way that is left out unsearched decides for what is in it.
    pub fn decided_by(&self, path: &[u8], is_dir: bool) -> Option<usize> {
        let (mut above, mut flags) = (None::<Vec<bool>>, Vec::new());
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let part = path.get(..end)?;
            let is_dir = is_dir || end < path.len();
            match tree::judge(self.exclude.as_deref(), part, is_dir, above.as_deref(), &mut flags) {
                Verdict::Pruned(by) => return Some(by),
                Verdict::Excluded(by) if end == path.len() => return Some(by),
                _ => above = Some(std::mem::take(&mut flags)),
            }
        }
        None
    }

    /// The content of a sent regular file, such as a manifest; links are not followed. None if there is no such
    /// file, or if it has more than `limit` bytes.
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>, ContextError> {
        match self.entry(path).filter(|e| e.is_file() && e.size <= limit) {
            Some(entry) => self.tree.content(entry, limit),
            None => Ok(None),
        }
    }

    /// What travels when the Dockerfile needs `follow` (with or without a leading `/`); the whole context if it
    /// is none, or if `/` is among them.
    pub fn view(&self, follow: Option<&[String]>) -> Result<View<'_>, ContextError> {
        if let Some(paths) = follow {
            let patterns = match &self.tree.base {
                Some(base) if self.tree.objects.is_none() => {
                    follow::include_patterns(&follow::Disk(base.clone()), paths)?
                }
                _ => follow::include_patterns(&self.tree, paths)?,
            };
            if !patterns.is_empty() {
                let include = Matcher::new(&patterns).map_err(|error| {
                    let PatternError { text, problem, .. } = error;
                    ContextError::Narrow { text, problem }
                })?;
                let scope = Scope::new(&self.tree, Some(include), self.exclude.clone(), &|error| {
                    refused(self.ignore.as_ref(), error)
                });
                return match scope.problem {
                    Some(problem) => Err(problem),
                    None => Ok(View::own(&self.tree, scope)),
                };
            }
        }
        match &self.full.problem {
            Some(problem) => Err(problem.clone()),
            None => Ok(self.whole()),
        }
    }

    /// The whole context, also if sending it would fail.
    fn whole(&self) -> View<'_> {
        View::shared(&self.tree, &self.full)
    }

    /// Files that arrive empty although they have content: the walk sends them, but opening asks the patterns in
    /// another way and is refused. Happens when a pattern is repeated after an exception below it.
    pub fn hidden_contents(&self) -> Vec<&Entry> {
        self.whole().hidden_contents().collect()
    }

    /// Supposes that a sent file, or all files of a sent directory, had other contents. False if nothing of that path
    /// is sent. To be asked before anything is hashed.
    pub fn suppose_edited(&mut self, path: &[u8]) -> bool {
        let Some(at) = self.tree.find(path).filter(|at| self.full.is_sent(*at)) else { return false };
        let end = self.tree.entries.get(at).map_or(at, |e| (e.end as usize).max(at + 1));
        for number in (at..end).filter(|n| self.full.is_sent(*n)) {
            self.tree.suppose_edited(number);
        }
        true
    }

    /// Which entries of the whole context a selector takes; nothing is read.
    pub fn select(&self, selector: &Selector) -> Result<Selection<'_>, SelectError> {
        self.whole().select(selector)
    }

    /// The checksum of a selector on the whole context.
    pub fn checksum(&self, selector: &Selector) -> Result<Checksum, SelectError> {
        self.whole().checksum(selector)
    }

    /// Hashes the files of several selections, in parallel.
    pub fn hash_all(&self, selections: &[Selection<'_>]) {
        self.whole().hash_all(selections);
    }
}

impl Tree {
    /// All of the tree, as what travels.
    fn scope(&self) -> Scope {
        Scope::new(self, None, None, &|error| refused(None, error))
    }

    /// The checksum of a selector, for a tree that is taken whole: a heredoc, a download, a stage's result.
    pub fn checksum(&self, selector: &Selector) -> Result<Checksum, SelectError> {
        View::own(self, self.scope()).checksum(selector)
    }

    /// Paths and sizes of the regular files that a selector takes.
    pub fn files_of(&self, selector: &Selector) -> Result<Vec<(String, u64)>, SelectError> {
        let view = View::own(self, self.scope());
        let selection = view.select(selector)?;
        Ok(selection.entries().filter(|e| e.is_file()).map(|e| (e.path.to_string(), e.size)).collect())
    }
}

/// A refused exclude pattern, with its place where there is a file.
fn refused(ignore: Option<&IgnoreFile>, error: &PatternError) -> ContextError {
    match ignore {
        Some(file) => file.refused(error).into(),
        None => ContextError::Narrow { text: BString::clone(&error.text), problem: error.problem.clone() },
    }
}
