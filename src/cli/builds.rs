//! Which workflows, bake files, compose files, Makefiles and scripts a run of `check` looks at.

use crate::invoke::call::identity;
use crate::invoke::{Project, kind_inside, kind_of, may_mention};
use crate::source::{ReadError, files_below, is_dockerfile_name, shown};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files that say how images are built.
#[derive(Debug, Default)]
pub(super) struct BuildFiles {
    /// Below the directories that are searched.
    found: Vec<PathBuf>,
    /// Named on the command line.
    named: Vec<PathBuf>,
    /// Above what was asked for: they are believed, and not reported on for their own sake.
    around: BTreeSet<PathBuf>,
    /// Folders whose surroundings are known.
    looked: BTreeSet<PathBuf>,
}

impl BuildFiles {
    /// Searches a directory; the Dockerfiles in it, and what could not be read.
    pub(super) fn search(&mut self, dir: &Path) -> (Vec<PathBuf>, Vec<ReadError>) {
        let is_dockerfile = |path: &Path| path.file_name().is_some_and(is_dockerfile_name);
        let wanted = |path: &Path| is_dockerfile(path) || kind_of(path).is_some() || may_mention(path);
        let (files, errors) = files_below(dir, &wanted);
        let (dockerfiles, others): (Vec<PathBuf>, Vec<PathBuf>) =
            files.into_iter().partition(|path| is_dockerfile(path));
        self.found.extend(others);
        self.look_around(dir);
        (dockerfiles, errors)
    }

    /// Takes a file that is named, if it says how something is built.
    pub(super) fn name(&mut self, path: &Path) -> bool {
        let is_dockerfile = path.file_name().is_some_and(is_dockerfile_name);
        if is_dockerfile || (kind_of(path).is_none() && kind_inside(path).is_none()) {
            return false;
        }
        self.named.push(path.to_path_buf());
        self.look_around(path.parent().unwrap_or(Path::new(".")));
        true
    }

    /// Adds what lies in a folder and above it, up to the root of its repository.
    pub(super) fn look_around(&mut self, folder: &Path) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let here = identity(folder);
        let Some(root) = here.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_path_buf) else {
            return;
        };
        let above: Vec<PathBuf> =
            here.ancestors().take_while(|dir| dir.starts_with(&root)).map(Path::to_path_buf).collect();
        for dir in above {
            if self.looked.insert(dir.clone()) {
                self.around.extend(files_in(&dir));
            }
        }
        let github = root.join(".github");
        if self.looked.insert(github.clone()) {
            self.around.extend(files_in(&github.join("workflows")));
            let actions = std::fs::read_dir(github.join("actions")).into_iter().flatten().flatten();
            self.around.extend(actions.flat_map(|entry| files_in(&entry.path())));
        }
    }

    /// Reads them all.
    pub(super) fn read(&self) -> Project {
        let mut paths: Vec<PathBuf> = self.found.iter().chain(&self.named).cloned().collect();
        let mut seen: BTreeSet<PathBuf> = paths.iter().map(|p| identity(p)).collect();
        // The way to a file from here, so that it is shown as the user would type it.
        let here = std::env::current_dir().unwrap_or_default();
        for path in &self.around {
            if seen.insert(identity(path)) {
                paths.push(path.strip_prefix(&here).map_or_else(|_| path.clone(), Path::to_path_buf));
            }
        }
        Project::read(&paths)
    }

    /// Whether one is named.
    pub(super) fn is_named(&self) -> bool {
        !self.named.is_empty()
    }

    /// Whether the file that is shown by this name is named.
    pub(super) fn names(&self, name: &str) -> bool {
        self.named.iter().any(|path| shown(path) == name)
    }

    /// The files that were asked for and start builds, by the way to them.
    pub(super) fn asked<'p>(&self, project: &'p Project) -> Vec<&'p Path> {
        let asked: BTreeSet<PathBuf> = self.found.iter().chain(&self.named).map(|p| identity(p)).collect();
        let mut used = vec![false; project.files.len()];
        for file in project.calls.iter().flat_map(|call| [Some(call.file), call.via.map(|(file, _)| file)]) {
            if let Some(slot) = file.and_then(|file| used.get_mut(file)) {
                *slot = true;
            }
        }
        let files = project
            .files
            .iter()
            .zip(used)
            .filter(|(_, used)| *used)
            .map(|(file, _)| file.source.path.as_path());
        files.filter(|path| asked.contains(&identity(path))).collect()
    }

    /// The Dockerfiles that the named files build and that nobody named.
    pub(super) fn dockerfiles(&self, project: &Project, known: &[PathBuf]) -> Vec<PathBuf> {
        let known: BTreeSet<PathBuf> = known.iter().map(|p| identity(p)).collect();
        let mut out: Vec<PathBuf> = Vec::new();
        for call in &project.calls {
            let files = [Some(call.file), call.via.map(|(file, _)| file)];
            let named = files
                .into_iter()
                .flatten()
                .filter_map(|file| project.files.get(file))
                .any(|file| self.names(&file.source.name));
            let Some(path) = project.dockerfile_of(call).filter(|_| named) else { continue };
            let new =
                !known.contains(&identity(&path)) && !out.iter().any(|o| identity(o) == identity(&path));
            if new && path.is_file() {
                out.push(path);
            }
        }
        out
    }
}

/// Build files directly in a folder.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| (kind_of(path).is_some() || may_mention(path)) && path.is_file()).collect();
    paths.sort();
    paths
}
