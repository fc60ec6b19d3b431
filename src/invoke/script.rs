//! Scripts of build files: which commands run, in which directory, with which variables. A variable that is set under a
//! condition or by a program is unknown; a loop over known words is run through.

use super::call::{Deeds, Value, join};
use crate::source::SourceFile;
use crate::syntax::LogicalText;
use crate::syntax::shell::{self, ForLoop, ShellCommand, ShellWord};
use std::collections::HashMap;
use std::sync::Arc;

/// Executions of all commands of a script; a loop beyond is looked at once.
const MAX_COMMANDS: usize = 4_000;
/// Iterations of the loops around one command.
const MAX_ITERATIONS: usize = 64;

/// What a script begins with.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// The directory, relative to the root; `None` if unknown.
    pub folder: Option<String>,
    /// Variables; the last one of a name counts.
    pub variables: Vec<(String, Value)>,
}

/// The commands of a script, in order.
pub(super) fn commands(
    file: usize,
    source: &SourceFile,
    text: &LogicalText,
    surroundings: &Surroundings,
) -> (Vec<Deeds>, Surroundings) {
    let script = shell::parse(text);
    let mut state = State {
        folders: vec![surroundings.folder.clone()],
        variables: surroundings.variables.clone(),
        shared: None,
    };
    let mut out: Vec<Deeds> = Vec::new();
    let mut before: Option<&ShellCommand> = None;
    for command in &script.commands {
        if let Some(before) = before {
            let between = Span2(before.span.end, command.span.start).of(source);
            // `(cd a && x); (cd b && y)`: the second subshell knows nothing of the first.
            if between.contains(&b')') {
                state.folders.truncate(command.subshell_depth.max(1));
            }
        }
        before = Some(command);
        state.enter(command.subshell_depth);
        for row in iterations(&command.loops, &state.variables) {
            if out.len() >= MAX_COMMANDS {
                break;
            }
            let variables = if row.is_empty() && command.assignments.is_empty() {
                state.shared()
            } else {
                let mut own = state.variables.clone();
                own.extend(row);
                if !command.words.is_empty() {
                    own.extend(
                        command
                            .assignments
                            .iter()
                            .map(|(n, w)| (n.clone(), fill(&w.text, w.expands, &state.variables))),
                    );
                }
                Arc::new(own)
            };
            let folder = state.folders.last().cloned().flatten();
            out.push(Deeds { file, command: command.clone(), folder, variables });
        }
        state.follow(command);
    }
    let folder = state.folders.first().cloned().flatten();
    (out, Surroundings { folder, variables: state.variables })
}

struct Span2(u32, u32);

impl Span2 {
    fn of<'s>(&self, source: &'s SourceFile) -> &'s [u8] {
        source.bytes.get(self.0 as usize..self.1 as usize).unwrap_or_default()
    }
}

struct State {
    /// The directory of the shell and of the subshells that are open.
    folders: Vec<Option<String>>,
    variables: Vec<(String, Value)>,
    shared: Option<Arc<Vec<(String, Value)>>>,
}

impl State {
    fn enter(&mut self, depth: usize) {
        self.folders.truncate(depth + 1);
        while self.folders.len() <= depth {
            let inner = self.folders.last().cloned().flatten();
            self.folders.push(inner);
        }
    }

    fn shared(&mut self) -> Arc<Vec<(String, Value)>> {
        self.shared.get_or_insert_with(|| Arc::new(self.variables.clone())).clone()
    }

    fn set(&mut self, name: &str, value: Value) {
        self.shared = None;
        self.variables.retain(|(n, _)| n != name);
        self.variables.push((name.to_owned(), value));
    }

