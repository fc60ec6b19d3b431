use super::command::installs;
use super::ecosystem::DEPENDENCY_FOLDERS;
use super::{Cx, Finding, Rule};
use crate::build::mapping::{Covers, Mapping, covers};
use crate::build::model::{Action, Copy, CopySource, MountKind, Run, RunMount, Step, is_below};
use crate::build::process::{PathValue, Process, of_script, processes};
use crate::cargo::command::{CargoCommand, Verb};
use crate::context::path::{clean_str, has_wildcard};
use crate::source::Span;
use crate::stage::Base;
use crate::syntax::Keyword;
use crate::syntax::shell::{Connector, script_of};

/// See `rules/cache-mount-output-lost.md`.
pub(super) const RULE: Rule = Rule {
    name: "cache-mount-output-lost",
    page: include_str!("../../rules/cache-mount-output-lost.md"),
    check,
};

/// Folders that builds write their results to.
const OUTPUT_FOLDERS: &[&str] = &[
    "target",
    "build",
    "dist",
    "out",
    "bin",
    "obj",
    "_build",
    ".build",
    ".next",
    ".output",
    "node_modules",
    "vendor",
    ".venv",
    "venv",
    "output",
    "release",
    "debug",
    "publish",
    "dist-newstyle",
    ".stack-work",
    "lib",
    "public",
];

/// Programs that make no files of their own accord, so that what another made is still missing after them.
const BYSTANDERS: &[&str] = &[
    "apt-get",
    "apt",
    "apk",
    "dnf",
    "yum",
    "microdnf",
    "echo",
    "printf",
    "chmod",
    "chown",
    "chgrp",
    "rm",
    "rmdir",
    "ls",
    "test",
    "[",
    "[[",
    "cd",
    "export",
    "set",
    "true",
    ":",
    "false",
    "useradd",
    "adduser",
    "groupadd",
    "addgroup",
    "usermod",
    "sed",
    "grep",
    "strip",
    "ldd",
    "file",
    "stat",
    "du",
    "find",
    "sha256sum",
    "md5sum",
    "exit",
    "sleep",
    "id",
    "whoami",
    "env",
    "pwd",
    "which",
    "command",
    "unset",
    "shopt",
    "ulimit",
    "date",
    "uname",
    "wc",
    "head",
    "tail",
    "cat",
    "touch",
    "ldconfig",
    "update-ca-certificates",
    "rustup",
    "setcap",
    "sort",
    "tr",
    "cut",
    "upx",
    "tput",
    "pushd",
    "popd",
    "if",
];

/// Programs that read files named as their arguments; true if the last argument is where they write.
const READERS: &[(&str, bool)] = &[
    ("cp", true),
    ("mv", true),
    ("install", true),
    ("ln", true),
    ("rsync", true),
    ("strip", false),
    ("upx", false),
    ("cat", false),
    ("ldd", false),
    ("objcopy", false),
    ("sha256sum", false),
    ("file", false),
    ("chmod", false),
    ("tar", false),
    ("zip", false),
    ("gzip", false),
    ("setcap", false),
    ("java", false),
    ("node", false),
    ("python", false),
    ("python3", false),
];

/// Something that reads a path of a stage's layers.
struct Read<'r> {
    /// Absolute, perhaps a pattern.
    path: String,
    span: Span,
    /// For people: `COPY --from=build`, `this RUN`, `CMD`.
    by: String,
    /// The steps before it, in the order of execution.
    before: &'r [&'r Step<'r>],
    /// Whether it takes the folder itself.
    folder: bool,
}

