//! One logical line to an instruction: keyword, flags, arguments, and what BuildKit refuses about them.
//!
//! Mirrors `splitCommand` and the line parsers of BuildKit's `parser/`, then the checks of `instructions/parse.go`,
//! `bflag.go` and `commands_run*.go`. The first kind of error is found in ONBUILD triggers too, the second is not:
//! BuildKit checks a trigger only where it fires.

use std::ops::Range;

use bstr::ByteSlice;

use super::heredoc;
use super::json::{self, Json};
use super::mount::{self, CsvError};
use super::{
    Args, Command, Escape, Flag, Heredoc, Instruction, Keyword, LogicalText, Pair, SyntaxError, Token,
    TokenKind, TransferSource, Word,
};
use crate::source::{Span, nearest};

/// What reading an instruction yields besides it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) tokens: Vec<Token>,
    pub(super) errors: Vec<SyntaxError>,
}

/// An instruction split into keyword, flags and the rest.
pub(super) struct Head {
    pub(super) text: LogicalText,
    keyword: Range<usize>,
    flags: Vec<RawFlag>,
    /// The `--` that ends the flags.
    terminator: Option<Range<usize>>,
    rest: LogicalText,
    /// The trigger of ONBUILD.
    trigger: Option<Box<Head>>,
}

/// A flag's characters, quotes removed, each with its offset in the text.
struct RawFlag {
    chars: Vec<(char, usize)>,
    range: Range<usize>,
}

impl Head {
    pub(super) fn split(text: LogicalText, escape: Escape) -> Head {
        let mut head = Self::split_one(text, escape);
        if head.name() == Keyword::Onbuild && !head.rest.bytes.is_empty() {
            // A trigger of a trigger is refused, so there is no deeper level.
            head.trigger = Some(Box::new(Self::split_one(head.rest.clone(), escape)));
        }
        head
    }

    fn split_one(text: LogicalText, escape: Escape) -> Head {
        let line = trimmed(&text.bytes, 0..text.bytes.len());
        let bytes = text.bytes.get(line.clone()).unwrap_or_default();
        let keyword_end = bytes.iter().position(is_blank).unwrap_or(bytes.len());
        let after = bytes.get(keyword_end..).unwrap_or_default();
        let after = keyword_end + after.iter().position(|b| !is_blank(b)).unwrap_or(after.len());
        let keyword = line.start..line.start + keyword_end;
        let (flags, terminator, rest) = split_flags(&text.bytes, line.start + after..line.end, escape.byte());
        let rest = text.slice(trimmed(&text.bytes, rest));
        Head { keyword, flags, terminator, rest, trigger: None, text }
    }

    fn word(&self) -> String {
        self.text.bytes.get(self.keyword.clone()).unwrap_or_default().to_str_lossy().into_owned()
    }

    fn name(&self) -> Keyword {
        Keyword::from_word(&self.word())
    }

    /// Whether BuildKit looks for heredocs: RUN, COPY, ADD, also as a trigger, and not in JSON form.
    pub(super) fn heredocs_allowed(&self) -> bool {
        let head = self.trigger.as_deref().unwrap_or(self);
        matches!(head.name(), Keyword::Run | Keyword::Copy | Keyword::Add)
            && !matches!(json::parse(&head.rest.bytes), Json::Strings(_))
    }
}

/// Blanks that separate words for BuildKit: its `reWhitespace`.
fn is_blank(byte: &u8) -> bool {
    matches!(byte, b'\t' | 0x0b | 0x0c | b'\r' | b' ')
}

/// A byte that BuildKit's flag reader takes for a blank. It reads bytes as Latin-1, which makes blanks of two more.
fn is_latin1_blank(byte: u8) -> bool {
    char::from(byte).is_whitespace()
}

/// The range without blanks, Unicode's included, at both ends.
fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let text = bytes.get(range.clone()).unwrap_or_default();
    let end = range.start + text.trim_end().len();
    let start = range.start + (text.len() - text.trim_start().len());
    start.min(end)..end
}

type Flags = (Vec<RawFlag>, Option<Range<usize>>, Range<usize>);

