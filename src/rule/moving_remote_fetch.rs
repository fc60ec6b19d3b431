//! A RUN that fetches something that changes while the command stays the same.

use super::command::{installer_program, operands};
use super::ecosystem::{BRANCHES, BUSTER_WORDS, INTERPRETERS, MOVING_TAGS};
use super::{Cx, Rule, words};
use crate::build::model::{Action, CopySource, Network, Step};
use crate::build::process::{Process, processes};
use crate::context::path::clean_str;
use crate::finding::Finding;
use crate::source::Span;
use crate::syntax::shell::{Connector, ShellWord};
use std::collections::HashSet;

/// See `rules/moving-remote-fetch.md`.
pub(super) const RULE: Rule =
    Rule { name: "moving-remote-fetch", page: include_str!("../../rules/moving-remote-fetch.md"), check };

/// Further fetches that a finding names.
const NAMED: usize = 3;

/// Commands and methods of PowerShell that download.
const POWER_SHELL_FETCHES: &[&str] = &[
    "invoke-webrequest",
    "invoke-restmethod",
    "iwr ",
    "irm ",
    "curl",
    "wget",
    "downloadfile",
    "downloadstring",
    "start-bitstransfer",
];

/// Something that moves.
struct Moving {
    span: Span,
    /// The command, shortened.
    command: String,
    /// As in "takes the newest commit of the default branch".
    what: String,
    help: String,
    /// Address or package.
    source: String,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut seen = HashSet::new();
    for step in cx.model.steps() {
        let Action::Run(run) = &step.action else { continue };
        if run.network == Network::None || !seen.insert(step.instruction.span) || is_renewed(cx, step) {
            continue;
        }
        let list = processes(run, &step.state);
        let mut told = HashSet::new();
        let found: Vec<Moving> = (0..list.len())
            .filter_map(|index| moving(cx, step, &list, index))
            .chain(power_shell(step))
            .filter(|m| !cx.settings.allows(&RULE, &m.source) && told.insert(m.source.clone()))
            .collect();
        findings.extend(finding(cx, &found));
    }
}

fn finding(cx: &Cx<'_>, found: &[Moving]) -> Option<Finding> {
    let (first, others) = found.split_first()?;
    let message = format!(
        "`{}` {} on the day this step is built, and that is served from the cache from then on: the text of the \
         RUN never changes, so a newer one comes only when something above it changes, without notice",
        first.command, first.what
    );
    let sources: Vec<&str> = found.iter().map(|m| m.source.as_str()).collect();
    let mut finding = Finding::at(&RULE, cx, first.span, message)
        .label("changes elsewhere, and the cache does not know")
        .help(&*first.help)
        .evidence("sources", sources);
    for other in others.iter().take(NAMED) {
        finding = finding.also(other.span, other.what.clone());
    }
    Some(finding)
}

/// Whether something above makes the step run again on purpose: an argument that is there for it, or an ADD from an
/// address, which BuildKit asks at every build.
fn is_renewed(cx: &Cx<'_>, step: &Step<'_>) -> bool {
    let asked = step
        .state
        .args
        .iter()
        .any(|name| name.to_ascii_uppercase().split('_').any(|part| BUSTER_WORDS.contains(&part)));
    asked
        || cx.model.lineage_steps(step.stage).take_while(|s| !std::ptr::eq(*s, step)).any(|s| {
            match &s.action {
                Action::Copy(copy) => {
                    copy.checksum.is_empty()
                        && copy.sources.iter().any(|s| matches!(s, CopySource::Remote { .. }))
                }
                _ => false,
            }
        })
}

