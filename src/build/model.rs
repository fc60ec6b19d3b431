//! What every instruction means: words expanded, paths absolute, with the state it sees.

use super::mount;
use super::remote::{self, Remote};
use super::state::State;
use super::system;
use super::value;
use crate::image::{BaseImage, Images};
use crate::invoke::Invocation;
use crate::invoke::platform::Platform;
use crate::source::Span;
use crate::stage::{Base, Stage, StageGraph};
use crate::syntax::shell::{self, Script};
use crate::syntax::word::{ExpandError, Expanded, Lexer, Variables as _};
use crate::syntax::{Args, Command, Flag, Heredoc, Instruction, Keyword, TransferSource, Word};
use std::cell::OnceCell;
use std::sync::Arc;

/// All stages, also those that the target does not need.
#[derive(Debug)]
pub struct BuildModel<'a> {
    /// The stages and how they feed each other.
    pub graph: &'a StageGraph<'a>,
    /// How it is built.
    pub build: &'a Invocation,
    /// One for each stage of the graph, in its order.
    pub stages: Vec<StageModel<'a>>,
}

/// One stage with its steps.
#[derive(Debug)]
pub struct StageModel<'a> {
    /// Its number.
    pub index: usize,
    /// Every instruction but FROM in the order of execution; triggers of the base first.
    pub steps: Vec<Step<'a>>,
    /// The state after FROM.
    pub start: Arc<State>,
    /// The state after the last instruction.
    pub end: Arc<State>,
    /// The base image, if it could be read.
    pub image: Option<&'a BaseImage>,
    /// What BuildKit would refuse while it follows the instructions.
    pub errors: Vec<BuildError>,
}

/// Something that BuildKit refuses when it expands an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// Where.
    pub span: Span,
    /// What is wrong, without full stop.
    pub message: String,
    /// Whether other build arguments, or variables of a base image, could cure it, so that it is no error of the file.
    pub depends_on_args: bool,
}

impl BuildError {
    /// About a value that was made of `written`.
    pub(super) fn of_value(span: Span, message: impl Into<String>, written: &str) -> Self {
        Self { span, message: message.into(), depends_on_args: written.contains('$') }
    }

    /// About something that no variable changes.
    pub(super) fn plain(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), depends_on_args: false }
    }

    /// About words that cannot be expanded.
    pub(super) fn expansion(span: Span, error: &ExpandError) -> Self {
        Self { span, message: error.to_string(), depends_on_args: error.depends_on_values() }
    }
}

/// One instruction in its place.
#[derive(Debug)]
pub struct Step<'a> {
    /// As written; for a trigger, the triggered instruction.
    pub instruction: &'a Instruction,
    /// Its index in the document; for a trigger of a base stage, of the ONBUILD; `None` for one of a base image.
    pub position: Option<usize>,
    /// The stage it runs in.
    pub stage: usize,
    /// Whether it is a trigger.
    pub onbuild: bool,
    /// The state it sees.
    pub state: Arc<State>,
    /// What it does.
    pub action: Action<'a>,
}

impl Step<'_> {
    /// The variables in the words and flags of an instruction that BuildKit expands: those that are set and those
    /// that are not. `escape` is the escape character of the file. Empty for RUN, which the shell expands.
    pub fn variables(&self, escape: char) -> Variables {
        let mut out = Variables::default();
        if matches!(self.action, Action::Run(_) | Action::Invalid) {
            return out;
        }
        let lexer = Lexer::new(escape);
        let rest = String::from_utf8_lossy(&self.instruction.rest.bytes);
        let flags = self.instruction.flags.iter().filter(|f| f.name != "from" && f.name != "exclude");
        let heredocs = self.instruction.heredocs.iter().filter(|h| h.expand).map(Heredoc::content);
        let texts =
            std::iter::once(rest.into_owned()).chain(flags.map(|f| f.value().to_owned())).chain(heredocs);
        for text in texts {
            let Ok(found) = lexer.expand(&text, self.state.as_ref()) else { continue };
            for (list, names) in [(&mut out.used, found.used), (&mut out.unset, found.unset)] {
                list.extend(names.into_iter().filter(|n| !list.contains(n)).collect::<Vec<_>>());
            }
        }
        out
    }
}

