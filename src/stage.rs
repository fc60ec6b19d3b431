//! Stages and how they feed each other: FROM, `COPY --from`, mounts, reachability from the target.
//!
//! Follows `frontend/dockerfile/dockerfile2llb/convert.go` (`buildMetaArgs`, `buildDispatchStates`, `toCommand`,
//! `allReachableStages`). Looks at no files.

use crate::image::reference::Reference;
use crate::invoke::Invocation;
use crate::invoke::platform::Platform;
use crate::source::{Span, nearest};
use crate::syntax::word::{Lexer, NoVariables, Variables as _};
use crate::syntax::{Args, Document, Instruction, Keyword};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// All stages of a Dockerfile.
#[derive(Debug)]
pub struct StageGraph<'a> {
    /// The file.
    pub document: &'a Document,
    /// ARG instructions before the first FROM.
    pub global_args: &'a [Instruction],
    /// The global scope: platform arguments and ARGs before the first FROM that have a value, in order.
    pub globals: Vec<(String, String)>,
    /// The stages in file order.
    pub stages: Vec<Stage<'a>>,
    /// The stage that is built; `None` when there is none, or none of that name.
    pub target: Option<usize>,
    /// The platform that is built for.
    pub platform: Platform,
    /// What BuildKit would refuse when it resolves names.
    pub errors: Vec<StageError>,
    /// Unnamed stages that BuildKit adds for `--from=IMAGE` and for mounts without `from`. They have no effect but on
    /// the names of steps.
    pub extra_stages: usize,
    /// What SOURCE_DATE_EPOCH means here.
    pub source_date: SourceDate,
    names: HashMap<String, usize>,
    contexts: Vec<(String, String)>,
    /// Places that are taken from and are no stages, in the order of the file: `--from=N` counts them behind the stages.
    extras: Vec<Base>,
}

/// SOURCE_DATE_EPOCH as BuildKit reads it before it looks at any stage (`resolveSourceDateEpochValue` in
/// `dockerfile2llb/epoch.go`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceDate {
    /// Whether `--build-arg` gives it; what it gives is replaced by the number, or dropped if there is none.
    pub given: bool,
    /// Seconds since 1970, if there is a date.
    pub seconds: Option<i64>,
    /// Whether a download decides.
    pub open: bool,
    /// The number as an argument.
    pub text: Option<String>,
}

/// One stage.
#[derive(Debug)]
pub struct Stage<'a> {
    /// Position in the file, from 0.
    pub index: usize,
    /// Name in lower case, if it has one.
    pub name: Option<String>,
    /// Its FROM.
    pub from: &'a Instruction,
    /// Its instructions, FROM excluded.
    pub instructions: &'a [Instruction],
    /// Index of the first of them in [`Document::instructions`].
    pub first: usize,
    /// The base as written.
    pub base_written: &'a str,
    /// The base after expansion with the global scope.
    pub base_text: String,
    /// What the base is.
    pub base: Base,
    /// `--platform`, expanded and normalised.
    pub platform: Option<Platform>,
    /// `--platform` as written, empty without.
    pub platform_written: &'a str,
    /// The `--build-context` that replaces this stage by name.
    pub context: Option<String>,
    /// What it takes from elsewhere, in the order of the instructions; triggers of the base stage first.
    pub uses: Vec<Use>,
    /// Whether the target needs it.
    pub reachable: bool,
    /// How many triggers lie between the target and it: BuildKit finds it that many rounds later.
    pub rounds: usize,
}

impl Stage<'_> {
    /// The name, or what BuildKit's progress calls a stage without one: `stage-2`.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{}", self.index))
    }

    /// The stage that it continues with FROM.
    pub fn parent(&self) -> Option<usize> {
        match self.base {
            // One that a build context replaces continues nothing.
            Base::Stage(i) if self.context.is_none() => Some(i),
            _ => None,
        }
    }
}

/// What stands behind FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// `scratch`
    Scratch,
    /// an earlier stage
    Stage(usize),
    /// an image; the reference is normalised, with tag
    Image(String),
    /// a `--build-context` of that name
    Context {
        /// the name under which it was given
        name: String,
        /// its value
        value: String,
    },
    /// it cannot be told: an ARG without value, or a text that is no reference
    Unknown,
}

