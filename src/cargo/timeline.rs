//! Which crates a build takes for fresh although other sources were compiled before.
//!
//! Every source file that can be the root of a crate is followed through the steps of a stage: what it holds, and
//! whether its time is that of the build context or of a step. Every compilation remembers what the roots held. A
//! later one with the same target directory, profile, target and flags compiles a crate anew only if its root has a
//! time after the one before, if something removed its artefacts, or if a crate that it needs is compiled anew.
//! So says cargo's fingerprint of a unit (`cargo::core::compiler::fingerprint`), and so it was tried with cargo 1.95.

use super::command::{CargoCommand, Mode, Verb};
use super::find::{Find, FindAction};
use super::workspace::{Sources, TargetKind, Workspace};
use crate::build::mapping::{Covers, Mapping, covers};
use crate::build::model::{Action, BuildModel, Copy, CopySource, MountKind, Run, Step, is_below};
use crate::build::process::{PathValue, Process, processes};
use crate::context::path::{clean_str, has_wildcard, path_match};
use crate::source::Span;
use crate::stage::Base;
use crate::syntax::shell::Connector;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Files times steps that are looked at; stages behind that are left alone.
const MAX_EFFORT: usize = 20_000_000;

/// What the stages of a Dockerfile do with cargo.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Builds that take the result of other sources for that of the real ones, which are in the layers.
    pub stale: Vec<StaleBuild>,
    /// Builds into a cache mount that may take what an earlier build left there for the result of these sources.
    pub mounted: Vec<MountedBuild>,
}

/// A crate in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crate {
    /// Name of the package, if its manifest is known.
    pub package: Option<String>,
    /// What it is.
    pub kind: TargetKind,
    /// Name of the target, if its manifest is known.
    pub name: Option<String>,
    /// Root source file in the image, absolute.
    pub root: String,
    /// Root source file as seen from where cargo runs.
    pub shown: String,
}

impl Crate {
    /// For people: `the binary of \`svc\``, or the file where names are not known.
    pub fn title(&self) -> String {
        match (&self.package, &self.name) {
            (Some(package), Some(name))
                if self.kind == TargetKind::Bin && name != package
                    || matches!(self.kind, TargetKind::Example) =>
            {
                format!("the {} `{name}` of `{package}`", self.kind.name())
            }
            (Some(package), _) => format!("the {} of `{package}`", self.kind.name()),
            _ => format!("`{}`", self.shown),
        }
    }
}

/// A command line that compiles.
#[derive(Clone, Debug)]
pub struct Build {
    /// The command.
    pub span: Span,
    /// The instruction.
    pub instruction: Span,
    /// The stage.
    pub stage: usize,
    /// The directory it runs in.
    pub cwd: String,
    /// Read from its words.
    pub command: CargoCommand,
    /// The target directory in the image.
    pub target_dir: String,
    /// Sources are in a bind mount, where nothing can be touched.
    pub read_only: bool,
}

/// A build that takes other sources' results for fresh.
#[derive(Clone, Debug)]
pub struct StaleBuild {
    /// The compilation before.
    pub first: Span,
    /// Where the sources of that compilation were written.
    pub written: Vec<Span>,
    /// The instructions that bring the real sources.
    pub copies: Vec<Span>,
    /// The build.
    pub build: Build,
    /// Crates that stay as they were compiled before.
    pub stale: Vec<Crate>,
    /// Crates that something makes cargo compile again.
    pub cured: Vec<Crate>,
    /// Crates that are compiled again because of one that they need.
    pub rescued: Vec<Crate>,
    /// What looks like a cure and is none.
    pub attempts: Vec<Attempt>,
    /// Whether the crates are known from manifests.
    pub exact: bool,
}

/// Something that looks like a cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The command.
    pub span: Span,
    /// Why it does not help, in a clause.
    pub reason: String,
}

/// A build into a cache mount.
#[derive(Clone, Debug)]
pub struct MountedBuild {
    /// The build.
    pub build: Build,
    /// The flag of the mount.
    pub mount: Span,
    /// Target of the mount in the image.
    pub mount_path: String,
    /// The instructions that bring the sources.
    pub copies: Vec<Span>,
    /// Crates that may be taken for fresh; empty where manifests are not known.
    pub stale: Vec<Crate>,
    /// Crates that something makes cargo compile again.
    pub cured: Vec<Crate>,
    /// What looks like a cure and is none.
    pub attempts: Vec<Attempt>,
}

/// Follows all stages. `sources` are the files of the build context, if it could be walked.
pub fn follow(model: &BuildModel<'_>, sources: Option<&Sources<'_>>) -> Timeline {
    let mut follower = Follower {
        sources: sources.filter(|s| brings_manifests(model, s)),
        roots: Vec::new(),
        workspaces: HashMap::new(),
        clock: 0,
        effort: 0,
        ends: Vec::new(),
        out: Timeline::default(),
    };
    if !mentions_cargo(model) {
        return follower.out;
    }
    if let Some(sources) = follower.sources {
        let mut roots: Vec<String> = sources.settings().map(str::to_owned).collect();
        for dir in sources.manifest_dirs() {
            roots.extend(sources.targets_in(dir).into_iter().map(|t| t.path));
        }
        roots.sort();
        roots.dedup();
        follower.roots = roots;
    }
    for (index, stage) in model.stages.iter().enumerate() {
        let parent = model.graph.stages.get(index).and_then(crate::stage::Stage::parent);
        let mut state = parent.and_then(|p| follower.ends.get(p).cloned()).unwrap_or_default();
        // Triggers of a base image have no place in this file.
        for step in stage.steps.iter().filter(|s| s.position.is_some()) {
            follower.step(&mut state, step);
            follower.effort += state.files.len() + follower.roots.len();
        }
        if follower.effort > MAX_EFFORT {
            break;
        }
        follower.ends.push(state);
    }
    follower.out
}

/// Whether some RUN may run cargo: most Dockerfiles have nothing to do with it.
pub fn mentions_cargo(model: &BuildModel<'_>) -> bool {
    model.steps().any(|s| match &s.action {
        Action::Run(run) => {
            let named = |text: &str| text.contains("cargo") || text.contains("cross");
            run.args.iter().any(|a| named(a)) || run.script_file.as_ref().is_some_and(|(_, text)| named(text))
        }
        _ => false,
    })
}

