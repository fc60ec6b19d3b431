//! What rules know of the world outside Docker, as tables: package managers, their manifests and lockfiles, the words
//! that make them fetch and install, and the files that tools leave behind. No code that judges.

/// A package manager of a distribution whose index is fetched by a command of its own. Those that refresh a stale
/// index by themselves before they install (dnf, yum, zypper) are not here.
pub(super) struct SystemManager {
    /// What people call it.
    pub name: &'static str,
    /// Programs that share one index.
    pub programs: &'static [&'static str],
    /// Verbs that fetch the index.
    pub refresh: &'static [&'static str],
    /// Verbs that choose packages by the index and fetch them.
    pub install: &'static [&'static str],
    /// Those of them that need no package name.
    pub upgrade: &'static [&'static str],
    /// Options with which an install fetches the index first.
    pub refreshing_options: &'static [&'static str],
    /// Options whose value is the next word.
    pub valued_options: &'static [&'static str],
    /// Folder of the index.
    pub index: &'static str,
    /// Ending of a package file.
    pub package_file: &'static str,
    /// How to leave no index behind: the end of a RUN, or nothing.
    pub clean: &'static str,
}

/// Managers with a separate index.
pub(super) const SYSTEM_MANAGERS: &[SystemManager] = &[
    SystemManager {
        name: "apt",
        programs: &["apt-get", "apt", "aptitude", "apt-fast", "nala"],
        refresh: &["update"],
        install: &[
            "install",
            "reinstall",
            "satisfy",
            "build-dep",
            "upgrade",
            "dist-upgrade",
            "full-upgrade",
            "safe-upgrade",
        ],
        upgrade: &["upgrade", "dist-upgrade", "full-upgrade", "safe-upgrade"],
        refreshing_options: &["--update", "-U"],
        valued_options: &[
            "-o",
            "--option",
            "-t",
            "--target-release",
            "--default-release",
            "-c",
            "--config-file",
            "-a",
            "--host-architecture",
            "-P",
            "--build-profiles",
        ],
        index: "/var/lib/apt/lists",
        package_file: ".deb",
        clean: " && rm -rf /var/lib/apt/lists/*",
    },
    SystemManager {
        name: "apk",
        programs: &["apk"],
        refresh: &["update"],
        install: &["add", "upgrade", "fix"],
        upgrade: &["upgrade", "fix"],
        refreshing_options: &["-U", "--update", "--update-cache", "--no-cache"],
        valued_options: &[
            "-t",
            "--virtual",
            "-X",
            "--repository",
            "-p",
            "--root",
            "--arch",
            "--cache-dir",
            "--cache-max-age",
            "--keys-dir",
            "--repositories-file",
            "--wait",
        ],
        index: "/var/cache/apk",
        package_file: ".apk",
        clean: "",
    },
    SystemManager {
        name: "opkg",
        programs: &["opkg"],
        refresh: &["update"],
        install: &["install", "upgrade"],
        upgrade: &["upgrade"],
        refreshing_options: &[],
        valued_options: &["-f", "--conf", "-d", "--dest", "-o", "--offline-root", "-V", "--verbosity"],
        index: "/var/opkg-lists",
        package_file: ".ipk",
        clean: "",
    },
];

/// Words of pacman, which spells its verbs as options: `-Sy` fetches the index, `-S NAME` installs.
pub(super) const PACMAN: SystemManager = SystemManager {
    name: "pacman",
    programs: &["pacman", "yay", "paru"],
    refresh: &[],
    install: &[],
    upgrade: &[],
    refreshing_options: &[],
    valued_options: &[
        "-b",
        "--dbpath",
        "-r",
        "--root",
        "--arch",
        "--cachedir",
        "--config",
        "--gpgdir",
        "--ignore",
    ],
    index: "/var/lib/pacman/sync",
    package_file: ".zst",
    clean: "",
};

/// A package manager that refreshes its index by itself before it installs.
pub(super) struct SelfRefreshing {
    /// Its names.
    pub programs: &'static [&'static str],
    /// Verbs with package names behind them.
    pub install: &'static [&'static str],
    /// Options whose value is the next word.
    pub valued_options: &'static [&'static str],
}

/// Managers without an index that goes stale.
pub(super) const SELF_REFRESHING: &[SelfRefreshing] = &[
    SelfRefreshing {
        programs: &["dnf", "dnf5", "yum", "microdnf", "tdnf"],
        install: &["install", "groupinstall", "localinstall", "reinstall", "builddep"],
        valued_options: &[
            "-c",
            "--config",
            "--releasever",
            "--setopt",
            "--enablerepo",
            "--disablerepo",
            "--repo",
            "--installroot",
            "-x",
            "--exclude",
        ],
    },
    SelfRefreshing {
        programs: &["zypper"],
        install: &["install", "in"],
        valued_options: &["-D", "--reposd-dir", "-R", "--root", "-r", "--repo", "-t", "--type", "--from"],
    },
];

