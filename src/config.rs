//! `layerlint.toml`: what a project says about the rules, its builds and its base images.
//!
//! The file is looked for beside the Dockerfile and in every folder above: `layerlint.toml`, `.layerlint.toml`, or a
//! table `[workspace.metadata.layerlint]` or `[package.metadata.layerlint]` of a Cargo.toml. The nearest one counts,
//! alone. Paths in it are relative to its folder. Every mistake is an error with its place.

mod file;
#[cfg(test)]
mod schema;

pub use file::Threshold;

use crate::finding::{Label, Problem, ProblemKind, Severity};
use crate::invoke::without_dots;
use crate::rule::{ALL, OPTIONS, Options, Rule, Settings, globs};
use crate::source::{ReadError, SourceFile, Span, nearest, shown};
use file::{File, Manifest, RuleEntry, Table};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;

/// Names of the file, in the order in which they are looked for.
const NAMES: [&str; 2] = ["layerlint.toml", ".layerlint.toml"];

/// A configuration that was read and understood.
#[derive(Debug)]
pub struct Config {
    /// The file as it is shown.
    pub name: String,
    /// The folder that its paths are relative to, absolute.
    folder: PathBuf,
    select: Option<Vec<&'static Rule>>,
    ignore: Vec<&'static Rule>,
    severities: HashMap<&'static str, Severity>,
    options: HashMap<&'static str, Options>,
    per_file: Vec<(GlobSet, Vec<&'static Rule>)>,
    exclude: GlobSet,
    require_reasons: bool,
    builds: Vec<Build>,
    /// Exit with 1 from here on.
    pub fail_on: Option<Threshold>,
    /// Show nothing less severe.
    pub min_severity: Option<Severity>,
    /// Known findings.
    pub baseline: Option<PathBuf>,
    /// Where base images can be read, by reference.
    pub images: Vec<(String, PathBuf)>,
}

/// How a Dockerfile is built.
#[derive(Debug)]
pub struct Build {
    dockerfile: GlobSet,
    /// The context directory.
    pub context: Option<PathBuf>,
    /// The stage.
    pub target: Option<String>,
    /// Build arguments.
    pub args: Vec<(String, String)>,
    /// The platforms.
    pub platforms: Vec<String>,
    /// Additional contexts: a directory or an address.
    pub contexts: Vec<(String, String)>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something in it is wrong.
    #[error("{}: {message}", file.name)]
    Wrong {
        /// The file.
        file: Arc<SourceFile>,
        /// Where.
        span: Option<Span>,
        /// What is wrong, in a sentence without full stop.
        message: String,
        /// What to write instead.
        help: Option<String>,
    },
}

impl ConfigError {
    /// As something to be shown.
    pub fn problem(&self) -> Problem {
        let (kind, file, span, message, help) = match self {
            ConfigError::Read(error) => (
                ProblemKind::Unreadable,
                shown(&error.path),
                None,
                format!("cannot be read: {}", error.reason()),
                None,
            ),
            ConfigError::Wrong { file, span, message, help } => {
                (ProblemKind::Configuration, file.name.clone(), *span, message.clone(), help.clone())
            }
        };
        Problem { kind, place: Label { file, span, message: String::new() }, message, help }
    }