/// Something that a stage takes from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// By which instruction.
    pub kind: UseKind,
    /// From where.
    pub source: Base,
    /// Index of the instruction in [`Document::instructions`]; for a trigger, of its ONBUILD.
    pub instruction: usize,
    /// Position of the flag among the `--mount` flags of the instruction; 0 for the others.
    pub mount: usize,
    /// Whether it comes from an ONBUILD of the base stage.
    pub onbuild: bool,
    /// The value that names the source.
    pub span: Span,
}

/// How a stage takes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseKind {
    /// `FROM stage`
    From,
    /// `COPY --from`
    Copy,
    /// `RUN --mount=…,from=`
    Mount,
}

impl UseKind {
    /// As it is written in a Dockerfile.
    pub fn name(self) -> &'static str {
        match self {
            UseKind::From => "FROM",
            UseKind::Copy => "COPY --from",
            UseKind::Mount => "RUN --mount from",
        }
    }
}

/// What BuildKit would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageError {
    /// The stage, unless it is about the whole file.
    pub stage: Option<usize>,
    /// Where.
    pub span: Span,
    /// What is wrong, without full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Whether build arguments that were not given could cure it, so that it is no error of the file.
    pub depends_on_args: bool,
    /// Whether BuildKit comes across it only in a stage that the target needs (`dispatch` in
    /// `dockerfile2llb/convert.go`); it meets the others while it reads the file.
    pub only_if_built: bool,
}

impl<'a> StageGraph<'a> {
    /// Resolves the stages of a document for one build. The platform is the first one asked for, or the machine's.
    pub fn new(document: &'a Document, build: &Invocation) -> Self {
        let mut errors = Vec::new();
        let platform = match build.platforms.first().map(|p| Platform::parse(p)) {
            Some(Ok(p)) => p,
            Some(Err(e)) => {
                errors.push(StageError::file(e.to_string()));
                Platform::host()
            }
            None => Platform::host(),
        };
        let lexer = Lexer::new(document.escape.char());
        let all = &document.instructions;
        let first_from = all.iter().position(|i| i.keyword == Keyword::From).unwrap_or(all.len());
        // Anything but ARG before the first FROM is a syntax error; it is reported there.
        let global_args = &all[..first_from];
        let froms: Vec<usize> = (0..all.len()).filter(|i| all[*i].keyword == Keyword::From).collect();
        let name_of = |i: usize| match &all[i].args {
            Args::From { name: Some(name), .. } => Some(name.text.to_lowercase()),
            _ => None,
        };
        let target_name = build.target.clone().or_else(|| froms.last().and_then(|i| name_of(*i)));

        let platform_text = platform.full();
        let mut graph = StageGraph {
            document,
            global_args,
            globals: platform_args(&platform, build, target_name.as_deref()),
            stages: Vec::with_capacity(froms.len()),
            target: None,
            platform,
            errors,
            extra_stages: 0,
            names: HashMap::new(),
            contexts: contexts_for(&platform_text, &build.contexts),
            extras: Vec::new(),
            source_date: SourceDate::default(),
        };
        let undefined = graph.define_globals(build, lexer);

        let mut names: HashMap<String, usize> = HashMap::new();
        for (index, from) in froms.iter().enumerate() {
            let end = froms.get(index + 1).copied().unwrap_or(all.len());
            let stage = graph.stage(index, *from, end, name_of(*from), &names, build, lexer, &undefined);
            if let Some(name) = &stage.name {
                names.insert(name.clone(), index);
            }
            graph.stages.push(stage);
        }
        graph.find_source_date(build);
        graph.collect_uses(&names);
        graph.find_target(&names, build);
        graph.check_order();
        graph.names = names;
        graph
    }

    /// The errors for which BuildKit refuses this build.
    pub fn refusals(&self) -> impl Iterator<Item = &StageError> {
        self.errors.iter().filter(|error| {
            let built = |stage: usize| self.stages.get(stage).is_none_or(|s| s.reachable);
            !error.only_if_built || error.stage.is_none_or(built)
        })
    }

