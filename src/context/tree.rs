//! The entries of a tree in the order of a transfer, from a disk, from memory or from git's object store.
//!
//! The order is that of `fsutil`: directories before what is in them, names by their bytes. So everything below
//! a directory follows it directly, and a tree is one list.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bstr::BString;

use super::digest::{self, Hash};
use super::error::ContextError;
use super::object::Objects;
use super::path;
use super::pattern::{Matcher, PatternError};

/// Extended attributes by name.
pub type Extended = BTreeMap<Vec<u8>, Vec<u8>>;

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link with its text.
    Symlink {
        /// The text as it is, not cleaned.
        target: BString,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u64,
        /// Minor number.
        minor: u64,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u64,
        /// Minor number.
        minor: u64,
    },
    /// A socket; it arrives as an empty regular file.
    Socket,
}

/// What the ignore file says about an entry that was met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing against it.
    Kept,
    /// Excluded by this pattern; a directory was searched all the same.
    Excluded(usize),
    /// Excluded by this pattern, and not searched.
    Pruned(usize),
    /// A pattern that was tried on it is refused.
    Refused(Box<PatternError>),
}

/// One file, directory, link or special file of a tree.
#[derive(Debug)]
pub struct Entry {
    /// The path below the root, without a leading `/`.
    pub path: BString,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a regular file, 0 for all else.
    pub size: u64,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Time of the last change in nanoseconds since 1970. Not in any key; a warm daemon compares it.
    pub mtime_ns: i128,
    /// Owner; 0 in a build context, whose client resets it.
    pub uid: u32,
    /// Group; 0 in a build context.
    pub gid: u32,
    /// What the ignore file says.
    pub(crate) verdict: Verdict,
    /// Whether some pattern matches a directory it is in. Only then can opening it be refused although the walk
    /// sends it: elsewhere both try the same patterns, but for exceptions, of which opening tries more.
    pub(crate) doubtful: bool,
    /// Which of [`Tree::inodes`] it is a name of, where there are several names.
    pub(crate) inode: Option<u32>,
    /// Index after its last descendant.
    pub(crate) end: u32,
    /// Where its content and attributes are.
    pub(crate) source: Source,
    /// The digest, where only that is known.
    recorded: Option<Box<Hash>>,
    /// The digest of a regular file with its content.
    record: OnceLock<Result<FileRecord, Arc<io::Error>>>,
}

/// Where the content and the extended attributes of an entry are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// On the disk, at the entry's place.
    Disk,
    /// Here.
    Memory(Box<(Vec<u8>, Extended)>),
    /// In git's object store, read when it is asked for.
    Object {
        /// The blob's id in hexadecimal digits.
        id: Box<str>,
        /// Whether the same kind of entry is at its place on the disk. Git knows no extended attributes, so they
        /// are taken from there.
        on_disk: bool,
    },
    /// In another file of the disk; attributes as for an object.
    Elsewhere {
        /// The file with the content.
        file: Box<Path>,
        /// As for an object.
        on_disk: bool,
    },
}

/// The digest of a regular file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileRecord {
    pub(crate) hash: Hash,
    /// Whether the content is in it; not so if the file cannot be opened.
    pub(crate) opened: bool,
}

impl Entry {
    pub(crate) fn new(path: BString, kind: EntryKind) -> Self {
        Self {
            path,
            kind,
            size: 0,
            mode: 0,
            mtime_ns: 0,
            uid: 0,
            gid: 0,
            verdict: Verdict::Kept,
            doubtful: false,
            inode: None,
            end: 0,
            source: Source::Disk,
            recorded: None,
            record: OnceLock::new(),
        }
    }

    /// When a person last changed it, in nanoseconds since 1970; known on a disk only.
    pub fn modified(&self) -> Option<i128> {
        matches!(self.source, Source::Disk).then_some(self.mtime_ns)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Dir
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == EntryKind::File
    }
}

