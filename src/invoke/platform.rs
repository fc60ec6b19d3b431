//! Platforms as `os/arch[/variant]`, normalised like containerd's `platforms` package.

use std::fmt;

/// An operating system and a processor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// `amd64`, `arm64`, …
    pub arch: String,
    /// `v7`, …; empty when there is none.
    pub variant: String,
    /// Windows build; empty when there is none.
    pub os_version: String,
}

/// A text that names no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no platform: write `os/arch` or `os/arch/variant`, such as `linux/arm64`")]
pub struct PlatformError(pub String);

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];
const PROCESSORS: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// Linux on the processor of this machine: what a builder here would take.
    pub fn host() -> Self {
        let arch = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".into(), arch: arch.into(), ..Self::default() }.normalized()
    }

    /// Reads `os`, `arch`, `os/arch` or `os/arch/variant`; the operating system may carry a version in parentheses.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let fail = || PlatformError(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let valid = |p: &&str| {
            let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '(' | ')');
            !p.is_empty() && p.chars().all(ok)
        };
        if !parts.iter().all(valid) {
            return Err(fail());
        }
        let system = |p: &str| {
            let (os, version) = match p.split_once('(') {
                Some((os, rest)) => (os, rest.strip_suffix(')').ok_or_else(fail)?),
                None => (p, ""),
            };
            let os = os.to_lowercase();
            let os = if os == "macos" { "darwin".to_owned() } else { os };
            Ok::<_, PlatformError>((os, version.to_owned()))
        };
        let (os, os_version) = system(parts[0])?;
        let platform = match parts.as_slice() {
            [_] if SYSTEMS.contains(&os.as_str()) => Platform { os, os_version, ..Platform::host() },
            [one] => {
                let p = Platform { os: "linux".into(), arch: (*one).to_owned(), ..Platform::default() };
                let p = p.normalized();
                if !PROCESSORS.contains(&p.arch.as_str()) {
                    return Err(fail());
                }
                p
            }
            [_, arch] => Platform { os, arch: (*arch).to_owned(), variant: String::new(), os_version },
            [_, arch, variant] => {
                Platform { os, arch: (*arch).to_owned(), variant: (*variant).to_owned(), os_version }
            }
            _ => return Err(fail()),
        };
        Ok(platform.normalized())
    }

    /// The same platform in canonical words.
    pub fn normalized(mut self) -> Self {
        let arch = self.arch.to_lowercase();
        let variant = self.variant.to_lowercase();
        let (arch, variant) = match arch.as_str() {
            "i386" => ("386", String::new()),
            "x86_64" | "x86-64" | "amd64" => ("amd64", if variant == "v1" { String::new() } else { variant }),
            "aarch64" | "arm64" => match variant.as_str() {
                "8" | "v8" | "v8.0" => ("arm64", String::new()),
                "9" | "9.0" | "v9.0" => ("arm64", "v9".to_owned()),
                _ => ("arm64", variant),
            },
            "armhf" => ("arm", "v7".to_owned()),
            "armel" => ("arm", "v6".to_owned()),
            "arm" => match variant.as_str() {
                "" | "7" => ("arm", "v7".to_owned()),
                "5" | "6" | "8" => ("arm", format!("v{variant}")),
                _ => ("arm", variant),
            },
            other => (other, variant),
        };
        self.os = self.os.to_lowercase();
        self.arch = arch.to_owned();
        self.variant = variant;
        self
    }

    /// `os(version)/arch/variant`, the form of TARGETPLATFORM.
    pub fn full(&self) -> String {
        let version =
            if self.os_version.is_empty() { String::new() } else { format!("({})", self.os_version) };
        let variant = if self.variant.is_empty() { String::new() } else { format!("/{}", self.variant) };
        format!("{}{version}/{}{variant}", self.os, self.arch)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        let p = |s: &str| Platform::parse(s).map(|p| p.to_string());
        assert_eq!(p("linux/arm64/v8").unwrap(), "linux/arm64");
        assert_eq!(p("linux/arm").unwrap(), "linux/arm/v7");
        assert_eq!(p("Linux/x86_64").unwrap(), "linux/amd64");
        assert_eq!(p("armhf").unwrap(), "linux/arm/v7");
        assert!(p("linux/").is_err());
        assert!(p("nonsense").is_err());
    }
}
