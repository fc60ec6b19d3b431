//! Random edits of a project: of files, of the Dockerfile, of the command line.

use super::dice::Dice;
use super::project::{Line, MODES, Node, Project};

type Edit = fn(&mut Project, &mut Dice) -> Option<()>;

/// Each edit and its weight.
const EDITS: &[(&str, usize, Edit)] = &[
    ("nothing", 1, |_, _| Some(())),
    ("content of a file", 8, content),
    ("file added", 4, |p, d| {
        let path = p.new_path(d);
        let file = p.file(d);
        p.entries.insert(path, file);
        Some(())
    }),
    ("file removed", 3, |p, d| {
        let path = entry(p, d, |_| true)?;
        p.entries.remove(&path);
        Some(())
    }),
    ("file renamed", 3, |p, d| {
        let path = entry(p, d, |_| true)?;
        let node = p.entries.remove(&path)?;
        let new = match path.rsplit_once('/') {
            Some((parent, _)) if d.chance(70) => format!("{parent}/r{}", p.number()),
            _ => p.new_path(d),
        };
        p.entries.insert(new, node);
        Some(())
    }),
    ("mode of a file", 4, |p, d| {
        let path = entry(p, d, |n| matches!(n, Node::File { .. }))?;
        let Some(Node::File { mode, .. }) = p.entries.get_mut(&path) else { return None };
        *mode = *d.pick(MODES);
        Some(())
    }),
    ("mode of a directory", 2, |p, d| {
        let directories: Vec<String> = p
            .entries
            .iter()
            .filter_map(|(path, node)| match node {
                Node::Dir { .. } => Some(path.clone()),
                _ => Some(path.rsplit_once('/')?.0.to_owned()),
            })
            .collect();
        let path = directories.get(d.below(directories.len()))?.clone();
        let old = match p.entries.get(&path) {
            Some(Node::Dir { mode }) => *mode,
            _ => 0o755,
        };
        p.entries.insert(path, Node::Dir { mode: if old == 0o755 { 0o700 } else { 0o755 } });
        Some(())
    }),
    ("time of a file", 3, |p, d| {
        let path = entry(p, d, |n| matches!(n, Node::File { .. }))?;
        let Some(Node::File { mtime, .. }) = p.entries.get_mut(&path) else { return None };
        *mtime += 1000;
        Some(())
    }),
    ("target of a link", 3, |p, d| {
        let path = entry(p, d, |n| matches!(n, Node::Link { .. }))?;
        let target = (*d.pick(&["a", "b.txt", "d/e", "lib", "nowhere else"])).to_owned();
        p.entries.insert(path, Node::Link { target });
        Some(())
    }),
    ("a file becomes something else", 1, |p, d| {
        let path = entry(p, d, |n| !matches!(n, Node::Dir { .. }))?;
        let other = match d.below(2) {
            0 => Node::Link { target: "busybox".to_owned() },
            _ => Node::Dir { mode: 0o755 },
        };
        p.entries.insert(path, other);
        Some(())
    }),
    ("empty directory added", 1, |p, d| {
        let path = p.new_path(d);
        p.entries.insert(path, Node::Dir { mode: 0o755 });
        Some(())
    }),
    ("ignore file", 5, |p, d| {
        let line = p.ignore_line(d);
        let at = d.below(p.ignore.len() + 1);
        match d.below(3) {
            0 => p.ignore.insert(at, line),
            1 => *p.ignore.get_mut(at)? = line,
            _ => drop((at < p.ignore.len()).then(|| p.ignore.remove(at))?),
        }
        Some(())
    }),
    ("words of a RUN", 6, run_words),
    ("form of a RUN", 4, run_form),
    ("value of an ENV", 5, |p, d| replace_number(p, d, "ENV")),
    ("order of ENV", 8, |p, d| {
        if d.chance(50) {
            let line =
                pick_line(p, d, |t| t == "ENV E=/e" || (t.starts_with("ENV E=/e") && t.ends_with(" F=two")))?;
            let text = p.lines[line].text.clone();
            let (e, f) = text.strip_prefix("ENV ")?.split_once(' ')?;
            p.lines[line].text = format!("ENV {f} {e}");
        } else {
            let line = pick_line(p, d, |t| t.starts_with("ENV") || t.starts_with("ARG"))?;
            let next = p.lines.get(line + 1)?;
            if !next.text.starts_with("ENV") && !next.text.starts_with("ARG") {
                return None;
            }
            p.lines.swap(line, line + 1);
        }
        Some(())
    }),
    ("ENV becomes ARG", 5, |p, d| {
        let line = pick_line(p, d, |t| {
            t.starts_with("ENV E=/e") && !t.contains(' ') || t.starts_with("ENV E=/e") && !t.contains("F=")
        })?;
        let text = p.lines[line].text.clone();
        p.lines[line].text = text.replacen("ENV", "ARG", 1);
        Some(())
    }),
    ("default of an ARG", 7, |p, d| replace_number(p, d, "ARG")),
    ("default of a global ARG", 2, |p, d| {
        let line = pick_line(p, d, |t| t.starts_with("ARG G="))?;
        let number = p.number();
        p.lines[line].text = format!("ARG G=global{number}");
        Some(())
    }),
    ("build argument", 5, |p, d| {
        let name = *d.pick(&["X", "G", "Y", "UNDECLARED", "HTTP_PROXY", "BASE"]);
        let name = if name == "BASE" { "G" } else { name };
        let number = p.number();
        match p.build_args.iter().position(|(n, _)| n == name) {
            Some(at) if d.chance(40) => drop(p.build_args.remove(at)),
            Some(at) => p.build_args[at].1 = format!("given{number}"),
            None => p.build_args.push((name.to_owned(), format!("given{number}"))),
        }
        Some(())
    }),
    ("configuration or comment added", 4, |p, d| {
        let text = p.configuration(d);
        let at = d.between(first_from(p)? + 1, p.lines.len());
        let line = p.line(text, Vec::new());
        p.lines.insert(at, line);
        Some(())
    }),
    ("instruction inserted", 5, |p, d| {
        let at = d.between(first_from(p)? + 1, p.lines.len());
        let scope = p.scope(at);
        let (text, makes) = p.instruction(d, &scope);
        let line = p.line(text, makes);
        p.lines.insert(at, line);
        Some(())
    }),
    ("instruction removed", 4, |p, d| {
        let line = pick_line(p, d, |t| {
            !t.starts_with("FROM")
                && !t.contains("busybox /bin")
                && !t.starts_with("SHELL")
                && !t.starts_with("ARG BASE")
        })?;
        p.lines.remove(line);
        Some(())
    }),
    ("instructions swapped", 3, |p, d| {
        let line = pick_line(p, d, |t| {
            !t.starts_with("FROM") && !t.contains("busybox /bin") && !t.starts_with("SHELL")
        })?;
        let next = p.lines.get(line + 1)?;
        if next.text.starts_with("FROM") || line < first_from(p)? {
            return None;
        }
        p.lines.swap(line, line + 1);
        Some(())
    }),
    ("stage renamed", 3, |p, d| {
        let name = *d.pick(&["first", "second"]);
        let new = format!("renamed{}", p.number());
        p.lines.iter().find(|l| l.text.ends_with(&format!(" AS {name}")))?;
        for Line { text, .. } in &mut p.lines {
            for (old, new) in [
                (format!(" AS {name}"), format!(" AS {new}")),
                (format!("FROM {name}"), format!("FROM {new}")),
                (format!("BASE={name}"), format!("BASE={new}")),
                (format!("from={name} "), format!("from={new} ")),
                (format!("from={name},"), format!("from={new},")),
                (format!("from={} ", name.to_uppercase()), format!("from={new} ")),
            ] {
                *text = text.replace(&old, &new);
            }
        }
        if p.target.as_deref() == Some(name) {
            p.target = Some(new);
        }
        Some(())
    }),
    ("ends of lines", 1, |p, _| {
        p.crlf = !p.crlf;
        Some(())
    }),
    ("form of a COPY", 6, copy_form),
    ("WORKDIR", 4, |p, d| {
        let line = pick_line(p, d, |t| t.starts_with("WORKDIR"))?;
        let text = p.lines[line].text.clone();
        let number = p.number();
        p.lines[line].text = match d.below(3) {
            0 => format!("{text}/").replace("//", "/"),
            1 => text.trim_end_matches('/').to_owned() + "/.",
            _ => format!("{text}{number}"),
        };
        Some(())
    }),
    ("target", 3, |p, d| {
        let names: Vec<String> = p
            .lines
            .iter()
            .filter_map(|l| Some(l.text.strip_prefix("FROM")?.split_once(" AS ")?.1.to_owned()))
            .collect();
        p.target = Some(names.get(d.below(names.len()))?.clone());
        Some(())
    }),
    ("secret", 1, |p, _| {
        p.secret.push_str(" more");
        Some(())
    }),
    ("USER", 4, |p, d| {
        let line = pick_line(p, d, |t| t.starts_with("USER"))?;
        p.lines[line].text = (*d.pick(&["USER 1001:1000", "USER 7:8"])).to_owned();
        Some(())
    }),
    ("hosts", 3, |p, d| {
        let number = p.number();
        match d.below(2) {
            0 => p.add_hosts.push((format!("host{number}"), "192.0.2.1".to_owned())),
            _ => p.add_hosts.first_mut()?.1 = "192.0.2.2".to_owned(),
        }
        Some(())
    }),
    ("--no-cache", 1, |p, _| {
        p.no_cache = true;
        Some(())
    }),
    ("case of a keyword", 1, |p, d| {
        let line =
            pick_line(p, d, |t| ["RUN ", "COPY ", "ENV ", "WORKDIR "].iter().any(|k| t.starts_with(k)))?;
        let text = p.lines[line].text.clone();
        let (word, rest) = text.split_once(' ')?;
        p.lines[line].text = format!("{}   {rest}", word.to_lowercase());
        Some(())
    }),
    ("shell of a stage", 1, |p, d| {
        let line = pick_line(p, d, |t| t.starts_with("SHELL"))?;
        p.lines[line].text = "SHELL [\"/bin/busybox\", \"ash\", \"-c\"]".to_owned();
        Some(())
    }),
];

