//! What rules know of images by their names: which tags move, and which variables images set. Data and lookups; nothing
//! is fetched.

use super::{Cx, Rule};
use crate::image::reference::Reference;

/// Images of plain systems: they set no variables but the search path and the language.
const PLAIN: &[&str] = &[
    "alpine",
    "debian",
    "ubuntu",
    "busybox",
    "fedora",
    "centos",
    "rockylinux",
    "almalinux",
    "amazonlinux",
    "archlinux",
    "oraclelinux",
    "buildpack-deps",
    "bitnami/minideb",
    "opensuse/leap",
    "opensuse/tumbleweed",
    "kalilinux/kali-rolling",
    "voidlinux/voidlinux",
    "photon",
    "clearlinux",
    "cirros",
    "mageia",
    "slackware",
    "gentoo/stage3",
];

/// Variables that official images set, beside those that begin with the image's own name. A `*` at the end stands for
/// anything.
const OWN_VARIABLES: &[(&str, &[&str])] = &[
    ("node", &["NODE_*", "YARN_*"]),
    ("python", &["PYTHON*", "GPG_KEY", "PIP_*", "SETUPTOOLS_*"]),
    ("pypy", &["PYPY_*", "PIP_*"]),
    ("golang", &["GO*", "CGO_*"]),
    ("rust", &["RUST*", "CARGO_*"]),
    ("ruby", &["RUBY_*", "GEM_*", "BUNDLE_*", "BUNDLER_*"]),
    ("jruby", &["JRUBY_*", "GEM_*", "BUNDLE_*"]),
    ("php", &["PHP*", "GPG_KEYS"]),
    ("openjdk", &["JAVA_*", "JDK_*"]),
    ("eclipse-temurin", &["JAVA_*", "JDK_*"]),
    ("amazoncorretto", &["JAVA_*"]),
    ("maven", &["MAVEN_*", "JAVA_*"]),
    ("gradle", &["GRADLE_*", "JAVA_*"]),
    ("tomcat", &["TOMCAT_*", "CATALINA_*", "JAVA_*", "GPG_KEYS"]),
    ("nginx", &["NGINX_*", "NJS_*", "PKG_*", "DYNPKG_*"]),
    ("httpd", &["HTTPD_*"]),
    ("postgres", &["PG*", "POSTGRES*", "DOCKER_PG_*"]),
    ("mysql", &["MYSQL_*"]),
    ("mariadb", &["MARIADB_*", "GPG_KEYS"]),
    ("mongo", &["MONGO_*", "GPG_KEYS", "JSYAML_*"]),
    ("redis", &["REDIS_*"]),
    ("elixir", &["ELIXIR_*", "OTP_*", "REBAR*"]),
    ("erlang", &["OTP_*", "REBAR*"]),
    ("perl", &["PERL_*"]),
    ("swift", &["SWIFT_*"]),
    ("haskell", &["GHC*", "STACK*", "CABAL*"]),
    ("docker", &["DOCKER_*", "DIND_*"]),
    ("caddy", &["CADDY_*", "XDG_*"]),
    ("wordpress", &["WORDPRESS_*", "PHP*", "APACHE_*"]),
    ("composer", &["COMPOSER_*", "PHP*"]),
];

/// Whether an image may set a variable of that name. `base` is the reference that a stage is built on, as expanded.
/// Images of private registries may set anything, but do so mostly for what they are named for, and for versions and
/// places.
pub(super) fn may_set(base: &str, name: &str) -> bool {
    if base == "scratch" {
        return false;
    }
    let Some(reference) = Reference::parse(base) else { return true };
    if matches!(name, "PATH" | "HOME" | "LANG" | "LANGUAGE" | "LC_ALL" | "TZ" | "DEBIAN_FRONTEND") {
        return true;
    }
    if is_plain(&reference) {
        return false;
    }
    let repository = repository(&reference);
    let last = repository.rsplit('/').next().unwrap_or(repository);
    let own = OWN_VARIABLES.iter().find(|(image, _)| *image == last);
    let stands = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    if own.is_some_and(|(_, names)| names.iter().any(|p| stands(p))) {
        return true;
    }
    let upper = name.to_ascii_uppercase();
    let parts = repository.split(['/', '-', '_', '.']).filter(|p| p.len() > 1);
    let named_for = parts.map(str::to_ascii_uppercase).any(|part| upper.split('_').any(|word| word == part));
    let official = is_official(&reference);
    let a_fact = ["VERSION", "HOME", "PATH", "DIR", "ROOT", "PREFIX"].iter().any(|end| upper.ends_with(end));
    named_for || (!official && own.is_none() && a_fact)
}

