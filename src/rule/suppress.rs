//! Comments that silence rules.
//!
//! `# layerlint ignore=RULE[,RULE] reason="…"` above an instruction, or between its continued lines, counts for that
//! instruction; above FROM for the whole stage. `# layerlint global ignore=RULE` above the first instruction counts
//! for the file. The same forms with the names of hadolint and tally, and BuildKit's `# check=skip=…`, count for rules
//! that mean the same.

use super::{Cx, Rule, unused_ignore};
use crate::finding::{Finding, Label};
use crate::source::Span;
use crate::syntax::Keyword;

/// Names of other linters for what a rule of ours finds: (our name, their names in lower case). Only where both mean
/// the same; tally's own names for them are `hadolint/…` and `buildkit/…`.
const SAME: [(&str, &[&str]); 3] = [
    ("arg-scope-lost", &["undefinedvar"]),
    ("dockerignore-hides-copied", &["copyignoredfile"]),
    ("mutable-base-tag", &["dl3006", "dl3007"]),
];

/// A comment that silences rules.
struct Ignore {
    /// The bytes of the Dockerfile it counts for; `None` for all.
    reach: Option<Span>,
    /// Whose names it holds.
    ours: bool,
    names: Vec<Name>,
}

struct Name {
    text: String,
    span: Span,
    used: bool,
}

/// Takes away the findings that comments silence and adds those about comments that silence nothing.
pub(super) fn apply(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let rules = &cx.settings.rules;
    let mut complaints = Vec::new();
    let mut ignores = collect(cx, &mut complaints);
    findings.retain(|finding| !silence(&mut ignores, finding, cx));
    // Comments about comments come last: what they silence is only known now.
    let about_comments = |name: &Name| name.text == unused_ignore::RULE.name;
    complaints.extend(unused(&ignores, cx, rules).filter(|(name, _)| !about_comments(name)).map(|(_, f)| f));
    complaints.retain(|finding| !silence(&mut ignores, finding, cx));
    complaints.extend(unused(&ignores, cx, rules).filter(|(name, _)| about_comments(name)).map(|(_, f)| f));
    if rules.iter().any(|rule| rule.name == unused_ignore::RULE.name) {
        findings.extend(complaints);
    }
}

/// Whether a comment silences a finding; remembers which.
fn silence(ignores: &mut [Ignore], finding: &Finding, cx: &Cx<'_>) -> bool {
    let mut silenced = false;
    for ignore in ignores.iter_mut().filter(|ignore| reaches(ignore, finding, cx)) {
        let ours = ignore.ours;
        for name in ignore.names.iter_mut().filter(|name| means(&name.text, ours, finding.rule)) {
            name.used = true;
            silenced = true;
        }
    }
    silenced
}

/// Names in our own comments that no rule has, or that silenced nothing. Rules that do not run cannot tell.
fn unused<'a>(
    ignores: &'a [Ignore],
    cx: &'a Cx<'_>,
    rules: &'a [&Rule],
) -> impl Iterator<Item = (&'a Name, Finding)> {
    ignores.iter().filter(|ignore| ignore.ours).flat_map(|ignore| &ignore.names).filter_map(|name| {
        let at = |message: String| Finding::at(&unused_ignore::RULE, cx, name.span, message);
        if Rule::named(&name.text).is_none() {
            let finding = at(format!("there is no rule `{}`", name.text)).label("unknown");
            let help = match Rule::nearest(&name.text) {
                Some(nearest) => format!("the nearest name is `{nearest}`"),
                None => "`layerlint rules` lists the names".to_owned(),
            };
            return Some((name, finding.help(help)));
        }
        let runs = rules.iter().any(|rule| rule.name == name.text);
        (runs && !name.used).then(|| {
            let message = format!("this comment silences `{}`, which finds nothing here", name.text);
            let help = "delete it, or move it directly above the instruction that it is about";
            (name, at(message).label("not needed").help(help))
        })
    })
}

fn means(name: &str, ours: bool, rule: &str) -> bool {
    if ours {
        return name == rule;
    }
    let name = name.to_ascii_lowercase();
    let name = name.rsplit('/').next().unwrap_or_default();
    SAME.iter().any(|(own, theirs)| *own == rule && (theirs.contains(&name) || name == "all"))
}

/// A finding is where its primary label is; one that lies in another file is where it touches this one.
fn reaches(ignore: &Ignore, finding: &Finding, cx: &Cx<'_>) -> bool {
    let Some(reach) = ignore.reach else { return true };
    let here = |label: &&Label| label.file == cx.file.name;
    let inside = |label: &Label| {
        label.span.is_some_and(|s| reach.start <= s.start && s.start < reach.end.max(reach.start + 1))
    };
    if here(&&finding.primary) {
        return inside(&finding.primary);
    }
    finding.related.iter().filter(here).any(inside)
}

/// A comment's words for us.
struct Said<'a> {
    ours: bool,
    global: bool,
    /// `None` when the words are not understood.
    names: Option<&'a str>,
}