/// Takes the leading `--flag` words of a range, as `extractBuilderFlags` does: quotes group and vanish, the escape
/// character quotes the next byte, `--` alone ends the flags.
fn split_flags(bytes: &[u8], range: Range<usize>, escape: u8) -> Flags {
    let mut flags = Vec::new();
    let byte = |at: usize| bytes.get(at).copied().filter(|_| at < range.end);
    let mut at = range.start;
    loop {
        while byte(at).is_some_and(is_latin1_blank) {
            at += 1;
        }
        if byte(at) != Some(b'-') || byte(at + 1) != Some(b'-') {
            return (flags, None, at..range.end);
        }
        let start = at;
        let mut chars = Vec::new();
        let mut quote = None;
        while let Some(b) = byte(at).filter(|b| quote.is_some() || !is_latin1_blank(*b)) {
            if quote == Some(b) {
                quote = None;
            } else if quote.is_none() && matches!(b, b'\'' | b'"') {
                quote = Some(b);
            } else if b == escape {
                if let Some(escaped) = byte(at + 1) {
                    at += 1;
                    chars.push((char::from(escaped), at));
                }
            } else {
                chars.push((char::from(b), at));
            }
            at += 1;
        }
        if chars.len() == 2 && chars.iter().all(|(c, _)| *c == '-') {
            return (flags, Some(start..at), at..range.end);
        }
        flags.push(RawFlag { chars, range: start..at });
    }
}

/// Splits at blanks, with no regard to quotes.
fn split_words(text: &LogicalText) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    for piece in text.bytes.split(is_blank) {
        if !piece.is_empty() {
            words.push(word(text, at..at + piece.len()));
        }
        at += piece.len() + 1;
    }
    words
}

fn word(text: &LogicalText, range: Range<usize>) -> Word {
    let bytes = text.bytes.get(range.clone()).unwrap_or_default();
    Word { text: bytes.to_str_lossy().into_owned(), span: text.span(range) }
}

fn whole(text: &LogicalText) -> Word {
    word(text, 0..text.bytes.len())
}

/// A word of ENV, LABEL or ARG: its range, and whether an escape character at its end is dropped.
struct QuotedWord {
    range: Range<usize>,
    drop_last: bool,
}

/// Splits into words that quotes and escapes hold together and keeps both, as `parseWords` does.
fn split_quoted(bytes: &[u8], escape: u8) -> Vec<QuotedWord> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
        let (c, length) = bstr::decode_utf8(rest);
        if quote.is_none() && c.is_some_and(char::is_whitespace) {
            if let Some(start) = start.take() {
                words.push(QuotedWord { range: start..at, drop_last: false });
            }
            at += length;
            continue;
        }
        let begin = *start.get_or_insert(at);
        let b = rest.first().copied().unwrap_or_default();
        if b == escape && quote != Some(b'\'') {
            if at + 1 == bytes.len() {
                if begin < at {
                    words.push(QuotedWord { range: begin..at + 1, drop_last: true });
                }
                return words;
            }
            at += 1;
            let (_, length) = bstr::decode_utf8(bytes.get(at..).unwrap_or_default());
            at += length.max(1);
            continue;
        }
        if quote == Some(b) {
            quote = None;
        } else if quote.is_none() && matches!(b, b'\'' | b'"') {
            quote = Some(b);
        }
        at += length;
    }
    if let Some(start) = start {
        words.push(QuotedWord { range: start..bytes.len(), drop_last: false });
    }
    words
}

/// Splits a word at its first `=`.
fn pair(text: &LogicalText, quoted: &QuotedWord) -> Pair {
    let range = quoted.range.clone();
    let bytes = text.bytes.get(range.clone()).unwrap_or_default();
    let end = range.end - usize::from(quoted.drop_last);
    let equals = bytes.find_byte(b'=').map(|n| range.start + n);
    Pair {
        key: word(text, range.start..equals.unwrap_or(end)),
        value: equals.map(|at| word(text, at + 1..end)),
        span: text.span(range),
    }
}

/// Makes an instruction of a split line and the heredocs it opens.
pub(super) fn parse(head: Head, heredocs: Vec<Heredoc>, escape: Escape, found: &mut Found) -> Instruction {
    Reader { found, escape, trigger: false }.instruction(head, heredocs)
}

