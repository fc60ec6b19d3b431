//! The file as it is written. Its JSON schema, `layerlint.schema.json`, is made of these types.

use crate::finding::Severity;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

#[cfg(test)]
use schemars::JsonSchema;

/// Configuration of layerlint. Paths are relative to the folder of the file; command line options count instead.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct File {
    /// Only these rules.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub(super) select: Option<Vec<Spanned<String>>>,
    /// Not these rules.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) ignore: Vec<Spanned<String>>,
    /// Exit with 1 from this severity on.
    pub(super) fail_on: Option<Threshold>,
    /// Show nothing less severe.
    pub(super) min_severity: Option<Shown>,
    /// Globs of Dockerfiles and folders that are left alone, unless they are named on the command line. `*` stays
    /// within a name, `**` does not; a pattern without `/` fits a name at any depth.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) exclude: Vec<Spanned<String>>,
    /// Every comment that silences a rule must say why: `reason="…"`.
    pub(super) require_reasons: bool,
    /// A file of `--write-baseline`: its findings are known and not shown.
    pub(super) baseline: Option<String>,
    /// Rules that do not run on some Dockerfiles, by glob.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, Vec<String>>"))]
    pub(super) per_file_ignores: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    /// A severity, or a table with a severity and options, for single rules.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, Table>"))]
    pub(super) rules: BTreeMap<Spanned<String>, RuleEntry>,
    /// How Dockerfiles are built; the first entry that fits counts.
    pub(super) build: Vec<Build>,
    /// Where base images can be read: an OCI layout, an image archive or an image configuration, by reference.
    pub(super) images: BTreeMap<String, String>,
}

/// A Cargo.toml, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) workspace: Option<Section>,
    pub(super) package: Option<Section>,
}

/// `[workspace]` or `[package]`.
#[derive(Debug, Deserialize)]
pub(super) struct Section {
    pub(super) metadata: Option<Metadata>,
}

/// What other tools write in there is theirs.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) layerlint: Option<File>,
}

/// From which severity on the exit code is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Threshold {
    /// Errors alone.
    Error,
    /// Warnings too.
    Warning,
    /// Everything.
    Info,
    /// Nothing.
    Never,
}

impl Threshold {
    /// Whether a finding of that severity counts.
    pub fn reached(self, severity: Severity) -> bool {
        match self {
            Threshold::Error => severity >= Severity::Error,
            Threshold::Warning => severity >= Severity::Warning,
            Threshold::Info => true,
            Threshold::Never => false,
        }
    }
}

/// The least severity that is shown.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Shown {
    Error,
    Warning,
    Info,
}

impl From<Shown> for Severity {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Error => Severity::Error,
            Shown::Warning => Severity::Warning,
            Shown::Info => Severity::Info,
        }
    }
}

/// The severity of a rule.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// The rule does not run.
    Off,
    Info,
    Warning,
    Error,
}

impl Level {
    /// `None` for a rule that does not run.
    pub(super) fn severity(self) -> Option<Severity> {
        match self {
            Level::Off => None,
            Level::Info => Some(Severity::Info),
            Level::Warning => Some(Severity::Warning),
            Level::Error => Some(Severity::Error),
        }
    }
}

/// What is said about one rule.
#[derive(Debug)]
pub(super) enum RuleEntry {
    Level(Level),
    Table(Table),
}

/// Severity and options of a rule.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    /// How severe its findings are, or `off`.
    pub(super) severity: Option<Level>,
    /// Globs of what the rule lets pass; `*` stands for anything.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
    /// Names that count beside those that the rule knows.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub(super) names: Option<Spanned<Vec<Spanned<String>>>>,
}

impl<'de> Deserialize<'de> for RuleEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not an untagged enum: those forget where the mistake is.
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = RuleEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a severity or a table")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RuleEntry, E> {
                let known = &["off", "info", "warning", "error"];
                Ok(RuleEntry::Level(match text {
                    "off" => Level::Off,
                    "info" => Level::Info,
                    "warning" => Level::Warning,
                    "error" => Level::Error,
                    other => return Err(E::unknown_variant(other, known)),
                }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RuleEntry, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(RuleEntry::Table)
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

/// How some Dockerfiles are built.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    /// The Dockerfile, or a glob of several.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) dockerfile: Spanned<String>,
    /// The context directory.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) context: Option<Spanned<String>>,
    /// The stage that is built.
    pub(super) target: Option<String>,
    /// Platforms, separated by commas.
    pub(super) platform: Option<String>,
    /// Build arguments.
    #[serde(default)]
    pub(super) args: BTreeMap<String, Scalar>,
    /// Additional build contexts: a directory or an address, by name.
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, String>,
}

/// A value that is text to Docker.
#[derive(Debug)]
pub(super) struct Scalar(pub(super) String);

#[cfg(test)]
impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a boolean")
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}