/// Applies one edit, seldom more, and says which.
pub(crate) fn edit(before: &Project, dice: &mut Dice) -> (Project, Vec<&'static str>) {
    let mut after = before.clone();
    let mut done = Vec::new();
    let count = if dice.chance(20) { dice.between(2, 3) } else { 1 };
    let total = EDITS.iter().map(|e| e.1).sum();
    while done.len() < count {
        let mut at = dice.below(total);
        let chosen = EDITS.iter().find(|e| {
            let found = at < e.1;
            at = at.saturating_sub(e.1);
            found
        });
        let Some((name, _, apply)) = chosen else { continue };
        let mut next = after.clone();
        if apply(&mut next, dice).is_some() && (next != after || *name == "nothing") {
            after = next;
            done.push(*name);
        }
    }
    (after, done)
}

fn entry(project: &Project, dice: &mut Dice, wanted: impl Fn(&Node) -> bool) -> Option<String> {
    let mut paths: Vec<&String> = project.entries.iter().filter(|(_, n)| wanted(n)).map(|(p, _)| p).collect();
    if dice.chance(60) {
        // One that some instruction names.
        let named = |path: &str| project.lines.iter().any(|l| l.text.contains(&format!("{path} ")));
        let some: Vec<&String> = paths.iter().copied().filter(|p| named(p)).collect();
        if !some.is_empty() {
            paths = some;
        }
    }
    paths.get(dice.below(paths.len())).map(|p| (*p).clone())
}

