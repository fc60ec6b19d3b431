//! The credentials that `docker login` stores: in docker's configuration, or with a helper program that it names.

use super::RegistryError;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use std::io::Read as _;
use std::path::PathBuf;

/// What a registry is shown.
pub(super) enum Credential {
    /// a user's
    Password { user: String, password: String },
    /// a token from which others are made
    Identity(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}

/// More than any configuration has.
const CONFIGURATION: u64 = 4 << 20;

/// The credentials for a registry; none if none are stored.
pub(super) fn find(registry: &str) -> Result<Option<Credential>, RegistryError> {
    let Some(folder) = folder() else { return Ok(None) };
    let path = folder.join("config.json");
    let shown = path.display();
    let failed = |message: String| RegistryError::Credentials { registry: registry.to_owned(), message };
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot read {shown}: {}", crate::source::reason(&error)))),
    };
    // Docker Hub has kept the address of its first registry as the name of its credentials.
    let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
    let message = match get_credential_from_reader(file.take(CONFIGURATION), server) {
        Ok(DockerCredential::UsernamePassword(user, _)) if user.is_empty() => return Ok(None),
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            return Ok(Some(Credential::Password { user, password }));
        }
        Ok(DockerCredential::IdentityToken(token)) => return Ok(Some(Credential::Identity(token))),
        Err(CredentialRetrievalError::NoCredentialConfigured) => return Ok(None),
        Err(CredentialRetrievalError::HelperFailure { helper, stdout, stderr }) => {
            let said = if stdout.trim().is_empty() { stderr } else { stdout };
            // What helpers say instead of an answer (docker/docker-credential-helpers, `credentials/error.go`).
            if said.contains("credentials not found in native keychain") {
                return Ok(None);
            }
            let said: String = said.trim().chars().filter(|c| !c.is_control()).take(200).collect();
            format!("{helper}, which {shown} names, fails: {said}")
        }
        Err(CredentialRetrievalError::HelperCommunicationError) => {
            format!("the credential helper that {shown} names cannot be run: is it installed, and on PATH?")
        }
        Err(CredentialRetrievalError::MalformedHelperResponse) => {
            format!("the credential helper that {shown} names answers with something else")
        }
        Err(CredentialRetrievalError::CredentialDecodingError) => {
            format!("{shown} has an `auth` for it that is not the base64 of USER:PASSWORD")
        }
        Err(CredentialRetrievalError::CredentialMismatchError) => {
            format!("{shown} has an `auth` for it that does not agree with `username` and `password`")
        }
        Err(CredentialRetrievalError::ConfigReadError | CredentialRetrievalError::ConfigNotFound) => {
            format!("{shown} is not the JSON of docker's configuration")
        }
    };
    Err(failed(message))
}

/// Docker's folder of configuration.
fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("DOCKER_CONFIG").or_else(|| {
        let home = set("HOME").or_else(|| set("USERPROFILE"))?;
        Some(home.join(".docker"))
    })
}