fn check(cx: &Cx<'_>, out: &mut Vec<Finding>) {
    let has_cache = |s: &Step<'_>| match &s.action {
        Action::Run(run) => run.mounts.iter().any(|m| m.kind == MountKind::Cache),
        _ => false,
    };
    if !cx.model.steps().any(has_cache) {
        return;
    }
    for stage in &cx.model.stages {
        let lineage: Vec<&Step<'_>> = cx.model.lineage_steps(stage.index).collect();
        let first = lineage.len().saturating_sub(stage.steps.len());
        for (offset, step) in stage.steps.iter().enumerate() {
            let before = lineage.get(..first + offset).unwrap_or_default();
            if step.position.is_none() {
                // A trigger of the base image: its places are not in this file.
                continue;
            }
            match &step.action {
                Action::Copy(copy) => {
                    let Some(Base::Stage(from)) = copy.from else { continue };
                    let whole: Vec<&Step<'_>> = cx.model.lineage_steps(from).collect();
                    for (word, path) in copy.paths() {
                        let by = format!("{} --from={}", step.instruction.keyword.name(), label(cx, from));
                        let read = Read { path, span: word.span, by, before: &whole, folder: true };
                        if report(cx, &read, Some(from), out) {
                            break;
                        }
                    }
                }
                Action::Run(run) => {
                    for mount in
                        run.mounts.iter().filter(|m| m.kind == MountKind::Bind && !m.source.is_empty())
                    {
                        let Some(Base::Stage(from)) = mount.from else { continue };
                        let whole: Vec<&Step<'_>> = cx.model.lineage_steps(from).collect();
                        let path = clean_str(&format!("/{}", mount.source));
                        let by = format!("the mount from `{}`", label(cx, from));
                        let read = Read { path, span: mount.flag.span, by, before: &whole, folder: true };
                        report(cx, &read, Some(from), out);
                    }
                    read_by_run(cx, step, run, before, out);
                }
                Action::Config if matches!(step.instruction.keyword, Keyword::Cmd | Keyword::Entrypoint) => {
                    read_at_start(cx, step, before, out);
                }
                _ => {}
            }
        }
    }
}

fn label(cx: &Cx<'_>, stage: usize) -> String {
    cx.graph.stages.get(stage).map(crate::stage::Stage::label).unwrap_or_default()
}

