//! Instructions to operations: the graph that BuildKit solves
//! (`frontend/dockerfile/dockerfile2llb`, `client/llb/{fileop,exec}.go`). Only the stages that the target needs.

use super::model::{Action, BuildModel, Copy, CopySource, MountKind, Network, Run, RunMount, Sharing, Step};
use super::name::{self, Names};
use super::remote::Remote;
use super::state::State;
use super::system::joined;
use crate::context::path::{clean_str, has_wildcard};
use crate::image::{BaseImage, Images};
use crate::invoke::platform::Platform;
use crate::source::Span;
use crate::stage::{Base, StageGraph};
use std::collections::HashMap;

/// The operations of a build.
#[derive(Debug)]
pub struct BuildGraph<'a> {
    /// Inputs always come before the operations that use them.
    pub vertices: Vec<Vertex<'a>>,
    /// What each stage ends with: `None` for stages that are not built, `Some(None)` for an empty file system.
    pub outputs: Vec<Option<Option<VertexId>>>,
    /// What cannot be built, with places.
    pub errors: Vec<super::model::BuildError>,
}

/// Index of an operation in [`BuildGraph::vertices`].
pub type VertexId = usize;

/// One operation.
#[derive(Debug)]
pub struct Vertex<'a> {
    /// What it does.
    pub op: Op<'a>,
    /// The operations it builds on, each once, in BuildKit's order.
    pub inputs: Vec<VertexId>,
    /// As progress shows it.
    pub name: String,
    /// The stage it belongs to.
    pub stage: Option<usize>,
    /// The instruction, as stage and index in [`super::model::StageModel::steps`].
    pub step: Option<(usize, usize)>,
    /// Beside an instruction's own operation: the file of a heredoc, the owner of a cache mount, the merge that
    /// lays the files of a `COPY --link` over what is below.
    pub internal: bool,
    /// `--no-cache` or `--no-cache-filter` makes BuildKit ignore cached results.
    pub ignore_cache: bool,
    /// What of its words is not known, as things that a person could supply.
    pub unknown: Vec<String>,
    /// What it runs on.
    pub platform: Platform,
}

/// Kinds of operations.
#[derive(Debug)]
pub enum Op<'a> {
    /// files of a local folder
    Local(Local),
    /// a base image
    Image {
        /// the reference, or the name of a context
        reference: String,
        /// what is known of it
        image: Option<&'a BaseImage>,
    },
    /// a download
    Http {
        /// the address
        url: String,
        /// the name of the file
        filename: String,
        /// the checksum that ADD states
        checksum: Option<String>,
    },
    /// a git checkout
    Git {
        /// address
        remote: String,
        /// branch, tag or commit
        reference: String,
        /// folder
        subdir: String,
        /// commit that the source states
        checksum: Option<String>,
        /// keeps `.git`
        keep_git_dir: bool,
        /// leaves submodules out
        skip_submodules: bool,
        /// takes the commit of the checksum without asking the repository
        by_commit: bool,
    },
    /// files made or copied
    File(Vec<FileAction>),
    /// a process
    Exec(Box<Exec>),
    /// two file systems laid over each other
    Merge,
}

/// Files of a local folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// `None` for the main build context, else the folder of a `--build-context`.
    pub folder: Option<String>,
    /// Name of the `--build-context`.
    pub name: String,
    /// The paths that instructions take from it, sorted; `None` if they take everything.
    pub follow_paths: Option<Vec<String>>,
}

/// One action of a file operation. Indexes as BuildKit writes them: below the number of inputs an input, above it
/// the result of an earlier action, −1 nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAction {
    /// What it changes.
    pub input: i64,
    /// What it copies from.
    pub secondary: i64,
    /// 0 for the last action, −1 for the others.
    pub output: i64,
    /// What it does.
    pub kind: FileKind,
}

/// Kinds of file actions, with the fields that enter the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// COPY, ADD
    Copy(CopyAction),
    /// the file of a heredoc
    Mkfile {
        /// absolute
        path: String,
        /// permission bits
        mode: i64,
        /// content
        data: Vec<u8>,
    },
    /// WORKDIR, owner of a cache mount
    Mkdir {
        /// absolute
        path: String,
        /// permission bits
        mode: i64,
        /// parents too
        make_parents: bool,
        /// owner
        owner: Option<Owner>,
        /// nanoseconds since 1970, −1 for none
        timestamp: i64,
    },
}

/// A copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyAction {
    /// Path or pattern in the source, absolute.
    pub src: String,
    /// Path in the target, absolute.
    pub dest: String,
    /// `--chown`
    pub owner: Option<Owner>,
    /// `--chmod` in octal, −1 without, 0 with a symbolic one.
    pub mode: i64,
    /// `--chmod` in symbols.
    pub mode_str: String,
    /// Links, folder contents and wildcards are treated as for files of a tree (not for heredocs, URLs, git).
    pub tree: bool,
    /// ADD unpacks archives.
    pub unpack: bool,
    /// `--parents`
    pub include: Vec<String>,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// `--parents` without wildcards
    pub required: Vec<String>,
}

/// Owner of copied or made files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// the user
    pub user: Option<UserRef>,
    /// the group
    pub group: Option<UserRef>,
}

