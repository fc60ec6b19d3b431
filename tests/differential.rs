//! The parser against two other parsers of Dockerfiles, on every file that both accept and the other can represent.
//!
//! BuildKit's own answers are the authority (`tests/syntax.rs`); where the others are known to depart from them the
//! file is listed with the reason.

#![allow(clippy::print_stdout, reason = "a test without the corpus says so")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use layerlint::syntax::{self, Args, Command, Document, Instruction, Keyword, TransferSource, Word};
use serde_json::Value;

/// What two parsers are compared by, an entry an instruction.
#[derive(Debug, PartialEq)]
struct Fact {
    keyword: String,
    /// Where the keyword stands.
    at: usize,
    /// Flags as `--name=value`.
    flags: Option<Vec<String>>,
    /// Image and stage name, sources and destination, strings of an exec form, names of arguments.
    words: Option<Vec<String>>,
    /// Bodies of heredocs.
    heredocs: Option<Vec<String>>,
}

/// Names and texts of all files: the vectors of the repository and the corpus, where there is one.
fn files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    let mut add = |name: &Value, text: &Value| {
        if let (Some(name), Some(text)) = (name.as_str(), text.as_str()) {
            files.insert(name.to_owned(), text.to_owned());
        }
    };
    let vectors =
        std::fs::read_to_string(root.join("fixtures/vectors/parse-tricky.jsonl")).unwrap_or_default();
    let cases =
        |text: &str| text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).collect::<Vec<_>>();
    cases(&vectors).iter().for_each(|case| add(&case["name"], &case["input"]));
    let shared = std::env::var_os("LAYERLINT_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let corpus = shared.join("corpus/dockerfiles.jsonl.gz");
    let mut text = String::new();
    let read =
        std::fs::File::open(&corpus).and_then(|f| flate2::read::GzDecoder::new(f).read_to_string(&mut text));
    match read {
        Ok(_) => cases(&text).iter().for_each(|case| add(&case["id"], &case["text"])),
        Err(_) => println!("without the corpus: there is none at {}", corpus.display()),
    }
    files
}

/// Compares all files; `theirs` is `None` for a file that the other parser refuses or cannot represent.
fn compare(exceptions: &[(&str, &[&str])], theirs: impl Fn(&str, &Document) -> Option<Vec<Fact>>) {
    let files = files();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, text) in &files {
        let document = syntax::parse(text.as_bytes());
        if !document.errors.is_empty() {
            continue;
        }
        let Some(theirs) = theirs(text, &document) else { continue };
        compared += 1;
        let difference = difference(&document, &theirs);
        let known = exceptions.iter().find(|(_, names)| names.contains(&name.as_str()));
        match (difference, known) {
            (Some(difference), None) => wrong.push(format!("{name}: {difference}")),
            (None, Some((reason, _))) => wrong.push(format!("{name} agrees, though listed: {reason}")),
            _ => {}
        }
    }
    println!("{compared} of {} files compared", files.len());
    assert!(compared > 20, "only {compared} files compared");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn difference(document: &Document, theirs: &[Fact]) -> Option<String> {
    let counts = (document.instructions.len(), theirs.len());
    let lengths = (counts.0 != counts.1).then(|| format!("{counts:?} instructions"));
    let first = document.instructions.iter().zip(theirs).find_map(|(instruction, theirs)| {
        let mut ours = fact(instruction);
        ours.flags = ours.flags.filter(|_| theirs.flags.is_some());
        ours.words = ours.words.filter(|_| theirs.words.is_some());
        ours.heredocs = ours.heredocs.filter(|_| theirs.heredocs.is_some());
        (ours != *theirs).then(|| format!("line {}\n   ours {ours:?}\n theirs {theirs:?}", instruction.line))
    });
    first.or(lengths)
}

