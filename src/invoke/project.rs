//! All files of a tree that say how images are built, read together: workflows use each other, steps run bake and
//! compose files.

use super::bake::{self, Bake};
use super::call::{
    BuildFile, Call, Deed, Deeds, FileKind, Job, Lifetime, Source, Starter, Text, Value, identity, join,
};
use super::command::{self, BakeOrder, ComposeOrder, Order};
use super::compose;
use super::script::{self, Surroundings};
use super::yaml::{self, Node};
use super::{gitlab, make, workflow};
use crate::source::{SourceFile, Span, shown};
use crate::syntax::{self, Document, LogicalText};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Builds of one tree; a tree with more is not looked at further.
const MAX_CALLS: usize = 20_000;
/// Executions of jobs.
const MAX_JOBS: usize = 20_000;
/// Longer files are nothing that a person maintains, bytes.
const LONGEST: u64 = 1 << 20;

/// What the files of a tree say about builds.
#[derive(Debug, Default)]
pub struct Project {
    /// The files, in the order in which they were read.
    pub files: Vec<BuildFile>,
    /// The builds.
    pub calls: Vec<Call>,
    /// The executions of jobs.
    pub jobs: Vec<Job>,
    /// Names of stages that other files (documentation, build tools, other CI systems) give as `--target`, in lower
    /// case.
    pub mentioned: BTreeSet<String>,
    /// The Dockerfiles of builds that export a cache, parsed; by their paths, absolute and clean.
    dockerfiles: HashMap<PathBuf, Document>,
}

/// What sort of file a path is by its name, if it may say how images are built.
pub fn kind_of(path: &Path) -> Option<FileKind> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent();
    let parent = |n: usize| path.ancestors().nth(n).and_then(|p| p.file_name()).and_then(|p| p.to_str());
    let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
    if yaml && parent(1) == Some("workflows") && matches!(parent(2), Some(".github" | ".gitea" | ".forgejo"))
    {
        return Some(FileKind::Workflow);
    }
    if matches!(name, "action.yml" | "action.yaml") {
        return Some(FileKind::Action);
    }
    if matches!(name, ".gitlab-ci.yml" | ".gitlab-ci.yaml") {
        return Some(FileKind::Gitlab);
    }
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if (name.ends_with(".hcl") || name.ends_with(".json"))
        && (stem.contains("docker-bake")
            || stem == "bake"
            || stem.ends_with(".bake")
            || stem.starts_with("bake."))
    {
        return Some(FileKind::Bake);
    }
    if yaml {
        let compose = ["docker-compose", "compose"].iter().any(|word| {
            stem == *word || stem.strip_prefix(word).is_some_and(|rest| rest.starts_with(['.', '-', '_']))
        });
        if compose {
            return Some(FileKind::Compose);
        }
        let devcontainer = folder.and_then(Path::file_name).is_some_and(|f| f == ".devcontainer");
        if devcontainer && stem.contains("compose") {
            return Some(FileKind::Compose);
        }
    }
    match name {
        "Makefile" | "makefile" | "GNUmakefile" => Some(FileKind::Makefile),
        "justfile" | "Justfile" | ".justfile" => Some(FileKind::Justfile),
        _ if name.ends_with(".mk") => Some(FileKind::Makefile),
        _ if name.ends_with(".just") => Some(FileKind::Justfile),
        _ if name.ends_with(".sh") || name.ends_with(".bash") => Some(FileKind::Script),
        _ => None,
    }
}

/// What sort of file it is by its content, where the name does not tell.
pub fn kind_inside(path: &Path) -> Option<FileKind> {
    let name = path.file_name()?.to_str()?;
    if may_mention(path) {
        return None;
    }
    if name.ends_with(".hcl") {
        return Some(FileKind::Bake);
    }
    if !name.ends_with(".yml") && !name.ends_with(".yaml") {
        return None;
    }
    let documents = yaml::parse(&read_file(path)?.bytes).ok()?;
    let root = documents.first()?;
    let has = |key: &str| root.get(key).is_some_and(|n| n.is_map());
    if has("services") {
        Some(FileKind::Compose)
    } else if has("jobs") && root.get("on").is_some() {
        Some(FileKind::Workflow)
    } else if root.entries().iter().any(|(_, _, job)| job.get("script").is_some()) {
        Some(FileKind::Gitlab)
    } else {
        None
    }
}

