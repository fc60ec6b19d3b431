//! Dependencies that are compiled ahead of the source, and whether the build of the source can use them.
//!
//! A dependency is compiled again if the profile, the target, the compiler and its flags, or the features differ: all are
//! part of its fingerprint or its metadata (`cargo::core::compiler::fingerprint`). What decides how crates of the workspace are
//! compiled (`CARGO_INCREMENTAL`, a wrapper for the workspace, as cargo-auditable sets one) is of no matter here.
//! `cargo chef cook` writes the lockfile, the toolchain file and `.cargo/config.toml` of the recipe before it builds
//! (`skeleton::Skeleton::build_minimum_project`), so these are never missing there.

use super::super::command::{CargoCommand, Mode};
use super::super::workspace::TargetKind;
use super::file::{Ahead, Content, State};
use super::unit::{Key, Unit};
use super::{Build, Follower, Project, Session, target_dir};
use crate::build::model::{MountKind, is_below};
use crate::build::process::Process;
use crate::source::Span;

/// A build of dependencies alone.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The command.
    pub build: Build,
    /// `cargo chef cook`; otherwise placeholders are compiled.
    pub cook: bool,
    /// The cache mount that holds what it compiles: its flag and its place in the image.
    pub mount: Option<(Span, String)>,
    /// Builds of the source that could use it.
    pub finals: Vec<Final>,
    /// The instruction above it that brings the source, with which it runs again.
    pub above: Option<Span>,
}

/// A build of the source without a build of its dependencies above it.
#[derive(Clone, Debug)]
pub struct Unprepared {
    /// The build.
    pub build: Build,
    /// The instructions that bring the source.
    pub copies: Vec<Span>,
    /// Directory of the workspace in the build context, if its manifest is there.
    pub source: Option<String>,
}

/// A build of the source below a build of its dependencies.
#[derive(Clone, Debug)]
pub struct Final {
    /// The build.
    pub build: Build,
    /// Why it compiles the dependencies again; empty if it does not.
    pub differences: Vec<Difference>,
    /// Files that decide about dependencies and came too late, or never.
    pub lacks: Vec<Lack>,
}

/// Something in which two builds differ, so that dependencies of one are of no use to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is, with its article.
    pub what: String,
    /// What the dependencies are built with; empty for nothing.
    pub ahead: String,
    /// What the source is built with; empty for nothing.
    pub last: String,
}

/// A file that came too late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// In the image, absolute.
    pub path: String,
    /// In the build context, if it is there.
    pub source: Option<String>,
    /// A build script; otherwise settings or a toolchain.
    pub script: bool,
    /// What brings it, if something does.
    pub brought: Option<Span>,
}

