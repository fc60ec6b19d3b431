//! Where caches and images are that are not on the disk: shared by `cache` and `verify`.

use super::{BuildArgs, CliError};
use crate::evidence::engine::{self, EngineError};
use crate::evidence::store::Store;
use crate::image::reference::Reference;
use std::path::Path;

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        Self::Failed { message: error.to_string(), help: error.help() }
    }
}

/// What a path means that is the reference of something in a registry; none if it is a path. Asked for without
/// `--resolve` it is an error that says so; `command` is what to type instead.
pub(super) fn in_registry(path: &Path, build: &BuildArgs, command: &str) -> Result<Option<Store>, CliError> {
    let Some(reference) = reference(path).filter(|_| !path.exists()) else { return Ok(None) };
    let shown = path.display();
    let Some(registries) = build.registries()? else {
        let mut help = format!("ask {} with `layerlint {command} {shown} --resolve`", reference.registry());
        if command == "verify" {
            help.push_str(&format!(
                ", or the engine on this machine with `layerlint verify docker://{shown}`"
            ));
        }
        return Err(CliError::failed_with_help(
            format!(
                "there is no folder or archive `{shown}`, and registries are asked with `--resolve` only"
            ),
            help,
        ));
    };
    Ok(Some(Store::of_registry(registries.repository(&reference)?)))
}

/// What names something in a registry and could not as well be the name of a folder: there is a registry, a tag or a
/// digest in it.
fn reference(path: &Path) -> Option<Reference> {
    let text = path.to_str()?;
    let reference = Reference::parse(text)?;
    let bare = reference.tag.is_none() && reference.digest.is_none();
    (!bare || text.starts_with(reference.registry())).then_some(reference)
}

/// The image that `docker://NAME` means, as an engine on this machine saves it; none if it is something else.
pub(super) fn in_engine(path: &Path, limit: Option<u64>) -> Result<Option<Store>, CliError> {
    let Some(name) = path.to_str().and_then(|text| text.strip_prefix("docker://")) else { return Ok(None) };
    let archive = engine::save(name)?;
    let shown = path.display().to_string();
    let store = Store::from_stream(&shown, archive, limit);
    store.map(Some).map_err(|error| CliError::failed(error.to_string()))
}
