//! Builds that files start: workflows, bake and compose files, Makefiles, scripts. Nothing is guessed: a text with an
//! expression in it that nobody can know is [`Value::Unknown`], as it was written.

use super::Invocation;
use crate::source::{SourceFile, Span};
use crate::syntax::shell::ShellCommand;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What a text is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// It is this.
    Known(String),
    /// A part of it is decided elsewhere: an expression, an input, a variable without value. The parts that are known
    /// are filled in, the others stand as written.
    Unknown(String),
}

/// A text that a file says, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text {
    /// The text.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
}

impl Text {
    /// A text that is known.
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Self { value: Value::Known(text.into()), span }
    }

    /// The text, if all of it is known.
    pub fn known(&self) -> Option<&str> {
        match &self.value {
            Value::Known(text) => Some(text),
            Value::Unknown(_) => None,
        }
    }

    /// The text as far as it is known, the rest as written.
    pub fn written(&self) -> &str {
        match &self.value {
            Value::Known(text) | Value::Unknown(text) => text,
        }
    }

    /// The same place with another text made of this one.
    pub fn map(&self, change: impl FnOnce(&str) -> String) -> Self {
        let value = match &self.value {
            Value::Known(text) => Value::Known(change(text)),
            Value::Unknown(text) => Value::Unknown(change(text)),
        };
        Self { value, span: self.span }
    }
}

/// Where the files of a build come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A directory on the machine that starts the build: relative to the root of the file that says it, cleaned.
    Directory(Text),
    /// A directory of the repository itself, which the builder fetches with git.
    Repository(Text),
    /// Another place: an address, a tarball on standard input.
    Elsewhere(Text),
}

impl Source {
    /// The text that says it.
    pub fn text(&self) -> &Text {
        match self {
            Source::Directory(text) | Source::Repository(text) | Source::Elsewhere(text) => text,
        }
    }
}

/// An entry of cache-from or cache-to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cache {
    /// As written, with what is known filled in.
    pub text: Text,
    /// `key=value` fields in order. An unknown value holds its expression.
    pub fields: Vec<(String, String)>,
}

/// The scope of `type=gha` when none is given (`cache/remotecache/gha/gha.go`).
pub const DEFAULT_SCOPE: &str = "buildkit";

