//! What the commands of a RUN do with package managers. The words are data of `ecosystem`; here they are applied.

use super::ecosystem::{
    INSTALLERS, Installer, Operands, PACMAN, REFRESH_INSIDE, SELF_REFRESHING, SYSTEM_MANAGERS, SystemManager,
    TOOL_INSTALLS, ToolInstall,
};
use super::work;
use crate::build::state::State;
use crate::context::path::clean_str;
use crate::source::Span;
use crate::syntax::shell::{Connector, Script, ShellCommand, ShellWord};
use crate::syntax::word::Lexer;

/// What one command does with a distribution's packages.
pub(super) struct SystemStep {
    /// Which manager.
    pub manager: &'static SystemManager,
    /// It fetches the index.
    pub refreshes: bool,
    /// It chooses packages by the index.
    pub installs: bool,
    /// From the program to the verb.
    pub span: Span,
}

/// Reads a command as one of a distribution's package manager.
pub(super) fn system_step(command: &ShellCommand) -> Option<SystemStep> {
    let (name, arguments) = command.program()?;
    if PACMAN.programs.contains(&name) {
        return pacman_step(command, arguments);
    }
    let manager = SYSTEM_MANAGERS.iter().find(|m| m.programs.contains(&name))?;
    let (verb, operands) = verb_and_operands(arguments, manager.valued_options)?;
    let has = |option: &&str| {
        // Short options may be written together: `-yU`.
        let short = option.strip_prefix('-').filter(|o| o.len() == 1);
        arguments.iter().any(|w| {
            w.text == *option || {
                let letters = w.text.strip_prefix('-').filter(|l| !l.starts_with('-'));
                short.zip(letters).is_some_and(|(s, l)| l.contains(s))
            }
        })
    };
    let refreshes =
        manager.refresh.contains(&verb.text.as_str()) || manager.refreshing_options.iter().any(has);
    let named = manager.install.contains(&verb.text.as_str());
    // Files need no index. Words that come through a pipe (`xargs apt-get install`) are not seen.
    let (files, packages): (Vec<&str>, Vec<&str>) =
        operands.into_iter().map(|w| w.text.as_str()).partition(|text| is_package_file(text, manager));
    let piped = command.words.first().is_some_and(|w| w.text.ends_with("xargs"));
    let chooses =
        !packages.is_empty() || manager.upgrade.contains(&verb.text.as_str()) || (piped && files.is_empty());
    let first = command.words.first()?.span;
    let span = if verb.span.start >= first.start { first.to(verb.span) } else { command.span };
    Some(SystemStep { manager, refreshes, installs: named && chooses, span })
}

/// The packages of a distribution that a command installs by name, and the place from the program to the verb.
pub(super) fn package_install(command: &ShellCommand) -> Option<(Vec<&ShellWord>, Span)> {
    let (name, arguments) = command.program()?;
    if let Some(step) = system_step(command) {
        let words = operands(arguments, step.manager.valued_options);
        let verb = usize::from(!PACMAN.programs.contains(&name));
        return step.installs.then(|| (words.get(verb..).unwrap_or_default().to_vec(), step.span));
    }
    let manager = SELF_REFRESHING.iter().find(|m| m.programs.contains(&name))?;
    let (verb, packages) = verb_and_operands(arguments, manager.valued_options)?;
    let file = |w: &&ShellWord| w.text.starts_with(['/', '.']) || w.text.ends_with(".rpm");
    let named: Vec<&ShellWord> = packages.into_iter().filter(|w| !file(w)).collect();
    let first = command.words.first()?.span;
    let span = if verb.span.start >= first.start { first.to(verb.span) } else { command.span };
    (manager.install.contains(&verb.text.as_str()) && !named.is_empty()).then_some((named, span))
}