/// Names of variables in an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// Those with a value.
    pub used: Vec<String>,
    /// Those without.
    pub unset: Vec<String>,
}

/// What an instruction does.
#[derive(Debug)]
pub enum Action<'a> {
    /// RUN
    Run(Box<Run<'a>>),
    /// COPY, ADD
    Copy(Box<Copy<'a>>),
    /// WORKDIR
    Workdir(Workdir),
    /// ENV, expanded
    Env(Vec<(String, String)>),
    /// ARG
    Arg(Vec<Arg>),
    /// USER
    User(String),
    /// SHELL
    Shell(Vec<String>),
    /// image configuration only: it is in no key
    Config,
    /// not understood; an error says why
    Invalid,
}

/// WORKDIR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workdir {
    /// The directory from now on.
    pub path: String,
    /// The directory that is made, cleaned; `None` for `/`, which makes no layer.
    pub made: Option<String>,
}

/// One name of an ARG instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// The name.
    pub name: String,
    /// Its value, if it has one.
    pub value: Option<String>,
    /// Where the value comes from.
    pub origin: ArgOrigin,
}

/// Where the value of an ARG comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgOrigin {
    /// `--build-arg`
    Given,
    /// the default in this instruction
    Default,
    /// an ARG before the first FROM, or an automatic platform argument
    Global,
    /// none
    Unset,
}

/// RUN.
#[derive(Debug)]
pub struct Run<'a> {
    /// The words that are executed.
    pub args: Vec<String>,
    /// Shell form: the last of `args` is a text that a shell reads.
    pub shell_form: bool,
    /// A heredoc with `#!` that is run as a file: name and content.
    pub script_file: Option<(String, String)>,
    /// Mounts in the order of their flags.
    pub mounts: Vec<RunMount<'a>>,
    /// `--network`
    pub network: Network,
    /// `--security=insecure`
    pub insecure: bool,
    /// `--device` values as written.
    pub devices: Vec<String>,
    posix: bool,
    instruction: &'a Instruction,
    script: OnceCell<Script>,
}

impl Run<'_> {
    /// The commands, if a POSIX shell reads them or they are in exec form; parsed on first use.
    pub fn script(&self) -> Option<&Script> {
        self.posix.then(|| self.script.get_or_init(|| shell::script_of(self.instruction)))
    }

    /// The mount that covers a path, the deepest one if several do.
    pub fn mount_over(&self, path: &str) -> Option<&RunMount<'_>> {
        self.mounts
            .iter()
            .filter(|m| !matches!(m.kind, MountKind::Secret | MountKind::Ssh) && is_below(path, &m.path))
            .max_by_key(|m| m.path.trim_end_matches('/').len())
    }
}

/// Whether `path` is `folder` or below it; both absolute.
pub fn is_below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Network {
    /// the builder's own
    #[default]
    Default,
    /// the host's
    Host,
    /// none
    None,
}

/// Kinds of mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Cache => "cache",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Secret => "secret",
            MountKind::Ssh => "ssh",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        use MountKind::*;
        [Bind, Cache, Tmpfs, Secret, Ssh].into_iter().find(|k| k.name() == name)
    }
}

/// `sharing` of a cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

/// One mount of a RUN, expanded.
#[derive(Debug)]
pub struct RunMount<'a> {
    /// What it is.
    pub kind: MountKind,
    /// Its flag.
    pub flag: &'a Flag,
    /// `target` as written, expanded; empty when there is none.
    pub target: String,
    /// `target` as an absolute path (empty for secret and ssh).
    pub path: String,
    /// `source`, expanded; empty when there is none.
    pub source: String,
    /// What `from` names; `None` without `from`.
    pub from: Option<Base>,
    /// `from` as written.
    pub from_name: String,
    /// Whether writing to it fails.
    pub read_only: bool,
    /// `id`, expanded.
    pub id: Option<String>,
    /// `sharing`, if written.
    pub sharing: Option<Sharing>,
    /// `size` in bytes, 0 for none.
    pub size: i64,
    /// `mode`
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `required`
    pub required: bool,
    /// `env` of a secret.
    pub env: Option<String>,
}

