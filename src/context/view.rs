//! What a transfer carries of a tree, what a selector takes of that, and its checksum.
//!
//! Mirrors the include half of `FSU/filter.go` and `cache/contenthash/checksum.go`. Records are not stored: a
//! path's record is the entry itself, a directory's header is the entry's header, and its recursive digest is
//! made when it is asked for.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bstr::{BString, ByteSlice as _};
use sha2::{Digest as _, Sha256};

use super::digest::{self, Hash};
use super::error::{ContextError, SelectError};
use super::path::{self, Wildcard};
use super::pattern::{Matcher, PatternError, PatternProblem};
use super::selector::Selector;
use super::tree::{Entry, EntryKind, RootRecord, Tree, Verdict, below, index};

/// More links than this on the way to one path are an error.
const MOST_LINKS: usize = 255;

/// Which entries of a tree travel, with what is remembered of them.
#[derive(Debug)]
pub(crate) struct Scope {
    include: Option<Matcher>,
    exclude: Option<Arc<Matcher>>,
    sent: Vec<bool>,
    any: bool,
    /// The first name that travels, of each file with several.
    first_name: Vec<u32>,
    /// Whether opening a file asks the patterns again: without exceptions opening and walking agree.
    asks: bool,
    /// Its answers.
    hidden: Vec<OnceLock<bool>>,
    /// Recursive digests of directories; the last one is the root's.
    directories: Vec<OnceLock<Hash>>,
    /// Why the transfer would fail.
    pub(crate) problem: Option<ContextError>,
}

impl Scope {
    /// Goes once through the entries. `refused` says where an exclude pattern stands.
    pub(crate) fn new(
        tree: &Tree,
        include: Option<Matcher>,
        exclude: Option<Arc<Matcher>>,
        refused: &dyn Fn(&PatternError) -> ContextError,
    ) -> Self {
        struct Open {
            at: usize,
            end: usize,
            flags: Vec<bool>,
        }
        let mut sent = vec![false; tree.entries.len()];
        let mut first_name = vec![u32::MAX; tree.inodes.len()];
        let mut problem: Option<ContextError> = None;
        let mut open: Vec<Open> = Vec::new();
        let mut flags = Vec::new();
        let mut at = 0;
        while let Some(entry) = tree.entries.get(at) {
            let end = entry.end as usize;
            while open.last().is_some_and(|o| o.end <= at) {
                open.pop();
            }
            let here = at;
            at = end.max(at + 1);
            let mut skip = false;
            if let Some(include) = &include {
                let parent = open.last().map(|o| o.flags.as_slice());
                match include.decide(&entry.path, parent, &mut flags) {
                    Ok(decision) if decision.matched => {}
                    Ok(_) if entry.is_dir() && include.may_prune(&entry.path, false) => continue,
                    Ok(_) => skip = true,
                    Err(error) => {
                        let PatternError { text, problem: reason, .. } = error;
                        problem.get_or_insert(ContextError::Narrow { text, problem: reason });
                        continue;
                    }
                }
            }
            match &entry.verdict {
                Verdict::Kept => {}
                Verdict::Excluded(_) => skip = true,
                Verdict::Pruned(_) => continue,
                Verdict::Refused(error) => {
                    problem.get_or_insert_with(|| refused(error));
                    continue;
                }
            }
            if let Some(source) = tree.problems.get(&index(here))
                && !(skip && source.kind() == io::ErrorKind::PermissionDenied)
            {
                problem.get_or_insert_with(|| ContextError::Read {
                    path: entry.path.clone(),
                    source: Arc::clone(source),
                });
            }
            at = here + 1;
            if !skip {
                for above in &open {
                    if let Some(sent) = sent.get_mut(above.at) {
                        *sent = true;
                    }
                }
                if let Some(sent) = sent.get_mut(here) {
                    *sent = true;
                }
                if let Some(first) = entry.inode.and_then(|n| first_name.get_mut(n as usize)) {
                    *first = (*first).min(index(here));
                }
            }
            if entry.is_dir() {
                open.push(Open { at: here, end, flags: std::mem::take(&mut flags) });
            }
        }
        let mut directories = Vec::new();
        directories.resize_with(tree.entries.len() + 1, OnceLock::new);
        let asks = include.as_ref().is_some_and(Matcher::has_exceptions)
            || exclude.as_deref().is_some_and(Matcher::has_exceptions);
        let mut hidden = Vec::new();
        hidden.resize_with(if asks { tree.entries.len() } else { 0 }, OnceLock::new);
        let any = sent.contains(&true);
        Self { include, exclude, sent, any, first_name, asks, hidden, directories, problem }
    }
}

