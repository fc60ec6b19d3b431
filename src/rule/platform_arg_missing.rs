//! Native code that is compiled for the machine that builds, and shipped under every platform.
//!
//! A stage with `--platform=$BUILDPLATFORM` or a constant has one key for all targets. That is right as long as what it
//! makes is for all of them, or is told which one is meant.

use super::{Cx, Rule, transfer, variables, words};
use crate::build::model::{Action, Step, is_below};
use crate::build::process::{self, Process};
use crate::context::path::clean_str;
use crate::finding::Finding;
use crate::source::Span;
use crate::stage::Base;
use crate::syntax::shell::ShellWord;
use crate::syntax::{Args, Keyword};
use std::cell::OnceCell;
use std::collections::HashSet;

/// See `rules/platform-arg-missing.md`.
pub(super) const RULE: Rule =
    Rule { name: "platform-arg-missing", page: include_str!("../../rules/platform-arg-missing.md"), check };

/// Arguments that say which machine is meant.
pub(super) const MACHINE: &[&str] = &["TARGETARCH", "TARGETPLATFORM", "TARGETVARIANT"];

/// Sources that become code of one machine.
const C_ENDINGS: &[&str] = &[".c", ".cc", ".cpp", ".cxx", ".C", ".f90", ".S", ".asm", ".m", ".mm"];

/// Variables that choose a compiler.
const CROSS_VARIABLES: &[&str] = &["CC", "CXX", "CROSS_COMPILE", "CMAKE_TOOLCHAIN_FILE", "ARCH"];

/// Words that tell a build of the make family what it builds for.
const CROSS_WORDS: &[&str] = &[
    "CROSS_COMPILE",
    "TOOLCHAIN",
    "SYSTEM_PROCESSOR",
    "--host",
    "--cross-file",
    "emcmake",
    "emmake",
    "emconfigure",
    "crossbuild",
    "ARCH=",
    " CC=",
    "-linux-gnu-",
    "-linux-gnu ",
    "-musl-",
    "qemu",
];

/// Endings of files that are the same on every machine.
const NEUTRAL: &[&str] = &[
    ".js", ".wasm", ".html", ".css", ".json", ".md", ".txt", ".py", ".jar", ".conf", ".h", ".hpp", ".yaml",
    ".yml", ".toml", ".xml", ".sh", ".pc", ".sql", ".proto", ".crt", ".pem",
];

/// Folders of such files.
const NEUTRAL_FOLDERS: &[&str] = &[
    "docs",
    "doc",
    "man",
    "include",
    "html",
    "static",
    "templates",
    "migrations",
    "assets",
    "public",
    "web",
    "etc",
    "config",
    "conf",
    "scripts",
    "locale",
    "i18n",
    "node_modules",
];

/// Programs that put a file elsewhere.
const MOVERS: &[&str] = &["cp", "mv", "install", "ln", "rsync"];

/// A command that compiles for the machine it runs on, or for one that is spelled out.
struct Compile {
    span: Span,
    /// The command on one line.
    shown: String,
    /// Why all platforms get the same, as the end of a sentence.
    why: String,
    /// Where the result may be.
    results: Vec<String>,
    /// What to write instead.
    help: String,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        let Some(pin) = pinned(cx, stage.index) else { continue };
        let mut knows = false;
        let family = OnceCell::new();
        for step in cx.model.lineage_steps(stage.index) {
            let Action::Run(run) = &step.action else {
                knows |= names_machine(cx, step);
                continue;
            };
            let Some(script) = variables::script(cx, step) else { continue };
            knows |= names_machine(cx, step) || script.commands.iter().any(|c| c.name().starts_with("xx-"));
            if knows || step.stage != stage.index {
                continue;
            }
            let processes = process::processes(run, &step.state);
            // A sourced file may set anything.
            if processes.iter().any(|p| matches!(p.program(), Some(("." | "source" | "eval", _)))) {
                knows = true;
                continue;
            }
            for process in &processes {
                let Some(mut compile) = compiled(cx, process, stage.index, &family) else { continue };
                follow_moves(&processes, &mut compile.results);
                for later in
                    stage.steps.iter().filter(|s| s.instruction.span.start > step.instruction.span.start)
                {
                    if let Action::Run(run) = &later.action {
                        follow_moves(&process::processes(run, &later.state), &mut compile.results);
                    }
                }
                if let Some(taken) = shipped(cx, stage.index, &compile.results)
                    && told.insert(compile.span)
                {
                    findings.push(finding(cx, stage.index, &pin, &compile, taken));
                }
            }
        }
    }
}

