//! The build context as it is in a git revision, without a checkout.
//!
//! The tree comes from `git ls-tree`, contents from `git cat-file` when a selector takes them. What git does not
//! record (all of the mode but one bit, extended attributes, what a checkout converts) is taken from the working
//! tree where that holds the same file, so that the two differ only where git would say so too. Where that cannot
//! be told there is a [`Note`].

mod convert;
mod past;
mod repository;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice as _};

use super::error::{ContextError, IgnoreError};
use super::ignorefile::{IgnoreFile, on_disk};
use super::object::Objects;
use super::path;
use super::tree::{Entry, EntryKind, MemoryEntry, Source, Tree, Verdict, below, system_path, transfer_order};
use super::{ContextIndex, walk};
use crate::source::{SourceFile, reason};
pub use past::{Past, find_past};
use repository::{Kind, Recorded, Repository};

/// A build context as it is in a git revision.
#[derive(Debug)]
pub struct RevisionContext {
    /// The id of the commit in hexadecimal digits.
    pub commit: String,
    /// The context. Files are read from git's object store when their digest or content is asked for.
    pub index: ContextIndex,
    /// The Dockerfile as it is in the revision, if git has it. Its name is `REVISION:PATH`, with the path from the
    /// top of the repository.
    pub dockerfile: Option<SourceFile>,
    /// What git cannot tell about this context, in the order of a transfer.
    pub notes: Vec<Note>,
}

/// Something that a revision does not tell about a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The path in the context, or as it was given where it lies outside of the repository.
    pub path: BString,
    /// What is not told.
    pub kind: NoteKind,
}

/// Kinds of [`Note`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NoteKind {
    /// A submodule: in the revision's context it is an empty directory.
    Submodule {
        /// The commit that the revision asks for.
        commit: String,
        /// Whether the working tree has something in it.
        on_disk: bool,
    },
    /// A pointer of Git LFS whose file is neither in the working tree nor in the local store: its digest is that of
    /// the pointer.
    LfsPointer {
        /// SHA-256 of the file in hexadecimal digits.
        oid: String,
        /// Bytes of the file.
        size: u64,
    },
    /// The working file and the recorded one differ by line ends alone; the working file's content is used.
    LineEnds,
    /// A checkout changes the content; its digest is that of the recorded content.
    Converted {
        /// What changes it: `filter=NAME`, `ident` or `working-tree-encoding`.
        by: String,
    },
    /// A file that this clone left out, so that its content cannot be read.
    Missing,
    /// A directory of the working tree in which nothing is sent. It is sent, and git records no such directories.
    EmptyDirectory,
    /// A file of the working tree, or a directory with all that is in it, of which git knows nothing. It is sent,
    /// and not in the revision's context.
    Untracked {
        /// Whether it is a directory.
        is_dir: bool,
    },
    /// The repository itself. It is sent, changes with every commit, and is not in the revision's context.
    GitFolder,
    /// The Dockerfile or its ignore file lies outside of the repository: an ignore file there is used as it is now.
    OutsideRepository,
}

impl Note {
    /// The note as a sentence without full stop.
    pub fn message(&self) -> String {
        let path = &self.path;
        match &self.kind {
            NoteKind::Submodule { on_disk: true, .. } => {
                format!("`{path}` is a submodule: its files in the revision are not looked into")
            }
            NoteKind::Submodule { on_disk: false, .. } => {
                format!("`{path}` is a submodule that is not checked out: its files are not compared")
            }
            NoteKind::LfsPointer { .. } => {
                format!("`{path}` is kept by Git LFS, and its content in the revision is not on this machine")
            }
            NoteKind::LineEnds => {
                format!("`{path}` differs from the revision by line ends alone, and counts as the same")
            }
            NoteKind::Converted { by } => {
                format!("`{path}` is converted at checkout (`{by}`): the recorded content is compared")
            }
            NoteKind::Missing => format!("`{path}` was left out of this clone: its content is not known"),
            NoteKind::EmptyDirectory => {
                format!("`{path}` is a directory in which nothing is sent, and git records none of these")
            }
            NoteKind::Untracked { is_dir: true } => {
                format!("git knows nothing in `{path}`: whether it was there at the revision is not known")
            }
            NoteKind::Untracked { is_dir: false } => {
                format!("git does not know `{path}`: whether it was there at the revision is not known")
            }
            NoteKind::GitFolder => {
                format!("`{path}` is sent with the build context and is not part of a revision")
            }
            NoteKind::OutsideRepository => {
                format!("`{path}` is outside of the git repository: what it was is not known")
            }
        }
    }