impl RunMount<'_> {
    /// The name under which BuildKit keeps a cache mount, before the name space: `id`, or the cleaned target as written.
    pub fn cache_id(&self) -> String {
        self.id.clone().unwrap_or_else(|| crate::context::path::clean_str(&self.target))
    }

    /// Whether it brings files of the main build context.
    pub fn is_context(&self) -> bool {
        self.kind == MountKind::Bind && self.from.is_none()
    }
}

/// COPY and ADD.
#[derive(Debug)]
pub struct Copy<'a> {
    /// ADD.
    pub is_add: bool,
    /// Paths first, then heredocs, as BuildKit orders them.
    pub sources: Vec<CopySource<'a>>,
    /// Where to: absolute; a final `/` or `/.` is kept.
    pub dest: String,
    /// The destination as written.
    pub dest_word: &'a Word,
    /// What `--from` names; `None` for the build context.
    pub from: Option<Base>,
    /// `--chown`, expanded; empty when there is none.
    pub chown: String,
    /// `--chmod`, expanded; empty when there is none.
    pub chmod: String,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude` values.
    pub exclude: Vec<String>,
    /// `--checksum` of ADD, expanded.
    pub checksum: String,
    /// `--keep-git-dir` of ADD, if written.
    pub keep_git_dir: Option<bool>,
    /// `--unpack` of ADD, if written.
    pub unpack: Option<bool>,
}

/// One source of COPY or ADD.
#[derive(Debug)]
pub enum CopySource<'a> {
    /// a path in the context, a stage or an image
    Path {
        /// as written
        word: &'a Word,
        /// expanded
        text: String,
        /// absolute in its tree, cleaned; with `--parents`, the part before `/./`, or `/`
        path: String,
        /// with `--parents`: the pattern that selects below `path`
        parents_pattern: Option<String>,
    },
    /// a URL or git repository
    Remote {
        /// as written
        word: &'a Word,
        /// expanded
        text: String,
        /// taken apart
        remote: Remote,
    },
    /// a heredoc
    Heredoc {
        /// its word
        word: &'a Word,
        /// file name
        name: String,
        /// content, expanded where the delimiter is not quoted
        content: String,
    },
}

impl Copy<'_> {
    /// Whether files come from the main build context.
    pub fn is_context(&self) -> bool {
        self.from.is_none() && self.sources.iter().any(|s| matches!(s, CopySource::Path { .. }))
    }

    /// The full cleaned paths or patterns of its path sources (with `--parents`, the joined one).
    pub fn paths(&self) -> impl Iterator<Item = (&Word, String)> {
        self.sources.iter().filter_map(|s| match s {
            CopySource::Path { word, path, parents_pattern: Some(pattern), .. } => {
                Some((*word, system::joined(&["/", path, pattern])))
            }
            CopySource::Path { word, path, .. } => Some((*word, path.clone())),
            _ => None,
        })
    }

    /// The path that a context file gets in the image, if the source that selects it is `source` (a path of
    /// [`Copy::paths`]) and `file` is the absolute path of the selected file in its tree. `is_dir` says whether the
    /// source itself is a directory.
    pub fn destination_of(&self, source: &str, file: &str, is_dir: bool) -> String {
        if self.parents {
            return system::joined(&[&self.dest, file]);
        }
        let rest = file.strip_prefix(source.trim_end_matches('/')).unwrap_or_default();
        if is_dir {
            return system::joined(&[&self.dest, rest]);
        }
        let name = file.rsplit('/').next().unwrap_or(file);
        let folder = self.dest.ends_with('/') || self.dest.ends_with("/.") || self.sources.len() > 1;
        if folder { system::joined(&[&self.dest, name]) } else { self.dest.clone() }
    }
}

impl<'a> BuildModel<'a> {
    /// Follows all stages. Images that are not in `images` leave unknowns behind.
    pub fn new(graph: &'a StageGraph<'a>, build: &'a Invocation, images: &'a Images) -> Self {
        let mut model = BuildModel { graph, build, stages: Vec::with_capacity(graph.stages.len()) };
        for stage in &graph.stages {
            let built = model.follow(stage, images);
            model.stages.push(built);
        }
        model
    }

    /// Steps of a stage and of those it continues with FROM, in the order of execution.
    pub fn lineage_steps(&self, stage: usize) -> impl Iterator<Item = &Step<'a>> {
        self.graph.lineage(stage).into_iter().filter_map(|i| self.stages.get(i)).flat_map(|s| &s.steps)
    }

    /// All steps of all stages.
    pub fn steps(&self) -> impl Iterator<Item = &Step<'a>> {
        self.stages.iter().flat_map(|s| &s.steps)
    }

    /// What BuildKit would refuse, over the stages that the target needs.
    pub fn errors(&self) -> impl Iterator<Item = &BuildError> {
        self.stages.iter().filter(|s| self.graph.stages[s.index].reachable).flat_map(|s| &s.errors)
    }

    fn follow(&self, stage: &'a Stage<'a>, images: &'a Images) -> StageModel<'a> {
        let platform = || stage.platform.clone().unwrap_or_else(|| self.graph.platform.clone());
        let mut image = None;
        let mut triggers: Vec<(&'a Instruction, Option<usize>)> = Vec::new();
        let base = match &stage.context {
            Some(value) => &Base::Context { name: stage.label(), value: value.clone() },
            None => &stage.base,
        };
        let start = match base {
            Base::Scratch => State::scratch(self.graph.platform.clone()),
            Base::Stage(parent) => match self.stages.get(*parent) {
                Some(parent) => {
                    let first = self.graph.stages[parent.index].first;
                    let body = self.graph.stages[parent.index].instructions;
                    for (offset, instruction) in body.iter().enumerate() {
                        if let Args::Onbuild(trigger) = &instruction.args {
                            triggers.push((trigger, Some(first + offset)));
                        }
                    }
                    parent.end.as_ref().clone().continued()
                }
                // A stage below: an error says so.
                None => State::of_unknown(format!("stage {parent}"), platform()),
            },
            Base::Image(reference) => {
                image = images.get(reference, &platform());
                start_of(image, &format!("docker-image://{reference}"), platform())
            }
            Base::Context { name, value } => {
                image = images.get(&format!("context:{name}"), &platform());
                match value.strip_prefix("docker-image://") {
                    Some(reference) => {
                        image = image.or_else(|| images.get(reference, &platform()));
                        start_of(image, value, platform())
                    }
                    None if value.contains("://") => start_of(image, value, platform()),
                    // A folder is a file system without configuration.
                    None => State::scratch(platform()),
                }
            }
            Base::Unknown => State::of_unknown(stage.base_written.to_owned(), platform()),
        };
        for document in image.map(|i| i.triggers.as_slice()).unwrap_or_default() {
            triggers.extend(document.instructions.iter().map(|i| (i, None)));
        }
        let mut walk = Walk {
            model: self,
            stage: stage.index,
            lexer: Lexer::new(self.graph.document.escape.char()),
            state: Arc::new(start),
            steps: Vec::new(),
            errors: Vec::new(),
        };
        let start = walk.state.clone();
        // A stage that a build context replaces runs none of its instructions.
        if stage.context.is_none() {
            for (trigger, position) in triggers {
                walk.step(trigger, position, true);
            }
            for (offset, instruction) in stage.instructions.iter().enumerate() {
                walk.step(instruction, Some(stage.first + offset), false);
            }
        }
        let Walk { state, steps, errors, .. } = walk;
        StageModel { index: stage.index, steps, start, end: state, image, errors }
    }
}

fn start_of(image: Option<&BaseImage>, name: &str, platform: Platform) -> State {
    match image {
        Some(image) => State::of_image(image, platform),
        None => State::of_unknown(name.to_owned(), platform),
    }
}

struct Walk<'m, 'a> {
    model: &'m BuildModel<'a>,
    stage: usize,
    lexer: Lexer,
    state: Arc<State>,
    steps: Vec<Step<'a>>,
    errors: Vec<BuildError>,
}

impl<'a> Walk<'_, 'a> {
    fn step(&mut self, instruction: &'a Instruction, position: Option<usize>, onbuild: bool) {
        let state = self.state.clone();
        let action = match self.action(instruction) {
            Ok(action) => action,
            Err(error) => {
                self.errors.push(error);
                Action::Invalid
            }
        };
        self.apply(&action);
        self.steps.push(Step { instruction, position, stage: self.stage, onbuild, state, action });
    }

    fn apply(&mut self, action: &Action<'a>) {
        match action {
            Action::Env(pairs) => {
                let state = Arc::make_mut(&mut self.state);
                for (name, value) in pairs {
                    state.set_env(name, value.clone());
                }
            }
            Action::Workdir(dir) => {
                let state = Arc::make_mut(&mut self.state);
                state.cwd.clone_from(&dir.path);
            }
            Action::User(user) => {
                let state = Arc::make_mut(&mut self.state);
                state.user.clone_from(user);
                state.unknown.user = false;
            }
            Action::Shell(words) => {
                let state = Arc::make_mut(&mut self.state);
                state.shell = Some(words.clone());
                state.unknown.shell = false;
            }
            // ARG is applied name by name while it is read: the values of one line see each other.
            Action::Arg(_) | Action::Run(_) | Action::Copy(_) | Action::Config | Action::Invalid => {}
        }
    }

    fn expand(&self, word: &Word) -> Result<String, BuildError> {
        self.lexer
            .expand(&word.text, self.state.as_ref())
            .map(|e| e.text)
            .map_err(|e| BuildError::expansion(word.span, &e))
    }

    /// The value of a flag, expanded; empty without it. `judge` says what is wrong with it.
    fn expand_flag(
        &self,
        instruction: &Instruction,
        name: &str,
        judge: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, BuildError> {
        let Some(flag) = instruction.flag(name) else { return Ok(String::new()) };
        let expanded = self.lexer.expand(flag.value(), self.state.as_ref());
        let expanded = expanded.map_err(|e| BuildError::expansion(flag.value_span, &e))?;
        if !expanded.text.is_empty() && self.is_known(&expanded) {
            judge(&expanded.text).map_err(|e| BuildError::of_value(flag.value_span, e, flag.value()))?;
        }
        Ok(expanded.text)
    }

    /// Whether no variable in it may come from a base image that is not known.
    fn is_known(&self, expanded: &Expanded) -> bool {
        expanded.unset.is_empty() || !self.state.unknown.env
    }

    /// Expands the words of an instruction that is configuration only, and judges its values as BuildKit does.
    fn config(&self, instruction: &Instruction) -> Result<(), BuildError> {
        match (&instruction.args, instruction.keyword) {
            (Args::Pairs { pairs, .. }, _) => {
                for word in pairs.iter().flat_map(|p| std::iter::once(&p.key).chain(&p.value)) {
                    self.expand(word)?;
                }
            }
            (Args::Text(word), Keyword::Stopsignal) => {
                let text = self.lexer.expand(&word.text, self.state.as_ref());
                let text = text.map_err(|e| BuildError::expansion(word.span, &e))?;
                if self.is_known(&text) {
                    value::signal(&text.text).map_err(|e| BuildError::of_value(word.span, e, &word.text))?;
                }
            }
            (Args::Words(words), Keyword::Expose) => {
                for word in words {
                    // Variables that are not set leave no word behind.
                    let ports = self.lexer.words(&word.text, self.state.as_ref());
                    let ports = ports.map_err(|e| BuildError::expansion(word.span, &e))?;
                    let whole = self.lexer.expand(&word.text, self.state.as_ref());
                    if whole.is_ok_and(|e| self.is_known(&e)) {
                        let wrong = ports.iter().find_map(|port| value::port(port).err());
                        wrong.map_or(Ok(()), |e| Err(BuildError::of_value(word.span, e, &word.text)))?;
                    }
                }
            }
            (Args::Words(words), Keyword::Volume) => {
                for word in words {
                    let text = self.lexer.expand(&word.text, self.state.as_ref());
                    let text = text.map_err(|e| BuildError::expansion(word.span, &e))?;
                    if text.text.is_empty() && self.is_known(&text) {
                        return Err(BuildError::of_value(word.span, "a volume has no name", &word.text));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn action(&mut self, instruction: &'a Instruction) -> Result<Action<'a>, BuildError> {
        match (&instruction.args, instruction.keyword) {
            (Args::Command(command), Keyword::Run) => self.run(instruction, command),
            (Args::Command(Command::Exec(words)), Keyword::Shell) => {
                Ok(Action::Shell(words.iter().map(|w| w.text.clone()).collect()))
            }
            (Args::Transfer { sources, dest, .. }, keyword) => {
                self.copy(instruction, keyword == Keyword::Add, sources, dest)
            }
            (Args::Pairs { pairs, .. }, Keyword::Env) => {
                let mut out = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    let value = pair.value.as_ref().map(|v| self.expand(v)).transpose()?.unwrap_or_default();
                    out.push((self.expand(&pair.key)?, value));
                }
                Ok(Action::Env(out))
            }
            (Args::ArgDefs(pairs), _) => {
                let mut out = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    let arg = self.arg(&pair.key.text, pair.value.as_ref())?;
                    Arc::make_mut(&mut self.state).set_arg(&arg.name, arg.value.clone());
                    out.push(arg);
                }
                Ok(Action::Arg(out))
            }
            (Args::Text(word), Keyword::Workdir) => {
                let os = &self.state.platform.os;
                let text = self.expand(word)?;
                let path = system::normalize(&self.state.cwd, &text, os, false)
                    .map_err(|e| BuildError::of_value(word.span, e.to_string(), &word.text))?;
                let absolute = text.starts_with('/') || os == "windows";
                if absolute {
                    Arc::make_mut(&mut self.state).unknown.cwd = false;
                }
                // BuildKit tests the text: `//` and `/.` make a layer for `/`.
                let made = (path != "/").then(|| crate::context::path::clean_str(&path));
                Ok(Action::Workdir(Workdir { path, made }))
            }
            (Args::Text(word), Keyword::User) => Ok(Action::User(self.expand(word)?)),
            (Args::Invalid, _) => Ok(Action::Invalid),
            _ => self.config(instruction).map(|()| Action::Config),
        }
    }

    fn arg(&self, name: &str, default: Option<&Word>) -> Result<Arg, BuildError> {
        let (value, origin) = if let Some(given) = self.model.graph.build_arg(self.model.build, name) {
            (Some(given.to_owned()), ArgOrigin::Given)
        } else if let Some(default) = default {
            (Some(self.expand(default)?), ArgOrigin::Default)
        } else if let Some(global) = self.model.graph.globals.as_slice().value(name) {
            // BuildKit keeps the global value as it is: it has been expanded before.
            (Some(global.to_owned()), ArgOrigin::Global)
        } else {
            (None, ArgOrigin::Unset)
        };
        Ok(Arg { name: name.to_owned(), value, origin })
    }

    fn run(&self, instruction: &'a Instruction, command: &'a Command) -> Result<Action<'a>, BuildError> {
        let state = &self.state;
        let mut script_file = None;
        let (args, shell_form) = match command {
            Command::Exec(words) if words.is_empty() => {
                return Err(BuildError::plain(instruction.span, "there is nothing to run"));
            }
            Command::Exec(words) => (words.iter().map(|w| w.text.clone()).collect(), false),
            Command::Shell(word) => {
                let text = match lone_heredoc(instruction, word) {
                    Some(heredoc) => {
                        let content = heredoc.content();
                        if state.os != "windows" && content.starts_with("#!") {
                            let path = system::joined(&["/dev/pipes/", &heredoc.name]);
                            script_file = Some((heredoc.name.clone(), content));
                            path
                        } else {
                            content
                        }
                    }
                    None => with_heredocs(&word.text, &instruction.heredocs),
                };
                let mut args = state.shell_words();
                args.push(text);
                (args, true)
            }
        };
        let mut mounts = Vec::new();
        for flag in instruction.flags_named("mount") {
            if let Some(fields) = &flag.mount {
                mounts.push(mount::mount(flag, fields, state, self.lexer, self.model.graph)?);
            }
        }
        let network = match instruction.flag("network").map(Flag::value).unwrap_or_default() {
            "host" => Network::Host,
            "none" => Network::None,
            _ => Network::Default,
        };
        Ok(Action::Run(Box::new(Run {
            args,
            shell_form,
            script_file,
            mounts,
            network,
            insecure: instruction.flag("security").is_some_and(|f| f.value() == "insecure"),
            devices: instruction.flags_named("device").map(|f| f.value().to_owned()).collect(),
            posix: !shell_form || state.is_posix_shell(),
            instruction,
            script: OnceCell::new(),
        })))
    }

    fn copy(
        &self,
        instruction: &'a Instruction,
        is_add: bool,
        words: &'a [TransferSource],
        dest: &'a Word,
    ) -> Result<Action<'a>, BuildError> {
        let os = self.state.platform.os.clone();
        let at = |word: &'a Word| {
            move |e: system::PathError| BuildError::of_value(word.span, e.to_string(), &word.text)
        };
        let parents = instruction.flag("parents").is_some_and(Flag::is_true);
        let text = self.expand(dest)?;
        let written = if matches!(text.as_str(), "" | ".") { "./" } else { text.as_str() };
        let dest_path = system::normalize(&self.state.cwd, written, &os, true).map_err(at(dest))?;
        let mut sources = Vec::new();
        let mut heredocs = Vec::new();
        for source in words {
            match source {
                TransferSource::Path(word) => {
                    let text = self.expand(word)?;
                    if let Some(remote) = remote::classify(&text) {
                        let remote = remote.map_err(|e| BuildError::of_value(word.span, e, &word.text))?;
                        if !is_add {
                            let message = format!(
                                "COPY takes files of the context or a stage; `{text}` is a place elsewhere: use ADD"
                            );
                            return Err(BuildError::of_value(word.span, message, &word.text));
                        }
                        sources.push(CopySource::Remote { word, text, remote });
                        continue;
                    }
                    let (folder, pattern) = match text.split_once("/./").filter(|_| parents) {
                        Some((folder, pattern)) => (folder.to_owned(), Some(pattern.to_owned())),
                        None if parents => ("/".to_owned(), Some(text.clone())),
                        None => (text.clone(), None),
                    };
                    let normal = |p: &str| {
                        system::normalize("/", p, &os, false)
                            .map(|p| crate::context::path::clean_str(&p))
                            .map_err(at(word))
                    };
                    let path = normal(&folder)?;
                    let parents_pattern = match pattern {
                        Some(p) => Some(system::normalize("/", &p, &os, false).map_err(at(word))?),
                        None => None,
                    };
                    let parents_pattern =
                        parents_pattern.map(|p| p.strip_prefix('/').unwrap_or(&p).to_owned());
                    sources.push(CopySource::Path { word, text, path, parents_pattern });
                }
                TransferSource::Heredoc(index, word) => {
                    let Some(heredoc) = instruction.heredocs.get(*index) else {
                        // BuildKit takes such a word for a heredoc whose body it did not find: an empty file.
                        let name = word.text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '<');
                        let name = name.trim_start_matches('-').trim().to_owned();
                        heredocs.push(CopySource::Heredoc { word, name, content: String::new() });
                        continue;
                    };
                    let raw = heredoc.content();
                    let content = if heredoc.expand {
                        let lexer = Lexer { skip_quotes: true, ..Lexer::new('\\') };
                        lexer
                            .expand(&raw, self.state.as_ref())
                            .map_err(|e| BuildError::expansion(heredoc.body_span, &e))?
                            .text
                    } else {
                        raw
                    };
                    heredocs.push(CopySource::Heredoc { word, name: heredoc.name.clone(), content });
                }
            }
        }
        let paths = sources.len();
        sources.append(&mut heredocs);
        let any = |_: &str| Ok(());
        let checksum = self.expand_flag(instruction, "checksum", any)?;
        let keep_git_dir = instruction.flag("keep-git-dir").map(Flag::is_true);
        self.judge_remotes(instruction, &sources, paths, &checksum, keep_git_dir)?;
        let from = instruction.flag("from").map(Flag::value).filter(|v| !v.is_empty());
        Ok(Action::Copy(Box::new(Copy {
            is_add,
            sources,
            dest: dest_path,
            dest_word: dest,
            from: from.map(|f| self.model.graph.resolve(f)),
            chown: self.expand_flag(instruction, "chown", any)?,
            chmod: self.expand_flag(instruction, "chmod", value::mode)?,
            link: instruction.flag("link").is_some_and(Flag::is_true),
            parents,
            exclude: instruction.flags_named("exclude").map(|f| f.value().to_owned()).collect(),
            checksum,
            keep_git_dir,
            unpack: instruction.flag("unpack").map(Flag::is_true),
        })))
    }
}