fn pacman_step(command: &ShellCommand, arguments: &[ShellWord]) -> Option<SystemStep> {
    let sync = arguments.iter().find(|w| w.text.starts_with("-S") || w.text == "--sync")?;
    let has = |letter: char, long: &str| {
        let short =
            |w: &ShellWord| w.text.starts_with('-') && !w.text.starts_with("--") && w.text.contains(letter);
        arguments.iter().any(|w| short(w) || w.text == long)
    };
    let operands = operands(arguments, PACMAN.valued_options);
    let queries = ['s', 'i', 'l', 'g', 'c'].into_iter().any(|l| has(l, ""));
    let installs = !queries && (!operands.is_empty() || has('u', "--sysupgrade"));
    let span = command.words.first()?.span.to(sync.span);
    Some(SystemStep { manager: &PACMAN, refreshes: has('y', "--refresh"), installs, span })
}

fn is_package_file(text: &str, manager: &SystemManager) -> bool {
    text.starts_with(['/', '.']) || text.ends_with(manager.package_file)
}

/// The first word that is no option, and those behind it.
fn verb_and_operands<'c>(
    arguments: &'c [ShellWord],
    valued: &[&str],
) -> Option<(&'c ShellWord, Vec<&'c ShellWord>)> {
    let mut words = operands(arguments, valued).into_iter();
    let verb = words.next()?;
    Some((verb, words.collect()))
}

/// The words that are neither options nor values of these options.
pub(super) fn operands<'c>(arguments: &'c [ShellWord], valued: &[&str]) -> Vec<&'c ShellWord> {
    let mut out = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if valued.contains(&word.text.as_str()) {
            words.next();
        } else if !word.text.starts_with('-') || word.text.len() == 1 {
            out.push(word);
        }
    }
    out
}

/// Whether a command takes the index of a manager away again.
pub(super) fn removes_index(command: &ShellCommand, manager: &SystemManager) -> bool {
    let Some((name, arguments)) = command.program() else { return false };
    match name {
        "rm" | "find" => arguments.iter().any(|w| covers_index(&w.text, manager.index)),
        _ => {
            manager.programs.contains(&name)
                && arguments.iter().any(|w| w.text.starts_with("dist-clean") || w.text == "distclean")
        }
    }
}

/// `/var/lib/apt/lists/*`, `/var/lib/apt`, `/var/lib/{apt,dpkg}/`; not single files of it.
fn covers_index(word: &str, index: &str) -> bool {
    let Some((root, inner)) = word.split_once('{') else {
        let word = word.trim_end_matches(['*', '/']);
        return !word.is_empty()
            && index.starts_with(word)
            && index.as_bytes().get(word.len()).is_none_or(|b| *b == b'/')
            || word.strip_prefix(index).is_some_and(|rest| rest.is_empty());
    };
    let (choices, _) = inner.split_once('}').unwrap_or((inner, ""));
    choices.split(',').any(|choice| covers_index(&format!("{root}{choice}"), index))
}

/// Whether a command may run package managers that nobody can see here: a script, a program by its path.
pub(super) fn is_opaque(command: &ShellCommand) -> bool {
    let Some((name, arguments)) = command.program() else { return false };
    let first = arguments.first().map(|w| w.text.as_str()).unwrap_or_default();
    match name {
        // A script on standard input, or in a file; `-c` texts are read as commands.
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" => {
            command.connector == Connector::Pipe || !operands(arguments, &["-o", "-c"]).is_empty()
        }
        "." | "source" => !first.starts_with("/etc/") && !first.contains("profile"),
        "make" | "just" | "ansible-playbook" | "python" | "python3" | "perl" => true,
        _ => {
            let program =
                command.words.iter().find(|w| w.text.ends_with(name)).map_or(name, |w| w.text.as_str());
            let system =
                ["/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"].iter().any(|p| program.starts_with(p));
            REFRESH_INSIDE.contains(&name)
                || name.ends_with(".sh")
                || program.starts_with('$')
                || (program.contains('/') && !system)
        }
    }
}