fn fact(instruction: &Instruction) -> Fact {
    let text = |w: &Word| w.text.clone();
    let value = |v: &Option<String>| v.as_ref().map_or(String::new(), |v| format!("={v}"));
    let words = match &instruction.args {
        Args::From { image, name } => std::iter::once(image).chain(name).map(text).collect(),
        Args::Command(Command::Exec(words)) | Args::Words(words) => words.iter().map(text).collect(),
        Args::ArgDefs(pairs) => pairs.iter().map(|p| p.key.text.clone()).collect(),
        Args::Transfer { sources, dest, .. } => {
            let path = |s: &TransferSource| match s {
                TransferSource::Path(w) => Some(text(w)),
                TransferSource::Heredoc(..) => None,
            };
            sources.iter().filter_map(path).chain([text(dest)]).collect()
        }
        Args::Text(word) => vec![text(word)],
        Args::Onbuild(trigger) => vec![trigger.keyword.name().to_owned()],
        _ => vec![],
    };
    Fact {
        keyword: instruction.keyword.name().to_owned(),
        at: instruction.keyword_span.start as usize,
        flags: Some(instruction.flags.iter().map(|f| format!("--{}{}", f.name, value(&f.value))).collect()),
        words: Some(words),
        heredocs: Some(instruction.heredocs.iter().map(syntax::Heredoc::content).collect()),
    }
}

mod by_parse_dockerfile {
    use parse_dockerfile as other;

    use super::{Document, Fact};

    const EXCEPTIONS: &[(&str, &[&str])] = &[
        (
            "a doubled escape character at the end of a line continues it there, not in BuildKit",
            &["27ec72c00fc242eb"],
        ),
        ("flags end at blanks inside quotes there", &["run-mount-quoted"]),
    ];

    #[test]
    fn parse_dockerfile_sees_the_same() {
        super::compare(EXCEPTIONS, |text, _: &Document| {
            // Its places do not count a byte order mark.
            let bom = if text.starts_with('\u{feff}') { 3 } else { 0 };
            let file = other::parse(text).ok()?;
            Some(file.instructions.iter().map(|i| fact(i, bom)).collect())
        });
    }

    fn fact(instruction: &other::Instruction<'_>, bom: usize) -> Fact {
        use other::Instruction as I;
        let text = |s: &other::UnescapedString<'_>| s.value.to_string();
        let (keyword, at, options): (_, _, Option<&[other::Flag<'_>]>) = match instruction {
            I::Add(i) => ("ADD", i.add.span.start, Some(&i.options)),
            I::Arg(i) => ("ARG", i.arg.span.start, None),
            I::Cmd(i) => ("CMD", i.cmd.span.start, None),
            I::Copy(i) => ("COPY", i.copy.span.start, Some(&i.options)),
            I::Entrypoint(i) => ("ENTRYPOINT", i.entrypoint.span.start, None),
            I::Env(i) => ("ENV", i.env.span.start, None),
            I::Expose(i) => ("EXPOSE", i.expose.span.start, None),
            I::From(i) => ("FROM", i.from.span.start, Some(&i.options)),
            I::Healthcheck(i) => ("HEALTHCHECK", i.healthcheck.span.start, Some(&i.options)),
            I::Label(i) => ("LABEL", i.label.span.start, None),
            I::Maintainer(i) => ("MAINTAINER", i.maintainer.span.start, None),
            I::Onbuild(i) => ("ONBUILD", i.onbuild.span.start, None),
            I::Run(i) => ("RUN", i.run.span.start, Some(&i.options)),
            I::Shell(i) => ("SHELL", i.shell.span.start, None),
            I::Stopsignal(i) => ("STOPSIGNAL", i.stopsignal.span.start, None),
            I::User(i) => ("USER", i.user.span.start, None),
            I::Volume(i) => ("VOLUME", i.volume.span.start, None),
            I::Workdir(i) => ("WORKDIR", i.workdir.span.start, None),
            _ => ("", 0, None),
        };
        let flag = |f: &other::Flag<'_>| match &f.value {
            Some(value) => format!("--{}={}", f.name.value, value.value),
            None => format!("--{}", f.name.value),
        };
        let exec = |c: &other::Command<'_>| match c {
            other::Command::Exec(words) => Some(words.value.iter().map(text).collect()),
            _ => None,
        };
        let transfer = |sources: &[other::Source<'_>], dest: &other::UnescapedString<'_>| {
            let path = |s: &other::Source<'_>| match s {
                other::Source::Path(path) => Some(text(path)),
                _ => None,
            };
            Some(sources.iter().filter_map(path).chain([text(dest)]).collect())
        };
        let words = match instruction {
            I::From(i) => {
                Some(std::iter::once(&i.image).chain(i.as_.as_ref().map(|a| &a.1)).map(text).collect())
            }
            I::Copy(i) => transfer(&i.src, &i.dest),
            I::Add(i) => transfer(&i.src, &i.dest),
            I::Run(i) => exec(&i.arguments),
            I::Cmd(i) => exec(&i.arguments),
            I::Entrypoint(i) => exec(&i.arguments),
            I::Shell(i) => Some(i.arguments.iter().map(text).collect()),
            I::Expose(i) => Some(i.arguments.iter().map(text).collect()),
            I::Workdir(i) => Some(vec![text(&i.arguments)]),
            I::User(i) => Some(vec![text(&i.arguments)]),
            I::Stopsignal(i) => Some(vec![text(&i.arguments)]),
            I::Maintainer(i) => Some(vec![text(&i.name)]),
            I::Volume(i) => match &i.arguments {
                other::JsonOrStringArray::Json(words) => Some(words.value.iter().map(text).collect()),
                other::JsonOrStringArray::String(words) => Some(words.iter().map(text).collect()),
            },
            _ => None,
        };
        let heredocs = match instruction {
            I::Run(i) => Some(i.here_docs.iter().map(|h| h.value.to_string()).collect()),
            _ => None,
        };
        Fact {
            keyword: keyword.to_owned(),
            at: at + bom,
            flags: options.map(|options| options.iter().map(flag).collect()),
            words,
            heredocs,
        }
    }
}

