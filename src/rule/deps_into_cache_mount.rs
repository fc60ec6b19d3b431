//! Dependencies that are compiled ahead into a cache mount: the layer that should keep them is empty.

use super::{Cx, Finding, Rule, words};

/// See `rules/deps-into-cache-mount.md`.
pub(super) const RULE: Rule =
    Rule { name: "deps-into-cache-mount", page: include_str!("../../rules/deps-into-cache-mount.md"), check };

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let mut told = Vec::new();
    for prepared in &cx.cargo().prepared {
        let Some((mount, path)) = &prepared.mount else { continue };
        if told.contains(&prepared.build.instruction) {
            continue;
        }
        told.push(prepared.build.instruction);
        let command = words::shortened(&words::joined(&cx.file.text(prepared.build.span)), 60);
        let message = format!(
            "`{command}` leaves the compiled dependencies in the cache mount on `{path}`, and its layer empty: where the step \
             is CACHED without the mount's content (an imported cache, another builder, after a clean-up), the build of the \
             source compiles all of them again"
        );
        let mut finding = Finding::at(&RULE, cx, prepared.build.span, message)
            .label("writes into the mount")
            .also(*mount, "is in no layer and in no exported cache")
            .help(format!(
                "drop the mount on `{path}` here and in the build of the source, and keep those of the registry; or keep the \
                 mount, and drop this step, which then saves nothing"
            ))
            .evidence("mount", path);
        if let Some(last) = prepared.finals.first() {
            finding = finding.also(last.build.span, "needs what is in the mount");
        }
        findings.push(finding);
    }
}