    /// What can be done about it, if something can.
    pub fn help(&self) -> Option<&'static str> {
        match &self.kind {
            NoteKind::LfsPointer { .. } => Some("`git lfs fetch` with the name of the revision gets it"),
            NoteKind::Missing => Some("`git diff --stat` with the name of the revision fetches it"),
            NoteKind::GitFolder => Some("add `.git` to the ignore file: it changes with every commit"),
            NoteKind::Untracked { .. } => {
                Some("add it to the ignore file if the image does not need it, or commit it if it does")
            }
            _ => None,
        }
    }
}

/// A revision that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevisionError {
    /// The program cannot be started.
    #[error("cannot run git: {}", reason(source))]
    NoGit {
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The context is in no working tree.
    #[error("`{}` is not in a working tree of git", root.display())]
    NotARepository {
        /// The context as it was given.
        root: PathBuf,
    },
    /// The repository is empty.
    #[error("the git repository at `{}` has no commit yet", top.display())]
    NoCommit {
        /// The top of the working tree.
        top: PathBuf,
    },
    /// There is no such revision.
    #[error("git knows no commit `{revision}`")]
    Unknown {
        /// As it was given.
        revision: String,
        /// A branch or tag that was probably meant.
        nearest: Option<String>,
        /// Whether the clone has only a part of the history.
        shallow: bool,
    },
    /// An abbreviated id stands for several commits.
    #[error("`{revision}` stands for more than one commit")]
    Ambiguous {
        /// As it was given.
        revision: String,
    },
    /// The context is not in the revision.
    #[error("there is no folder `{folder}` in {revision}")]
    NoFolder {
        /// The path of the context from the top of the repository.
        folder: BString,
        /// As it was given.
        revision: String,
    },
    /// Something that is needed at once (an ignore file, the Dockerfile, a link) cannot be read.
    #[error("cannot read `{path}` in {revision}: {}", reason(source))]
    Unreadable {
        /// The path from the top of the repository.
        path: BString,
        /// As it was given.
        revision: String,
        /// What is wrong.
        source: Arc<io::Error>,
    },
    /// Git refused, or its answer makes no sense.
    #[error("`git {command}` failed: {said}")]
    Failed {
        /// The command without its arguments.
        command: &'static str,
        /// The first line of its complaint.
        said: String,
    },
    /// The working tree cannot be walked, or the revision's ignore file is refused.
    #[error(transparent)]
    Context(#[from] ContextError),
}

impl From<IgnoreError> for RevisionError {
    fn from(error: IgnoreError) -> Self {
        Self::Context(error.into())
    }
}

impl RevisionError {
    /// What can be done about it, if something can.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoGit { .. } => Some("install git, or see that it is in PATH".to_owned()),
            Self::NotARepository { .. } => Some(
                "give a context that is in a clone; two directories need no git: `--against DIR`".to_owned(),
            ),
            Self::NoCommit { .. } => Some("commit first; there is nothing to compare with".to_owned()),
            Self::Unknown { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::Unknown { shallow: true, .. } => Some(
                "this clone has only the latest commits: `git fetch --unshallow` gets the others (in GitHub \
                 Actions `fetch-depth: 0` for actions/checkout)"
                    .to_owned(),
            ),
            Self::Unknown { .. } => Some(
                "a branch, a tag, the id of a commit, or `HEAD~1` for the one before the last".to_owned(),
            ),
            Self::Ambiguous { .. } => Some("give more digits of the id".to_owned()),
            Self::NoFolder { .. } => {
                Some("choose a later revision, in which the context is there".to_owned())
            }
            Self::Unreadable { revision, .. } => Some(format!(
                "`git fsck` finds damage; `git diff --stat {revision}` fetches what a partial clone lacks"
            )),
            Self::Failed { said, .. } if said.contains("dubious ownership") => Some(
                "the repository belongs to another user: see `safe.directory` in `git help config`"
                    .to_owned(),
            ),
            Self::Failed { .. } | Self::Context(_) => None,
        }
    }
}

