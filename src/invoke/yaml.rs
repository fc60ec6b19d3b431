//! YAML as a tree with the place of every node. The only module that knows the YAML library.
//!
//! Aliases share their node with the anchor, so that a file of aliases upon aliases costs what its text costs. Merge
//! keys (`<<`) count when a key is looked up. Tags are kept: GitLab's `!reference` is one. A file that does not parse
//! is an error with its place, whole; nobody wants half a workflow.

use crate::source::Span;
use crate::syntax::LogicalText;
use granit_parser::{Event, Parser, ScalarStyle, Tag};
use std::collections::HashMap;
use std::sync::Arc;

/// Nodes of one file; more is no file that a person wrote.
const MAX_NODES: usize = 500_000;
/// Collections inside each other; the library refuses more as well.
const MAX_DEPTH: usize = 200;
/// Mappings that are merged into one.
const MAX_MERGES: usize = 64;

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    pub kind: Kind,
    /// From the first to the last byte, quotes included; a block ends with its last value.
    pub span: Span,
    /// `!reference` and the like, without the exclamation mark.
    pub tag: Option<String>,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Text, numbers and `true` included.
    Scalar {
        text: String,
        /// Without quotes, so that an empty one is null.
        plain: bool,
    },
    List(Vec<Arc<Node>>),
    /// In the order of the file.
    Map(Vec<(Arc<Node>, Arc<Node>)>),
}

/// Why a text is no YAML.
#[derive(Debug)]
pub(super) struct YamlError {
    pub span: Span,
    pub message: String,
}

