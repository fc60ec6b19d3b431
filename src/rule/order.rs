//! Steps that install or download, and the copies above them that they take nothing of. Each edit of what such a copy
//! brings runs the step again.

use super::command::{self, package_install};
use super::ecosystem::{INSTALLERS, SETTINGS_OF_INSTALLERS, SETTINGS_PLACES, TOOLCHAIN_FILES};
use super::{Cx, Finding, words, work};
use crate::build::model::{Action, Copy, CopySource, MountKind, Run, Step, is_below};
use crate::build::process::{Process, processes};
use crate::context::path::{clean_str, has_wildcard, path_match};
use crate::source::Span;
use crate::stage::Base;
use crate::syntax::shell::{Connector, Script, ShellWord};
use std::collections::HashSet;

/// Copies and installs that are named beside the first one.
const NAMED: usize = 3;

/// Steps of a stage and those it continues; with more of them nothing is said.
const MOST: usize = 1_000;

/// A copy whose files change while the project is worked on.
#[derive(Clone, Copy)]
pub(super) struct Moving<'m, 'a> {
    /// The instruction in its place.
    pub step: &'m Step<'a>,
    /// What it does.
    pub copy: &'m Copy<'a>,
    /// It takes a whole folder of source, or what was built of it; not single files or manifests.
    pub broad: bool,
}

impl Moving<'_, '_> {
    /// The instruction on one line.
    pub(super) fn shown(&self) -> String {
        words::of_instruction(self.step.instruction)
    }
}

/// The copy, if what it brings changes and it is no setting of a package manager.
pub(super) fn moving<'m, 'a>(cx: &Cx<'_>, step: &'m Step<'a>) -> Option<Moving<'m, 'a>> {
    let Action::Copy(copy) = &step.action else { return None };
    step.position?;
    let changes = match copy.from {
        None => copy.is_context(),
        Some(Base::Stage(from)) => follows_source(cx, from),
        _ => false,
    };
    let dest = clean_str(&copy.dest);
    let all_settings = copy.paths().all(|(_, path)| is_setting(&path, &dest));
    if !changes || all_settings {
        return None;
    }
    let program = ["/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/usr/local/sbin"]
        .contains(&dest.as_str());
    let broad = !program
        && match copy.from {
            // A list of dependencies that another stage made changes as seldom as one.
            Some(_) => !copy.paths().all(|(_, path)| path.ends_with("/recipe.json") || is_listed(&path)),
            None => copy.paths().any(|(_, path)| takes_folder(cx, &path)),
        };
    Some(Moving { step, copy, broad })
}

/// Whether a source of the context is a folder or a pattern for everything.
fn takes_folder(cx: &Cx<'_>, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "*" | "**") {
        return true;
    }
    if matches!(name, "patches" | ".yarn") {
        return false;
    }
    match cx.context().and_then(|c| c.entry(path.trim_start_matches('/').as_bytes())) {
        Some(entry) => entry.is_dir(),
        // `Gemfile`, `Makefile`
        None => !name.contains('.') && !has_wildcard(name) && !name.ends_with("file"),
    }
}

/// Whether a path is a manifest or lockfile of some installer.
fn is_listed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    INSTALLERS.iter().flat_map(|i| i.manifests.iter().chain(i.locks)).any(|m| *m == name)
}

/// Whether a file is there for a package manager: its repositories, keys and settings, or a package.
fn is_setting(path: &str, dest: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    SETTINGS_PLACES.iter().any(|p| is_below(dest, p))
        || SETTINGS_OF_INSTALLERS.iter().any(|p| path_match(p, name).unwrap_or(false))
}

/// Whether what is in a stage depends on files of the context.
fn follows_source(cx: &Cx<'_>, stage: usize) -> bool {
    let mut open = vec![stage];
    let mut seen = HashSet::new();
    while let Some(stage) = open.pop() {
        if !seen.insert(stage) {
            continue;
        }
        for step in cx.model.lineage_steps(stage) {
            match &step.action {
                Action::Copy(copy) if copy.is_context() => return true,
                Action::Run(run) if run.mounts.iter().any(|m| m.is_context()) => return true,
                Action::Copy(copy) => open.extend(stage_of(copy.from.as_ref())),
                Action::Run(run) => open.extend(run.mounts.iter().filter_map(|m| stage_of(m.from.as_ref()))),
                _ => {}
            }
        }
    }
    false
}

fn stage_of(base: Option<&Base>) -> Option<usize> {
    match base {
        Some(Base::Stage(stage)) => Some(*stage),
        _ => None,
    }
}

