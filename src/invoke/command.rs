//! Commands that build images: `docker build`, `docker buildx build`, `docker buildx bake`, `docker compose build` and
//! what takes the same arguments.

use super::call::{Cache, Call, Deeds, Source, Starter, Text, Value, join};
use crate::source::Span;
use crate::syntax::shell::ShellWord;

/// What a command asks for.
pub(super) enum Order {
    /// One build.
    Build(Box<Call>),
    /// Targets of bake files.
    Bake(BakeOrder),
    /// Services of compose files.
    Compose(ComposeOrder),
    /// A new builder that is used from here on; whether it is a lasting one elsewhere.
    Builder { lasting: bool, span: Span },
}

/// `docker buildx bake`, or an action that does the same.
#[derive(Default)]
pub(super) struct BakeOrder {
    pub files: Vec<Text>,
    pub targets: Vec<Text>,
    /// `--set target.key=value`.
    pub sets: Vec<Text>,
    /// Where it runs.
    pub folder: Option<String>,
    /// Variables of the environment.
    pub variables: Vec<(String, Value)>,
    pub span: Span,
    pub head: Span,
    pub open: bool,
}

/// `docker compose build`.
#[derive(Default)]
pub(super) struct ComposeOrder {
    pub files: Vec<Text>,
    pub services: Vec<Text>,
    pub args: Vec<(String, Option<Text>)>,
    pub folder: Option<String>,
    pub span: Span,
    pub head: Span,
    pub open: bool,
}

/// Options with a value of `docker build`, of `docker buildx build`, and of those that imitate them.
const VALUED: &[&str] = &[
    "--add-host",
    "--allow",
    "--annotation",
    "--attest",
    "--authfile",
    "--builder",
    "--build-arg",
    "--build-context",
    "--cache-from",
    "--cache-to",
    "--call",
    "--cert-dir",
    "--cgroup-parent",
    "--cgroupns",
    "--cidfile",
    "--context",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-shares",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--creds",
    "--device",
    "--disable-content-trust",
    "--env",
    "--file",
    "--format",
    "--iidfile",
    "--ignorefile",
    "--invoke",
    "--isolation",
    "--jobs",
    "--label",
    "--layer-label",
    "--logfile",
    "--manifest",
    "--memory",
    "--memory-swap",
    "--metadata-file",
    "--network",
    "--no-cache-filter",
    "--os",
    "--arch",
    "--output",
    "--platform",
    "--policy",
    "--print",
    "--progress",
    "--project",
    "--provenance",
    "--retry",
    "--root",
    "--runtime",
    "--sbom",
    "--secret",
    "--security-opt",
    "--server-config",
    "--shm-size",
    "--ssh",
    "--stdin",
    "--tag",
    "--target",
    "--timestamp",
    "--source-date-epoch",
    "--token",
    "--ulimit",
    "--variant",
    "--volume",
    "-c",
    "-f",
    "-m",
    "-o",
    "-t",
    "-v",
];

/// Options with a value in front of the subcommand.
const GLOBAL: &[&str] = &[
    "--config",
    "-c",
    "--context",
    "-H",
    "--host",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "--builder",
    "-f",
    "--file",
    "-p",
    "--project-name",
    "--profile",
    "--env-file",
    "--project-directory",
    "--ansi",
    "--progress",
    "--parallel",
    "--log-driver",
    "--root",
    "--storage-driver",
    "--connection",
    "--url",
    "--namespace",
    "-n",
    "--address",
    "-a",
];

/// A word with what it stands for.
struct Word {
    value: Value,
    span: Span,
    /// It may stand for any number of words.
    many: bool,
}

fn words(deeds: &Deeds, arguments: &[ShellWord]) -> Vec<Word> {
    let mut out = Vec::new();
    for word in arguments {
        let value = deeds.value(word);
        let alone = word.text.starts_with('$') || word.text.starts_with('`');
        match value {
            Value::Known(text) if word.expands && !word.quoted => {
                // The shell splits what a variable holds.
                let parts = text.split_whitespace().map(|p| Word {
                    value: Value::Known(p.to_owned()),
                    span: word.span,
                    many: false,
                });
                out.extend(parts);
            }
            value => {
                let known = matches!(value, Value::Known(_));
                let list = word.text.contains("[@]") || word.text.contains("$@") || word.text.contains("$*");
                let many = !known && (list || (alone && !word.quoted));
                out.push(Word { value, span: word.span, many });
            }
        }
    }
    out
}

