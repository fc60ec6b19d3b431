//! Packages and targets of a workspace, read from the manifests in a build context.
//!
//! Follows "The Manifest Format", "Workspaces" and "Cargo Targets" of the Cargo reference. Only files that Docker
//! would send are seen.

use crate::context::ContextIndex;
use crate::context::path::{clean_str, path_match};
use cargo_toml::{Dependency, DepsSet, Manifest, OptionalFile, Product};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

/// A manifest with more bytes is not read.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// More packages are not read.
const MAX_PACKAGES: usize = 4096;

/// The files of a context that matter to cargo, listed once.
#[derive(Debug)]
pub struct Sources<'c> {
    context: &'c ContextIndex,
    /// Every `.rs` file and every `Cargo.toml`, `Cargo.lock`, `.cargo/config*` and `rust-toolchain*`.
    files: BTreeSet<&'c str>,
}

impl<'c> Sources<'c> {
    /// Lists them; nothing is read.
    pub fn new(context: &'c ContextIndex) -> Self {
        let paths =
            context.entries().filter(|e| !e.is_dir()).filter_map(|e| std::str::from_utf8(&e.path).ok());
        Self { context, files: paths.filter(|p| p.ends_with(".rs") || is_settings(p)).collect() }
    }

    /// Whether all manifests are empty, so that only names of files are known.
    pub fn are_names_only(&self) -> bool {
        let size = |p: &str| self.context.entry(p.as_bytes()).map(|e| e.size);
        self.files.iter().filter(|p| p.ends_with("Cargo.toml")).all(|p| size(p) == Some(0))
    }

    /// The context.
    pub fn context(&self) -> &'c ContextIndex {
        self.context
    }

    /// Whether there is such a file, by its path without a leading `/`.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains(path)
    }

    /// Directories with a manifest.
    pub fn manifest_dirs(&self) -> impl Iterator<Item = &'c str> + '_ {
        self.files.iter().filter_map(|p| match p.strip_suffix("Cargo.toml")? {
            "" => Some(""),
            dir => dir.strip_suffix('/'),
        })
    }

    /// Manifests, lock files and settings.
    pub fn settings(&self) -> impl Iterator<Item = &'c str> + '_ {
        self.files.iter().copied().filter(|p| is_settings(p))
    }

    /// `.rs` files in a directory, at any depth.
    pub fn in_dir<'p>(&'p self, dir: &'p str) -> impl Iterator<Item = &'c str> + 'p {
        let from = self.files.range::<str, _>((Bound::Included(dir), Bound::Unbounded)).copied();
        from.take_while(move |p| p.starts_with(dir))
            .filter(move |p| dir.is_empty() || p.as_bytes().get(dir.len()) == Some(&b'/'))
            .filter(|p| p.ends_with(".rs"))
    }

    /// Root source files of the package in a directory.
    pub fn targets_in(&self, dir: &str) -> Vec<Target> {
        match read(self, dir) {
            Some(Ok(manifest)) => targets(self, dir, &manifest),
            _ => Vec::new(),
        }
    }
}

fn is_settings(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "Cargo.toml" | "Cargo.lock" | "rust-toolchain" | "rust-toolchain.toml" => true,
        "config" | "config.toml" => {
            path == format!(".cargo/{name}") || path.ends_with(&format!("/.cargo/{name}"))
        }
        _ => false,
    }
}

/// A workspace, or a package that stands alone.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// Directory of the root manifest below the context, without a leading `/`; empty for the context itself.
    pub root: String,
    /// The root manifest has no package.
    pub is_virtual: bool,
    /// Its packages, the root's first, then by directory; packages outside of the root that are depended upon come last.
    pub packages: Vec<Package>,
    /// What a command in the root directory is about: indices into the packages.
    pub default_members: Vec<usize>,
    /// Whether there is a `Cargo.lock` beside the root manifest.
    pub has_lock: bool,
    /// Names of the profiles that the root manifest changes.
    pub profiles: Vec<String>,
    /// What could not be read, so that packages or edges may be missing.
    pub notes: Vec<Note>,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The manifest below the context.
    pub path: String,
    /// What is wrong with it, without full stop.
    pub message: String,
}

