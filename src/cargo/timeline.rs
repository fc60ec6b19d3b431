//! Which crates a build takes for fresh although other sources were compiled before.
//!
//! Every source file that can be the root of a crate is followed through the steps of a stage: what it holds, and
//! whether its time is that of the build context or of a step. Every compilation remembers what the roots held. A
//! later one with the same target directory, profile, target and flags compiles a crate anew only if its root has a
//! time after the one before, if something removed its artefacts, or if a crate that it needs is compiled anew.
//! So says cargo's fingerprint of a unit (`cargo::core::compiler::fingerprint`), and so it was tried with cargo 1.95.

mod ahead;
mod clean;
mod file;
mod unit;

pub use ahead::{Difference, Final, Lack, Prepared, Unprepared};

use clean::{Clean, Scope, same_dir};
use file::{About, Brought, Content, File, Note, State, Time, brings_sources, guess, put, touch, write};
use unit::{Compiled, Key, Record, Unit, Verdict, compiled, exact_units, guessed_units, judge, rescue};

use super::command::{CargoCommand, Mode, Verb};
use super::find::{Find, FindAction};
use super::workspace::{self, Sources, TargetKind, Workspace};
use crate::build::mapping::{Covers, Mapping, covers};
use crate::build::model::{Action, BuildModel, Copy, CopySource, MountKind, Run, Step, is_below};
use crate::build::process::{PathValue, Process, processes};
use crate::context::path::clean_str;
use crate::source::Span;
use crate::stage::Base;
use std::collections::HashMap;
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
    /// Manifests that could not be read, so that crates may be missing; by path.
    pub unread: Vec<workspace::Note>,
    /// Builds of dependencies alone, to keep them in a layer of their own.
    pub prepared: Vec<Prepared>,
    /// Builds of the source that have no such build above them, and whose results are in a layer.
    pub unprepared: Vec<Unprepared>,
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
        names_only: false,
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
        follower.names_only = sources.are_names_only();
        for dir in sources.manifest_dirs() {
            roots.extend(sources.targets_in(dir).into_iter().map(|t| t.path));
            let script = if dir.is_empty() { "build.rs".to_owned() } else { format!("{dir}/build.rs") };
            roots.extend(Some(script).filter(|s| follower.names_only && sources.has(s)));
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
    let spaces = follower.workspaces.values().flatten();
    let unread = &mut follower.out.unread;
    unread.extend(spaces.flat_map(|space| space.notes.iter().cloned()));
    unread.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
    unread.dedup();
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

struct Follower<'m> {
    /// Of a context that has manifests.
    sources: Option<&'m Sources<'m>>,
    /// Files of the context that are followed: roots of crates, manifests, settings.
    roots: Vec<String>,
    /// All manifests of the context are empty: it is a list of names, which tells nothing about crates.
    names_only: bool,
    workspaces: HashMap<String, Option<Rc<Workspace>>>,
    clock: u32,
    /// Files looked at so far.
    effort: usize,
    /// States at the end of the stages before.
    ends: Vec<State>,
    out: Timeline,
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
        if self.sources.is_none() || self.names_only {
            guess(map, state, pattern, span, at);
            if brings_sources(pattern) {
                state.brought.push(Brought { at, span, dest: map.dest.clone() });
            }
        }
        if self.sources.is_none() {
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
        if brought && !self.names_only {
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
        let mut prepared = Vec::new();
        for ahead in &end.prepared {
            let Some(dir) = map.destination(pattern, &ahead.key.dir) else { continue };
            let mut ahead = ahead.clone();
            if let Some(root) = dir.strip_suffix("/target") {
                ahead.key.project = if root.is_empty() { "/".to_owned() } else { root.to_owned() };
            }
            ahead.key.dir = dir;
            ahead.at = at;
            prepared.push(ahead);
        }
        for (path, content, time) in files {
            put(state, &path, content, time, span, at);
        }
        state.records.extend(records);
        state.prepared.extend(prepared);
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
                let artefacts =
                    |text: &str| ["target", "deps", "fingerprint"].iter().any(|n| text.contains(n));
                if operands().any(|w| process.paths(w).is_none() && artefacts(&w.raw)) {
                    // An unknown part of some target directory: perhaps just what has to go.
                    session.clean(state, Scope::Anything);
                }
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
            "sed" | "perl" | "patch" | "truncate" => {
                let in_place = |text: &str| is_option(text) && (text.contains('i') || text == "--in-place");
                if matches!(program, "sed" | "perl") && !words.iter().any(|w| in_place(&w.text)) {
                    return;
                }
                // What is edited in place has the time of the edit.
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
            Verb::Chef => self.cook(state, session, process, command, at),
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
        let sources = self.sources.filter(|_| !self.names_only);
        let found = sources.and_then(|s| Workspace::containing(s, package)).map(Rc::new);
        if let (None, Some(sources)) = (&found, sources) {
            self.out.unread.extend(Workspace::unread(sources, package));
        }
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
        let flags = command.flags.clone();
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
            settings: self.settings(state, &project),
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
        self.ahead(state, session, &project, &key, &units, &build, at);
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
