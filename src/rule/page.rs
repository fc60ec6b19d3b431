//! The page of a rule: Markdown with front matter and examples that run as tests.
//!
//! ````text
//! ---
//! name: arg-baked-env
//! group: arguments
//! severity: warning
//! since: 0.1.0
//! fix: none
//! needs: context, cargo
//! ---
//! # arg-baked-env
//!
//! ## What it finds
//! …
//!
//! ```dockerfile bad
//! FROM scratch
//! ```
//!
//! ```text file=.dockerignore
//! target
//! ```
//! ````
//!
//! A block marked `bad`, `good` or `fixed` begins an example; it is the Dockerfile, named `Dockerfile` unless it
//! says `file=PATH`. A block with `file=PATH` alone is a companion of the example before it; with `for=all` it
//! belongs to every example of the page, with `for=bad`, `for=good` or `for=fixed` to every one of that kind, wherever
//! it stands. Other blocks are prose.

use crate::finding::Severity;

/// A parsed page. Parsing never fails; [`Page::faults`] tells what is missing.
#[derive(Clone, Debug, Default)]
pub struct Page<'a> {
    /// Front matter: the rule's name.
    pub name: &'a str,
    /// Front matter: what it is about, in a word.
    pub group: &'a str,
    /// Front matter.
    pub severity: Option<Severity>,
    /// Front matter: the first version that had it.
    pub since: &'a str,
    /// Front matter: `safe`, `unsafe` or `none`.
    pub fix: &'a str,
    /// Front matter: what the rule must be able to look at beside the Dockerfile.
    pub needs: Vec<&'a str>,
    /// The text without front matter.
    pub body: &'a str,
    /// The parts under `##` headings, in order.
    pub sections: Vec<Section<'a>>,
    /// In order.
    pub examples: Vec<Example>,
    faults: Vec<String>,
}

/// A part of a page.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// The heading.
    pub title: &'a str,
    /// What stands below it, trimmed.
    pub text: &'a str,
}

/// What an example shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExampleKind {
    /// Yields its own rule and no other.
    Bad,
    /// Yields nothing from any rule.
    Good,
    /// What the rule's fix makes of the bad example before it; yields nothing.
    Fixed,
}

impl ExampleKind {
    /// The word in the page.
    pub fn name(self) -> &'static str {
        match self {
            ExampleKind::Bad => "bad",
            ExampleKind::Good => "good",
            ExampleKind::Fixed => "fixed",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Bad, Self::Good, Self::Fixed].into_iter().find(|kind| kind.name() == word)
    }
}

/// A small project that shows something.
#[derive(Clone, Debug)]
pub struct Example {
    /// What it shows.
    pub kind: ExampleKind,
    /// Line of the page where it begins, from 1.
    pub line: usize,
    /// Path and content of every file, the Dockerfile first.
    pub files: Vec<(String, String)>,
}

/// The sections of every page, in order.
pub(super) const SECTIONS: [&str; 4] = ["What it finds", "Why it hurts", "What to do", "When it is fine"];

/// Keys and values between the `---` lines at the top.
pub(super) fn front_matter(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = text
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .map_or("", |(inside, _)| inside);
    inside.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()))
}

/// A fenced block.
struct Block<'a> {
    /// Line of the opening fence, from 1.
    line: usize,
    info: &'a str,
    content: String,
}

