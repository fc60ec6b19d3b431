//! Words: quotes, escapes and variables, the way BuildKit's own lexer treats them
//! (`frontend/dockerfile/shell/lex.go`). Pure: variables come from the caller.

use regex::Regex;

/// Where variables come from.
pub trait Variables {
    /// The value, if the variable is set.
    fn value(&self, name: &str) -> Option<&str>;
}

/// No variable is set.
pub struct NoVariables;

impl Variables for NoVariables {
    fn value(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Variables for [(String, String)] {
    fn value(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

/// A word after expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The result.
    pub text: String,
    /// Variables that were looked up and set, each once, in order of first use.
    pub used: Vec<String>,
    /// Variables that were looked up and not set.
    pub unset: Vec<String>,
}

/// A word that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote, brace or slash without its partner.
    #[error("`{0}` is opened and never closed")]
    Unclosed(char),
    /// `${}`, `${:…`, `${{`
    #[error("`${{` must be followed by a variable name")]
    BadSubstitution,
    /// `${x^y}` and the like
    #[error("`{0}` is no modifier that BuildKit knows in a substitution")]
    UnknownModifier(String),
    /// `${x:?message}`
    #[error("{0}: {1}")]
    Required(String, String),
    /// A backslash before another character than `*`, `?`, `\`, `}` and `/`.
    #[error("`{0}` is no pattern: a backslash escapes only `*`, `?`, `\\`, `}}` and `/`")]
    BadPattern(String),
    /// More than [`DEPTH`] substitutions inside one another.
    #[error("substitutions are nested too deeply")]
    TooDeep,
}

impl ExpandError {
    /// Whether other values of variables could cure it; all other errors are in the words themselves.
    pub fn depends_on_values(&self) -> bool {
        matches!(self, ExpandError::Required(..) | ExpandError::TooDeep)
    }
}

/// Nesting of `${a:-${b:-…}}` that is followed; BuildKit has no limit, a person never comes near.
pub const DEPTH: usize = 200;

/// How a text is taken apart. The default expands and removes quotes.
#[derive(Clone, Copy, Debug)]
pub struct Lexer {
    /// The escape character of the file.
    pub escape: char,
    /// Quotes stay in the result.
    pub raw_quotes: bool,
    /// Escape characters stay in the result.
    pub raw_escapes: bool,
    /// Quotes are ordinary characters (heredoc bodies).
    pub skip_quotes: bool,
    /// Unset variables stay as written.
    pub skip_unset: bool,
}

impl Lexer {
    /// The lexer of instruction arguments.
    pub fn new(escape: char) -> Self {
        Self { escape, raw_quotes: false, raw_escapes: false, skip_quotes: false, skip_unset: false }
    }

    /// Expands `text` as one word: blanks stay.
    pub fn expand(&self, text: &str, vars: &(impl Variables + ?Sized)) -> Result<Expanded, ExpandError> {
        let mut run = Run::new(self, text, vars);
        let text = run.until(None, self.raw_escapes, 0)?.0;
        Ok(Expanded { text, used: run.used, unset: run.unset })
    }

    /// Expands `text` and splits it at blanks outside of quotes.
    pub fn words(&self, text: &str, vars: &(impl Variables + ?Sized)) -> Result<Vec<String>, ExpandError> {
        Ok(Run::new(self, text, vars).until(None, self.raw_escapes, 0)?.1)
    }
}

struct Run<'a, V: ?Sized> {
    lexer: &'a Lexer,
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    vars: &'a V,
    raw_escapes: bool,
    used: Vec<String>,
    unset: Vec<String>,
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
    inside: bool,
}

impl Words {
    fn split(&mut self, c: char) {
        if !c.is_whitespace() {
            self.keep(c);
        } else if self.inside && !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
            self.inside = false;
        }
    }

    fn keep(&mut self, c: char) {
        self.current.push(c);
        self.inside = true;
    }

