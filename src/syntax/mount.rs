//! The fields of `RUN --mount=…`: one line of CSV, its keys and values.
//!
//! BuildKit splits the value with `tonistiigi/go-csvvalue` (commas, fields in double quotes, `""` for a quote) and
//! looks at values only after expansion (`instructions/commands_runmount.go`); so does this.

use super::{LogicalText, Mount, MountField};

/// A field of a CSV line with the range of its characters, quotes included.
pub(super) struct CsvField {
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Why a CSV line cannot be read; the number is the character that is wrong.
#[derive(Debug, PartialEq)]
pub(super) enum CsvError {
    /// There is nothing.
    Empty,
    /// A `"` in a field that does not begin with one.
    BareQuote(usize),
    /// A `"` that is not closed, or text behind the closing one.
    Quote(usize),
}

/// Splits one line of CSV. Places count characters.
pub(super) fn csv(line: &[char]) -> Result<Vec<CsvField>, CsvError> {
    if line.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let start = at;
        let mut text = String::new();
        if line.get(at) == Some(&'"') {
            at += 1;
            loop {
                match (line.get(at), line.get(at + 1)) {
                    (None, _) => return Err(CsvError::Quote(start)),
                    (Some('"'), Some('"')) => {
                        text.push('"');
                        at += 2;
                    }
                    (Some('"'), None | Some(',')) => {
                        at += 1;
                        break;
                    }
                    (Some('"'), Some(_)) => return Err(CsvError::Quote(at)),
                    (Some(c), _) => {
                        text.push(*c);
                        at += 1;
                    }
                }
            }
        } else {
            while let Some(c) = line.get(at).filter(|c| **c != ',') {
                if *c == '"' {
                    return Err(CsvError::BareQuote(at));
                }
                text.push(*c);
                at += 1;
            }
        }
        fields.push(CsvField { text, start, end: at });
        if at >= line.len() {
            return Ok(fields);
        }
        // The comma.
        at += 1;
    }
}

/// The fields of a mount whose value consists of these characters, each standing at an offset of the joined text.
pub(super) fn parse(value: &[(char, usize)], text: &LogicalText) -> Result<Mount, CsvError> {
    let line: Vec<char> = value.iter().map(|(c, _)| *c).collect();
    let offset = |n: usize| value.get(n).map_or_else(|| value.last().map_or(0, |l| l.1 + 1), |v| v.1);
    let fields = csv(&line)?.into_iter().map(|field| {
        let (key, value) = match field.text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (field.text.as_str(), None),
        };
        let end = if field.end > field.start { offset(field.end - 1) + 1 } else { offset(field.start) };
        MountField { key: key.to_lowercase(), value, span: text.span(offset(field.start)..end) }
    });
    Ok(Mount { fields: fields.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Result<Vec<String>, CsvError> {
        Ok(csv(&line.chars().collect::<Vec<_>>())?.into_iter().map(|f| f.text).collect())
    }

    #[test]
    fn csv_fields_split_at_commas_outside_quotes() {
        assert_eq!(split("type=cache,target=/a"), Ok(vec!["type=cache".into(), "target=/a".into()]));
        assert_eq!(split(r#"a,"b,""c""",d"#), Ok(vec!["a".into(), r#"b,"c""#.into(), "d".into()]));
        assert_eq!(split("a,"), Ok(vec!["a".into(), String::new()]));
        assert_eq!(split(""), Err(CsvError::Empty));
        assert_eq!(split(r#"a="b""#), Err(CsvError::BareQuote(2)));
        assert_eq!(split(r#""a"b"#), Err(CsvError::Quote(2)));
        assert_eq!(split(r#"a,"b"#), Err(CsvError::Quote(2)));
    }
}
