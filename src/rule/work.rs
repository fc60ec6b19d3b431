//! What sort of work a command does, as far as its name and verb tell.

use crate::syntax::shell::{ShellCommand, ShellWord};

/// A sort of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// It installs or downloads: slow, from outside, and deaf to variables that nobody names.
    Fetch,
    /// It arranges files, users and settings, or talks.
    Housekeeping,
    /// It may do and read anything: compilers, build tools, scripts.
    Other,
}

/// Programs that fetch, whatever their arguments.
const FETCHERS: &[&str] = &[
    "curl",
    "wget",
    "aria2c",
    "rustup-init",
    "nvm",
    "fnm",
    "sdk",
    "cpanm",
    "luarocks",
    "add-apt-repository",
    "apt-key",
    "debootstrap",
    "go-getter",
    "pipx",
    "volta",
    "corepack",
];

/// Programs that fetch with these verbs, and do housekeeping with the ones behind them.
const VERBS: &[(&[&str], &[&str], &[&str])] = &[
    (
        &["apt-get", "apt", "aptitude"],
        &["install", "update", "upgrade", "dist-upgrade", "full-upgrade", "build-dep", "reinstall"],
        &["clean", "autoclean", "autoremove", "remove", "purge", "list", "-v", "dist-clean", "--version"],
    ),
    (&["apk"], &["add", "update", "upgrade", "fetch", "fix"], &["del", "info", "cache", "--version", "list"]),
    (
        &["dnf", "yum", "microdnf", "tdnf", "zypper", "swupd", "urpmi"],
        &[
            "install",
            "in",
            "update",
            "up",
            "upgrade",
            "dup",
            "dist-upgrade",
            "groupinstall",
            "localinstall",
            "makecache",
            "refresh",
            "ref",
            "builddep",
            "module",
            "reinstall",
            "distro-sync",
            "check-update",
        ],
        &[
            "clean",
            "autoremove",
            "remove",
            "rm",
            "erase",
            "config-manager",
            "addrepo",
            "ar",
            "list",
            "repolist",
        ],
    ),
    (&["opkg"], &["install", "update", "upgrade"], &["remove", "list"]),
    (
        &["pip", "uv"],
        &["install", "download", "sync", "wheel", "pip", "python", "tool"],
        &["--version", "config", "cache", "list", "freeze", "uninstall", "show", "venv"],
    ),
    (
        &["poetry", "pipenv", "pdm"],
        &["install", "sync", "add", "update", "lock"],
        &["config", "--version", "cache", "self", "env"],
    ),
    (
        &["conda", "mamba", "micromamba"],
        &["install", "create", "env", "update"],
        &["clean", "config", "init", "list", "info"],
    ),
    (
        &["npm", "pnpm"],
        &["install", "i", "ci", "add", "fetch", "clean-install", "update"],
        &["config", "cache", "set", "--version", "-v", "store", "setup"],
    ),
    (&["yarn"], &["install", "add", "global", "fetch"], &["config", "cache", "set", "--version", "-v"]),
    (&["bun"], &["install", "i", "add"], &["--version", "-v"]),
    (&["gem"], &["install", "update", "fetch"], &["--version", "cleanup", "sources", "env"]),
    (&["bundle", "bundler"], &["install", "update"], &["config", "clean", "--version"]),
    (
        &["composer"],
        &["install", "require", "update", "global", "create-project"],
        &["--version", "config", "clear-cache", "self-update"],
    ),
    (&["go"], &["get", "mod", "install"], &["version", "env", "clean"]),
    (&["cargo"], &["install", "fetch", "chef", "binstall", "update", "vendor"], &["--version", "-V"]),
    (
        &["rustup"],
        &["install", "toolchain", "target", "component", "update", "default"],
        &["set", "show", "override", "which", "self", "--version", "run"],
    ),
    (&["dotnet"], &["restore", "tool", "workload"], &["--info", "--version"]),
    (&["git"], &["clone", "fetch", "pull", "submodule", "lfs"], &["config", "--version", "init"]),
    (&["docker-php-ext-install", "docker-php-ext-configure", "pecl"], &["install"], &[]),
    (&["helm", "kubectl", "krew"], &["plugin", "repo", "pull"], &["version"]),
    (&["mix"], &["local.hex", "local.rebar", "deps.get", "archive.install"], &[]),
    (
        &["mvn", "mvnw"],
        &[
            "dependency:go-offline",
            "dependency:resolve",
            "dependency:resolve-plugins",
            "de.qaware.maven:go-offline-maven-plugin:resolve-dependencies",
        ],
        &["--version", "-v"],
    ),
    (&["sbt"], &["update"], &[]),
    (&["lein"], &["deps"], &[]),
    (&["rebar"], &["get-deps"], &[]),
    (&["dart", "flutter"], &["get"], &["--version"]),
    (&["stack", "cabal"], &["--only-dependencies", "--dependencies-only", "update", "setup"], &["--version"]),
    (&["nuget"], &["restore", "install"], &[]),
    (&["opam"], &["install", "update", "init"], &["--version"]),
];

