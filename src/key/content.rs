//! The files of a stage that is made of nothing but copies: what `COPY --from` and bind mounts of it are keyed by.
//!
//! Follows the copying of `tonistiigi/fsutil/copy` and `solver/llbsolver/file`. Where the result depends on something
//! that is not known here (a process, an image, an archive that may be unpacked, another owner), there is no answer.

use crate::build::lower::{CopyAction, FileAction, FileKind, UserRef};
use crate::context::path::{base, clean_str, has_wildcard, path_match};
use crate::context::{EntryKind, MemoryEntry, Tree, View};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A file system in memory: entries by their path without a leading `/`. The digests of files are known, their
/// contents are not kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    nodes: BTreeMap<Vec<u8>, MemoryEntry>,
}

const DIRECTORY: u32 = 0o755;

impl Files {
    /// The files of a view that lie at or below some paths (patterns stand for everything below their fixed part).
    pub(super) fn of_view(view: &View<'_>, paths: &[String]) -> Option<Self> {
        let fixed: Vec<String> = paths.iter().map(|p| fixed_part(p)).collect();
        let mut nodes = BTreeMap::new();
        for entry in view.entries() {
            let path = entry.path.as_slice();
            let wanted = fixed
                .iter()
                .any(|f| is_at_or_below(path, f.as_bytes()) || is_at_or_below(f.as_bytes(), path));
            if wanted {
                // A link may lead anywhere, also out of what is wanted.
                let digest = view.record_of(entry).ok()?;
                nodes.insert(path.to_vec(), MemoryEntry::recorded(path, entry, digest));
            }
        }
        Some(Self { nodes })
    }

    /// As a tree that checksums can be made of.
    pub(super) fn tree(&self) -> Tree {
        Tree::from_memory(self.nodes.values().cloned().collect())
    }

    fn is_dir(&self, path: &[u8]) -> Option<bool> {
        if path.is_empty() {
            return Some(true);
        }
        self.nodes.get(path).map(|n| n.kind == EntryKind::Dir)
    }