/// A command that installs a tool by its name.
pub(super) struct ToolInstall {
    /// The program.
    pub programs: &'static [&'static str],
    /// Its verbs, of one word or more; the empty one stands for the bare program.
    pub verbs: &'static [&'static str],
    /// Options whose value is the next word.
    pub valued: &'static [&'static str],
    /// It is about a tool only with one of these options.
    pub only_with: &'static [&'static str],
    /// With one of these options it is about the project or about files.
    pub not_with: &'static [&'static str],
    /// Without a name it reads a file that says what to install.
    pub reads_file: bool,
    /// How a version is written behind the name (`@`, `==`), and the options that say one.
    pub version: (&'static str, &'static [&'static str]),
}

const TOOL_INSTALL: ToolInstall = ToolInstall {
    programs: &[],
    verbs: &["install"],
    valued: &[],
    only_with: &[],
    not_with: &[],
    reads_file: false,
    version: ("", &[]),
};

/// Commands that install tools by their names.
pub(super) const TOOL_INSTALLS: &[ToolInstall] = &[
    ToolInstall {
        programs: &["cargo"],
        verbs: &["install", "binstall"],
        valued: &[
            "--version",
            "--vers",
            "--root",
            "--features",
            "-F",
            "--git",
            "--branch",
            "--tag",
            "--rev",
            "--target",
            "--profile",
            "--registry",
            "--index",
            "-j",
            "--jobs",
            "--bin",
            "--config",
            "--target-dir",
        ],
        not_with: &["--path", "--list"],
        version: ("@", &["--version", "--vers", "--rev", "--tag", "--git", "--branch"]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["rustup"],
        verbs: &["toolchain install", "install", "update", "target add", "component add", "toolchain add"],
        valued: &["--toolchain", "--profile", "-c", "--component", "-t", "--target"],
        reads_file: true,
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["npm", "pnpm"],
        verbs: &["install", "i", "add"],
        valued: &["--registry", "--loglevel", "--cache", "--prefix"],
        only_with: &["-g", "--global", "--location=global"],
        version: ("@", &[]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["yarn"],
        verbs: &["global add"],
        valued: &["--prefix", "--registry"],
        version: ("@", &[]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["bun"],
        verbs: &["install", "i", "add"],
        only_with: &["-g", "--global"],
        version: ("@", &[]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["go"],
        verbs: &["install"],
        valued: &["-tags", "-ldflags", "-C"],
        version: ("@", &[]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["pip"],
        valued: PIP_VALUED,
        not_with: &[
            "-r",
            "--requirement",
            "-c",
            "--constraint",
            "-e",
            "--editable",
            "--no-index",
            "--group",
            "--no-deps",
        ],
        version: ("=", &[]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["pipx"],
        valued: &["--python", "--pip-args", "--index-url", "-i", "--suffix"],
        version: ("==", &[]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["uv"],
        verbs: &["tool install"],
        valued: &["--python", "-p", "--with", "--from", "--index-url"],
        version: ("==", &["--from"]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["gem"],
        valued: &["-v", "--version", "-i", "--install-dir", "-n", "--bindir", "-s", "--source"],
        not_with: &["-g", "--file"],
        version: (":", &["-v", "--version"]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["dotnet"],
        verbs: &["tool install"],
        valued: &["--version", "--tool-path", "--add-source", "--framework"],
        only_with: &["-g", "--global", "--tool-path"],
        version: ("@", &["--version"]),
        ..TOOL_INSTALL
    },
    ToolInstall {
        programs: &["install-php-extensions", "docker-php-ext-install", "pecl"],
        verbs: &["install", ""],
        ..TOOL_INSTALL
    },
];

/// Files that say which toolchain to install.
pub(super) const TOOLCHAIN_FILES: &[&str] = &[
    "rust-toolchain.toml",
    "rust-toolchain",
    ".tool-versions",
    "mise.toml",
    ".nvmrc",
    ".node-version",
    ".python-version",
    "global.json",
];

/// Folders in the image with settings of package managers, and certificates without which nothing is fetched.
pub(super) const SETTINGS_PLACES: &[&str] = &[
    "/etc/apt",
    "/etc/apk",
    "/etc/yum.repos.d",
    "/etc/yum",
    "/etc/dnf",
    "/etc/zypp",
    "/etc/pacman.d",
    "/etc/pki",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/usr/share/keyrings",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/etc/rpm",
    "/etc/profile.d",
];

/// Names of files that package managers read, and of packages.
pub(super) const SETTINGS_OF_INSTALLERS: &[&str] = &[
    "*.list",
    "*.sources",
    "*.repo",
    "*.gpg",
    "*.asc",
    "*.crt",
    "*.pem",
    "*.cer",
    "*.deb",
    "*.rpm",
    "*.apk",
    "sources.list*",
    "apt.conf*",
    "pacman.conf",
    "packages*.txt",
    "apt*.txt",
    "*bash*rc",
    ".condarc",
    ".npmrc",
    ".netrc",
    "pip.conf",
    "*install*",
    "*setup*.sh",
    "*.key",
    "*.pub",
];

/// Programs that fetch the index of [`SYSTEM_MANAGERS`] on the way.
pub(super) const REFRESH_INSIDE: &[&str] = &[
    "add-apt-repository",
    "apt-add-repository",
    "install_packages",
    "extrepo",
    "clean-install",
    "apt-install",
];

/// What a leftover is, and so why it should not be in a build context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeftoverKind {
    /// Downloaded or installed for the machine it lies on.
    Dependencies,
    /// Made by a build.
    Output,
    /// Kept by a tool to be faster next time.
    Cache,
    /// Written by programs that ran.
    Log,
    /// Settings and keys of one person or machine.
    Local,
    /// The history of the repository.
    History,
}

impl LeftoverKind {
    /// In a word or two, as a label.
    pub(super) fn name(self) -> &'static str {
        match self {
            LeftoverKind::Dependencies => "installed dependencies",
            LeftoverKind::Output => "build output",
            LeftoverKind::Cache => "tool cache",
            LeftoverKind::Log => "log or test report",
            LeftoverKind::Local => "local settings or secrets",
            LeftoverKind::History => "repository history",
        }
    }
}

/// A file or folder that tools leave behind in a source tree.
pub(super) struct Leftover {
    /// Its name; one `*` may stand for any characters.
    pub name: &'static str,
    /// Whether it is a folder.
    pub folder: bool,
    /// What it is.
    pub kind: LeftoverKind,
    /// What makes sure that it is one.
    pub proof: Proof,
}

/// What makes sure that a name is a leftover and not part of the source.
#[derive(Clone, Copy)]
pub(super) enum Proof {
    /// Nobody names anything else so.
    Name,
    /// One of these files beside it (`*` at either end).
    Beside(&'static [&'static str]),
    /// One of these inside.
    Inside(&'static [&'static str]),
    /// The repository's .gitignore leaves it out.
    Ignored,
    /// Mostly, so it counts only where nobody has thought of an ignore file.
    Usual,
}

const fn folder(name: &'static str, kind: LeftoverKind, proof: Proof) -> Leftover {
    Leftover { name, folder: true, kind, proof }
}

const fn file(name: &'static str, kind: LeftoverKind, proof: Proof) -> Leftover {
    Leftover { name, folder: false, kind, proof }
}

const DOTNET: &[&str] = &["*.csproj", "*.fsproj", "*.vbproj"];

/// What tools leave behind.
pub(super) const LEFTOVERS: &[Leftover] = {
    use LeftoverKind::{Cache, Dependencies, History, Local, Log, Output};
    use Proof::{Beside, Ignored, Inside, Name, Usual};
    &[
        // version control
        folder(".git", History, Usual),
        folder(".svn", History, Usual),
        folder(".hg", History, Usual),
        // JavaScript
        folder("node_modules", Dependencies, Name),
        folder("bower_components", Dependencies, Name),
        folder("jspm_packages", Dependencies, Name),
        folder(".pnpm-store", Dependencies, Name),
        folder(".next", Output, Name),
        folder(".nuxt", Output, Name),
        folder(".output", Output, Beside(&["nuxt.config.*"])),
        folder(".svelte-kit", Output, Name),
        folder(".angular", Cache, Name),
        folder(".turbo", Cache, Name),
        folder(".parcel-cache", Cache, Name),
        folder(".nyc_output", Log, Name),
        file("npm-debug.log*", Log, Name),
        file("yarn-error.log*", Log, Name),
        file("*.tsbuildinfo", Cache, Name),
        file(".eslintcache", Cache, Name),
        // test reports
        folder(
            "coverage",
            Log,
            Inside(&[
                "lcov.info",
                "coverage-final.json",
                "clover.xml",
                "lcov-report",
                "cobertura-coverage.xml",
            ]),
        ),
        folder("coverage", Log, Ignored),
        folder("htmlcov", Log, Name),
        file(".coverage", Log, Name),
        file("lcov.info", Log, Usual),
        // Python
        folder("__pycache__", Cache, Name),
        file("*.pyc", Cache, Name),
        folder(".venv", Dependencies, Name),
        folder("venv", Dependencies, Inside(&["pyvenv.cfg", "bin", "Scripts"])),
        folder("env", Dependencies, Inside(&["pyvenv.cfg"])),
        folder(".tox", Dependencies, Name),
        folder(".nox", Dependencies, Name),
        folder(".pytest_cache", Cache, Name),
        folder(".mypy_cache", Cache, Name),
        folder(".ruff_cache", Cache, Name),
        folder(".hypothesis", Cache, Name),
        folder(".ipynb_checkpoints", Cache, Name),
        folder("*.egg-info", Output, Name),
        folder(".eggs", Dependencies, Name),
        // Rust, JVM
        folder("target", Output, Beside(&["Cargo.toml", "Cargo.lock", "pom.xml", "build.sbt"])),
        folder("target", Output, Inside(&["CACHEDIR.TAG", ".rustc_info.json"])),
        folder(".gradle", Cache, Name),
        folder("build", Output, Beside(&["build.gradle", "build.gradle.kts"])),
        folder(".bloop", Cache, Name),
        folder(".metals", Cache, Name),
        // .NET
        folder("bin", Output, Beside(DOTNET)),
        folder("obj", Output, Beside(DOTNET)),
        folder(".vs", Local, Name),
        // others
        folder(".bundle", Local, Beside(&["Gemfile"])),
        folder("vendor", Dependencies, Ignored),
        folder("_build", Output, Beside(&["mix.exs", "rebar.config", "dune-project"])),
        folder("deps", Dependencies, Beside(&["mix.exs"])),
        folder(".elixir_ls", Cache, Name),
        folder("elm-stuff", Output, Name),
        folder(".stack-work", Output, Name),
        folder("dist-newstyle", Output, Name),
        folder("zig-cache", Cache, Name),
        folder(".zig-cache", Cache, Name),
        folder("zig-out", Output, Name),
        folder(".dart_tool", Cache, Name),
        folder(".terraform", Cache, Name),
        file("*.tfstate", Local, Usual),
        folder(".vagrant", Local, Name),
        folder(".serverless", Output, Name),
        folder(".aws-sam", Output, Name),
        folder("dist", Output, Ignored),
        folder("build", Output, Ignored),
        folder("out", Output, Ignored),
        folder("tmp", Cache, Ignored),
        folder("temp", Cache, Ignored),
        folder("log", Log, Ignored),
        folder("logs", Log, Ignored),
        folder(".cache", Cache, Name),
        // programs that ran
        file("*.log", Log, Name),
        file("*.pid", Log, Usual),
        file("*.hprof", Log, Name),
        file("*.sqlite3", Log, Usual),
        // editors and systems
        folder(".idea", Local, Name),
        folder(".direnv", Local, Name),
        file("*.swp", Local, Name),
        file("*~", Local, Usual),
        file(".DS_Store", Local, Name),
        file("Thumbs.db", Local, Name),
        // settings and keys
        file(".env.local", Local, Name),
        file(".env.*.local", Local, Name),
        file(".env", Local, Usual),
        file("id_rsa", Local, Usual),
        file("id_ed25519", Local, Usual),
        folder(".ssh", Local, Usual),
        folder(".aws", Local, Usual),
    ]
};

/// Folders whose files are made up on purpose: a log in one of them is a test's input.
pub(super) const SAMPLE_FOLDERS: &[&str] = &[
    "test",
    "tests",
    "testdata",
    "testing",
    "spec",
    "specs",
    "__tests__",
    "fixtures",
    "__fixtures__",
    "__snapshots__",
    "snapshots",
    "golden",
    "samples",
    "sample",
    "examples",
    "example",
    "mocks",
    "e2e",
];

/// A command that installs what manifests list, and so needs nothing of the source.
pub(super) struct Installer {
    /// The program, as people call it.
    pub name: &'static str,
    /// Other names of it.
    pub programs: &'static [&'static str],
    /// Verbs, of one word or more; the empty one stands for the bare program.
    pub verbs: &'static [&'static str],
    /// What other words behind the verb mean.
    pub operands: Operands,
    /// Options whose value is the next word.
    pub valued: &'static [&'static str],
    /// Options that name the folder it works in.
    pub folder_options: &'static [&'static str],
    /// Options that name a manifest.
    pub file_options: &'static [&'static str],
    /// Options with which it only links or needs the source.
    pub not_with: &'static [&'static str],
    /// It is about a manifest only with one of its file options.
    pub needs_file: bool,
    /// Files that list what is needed, by preference; patterns among them.
    pub manifests: &'static [&'static str],
    /// Files that pin it, and settings it reads.
    pub locks: &'static [&'static str],
    /// What it fetches stays in a cache mount as a whole, so that a later run with that mount costs little.
    pub kept_by_mount: bool,
    /// Options for an install without the source, and the command that completes it (empty: the same without them).
    pub split: Option<(&'static str, &'static str)>,
}

