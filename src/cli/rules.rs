//! `layerlint rules`: the list, or the page of one.

use super::{CliError, Console, Exit};
use crate::report::write_page;
use crate::rule::{ALL, Page, Rule};
use serde::Serialize;
use std::io::Write;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    layerlint rules                  the list\n  \
    layerlint rules unused-ignore    one rule, with examples")]
pub(super) struct Args {
    /// The name of a rule, to read its page
    #[arg(value_name = "RULE")]
    rule: Option<String>,
    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a person
    Human,
    /// For a program
    Json,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    rules: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    group: &'a str,
    severity: &'a str,
    since: &'a str,
    fix: &'a str,
    needs: Vec<&'a str>,
    summary: String,
    /// The whole page in Markdown, when one rule is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'a str>,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, CliError> {
    let rules = match &args.rule {
        Some(name) => vec![find(name)?],
        None => ALL.to_vec(),
    };
    if args.format == Format::Json {
        let entries = rules.iter().map(|rule| entry(rule, args.rule.is_some())).collect();
        let document = Document { schema: "layerlint.rules/1", rules: entries };
        serde_json::to_writer(&mut console.out, &document).map_err(std::io::Error::from)?;
        writeln!(console.out)?;
        return Ok(Exit::Clean);
    }
    if args.rule.is_some() {
        for rule in rules {
            write_page(&mut console.out, &Page::parse(rule.page))?;
        }
        return Ok(Exit::Clean);
    }
    let width = rules.iter().map(|rule| rule.name.len()).max().unwrap_or(0);
    for rule in rules {
        let summary = Page::parse(rule.page).summary();
        writeln!(console.out, "\x1b[1m{:width$}\x1b[0m  {:7}  {summary}", rule.name, rule.severity().name())?;
    }
    Ok(Exit::Clean)
}

fn entry(rule: &'static Rule, whole: bool) -> Entry<'static> {
    let page = Page::parse(rule.page);
    Entry {
        name: rule.name,
        group: page.group,
        severity: rule.severity().name(),
        since: page.since,
        fix: page.fix,
        summary: page.summary(),
        needs: page.needs,
        page: whole.then_some(rule.page),
    }
}

/// The rule of that name, or advice.
pub(super) fn find(name: &str) -> Result<&'static Rule, CliError> {
    Rule::named(name).ok_or_else(|| {
        let help = match Rule::nearest(name) {
            Some(nearest) => format!("the nearest name is `{nearest}`"),
            None => "`layerlint rules` lists the names".to_owned(),
        };
        CliError::failed_with_help(format!("there is no rule `{name}`"), help)
    })
}
