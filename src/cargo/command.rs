//! Cargo's command lines: what is compiled, how and where to.
//!
//! Facts about options are those of the Cargo book; programs that run cargo (`xx-cargo`, `cross`, `cargo zigbuild`,
//! `cargo auditable`) count as tools of their own, as they compile with other settings.

use crate::build::process::{Process, Value};
use crate::syntax::shell::ShellWord;

/// A command line of cargo.
#[derive(Clone, Debug, Default)]
pub struct CargoCommand {
    /// What it does.
    pub verb: Verb,
    /// The tool and toolchain: `cargo`, `cargo +nightly`, `cargo auditable`, `xx-cargo`, ….
    pub driver: String,
    /// `dev`, `release`, or as named; as written where it is not known.
    pub profile: String,
    /// Whether a profile was asked for.
    pub profile_given: bool,
    /// `--target`, as far as known.
    pub targets: Vec<String>,
    /// `--target-dir`.
    pub target_dir: Option<Value>,
    /// What else decides how crates are compiled: features, `--config`, words that are not known. Sorted.
    pub flags: Vec<String>,
    /// `-p`.
    pub packages: Vec<String>,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// `--workspace`.
    pub workspace: bool,
    /// `--bin`.
    pub bins: Vec<String>,
    /// `--lib`.
    pub lib: bool,
    /// `--bins`, or `--all-targets`.
    pub all_bins: bool,
    /// `--example`, `--examples`, or `--all-targets`.
    pub examples: bool,
    /// `--manifest-path`.
    pub manifest_path: Option<Value>,
    /// `--path` of `install`.
    pub path: Option<Value>,
    /// `-C`.
    pub directory: Option<Value>,
    /// Words that are no options, behind the name of the command.
    pub operands: Vec<Value>,
    /// `--force`, which `install` knows.
    pub force: bool,
    /// It comes from a registry or a repository: `install` without `--path`.
    pub remote: bool,
    /// What `chef cook` compiles the dependencies for; `None` for all other commands, and with `--no-build`.
    pub cook: Option<Mode>,
}

/// What a command line of cargo does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    /// Compiles something.
    Compile(Mode),
    /// `clean`
    Clean,
    /// `new`
    New,
    /// `init`
    Init,
    /// `chef`
    Chef,
    /// Compiles nothing of the user's, or is not known.
    #[default]
    Other,
}

/// What kind of compilation: results of one are of no use to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mode {
    Build,
    Check,
    Test,
    Other,
}

/// Options that take a value in the next word.
const VALUED: &[&str] = &[
    "--package",
    "--bin",
    "--example",
    "--test",
    "--bench",
    "--target",
    "--target-dir",
    "--features",
    "--profile",
    "--manifest-path",
    "--jobs",
    "--message-format",
    "--color",
    "--config",
    "--exclude",
    "--root",
    "--path",
    "--git",
    "--branch",
    "--tag",
    "--rev",
    "--version",
    "--registry",
    "--index",
    "--artifact-dir",
    "--out-dir",
    "--name",
    "--edition",
    "--vcs",
    "--recipe-path",
    "--lockfile-path",
];

/// A word of the arguments after expansion.
struct Argument {
    value: Value,
    /// It stands for an unknown number of words.
    open: bool,
}

impl CargoCommand {
    /// Reads a command, if it is one of cargo.
    pub fn of(process: &Process<'_>) -> Option<Self> {
        let (program, words) = process.program()?;
        if !matches!(
            program,
            "cargo"
                | "cargo.exe"
                | "xx-cargo"
                | "cross"
                | "cargo-auditable"
                | "cargo-zigbuild"
                | "cargo-chef"
        ) {
            return None;
        }
        let mut arguments = arguments(process, words).into_iter().peekable();
        let mut command = Self { driver: program.to_owned(), profile: "dev".to_owned(), ..Self::default() };
        if let Some(tool) = program.strip_prefix("cargo-") {
            // `cargo-chef chef cook` and `cargo-chef cook` are the same.
            command.driver = format!("cargo {tool}");
            if arguments.peek().is_some_and(|a| a.value.text == tool) {
                arguments.next();
            }
            if tool == "chef" {
                command.verb = Verb::Chef;
                "cargo".clone_into(&mut command.driver);
                command.options(arguments);
                command.flags.sort();
                command.finish_chef();
                return Some(command);
            }
        }
        // Options in front of the name of the command.
        let mut name = String::new();
        while let Some(argument) = arguments.next() {
            let text = argument.value.text.as_str();
            match text {
                _ if text.starts_with('+') => command.driver = format!("{} {text}", command.driver),
                "-C" => command.directory = arguments.next().map(|a| a.value),
                "-Z" | "--color" => drop(arguments.next()),
                "--config" => command.flags.extend(arguments.next().map(|a| a.value.text)),
                "auditable" | "zigbuild" | "xwin" | "ndk" | "lambda" | "hack" | "with" => {
                    command.driver = format!("{} {text}", command.driver);
                    if text == "zigbuild" {
                        name = "build".to_owned();
                        break;
                    }
                }
                _ if text.starts_with('-') => {}
                _ => {
                    name = text.to_owned();
                    break;
                }
            }
        }
        command.verb = match name.as_str() {
            "build" | "b" | "rustc" | "install" | "run" | "r" => Verb::Compile(Mode::Build),
            "check" | "c" | "clippy" => Verb::Compile(Mode::Check),
            "test" | "t" | "nextest" => Verb::Compile(Mode::Test),
            "bench" | "doc" | "rustdoc" | "d" => Verb::Compile(Mode::Other),
            "clean" => Verb::Clean,
            "new" => Verb::New,
            "init" => Verb::Init,
            "chef" => Verb::Chef,
            _ => Verb::Other,
        };
        if matches!(name.as_str(), "clippy" | "nextest" | "rustdoc") {
            command.driver = format!("{} {name}", command.driver);
        }
        match name.as_str() {
            "install" => {
                "release".clone_into(&mut command.profile);
                command.remote = true;
            }
            "bench" => "bench".clone_into(&mut command.profile),
            _ => {}
        }
        command.options(arguments);
        command.flags.sort();
        command.flags.dedup();
        if command.verb == Verb::Chef {
            command.finish_chef();
        }
        Some(command)
    }