/// Files that the commands of a RUN read.
fn read_by_run(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>, before: &[&Step<'_>], out: &mut Vec<Finding>) {
    let list = processes(run, &step.state);
    for (index, process) in list.iter().enumerate() {
        let next = list.get(index + 1).map(|p| p.command);
        let forgiven = next.is_some_and(|c| c.connector == Connector::Or && c.group == process.command.group);
        let guarded = process.command.conditional || process.command.negated || forgiven;
        if !guarded {
            for (path, span) in reads(process) {
                if run.mount_over(&path).is_some() {
                    continue;
                }
                let read = Read { path, span, by: "this RUN".to_owned(), before, folder: false };
                if report(cx, &read, None, out) {
                    return;
                }
            }
        }
        // What this command makes, the next ones may read.
        if !is_bystander(process)
            && !matches!(process.program(), Some(("cp" | "mkdir" | "ln" | "install" | "mv", _)))
        {
            return;
        }
        if writes(process, None) {
            return;
        }
    }
}

/// Paths that a command reads, as far as its words tell.
fn reads(process: &Process<'_>) -> Vec<(String, Span)> {
    let mut out = Vec::new();
    let mut add = |word: &crate::syntax::shell::ShellWord| {
        if let Some(path) = process.path(word) {
            out.push((path.path, word.span));
        }
    };
    let Some((program, words)) = process.program() else { return out };
    let at = process.command.words.len().saturating_sub(words.len() + 1);
    if let Some(word) = process.command.words.get(at).filter(|w| w.text.contains('/')) {
        add(word);
    }
    let Some((_, writes_last)) = READERS.iter().find(|(name, _)| *name == program) else { return out };
    let mut operands: Vec<_> = words.iter().filter(|w| !w.text.starts_with('-')).collect();
    if *writes_last && process.command.flag_value(&["-t", "--target-directory"]).is_none() {
        operands.pop();
    }
    operands.into_iter().filter(|w| w.text.contains('/')).for_each(add);
    out
}

/// Files that CMD and ENTRYPOINT run.
fn read_at_start(cx: &Cx<'_>, step: &Step<'_>, before: &[&Step<'_>], out: &mut Vec<Finding>) {
    let script = script_of(step.instruction);
    for process in of_script(&script, &step.state) {
        for word in process.command.words.iter().filter(|w| w.text.contains('/') && !w.text.starts_with('-'))
        {
            if step.state.unknown.cwd && !word.text.starts_with('/') {
                continue;
            }
            let Some(path) = process.path(word) else { continue };
            let by = step.instruction.keyword.name().to_owned();
            let read = Read { path: path.path, span: word.span, by, before, folder: false };
            if report(cx, &read, None, out) {
                return;
            }
        }
    }
}

/// A RUN that wrote into a mount what is looked for in the layers.
struct Lost<'r> {
    mount: &'r RunMount<'r>,
    command: Option<Span>,
    /// An earlier step left something at the path.
    older: Option<Span>,
}

fn report(cx: &Cx<'_>, read: &Read<'_>, stage: Option<usize>, out: &mut Vec<Finding>) -> bool {
    let Some(lost) = lost(cx, read) else { return false };
    let path = &read.path;
    let mount = &lost.mount.path;
    let place = stage.map(|s| format!("stage `{}`", label(cx, s))).unwrap_or_else(|| "the image".to_owned());
    let message = match (lost.older, read.by.as_str()) {
        (Some(_), by) => format!(
            "{by} takes an older `{path}`: the one that is built last is written into the cache mount on `{mount}`, \
             which is no part of {place}"
        ),
        (None, by) => format!(
            "{by} finds no `{path}`: what the build writes there goes into the cache mount on `{mount}`, which is no \
             part of {place}"
        ),
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    let outside = match has_wildcard(name) || name.is_empty() {
        true => "/out/".to_owned(),
        false => format!("/out/{name}"),
    };
    let recursive = if name.contains('.')
        || (!read.folder || path.matches('/').count() > mount.matches('/').count() + 1)
    {
        ""
    } else {
        "-r "
    };
    let help = format!(
        "copy it out in the RUN that has the mount (`… && mkdir -p /out && cp {recursive}{path} {outside}`) and take `{outside}`",
    );
    let mut finding = Finding::at(&RULE, cx, read.span, message)
        .label(if lost.older.is_some() { "an older one is here" } else { "not in the layers" })
        .help(help)
        .also(lost.mount.flag.span, "what is written below this mount stays in the cache");
    if let Some(span) = lost.command {
        finding = finding.also(span, "writes into the mount");
    }
    if let Some(span) = lost.older {
        finding = finding.also(span, "left the older one in the layer");
    }
    out.push(finding.evidence("path", path).evidence("mount", mount));
    true
}

fn lost<'r>(cx: &Cx<'_>, read: &'r Read<'r>) -> Option<Lost<'r>> {
    let path = literal_part(&read.path);
    let covered = |s: &&Step<'_>| match &s.action {
        Action::Run(run) => run.mounts.iter().any(|m| m.kind == MountKind::Cache && is_below(&path, &m.path)),
        _ => false,
    };
    if path == "/" || !read.before.iter().any(covered) {
        return None;
    }
    let mut steps = read.before.iter().rev();
    let (step, run, mount) = loop {
        let step = steps.next()?;
        match &step.action {
            Action::Copy(copy) if brings(cx, copy, &path) => return None,
            Action::Run(run) => match run.mount_over(&path) {
                Some(mount)
                    if mount.kind == MountKind::Cache && mount.path != "/" && step.position.is_some() =>
                {
                    if let Some(mount) = run.mounts.iter().find(|m| std::ptr::eq(*m, mount)) {
                        break (step, run, mount);
                    }
                }
                Some(_) => {}
                // It can have made what is looked for.
                None => {
                    let list = processes(run, &step.state);
                    if list.is_empty()
                        || list
                            .iter()
                            .any(|p| !is_bystander(p) && !elsewhere(p, &path) || writes(p, Some(&path)))
                    {
                        return None;
                    }
                }
            },
            _ => {}
        }
    };
    let list = processes(run, &step.state);
    let maker = list.iter().find(|p| makes(p, &path));
    let mentioned = list.iter().find(|p| mentions(p, &path));
    let name = mount.path.rsplit('/').next().unwrap_or_default();
    let likely = maker.is_some() || mentioned.is_some() || OUTPUT_FOLDERS.contains(&name);
    let programs: Vec<&str> =
        list.iter().filter(|p| !is_bystander(p)).filter_map(|p| Some(p.program()?.0)).collect();
    if list.is_empty() || (programs.is_empty() && mentioned.is_none()) {
        return None;
    }
    let mut older = None;
    for step in steps {
        match &step.action {
            Action::Copy(copy) if brings(cx, copy, &path) => older = older.or(Some(step.instruction.span)),
            Action::Run(earlier) if earlier.mount_over(&path).is_none() => {
                let fetching = earlier.script().map(|s| installs(s, &step.state)).unwrap_or_default();
                for process in processes(earlier, &step.state) {
                    // An install of dependencies fills their folder only.
                    let fetches = fetching.iter().any(|i| std::ptr::eq(i.command, process.command));
                    if fetches && !path.split('/').any(|part| DEPENDENCY_FOLDERS.contains(&part)) {
                        continue;
                    }
                    let program = process.program().map_or("", |(name, _)| name);
                    let cargo = program == "cargo";
                    if makes(&process, &path) || writes(&process, Some(&path)) {
                        older = older.or(Some(process.command.span));
                    } else if !likely && !is_bystander(&process) || (!cargo && programs.contains(&program)) {
                        return None;
                    }
                }
            }
            _ => {}
        }
    }
    // What was there before is still there; only a build that is known to make it anew is of concern.
    if older.is_some() && maker.is_none() {
        return None;
    }
    let command = maker.or(mentioned).map(|p| p.command.span);
    Some(Lost { mount, command, older })
}