/// Whether nothing but plain systems is known to set so little.
fn is_plain(reference: &Reference) -> bool {
    let repository = repository(reference);
    PLAIN.contains(&repository)
        || ["gcr.io/distroless/", "mcr.microsoft.com/windows/"].iter().any(|n| reference.name.starts_with(n))
}

/// Whether somebody could know all variables of an image.
pub(super) fn is_known(base: &str) -> bool {
    let known = |r: Reference| is_plain(&r) || OWN_VARIABLES.iter().any(|(i, _)| *i == repository(&r));
    base == "scratch" || Reference::parse(base).is_some_and(known)
}

/// The repository without Docker's own registry: `node`, `bitnami/node`, `ghcr.io/a/b`.
fn repository(reference: &Reference) -> &str {
    let name = reference.name.as_str();
    name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name)
}

/// Whether it is one of Docker's own library.
fn is_official(reference: &Reference) -> bool {
    reference.name.starts_with("docker.io/library/")
}

/// Whether an image runs on Windows, as its name says.
pub(super) fn is_windows(base: &str) -> bool {
    let base = base.to_ascii_lowercase();
    base.contains("/windows")
        || ["nanoserver", "servercore", "windows-", "windows_"].iter().any(|w| base.contains(w))
}

/// How a reference without digest comes to mean another image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moving {
    /// no tag, which means `latest`
    Untagged,
    /// a name for what is current: `latest`, `lts`, `nightly`
    Channel(String),
    /// a major version alone
    Major(String),
    /// only how it is made: `slim`, `alpine`
    Unversioned,
}

impl Moving {
    /// What the tag follows, as the end of a sentence.
    pub(super) fn reason(&self) -> String {
        match self {
            Moving::Untagged => "it has no tag, which means `latest`".to_owned(),
            Moving::Channel(word) => format!("`{word}` names whatever is current"),
            Moving::Major(number) => format!("`{number}` follows every release of version {number}"),
            Moving::Unversioned => "its tag names no version".to_owned(),
        }
    }
}

/// Words for what is current.
const CHANNELS: &[&str] = &[
    "latest",
    "stable",
    "oldstable",
    "unstable",
    "testing",
    "sid",
    "lts",
    "current",
    "mainline",
    "edge",
    "nightly",
    "beta",
    "alpha",
    "rolling",
    "canary",
    "next",
    "preview",
    "snapshot",
    "main",
    "master",
    "trunk",
    "head",
    "tip",
    "dev",
    "devel",
    "develop",
    "development",
    "experimental",
];

/// Words for how an image is made, and what it is made on.
const VARIANTS: &[&str] = &[
    "slim",
    "alpine",
    "debian",
    "ubuntu",
    "bookworm",
    "bullseye",
    "buster",
    "stretch",
    "jessie",
    "trixie",
    "wheezy",
    "noble",
    "jammy",
    "focal",
    "bionic",
    "xenial",
    "windowsservercore",
    "nanoserver",
    "onbuild",
    "minimal",
    "micro",
    "full",
    "fpm",
    "apache",
    "cli",
    "zts",
    "perl",
    "otel",
    "unprivileged",
    "dind",
    "rootless",
    "git",
    "jdk",
    "jre",
    "nonroot",
    "debug",
    "musl",
    "static",
    "base",
    "runtime",
    "bare",
    "headless",
    "builder",
];

