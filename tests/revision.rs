//! The build context of a git revision, against real repositories and checkouts of theirs.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bstr::ByteSlice as _;
use layerlint::context::{
    ContextError, ContextIndex, EntryKind, NoteKind, RevisionContext, RevisionError, Selector, open_revision,
};

/// Runs git without a person's own settings; what it prints.
fn git(dir: &Path, args: &[&str]) -> String {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"];
    let other = ["-c", "commit.gpgSign=false", "-c", "protocol.file.allow=always"];
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let out = command.arg("-C").arg(dir).args(identity).args(other).args(args).output().unwrap();
    assert!(out.status.success(), "git {args:?}: {}", out.stderr.as_bstr());
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

/// A repository in a directory that vanishes with it. `.git` is left out of its context.
struct Repo {
    dir: tempfile::TempDir,
}

impl Repo {
    fn new() -> Self {
        let repo = Self { dir: tempfile::tempdir().unwrap() };
        git(repo.path(), &["init", "--quiet"]);
        repo.write(".dockerignore", ".git\n");
        repo
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let place = self.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, content).unwrap();
        place
    }

    fn mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.path().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn commit(&self) -> String {
        git(self.path(), &["add", "--all"]);
        git(self.path(), &["commit", "--quiet", "--allow-empty", "-m", "x"]);
        git(self.path(), &["rev-parse", "HEAD"])
    }

    fn at(&self, revision: &str) -> RevisionContext {
        open_revision(self.path(), Some(&self.path().join("Dockerfile")), revision).unwrap()
    }

    fn now(&self) -> ContextIndex {
        ContextIndex::open(self.path(), Some(&self.path().join("Dockerfile"))).unwrap()
    }
}

fn digest(index: &ContextIndex, path: &str) -> String {
    index.checksum(&Selector::of_source(path)).unwrap().digest
}

fn mode(index: &ContextIndex, path: &str) -> u32 {
    index.entry(path.as_bytes()).unwrap_or_else(|| panic!("no {path}")).mode
}

fn paths(index: &ContextIndex) -> Vec<String> {
    index.entries().map(|e| e.path.to_string()).collect()
}

fn notes(context: &RevisionContext) -> Vec<(String, NoteKind)> {
    context.notes.iter().map(|n| (n.path.to_string(), n.kind.clone())).collect()
}

#[test]
fn a_clean_checkout_has_the_digest_of_its_revision() {
    let repo = Repo::new();
    repo.write("src/main.rs", "fn main() {}\n");
    repo.write("src/deep/er/x", vec![7u8; 300_000]);
    repo.write("empty", "");
    repo.write("run.sh", "#!/bin/sh\n");
    repo.mode("run.sh", 0o755);
    symlink("src/main.rs", repo.path().join("link")).unwrap();
    symlink("nowhere", repo.path().join("src/broken")).unwrap();
    let id = repo.commit();
    let then = repo.at("HEAD");
    assert_eq!(then.commit, id);
    assert_eq!(notes(&then), []);
    let now = repo.now();
    assert_eq!(paths(&then.index), paths(&now));
    for path in ["/", "/src", "/src/main.rs", "/link", "/run.sh", "/*"] {
        assert_eq!(digest(&then.index, path), digest(&now, path), "{path}");
    }
    let (then, now) =
        (then.index.checksum(&Selector::of_source("/")), now.checksum(&Selector::of_source("/")));
    assert_eq!(then.unwrap(), now.unwrap());
}

#[test]
fn a_change_shows_in_what_holds_it_and_nowhere_else() {
    let repo = Repo::new();
    repo.write("a/x", "old");
    repo.write("b/x", "same");
    repo.commit();
    repo.write("a/x", "new");
    let (then, now) = (repo.at("main"), repo.now());
    assert_ne!(digest(&then.index, "/"), digest(&now, "/"));
    assert_ne!(digest(&then.index, "/a"), digest(&now, "/a"));
    assert_eq!(digest(&then.index, "/b"), digest(&now, "/b"));
    assert_eq!(then.index.read(b"a/x", 100).unwrap().unwrap(), b"old");
    assert_eq!(then.index.read(b"a/x", 2).unwrap(), None);
    repo.commit();
    assert_eq!(digest(&repo.at("HEAD~1").index, "/"), digest(&then.index, "/"));
    assert_eq!(digest(&repo.at("HEAD").index, "/"), digest(&now, "/"));
}