impl Node {
    /// The text of a scalar; `None` for null, lists and mappings.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, plain } if !(*plain && is_null(text)) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    /// The elements of a list; none for anything else.
    pub(super) fn list(&self) -> &[Arc<Node>] {
        match &self.kind {
            Kind::List(list) => list,
            _ => &[],
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// The value of a key, merged mappings included; the mapping's own keys win, of equal ones the last.
    pub(super) fn get(&self, key: &str) -> Option<&Arc<Node>> {
        self.entry(key).map(|(_, value)| value)
    }

    /// A key with its value.
    pub(super) fn entry(&self, key: &str) -> Option<(&Arc<Node>, &Arc<Node>)> {
        self.layers()
            .into_iter()
            .find_map(|own| own.iter().rev().find(|(k, _)| k.text() == Some(key)).map(|(k, v)| (k, v)))
    }

    /// All keys that are texts, with their values, merged mappings included, each once.
    pub(super) fn entries(&self) -> Vec<(&str, &Arc<Node>, &Arc<Node>)> {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut out: Vec<(&str, &Arc<Node>, &Arc<Node>)> = Vec::new();
        for (layer, own) in self.layers().into_iter().enumerate() {
            for (key, value) in own {
                let Some(text) = key.text().filter(|t| *t != "<<") else { continue };
                match seen.get(text) {
                    // The same key twice in one mapping: the last one counts.
                    Some(at) if layer == 0 => out[*at] = (text, key, value),
                    Some(_) => {}
                    None => {
                        seen.insert(text, out.len());
                        out.push((text, key, value));
                    }
                }
            }
        }
        out
    }

    /// The mapping's own entries and those of the mappings merged into it, nearest first.
    fn layers(&self) -> Vec<&[(Arc<Node>, Arc<Node>)]> {
        let mut layers = Vec::new();
        let mut open = vec![self];
        while let Some(node) = open.pop().filter(|_| layers.len() < MAX_MERGES) {
            let Kind::Map(own) = &node.kind else { continue };
            layers.push(own.as_slice());
            let merged = own.iter().filter(|(k, _)| k.text() == Some("<<")).map(|(_, v)| v);
            let mut more: Vec<&Node> = Vec::new();
            for value in merged {
                match &value.kind {
                    Kind::List(list) => more.extend(list.iter().map(Arc::as_ref)),
                    _ => more.push(value),
                }
            }
            open.extend(more.into_iter().rev());
        }
        layers
    }

    /// The text of a scalar with the place of every character in the file, whatever its style.
    pub(super) fn logical(&self, file: &[u8]) -> LogicalText {
        let mut out = LogicalText::new();
        out.push(&[], self.span.start as usize);
        let Kind::Scalar { text, .. } = &self.kind else { return out };
        let source = file.get(self.span.range()).unwrap_or_default();
        let base = self.span.start as usize;
        // The header of a block scalar (`|-`, `>2 # why`) is no text.
        let mut at = match source.first() {
            Some(b'|' | b'>') => source.iter().position(|b| *b == b'\n').map_or(source.len(), |n| n + 1),
            Some(b'"' | b'\'') => 1,
            _ => 0,
        };
        // Both texts hold the same letters in the same order; only blanks, quotes and escapes differ.
        let bytes = text.as_bytes();
        let mut done = 0;
        let mut start = at;
        for (n, byte) in bytes.iter().enumerate() {
            let found = if byte.is_ascii_whitespace() {
                source.get(at).is_some_and(|b| b == byte).then_some(at)
            } else {
                source.get(at..).and_then(|rest| rest.iter().position(|b| b == byte)).map(|skip| at + skip)
            };
            let place = found.unwrap_or(at);
            if n == 0 {
                start = place;
            } else if place != start + (n - done) {
                out.push(bytes.get(done..n).unwrap_or_default(), base + start);
                (done, start) = (n, place);
            }
            at = found.map_or(at, |f| f + 1);
        }
        out.push(bytes.get(done..).unwrap_or_default(), base + start);
        out
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A collection that is being read.
struct Open {
    node: Collection,
    start: usize,
    end: usize,
    anchor: usize,
    tag: Option<String>,
}

enum Collection {
    List(Vec<Arc<Node>>),
    Map(Vec<(Arc<Node>, Arc<Node>)>, Option<Arc<Node>>),
}

/// Reads all documents of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Arc<Node>>, YamlError> {
    let whole = |message: String| YamlError { span: Span::default(), message };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            return Err(YamlError { span: Span::new(at, at + 1), message: "this is not UTF-8".to_owned() });
        }
    };
    let mut documents = Vec::new();
    let mut anchors: HashMap<usize, Arc<Node>> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut nodes = 0;
    for event in Parser::new_from_str(text) {
        let (event, place) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(bytes.len()).min(bytes.len());
                let span = Span::new(at, (at + 1).min(bytes.len()));
                return Err(YamlError { span, message: error.kind().to_string() });
            }
        };
        let range = place.byte_range().unwrap_or(0..0);
        nodes += 1;
        if nodes > MAX_NODES || open.len() > MAX_DEPTH {
            return Err(whole("it is too big".to_owned()));
        }
        let done = match event {
            Event::Scalar(value, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let kind = Kind::Scalar { text: value.into_owned(), plain };
                Some((kind, trimmed(bytes, range), anchor, tag.map(|t| tag_name(&t))))
            }
            Event::SequenceStart(_, anchor, tag) => {
                open.push(Open::new(Collection::List(Vec::new()), range, anchor, tag));
                None
            }
            Event::MappingStart(_, anchor, tag) => {
                open.push(Open::new(Collection::Map(Vec::new(), None), range, anchor, tag));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|o| {
                let closing =
                    bytes.get(range.clone()).is_some_and(|b| matches!(b.first(), Some(b']' | b'}')));
                let end = if closing { range.end } else { o.end };
                let kind = match o.node {
                    Collection::List(list) => Kind::List(list),
                    Collection::Map(map, _) => Kind::Map(map),
                };
                (kind, Span::new(o.start, end.max(o.start)), o.anchor, o.tag)
            }),
            Event::Alias(id) => {
                // An alias inside its own anchor means nothing to anybody.
                let node = anchors.get(&id).cloned().unwrap_or_else(|| {
                    let kind = Kind::Scalar { text: String::new(), plain: true };
                    Arc::new(Node { kind, span: Span::new(range.start, range.end), tag: None })
                });
                attach(&mut open, &mut documents, node, range.end);
                None
            }
            _ => None,
        };
        if let Some((kind, span, anchor, tag)) = done {
            let node = Arc::new(Node { kind, span, tag });
            if anchor != 0 {
                anchors.insert(anchor, node.clone());
            }
            attach(&mut open, &mut documents, node, span.end as usize);
        }
    }
    Ok(documents)
}

