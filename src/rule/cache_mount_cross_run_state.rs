//! A RUN that cannot do without what an earlier RUN left in a cache mount.

use super::caches::{self, Use, cache_mounts, depends, uses};
use super::ecosystem::OFFLINE;
use super::{Cx, Rule, words};
use crate::build::model::{Run, RunMount, Step, is_below};
use crate::build::process::{Process, processes};
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::shell::{Connector, ShellWord};

/// See `rules/cache-mount-cross-run-state.md`.
pub(super) const RULE: Rule = Rule {
    name: "cache-mount-cross-run-state",
    page: include_str!("../../rules/cache-mount-cross-run-state.md"),
    check,
};

/// Most bytes of a settings file.
const LONGEST: u64 = 1 << 20;

/// Programs that read the files named as their arguments; true if the last argument is where they write.
const READERS: &[(&str, bool)] = &[
    ("cp", true),
    ("mv", true),
    ("install", true),
    ("ln", true),
    ("rsync", true),
    ("tar", false),
    ("bsdtar", false),
    ("unzip", false),
    ("gunzip", false),
    ("zcat", false),
    ("xz", false),
    ("unxz", false),
    ("zstd", false),
    ("7z", false),
    ("dpkg", false),
    ("rpm", false),
    ("apt-get", false),
    ("apt", false),
    ("apk", false),
    ("dnf", false),
    ("yum", false),
    ("pip", false),
    ("pip3", false),
    ("npm", false),
    ("sh", false),
    ("bash", false),
    (".", false),
    ("source", false),
    ("cat", false),
    ("java", false),
    ("node", false),
    ("python", false),
    ("python3", false),
    ("make", false),
];

/// Programs that make no files which a later command of the RUN could read.
const NEUTRAL: &[&str] = &[
    "cd",
    "mkdir",
    "set",
    "export",
    "echo",
    "true",
    ":",
    "ls",
    "chmod",
    "chown",
    "apt-get",
    "apt",
    "apk",
    "rm",
    "umask",
    "useradd",
    "adduser",
    "groupadd",
    "addgroup",
    "dnf",
    "yum",
    "update-ca-certificates",
    "ldconfig",
    "tar",
    "cp",
    "mv",
    "install",
    "ln",
];

/// Options whose value is a place to write to.
const INTO: &[&str] =
    &["-C", "--directory", "-d", "-o", "-O", "--output", "-P", "--prefix", "--target", "-t"];

/// What a RUN needs of a mount.
struct Need {
    /// The command, or a file.
    span: Span,
    /// As in "`tar` reads `/dl/x`".
    what: String,
    /// The file.
    path: Option<String>,
    /// The program with the cache.
    tool: Option<&'static str>,
    /// How it is told not to fetch.
    offline: Option<String>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let runs = caches::runs_with_caches(cx);
    for (step, run) in &runs {
        let list = processes(run, &step.state);
        let uses = uses(&list);
        for (mount, path) in cache_mounts(run) {
            let id = mount.cache_id();
            let before = runs.iter().filter(|(other, _)| depends(cx, step, other));
            let fillers: Vec<_> = before
                .filter_map(|(other, run)| {
                    let (mount, path) = cache_mounts(run).find(|(m, _)| m.cache_id() == id)?;
                    Some((*other, *run, mount, path))
                })
                .collect();
            if fillers.is_empty() {
                continue;
            }
            let need = reads(&list, &path).or_else(|| offline(cx, step, &path, &list, &uses));
            let Some(need) = need else { continue };
            let filler = fillers.iter().rev().find(|(other, run, _, at)| match (&need.path, need.tool) {
                (Some(file), _) => {
                    let inside = file.strip_prefix(path.trim_end_matches('/')).unwrap_or_default();
                    fills(run, other, at, &format!("{at}{inside}"))
                }
                (None, Some(tool)) => fetches(cx, run, other, at, tool),
                _ => false,
            });
            if let Some((other, other_run, other_mount, _)) = filler {
                findings.push(finding(cx, (step, mount), (other, other_run, other_mount), need, &path));
                break;
            }
        }
    }
}

