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

    /// What an image may be made for to be taken for this platform, the best first (containerd's `platforms.Only`):
    /// older variants of the same processor, and the 32-bit ones that a 64-bit one runs.
    pub fn acceptable(&self) -> Vec<Platform> {
        let with = |arch: &str, variant: String| {
            Platform { arch: arch.to_owned(), variant, ..self.clone() }.normalized()
        };
        let number = |text: &str| text.strip_prefix('v').and_then(|v| v.parse::<u32>().ok());
        // No processor is far beyond these; a variant of a hostile document is not counted down from.
        let older = |from: u32, to: u32| (to..from.min(100)).rev();
        let mut out = vec![self.clone()];
        match self.arch.as_str() {
            "amd64" => {
                if let Some(own) = number(&self.variant) {
                    out.extend(older(own, 1).map(|v| with("amd64", format!("v{v}"))));
                }
                out.push(with("386", String::new()));
            }
            "arm" => {
                if let Some(own) = number(&self.variant) {
                    out.extend(older(own, 5).map(|v| with("arm", format!("v{v}"))));
                }
            }
            "arm64" => {
                let variant = self.variant.strip_prefix('v').unwrap_or("8");
                let (major, minor) = variant.split_once('.').unwrap_or((variant, "0"));
                let minor: u32 = minor.parse().unwrap_or(0).min(9);
                let minors = |major: u32, below: u32| {
                    (0..below).rev().map(move |m| match m {
                        0 => format!("v{major}"),
                        m => format!("v{major}.{m}"),
                    })
                };
                match major {
                    "8" => out.extend(minors(8, minor).map(|v| with("arm64", v))),
                    "9" => {
                        out.extend(minors(9, minor).map(|v| with("arm64", v)));
                        out.extend(minors(8, (minor + 6).min(10)).map(|v| with("arm64", v)));
                    }
                    _ => return out,
                }
                out.extend((5..=8).rev().map(|v| with("arm", format!("v{v}"))));
            }
            _ => {}
        }
        out
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

    #[test]
    fn older_variants_are_acceptable_and_newer_ones_are_not() {
        let of = |s: &str| {
            let all = Platform::parse(s).unwrap().acceptable();
            all.iter().map(|p| p.to_string().replace("linux/", "")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("linux/amd64"), "amd64 386");
        assert_eq!(of("linux/amd64/v3"), "amd64/v3 amd64/v2 amd64 386");
        assert_eq!(of("linux/arm/v7"), "arm/v7 arm/v6 arm/v5");
        assert_eq!(of("linux/arm64"), "arm64 arm/v8 arm/v7 arm/v6 arm/v5");
        assert_eq!(of("linux/arm64/v8.1"), "arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5");
        assert!(of("linux/arm64/v9").starts_with("arm64/v9 arm64/v8.5 arm64/v8.4"));
        assert_eq!(of("linux/riscv64"), "riscv64");
    }
}
