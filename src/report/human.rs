//! For a person: the lines themselves, underlined.

use super::Sources;
use super::excerpt::{AROUND, Excerpt, clean};
use crate::finding::{Finding, Label, Problem, Severity};
use crate::source::Span;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use std::fmt;
use std::io::{self, Write};
use textwrap::{WordSeparator, WordSplitter};

/// Columns that text is wrapped to.
const WIDTH: usize = 100;

/// Draws findings and problems.
pub struct Human {
    handler: GraphicalReportHandler,
}

impl Human {
    /// With colour or without; `links` for terminals only.
    pub fn new(color: bool, links: bool) -> Self {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(links)
            .with_width(WIDTH)
            .with_break_words(false)
            .with_word_separator(WordSeparator::AsciiSpace)
            .with_word_splitter(WordSplitter::NoHyphenation)
            .with_context_lines(AROUND as usize)
            .with_show_related_as_nested(true)
            .without_syntax_highlighting();
        Self { handler }
    }

    /// Draws a finding and an empty line.
    pub fn finding(&self, out: &mut impl Write, finding: &Finding, sources: &Sources) -> io::Result<()> {
        let shown = Shown::finding(finding, sources);
        self.draw(out, &shown)
    }

    /// Draws a problem and an empty line.
    pub fn problem(&self, out: &mut impl Write, problem: &Problem, sources: &Sources) -> io::Result<()> {
        let labels = [Label { message: "here".to_owned(), ..problem.place.clone() }];
        let mut shown = Shown::new(problem.message.clone(), Severity::Error, &labels, sources);
        if shown.excerpt.is_none() {
            shown.message = clean(&format!("{}: {}", problem.place.file, problem.message));
        }
        shown.code = Some(format!("error[{}]", problem.kind.name()));
        shown.help = problem.help.as_deref().map(clean);
        self.draw(out, &shown)
    }

    fn draw(&self, out: &mut impl Write, shown: &Shown) -> io::Result<()> {
        let mut text = String::new();
        self.handler.render_report(&mut text, shown).map_err(io::Error::other)?;
        // miette leaves blanks behind empty gutters.
        for line in text.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out)
    }
}

/// One block as miette knows it.
#[derive(Debug)]
struct Shown {
    message: String,
    severity: Severity,
    code: Option<String>,
    help: Option<String>,
    excerpt: Option<Excerpt>,
    labels: Vec<LabeledSpan>,
    related: Vec<Shown>,
}

impl Shown {
    fn finding(finding: &Finding, sources: &Sources) -> Self {
        let mut here = vec![finding.primary.clone()];
        let mut elsewhere: Vec<Vec<Label>> = Vec::new();
        for label in &finding.related {
            if label.file == finding.primary.file {
                here.push(label.clone());
                continue;
            }
            match elsewhere.iter_mut().find(|group| group.iter().any(|l| l.file == label.file)) {
                Some(group) => group.push(label.clone()),
                None => elsewhere.push(vec![label.clone()]),
            }
        }
        let mut shown = Self::new(finding.message.clone(), finding.severity, &here, sources);
        shown.code = Some(format!("{}[{}]", finding.severity.name(), finding.rule));
        shown.help = finding.help.as_deref().map(clean);
        shown.related = elsewhere.iter().map(|group| Self::elsewhere(group, sources)).collect();
        shown
    }

    /// Labels of one other file.
    fn elsewhere(group: &[Label], sources: &Sources) -> Self {
        let file = group.first().map_or("", |l| l.file.as_str());
        let mut shown = Self::new(format!("in {file}"), Severity::Info, group, sources);
        if shown.excerpt.is_none() {
            let words: Vec<&str> =
                group.iter().map(|l| l.message.as_str()).filter(|m| !m.is_empty()).collect();
            if !words.is_empty() {
                shown.message = clean(&format!("{file}: {}", words.join("; ")));
            }
        }
        shown
    }

