//! What git is asked about a repository.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use bstr::{BString, ByteSlice as _};

use super::RevisionError;
use crate::context::error::ContextError;
use crate::context::ignorefile::{Found, read_inside};
use crate::context::object::{Objects, git, run};
use crate::context::tree::{path_bytes, system_path};
use crate::source::{SourceFile, nearest};

/// What an entry of a git tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A file, of whose mode git knows one bit.
    File {
        executable: bool,
    },
    Link,
    Directory,
    /// The commit of another repository.
    Submodule,
}

/// An entry of a git tree.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) path: BString,
    pub(super) kind: Kind,
    /// In hexadecimal digits.
    pub(super) id: Box<str>,
    /// Bytes of a file or link, 0 for all else; none where a clone left the object out.
    pub(super) size: Option<u64>,
}

/// How the working tree is checked out.
#[derive(Debug)]
pub(super) struct Settings {
    /// Whether files of the working tree can be executable (`core.fileMode`).
    pub(super) has_modes: bool,
    /// Whether links are checked out as links (`core.symlinks`).
    pub(super) has_links: bool,
    /// Whether text is converted that no attribute speaks of (`core.autocrlf`).
    pub(super) converts_text: bool,
    /// The filters that would run at checkout.
    pub(super) filters: HashSet<BString>,
}

/// A commit of a repository, and a directory in it.
#[derive(Debug)]
pub(super) struct Repository {
    /// The context as it was given, which is how git gets it.
    root: PathBuf,
    /// The context without links.
    pub(super) base: PathBuf,
    /// The top of the working tree without links.
    top: PathBuf,
    /// The context from the top, without a slash at the end.
    prefix: BString,
    pub(super) commit: String,
    revision: String,
    objects: Objects,
}

/// Runs git and says if it cannot be.
pub(super) fn ask(directory: &Path, args: &[&OsStr], input: &[u8]) -> Result<Output, RevisionError> {
    run(git(directory).args(args), input).map_err(|source| RevisionError::NoGit { source: Arc::new(source) })
}

pub(super) fn words<const N: usize>(words: [&str; N]) -> [&OsStr; N] {
    words.map(OsStr::new)
}

pub(super) fn failed(command: &'static str, output: &Output) -> RevisionError {
    let said = output.stderr.lines().next().unwrap_or_default().to_str_lossy();
    let said = said.trim_start_matches("fatal: ").trim_start_matches("error: ");
    let said = if said.is_empty() { output.status.to_string() } else { said.to_owned() };
    RevisionError::Failed { command, said }
}

/// A single line of an answer, which may have line feeds inside.
pub(super) fn line(output: &Output) -> &[u8] {
    output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout)
}

impl Repository {
    /// Finds the repository around `root` and the commit.
    pub(super) fn open(root: &Path, revision: &str) -> Result<Self, RevisionError> {
        let unreadable = |source| ContextError::Root { path: root.to_path_buf(), source: Arc::new(source) };
        let base = std::fs::canonicalize(root).map_err(unreadable)?;
        if !base.is_dir() {
            return Err(unreadable(io::ErrorKind::NotADirectory.into()).into());
        }
        let answer = ask(root, &words(["rev-parse", "--show-toplevel"]), b"")?;
        if !answer.status.success() {
            let none = ["not a git repository", "must be run in a work tree"];
            return Err(match none.iter().any(|said| answer.stderr.contains_str(said)) {
                true => RevisionError::NotARepository { root: root.to_path_buf() },
                false => failed("rev-parse", &answer),
            });
        }
        let top = std::fs::canonicalize(system_path(line(&answer))).map_err(unreadable)?;
        let Ok(prefix) = base.strip_prefix(&top) else {
            return Err(RevisionError::NotARepository { root: root.to_path_buf() });
        };
        let prefix = path_bytes(prefix);
        let commit = commit(root, &top, revision)?;
        let objects = Objects::of(root);
        Ok(Self {
            root: root.to_path_buf(),
            base,
            top,
            prefix,
            commit,
            revision: revision.to_owned(),
            objects,
        })
    }

    fn no_folder(&self) -> RevisionError {
        RevisionError::NoFolder { folder: self.prefix.clone(), revision: self.revision.clone() }
    }

    /// A path of the context as it is from the top.
    pub(super) fn whole_path(&self, path: &[u8]) -> BString {
        join(&self.prefix, path)
    }

