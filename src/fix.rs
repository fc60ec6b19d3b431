//! Applies the edits that rules propose, or draws them as a diff. It invents none.
//!
//! Fixes of a Dockerfile are applied one after the other, each to what the one before made of it, and the result is
//! looked at again each time: a fix counts only if its finding is gone and nothing is there that was not there before.

use crate::finding::{Edit, Finding, Fix};
use crate::source::SourceFile;
use similar::TextDiff;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

/// Most fixes of one file: each costs a look at the whole file.
const MOST: usize = 200;

/// The bytes with some edits of them. `None` if they overlap or reach beyond the end.
///
/// Line ends of inserted text are those of the file.
pub fn apply(bytes: &[u8], edits: &[&Edit]) -> Option<Vec<u8>> {
    let crlf =
        bytes.iter().position(|b| *b == b'\n').is_some_and(|at| at > 0 && bytes.get(at - 1) == Some(&b'\r'));
    let mut edits: Vec<&Edit> = edits.to_vec();
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut at = 0;
    for edit in edits {
        let range = edit.span.range();
        out.extend_from_slice(bytes.get(at..range.start)?);
        bytes.get(range.clone())?;
        match crlf {
            true => out.extend_from_slice(edit.text.replace("\r\n", "\n").replace('\n', "\r\n").as_bytes()),
            false => out.extend_from_slice(edit.text.as_bytes()),
        }
        at = range.end;
    }
    out.extend_from_slice(bytes.get(at..)?);
    Some(out)
}

/// A Dockerfile after its fixes.
#[derive(Debug)]
pub struct Repaired {
    /// With the new content.
    pub file: SourceFile,
    /// What is left to find in it.
    pub findings: Vec<Finding>,
    /// Rules whose fixes were applied to it, one for each.
    pub fixed: Vec<&'static str>,
    /// Fixes that reach into other files, with their rules; they are not applied.
    pub elsewhere: Vec<(&'static str, Fix)>,
}

/// Applies what is allowed of the fixes in the findings. `look` finds again; it answers nothing for a file that BuildKit
/// would refuse.
pub fn repair(
    file: &SourceFile,
    findings: Vec<Finding>,
    allowed: impl Fn(&Fix) -> bool,
    mut look: impl FnMut(&SourceFile) -> Option<Vec<Finding>>,
) -> Repaired {
    let mut done = Repaired { file: file.clone(), findings, fixed: Vec::new(), elsewhere: Vec::new() };
    let mut tried: HashSet<String> = HashSet::new();
    let mut looks = 0;
    while looks < MOST {
        let here = |fix: &Fix| fix.edits.iter().all(|edit| edit.file == done.file.name);
        let next = done.findings.iter().find_map(|finding| {
            let fix = finding.fix.as_ref().filter(|fix| allowed(fix) && here(fix))?;
            (!tried.contains(&finding.fingerprint)).then(|| (finding, fix.clone()))
        });
        let Some((finding, fix)) = next else { break };
        let (rule, fingerprint) = (finding.rule, finding.fingerprint.clone());
        tried.insert(fingerprint.clone());
        let Some(bytes) = apply(&done.file.bytes, &fix.edits.iter().collect::<Vec<_>>()) else { continue };
        let mut candidate = SourceFile::from_bytes(done.file.name.clone(), bytes);
        candidate.path.clone_from(&done.file.path);
        looks += 1;
        if let Some(left) = look(&candidate).filter(|left| is_better(&done.findings, left, rule)) {
            done.file = candidate;
            done.findings = left;
            done.fixed.push(rule);
        }
    }
    let mut elsewhere = Vec::new();
    for finding in &done.findings {
        if let Some(fix) = finding.fix.as_ref().filter(|fix| allowed(fix))
            && fix.edits.iter().any(|edit| edit.file != done.file.name)
        {
            elsewhere.push((finding.rule, fix.clone()));
        }
    }
    done.elsewhere = elsewhere;
    done
}

/// Whether fewer findings of the rule are left, and of no other rule more.
fn is_better(before: &[Finding], after: &[Finding], rule: &str) -> bool {
    let count = |findings: &[Finding]| {
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        findings.iter().for_each(|finding| *counts.entry(finding.rule).or_default() += 1);
        counts
    };
    let (before, after) = (count(before), count(after));
    let of = |counts: &BTreeMap<&'static str, usize>, rule: &str| counts.get(rule).copied().unwrap_or(0);
    of(&after, rule) < of(&before, rule) && after.iter().all(|(rule, n)| *n <= of(&before, rule))
}

/// Writes what changes between two contents as a unified diff, as `patch -p1` and `git apply` take it. A file that is
/// not there yet has no `before`.
pub fn diff(out: &mut impl Write, name: &str, before: Option<&[u8]>, after: &[u8]) -> io::Result<()> {
    let name = name.trim_start_matches('/');
    let from = before.map_or("/dev/null".to_owned(), |_| quoted("a/", name));
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after);
    diff.unified_diff().header(&from, &quoted("b/", name)).to_writer(out)
}