/// Whether some instruction brings a manifest of the context. If none does, it is not the context of this Dockerfile, and
/// tells nothing about the crates of the image.
fn brings_manifests(model: &BuildModel<'_>, sources: &Sources<'_>) -> bool {
    let manifests: Vec<String> =
        sources.manifest_dirs().map(|dir| clean_str(&format!("/{dir}/Cargo.toml"))).collect();
    let selects =
        |map: &Mapping, pattern: &str| manifests.iter().any(|m| map.destination(pattern, m).is_some());
    !manifests.is_empty()
        && model.steps().any(|step| match &step.action {
            Action::Copy(copy) if copy.from.is_none() => {
                let map = Mapping::of(copy);
                copy.paths().any(|(_, pattern)| selects(&map, &pattern))
            }
            Action::Run(run) => run.mounts.iter().filter(|m| m.is_context()).any(|m| {
                let map = Mapping::of_mount(&m.path);
                selects(&map, &clean_str(&format!("/{}", m.source)))
            }),
            _ => false,
        })
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Content {
    /// What a command wrote at that time.
    Written(u32),
    /// The file of the context.
    Context(Rc<str>),
    /// It cannot be told.
    Unknown,
    /// It is not there, but was.
    Removed,
}

/// The time of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// That of the context: on a cold build before anything that the build does.
    Context,
    /// When a command wrote or touched it.
    At(u32),
    /// It cannot be told.
    Unknown,
}

#[derive(Clone, Debug)]
struct File {
    content: Content,
    time: Time,
    /// What gave it its content, and when.
    writer: Span,
    written: u32,
}

/// What decides whether a compilation can use the result of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The target directory, or the place in a cache mount.
    dir: String,
    profile: String,
    targets: Vec<String>,
    driver: String,
    mode_is_build: bool,
    mode: u8,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    /// Root directory of the workspace in the image, and its manifest.
    project: String,
    manifest: Option<Content>,
}

#[derive(Clone, Debug)]
struct Record {
    key: Key,
    /// The first compilation.
    span: Span,
    /// By root source file.
    units: HashMap<String, Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    content: Content,
    at: u32,
    writer: Span,
    cleaned: bool,
    /// Of the package and the target, if they are known.
    names: Names,
    /// It was reported as stale.
    told: bool,
}

/// What files in the target directory are called after, as far as it is known.
#[derive(Clone, Debug)]
struct Names {
    package: Option<String>,
    target: Option<String>,
    kind: TargetKind,
}

#[derive(Clone, Debug)]
struct Note {
    at: u32,
    attempt: Attempt,
    /// The files or directory it is about.
    about: About,
}

#[derive(Clone, Debug)]
enum About {
    /// A touch of these.
    Touch(PathValue),
    /// Anything of this target directory.
    Target(String),
}

/// Context sources that were brought.
#[derive(Clone, Debug)]
struct Brought {
    at: u32,
    span: Span,
    dest: String,
}

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<String, File>,
    records: Vec<Record>,
    notes: Vec<Note>,
    brought: Vec<Brought>,
    /// When some Rust source was touched last, whichever.
    touched: u32,
}

struct Follower<'m> {
    /// Of a context that has manifests.
    sources: Option<&'m Sources<'m>>,
    /// Files of the context that are followed: roots of crates, manifests, settings.
    roots: Vec<String>,
    workspaces: HashMap<String, Option<Rc<Workspace>>>,
    clock: u32,
    /// Files looked at so far.
    effort: usize,
    /// States at the end of the stages before.
    ends: Vec<State>,
    out: Timeline,
}

/// A crate that a command compiles.
#[derive(Clone, Debug)]
struct Unit {
    root: String,
    package: Option<String>,
    name: Option<String>,
    kind: TargetKind,
    /// Directory of the package in the image.
    dir: String,
    /// Indices of units that it needs.
    needs: Vec<usize>,
}

/// Stands for the hash in the names of artefacts.
const HASH: &str = "0123456789abcdef";

impl Names {
    /// Files in `deps` without which cargo compiles the crate again, if they are known.
    fn artifacts(&self) -> Option<Vec<String>> {
        let name = self.target.as_ref().or(self.package.as_ref())?.replace('-', "_");
        Some(match self.kind {
            TargetKind::Lib => {
                ["rlib", "so", "a", "rmeta"].iter().map(|e| format!("lib{name}-{HASH}.{e}")).collect()
            }
            _ => vec![format!("{name}-{HASH}")],
        })
    }
}

impl Unit {
    fn names(&self) -> Names {
        Names { package: self.package.clone(), target: self.name.clone(), kind: self.kind }
    }
}

/// Cleaning that the current RUN did.
struct Clean {
    scope: Scope,
}

enum Scope {
    /// `cargo clean`
    Cargo { dir: String, profile: Option<String>, targets: Vec<String>, packages: Vec<String> },
    /// `rm`
    Removed(PathValue),
    /// `find -delete`, with what mounts of the step are called and where they are.
    Found(Box<Find>, Vec<(String, String)>),
}