/// An entry of a tree that is not on a disk.
#[derive(Clone, Debug)]
pub struct MemoryEntry {
    /// The path below the root.
    pub path: BString,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Content of a regular file.
    pub content: Vec<u8>,
    /// Extended attributes.
    pub extended: Extended,
    /// The digest of the whole entry and the size of its content, where these are known and the content is not at
    /// hand.
    pub(crate) recorded: Option<(Hash, u64)>,
    /// Where the content is and its size, where it is not here.
    pub(crate) held: Option<(Source, u64)>,
}

impl MemoryEntry {
    /// A regular file of root's. A heredoc is one with mode 0644, a download one with 0600.
    pub fn file(path: impl Into<BString>, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self { mode, content: content.into(), ..Self::dir(path, mode).with(EntryKind::File) }
    }

    /// A directory of root's.
    pub fn dir(path: impl Into<BString>, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind: EntryKind::Dir,
            mode,
            uid: 0,
            gid: 0,
            content: Vec::new(),
            extended: Extended::new(),
            recorded: None,
            held: None,
        }
    }

    /// An entry of another tree as it is, under a new path: [`super::View::record_of`] gives its digest.
    pub(crate) fn recorded(path: impl Into<BString>, entry: &Entry, digest: Hash) -> Self {
        let other = Self { recorded: Some((digest, entry.size)), ..Self::dir(path, entry.mode) };
        Self { uid: entry.uid, gid: entry.gid, ..other.with(entry.kind.clone()) }
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<BString>, target: impl Into<BString>) -> Self {
        Self::dir(path, 0o777).with(EntryKind::Symlink { target: target.into() })
    }

    /// The same in another place.
    pub fn at(self, path: impl Into<BString>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// The same as something else.
    pub fn with(self, kind: EntryKind) -> Self {
        Self { kind, ..self }
    }
}

/// The record of a tree's root, which is not an entry.
#[derive(Clone, Debug, Default)]
pub enum RootRecord {
    /// A tree that was transferred: the header is that of nothing, whatever the directory looks like.
    #[default]
    Transferred,
    /// A tree scanned from a mounted snapshot (`COPY --from`, heredocs, downloads, checkouts): a real header.
    Scanned {
        /// Permission bits of the root.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Extended attributes.
        extended: Extended,
    },
}

impl RootRecord {
    /// The root of a snapshot as BuildKit makes it: mode 0755, owned by root.
    pub fn scanned() -> Self {
        Self::Scanned { mode: 0o755, uid: 0, gid: 0, extended: Extended::new() }
    }

    /// The root's header.
    pub(crate) fn header(&self) -> Hash {
        use sha2::Digest as _;
        match self {
            Self::Transferred => sha2::Sha256::digest([]).into(),
            Self::Scanned { mode, uid, gid, extended } => {
                let mut entry = Entry::new(BString::default(), EntryKind::Dir);
                (entry.mode, entry.uid, entry.gid) = (*mode, *uid, *gid);
                digest::header(&entry, extended).finalize().into()
            }
        }
    }
}

/// A tree of entries.
#[derive(Debug, Default)]
pub struct Tree {
    /// Where the files are, unless all are in memory.
    pub(crate) base: Option<PathBuf>,
    /// Where the objects are, for a tree that git recorded.
    pub(crate) objects: Option<Objects>,
    /// In transfer order.
    pub(crate) entries: Vec<Entry>,
    /// What could not be read, by index.
    pub(crate) problems: HashMap<u32, Arc<io::Error>>,
    /// The record of files with several names.
    pub(crate) inodes: Vec<OnceLock<Result<FileRecord, Arc<io::Error>>>>,
    /// The record of the root.
    pub(crate) root: RootRecord,
}

impl Tree {
    /// A tree that is not on a disk, with the root of a scanned snapshot. Entries may come in any order; of two
    /// with one path the later one counts, and missing parents are directories of mode 0755.
    pub fn from_memory(entries: Vec<MemoryEntry>) -> Self {
        Self { root: RootRecord::scanned(), ..Self::listed(entries, None) }
    }