/// What words behind the verb mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// Packages: then it is no install from a manifest.
    Packages,
    /// Packages beside the manifest are fine, folders are not.
    Mixed,
    /// Manifests, or folders of them.
    Manifests,
}

const INSTALLER: Installer = Installer {
    name: "",
    programs: &[],
    verbs: &["install"],
    operands: Operands::Packages,
    valued: &[],
    folder_options: &[],
    file_options: &[],
    not_with: &[],
    needs_file: false,
    manifests: &[],
    locks: &[],
    kept_by_mount: false,
    split: None,
};

const NODE_VALUED: &[&str] = &[
    "--registry",
    "--loglevel",
    "--cache",
    "-w",
    "--workspace",
    "--filter",
    "-F",
    "--omit",
    "--only",
    "--include",
    "--network-timeout",
    "--network-concurrency",
    "--cache-folder",
    "--modules-folder",
    "--mutex",
    "--store-dir",
    "--fetch-timeout",
    "--fetch-retries",
    "--maxsockets",
    "--reporter",
    "--userconfig",
    "--backend",
];
const NODE_FOLDERS: &[&str] = &["--prefix", "-C", "--dir", "--cwd", "--modules-folder"];
const NODE_LINKS: &[&str] = &[
    "--offline",
    "-g",
    "--global",
    "--location=global",
    "--package-lock-only",
    "--lockfile-only",
    "--dry-run",
];
const PIP_VALUED: &[&str] = &[
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--trusted-host",
    "-t",
    "--target",
    "--prefix",
    "--timeout",
    "--retries",
    "--cache-dir",
    "--root",
    "--no-binary",
    "--only-binary",
    "--platform",
    "-w",
    "--wheel-dir",
    "--python-version",
    "--proxy",
    "-c",
    "--constraint",
    "--src",
    "--upgrade-strategy",
    "--default-timeout",
    "--python",
    "-p",
    "--python-platform",
    "--implementation",
    "--abi",
    "--progress-bar",
    "--log",
    "-d",
    "--dest",
];
const PIP_NOT: &[&str] = &["--no-deps", "--no-index", "-e", "--editable", "--offline"];

