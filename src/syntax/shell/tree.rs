//! From tree-sitter's tree to commands. The tree is walked with a list of what is left to do, not by recursion.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use bstr::ByteSlice;
use tree_sitter::{Node, Parser, Tree};

use super::prefix::{self, Inner};
use super::scan::{self, Masked, ShellHeredoc};
use super::{Connector, ForLoop, Heredoc, LogicalText, Redirect, Script, ShellCommand, ShellWord, word};

/// How deep scripts in scripts are read: `sh -c "sh -c …"`.
const MAX_SCRIPTS: usize = 4;
/// How deep substitutions in substitutions are read; each level repeats the text of the inner ones.
const MAX_SUBSTITUTIONS: usize = 32;
/// How many loops around a command it remembers.
const MAX_LOOPS: usize = 32;
/// How many redirections of groups around it a command takes over.
const MAX_OUTER_REDIRECTS: usize = 8;

/// How much text is read. Real commands are far shorter, and the grammar takes quadratic time for text that is no
/// shell.
const MAX_TEXT: usize = 32 * 1024;
/// How many pipes are read: an unfinished pipeline takes quadratic time and memory.
const MAX_PIPES: usize = 1_000;

thread_local! {
    static PARSER: RefCell<Option<Parser>> = const { RefCell::new(None) };
}

/// Reads shell text whose heredocs may have their bodies in the Dockerfile.
pub(super) fn parse(text: &LogicalText, heredocs: &[Heredoc]) -> Script {
    let mut reader = Reader { script: Script::default(), groups: 0, level: 0, heredocs };
    reader.read(text, &Place::default());
    reader.script
}

/// Makes a script of one command whose words are known, with the text behind each of them.
pub(super) fn exec(words: Vec<ShellWord>, texts: Vec<LogicalText>) -> Script {
    let mut reader = Reader { script: Script::default(), groups: 1, level: 0, heredocs: &[] };
    if let (Some(first), Some(last)) = (words.first(), words.last()) {
        let span = first.span.to(last.span);
        let command = reader.command(span, &Place::default(), Parts { words, texts, ..Parts::default() });
        reader.push(command);
    }
    reader.script
}

/// What holds for a command because of where it stands.
#[derive(Clone)]
struct Place {
    connector: Connector,
    conditional: bool,
    negated: bool,
    loops: Vec<Arc<ForLoop>>,
    subshell_depth: usize,
    substitutions: usize,
    group: usize,
    /// Redirections of groups and loops around it.
    redirects: Arc<Vec<Redirect>>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            connector: Connector::First,
            conditional: false,
            negated: false,
            loops: Vec::new(),
            subshell_depth: 0,
            substitutions: 0,
            group: 0,
            redirects: Arc::default(),
        }
    }
}

impl Place {
    fn connected(&self, connector: Connector) -> Self {
        Self { connector, conditional: self.conditional || connector == Connector::Or, ..self.clone() }
    }

    /// Inside a substitution.
    fn inside(&self) -> Self {
        Self {
            connector: Connector::First,
            negated: false,
            subshell_depth: self.subshell_depth + 1,
            substitutions: self.substitutions + 1,
            redirects: Arc::default(),
            ..self.clone()
        }
    }
}

/// The parts of a command while they are collected. `ranges` and `texts` go with `words`.
#[derive(Default)]
struct Parts {
    range: Option<Range<usize>>,
    assignments: Vec<(String, ShellWord)>,
    ranges: Vec<Range<usize>>,
    words: Vec<ShellWord>,
    texts: Vec<LogicalText>,
    redirects: Vec<Redirect>,
    /// What is fed to standard input, if that is known.
    input: Option<LogicalText>,
}

impl Parts {
    fn cover(&mut self, range: Range<usize>) {
        self.range = Some(match self.range.take() {
            Some(r) => r.start.min(range.start)..r.end.max(range.end),
            None => range,
        });
    }

    /// Adds a piece of a word: pieces without a blank between them, but for escaped ones, are one.
    fn add(&mut self, source: &Source<'_>, range: Range<usize>) {
        self.cover(range.clone());
        let is_joined = |last: &&mut Range<usize>| {
            let between = source.text.bytes.get(last.end..range.start).unwrap_or_default();
            between.chunks(2).all(|pair| matches!(pair, [b'\\', _]))
        };
        match self.ranges.last_mut().filter(is_joined) {
            Some(last) => last.end = range.end,
            None => self.ranges.push(range),
        }
    }
}