    /// What a `--from` value means, whatever its case.
    pub fn resolve(&self, from: &str) -> Base {
        match from.parse::<usize>() {
            Ok(n) if n < self.stages.len() => Base::Stage(n),
            Ok(n) => self.extras.get(n - self.stages.len()).cloned().unwrap_or(Base::Unknown),
            Err(_) => self.resolve_name(from),
        }
    }

    /// What the `from` of a mount means, whatever its case: a number is no stage there.
    pub fn resolve_name(&self, from: &str) -> Base {
        find_base(from, &self.names, &self.contexts, true)
    }

    /// The value of a build argument as the stages see it.
    pub fn build_arg<'b>(&'b self, build: &'b Invocation, name: &str) -> Option<&'b str> {
        match name {
            "SOURCE_DATE_EPOCH" if self.source_date.given => self.source_date.text.as_deref(),
            name => build.build_arg(name),
        }
    }

    /// Reads SOURCE_DATE_EPOCH: seconds, or where the date is taken from.
    fn find_source_date(&mut self, build: &Invocation) {
        const NAME: &str = "SOURCE_DATE_EPOCH";
        let given = build.build_arg(NAME);
        let global = self.globals.as_slice().value(NAME).filter(|v| !v.is_empty());
        let Some(value) = given.or(global).map(str::to_owned) else { return };
        let mut date = SourceDate { given: given.is_some(), ..SourceDate::default() };
        let stage = |s: &&Stage<'_>| s.name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(&value));
        if let Ok(seconds) = value.parse::<i64>() {
            date.seconds = Some(seconds);
        } else if value.is_empty() || value == "context" {
            // A directory has no date.
        } else if let Some((_, place)) = build_context(&self.contexts, &value) {
            date.open =
                ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|p| place.starts_with(p));
        } else if let Some(stage) = self.stages.iter().find(stage) {
            match dates(stage) {
                Ok(()) => date.open = true,
                Err(message) => {
                    let place = StageError::file(message);
                    self.errors.push(StageError { span: stage.from.span, ..place });
                }
            }
        } else {
            let message = format!(
                "SOURCE_DATE_EPOCH is a number of seconds or says where to find a date, not `{value}`"
            );
            self.errors.push(StageError::file(message));
        }
        date.text = date.seconds.map(|s| s.to_string());
        if self.globals.as_slice().value(NAME).is_some() {
            match &date.text {
                Some(text) => set(&mut self.globals, NAME, text.clone()),
                None => self.globals.retain(|(name, _)| name != NAME),
            }
        }
        self.source_date = date;
    }

    /// Evaluates the ARGs before the first FROM; returns those that have no value.
    fn define_globals(&mut self, build: &Invocation, lexer: Lexer) -> Vec<String> {
        let mut undefined = Vec::new();
        for instruction in self.global_args {
            let Args::ArgDefs(pairs) = &instruction.args else { continue };
            for pair in pairs {
                let name = &pair.key.text;
                let value = match (build.build_arg(name), &pair.value) {
                    (Some(given), _) => Some(given.to_owned()),
                    (None, Some(default)) => match lexer.expand(&default.text, self.globals.as_slice()) {
                        Ok(e) => Some(e.text),
                        Err(e) => {
                            self.errors.push(StageError {
                                stage: None,
                                span: default.span,
                                message: e.to_string(),
                                help: None,
                                depends_on_args: e.depends_on_values(),
                                only_if_built: false,
                            });
                            None
                        }
                    },
                    (None, None) => None,
                };
                match value {
                    Some(value) => set(&mut self.globals, name, value),
                    None => undefined.push(name.clone()),
                }
            }
        }
        undefined
    }

    #[allow(clippy::too_many_arguments)]
    fn stage(
        &mut self,
        index: usize,
        from: usize,
        end: usize,
        name: Option<String>,
        names: &HashMap<String, usize>,
        build: &Invocation,
        lexer: Lexer,
        undefined: &[String],
    ) -> Stage<'a> {
        let instruction: &'a Instruction = &self.document.instructions[from];
        let (base_written, base_span) = match &instruction.args {
            Args::From { image, .. } => (image.text.as_str(), image.span),
            _ => ("", instruction.span),
        };
        let mut fail = |span, message: String, help, depends_on_args| {
            let stage = Some(index);
            self.errors.push(StageError {
                stage,
                span,
                message,
                help,
                depends_on_args,
                only_if_built: false,
            });
        };
        let mut base_text = String::new();
        let mut base = Base::Unknown;
        match lexer.expand(base_written, self.globals.as_slice()) {
            Ok(e) if e.text.is_empty() && !base_written.is_empty() => {
                let open = e.unset.iter().all(|n| undefined.contains(n));
                let help = match e.unset.first() {
                    Some(n) if open => {
                        format!("give it with `--build-arg {n}=…`, or write a default: `ARG {n}=…`")
                    }
                    Some(n) => format!("declare it above the first FROM: `ARG {n}=…`"),
                    None => "give the variable a value".to_owned(),
                };
                fail(base_span, format!("the base `{base_written}` is empty"), Some(help), open);
            }
            Ok(e) => {
                // A part that only a build argument can fill makes the result a guess.
                let partial = !build.args_known && e.unset.iter().any(|n| undefined.contains(n));
                base_text = e.text;
                base =
                    if partial { Base::Unknown } else { find_base(&base_text, names, &self.contexts, false) };
                if base == Base::Unknown && !partial && !base_text.is_empty() {
                    let help = (base_text.to_lowercase() != base_text).then(|| {
                        "repository names are lower case; a stage must be named as it is spelled".to_owned()
                    });
                    fail(
                        base_span,
                        format!("`{base_text}` is neither a stage above nor an image reference"),
                        help,
                        false,
                    );
                }
            }
            Err(e) => fail(base_span, e.to_string(), None, e.depends_on_values()),
        }
        let flag = instruction.flag("platform");
        let mut platform = None;
        if let Some(flag) = flag {
            match lexer.expand(flag.value(), self.globals.as_slice()) {
                Ok(e) => match Platform::parse(&e.text) {
                    Ok(p) => platform = Some(p),
                    Err(err) => {
                        let open = e.unset.iter().any(|n| undefined.contains(n));
                        fail(flag.value_span, err.to_string(), None, open);
                    }
                },
                Err(e) => fail(flag.value_span, e.to_string(), None, e.depends_on_values()),
            }
        }
        let context = name.as_deref().and_then(|n| build_context(&self.contexts, n)).map(|(_, v)| v);
        Stage {
            index,
            name,
            from: instruction,
            instructions: &self.document.instructions[from + 1..end],
            first: from + 1,
            base_written,
            base_text,
            base,
            platform,
            platform_written: flag.map_or("", |f| f.value()),
            context,
            uses: Vec::new(),
            reachable: false,
            rounds: 0,
        }
    }

    fn collect_uses(&mut self, names: &HashMap<String, usize>) {
        for index in 0..self.stages.len() {
            let mut uses = Vec::new();
            let stage = &self.stages[index];
            let base_span = match &stage.from.args {
                Args::From { image, .. } => image.span,
                _ => stage.from.span,
            };
            if stage.base != Base::Scratch && stage.base != Base::Unknown {
                uses.push(Use {
                    kind: UseKind::From,
                    source: stage.base.clone(),
                    instruction: stage.first - 1,
                    mount: 0,
                    onbuild: false,
                    span: base_span,
                });
            }
            if let Some(parent) = stage.parent() {
                let (first, triggers) = (self.stages[parent].first, self.stages[parent].instructions);
                for (offset, instruction) in triggers.iter().enumerate() {
                    if let Args::Onbuild(trigger) = &instruction.args {
                        self.uses_of(index, trigger, first + offset, true, names, &mut uses);
                    }
                }
            }
            let (first, instructions) = (self.stages[index].first, self.stages[index].instructions);
            for (offset, instruction) in instructions.iter().enumerate() {
                self.uses_of(index, instruction, first + offset, false, names, &mut uses);
            }
            // Nothing is run in a stage that a build context replaces: what it would take is not asked for.
            if self.stages[index].context.is_some() {
                uses.clear();
            }
            self.stages[index].uses = uses;
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn uses_of(
        &mut self,
        stage: usize,
        instruction: &Instruction,
        position: usize,
        onbuild: bool,
        names: &HashMap<String, usize>,
        out: &mut Vec<Use>,
    ) {
        let errors = &mut self.errors;
        let mut fail = |span, message: String, help: Option<String>| {
            // Triggers are looked at where they run.
            let (stage, only_if_built) = (Some(stage), onbuild);
            errors.push(StageError { stage, span, message, help, depends_on_args: false, only_if_built });
        };
        match instruction.keyword {
            Keyword::Copy => {
                let Some(flag) = instruction.flag("from") else { return };
                let value = flag.value();
                if value.is_empty() {
                    return;
                }
                let unexpanded = Lexer::new(self.document.escape.char()).expand(value, &NoVariables);
                if unexpanded.is_ok_and(|e| e.text != value) {
                    let help = "variables do not expand in `--from`: write `FROM $VARIABLE AS name` above and copy \
                                from that stage";
                    fail(
                        flag.value_span,
                        format!("`--from={value}` holds a variable"),
                        Some(help.to_owned()),
                    );
                    return;
                }
                let source = match value.parse::<i64>() {
                    Ok(n) => match usize::try_from(n).ok().map(|n| (n, n.checked_sub(self.stages.len()))) {
                        Some((n, None)) => Base::Stage(n),
                        Some((_, Some(extra))) if extra < self.extras.len() => {
                            self.extras.get(extra).cloned().unwrap_or(Base::Unknown)
                        }
                        _ => {
                            let count = self.stages.len();
                            fail(
                                flag.value_span,
                                format!("there is no stage {n}: the file has {count}"),
                                None,
                            );
                            return;
                        }
                    },
                    Err(_) => find_base(value, names, &self.contexts, true),
                };
                if !matches!(source, Base::Stage(_)) && value.parse::<i64>().is_err() {
                    self.extra_stages += 1;
                    self.extras.push(source.clone());
                }
                if source == Base::Unknown {
                    let help = nearest(&value.to_lowercase(), names.keys().map(String::as_str))
                        .map(|n| format!("a stage `{n}` exists"));
                    fail(
                        flag.value_span,
                        format!("`{value}` is neither a stage nor an image reference"),
                        help,
                    );
                }
                let span = flag.value_span;
                out.push(Use { kind: UseKind::Copy, source, instruction: position, mount: 0, onbuild, span });
            }
            Keyword::Run => {
                for (number, flag) in instruction.flags_named("mount").enumerate() {
                    let field = flag.mount.as_ref().and_then(|m| m.field(&["from"]));
                    let value = field.and_then(|f| f.value.as_deref()).unwrap_or_default();
                    let source = match value {
                        "" => {
                            if !names.contains_key("scratch") {
                                self.extra_stages += 1;
                                self.extras.push(Base::Scratch);
                            }
                            match names.get("scratch") {
                                // BuildKit looks for a stage of that name, whatever the type of the mount.
                                Some(stage) => Base::Stage(*stage),
                                None => continue,
                            }
                        }
                        value => find_base(value, names, &self.contexts, true),
                    };
                    if !matches!(source, Base::Stage(_)) {
                        self.extra_stages += 1;
                        self.extras.push(source.clone());
                    }
                    let span = field.map_or(flag.span, |f| f.span);
                    if source == Base::Unknown {
                        let help = nearest(&value.to_lowercase(), names.keys().map(String::as_str))
                            .map(|n| format!("a stage `{n}` exists"));
                        fail(span, format!("`{value}` is neither a stage nor an image reference"), help);
                    }
                    out.push(Use {
                        kind: UseKind::Mount,
                        source,
                        instruction: position,
                        mount: number,
                        onbuild,
                        span,
                    });
                }
            }
            _ => {}
        }
    }

    fn find_target(&mut self, names: &HashMap<String, usize>, build: &Invocation) {
        self.target = match &build.target {
            None => self.stages.len().checked_sub(1),
            Some(wanted) => {
                let found = names.get(&wanted.to_lowercase()).copied();
                if found.is_none() && !self.stages.is_empty() {
                    let help = nearest(&wanted.to_lowercase(), names.keys().map(String::as_str))
                        .map(|n| format!("did you mean `{n}`?"));
                    let message = format!("there is no stage named `{wanted}` to build");
                    let place = StageError::file(message);
                    self.errors.push(StageError { help, ..place });
                }
                found
            }
        };
        // What triggers need is found after everything else.
        let mut open: VecDeque<(usize, usize)> = self.target.into_iter().map(|t| (t, 0)).collect();
        while let Some((index, rounds)) = open.pop_front() {
            let stage = &mut self.stages[index];
            if std::mem::replace(&mut stage.reachable, true) {
                continue;
            }
            stage.rounds = rounds;
            for used in &stage.uses {
                match (used.stage(), used.onbuild) {
                    (Some(next), false) => open.push_front((next, rounds)),
                    (Some(next), true) => open.push_back((next, rounds + 1)),
                    (None, _) => {}
                }
            }
        }
    }

    /// A stage may take only from stages above it; BuildKit tells a circle from a mere wrong order.
    fn check_order(&mut self) {
        let mut errors = Vec::new();
        for stage in &self.stages {
            for used in &stage.uses {
                let Some(other) = used.stage().filter(|s| *s >= stage.index) else { continue };
                let circle = other == stage.index || self.reaches(other, stage.index);
                let (from, to) = (stage.label(), self.stages[other].label());
                let (message, help) = if other == stage.index {
                    (format!("stage `{from}` takes from itself"), None)
                } else if circle {
                    (format!("stages `{from}` and `{to}` need each other"), None)
                } else {
                    let help = format!("move stage `{to}` above stage `{from}`");
                    (format!("stage `{from}` takes from stage `{to}`, which is defined below it"), Some(help))
                };
                errors.push(StageError {
                    stage: Some(stage.index),
                    span: used.span,
                    message,
                    help,
                    depends_on_args: false,
                    // BuildKit looks for circles that instructions make; with FROM in it, it comes across a circle when it
                    // builds the stage (`validateCircularDependency`).
                    only_if_built: used.onbuild
                        || other != stage.index
                            && !self.follow(other, stage.index, |u| u.kind != UseKind::From && !u.onbuild),
                });
            }
        }
        self.errors.extend(errors);
    }

    /// Whether `from` needs `to`, directly or through others.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.follow(from, to, |_| true)
    }

    fn follow(&self, from: usize, to: usize, counts: impl Fn(&Use) -> bool) -> bool {
        let mut seen = vec![false; self.stages.len()];
        let mut open = vec![from];
        while let Some(index) = open.pop() {
            if index == to {
                return true;
            }
            if !std::mem::replace(&mut seen[index], true) {
                open.extend(self.stages[index].uses.iter().filter(|u| counts(u)).filter_map(Use::stage));
            }
        }
        false
    }

    /// Whether a stage, or one of those it continues with FROM, is `ancestor`.
    pub fn continues(&self, stage: usize, ancestor: usize) -> bool {
        self.lineage(stage).contains(&ancestor)
    }

    /// A stage and those it continues with FROM, the base-most first.
    pub fn lineage(&self, stage: usize) -> Vec<usize> {
        let mut out = vec![stage];
        let mut at = stage;
        while let Some(parent) = self.stages.get(at).and_then(Stage::parent) {
            // A parent is always an earlier stage, so this ends.
            out.push(parent);
            at = parent;
        }
        out.reverse();
        out
    }

    /// The number of the stage that holds an instruction, by its index in the document.
    pub fn stage_of(&self, instruction: usize) -> Option<usize> {
        self.stages
            .iter()
            .find(|s| instruction + 1 >= s.first && instruction < s.first + s.instructions.len())
            .map(|s| s.index)
    }

    /// Positions of a stage's instructions, FROM excluded, in the document.
    pub fn positions(&self, stage: usize) -> Range<usize> {
        self.stages.get(stage).map_or(0..0, |s| s.first..s.first + s.instructions.len())
    }
}

