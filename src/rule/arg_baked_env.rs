//! Build arguments that select a deployment and end up in what ships: in the environment, in files, in a bundle.
//!
//! Follows names, not values: `ENV A=$MARKET` makes `A` stand for `MARKET`, until `A` gets another value.

use super::ecosystem::{
    ADDRESS_WORDS, BUILD_WORDS, BUNDLED_PREFIXES, BUNDLERS, COMPILED_OPTIONS, DOWNLOADERS, Deployment,
    ENVIRONMENT_NAMES, MODE_WORDS, PLACE_WORDS, SERVICE_WORDS,
};
use super::{Cx, Rule, command};
use crate::build::model::{Action, Copy, CopySource, Run, Step, is_below};
use crate::context::path::clean_str;
use crate::finding::Finding;
use crate::source::Span;
use crate::stage::{Base, UseKind};
use crate::syntax::shell::{Connector, Script, ShellCommand};
use crate::syntax::word::{Lexer, NoVariables};
use crate::syntax::{Args, Pair, TransferSource};
use std::collections::{BTreeSet, HashMap};

/// See `rules/arg-baked-env.md`.
pub(super) const RULE: Rule =
    Rule { name: "arg-baked-env", page: include_str!("../../rules/arg-baked-env.md"), check };

/// Effects that are named beside the first one.
const NAMED: usize = 3;

/// A declaration of a build argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    span: Span,
}

/// How an argument gets into what ships.
enum Effect {
    /// ENV of that name.
    Env(String),
    /// A file is written or chosen by its value.
    File,
    /// A bundler reads it.
    Bundle,
}

struct Baked {
    source: Source,
    name: String,
    kind: Deployment,
    effects: Vec<(Span, Effect)>,
    downloads: bool,
}

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let Some(target) = cx.graph.target else { return };
    let shipped = shipped(cx, target);
    let taken = taken(cx, &shipped);
    let mut baked: Vec<Baked> = Vec::new();
    for stage in cx.graph.stages.iter().filter(|s| s.reachable) {
        let mut walk = Walk { cx, names: HashMap::new(), baked: &mut baked };
        let paths = if shipped.contains(&stage.index) {
            None
        } else {
            Some(
                taken
                    .iter()
                    .filter(|(s, _)| cx.graph.continues(*s, stage.index))
                    .map(|(_, p)| p.as_str())
                    .collect(),
            )
        };
        // What a stage inherits it inherits with its arguments; what the parent does itself is seen there.
        for step in cx.model.lineage_steps(stage.index) {
            walk.step(step, (step.stage == stage.index).then_some(paths.as_ref()));
        }
    }
    for found in baked {
        let allowed = cx.settings.allows(&RULE, &found.name);
        if !allowed && (found.kind != Deployment::Address || !found.downloads) {
            findings.extend(finding(cx, found));
        }
    }
}

/// The stages whose file system and environment are the image.
fn shipped(cx: &Cx<'_>, target: usize) -> BTreeSet<usize> {
    cx.graph.lineage(target).into_iter().collect()
}

/// Paths that the image takes from other stages.
fn taken(cx: &Cx<'_>, shipped: &BTreeSet<usize>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut seen: BTreeSet<usize> = shipped.clone();
    let mut open: Vec<usize> = shipped.iter().copied().collect();
    while let Some(stage) = open.pop() {
        for step in cx.model.stages.get(stage).map(|s| s.steps.as_slice()).unwrap_or_default() {
            let Action::Copy(copy) = &step.action else { continue };
            let Some(Base::Stage(from)) = copy.from else { continue };
            found.extend(copy.paths().map(|(_, path)| (from, path)));
            // What that stage has gathered from others passes through it.
            open.extend(cx.graph.lineage(from).into_iter().filter(|s| seen.insert(*s)));
        }
    }
    found.extend(
        cx.graph.stages.iter().flat_map(|s| &s.uses).filter(|u| u.kind == UseKind::Mount).filter_map(|u| {
            // A mount can be copied from in any way; only a write of everything would be proof.
            u.stage().map(|s| (s, String::from("\0")))
        }),
    );
    found
}

struct Walk<'w, 'a> {
    cx: &'w Cx<'a>,
    /// Variables and the arguments that they stand for, by index into `baked`.
    names: HashMap<String, usize>,
    baked: &'w mut Vec<Baked>,
}