    /// Whether a component of the path is a link, so that the path leads elsewhere.
    fn crosses_link(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i).chain([path.len()]);
        ends.into_iter()
            .filter_map(|end| self.nodes.get(path.get(..end)?))
            .any(|n| matches!(n.kind, EntryKind::Symlink { .. }))
    }

    fn make_directories(&mut self, path: &[u8], owner: (u32, u32)) -> Option<()> {
        if self.crosses_link(path) {
            return None;
        }
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i).chain([path.len()]);
        for end in ends.collect::<Vec<_>>() {
            let part = path.get(..end)?;
            match self.is_dir(part) {
                Some(true) => {}
                Some(false) => return None,
                None => {
                    let made =
                        MemoryEntry { uid: owner.0, gid: owner.1, ..MemoryEntry::dir(part, DIRECTORY) };
                    self.nodes.insert(part.to_vec(), made);
                }
            }
        }
        Some(())
    }

    fn remove(&mut self, path: &[u8]) {
        self.nodes.retain(|p, _| !is_at_or_below(p, path));
    }

    fn below(&self, path: &[u8]) -> impl Iterator<Item = (&Vec<u8>, &MemoryEntry)> {
        let owned = path.to_vec();
        self.nodes.iter().filter(move |(p, _)| is_at_or_below(p, &owned) && **p != owned)
    }

    /// Applies the actions of a file operation. `source` gives the files of an input.
    pub(super) fn apply(
        mut self,
        actions: &[FileAction],
        source: &dyn Fn(usize) -> Option<Rc<Files>>,
    ) -> Option<Files> {
        for action in actions {
            match &action.kind {
                FileKind::Mkdir { path, mode, make_parents: true, owner, .. }
                    if *mode == i64::from(DIRECTORY) =>
                {
                    let id = |user: Option<&UserRef>| match user {
                        None => Some(0),
                        Some(UserRef::Id(id)) => Some(*id),
                        Some(UserRef::Name { .. }) => None,
                    };
                    let owner = owner.as_ref();
                    let user = id(owner.and_then(|o| o.user.as_ref()))?;
                    // Without a group the user's own would be looked up.
                    let group = match owner {
                        Some(o) if o.group.is_none() && user != 0 => return None,
                        Some(o) => id(o.group.as_ref())?,
                        None => 0,
                    };
                    self.make_directories(relative(path).as_bytes(), (user, group))?;
                }
                FileKind::Copy(copy) => {
                    let from = source(usize::try_from(action.secondary).ok()?)?;
                    self.copy(copy, &from)?;
                }
                FileKind::Mkfile { path, mode, data } => {
                    let mode = u32::try_from(*mode).ok()?;
                    let path = relative(path);
                    self.nodes.insert(path.clone().into_bytes(), MemoryEntry::file(path, mode, data.clone()));
                }
                FileKind::Mkdir { .. } => return None,
            }
        }
        Some(self)
    }

    fn copy(&mut self, copy: &CopyAction, from: &Files) -> Option<()> {
        let plain = copy.owner.is_none()
            && copy.mode == -1
            && copy.mode_str.is_empty()
            && copy.include.is_empty()
            && copy.exclude.is_empty();
        if !plain {
            return None;
        }
        let source = relative(&copy.src);
        let tops: Vec<Vec<u8>> = if copy.tree && has_wildcard(&source) {
            from.matches(&source)?
        } else {
            vec![source.into_bytes()]
        };
        for top in tops {
            self.copy_one(copy, from, &top)?;
        }
        Some(())
    }

    /// The paths that a pattern matches; what lies below a match is not asked.
    fn matches(&self, pattern: &str) -> Option<Vec<Vec<u8>>> {
        let fixed = fixed_part(pattern);
        if self.crosses_link(fixed.as_bytes()) {
            return None;
        }
        let mut out: Vec<Vec<u8>> = Vec::new();
        for path in self.nodes.keys() {
            if out.last().is_some_and(|last| is_at_or_below(path, last)) {
                continue;
            }
            if path_match(pattern, path.as_slice()).ok()? {
                out.push(path.clone());
            }
        }
        Some(out)
    }

    fn copy_one(&mut self, copy: &CopyAction, from: &Files, top: &[u8]) -> Option<()> {
        if from.crosses_link(top) {
            return None;
        }
        let is_dir = from.is_dir(top)?;
        // Whether a file is an archive is found out by looking into it.
        if copy.unpack && !is_dir {
            return None;
        }
        let dest = relative(&copy.dest);
        let folder_wanted = copy.dest.ends_with('/') || copy.dest.ends_with("/.");
        let ensured = match dest.rsplit_once('/') {
            _ if folder_wanted => dest.as_str(),
            Some((parent, _)) => parent,
            None => "",
        };
        self.make_directories(ensured.as_bytes(), (0, 0))?;
        let mut target = dest.clone().into_bytes();
        if self.crosses_link(&target) {
            return None;
        }
        if !is_dir && self.is_dir(&target) == Some(true) {
            target = joined(&target, base(top));
        }
        if !is_dir {
            let parent = parent_of(&target).to_vec();
            self.make_directories(&parent, (0, 0))?;
            return self.put(&target, from.nodes.get(top)?);
        }
        // The folder itself is made anew or stays as it is; only its contents are copied.
        self.make_directories(&target, (0, 0))?;
        let inside: Vec<(Vec<u8>, MemoryEntry)> =
            from.below(top).map(|(p, n)| (p.clone(), n.clone())).collect();
        for (path, node) in inside {
            let rest = path.get(top.len()..)?;
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            let place = joined(&target, rest);
            if node.kind == EntryKind::Dir {
                match self.is_dir(&place) {
                    Some(false) => return None,
                    _ => self.nodes.insert(place.clone(), MemoryEntry { path: place.into(), ..node }),
                };
            } else {
                self.put(&place, &node)?;
            }
        }
        Some(())
    }

    fn put(&mut self, path: &[u8], node: &MemoryEntry) -> Option<()> {
        if path.is_empty() || self.is_dir(path) == Some(true) {
            return None;
        }
        self.nodes.insert(path.to_vec(), MemoryEntry { path: path.into(), ..node.clone() });
        Some(())
    }

    /// Lays another file system over this one (`COPY --link`).
    pub(super) fn merged(mut self, upper: &Files) -> Files {
        for (path, node) in &upper.nodes {
            let same_kind = node.kind == EntryKind::Dir && self.is_dir(path) == Some(true);
            if !same_kind {
                self.remove(path);
            }
            self.nodes.insert(path.clone(), node.clone());
        }
        self
    }
}

fn relative(path: &str) -> String {
    clean_str(&format!("/{path}")).trim_start_matches('/').to_owned()
}

/// The leading components of a path that hold no wildcard.
fn fixed_part(path: &str) -> String {
    let relative = relative(path);
    let parts: Vec<&str> = relative.split('/').take_while(|p| !has_wildcard(p)).collect();
    parts.join("/")
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    match path.strip_prefix(folder) {
        Some(rest) => folder.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
        None => false,
    }
}

fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"", |at| &path[..at])
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => folder.to_vec(),
        _ => [folder, b"/", name].concat(),
    }
}