/// A command that installs from manifests.
pub(super) struct Install<'c> {
    /// What it is.
    pub installer: &'static Installer,
    /// The command.
    pub command: &'c ShellCommand,
    /// Where it works: absolute.
    pub folder: String,
    /// The folder the command itself runs in, if a `cd` before it chose that.
    pub moved: Option<String>,
    /// Manifests that it names: absolute.
    pub files: Vec<String>,
    /// From the program to the verb.
    pub span: Span,
}

/// The installs of a script, where the folder they work in can be told.
pub(super) fn installs<'c>(script: &'c Script, state: &State) -> Vec<Install<'c>> {
    let commands = with_folders(script, state);
    commands.filter_map(|(command, folder)| install(command, &folder?, state)).collect()
}

/// Commands with the folder they run in; `None` where it cannot be told.
pub(super) fn with_folders<'c>(
    script: &'c Script,
    state: &State,
) -> impl Iterator<Item = (&'c ShellCommand, Option<String>)> {
    // One folder for each shell inside another; what an inner one does is forgotten at its end.
    let mut folders: Vec<Option<String>> = vec![Some(state.cwd.clone())];
    script.commands.iter().map(move |command| {
        let depth = command.subshell_depth + 1;
        let outer = folders.last().cloned().flatten();
        folders.resize(depth, outer);
        let here = folders.last().cloned().flatten();
        if let Some(("cd" | "pushd", words)) = command.program() {
            let to = words.iter().find(|w| !w.text.starts_with('-'));
            let next = to.and_then(|w| expanded(&w.text, state)).and_then(|to| inside(here.as_deref(), &to));
            if let Some(last) = folders.last_mut() {
                *last = next;
            }
        }
        (command, here)
    })
}

/// A path seen from a folder.
fn inside(folder: Option<&str>, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return Some(clean_str(path));
    }
    folder.map(|folder| clean_str(&format!("{folder}/{path}")))
}

/// A word with the variables that the instruction's environment knows; `None` if something is left.
fn expanded(text: &str, state: &State) -> Option<String> {
    if !text.contains('$') && !text.contains('`') {
        return Some(text.to_owned());
    }
    let expanded = Lexer::new('\\').expand(text, state).ok()?;
    let known = expanded.unset.is_empty() && !text.contains("$(") && !text.contains('`');
    known.then_some(expanded.text)
}

/// A command that installs tools by their names.
pub(super) struct ToolUse<'c> {
    /// What it is.
    pub tool: &'static ToolInstall,
    /// The names, versions included; none where a file says them.
    pub names: Vec<&'c ShellWord>,
    /// From the program to the verb.
    pub span: Span,
    /// An option says the version.
    pub version_given: bool,
}

/// Reads a command as one that installs tools by their names.
pub(super) fn tool_install(command: &ShellCommand) -> Option<ToolUse<'_>> {
    let (name, arguments) = work::program(command)?;
    let first = command.words.first()?.span;
    let known = TOOL_INSTALLS.iter().filter(|t| t.programs.contains(&name));
    known
        .filter_map(|tool| {
            let words = operands(arguments, tool.valued);
            let texts: Vec<&str> =
                words.iter().map(|w| w.text.as_str()).filter(|t| !t.starts_with('+')).collect();
            let verb = tool.verbs.iter().find(|verb| {
                let parts: Vec<&str> = verb.split_whitespace().collect();
                texts.get(..parts.len()) == Some(parts.as_slice())
            })?;
            let has = |options: &[&str]| {
                arguments.iter().any(|w| {
                    let valued = |o: &&str| w.text.strip_prefix(*o).is_some_and(|r| r.starts_with('='));
                    options.iter().any(|o| w.text == *o || valued(o))
                })
            };
            if has(tool.not_with) || !(tool.only_with.is_empty() || has(tool.only_with)) {
                return None;
            }
            let skipped = words.len() - texts.len();
            let count = verb.split_whitespace().count() + skipped;
            let names = words.get(count..).unwrap_or_default().to_vec();
            if names.iter().any(|w| is_local(&w.text) && !w.text.contains('@') && !w.text.starts_with('$')) {
                return None;
            }
            let last = count.checked_sub(1).and_then(|n| words.get(n)).map_or(first, |w| w.span);
            let span = if last.start >= first.start { first.to(last) } else { command.span };
            Some(ToolUse { tool, names, span, version_given: has(tool.version.1) })
        })
        .next()
}

