//! JSON as Go's `encoding/json` writes it: no blanks, fields in the order of the struct, zero values left out, `<`,
//! `>` and `&` escaped. The bytes are hashed, so every one counts.

use std::fmt::Write as _;

/// An object under construction.
pub(super) struct Object {
    out: String,
}

impl Object {
    pub(super) fn new() -> Self {
        Self { out: "{".to_owned() }
    }

    /// A field whose value is JSON already; it is always written.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        let _ = write!(self.out, "\"{name}\":{json}");
        self
    }

    /// A text, always written.
    pub(super) fn text_always(self, name: &str, value: &str) -> Self {
        let json = text(value);
        self.raw(name, &json)
    }

    /// A text, left out when empty.
    pub(super) fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.text_always(name, value) }
    }

    /// A number, always written.
    pub(super) fn number_always(self, name: &str, value: i64) -> Self {
        self.raw(name, &value.to_string())
    }

    /// A number, left out when 0.
    pub(super) fn number(self, name: &str, value: i64) -> Self {
        if value == 0 { self } else { self.number_always(name, value) }
    }

    /// A flag, left out when false.
    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        if value { self.raw(name, "true") } else { self }
    }

    /// A list of JSON values, left out when empty.
    pub(super) fn list(self, name: &str, values: &[String]) -> Self {
        if values.is_empty() { self } else { self.raw(name, &list(values)) }
    }

    /// A list of texts, left out when empty.
    pub(super) fn texts(self, name: &str, values: &[String]) -> Self {
        let values: Vec<String> = values.iter().map(|v| text(v)).collect();
        self.list(name, &values)
    }

    /// A value that may be absent.
    pub(super) fn maybe(self, name: &str, json: Option<String>) -> Self {
        match json {
            Some(json) => self.raw(name, &json),
            None => self,
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// A list of JSON values.
pub(super) fn list(values: &[String]) -> String {
    format!("[{}]", values.join(","))
}

/// A text with Go's escapes.
pub(super) fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_go_does() {
        assert_eq!(
            text("a<b>&\"\\\n\u{1}\u{8}\u{2028}é/\u{7f}"),
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u0001\\b\\u2028é/\u{7f}\""
        );
    }

    #[test]
    fn zero_values_are_left_out() {
        let o =
            Object::new().text("a", "").number("b", 0).flag("c", false).number_always("d", 0).list("e", &[]);
        assert_eq!(o.finish(), "{\"d\":0}");
    }
}