/// Whether a file may name stages to build, without being understood otherwise.
pub fn may_mention(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return false };
    let lower = name.to_ascii_lowercase();
    let starts = [
        "jenkinsfile",
        "taskfile",
        "readme",
        "contributing",
        "azure-pipelines",
        "cloudbuild",
        "skaffold",
        "buildspec",
        "tiltfile",
        "earthfile",
        ".drone",
        ".travis",
        "bitbucket-pipelines",
        "appveyor",
        "tox.ini",
        "noxfile",
        "magefile",
        "rakefile",
        "tasks.py",
        "pyproject.toml",
        "package.json",
        "devcontainer.json",
        ".woodpecker",
        "dagger",
    ];
    starts.iter().any(|s| lower.starts_with(s))
        || path.components().any(|c| {
            matches!(
                c.as_os_str().to_str(),
                Some(".circleci" | ".buildkite" | ".woodpecker" | ".azure-pipelines" | ".tekton")
            )
        })
}

impl Project {
    /// Reads files; the others of a tree that are not build files are ignored. What does not parse or cannot be read
    /// says nothing.
    pub fn read(paths: &[PathBuf]) -> Self {
        let mut reader = Reader::default();
        let kind = |path: &PathBuf| kind_of(path).or_else(|| kind_inside(path));
        let mut own: Vec<(FileKind, PathBuf)> =
            paths.iter().filter_map(|path| Some((kind(path)?, path.clone()))).collect();
        own.sort();
        own.dedup();
        let mut opened: Vec<(FileKind, usize)> = Vec::new();
        for (kind, path) in &own {
            // An action is read where it is used.
            if *kind != FileKind::Action
                && let Some(file) = reader.open(path, *kind, &root_of(path, *kind))
            {
                opened.push((*kind, file));
            }
        }
        reader.bake_files(&opened);
        reader.compose_files(&opened);
        let called = reader.called_workflows(&opened);
        for (kind, file) in opened {
            if reader.is_full() {
                break;
            }
            match kind {
                FileKind::Workflow if called.contains(&file) => {}
                FileKind::Workflow => workflow::read(&mut reader, file),
                FileKind::Gitlab => gitlab::read(&mut reader, file),
                FileKind::Makefile => make::read(&mut reader, file, false),
                FileKind::Justfile => make::read(&mut reader, file, true),
                FileKind::Script => reader.script(file),
                FileKind::Bake | FileKind::Compose | FileKind::Action => {}
            }
        }
        // Actions that no workflow uses.
        for (kind, path) in &own {
            if *kind == FileKind::Action && !reader.by_path.contains_key(&identity(path)) {
                // They lie anywhere; what they build is said from the root of the repository.
                let root = path.ancestors().find(|dir| dir.ends_with(".github")).and_then(Path::parent);
                let root = root.map_or_else(|| root_of(path, *kind), below_or_here);
                if let Some(file) = reader.open(path, *kind, &root) {
                    workflow::read_action(&mut reader, file);
                }
            }
        }
        for path in paths.iter().filter(|p| kind_of(p).is_none() && may_mention(p)) {
            if let Some(source) = read_file(path) {
                mentions(&source.bytes, &mut reader.project.mentioned);
            }
        }
        let mut project = reader.project;
        let exporting = project.calls.iter().filter(|call| !call.cache_to.is_empty());
        let paths: BTreeSet<PathBuf> =
            exporting.filter_map(|call| Some(identity(&project.dockerfile_of(call)?))).collect();
        for path in paths {
            if let Some(source) = read_file(&path) {
                project.dockerfiles.insert(path, syntax::parse(&source.bytes));
            }
        }
        project
    }