impl Use {
    /// The stage that is used, if it is one.
    pub fn stage(&self) -> Option<usize> {
        match self.source {
            Base::Stage(i) => Some(i),
            _ => None,
        }
    }
}

impl StageError {
    fn file(message: String) -> Self {
        StageError {
            stage: None,
            span: Span::default(),
            message,
            help: None,
            depends_on_args: false,
            only_if_built: false,
        }
    }
}

/// Sets a variable: the list is ordered by last assignment.
pub fn set(env: &mut Vec<(String, String)>, name: &str, value: String) {
    env.retain(|(k, _)| k != name);
    env.push((name.to_owned(), value));
}

/// The automatic platform arguments in BuildKit's order; a build argument of the same name replaces a value.
fn platform_args(platform: &Platform, build: &Invocation, target: Option<&str>) -> Vec<(String, String)> {
    let own = Platform::host();
    let target = target.filter(|t| !t.is_empty()).unwrap_or("default").to_owned();
    [
        ("BUILDPLATFORM", own.to_string()),
        ("BUILDOS", own.os),
        ("BUILDOSVERSION", own.os_version),
        ("BUILDARCH", own.arch),
        ("BUILDVARIANT", own.variant),
        ("TARGETPLATFORM", platform.full()),
        ("TARGETOS", platform.os.clone()),
        ("TARGETOSVERSION", platform.os_version.clone()),
        ("TARGETARCH", platform.arch.clone()),
        ("TARGETVARIANT", platform.variant.clone()),
        ("TARGETSTAGE", target),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), build.build_arg(k).map_or(v, str::to_owned)))
    .collect()
}