/// The program of a command and its arguments, through `python -m pip`, `corepack yarn` and the like.
pub(super) fn installer_program(command: &ShellCommand) -> Option<(&str, &[ShellWord])> {
    let (name, arguments) = command.program()?;
    let behind = |n: usize| Some((arguments.get(n)?.text.as_str(), arguments.get(n + 1..)?));
    let text = |n: usize| arguments.get(n).map(|w| w.text.as_str()).unwrap_or_default();
    if name.starts_with("python") && text(0) == "-m" {
        return behind(1);
    }
    match name {
        "corepack" | "npx" | "php" => {
            let (name, rest) = behind(0)?;
            Some((name.rsplit('/').next().unwrap_or(name), rest))
        }
        _ => Some((name, arguments)),
    }
}

fn install<'c>(command: &'c ShellCommand, folder: &str, state: &State) -> Option<Install<'c>> {
    let (name, arguments) = installer_program(command)?;
    // pip3, pip3.12, bundle2.7
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let known = INSTALLERS.iter().filter(|i| i.programs.contains(&name) || i.programs.contains(&plain));
    known.filter_map(|installer| installed_by(installer, command, arguments, folder, state)).next()
}

fn installed_by<'c>(
    installer: &'static Installer,
    command: &'c ShellCommand,
    arguments: &'c [ShellWord],
    folder: &str,
    state: &State,
) -> Option<Install<'c>> {
    let is = |word: &str, option: &str| {
        word == option
            || (option.starts_with("--") && word.strip_prefix(option).is_some_and(|r| r.starts_with('=')))
    };
    if arguments.iter().any(|w| installer.not_with.iter().any(|o| is(&w.text, o))) {
        return None;
    }
    let values = |options: &[&str]| -> Option<Vec<String>> {
        let mut found = Vec::new();
        for (n, word) in arguments.iter().enumerate() {
            let value = options.iter().find_map(|option| {
                let rest = word.text.strip_prefix(option)?;
                match rest.strip_prefix('=') {
                    Some(value) => Some(value),
                    None if rest.is_empty() => arguments.get(n + 1).map(|w| w.text.as_str()),
                    // `-rrequirements.txt`
                    None => (option.len() == 2).then_some(rest),
                }
            });
            if let Some(value) = value {
                found.push(expanded(value, state)?);
            }
        }
        Some(found)
    };
    let moved = (folder != clean_str(&state.cwd)).then(|| folder.to_owned());
    let folder = match values(installer.folder_options)?.first() {
        Some(to) => inside(Some(folder), to)?,
        None => folder.to_owned(),
    };
    let files = values(installer.file_options)?;
    if installer.needs_file && files.is_empty() {
        return None;
    }
    let valued: Vec<&str> = [installer.valued, installer.folder_options, installer.file_options].concat();
    let words = operands(arguments, &valued);
    let verb = installer.verbs.iter().find(|verb| {
        let parts: Vec<&str> = verb.split_whitespace().collect();
        // `yarn` alone installs, `yarn build` does not.
        if parts.is_empty() {
            words.is_empty()
        } else {
            words.iter().map(|w| w.text.as_str()).take(parts.len()).eq(parts)
        }
    })?;
    let taken = verb.split_whitespace().count();
    let rest = words.get(taken..).unwrap_or_default();
    let mut files: Vec<String> = files.iter().map(|f| inside(Some(&folder), f)).collect::<Option<_>>()?;
    match installer.operands {
        Operands::Packages if !rest.is_empty() => return None,
        Operands::Mixed if rest.iter().any(|w| is_local(&w.text)) => return None,
        Operands::Manifests => {
            for word in rest {
                files.push(inside(Some(&folder), &expanded(&word.text, state)?)?);
            }
        }
        _ => {}
    }
    let first = command.words.first()?.span;
    let last = taken.checked_sub(1).and_then(|n| words.get(n)).map_or(first, |w| w.span);
    let span = if last.start >= first.start { first.to(last) } else { command.span };
    Some(Install { installer, command, folder, moved, files, span })
}