    /// Of `chef`, only `cook` compiles.
    fn finish_chef(&mut self) {
        let cooks = self.operands.first().is_some_and(|v| v.text == "cook");
        self.cook = if cooks { self.cook.or(Some(Mode::Build)) } else { None };
        if self.flags.iter().any(|f| f == "--no-build") {
            self.cook = None;
        }
        self.flags.retain(|f| f != "--no-build");
    }

    fn options(&mut self, mut arguments: impl Iterator<Item = Argument>) {
        while let Some(argument) = arguments.next() {
            if argument.open {
                self.flags.push(argument.value.text);
                continue;
            }
            let text = argument.value.text.clone();
            if text == "--" {
                // Of `rustc`, and harmless for the others.
                let rest: Vec<String> = arguments.map(|a| a.value.text).collect();
                if self.verb == Verb::Compile(Mode::Build) && !rest.is_empty() {
                    self.flags.push(format!("-- {}", rest.join(" ")));
                }
                return;
            }
            let short = |letter: &str| text.strip_prefix(letter).filter(|_| !text.starts_with("--"));
            let (name, value) = if let Some((name, value)) =
                text.split_once('=').filter(|_| text.starts_with("--"))
            {
                (name.to_owned(), Some(Value { text: value.to_owned(), ..argument.value.clone() }))
            } else if let Some(letter) = ["-p", "-F", "-j", "-Z"].into_iter().find(|l| short(l).is_some()) {
                let joined = text.get(2..).unwrap_or_default();
                let joined = joined.strip_prefix('=').unwrap_or(joined);
                let value = match joined {
                    "" => arguments.next().map(|a| a.value),
                    joined => Some(Value { text: joined.to_owned(), ..argument.value.clone() }),
                };
                (letter.to_owned(), value)
            } else if VALUED.contains(&text.as_str()) && !(text == "--bin" && self.makes_package()) {
                (text.clone(), arguments.next().map(|a| a.value))
            } else {
                (text.clone(), None)
            };
            self.option(&name, value, &argument.value);
        }
    }

    fn option(&mut self, name: &str, value: Option<Value>, written: &Value) {
        let text = || value.as_ref().map(|v| v.text.clone());
        match name {
            "--release" => self.set_profile("release".to_owned()),
            "--debug" => self.set_profile("dev".to_owned()),
            "--profile" => {
                if let Some(text) = text() {
                    self.set_profile(text);
                }
            }
            "--target" => self.targets.extend(text()),
            "--target-dir" => self.target_dir = value,
            "--features" | "-F" => {
                let text = text().unwrap_or_default();
                let names = text.split([',', ' ']).filter(|n| !n.is_empty());
                self.flags.extend(names.map(|n| format!("feature {n}")));
            }
            "--no-default-features" | "--all-features" => self.flags.push(name.to_owned()),
            "--config" | "-Z" => self.flags.extend(text()),
            "-p" | "--package" => self.packages.extend(text()),
            "--exclude" => self.exclude.extend(text()),
            "--workspace" | "--all" => self.workspace = true,
            "--bin" => self.bins.extend(text()),
            "--bins" => self.all_bins = true,
            "--lib" => self.lib = true,
            "--example" | "--examples" => self.examples = true,
            "--all-targets" => (self.all_bins, self.lib, self.examples) = (true, true, true),
            "--manifest-path" => self.manifest_path = value,
            "--path" => {
                self.path = value;
                self.remote = false;
            }
            "--force" => self.force = true,
            "--check" | "--clippy" if self.verb == Verb::Chef => self.cook = Some(Mode::Check),
            "--zigbuild" if self.verb == Verb::Chef => self.driver.push_str(" zigbuild"),
            "--no-build" if self.verb == Verb::Chef => self.flags.push(name.to_owned()),
            _ if name.starts_with("--") => {}
            _ if name.starts_with('-') => {
                // Letters of one word: `-rv`.
                if name.contains('r') {
                    self.set_profile("release".to_owned());
                }
                self.force |= name.contains('f');
            }
            _ => self.operands.push(written.clone()),
        }
    }

