//! Where the programs of a RUN keep their caches: by user, home directory, variables, options and base image. What
//! cannot be told is `None`, never a guess. The folders are data of `ecosystem`.

use super::Cx;
use super::command::{installer_program, operands};
use super::ecosystem::{CACHES, Family, KNOWN_IMAGES, KnownImage, OTHER_FOLDERS, ToolCache};
use crate::build::model::{Action, MountKind, Run, RunMount, Step, is_below};
use crate::build::process::{Process, processes};
use crate::build::state::State;
use crate::context::path::clean_str;
use crate::image::reference::Reference;
use crate::source::Span;
use crate::stage::Base;
use crate::syntax::shell::ShellWord;

/// Most bytes of a settings file.
const LONGEST: u64 = 1 << 20;

/// A command that uses the cache of its program.
pub(super) struct Use<'p, 's> {
    /// Which cache.
    pub cache: &'static ToolCache,
    /// The command.
    pub process: &'p Process<'s>,
    /// The arguments of the program.
    pub arguments: &'s [ShellWord],
    /// From the program to the verb.
    pub span: Span,
}

/// The commands that use caches.
pub(super) fn uses<'p, 's>(list: &'p [Process<'s>]) -> Vec<Use<'p, 's>> {
    let mut out = Vec::new();
    for process in list {
        for cache in CACHES {
            let Some((arguments, words)) = arguments_of(cache, process) else { continue };
            let verb = words.first().map_or("", |w| w.text.as_str());
            if !cache.verbs.is_empty() && !cache.verbs.contains(&verb) {
                continue;
            }
            let Some(first) = process.command.words.first() else { continue };
            let last = words.first().filter(|w| w.span.start >= first.span.start);
            let span = last.map_or(first.span, |w| first.span.to(w.span));
            out.push(Use { cache, process, arguments, span });
        }
    }
    out
}

/// The arguments of a program with that cache, and those that are no options.
fn arguments_of<'s>(
    cache: &ToolCache,
    process: &Process<'s>,
) -> Option<(&'s [ShellWord], Vec<&'s ShellWord>)> {
    let (name, arguments) = installer_program(process.command)?;
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !cache.programs.contains(&name) && !cache.programs.contains(&plain) {
        return None;
    }
    let words = operands(arguments, &[cache.valued, cache.options].concat());
    Some((arguments, words))
}

/// Whether a command empties the cache of its program.
pub(super) fn empties(cache: &ToolCache, process: &Process<'_>) -> bool {
    let Some((arguments, words)) = arguments_of(cache, process) else { return false };
    cache.empties.iter().any(|phrase| {
        let mut parts = phrase.split_whitespace();
        let has = |part: &str| arguments.iter().any(|w| w.text == part);
        let verb = parts.next().unwrap_or_default();
        words.first().is_some_and(|w| w.text == verb) && parts.all(has)
    })
}

impl Use<'_, '_> {
    /// The option or variable that switches the cache off for this command.
    pub(super) fn switched_off(&self) -> Option<String> {
        let option = self.cache.off_options.iter().find(|option| {
            self.arguments.iter().any(|w| {
                let rest = w.text.strip_prefix(*option);
                rest.is_some_and(|r| r.is_empty() || matches!(r, "=1" | "=true"))
            })
        });
        if let Some(option) = option {
            return Some((*option).to_owned());
        }
        self.cache.off_variables.iter().find_map(|(name, any)| {
            let value = self.process.environment(|n| n == *name).into_iter().next()?.1;
            let on = matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on" | "t" | "y");
            (on || (*any && !value.is_empty() && !value.contains('$'))).then(|| (*name).to_owned())
        })
    }

    /// Where the cache is.
    pub(super) fn place(&self, cx: &Cx<'_>, step: &Step<'_>) -> Option<String> {
        if self.process.command.words.iter().any(|w| w.text.contains("Dir::")) || changes_user(self.process) {
            return None;
        }
        if self
            .cache
            .options
            .iter()
            .any(|o| self.arguments.iter().any(|w| w.text == *o || w.text.starts_with(&format!("{o}="))))
        {
            let value = self.process.command.flag_value(self.cache.options)?;
            let known = !value.contains(['$', '`', '~']) && value.starts_with('/');
            return known.then(|| clean_str(value));
        }
        for (name, below) in self.cache.places {
            if name.is_empty() {
                return Some((*below).to_owned());
            }
            let value = if *name == "HOME" {
                home(cx, step, self.process)?
            } else {
                match variable(&step.state, self.process, name) {
                    Known::Is(value) => value,
                    Known::Unset => continue,
                    Known::Not => return None,
                }
            };
            return value.starts_with('/').then(|| clean_str(&format!("{value}{below}")));
        }
        yarn_place(cx, step, self.process).filter(|_| self.cache.name == "yarn")
    }

