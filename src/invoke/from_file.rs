//! One build taken from a bake or compose file, as `docker buildx bake FILE TARGET` and `docker compose build SERVICE`
//! take it.

use super::Invocation;
use super::bake::{self, Bake};
use super::call::{BuildFile, Call, FileKind, Source, Starter, Text, Value, below};
use super::command::BakeOrder;
use super::{compose, yaml};
use crate::source::{ReadError, SourceFile, Span, shown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a build cannot be taken from a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file is not what it should be.
    #[error("{message}")]
    Syntax {
        /// The file.
        file: Arc<SourceFile>,
        /// Where.
        span: Span,
        /// What is wrong there.
        message: String,
    },
    /// Nothing of that name is built.
    #[error("`{file}` builds no {what} `{name}`")]
    NoSuch {
        /// The file.
        file: String,
        /// `target` or `service`.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// Several things are built, and none is named.
    #[error("`{file}` builds several {what}s")]
    Several {
        /// The file.
        file: String,
        /// `target` or `service`.
        what: &'static str,
        /// Their names.
        names: Vec<String>,
    },
    /// Something that decides the build is not known.
    #[error("the {what} of `{name}` is `{written}`, which is not known here")]
    Unknown {
        /// Which setting.
        what: String,
        /// The target or service.
        name: String,
        /// As written, with what is known filled in.
        written: String,
        /// Where.
        file: Arc<SourceFile>,
        /// Where.
        span: Span,
    },
}

/// Answers for variables of the environment.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// The build of a target of a bake file; without a name that of the target `default`, or of the only one. Paths are
/// relative to the working directory as with `docker buildx bake`, or to the file's folder if the Dockerfile is there.
/// `given` are names of build arguments that need not be known.
pub fn from_bake(
    path: &Path,
    name: Option<&str>,
    environment: &Environment<'_>,
    given: &[String],
) -> Result<Invocation, FileError> {
    let source = Arc::new(SourceFile::read(path, shown(path))?);
    let mut bake = Bake::default();
    bake.add(0, &source, &|variable| environment(variable).map(Value::Known))
        .map_err(|(span, message)| FileError::Syntax { file: source.clone(), span, message })?;
    let all = bake.all();
    let asked = match name {
        Some(name) => name.to_owned(),
        None if bake.has("default") => "default".to_owned(),
        None if all.len() == 1 => all.concat(),
        None => return Err(FileError::Several { file: source.name.clone(), what: "target", names: all }),
    };
    let order = BakeOrder {
        targets: vec![Text::new(asked.clone(), Span::default())],
        folder: Some(".".to_owned()),
        ..BakeOrder::default()
    };
    let mut calls = bake::calls(&bake, &order);
    let names = |calls: &[Call]| calls.iter().map(name_of).collect::<Vec<String>>();
    let call = match calls.len() {
        0 => {
            return Err(FileError::NoSuch {
                file: source.name.clone(),
                what: "target",
                name: asked,
                names: all,
            });
        }
        1 => calls.remove(0),
        _ => {
            return Err(FileError::Several {
                file: source.name.clone(),
                what: "target",
                names: names(&calls),
            });
        }
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let here = PathBuf::from(".");
    let dockerfile = call.dockerfile.as_ref().and_then(Text::known);
    let beside = dockerfile.is_some_and(|d| !below(&here, d).exists() && below(folder, d).exists());
    let root = if beside { folder.to_path_buf() } else { here };
    finish(&call, BuildFile { kind: FileKind::Bake, source, root, problem: None }, given)
}

/// The build of a service of a compose file; without a name that of the only one that is built.
pub fn from_compose(
    path: &Path,
    name: Option<&str>,
    environment: &Environment<'_>,
    given: &[String],
) -> Result<Invocation, FileError> {
    let source = Arc::new(SourceFile::read(path, shown(path))?);
    let root = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    let read = |file: &SourceFile| yaml::parse(&file.bytes);
    let documents = read(&source).map_err(|e| FileError::Syntax {
        file: source.clone(),
        span: e.span,
        message: e.message,
    })?;
    let Some(document) = documents.into_iter().next() else {
        return Err(FileError::Several { file: source.name.clone(), what: "service", names: Vec::new() });
    };
    let mut variables = SourceFile::read(&root.join(".env"), ".env")
        .map(|file| compose::environment(&file.bytes))
        .unwrap_or_default();
    let referenced = names_in(&source.bytes);
    variables
        .extend(referenced.into_iter().filter_map(|n| Some((n.clone(), Value::Known(environment(&n)?)))));
    let own = compose::File { file: 0, folder: ".".to_owned(), root: document };
    let mut open = |path: &str| {
        let full = below(&root, path);
        let file = SourceFile::read(&full, shown(&full)).ok()?;
        let document = yaml::parse(&file.bytes).ok()?.into_iter().next()?;
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder).to_owned();
        Some(compose::File { file: 1, folder, root: document })
    };
    let mut calls = compose::calls(&[own], &variables, &mut open);
    let names: Vec<String> = calls.iter().map(name_of).collect();
    let at = match name {
        Some(name) => names.iter().position(|n| n == name).ok_or_else(|| FileError::NoSuch {
            file: source.name.clone(),
            what: "service",
            name: name.to_owned(),
            names: names.clone(),
        })?,
        None if names.len() == 1 => 0,
        None => return Err(FileError::Several { file: source.name.clone(), what: "service", names }),
    };
    let call = calls.swap_remove(at);
    finish(&call, BuildFile { kind: FileKind::Compose, source, root, problem: None }, given)
}

fn name_of(call: &Call) -> String {
    match &call.starter {
        Starter::Bake(name) | Starter::Service(name) | Starter::Action(name) | Starter::Command(name) => {
            name.clone()
        }
    }
}

/// Names of variables that a text refers to.
fn names_in(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut names: Vec<String> = text
        .split('$')
        .skip(1)
        .map(|rest| rest.trim_start_matches('{'))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .filter(|name: &String| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The build as if it were typed, if all that decides its keys is known.
fn finish(call: &Call, file: BuildFile, given: &[String]) -> Result<Invocation, FileError> {
    let name = name_of(call);
    let unknown = |what: &str, text: &Text| FileError::Unknown {
        what: what.to_owned(),
        name: name.clone(),
        written: text.written().to_owned(),
        file: file.source.clone(),
        span: text.span,
    };
    let mut settings: Vec<(&str, &Text)> = Vec::new();
    settings.extend(call.context.as_ref().map(|c| ("context", c.text())));
    settings.extend(call.dockerfile.as_ref().map(|t| ("Dockerfile", t)));
    settings.extend(call.target.as_ref().map(|t| ("stage", t)));
    settings.extend(call.platforms.iter().map(|t| ("platform", t)));
    settings.extend(call.contexts.iter().map(|(_, t)| ("named context", t)));
    settings.extend(call.options.iter().map(|(name, t)| (name.as_str(), t)));
    if let Some((what, text)) = settings.into_iter().find(|(_, text)| text.known().is_none()) {
        return Err(unknown(what, text));
    }
    for (argument, value) in &call.args {
        if let Some(text) = value.as_ref().filter(|t| t.known().is_none() && !given.contains(argument)) {
            return Err(unknown(&format!("argument `{argument}`"), text));
        }
    }
    if let Some(Source::Elsewhere(text)) = &call.context {
        return Err(unknown("context", text));
    }
    let Some(mut invocation) = file.invocation(call) else {
        let text = Text::new("written into the file itself", call.head);
        return Err(unknown("Dockerfile", &text));
    };
    // An argument without a value is taken from the environment.
    let environment = call.args.iter().filter(|(_, value)| value.is_none());
    invocation.build_args.extend(environment.filter_map(|(n, _)| Some((n.clone(), std::env::var(n).ok()?))));
    // Directories of named contexts begin where the context does.
    for (_, value) in &mut invocation.contexts {
        let plain = !value.contains("://") && !value.contains(':');
        if plain {
            *value = shown(&below(&file.root, value));
        }
    }
    Ok(invocation)
}
