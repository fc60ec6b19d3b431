//! From a command line to the state of a build: shared by `keys --save` and `why`.

use super::{Build, BuildArgs, CliError};
use crate::build::model::BuildModel;
use crate::context::{ContextIndex, RevisionError, open_revision};
use crate::finding::Problem;
use crate::key::change::Note;
use crate::key::plan::{Contexts, Detail};
use crate::key::saved::{State, is_proxy};
use crate::stage::AUTOMATIC_ARGS;
use std::path::Path;

/// A change that is only supposed.
#[derive(Debug, Default)]
pub(super) struct Edit {
    /// Files of the context whose content changes.
    pub(super) touch: Vec<String>,
    /// Build arguments that are given.
    pub(super) set_args: Vec<(String, String)>,
}

/// The state of the build as it is on the disk, or in another context directory, with a supposed change.
pub(super) fn live_state(
    args: &BuildArgs,
    context: Option<&Path>,
    edit: &Edit,
    notes: &mut Vec<Note>,
) -> Result<State, CliError> {
    let mut build = args.load_in(context)?;
    build.invocation.build_args.extend(edit.set_args.iter().cloned());
    state(&build, None, edit, notes)
}

/// The state of the build as it was in a git revision, and the revision's name.
pub(super) fn state_at(
    args: &BuildArgs,
    revision: &str,
    notes: &mut Vec<Note>,
) -> Result<(State, String), CliError> {
    state_of(args.load()?, revision, notes)
}

/// The same for a build that is loaded already.
pub(super) fn state_of(
    mut build: Build,
    revision: &str,
    notes: &mut Vec<Note>,
) -> Result<(State, String), CliError> {
    let dockerfile = build.dockerfile();
    let past = open_revision(&build.invocation.context, dockerfile.as_deref(), revision)
        .map_err(|e| revision_error(&e))?;
    notes.extend(past.notes.iter().map(|n| Note::uncertain(n.message())));
    match past.dockerfile {
        Some(file) => build = build.with_dockerfile(file)?,
        None => notes.push(Note::uncertain(format!(
            "{} is not in {revision}: it is used as it is now",
            build.file.name
        ))),
    }
    let short = past.commit.get(..12).unwrap_or(&past.commit).to_owned();
    let mut ignored = Vec::new();
    let state = state(&build, Some(past.index), &Edit::default(), &mut ignored)?;
    Ok((state, short))
}

pub(super) fn revision_error(error: &RevisionError) -> CliError {
    if let RevisionError::Context(error) = error {
        return CliError::Problems { problems: vec![Problem::context(error)], files: Vec::new() };
    }
    match error.help() {
        Some(help) => CliError::failed_with_help(error.to_string(), help),
        None => CliError::failed(error.to_string()),
    }
}

/// The state of one build. The main context is walked unless it is given.
pub(super) fn state(
    build: &Build,
    context: Option<ContextIndex>,
    edit: &Edit,
    notes: &mut Vec<Note>,
) -> Result<State, CliError> {
    let change = |model: &BuildModel<'_>, contexts: &mut Contexts| {
        for path in &edit.touch {
            touch(path, contexts.main.as_mut(), build, notes)?;
        }
        for (name, _) in &edit.set_args {
            note_argument(name, model, notes);
        }
        Ok(())
    };
    build.planned(context, Detail::Entries, change, |planned| {
        Ok(State::new(&build.file.name, planned.model, planned.graph, planned.plan))
    })
}

/// Changes a file of the context in thought.
fn touch(
    path: &str,
    context: Option<&mut ContextIndex>,
    build: &Build,
    notes: &mut Vec<Note>,
) -> Result<(), CliError> {
    let mut note = |text: String| notes.push(Note::no_effect(text));
    let Some(context) = context else {
        note(format!("{path}: no instruction takes files from the context"));
        return Ok(());
    };
    let relative = crate::context::path::clean_str(&format!("/{path}"));
    let relative = relative.trim_start_matches('/').to_owned();
    if context.suppose_edited(relative.as_bytes()) {
        return Ok(());
    }
    let on_disk = build.invocation.context.join(&relative);
    let pattern = context.decided_by(relative.as_bytes(), on_disk.is_dir());
    if let (Some(number), Some(ignore)) = (pattern, &context.ignore)
        && let Some(pattern) = ignore.patterns.get(number)
    {
        note(format!("{path} is left out of the context by {} line {}", ignore.file.name, pattern.line));
        return Ok(());
    }
    Err(CliError::failed_with_help(
        format!(
            "there is no file `{path}` in the context `{}`",
            crate::source::shown(&build.invocation.context)
        ),
        "give a path below the context directory",
    ))
}

/// Says why a build argument has no effect.
fn note_argument(name: &str, model: &BuildModel<'_>, notes: &mut Vec<Note>) {
    use crate::build::model::Action;
    let built = |stage: usize| model.graph.stages.get(stage).is_some_and(|s| s.reachable);
    let declares = |stage: usize| {
        model.stages.get(stage).is_some_and(|s| {
            let args = s.steps.iter().filter_map(|s| match &s.action {
                Action::Arg(args) => Some(args),
                _ => None,
            });
            args.flatten().any(|a| a.name == name)
        })
    };
    let global = model.graph.global_args.iter().any(|i| match &i.args {
        crate::syntax::Args::ArgDefs(pairs) => pairs.iter().any(|p| p.key.text == name),
        _ => false,
    });
    let text = if (0..model.stages.len()).any(|s| built(s) && declares(s)) {
        return;
    } else if is_proxy(name) {
        // Said of the steps that it reaches.
        return;
    } else if (0..model.stages.len()).any(declares) {
        format!("only stages that are not built declare ARG {name}")
    } else if global {
        format!(
            "ARG {name} stands before the first FROM: it counts in FROM lines only, until a stage declares it again"
        )
    } else if AUTOMATIC_ARGS.contains(&name) || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH" {
        return;
    } else {
        format!("no stage declares ARG {name}: it has no effect")
    };
    notes.push(Note::no_effect(text));
}