impl Scope {
    /// Whether an entry travels.
    pub(crate) fn is_sent(&self, at: usize) -> bool {
        self.sent.get(at).copied().unwrap_or(false)
    }
}

/// What a transfer carries.
#[derive(Debug)]
pub struct View<'a> {
    tree: &'a Tree,
    scope: Held<'a>,
}

#[derive(Debug)]
enum Held<'a> {
    Shared(&'a Scope),
    Own(Box<Scope>),
}

/// The checksum of one selector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checksum {
    /// `sha256:` and hexadecimal digits, as BuildKit writes it.
    pub digest: String,
    /// Regular files that it covers.
    pub files: u64,
    /// Their sizes in bytes.
    pub bytes: u64,
    /// Files, directories, links and all else that it covers.
    pub entries: u64,
    /// Files of which the size counts but not the content: a pattern hides the content (see
    /// [`Matcher::covers`]), or the file cannot be opened. They arrive empty.
    pub empty: Vec<BString>,
    /// False for the root of a context of which nothing is sent: its digest depends on the daemon's past. The
    /// one given is that of a daemon which has never seen it.
    pub exact: bool,
}

/// The entries that a selector takes.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    tree: &'a Tree,
    taken: Vec<u32>,
    /// Regular files among them.
    pub files: u64,
    /// Their sizes in bytes.
    pub bytes: u64,
}

impl<'a> Selection<'a> {
    fn new(tree: &'a Tree, mut taken: Vec<u32>) -> Self {
        taken.sort_unstable();
        taken.dedup();
        let mut selection = Self { tree, taken, files: 0, bytes: 0 };
        let files = selection.entries().filter(|e| e.is_file());
        (selection.files, selection.bytes) = files.fold((0, 0), |(n, b), e| (n + 1, b + e.size));
        selection
    }

    /// The entries, in the order of the transfer.
    pub fn entries(&self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let tree = self.tree;
        let taken = self.taken.clone();
        taken.into_iter().filter_map(move |at| tree.entries.get(at as usize))
    }

    /// Whether nothing is selected.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

/// A place that has a record: the root or an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Root,
    Entry(usize),
}

/// What a selector comes down to.
enum Resolved {
    /// One record.
    Whole(Place),
    /// A list of them, with the key of each.
    List(Vec<Item>),
}

/// One of a list of records.
struct Item {
    /// The path in the user's terms, with a leading `/`.
    path: Vec<u8>,
    /// What is hashed before the digest.
    key: Vec<u8>,
    place: Place,
    /// Whether a directory counts with all that is in it; else with its header.
    whole: bool,
    /// What of the path is the source itself: what a wildcard stands for, or the path that was asked for.
    source: usize,
}

/// An entry that is copied, in the terms of the copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed<E> {
    /// The source: the path that was asked for, or one that a wildcard stands for. With a leading `/`; the root is
    /// empty.
    pub source: BString,
    /// The path below the source; empty for the source itself. A link at the source has been followed.
    pub relative: BString,
    /// The entry.
    pub entry: E,
}

impl<'a> View<'a> {
    pub(crate) fn shared(tree: &'a Tree, scope: &'a Scope) -> Self {
        Self { tree, scope: Held::Shared(scope) }
    }

    pub(crate) fn own(tree: &'a Tree, scope: Scope) -> Self {
        Self { tree, scope: Held::Own(Box::new(scope)) }
    }

    fn scope(&self) -> &Scope {
        match &self.scope {
            Held::Shared(scope) => scope,
            Held::Own(scope) => scope,
        }
    }

    /// Everything that travels, in the order of the transfer.
    pub fn entries(&self) -> impl Iterator<Item = &'a Entry> + '_ {
        self.tree.entries.iter().zip(&self.scope().sent).filter(|(_, sent)| **sent).map(|(entry, _)| entry)
    }