/// Commands that install from manifests.
pub(super) const INSTALLERS: &[Installer] = &[
    Installer {
        name: "npm",
        programs: &["npm"],
        verbs: &["ci", "install", "i", "clean-install", "install-clean"],
        valued: NODE_VALUED,
        folder_options: NODE_FOLDERS,
        not_with: NODE_LINKS,
        manifests: &["package.json"],
        locks: &["package-lock.json", "npm-shrinkwrap.json", ".npmrc"],
        ..INSTALLER
    },
    Installer {
        name: "yarn",
        programs: &["yarn", "yarnpkg"],
        verbs: &["install", ""],
        valued: NODE_VALUED,
        folder_options: NODE_FOLDERS,
        not_with: NODE_LINKS,
        manifests: &["package.json"],
        locks: &["yarn.lock", ".yarnrc.yml", ".yarnrc", ".npmrc"],
        ..INSTALLER
    },
    Installer {
        name: "pnpm",
        programs: &["pnpm"],
        verbs: &["install", "i"],
        valued: NODE_VALUED,
        folder_options: NODE_FOLDERS,
        not_with: NODE_LINKS,
        manifests: &["package.json"],
        locks: &["pnpm-lock.yaml", ".npmrc"],
        ..INSTALLER
    },
    Installer {
        name: "bun",
        programs: &["bun"],
        verbs: &["install", "i"],
        valued: NODE_VALUED,
        folder_options: NODE_FOLDERS,
        not_with: NODE_LINKS,
        manifests: &["package.json"],
        locks: &["bun.lock", "bun.lockb", "bunfig.toml"],
        ..INSTALLER
    },
    Installer {
        name: "pip",
        programs: &["pip"],
        verbs: &["install", "wheel", "download"],
        operands: Operands::Mixed,
        valued: PIP_VALUED,
        file_options: &["-r", "--requirement"],
        not_with: PIP_NOT,
        needs_file: true,
        manifests: &["requirements.txt"],
        ..INSTALLER
    },
    Installer {
        name: "uv",
        programs: &["uv"],
        verbs: &["pip install"],
        operands: Operands::Mixed,
        valued: PIP_VALUED,
        file_options: &["-r", "--requirement", "--requirements"],
        not_with: PIP_NOT,
        needs_file: true,
        manifests: &["requirements.txt"],
        ..INSTALLER
    },
    Installer {
        name: "uv",
        programs: &["uv"],
        verbs: &["pip sync"],
        operands: Operands::Manifests,
        valued: PIP_VALUED,
        not_with: PIP_NOT,
        manifests: &["requirements.txt"],
        ..INSTALLER
    },
    Installer {
        name: "uv",
        programs: &["uv"],
        verbs: &["sync"],
        valued: &[
            "--python",
            "-p",
            "--group",
            "--extra",
            "--no-group",
            "--only-group",
            "--cache-dir",
            "--link-mode",
            "--package",
        ],
        folder_options: &["--directory", "--project"],
        not_with: &["--offline"],
        manifests: &["pyproject.toml"],
        locks: &["uv.lock", ".python-version"],
        split: Some(("--no-install-project", "")),
        ..INSTALLER
    },
    Installer {
        name: "poetry",
        programs: &["poetry"],
        verbs: &["install", "sync"],
        valued: &["--only", "--with", "--without", "-E", "--extras"],
        folder_options: &["-C", "--directory", "--project", "-P"],
        manifests: &["pyproject.toml"],
        locks: &["poetry.lock", "poetry.toml"],
        split: Some(("--no-root", "")),
        not_with: &["--dry-run"],
        ..INSTALLER
    },
    Installer {
        name: "pdm",
        programs: &["pdm"],
        verbs: &["install", "sync"],
        valued: &["-G", "--group"],
        folder_options: &["-p", "--project"],
        manifests: &["pyproject.toml"],
        locks: &["pdm.lock"],
        split: Some(("--no-self", "")),
        ..INSTALLER
    },
    Installer {
        name: "pipenv",
        programs: &["pipenv"],
        verbs: &["install", "sync"],
        valued: &["--python", "--categories", "--extra-pip-args"],
        manifests: &["Pipfile"],
        locks: &["Pipfile.lock"],
        ..INSTALLER
    },
    Installer {
        name: "conda",
        programs: &["conda", "mamba", "micromamba"],
        verbs: &["env create", "env update", "create", "install"],
        valued: &["-n", "--name", "-p", "--prefix", "-c", "--channel"],
        file_options: &["-f", "--file"],
        needs_file: true,
        manifests: &["environment.yml", "environment.yaml"],
        ..INSTALLER
    },
    Installer {
        name: "go",
        programs: &["go"],
        verbs: &["mod download"],
        folder_options: &["-C"],
        manifests: &["go.mod"],
        locks: &["go.sum"],
        kept_by_mount: true,
        ..INSTALLER
    },
    Installer {
        name: "cargo chef",
        programs: &["cargo"],
        verbs: &["chef cook"],
        valued: &[
            "--recipe-path",
            "--target",
            "--features",
            "-p",
            "--package",
            "--bin",
            "--profile",
            "--manifest-path",
            "--target-dir",
        ],
        manifests: &["recipe.json"],
        ..INSTALLER
    },
    Installer {
        name: "maven",
        programs: &["mvn", "mvnw", "mvnd"],
        verbs: &[
            "dependency:go-offline",
            "dependency:resolve",
            "dependency:resolve-plugins",
            "dependency:resolve dependency:resolve-plugins",
        ],
        valued: &["-P", "-pl", "--projects", "-s", "--settings", "-T", "--threads"],
        file_options: &["-f", "--file"],
        not_with: &["-o", "--offline"],
        manifests: &["pom.xml"],
        kept_by_mount: true,
        ..INSTALLER
    },
    Installer {
        name: "gradle",
        programs: &["gradle", "gradlew"],
        verbs: &["dependencies", "downloadDependencies", "resolveDependencies"],
        folder_options: &["-p", "--project-dir"],
        not_with: &["--offline"],
        manifests: &["build.gradle.kts", "build.gradle"],
        locks: &["settings.gradle.kts", "settings.gradle", "gradle.properties", "gradle.lockfile"],
        kept_by_mount: true,
        ..INSTALLER
    },
    Installer {
        name: "bundler",
        programs: &["bundle", "bundler"],
        verbs: &["install", ""],
        valued: &["-j", "--jobs", "--path", "--without", "--with", "--retry", "--binstubs"],
        file_options: &["--gemfile"],
        not_with: &["--local"],
        manifests: &["Gemfile"],
        locks: &["Gemfile.lock", ".ruby-version"],
        ..INSTALLER
    },
    Installer {
        name: "composer",
        programs: &["composer", "composer.phar"],
        verbs: &["install", "update", "i"],
        valued: &["--ignore-platform-req", "--prefer-install"],
        folder_options: &["-d", "--working-dir"],
        manifests: &["composer.json"],
        locks: &["composer.lock", "symfony.lock"],
        split: Some(("--no-scripts --no-autoloader", "composer dump-autoload")),
        ..INSTALLER
    },
    Installer {
        name: "dotnet",
        programs: &["dotnet"],
        verbs: &["restore"],
        operands: Operands::Manifests,
        valued: &[
            "-r",
            "--runtime",
            "-s",
            "--source",
            "--configfile",
            "--packages",
            "-v",
            "--verbosity",
            "-a",
            "--arch",
            "--os",
        ],
        not_with: &["--no-dependencies"],
        manifests: &["*.csproj", "*.fsproj", "*.vbproj", "*.sln", "*.slnx"],
        locks: &[
            "packages.lock.json",
            "nuget.config",
            "NuGet.Config",
            "Directory.Packages.props",
            "Directory.Build.props",
        ],
        kept_by_mount: true,
        ..INSTALLER
    },
    Installer {
        name: "mix",
        programs: &["mix"],
        verbs: &["deps.get"],
        valued: &["--only"],
        manifests: &["mix.exs"],
        locks: &["mix.lock"],
        ..INSTALLER
    },
    Installer {
        name: "dart",
        programs: &["dart", "flutter"],
        verbs: &["pub get", "packages get"],
        folder_options: &["-C", "--directory"],
        not_with: &["--offline"],
        manifests: &["pubspec.yaml"],
        locks: &["pubspec.lock"],
        ..INSTALLER
    },
    Installer {
        name: "swift",
        programs: &["swift"],
        verbs: &["package resolve"],
        folder_options: &["--package-path"],
        manifests: &["Package.swift"],
        locks: &["Package.resolved"],
        ..INSTALLER
    },
    Installer {
        name: "shards",
        programs: &["shards"],
        manifests: &["shard.yml"],
        locks: &["shard.lock"],
        ..INSTALLER
    },
];

/// A command that fetches dependencies and compiles a project in one go.
pub(super) struct WholeBuild {
    /// As in [`INSTALLERS`].
    pub name: &'static str,
    /// The program.
    pub programs: &'static [&'static str],
    /// What it is told to do.
    pub verbs: &'static [&'static str],
    /// Options whose value is the next word.
    pub valued: &'static [&'static str],
    /// Options with which it fetches nothing.
    pub not_with: &'static [&'static str],
    /// The manifest, and the file and the word in it by which dependencies are known.
    pub manifest: &'static str,
    /// The file that lists dependencies.
    pub listed_in: &'static str,
    /// What stands in it where there are any.
    pub listed_as: &'static str,
    /// Parts of paths in which what it fetches lies.
    pub kept_in: &'static [&'static str],
    /// What to write instead.
    pub help: &'static str,
}

/// Commands that fetch dependencies and compile in one go. Cargo is followed elsewhere.
pub(super) const WHOLE_BUILDS: &[WholeBuild] = &[
    WholeBuild {
        name: "go",
        programs: &["go"],
        verbs: &["build", "install"],
        valued: &["-o", "-ldflags", "-tags", "-C", "-gcflags", "-p"],
        not_with: &["-mod=vendor"],
        manifest: "go.mod",
        listed_in: "go.sum",
        listed_as: " h1:",
        kept_in: &["/go/pkg", "vendor", "/go"],
        help: "fetch the modules above the source:\nCOPY go.mod go.sum ./\nRUN go mod download\nor keep them in cache mounts on \
               /go/pkg/mod and /root/.cache/go-build",
    },
    WholeBuild {
        name: "maven",
        programs: &["mvn", "mvnw", "mvnd"],
        verbs: &["package", "install", "verify", "compile"],
        valued: &["-P", "-pl", "--projects", "-s", "--settings", "-T", "--threads", "-f", "--file"],
        not_with: &["-o", "--offline"],
        manifest: "pom.xml",
        listed_in: "pom.xml",
        listed_as: "<depend",
        kept_in: &[".m2"],
        help: "fetch the dependencies above the source:\nCOPY pom.xml ./\nRUN mvn -B dependency:go-offline\nor keep them in a cache \
               mount on /root/.m2",
    },
    WholeBuild {
        name: "gradle",
        programs: &["gradle", "gradlew"],
        verbs: &["build", "assemble", "bootJar", "jar", "shadowJar", "installDist", "war", "bootWar"],
        valued: &["-p", "--project-dir", "-g", "--gradle-user-home", "-x", "--exclude-task"],
        not_with: &["--offline"],
        manifest: "build.gradle",
        listed_in: "build.gradle",
        listed_as: "dependencies",
        kept_in: &[".gradle"],
        help: "fetch the dependencies above the source:\nCOPY build.gradle* settings.gradle* gradlew ./\nCOPY gradle gradle\nRUN \
               ./gradlew dependencies\nor keep them in a cache mount on /root/.gradle",
    },
];