impl Follower<'_> {
    fn tick(&mut self) -> u32 {
        self.clock += 1;
        self.clock
    }

    fn step(&mut self, state: &mut State, step: &Step<'_>) {
        match &step.action {
            Action::Copy(copy) => self.copy(state, copy, step.instruction.span),
            Action::Run(run) => self.run(state, run, step),
            _ => {}
        }
    }

    // Files that instructions bring.

    fn copy(&mut self, state: &mut State, copy: &Copy<'_>, span: Span) {
        let at = self.tick();
        for source in &copy.sources {
            match source {
                CopySource::Heredoc { name, .. } => {
                    let path = match copy.dest.ends_with('/') || copy.sources.len() > 1 {
                        true => clean_str(&format!("{}/{name}", copy.dest)),
                        false => clean_str(&copy.dest),
                    };
                    put(state, &path, Content::Written(at), Time::At(at), span, at);
                }
                CopySource::Remote { .. } => {
                    let dest = clean_str(&copy.dest);
                    for (_, file) in state.files.iter_mut().filter(|(path, _)| is_below(path, &dest)) {
                        (file.content, file.time) = (Content::Unknown, Time::Unknown);
                    }
                }
                CopySource::Path { .. } => {}
            }
        }
        match &copy.from {
            None => {
                let patterns: Vec<String> = copy.paths().map(|(_, p)| p).collect();
                let map = Mapping::of(copy);
                for pattern in &patterns {
                    self.bring(state, &map, pattern, span, at);
                }
            }
            Some(Base::Stage(from)) => {
                let map = Mapping::of(copy);
                for (_, pattern) in copy.paths() {
                    self.bring_from_stage(state, *from, &map, &pattern, span, at);
                }
            }
            Some(_) => {}
        }
    }

    /// Files of the context.
    fn bring(&mut self, state: &mut State, map: &Mapping, pattern: &str, span: Span, at: u32) {
        if self.sources.is_none() {
            guess(map, state, pattern, span, at);
            if brings_sources(pattern) {
                state.brought.push(Brought { at, span, dest: map.dest.clone() });
            }
            return;
        }
        let literal = pattern.trim_start_matches('/');
        let named = (literal.ends_with(".rs") && self.sources.is_some_and(|s| s.has(literal)))
            .then(|| literal.to_owned());
        let mut brought = false;
        for path in self.roots.iter().chain(named.iter()) {
            if let Some(dest) = map.destination(pattern, &format!("/{path}")) {
                brought |= path.ends_with(".rs");
                put(state, &dest, Content::Context(Rc::from(path.as_str())), Time::Context, span, at);
            }
        }
        if brought {
            state.brought.push(Brought { at, span, dest: map.dest.clone() });
        }
    }

    fn bring_from_stage(
        &mut self,
        state: &mut State,
        from: usize,
        map: &Mapping,
        pattern: &str,
        span: Span,
        at: u32,
    ) {
        let Some(end) = self.ends.get(from) else { return };
        let mut files = Vec::new();
        for (path, file) in end.files.iter().filter(|(_, f)| f.content != Content::Removed) {
            if let Some(dest) = map.destination(pattern, path) {
                let time = if file.time == Time::Context { Time::Context } else { Time::Unknown };
                files.push((dest, file.content.clone(), time));
            }
        }
        let mut records = Vec::new();
        for record in &end.records {
            let Some(dir) = map.destination(pattern, &record.key.dir) else { continue };
            let mut record = record.clone();
            let (old, new) =
                (record.key.project.clone(), dir.strip_suffix("/target").unwrap_or(&dir).to_owned());
            if record.key.dir == clean_str(&format!("{old}/target")) && dir.ends_with("/target") && old != new
            {
                let new = if new.is_empty() { "/".to_owned() } else { new };
                let moved = |path: &str| match path.strip_prefix(old.trim_end_matches('/')) {
                    Some(rest) => clean_str(&format!("{new}{rest}")),
                    None => path.to_owned(),
                };
                record.units = record.units.into_iter().map(|(path, unit)| (moved(&path), unit)).collect();
                record.key.project = new.clone();
            }
            record.key.dir = dir;
            records.push(record);
        }
        for (path, content, time) in files {
            put(state, &path, content, time, span, at);
        }
        state.records.extend(records);
    }

    // Commands.

    fn run(&mut self, state: &mut State, run: &Run<'_>, step: &Step<'_>) {
        let mut hidden: Vec<(String, File)> = Vec::new();
        let mut bound: Vec<String> = Vec::new();
        let mut read_only: Vec<String> = Vec::new();
        let known = state.brought.len();
        for mount in run.mounts.iter().filter(|m| m.kind == MountKind::Bind) {
            let at = self.tick();
            let below: Vec<String> =
                state.files.keys().filter(|path| is_below(path, &mount.path)).cloned().collect();
            for path in below {
                if let Some(file) = state.files.remove(&path) {
                    hidden.push((path, file));
                }
            }
            bound.push(mount.path.clone());
            if mount.read_only {
                read_only.push(mount.path.clone());
            }
            let map = Mapping::of_mount(&mount.path);
            let pattern = clean_str(&format!("/{}", mount.source));
            match &mount.from {
                None => self.bring(state, &map, &pattern, mount.flag.span, at),
                Some(Base::Stage(from)) => {
                    self.bring_from_stage(state, *from, &map, &pattern, mount.flag.span, at)
                }
                Some(_) => {}
            }
        }
        let mut session = Session { run, step, cleans: Vec::new(), read_only, start: self.clock };
        let processes = processes(run, &step.state);
        let mut before: Option<&Process<'_>> = None;
        for process in &processes {
            self.process(state, &mut session, process, before);
            before = Some(process);
        }
        // A bind mount and what was written into it is gone after the step.
        if !bound.is_empty() {
            state.files.retain(|path, _| !bound.iter().any(|mount| is_below(path, mount)));
            state.files.extend(hidden);
            state.brought.truncate(known);
        }
    }

    fn process(
        &mut self,
        state: &mut State,
        session: &mut Session<'_, '_>,
        process: &Process<'_>,
        before: Option<&Process<'_>>,
    ) {
        let at = self.tick();
        let span = process.command.span;
        for redirect in &process.command.redirects {
            if matches!(redirect.op.as_str(), ">" | ">>" | ">|" | "&>" | "&>>")
                && let Some(path) = process.path(&redirect.target)
            {
                write(state, &path.path, redirect.op.ends_with(">>"), span, at);
            }
        }
        let Some((program, words)) = process.program() else { return };
        let is_option = |text: &str| text.starts_with('-') && text.len() > 1;
        let operands = || words.iter().filter(|w| !is_option(&w.text));
        match program {
            "tee" => {
                let append = process.command.has_flag(&["-a", "--append"]);
                for path in operands().filter_map(|w| process.paths(w)).flatten() {
                    write(state, &path.path, append, span, at);
                }
            }
            "touch" => touch(state, process, before, at),
            "find" | "gfind" => {
                let Some(find) = Find::of(process) else {
                    // It is not known where it looks; whatever it touches or removes may be all.
                    if process.command.words.iter().any(|w| w.text == "touch") {
                        state.touch_all(at);
                    }
                    return;
                };
                match find.action {
                    FindAction::Touch => state.touch_where(at, |path| find.takes(path)),
                    FindAction::Delete => {
                        for (_, file) in state.files.iter_mut().filter(|(path, _)| find.takes(path)) {
                            file.content = Content::Removed;
                        }
                        let mounts = session.caches();
                        session.clean(state, Scope::Found(Box::new(find), mounts));
                    }
                    FindAction::Print | FindAction::Other => {}
                }
            }
            "rm" | "unlink" => {
                if process.is_fed() {
                    if let Some(find) = before.and_then(Find::of) {
                        let mounts = session.caches();
                        session.clean(state, Scope::Found(Box::new(find), mounts));
                    }
                    return;
                }
                let flags: String =
                    words.iter().filter(|w| is_option(&w.text)).map(|w| w.text.as_str()).collect();
                let recursive = flags.contains(['r', 'R']);
                for path in operands().filter_map(|w| process.paths(w)).flatten() {
                    for (_, file) in state.files.iter_mut().filter(|(p, _)| match covers(&path, p) {
                        Covers::Itself => true,
                        Covers::Above => recursive,
                        Covers::No => false,
                    }) {
                        file.content = Content::Removed;
                    }
                    session.note_binary(state, &path, span, at);
                    session.clean(state, Scope::Removed(path));
                }
            }
            "cp" | "install" | "ln" | "mv" | "rsync" => self.transfer(state, process, program, at),
            "sed" | "perl" | "awk" | "gawk" | "patch" | "truncate" | "dd" => {
                // They edit in place; what is edited has the time of the edit.
                for path in operands().filter_map(|w| process.paths(w)).flatten() {
                    for (_, file) in
                        state.files.iter_mut().filter(|(p, _)| covers(&path, p) == Covers::Itself)
                    {
                        file.time = Time::At(at);
                        if !matches!(file.content, Content::Removed) {
                            file.content = Content::Written(at);
                        }
                    }
                    if program == "truncate" && !path.glob {
                        write(state, &path.path, false, span, at);
                    }
                }
            }
            "git" | "tar" | "unzip" | "bsdtar" => {
                let fresh = words.iter().any(|w| {
                    matches!(
                        w.text.as_str(),
                        "clone" | "checkout" | "reset" | "pull" | "restore" | "apply" | "submodule"
                    )
                }) || program != "git";
                if let (true, Some(cwd)) = (fresh, &process.cwd) {
                    let to = process.command.flag_value(&["-C", "-d", "--directory"]);
                    let dir = to.map_or_else(
                        || cwd.to_string(),
                        |to| {
                            clean_str(&match to.starts_with('/') {
                                true => to.to_owned(),
                                false => format!("{cwd}/{to}"),
                            })
                        },
                    );
                    for (_, file) in state.files.iter_mut().filter(|(path, _)| is_below(path, &dir)) {
                        (file.content, file.time) = (Content::Unknown, Time::Unknown);
                    }
                }
            }
            _ => {
                if let Some(command) = CargoCommand::of(process) {
                    self.cargo(state, session, process, command, at);
                }
            }
        }
    }

    /// Copies of files inside the image.
    fn transfer(&mut self, state: &mut State, process: &Process<'_>, program: &str, at: u32) {
        let Some((_, words)) = process.program() else { return };
        let operands: Vec<&_> =
            words.iter().filter(|w| !(w.text.starts_with('-') && w.text.len() > 1)).collect();
        let span = process.command.span;
        let Some((last, sources)) = operands.split_last() else { return };
        let Some(dest) = process.path(last) else {
            // To an unknown place: everything may be new.
            state.touch_all(at);
            return;
        };
        if program == "mv" {
            for path in sources.iter().filter_map(|w| process.path(w)) {
                for (_, file) in state.files.iter_mut().filter(|(p, _)| covers(&path, p) != Covers::No) {
                    file.content = Content::Removed;
                }
            }
        }
        if dest.path.ends_with(".rs") || dest.path.ends_with("/Cargo.toml") {
            put(state, &dest.path, Content::Written(at), Time::At(at), span, at);
            return;
        }
        for (_, file) in state.files.iter_mut().filter(|(path, _)| is_below(path, &dest.path)) {
            (file.content, file.time) = (Content::Unknown, Time::Unknown);
        }
    }

    fn cargo(
        &mut self,
        state: &mut State,
        session: &mut Session<'_, '_>,
        process: &Process<'_>,
        command: CargoCommand,
        at: u32,
    ) {
        let span = process.command.span;
        match command.verb {
            Verb::New | Verb::Init => {
                let dir = match command.operands.first() {
                    Some(value) => process.absolute(value).map(|p| p.path),
                    None => process.cwd.as_ref().map(|c| c.to_string()),
                };
                let Some(dir) = dir else { return };
                let there = |state: &State, name: &str| {
                    let path = clean_str(&format!("{dir}/{name}"));
                    state.files.get(&path).is_some_and(|f| f.content != Content::Removed)
                };
                if command.verb == Verb::Init && there(state, "Cargo.toml") {
                    // Cargo refuses to.
                    return;
                }
                let manifest = clean_str(&format!("{dir}/Cargo.toml"));
                put(state, &manifest, Content::Written(at), Time::At(at), span, at);
                if command.verb == Verb::New || !(there(state, "src/main.rs") || there(state, "src/lib.rs")) {
                    let name = if command.lib { "src/lib.rs" } else { "src/main.rs" };
                    put(
                        state,
                        &clean_str(&format!("{dir}/{name}")),
                        Content::Written(at),
                        Time::At(at),
                        span,
                        at,
                    );
                }
            }
            Verb::Clean => {
                let Some(place) = self.project(state, process, &command) else { return };
                let dir = session.place(&target_dir(process, &command, &place.root));
                if !command.packages.is_empty() || command.profile_given {
                    let profile = (command.profile_given || !command.packages.is_empty())
                        .then(|| command.profile.clone());
                    let wrong = state.records.iter().any(|r| {
                        r.key.dir == dir && profile.as_deref().is_some_and(|p| !same_dir(p, &r.key.profile))
                    });
                    if wrong && !command.profile_given {
                        let reason = format!(
                            "cleans `{}`: without `--release` or `--profile` cargo removes nothing of another profile",
                            CargoCommand::profile_dir(&command.profile)
                        );
                        let attempt = Attempt { span, reason };
                        state.notes.push(Note { at, attempt, about: About::Target(dir.clone()) });
                    }
                    let (targets, packages) = (self.targets(process, &command), command.packages);
                    session.clean(state, Scope::Cargo { dir, profile, targets, packages });
                } else {
                    session.clean(
                        state,
                        Scope::Cargo { dir, profile: None, targets: Vec::new(), packages: Vec::new() },
                    );
                }
            }
            Verb::Compile(mode) if !command.remote => {
                self.compile(state, session, process, command, mode, at);
            }
            _ => {}
        }
    }

    fn targets(&self, process: &Process<'_>, command: &CargoCommand) -> Vec<String> {
        let mut targets = command.targets.clone();
        if targets.is_empty() {
            targets.extend(process.environment(|n| n == "CARGO_BUILD_TARGET").into_iter().map(|(_, v)| v));
        }
        targets.retain(|t| !t.is_empty());
        targets.sort();
        targets
    }

    /// The project that a command line is about.
    fn project(&mut self, state: &State, process: &Process<'_>, command: &CargoCommand) -> Option<Project> {
        let cwd = match &command.directory {
            Some(dir) => process.absolute(dir)?.path,
            None => process.cwd.as_ref()?.to_string(),
        };
        let within = |value: &crate::build::process::Value| {
            let path = process.absolute(value)?.path;
            Some(match command.directory.is_some() && !value.text.starts_with('/') {
                true => clean_str(&format!("{cwd}/{}", value.text)),
                false => path,
            })
        };
        let base = match (&command.manifest_path, &command.path) {
            (Some(manifest), _) => {
                let path = within(manifest)?;
                path.strip_suffix("/Cargo.toml")
                    .map(|d| if d.is_empty() { "/" } else { d })
                    .unwrap_or(&path)
                    .to_owned()
            }
            (None, Some(path)) => within(path)?,
            (None, None) => cwd,
        };
        let manifest_of = |dir: &str| {
            let file = state.files.get(&clean_str(&format!("{dir}/Cargo.toml")))?;
            (file.content != Content::Removed).then(|| file.content.clone())
        };
        let above: Vec<String> = ancestors(&base).map(str::to_owned).collect();
        let nearest = above.iter().find_map(|dir| Some((dir.clone(), manifest_of(dir)?)));
        if let Some((dir, Content::Context(path))) = &nearest {
            let package =
                path.strip_suffix("Cargo.toml").unwrap_or_default().trim_end_matches('/').to_owned();
            if let Some(space) = self.workspace(&package) {
                let rest = package.strip_prefix(&space.root).unwrap_or_default().trim_start_matches('/');
                let root = match rest {
                    "" => Some(dir.clone()),
                    rest => dir.strip_suffix(rest).and_then(|d| d.strip_suffix('/')).map(|d| match d {
                        "" => "/".to_owned(),
                        d => d.to_owned(),
                    }),
                };
                if let Some(root) = root {
                    let manifest = manifest_of(&root);
                    return Some(Project { root, manifest, base, known: Some((space, package)) });
                }
            }
        }
        // The outermost manifest is that of the workspace.
        let outermost = above.iter().rev().find_map(|dir| Some((dir.clone(), manifest_of(dir)?)));
        let (root, manifest) = outermost.map_or((base.clone(), None), |(dir, m)| (dir, Some(m)));
        Some(Project { root, manifest, base, known: None })
    }

    fn workspace(&mut self, package: &str) -> Option<Rc<Workspace>> {
        if let Some(known) = self.workspaces.get(package) {
            return known.clone();
        }
        let found = self.sources.and_then(|s| Workspace::containing(s, package)).map(Rc::new);
        self.workspaces.insert(package.to_owned(), found.clone());
        found
    }

    fn compile(
        &mut self,
        state: &mut State,
        session: &mut Session<'_, '_>,
        process: &Process<'_>,
        command: CargoCommand,
        mode: Mode,
        at: u32,
    ) {
        let Some(mut project) = self.project(state, process, &command) else { return };
        if project.known.is_none() && project.manifest.is_none() {
            // No manifest was seen, but a mount on a target directory tells where the workspace is.
            let is_root = |dir: &&str| {
                let target = clean_str(&format!("{dir}/target"));
                session.run.mounts.iter().any(|m| m.kind == MountKind::Cache && m.path == target)
            };
            if let Some(root) = ancestors(&project.base).find(is_root) {
                project.root = root.to_owned();
            }
        }
        let dir = target_dir(process, &command, &project.root);
        let place = session.place(&dir);
        let mut flags = command.flags.clone();
        flags.extend(self.settings(state, &project));
        let key = Key {
            dir: place,
            profile: CargoCommand::profile_dir(&command.profile).to_owned(),
            targets: self.targets(process, &command),
            driver: command.driver.clone(),
            mode_is_build: mode == Mode::Build,
            mode: mode as u8,
            flags,
            environment: process.environment(decides),
            project: project.root.clone(),
            manifest: project.manifest.clone(),
        };
        let units = match &project.known {
            Some((space, package)) => exact_units(state, space, package, &project, &command),
            None => guessed_units(state, &project, &command),
        };
        let exact = project.known.is_some();
        let cwd = process.cwd.as_deref().unwrap_or("/").to_owned();
        let build = Build {
            span: process.command.span,
            instruction: session.step.instruction.span,
            stage: session.step.stage,
            read_only: session.read_only.iter().any(|mount| {
                is_below(&project.root, mount) || units.iter().any(|u| is_below(&u.root, mount))
            }),
            cwd,
            target_dir: dir.clone(),
            command,
        };
        let record = state.records.iter().rposition(|r| r.key == key);
        let mut reported = false;
        match record {
            None => {
                let compiled = units.iter().filter_map(|u| Some((u.root.clone(), compiled(state, u, at)?)));
                let units = compiled.collect();
                state.records.push(Record { key: key.clone(), span: build.span, units });
            }
            Some(index) => {
                let Some(record) = state.records.get(index) else { return };
                let verdicts = judge(state, record, &units, exact);
                let pick = |wanted: Verdict| -> Vec<usize> {
                    (0..units.len()).filter(|i| verdicts.get(*i) == Some(&wanted)).collect()
                };
                let stale = pick(Verdict::Stale);
                let told = |i: &usize| {
                    units.get(*i).and_then(|u| record.units.get(&u.root)).is_some_and(|unit| unit.told)
                };
                let news = stale.iter().any(|i| !told(i));
                reported = !stale.is_empty();
                if news && key.mode_is_build {
                    let found = describe(
                        state,
                        record,
                        &units,
                        &stale,
                        &pick(Verdict::Cured),
                        &pick(Verdict::Rescued),
                        build.clone(),
                        exact,
                    );
                    let twice = |s: &StaleBuild| s.build.span == found.build.span && s.first == found.first;
                    if !self.out.stale.iter().any(twice) {
                        self.out.stale.push(found);
                    }
                }
                let renewed: Vec<(String, Compiled)> = (0..units.len())
                    .filter(|i| !matches!(verdicts.get(*i), Some(Verdict::Stale | Verdict::Fresh)))
                    .filter_map(|i| Some((units.get(i)?.root.clone(), compiled(state, units.get(i)?, at)?)))
                    .collect();
                if let Some(record) = state.records.get_mut(index) {
                    record.units.extend(renewed);
                    let roots = stale.iter().filter_map(|i| units.get(*i)).map(|u| &u.root);
                    for root in roots.filter(|_| news && key.mode_is_build) {
                        if let Some(unit) = record.units.get_mut(root) {
                            unit.told = true;
                        }
                    }
                }
            }
        }
        if mode == Mode::Build && !reported {
            self.mounted(state, session, &units, &key, &project, build);
        }
    }

    /// What `.cargo/config.toml` and `rust-toolchain.toml` say at this time, where it could matter.
    fn settings(&self, state: &State, project: &Project) -> Vec<String> {
        let mut out = Vec::new();
        for (path, file) in &state.files {
            if file.content == Content::Removed || path.ends_with(".rs") {
                continue;
            }
            let Some((dir, name)) = path.rsplit_once('/') else { continue };
            let here = match name {
                "rust-toolchain" | "rust-toolchain.toml" => is_below(&project.base, dir),
                "config" | "config.toml" => {
                    dir.strip_suffix("/.cargo").is_some_and(|d| is_below(&project.base, d))
                }
                _ => false,
            };
            if !here {
                continue;
            }
            if let (Content::Context(path), Some(sources), true) =
                (&file.content, self.sources, name.starts_with("config"))
            {
                let text =
                    sources.context().read(path.as_bytes(), 1 << 20).ok().flatten().unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let decisive =
                    ["rustflags", "[build", "[target", "[profile", "[env", "[unstable", "rustc", "include"];
                if !decisive.iter().any(|word| text.contains(word)) {
                    continue;
                }
            }
            out.push(format!("{path} {:?}", file.content));
        }
        out
    }

    /// A build into a cache mount: whatever is in there may come from other sources.
    fn mounted(
        &mut self,
        state: &State,
        session: &Session<'_, '_>,
        units: &[Unit],
        key: &Key,
        project: &Project,
        build: Build,
    ) {
        let output = clean_str(&match key.targets.first() {
            Some(target) => format!("{}/{target}/{}", build.target_dir, key.profile),
            None => format!("{}/{}", build.target_dir, key.profile),
        });
        let caches = session.run.mounts.iter().filter(|m| m.kind == MountKind::Cache && m.path != "/");
        let covering = caches.filter(|m| {
            (is_below(&output, &m.path) || m.path == output)
                && !is_below(&build.cwd, &m.path)
                && !is_below(&project.root, &m.path)
        });
        let Some(mount) = covering.max_by_key(|m| m.path.len()) else { return };
        let cleaned = |unit: Option<&Unit>| session.cleans.iter().any(|c| c.reaches(key, unit));
        let mut found = MountedBuild {
            mount: mount.flag.span,
            mount_path: mount.path.clone(),
            copies: Vec::new(),
            stale: Vec::new(),
            cured: Vec::new(),
            attempts: state.attempts(key, session.start, &[]),
            build,
        };
        if project.known.is_some() {
            let mut verdicts: Vec<Verdict> = units
                .iter()
                .map(|unit| match state.files.get(&unit.root) {
                    Some(File { content: Content::Context(_), time: Time::Context, .. }) => {
                        if cleaned(Some(unit)) { Verdict::Cured } else { Verdict::Stale }
                    }
                    Some(File { content: Content::Removed, .. }) | None => Verdict::Absent,
                    Some(_) => Verdict::Cured,
                })
                .collect();
            rescue(units, &mut verdicts);
            for (unit, verdict) in units.iter().zip(&verdicts) {
                match verdict {
                    Verdict::Stale => {
                        found.stale.push(unit.shown(&found.build.cwd));
                        found.copies.extend(state.files.get(&unit.root).map(|f| f.writer));
                    }
                    Verdict::Cured => found.cured.push(unit.shown(&found.build.cwd)),
                    _ => {}
                }
            }
            if found.stale.is_empty() {
                return;
            }
        } else {
            if cleaned(None) {
                return;
            }
            let here = |b: &&Brought| is_below(&b.dest, &project.root) || is_below(&project.root, &b.dest);
            let brought: Vec<&Brought> = state.brought.iter().filter(here).collect();
            let Some(last) = brought.iter().map(|b| b.at).max() else { return };
            if state.touched > last {
                return;
            }
            found.copies.extend(brought.iter().map(|b| b.span));
        }
        found.copies.sort();
        found.copies.dedup();
        let twice =
            |m: &MountedBuild| m.build.instruction == found.build.instruction && m.stale == found.stale;
        if !self.out.mounted.iter().any(twice) {
            self.out.mounted.push(found);
        }
    }
}