    /// An entry that travels, by its path without a leading `/`.
    pub fn entry(&self, path: &[u8]) -> Option<&'a Entry> {
        self.find(path).and_then(|at| self.tree.entries.get(at))
    }

    /// Files whose size travels but whose content does not, because opening asks the patterns in another way
    /// than walking. They arrive empty.
    pub fn hidden_contents(&self) -> impl Iterator<Item = &'a Entry> + '_ {
        let sent = self.tree.entries.iter().enumerate().filter(|(at, _)| self.is_sent(*at));
        sent.filter(|(at, e)| e.is_file() && self.hides_content(*at, e)).map(|(_, e)| e)
    }

    /// The digest of one entry alone: of a file with its content, of a directory its header.
    pub fn digest_of(&self, entry: &Entry) -> Result<String, ContextError> {
        Ok(digest::text(&self.record_of(entry)?))
    }

    /// The bytes of [`View::digest_of`].
    pub(crate) fn record_of(&self, entry: &Entry) -> Result<Hash, ContextError> {
        match self.find(&entry.path) {
            Some(at) => self.one(at, &mut Vec::new()),
            None => self.tree.header(entry),
        }
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        self.tree.find(path).filter(|at| self.is_sent(*at))
    }

    fn is_sent(&self, at: usize) -> bool {
        self.scope().is_sent(at)
    }

    /// Whether opening the file is refused. Asked more than once for a file, and answered once.
    fn hides_content(&self, at: usize, entry: &Entry) -> bool {
        let scope = self.scope();
        if !scope.asks {
            return false;
        }
        let known = scope.hidden.get(at);
        known.map_or_else(|| self.is_refused(entry), |known| *known.get_or_init(|| self.is_refused(entry)))
    }

    fn is_refused(&self, entry: &Entry) -> bool {
        let scope = self.scope();
        let says = |m: &Matcher, want: bool| matches!(m.covers(&entry.path), Ok(d) if d.matched == want);
        (entry.doubtful && scope.exclude.as_deref().is_some_and(|m| !says(m, false)))
            || scope.include.as_ref().is_some_and(|m| !says(m, true))
    }

    /// The entry whose record stands for this one: of several names of a file the first that travels.
    fn original(&self, at: usize) -> usize {
        let inode = self.tree.entries.get(at).and_then(|e| e.inode);
        let first = inode.and_then(|n| self.scope().first_name.get(n as usize)).copied();
        first.filter(|f| *f != u32::MAX).map_or(at, |f| f as usize)
    }

    // Selecting.

    /// What is at a path (`""` is the root), links on the way followed, with the path it was found at.
    fn lookup(&self, path: &[u8], follow: bool) -> Result<(Option<Place>, BString), SelectError> {
        let get = |path: &[u8]| match path.strip_prefix(b"/") {
            None => Some(Place::Root),
            Some(relative) => self.find(relative).map(Place::Entry),
        };
        let link = |place: Option<Place>| match place {
            Some(Place::Entry(at)) => match &self.tree.entries.get(at)?.kind {
                EntryKind::Symlink { target } => Some(target),
                _ => None,
            },
            _ => None,
        };
        let direct = get(path);
        if direct.is_some() && (!follow || link(direct).is_none()) {
            return Ok((direct, path.into()));
        }
        let mut current: BString = "/".into();
        let mut rest: Cow<'_, [u8]> = Cow::Borrowed(path.strip_suffix(b"/").unwrap_or(path));
        let mut links = 0;
        let mut found = None;
        while !rest.is_empty() {
            let (part, tail) = match rest.iter().position(|b| *b == b'/') {
                Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default()),
                None => (rest.as_ref(), &[][..]),
            };
            let next = key_path(&[current.as_slice(), b"/", part].concat());
            found = get(&next);
            // Below what is missing everything is missing, unless a link's text climbs out again.
            if found.is_none() && !tail.split(|b| *b == b'/').any(|part| part == b"..") {
                return Ok((None, key_path(&[next.as_slice(), b"/", tail].concat())));
            }
            let Some(target) = link(found).filter(|_| follow || !tail.is_empty()) else {
                current = next;
                rest = Cow::Owned(tail.to_vec());
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(SelectError::TooManyLinks { path: path.into() });
            }
            if target.starts_with(b"/") {
                current = "/".into();
            }
            rest = Cow::Owned([target.as_slice(), b"/", tail].concat());
        }
        Ok((found, current))
    }

    fn find_or_fail(&self, path: &[u8], follow: bool) -> Result<Place, SelectError> {
        self.lookup(path, follow)?.0.ok_or_else(|| SelectError::NotFound {
            path: if path.is_empty() { "/".into() } else { path.into() },
        })
    }

    fn resolve(&self, selector: &Selector) -> Result<Resolved, SelectError> {
        if let Some(problem) = &self.scope().problem {
            return Err(problem.clone().into());
        }
        let asked = path::clean([b"/", selector.path.as_bytes()].concat());
        if selector.is_list() {
            self.list(selector, &asked).map(Resolved::List)
        } else {
            self.find_or_fail(&key_path(&asked), selector.follow).map(Resolved::Whole)
        }
    }

    /// The list of 8.5 of the notes: every key from the start of the path on, in order.
    fn list(&self, selector: &Selector, asked: &[u8]) -> Result<Vec<Item>, SelectError> {
        struct Header {
            path: Vec<u8>,
            place: Place,
            follow: bool,
            include: Vec<bool>,
            exclude: Vec<bool>,
            included: bool,
            source: usize,
        }
        let compile = |list: &[String]| -> Result<Option<Matcher>, SelectError> {
            if list.is_empty() {
                return Ok(None);
            }
            Ok(Some(Matcher::new(list).map_err(refused)?))
        };
        let include = compile(&selector.include)?;
        let exclude = compile(&selector.exclude)?;
        let trailing = asked.ends_with(b"/");
        let wanted = key_path(asked);
        let bad_wildcard = |_| SelectError::Pattern { text: wanted.clone(), problem: PatternProblem::Syntax };
        let wildcard = selector.is_wildcard().then(|| Wildcard::new(&wanted)).transpose();

        let mut out: Vec<(Header, bool)> = Vec::new();
        let (base, start, real) = if selector.is_wildcard() {
            let base = literal_base(&wanted);
            if base.is_empty() {
                (base, Some(Place::Root), BString::default())
            } else {
                let (start, real) = self.lookup(&base, true)?;
                (base, start, real)
            }
        } else {
            let (start, real) = self.lookup(&wanted, false)?;
            (wanted.clone(), start, real)
        };
        let real = key_path(&real);
        let mut dirs: Vec<Header> = Vec::new();
        let mut matched: Option<Vec<u8>> = None;
        let mut flags = (Vec::new(), Vec::new());
        let mut next = start;
        'keys: while let Some(place) = next {
            let entry = match place {
                Place::Root => None,
                Place::Entry(at) => self.tree.entries.get(at),
            };
            next = self.after(place);
            let own: Vec<u8> = entry.map(|e| [b"/", e.path.as_slice()].concat()).unwrap_or_default();
            let is_dir = entry.is_none_or(Entry::is_dir);
            for is_header in [false, true].into_iter().take(if is_dir { 2 } else { 1 }) {
                let mut path = own.clone();
                if is_header {
                    path.push(b'/');
                }
                if let Some(after) = path.strip_prefix(real.as_slice()) {
                    path = [base.as_slice(), after].concat();
                }
                while dirs.last().is_some_and(|d| !below(&d.path, &path)) {
                    dirs.pop();
                }
                if is_header {
                    path.pop();
                    if trailing && path == *wanted {
                        continue;
                    }
                }
                let mut of_source = wanted.len();
                let relative = match &wildcard {
                    Ok(Some(wildcard)) => {
                        if !matched.as_ref().is_some_and(|m| below(m, &path)) {
                            if !wildcard.matches(&path) {
                                continue;
                            }
                            matched = Some(path.clone());
                        }
                        of_source = matched.as_ref().map_or(0, Vec::len);
                        relative_to(matched.as_deref().unwrap_or_default(), &path)
                    }
                    Err(bad) => return Err(bad_wildcard(*bad)),
                    Ok(None) => {
                        if path != *wanted && !below(&wanted, &path) {
                            break 'keys;
                        }
                        relative_to(&wanted, &path)
                    }
                };
                let parent = dirs.last();
                flags.0.clear();
                flags.1.clear();
                let mut ok = true;
                if let Some(include) = &include {
                    let above = parent.map(|p| p.include.as_slice());
                    ok = include.decide(relative, above, &mut flags.0).map_err(refused)?.matched;
                }
                if ok && let Some(exclude) = &exclude {
                    let above = parent.map(|p| p.exclude.as_slice());
                    ok = !exclude.decide(relative, above, &mut flags.1).map_err(refused)?.matched;
                }
                if !ok && !is_header {
                    continue;
                }
                let header = Header {
                    follow: selector.follow && parent.is_none(),
                    path,
                    place,
                    include: flags.0.clone(),
                    exclude: flags.1.clone(),
                    included: false,
                    source: of_source,
                };
                // A directory's recursive record is never listed, only its header.
                let listed = ok && (is_header || !is_dir);
                if listed {
                    for dir in dirs.iter_mut().filter(|d| !d.included) {
                        dir.included = true;
                        out.push((
                            Header {
                                path: dir.path.clone(),
                                include: Vec::new(),
                                exclude: Vec::new(),
                                ..*dir
                            },
                            true,
                        ));
                    }
                }
                if is_header {
                    if listed {
                        out.push((
                            Header {
                                path: header.path.clone(),
                                include: Vec::new(),
                                exclude: Vec::new(),
                                ..header
                            },
                            true,
                        ));
                    }
                    dirs.push(Header { included: listed, ..header });
                } else if listed {
                    out.push((header, false));
                }
            }
        }
        for required in &selector.required {
            if !out.iter().any(|(item, _)| item.path.starts_with(required.as_bytes())) {
                return Err(SelectError::NotFound { path: required.as_str().into() });
            }
        }
        let mut items = Vec::with_capacity(out.len());
        for (header, is_header) in out {
            let mut place = header.place;
            let mut whole = false;
            if header.follow && !is_header && self.is_link(place) {
                place = self.find_or_fail(&header.path, true)?;
                whole = true;
            }
            let rest = header.path.strip_prefix(base.as_slice()).unwrap_or(&header.path);
            let mut key: Vec<u8> = super::tree::order_key(rest);
            if key.is_empty() {
                key.push(0);
            }
            items.push(Item { path: header.path, key, place, whole, source: header.source });
        }
        Ok(items)
    }

    fn is_link(&self, place: Place) -> bool {
        matches!(place, Place::Entry(at)
            if self.tree.entries.get(at).is_some_and(|e| matches!(e.kind, EntryKind::Symlink { .. })))
    }

    /// The next record in order.
    fn after(&self, place: Place) -> Option<Place> {
        let from = match place {
            Place::Root => 0,
            Place::Entry(at) => at + 1,
        };
        let rest = self.scope().sent.get(from..)?;
        rest.iter().position(|sent| *sent).map(|skip| Place::Entry(from + skip))
    }

    /// All indices at and below a place.
    fn everything_at(&self, place: Place) -> impl Iterator<Item = usize> + '_ {
        let range = match place {
            Place::Root => 0..self.tree.entries.len(),
            Place::Entry(at) => at..self.tree.entries.get(at).map_or(at, |e| (e.end as usize).max(at + 1)),
        };
        range.filter(|at| self.is_sent(*at))
    }

    fn taken(&self, resolved: &Resolved) -> Vec<u32> {
        match resolved {
            Resolved::Whole(place) => self.everything_at(*place).map(index).collect(),
            Resolved::List(items) => {
                let mut taken = Vec::with_capacity(items.len());
                for item in items {
                    match item.place {
                        place if item.whole => taken.extend(self.everything_at(place).map(index)),
                        Place::Entry(at) => taken.push(index(at)),
                        Place::Root => {}
                    }
                }
                taken
            }
        }
    }

    /// Whether a source that is no pattern is there. A checksum of several sources does not notice: it drops those
    /// below another one.
    pub fn find_source(&self, selector: &Selector) -> Result<(), SelectError> {
        if selector.is_list() {
            // It may match nothing, but the folder that is searched must be there (`ResolveWildcards` in `FSU/copy`).
            return if selector.wildcard && selector.include.is_empty() {
                self.find_searched(selector.path.as_str())
            } else {
                Ok(())
            };
        }
        let asked = path::clean([b"/", selector.path.as_bytes()].concat());
        self.find_or_fail(&key_path(&asked), selector.follow).map(drop)
    }

    /// Fails if the folder in front of the first wildcard is nowhere in the context, sent or not.
    fn find_searched(&self, pattern: &str) -> Result<(), SelectError> {
        let mut folder = String::new();
        for part in pattern.split('/').filter(|p| !p.is_empty()) {
            if path::has_wildcard(part) {
                break;
            }
            if !folder.is_empty() {
                folder.push('/');
            }
            folder.push_str(part);
            let entry = self.tree.find(folder.as_bytes()).and_then(|at| self.tree.entries.get(at));
            match entry {
                Some(entry) if entry.is_dir() && matches!(entry.verdict, Verdict::Kept) => {}
                // Links lead elsewhere, and what is left out was not searched.
                Some(_) => return Ok(()),
                None => {
                    return self
                        .find_or_fail(&key_path(&path::clean(format!("/{folder}").as_bytes())), true)
                        .map(drop);
                }
            }
        }
        Ok(())
    }

    /// Which entries a selector takes; nothing is read.
    pub fn select(&self, selector: &Selector) -> Result<Selection<'a>, SelectError> {
        let resolved = self.resolve(selector)?;
        Ok(Selection::new(self.tree, self.taken(&resolved)))
    }

    /// Which entries a selector takes, and where below its source each of them lies; nothing is read. The root has no
    /// entry.
    pub fn placed(&self, selector: &Selector) -> Result<Vec<Placed<&'a Entry>>, SelectError> {
        let mut out = Vec::new();
        let below_place = |out: &mut Vec<Placed<&'a Entry>>, source: &[u8], place: Place| {
            let skip = match place {
                Place::Root => 0,
                Place::Entry(at) => self.tree.entries.get(at).map_or(0, |e| e.path.len()),
            };
            for entry in self.everything_at(place).filter_map(|at| self.tree.entries.get(at)) {
                let relative = entry.path.get(skip..).unwrap_or_default();
                let relative = relative.strip_prefix(b"/").unwrap_or(relative).into();
                out.push(Placed { source: source.into(), relative, entry });
            }
        };
        match self.resolve(selector)? {
            Resolved::Whole(place) => below_place(&mut out, &key_path(selector.path.as_bytes()), place),
            Resolved::List(items) => {
                for item in items {
                    let (source, relative) = item.path.split_at(item.source.min(item.path.len()));
                    match item.place {
                        place if item.whole => below_place(&mut out, source, place),
                        Place::Root => {}
                        Place::Entry(at) => {
                            let Some(entry) = self.tree.entries.get(at) else { continue };
                            let relative = relative.strip_prefix(b"/").unwrap_or(relative).into();
                            out.push(Placed { source: source.into(), relative, entry });
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    /// The SHA-256 of a file's content as it arrives; none if the content does not travel although its size does.
    pub fn content_digest(
        &self,
        entry: &Entry,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<String>, ContextError> {
        let hidden = self.find(&entry.path).is_some_and(|at| self.hides_content(at, entry));
        if hidden {
            return Ok(None);
        }
        Ok(self.tree.plain(entry, buffer)?.map(|hash| digest::text(&hash)))
    }

    // Hashing.

    /// Hashes the files of several selections, in parallel. Checksums then find them done.
    pub fn hash_all(&self, selections: &[Selection<'a>]) {
        let all: Vec<u32> = selections.iter().flat_map(|s| s.taken.iter().copied()).collect();
        self.hash(&all);
    }

    fn hash(&self, taken: &[u32]) {
        let mut originals: Vec<usize> = taken.iter().map(|at| self.original(*at as usize)).collect();
        originals.sort_unstable();
        originals.dedup();
        let mut wanted: Vec<&Entry> = originals
            .into_iter()
            .filter_map(|at| Some((at, self.tree.entries.get(at)?)))
            .filter(|(at, e)| e.is_file() && !self.tree.is_hashed(e) && !self.hides_content(*at, e))
            .map(|(_, e)| e)
            .collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
        let bytes: u64 = wanted.iter().map(|e| e.size).sum();
        if threads < 2 || wanted.len() < 2 || (wanted.len() < 16 && bytes < 1 << 20) {
            let mut buffer = Vec::new();
            for entry in wanted {
                // A failure is kept with the file and told by whoever asks for its digest.
                let _ = self.tree.file(entry, &mut buffer);
            }
            return;
        }
        // Large files first, so that no thread is left with one at the end.
        let split = partition_large(&mut wanted);
        let next = AtomicUsize::new(0);
        let wanted = &wanted;
        std::thread::scope(|scope| {
            for _ in 0..threads.min(wanted.len()) {
                scope.spawn(|| {
                    let mut buffer = Vec::new();
                    loop {
                        let step = if next.load(Ordering::Relaxed) < split { 1 } else { 16 };
                        let from = next.fetch_add(step, Ordering::Relaxed);
                        let Some(some) = wanted.get(from..(from + step).min(wanted.len())) else { break };
                        if some.is_empty() {
                            break;
                        }
                        for entry in some {
                            let _ = self.tree.file(entry, &mut buffer);
                        }
                    }
                });
            }
        });
    }

    /// The digest of an entry alone.
    fn one(&self, at: usize, buffer: &mut Vec<u8>) -> Result<Hash, ContextError> {
        let at = self.original(at);
        let Some(entry) = self.tree.entries.get(at) else { return Ok(Sha256::digest([]).into()) };
        if entry.is_file() && !self.hides_content(at, entry) {
            return Ok(self.tree.file(entry, buffer)?.hash);
        }
        self.tree.header(entry)
    }

    fn root_record(&self) -> Cow<'a, RootRecord> {
        match &self.tree.root {
            // Nothing arrives, so the daemon scans the new snapshot.
            RootRecord::Transferred if !self.scope().any => Cow::Owned(RootRecord::scanned()),
            root => Cow::Borrowed(root),
        }
    }

    /// The digest of a place with all that is in it.
    fn whole(&self, place: Place, buffer: &mut Vec<u8>) -> Result<Hash, ContextError> {
        struct Open {
            at: usize,
            end: usize,
            hash: Sha256,
        }
        let slot = |at: usize| self.scope().directories.get(at);
        let count = self.tree.entries.len();
        let (first, header) = match place {
            Place::Root => {
                if let Some(known) = slot(count).and_then(OnceLock::get) {
                    return Ok(*known);
                }
                (0, Open { at: count, end: count, hash: opening(&self.root_record().header()) })
            }
            Place::Entry(at) => match self.tree.entries.get(at) {
                Some(entry) if entry.is_dir() => {
                    if let Some(known) = slot(at).and_then(OnceLock::get) {
                        return Ok(*known);
                    }
                    let hash = opening(&self.tree.header(entry)?);
                    (at + 1, Open { at, end: entry.end as usize, hash })
                }
                _ => return self.one(at, buffer),
            },
        };
        let end = header.end;
        let mut open = vec![header];
        let mut at = first;
        // Children follow their directory, so one pass with a stack of unfinished directories will do.
        loop {
            while let Some(done) = open.pop_if(|o| at >= o.end) {
                let hash: Hash = done.hash.finalize().into();
                if let Some(slot) = slot(done.at) {
                    let _ = slot.set(hash);
                }
                match open.last_mut() {
                    None => return Ok(hash),
                    Some(parent) => add_child(&mut parent.hash, self.tree.entries.get(done.at), &hash),
                }
            }
            let Some(entry) = self.tree.entries.get(at).filter(|_| at < end) else {
                at = end;
                continue;
            };
            let here = at;
            at += 1;
            if !self.is_sent(here) {
                continue;
            }
            if entry.is_dir() {
                if let Some(known) = slot(here).and_then(OnceLock::get) {
                    if let Some(parent) = open.last_mut() {
                        add_child(&mut parent.hash, Some(entry), known);
                    }
                    at = entry.end as usize;
                } else {
                    let hash = opening(&self.tree.header(entry)?);
                    open.push(Open { at: here, end: entry.end as usize, hash });
                }
                continue;
            }
            let hash = self.one(here, buffer)?;
            if let Some(parent) = open.last_mut() {
                add_child(&mut parent.hash, Some(entry), &hash);
            }
        }
    }

    /// The checksum of a selector: the digest that BuildKit joins into an instruction's content digest.
    pub fn checksum(&self, selector: &Selector) -> Result<Checksum, SelectError> {
        let resolved = self.resolve(selector)?;
        let selection = Selection::new(self.tree, self.taken(&resolved));
        self.hash(&selection.taken);
        let mut buffer = Vec::new();
        let mut exact = true;
        let unsure = |place: Place| place == Place::Root && !self.scope().any;
        let hash: Hash = match &resolved {
            Resolved::Whole(place) => {
                exact = !unsure(*place);
                self.whole(*place, &mut buffer)?
            }
            Resolved::List(items) => {
                let mut list = Sha256::new();
                let mut last = Hash::default();
                for item in items {
                    exact &= !unsure(item.place);
                    last = match item.place {
                        place if item.whole => self.whole(place, &mut buffer)?,
                        Place::Root => self.root_record().header(),
                        Place::Entry(at) => self.one(at, &mut buffer)?,
                    };
                    list.update(&item.key);
                    list.update(digest::text_bytes(&last));
                }
                let asked = path::clean([b"/", selector.path.as_bytes()].concat());
                match items.as_slice() {
                    [only] if path::base(&only.path) == path::base(&asked) => last,
                    _ => list.finalize().into(),
                }
            }
        };
        let exact = exact || !matches!(self.tree.root, RootRecord::Transferred);
        Ok(Checksum {
            digest: digest::text(&hash),
            files: selection.files,
            bytes: selection.bytes,
            entries: selection.taken.len() as u64,
            empty: self.empty_among(&selection, &mut buffer),
            exact,
        })
    }

    fn empty_among(&self, selection: &Selection<'_>, buffer: &mut Vec<u8>) -> Vec<BString> {
        let files = selection.taken.iter().map(|at| *at as usize);
        let files = files.filter_map(|at| Some((at, self.tree.entries.get(at)?)));
        files
            .filter(|(_, e)| e.is_file() && e.size > 0)
            .filter(|(at, _)| {
                let first = self.original(*at);
                let Some(original) = self.tree.entries.get(first) else { return false };
                self.hides_content(first, original)
                    || self.tree.file(original, buffer).is_ok_and(|record| !record.opened)
            })
            .map(|(_, e)| e.path.clone())
            .collect()
    }
}

/// Moves files of a megabyte and more to the front; their number.
fn partition_large(files: &mut [&Entry]) -> usize {
    files.sort_by_key(|e| std::cmp::Reverse(e.size >> 20));
    files.partition_point(|e| e.size >> 20 > 0)
}

/// The hash of a directory after its own header, whose relative key is one zero byte.
fn opening(header: &Hash) -> Sha256 {
    let mut hash = Sha256::new_with_prefix([0]);
    hash.update(digest::text_bytes(header));
    hash
}

fn add_child(hash: &mut Sha256, entry: Option<&Entry>, digest: &Hash) {
    let name = entry.map_or(&b""[..], |e| path::base(&e.path));
    hash.update([0]);
    hash.update(name);
    hash.update(digest::text_bytes(digest));
}

fn refused(error: PatternError) -> SelectError {
    SelectError::Pattern { text: error.text, problem: error.problem }
}

/// A path as keys have it: cleaned, with a leading `/`, the root empty.
fn key_path(path: &[u8]) -> BString {
    let clean = path::clean([b"/", path].concat());
    if clean == "/" { BString::default() } else { clean }
}

/// The leading components without wildcards; empty if there are none.
fn literal_base(path: &[u8]) -> BString {
    let mut out = BString::default();
    for part in path.split_str("/").skip(1).take_while(|part| !path::has_wildcard(part)) {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    out
}

fn relative_to<'p>(base: &[u8], path: &'p [u8]) -> &'p [u8] {
    path.strip_prefix(base).map_or(path, |rest| rest.strip_prefix(b"/").unwrap_or(rest))
}