/// A package of a workspace.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Directory below the context, empty for the context itself.
    pub dir: String,
    /// What can be compiled, the library first.
    pub targets: Vec<Target>,
    /// Packages of the same workspace that its library and binaries need.
    pub dependencies: Vec<usize>,
    /// Packages of the same workspace that its build script needs.
    pub build_dependencies: Vec<usize>,
    /// Whether it belongs to the workspace; otherwise it is only depended upon.
    pub member: bool,
}

/// A crate: one target of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: TargetKind,
    /// Its name; `build-script-build` for a build script.
    pub name: String,
    /// Its root source file below the context.
    pub path: String,
}

/// Kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TargetKind {
    Lib,
    Bin,
    Example,
    Test,
    Bench,
    BuildScript,
}

impl TargetKind {
    /// For people: `library`, `binary`, ….
    pub fn name(self) -> &'static str {
        match self {
            TargetKind::Lib => "library",
            TargetKind::Bin => "binary",
            TargetKind::Example => "example",
            TargetKind::Test => "test",
            TargetKind::Bench => "benchmark",
            TargetKind::BuildScript => "build script",
        }
    }
}

/// `name` in `dir`; both without a leading `/`.
pub fn below(dir: &str, name: &str) -> String {
    clean_str(&format!("/{dir}/{name}")).trim_start_matches('/').to_owned()
}

impl Workspace {
    /// The workspace that the package or workspace in a directory of the context belongs to; `None` if the directory
    /// has no manifest that can be read.
    pub fn containing(sources: &Sources<'_>, dir: &str) -> Option<Self> {
        let own = read(sources, dir)?.ok()?;
        if own.workspace.is_none() {
            let named = own.package.as_ref().and_then(|p| p.workspace.as_ref());
            if let Some(named) = named {
                return Self::read(sources, &below(dir, &named.to_string_lossy()));
            }
            let mut at = dir;
            while !at.is_empty() {
                at = at.rsplit_once('/').map_or("", |(above, _)| above);
                let Some(Ok(manifest)) = read(sources, at) else { continue };
                let Some(workspace) = &manifest.workspace else { continue };
                let rest = dir.strip_prefix(at).unwrap_or(dir).trim_start_matches('/');
                if !is_excluded(&workspace.exclude, rest) {
                    let found = Self::read(sources, at)?;
                    // A package that no member list names stands alone (cargo refuses it).
                    return if found.package_in(dir).is_some() {
                        Some(found)
                    } else {
                        Self::read(sources, dir)
                    };
                }
            }
        }
        Self::read(sources, dir)
    }

    /// What is wrong with the manifest in a directory, if there is one.
    pub(super) fn unread(sources: &Sources<'_>, dir: &str) -> Option<Note> {
        let message = read(sources, dir)?.err()?;
        Some(Note { path: below(dir, "Cargo.toml"), message })
    }

    /// The workspace whose root manifest is in a directory of the context; `None` if there is no such manifest or it
    /// cannot be read.
    pub fn read(sources: &Sources<'_>, root: &str) -> Option<Self> {
        let manifest = read(sources, root)?.ok()?;
        let mut reader = Reader {
            sources,
            root: manifest.clone(),
            space: Workspace {
                root: root.to_owned(),
                is_virtual: manifest.package.is_none(),
                has_lock: sources.has(&below(root, "Cargo.lock")),
                ..Workspace::default()
            },
            manifests: Vec::new(),
            by_dir: HashMap::new(),
        };
        let profiles = &manifest.profile;
        let builtin = [
            ("release", &profiles.release),
            ("dev", &profiles.dev),
            ("test", &profiles.test),
            ("bench", &profiles.bench),
        ];
        reader.space.profiles =
            builtin.iter().filter(|(_, p)| p.is_some()).map(|(n, _)| (*n).to_owned()).collect();
        reader.space.profiles.extend(profiles.custom.keys().cloned());
        reader.members(root, manifest);
        reader.dependencies();
        Some(reader.space)
    }