impl Walk<'_, '_> {
    /// `here` is none for steps of inherited stages; inside, the paths that ship of a stage that does not.
    fn step(&mut self, step: &Step<'_>, here: Option<Option<&Vec<&str>>>) {
        let instruction = step.instruction;
        match (&step.action, &instruction.args) {
            (Action::Arg(_), Args::ArgDefs(pairs)) => pairs.iter().for_each(|pair| self.declare(pair)),
            (Action::Env(_), Args::Pairs { pairs, .. }) => {
                for pair in pairs {
                    self.assign(step, pair, here == Some(None));
                }
            }
            (Action::Copy(copy), Args::Transfer { sources, .. }) => {
                if let Some(paths) = here {
                    self.copy(copy, sources, paths);
                    if paths.is_none() {
                        self.heredocs(step);
                    }
                }
            }
            (Action::Run(run), _) => {
                if let (Some(paths), Some(script)) = (here, run.script()) {
                    self.run(step, run, script, paths);
                }
            }
            _ => {}
        }
    }

    fn declare(&mut self, pair: &Pair) {
        let name = pair.key.text.clone();
        // A default made of another argument carries that one on, for names that say nothing themselves.
        let carried = pair.value.as_ref().and_then(|v| self.referred(&v.text).into_iter().next());
        let source = Source { span: pair.span };
        let index = match (deployment(&name), carried) {
            (Some(kind), _) => Some(self.baked_of(source, &name, kind)),
            (None, carried) => carried,
        };
        match index {
            Some(index) => self.names.insert(name, index),
            None => self.names.remove(&name),
        };
    }

    fn baked_of(&mut self, source: Source, name: &str, kind: Deployment) -> usize {
        if let Some(known) = self.baked.iter().position(|b| b.source == source && b.name == name) {
            return known;
        }
        self.baked.push(Baked { source, name: name.to_owned(), kind, effects: Vec::new(), downloads: false });
        self.baked.len() - 1
    }

    fn assign(&mut self, step: &Step<'_>, pair: &Pair, ships: bool) {
        let Some(value) = &pair.value else { return };
        let key = pair.key.text.clone();
        let mut found = self.referred(&value.text);
        // `ENV REGION=$VALUE`: the name says it where the argument's does not.
        if found.is_empty()
            && let Some(kind) = deployment(&key)
            && let Some(span) = self.declaration(step, &value.text)
        {
            found.push(self.baked_of(Source { span }, &key, kind));
        }
        match found.first() {
            Some(first) => self.names.insert(key.clone(), *first),
            None => self.names.remove(&key),
        };
        if ships && !is_about_the_build(&key) {
            for index in found {
                self.effect(index, pair.span, Effect::Env(key.clone()));
            }
        }
    }

    /// Where the only variable of a value is declared with ARG.
    fn declaration(&self, step: &Step<'_>, value: &str) -> Option<Span> {
        let names = variables(value);
        let [name] = names.as_slice() else { return None };
        let bare = value.trim_matches('"');
        let alone =
            bare == format!("${name}") || (bare.starts_with(&format!("${{{name}")) && bare.ends_with('}'));
        if !alone || is_about_the_build(name) || !step.state.args.iter().any(|a| a == name) {
            return None;
        }
        let lineage = self.cx.graph.lineage(step.stage);
        let steps = lineage.iter().filter_map(|s| self.cx.model.stages.get(*s)).flat_map(|s| &s.steps);
        let pairs = steps.filter_map(|s| match &s.instruction.args {
            Args::ArgDefs(pairs) if s.instruction.span < step.instruction.span => Some(pairs),
            _ => None,
        });
        pairs.flatten().filter(|p| p.key.text == *name).map(|p| p.span).next_back()
    }

    fn copy(&mut self, copy: &Copy<'_>, words: &[TransferSource], paths: Option<&Vec<&str>>) {
        let ships = paths.is_none_or(|paths| paths.iter().any(|p| is_below(&clean_str(&copy.dest), p)));
        if !ships {
            return;
        }
        for word in words {
            if let TransferSource::Path(word) = word
                && copy
                    .sources
                    .iter()
                    .any(|s| matches!(s, CopySource::Path { word: w, .. } if w.span == word.span))
            {
                for index in self.referred(&word.text) {
                    self.effect(index, word.span, Effect::File);
                }
            }
        }
    }