    /// What a command changes for those behind it.
    fn follow(&mut self, command: &ShellCommand) {
        let sure = !command.conditional;
        let value = |word: &ShellWord, variables: &[(String, Value)], name: &str| match fill(
            &word.text,
            word.expands,
            variables,
        ) {
            Value::Known(text) if sure => Value::Known(text),
            Value::Unknown(text) if sure => Value::Unknown(text),
            _ => Value::Unknown(format!("${name}")),
        };
        if command.words.is_empty() {
            for (name, word) in &command.assignments {
                let value = value(word, &self.variables, name);
                self.set(name, value);
            }
            return;
        }
        let Some((program, arguments)) = command.program() else { return };
        match program {
            "cd" | "pushd" => {
                let target = arguments.iter().find(|w| !w.text.starts_with('-'));
                let current = self.folders.last().cloned().flatten();
                let next = match (target.map(|w| fill(&w.text, w.expands, &self.variables)), current) {
                    (Some(Value::Known(path)), Some(folder)) if sure => Some(join(&folder, &path)),
                    (Some(Value::Known(path)), None) if sure && path.starts_with('/') => Some(path),
                    _ => None,
                };
                if let Some(last) = self.folders.last_mut() {
                    *last = next;
                }
            }
            "popd" => {
                if let Some(last) = self.folders.last_mut() {
                    *last = None;
                }
            }
            "export" | "declare" | "local" | "readonly" | "typeset" => {
                for word in arguments {
                    if let Some((name, text)) = word.text.split_once('=') {
                        let inner = ShellWord { text: text.to_owned(), ..word.clone() };
                        let value = value(&inner, &self.variables, name);
                        self.set(name, value);
                    }
                }
            }
            "read" => {
                for word in arguments.iter().filter(|w| !w.text.starts_with('-')) {
                    self.set(&word.text, Value::Unknown(format!("${}", word.text)));
                }
            }
            _ => {}
        }
    }
}

/// The values of the variables of all loops around a command, one row an iteration.
fn iterations(loops: &[Arc<ForLoop>], variables: &[(String, Value)]) -> Vec<Vec<(String, Value)>> {
    let mut rows: Vec<Vec<(String, Value)>> = vec![Vec::new()];
    for each in loops {
        let mut values: Vec<Value> = Vec::new();
        for word in &each.values {
            match fill(&word.text, word.expands, variables) {
                Value::Known(text) if !word.glob && !word.quoted => {
                    values.extend(text.split_whitespace().map(|part| Value::Known(part.to_owned())));
                }
                Value::Known(text) if !word.glob => values.push(Value::Known(text)),
                _ => values.push(Value::Unknown(format!("${}", each.variable))),
            }
        }
        if values.is_empty() || rows.len() * values.len() > MAX_ITERATIONS {
            values = vec![Value::Unknown(format!("${}", each.variable))];
        }
        rows = rows
            .iter()
            .flat_map(|row| values.iter().map(move |value| (row, value)))
            .map(|(row, value)| {
                let mut row = row.clone();
                row.push((each.variable.clone(), value.clone()));
                row
            })
            .collect();
    }
    rows
}

/// Fills variables in: `$NAME`, `${NAME}`, `${NAME:-default}`. What is not known stays as written.
pub(super) fn fill(text: &str, expands: bool, variables: &[(String, Value)]) -> Value {
    if !expands || !text.contains(['$', '`']) {
        return if expands && text.contains('`') {
            Value::Unknown(text.to_owned())
        } else {
            Value::Known(text.to_owned())
        };
    }
    let mut known = true;
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '`']) {
        out.push_str(rest.get(..at).unwrap_or_default());
        let tail = rest.get(at..).unwrap_or_default();
        let length = reference_length(tail);
        let reference = tail.get(..length).unwrap_or(tail);
        rest = tail.get(length..).unwrap_or_default();
        if reference == "$" {
            out.push('$');
            continue;
        }
        match look_up(reference, variables) {
            Value::Known(value) => out.push_str(&value),
            Value::Unknown(value) => {
                known = false;
                out.push_str(&value);
            }
        }
    }
    out.push_str(rest);
    if known { Value::Known(out) } else { Value::Unknown(out) }
}

/// How long the reference is that a text begins with.
fn reference_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let closing = |open: u8, close: u8| {
        let mut depth = 0_usize;
        for (at, byte) in bytes.iter().enumerate().skip(1) {
            if *byte == open {
                depth += 1;
            } else if *byte == close {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
        }
        bytes.len()
    };
    match bytes.get(..2) {
        Some(b"${") => closing(b'{', b'}'),
        Some(b"$(") => closing(b'(', b')'),
        _ if bytes.first() == Some(&b'`') => {
            bytes.iter().skip(1).position(|b| *b == b'`').map_or(bytes.len(), |n| n + 2)
        }
        _ => 1 + bytes.iter().skip(1).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count(),
    }
}

fn look_up(reference: &str, variables: &[(String, Value)]) -> Value {
    let unknown = || Value::Unknown(reference.to_owned());
    let of = |name: &str| variables.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let Some(inner) = reference.strip_prefix("${").map(|r| r.strip_suffix('}').unwrap_or(r)) else {
        return match reference.strip_prefix('$') {
            Some(name) if !name.starts_with('(') => of(name).unwrap_or_else(unknown),
            _ => unknown(),
        };
    };
    let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
    let (name, operator) = inner.split_at(end);
    match (of(name), operator) {
        (Some(value), "") => value,
        (Some(Value::Known(text)), o) if o.starts_with(":-") && !text.is_empty() => Value::Known(text),
        (Some(value @ Value::Known(_)), o) if o.starts_with('-') => value,
        // Nobody sets it here; the environment may.
        (None, o) if o.starts_with(":-") && !o.contains(['$', '`']) => {
            Value::Known(o.trim_start_matches(":-").to_owned())
        }
        (None, o) if o.starts_with('-') && !o.contains(['$', '`']) => {
            Value::Known(o.trim_start_matches('-').to_owned())
        }
        _ => unknown(),
    }
}

