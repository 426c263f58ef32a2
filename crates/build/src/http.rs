//! The HTTP client of this crate: bounded in time and size, TLS by ring with the machine's
//! certificate authorities, Mozilla's where the machine has none.

use crate::error::BuildError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
pub use ureq::http::Method;
use ureq::http::{Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

const RECEIVE_BUFFER: usize = 128 << 10;
/// How long each part of a request may take. There is no limit for a body as a whole: a large one
/// over a slow line is well as long as it goes on.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub connect: Duration,
    /// Until the head of an answer is there.
    pub answer: Duration,
    /// The same once a whole blob was sent, which the other side has yet to check and keep.
    pub stored: Duration,
    /// Without a single byte in either direction.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(10), answer: seconds(30), stored: seconds(300), stall: seconds(30) }
    }
}

/// For a body that is read as a whole, such as a document.
const BODY_TIMEOUT: Duration = Duration::from_secs(1800);
/// Redirects are followed here rather than in the client, which would need TLS from the start.
const MAX_REDIRECTS: u32 = 8;

/// Shared by all downloads of a process; connections are kept between requests.
pub struct Http {
    plain: Agent,
    tls: OnceLock<Agent>,
    /// By file of certificates, where a host has authorities of its own.
    own: Mutex<HashMap<Vec<PathBuf>, Agent>>,
    patience: Patience,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

/// What is sent after the head of a request.
#[derive(Clone, Copy)]
pub enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// A file from this byte on.
    File(&'a File, u64),
}

/// One request. Answers of any status are answers.
pub struct Ask<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub payload: Payload<'a>,
    /// PEM files of the only authorities that vouch for the host; the machine's when empty.
    pub authorities: &'a [PathBuf],
}

impl Http {
    pub fn new() -> Self {
        Self::with_patience(Patience::default())
    }

    pub fn with_patience(patience: Patience) -> Self {
        let (tls, own) = (OnceLock::new(), Mutex::default());
        Self { plain: agent(None, patience), tls, own, patience }
    }

    /// Asks for `url`; answers of any status are answers. TLS is set up at its first use, because
    /// reading the machine's certificates takes longer than a whole cached build.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, BuildError> {
        self.ask(&Ask { method: Method::GET, url, headers, payload: Payload::Nothing, authorities: &[] })
    }

    /// Asks, and follows redirects of what sends nothing.
    pub fn ask(&self, ask: &Ask<'_>) -> Result<Response<Body>, BuildError> {
        let mut url = ask.url.to_owned();
        let mut headers = ask.headers.to_vec();
        for _ in 0..=MAX_REDIRECTS {
            // Own authorities vouch for one host alone.
            let authorities = if origin(&url) == origin(ask.url) { ask.authorities } else { &[] };
            let agent = self.agent_for(&url, authorities)?;
            let answer = self.send(&agent, &ask.method, &url, &headers, ask.payload)?;
            let location = answer.headers().get("location").and_then(|v| v.to_str().ok());
            let follows =
                matches!(ask.method, Method::GET | Method::HEAD) && answer.status().is_redirection();
            let Some(location) = location.filter(|_| follows) else {
                return Ok(answer);
            };
            let target = follow(&url, location)?;
            if origin(&target) != origin(&url) {
                // Credentials stay with the host they were meant for.
                headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
            }
            url = target;
        }
        Err(BuildError::unreachable(&url, &format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    fn agent_for(&self, url: &str, authorities: &[PathBuf]) -> Result<Agent, BuildError> {
        match (url.starts_with("https://"), authorities.is_empty()) {
            (false, _) => Ok(self.plain.clone()),
            (true, true) => Ok(self.secure().clone()),
            (true, false) => {
                let mut own = self.own.lock().expect("nothing panics while it holds this");
                if let Some(agent) = own.get(authorities) {
                    return Ok(agent.clone());
                }
                let agent = agent(Some(tls_config(&read_authorities(authorities)?)), self.patience);
                own.insert(authorities.to_vec(), agent.clone());
                Ok(agent)
            }
        }
    }

    fn secure(&self) -> &Agent {
        self.tls.get_or_init(|| {
            agent(Some(tls_config(&rustls_native_certs::load_native_certs().certs)), self.patience)
        })
    }

    fn send(
        &self,
        agent: &Agent,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<Response<Body>, BuildError> {
        let failed = |error: &dyn std::fmt::Display| BuildError::unreachable(url, error);
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if *method == Method::GET || *method == Method::HEAD {
            let request = request.body(()).map_err(|e| failed(&e))?;
            return agent.run(request).map_err(|e| failed(&e));
        }
        let (length, mut reader) = match payload {
            Payload::Nothing => (0, Either::Bytes(&[])),
            Payload::Bytes(bytes) => (bytes.len() as u64, Either::Bytes(bytes)),
            Payload::File(file, from) => {
                let size = file.metadata().map_err(BuildError::io("read what is sent"))?.len();
                let buffered = BufReader::with_capacity(SEND_BUFFER, FromFile { file, at: from });
                (size.saturating_sub(from), Either::File(buffered))
            }
        };
        let body = SendBody::from_reader(&mut reader);
        let request = request.header("content-length", length).body(body).map_err(|e| failed(&e))?;
        let patience = self.patience;
        let answer = if matches!(payload, Payload::File(..)) { patience.stored } else { patience.answer };
        let request = agent
            .configure_request(request)
            .timeout_recv_response(Some(answer))
            .timeout_per_read(Some(answer))
            .build();
        agent.run(request).map_err(|e| failed(&e))
    }
}

const SEND_BUFFER: usize = 128 << 10;

/// What a body is read from.
enum Either<'a> {
    Bytes(&'a [u8]),
    File(BufReader<FromFile<'a>>),
}

impl Read for Either<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Bytes(bytes) => bytes.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}

/// A file that several may read at once.
struct FromFile<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// `scheme://host:port`.
pub fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find(['/', '?']).map_or(url, |end| &url[..start + end])
}

/// Where a redirect leads; never from TLS to plain text.
pub fn follow(from: &str, location: &str) -> Result<String, BuildError> {
    let target = match location {
        absolute if absolute.contains("://") => absolute.to_owned(),
        path if path.starts_with('/') && !path.starts_with("//") => format!("{}{path}", origin(from)),
        other => return Err(BuildError::unreachable(from, &format!("it redirects to `{other}`"))),
    };
    let plain = target.starts_with("http://") && !from.starts_with("https://");
    match plain || target.starts_with("https://") {
        true => Ok(target),
        false => {
            Err(BuildError::unreachable(from, &format!("it redirects to `{target}`, which is not safe")))
        }
    }
}

fn agent(tls: Option<TlsConfig>, patience: Patience) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.answer))
        .timeout_per_read(Some(patience.stall))
        .timeout_per_write(Some(patience.stall))
        .timeout_recv_body(Some(BODY_TIMEOUT))
        .input_buffer_size(RECEIVE_BUFFER)
        .output_buffer_size(SEND_BUFFER)
        .user_agent(concat!("juchu/", env!("CARGO_PKG_VERSION")));
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    config.build().new_agent()
}