/// The project that a command line is about.
struct Project {
    /// The workspace's directory in the image.
    root: String,
    manifest: Option<Content>,
    /// Where the command looks for its package.
    base: String,
    /// The workspace, and the directory of the nearest package in the context.
    known: Option<(Rc<Workspace>, String)>,
}

/// A directory and those above it.
fn ancestors(dir: &str) -> impl Iterator<Item = &str> {
    fn above<'p>(at: &&'p str) -> Option<&'p str> {
        let (dir, _) = at.rsplit_once('/').filter(|_| *at != "/")?;
        Some(if dir.is_empty() { "/" } else { dir })
    }
    std::iter::successors(Some(dir), above)
}

/// Variables that decide how crates are compiled.
fn decides(name: &str) -> bool {
    match name {
        "CARGO_TARGET_DIR" | "CARGO_BUILD_TARGET_DIR" | "CARGO_BUILD_JOBS" | "CARGO_BUILD_TARGET" => false,
        "RUSTFLAGS"
        | "CARGO_ENCODED_RUSTFLAGS"
        | "CARGO_INCREMENTAL"
        | "RUSTC"
        | "RUSTC_WORKSPACE_WRAPPER"
        | "RUSTUP_TOOLCHAIN"
        | "RUSTC_BOOTSTRAP" => true,
        _ => ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_"].iter().any(|p| name.starts_with(p)),
    }
}