fn understand(text: &str) -> Option<Said<'_>> {
    let (tool, rest) = text.split_once(char::is_whitespace)?;
    let ours = tool == "layerlint";
    if !ours && !["hadolint", "tally"].iter().any(|t| tool.eq_ignore_ascii_case(t)) {
        return None;
    }
    let rest = rest.trim_start();
    let (global, rest) = match rest.strip_prefix("global") {
        Some(after) if after.starts_with(char::is_whitespace) => (true, after.trim_start()),
        _ => (false, rest),
    };
    if let Some(list) = rest.strip_prefix("ignore").map(str::trim_start).and_then(|r| r.strip_prefix('=')) {
        return Some(Said { ours, global, names: Some(list) });
    }
    // Prose that begins with our name is prose, unless it looks like an attempt.
    let attempt = global || rest.split_whitespace().next().is_some_and(|word| word.contains('='));
    (ours && attempt).then_some(Said { ours, global, names: None })
}

/// The names of a list that ends before a word that is no name: `a, b reason="…"`, `a,b;reason=…`.
fn names(list: &str) -> Vec<(usize, &str)> {
    let list = list.split(';').next().unwrap_or_default();
    let mut found = Vec::new();
    let mut at = 0;
    for part in list.split(',') {
        let lead = part.len() - part.trim_start().len();
        let name = part.split_whitespace().next().unwrap_or_default();
        if !name.is_empty() {
            found.push((at + lead, name));
        }
        if part.trim() != name {
            break;
        }
        at += part.len() + 1;
    }
    found
}

fn collect(cx: &Cx<'_>, complaints: &mut Vec<Finding>) -> Vec<Ignore> {
    let mut ignores = Vec::new();
    let instructions = &cx.document.instructions;
    for directive in cx.document.directives.iter().filter(|d| d.name == "check") {
        for setting in directive.value.split(';') {
            if let Some(list) = setting.trim().strip_prefix("skip=") {
                let name = |(_, text): (usize, &str)| Name {
                    text: text.to_owned(),
                    span: directive.span,
                    used: false,
                };
                ignores.push(Ignore {
                    reach: None,
                    ours: false,
                    names: names(list).into_iter().map(name).collect(),
                });
            }
        }
    }
    for comment in &cx.document.comments {
        let Some(said) = understand(&comment.text) else { continue };
        let complain = |message: &str, help: &str| {
            Finding::at(&unused_ignore::RULE, cx, comment.span, message).help(help)
        };
        let Some(list) = said.names else {
            complaints.push(complain(
                "this comment looks like one for layerlint, but is not understood",
                "write `# layerlint ignore=RULE[,RULE] reason=\"…\"` or `# layerlint global ignore=RULE`",
            ));
            continue;
        };
        let next = match comment.inside {
            Some(inside) => instructions.get(inside),
            None => instructions.iter().find(|i| i.span.start >= comment.span.end),
        };
        let first = instructions.first().map_or(u32::MAX, |i| i.span.start);
        let reach = match next {
            _ if said.global && comment.span.start < first => None,
            _ if said.global => {
                if said.ours {
                    complaints.push(complain(
                        "a global ignore below the first instruction has no effect",
                        "move it to the top of the file",
                    ));
                }
                continue;
            }
            Some(from) if from.keyword == Keyword::From && said.ours => {
                let following = instructions
                    .iter()
                    .find(|i| i.keyword == Keyword::From && i.span.start > from.span.start);
                Some(Span { start: from.span.start, end: following.map_or(u32::MAX, |i| i.span.start) })
            }
            Some(instruction) => Some(instruction.span),
            // Behind the last instruction: it reaches nothing.
            None => Some(Span { start: u32::MAX - 1, end: u32::MAX }),
        };
        // Where the list stands in the file: the comment's text is a piece of its bytes.
        let bytes = cx.file.bytes.get(comment.span.range()).unwrap_or_default();
        let line = String::from_utf8_lossy(bytes);
        let offset = line.find('=').map_or(0, |at| at + 1);
        let placed = |(at, text): (usize, &str)| {
            let start = comment.span.start as usize + offset + at;
            Name { text: text.to_owned(), span: Span::new(start, start + text.len()), used: false }
        };
        ignores.push(Ignore { reach, ours: said.ours, names: names(list).into_iter().map(placed).collect() });
    }
    ignores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_end_where_the_reason_begins() {
        let read = |list| names(list).into_iter().map(|(_, n)| n).collect::<Vec<_>>();
        assert_eq!(read("a,b reason=\"x, y\""), ["a", "b"]);
        assert_eq!(read(" a, b , c"), ["a", "b", "c"]);
        assert_eq!(read("a;reason=x"), ["a"]);
        assert_eq!(read(""), Vec::<&str>::new());
        assert_eq!(names(" a, bc")[1], (4, "bc"));
    }

    #[test]
    fn prose_is_no_suppression() {
        assert!(understand("layerlint complains about this").is_none());
        assert!(understand("other ignore=x").is_none());
        assert!(understand("layerlint ignroe=x").is_some_and(|s| s.names.is_none()));
        assert!(understand("layerlint global ignore=x").is_some_and(|s| s.global && s.names == Some("x")));
        assert!(understand("hadolint ignore=DL3006").is_some_and(|s| !s.ours));
    }

    #[test]
    fn names_of_others_count_where_they_mean_the_same() {
        assert!(means("DL3007", false, "mutable-base-tag"));
        assert!(means("buildkit/CopyIgnoredFile", false, "dockerignore-hides-copied"));
        assert!(!means("DL3008", false, "mutable-base-tag"));
        assert!(!means("DL3007", true, "mutable-base-tag"));
    }
}