fn finding(
    cx: &Cx<'_>,
    (_, mount): (&Step<'_>, &RunMount<'_>),
    (filler, filler_run, filler_mount): (&Step<'_>, &Run<'_>, &RunMount<'_>),
    need: Need,
    path: &str,
) -> Finding {
    let line = cx.line(filler.instruction.span);
    let then = match need.offline {
        Some(_) => "the build stops",
        None => "the build stops, or ships that",
    };
    let message = format!(
        "{} in the cache mount on `{path}`, which the RUN of line {line} fills: where that step is CACHED the mount can be \
         empty (another machine, an imported cache, a clean-up) or hold what another build left, and {then}",
        need.what
    );
    let list = processes(filler_run, &filler.state);
    let fetch: Vec<String> = list.iter().take(4).map(|p| words::of_command(p.command)).collect();
    let fetch = words::shortened(&fetch.join(" && "), 120);
    let help = match (&need.offline, &need.path) {
        (Some(option), _) if option == "--frozen" => {
            format!(
                "write `--locked` for `--frozen`, so that it fetches what is missing, or fetch in the same RUN: `{fetch} && …`"
            )
        }
        (Some(option), _) if option.starts_with('-') => {
            format!(
                "drop `{option}`, so that it fetches what is missing, or fetch in the same RUN: `{fetch} && …`"
            )
        }
        (Some(variable), _) => {
            format!(
                "unset `{variable}`, so that it fetches what is missing, or fetch in the same RUN: `{fetch} && …`"
            )
        }
        (None, _) => format!(
            "do both in one RUN: `RUN {} {fetch} && …`; or keep the file in a layer",
            format_args!("--mount={}", filler_mount.flag.value())
        ),
    };
    let mut finding = Finding::at(&RULE, cx, need.span, message)
        .label("needs what is left in the mount")
        .also(filler_mount.flag.span, "is filled here")
        .also(mount.flag.span, "the same cache, with whatever it holds by then")
        .help(help)
        .evidence("id", mount.cache_id())
        .evidence("filled_line", line);
    if let Some(file) = need.path {
        finding = finding.evidence("path", file);
    }
    if let Some(option) = need.offline {
        finding = finding.evidence("offline", option);
    }
    finding
}

/// Whether a command may fail without harm, or may not run.
fn is_guarded(list: &[Process<'_>], index: usize) -> bool {
    let Some(process) = list.get(index) else { return true };
    let next = list.get(index + 1).map(|p| p.command);
    let forgiven = next.is_some_and(|c| c.connector == Connector::Or && c.group == process.command.group);
    process.command.conditional || process.command.negated || forgiven
}

/// A file below a mount that a command reads and that nothing before it in the RUN can have made.
fn reads(list: &[Process<'_>], mount: &str) -> Option<Need> {
    for (index, process) in list.iter().enumerate() {
        let Some((program, words)) = process.program() else { continue };
        let below = |w: &ShellWord| process.path(w).filter(|p| is_below(&p.path, mount) && p.path != mount);
        if matches!(program, "test" | "[" | "[[") {
            // It asks whether the file is there.
            if words.iter().any(|w| below(w).is_some()) {
                return None;
            }
            continue;
        }
        if !is_guarded(list, index)
            && let Some((word, path)) = read_file(process, program, words, mount)
        {
            let name = process.command.words.first().map_or(program, |_| program);
            return Some(Need {
                span: word,
                what: format!("`{name}` looks for `{path}`"),
                path: Some(path),
                tool: None,
                offline: None,
            });
        }
        let writes =
            process.command.redirects.iter().any(|r| r.op.starts_with('>') && below(&r.target).is_some());
        if writes || !NEUTRAL.contains(&program) {
            return None;
        }
        // A copy into the mount.
        if words.iter().any(|w| below(w).is_some()) && program != "mkdir" && program != "chmod" {
            return None;
        }
    }
    None
}

fn read_file(
    process: &Process<'_>,
    program: &str,
    words: &[ShellWord],
    mount: &str,
) -> Option<(Span, String)> {
    let at = process.command.words.len().saturating_sub(words.len() + 1);
    let inside = |w: &ShellWord| {
        let path = process.path(w)?;
        let file = is_below(&path.path, mount) && path.path != mount && !path.glob;
        file.then_some((w.span, path.path))
    };
    if let Some(found) = process.command.words.get(at).filter(|w| w.text.contains('/')).and_then(inside) {
        return Some(found);
    }
    let (_, writes_last) = READERS.iter().find(|(name, _)| *name == program)?;
    let creates = |w: &&ShellWord| {
        let letters = w.text.strip_prefix('-').unwrap_or(&w.text);
        letters.starts_with('c')
            || w.text == "--create"
            || (w.text.starts_with("-") && !w.text.starts_with("--") && letters.contains('c'))
    };
    if matches!(program, "tar" | "bsdtar") && words.first().iter().any(creates) {
        return None;
    }
    // It writes into its own installation or cache there.
    if matches!(program, "npm" | "make") && !words.iter().any(|w| w.text.ends_with(".tgz") || w.text == "-f")
    {
        return None;
    }
    let mut operands = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mode = program == "install" && matches!(word.text.as_str(), "-m" | "-g" | "--mode" | "-S");
        if INTO.contains(&word.text.as_str()) || mode {
            rest.next();
        } else if !word.text.starts_with('-') {
            operands.push(word);
        }
    }
    if *writes_last && process.command.flag_value(&["-t", "--target-directory"]).is_none() {
        operands.pop();
    }
    operands.into_iter().find_map(inside)
}

/// Whether a RUN writes at a path of its mount, as far as its words tell.
fn fills(run: &Run<'_>, step: &Step<'_>, mount: &str, file: &str) -> bool {
    let list = processes(run, &step.state);
    let name = file.rsplit('/').next().unwrap_or_default();
    list.iter().any(|process| {
        let Some((program, words)) = process.program() else { return false };
        if matches!(program, "ls" | "rm" | "test" | "[" | "[[" | "cat" | "echo")
            && process.command.redirects.is_empty()
        {
            return false;
        }
        let targets = process.command.redirects.iter().map(|r| &r.target);
        let named = words.iter().chain(targets).any(|w| {
            // `-O/dl/x`, `of=/dl/x`
            let text = process.value(w).text;
            let tail = text.find('/').and_then(|at| text.get(at..)).unwrap_or_default();
            let whole = process
                .path(w)
                .is_some_and(|p| p.path == file || (is_below(file, &p.path) && is_below(&p.path, mount)));
            whole || tail == file
        });
        let inside = process.cwd.as_deref().is_some_and(|cwd| is_below(cwd, mount))
            && words.iter().any(|w| process.value(w).text.contains(name));
        // What a build makes has no name in its command.
        let builds = [
            "cargo", "make", "ninja", "cmake", "go", "npm", "yarn", "pnpm", "mvn", "gradle", "gradlew",
            "dotnet",
        ];
        let around =
            builds.contains(&program) && process.cwd.as_deref().is_some_and(|cwd| is_below(mount, cwd));
        named || inside || around
    })
}

/// A command that is told not to fetch, and whose cache is in the mount.
fn offline(
    cx: &Cx<'_>,
    step: &Step<'_>,
    mount: &str,
    list: &[Process<'_>],
    uses: &[Use<'_, '_>],
) -> Option<Need> {
    for used in uses {
        let Some(option) = told_offline(used) else { continue };
        let name = used.cache.name;
        let command = used.process.command;
        let index = list.iter().position(|p| std::ptr::eq(p, used.process))?;
        if is_guarded(list, index) {
            continue;
        }
        // pip takes files from any folder that is named.
        let named = name == "pip"
            && command.words.iter().any(|w| {
                let text = w.text.split_once('=').map_or(w.text.as_str(), |(_, v)| v);
                is_below(text, mount)
            });
        if !named && !used.is_served_by(cx, step, mount) {
            continue;
        }
        // The same RUN fetches, or has what it needs beside it.
        let before = list.get(..index).unwrap_or_default();
        let fetched = before.iter().any(|p| {
            p.program()
                .is_some_and(|(n, _)| used.cache.programs.contains(&n.trim_end_matches(char::is_numeric)))
                && !uses.iter().any(|u| std::ptr::eq(u.process, p) && told_offline(u).is_some())
        });
        if fetched || is_vendored(cx, step) {
            return None;
        }
        let shown = words::within(command, used.span);
        return Some(Need {
            span: used.span,
            what: format!("`{shown}` fetches nothing (`{option}`) and looks for its dependencies"),
            path: None,
            tool: Some(name),
            offline: Some(option),
        });
    }
    None
}

/// How a command is told not to fetch.
fn told_offline(used: &Use<'_, '_>) -> Option<String> {
    let known = OFFLINE.iter().find(|o| o.name == used.cache.name)?;
    if used.cache.name == "dotnet" && used.arguments.first().is_some_and(|w| w.text == "restore") {
        return None;
    }
    let option = known.options.iter().find(|o| used.arguments.iter().any(|w| w.text == **o));
    let variable = || {
        known.variables.iter().find(|(name, value)| {
            used.process.environment(|n| n == *name).iter().any(|(_, v)| v.eq_ignore_ascii_case(value))
        })
    };
    option.map(|o| (*o).to_owned()).or_else(|| variable().map(|(name, _)| (*name).to_owned()))
}

/// Whether dependencies lie in the source tree.
fn is_vendored(cx: &Cx<'_>, step: &Step<'_>) -> bool {
    cx.model.lineage_steps(step.stage).any(|s| s.instruction.text.to_str().contains("vendor"))
        || is_replaced(cx)
}

/// Whether cargo's settings in the context put a folder in the place of the registry.
fn is_replaced(cx: &Cx<'_>) -> bool {
    let Some(context) = cx.context() else { return false };
    let settings = context.entries().filter(|e| {
        e.is_file()
            && [&b".cargo/config.toml"[..], b".cargo/config"].iter().any(|name| e.path.ends_with(name))
    });
    settings
        .filter_map(|e| context.read(&e.path, LONGEST).ok().flatten())
        .any(|bytes| String::from_utf8_lossy(&bytes).contains("replace-with"))
}

/// Whether a RUN makes a program fetch into its mount.
fn fetches(cx: &Cx<'_>, run: &Run<'_>, step: &Step<'_>, mount: &str, tool: &str) -> bool {
    let list = processes(run, &step.state);
    uses(&list).iter().any(|u| {
        u.cache.name == tool
            && told_offline(u).is_none()
            && (u.is_served_by(cx, step, mount)
                || u.process
                    .command
                    .words
                    .iter()
                    .any(|w| is_below(w.text.split_once('=').map_or(&*w.text, |(_, v)| v), mount)))
    })
}