fn same_dir(a: &str, b: &str) -> bool {
    CargoCommand::profile_dir(a) == CargoCommand::profile_dir(b)
}

fn target_dir(process: &Process<'_>, command: &CargoCommand, root: &str) -> String {
    let variable = || {
        let found = process.environment(|n| matches!(n, "CARGO_TARGET_DIR" | "CARGO_BUILD_TARGET_DIR"));
        // The former comes later in the alphabet and wins.
        found.into_iter().last().map(|(_, text)| text).filter(|t| !t.is_empty())
    };
    let text = command.target_dir.as_ref().map(|v| v.text.clone()).or_else(variable);
    match (text, &process.cwd) {
        (Some(text), _) if text.starts_with('/') => clean_str(&text),
        (Some(text), Some(cwd)) => clean_str(&format!("{cwd}/{text}")),
        (Some(text), None) => text,
        (None, _) => clean_str(&format!("{root}/target")),
    }
}

/// One RUN.
struct Session<'r, 'a> {
    run: &'r Run<'a>,
    step: &'r Step<'a>,
    cleans: Vec<Clean>,
    /// Bind mounts that cannot be written to.
    read_only: Vec<String>,
    /// When it began.
    start: u32,
}

impl Session<'_, '_> {
    /// A path, or the place in a mount that it is.
    fn place(&self, path: &str) -> String {
        let Some(mount) = self.run.mount_over(path) else { return path.to_owned() };
        let rest = path.strip_prefix(mount.path.trim_end_matches('/')).unwrap_or_default();
        match mount.kind {
            MountKind::Cache => format!("\u{0}cache {}{rest}", mount.cache_id()),
            _ => format!("\u{0}mount of {}{rest}", self.step.instruction.span.start),
        }
    }