/// A user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRef {
    /// by number
    Id(u32),
    /// by name, looked up in an input
    Name {
        /// the name
        name: String,
        /// index of the input whose `/etc/passwd` or `/etc/group` counts, −1 for none
        input: i64,
    },
}

/// A process.
#[derive(Debug)]
pub struct Exec {
    /// The words.
    pub args: Vec<String>,
    /// `NAME=value` in order.
    pub env: Vec<(String, String)>,
    /// Where it starts.
    pub cwd: String,
    /// Who runs it.
    pub user: String,
    /// Names of extra hosts; their addresses are in no key.
    pub extra_hosts: Vec<String>,
    /// Host name, if set.
    pub hostname: String,
    /// Name, soft and hard limit.
    pub ulimits: Vec<(String, i64, i64)>,
    /// Control group, if set.
    pub cgroup_parent: String,
    /// Network.
    pub network: Network,
    /// Without sandbox.
    pub insecure: bool,
    /// Mounts: root first, then by target, then secrets and ssh in their own order.
    pub mounts: Vec<Mount>,
    /// Secrets as variables: id, name, optional.
    pub secret_env: Vec<(String, String, bool)>,
    /// Devices: name, optional.
    pub devices: Vec<(String, bool)>,
}

/// A mount of a process.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Index of the input, −1 for none.
    pub input: i64,
    /// Where.
    pub dest: String,
    /// Path in the input, empty for all.
    pub selector: String,
    /// Index of the output, −1 for none.
    pub output: i64,
    /// Not writable.
    pub read_only: bool,
    /// What kind.
    pub kind: MountDetail,
}

/// What is special about a mount.
#[derive(Clone, Debug)]
pub enum MountDetail {
    /// root or bind
    Bind,
    /// kept between builds
    Cache {
        /// name space, `/` and id
        id: String,
        /// sharing
        sharing: Sharing,
    },
    /// in memory
    Tmpfs {
        /// bytes, 0 for no limit
        size: i64,
    },
    /// a secret file
    Secret(Access),
    /// an agent's socket
    Ssh(Access),
}

/// Identity and owner of a secret or socket.
#[derive(Clone, Debug)]
pub struct Access {
    /// Which.
    pub id: String,
    /// owner
    pub uid: u32,
    /// group
    pub gid: u32,
    /// permission bits
    pub mode: u32,
    /// May be absent.
    pub optional: bool,
}

impl Op<'_> {
    /// Of a git checkout that can be told without asking the server: the commit, and the name under which BuildKit
    /// keeps it (`resolveMetadata` and `CacheKey` in `source/git/source.go`).
    pub fn git_commit(&self) -> Option<(&str, String)> {
        let Op::Git { reference, checksum, keep_git_dir, by_commit, .. } = self else { return None };
        let is_commit = |c: &&str| {
            matches!(c.len(), 40 | 64) && c.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if is_commit(&reference.as_str()) {
            return Some((reference, reference.clone()));
        }
        let commit = checksum.as_deref().filter(is_commit)?;
        let qualified = reference.starts_with("refs/heads/");
        let name = match reference.as_str() {
            "" if *by_commit => commit.to_owned(),
            _ if *by_commit && !reference.starts_with("refs/") => format!("refs/heads/{reference}"),
            _ => reference.clone(),
        };
        // With the git folder kept the full name counts, which only the server knows.
        (!keep_git_dir || *by_commit || qualified).then_some((commit, name))
    }
}

impl<'a> BuildGraph<'a> {
    /// Lowers the stages that the target needs.
    pub fn new(model: &BuildModel<'a>, images: &'a Images) -> Self {
        let mut lower = Lower {
            model,
            graph: model.graph,
            images,
            vertices: Vec::new(),
            outputs: vec![None; model.stages.len()],
            errors: Vec::new(),
            context: None,
            context_paths: Vec::new(),
            image_vertices: HashMap::new(),
            identities: Vec::new(),
            known: HashMap::new(),
            epoch: model
                .graph
                .source_date
                .seconds
                .and_then(|seconds| seconds.checked_mul(1_000_000_000))
                .unwrap_or(-1),
            many: match model.build.build_arg("BUILDKIT_MULTI_PLATFORM") {
                Some(wanted) if !wanted.is_empty() => {
                    matches!(wanted, "1" | "t" | "T" | "TRUE" | "true" | "True")
                }
                _ => model.build.platforms.len() > 1,
            },
        };
        for index in 0..model.stages.len() {
            if lower.graph.stages[index].reachable {
                lower.stage(index);
            }
        }
        let paths = std::mem::take(&mut lower.context_paths);
        if let Some(context) = lower.context
            && let Op::Local(local) = &mut lower.vertices[context].op
        {
            local.follow_paths = narrowed(paths);
        }
        let Lower { vertices, outputs, errors, .. } = lower;
        let mut out = BuildGraph { vertices, outputs, errors };
        if let Some(target) = model.graph.target {
            out.keep_for(target);
        }
        out
    }

