//! Rules: pure functions over what is known of one Dockerfile. They read no files, print nothing and know no clock.
//!
//! A rule is three things: its page `rules/<name>.md`, whose examples run as tests; its code
//! `src/rule/<name>.rs` with a `pub const RULE: Rule`; and its line in [`ALL`].

mod apt_update_split;
mod arg_baked_env;
mod arg_scope_lost;
mod arg_too_early;
mod builds;
mod cache_mount_cross_run_state;
mod cache_mount_defeated;
mod cache_mount_output_lost;
mod cache_mount_shared_id;
mod cache_mount_stale_output;
mod cache_mount_wrong_path;
mod cache_to_min_multistage;
mod caches;
mod checks;
mod chef_cook_after_source;
mod ci_cache_mount_ephemeral;
mod command;
mod copy_overwrites;
mod dependency_build_mismatch;
mod deps_into_cache_mount;
mod dockerignore_gap;
mod dockerignore_hides_copied;
mod duplicate_context_copy;
mod early;
mod ecosystem;
mod edit;
mod env_shadows_arg;
mod gha_repeat_build;
mod gha_scope_collision;
mod git_dir_copied;
mod host_artifact_clobbers;
mod ignore_without_reason;
mod images;
mod leftovers;
mod lockfile_not_copied;
mod manifest_glob_flattened;
mod missing_dockerignore;
mod missing_manifest;
mod moving_remote_fetch;
mod mutable_base_tag;
mod mutable_copy_from;
mod no_deps_layer;
mod normalised_mtimes;
mod order;
mod order_cross_stage;
mod os_packages_after_copy;
mod page;
mod platform_arg_default;
mod platform_arg_missing;
mod platform_arg_too_early;
mod rust;
mod rust_dummy_build_stale;
mod rust_partial_touch;
mod secret_not_in_key;
mod settings;
mod source_before_deps;
mod stamp_frozen;
mod suppress;
mod swallowed_failure_cached;
mod tool_after_source;
mod transfer;
mod unpinned_tool;
mod unreachable_check_stage;
mod unused_ignore;
mod variables;
mod volatile_arg_early;
mod words;
mod work;

pub use page::{Example, ExampleKind, Page, Section};
pub use settings::{Date, OPTIONS, OptionName, OptionOf, Options, Settings, globs};

use crate::build::lower::{BuildGraph, Op};
use crate::build::model::{Action, BuildModel, is_below};
use crate::cargo::Sources;
use crate::cargo::timeline::{self, Timeline};
use crate::context::{ContextError, ContextIndex};
use crate::finding::{Finding, Label, Problem, Severity, Unseen, identify, words_of};
use crate::image::Images;
use crate::invoke::call::Call;
use crate::invoke::{Invocation, Project};
use crate::source::{SourceFile, Span, nearest};
use crate::stage::{Base, StageGraph};
use crate::syntax::{Args, Document, Instruction, Keyword};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Every rule, by name.
pub const ALL: &[&Rule] = &[
    &apt_update_split::RULE,
    &arg_baked_env::RULE,
    &arg_scope_lost::RULE,
    &arg_too_early::RULE,
    &cache_mount_cross_run_state::RULE,
    &cache_mount_defeated::RULE,
    &cache_mount_output_lost::RULE,
    &cache_mount_shared_id::RULE,
    &cache_mount_stale_output::RULE,
    &cache_mount_wrong_path::RULE,
    &cache_to_min_multistage::RULE,
    &chef_cook_after_source::RULE,
    &ci_cache_mount_ephemeral::RULE,
    &copy_overwrites::RULE,
    &dependency_build_mismatch::RULE,
    &deps_into_cache_mount::RULE,
    &dockerignore_gap::RULE,
    &dockerignore_hides_copied::RULE,
    &duplicate_context_copy::RULE,
    &env_shadows_arg::RULE,
    &gha_repeat_build::RULE,
    &gha_scope_collision::RULE,
    &git_dir_copied::RULE,
    &host_artifact_clobbers::RULE,
    &ignore_without_reason::RULE,
    &lockfile_not_copied::RULE,
    &manifest_glob_flattened::RULE,
    &missing_dockerignore::RULE,
    &missing_manifest::RULE,
    &moving_remote_fetch::RULE,
    &mutable_base_tag::RULE,
    &mutable_copy_from::RULE,
    &no_deps_layer::RULE,
    &normalised_mtimes::RULE,
    &order_cross_stage::RULE,
    &os_packages_after_copy::RULE,
    &platform_arg_default::RULE,
    &platform_arg_missing::RULE,
    &platform_arg_too_early::RULE,
    &rust_dummy_build_stale::RULE,
    &rust_partial_touch::RULE,
    &secret_not_in_key::RULE,
    &source_before_deps::RULE,
    &stamp_frozen::RULE,
    &swallowed_failure_cached::RULE,
    &tool_after_source::RULE,
    &unpinned_tool::RULE,
    &unreachable_check_stage::RULE,
    &unused_ignore::RULE,
    &volatile_arg_early::RULE,
];

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// What is wrong, in kebab-case; readable after "ignore".
    pub name: &'static str,
    /// The page that explains it, front matter included.
    pub page: &'static str,
    /// Adds what it finds.
    pub check: fn(&Cx<'_>, &mut Vec<Finding>),
}

