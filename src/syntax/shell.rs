//! Shell commands inside RUN: what runs, with which words, under which condition, and where it stands.
//!
//! The text is read by tree-sitter's bash grammar, which finds the commands of broken scripts too; heredocs, quotes
//! and escapes are read here. A script given to `sh -c`, to `eval` or to a shell's standard input is read as well.
//! This is about POSIX shells: whether a RUN runs in PowerShell or cmd is for the caller to know.

use std::sync::Arc;

use super::json::{self, Json};
use super::{Args, Command, Heredoc, Instruction, LogicalText};
use crate::source::Span;

mod prefix;
mod scan;
mod tree;
mod word;

/// The commands of a script in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The commands, those inside loops, groups, substitutions and `sh -c` texts included, flattened.
    pub commands: Vec<ShellCommand>,
    /// Parts could not be understood, so commands may be missing.
    pub incomplete: bool,
    /// The text is for another interpreter (`#!/usr/bin/env python3`), so there are no commands.
    pub foreign: bool,
    /// The words that `case` compares with its patterns.
    pub subjects: Vec<ShellWord>,
}

/// One simple command: `[NAME=value]... [program [word]...] [redirection]...`.
#[derive(Clone, Debug)]
pub struct ShellCommand {
    /// From its first to its last word or redirection.
    pub span: Span,
    /// Assignments before the program; all there is, when `words` is empty. Arrays keep their parentheses.
    pub assignments: Vec<(String, ShellWord)>,
    /// The program and its arguments. `export`, `cd`, `[` and the like are programs.
    pub words: Vec<ShellWord>,
    /// Its redirections; those of a group or loop around it come last.
    pub redirects: Vec<Redirect>,
    /// How it follows the command before it. The first command of a group or loop has that of the group.
    pub connector: Connector,
    /// It may be skipped: it stands in a branch of `if` or `case`, in the body of `while`, or behind `||`.
    pub conditional: bool,
    /// Its outcome is turned round by `!`.
    pub negated: bool,
    /// The `for` loops around it, outermost first.
    pub loops: Vec<Arc<ForLoop>>,
    /// How many `(…)`, `$(…)`, backticks or other shells it runs in, counted from the shell of the script.
    pub subshell_depth: usize,
    /// Number of the list that it belongs to; commands joined by `&&`, `||` and `|` have the same.
    pub group: usize,
}

/// How a command follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connector {
    /// nothing stands before it
    First,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `;` or a line end
    Semi,
    /// `|`, `|&`
    Pipe,
    /// `&`: the one before it goes on meanwhile
    Background,
}

/// `for variable in values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForLoop {
    /// The variable.
    pub variable: String,
    /// The words behind `in`.
    pub values: Vec<ShellWord>,
}

/// One word.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ShellWord {
    /// As written, continued lines joined.
    pub raw: String,
    /// Quotes and escapes removed; `$NAME`, `${…}`, `$(…)` and backticks kept.
    pub text: String,
    /// Where it stands, quotes included.
    pub span: Span,
    /// A part of it is quoted or escaped.
    pub quoted: bool,
    /// It holds a variable, a command substitution or arithmetic.
    pub expands: bool,
    /// It holds `*`, `?` or `[` outside of quotes.
    pub glob: bool,
}

impl ShellWord {
    /// The text, if the shell would not replace any part of it.
    pub fn literal(&self) -> Option<&str> {
        (!self.expands).then_some(self.text.as_str())
    }
}

/// A redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `>`, `>>`, `<`, `>&`, `&>`, `<<`, `<<-`, `<<<`, …
    pub op: String,
    /// The file descriptor before it.
    pub fd: Option<u32>,
    /// The file, descriptor, delimiter or text behind it; empty when there is none.
    pub target: ShellWord,
    /// The body of a heredoc, leading tabs dropped under `<<-`.
    pub heredoc: Option<String>,
}