/// What a step installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Packages of the distribution.
    System,
    /// A tool by its name and version, or a download.
    Tool,
    /// A toolchain as a file in the working directory says.
    Toolchain,
}

/// A command that takes nothing of the project's files.
pub(super) struct Late {
    /// What it installs.
    pub kind: Kind,
    /// From the program to the verb.
    pub span: Span,
    /// The whole command.
    pub command: Span,
    /// On one line.
    pub shown: String,
    /// Where a download lands that is named without a folder.
    pub folder: Option<String>,
}

/// The installs of a step that could as well run before the project's files are there.
pub(super) fn installs(step: &Step<'_>) -> Vec<Late> {
    let Action::Run(run) = &step.action else { return Vec::new() };
    let Some(script) = run.script().filter(|s| !s.foreign) else { return Vec::new() };
    // What is taken away again at the end of the RUN has to be installed in it.
    if removes_packages(script) {
        return Vec::new();
    }
    let list = processes(run, &step.state);
    let mut out: Vec<Late> = Vec::new();
    for (index, process) in list.iter().enumerate() {
        let command = process.command;
        // A script may prepare what is installed.
        if is_script(process) {
            break;
        }
        let fed = process.is_fed() || command.redirects.iter().any(|r| r.op == "<");
        if fed || command.negated || command.has_flag(&["--only-upgrade"]) {
            continue;
        }
        let found = system(run, process).or_else(|| tool(process, list.get(index + 1)));
        let Some((kind, span)) = found else { continue };
        let shown = words::shortened(&words::of_command(command), 60);
        if !out.iter().any(|l| l.span == span) {
            let downloads = matches!(command.name(), "curl" | "wget");
            let folder = process.cwd.as_deref().filter(|_| downloads).map(str::to_owned);
            out.push(Late { kind, span, command: command.span, shown, folder });
        }
    }
    out
}

/// Whether some package is removed: `apk del`, `apt-get purge`.
fn removes_packages(script: &Script) -> bool {
    script.commands.iter().any(|c| {
        c.program().is_some_and(|(program, words)| {
            let verbs: &[&str] = match program {
                "apk" => &["del"],
                "apt-get" | "apt" | "aptitude" => &["purge", "remove", "autoremove", "autopurge"],
                "dnf" | "yum" | "microdnf" | "tdnf" | "zypper" => &["remove", "rm", "erase", "autoremove"],
                "pacman" => &["-R", "-Rs", "-Rns", "-Rscn"],
                _ => return false,
            };
            words.iter().any(|w| {
                verbs.contains(&w.text.as_str())
                    || (w.text == "--virtual" || w.text == "-t") && program == "apk"
            })
        })
    })
}

/// Whether a command is a script of the project or of somebody else.
fn is_script(process: &Process<'_>) -> bool {
    let Some((name, _)) = process.program() else { return false };
    let shell = matches!(name, "sh" | "bash" | "dash" | "ash" | "zsh" | "." | "source");
    let by_path = process.command.words.first().is_some_and(|w| {
        let system = ["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"].iter().any(|p| w.text.starts_with(p));
        w.text.contains('/') && !system
    });
    (shell || by_path) && command::is_opaque(process.command) && process.command.connector != Connector::Pipe
}

/// Packages of the distribution, by names that no file decides.
fn system(run: &Run<'_>, process: &Process<'_>) -> Option<(Kind, Span)> {
    let (packages, span) = package_install(process.command)?;
    let kept = run.mounts.iter().any(|m| {
        m.kind == MountKind::Cache
            && ["apt", "apk", "dnf", "yum", "pacman", "zypp"].iter().any(|n| m.path.contains(n))
    });
    (!kept && !packages.is_empty() && packages.iter().all(|w| is_given(process, w)))
        .then_some((Kind::System, span))
}

/// Whether the value of a word comes from the Dockerfile and the machine, not from a file.
fn is_given(process: &Process<'_>, word: &ShellWord) -> bool {
    let text = process.value(word).text;
    if text.contains('`') {
        return false;
    }
    let harmless = |rest: &str| {
        let program = rest.trim_start_matches('(').split([' ', ')']).next().unwrap_or_default();
        matches!(program, "uname" | "dpkg" | "arch" | "nproc" | "id" | "lsb_release" | "rpm" | "apk")
    };
    text.match_indices("$(").all(|(at, _)| harmless(text.get(at + 2..).unwrap_or_default()))
        // Set by a program before it in the RUN.
        && !(word.expands && text.contains("${") && text.contains("[@]"))
}

