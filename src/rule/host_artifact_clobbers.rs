//! A broad copy of the context on top of something that the image has just made.

use super::command::{self, operands};
use super::ecosystem::{DEPENDENCIES_IN, RESULT_FOLDERS};
use super::transfer::{self, Transfer};
use super::{Cx, Rule, words};
use crate::build::mapping::Mapping;
use crate::build::model::{Action, CopySource, Run, Step, is_below};
use crate::build::process::{Process, processes};
use crate::cargo::command::{CargoCommand, Verb};
use crate::context::path::{clean_str, has_wildcard};
use crate::finding::Finding;
use crate::source::Span;
use crate::stage::Base;
use crate::syntax::shell::ShellWord;
use std::collections::HashSet;

/// See `rules/host-artifact-clobbers.md`.
pub(super) const RULE: Rule = Rule {
    name: "host-artifact-clobbers",
    page: include_str!("../../rules/host-artifact-clobbers.md"),
    check,
};

/// Files that the evidence names.
const NAMED: usize = 5;

/// Something that a step made.
struct Made {
    /// Absolute in the image.
    path: String,
    span: Span,
    /// As in "line 10 has brought from stage `web`".
    how: String,
    /// A file, not a folder.
    file: bool,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for stage in &cx.model.stages {
        let steps: Vec<&Step<'_>> = cx.model.lineage_steps(stage.index).collect();
        let mut made: Vec<(usize, Made)> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            if matches!(step.action, Action::Copy(_)) {
                for transfer in transfer::of_step(step) {
                    if told.contains(&transfer.span) {
                        continue;
                    }
                    // What is made again below is right in the end.
                    let lasting = made.iter().map(|(_, m)| m).filter(|m| {
                        let rest = steps.get(at + 1..).unwrap_or_default();
                        !rest.iter().any(|later| remakes(cx, later, &m.path))
                    });
                    let lasting: Vec<&Made> = lasting.collect();
                    if let Some(found) = finding(cx, &transfer, &lasting) {
                        told.insert(transfer.span);
                        findings.push(found);
                    }
                }
            }
            for new in makes(cx, step) {
                made.retain(|(_, m)| m.path != new.path);
                made.push((at, new));
            }
            if let Action::Run(run) = &step.action {
                let gone = removed(run, step);
                made.retain(|(_, m)| !gone.iter().any(|g| is_below(&m.path, g)));
            }
        }
    }
}

fn finding(cx: &Cx<'_>, copy: &Transfer<'_, '_>, made: &[&Made]) -> Option<Finding> {
    let map = copy.copy.map(Mapping::of)?;
    // The copy must be of a folder around it, not of the thing itself.
    let around: Vec<&&Made> =
        made.iter().filter(|m| is_below(&m.path, &map.dest) && m.path != map.dest).collect();
    if around.is_empty() {
        return None;
    }
    let context = cx.context()?;
    let selection = context.select(&copy.selector).ok()?;
    let mut hits: Vec<(&Made, Vec<String>, u64)> = Vec::new();
    for entry in selection.entries().filter(|e| e.is_file()) {
        let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
        let Some(to) = map.destination(&copy.path, &format!("/{path}")) else { continue };
        let Some(hit) = around
            .iter()
            .find(|m| if m.file { to == m.path } else { is_below(&to, &m.path) && to != m.path })
        else {
            continue;
        };
        // A source that spells the folder means it.
        let name = hit.path.rsplit('/').next().unwrap_or_default();
        if !hit.file && copy.spelled_parts().any(|p| p == name)
            || hit.file && !has_wildcard(&copy.path) && copy.path.trim_start_matches('/') == path
        {
            continue;
        }
        match hits.iter_mut().find(|(m, _, _)| std::ptr::eq(*m, **hit)) {
            Some((_, paths, count)) => {
                *count += 1;
                if paths.len() < NAMED {
                    paths.push(path.to_owned());
                }
            }
            None => hits.push((hit, vec![path.to_owned()], 1)),
        }
    }
    let (first, paths, count) = hits.first()?;
    let source = paths.first()?;
    // The folder of the context that lands there.
    let depth = first.path.matches('/').count();
    let landed = map.destination(&copy.path, &format!("/{source}"))?;
    let below = landed.matches('/').count().saturating_sub(depth);
    let parts: Vec<&str> = source.split('/').collect();
    let host = parts.get(..parts.len().saturating_sub(below)).unwrap_or_default().join("/");
    let slash = if first.file { "" } else { "/" };
    let files = if *count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let amount = if first.file { String::new() } else { format!(" ({files})") };
    let message = format!(
        "`{}` puts `{host}{slash}` of the context{amount} on top of `{}`, which {}: what lies on the machine that runs the \
         build ships in its place, and on a clean checkout it does not",
        copy.shown(),
        first.path,
        first.how
    );
    let ignore = context.ignore.as_ref().map_or(".dockerignore", |i| i.file.name.as_str());
    let mut finding = Finding::at(&RULE, cx, copy.span, message)
        .label(format!("lands on `{}`", first.path))
        .help(format!("write `{host}` into `{ignore}`, or copy the sources above what is made of them"))
        .evidence("image_path", &first.path)
        .evidence("paths", paths)
        .evidence("files", count);
    for (made, _, _) in hits.iter().take(NAMED) {
        finding = finding.also(made.span, format!("makes `{}`", made.path));
    }
    Some(finding)
}