/// What a command builds, if it builds.
pub(super) fn read(deeds: &Deeds) -> Option<Order> {
    let (program, arguments) = deeds.command.program()?;
    let program = program.trim_end_matches(".exe");
    let known = [
        "docker",
        "podman",
        "buildah",
        "nerdctl",
        "depot",
        "docker-buildx",
        "docker-compose",
        "podman-compose",
        "executor",
        "img",
    ];
    if !known.contains(&program) {
        return None;
    }
    let all = words(deeds, arguments);
    let mut rest = all.as_slice();
    let mut shown = program.to_owned();
    let mut files = Vec::new();
    let mut builder = false;
    if program == "executor" {
        // Kaniko.
        let any = all.iter().any(|w| matches!(&w.value, Value::Known(t) if t.starts_with("--dockerfile") || t.starts_with("--context")));
        return any.then(|| Order::Build(Box::new(kaniko(deeds, &all))));
    }
    loop {
        let (verb, behind) = subcommand(rest, &mut files, &mut builder)?;
        rest = behind;
        let Value::Known(name) = &verb.value else { return None };
        shown.push(' ');
        shown.push_str(name);
        let head = deeds.command.span.start..verb.span.end;
        let head = Span { start: head.start.min(verb.span.start), end: head.end };
        match (program, name.as_str()) {
            ("buildah", "build" | "bud" | "build-using-dockerfile")
            | ("docker" | "podman" | "nerdctl" | "depot" | "docker-buildx" | "img", "build")
            | ("docker" | "docker-buildx", "b")
                if !shown.contains("compose") =>
            {
                return Some(Order::Build(Box::new(build(deeds, rest, &shown, head))));
            }
            ("docker" | "depot" | "docker-buildx", "bake" | "f")
                if shown.contains("buildx") || program == "depot" =>
            {
                return Some(Order::Bake(bake(deeds, rest, files, head)));
            }
            ("docker" | "docker-buildx", "create") if shown.contains("buildx") => {
                let text = |w: &Word| match &w.value {
                    Value::Known(t) | Value::Unknown(t) => t.clone(),
                };
                let texts: Vec<String> = rest.iter().map(text).collect();
                let lasting = texts.windows(2).any(|w| {
                    w[0] == "--driver" && matches!(w[1].as_str(), "remote" | "kubernetes" | "cloud")
                }) || texts.iter().any(|t| {
                    ["--driver=remote", "--driver=kubernetes", "--driver=cloud"].contains(&t.as_str())
                        || t.starts_with("tcp://")
                        || t.starts_with("ssh://")
                });
                return Some(Order::Builder { lasting, span: deeds.command.span });
            }
            ("docker" | "podman" | "nerdctl", "buildx" | "image" | "builder" | "compose") => {}
            (_, "build" | "up" | "run" | "create") if shown.contains("compose") => {
                return compose(deeds, rest, files, head, name);
            }
            _ => return None,
        }
    }
}

/// The next word that is no option; `-f` in front of a compose subcommand is collected.
fn subcommand<'w>(
    words: &'w [Word],
    files: &mut Vec<Text>,
    builder: &mut bool,
) -> Option<(&'w Word, &'w [Word])> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let Value::Known(text) = &word.value else { return None };
        if !text.starts_with('-') {
            return Some((word, words.get(at + 1..).unwrap_or_default()));
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(Text::new(value, word.span))),
            None => (text.as_str(), None),
        };
        let valued = GLOBAL.contains(&name);
        let value = match value {
            Some(value) => Some(value),
            None if valued => {
                at += 1;
                words.get(at).map(|w| Text { value: w.value.clone(), span: w.span })
            }
            None => None,
        };
        *builder |= name == "--builder";
        if matches!(name, "-f" | "--file") {
            files.extend(value);
        }
        at += 1;
    }
    None
}

