//! The parser against BuildKit's own answers, and its promises: it keeps every byte, never panics and stays linear.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use layerlint::source::{LineIndex, Span};
use layerlint::syntax::{
    self, Args, Command, Document, Instruction, Keyword, TokenKind, TransferSource, Word,
};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn shared() -> PathBuf {
    match std::env::var_os("LAYERLINT_SHARED") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    }
}

/// What BuildKit's parser hands to the instruction as its arguments.
fn arguments(instruction: &Instruction) -> Vec<String> {
    let text = |w: &Word| w.text.clone();
    let command = |c: &Command| match c {
        Command::Exec(words) => words.iter().map(text).collect(),
        Command::Shell(w) if w.text.is_empty() => vec![],
        Command::Shell(w) => vec![w.text.clone()],
    };
    match &instruction.args {
        Args::From { .. } => instruction.rest.to_str().split_ascii_whitespace().map(str::to_owned).collect(),
        Args::Command(c) => command(c),
        Args::Transfer { sources, dest, .. } => {
            let source = |s: &TransferSource| match s {
                TransferSource::Path(w) | TransferSource::Heredoc(_, w) => text(w),
            };
            sources.iter().map(source).chain([text(dest)]).collect()
        }
        Args::Pairs { pairs, legacy } => {
            let separator = if *legacy { "" } else { "=" };
            let value = |w: &Option<Word>| w.as_ref().map(text).unwrap_or_default();
            pairs.iter().flat_map(|p| [text(&p.key), value(&p.value), separator.to_owned()]).collect()
        }
        Args::ArgDefs(pairs) => {
            let value = |w: &Option<Word>| w.as_ref().map_or(String::new(), |w| format!("={}", w.text));
            pairs.iter().map(|p| p.key.text.clone() + &value(&p.value)).collect()
        }
        Args::Text(w) => vec![text(w)],
        Args::Words(words) => words.iter().map(text).collect(),
        Args::Healthcheck { command: c } => {
            let kind = instruction.rest.to_str().split_whitespace().next().unwrap_or_default().to_owned();
            std::iter::once(kind).chain(c.iter().flat_map(command)).collect()
        }
        Args::Onbuild(trigger) => {
            std::iter::once(trigger.keyword_text.clone()).chain(arguments(trigger)).collect()
        }
        Args::Invalid => vec![],
    }
}

fn is_exec(instruction: &Instruction) -> bool {
    match &instruction.args {
        Args::Command(Command::Exec(_)) | Args::Transfer { json: true, .. } => true,
        Args::Healthcheck { command: Some(Command::Exec(_)) } => true,
        Args::Words(_) => serde_json::from_slice::<Vec<String>>(&instruction.rest.bytes).is_ok(),
        _ => false,
    }
}

fn flags(instruction: &Instruction) -> Vec<String> {
    let value = |v: &Option<String>| v.as_ref().map_or(String::new(), |v| format!("={v}"));
    instruction.flags.iter().map(|f| format!("--{}{}", f.name, value(&f.value))).collect()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|v| v.as_str().unwrap_or_default().to_owned()).collect()
}

fn bytes_of(case: &Value, text: &str, coded: &str) -> Option<Vec<u8>> {
    match case[coded].as_str() {
        Some(coded) => base64::engine::general_purpose::STANDARD.decode(coded).ok(),
        None => Some(case[text].as_str()?.as_bytes().to_vec()),
    }
}

/// The tokens are the file, and every place lies in it.
fn is_whole(document: &Document, bytes: &[u8]) {
    let mut joined = Vec::new();
    for token in &document.tokens {
        assert_eq!(token.span.start as usize, joined.len(), "tokens follow each other");
        assert!(!token.span.is_empty(), "no token is empty");
        joined.extend_from_slice(&bytes[token.span.range()]);
    }
    assert_eq!(joined, bytes, "the tokens are the file");
    for comment in &document.comments {
        assert!(bytes[comment.span.range()].starts_with(b"#"));
    }
    let inside = |span: Span| assert!(span.start <= span.end && span.end as usize <= bytes.len(), "{span:?}");
    for error in &document.errors {
        inside(error.span);
        assert!(!error.message.ends_with('.') && !error.message.is_empty());
    }
    document.instructions.iter().for_each(|i| spans_are_inside(i, &inside));
}

fn spans_are_inside(instruction: &Instruction, inside: &impl Fn(Span)) {
    assert!(instruction.line <= instruction.end_line);
    inside(instruction.span);
    inside(instruction.keyword_span);
    for flag in &instruction.flags {
        inside(flag.span);
        inside(flag.value_span);
        flag.mount.iter().flat_map(|m| &m.fields).for_each(|f| inside(f.span));
    }
    for heredoc in &instruction.heredocs {
        [heredoc.word_span, heredoc.body_span, heredoc.end_span].into_iter().for_each(inside);
        heredoc.content();
    }
    match &instruction.args {
        Args::Onbuild(trigger) => spans_are_inside(trigger, inside),
        Args::Pairs { pairs, .. } | Args::ArgDefs(pairs) => {
            for pair in pairs {
                inside(pair.span);
                inside(pair.key.span);
                pair.value.iter().for_each(|v| inside(v.span));
            }
        }
        Args::Words(words) | Args::Command(Command::Exec(words)) => words.iter().for_each(|w| inside(w.span)),
        _ => {}
    }
}