impl Follower<'_> {
    /// `cargo chef cook`.
    pub(super) fn cook(
        &mut self,
        state: &mut State,
        session: &Session<'_, '_>,
        process: &Process<'_>,
        command: CargoCommand,
        at: u32,
    ) {
        let (Some(mode), Some(cwd)) = (command.cook, process.cwd.as_deref()) else { return };
        let root = cwd.to_owned();
        let dir = target_dir(process, &command, &root);
        let key = Key {
            dir: session.place(&dir),
            profile: CargoCommand::profile_dir(&command.profile).to_owned(),
            targets: self.targets(process, &command),
            driver: command.driver.clone(),
            mode_is_build: mode == Mode::Build,
            mode: mode as u8,
            flags: command.flags.clone(),
            environment: process.environment(super::decides),
            project: root.clone(),
            manifest: None,
            settings: Vec::new(),
        };
        let build = Build {
            span: process.command.span,
            instruction: session.step.instruction.span,
            stage: session.step.stage,
            cwd: root,
            command,
            target_dir: dir,
            read_only: false,
        };
        self.prepare(state, session, key, build, true, at, Vec::new());
    }

    #[allow(clippy::too_many_arguments)]
    fn prepare(
        &mut self,
        state: &mut State,
        session: &Session<'_, '_>,
        key: Key,
        build: Build,
        cook: bool,
        at: u32,
        scripts: Vec<String>,
    ) {
        let mount = session
            .run
            .mount_over(&build.target_dir)
            .filter(|m| m.kind == MountKind::Cache && m.path != "/")
            .map(|m| (m.flag.span, m.path.clone()));
        let known = self.out.prepared.iter().position(|p| p.build.span == build.span);
        let index = known.unwrap_or(self.out.prepared.len());
        if known.is_none() {
            let near = |dest: &str| is_below(dest, &key.project) || is_below(&key.project, dest);
            let above = state.brought.iter().find(|b| near(&b.dest)).map(|b| b.span);
            self.out.prepared.push(Prepared { build, cook, mount, finals: Vec::new(), above });
        }
        state.prepared.push(Ahead { index, key, at, scripts });
    }

    /// A compilation: of dependencies alone, or of the source below one of these.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn ahead(
        &mut self,
        state: &mut State,
        session: &Session<'_, '_>,
        project: &Project,
        key: &Key,
        units: &[Unit],
        build: &Build,
        at: u32,
    ) {
        let near = |dest: &str| is_below(dest, &project.root) || is_below(&project.root, dest);
        let content = |u: &Unit| state.files.get(&u.root).map(|f| &f.content);
        let own = || units.iter().filter(|u| u.kind != TargetKind::BuildScript);
        let placeholders = own().any(|u| matches!(content(u), Some(Content::Written(_))));
        let real = own().any(|u| matches!(content(u), Some(Content::Context(_) | Content::Unknown)));
        let bare = own().next().is_none()
            && project.manifest.is_some()
            && !state.brought.iter().any(|b| near(&b.dest));
        if (placeholders && !real) || bare {
            let scripts = units.iter().filter(|u| u.kind == TargetKind::BuildScript);
            let scripts = scripts.map(|u| u.root.clone()).collect();
            self.prepare(state, session, key.clone(), build.clone(), false, at, scripts);
            return;
        }
        if !key.mode_is_build {
            return;
        }
        let candidates: Vec<&Ahead> = state
            .prepared
            .iter()
            .filter(|a| is_below(&key.project, &a.key.project) || is_below(&a.key.project, &key.project))
            .filter(|a| state.brought.iter().any(|b| b.at > a.at && near(&b.dest)))
            .collect();
        if candidates.is_empty() {
            let copies: Vec<Span> = state.brought.iter().filter(|b| near(&b.dest)).map(|b| b.span).collect();
            let told = self.out.unprepared.iter().any(|u| u.build.stage == build.stage);
            if !told && !copies.is_empty() && !key.dir.starts_with('\u{0}') && state.prepared.is_empty() {
                let source = project.known.as_ref().map(|(space, _)| space.root.clone());
                self.out.unprepared.push(Unprepared { build: build.clone(), copies, source });
            }
            return;
        }
        let judged = candidates.into_iter().map(|a| {
            let cook = self.out.prepared.get(a.index).is_some_and(|p| p.cook);
            // Where no manifest was seen, the workspace may lie above the folder of the command.
            let moved = key.project == a.key.project || key.manifest.is_some();
            (a, cook, differences(&a.key, key, moved))
        });
        let Some((ahead, cook, differences)) = judged.min_by_key(|(a, _, d)| (d.len(), u32::MAX - a.at))
        else {
            return;
        };
        let lacks = if cook { Vec::new() } else { self.lacks(state, ahead, key, units) };
        let last = Final { build: build.clone(), differences, lacks };
        let index = ahead.index;
        if let Some(prepared) = self.out.prepared.get_mut(index)
            && !prepared.finals.iter().any(|f| f.build.span == build.span)
        {
            prepared.finals.push(last);
        }
    }

    fn lacks(&self, state: &State, ahead: &Ahead, key: &Key, units: &[Unit]) -> Vec<Lack> {
        let source = |path: &str| match state.files.get(path).map(|f| &f.content) {
            Some(Content::Context(source)) => Some(source.to_string()),
            _ => None,
        };
        let brought = |path: &str| state.files.get(path).map(|f| f.writer);
        let mut out = Vec::new();
        for unit in units.iter().filter(|u| u.kind == TargetKind::BuildScript) {
            if ahead.scripts.contains(&unit.root)
                || state.files.get(&unit.root).is_none_or(|f| f.written < ahead.at)
            {
                continue;
            }
            let source = source(&unit.root);
            if source.as_deref().is_some_and(|s| self.script_needs_crates(s)) {
                out.push(Lack {
                    path: unit.root.clone(),
                    brought: brought(&unit.root),
                    source,
                    script: true,
                });
            }
        }
        for setting in key.settings.iter().filter(|s| !ahead.key.settings.contains(s)) {
            let path = setting.split(' ').next().unwrap_or_default().to_owned();
            let late = state.files.get(&path).is_some_and(|f| f.written > ahead.at);
            if let Some(source) = source(&path).filter(|_| late) {
                out.push(Lack { brought: brought(&path), path, source: Some(source), script: false });
            }
        }
        out
    }

    /// Whether the package of a build script lists crates for it; true if its manifest is not known.
    fn script_needs_crates(&self, script: &str) -> bool {
        let folder = script.rsplit_once('/').map_or("", |(folder, _)| folder);
        let manifest =
            if folder.is_empty() { "Cargo.toml".to_owned() } else { format!("{folder}/Cargo.toml") };
        let Some(sources) = self.sources else { return true };
        let text = sources.context().read(manifest.as_bytes(), 1 << 20).ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.trim().is_empty() || text.contains("build-dependencies")
    }
}

