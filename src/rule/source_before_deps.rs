//! Source copied above an install that needs manifests only.

use super::command::{self, Install};
use super::ecosystem::{DEPENDENCY_FOLDERS, INSTALLERS, OTHER_MANIFESTS, SOURCE_FOLDERS};
use super::transfer::{self, Transfer};
use super::{Cx, Rule, words};
use crate::build::model::{Action, MountKind, Run, is_below};
use crate::context::ContextIndex;
use crate::context::path::{clean_str, path_match};
use crate::finding::Finding;
use std::collections::HashSet;

/// See `rules/source-before-deps.md`.
pub(super) const RULE: Rule =
    Rule { name: "source-before-deps", page: include_str!("../../rules/source-before-deps.md"), check };

/// Most bytes of a manifest that is read.
const LONGEST: u64 = 1 << 20;
/// Installs that are named beside the first one.
const NAMED: usize = 3;

/// It has a rule of its own.
const CHEF: &str = "cargo chef";

/// Folders that an install may read, by their usual names.
const INSTALL_FOLDERS: &[&str] = &[
    "patches",
    "prisma",
    ".yarn",
    "vendor",
    "scripts",
    "script",
    "bin",
    "hooks",
    "packages",
    "libs",
    "requirements",
    "third_party",
    "config",
    "build",
    "tools",
    "plugins",
    "tasks",
    "bootstrap",
    "stubs",
];

/// Endings of code by the installers of its language.
const CODE: &[(&[&str], &[&str])] = &[
    (&["pip", "uv", "poetry", "pdm", "pipenv", "conda"], &[".py"]),
    (&["npm", "yarn", "pnpm", "bun"], &[".js", ".mjs", ".ts", ".jsx", ".tsx", ".vue", ".svelte"]),
    (&["go"], &[".go"]),
    (&["bundler"], &[".rb"]),
    (&["composer"], &[".php"]),
    (&["maven", "gradle"], &[".java", ".kt", ".scala", ".groovy"]),
    (&["mix"], &[".ex", ".exs"]),
    (&["dart"], &[".dart"]),
];

/// An install that runs again with every edit.
struct Late<'m, 'a> {
    install: Install<'m>,
    /// What it needs, as paths in the context.
    needs: Vec<String>,
    /// The copy that stands above it.
    above: usize,
    /// The instruction on one line.
    shown: String,
    step: &'m crate::build::model::Step<'a>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        let mut copies: Vec<Transfer<'_, '_>> = Vec::new();
        let mut done: HashSet<&str> = HashSet::new();
        let mut late: Vec<Late<'_, '_>> = Vec::new();
        for step in cx.model.lineage_steps(stage.index) {
            match &step.action {
                Action::Copy(copy) if copy.from.is_some() => {
                    // Dependencies that another stage installed: what follows only links.
                    let brings = |path: &str| path.split('/').any(|part| DEPENDENCY_FOLDERS.contains(&part));
                    if copy.paths().any(|(_, path)| brings(&path)) || brings(&copy.dest) {
                        done.extend(INSTALLERS.iter().map(|i| i.name));
                    }
                }
                Action::Copy(_) => copies.extend(transfer::of_step(step)),
                Action::Run(run) => {
                    let Some(script) = run.script() else { continue };
                    for install in command::installs(script, &step.state) {
                        // A second install completes the first one.
                        let little = costs_little(run, &install) || install.installer.name == CHEF;
                        if !done.insert(install.installer.name) || little {
                            continue;
                        }
                        let Some(above) = copies.iter().rposition(|c| is_source_for(cx, c, &install)) else {
                            continue;
                        };
                        let Some(needs) = needs(cx, &copies, &install) else { continue };
                        let shown = words::of_instruction(step.instruction);
                        late.push(Late { install, needs, above, shown, step });
                    }
                }
                _ => {}
            }
        }
        // What an inherited stage does has been said there.
        late.retain(|l| told.insert(l.install.span));
        for (number, copy) in copies.iter().enumerate() {
            let group: Vec<&Late<'_, '_>> = late.iter().filter(|l| l.above == number).collect();
            findings.extend(finding(cx, copy, &group));
        }
    }
}

