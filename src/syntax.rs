//! The Dockerfile as written: every instruction, flag, word and comment with its place.
//!
//! Lossless and recovering: [`parse`] never fails, keeps every byte ([`Document::tokens`] tile the file) and
//! reports what BuildKit would refuse as [`SyntaxError`]s. It resolves no names and expands no variables.
//! What counts as right is BuildKit's own parser (`frontend/dockerfile/parser`, `frontend/dockerfile/instructions`).

pub mod shell;
pub mod word;

mod heredoc;
mod instruction;
mod json;
mod lines;
mod mount;
mod text;

use crate::source::Span;

pub use text::LogicalText;

/// A parsed Dockerfile.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Parser directives in file order.
    pub directives: Vec<Directive>,
    /// The escape character, `\` unless a directive says `` ` ``.
    pub escape: Escape,
    /// Every comment, also those between continued lines; parser directives are not comments.
    pub comments: Vec<Comment>,
    /// The instructions in file order, those that BuildKit refuses included.
    pub instructions: Vec<Instruction>,
    /// What BuildKit would refuse, in file order.
    pub errors: Vec<SyntaxError>,
    /// Consecutive tokens that cover the file without gap or overlap.
    pub tokens: Vec<Token>,
}

/// The escape character of a Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Escape {
    /// `\`
    #[default]
    Backslash,
    /// `` ` ``, for Windows paths
    Backtick,
}

impl Escape {
    /// The character itself.
    pub fn char(self) -> char {
        match self {
            Escape::Backslash => '\\',
            Escape::Backtick => '`',
        }
    }

    /// The character as a byte.
    pub fn byte(self) -> u8 {
        match self {
            Escape::Backslash => b'\\',
            Escape::Backtick => b'`',
        }
    }
}

/// `# name=value` at the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Lower-case name: `syntax`, `escape` or `check`.
    pub name: String,
    /// The value as written, trimmed.
    pub value: String,
    /// The line without its end.
    pub span: Span,
    /// The value alone.
    pub value_span: Span,
}

/// A comment line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// From `#` to the end of the line, line end excluded.
    pub span: Span,
    /// The text after `#`, trimmed.
    pub text: String,
    /// Index of the instruction that the comment stands inside of (between continued lines).
    pub inside: Option<usize>,
}

/// A piece of the file; all tokens together are the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is.
    pub span: Span,
}

/// Kinds of [`Token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// UTF-8 byte order mark at the very start
    Bom,
    /// blanks and line ends outside of other tokens
    Space,
    /// a comment line
    Comment,
    /// a parser directive
    Directive,
    /// the name of an instruction
    Keyword,
    /// one `--flag` or `--flag=value`
    Flag,
    /// any other text of an instruction
    Text,
    /// escape character, blanks and line end that join two lines
    Continuation,
    /// the lines of a heredoc
    HeredocBody,
    /// the line that ends a heredoc
    HeredocEnd,
}

/// The names of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
    /// A word that is no instruction.
    Unknown,
}

impl Keyword {
    /// All known instructions.
    pub const ALL: [Keyword; 18] = [
        Keyword::Add,
        Keyword::Arg,
        Keyword::Cmd,
        Keyword::Copy,
        Keyword::Entrypoint,
        Keyword::Env,
        Keyword::Expose,
        Keyword::From,
        Keyword::Healthcheck,
        Keyword::Label,
        Keyword::Maintainer,
        Keyword::Onbuild,
        Keyword::Run,
        Keyword::Shell,
        Keyword::Stopsignal,
        Keyword::User,
        Keyword::Volume,
        Keyword::Workdir,
    ];

