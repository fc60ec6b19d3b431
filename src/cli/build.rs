//! A build as `docker buildx build` takes it: the flags, and finding the Dockerfile.

use super::CliError;
use super::configuration::ConfigArgs;
use crate::build::lower::{BuildGraph, Op};
use crate::build::model::BuildModel;
use crate::context::{ContextError, ContextIndex};
use crate::finding::{Label, Problem, ProblemKind};
use crate::image::reference::Reference;
use crate::image::registry::{Registries, RegistryError};
use crate::image::{ImageError, Images, layout};
use crate::invoke::platform::Platform;
use crate::invoke::{FileError, Invocation, from_bake, from_compose};
use crate::key::plan::{Contexts, Detail, KeyPlan};
use crate::key::saved::fingerprint;
use crate::source::{SourceFile, reason, shown};
use crate::stage::StageGraph;
use crate::syntax::{self, Document};
use clap::{Arg, ArgAction};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most times that images are looked for which others name.
const ROUNDS: usize = 16;

/// The flags of `docker buildx build`, so that a build command can be pasted and its verb replaced.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "The build, as for `docker buildx build` (its other flags are accepted and ignored)"
)]
pub struct BuildArgs {
    /// The build context: a directory [default: .]
    #[arg(value_name = "CONTEXT", help_heading = "Arguments")]
    context: Option<PathBuf>,
    /// The Dockerfile; `-` reads standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Set an argument of the build; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// The platform to build for, such as linux/amd64 [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,
    /// Take the build from a bake file: that of a target, by default of `default` or of the only one; other flags go on
    /// top
    #[arg(long, value_name = "FILE[:TARGET]", conflicts_with = "from_compose")]
    from_bake: Option<String>,
    /// Take the build from a compose file: that of a service, by default of the only one that is built
    #[arg(long, value_name = "FILE[:SERVICE]")]
    from_compose: Option<String>,
    /// An additional build context: a directory, or oci-layout://DIR
    #[arg(long, value_name = "NAME=DIR", value_parser = pair)]
    build_context: Vec<(String, String)>,
    /// Where a base image can be read: an OCI layout, an image tarball or an image config
    #[arg(long, value_name = "REF=PATH", value_parser = pair)]
    image: Vec<(String, String)>,
    /// Ask registries for the base images that are not given, with the credentials of `docker login`
    #[arg(long)]
    resolve: bool,
    /// What they have answered so far.
    #[arg(skip)]
    registries: Registries,
    /// Build every step anew
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    no_cache: bool,
    /// Build the steps of these stages anew
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Add a line to /etc/hosts of every RUN
    #[arg(long, value_name = "HOST:IP", value_delimiter = ',')]
    add_host: Vec<String>,
    /// Set a limit of every RUN
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// The size of /dev/shm in every RUN
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// The parent of the control group of every RUN
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// The network of every RUN: default, none or host
    #[arg(long, value_name = "MODE")]
    network: Option<String>,
    /// A secret, so that a change of it can be told: it is in no key
    #[arg(long, value_name = "id=NAME[,src=FILE|,env=NAME]")]
    secret: Vec<String>,
    /// Keys or agents of SSH mounts; they are in no key
    #[arg(long, value_name = "default|NAME[=SOCKET|KEY,…]")]
    ssh: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    _ignored: Ignored,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it has the form NAME=VALUE".to_owned()),
    }
}

/// Flags of `docker buildx build` that cannot change a key: accepted, hidden, forgotten.
#[derive(Debug)]
struct Ignored;

