//! The commands of a RUN one by one, each with the directory and the variables it sees.
//!
//! Loops over a known list are run through; what a value depends on and is not known stays as written and is marked.
//! Nothing is executed: a variable set by a program, a sourced file or a base image is unknown.

use super::model::Run;
use super::state::State;
use crate::context::path::clean_str;
use crate::syntax::shell::{Connector, Script, ShellCommand, ShellWord};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Iterations of all loops of one RUN together; beyond, a loop is looked at once, with an unknown variable.
const MAX_ITERATIONS: usize = 512;
/// Variables that one RUN sets; those beyond are unknown.
const MAX_VARIABLES: usize = 256;

/// One execution of a command.
#[derive(Clone, Debug)]
pub struct Process<'s> {
    /// As written.
    pub command: &'s ShellCommand,
    /// Where it runs, absolute; `None` if a `cd` before it leads to an unknown place.
    pub cwd: Option<Rc<str>>,
    variables: Rc<HashMap<String, Value>>,
    state: &'s State,
}

/// What a word stands for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Value {
    /// The text; parts that are not known stand as written.
    pub text: String,
    /// Whether all of it is known.
    pub known: bool,
    /// Whether it holds wildcards that the shell would expand.
    pub glob: bool,
}

/// A path, or a pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathValue {
    /// Absolute and cleaned.
    pub path: String,
    /// Whether it holds wildcards.
    pub glob: bool,
    /// Whether it was written with a `/` at the end.
    pub slash: bool,
}

#[derive(Clone)]
struct Shell {
    depth: usize,
    cwd: Option<Rc<str>>,
    before: Option<Rc<str>>,
    variables: Rc<HashMap<String, Value>>,
}

/// The commands of a RUN in the order of their execution; none where no POSIX shell runs.
pub fn processes<'s>(run: &'s Run<'_>, state: &'s State) -> Vec<Process<'s>> {
    run.script().map(|script| of_script(script, state)).unwrap_or_default()
}

/// The commands of a script that starts in a state.
pub fn of_script<'s>(script: &'s Script, state: &'s State) -> Vec<Process<'s>> {
    let cwd = Some(Rc::from(clean_str(&state.cwd).as_str()));
    let shell = Shell { depth: 0, before: None, cwd, variables: Rc::default() };
    let mut follower = Follower { state, shells: vec![shell], out: Vec::new(), iterations: 0 };
    follower.follow(&script.commands, 0);
    follower.out
}

struct Follower<'s> {
    state: &'s State,
    shells: Vec<Shell>,
    out: Vec<Process<'s>>,
    iterations: usize,
}

impl<'s> Follower<'s> {
    /// Depth is that of loops in loops, which the parser bounds.
    fn follow(&mut self, commands: &'s [ShellCommand], depth: usize) {
        let mut at = 0;
        while let Some(first) = commands.get(at) {
            let Some(this) = first.loops.get(depth) else {
                self.one(first);
                at += 1;
                continue;
            };
            let same = |c: &&ShellCommand| c.loops.get(depth).is_some_and(|l| Arc::ptr_eq(l, this));
            let count = commands.iter().skip(at).take_while(same).count();
            let body = commands.get(at..at + count).unwrap_or_default();
            at += count;
            let here =
                Process { command: first, cwd: self.cwd(), variables: self.variables(), state: self.state };
            let values: Vec<Value> = this.values.iter().flat_map(|w| here.values(w)).collect();
            let iterations = values.len().max(1);
            let open = values.is_empty() || values.iter().any(|v| !v.known);
            if open || self.iterations + iterations > MAX_ITERATIONS {
                self.set(
                    &this.variable,
                    Value { text: format!("${{{}}}", this.variable), ..Value::default() },
                );
                self.follow(body, depth + 1);
                continue;
            }
            self.iterations += iterations;
            for value in values {
                self.set(&this.variable, value);
                self.follow(body, depth + 1);
            }
        }
    }

    fn cwd(&self) -> Option<Rc<str>> {
        self.shells.last().and_then(|s| s.cwd.clone())
    }

    fn variables(&self) -> Rc<HashMap<String, Value>> {
        self.shells.last().map(|s| s.variables.clone()).unwrap_or_default()
    }

