//! What a RUN does to a file, as far as its words tell.
//!
//! Most commands of a Dockerfile write to places that can be read off their arguments. A script, a build tool or a
//! word that is not known may do anything.

use crate::build::mapping::{Covers, covers};
use crate::build::model::{Run, Step, is_below};
use crate::build::process::{PathValue, Process, processes};
use crate::cargo::find::{Find, FindAction};
use crate::context::path::path_match;
use crate::syntax::shell::ShellWord;

/// What a RUN does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It leaves it as it is.
    Spares,
    /// Nobody knows.
    Unknown,
    /// It writes it anew.
    Writes,
    /// It takes it away.
    Removes,
}

impl Effect {
    /// What counts where one command follows another: what is certain, the last of it; then doubt.
    fn then(self, next: Effect) -> Effect {
        match (self, next) {
            (_, Effect::Writes | Effect::Removes) => next,
            (Effect::Writes | Effect::Removes, _) => self,
            (Effect::Unknown, _) | (_, Effect::Unknown) => Effect::Unknown,
            _ => Effect::Spares,
        }
    }
}

/// Programs that write nothing but what they are redirected to.
const READERS: &[&str] = &[
    "",
    ":",
    "[",
    "[[",
    "alias",
    "arch",
    "awk",
    "basename",
    "cat",
    "cd",
    "cmp",
    "command",
    "cut",
    "date",
    "declare",
    "df",
    "diff",
    "dirname",
    "du",
    "echo",
    "egrep",
    "env",
    "exit",
    "export",
    "false",
    "fgrep",
    "file",
    "free",
    "gawk",
    "getent",
    "grep",
    "groups",
    "hash",
    "head",
    "hostname",
    "id",
    "jq",
    "ldd",
    "local",
    "ls",
    "md5sum",
    "nproc",
    "od",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "read",
    "readlink",
    "readonly",
    "realpath",
    "set",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "shift",
    "shopt",
    "sleep",
    "stat",
    "sync",
    "tail",
    "test",
    "time",
    "tr",
    "trap",
    "tree",
    "true",
    "type",
    "ulimit",
    "umask",
    "uname",
    "uniq",
    "unset",
    "wait",
    "wc",
    "which",
    "whoami",
    "xxd",
    "yes",
];

/// Programs that change names, owners and modes, but no content of a file that is there.
const ARRANGERS: &[&str] = &[
    "mkdir",
    "rmdir",
    "touch",
    "chmod",
    "chown",
    "chgrp",
    "setfacl",
    "setcap",
    "adduser",
    "addgroup",
    "useradd",
    "groupadd",
    "usermod",
    "groupmod",
    "ldconfig",
    "update-ca-certificates",
    "mkfifo",
    "mknod",
    "mktemp",
];

/// Programs that install into the system and leave other folders alone.
const INSTALLERS: &[&str] = &[
    "apt", "apt-get", "aptitude", "apk", "dnf", "yum", "microdnf", "tdnf", "zypper", "pacman", "opkg",
    "dpkg", "rpm", "pip", "pip3", "pipx", "gem", "cpanm", "rustup",
];

/// Where [`INSTALLERS`] put things.
const SYSTEM: &[&str] =
    &["/bin", "/boot", "/etc", "/lib", "/lib64", "/opt", "/root", "/sbin", "/usr", "/var"];

/// Compilers, of which `-o` names what they write.
const COMPILERS: &[&str] = &["cc", "gcc", "g++", "c++", "clang", "clang++", "rustc", "tcc", "ld"];

/// What a RUN does to a file of its stage.
pub fn effect(step: &Step<'_>, run: &Run<'_>, path: &str) -> Effect {
    if run.mount_over(path).is_some() {
        return Effect::Spares;
    }
    let Some(script) = run.script().filter(|s| !s.incomplete && !s.foreign) else { return Effect::Unknown };
    if run.script_file.is_some() {
        return Effect::Unknown;
    }
    if script.commands.is_empty() {
        return Effect::Unknown;
    }
    processes(run, &step.state).iter().map(|p| of_process(p, path)).fold(Effect::Spares, Effect::then)
}

