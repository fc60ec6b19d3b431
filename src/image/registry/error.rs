//! Why a registry does not give what it is asked for.

/// A question to a registry that was not answered, or whose answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The program cannot ask.
    #[error("this layerlint was built without the feature `registry`: it cannot ask a registry")]
    NotBuilt,
    /// A text that names nothing in a registry.
    #[error("`{0}` is no reference of an image with a SHA-256 digest or a tag")]
    Reference(String),
    /// There is no such tag, digest or repository.
    #[error("there is no {reference} in the registry")]
    NotFound {
        /// what was asked for
        reference: String,
    },
    /// 401 or 403.
    #[error("{registry} does not let {who} read {reference}{}", said(answer))]
    Denied {
        /// the registry
        registry: String,
        /// what was asked for
        reference: String,
        /// as whom
        who: Who,
        /// what it said
        answer: String,
    },
    /// The credentials of docker's configuration cannot be had.
    #[error("cannot get credentials for {registry}: {message}")]
    Credentials {
        /// the registry
        registry: String,
        /// what is wrong
        message: String,
    },
    /// The name of the host leads nowhere.
    #[error("cannot reach {host}: there is no host of that name")]
    Host {
        /// the host
        host: String,
    },
    /// No connection, or one that broke.
    #[error("cannot reach {host}: {message}")]
    Connection {
        /// the host
        host: String,
        /// what the system said
        message: String,
    },
    /// No secure connection.
    #[error("there is no secure connection to {host}: {message}")]
    Tls {
        /// the host
        host: String,
        /// what is wrong
        message: String,
    },
    /// Nothing came for a long time.
    #[error("{host} does not answer in time")]
    Timeout {
        /// the host
        host: String,
    },
    /// An answer that says that something went wrong.
    #[error("{registry} answers {status} for {reference}{}", said(answer))]
    Status {
        /// the registry
        registry: String,
        /// what was asked for
        reference: String,
        /// as in HTTP
        status: u16,
        /// what it said
        answer: String,
    },
    /// A document says something that cannot be.
    #[error("{reference}: {message}")]
    Malformed {
        /// what was asked for
        reference: String,
        /// what is wrong
        message: String,
    },
    /// A document under another name than its own.
    #[error("{reference}: {expected} was asked for, and what came has the digest {found}")]
    Digest {
        /// what was asked for
        reference: String,
        /// its name
        expected: String,
        /// what it is
        found: String,
    },
    /// More than anybody needs.
    #[error("{reference}: a document is larger than {} MiB, which no build makes; it is not read any further", limit >> 20)]
    TooLarge {
        /// what was asked for
        reference: String,
        /// in bytes
        limit: u64,
    },
    /// An index without a fitting image.
    #[error("{reference} has no image for {wanted}")]
    Platform {
        /// what was asked for
        reference: String,
        /// the platform
        wanted: String,
        /// what there is
        known: Vec<String>,
    },
}

/// As whom a registry was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// without credentials
    Anonymous,
    /// with those of that user
    User(String),
    /// with a token
    Token,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Anonymous => f.write_str("anybody"),
            Who::User(name) => write!(f, "the user `{name}`"),
            Who::Token => f.write_str("the bearer of the configured token"),
        }
    }
}

fn said(answer: &str) -> String {
    if answer.is_empty() { String::new() } else { format!(": {answer}") }
}

impl RegistryError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let login = |registry: &str| match registry {
            "docker.io" => "docker login".to_owned(),
            other => format!("docker login {other}"),
        };
        Some(match self {
            Self::NotBuilt => {
                "install it with `cargo install --locked --features registry --path .`; base images can be given with \
                 `--image REF=PATH`, and a cache as a folder or archive"
                    .to_owned()
            }
            Self::Denied { registry, who: Who::Anonymous, .. } => {
                format!("it is private or not there; `{}` stores credentials that are used here", login(registry))
            }
            Self::Denied { registry, .. } => {
                format!("it is not there, or the credentials do not count any more: `{}` renews them", login(registry))
            }
            Self::Tls { .. } => {
                "trust its certificate: in the certificates of the system, in a file that SSL_CERT_FILE names, or in \
                 /etc/docker/certs.d/REGISTRY/ca.crt"
                    .to_owned()
            }
            Self::Status { status: 429, registry, .. } => {
                format!("it limits how often it may be asked; `{}` raises the limit", login(registry))
            }
            Self::Platform { known, .. } if !known.is_empty() => format!("there is: {}", known.join(", ")),
            Self::Host { .. } | Self::Connection { .. } | Self::Timeout { .. } => {
                "proxies are taken from HTTPS_PROXY and NO_PROXY; what is on this machine can be given with \
                 `--image REF=PATH`"
                    .to_owned()
            }
            _ => return None,
        })
    }
}