    /// Other folders that versions of the program use.
    pub(super) fn others(&self, cx: &Cx<'_>, step: &Step<'_>) -> Vec<String> {
        let home = home(cx, step, self.process);
        let expand = |path: &&str| match path.strip_prefix('~') {
            Some(rest) => home.as_ref().map(|home| clean_str(&format!("{home}{rest}"))),
            None => Some((*path).to_owned()),
        };
        self.cache.also.iter().filter_map(expand).collect()
    }

    /// Whether a mount on that path holds the cache, or a part of it; if that cannot be told, whether it looks so.
    pub(super) fn is_served_by(&self, cx: &Cx<'_>, step: &Step<'_>, mount: &str) -> bool {
        match self.place(cx, step) {
            Some(place) => overlap(mount, &place) || self.others(cx, step).iter().any(|p| is_below(mount, p)),
            None => has_tail(mount, self.cache.tails),
        }
    }
}

/// Whether one path is the other or below it.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    is_below(a, b) || is_below(b, a)
}

/// What is known of a variable.
enum Known {
    Is(String),
    Unset,
    Not,
}

fn variable(state: &State, process: &Process<'_>, name: &str) -> Known {
    if let Some((_, value)) = process.environment(|n| n == name).into_iter().next() {
        return if value.contains(['$', '`']) { Known::Not } else { Known::Is(value) };
    }
    if !state.unknown.env {
        return Known::Unset;
    }
    match base_image(state) {
        Some(image) => match image.env.iter().find(|(n, _)| *n == name) {
            Some((_, value)) => Known::Is((*value).to_owned()),
            None => Known::Unset,
        },
        None => Known::Not,
    }
}

/// What is known of the image that a stage begins with.
pub(super) fn base_image(state: &State) -> Option<&'static KnownImage> {
    let reference = base_reference(state)?;
    KNOWN_IMAGES.iter().find(|i| i.name == reference.name)
}

/// The image that a stage begins with, if nobody could look into it.
pub(super) fn base_reference(state: &State) -> Option<Reference> {
    let text = state.unknown.base.as_deref()?;
    Reference::parse(text.strip_prefix("docker-image://").unwrap_or(text))
}

/// Which distribution a stage is made of, if that is known.
pub(super) fn family(state: &State) -> Option<Family> {
    let image = base_image(state)?;
    let tag = base_reference(state)?.tag.unwrap_or_default();
    let has = |part: &str| tag.split(['-', '.']).any(|t| t.starts_with(part));
    if has("alpine") {
        return Some(Family::Alpine);
    }
    if ["jammy", "noble", "focal", "bionic"].iter().any(|t| has(t)) {
        return Some(Family::Ubuntu);
    }
    let other = ["windows", "nanoserver", "azurelinux", "cbl", "mariner", "distroless", "ubi"];
    (!other.iter().any(|t| has(t))).then_some(image.family)
}

/// Whether a command runs as somebody else than the RUN.
fn changes_user(process: &Process<'_>) -> bool {
    let count = process.program().map_or(0, |(_, arguments)| arguments.len() + 1);
    let words = &process.command.words;
    let before = words.len().saturating_sub(count);
    process.command.subshell_depth > 0 && words.is_empty()
        || words.iter().take(before).any(|w| {
            let name = w.text.rsplit('/').next().unwrap_or_default();
            matches!(name, "sudo" | "gosu" | "su-exec" | "doas" | "setpriv" | "chroot" | "runuser" | "su")
        })
}

/// An account.
pub(super) struct Account {
    /// Its name, or its number if that is all.
    pub name: String,
    /// Its number.
    pub uid: Option<u32>,
    /// Its home directory.
    pub home: Option<String>,
}

