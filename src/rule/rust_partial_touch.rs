use super::{Cx, Finding, Rule, rust};

/// See `rules/rust-partial-touch.md`.
pub(super) const RULE: Rule =
    Rule { name: "rust-partial-touch", page: include_str!("../../rules/rust-partial-touch.md"), check };

fn check(cx: &Cx<'_>, out: &mut Vec<Finding>) {
    for found in cx.cargo().stale.iter().filter(|s| !s.cured.is_empty()) {
        let build = &found.build;
        let rescued = match found.rescued.as_slice() {
            [] => String::new(),
            some => format!(
                " ({} {} compiled again as well, by what {} on)",
                rust::roots(some),
                plural(some.len()),
                if some.len() == 1 { "it depends" } else { "they depend" }
            ),
        };
        let mut message = format!(
            "a cold build ships the placeholder of {}: cargo compiles {} again{rescued}, but {} neither touched nor \
             cleaned, and {} on nothing that is",
            rust::titles(&found.stale),
            rust::roots(&found.cured),
            match found.stale.as_slice() {
                [_] => format!("{} is", rust::roots(&found.stale)),
                _ => format!("{} are", rust::roots(&found.stale)),
            },
            if found.stale.len() == 1 { "depends" } else { "depend" },
        );
        if let Some(lib) = rust::loud(found) {
            message.push_str(&format!(
                "; a binary that uses `{}` fails with error[E0425], as the empty library stays",
                lib.shown
            ));
        }
        let finding = Finding::at(&RULE, cx, build.span, message)
            .label("compiles only a part of the crates")
            .help(rust::help(build, &found.stale));
        out.push(rust::with_facts(finding, found));
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}