#[test]
fn a_view_narrowed_through_a_link_follows_it_in_the_revision() {
    let repo = Repo::new();
    repo.write("real", "x");
    symlink("real", repo.path().join("link")).unwrap();
    repo.commit();
    std::fs::remove_file(repo.path().join("link")).unwrap();
    repo.write("link", "a file now");
    let then = repo.at("HEAD");
    let view = then.index.view(Some(&["/link".to_owned()])).unwrap();
    assert_eq!(view.entries().map(|e| e.path.to_string()).collect::<Vec<_>>(), ["link", "real"]);
}

#[test]
fn renamed_and_removed_files_are_where_they_were() {
    let repo = Repo::new();
    repo.write("old/name", "x");
    repo.write("gone", "y");
    repo.commit();
    std::fs::rename(repo.path().join("old"), repo.path().join("new")).unwrap();
    std::fs::remove_file(repo.path().join("gone")).unwrap();
    git(repo.path(), &["add", "--all"]);
    let then = repo.at("HEAD");
    assert_eq!(paths(&then.index), [".dockerignore", "gone", "old", "old/name"]);
    assert_eq!(notes(&then), []);
    assert_eq!(digest(&then.index, "/old/name"), digest(&repo.now(), "/new/name"));
}

#[test]
fn bits_that_git_does_not_record_are_those_of_the_working_tree() {
    let repo = Repo::new();
    for name in ["a", "b", "c", "private", "run", "was-plain", "was-run", "dir/x"] {
        repo.write(name, name);
        repo.mode(name, 0o664);
    }
    repo.mode("run", 0o775);
    repo.mode("was-run", 0o775);
    repo.mode("dir", 0o2770);
    repo.write("gone", "");
    repo.write("gone-run", "");
    repo.mode("gone-run", 0o700);
    repo.commit();
    for name in ["gone", "gone-run"] {
        std::fs::remove_file(repo.path().join(name)).unwrap();
    }
    repo.mode("private", 0o600);
    repo.mode("was-plain", 0o775);
    repo.mode("was-run", 0o640);
    let then = repo.at("HEAD").index;
    let expected = [
        ("a", 0o664),
        ("run", 0o775),
        ("private", 0o600),
        ("was-plain", 0o664),
        ("was-run", 0o750),
        ("gone", 0o664),
        ("gone-run", 0o775),
        ("dir", 0o2770),
    ];
    for (path, bits) in expected {
        assert_eq!(mode(&then, path), bits, "{path}: {:o}", mode(&then, path));
    }
    // Where the file system has no such bits git does not compare them either.
    git(repo.path(), &["config", "core.fileMode", "false"]);
    assert_eq!(mode(&repo.at("HEAD").index, "was-plain"), 0o775);
}

#[test]
fn links_are_files_where_they_are_checked_out_as_files() {
    let repo = Repo::new();
    symlink("a\nb", repo.path().join("link")).unwrap();
    repo.commit();
    let link = EntryKind::Symlink { target: "a\nb".into() };
    assert_eq!(repo.at("HEAD").index.entry(b"link").unwrap().kind, link);
    git(repo.path(), &["config", "core.symlinks", "false"]);
    let then = repo.at("HEAD").index;
    assert_eq!(then.entry(b"link").unwrap().kind, EntryKind::File);
    assert_eq!(then.read(b"link", 100).unwrap().unwrap(), b"a\nb");
}