    /// Bodies of heredocs that COPY writes, which are no words.
    fn heredocs(&mut self, step: &Step<'_>) {
        for heredoc in step.instruction.heredocs.iter().filter(|h| h.expand) {
            for index in self.referred(&heredoc.content()) {
                self.effect(index, heredoc.word_span, Effect::File);
            }
        }
    }

    fn run(&mut self, step: &Step<'_>, run: &Run<'_>, script: &Script, paths: Option<&Vec<&str>>) {
        let folders: Vec<(&ShellCommand, Option<String>)> =
            command::with_folders(script, &step.state).collect();
        for (position, (command, folder)) in folders.iter().enumerate() {
            let found = self.referred_by(command);
            if is_bundler(command) && paths.is_none_or(|p| !p.is_empty()) {
                self.bundle(command);
            }
            if DOWNLOADERS.contains(&command.name()) {
                found.iter().for_each(|index| self.baked_downloads(*index));
                continue;
            }
            if found.is_empty() {
                continue;
            }
            if (is_bundler(command) || is_compiled_in(command)) && paths.is_none_or(|p| !p.is_empty()) {
                for index in &found {
                    self.effect(*index, command.span, Effect::Bundle);
                }
                continue;
            }
            // The end of the pipe is what writes.
            let piped = folders.iter().skip(position + 1).map(|(c, f)| (*c, f.as_deref()));
            let rest = piped.take_while(|(c, _)| c.connector == Connector::Pipe && c.group == command.group);
            let writers = std::iter::once((*command, folder.as_deref())).chain(rest);
            let targets: Vec<String> = writers.flat_map(|(c, f)| targets(c, f, &step.state.cwd)).collect();
            let ships = targets.iter().any(|path| {
                let kept = run.mount_over(path).is_none()
                    && !path.starts_with("/tmp/")
                    && !path.starts_with("/dev/");
                kept && paths.is_none_or(|paths| paths.iter().any(|p| is_below(path, p)))
            });
            if ships {
                for index in found {
                    self.effect(index, command.span, Effect::File);
                }
            }
        }
    }

    /// A bundler reads all variables of its kind.
    fn bundle(&mut self, command: &ShellCommand) {
        let bundled: Vec<usize> = self
            .names
            .iter()
            .filter(|(name, _)| BUNDLED_PREFIXES.iter().any(|p| name.starts_with(p)))
            .map(|(_, index)| *index)
            .collect();
        for index in bundled {
            self.effect(index, command.span, Effect::Bundle);
        }
    }

    fn baked_downloads(&mut self, index: usize) {
        if let Some(baked) = self.baked.get_mut(index) {
            baked.downloads = true;
        }
    }

    fn effect(&mut self, index: usize, span: Span, effect: Effect) {
        if let Some(baked) = self.baked.get_mut(index)
            && !baked.effects.iter().any(|(known, _)| *known == span)
        {
            baked.effects.push((span, effect));
        }
    }

    /// The arguments that a word of the Dockerfile refers to.
    fn referred(&self, text: &str) -> Vec<usize> {
        let mut found: Vec<usize> =
            variables(text).iter().filter_map(|n| self.names.get(n).copied()).collect();
        found.dedup();
        found
    }