fn is_result(path: &str) -> bool {
    RESULT_FOLDERS.contains(&path.rsplit('/').next().unwrap_or_default())
}

/// What a step makes.
fn makes(cx: &Cx<'_>, step: &Step<'_>) -> Vec<Made> {
    match &step.action {
        Action::Copy(copy) => {
            let Some(from) = &copy.from else { return Vec::new() };
            let single = copy.sources.len() == 1;
            let mut out = Vec::new();
            for source in &copy.sources {
                let CopySource::Path { path, parents_pattern: None, .. } = source else { continue };
                if has_wildcard(path) {
                    continue;
                }
                let name = path.rsplit('/').next().unwrap_or_default();
                let folder = copy.dest.ends_with('/') || copy.dest.ends_with("/.") || !single;
                let dest = clean_str(&copy.dest);
                // What ends with an extension is a file; the content of a folder lands in the destination itself.
                let looks_file = name.rfind('.').is_some_and(|at| at > 0) && !is_result(path);
                let (to, file) = match (folder, looks_file) {
                    (true, true) => (clean_str(&format!("{dest}/{name}")), true),
                    (_, false) if is_result(&dest) || is_output(cx, from, path) => (dest, false),
                    (false, true) if !is_result(&dest) => (dest, true),
                    _ => continue,
                };
                if file && is_from_context(cx, from, path) {
                    continue;
                }
                let line = cx.line(step.instruction.span);
                let how = match from {
                    Base::Stage(stage) => {
                        let label =
                            cx.graph.stages.get(*stage).map(crate::stage::Stage::label).unwrap_or_default();
                        format!("line {line} has brought from stage `{label}`")
                    }
                    _ => format!("line {line} has brought from another image"),
                };
                out.push(Made { path: to, span: step.instruction.span, how, file });
            }
            out
        }
        Action::Run(run) => made_by_run(cx, step, run),
        _ => Vec::new(),
    }
}

/// Whether a file of a stage is one of the context, so that nothing is lost.
fn is_from_context(cx: &Cx<'_>, from: &Base, path: &str) -> bool {
    let Base::Stage(stage) = from else { return false };
    let Some(context) = cx.context() else { return true };
    cx.model.lineage_steps(*stage).flat_map(transfer::of_step).any(|t| {
        let Some(map) = t.copy.map(Mapping::of) else { return false };
        let lands = |e: &crate::context::Entry| {
            let text = std::str::from_utf8(&e.path).ok();
            text.and_then(|p| map.destination(&t.path, &format!("/{p}"))).is_some_and(|to| to == path)
        };
        context.entries().filter(|e| e.is_file()).any(lands)
    })
}

/// Whether a folder of a stage is what that stage made: beside files of the context, and none of them itself.
fn is_output(cx: &Cx<'_>, from: &Base, path: &str) -> bool {
    let Base::Stage(stage) = from else { return false };
    let Some(context) = cx.context() else { return false };
    let beside = |t: &Transfer<'_, '_>| {
        let map = t.copy.map(Mapping::of);
        map.is_some_and(|m| m.dest != "/" && m.dest != path && is_below(path, &m.dest))
    };
    let copies: Vec<_> = cx.model.lineage_steps(*stage).flat_map(transfer::of_step).collect();
    if !copies.iter().any(beside) {
        return false;
    }
    !copies.iter().any(|t| {
        let (Some(map), Ok(taken)) = (t.copy.map(Mapping::of), context.select(&t.selector)) else {
            return true;
        };
        taken
            .entries()
            .filter_map(|e| std::str::from_utf8(&e.path).ok())
            .any(|p| map.destination(&t.path, &format!("/{p}")).is_some_and(|to| is_below(&to, path)))
    })
}

fn made_by_run(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>) -> Vec<Made> {
    let line = cx.line(step.instruction.span);
    let mut out = Vec::new();
    if let Some(script) = run.script() {
        for install in command::installs(script, &step.state) {
            let Some((_, name)) = DEPENDENCIES_IN.iter().find(|(n, _)| *n == install.installer.name) else {
                continue;
            };
            let path = clean_str(&format!("{}/{name}", install.folder));
            let shown = words::within(install.command, install.span);
            out.push(Made {
                path,
                span: install.span,
                how: format!("`{shown}` on line {line} has filled"),
                file: false,
            });
        }
    }
    for process in processes(run, &step.state) {
        for path in built(&process) {
            let shown = words::shortened(&words::of_command(process.command), 40);
            let how = format!("`{shown}` on line {line} has made");
            out.push(Made { path, span: process.command.span, how, file: false });
        }
    }
    // What is below a mount is not in the image.
    out.retain(|m| run.mount_over(&m.path).is_none());
    out
}