/// Something left to do.
enum Work<'t> {
    /// A statement, with redirections that belong to its last command.
    Statement(Node<'t>, Place, Vec<Node<'t>>),
    /// Anything else, in which substitutions may stand.
    Expression(Node<'t>, Place),
    /// A command in backticks.
    Ticks(Range<usize>, Place),
}

struct Reader<'h> {
    script: Script,
    groups: usize,
    level: usize,
    heredocs: &'h [Heredoc],
}

/// A command with the script that it makes another shell run, and whether that is another shell.
type Built = (ShellCommand, Option<(LogicalText, bool)>, Place);

impl Reader<'_> {
    fn read(&mut self, text: &LogicalText, place: &Place) {
        let masked = scan::mask(&text.bytes);
        self.script.incomplete |= masked.unbalanced;
        // `||` is none, as each of its bytes has the other beside it.
        let is_pipe = |w: &[u8]| matches!(w, [before, b'|', after] if *before != b'|' && *after != b'|');
        let pipes = masked.text.windows(3).filter(|w| is_pipe(w)).count();
        let limit = if pipes > MAX_PIPES { 0 } else { masked.text.len().min(MAX_TEXT) };
        let limited = masked.text.get(..limit).unwrap_or_default();
        let Some(tree) = tree(limited) else {
            self.script.incomplete = true;
            return;
        };
        self.script.incomplete |= tree.root_node().end_byte() < masked.text.trim_end().len();
        self.script.incomplete |= tree.root_node().has_error();
        let source = Source { text, masked: &masked };
        let mut work = vec![Work::Statement(tree.root_node(), place.clone(), Vec::new())];
        while let Some(next) = work.pop() {
            let mut found = Vec::new();
            match next {
                Work::Statement(node, place, trailing) => {
                    self.statement(&source, node, place, trailing, &mut found)
                }
                Work::Expression(node, place) => self.expression(&source, node, place, &mut found),
                Work::Ticks(range, place) => self.read(&in_ticks(text, range), &place),
            }
            work.extend(found.into_iter().rev());
        }
    }

    fn new_group(&mut self) -> usize {
        self.groups += 1;
        self.groups - 1
    }

    fn expression<'t>(
        &mut self,
        source: &Source<'_>,
        node: Node<'t>,
        place: Place,
        work: &mut Vec<Work<'t>>,
    ) {
        let substitutes = matches!(node.kind(), "command_substitution" | "process_substitution");
        let ticks = if node.child_count() == 0 { source.ticks_in(node.byte_range()) } else { &[] };
        if (substitutes || !ticks.is_empty()) && place.substitutions >= MAX_SUBSTITUTIONS {
            self.script.incomplete = true;
        } else if substitutes {
            self.sequence(&children(node), &place.inside(), work);
        } else if node.child_count() > 0 {
            work.extend(children(node).into_iter().map(|(n, _)| Work::Expression(n, place.clone())));
        } else {
            work.extend(ticks.iter().map(|range| Work::Ticks(range.clone(), place.inside())));
        }
    }

    /// Statements one after another. Connectives among them are there only where the text is broken.
    fn sequence<'t>(&mut self, nodes: &[Child<'t>], place: &Place, work: &mut Vec<Work<'t>>) {
        let mut connector = place.connector;
        let mut group = None;
        for (node, _) in nodes {
            match node.kind() {
                "&" => connector = Connector::Background,
                "&&" => connector = Connector::And,
                "||" => connector = Connector::Or,
                "|" | "|&" => connector = Connector::Pipe,
                kind if is_statement(kind) => {
                    let joined = matches!(connector, Connector::And | Connector::Or | Connector::Pipe);
                    let group = *match group.as_mut().filter(|_| joined) {
                        Some(group) => group,
                        None => group.insert(self.new_group()),
                    };
                    let place = Place { group, ..place.connected(connector) };
                    work.push(Work::Statement(*node, place, Vec::new()));
                    connector = Connector::Semi;
                }
                _ => work.push(Work::Expression(*node, place.clone())),
            }
        }
    }

    fn statement<'t>(
        &mut self,
        source: &Source<'_>,
        node: Node<'t>,
        mut place: Place,
        trailing: Vec<Node<'t>>,
        work: &mut Vec<Work<'t>>,
    ) {
        let kind = node.kind();
        if !trailing.is_empty() && !takes_trailing(kind) {
            place.redirects = self.outer_redirects(source, &place, &trailing);
            work.extend(trailing.iter().map(|n| Work::Expression(*n, place.clone())));
        }
        match kind {
            "program" | "compound_statement" | "do_group" | "else_clause" | "ERROR" => {
                self.sequence(&children(node), &place, work);
            }
            "subshell" => {
                place.subshell_depth += 1;
                self.sequence(&children(node), &place, work);
            }
            "list" | "pipeline" => connected(node, &place, trailing, work),
            "negated_command" => {
                place.negated = !place.negated;
                connected(node, &place, trailing, work);
            }
            "redirected_statement" => self.redirected(source, node, place, trailing, work),
            "if_statement" | "elif_clause" | "while_statement" => self.branches(node, &place, work),
            "for_statement" => for_loop(source, node, place, work),
            "case_statement" => {
                for (n, field) in children(node) {
                    if field == Some("value") {
                        self.script.subjects.push(word::read(source.text, n.byte_range()));
                    }
                    if n.kind() == "case_item" {
                        let place = Place { conditional: true, ..place.connected(Connector::Semi) };
                        work.push(Work::Statement(n, place, Vec::new()));
                    } else {
                        work.push(Work::Expression(n, place.clone()));
                    }
                }
            }
            "case_item" => {
                // The patterns come before `)`.
                let nodes = children(node);
                let start = nodes.iter().position(|(n, _)| n.kind() == ")").map_or(0, |n| n + 1);
                let (patterns, statements) = nodes.split_at(start.min(nodes.len()));
                work.extend(patterns.iter().map(|(n, _)| Work::Expression(*n, place.clone())));
                self.sequence(statements, &place, work);
            }
            "function_definition" | "c_style_for_statement" => {
                for (n, field) in children(node) {
                    if field == Some("body") {
                        work.push(Work::Statement(n, place.clone(), Vec::new()));
                    } else {
                        work.push(Work::Expression(n, place.clone()));
                    }
                }
            }
            _ if is_simple(kind) => self.simple(source, Some(node), &place, &trailing, work),
            _ => self.expression(source, node, place, work),
        }
    }

    /// `if` and `while`: what is asked always runs, the rest perhaps; behind `elif` nothing is sure.
    fn branches<'t>(&mut self, node: Node<'t>, place: &Place, work: &mut Vec<Work<'t>>) {
        let nodes = children(node);
        let is_body =
            |(n, _): &Child<'_>| matches!(n.kind(), "then" | "do_group" | "elif_clause" | "else_clause");
        let (asked, body) = nodes.split_at(nodes.iter().position(is_body).unwrap_or(nodes.len()));
        self.sequence(asked, place, work);
        let place = Place { conditional: true, ..place.connected(Connector::Semi) };
        self.sequence(body, &place, work);
    }

    fn redirected<'t>(
        &mut self,
        source: &Source<'_>,
        node: Node<'t>,
        place: Place,
        trailing: Vec<Node<'t>>,
        work: &mut Vec<Work<'t>>,
    ) {
        let mut body = None;
        let mut redirects = Vec::new();
        for (n, field) in children(node) {
            match (field, n.kind()) {
                (Some("body"), _) if body.is_none() => body = Some(n),
                (_, "file_redirect" | "herestring_redirect") => redirects.push(n),
                (_, kind) if is_statement(kind) => {
                    work.push(Work::Statement(n, place.connected(Connector::Semi), Vec::new()));
                }
                _ => work.push(Work::Expression(n, place.clone())),
            }
        }
        redirects.extend(trailing);
        match body {
            Some(body) => work.push(Work::Statement(body, place, redirects)),
            None => self.simple(source, None, &place, &redirects, work),
        }
    }

    fn outer_redirects(
        &mut self,
        source: &Source<'_>,
        place: &Place,
        nodes: &[Node<'_>],
    ) -> Arc<Vec<Redirect>> {
        let mut parts = Parts::default();
        for node in nodes.iter().take(MAX_OUTER_REDIRECTS) {
            self.redirect(source, *node, &mut parts);
        }
        parts.redirects.extend(place.redirects.iter().cloned());
        parts.redirects.truncate(MAX_OUTER_REDIRECTS);
        Arc::new(parts.redirects)
    }

    /// A simple command, or redirections alone.
    fn simple<'t>(
        &mut self,
        source: &Source<'_>,
        node: Option<Node<'t>>,
        place: &Place,
        trailing: &[Node<'t>],
        work: &mut Vec<Work<'t>>,
    ) {
        let mut parts = Parts::default();
        let mut nodes: Vec<Node<'t>> = Vec::new();
        match node {
            Some(node) if node.kind() == "variable_assignment" => nodes.push(node),
            Some(node) => nodes.extend(children(node).into_iter().map(|(n, _)| n)),
            None => {}
        }
        if let Some(test) = node.filter(|n| n.kind() == "test_command") {
            parts.cover(test.byte_range());
            parts.ranges = word::split(source.text, test.byte_range());
        } else {
            let declares = node.is_some_and(|n| n.kind() == "declaration_command");
            for n in &nodes {
                match n.kind() {
                    "variable_assignment" if parts.ranges.is_empty() && !declares => {
                        assignment(source, *n, &mut parts);
                    }
                    "file_redirect" | "herestring_redirect" => self.redirect(source, *n, &mut parts),
                    "subshell" | "comment" | "ERROR" => {}
                    _ => parts.add(source, n.byte_range()),
                }
            }
        }
        for n in trailing {
            self.redirect(source, *n, &mut parts);
        }
        for range in std::mem::take(&mut parts.ranges) {
            parts.words.push(word::read(source.text, range.clone()));
            parts.texts.push(word::unquoted(source.text, range).0);
        }
        let span = source.text.span(parts.range.clone().unwrap_or_default());
        let built = self.command(span, place, parts);
        self.push(built);
        for n in nodes.iter().chain(trailing) {
            if matches!(n.kind(), "subshell" | "ERROR") {
                work.push(Work::Statement(*n, place.clone(), Vec::new()));
            } else {
                work.push(Work::Expression(*n, place.clone()));
            }
        }
    }

    fn command(&mut self, span: crate::source::Span, place: &Place, mut parts: Parts) -> Built {
        let inner = match prefix::inner(&parts.words) {
            Some(Inner::Text(n)) => parts.texts.get(n).cloned().map(|text| (text, true)),
            Some(Inner::Eval(n)) => {
                let mut text = LogicalText::new();
                for part in parts.texts.get(n..).unwrap_or_default() {
                    if !text.bytes.is_empty() {
                        text.push(b" ", part.file_offset(0));
                    }
                    text.extend(part);
                }
                Some((text, false))
            }
            Some(Inner::Input) => parts.input.take().map(|text| (text, true)),
            None => None,
        };
        parts.redirects.extend(place.redirects.iter().cloned());
        let command = ShellCommand {
            span,
            assignments: parts.assignments,
            words: parts.words,
            redirects: parts.redirects,
            connector: place.connector,
            conditional: place.conditional,
            negated: place.negated,
            loops: place.loops.clone(),
            subshell_depth: place.subshell_depth,
            group: place.group,
        };
        (command, inner, place.clone())
    }

    /// Adds a command and the commands of the script that it runs.
    fn push(&mut self, (command, inner, place): Built) {
        self.script.commands.push(command);
        let Some((text, another_shell)) = inner else { return };
        if self.level >= MAX_SCRIPTS {
            self.script.incomplete = true;
            return;
        }
        let mut place = place.inside();
        place.subshell_depth -= usize::from(!another_shell);
        self.level += 1;
        self.read(&text, &place);
        self.level -= 1;
    }

    fn redirect(&mut self, source: &Source<'_>, node: Node<'_>, parts: &mut Parts) {
        let mut redirect =
            Redirect { op: String::new(), fd: None, target: ShellWord::default(), heredoc: None };
        let mut operator_at = node.start_byte();
        let mut target: Option<Range<usize>> = None;
        let mut after = Vec::new();
        for (n, _) in children(node) {
            let range = n.byte_range();
            if n.kind() == "file_descriptor" {
                redirect.fd =
                    source.masked.text.get(range).and_then(|d| std::str::from_utf8(d).ok()?.parse().ok());
            } else if redirect.op.is_empty() && !n.is_named() {
                operator_at = range.start;
                redirect.op = n.kind().to_owned();
                redirect.target.span = source.text.span(range.end..range.end);
            } else {
                // The grammar takes words behind the target for more targets.
                match target.as_mut() {
                    None => target = Some(range),
                    Some(t) if t.end == range.start && after.is_empty() => t.end = range.end,
                    Some(_) => after.push(range),
                }
            }
        }
        let end = target.as_ref().map_or(node.end_byte(), |t| t.end);
        if let Some(range) = target {
            redirect.target = word::read(source.text, range.clone());
            if redirect.op == "<" && source.masked.here_strings.contains(&operator_at) {
                redirect.op = "<<<".to_owned();
                parts.input = Some(word::unquoted(source.text, range).0);
            }
        }
        if let Some(heredoc) = source.masked.heredocs.get(&operator_at).filter(|_| redirect.op == "<") {
            redirect.op = if heredoc.chomp { "<<-".to_owned() } else { "<<".to_owned() };
            if let Some(body) = self.body(source, heredoc, &redirect.target) {
                redirect.heredoc = Some(body.to_str().into_owned());
                parts.input = Some(body);
            }
        }
        parts.cover(node.start_byte()..end.max(node.start_byte()));
        parts.redirects.push(redirect);
        after.into_iter().for_each(|range| parts.add(source, range));
    }

    /// The body of a heredoc: in the shell text itself, or in the Dockerfile.
    fn body(
        &self,
        source: &Source<'_>,
        heredoc: &ShellHeredoc,
        delimiter: &ShellWord,
    ) -> Option<LogicalText> {
        let Some(range) = heredoc.body.clone() else {
            let at = delimiter.span;
            let found =
                self.heredocs.iter().find(|h| h.word_span.start <= at.start && at.end <= h.word_span.end);
            return found.map(super::body_text);
        };
        let bytes = source.text.bytes.get(range.clone()).unwrap_or_default();
        if !heredoc.chomp {
            return Some(source.text.slice(range));
        }
        let mut body = LogicalText::new();
        let mut at = range.start;
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let tabs = line.iter().take_while(|b| **b == b'\t').count();
            body.extend(&source.text.slice(at + tabs..at + line.len()));
            at += line.len();
        }
        Some(body)
    }
}