impl Cache {
    /// Reads an entry: `type=gha,scope=x`, or a reference alone, which means `type=registry`.
    pub fn new(text: Text) -> Self {
        let mut written = text.written().trim().to_owned();
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut whole_expression = matches!(text.value, Value::Unknown(_)) && written.starts_with("${{");
        if whole_expression && written.find("}}").is_none_or(|end| end + 2 == written.len()) {
            // `${{ condition && 'type=gha' || '' }}`: if there is a cache at all, it is this one.
            let literals: Vec<&str> =
                written.split('\'').skip(1).step_by(2).filter(|l| l.contains("type=")).collect();
            if let [literal] = literals.as_slice() {
                // `format('…{0}…', …)` fills values in.
                let literal = literal.replace('{', "${");
                (written, whole_expression) = (literal, false);
            }
        } else if whole_expression {
            whole_expression = !written.contains("type=");
        }
        if !whole_expression {
            for field in split_fields(&written) {
                match field.split_once('=') {
                    Some((key, value)) => {
                        fields.push((
                            key.trim().to_ascii_lowercase(),
                            value.trim().trim_matches('"').to_owned(),
                        ));
                    }
                    None if fields.is_empty() && !field.is_empty() => {
                        fields.push(("type".to_owned(), "registry".to_owned()));
                        fields.push(("ref".to_owned(), field.to_owned()));
                    }
                    None => {}
                }
            }
        }
        Self { text: text.map(|t| t.trim().to_owned()), fields }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `gha`, `registry`, `local`, `inline`, …; `None` if an expression decides it.
    pub fn kind(&self) -> Option<&str> {
        self.field("type").filter(|kind| !is_expression(kind))
    }

    /// The name that the cache is kept under: two exports to it replace each other. `None` if there is no such name or
    /// an expression decides the kind.
    pub fn destination(&self) -> Option<String> {
        let name = |key| self.field(key).filter(|v| !v.is_empty());
        Some(match self.kind()? {
            "gha" => format!("gha {}", name("scope").unwrap_or(DEFAULT_SCOPE)),
            "registry" => format!("registry {}", name("ref")?),
            "s3" => {
                let part = |key| name(key).unwrap_or_default();
                let manifest = name("name").unwrap_or("buildkit");
                format!("s3 {} {} {} {manifest}", part("bucket"), part("prefix"), part("manifests_prefix"))
            }
            "azblob" => {
                let part = |key| name(key).unwrap_or_default();
                let manifest = name("name").unwrap_or("buildkit");
                format!("azblob {} {} {} {manifest}", part("account_url"), part("container"), part("prefix"))
            }
            _ => return None,
        })
    }

    /// Whether the layers of all stages are exported; `None` if an expression decides.
    pub fn keeps_all_stages(&self) -> Option<bool> {
        match self.kind()? {
            "inline" => Some(false),
            _ => match self.field("mode") {
                None => Some(false),
                Some(mode) if is_expression(mode) => None,
                Some(mode) => Some(mode.eq_ignore_ascii_case("max")),
            },
        }
    }
}

/// Splits at commas outside of quotes and expressions.
fn split_fields(text: &str) -> Vec<&str> {
    let (mut fields, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '{' | '(' => depth += 1,
            '}' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 && !quoted => {
                fields.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(text.get(start..).unwrap_or_default().trim());
    fields
}

/// Whether a text holds something that only a later time knows.
pub(super) fn is_expression(text: &str) -> bool {
    text.contains("${") || text.contains("$(") || text.contains('`') || text.starts_with('$')
}

/// What starts a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starter {
    /// A step that uses `docker/build-push-action` or another action with the same inputs.
    Action(String),
    /// A target of a bake file.
    Bake(String),
    /// A service of a compose file.
    Service(String),
    /// A command, such as `docker buildx build`.
    Command(String),
}

impl Starter {
    /// How people call it.
    pub fn shown(&self) -> String {
        match self {
            Starter::Action(name) => format!("`{name}`"),
            Starter::Bake(name) => format!("bake target `{name}`"),
            Starter::Service(name) => format!("service `{name}`"),
            Starter::Command(name) => format!("`{name}`"),
        }
    }
}

/// One build that a file starts.
#[derive(Clone, Debug)]
pub struct Call {
    /// What starts it.
    pub starter: Starter,
    /// The file that says it: index into the project's files.
    pub file: usize,
    /// Where it is said, as a whole: the step, the command, the target.
    pub span: Span,
    /// The telling words of it: the name of the action, the command up to its verb.
    pub head: Span,
    /// The target of a bake file or the service of a compose file that a command or step builds, with its file.
    pub via: Option<(usize, Span)>,
    /// Where its caches are said: a file and a place.
    pub cache_at: (usize, Span),
    /// The job it runs in: index into the project's jobs; `None` where nothing runs (a bake or compose file).
    pub job: Option<usize>,
    /// Its context; `None` if an expression that is not even a path decides.
    pub context: Option<Source>,
    /// The Dockerfile, relative to the same root as the context; `None` if it is inline or unknown.
    pub dockerfile: Option<Text>,
    /// The stage; `None` for the last one.
    pub target: Option<Text>,
    /// Build arguments; without value where the environment has it.
    pub args: Vec<(String, Option<Text>)>,
    /// Platforms, one each.
    pub platforms: Vec<Text>,
    /// Additional contexts.
    pub contexts: Vec<(String, Text)>,
    /// Caches that are read.
    pub cache_from: Vec<Cache>,
    /// Caches that are written.
    pub cache_to: Vec<Cache>,
    /// Outputs, as of `--output`.
    pub outputs: Vec<Text>,
    /// Names of the image.
    pub tags: Vec<Text>,
    /// Secrets, as of `--secret`.
    pub secrets: Vec<Text>,
    /// Whether all steps are made anew; `None` if unknown.
    pub no_cache: Option<bool>,
    /// `add-host`, `network`, `no-cache-filter`, `shm-size` and `ulimit`, by the names of the options, once for each
    /// value.
    pub options: Vec<(String, Text)>,
    /// The condition of its step, as written.
    pub condition: Option<String>,
    /// There are settings that cannot be read (a variable with options in it, an expression).
    pub open: bool,
}

impl Call {
    /// A build of which nothing is said yet.
    pub(super) fn new(starter: Starter, file: usize, span: Span, head: Span) -> Self {
        Self {
            starter,
            file,
            span,
            head,
            via: None,
            cache_at: (file, head),
            job: None,
            context: None,
            dockerfile: None,
            target: None,
            args: Vec::new(),
            platforms: Vec::new(),
            contexts: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            outputs: Vec::new(),
            tags: Vec::new(),
            secrets: Vec::new(),
            no_cache: Some(false),
            options: Vec::new(),
            condition: None,
            open: false,
        }
    }

    /// Whether its layers carry their own cache (`BUILDKIT_INLINE_CACHE=1`).
    pub fn inline_cache(&self) -> Option<&Text> {
        let (_, value) = self.args.iter().rev().find(|(name, _)| name == "BUILDKIT_INLINE_CACHE")?;
        value.as_ref().filter(|v| v.known() == Some("1") || v.known() == Some("true"))
    }

    /// The name of the stage that is built; `Err` if an expression decides, `Ok(None)` for the last one.
    pub fn stage(&self) -> Result<Option<&str>, &str> {
        match &self.target {
            None if self.open => Err(""),
            None => Ok(None),
            Some(text) => match text.known() {
                Some("") => Ok(None),
                Some(name) => Ok(Some(name)),
                None => Err(text.written()),
            },
        }
    }
}

/// Whether a machine, or what builds on it, is there for one run only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// New for every run.
    Run,
    /// It stays.
    Lasting,
    /// It cannot be told.
    Unknown,
}

/// One execution of a job; a job with a matrix is executed once for each of its combinations.
#[derive(Clone, Debug)]
pub struct Job {
    /// The file that it is written in: index into the project's files.
    pub file: usize,
    /// Its name in the file.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// The machine, with the place that says so.
    pub machine: (Lifetime, Span),
    /// What builds, with the place that says so, if it is not the machine's own engine.
    pub builder: Option<(Lifetime, Span)>,
    /// A step that keeps the content of cache mounts between runs.
    pub keeps_mounts: bool,
    /// The combination of the matrix.
    pub row: Vec<(String, String)>,
    /// The matrix holds combinations that cannot be told.
    pub open_matrix: bool,
    /// What it does, in order.
    pub deeds: Vec<Deed>,
}

impl Job {
    /// Whether nothing of an earlier run is left when it builds.
    pub fn lifetime(&self) -> Lifetime {
        self.builder.map_or(self.machine.0, |(lifetime, _)| lifetime)
    }
}

/// Something that a job does.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A command of a script.
    Command(Deeds),
    /// A build: index into the project's calls.
    Build(usize),
}

