//! Programs that run other programs.

use super::ShellWord;

/// A name without its folder.
pub(super) fn base_name(word: &str) -> &str {
    word.rsplit('/').next().filter(|n| !n.is_empty()).unwrap_or(word)
}

/// Whether a program is a POSIX shell or close to one.
pub(super) fn is_shell(name: &str) -> bool {
    matches!(name, "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "mksh" | "rbash")
}

/// A program that runs what stands behind its own options.
struct Prefix {
    /// Short options with a value, by letter.
    short: &'static str,
    /// Long options with a value in the next word.
    long: &'static [&'static str],
    /// `NAME=value` words may follow.
    assignments: bool,
    /// How many words stand between the options and the program.
    operands: usize,
}

/// What to skip behind a program that runs another, or `None` for any other program.
fn prefix(name: &str) -> Option<Prefix> {
    let plain = |short| Prefix { short, long: &[], assignments: false, operands: 0 };
    Some(match name {
        "sudo" => Prefix {
            short: "ughpCrtTUDR",
            long: &[
                "--user",
                "--group",
                "--host",
                "--prompt",
                "--chdir",
                "--chroot",
                "--close-from",
                "--role",
                "--type",
            ],
            assignments: true,
            operands: 0,
        },
        "doas" => plain("uC"),
        "env" => Prefix { short: "uC", long: &["--unset", "--chdir"], assignments: true, operands: 0 },
        "exec" => plain("a"),
        "time" => Prefix { long: &["--format", "--output"], ..plain("fo") },
        "command" | "builtin" | "nohup" | "setsid" | "eatmydata" | "fakeroot" => plain(""),
        "nice" => Prefix { long: &["--adjustment"], ..plain("n") },
        "ionice" => Prefix { long: &["--class", "--classdata"], ..plain("cn") },
        "stdbuf" => Prefix { long: &["--input", "--output", "--error"], ..plain("ioe") },
        "timeout" => Prefix { long: &["--signal", "--kill-after"], operands: 1, ..plain("sk") },
        "gosu" | "su-exec" => Prefix { operands: 1, ..plain("") },
        "busybox" => plain(""),
        "xargs" => Prefix {
            long: &[
                "--max-args",
                "--max-procs",
                "--replace",
                "--arg-file",
                "--delimiter",
                "--max-chars",
                "--max-lines",
            ],
            ..plain("aEdILnPs")
        },
        _ => return None,
    })
}

/// The program that does the work and its arguments.
pub(super) fn program(words: &[ShellWord]) -> Option<(&str, &[ShellWord])> {
    let (first, arguments) = words.split_first()?;
    let mut found = (base_name(&first.text), arguments);
    while let Some(prefix) = prefix(found.0) {
        let (name, arguments) = found;
        let asks = |w: &ShellWord| matches!(w.text.as_str(), "-v" | "-V");
        if name == "command" && arguments.first().is_some_and(asks) {
            break;
        }
        let Some((first, arguments)) = behind(&prefix, arguments).and_then(<[ShellWord]>::split_first) else {
            break;
        };
        found = (base_name(&first.text), arguments);
    }
    Some(found)
}

/// The words behind the options of a prefix.
fn behind<'a>(prefix: &Prefix, mut words: &'a [ShellWord]) -> Option<&'a [ShellWord]> {
    while let Some((first, rest)) = words.split_first() {
        let text = first.text.as_str();
        if text == "--" {
            words = rest;
            break;
        }
        if let Some(long) = text.strip_prefix("--").map(|_| text) {
            words = if prefix.long.contains(&long) { rest.get(1..)? } else { rest };
        } else if let Some(letters) = text.strip_prefix('-') {
            // `-n5` and `-n 5`: only the last letter of a word can have its value in the next one.
            let valued = letters.find(|c| prefix.short.contains(c));
            let in_next = valued.is_some_and(|n| n + 1 == letters.len());
            words = if in_next { rest.get(1..)? } else { rest };
        } else {
            break;
        }
    }
    if prefix.assignments {
        let is_assignment = |w: &ShellWord| {
            let name = w.text.split_once('=').map_or("", |(name, _)| name);
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        while let Some((_, rest)) = words.split_first().filter(|(first, _)| is_assignment(first)) {
            words = rest;
        }
    }
    words.get(prefix.operands..)
}