/// Whether what it fetches lies in a cache mount as a whole.
fn costs_little(run: &Run<'_>, install: &Install<'_>) -> bool {
    install.installer.kept_by_mount && run.mounts.iter().any(|m| m.kind == MountKind::Cache)
}

/// Whether a copy brings source that changes more often than what an install needs.
fn is_source_for(cx: &Cx<'_>, copy: &Transfer<'_, '_>, install: &Install<'_>) -> bool {
    let name = copy.path.rsplit('/').next().unwrap_or_default();
    let holds_folder = is_below(&install.folder, &copy.dest)
        || install.files.iter().any(|file| is_below(file, &copy.dest) && *file != copy.dest);
    let inner_source = copy.dest != install.folder
        && is_below(&copy.dest, &install.folder)
        && SOURCE_FOLDERS.contains(&name);
    if copy.is_whole() {
        return holds_folder && has_source(cx, copy).unwrap_or(true);
    }
    if copy.path.contains('*') {
        return false;
    }
    if !(holds_folder || inner_source) {
        // A package of the project, by whatever name: the context shows its code.
        return copy.dest != install.folder
            && is_below(&copy.dest, &install.folder)
            && !INSTALL_FOLDERS.contains(&name)
            && holds_code(cx, copy, install);
    }
    match has_source(cx, copy) {
        Some(answer) => answer,
        // Only a folder can hold the folder in which the install runs.
        None => {
            inner_source
                || (is_below(&install.folder, &copy.dest) && copy.dest != "/" && !looks_like_file(name))
        }
    }
}

/// Whether a copy takes a folder with code in the language that is installed for.
fn holds_code(cx: &Cx<'_>, copy: &Transfer<'_, '_>, install: &Install<'_>) -> bool {
    let endings = CODE.iter().find(|(names, _)| names.contains(&install.installer.name)).map(|(_, e)| *e);
    let (Some(endings), Some(context)) = (endings, cx.context()) else { return false };
    let is_folder = context.entry(copy.path.trim_matches('/').as_bytes()).is_some_and(|e| e.is_dir());
    let is_code = |path: &[u8]| endings.iter().any(|e| path.ends_with(e.as_bytes()));
    let Ok(selection) = context.select(&copy.selector) else { return false };
    // Folders with manifests are packages that the install may read.
    let name = |path: &'_ [u8]| path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
    is_folder
        && selection.entries().any(|e| e.is_file() && is_code(&e.path))
        && !selection.entries().any(|e| e.is_file() && is_manifest(&name(&e.path)))
}

fn looks_like_file(name: &str) -> bool {
    name.contains('.') || is_manifest(name.as_bytes())
}

/// Whether a copy takes files that no install reads, in folders; `None` if the context holds nothing of it that
/// could tell.
fn has_source(cx: &Cx<'_>, copy: &Transfer<'_, '_>) -> Option<bool> {
    let context = cx.context()?;
    let selection = context.select(&copy.selector).ok()?;
    let single = !copy.is_whole()
        && context.entry(copy.path.trim_start_matches('/').as_bytes()).is_some_and(|e| !e.is_dir());
    if single {
        return Some(false);
    }
    let mut any = false;
    for entry in selection.entries().filter(|e| e.is_file()) {
        let name = entry.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if is_about_the_build(name) {
            continue;
        }
        any = true;
        let prose = [&b"README"[..], b"LICENSE", b"CHANGELOG"].iter().any(|p| name.starts_with(p));
        if !is_manifest(name) && !prose {
            return Some(true);
        }
    }
    any.then_some(false)
}