    /// What the cache mounts of the step are called, and where they are.
    fn caches(&self) -> Vec<(String, String)> {
        let caches = self.run.mounts.iter().filter(|m| m.kind == MountKind::Cache);
        caches.map(|m| (self.place(&m.path), m.path.clone())).collect()
    }

    fn clean(&mut self, state: &mut State, scope: Scope) {
        let scope = match scope {
            Scope::Removed(path) => Scope::Removed(PathValue { path: self.place(&path.path), ..path }),
            other => other,
        };
        let clean = Clean { scope };
        for record in &mut state.records {
            for unit in record.units.values_mut() {
                unit.cleaned |= clean.reaches_named(&record.key, Some(&unit.names));
            }
        }
        self.cleans.push(clean);
    }

    /// Removing the final binary is a common idea; cargo links it anew from `deps`.
    fn note_binary(&self, state: &mut State, path: &PathValue, span: Span, at: u32) {
        let place = self.place(&path.path);
        for record in &state.records {
            let Some(rest) = place.strip_prefix(&record.key.dir).and_then(|r| r.strip_prefix('/')) else {
                continue;
            };
            let parts: Vec<&str> = rest.split('/').collect();
            let depth = 1 + record.key.targets.len().min(1);
            if parts.len() == depth + 1
                && !matches!(parts.last(), Some(&("deps" | ".fingerprint" | "build" | "*")))
            {
                let reason = "removes only the finished file, which cargo links again from `deps`".to_owned();
                let about = About::Target(record.key.dir.clone());
                state.notes.push(Note { at, attempt: Attempt { span, reason }, about });
                return;
            }
        }
    }
}

