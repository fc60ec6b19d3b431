//! The state of a build as far as its keys go, to be kept in a file and compared later.
//!
//! Deterministic and small: paths are listed once, values of variables and contents of files are digests.

use super::matching::{Facts, Input};
use super::plan::{KeyPlan, StepKey};
use super::sha256;
use crate::build::lower::{BuildGraph, FileKind, MountDetail, Op, Vertex};
use crate::build::model::{Action, BuildModel};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// The format of the file.
pub const SCHEMA: &str = "layerlint.state/1";

/// What a build is keyed by.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct State {
    /// [`SCHEMA`].
    pub schema: String,
    /// The Dockerfile as it was named.
    pub dockerfile: String,
    /// The stage that is built.
    pub target: Option<String>,
    /// What it is built for.
    pub platform: String,
    /// The step whose result is the image.
    pub result: Option<usize>,
    /// Files, directories and links, each once.
    pub entries: Vec<Entry>,
    /// When each of them was last changed, in nanoseconds since 1970, where that is known; nothing of it is kept in a
    /// file, because two checkouts have the same state.
    #[serde(skip)]
    pub times: Vec<Option<i128>>,
    /// What a RUN can read although it is in no key, with a short digest: `secret NAME`, `ssh NAME`, `proxy NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outside: BTreeMap<String, String>,
    /// The operations; inputs come before what uses them.
    pub steps: Vec<Step>,
    /// Instructions that make no operation, in file order.
    pub config: Vec<Config>,
}

/// One file, directory or link.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry(
    /// Path in its tree.
    pub String,
    /// `f`ile, `d`irectory, `l`ink or `s`pecial file.
    pub char,
    /// Permission bits.
    pub u32,
    /// Bytes.
    pub u64,
    /// Digest of header and content.
    pub String,
);

/// One operation.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Step {
    /// As BuildKit's progress shows it, but with the words as they are written.
    pub name: String,
    /// Name or number of the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The instruction; empty for what stands beside one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instruction: String,
    /// Its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The instruction as written, joined.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Cache map digests.
    pub digests: Vec<String>,
    /// What it is made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<SavedInput>,
    /// ARG and ENV that enter the key, by name, with the digest of the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// Other parts of the key that a person would name, with the digest of the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: BTreeMap<String, String>,
    /// What of [`State::outside`] it can read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// What is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// Recorded results are not looked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_cache: bool,
    /// Files of a folder: their identity is their content, not this step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
}

/// One input of an operation.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct SavedInput {
    /// Index of the step.
    pub step: usize,
    /// Digest of the paths taken from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// What is taken counts by its content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_content: bool,
    /// Digest of that content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What is taken, as runs `[first, last]` of [`State::entries`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<[usize; 2]>,
}

/// A variable in a key.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// ARG, not ENV.
    pub arg: bool,
    /// Digest of name and value.
    pub digest: String,
}

/// An instruction that makes no operation.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Config {
    /// Stage.
    pub stage: String,
    /// Instruction.
    pub instruction: String,
    /// Its first line.
    pub line: u32,
    /// As written.
    pub text: String,
}

/// A file that is no saved state.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not JSON, or JSON of another shape.
    #[error("this is no state saved by `layerlint keys --save`: {0}")]
    Shape(#[from] serde_json::Error),
    /// Another format.
    #[error("this state is in format `{0}`; this version of layerlint reads `{SCHEMA}`")]
    Schema(String),
    /// Indexes that lead nowhere.
    #[error("this saved state is damaged: {0}")]
    Damaged(String),
}

