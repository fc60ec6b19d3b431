//! The cache map of each operation: the very text that BuildKit hashes (`solver/llbsolver/ops/{exec,file,merge,source}.go`).

use super::json::{Object, list};
use super::sha256;
use crate::build::lower::Vertex;
use crate::build::lower::{
    Access, CopyAction, Exec, FileAction, FileKind, Mount, MountDetail, Op, Owner, UserRef,
};
use crate::build::model::{Network, Sharing};
use crate::image::BaseImage;
use crate::invoke::platform::Platform;
use base64::Engine as _;

/// The texts whose SHA-256 are the operation's cache map digests, in the order in which BuildKit asks for them.
/// Empty where the digest is different in every session (local folders) or not known.
pub fn cache_maps(vertex: &Vertex<'_>) -> Vec<String> {
    match &vertex.op {
        Op::Exec(exec) => vec![exec_map(exec, &vertex.platform)],
        Op::File(actions) => vec![file_map(actions)],
        Op::Merge => {
            let inputs: Vec<String> = (0..2i64).map(|i| Object::new().number("input", i).finish()).collect();
            let merge = Object::new().list("inputs", &inputs).finish();
            vec![Object::new().text_always("Type", "buildkit.merge.v0").raw("Merge", &merge).finish()]
        }
        Op::Image { image, .. } => image.map(|i| image_maps(i, &vertex.platform)).unwrap_or_default(),
        Op::Http { filename, checksum: Some(checksum), .. } => {
            vec![source(&sha256(http_key(filename, checksum)))]
        }
        Op::Git { .. } => git_key(&vertex.op).map(|key| source(&key)).into_iter().collect(),
        Op::Http { .. } | Op::Local(_) => Vec::new(),
    }
}

fn source(key: &str) -> String {
    format!("buildkit.source.v0:{key}")
}

fn http_key(filename: &str, checksum: &str) -> String {
    Object::new()
        .text_always("Filename", filename)
        .number_always("Perm", 0)
        .number_always("UID", 0)
        .number_always("GID", 0)
        .text_always("Checksum", checksum)
        .finish()
}

/// `COMMIT[.git#NAME][:FOLDER][(skip-submodules)]`, if the commit is known.
fn git_key(op: &Op<'_>) -> Option<String> {
    let Op::Git { subdir, keep_git_dir, skip_submodules, .. } = op else { return None };
    let (commit, name) = op.git_commit()?;
    let kept = if *keep_git_dir { format!(".git#{name}") } else { String::new() };
    let folder = if subdir.is_empty() { String::new() } else { format!(":{subdir}") };
    let without = if *skip_submodules { "(skip-submodules)" } else { "" };
    Some(format!("{commit}{kept}{folder}{without}"))
}

fn image_maps(image: &BaseImage, platform: &Platform) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(digest) = &image.digest {
        let key = Object::new()
            .text_always("Digest", digest)
            .text_always("OS", &platform.os)
            .text_always("Arch", &platform.arch)
            .text("Variant", &platform.variant)
            .text("OSVersion", &platform.os_version)
            .finish();
        out.push(source(&sha256(key)));
    }
    out.extend(chain_id(&image.diff_ids).map(|id| source(&id)));
    out
}

/// The identity of a stack of layers (OCI image specification, "Layer ChainID").
pub fn chain_id(diff_ids: &[String]) -> Option<String> {
    let (first, rest) = diff_ids.split_first()?;
    Some(rest.iter().fold(first.clone(), |chain, diff| sha256(format!("{chain} {diff}"))))
}

fn exec_map(exec: &Exec, platform: &Platform) -> String {
    let env: Vec<String> = exec.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let hosts: Vec<String> =
        exec.extra_hosts.iter().map(|h| Object::new().text("Host", h).finish()).collect();
    let limits: Vec<String> = exec
        .ulimits
        .iter()
        .map(|(name, soft, hard)| {
            Object::new().text("Name", name).number("Soft", *soft).number("Hard", *hard).finish()
        })
        .collect();
    let meta = Object::new()
        .texts("args", &exec.args)
        .texts("env", &env)
        .text("cwd", &exec.cwd)
        .text("user", &exec.user)
        .list("extraHosts", &hosts)
        .text("hostname", &exec.hostname)
        .list("ulimit", &limits)
        .text("cgroupParent", &exec.cgroup_parent)
        .flag("removeMountStubsRecursive", true)
        .finish();
    let secrets: Vec<String> = exec
        .secret_env
        .iter()
        .map(|(id, name, optional)| {
            Object::new().text("ID", id).text("name", name).flag("optional", *optional).finish()
        })
        .collect();
    let devices: Vec<String> = exec
        .devices
        .iter()
        .map(|(name, optional)| Object::new().text("name", name).flag("optional", *optional).finish())
        .collect();
    // The root mount alone says nothing and is left out.
    let mounts: Vec<String> =
        if exec.mounts.len() > 1 { exec.mounts.iter().map(mount).collect() } else { Vec::new() };
    let network = match exec.network {
        Network::Default => 0,
        Network::Host => 1,
        Network::None => 2,
    };
    let body = Object::new()
        .raw("meta", &meta)
        .list("mounts", &mounts)
        .number("network", network)
        .number("security", i64::from(exec.insecure))
        .list("secretenv", &secrets)
        .list("cdiDevices", &devices)
        .finish();
    Object::new()
        .text_always("Type", "buildkit.exec.v0")
        .raw("Exec", &body)
        .text_always("OS", &platform.os)
        .text_always("Arch", &platform.arch)
        .text("Variant", &platform.variant)
        .text("OSVersion", &platform.os_version)
        .finish()
}