/// A script with the expressions of a CI system in it: each becomes a reference to a variable with its value, so that
/// the shell's grammar is not disturbed.
pub(super) fn without_expressions(
    text: &LogicalText,
    mut value: impl FnMut(&str) -> Value,
) -> (LogicalText, Vec<(String, Value)>) {
    let joined = text.to_str().into_owned();
    if !joined.contains("${{") || joined.len() != text.bytes.len() {
        return (text.clone(), Vec::new());
    }
    let mut out = LogicalText::new();
    out.push(&[], text.file_offset(0));
    let mut variables = Vec::new();
    let mut names: HashMap<String, String> = HashMap::new();
    let mut at = 0;
    while let Some(start) = joined.get(at..).and_then(|rest| rest.find("${{")).map(|n| at + n) {
        let end =
            joined.get(start..).and_then(|rest| rest.find("}}")).map_or(joined.len(), |n| start + n + 2);
        out.extend(&text.slice(at..start));
        let written = joined.get(start..end).unwrap_or_default();
        let found = value(written);
        match &found {
            // What is known is put in as it is, as the CI system does.
            Value::Known(known) => out.push(known.as_bytes(), text.file_offset(start)),
            Value::Unknown(_) => {
                let next = format!("EXPRESSION_{}", names.len());
                let name = names.entry(written.to_owned()).or_insert(next).clone();
                out.push(format!("${{{name}}}").as_bytes(), text.file_offset(start));
                variables.push((name, found));
            }
        }
        at = end;
    }
    out.extend(&text.slice(at..joined.len()));
    (out, variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let source = SourceFile::from_bytes("x", text);
        let mut logical = LogicalText::new();
        logical.push(text.as_bytes(), 0);
        let variables =
            variables.iter().map(|(n, v)| ((*n).to_owned(), Value::Known((*v).to_owned()))).collect();
        let (deeds, _) =
            commands(0, &source, &logical, &Surroundings { folder: Some(".".into()), variables });
        let show = |d: &Deeds| {
            let words: Vec<String> = d
                .command
                .words
                .iter()
                .map(|w| match d.value(w) {
                    Value::Known(text) => text,
                    Value::Unknown(text) => format!("?{text}"),
                })
                .collect();
            format!("{}: {}", d.folder.as_deref().unwrap_or("?"), words.join(" "))
        };
        deeds.iter().filter(|d| !d.command.words.is_empty()).map(show).collect()
    }

    #[test]
    fn variables_and_directories_are_followed() {
        assert_eq!(
            read("A=b; cd x/$A && docker build $A ${C:-d} $E $(f)\n", &[]),
            [".: cd x/b", "x/b: docker build b d ?$E ?$(f)", "x/b: f"]
        );
        assert_eq!(read("if x; then A=b; fi; y $A", &[("A", "a")])[1..], [".: y ?$A"]);
        assert_eq!(read("(cd a && b)\n(cd c && d)\ne", &[]), [".: cd a", "a: b", ".: cd c", "c: d", ".: e"]);
    }

    #[test]
    fn loops_over_known_words_are_run_through() {
        assert_eq!(read("for i in a b; do x $i; done", &[]), [".: x a", ".: x b"]);
        assert_eq!(read("for i in $(ls); do x $i; done", &[]).last().map(String::as_str), Some(".: x ?$i"));
    }

    #[test]
    fn expressions_of_a_ci_system_do_not_disturb_the_shell() {
        let text = "docker build -t ${{ github.sha }} ${{ matrix.dir }}";
        let mut logical = LogicalText::new();
        logical.push(text.as_bytes(), 0);
        let (clean, variables) = without_expressions(&logical, |e| match e {
            "${{ matrix.dir }}" => Value::Known("api".into()),
            other => Value::Unknown(other.to_owned()),
        });
        assert_eq!(clean.to_str(), "docker build -t ${EXPRESSION_0} api");
        assert_eq!(variables.len(), 1);
        assert_eq!(fill("${EXPRESSION_0}", true, &variables), Value::Unknown("${{ github.sha }}".into()));
    }
}