impl Rule {
    /// The rule of that name.
    pub fn named(name: &str) -> Option<&'static Rule> {
        ALL.iter().copied().find(|rule| rule.name == name)
    }

    /// As its page says.
    pub fn severity(&self) -> Severity {
        page::front_matter(self.page)
            .find(|(key, _)| *key == "severity")
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(Severity::Warning)
    }

    /// The name that was probably meant.
    pub fn nearest(name: &str) -> Option<&'static str> {
        let lower = name.to_ascii_lowercase();
        // Half a name is enough, if it is not too short to mean anything.
        let part =
            ALL.iter().map(|r| r.name).find(|n| lower.len() > 3 && (n.contains(&lower) || lower.contains(n)));
        part.or_else(|| nearest(&lower, ALL.iter().map(|r| r.name)))
    }
}

/// What a rule may look at.
pub struct Cx<'a> {
    /// The Dockerfile.
    pub file: &'a SourceFile,
    /// The Dockerfile, parsed; it has no errors.
    pub document: &'a Document,
    /// How it is built: the context directory above all.
    pub invocation: &'a Invocation,
    /// Its stages and how they feed each other.
    pub graph: &'a StageGraph<'a>,
    /// Every instruction with its words expanded and the state it sees.
    pub model: &'a BuildModel<'a>,
    /// Which rules run, and their options.
    pub settings: &'a Settings,
    /// All that the files of the tree say about builds.
    pub project: &'a Project,
    /// Those of them that build this Dockerfile.
    pub calls: Vec<&'a Call>,
    contexts: &'a Contexts,
    slot: OnceLock<Slot>,
    timeline: OnceLock<Timeline>,
}

/// The build contexts of one run: each is walked when a rule asks for it, and once.
#[derive(Default)]
struct Contexts {
    /// By directory and ignore file.
    slots: Mutex<HashMap<(PathBuf, Option<PathBuf>), Slot>>,
}

type Slot = Arc<OnceLock<Result<ContextIndex, ContextError>>>;

impl Contexts {
    fn slot(&self, invocation: &Invocation) -> Slot {
        // `NAME.dockerignore` beside the Dockerfile makes the context another one.
        let own = invocation.dockerfile.as_ref().map(|path| {
            let mut name = path.clone().into_os_string();
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        let key = (invocation.context.clone(), own.filter(|path| path.exists()));
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(key).or_default().clone()
    }
}

impl Cx<'_> {
    /// What Docker would send, from the first time it is asked for; `None` if the directory cannot be walked or its
    /// ignore file is refused. Contents are read only as far as somebody asks for them.
    pub fn context(&self) -> Option<&ContextIndex> {
        let slot = self.slot.get_or_init(|| self.contexts.slot(self.invocation));
        let open = || ContextIndex::open(&self.invocation.context, self.invocation.dockerfile.as_deref());
        slot.get_or_init(open).as_ref().ok()
    }

    /// What its stages do with cargo. The context is walked for it only where cargo is named.
    pub fn cargo(&self) -> &Timeline {
        self.timeline.get_or_init(|| {
            let wanted = timeline::mentions_cargo(self.model);
            let sources = wanted.then(|| self.context()).flatten().map(Sources::new);
            timeline::follow(self.model, sources.as_ref())
        })
    }

    /// Name of the stage that holds a byte of the Dockerfile, or its number; `None` before the first FROM.
    pub fn stage_at(&self, offset: u32) -> Option<String> {
        let mut stage = None;
        let mut number = 0;
        for instruction in self.document.instructions.iter().take_while(|i| i.span.start <= offset) {
            if instruction.keyword != Keyword::From {
                continue;
            }
            stage = match &instruction.args {
                Args::From { name: Some(name), .. } => Some(name.text.to_lowercase()),
                _ => Some(number.to_string()),
            };
            number += 1;
        }
        stage
    }
}

impl Cx<'_> {
    /// Whether a stage may be an image by itself: it is the target, or no other stage uses it.
    fn ends(&self, stage: usize) -> bool {
        let stages = &self.graph.stages;
        let used = || stages.iter().flat_map(|s| &s.uses).any(|u| u.stage() == Some(stage));
        // `FROM build-$VARIANT` may continue any stage whose name begins so.
        let name = stages.get(stage).and_then(|s| s.name.as_deref()).unwrap_or_default();
        let chosen = || {
            stages.iter().filter_map(|s| Some((s, s.base_written.split_once('$')?.0))).any(|(s, start)| {
                name.starts_with(&start.to_lowercase()) && (!start.is_empty() || s.parent().is_some())
            })
        };
        self.graph.target == Some(stage) || !(used() || chosen())
    }

