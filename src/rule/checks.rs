//! Commands that check something and make nothing: tests, linters, formatters that only look. Data.

use super::work;
use crate::syntax::shell::{ShellCommand, ShellWord};

/// Programs that do nothing else.
const CHECKERS: &[&str] = &[
    "actionlint",
    "ansible-lint",
    "ava",
    "bandit",
    "bats",
    "biome",
    "cargo-clippy",
    "cargo-nextest",
    "checkstyle",
    "clippy-driver",
    "codecov",
    "codespell",
    "credo",
    "ctest",
    "cypress",
    "detekt",
    "eslint",
    "flake8",
    "go-vet",
    "golangci-lint",
    "gosec",
    "govulncheck",
    "hadolint",
    "htmlhint",
    "isort",
    "jasmine",
    "jest",
    "karma",
    "ktlint",
    "luacheck",
    "markdownlint",
    "mocha",
    "mypy",
    "newman",
    "nosetests",
    "nox",
    "phan",
    "phpcs",
    "phpstan",
    "phpunit",
    "playwright",
    "pre-commit",
    "prove",
    "psalm",
    "pycodestyle",
    "pydocstyle",
    "pyflakes",
    "pylint",
    "pyre",
    "pyright",
    "pytest",
    "revive",
    "rspec",
    "rubocop",
    "safety",
    "semgrep",
    "shellcheck",
    "shellspec",
    "staticcheck",
    "stylelint",
    "swiftlint",
    "tap",
    "taplo",
    "tox",
    "trivy",
    "tslint",
    "typos",
    "unittest",
    "vitest",
    "vulture",
    "yamllint",
    "errcheck",
    "gotestsum",
    "ginkgo",
    "py.test",
    "zizmor",
    "xunit",
    "nunit3-console",
    "vstest",
    "stestr",
    "behave",
    "robot",
    "pip-audit",
    "coverage",
    "basedpyright",
    "oxlint",
    "standard",
    "xo",
    "c8",
    "nyc",
    "brakeman",
    "bundle-audit",
    "reek",
    "standardrb",
    "minitest",
];

/// Programs that check with one of these verbs.
const VERBS: &[(&[&str], &[&str])] = &[
    (&["go"], &["test", "vet"]),
    (
        &["cargo"],
        &[
            "test",
            "t",
            "nextest",
            "clippy",
            "deny",
            "audit",
            "check",
            "c",
            "bench",
            "miri",
            "machete",
            "udeps",
            "hack",
            "tarpaulin",
            "llvm-cov",
            "semver-checks",
            "spellcheck",
        ],
    ),
    (
        &["npm", "pnpm", "yarn", "bun"],
        &[
            "test",
            "t",
            "tst",
            "lint",
            "audit",
            "check",
            "typecheck",
            "type-check",
            "coverage",
            "format:check",
            "vitest",
            "jest",
            "eslint",
            "tsc",
        ],
    ),
    (&["npx", "bunx", "pnpx"], &[]),
    (&["deno"], &["test", "lint", "check", "bench"]),
    (
        &["mvn", "mvnw"],
        &[
            "test",
            "verify",
            "checkstyle:check",
            "spotless:check",
            "integration-test",
            "pmd:check",
            "spotbugs:check",
        ],
    ),
    (
        &["gradle", "gradlew"],
        &["test", "check", "spotlessCheck", "ktlintCheck", "detekt", "integrationTest", "lint"],
    ),
    (&["sbt"], &["test", "scalafmtCheck", "scalafmtCheckAll"]),
    (&["dotnet"], &["test", "vstest"]),
    (
        &[
            "make", "just", "task", "ninja", "rake", "invoke", "mage", "nx", "turbo", "meson", "bazel",
            "bazelisk", "lerna", "gulp", "grunt",
        ],
        &[
            "test",
            "tests",
            "check",
            "lint",
            "vet",
            "verify",
            "unit-test",
            "unittest",
            "test-unit",
            "typecheck",
            "spec",
            "fmt-check",
            "format-check",
            "ci",
        ],
    ),
    (&["composer"], &["test", "lint", "phpstan", "cs", "check", "phpcs", "analyse", "audit"]),
    (&["mix"], &["test", "credo", "dialyzer"]),
    (&["ruff"], &["check"]),
    (
        &[
            "swift",
            "zig",
            "dart",
            "flutter",
            "rails",
            "cabal",
            "stack",
            "lein",
            "rebar3",
            "crystal",
            "nimble",
            "julia",
            "elm-test",
            "forge",
            "terraform",
            "helm",
            "buf",
            "ng",
            "vue-cli-service",
        ],
        &["test", "analyze", "lint", "validate", "spec", "eunit", "ct", "test:unit"],
    ),
    (
        &["tofu", "packer", "conftest", "opa", "promtool", "kubeconform", "spectral", "nginx", "caddy"],
        &["validate", "test", "check", "lint", "-t"],
    ),
    (&["rustup"], &[]),
];

