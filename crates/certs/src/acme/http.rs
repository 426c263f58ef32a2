//! How the authority is spoken to: by the client that fetches images, bounded in time and size.

use crate::CertError;
use crate::shelf;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For one request with its answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Authorities ask that clients say what they are.
const AGENT: &str = concat!("juchu/", env!("CARGO_PKG_VERSION"));

pub struct Client {
    agent: Agent,
}

impl Client {
    /// Trusts what this machine trusts, or else one file with certificates.
    pub fn new(trust: Option<&Path>) -> Result<Self, CertError> {
        let roots = match trust {
            Some(path) => {
                let pem = shelf::read(path)?;
                let found: Vec<CertificateDer<'static>> =
                    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap_or_default();
                if found.is_empty() {
                    return Err(CertError::NoCertificate(path.to_owned()));
                }
                specific(&found)
            }
            None => match rustls_native_certs::load_native_certs().certs {
                // As few machines have none, Mozilla's come with this program.
                none if none.is_empty() => RootCerts::WebPki,
                found => specific(&found),
            },
        };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(roots)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_global(Some(REQUEST_LIMIT))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(AGENT)
            .build();
        Ok(Self { agent: config.into() })
    }
}

fn specific(certificates: &[CertificateDer<'_>]) -> RootCerts {
    let owned = certificates.iter().map(|found| Certificate::from_der(found).to_owned());
    RootCerts::Specific(Arc::new(owned.collect()))
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let agent = self.agent.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let asked = tokio::task::spawn_blocking(move || ask(&agent, Request::from_parts(parts, body)));
            let answer = asked.await.map_err(|error| Error::Other(error.into()))??;
            let (parts, body) = answer.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

fn ask(agent: &Agent, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
    let failed = |error: ureq::Error| Error::Other(error.into());
    let (parts, body) = request.into_parts();
    let answer = agent.run(Request::from_parts(parts, body.to_vec())).map_err(failed)?;
    let (parts, mut body) = answer.into_parts();
    let content = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(failed)?;
    Ok(Response::from_parts(parts, Bytes::from(content)))
}