/// Names in Docker's own library that people take bases and tools from.
const LIBRARY: &[&str] = &[
    "adminer",
    "aerospike",
    "almalinux",
    "alpine",
    "amazoncorretto",
    "amazonlinux",
    "archlinux",
    "bash",
    "buildpack-deps",
    "busybox",
    "caddy",
    "cassandra",
    "centos",
    "chronograf",
    "cirros",
    "clojure",
    "composer",
    "consul",
    "couchbase",
    "couchdb",
    "crystal",
    "dart",
    "debian",
    "docker",
    "drupal",
    "eclipse-mosquitto",
    "eclipse-temurin",
    "elasticsearch",
    "elixir",
    "erlang",
    "fedora",
    "flink",
    "fluentd",
    "gcc",
    "ghost",
    "golang",
    "gradle",
    "groovy",
    "haproxy",
    "haskell",
    "haxe",
    "hello-world",
    "httpd",
    "hylang",
    "ibmjava",
    "influxdb",
    "iojs",
    "java",
    "jenkins",
    "jetty",
    "joomla",
    "jruby",
    "julia",
    "kibana",
    "kong",
    "logstash",
    "mariadb",
    "matomo",
    "maven",
    "mediawiki",
    "memcached",
    "mongo",
    "mysql",
    "nats",
    "neo4j",
    "nextcloud",
    "nginx",
    "node",
    "odoo",
    "openjdk",
    "openresty",
    "oraclelinux",
    "percona",
    "perl",
    "photon",
    "php",
    "postgres",
    "pypy",
    "python",
    "r-base",
    "rabbitmq",
    "rails",
    "redis",
    "redmine",
    "registry",
    "rethinkdb",
    "rockylinux",
    "ruby",
    "rust",
    "sapmachine",
    "scala",
    "solr",
    "sonarqube",
    "spark",
    "swift",
    "swipl",
    "telegraf",
    "tomcat",
    "tomee",
    "traefik",
    "ubuntu",
    "varnish",
    "vault",
    "wordpress",
    "zookeeper",
];

/// How a reference moves; `None` if it has a digest, names a version, or says nothing that could be told.
pub(super) fn moving(reference: &Reference) -> Option<Moving> {
    if reference.digest.is_some() {
        return None;
    }
    let Some(tag) = &reference.tag else { return Some(Moving::Untagged) };
    let tag = tag.to_ascii_lowercase();
    let pieces: Vec<&str> = tag.split(['-', '_']).collect();
    let (first, rest) = pieces.split_first()?;
    if is_fixed(first) || holds_date(&pieces) || pieces.iter().any(|p| is_hash(p)) {
        return None;
    }
    let number = first.strip_prefix('v').unwrap_or(first);
    if is_number(number) {
        // Releases of systems are named by one number, and by years.
        let major = !is_release_number(reference, number) && !tag.contains('_') && number.len() < 3;
        return major.then(|| Moving::Major(number.to_owned()));
    }
    if CHANNELS.contains(first) {
        return (!rest.iter().any(|p| is_fixed(p))).then(|| Moving::Channel((*first).to_owned()));
    }
    if let Some(word) = rest.iter().find(|p| matches!(**p, "latest" | "nightly" | "stable" | "lts"))
        && !rest.iter().any(|p| is_fixed(p))
    {
        return Some(Moving::Channel((*word).to_owned()));
    }
    let is_variant = |piece: &&str| {
        // `alpine3.20` says what it is made on, `jdk8` says more.
        let word = piece.strip_prefix("alpine").map_or(*piece, |_| "alpine");
        VARIANTS.contains(&word)
    };
    let distroless = reference.name.starts_with("gcr.io/distroless/");
    let versioned_by_tag = !PLAIN.contains(&repository(reference)) || distroless;
    (versioned_by_tag && pieces.iter().all(is_variant)).then_some(Moving::Unversioned)
}

/// `1.2`, `v1.2.3`, `3.12rc1`, `8u212`
fn is_fixed(piece: &str) -> bool {
    let piece = piece.strip_prefix('v').unwrap_or(piece);
    let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
    let rest = piece.get(digits..).unwrap_or_default();
    digits > 0 && !rest.is_empty()
}

fn is_number(piece: &str) -> bool {
    !piece.is_empty() && piece.bytes().all(|b| b.is_ascii_digit())
}

/// `20240701`, and `2024-07-01` split at its dashes.
fn holds_date(pieces: &[&str]) -> bool {
    let year = |p: &str| p.len() == 4 && is_number(p) && (p.starts_with("20") || p.starts_with("19"));
    pieces.iter().any(|p| is_number(p) && p.len() >= 6)
        || pieces.windows(2).any(|w| matches!(w, [y, m] if year(y) && is_number(m) && m.len() == 2))
}