/// Programs that only look when told so.
const LOOKERS: &[(&[&str], &[&str])] = &[
    (
        &[
            "black",
            "isort",
            "prettier",
            "yapf",
            "autopep8",
            "rustfmt",
            "gofmt",
            "shfmt",
            "clang-format",
            "nixpkgs-fmt",
            "alejandra",
            "treefmt",
            "dprint",
            "standardjs",
            "stylua",
        ],
        &["--check", "--check-only", "-c", "-l", "-d", "--diff", "--dry-run", "--list-different", "check"],
    ),
    (&["tsc", "vue-tsc"], &["--noEmit"]),
    (&["ruff"], &["--check", "--diff"]),
    (&["poetry", "uv", "pdm", "hatch"], &["check"]),
    (&["terraform"], &["-check"]),
];

/// Programs that run the command behind them.
const RUNNERS: &[(&[&str], &[&str])] = &[
    (&["npm", "pnpm", "yarn", "bun"], &["run", "run-script", "exec", "dlx", "x"]),
    (&["npx", "bunx", "pnpx"], &[]),
    (&["poetry", "pipenv", "uv", "pdm", "rye", "hatch", "conda", "pixi"], &["run"]),
    (&["bundle"], &["exec"]),
    (&["coverage"], &["run"]),
    (&["uvx", "pipx"], &["run", ""]),
    (&["composer"], &["run", "run-script", "exec"]),
    (&["xvfb-run", "dumb-init", "tini"], &[]),
    (&["dotnet", "deno"], &["task", "tool"]),
];

/// Whether a command checks something and makes nothing of use.
pub(super) fn is_check(command: &ShellCommand) -> bool {
    let Some((name, arguments)) = work::program(command) else { return false };
    let words: Vec<&str> = arguments.iter().map(|w: &ShellWord| w.text.as_str()).collect();
    checks(name, &words, 0)
}

fn checks(name: &str, words: &[&str], depth: usize) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    // A test that is only compiled has not run.
    if words.iter().any(|w| matches!(*w, "--no-run" | "--version" | "--help" | "-version")) {
        return false;
    }
    // `CGO_ENABLED=0 go test -c` makes a program.
    if name == "go" && words.first() == Some(&"test") && words.contains(&"-c") {
        return false;
    }
    if matches!(name, "playwright" | "cypress") && words.first().is_some_and(|w| w.starts_with("install")) {
        return false;
    }
    let operands: Vec<&str> = words.iter().copied().filter(|w| !w.starts_with(['-', '+'])).collect();
    if name == "cargo" && operands.first() == Some(&"fmt")
        || name == "dotnet" && operands.first() == Some(&"format")
    {
        return words.iter().any(|w| matches!(*w, "--check" | "--verify-no-changes"));
    }
    if CHECKERS.contains(&name) || is_check_script(name) {
        return true;
    }
    if LOOKERS
        .iter()
        .any(|(programs, flags)| programs.contains(&name) && words.iter().any(|w| flags.contains(w)))
    {
        return true;
    }
    if VERBS.iter().any(|(programs, verbs)| {
        programs.contains(&name) && operands.iter().take(3).any(|w| verbs.contains(&verb(w)))
    }) {
        return true;
    }
    if depth > 3 {
        return false;
    }
    let runner = RUNNERS.iter().find(|(programs, _)| programs.contains(&name));
    if let Some((_, verbs)) = runner {
        let mut inner = operands.as_slice();
        if let [first, rest @ ..] = inner
            && verbs.contains(first)
        {
            inner = rest;
        } else if !verbs.is_empty() && !verbs.contains(&"") {
            return false;
        }
        // `python -m pytest` behind a runner.
        if let [python, ..] = inner
            && python.starts_with("python")
            && let Some(at) = words.iter().position(|w| *w == "-m")
        {
            return words
                .get(at + 1)
                .is_some_and(|module| checks(module, words.get(at + 2..).unwrap_or_default(), depth + 1));
        }
        if let [program, ..] = inner {
            let at = words.iter().position(|w| w == program).unwrap_or(0);
            let scripted = matches!(name, "npm" | "pnpm" | "yarn" | "bun" | "composer" | "deno")
                && is_check_name(program);
            return scripted || checks(program, words.get(at + 1..).unwrap_or_default(), depth + 1);
        }
    }
    if matches!(name, "sh" | "bash" | "python" | "python3" | "node" | "ruby" | "php" | "perl") {
        return operands.first().is_some_and(|script| {
            is_check_script(script.rsplit('/').next().unwrap_or(script))
                || (name == "php" && script.ends_with("phpunit"))
        });
    }
    false
}