    /// The package in a directory of the context.
    pub fn package_in(&self, dir: &str) -> Option<usize> {
        self.packages.iter().position(|p| p.dir == dir)
    }

    /// The package of a name.
    pub fn package_named(&self, name: &str) -> Option<usize> {
        self.packages.iter().position(|p| p.name == name)
    }

    /// Packages with those they need, directly or through others.
    pub fn closure(&self, packages: &[usize]) -> Vec<usize> {
        let mut seen = vec![false; self.packages.len()];
        let mut open = packages.to_vec();
        let mut out = Vec::new();
        while let Some(at) = open.pop() {
            let Some(package) = self.packages.get(at) else { continue };
            if seen.get_mut(at).is_none_or(|s| std::mem::replace(s, true)) {
                continue;
            }
            out.push(at);
            open.extend(package.dependencies.iter().chain(&package.build_dependencies));
        }
        out.sort_unstable();
        out
    }
}

/// `None` if there is no manifest.
fn read(sources: &Sources<'_>, dir: &str) -> Option<Result<Manifest, String>> {
    let path = below(dir, "Cargo.toml");
    let context = sources.context;
    let entry = context.entry(path.as_bytes())?;
    if entry.size > MANIFEST_LIMIT {
        return Some(Err("it is too large to be a manifest".to_owned()));
    }
    let bytes = match context.read(path.as_bytes(), MANIFEST_LIMIT) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Some(Err("it is no regular file".to_owned())),
        Err(error) => return Some(Err(error.to_string())),
    };
    // Windows editors begin a file with a byte order mark; cargo skips it.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    Some(Manifest::from_slice(bytes).map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned()))
}

/// `exclude` of a workspace: paths, not patterns.
fn is_excluded(exclude: &[String], dir: &str) -> bool {
    exclude.iter().any(|e| {
        let e = below("", e);
        dir == e || dir.strip_prefix(&e).is_some_and(|rest| rest.starts_with('/'))
    })
}

struct Reader<'c> {
    sources: &'c Sources<'c>,
    /// The root manifest.
    root: Manifest,
    space: Workspace,
    /// Of the packages, in their order.
    manifests: Vec<Manifest>,
    by_dir: HashMap<String, usize>,
}

