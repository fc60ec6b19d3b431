//! The language of docker-bake.hcl, as blocks and expressions with places. The only module that knows the HCL library,
//! which refuses deep nesting by itself.

use super::call::Value;
use super::yaml::{Kind, Node};
use crate::source::Span;
use hcl_edit::expr::{BinaryOperator, Expression, ObjectKey, TraversalOperator, UnaryOperator};
use hcl_edit::structure::{Body, Structure};
use hcl_edit::template::{Element, Template};
use std::sync::Arc;

/// `kind "label" { name = value }`.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub kind: String,
    pub labels: Vec<String>,
    pub span: Span,
    /// Kind and labels.
    pub head: Span,
    pub attributes: Vec<Attribute>,
}

/// `name = value`.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub name: String,
    pub value: Expr,
}

/// An expression that was not evaluated.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Hcl(Box<Expression>),
    /// From a JSON file, whose texts are templates.
    Json(Arc<Node>),
}

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Val {
    pub kind: ValKind,
    pub span: Span,
}

/// See [`Val`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ValKind {
    Null,
    Text(Value),
    List(Vec<Val>),
    Map(Vec<(String, Val)>),
}

impl Val {
    fn unknown(written: &str, span: Span) -> Self {
        Self { kind: ValKind::Text(Value::Unknown(format!("${{{written}}}"))), span }
    }

    pub(super) fn known(&self) -> Option<&str> {
        match &self.kind {
            ValKind::Text(Value::Known(text)) => Some(text),
            _ => None,
        }
    }
}

/// Top-level blocks and attributes.
pub(super) fn parse(bytes: &[u8]) -> Result<(Vec<Block>, Vec<Attribute>), (Span, String)> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").map_or(bytes, |_| bytes);
    let text = std::str::from_utf8(bytes)
        .map_err(|e| (Span::new(e.valid_up_to(), e.valid_up_to() + 1), "this is not UTF-8".to_owned()))?;
    let body = hcl_edit::parser::parse_body(text).map_err(|e| {
        let at = e.location().offset().min(text.len());
        (Span::new(at, (at + 1).min(text.len())), e.message().to_owned())
    })?;
    Ok(read_body(&body))
}

fn span_of(item: &impl hcl_edit::Span) -> Span {
    item.span().map_or(Span::default(), |r| Span::new(r.start, r.end))
}

fn read_body(body: &Body) -> (Vec<Block>, Vec<Attribute>) {
    let mut blocks = Vec::new();
    let mut attributes = Vec::new();
    for structure in body {
        match structure {
            Structure::Attribute(a) => attributes.push(Attribute {
                name: a.key.as_str().to_owned(),
                value: Expr::Hcl(Box::new(a.value.clone())),
            }),
            Structure::Block(b) => {
                let labels: Vec<String> = b.labels.iter().map(|l| l.as_str().to_owned()).collect();
                let kind_span = span_of(&b.ident);
                let head = b.labels.last().map_or(kind_span, |l| kind_span.to(span_of(l)));
                let (_, inner) = read_body(&b.body);
                blocks.push(Block {
                    kind: b.ident.as_str().to_owned(),
                    labels,
                    span: span_of(b),
                    head,
                    attributes: inner,
                });
            }
        }
    }
    (blocks, attributes)
}

/// Evaluates an expression; `variable` answers for names, dotted ones included.
pub(super) fn evaluate(expr: &Expr, variable: &dyn Fn(&str) -> Option<Val>) -> Val {
    match expr {
        Expr::Hcl(expression) => value(expression, variable),
        Expr::Json(node) => json(node, variable),
    }
}

