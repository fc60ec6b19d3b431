//! Crates that a command line compiles, and which of them cargo takes for fresh.

use super::super::command::CargoCommand;
use super::super::workspace::{TargetKind, Workspace};
use super::clean::{Names, names_package};
use super::file::{Content, State, Time};
use super::{Crate, Project};
use crate::build::model::is_below;
use crate::context::path::clean_str;
use crate::source::Span;
use std::collections::HashMap;

/// What decides whether a compilation can use the result of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The target directory, or the place in a cache mount.
    pub(super) dir: String,
    pub(super) profile: String,
    pub(super) targets: Vec<String>,
    pub(super) driver: String,
    pub(super) mode_is_build: bool,
    pub(super) mode: u8,
    pub(super) flags: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    /// Root directory of the workspace in the image, and its manifest.
    pub(super) project: String,
    pub(super) manifest: Option<Content>,
    /// Files that decide what is compiled with what: toolchain and settings.
    pub(super) settings: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: Key,
    /// The first compilation.
    pub(super) span: Span,
    /// By root source file.
    pub(super) units: HashMap<String, Compiled>,
}

#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) content: Content,
    pub(super) at: u32,
    pub(super) writer: Span,
    pub(super) cleaned: bool,
    /// Of the package and the target, if they are known.
    pub(super) names: Names,
    /// It was reported as stale.
    pub(super) told: bool,
}

/// A crate that a command compiles.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) root: String,
    pub(super) package: Option<String>,
    pub(super) name: Option<String>,
    pub(super) kind: TargetKind,
    /// Directory of the package in the image.
    pub(super) dir: String,
    /// Indices of units that it needs.
    pub(super) needs: Vec<usize>,
}

impl Unit {
    pub(super) fn names(&self) -> Names {
        Names { package: self.package.clone(), target: self.name.clone(), kind: self.kind }
    }
}

impl Unit {
    pub(super) fn shown(&self, cwd: &str) -> Crate {
        let shown = match self.root.strip_prefix(cwd.trim_end_matches('/')).and_then(|r| r.strip_prefix('/'))
        {
            Some(rest) => rest.to_owned(),
            None => self.root.clone(),
        };
        Crate {
            package: self.package.clone(),
            kind: self.kind,
            name: self.name.clone(),
            root: self.root.clone(),
            shown,
        }
    }
}

