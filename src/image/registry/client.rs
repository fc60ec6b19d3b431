//! The HTTP side: connections, redirects, and the handshake for tokens
//! (OCI distribution specification; "Token Authentication" of the distribution project).

use super::super::reference::Reference;
use super::credentials::{self, Credential};
use super::error::Who;
use super::{Download, Manifest, RegistryError, locked};
use base64::Engine as _;
use serde::Deserialize;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

/// What a manifest may be; a registry converts or refuses what is not named.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
    */*;q=0.5";
/// Most bytes of a manifest or index; containerd takes no more either.
const MANIFEST: u64 = 8 << 20;
/// Most bytes of a configuration. Those of images with inline cache, and of caches, are the largest.
const DOCUMENT: u64 = 32 << 20;
/// How long nothing at all may come, and how long a connection may take.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a document may take as a whole.
const DOCUMENT_TIME: Duration = Duration::from_secs(120);
/// Most bytes of what a registry says about an error, and of a token.
const ANSWER: u64 = 64 << 10;

/// A registry.
#[derive(Debug)]
pub(super) struct Host {
    /// as in references
    registry: String,
    /// `https://registry-1.docker.io`
    base: String,
    agent: Agent,
    credential: OnceLock<Option<Credential>>,
}

/// A repository of a registry, with what it takes to read it.
#[derive(Debug)]
pub(super) struct Connection {
    host: Arc<Host>,
    repository: String,
    /// for messages
    reference: String,
    authorization: Mutex<Option<String>>,
}

/// Whether a host is this machine: there, as for Docker, a registry may do without a certificate.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.split_once(':').map_or(registry, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Host {
    pub(super) fn new(registry: &str) -> Result<Self, RegistryError> {
        let host = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let new = |scheme: &str, agent| Self {
            registry: registry.to_owned(),
            base: format!("{scheme}://{host}"),
            agent,
            credential: OnceLock::new(),
        };
        if is_loopback(registry) {
            let plain = new("http", agent(registry, false));
            // A server that wants TLS says so, or hangs up.
            match plain.agent.get(format!("{}/v2/", plain.base)).call() {
                Ok(answer) if answer.status() != 400 => return Ok(plain),
                Ok(_) | Err(ureq::Error::Protocol(_)) => {}
                Err(ureq::Error::Io(e)) if e.kind() != io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(failure(host, error)),
            }
        }
        Ok(new("https", agent(registry, true)))
    }

    /// Credentials are looked for when a registry asks for them, and once.
    fn credential(&self) -> Result<Option<&Credential>, RegistryError> {
        if let Some(known) = self.credential.get() {
            return Ok(known.as_ref());
        }
        let found = credentials::find(&self.registry)?;
        Ok(self.credential.get_or_init(|| found).as_ref())
    }
}

fn agent(registry: &str, secure: bool) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(secure)
        .max_redirects(5)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(concat!("layerlint/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(SILENCE))
        .timeout_connect(Some(SILENCE))
        .timeout_send_request(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE));
    // As Go's programs do, Docker among them: nothing asks a proxy for this machine.
    config = config.proxy(if is_loopback(registry) { None } else { Proxy::try_from_env() });
    if secure {
        config = config.tls_config(TlsConfig::builder().root_certs(roots(registry)).build());
    }
    config.build().new_agent()
}

/// The certificates of the system, and those that Docker keeps for a registry.
fn roots(registry: &str) -> RootCerts {
    let system = rustls_native_certs::load_native_certs().certs;
    let mut certificates: Vec<Certificate<'static>> =
        system.iter().map(|c| Certificate::from_der(c).to_owned()).collect();
    let folder = std::path::Path::new("/etc/docker/certs.d").join(registry);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "crt") {
            continue;
        }
        let pem = std::fs::read(path).unwrap_or_default();
        let items = parse_pem(&pem).filter_map(Result::ok);
        certificates.extend(items.filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        }));
    }
    if certificates.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&certificates) }
}

fn failure(host: &str, error: ureq::Error) -> RegistryError {
    let host = host.to_owned();
    match error {
        ureq::Error::HostNotFound => RegistryError::Host { host },
        ureq::Error::Timeout(_) => RegistryError::Timeout { host },
        ureq::Error::Io(error) => io_failure(&host, &error),
        ureq::Error::Tls(message) => RegistryError::Tls { host, message: message.to_owned() },
        ureq::Error::Rustls(error) => RegistryError::Tls { host, message: error.to_string() },
        ureq::Error::RequireHttpsOnly(address) => {
            let message = format!("it leads on to {address}, which is not encrypted");
            RegistryError::Connection { host, message }
        }
        other => RegistryError::Connection { host, message: other.to_string() },
    }
}

fn io_failure(host: &str, error: &io::Error) -> RegistryError {
    let host = host.to_owned();
    let message = error.to_string();
    match error.kind() {
        io::ErrorKind::TimedOut => RegistryError::Timeout { host },
        // The kind under which certificates that are not trusted arrive.
        io::ErrorKind::InvalidData => RegistryError::Tls { host, message },
        _ if message.starts_with("failed to lookup address") => RegistryError::Host { host },
        _ => RegistryError::Connection { host, message: crate::source::reason(error) },
    }
}

impl Connection {
    pub(super) fn new(host: Arc<Host>, reference: &Reference) -> Self {
        Self {
            host,
            repository: reference.repository().to_owned(),
            reference: reference.tagged(),
            authorization: Mutex::new(None),
        }
    }

    /// A manifest by tag or digest with the digest that the registry states; none if it is not there.
    pub(super) fn manifest(&self, wanted: &str) -> Result<Option<Manifest>, RegistryError> {
        let Some(response) = self.get(&format!("manifests/{wanted}"), MANIFESTS, true)? else {
            return Ok(None);
        };
        let stated = response.headers().get("docker-content-digest");
        let stated = stated.and_then(|d| d.to_str().ok()).map(str::to_owned);
        Ok(Some((self.read(response, MANIFEST)?, stated)))
    }

    /// A blob that is a document; none if it is not there.
    pub(super) fn document(&self, digest: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let response = self.get(&format!("blobs/{digest}"), "*/*", true)?;
        response.map(|r| self.read(r, DOCUMENT)).transpose()
    }

    /// Whether a blob is there.
    pub(super) fn has(&self, digest: &str) -> Result<bool, RegistryError> {
        let path = self.path(&format!("blobs/{digest}"));
        let response = self.authorized(|authorization| {
            // Where it is stored instead does not matter, and need not answer to HEAD.
            let request = self.host.agent.head(&path).config().max_redirects(0).build();
            with(request, authorization).call()
        })?;
        match response.status().as_u16() {
            200..=399 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused(response)),
        }
    }

    /// A blob as it comes; none if it is not there.
    pub(super) fn download(&self, digest: &str) -> Result<Option<Download>, RegistryError> {
        let Some(response) = self.get(&format!("blobs/{digest}"), "*/*", false)? else { return Ok(None) };
        let length = response.body().content_length();
        Ok(Some((Box::new(response.into_body().into_with_config().reader()), length)))
    }

    fn path(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.host.base, self.repository)
    }

    fn get(&self, rest: &str, accept: &str, document: bool) -> Result<Option<Response<Body>>, RegistryError> {
        let path = self.path(rest);
        let response = self.authorized(|authorization| {
            let time = document.then_some(DOCUMENT_TIME);
            let request = self.host.agent.get(&path).config().timeout_per_call(time).build();
            with(request.header("accept", accept), authorization).call()
        })?;
        match response.status().as_u16() {
            200 => Ok(Some(response)),
            404 => Ok(None),
            _ => Err(self.refused(response)),
        }
    }

    /// Sends a request, and sends it again with what the registry wants if it wants something.
    fn authorized(
        &self,
        send: impl Fn(Option<&str>) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, RegistryError> {
        let send = || {
            let authorization = locked(&self.authorization).clone();
            send(authorization.as_deref()).map_err(|e| failure(&self.host.registry, e))
        };
        let response = send()?;
        if response.status() != 401 {
            return Ok(response);
        }
        let authorization = self.authorization(&response)?;
        *locked(&self.authorization) = Some(authorization);
        send()
    }

    /// What a registry wants to see before it answers.
    fn authorization(&self, response: &Response<Body>) -> Result<String, RegistryError> {
        let headers = response.headers().get_all("www-authenticate").iter().filter_map(|h| h.to_str().ok());
        let mut basic = false;
        for header in headers {
            for challenge in http_auth::parse_challenges(header).unwrap_or_default() {
                let param = |name: &str| {
                    let found = challenge.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let Some(realm) = param("realm") else { continue };
                    let token = self.token(&realm, param("service"), param("scope"))?;
                    return Ok(format!("Bearer {token}"));
                }
                basic |= challenge.scheme.eq_ignore_ascii_case("basic");
            }
        }
        match self.host.credential()? {
            Some(Credential::Password { user, password }) if basic => Ok(basic_header(user, password)),
            _ => Err(self.denied("")),
        }
    }

    /// Asks for a token to read the repository.
    fn token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
    ) -> Result<String, RegistryError> {
        let host = authority(realm);
        let encrypted = realm.starts_with("https://");
        // Credentials travel with this request: only to this machine may they do so for all to read.
        let local = is_loopback(&self.host.registry) && is_loopback(host) && realm.starts_with("http://");
        if !encrypted && !local {
            let message =
                format!("the registry wants credentials to be sent to {realm}, which is not encrypted");
            return Err(RegistryError::Malformed { reference: self.reference.clone(), message });
        }
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
        let service = service.unwrap_or_default();
        // The registry's own agent would trust its certificates for a host that may be another one.
        let agent =
            if host == authority(&self.host.base) { self.host.agent.clone() } else { agent(host, encrypted) };
        let time = Some(DOCUMENT_TIME);
        let sent = match self.host.credential()? {
            Some(Credential::Identity(token)) => {
                agent.post(realm).config().timeout_per_call(time).build().send_form([
                    ("grant_type", "refresh_token"),
                    ("service", &service),
                    ("client_id", "layerlint"),
                    ("scope", &scope),
                    ("refresh_token", token),
                ])
            }
            credential => {
                let mut request = agent.get(realm).config().timeout_per_call(time).build();
                if !service.is_empty() {
                    request = request.query("service", &service);
                }
                request = request.query("scope", &scope);
                if let Some(Credential::Password { user, password }) = credential {
                    request = request.header("authorization", basic_header(user, password));
                }
                request.call()
            }
        };
        let response = sent.map_err(|e| failure(host, e))?;
        if response.status() != 200 {
            return Err(self.refused(response));
        }
        let bytes = self.read(response, ANSWER)?;
        let answer: Token = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = answer.token.or(answer.access_token).unwrap_or_default();
        // Anything else has no place in a header.
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            let message = format!("{host} answers without a token");
            return Err(RegistryError::Malformed { reference: self.reference.clone(), message });
        }
        Ok(token)
    }

    /// Reads all of a document.
    fn read(&self, response: Response<Body>, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::TooLarge { reference: self.reference.clone(), limit };
        if response.body().content_length().is_some_and(|l| l > limit) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let reader = response.into_body().into_with_config().reader();
        let read = reader.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|e| io_failure(&self.host.registry, &e))?;
        if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
    }

    fn who(&self) -> Who {
        match self.host.credential.get() {
            Some(Some(Credential::Password { user, .. })) => Who::User(user.clone()),
            Some(Some(Credential::Identity(_))) => Who::Token,
            _ => Who::Anonymous,
        }
    }

    fn denied(&self, answer: &str) -> RegistryError {
        RegistryError::Denied {
            registry: self.host.registry.clone(),
            reference: self.reference.clone(),
            who: self.who(),
            answer: answer.to_owned(),
        }
    }

    /// The error for an answer that is none.
    fn refused(&self, response: Response<Body>) -> RegistryError {
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        // What cannot be read of it would not have been more than a remark.
        let _ = response.into_body().into_with_config().reader().take(ANSWER).read_to_end(&mut bytes);
        let answer = said(&bytes);
        if matches!(status, 401 | 403) {
            return self.denied(&answer);
        }
        let (registry, reference) = (self.host.registry.clone(), self.reference.clone());
        RegistryError::Status { registry, reference, status, answer }
    }
}