/// Reads the tree of a context as it is in a revision: a branch, a tag, a commit, `HEAD~3`. `root` is the context and
/// `dockerfile` the path of the Dockerfile, as for [`ContextIndex::open`]; the Dockerfile may lie outside of the
/// context. The ignore file is the revision's own.
///
/// Links are read at once and files only when they are needed. Where something may be converted at checkout, files
/// of another size than the working tree's are compared with these.
pub fn open_revision(
    root: &Path,
    dockerfile: Option<&Path>,
    revision: &str,
) -> Result<RevisionContext, RevisionError> {
    let repository = Repository::open(root, revision)?;
    let recorded = repository.list()?;
    let mut notes = Vec::new();

    let ignore =
        IgnoreFile::choose(root, dockerfile, |directory, name| match repository.inside(directory) {
            Some(place) => {
                let found = repository.file(&place, name, true)?;
                Ok::<_, RevisionError>(found.map(|file| {
                    let path = directory.join(name);
                    (SourceFile { path, ..file }, false)
                }))
            }
            None => on_disk(directory, name),
        })?;
    let (source, outside) = match dockerfile {
        Some(path) => read_dockerfile(&repository, path)?,
        None => (None, false),
    };
    if let Some(path) = dockerfile.filter(|_| outside) {
        notes.push(Note { path: super::tree::path_bytes(path), kind: NoteKind::OutsideRepository });
    }
    let exclude = ignore.as_ref().map(IgnoreFile::matcher).transpose()?;
    let exclude = exclude.filter(|m| !m.patterns().is_empty()).map(Arc::new);

    let fail = |source| ContextError::Root { path: root.to_path_buf(), source: Arc::new(source) };
    let disk = walk::walk(&repository.base, exclude.clone()).map_err(fail)?;
    let disk = ContextIndex::over(root.to_path_buf(), None, exclude.clone(), disk);

    let settings = repository.settings()?;
    let modes = Modes::seen(&recorded, &disk.tree, settings.has_modes);
    let mut entries = Vec::with_capacity(recorded.len());
    for one in &recorded {
        entries.push(entry_of(one, &disk.tree, &modes, settings.has_links, &repository)?);
    }
    let mut tree = Tree::listed(entries, exclude.as_deref());
    tree.base = Some(repository.base.clone());
    tree.objects = Some(Objects::of(root));

    let missing: HashSet<&BStr> =
        recorded.iter().filter(|r| r.size.is_none()).map(|r| r.path.as_bstr()).collect();
    let submodules: BTreeMap<&BStr, &Recorded> =
        recorded.iter().filter(|r| r.kind == Kind::Submodule).map(|r| (r.path.as_bstr(), r)).collect();
    for entry in tree.entries.iter().filter(|e| e.verdict == Verdict::Kept) {
        let path = entry.path.as_bstr();
        let kind = if let Some(submodule) = submodules.get(path) {
            let on_disk = disk.tree.find(path).and_then(|at| disk.tree.entries.get(at).map(|e| (at, e)));
            let on_disk = on_disk.is_some_and(|(at, e)| e.end as usize > at + 1);
            NoteKind::Submodule { commit: submodule.id.to_string(), on_disk }
        } else if missing.contains(path) && entry.is_file() {
            NoteKind::Missing
        } else {
            continue;
        };
        notes.push(Note { path: entry.path.clone(), kind });
    }
    convert::settle(&mut tree, &disk.tree, &missing, &settings, &repository, &mut notes)?;
    unrecorded(&tree, &disk, &submodules, &repository, &mut notes)?;
    notes.sort_by(|a, b| transfer_order(&a.path, &b.path));

    let index = ContextIndex::over(root.to_path_buf(), ignore, exclude, tree);
    Ok(RevisionContext { commit: repository.commit, index, dockerfile: source, notes })
}