/// A name as git writes it in a diff: in quotes if there is something in it that would not survive.
fn quoted(side: &str, name: &str) -> String {
    use std::fmt::Write as _;
    let odd = |c: char| c.is_control() || c == '"' || c == '\\';
    if !name.contains(odd) {
        return format!("{side}{name}");
    }
    let mut out = format!("\"{side}");
    for byte in name.bytes() {
        // Writing to a String cannot fail.
        let _ = match byte {
            b'"' | b'\\' => write!(out, "\\{}", byte as char),
            0x20..=0x7E => write!(out, "{}", byte as char),
            byte => write!(out, "\\{byte:03o}"),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Span;

    fn edit(start: usize, end: usize, text: &str) -> Edit {
        Edit { file: "x".to_owned(), span: Span::new(start, end), text: text.to_owned() }
    }

    fn applied(bytes: &[u8], edits: &[Edit]) -> Option<Vec<u8>> {
        apply(bytes, &edits.iter().collect::<Vec<_>>())
    }

    #[test]
    fn edits_are_applied_in_the_order_of_the_file() {
        assert_eq!(
            applied(b"abcdef", &[edit(4, 5, "E"), edit(0, 1, ""), edit(2, 2, "--")]).unwrap(),
            b"b--cdEf"
        );
        assert_eq!(applied(b"\xff\xfe", &[edit(1, 1, "x")]).unwrap(), b"\xffx\xfe");
        assert_eq!(applied(b"", &[edit(0, 0, "a\n")]).unwrap(), b"a\n");
    }

    #[test]
    fn what_overlaps_or_reaches_beyond_the_end_is_refused() {
        assert_eq!(applied(b"abcdef", &[edit(0, 3, ""), edit(2, 4, "")]), None);
        assert_eq!(applied(b"abc", &[edit(2, 4, "")]), None);
        assert_eq!(applied(b"abc", &[Edit { span: Span { start: 2, end: 1 }, ..edit(0, 0, "") }]), None);
    }

    #[test]
    fn inserted_lines_end_as_the_others_do() {
        assert_eq!(applied(b"a\r\nb\r\n", &[edit(3, 3, "x\ny\r\n")]).unwrap(), b"a\r\nx\r\ny\r\nb\r\n");
        assert_eq!(applied(b"\na", &[edit(1, 1, "x\n")]).unwrap(), b"\nx\na");
    }

    #[test]
    fn a_diff_is_one_that_patch_takes() {
        let shown = |before: Option<&[u8]>, after: &[u8]| {
            let mut out = Vec::new();
            diff(&mut out, "d/D", before, after).unwrap();
            String::from_utf8_lossy(&out).into_owned()
        };
        insta::assert_snapshot!(shown(Some(b"FROM a\r\nRUN \xff\r\n"), b"FROM a\r\nARG X\r\nRUN \xff\r\n"), @r"
        --- a/d/D
        +++ b/d/D
        @@ -1,2 +1,3 @@
         FROM a
        +ARG X
         RUN �
        ");
        insta::assert_snapshot!(shown(Some(b"a"), b"a\nb"), @r"
        --- a/d/D
        +++ b/d/D
        @@ -1 +1,2 @@
        -a
        \ No newline at end of file
        +a
        +b
        \ No newline at end of file
        ");
        insta::assert_snapshot!(shown(None, b"target\n"), @r"
        --- /dev/null
        +++ b/d/D
        @@ -0,0 +1 @@
        +target
        ");
        assert_eq!(quoted("a/", "x\n\"ü"), "\"a/x\\012\\\"\\303\\274\"");
    }
}