impl Ignored {
    const VALUED: [(&str, Option<char>); 31] = [
        ("allow", None),
        ("annotation", None),
        ("attest", None),
        ("builder", None),
        ("cache-from", None),
        ("cache-to", None),
        ("call", None),
        ("cpu-period", None),
        ("cpu-quota", None),
        ("cpu-shares", Some('c')),
        ("cpuset-cpus", None),
        ("cpuset-mems", None),
        ("iidfile", None),
        ("invoke", None),
        ("isolation", None),
        ("label", None),
        ("memory", Some('m')),
        ("memory-swap", None),
        ("metadata-file", None),
        ("output", Some('o')),
        ("policy", None),
        ("print", None),
        ("progress", None),
        ("provenance", None),
        ("sbom", None),
        ("security-opt", None),
        ("server-config", None),
        ("tag", Some('t')),
        ("cidfile", None),
        ("host", Some('H')),
        ("log-level", None),
    ];
    const SWITCHES: [(&str, Option<char>); 12] = [
        ("check", None),
        ("compress", None),
        ("debug", Some('D')),
        ("detach", None),
        ("disable-content-trust", None),
        ("force-rm", None),
        ("load", None),
        ("pull", None),
        ("push", None),
        ("quiet", Some('q')),
        ("rm", None),
        ("squash", None),
    ];
}

impl clap::FromArgMatches for Ignored {
    fn from_arg_matches(_: &clap::ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, _: &clap::ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}

impl clap::Args for Ignored {
    fn augment_args(command: clap::Command) -> clap::Command {
        let arg = |(name, short): (&'static str, Option<char>)| {
            let arg = Arg::new(name).long(name).hide(true).action(ArgAction::Append);
            match short {
                Some(short) => arg.short(short),
                None => arg,
            }
        };
        command.args(Self::VALUED.map(|flag| arg(flag).allow_hyphen_values(true))).args(
            Self::SWITCHES
                .map(|flag| arg(flag).num_args(0..=1).require_equals(true).default_missing_value("true")),
        )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// A build that can be looked at: how it is invoked, and its Dockerfile, which BuildKit would accept.
pub struct Build {
    /// How it is invoked.
    pub invocation: Invocation,
    /// The Dockerfile.
    pub file: Arc<SourceFile>,
    /// The parsed Dockerfile; it has no errors.
    pub document: Document,
    /// The registries, where they may be asked.
    registries: Option<Registries>,
}

/// A build taken to its keys.
pub struct Planned<'p> {
    /// What its instructions mean.
    pub model: &'p BuildModel<'p>,
    /// The operations they become.
    pub graph: &'p BuildGraph<'p>,
    /// What they take files from.
    pub contexts: &'p Contexts,
    /// Their keys.
    pub plan: &'p KeyPlan,
}

impl BuildArgs {
    /// The build these flags describe.
    pub fn invocation(&self) -> Result<Invocation, CliError> {
        let typed = self.typed();
        let Some(said) = self.said_in_file(&typed)? else { return Ok(typed) };
        let first = |own: Vec<String>, other: Vec<String>| if own.is_empty() { other } else { own };
        Ok(Invocation {
            // A Dockerfile that is typed is where it says, also if the file has another context.
            dockerfile: typed.dockerfile.or(said.dockerfile),
            context: if self.context.is_some() { typed.context } else { said.context },
            target: typed.target.or(said.target),
            build_args: [said.build_args, typed.build_args].concat(),
            platforms: first(typed.platforms, said.platforms),
            contexts: [said.contexts, typed.contexts].concat(),
            images: typed.images,
            no_cache: typed.no_cache || said.no_cache,
            no_cache_filter: first(typed.no_cache_filter, said.no_cache_filter),
            add_hosts: [said.add_hosts, typed.add_hosts].concat(),
            ulimits: first(typed.ulimits, said.ulimits),
            shm_size: typed.shm_size.or(said.shm_size),
            cgroup_parent: typed.cgroup_parent,
            network: typed.network.or(said.network),
            outside: typed.outside,
            args_known: typed.args_known,
        })
    }

    /// The build that a bake or compose file says.
    fn said_in_file(&self, typed: &Invocation) -> Result<Option<Invocation>, CliError> {
        let environment = |name: &str| std::env::var(name).ok();
        let given: Vec<String> = typed.build_args.iter().map(|(name, _)| name.clone()).collect();
        let said = match (&self.from_bake, &self.from_compose) {
            (Some(place), _) => {
                let (path, name) = file_and_name(place);
                from_bake(&path, name, &environment, &given)
            }
            (None, Some(place)) => {
                let (path, name) = file_and_name(place);
                from_compose(&path, name, &environment, &given)
            }
            (None, None) => return Ok(None),
        };
        said.map(Some).map_err(|error| file_error(&error))
    }