    /// Everything below the context, directories before what is in them.
    pub(super) fn list(&self) -> Result<Vec<Recorded>, RevisionError> {
        let mut tree = OsString::from(&self.commit);
        if self.prefix.is_empty() {
            tree.push("^{tree}");
        } else {
            tree.push(":");
            tree.push(system_path(&self.prefix));
        }
        let verify = words(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
        let answer = ask(&self.root, &[verify.as_slice(), &[tree.as_os_str()]].concat(), b"")?;
        let Some(id) = answer.status.success().then(|| hexadecimal(line(&answer))).flatten() else {
            return Err(self.no_folder());
        };
        let answer =
            ask(&self.root, &words(["ls-tree", "-r", "-t", "-z", "--long", "--full-tree", &id]), b"")?;
        if !answer.status.success() {
            return Err(match answer.stderr.contains_str("not a tree object") {
                true => self.no_folder(),
                false => failed("ls-tree", &answer),
            });
        }
        records(&answer.stdout)
    }

    /// A directory of the disk as a path from the top; none if it is outside of the working tree. It need not be
    /// there any more.
    pub(super) fn inside(&self, directory: &Path) -> Option<BString> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let whole = std::path::absolute(directory).ok()?;
        let existing = whole.ancestors().find_map(|part| Some((part, std::fs::canonicalize(part).ok()?)));
        let (part, mut place) = existing?;
        for component in whole.strip_prefix(part).ok()?.components() {
            match component {
                Component::ParentDir => {
                    place.pop();
                }
                other => place.push(other),
            }
        }
        place.strip_prefix(&self.top).ok().map(path_bytes)
    }

    /// The entry of the commit at a path from the top.
    fn entry(&self, path: &[u8]) -> Result<Option<Recorded>, RevisionError> {
        let place = system_path(path);
        let list = words(["ls-tree", "-z", "--long", "--full-tree", &self.commit, "--"]);
        let answer = ask(&self.root, &[list.as_slice(), &[place.as_os_str()]].concat(), b"")?;
        if !answer.status.success() {
            return Err(failed("ls-tree", &answer));
        }
        Ok(records(&answer.stdout)?.into_iter().find(|one| one.path == path))
    }

    /// A regular file of the commit below a directory, links followed but never out of it. Where a link with an
    /// absolute path begins is that directory if it is taken for a `root`, and nowhere otherwise.
    pub(super) fn file(
        &self,
        directory: &[u8],
        name: &Path,
        root: bool,
    ) -> Result<Option<SourceFile>, RevisionError> {
        let shown = join(directory, &path_bytes(name));
        read_inside(
            name,
            |place| {
                let path = join(directory, &path_bytes(place));
                let Some(one) = self.entry(&path)? else { return Ok(None) };
                Ok(match one.kind {
                    Kind::File { .. } => Some(Found::File(one.id)),
                    Kind::Directory | Kind::Submodule => Some(Found::Other),
                    Kind::Link => {
                        let target = system_path(&self.content(&one.id, &path)?);
                        (root || !target.has_root()).then_some(Found::Link(target))
                    }
                })
            },
            |_, id| {
                let content = self.content(&id, &shown)?;
                Ok(SourceFile::from_bytes(format!("{}:{shown}", self.revision), content))
            },
        )
    }

    /// The content of a blob, known to people as `path` from the top.
    pub(super) fn content(&self, id: &str, path: &[u8]) -> Result<Vec<u8>, RevisionError> {
        self.objects.content(id).map_err(|source| RevisionError::Unreadable {
            path: path.into(),
            revision: self.revision.clone(),
            source: Arc::new(source),
        })
    }

    /// The paths of the context that git knows now.
    pub(super) fn tracked(&self) -> Result<HashSet<BString>, RevisionError> {
        let answer = ask(&self.root, &words(["ls-files", "-z"]), b"")?;
        if !answer.status.success() {
            return Err(failed("ls-files", &answer));
        }
        Ok(answer.stdout.split(|b| *b == 0).filter(|p| !p.is_empty()).map(BString::from).collect())
    }

    /// The values of attributes of paths in the context, as the working tree has them.
    pub(super) fn attributes<const N: usize>(
        &self,
        names: [&str; N],
        paths: &[BString],
    ) -> Result<Vec<[BString; N]>, RevisionError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let mut input = Vec::new();
        for path in paths {
            input.extend_from_slice(path);
            input.push(0);
        }
        let args = [words(["check-attr", "-z", "--stdin"]).as_slice(), &words(names)].concat();
        let answer = ask(&self.root, &args, &input)?;
        // A path, an attribute and its value, each with a zero byte.
        let values: Vec<&[u8]> = answer.stdout.split(|b| *b == 0).skip(2).step_by(3).collect();
        if !answer.status.success() || values.len() != paths.len() * N {
            return Err(failed("check-attr", &answer));
        }
        Ok(values
            .chunks_exact(N)
            .map(|some| std::array::from_fn(|n| some.get(n).copied().unwrap_or_default().into()))
            .collect())
    }

    /// How the working tree is checked out.
    pub(super) fn settings(&self) -> Result<Settings, RevisionError> {
        let wanted = r"^(core\.(filemode|symlinks|autocrlf)|filter\..*\.(smudge|process))$";
        let answer = ask(&self.root, &words(["config", "-z", "--get-regexp", wanted]), b"")?;
        // It also fails where nothing is set.
        if !answer.status.success() && !answer.stderr.is_empty() {
            return Err(failed("config", &answer));
        }
        let mut settings = Settings {
            has_modes: cfg!(unix),
            has_links: true,
            converts_text: false,
            filters: HashSet::new(),
        };
        for line in answer.stdout.split(|b| *b == 0) {
            // A key alone means yes.
            let (key, value) = line.split_once_str("\n").unwrap_or((line, b"true"));
            let yes =
                !matches!(value.to_ascii_lowercase().as_slice(), b"false" | b"no" | b"off" | b"0" | b"");
            match key {
                b"core.filemode" => settings.has_modes = yes,
                b"core.symlinks" => settings.has_links = yes,
                b"core.autocrlf" => settings.converts_text = yes,
                _ => {
                    let name = key.strip_prefix(b"filter.").and_then(|rest| {
                        rest.strip_suffix(b".smudge").or_else(|| rest.strip_suffix(b".process"))
                    });
                    settings.filters.extend(name.filter(|_| !value.is_empty()).map(BString::from));
                }
            }
        }
        Ok(settings)
    }

    /// The file in which Git LFS keeps a file of that SHA-256, whether or not it is there.
    pub(super) fn lfs_place(&self, oid: &str) -> Option<PathBuf> {
        let answer = ask(&self.root, &words(["rev-parse", "--git-common-dir"]), b"").ok()?;
        let store = self.base.join(system_path(line(&answer))).join("lfs/objects");
        Some(store.join(oid.get(..2)?).join(oid.get(2..4)?).join(oid))
    }
}