    fn keep_all(&mut self, s: &str) {
        self.current.push_str(s);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}

impl<'a, V: Variables + ?Sized> Run<'a, V> {
    fn new(lexer: &'a Lexer, text: &'a str, vars: &'a V) -> Self {
        Run {
            lexer,
            chars: text.chars().peekable(),
            vars,
            raw_escapes: lexer.raw_escapes,
            used: Vec::new(),
            unset: Vec::new(),
        }
    }

    fn lookup(&mut self, name: &str) -> Option<&'a str> {
        let vars: &'a V = self.vars;
        let value = vars.value(name);
        let list = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !list.iter().any(|n| n == name) {
            list.push(name.to_owned());
        }
        value
    }

    /// Up to `stop` (which is eaten) or the end of the text.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
        depth: usize,
    ) -> Result<(String, Vec<String>), ExpandError> {
        if depth > DEPTH {
            return Err(ExpandError::TooDeep);
        }
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.until_inner(stop, depth);
        self.raw_escapes = before;
        result
    }

    fn until_inner(
        &mut self,
        stop: Option<char>,
        depth: usize,
    ) -> Result<(String, Vec<String>), ExpandError> {
        let mut result = String::new();
        let mut words = Words::default();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok((result, words.finish()));
            }
            match c {
                '\'' if !self.lexer.skip_quotes => {
                    let part = self.single_quoted()?;
                    result.push_str(&part);
                    words.keep_all(&part);
                }
                '"' if !self.lexer.skip_quotes => {
                    let part = self.double_quoted(depth)?;
                    result.push_str(&part);
                    words.keep_all(&part);
                }
                '$' => {
                    let part = self.dollar(depth)?;
                    result.push_str(&part);
                    part.chars().for_each(|c| words.split(c));
                }
                '<' => {
                    let part = self.less_than();
                    result.push_str(&part);
                    words.keep_all(&part);
                }
                _ => {
                    self.chars.next();
                    if c == self.lexer.escape {
                        if self.raw_escapes {
                            words.keep(c);
                            result.push(c);
                        }
                        let Some(next) = self.chars.next() else { break };
                        words.keep(next);
                        result.push(next);
                    } else {
                        words.split(c);
                        result.push(c);
                    }
                }
            }
        }
        match stop {
            Some(c) => Err(ExpandError::Unclosed(c)),
            None => Ok((result, words.finish())),
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut out = String::new();
        let quote = self.chars.next();
        if self.lexer.raw_quotes {
            out.extend(quote);
        }
        for c in self.chars.by_ref() {
            if c == '\'' {
                if self.lexer.raw_quotes {
                    out.push(c);
                }
                return Ok(out);
            }
            out.push(c);
        }
        Err(ExpandError::Unclosed('\''))
    }

    fn double_quoted(&mut self, depth: usize) -> Result<String, ExpandError> {
        let mut out = String::new();
        let quote = self.chars.next();
        if self.lexer.raw_quotes {
            out.extend(quote);
        }
        loop {
            match self.chars.peek() {
                None => return Err(ExpandError::Unclosed('"')),
                Some('"') => {
                    self.chars.next();
                    if self.lexer.raw_quotes {
                        out.push('"');
                    }
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar(depth)?),
                Some(&c) => {
                    self.chars.next();
                    let mut last = c;
                    if c == self.lexer.escape {
                        if self.raw_escapes {
                            out.push(c);
                        }
                        match self.chars.peek() {
                            None => continue,
                            Some(&next) if next == '"' || next == '$' || next == self.lexer.escape => {
                                self.chars.next();
                                last = next;
                            }
                            Some(_) => {}
                        }
                    }
                    out.push(last);
                }
            }
        }
    }

    /// `<` or `<<` with the blanks after it, so that `<< EOF` stays one word.
    fn less_than(&mut self) -> String {
        self.chars.next();
        if self.chars.peek() != Some(&'<') {
            return "<".to_owned();
        }
        self.chars.next();
        let mut out = "<<".to_owned();
        while let Some(c) = self.chars.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
            out.push(c);
        }
        out
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&c) = self.chars.peek() {
            if name.is_empty() && c.is_numeric() {
                while let Some(d) = self.chars.next_if(|d| d.is_numeric()) {
                    name.push(d);
                }
                return name;
            }
            if name.is_empty() && matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!' | '0') {
                self.chars.next();
                return c.to_string();
            }
            if !c.is_alphabetic() && !c.is_numeric() && c != '_' {
                break;
            }
            name.push(c);
            self.chars.next();
        }
        name
    }

    fn dollar(&mut self, depth: usize) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.lookup(&name) {
                Some(value) => value.to_owned(),
                None if self.lexer.skip_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err(ExpandError::Unclosed('{')),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            Some('}') => Ok(match self.lookup(&name) {
                Some(value) => value.to_owned(),
                None if self.lexer.skip_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                let modifier = self.chars.next();
                match modifier {
                    Some(m @ ('+' | '-' | '?')) => self.choose(&name, m, true, depth),
                    Some(m) if !matches!(m, '#' | '%') => {
                        // The word is read before the modifier is judged, and not judged if it stays as it is.
                        let word = self.until(Some('}'), false, depth + 1)?.0;
                        if self.lexer.skip_unset && self.lookup(&name).is_none() {
                            return Ok(format!("${{{name}:{m}{word}}}"));
                        }
                        Err(ExpandError::UnknownModifier(format!(":{m}")))
                    }
                    other => Err(ExpandError::UnknownModifier(format!(":{}", other.unwrap_or('}')))),
                }
            }
            Some(m @ ('+' | '-' | '?')) => self.choose(&name, m, false, depth),
            Some(m @ ('#' | '%')) => self.trim(&name, m, depth),
            Some('/') => self.replace(&name, depth),
            Some(other) => Err(ExpandError::UnknownModifier(other.to_string())),
            None => Err(ExpandError::Unclosed('{')),
        }
    }

    /// `:-`, `:+`, `:?` and their forms without colon.
    fn choose(
        &mut self,
        name: &str,
        modifier: char,
        empty_is_unset: bool,
        depth: usize,
    ) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), false, depth + 1)?.0;
        let value = self.lookup(name);
        if self.lexer.skip_unset && value.is_none() {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let given = value.filter(|v| !(empty_is_unset && v.is_empty()));
        Ok(match modifier {
            '-' => given.map_or(word, str::to_owned),
            '+' => given.map_or_else(String::new, |_| word),
            _ => match given {
                Some(value) => value.to_owned(),
                None => {
                    let why = if value.is_none() { "unset" } else { "empty" };
                    let message = if word.is_empty() { format!("is not allowed to be {why}") } else { word };
                    return Err(ExpandError::Required(name.to_owned(), message));
                }
            },
        })
    }

    /// `#`, `##`, `%`, `%%`.
    fn trim(&mut self, name: &str, modifier: char, depth: usize) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), true, depth + 1)?.0;
        let value = self.lookup(name);
        if self.lexer.skip_unset && value.is_none() {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (pattern, greedy) = match word.strip_prefix(modifier) {
            Some(rest) => (rest.to_owned(), true),
            None => (word, false),
        };
        if modifier == '#' {
            return trim_prefix(&pattern, value, greedy);
        }
        // The shortest match at the end is the shortest match at the start of the reversed text.
        let reversed: String = value.chars().rev().collect();
        let rest = trim_prefix(&reverse_pattern(&pattern), &reversed, greedy)?;
        Ok(rest.chars().rev().collect())
    }

    /// `/pattern/replacement`, `//pattern/replacement`.
    fn replace(&mut self, name: &str, depth: usize) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), true, depth + 1)?.0;
        let replacement = self.until(Some('}'), true, depth + 1)?.0;
        let value = self.lookup(name);
        if self.lexer.skip_unset && value.is_none() {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        let re = pattern_to_regex(&pattern, true, false)?;
        if all {
            return Ok(re.replace_all(value, replacement.as_str()).into_owned());
        }
        Ok(match re.find(value) {
            Some(m) => format!("{}{replacement}{}", &value[..m.start()], &value[m.end()..]),
            None => value.to_owned(),
        })
    }
}

