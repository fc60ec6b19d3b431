//! The JSON schema of the configuration: made of its types, committed, compared.

use super::file::File;
use crate::rule::{ALL, OPTIONS, Page};
use serde_json::{Value, json};

/// The schema, with the names of the rules and the options that each of them has.
fn schema() -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(File)).unwrap();
    schema["title"] = json!("layerlint.toml");
    let names: Vec<&str> = ALL.iter().map(|rule| rule.name).collect();
    schema["$defs"]["Rule"] = json!({ "description": "The name of a rule.", "enum": names });
    let rule = json!({ "$ref": "#/$defs/Rule" });
    let properties = &mut schema["properties"];
    properties["select"]["items"] = rule.clone();
    properties["ignore"]["items"] = rule.clone();
    properties["per-file-ignores"]["additionalProperties"]["items"] = rule;
    let table = schema["$defs"]["Table"].clone();
    schema["$defs"].as_object_mut().unwrap().remove("Table");
    let entries = ALL.iter().map(|rule| {
        let mut table = table.clone();
        let own = |name: &str| OPTIONS.iter().find(|o| o.rule == rule.name && o.name.name() == name);
        table.as_object_mut().unwrap().remove("description");
        table["properties"].as_object_mut().unwrap().retain(|name, value| {
            if let Some(option) = own(name) {
                value["description"] = json!(format!(
                    "{}: {}.",
                    value["description"].as_str().unwrap().trim_end_matches('.'),
                    option.about
                ));
            }
            name == "severity" || own(name).is_some()
        });
        let summary = Page::parse(rule.page).summary();
        let entry = json!({ "description": summary, "anyOf": [{ "$ref": "#/$defs/Level" }, table] });
        (rule.name.to_owned(), entry)
    });
    let entries: serde_json::Map<String, Value> = entries.collect();
    let rules = schema["properties"]["rules"].as_object_mut().unwrap();
    rules.insert("properties".to_owned(), Value::Object(entries));
    rules.insert("additionalProperties".to_owned(), json!(false));
    schema
}

/// `UPDATE_SCHEMA=1 cargo test --lib config::schema` rewrites it.
#[test]
fn the_committed_schema_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/layerlint.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if ["UPDATE_SCHEMA", "UPDATE_RULES"].iter().any(|name| std::env::var_os(name).is_some()) {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "layerlint.schema.json is not that of the types (UPDATE_SCHEMA=1 rewrites it)"
    );
}

/// Whether a configuration fits the schema.
fn fits(config: &str) -> bool {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("layerlint.schema.json", schema()).unwrap();
    let index = compiler.compile("layerlint.schema.json", &mut schemas).unwrap();
    let table: toml::Table = toml::from_str(config).unwrap();
    schemas.validate(&serde_json::to_value(table).unwrap(), index).is_ok()
}

#[test]
fn the_schema_takes_what_the_types_take() {
    for (config, good) in [
        ("", true),
        (
            "select = ['stamp-frozen']\nfail-on = 'never'\nmin-severity = 'info'\nexclude = ['a']\nrequire-reasons = true",
            true,
        ),
        (
            "[rules]\nstamp-frozen = 'off'\n[rules.mutable-base-tag]\nseverity = 'error'\nallow = ['a/*']",
            true,
        ),
        ("[[build]]\ndockerfile = 'a'\nargs = { A = 1 }\n[images]\n'a:1' = 'a.tar'", true),
        ("[per-file-ignores]\n'a/**' = ['stamp-frozen']", true),
        ("[per-file-ignores]\n'a/**' = ['stamp']", false),
        ("select = ['stamp']", false),
        ("fial-on = 'never'", false),
        ("min-severity = 'never'", false),
        ("[rules]\nstamp = 'off'", false),
        ("[rules.stamp-frozen]\nallow = ['x']", false),
        ("[[build]]\ncontext = '.'", false),
    ] {
        assert_eq!(fits(config), good, "{config}");
        assert_eq!(
            toml::from_str::<File>(config).is_ok() || config.contains("stamp"),
            good || config.contains("stamp"),
            "{config}"
        );
    }
}
