//! `check --fix` and `--diff`: what the fixes make of the files, written or shown.

use super::CliError;
use crate::finding::{Edit, Finding, Fix, Label, Problem, ProblemKind, Safety};
use crate::fix;
use crate::source::{ReadError, SourceFile, reason, write_whole};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub(super) struct FixArgs {
    /// Apply the fixes that are certain; what is read from standard input is written to standard output
    #[arg(long)]
    fix: bool,
    /// With --fix or --diff: also those that a person should look at
    #[arg(long)]
    unsafe_fixes: bool,
    /// Show the fixes as a unified diff and change nothing
    #[arg(long)]
    diff: bool,
}

/// One file, before and after.
struct Change {
    path: PathBuf,
    /// `None` for a file that is not there yet.
    before: Option<Vec<u8>>,
    after: Vec<u8>,
}

/// What the fixes of a run come to.
#[derive(Default)]
pub(super) struct Repairs {
    /// By the name under which a file is shown.
    changes: BTreeMap<String, Change>,
    fixed: Vec<&'static str>,
    elsewhere: Vec<(&'static str, Fix)>,
}

impl FixArgs {
    /// Whether anything is asked for.
    pub(super) fn wanted(&self) -> bool {
        self.fix || self.diff
    }

    /// Whether files are changed, and so what is left to report.
    pub(super) fn writes(&self) -> bool {
        self.fix && !self.diff
    }

    pub(super) fn shows(&self) -> bool {
        self.diff
    }

    fn allows(&self, fix: &Fix) -> bool {
        fix.safety == Safety::Safe || self.unsafe_fixes
    }
}

impl Repairs {
    /// Repairs one Dockerfile. What is left to find in it comes back with it.
    pub(super) fn dockerfile(
        &mut self,
        args: &FixArgs,
        file: &Arc<SourceFile>,
        findings: Vec<Finding>,
        look: impl FnMut(&SourceFile) -> Option<Vec<Finding>>,
    ) -> (Arc<SourceFile>, Vec<Finding>) {
        let repaired = fix::repair(file, findings, |fix| args.allows(fix), look);
        if !repaired.fixed.is_empty() {
            let (path, before) = (file.path.clone(), Some(file.bytes.clone()));
            let after = repaired.file.bytes.clone();
            self.changes.insert(file.name.clone(), Change { path, before, after });
        }
        self.fixed.extend(repaired.fixed);
        self.elsewhere.extend(repaired.elsewhere);
        (Arc::new(repaired.file), repaired.findings)
    }

    /// Takes in the fixes of other files than Dockerfiles. Of several that touch the same place the first one counts,
    /// and what two Dockerfiles want alike is done once. Their findings go where files are written.
    pub(super) fn others<'f>(
        &mut self,
        findings: impl Iterator<Item = &'f mut Vec<Finding>>,
        writes: bool,
    ) -> Result<(), CliError> {
        let mut wanted: BTreeMap<String, Vec<Edit>> = BTreeMap::new();
        let mut done = Vec::new();
        for (rule, fix) in std::mem::take(&mut self.elsewhere) {
            let Some(name) = fix.edits.first().map(|edit| edit.file.clone()) else { continue };
            if fix.edits.iter().any(|edit| edit.file != name) || self.changes.contains_key(&name) {
                continue;
            }
            let known = wanted.entry(name).or_default();
            let new: Vec<Edit> = fix.edits.iter().filter(|edit| !known.contains(edit)).cloned().collect();
            let clash = |edit: &Edit| {
                known.iter().any(|k| k.span.start <= edit.span.end && edit.span.start <= k.span.end)
            };
            if !new.iter().any(clash) {
                known.extend(new);
                done.push((rule, fix));
            }
        }
        for (name, edits) in wanted.into_iter().filter(|(_, edits)| !edits.is_empty()) {
            let path = PathBuf::from(&name);
            let before = match SourceFile::read(&path, name.as_str()) {
                Ok(file) => Some(file.bytes),
                Err(ReadError { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(CliError::failed(error.to_string())),
            };
            let after = fix::apply(before.as_deref().unwrap_or_default(), &edits.iter().collect::<Vec<_>>());
            if let Some(after) = after {
                self.changes.insert(name, Change { path, before, after });
            }
        }
        let mut gone = Vec::new();
        for (rule, fix) in &done {
            self.fixed.push(rule);
            gone.push((*rule, fix.edits.as_slice()));
        }
        if writes {
            let is_gone = |finding: &Finding| {
                finding.fix.as_ref().is_some_and(|fix| gone.contains(&(finding.rule, fix.edits.as_slice())))
            };
            findings.for_each(|findings| findings.retain(|finding| !is_gone(finding)));
        }
        Ok(())
    }

    /// Writes the changed files, each whole or not at all.
    pub(super) fn write(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, change) in &self.changes {
            let now = std::fs::read(&change.path).ok();
            let written = if now == change.before {
                write_whole(&change.path, &change.after).map_err(|e| reason(&e))
            } else {
                Err("it has changed in the meantime".to_owned())
            };
            if let Err(why) = written {
                problems.push(Problem {
                    kind: ProblemKind::Unreadable,
                    place: Label { file: name.clone(), span: None, message: String::new() },
                    message: format!("cannot be written: {why}"),
                    help: None,
                });
            }
        }
        problems
    }

    /// Shows the changes as one diff.
    pub(super) fn show(&self, out: &mut impl Write) -> io::Result<()> {
        self.changes
            .iter()
            .try_for_each(|(name, change)| fix::diff(out, name, change.before.as_deref(), &change.after))
    }

    /// The changed content of a file, or none if it stays as it is.
    pub(super) fn content(&self, name: &str) -> Option<&[u8]> {
        self.changes.get(name).map(|change| change.after.as_slice())
    }

    /// In a line: how many findings of which rules.
    pub(super) fn summary(&self, done: bool) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.fixed.iter().for_each(|rule| *counts.entry(rule).or_default() += 1);
        let rules: Vec<String> = counts
            .iter()
            .map(|(rule, n)| if *n == 1 { (*rule).to_owned() } else { format!("{rule} {n} times") })
            .collect();
        let verb = if done { "fixed" } else { "would be fixed" };
        (!rules.is_empty()).then(|| format!("{verb}: {}", rules.join(", ")))
    }
}
