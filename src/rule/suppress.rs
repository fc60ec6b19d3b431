//! Comments that silence rules.
//!
//! `# layerlint ignore=RULE[,RULE] until=2027-01-31 reason="…"` above an instruction, or between its continued lines,
//! counts for that instruction; above FROM for the whole stage. `# layerlint global ignore=RULE` above the first
//! instruction counts for the file. The same forms with the names of hadolint, tally and droast, and BuildKit's
//! `# check=skip=…`, as a directive or above an instruction, count for rules that mean the same.

use super::edit::safe;
use super::{Cx, Date, Rule, ignore_without_reason, unused_ignore};
use crate::finding::{Finding, Fix, Label};
use crate::source::{SourceFile, Span};
use crate::syntax::Keyword;

/// Names of other linters for what a rule of ours finds: (our name, their names in lower case). Only where both mean
/// the same; tally's own names for those of others are `hadolint/…` and `buildkit/…`.
const SAME: [(&str, &[&str]); 7] = [
    ("apt-update-split", &["df028"]),
    ("arg-scope-lost", &["undefinedvar"]),
    ("dockerignore-hides-copied", &["copyignoredfile", "df077"]),
    ("missing-dockerignore", &["df033"]),
    ("mutable-base-tag", &["dl3006", "dl3007", "df001"]),
    ("source-before-deps", &["df070"]),
    ("unreachable-check-stage", &["no-unreachable-stages"]),
];

/// Linters whose comments have the same form as ours.
const OTHERS: [&str; 3] = ["hadolint", "tally", "droast"];

/// A comment that silences rules.
struct Ignore {
    /// The bytes of the Dockerfile it counts for; `None` for all.
    reach: Option<Span>,
    /// Whose names it holds.
    ours: bool,
    /// Whether its last day is over, or none that can be read: it silences nothing, and that is said elsewhere.
    over: bool,
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
    findings.extend(complaints.into_iter().filter(|finding| cx.settings.runs(finding.rule)));
}

/// Whether a comment silences a finding; remembers which.
fn silence(ignores: &mut [Ignore], finding: &Finding, cx: &Cx<'_>) -> bool {
    let mut silenced = false;
    for ignore in ignores.iter_mut().filter(|ignore| !ignore.over && reaches(ignore, finding, cx)) {
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
    let ours = ignores.iter().filter(|ignore| ignore.ours);
    ours.flat_map(|ignore| ignore.names.iter().map(|name| (ignore.over, name))).filter_map(|(over, name)| {
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
        (runs && !name.used && !over).then(|| {
            let message = format!("this comment silences `{}`, which finds nothing here", name.text);
            let help = "delete it, or move it directly above the instruction that it is about";
            (name, at(message).label("not needed").help(help).fix(delete(cx, name)))
        })
    })
}

/// Takes a name out of its comment, and the comment with its only name.
fn delete(cx: &Cx<'_>, name: &Name) -> Option<Fix> {
    let comment = cx
        .document
        .comments
        .iter()
        .find(|c| c.span.start <= name.span.start && name.span.end <= c.span.end)?;
    let (_, list) = cx.file.text(comment.span).split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
    let edit = match names(&list).0.as_slice() {
        [_] => cx.edit(cx.whole_lines(comment.span)?, ""),
        several => {
            let last = several.last().is_some_and(|(_, text)| *text == name.text);
            let bytes = &cx.file.bytes;
            let near = if last {
                let before = bytes.get(..name.span.start as usize)?;
                let comma = before.iter().rposition(|b| *b == b',')?;
                Span::new(comma, name.span.end as usize)
            } else {
                let comma = bytes.get(name.span.end as usize..)?.iter().position(|b| *b == b',')?;
                Span::new(name.span.start as usize, name.span.end as usize + comma + 1)
            };
            cx.edit(near, "")
        }
    };
    Some(safe(format!("take `{}` out of the comment", name.text), vec![edit]))
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
    if let Some(settings) = text.trim_start().strip_prefix("check=") {
        let list = settings.split(';').find_map(|setting| setting.trim().strip_prefix("skip="))?;
        return Some(Said { ours: false, global: false, names: Some(list) });
    }
    let (tool, rest) = text.split_once(char::is_whitespace)?;
    let ours = tool == "layerlint";
    if !ours && !OTHERS.iter().any(|t| tool.eq_ignore_ascii_case(t)) {
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

/// The names of a list, and what stands behind it: `a, b reason="…"`, `a,b;reason=…`.
fn names(list: &str) -> (Vec<(usize, &str)>, &str) {
    let (list, behind) = list.split_once(';').unwrap_or((list, ""));
    let mut found = Vec::new();
    let mut at = 0;
    for part in list.split(',') {
        let lead = part.len() - part.trim_start().len();
        let name = part.split_whitespace().next().unwrap_or_default();
        if !name.is_empty() {
            found.push((at + lead, name));
        }
        if part.trim() != name {
            return (found, list.get(at + lead + name.len()..).unwrap_or_default());
        }
        at += part.len() + 1;
    }
    (found, behind)
}

/// `key=value` pairs between other words; a value may stand in quotes.
fn attributes(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == ',');
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | ';')).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix('=') else {
            if after.is_empty() {
                return found;
            }
            rest = after;
            continue;
        };
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, after) = match quote {
            Some(quote) => {
                let inside = value.get(1..).unwrap_or_default();
                inside.split_once(quote).unwrap_or((inside, ""))
            }
            None => {
                value.split_at(value.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(value.len()))
            }
        };
        found.push((word, value));
        rest = after;
    }
}