/// Whether pip would take a word for a file or a folder.
fn is_local(word: &str) -> bool {
    word.starts_with(['.', '/', '$'])
        || word.ends_with(".whl")
        || word.ends_with(".tar.gz")
        || (word.contains('/') && !word.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::LogicalText;
    use crate::syntax::shell::{self, Script};

    fn read(text: &str) -> Script {
        let mut logical = LogicalText::new();
        logical.push(text.as_bytes(), 0);
        shell::parse(&logical)
    }

    #[test]
    fn refreshing_and_installing_are_told_apart() {
        let cases = [
            ("sudo apt-get -qq update", "r"),
            ("apt-get -o Acquire::Retries=3 install -y curl", "i"),
            ("apt-get install -y ./x.deb /tmp/y.deb", ""),
            ("apt-get -t bookworm-backports install git", "i"),
            ("apt-get upgrade -y", "i"),
            ("apt-get install -fy", ""),
            ("apt-get clean", ""),
            ("cat list | xargs apt-get install -y", "i"),
            ("apk add --no-cache git", "ri"),
            ("apk add -U git", "ri"),
            ("apk add git", "i"),
            ("pacman -Syu --noconfirm", "ri"),
            ("pacman -S --noconfirm git", "i"),
            ("pacman -Scc", ""),
            ("pacman -Sy", "r"),
        ];
        for (text, expected) in cases {
            let script = read(text);
            let step = script.commands.iter().find_map(system_step);
            let shown = step.map_or(String::new(), |s| {
                [(s.refreshes, "r"), (s.installs, "i")].iter().filter(|x| x.0).map(|x| x.1).collect()
            });
            assert_eq!(shown, expected, "{text}");
        }
        assert!(
            read("npm update && sbt update && rustup update")
                .commands
                .iter()
                .all(|c| system_step(c).is_none())
        );
    }

    #[test]
    fn installs_from_manifests_are_told_from_installs_of_packages() {
        let mut state = State::scratch(crate::invoke::platform::Platform::host());
        state.cwd = "/app".to_owned();
        state.set_env("HOME_DIR", "/srv".to_owned());
        let shown = |text: &str| -> Vec<String> {
            let script = read(text);
            let line = |i: &Install<'_>| {
                let mut words = vec![i.installer.name.to_owned(), i.folder.clone()];
                words.extend(i.files.clone());
                words.join(" ")
            };
            installs(&script, &state).iter().map(line).collect()
        };
        let cases: [(&str, &[&str]); 22] = [
            ("npm ci --omit=dev", &["npm /app"]),
            ("npm --prefix web ci && npm --prefix web run build", &["npm /app/web"]),
            (
                "cd web && (cd deep; yarn) && pnpm install --frozen-lockfile",
                &["yarn /app/web/deep", "pnpm /app/web"],
            ),
            ("npm install -g yarn; npm install express; yarn build; npm ci --offline", &[]),
            ("cd $HOME_DIR && composer install --no-dev", &["composer /srv"]),
            ("cd $NOWHERE && npm ci", &[]),
            ("pip3 install --no-cache-dir -r requirements.txt", &["pip /app /app/requirements.txt"]),
            (
                "python3.12 -m pip install -r /tmp/a.txt --requirement=b.txt x",
                &["pip /app /tmp/a.txt /app/b.txt"],
            ),
            ("pip install -r requirements.txt .", &[]),
            ("pip install -e . && pip install flask && pip install --no-deps -r r.txt", &[]),
            ("go mod download", &["go /app"]),
            ("go mod download example.com/x", &[]),
            ("go build ./... && go mod tidy", &[]),
            ("dotnet restore src/api/api.csproj -r linux-x64", &["dotnet /app /app/src/api/api.csproj"]),
            ("bundle install -j 4 --without test", &["bundler /app"]),
            ("bundle exec rake && bundle check", &[]),
            ("uv sync --frozen && uv pip install -r r.txt", &["uv /app", "uv /app /app/r.txt"]),
            ("./mvnw -B dependency:go-offline", &["maven /app"]),
            ("mvn package dependency:copy", &[]),
            ("conda env create -f environment.yml", &["conda /app /app/environment.yml"]),
            ("cargo chef cook --release --recipe-path recipe.json", &["cargo chef /app"]),
            ("corepack pnpm i && npx cowsay install", &["pnpm /app"]),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn package_managers_are_known_behind_every_form_of_the_shell() {
        let state = State::scratch(crate::invoke::platform::Platform::host());
        let managers = [
            "npm ci",
            "pnpm install --frozen-lockfile",
            "yarn install --immutable",
            "bun install",
            "pip install -r requirements.txt",
            "uv sync --frozen",
            "poetry install --no-root",
            "pipenv sync",
            "conda env create -f environment.yml",
            "go mod download",
            "cargo install ripgrep",
            "mvn dependency:go-offline",
            "./gradlew dependencies",
            "bundle install",
            "composer install",
            "dotnet restore",
            "apt-get install -y git",
            "apk add git",
            "dnf install -y git",
            "yum -y install git",
            "zypper --non-interactive install git",
            "pacman -S --noconfirm git",
        ];
        let forms = [
            "{}",
            "set -eux; {}",
            "true && {} || exit 1",
            "if [ -f x ]; then {}; fi",
            "for i in a b; do {}; done",
            "while read -r x; do {}; done < list",
            "( {} )",
            "{ {}; }",
            "A=b C=d {}",
            "sudo -E env X=1 {}",
            "sh -c '{}'",
            "bash -euxo pipefail -c \"{}\"",
            "time {} | tee log",
            "case $X in a) {} ;; esac",
            "f() { {}; }; f",
            "bash <<EOF\n{}\nEOF",
        ];
        for form in forms {
            for manager in managers {
                let text = form.replace("{}", manager);
                let script = read(&text);
                let found = !installs(&script, &state).is_empty()
                    || script
                        .commands
                        .iter()
                        .any(|c| package_install(c).is_some() || tool_install(c).is_some());
                assert!(found, "{text}");
            }
        }
        for text in [
            "echo npm ci",
            "cat <<EOF\napt-get install x\nEOF",
            "# apk add git",
            "npm --version",
            "apt-cache policy git",
        ] {
            let script = read(text);
            let any =
                script.commands.iter().any(|c| package_install(c).is_some() || tool_install(c).is_some());
            assert!(!any && installs(&script, &state).is_empty(), "{text}");
        }
    }

    #[test]
    fn only_the_removal_of_the_whole_index_counts() {
        let apt = &SYSTEM_MANAGERS[0];
        let removes = |text: &str| read(text).commands.iter().any(|c| removes_index(c, apt));
        for text in [
            "rm -rf /var/lib/apt/lists/*",
            "rm -rf /tmp/* /var/lib/apt/lists",
            "rm -rf /var/lib/{apt,dpkg,cache}/",
            "find /var/lib/apt/lists -type f -delete",
        ] {
            assert!(removes(text), "{text}");
        }
        for text in [
            "rm -rf /var/cache/apt/archives/*",
            "rm /var/lib/apt/lists/lock",
            "rm -rf /var/lib/aptitude",
            "apt-get clean",
            "rm -rf *",
        ] {
            assert!(!removes(text), "{text}");
        }
    }
}