    /// The same, with another root.
    pub fn with_root(self, root: RootRecord) -> Self {
        Self { root, ..self }
    }

    /// A tree from a list, less what `exclude` prunes.
    pub(crate) fn listed(entries: Vec<MemoryEntry>, exclude: Option<&Matcher>) -> Self {
        let mut by_path: BTreeMap<Vec<u8>, MemoryEntry> = BTreeMap::new();
        for entry in entries {
            let clean = path::clean([b"/".as_slice(), &entry.path].concat());
            let Some(relative) = clean.strip_prefix(b"/").filter(|p| !p.is_empty()) else { continue };
            for (at, _) in relative.iter().enumerate().filter(|(_, b)| **b == b'/') {
                let parent = relative.get(..at).unwrap_or_default();
                by_path
                    .entry(order_key(parent))
                    .or_insert_with(|| MemoryEntry::dir(BString::from(parent), 0o755));
            }
            by_path.insert(order_key(relative), MemoryEntry { path: relative.into(), ..entry });
        }
        let mut out: Vec<Entry> = Vec::with_capacity(by_path.len());
        let mut above: Vec<(BString, Vec<bool>)> = Vec::new();
        let mut pruned: Option<BString> = None;
        for listed in by_path.into_values() {
            if pruned.as_ref().is_some_and(|p| below(p, &listed.path)) {
                continue;
            }
            while above.last().is_some_and(|(dir, _)| !below(dir, &listed.path)) {
                above.pop();
            }
            let mut entry = Entry::new(listed.path, listed.kind);
            (entry.mode, entry.uid, entry.gid) = (listed.mode & 0o7777, listed.uid, listed.gid);
            if entry.is_file() {
                entry.size = listed.content.len() as u64;
            }
            if let Some((hash, size)) = listed.recorded {
                entry.size = size;
                entry.recorded = Some(Box::new(hash));
                let _ = entry.record.set(Ok(FileRecord { hash, opened: true }));
            }
            entry.source = Source::Memory(Box::new((listed.content, listed.extended)));
            if let Some((source, size)) = listed.held {
                (entry.source, entry.size) = (source, size);
            }
            let mut flags = Vec::new();
            let parent = above.last().map(|(_, flags)| flags.as_slice());
            entry.doubtful = parent.is_some_and(|p| p.contains(&true));
            entry.verdict = judge(exclude, &entry.path, entry.is_dir(), parent, &mut flags);
            if matches!(entry.verdict, Verdict::Pruned(_) | Verdict::Refused(_)) {
                pruned = Some(entry.path.clone());
            } else if entry.is_dir() {
                above.push((entry.path.clone(), flags));
            }
            out.push(entry);
        }
        let mut tree = Self { entries: out, ..Self::default() };
        tree.close();
        tree
    }

    /// Fills in where each entry's descendants end; the entries must be in order.
    pub(crate) fn close(&mut self) {
        let mut open: Vec<usize> = Vec::new();
        for i in 0..self.entries.len() {
            while let Some(&top) = open.last() {
                if below(&self.entries[top].path, &self.entries[i].path) {
                    break;
                }
                self.entries[top].end = index(i);
                open.pop();
            }
            open.push(i);
        }
        let len = index(self.entries.len());
        for top in open {
            self.entries[top].end = len;
        }
    }