impl Walk<'_, '_> {
    /// Judges what ADD says of downloads: a checksum is for a single one, and may not contradict the address. The first
    /// `paths` of the sources are no heredocs.
    fn judge_remotes(
        &self,
        instruction: &Instruction,
        sources: &[CopySource<'_>],
        paths: usize,
        checksum: &str,
        keep_git_dir: Option<bool>,
    ) -> Result<(), BuildError> {
        let flag = instruction.flag("checksum").filter(|_| !checksum.is_empty());
        if let Some(flag) = flag {
            let wrong = if paths != 1 {
                Some("`--checksum` is for a single source")
            } else if !matches!(sources.first(), Some(CopySource::Remote { .. })) {
                Some("`--checksum` is for downloads over http and for git repositories")
            } else {
                None
            };
            if let Some(message) = wrong {
                return Err(BuildError::of_value(
                    flag.value_span,
                    message,
                    &String::from_utf8_lossy(&instruction.rest.bytes),
                ));
            }
        }
        let mut checksum = checksum.to_owned();
        let mut keep = keep_git_dir;
        for source in sources {
            let CopySource::Remote { word, remote, .. } = source else { continue };
            let written = format!("{}{}", word.text, flag.map(Flag::value).unwrap_or_default());
            let fail = |message: String| Err(BuildError::of_value(word.span, message, &written));
            match remote {
                Remote::Http { .. } if !checksum.is_empty() => {
                    if let Err(message) = value::digest(&checksum) {
                        return fail(message);
                    }
                }
                Remote::Http { .. } => {}
                Remote::Git(git) => {
                    if let (Some(a), Some(b)) = (keep, git.keep_git_dir)
                        && a != b
                    {
                        return fail(
                            "`keep-git-dir` of the address contradicts what was said before".to_owned(),
                        );
                    }
                    keep = git.keep_git_dir.or(keep);
                    match &git.checksum {
                        Some(stated) if !checksum.is_empty() && *stated != checksum => {
                            return fail(format!(
                                "the address has the checksum `{stated}`, and not `{checksum}`"
                            ));
                        }
                        Some(stated) => checksum.clone_from(stated),
                        None => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// The heredoc of a RUN that consists of nothing but its word.
pub(super) fn lone_heredoc<'i>(instruction: &'i Instruction, word: &Word) -> Option<&'i Heredoc> {
    let first = instruction.heredocs.first()?;
    let text = word.text.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = text.strip_prefix("<<")?;
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim_start();
    let lexer = Lexer::new('\\');
    let words = lexer.words(rest, &crate::syntax::word::NoVariables).ok()?;
    (!rest.contains('<') && words.len() == 1 && words[0] == first.name).then_some(first)
}

/// A command line with the bodies of its heredocs behind it, as the shell wants them.
fn with_heredocs(line: &str, heredocs: &[Heredoc]) -> String {
    let mut out = line.to_owned();
    for heredoc in heredocs {
        out.push('\n');
        out.push_str(&String::from_utf8_lossy(&heredoc.body));
        out.push_str(&heredoc.name);
    }
    out
}

/// A size like `64m` or `1.5GiB` in bytes (docker's `RAMInBytes`).
pub fn size(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    #[allow(clippy::cast_possible_truncation)]
    Some((number * 1024f64.powi(power)) as i64)
}