/// Who a RUN is, if that is known.
pub(super) fn account(cx: &Cx<'_>, step: &Step<'_>) -> Option<Account> {
    let state = &step.state;
    let image = base_image(state);
    // Without an /etc/passwd of its own, as in `FROM scratch`, root's home is another.
    let lineage = cx.graph.lineage(step.stage);
    if lineage.iter().filter_map(|i| cx.graph.stages.get(*i)).any(|s| matches!(s.base, Base::Scratch)) {
        return None;
    }
    if state.unknown.user {
        // All known images begin as root.
        image?;
    }
    let user = state.user.split(':').next().unwrap_or_default();
    if matches!(user, "" | "root" | "0") {
        return Some(Account { name: "root".to_owned(), uid: Some(0), home: Some("/root".to_owned()) });
    }
    let number: Option<u32> = user.parse().ok();
    let is = |a: &Account| a.name == user || (number.is_some() && a.uid == number);
    let made = accounts(cx, step);
    if let Some(found) = made.into_iter().rev().find(is) {
        return Some(found);
    }
    let given = image?.accounts.iter().find(|(name, uid, _)| *name == user || Some(*uid) == number)?;
    Some(Account { name: given.0.to_owned(), uid: Some(given.1), home: Some(given.2.to_owned()) })
}

/// The home directory of a command.
fn home(cx: &Cx<'_>, step: &Step<'_>, process: &Process<'_>) -> Option<String> {
    match variable(&step.state, process, "HOME") {
        Known::Is(value) => value.starts_with('/').then(|| clean_str(&value)),
        Known::Not => None,
        Known::Unset => account(cx, step)?.home,
    }
}

/// Accounts that the steps before one make.
fn accounts(cx: &Cx<'_>, step: &Step<'_>) -> Vec<Account> {
    let mut out: Vec<Account> = Vec::new();
    for other in cx.model.lineage_steps(step.stage) {
        if std::ptr::eq(other, step) {
            break;
        }
        let Action::Run(run) = &other.action else { continue };
        for process in processes(run, &other.state) {
            let Some((program @ ("useradd" | "adduser" | "usermod"), words)) = process.program() else {
                continue;
            };
            let Some(made) = made_account(&process, program, words) else { continue };
            match out.iter_mut().find(|a| a.name == made.name) {
                Some(known) if program == "usermod" => {
                    known.uid = made.uid.or(known.uid);
                    known.home = made.home.or(known.home.take());
                }
                // What it is beside that is not known.
                _ if program == "usermod" => {}
                _ => out.push(made),
            }
        }
    }
    out
}

fn made_account(process: &Process<'_>, program: &str, words: &[ShellWord]) -> Option<Account> {
    let (mut home, mut base, mut uid, mut name) = (None, None, None, None);
    let mut system = false;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let value = process.value(word);
        if !value.known {
            return None;
        }
        let text = value.text;
        if !text.starts_with('-') {
            name = name.or(Some(text));
            continue;
        }
        let (option, mut given) = match text.split_once('=') {
            Some((option, value)) if text.starts_with("--") => (option.to_owned(), Some(value.to_owned())),
            _ => (text.clone(), None),
        };
        system |= option == "--system";
        // Letters may stand together; only the last one has a value.
        let letter = option.strip_prefix('-').filter(|o| !o.starts_with('-')).and_then(|o| o.chars().last());
        const LONG: &[&str] = &[
            "--home",
            "--home-dir",
            "--base-dir",
            "--uid",
            "--gid",
            "--shell",
            "--comment",
            "--gecos",
            "--groups",
            "--group",
            "--ingroup",
            "--password",
            "--skel",
            "--expiredate",
            "--inactive",
            "--key",
            "--root",
        ];
        let valued = match letter {
            Some(letter) => "bcdefgGkKpsuhR".contains(letter),
            // `adduser --system --group` makes a group of that name.
            None => LONG.contains(&option.as_str()) && !(program == "adduser" && option == "--group"),
        };
        if valued && given.is_none() {
            let next = process.value(rest.next()?);
            given = Some(next.text).filter(|_| next.known);
        }
        match (letter, option.as_str()) {
            (Some('d'), _) | (_, "--home" | "--home-dir") => home = Some(given?),
            (Some('h'), _) if program == "adduser" => home = Some(given?),
            (Some('b'), _) | (_, "--base-dir") => base = Some(given?),
            (Some('u'), _) | (_, "--uid") => uid = given.and_then(|g| g.parse().ok()),
            _ => {}
        }
    }
    let name = name?;
    // Debian's adduser gives system accounts a home by version.
    let unsure = program == "usermod" || (program == "adduser" && system);
    let usual = || (!unsure).then(|| format!("{}/{name}", base.as_deref().unwrap_or("/home")));
    let home = home.or_else(usual);
    Some(Account { home, uid, name })
}

