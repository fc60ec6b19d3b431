//! The names that BuildKit's progress shows for steps (`prefixCommand`, `processCmdEnv` in `dockerfile2llb/convert.go`).

use super::model::{Action, Step};
use super::state::{State, is_secret};
use crate::syntax::Heredoc;
use crate::syntax::word::{Lexer, Variables};

/// Counts the steps of one stage.
pub(super) struct Names {
    stage: Option<String>,
    total: usize,
    next: usize,
}

impl Names {
    pub(super) fn new(stage: Option<String>, total: usize) -> Self {
        Self { stage, total, next: 0 }
    }

    /// The name of the next step.
    pub(super) fn next(&mut self, text: &str, onbuild: bool) -> String {
        self.next += 1;
        self.same(text, onbuild)
    }

    /// Another operation of the step that was named last.
    pub(super) fn same(&self, text: &str, onbuild: bool) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        let stage = self.stage.as_ref().map(|s| format!("{s} ")).unwrap_or_default();
        let width = self.total.to_string().len();
        let onbuild = if onbuild { "ONBUILD " } else { "" };
        format!("[{stage}{:width$}/{}] {onbuild}{text}", self.next, self.total)
    }
}

/// The variables of a state as they may be shown: BuildKit hides what comes from a secret, and so are values whose
/// names look like one here.
struct Masked<'s> {
    state: &'s State,
    secrets: Vec<&'s str>,
}

impl Variables for Masked<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        let value = self.state.value(name);
        let hidden = self.secrets.contains(&name) || (value.is_some() && is_secret(name));
        if hidden { Some("****") } else { value }
    }
}

/// The text of an instruction as progress shows it: joined, its keyword in upper case, variables expanded.
pub(super) fn text(step: &Step<'_>, state: &State, escape: char) -> String {
    let written = String::from_utf8_lossy(&step.instruction.text.bytes).trim().to_owned();
    let lexer = Lexer::new(escape);
    let expanded = match &step.action {
        Action::Run(run) => {
            let mut written = written;
            if run.shell_form && step.instruction.heredocs.len() == 1 {
                // A RUN that is nothing but a heredoc shows the first line of its body.
                if let Some(first) = step.instruction.heredocs.first().filter(|_| is_lone(step)) {
                    written.push_str(&format!(" ({})", summary(first)));
                }
            }
            let secrets = run.mounts.iter().filter_map(|m| m.env.as_deref()).collect();
            let lexer = Lexer { raw_quotes: true, skip_unset: true, ..lexer };
            lexer.expand(&written, &Masked { state, secrets }).map_or(written, |e| e.text)
        }
        _ => {
            let masked = Masked { state, secrets: Vec::new() };
            lexer.expand(&written, &masked).map_or(written, |e| e.text)
        }
    };
    match expanded.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => expanded.to_uppercase(),
    }
}

fn is_lone(step: &Step<'_>) -> bool {
    match &step.instruction.args {
        crate::syntax::Args::Command(crate::syntax::Command::Shell(word)) => {
            super::model::lone_heredoc(step.instruction, word).is_some()
        }
        _ => false,
    }
}

fn summary(heredoc: &Heredoc) -> String {
    let body = String::from_utf8_lossy(&heredoc.body).trim().replace("\r\n", "\n");
    match body.split_once('\n') {
        Some((first, _)) => format!("{first}..."),
        None => body,
    }
}