fn of_process(process: &Process<'_>, path: &str) -> Effect {
    let mut out = Effect::Spares;
    for redirect in &process.command.redirects {
        let writes = matches!(redirect.op.as_str(), ">" | ">>" | ">|" | "&>" | "&>>" | "<>");
        if writes {
            out = out.then(at(process, &redirect.target, path, Effect::Writes));
        }
    }
    match out.then(by_program(process, path)) {
        // It may be skipped.
        Effect::Writes | Effect::Removes if process.command.conditional => Effect::Unknown,
        effect => effect,
    }
}

/// What happens to the file if a word names it.
fn at(process: &Process<'_>, word: &ShellWord, path: &str, effect: Effect) -> Effect {
    match process.paths(word) {
        Some(values) if values.iter().any(|v| covers(v, path) == Covers::Itself) => effect,
        Some(_) => Effect::Spares,
        None => Effect::Unknown,
    }
}

fn by_program(process: &Process<'_>, path: &str) -> Effect {
    let Some((program, arguments)) = process.program() else {
        return if process.command.words.is_empty() { Effect::Spares } else { Effect::Unknown };
    };
    // What reaches a program through a pipe is not written anywhere.
    let fed = process.is_fed();
    let operands: Vec<&ShellWord> = operands(arguments);
    let all = |effect: Effect| {
        let each = operands.iter().map(|w| at(process, w, path, effect));
        each.fold(if fed { Effect::Unknown } else { Effect::Spares }, Effect::then)
    };
    let flag = |short: char, long: &str| {
        arguments.iter().any(|w| {
            let text = w.text.as_str();
            let group = text.strip_prefix('-').filter(|t| !t.starts_with('-'));
            group.is_some_and(|g| g.contains(short)) || text == long
        })
    };
    match program {
        // A script of theirs may write files of its own.
        "awk" | "gawk" if arguments.iter().any(|w| w.text.contains('>') || w.text == "-i") => Effect::Unknown,
        "sort" if flag('o', "--output") => Effect::Unknown,
        "sort" => Effect::Spares,
        "set" | "exit" | "trap" if fed => Effect::Unknown,
        "rm" | "unlink" => {
            let recursive = flag('r', "--recursive") || flag('R', "--recursive");
            let each = operands.iter().map(|w| removed(process, w, path, recursive));
            each.fold(if fed { Effect::Unknown } else { Effect::Spares }, Effect::then)
        }
        "mv" => {
            let (sources, dest) = match operands.split_last() {
                Some((dest, sources)) => (sources, *dest),
                None => return Effect::Unknown,
            };
            let gone =
                sources.iter().map(|w| removed(process, w, path, true)).fold(Effect::Spares, Effect::then);
            landed(process, sources, dest, path, false).then(gone)
        }
        "cp" | "install" | "ln" | "link" => {
            if flag('t', "--target-directory") || fed {
                return Effect::Unknown;
            }
            if program == "install" && flag('d', "--directory") {
                return Effect::Spares;
            }
            let recursive =
                program == "cp" && (flag('r', "--recursive") || flag('R', "-R") || flag('a', "--archive"));
            match operands.split_last() {
                Some((dest, sources)) => landed(process, sources, dest, path, recursive),
                None => Effect::Unknown,
            }
        }
        "sed" if !flag('i', "--in-place") && !arguments.iter().any(|w| w.text.starts_with("--in-place")) => {
            Effect::Spares
        }
        "sed" | "tee" | "truncate" | "dos2unix" | "unix2dos" | "strip" => all(Effect::Writes),
        "find" => found(process, arguments, path),
        "uv" | "poetry" | "pdm" | "pipenv" | "bundle" | "cargo" => {
            let name = path.rsplit('/').next().unwrap_or_default();
            // What they write for themselves, beside the sources.
            let own =
                ["/.venv/", "/target/", "/vendor/", ".egg-info/"].iter().any(|part| path.contains(part));
            let lock = name.ends_with(".lock") || matches!(name, "pyproject.toml" | "Cargo.toml" | "Gemfile");
            let verb = operands.first().map(|w| w.text.as_str());
            let more = matches!(verb, Some("run" | "exec" | "add" | "remove" | "fmt" | "fix" | "format"));
            if own || lock || more { Effect::Unknown } else { Effect::Spares }
        }
        "go" => match arguments.first().map(|w| w.text.as_str()) {
            Some("env" | "version" | "vet" | "list" | "test") => Effect::Spares,
            Some("mod" | "get" | "work") => match path.rsplit('/').next() {
                Some("go.mod" | "go.sum" | "go.work" | "go.work.sum") => Effect::Unknown,
                _ if path.contains("/vendor/") => Effect::Unknown,
                _ => Effect::Spares,
            },
            Some("build" | "install") => match compiled(process, arguments, path) {
                // The program is called like its folder, or goes elsewhere.
                Effect::Unknown if path.rsplit('/').next().is_some_and(|n| n.contains('.')) => Effect::Spares,
                effect => effect,
            },
            _ => Effect::Unknown,
        },
        p if READERS.contains(&p) => Effect::Spares,
        p if ARRANGERS.contains(&p) => Effect::Spares,
        p if INSTALLERS.contains(&p) => match SYSTEM.iter().any(|folder| is_below(path, folder)) {
            true => Effect::Unknown,
            false => Effect::Spares,
        },
        p if COMPILERS.contains(&p) => compiled(process, arguments, path),
        _ => Effect::Unknown,
    }
}