impl State {
    /// The state of a build whose plan was made with [`super::plan::Detail::Entries`].
    pub fn new(dockerfile: &str, model: &BuildModel<'_>, graph: &BuildGraph<'_>, plan: &KeyPlan) -> Self {
        let mut known: Known<'_> = BTreeMap::new();
        for input in plan.steps.iter().flat_map(|s| &s.inputs) {
            for entry in input.content.iter().flat_map(|c| &c.entries) {
                let (_, time) = known.entry(entry.identity()).or_insert((0, entry.modified));
                // Two contexts may have the same file.
                *time = time.filter(|t| entry.modified == Some(*t));
            }
        }
        for (number, (slot, _)) in known.values_mut().enumerate() {
            *slot = number;
        }
        let entry = |e: &(&str, char, u32, u64, &str)| Entry(e.0.to_owned(), e.1, e.2, e.3, e.4.to_owned());
        let entries = known.keys().map(entry).collect();
        let facts = plan.facts(graph);
        let steps = graph.vertices.iter().zip(&plan.steps).zip(facts);
        let steps = steps.map(|((vertex, key), facts)| step(model, vertex, key, facts, &known)).collect();
        let stages = &model.graph.stages;
        let built = model.stages.iter().filter(|s| stages.get(s.index).is_some_and(|s| s.reachable));
        let config =
            built.flat_map(|s| &s.steps).filter(|s| matches!(s.action, Action::Config)).map(|s| Config {
                stage: stages.get(s.stage).map(|s| s.label()).unwrap_or_default(),
                instruction: s.instruction.keyword.name().to_owned(),
                line: s.instruction.line,
                text: s.instruction.text.to_str().trim().to_owned(),
            });
        State {
            schema: SCHEMA.to_owned(),
            dockerfile: dockerfile.to_owned(),
            target: model.graph.target.and_then(|t| stages.get(t)).map(|s| s.label()),
            platform: model.graph.platform.to_string(),
            result: model.graph.target.and_then(|t| graph.outputs.get(t).copied().flatten()).flatten(),
            entries,
            times: known.values().map(|(_, time)| *time).collect(),
            outside: outside(model),
            steps,
            config: config.collect(),
        }
    }

    /// As the bytes of a file: a line for each path and each step, so that two states can be compared by eye.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        fn lines<T: Serialize>(items: &[T]) -> serde_json::Result<String> {
            let lines: Vec<String> = items.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
            Ok(if lines.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", lines.join(",\n")) })
        }
        let fields = [
            ("schema", serde_json::to_string(&self.schema)?),
            ("dockerfile", serde_json::to_string(&self.dockerfile)?),
            ("target", serde_json::to_string(&self.target)?),
            ("platform", serde_json::to_string(&self.platform)?),
            ("result", serde_json::to_string(&self.result)?),
            ("entries", lines(&self.entries)?),
            ("outside", serde_json::to_string(&self.outside)?),
            ("steps", lines(&self.steps)?),
            ("config", lines(&self.config)?),
        ];
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        Ok(format!("{{\n{}\n}}\n", fields.join(",\n")).into_bytes())
    }

    /// Reads the bytes of a file.
    pub fn from_json(bytes: &[u8]) -> Result<Self, LoadError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.schema != SCHEMA {
            return Err(LoadError::Schema(head.schema));
        }
        let state: State = serde_json::from_slice(bytes)?;
        let damaged = |what: &str| LoadError::Damaged(what.to_owned());
        for (number, step) in state.steps.iter().enumerate() {
            for input in &step.inputs {
                if input.step >= number {
                    return Err(damaged("a step is made from one that comes after it"));
                }
                if input.entries.iter().any(|[first, last]| first > last || *last >= state.entries.len()) {
                    return Err(damaged("a step takes a file that is not listed"));
                }
            }
        }
        if state.result.is_some_and(|r| r >= state.steps.len()) {
            return Err(damaged("its result is no step"));
        }
        Ok(state)
    }

    /// The steps as far as matching goes.
    pub fn facts(&self) -> Vec<Facts> {
        self.steps
            .iter()
            .map(|s| Facts {
                digests: s.digests.clone(),
                inputs: s
                    .inputs
                    .iter()
                    .map(|i| Input {
                        step: i.step,
                        selector: i.selector.clone(),
                        by_content: i.by_content,
                        content: i.content.clone(),
                    })
                    .collect(),
                ignore_cache: s.ignore_cache,
            })
            .collect()
    }

    /// When each thing that an input takes was last changed, by its path, where that is known.
    pub fn times_of<'s>(&'s self, input: &'s SavedInput) -> HashMap<&'s str, i128> {
        let runs = input.entries.iter().filter_map(|[first, last]| {
            Some(self.entries.get(*first..=*last)?.iter().zip(self.times.get(*first..=*last)?))
        });
        runs.flatten().filter_map(|(entry, time)| Some((entry.0.as_str(), (*time)?))).collect()
    }

    /// What an input takes.
    pub fn entries_of<'s>(&'s self, input: &'s SavedInput) -> impl Iterator<Item = &'s Entry> {
        let runs = input.entries.iter().filter_map(|[first, last]| self.entries.get(*first..=*last));
        runs.flatten()
    }
}

/// What is taken, by what of it is in a key: its number in the list, and when it was last changed.
type Known<'e> = BTreeMap<(&'e str, char, u32, u64, &'e str), (usize, Option<i128>)>;

