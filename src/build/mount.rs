//! `RUN --mount`: fields to a mount, with defaults and variables (`frontend/dockerfile/instructions/commands_runmount.go`).

use super::model::{BuildError, MountKind, RunMount, Sharing};
use super::state::State;
use crate::context::path::clean_str;
use crate::stage::{Base, StageGraph};
use crate::syntax::word::Lexer;
use crate::syntax::{Flag, Mount};

const KEYS: &str =
    "type, from, source, target, readonly, readwrite, id, sharing, required, size, mode, uid, gid, env";

pub(super) fn mount<'a>(
    flag: &'a Flag,
    fields: &'a Mount,
    state: &State,
    lexer: Lexer,
    graph: &StageGraph<'_>,
) -> Result<RunMount<'a>, BuildError> {
    let mut out = RunMount {
        kind: MountKind::Bind,
        flag,
        target: String::new(),
        path: String::new(),
        source: String::new(),
        from: None,
        from_name: String::new(),
        read_only: false,
        id: None,
        sharing: None,
        size: 0,
        mode: None,
        uid: None,
        gid: None,
        required: false,
        env: None,
    };
    let mut read_only = None;
    for field in &fields.fields {
        let written = field.value.as_deref().unwrap_or_default();
        let fail = |message: String| Err(BuildError::of_value(field.span, message, written));
        let key = field.key.as_str();
        let Some(written) = &field.value else {
            match key {
                "readonly" | "ro" => read_only = Some(true),
                "readwrite" | "rw" => read_only = Some(false),
                "required" if matches!(out.kind, MountKind::Secret | MountKind::Ssh) => out.required = true,
                "required" => return fail(format!("a {} mount has no `required`", out.kind.name())),
                _ => return fail(format!("`{key}` needs a value")),
            }
            continue;
        };
        let value = match lexer.expand(written, state) {
            Ok(e) => e.text,
            Err(e) => return Err(BuildError::expansion(field.span, &e)),
        };
        let boolean = || match value.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(BuildError::of_value(
                field.span,
                format!("`{key}` is true or false, not `{value}`"),
                written,
            )),
        };
        let number = |radix| {
            u32::from_str_radix(&value, radix).map_err(|_| {
                BuildError::of_value(field.span, format!("`{value}` is no number for `{key}`"), written)
            })
        };
        match key {
            "type" => match MountKind::from_name(&value.to_lowercase()) {
                Some(kind) => out.kind = kind,
                None => {
                    return fail(format!(
                        "there is no mount type `{value}`: bind, cache, tmpfs, secret, ssh"
                    ));
                }
            },
            "from" => out.from_name = value,
            "source" | "src" => out.source = value,
            "target" | "dst" | "destination" => out.target = value,
            "readonly" | "ro" => read_only = Some(boolean()?),
            "readwrite" | "rw" => read_only = Some(!boolean()?),
            "required" if matches!(out.kind, MountKind::Secret | MountKind::Ssh) => out.required = boolean()?,
            "size" if out.kind == MountKind::Tmpfs => match super::model::size(&value) {
                Some(bytes) => out.size = bytes,
                None => return fail(format!("`{value}` is no size")),
            },
            "required" | "size" => return fail(format!("a {} mount has no `{key}`", out.kind.name())),
            "id" => out.id = Some(value).filter(|v| !v.is_empty()),
            "sharing" => match value.to_lowercase().as_str() {
                "shared" => out.sharing = Some(Sharing::Shared),
                "private" => out.sharing = Some(Sharing::Private),
                "locked" => out.sharing = Some(Sharing::Locked),
                _ => return fail(format!("there is no sharing `{value}`: shared, private, locked")),
            },
            "mode" => out.mode = Some(number(8)?),
            "uid" => out.uid = Some(number(10)?),
            "gid" => out.gid = Some(number(10)?),
            "env" => out.env = Some(value),
            _ => return fail(format!("a mount has no `{key}`; its keys are {KEYS}")),
        }
    }
    finish(&mut out, read_only, state, graph)?;
    Ok(out)
}

fn finish(
    out: &mut RunMount<'_>,
    read_only: Option<bool>,
    state: &State,
    graph: &StageGraph<'_>,
) -> Result<(), BuildError> {
    let kind = out.kind;
    let fail = |message: String| Err(BuildError::of_value(out.flag.span, message, out.flag.value()));
    let owned = matches!(kind, MountKind::Secret | MountKind::Ssh | MountKind::Cache);
    for (key, given) in [("mode", out.mode), ("uid", out.uid), ("gid", out.gid)] {
        if given.is_some() && !owned {
            return fail(format!("a {} mount has no `{key}`", kind.name()));
        }
    }
    out.read_only = read_only.unwrap_or(!matches!(kind, MountKind::Cache | MountKind::Tmpfs));
    if out.sharing.is_some() && kind != MountKind::Cache {
        return fail(format!("a {} mount has no `sharing`", kind.name()));
    }
    if kind == MountKind::Secret {
        if !out.from_name.is_empty() {
            return fail("a secret mount has no `from`".to_owned());
        }
        if out.source.is_empty() && out.target.is_empty() && out.id.is_none() {
            return fail("a secret mount needs an `id`, `source` or `target`".to_owned());
        }
        if !out.source.is_empty() && out.id.is_some() {
            return fail("a secret mount has an `id` or a `source`, not both".to_owned());
        }
        return Ok(());
    }
    if kind == MountKind::Ssh {
        if !out.source.is_empty() {
            return fail("an ssh mount has no `source`".to_owned());
        }
        return Ok(());
    }
    if !out.from_name.is_empty() {
        out.from = Some(graph.resolve_name(&out.from_name));
    } else if let (MountKind::Cache, stage @ Base::Stage(_)) = (kind, graph.resolve_name("scratch")) {
        // A cache mount begins with what is called `scratch`.
        out.from = Some(stage);
    }
    let cleaned = clean_str(&out.target);
    out.path = if cleaned.starts_with('/') {
        out.target.clone()
    } else {
        super::system::joined(&["/", &state.cwd, &out.target])
    };
    if out.path == "/" {
        return fail("a mount cannot cover `/`".to_owned());
    }
    Ok(())
}
