//! What instructions take from the build context: COPY, ADD and bind mounts in one form.

use super::words;
use crate::build::model::{Action, BuildModel, Copy, CopySource, Step};
use crate::context::path::{clean_str, has_wildcard};
use crate::context::{Entry, Selector};
use crate::source::Span;

/// One source of an instruction in the build context.
pub(super) struct Transfer<'m, 'a> {
    /// The instruction in its place.
    pub step: &'m Step<'a>,
    /// The source as written; for a mount, its flag.
    pub span: Span,
    /// The path in the context, absolute and cleaned; may be a pattern.
    pub path: String,
    /// What it takes.
    pub selector: Selector,
    /// Where to, absolute and cleaned.
    pub dest: String,
    /// `COPY`, `ADD`; `None` for a bind mount.
    pub copy: Option<&'m Copy<'a>>,
}

impl Transfer<'_, '_> {
    /// The instruction on one line.
    pub(super) fn shown(&self) -> String {
        words::of_instruction(self.step.instruction)
    }

    /// Whether it takes the whole context, apart from what `--exclude` says.
    pub(super) fn is_whole(&self) -> bool {
        is_all(&self.path)
    }

    /// How many parts of a path the source itself spells, so that what lies there is meant.
    fn spelled(&self) -> usize {
        let parts: Vec<&str> = self.path.split('/').filter(|p| !p.is_empty()).collect();
        match parts.last() {
            Some(last) if is_any(last) => parts.len() - 1,
            _ => parts.len(),
        }
    }

    /// The parts of the path that the source itself spells.
    pub(super) fn spelled_parts(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|p| !p.is_empty()).take(self.spelled())
    }

    /// The parts of the path of a taken entry that the source does not spell.
    pub(super) fn below<'e>(&self, entry: &'e Entry) -> impl Iterator<Item = (usize, &'e [u8])> + use<'e> {
        let path: &'e [u8] = &entry.path;
        let mut end = 0;
        path.split(|b| *b == b'/')
            .map(move |part| {
                end += part.len() + 1;
                (end - 1, part)
            })
            .skip(self.spelled())
    }
}

/// A path or pattern that takes everything.
fn is_all(path: &str) -> bool {
    path == "/" || path.strip_prefix('/').is_some_and(is_any)
}

/// A wildcard for any name.
fn is_any(part: &str) -> bool {
    matches!(part, "*" | "**" | "?*" | "*?" | "[^.]*" | "[!.]*")
}

/// What a step takes from the main build context.
pub(super) fn of_step<'m, 'a>(step: &'m Step<'a>) -> Vec<Transfer<'m, 'a>> {
    match &step.action {
        Action::Copy(copy) if copy.from.is_none() => {
            let sources = copy.sources.iter().filter_map(|source| {
                let CopySource::Path { word, path, parents_pattern, .. } = source else { return None };
                let full = match parents_pattern {
                    Some(pattern) => clean_str(&format!("{path}/{pattern}")),
                    None => path.clone(),
                };
                Some(Transfer {
                    step,
                    span: word.span,
                    selector: selector(copy, path, parents_pattern.as_deref()),
                    path: full,
                    dest: clean_str(&copy.dest),
                    copy: Some(copy),
                })
            });
            sources.collect()
        }
        Action::Run(run) => {
            let mounts = run.mounts.iter().filter(|mount| mount.is_context());
            let transfers = mounts.map(|mount| {
                let path = clean_str(&format!("/{}", mount.source));
                let selector = Selector { path: path.clone(), follow: true, ..Selector::default() };
                Transfer { step, span: mount.flag.span, path, selector, dest: mount.path.clone(), copy: None }
            });
            transfers.collect()
        }
        _ => Vec::new(),
    }
}

/// What the stages that the target needs take, in the order of the file.
pub(super) fn needed<'m, 'a>(model: &'m BuildModel<'a>) -> impl Iterator<Item = Transfer<'m, 'a>> {
    let stages = model.stages.iter().filter(|s| model.graph.stages.get(s.index).is_some_and(|s| s.reachable));
    stages.flat_map(|s| &s.steps).flat_map(of_step)
}

fn selector(copy: &Copy<'_>, path: &str, parents: Option<&str>) -> Selector {
    // As BuildKit builds it: a `--parents` source without wildcards must exist.
    let required = match parents {
        Some(p) if !has_wildcard(path) && !has_wildcard(p) => vec![clean_str(&format!("/{path}/{p}"))],
        _ => Vec::new(),
    };
    Selector {
        path: path.to_owned(),
        wildcard: true,
        follow: true,
        include: parents.map(str::to_owned).into_iter().collect(),
        exclude: copy.exclude.clone(),
        required,
    }
}
