//! Which commit had files with certain contents.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::Path;

use bstr::{BString, ByteSlice as _};
use sha2::{Digest as _, Sha256};

use super::RevisionError;
use super::repository::{Kind, Repository, ask, failed, hexadecimal, line, records, words};
use crate::context::digest;
use crate::context::tree::system_path;

/// Most commits that are looked at.
const COMMITS: usize = 500;
/// Most paths that are looked for in each of them; more would not fit on a command line.
const PATHS: usize = 500;
/// Most bytes of a file that is compared.
const SIZE: u64 = 64 << 20;

/// A commit in which files are as they were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// The commit's id in hexadecimal digits.
    pub commit: String,
    /// When it was made and what it says: `2026-11-20 Rename the port`.
    pub title: String,
    /// The paths of the context that are as they were looked for.
    pub paths: HashSet<BString>,
    /// Whether all are.
    pub all: bool,
}

/// Finds the commit among `since` and those between them and HEAD in which most of these files have these contents.
/// `wanted` has paths of the context at `root` and SHA-256 digests as `sha256:…`, or none for a file that is not
/// there. None if no file is anywhere as it was looked for. Of commits that are alike the newest is told.
pub fn find_past(
    root: &Path,
    since: &[String],
    wanted: &BTreeMap<BString, Option<String>>,
) -> Result<Option<Past>, RevisionError> {
    let mut sizes: HashMap<Box<str>, Option<String>> = HashMap::new();
    let mut best: Option<Past> = None;
    let mut seen: HashSet<String> = HashSet::new();
    for revision in since {
        let repository = Repository::open(root, revision)?;
        let full: BTreeMap<BString, &BString> =
            wanted.keys().take(PATHS).map(|path| (repository.whole_path(path), path)).collect();
        let places: Vec<_> = full.keys().map(|path| system_path(path)).collect();
        let places: Vec<&OsStr> = places.iter().map(|p| p.as_os_str()).collect();
        // States between two of these are like the earlier one, as far as these paths go.
        let range = format!("{}..HEAD", repository.commit);
        let count = format!("--max-count={COMMITS}");
        let list = words(["rev-list", &count, &range, "--"]);
        let answer = ask(root, &[list.as_slice(), &places].concat(), b"")?;
        if !answer.status.success() {
            return Err(failed("rev-list", &answer));
        }
        let newer = answer.stdout.lines().filter_map(hexadecimal);
        for commit in newer.chain([repository.commit.clone()]) {
            if !seen.insert(commit.clone()) {
                continue;
            }
            let list = words(["ls-tree", "-z", "--long", "--full-tree", &commit, "--"]);
            let answer = ask(root, &[list.as_slice(), &places].concat(), b"")?;
            if !answer.status.success() {
                continue;
            }
            let mut found: HashMap<&BString, String> = HashMap::new();
            for one in records(&answer.stdout)? {
                let (Kind::File { .. }, Some(path)) = (one.kind, full.get(&one.path)) else { continue };
                if one.size.is_none_or(|size| size > SIZE) {
                    continue;
                }
                if let Some(known) = sizes.get(&one.id) {
                    found.extend(known.clone().map(|digest| (*path, digest)));
                    continue;
                }
                let content = repository.content(&one.id, &one.path).ok();
                let digest = content.map(|c| digest::text(&Sha256::digest(&c).into()));
                found.extend(digest.clone().map(|digest| (*path, digest)));
                sizes.insert(one.id, digest);
            }
            let same = wanted.iter().filter(|(path, digest)| found.get(path) == digest.as_ref());
            let paths: HashSet<BString> = same.map(|(path, _)| path.clone()).collect();
            // That a file is not there says little by itself.
            let told = paths.iter().filter(|p| wanted.get(*p).is_some_and(Option::is_some)).count();
            if told > 0 && best.as_ref().is_none_or(|b| paths.len() > b.paths.len()) {
                let all = paths.len() == wanted.len();
                best = Some(Past { commit, title: String::new(), paths, all });
            }
        }
    }
    if let Some(past) = &mut best {
        let show = words(["log", "-1", "--format=%cs %s", "--end-of-options", &past.commit]);
        let answer = ask(root, &show, b"")?;
        past.title = line(&answer).to_str_lossy().into_owned();
    }
    Ok(best)
}