    /// `cargo new --bin NAME`: there the option has no value.
    fn makes_package(&self) -> bool {
        matches!(self.verb, Verb::New | Verb::Init)
    }

    fn set_profile(&mut self, name: String) {
        self.profile = name;
        self.profile_given = true;
    }

    /// The folder of a profile below the target directory: `dev` and `test` share `debug`, `release` and `bench`
    /// share `release`.
    pub fn profile_dir(profile: &str) -> &str {
        match profile {
            "dev" | "test" => "debug",
            "bench" => "release",
            other => other,
        }
    }
}

fn arguments(process: &Process<'_>, words: &[ShellWord]) -> Vec<Argument> {
    let mut out = Vec::with_capacity(words.len());
    for word in words {
        let value = process.value(word);
        // `$FLAGS` without quotes is as many words as it holds.
        let bare = word.expands && !word.quoted && word.text.starts_with('$') && !word.text.contains('/');
        if bare && value.known {
            let parts = value.text.split_whitespace();
            out.extend(
                parts.map(|p| Argument { value: Value { text: p.to_owned(), ..value.clone() }, open: false }),
            );
        } else {
            let open =
                bare && !value.known && out.last().is_none_or(|a: &Argument| !takes_value(&a.value.text));
            out.push(Argument { value, open });
        }
    }
    out
}

fn takes_value(text: &str) -> bool {
    VALUED.contains(&text) || matches!(text, "-p" | "-F" | "-j" | "-Z" | "-C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::model::{Action, BuildModel};
    use crate::build::process::processes;
    use crate::image::Images;
    use crate::invoke::Invocation;
    use crate::stage::StageGraph;

    fn read(command: &str) -> CargoCommand {
        let text = format!("FROM a\nARG FLAGS=\"--release --locked\"\nRUN {command}\n");
        let document = crate::syntax::parse(text.as_bytes());
        let build = Invocation::default();
        let graph = StageGraph::new(&document, &build);
        let images = Images::default();
        let model = BuildModel::new(&graph, &build, &images);
        let step = model.steps().last().unwrap();
        let Action::Run(run) = &step.action else { panic!("no RUN") };
        let list = processes(run, &step.state);
        CargoCommand::of(list.first().unwrap()).unwrap()
    }

    #[test]
    fn command_lines_are_read_in_their_many_forms() {
        for (command, verb, profile, driver) in [
            ("cargo build", Verb::Compile(Mode::Build), "dev", "cargo"),
            ("cargo b -r -j4", Verb::Compile(Mode::Build), "release", "cargo"),
            (
                "cargo +nightly -Z unstable build --profile=dist",
                Verb::Compile(Mode::Build),
                "dist",
                "cargo +nightly",
            ),
            ("cargo $FLAGS build", Verb::Compile(Mode::Build), "dev", "cargo"),
            ("cargo build $FLAGS", Verb::Compile(Mode::Build), "release", "cargo"),
            ("cargo install --path .", Verb::Compile(Mode::Build), "release", "cargo"),
            ("cargo install --path . --debug", Verb::Compile(Mode::Build), "dev", "cargo"),
            ("cargo auditable build --release", Verb::Compile(Mode::Build), "release", "cargo auditable"),
            ("cargo zigbuild --release", Verb::Compile(Mode::Build), "release", "cargo zigbuild"),
            ("sudo -E env A=b xx-cargo build", Verb::Compile(Mode::Build), "dev", "xx-cargo"),
            ("cargo check --release", Verb::Compile(Mode::Check), "release", "cargo"),
            ("cargo chef cook --release", Verb::Chef, "release", "cargo"),
            ("cargo fetch --locked", Verb::Other, "dev", "cargo"),
        ] {
            let got = read(command);
            assert_eq!(
                (got.verb, got.profile.as_str(), got.driver.as_str()),
                (verb, profile, driver),
                "{command}"
            );
        }
    }

    #[test]
    fn options_find_their_values() {
        let got = read("cargo build -p a --package=b -pc --features x,y -F z --target T --bin q $MORE -- ");
        assert_eq!(got.packages, ["a", "b", "c"]);
        assert_eq!(got.flags, ["$MORE", "feature x", "feature y", "feature z"]);
        assert_eq!((got.targets, got.bins), (vec!["T".to_owned()], vec!["q".to_owned()]));
        assert!(read("cargo install ripgrep").remote && !read("cargo install --path .").remote);
        assert_eq!(read("cargo new --bin app").operands[0].text, "app");
    }
}