/// Files that tell nothing about the project: a Dockerfile alone is no context.
fn is_about_the_build(name: &[u8]) -> bool {
    name.ends_with(b".dockerignore")
        || name.ends_with(b"ockerfile")
        || name.starts_with(b"Dockerfile")
        || name.starts_with(b"Containerfile")
}

fn is_manifest(name: &[u8]) -> bool {
    let known = INSTALLERS.iter().flat_map(|i| i.manifests.iter().chain(i.locks)).chain(OTHER_MANIFESTS);
    known.copied().any(|m| matches(m, name))
}

fn matches(pattern: &str, name: &[u8]) -> bool {
    pattern.as_bytes() == name || (pattern.contains('*') && path_match(pattern, name).unwrap_or(false))
}

/// The files in the context that an install needs; `None` if it needs more than manifests, or if they do not come
/// from the context.
fn needs(cx: &Cx<'_>, copies: &[Transfer<'_, '_>], install: &Install<'_>) -> Option<Vec<String>> {
    let installer = install.installer;
    let mut wanted: Vec<String> = install.files.clone();
    if wanted.is_empty() {
        wanted.extend(installer.manifests.iter().map(|m| clean_str(&format!("{}/{m}", install.folder))));
    }
    let manifests = wanted.len();
    wanted.extend(installer.locks.iter().map(|l| clean_str(&format!("{}/{l}", install.folder))));
    let context = cx.context().filter(|c| is_known(c));
    let mut found = Vec::new();
    for (n, path) in wanted.iter().enumerate() {
        let Some(source) = source_among(copies, path) else { continue };
        match context.filter(|c| !is_hollow(c, &source)) {
            Some(context) => found.extend(present(context, &source)),
            // Nothing is known of the folder: the usual names.
            None if !install.files.is_empty() => found.push(source),
            None if n == 0 || (n == manifests && !wanted.iter().any(|w| w.contains('*'))) => {
                found.push(source)
            }
            None => {}
        }
    }
    found.dedup();
    let first = found.first()?;
    match context {
        None => Some(found),
        // A lockfile alone says that the manifest comes from elsewhere.
        Some(context) => {
            let named = !install.files.is_empty();
            let name = first.rsplit('/').next().unwrap_or(first);
            let listed = named || installer.manifests.iter().any(|m| matches(m, name.as_bytes()));
            let more = found.iter().any(|f| needs_source(context, f, install));
            (listed && !more).then_some(found)
        }
    }
}

/// Whether the context is more than the Dockerfile.
fn is_known(context: &ContextIndex) -> bool {
    context.entries().filter(|e| e.is_file()).any(|e| {
        let name = e.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        !is_about_the_build(name)
    })
}

/// Whether the deepest folder of a path that is in the context is empty, so that nothing is known of it: a tree of which
/// only names were given, or a submodule that nobody has fetched.
fn is_hollow(context: &ContextIndex, path: &str) -> bool {
    let mut folder = path;
    while let Some((above, _)) = folder.rsplit_once('/') {
        folder = above;
        if context.entry(folder.as_bytes()).is_some_and(|e| e.is_dir()) {
            let inside = format!("{folder}/");
            let mut below =
                context.entries().filter(|e| e.is_file() && e.path.starts_with(inside.as_bytes()));
            return below
                .all(|e| is_about_the_build(e.path.rsplit(|b| *b == b'/').next().unwrap_or_default()));
        }
    }
    false
}

/// The path in the context of a file in the image: a copy that names it counts before one of its folder.
pub(super) fn source_among(copies: &[Transfer<'_, '_>], path: &str) -> Option<String> {
    let copies = || copies.iter().rev();
    copies().find_map(|c| named_source(c, path)).or_else(|| copies().find_map(|c| folder_source(c, path)))
}