/// The folders of a pattern before its first wildcard.
fn literal_part(path: &str) -> String {
    let parts = path.split('/').take_while(|part| !has_wildcard(part));
    let text = parts.collect::<Vec<_>>().join("/");
    if text.is_empty() { "/".to_owned() } else { clean_str(&text) }
}

fn is_bystander(process: &Process<'_>) -> bool {
    process.program().is_none_or(|(name, _)| BYSTANDERS.contains(&name))
}

/// A copy to another place.
fn elsewhere(process: &Process<'_>, path: &str) -> bool {
    let Some((program, words)) = process.program() else { return true };
    match program {
        "cp" | "mv" | "install" | "ln" | "mkdir" => {
            let last = words.iter().rev().find(|w| !w.text.starts_with('-')).and_then(|w| process.path(w));
            last.is_some_and(|to| !is_below(path, &to.path) && !is_below(&to.path, path))
        }
        // Tools for the toolchain, not for this tree.
        "cargo" => CargoCommand::of(process).is_some_and(|c| c.remote || !matches!(c.verb, Verb::Compile(_))),
        "curl" | "wget" => true,
        _ => false,
    }
}

/// Whether a command writes at a path, or at any path if none is asked for, as its words tell.
fn writes(process: &Process<'_>, path: Option<&str>) -> bool {
    let hits = |to: &PathValue| {
        path.is_none_or(|path| is_below(path, &to.path) && to.path != "/" || is_below(&to.path, path))
    };
    let redirected = process.command.redirects.iter().any(|r| {
        r.op.starts_with('>')
            && process
                .path(&r.target)
                .is_some_and(|to| !to.path.starts_with("/dev/") && path.is_some() && hits(&to))
    });
    let Some((program, words)) = process.program() else { return redirected };
    let target = || words.iter().rev().find(|w| !w.text.starts_with('-')).and_then(|w| process.path(w));
    let written = match program {
        "cp" | "mv" | "install" | "ln" | "rsync" => path.is_some() && target().is_some_and(|to| hits(&to)),
        "tar" | "unzip" => {
            process.command.flag_value(&["-C", "-d", "--directory"]).is_none_or(|_| true) && path.is_some()
        }
        _ => false,
    };
    redirected || written
}