impl ShellCommand {
    /// The program that does the work, without its folder, and its arguments: looks through `sudo`, `env`, `exec`,
    /// `time`, `xargs` and the like, their options included. A prefix with nothing behind it is itself the program.
    pub fn program(&self) -> Option<(&str, &[ShellWord])> {
        prefix::program(&self.words)
    }

    /// The name that [`ShellCommand::program`] finds, or the empty string.
    pub fn name(&self) -> &str {
        self.program().map_or("", |(name, _)| name)
    }

    /// Whether one of these options is among the arguments of the program, alone or as `--name=value`.
    pub fn has_flag(&self, names: &[&str]) -> bool {
        self.arguments().iter().any(|w| names.iter().any(|n| is_flag(&w.text, n).is_some()))
    }

    /// The value of the first of these options, given as `--name=value` or as the next word.
    pub fn flag_value(&self, names: &[&str]) -> Option<&str> {
        let arguments = self.arguments();
        let (index, value) = arguments
            .iter()
            .enumerate()
            .find_map(|(i, w)| names.iter().find_map(|n| is_flag(&w.text, n)).map(|v| (i, v)))?;
        match value {
            Some(value) => Some(value),
            None => arguments.get(index + 1).map(|w| w.text.as_str()),
        }
    }

    fn arguments(&self) -> &[ShellWord] {
        self.program().map(|(_, arguments)| arguments).unwrap_or_default()
    }
}

/// The value of an option that a word spells, if it is that option.
fn is_flag<'a>(word: &'a str, name: &str) -> Option<Option<&'a str>> {
    let rest = word.strip_prefix(name)?;
    match rest.strip_prefix('=') {
        Some(value) => Some(Some(value)),
        None => rest.is_empty().then_some(None),
    }
}

/// Reads shell text: a slice of an instruction, or the body of a heredoc.
pub fn parse(text: &LogicalText) -> Script {
    tree::parse(text, &[])
}

/// The commands that RUN, CMD, ENTRYPOINT or HEALTHCHECK (or ONBUILD with one of them) runs, in any of their forms.
/// Empty for other instructions.
pub fn script_of(instruction: &Instruction) -> Script {
    let instruction = match &instruction.args {
        Args::Onbuild(trigger) => trigger,
        _ => instruction,
    };
    let (command, text) = match &instruction.args {
        Args::Command(command) => (command, instruction.rest.clone()),
        Args::Healthcheck { command: Some(command) } => (command, after_first_word(&instruction.rest)),
        _ => return Script::default(),
    };
    match command {
        Command::Exec(_) => exec(&text),
        Command::Shell(_) => match lone_heredoc(&text, &instruction.heredocs) {
            Some(heredoc) => body_script(heredoc),
            None => tree::parse(&text, &instruction.heredocs),
        },
    }
}

fn after_first_word(text: &LogicalText) -> LogicalText {
    let word = text.bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(text.bytes.len());
    text.slice(word..text.bytes.len())
}

/// The heredoc that is the whole command, so that its body is what runs.
fn lone_heredoc<'a>(text: &LogicalText, heredocs: &'a [Heredoc]) -> Option<&'a Heredoc> {
    let first = heredocs.first()?;
    super::heredoc::source_name(&text.to_str()).is_some_and(|name| name == first.name).then_some(first)
}

/// The text of a heredoc's body, with its places.
fn body_text(heredoc: &Heredoc) -> LogicalText {
    let mut text = LogicalText::new();
    let start = heredoc.body_span.start as usize;
    text.push(&[], start);
    let mut at = 0;
    for line in heredoc.body.split_inclusive(|b| *b == b'\n') {
        let tabs = if heredoc.chomp { line.iter().take_while(|b| **b == b'\t').count() } else { 0 };
        text.push(line.get(tabs..).unwrap_or_default(), start + at + tabs);
        at += line.len();
    }
    text
}

fn body_script(heredoc: &Heredoc) -> Script {
    let text = body_text(heredoc);
    match text.bytes.strip_prefix(b"#!") {
        Some(line) if !is_shell_line(line) => Script { foreign: true, ..Script::default() },
        _ => parse(&text),
    }
}