    /// Drops operations that the result is not made from: a stage that `--from` names beside heredocs alone is followed,
    /// and not built.
    fn keep_for(&mut self, target: usize) {
        let mut kept = vec![false; self.vertices.len()];
        let mut open: Vec<VertexId> =
            self.outputs.get(target).copied().flatten().flatten().into_iter().collect();
        while let Some(id) = open.pop() {
            if let Some(slot @ false) = kept.get_mut(id) {
                *slot = true;
                open.extend(self.vertices.get(id).iter().flat_map(|v| &v.inputs));
            }
        }
        if kept.iter().all(|kept| *kept) {
            return;
        }
        let mut places = Vec::with_capacity(kept.len());
        let mut next = 0;
        for kept in &kept {
            places.push(kept.then_some(next));
            next += usize::from(*kept);
        }
        let place = |id: VertexId| places.get(id).copied().flatten();
        let mut number = 0;
        self.vertices.retain(|_| {
            number += 1;
            kept.get(number - 1).copied().unwrap_or(false)
        });
        for vertex in &mut self.vertices {
            vertex.inputs = vertex.inputs.iter().filter_map(|id| place(*id)).collect();
        }
        for output in self.outputs.iter_mut().flatten() {
            *output = output.and_then(place);
        }
    }
}

/// The paths that are worth sending; `None` for all (`normalizeContextPaths`).
fn narrowed(mut paths: Vec<String>) -> Option<Vec<String>> {
    paths.sort();
    paths.dedup();
    if paths.is_empty() || paths.iter().any(|p| p == "/") {
        return None;
    }
    let mut paths: Vec<String> = paths.iter().map(|p| p.strip_prefix('/').unwrap_or(p).to_owned()).collect();
    paths.sort();
    Some(paths)
}

struct Lower<'m, 'a> {
    model: &'m BuildModel<'a>,
    graph: &'a StageGraph<'a>,
    images: &'a Images,
    vertices: Vec<Vertex<'a>>,
    outputs: Vec<Option<Option<VertexId>>>,
    errors: Vec<super::model::BuildError>,
    context: Option<VertexId>,
    context_paths: Vec<String>,
    image_vertices: HashMap<(String, String), Option<VertexId>>,
    epoch: i64,
    many: bool,
    /// Of each vertex the first one that is equal to it: two stages may do the same on the same base.
    identities: Vec<VertexId>,
    known: HashMap<String, VertexId>,
}

/// What is the same for all steps of a stage.
struct StageWork {
    index: usize,
    platform: Platform,
    ignore_cache: bool,
    names: Names,
    output: Option<VertexId>,
    /// Whether it stands on an image, in the end.
    on_image: bool,
}