fn trim_prefix(pattern: &str, value: &str, greedy: bool) -> Result<String, ExpandError> {
    let re = pattern_to_regex(pattern, greedy, true)?;
    Ok(re.find(value).map_or(value, |m| &value[m.end()..]).to_owned())
}

fn pattern_to_regex(pattern: &str, greedy: bool, anchored: bool) -> Result<Regex, ExpandError> {
    let bad = || ExpandError::BadPattern(pattern.to_owned());
    let mut out = String::with_capacity(pattern.len() + 4);
    if anchored {
        out.push('^');
    }
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => out.push('.'),
            // The escape of `}` and `/` belongs to the substitution, not to the pattern.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(e @ ('*' | '?' | '\\')) => out.push_str(&regex::escape(&e.to_string())),
                _ => return Err(bad()),
            },
            other => out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    Regex::new(&out).map_err(|_| bad())
}

/// Reverses a pattern and keeps each escape before the character it escapes.
fn reverse_pattern(pattern: &str) -> String {
    let mut pieces = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            match chars.next() {
                Some(e) => pieces.push(format!("\\{e}")),
                None => pieces.push("\\".to_owned()),
            }
        } else {
            pieces.push(c.to_string());
        }
    }
    pieces.reverse();
    pieces.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let vars: Vec<(String, String)> =
            [("A", "a"), ("PATHISH", "usr/local/bin"), ("EMPTY", ""), ("T", "foo.tar.gz"), ("S", "a*b*c")]
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
        match Lexer::new('\\').expand(text, vars.as_slice()) {
            Ok(e) => e.text,
            Err(e) => format!("error: {e}"),
        }
    }

    #[test]
    fn quotes_and_escapes_vanish() {
        assert_eq!(expand(r#"a'b$A'"c$A\"\x" \$A \"#), "ab$Aca\"\\x $A ");
    }

    #[test]
    fn modifiers_work_as_in_a_shell() {
        assert_eq!(expand("${A:-x}${EMPTY:-x}${EMPTY-x}${N:-x}${N+y}${A:+y}"), "axxy");
        assert_eq!(expand("${T%.*} ${T%%.*} ${T#*.} ${T##*.}"), "foo.tar foo tar.gz gz");
        assert_eq!(
            expand("${PATHISH/l/L} ${PATHISH//[lb]/X} ${PATHISH//l/L}"),
            "usr/Local/bin usr/local/bin usr/LocaL/bin"
        );
        assert_eq!(expand(r"${S#a\*} ${S%\*c}"), "b*c a*b");
        assert_eq!(expand("${N:-${M:-$A}}"), "a");
    }

    #[test]
    fn what_cannot_be_expanded_says_why() {
        assert_eq!(expand("'a"), "error: `'` is opened and never closed");
        assert_eq!(expand("${}"), "error: `${` must be followed by a variable name");
        assert_eq!(expand("${A^}"), "error: `^` is no modifier that BuildKit knows in a substitution");
        assert_eq!(expand("${N:?needed}"), "error: N: needed");
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let text = "${A+".repeat(100_000);
        assert_eq!(expand(&text), "error: substitutions are nested too deeply");
    }

    #[test]
    fn words_split_outside_of_quotes() {
        let lexer = Lexer { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Lexer::new('\\') };
        assert_eq!(
            lexer.words(r#"cat << EOF "a b" $X\ y"#, &NoVariables).unwrap(),
            ["cat", "<< EOF", "\"a b\"", "$X\\ y"]
        );
    }
}