fn tree(text: &[u8]) -> Option<Tree> {
    PARSER.with(|parser| {
        let mut parser = parser.try_borrow_mut().ok()?;
        if parser.is_none() {
            let mut new = Parser::new();
            new.set_language(&tree_sitter_bash::LANGUAGE.into()).ok()?;
            *parser = Some(new);
        }
        parser.as_mut()?.parse(text, None)
    })
}

/// The text that is being read.
struct Source<'a> {
    text: &'a LogicalText,
    masked: &'a Masked,
}

impl Source<'_> {
    /// The backticks that begin in a range.
    fn ticks_in(&self, range: Range<usize>) -> &[Range<usize>] {
        let from = self.masked.ticks.partition_point(|t| t.start < range.start);
        let to = self.masked.ticks.partition_point(|t| t.start < range.end);
        self.masked.ticks.get(from..to).unwrap_or_default()
    }
}

/// What stands between backticks, without the backslashes that they need.
fn in_ticks(text: &LogicalText, range: Range<usize>) -> LogicalText {
    let end = range.end.saturating_sub(1);
    let mut out = LogicalText::new();
    let mut kept = range.start + 1;
    let mut at = kept;
    while at < end {
        let pair = (text.bytes.get(at), text.bytes.get(at + 1));
        if matches!(pair, (Some(b'\\'), Some(b'`' | b'\\' | b'$'))) {
            out.extend(&text.slice(kept..at));
            kept = at + 1;
            at += 1;
        }
        at += 1;
    }
    out.extend(&text.slice(kept..end.max(kept)));
    out
}