/// What a command line compiles of a workspace.
pub(super) fn exact_units(
    state: &State,
    space: &Workspace,
    package: &str,
    project: &Project,
    command: &CargoCommand,
) -> Vec<Unit> {
    let members = || (0..space.packages.len()).filter(|i| space.packages.get(*i).is_some_and(|p| p.member));
    let mut selected: Vec<usize> = if !command.packages.is_empty() {
        let named = |i: &usize| {
            space
                .packages
                .get(*i)
                .is_some_and(|p| command.packages.iter().any(|spec| names_package(spec, &p.name)))
        };
        (0..space.packages.len()).filter(named).collect()
    } else if command.workspace {
        members().collect()
    } else {
        match space.package_in(package) {
            Some(own) if package != space.root || command.path.is_some() => vec![own],
            _ => space.default_members.clone(),
        }
    };
    selected.retain(|i| {
        space
            .packages
            .get(*i)
            .is_some_and(|p| !command.exclude.iter().any(|spec| names_package(spec, &p.name)))
    });
    let narrowed = command.lib || command.all_bins || command.examples || !command.bins.is_empty();
    let mut units: Vec<Unit> = Vec::new();
    let mut libs: HashMap<usize, usize> = HashMap::new();
    let mut scripts: HashMap<usize, usize> = HashMap::new();
    let mut owners: Vec<usize> = Vec::new();
    for index in space.closure(&selected) {
        let Some(package) = space.packages.get(index) else { continue };
        let chosen = selected.contains(&index);
        for target in &package.targets {
            let wanted = match target.kind {
                TargetKind::Lib | TargetKind::BuildScript => true,
                TargetKind::Bin if !chosen => false,
                TargetKind::Bin => {
                    !narrowed
                        || command.all_bins
                        || command.bins.iter().any(|b| *b == target.name || b.contains('$'))
                }
                TargetKind::Example => chosen && command.examples,
                TargetKind::Test | TargetKind::Bench => false,
            };
            let rest = target.path.strip_prefix(&space.root).unwrap_or(&target.path);
            let root = clean_str(&format!("{}/{}", project.root, rest.trim_start_matches('/')));
            let there = state.files.get(&root).is_some_and(|f| f.content != Content::Removed);
            if !wanted || !there {
                continue;
            }
            match target.kind {
                TargetKind::Lib => libs.insert(index, units.len()),
                TargetKind::BuildScript => scripts.insert(index, units.len()),
                _ => None,
            };
            owners.push(index);
            units.push(Unit {
                root,
                package: Some(package.name.clone()),
                name: Some(target.name.clone()),
                kind: target.kind,
                dir: package.dir.clone(),
                needs: Vec::new(),
            });
        }
    }
    for (unit, owner) in units.iter_mut().zip(owners) {
        let Some(package) = space.packages.get(owner) else { continue };
        if unit.kind == TargetKind::BuildScript {
            unit.needs = package.build_dependencies.iter().filter_map(|d| libs.get(d)).copied().collect();
            continue;
        }
        unit.needs = package.dependencies.iter().filter_map(|d| libs.get(d)).copied().collect();
        unit.needs.extend(scripts.get(&owner));
        if unit.kind != TargetKind::Lib {
            unit.needs.extend(libs.get(&owner));
        }
    }
    units
}

/// What a command line compiles, as far as names of files tell.
pub(super) fn guessed_units(state: &State, project: &Project, command: &CargoCommand) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for (path, file) in state.files.iter().filter(|(path, _)| is_below(path, &project.root)) {
        if file.content == Content::Removed {
            continue;
        }
        let Some((folder, name)) = path.rsplit_once('/') else { continue };
        let (kind, dir) = if let Some((dir, _)) = path.rsplit_once("/src/bin/") {
            (TargetKind::Bin, dir)
        } else if let Some((dir, _)) = path.rsplit_once("/examples/").filter(|_| command.examples) {
            (TargetKind::Example, dir)
        } else if ["/examples/", "/tests/", "/benches/"].iter().any(|d| path.contains(d)) {
            continue;
        } else {
            let dir = folder.strip_suffix("/src");
            match name {
                "lib.rs" => (TargetKind::Lib, dir.unwrap_or(folder)),
                "main.rs" => (TargetKind::Bin, dir.unwrap_or(folder)),
                "build.rs" => (TargetKind::BuildScript, folder),
                _ => continue,
            }
        };
        let dir = if dir.is_empty() { "/" } else { dir };
        units.push(Unit {
            root: path.clone(),
            package: None,
            name: None,
            kind,
            dir: dir.to_owned(),
            needs: Vec::new(),
        });
    }
    if project.base != project.root && units.iter().any(|u| u.dir == project.base) {
        units.retain(|u| u.dir == project.base);
    }
    if !command.packages.is_empty() {
        let named = |u: &Unit| {
            let name = u.dir.rsplit('/').next().unwrap_or_default();
            command.packages.iter().any(|spec| names_package(spec, name))
        };
        if units.iter().any(named) {
            units.retain(named);
        } else if units.iter().any(|u| u.dir != project.root) {
            units.clear();
        }
    }
    let places: Vec<(String, TargetKind)> = units.iter().map(|u| (u.dir.clone(), u.kind)).collect();
    for unit in &mut units {
        let own = |kind: TargetKind| places.iter().position(|(dir, k)| *dir == unit.dir && *k == kind);
        if unit.kind != TargetKind::BuildScript {
            unit.needs.extend(own(TargetKind::BuildScript));
        }
        if !matches!(unit.kind, TargetKind::BuildScript | TargetKind::Lib) {
            unit.needs.extend(own(TargetKind::Lib));
        }
    }
    units
}

