//! Content of a secret that stays in a layer: it is in no key, so another content changes nothing.
//!
//! Follows the secret through variables, pipes and substitutions of one RUN. Tools that authenticate with it are not
//! followed: what they fetch is keyed by other things.

use super::ecosystem::{BUNDLED_PREFIXES, BUNDLERS};
use super::variables;
use super::{Cx, Rule, words};
use crate::build::model::{Action, MountKind, Run, RunMount, Step, is_below};
use crate::build::process::{self, Process};
use crate::context::path::clean_str;
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::shell::{Connector, ShellWord};
use std::collections::{HashMap, HashSet};

/// See `rules/secret-not-in-key.md`.
pub(super) const RULE: Rule =
    Rule { name: "secret-not-in-key", page: include_str!("../../rules/secret-not-in-key.md"), check };

/// Programs whose output is made of their input and nothing else.
const FILTERS: &[&str] = &[
    "cat",
    "echo",
    "printf",
    "sed",
    "awk",
    "gawk",
    "mawk",
    "envsubst",
    "tee",
    "base64",
    "base32",
    "tr",
    "head",
    "tail",
    "cut",
    "grep",
    "egrep",
    "jq",
    "yq",
    "dd",
    "xxd",
    "gunzip",
    "zcat",
    "gzip",
    "openssl",
    "gpg",
    "gpg2",
    "sops",
    "age",
    "sort",
    "uniq",
    "fold",
    "paste",
    "rev",
    "strings",
    "perl",
    "gomplate",
    "j2",
    "ansible-vault",
    "sponge",
    "iconv",
    "uudecode",
];

/// Programs that put a file elsewhere, whole or unpacked.
const MOVERS: &[&str] = &["cp", "install", "rsync", "ln", "mv"];

/// Names of files by which tools authenticate.
const CREDENTIALS: &[&str] = &[
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".netrc",
    "_netrc",
    "pip.conf",
    "pip.ini",
    ".pypirc",
    "auth.json",
    "auth.toml",
    "settings.xml",
    "settings-security.xml",
    "credentials",
    "credentials.toml",
    ".git-credentials",
    ".gitconfig",
    "nuget.config",
    "NuGet.Config",
    "NuGet.config",
    ".gemrc",
    "gradle.properties",
    ".condarc",
    ".curlrc",
    ".wgetrc",
    ".s3cfg",
    "id_rsa",
    "id_ed25519",
    "id_ecdsa",
    "known_hosts",
    ".dockercfg",
    ".terraformrc",
    ".boto",
    "bunfig.toml",
    ".bundle",
    "hosts.yml",
    ".vault-token",
    ".cargo-ok",
];

/// How the content stays.
enum Kept {
    /// In a file of the layer.
    File(String),
    /// In what a bundler makes.
    Bundle(String),
}

/// One secret of a RUN.
struct Secret<'r> {
    /// Its name for people.
    id: String,
    flag: Span,
    /// Where its file is, if it has one.
    path: Option<String>,
    mount: &'r RunMount<'r>,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for step in cx.model.steps() {
        let Action::Run(run) = &step.action else { continue };
        if variables::script(cx, step).is_none() {
            continue;
        }
        for mount in run.mounts.iter().filter(|m| m.kind == MountKind::Secret) {
            let secret = secret(mount, step);
            let Some((span, kept)) = kept(cx, step, run, &secret) else { continue };
            if told.insert((secret.flag, span)) {
                findings.push(finding(cx, step, &secret, span, &kept));
            }
        }
    }
}

/// As `dockerfile2llb` places it: `target`, else the last part of the id below `/run/secrets`, unless only a variable is
/// asked for.
fn secret<'r>(mount: &'r RunMount<'r>, step: &Step<'_>) -> Secret<'r> {
    let named = mount.id.clone().or(Some(mount.source.clone()).filter(|s| !s.is_empty()));
    let id = named.unwrap_or_else(|| last(&mount.target).to_owned());
    let path = match mount.target.as_str() {
        "" if mount.env.is_some() => None,
        "" => Some(format!("/run/secrets/{}", last(&id))),
        target if target.starts_with('/') => Some(clean_str(target)),
        target => Some(clean_str(&format!("{}/{target}", step.state.cwd))),
    };
    Secret { id, flag: mount.flag.span, path, mount }
}

fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// What is known of a secret on the way through a script.
struct Trail<'t> {
    secret: &'t Secret<'t>,
    /// Variables that hold it.
    names: HashSet<String>,
    /// The whole environment is made of it.
    sourced: bool,
    /// Output of the newest command of a pipeline, by shell and list.
    output: HashMap<(usize, usize), bool>,
    /// Files that hold it beside its own.
    copies: Vec<String>,
}