impl<'a> Page<'a> {
    /// Reads a page.
    pub fn parse(text: &'a str) -> Self {
        let mut page = Page { body: text, ..Page::default() };
        for (key, value) in front_matter(text) {
            match key {
                "name" => page.name = value,
                "group" => page.group = value,
                "severity" => page.severity = value.parse().ok(),
                "since" => page.since = value,
                "fix" => page.fix = value,
                "needs" => page.needs = value.split(',').map(str::trim).filter(|n| !n.is_empty()).collect(),
                _ => page.faults.push(format!("unknown key `{key}` in the front matter")),
            }
        }
        let mut before = 0;
        if let Some((front, body)) = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) {
            page.body = body.trim_start_matches('\n');
            before = front.lines().count() + 2 + body.len().saturating_sub(page.body.len());
        } else {
            page.faults.push("the page does not begin with front matter".to_owned());
        }
        page.sections = sections(page.body);
        let (examples, faults) = examples(&blocks(page.body, before));
        page.examples = examples;
        page.faults.extend(faults);
        page
    }

    /// The first sentence of the page.
    pub fn summary(&self) -> String {
        let text = self.sections.first().map_or("", |section| section.text);
        let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        match paragraph.split_once(". ") {
            Some((first, _)) => first.to_owned(),
            None => paragraph.trim_end_matches('.').to_owned(),
        }
    }

    /// What the page lacks or gets wrong; empty for a page that may be published.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        let required = [("name", self.name), ("group", self.group), ("since", self.since), ("fix", self.fix)];
        faults.extend(
            required
                .iter()
                .filter(|(_, v)| v.is_empty())
                .map(|(k, _)| format!("no `{k}` in the front matter")),
        );
        if self.severity.is_none() {
            faults.push("no `severity` of error, warning or info in the front matter".to_owned());
        }
        if !self.body.starts_with(&format!("# {}\n", self.name)) {
            faults.push("the title is not the name".to_owned());
        }
        let titles: Vec<&str> = self.sections.iter().map(|section| section.title).collect();
        let mut known = titles.iter().filter(|title| SECTIONS.contains(title));
        if !SECTIONS.iter().all(|title| known.next() == Some(title)) {
            faults.push(format!("the sections are not {SECTIONS:?} in this order"));
        }
        for kind in [ExampleKind::Bad, ExampleKind::Good] {
            if !self.examples.iter().any(|example| example.kind == kind) {
                faults.push(format!("no {} example", kind.name()));
            }
        }
        faults
    }
}

/// Lines with whether they are inside a fenced block (fences included).
fn fenced(body: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut fence: Option<&str> = None;
    body.split_inclusive('\n').map(move |line| {
        let ticks = line.len() - line.trim_start_matches('`').len();
        match fence {
            Some(open) => {
                if ticks >= open.len() && line.trim_start_matches('`').trim().is_empty() {
                    fence = None;
                }
                (line, true)
            }
            None if ticks >= 3 => {
                fence = line.get(..ticks);
                (line, true)
            }
            None => (line, false),
        }
    })
}

fn sections(body: &str) -> Vec<Section<'_>> {
    let mut heads: Vec<(usize, usize, &str)> = Vec::new();
    let mut at = 0;
    for (line, inside) in fenced(body) {
        if let Some(title) = line.strip_prefix("## ").filter(|_| !inside) {
            heads.push((at, at + line.len(), title.trim()));
        }
        at += line.len();
    }
    let ends = heads.iter().skip(1).map(|head| head.0).chain([body.len()]);
    heads
        .iter()
        .zip(ends)
        .map(|((_, from, title), to)| Section { title, text: body.get(*from..to).unwrap_or_default().trim() })
        .collect()
}

fn blocks(body: &str, before: usize) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open: Option<(usize, Block<'_>)> = None;
    for (n, line) in body.split_inclusive('\n').enumerate() {
        let bare = line.trim_start_matches('`');
        let ticks = line.len() - bare.len();
        match &mut open {
            Some((fence, _)) if ticks >= *fence && bare.trim().is_empty() => {
                blocks.extend(open.take().map(|(_, block)| block));
            }
            Some((_, block)) => block.content.push_str(line),
            None if ticks >= 3 => {
                let block = Block { line: before + n + 1, info: bare.trim(), content: String::new() };
                open = Some((ticks, block));
            }
            None => {}
        }
    }
    blocks
}

