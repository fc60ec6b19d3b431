use super::{Cx, Finding, Rule, rust};
use crate::build::mapping::Mapping;
use crate::build::model::{Action, MountKind, Run, Step, is_below};
use crate::build::process::{Process, processes};
use crate::context::path::clean_str;
use crate::source::Span;
use crate::syntax::shell::ShellWord;

/// See `rules/cache-mount-stale-output.md`.
pub(super) const RULE: Rule = Rule {
    name: "cache-mount-stale-output",
    page: include_str!("../../rules/cache-mount-stale-output.md"),
    check,
};

/// Folders that hold objects of a `make`, by name.
const OBJECT_FOLDERS: &[&str] =
    &["build", "obj", "objs", "objects", "out", "_build", ".build", ".objs", ".obj", ".deps"];

/// Sources of compilers whose builds are led by times.
const SOURCE_ENDINGS: &[&str] = &[
    ".c", ".cc", ".cpp", ".cxx", ".c++", ".h", ".hh", ".hpp", ".hxx", ".m", ".mm", ".s", ".S", ".asm", ".f",
    ".f90", ".f95", ".cu", ".d", ".ml", ".adb", ".vala", ".y", ".l", ".pas",
];

fn check(cx: &Cx<'_>, out: &mut Vec<Finding>) {
    for found in &cx.cargo().mounted {
        let path = &found.mount_path;
        let what = match found.stale.as_slice() {
            [] => "this build can ship what another one left".to_owned(),
            some => format!("this build can ship {} as another one left it", rust::titles(some)),
        };
        let mut finding = Finding::at(
            &RULE,
            cx,
            found.build.span,
            format!(
                "{what}: cargo compares times, the cache mount on `{path}` keeps the artefacts of every earlier build \
                 and branch, and the sources keep the time of the build context"
            ),
        )
        .label("compiles only what is younger than the artefacts in the mount")
        .help(rust::help(&found.build, &found.stale))
        .also(found.mount, "keeps artefacts from build to build");
        for span in found.copies.iter().filter(|s| !within(**s, found.build.instruction)) {
            finding = finding.also(*span, "brings sources with the time that they have in the build context");
        }
        for attempt in &found.attempts {
            finding = finding.also(attempt.span, format!("no cure: {}", attempt.reason));
        }
        let names: Vec<&str> = found.stale.iter().filter_map(|c| c.package.as_deref()).collect();
        let roots: Vec<&str> = found.stale.iter().map(|c| c.root.as_str()).collect();
        let touched: Vec<&str> = found.cured.iter().map(|c| c.root.as_str()).collect();
        out.push(
            finding
                .evidence("tool", "cargo")
                .evidence("mount", path)
                .evidence("crates", names)
                .evidence("roots", roots)
                .evidence("touched", touched),
        );
    }
    let steps = cx.model.steps().filter(|s| s.position.is_some() && !s.onbuild);
    for step in steps {
        if let Action::Run(run) = &step.action
            && run.mounts.iter().any(|m| m.kind == MountKind::Cache)
        {
            out.extend(by_time(cx, step, run));
        }
    }
}

fn within(inner: Span, outer: Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// A tool of the make family at work.
struct Tool<'p> {
    name: &'static str,
    process: &'p Process<'p>,
    /// Where it finds its rules and puts objects.
    dir: String,
    /// Objects may lie in any folder below.
    scattered: bool,
    /// Where the sources are, if that is said.
    sources: Option<String>,
    /// Other folders for objects, given as `O=…` or `BUILDDIR=…`.
    objects: Vec<String>,
}