#[test]
fn tricky_files_read_as_buildkit_reads_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors/parse-tricky.jsonl");
    let text = std::fs::read_to_string(path).expect("the vectors are in the repository");
    let mut seen = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let name = case["name"].as_str().expect("name");
        let bytes = bytes_of(&case, "input", "input_b64").expect("an input");
        let document = syntax::parse(&bytes);
        is_whole(&document, &bytes);
        let refused = !case["parse_err"].is_null() || !case["instr_err"].is_null();
        assert_eq!(!document.errors.is_empty(), refused, "{name}: {:?}", document.errors);
        seen += 1;
        if !case["parse_err"].is_null() {
            continue;
        }
        assert_eq!(Some(document.escape.char().to_string().as_str()), case["escape"].as_str(), "{name}");
        let warned = document.instructions.iter().any(|i| i.empty_continuation);
        assert_eq!(warned, !case["warnings"].is_null(), "{name}");
        let nodes = case["nodes"].as_array().expect("nodes");
        assert_eq!(document.instructions.len(), nodes.len(), "{name}");
        for (instruction, node) in document.instructions.iter().zip(nodes) {
            agrees_with_node(instruction, node, name);
        }
    }
    assert!(seen >= 70, "only {seen} vectors");
}

fn agrees_with_node(instruction: &Instruction, node: &Value, name: &str) {
    assert_eq!(Some(instruction.keyword_text.as_str()), node["Value"].as_str(), "{name}");
    assert_eq!(Some(&*instruction.text.to_str()), node["Original"].as_str(), "{name}");
    assert_eq!(Some(u64::from(instruction.line)), node["Start"].as_u64(), "{name}");
    assert_eq!(Some(u64::from(instruction.end_line)), node["End"].as_u64(), "{name}");
    assert_eq!(flags(instruction), strings(&node["Flags"]), "{name}");
    match &instruction.args {
        Args::Onbuild(trigger) => {
            let sub = &node["Sub"][0];
            assert_eq!(Some(trigger.keyword_text.as_str()), sub["Value"].as_str(), "{name}");
            assert_eq!(arguments(trigger), strings(&sub["Args"]), "{name}");
        }
        Args::Invalid => {}
        _ => assert_eq!(arguments(instruction), strings(&node["Args"]), "{name}"),
    }
    let heredocs = node["Heredocs"].as_array().cloned().unwrap_or_default();
    assert_eq!(instruction.heredocs.len(), heredocs.len(), "{name}");
    for (ours, theirs) in instruction.heredocs.iter().zip(heredocs) {
        assert_eq!(Some(ours.name.as_str()), theirs["Name"].as_str(), "{name}");
        assert_eq!(Some(u64::from(ours.fd)), theirs["FileDescriptor"].as_u64(), "{name}");
        assert_eq!(Some(ours.expand), theirs["Expand"].as_bool(), "{name}");
        assert_eq!(Some(ours.chomp), theirs["Chomp"].as_bool(), "{name}");
        assert_eq!(ours.body, theirs["Content"].as_str().unwrap_or_default().as_bytes(), "{name}");
    }
}