/// Names of the arguments that have a value without being given.
pub const AUTOMATIC_ARGS: [&str; 11] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// Whether the date of a build can be taken from a stage: `FROM scratch` and one ADD of a download.
fn dates(stage: &Stage<'_>) -> Result<(), String> {
    let refuse =
        |why: &str| Err(format!("SOURCE_DATE_EPOCH cannot be taken from stage `{}`: {why}", stage.label()));
    if stage.base_text != "scratch" {
        return refuse("it does not begin with `FROM scratch`");
    }
    let mut sources = 0;
    for instruction in stage.instructions {
        match (&instruction.args, instruction.keyword) {
            (Args::ArgDefs(_), _) => {}
            (Args::Transfer { sources: list, .. }, Keyword::Add) => sources += list.len(),
            _ => return refuse("it has more than ARG and ADD"),
        }
    }
    if sources == 1 { Ok(()) } else { refuse("it has not exactly one download") }
}

/// The build contexts that count for one platform: `NAME` and `NAME::PLATFORM`, of which the latter wins.
fn contexts_for(platform: &str, contexts: &[(String, String)]) -> Vec<(String, String)> {
    let of = |wanted: bool| {
        contexts.iter().filter(move |(name, _)| match name.split_once("::") {
            Some((_, only)) => wanted && only == platform,
            None => !wanted,
        })
    };
    of(false).chain(of(true)).cloned().collect()
}