fn tool<'p>(process: &'p Process<'p>, configured: Option<&str>) -> Option<Tool<'p>> {
    let (program, words) = process.program()?;
    let cwd = process.cwd.as_deref()?;
    let directory = |names: &[&str]| -> Option<String> {
        let at = words.iter().position(|w| names.contains(&w.text.as_str()));
        let value = match at {
            Some(at) => process.path(words.get(at + 1)?)?.path,
            // `-Cbuild`
            None => {
                let joined = words.iter().find_map(|w| {
                    let name = names.iter().find(|n| w.text.starts_with(**n))?;
                    w.text.get(name.len()..).map(|t| t.trim_start_matches('='))
                })?;
                match joined.starts_with('/') {
                    true => clean_str(joined),
                    false => clean_str(&format!("{cwd}/{joined}")),
                }
            }
        };
        Some(value)
    };
    let has = |name: &str| words.iter().any(|w| w.text == name);
    let sources = configured.map(str::to_owned);
    let here = || cwd.to_owned();
    Some(match program {
        "make" | "gmake" => Tool {
            name: "make",
            process,
            dir: directory(&["-C", "--directory"]).unwrap_or_else(here),
            scattered: true,
            // `../configure && make` and `cmake .. && make` build beside the sources.
            sources: sources.filter(|s| s != cwd),
            objects: object_folders(process, words),
        },
        "ninja" | "samu" => Tool {
            name: "ninja",
            process,
            dir: directory(&["-C"]).unwrap_or_else(here),
            scattered: false,
            sources,
            objects: Vec::new(),
        },
        "cmake" if has("--build") => {
            let dir = directory(&["--build"])?;
            Tool { name: "cmake", process, dir, scattered: false, sources, objects: Vec::new() }
        }
        "meson" if has("compile") || has("install") => Tool {
            name: "meson",
            process,
            dir: directory(&["-C"]).unwrap_or_else(here),
            scattered: false,
            sources,
            objects: Vec::new(),
        },
        _ => return None,
    })
}

/// The folders that `make` is told to put objects into: `O=/obj`, `BUILD_DIR=/out`.
fn object_folders(process: &Process<'_>, words: &[ShellWord]) -> Vec<String> {
    let Some(cwd) = process.cwd.as_deref() else { return Vec::new() };
    let folder = |word: &ShellWord| {
        let value = process.value(word);
        let (name, path) = value.text.split_once('=')?;
        let upper = name.to_ascii_uppercase();
        let says =
            matches!(upper.as_str(), "O" | "B") || ["OBJ", "BUILD", "OUT"].iter().any(|p| upper.contains(p));
        let known = value.known && !path.is_empty() && !name.starts_with('-');
        (says && known).then(|| match path.starts_with('/') {
            true => clean_str(path),
            false => clean_str(&format!("{cwd}/{path}")),
        })
    };
    words.iter().filter_map(folder).collect()
}

/// The source folder that `configure`, `cmake` or `meson setup` is given.
fn configured(process: &Process<'_>) -> Option<String> {
    let (program, words) = process.program()?;
    let first = words.iter().find(|w| !w.text.starts_with('-'));
    match program {
        "configure" => {
            let word = process.command.words.iter().find(|w| w.text.ends_with("/configure"))?;
            let path = process.path(word)?.path;
            path.rsplit_once('/').map(|(folder, _)| if folder.is_empty() { "/" } else { folder }.to_owned())
        }
        "cmake"
            if !words.iter().any(|w| matches!(w.text.as_str(), "--build" | "--install" | "-E" | "-P")) =>
        {
            let at = words.iter().position(|w| w.text == "-S").and_then(|at| words.get(at + 1));
            let joined = words.iter().find_map(|w| w.text.strip_prefix("-S").filter(|t| !t.is_empty()));
            match (at, joined) {
                (Some(word), _) => process.path(word).map(|p| p.path),
                (None, Some(text)) if text.starts_with('/') => Some(clean_str(text)),
                (None, Some(text)) => process.cwd.as_ref().map(|c| clean_str(&format!("{c}/{text}"))),
                (None, None) => {
                    // `cmake -B build` takes the sources from here, `cmake ..` from there.
                    let last = words.last().filter(|w| !w.text.starts_with('-'));
                    let before = words.len().checked_sub(2).and_then(|at| words.get(at));
                    let is_value = before
                        .is_some_and(|w| matches!(w.text.as_str(), "-B" | "-G" | "-D" | "-T" | "-A" | "-C"));
                    match last.filter(|_| !is_value) {
                        Some(word) => process.path(word).map(|p| p.path),
                        None => process.cwd.as_ref().map(|c| c.to_string()),
                    }
                }
            }
        }
        "meson" if first.is_none_or(|w| w.text == "setup") => process.cwd.as_ref().map(|c| c.to_string()),
        _ => None,
    }
}