#[test]
fn a_context_can_be_a_folder_and_its_dockerfile_beside_it() {
    let repo = Repo::new();
    repo.write("app/x", "x");
    repo.write("app/skipped", "x");
    repo.write("app/.dockerignore", "nothing");
    repo.write("build/Dockerfile", "FROM scratch\n");
    repo.write("build/Dockerfile.dockerignore", "skipped\n");
    repo.commit();
    repo.write("build/Dockerfile", "FROM changed\n");
    std::fs::remove_file(repo.path().join("build/Dockerfile.dockerignore")).unwrap();
    let app = repo.path().join("app");
    let file = repo.path().join("build/Dockerfile");
    let then = open_revision(&app, Some(&file), "HEAD").unwrap();
    assert_eq!(paths(&then.index), [".dockerignore", "x"]);
    let source = then.dockerfile.unwrap();
    assert_eq!(
        (source.name.as_str(), source.bytes.as_slice()),
        ("HEAD:build/Dockerfile", &b"FROM scratch\n"[..])
    );
    let ignore = then.index.ignore.unwrap();
    assert_eq!(ignore.file.name, "HEAD:build/Dockerfile.dockerignore");
    // The other way round the context's own applies.
    let own = open_revision(&app, None, "HEAD").unwrap();
    assert_eq!(own.index.ignore.unwrap().file.name, "HEAD:app/.dockerignore");
    assert!(own.dockerfile.is_none());
    // The folder of the Dockerfile need not be there any more.
    std::fs::remove_dir_all(repo.path().join("build")).unwrap();
    assert_eq!(paths(&open_revision(&app, Some(&file), "HEAD").unwrap().index), [".dockerignore", "x"]);
}

#[test]
fn a_dockerfile_may_be_a_link_or_in_lower_case() {
    let repo = Repo::new();
    repo.write("docker/base", "FROM a\n");
    std::fs::create_dir(repo.path().join("app")).unwrap();
    symlink("../docker/base", repo.path().join("app/dockerfile")).unwrap();
    repo.commit();
    let app = repo.path().join("app");
    let then = open_revision(&app, Some(&app.join("Dockerfile")), "HEAD").unwrap();
    assert_eq!(then.dockerfile.unwrap().bytes, b"FROM a\n");
}

#[test]
fn an_ignore_file_outside_of_the_repository_is_taken_as_it_is() {
    let repo = Repo::new();
    repo.write("x", "");
    repo.write("y", "");
    repo.commit();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("Dockerfile.dockerignore"), ".git\ny\n").unwrap();
    let file = outside.path().join("Dockerfile");
    let then = open_revision(repo.path(), Some(&file), "HEAD").unwrap();
    assert_eq!(paths(&then.index), [".dockerignore", "x"]);
    assert_eq!(notes(&then), [(file.to_str().unwrap().to_owned(), NoteKind::OutsideRepository)]);
}

#[test]
fn the_ignore_file_is_the_revisions_own() {
    let repo = Repo::new();
    repo.write(".dockerignore", ".git\n*.log\n");
    repo.write("a.log", "");
    repo.write("b", "");
    repo.commit();
    repo.write(".dockerignore", ".git\n");
    assert_eq!(paths(&repo.at("HEAD").index), [".dockerignore", "b"]);
    repo.write(".dockerignore", "[\n");
    repo.commit();
    let error = open_revision(repo.path(), None, "HEAD").unwrap_err();
    assert!(error.to_string().starts_with("HEAD:.dockerignore:1: "), "{error}");
}

#[test]
fn names_may_hold_anything_but_a_slash() {
    let repo = Repo::new();
    let odd = [&b"line\nfeed"[..], b"not \xff utf-8", b":(glob)*", b"-rf", b"tab\there", b"dir \"q\"\n/\xfe"];
    for name in odd {
        repo.write(OsStr::from_bytes(name), name);
    }
    repo.commit();
    let (then, now) = (repo.at("HEAD"), repo.now());
    assert_eq!(notes(&then), []);
    for name in odd {
        assert_eq!(then.index.read(name, 100).unwrap().unwrap(), name);
    }
    assert_eq!(digest(&then.index, "/"), digest(&now, "/"));
    let inside = repo.path().join(OsStr::from_bytes(b"dir \"q\"\n"));
    assert_eq!(open_revision(&inside, None, "HEAD").unwrap().index.entries().count(), 1);
}