/// The folder of yarn 1, which has another home for root than all others.
fn yarn_place(cx: &Cx<'_>, step: &Step<'_>, process: &Process<'_>) -> Option<String> {
    let context = cx.context()?;
    let lock = context.read(b"yarn.lock", LONGEST).ok().flatten()?;
    if !String::from_utf8_lossy(&lock).contains("# yarn lockfile v1") {
        return None;
    }
    let home = match account(cx, step)?.uid {
        Some(0) => "/usr/local/share".to_owned(),
        _ => home(cx, step, process)?,
    };
    Some(clean_str(&format!("{home}/.cache/yarn")))
}

/// Whether a path ends with one of these folders, or lies in one.
pub(super) fn has_tail(path: &str, tails: &[&str]) -> bool {
    tails.iter().any(|tail| {
        path.strip_suffix(tail).is_some_and(|head| head.ends_with('/')) || path.contains(&format!("/{tail}/"))
    })
}

/// Whether a mount on that path is meant for a cache: its usual name in any home, a name that is often mistaken for
/// it, or a slip of the pen.
pub(super) fn is_meant_for(path: &str, cache: &ToolCache) -> bool {
    if has_tail(path, cache.tails) || has_tail(path, cache.mistaken) {
        return true;
    }
    let other = CACHES.iter().any(|c| has_tail(path, c.tails));
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    !other
        && cache.tails.iter().any(|tail| {
            let wanted: Vec<&str> = tail.split('/').collect();
            let Some(end) = parts.len().checked_sub(wanted.len()).and_then(|at| parts.get(at..)) else {
                return false;
            };
            end != wanted.as_slice() && end.iter().zip(&wanted).all(|(a, b)| is_slip(a, b))
        })
}

/// Whether a word is another one, perhaps misspelt.
fn is_slip(written: &str, meant: &str) -> bool {
    let allowed = match meant.chars().count() {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    };
    written == meant
        || (!OTHER_FOLDERS.contains(&written)
            && written.len() < 40
            && strsim::damerau_levenshtein(written, meant) <= allowed)
}

/// Whether a step, or settings in the context, move a cache in a way that is not followed here.
pub(super) fn is_configured(cx: &Cx<'_>, step: &Step<'_>, cache: &ToolCache, mount: &str) -> bool {
    let names = |text: &str| text.contains(mount) || text.contains(mount.trim_start_matches('/'));
    if step.state.env.iter().any(|(k, v)| {
        k != "PATH"
            && v.split([':', '=', ' ', ',']).any(|v| v.starts_with('/') && overlap(v, mount) && v != "/")
    }) {
        return true;
    }
    for other in cx.model.lineage_steps(step.stage) {
        let here = std::ptr::eq(other, step);
        match &other.action {
            Action::Run(run) => {
                for process in processes(run, &other.state) {
                    let words = process.program().map(|(_, words)| words).unwrap_or_default();
                    let text = |w: &ShellWord| process.value(w).text;
                    let mine = arguments_of(cache, &process).is_some();
                    let sets = words.iter().any(|w| w.text.contains("config"));
                    let links = process.command.name() == "ln" && words.iter().any(|w| names(&text(w)));
                    let mentioned = here
                        && (words.iter().any(|w| names(&text(w)))
                            || process.command.assignments.iter().any(|(_, w)| names(&text(w))));
                    if (mine && sets) || links || mentioned {
                        return true;
                    }
                }
            }
            Action::Copy(copy) => {
                let dest = clean_str(&copy.dest);
                if cache.settings.iter().any(|(name, _)| dest.ends_with(name)) {
                    return true;
                }
            }
            _ => {}
        }
        if here {
            break;
        }
    }
    let Some(context) = cx.context() else { return false };
    cache.settings.iter().any(|(name, word)| {
        let files = context
            .entries()
            .filter(|e| e.is_file() && e.path.rsplit(|b| *b == b'/').next() == Some(name.as_bytes()));
        files.take(8).any(|e| {
            let bytes = context.read(&e.path, LONGEST).ok().flatten().unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(word)
        })
    })
}