impl Open {
    fn new(
        node: Collection,
        range: std::ops::Range<usize>,
        anchor: usize,
        tag: Option<std::borrow::Cow<'_, Tag>>,
    ) -> Self {
        Self { node, start: range.start, end: range.end, anchor, tag: tag.map(|t| tag_name(&t)) }
    }
}

/// Puts a finished node where it belongs.
fn attach(open: &mut [Open], documents: &mut Vec<Arc<Node>>, node: Arc<Node>, end: usize) {
    let Some(parent) = open.last_mut() else { return documents.push(node) };
    parent.end = parent.end.max(end);
    match &mut parent.node {
        Collection::List(list) => list.push(node),
        Collection::Map(map, key) => match key.take() {
            Some(key) => map.push((key, node)),
            None => *key = Some(node),
        },
    }
}

/// A range without the line ends that follow a block.
fn trimmed(bytes: &[u8], range: std::ops::Range<usize>) -> Span {
    let held = bytes.get(range.clone()).unwrap_or_default();
    let length = held.len() - held.iter().rev().take_while(|b| b.is_ascii_whitespace()).count();
    Span::new(range.start, range.start + length)
}

fn tag_name(tag: &Tag) -> String {
    tag.original().trim_start_matches('!').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Arc<Node> {
        parse(text.as_bytes()).expect("YAML").remove(0)
    }

    fn at(text: &str, span: Span) -> &str {
        text.get(span.range()).unwrap_or("outside")
    }

    #[test]
    fn values_know_their_places() {
        let text = "\u{feff}a:\n  - x: 'ü' # why\n    y: {z: 1}\n\n  - last\nb: \"two\"\n";
        let root = read(text);
        let list = root.get("a").expect("a");
        assert_eq!(at(text, list.list()[0].span), "x: 'ü' # why\n    y: {z: 1}");
        assert_eq!(at(text, list.list()[0].get("x").expect("x").span), "'ü'");
        assert_eq!(at(text, list.list()[0].get("y").expect("y").span), "{z: 1}");
        assert_eq!(at(text, root.get("b").expect("b").span), "\"two\"");
    }

    #[test]
    fn merge_keys_and_aliases_count_and_own_keys_win() {
        let root = read("base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nall:\n  <<: [*b, *m]\n  x: 9\n");
        let all = root.get("all").expect("all");
        let value = |key| all.get(key).and_then(|n| n.text().map(str::to_owned));
        assert_eq!([value("x"), value("y"), value("z")].map(Option::unwrap_or_default), ["9", "2", "4"]);
        assert_eq!(all.entries().len(), 3);
    }

    #[test]
    fn every_document_is_read_and_tags_are_kept() {
        let documents = parse(b"a: 1\n---\nb: !reference [x, y]\n").expect("YAML");
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].get("b").and_then(|n| n.tag.as_deref()), Some("reference"));
    }

    #[test]
    fn scripts_know_the_place_of_every_word() {
        for text in [
            "run: |\n  make a\n  docker build .\n",
            "run: >-\n  make a;\n  docker build .\n",
            "run: 'make ''a''; docker build .'\n",
            "run: \"make \\\"a\\\"\\ndocker build .\"\n",
            "run: make\n  a; docker build .\n",
        ] {
            let root = read(text);
            let logical = root.get("run").expect("run").logical(text.as_bytes());
            let joined = logical.to_str().into_owned();
            let word = joined.find("docker").expect("docker");
            assert_eq!(at(text, logical.span(word..word + 12)), "docker build", "{text}");
        }
    }

    #[test]
    fn hostile_text_is_an_error_or_cheap() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse("- ".repeat(100_000).as_bytes()).is_err());
        assert!(parse(b"a: [*a\n").is_err());
        assert!(parse(b"a: &a [*a]\n").is_ok());
        assert!(parse(b"\xff").is_err());
        let bomb: String = (1..60).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} [*a{p}, *a{p}]\n", p = n - 1)
        });
        assert_eq!(parse(bomb.as_bytes()).expect("YAML").len(), 1);
        let merges: String = (1..60).fold("a0: &a0 {k: v}\n".to_owned(), |text, n| {
            format!("{text}a{n}: &a{n} {{<<: [*a{p}, *a{p}]}}\n", p = n - 1)
        });
        assert!(read(&merges).get("a59").expect("a59").entries().len() <= 1);
    }
}