struct Reader<'a> {
    found: &'a mut Found,
    escape: Escape,
    /// Inside ONBUILD, where only the parser's own errors count.
    trigger: bool,
}

impl Reader<'_> {
    fn instruction(&mut self, head: Head, heredocs: Vec<Heredoc>) -> Instruction {
        let keyword_text = head.word();
        let keyword_span = head.text.span(head.keyword.clone());
        let keyword = head.name();
        self.tokens(TokenKind::Keyword, &head.text, head.keyword.clone());
        let flags = self.flags(&head);
        if let Some(range) = head.terminator.clone() {
            self.tokens(TokenKind::Flag, &head.text, range);
        }
        let ends = [Some(&head.keyword), head.flags.last().map(|f| &f.range), head.terminator.as_ref()];
        let end = ends.into_iter().flatten().map(|r| r.end).max().unwrap_or_default();
        let mut span = keyword_span.to(head.text.span(head.keyword.start..end));
        if !head.rest.bytes.is_empty() {
            span = span.to(head.rest.whole());
            if head.trigger.is_none() {
                self.tokens(TokenKind::Text, &head.rest, 0..head.rest.bytes.len());
            }
        }

        let mut instruction = Instruction {
            span,
            line: 0,
            end_line: 0,
            keyword,
            keyword_text,
            keyword_span,
            text: head.text,
            flags,
            rest: head.rest,
            heredocs,
            args: Args::Invalid,
            empty_continuation: false,
        };
        instruction.args = self.args(&instruction, head.trigger);
        instruction
    }

    fn flags(&mut self, head: &Head) -> Vec<Flag> {
        let mut flags = Vec::new();
        for raw in &head.flags {
            self.tokens(TokenKind::Flag, &head.text, raw.range.clone());
            let equals = raw.chars.iter().position(|(c, _)| *c == '=');
            let text = |chars: &[(char, usize)]| chars.iter().map(|(c, _)| *c).collect::<String>();
            let (name, value) = match equals {
                Some(n) => (raw.chars.get(2..n), raw.chars.get(n + 1..)),
                None => (raw.chars.get(2..), None),
            };
            let value_start = equals.and_then(|n| raw.chars.get(n)).map_or(raw.range.end, |(_, at)| at + 1);
            let name = text(name.unwrap_or_default());
            let value_span = head.text.span(value_start..raw.range.end);
            let mut flag = Flag {
                value: value.map(text),
                span: head.text.span(raw.range.clone()),
                value_span,
                mount: None,
                name,
            };
            if flag.name == "mount"
                && head.name() == Keyword::Run
                && let Some(value) = value
            {
                match mount::parse(value, &head.text) {
                    Ok(mount) => flag.mount = Some(mount),
                    Err(error) => self.bad_csv(error, value, head, flag.value_span),
                }
            }
            flags.push(flag);
        }
        flags
    }

    fn bad_csv(&mut self, error: CsvError, value: &[(char, usize)], head: &Head, whole: Span) {
        let (at, message) = match error {
            CsvError::Empty => (None, "`--mount` needs a value"),
            CsvError::BareQuote(at) => (Some(at), "a quote inside a field that does not begin with one"),
            CsvError::Quote(at) => (Some(at), "this quoted field does not end where it should"),
        };
        let span = at.and_then(|n| value.get(n)).map_or(whole, |(_, at)| head.text.span(*at..*at + 1));
        self.reject(span, message, Some("fields are separated by commas: `--mount=type=cache,target=/path`"));
    }

    fn args(&mut self, instruction: &Instruction, trigger: Option<Box<Head>>) -> Args {
        let rest = &instruction.rest;
        if !matches!(
            instruction.keyword,
            Keyword::Arg | Keyword::Stopsignal | Keyword::Healthcheck | Keyword::Unknown
        ) {
            self.check_flags(instruction);
        }
        match instruction.keyword {
            Keyword::From => self.from(instruction),
            Keyword::Run => {
                self.check_run(instruction);
                self.command(rest).map_or(Args::Invalid, Args::Command)
            }
            Keyword::Cmd | Keyword::Entrypoint => self.command(rest).map_or(Args::Invalid, Args::Command),
            Keyword::Shell => self.shell(instruction),
            Keyword::Copy | Keyword::Add => self.transfer(instruction),
            Keyword::Env | Keyword::Label => self.pairs(instruction),
            Keyword::Arg => self.arg(instruction),
            Keyword::Workdir | Keyword::User | Keyword::Stopsignal | Keyword::Maintainer => {
                if rest.bytes.is_empty() {
                    self.missing(instruction, "needs an argument");
                    return Args::Invalid;
                }
                Args::Text(whole(rest))
            }
            Keyword::Expose => {
                let words = split_words(rest);
                if words.is_empty() {
                    self.missing(instruction, "needs a port");
                }
                Args::Words(words)
            }
            Keyword::Volume => self.volume(instruction),
            Keyword::Healthcheck => self.healthcheck(instruction),
            Keyword::Onbuild => self.onbuild(instruction, trigger),
            Keyword::Unknown => {
                self.unknown(instruction);
                Args::Invalid
            }
        }
    }

    fn from(&mut self, instruction: &Instruction) -> Args {
        let mut words = split_words(&instruction.rest).into_iter();
        let Some(image) = words.next() else {
            self.missing(instruction, "needs an image");
            return Args::Invalid;
        };
        let (second, third, fourth) = (words.next(), words.next(), words.next());
        let is_as = second.as_ref().is_some_and(|w| same_letters(&w.text, "as"));
        let excess = match (&second, &third, &fourth) {
            (None, ..) => None,
            (Some(_), Some(_), None) if is_as => None,
            (Some(w), None, _) if is_as => {
                self.reject(
                    w.span,
                    "a stage name is missing after `AS`",
                    Some("FROM takes `image [AS name]`"),
                );
                None
            }
            (Some(_), Some(_), Some(w)) if is_as => Some(w),
            (Some(w), ..) => Some(w),
        };
        if let Some(w) = excess {
            let help = if w.text.starts_with('#') {
                "a comment must stand on its own line"
            } else {
                "FROM takes `image [AS name]`"
            };
            self.reject(w.span, &format!("`{}` is one word too many for FROM", w.text), Some(help));
        }
        let name = third.filter(|_| is_as);
        if let Some(name) = name.as_ref().filter(|n| !is_stage_name(&lower(&n.text))) {
            self.reject(
                name.span,
                &format!("`{}` cannot be the name of a stage", name.text),
                Some("it begins with a letter and goes on with letters, digits, `-`, `_` and `.`"),
            );
        }
        Args::From { image, name }
    }

    /// Exec or shell form; `None` for an array that holds more than strings.
    fn command(&mut self, text: &LogicalText) -> Option<Command> {
        match json::parse(&text.bytes) {
            Json::Strings(strings) => Some(Command::Exec(json_words(text, strings))),
            Json::Plain => Some(Command::Shell(whole(text))),
            Json::NotStrings(range) => {
                self.not_strings(text, range);
                None
            }
        }
    }

    fn not_strings(&mut self, text: &LogicalText, range: Range<usize>) {
        self.refuse(
            text.span(range),
            "an array of arguments holds strings only",
            Some("put it in double quotes"),
        );
    }

    fn shell(&mut self, instruction: &Instruction) -> Args {
        let Some(command) = self.command(&instruction.rest) else { return Args::Invalid };
        match &command {
            Command::Exec(words) if words.is_empty() => {
                self.missing(instruction, "needs at least one string")
            }
            Command::Exec(_) => {}
            Command::Shell(w) if w.text.is_empty() => self.missing(instruction, "needs at least one string"),
            Command::Shell(w) => {
                let help = "write it in JSON form, as in `SHELL [\"/bin/bash\", \"-c\"]`";
                self.reject(w.span, "SHELL takes its arguments in JSON form only", Some(help));
            }
        }
        Args::Command(command)
    }

    fn transfer(&mut self, instruction: &Instruction) -> Args {
        let rest = &instruction.rest;
        let (mut words, json) = match json::parse(&rest.bytes) {
            Json::Strings(strings) => (json_words(rest, strings), true),
            Json::Plain => (split_words(rest), false),
            Json::NotStrings(range) => {
                self.not_strings(rest, range);
                return Args::Invalid;
            }
        };
        let name = instruction.keyword.name();
        let Some(dest) = words.pop().filter(|_| !words.is_empty()) else {
            self.missing(instruction, "needs at least one source and a destination");
            return Args::Invalid;
        };
        if heredoc::source_name(&dest.text).is_some() {
            let message = format!("a heredoc cannot be the destination of {name}");
            self.reject(dest.span, &message, Some("name the file to write after it"));
        }
        let source = |word: Word| match heredoc::source_name(&word.text) {
            // BuildKit finds the body by its name, the last of several, and takes none for empty.
            Some(name) => {
                let index = instruction.heredocs.iter().rposition(|h| h.name == name);
                TransferSource::Heredoc(index.unwrap_or(instruction.heredocs.len()), word)
            }
            None => TransferSource::Path(word),
        };
        Args::Transfer { sources: words.into_iter().map(source).collect(), dest, json }
    }

    fn pairs(&mut self, instruction: &Instruction) -> Args {
        let rest = &instruction.rest;
        let name = instruction.keyword.name();
        let words = split_quoted(&rest.bytes, self.escape.byte());
        let Some(first) = words.first() else {
            self.missing(instruction, "needs `key=value`");
            return Args::Invalid;
        };
        let pairs: Vec<Pair> = words.iter().map(|w| pair(rest, w)).collect();
        let has_equals = rest.bytes.get(first.range.clone()).unwrap_or_default().contains(&b'=');
        if !has_equals {
            return self.legacy_pair(instruction);
        }
        for pair in &pairs {
            if pair.value.is_none() {
                let message = format!("`{}` is no `key=value`", pair.key.text);
                let help = "quote a value that has blanks: `key=\"some words\"`";
                self.refuse(pair.span, &message, Some(help));
            } else if pair.key.text.is_empty() {
                self.reject(pair.span, &format!("a name is missing before `=` in {name}"), None);
            }
        }
        Args::Pairs { pairs, legacy: false }
    }

    /// `ENV key the whole rest`.
    fn legacy_pair(&mut self, instruction: &Instruction) -> Args {
        let rest = &instruction.rest;
        let key_end = rest.bytes.iter().position(is_blank).unwrap_or(rest.bytes.len());
        let after = rest.bytes.get(key_end..).unwrap_or_default();
        let Some(gap) = after.iter().position(|b| !is_blank(b)) else {
            let key = whole(rest);
            let message = format!("`{}` has no value", key.text);
            let help = format!("write `{} {}=value`", instruction.keyword.name(), key.text);
            self.refuse(key.span, &message, Some(&help));
            return Args::Pairs { pairs: vec![Pair { span: key.span, key, value: None }], legacy: true };
        };
        let key = word(rest, 0..key_end);
        let value = word(rest, key_end + gap..rest.bytes.len());
        let span = key.span.to(value.span);
        Args::Pairs { pairs: vec![Pair { key, value: Some(value), span }], legacy: true }
    }

    fn arg(&mut self, instruction: &Instruction) -> Args {
        let rest = &instruction.rest;
        let words = split_quoted(&rest.bytes, self.escape.byte());
        if words.is_empty() {
            self.missing(instruction, "needs a name");
            return Args::Invalid;
        }
        let pairs: Vec<Pair> = words.iter().map(|w| pair(rest, w)).collect();
        for pair in &pairs {
            if pair.key.text.is_empty() && pair.value.is_some() {
                self.reject(pair.span, "a name is missing before `=` in ARG", None);
            }
        }
        Args::ArgDefs(pairs)
    }

    fn volume(&mut self, instruction: &Instruction) -> Args {
        let rest = &instruction.rest;
        let words = match json::parse(&rest.bytes) {
            Json::Strings(strings) => json_words(rest, strings),
            Json::Plain => split_words(rest),
            Json::NotStrings(range) => {
                self.not_strings(rest, range);
                return Args::Invalid;
            }
        };
        if words.is_empty() {
            self.missing(instruction, "needs a path");
        }
        for word in words.iter().filter(|w| w.text.trim().is_empty()) {
            self.reject(word.span, "a volume needs a path", None);
        }
        Args::Words(words)
    }

    fn healthcheck(&mut self, instruction: &Instruction) -> Args {
        let rest = &instruction.rest;
        let bytes = &rest.bytes;
        let kind_end = bytes.iter().position(|b| is_latin1_blank(*b)).unwrap_or(bytes.len());
        let after = bytes.get(kind_end..).unwrap_or_default();
        let command_start = kind_end + after.iter().position(|b| !is_latin1_blank(*b)).unwrap_or(after.len());
        if kind_end == 0 {
            self.missing(instruction, "needs `CMD command` or `NONE`");
            return Args::Invalid;
        }
        let kind = word(rest, 0..kind_end);
        let text = rest.slice(command_start..bytes.len());
        let Some(command) = self.command(&text) else { return Args::Invalid };
        let empty = match &command {
            Command::Exec(words) => words.is_empty(),
            Command::Shell(w) => w.text.is_empty(),
        };
        match kind.text.to_uppercase().as_str() {
            "NONE" => {
                if !empty {
                    self.reject(text.whole(), "HEALTHCHECK NONE takes no arguments", None);
                }
                return Args::Healthcheck { command: None };
            }
            "CMD" if empty => self.reject(kind.span, "a command is missing after HEALTHCHECK CMD", None),
            "CMD" => {}
            _ => self.reject(
                kind.span,
                &format!("`{}` is no kind of HEALTHCHECK", kind.text),
                Some("write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`"),
            ),
        }
        self.check_flags(instruction);
        for flag in &instruction.flags {
            let value = flag.value();
            match flag.name.as_str() {
                "interval" | "timeout" | "start-period" | "start-interval" => {
                    if let Err(message) = check_interval(value) {
                        let message = format!("`--{}={value}` {message}", flag.name);
                        let help = "write a duration such as `30s`, `1m30s` or `500ms`";
                        self.reject(flag.value_span, &message, Some(help));
                    }
                }
                "retries" if !value.is_empty() && !is_retries(value) => self.reject(
                    flag.value_span,
                    &format!("`--retries={value}` is no number of retries"),
                    Some("write a whole number of 0 or more"),
                ),
                _ => {}
            }
        }
        Args::Healthcheck { command: Some(command) }
    }

    fn onbuild(&mut self, instruction: &Instruction, trigger: Option<Box<Head>>) -> Args {
        let Some(head) = trigger else {
            self.missing(instruction, "needs an instruction");
            return Args::Invalid;
        };
        let heredocs = instruction.heredocs.clone();
        let mut reader = Reader { found: &mut *self.found, escape: self.escape, trigger: true };
        let trigger = reader.instruction(*head, heredocs);
        if matches!(trigger.keyword, Keyword::Onbuild | Keyword::Maintainer | Keyword::From) {
            let message = format!("{} cannot be a trigger of ONBUILD", trigger.keyword.name());
            self.reject(trigger.keyword_span, &message, None);
        }
        Args::Onbuild(Box::new(trigger))
    }

    fn unknown(&mut self, instruction: &Instruction) {
        let word = instruction.keyword_text.as_str();
        let span = instruction.keyword_span;
        if word.is_empty() {
            let help = "remove it, or write the instruction that it should continue";
            self.reject(span, "no instruction follows this line continuation", Some(help));
            return;
        }
        let upper = word.to_uppercase();
        let names: Vec<&str> = Keyword::ALL.iter().map(|k| k.name()).collect();
        let help = match nearest(&upper, names.iter().copied()) {
            Some(name) => Some(format!("did you mean `{name}`?")),
            None if word.starts_with("{{") || word.starts_with("{%") => {
                Some("this looks like a template; check the Dockerfile that it is rendered to".to_owned())
            }
            None if !word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let escape = self.escape.char();
                Some(format!("to continue the instruction above, end its last line with `{escape}`"))
            }
            None => None,
        };
        let mut shown: String = word.chars().take(40).collect();
        if shown.len() < word.len() {
            shown.push('…');
        }
        self.reject(span, &format!("`{shown}` is no instruction"), help.as_deref());
    }

    /// What `BFlags.Parse` refuses.
    fn check_flags(&mut self, instruction: &Instruction) {
        let known = known_flags(instruction.keyword);
        let name = instruction.keyword.name();
        for (index, flag) in instruction.flags.iter().enumerate() {
            let Some((_, kind)) = known.iter().find(|(known, _)| *known == flag.name) else {
                let names: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
                let help = match nearest(&flag.name, names.iter().copied()) {
                    Some(near) => format!("did you mean `--{near}`?"),
                    None if names.is_empty() => format!("{name} takes no flags"),
                    None => format!("{name} takes `--{}`", names.join("`, `--")),
                };
                self.reject(flag.span, &format!("{name} has no flag `--{}`", flag.name), Some(&help));
                continue;
            };
            let before = instruction.flags.get(..index).unwrap_or_default();
            if *kind != FlagKind::List && before.iter().any(|f| f.name == flag.name) {
                self.reject(
                    flag.span,
                    &format!("`--{}` is given twice", flag.name),
                    Some("keep one of them"),
                );
            }
            match (kind, flag.value.as_deref()) {
                (FlagKind::Bool, None) | (FlagKind::Text | FlagKind::List, Some(_)) => {}
                (FlagKind::Bool, Some(value)) if matches!(lower(value).as_str(), "true" | "false") => {}
                (FlagKind::Bool, Some("")) | (FlagKind::Text | FlagKind::List, None) => {
                    let help = format!("write `--{}=value`", flag.name);
                    self.reject(flag.span, &format!("`--{}` needs a value", flag.name), Some(&help));
                }
                (FlagKind::Bool, Some(value)) => self.reject(
                    flag.value_span,
                    &format!("`--{}` is `true` or `false`, not `{value}`", flag.name),
                    None,
                ),
            }
        }
    }

    /// What the hooks of RUN refuse: `--mount` with a variable in `from`, unknown networks, security modes, devices.
    fn check_run(&mut self, instruction: &Instruction) {
        for flag in &instruction.flags {
            let Some(value) = flag.value.as_deref() else { continue };
            match flag.name.as_str() {
                "network" if !matches!(value, "default" | "none" | "host") => self.reject(
                    flag.value_span,
                    &format!("there is no network mode `{value}`"),
                    Some("it is `default`, `none` or `host`"),
                ),
                "security" if !matches!(value, "insecure" | "sandbox") => self.reject(
                    flag.value_span,
                    &format!("there is no security mode `{value}`"),
                    Some("it is `sandbox` or `insecure`"),
                ),
                "device" => {
                    if let Err(message) = check_device(value) {
                        self.reject(flag.value_span, &message, Some("write `--device=name[,required]`"));
                    }
                }
                _ => {}
            }
            for field in flag.mount.iter().flat_map(|m| &m.fields).filter(|f| f.key == "from") {
                let value = field.value.as_deref().unwrap_or_default();
                if value.find('$').is_some_and(|n| n + 1 < value.len()) {
                    let help =
                        "name the image in a stage of its own, `FROM image AS name`, and mount from that";
                    self.reject(field.span, "variables are not expanded in `from` of a mount", Some(help));
                }
            }
        }
    }

    fn missing(&mut self, instruction: &Instruction, what: &str) {
        self.reject(instruction.keyword_span, &format!("{} {what}", instruction.keyword.name()), None);
    }

    /// An error of BuildKit's parser.
    fn refuse(&mut self, span: Span, message: &str, help: Option<&str>) {
        let (message, help) = (message.to_owned(), help.map(str::to_owned));
        self.found.errors.push(SyntaxError { span, message, help });
    }

    /// An error of BuildKit's instruction checks, which triggers do not undergo.
    fn reject(&mut self, span: Span, message: &str, help: Option<&str>) {
        if !self.trigger {
            self.refuse(span, message, help);
        }
    }

    fn tokens(&mut self, kind: TokenKind, text: &LogicalText, range: Range<usize>) {
        self.found.tokens.extend(text.slice(range).pieces().map(|span| Token { kind, span }));
    }
}