/// The platform that a stage is bound to, as written, with its place; `None` if it follows the target.
pub(super) fn pinned<'a>(cx: &Cx<'a>, stage: usize) -> Option<(&'a str, Span)> {
    let lineage = cx.graph.lineage(stage);
    // `FROM build-$TARGETARCH`: another base for each platform.
    if lineage.iter().filter_map(|s| cx.graph.stages.get(*s)).any(|s| s.base_written.contains("TARGET")) {
        return None;
    }
    let root = lineage.into_iter().next()?;
    let graph: &'a crate::stage::StageGraph<'a> = cx.graph;
    let from = graph.stages.get(root)?;
    let written = from.platform_written;
    let is_build = ["BUILDPLATFORM", "BUILDOS", "BUILDARCH"].iter().any(|n| written.contains(n));
    let span = from.from.flag("platform").map(|f| f.span)?;
    ((is_build || !written.contains('$')) && !written.contains("TARGET") && !written.is_empty())
        .then_some((written, span))
}

/// Whether a step does something with the machine that is meant, beyond saying its name.
fn names_machine(cx: &Cx<'_>, step: &Step<'_>) -> bool {
    let is = |name: &str| MACHINE.contains(&name);
    if let Some(script) = variables::script(cx, step) {
        return variables::read_by(cx, script).iter().any(|r| {
            let command = r.command.and_then(|n| script.commands.get(n));
            let says =
                command.is_some_and(|c| matches!(c.name(), "echo" | "printf") && c.redirects.is_empty());
            is(&r.name) && !says
        }) || step.instruction.text.to_str().contains("printenv TARGET");
    }
    match step.instruction.keyword {
        // The words of a mount are no part of what is compiled, those of a label neither.
        Keyword::Run => MACHINE.iter().any(|n| step.instruction.rest.to_str().contains(n)),
        Keyword::Label => false,
        Keyword::Arg => match &step.instruction.args {
            Args::ArgDefs(pairs) => pairs
                .iter()
                .filter(|p| !is(&p.key.text))
                .filter_map(|p| p.value.as_ref())
                .any(|v| MACHINE.iter().any(|n| v.text.contains(n))),
            _ => false,
        },
        _ => variables::expanded_in(cx, step.instruction).iter().any(|r| is(&r.name)),
    }
}