/// In what two compilations differ, as far as it decides about dependencies and is known.
fn differences(ahead: &Key, last: &Key, moved: bool) -> Vec<Difference> {
    let mut out = Vec::new();
    let mut add = |what: &str, ahead: String, last: String| {
        let known = |text: &str| !text.contains(['$', '`']);
        if ahead != last && known(&ahead) && known(&last) {
            out.push(Difference { what: what.to_owned(), ahead, last });
        }
    };
    add("the profile", ahead.profile.clone(), last.profile.clone());
    add("the target", ahead.targets.join(" "), last.targets.join(" "));
    add("the toolchain", toolchain(&ahead.driver), toolchain(&last.driver));
    add("the tool", tool(&ahead.driver), tool(&last.driver));
    if ahead.mode != last.mode && !ahead.mode_is_build {
        let name = if ahead.mode == Mode::Check as u8 { "check" } else { "test" };
        // Tests compile dependencies as builds do.
        if name == "check" {
            add("the command", name.to_owned(), "build".to_owned());
        }
    }
    let only = |a: &[String], b: &[String]| {
        let list: Vec<&str> = a.iter().filter(|f| !b.contains(f)).map(String::as_str).collect();
        list.join(", ")
    };
    let unknown = |flags: &[String]| flags.iter().any(|f| f.contains(['$', '`']));
    if !unknown(&ahead.flags) && !unknown(&last.flags) {
        add("the options", only(&ahead.flags, &last.flags), only(&last.flags, &ahead.flags));
    }
    let mut names: Vec<&str> =
        ahead.environment.iter().chain(&last.environment).map(|(n, _)| n.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        if matches!(name, "CARGO_INCREMENTAL" | "RUSTC_WORKSPACE_WRAPPER" | "CARGO_BUILD_INCREMENTAL")
            || name.ends_with("_INCREMENTAL")
        {
            continue;
        }
        let value = |key: &Key| {
            let found = key.environment.iter().find(|(n, _)| n == name);
            found.map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
        };
        add(&format!("`{name}`"), value(ahead), value(last));
    }
    if moved && ahead.dir != last.dir {
        let shown = |dir: &str| match dir.strip_prefix('\u{0}') {
            Some(_) => "a cache mount".to_owned(),
            None => dir.to_owned(),
        };
        let (a, b) = (shown(&ahead.dir), shown(&last.dir));
        if a == b {
            add("the target directory", "one cache mount".to_owned(), "another cache mount".to_owned());
        } else {
            add("the target directory", a, b);
        }
    }
    out
}

/// `+nightly`
fn toolchain(driver: &str) -> String {
    driver.split(' ').find(|w| w.starts_with('+')).unwrap_or_default().to_owned()
}

/// The program, without what concerns the workspace's own crates only.
fn tool(driver: &str) -> String {
    let words = driver
        .split(' ')
        .filter(|w| !w.starts_with('+') && !matches!(*w, "auditable" | "nextest" | "clippy"));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use crate::build::model::BuildModel;
    use crate::image::Images;
    use crate::invoke::Invocation;
    use crate::stage::StageGraph;

    /// What differs between `cargo chef cook` and the build below it, as `what: ahead/last`.
    fn differing(cook: &str, build: &str) -> Vec<String> {
        let text = format!(
            "FROM a\nARG FLAGS\nWORKDIR /app\nCOPY recipe.json ./\nRUN {cook}\nCOPY . .\nRUN {build}\n"
        );
        let document = crate::syntax::parse(text.as_bytes());
        let invocation = Invocation::default();
        let graph = StageGraph::new(&document, &invocation);
        let images = Images::default();
        let model = BuildModel::new(&graph, &invocation, &images);
        let timeline = super::super::follow(&model, None);
        let prepared = timeline.prepared.first().expect("a cook");
        let last = prepared.finals.first().expect("a build");
        last.differences.iter().map(|d| format!("{}: {}/{}", d.what, d.ahead, d.last)).collect()
    }

    #[test]
    fn what_decides_about_dependencies_is_compared_and_nothing_else() {
        let cases: [(&str, &str, &[&str]); 14] = [
            ("cargo chef cook --release", "cargo build --release --locked --bin x -p y", &[]),
            ("cargo chef cook", "cargo build --release", &["the profile: debug/release"]),
            ("cargo chef cook --release", "cargo install --path .", &[]),
            (
                "cargo chef cook --release --features a,b",
                "cargo build --release --features a",
                &["the options: feature b/"],
            ),
            ("cargo chef cook --release", "cargo build --release --target t", &["the target: /t"]),
            ("cargo chef cook --release", "cargo +nightly build --release", &["the toolchain: /+nightly"]),
            ("cargo chef cook --release --zigbuild", "cargo zigbuild --release", &[]),
            ("cargo chef cook --release", "cargo auditable build --release", &[]),
            ("cargo chef cook --release", "CARGO_INCREMENTAL=1 cargo build --release", &[]),
            ("cargo chef cook --release", "RUSTFLAGS=-g cargo build --release", &["`RUSTFLAGS`: /-g"]),
            ("cargo chef cook --release", "RUSTFLAGS=$FLAGS cargo build --release", &[]),
            ("cargo chef cook --release --check", "cargo build --release", &["the command: check/build"]),
            (
                "cargo chef cook --release",
                "cargo build --release --target-dir /t",
                &["the target directory: /app/target//t"],
            ),
            (
                "cargo chef cook --release",
                "--mount=type=cache,target=/app/target cargo build --release",
                &["the target directory: /app/target/a cache mount"],
            ),
        ];
        for (cook, build, expected) in cases {
            assert_eq!(differing(cook, build), expected, "{cook}; {build}");
        }
    }
}
