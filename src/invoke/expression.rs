//! Expressions of GitHub workflows, `${{ … }}`: only what the file itself decides is worth anything here, so references
//! to the matrix, to inputs and to variables, literals, and `||` between them. All else stays unknown, as written.

use super::call::Value;

/// What the names in expressions stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// `matrix.image` and its value, `env.NAME`, `inputs.NAME`; the last one of a name counts.
    pub values: Vec<(String, Value)>,
}

impl Names {
    pub(super) fn set(&mut self, name: impl Into<String>, value: Value) {
        self.values.push((name.into(), value));
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// A text with its expressions replaced as far as they are known.
    pub(super) fn fill(&self, text: &str) -> Value {
        let mut known = true;
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${{") {
            out.push_str(rest.get(..at).unwrap_or_default());
            let tail = rest.get(at..).unwrap_or_default();
            let end = tail.find("}}").map_or(tail.len(), |n| n + 2);
            match self.evaluate(tail.get(..end).unwrap_or(tail)) {
                Value::Known(value) => out.push_str(&value),
                Value::Unknown(value) => {
                    known = false;
                    out.push_str(&value);
                }
            }
            rest = tail.get(end..).unwrap_or_default();
        }
        out.push_str(rest);
        if known { Value::Known(out) } else { Value::Unknown(out) }
    }

    /// The value of one expression, `${{` and `}}` included.
    pub(super) fn evaluate(&self, written: &str) -> Value {
        let inner = written.trim_start_matches("${{").trim_end_matches("}}").trim();
        let unknown = || Value::Unknown(format!("${{{{ {inner} }}}}"));
        for part in inner.split("||") {
            match self.operand(part.trim()) {
                // What is empty, false or 0 lets the next one decide.
                Some(Value::Known(text))
                    if matches!(text.as_str(), "" | "false" | "0") && inner.contains("||") => {}
                Some(value @ Value::Known(_)) => return value,
                Some(value) if !inner.contains("||") => return value,
                _ => return unknown(),
            }
        }
        match inner.rsplit("||").next().and_then(|last| self.operand(last.trim())) {
            Some(value) => value,
            None => unknown(),
        }
    }

    fn operand(&self, text: &str) -> Option<Value> {
        if let Some(literal) = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')) {
            return (!literal.contains('\'')).then(|| Value::Known(literal.to_owned()));
        }
        if matches!(text, "github.workspace" | "runner.workspace") {
            return Some(Value::Known(".".to_owned()));
        }
        if matches!(text, "true" | "false") {
            return Some(Value::Known(text.to_owned()));
        }
        let name = text.replace("['", ".").replace("']", "").replace("github.event.inputs.", "inputs.");
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !plain {
            return None;
        }
        self.get(&name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_file_decides_is_known() {
        let mut names = Names::default();
        names.set("matrix.image", Value::Known("api".into()));
        names.set("inputs.file", Value::Known(String::new()));
        let fill = |text: &str| match names.fill(text) {
            Value::Known(text) => text,
            Value::Unknown(text) => format!("?{text}"),
        };
        assert_eq!(fill("./${{ matrix.image }}/${{matrix['image']}}"), "./api/api");
        assert_eq!(fill("${{ inputs.file || 'Dockerfile' }}"), "Dockerfile");
        assert_eq!(fill("${{ inputs.other || 'Dockerfile' }}"), "?${{ inputs.other || 'Dockerfile' }}");
        assert_eq!(fill("a-${{github.sha}}"), "?a-${{ github.sha }}");
        assert_eq!(fill("${{ github.workspace }}/x"), "./x");
        assert_eq!(fill("${{ unclosed"), "?${{ unclosed }}");
    }
}