impl Clean {
    fn reaches(&self, key: &Key, unit: Option<&Unit>) -> bool {
        match unit {
            Some(unit) => self.reaches_named(key, Some(&unit.names())),
            None => self.reaches_named(key, None),
        }
    }

    /// Whether it makes cargo compile a crate of that compilation again. Names that are not known count as reached.
    fn reaches_named(&self, key: &Key, names: Option<&Names>) -> bool {
        let package = names.and_then(|n| n.package.as_deref());
        match &self.scope {
            Scope::Cargo { dir, profile, targets, packages } => {
                *dir == key.dir
                    && profile.as_deref().is_none_or(|p| same_dir(p, &key.profile))
                    && (profile.is_none() || packages.is_empty() || targets == &key.targets)
                    && (packages.is_empty()
                        || package.is_none_or(|name| packages.iter().any(|p| names_package(p, name))))
            }
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
fn names_package(spec: &str, name: &str) -> bool {
    let plain = spec.rsplit(['/', '#']).next().unwrap_or(spec);
    let plain = plain.split(['@', ':']).next().unwrap_or(plain);
    plain == name || path_match(plain, name).unwrap_or(false) || spec.contains('$')
}

/// Whether removing these paths makes cargo compile a crate again.
fn removes(pattern: &PathValue, key: &Key, names: Option<&Names>) -> bool {
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

fn same_path(pattern: &str, path: &str, glob: bool) -> bool {
    pattern == path || (glob && path_match(pattern, path).unwrap_or(false))
}

fn put(state: &mut State, path: &str, content: Content, time: Time, writer: Span, at: u32) {
    if path.ends_with(".rs")
        || !matches!(content, Content::Written(_))
        || path.ends_with("/Cargo.toml")
        || path.contains("/.cargo/config")
    {
        state.files.insert(path.to_owned(), File { content, time, writer, written: at });
    }
}

/// A command writes a file.
fn write(state: &mut State, path: &str, append: bool, span: Span, at: u32) {
    if let Some(file) = state.files.get_mut(path).filter(|f| append && f.content != Content::Removed) {
        // What is appended to the real source does not make it another.
        if !matches!(file.content, Content::Context(_)) {
            file.content = Content::Written(at);
        }
        file.time = Time::At(at);
        if path.ends_with(".rs") {
            state.touched = at;
        }
        return;
    }
    put(state, path, Content::Written(at), Time::At(at), span, at);
}

impl State {
    fn touch_where(&mut self, at: u32, takes: impl Fn(&str) -> bool) {
        for (path, file) in
            self.files.iter_mut().filter(|(path, f)| f.content != Content::Removed && takes(path))
        {
            file.time = Time::At(at);
            if path.ends_with(".rs") {
                self.touched = at;
            }
        }
        // Without a context the files are not known; a pattern that takes Rust sources takes them all.
        if takes("/layerlint/src/main.rs") {
            self.touched = at;
        }
    }

    fn touch_all(&mut self, at: u32) {
        for file in self.files.values_mut().filter(|f| f.content != Content::Removed) {
            file.time = Time::At(at);
        }
        self.touched = at;
    }

    /// What looks like a cure of these crates since a time and is none.
    fn attempts(&self, key: &Key, since: u32, roots: &[&str]) -> Vec<Attempt> {
        let mut out = Vec::new();
        for note in self.notes.iter().filter(|n| n.at > since) {
            let attempt = match &note.about {
                About::Target(dir) => (*dir == key.dir).then(|| note.attempt.clone()),
                About::Touch(pattern) => {
                    let mut reason = None;
                    for root in roots {
                        match covers(pattern, root) {
                            Covers::Above => {
                                reason = Some(
                                    "changes the time of the directory, which cargo does not look at"
                                        .to_owned(),
                                );
                            }
                            Covers::Itself if self.files.get(*root).is_some_and(|f| f.written > note.at) => {
                                reason =
                                    Some("comes before the copy, which brings the old time back".to_owned());
                            }
                            _ => {}
                        }
                    }
                    reason.map(|reason| Attempt { span: note.attempt.span, reason })
                }
            };
            out.extend(attempt.filter(|a| !out.contains(a)));
        }
        out
    }
}

fn touch(state: &mut State, process: &Process<'_>, before: Option<&Process<'_>>, at: u32) {
    let Some((_, words)) = process.program() else { return };
    if process.is_fed() {
        let find = before.filter(|_| process.command.connector == Connector::Pipe).and_then(Find::of);
        match find {
            Some(find) if find.action == FindAction::Print => state.touch_where(at, |path| find.takes(path)),
            _ => state.touch_all(at),
        }
        return;
    }
    let mut skip = false;
    for word in words {
        if std::mem::take(&mut skip) {
            continue;
        }
        match word.text.as_str() {
            "-d" | "-t" | "-r" | "--date" | "--reference" => {
                skip = true;
                continue;
            }
            // The time of access only.
            "-a" => return,
            text if text.starts_with('-') => continue,
            _ => {}
        }
        let Some(paths) = process.paths(word) else {
            state.touch_all(at);
            continue;
        };
        for path in paths {
            if !path.glob && path.path.ends_with(".rs") {
                let there = state.files.get(&path.path).is_some_and(|f| f.content != Content::Removed);
                if !there {
                    put(state, &path.path, Content::Written(at), Time::At(at), process.command.span, at);
                    state.touched = at;
                }
            }
            state.touch_where(at, |file| covers(&path, file) == Covers::Itself);
            if path.path.ends_with(".rs") {
                state.touched = at;
            }
            let attempt = Attempt { span: process.command.span, reason: String::new() };
            state.notes.push(Note { at, attempt, about: About::Touch(path) });
        }
    }
}

// Where files go without a context.

/// What an instruction brings, as far as the Dockerfile alone tells: manifests by their names, and sources where
/// a file was before.
fn guess(map: &Mapping, state: &mut State, pattern: &str, span: Span, at: u32) {
    let name = pattern.rsplit('/').next().unwrap_or_default();
    let fits = |file: &str| name == file || (has_wildcard(name) && path_match(name, file).unwrap_or(false));
    let folder = pattern.strip_suffix(name).unwrap_or("/");
    if fits("Cargo.toml") && !matches!(name, "*" | "") {
        let source = format!("{folder}Cargo.toml");
        let to = if map.parents {
            format!("{}/{source}", map.dest)
        } else if map.folder || has_wildcard(name) {
            format!("{}/Cargo.toml", map.dest)
        } else {
            map.dest.clone()
        };
        put(
            state,
            &clean_str(&to),
            Content::Context(Rc::from(clean_str(&source).as_str())),
            Time::Context,
            span,
            at,
        );
    }
    if name.ends_with(".rs") && !has_wildcard(name) {
        let to = if map.folder { format!("{}/{name}", map.dest) } else { map.dest.clone() };
        put(state, &clean_str(&to), Content::Context(Rc::from(pattern)), Time::Context, span, at);
        return;
    }
    let last = map.dest.rsplit('/').next().unwrap_or_default();
    // `COPY src ./` spreads what is in `src`.
    let spreads = !map.parents && matches!(name, "src" | "crates" | "bin" | "lib") && name != last;
    for (path, file) in state.files.iter_mut().filter(|(path, _)| is_below(path, &map.dest)) {
        let rest = path.strip_prefix(map.dest.trim_end_matches('/')).unwrap_or(path);
        let source = if map.parents {
            if !is_below(rest, pattern) {
                continue;
            }
            rest.to_owned()
        } else if has_wildcard(name) {
            // One level of names: `*`, `*.rs`.
            let first = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
            if !fits(first) || rest.matches('/').count() > 1 {
                continue;
            }
            format!("{folder}{first}")
        } else if spreads || (name.contains('.') && name != "." && !name.starts_with('.')) {
            continue;
        } else {
            format!("{}{rest}", pattern.trim_end_matches('/'))
        };
        let content = Content::Context(Rc::from(clean_str(&source).as_str()));
        *file = File { content, time: Time::Context, writer: span, written: at };
    }
}

/// Whether a source of the context can hold Rust sources, as far as its name tells.
fn brings_sources(pattern: &str) -> bool {
    let name = pattern.rsplit('/').next().unwrap_or_default();
    name.ends_with(".rs")
        || (!name.contains('.') && !name.starts_with("Cargo") && !name.starts_with("rust-toolchain"))
}

// Crates.

impl Unit {
    fn shown(&self, cwd: &str) -> Crate {
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
fn exact_units(
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
fn guessed_units(state: &State, project: &Project, command: &CargoCommand) -> Vec<Unit> {
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

fn compiled(state: &State, unit: &Unit, at: u32) -> Option<Compiled> {
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
enum Verdict {
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

fn judge(state: &State, record: &Record, units: &[Unit], exact: bool) -> Vec<Verdict> {
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
fn rescue(units: &[Unit], verdicts: &mut [Verdict]) {
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

#[allow(clippy::too_many_arguments)]
fn describe(
    state: &State,
    record: &Record,
    units: &[Unit],
    stale: &[usize],
    cured: &[usize],
    rescued: &[usize],
    build: Build,
    exact: bool,
) -> StaleBuild {
    let crates = |list: &[usize]| -> Vec<Crate> {
        list.iter().filter_map(|i| units.get(*i)).map(|u| u.shown(&build.cwd)).collect()
    };
    // Only what had a placeholder was rescued from one.
    let replaced = |i: &&usize| {
        units.get(**i).is_some_and(|u| {
            let now = state.files.get(&u.root).map(|f| &f.content);
            record.units.get(&u.root).is_some_and(|c| now != Some(&c.content))
        })
    };
    let rescued: Vec<usize> = rescued.iter().filter(replaced).copied().collect();
    let mut written = Vec::new();
    let mut copies = Vec::new();
    let mut since = u32::MAX;
    for unit in stale.iter().filter_map(|i| units.get(*i)) {
        if let Some(before) = record.units.get(&unit.root) {
            written.push(before.writer);
            since = since.min(before.at);
        }
        copies.extend(state.files.get(&unit.root).map(|f| f.writer));
    }
    for list in [&mut written, &mut copies] {
        list.sort();
        list.dedup();
    }
    let roots: Vec<&str> = stale.iter().filter_map(|i| units.get(*i)).map(|u| u.root.as_str()).collect();
    let mut attempts = state.attempts(&record.key, since, &roots);
    if build.command.force {
        let reason = "`--force` installs again, but does not compile again".to_owned();
        attempts.push(Attempt { span: build.span, reason });
    }
    StaleBuild {
        first: record.span,
        written,
        copies,
        stale: crates(stale),
        cured: crates(cured),
        rescued: crates(&rescued),
        attempts,
        exact,
        build,
    }
}