/// Files beside a manifest that decide what an install does, by the name in [`INSTALLERS`]; and words, one of which they
/// must hold for that.
pub(super) const INSTALL_SETTINGS: &[(&str, &str, &[&str])] = &[
    ("npm", ".npmrc", NPMRC),
    ("pnpm", "pnpm-workspace.yaml", &[]),
    ("pnpm", ".pnpmfile.cjs", &[]),
    ("pnpm", ".npmrc", NPMRC),
    ("yarn", ".yarnrc.yml", &[]),
    ("yarn", ".yarnrc", &["registry", "install", "offline"]),
    ("yarn", ".npmrc", NPMRC),
    ("bun", "bunfig.toml", &["install", "registry"]),
    ("uv", "uv.toml", &[]),
    ("poetry", "poetry.toml", &[]),
    ("go", "go.work", &[]),
    ("dotnet", "Directory.Packages.props", &[]),
    ("dotnet", "Directory.Build.props", &[]),
    ("dotnet", "Directory.Build.targets", &[]),
    ("dotnet", "nuget.config", &[]),
    ("dotnet", "NuGet.Config", &[]),
    ("dotnet", "NuGet.config", &[]),
    ("gradle", "settings.gradle.kts", &[]),
    ("gradle", "settings.gradle", &[]),
    ("gradle", "gradle.properties", &[]),
    ("gradle", "gradle/libs.versions.toml", &[]),
    ("maven", ".mvn/extensions.xml", &[]),
    ("maven", ".mvn/maven.config", &[]),
];

const NPMRC: &[&str] = &[
    "registry",
    "node-linker",
    "hoist",
    "peer",
    "link-workspace",
    "ignore-scripts",
    "omit",
    "include",
    "install-strategy",
    "install-links",
    "package-import-method",
    "inject-workspace",
];

/// Manifests of tools that compile and install in one go, so that none of [`INSTALLERS`] is about them.
pub(super) const OTHER_MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "go.work",
    "go.work.sum",
    "pnpm-workspace.yaml",
    "rust-toolchain.toml",
    "rust-toolchain",
    "setup.cfg",
    "constraints.txt",
    ".nvmrc",
    ".node-version",
    ".tool-versions",
    "lerna.json",
    "turbo.json",
    "nx.json",
    "requirements*.txt",
    "requirements*.in",
    "*.gemspec",
];

/// Folders that hold an application's own source by their usual name.
pub(super) const SOURCE_FOLDERS: &[&str] = &["src", "app", "source", "sources", "cmd", "internal", "lib"];

/// Folders in which installed dependencies lie.
pub(super) const DEPENDENCY_FOLDERS: &[&str] =
    &["node_modules", "vendor", ".venv", "venv", "site-packages", "deps", ".yarn", "bundle", ".m2", ".nuget"];

/// What a build argument of some name selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deployment {
    /// Where or for whom it runs.
    Place,
    /// Which environment it runs in.
    Environment,
    /// The address of another service.
    Address,
    /// A feature that is on or off.
    Feature,
    /// A setting that a front-end bundler writes into the bundle.
    Bundled,
}

impl Deployment {
    /// As in "selects …".
    pub(super) fn name(self) -> &'static str {
        match self {
            Deployment::Place => "where or for whom the image runs",
            Deployment::Environment => "the environment the image runs in",
            Deployment::Address => "the address of a service",
            Deployment::Feature => "a feature",
            Deployment::Bundled => "a setting of the front end",
        }
    }
}

/// Words of names that say where or for whom something runs.
pub(super) const PLACE_WORDS: &[&str] = &[
    "MARKET",
    "REGION",
    "COUNTRY",
    "TENANT",
    "BRAND",
    "CUSTOMER",
    "DATACENTER",
    "CURRENCY",
    "FRANCHISE",
    "TERRITORY",
];

/// Names of the environment. The modes of build tools (NODE_ENV, RAILS_ENV, MIX_ENV, …) decide what is installed and
/// compiled, so they are build arguments with reason.
pub(super) const ENVIRONMENT_NAMES: &[&str] = &[
    "ENV",
    "ENVIRONMENT",
    "APP_ENV",
    "APP_ENVIRONMENT",
    "DEPLOY_ENV",
    "DEPLOYMENT_ENV",
    "DEPLOY_ENVIRONMENT",
    "DEPLOYMENT_ENVIRONMENT",
    "TARGET_ENV",
    "TARGET_ENVIRONMENT",
    "RUNTIME_ENV",
    "RUNTIME_ENVIRONMENT",
    "RUN_ENV",
    "SERVER_ENV",
    "SERVICE_ENV",
    "STAGE",
    "APP_STAGE",
    "DEPLOY_STAGE",
    "DEPLOYMENT_STAGE",
    "TIER",
    "DEPLOY_TIER",
    "FLASK_ENV",
    "DJANGO_ENV",
    "GO_ENV",
    "ASPNETCORE_ENVIRONMENT",
    "DOTNET_ENVIRONMENT",
    "SPRING_PROFILES_ACTIVE",
    "SPRING_PROFILE",
    "ACTIVE_PROFILE",
    "CLUSTER",
    "CLUSTER_NAME",
    "DD_ENV",
    "SENTRY_ENVIRONMENT",
    "APP_PROFILE",
];

/// Words before ENV or ENVIRONMENT that make it something else: a mode of a build tool, a folder of programs.
pub(super) const MODE_WORDS: &[&str] = &[
    "NODE",
    "RAILS",
    "RACK",
    "MIX",
    "BUILD",
    "BABEL",
    "CONDA",
    "VIRTUAL",
    "VENV",
    "EXECUTION",
    "PYTHON",
    "TEST",
    "COMPOSER",
    "JEKYLL",
    "HUGO",
    "ELEVENTY",
    "WEBPACK",
    "HANAMI",
    "TOX",
    "PIPENV",
    "YARN",
    "NPM",
    "CARGO",
    "JAVA",
];

/// Last words of names of addresses.
pub(super) const ADDRESS_WORDS: &[&str] =
    &["URL", "URI", "HOST", "HOSTNAME", "ENDPOINT", "DOMAIN", "ORIGIN", "FQDN", "DSN", "ADDR", "ADDRESS"];

/// Words that make such a name the address of a service, and not of a download.
pub(super) const SERVICE_WORDS: &[&str] = &[
    "API",
    "APP",
    "BACKEND",
    "FRONTEND",
    "PUBLIC",
    "SERVER",
    "SERVICE",
    "SITE",
    "AUTH",
    "OAUTH",
    "OIDC",
    "SSO",
    "LOGIN",
    "GRAPHQL",
    "WS",
    "WEBSOCKET",
    "SOCKET",
    "DATABASE",
    "DB",
    "POSTGRES",
    "MYSQL",
    "REDIS",
    "MONGO",
    "MONGODB",
    "KAFKA",
    "RABBITMQ",
    "AMQP",
    "ELASTICSEARCH",
    "SENTRY",
    "GATEWAY",
    "WEB",
    "CDN",
    "ASSET",
    "ASSETS",
    "CALLBACK",
    "WEBHOOK",
    "PAYMENT",
    "PAYMENTS",
    "ACCOUNTS",
    "SEARCH",
    "BFF",
    "RPC",
    "GRPC",
    "COLLECTOR",
    "OTEL",
    "BASE",
];

/// Beginnings of names that bundlers write into what they make.
pub(super) const BUNDLED_PREFIXES: &[&str] = &[
    "NEXT_PUBLIC_",
    "VITE_",
    "REACT_APP_",
    "VUE_APP_",
    "NUXT_PUBLIC_",
    "NUXT_ENV_",
    "GATSBY_",
    "EXPO_PUBLIC_",
    "NG_APP_",
];

