//! A Dockerfile put together from the names of the steps in a log, where the Dockerfile itself is not at hand.

use super::Build;
use crate::build::model::BuildModel;
use crate::cargo::timeline::{Timeline, follow};
use crate::image::Images;
use crate::invoke::Invocation;
use crate::source::LineIndex;
use crate::stage::StageGraph;

/// What the stages of a log do with cargo, with the step of each line.
pub(super) struct Sketch {
    /// Spans in it are those of the text that was put together.
    pub(super) timeline: Timeline,
    index: LineIndex,
    /// The step of each line.
    steps: Vec<Option<usize>>,
}

impl Sketch {
    /// Of a build; `None` where cargo is not mentioned.
    pub(super) fn of(build: &Build<'_>) -> Option<Self> {
        let own = |at: &usize| {
            build
                .steps
                .get(*at)
                .is_some_and(|s| s.logged.is_some() && s.parts.is_instruction() && !s.parts.link)
        };
        if !build.steps.iter().any(|s| s.parts.keyword() == "RUN" && s.parts.text.contains("cargo")) {
            return None;
        }
        let mut order: Vec<usize> = (0..build.steps.len()).filter(own).collect();
        let place = |at: &usize| {
            let name = build.steps.get(*at).map(|s| &s.parts);
            let stage = name.map(|n| (n.before.clone(), n.platform.clone(), n.stage.clone()));
            (stage, name.and_then(|n| n.index))
        };
        order.sort_by_key(place);
        let mut text = String::new();
        let mut steps = Vec::new();
        let mut stage = None;
        let mut names = 0;
        for at in order {
            let (here, _) = place(&at);
            let Some(step) = build.steps.get(at) else { continue };
            let from = step.parts.keyword() == "FROM";
            if stage.as_ref() != Some(&here) {
                stage = Some(here);
                names += 1;
                let image = if from { step.parts.text.trim_start_matches("FROM ") } else { "scratch" };
                let name = step.parts.stage.clone().unwrap_or_else(|| format!("stage-{names}"));
                let plain = |text: &str| !text.contains(char::is_whitespace);
                if plain(image) && plain(&name) {
                    text.push_str(&format!("FROM {image} AS {name}\n"));
                } else {
                    text.push_str("FROM scratch\n");
                }
                steps.push(from.then_some(at));
            }
            // The text of a heredoc is not in its name.
            let shown = &step.parts.text;
            if !from && !shown.contains("<<") && !shown.contains('\n') && !shown.ends_with('\\') {
                text.push_str(shown);
                text.push('\n');
                steps.push(Some(at));
            }
        }
        let document = crate::syntax::parse(text.as_bytes());
        if !document.errors.is_empty() {
            return None;
        }
        let (invocation, images) = (Invocation::default(), Images::default());
        let graph = StageGraph::new(&document, &invocation);
        let model = BuildModel::new(&graph, &invocation, &images);
        let timeline = follow(&model, None);
        Some(Self { timeline, index: LineIndex::new(text.as_bytes()), steps })
    }

    /// The step of the build that a place in the text is.
    pub(super) fn step(&self, offset: u32) -> Option<usize> {
        let line = self.index.line(offset) as usize;
        self.steps.get(line.checked_sub(1)?).copied().flatten()
    }
}