/// The Dockerfile of the revision, and whether its directory is outside of the repository.
fn read_dockerfile(
    repository: &Repository,
    dockerfile: &Path,
) -> Result<(Option<SourceFile>, bool), RevisionError> {
    let directory = dockerfile.parent().unwrap_or(Path::new(""));
    let (Some(name), Some(place)) = (dockerfile.file_name(), repository.inside(directory)) else {
        return Ok((None, true));
    };
    let mut names = vec![Path::new(name)];
    if name == "Dockerfile" {
        // Docker takes it where there is no other, and for that name alone.
        names.push(Path::new("dockerfile"));
    }
    for name in names {
        // Unlike an ignore file it may be a link to anywhere in the repository.
        let from_top = system_path(&place).join(name);
        if let Some(file) = repository.file(b"", &from_top, false)? {
            return Ok((Some(SourceFile { path: directory.join(name), ..file }), false));
        }
    }
    Ok((None, false))
}

/// The permission bits that a checkout would give.
struct Modes {
    has_modes: bool,
    file: u32,
    executable: u32,
    directory: u32,
}

/// The same permissions for a file that can be run, or that cannot: who may read may run.
fn with_execution(mode: u32, executable: bool) -> u32 {
    let mode = mode & !0o111;
    if executable { mode | ((mode & 0o444) >> 2) } else { mode }
}

impl Modes {
    /// What is most frequent in the working tree among what is in both: the umask shows in it.
    fn seen(recorded: &[Recorded], disk: &Tree, has_modes: bool) -> Self {
        let mut seen: [HashMap<u32, usize>; 3] = Default::default();
        for one in recorded {
            let Some(entry) = disk.find(&one.path).and_then(|at| disk.entries.get(at)) else { continue };
            let class = match one.kind {
                Kind::File { .. } if !entry.is_file() || entry.verdict != Verdict::Kept => continue,
                Kind::File { .. } => usize::from(has_modes && entry.mode & 0o100 != 0),
                Kind::Directory if entry.is_dir() && !matches!(entry.verdict, Verdict::Pruned(_)) => 2,
                _ => continue,
            };
            if let Some(seen) = seen.get_mut(class) {
                *seen.entry(entry.mode).or_default() += 1;
            }
        }
        let [file, executable, directory] =
            seen.map(|modes| modes.into_iter().max_by_key(|(mode, n)| (*n, std::cmp::Reverse(*mode))));
        let mode = |seen: Option<(u32, usize)>| seen.map(|(mode, _)| mode);
        let usual = if cfg!(unix) { 0o644 } else { 0o755 };
        let file = mode(file).or_else(|| mode(executable).map(|m| with_execution(m, false))).unwrap_or(usual);
        let all = with_execution(file, true);
        Self {
            has_modes,
            file,
            executable: if has_modes { mode(executable).unwrap_or(all) } else { file },
            directory: mode(directory).unwrap_or(all),
        }
    }

    fn of_file(&self, executable: bool, on_disk: Option<&Entry>) -> u32 {
        match on_disk {
            Some(entry) if !self.has_modes || (entry.mode & 0o100 != 0) == executable => entry.mode,
            Some(entry) => with_execution(entry.mode, executable),
            None if executable => self.executable,
            None => self.file,
        }
    }
}