mod by_dockerfile_parser {
    use dockerfile_parser as other;

    use super::{Args, Document, Fact, Keyword};

    const EXCEPTIONS: &[(&str, &[&str])] = &[
        ("quotes around paths of the plain form vanish there", &["2cbccd55fcdad443"]),
        ("a word broken by a continuation is two words there", &["continuation-in-word"]),
        ("a line of blanks ends a continued instruction there", &["c22ca151a00a5093"]),
    ];

    /// Its grammar calls itself for each continued line and overflows the stack on many.
    const MAX_CONTINUED: usize = 100;

    #[test]
    fn dockerfile_parser_sees_the_same() {
        super::compare(EXCEPTIONS, |text, document| {
            if !representable(document)
                || text.matches("\\\n").count() > MAX_CONTINUED
                || text.starts_with('\u{feff}')
            {
                return None;
            }
            let file = other::Dockerfile::parse(text).ok()?;
            Some(file.instructions.iter().map(fact).collect())
        });
    }

    /// It knows no directives, no heredocs, no flags but FROM's and COPY's `--name=value`.
    fn representable(document: &Document) -> bool {
        document.directives.iter().all(|d| d.name != "escape")
            && document.instructions.iter().all(|i| {
                i.heredocs.is_empty()
                    && i.flags.iter().all(|f| f.value.is_some())
                    && (i.flags.is_empty() || matches!(i.keyword, Keyword::From | Keyword::Copy))
                    && !matches!(&i.args, Args::ArgDefs(pairs) if pairs.len() > 1)
            })
    }

    fn fact(instruction: &other::Instruction) -> Fact {
        use other::Instruction as I;
        let flag = |name: &other::SpannedString, value: &other::SpannedString| {
            format!("--{}={}", name.content, value.content)
        };
        let (keyword, flags, words) = match instruction {
            I::From(i) => (
                "FROM",
                Some(i.flags.iter().map(|f| flag(&f.name, &f.value)).collect()),
                Some(std::iter::once(&i.image).chain(&i.alias).map(|w| w.content.clone()).collect()),
            ),
            I::Copy(i) => (
                "COPY",
                Some(i.flags.iter().map(|f| flag(&f.name, &f.value)).collect()),
                Some(i.sources.iter().chain([&i.destination]).map(|w| w.content.clone()).collect()),
            ),
            I::Arg(i) => ("ARG", None, Some(vec![i.name.content.clone()])),
            I::Label(_) => ("LABEL", None, None),
            I::Run(_) => ("RUN", None, None),
            I::Entrypoint(_) => ("ENTRYPOINT", None, None),
            I::Cmd(_) => ("CMD", None, None),
            I::Env(_) => ("ENV", None, None),
            I::Misc(i) => (i.instruction.content.as_str(), None, None),
        };
        Fact { keyword: keyword.to_uppercase(), at: instruction.span().start, flags, words, heredocs: None }
    }
}