/// The certificates in PEM files.
fn read_authorities(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let mut found = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).map_err(BuildError::io(format!("read {}", file.display())))?;
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let malformed = |e| BuildError::malformed(file.display().to_string(), e);
            found.push(certificate.map_err(malformed)?);
        }
    }
    match (found.is_empty(), files.first()) {
        (true, Some(first)) => {
            Err(BuildError::malformed(first.display().to_string(), "there is no certificate in it"))
        }
        _ => Ok(found),
    }
}

fn tls_config(authorities: &[CertificateDer<'static>]) -> TlsConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = match authorities.is_empty() {
        true => RootCerts::WebPki,
        false => authorities.iter().map(|der| Certificate::from_der(der).to_owned()).into(),
    };
    TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build()
}

/// Reads a whole body of at most `limit` bytes.
pub fn read_body(url: &str, body: Body, limit: u64) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::new();
    let mut reader = body.into_with_config().limit(limit + 1).reader();
    reader.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(|e| BuildError::unreachable(url, &e))?;
    if bytes.len() as u64 > limit {
        return Err(BuildError::TooLarge { what: url.to_owned(), limit: model::Bytes(limit) });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Answer, Server};

    #[test]
    fn a_machine_without_certificates_still_has_authorities() {
        let server = Server::start(|_| Answer::ok("plain text where TLS is expected"));
        let url = format!("https://{}/", server.address());
        let agent = agent(Some(tls_config(&[])), Patience::default());
        let error = Http::new().send(&agent, &Method::GET, &url, &[], Payload::Nothing).unwrap_err();
        assert!(matches!(error, BuildError::Unreachable { .. }), "{error}");
    }

    #[test]
    fn redirects_lead_only_where_it_is_safe() {
        assert_eq!(follow("http://a/x", "/y").unwrap(), "http://a/y");
        assert_eq!(follow("http://a/x", "https://b/y").unwrap(), "https://b/y");
        for bad in ["http://b/y", "file:///etc/passwd", "//b/y", "y"] {
            assert!(follow("https://a/x", bad).is_err(), "{bad}");
        }
        let server = Server::start(|_| Answer::status(302).header("location", "/again"));
        let error = Http::new().get(&format!("http://{}/", server.address()), &[]).unwrap_err();
        assert!(error.to_string().contains("redirects more than 8 times"), "{error}");
    }
}
