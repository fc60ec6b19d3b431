//! What can go wrong with a context, with its place.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bstr::BString;

use super::pattern::PatternProblem;
use crate::source::{Span, reason};

/// A pattern of an ignore file that Docker refuses.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{file}:{line}: {}", self.reason())]
pub struct IgnoreError {
    /// The ignore file as it is shown.
    pub file: String,
    /// 1-based line of the pattern.
    pub line: u32,
    /// The pattern in the file.
    pub span: Span,
    /// The pattern as it was read; empty where the line was not read at all.
    pub text: BString,
    /// What is wrong with it.
    pub problem: PatternProblem,
}

impl IgnoreError {
    /// What is wrong, without the place.
    pub fn reason(&self) -> String {
        match self.text.is_empty() {
            true => self.problem.to_string(),
            false => format!("`{}`: {}", self.text, self.problem),
        }
    }
}

/// A context that cannot be read, or that Docker would not send.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContextError {
    /// The context is no readable directory.
    #[error("cannot read the build context {}: {}", path.display(), reason(source))]
    Root {
        /// The directory as it was given.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A pattern of the ignore file is refused.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// Something that would be sent cannot be read.
    #[error("cannot read {path} in the build context: {}", reason(source))]
    Read {
        /// The path in the context.
        path: BString,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A source of COPY, ADD or a mount is no valid pattern where it narrows the transfer.
    #[error("the source `{text}` cannot narrow the build context: {problem}")]
    Narrow {
        /// The pattern made of the source.
        text: BString,
        /// What is wrong with it.
        problem: PatternProblem,
    },
}

/// A selector that yields no checksum; the build fails at this instruction.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SelectError {
    /// Nothing is there: missing, ignored, or a link that leads nowhere.
    #[error("{path:?}: not found")]
    NotFound {
        /// The path that was looked for, with a leading `/`.
        path: BString,
    },
    /// More than 255 links on the way, as in a loop.
    #[error("{path:?}: too many links")]
    TooManyLinks {
        /// The path that was looked for.
        path: BString,
    },
    /// The source, or a pattern of `--parents` or `--exclude`, is refused.
    #[error("`{text}`: {problem}")]
    Pattern {
        /// The pattern.
        text: BString,
        /// What is wrong with it.
        problem: PatternProblem,
    },
    /// The context itself fails.
    #[error(transparent)]
    Context(#[from] ContextError),
}