/// Words of names that are about the build itself: versions, where packages come from, the machine, the user.
pub(super) const BUILD_WORDS: &[&str] = &[
    "VERSION",
    "VER",
    "VERSIONS",
    "COMMIT",
    "SHA",
    "SHA256",
    "REF",
    "REVISION",
    "REV",
    "BRANCH",
    "TAG",
    "DATE",
    "TIMESTAMP",
    "CREATED",
    "CHECKSUM",
    "DIGEST",
    "HASH",
    "ARCH",
    "PLATFORM",
    "OS",
    "PROXY",
    "UID",
    "GID",
    "USER",
    "GROUP",
    "HOME",
    "PATH",
    "DIR",
    "DIRECTORY",
    "FOLDER",
    "FILE",
    "IMAGE",
    "REGISTRY",
    "MIRROR",
    "DOWNLOAD",
    "DOWNLOADS",
    "REPO",
    "REPOS",
    "REPOSITORY",
    "INDEX",
    "PACKAGE",
    "PACKAGES",
    "SOURCE",
    "SRC",
    "GIT",
    "GITHUB",
    "GITLAB",
    "VCS",
    "PYPI",
    "NPM",
    "MAVEN",
    "APT",
    "APK",
    "PIP",
    "NEXUS",
    "ARTIFACTORY",
    "TARBALL",
    "TGZ",
    "TAR",
    "ZIP",
    "JAR",
    "INSTALL",
    "INSTALLER",
    "BUILD",
    "BUILDER",
    "TOKEN",
    "PASSWORD",
    "SECRET",
    "KEY",
    "LICENSE",
    "DOC",
    "DOCS",
    "HOMEPAGE",
    "CERT",
    "CI",
    "CHANNEL",
    "RELEASE",
];

/// Programs that fetch from an address while the image is built.
pub(super) const DOWNLOADERS: &[&str] = &[
    "curl", "wget", "git", "aria2c", "pip", "pip3", "npm", "apt-get", "apk", "rsync", "scp", "ftp", "svn",
    "conda",
];

/// Programs that bundle a front end, alone or as the runner of a script of that name.
pub(super) const BUNDLERS: &[&str] = &[
    "npm",
    "yarn",
    "pnpm",
    "bun",
    "npx",
    "vite",
    "next",
    "nuxt",
    "nuxi",
    "ng",
    "react-scripts",
    "gatsby",
    "webpack",
    "turbo",
    "nx",
    "vue-cli-service",
    "expo",
];

/// Options by which a compiler or build tool takes a value or a profile into what it makes.
pub(super) const COMPILED_OPTIONS: &[(&str, &[&str])] = &[
    ("go", &["-ldflags", "--ldflags"]),
    ("mvn", &["-P"]),
    ("mvnw", &["-P"]),
    ("gradle", &["-P"]),
    ("gradlew", &["-P"]),
];

/// A folder in which a program keeps what it has downloaded or compiled, to be faster next time.
pub(super) struct ToolCache {
    /// What people call the program.
    pub name: &'static str,
    /// The program.
    pub programs: &'static [&'static str],
    /// Verbs that use it; the empty one stands for the bare program. None at all: every command uses it.
    pub verbs: &'static [&'static str],
    /// Options before the verb whose value is the next word.
    pub valued: &'static [&'static str],
    /// Where it is: the first of these variables that is set, and the folder below its value. `HOME` is always set; the
    /// empty name stands for a place that nothing moves.
    pub places: &'static [(&'static str, &'static str)],
    /// More folders of it, or of other versions; `~` is the home directory.
    pub also: &'static [&'static str],
    /// Options that name the folder.
    pub options: &'static [&'static str],
    /// Ends of paths that are meant for it.
    pub tails: &'static [&'static str],
    /// Ends of paths that are mistaken for it.
    pub mistaken: &'static [&'static str],
    /// Settings files, and the word in them that moves it.
    pub settings: &'static [(&'static str, &'static str)],
    /// Options that switch it off.
    pub off_options: &'static [&'static str],
    /// Variables that switch it off, and whether any value does.
    pub off_variables: &'static [(&'static str, bool)],
    /// Verbs that empty it.
    pub empties: &'static [&'static str],
    /// Two of it at the same time break each other.
    pub exclusive: bool,
}

const CACHE: ToolCache = ToolCache {
    name: "",
    programs: &[],
    verbs: &[],
    valued: &[],
    places: &[],
    also: &[],
    options: &[],
    tails: &[],
    mistaken: &[],
    settings: &[],
    off_options: &[],
    off_variables: &[],
    empties: &[],
    exclusive: false,
};

const NODE_OPTIONS: &[&str] = &[
    "--prefix",
    "-C",
    "--dir",
    "--cwd",
    "--filter",
    "-F",
    "-w",
    "--workspace",
    "--loglevel",
    "--registry",
    "--cache",
];
const SYSTEM_VERBS: &[&str] = &[
    "update",
    "install",
    "upgrade",
    "dist-upgrade",
    "full-upgrade",
    "build-dep",
    "groupinstall",
    "module",
    "makecache",
    "reinstall",
    "in",
    "up",
    "dup",
    "ref",
    "refresh",
];
const APT: &[&str] = &["apt-get", "apt", "aptitude", "apt-fast", "nala"];
const APT_VALUED: &[&str] = &["-o", "--option", "-t", "--target-release", "-c", "--config-file"];