fn json(node: &Node, variable: &dyn Fn(&str) -> Option<Val>) -> Val {
    let kind = match &node.kind {
        Kind::List(list) => ValKind::List(list.iter().map(|n| json(n, variable)).collect()),
        Kind::Map(_) => ValKind::Map(
            node.entries().into_iter().map(|(k, _, v)| (k.to_owned(), json(v, variable))).collect(),
        ),
        Kind::Scalar { .. } => match node.text() {
            None => ValKind::Null,
            Some(text) if text.contains("${") => match hcl_edit::parser::parse_template(text) {
                Ok(template) => ValKind::Text(fill(&template, variable)),
                Err(_) => ValKind::Text(Value::Unknown(text.to_owned())),
            },
            Some(text) => ValKind::Text(Value::Known(text.to_owned())),
        },
    };
    Val { kind, span: node.span }
}

fn value(expression: &Expression, variable: &dyn Fn(&str) -> Option<Val>) -> Val {
    let span = span_of(expression);
    let text = |text: String| Val { kind: ValKind::Text(Value::Known(text)), span };
    let unknown = || Val::unknown(expression.to_string().trim(), span);
    match expression {
        Expression::Null(_) => Val { kind: ValKind::Null, span },
        Expression::Bool(b) => text(b.value().to_string()),
        Expression::Number(n) => text(n.value().to_string()),
        Expression::String(s) => text(s.value().clone()),
        Expression::Array(array) => {
            Val { kind: ValKind::List(array.iter().map(|e| value(e, variable)).collect()), span }
        }
        Expression::Object(object) => {
            let mut map = Vec::new();
            for (key, held) in object {
                let key = match key {
                    ObjectKey::Ident(ident) => ident.as_str().to_owned(),
                    ObjectKey::Expression(e) => match value(e, variable).known() {
                        Some(known) => known.to_owned(),
                        None => continue,
                    },
                };
                map.push((key, value(held.expr(), variable)));
            }
            Val { kind: ValKind::Map(map), span }
        }
        Expression::StringTemplate(t) => {
            let elements: Vec<&Element> = t.iter().collect();
            Val { kind: ValKind::Text(elements_text(&elements, variable)), span }
        }
        Expression::HeredocTemplate(t) => Val { kind: ValKind::Text(fill(&t.template, variable)), span },
        Expression::Parenthesis(p) => Val { span, ..value(p.inner(), variable) },
        Expression::Variable(name) => match variable(name.as_str()) {
            Some(found) => Val { span, ..found },
            None => unknown(),
        },
        Expression::Conditional(c) => match truth(&value(&c.cond_expr, variable)) {
            Some(true) => Val { span, ..value(&c.true_expr, variable) },
            Some(false) => Val { span, ..value(&c.false_expr, variable) },
            None => unknown(),
        },
        Expression::Traversal(t) => {
            let Expression::Variable(root) = &t.expr else { return unknown() };
            let mut path = root.as_str().to_owned();
            let mut found = variable(&path);
            for operator in &t.operators {
                let key = match operator.value() {
                    TraversalOperator::GetAttr(ident) => ident.as_str().to_owned(),
                    TraversalOperator::Index(e) => match value(e, variable).known() {
                        Some(known) => known.to_owned(),
                        None => return unknown(),
                    },
                    _ => return unknown(),
                };
                path = format!("{path}.{key}");
                found = match found.map(|f| f.kind) {
                    Some(ValKind::Map(map)) => map.into_iter().find(|(k, _)| *k == key).map(|(_, v)| v),
                    Some(ValKind::List(list)) => {
                        key.parse::<usize>().ok().and_then(|n| list.into_iter().nth(n))
                    }
                    _ => variable(&path),
                };
            }
            match found {
                Some(found) => Val { span, ..found },
                None => unknown(),
            }
        }
        Expression::UnaryOp(op) => match (op.operator.value(), truth(&value(&op.expr, variable))) {
            (UnaryOperator::Not, Some(b)) => text((!b).to_string()),
            _ => unknown(),
        },
        Expression::BinaryOp(op) => {
            let (left, right) = (value(&op.lhs_expr, variable), value(&op.rhs_expr, variable));
            let both = as_text(&left).zip(as_text(&right));
            match (op.operator.value(), both) {
                (BinaryOperator::Eq, Some((l, r))) => text((l == r).to_string()),
                (BinaryOperator::NotEq, Some((l, r))) => text((l != r).to_string()),
                (BinaryOperator::And, _) => match (truth(&left), truth(&right)) {
                    (Some(l), Some(r)) => text((l && r).to_string()),
                    _ => unknown(),
                },
                (BinaryOperator::Or, _) => match (truth(&left), truth(&right)) {
                    (Some(l), Some(r)) => text((l || r).to_string()),
                    _ => unknown(),
                },
                _ => unknown(),
            }
        }
        // Functions may look at the clock or at the machine.
        Expression::FuncCall(_) | Expression::ForExpr(_) => unknown(),
    }
}