pub(super) fn compiled(state: &State, unit: &Unit, at: u32) -> Option<Compiled> {
    let file = state.files.get(&unit.root)?;
    Some(Compiled {
        content: file.content.clone(),
        at,
        writer: file.writer,
        cleaned: false,
        names: unit.names(),
        told: false,
    })
}

/// What a compilation makes of a crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Rightly taken for fresh.
    Fresh,
    /// Taken for fresh although it was made of other sources.
    Stale,
    /// Compiled, because its root was touched or its artefacts are gone.
    Cured,
    /// Compiled, because it never was.
    New,
    /// Compiled, because one that it needs is.
    Rescued,
    /// Not there.
    Absent,
}

pub(super) fn judge(state: &State, record: &Record, units: &[Unit], exact: bool) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = units
        .iter()
        .map(|unit| {
            let Some(file) = state.files.get(&unit.root) else { return Verdict::Absent };
            let Some(before) = record.units.get(&unit.root) else { return Verdict::New };
            let newer = match file.time {
                Time::At(time) => time > before.at,
                Time::Context => false,
                Time::Unknown => true,
            };
            let same = file.content == before.content;
            let unknown =
                matches!(file.content, Content::Unknown) || matches!(before.content, Content::Unknown);
            match (same, before.cleaned || newer) {
                _ if unknown => Verdict::Cured,
                (false, true) => Verdict::Cured,
                (true, true) => Verdict::New,
                (true, false) => Verdict::Fresh,
                (false, false) => Verdict::Stale,
            }
        })
        .collect();
    rescue(units, &mut verdicts);
    if !exact {
        // Which crates need which is not known: a library that is compiled anew may rescue all others. And a crate
        // that had a placeholder for its library alone may have none in truth.
        let renewed = |i: usize| matches!(verdicts.get(i), Some(Verdict::Cured | Verdict::New));
        let libs: Vec<&str> = (0..units.len())
            .filter(|i| renewed(*i))
            .filter_map(|i| units.get(i))
            .filter(|u| u.kind == TargetKind::Lib)
            .map(|u| u.dir.as_str())
            .collect();
        let has_bin = |dir: &str| units.iter().any(|u| u.dir == dir && u.kind == TargetKind::Bin);
        let doubtful: Vec<usize> = (0..units.len())
            .filter(|i| verdicts.get(*i) == Some(&Verdict::Stale))
            .filter(|i| {
                units.get(*i).is_some_and(|u| {
                    libs.iter().any(|dir| *dir != u.dir)
                        || (u.kind == TargetKind::Lib && !has_bin(&u.dir) && units.len() == 1)
                })
            })
            .collect();
        for index in doubtful {
            if let Some(verdict) = verdicts.get_mut(index) {
                *verdict = Verdict::Rescued;
            }
        }
    }
    verdicts
}

/// Crates that need one that is compiled anew are compiled anew.
pub(super) fn rescue(units: &[Unit], verdicts: &mut [Verdict]) {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); units.len()];
    for (index, unit) in units.iter().enumerate() {
        for need in &unit.needs {
            if let Some(users) = users.get_mut(*need) {
                users.push(index);
            }
        }
    }
    let anew = |v: &Verdict| matches!(v, Verdict::Cured | Verdict::New);
    let mut open: Vec<usize> = (0..units.len()).filter(|i| verdicts.get(*i).is_some_and(anew)).collect();
    while let Some(index) = open.pop() {
        for user in users.get(index).into_iter().flatten() {
            if let Some(verdict) = verdicts.get_mut(*user)
                && matches!(verdict, Verdict::Stale | Verdict::Fresh)
            {
                *verdict = Verdict::Rescued;
                open.push(*user);
            }
        }
    }
}