    /// The arguments that a command refers to, in words, assignments and heredocs.
    fn referred_by(&self, command: &ShellCommand) -> Vec<usize> {
        // It replaces the variables that its argument lists, quoted from the shell, or all there are.
        if let Some(("envsubst", arguments)) = command.program() {
            let listed: Vec<&str> =
                arguments.iter().flat_map(|w| w.text.split(['$', '{', '}', ' ', ','])).collect();
            let takes = |name: &str| {
                listed.iter().all(|w| w.is_empty() || w.starts_with('-')) || listed.contains(&name)
            };
            let mut found: Vec<usize> =
                self.names.iter().filter(|(n, _)| takes(n)).map(|(_, index)| *index).collect();
            found.sort_unstable();
            found.dedup();
            return found;
        }
        let words =
            command.words.iter().chain(command.redirects.iter().map(|r| &r.target)).map(|w| w.raw.as_str());
        let assigned = command.assignments.iter().map(|(_, w)| w.raw.as_str());
        let bodies = command.redirects.iter().filter_map(|r| r.heredoc.as_deref());
        let mut found: Vec<usize> = words
            .chain(assigned)
            .flat_map(shell_variables)
            .chain(bodies.flat_map(shell_variables))
            .filter_map(|name| self.names.get(name).copied())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Variables of a word of the Dockerfile.
fn variables(text: &str) -> Vec<String> {
    Lexer::new('\\').expand(text, &NoVariables).map(|e| e.unset).unwrap_or_default()
}

/// Variables that a shell replaces: not in single quotes, not behind a backslash.
fn shell_variables(raw: &str) -> impl Iterator<Item = &str> {
    let mut single = false;
    let mut double = false;
    let mut escaped = false;
    raw.char_indices().filter_map(move |(at, c)| {
        if std::mem::take(&mut escaped) {
            return None;
        }
        match c {
            '\\' if !single => escaped = true,
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            '$' if !single => {
                let rest = raw.get(at + 1..)?;
                let rest = rest.strip_prefix('{').unwrap_or(rest);
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                return rest.get(..end).filter(|name| !name.is_empty());
            }
            _ => {}
        }
        None
    })
}

/// Files that a command writes.
fn targets(command: &ShellCommand, folder: Option<&str>, cwd: &str) -> Vec<String> {
    let folder = folder.unwrap_or(cwd);
    let path = |text: &str| match text.starts_with('/') {
        true => clean_str(text),
        false => clean_str(&format!("{folder}/{text}")),
    };
    let writes = |op: &str| matches!(op, ">" | ">>" | ">|" | "&>" | "&>>");
    let mut found: Vec<String> = command
        .redirects
        .iter()
        .filter(|r| writes(&r.op) && r.fd != Some(2))
        .map(|r| path(&r.target.text))
        .collect();
    let Some((name, arguments)) = command.program() else { return found };
    let operands = command::operands(arguments, &["-e", "--expression", "-f", "-t"]);
    let in_place = arguments.iter().any(|w| {
        w.text.starts_with("--in-place")
            || (w.text.starts_with('-') && !w.text.starts_with("--") && w.text.contains('i'))
    });
    match name {
        "tee" => found.extend(operands.iter().map(|w| path(&w.text))),
        // The last words are files; the first is the program, unless it stands behind an option.
        "sed" | "perl" | "yq" if in_place => found.extend(operands.last().map(|w| path(&w.text))),
        "cp" | "mv" | "ln" | "install" => found.extend(operands.last().map(|w| path(&w.text))),
        _ => {}
    }
    found
}

/// Whether a command runs a bundler, or a script named like one of its tasks.
fn is_bundler(command: &ShellCommand) -> bool {
    let Some((name, arguments)) = command.program() else { return false };
    let task = |w: &str| {
        let task = w.split(':').next().unwrap_or(w);
        matches!(task, "build" | "generate" | "export" | "bundle")
    };
    BUNDLERS.contains(&name) && (arguments.iter().any(|w| task(&w.text)) || matches!(name, "webpack"))
}

/// Whether a word of a command that refers to a variable is one by which the value gets into what it makes.
fn is_compiled_in(command: &ShellCommand) -> bool {
    let Some((name, arguments)) = command.program() else { return false };
    let options = COMPILED_OPTIONS.iter().find(|(program, _)| *program == name).map(|(_, options)| *options);
    let refers = |w: &str| shell_variables(w).next().is_some();
    options.is_some_and(|options| {
        arguments.iter().enumerate().any(|(n, w)| {
            let next = arguments.get(n + 1).map_or("", |w| w.raw.as_str());
            options
                .iter()
                .any(|o| w.text.starts_with(o) && (refers(&w.raw) || (w.text == *o && refers(next))))
        })
    })
}

/// What a name selects, if it selects a deployment.
fn deployment(name: &str) -> Option<Deployment> {
    let upper = name.to_ascii_uppercase();
    if is_about_the_build(&upper) {
        return None;
    }
    if BUNDLED_PREFIXES.iter().any(|p| upper.starts_with(p)) {
        return Some(Deployment::Bundled);
    }
    if ENVIRONMENT_NAMES.contains(&upper.as_str()) {
        return Some(Deployment::Environment);
    }
    let words: Vec<&str> = upper.split('_').filter(|w| !w.is_empty()).collect();
    let (last, before) = words.split_last()?;
    if matches!(*last, "ENV" | "ENVIRONMENT") && !before.iter().any(|w| MODE_WORDS.contains(w)) {
        return Some(Deployment::Environment);
    }
    if words.iter().any(|w| PLACE_WORDS.contains(w)) {
        return Some(Deployment::Place);
    }
    if ADDRESS_WORDS.contains(last) && before.iter().any(|w| SERVICE_WORDS.contains(w)) {
        return Some(Deployment::Address);
    }
    let first = words.first()?;
    let feature = (matches!(*first, "FEATURE" | "FF") && words.len() > 1) || before.ends_with(&["FEATURE"]);
    feature.then_some(Deployment::Feature)
}

/// Versions, sources of packages, the machine: what build arguments are for.
fn is_about_the_build(name: &str) -> bool {
    name.to_ascii_uppercase()
        .split('_')
        .any(|word| BUILD_WORDS.contains(&word) || word.starts_with("TARGET") && word.len() > 6)
}

fn finding(cx: &Cx<'_>, mut baked: Baked) -> Option<Finding> {
    baked.effects.sort_by_key(|(span, _)| *span);
    let (first, rest) = baked.effects.split_first()?;
    let name = &baked.name;
    let what = |effect: &Effect| match effect {
        Effect::Env(key) if key == name => "it becomes the environment of the image".to_owned(),
        Effect::Env(key) => format!("it becomes `{key}` in the environment of the image"),
        Effect::File => "it is written into a file of the image, or chooses one".to_owned(),
        Effect::Bundle => "it is compiled into what ships".to_owned(),
    };
    let happens = match &first.1 {
        Effect::Env(_) => "is fixed in the environment of the image",
        Effect::File => "decides what a file of the image holds",
        Effect::Bundle => "is compiled into what ships",
    };
    let message = format!(
        "`{name}` selects {}, and as a build argument it {happens}: every value needs an image of its own, and one that \
         is deployed elsewhere keeps the value it was built with",
        baked.kind.name()
    );
    let help = match &first.1 {
        Effect::Env(_) => format!(
            "leave `{name}` out of the Dockerfile and set it where the container starts (`docker run -e {name}=…`, the \
             environment of the service)"
        ),
        Effect::File => format!(
            "write the file when the container starts, from its environment: an entrypoint script that uses \
             `${{{name}:?}}` makes a missing value an error"
        ),
        Effect::Bundle => format!(
            "let the page read `{name}` when it is served, for example from a `/config.json` that the container writes \
             when it starts"
        ),
    };
    let lines: Vec<u32> = baked.effects.iter().map(|(span, _)| cx.line(*span)).collect();
    let mut finding = Finding::at(&RULE, cx, first.0, message)
        .label(what(&first.1))
        .also(baked.source.span, "given when the image is built")
        .help(help)
        .evidence("argument", name)
        .evidence("lines", lines);
    for (span, effect) in rest.iter().take(NAMED) {
        finding = finding.also(*span, what(effect));
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_deployments_are_told_from_names_of_the_build() {
        use Deployment::{Address, Bundled, Environment, Feature, Place};
        let cases = [
            ("MARKET", Some(Place)),
            ("AWS_REGION", Some(Place)),
            ("region", Some(Place)),
            ("APP_ENV", Some(Environment)),
            ("API_BASE_URL", Some(Address)),
            ("DATABASE_HOST", Some(Address)),
            ("FEATURE_CHECKOUT", Some(Feature)),
            ("VITE_API", Some(Bundled)),
            ("VITE_APP_VERSION", None),
            ("NODE_VERSION", None),
            ("TARGETARCH", None),
            ("HTTP_PROXY", None),
            ("NODE_ENV", None),
            ("PIP_INDEX_URL", None),
            ("TINI_URL", None),
            ("GIT_COMMIT", None),
            ("EGG_SERVER_ENV", Some(Environment)),
            ("AWS_EXECUTION_ENV", None),
            ("VIRTUAL_ENV", None),
            ("LOCALE", None),
            ("APP_HOME", None),
            ("FEATURES", None),
            ("MARKETPLACE_IMAGE", None),
        ];
        for (name, expected) in cases {
            assert_eq!(deployment(name), expected, "{name}");
        }
    }

    #[test]
    fn quotes_keep_a_variable_from_the_shell() {
        let names = |raw| shell_variables(raw).collect::<Vec<_>>();
        assert_eq!(names("\"s/X/$A/\"${B:-c}'$D'\\$E\"it's $F\""), ["A", "B", "F"]);
    }
}