fn compiled(
    cx: &Cx<'_>,
    process: &Process<'_>,
    stage: usize,
    family: &OnceCell<Option<Vec<String>>>,
) -> Option<Compile> {
    let (program, arguments) = process.program()?;
    let cwd = process.cwd.as_deref().unwrap_or("/").to_owned();
    let verb = arguments
        .iter()
        .find(|w| !w.text.starts_with(['-', '+']))
        .map(|w| w.text.as_str())
        .unwrap_or_default();
    let option = |names: &[&str]| option(process, arguments, names);
    let variable = |name: &str| process.environment(|n| n == name).into_iter().next().map(|(_, v)| v);
    let known = |value: &str| !value.contains(['$', '`']);
    let output = |names: &[&str]| match option(names) {
        Some(path) if known(&path) => Some(absolute(&cwd, &path)),
        _ => None,
    };
    let written = words::joined(&cx.file.text(process.command.span));
    let line = words::shortened(&written, 60);
    let constant = |what: &str, value: &str| format!("{what} is `{value}` for every platform");
    let (why, results, help) = match program {
        "go" if matches!(verb, "build" | "install") => {
            let arch = variable("GOARCH");
            if variable("GOOS").is_some_and(|os| matches!(os.as_str(), "js" | "wasip1"))
                || arch.as_deref().is_some_and(|a| a == "wasm" || !known(a))
            {
                return None;
            }
            let why = match arch.as_deref() {
                Some("") | None => "GOARCH is not set from the target".to_owned(),
                Some(arch) => constant("GOARCH", arch),
            };
            let result = match verb {
                "build" => output(&["-o"]).unwrap_or(cwd),
                _ => variable("GOBIN").filter(|b| known(b)).unwrap_or_else(|| "/go/bin".to_owned()),
            };
            let rest: Vec<&str> = written.split(' ').skip_while(|w| !w.ends_with("go")).collect();
            let set = "GOOS=$TARGETOS GOARCH=$TARGETARCH";
            let cgo = if written.contains("CGO_ENABLED=0") || variable("CGO_ENABLED").as_deref() == Some("0")
            {
                "CGO_ENABLED=0 "
            } else {
                ""
            };
            (
                why,
                vec![result],
                format!("ARG TARGETOS TARGETARCH\nRUN {cgo}{set} {}", words::shortened(&rest.join(" "), 120)),
            )
        }
        "cargo" if matches!(verb, "build" | "b" | "install" | "rustc" | "zigbuild" | "auditable") => {
            let target = option(&["--target"]).or_else(|| variable("CARGO_BUILD_TARGET"));
            let why = match target.as_deref() {
                Some(t) if !known(t) || t.starts_with("wasm") => return None,
                Some(t) => constant("`--target`", t),
                None => "cargo has no `--target`".to_owned(),
            };
            let folder =
                option(&["--target-dir"]).or_else(|| variable("CARGO_TARGET_DIR")).filter(|t| known(t));
            let result = match verb {
                "install" => match option(&["--root"]) {
                    Some(root) if known(&root) => absolute(&cwd, &root),
                    _ => "/usr/local/cargo/bin".to_owned(),
                },
                _ => folder.map_or_else(|| absolute(&cwd, "target"), |t| absolute(&cwd, &t)),
            };
            let help = "ARG TARGETARCH\nRUN case $TARGETARCH in amd64) t=x86_64 ;; arm64) t=aarch64 ;; esac && \\\n    rustup \
                        target add $t-unknown-linux-musl && cargo build --release --target $t-unknown-linux-musl";
            (why, vec![result], help.to_owned())
        }
        "gcc" | "g++" | "cc" | "c++" | "clang" | "clang++" | "rustc" | "ghc" | "nim" | "crystal" | "dmd"
        | "ldc2" | "zig" | "native-image" | "pyinstaller" | "swift" | "swiftc" => {
            let told = arguments
                .iter()
                .any(|w| w.text.contains("target") || w.text.contains("triple") || w.text == "-march");
            let asks = arguments
                .iter()
                .any(|w| matches!(w.text.as_str(), "--version" | "-v" | "-V" | "--help" | "-E" | "-M"));
            let builds = match program {
                "zig" => matches!(verb, "build" | "build-exe" | "build-lib" | "cc" | "c++"),
                "swift" | "crystal" => verb == "build",
                "nim" => matches!(verb, "c" | "compile" | "cpp"),
                _ => true,
            };
            if told || asks || !builds {
                return None;
            }
            let result = output(&["-o", "--output"]).unwrap_or(cwd);
            let help =
                "let the stage follow the target: drop its `--platform`; or cross-compile:\nARG TARGETARCH";
            (format!("`{program}` has no target"), vec![result], help.to_owned())
        }
        "dotnet" if verb == "publish" => {
            let runtime = option(&["-r", "--runtime", "-a", "--arch"])?;
            if !known(&runtime) || runtime == "any" || runtime == "portable" {
                return None;
            }
            let result = output(&["-o", "--output"]).unwrap_or(cwd);
            let help = "ARG TARGETARCH\nRUN dotnet publish -a $TARGETARCH …";
            (constant("the runtime", &runtime), vec![result], help.to_owned())
        }
        "make" | "gmake" | "cmake" | "ninja" | "samu" | "meson" => {
            if !is_family_build(process, program, arguments) {
                return None;
            }
            let family = family.get_or_init(|| self::family(cx, stage)).clone()?;
            let help =
                "let the stage follow the target: drop its `--platform`; or cross-compile:\nARG TARGETARCH";
            (format!("`{program}` is told of no target"), family, help.to_owned())
        }
        _ => return None,
    };
    Some(Compile { span: process.command.span, shown: line, why, results, help })
}