/// Arguments that are no options. Values of options count as operands: at worst a file is thought of in vain.
fn operands(arguments: &[ShellWord]) -> Vec<&ShellWord> {
    let mut out = Vec::new();
    let mut ended = false;
    for word in arguments {
        match word.text.as_str() {
            "--" if !ended => ended = true,
            text if text.starts_with('-') && text.len() > 1 && !ended => {}
            _ => out.push(word),
        }
    }
    out
}

fn removed(process: &Process<'_>, word: &ShellWord, path: &str, recursive: bool) -> Effect {
    let Some(values) = process.paths(word) else { return Effect::Unknown };
    let hit = |v: &PathValue| match covers(v, path) {
        Covers::Itself => true,
        Covers::Above => recursive,
        Covers::No => false,
    };
    if values.iter().any(hit) { Effect::Removes } else { Effect::Spares }
}

/// What becomes of the file if sources are copied or moved to a place; with `merges` the content of a directory may go
/// into one that is there.
fn landed(
    process: &Process<'_>,
    sources: &[&ShellWord],
    dest: &ShellWord,
    path: &str,
    merges: bool,
) -> Effect {
    let Some(dests) = process.paths(dest) else { return Effect::Unknown };
    let mut out = Effect::Spares;
    for dest in dests {
        if dest.glob {
            return Effect::Unknown;
        }
        if dest.path == path {
            out = out.then(Effect::Writes);
        } else if is_below(path, &dest.path) {
            let rest = path.strip_prefix(dest.path.trim_end_matches('/')).unwrap_or_default();
            for source in sources {
                out = out.then(into_folder(process, source, rest.trim_start_matches('/'), merges));
            }
        }
    }
    out
}

/// The same for a source that goes into the directory in which the file is at `rest`.
fn into_folder(process: &Process<'_>, source: &ShellWord, rest: &str, merges: bool) -> Effect {
    let Some(sources) = process.paths(source) else { return Effect::Unknown };
    if merges {
        // `cp -r a/. b` and `cp -r a b`, where `b` is new, put what is in `a` into `b`.
        return Effect::Unknown;
    }
    let (first, below) = rest.split_once('/').map_or((rest, false), |(first, _)| (first, true));
    let mut out = Effect::Spares;
    for value in sources {
        let name = value.path.rsplit('/').next().unwrap_or_default();
        let same = match value.glob {
            true => path_match(name, first).unwrap_or(true),
            false => name == first,
        };
        out = out.then(match same {
            true if below || value.glob => Effect::Unknown,
            true => Effect::Writes,
            false => Effect::Spares,
        });
    }
    out
}

/// What `find` does to the file if it takes it.
fn found(process: &Process<'_>, arguments: &[ShellWord], path: &str) -> Effect {
    let Some(find) = Find::of(process) else { return Effect::Unknown };
    let words = || arguments.iter().map(|w| w.text.as_str());
    if words().any(|w| matches!(w, "-fprint" | "-fprint0" | "-fprintf" | "-fls")) {
        return Effect::Unknown;
    }
    if matches!(find.action, FindAction::Print | FindAction::Touch) || !find.takes(path) {
        return Effect::Spares;
    }
    // Times, sizes and owners are not known here.
    let known = [
        "-name",
        "-path",
        "-wholename",
        "-type",
        "-maxdepth",
        "-mindepth",
        "-not",
        "-o",
        "-or",
        "-delete",
        "-print",
        "-print0",
        "-depth",
    ];
    let tests = words().skip_while(|w| !w.starts_with('-')).take_while(|w| !w.starts_with("-exec"));
    let settled = tests.filter(|w| w.starts_with('-')).all(|w| known.contains(&w));
    let files = words().zip(words().skip(1)).all(|(a, b)| a != "-type" || b == "f");
    match find.action {
        FindAction::Delete if settled && files => Effect::Removes,
        _ => Effect::Unknown,
    }
}