    /// The Dockerfile of a build that exports a cache, parsed, if it can be read.
    pub fn document_of(&self, call: &Call) -> Option<&Document> {
        self.dockerfiles.get(&identity(&self.dockerfile_of(call)?))
    }

    /// The builds of a Dockerfile.
    pub fn calls_of(&self, dockerfile: &Path) -> Vec<&Call> {
        let wanted = identity(dockerfile);
        self.calls
            .iter()
            .filter(|call| self.dockerfile_of(call).is_some_and(|path| identity(&path) == wanted))
            .collect()
    }

    /// The Dockerfile of a build, if it is known.
    pub fn dockerfile_of(&self, call: &Call) -> Option<PathBuf> {
        self.root_file(call)?.dockerfile_of(call)
    }

    /// The context of a build, if it is a known directory.
    pub fn context_of(&self, call: &Call) -> Option<PathBuf> {
        self.root_file(call)?.context_of(call)
    }

    /// The build as if it were typed; see [`BuildFile::invocation`].
    pub fn invocation(&self, call: &Call) -> Option<super::Invocation> {
        self.root_file(call)?.invocation(call)
    }

    /// The file whose root the paths of a build are relative to.
    fn root_file(&self, call: &Call) -> Option<&BuildFile> {
        self.files.get(call.file)
    }

    /// The file that says a build.
    pub fn file_of(&self, call: &Call) -> Option<&BuildFile> {
        self.files.get(call.file)
    }

    /// The job that a build runs in.
    pub fn job_of(&self, call: &Call) -> Option<&Job> {
        self.jobs.get(call.job?)
    }
}

/// The directory that the paths in a file are relative to.
fn root_of(path: &Path, kind: FileKind) -> PathBuf {
    let up = match kind {
        FileKind::Workflow => 3,
        _ => 1,
    };
    below_or_here(path.ancestors().nth(up).unwrap_or(Path::new(".")))
}

/// A directory whose empty name is the working directory.
fn below_or_here(root: &Path) -> PathBuf {
    if root.as_os_str().is_empty() { PathBuf::from(".") } else { root.to_path_buf() }
}

fn read_file(path: &Path) -> Option<SourceFile> {
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > LONGEST {
        return None;
    }
    SourceFile::read(path, shown(path)).ok()
}

/// Collects the stages that a text gives as `--target` or `target:`.
fn mentions(bytes: &[u8], out: &mut BTreeSet<String>) {
    let text = String::from_utf8_lossy(bytes);
    for word in ["--target", "target:", "\"target\":", "target ="] {
        for (at, _) in text.match_indices(word) {
            let rest = text.get(at + word.len()..).unwrap_or_default();
            let rest = rest.trim_start_matches(['=', ' ', '"', '\'', '\t', ',', '[']);
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
                .take(100)
                .collect();
            if !name.is_empty() {
                out.insert(name.to_lowercase());
            }
        }
    }
}

/// Reads files that refer to each other.
#[derive(Default)]
pub(super) struct Reader {
    project: Project,
    by_path: HashMap<PathBuf, usize>,
    documents: Vec<Option<Vec<Arc<Node>>>>,
}