/// Caches of package managers and compilers, by each program's documentation.
pub(super) const CACHES: &[ToolCache] = &[
    ToolCache {
        name: "pip",
        programs: &["pip"],
        verbs: &["install", "wheel", "download"],
        places: &[("PIP_CACHE_DIR", ""), ("XDG_CACHE_HOME", "/pip"), ("HOME", "/.cache/pip")],
        options: &["--cache-dir"],
        tails: &[".cache/pip"],
        mistaken: &[".pip", ".cache/pip3"],
        settings: &[("pip.conf", "cache-dir")],
        off_options: &["--no-cache-dir"],
        // pip takes "0" and "false" for a switch as well.
        off_variables: &[("PIP_NO_CACHE_DIR", true)],
        empties: &["cache purge"],
        ..CACHE
    },
    ToolCache {
        name: "uv",
        programs: &["uv"],
        verbs: &["sync", "pip", "add", "run", "lock", "tool", "build"],
        places: &[("UV_CACHE_DIR", ""), ("XDG_CACHE_HOME", "/uv"), ("HOME", "/.cache/uv")],
        options: &["--cache-dir"],
        tails: &[".cache/uv"],
        mistaken: &[".uv/cache", ".uv"],
        settings: &[("uv.toml", "cache-dir"), ("pyproject.toml", "cache-dir")],
        off_options: &["--no-cache", "--no-cache-dir"],
        off_variables: &[("UV_NO_CACHE", false)],
        empties: &["cache clean"],
        ..CACHE
    },
    ToolCache {
        name: "poetry",
        programs: &["poetry"],
        verbs: &["install", "sync", "add", "update", "lock"],
        places: &[("POETRY_CACHE_DIR", ""), ("XDG_CACHE_HOME", "/pypoetry"), ("HOME", "/.cache/pypoetry")],
        tails: &[".cache/pypoetry"],
        mistaken: &[".cache/poetry"],
        settings: &[("poetry.toml", "cache-dir")],
        off_options: &["--no-cache"],
        empties: &["cache clear"],
        ..CACHE
    },
    ToolCache {
        name: "pipenv",
        programs: &["pipenv"],
        verbs: &["install", "sync"],
        places: &[("PIPENV_CACHE_DIR", ""), ("XDG_CACHE_HOME", "/pipenv"), ("HOME", "/.cache/pipenv")],
        also: &["~/.cache/pip"],
        tails: &[".cache/pipenv"],
        ..CACHE
    },
    ToolCache {
        name: "pdm",
        programs: &["pdm"],
        verbs: &["install", "sync", "add"],
        places: &[("PDM_CACHE_DIR", ""), ("XDG_CACHE_HOME", "/pdm"), ("HOME", "/.cache/pdm")],
        tails: &[".cache/pdm"],
        settings: &[("pdm.toml", "cache_dir")],
        off_options: &["--no-cache"],
        empties: &["cache clear"],
        ..CACHE
    },
    ToolCache {
        name: "npm",
        programs: &["npm"],
        verbs: &["ci", "install", "i", "clean-install", "install-clean", "add", "update"],
        valued: NODE_OPTIONS,
        places: &[("npm_config_cache", ""), ("NPM_CONFIG_CACHE", ""), ("HOME", "/.npm")],
        options: &["--cache"],
        tails: &[".npm"],
        mistaken: &[".cache/npm", ".npm-cache"],
        settings: &[(".npmrc", "cache")],
        empties: &["cache clean", "cache clear", "cache rm"],
        ..CACHE
    },
    ToolCache {
        name: "yarn",
        programs: &["yarn", "yarnpkg"],
        verbs: &["install", "add", "global", ""],
        valued: NODE_OPTIONS,
        // The rest depends on its version: see `caches`.
        places: &[("YARN_CACHE_FOLDER", ""), ("YARN_GLOBAL_FOLDER", "/cache"), ("XDG_CACHE_HOME", "/yarn")],
        options: &["--cache-folder"],
        tails: &[".cache/yarn", ".yarn", "yarn/cache", ".yarn-cache"],
        settings: &[(".yarnrc", "cache-folder"), (".yarnrc.yml", "older")],
        empties: &["cache clean"],
        ..CACHE
    },
    ToolCache {
        name: "pnpm",
        programs: &["pnpm"],
        verbs: &["install", "i", "fetch", "add", "deploy"],
        valued: NODE_OPTIONS,
        places: &[
            ("npm_config_store_dir", ""),
            ("NPM_CONFIG_STORE_DIR", ""),
            ("PNPM_HOME", "/store"),
            ("XDG_DATA_HOME", "/pnpm/store"),
            ("HOME", "/.local/share/pnpm/store"),
        ],
        also: &["~/.pnpm-store", "~/.cache/pnpm", "/.pnpm-store"],
        options: &["--store-dir", "--store"],
        tails: &["pnpm/store", ".pnpm-store", ".cache/pnpm", ".local/share/pnpm"],
        settings: &[(".npmrc", "store-dir"), ("pnpm-workspace.yaml", "storeDir")],
        ..CACHE
    },
    ToolCache {
        name: "bun",
        programs: &["bun"],
        verbs: &["install", "i", "add"],
        places: &[
            ("BUN_INSTALL_CACHE_DIR", ""),
            ("BUN_INSTALL", "/install/cache"),
            ("HOME", "/.bun/install/cache"),
        ],
        options: &["--cache-dir"],
        tails: &[".bun/install/cache", ".bun/install", ".bun"],
        mistaken: &[".bun/cache", ".cache/bun"],
        settings: &[("bunfig.toml", "cache")],
        empties: &["pm cache rm"],
        ..CACHE
    },
    ToolCache {
        name: "go",
        programs: &["go"],
        verbs: &["mod", "build", "install", "get", "test", "run", "generate", "vet"],
        valued: &["-C"],
        places: &[("GOMODCACHE", ""), ("GOPATH", "/pkg/mod"), ("HOME", "/go/pkg/mod")],
        tails: &["go/pkg/mod", "go/pkg", "pkg/mod"],
        empties: &["clean -modcache"],
        ..CACHE
    },
    ToolCache {
        name: "go",
        programs: &["go"],
        verbs: &["build", "install", "test", "run", "generate", "vet"],
        valued: &["-C"],
        places: &[("GOCACHE", ""), ("XDG_CACHE_HOME", "/go-build"), ("HOME", "/.cache/go-build")],
        tails: &[".cache/go-build", "go-build"],
        mistaken: &["go/cache", "go/build-cache", ".cache/gobuild"],
        empties: &["clean -cache"],
        ..CACHE
    },
    ToolCache {
        name: "cargo",
        programs: &["cargo"],
        verbs: &[
            "build",
            "install",
            "fetch",
            "test",
            "check",
            "run",
            "chef",
            "auditable",
            "zigbuild",
            "clippy",
            "bench",
            "vendor",
            "update",
        ],
        places: &[("CARGO_HOME", ""), ("HOME", "/.cargo")],
        tails: &[".cargo/registry", "cargo/registry", ".cargo/git", "cargo/git", ".cargo"],
        ..CACHE
    },
    ToolCache {
        name: "maven",
        programs: &["mvn", "mvnw", "mvnd"],
        places: &[("HOME", "/.m2")],
        options: &["-Dmaven.repo.local"],
        tails: &[".m2/repository", ".m2"],
        mistaken: &[".mvn/repository", ".maven"],
        settings: &[("settings.xml", "localRepository"), ("maven.config", "maven.repo.local")],
        ..CACHE
    },
    ToolCache {
        name: "gradle",
        programs: &["gradle", "gradlew"],
        places: &[("GRADLE_USER_HOME", ""), ("HOME", "/.gradle")],
        options: &["-g", "--gradle-user-home", "-Dgradle.user.home"],
        tails: &[".gradle/caches", ".gradle/wrapper", ".gradle"],
        mistaken: &[".cache/gradle"],
        ..CACHE
    },
    ToolCache {
        name: "composer",
        programs: &["composer", "composer.phar"],
        verbs: &["install", "update", "i", "require", "create-project"],
        valued: &["-d", "--working-dir"],
        places: &[("COMPOSER_CACHE_DIR", ""), ("COMPOSER_HOME", "/cache"), ("HOME", "/.composer/cache")],
        also: &["~/.cache/composer", "~/.config/composer/cache"],
        tails: &[".composer/cache", ".composer", ".cache/composer", "tmp/cache"],
        mistaken: &["composer/cache"],
        settings: &[("composer.json", "cache-dir")],
        off_options: &["--no-cache"],
        empties: &["clear-cache", "clearcache", "cc"],
        ..CACHE
    },
    ToolCache {
        name: "dotnet",
        programs: &["dotnet"],
        verbs: &["restore", "build", "publish", "run", "test", "pack"],
        places: &[("NUGET_PACKAGES", ""), ("HOME", "/.nuget/packages")],
        also: &["~/.local/share/NuGet"],
        options: &["--packages"],
        tails: &[".nuget/packages", ".nuget", "nuget/packages"],
        settings: &[
            ("nuget.config", "globalPackagesFolder"),
            ("NuGet.Config", "globalPackagesFolder"),
            ("Directory.Build.props", "RestorePackagesPath"),
        ],
        off_options: &["--no-http-cache"],
        empties: &["nuget locals"],
        ..CACHE
    },
    ToolCache {
        name: "apt",
        programs: APT,
        verbs: SYSTEM_VERBS,
        valued: APT_VALUED,
        places: &[("", "/var/cache/apt")],
        also: &["/var/lib/apt", "/var/cache/debconf"],
        tails: &["var/cache/apt", "cache/apt", "apt/archives"],
        mistaken: &["cache/apt-get", "var/apt", "var/apt/cache"],
        empties: &["clean", "distclean", "dist-clean"],
        exclusive: true,
        ..CACHE
    },
    ToolCache {
        name: "apt",
        programs: APT,
        verbs: SYSTEM_VERBS,
        valued: APT_VALUED,
        places: &[("", "/var/lib/apt")],
        also: &["/var/cache/apt", "/var/cache/debconf"],
        tails: &["var/lib/apt", "lib/apt", "apt/lists"],
        mistaken: &["lib/apt-get", "var/lib/apt-lists"],
        empties: &["distclean", "dist-clean"],
        exclusive: true,
        ..CACHE
    },
    ToolCache {
        name: "apk",
        programs: &["apk"],
        verbs: &["add", "update", "upgrade"],
        valued: &["-X", "--repository", "-t", "--virtual", "-p", "--root", "--arch", "--cache-max-age"],
        places: &[("", "/var/cache/apk")],
        also: &["/etc/apk/cache"],
        options: &["--cache-dir"],
        tails: &["cache/apk", "apk/cache"],
        off_options: &["--no-cache"],
        empties: &["cache clean"],
        ..CACHE
    },
    ToolCache {
        name: "dnf",
        programs: &["dnf", "dnf5", "yum", "microdnf", "tdnf"],
        verbs: SYSTEM_VERBS,
        valued: &["-c", "--config", "--releasever", "--setopt", "--enablerepo", "--disablerepo"],
        places: &[("", "/var/cache/dnf")],
        also: &["/var/cache/yum", "/var/cache/libdnf5", "/var/cache/tdnf"],
        tails: &["cache/dnf", "cache/yum", "cache/libdnf5"],
        empties: &["clean all", "clean packages"],
        exclusive: true,
        ..CACHE
    },
    ToolCache {
        name: "zypper",
        programs: &["zypper"],
        verbs: SYSTEM_VERBS,
        valued: &["-D", "--reposd-dir", "-R", "--root"],
        places: &[("", "/var/cache/zypp")],
        tails: &["cache/zypp"],
        mistaken: &["cache/zypper"],
        empties: &["clean", "cc"],
        exclusive: true,
        ..CACHE
    },
];