fn kept(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>, secret: &Secret<'_>) -> Option<(Span, Kept)> {
    let mut trail = Trail {
        secret,
        names: secret.mount.env.clone().into_iter().collect(),
        sourced: false,
        output: HashMap::new(),
        copies: Vec::new(),
    };
    let commands = process::processes(run, &step.state);
    let mut found: Vec<(Span, Kept, usize)> = Vec::new();
    for (number, command) in commands.iter().enumerate() {
        let fed = trail.follow(command);
        for target in trail.written(command, fed) {
            trail.copies.push(target.clone());
            found.push((command.command.span, Kept::File(target), number));
        }
        if let Some(what) = trail.bundled(command, step) {
            found.push((command.command.span, Kept::Bundle(what), number));
        }
    }
    found.retain(|(_, kept, number)| match kept {
        Kept::Bundle(_) => true,
        Kept::File(path) => {
            let gone = commands.iter().enumerate().any(|(n, c)| {
                (n > *number && removes(c, path))
                    || (c.program().is_some_and(|(p, _)| p == "trap") && mentions(c, path))
            });
            !gone && stays(cx, step, run, path)
        }
    });
    found.into_iter().next().map(|(span, kept, _)| (span, kept))
}

impl Trail<'_> {
    /// Whether a word stands for the content: a variable that holds it, or a substitution that reads it.
    fn holds(&self, word: &ShellWord) -> bool {
        let substituted = || {
            let inside = word.raw.contains("$(") || word.raw.contains('`');
            let place = |p: &String| word.raw.contains(p.as_str());
            let named =
                |n: &String| word.raw.contains(&format!("${n}")) || word.raw.contains(&format!("${{{n}"));
            inside && (self.secret.path.iter().chain(&self.copies).any(place) || self.names.iter().any(named))
        };
        word.expands && (substituted() || variables::names_in(word).iter().any(|n| self.names.contains(n)))
    }

    /// Whether a word is the secret's file, or a copy of it.
    fn is_file(&self, process: &Process<'_>, word: &ShellWord) -> bool {
        let path = shown_path(process, word);
        self.secret.path.as_deref() == Some(path.as_str()) || self.copies.contains(&path)
    }

    /// Notes what a command makes of it; returns whether its standard input is the content.
    fn follow(&mut self, process: &Process<'_>) -> bool {
        let command = process.command;
        let key = (command.subshell_depth, command.group);
        let piped = command.connector == Connector::Pipe && self.output.get(&key).copied().unwrap_or(false);
        let redirected = command.redirects.iter().any(|r| match r.op.as_str() {
            "<" => self.is_file(process, &r.target),
            "<<<" => self.holds(&r.target),
            _ => r.heredoc.is_some() && self.in_heredoc(r),
        });
        let fed = piped || redirected;
        let Some((program, arguments)) = process.program() else {
            for (name, value) in &command.assignments {
                if self.holds(value) {
                    self.names.insert(name.clone());
                } else {
                    self.names.remove(name);
                }
            }
            return fed;
        };
        match program {
            "export" | "declare" | "readonly" | "local" | "typeset" => {
                for word in arguments {
                    match word.text.split_once('=') {
                        Some((name, _)) if self.holds(word) => {
                            self.names.insert(name.to_owned());
                        }
                        // `export $(cat /run/secrets/env)`
                        None if self.holds(word) && word.raw.contains("$(") => self.sourced = true,
                        _ => {}
                    }
                }
            }
            "read" if fed => {
                self.names
                    .extend(arguments.iter().filter(|w| !w.text.starts_with('-')).map(|w| w.text.clone()));
            }
            "." | "source" => self.sourced |= arguments.iter().any(|w| self.is_file(process, w)),
            _ => {}
        }
        let reads = FILTERS.contains(&program)
            && (fed
                || arguments.iter().any(|w| self.holds(w) || (self.is_file(process, w) && !talks(program))));
        // Every variable of the environment is put in.
        let fills = program == "envsubst" && (!self.names.is_empty() || self.sourced);
        self.output.insert(key, reads || fills);
        fed
    }

    fn in_heredoc(&self, redirect: &crate::syntax::shell::Redirect) -> bool {
        let Some(body) = redirect.heredoc.as_ref().filter(|_| !redirect.target.quoted) else { return false };
        let named = |n: &String| body.contains(&format!("${n}")) || body.contains(&format!("${{{n}"));
        self.names.iter().any(named)
            || self.secret.path.as_ref().is_some_and(|p| body.contains("$(") && body.contains(p.as_str()))
    }

    /// The files to which a command writes the content.
    fn written(&self, process: &Process<'_>, fed: bool) -> Vec<String> {
        let command = process.command;
        let Some((program, arguments)) = process.program() else { return Vec::new() };
        let mut out = Vec::new();
        let key = (command.subshell_depth, command.group);
        let carries = self.output.get(&key).copied().unwrap_or(false) && FILTERS.contains(&program);
        let mut operands: Vec<&ShellWord> = arguments.iter().filter(|w| !w.text.starts_with('-')).collect();
        if carries {
            let writes = |op: &str| matches!(op, ">" | ">>" | "&>" | ">|" | "&>>");
            let files = command.redirects.iter().filter(|r| writes(&r.op) && r.fd.unwrap_or(1) == 1);
            out.extend(files.map(|r| shown_path(process, &r.target)));
        }
        // Certificates are gathered in one file.
        let place = self.secret.path.as_deref().unwrap_or_default();
        let anchored =
            place.contains("/ca-certificates") || place.contains("/ca-trust") || place.contains("/anchors");
        if matches!(program, "update-ca-certificates" | "update-ca-trust" | "trust") && anchored {
            out.push("/etc/ssl/certs/ca-certificates.crt".to_owned());
        }
        match program {
            "tee" | "sponge" if fed => out.extend(operands.iter().map(|w| shown_path(process, w))),
            "dd" if carries => {
                let file = arguments.iter().filter_map(|w| w.text.strip_prefix("of="));
                out.extend(file.map(str::to_owned));
            }
            "sed" | "perl"
                if arguments.iter().any(|w| w.text.starts_with("-i") || w.text.starts_with("--in-place")) =>
            {
                if arguments.iter().any(|w| self.holds(w))
                    && let Some(file) = operands.last()
                {
                    out.push(shown_path(process, file));
                }
            }
            "openssl" | "gpg" | "gpg2" | "sops" | "age" if carries => {
                out.extend(value_of(arguments, &["-out", "-o", "--output"]).map(|w| shown_path(process, w)));
            }
            "tar" | "unzip" | "7z" | "bsdtar" => {
                let takes = fed || arguments.iter().any(|w| self.is_file(process, w));
                if takes {
                    let place = value_of(arguments, &["-C", "--directory", "-d"]);
                    let here = || process.cwd.as_ref().map_or(String::from("."), ToString::to_string);
                    out.push(place.map_or_else(here, |w| shown_path(process, w)));
                }
            }
            _ if MOVERS.contains(&program) => {
                let into = value_of(arguments, &["-t", "--target-directory"]);
                let target = match into {
                    Some(folder) => Some(folder),
                    None => operands.pop(),
                };
                let source = operands.iter().find(|w| self.is_file(process, w));
                // A link holds no content.
                if let (Some(target), Some(source)) = (target, source.filter(|_| program != "ln")) {
                    let target_path = shown_path(process, target);
                    let folder = target.text.ends_with('/')
                        || into.is_some()
                        || matches!(target.text.as_str(), "." | "..");
                    out.push(if folder {
                        clean_str(&format!("{target_path}/{}", last(&source.text)))
                    } else {
                        target_path
                    });
                }
            }
            _ => {}
        }
        out
    }

    /// What tells a bundler that the content goes into its result.
    fn bundled(&self, process: &Process<'_>, step: &Step<'_>) -> Option<String> {
        let (program, arguments) = process.program()?;
        // A value on a compiler's command line is in what it makes.
        let compiles = matches!(
            program,
            "go" | "gcc" | "g++" | "cc" | "c++" | "clang" | "clang++" | "cmake" | "flutter" | "hugo"
        );
        if compiles && let Some(word) = arguments.iter().find(|w| self.holds(w)) {
            return Some(format!("`{}`", words::shortened(&word.raw, 40)));
        }
        let texts: Vec<&str> = arguments.iter().map(|w| w.text.as_str()).collect();
        let builds = BUNDLERS.contains(&program)
            && (texts
                .iter()
                .any(|t| *t == "build" || t.starts_with("build:") || *t == "generate" || *t == "export")
                || matches!(program, "webpack"));
        if !builds {
            return None;
        }
        let public = |name: &str| BUNDLED_PREFIXES.iter().any(|p| name.starts_with(p));
        let own = process.command.assignments.iter().filter(|(_, v)| self.holds(v)).map(|(n, _)| n);
        if let Some(name) = own.chain(&self.names).find(|n| public(n)) {
            return Some(format!("`{name}`"));
        }
        if self.sourced {
            return Some("the variables in it".to_owned());
        }
        // A settings file among the source.
        let path = self.secret.path.as_deref().into_iter().chain(self.copies.iter().map(String::as_str));
        let cwd = process.cwd.as_deref().unwrap_or(step.state.cwd.as_str()).to_owned();
        let mut settings =
            path.filter(|p| is_below(p, &cwd) && !is_credential(p) && last(p).starts_with(".env"));
        settings.next().map(|p| format!("`{p}`"))
    }
}

