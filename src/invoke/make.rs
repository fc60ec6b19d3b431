//! Makefiles and justfiles, as far as it takes to know which commands run before a build: targets, prerequisites,
//! recipes, plain variables. Functions and conditionals of make are not evaluated.

use super::call::{Job, Lifetime, Value};
use super::project::Reader;
use super::script::{self, Surroundings};
use crate::source::{SourceFile, Span};
use crate::syntax::LogicalText;
use std::collections::HashMap;

/// Prerequisites of prerequisites.
const MAX_DEPTH: usize = 32;
/// Variables inside variables.
const MAX_EXPANSIONS: usize = 16;
/// Targets whose recipes are followed.
const MAX_TARGETS: usize = 500;

/// A target with its recipe.
#[derive(Debug)]
struct Rule {
    names: Vec<String>,
    needs: Vec<String>,
    span: Span,
    /// Lines that run in a shell each, or one script.
    recipe: Vec<LogicalText>,
}

/// A file that was read.
#[derive(Debug, Default)]
struct Rules {
    rules: Vec<Rule>,
    variables: Vec<(String, String)>,
}

/// Reads a Makefile or a justfile.
pub(super) fn read(reader: &mut Reader, file: usize, just: bool) {
    let source = reader.source(file);
    let rules = if just { justfile(&source) } else { makefile(&source) };
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (number, rule) in rules.rules.iter().enumerate() {
        for name in &rule.names {
            // Of two rules for one name the one with a recipe counts.
            let known = by_name.get(name.as_str()).and_then(|n| rules.rules.get(*n));
            if known.is_none_or(|k| k.recipe.is_empty()) {
                by_name.insert(name, number);
            }
        }
    }
    let variables: Vec<(String, Value)> = rules
        .variables
        .iter()
        .map(|(name, value)| {
            let value = match value.contains('$') {
                true => Value::Unknown(format!("${{{name}}}")),
                false => Value::Known(value.clone()),
            };
            (name.clone(), value)
        })
        .collect();
    for (number, rule) in rules.rules.iter().enumerate().take(MAX_TARGETS) {
        if reader.is_full() {
            return;
        }
        let builds = |rule: &Rule| rule.recipe.iter().any(|line| mentions_build(&line.bytes));
        if !builds(rule) {
            continue;
        }
        let mut order = Vec::new();
        needed(&rules, &by_name, number, &mut Vec::new(), &mut order);
        let job = reader.job(Job {
            file,
            name: rule.names.first().cloned().unwrap_or_default(),
            span: rule.span,
            machine: (Lifetime::Lasting, rule.span),
            builder: None,
            keeps_mounts: false,
            row: Vec::new(),
            open_matrix: false,
            deeds: Vec::new(),
        });
        for step in order {
            let Some(each) = rules.rules.get(step) else { continue };
            for line in &each.recipe {
                let mut variables = variables.clone();
                variables.push((
                    "MAKE_TARGET".to_owned(),
                    Value::Known(each.names.first().cloned().unwrap_or_default()),
                ));
                let state = Surroundings { folder: Some(".".to_owned()), variables };
                let (deeds, _) = script::commands(file, &source, line, &state);
                // What prerequisites build is their own affair.
                if step == number {
                    reader.follow(deeds, job, |_| {});
                } else {
                    reader.note(deeds, job);
                }
            }
        }
    }
}

/// Whether a line may build an image.
fn mentions_build(line: &[u8]) -> bool {
    let has = |word: &str| memchr_find(line, word.as_bytes());
    ["docker", "podman", "buildah", "nerdctl", "DOCKER"].iter().any(|w| has(w))
        && (has("build") || has("bake") || has("compose"))
}

pub(super) fn memchr_find(text: &[u8], word: &[u8]) -> bool {
    bstr::ByteSlice::find(text, word).is_some()
}

/// A rule and those it needs, in the order in which they run.
fn needed(
    rules: &Rules,
    by_name: &HashMap<&str, usize>,
    number: usize,
    above: &mut Vec<usize>,
    out: &mut Vec<usize>,
) {
    if above.len() >= MAX_DEPTH || above.contains(&number) || out.contains(&number) {
        return;
    }
    above.push(number);
    if let Some(rule) = rules.rules.get(number) {
        for need in &rule.needs {
            if let Some(other) = by_name.get(need.as_str()) {
                needed(rules, by_name, *other, above, out);
            }
        }
    }
    above.pop();
    out.push(number);
}

/// Lines with their places, line ends excluded.
fn physical(source: &SourceFile) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    source.bytes.split(|b| *b == b'\n').map(move |line| {
        let start = at;
        at += line.len() + 1;
        (start, line.strip_suffix(b"\r").unwrap_or(line))
    })
}