    /// Whether the files and the environment of a stage are those of an image: its own, or one that continues it.
    fn ships(&self, stage: usize) -> bool {
        (0..self.graph.stages.len()).any(|index| self.ends(index) && self.graph.continues(index, stage))
    }

    /// Whether another stage takes a path from this one, or from one that continues it.
    fn is_taken(&self, stage: usize, path: &str) -> bool {
        self.model.steps().any(|step| match &step.action {
            Action::Copy(copy) => {
                let Some(Base::Stage(from)) = copy.from else { return false };
                let meets = |p: &str| is_below(path, p) || is_below(p, path);
                self.graph.continues(from, stage) && copy.paths().any(|(_, p)| meets(&p))
            }
            _ => false,
        })
    }

    /// The words of the instruction that holds a place, heredocs included; else those of the place itself. Nothing
    /// for a place in another file.
    fn words_at(&self, label: &Label) -> String {
        let Some(span) = label.span.filter(|_| label.file == self.file.name) else { return String::new() };
        let holds = |i: &&Instruction| i.span.start <= span.start && span.start < i.span.end;
        let Some(instruction) = self.document.instructions.iter().find(holds) else {
            return words_of(self.file.bytes.get(span.range()).unwrap_or_default());
        };
        let bodies = instruction.heredocs.iter().flat_map(|heredoc| [b" ", heredoc.body.as_slice()]);
        let bytes: Vec<u8> =
            [instruction.text.bytes.as_slice()].into_iter().chain(bodies).collect::<Vec<_>>().concat();
        words_of(&bytes)
    }

    /// The line of the Dockerfile on which a place begins, from 1.
    fn line(&self, span: Span) -> u32 {
        self.file.position(span.start).line
    }
}

impl Finding {
    /// A finding of `rule` at a place in the Dockerfile. The message is one sentence without full stop.
    pub fn at(rule: &Rule, cx: &Cx<'_>, span: Span, message: impl Into<String>) -> Self {
        Self {
            rule: rule.name,
            severity: rule.severity(),
            message: message.into(),
            primary: Label { file: cx.file.name.clone(), span: Some(span), message: String::new() },
            related: Vec::new(),
            help: None,
            stage: cx.stage_at(span.start),
            evidence: serde_json::Map::new(),
            fix: None,
            fingerprint: String::new(),
        }
    }
}

/// What the Dockerfiles of one run share: their build contexts, and what other files say about their builds. It can be
/// shared between threads.
#[derive(Default)]
pub struct Linter {
    contexts: Contexts,
    project: Project,
}

impl Linter {
    /// With what is known of builds.
    pub fn new(project: Project) -> Self {
        Self { contexts: Contexts::default(), project }
    }

    /// What is known of builds.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Whether a comment in a build file silences a finding: at its place there, or where a finding about a Dockerfile
    /// touches the build file.
    pub fn is_silenced(&self, finding: &Finding, today: Option<Date>) -> bool {
        let silences = |label: &Label| {
            let file = self.project.files.iter().find(|file| file.source.name == label.file);
            let place = file.zip(label.span);
            place.is_some_and(|(file, span)| suppress::is_silenced(&file.source, finding.rule, span, today))
        };
        let here = self.project.files.iter().any(|file| file.source.name == finding.primary.file);
        if here { silences(&finding.primary) } else { finding.related.iter().any(silences) }
    }

    /// What the rules about workflows and other build files find, whatever the Dockerfiles hold, in the order of the
    /// files. All rules run: which ones count is for the caller to say, file by file.
    pub fn check_builds(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for check in builds::CHECKS {
            check(&self.project, &mut findings);
        }
        findings.sort_by(|a, b| order(a).cmp(&order(b)));
        identify(&mut findings, |finding| builds::words_at(&self.project, &finding.primary));
        findings
    }

