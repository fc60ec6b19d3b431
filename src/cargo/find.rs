//! `find`: which files it takes, and what it does to them.

use crate::build::process::{PathValue, Process};
use crate::context::path::path_match;

/// A command line of `find`.
#[derive(Clone, Debug, Default)]
pub struct Find {
    /// Where it begins, as written and as absolute paths.
    roots: Vec<(String, PathValue)>,
    /// Tests of which one must hold, each a list of tests that must all hold.
    alternatives: Vec<Vec<Test>>,
    /// What it does.
    pub action: FindAction,
}

/// What `find` does to what it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FindAction {
    /// Lists it.
    #[default]
    Print,
    /// `-exec touch`
    Touch,
    /// `-delete`, `-exec rm`
    Delete,
    /// Something else.
    Other,
}

#[derive(Clone, Debug)]
struct Test {
    kind: Kind,
    negated: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Name(String),
    Path(String),
    Directories,
    MaxDepth(usize),
    MinDepth(usize),
    Never,
}

impl Find {
    /// Reads a command, if it is `find` and it is known where it begins.
    pub fn of(process: &Process<'_>) -> Option<Self> {
        let (program, words) = process.program()?;
        if !matches!(program, "find" | "gfind") {
            return None;
        }
        let mut find = Find::default();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            if matches!(word.text.as_str(), "-H" | "-L" | "-P") {
                at += 1;
                continue;
            }
            if word.text.starts_with('-') || matches!(word.text.as_str(), "(" | "!" | "\\(") {
                break;
            }
            find.roots.push((process.value(word).text, process.path(word)?));
            at += 1;
        }
        if find.roots.is_empty() {
            let cwd = process.cwd.as_ref()?;
            let here = PathValue { path: cwd.to_string(), glob: false, slash: false };
            find.roots.push((".".to_owned(), here));
        }
        let texts: Vec<String> = words.iter().skip(at).map(|w| process.value(w).text).collect();
        find.expression(&texts);
        Some(find)
    }

    fn expression(&mut self, words: &[String]) {
        let mut tests = Vec::new();
        let mut negated = false;
        let mut pruned = false;
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut test = |kind| tests.push(Test { kind, negated: std::mem::take(&mut negated) });
            match word {
                "-name" => test(Kind::Name(words.next().unwrap_or_default().to_owned())),
                "-iname" => test(Kind::Name(words.next().unwrap_or_default().to_owned())),
                "-path" | "-wholename" | "-ipath" => {
                    test(Kind::Path(words.next().unwrap_or_default().to_owned()))
                }
                "-type" => {
                    if words.next() == Some("d") {
                        test(Kind::Directories);
                    } else {
                        negated = false;
                    }
                }
                "-maxdepth" => test(Kind::MaxDepth(number(words.next()))),
                "-mindepth" => test(Kind::MinDepth(number(words.next()))),
                "-not" | "!" => negated = !negated,
                "-false" => test(Kind::Never),
                "-o" | "-or" => {
                    let done = std::mem::take(&mut tests);
                    if !std::mem::take(&mut pruned) {
                        self.alternatives.push(done);
                    }
                }
                "-prune" => pruned = true,
                "-delete" => self.action = FindAction::Delete,
                "-exec" | "-execdir" | "-ok" | "-okdir" => {
                    let command: Vec<&str> =
                        words.by_ref().take_while(|w| !matches!(*w, ";" | "+" | "\\;")).collect();
                    let has = |name: &str| {
                        command.iter().any(|w| {
                            w.split([' ', ';', '&']).any(|w| w == name || w.ends_with(&format!("/{name}")))
                        })
                    };
                    self.action = match () {
                        () if has("touch") => FindAction::Touch,
                        () if has("rm") || has("unlink") => FindAction::Delete,
                        () => FindAction::Other,
                    };
                }
                "-newer" | "-mtime" | "-mmin" | "-size" | "-perm" | "-user" | "-group" | "-regex"
                | "-iregex" | "-regextype" | "-printf" | "-fprint" => {
                    words.next();
                    negated = false;
                }
                _ => {}
            }
        }
        if !pruned {
            self.alternatives.push(tests);
        }
    }

    /// Whether it takes a file; a test that cannot be answered counts as passed.
    pub fn takes(&self, path: &str) -> bool {
        self.roots.iter().any(|(written, root)| {
            let Some(rest) = below_root(root, path) else { return false };
            let shown = match rest {
                "" => written.clone(),
                rest => format!("{}/{rest}", written.trim_end_matches('/')),
            };
            let depth = if rest.is_empty() { 0 } else { rest.split('/').count() };
            let name = path.rsplit('/').next().unwrap_or_default();
            self.alternatives.iter().any(|tests| {
                tests.iter().all(|test| {
                    let holds = match &test.kind {
                        Kind::Name(pattern) => path_match(pattern, name).unwrap_or(true),
                        Kind::Path(pattern) => flat_match(pattern, &shown),
                        Kind::Directories | Kind::Never => false,
                        Kind::MaxDepth(max) => depth <= *max,
                        Kind::MinDepth(min) => depth >= *min,
                    };
                    holds != test.negated
                })
            })
        })
    }
}