fn makefile(source: &SourceFile) -> Rules {
    let mut rules = Rules::default();
    let mut continued = false;
    let mut in_define = false;
    let mut raw: Vec<(usize, LogicalText)> = Vec::new();
    let mut lines = physical(source);
    while let Some((start, line)) = lines.next() {
        let recipe = line.first() == Some(&b'\t') && !rules.rules.is_empty();
        if continued || recipe {
            // The tab belongs to make.
            let skip = usize::from(line.first() == Some(&b'\t'));
            if !continued {
                raw.push((rules.rules.len() - 1, LogicalText::new()));
            }
            continued = line.ends_with(b"\\");
            if let Some((_, text)) = raw.last_mut() {
                text.push(line.get(skip..).unwrap_or_default(), start + skip);
                if continued {
                    text.push(b"\n", start + line.len());
                }
            }
            if let Some(rule) = rules.rules.last_mut() {
                rule.span.end = Span::new(start, start + line.len()).end;
            }
            continue;
        }
        // A line outside of recipes, with its continuations.
        let mut text = String::from_utf8_lossy(line).into_owned();
        let mut end = start + line.len();
        while text.ends_with('\\') {
            text.pop();
            let Some((more, next)) = lines.next() else { break };
            text.push(' ');
            text.push_str(String::from_utf8_lossy(next).trim());
            end = more + next.len();
        }
        let plain = text.split(" #").next().unwrap_or_default().trim_end().to_owned();
        let trimmed = plain.trim_start();
        if in_define {
            in_define = !trimmed.starts_with("endef");
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if trimmed.starts_with("define ") {
            in_define = true;
            continue;
        }
        if let Some((name, value)) = assignment(trimmed) {
            let value = expand(&value, &rules.variables, "");
            rules.variables.retain(|(n, _)| *n != name);
            rules.variables.push((name, value));
            continue;
        }
        let expanded = expand(&plain, &rules.variables, "");
        let Some((targets, rest)) = expanded.split_once(':') else { continue };
        if targets.starts_with(char::is_whitespace)
            || ["include", "-include", "ifeq", "ifneq", "ifdef", "else", "endif"]
                .iter()
                .any(|w| targets.starts_with(w))
        {
            continue;
        }
        let rest = rest.trim_start_matches([':', '&']);
        let (needs, inline) = match rest.split_once(';') {
            Some((needs, inline)) => (needs, Some(inline.trim().to_owned())),
            None => (rest, None),
        };
        let words = |text: &str| text.split_whitespace().filter(|w| *w != "|").map(str::to_owned).collect();
        rules.rules.push(Rule {
            names: words(targets),
            needs: words(needs),
            span: Span::new(start, end),
            recipe: Vec::new(),
        });
        if let Some(inline) = inline {
            let mut text = LogicalText::new();
            let at = plain.find(&inline).unwrap_or(0);
            text.push(inline.as_bytes(), start + at);
            raw.push((rules.rules.len() - 1, text));
        }
    }
    for (number, text) in raw {
        let target = rules.rules.get(number).and_then(|r| r.names.first().cloned()).unwrap_or_default();
        let text = recipe_line(&text, &rules.variables, &target);
        if let Some(rule) = rules.rules.get_mut(number) {
            rule.recipe.push(text);
        }
    }
    rules
}

/// `NAME := value`, `export NAME ?= value`.
fn assignment(line: &str) -> Option<(String, String)> {
    let line =
        line.strip_prefix("export ").or_else(|| line.strip_prefix("override ")).unwrap_or(line).trim_start();
    let at = line.find('=')?;
    let (name, value) = (line.get(..at)?, line.get(at + 1..)?);
    let name = name.trim_end_matches([':', '?', '+', '!']).trim();
    let plain =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    plain.then(|| (name.to_owned(), value.trim().to_owned()))
}

/// Fills make's variables in; what is not known stays as written.
fn expand(text: &str, variables: &[(String, String)], target: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..MAX_EXPANSIONS {
        let (next, changed) = expand_once(&text, variables, target);
        if !changed || next.len() > 1 << 16 {
            return next;
        }
        text = next;
    }
    text
}

fn expand_once(text: &str, variables: &[(String, String)], target: &str) -> (String, bool) {
    let mut out = String::new();
    let mut changed = false;
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let tail = rest.get(at..).unwrap_or_default();
        let mut chars = tail.chars().skip(1);
        let length = match chars.next() {
            Some('$') => 2,
            Some(open @ ('(' | '{')) => {
                let close = if open == '(' { ')' } else { '}' };
                let mut depth = 0_usize;
                let found = tail.char_indices().skip(1).find_map(|(i, c)| {
                    depth = if c == open {
                        depth + 1
                    } else if c == close {
                        depth - 1
                    } else {
                        depth
                    };
                    (depth == 0).then_some(i + c.len_utf8())
                });
                found.unwrap_or(tail.len())
            }
            Some(c) => 1 + c.len_utf8(),
            None => 1,
        };
        let reference = tail.get(..length).unwrap_or(tail);
        rest = tail.get(length..).unwrap_or_default();
        let name =
            reference.trim_start_matches('$').trim_start_matches(['(', '{']).trim_end_matches([')', '}']);
        let value = variables.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        match value {
            _ if reference == "$@" && !target.is_empty() => out.push_str(target),
            Some(value) if reference != "$$" => {
                changed = true;
                out.push_str(value);
            }
            _ => out.push_str(reference),
        }
    }
    out.push_str(rest);
    (out, changed)
}

