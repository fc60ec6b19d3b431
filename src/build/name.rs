//! The names that BuildKit's progress shows for steps (`prefixCommand`, `processCmdEnv` in `dockerfile2llb/convert.go`).

use super::model::{Action, Step};
use super::state::{State, is_secret};
use crate::invoke::platform::Platform;
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

    /// Numbers that nothing gets.
    pub(super) fn skip(&mut self, numbers: usize) {
        self.next += numbers;
    }

    /// More steps than were known before.
    pub(super) fn expect(&mut self, more: usize) {
        self.total += more;
    }

    /// The name of the next step. `platform` is what stands in front of the stage: [`platform_prefix`].
    pub(super) fn next(&mut self, text: &str, onbuild: bool, platform: &str) -> String {
        self.next += 1;
        self.same(text, onbuild, platform)
    }

    /// Another operation of the step that was named last.
    pub(super) fn same(&self, text: &str, onbuild: bool, platform: &str) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        let stage = self.stage.as_ref().map(|s| format!("{s} ")).unwrap_or_default();
        let width = self.total.to_string().len();
        let onbuild = if onbuild { "ONBUILD " } else { "" };
        format!("[{platform}{stage}{:width$}/{}] {onbuild}{text}", self.next, self.total)
    }
}

/// How a build for several platforms tells their steps apart: the platform, and the one that is compiled for where
/// that is another one and a variable says it (`formatTargetPlatform`).
pub(super) fn platform_prefix(platform: &Platform, env: &[(String, String)]) -> String {
    format!("{}{} ", platform.full(), target(platform, env).unwrap_or_default())
}

fn target(base: &Platform, env: &[(String, String)]) -> Option<String> {
    let mut parts = [None, None, None];
    for (name, value) in env {
        match name.as_str() {
            "TARGETPLATFORM" => {
                if let Ok(whole) = Platform::parse(value) {
                    return other(base, &whole);
                }
            }
            "TARGETOS" => parts[0] = Some(value.as_str()),
            "TARGETARCH" => parts[1] = Some(value.as_str()),
            "TARGETVARIANT" => parts[2] = Some(value.as_str()),
            _ => {}
        }
    }
    if parts == [None; 3] {
        return None;
    }
    let [os, arch, variant] = parts;
    let os = os.filter(|v| !v.is_empty()).unwrap_or(&base.os);
    let arch = arch.filter(|v| !v.is_empty()).unwrap_or(&base.arch);
    let whole = match variant.filter(|v| !v.is_empty()) {
        Some(variant) => format!("{os}/{arch}/{variant}"),
        None => format!("{os}/{arch}"),
    };
    other(base, &Platform::parse(&whole).ok()?)
}

fn other(base: &Platform, target: &Platform) -> Option<String> {
    if target.os != base.os {
        return Some(format!("->{}", target.full()));
    }
    let variant = if target.variant.is_empty() { String::new() } else { format!("/{}", target.variant) };
    (target.arch != base.arch).then(|| format!("->{}{variant}", target.arch))
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