    /// The build as it is typed, without what a file says.
    fn typed(&self) -> Invocation {
        let build_args = self.build_arg.iter().filter_map(|arg| match arg.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            // As Docker does: what the environment does not know is not set.
            None => Some((arg.clone(), std::env::var(arg).ok()?)),
        });
        Invocation {
            dockerfile: self.file.clone(),
            context: self.context.clone().unwrap_or_else(|| PathBuf::from(".")),
            target: self.target.clone().filter(|t| !t.is_empty()),
            build_args: build_args.collect(),
            args_known: true,
            platforms: self.platform.clone(),
            contexts: self.build_context.clone(),
            images: self.image.iter().map(|(name, path)| (name.clone(), PathBuf::from(path))).collect(),
            no_cache: self.no_cache,
            no_cache_filter: self.no_cache_filter.clone(),
            add_hosts: self.add_host.clone(),
            ulimits: self.ulimit.clone(),
            shm_size: self.shm_size.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            network: self.network.clone(),
            outside: self.outside(),
        }
    }

    /// Short digests of what `--secret` and `--ssh` give. What cannot be read is left out.
    fn outside(&self) -> Vec<(String, String)> {
        let secrets = self.secret.iter().filter_map(|flag| {
            let field = |names: &[&str]| {
                let pairs = flag.split(',').filter_map(|part| part.split_once('='));
                pairs.filter(|(key, _)| names.contains(&key.trim())).map(|(_, value)| value).next_back()
            };
            let id = field(&["id"])?;
            let file = field(&["src", "source"]);
            let variable = field(&["env"])
                .or_else(|| (file.is_none() && field(&["type"]) != Some("file")).then_some(id));
            let value = match variable.and_then(std::env::var_os) {
                Some(value) => value.into_encoded_bytes(),
                None => read_secret(Path::new(file.unwrap_or(id)))?,
            };
            Some((format!("secret {id}"), fingerprint(&value)))
        });
        // Keys stay where they are; another name is another key.
        let agents = self.ssh.iter().map(|flag| {
            let (id, paths) = flag.split_once('=').unwrap_or((flag, ""));
            (format!("ssh {id}"), fingerprint(paths.as_bytes()))
        });
        secrets.chain(agents).collect()
    }

    /// Whether the command line says where the build is, not only how.
    pub(super) fn says_where(&self) -> bool {
        self.context.is_some()
            || self.file.is_some()
            || self.from_bake.is_some()
            || self.from_compose.is_some()
    }

    /// Finds, reads and parses the Dockerfile. What BuildKit would refuse is an error with its places.
    pub fn load(&self) -> Result<Build, CliError> {
        self.load_in(None)
    }

    /// Adds the base images of the configuration that counts for the Dockerfile; those of the command line come last,
    /// so that they count.
    fn add_images(&self, invocation: &mut Invocation, file: &SourceFile) -> Result<(), CliError> {
        let stdin = invocation.dockerfile.as_deref() == Some(Path::new("-"));
        let folder = if stdin { Some(invocation.context.as_path()) } else { file.path.parent() };
        let Some(config) = self.config.open()?.of(folder.unwrap_or(Path::new("")))? else { return Ok(()) };
        let given = std::mem::take(&mut invocation.images);
        invocation.images = config.images.iter().cloned().chain(given).collect();
        Ok(())
    }

    /// The same build in another context directory. A Dockerfile that lies in the context is taken from there.
    pub fn load_in(&self, context: Option<&Path>) -> Result<Build, CliError> {
        let mut invocation = self.invocation()?;
        if let Some(other) = context {
            if let Some(file) = &invocation.dockerfile
                && let Ok(inside) = file.strip_prefix(&invocation.context)
                && other.join(inside).exists()
            {
                invocation.dockerfile = Some(other.join(inside));
            }
            invocation.context = other.to_path_buf();
        }
        self.load_as(invocation)
    }

    /// The same with another invocation.
    pub(super) fn load_as(&self, mut invocation: Invocation) -> Result<Build, CliError> {
        check_context(&invocation.context)?;
        let registries = self.registries()?;
        let file = read_dockerfile(&invocation)?;
        self.add_images(&mut invocation, &file)?;
        Build::new(invocation, file, registries)
    }

