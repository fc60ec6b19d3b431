//! The steps that a Dockerfile would have in a log.

use crate::build::lower::{BuildGraph, Op, VertexId};
use crate::build::model::BuildModel;
use crate::evidence::log::name::StepName;
use crate::source::Span;

/// The steps of one build for one platform.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// The platform, as logs write it.
    pub platform: String,
    /// One for each operation, in the order of the graph.
    pub steps: Vec<Known>,
}

/// One step.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its name in parts.
    pub name: StepName,
    /// As progress shows it, for one platform.
    pub shown: String,
    /// The instruction as it is written, joined; its keyword in upper case.
    pub written: String,
    /// The stage by name.
    pub stage: Option<String>,
    /// First and last line of the instruction.
    pub lines: Option<(u32, u32)>,
    /// The instruction.
    pub span: Option<Span>,
    /// The steps it is made from.
    pub inputs: Vec<VertexId>,
    /// A folder, an image, a download: it has no cache of its own.
    pub source: bool,
}

impl Outline {
    /// The steps of a graph.
    pub fn new(model: &BuildModel<'_>, graph: &BuildGraph<'_>) -> Self {
        let steps = graph.vertices.iter().map(|vertex| {
            let stage = vertex.stage.and_then(|s| model.graph.stages.get(s));
            let written = vertex.step.and_then(|(stage, n)| model.stages.get(stage)?.steps.get(n));
            let image = matches!(vertex.op, Op::Image { .. });
            let instruction = match stage.filter(|_| image) {
                Some(stage) => Some(stage.from),
                None => {
                    written.and_then(|s| s.position).and_then(|p| model.graph.document.instructions.get(p))
                }
            };
            let source =
                matches!(vertex.op, Op::Local(_) | Op::Image { .. } | Op::Http { .. } | Op::Git { .. });
            let action = written.map(|s| s.instruction).filter(|_| !image).or(instruction);
            let words =
                action.map(|i| String::from_utf8_lossy(&i.text.bytes).trim().to_owned()).unwrap_or_default();
            let keyword = words.split(char::is_whitespace).next().unwrap_or_default().len();
            let (keyword, rest) = words.split_at_checked(keyword).unwrap_or_default();
            Known {
                name: StepName::parse(&vertex.name),
                written: format!("{}{rest}", keyword.to_uppercase()),
                shown: vertex.name.clone(),
                stage: stage.map(|s| s.label()),
                lines: instruction.map(|i| (i.line, i.end_line)),
                span: instruction.map(|i| i.span),
                inputs: vertex.inputs.clone(),
                source,
            }
        });
        Self { platform: model.graph.platform.to_string(), steps: steps.collect() }
    }
}