fn find_base(
    text: &str,
    names: &HashMap<String, usize>,
    contexts: &[(String, String)],
    any_case: bool,
) -> Base {
    let lower = text.to_lowercase();
    let wanted = if any_case { lower.as_str() } else { text };
    if let Some(index) = names.get(wanted) {
        return Base::Stage(*index);
    }
    if text == "scratch" {
        return Base::Scratch;
    }
    if let Some((name, value)) = build_context(contexts, text) {
        return Base::Context { name, value };
    }
    match Reference::parse(text) {
        Some(reference) => match build_context(contexts, &reference.familiar()) {
            Some((name, value)) => Base::Context { name, value },
            None => Base::Image(reference.tagged()),
        },
        None => Base::Unknown,
    }
}

/// The `--build-context` of a name; `scratch` and `context` cannot be replaced.
fn build_context(contexts: &[(String, String)], name: &str) -> Option<(String, String)> {
    if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
        return None;
    }
    let plain = |n: &str| Reference::parse(n).map_or_else(|| n.to_owned(), |r| r.familiar());
    let wanted = plain(name);
    let given = |n: &str| n.split_once("::").map_or_else(|| n.to_owned(), |(name, _)| name.to_owned());
    contexts.iter().rev().find(|(n, _)| given(n) == name || plain(&given(n)) == wanted).cloned()
}