/// Whether a command of the make family compiles, with nothing in its environment that chooses a machine.
fn is_family_build(process: &Process<'_>, program: &str, arguments: &[ShellWord]) -> bool {
    let has = |name: &str| arguments.iter().any(|w| w.text == name);
    let builds = match program {
        "cmake" => has("--build"),
        "meson" => has("compile") || has("install"),
        _ => !["clean", "distclean", "-n", "--version", "-v", "help"].into_iter().any(has),
    };
    builds && !CROSS_VARIABLES.iter().any(|name| !process.environment(|n| n == *name).is_empty())
}

/// Where builds of the make family put their results, if they compile C of the context for the machine they run on.
fn family(cx: &Cx<'_>, stage: usize) -> Option<Vec<String>> {
    let root = cx.graph.lineage(stage).first().and_then(|s| cx.graph.stages.get(*s))?;
    if ["emsdk", "emscripten", "wasm", "wasi"].iter().any(|n| root.base_text.contains(n)) {
        return None;
    }
    let context = cx.context()?;
    let mut native = false;
    let mut places = Vec::new();
    for step in cx.model.lineage_steps(stage) {
        native = native
            || transfer::of_step(step).iter().any(|t| {
                let Ok(taken) = context.select(&t.selector) else { return false };
                let is_c = |path: &[u8]| C_ENDINGS.iter().any(|end| path.ends_with(end.as_bytes()));
                taken.entries().any(|e| e.is_file() && is_c(&e.path))
            });
        let text = step.instruction.text.to_str();
        let bodies = step.instruction.heredocs.iter().map(|h| String::from_utf8_lossy(&h.body));
        if std::iter::once(text).chain(bodies).any(|t| CROSS_WORDS.iter().any(|w| t.contains(w))) {
            return None;
        }
        if let Action::Run(run) = &step.action {
            for process in process::processes(run, &step.state) {
                installs_into(&process, &mut places);
            }
        }
    }
    native.then_some(places)
}

/// The folders that the words of a build of the make family name.
fn installs_into(process: &Process<'_>, places: &mut Vec<String>) {
    let Some((program, arguments)) = process.program() else { return };
    if !matches!(program, "make" | "gmake" | "cmake" | "ninja" | "samu" | "meson" | "configure") {
        return;
    }
    let cwd = process.cwd.as_deref().unwrap_or("/").to_owned();
    let mut add = |path: String| {
        if !places.contains(&path) {
            places.push(path);
        }
    };
    let mut told = false;
    for (n, word) in arguments.iter().enumerate() {
        let value = process.value(word).text;
        let (name, joined) =
            value.split_once('=').map_or((value.as_str(), None), |(n, v)| (n, Some(v.to_owned())));
        let plain = name.strip_prefix("-D").unwrap_or(name);
        let bare = plain.trim_start_matches('-').to_ascii_uppercase();
        let place = matches!(
            bare.as_str(),
            "DESTDIR" | "PREFIX" | "CMAKE_INSTALL_PREFIX" | "INSTALL" | "BUILD" | "O"
        ) || matches!(name, "-B" | "-C");
        if !place {
            continue;
        }
        let given = joined.or_else(|| {
            let next = arguments.get(n + 1).filter(|_| name.starts_with('-'))?;
            Some(process.value(next).text)
        });
        if let Some(path) = given.filter(|p| !p.is_empty() && !p.contains(['$', '`'])) {
            told |= matches!(bare.as_str(), "DESTDIR" | "PREFIX" | "CMAKE_INSTALL_PREFIX");
            add(absolute(&cwd, &path));
        }
    }
    let install = arguments.iter().any(|w| matches!(w.text.as_str(), "install" | "--install"));
    if install && !told {
        add("/usr/local".to_owned());
    }
    add(clean_str(&cwd));
}