/// The same for a copy of that file, or of a pattern that it matches.
pub(super) fn named_source(copy: &Transfer<'_, '_>, path: &str) -> Option<String> {
    if copy.is_whole() {
        return None;
    }
    let source = copy.path.trim_start_matches('/');
    if path == copy.dest {
        return Some(source.to_owned());
    }
    let name = path.strip_prefix(copy.dest.trim_end_matches('/'))?.strip_prefix('/')?;
    let (folder, last) = source.rsplit_once('/').unwrap_or(("", source));
    let is = !name.contains('/') && (last == name || matches(last, name.as_bytes()));
    is.then(|| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") })
}

/// The same for a copy of a folder whose content lands around it.
fn folder_source(copy: &Transfer<'_, '_>, path: &str) -> Option<String> {
    let rest = path.strip_prefix(copy.dest.trim_end_matches('/'))?.strip_prefix('/')?;
    if copy.is_whole() {
        return Some(rest.to_owned());
    }
    let source = copy.path.trim_start_matches('/');
    let last = source.rsplit('/').next().unwrap_or(source);
    let file = last.contains('*') || is_manifest(last.as_bytes());
    (!file).then(|| format!("{source}/{rest}"))
}

/// The files of that name or pattern in the context.
fn present(context: &ContextIndex, path: &str) -> Vec<String> {
    if !path.contains('*') {
        return context
            .entry(path.as_bytes())
            .filter(|e| e.is_file())
            .map(|_| path.to_owned())
            .into_iter()
            .collect();
    }
    let found = context.entries().filter(|e| e.is_file() && path_match(path, &e.path).unwrap_or(false));
    found.map(|e| String::from_utf8_lossy(&e.path).into_owned()).collect()
}

/// Whether a manifest says that the install reads other files of the project: members of a workspace, local packages,
/// scripts that run on install.
fn needs_source(context: &ContextIndex, path: &str, install: &Install<'_>) -> bool {
    let Ok(Some(bytes)) = context.read(path.as_bytes(), LONGEST) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    if text.trim().is_empty() {
        return false;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let line = |test: &dyn Fn(&str) -> bool| text.lines().map(str::trim).any(test);
    match name {
        "package.json" => {
            let beside = path.strip_suffix("package.json").unwrap_or_default();
            context.entry(format!("{beside}pnpm-workspace.yaml").as_bytes()).is_some()
                || node_needs_source(&text, install)
        }
        "go.mod" => line(&|l| l.split_once("=>").is_some_and(|(_, to)| to.trim().starts_with('.'))),
        "Gemfile" => line(&|l| l.starts_with("gemspec") || l.contains("path:") || l.contains(":path =>")),
        "pom.xml" => text.contains("<module>"),
        "composer.json" => text.replace(' ', "").contains("\"type\":\"path\""),
        "mix.exs" => text.contains("apps_path") || text.contains("path:"),
        "pyproject.toml" => {
            text.contains("workspace") || line(&|l| l.contains("path = \"") || l.contains("file://"))
        }
        "pubspec.yaml" => line(&|l| l.starts_with("path:")),
        "Pipfile" => line(&|l| l.contains("path =") || l.contains("editable")),
        _ if install.installer.name == "pip" || install.installer.name == "uv" => line(&|l| {
            let local = l.strip_prefix("-e").or_else(|| l.strip_prefix("--editable")).unwrap_or(l).trim();
            local.starts_with('.') || local.starts_with("file:")
        }),
        _ => false,
    }
}

fn node_needs_source(text: &str, install: &Install<'_>) -> bool {
    let Ok(manifest) = serde_json::from_str::<serde_json::Value>(text) else { return true };
    let entries = |key: &str| manifest.get(key).and_then(|v| v.as_object()).into_iter().flatten();
    let local = |value: &str| {
        ["file:", "link:", "portal:", "workspace:", "./", "../"].iter().any(|p| value.starts_with(p))
    };
    let dependencies = ["dependencies", "devDependencies", "optionalDependencies"];
    let any_local = dependencies.iter().any(|key| entries(key).any(|(_, v)| v.as_str().is_some_and(local)));
    // Hooks for git need no source; others may.
    let harmless =
        |script: &str| ["husky", "lefthook", "simple-git-hooks", "is-ci"].iter().any(|w| script.contains(w));
    let scripts = entries("scripts")
        .filter(|(name, _)| matches!(name.as_str(), "preinstall" | "install" | "postinstall" | "prepare"));
    let skipped = install.command.has_flag(&["--ignore-scripts"]);
    let runs = !skipped && scripts.filter_map(|(_, v)| v.as_str()).any(|s| !harmless(s));
    manifest.get("workspaces").is_some() || any_local || runs
}

fn finding(cx: &Cx<'_>, copy: &Transfer<'_, '_>, late: &[&Late<'_, '_>]) -> Option<Finding> {
    let (first, rest) = late.split_first()?;
    let command = words::within(first.install.command, first.install.span);
    let message = format!(
        "every edit of a file that `{}` takes makes `{command}` on line {} install all dependencies again, although \
         it needs {} only",
        copy.shown(),
        cx.line(first.install.span),
        words::list(&first.needs, 3)
    );
    let mut lines = Vec::new();
    for one in late {
        lines.extend(advice(copy, one));
    }
    let last = copy.shown();
    lines.push(last);
    for one in late {
        match one.install.installer.split {
            Some((_, "")) => lines.push(format!("RUN {}", placed(&one.install))),
            Some((_, then)) => lines.push(format!("RUN {then}")),
            None => {}
        }
    }
    let mut seen = HashSet::new();
    lines.retain(|line| seen.insert(line.clone()));
    let mut finding = Finding::at(&RULE, cx, copy.span, message)
        .label("source, above the install of dependencies")
        .also(first.install.span, "runs again with every edit above")
        .help(format!("copy what the install needs first, and the source below it:\n{}", lines.join("\n")))
        .evidence("installer", first.install.installer.name)
        .evidence("needs", &first.needs)
        .evidence("install_line", cx.line(first.install.span));
    for other in rest.iter().take(NAMED) {
        finding = finding.also(other.install.span, "so does this");
    }
    Some(finding)
}

/// The lines to write above the source: the manifests, then the install.
fn advice(copy: &Transfer<'_, '_>, late: &Late<'_, '_>) -> Vec<String> {
    let install = &late.install;
    let cwd = clean_str(&late.step.state.cwd);
    let (folder, named) = match install.files.first() {
        Some(file) => {
            (file.rsplit_once('/').map_or("/", |(f, _)| if f.is_empty() { "/" } else { f }).to_owned(), true)
        }
        None => (install.folder.clone(), false),
    };
    let dest = match folder.strip_prefix(&cwd) {
        Some("") => "./".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("{}/", rest.trim_start_matches('/')),
        _ => format!("{}/", folder.trim_end_matches('/')),
    };
    let owner =
        copy.step.instruction.flag("chown").map(|f| format!("--chown={} ", f.value())).unwrap_or_default();
    let first = format!("COPY {owner}{} {dest}", late.needs.join(" "));
    // A RUN that does more is not shown whole: its other commands may need the source.
    let alone =
        matches!(&late.step.action, Action::Run(run) if run.script().is_some_and(|s| s.commands.len() == 1));
    let options = install.installer.split.map(|(options, _)| options).filter(|o| !late.shown.contains(o));
    let command = placed(install);
    let run = match (alone, named || options.is_none()) {
        (true, true) => late.shown.clone(),
        _ => format!("RUN {command}"),
    };
    match options {
        Some(options) => vec![first, format!("{run} {options}")],
        None => vec![first, run],
    }
}

/// The command alone, in the folder it runs in.
fn placed(install: &Install<'_>) -> String {
    let command = words::shortened(&words::of_command(install.command), 100);
    match &install.moved {
        Some(folder) => format!("cd {folder} && {command}"),
        None => command,
    }
}
