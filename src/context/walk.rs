//! The one walk of a context: metadata only, in parallel, never through links.
//!
//! Mirrors `FSU/fs.go` and the exclude half of `FSU/filter.go`. The `ignore` crate walks with every filter of its
//! own switched off; what Docker's patterns prune is not opened.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bstr::BString;
use ignore::{DirEntry, WalkBuilder, WalkState};

use super::pattern::Matcher;
use super::tree::{Entry, EntryKind, Tree, Verdict, index, judge, order_key, path_bytes, transfer_order};

/// What is remembered of a directory for those below it.
struct Directory {
    flags: Vec<bool>,
    verdict: Verdict,
}

/// An entry with the numbers by which hard links are recognised (only where there is more than one link).
type Found = (Entry, Option<(u64, u64)>);

/// What the threads share.
struct Shared {
    root: PathBuf,
    exclude: Option<Arc<Matcher>>,
    directories: RwLock<HashMap<BString, Arc<Directory>>>,
    found: Mutex<Vec<Found>>,
    problems: Mutex<Vec<(BString, io::Error)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// A path below the root; none for the root itself.
    fn relative(&self, path: &Path) -> Option<BString> {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt as _;
            // The walker only appends to the root, so bytes will do; components cost more than the rest.
            let below = path.as_os_str().as_bytes().strip_prefix(self.root.as_os_str().as_bytes())?;
            let below = below.strip_prefix(b"/").unwrap_or(below);
            (!below.is_empty()).then(|| below.into())
        }
        #[cfg(not(unix))]
        {
            let below = path.strip_prefix(&self.root).ok()?;
            (!below.as_os_str().is_empty()).then(|| path_bytes(below))
        }
    }

    fn directory(&self, path: &[u8]) -> Option<Arc<Directory>> {
        let known = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        known.get(path).cloned()
    }

    /// Judges a directory before it is opened. False if it need not be.
    fn enter(&self, path: BString) -> bool {
        let parent = parent_of(&path).and_then(|p| self.directory(p));
        let mut flags = Vec::new();
        let above = parent.as_ref().map(|p| p.flags.as_slice());
        let verdict = judge(self.exclude.as_deref(), &path, true, above, &mut flags);
        if matches!(verdict, Verdict::Pruned(_) | Verdict::Refused(_)) {
            let mut entry = Entry::new(path, EntryKind::Dir);
            entry.verdict = verdict;
            lock(&self.found).push((entry, None));
            return false;
        }
        let mut known = self.directories.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(path, Arc::new(Directory { flags, verdict }));
        true
    }
}

/// One thread's harvest.
struct Visitor {
    shared: Arc<Shared>,
    found: Vec<Found>,
    problems: Vec<(BString, io::Error)>,
    /// The directory of the last entry; the next one is mostly in it too.
    last: Option<(BString, Arc<Directory>)>,
    flags: Vec<bool>,
}

impl Drop for Visitor {
    fn drop(&mut self) {
        // Sorted runs are quickly merged, and this is done by all threads at once.
        self.found.sort_by_cached_key(|(entry, _)| order_key(&entry.path));
        lock(&self.shared.found).append(&mut self.found);
        lock(&self.shared.problems).append(&mut self.problems);
    }
}

impl Visitor {
    fn entry(&mut self, dent: &DirEntry) {
        let Some(path) = self.shared.relative(dent.path()) else { return };
        let is_dir = dent.file_type().is_some_and(|t| t.is_dir());
        let mut doubtful = false;
        let verdict = if self.shared.exclude.is_none() {
            Verdict::Kept
        } else if is_dir {
            self.shared.directory(&path).map_or(Verdict::Kept, |d| d.verdict.clone())
        } else {
            let parent = self.parent(&path);
            let above = parent.as_ref().map(|p| p.flags.as_slice());
            doubtful = above.is_some_and(|flags| flags.contains(&true));
            judge(self.shared.exclude.as_deref(), &path, false, above, &mut self.flags)
        };
        let mut entry = Entry::new(path, if is_dir { EntryKind::Dir } else { EntryKind::File });
        let mut links = None;
        // What is left out for good needs no metadata.
        if is_dir || verdict == Verdict::Kept {
            match describe(dent, &mut entry) {
                Ok(found) => links = found,
                // It vanished between the listing and now, as if it had never been.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(error) => self.problems.push((entry.path.clone(), error)),
            }
        }
        entry.verdict = verdict;
        entry.doubtful = doubtful;
        self.found.push((entry, links));
    }

    fn parent(&mut self, path: &[u8]) -> Option<Arc<Directory>> {
        let parent = parent_of(path)?;
        if let Some((known, directory)) = &self.last
            && known == parent
        {
            return Some(Arc::clone(directory));
        }
        let directory = self.shared.directory(parent)?;
        self.last = Some((parent.into(), Arc::clone(&directory)));
        Some(directory)
    }

