//! Small random projects: a build context, a Dockerfile and the command line of its build.

use super::dice::Dice;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Everything that a build is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    /// By path; parents that are not listed are directories of mode 0755. The shell is not listed.
    pub(crate) entries: BTreeMap<String, Node>,
    /// Lines of `.dockerignore`; none without lines.
    pub(crate) ignore: Vec<String>,
    pub(crate) lines: Vec<Line>,
    /// The Dockerfile has lines as on Windows.
    pub(crate) crlf: bool,
    /// The Dockerfile lies beside the context, not in it.
    pub(crate) outside: bool,
    pub(crate) build_args: Vec<(String, String)>,
    pub(crate) add_hosts: Vec<(String, String)>,
    pub(crate) target: Option<String>,
    pub(crate) secret: String,
    pub(crate) no_cache: bool,
    /// Where numbers that make contents and names unique have got to.
    pub(crate) next: usize,
}

/// A file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File { content: String, mode: u32, mtime: u64 },
    Dir { mode: u32 },
    Link { target: String },
}

/// One instruction, comment or blank line of the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The same before and after an edit.
    pub(crate) id: usize,
    pub(crate) text: String,
    /// Files that its stage has afterwards.
    pub(crate) makes: Vec<String>,
}

/// What is known at some line of a Dockerfile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Number of the stage; `None` before the first FROM.
    pub(crate) stage: Option<usize>,
    pub(crate) shell: bool,
    /// A user other than root: most directories cannot be written to.
    pub(crate) user: bool,
    pub(crate) directory: String,
    pub(crate) files: Vec<String>,
    /// ARG and ENV.
    pub(crate) names: Vec<String>,
    /// Stages before this one: the name or number, and the files.
    pub(crate) stages: Vec<(String, Scope)>,
}

const FILES: &[&str] = &[
    "a",
    "b.txt",
    "c.sh",
    "d/e",
    "d/f.txt",
    "d/g/h",
    "d/g/i.txt",
    "lib/x.rs",
    "lib/y.rs",
    "lib/deep/z.rs",
    "docs/README.md",
    "docs/n.log",
    ".hidden",
    "sp ace",
    "ü.txt",
    "e.log",
];
const LINKS: &[(&str, &str)] = &[
    ("l", "a"),
    ("ld", "d"),
    ("d/up", "../b.txt"),
    ("dangling", "nowhere"),
    ("lib/abs", "/d/e"),
    ("docs/lib", "../lib"),
];
const IGNORED: &[&str] = &[
    "*.log",
    "**/*.log",
    "docs",
    "docs/",
    "/docs/n.log",
    "d/g",
    "**/*.txt",
    "!b.txt",
    "!docs/README.md",
    ".hidden",
    "# a comment",
    "lib/*",
    "!lib/x.rs",
    "**/g",
    "!d/g/h",
    "sp*",
    "Dockerfile",
    ".dockerignore",
    "",
    "d/?",
    "[ab]*",
    "!**/f.txt",
    "nowhere",
    "*/deep",
    "lib/../a",
];
pub(crate) const MODES: &[u32] = &[0o644, 0o644, 0o644, 0o755, 0o600, 0o640, 0o4755];