impl<'a> Lower<'_, 'a> {
    fn stage(&mut self, index: usize) {
        let graph = self.graph;
        let stage = &graph.stages[index];
        let model = &self.model.stages[index];
        let counted = model
            .steps
            .iter()
            .filter(|s| {
                !s.onbuild && matches!(s.action, Action::Run(_) | Action::Copy(_) | Action::Workdir(_))
            })
            .count();
        let triggers = model.steps.iter().filter(|s| s.onbuild).count();
        let has_image = stage.base != Base::Scratch && stage.parent().is_none();
        let total = counted + triggers + usize::from(has_image);
        let alone = graph.stages.len() + graph.extra_stages == 1;
        let label = stage.label();
        let mut work = StageWork {
            index,
            platform: model.start.platform.clone(),
            ignore_cache: self.ignores_cache(stage.name.as_deref()),
            // Triggers of the image are known only after it was named.
            names: Names::new((!alone).then_some(label), total - triggers),
            output: None,
            on_image: match graph.lineage(index).first().and_then(|root| graph.stages.get(*root)) {
                Some(root) => root.context.is_some() || root.base != Base::Scratch,
                None => false,
            },
        };
        // BuildKit names the image of a stage in every round in which it looks for stages that triggers need.
        if has_image {
            work.names.skip(stage.rounds);
        }
        let base = match &stage.context {
            Some(value) => Base::Context { name: stage.label(), value: value.clone() },
            None => stage.base.clone(),
        };
        work.output = match &base {
            Base::Stage(parent) => self.outputs.get(*parent).copied().flatten().flatten(),
            other => self.source(other, &mut work, None),
        };
        work.names.expect(triggers);
        for (number, step) in model.steps.iter().enumerate() {
            self.step(&mut work, number, step);
        }
        self.outputs[index] = Some(work.output);
    }

    /// What stands in front of the stage in names; empty if the build is for one platform.
    fn prefix(&self, platform: &Platform, env: &[(String, String)]) -> String {
        if self.many { name::platform_prefix(platform, env) } else { String::new() }
    }

    fn ignores_cache(&self, stage: Option<&str>) -> bool {
        let build = self.model.build;
        build.no_cache
            || build.no_cache_filter.iter().any(|f| stage.is_some_and(|s| s.eq_ignore_ascii_case(f)))
    }

    fn identity(&self, id: VertexId) -> VertexId {
        self.identities.get(id).copied().unwrap_or(id)
    }

    /// The place of an input among those of an operation, each of which counts once.
    fn index_of(&self, inputs: &mut Vec<VertexId>, id: VertexId) -> i64 {
        let wanted = self.identity(id);
        let at = inputs.iter().position(|i| self.identity(*i) == wanted).unwrap_or_else(|| {
            inputs.push(id);
            inputs.len() - 1
        });
        i64::try_from(at).unwrap_or(i64::MAX)
    }

    fn push(&mut self, work: &StageWork, op: Op<'a>, inputs: Vec<VertexId>, name: String) -> VertexId {
        let made_from: Vec<VertexId> = inputs.iter().map(|id| self.identity(*id)).collect();
        let on = if matches!(op, Op::Exec(_)) { work.platform.full() } else { String::new() };
        let next = self.vertices.len();
        let identity = match op {
            // Images are told apart by what they are for; there is one context.
            Op::Image { .. } | Op::Local(_) => next,
            _ => *self.known.entry(format!("{on} {made_from:?} {op:?}")).or_insert(next),
        };
        self.identities.push(identity);
        self.vertices.push(Vertex {
            op,
            inputs,
            name,
            stage: Some(work.index),
            step: None,
            internal: false,
            ignore_cache: false,
            unknown: Vec::new(),
            platform: work.platform.clone(),
        });
        self.vertices.len() - 1
    }

    /// A source that is no stage. `paths` are what is taken from it, if that is known.
    fn source(&mut self, base: &Base, work: &mut StageWork, paths: Option<Vec<String>>) -> Option<VertexId> {
        let as_base = paths.is_none();
        // What COPY and mounts take is looked up for the target's platform, whatever the stage is built for
        // (`toCommand` in dockerfile2llb/convert.go makes a stage without platform of it).
        let platform = if as_base { work.platform.clone() } else { self.graph.platform.clone() };
        match base {
            Base::Scratch | Base::Stage(_) => None,
            Base::Image(reference) => {
                let name = if as_base {
                    let image = self.images.get(reference, &platform);
                    let digest = image.and_then(|i| i.digest.as_deref());
                    let digest = digest.filter(|_| !reference.contains('@')).map(|d| format!("@{d}"));
                    let prefix = self.prefix(&work.platform, &[]);
                    let text = format!("FROM {reference}{}", digest.unwrap_or_default());
                    work.names.next(&text, false, &prefix)
                } else {
                    format!("FROM {reference}")
                };
                let image = self.images.get(reference, &platform);
                self.image(work, platform, reference.clone(), image, name)
            }
            Base::Context { name, value } => {
                let known = self.images.get(&format!("context:{name}"), &platform);
                if let Some(reference) = value.strip_prefix("docker-image://") {
                    if reference == "scratch" {
                        return None;
                    }
                    let image = known.or_else(|| self.images.get(reference, &platform));
                    let reference = crate::image::reference::Reference::parse(reference)
                        .map_or_else(|| reference.to_owned(), |r| r.tagged());
                    let label = format!("[context {name}] {}", value.trim_start_matches("docker-image://"));
                    return self.image(work, platform, reference, image, label);
                }
                if value.starts_with("oci-layout://") {
                    let label = format!("[context {name}] OCI load from client");
                    return self.image(work, platform, value.clone(), known, label);
                }
                if let Some(Ok(remote)) = super::remote::classify(value) {
                    let mut op = remote_op(value, remote, &mut None, &mut None);
                    let label = match &mut op {
                        // The file keeps no name of its own (`frontend/dockerui/namedcontext.go`).
                        Op::Http { filename, .. } => {
                            "context".clone_into(filename);
                            format!("[context {name}] {value}")
                        }
                        _ => format!("[internal] load git source {value}"),
                    };
                    let unknown = unknown_remote(&op);
                    let id = self.push(work, op, Vec::new(), label);
                    self.vertices[id].unknown.extend(unknown);
                    return Some(id);
                }
                let local = Local {
                    folder: Some(value.clone()),
                    name: name.clone(),
                    follow_paths: paths.and_then(narrowed),
                };
                let label = format!("[context {name}] load from client");
                Some(self.push(work, Op::Local(local), Vec::new(), label))
            }
            Base::Unknown => {
                let written = self.graph.stages[work.index].base_written.to_owned();
                self.image(work, platform, written, None, "FROM unknown".to_owned())
            }
        }
    }

    fn image(
        &mut self,
        work: &StageWork,
        platform: Platform,
        reference: String,
        image: Option<&'a BaseImage>,
        name: String,
    ) -> Option<VertexId> {
        let key = (reference.clone(), platform.full());
        if let Some(known) = self.image_vertices.get(&key) {
            return *known;
        }
        let vertex = if image.is_some_and(|i| i.empty) {
            None
        } else {
            let mut unknown = Vec::new();
            let scheme = if reference.contains("://") { "" } else { "docker-image://" };
            match image {
                None => unknown.push(format!("{scheme}{reference} (digest and environment)")),
                Some(i) if i.digest.is_none() && i.diff_ids.is_empty() => {
                    unknown.push(format!("{scheme}{reference} (digest)"));
                }
                Some(_) => {}
            }
            let id = self.push(work, Op::Image { reference, image }, Vec::new(), name);
            self.vertices[id].unknown = unknown;
            self.vertices[id].platform = platform;
            Some(id)
        };
        self.image_vertices.insert(key, vertex);
        vertex
    }

    fn context(&mut self, work: &StageWork) -> VertexId {
        if let Some(id) = self.context {
            return id;
        }
        let local = Local { folder: None, name: "context".to_owned(), follow_paths: None };
        let id = self.push(work, Op::Local(local), Vec::new(), "[internal] load build context".to_owned());
        self.vertices[id].stage = None;
        self.context = Some(id);
        id
    }

    /// The output that `--from` means.
    fn from(
        &mut self,
        base: &Base,
        work: &mut StageWork,
        paths: Vec<String>,
        span: Span,
    ) -> Option<VertexId> {
        match base {
            Base::Stage(stage) => match self.outputs.get(*stage).copied().flatten() {
                Some(output) => output,
                None => {
                    let to = self.graph.stages.get(*stage).map(|s| s.label()).unwrap_or_default();
                    let message = format!("stage `{to}` is not built yet here");
                    self.errors.push(super::model::BuildError::plain(span, message));
                    None
                }
            },
            Base::Unknown => None,
            other => self.source(other, work, Some(paths)),
        }
    }

    fn step(&mut self, work: &mut StageWork, number: usize, step: &Step<'a>) {
        let escape = self.graph.document.escape.char();
        let before = self.vertices.len();
        match &step.action {
            Action::Workdir(dir) => {
                let Some(made) = &dir.made else { return };
                let mut seen = step.state.as_ref().clone();
                seen.cwd.clone_from(&dir.path);
                let prefix = self.prefix(&work.platform, &seen.env);
                let name = work.names.next(&name::text(step, &seen, escape), step.onbuild, &prefix);
                let base = work.output.map_or(-1, |_| 0);
                let owner = owner(&step.state.user, base);
                let kind = FileKind::Mkdir {
                    path: made.clone(),
                    mode: 0o755,
                    make_parents: true,
                    owner,
                    timestamp: self.epoch,
                };
                let action = FileAction { input: base, secondary: -1, output: 0, kind };
                let id = self.push(work, Op::File(vec![action]), work.output.into_iter().collect(), name);
                if step.state.unknown.user {
                    self.note_unknown(id, &step.state, "user");
                }
                if self.graph.source_date.open {
                    self.vertices[id].unknown.push("SOURCE_DATE_EPOCH (date of a download)".to_owned());
                }
                if step.state.unknown.cwd && !matches!(step_text(step), Some(t) if t.starts_with('/')) {
                    self.note_unknown(id, &step.state, "working directory");
                }
                self.note_unknown_words(id, step);
                self.finish(work, number, id, before);
            }
            Action::Copy(copy) => {
                let name = name::text(step, &step.state, escape);
                let id = self.copy(work, step, copy, &name);
                self.finish(work, number, id, before);
            }
            Action::Run(run) => {
                // A state on nothing has no platform of its own.
                let prefix = match work.on_image {
                    true => self.prefix(&work.platform, &step.state.env),
                    false => String::new(),
                };
                let name = work.names.next(&name::text(step, &step.state, escape), step.onbuild, &prefix);
                let id = self.run(work, step, run, name);
                self.finish(work, number, id, before);
            }
            _ => {}
        }
    }

    /// Marks everything that an instruction made.
    fn finish(&mut self, work: &mut StageWork, number: usize, id: VertexId, before: usize) {
        work.output = Some(id);
        for vertex in self.vertices.iter_mut().skip(before) {
            if !matches!(vertex.op, Op::Local(_) | Op::Image { .. }) {
                vertex.step = Some((work.index, number));
            }
        }
    }

    fn note_unknown(&mut self, id: VertexId, state: &State, what: &str) {
        if let Some(base) = &state.unknown.base {
            let text = format!("{base} ({what})");
            let unknown = &mut self.vertices[id].unknown;
            if !unknown.contains(&text) {
                unknown.push(text);
            }
        }
    }

    /// Variables that an unknown base image may set.
    fn note_unknown_words(&mut self, id: VertexId, step: &Step<'a>) {
        if !step.state.unknown.env {
            return;
        }
        for name in step.variables(self.graph.document.escape.char()).unset {
            self.note_unknown(id, &step.state, &format!("variable {name}"));
        }
    }

    fn copy(&mut self, work: &mut StageWork, step: &Step<'a>, copy: &Copy<'a>, text: &str) -> VertexId {
        let link = copy.link && copy.chmod.is_empty();
        let base = if link { None } else { work.output };
        let mut inputs: Vec<VertexId> = base.into_iter().collect();
        let base_index = if base.is_some() { 0 } else { -1 };
        let owner = if copy.chown.is_empty() { None } else { owner(&copy.chown, base_index) };
        let (mode, mode_str) = chmod(&copy.chmod);
        let dest = clean_keeping_slash(&copy.dest);
        let prefix = self.prefix(&work.platform, &step.state.env);
        let name = work.names.next(text, step.onbuild, &prefix);

        let mut kinds: Vec<(Option<VertexId>, CopyAction)> = Vec::new();
        let paths: Vec<String> = copy.paths().map(|(_, p)| p).collect();
        let mut tree: Option<Option<VertexId>> = None;
        let mut checksum = Some(copy.checksum.clone()).filter(|c| !c.is_empty());
        let mut keep_git_dir = copy.keep_git_dir;
        for source in &copy.sources {
            let common = CopyAction {
                dest: dest.clone(),
                owner: owner.clone(),
                mode,
                mode_str: mode_str.clone(),
                exclude: copy.exclude.clone(),
                ..CopyAction::default()
            };
            match source {
                CopySource::Path { path, text, parents_pattern, .. } => {
                    let input = match tree {
                        Some(input) => input,
                        None => {
                            let input = match &copy.from {
                                None => Some(self.context(work)),
                                Some(from) => {
                                    let span = step.instruction.span;
                                    self.from(from, work, paths.clone(), span)
                                }
                            };
                            tree = Some(input);
                            input
                        }
                    };
                    if copy.from.is_none() {
                        self.context_paths.push(clean_str(&format!("/{text}")));
                    }
                    let required = match parents_pattern {
                        Some(p) if !has_wildcard(path) && !has_wildcard(p) => vec![joined(&["/", path, p])],
                        _ => Vec::new(),
                    };
                    let action = CopyAction {
                        src: path.clone(),
                        tree: true,
                        unpack: copy.unpack.unwrap_or(copy.is_add),
                        include: parents_pattern.iter().cloned().collect(),
                        required,
                        ..common
                    };
                    kinds.push((input, action));
                }
                CopySource::Remote { text, remote, .. } => {
                    let src = match remote {
                        Remote::Http { filename } => format!("/{filename}"),
                        Remote::Git(_) => "/".to_owned(),
                    };
                    let is_http = matches!(remote, Remote::Http { .. });
                    let op = remote_op(text, remote.clone(), &mut checksum, &mut keep_git_dir);
                    let unknown = unknown_remote(&op);
                    let id = self.push(work, op, Vec::new(), name.clone());
                    self.vertices[id].unknown.extend(unknown);
                    if !is_http {
                        // Kept for BuildKit's sake: an ssh-style address counts as a path, which selects nothing.
                        self.context_paths.push(clean_str(&format!("/{text}")));
                    }
                    let unpack = copy.unpack.unwrap_or(false) && is_http;
                    kinds.push((Some(id), CopyAction { src, unpack, ..common }));
                }
                CopySource::Heredoc { name, content, .. } => {
                    let id = self.inline_file(work, name, 0o644, content);
                    kinds.push((Some(id), CopyAction { src: joined(&["/", name]), ..common }));
                }
            }
        }
        let count = kinds.len();
        let mut slots = Vec::with_capacity(count);
        for (input, action) in kinds {
            let secondary = input.map_or(-1, |id| self.index_of(&mut inputs, id));
            slots.push((secondary, action));
        }
        let total = i64::try_from(inputs.len()).unwrap_or(i64::MAX);
        let actions = slots
            .into_iter()
            .enumerate()
            .map(|(i, (secondary, action))| FileAction {
                input: match i64::try_from(i) {
                    Ok(0) | Err(_) => base_index,
                    Ok(i) => total + i - 1,
                },
                secondary,
                output: if i + 1 == count { 0 } else { -1 },
                kind: FileKind::Copy(action),
            })
            .collect();
        let id = self.push(work, Op::File(actions), inputs, name);
        self.vertices[id].ignore_cache = work.ignore_cache;
        let relative = !(copy.dest_word.text.starts_with('/') || copy.dest_word.text.starts_with('$'));
        if step.state.unknown.cwd && relative {
            self.note_unknown(id, &step.state, "working directory");
        }
        self.note_unknown_words(id, step);
        if !link {
            return id;
        }
        let Some(below) = work.output else { return id };
        let name = work.names.same(&format!("LINK {text}"), step.onbuild, &prefix);
        let merge = self.push(work, Op::Merge, vec![below, id], name);
        self.vertices[merge].ignore_cache = work.ignore_cache;
        self.vertices[merge].internal = true;
        merge
    }

    fn inline_file(&mut self, work: &StageWork, name: &str, mode: i64, content: &str) -> VertexId {
        let path = joined(&["/", name]);
        let kind = FileKind::Mkfile { path, mode, data: content.as_bytes().to_vec() };
        let action = FileAction { input: -1, secondary: -1, output: 0, kind };
        self.internal(work, action, Vec::new(), "[internal] preparing inline document")
    }

    /// An operation beside an instruction's own. Equal ones are one.
    fn internal(
        &mut self,
        work: &StageWork,
        action: FileAction,
        inputs: Vec<VertexId>,
        name: &str,
    ) -> VertexId {
        let same = |v: &Vertex<'_>| {
            v.internal
                && v.inputs == inputs
                && matches!(&v.op, Op::File(actions) if *actions == [action.clone()])
        };
        if let Some(id) = self.vertices.iter().position(same) {
            return id;
        }
        let id = self.push(work, Op::File(vec![action]), inputs, name.to_owned());
        self.vertices[id].internal = true;
        id
    }

    fn run(&mut self, work: &mut StageWork, step: &Step<'a>, run: &Run<'a>, name: String) -> VertexId {
        let state = &step.state;
        let build = self.model.build;
        let root = work.output;
        // (target, source vertex, mount without its input index)
        let mut mounts: Vec<(Option<VertexId>, Mount)> = Vec::new();
        let plain = |dest: &str, selector: &str, output, read_only, kind| Mount {
            input: -1,
            dest: dest.to_owned(),
            selector: selector.to_owned(),
            output,
            read_only,
            kind,
        };
        mounts.push((root, plain("/", "", 0, false, MountDetail::Bind)));
        if let Some((name, content)) = &run.script_file {
            let file = self.inline_file(work, name, 0o755, content);
            mounts.push((Some(file), plain("/dev/pipes/", "", -1, true, MountDetail::Bind)));
        }
        let mut secrets = Vec::new();
        let mut secret_env = Vec::new();
        let mut sockets: Vec<Mount> = Vec::new();
        for mount in &run.mounts {
            match mount.kind {
                MountKind::Secret => secret(mount, &mut secrets, &mut secret_env),
                MountKind::Ssh => {
                    let number = sockets.len();
                    let dest = match mount.target.as_str() {
                        "" => format!("/run/buildkit/ssh_agent.{number}"),
                        target => target.to_owned(),
                    };
                    let access = access(mount, mount.id.clone().unwrap_or_default(), 0o600);
                    sockets.push(plain(&dest, "", 0, false, MountDetail::Ssh(access)));
                }
                MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                    let source = joined(&["/", &mount.source]);
                    let mut input = match (&mount.from, mount.kind) {
                        (_, MountKind::Tmpfs) => None,
                        (Some(from), _) => self.from(from, work, vec![source.clone()], mount.flag.span),
                        (None, MountKind::Bind) => Some(self.context(work)),
                        (None, _) => None,
                    };
                    if mount.from.is_none() && mount.kind != MountKind::Cache {
                        self.context_paths.push(source.clone());
                    }
                    let mut selector = if source == "/" { String::new() } else { source.clone() };
                    let owned = mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some();
                    if selector.is_empty() && owned {
                        input = Some(self.cache_owner(work, mount, input));
                        "/cache".clone_into(&mut selector);
                    }
                    let detail = match mount.kind {
                        MountKind::Cache => MountDetail::Cache {
                            id: format!(
                                "{}/{}",
                                build.build_arg("BUILDKIT_CACHE_MOUNT_NS").unwrap_or_default(),
                                mount.cache_id()
                            ),
                            sharing: mount.sharing.unwrap_or(Sharing::Shared),
                        },
                        MountKind::Tmpfs => MountDetail::Tmpfs { size: mount.size },
                        _ => MountDetail::Bind,
                    };
                    mounts.push((input, plain(&mount.path, &selector, -1, mount.read_only, detail)));
                }
            }
        }
        if let Some(size) = build.shm_size.as_deref().and_then(super::model::size).filter(|s| *s > 0) {
            mounts.push((None, plain("/dev/shm", "", -1, false, MountDetail::Tmpfs { size })));
        }
        mounts.sort_by(|a, b| a.1.dest.cmp(&b.1.dest));
        let mut inputs = Vec::new();
        let mut all: Vec<Mount> = mounts
            .into_iter()
            .map(|(input, mount)| Mount {
                input: input.map_or(-1, |id| self.index_of(&mut inputs, id)),
                ..mount
            })
            .collect();
        all.append(&mut secrets);
        let mut env = state.env.clone();
        if let Some(first) = sockets.first()
            && !env.iter().any(|(k, _)| k == "SSH_AUTH_SOCK")
        {
            env.push(("SSH_AUTH_SOCK".to_owned(), first.dest.clone()));
        }
        all.append(&mut sockets);
        let network = match run.network {
            Network::Default => match build.network.as_deref() {
                Some("host") => Network::Host,
                Some("none") => Network::None,
                _ => Network::Default,
            },
            chosen => chosen,
        };
        let devices = run.devices.iter().map(|d| device(d)).collect();
        let exec = Exec {
            args: run.args.clone(),
            env,
            cwd: state.cwd.clone(),
            user: state.user.clone(),
            extra_hosts: build.add_hosts.iter().map(|h| host_name(h)).collect(),
            hostname: build.build_arg("BUILDKIT_SANDBOX_HOSTNAME").unwrap_or_default().to_owned(),
            ulimits: build.ulimits.iter().filter_map(|u| ulimit(u)).collect(),
            cgroup_parent: build.cgroup_parent.clone().unwrap_or_default(),
            network,
            insecure: run.insecure,
            mounts: all,
            secret_env,
            devices,
        };
        let id = self.push(work, Op::Exec(Box::new(exec)), inputs, name);
        self.vertices[id].ignore_cache = work.ignore_cache;
        let unknown = &state.unknown;
        if unknown.env {
            self.note_unknown(id, state, "environment");
        }
        if unknown.cwd {
            self.note_unknown(id, state, "working directory");
        }
        if unknown.user {
            self.note_unknown(id, state, "user");
        }
        if unknown.shell && run.shell_form {
            self.note_unknown(id, state, "shell");
        }
        id
    }

    fn cache_owner(&mut self, work: &StageWork, mount: &RunMount<'_>, below: Option<VertexId>) -> VertexId {
        let owner = Owner {
            user: Some(UserRef::Id(mount.uid.unwrap_or(0))),
            group: Some(UserRef::Id(mount.gid.unwrap_or(0))),
        };
        let kind = FileKind::Mkdir {
            path: "/cache".to_owned(),
            mode: i64::from(mount.mode.unwrap_or(0o755) & 0o777),
            make_parents: false,
            owner: Some(owner),
            timestamp: -1,
        };
        let action = FileAction { input: below.map_or(-1, |_| 0), secondary: -1, output: 0, kind };
        let name = "[internal] setting cache mount permissions";
        self.internal(work, action, below.into_iter().collect(), name)
    }
}