    fn set(&mut self, name: &str, value: Value) {
        let Some(shell) = self.shells.last_mut() else { return };
        let full = shell.variables.len() >= MAX_VARIABLES;
        let variables = Rc::make_mut(&mut shell.variables);
        if full && !variables.contains_key(name) {
            return;
        }
        variables.insert(name.to_owned(), value);
    }

    fn one(&mut self, command: &'s ShellCommand) {
        while self.shells.len() > 1 && self.shells.last().is_some_and(|s| s.depth > command.subshell_depth) {
            self.shells.pop();
        }
        if let Some(shell) = self.shells.last().filter(|s| s.depth < command.subshell_depth) {
            let inner = Shell { depth: command.subshell_depth, ..shell.clone() };
            self.shells.push(inner);
        }
        let process = Process { command, cwd: self.cwd(), variables: self.variables(), state: self.state };
        self.effect(&process);
        self.out.push(process);
    }

    /// What a command changes for those behind it.
    fn effect(&mut self, process: &Process<'s>) {
        let command = process.command;
        if command.words.is_empty() {
            for (name, word) in &command.assignments {
                self.set(name, process.value(word));
            }
            return;
        }
        if command.connector == Connector::Pipe {
            // It runs in a shell of its own.
            return;
        }
        let Some((program, arguments)) = process.program() else { return };
        match program {
            "cd" | "pushd" => {
                let to = arguments.iter().find(|w| w.text == "-" || !w.text.starts_with('-'));
                let Some(shell) = self.shells.last_mut() else { return };
                let next = match to {
                    Some(w) if w.text == "-" => shell.before.clone(),
                    Some(w) => process.path(w).filter(|p| !p.glob).map(|p| Rc::from(p.path.as_str())),
                    None => None,
                };
                shell.before = std::mem::replace(&mut shell.cwd, next);
            }
            "popd" => {
                if let Some(shell) = self.shells.last_mut() {
                    shell.cwd = shell.before.take();
                }
            }
            "export" | "declare" | "typeset" | "readonly" | "local" => {
                for word in arguments {
                    let value = process.value(word);
                    if let Some((name, text)) = value.text.split_once('=') {
                        self.set(name, Value { text: text.to_owned(), ..value });
                    }
                }
            }
            "unset" => {
                for word in arguments {
                    self.set(&word.text, Value { known: true, ..Value::default() });
                }
            }
            "read" | "." | "source" => {
                for word in arguments.iter().filter(|_| program == "read") {
                    self.set(&word.text, Value { text: format!("${{{}}}", word.text), ..Value::default() });
                }
            }
            _ => {}
        }
        if let Some(last) = command.words.last() {
            self.set("_", process.value(last));
        }
    }
}

impl<'s> Process<'s> {
    /// The program without its folder, prefixes like `sudo` and `env` looked through, and its arguments.
    pub fn program(&self) -> Option<(&'s str, &'s [ShellWord])> {
        self.command.program()
    }

    /// Whether the program is reached through `xargs`, so that it has more arguments than are written.
    pub fn is_fed(&self) -> bool {
        let name = |w: &ShellWord| w.text.rsplit('/').next() == Some("xargs");
        let count = self.program().map_or(0, |(_, arguments)| arguments.len());
        let before = self.command.words.len().saturating_sub(count);
        self.command.words.iter().take(before).any(name)
    }