impl Project {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let mut out = Project {
            entries: BTreeMap::new(),
            ignore: Vec::new(),
            lines: Vec::new(),
            crlf: dice.chance(4),
            outside: dice.chance(60),
            build_args: Vec::new(),
            add_hosts: Vec::new(),
            target: None,
            secret: "one".to_owned(),
            no_cache: false,
            next: 0,
        };
        for _ in 0..dice.between(4, 9) {
            let path = *dice.pick(FILES);
            let node = out.file(dice);
            out.entries.insert(path.to_owned(), node);
        }
        for _ in 0..dice.below(3) {
            let (path, target) = *dice.pick(LINKS);
            out.entries.insert(path.to_owned(), Node::Link { target: target.to_owned() });
        }
        if dice.chance(30) {
            out.entries.insert("empty".to_owned(), Node::Dir { mode: 0o755 });
        }
        if dice.chance(20) {
            out.entries.insert("d".to_owned(), Node::Dir { mode: 0o750 });
        }
        if dice.chance(50) {
            for _ in 0..dice.between(1, 4) {
                let line = out.ignore_line(dice);
                out.ignore.push(line);
            }
        }
        out.dockerfile(dice);
        for name in ["X", "G", "EXTRA"] {
            if dice.chance(15) {
                out.build_args.push((name.to_owned(), "given".to_owned()));
            }
        }
        out
    }

    pub(crate) fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// A file whose content no other has.
    pub(crate) fn file(&mut self, dice: &mut Dice) -> Node {
        let number = self.number();
        let content = (0..dice.between(1, 3)).map(|line| format!("{number} {line}\n")).collect();
        Node::File { content, mode: *dice.pick(MODES), mtime: 1_700_000_000 + dice.below(1000) as u64 }
    }

    pub(crate) fn new_path(&mut self, dice: &mut Dice) -> String {
        let directory = *dice.pick(&["", "d/", "d/g/", "lib/", "docs/", "new/"]);
        let extension = *dice.pick(&["", ".txt", ".log", ".rs"]);
        format!("{directory}n{}{extension}", self.number())
    }

    pub(crate) fn ignore_line(&mut self, dice: &mut Dice) -> String {
        (*dice.pick(IGNORED)).to_owned()
    }

    pub(crate) fn line(&mut self, text: impl Into<String>, makes: Vec<String>) -> Line {
        Line { id: self.number(), text: text.into(), makes }
    }

    fn push(&mut self, text: impl Into<String>, makes: Vec<String>) {
        let line = self.line(text, makes);
        self.lines.push(line);
    }

    fn dockerfile(&mut self, dice: &mut Dice) {
        if dice.chance(15) {
            self.push("# a comment", Vec::new());
        }
        if dice.chance(40) {
            self.push("ARG G=global", Vec::new());
        }
        let stages = *dice.pick(&[1, 2, 2, 2, 3, 3]);
        let by_argument = stages > 1 && dice.chance(15);
        if by_argument {
            self.push("ARG BASE=first", Vec::new());
        }
        for number in 0..stages {
            let earlier = self.scope(self.lines.len());
            let named: Vec<&String> =
                earlier.stages.iter().map(|(n, _)| n).filter(|n| !n.starts_with(char::is_numeric)).collect();
            let mut from = match named.as_slice() {
                [] => "scratch".to_owned(),
                _ if dice.chance(50) => "scratch".to_owned(),
                some => (*dice.pick(some)).clone(),
            };
            if by_argument && number > 0 && from == "first" {
                from = "${BASE}".to_owned();
            }
            let name = ["first", "second", "third"].get(number).copied().unwrap_or("more");
            let named =
                number + 1 < stages && (dice.chance(75) || (by_argument && number == 0)) || dice.chance(20);
            let alias = if named { format!(" AS {name}") } else { String::new() };
            self.push(format!("FROM {from}{alias}"), Vec::new());
            if !self.scope(self.lines.len()).shell && dice.chance(85) {
                for line in self.shell(dice) {
                    self.push(line.0, line.1);
                }
            }
            for _ in 0..dice.between(2, 7) {
                let scope = self.scope(self.lines.len());
                let (text, makes) = self.instruction(dice, &scope);
                self.push(text, makes);
            }
        }
    }

    fn shell(&mut self, dice: &mut Dice) -> Vec<(String, Vec<String>)> {
        let of = |text: &str| (text.to_owned(), Vec::new());
        match dice.below(3) {
            0 => vec![of("COPY busybox /bin/busybox"), of("COPY busybox /bin/sh")],
            1 => vec![of("COPY busybox /bin/"), of("SHELL [\"/bin/busybox\", \"sh\", \"-c\"]")],
            _ => vec![of("COPY busybox /bin/busybox"), of("SHELL [\"busybox\", \"sh\", \"-ec\"]")],
        }
    }

    /// What is known in front of line `end`.
    pub(crate) fn scope(&self, end: usize) -> Scope {
        let mut done: Vec<(String, Scope)> = Vec::new();
        let mut now = Scope { directory: "/".to_owned(), ..Scope::default() };
        let mut name = String::new();
        for line in self.lines.iter().take(end) {
            let words: Vec<&str> = line.text.split_whitespace().collect();
            let first = words.first().copied().unwrap_or_default().to_uppercase();
            match (first.as_str(), words.as_slice()) {
                ("FROM", [_, from, rest @ ..]) => {
                    if now.stage.is_some() {
                        done.push((name.clone(), now.clone()));
                    }
                    let from = from.replace("${BASE}", "first");
                    let base = done.iter().find(|(n, _)| *n == from).map(|(_, s)| s.clone());
                    now = base.unwrap_or(Scope { directory: "/".to_owned(), ..Scope::default() });
                    now.stage = Some(done.len());
                    name = rest.last().map_or_else(|| done.len().to_string(), |n| (*n).to_owned());
                }
                ("COPY", [_, "busybox", ..]) => now.shell = true,
                ("SHELL", _) => now.shell = true,
                ("USER", _) => now.user = true,
                ("WORKDIR", [_, path]) => {
                    now.directory = if path.starts_with('/') {
                        path.trim_end_matches('/').to_owned()
                    } else {
                        format!("{}/{path}", now.directory.trim_end_matches('/'))
                    };
                }
                ("ARG" | "ENV", [_, first, ..]) => {
                    now.names.push(first.split('=').next().unwrap_or(first).to_owned());
                }
                _ => {}
            }
            now.files.extend(line.makes.iter().cloned());
        }
        Scope { stages: done, ..now }
    }

    fn context_file(&self, dice: &mut Dice) -> String {
        let names: Vec<&String> = self.entries.keys().collect();
        if names.is_empty() || dice.chance(2) { "busybox".to_owned() } else { (*dice.pick(&names)).clone() }
    }

    fn context_directory(&self, dice: &mut Dice) -> String {
        let parents: Vec<String> =
            self.entries.keys().filter_map(|p| Some(p.rsplit_once('/')?.0.to_owned())).collect();
        if parents.is_empty() { ".".to_owned() } else { dice.pick(&parents).clone() }
    }

    /// An instruction that can stand in a scope, and the files that it makes.
    pub(crate) fn instruction(&mut self, dice: &mut Dice, scope: &Scope) -> (String, Vec<String>) {
        let nothing = Vec::new();
        match dice.below(100) {
            0..26 => self.copy(dice, scope),
            26..37 => match self.copy_from(dice, scope) {
                Some(copy) => copy,
                None => self.copy(dice, scope),
            },
            37..68 if scope.shell => self.run(dice, scope),
            37..68 => self.copy(dice, scope),
            68..76 => {
                let path =
                    *dice.pick(&["/w", "/w/sub", "sub", "/data", "/out", "/w/", "./x", "/", "$E", "/w/../y"]);
                let path = if path == "$E" && !scope.names.iter().any(|n| n == "E") { "/e" } else { path };
                (format!("WORKDIR {path}"), nothing)
            }
            76..83 => {
                let number = self.number();
                let text = match dice.below(5) {
                    0 => format!("ENV E=/e{number}"),
                    1 => format!("ENV E=/e{number} F=two"),
                    2 => format!("ENV F v{number} with blanks"),
                    3 => format!("ENV X=${{X:-none}}{number}"),
                    _ => format!("ENV G=\"quoted {number}\" \\\n    E='/single'"),
                };
                (text, nothing)
            }
            83..90 => {
                let number = self.number();
                let text = match dice.below(6) {
                    0 => format!("ARG X={number}"),
                    1 => "ARG X".to_owned(),
                    2 => "ARG G".to_owned(),
                    3 => format!("ARG Y=y{number}"),
                    4 => "ARG TARGETARCH".to_owned(),
                    _ => "ARG Z=${X}z".to_owned(),
                };
                (text, nothing)
            }
            90 => (
                (*dice.pick(&[
                    "ONBUILD RUN busybox true",
                    "ONBUILD COPY a /onbuild/",
                    "ONBUILD ENV X=onbuild",
                ]))
                .to_owned(),
                nothing,
            ),
            91 => ((*dice.pick(&["USER 1000:1000", "USER 1000:0", "USER 7:8"])).to_owned(), nothing),
            _ => (self.configuration(dice), nothing),
        }
    }

    /// Something that is in no key.
    pub(crate) fn configuration(&mut self, dice: &mut Dice) -> String {
        let number = self.number();
        match dice.below(10) {
            0 => format!("LABEL version={number}"),
            1 => format!("CMD [\"/bin/busybox\", \"echo\", \"{number}\"]"),
            2 => format!("EXPOSE {}", 1000 + number),
            3 => "ENTRYPOINT [\"/bin/busybox\"]".to_owned(),
            4 => "STOPSIGNAL SIGTERM".to_owned(),
            5 => format!("HEALTHCHECK CMD busybox test {number}"),
            6 => format!("VOLUME /v{number}"),
            7 => format!("# remark {number}"),
            8 => String::new(),
            _ => format!("MAINTAINER someone {number}"),
        }
    }

    fn copy(&mut self, dice: &mut Dice, scope: &Scope) -> (String, Vec<String>) {
        let number = self.number();
        let word = *dice.pick(&["COPY", "COPY", "COPY", "COPY", "ADD"]);
        let flag =
            *dice.pick(&["", "", "", "", "--chown=1:2 ", "--chown=1000 ", "--chown=0:0 ", "--chmod=600 "]);
        let absolute = |path: &str| match path.strip_prefix("./").or(Some(path)) {
            Some(p) if p.starts_with('/') => p.to_owned(),
            Some(p) => format!("{}/{p}", scope.directory.trim_end_matches('/')),
            None => path.to_owned(),
        };
        match dice.below(20) {
            0..8 => {
                let file = self.context_file(dice);
                let base = file.rsplit('/').next().unwrap_or(&file).to_owned();
                let (dest, made) = match dice.below(6) {
                    0 => (format!("/{base}"), format!("/{base}")),
                    1 => (format!("/in{number}/"), format!("/in{number}/{base}")),
                    2 => (format!("/in/{number}"), format!("/in/{number}")),
                    3 => ("./".to_owned(), absolute(&base)),
                    4 => (format!("sub/{number}"), absolute(&format!("sub/{number}"))),
                    _ if scope.names.iter().any(|n| n == "E") => ("$E/".to_owned(), "/e".to_owned()),
                    _ => ("/${UNSET:-in}/".to_owned(), format!("/in/{base}")),
                };
                let text = if file.contains(' ') || dice.chance(8) {
                    format!("{word} {flag}[\"{file}\", \"{dest}\"]")
                } else {
                    format!("{word} {flag}{file} {dest}")
                };
                (text, vec![made])
            }
            8..12 => {
                let directory = self.context_directory(dice);
                let prefix = *dice.pick(&["", "./", "/"]);
                let slash = *dice.pick(&["", "/"]);
                let dest = format!("/dir{number}");
                let inside = format!("{directory}/");
                let made = self.entries.keys().filter_map(|p| p.strip_prefix(&inside));
                let made = made.map(|p| format!("{dest}/{p}")).collect();
                (format!("{word} {flag}{prefix}{directory}{slash} {dest}"), made)
            }
            12..15 => {
                let pattern = *dice.pick(&[
                    "*.txt",
                    "d/*",
                    "lib/*.rs",
                    "?",
                    "d*",
                    "l*",
                    "*/*.txt",
                    "[a-c]*",
                    "lib/[!x]*",
                    "docs/*.log",
                    "*/g/*",
                ]);
                (format!("{word} {flag}{pattern} /wild{number}/"), vec![format!("/wild{number}")])
            }
            15..18 => {
                let mut sources: Vec<String> =
                    (0..dice.between(2, 3)).map(|_| self.context_file(dice)).collect();
                if dice.chance(30) {
                    sources.push(self.context_directory(dice));
                }
                sources.retain(|s| !s.contains(' '));
                if sources.is_empty() {
                    sources.push("busybox".to_owned());
                }
                let made =
                    sources.iter().filter_map(|s| Some(format!("/many{number}/{}", s.rsplit('/').next()?)));
                (format!("{word} {flag}{} /many{number}/", sources.join(" ")), made.collect())
            }
            _ if dice.chance(40) => (format!("{word} . /all{number}"), vec![format!("/all{number}")]),
            _ => (format!("{word} d lib /merged{number}/"), vec![format!("/merged{number}")]),
        }
    }

    fn copy_from(&mut self, dice: &mut Dice, scope: &Scope) -> Option<(String, Vec<String>)> {
        let with: Vec<(usize, &(String, Scope))> =
            scope.stages.iter().enumerate().filter(|(_, (_, s))| !s.files.is_empty()).collect();
        if with.is_empty() {
            return None;
        }
        let (index, (name, stage)) = *dice.pick(&with);
        let from = match dice.below(4) {
            0 => index.to_string(),
            1 => name.to_uppercase(),
            _ => name.clone(),
        };
        // What a process made is the interesting part: it can be the same although the process ran again.
        let made: Vec<&String> = stage.files.iter().filter(|f| f.starts_with("/out/")).collect();
        let file =
            if made.is_empty() || dice.chance(30) { dice.pick(&stage.files) } else { *dice.pick(&made) };
        let file = file.clone();
        let number = self.number();
        if dice.chance(10) {
            let chown = *dice.pick(&["--chown=3:4 ", ""]);
            return Some((
                format!("COPY --from={from} {chown}{file}* /from{number}/"),
                vec![format!("/from{number}")],
            ));
        }
        if dice.chance(15)
            && let Some((parent, _)) = file.rsplit_once('/').filter(|(p, _)| !p.is_empty())
        {
            return Some((
                format!("COPY --from={from} {parent} /from{number}"),
                vec![format!("/from{number}")],
            ));
        }
        if file.contains(' ') {
            return Some((
                format!("COPY --from={from} [\"{file}\", \"/from{number}\"]"),
                vec![format!("/from{number}")],
            ));
        }
        Some((format!("COPY --from={from} {file} /from/{number}"), vec![format!("/from/{number}")]))
    }

    fn run(&mut self, dice: &mut Dice, scope: &Scope) -> (String, Vec<String>) {
        let number = self.number();
        if scope.user {
            let command = *dice.pick(&["busybox id", "busybox true", "busybox ls /", "echo $E $X"]);
            return (format!("RUN {command} {number} || true"), Vec::new());
        }
        let file = match scope.files.as_slice() {
            [] => "/bin".to_owned(),
            some => dice.pick(some).clone(),
        };
        let made = format!("/out/{number}");
        let mut mount = String::new();
        let command;
        match dice.below(12) {
            0 | 1 => command = format!("busybox cat '{file}' > {made} 2>&1 || true"),
            2 | 3 => command = format!("busybox cat '{file}' 2>/dev/null | busybox wc -l > {made}"),
            4 => command = format!("echo constant > {made}"),
            5 => command = format!("echo \"$E ${{X}} $G\" > {made}"),
            6 => {
                command = format!(
                    "busybox ls '{}' > {made} 2>&1 || true",
                    file.rsplit_once('/').map_or("/", |f| f.0)
                )
            }
            7 => {
                let directory = self.context_directory(dice);
                let source = *dice.pick(&["source=", "src=./", "source=/"]);
                mount = format!("--mount=type=bind,{source}{directory},target=/m ");
                command = format!("busybox find /m -type f | busybox sort > {made}");
            }
            8 => {
                mount = match dice.below(4) {
                    0 => "--mount=target=/m ".to_owned(),
                    1 => format!("--mount=type=bind,source={},target=/m/f,rw ", self.context_file(dice)),
                    _ => "--mount=type=cache,target=/c ".to_owned(),
                };
                if mount.contains("sp ace") {
                    mount = String::new();
                }
                command = format!("busybox cat /m/f > {made} 2>/dev/null || true");
            }
            9 => {
                let with: Vec<&(String, Scope)> = scope
                    .stages
                    .iter()
                    .filter(|(n, s)| !n.starts_with(char::is_numeric) && !s.files.is_empty())
                    .collect();
                if !with.is_empty() {
                    let (name, stage) = *dice.pick(&with);
                    let file = dice.pick(&stage.files);
                    if !file.contains(' ') {
                        mount = format!("--mount=type=bind,from={name},source={file},target=/m ");
                    }
                }
                command = format!("busybox find /m 2>/dev/null | busybox wc -l > {made}");
            }
            10 => {
                mount = (*dice.pick(&[
                    "--mount=type=tmpfs,target=/t ",
                    "--mount=type=secret,id=tok ",
                    "--mount=type=cache,id=own,target=/c,sharing=locked ",
                ]))
                .to_owned();
                command = format!("busybox ls /run > {made} 2>&1 || true");
            }
            _ => command = format!("busybox chmod 600 '{file}' ; echo {number} > {made}"),
        }
        let whole = format!("busybox mkdir -p /out && {command}");
        let text = match dice.below(6) {
            0 if !whole.contains('"') => {
                format!("RUN {mount}[\"/bin/busybox\", \"sh\", \"-c\", \"{whole}\"]")
            }
            1 => format!("RUN {mount}busybox mkdir -p /out && \\\n    {command}"),
            2 => format!("RUN {mount}busybox mkdir -p /out \\\n  # between\n && {command}"),
            _ => format!("RUN {mount}{whole}"),
        };
        (text, vec![made])
    }

    /// The Dockerfile as it is on the disk.
    pub(crate) fn text(&self) -> String {
        let lines: String = self.lines.iter().map(|l| format!("{}\n", l.text)).collect();
        if self.crlf { lines.replace('\n', "\r\n") } else { lines }
    }

    /// Lays everything out below a new directory, with a shell that runs or an empty file in its place.
    pub(crate) fn lay_out(&self, root: &Path, shell: Option<&Path>) -> Laid {
        // Local files are known to the engine by the name of their directory too: it is never the same twice.
        let context = root.join(format!("context-{}", root.file_name().unwrap().to_string_lossy()));
        std::fs::create_dir_all(&context).unwrap();
        match shell {
            Some(shell) => drop(std::fs::copy(shell, context.join("busybox")).unwrap()),
            None => std::fs::write(context.join("busybox"), "").unwrap(),
        }
        let mut directories = Vec::new();
        for (path, node) in &self.entries {
            let at = context.join(path);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            match node {
                Node::Dir { mode } => {
                    std::fs::create_dir_all(&at).unwrap();
                    directories.push((at, *mode));
                }
                Node::Link { target } => symlink(target, &at).unwrap(),
                Node::File { content, mode, mtime } => {
                    std::fs::write(&at, content).unwrap();
                    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(*mode)).unwrap();
                    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*mtime);
                    std::fs::File::options().write(true).open(&at).unwrap().set_modified(time).unwrap();
                }
            }
        }
        for (at, mode) in directories {
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        if !self.ignore.is_empty() {
            // The shell stays in whatever is left out.
            let lines: String = self.ignore.iter().map(|l| format!("{l}\n")).collect();
            std::fs::write(context.join(".dockerignore"), lines + "!busybox\n").unwrap();
        }
        let dockerfile = if self.outside { root.join("Dockerfile") } else { context.join("Dockerfile") };
        std::fs::write(&dockerfile, self.text()).unwrap();
        let secret = root.join("secret");
        std::fs::write(&secret, &self.secret).unwrap();
        Laid { context, dockerfile, secret }
    }

    /// The flags that `docker build` and layerlint have in common.
    pub(crate) fn flags(&self, laid: &Laid) -> Vec<String> {
        let mut out = vec!["--file".to_owned(), laid.dockerfile.display().to_string()];
        for (name, value) in &self.build_args {
            out.extend(["--build-arg".to_owned(), format!("{name}={value}")]);
        }
        for (name, ip) in &self.add_hosts {
            out.extend(["--add-host".to_owned(), format!("{name}:{ip}")]);
        }
        if let Some(target) = &self.target {
            out.extend(["--target".to_owned(), target.clone()]);
        }
        if self.no_cache {
            out.push("--no-cache".to_owned());
        }
        out.extend(["--network".to_owned(), "host".to_owned()]);
        out
    }
}

/// Where a project lies.
#[derive(Clone, Debug)]
pub(crate) struct Laid {
    pub(crate) context: PathBuf,
    pub(crate) dockerfile: PathBuf,
    pub(crate) secret: PathBuf,
}
