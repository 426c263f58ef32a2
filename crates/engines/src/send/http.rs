//! One request after the other to one place, each bounded in time; its answer tells what becomes of the
//! batch.

use super::Delivered;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const CONNECT: Duration = Duration::from_secs(10);
/// For a whole exchange.
const EXCHANGE: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Bytes of what a destination says that are shown.
const SAID_BYTES_MAX: usize = 300;

/// Where to, and what is shown there.
#[derive(Clone)]
pub struct Place {
    pub url: String,
    /// The value of `Authorization`: a secret.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: String, why: String },
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

pub struct Client {
    agent: Agent,
    place: Place,
}

impl Client {
    pub fn new(place: Place) -> Self {
        Self::with_patience(place, EXCHANGE)
    }

    pub fn with_patience(place: Place, exchange: Duration) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT.min(exchange)))
            .timeout_global(Some(exchange))
            .user_agent(concat!("juchu/", env!("CARGO_PKG_VERSION")));
        if place.url.starts_with("https://") {
            config = config.tls_config(tls());
        }
        Self { agent: config.build().new_agent(), place }
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, HttpError> {
        let url = format!("{}{path}", self.place.url);
        let mut request = self.agent.post(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.place.authorization {
            request = request.header("Authorization", authorization);
        }
        let failed = |error: ureq::Error| HttpError::Unreachable { url: url.clone(), why: error.to_string() };
        let mut response = request.send(body).map_err(failed)?;
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(failed)?;
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body })
    }
}

fn tls() -> TlsConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = rustls_native_certs::load_native_certs().certs;
    let roots = match own.is_empty() {
        true => RootCerts::WebPki,
        false => own.iter().map(|der| Certificate::from_der(der).to_owned()).into(),
    };
    TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build()
}

impl Answer {
    /// By its status, as all of them mean it: 429 and 5xx come again, any other refusal is for ever.
    pub fn delivered(&self, items: u64) -> Delivered {
        match self.status {
            200..=299 => Delivered::All,
            408 | 429 | 500..=599 => Delivered::Again { why: self.said(), after: self.retry_after },
            // The operator can mend these: nothing is lost meanwhile but for want of room.
            401 | 403 | 404 => Delivered::Again { why: self.said(), after: None },
            _ => Delivered::Lost { items, why: self.said() },
        }
    }

    /// Status and the beginning of the text, on one line.
    pub fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(SAID_BYTES_MAX)]).into_owned();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            format!("it answered {}", self.status)
        } else {
            format!("it answered {}: {text}", self.status)
        }
    }
}