fn step(model: &BuildModel<'_>, vertex: &Vertex<'_>, key: &StepKey, facts: Facts, known: &Known<'_>) -> Step {
    let written = vertex.step.and_then(|(stage, n)| model.stages.get(stage)?.steps.get(n));
    let is_source = matches!(vertex.op, Op::Local(_) | Op::Image { .. } | Op::Http { .. } | Op::Git { .. });
    let own = written.filter(|_| !vertex.internal && !is_source);
    let stage = vertex.stage.and_then(|s| model.graph.stages.get(s));
    let from = stage.filter(|_| matches!(vertex.op, Op::Image { .. })).map(|s| s.from);
    let instruction = own.map(|s| s.instruction).or(from);
    let value = |name: &str, value: &str, config: &[(String, String)]| Variable {
        name: name.to_owned(),
        arg: !config.iter().any(|(k, _)| k == name),
        digest: sha256(format!("{name}={value}")),
    };
    let variables = match (&vertex.op, own) {
        (Op::Exec(exec), Some(s)) => exec.env.iter().map(|(k, v)| value(k, v, &s.state.config_env)).collect(),
        (_, Some(s)) => {
            let names = s.variables(model.graph.document.escape.char()).used;
            let known = |n: &String| s.state.env.iter().find(|(k, _)| k == n);
            names.iter().filter_map(known).map(|(k, v)| value(k, v, &s.state.config_env)).collect()
        }
        (_, None) => Vec::new(),
    };
    let inputs = key.inputs.iter().zip(facts.inputs).map(|(input, facts)| SavedInput {
        step: input.vertex,
        selector: facts.selector,
        by_content: facts.by_content,
        content: facts.content,
        entries: runs(
            input
                .content
                .iter()
                .flat_map(|c| &c.entries)
                .filter_map(|e| known.get(&e.identity()).map(|(number, _)| *number)),
        ),
    });
    let line = match written.filter(|_| own.is_some()) {
        Some(s) => s.position.and_then(|p| model.graph.document.instructions.get(p)).map(|i| i.line),
        None => from.map(|i| i.line),
    };
    Step {
        name: vertex.name.clone(),
        stage: stage.map(|s| s.label()),
        instruction: instruction.map(|i| i.keyword.name()).unwrap_or_default().to_owned(),
        line,
        text: instruction.map(|i| i.text.to_str().trim().to_owned()).unwrap_or_default(),
        digests: facts.digests,
        inputs: inputs.collect(),
        variables,
        facets: facets(vertex),
        reads: reads(vertex, model),
        unknown: vertex.unknown.clone(),
        ignore_cache: vertex.ignore_cache,
        local: matches!(vertex.op, Op::Local(_)),
    }
}

/// What processes can read although it is in no key. The digests are too short to find a value by trying.
fn outside(model: &BuildModel<'_>) -> BTreeMap<String, String> {
    let build = model.build;
    let proxies = build.build_args.iter().filter(|(name, _)| is_proxy(name));
    let proxies = proxies.map(|(name, value)| (format!("proxy {name}"), fingerprint(value.as_bytes())));
    proxies.chain(build.outside.iter().cloned()).collect()
}

/// A digest that is long enough to see a change, and too short to be sure of a value that was guessed.
pub fn fingerprint(value: &[u8]) -> String {
    sha256([b"layerlint outside\0", value].concat()).chars().skip("sha256:".len()).take(8).collect()
}

/// Whether an argument reaches every RUN without being declared and without being in its key
/// (`proxyEnvFromBuildArgs` in `dockerfile2llb/convert.go`).
pub fn is_proxy(name: &str) -> bool {
    ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"]
        .iter()
        .any(|proxy| name.eq_ignore_ascii_case(proxy))
}

/// What of the outside an operation can read.
fn reads(vertex: &Vertex<'_>, model: &BuildModel<'_>) -> Vec<String> {
    let Op::Exec(exec) = &vertex.op else { return Vec::new() };
    let mounts = exec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountDetail::Secret(access) => Some(format!("secret {}", access.id)),
        MountDetail::Ssh(access) if access.id.is_empty() => Some("ssh default".to_owned()),
        MountDetail::Ssh(access) => Some(format!("ssh {}", access.id)),
        _ => None,
    });
    let variables = exec.secret_env.iter().map(|(id, _, _)| format!("secret {id}"));
    // A proxy that is declared is a variable like others.
    let proxies = model.build.build_args.iter().map(|(name, _)| name);
    let proxies = proxies.filter(|name| is_proxy(name) && !exec.env.iter().any(|(n, _)| n == *name));
    let mut out: Vec<String> =
        mounts.chain(variables).chain(proxies.map(|name| format!("proxy {name}"))).collect();
    out.sort();
    out.dedup();
    out
}