    /// What a word stands for.
    pub fn value(&self, word: &ShellWord) -> Value {
        if !word.expands {
            return Value { text: word.text.clone(), known: true, glob: word.glob };
        }
        let mut out = Value { text: String::new(), known: true, glob: word.glob };
        let mut rest = word.text.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            out.text.push_str(before);
            let (value, length) = self.expansion(after);
            let written = after.get(..length).unwrap_or_default();
            match value {
                Some(value) => {
                    out.text.push_str(&value.text);
                    out.known &= value.known;
                    // A loop over a pattern: each value is a file that it takes, quoted or not.
                    out.glob |= value.glob;
                }
                None => {
                    out.text.push('$');
                    out.text.push_str(written);
                    out.known = false;
                }
            }
            rest = after.get(length..).unwrap_or_default();
        }
        out.text.push_str(rest);
        out.known &= !rest.contains('`') && !out.text.contains('`');
        out
    }

    /// What a word stands for after its braces are multiplied out: `{a,b}/src`.
    pub fn values(&self, word: &ShellWord) -> Vec<Value> {
        let value = self.value(word);
        if word.quoted || !value.known || !value.text.contains('{') {
            return vec![value];
        }
        braces(&value.text).into_iter().map(|text| Value { text, ..value }).collect()
    }

    /// The value behind a `$`, and how many bytes name it.
    fn expansion(&self, after: &str) -> (Option<Value>, usize) {
        let name_end = |t: &str| t.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(t.len());
        if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = inner.find('}') else { return (None, after.len()) };
            let body = inner.get(..end).unwrap_or_default();
            let split = name_end(body);
            let (name, operator) =
                (body.get(..split).unwrap_or_default(), body.get(split..).unwrap_or_default());
            let value = self.variable(name);
            let default = operator.strip_prefix(":-").or_else(|| operator.strip_prefix('-'));
            let value = match (operator, default) {
                ("", _) => value,
                (_, Some(default)) if !default.contains(['$', '`']) => match value {
                    Some(v) if !v.text.is_empty() => Some(v),
                    // A base image might set it.
                    _ if self.state.unknown.env && !self.state.args.iter().any(|a| a == name) => None,
                    _ => Some(Value { text: default.to_owned(), known: true, glob: false }),
                },
                _ => None,
            };
            return (value, end + 2);
        }
        if let Some(inner) = after.strip_prefix('(') {
            let mut depth = 1usize;
            let end = inner.char_indices().find_map(|(at, c)| {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                (depth == 0).then_some(at)
            });
            let Some(end) = end else { return (None, after.len()) };
            let value = match inner.get(..end).map(str::trim) {
                Some("pwd") => {
                    self.cwd.as_ref().map(|c| Value { text: c.to_string(), known: true, glob: false })
                }
                _ => None,
            };
            return (value, end + 2);
        }
        let end = name_end(after);
        match after.get(..end) {
            Some("") | None => (None, after.chars().next().map_or(0, char::len_utf8)),
            Some(name) => (self.variable(name), end),
        }
    }

    /// A variable, if it is known whether it is set.
    pub fn variable(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.variables.get(name) {
            return Some(value.clone());
        }
        if let Some((_, text)) = self.state.env.iter().rev().find(|(k, _)| k == name) {
            return Some(Value { text: text.clone(), known: true, glob: false });
        }
        match (name, &self.cwd) {
            ("PWD", Some(cwd)) => Some(Value { text: cwd.to_string(), known: true, glob: false }),
            _ => None,
        }
    }

    /// The variables that the program gets and that `wanted` names, those in front of the command included.
    pub fn environment(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let mut out: HashMap<String, String> = HashMap::new();
        for (name, text) in self.state.env.iter().filter(|(k, _)| wanted(k)) {
            out.insert(name.clone(), text.clone());
        }
        for (name, value) in self.variables.iter().filter(|(k, _)| wanted(k)) {
            out.insert(name.clone(), value.text.clone());
        }
        for (name, word) in self.command.assignments.iter().filter(|(k, _)| wanted(k)) {
            out.insert(name.clone(), self.value(word).text);
        }
        let count = self.program().map_or(0, |(_, arguments)| arguments.len() + 1);
        let before = self.command.words.len().saturating_sub(count);
        for word in self.command.words.iter().take(before) {
            let value = self.value(word);
            if let Some((name, text)) = value.text.split_once('=').filter(|(k, _)| wanted(k)) {
                out.insert(name.to_owned(), text.to_owned());
            }
        }
        let mut out: Vec<_> = out.into_iter().collect();
        out.sort();
        out
    }

    /// A path as it is from the root, if it is known.
    pub fn path(&self, word: &ShellWord) -> Option<PathValue> {
        self.absolute(&self.value(word))
    }

    /// The paths of a word with braces; `None` if one is not known.
    pub fn paths(&self, word: &ShellWord) -> Option<Vec<PathValue>> {
        self.values(word).iter().map(|v| self.absolute(v)).collect()
    }

    /// A text of this command as a path from the root.
    pub fn absolute(&self, value: &Value) -> Option<PathValue> {
        let text = value.text.as_str();
        // `{}` is what `find -exec` and `xargs -I{}` put in.
        if !value.known || text.is_empty() || text.starts_with('~') || text.contains("{}") {
            return None;
        }
        let path = match (text.starts_with('/'), &self.cwd) {
            (true, _) => clean_str(text),
            (false, Some(cwd)) => clean_str(&format!("{cwd}/{text}")),
            (false, None) => return None,
        };
        Some(PathValue { path, glob: value.glob, slash: text.ends_with('/') })
    }
}

