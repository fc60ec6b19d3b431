//! What rules know of images by their names: which tags move, and which variables images set. Data and lookups; nothing
//! is fetched.

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
    PLAIN.contains(&repository) || reference.name.starts_with("gcr.io/distroless/")
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