fn pick_line(project: &Project, dice: &mut Dice, wanted: impl Fn(&str) -> bool) -> Option<usize> {
    let lines: Vec<usize> =
        project.lines.iter().enumerate().filter(|(_, l)| wanted(&l.text)).map(|(n, _)| n).collect();
    lines.get(dice.below(lines.len())).copied()
}

fn first_from(project: &Project) -> Option<usize> {
    project.lines.iter().position(|l| l.text.starts_with("FROM"))
}

fn content(project: &mut Project, dice: &mut Dice) -> Option<()> {
    let path = entry(project, dice, |n| matches!(n, Node::File { .. }))?;
    let number = project.number();
    let Some(Node::File { content, .. }) = project.entries.get_mut(&path) else { return None };
    match dice.below(4) {
        0 => content.push_str(&format!("{number}\n")),
        1 => content.clear(),
        // As many lines as before: what counts lines finds no difference.
        _ => *content = content.lines().map(|l| format!("{l} {number}\n")).collect(),
    }
    Some(())
}

fn run_words(project: &mut Project, dice: &mut Dice) -> Option<()> {
    let line = pick_line(project, dice, |t| t.starts_with("RUN"))?;
    let number = project.number();
    let text = &mut project.lines[line].text;
    *text = match dice.below(4) {
        0 if !text.ends_with(']') => format!("{text}; echo {number}"),
        1 => text.replacen("mkdir -p", "mkdir  -p", 1),
        2 => text.replacen("busybox mkdir -p /out", "busybox mkdir -p /out /more", 1),
        _ => text.replacen("&&", &format!("&& busybox test {number} &&"), 1),
    };
    Some(())
}