fn step_text<'s>(step: &'s Step<'_>) -> Option<&'s str> {
    match &step.instruction.args {
        crate::syntax::Args::Text(word) => Some(&word.text),
        _ => None,
    }
}

fn secret(mount: &RunMount<'_>, files: &mut Vec<Mount>, env: &mut Vec<(String, String, bool)>) {
    let last = |p: &str| String::from_utf8_lossy(crate::context::path::base(p.as_bytes())).into_owned();
    let id = match (&mount.id, mount.source.as_str()) {
        (_, source) if !source.is_empty() => source.to_owned(),
        (Some(id), _) => id.clone(),
        (None, _) => last(&mount.target),
    };
    let optional = !mount.required;
    if let Some(name) = &mount.env {
        env.push((id.clone(), name.clone(), optional));
        if mount.target.is_empty() {
            return;
        }
    }
    let dest = match mount.target.as_str() {
        "" => format!("/run/secrets/{}", last(&id)),
        target => target.to_owned(),
    };
    let access = access(mount, id, 0o400);
    let kind = MountDetail::Secret(access);
    files.push(Mount { input: -1, dest, selector: String::new(), output: 0, read_only: false, kind });
}

fn access(mount: &RunMount<'_>, id: String, mode: u32) -> Access {
    Access {
        id,
        uid: mount.uid.unwrap_or(0),
        gid: mount.gid.unwrap_or(0),
        mode: mount.mode.unwrap_or(mode),
        optional: !mount.required,
    }
}