/// What a command makes another shell run, by the places of words in [`super::ShellCommand::words`].
#[derive(Debug, PartialEq)]
pub(super) enum Inner {
    /// The word is a script, run by another shell.
    Text(usize),
    /// The words, joined by blanks, are run by the same shell.
    Eval(usize),
    /// The script comes on standard input.
    Input,
}

/// Looks for a script among the words of a command.
pub(super) fn inner(words: &[ShellWord]) -> Option<Inner> {
    let (name, arguments) = program(words)?;
    let offset = words.len() - arguments.len();
    match name {
        "eval" if !arguments.is_empty() => Some(Inner::Eval(offset)),
        // `su user -c script`, options anywhere.
        "su" | "runuser" => {
            let at = arguments.iter().position(|w| matches!(w.text.as_str(), "-c" | "--command"))?;
            (at + 1 < arguments.len()).then_some(Inner::Text(offset + at + 1))
        }
        _ if is_shell(name) => shell_input(arguments, offset),
        _ => None,
    }
}

fn shell_input(arguments: &[ShellWord], offset: usize) -> Option<Inner> {
    let mut script = false;
    let mut at = 0;
    while let Some(word) = arguments.get(at) {
        let text = word.text.as_str();
        let letters = text.strip_prefix(['-', '+']);
        match letters {
            Some("") => {
                at += 1;
                break;
            }
            Some("-") => {
                at += 1;
                break;
            }
            Some(long) if text.starts_with("--") => {
                at += if matches!(long, "-rcfile" | "-init-file") { 2 } else { 1 }
            }
            Some(letters) => {
                script |= text.starts_with('-') && letters.contains('c');
                if text.starts_with('-') && letters.contains('s') && !script {
                    return Some(Inner::Input);
                }
                at += if letters.ends_with(['o', 'O']) { 2 } else { 1 };
            }
            None => break,
        }
    }
    match arguments.get(at) {
        Some(_) if script => Some(Inner::Text(offset + at)),
        None if !script => Some(Inner::Input),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<ShellWord> {
        line.split(' ').map(|w| ShellWord { text: w.into(), ..ShellWord::default() }).collect()
    }

    #[test]
    fn prefixes_are_looked_through() {
        for (line, name, count) in [
            ("/usr/bin/make all", "make", 1),
            ("sudo -u app -E X=1 env -i A=b make", "make", 0),
            ("sudo --user app make", "make", 0),
            ("exec nice -n 5 time -p make -j", "make", 1),
            ("xargs -0 -n1 -P 4 rm -f", "rm", 1),
            ("timeout -k 5 10 make", "make", 0),
            ("gosu app make x", "make", 1),
            ("command -v make", "command", 2),
            ("command make", "make", 0),
            ("env", "env", 0),
            ("sudo -u app", "sudo", 2),
        ] {
            let words = words(line);
            let (found, arguments) = program(&words).expect("a program");
            assert_eq!((found, arguments.len()), (name, count), "{line}");
        }
    }

    #[test]
    fn scripts_for_other_shells_are_found() {
        for (line, expected) in [
            ("sh -c x", Some(Inner::Text(2))),
            ("sudo bash -euo pipefail -c x y", Some(Inner::Text(5))),
            ("/bin/bash -lc x", Some(Inner::Text(2))),
            ("bash --login -c x", Some(Inner::Text(3))),
            ("bash x.sh -c y", None),
            ("bash", Some(Inner::Input)),
            ("bash -s x", Some(Inner::Input)),
            ("bash -ex -", Some(Inner::Input)),
            ("eval a b", Some(Inner::Eval(1))),
            ("su - app -c x", Some(Inner::Text(4))),
            ("make -c x", None),
        ] {
            assert_eq!(inner(&words(line)), expected, "{line}");
        }
    }
}