    /// The index of an entry by its path, without a leading `/`.
    pub(crate) fn find(&self, path: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|e| transfer_order(&e.path, path)).ok()
    }

    /// Where an entry is on the disk.
    fn place(&self, entry: &Entry) -> PathBuf {
        let base = self.base.as_deref().unwrap_or(Path::new(""));
        base.join(system_path(&entry.path))
    }

    /// The header's digest of any entry: all there is of what is no regular file.
    pub(crate) fn header(&self, entry: &Entry) -> Result<Hash, ContextError> {
        use sha2::Digest as _;
        if let Some(hash) = &entry.recorded {
            return Ok(**hash);
        }
        Ok(self
            .open_header(entry, &self.place(entry))
            .map_err(|e| self.unreadable(entry, e))?
            .finalize()
            .into())
    }

    fn open_header(&self, entry: &Entry, place: &Path) -> Result<sha2::Sha256, Arc<io::Error>> {
        let extended = match &entry.source {
            Source::Memory(memory) => return Ok(digest::header(entry, &memory.1)),
            Source::Disk => digest::extended(place).map_err(Arc::new)?,
            // What the disk says is of use if it says something; the entry itself does not depend on it.
            Source::Object { on_disk: true, .. } | Source::Elsewhere { on_disk: true, .. } => {
                digest::extended(place).unwrap_or_default()
            }
            Source::Object { .. } | Source::Elsewhere { .. } => Extended::new(),
        };
        Ok(digest::header(entry, &extended))
    }

    /// Reads an object of git's.
    fn object(&self, id: &str, buffer: &mut Vec<u8>, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        self.objects.as_ref().ok_or_else(absent)?.read(id, buffer, sink)
    }

    fn unreadable(&self, entry: &Entry, source: Arc<io::Error>) -> ContextError {
        ContextError::Read { path: entry.path.clone(), source }
    }

    fn slot<'a>(&'a self, entry: &'a Entry) -> &'a OnceLock<Result<FileRecord, Arc<io::Error>>> {
        entry.inode.and_then(|n| self.inodes.get(n as usize)).unwrap_or(&entry.record)
    }

    /// Gives a regular file a digest that no content has.
    pub(crate) fn suppose_edited(&mut self, at: usize) {
        use sha2::Digest as _;
        let Some(entry) = self.entries.get_mut(at).filter(|e| e.is_file()) else { return };
        let hash = sha2::Sha256::digest([b"a supposed edit of ".as_slice(), &entry.path].concat()).into();
        let record = OnceLock::from(Ok(FileRecord { hash, opened: true }));
        // An edit takes place at another time.
        entry.mtime_ns = entry.mtime_ns.wrapping_add(1);
        match entry.inode.and_then(|n| self.inodes.get_mut(n as usize)) {
            Some(slot) => *slot = record,
            None => entry.record = record,
        }
    }

    /// Whether a file's content has been hashed.
    pub(crate) fn is_hashed(&self, entry: &Entry) -> bool {
        self.slot(entry).get().is_some()
    }

    /// The digest of a regular file with its content, which is read at most once.
    pub(crate) fn file(&self, entry: &Entry, buffer: &mut Vec<u8>) -> Result<FileRecord, ContextError> {
        use sha2::Digest as _;
        let record = self.slot(entry).get_or_init(|| {
            let (hash, opened) = if let Source::Disk = entry.source {
                digest::file(entry, &self.place(entry), buffer).map_err(Arc::new)?
            } else {
                let mut hash = self.open_header(entry, &self.place(entry))?;
                let opened = self.add_content(&mut hash, entry, buffer).map_err(Arc::new)?;
                (hash.finalize().into(), opened)
            };
            Ok(FileRecord { hash, opened })
        });
        record.clone().map_err(|e| self.unreadable(entry, e))
    }

    /// The SHA-256 of a file's content alone; none if it cannot be opened.
    pub(crate) fn plain(&self, entry: &Entry, buffer: &mut Vec<u8>) -> Result<Option<Hash>, ContextError> {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        let opened = self.add_content(&mut hash, entry, buffer);
        let opened = opened.map_err(|e| self.unreadable(entry, Arc::new(e)))?;
        Ok(opened.then(|| hash.finalize().into()))
    }

    /// Adds a file's content to a hash. False if it cannot be opened.
    fn add_content(&self, hash: &mut sha2::Sha256, entry: &Entry, buffer: &mut Vec<u8>) -> io::Result<bool> {
        use sha2::Digest as _;
        match &entry.source {
            Source::Memory(memory) => hash.update(&memory.0),
            Source::Object { id, .. } => self.object(id, buffer, &mut |some| hash.update(some))?,
            Source::Disk => return digest::add_file(hash, &self.place(entry), buffer),
            Source::Elsewhere { file, .. } => return digest::add_file(hash, file, buffer),
        }
        Ok(true)
    }

    /// The content of a regular file; none if it is longer than `limit`.
    pub(crate) fn content(&self, entry: &Entry, limit: u64) -> Result<Option<Vec<u8>>, ContextError> {
        use io::Read as _;
        let place = match &entry.source {
            Source::Memory(memory) => {
                return Ok((memory.0.len() as u64 <= limit).then(|| memory.0.clone()));
            }
            Source::Object { .. } if entry.size > limit => return Ok(None),
            Source::Object { .. } | Source::Disk => self.place(entry),
            Source::Elsewhere { file, .. } => file.to_path_buf(),
        };
        let read = || {
            let mut content = Vec::new();
            if let Source::Object { id, .. } = &entry.source {
                self.object(id, &mut Vec::new(), &mut |some| content.extend_from_slice(some))?;
                return Ok(content);
            }
            let file = std::fs::File::open(place)?;
            file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
            Ok(content)
        };
        let content = read().map_err(|e: io::Error| self.unreadable(entry, Arc::new(e)))?;
        Ok((content.len() as u64 <= limit).then_some(content))
    }
}