/// Folders that a build is known to write.
fn built(process: &Process<'_>) -> Vec<String> {
    let Some((program, words)) = process.program() else { return Vec::new() };
    let Some(cwd) = process.cwd.as_deref() else { return Vec::new() };
    let has = |name: &str| words.iter().any(|w| w.text == name);
    if let Some(folder) = environment(process, program, words) {
        return vec![folder];
    }
    let names: &[&str] = match program {
        "mix" if has("deps.compile") || has("compile") || has("release") => &["_build"],
        "go" if has("mod") && has("vendor") => &["vendor"],
        "hugo" if !words.iter().any(|w| matches!(w.text.as_str(), "version" | "server" | "mod")) => {
            &["public"]
        }
        "jekyll" if has("build") => &["_site"],
        "mkdocs" if has("build") => &["site"],
        "rails" | "rake" if has("assets:precompile") => &["public/assets"],
        "swift" if has("build") => &[".build"],
        "stack" if has("build") || has("install") => &[".stack-work"],
        "cabal" if has("build") || has("install") => &["dist-newstyle"],
        "sbt"
            if words
                .iter()
                .any(|w| matches!(w.text.as_str(), "compile" | "package" | "assembly" | "stage")) =>
        {
            &["target"]
        }
        "cargo" => match CargoCommand::of(process) {
            Some(c) if !c.remote && matches!(c.verb, Verb::Compile(_)) => &["target"],
            _ => &[],
        },
        "mvn" | "mvnw" if has("package") || has("install") || has("verify") => &["target"],
        "gradle" | "gradlew" if has("build") || has("assemble") => &["build"],
        // A script of that name may write to any of them, and the context holds the one that it is.
        "npm" | "yarn" | "pnpm" | "bun" if has("build") => &["dist", ".next", ".nuxt", ".output"],
        "vite" | "ng" if has("build") => &["dist"],
        "next" if has("build") => &[".next"],
        _ => &[],
    };
    names.iter().map(|name| clean_str(&format!("{cwd}/{name}"))).collect()
}

/// The virtual environment of Python that a command makes or fills.
fn environment(process: &Process<'_>, program: &str, words: &[ShellWord]) -> Option<String> {
    let cwd = process.cwd.as_deref()?;
    let text = |n: usize| words.get(n).map(|w| w.text.as_str()).unwrap_or_default();
    let valued =
        &["-p", "--python", "--prompt", "--with-cmake", "--project", "--directory", "--group", "--extra"];
    let named = |from: usize| {
        let rest = operands(words.get(from..).unwrap_or_default(), valued);
        rest.into_iter().next().and_then(|w| process.path(w)).map(|p| p.path)
    };
    let here = || clean_str(&format!("{cwd}/.venv"));
    let variable = |name: &str| process.environment(|n| n == name).into_iter().next().map(|(_, v)| v);
    let on = |name: &str| {
        variable(name).is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes"))
    };
    match program {
        "virtualenv" => named(0),
        "uv" if text(0) == "venv" => named(1).or_else(|| Some(here())),
        "uv" if text(0) == "sync" => match variable("UV_PROJECT_ENVIRONMENT") {
            Some(place) if place.contains(['$', '`']) => None,
            Some(place) if place.starts_with('/') => Some(clean_str(&place)),
            Some(place) => Some(clean_str(&format!("{cwd}/{place}"))),
            None => Some(here()),
        },
        "poetry" if text(0) == "install" && on("POETRY_VIRTUALENVS_IN_PROJECT") => Some(here()),
        "pipenv" if matches!(text(0), "install" | "sync") && on("PIPENV_VENV_IN_PROJECT") => Some(here()),
        _ if program.starts_with("python") && text(0) == "-m" && matches!(text(1), "venv" | "virtualenv") => {
            named(2)
        }
        _ => None,
    }
}

/// Whether a later step makes a path anew or removes it.
fn remakes(cx: &Cx<'_>, step: &Step<'_>, path: &str) -> bool {
    let again = makes(cx, step).iter().any(|m| m.path == path);
    match &step.action {
        Action::Run(run) => again || removed(run, step).iter().any(|gone| is_below(path, gone)),
        _ => again,
    }
}

/// Paths that a RUN removes.
fn removed(run: &Run<'_>, step: &Step<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for process in processes(run, &step.state) {
        if let Some(("rm", words)) = process.program() {
            let paths =
                words.iter().filter(|w| !w.text.starts_with('-')).filter_map(|w| process.paths(w)).flatten();
            out.extend(paths.map(|p| p.path.strip_suffix("/*").map(str::to_owned).unwrap_or(p.path)));
        }
    }
    out
}