fn moving(cx: &Cx<'_>, step: &Step<'_>, list: &[Process<'_>], index: usize) -> Option<Moving> {
    let process = list.get(index)?;
    let (program, arguments) = installer_program(process.command)?;
    let plain = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let command = || words::shortened(&words::of_command(process.command), 160);
    let span = process.command.span;
    match plain {
        "git" => clone(cx, step, list, index),
        "go" => {
            let verb = arguments.first().map_or("", |w| w.text.as_str());
            let word = arguments
                .iter()
                .find(|w| matches!(verb, "install" | "get" | "run") && tag(&w.text).is_some())?;
            let (package, moving) = tag(&word.text)?;
            Some(Moving {
                span,
                command: command(),
                what: format!("takes what `{moving}` of {package} is"),
                help: format!("name a version: `go {verb} {package}@v1.2.3`"),
                source: word.text.clone(),
            })
        }
        "npm" | "pnpm" | "yarn" | "bun" | "npx" | "bunx" | "corepack" => {
            let found = arguments.iter().find(|w| tag(&w.text).is_some() && !w.text.starts_with('-'));
            let Some(word) = found else {
                let word = arguments.iter().find(|w| node_branch(&w.text).is_some())?;
                return Some(Moving {
                    span,
                    command: command(),
                    what: branch_text(node_branch(&word.text)?),
                    help: format!("pin the commit or a tag: `{}#COMMIT`", word.text.split('#').next()?),
                    source: word.text.clone(),
                });
            };
            let (package, moving) = tag(&word.text)?;
            Some(Moving {
                span,
                command: command(),
                what: format!("takes what `{moving}` of {package} is"),
                help: format!("name a version: `{package}@1.2.3` instead of `{}`", word.text),
                source: word.text.clone(),
            })
        }
        "pip" | "pipx" | "uv" => {
            let archive = |w: &&ShellWord| {
                w.text
                    .find("http")
                    .is_some_and(|at| w.text.get(at..).is_some_and(|u| moving_part(u).is_some()))
            };
            let git = arguments.iter().find(|w| w.text.contains("git+"));
            let Some(word) = git else {
                let word = arguments.iter().find(archive)?;
                let at = word.text.find("http")?;
                let url = word.text.get(at..)?;
                let part = moving_part(url)?;
                return Some(Moving {
                    span,
                    command: command(),
                    what: format!("takes what `{part}` holds"),
                    help: format!("name a tag or commit in place of `{part}`"),
                    source: url.to_owned(),
                });
            };
            let (_, address) = word.text.split_once("git+")?;
            let address = address.split('#').next().unwrap_or(address);
            let branch = reference_of(address)?;
            let bare = address.rsplit_once('@').filter(|_| branch.is_some()).map_or(address, |(a, _)| a);
            Some(Moving {
                span,
                command: command(),
                what: branch_text(branch),
                help: format!("pin the commit or a tag: `git+{bare}@COMMIT`"),
                source: bare.to_owned(),
            })
        }
        "cargo" => {
            let git = process.command.flag_value(&["--git"])?;
            let install =
                operands(arguments, &["--git", "--branch"]).first().is_some_and(|w| w.text == "install");
            if !install || process.command.has_flag(&["--rev", "--tag"]) || git.contains('$') {
                return None;
            }
            let branch = process.command.flag_value(&["--branch"]);
            if branch.is_some_and(|b| !BRANCHES.contains(&b)) {
                return None;
            }
            Some(Moving {
                span,
                command: command(),
                what: branch_text(branch),
                help: format!("pin it: `cargo install --locked --git {git} --rev COMMIT` (or `--tag TAG`)"),
                source: git.to_owned(),
            })
        }
        "apk" => {
            let valued = |option: &str| {
                let next = |n: usize| arguments.get(n + 1).map(|w| w.text.as_str());
                arguments.iter().enumerate().find_map(|(n, w)| match w.text.strip_prefix(option) {
                    Some("") => next(n),
                    Some(rest) => rest.strip_prefix('='),
                    None => None,
                })
            };
            let repository = ["--repository", "-X"].into_iter().find_map(valued)?;
            let edge = repository.split('/').any(|part| part == "edge");
            let adds = arguments.iter().any(|w| w.text == "add");
            let words = operands(arguments, &["--repository", "-X", "-t", "--virtual", "--allow-untrusted"]);
            let loose = words.iter().skip(1).find(|w| !w.text.contains(['=', '<', '>', '~', '$']))?;
            (edge && adds).then(|| Moving {
                span,
                command: command(),
                what: format!("takes what `{}` in Alpine's `edge` is", loose.text),
                help: format!(
                    "name a version (`{}=1.2.3-r0`), or take it from the repository of the release: `/alpine/v3.20/community`",
                    loose.text
                ),
                source: repository.to_owned(),
            })
        }
        "curl" | "wget" | "aria" => download(step, list, index, arguments),
        _ => None,
    }
}

/// A download by PowerShell, whose text is no shell script.
fn power_shell(step: &Step<'_>) -> Option<Moving> {
    let text = &step.instruction.text;
    let written = text.to_str();
    let lower = written.to_ascii_lowercase();
    let own = step.state.shell_words().first().is_some_and(|w| is_power_shell(w));
    if !(own || lower.contains("powershell") || lower.contains("pwsh"))
        || !POWER_SHELL_FETCHES.iter().any(|w| lower.contains(w))
        || lower.contains("get-filehash")
        || lower.len() != written.len()
    {
        return None;
    }
    let mut from = 0;
    while let Some(at) = lower.get(from..)?.find("http").map(|n| n + from) {
        let rest = written.get(at..)?;
        let end = rest.find([' ', '\t', '\n', '"', '\'', ')', ';', ',', '`', '|']).unwrap_or(rest.len());
        let url = rest.get(..end)?;
        from = at + end.max(1);
        let part = moving_part(url);
        let runs = lower.contains("iex") || lower.contains("invoke-expression");
        let script = runs
            && url.ends_with(".ps1")
            && !lower.contains("version")
            && !url.contains(|c: char| c.is_ascii_digit());
        if part.is_none() && !script {
            continue;
        }
        return Some(Moving {
            span: text.span(at..at + end),
            command: words::shortened(url, 160),
            what: match part {
                Some(part) => format!("is what `{part}` means"),
                None => "is a script that installs what is newest".to_owned(),
            },
            help: "name a version in the address, and compare what arrives: `Get-FileHash`, or `ADD --checksum=sha256:… URL \
                   DEST`"
                .to_owned(),
            source: url.to_owned(),
        });
    }
    None
}

fn is_power_shell(program: &str) -> bool {
    let name = program.rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase();
    matches!(name.trim_end_matches(".exe"), "powershell" | "pwsh")
}

/// `package@latest`, taken apart.
fn tag(word: &str) -> Option<(&str, &str)> {
    let (package, tag) = word.rsplit_once('@')?;
    (!package.is_empty() && !package.contains('$') && MOVING_TAGS.contains(&tag)).then_some((package, tag))
}

/// The branch of a package of npm that is a repository: `github:owner/name`, `git+https://…#branch`; `None` if it is
/// pinned or none.
fn node_branch(word: &str) -> Option<Option<&str>> {
    let schemes = ["github:", "gitlab:", "bitbucket:", "git+https://", "git+ssh://", "git://"];
    // `name@github:owner/name`
    let at = schemes.iter().filter_map(|s| word.find(s)).min()?;
    let address = word.get(at..)?;
    let before = word.get(..at).unwrap_or_default();
    if address.contains(['$', '`']) || !(before.is_empty() || before.ends_with('@')) {
        return None;
    }
    match address.split_once('#') {
        None => Some(None),
        Some((_, reference)) => BRANCHES.contains(&reference).then_some(Some(reference)),
    }
}

fn branch_text(branch: Option<&str>) -> String {
    match branch {
        Some(branch) => format!("takes the newest commit of `{branch}`"),
        None => "takes the newest commit of the default branch".to_owned(),
    }
}

/// The branch behind `@` of an address; `Some(None)` for the default one, `None` if it is pinned or not known.
fn reference_of(address: &str) -> Option<Option<&str>> {
    if address.contains(['$', '`']) {
        return None;
    }
    let (_, rest) = address.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    match path.rsplit_once('@') {
        None => Some(None),
        Some((_, reference)) => BRANCHES.contains(&reference).then_some(Some(reference)),
    }
}

const CLONE_VALUED: &[&str] = &[
    "-b",
    "--branch",
    "--revision",
    "-o",
    "--origin",
    "-c",
    "--config",
    "--depth",
    "-j",
    "--jobs",
    "--reference",
    "--separate-git-dir",
    "--template",
    "--filter",
    "--shallow-since",
    "--shallow-exclude",
    "--server-option",
    "-u",
    "--upload-pack",
    "-C",
];

/// `git clone` of a branch that no later command moves to a commit.
fn clone(cx: &Cx<'_>, step: &Step<'_>, list: &[Process<'_>], index: usize) -> Option<Moving> {
    let process = list.get(index)?;
    let (_, arguments) = process.program()?;
    let words = operands(arguments, CLONE_VALUED);
    if words.first()?.text != "clone" {
        return None;
    }
    let address = words.get(1)?;
    let value = process.value(address);
    if !value.known || value.text.contains('$') || process.command.has_flag(&["--revision"]) {
        return None;
    }
    let url = value.text;
    let host = match url.split_once("://") {
        Some(("http" | "https" | "git" | "ssh", rest)) => rest.split('/').next().unwrap_or_default(),
        Some(_) => return None,
        None => url.split_once('@').and_then(|(_, rest)| rest.split_once(':'))?.0,
    };
    if host.starts_with("localhost") || host.starts_with("127.") {
        return None;
    }
    let glued = arguments.iter().find_map(|w| w.text.strip_prefix("-b").filter(|r| !r.is_empty()));
    let branch = process.command.flag_value(&["-b", "--branch"]).or(glued);
    if branch.is_some_and(|b| !BRANCHES.contains(&b)) {
        return None;
    }
    let name =
        url.trim_end_matches('/').trim_end_matches(".git").rsplit(['/', ':']).next().unwrap_or_default();
    let into = match words.get(2) {
        Some(word) => process.path(word).map(|p| p.path),
        None => process.cwd.as_ref().map(|cwd| clean_str(&format!("{cwd}/{name}"))),
    };
    let here = list.get(index + 1..).unwrap_or_default();
    if here.iter().any(|p| pins(p, into.as_deref())) {
        return None;
    }
    let mut after = cx.model.lineage_steps(step.stage).skip_while(|s| !std::ptr::eq(*s, step)).skip(1);
    let later = |s: &Step<'_>| match &s.action {
        Action::Run(run) => processes(run, &s.state).iter().any(|p| pins(p, into.as_deref())),
        _ => false,
    };
    if after.any(later) {
        return None;
    }
    let dest = into.unwrap_or_else(|| "DIRECTORY".to_owned());
    let git = if url.starts_with("http") && !url.ends_with(".git") {
        format!("{}.git", url.trim_end_matches('/'))
    } else {
        url.clone()
    };
    Some(Moving {
        span: process.command.span,
        command: words::shortened(&words::of_command(process.command), 160),
        what: branch_text(branch),
        help: format!(
            "pin the commit: `ADD {git}#COMMIT {dest}`, or `git checkout COMMIT` after the clone, in the same RUN"
        ),
        source: url,
    })
}

/// Whether a command puts a clone on a commit or tag, or on something that is not known.
fn pins(process: &Process<'_>, clone: Option<&str>) -> bool {
    let Some(("git", arguments)) = process.program() else { return false };
    let words = operands(arguments, &["-C", "--git-dir", "--work-tree", "-c"]);
    let Some(verb) = words.first() else { return false };
    if !matches!(verb.text.as_str(), "checkout" | "reset" | "switch" | "fetch") {
        return false;
    }
    let other = process.command.flag_value(&["-C"]);
    let folder = match other {
        Some(_) => None,
        None => process.cwd.as_deref(),
    };
    // In another clone.
    let elsewhere = matches!((folder, clone), (Some(f), Some(c)) if !crate::build::model::is_below(f, c));
    let reference = words.iter().skip(1).any(|w| {
        let text = w.text.strip_prefix("origin/").unwrap_or(&w.text);
        !BRANCHES.contains(&text) && !matches!(text, "origin" | "upstream" | ".")
    });
    !elsewhere && reference
}

/// Whether a RUN compares what it fetched with something that it knows.
fn is_verified(list: &[Process<'_>]) -> bool {
    list.iter().any(|p| {
        let Some((program, words)) = p.program() else { return false };
        match program {
            "gpg" | "gpgv" | "gpg2" => program == "gpgv" || words.iter().any(|w| w.text == "--verify"),
            "cosign" | "minisign" | "shasum" => true,
            "openssl" => words.first().is_some_and(|w| w.text == "dgst" || w.text.starts_with("sha")),
            _ => program.ends_with("sum"),
        }
    })
}

/// A download from an address that moves, or of a script that installs what is newest.
fn download(step: &Step<'_>, list: &[Process<'_>], index: usize, arguments: &[ShellWord]) -> Option<Moving> {
    let process = list.get(index)?;
    if is_verified(list) || !is_kept(process, arguments) {
        return None;
    }
    for word in arguments {
        let value = process.value(word);
        let given = |text: &str| text.starts_with("http://") || text.starts_with("https://");
        let url = if given(&word.text) {
            word.text.clone()
        } else if given(&value.text)
            && value.known
            && !step.state.args.iter().any(|a| word.text.contains(a.as_str()))
        {
            value.text
        } else {
            continue;
        };
        let host = url.split("://").nth(1).and_then(|r| r.split(['/', ':']).next()).unwrap_or_default();
        if matches!(host, "" | "localhost" | "127.0.0.1" | "0.0.0.0") {
            continue;
        }
        let command = words::shortened(&words::of_command(process.command), 160);
        if let Some(part) = moving_part(&url) {
            let (what, help) = if BRANCHES.contains(&part) && part != "latest" {
                (
                    format!("takes what the branch `{part}` holds"),
                    format!(
                        "name a tag or commit in place of `{part}`, and check what arrives: `ADD --checksum=sha256:… URL DEST`"
                    ),
                )
            } else {
                (
                    format!("takes what `{part}` means"),
                    format!(
                        "name a version in place of `{part}`, and check what arrives: `ADD --checksum=sha256:… URL DEST`"
                    ),
                )
            };
            return Some(Moving { span: process.command.span, command, what, help, source: url.clone() });
        }
        if let Some(interpreter) = runs_script(list, index, &url)
            && is_unversioned(process, interpreter, &url)
        {
            return Some(Moving {
                span: process.command.span,
                command,
                what: format!("runs the script that `{host}` serves, which installs what is newest"),
                help: "fetch a release by its version instead (`ADD --checksum=sha256:… URL DEST`), or tell the script \
                       which version to install"
                    .to_owned(),
                source: url.clone(),
            });
        }
    }
    None
}

/// Whether anything of a download stays.
fn is_kept(process: &Process<'_>, arguments: &[ShellWord]) -> bool {
    let void = |text: &str| text == "/dev/null" || text == "-o/dev/null" || text == "-O/dev/null";
    let asks = |w: &ShellWord| {
        matches!(w.text.as_str(), "--spider" | "--head" | "-I" | "--version" | "--help")
            || (w.text.starts_with('-')
                && !w.text.starts_with("--")
                && w.text.contains('I')
                && !w.text.contains('='))
    };
    let redirected = process
        .command
        .redirects
        .iter()
        .any(|r| r.op.starts_with('>') && r.fd.is_none_or(|fd| fd == 1) && void(&r.target.text));
    !redirected && !arguments.iter().any(|w| void(&w.text) || asks(w))
}

/// The part of an address that names a branch or the newest version.
fn moving_part(url: &str) -> Option<&'static str> {
    let (_, rest) = url.split_once("://")?;
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_once('/')?;
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let last = parts.len().checked_sub(1)?;
    let archive = |part: &str, branch: &str| {
        part.strip_prefix(branch)
            .is_some_and(|end| matches!(end, ".zip" | ".tar.gz" | ".tgz" | ".tar.bz2" | ".tar.xz"))
    };
    let repository = host.ends_with("githubusercontent.com")
        || parts
            .iter()
            .any(|p| matches!(*p, "raw" | "blob" | "archive" | "heads" | "zipball" | "tarball" | "-"));
    for (n, part) in parts.iter().enumerate() {
        let pinned_below = || parts.get(n + 1..).unwrap_or_default().iter().any(|p| has_version(p));
        if part.eq_ignore_ascii_case("latest") && !pinned_below() {
            return Some("latest");
        }
        // Only where a repository is read: `pool/main` is a part of Debian.
        let branch =
            ["master", "main", "develop", "HEAD", "trunk", "devel", "dev"].into_iter().find(|b| part == b);
        if let Some(branch) = branch.filter(|_| repository && n >= 2) {
            return Some(branch);
        }
        if let Some(branch) = ["master", "main", "develop", "HEAD"].into_iter().find(|b| archive(part, b)) {
            return Some(branch);
        }
    }
    let file = parts.get(last)?;
    let name = file.to_ascii_lowercase();
    if name == "stable.txt" {
        return Some("stable.txt");
    }
    let named = name.split(['-', '_', '.']).any(|w| w == "latest");
    (named && !has_version(file)).then_some("latest")
}