fn examples(blocks: &[Block<'_>]) -> (Vec<Example>, Vec<String>) {
    let mut examples: Vec<Example> = Vec::new();
    let mut shared: Vec<(Option<ExampleKind>, String, String)> = Vec::new();
    let mut faults = Vec::new();
    for block in blocks {
        let mut words = block.info.split_whitespace().skip(1);
        let mut kind = None;
        let mut path = None;
        let mut target = None;
        for word in words.by_ref() {
            match word.split_once('=') {
                Some(("file", value)) => path = Some(value.to_owned()),
                Some(("for", "all")) => target = Some(None),
                Some(("for", value)) if ExampleKind::from_word(value).is_some() => {
                    target = Some(ExampleKind::from_word(value));
                }
                None if ExampleKind::from_word(word).is_some() => kind = ExampleKind::from_word(word),
                _ => faults.push(format!("line {}: `{word}` is not understood", block.line)),
            }
        }
        let content = block.content.clone();
        match (kind, path, target) {
            (Some(kind), path, None) => {
                let path = path.unwrap_or_else(|| "Dockerfile".to_owned());
                examples.push(Example { kind, line: block.line, files: vec![(path, content)] });
            }
            (None, Some(path), Some(target)) => shared.push((target, path, content)),
            (None, Some(path), None) => match examples.last_mut() {
                Some(example) => example.files.push((path, content)),
                None => faults.push(format!("line {}: no example stands before this companion", block.line)),
            },
            (None, None, None) => {}
            _ => faults.push(format!("line {}: `for=` needs `file=` and no kind of its own", block.line)),
        }
    }
    for example in &mut examples {
        for (target, path, content) in &shared {
            let meant = target.is_none_or(|kind| kind == example.kind);
            // An example's own file replaces the shared one.
            if meant && !example.files.iter().any(|(own, _)| own == path) {
                example.files.push((path.clone(), content.clone()));
            }
        }
    }
    (examples, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "---\nname: x\ngroup: g\nseverity: error\nsince: 0.1.0\nfix: none\nneeds: context, cargo\n---\n\
        # x\n\n## What it finds\nA thing\nthat is wrong. More.\n\n## Why it hurts\nSo.\n\n## What to do\nThis.\n\n\
        ```dockerfile bad\nFROM a\n```\n\n```text file=.dockerignore\n## not a heading\n```\n\n\
        ```dockerfile good file=b/Dockerfile\nFROM b\n```\n\n```text file=.dockerignore for=all\nshared\n```\n\n\
        ## When it is fine\nNever.\n";

    #[test]
    fn front_matter_summary_and_sections_are_read() {
        let page = Page::parse(PAGE);
        assert_eq!((page.name, page.severity), ("x", Some(Severity::Error)));
        assert_eq!(page.needs, ["context", "cargo"]);
        assert_eq!(page.summary(), "A thing that is wrong");
        assert_eq!(page.sections.iter().map(|s| s.title).collect::<Vec<_>>(), SECTIONS);
        assert_eq!(page.faults(), Vec::<String>::new());
    }

    #[test]
    fn companions_belong_to_the_example_before_them_or_to_all() {
        let page = Page::parse(PAGE);
        let files: Vec<Vec<(&str, &str)>> = page
            .examples
            .iter()
            .map(|e| e.files.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect())
            .collect();
        assert_eq!(
            files,
            [
                vec![("Dockerfile", "FROM a\n"), (".dockerignore", "## not a heading\n")],
                vec![("b/Dockerfile", "FROM b\n"), (".dockerignore", "shared\n")],
            ]
        );
        assert_eq!(PAGE.lines().nth(page.examples[0].line - 1), Some("```dockerfile bad"));
    }

    #[test]
    fn a_page_without_anything_has_many_faults() {
        assert!(Page::parse("").faults().len() > 5);
        assert!(Page::parse("---\nfoo: bar\n---\n").faults()[0].contains("foo"));
    }
}