    /// The file, if it could be read.
    pub fn file(&self) -> Option<Arc<SourceFile>> {
        match self {
            ConfigError::Read(_) => None,
            ConfigError::Wrong { file, .. } => Some(file.clone()),
        }
    }
}

/// Finds configurations, each folder asked once.
#[derive(Debug, Default)]
pub struct Finder {
    known: HashMap<PathBuf, Option<Arc<Config>>>,
}

impl Finder {
    /// The configuration of a file or folder that lies in `folder`.
    pub fn find(&mut self, folder: &Path) -> Result<Option<Arc<Config>>, ConfigError> {
        let Ok(absolute) = std::path::absolute(folder) else { return Ok(None) };
        let absolute = without_dots(&absolute);
        let mut asked = Vec::new();
        let mut found = None;
        for dir in absolute.ancestors() {
            if let Some(known) = self.known.get(dir) {
                found = known.clone();
                break;
            }
            asked.push(dir.to_path_buf());
            if let Some(config) = in_folder(dir)? {
                found = Some(Arc::new(config));
                break;
            }
        }
        self.known.extend(asked.into_iter().map(|dir| (dir, found.clone())));
        Ok(found)
    }
}

/// The configuration that lies in one folder.
fn in_folder(dir: &Path) -> Result<Option<Config>, ConfigError> {
    let present: Vec<PathBuf> =
        NAMES.iter().map(|name| dir.join(name)).filter(|path| path.is_file()).collect();
    if let [path, rest @ ..] = present.as_slice() {
        let config = Config::read(path)?;
        if rest.is_empty() {
            return Ok(Some(config));
        }
        let file = Arc::new(SourceFile::read(path, shown(path))?);
        let message = format!("`{}` and `{}` lie in one folder", NAMES[0], NAMES[1]);
        let help = Some("delete one of them".to_owned());
        return Err(ConfigError::Wrong { file, span: None, message, help });
    }
    let manifest = dir.join("Cargo.toml");
    if !manifest.is_file() {
        return Ok(None);
    }
    // A manifest that cannot be read is cargo's business.
    let Ok(file) = SourceFile::read(&manifest, shown(&manifest)) else { return Ok(None) };
    from_manifest(Arc::new(file))
}

/// The table of a Cargo.toml, if it has one.
fn from_manifest(file: Arc<SourceFile>) -> Result<Option<Config>, ConfigError> {
    let Ok(text) = std::str::from_utf8(&file.bytes) else { return Ok(None) };
    if !text.contains("layerlint") {
        return Ok(None);
    }
    // Nor are mistakes elsewhere in it.
    let Ok(table) = toml::from_str::<toml::Table>(text) else { return Ok(None) };
    let has = |section: &str| {
        let metadata = table.get(section).and_then(|s| s.get("metadata"));
        metadata.is_some_and(|m| m.get("layerlint").is_some())
    };
    let (workspace, package) = (has("workspace"), has("package"));
    if !workspace && !package {
        return Ok(None);
    }
    if workspace && package {
        return Err(ConfigError::Wrong {
            file,
            span: None,
            message: "`[workspace.metadata.layerlint]` and `[package.metadata.layerlint]` are in one file"
                .to_owned(),
            help: Some("keep one of them".to_owned()),
        });
    }
    let manifest: Manifest = toml::from_str(text).map_err(|e| wrong_toml(&file, &e))?;
    let section = if workspace { manifest.workspace } else { manifest.package };
    let Some(read) = section.and_then(|s| s.metadata).and_then(|m| m.layerlint) else { return Ok(None) };
    Config::new(file, read).map(Some)
}

impl Config {
    /// Reads a file; a Cargo.toml must have a table for it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = Arc::new(SourceFile::read(path, shown(path))?);
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            let none = ConfigError::Wrong {
                file: file.clone(),
                span: None,
                message:
                    "there is no table `[workspace.metadata.layerlint]` or `[package.metadata.layerlint]`"
                        .to_owned(),
                help: None,
            };
            return from_manifest(file)?.ok_or(none);
        }
        let text = match std::str::from_utf8(&file.bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                let span = Some(Span::new(at, at + 1));
                let message = "a TOML file is UTF-8, and this byte is not".to_owned();
                return Err(ConfigError::Wrong { file, span, message, help: None });
            }
        };
        let read: File = toml::from_str(text).map_err(|e| wrong_toml(&file, &e))?;
        Self::new(file, read)
    }

    fn new(file: Arc<SourceFile>, read: File) -> Result<Self, ConfigError> {
        let absolute = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
        let folder = without_dots(&absolute).parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let reading = Reading { file: &file, folder: &folder };
        let mut severities = HashMap::new();
        let mut options = HashMap::new();
        let mut off = Vec::new();
        for (name, entry) in &read.rules {
            let rule = reading.rule(name)?;
            let table = match entry {
                RuleEntry::Level(level) => &Table { severity: Some(*level), ..Table::default() },
                RuleEntry::Table(table) => table,
            };
            match table.severity.map(file::Level::severity) {
                Some(Some(severity)) => {
                    severities.insert(rule.name, severity);
                }
                Some(None) => off.push(rule),
                None => {}
            }
            if let Some(values) = reading.options(rule, table)? {
                options.insert(rule.name, values);
            }
        }
        let mut ignore = reading.rules(&read.ignore)?;
        ignore.extend(off);
        let per_file = |(pattern, names): (&Spanned<String>, &Vec<_>)| {
            Ok((reading.paths([pattern])?, reading.rules(names)?))
        };
        Ok(Self {
            select: read.select.as_deref().map(|names| reading.rules(names)).transpose()?,
            ignore,
            severities,
            options,
            per_file: read.per_file_ignores.iter().map(per_file).collect::<Result<_, ConfigError>>()?,
            exclude: reading.paths(&read.exclude)?,
            require_reasons: read.require_reasons,
            builds: read.build.iter().map(|build| reading.build(build)).collect::<Result<_, _>>()?,
            fail_on: read.fail_on,
            min_severity: read.min_severity.map(Severity::from),
            baseline: read.baseline.as_ref().map(|path| reading.path(path)),
            images: read.images.iter().map(|(name, path)| (name.clone(), reading.path(path))).collect(),
            name: file.name.clone(),
            folder,
        })
    }

    /// A path from the folder of the configuration, with `/`; `None` if it lies elsewhere.
    fn below(&self, path: &Path) -> Option<String> {
        let absolute = without_dots(&std::path::absolute(path).ok()?);
        let below = absolute.strip_prefix(&self.folder).ok()?;
        let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        Some(parts.join("/"))
    }

    /// Whether a Dockerfile that is found, not named, shall be left alone.
    pub fn excludes(&self, path: &Path) -> bool {
        !self.exclude.is_empty() && self.below(path).is_some_and(|path| matches_in(&self.exclude, &path))
    }

    /// The rules for a Dockerfile. What the command line selects counts instead of what is selected here; what it
    /// ignores is ignored as well.
    pub fn settings(&self, path: &Path, select: &[&'static Rule], ignore: &[&'static Rule]) -> Settings {
        let has = |list: &[&Rule], rule: &Rule| list.iter().any(|r| r.name == rule.name);
        let below = self.below(path);
        let here = |globs: &GlobSet| below.as_ref().is_some_and(|path| matches_in(globs, path));
        let off: Vec<&Rule> = self
            .per_file
            .iter()
            .filter(|(globs, _)| here(globs))
            .flat_map(|(_, rules)| rules)
            .copied()
            .collect();
        let wanted = |rule: &Rule| match select {
            [] => self.select.as_deref().is_none_or(|s| has(s, rule)) && !has(&self.ignore, rule),
            select => has(select, rule),
        };
        let rules = ALL
            .iter()
            .copied()
            .filter(|rule| wanted(rule) && !has(ignore, rule) && !has(&off, rule))
            .collect();
        Settings {
            severities: self.severities.clone(),
            options: self.options.clone(),
            require_reasons: self.require_reasons,
            ..Settings::of(rules)
        }
    }

    /// How a Dockerfile is built, if it is said: the first that fits.
    pub fn build(&self, dockerfile: &Path) -> Option<&Build> {
        if self.builds.is_empty() {
            return None;
        }
        let path = self.below(dockerfile)?;
        self.builds.iter().find(|build| matches_in(&build.dockerfile, &path))
    }
}