/// `user[:group]` of USER or `--chown`; `input` is where names are looked up.
fn owner(text: &str, input: i64) -> Option<Owner> {
    if text.is_empty() {
        return None;
    }
    let part = |t: &str| match t {
        "" | "root" => UserRef::Id(0),
        t => match t.parse::<i32>() {
            Ok(id) => UserRef::Id(id.cast_unsigned()),
            Err(_) => UserRef::Name { name: t.to_owned(), input },
        },
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    Some(Owner { user: Some(part(user)), group: group.map(part) })
}

fn chmod(text: &str) -> (i64, String) {
    if text.is_empty() {
        return (-1, String::new());
    }
    match i64::from_str_radix(text, 8) {
        Ok(mode) => (mode, String::new()),
        Err(_) => (0, text.to_owned()),
    }
}

/// Cleans a destination but keeps a final `/` or `/.` (`normalizePath` in `client/llb/fileop.go`).
fn clean_keeping_slash(path: &str) -> String {
    let mut out = clean_str(path);
    if path.ends_with('/') && !out.ends_with('/') {
        out.push('/');
    } else if path.ends_with("/.") {
        if out != "/" {
            out.push('/');
        }
        out.push('.');
    }
    out
}

/// `checksum` and `keep_git_dir` are what ADD states; what an address says counts for the sources behind it, too.
fn remote_op<'a>(
    text: &str,
    remote: Remote,
    checksum: &mut Option<String>,
    keep_git_dir: &mut Option<bool>,
) -> Op<'a> {
    match remote {
        Remote::Http { filename } => Op::Http { url: text.to_owned(), filename, checksum: checksum.clone() },
        Remote::Git(git) => {
            *checksum = git.checksum.or_else(|| checksum.take());
            *keep_git_dir = git.keep_git_dir.or(*keep_git_dir);
            Op::Git {
                remote: git.remote,
                reference: git.reference,
                subdir: git.subdir,
                checksum: checksum.clone(),
                keep_git_dir: keep_git_dir.unwrap_or(false),
                skip_submodules: git.skip_submodules,
                by_commit: git.by_commit,
            }
        }
    }
}

