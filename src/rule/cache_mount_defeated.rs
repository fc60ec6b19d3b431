//! A cache mount that the same RUN switches off or empties.

use super::caches::{self, Use, cache_mounts, empties, family, has_tail, uses};
use super::command::system_step;
use super::ecosystem::{CACHES, Family};
use super::edit::safe;
use super::{Cx, Rule, words};
use crate::build::model::{Action, RunMount, Step, is_below};
use crate::build::process::{Process, processes};
use crate::finding::Finding;
use crate::source::Span;

/// See `rules/cache-mount-defeated.md`.
pub(super) const RULE: Rule =
    Rule { name: "cache-mount-defeated", page: include_str!("../../rules/cache-mount-defeated.md"), check };

/// The archive of apt.
const ARCHIVES: &str = "/var/cache/apt/archives";

/// What defeats a mount.
struct Defeat {
    span: Span,
    message: String,
    label: String,
    help: String,
    /// What does it: an option, a variable, a command.
    by: String,
    /// Where else it is said.
    also: Option<(Span, String)>,
    /// A word that does nothing else.
    word: Option<Span>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    for (step, run) in caches::runs_with_caches(cx) {
        let list = processes(run, &step.state);
        let uses = uses(&list);
        for (mount, path) in cache_mounts(run) {
            let served: Vec<&Use<'_, '_>> = uses.iter().filter(|u| u.is_served_by(cx, step, &path)).collect();
            let defeat = switched_off(cx, step, &path, &served)
                .or_else(|| emptied(cx, step, &path, &list, &served))
                .or_else(|| cleaned_by_hook(cx, step, &path, &list));
            let Some(defeat) = defeat else { continue };
            findings.push(finding(cx, mount, &path, defeat));
        }
    }
}

fn finding(cx: &Cx<'_>, mount: &RunMount<'_>, path: &str, defeat: Defeat) -> Finding {
    let mut finding = Finding::at(&RULE, cx, defeat.span, defeat.message)
        .label(defeat.label)
        .also(mount.flag.span, "this cache stays empty")
        .help(defeat.help)
        .fix(defeat.word.and_then(|word| {
            let edit = cx.without_word(word)?;
            Some(safe(format!("drop `{}`", defeat.by), vec![edit]))
        }))
        .evidence("mount", path)
        .evidence("by", defeat.by);
    if let Some((span, text)) = defeat.also {
        finding = finding.also(span, text);
    }
    finding
}

/// All commands that could use the mount have their cache off.
fn switched_off(cx: &Cx<'_>, step: &Step<'_>, path: &str, served: &[&Use<'_, '_>]) -> Option<Defeat> {
    let offs: Vec<String> = served.iter().map(|u| u.switched_off()).collect::<Option<_>>()?;
    let (used, by) = (served.first()?, offs.into_iter().next()?);
    let command = words::within(used.process.command, used.span);
    let name = used.cache.name;
    let is_option = by.starts_with('-');
    let how =
        if is_option { format!("`{command}` has `{by}`") } else { format!("`{by}` is set for `{command}`") };
    let message = format!(
        "{how}, so the cache that is mounted on `{path}` is neither read nor filled: everything is downloaded again \
         whenever this step runs"
    );
    let span =
        used.process.command.words.iter().find(|w| w.text.starts_with(&by)).map_or(used.span, |w| w.span);
    // For apk another folder has to be mounted.
    let word = used.process.command.words.iter().find(|w| w.text == by && name != "apk" && is_option);
    let word = word.map(|w| w.span).filter(|span| cx.file.text(*span) == by);
    let also = if is_option { None } else { set_at(cx, step, &by).map(|s| (s, "is set here".to_owned())) };
    let help = match (name, is_option) {
        ("apk", _) => "drop `--no-cache` and mount the folder in which apk keeps packages: \
             `--mount=type=cache,target=/etc/apk/cache,sharing=locked` and `apk add --update-cache …`"
            .to_owned(),
        (_, true) => format!("drop `{by}`: what {name} writes into the mount is no part of the image anyway"),
        (_, false) => format!(
            "remove `{by}`: what {name} writes into the mount is no part of the image anyway; or take the mount away"
        ),
    };
    Some(Defeat { span, message, label: format!("switches the cache of {name} off"), help, by, also, word })
}

/// The ENV or ARG that sets a variable.
fn set_at(cx: &Cx<'_>, step: &Step<'_>, name: &str) -> Option<Span> {
    let before = cx.model.lineage_steps(step.stage).take_while(|other| !std::ptr::eq(*other, step));
    let sets = |s: &&Step<'_>| match &s.action {
        Action::Env(pairs) => pairs.iter().any(|(k, _)| k == name),
        Action::Arg(args) => args.iter().any(|a| a.name == name),
        _ => false,
    };
    before.filter(sets).last().map(|s| s.instruction.span)
}