/// Whether a pattern fits the path or a folder above it.
fn matches_in(globs: &GlobSet, path: &str) -> bool {
    Path::new(path).ancestors().any(|path| !path.as_os_str().is_empty() && globs.is_match(path))
}

/// A file that is being understood.
struct Reading<'f> {
    file: &'f Arc<SourceFile>,
    folder: &'f Path,
}

impl Reading<'_> {
    fn wrong(&self, at: std::ops::Range<usize>, message: String, help: Option<String>) -> ConfigError {
        ConfigError::Wrong { file: self.file.clone(), span: Some(Span::new(at.start, at.end)), message, help }
    }

    fn rule(&self, name: &Spanned<String>) -> Result<&'static Rule, ConfigError> {
        Rule::named(name.get_ref()).ok_or_else(|| {
            let help = match Rule::nearest(name.get_ref()) {
                Some(nearest) => format!("the nearest name is `{nearest}`"),
                None => "`layerlint rules` lists the names".to_owned(),
            };
            self.wrong(name.span(), format!("there is no rule `{}`", name.get_ref()), Some(help))
        })
    }

    fn rules(&self, names: &[Spanned<String>]) -> Result<Vec<&'static Rule>, ConfigError> {
        names.iter().map(|name| self.rule(name)).collect()
    }

    /// Globs of paths: `*` stays within a name, `**` does not; without `/` a pattern fits a name at any depth.
    fn paths<'p>(
        &self,
        patterns: impl IntoIterator<Item = &'p Spanned<String>>,
    ) -> Result<GlobSet, ConfigError> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let text =
                pattern.get_ref().strip_prefix("./").unwrap_or(pattern.get_ref()).trim_end_matches('/');
            let text = match text.strip_prefix('/') {
                Some(anchored) => anchored.to_owned(),
                None if text.contains('/') => text.to_owned(),
                None => format!("**/{text}"),
            };
            let glob = GlobBuilder::new(&text).literal_separator(true).build();
            set.add(glob.map_err(|e| {
                self.wrong(pattern.span(), format!("this is no pattern: {}", e.kind()), None)
            })?);
        }
        set.build().map_err(|e| ConfigError::Wrong {
            file: self.file.clone(),
            span: None,
            message: format!("these patterns cannot be used together: {e}"),
            help: None,
        })
    }

    fn path(&self, path: &str) -> PathBuf {
        // Shown as the user knows it, so from the folder as the file was named.
        match self.file.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => near(&parent.join(path)),
            _ if self.file.path.is_relative() => near(Path::new(path)),
            _ => self.folder.join(path),
        }
    }

    fn options(&self, rule: &Rule, table: &Table) -> Result<Option<Options>, ConfigError> {
        let known: Vec<&str> =
            OPTIONS.iter().filter(|o| o.rule == rule.name).map(|o| o.name.name()).collect();
        for (name, given) in [("allow", &table.allow), ("names", &table.names)] {
            if let Some(given) = given.as_ref().filter(|_| !known.contains(&name)) {
                let help = match known.as_slice() {
                    [] => "it has no options but `severity`".to_owned(),
                    known => format!("its options are `severity` and `{}`", known.join("`, `")),
                };
                let message = format!("`{}` has no option `{name}`", rule.name);
                return Err(self.wrong(given.span(), message, Some(help)));
            }
        }
        if table.allow.is_none() && table.names.is_none() {
            return Ok(None);
        }
        let allow = match &table.allow {
            Some(list) => {
                for pattern in list.get_ref() {
                    globs([pattern.get_ref().as_str()]).map_err(|e| {
                        self.wrong(pattern.span(), format!("this is no pattern: {}", e.kind()), None)
                    })?;
                }
                globs(list.get_ref().iter().map(|p| p.get_ref().as_str())).unwrap_or_default()
            }
            None => GlobSet::empty(),
        };
        let names =
            table.names.iter().flat_map(|list| list.get_ref()).map(|name| name.get_ref().clone()).collect();
        Ok(Some(Options { allow, names }))
    }

    fn build(&self, build: &file::Build) -> Result<Build, ConfigError> {
        let context = match &build.context {
            Some(context) => {
                let path = self.path(context.get_ref());
                if !path.is_dir() {
                    let message = format!("the context `{}` is not a directory", shown(&path));
                    let help = Some(format!("paths are relative to the folder of `{}`", self.file.name));
                    return Err(self.wrong(context.span(), message, help));
                }
                Some(path)
            }
            None => None,
        };
        let place = |value: &String| match value.contains("://") {
            true => value.clone(),
            false => self.path(value).to_string_lossy().into_owned(),
        };
        Ok(Build {
            dockerfile: self.paths([&build.dockerfile])?,
            context,
            target: build.target.clone(),
            args: pairs(&build.args, |value| value.0.clone()),
            platforms: build
                .platform
                .iter()
                .flat_map(|p| p.split(','))
                .map(|p| p.trim().to_owned())
                .collect(),
            contexts: pairs(&build.contexts, place),
        })
    }
}