/// A command of a script with what is known where it runs.
#[derive(Clone, Debug)]
pub struct Deeds {
    /// The file that it stands in.
    pub file: usize,
    /// The command.
    pub command: ShellCommand,
    /// The directory, relative to the root of the file; `None` if it is not known.
    pub folder: Option<String>,
    /// Variables with what is known of their values.
    pub variables: Arc<Vec<(String, Value)>>,
}

impl Deeds {
    /// A word with its variables filled in.
    pub fn value(&self, word: &crate::syntax::shell::ShellWord) -> Value {
        super::script::fill(&word.text, word.expands, &self.variables)
    }
}

/// What sort of file says it. The order is that in which they are believed about the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// docker-bake.hcl, docker-bake.json and what is named as one.
    Bake,
    /// compose.yaml and docker-compose.yml.
    Compose,
    /// A GitHub workflow.
    Workflow,
    /// A composite action.
    Action,
    /// .gitlab-ci.yml and what it includes.
    Gitlab,
    /// A Makefile.
    Makefile,
    /// A justfile.
    Justfile,
    /// A shell script.
    Script,
}

/// A file that says how something is built.
#[derive(Clone, Debug)]
pub struct BuildFile {
    /// What sort of file it is.
    pub kind: FileKind,
    /// The file.
    pub source: Arc<SourceFile>,
    /// The directory that its paths are relative to.
    pub root: PathBuf,
    /// Why it could not be understood.
    pub problem: Option<(Span, String)>,
}