/// A tool by its name, or a download by its address.
fn tool(process: &Process<'_>, next: Option<&Process<'_>>) -> Option<(Kind, Span)> {
    let (name, arguments) = work::program(process.command)?;
    if matches!(name, "curl" | "wget") {
        let first = process.command.words.first()?.span;
        return download(process, name, arguments, next).map(|span| (Kind::Tool, first.to(span)));
    }
    let found = command::tool_install(process.command)?;
    // Without a version `go install` is about packages that are there already.
    let there = name == "go" && !found.names.iter().all(|w| w.text.contains('@'));
    if there || !found.names.iter().all(|w| is_given(process, w)) {
        return None;
    }
    match found.names.is_empty() {
        true => found.tool.reads_file.then_some((Kind::Toolchain, found.span)),
        false => Some((Kind::Tool, found.span)),
    }
}

/// A download that is kept: the address is complete, and the result goes into a file or an archive.
fn download(
    process: &Process<'_>,
    name: &str,
    arguments: &[ShellWord],
    next: Option<&Process<'_>>,
) -> Option<Span> {
    let is_url = |text: &str| ["http://", "https://", "ftp://"].iter().any(|p| text.starts_with(p));
    let url = arguments.iter().find(|w| is_url(&process.value(w).text))?;
    let text = process.value(url).text;
    let here = ["localhost", "127.0.0.1", "0.0.0.0"].iter().any(|h| text.contains(h));
    let sends = process.command.has_flag(&["-d", "--data", "-X", "--request", "-F", "--form", "-T", "-I"]);
    let piped = next.is_some_and(|n| n.command.connector == Connector::Pipe);
    let written =
        process.command.redirects.iter().any(|r| r.op.starts_with('>') && r.target.text != "/dev/null");
    let option = |w: &ShellWord| {
        let letters = w.text.strip_prefix('-').filter(|l| !l.starts_with('-')).unwrap_or_default();
        letters.contains(['o', 'O']) || w.text.starts_with("--output") || w.text == "--remote-name"
    };
    let kept = piped || written || name == "wget" || arguments.iter().any(option);
    (is_given(process, url) && !here && !sends && kept).then_some(url.span)
}

/// Whether a step names what a copy brings.
pub(super) fn mentions(step: &Step<'_>, copy: &Copy<'_>) -> bool {
    let mut text = step.instruction.text.to_str().into_owned();
    for heredoc in &step.instruction.heredocs {
        text.push_str(&String::from_utf8_lossy(&heredoc.body));
    }
    let names = copy.paths().map(|(_, path)| path.rsplit('/').next().unwrap_or_default().to_owned());
    let dest = clean_str(&copy.dest);
    let dest_name = dest.rsplit('/').next().unwrap_or_default().to_owned();
    names.chain([dest_name]).any(|name| name.len() > 3 && !has_wildcard(&name) && text.contains(&name))
}

/// Whether a step may need what a copy brings, as far as its words and mounts tell.
pub(super) fn may_use(cx: &Cx<'_>, step: &Step<'_>, copy: &Copy<'_>, install: &Late) -> bool {
    let mut text = step.instruction.text.to_str().into_owned();
    for heredoc in &step.instruction.heredocs {
        text.push_str(&String::from_utf8_lossy(&heredoc.body));
    }
    let dest = clean_str(&copy.dest);
    for source in &copy.sources {
        let CopySource::Path { path, .. } = source else { continue };
        let name = path.rsplit('/').next().unwrap_or_default();
        if install.kind != Kind::System && TOOLCHAIN_FILES.contains(&name) {
            return true;
        }
        // The packages are what the files are for: `requirements.apt`.
        if name.len() > 3 && !has_wildcard(name) && install_text(cx, install).contains(name) {
            return true;
        }
        let file = dest.rsplit('/').next().unwrap_or_default();
        if name.len() > 3 && name.contains('.') && !has_wildcard(name) && text.contains(name)
            || file.len() > 3 && file.contains('.') && text.contains(file)
        {
            return true;
        }
    }
    dest.len() > 4 && install_text(cx, install).contains(&dest)
}

fn install_text(cx: &Cx<'_>, install: &Late) -> String {
    cx.file.text(install.command).into_owned()
}

/// Whether a step between a copy and an install prepares the install with the copied files, as a script may do.
fn prepares(step: &Step<'_>) -> bool {
    let Action::Run(run) = &step.action else { return false };
    let Some(script) = run.script() else { return true };
    script.foreign || processes(run, &step.state).iter().any(is_script)
}

/// An install below copies that it takes nothing of.
pub(super) struct Delayed<'m, 'a> {
    /// Its instruction.
    pub step: &'m Step<'a>,
    /// The command.
    pub late: Late,
    /// The copies, the topmost first.
    pub copies: Vec<Moving<'m, 'a>>,
}

