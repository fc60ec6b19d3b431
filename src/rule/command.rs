//! What the commands of a RUN do with package managers. The words are data of `ecosystem`; here they are applied.

use super::ecosystem::{PACMAN, REFRESH_INSIDE, SYSTEM_MANAGERS, SystemManager};
use crate::source::Span;
use crate::syntax::shell::{Connector, ShellCommand, ShellWord};

/// What one command does with a distribution's packages.
pub(super) struct SystemStep<'c> {
    /// Which manager.
    pub manager: &'static SystemManager,
    /// It fetches the index.
    pub refreshes: bool,
    /// It chooses packages by the index.
    pub installs: bool,
    /// Names of packages as written; none for an upgrade.
    pub packages: Vec<&'c str>,
    /// From the program to the verb.
    pub span: Span,
}

/// Reads a command as one of a distribution's package manager.
pub(super) fn system_step(command: &ShellCommand) -> Option<SystemStep<'_>> {
    let (name, arguments) = command.program()?;
    if PACMAN.programs.contains(&name) {
        return pacman_step(command, arguments);
    }
    let manager = SYSTEM_MANAGERS.iter().find(|m| m.programs.contains(&name))?;
    let (verb, operands) = verb_and_operands(arguments, manager.valued_options)?;
    let has = |option: &&str| {
        // Short options may be written together: `-yU`.
        let short = option.strip_prefix('-').filter(|o| o.len() == 1);
        arguments.iter().any(|w| {
            w.text == *option || {
                let letters = w.text.strip_prefix('-').filter(|l| !l.starts_with('-'));
                short.zip(letters).is_some_and(|(s, l)| l.contains(s))
            }
        })
    };
    let refreshes =
        manager.refresh.contains(&verb.text.as_str()) || manager.refreshing_options.iter().any(has);
    let named = manager.install.contains(&verb.text.as_str());
    // Files need no index. Words that come through a pipe (`xargs apt-get install`) are not seen.
    let (files, packages): (Vec<&str>, Vec<&str>) =
        operands.into_iter().map(|w| w.text.as_str()).partition(|text| is_package_file(text, manager));
    let piped = command.words.first().is_some_and(|w| w.text.ends_with("xargs"));
    let chooses =
        !packages.is_empty() || manager.upgrade.contains(&verb.text.as_str()) || (piped && files.is_empty());
    let first = command.words.first()?.span;
    let span = if verb.span.start >= first.start { first.to(verb.span) } else { command.span };
    Some(SystemStep { manager, refreshes, installs: named && chooses, packages, span })
}

fn pacman_step<'c>(command: &'c ShellCommand, arguments: &'c [ShellWord]) -> Option<SystemStep<'c>> {
    let sync = arguments.iter().find(|w| w.text.starts_with("-S") || w.text == "--sync")?;
    let has = |letter: char, long: &str| {
        let short =
            |w: &ShellWord| w.text.starts_with('-') && !w.text.starts_with("--") && w.text.contains(letter);
        arguments.iter().any(|w| short(w) || w.text == long)
    };
    let operands = operands(arguments, PACMAN.valued_options);
    let packages: Vec<&str> = operands.into_iter().map(|w| w.text.as_str()).collect();
    let queries = ['s', 'i', 'l', 'g', 'c'].into_iter().any(|l| has(l, ""));
    let installs = !queries && (!packages.is_empty() || has('u', "--sysupgrade"));
    let span = command.words.first()?.span.to(sync.span);
    Some(SystemStep { manager: &PACMAN, refreshes: has('y', "--refresh"), installs, packages, span })
}

fn is_package_file(text: &str, manager: &SystemManager) -> bool {
    text.starts_with(['/', '.']) || text.ends_with(manager.package_file)
}

/// The first word that is no option, and those behind it.
fn verb_and_operands<'c>(
    arguments: &'c [ShellWord],
    valued: &[&str],
) -> Option<(&'c ShellWord, Vec<&'c ShellWord>)> {
    let mut words = operands(arguments, valued).into_iter();
    let verb = words.next()?;
    Some((verb, words.collect()))
}

/// The words that are neither options nor values of these options.
pub(super) fn operands<'c>(arguments: &'c [ShellWord], valued: &[&str]) -> Vec<&'c ShellWord> {
    let mut out = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if valued.contains(&word.text.as_str()) {
            words.next();
        } else if !word.text.starts_with('-') || word.text.len() == 1 {
            out.push(word);
        }
    }
    out
}