    /// The registries, where they may be asked: only `--resolve` says so.
    pub(super) fn registries(&self) -> Result<Option<Registries>, CliError> {
        match self.resolve {
            false => Ok(None),
            true if !Registries::AVAILABLE => Err(RegistryError::NotBuilt.into()),
            true => Ok(Some(self.registries.clone())),
        }
    }
}

/// `FILE:NAME`, unless a file has the colon in its name.
fn file_and_name(place: &str) -> (PathBuf, Option<&str>) {
    match place.rsplit_once(':') {
        Some((file, name)) if !file.is_empty() && !name.is_empty() && !Path::new(place).exists() => {
            (PathBuf::from(file), Some(name))
        }
        _ => (PathBuf::from(place), None),
    }
}

fn file_error(error: &FileError) -> CliError {
    let listed = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
        names.join(", ")
    };
    let at = |file: &Arc<SourceFile>, span, help: Option<String>| {
        let place = Label { file: file.name.clone(), span: Some(span), message: String::new() };
        let problem = Problem { kind: ProblemKind::Unreadable, place, message: error.to_string(), help };
        CliError::Problems { problems: vec![problem], files: vec![file.clone()] }
    };
    match error {
        FileError::Read(_) => CliError::failed(error.to_string()),
        FileError::Syntax { file, span, .. } => at(file, *span, None),
        FileError::NoSuch { names, .. } if names.is_empty() => CliError::failed(error.to_string()),
        FileError::NoSuch { names, .. } => {
            CliError::failed_with_help(error.to_string(), format!("it builds {}", listed(names)))
        }
        FileError::Several { names, file, what } if names.is_empty() => {
            CliError::failed(format!("`{file}` builds no {what}"))
        }
        FileError::Several { names, file, .. } => CliError::failed_with_help(
            error.to_string(),
            format!(
                "name one, such as `{file}:{}`: it builds {}",
                names.first().map_or("", |n| n),
                listed(names)
            ),
        ),
        FileError::Unknown { file, span, what, .. } => {
            let help = match what.strip_prefix("argument ") {
                Some(name) => format!("give it with `--build-arg {}=…`", name.trim_matches('`')),
                None => "give a value to its variables in the environment".to_owned(),
            };
            at(file, *span, Some(help))
        }
    }
}

impl Build {
    /// Fails if BuildKit would refuse the stages as this build asks for them.
    pub fn accept(&self, stages: &StageGraph<'_>) -> Result<(), CliError> {
        let problems: Vec<Problem> =
            stages.refusals().map(|error| Problem::stage(&self.file, error)).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(CliError::Problems { problems, files: vec![self.file.clone()] })
    }
}

impl Build {
    /// Parses the Dockerfile. What BuildKit would refuse is an error with its places.
    fn new(
        invocation: Invocation,
        file: SourceFile,
        registries: Option<Registries>,
    ) -> Result<Build, CliError> {
        let document = syntax::parse(&file.bytes);
        let file = Arc::new(file);
        if document.errors.is_empty() {
            return Ok(Build { invocation, file, document, registries });
        }
        let problems = document.errors.iter().map(|error| Problem::refused(&file, error)).collect();
        Err(CliError::Problems { problems, files: vec![file] })
    }

    /// The same build with another Dockerfile.
    pub(super) fn with_dockerfile(self, file: SourceFile) -> Result<Build, CliError> {
        Build::new(self.invocation, file, self.registries)
    }

    /// Where the Dockerfile was read from; `None` for standard input.
    pub fn dockerfile(&self) -> Option<PathBuf> {
        let stdin = self.invocation.dockerfile.as_deref() == Some(Path::new("-"));
        (!stdin).then(|| self.file.path.clone())
    }

    /// Says for which platform keys are shown, if several are asked for.
    pub fn warn_of_platforms(&self, err: &mut impl std::io::Write) -> std::io::Result<()> {
        if let [first, rest @ ..] = self.invocation.platforms.as_slice()
            && !rest.is_empty()
        {
            let rest = rest.join(", ");
            writeln!(err, "showing the build for {first}; ask with `--platform` for {rest}")?;
        }
        Ok(())
    }