/// Programs that print their arguments and read no files.
fn talks(program: &str) -> bool {
    matches!(program, "echo" | "printf" | "envsubst" | "tr")
}

fn value_of<'w>(arguments: &'w [ShellWord], options: &[&str]) -> Option<&'w ShellWord> {
    let at = arguments.iter().position(|w| options.contains(&w.text.as_str()))?;
    arguments.get(at + 1)
}

/// A path from the root if it is known, else as written.
fn shown_path(process: &Process<'_>, word: &ShellWord) -> String {
    match process.path(word) {
        Some(path) => path.path,
        None => word.text.clone(),
    }
}

fn removes(process: &Process<'_>, path: &str) -> bool {
    let Some(("rm" | "shred" | "unlink" | "wipe" | "srm", arguments)) = process.program() else {
        return false;
    };
    arguments.iter().any(|word| {
        let removed = shown_path(process, word);
        let start = removed.split(['*', '?']).next().unwrap_or_default();
        removed == path
            || is_below(path, &removed)
            || (removed != start && !start.is_empty() && path.starts_with(start))
    })
}

fn mentions(process: &Process<'_>, path: &str) -> bool {
    process.command.words.iter().any(|w| w.text.contains(path) || w.text.contains(last(path)))
}

fn is_credential(path: &str) -> bool {
    CREDENTIALS.contains(&last(path))
        || path
            .split('/')
            .any(|part| matches!(part, ".ssh" | ".aws" | ".docker" | ".gnupg" | ".kube" | ".config"))
}