    /// Labels of one file.
    fn new(message: String, severity: Severity, labels: &[Label], sources: &Sources) -> Self {
        let mut shown = Self {
            message: clean(&message),
            severity,
            code: None,
            help: None,
            excerpt: None,
            labels: Vec::new(),
            related: Vec::new(),
        };
        let placed: Vec<(&Label, Span)> = labels.iter().filter_map(|l| Some((l, l.span?))).collect();
        let file = placed.first().and_then(|(label, _)| sources.get(&label.file));
        if let Some(file) = file.filter(|f| !f.bytes.is_empty()) {
            let spans: Vec<Span> = placed.iter().map(|(_, span)| *span).collect();
            let (excerpt, spans) = Excerpt::new(&file, &spans);
            for (i, ((label, _), span)) in placed.iter().zip(spans).enumerate() {
                let text = (!label.message.is_empty()).then(|| clean(&label.message));
                let label = if i == 0 {
                    LabeledSpan::new_primary_with_span(text, span)
                } else {
                    LabeledSpan::new_with_span(text, span)
                };
                shown.labels.push(label);
            }
            shown.excerpt = Some(excerpt);
        }
        shown
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code.as_ref().map(|code| Box::new(code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Info => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|excerpt| excerpt as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.related.is_empty() {
            return None;
        }
        Some(Box::new(self.related.iter().map(|shown| shown as &dyn Diagnostic)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn finding(file: &str, spans: &[(usize, usize)]) -> Finding {
        let label = |(n, (start, end)): (usize, &(usize, usize))| Label {
            file: file.to_owned(),
            span: Some(Span::new(*start, *end)),
            message: format!("label {n}"),
        };
        let mut labels = spans.iter().enumerate().map(label);
        Finding {
            rule: "a-rule",
            severity: Severity::Warning,
            message: "something happens".to_owned(),
            primary: labels.next().unwrap(),
            related: labels.collect(),
            help: None,
            stage: None,
            evidence: serde_json::Map::new(),
            fix: None,
            fingerprint: String::new(),
        }
    }

    fn drawn(files: &[(&str, &[u8])], finding: &Finding) -> String {
        let files = files.iter().map(|(name, bytes)| Arc::new(SourceFile::from_bytes(*name, *bytes)));
        let mut out = Vec::new();
        Human::new(false, false).finding(&mut out, finding, &Sources::new(files)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn places_far_from_each_other_are_shown_apart() {
        let text = b"FROM a\nCOPY . /x\nRUN b\nRUN c\nRUN d\nRUN e\nCOPY . /y\n";
        insta::assert_snapshot!(drawn(&[("Dockerfile", text)], &finding("Dockerfile", &[(41, 50), (7, 16)])), @r#"
        warning[a-rule]

          ⚠ something happens
           ╭─[Dockerfile:2:1]
         1 │ FROM a
         2 │ COPY . /x
           · ────┬────
           ·     ╰── label 1
         3 │ RUN b
           ╰────
           ╭─[Dockerfile:7:1]
         6 │ RUN e
         7 │ COPY . /y
           · ────┬────
           ·     ╰── label 0
           ╰────
        "#);
    }

    #[test]
    fn another_file_has_a_snippet_of_its_own() {
        let mut finding = finding("Dockerfile", &[(7, 16)]);
        let place = Label {
            file: ".dockerignore".to_owned(),
            span: Some(Span::new(5, 11)),
            message: "only here".to_owned(),
        };
        let named = Label { file: "src/big.bin".to_owned(), span: None, message: "31 MB".to_owned() };
        finding.related.extend([place, named]);
        let files: [(&str, &[u8]); 2] =
            [("Dockerfile", b"FROM a\nCOPY . /x\n"), (".dockerignore", b".git\ntarget\n")];
        insta::assert_snapshot!(drawn(&files, &finding), @r#"
        warning[a-rule]

          ⚠ something happens
           ╭─[Dockerfile:2:1]
         1 │ FROM a
         2 │ COPY . /x
           · ────┬────
           ·     ╰── label 0
           ╰────
          ├─▶   ☞ in .dockerignore
          │      ╭─[.dockerignore:2:1]
          │    1 │ .git
          │    2 │ target
          │      · ───┬──
          │      ·    ╰── only here
          │      ╰────
          ╰─▶   ☞ src/big.bin: 31 MB
        "#);
    }

    #[test]
    fn long_lines_are_shortened_around_their_labels() {
        let text = format!("FROM a\nRUN {} b {}\n", "x".repeat(300), "y".repeat(90_000));
        insta::assert_snapshot!(drawn(&[("Dockerfile", text.as_bytes())], &finding("Dockerfile", &[(312, 313)])), @r#"
        warning[a-rule]

          ⚠ something happens
           ╭─[Dockerfile:2:306]
         1 │ FROM a
         2 │ RUN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx b yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…
           ·                                                                                                                          ┬
           ·                                                                                                                          ╰── label 0
           ╰────
        "#);
    }

    #[test]
    fn a_label_over_many_lines_is_drawn_on_the_first() {
        let text = format!("FROM a\nRUN b \\\n{}", " c \\\n".repeat(50));
        insta::assert_snapshot!(drawn(&[("Dockerfile", text.as_bytes())], &finding("Dockerfile", &[(7, 200)])), @r#"
        warning[a-rule]

          ⚠ something happens
           ╭─[Dockerfile:2:1]
         1 │ FROM a
         2 │ RUN b \
           · ───┬───
           ·    ╰── label 0
         3 │  c \
           ╰────
        "#);
    }

    proptest! {
        #[test]
        fn nothing_makes_drawing_fail(
            text in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..400),
                "[ab\t\r\n\u{1b}é語\u{202e}…]{0,400}".prop_map(String::into_bytes),
            ],
            spans in proptest::collection::vec((0..420usize, 0..60usize), 1..6),
        ) {
            let spans: Vec<(usize, usize)> = spans.iter().map(|(at, len)| (*at, at + len)).collect();
            let text = drawn(&[("f", &text)], &finding("f", &spans));
            let hidden = text.contains(['\x1b', '\u{202e}']);
            prop_assert!(!hidden);
        }
    }
}