/// Multiplies out `{a,b}`; a brace without a comma stays. At most 64 texts.
fn braces(text: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    while let Some(text) = open.pop() {
        let group = text.match_indices('{').find_map(|(at, _)| {
            let inner = text.get(at + 1..)?;
            let end = inner.find(['{', '}']).filter(|e| inner.get(*e..*e + 1) == Some("}"))?;
            let inner = inner.get(..end).filter(|i| i.contains(','))?;
            Some((at, inner.to_owned(), at + end + 2))
        });
        match group {
            Some((start, inner, end)) if open.len() + done.len() < 64 => {
                let (head, tail) =
                    (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
                open.extend(inner.split(',').rev().map(|part| format!("{head}{part}{tail}")));
            }
            _ => done.push(text),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::model::{Action, BuildModel};
    use crate::image::Images;
    use crate::invoke::Invocation;
    use crate::stage::StageGraph;

    /// `cwd: word word` of every command of the last RUN; unknown words in angle brackets.
    fn run(dockerfile: &str) -> Vec<String> {
        let document = crate::syntax::parse(dockerfile.as_bytes());
        let build = Invocation::default();
        let graph = StageGraph::new(&document, &build);
        let images = Images::default();
        let model = BuildModel::new(&graph, &build, &images);
        let step = model.steps().last().expect("a step");
        let Action::Run(run) = &step.action else { panic!("no RUN") };
        let shown = |p: &Process<'_>, w: &ShellWord| {
            let one = |v: Value| if v.known { v.text } else { format!("<{}>", v.text) };
            p.values(w).into_iter().map(one).collect::<Vec<_>>().join(" ")
        };
        processes(run, &step.state)
            .iter()
            .map(|p| {
                let words: Vec<String> = p.command.words.iter().map(|w| shown(p, w)).collect();
                format!("{}: {}", p.cwd.as_deref().unwrap_or("?"), words.join(" "))
            })
            .collect()
    }

    #[test]
    fn cd_lasts_as_long_as_its_shell() {
        assert_eq!(
            run("FROM a\nWORKDIR /w\nRUN cd x && (cd y && a) && b; cd $Z && c"),
            ["/w: cd x", "/w/x: cd y", "/w/x/y: a", "/w/x: b", "/w/x: cd <$Z>", "?: c"]
        );
    }

    #[test]
    fn loops_over_known_lists_are_run_through() {
        assert_eq!(
            run(
                "FROM a\nWORKDIR /w\nRUN for m in a b; do mkdir -p $m/src; x ${m}.rs; done; for i in $L; do y $i; done"
            ),
            ["/w: mkdir -p a/src", "/w: x a.rs", "/w: mkdir -p b/src", "/w: x b.rs", "/w: y <${i}>"]
        );
    }

    #[test]
    fn variables_come_from_instructions_and_from_the_script() {
        let text =
            "FROM a\nARG P=release\nENV D=/t\nRUN A=1; echo $A $P ${D}/x ${Q:-q} $HOME $(pwd) && B=2 c $B";
        let commands = run(text);
        assert_eq!(commands.get(1).unwrap(), "/: echo 1 release /t/x <${Q:-q}> <$HOME> /");
        assert_eq!(commands.last().unwrap(), "/: c <$B>");
        let text = "FROM a\nRUN mkdir -p /x/src && touch $_/main.rs";
        assert_eq!(run(text).get(1).unwrap(), "/: touch /x/src/main.rs");
    }

    #[test]
    fn braces_multiply() {
        assert_eq!(braces("{a,b}/{c,d}"), ["a/c", "a/d", "b/c", "b/d"]);
        assert_eq!(braces("x{}y"), ["x{}y"]);
        assert!(braces(&"{a,b}".repeat(40)).len() <= 130);
    }
}