/// `3f786850`, `sha`
fn is_hash(piece: &str) -> bool {
    let hex = piece.bytes().all(|b| b.is_ascii_hexdigit());
    hex && piece.len() >= 7 && piece.bytes().any(|b| b.is_ascii_digit())
}

/// Whether a single number is the name of a release, as with `fedora:41` and `ubi9:9`.
fn is_release_number(reference: &Reference, number: &str) -> bool {
    let repository = repository(reference);
    let last = repository.rsplit('/').next().unwrap_or(repository);
    let system = PLAIN.contains(&repository) || PLAIN.contains(&last);
    let red_hat = ["ubi", "rhel", "centos", "sles", "suse"].iter().any(|s| last.starts_with(s));
    (system && !matches!(last, "alpine" | "busybox")) || red_hat || number.len() > 2
}

/// Whether a name without tag may be a build context or an image of this machine: one word that Docker's own library
/// does not have.
pub(super) fn is_local_name(reference: &Reference) -> bool {
    let repository = repository(reference);
    reference.tag.is_none() && !repository.contains('/') && !LIBRARY.contains(&repository)
}

/// Whether the configuration lets the tags of an image move, by its name as it is written or in full.
pub(super) fn is_allowed(cx: &Cx<'_>, rule: &Rule, written: &str, reference: &Reference) -> bool {
    [written, &reference.tagged(), &reference.name].iter().any(|name| cx.settings.allows(rule, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_move_are_told_from_those_that_name_a_version() {
        let shown = |text: &str| match Reference::parse(text).as_ref().and_then(moving) {
            None => "-".to_owned(),
            Some(Moving::Untagged) => "untagged".to_owned(),
            Some(Moving::Channel(word)) => word,
            Some(Moving::Major(number)) => number,
            Some(Moving::Unversioned) => "unversioned".to_owned(),
        };
        let cases = [
            ("python", "untagged"),
            ("localhost:5000/app", "untagged"),
            ("python:latest", "latest"),
            ("node:lts-alpine", "lts"),
            ("node:lts-alpine3.20", "lts"),
            ("rustlang/rust:nightly", "nightly"),
            ("rustlang/rust:nightly-2024-01-01", "-"),
            ("mcr.microsoft.com/mssql/server:2019-latest", "-"),
            ("node:22", "22"),
            ("dunglas/frankenphp:1-php8.5", "1"),
            ("postgres:16-alpine", "16"),
            ("postgres:16.4-alpine", "-"),
            ("openjdk:8u212-jdk", "-"),
            ("eclipse-temurin:21_35-jdk", "-"),
            ("rust:slim-trixie", "unversioned"),
            ("golang:alpine3.20", "unversioned"),
            ("gcr.io/distroless/static-debian12:nonroot", "unversioned"),
            ("debian:bookworm-slim", "-"),
            ("debian:stable-slim", "stable"),
            ("debian:12", "-"),
            ("fedora:41", "-"),
            ("alpine:3", "3"),
            ("alpine:3.20", "-"),
            ("registry.access.redhat.com/ubi9/ubi-minimal:9", "-"),
            ("a/b:v1", "1"),
            ("a/b:v1.4.2", "-"),
            ("a/b:3f78685", "-"),
            ("a/b:20240701", "-"),
            ("a/b:blue", "-"),
            ("ubuntu:jammy-20240808", "-"),
            ("rust:bookworm@sha256:b5efaabfd787a695d2e46b37d3d9c54040e11f4c10bc2e714bbadbfcc0cd6c39", "-"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn an_image_sets_what_it_is_named_for() {
        let cases = [
            ("alpine:3.20", "ALPINE_VERSION", false),
            ("node:22", "NODE_VERSION", true),
            ("node:22", "APP_REV", false),
            ("python:3.12", "PYTHON_VERSION", true),
            ("ghcr.io/acme/base", "ACME_MODE", true),
            ("ghcr.io/acme/base", "TOOL_VERSION", true),
            ("ghcr.io/acme/base", "REV", false),
            ("scratch", "ANYTHING", false),
            ("No Reference", "ANYTHING", true),
        ];
        for (base, name, expected) in cases {
            assert_eq!(may_set(base, name), expected, "{base} {name}");
        }
    }
}
