//! How a command ends.

use crate::finding::{Problem, ProblemKind};
use crate::image::registry::RegistryError;
use crate::source::SourceFile;
use std::process::ExitCode;
use std::sync::Arc;

/// The exit codes, the same for every command. 101 never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Nothing at or above `--fail-on`.
    Clean = 0,
    /// Findings, or a mismatch.
    Findings = 1,
    /// Usage, configuration or unreadable input.
    Failed = 2,
    /// Nothing to lint was found.
    Nothing = 3,
    /// A Dockerfile that BuildKit would refuse.
    Refused = 4,
}

impl Exit {
    /// The one that counts where both apply: 2, 4, 1, 3, 0 in this order.
    #[must_use]
    pub fn and(self, other: Exit) -> Exit {
        let weight = |e: Exit| match e {
            Exit::Failed => 4,
            Exit::Refused => 3,
            Exit::Findings => 2,
            Exit::Nothing => 1,
            Exit::Clean => 0,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<ProblemKind> for Exit {
    fn from(kind: ProblemKind) -> Self {
        match kind {
            ProblemKind::Unreadable | ProblemKind::Configuration => Exit::Failed,
            ProblemKind::Refused => Exit::Refused,
        }
    }
}

/// Why a command could not do its work. [`Console::finish`](super::Console::finish) shows it and picks the exit code.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Wrong usage or unreadable input: exit 2.
    #[error("{message}")]
    Failed {
        /// What is wrong, in a sentence without full stop.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Problems with places in files; the exit code follows from their kinds.
    #[error("{} in {}", problems.first().map_or("a problem", |p| p.message.as_str()), problems.first().map_or("a file", |p| p.place.file.as_str()))]
    Problems {
        /// What is wrong.
        problems: Vec<Problem>,
        /// The files they are in, as far as they are in memory.
        files: Vec<Arc<SourceFile>>,
    },
    /// Writing the result failed. A reader that went away is success.
    #[error("cannot write the result: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// Wrong usage or unreadable input, in a sentence without full stop.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), help: None }
    }

    /// The same with advice.
    pub fn failed_with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), help: Some(help.into()) }
    }
}

impl From<RegistryError> for CliError {
    fn from(error: RegistryError) -> Self {
        Self::Failed { message: error.to_string(), help: error.help() }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit::*;

    #[test]
    fn failure_outweighs_refusal_outweighs_findings_outweighs_nothing() {
        assert_eq!(Refused.and(Failed), Failed);
        assert_eq!(Refused.and(Findings), Refused);
        assert_eq!(Nothing.and(Findings), Findings);
        assert_eq!(Clean.and(Nothing), Nothing);
    }
}
