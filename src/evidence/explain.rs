//! What explains a difference between an image and its source tree, and the lines that differ.

use super::expected::Origin;
use super::image::{StoredImage, StoredImages};
use super::layer::LayerKind;
use super::store::digest_of;
use super::tree::ImageTree;
use super::verify::{By, Cause, Change, Difference, Verification};
use crate::context::{ContextIndex, Past};
use crate::key::plan::Contexts;
use bstr::{BStr, BString, ByteSlice as _};
use similar::Algorithm;
use similar::udiff::unified_diff;
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of a file of which lines are compared.
const TEXT: u64 = 256 << 10;
/// Most files of which contents are looked at.
const FILES: usize = 500;

/// Looks for causes. With `diff`, the unified diffs of text files are returned, by image path.
pub fn explain(
    verification: &mut Verification,
    images: &StoredImages,
    image: &StoredImage,
    tree: &ImageTree,
    contexts: &Contexts,
    diff: bool,
) -> BTreeMap<BString, String> {
    let all = || verification.differences.iter().chain(&verification.undecided);
    let wanted: BTreeSet<BString> =
        all().filter(|d| d.change == Change::Modified).take(FILES).map(|d| BString::from(place(d))).collect();
    let contents = tree.contents(images, image, &wanted, TEXT);
    let mut diffs = BTreeMap::new();
    for difference in verification.differences.iter_mut().chain(&mut verification.undecided) {
        let Some(context) = context_of(contexts, &difference.origin) else { continue };
        let Some(entry) = context.entry(&difference.path) else { continue };
        let there = tree.get(place(difference));
        let of_image = contents.get(place(difference));
        let of_tree = of_image.and_then(|_| context.read(&difference.path, TEXT).ok().flatten());
        let cause = match (&of_tree, of_image) {
            (Some(of_tree), Some(of_image)) => by_content(difference, of_tree, of_image),
            // A pointer of LFS is small, what it stands for is not.
            _ => None,
        };
        if diff && let (Some(of_tree), Some(of_image)) = (&of_tree, of_image) {
            let found = lines(difference, of_tree, of_image);
            diffs.extend(found.map(|text| (difference.image_path.clone(), text)));
        }
        if cause.is_some() {
            difference.cause = cause;
            continue;
        }
        if let By::Run(_) = difference.by {
            continue;
        }
        let seconds = i64::try_from(entry.mtime_ns.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
        let same_stat = there.is_some_and(|e| match &e.kind {
            // Writers of layers cut the time to seconds, or round it.
            LayerKind::File { size, .. } => {
                *size == entry.size && (0..=1).contains(&e.mtime.saturating_sub(seconds))
            }
            _ => false,
        });
        let later = image.created.is_some_and(|created| created > 0 && seconds > created);
        difference.cause = match difference.change {
            Change::Modified if same_stat => Some(Cause::SameStat),
            Change::Modified | Change::Missing if later => Some(Cause::Later),
            _ => None,
        };
    }
    for difference in verification.differences.iter_mut().chain(&mut verification.undecided) {
        if difference.cause.is_none() || difference.cause == Some(Cause::Later) {
            let pointer = pointer_in_tree(difference, contexts);
            if pointer.is_some() {
                difference.cause = pointer;
            }
        }
    }
    diffs
}

/// Tells which files are those of a commit. A file that is in the image as it was in a commit was not made by a command.
pub fn explain_past(verification: &mut Verification, past: &Past) {
    let short = past.commit.get(..12).unwrap_or(&past.commit).to_owned();
    let is_past = |d: &Difference| d.origin == Origin::Context && past.paths.contains(&d.path);
    let undecided = std::mem::take(&mut verification.undecided);
    for mut difference in undecided {
        if is_past(&difference) && difference.found.is_some() {
            difference.by = By::Copy;
            verification.checked += 1;
            verification.differences.push(difference);
        } else {
            verification.undecided.push(difference);
        }
    }
    for difference in &mut verification.differences {
        if is_past(difference) && difference.by == By::Copy {
            difference.cause = Some(Cause::Revision(short.clone()));
        }
    }
}

/// What to look for in commits: the contents that the image has where they are not those of the tree.
pub fn past_contents(verification: &Verification) -> BTreeMap<BString, Option<String>> {
    let all = verification.differences.iter().chain(&verification.undecided);
    let counts = |d: &&Difference| {
        d.origin == Origin::Context
            && !matches!(d.by, By::Run(_))
            && matches!(d.change, Change::Modified | Change::Missing)
    };
    all.filter(counts).map(|d| (d.path.clone(), d.found.clone())).collect()
}

fn context_of<'c>(contexts: &'c Contexts, origin: &Origin) -> Option<&'c ContextIndex> {
    match origin {
        Origin::Context => contexts.main.as_ref(),
        Origin::Named(folder) => contexts.named.get(&**folder),
        Origin::Heredoc | Origin::Archive => None,
    }
}

/// Where it is in the image, without a leading `/`.
fn place(difference: &Difference) -> &BStr {
    difference.image_path.strip_prefix(b"/").unwrap_or(&difference.image_path).as_bstr()
}

fn by_content(difference: &Difference, of_tree: &[u8], of_image: &[u8]) -> Option<Cause> {
    if difference.change != Change::Modified {
        return None;
    }
    if let Some(oid) = lfs_oid(of_image)
        && difference.expected.as_deref() == Some(oid.as_str())
    {
        return Some(Cause::LfsPointer { in_image: true });
    }
    let crlf = |bytes: &[u8]| bytes.find(b"\r\n").is_some();
    if crlf(of_tree) != crlf(of_image) && of_tree.replace("\r\n", "\n") == of_image.replace("\r\n", "\n") {
        return Some(Cause::LineEnds { crlf_in_image: crlf(of_image) });
    }
    None
}

/// A pointer that stands for more than could be compared.
fn pointer_in_tree(difference: &Difference, contexts: &Contexts) -> Option<Cause> {
    if difference.change != Change::Modified {
        return None;
    }
    let of_tree = context_of(contexts, &difference.origin)?.read(&difference.path, 1024).ok()??;
    let found = difference.found.as_deref()?;
    (lfs_oid(&of_tree)? == found && digest_of(&of_tree) != found)
        .then_some(Cause::LfsPointer { in_image: false })
}

/// What a pointer of git LFS stands for (`git-lfs/docs/spec.md`), as `sha256:…`.
fn lfs_oid(bytes: &[u8]) -> Option<String> {
    let rest =
        bytes.strip_prefix(b"version https://git-lfs.github.com/spec/v1\n").filter(|r| r.len() < 1024)?;
    let oid = rest.lines().find_map(|line| line.strip_prefix(b"oid "))?;
    oid.to_str().ok().map(str::to_owned)
}

/// The lines that differ, if both are text.
fn lines(difference: &Difference, of_tree: &[u8], of_image: &[u8]) -> Option<String> {
    let (of_tree, of_image) = (of_tree.to_str().ok()?, of_image.to_str().ok()?);
    if of_tree.contains('\0') || of_image.contains('\0') {
        return None;
    }
    let names = (format!("tree/{}", difference.path), format!("image{}", difference.image_path));
    let text = unified_diff(Algorithm::Myers, of_tree, of_image, 3, Some((&names.0, &names.1)));
    (!text.is_empty()).then_some(text)
}
