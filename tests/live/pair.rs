//! A project before and after an edit: both are built by the engine and by nobody else, and compared with `why`.

use super::engine::{Built, Engine, Status};
use super::project::{Node, Project};
use serde_json::Value;
use similar::TextDiff;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Builds that may be tried to make a case smaller.
const ATTEMPTS: usize = 150;

#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) before: Project,
    pub(crate) after: Project,
}

pub(crate) enum Verdict {
    /// A process fails, or this engine is of another mind than today's: that says nothing.
    NotBuilt(String),
    /// Both say that it cannot be built, before or after the edit.
    Refused,
    Compared(Found),
}

#[derive(Default)]
pub(crate) struct Found {
    /// Steps that were reused and made anew, as said.
    pub(crate) cached: usize,
    pub(crate) done: usize,
    /// Steps that `why` only guesses.
    pub(crate) guessed_right: usize,
    pub(crate) guessed_wrong: usize,
    /// Differences that are known, by name.
    pub(crate) exceptions: Vec<&'static str>,
    pub(crate) disagreements: Vec<String>,
    /// Everything step by step.
    pub(crate) table: String,
}

/// A step as `why` tells it.
pub(crate) struct Said {
    name: String,
    pub(crate) status: Status,
    exact: bool,
    pub(crate) cause: String,
    /// Steps with the same identity are one operation for BuildKit.
    identity: usize,
    /// It is made from nothing.
    first: bool,
}

/// A known difference: its name, its reason, and whether it explains that a step is shown with another status.
struct Exception {
    name: &'static str,
    reason: &'static str,
    explains: fn(&Said, Status) -> bool,
}

/// Where `why` and this engine, whose BuildKit is of 2020, differ although both are right.
const EXCEPTIONS: &[Exception] = &[Exception {
    name: "first operation on scratch",
    reason: "an imported cache holds no result of an operation on nothing, so `why` says that it runs (if it is shown at \
             all); a builder that kept its own result shows CACHED where something needs it",
    explains: |step, shown| step.first && shown == Status::Cached,
}];

impl Pair {
    pub(crate) fn judge(&self, engine: &Engine) -> Verdict {
        let temp = tempfile::tempdir().unwrap();
        engine.forget();
        let side = |project: &Project, name: &str| {
            let root =
                temp.path().join(format!("{name}{}", temp.path().file_name().unwrap().to_string_lossy()));
            let laid = project.lay_out(&root, Some(Path::new("/bin/busybox")));
            let state = temp.path().join(format!("{name}.json"));
            (project.flags(&laid), laid, state)
        };
        let (flags, laid, first) = side(&self.before, "before");
        let built = engine.build(&self.before, &laid);
        if let Err(verdict) = both_accept(&self.before, &built, save(&flags, &laid.context, &first)) {
            return verdict;
        }
        let (flags, laid, second) = side(&self.after, "after");
        let built = engine.build(&self.after, &laid);
        if let Err(verdict) = both_accept(&self.after, &built, save(&flags, &laid.context, &second)) {
            return verdict;
        }
        Verdict::Compared(compare(&built, &why(&first, &second)))
    }

    /// Drops whatever is not needed for a disagreement, within reason.
    pub(crate) fn smaller(&self, engine: &Engine) -> Pair {
        let mut best = self.clone();
        let mut left = ATTEMPTS;
        let mut again = true;
        while std::mem::take(&mut again) {
            for candidate in 0.. {
                let Some(next) = best.without(candidate) else { break };
                let changed = next.before != best.before || next.after != best.after;
                if left == 0 || !changed {
                    continue;
                }
                left -= 1;
                if matches!(next.judge(engine), Verdict::Compared(f) if !f.disagreements.is_empty()) {
                    best = next;
                    again = true;
                }
            }
        }
        best
    }