fn mount(mount: &Mount) -> String {
    let object = Object::new()
        .number("input", mount.input)
        .text("dest", &mount.dest)
        .number("output", mount.output)
        .flag("readonly", mount.read_only);
    match &mount.kind {
        MountDetail::Bind => object,
        MountDetail::Secret(secret) => object.number("mountType", 1).raw("secretOpt", &access(secret)),
        MountDetail::Ssh(ssh) => object.number("mountType", 2).raw("SSHOpt", &access(ssh)),
        MountDetail::Cache { id, sharing } => {
            // The identity counts only where it is the default one.
            let default = *id == mount.dest || id.split_once('/').is_some_and(|(_, rest)| rest == mount.dest);
            let kept = if *sharing == Sharing::Shared && default { id.as_str() } else { "" };
            object.number("mountType", 3).raw("cacheOpt", &Object::new().text("ID", kept).finish())
        }
        MountDetail::Tmpfs { size } => {
            object.number("mountType", 4).raw("TmpfsOpt", &Object::new().number("size", *size).finish())
        }
    }
    .finish()
}

fn access(access: &Access) -> String {
    Object::new()
        .text("ID", &access.id)
        .number("uid", i64::from(access.uid))
        .number("gid", i64::from(access.gid))
        .number("mode", i64::from(access.mode))
        .flag("optional", access.optional)
        .finish()
}

fn file_map(actions: &[FileAction]) -> String {
    let encode = base64::engine::general_purpose::STANDARD;
    let texts: Vec<String> = actions.iter().map(|a| format!("\"{}\"", encode.encode(action(a)))).collect();
    let object = Object::new().text_always("Type", "buildkit.file.v0").list("Actions", &texts);
    if has_default_indexes(actions) {
        return object.finish();
    }
    let indexes: Vec<String> = actions
        .iter()
        .map(|a| list(&[a.input.to_string(), a.secondary.to_string(), a.output.to_string()]))
        .collect();
    object.list("indexes", &indexes).finish()
}

/// The shape that BuildKit wrote before it recorded indexes. It compares with the number of actions, not of inputs.
fn has_default_indexes(actions: &[FileAction]) -> bool {
    let count = i64::try_from(actions.len()).unwrap_or(i64::MAX);
    (0i64..).zip(actions).all(|(i, a)| {
        a.input == if i == 0 { 0 } else { count + i - 1 }
            && matches!(a.secondary, -1 | 1)
            && a.output == if i + 1 == count { 0 } else { -1 }
    })
}

/// The JSON of one action before it is wrapped in base64.
pub fn action(action: &FileAction) -> String {
    match &action.kind {
        FileKind::Copy(copy) => copy_action(copy, action.secondary < 0),
        FileKind::Mkfile { path, mode, data } => Object::new()
            .text("path", path)
            .number("mode", *mode)
            .text("data", &base64::engine::general_purpose::STANDARD.encode(data))
            .number("timestamp", -1)
            .finish(),
        FileKind::Mkdir { path, mode, make_parents, owner, timestamp } => Object::new()
            .text("path", path)
            .number("mode", *mode)
            .flag("makeParents", *make_parents)
            .maybe("owner", owner.as_ref().map(owner_json))
            .number("timestamp", *timestamp)
            .finish(),
    }
}

/// `from_nothing`: the source is an empty file system.
fn copy_action(copy: &CopyAction, from_nothing: bool) -> String {
    // The name counts, the folder it stands in does not: that is what the selector is for.
    let src = match from_nothing {
        true => copy.src.clone(),
        false => String::from_utf8_lossy(crate::context::path::base(copy.src.as_bytes())).into_owned(),
    };
    Object::new()
        .text("src", &src)
        .text("dest", &copy.dest)
        .maybe("owner", copy.owner.as_ref().map(owner_json))
        .number("mode", copy.mode)
        .flag("followSymlink", copy.tree)
        .flag("dirCopyContents", copy.tree)
        .flag("attemptUnpackDockerCompatibility", copy.unpack)
        .flag("createDestPath", true)
        .flag("allowWildcard", copy.tree)
        .flag("allowEmptyWildcard", copy.tree)
        .number("timestamp", -1)
        .texts("include_patterns", &copy.include)
        .texts("exclude_patterns", &copy.exclude)
        .text("modeStr", &copy.mode_str)
        .texts("required_paths", &copy.required)
        .finish()
}

fn owner_json(owner: &Owner) -> String {
    Object::new()
        .maybe("user", owner.user.as_ref().map(user_json))
        .maybe("group", owner.group.as_ref().map(user_json))
        .finish()
}

fn user_json(user: &UserRef) -> String {
    let inner = match user {
        UserRef::Id(0) => Object::new().finish(),
        UserRef::Id(id) => Object::new().number("byId", i64::from(*id)).finish(),
        UserRef::Name { name, input } => {
            let by_name = Object::new().text("name", name).number("input", *input).finish();
            Object::new().raw("byName", &by_name).finish()
        }
    };
    Object::new().raw("User", &inner).finish()
}