/// Whether a file that a RUN writes is still there in what ships, or where others take it from.
fn stays(cx: &Cx<'_>, step: &Step<'_>, run: &Run<'_>, path: &str) -> bool {
    let nowhere = ["/dev", "/proc", "/sys", "/run/secrets"];
    if nowhere.iter().any(|n| is_below(path, n)) || path.is_empty() || path.starts_with('&') {
        return false;
    }
    if path.starts_with('/') && run.mount_over(path).is_some() {
        return false;
    }
    // The secret's own place is no file of the layer.
    if run.mounts.iter().any(|m| m.kind == MountKind::Secret && m.target == path) {
        return false;
    }
    let temporary = is_below(path, "/tmp") || is_below(path, "/var/tmp");
    if cx.ships(step.stage) {
        return !temporary || !is_credential(path);
    }
    // By which a builder authenticates is none of the result.
    !is_credential(path) && cx.is_taken(step.stage, path)
}

fn finding(cx: &Cx<'_>, step: &Step<'_>, secret: &Secret<'_>, span: Span, kept: &Kept) -> Finding {
    let id = &secret.id;
    let (what, label) = match kept {
        Kept::File(path) => {
            (format!("`{path}` keeps the content of secret `{id}`"), format!("writes it to `{path}`"))
        }
        Kept::Bundle(by) => (
            format!("what this builds keeps {by} of secret `{id}`"),
            "the bundle depends on the secret".to_owned(),
        ),
    };
    let message = format!(
        "{what}, and a secret is in no cache key: after it has changed, `{}` stays CACHED and the old content ships, readable \
         for everybody who gets the image",
        words::of_instruction(step.instruction)
    );
    let argument =
        format!("{}_REVISION", id.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let help = match kept {
        Kept::File(path) => format!(
            "hand the file over when the container runs (mount it at `{path}`), or copy a version without secrets: \
             `COPY {} {path}`; if it must be in the image, pass something that changes with it and is none itself, above \
             this RUN: `ARG {argument}`",
            last(path)
        ),
        Kept::Bundle(_) => format!(
            "what ends in a bundle is no secret: pass it as ARG; or pass something that changes with it, above this RUN: \
             `ARG {argument}`"
        ),
    };
    let written = match kept {
        Kept::File(path) => path.clone(),
        Kept::Bundle(by) => by.replace('`', ""),
    };
    Finding::at(&RULE, cx, span, message)
        .label(label)
        .also(secret.flag, "no content of it enters the key")
        .help(help)
        .evidence("secret", id)
        .evidence("kept", written)
}