/// A finding with the other copies that delay its install, and with the other installs of its group.
pub(super) fn with_others(
    mut finding: Finding,
    delayed: &Delayed<'_, '_>,
    others: &[Delayed<'_, '_>],
) -> Finding {
    for copy in delayed.copies.iter().skip(1).take(NAMED) {
        finding = finding.also(copy.step.instruction.span, "so does this");
    }
    let mut steps = vec![delayed.step.instruction.span];
    for other in others {
        if steps.len() <= NAMED && !steps.contains(&other.step.instruction.span) {
            finding = finding.also(other.late.span, "runs again as well");
            steps.push(other.step.instruction.span);
        }
    }
    finding
}

/// Installs of a stage by the first copy that delays them, in the order of the file.
pub(super) fn groups<'m, 'a>(
    cx: &'m Cx<'a>,
    stage: usize,
    wanted: impl Fn(Kind) -> bool,
) -> Vec<Vec<Delayed<'m, 'a>>> {
    let mut groups: Vec<Vec<Delayed<'m, 'a>>> = Vec::new();
    let Some(lineage) = Lineage::of(cx, stage) else { return groups };
    for one in delayed(cx, &lineage, stage).into_iter().filter(|d| wanted(d.late.kind)) {
        let first = |d: &Delayed<'_, '_>| d.copies.first().map(|c| c.step.instruction.span);
        match groups.iter_mut().find(|g| g.first().is_some_and(|d| first(d) == first(&one))) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// The steps of a stage and of those it continues, with what is asked of them again and again.
pub(super) struct Lineage<'m, 'a> {
    /// In the order of execution.
    pub steps: Vec<&'m Step<'a>>,
    /// The copies that change, by step.
    movers: Vec<Option<Moving<'m, 'a>>>,
    /// Whether a step may prepare later ones with copied files.
    pub barriers: Vec<bool>,
}

impl<'m, 'a> Lineage<'m, 'a> {
    /// Of a stage; `None` if nothing in it changes.
    pub(super) fn of(cx: &'m Cx<'a>, stage: usize) -> Option<Self> {
        let steps: Vec<&'m Step<'a>> = cx.model.lineage_steps(stage).collect();
        let movers: Vec<_> = steps.iter().map(|s| moving(cx, s)).collect();
        if steps.len() > MOST || movers.iter().all(Option::is_none) {
            return None;
        }
        let barriers = steps.iter().map(|s| prepares(s)).collect();
        Some(Self { steps, movers, barriers })
    }

    /// The copies above a step that it does not use, as far up as nothing prepares it with them.
    pub(super) fn unused_above(&self, cx: &Cx<'_>, number: usize, late: &Late) -> Vec<Moving<'m, 'a>> {
        let inside = |m: &Moving<'_, '_>| {
            let dest = clean_str(&m.copy.dest);
            late.folder.as_deref().is_some_and(|f| f != dest && dest != "/" && is_below(f, &dest))
        };
        let Some(step) = self.steps.get(number) else { return Vec::new() };
        let above = self.movers.iter().zip(&self.barriers).take(number).rev();
        let near = above.take_while(|(_, barrier)| !**barrier).filter_map(|(mover, _)| *mover);
        let mut copies: Vec<_> = near.filter(|m| !inside(m) && !may_use(cx, step, m.copy, late)).collect();
        copies.reverse();
        copies
    }
}

/// The installs of a stage below copies of its own, or of a stage it continues if that one needs them itself.
pub(super) fn delayed<'m, 'a>(cx: &Cx<'_>, lineage: &Lineage<'m, 'a>, stage: usize) -> Vec<Delayed<'m, 'a>> {
    let mut out = Vec::new();
    for (number, step) in lineage.steps.iter().enumerate() {
        if step.stage != stage || step.position.is_none() {
            continue;
        }
        for late in installs(step) {
            let copies: Vec<_> = lineage
                .unused_above(cx, number, &late)
                .into_iter()
                .filter(|c| c.broad || late.kind == Kind::System)
                .filter(|c| c.step.stage == stage || !ends_its_stage(cx, c.step))
                .collect();
            if !copies.is_empty() {
                out.push(Delayed { step, late, copies });
            }
        }
    }
    out
}

/// Whether no RUN of its stage stands below a copy.
pub(super) fn ends_its_stage(cx: &Cx<'_>, copy: &Step<'_>) -> bool {
    let stage = cx.model.stages.get(copy.stage).map(|s| s.steps.as_slice()).unwrap_or_default();
    !stage.iter().any(|s| matches!(s.action, Action::Run(_)) && s.position > copy.position)
}