    /// Reads the base images that the command line names and, where that is asked for, those that it does not name.
    pub fn images(&self) -> Result<Images, CliError> {
        let mut images = self.given_images()?;
        self.resolve(&mut images)?;
        Ok(images)
    }

    /// The base images that the command line names.
    pub(super) fn given_images(&self) -> Result<Images, CliError> {
        let mut images = Images::default();
        let wanted = self.invocation.platforms.first().and_then(|p| Platform::parse(p).ok());
        let platform = wanted.unwrap_or_else(Platform::host);
        let failed = |e: ImageError| CliError::failed(e.to_string());
        for (reference, path) in &self.invocation.images {
            images.insert(reference, layout::read(path, None, &platform).map_err(failed)?);
        }
        for (name, value) in &self.invocation.contexts {
            if let Some(place) = value.strip_prefix("oci-layout://") {
                let (path, reference) = layout::split(place);
                let image = layout::read(&path, reference, &platform).map_err(failed)?;
                images.insert(&format!("context:{name}"), image);
            }
        }
        Ok(images)
    }

    /// Asks registries, if they may be asked, for the images that the target needs and that are not known yet.
    pub(super) fn resolve(&self, images: &mut Images) -> Result<(), CliError> {
        let Some(registries) = &self.registries else { return Ok(()) };
        let stages = StageGraph::new(&self.document, &self.invocation);
        self.accept(&stages)?;
        // What an image triggers may take files from further images, which may trigger more.
        for _ in 0..ROUNDS {
            let model = BuildModel::new(&stages, &self.invocation, images);
            let graph = BuildGraph::new(&model, images);
            let missing = graph.vertices.iter().filter_map(|v| match &v.op {
                // What was not understood is no reference.
                Op::Image { reference, image: None } => {
                    Reference::parse(reference).is_some().then(|| (reference.clone(), v.platform.clone()))
                }
                _ => None,
            });
            let missing: Vec<(String, Platform)> = missing.collect();
            if missing.is_empty() {
                break;
            }
            for (reference, platform) in missing {
                let image = registries.resolve(&reference, &platform)?;
                images.insert_for(&reference, &platform, image);
            }
        }
        Ok(())
    }