/// A node and the field of its parent that it fills.
type Child<'t> = (Node<'t>, Option<&'t str>);

fn children<'t>(node: Node<'t>) -> Vec<Child<'t>> {
    let mut cursor = node.walk();
    let mut nodes = Vec::new();
    if cursor.goto_first_child() {
        loop {
            nodes.push((cursor.node(), cursor.field_name()));
            if !cursor.goto_next_sibling() {
                break;
            }
        }
    }
    nodes
}

/// `list`, `pipeline` and `!`: statements with connectives between them.
fn connected<'t>(node: Node<'t>, place: &Place, trailing: Vec<Node<'t>>, work: &mut Vec<Work<'t>>) {
    let nodes = children(node);
    let statements = nodes.iter().filter(|(n, _)| is_statement(n.kind())).count();
    let negated =
        nodes.first().is_some_and(|(n, _)| node.kind() == "pipeline" && n.kind() == "negated_command");
    let mut place = place.clone();
    let mut trailing = Some(trailing);
    let mut seen = 0;
    for (n, _) in nodes {
        match n.kind() {
            "&&" => place = Place { connector: Connector::And, ..place },
            "||" => place = Place { connector: Connector::Or, conditional: true, ..place },
            "|" | "|&" => place = Place { connector: Connector::Pipe, ..place },
            kind if is_statement(kind) => {
                seen += 1;
                let trailing =
                    if seen == statements { trailing.take().unwrap_or_default() } else { Vec::new() };
                // `! a | b` turns round the whole pipeline; the first command does it itself.
                let turned = negated && seen > 1;
                let place = Place { negated: place.negated != turned, ..place.clone() };
                work.push(Work::Statement(n, place, trailing));
            }
            _ => work.push(Work::Expression(n, place.clone())),
        }
    }
}

