//! What commands remove of a target directory, and whether cargo compiles a crate again because of it.

use super::super::command::CargoCommand;
use super::super::find::Find;
use super::super::workspace::TargetKind;
use super::unit::{Key, Unit};
use crate::build::mapping::{Covers, covers};
use crate::build::process::PathValue;
use crate::context::path::{clean_str, path_match};

/// What files in the target directory are called after, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) package: Option<String>,
    pub(super) target: Option<String>,
    pub(super) kind: TargetKind,
}

/// Stands for the hash in the names of artefacts.
pub(super) const HASH: &str = "0123456789abcdef";

impl Names {
    /// Files in `deps` without which cargo compiles the crate again, if they are known.
    pub(super) fn artifacts(&self) -> Option<Vec<String>> {
        let name = self.target.as_ref().or(self.package.as_ref())?.replace('-', "_");
        Some(match self.kind {
            TargetKind::Lib => {
                ["rlib", "so", "a", "rmeta"].iter().map(|e| format!("lib{name}-{HASH}.{e}")).collect()
            }
            _ => vec![format!("{name}-{HASH}")],
        })
    }
}

/// Cleaning that the current RUN did.
pub(super) struct Clean {
    pub(super) scope: Scope,
}

pub(super) enum Scope {
    /// `cargo clean`
    Cargo { dir: String, profile: Option<String>, targets: Vec<String>, packages: Vec<String> },
    /// Something that is not known.
    Anything,
    /// `rm`
    Removed(PathValue),
    /// `find -delete`, with what mounts of the step are called and where they are.
    Found(Box<Find>, Vec<(String, String)>),
}

pub(super) fn same_dir(a: &str, b: &str) -> bool {
    CargoCommand::profile_dir(a) == CargoCommand::profile_dir(b)
}

impl Clean {
    pub(super) fn reaches(&self, key: &Key, unit: Option<&Unit>) -> bool {
        match unit {
            Some(unit) => self.reaches_named(key, Some(&unit.names())),
            None => self.reaches_named(key, None),
        }
    }

    /// Whether it makes cargo compile a crate of that compilation again. Names that are not known count as reached.
    pub(super) fn reaches_named(&self, key: &Key, names: Option<&Names>) -> bool {
        let package = names.and_then(|n| n.package.as_deref());
        match &self.scope {
            Scope::Cargo { dir, profile, targets, packages } => {
                *dir == key.dir
                    && profile.as_deref().is_none_or(|p| same_dir(p, &key.profile))
                    && (profile.is_none() || packages.is_empty() || targets == &key.targets)
                    && (packages.is_empty()
                        || package.is_none_or(|name| packages.iter().any(|p| names_package(p, name))))
            }
            Scope::Anything => true,
            Scope::Removed(pattern) => removes(pattern, key, names),
            Scope::Found(find, mounts) => {
                let here = mounts
                    .iter()
                    .find_map(|(place, path)| Some(format!("{path}{}", key.dir.strip_prefix(place)?)));
                let dir = here.as_deref().unwrap_or(&key.dir);
                let folder = clean_str(&match key.targets.first() {
                    Some(target) => format!("{dir}/{target}/{}", key.profile),
                    None => format!("{dir}/{}", key.profile),
                });
                let samples = match names.and_then(Names::artifacts) {
                    Some(files) => files.into_iter().map(|f| format!("{folder}/deps/{f}")).collect(),
                    None => vec![format!("{folder}/deps/x")],
                };
                samples.iter().any(|s| find.takes(s))
            }
        }
    }
}

/// Whether a package specification names a package: `name`, `name@1.0`, `path+file:///…#name`.
pub(super) fn names_package(spec: &str, name: &str) -> bool {
    let plain = spec.rsplit(['/', '#']).next().unwrap_or(spec);
    let plain = plain.split(['@', ':']).next().unwrap_or(plain);
    plain == name || path_match(plain, name).unwrap_or(false) || spec.contains('$')
}

/// Whether removing these paths makes cargo compile a crate again.
pub(super) fn removes(pattern: &PathValue, key: &Key, names: Option<&Names>) -> bool {
    if covers(pattern, &key.dir) != Covers::No {
        return true;
    }
    // Components below the target directory.
    let depth = key.dir.matches('/').count();
    let parts: Vec<&str> = pattern.path.split('/').collect();
    let (head, rest) = parts.split_at((depth + 1).min(parts.len()));
    if !same_path(&head.join("/"), &key.dir, pattern.glob) {
        return false;
    }
    let mut rest = rest.iter();
    let fits =
        |part: &str, name: &str| part == name || (pattern.glob && path_match(part, name).unwrap_or(false));
    for expected in key.targets.iter().take(1).chain([&key.profile]) {
        match rest.next() {
            None => return true,
            Some(part) if fits(part, expected) => {}
            Some(_) => return false,
        }
    }
    let Some(folder) = rest.next() else { return true };
    let Some(entry) = rest.next() else {
        return fits(folder, "deps") || (fits(folder, ".fingerprint") && folder.starts_with('.'));
    };
    let samples = if fits(folder, "deps") {
        names.and_then(Names::artifacts)
    } else if fits(folder, ".fingerprint") {
        names.and_then(|n| n.package.as_ref()).map(|package| vec![format!("{package}-{HASH}")])
    } else {
        return false;
    };
    let Some(samples) = samples else { return true };
    samples.iter().any(|s| fits(entry, s))
}

pub(super) fn same_path(pattern: &str, path: &str, glob: bool) -> bool {
    pattern == path || (glob && path_match(pattern, path).unwrap_or(false))
}