    /// Takes the build to its keys and hands everything on. The main context is walked unless it is given; `change` may
    /// change the contexts before anything of them is read.
    pub fn planned<R>(
        &self,
        context: Option<ContextIndex>,
        detail: Detail,
        change: impl FnOnce(&BuildModel<'_>, &mut Contexts) -> Result<(), CliError>,
        look: impl FnOnce(&Planned<'_>) -> Result<R, CliError>,
    ) -> Result<R, CliError> {
        let images = self.images()?;
        self.lowered(&images, context, |model, graph, mut contexts| {
            change(model, &mut contexts)?;
            let plan = KeyPlan::with_detail(graph, &contexts, detail);
            look(&Planned { model, graph, contexts: &contexts, plan: &plan })
        })
    }

    /// Takes the build to its operations and the contexts that they need, and hands everything on. The main context is
    /// walked unless it is given.
    pub(super) fn lowered<R>(
        &self,
        images: &Images,
        context: Option<ContextIndex>,
        look: impl FnOnce(&BuildModel<'_>, &BuildGraph<'_>, Contexts) -> Result<R, CliError>,
    ) -> Result<R, CliError> {
        let stages = StageGraph::new(&self.document, &self.invocation);
        self.accept(&stages)?;
        let model = BuildModel::new(&stages, &self.invocation, images);
        let graph = BuildGraph::new(&model, images);
        self.accept_model(&model, &graph)?;
        let folder = &self.invocation.context;
        let contexts = Contexts::open(&graph, folder, self.dockerfile().as_deref(), context)
            .map_err(|e| self.context_error(&e))?;
        contexts.check(&graph).map_err(|e| self.context_error(&e))?;
        look(&model, &graph, contexts)
    }

    /// Fails if BuildKit would refuse an instruction when it expands it.
    fn accept_model(&self, model: &BuildModel<'_>, graph: &BuildGraph<'_>) -> Result<(), CliError> {
        let problems: Vec<Problem> =
            model.errors().chain(&graph.errors).map(|error| Problem::build(&self.file, error)).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(CliError::Problems { problems, files: vec![self.file.clone()] })
    }

    /// A context that cannot be walked or whose ignore file is refused.
    fn context_error(&self, error: &ContextError) -> CliError {
        CliError::Problems { problems: vec![Problem::context(error)], files: vec![self.file.clone()] }
    }
}

/// The content of a secret. BuildKit takes no longer ones.
fn read_secret(path: &Path) -> Option<Vec<u8>> {
    const LIMIT: u64 = 500 << 10;
    let file = std::fs::File::open(path).ok().filter(|f| f.metadata().is_ok_and(|m| m.is_file()))?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether this names a context that only a builder can fetch.
fn is_remote(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/")
}

/// Whether the context is a directory.
pub(super) fn check_context(context: &Path) -> Result<(), CliError> {
    if context == Path::new("-") || (is_remote(context) && !context.exists()) {
        return Err(CliError::failed_with_help(
            format!("the context `{}` is not a directory on this machine", context.display()),
            "layerlint reads contexts from disk only: check it out and give its directory",
        ));
    }
    match std::fs::metadata(context) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(CliError::failed_with_help(
            format!("the context `{}` is not a directory", context.display()),
            format!("give the directory, and the Dockerfile with `-f {}`", context.display()),
        )),
        Err(error) => {
            let context = context.display();
            Err(CliError::failed(format!("cannot read the context `{context}`: {}", reason(&error))))
        }
    }
}

/// Reads the Dockerfile where `docker buildx build` would find it.
fn read_dockerfile(invocation: &Invocation) -> Result<SourceFile, CliError> {
    let path = match &invocation.dockerfile {
        Some(path) if path == Path::new("-") => return read_stdin("<stdin>"),
        Some(path) if is_remote(path) && !path.exists() => {
            return Err(CliError::failed_with_help(
                format!("the Dockerfile `{}` is not a file on this machine", path.display()),
                "download it and give the file with `-f`",
            ));
        }
        Some(path) => path.clone(),
        None => invocation.context.join("Dockerfile"),
    };
    let path = with_lower_case(path);
    SourceFile::read(&path, shown(&path)).map_err(|error| {
        let message = format!("cannot read the Dockerfile `{}`: {}", shown(&path), error.reason());
        if invocation.dockerfile.is_none() {
            return CliError::failed_with_help(message, "give the Dockerfile with `-f PATH`");
        }
        CliError::failed(message)
    })
}

/// The Dockerfile's path as it is asked for, without reading it; none if it comes from standard input. A missing one
/// is an error only if it was asked for by name.
pub(super) fn asked_dockerfile(invocation: &Invocation) -> Result<Option<PathBuf>, CliError> {
    match &invocation.dockerfile {
        Some(path) if path == Path::new("-") => Ok(None),
        Some(path) if !with_lower_case(path.clone()).exists() => {
            Err(CliError::failed(format!("there is no Dockerfile `{}`", shown(path))))
        }
        Some(path) => Ok(Some(path.clone())),
        None => Ok(Some(invocation.context.join("Dockerfile"))),
    }
}

/// Docker takes `dockerfile` where there is no `Dockerfile`, and for that name alone.
fn with_lower_case(path: PathBuf) -> PathBuf {
    if path.file_name().is_some_and(|name| name == "Dockerfile") && !path.exists() {
        let lower = path.with_file_name("dockerfile");
        if lower.exists() {
            return lower;
        }
    }
    path
}

/// Reads standard input as a file of that name.
pub(super) fn read_stdin(name: &str) -> Result<SourceFile, CliError> {
    let mut bytes = Vec::new();
    match std::io::stdin().lock().read_to_end(&mut bytes) {
        Ok(_) => Ok(SourceFile::from_bytes(name, bytes)),
        Err(error) => Err(CliError::failed(format!("cannot read standard input: {error}"))),
    }
}