/// A line of a recipe as the shell gets it, with places.
fn recipe_line(text: &LogicalText, variables: &[(String, String)], target: &str) -> LogicalText {
    let joined = text.to_str().into_owned();
    let mut out = LogicalText::new();
    if joined.len() != text.bytes.len() {
        return text.clone();
    }
    let skip = joined.len() - joined.trim_start_matches(['@', '-', '+', ' ', '\t']).len();
    out.push(&[], text.file_offset(skip));
    let mut at = skip;
    while let Some(start) = joined.get(at..).and_then(|rest| rest.find('$')).map(|n| at + n) {
        out.extend(&text.slice(at..start));
        let tail = joined.get(start..).unwrap_or_default();
        let length = match tail.as_bytes().get(1) {
            Some(b'$') => {
                out.push(b"$", text.file_offset(start));
                at = start + 2;
                continue;
            }
            Some(open @ (b'(' | b'{')) => {
                let close = if *open == b'(' { b')' } else { b'}' };
                let mut depth = 0_usize;
                let end = tail.bytes().enumerate().skip(1).find_map(|(i, b)| {
                    depth = if b == *open {
                        depth + 1
                    } else if b == close {
                        depth - 1
                    } else {
                        depth
                    };
                    (depth == 0).then_some(i + 1)
                });
                end.unwrap_or(tail.len())
            }
            Some(_) => 1 + tail.chars().nth(1).map_or(0, char::len_utf8),
            None => 1,
        };
        let reference = tail.get(..length).unwrap_or(tail);
        let filled = expand(reference, variables, target);
        let inner = filled.trim_start_matches("$(").trim_end_matches(')');
        let place = text.file_offset(start);
        if let Some(command) = inner.strip_prefix("shell ").filter(|_| filled.starts_with("$(")) {
            out.push(format!("$({command})").as_bytes(), place);
        } else if filled.contains('$') {
            // Make's own functions and variables that nobody sets: unknown to the shell as well.
            let name: String =
                inner.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
            let name = if name.is_empty() { "MAKE_AUTOMATIC".to_owned() } else { name };
            out.push(format!("${{{name}}}").as_bytes(), place);
        } else {
            out.push(filled.as_bytes(), place);
        }
        at = start + length;
    }
    out.extend(&text.slice(at..joined.len()));
    out
}