/// Folders that look like a misspelt cache and are something else.
pub(super) const OTHER_FOLDERS: &[&str] =
    &[".nvm", ".rpm", ".bin", ".nix", ".sdk", ".vim", ".env", ".git", ".ssh", ".gem"];

/// Where a base image's packages come from, as far as caches are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Debian and what follows it, with the `docker-clean` settings of its images.
    Debian,
    /// Ubuntu, likewise.
    Ubuntu,
    /// Alpine, with musl.
    Alpine,
    /// Something else, or several.
    Other,
}

/// An image of which is known what it sets for the programs in [`CACHES`].
pub(super) struct KnownImage {
    /// With its registry.
    pub name: &'static str,
    /// Of its plain tags; `-alpine` tags are Alpine.
    pub family: Family,
    /// The variables that matter here. All of them begin as root.
    pub env: &'static [(&'static str, &'static str)],
    /// Accounts that it brings: name, number, home.
    pub accounts: &'static [(&'static str, u32, &'static str)],
}

const fn known(name: &'static str, family: Family) -> KnownImage {
    KnownImage { name, family, env: &[], accounts: &[] }
}

/// Images of which is known what they set, by their Dockerfiles.
pub(super) const KNOWN_IMAGES: &[KnownImage] = &[
    known("docker.io/library/debian", Family::Debian),
    KnownImage {
        accounts: &[("ubuntu", 1000, "/home/ubuntu")],
        ..known("docker.io/library/ubuntu", Family::Ubuntu)
    },
    known("docker.io/library/buildpack-deps", Family::Debian),
    known("docker.io/library/alpine", Family::Alpine),
    known("docker.io/library/python", Family::Debian),
    KnownImage {
        accounts: &[("node", 1000, "/home/node")],
        ..known("docker.io/library/node", Family::Debian)
    },
    KnownImage {
        env: &[("CARGO_HOME", "/usr/local/cargo"), ("RUSTUP_HOME", "/usr/local/rustup")],
        ..known("docker.io/library/rust", Family::Debian)
    },
    KnownImage {
        env: &[("CARGO_HOME", "/usr/local/cargo"), ("RUSTUP_HOME", "/usr/local/rustup")],
        ..known("docker.io/lukemathwalker/cargo-chef", Family::Debian)
    },
    KnownImage { env: &[("GOPATH", "/go")], ..known("docker.io/library/golang", Family::Debian) },
    known("docker.io/library/maven", Family::Other),
    known("docker.io/library/eclipse-temurin", Family::Other),
    KnownImage {
        accounts: &[("www-data", 33, "/var/www")],
        ..known("docker.io/library/php", Family::Debian)
    },
    KnownImage {
        env: &[("COMPOSER_HOME", "/tmp"), ("COMPOSER_CACHE_DIR", "/tmp/cache")],
        ..known("docker.io/library/composer", Family::Alpine)
    },
    KnownImage {
        env: &[("GEM_HOME", "/usr/local/bundle")],
        ..known("docker.io/library/ruby", Family::Debian)
    },
    KnownImage { accounts: &[("bun", 1000, "/home/bun")], ..known("docker.io/oven/bun", Family::Debian) },
    KnownImage {
        accounts: &[("app", 1654, "/home/app")],
        ..known("mcr.microsoft.com/dotnet/sdk", Family::Debian)
    },
    known("docker.io/library/fedora", Family::Other),
    known("docker.io/library/rockylinux", Family::Other),
    known("docker.io/library/almalinux", Family::Other),
    known("docker.io/library/amazonlinux", Family::Other),
];

/// How a program is told not to fetch anything.
pub(super) struct Offline {
    /// Its name in [`CACHES`].
    pub name: &'static str,
    /// Options.
    pub options: &'static [&'static str],
    /// Variables with the value.
    pub variables: &'static [(&'static str, &'static str)],
}

const fn offline(
    name: &'static str,
    options: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
) -> Offline {
    Offline { name, options, variables }
}

/// Programs that can be told not to fetch anything.
pub(super) const OFFLINE: &[Offline] = &[
    offline("cargo", &["--offline", "--frozen"], &[("CARGO_NET_OFFLINE", "true")]),
    offline("npm", &["--offline"], &[("npm_config_offline", "true"), ("NPM_CONFIG_OFFLINE", "true")]),
    offline("pnpm", &["--offline"], &[]),
    offline("yarn", &["--offline"], &[]),
    offline("maven", &["-o", "--offline"], &[]),
    offline("gradle", &["--offline"], &[]),
    offline("go", &[], &[("GOPROXY", "off")]),
    offline("pip", &["--no-index"], &[("PIP_NO_INDEX", "1"), ("PIP_NO_INDEX", "true")]),
    offline("uv", &["--offline", "--no-index"], &[("UV_OFFLINE", "1"), ("UV_OFFLINE", "true")]),
    offline("composer", &[], &[("COMPOSER_DISABLE_NETWORK", "1")]),
    offline("dotnet", &["--no-restore"], &[]),
    offline("apt", &["--no-download"], &[]),
];

/// Folders of compiled results or installed dependencies, which hold files for one platform and C library.
pub(super) const NATIVE_FOLDERS: &[&str] = &[
    "target",
    "build",
    "obj",
    "out",
    "_build",
    ".build",
    "node_modules",
    ".venv",
    "venv",
    "site-packages",
    "bundle",
    "dist-newstyle",
    ".stack-work",
    "zig-cache",
    ".zig-cache",
];

/// Names of branches and channels, whose content changes.
pub(super) const BRANCHES: &[&str] = &[
    "main",
    "master",
    "develop",
    "development",
    "devel",
    "dev",
    "trunk",
    "HEAD",
    "nightly",
    "latest",
    "edge",
    "unstable",
];

/// Tags of packages that name the newest version.
pub(super) const MOVING_TAGS: &[&str] =
    &["latest", "next", "canary", "nightly", "master", "main", "HEAD", "upgrade"];

/// Programs that run a script they are given.
pub(super) const INTERPRETERS: &[&str] =
    &["sh", "bash", "ash", "dash", "zsh", "ksh", "python", "python3", "perl", "ruby", "node", "php"];

/// Words in names of build arguments that are there to run a step again.
pub(super) const BUSTER_WORDS: &[&str] = &[
    "BUST",
    "BUSTER",
    "CACHEBUST",
    "CACHEBUSTER",
    "EPOCH",
    "CACHE",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "NOW",
    "INVALIDATE",
    "REFRESH",
    "RANDOM",
    "COMMIT",
    "SHA",
    "REVISION",
    "NONCE",
];

/// Files that pin what a manifest asks for, and the command that refuses to go without them.
pub(super) const LOCKFILES: &[(&str, &str)] = &[
    ("package-lock.json", "npm ci"),
    ("npm-shrinkwrap.json", "npm ci"),
    ("yarn.lock", "yarn install --frozen-lockfile"),
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
    ("bun.lock", "bun install --frozen-lockfile"),
    ("bun.lockb", "bun install --frozen-lockfile"),
    ("uv.lock", "uv sync --locked"),
    ("poetry.lock", ""),
    ("pdm.lock", "pdm sync"),
    ("Pipfile.lock", "pipenv sync"),
    ("go.sum", ""),
    ("Gemfile.lock", "bundle install --frozen"),
    ("composer.lock", "composer install"),
    ("mix.lock", "mix deps.get --check-locked"),
    ("pubspec.lock", "dart pub get --enforce-lockfile"),
    ("Package.resolved", "swift package resolve --force-resolved-versions"),
    ("shard.lock", "shards install --frozen"),
    ("Cargo.lock", "cargo build --locked"),
];

/// Folders into which installers put what they install.
pub(super) const DEPENDENCIES_IN: &[(&str, &str)] = &[
    ("npm", "node_modules"),
    ("yarn", "node_modules"),
    ("pnpm", "node_modules"),
    ("bun", "node_modules"),
    ("composer", "vendor"),
    ("mix", "deps"),
];

/// Names of folders that hold what was built or installed.
pub(super) const RESULT_FOLDERS: &[&str] = &[
    "dist",
    "build",
    "out",
    "target",
    "obj",
    ".next",
    ".nuxt",
    ".output",
    "node_modules",
    "vendor",
    ".venv",
    "venv",
    "_build",
    "deps",
];