/// Whether a command names a path at or below what is looked for, or its folder.
fn mentions(process: &Process<'_>, path: &str) -> bool {
    let words = process.command.words.iter();
    let redirects = process.command.redirects.iter().map(|r| &r.target);
    words.chain(redirects).any(|word| {
        let joined = word.text.split_once('=').map(|(_, value)| value);
        let direct = process.path(word);
        let joined = joined.filter(|v| v.starts_with('/')).map(clean_str);
        direct
            .map(|p| p.path)
            .into_iter()
            .chain(joined)
            .any(|p| p != "/" && (p == path || is_below(&p, path) || parent(path) == p))
    })
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(above, _)| above)
}

/// Whether a command is a build of cargo whose results lie at a path.
fn makes(process: &Process<'_>, path: &str) -> bool {
    let Some(command) = CargoCommand::of(process).filter(|c| matches!(c.verb, Verb::Compile(_)) && !c.remote)
    else {
        return false;
    };
    let dir = command.target_dir.as_ref().and_then(|v| process.absolute(v)).map(|p| p.path);
    let variable = || {
        let found = process.environment(|n| n == "CARGO_TARGET_DIR");
        found.into_iter().map(|(_, text)| text).find(|t| t.starts_with('/')).map(|t| clean_str(&t))
    };
    match dir.or_else(variable) {
        Some(dir) => is_below(path, &dir),
        // The target directory of the package or of the workspace above it.
        None => process.cwd.as_deref().is_some_and(|cwd| {
            path.match_indices("/target").any(|(at, _)| {
                let root = path.get(..at).filter(|r| !r.is_empty()).unwrap_or("/");
                is_below(cwd, root) && is_below(path, &clean_str(&format!("{root}/target")))
            })
        }),
    }
}

/// Whether COPY or ADD puts something at a path.
fn brings(cx: &Cx<'_>, copy: &Copy<'_>, path: &str) -> bool {
    let map = Mapping::of(copy);
    if is_below(&map.dest, path) {
        return true;
    }
    if !is_below(path, &map.dest) {
        return false;
    }
    let rest = path.strip_prefix(map.dest.trim_end_matches('/')).unwrap_or_default();
    copy.sources.iter().any(|source| match source {
        CopySource::Path { path: from, parents_pattern: None, .. } => {
            if copy.from.is_some() {
                // Another stage can hold anything.
                return true;
            }
            let name = from.rsplit('/').next().unwrap_or_default();
            let file = clean_str(&format!("{}/{rest}", from.trim_end_matches('/')));
            match cx.context() {
                Some(context) => {
                    let has = |p: &str| context.entry(p.trim_start_matches('/').as_bytes()).is_some();
                    let pattern = PathValue { path: from.clone(), glob: true, slash: false };
                    let selected = || {
                        let wanted = map.dest.trim_end_matches('/');
                        context.entries().filter_map(|e| std::str::from_utf8(&e.path).ok()).any(|p| {
                            covers(&pattern, &format!("/{p}")) != Covers::No
                                && map
                                    .destination(from, &format!("/{p}"))
                                    .is_some_and(|to| is_below(&to, path) && to != wanted)
                        })
                    };
                    if has_wildcard(from) {
                        selected()
                    } else {
                        has(&file) || rest.trim_start_matches('/') == name && has(from)
                    }
                }
                None => from != "/" && (rest.is_empty() || rest.trim_start_matches('/') == name),
            }
        }
        CopySource::Path { .. } | CopySource::Remote { .. } => true,
        CopySource::Heredoc { name, .. } => rest.trim_start_matches('/') == name || rest.is_empty(),
    })
}