#[test]
fn what_git_does_not_know_is_noted_once() {
    let repo = Repo::new();
    repo.write(".gitignore", "*.o\ntarget\n");
    repo.write("src/x", "");
    repo.commit();
    repo.write("src/x.o", "");
    repo.write("src/added", "");
    repo.write("target/a/b", "");
    repo.write("target/c", "");
    std::fs::create_dir_all(repo.path().join("void/er")).unwrap();
    git(repo.path(), &["add", "src/added"]);
    let then = repo.at("HEAD");
    let expected = [
        ("src/x.o", NoteKind::Untracked { is_dir: false }),
        ("target", NoteKind::Untracked { is_dir: true }),
        ("void", NoteKind::EmptyDirectory),
    ];
    assert_eq!(notes(&then), expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert_eq!(paths(&then.index), [".dockerignore", ".gitignore", "src", "src/x"]);
}

#[test]
fn a_repository_that_is_sent_is_noted_and_its_files_are_not() {
    let repo = Repo::new();
    repo.write(".dockerignore", "");
    repo.commit();
    assert_eq!(notes(&repo.at("HEAD")), [(".git".to_owned(), NoteKind::GitFolder)]);
}

#[test]
fn a_submodule_is_an_empty_directory_and_noted() {
    let inner = Repo::new();
    inner.write("in", "");
    let commit = inner.commit();
    let repo = Repo::new();
    repo.write(".dockerignore", "**/.git\n");
    git(repo.path(), &["submodule", "--quiet", "add", inner.path().to_str().unwrap(), "vendor/inner"]);
    repo.commit();
    let then = repo.at("HEAD");
    let note =
        |on_disk| [("vendor/inner".to_owned(), NoteKind::Submodule { commit: commit.clone(), on_disk })];
    assert_eq!(notes(&then), note(true));
    assert!(then.index.entry(b"vendor/inner").unwrap().is_dir());
    assert!(then.index.entry(b"vendor/inner/in").is_none());
    git(repo.path(), &["submodule", "--quiet", "deinit", "--force", "vendor/inner"]);
    assert_eq!(notes(&repo.at("HEAD")), note(false));
}

#[test]
fn line_ends_alone_are_no_change_where_git_converts_them() {
    let repo = Repo::new();
    repo.write(".gitattributes", "*.txt text eol=crlf\n*.bin -text\n");
    for name in ["a.txt", "b.txt", "gone.txt", "c.bin"] {
        repo.write(name, "1\r\n2\r\n");
    }
    repo.commit();
    repo.write("b.txt", "1\r\nother\r\n");
    repo.write("c.bin", "1\r\r\n2\r\n");
    std::fs::remove_file(repo.path().join("gone.txt")).unwrap();
    let (then, now) = (repo.at("HEAD"), repo.now());
    assert_eq!(notes(&then), [("a.txt".to_owned(), NoteKind::LineEnds)]);
    assert_eq!(then.index.read(b"a.txt", 100).unwrap().unwrap(), b"1\r\n2\r\n");
    assert_eq!(digest(&then.index, "/a.txt"), digest(&now, "/a.txt"));
    assert_ne!(digest(&then.index, "/b.txt"), digest(&now, "/b.txt"));
    assert_ne!(digest(&then.index, "/c.bin"), digest(&now, "/c.bin"));
}

#[test]
fn line_ends_are_a_change_where_git_does_not_convert_them_until_it_does() {
    let repo = Repo::new();
    git(repo.path(), &["config", "core.autocrlf", "false"]);
    repo.write("a", "1\n2\n");
    repo.write("zero", "1\n\x002\n");
    repo.commit();
    repo.write("a", "1\r\n2\r\n");
    repo.write("zero", "1\r\n\x002\r\n");
    assert_ne!(digest(&repo.at("HEAD").index, "/a"), digest(&repo.now(), "/a"));
    git(repo.path(), &["config", "core.autocrlf", "input"]);
    assert_eq!(notes(&repo.at("HEAD")), [("a".to_owned(), NoteKind::LineEnds)]);
}

fn sha256(content: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect()
}

fn pointer(content: &[u8]) -> String {
    let (oid, size) = (sha256(content), content.len());
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

#[test]
fn a_pointer_stands_for_its_file_where_that_can_be_found() {
    let repo = Repo::new();
    repo.write(".gitattributes", "*.big filter=lfs\n");
    for (name, content) in
        [("same", "s"), ("changed", "old"), ("stored", "kept"), ("raw", "r"), ("gone", "g")]
    {
        repo.write(format!("{name}.big"), pointer(content.repeat(2000).as_bytes()));
    }
    repo.commit();
    git(repo.path(), &["config", "filter.lfs.process", "false"]);
    repo.write("same.big", "s".repeat(2000));
    repo.write("changed.big", "new".repeat(2000));
    repo.write("stored.big", "something else");
    std::fs::remove_file(repo.path().join("gone.big")).unwrap();
    let kept = "kept".repeat(2000);
    let oid = sha256(kept.as_bytes());
    repo.write(format!(".git/lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]), &kept);
    let then = repo.at("HEAD");
    let unknown = |name: &str, content: &str| {
        let content = content.repeat(2000);
        let kind = NoteKind::LfsPointer { oid: sha256(content.as_bytes()), size: content.len() as u64 };
        (name.to_owned(), kind)
    };
    assert_eq!(notes(&then), [unknown("changed.big", "old"), unknown("gone.big", "g")]);
    let now = repo.now();
    assert_eq!(digest(&then.index, "/same.big"), digest(&now, "/same.big"));
    assert_eq!(digest(&then.index, "/raw.big"), digest(&now, "/raw.big"));
    assert_ne!(digest(&then.index, "/changed.big"), digest(&now, "/changed.big"));
    assert_eq!(then.index.read(b"stored.big", 1 << 20).unwrap().unwrap(), kept.as_bytes());
}

#[test]
fn a_filter_that_would_run_is_noted_and_not_run() {
    let repo = Repo::new();
    repo.write(".gitattributes", "*.key filter=crypt\n*.u working-tree-encoding=UTF-16\n*.id ident\n");
    repo.write("a.key", "coded");
    repo.write("a.id", "$Id$");
    repo.write("b.id", "x");
    repo.commit();
    repo.write("a.key", "plain text");
    repo.write("a.id", "$Id: 1234$");
    repo.write("b.id", "xy");
    // A filter without a program does nothing.
    assert_eq!(
        notes(&repo.at("HEAD")),
        [("a.id".to_owned(), NoteKind::Converted { by: "ident".to_owned() })]
    );
    git(repo.path(), &["config", "filter.crypt.smudge", "touch ran; false"]);
    let found = notes(&repo.at("HEAD"));
    assert_eq!(found[1], ("a.key".to_owned(), NoteKind::Converted { by: "filter=crypt".to_owned() }));
    assert!(!repo.path().join("ran").exists());
}

#[test]
fn what_a_partial_clone_left_out_is_noted_and_not_fetched() {
    let origin = Repo::new();
    origin.write("a", "old");
    origin.write("b", "same");
    origin.commit();
    origin.write("a", "newer");
    origin.commit();
    git(origin.path(), &["config", "uploadpack.allowFilter", "true"]);
    let dir = tempfile::tempdir().unwrap();
    let from = format!("file://{}", origin.path().display());
    git(dir.path(), &["clone", "--quiet", "--filter=blob:none", &from, "clone"]);
    let clone = dir.path().join("clone");
    let then = open_revision(&clone, None, "HEAD~1").unwrap();
    assert_eq!(notes(&then), [("a".to_owned(), NoteKind::Missing)]);
    let now = ContextIndex::open(&clone, None).unwrap();
    assert_eq!(digest(&then.index, "/b"), digest(&now, "/b"));
    let error = then.index.checksum(&Selector::of_source("/a")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read a in the build context: git has no object "), "{error}");
    // One that is missing does not stop the others.
    assert_eq!(then.index.read(b"b", 10).unwrap().unwrap(), b"same");
}

#[test]
fn a_revision_is_any_name_of_a_commit() {
    let repo = Repo::new();
    let id = repo.commit();
    git(repo.path(), &["tag", "-a", "-m", "x", "v1"]);
    for name in ["HEAD", "main", "v1", "@", &id, &id[..8], "main~0", "HEAD^{/x}"] {
        assert_eq!(repo.at(name).commit, id, "{name}");
    }
}

#[test]
fn what_is_no_commit_is_said_plainly_with_what_to_do() {
    let repo = Repo::new();
    let open = |revision: &str| open_revision(repo.path(), None, revision).unwrap_err();
    let none = open("HEAD");
    assert!(matches!(none, RevisionError::NoCommit { .. }), "{none}");
    assert!(none.to_string().ends_with("has no commit yet"));
    repo.write("x", "");
    repo.commit();
    for wrong in ["", "-h", "--all", "main..main", "HEAD:x", "a\nb", "a\0b", "HEAD~1", "deadbeef"] {
        let error = open(wrong);
        assert!(matches!(error, RevisionError::Unknown { .. }), "{wrong:?}: {error}");
    }
    assert_eq!(open("mian~2").to_string(), "git knows no commit `mian~2`");
    assert_eq!(open("mian~2").help().unwrap(), "did you mean `main~2`?");
    assert!(open("main~9").help().unwrap().starts_with("a branch, a tag"));
    let shallow = tempfile::tempdir().unwrap();
    repo.commit();
    let from = format!("file://{}", repo.path().display());
    git(shallow.path(), &["clone", "--quiet", "--depth=1", &from, "clone"]);
    let error = open_revision(&shallow.path().join("clone"), None, "HEAD~1").unwrap_err();
    assert!(error.help().unwrap().contains("git fetch --unshallow"), "{error}");
}

#[test]
fn a_context_that_git_does_not_have_is_said_plainly() {
    let outside = tempfile::tempdir().unwrap();
    let error = open_revision(outside.path(), None, "HEAD").unwrap_err();
    assert!(matches!(error, RevisionError::NotARepository { .. }), "{error}");
    let error = open_revision(&outside.path().join("missing"), None, "HEAD").unwrap_err();
    assert!(matches!(error, RevisionError::Context(ContextError::Root { .. })), "{error}");
    let repo = Repo::new();
    repo.write("file", "");
    repo.commit();
    for name in ["new", "file"] {
        let _ = std::fs::remove_file(repo.path().join(name));
        std::fs::create_dir(repo.path().join(name)).unwrap();
        let error = open_revision(&repo.path().join(name), None, "HEAD").unwrap_err();
        assert_eq!(error.to_string(), format!("there is no folder `{name}` in HEAD"));
    }
    let error = open_revision(&repo.path().join(".git"), None, "HEAD").unwrap_err();
    assert!(matches!(error, RevisionError::NotARepository { .. }), "{error}");
}

#[test]
fn a_linked_context_and_a_linked_working_tree_are_found() {
    let repo = Repo::new();
    repo.write("app/x", "1");
    repo.commit();
    let dir = tempfile::tempdir().unwrap();
    symlink(repo.path().join("app"), dir.path().join("link")).unwrap();
    let then = open_revision(&dir.path().join("link"), None, "HEAD").unwrap();
    assert_eq!(paths(&then.index), ["x"]);
    let tree = dir.path().join("tree");
    git(repo.path(), &["worktree", "add", "--quiet", tree.to_str().unwrap()]);
    let then = open_revision(&tree.join("app"), None, "HEAD").unwrap();
    assert_eq!(then.index.read(b"x", 10).unwrap().unwrap(), b"1");
}

#[test]
fn many_files_are_read_by_several_threads() {
    let repo = Repo::new();
    for n in 0..400 {
        repo.write(format!("d{}/f{n}", n % 7), vec![b'a'; n * 31]);
    }
    repo.commit();
    assert_eq!(digest(&repo.at("HEAD").index, "/"), digest(&repo.now(), "/"));
}