fn number(word: Option<&str>) -> usize {
    word.and_then(|w| w.parse().ok()).unwrap_or(usize::MAX)
}

/// The part of a path below a root, which may be a pattern.
fn below_root<'p>(root: &PathValue, path: &'p str) -> Option<&'p str> {
    let count = if root.path == "/" { 0 } else { root.path.matches('/').count() };
    let end = match path.match_indices('/').nth(count) {
        Some((at, _)) if count > 0 => at,
        _ if count == 0 => 0,
        _ => path.len(),
    };
    let (head, rest) = (path.get(..end)?, path.get(end..)?.trim_start_matches('/'));
    let matches =
        count == 0 || head == root.path || (root.glob && path_match(&root.path, head).unwrap_or(false));
    matches.then_some(rest)
}

/// As `find -path`: a `*` crosses `/`.
fn flat_match(pattern: &str, path: &str) -> bool {
    path_match(pattern.replace('/', "\u{1}"), path.replace('/', "\u{1}")).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::model::{Action, BuildModel};
    use crate::build::process::processes;
    use crate::image::Images;
    use crate::invoke::Invocation;
    use crate::stage::StageGraph;

    /// Which of these files a command in `/app` takes, and what it does.
    fn taken(command: &str, files: &[&str]) -> (FindAction, Vec<String>) {
        let text = format!("FROM a\nWORKDIR /app\nRUN {command}\n");
        let document = crate::syntax::parse(text.as_bytes());
        let build = Invocation::default();
        let graph = StageGraph::new(&document, &build);
        let images = Images::default();
        let model = BuildModel::new(&graph, &build, &images);
        let step = model.steps().last().unwrap();
        let Action::Run(run) = &step.action else { panic!("no RUN") };
        let list = processes(run, &step.state);
        let find = Find::of(list.first().unwrap()).unwrap();
        (find.action, files.iter().filter(|f| find.takes(f)).map(|f| (*f).to_owned()).collect())
    }

    #[test]
    fn tests_are_answered_for_files() {
        let files = ["/app/src/main.rs", "/app/src/bin/a.rs", "/app/target/x.rs", "/app/Cargo.toml"];
        for (command, action, expected) in [
            ("find . -name '*.rs' -exec touch {} +", FindAction::Touch, vec![0, 1, 2]),
            ("find src -maxdepth 1 -type f -exec touch {} \\;", FindAction::Touch, vec![0]),
            ("find . -not -path './target*' -delete", FindAction::Delete, vec![0, 1, 3]),
            (
                "find . -path ./target -prune -o -name '*.rs' -exec touch {} +",
                FindAction::Touch,
                vec![0, 1, 2],
            ),
            ("find /app/src /app/target -name 'x*' -exec sh -c 'rm -f {}' ';'", FindAction::Delete, vec![2]),
            ("find . -type d -exec touch {} +", FindAction::Touch, vec![]),
            ("find . ! -name '*.rs' -print", FindAction::Print, vec![3]),
        ] {
            let expected: Vec<&str> = expected.into_iter().map(|i: usize| files[i]).collect();
            let (did, found) = taken(command, &files);
            assert_eq!((did, found.iter().map(String::as_str).collect()), (action, expected), "{command}");
        }
    }
}
