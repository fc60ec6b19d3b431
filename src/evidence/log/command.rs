//! The command line of a build, where a CI system shows it: `[command]/usr/bin/docker buildx build …`, `+ docker build …`.

/// What a shown command line says about a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildCommand {
    /// The line of the log.
    pub line: u64,
    /// As it is shown, from the program on.
    pub text: String,
    /// `--build-arg`, with values that are there in full: no `$`, not masked.
    pub build_args: Vec<(String, String)>,
    /// `--label`, in the same way.
    pub labels: Vec<(String, String)>,
    /// `--no-cache`
    pub no_cache: bool,
    /// The context: what stands without a flag.
    pub context: Option<String>,
}

/// Flags of `docker buildx build` that take no value.
const SWITCHES: [&str; 14] = [
    "--check",
    "--compress",
    "--debug",
    "-D",
    "--detach",
    "--force-rm",
    "--load",
    "--no-cache",
    "--pull",
    "--push",
    "--quiet",
    "-q",
    "--rm",
    "--squash",
];

impl BuildCommand {
    /// The command in a line of a log, if there is one.
    pub fn find(text: &str, line: u64) -> Option<Self> {
        if text.len() > 1 << 16 || !text.contains("build") {
            return None;
        }
        let at = start(text)?;
        let shown = text.get(at..)?;
        let words = words(shown);
        let mut rest = words.iter().map(String::as_str).skip(1).peekable();
        // Flags of docker itself, then `buildx`, then the verb.
        while rest.peek().is_some_and(|w| w.starts_with('-') && w.contains('=')) {
            rest.next();
        }
        if matches!(rest.peek(), Some(&("buildx" | "builder" | "image"))) {
            rest.next();
        }
        if !matches!(rest.next(), Some("build" | "b")) {
            return None;
        }
        let mut out = Self { line, text: super::clipped(shown), ..Self::default() };
        while let Some(word) = rest.next() {
            if matches!(word, "&&" | "||" | "|" | ";" | "2>&1" | ">" | "&") {
                break;
            }
            if !word.starts_with('-') || word == "-" {
                out.context = Some(word.to_owned());
                continue;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            if name == "--no-cache" {
                out.no_cache = value != Some("false");
            }
            if SWITCHES.contains(&name) {
                continue;
            }
            let value = match value {
                Some(value) => value,
                None => rest.next().unwrap_or_default(),
            };
            let list = match name {
                "--build-arg" => &mut out.build_args,
                "--label" => &mut out.labels,
                _ => continue,
            };
            if let Some((name, value)) = value.split_once('=')
                && !value.contains(['$', '`'])
                && !value.contains("***")
            {
                list.push((name.to_owned(), value.to_owned()));
            }
        }
        Some(out)
    }
}

/// Where the program begins, if only what CI systems and shells print stands before it.
fn start(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = text.get(from..)?.find("docker") {
        let at = from + found;
        let rest = text.get(at + "docker".len()..)?;
        let ends = rest.starts_with([' ', '\t']) || rest.starts_with(".exe ");
        let before = text.get(..at)?;
        // Back to the beginning of the word: a path.
        let group = before.ends_with("::group::");
        let word = if group { at } else { before.rfind([' ', '\t', ']']).map_or(0, |p| p + 1) };
        let path = before.get(word..)?;
        let head = before.get(..word)?.trim_end();
        let shows = head.is_empty()
            || head.ends_with(['+', '$', ']', '>', '%', '#'])
            || head.ends_with("::group::")
            || head.ends_with(|c: char| c.is_ascii_digit() || c == 'Z');
        if ends && (path.is_empty() || path.ends_with(['/', '\\'])) && shows {
            return Some(word);
        }
        from = at + "docker".len();
    }
    None
}

/// The words of a command line, with quotes as a POSIX shell takes them.
fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(q), c) if c == q => quote = None,
            (None | Some('"'), '\\') => {
                if let Some(next) = chars.next() {
                    word.get_or_insert_default().push(next);
                }
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Option<Vec<(String, String)>> {
        BuildCommand::find(text, 1).map(|c| c.build_args)
    }

    fn pairs(of: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn commands_are_found_where_ci_systems_show_them() {
        for before in
            ["", "[command]/usr/bin/", "+ ", "$ ", "##[group]", "2026-11-21T06:31:09.12Z ", "::group::"]
        {
            let text = format!("{before}docker buildx build --build-arg COMMIT=abc --push -t x .");
            assert_eq!(args(&text), pairs(&[("COMMIT", "abc")]), "{text}");
        }
        assert_eq!(args("docker build --build-arg='A=b c' \\\"x"), pairs(&[("A", "b c")]));
        assert_eq!(
            args("docker build --build-arg A=$CI_COMMIT_SHA --build-arg B=*** --build-arg C ."),
            pairs(&[])
        );
        assert_eq!(args("we say docker build --build-arg A=b . to people"), None);
        assert_eq!(args("+ docker run x build"), None);
    }

    #[test]
    fn the_context_is_the_word_without_a_flag() {
        let found =
            BuildCommand::find("+ docker build --no-cache -f a/Dockerfile --tag x:1 a && echo b", 7).unwrap();
        assert_eq!((found.context.as_deref(), found.no_cache, found.line), (Some("a"), true, 7));
    }
}