/// An option as it is met: its name and its value.
fn options(
    words: &[Word],
    valued: &[&str],
    mut option: impl FnMut(&str, Option<Text>, Span),
) -> (Vec<Text>, bool) {
    let mut operands = Vec::new();
    let mut open = false;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        let text = match &word.value {
            Value::Known(text) | Value::Unknown(text) => text.as_str(),
        };
        let known = matches!(word.value, Value::Known(_));
        if word.many {
            open = true;
            continue;
        }
        if text == "--" {
            continue;
        }
        if !text.starts_with('-') || text == "-" {
            operands.push(Text { value: word.value.clone(), span: word.span });
            continue;
        }
        let as_value = |value: &str| {
            let value = if known { Value::Known(value.to_owned()) } else { Value::Unknown(value.to_owned()) };
            Text { value, span: word.span }
        };
        if let Some((name, value)) = text.split_once('=').filter(|_| text.starts_with("--")) {
            option(name, Some(as_value(value)), word.span);
        } else if valued.contains(&text) {
            let value = words.get(at).map(|w| Text { value: w.value.clone(), span: word.span.to(w.span) });
            at += 1;
            option(text, value, word.span);
        } else if let Some(short) =
            text.get(..2).filter(|s| text.len() > 2 && !text.starts_with("--") && valued.contains(s))
        {
            option(
                short,
                Some(as_value(text.get(2..).unwrap_or_default().trim_start_matches('='))),
                word.span,
            );
        } else {
            option(text, None, word.span);
        }
    }
    (operands, open)
}

fn is_true(value: Option<&Text>) -> Option<bool> {
    match value.map(Text::known) {
        None => Some(true),
        Some(Some(text)) => Some(!matches!(text, "false" | "0")),
        Some(None) => None,
    }
}

fn build(deeds: &Deeds, rest: &[Word], shown: &str, head: Span) -> Call {
    let mut call = Call::new(Starter::Command(shown.to_owned()), deeds.file, deeds.command.span, head);
    let mut file = None;
    let (operands, open) = options(rest, VALUED, |name, value, span| match (name, value) {
        ("-f" | "--file", value) => file = value,
        ("--target", value) => call.target = value,
        ("--build-arg" | "--build-args", Some(value)) => call.args.push(argument(&value)),
        ("--platform", Some(value)) => call.platforms.extend(list(&value)),
        ("--build-context", Some(value)) => call.contexts.extend(pair(&value)),
        ("--cache-from", Some(value)) => call.cache_from.push(Cache::new(value)),
        ("--cache-to", Some(value)) => call.cache_to.push(Cache::new(value)),
        ("-o" | "--output", Some(value)) => call.outputs.push(value),
        ("--push", value) if is_true(value.as_ref()) == Some(true) => {
            call.outputs.push(Text::new("type=registry", span));
        }
        ("--load", value) if is_true(value.as_ref()) == Some(true) => {
            call.outputs.push(Text::new("type=docker", span));
        }
        ("-t" | "--tag", Some(value)) => call.tags.push(value),
        ("--secret", Some(value)) => call.secrets.push(value),
        ("--no-cache", value) => call.no_cache = is_true(value.as_ref()),
        _ => {}
    });
    call.open = open;
    let context = operands.into_iter().next();
    let folder = deeds.folder.clone();
    (call.context, call.dockerfile) = place(context, file, folder.as_deref(), open);
    call
}

/// The context and the Dockerfile of a command in a directory.
fn place(
    context: Option<Text>,
    file: Option<Text>,
    folder: Option<&str>,
    open: bool,
) -> (Option<Source>, Option<Text>) {
    let Some(context) = context else { return (None, file.and_then(|f| inside(folder, &f))) };
    if open && context.known().is_none() {
        return (None, None);
    }
    let source = source(&context, folder);
    let dockerfile = match (&source, file) {
        (_, Some(file)) if file.known() == Some("-") => None,
        (Some(Source::Directory(_)), Some(file)) => inside(folder, &file),
        (Some(Source::Directory(directory)), None) => Some(directory.map(|d| join(d, "Dockerfile"))),
        _ => None,
    };
    (source, dockerfile)
}

/// A path in a directory; `None` if the directory is not known.
fn inside(folder: Option<&str>, path: &Text) -> Option<Text> {
    match path.known() {
        Some(known) if known.starts_with('/') => Some(path.clone()),
        _ => folder.map(|folder| path.map(|p| join(folder, p))),
    }
}

/// What a context stands for.
pub(super) fn source(context: &Text, folder: Option<&str>) -> Option<Source> {
    let written = context.written();
    if written == "-" || is_remote(written) {
        return Some(Source::Elsewhere(context.clone()));
    }
    Some(Source::Directory(inside(folder, context)?))
}

/// Whether a context is fetched by the builder.
pub(super) fn is_remote(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/")
}

/// `NAME=VALUE` or `NAME`.
pub(super) fn argument(text: &Text) -> (String, Option<Text>) {
    match text.written().split_once('=') {
        Some((name, _)) => {
            let value = text.map(|t| t.split_once('=').map(|(_, v)| v.to_owned()).unwrap_or_default());
            let value = match value.value {
                // The expression may stand in the name only.
                Value::Unknown(v) if !super::call::is_expression(&v) => Text::new(v, text.span),
                _ => value,
            };
            (name.trim().to_owned(), Some(value))
        }
        None => (text.written().trim().to_owned(), None),
    }
}