fn unknown_remote(op: &Op<'_>) -> Option<String> {
    match op {
        Op::Http { url, checksum: None, .. } => Some(format!("{url} (content and date)")),
        Op::Git { remote, reference, .. } if op.git_commit().is_none() => Some(match reference.as_str() {
            "" => format!("{remote} (commit of the default branch)"),
            reference => format!("{remote} (commit of `{reference}`)"),
        }),
        _ => None,
    }
}

/// `--device`: its name, and whether the process runs without it (`ParseDevice` in `instructions/commands_rundevice.go`).
fn device(text: &str) -> (String, bool) {
    let (mut name, mut optional) = (String::new(), true);
    for field in text.split(',') {
        let (key, value) = field.split_once('=').map_or((field, None), |(k, v)| (k, Some(v)));
        match (key.to_lowercase().as_str(), value) {
            ("required", None) => optional = false,
            ("required", Some(value)) => {
                optional = !matches!(value, "1" | "t" | "T" | "TRUE" | "true" | "True");
            }
            ("name", Some(value)) => value.clone_into(&mut name),
            // Any other `key=value` is a name like `vendor.com/class=device`.
            _ if name.is_empty() => field.clone_into(&mut name),
            _ => {}
        }
    }
    (name, optional)
}

/// The name in `NAME:IP` or `NAME=IP`.
fn host_name(host: &str) -> String {
    host.split_once([':', '=']).map_or(host, |(name, _)| name).to_owned()
}

/// `NAME=SOFT[:HARD]`; −1 stands for unlimited.
fn ulimit(text: &str) -> Option<(String, i64, i64)> {
    let (name, values) = text.split_once('=')?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    Some((name.to_owned(), soft.parse().ok()?, hard.parse().ok()?))
}