fn by_time(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>) -> Option<Finding> {
    let list = processes(run, &step.state);
    let mut source: Option<String> = None;
    for (index, process) in list.iter().enumerate() {
        source = configured(process).or(source);
        let Some(tool) = tool(process, source.as_deref()) else { continue };
        let words = process.program().map(|(_, words)| words).unwrap_or_default();
        let has = |names: &[&str]| words.iter().any(|w| names.contains(&w.text.as_str()));
        // Always builds anew, or builds nothing.
        if has(&[
            "-B",
            "--always-make",
            "--clean-first",
            "-n",
            "--dry-run",
            "clean",
            "distclean",
            "-t",
            "--version",
        ]) {
            // What comes behind finds objects of this build.
            if has(&["clean", "distclean", "-t", "-B", "--always-make", "--clean-first"]) {
                return None;
            }
            continue;
        }
        let before = list.get(..index).unwrap_or_default();
        let caches = run.mounts.iter().filter(|m| m.kind == MountKind::Cache && m.path != "/");
        let Some(mount) = caches.into_iter().find(|m| holds(&m.path, &tool, before)) else { continue };
        if before.iter().any(|p| renews(p, &mount.path)) {
            return None;
        }
        let copied = if is_below(&tool.dir, &mount.path) { operands(before) } else { Vec::new() };
        let named = tool.sources.iter().chain([&tool.dir]).chain(&copied);
        let folders: Vec<&str> = named.map(String::as_str).collect();
        let brought = brought(cx, step, run, &folders);
        if brought.is_empty() {
            continue;
        }
        let (name, path) = (tool.name, &mount.path);
        let tool_words = match name {
            "cmake" | "meson" => format!("{name} (which runs a tool that compares times)"),
            name => format!("{name} (which compares times)"),
        };
        let help = if tool.scattered {
            "give the sources a new time in this RUN, before the build (`find . -type f -exec touch {} +`), or build \
             everything (`make -B`) and keep a cache that goes by content: ccache or sccache"
                .to_owned()
        } else {
            "give the sources a new time in this RUN, before the build (`find SOURCES -type f -exec touch {} +`), or \
             keep the objects in the layer and a cache that goes by content in the mount: ccache or sccache"
                .to_owned()
        };
        let mut finding = Finding::at(
            &RULE,
            cx,
            tool.process.command.span,
            format!(
                "this build can link objects of another one: {tool_words} finds those of every earlier build and branch \
                 in the cache mount on `{path}`, and the sources keep the time of the build context"
            ),
        )
        .label("compiles only what is younger than its object in the mount")
        .help(help)
        .also(mount.flag.span, "keeps objects from build to build");
        for span in brought {
            finding = finding.also(span, "brings sources with the time that they have in the build context");
        }
        return Some(finding.evidence("tool", name).evidence("mount", path).evidence("build_dir", &tool.dir));
    }
    None
}

/// Whether a mount holds the objects of a tool.
fn holds(mount: &str, tool: &Tool<'_>, before: &[Process<'_>]) -> bool {
    if !tool.scattered {
        let apart =
            tool.sources.as_deref().is_none_or(|s| !is_below(s, mount) || copied_with_times(before, mount));
        return (is_below(&tool.dir, mount) || is_below(mount, &tool.dir) && is_object_folder(mount))
            && apart;
    }
    if is_below(&tool.dir, mount) {
        // The sources are in the mount, if something put them there, or the build was configured from outside.
        let outside = tool.sources.as_deref().is_some_and(|s| !is_below(s, mount));
        return outside || copied_with_times(before, mount);
    }
    tool.objects.iter().any(|o| is_below(o, mount) || is_below(mount, o))
        || is_below(mount, &tool.dir) && is_object_folder(mount)
}

fn is_object_folder(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    OBJECT_FOLDERS.contains(&name) || name.starts_with("cmake-build")
}