    /// The instruction in upper case.
    pub fn name(self) -> &'static str {
        match self {
            Keyword::Add => "ADD",
            Keyword::Arg => "ARG",
            Keyword::Cmd => "CMD",
            Keyword::Copy => "COPY",
            Keyword::Entrypoint => "ENTRYPOINT",
            Keyword::Env => "ENV",
            Keyword::Expose => "EXPOSE",
            Keyword::From => "FROM",
            Keyword::Healthcheck => "HEALTHCHECK",
            Keyword::Label => "LABEL",
            Keyword::Maintainer => "MAINTAINER",
            Keyword::Onbuild => "ONBUILD",
            Keyword::Run => "RUN",
            Keyword::Shell => "SHELL",
            Keyword::Stopsignal => "STOPSIGNAL",
            Keyword::User => "USER",
            Keyword::Volume => "VOLUME",
            Keyword::Workdir => "WORKDIR",
            Keyword::Unknown => "unknown instruction",
        }
    }

    /// The instruction a word names, in any case.
    pub fn from_word(word: &str) -> Keyword {
        Self::ALL.into_iter().find(|k| k.name().eq_ignore_ascii_case(word)).unwrap_or(Keyword::Unknown)
    }
}

/// One instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// From the first byte of the keyword to the last byte that belongs to the instruction (heredoc bodies and
    /// their end lines included), without the final line end.
    pub span: Span,
    /// First line, 1-based, as BuildKit reports it.
    pub line: u32,
    /// Last line, 1-based, heredocs included, as BuildKit reports it.
    pub end_line: u32,
    /// What it is.
    pub keyword: Keyword,
    /// The keyword as written.
    pub keyword_text: String,
    /// Where the keyword is.
    pub keyword_span: Span,
    /// The whole instruction with its continued lines joined the way BuildKit joins them, heredocs left out.
    pub text: LogicalText,
    /// `--name[=value]` words before the arguments, in order; repeated ones are repeated.
    pub flags: Vec<Flag>,
    /// The text after keyword and flags, trimmed.
    pub rest: LogicalText,
    /// Heredocs in the order of their bodies.
    pub heredocs: Vec<Heredoc>,
    /// The arguments.
    pub args: Args,
    /// Whether an empty line stands between its continued lines (BuildKit warns, and will refuse one day).
    pub empty_continuation: bool,
}

impl Instruction {
    /// The last flag of that name (BuildKit keeps the last of non-repeatable ones).
    pub fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.iter().rev().find(|f| f.name == name)
    }

    /// All flags of that name.
    pub fn flags_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Flag> {
        self.flags.iter().filter(move |f| f.name == name)
    }
}

/// `--name`, `--name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name without `--`.
    pub name: String,
    /// The value after `=`, quotes removed as BuildKit does; `None` without `=`.
    pub value: Option<String>,
    /// The whole flag.
    pub span: Span,
    /// The value alone; empty at the end of the flag when there is none.
    pub value_span: Span,
    /// The fields of `--mount`, for that flag only.
    pub mount: Option<Mount>,
}

impl Flag {
    /// Whether a boolean flag is on: no value or `true`.
    pub fn is_true(&self) -> bool {
        self.value.as_deref().is_none_or(|v| v.eq_ignore_ascii_case("true"))
    }

    /// The value, or the empty string.
    pub fn value(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }
}

/// The fields of one `RUN --mount=…`, as written: variables are not expanded, defaults not filled in.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Mount {
    /// The CSV fields in order.
    pub fields: Vec<MountField>,
}

/// One `key[=value]` of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountField {
    /// The key in lower case, as written otherwise (`src`, `dst`, … are not replaced by their long names).
    pub key: String,
    /// The value, if there is a `=`.
    pub value: Option<String>,
    /// The whole field.
    pub span: Span,
}

impl Mount {
    /// The last field with one of these keys.
    pub fn field(&self, keys: &[&str]) -> Option<&MountField> {
        self.fields.iter().rev().find(|f| keys.contains(&f.key.as_str()))
    }

    /// The value of the last field with one of these keys.
    pub fn value(&self, keys: &[&str]) -> Option<&str> {
        self.field(keys)?.value.as_deref()
    }