/// What an ignore says beside its names.
struct Terms<'a> {
    reason: &'a str,
    /// Its last day, as written.
    until: Option<&'a str>,
}

impl<'a> Terms<'a> {
    fn read(behind: &'a str) -> Self {
        let attributes = attributes(behind);
        let value =
            |keys: &[&str]| attributes.iter().find(|(key, _)| keys.contains(key)).map(|(_, value)| *value);
        Self { reason: value(&["reason"]).unwrap_or_default().trim(), until: value(&["until", "expires"]) }
    }

    /// Whether it silences nothing any more, and what is to be said about it.
    fn over(&self, today: Option<Date>) -> Option<(String, &'static str)> {
        let until = self.until?;
        match Date::parse(until) {
            None => Some((
                format!("`{until}` is no day, so this comment silences nothing"),
                "write the last day on which it counts as in `until=2027-01-31`",
            )),
            Some(last) if today.is_some_and(|today| today > last) => Some((
                format!("this comment was to silence until {last}, and silences nothing any more"),
                "cure what it silenced and delete it, or give it a later day",
            )),
            Some(_) => None,
        }
    }
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
                let names = names(list).0.into_iter().map(name).collect();
                ignores.push(Ignore { reach: None, ours: false, over: false, names });
            }
        }
    }
    for comment in &cx.document.comments {
        let Some(said) = understand(&comment.text) else { continue };
        let complain = |message: &str, help: &str| {
            Finding::at(&unused_ignore::RULE, cx, comment.span, message).help(help)
        };
        let (found, behind) = said.names.map(names).unwrap_or_default();
        let terms = Terms::read(behind);
        let over = terms.over(cx.settings.today);
        if said.ours
            && let Some((message, help)) = &over
        {
            complaints.push(complain(message, help));
        }
        if said.ours && said.names.is_some() && terms.reason.is_empty() && cx.settings.require_reasons {
            let silenced: Vec<String> = found.iter().map(|(_, name)| format!("`{name}`")).collect();
            let message = format!("this comment silences {} and does not say why", silenced.join(", "));
            let finding = Finding::at(&ignore_without_reason::RULE, cx, comment.span, message)
                .help("add `reason=\"…\"`: the configuration asks for one");
            complaints.push(finding);
        }
        if said.names.is_none() {
            complaints.push(complain(
                "this comment looks like one for layerlint, but is not understood",
                "write `# layerlint ignore=RULE[,RULE] reason=\"…\"` or `# layerlint global ignore=RULE`",
            ));
            continue;
        }
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
        let names = found.into_iter().map(placed).collect();
        ignores.push(Ignore { reach, ours: said.ours, over: over.is_some(), names });
    }
    ignores
}