/// Whether something copied files into a folder with their times.
fn copied_with_times(before: &[Process<'_>], folder: &str) -> bool {
    before.iter().any(|process| {
        let Some((program, words)) = process.program() else { return false };
        let letters = |set: &[char]| {
            words.iter().any(|w| w.text.starts_with('-') && !w.text.starts_with("--") && w.text.contains(set))
        };
        let long = |start: &str| words.iter().any(|w| w.text.starts_with(start));
        let keeps = match program {
            "cp" => letters(&['p', 'a']) || long("--preserve") || long("--archive"),
            "rsync" => letters(&['a', 't']) || long("--archive") || long("--times"),
            "tar" => true,
            _ => false,
        };
        let into = words.iter().rev().find_map(|w| process.path(w));
        keeps && into.is_some_and(|to| is_below(&to.path, folder))
    })
}

/// Folders that commands copy from.
fn operands(before: &[Process<'_>]) -> Vec<String> {
    let copies = before.iter().filter(|p| matches!(p.program(), Some(("cp" | "rsync", _))));
    copies
        .flat_map(|process| {
            let words = process.program().map(|(_, words)| words).unwrap_or_default();
            let operands: Vec<_> = words.iter().filter(|w| !w.text.starts_with('-')).collect();
            let sources = operands.split_last().map(|(_, sources)| sources.to_vec()).unwrap_or_default();
            sources.into_iter().filter_map(|w| process.path(w)).map(|p| p.path).collect::<Vec<_>>()
        })
        .filter(|path| path != "/")
        .collect()
}

/// Whether a command makes the objects older than the sources, or removes them.
fn renews(process: &Process<'_>, mount: &str) -> bool {
    let Some((program, words)) = process.program() else { return false };
    match program {
        "touch" => true,
        "find" => {
            words.iter().any(|w| w.text.contains("touch") || w.text == "-delete" || w.text.ends_with("rm"))
        }
        "rm" => words
            .iter()
            .filter_map(|w| process.path(w))
            .any(|p| is_below(mount, &p.path) || is_below(&p.path, mount)),
        "git" => words.iter().any(|w| w.text == "clone" || w.text == "checkout"),
        "make" | "gmake" | "ninja" => words.iter().any(|w| w.text == "clean" || w.text == "distclean"),
        "cmake" => words.iter().any(|w| w.text == "clean"),
        _ => false,
    }
}

/// The instructions that bring sources of the context into one of these folders, unless something touched them since.
fn brought(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>, folders: &[&str]) -> Vec<Span> {
    let mut spans = Vec::new();
    for other in cx.model.lineage_steps(step.stage) {
        if std::ptr::eq(other, step) {
            break;
        }
        match &other.action {
            Action::Copy(copy) if copy.is_context() => {
                let map = Mapping::of(copy);
                if copy.paths().any(|(_, pattern)| sources_land(cx, &map, &pattern, folders)) {
                    spans.push(other.instruction.span);
                }
            }
            Action::Run(run) => {
                let touches = |p: &Process<'_>| match p.program() {
                    Some(("touch", _)) => true,
                    Some(("find", words)) => words.iter().any(|w| w.text.contains("touch")),
                    _ => false,
                };
                if processes(run, &other.state).iter().any(touches) {
                    spans.clear();
                }
            }
            _ => {}
        }
    }
    for mount in run.mounts.iter().filter(|m| m.is_context()) {
        let map = Mapping::of_mount(&mount.path);
        if sources_land(cx, &map, &clean_str(&format!("/{}", mount.source)), folders) {
            spans.push(mount.flag.span);
        }
    }
    spans
}

/// Whether a source of the context brings sources of a compiler into one of these folders; without a context that
/// holds any, whether it can.
fn sources_land(cx: &Cx<'_>, map: &Mapping, pattern: &str, folders: &[&str]) -> bool {
    let near = |path: &str| folders.iter().any(|f| is_below(path, f) || is_below(f, path));
    if !near(&map.dest) {
        return false;
    }
    let Some(context) = cx.context() else { return can_bring(pattern) };
    let mut compiled = context
        .entries()
        .filter(|e| e.is_file())
        .filter_map(|e| std::str::from_utf8(&e.path).ok())
        .filter(|p| p.rfind('.').and_then(|at| p.get(at..)).is_some_and(|end| SOURCE_ENDINGS.contains(&end)))
        .peekable();
    if compiled.peek().is_none() {
        // A context with other things in it is the true one, and nothing is compiled of it.
        let alone = |p: &str| p.contains("Dockerfile") || p.ends_with(".dockerignore");
        let empty = context.entries().all(|e| std::str::from_utf8(&e.path).is_ok_and(alone));
        return empty && can_bring(pattern);
    }
    compiled.any(|path| map.destination(pattern, &format!("/{path}")).is_some_and(|to| near(&to)))
}

fn can_bring(pattern: &str) -> bool {
    let name = pattern.rsplit('/').next().unwrap_or_default();
    !name.contains('.') || SOURCE_ENDINGS.iter().any(|end| name.ends_with(end))
}