/// Whether a command takes the index of a manager away again.
pub(super) fn removes_index(command: &ShellCommand, manager: &SystemManager) -> bool {
    let Some((name, arguments)) = command.program() else { return false };
    match name {
        "rm" | "find" => arguments.iter().any(|w| covers_index(&w.text, manager.index)),
        _ => {
            manager.programs.contains(&name)
                && arguments.iter().any(|w| w.text.starts_with("dist-clean") || w.text == "distclean")
        }
    }
}

/// `/var/lib/apt/lists/*`, `/var/lib/apt`, `/var/lib/{apt,dpkg}/`; not single files of it.
fn covers_index(word: &str, index: &str) -> bool {
    let Some((root, inner)) = word.split_once('{') else {
        let word = word.trim_end_matches(['*', '/']);
        return !word.is_empty()
            && index.starts_with(word)
            && index.as_bytes().get(word.len()).is_none_or(|b| *b == b'/')
            || word.strip_prefix(index).is_some_and(|rest| rest.is_empty());
    };
    let (choices, _) = inner.split_once('}').unwrap_or((inner, ""));
    choices.split(',').any(|choice| covers_index(&format!("{root}{choice}"), index))
}

/// Whether a command may run package managers that nobody can see here: a script, a program by its path.
pub(super) fn is_opaque(command: &ShellCommand) -> bool {
    let Some((name, arguments)) = command.program() else { return false };
    let first = arguments.first().map(|w| w.text.as_str()).unwrap_or_default();
    match name {
        // A script on standard input, or in a file; `-c` texts are read as commands.
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" => {
            command.connector == Connector::Pipe || operands(arguments, &["-o", "-c"]).first().is_some()
        }
        "." | "source" => !first.starts_with("/etc/") && !first.contains("profile"),
        "make" | "just" | "ansible-playbook" | "python" | "python3" | "perl" => true,
        _ => {
            let program =
                command.words.iter().find(|w| w.text.ends_with(name)).map_or(name, |w| w.text.as_str());
            let system =
                ["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"].iter().any(|p| program.starts_with(p));
            REFRESH_INSIDE.contains(&name)
                || name.ends_with(".sh")
                || program.starts_with('$')
                || (program.contains('/') && !system)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::LogicalText;
    use crate::syntax::shell::{self, Script};

    fn read(text: &str) -> Script {
        let mut logical = LogicalText::new();
        logical.push(text.as_bytes(), 0);
        shell::parse(&logical)
    }

    #[test]
    fn refreshing_and_installing_are_told_apart() {
        let cases = [
            ("sudo apt-get -qq update", "r"),
            ("apt-get -o Acquire::Retries=3 install -y curl", "i"),
            ("apt-get install -y ./x.deb /tmp/y.deb", ""),
            ("apt-get -t bookworm-backports install git", "i"),
            ("apt-get upgrade -y", "i"),
            ("apt-get install -fy", ""),
            ("apt-get clean", ""),
            ("cat list | xargs apt-get install -y", "i"),
            ("apk add --no-cache git", "ri"),
            ("apk add -U git", "ri"),
            ("apk add git", "i"),
            ("pacman -Syu --noconfirm", "ri"),
            ("pacman -S --noconfirm git", "i"),
            ("pacman -Scc", ""),
            ("pacman -Sy", "r"),
        ];
        for (text, expected) in cases {
            let script = read(text);
            let step = script.commands.iter().find_map(system_step);
            let shown = step.map_or(String::new(), |s| {
                [(s.refreshes, "r"), (s.installs, "i")].iter().filter(|x| x.0).map(|x| x.1).collect()
            });
            assert_eq!(shown, expected, "{text}");
        }
        assert!(
            read("npm update && sbt update && rustup update")
                .commands
                .iter()
                .all(|c| system_step(c).is_none())
        );
    }

    #[test]
    fn only_the_removal_of_the_whole_index_counts() {
        let apt = &SYSTEM_MANAGERS[0];
        let removes = |text: &str| read(text).commands.iter().any(|c| removes_index(c, apt));
        for text in [
            "rm -rf /var/lib/apt/lists/*",
            "rm -rf /tmp/* /var/lib/apt/lists",
            "rm -rf /var/lib/{apt,dpkg,cache}/",
            "find /var/lib/apt/lists -type f -delete",
        ] {
            assert!(removes(text), "{text}");
        }
        for text in [
            "rm -rf /var/cache/apt/archives/*",
            "rm /var/lib/apt/lists/lock",
            "rm -rf /var/lib/aptitude",
            "apt-get clean",
            "rm -rf *",
        ] {
            assert!(!removes(text), "{text}");
        }
    }
}