/// Whether a comment in a workflow, bake file, compose file or Makefile silences a rule at a place. A comment above a
/// line counts for it and for the lines below it that are indented more; one behind a line for that line; a global one
/// above all else for the file.
pub(super) fn is_silenced(file: &SourceFile, rule: &str, place: Span, today: Option<Date>) -> bool {
    let at = file.index.line(place.start);
    // Comments that wait for the next line with content: whether each silences the rule.
    let mut waiting = false;
    let mut reach: Option<usize> = None;
    let mut begun = false;
    for (number, line) in (1..).zip(file.bytes.split(|b| *b == b'\n')).take_while(|(number, _)| *number <= at)
    {
        let text = String::from_utf8_lossy(line);
        let content = text.trim_start();
        let indent = text.len() - content.len();
        if content.trim().is_empty() {
            continue;
        }
        let comment = content.strip_prefix("//").or_else(|| content.strip_prefix('#'));
        if let Some(comment) = comment {
            match silences(comment, rule, today) {
                Some(true) if !begun => return true,
                Some(global) => waiting |= !global,
                None => {}
            }
            continue;
        }
        begun = true;
        if reach.is_some_and(|reach| indent <= reach) {
            reach = None;
        }
        if std::mem::take(&mut waiting) && reach.is_none() {
            reach = Some(indent);
        }
        if number == at {
            let behind = content.split_once(" #").map(|(_, comment)| comment);
            return reach.is_some() || behind.is_some_and(|c| silences(c, rule, today).is_some());
        }
    }
    false
}

/// Whether the words of a comment silence a rule, and if so, whether for the whole file.
fn silences(comment: &str, rule: &str, today: Option<Date>) -> Option<bool> {
    let said = understand(comment.trim()).filter(|said| said.ours)?;
    let (found, behind) = names(said.names?);
    let counts = found.iter().any(|(_, name)| *name == rule) && Terms::read(behind).over(today).is_none();
    counts.then_some(said.global)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_in_build_files_reach_what_is_indented_below_them() {
        let text = "# about\njobs:\n  # layerlint ignore=a, b reason=\"x\"\n  - uses: 1\n    with: 2\n\n  - uses: 3\n\
                    x: 4 # layerlint ignore=a\ny: 5\n";
        let file = SourceFile::from_bytes("x.yml", text);
        let silenced = |rule: &str, word: &str| {
            let at = text.find(word).expect("the word");
            is_silenced(&file, rule, Span::new(at, at + 1), None)
        };
        assert_eq!(
            ["1", "2", "3", "4", "5"].map(|w| silenced("a", &format!(": {w}"))),
            [true, true, false, true, false]
        );
        assert!(silenced("b", "with") && !silenced("c", "with"));
        let global = SourceFile::from_bytes("x.hcl", "// layerlint global ignore=a\ntarget \"x\" {\n}\n");
        assert!(is_silenced(&global, "a", Span::new(40, 41), None));
        let over = SourceFile::from_bytes("x.yml", "# layerlint ignore=a until=2020-01-01\nx: 1\n");
        assert!(!is_silenced(&over, "a", Span::new(38, 39), Date::parse("2021-01-01")));
    }

    #[test]
    fn lists_end_where_the_reason_begins() {
        let read = |list| names(list).0.into_iter().map(|(_, n)| n).collect::<Vec<_>>();
        assert_eq!(read("a,b reason=\"x, y\""), ["a", "b"]);
        assert_eq!(read(" a, b , c"), ["a", "b", "c"]);
        assert_eq!(read("a;reason=x"), ["a"]);
        assert_eq!(read(""), Vec::<&str>::new());
        assert_eq!(names(" a, bc").0[1], (4, "bc"));
    }

    #[test]
    fn what_stands_behind_the_names_is_read() {
        let read = |list| {
            let terms = Terms::read(names(list).1);
            (terms.reason, terms.until)
        };
        assert_eq!(read("a,b reason=\"x, y\" until=2027-01-31"), ("x, y", Some("2027-01-31")));
        assert_eq!(read("a until=2027-01-31 because of this"), ("", Some("2027-01-31")));
        assert_eq!(read("a;reason=x y;expires='2027-01-31'"), ("x", Some("2027-01-31")));
        assert_eq!(read("a reason=\"never closed until=1"), ("never closed until=1", None));
        assert_eq!(read("a reason= until="), ("", Some("")));
    }

    #[test]
    fn an_ignore_counts_on_its_last_day_and_not_after() {
        let over = |until, today| Terms { reason: "", until }.over(Date::parse(today)).is_some();
        assert!(!over(Some("2027-01-31"), "2027-01-31") && over(Some("2027-01-31"), "2027-02-01"));
        assert!(over(Some("soon"), "2027-01-31") && !over(None, "2027-01-31"));
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