fn json_words(text: &LogicalText, strings: Vec<(String, Range<usize>)>) -> Vec<Word> {
    strings.into_iter().map(|(s, range)| Word { text: s, span: text.span(range) }).collect()
}

/// What a flag takes.
#[derive(Clone, Copy, PartialEq)]
enum FlagKind {
    Bool,
    Text,
    /// may be repeated
    List,
}

/// The flags of each instruction (`instructions/parse.go` and the hooks of RUN).
fn known_flags(keyword: Keyword) -> &'static [(&'static str, FlagKind)] {
    use FlagKind::{Bool, List, Text};
    match keyword {
        Keyword::Add => &[
            ("checksum", Text),
            ("chmod", Text),
            ("chown", Text),
            ("exclude", List),
            ("keep-git-dir", Bool),
            ("link", Bool),
            ("unpack", Bool),
        ],
        Keyword::Copy => &[
            ("chmod", Text),
            ("chown", Text),
            ("exclude", List),
            ("from", Text),
            ("link", Bool),
            ("parents", Bool),
        ],
        Keyword::From => &[("platform", Text)],
        Keyword::Healthcheck => &[
            ("interval", Text),
            ("retries", Text),
            ("start-interval", Text),
            ("start-period", Text),
            ("timeout", Text),
        ],
        Keyword::Run => &[("device", List), ("mount", List), ("network", Text), ("security", Text)],
        _ => &[],
    }
}