fn justfile(source: &SourceFile) -> Rules {
    let mut rules = Rules::default();
    let mut bodies: Vec<(usize, usize, Vec<u8>)> = Vec::new();
    for (start, line) in physical(source) {
        let indented = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
        if indented && !rules.rules.is_empty() {
            bodies.push((rules.rules.len() - 1, start, line.to_vec()));
            if let Some(rule) = rules.rules.last_mut() {
                rule.span.end = Span::new(start, start + line.len()).end;
            }
            continue;
        }
        let text = String::from_utf8_lossy(line).into_owned();
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', '[']) {
            continue;
        }
        if let Some((name, value)) = trimmed.split_once(":=") {
            let name = name.trim().trim_start_matches("export ").trim();
            let value = value.trim();
            let literal = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
            let value = literal.map_or_else(|| format!("${name}"), str::to_owned);
            rules.variables.push((name.to_owned(), value));
            continue;
        }
        let Some((head, needs)) = trimmed.split_once(':') else { continue };
        let Some(name) = head.trim_start_matches('@').split_whitespace().next() else { continue };
        let clean = |w: &str| w.trim_matches(['(', ')']).to_owned();
        rules.rules.push(Rule {
            names: vec![name.to_owned()],
            needs: needs.split_whitespace().filter(|w| *w != "&&").map(clean).collect(),
            span: Span::new(start, start + line.len()),
            recipe: Vec::new(),
        });
    }
    let variables = rules.variables.clone();
    let mut at = 0;
    while let Some((number, _, first)) = bodies.get(at) {
        let number = *number;
        let mine = bodies.iter().skip(at).take_while(|(n, ..)| *n == number).count();
        let script = String::from_utf8_lossy(first).trim_start().starts_with("#!");
        let mut text = LogicalText::new();
        let mut texts = Vec::new();
        for (_, start, line) in bodies.iter().skip(at).take(mine) {
            let indent = line.len() - bstr::ByteSlice::trim_start(line.as_slice()).len();
            just_line(&mut text, line.get(indent..).unwrap_or_default(), start + indent, script, &variables);
            if script || line.ends_with(b"\\") {
                text.push(b"\n", start + line.len());
            } else {
                texts.push(std::mem::take(&mut text));
            }
        }
        texts.push(text);
        if let Some(rule) = rules.rules.get_mut(number) {
            rule.recipe.extend(texts.into_iter().filter(|t| !t.bytes.is_empty()));
        }
        at += mine.max(1);
    }
    rules
}

/// One line of a recipe: `{{name}}` is filled in, `@` and `-` at the beginning belong to just.
fn just_line(out: &mut LogicalText, line: &[u8], start: usize, script: bool, variables: &[(String, String)]) {
    let text = String::from_utf8_lossy(line).into_owned();
    let skip = if script { 0 } else { text.len() - text.trim_start_matches(['@', '-']).len() };
    let mut at = skip;
    while let Some(open) = text.get(at..).and_then(|rest| rest.find("{{")).map(|n| at + n) {
        let end = text.get(open..).and_then(|rest| rest.find("}}")).map_or(text.len(), |n| open + n + 2);
        out.push(text.get(at..open).unwrap_or_default().as_bytes(), start + at);
        let inner = text.get(open + 2..end.saturating_sub(2)).unwrap_or_default().trim();
        match variables.iter().rev().find(|(n, v)| n == inner && !v.contains('$')) {
            Some((_, value)) => out.push(value.as_bytes(), start + open),
            None => {
                let name: String =
                    inner.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
                out.push(
                    format!("${{{}}}", if name.is_empty() { "JUST" } else { &name }).as_bytes(),
                    start + open,
                );
            }
        }
        at = end;
    }
    out.push(text.get(at..).unwrap_or_default().as_bytes(), start + at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipes(rules: &Rules) -> Vec<String> {
        rules.rules.iter().flat_map(|r| &r.recipe).map(|l| l.to_str().into_owned()).collect()
    }

    #[test]
    fn recipes_are_read_as_make_hands_them_to_the_shell() {
        let text = "IMG := app\nTAG ?= $(IMG):1\n.PHONY: image\nimage: prep | dirs\n\t@docker build \\\n\t  -t $(TAG) $$X $(shell date) $(UNKNOWN) $@ .\nprep: ; touch x\n";
        let source = SourceFile::from_bytes("Makefile", text);
        let rules = makefile(&source);
        assert_eq!(recipes(&rules), ["docker build \\\n  -t app:1 $X $(date) ${UNKNOWN} image .", "touch x"]);
        assert_eq!(rules.rules[1].needs, ["prep", "dirs"]);
        let line = &rules.rules[1].recipe[0];
        let at = line.to_str().find("-t").expect("-t");
        assert_eq!(text.get(line.span(at..at + 2).range()), Some("-t"));
    }

    #[test]
    fn recipes_of_just_are_read_line_by_line_unless_they_are_scripts() {
        let text = "tag := \"app:1\"\n\nimage dir='.': prep\n    @docker build -t {{tag}} {{dir}}\n    echo\nall:\n    #!/bin/sh\n    a\n    b\n";
        let rules = justfile(&SourceFile::from_bytes("justfile", text));
        assert_eq!(recipes(&rules), ["docker build -t app:1 ${dir}", "echo", "#!/bin/sh\na\nb\n"]);
        assert_eq!(rules.rules[0].needs, ["prep"]);
    }

    #[test]
    fn any_text_is_read() {
        for text in
            ["\t", ":", "a:\n\t$(", "a:\n\t${{\\", "X=$(X)\na: $(X)\n\t$(X)\n", "define a\nb", "a: \\", "{{"]
        {
            let source = SourceFile::from_bytes("x", text);
            makefile(&source);
            justfile(&source);
        }
    }
}