/// Whether what follows `#!` names a POSIX shell, perhaps through `env`.
fn is_shell_line(line: &[u8]) -> bool {
    let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace().map(prefix::base_name);
    let interpreter = match words.next() {
        Some("env") => words.find(|w| !w.starts_with('-') && !w.contains('=')),
        first => first,
    };
    interpreter.is_some_and(prefix::is_shell)
}

/// Exec form: the strings are the words of one command.
fn exec(text: &LogicalText) -> Script {
    let Json::Strings(strings) = json::parse(&text.bytes) else { return Script::default() };
    let texts = strings.iter().map(|(_, range)| decoded(text, range.clone())).collect();
    let words = strings.iter().map(|(string, range)| ShellWord {
        raw: string.clone(),
        text: string.clone(),
        span: text.span(range.clone()),
        quoted: true,
        expands: false,
        glob: false,
    });
    tree::exec(words.collect(), texts)
}

/// The content of a JSON string with the places of its characters.
fn decoded(text: &LogicalText, range: std::ops::Range<usize>) -> LogicalText {
    let bytes = text.bytes.get(..range.end).unwrap_or_default();
    let mut out = LogicalText::new();
    let mut at = range.start;
    out.push(&[], text.file_offset(at));
    while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
        let plain = rest.iter().position(|b| *b == b'\\').unwrap_or(rest.len());
        if plain > 0 {
            out.extend(&text.slice(at..at + plain));
            at += plain;
            continue;
        }
        let width = match (rest.get(1), rest.get(6..8)) {
            // Both halves of a surrogate pair.
            (Some(b'u'), Some(br"\u")) if rest.get(2).is_some_and(|b| b.eq_ignore_ascii_case(&b'd')) => 12,
            (Some(b'u'), _) => 6,
            _ => 2,
        };
        let escape = rest.get(..width).unwrap_or(rest);
        let string = [b"[\"", escape, b"\"]"].concat();
        if let Json::Strings(strings) = json::parse(&string) {
            strings.iter().for_each(|(s, _)| out.push(s.as_bytes(), text.file_offset(at)));
        }
        at += escape.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a command: connector, marks (`?` conditional, `!` negated, `(` for each subshell), words, redirections.
    fn shown(script: &Script) -> Vec<String> {
        let line = |c: &ShellCommand| {
            let connector = match c.connector {
                Connector::First => "-",
                Connector::And => "&&",
                Connector::Or => "||",
                Connector::Semi => ";",
                Connector::Pipe => "|",
                Connector::Background => "&",
            };
            let marks = format!(
                "{connector}{}{}{}",
                if c.conditional { "?" } else { "" },
                if c.negated { "!" } else { "" },
                "(".repeat(c.subshell_depth)
            );
            let assignments = c.assignments.iter().map(|(n, v)| format!("{n}={}", v.text));
            let words = c.words.iter().map(|w| format!("<{}>", w.text));
            let redirects = c.redirects.iter().map(|r| {
                let fd = r.fd.map(|n| n.to_string()).unwrap_or_default();
                let body = r.heredoc.as_ref().map(|b| format!("{b:?}")).unwrap_or_default();
                format!("{fd}{} {}{body}", r.op, r.target.text)
            });
            std::iter::once(marks)
                .chain(assignments)
                .chain(words)
                .chain(redirects)
                .collect::<Vec<_>>()
                .join(" ")
        };
        script.commands.iter().map(line).collect()
    }

    fn read(text: &str) -> Script {
        let mut logical = LogicalText::new();
        logical.push(text.as_bytes(), 0);
        parse(&logical)
    }

    fn run(dockerfile: &str) -> Script {
        let document = crate::syntax::parse(dockerfile.as_bytes());
        script_of(document.instructions.last().expect("an instruction"))
    }

    #[track_caller]
    fn reads(text: &str, expected: &[&str]) {
        let script = read(text);
        assert_eq!(shown(&script), expected);
        assert!(!script.incomplete);
    }

    #[track_caller]
    fn runs(instruction: &str, expected: &[&str]) {
        assert_eq!(shown(&run(&format!("FROM a\n{instruction}"))), expected);
    }

    #[test]
    fn commands_know_how_they_are_connected() {
        reads(
            "a && b || c; d & e | f |& g",
            &["- <a>", "&& <b>", "||? <c>", "; <d>", "& <e>", "| <f>", "| <g>"],
        );
        reads("! a | b && ! c\nd", &["-! <a>", "|! <b>", "&&! <c>", "; <d>"]);
        reads("( a; b ) && { c; d; } || e", &["-( <a>", ";( <b>", "&& <c>", "; <d>", "||? <e>"]);
        let groups: Vec<usize> = read("a && b | c; d").commands.iter().map(|c| c.group).collect();
        assert!(groups[0] == groups[1] && groups[1] == groups[2] && groups[2] != groups[3]);
    }

    #[test]
    fn branches_may_be_skipped_and_what_they_ask_may_not() {
        reads(
            "if a; then b; elif c; then d; else e; fi; while f; do g; done",
            &["- <a>", ";? <b>", ";? <c>", ";? <d>", ";? <e>", "; <f>", ";? <g>"],
        );
        reads("case $x in a|b) c ;; *) d; e ;; esac", &[";? <c>", ";? <d>", ";? <e>"]);
        reads("f() { g; }; f", &["- <g>", "; <f>"]);
        let subjects = read("case \"$x\" in a) b ;; esac").subjects;
        assert_eq!(subjects.iter().map(|w| w.raw.as_str()).collect::<Vec<_>>(), ["\"$x\""]);
    }

    #[test]
    fn assignments_stand_before_the_program_or_alone() {
        reads("A=b C=\"d $e\" make x=y", &["- A=b C=d $e <make> <x=y>"]);
        reads("A=b; C=$(d) E=`f`", &["- A=b", "; C=$(d) E=`f`", "-( <d>", "-( <f>"]);
        reads("export A=$(b) C=\"$d\"", &["- <export> <A=$(b)> <C=$d>", "-( <b>"]);
    }

    #[test]
    fn tests_are_commands() {
        reads(
            "[ -f \"a b\" ] && test -z b || [[ $x == y* ]]",
            &["- <[> <-f> <a b> <]>", "&& <test> <-z> <b>", "||? <[[> <$x> <==> <y*> <]]>"],
        );
    }

    #[test]
    fn words_lose_quotes_and_keep_variables() {
        let script = read(r#"a 'b c'"d $e"\ f $'x\ty' *.rs "*" '$g' $(h "$i") ${j:-"k"} \$l"#);
        let words = &script.commands[0].words;
        let texts: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
        assert_eq!(texts, ["a", "b cd $e f", "x\ty", "*.rs", "*", "$g", "$(h \"$i\")", "${j:-\"k\"}", "$l"]);
        let marks: Vec<[bool; 3]> = words.iter().map(|w| [w.quoted, w.expands, w.glob]).collect();
        let (plain, quoted, expands, glob) =
            ([false; 3], [true, false, false], [false, true, false], [false, false, true]);
        assert_eq!(
            marks,
            [plain, [true, true, false], quoted, glob, quoted, quoted, expands, expands, quoted]
        );
        assert_eq!(words[1].raw, r#"'b c'"d $e"\ f"#);
    }

    #[test]
    fn redirections_belong_to_the_command_they_stand_at() {
        reads("a && b >x 2>&1 && c", &["- <a>", "&& <b> > x 2>& 1", "&& <c>"]);
        reads(
            "cat > file arg; exec 3>&1 4>&-; > y",
            &["- <cat> <arg> > file", "; <exec> 3>& 1 4>&- ", "; > y"],
        );
        reads("{ a; b; } >x", &["- <a> > x", "; <b> > x"]);
    }

    #[test]
    fn heredocs_are_attached_and_read_when_a_shell_gets_them() {
        reads(
            "cat <<A >/a && cat <<-'B' | sh\n1\nA\n\techo hi\n\tB\nz",
            &["- <cat> << A\"1\\n\" > /a", "&& <cat> <<- B\"echo hi\\n\"", "| <sh>", "; <z>"],
        );
        runs(
            "RUN bash <<EOF && z\na | b\nEOF",
            &["- <bash> << EOF\"a | b\\n\"", "-( <a>", "|( <b>", "&& <z>"],
        );
        runs(
            "RUN cat <<A >/a && python3 - <<B >/b\none\nA\ntwo\nB\n",
            &["- <cat> << A\"one\\n\" > /a", "&& <python3> <-> << B\"two\\n\" > /b"],
        );
        runs("RUN 3<<E4 cat | sh\nbody\nE4", &["- <cat> 3<< E4\"body\\n\"", "| <sh>"]);
    }

    #[test]
    fn a_heredoc_alone_is_the_script() {
        runs("RUN <<EOF\na\nb && c\nEOF", &["- <a>", "; <b>", "&& <c>"]);
        runs("RUN <<-EOF\n\t#!/bin/bash -e\n\ta\n\tEOF", &["- <a>"]);
        runs("RUN <<EOF\n#!/usr/bin/env -S bash\na\nEOF", &["- <a>"]);
        let script = run("FROM a\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF");
        assert!(script.foreign && !script.incomplete && script.commands.is_empty());
    }

    #[test]
    fn scripts_in_scripts_are_read_behind_their_wrapper() {
        reads(
            "sh -c 'a && b'; sudo bash -lc \"c \\\"d e\\\"\"; eval \"x y\" z; bash <<< 'f g'",
            &[
                "- <sh> <-c> <a && b>",
                "-( <a>",
                "&&( <b>",
                "; <sudo> <bash> <-lc> <c \"d e\">",
                "-( <c> <d e>",
                "; <eval> <x y> <z>",
                "- <x> <y> <z>",
                "; <bash> <<< f g",
                "-( <f> <g>",
            ],
        );
        runs(
            r#"RUN ["/bin/bash", "-ec", "x \u0026& 'y z'"]"#,
            &["- </bin/bash> <-ec> <x && 'y z'>", "-( <x>", "&&( <y z>"],
        );
        runs(r#"CMD ["a", "b c"]"#, &["- <a> <b c>"]);
        let deep = (0..10).fold("a".to_owned(), |inner, _| format!("eval {inner}"));
        assert!(read(&deep).incomplete);
    }

    #[test]
    fn substitutions_are_found_wherever_they_stand() {
        reads(
            "echo \"a $(b \"$(c)\" d) e\" `f \\`g\\`` $(( $(h) + 1 )) <(i) `# no command`",
            &[
                "- <echo> <a $(b \"$(c)\" d) e> <`f \\`g\\``> <$(( $(h) + 1 ))> <<(i)> <`# no command`>",
                "-( <b> <$(c)> <d>",
                "-(( <c>",
                "-( <f> <`g`>",
                "-(( <g>",
                "-( <h>",
                "-( <i>",
            ],
        );
    }

    #[test]
    fn loops_are_known_to_the_commands_in_them() {
        let script = read("for a in x \"$y\"; do for b in *; do make $a; done; done; make");
        let loops: Vec<&str> = script.commands[0].loops.iter().map(|l| l.variable.as_str()).collect();
        assert_eq!(loops, ["a", "b"]);
        assert_eq!(script.commands[0].loops[0].values[1].text, "$y");
        assert!(script.commands[1].loops.is_empty());
    }

    #[test]
    fn other_instructions_have_scripts_too() {
        runs("HEALTHCHECK --interval=1s CMD curl -f x || exit 1", &["- <curl> <-f> <x>", "||? <exit> <1>"]);
        runs("ONBUILD RUN a && b", &["- <a>", "&& <b>"]);
        runs("WORKDIR /x", &[]);
    }

    #[test]
    fn broken_text_yields_what_can_be_found() {
        for (text, expected) in [
            ("a && {{ b }} && c", "&& <c>"),
            ("a; ;; b", "; <b>"),
            ("echo 'x", "- <echo>"),
            ("a `b", "- <a> <`b>"),
        ] {
            let script = read(text);
            assert!(script.incomplete, "{text}");
            assert_eq!(shown(&script).last().map(String::as_str), Some(expected), "{text}");
        }
    }

    #[test]
    fn places_lead_back_to_the_file() {
        let file = "FROM a\nRUN make \\\n  # note\n  'in stall' && sh -c \"b \\\"c\\\"\" <<EOF\nx\nEOF\n";
        let text = |span: Span| &file[span.range()];
        let script = run(file);
        let spans: Vec<&str> = script.commands.iter().map(|c| text(c.span)).collect();
        assert_eq!(spans, ["make \\\n  # note\n  'in stall'", "sh -c \"b \\\"c\\\"\" <<EOF", "b \\\"c\\\"",]);
        assert_eq!(text(script.commands[0].words[1].span), "'in stall'");
        assert_eq!(text(script.commands[1].redirects[0].target.span), "EOF");
        let script = run("FROM a\nRUN [\"sh\", \"-c\", \"a\\tb\"]\n");
        assert_eq!(script.commands[1].words[1].span, Span::new(28, 29));
        let script = run("FROM a\nRUN <<-E\n\ta\n\t\tb c\n\tE\n");
        assert_eq!(script.commands[1].words[1].span, Span::new(23, 24));
    }

    #[test]
    fn options_are_found_behind_prefixes() {
        let script = read("sudo -u x npm ci --prefix=/a --cache /b -g");
        let command = &script.commands[0];
        assert_eq!((command.name(), command.flag_value(&["--prefix"])), ("npm", Some("/a")));
        assert_eq!((command.flag_value(&["-c", "--cache"]), command.has_flag(&["-g"])), (Some("/b"), true));
        assert!(!command.has_flag(&["-u", "--pre"]));
    }

    #[test]
    fn hostile_text_takes_no_stack_and_little_time() {
        for piece in ["$(a ", "( ", "\"$(", "`a ", "${a:-", "if a; then ", "a | ", "{ ", "for i in a; do "] {
            let script = read(&piece.repeat(50_000));
            assert!(script.incomplete, "{piece}");
        }
        assert_eq!(read(&"a\n".repeat(10_000)).commands.len(), 10_000);
    }

    mod properties {
        use proptest::prelude::*;

        use super::super::*;

        fn piece() -> impl Strategy<Value = String> {
            let words = [
                "a",
                "b=c",
                " ",
                "\n",
                ";",
                "&&",
                "||",
                "|",
                "&",
                "(",
                ")",
                "{",
                "}",
                "$(",
                "`",
                "\"",
                "'",
                "\\",
                "$x",
                "${",
                "<<E",
                "<<-'E'",
                "E\n",
                ">",
                "2>&1",
                "<<<",
                "if ",
                "then ",
                "fi",
                "for i in ",
                "do ",
                "done",
                "case x in ",
                "esac",
                ";;",
                "sh -c ",
                "bash",
                "eval ",
                "sudo -u ",
                "[ ",
                " ]",
                "#",
                "*",
                "!",
                "\t",
                "$((",
                "))",
                "\u{e9}",
                "\r\n",
            ];
            prop_oneof![9 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
        }

        proptest! {
            #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

            #[test]
            fn any_text_is_read_and_every_place_lies_in_it(pieces in proptest::collection::vec(piece(), 0..30)) {
                let bytes = pieces.concat().into_bytes();
                let mut text = LogicalText::new();
                text.push(&bytes, 7);
                let inside = |span: Span| span.start >= 7 && span.start <= span.end && span.end as usize <= 7 + bytes.len();
                for command in parse(&text).commands {
                    command.program();
                    assert!(inside(command.span), "{command:?}");
                    for word in command.words.iter().chain(command.assignments.iter().map(|(_, w)| w)) {
                        assert!(inside(word.span), "{word:?}");
                    }
                }
            }
        }
    }
}