fn pairs<V>(map: &BTreeMap<String, V>, value: impl Fn(&V) -> String) -> Vec<(String, String)> {
    map.iter().map(|(name, v)| (name.clone(), value(v))).collect()
}

/// Without `.` and with `..` resolved; from the working directory where it lies below it.
fn near(path: &Path) -> PathBuf {
    let Ok(absolute) = std::path::absolute(path) else { return path.to_path_buf() };
    let clean = without_dots(&absolute);
    match std::env::current_dir().ok().and_then(|here| clean.strip_prefix(here).ok().map(Path::to_path_buf)) {
        Some(below) if below.as_os_str().is_empty() => PathBuf::from("."),
        Some(below) => below,
        None => clean,
    }
}

/// What the TOML library says, with the name that was probably meant.
fn wrong_toml(file: &Arc<SourceFile>, error: &toml::de::Error) -> ConfigError {
    let text = error.message();
    let words: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let (mut message, mut help) = (text.replace('\n', " "), None);
    let unknown = [("unknown field `", "key"), ("unknown variant `", "value")];
    if let (Some((_, kind)), Some((name, known))) =
        (unknown.iter().find(|(start, _)| text.starts_with(start)), words.split_first())
    {
        message = format!("there is no {kind} `{name}` here");
        help = Some(match nearest(&name.replace('_', "-"), known.iter().copied()) {
            Some(nearest) => format!("the nearest name is `{nearest}`"),
            None => format!("it is one of `{}`", known.join("`, `")),
        });
    }
    let span = error.span().map(|at| Span::new(at.start, at.end));
    ConfigError::Wrong { file: file.clone(), span, message, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let file = Arc::new(SourceFile::from_bytes("layerlint.toml", text));
        let result = toml::from_str(text).map_err(|e| wrong_toml(&file, &e));
        result.and_then(|read| Config::new(file, read)).map_err(|e| {
            let problem = e.problem();
            let place = problem.place.span.and_then(|s| text.get(s.range())).unwrap_or("?");
            format!("{} | {} | {place}", problem.message, problem.help.unwrap_or_default())
        })
    }

    fn rules(settings: &Settings) -> Vec<&str> {
        settings.rules.iter().map(|r| r.name).collect()
    }

    #[test]
    fn mistakes_have_a_place_and_the_nearest_name() {
        let cases = [
            ("fial-on = 'error'", "there is no key `fial-on` here | the nearest name is `fail-on` | fial-on"),
            ("fail_on = 'error'", "there is no key `fail_on` here | the nearest name is `fail-on` | fail_on"),
            (
                "fail-on = 'warn'",
                "there is no value `warn` here | it is one of `error`, `warning`, `info`, `never` | 'warn'",
            ),
            (
                "ignore = ['arg-scope-lots']",
                "there is no rule `arg-scope-lots` | the nearest name is `arg-scope-lost` | 'arg-scope-lots'",
            ),
            (
                "[rules]\nmutable-base = 'off'",
                "there is no rule `mutable-base` | the nearest name is `mutable-base-tag` | mutable-base",
            ),
            (
                "[rules]\nstamp-frozen = 'of'",
                "there is no value `of` here | the nearest name is `off` | 'of'",
            ),
            (
                "[rules.stamp-frozen]\nseverty = 'off'",
                "there is no key `severty` here | the nearest name is `severity` | severty",
            ),
            (
                "[rules.stamp-frozen]\nallow = ['x']",
                "`stamp-frozen` has no option `allow` | it has no options but `severity` | ['x']",
            ),
            (
                "[rules.mutable-base-tag]\nallow = ['[']",
                "this is no pattern: unclosed character class; missing ']' |  | '['",
            ),
            (
                "exclude = ['a', '{']",
                "this is no pattern: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?) |  | '{'",
            ),
            (
                "[[build]]\ndockerfile = 'a'\ncontext = 'no/such'",
                "the context `no/such` is not a directory | paths are relative to the folder of `layerlint.toml` | 'no/such'",
            ),
            ("[[build]]\ncontext = '.'", "missing field `dockerfile` |  | [[build]]"),
            (
                "[[build]]\ndockerfile = 'a'\nargs = { A = [] }",
                "invalid type: sequence, expected a string, a number or a boolean |  | []",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).map(|_| ()), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_command_line_selects_instead_and_ignores_as_well() {
        let config =
            read("select = ['stamp-frozen', 'unused-ignore', 'arg-baked-env']\nignore = ['arg-baked-env']\n")
                .unwrap();
        let named = |n: &str| Rule::named(n).unwrap();
        let of = |select: &[&'static Rule], ignore: &[&'static Rule]| {
            config.settings(Path::new("Dockerfile"), select, ignore)
        };
        assert_eq!(rules(&of(&[], &[])), ["stamp-frozen", "unused-ignore"]);
        assert_eq!(rules(&of(&[], &[named("stamp-frozen")])), ["unused-ignore"]);
        assert_eq!(rules(&of(&[named("arg-baked-env")], &[])), ["arg-baked-env"]);
    }

    #[test]
    fn files_have_rules_and_builds_of_their_own() {
        let config = read(
            "exclude = ['vendor', 'gen/*.dev']\n[per-file-ignores]\n'legacy/**' = ['stamp-frozen']\n'*.dev' = ['arg-baked-env']\n\
             [rules]\nstamp-frozen = 'error'\n[[build]]\ndockerfile = 'docker/*.Dockerfile'\ncontext = '.'\nplatform = 'linux/amd64, linux/arm64'\n\
             args = { A = 1, B = true, C = 'x' }\n[[build]]\ndockerfile = '**'\ntarget = 'any'\n",
        )
        .unwrap();
        let runs = |path: &str, rule| config.settings(Path::new(path), &[], &[]).runs(rule);
        assert!(!runs("legacy/a/Dockerfile", "stamp-frozen") && runs("Dockerfile", "stamp-frozen"));
        assert!(!runs("a/b/Dockerfile.dev", "arg-baked-env") && runs("a/b/Dockerfile", "arg-baked-env"));
        let excluded =
            ["a/vendor/x/Dockerfile", "gen/Dockerfile.dev", "gen/a/Dockerfile.dev", "vendored/Dockerfile"];
        assert_eq!(excluded.map(|p| config.excludes(Path::new(p))), [true, true, false, false]);
        let build = config.build(Path::new("docker/api.Dockerfile")).unwrap();
        assert_eq!(build.context.as_deref(), Some(Path::new(".")));
        assert_eq!(build.platforms, ["linux/amd64", "linux/arm64"]);
        let args: Vec<String> = build.args.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(args, ["A=1", "B=true", "C=x"]);
        assert_eq!(config.build(Path::new("Dockerfile")).unwrap().target.as_deref(), Some("any"));
        assert_eq!(config.settings(Path::new("x"), &[], &[]).severities["stamp-frozen"], Severity::Error);
    }
}