impl Reader<'_> {
    fn note(&mut self, dir: &str, message: impl Into<String>) {
        self.space.notes.push(Note { path: below(dir, "Cargo.toml"), message: message.into() });
    }

    fn members(&mut self, root: &str, manifest: Manifest) {
        let workspace = manifest.workspace.clone();
        let root_package = manifest.package.is_some();
        self.add(root, manifest, true);
        let Some(workspace) = workspace else {
            self.space.default_members = self.space.package_in(root).into_iter().collect();
            return;
        };
        let mut dirs: Vec<String> = Vec::new();
        for member in &workspace.members {
            let pattern = below(root, member);
            if crate::context::path::has_wildcard(&pattern) {
                dirs.extend(self.matching(&pattern));
            } else {
                dirs.push(pattern);
            }
        }
        dirs.sort();
        dirs.dedup();
        for dir in dirs {
            let rest = dir.strip_prefix(root).unwrap_or(&dir).trim_start_matches('/');
            // A member that is listed by its very path is not excluded.
            let listed = workspace.members.iter().any(|m| below(root, m) == dir);
            if is_excluded(&workspace.exclude, rest) && !listed {
                continue;
            }
            self.load(&dir, true);
        }
        // Path dependencies below the root are members without being listed.
        let mut at = 0;
        while let Some(manifest) = self.manifests.get(at) {
            let dir = self.space.packages.get(at).map(|p| p.dir.clone()).unwrap_or_default();
            let mut found: Vec<String> = Vec::new();
            for (set, _) in dependency_sets(manifest) {
                found.extend(set.iter().filter_map(|(key, d)| self.dependency_dir(&dir, key, d)));
            }
            at += 1;
            for dir in found {
                let rest = match (root, dir.strip_prefix(root)) {
                    ("", _) => Some(dir.as_str()),
                    (_, Some(rest)) => rest.strip_prefix('/'),
                    (_, None) => None,
                };
                let inside = rest.is_some_and(|rest| !is_excluded(&workspace.exclude, rest));
                self.load(&dir, inside);
            }
        }
        let defaults = &workspace.default_members;
        self.space.default_members = if defaults.is_empty() {
            match root_package.then(|| self.space.package_in(root)).flatten() {
                Some(package) => vec![package],
                None => (0..self.space.packages.len()).filter(|i| self.is_member(*i)).collect(),
            }
        } else {
            let mut found = Vec::new();
            for pattern in defaults {
                let pattern = below(root, pattern);
                let matches = |(i, p): &(usize, &Package)| {
                    self.is_member(*i) && (p.dir == pattern || matches_dir(&pattern, &p.dir))
                };
                found.extend(self.space.packages.iter().enumerate().filter(matches).map(|(i, _)| i));
            }
            found.sort_unstable();
            found.dedup();
            found
        };
    }

    fn is_member(&self, package: usize) -> bool {
        self.space.packages.get(package).is_some_and(|p| p.member)
    }

    /// Directories with a manifest that a member pattern takes.
    fn matching(&self, pattern: &str) -> Vec<String> {
        let fixed = pattern.split(['*', '?', '[']).next().unwrap_or_default();
        let dirs = self.sources.manifest_dirs();
        dirs.filter(|d| d.starts_with(fixed) && matches_dir(pattern, d)).map(str::to_owned).collect()
    }

    fn load(&mut self, dir: &str, member: bool) {
        if self.by_dir.contains_key(dir) || self.space.packages.len() >= MAX_PACKAGES {
            return;
        }
        match read(self.sources, dir) {
            Some(Ok(manifest)) => self.add(dir, manifest, member),
            Some(Err(message)) => self.note(dir, message),
            None if member => self.note(dir, "there is no such manifest in the build context"),
            None => self.note(dir, "the manifest of a path dependency is not in the build context"),
        }
    }

    fn add(&mut self, dir: &str, manifest: Manifest, member: bool) {
        let Some(package) = &manifest.package else { return };
        let name = package.name.clone();
        let targets = targets(self.sources, dir, &manifest);
        self.by_dir.insert(dir.to_owned(), self.space.packages.len());
        self.space.packages.push(Package {
            name,
            dir: dir.to_owned(),
            targets,
            dependencies: Vec::new(),
            build_dependencies: Vec::new(),
            member,
        });
        self.manifests.push(manifest);
    }

    /// Where the package of a dependency is, if it is in this context by path.
    fn dependency_dir(&self, dir: &str, key: &str, dependency: &Dependency) -> Option<String> {
        let (base, dependency) = match dependency {
            Dependency::Inherited(_) => {
                (self.space.root.as_str(), self.root.workspace.as_ref()?.dependencies.get(key)?)
            }
            own => (dir, own),
        };
        let path = dependency.detail()?.path.as_deref()?;
        (!path.starts_with('/')).then(|| below(base, path))
    }

    fn dependencies(&mut self) {
        let root = self.space.root.clone();
        let mut patches: BTreeMap<String, String> = BTreeMap::new();
        for (key, patch) in self.root.patch.values().flatten() {
            if let Some(detail) = patch.detail()
                && let Some(path) = &detail.path
            {
                patches.insert(detail.package.clone().unwrap_or_else(|| key.clone()), below(&root, path));
            }
        }
        let shared = self.root.workspace.as_ref().map(|w| &w.dependencies);
        let mut edges: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for (manifest, package) in self.manifests.iter().zip(&self.space.packages) {
            let (mut normal, mut build) = (HashSet::new(), HashSet::new());
            for (set, is_build) in dependency_sets(manifest) {
                for (key, dependency) in set {
                    let resolved = match dependency {
                        Dependency::Inherited(_) => shared.and_then(|s| s.get(key)),
                        d => Some(d),
                    };
                    let name = resolved.and_then(Dependency::detail).and_then(|d| d.package.as_ref());
                    let dir = self
                        .dependency_dir(&package.dir, key, dependency)
                        .or_else(|| patches.get(name.unwrap_or(key)).cloned());
                    if let Some(at) = dir.and_then(|d| self.by_dir.get(&d)) {
                        if is_build { &mut build } else { &mut normal }.insert(*at);
                    }
                }
            }
            let sorted = |set: HashSet<usize>| {
                let mut list: Vec<usize> = set.into_iter().collect();
                list.sort_unstable();
                list
            };
            edges.push((sorted(normal), sorted(build)));
        }
        for (package, (normal, build)) in self.space.packages.iter_mut().zip(edges) {
            package.dependencies = normal;
            package.build_dependencies = build;
        }
    }
}

