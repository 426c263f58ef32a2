//! How connections of one process are secured: the certificates in force, and for each listener
//! what a handshake needs. Sessions are resumed by tickets, so that nothing is kept for them.

use super::shelf::Certificates;
use crate::http2;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What is asked for to prove a host to a certificate authority (RFC 8737).
pub const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";
pub const HTTP_1: &[u8] = b"http/1.1";
/// Tickets sent with each handshake of TLS 1.3: one for the next connection.
const TICKETS: usize = 1;

/// Shared by all threads.
pub struct Terminator {
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    certificates: Arc<ArcSwap<Certificates>>,
    /// Hosts are being proved to a certificate authority.
    proving: AtomicBool,
}

impl Terminator {
    pub fn new() -> Result<Self, rustls::Error> {
        Ok(Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            // Keys change every six hours, those before stay good for as long.
            tickets: rustls::crypto::ring::Ticketer::new()?,
            certificates: Arc::default(),
            proving: AtomicBool::new(false),
        })
    }

    /// Reads the certificates anew; connections that are there go on as they are.
    pub fn load(&self, directory: &Path) -> Vec<String> {
        let (certificates, faults) = Certificates::load(directory, &self.provider);
        self.proving.store(certificates.has_tokens(), Relaxed);
        self.certificates.store(Arc::new(certificates));
        faults
    }

    /// Names of the certificates that can be shown.
    pub fn names(&self) -> Vec<String> {
        self.certificates.load().names()
    }

    /// Whether [`Terminator::proof`] may know anything.
    pub fn proves(&self) -> bool {
        self.proving.load(Relaxed)
    }

    /// What a certificate authority is answered that asks for the token.
    pub fn proof(&self, token: &str) -> Option<Vec<u8>> {
        self.certificates.load().token(token).map(<[u8]>::to_vec)
    }

    /// What handshakes of a listener need whose own certificate is named `own`.
    pub fn listener(&self, own: &str) -> Result<Arc<ServerConfig>, rustls::Error> {
        let resolver = Resolver { own: own.to_owned(), certificates: self.certificates.clone() };
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![http2::PROTOCOL.to_vec(), HTTP_1.to_vec(), CHALLENGE_PROTOCOL.to_vec()];
        config.ticketer = self.tickets.clone();
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        Ok(Arc::new(config))
    }
}

struct Resolver {
    own: String,
    certificates: Arc<ArcSwap<Certificates>>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("own", &self.own).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.certificates.load();
        let asks_for_proof = hello.alpn().is_some_and(|mut all| all.any(|name| name == CHALLENGE_PROTOCOL));
        match hello.server_name() {
            Some(host) if asks_for_proof => certificates.challenge(host),
            host => certificates.choose(&self.own, host),
        }
    }
}