/// The verb of a word such as `:app:test` or `//...:test`.
fn verb(word: &str) -> &str {
    word.rsplit(':').next().filter(|v| word.starts_with(':') && !v.is_empty()).unwrap_or(word)
}

/// `test`, `test:unit`, `lint-fix`: the name of a script that checks.
fn is_check_name(name: &str) -> bool {
    let first = name.split([':', '-', '_', '.']).next().unwrap_or_default();
    matches!(
        first,
        "test"
            | "tests"
            | "lint"
            | "check"
            | "typecheck"
            | "eslint"
            | "jest"
            | "vitest"
            | "coverage"
            | "verify"
            | "audit"
    ) || name == "type-check"
        || name.ends_with(":check")
        || name.ends_with(":test")
        || name.ends_with(":lint")
}

/// `run-tests.sh`, `test.sh`, `lint.py`.
fn is_check_script(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    matches!(extension, "sh" | "bash" | "py" | "js" | "mjs" | "ts" | "rb" | "pl" | "php")
        && stem.split(['-', '_', '.']).any(|part| {
            matches!(
                part.to_ascii_lowercase().as_str(),
                "test" | "tests" | "lint" | "check" | "verify" | "unittest" | "unittests" | "runtests"
            )
        })
        && !["install", "setup", "prepare", "health", "healthcheck"].iter().any(|word| stem.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::LogicalText;
    use crate::syntax::shell;

    fn any(script: &str) -> bool {
        let mut text = LogicalText::new();
        text.push(script.as_bytes(), 0);
        shell::parse(&text).commands.iter().any(is_check)
    }

    #[test]
    fn tests_and_linters_are_checks_in_every_clothing() {
        for script in [
            "go test ./... -race",
            "CGO_ENABLED=1 go vet ./...",
            "cargo +nightly fmt --all -- --check",
            "cargo nextest run",
            "npm run test:unit",
            "npm run lint",
            "yarn lint",
            "npx --yes eslint .",
            "pnpm exec vitest run",
            "python -m pytest -q",
            "python3 -m unittest discover",
            "poetry run mypy src",
            "uv run python -m pytest",
            "./gradlew --no-daemon check",
            "./mvnw -B verify",
            "bundle exec rspec",
            "vendor/bin/phpunit",
            "make -j4 check",
            "ctest --test-dir build",
            "black --check .",
            "ruff check .",
            "tsc --noEmit",
            "./scripts/run-tests.sh",
            "sh test.sh",
            "mix test",
            "dotnet test",
            "bats tests",
            "if true; then go test ./...; fi",
            "coverage run -m pytest",
            "ruff format --check",
        ] {
            assert!(any(script), "{script}");
        }
    }

    #[test]
    fn builds_and_installs_are_no_checks() {
        for script in [
            "go build ./...",
            "cargo build --release",
            "npm ci",
            "npm run build",
            "pip install pytest",
            "apt-get install shellcheck",
            "go test -c -o /t ./x",
            "cargo test --no-run",
            "black .",
            "tsc",
            "make all",
            "yarn build",
            "npx tsc",
            "mvn package",
            "playwright install",
            "./install-tests.sh",
            "cp test.sh /",
            "echo lint",
            "pip install -r requirements-test.txt",
            "golangci-lint --version",
        ] {
            assert!(!any(script), "{script}");
        }
    }
}