/// Dependencies that a build compiles, and whether they are those of the build script.
fn dependency_sets(manifest: &Manifest) -> Vec<(&DepsSet, bool)> {
    let own = [(&manifest.dependencies, false), (&manifest.build_dependencies, true)];
    let by_target =
        manifest.target.values().flat_map(|t| [(&t.dependencies, false), (&t.build_dependencies, true)]);
    own.into_iter().chain(by_target).collect()
}

/// Whether a member pattern takes a directory: `*` stays in one component, `**` does not.
fn matches_dir(pattern: &str, dir: &str) -> bool {
    let dir: Vec<&str> = dir.split('/').collect();
    // Which numbers of components are matched so far.
    let mut reached = vec![false; dir.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for part in pattern.split('/') {
        let mut next = vec![false; dir.len() + 1];
        for (at, _) in reached.iter().enumerate().filter(|(_, r)| **r) {
            if part == "**" {
                next.iter_mut().skip(at).for_each(|n| *n = true);
            } else if dir.get(at).is_some_and(|name| path_match(part, name).unwrap_or(false))
                && let Some(n) = next.get_mut(at + 1)
            {
                *n = true;
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

fn targets(sources: &Sources<'_>, dir: &str, manifest: &Manifest) -> Vec<Target> {
    let Some(package) = &manifest.package else { return Vec::new() };
    let exists = |path: &str| sources.has(&below(dir, path));
    let mut out = Vec::new();
    let mut add = |kind, name: String, path: &str| {
        let path = below(dir, path);
        if !out.iter().any(|t: &Target| t.kind == kind && t.path == path && t.name == name) {
            out.push(Target { kind, name, path });
        }
    };
    let lib_name = package.name.replace('-', "_");
    match &manifest.lib {
        Some(lib) => {
            let path = lib.path.clone().unwrap_or_else(|| "src/lib.rs".to_owned());
            if exists(&path) {
                add(TargetKind::Lib, lib.name.clone().unwrap_or(lib_name), &path);
            }
        }
        None if package.autolib && exists("src/lib.rs") => add(TargetKind::Lib, lib_name, "src/lib.rs"),
        None => {}
    }
    let groups: [(TargetKind, &str, &[Product], bool); 4] = [
        (TargetKind::Bin, "src/bin", &manifest.bin, package.autobins),
        (TargetKind::Example, "examples", &manifest.example, package.autoexamples),
        (TargetKind::Test, "tests", &manifest.test, package.autotests),
        (TargetKind::Bench, "benches", &manifest.bench, package.autobenches),
    ];
    for (kind, folder, products, auto) in groups {
        let mut taken: HashSet<String> = HashSet::new();
        let mut names: HashSet<&str> = HashSet::new();
        for product in products {
            let name = product.name.clone().unwrap_or_else(|| package.name.clone());
            let main = (kind == TargetKind::Bin && name == package.name).then(|| "src/main.rs".to_owned());
            let guesses =
                main.into_iter().chain([format!("{folder}/{name}.rs"), format!("{folder}/{name}/main.rs")]);
            // Without other binaries, `src/main.rs` is that of the only one listed.
            let only = (kind == TargetKind::Bin && products.len() == 1).then(|| "src/main.rs".to_owned());
            let path = match &product.path {
                Some(path) => Some(path.clone()),
                None => guesses.chain(only).find(|p| exists(p)),
            };
            names.extend(product.name.as_deref());
            if let Some(path) = path.filter(|p| exists(p)) {
                taken.insert(below(dir, &path));
                add(kind, name, &path);
            }
        }
        if !auto {
            continue;
        }
        if kind == TargetKind::Bin && exists("src/main.rs") && !taken.contains(&below(dir, "src/main.rs")) {
            add(kind, package.name.clone(), "src/main.rs");
        }
        for (name, path) in discovered(sources, &below(dir, folder)) {
            let relative = path.strip_prefix(dir).unwrap_or(&path).trim_start_matches('/');
            if !taken.contains(&path) && !names.contains(name.as_str()) {
                add(kind, name, relative);
            }
        }
    }
    let script = match &package.build {
        Some(OptionalFile::Flag(false)) => None,
        Some(OptionalFile::Path(path)) => Some(path.to_string_lossy().into_owned()),
        Some(OptionalFile::Flag(true)) | None => Some("build.rs".to_owned()),
    };
    if let Some(path) = script.filter(|p| exists(p)) {
        add(TargetKind::BuildScript, "build-script-build".to_owned(), &path);
    }
    out
}

/// `NAME.rs` and `NAME/main.rs` in a folder of the context.
fn discovered(sources: &Sources<'_>, folder: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for path in sources.in_dir(folder) {
        let rest = path.strip_prefix(folder).unwrap_or(path).trim_start_matches('/');
        let name = match rest.split_once('/') {
            None => rest.strip_suffix(".rs"),
            Some((name, "main.rs")) => Some(name),
            Some(_) => None,
        };
        if let Some(name) = name {
            out.push((name.to_owned(), path.to_owned()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::MemoryEntry;

    /// A context of these files; an ignore file is not among them.
    pub(crate) fn context(files: &[(&str, &str)]) -> ContextIndex {
        let mut dirs = BTreeSet::new();
        for (path, _) in files {
            for (at, _) in path.match_indices('/') {
                dirs.insert(&path[..at]);
            }
        }
        let dirs = dirs.into_iter().map(|d| MemoryEntry::dir(d, 0o755));
        let files = files.iter().map(|(path, text)| MemoryEntry::file(*path, 0o644, *text));
        ContextIndex::from_memory(dirs.chain(files).collect(), None).expect("a context")
    }

    fn package(name: &str) -> String {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
    }

    /// `name kind path` of every target.
    fn shown(space: &Workspace) -> Vec<String> {
        let targets = space.packages.iter().flat_map(|p| p.targets.iter().map(move |t| (p, t)));
        targets.map(|(p, t)| format!("{} {} {} {}", p.name, t.kind.name(), t.name, t.path)).collect()
    }

    #[test]
    fn targets_are_found_as_cargo_finds_them() {
        let manifest = format!(
            "{}[[bin]]\nname = \"tool\"\npath = \"cmd/tool.rs\"\n[[bin]]\nname = \"app\"\n[lib]\nname = \"core\"\n",
            package("app")
        );
        let files = [
            ("Cargo.toml", manifest.as_str()),
            ("build.rs", ""),
            ("cmd/tool.rs", ""),
            ("src/main.rs", ""),
            ("src/lib.rs", ""),
            ("src/bin/one.rs", ""),
            ("src/bin/two/main.rs", ""),
            ("src/bin/two/other.rs", ""),
            ("examples/e.rs", ""),
            ("tests/t.rs", ""),
        ];
        let space = Workspace::read(&Sources::new(&context(&files)), "").unwrap();
        assert_eq!(
            shown(&space),
            [
                "app library core src/lib.rs",
                "app binary tool cmd/tool.rs",
                "app binary app src/main.rs",
                "app binary one src/bin/one.rs",
                "app binary two src/bin/two/main.rs",
                "app example e examples/e.rs",
                "app test t tests/t.rs",
                "app build script build-script-build build.rs",
            ]
        );
    }

    #[test]
    fn switched_off_discovery_leaves_what_is_listed() {
        let manifest = "[package]\nname = \"a\"\nversion = \"0.1.0\"\nautobins = false\nbuild = false\n[[bin]]\nname = \"x\"\npath = \"x.rs\"\n";
        let files = [("Cargo.toml", manifest), ("x.rs", ""), ("build.rs", ""), ("src/main.rs", "")];
        assert_eq!(
            shown(&Workspace::read(&Sources::new(&context(&files)), "").unwrap()),
            ["a binary x x.rs"]
        );
    }

    #[test]
    fn members_come_from_lists_patterns_and_path_dependencies() {
        let core = package("core");
        let app = format!(
            "{}[dependencies]\ncore.workspace = true\nhidden = {{ path = \"../../lib/hidden\" }}\n",
            package("app")
        );
        let build = format!(
            "{}[build-dependencies]\ncore = {{ path = \"../core\", package = \"core\" }}\n",
            package("gen")
        );
        let hidden = package("hidden");
        let old = package("old");
        let files = [
            (
                "ws/Cargo.toml",
                "[workspace]\nmembers = [\"crates/*\", \"gone\"]\nexclude = [\"crates/old\"]\ndefault-members = [\"crates/app\"]\n[workspace.dependencies]\ncore = { path = \"crates/core\" }\n[profile.dist]\ninherits = \"release\"\n",
            ),
            ("ws/Cargo.lock", ""),
            ("ws/crates/core/Cargo.toml", core.as_str()),
            ("ws/crates/core/src/lib.rs", ""),
            ("ws/crates/app/Cargo.toml", app.as_str()),
            ("ws/crates/app/src/main.rs", ""),
            ("ws/crates/gen/Cargo.toml", build.as_str()),
            ("ws/crates/gen/src/main.rs", ""),
            ("ws/crates/old/Cargo.toml", old.as_str()),
            ("ws/crates/broken/Cargo.toml", "[package"),
            ("ws/lib/hidden/Cargo.toml", hidden.as_str()),
        ];
        let context = context(&files);
        let context = Sources::new(&context);
        let space = Workspace::containing(&context, "ws/crates/app").unwrap();
        let packages: Vec<_> = space.packages.iter().map(|p| (p.name.as_str(), p.member)).collect();
        assert_eq!(packages, [("app", true), ("core", true), ("gen", true), ("hidden", true)]);
        assert_eq!(space.packages[0].dependencies, [1, 3]);
        assert_eq!(space.packages[2].build_dependencies, [1]);
        assert_eq!(space.default_members, [0]);
        assert_eq!(space.closure(&[2]), [1, 2]);
        assert!(space.has_lock && space.is_virtual);
        assert_eq!(space.profiles, ["dist"]);
        let notes: Vec<&str> = space.notes.iter().map(|n| n.path.as_str()).collect();
        assert_eq!(notes, ["ws/crates/broken/Cargo.toml", "ws/gone/Cargo.toml"]);
        assert_eq!(Workspace::containing(&context, "ws/crates/old").unwrap().root, "ws/crates/old");
        assert!(Workspace::containing(&context, "ws/crates/broken").is_none());
    }

    #[test]
    fn member_patterns_stay_in_their_component() {
        assert!(matches_dir("a/*", "a/b") && !matches_dir("a/*", "a/b/c"));
        assert!(matches_dir("a/**", "a/b/c") && matches_dir("**/c", "a/b/c"));
    }
}