/// Whether a part of an address holds a version like `1.2` or a date; `x86_64` is none.
fn has_version(part: &str) -> bool {
    let bytes = part.as_bytes();
    let digit = |n: usize| bytes.get(n).is_some_and(u8::is_ascii_digit);
    let dotted = (1..bytes.len()).any(|n| bytes.get(n) == Some(&b'.') && digit(n - 1) && digit(n + 1));
    let long = bytes.split(|b| !b.is_ascii_digit()).any(|run| run.len() >= 6);
    dotted || long || part.contains('$')
}

/// The command that runs what was downloaded as a script.
fn runs_script<'l, 's>(list: &'l [Process<'s>], index: usize, url: &str) -> Option<&'l Process<'s>> {
    let fetch = list.get(index)?;
    let is_interpreter = |p: &Process<'_>| p.program().is_some_and(|(name, _)| INTERPRETERS.contains(&name));
    let inline = |p: &Process<'_>| {
        let script = |w: &ShellWord| matches!(w.text.as_str(), "-c" | "-e");
        p.program().is_some_and(|(_, words)| {
            words.iter().any(script) && !words.iter().any(|w| w.text.contains("http"))
        })
    };
    // `bash <(curl …)`, `sh -c "$(curl …)"`
    let around = list.get(..index)?.iter().rev().find(|p| {
        p.command.subshell_depth < fetch.command.subshell_depth
            && p.command.words.iter().any(|w| holds(w, fetch.command.span))
    });
    if let Some(shell) = around {
        return is_interpreter(shell).then_some(shell);
    }
    let next = list.get(index + 1)?;
    if next.command.connector == Connector::Pipe {
        return (is_interpreter(next) && !inline(next)).then_some(next);
    }
    let arguments = fetch.program().map(|(_, words)| words).unwrap_or_default();
    let named = fetch.command.flag_value(&["-o", "-O", "--output", "--output-document"]);
    let clustered = || {
        let at = arguments
            .iter()
            .position(|w| w.text.starts_with('-') && !w.text.starts_with("--") && w.text.ends_with('o'))?;
        arguments.get(at + 1).map(|w| w.text.as_str())
    };
    let name = match named.or_else(clustered) {
        Some(name) if !name.starts_with('-') && !name.starts_with("http") => name,
        _ => url.split(['?', '#']).next()?.rsplit('/').next()?,
    };
    let base = name.rsplit('/').next().filter(|n| !n.is_empty())?;
    list.get(index + 1..)?.iter().find(|p| {
        let Some((program, words)) = p.program() else { return false };
        let operand = words.iter().find(|w| !w.text.starts_with('-'));
        let given = operand.is_some_and(|w| w.text.rsplit('/').next() == Some(base));
        (is_interpreter(p) && given) || (program == base && base.contains('.'))
    })
}