/// Joins paths by the letter, with `/`, without `.` and with `..` resolved where there is something to go up from.
pub(super) fn join(folder: &str, path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    let all = folder.split('/').filter(|_| !absolute).chain(path.split('/'));
    for part in all {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// A path without `.` and `..`, absolute, so that two of them can be compared.
pub fn identity(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut clean = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// A directory below a root, as the user would type it.
pub(super) fn below(root: &Path, path: &str) -> PathBuf {
    match path {
        "" | "." => root.to_path_buf(),
        path if path.starts_with('/') => PathBuf::from(path),
        path if root == Path::new(".") => PathBuf::from(path),
        path => root.join(path),
    }
}

impl BuildFile {
    /// The directory of a call's context, if it is a known one on this machine.
    pub fn context_of(&self, call: &Call) -> Option<PathBuf> {
        match call.context.as_ref()? {
            Source::Directory(text) | Source::Repository(text) => Some(below(&self.root, text.known()?)),
            Source::Elsewhere(_) => None,
        }
    }

    /// The Dockerfile of a call, if it is known.
    pub fn dockerfile_of(&self, call: &Call) -> Option<PathBuf> {
        let path = call.dockerfile.as_ref()?.known()?;
        Some(below(&self.root, path))
    }

    /// The build as if it were typed, with all that is known: a platform, an argument or a context that is not known is
    /// left out. `None` if the context or the Dockerfile is not known.
    pub fn invocation(&self, call: &Call) -> Option<Invocation> {
        let options = |name: &str| -> Vec<String> {
            let values = call.options.iter().filter(|(n, _)| n == name);
            values.filter_map(|(_, text)| text.known().map(str::to_owned)).collect()
        };
        let known = |texts: &[Text]| texts.iter().filter_map(|t| t.known().map(str::to_owned)).collect();
        Some(Invocation {
            dockerfile: Some(self.dockerfile_of(call)?),
            context: self.context_of(call)?,
            target: call.stage().ok()?.map(str::to_owned),
            build_args: call
                .args
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.as_ref()?.known()?.to_owned())))
                .collect(),
            platforms: known(&call.platforms),
            contexts: call
                .contexts
                .iter()
                .map(|(name, value)| (name.clone(), value.written().to_owned()))
                .collect(),
            no_cache: call.no_cache == Some(true),
            no_cache_filter: options("no-cache-filter"),
            add_hosts: options("add-host"),
            ulimits: options("ulimit"),
            shm_size: options("shm-size").pop(),
            network: options("network").pop(),
            ..Invocation::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_entries_are_read_as_buildx_reads_them() {
        let read = |text: &str| Cache::new(Text::new(text, Span::default()));
        let gha = read("type=gha, mode=max,scope=${{ join(a, 'b') }}");
        assert_eq!((gha.kind(), gha.field("mode")), (Some("gha"), Some("max")));
        assert_eq!(gha.field("scope"), Some("${{ join(a, 'b') }}"));
        assert_eq!(read("user/app:cache").destination().as_deref(), Some("registry user/app:cache"));
        assert_eq!(read("type=gha").destination().as_deref(), Some("gha buildkit"));
        assert_eq!(read("type=inline").keeps_all_stages(), Some(false));
        assert_eq!(read("type=registry,ref=a,mode=${X}").keeps_all_stages(), None);
        let unknown =
            Cache::new(Text { value: Value::Unknown("${{ inputs.cache }}".into()), span: Span::default() });
        assert_eq!((unknown.kind(), unknown.destination()), (None, None));
        let perhaps = "${{ github.ref == 'refs/heads/main' && 'type=gha,mode=max' || '' }}";
        let perhaps = Cache::new(Text { value: Value::Unknown(perhaps.into()), span: Span::default() });
        assert_eq!((perhaps.kind(), perhaps.keeps_all_stages()), (Some("gha"), Some(true)));
    }

    #[test]
    fn paths_are_joined_by_the_letter() {
        for (folder, path, expected) in [
            (".", "./a/../b", "b"),
            ("a", "..", "."),
            ("a", "../../x", "../x"),
            ("a", "/x", "/x"),
            ("", "", "."),
        ] {
            assert_eq!(join(folder, path), expected, "{folder} {path}");
        }
    }
}