/// Programs that arrange files, users and settings, look at something, or talk.
const HOUSEKEEPERS: &[&str] = &[
    "",
    ":",
    "[",
    "[[",
    "adduser",
    "addgroup",
    "alias",
    "apt-mark",
    "apt-cache",
    "apt-config",
    "ar",
    "awk",
    "basename",
    "base64",
    "cat",
    "cd",
    "chgrp",
    "chmod",
    "chown",
    "chsh",
    "command",
    "cp",
    "cpio",
    "cut",
    "date",
    "deluser",
    "df",
    "diff",
    "dirname",
    "dpkg",
    "dpkg-query",
    "dpkg-divert",
    "dpkg-reconfigure",
    "du",
    "echo",
    "egrep",
    "env",
    "eval-string",
    "exit",
    "export",
    "expr",
    "false",
    "fc-cache",
    "file",
    "find",
    "gawk",
    "getent",
    "gpg",
    "gpgconf",
    "grep",
    "groupadd",
    "groupmod",
    "gunzip",
    "gzip",
    "bunzip2",
    "bzip2",
    "xz",
    "zstd",
    "hash",
    "head",
    "hostname",
    "id",
    "install",
    "jq",
    "kill",
    "ldconfig",
    "ldd",
    "ln",
    "local",
    "locale-gen",
    "localedef",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mktemp",
    "mv",
    "nproc",
    "passwd",
    "chpasswd",
    "printenv",
    "printf",
    "pwd",
    "read",
    "readlink",
    "realpath",
    "return",
    "rm",
    "rmdir",
    "rpm",
    "sed",
    "seq",
    "set",
    "setcap",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "shasum",
    "shift",
    "shopt",
    "sleep",
    "sort",
    "ssh-keyscan",
    "stat",
    "strip",
    "strings",
    "su",
    "sync",
    "tac",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "tr",
    "trap",
    "true",
    "type",
    "tzselect",
    "ulimit",
    "umask",
    "uname",
    "uniq",
    "unlink",
    "unset",
    "unzip",
    "update-alternatives",
    "update-ca-certificates",
    "update-ca-trust",
    "useradd",
    "userdel",
    "usermod",
    "wait",
    "wc",
    "which",
    "whoami",
    "xargs",
    "yes",
    "zcat",
    "7z",
    "unxz",
    "debconf-set-selections",
    "ssh-keygen",
    "systemctl",
    "a2enmod",
    "a2dismod",
    "a2ensite",
    "docker-php-ext-enable",
    "rev",
    "apt-listchanges",
    "dos2unix",
    "visudo",
    "cmp",
    "alternatives",
    "subscription-manager",
    "java",
    "readonly",
    "declare",
];

/// What a command does.
pub(super) fn of(command: &ShellCommand) -> Work {
    let Some((name, arguments)) = program(command) else { return Work::Housekeeping };
    if FETCHERS.contains(&name) {
        return Work::Fetch;
    }
    // `--version` alone asks.
    if arguments.len() == 1
        && arguments
            .iter()
            .all(|w| matches!(w.text.as_str(), "--version" | "-version" | "-V" | "-v" | "--help"))
    {
        return Work::Housekeeping;
    }
    if let Some((_, fetching, keeping)) = VERBS.iter().find(|(programs, ..)| programs.contains(&name)) {
        let mut words = arguments.iter().map(|w| w.text.as_str());
        if words.clone().any(|w| fetching.contains(&w)) || (name == "yarn" && arguments.is_empty()) {
            return Work::Fetch;
        }
        return if words.any(|w| keeping.contains(&w)) { Work::Housekeeping } else { Work::Other };
    }
    if name.starts_with("pacman") || name.starts_with("docker-php-ext-inst") {
        return Work::Fetch;
    }
    if HOUSEKEEPERS.contains(&name) { Work::Housekeeping } else { Work::Other }
}

/// The program without its version, through `python -m pip`.
pub(super) fn program(command: &ShellCommand) -> Option<(&str, &[ShellWord])> {
    let (name, arguments) = command.program()?;
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if plain == "python"
        && arguments.first().is_some_and(|w| w.text == "-m")
        && let Some(module) = arguments.get(1)
    {
        return Some((module.text.as_str(), arguments.get(2..).unwrap_or_default()));
    }
    match name {
        "7z" | "md5sum" | "bunzip2" | "bzip2" | "sha1sum" | "sha256sum" | "sha512sum" | "dos2unix" => {
            Some((name, arguments))
        }
        _ => Some((if plain.is_empty() { name } else { plain }, arguments)),
    }
}