#[test]
fn the_corpus_reads_as_buildkit_reads_it() {
    let path = shared().join("corpus/dockerfiles.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: no corpus at {}", path.display());
        return;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("UTF-8 in gzip");
    let mut wrong = Vec::new();
    let mut files = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let bytes = bytes_of(&case, "text", "text_b64").expect("a text");
        let document = syntax::parse(&bytes);
        is_whole(&document, &bytes);
        files += 1;
        if let Err(difference) = agrees(&document, &bytes, &case["truth"]) {
            wrong.push(format!("{} {}: {difference}", case["id"], case["path"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {files} files differ:\n{}", wrong.len(), wrong.join("\n"));
    println!("{files} files agree");
}

fn agrees(document: &Document, bytes: &[u8], truth: &Value) -> Result<(), String> {
    let ok = truth["ok"].as_bool().unwrap_or_default();
    if ok != document.errors.is_empty() {
        return Err(format!("ok {ok} {} but {:?}", truth["error"], document.errors));
    }
    if truth["phase"] == "parser" {
        return Ok(());
    }
    if !ok {
        // BuildKit names the instruction that it refuses first.
        let line = LineIndex::new(bytes).line(document.errors.first().map_or(0, |e| e.span.start));
        let (first, last) = (truth["line"].as_u64().unwrap_or(0), truth["end_line"].as_u64().unwrap_or(0));
        if !(first..=last).contains(&u64::from(line)) {
            return Err(format!("error on line {line}, not {first}-{last}: {:?}", document.errors.first()));
        }
    }
    let nodes = truth["instructions"].as_array().ok_or("no instructions")?;
    if nodes.len() != document.instructions.len() {
        return Err(format!("{} instructions, not {}", document.instructions.len(), nodes.len()));
    }
    for (ours, node) in document.instructions.iter().zip(nodes) {
        let lines = (u64::from(ours.line), u64::from(ours.end_line));
        let expected = (node["s"].as_u64().unwrap_or(0), node["e"].as_u64().unwrap_or(0));
        let name = ours.keyword_text.to_lowercase();
        let utf8 = std::str::from_utf8(bytes).is_ok();
        if lines != expected || utf8 && Some(name.as_str()) != node["n"].as_str() {
            return Err(format!("{name} on {lines:?}, not {node}"));
        }
        if flags(ours) != strings(&node["f"]) {
            return Err(format!("flags {:?}, not {node}", flags(ours)));
        }
        if is_exec(ours) != node["j"].as_bool().unwrap_or_default() {
            return Err(format!("exec form of {} is not {node}", ours.text.to_str()));
        }
        let names: Vec<&str> = ours.heredocs.iter().map(|h| h.name.as_str()).collect();
        if names != strings(&node["h"]) {
            return Err(format!("heredocs {names:?}, not {node}"));
        }
        let unknown = ours.keyword == Keyword::Unknown || matches!(ours.args, Args::Invalid);
        if !unknown && utf8 {
            let hash = Sha256::digest(arguments(ours).join("\0"));
            let hash: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
            if Some(hash.as_str()) != node["a"].as_str() {
                return Err(format!("arguments {:?} are not {node}", arguments(ours)));
            }
        }
    }
    Ok(())
}

#[test]
fn many_continued_lines_and_a_long_command_parse() {
    let text = format!("FROM a\nRUN true{}", " \\\n  && echo".repeat(5_000));
    let document = syntax::parse(text.as_bytes());
    assert_eq!(document.errors, []);
    assert_eq!(document.instructions[1].end_line, 5_002);

    let text = format!("FROM a\nRUN true{}", " \\\n && true".repeat(100_000));
    let document = syntax::parse(text.as_bytes());
    assert_eq!(document.errors, []);
    assert_eq!(document.tokens.iter().filter(|t| t.kind == TokenKind::Continuation).count(), 100_000);

    let text = format!("FROM a\nRUN echo {}\nUSER b", "x".repeat(1 << 20));
    let document = syntax::parse(text.as_bytes());
    assert_eq!(document.errors.len(), 1, "a physical line is too long");
    assert_eq!(document.instructions.len(), 3);
}

#[test]
fn a_line_may_have_as_many_bytes_as_buildkit_buffers() {
    let line = |n: usize, end: &str| {
        let text = format!("FROM a\nRUN {}{end}", "x".repeat(n - 4));
        syntax::parse(text.as_bytes()).errors.len()
    };
    assert_eq!((line(65_535, "\n"), line(65_535, ""), line(65_536, "\n"), line(65_536, "")), (0, 0, 1, 1));
}

#[test]
fn many_unfinished_heredocs_stay_linear() {
    let text: String = (0..20_000).map(|n| format!("RUN cat <<END{n}\nRUN true\n")).collect();
    let document = syntax::parse(format!("FROM a\n{text}").as_bytes());
    assert_eq!(document.errors.len(), 20_000);
    assert_eq!(document.instructions.len(), 40_001);
}

/// Pieces that make Dockerfiles and break them.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "FROM ",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "ONBUILD ",
        "HEALTHCHECK ",
        "SHELL ",
        "LABEL ",
        "CMD ",
        "VOLUME ",
        "WORKDIR ",
        "EXPOSE ",
        "a",
        "a=b",
        " ",
        "\n",
        "\r\n",
        "\\\n",
        "`\n",
        "\\",
        "\"",
        "'",
        "[",
        "]",
        "\"a\"",
        ",",
        "<<EOF",
        "<<-'E'",
        "3<<X",
        "EOF\n",
        "\tE\n",
        "X\n",
        "--mount=type=cache,",
        "--from=",
        "--",
        "--interval=1s",
        "# escape=`\n",
        "# syntax=x\n",
        "#",
        "${a:-",
        "}",
        "$",
        "<<",
        "=",
        "NONE",
        "{\"a\":",
        "\t",
        "AS",
        "\u{feff}",
        "\u{a0}",
        "\u{85}",
        "\u{e9}",
        "\0",
    ];
    prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(|s| s.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_tile_any_mixture(pieces in proptest::collection::vec(piece(), 0..40)) {
        let bytes = pieces.concat();
        is_whole(&syntax::parse(&bytes), &bytes);
    }

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let document = syntax::parse(&bytes);
        is_whole(&document, &bytes);
        prop_assert!(!document.errors.is_empty() || !document.instructions.is_empty());
    }
}
