//! Findings that are known already, in a file: a new rule can be used before everything that it finds is cured.
//!
//! An entry is a rule, a path and a fingerprint, so moved lines keep it; a changed instruction does not. Paths are
//! relative to the folder of the file, so that it counts wherever layerlint is started.

use crate::finding::Finding;
use crate::invoke::without_dots;
use crate::source::{ReadError, SourceFile, reason, shown, write_whole};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The one format there is.
const SCHEMA: &str = "layerlint.baseline/1";

/// A finding that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The file, from the folder of the baseline, with `/`.
    pub path: String,
    /// The rule.
    pub rule: String,
    /// The stage, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Who it is in that file.
    pub fingerprint: String,
}

#[derive(Serialize, Deserialize)]
struct Document {
    schema: String,
    findings: Vec<Entry>,
}

/// Known findings, and which of them were met.
#[derive(Debug)]
pub struct Baseline {
    /// The file as it is shown.
    pub name: String,
    folder: PathBuf,
    entries: BTreeMap<Entry, bool>,
}

/// A baseline that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The file cannot be read.
    #[error("cannot read the baseline `{}`: {}", shown(&.0.path), .0.reason())]
    Read(#[from] ReadError),
    /// It is something else.
    #[error("`{name}` is no baseline: {message}")]
    Malformed {
        /// The file.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// It is of another version.
    #[error(
        "`{name}` is a baseline of another kind: its schema is `{schema}`, and `{SCHEMA}` is what can be read"
    )]
    Version {
        /// The file.
        name: String,
        /// What it says.
        schema: String,
    },
    /// It cannot be written.
    #[error("cannot write the baseline `{name}`: {}", reason(source))]
    Write {
        /// The file.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Baseline {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Self, BaselineError> {
        let file = SourceFile::read(path, shown(path))?;
        let name = file.name.clone();
        let malformed = |message: String| BaselineError::Malformed { name: name.clone(), message };
        // The version first: another one may have other fields.
        let value: serde_json::Value =
            serde_json::from_slice(&file.bytes).map_err(|e| malformed(e.to_string()))?;
        match value.get("schema").and_then(|s| s.as_str()) {
            Some(SCHEMA) => {}
            Some(schema) => return Err(BaselineError::Version { schema: schema.to_owned(), name }),
            None => return Err(malformed("it has no `schema`".to_owned())),
        }
        let document: Document = serde_json::from_value(value).map_err(|e| malformed(e.to_string()))?;
        let entries = document.findings.into_iter().map(|entry| (entry, false)).collect();
        Ok(Self { name, folder: folder_of(path), entries })
    }

    /// Whether a finding is known; remembers that it was met.
    pub fn knows(&mut self, finding: &Finding) -> bool {
        let entry = entry(finding, &self.folder);
        match self.entries.get_mut(&entry) {
            Some(met) => {
                *met = true;
                true
            }
            None => false,
        }
    }

    /// Number of findings that were met.
    pub fn met(&self) -> usize {
        self.entries.values().filter(|met| **met).count()
    }

    /// Entries that were not met although the rule ran on the file, or the file is gone.
    pub fn stale(&self, looked_at: impl Fn(&Path, &str) -> bool) -> Vec<&Entry> {
        let open = self.entries.iter().filter(|(_, met)| !**met).map(|(entry, _)| entry);
        open.filter(|entry| {
            let path = without_dots(&self.folder.join(&entry.path));
            !path.exists() || looked_at(&path, &entry.rule)
        })
        .collect()
    }
}

/// Writes the findings as known ones.
pub fn write(path: &Path, findings: &[Finding]) -> Result<(), BaselineError> {
    let folder = folder_of(path);
    let mut entries: Vec<Entry> = findings.iter().map(|finding| entry(finding, &folder)).collect();
    entries.sort();
    let document = Document { schema: SCHEMA.to_owned(), findings: entries };
    let failed = |source| BaselineError::Write { name: shown(path), source };
    let mut text = serde_json::to_vec_pretty(&document).map_err(|e| failed(e.into()))?;
    text.push(b'\n');
    write_whole(path, &text).map_err(failed)
}

fn entry(finding: &Finding, folder: &Path) -> Entry {
    Entry {
        path: between(folder, Path::new(&finding.primary.file)),
        rule: finding.rule.to_owned(),
        stage: finding.stage.clone(),
        fingerprint: finding.fingerprint.clone(),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    let absolute = without_dots(&std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()));
    absolute.parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// The way from a folder to a path, with `/`.
fn between(folder: &Path, path: &Path) -> String {
    let absolute = without_dots(&std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()));
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (folder.components().collect(), absolute.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from.iter().skip(common).map(|_| "..".to_owned());
    let down = to.iter().skip(common).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_from_the_folder_of_the_baseline() {
        for (folder, path, expected) in [
            ("/r", "/r/a/Dockerfile", "a/Dockerfile"),
            ("/r/ci", "/r/a/Dockerfile", "../a/Dockerfile"),
            ("/r", "/r/./a/../b", "b"),
            ("/", "/a", "a"),
        ] {
            assert_eq!(between(Path::new(folder), Path::new(path)), expected);
        }
    }
}