    fn problem(&mut self, error: ignore::Error) {
        let path = error_path(&error).and_then(|p| self.shared.relative(p)).unwrap_or_default();
        let Some(error) = error.into_io_error() else { return };
        if error.kind() != io::ErrorKind::NotFound || path.is_empty() {
            self.problems.push((path, error));
        }
    }
}

fn parent_of(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|b| *b == b'/').and_then(|at| path.get(..at))
}

fn error_path(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => error_path(err),
        ignore::Error::Partial(errors) => errors.iter().find_map(error_path),
        _ => None,
    }
}

/// Fills in an entry's metadata.
fn describe(dent: &DirEntry, entry: &mut Entry) -> io::Result<Option<(u64, u64)>> {
    let meta =
        dent.metadata().map_err(|e| e.into_io_error().unwrap_or_else(|| io::Error::other("no metadata")))?;
    let file_type = meta.file_type();
    entry.kind = if file_type.is_dir() {
        EntryKind::Dir
    } else if file_type.is_symlink() {
        EntryKind::Symlink { target: path_bytes(&std::fs::read_link(dent.path())?) }
    } else {
        entry.size = meta.len();
        EntryKind::File
    };
    let since = |t: std::time::SystemTime| match t.duration_since(std::time::UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    };
    entry.mtime_ns = meta.modified().map(since).unwrap_or_default();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
        entry.mode = meta.mode() & 0o7777;
        let device = meta.rdev();
        // As fsutil splits the number, which is not quite how Linux does.
        let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
        let special = if file_type.is_fifo() {
            Some(EntryKind::Fifo)
        } else if file_type.is_socket() {
            Some(EntryKind::Socket)
        } else if file_type.is_char_device() {
            Some(EntryKind::CharDevice { major, minor })
        } else if file_type.is_block_device() {
            Some(EntryKind::BlockDevice { major, minor })
        } else {
            None
        };
        if let Some(kind) = special {
            entry.kind = kind;
            entry.size = 0;
        }
        Ok((entry.is_file() && meta.nlink() > 1).then(|| (meta.dev(), meta.ino())))
    }
    #[cfg(not(unix))]
    {
        // A Windows client makes every mode executable and masks it with 0755.
        entry.mode = 0o755;
        Ok(None)
    }
}

/// How many threads a walk is worth. One that waits for others to find work sleeps for a millisecond, and that is
/// longer than a small context takes.
fn threads(root: &Path) -> usize {
    const SMALL: usize = 200;
    let mut seen = 0;
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        // What cannot be read is the walk's to report.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            seen += 1;
            if seen > SMALL {
                return std::thread::available_parallelism().map_or(1, usize::from).min(16);
            }
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    1
}

/// Walks `root`, an absolute path free of links, leaving out what `exclude` prunes.
pub(super) fn walk(root: &Path, exclude: Option<Arc<Matcher>>) -> io::Result<Tree> {
    let shared = Arc::new(Shared {
        root: root.to_path_buf(),
        exclude,
        directories: RwLock::default(),
        found: Mutex::default(),
        problems: Mutex::default(),
    });
    let mut builder = WalkBuilder::new(root);
    builder.standard_filters(false).follow_links(false);
    builder.threads(threads(root));
    if shared.exclude.is_some() {
        let shared = Arc::clone(&shared);
        builder.filter_entry(move |dent| {
            let is_dir = dent.file_type().is_some_and(|t| t.is_dir());
            !is_dir || shared.relative(dent.path()).is_none_or(|path| shared.enter(path))
        });
    }
    builder.build_parallel().run(|| {
        let mut visitor = Visitor {
            shared: Arc::clone(&shared),
            found: Vec::new(),
            problems: Vec::new(),
            last: None,
            flags: Vec::new(),
        };
        Box::new(move |result| {
            match result {
                Ok(dent) => visitor.entry(&dent),
                Err(error) => visitor.problem(error),
            }
            WalkState::Continue
        })
    });
    let found = std::mem::take(&mut *lock(&shared.found));
    let problems = std::mem::take(&mut *lock(&shared.problems));
    assemble(root, found, problems)
}

/// Sorts the harvest into a tree.
fn assemble(root: &Path, mut found: Vec<Found>, problems: Vec<(BString, io::Error)>) -> io::Result<Tree> {
    found.sort_by(|a, b| transfer_order(&a.0.path, &b.0.path));
    let mut tree = Tree { base: Some(root.to_path_buf()), ..Tree::default() };
    let mut names: HashMap<(u64, u64), u32> = HashMap::new();
    tree.entries = found
        .into_iter()
        .map(|(mut entry, links)| {
            entry.inode = links.map(|links| {
                let next = index(names.len());
                *names.entry(links).or_insert(next)
            });
            entry
        })
        .collect();
    tree.inodes.resize_with(names.len(), Default::default);
    tree.close();
    for (path, error) in problems {
        if path.is_empty() {
            return Err(error);
        }
        if let Some(at) = tree.find(&path) {
            tree.problems.entry(index(at)).or_insert_with(|| Arc::new(error));
        }
    }
    Ok(tree)
}