fn for_loop<'t>(source: &Source<'_>, node: Node<'t>, place: Place, work: &mut Vec<Work<'t>>) {
    let mut this = ForLoop { variable: String::new(), values: Vec::new() };
    let mut values: Vec<Range<usize>> = Vec::new();
    let mut body = None;
    for (n, field) in children(node) {
        match field {
            Some("variable") => this.variable = word::read(source.text, n.byte_range()).text,
            Some("body") => {
                body = Some(n);
                continue;
            }
            Some("value") => match values.last_mut().filter(|v| v.end == n.start_byte()) {
                Some(last) => last.end = n.end_byte(),
                None => values.push(n.byte_range()),
            },
            _ => {}
        }
        work.push(Work::Expression(n, place.clone()));
    }
    this.values = values.into_iter().map(|range| word::read(source.text, range)).collect();
    if let Some(body) = body {
        let mut place = place;
        if place.loops.len() < MAX_LOOPS {
            place.loops.push(Arc::new(this));
        }
        work.push(Work::Statement(body, place, Vec::new()));
    }
}

fn assignment(source: &Source<'_>, node: Node<'_>, parts: &mut Parts) {
    let range = node.byte_range();
    parts.cover(range.clone());
    let mut name = String::new();
    let mut value = range.end..range.end;
    for (n, field) in children(node) {
        match (field, n.kind()) {
            (Some("name"), _) => name = word::read(source.text, n.byte_range()).text,
            (_, "=" | "+=") => value.start = n.end_byte(),
            _ => {}
        }
    }
    parts.assignments.push((name, word::read(source.text, value)));
}

fn is_simple(kind: &str) -> bool {
    matches!(
        kind,
        "command"
            | "declaration_command"
            | "unset_command"
            | "test_command"
            | "variable_assignment"
            | "variable_assignments"
    )
}

/// Statements whose last command takes the redirections behind them; around others they are for all commands.
fn takes_trailing(kind: &str) -> bool {
    is_simple(kind) || matches!(kind, "list" | "pipeline" | "negated_command" | "redirected_statement")
}

fn is_statement(kind: &str) -> bool {
    takes_trailing(kind)
        || matches!(
            kind,
            "compound_statement"
                | "do_group"
                | "subshell"
                | "if_statement"
                | "elif_clause"
                | "else_clause"
                | "while_statement"
                | "for_statement"
                | "c_style_for_statement"
                | "case_statement"
                | "case_item"
                | "function_definition"
                | "ERROR"
        )
}