/// The id of the commit that a revision names.
fn commit(root: &Path, top: &Path, revision: &str) -> Result<String, RevisionError> {
    // No name has these, no program could be given a zero byte, and alone the suffix would mean something else.
    let possible = !revision.is_empty() && !revision.contains('\0');
    if possible {
        let wanted = format!("{revision}^{{commit}}");
        let answer = ask(root, &words(["rev-parse", "--verify", "--end-of-options", &wanted]), b"")?;
        if let Some(id) = answer.status.success().then(|| hexadecimal(line(&answer))).flatten() {
            return Ok(id);
        }
        if answer.stderr.contains_str("is ambiguous") {
            return Err(RevisionError::Ambiguous { revision: revision.to_owned() });
        }
    }
    let any = ask(root, &words(["rev-list", "--max-count=1", "--all"]), b"")?;
    if any.status.success() && any.stdout.is_empty() {
        return Err(RevisionError::NoCommit { top: top.to_path_buf() });
    }
    let names = ask(
        root,
        &words(["for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"]),
        b"",
    )?;
    let names = names.stdout.to_str_lossy();
    let names: Vec<&str> = names.lines().filter(|name| !name.ends_with("/HEAD")).chain(["HEAD"]).collect();
    let end = revision.find(['~', '^', '@', ':']).unwrap_or(revision.len());
    let (name, steps) = revision.split_at_checked(end).unwrap_or((revision, ""));
    let near = if names.contains(&name) { None } else { nearest(name, names) };
    let shallow = ask(root, &words(["rev-parse", "--is-shallow-repository"]), b"")?;
    Err(RevisionError::Unknown {
        revision: revision.to_owned(),
        nearest: near.map(|near| format!("{near}{steps}")),
        shallow: line(&shallow) == b"true",
    })
}

/// An object id, if it looks like one.
pub(super) fn hexadecimal(text: &[u8]) -> Option<String> {
    let text = text.to_str().ok()?;
    (text.len() >= 40 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_owned())
}

/// The entries that `git ls-tree -z --long` lists: `MODE TYPE ID SIZE<tab>PATH<zero>`.
pub(super) fn records(listing: &[u8]) -> Result<Vec<Recorded>, RevisionError> {
    let mut out = Vec::new();
    for record in listing.split(|b| *b == 0).filter(|r| !r.is_empty()) {
        let senseless = || RevisionError::Failed {
            command: "ls-tree",
            said: format!("its answer makes no sense: `{}`", record.as_bstr()),
        };
        let (facts, path) = record.split_once_str("\t").ok_or_else(senseless)?;
        let facts: Vec<&[u8]> = facts.fields().collect();
        let [mode, _, id, size] = facts[..] else { return Err(senseless()) };
        let kind = match mode {
            b"120000" => Kind::Link,
            b"160000" => Kind::Submodule,
            b"040000" => Kind::Directory,
            // Old versions of git recorded other modes; the owner's bit has always been the one that counts.
            [b'1', b'0', b'0', owner, ..] => Kind::File { executable: (owner.wrapping_sub(b'0')) & 1 != 0 },
            _ => return Err(senseless()),
        };
        let size = match kind {
            Kind::File { .. } | Kind::Link => size.to_str().ok().and_then(|s| s.parse().ok()),
            Kind::Directory | Kind::Submodule => Some(0),
        };
        let id = hexadecimal(id).ok_or_else(senseless)?.into_boxed_str();
        out.push(Recorded { path: path.into(), kind, id, size });
    }
    Ok(out)
}

fn join(directory: &[u8], path: &[u8]) -> BString {
    match directory {
        b"" => path.into(),
        _ => [directory, b"/", path].concat().into(),
    }
}