impl Reader {
    /// Whether there is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.project.calls.len() >= MAX_CALLS || self.project.jobs.len() >= MAX_JOBS
    }

    /// Reads a file once.
    fn open(&mut self, path: &Path, kind: FileKind, root: &Path) -> Option<usize> {
        let key = identity(path);
        if let Some(known) = self.by_path.get(&key) {
            return Some(*known);
        }
        let source = read_file(path)?;
        // Only files that build something are of interest.
        let words: &[&[u8]] = match kind {
            FileKind::Workflow | FileKind::Action => &[
                b"docker",
                b"podman",
                b"buildah",
                b"depot",
                b"uses: ./",
                b"build-push-action",
                b"make ",
                b"bake",
            ],
            FileKind::Gitlab => &[b"docker", b"podman", b"buildah", b"kaniko", b"include", b"depot"],
            FileKind::Compose => &[b"build"],
            FileKind::Bake => &[b"target"],
            FileKind::Makefile | FileKind::Justfile | FileKind::Script => {
                &[b"docker", b"podman", b"buildah", b"nerdctl", b"DOCKER", b"depot"]
            }
        };
        if !words.iter().any(|w| make::memchr_find(&source.bytes, w)) {
            return None;
        }
        let number = self.project.files.len();
        let root = root.to_path_buf();
        self.project.files.push(BuildFile { kind, source: Arc::new(source), root, problem: None });
        self.documents.push(None);
        self.by_path.insert(key, number);
        Some(number)
    }

    pub(super) fn source(&self, file: usize) -> Arc<SourceFile> {
        match self.project.files.get(file) {
            Some(file) => file.source.clone(),
            None => Arc::new(SourceFile::from_bytes("", Vec::new())),
        }
    }

    /// The documents of a YAML file; `None` if it does not parse.
    pub(super) fn yaml(&mut self, file: usize) -> Option<Vec<Arc<Node>>> {
        if let Some(known) = self.documents.get(file)?.clone() {
            return Some(known);
        }
        let held = self.project.files.get_mut(file)?;
        if held.problem.is_some() {
            return None;
        }
        match yaml::parse(&held.source.bytes) {
            Ok(documents) => {
                if let Some(slot) = self.documents.get_mut(file) {
                    *slot = Some(documents.clone());
                }
                Some(documents)
            }
            Err(error) => {
                held.problem = Some((error.span, error.message));
                None
            }
        }
    }

    fn root(&self, file: usize) -> PathBuf {
        self.project.files.get(file).map_or_else(|| PathBuf::from("."), |f| f.root.clone())
    }

    /// A file beside others, by its path from the root of one of them.
    fn beside(&mut self, file: usize, path: &str, kind: FileKind) -> Option<usize> {
        if path.contains("..") || path.starts_with('/') {
            return None;
        }
        let root = self.root(file);
        self.open(&super::call::below(&root, path), kind, &root)
    }

    pub(super) fn workflow_at(&mut self, file: usize, path: &str) -> Option<usize> {
        self.beside(file, path, FileKind::Workflow)
    }

    pub(super) fn gitlab_at(&mut self, file: usize, path: &str) -> Option<usize> {
        self.beside(file, path, FileKind::Gitlab)
    }

    /// The composite action in a folder.
    pub(super) fn action_at(&mut self, file: usize, path: &str) -> Option<usize> {
        ["action.yml", "action.yaml"]
            .iter()
            .find_map(|name| self.beside(file, &join(path, name), FileKind::Action))
    }

    /// Workflows that only run because one of the others uses them.
    fn called_workflows(&mut self, opened: &[(FileKind, usize)]) -> Vec<usize> {
        let mut called = Vec::new();
        let workflows: Vec<usize> =
            opened.iter().filter(|(kind, _)| *kind == FileKind::Workflow).map(|(_, file)| *file).collect();
        for file in workflows {
            let Some(root) = self.yaml(file).and_then(|d| d.first().cloned()) else { continue };
            for path in workflow::used(&root) {
                let Some(callee) = self.workflow_at(file, &path) else { continue };
                let only = self
                    .yaml(callee)
                    .and_then(|d| d.first().cloned())
                    .is_some_and(|r| workflow::is_only_called(&r));
                if only && callee != file {
                    called.push(callee);
                }
            }
        }
        called
    }

    pub(super) fn job(&mut self, job: Job) -> usize {
        self.project.jobs.push(job);
        self.project.jobs.len() - 1
    }

    pub(super) fn machine(&self, job: usize) -> Lifetime {
        self.project.jobs.get(job).map_or(Lifetime::Unknown, |j| j.machine.0)
    }

    pub(super) fn set_builder(&mut self, job: usize, lifetime: Lifetime, span: Span) {
        if let Some(job) = self.project.jobs.get_mut(job) {
            job.builder = Some((lifetime, span));
        }
    }

    pub(super) fn keep_mounts(&mut self, job: usize) {
        if let Some(job) = self.project.jobs.get_mut(job) {
            job.keeps_mounts = true;
        }
    }

    /// Adds a build that a job runs.
    pub(super) fn build(&mut self, mut call: Call, job: usize) {
        if self.is_full() {
            return;
        }
        call.job = Some(job);
        self.project.calls.push(call);
        let number = self.project.calls.len() - 1;
        if let Some(job) = self.project.jobs.get_mut(job) {
            job.deeds.push(Deed::Build(number));
        }
    }

    /// Notes commands that a job runs, without the builds among them.
    pub(super) fn note(&mut self, deeds: Vec<Deeds>, job: usize) {
        if let Some(job) = self.project.jobs.get_mut(job) {
            job.deeds.extend(deeds.into_iter().map(Deed::Command));
        }
    }

    /// Notes commands that a job runs and the builds among them.
    pub(super) fn follow(&mut self, deeds: Vec<Deeds>, job: usize, change: impl Fn(&mut Call)) {
        for deed in deeds {
            let order = command::read(&deed);
            let file = deed.file;
            self.note(vec![deed], job);
            match order {
                Some(Order::Build(mut call)) => {
                    change(&mut call);
                    self.build(*call, job);
                }
                Some(Order::Bake(order)) => self.bake(&order, file, Some(job), &change),
                Some(Order::Compose(order)) => self.compose(&order, file, job, &change),
                Some(Order::Builder { lasting, span }) => {
                    let lifetime = if lasting { Lifetime::Lasting } else { Lifetime::Run };
                    self.set_builder(job, lifetime, span);
                }
                None => {}
            }
        }
    }

    /// Adds the builds of an order for bake. One whose targets cannot be told is a build of which nothing is known.
    pub(super) fn bake(
        &mut self,
        order: &BakeOrder,
        file: usize,
        job: Option<usize>,
        change: impl Fn(&mut Call),
    ) {
        let mut calls = self.baked(order, file).unwrap_or_default();
        if calls.is_empty() {
            let names: Vec<&str> = order.targets.iter().map(Text::written).collect();
            let name = if names.is_empty() { "default".to_owned() } else { names.join(" ") };
            let mut call = Call::new(Starter::Bake(name), file, order.span, order.head);
            call.open = true;
            bake::apply_to_any(&mut call, order);
            calls.push(call);
        }
        for mut call in calls {
            change(&mut call);
            match job {
                Some(job) => self.build(call, job),
                None if !self.is_full() => self.project.calls.push(call),
                None => {}
            }
        }
    }

    /// The builds of an order for bake, as said by the file that gives the order.
    fn baked(&mut self, order: &BakeOrder, file: usize) -> Option<Vec<Call>> {
        let folder = order.folder.clone()?;
        let root = self.root(file);
        let named: Option<Vec<String>> =
            order.files.iter().map(|f| f.known().map(|k| join(&folder, k))).collect();
        let mut paths = named?;
        if paths.is_empty() {
            let usual = [
                "compose.yaml",
                "compose.yml",
                "docker-compose.yml",
                "docker-compose.yaml",
                "docker-bake.json",
                "docker-bake.hcl",
                "docker-bake.override.json",
                "docker-bake.override.hcl",
            ];
            paths = usual
                .iter()
                .map(|n| join(&folder, n))
                .filter(|p| super::call::below(&root, p).is_file())
                .collect();
        }
        let mut bake = Bake::default();
        let mut composed = Vec::new();
        for path in &paths {
            let full = super::call::below(&root, path);
            let kind = if path.ends_with(".yml") || path.ends_with(".yaml") {
                FileKind::Compose
            } else {
                FileKind::Bake
            };
            // Its paths are relative to where the command runs.
            let Some(number) = self.open(&full, kind, &root_of(&full, kind)) else { continue };
            if kind == FileKind::Compose {
                composed.extend(self.compose_file(number, &folder));
                continue;
            }
            let source = self.source(number);
            let environment = |name: &str| {
                order.variables.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone())
            };
            if let Err(problem) = bake.add(number, &source, &environment)
                && let Some(held) = self.project.files.get_mut(number)
            {
                held.problem = Some(problem);
            }
        }
        let mut calls = bake::calls(&bake, order);
        if !composed.is_empty() {
            let wanted: Vec<String> =
                order.targets.iter().filter_map(|t| t.known().map(str::to_owned)).collect();
            calls.extend(self.services(&composed, &root, &order.variables).into_iter().filter(|c| {
                wanted.is_empty() || matches!(&c.starter, Starter::Service(name) if wanted.contains(name))
            }));
        }
        let overridden = order.sets.iter().any(|s| s.written().contains(".cache-to"));
        for call in &mut calls {
            let at = (call.file, call.head);
            call.via = Some(at);
            call.cache_at = if overridden { (file, order.head) } else { at };
            (call.file, call.span, call.head) = (file, order.span, order.head);
        }
        Some(calls)
    }

    fn compose_file(&mut self, file: usize, folder: &str) -> Option<compose::File> {
        let root = self.yaml(file)?.first()?.clone();
        Some(compose::File { file, folder: folder.to_owned(), root })
    }

    /// The builds of compose files whose paths are relative to a root.
    fn services(&mut self, files: &[compose::File], root: &Path, variables: &[(String, Value)]) -> Vec<Call> {
        let mut open = |path: &str| {
            let full = super::call::below(root, path);
            let file = self.open(&full, FileKind::Compose, &root_of(&full, FileKind::Compose))?;
            let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned();
            self.compose_file(file, &folder)
        };
        compose::calls(files, variables, &mut open)
    }

    fn compose(&mut self, order: &ComposeOrder, file: usize, job: usize, change: impl Fn(&mut Call)) {
        let Some(folder) = order.folder.clone() else { return };
        let root = self.root(file);
        let named: Option<Vec<String>> =
            order.files.iter().map(|f| f.known().map(|k| join(&folder, k))).collect();
        let Some(mut paths) = named else { return };
        if paths.is_empty() {
            let is_there = |path: &String| super::call::below(&root, path).is_file();
            let first = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"]
                .iter()
                .map(|n| join(&folder, n))
                .find(|p| is_there(p));
            let Some(first) = first else { return };
            let stem = first.rsplit_once('.').map_or("", |(stem, _)| stem).to_owned();
            let over = ["yml", "yaml"].iter().map(|e| format!("{stem}.override.{e}")).find(|p| is_there(p));
            paths = std::iter::once(first).chain(over).collect();
        }
        // Paths are relative to the folder of the first file.
        let base =
            paths.first().and_then(|p| p.rsplit_once('/')).map_or(".", |(folder, _)| folder).to_owned();
        let mut files = Vec::new();
        for path in &paths {
            let full = super::call::below(&root, path);
            if let Some(number) = self.open(&full, FileKind::Compose, &root_of(&full, FileKind::Compose)) {
                files.extend(self.compose_file(number, &base));
            }
        }
        let mut variables = self.environment(&super::call::below(&root, &base));
        variables.retain(|(name, _)| !name.is_empty());
        let wanted: Vec<&str> = order.services.iter().filter_map(Text::known).collect();
        for mut call in self.services(&files, &root, &variables) {
            let Starter::Service(name) = &call.starter else { continue };
            if !wanted.is_empty() && !wanted.contains(&name.as_str()) {
                continue;
            }
            call.args.extend(order.args.iter().cloned());
            call.open |= order.open;
            call.via = Some((call.file, call.head));
            call.cache_at = (call.file, call.head);
            call.file = file;
            call.span = order.span;
            call.head = order.head;
            change(&mut call);
            self.build(call, job);
        }
    }

    /// The variables of the `.env` file of a folder.
    fn environment(&self, folder: &Path) -> Vec<(String, Value)> {
        read_file(&folder.join(".env")).map(|file| compose::environment(&file.bytes)).unwrap_or_default()
    }

    /// The targets of bake files, as builds that nobody has started.
    fn bake_files(&mut self, opened: &[(FileKind, usize)]) {
        for (_, file) in opened.iter().filter(|(kind, _)| *kind == FileKind::Bake) {
            let mut bake = Bake::default();
            let source = self.source(*file);
            if let Err(problem) = bake.add(*file, &source, &|_| None) {
                if let Some(held) = self.project.files.get_mut(*file) {
                    held.problem = Some(problem);
                }
                continue;
            }
            // Paths are relative to where bake runs: beside the file, or at the root of the repository.
            let here = self.root(*file);
            let repository =
                here.ancestors().find(|dir| dir.join(".git").exists() || dir.join(".github").exists());
            let mut roots = vec![here.clone()];
            roots.extend(repository.map(Path::to_path_buf).filter(|r| *r != here));
            for name in bake.all() {
                let Some(target) = bake.resolve(&name) else { continue };
                let calls: Vec<(Call, PathBuf)> =
                    roots.iter().map(|root| (target.call(Some(".")), root.clone())).collect();
                let fits = |(call, root): &(Call, PathBuf)| {
                    let path = call.dockerfile.as_ref().and_then(Text::known);
                    path.is_some_and(|p| super::call::below(root, p).is_file())
                };
                let chosen = calls.iter().position(fits).unwrap_or(0);
                let Some((mut call, root)) = calls.into_iter().nth(chosen) else { continue };
                if root != here
                    && let Some(up) = steps_up(&here, &root)
                {
                    rebase(&mut call, &up);
                }
                if !self.is_full() {
                    self.project.calls.push(call);
                }
            }
        }
    }

    /// The services of compose files, as builds that nobody has started.
    fn compose_files(&mut self, opened: &[(FileKind, usize)]) {
        for (_, file) in opened.iter().filter(|(kind, _)| *kind == FileKind::Compose) {
            let root = self.root(*file);
            let variables = self.environment(&root);
            let Some(own) = self.compose_file(*file, ".") else { continue };
            let calls = self.services(&[own], &root, &variables);
            self.project.calls.extend(calls);
        }
    }

    /// A shell script: what it builds when somebody starts it at the root of the repository or beside it.
    fn script(&mut self, file: usize) {
        let source = self.source(file);
        let mut text = LogicalText::new();
        text.push(&source.bytes, 0);
        let span = Span::new(0, source.bytes.len());
        let job = self.job(Job {
            file,
            name: source.name.clone(),
            span,
            machine: (Lifetime::Lasting, span),
            builder: None,
            keeps_mounts: false,
            row: Vec::new(),
            open_matrix: false,
            deeds: Vec::new(),
        });
        let state = Surroundings { folder: Some(".".to_owned()), variables: Vec::new() };
        let (deeds, _) = script::commands(file, &source, &text, &state);
        self.follow(deeds, job, |_| {});
    }
}

/// `..` for each folder between a directory and one above it.
fn steps_up(from: &Path, to: &Path) -> Option<String> {
    let below = identity(from).strip_prefix(identity(to)).ok()?.components().count();
    Some(vec![".."; below].join("/"))
}

/// Moves the paths of a call to a folder relative to its root.
fn rebase(call: &mut Call, folder: &str) {
    if let Some(Source::Directory(text)) = &call.context {
        call.context = Some(Source::Directory(text.map(|t| join(folder, t))));
    }
    if let Some(text) = &call.dockerfile {
        call.dockerfile = Some(text.map(|t| join(folder, t)));
    }
}