    /// The pair without one of its parts; `None` after the last.
    fn without(&self, part: usize) -> Option<Pair> {
        let mut out = self.clone();
        let mut ids: Vec<usize> = self.before.lines.iter().chain(&self.after.lines).map(|l| l.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.reverse();
        let mut paths: Vec<&String> = self.before.entries.keys().chain(self.after.entries.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        let sides = [&mut out.before, &mut out.after];
        let Some(part) = part.checked_sub(ids.len()) else {
            for side in sides {
                side.lines.retain(|l| l.id != ids[part]);
            }
            return Some(out);
        };
        let Some(part) = part.checked_sub(paths.len()) else {
            for side in sides {
                side.entries.remove(paths[part]);
            }
            return Some(out);
        };
        let Some(part) = part.checked_sub(ids.len()) else {
            // The line as it is afterwards, in both.
            let line = self.after.lines.iter().find(|l| l.id == ids[part]).cloned();
            if let (Some(old), Some(line)) = (out.before.lines.iter_mut().find(|l| l.id == ids[part]), line) {
                *old = line;
            }
            return Some(out);
        };
        let Some(part) = part.checked_sub(paths.len()) else {
            if let (Some(old), Some(new)) =
                (out.before.entries.get_mut(paths[part]), self.after.entries.get(paths[part]))
            {
                *old = new.clone();
            }
            return Some(out);
        };
        let rest: [fn(&mut Project, &Project); 7] = [
            |p, _| p.ignore.clear(),
            |p, _| p.build_args.clear(),
            |p, _| p.add_hosts.clear(),
            |p, _| p.crlf = false,
            |p, _| p.outside = true,
            |p, _| p.target = None,
            |p, other| p.build_args = other.build_args.clone(),
        ];
        let change = rest.get(part)?;
        let after = self.after.clone();
        for side in sides {
            change(side, &after);
        }
        Some(out)
    }

    /// For whoever has to find the reason.
    pub(crate) fn shown(&self) -> String {
        let listing = |p: &Project| -> String {
            let mut out: String = p
                .entries
                .iter()
                .map(|(path, node)| match node {
                    Node::File { content, mode, mtime } => format!("{path} {mode:o} @{mtime} {content:?}\n"),
                    Node::Dir { mode } => format!("{path}/ {mode:o}\n"),
                    Node::Link { target } => format!("{path} -> {target}\n"),
                })
                .collect();
            out.extend(p.ignore.iter().map(|l| format!(".dockerignore: {l}\n")));
            let place = if p.outside { "beside" } else { "in" };
            out.push_str(&format!("Dockerfile {place} the context\n"));
            let flags = (&p.build_args, &p.add_hosts, &p.target, p.no_cache, &p.secret);
            out.push_str(&format!("flags {flags:?}\n"));
            out
        };
        let both =
            |a: String, b: String| TextDiff::from_lines(&a, &b).unified_diff().context_radius(99).to_string();
        let same = |a: &String, b: &String| if a == b { a.clone() } else { both(a.clone(), b.clone()) };
        let (a, b) = (self.before.text(), self.after.text());
        let (c, d) = (listing(&self.before), listing(&self.after));
        format!("{}\n{}", same(&a, &b), same(&c, &d))
    }
}

/// Whether a state can be built, if the engine and layerlint are of one mind about it.
fn both_accept(project: &Project, built: &Built, saved: Result<(), String>) -> Result<(), Verdict> {
    let differ = |what: String| Verdict::Compared(Found { disagreements: vec![what], ..Found::default() });
    match (saved, built.succeeded) {
        (Ok(()), true) => Ok(()),
        (Err(_), false) => Err(Verdict::Refused),
        // This engine sends a directory that is left out if an exception could hold for something in it; today's sends
        // it if one does.
        (Err(why), true)
            if why.contains("not found") && project.ignore.iter().any(|l| l.starts_with('!')) =>
        {
            Err(Verdict::NotBuilt(why))
        }
        (Err(why), true) => Err(differ(format!("the engine builds what layerlint refuses: {why}"))),
        (Ok(()), false) => {
            // What a process does is not known before, nor which files it leaves to others.
            let by_process = |f: &String| f.contains("RUN ") || f.contains("--from=");
            // The key of a pattern without matches is known; the copying fails if its directory was not sent, which
            // depends on the version. And this engine refuses to send a path below a file; today's goes on.
            let of_version =
                |f: &String| f.contains('*') || f.contains("/[") || built.log.contains("not a directory");
            if built.failed.as_ref().is_some_and(|f| by_process(f) || of_version(f)) {
                return Err(Verdict::NotBuilt(built.log.clone()));
            }
            Err(differ(format!("layerlint accepts what the engine refuses: {}", built.log)))
        }
    }
}

fn compare(built: &Built, said: &[Said]) -> Found {
    let mut found = Found::default();
    let mut shown: Vec<&(String, Status)> = built.steps.iter().filter(|(n, _)| place(n).is_some()).collect();
    // A build with one stage does not name it.
    let alone = shown.iter().all(|(n, _)| place(n).is_some_and(|p| p.0.is_empty()));
    let places: Vec<Option<(&str, &str)>> =
        said.iter().map(|s| place(&s.name).map(|(stage, i)| (if alone { "" } else { stage }, i))).collect();
    let status_at = |wanted| built.steps.iter().find(|(n, _)| place(n) == Some(wanted));
    for (step, wanted) in said.iter().zip(&places) {
        let Some(wanted) = *wanted else { continue };
        shown.retain(|(n, _)| place(n) != Some(wanted));
        // Equal operations of several stages are one, with the name of one of them.
        let twins = said.iter().zip(&places).filter(|(s, _)| s.identity == step.identity);
        let of_twin = || twins.filter_map(|(_, p)| *p).find_map(status_at);
        let Some((name, status)) = status_at(wanted).or_else(of_twin) else {
            found.disagreements.push(format!("the engine shows no step {}", step.name));
            continue;
        };
        let known = EXCEPTIONS.iter().find(|e| (e.explains)(step, *status));
        let verdict = match (*status == step.status, step.exact, known) {
            (true, true, _) => {
                *(if *status == Status::Cached { &mut found.cached } else { &mut found.done }) += 1;
                "as said"
            }
            (true, false, _) => {
                found.guessed_right += 1;
                "as guessed"
            }
            (false, false, _) => {
                found.guessed_wrong += 1;
                "not as guessed"
            }
            (false, true, Some(exception)) => {
                found.exceptions.push(exception.name);
                exception.reason
            }
            (false, true, None) => {
                found.disagreements.push(format!("{name} is {status:?}, said {:?}", step.status));
                "NOT AS SAID"
            }
        };
        found
            .table
            .push_str(&format!("  {status:?}, said {:?}: {name}: {verdict} {}\n", step.status, step.cause));
    }
    for (name, _) in shown {
        found.disagreements.push(format!("layerlint knows no step {name}"));
    }
    found
}

/// Stage and number of a step's name: `[base 2/6] COPY a /a`.
fn place(name: &str) -> Option<(&str, &str)> {
    let (head, _) = name.strip_prefix('[')?.split_once(']')?;
    let (stage, count) = head.rsplit_once(' ').unwrap_or(("", head));
    let (index, _) = count.split_once('/')?;
    index.bytes().all(|b| b.is_ascii_digit()).then_some((stage.trim_end(), index))
}

fn layerlint() -> Command {
    Command::new(env!("CARGO_BIN_EXE_layerlint"))
}

/// Saves the state of a build, or says what is wrong with it.
pub(crate) fn save(flags: &[String], context: &Path, state: &Path) -> Result<(), String> {
    let out = layerlint()
        .arg("keys")
        .args(flags)
        .arg("--save")
        .arg(state)
        .arg(".")
        .current_dir(context)
        .output()
        .unwrap();
    if out.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    }
}

/// The steps after an edit, as `why` tells them.
pub(crate) fn why(before: &Path, after: &Path) -> Vec<Said> {
    let out = layerlint()
        .args(["why", "--format", "json", "--before"])
        .arg(before)
        .arg("--after")
        .arg(after)
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    let state: Value = serde_json::from_slice(&std::fs::read(after).unwrap()).unwrap();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut identities: Vec<usize> = Vec::new();
    for step in state["steps"].as_array().unwrap() {
        let inputs = step["inputs"].as_array().into_iter().flatten().map(|input| {
            let below = usize::try_from(input["step"].as_u64().unwrap()).unwrap();
            format!("{} {} {}", identities[below], input["selector"], input["content"])
        });
        let whole = format!("{} {:?} {}", step["digests"], inputs.collect::<Vec<_>>(), step["local"]);
        let next = known.len();
        identities.push(*known.entry(whole).or_insert(next));
    }
    let steps =
        document["steps"].as_array().unwrap().iter().zip(identities).zip(state["steps"].as_array().unwrap());
    let said = steps.map(|((step, identity), saved)| Said {
        name: step["name"].as_str().unwrap().to_owned(),
        status: match step["status"].as_str().unwrap() {
            "CACHED" => Status::Cached,
            "DONE" => Status::Done,
            other => panic!("status {other}"),
        },
        exact: step["exact"].as_bool().unwrap(),
        cause: step["cause"]["detail"].as_str().unwrap().to_owned(),
        identity,
        first: !saved["inputs"].is_array(),
    });
    said.collect()
}
