//! What an instruction sees: environment, directory, user, shell; and what of that is not known.

use crate::image::BaseImage;
use crate::invoke::platform::Platform;
use crate::stage::set;
use crate::syntax::word::Variables;

/// The search path that BuildKit gives to images without one (`util/system/path.go`).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The state of a stage between two instructions.
#[derive(Clone, Debug)]
pub struct State {
    /// ENV and ARG as a process sees them, ordered by last assignment.
    pub env: Vec<(String, String)>,
    /// `Env` of the image configuration: ENV only, in order of first assignment.
    pub config_env: Vec<(String, String)>,
    /// Names declared with ARG so far in this stage or those it continues, with or without a value.
    pub args: Vec<String>,
    /// Where processes start; as written when it was absolute (`/a/./b/` stays).
    pub cwd: String,
    /// USER, empty for the default.
    pub user: String,
    /// SHELL, if one was set.
    pub shell: Option<Vec<String>>,
    /// What the stage is built for.
    pub platform: Platform,
    /// The system that the base image is for, as its configuration says: it decides which shell there is.
    pub os: String,
    /// What the base image decides and is not known.
    pub unknown: Unknown,
}

/// Parts of a [`State`] that come from a base image nobody could look into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// The image, as `docker-image://…`.
    pub base: Option<String>,
    /// Its environment is below everything that is set here.
    pub env: bool,
    /// No absolute WORKDIR yet.
    pub cwd: bool,
    /// No USER yet.
    pub user: bool,
    /// No SHELL yet.
    pub shell: bool,
}

impl Variables for State {
    fn value(&self, name: &str) -> Option<&str> {
        self.env.as_slice().value(name)
    }
}

impl State {
    /// The state after `FROM scratch`.
    pub fn scratch(platform: Platform) -> Self {
        let mut state = Self {
            env: Vec::new(),
            config_env: Vec::new(),
            args: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            shell: None,
            os: platform.os.clone(),
            platform,
            unknown: Unknown::default(),
        };
        state.take_config_env();
        state
    }

    /// The state after `FROM image` with a known image.
    pub fn of_image(image: &BaseImage, platform: Platform) -> Self {
        let mut state = Self::scratch(platform);
        state.env.clear();
        state.config_env = image.config.env.iter().map(|e| split(e)).collect();
        state.os.clone_from(&image.platform.os);
        let dir = &image.config.working_dir;
        if dir.starts_with('/') || state.platform.os == "windows" && !dir.is_empty() {
            state.cwd.clone_from(dir);
        } else if !dir.is_empty() {
            // BuildKit sets it on itself.
            state.cwd = super::system::joined(&["/", dir, dir]);
        }
        state.user.clone_from(&image.config.user);
        state.shell = Some(image.config.shell.clone()).filter(|s| !s.is_empty());
        state.take_config_env();
        state
    }

    /// The state after `FROM image` with an image nobody could look into.
    pub fn of_unknown(base: String, platform: Platform) -> Self {
        let mut state = Self::scratch(platform);
        state.unknown = Unknown { base: Some(base), env: true, cwd: true, user: true, shell: true };
        state
    }

    /// The state after `FROM stage`, given the end of that stage: ENV is set again, so that it comes after inherited
    /// ARGs and wins over them.
    pub fn continued(mut self) -> Self {
        self.take_config_env();
        self
    }

    fn take_config_env(&mut self) {
        let has_path = self.config_env.iter().any(|(k, _)| k == "PATH");
        if !has_path && self.platform.os != "windows" {
            self.config_env.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
        }
        for (k, v) in &self.config_env {
            set(&mut self.env, k, v.clone());
        }
    }

    /// ENV.
    pub fn set_env(&mut self, name: &str, value: String) {
        match self.config_env.iter_mut().find(|(k, _)| k == name) {
            Some(entry) => entry.1.clone_from(&value),
            None => self.config_env.push((name.to_owned(), value.clone())),
        }
        set(&mut self.env, name, value);
    }

    /// ARG; the value is `None` when it has none.
    pub fn set_arg(&mut self, name: &str, value: Option<String>) {
        if !self.args.iter().any(|a| a == name) {
            self.args.push(name.to_owned());
        }
        // BuildKit reads these two itself and keeps them from processes (`nonEnvArgs`).
        if let Some(value) =
            value.filter(|_| !matches!(name, "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE"))
        {
            set(&mut self.env, name, value);
        }
    }

    /// The words before a shell-form command.
    pub fn shell_words(&self) -> Vec<String> {
        let default: &[&str] = if self.os == "windows" { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
        self.shell.clone().unwrap_or_else(|| default.iter().map(|w| (*w).to_owned()).collect())
    }

    /// Whether shell-form commands are read by a POSIX shell.
    pub fn is_posix_shell(&self) -> bool {
        let program = match &self.shell {
            None => return self.os != "windows",
            Some(words) => words.first().map(String::as_str).unwrap_or_default(),
        };
        let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = name.strip_suffix(".exe").unwrap_or(name);
        matches!(name, "sh" | "bash" | "ash" | "dash" | "zsh" | "ksh" | "busybox" | "env")
    }
}

/// Whether a variable of that name probably holds a secret (the words of BuildKit's `SecretsUsedInArgOrEnv` check).
pub fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 11] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
        "pat",
    ];
    let lower = name.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(['_', '-', '.']).collect();
    words.iter().any(|w| WORDS.contains(w)) && !words.contains(&"public")
}

fn split(entry: &str) -> (String, String) {
    let (k, v) = entry.split_once('=').unwrap_or((entry, ""));
    (k.to_owned(), v.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_looking_names_are_masked() {
        assert!(
            is_secret("NPM_TOKEN")
                && is_secret("API_KEY")
                && !is_secret("PUBLIC_KEY")
                && !is_secret("MONKEY")
        );
    }

    #[test]
    fn a_child_stage_orders_the_environment_anew() {
        let mut parent = State::scratch(Platform::host());
        parent.set_env("A", "env".into());
        parent.set_arg("K", Some("v".into()));
        parent.set_arg("A", Some("arg".into()));
        assert_eq!(parent.value("A"), Some("arg"));
        let child = parent.continued();
        let names: Vec<&str> = child.env.iter().map(|(k, _)| k.as_str()).collect();
        assert_eq!(names, ["K", "PATH", "A"]);
        assert_eq!(child.value("A"), Some("env"));
    }
}