/// The value of an option, with what is known put in.
fn option(process: &Process<'_>, arguments: &[ShellWord], names: &[&str]) -> Option<String> {
    for (n, word) in arguments.iter().enumerate() {
        for name in names {
            if word.text == *name {
                return arguments.get(n + 1).map(|w| process.value(w).text);
            }
            if let Some(value) = word.text.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                let known = process.value(word);
                let text = known.text.split_once('=').map_or(value.to_owned(), |(_, v)| v.to_owned());
                return Some(text);
            }
        }
    }
    None
}

fn absolute(cwd: &str, path: &str) -> String {
    if path.starts_with('/') { clean_str(path) } else { clean_str(&format!("{cwd}/{path}")) }
}

/// Adds the places to which results are moved.
fn follow_moves(processes: &[Process<'_>], results: &mut Vec<String>) {
    for process in processes {
        let Some((program, arguments)) = process.program() else { continue };
        if !MOVERS.contains(&program) {
            continue;
        }
        let mut operands: Vec<&ShellWord> = arguments.iter().filter(|w| !w.text.starts_with('-')).collect();
        let Some(target) = operands.pop() else { continue };
        let moved =
            operands.iter().any(|w| process.path(w).is_none_or(|p| results.iter().any(|r| meet(r, &p.path))));
        if let Some(target) = process.path(target).filter(|_| moved)
            && !results.contains(&target.path)
        {
            results.push(target.path);
        }
    }
}

/// Whether one path lies in the other, up to its first wildcard.
fn meet(a: &str, b: &str) -> bool {
    let plain = |p: &str| {
        let end = p.find(['*', '?', '[']).unwrap_or(p.len());
        p.get(..end).unwrap_or_default().to_owned()
    };
    let (a, b) = (plain(a), plain(b));
    is_below(&a, &b) || is_below(&b, &a)
}

/// Whether what lies at a path is the same on every machine, as far as its name tells.
fn is_neutral(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    NEUTRAL.iter().any(|e| name.ends_with(e)) || NEUTRAL_FOLDERS.contains(&name)
}

/// The instruction that takes a result into a stage for the target platform.
fn shipped(cx: &Cx<'_>, stage: usize, results: &[String]) -> Option<Span> {
    let mut open: Vec<(usize, String)> = results.iter().map(|r| (stage, r.clone())).collect();
    let mut seen = HashSet::new();
    while let Some((from, path)) = open.pop() {
        for step in cx.model.steps() {
            let Action::Copy(copy) = &step.action else { continue };
            let Some(Base::Stage(source)) = copy.from else { continue };
            let takes = |p: &str| meet(p, &path) && (!is_neutral(p) || is_below(&path, p));
            if !cx.graph.continues(source, from) || !copy.paths().any(|(_, p)| takes(&p)) {
                continue;
            }
            if pinned(cx, step.stage).is_none() && cx.ships(step.stage) {
                return Some(step.instruction.span);
            }
            if seen.insert((step.stage, step.instruction.span.start)) {
                open.push((step.stage, clean_str(&copy.dest)));
            }
        }
    }
    None
}

fn finding(
    cx: &Cx<'_>,
    stage: usize,
    (platform, flag): &(&str, Span),
    compile: &Compile,
    taken: Span,
) -> Finding {
    let name = cx.graph.stages.get(stage).map(|s| s.label()).unwrap_or_default();
    let line = cx.line(taken);
    let message = format!(
        "`{}` makes the same binary for every platform: stage `{name}` always runs on `{platform}` and {}; line {line} \
         puts it into the image of each platform, where others stop with `exec format error`",
        compile.shown, compile.why
    );
    Finding::at(&RULE, cx, compile.span, message)
        .label(compile.why.clone())
        .also(*flag, "the same for every target")
        .also(taken, "ships it")
        .help(format!("tell the compiler what it builds for:\n{}", compile.help))
        .evidence("platform", platform)
        .evidence("results", &compile.results)
        .evidence("copied_line", line)
}