fn as_text(val: &Val) -> Option<String> {
    match &val.kind {
        ValKind::Text(Value::Known(text)) => Some(text.clone()),
        ValKind::Null => Some(String::new()),
        _ => None,
    }
}

fn truth(val: &Val) -> Option<bool> {
    match val.known()? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn fill(template: &Template, variable: &dyn Fn(&str) -> Option<Val>) -> Value {
    let elements: Vec<&Element> = template.iter().collect();
    elements_text(&elements, variable)
}

fn elements_text(elements: &[&Element], variable: &dyn Fn(&str) -> Option<Val>) -> Value {
    let mut out = String::new();
    let mut known = true;
    for element in elements {
        match element {
            Element::Literal(text) => out.push_str(text.value()),
            Element::Interpolation(i) => match value(&i.expr, variable).kind {
                ValKind::Text(Value::Known(text)) => out.push_str(&text),
                ValKind::Null => {}
                ValKind::Text(Value::Unknown(text)) => {
                    known = false;
                    out.push_str(&text);
                }
                _ => {
                    known = false;
                    out.push_str(&format!("${{{}}}", i.expr.to_string().trim()));
                }
            },
            Element::Directive(_) => {
                known = false;
                out.push_str("${…}");
            }
        }
    }
    if known { Value::Known(out) } else { Value::Unknown(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Val {
        let (_, attributes) = parse(text.as_bytes()).expect("HCL");
        let variable = |name: &str| {
            (name == "TAG")
                .then(|| Val { kind: ValKind::Text(Value::Known("1".into())), span: Span::default() })
        };
        evaluate(&attributes[0].value, &variable)
    }

    #[test]
    fn what_the_file_decides_is_known_and_functions_are_not() {
        for (text, expected) in [
            ("a = \"x:${TAG}\"", Some("x:1")),
            ("a = TAG == \"1\" ? \"b\" : \"c\"", Some("b")),
            ("a = notequal(TAG, \"\") ? \"b\" : \"c\"", None),
            ("a = \"x:${OTHER}\"", None),
            ("a = equal", None),
        ] {
            assert_eq!(read(text).known(), expected, "{text}");
        }
    }

    #[test]
    fn places_are_those_of_the_file() {
        let text = "# ü\ntarget \"app\" {\n  cache-to = [\"type=gha\"]\n}\n";
        let (blocks, _) = parse(text.as_bytes()).expect("HCL");
        assert_eq!(text.get(blocks[0].head.range()), Some("target \"app\""));
        let nothing = |_: &str| None;
        let ValKind::List(list) = evaluate(&blocks[0].attributes[0].value, &nothing).kind else {
            panic!("a list")
        };
        assert_eq!(text.get(list[0].span.range()), Some("\"type=gha\""));
    }

    #[test]
    fn hostile_text_is_an_error() {
        assert!(parse("a = ".repeat(2).as_bytes()).is_err());
        assert!(parse(format!("a = {}", "[".repeat(100_000)).as_bytes()).is_err());
        assert!(parse(b"\xff").is_err());
    }
}