/// What a checkout would make of a recorded entry.
fn entry_of(
    one: &Recorded,
    disk: &Tree,
    modes: &Modes,
    has_links: bool,
    repository: &Repository,
) -> Result<MemoryEntry, RevisionError> {
    let there = disk.find(&one.path).and_then(|at| disk.entries.get(at));
    // Of what is left out the walk knows no more than the name.
    let there = there.filter(|e| e.verdict == Verdict::Kept || e.is_dir());
    let plain = |executable: bool| {
        let there = there.filter(|e| e.is_file());
        let source = Source::Object { id: one.id.clone(), on_disk: there.is_some() };
        MemoryEntry {
            held: Some((source, one.size.unwrap_or(0))),
            ..MemoryEntry::dir(one.path.clone(), modes.of_file(executable, there)).with(EntryKind::File)
        }
    };
    Ok(match one.kind {
        Kind::File { executable } => plain(executable),
        Kind::Link if !has_links => plain(false),
        Kind::Link => {
            let target = repository.content(&one.id, &repository.whole_path(&one.path))?;
            let link = MemoryEntry::symlink(one.path.clone(), target);
            match there.filter(|e| matches!(e.kind, EntryKind::Symlink { .. })) {
                Some(entry) => MemoryEntry { mode: entry.mode, held: Some((Source::Disk, 0)), ..link },
                None => link,
            }
        }
        Kind::Directory | Kind::Submodule => {
            match there.filter(|e| e.is_dir() && !matches!(e.verdict, Verdict::Pruned(_))) {
                Some(entry) => MemoryEntry {
                    held: Some((Source::Disk, 0)),
                    ..MemoryEntry::dir(one.path.clone(), entry.mode)
                },
                None => MemoryEntry::dir(one.path.clone(), modes.directory),
            }
        }
    })
}

/// Notes what the working tree sends although git knows nothing of it.
fn unrecorded(
    tree: &Tree,
    disk: &ContextIndex,
    submodules: &BTreeMap<&BStr, &Recorded>,
    repository: &Repository,
    notes: &mut Vec<Note>,
) -> Result<(), RevisionError> {
    let is_new = |entry: &Entry| tree.find(&entry.path).is_none();
    if !disk.entries().any(is_new) {
        return Ok(());
    }
    // What was added since is known to git, too.
    let tracked = repository.tracked()?;
    let mut directories: HashSet<&BStr> = HashSet::new();
    for path in &tracked {
        for end in path.rfind_iter("/") {
            // Who has a directory has those above it.
            if !directories.insert(path.get(..end).unwrap_or_default().as_bstr()) {
                break;
            }
        }
    }
    let mut covered: Option<BString> = None;
    for (at, entry) in disk.tree.entries.iter().enumerate().filter(|(at, _)| disk.full.is_sent(*at)) {
        if covered.as_ref().is_some_and(|dir| below(dir, &entry.path)) {
            continue;
        }
        let path = entry.path.as_bstr();
        // A submodule is known as a whole; so is one that was added since.
        if submodules.contains_key(path) || tracked.contains(path) {
            covered = Some(entry.path.clone());
            continue;
        }
        if !is_new(entry) || directories.contains(path) {
            continue;
        }
        let inside = at + 1..entry.end as usize;
        let is_file = |at: usize| disk.tree.entries.get(at).is_some_and(|e| !e.is_dir());
        let kind = if path::base(path) == b".git" {
            NoteKind::GitFolder
        } else if !entry.is_dir() {
            NoteKind::Untracked { is_dir: false }
        } else if inside.into_iter().any(|at| disk.full.is_sent(at) && is_file(at)) {
            NoteKind::Untracked { is_dir: true }
        } else {
            NoteKind::EmptyDirectory
        };
        notes.push(Note { path: entry.path.clone(), kind });
        covered = Some(entry.path.clone());
    }
    Ok(())
}
