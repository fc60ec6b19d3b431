//! What the key of a COPY or ADD promises about its result: which files, with which content, at which paths.
//!
//! Mirrors `solver/llbsolver/file/backend.go` and `fsutil/copy`. Times and owners are left out: they differ without
//! harm.

use super::plan::{Contexts, selector};
use super::sha256;
use crate::build::lower::{BuildGraph, CopyAction, FileKind, Op, VertexId};
use crate::context::{Entry, EntryKind, Selector, View};
use bstr::{BString, ByteSlice as _};

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
    /// `--chmod` as written, if it is no number: modes cannot be told.
    pub symbolic_mode: bool,
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
    /// Permission bits.
    pub mode: u32,
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
    /// a pipe or device
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
    /// ADD of an archive.
    #[error("ADD unpacks `{0}`")]
    Unpacked(String),
    /// Part of the instruction is not known.
    #[error("its words depend on {0}")]
    Words(String),
    /// The files cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl Promise {
    /// What the operation `id` of a build promises. Files are read here.
    pub fn of(graph: &BuildGraph<'_>, contexts: &Contexts, id: VertexId) -> Result<Self, NoPromise> {
        let vertex = graph.vertices.get(id).ok_or(NoPromise::NoCopy)?;
        let Op::File(actions) = &vertex.op else { return Err(NoPromise::NoCopy) };
        let mut out = Promise::default();
        for action in actions {
            let FileKind::Copy(copy) = &action.kind else { return Err(NoPromise::NoCopy) };
            let input = usize::try_from(action.secondary).ok().and_then(|i| vertex.inputs.get(i));
            let Some(source) = input.and_then(|i| graph.vertices.get(*i)) else {
                return Err(NoPromise::Elsewhere("an empty stage".to_owned()));
            };
            match &source.op {
                Op::Local(local) => {
                    let index = contexts.of(local).ok_or(NoPromise::NoCopy)?;
                    let unreadable = |e: crate::context::ContextError| NoPromise::Unreadable(e.to_string());
                    let view = index.view(local.follow_paths.as_deref()).map_err(unreadable)?;
                    out.context(&view, copy, index.root.as_path())?;
                }
                Op::File(made) => match made.first().map(|a| &a.kind) {
                    Some(FileKind::Mkfile { mode, data, path }) if made.len() == 1 => {
                        out.copies.push(heredoc(copy, path, *mode, data));
                    }
                    _ => return Err(NoPromise::Elsewhere(format!("`{}`", source.name))),
                },
                _ => return Err(NoPromise::Elsewhere(format!("`{}`", source.name))),
            }
        }
        if let Some(unknown) = vertex.unknown.first() {
            return Err(NoPromise::Words(unknown.clone()));
        }
        Ok(out)
    }

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
            if copy.unpack && !into.from_folder && entry.is_file() && may_be_archive(entry, root) {
                return Err(NoPromise::Unpacked(entry.path.to_string()));
            }
            let kind = match &entry.kind {
                EntryKind::File => {
                    let digest = view.content_digest(entry, &mut buffer);
                    let digest = digest.map_err(|e| NoPromise::Unreadable(e.to_string()))?;
                    PromisedKind::File { size: entry.size, digest }
                }
                EntryKind::Dir => PromisedKind::Dir,
                EntryKind::Symlink { target } => PromisedKind::Symlink { target: target.clone() },
                EntryKind::Socket => PromisedKind::File { size: 0, digest: Some(sha256([])) },
                EntryKind::Fifo | EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => {
                    PromisedKind::Special
                }
            };
            let mode = mode(copy, entry.mode, &kind);
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
        symbolic_mode: !copy.mode_str.is_empty(),
    }
}

/// `--chmod` counts for files and directories alike; links have no mode of their own.
fn mode(copy: &CopyAction, own: u32, kind: &PromisedKind) -> u32 {
    match u32::try_from(copy.mode) {
        Ok(mode) if !matches!(kind, PromisedKind::Symlink { .. }) => mode & 0o7777,
        _ => own & 0o7777,
    }
}

fn heredoc(copy: &CopyAction, path: &str, mode_of_file: i64, data: &[u8]) -> PromisedCopy {
    let kind = PromisedKind::File { size: data.len() as u64, digest: Some(sha256(data)) };
    let own = u32::try_from(mode_of_file).unwrap_or(0o644);
    let mode = mode(copy, own, &kind);
    let path = path.trim_start_matches('/').into();
    let files = vec![PromisedFile { relative: BString::default(), path, kind, mode }];
    PromisedCopy { files, ..place(copy, copy.src.as_bytes()) }
}

/// Whether ADD would try to unpack a file: by its first bytes, as `docker`'s archive library tells formats apart.
fn may_be_archive(entry: &Entry, root: &std::path::Path) -> bool {
    use std::io::Read as _;
    let mut start = Vec::new();
    let Ok(file) = std::fs::File::open(root.join(crate::context::system_path(&entry.path))) else {
        return false;
    };
    if file.take(512).read_to_end(&mut start).is_err() {
        return false;
    }
    const PACKED: [&[u8]; 4] =
        [&[0x1f, 0x8b, 0x08], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];
    PACKED.iter().any(|magic| start.starts_with(magic)) || is_tar_header(&start)
}

/// Whether a block is the header of a tar archive: its checksum is right.
fn is_tar_header(block: &[u8]) -> bool {
    let Some(stated) = block.get(148..156).filter(|_| block.len() == 512) else { return false };
    let text = stated.trim_with(|c| c == ' ' || c == '\0');
    let Some(stated) = text.to_str().ok().and_then(|t| u32::from_str_radix(t, 8).ok()) else { return false };
    let sum: u32 =
        block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
    sum == stated && sum != 256
}