/// The cache mounts of a RUN, with their paths cleaned.
pub(super) fn cache_mounts<'r, 'a>(run: &'r Run<'a>) -> impl Iterator<Item = (&'r RunMount<'a>, String)> {
    run.mounts.iter().filter(|m| m.kind == MountKind::Cache).map(|m| (m, clean_str(&m.path)))
}

/// A RUN and what it does, for every RUN with a cache mount.
pub(super) fn runs_with_caches<'m, 'a>(cx: &'m Cx<'a>) -> Vec<(&'m Step<'a>, &'m Run<'a>)> {
    let mut seen = std::collections::HashSet::new();
    let mut out = Vec::new();
    for step in cx.model.steps() {
        if let Action::Run(run) = &step.action
            && run.mounts.iter().any(|m| m.kind == MountKind::Cache)
            && seen.insert(step.instruction.span)
        {
            out.push((step, run.as_ref()));
        }
    }
    out
}

/// Whether a step can run only after another: it stands below it, or takes from a stage that holds it.
pub(super) fn depends(cx: &Cx<'_>, later: &Step<'_>, earlier: &Step<'_>) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut queue = vec![(later.stage, true)];
    while let Some((stage, limited)) = queue.pop() {
        for step in cx.model.lineage_steps(stage) {
            let last = limited && std::ptr::eq(step, later);
            if std::ptr::eq(step, earlier) {
                return !last;
            }
            let stages: Vec<usize> = match &step.action {
                Action::Copy(copy) => copy.from.iter().filter_map(stage_of).collect(),
                Action::Run(run) => {
                    run.mounts.iter().filter_map(|m| m.from.as_ref()).filter_map(stage_of).collect()
                }
                _ => Vec::new(),
            };
            queue.extend(stages.into_iter().filter(|s| seen.insert(*s)).map(|s| (s, false)));
            if last {
                break;
            }
        }
    }
    false
}

fn stage_of(base: &Base) -> Option<usize> {
    match base {
        Base::Stage(stage) => Some(*stage),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::process::of_script;
    use crate::invoke::platform::Platform;
    use crate::syntax::LogicalText;
    use crate::syntax::shell;

    /// `name uid home` of the account that a command makes.
    fn made(text: &str) -> Option<String> {
        let mut logical = LogicalText::new();
        logical.push(text.as_bytes(), 0);
        let script = shell::parse(&logical);
        let state = State::scratch(Platform::host());
        let list = of_script(&script, &state);
        let process = list.first()?;
        let (program, words) = process.program()?;
        let account = made_account(process, program, words)?;
        let uid = account.uid.map_or("?".to_owned(), |u| u.to_string());
        Some(format!("{} {uid} {}", account.name, account.home.as_deref().unwrap_or("?")))
    }

    #[test]
    fn accounts_have_the_home_that_their_options_say() {
        let cases = [
            ("useradd -m app", "app ? /home/app"),
            ("useradd --create-home --uid 1001 --shell /bin/bash app", "app 1001 /home/app"),
            ("useradd -rmu 999 -d /srv/app app", "app 999 /srv/app"),
            ("useradd --home-dir=/opt/x --no-log-init x", "x ? /opt/x"),
            ("adduser -D -u 1000 -G www app", "app 1000 /home/app"),
            ("adduser -S -h /app -H app", "app ? /app"),
            ("adduser --system --group app", "app ? ?"),
            ("adduser --disabled-password --gecos '' app", "app ? /home/app"),
            ("useradd -b /srv app", "app ? /srv/app"),
        ];
        for (text, expected) in cases {
            assert_eq!(made(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(made("useradd $NAME"), None);
    }

    #[test]
    fn slips_are_told_from_other_names() {
        let cache = |name: &str| CACHES.iter().find(|c| c.name == name).expect("a cache");
        assert!(is_meant_for("/home/x/.cache/pypotery", cache("poetry")));
        assert!(is_meant_for("/root/.cahce/pip", cache("pip")));
        assert!(is_meant_for("/root/.npm/_cacache", cache("npm")));
        assert!(!is_meant_for("/root/.nvm", cache("npm")));
        assert!(!is_meant_for("/root/.cache/pdm", cache("pip")));
        assert!(!is_meant_for("/root/.cache/huggingface", cache("pip")));
    }
}
