//! The HTTP client of this crate: bounded in time and size, TLS by ring with the machine's
//! certificate authorities, Mozilla's where the machine has none.

use crate::error::BuildError;
use std::io::Read;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the head of an answer is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Without a single byte.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// For one whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(1800);
/// Redirects are followed here rather than in the client, which would need TLS from the start.
const MAX_REDIRECTS: u32 = 8;

/// Shared by all downloads of a process; connections are kept between requests.
pub struct Http {
    plain: Agent,
    tls: OnceLock<Agent>,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    pub fn new() -> Self {
        Self { plain: agent(None), tls: OnceLock::new() }
    }

    /// Asks for `url`; answers of any status are answers. TLS is set up at its first use, because
    /// reading the machine's certificates takes longer than a whole cached build.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, BuildError> {
        let mut url = url.to_owned();
        let mut headers = headers.to_vec();
        for _ in 0..=MAX_REDIRECTS {
            let agent = if url.starts_with("https://") { self.secure() } else { &self.plain };
            let answer = send(agent, &url, &headers)?;
            let location = answer.headers().get("location").and_then(|v| v.to_str().ok());
            let Some(location) = location.filter(|_| answer.status().is_redirection()) else {
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

    fn secure(&self) -> &Agent {
        self.tls.get_or_init(|| agent(Some(tls_config(&rustls_native_certs::load_native_certs().certs))))
    }
}

/// `scheme://host:port`.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find('/').map_or(url, |end| &url[..start + end])
}

/// Where a redirect leads; never from TLS to plain text.
fn follow(from: &str, location: &str) -> Result<String, BuildError> {
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

fn send(agent: &Agent, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, BuildError> {
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.call().map_err(|error| BuildError::unreachable(url, &error))
}

fn agent(tls: Option<TlsConfig>) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT))
        .timeout_recv_body(Some(BODY_TIMEOUT))
        .user_agent(concat!("juchu/", env!("CARGO_PKG_VERSION")));
    if let Some(tls) = tls {
        config = config.tls_config(tls);
    }
    config.build().new_agent()
}

fn tls_config(native: &[rustls::pki_types::CertificateDer<'static>]) -> TlsConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = match native.is_empty() {
        true => RootCerts::WebPki,
        false => native.iter().map(|der| Certificate::from_der(der).to_owned()).into(),
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
        let error = send(&agent(Some(tls_config(&[]))), &url, &[]).unwrap_err();
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
