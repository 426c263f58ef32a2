//! One message to one receiver over HTTP. What is said of a failure never has the address in it.

use crate::form;
use crate::message::Message;
use crate::receiver::{Kind, Receiver};
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For one message with its answer.
pub const LIMIT: Duration = Duration::from_secs(10);
const AGENT: &str = concat!("juchu/", env!("CARGO_PKG_VERSION"));
/// Characters of a failure.
pub const SAID_MAX: usize = 200;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Trying again may help.
    #[error("{0}")]
    Later(String),
    /// It is the message or the address that is wrong.
    #[error("{0}")]
    Never(String),
}

/// A client that trusts what this machine trusts.
pub fn agent() -> Agent {
    let found = rustls_native_certs::load_native_certs().certs;
    // As few machines have none, Mozilla's come with this program.
    let roots = match found.is_empty() {
        true => RootCerts::WebPki,
        false => {
            let owned = found.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
            RootCerts::Specific(Arc::new(owned.collect()))
        }
    };
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(roots)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_global(Some(LIMIT))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(AGENT)
        .build()
        .into()
}

pub fn send(agent: &Agent, receiver: &Receiver, message: &Message) -> Result<(), SendError> {
    if receiver.kind == Kind::Mail {
        let unusable = || SendError::Never("its address cannot be used".to_owned());
        return receiver.post().ok_or_else(unusable)?.send(message);
    }
    let (url, body) = form::request(receiver, message);
    let answer = agent.post(&url).send_json(&body).map_err(|error| failure(receiver, &error))?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        status @ (408 | 425 | 429 | 500..=599) => Err(SendError::Later(format!("it answered {status}"))),
        status => Err(SendError::Never(format!("it answered {status}"))),
    }
}

/// In words that have nothing of the address but its host.
fn failure(receiver: &Receiver, error: &ureq::Error) -> SendError {
    let text = match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", LIMIT.as_secs()),
        ureq::Error::HostNotFound => "its name is not known".to_owned(),
        ureq::Error::ConnectionFailed => "it cannot be connected to".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::BadUri(_) => return SendError::Never("its address cannot be used".to_owned()),
        other => other.to_string().replace(receiver.url(), "its address"),
    };
    SendError::Later(text.chars().take(SAID_MAX).collect())
}