/// What the walk makes of an entry: the one place where exclude patterns decide, for disk and memory.
/// `flags` receives what is needed for the entries below.
pub(crate) fn judge(
    exclude: Option<&Matcher>,
    path: &[u8],
    is_dir: bool,
    parent: Option<&[bool]>,
    flags: &mut Vec<bool>,
) -> Verdict {
    let Some(exclude) = exclude else { return Verdict::Kept };
    match exclude.decide(path, parent, flags) {
        Err(error) => Verdict::Refused(Box::new(error)),
        Ok(decision) => match decision.by.filter(|_| decision.matched) {
            None => Verdict::Kept,
            Some(by) if is_dir && exclude.may_prune(path, true) => Verdict::Pruned(by),
            Some(by) => Verdict::Excluded(by),
        },
    }
}

/// Whether `path` lies below the directory `dir`.
pub(crate) fn below(dir: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Compares as the transfer does: component by component.
pub(crate) fn transfer_order(a: &[u8], b: &[u8]) -> Ordering {
    const STRIDE: usize = 8;
    let slash_first = |byte: u8| if byte == b'/' { 0 } else { byte };
    // Neighbours begin alike, and a sort compares mostly neighbours.
    let strides = a.chunks_exact(STRIDE).zip(b.chunks_exact(STRIDE));
    let alike = STRIDE * strides.take_while(|(a, b)| a == b).count();
    match a.iter().zip(b).skip(alike).find(|(a, b)| a != b) {
        Some((a, b)) => slash_first(*a).cmp(&slash_first(*b)),
        None => a.len().cmp(&b.len()),
    }
}

/// A key whose bytewise order is that of the transfer.
pub(crate) fn order_key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|b| if *b == b'/' { 0 } else { *b }).collect()
}

/// An index as it is stored; a context has no four billion entries.
pub(crate) fn index(i: usize) -> u32 {
    u32::try_from(i).unwrap_or(u32::MAX)
}

/// Bytes of a path as the system takes them.
pub(crate) fn system_path(path: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        PathBuf::from(std::ffi::OsStr::from_bytes(path))
    }
    #[cfg(not(unix))]
    {
        PathBuf::from(String::from_utf8_lossy(path).into_owned())
    }
}

/// A path of the system as bytes with `/`.
pub(crate) fn path_bytes(path: &Path) -> BString {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        BString::from(path.as_os_str().as_bytes())
    }
    #[cfg(not(unix))]
    {
        BString::from(path.to_string_lossy().replace('\\', "/"))
    }
}