    /// What the rules find in one Dockerfile without errors of syntax, without what its comments suppress, in the order
    /// of the file; and what stops BuildKit, or the rules, from looking further.
    pub fn check(
        &self,
        settings: &Settings,
        file: &SourceFile,
        document: &Document,
        invocation: &Invocation,
    ) -> Linted {
        let graph = StageGraph::new(document, invocation);
        let images = Images::default();
        let model = BuildModel::new(&graph, invocation, &images);
        let contexts = &self.contexts;
        let cx = Cx {
            file,
            document,
            invocation,
            graph: &graph,
            model: &model,
            settings,
            project: &self.project,
            calls: invocation.dockerfile.as_deref().map(|p| self.project.calls_of(p)).unwrap_or_default(),
            contexts,
            slot: OnceLock::new(),
            timeline: OnceLock::new(),
        };
        let mut findings = Vec::new();
        for rule in &settings.rules {
            (rule.check)(&cx, &mut findings);
        }
        findings.retain(|finding| !self.is_silenced(finding, settings.today));
        suppress::apply(&cx, &mut findings);
        for finding in &mut findings {
            if let Some(severity) = settings.severities.get(finding.rule) {
                finding.severity = *severity;
            }
        }
        findings.sort_by(|a, b| order(a).cmp(&order(b)));
        identify(&mut findings, |finding| match finding.primary.file == file.name {
            true => cx.words_at(&finding.primary),
            false => builds::words_at(&self.project, &finding.primary),
        });
        let context = cx.context_error();
        let mut unseen = Vec::new();
        if let Some(error) = context.as_ref().filter(|_| settings.needs("context")) {
            unseen.push(Unseen {
                needs: "context",
                path: file.name.clone(),
                message: error.to_string(),
                help: None,
            });
        }
        let unread = cx.timeline.get().map(|t| t.unread.as_slice()).unwrap_or_default();
        unseen.extend(unread.iter().map(|note| Unseen {
            needs: "cargo",
            path: file.name.clone(),
            message: format!("`{}`: {}", note.path, note.message),
            help: None,
        }));
        Linted { findings, problems: cx.refusals(), context, unseen }
    }
}

/// What came of one Dockerfile.
#[derive(Debug, Default)]
pub struct Linted {
    /// In the order of the file.
    pub findings: Vec<Finding>,
    /// What BuildKit would refuse in the file, whatever build arguments are given, in the order of the file.
    pub problems: Vec<Problem>,
    /// Why the build context cannot be read or sent.
    pub context: Option<ContextError>,
    /// What rules could not look at.
    pub unseen: Vec<Unseen>,
}

impl Cx<'_> {
    /// What BuildKit would refuse in the stages and instructions. What another build argument or base image could cure
    /// is left out.
    fn refusals(&self) -> Vec<Problem> {
        let stages = self.graph.refusals().filter(|e| !e.depends_on_args);
        let stages = stages.map(|error| Problem::stage(self.file, error));
        let model = self.model.errors().filter(|e| !e.depends_on_args);
        let mut problems: Vec<Problem> =
            stages.chain(model.map(|error| Problem::build(self.file, error))).collect();
        problems.sort_by_key(|problem| problem.place.span);
        // A trigger runs in several stages.
        problems.dedup();
        problems
    }

    /// Why the context cannot be read or sent, as far as this Dockerfile needs it. It is not walked for that.
    fn context_error(&self) -> Option<ContextError> {
        let index = match self.slot.get().and_then(|slot| slot.get()) {
            None => {
                let dockerfile = self.invocation.dockerfile.as_deref();
                return ContextIndex::check_ignore_file(&self.invocation.context, dockerfile).err();
            }
            Some(Err(error)) => return Some(error.clone()),
            Some(Ok(index)) => index,
        };
        index.problem()?;
        // Something could not be sent: perhaps nobody asks for it.
        let images = Images::default();
        let graph = BuildGraph::new(self.model, &images);
        let locals = graph.vertices.iter().filter_map(|vertex| match &vertex.op {
            Op::Local(local) if local.folder.is_none() => Some(local),
            _ => None,
        });
        locals.filter_map(|local| index.view(local.follow_paths.as_deref()).err()).next()
    }
}

fn order(finding: &Finding) -> (&str, Option<Span>, &str, &str) {
    (&finding.primary.file, finding.primary.span, finding.rule, &finding.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_a_stranger_is_not() {
        assert_eq!(Rule::nearest("unused-ignor"), Some("unused-ignore"));
        assert_eq!(Rule::nearest("DL3008"), None);
    }
}
