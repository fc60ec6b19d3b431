//! Options of a build above the installation of system packages, which does not need them.

use super::early::{self, Text, Watch};
use super::ecosystem::BUSTER_WORDS;
use super::order::{self, Kind};
use super::volatile_arg_early::has_volatile_name;
use super::{Cx, Finding, Rule};
use crate::build::model::{Arg, ArgOrigin};
use crate::stage::AUTOMATIC_ARGS;

/// See `rules/arg-too-early.md`.
pub(super) const RULE: Rule =
    Rule { name: "arg-too-early", page: include_str!("../../rules/arg-too-early.md"), check };

/// Beginnings and ends of names that package managers or what they run may read, or that say where packages come from.
const READ_BY_INSTALLERS: &[&str] = &[
    "APT",
    "APK",
    "DEBIAN",
    "DEBCONF",
    "DPKG",
    "YUM",
    "DNF",
    "ZYPP",
    "PACMAN",
    "PROXY",
    "MIRROR",
    "REPO",
    "REPOSITORY",
    "EULA",
    "LANG",
    "LC",
    "TZ",
    "TERM",
    "PATH",
    "HOME",
    "DISTRO",
    "SNAPSHOT",
    "NONINTERACTIVE",
    "FRONTEND",
    "USER",
    "UID",
    "GID",
    "TOKEN",
    "PASSWORD",
    "SECRET",
    "KEY",
];

fn check(cx: &Cx<'_>, findings: &mut Vec<Finding>) {
    let watch = Watch {
        wanted: &|_, arg| is_option(arg),
        slow: &|step, _| order::installs(step).iter().any(|l| l.kind == Kind::System),
        like: &|_| false,
    };
    let what = Text {
        effect: "each other value installs the same packages again, and what stands below",
        label: "in the key of every RUN below",
    };
    findings.extend(early::groups(cx, &watch).iter().filter_map(|g| early::finding(&RULE, cx, g, &what)));
}

/// Whether an argument is there to be given: it has no default, or one that switches something on or off.
fn is_option(arg: &Arg) -> bool {
    let open = match (arg.origin, arg.value.as_deref()) {
        (ArgOrigin::Unset | ArgOrigin::Given, _) => true,
        (ArgOrigin::Global, _) => false,
        (ArgOrigin::Default, value) => {
            let value = value.unwrap_or_default().trim().trim_matches(['"', '\'']).to_ascii_lowercase();
            matches!(value.as_str(), "" | "true" | "false" | "yes" | "no" | "on" | "off" | "0" | "1")
        }
    };
    let upper = arg.name.to_ascii_uppercase();
    let mut words = upper.split(['_', '-', '.']);
    open && !AUTOMATIC_ARGS.contains(&arg.name.as_str())
        && !has_volatile_name(&arg.name)
        && !upper.contains("PROXY")
        && !words.any(|w| READ_BY_INSTALLERS.contains(&w) || BUSTER_WORDS.contains(&w))
}