pub(super) fn pair(text: &Text) -> Option<(String, Text)> {
    let (name, _) = text.written().split_once('=')?;
    Some((
        name.trim().to_owned(),
        text.map(|t| t.split_once('=').map(|(_, v)| v.to_owned()).unwrap_or_default()),
    ))
}

/// The parts of a list with commas.
pub(super) fn list(text: &Text) -> Vec<Text> {
    match text.known() {
        Some(known) => known
            .split([',', '\n'])
            .map(str::trim)
            .filter(|p| !p.is_empty())
            .map(|p| Text::new(p, text.span))
            .collect(),
        None => vec![text.clone()],
    }
}

fn kaniko(deeds: &Deeds, all: &[Word]) -> Call {
    let span = deeds.command.span;
    let head = deeds.command.words.first().map_or(span, |w| w.span);
    let mut call = Call::new(Starter::Command("kaniko executor".to_owned()), deeds.file, span, head);
    let valued = [
        "--context",
        "-c",
        "--dockerfile",
        "-f",
        "--target",
        "--build-arg",
        "--destination",
        "-d",
        "--context-sub-path",
    ];
    let (mut context, mut file) = (None, None);
    let (_, open) = options(all, &valued, |name, value, _| match (name, value) {
        ("--context" | "-c", value) => context = value,
        ("--dockerfile" | "-f", value) => file = value,
        ("--target", value) => call.target = value,
        ("--build-arg", Some(value)) => call.args.push(argument(&value)),
        ("--destination" | "-d", Some(value)) => call.tags.push(value),
        _ => {}
    });
    call.open = open;
    let context = context.map(|c| c.map(|t| t.trim_start_matches("dir://").to_owned()));
    let (source, dockerfile) = place(context, None, deeds.folder.as_deref(), open);
    call.dockerfile = match (file, &source) {
        (Some(file), _) => inside(deeds.folder.as_deref(), &file),
        (None, _) => dockerfile,
    };
    call.context = source;
    call
}

fn bake(deeds: &Deeds, rest: &[Word], files: Vec<Text>, head: Span) -> BakeOrder {
    let mut order = BakeOrder {
        files,
        folder: deeds.folder.clone(),
        variables: deeds.variables.as_ref().clone(),
        span: deeds.command.span,
        head,
        ..BakeOrder::default()
    };
    let valued = [
        "-f",
        "--file",
        "--set",
        "--builder",
        "--metadata-file",
        "--progress",
        "--provenance",
        "--sbom",
        "--call",
        "--allow",
        "--var",
        "--project",
        "--token",
    ];
    let (targets, open) = options(rest, &valued, |name, value, _| match (name, value) {
        ("-f" | "--file", Some(value)) => order.files.push(value),
        ("--set", Some(value)) => order.sets.push(value),
        ("--var", Some(value)) => {
            if let Some((name, value)) = pair(&value) {
                order.variables.push((name, value.value));
            }
        }
        _ => {}
    });
    order.targets = targets;
    order.open = open;
    order
}

fn compose(deeds: &Deeds, rest: &[Word], files: Vec<Text>, head: Span, verb: &str) -> Option<Order> {
    let mut order = ComposeOrder {
        files,
        folder: deeds.folder.clone(),
        span: deeds.command.span,
        head,
        ..ComposeOrder::default()
    };
    let valued = [
        "--build-arg",
        "-m",
        "--memory",
        "--ssh",
        "--builder",
        "-p",
        "--scale",
        "-t",
        "--timeout",
        "--env-file",
        "-e",
        "--env",
        "-v",
        "--volume",
        "--name",
        "-w",
        "--workdir",
        "-u",
        "--user",
        "--entrypoint",
        "--exit-code-from",
        "--attach",
        "--wait-timeout",
        "--pull",
    ];
    let mut asked = verb == "build";
    let (operands, open) = options(rest, &valued, |name, value, _| match (name, value) {
        ("--build", _) => asked = true,
        ("--build-arg", Some(value)) => order.args.push(argument(&value)),
        _ => {}
    });
    if !asked {
        return None;
    }
    order.services = if verb == "run" { operands.into_iter().take(1).collect() } else { operands };
    order.open = open;
    Some(Order::Compose(order))
}
