//! What a rule says: plain data, without colour and without words of the terminal.

mod fingerprint;

pub use fingerprint::{identify, words_of};

use crate::build::model::BuildError;
use crate::context::ContextError;
use crate::source::{ReadError, SourceFile, Span, reason, shown};
use crate::stage::StageError;
use crate::syntax::SyntaxError;
use serde::Serialize;

/// How bad a finding is. Severity says consequence, not certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing: cost or advice.
    Info,
    /// Stale or slow for most.
    Warning,
    /// Wrong content can ship, or the build breaks.
    Error,
}

impl Severity {
    /// `info`, `warning` or `error`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl std::str::FromStr for Severity {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "info" => Ok(Severity::Info),
            "warning" => Ok(Severity::Warning),
            "error" => Ok(Severity::Error),
            other => Err(format!("unknown severity `{other}`: it is `info`, `warning` or `error`")),
        }
    }
}

/// A place with a word about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Name of the file as shown ([`crate::source::SourceFile::name`]).
    pub file: String,
    /// Where in it; `None` means the file as a whole (for files that are named, not read).
    pub span: Option<Span>,
    /// What is there, in a short clause: lower case, no full stop. May be empty.
    pub message: String,
}

/// One thing that is wrong, with its evidence.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Name of the rule.
    pub rule: &'static str,
    /// As the rule's page says, unless the configuration says otherwise.
    pub severity: Severity,
    /// What happens, to whom, since when; one sentence without full stop, in the user's own paths.
    pub message: String,
    /// The instruction that causes it.
    pub primary: Label,
    /// Other places that take part.
    pub related: Vec<Label>,
    /// How to fix it, concretely.
    pub help: Option<String>,
    /// The stage by name, or its number.
    pub stage: Option<String>,
    /// The facts that made the rule fire: files, bytes, patterns.
    pub evidence: serde_json::Map<String, serde_json::Value>,
    /// A change to the files that removes it.
    pub fix: Option<Fix>,
    /// Who it is within its file, wherever its line moves to; see [`identify`].
    pub fingerprint: String,
}

impl Finding {
    /// Another place in the file of the primary label.
    #[must_use]
    pub fn also(self, span: Span, message: impl Into<String>) -> Self {
        let file = self.primary.file.clone();
        self.related(file, Some(span), message.into())
    }

    /// A place in another file that was read.
    #[must_use]
    pub fn also_in(self, file: &SourceFile, span: Span, message: impl Into<String>) -> Self {
        self.related(file.name.clone(), Some(span), message.into())
    }

    /// A file as a whole, by the name under which it is shown.
    #[must_use]
    pub fn also_file(self, name: impl Into<String>, message: impl Into<String>) -> Self {
        self.related(name.into(), None, message.into())
    }

    fn related(mut self, file: String, span: Option<Span>, message: String) -> Self {
        self.related.push(Label { file, span, message });
        self
    }

    /// What stands at the primary place, in a short clause.
    #[must_use]
    pub fn label(mut self, message: impl Into<String>) -> Self {
        self.primary.message = message.into();
        self
    }

    /// How to fix it, concretely.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A fact that made the rule fire. What cannot be JSON is left out.
    #[must_use]
    pub fn evidence(mut self, name: &str, fact: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(fact) {
            self.evidence.insert(name.to_owned(), value);
        }
        self
    }

    /// A change to the files that removes it, if one is known.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<Option<Fix>>) -> Self {
        self.fix = fix.into();
        self
    }
}

/// Whether a fix may be applied unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Safety {
    /// The image stays the same, or becomes what the Dockerfile plainly says it should be.
    Safe,
    /// What is meant cannot be known for certain: a person should look.
    Unsafe,
}

/// A set of edits that belong together.
#[derive(Clone, Debug)]
pub struct Fix {
    /// Whether it may be applied unseen.
    pub safety: Safety,
    /// What it does, in one clause.
    pub description: String,
    /// The edits; they do not overlap.
    pub edits: Vec<Edit>,
}

/// A replacement of bytes in one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edit {
    /// Name of the file as shown.
    pub file: String,
    /// What is replaced.
    pub span: Span,
    /// By what.
    pub text: String,
}

/// Something that rules need and could not look at: they are silent there, or went by a guess.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// As the page of a rule says it in `needs`: `context`, `cargo`.
    pub needs: &'static str,
    /// The Dockerfile by the name under which it is shown.
    pub path: String,
    /// What is the matter, without full stop.
    pub message: String,
    /// What to do about it, if there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Why a file could not be looked at, or would stop a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem; the exit code follows from it.
    pub kind: ProblemKind,
    /// Where.
    pub place: Label,
    /// What is wrong, in a sentence without full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Kinds of [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A file that cannot be read: exit 2.
    Unreadable,
    /// Something BuildKit refuses: exit 4.
    Refused,
    /// A mistake in the configuration: exit 2.
    Configuration,
}

impl ProblemKind {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            ProblemKind::Unreadable => "unreadable",
            ProblemKind::Refused => "refused",
            ProblemKind::Configuration => "configuration",
        }
    }
}

impl Problem {
    /// What BuildKit refuses in a file.
    pub fn refused(file: &SourceFile, error: &SyntaxError) -> Self {
        let place = Label { file: file.name.clone(), span: Some(error.span), message: String::new() };
        Self { kind: ProblemKind::Refused, place, message: error.message.clone(), help: error.help.clone() }
    }

    /// A build context that cannot be read or that Docker would not send.
    pub fn context(error: &ContextError) -> Self {
        let (kind, file, span, help) = match error {
            ContextError::Ignore(e) => (ProblemKind::Refused, e.file.clone(), Some(e.span), None),
            ContextError::Narrow { text, .. } => (ProblemKind::Refused, text.to_string(), None, None),
            ContextError::Root { path, .. } => (ProblemKind::Unreadable, shown(path), None, None),
            ContextError::Read { path, .. } => {
                let help = "make it readable, or leave it out with a pattern in the ignore file";
                (ProblemKind::Unreadable, path.to_string(), None, Some(help.to_owned()))
            }
        };
        let message = match error {
            ContextError::Ignore(e) => e.reason(),
            ContextError::Narrow { problem, .. } => problem.to_string(),
            ContextError::Root { source, .. } => {
                format!("cannot be read as a build context: {}", reason(source))
            }
            ContextError::Read { source, .. } => {
                format!("cannot be read, and nothing leaves it out of the build context: {}", reason(source))
            }
        };
        Self { kind, place: Label { file, span, message: String::new() }, message, help }
    }

    /// What BuildKit refuses when it resolves stages.
    pub fn stage(file: &SourceFile, error: &StageError) -> Self {
        let span = (!error.span.is_empty()).then_some(error.span);
        let place = Label { file: file.name.clone(), span, message: String::new() };
        Self { kind: ProblemKind::Refused, place, message: error.message.clone(), help: error.help.clone() }
    }

    /// What BuildKit refuses when it expands an instruction.
    pub fn build(file: &SourceFile, error: &BuildError) -> Self {
        let place = Label { file: file.name.clone(), span: Some(error.span), message: String::new() };
        Self { kind: ProblemKind::Refused, place, message: error.message.clone(), help: None }
    }

    /// A file, known to people as `name`, that cannot be read.
    pub fn unreadable(name: impl Into<String>, error: &ReadError) -> Self {
        Self {
            kind: ProblemKind::Unreadable,
            place: Label { file: name.into(), span: None, message: String::new() },
            message: format!("cannot be read: {}", error.reason()),
            help: None,
        }
    }
}
