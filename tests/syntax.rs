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
    let (mut files, mut runs) = (0, (0, 0));
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let bytes = bytes_of(&case, "text", "text_b64").expect("a text");
        let document = syntax::parse(&bytes);
        is_whole(&document, &bytes);
        files += 1;
        for instruction in document.instructions.iter().filter(|i| i.keyword == Keyword::Run) {
            let script = syntax::shell::script_of(instruction);
            let within = |s: Span| s.start >= instruction.span.start && s.end <= instruction.span.end;
            for command in &script.commands {
                assert!(within(command.span) && command.words.iter().all(|w| within(w.span)), "{command:?}");
            }
            runs.0 += 1;
            runs.1 += usize::from(script.incomplete);
        }
        if let Err(difference) = agrees(&document, &bytes, &case["truth"]) {
            wrong.push(format!("{} {}: {difference}", case["id"], case["path"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {files} files differ:\n{}", wrong.len(), wrong.join("\n"));
    println!("{files} files agree; of {} RUNs {} are not all shell", runs.0, runs.1);
    assert!(runs.1 * 20 < runs.0, "{} of {} RUNs are not read", runs.1, runs.0);
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

/// Each error with the text that it points at, one a line.
fn errors(text: &str) -> String {
    let document = syntax::parse(text.as_bytes());
    let line = |e: &syntax::SyntaxError| {
        let place = String::from_utf8_lossy(&text.as_bytes()[e.span.range()]).into_owned();
        let help = e.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
        format!("[{place}] {}{help}", e.message)
    };
    document.errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn errors_point_at_what_is_wrong_and_help() {
    for (text, expected) in [
        ("", "[] the file has no instructions (a Dockerfile begins with `FROM image`)"),
        (
            "RUN a\nRUN b\nFROM c",
            "[RUN] `RUN` stands before the first `FROM` (only `ARG` may; begin the first stage with `FROM image`)",
        ),
        ("FROM a\nRNU b", "[RNU] `RNU` is no instruction (did you mean `RUN`?)"),
        (
            "FROM a\n&& b",
            "[&&] `&&` is no instruction (to continue the instruction above, end its last line with `\\`)",
        ),
        (
            "FROM a\n{{ b }}",
            "[{{] `{{` is no instruction (this looks like a template; check the Dockerfile that it is rendered to)",
        ),
        (
            "FROM a\n\\\n",
            "[] no instruction follows this line continuation (remove it, or write the instruction that it should continue)",
        ),
        ("FROM", "[FROM] FROM needs an image"),
        ("FROM a AS", "[AS] a stage name is missing after `AS` (FROM takes `image [AS name]`)"),
        ("FROM a b", "[b] `b` is one word too many for FROM (FROM takes `image [AS name]`)"),
        ("FROM a # b", "[#] `#` is one word too many for FROM (a comment must stand on its own line)"),
        (
            "FROM a AS 1b",
            "[1b] `1b` cannot be the name of a stage (it begins with a letter and goes on with letters, digits, `-`, `_` and `.`)",
        ),
        (
            "FROM --plattform=x a",
            "[--plattform=x] FROM has no flag `--plattform` (did you mean `--platform`?)",
        ),
        ("FROM a\nUSER --x b", "[--x] USER has no flag `--x` (USER takes no flags)"),
        ("FROM a\nCOPY --from=b \\\n --from=c d e", "[--from=c] `--from` is given twice (keep one of them)"),
        ("FROM a\nCOPY --link=maybe b c", "[maybe] `--link` is `true` or `false`, not `maybe`"),
        ("FROM a\nCOPY --from b c d", "[--from] `--from` needs a value (write `--from=value`)"),
        ("FROM a\nCOPY b", "[COPY] COPY needs at least one source and a destination"),
        (
            "FROM a\nCOPY b <<E\nx\nE",
            "[<<E] a heredoc cannot be the destination of COPY (name the file to write after it)",
        ),
        (
            "FROM a\nRUN --mount=type=bind,from=$x,to=y b",
            "[from=$x] variables are not expanded in `from` of a mount (name the image in a stage of its own, `FROM image AS name`, and mount from that)",
        ),
        (
            "FROM a\nRUN --mount=a\\\"b c",
            "[\"] a quote inside a field that does not begin with one (fields are separated by commas: `--mount=type=cache,target=/path`)",
        ),
        (
            "FROM a\nRUN --network=off b",
            "[off] there is no network mode `off` (it is `default`, `none` or `host`)",
        ),
        ("FROM a\nRUN --security=x b", "[x] there is no security mode `x` (it is `sandbox` or `insecure`)"),
        (
            "FROM a\nRUN --device=v/d=x,name=y b",
            "[v/d=x,name=y] the device is already named `v/d=x` (write `--device=name[,required]`)",
        ),
        ("FROM a\nENV b", "[b] `b` has no value (write `ENV b=value`)"),
        (
            "FROM a\nENV b=c d",
            "[d] `d` is no `key=value` (quote a value that has blanks: `key=\"some words\"`)",
        ),
        ("FROM a\nLABEL =c", "[=c] a name is missing before `=` in LABEL"),
        ("FROM a\nARG", "[ARG] ARG needs a name"),
        ("FROM a\nCMD [\"b\", 1]", "[1] an array of arguments holds strings only (put it in double quotes)"),
        (
            "FROM a\nSHELL b -c",
            "[b -c] SHELL takes its arguments in JSON form only (write it in JSON form, as in `SHELL [\"/bin/bash\", \"-c\"]`)",
        ),
        ("FROM a\nVOLUME [\"\"]", "[] a volume needs a path"),
        ("FROM a\nWORKDIR ", "[WORKDIR] WORKDIR needs an argument"),
        (
            "FROM a\nHEALTHCHECK curl b",
            "[curl] `curl` is no kind of HEALTHCHECK (write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`)",
        ),
        (
            "FROM a\nHEALTHCHECK --interval=5 CMD b",
            "[5] `--interval=5` is no duration (write a duration such as `30s`, `1m30s` or `500ms`)",
        ),
        (
            "FROM a\nHEALTHCHECK --retries=-1 CMD b",
            "[-1] `--retries=-1` is no number of retries (write a whole number of 0 or more)",
        ),
        ("FROM a\nHEALTHCHECK NONE b", "[b] HEALTHCHECK NONE takes no arguments"),
        ("FROM a\nONBUILD FROM b", "[FROM] FROM cannot be a trigger of ONBUILD"),
        (
            "FROM a\nRUN cat <<E\nb\nUSER c",
            "[<<E] the heredoc `E` never ends (end it with a line that holds nothing but `E`)",
        ),
        ("# escape=x\nFROM a", "[x] `x` cannot be the escape character (it is `\\` or a backtick)"),
        (
            "# check=x\n# check=y\nFROM a",
            "[# check=y] the directive `check` is given twice (BuildKit accepts each directive once; remove this line)",
        ),
    ] {
        assert_eq!(errors(text), expected, "{text}");
    }
}

#[test]
fn what_buildkit_lets_pass_is_no_error() {
    for text in [
        "ARG A",
        "from a as B\nrun",
        "FROM a\nRUN []",
        "FROM a\nARG --any=flag A=b",
        "FROM a\nSTOPSIGNAL --any 9",
        "FROM a\nHEALTHCHECK --any NONE",
        "FROM a\nHEALTHCHECK --interval= --timeout=0 CMD b",
        "FROM a\nONBUILD NONSENSE b",
        "FROM a\nONBUILD COPY b",
        "FROM a\nRUN --mount=type=nonsense,x b",
        "FROM a\nRUN --mount=from=x$ --mount=type=cache,target=/y b",
        "FROM a\nRUN --device=v/d=x,required --device=v/e b",
        "FROM a\nCOPY --exclude=x --exclude=y --parents --link=FALSE b c",
        "FROM a\nADD --unpack --keep-git-dir=true --checksum=x b c",
        "FROM a\nENV b c d",
        "FROM a\nCMD [\"b\", 1e999]",
        "FROM a AS b\nFROM a AS b",
        "\u{feff}# escape=`\nFROM a\nRUN b `\n c",
    ] {
        assert_eq!(errors(text), "", "{text}");
    }
}

#[test]
fn after_an_error_everything_else_is_read() {
    let text = "FROM a\nRUN cat <<E\nnot a command\nUSER b\nFOO\nCOPY c\nWORKDIR /d\n";
    let document = syntax::parse(text.as_bytes());
    let names: Vec<&str> = document.instructions.iter().map(|i| i.keyword.name()).collect();
    assert_eq!(names, ["FROM", "RUN", "USER", "unknown instruction", "COPY", "WORKDIR"]);
    assert_eq!(document.errors.len(), 3);
    assert_eq!(document.instructions[1].heredocs[0].content(), "not a command\n");
}

#[test]
fn places_lead_to_the_words() {
    let text = concat!(
        "\u{feff}# syntax=x\r\n",
        "FROM --platform=\"p q\" a AS b\r\n",
        "# note\r\n",
        "RUN --mount=type=cache,\\\r\n",
        "# inside\r\n",
        "target=/t --network=none make <<-'E' \\\r\n",
        " all\r\n",
        "\tbody\r\n",
        "\tE\r\n",
        "ENV c=\"d e\" f=g\r\n",
        "COPY [\"h\", \"i j\"]\r\n",
        "ONBUILD RUN --mount=x k \\\r\n l",
    );
    let document = syntax::parse(text.as_bytes());
    assert_eq!(document.errors, []);
    is_whole(&document, text.as_bytes());
    let at = |span: Span| &text[span.range()];
    assert_eq!(at(document.directives[0].span), "# syntax=x");
    assert_eq!(at(document.directives[0].value_span), "x");
    let comments: Vec<_> = document.comments.iter().map(|c| (at(c.span), c.inside)).collect();
    assert_eq!(comments, [("# note", None), ("# inside", Some(1))]);

    let from = &document.instructions[0];
    assert_eq!(at(from.flags[0].span), "--platform=\"p q\"");
    assert_eq!((at(from.flags[0].value_span), from.flags[0].value()), ("\"p q\"", "p q"));
    assert!(
        matches!(&from.args, Args::From { image, name: Some(name) } if at(image.span) == "a" && at(name.span) == "b")
    );

    let run = &document.instructions[1];
    assert_eq!((run.line, run.end_line), (4, 9));
    let fields = &run.flags[0].mount.as_ref().expect("a mount").fields;
    let places: Vec<_> = fields.iter().map(|f| (f.key.as_str(), f.value.as_deref(), at(f.span))).collect();
    assert_eq!(places, [("type", Some("cache"), "type=cache"), ("target", Some("/t"), "target=/t")]);
    let heredoc = &run.heredocs[0];
    assert_eq!(
        (at(heredoc.word_span), at(heredoc.body_span), at(heredoc.end_span)),
        ("<<-'E'", "\tbody\r\n", "\tE")
    );
    assert_eq!(heredoc.content(), "body\r\n");
    assert_eq!(run.text.to_str(), "RUN --mount=type=cache,target=/t --network=none make <<-'E'  all");
    assert!(at(run.span).starts_with("RUN --mount") && at(run.span).ends_with("\tE"));

    let Args::Pairs { pairs, .. } = &document.instructions[2].args else { panic!("no pairs") };
    let places: Vec<_> =
        pairs.iter().map(|p| (at(p.key.span), p.value.as_ref().map(|v| at(v.span)))).collect();
    assert_eq!(places, [("c", Some("\"d e\"")), ("f", Some("g"))]);

    let Args::Transfer { sources, dest, json: true } = &document.instructions[3].args else {
        panic!("no JSON")
    };
    assert!(matches!(&sources[0], TransferSource::Path(w) if at(w.span) == "h") && at(dest.span) == "i j");

    let Args::Onbuild(trigger) = &document.instructions[4].args else { panic!("no trigger") };
    assert_eq!((at(trigger.keyword_span), at(trigger.flags[0].span)), ("RUN", "--mount=x"));
    assert_eq!((at(trigger.span), trigger.rest.to_str().as_ref()), ("RUN --mount=x k \\\r\n l", "k  l"));
}

#[test]
fn tokens_name_the_parts_of_a_file() {
    let text = "# escape=`\n# c\nRUN --x -- a `  \n  b <<E\nd\nE\n";
    let document = syntax::parse(text.as_bytes());
    let tokens: Vec<_> = document
        .tokens
        .iter()
        .filter(|t| t.kind != TokenKind::Space)
        .map(|t| (t.kind, &text[t.span.range()]))
        .collect();
    assert_eq!(
        tokens,
        [
            (TokenKind::Directive, "# escape=`"),
            (TokenKind::Comment, "# c"),
            (TokenKind::Keyword, "RUN"),
            (TokenKind::Flag, "--x"),
            (TokenKind::Flag, "--"),
            (TokenKind::Text, "a "),
            (TokenKind::Continuation, "`  \n"),
            (TokenKind::Text, "  b <<E"),
            (TokenKind::HeredocBody, "d\n"),
            (TokenKind::HeredocEnd, "E"),
        ]
    );
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

/// The vectors' Dockerfiles, to be mutated.
fn dockerfiles() -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors/parse-tricky.jsonl");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let cases = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    cases.filter_map(|case| bytes_of(&case, "input", "input_b64")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_tile_any_mixture(pieces in proptest::collection::vec(piece(), 0..40)) {
        let bytes = pieces.concat();
        is_whole(&syntax::parse(&bytes), &bytes);
    }

    #[test]
    fn mutated_dockerfiles_are_read(
        mut bytes in proptest::sample::select(dockerfiles()),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0..3_usize, piece()), 1..6),
    ) {
        for (at, removed, inserted) in edits {
            let start = at.index(bytes.len() + 1);
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, inserted);
        }
        let document = syntax::parse(&bytes);
        is_whole(&document, &bytes);
        for instruction in &document.instructions {
            for command in syntax::shell::script_of(instruction).commands {
                prop_assert!(command.span.start <= command.span.end);
                prop_assert!(command.span.end as usize <= bytes.len());
            }
        }
    }

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let document = syntax::parse(&bytes);
        is_whole(&document, &bytes);
        prop_assert!(!document.errors.is_empty() || !document.instructions.is_empty());
    }
}