fn with(
    request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
    authorization: Option<&str>,
) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
    match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    }
}

fn basic_header(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

/// `host[:port]` of an address.
fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OneError {
    code: String,
    message: String,
}

/// What a registry says about an error, not too much of it and nothing that a terminal would obey.
fn said(answer: &[u8]) -> String {
    let Errors { errors } = serde_json::from_slice(answer).unwrap_or_default();
    let Some(OneError { code, message }) = errors.into_iter().next() else { return String::new() };
    let text = if message.is_empty() { code } else { message };
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for here in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.0.1", "[::1]:5000"] {
            assert!(is_loopback(here), "{here}");
        }
        for there in
            ["docker.io", "localhost.example", "128.0.0.1", "[::2]:1", "10.0.0.1:5000", "127.0.0.1.example"]
        {
            assert!(!is_loopback(there), "{there}");
        }
    }

    #[test]
    fn the_host_of_an_address_is_what_a_connection_goes_to() {
        assert_eq!(authority("https://a.example:1/x?y#z"), "a.example:1");
        assert_eq!(authority("http://localhost@evil.example/"), "evil.example");
        assert_eq!(authority("http://evil.example?@localhost"), "evil.example");
    }

    #[test]
    fn what_a_registry_says_is_short_and_plain() {
        let answer = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way"}]}"#;
        assert_eq!(said(answer), "no[31m way");
        assert_eq!(said(br#"{"errors":[{"code":"DENIED"}]}"#), "DENIED");
        assert_eq!(said(b"<html>"), "");
    }
}