/// A command removes what is in the mount.
fn emptied(
    cx: &Cx<'_>,
    step: &Step<'_>,
    path: &str,
    list: &[Process<'_>],
    served: &[&Use<'_, '_>],
) -> Option<Defeat> {
    for process in list.iter().filter(|p| !p.command.conditional) {
        let cleans = CACHES.iter().find(|cache| {
            let uses = served.iter().any(|u| std::ptr::eq(u.cache, *cache));
            (uses || has_tail(path, cache.tails)) && empties(cache, process)
        });
        let removes = removed(process).into_iter().any(|gone| {
            // A part counts if it is the whole cache of a program, or the index of apt.
            let part = served.iter().filter_map(|u| u.place(cx, step)).any(|place| gone == place);
            let index = gone == "/var/lib/apt/lists" || gone == ARCHIVES;
            is_below(path, &gone) && gone != "/" || (is_below(&gone, path) && (part || index))
        });
        if cleans.is_none() && !removes {
            continue;
        }
        let shown = words::shortened(&words::of_command(process.command), 60);
        let message = format!(
            "`{shown}` empties the cache mount on `{path}` in the RUN that fills it: the next run of this step finds \
             nothing there, and neither does any other build that shares the cache"
        );
        let help = format!("drop `{shown}`: what lies in a cache mount is no part of the image");
        return Some(Defeat {
            span: process.command.span,
            message,
            label: "removes what is in the mount".to_owned(),
            help,
            by: shown,
            also: None,
            word: None,
        });
    }
    None
}

/// Folders whose content a command removes.
fn removed(process: &Process<'_>) -> Vec<String> {
    let Some((program, words)) = process.program() else { return Vec::new() };
    let recursive = || {
        words.iter().any(|w| {
            w.text == "--recursive"
                || (w.text.starts_with('-') && !w.text.starts_with("--") && w.text.contains(['r', 'R']))
        })
    };
    let paths = match program {
        "rm" => words.iter().filter(|w| !w.text.starts_with('-')).collect(),
        "find" if words.iter().any(|w| w.text == "-delete") => {
            let only = ["-name", "-path", "-iname", "-mtime", "-atime", "-newer", "-size", "-regex"];
            if words.iter().any(|w| only.contains(&w.text.as_str())) {
                return Vec::new();
            }
            words.iter().take_while(|w| !w.text.starts_with('-')).collect()
        }
        _ => Vec::new(),
    };
    let mut out = Vec::new();
    for path in paths.into_iter().filter_map(|w| process.paths(w)).flatten() {
        match path.path.strip_suffix("/*").or_else(|| path.path.strip_suffix("/**")) {
            Some(folder) if !folder.contains(['*', '?', '[']) => out.push(folder.to_owned()),
            None if !path.glob && (program == "find" || recursive()) => out.push(path.path),
            _ => {}
        }
    }
    out
}

/// The images of Debian and Ubuntu delete packages after each install.
fn cleaned_by_hook(cx: &Cx<'_>, step: &Step<'_>, path: &str, list: &[Process<'_>]) -> Option<Defeat> {
    if !is_below(ARCHIVES, path) {
        return None;
    }
    let distribution = match family(&step.state)? {
        Family::Debian => "Debian",
        Family::Ubuntu => "Ubuntu",
        _ => return None,
    };
    let install =
        list.iter().find_map(|p| system_step(p.command).filter(|s| s.installs && s.manager.name == "apt"))?;
    for other in cx.model.lineage_steps(step.stage) {
        let text = other.instruction.text.to_str();
        let settings = ["docker-clean", "apt.conf", "Dir::Cache", "/etc/apt "];
        let copied = matches!(&other.action, Action::Copy(c) if is_below(&c.dest, "/etc") || c.dest == "/");
        let heredoc =
            other.instruction.heredocs.iter().any(|h| settings.iter().any(|s| h.content().contains(s)));
        if copied || heredoc || settings.iter().any(|s| text.contains(s)) {
            return None;
        }
        if std::ptr::eq(other, step) {
            break;
        }
    }
    let message = format!(
        "the cache mount on `{path}` holds no packages after this step: the images of {distribution} come with \
         `/etc/apt/apt.conf.d/docker-clean`, which deletes every package as soon as it is installed"
    );
    Some(Defeat {
        span: install.span,
        message,
        label: "downloads all packages again whenever it runs".to_owned(),
        help: "remove the setting first, in this RUN or above: `RUN rm -f /etc/apt/apt.conf.d/docker-clean`"
            .to_owned(),
        by: "/etc/apt/apt.conf.d/docker-clean".to_owned(),
        also: None,
        word: None,
    })
}