/// Whether a word is what a command says: `$(…)`, `<(…)`.
fn holds(word: &ShellWord, command: Span) -> bool {
    let substituted = ["$(", "<(", "`"].iter().any(|start| word.text.starts_with(start));
    substituted && word.span.start <= command.start && command.end <= word.span.end
}

/// Whether neither the address nor the call of an install script says which version is meant.
fn is_unversioned(fetch: &Process<'_>, interpreter: &Process<'_>, url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    if path.contains(|c: char| c.is_ascii_digit() || c == '$' || c == '`') || rest.contains('$') {
        return false;
    }
    let words = interpreter.program().map(|(_, words)| words).unwrap_or_default();
    let chosen = |w: &&ShellWord| {
        if holds(w, fetch.command.span) {
            return false;
        }
        w.text.contains(|c: char| c.is_ascii_digit() || c == '$')
            || matches!(w.text.as_str(), "none" | "--version")
    };
    if words.iter().any(|w| chosen(&w)) {
        return false;
    }
    let lower = rest.to_ascii_lowercase();
    let says = |name: &str| {
        ["VERSION", "TOOLCHAIN", "RELEASE", "TAG", "CHANNEL"].iter().any(|w| name.contains(w))
            && name.to_ascii_lowercase().split('_').any(|part| part.len() > 1 && lower.contains(part))
    };
    fetch.environment(says).is_empty() && interpreter.environment(says).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_move_are_told_from_those_that_do_not() {
        let cases = [
            ("https://github.com/a/b/releases/latest/download/b.tgz", Some("latest")),
            ("https://github.com/a/b/releases/download/v1.2/b-latest.tgz", Some("latest")),
            ("https://github.com/a/b/archive/master.tar.gz", Some("master")),
            ("https://github.com/a/b/archive/refs/heads/main.zip", Some("main")),
            ("https://raw.githubusercontent.com/a/b/main/install.sh", Some("main")),
            ("https://gitlab.com/a/b/-/raw/master/x", Some("master")),
            ("https://repo.anaconda.com/miniconda/Miniconda3-latest-Linux-x86_64.sh", Some("latest")),
            ("https://dl.k8s.io/release/stable.txt", Some("stable.txt")),
            ("https://deb.debian.org/debian/pool/main/c/curl/curl_8.0.deb", None),
            ("https://raw.githubusercontent.com/a/b/3f1c9f0e5f/x", None),
            ("https://example.com/latest/tool-1.4.2.tgz", None),
            ("https://example.com/master/tool.tgz", None),
            ("https://github.com/main/b/archive/v1.tar.gz", None),
            ("https://example.com/$VERSION/x", None),
        ];
        for (url, expected) in cases {
            assert_eq!(moving_part(url), expected, "{url}");
        }
    }

    #[test]
    fn repositories_as_packages_of_npm_have_branches() {
        assert_eq!(node_branch("github:acme/tool"), Some(None));
        assert_eq!(node_branch("tool@git+https://git.example.com/a/tool.git#main"), Some(Some("main")));
        assert_eq!(node_branch("github:acme/tool#v1.2.0"), None);
        assert_eq!(node_branch("@acme/tool"), None);
    }

    #[test]
    fn references_behind_an_at_sign_are_found() {
        assert_eq!(reference_of("https://github.com/a/b.git"), Some(None));
        assert_eq!(reference_of("ssh://git@github.com/a/b.git@main"), Some(Some("main")));
        assert_eq!(reference_of("https://github.com/a/b@v1.2"), None);
        assert_eq!(reference_of("https://github.com/a/b@$REF"), None);
    }
}