fn run_form(project: &mut Project, dice: &mut Dice) -> Option<()> {
    let line = pick_line(project, dice, |t| t.starts_with("RUN"))?;
    let text = &mut project.lines[line].text;
    *text = match dice.below(7) {
        0 => text.replacen("&&", "\\\n&&", 1),
        1 => text.replacen("&&", "\\\n# here\n\n&&", 1),
        2 => text.replacen("RUN ", "RUN\t  ", 1),
        3 => format!("{text}  "),
        4 => text.replace("\\\n    ", "\\\n  "),
        5 if text.starts_with("RUN busybox") && !text.contains(['"', '\n', '\\']) => {
            format!("RUN [\"/bin/sh\", \"-c\", \"{}\"]", text.strip_prefix("RUN ")?)
        }
        _ => text.replace('\'', ""),
    };
    Some(())
}

fn copy_form(project: &mut Project, dice: &mut Dice) -> Option<()> {
    let line = pick_line(project, dice, |t| {
        (t.starts_with("COPY") || t.starts_with("ADD")) && !t.contains('[') && !t.contains("/bin")
    })?;
    let number = project.number();
    let text = project.lines[line].text.clone();
    let words: Vec<&str> = text.split(' ').collect();
    let (flags, paths): (Vec<&str>, Vec<&str>) = words.get(1..)?.iter().partition(|w| w.starts_with("--"));
    let keyword = words.first()?;
    let (dest, sources) = paths.split_last()?;
    let flags: String = flags.iter().map(|f| format!("{f} ")).collect();
    project.lines[line].text = match dice.below(9) {
        0 => format!("{keyword} {flags}./{}", paths.join(" ")),
        1 => format!("{keyword} {flags}/{}", paths.join(" ")),
        2 => format!("{keyword} {flags}{} {dest}/", sources.join(" ")).replace("//", "/"),
        3 => {
            let reversed: Vec<&str> = sources.iter().rev().copied().collect();
            format!("{keyword} {flags}{} {dest}", reversed.join(" "))
        }
        4 if !flags.contains("chown") => format!("{keyword} --chown=5:6 {flags}{}", paths.join(" ")),
        5 => format!("{keyword} {}", paths.join(" ")),
        6 if *keyword == "COPY" && !flags.contains("from") => format!("ADD {flags}{}", paths.join(" ")),
        7 => {
            let quoted: Vec<String> = paths.iter().map(|p| format!("\"{p}\"")).collect();
            format!("{keyword} {flags}[{}]", quoted.join(", "))
        }
        _ => format!("{keyword} {flags}{} /moved{number}/", sources.join(" ")),
    };
    Some(())
}

/// Another number in an instruction.
fn replace_number(project: &mut Project, dice: &mut Dice, keyword: &str) -> Option<()> {
    let line =
        pick_line(project, dice, |t| t.starts_with(keyword) && t.ends_with(|c: char| c.is_ascii_digit()))?;
    let number = project.number();
    let text = &mut project.lines[line].text;
    *text = format!("{}{number}", text.trim_end_matches(|c: char| c.is_ascii_digit()));
    Some(())
}