/// Ascending numbers as runs.
fn runs(numbers: impl Iterator<Item = usize>) -> Vec<[usize; 2]> {
    let mut out: Vec<[usize; 2]> = Vec::new();
    for n in numbers {
        match out.last_mut() {
            Some([_, last]) if *last + 1 == n => *last = n,
            _ => out.push([n, n]),
        }
    }
    out
}

/// The parts of an operation beside its words and variables.
fn facets(vertex: &Vertex<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            out.insert(name.to_owned(), sha256(value));
        }
    };
    match &vertex.op {
        Op::Exec(exec) => {
            let shell = exec.args.split_last().map(|(_, shell)| shell.join("\0")).unwrap_or_default();
            add("shell", shell);
            add("command", exec.args.last().cloned().unwrap_or_default());
            add("working directory", exec.cwd.clone());
            add("user", exec.user.clone());
            add("platform", vertex.platform.full());
            add("extra hosts", exec.extra_hosts.join("\0"));
            add("host name", exec.hostname.clone());
            add("limits", exec.ulimits.iter().map(|(n, s, h)| format!("{n}={s}:{h}\0")).collect());
            add("control group", exec.cgroup_parent.clone());
            add("network", format!("{:?}", exec.network));
            let mounts = exec.mounts.iter().filter(|m| m.dest != "/");
            add("mounts", mounts.map(|m| format!("{m:?}\0")).collect());
        }
        Op::File(actions) => {
            let copies = || {
                actions.iter().filter_map(|a| match &a.kind {
                    FileKind::Copy(copy) => Some(copy),
                    _ => None,
                })
            };
            add("sources", copies().map(|c| format!("{}\0", c.src)).collect());
            add("destination", copies().map(|c| format!("{}\0", c.dest)).collect());
            add("owner", copies().filter_map(|c| c.owner.as_ref()).map(|o| format!("{o:?}")).collect());
            let mode = |c: &crate::build::lower::CopyAction| format!("{}{}\0", c.mode, c.mode_str);
            add("mode", copies().map(mode).collect());
            for action in actions {
                if let FileKind::Mkdir { path, owner, timestamp, .. } = &action.kind {
                    add("directory", path.clone());
                    add("owner", owner.as_ref().map(|o| format!("{o:?}")).unwrap_or_default());
                    add("SOURCE_DATE_EPOCH", timestamp.to_string());
                }
            }
        }
        Op::Local(_) | Op::Image { .. } | Op::Http { .. } | Op::Git { .. } | Op::Merge => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> State {
        State {
            schema: SCHEMA.to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            platform: "linux/amd64".to_owned(),
            result: Some(0),
            times: Vec::new(),
            outside: BTreeMap::new(),
            entries: vec![Entry("a".to_owned(), 'f', 0o644, 1, "sha256:x".to_owned())],
            steps: vec![Step {
                name: "n".to_owned(),
                stage: None,
                instruction: "RUN".to_owned(),
                line: Some(1),
                text: "RUN x".to_owned(),
                digests: vec!["sha256:y".to_owned()],
                inputs: Vec::new(),
                variables: Vec::new(),
                facets: BTreeMap::new(),
                reads: Vec::new(),
                unknown: Vec::new(),
                ignore_cache: false,
                local: false,
            }],
            config: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let state = small();
        let bytes = state.to_json().unwrap();
        assert_eq!(State::from_json(&bytes).unwrap(), state);
        assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), 15);
    }

    #[test]
    fn other_formats_and_damage_are_told() {
        let told = |change: &dyn Fn(&mut State)| {
            let mut state = small();
            change(&mut state);
            State::from_json(&state.to_json().unwrap()).unwrap_err().to_string()
        };
        assert_eq!(
            told(&|s| s.schema = "layerlint.state/9".into()),
            "this state is in format `layerlint.state/9`; this version of layerlint reads `layerlint.state/1`"
        );
        assert_eq!(told(&|s| s.result = Some(7)), "this saved state is damaged: its result is no step");
        let input = |step, entries: &[[usize; 2]]| SavedInput {
            step,
            selector: None,
            by_content: false,
            content: None,
            entries: entries.to_vec(),
        };
        assert!(told(&|s| s.steps[0].inputs = vec![input(0, &[])]).contains("comes after it"));
        assert!(
            told(&|s| {
                let mut step = s.steps[0].clone();
                step.inputs = vec![input(0, &[[0, 1]])];
                s.steps.push(step);
            })
            .contains("not listed")
        );
        for bytes in [&b""[..], b"[]", b"{\"schema\":1}", b"\xff"] {
            assert!(State::from_json(bytes).is_err());
        }
    }
}