/// Lower case as Go makes it: one character for one.
fn lower(text: &str) -> String {
    text.chars().map(|c| if c == '\u{130}' { 'i' } else { c.to_lowercase().next().unwrap_or(c) }).collect()
}

/// Whether two words are the same but for case, as Go folds it: the long s is an s.
fn same_letters(text: &str, lower_case: &str) -> bool {
    lower(text).replace('\u{17f}', "s") == lower_case
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

/// Reads `--device`, fields as in `ParseDevice`.
fn check_device(value: &str) -> Result<(), String> {
    let fields =
        mount::csv(&value.chars().collect::<Vec<_>>()).map_err(|_| "the device cannot be read".to_owned())?;
    let mut name = String::new();
    for field in fields {
        let text = field.text;
        let (key, value) = text.split_once('=').map_or((text.as_str(), None), |(k, v)| (k, Some(v)));
        match (lower(key).as_str(), value) {
            ("required", None) => {}
            ("name", Some(value)) if name.is_empty() => value.clone_into(&mut name),
            ("name", Some(_)) => return Err(format!("the device is already named `{name}`")),
            ("required", Some(value)) if is_bool(value) => {}
            ("required", Some(value)) => return Err(format!("`required` is true or false, not `{value}`")),
            _ if name.is_empty() => name = text,
            (key, Some(_)) => return Err(format!("a device has no field `{key}`")),
            (_, None) => return Err(format!("`{text}` is no `key=value`")),
        }
    }
    Ok(())
}

/// What Go's `strconv.ParseBool` takes.
fn is_bool(value: &str) -> bool {
    matches!(
        value,
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False"
    )
}

fn is_retries(value: &str) -> bool {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    digits.bytes().all(|b| b.is_ascii_digit()) && value.parse::<i32>().is_ok_and(|n| n >= 0)
}

/// A duration of HEALTHCHECK: nothing, zero, or at least a millisecond.
fn check_interval(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Ok(());
    }
    match nanoseconds(value) {
        None => Err("is no duration"),
        Some(0) => Ok(()),
        Some(n) if n < 1_000_000 => Err("is shorter than a millisecond"),
        Some(_) => Ok(()),
    }
}

/// Reads a duration the way Go's `time.ParseDuration` does.
fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: u128 = 0;
    let limit = 1_u128 << 63;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => {
                after.split_at(after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len())
            }
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
        // Digits beyond the eighteenth cannot make a nanosecond.
        let fraction = fraction.get(..fraction.len().min(18)).unwrap_or_default();
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let part = fraction.parse::<u128>().unwrap_or(0) * unit / scale;
        total += u128::from(whole) * unit + part;
        if total > limit {
            return None;
        }
        rest = after;
    }
    let total = i128::try_from(total).ok()?;
    i64::try_from(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, value) in [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-.5ms", Some(-500_000)),
            ("0", Some(0)),
            ("", None),
            ("+", None),
            ("3", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("9223372036854775808ns", None),
        ] {
            assert_eq!(nanoseconds(text), value, "{text}");
        }
    }
}