    /// The type in lower case; `bind` when none is given.
    pub fn kind(&self) -> String {
        self.value(&["type"]).unwrap_or("bind").to_ascii_lowercase()
    }
}

/// A word with its place. The text is what BuildKit's parser hands on: continuation removed; for JSON forms the
/// decoded string; quotes and escapes kept where BuildKit keeps them (it removes them at expansion).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Word {
    /// The text; bytes that are not UTF-8 appear as U+FFFD.
    pub text: String,
    /// Where it stands (from the first to the last byte, continued lines included).
    pub span: Span,
}

/// `KEY=value` of ENV, LABEL, ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key as written, quotes kept.
    pub key: Word,
    /// The value as written, quotes kept; `None` for `ARG NAME`.
    pub value: Option<Word>,
    /// Key to value.
    pub span: Span,
}

/// A heredoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, quotes removed.
    pub name: String,
    /// The number before `<<`; 0 when there is none.
    pub fd: u32,
    /// No part of the delimiter is quoted, so variables in the body expand.
    pub expand: bool,
    /// `<<-`: leading tabs of body lines are dropped.
    pub chomp: bool,
    /// The word `<<NAME` in the instruction.
    pub word_span: Span,
    /// The body lines with their line ends, raw.
    pub body_span: Span,
    /// The line that ends it, without its line end.
    pub end_span: Span,
    /// The body as BuildKit keeps it (line ends included, tabs not yet dropped).
    pub body: Vec<u8>,
}

impl Heredoc {
    /// The body as it is used: leading tabs of each line dropped under `<<-`; invalid UTF-8 replaced.
    pub fn content(&self) -> String {
        heredoc::content(self)
    }
}

/// Arguments of an instruction. Words are in file order.
#[derive(Clone, Debug)]
pub enum Args {
    /// `FROM image [AS name]`
    From {
        /// image or stage
        image: Word,
        /// stage name as written
        name: Option<Word>,
    },
    /// RUN, CMD, ENTRYPOINT, SHELL
    Command(Command),
    /// COPY, ADD
    Transfer {
        /// all words but the last, heredoc words among them
        sources: Vec<TransferSource>,
        /// the last word
        dest: Word,
        /// JSON form
        json: bool,
    },
    /// ENV, LABEL
    Pairs {
        /// in order
        pairs: Vec<Pair>,
        /// `ENV key value` without `=`
        legacy: bool,
    },
    /// ARG
    ArgDefs(Vec<Pair>),
    /// WORKDIR, USER, STOPSIGNAL, MAINTAINER: one verbatim string
    Text(Word),
    /// EXPOSE, VOLUME
    Words(Vec<Word>),
    /// HEALTHCHECK
    Healthcheck {
        /// `None` for `HEALTHCHECK NONE`
        command: Option<Command>,
    },
    /// ONBUILD: the trigger, parsed; its spans are in this file
    Onbuild(Box<Instruction>),
    /// What could not be understood; an error says why.
    Invalid,
}

/// A command in exec (JSON) or shell form.
#[derive(Clone, Debug)]
pub enum Command {
    /// `["a", "b"]`
    Exec(Vec<Word>),
    /// one verbatim string, which may hold heredoc words; see [`Instruction::rest`] for its places
    Shell(Word),
}

/// A source of COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferSource {
    /// a path, pattern, URL or git reference
    Path(Word),
    /// a heredoc; the number is its index in [`Instruction::heredocs`]
    Heredoc(usize, Word),
}

/// What BuildKit refuses, or what stops it from reading the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub span: Span,
    /// What is wrong, in a sentence without full stop.
    pub message: String,
    /// What to write instead, if that can be told.
    pub help: Option<String>,
}

/// Parses a Dockerfile. Never fails: what BuildKit would refuse is in [`Document::errors`].
pub fn parse(bytes: &[u8]) -> Document {
    lines::parse(bytes)
}