fn compiled(process: &Process<'_>, arguments: &[ShellWord], path: &str) -> Effect {
    let at_o = arguments.iter().position(|w| w.text == "-o");
    match at_o.and_then(|at_o| arguments.get(at_o + 1)) {
        Some(word) => at(process, word, path, Effect::Writes),
        None => Effect::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::model::{Action, BuildModel};
    use crate::image::Images;
    use crate::invoke::Invocation;
    use crate::stage::StageGraph;

    fn on(run: &str, path: &str) -> Effect {
        let text = format!("FROM a\nENV D=/dist\nWORKDIR /app\nRUN {run}\n");
        let document = crate::syntax::parse(text.as_bytes());
        let build = Invocation::default();
        let graph = StageGraph::new(&document, &build);
        let images = Images::default();
        let model = BuildModel::new(&graph, &build, &images);
        let step = model.steps().last().expect("a step");
        let Action::Run(run) = &step.action else { panic!("no RUN") };
        effect(step, run, path)
    }

    #[test]
    fn words_tell_what_is_written_and_what_is_not() {
        use Effect::{Removes, Spares, Unknown, Writes};
        for (run, effect) in [
            ("echo x >> a.py", Writes),
            ("echo x > /tmp/a.py", Spares),
            ("echo x > $OUT", Unknown),
            ("cat a.py | tee b.py", Spares),
            ("cat b.py | tee a.py", Writes),
            ("sed -i s/x/y/ *.py", Writes),
            ("sed s/x/y/ a.py > b.py", Spares),
            ("rm -f a.py", Removes),
            ("rm a.pyc && rm -rf ../app2", Spares),
            ("rm -rf .", Removes),
            ("rm -rf ${X:?}", Unknown),
            ("cd / && rm -r app", Removes),
            ("mv a.py b.py", Removes),
            ("mv b.py a.py", Writes),
            ("mv b.py sub/", Spares),
            ("mv b.py .", Spares),
            ("mv ../x/a.py .", Writes),
            ("cp a.py $D/", Spares),
            ("cp -r ../x/. .", Unknown),
            ("cp ../x/*.txt .", Spares),
            ("cp ../x/* .", Unknown),
            ("install -m 755 x /usr/local/bin/x", Spares),
            ("find . -name '*.pyc' -delete", Spares),
            ("find . -name '*.py' -delete", Removes),
            ("find . -name '*.py' -mtime +1 -delete", Unknown),
            ("find . -type d -name x -exec rm -rf {} +", Spares),
            ("find /app -name '*.py' -exec chmod 644 {} +", Unknown),
            ("find . -name '*.pyc'", Spares),
            ("find . | xargs rm", Unknown),
            ("apt-get update && apt-get install -y gcc && rm -rf /var/lib/apt/lists/*", Spares),
            ("pip install --no-cache-dir -r requirements.txt", Spares),
            ("chmod -R go-w . && chown -R app .", Spares),
            ("gcc -O2 -o a.py x.c", Writes),
            ("gcc -O2 x.c -o x", Spares),
            ("gcc x.c", Unknown),
            ("uv sync --frozen && go mod download && cargo build --release", Spares),
            ("go build -o /bin/x ./...", Spares),
            ("go generate ./...", Unknown),
            ("cargo run", Unknown),
            ("./a.py", Unknown),
            ("npm run build", Unknown),
            ("test -f x || rm a.py", Unknown),
            ("rm a.py || true", Removes),
            ("rm a.py; make", Removes),
            ("--mount=type=cache,target=/app make", Spares),
            ("[\"rm\", \"a.py\"]", Removes),
        ] {
            assert_eq!(on(run, "/app/a.py"), effect, "{run}");
        }
        assert_eq!(on("apt-get install -y x", "/etc/x.conf"), Unknown);
        assert_eq!(on("cargo build", "/app/Cargo.lock"), Unknown);
    }
}
