//! Every example of every page in `rules/` is one test, run with the real binary: a bad one yields its own rule and no
//! other, a good one nothing. And the list of rules and the folder agree.

use layerlint::rule::{ALL, Example, ExampleKind, Page};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::Command;

fn main() {
    let mut trials = vec![
        Trial::test("list_and_folder_agree", list_and_folder_agree),
        Trial::test("names_are_as_reviewed", names_are_as_reviewed),
    ];
    for rule in ALL {
        trials.push(Trial::test(format!("{}::page", rule.name), move || {
            let page = Page::parse(rule.page);
            let mut faults = page.faults();
            if page.name != rule.name {
                faults.push(format!("the page is that of `{}`", page.name));
            }
            if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
        }));
        let page = Page::parse(rule.page);
        for (n, example) in page.examples.iter().enumerate() {
            let name = format!("{}::{}_{}", rule.name, example.kind.name(), n + 1);
            let example = example.clone();
            trials.push(Trial::test(name, move || behaves(rule.name, &example)));
        }
        trials.push(Trial::test(format!("{}::fixes", rule.name), move || fixes(rule)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn behaves(rule: &str, example: &Example) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    for (path, content) in &example.files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(path, content)?;
    }
    // Some rules are about the configuration; the others do without.
    let configured = example.files.iter().any(|(path, _)| path == "layerlint.toml");
    let config: &[&str] = if configured { &["--config", "layerlint.toml"] } else { &["--no-config"] };
    let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .args(["check", "--format", "json", "--min-severity", "info", "."])
        .args(config)
        .current_dir(dir.path())
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("no JSON ({e}): {}", String::from_utf8_lossy(&output.stderr)))?;
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let errors = list("errors");
    let found: Vec<String> =
        list("findings").iter().map(|f| f["rule"].as_str().unwrap_or("?").to_owned()).collect();
    let right = match example.kind {
        ExampleKind::Bad => !found.is_empty() && found.iter().all(|name| name == rule),
        ExampleKind::Good | ExampleKind::Fixed => found.is_empty(),
    };
    if right && errors.is_empty() && report["summary"]["files"] != 0 {
        return Ok(());
    }
    let wanted = match example.kind {
        ExampleKind::Bad => format!("findings of `{rule}` alone"),
        ExampleKind::Good | ExampleKind::Fixed => "no findings".to_owned(),
    };
    let details = serde_json::to_string_pretty(&report)?;
    Err(format!("rules/{rule}.md:{}: {wanted} wanted, got {found:?}\n{details}", example.line).into())
}

/// What `check` says of a folder, as names of rules, with these arguments.
fn check(dir: &Path, args: &[&str]) -> Result<Vec<String>, Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_layerlint"))
        .args(["check", "--format", "json", "--no-config"])
        .args(args)
        .current_dir(dir)
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("no JSON ({e}): {}", String::from_utf8_lossy(&output.stderr)))?;
    if report["errors"].as_array().is_none_or(|errors| !errors.is_empty()) {
        return Err(format!("{}", report["errors"]).into());
    }
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    Ok(findings.iter().map(|f| f["rule"].as_str().unwrap_or("?").to_owned()).collect())
}

fn laid_out(example: &Example) -> Result<tempfile::TempDir, Failed> {
    let dir = tempfile::tempdir()?;
    for (path, content) in &example.files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(path, content)?;
    }
    Ok(dir)
}

/// The fixes of a rule do what its page says: a fixed example is what becomes of the bad one before it, a fix leaves
/// less to find and nothing new, the same once as twice, and a rule without fixes has none.
fn fixes(rule: &'static layerlint::rule::Rule) -> Result<(), Failed> {
    let page = Page::parse(rule.page);
    let allowed: &[&str] = match page.fix {
        "safe" => &["--fix"],
        _ => &["--fix", "--unsafe-fixes"],
    };
    let mut fixed = 0;
    let mut shown = 0;
    for (n, example) in page.examples.iter().enumerate() {
        let wanted = page.examples.get(n + 1).filter(|next| next.kind == ExampleKind::Fixed);
        if example.kind != ExampleKind::Bad {
            continue;
        }
        let dir = laid_out(example)?;
        let before = check(dir.path(), &[])?;
        let after = check(dir.path(), allowed)?;
        let place = format!("rules/{}.md:{}", rule.name, example.line);
        if after != check(dir.path(), &[])? {
            return Err(format!("{place}: what is reported after --fix is not what is left").into());
        }
        if after.len() < before.len() {
            fixed += 1;
            if after.iter().any(|name| !before.contains(name)) {
                return Err(format!("{place}: after --fix there is {after:?}").into());
            }
        }
        if let Some(wanted) = wanted {
            shown += 1;
            for (path, content) in &wanted.files {
                let now = std::fs::read_to_string(dir.path().join(path)).unwrap_or_default();
                if now != *content {
                    return Err(format!("{place}: {path} is after --fix\n{now}").into());
                }
            }
        }
    }
    match (page.fix, fixed, shown) {
        ("none", 0, 0) => Ok(()),
        ("none", ..) => Err("the page says that there is no fix, and there is one".into()),
        (_, 0, _) | (.., 0) => Err("the page promises a fix, and no example shows one".into()),
        _ => Ok(()),
    }
}

fn list_and_folder_agree() -> Result<(), Failed> {
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/rules"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        pages.push(name.strip_suffix(".md").map(str::to_owned).ok_or(format!("{name} is no page"))?);
    }
    pages.sort();
    let names: Vec<&str> = ALL.iter().map(|rule| rule.name).collect();
    if names == pages { Ok(()) } else { Err(format!("listed {names:?}\npages  {pages:?}").into()) }
}

/// A name is a promise to everybody who wrote it into a comment: renaming one must be seen in review.
fn names_are_as_reviewed() -> Result<(), Failed> {
    let list: Vec<String> =
        ALL.iter().map(|rule| format!("{} {}", rule.name, rule.severity().name())).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules.txt");
    let text = format!("{}\n", list.join("\n"));
    if std::env::var_os("UPDATE_RULES").is_some() {
        std::fs::write(path, &text)?;
    }
    let reviewed = std::fs::read_to_string(path)?;
    if reviewed == text {
        return Ok(());
    }
    Err(format!("tests/rules.txt differs from the list (UPDATE_RULES=1 rewrites it):\n{text}").into())
}
