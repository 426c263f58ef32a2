//! Certificates made for a test, and a client that speaks TLS.

use super::{Gateway, PATIENCE, table};
use model::route::ListenerTls;
use model::service::Protocol;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// An authority of the test's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Chain and key in one file, as the gateway reads them.
    pub fn pem(&self, hosts: &[&str]) -> String {
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names are valid");
        let leaf = params.signed_by(&key, &self.0).expect("a certificate");
        leaf.pem() + &key.serialize_pem()
    }

    /// Clients that trust it.
    pub fn trusting(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.0.der().to_vec())).expect("it is one");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let mut config = builder.expect("known versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }
}

/// Leaves a file where the gateway looks for certificates.
pub fn leave(gateway: &Gateway, name: &str, content: &str) {
    let path = gateway.dir.path().join("certificates").join(name);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("it is writable");
    std::fs::write(path, content).expect("it is writable");
}

impl Gateway {
    /// Serves one backend by TLS with the certificate of that name.
    pub fn serve_secured(
        &mut self,
        protocol: Protocol,
        certificate: &str,
        instance: SocketAddr,
    ) -> SocketAddr {
        let mut table = table(self.next_revision(), &[(protocol, true, &[instance])]);
        table.listeners[0].tls = Some(ListenerTls { certificate: certificate.to_owned(), hsts: None });
        let report = self.apply(&table);
        assert_eq!(report.failed, []);
        report.bound[0].1
    }
}

/// A client of one connection.
pub struct Secured {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    rest: Vec<u8>,
}

impl Secured {
    /// Completes the handshake, or says why it failed.
    pub fn to(address: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> Result<Self, std::io::Error> {
        Self::over(TcpStream::connect(address).expect("someone listens"), host, config)
    }

    /// The same on a connection on which something was said before.
    pub fn over(socket: TcpStream, host: &str, config: &Arc<ClientConfig>) -> Result<Self, std::io::Error> {
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket.set_nodelay(true).expect("an option");
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let session = ClientConnection::new(config.clone(), name).expect("the settings are valid");
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, rest: Vec::new() })
    }

    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that was shown.
    pub fn shown(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().expect("one was shown")[0].to_vec()
    }

    pub fn send(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(text.as_ref()).expect("it is taken");
        self.stream.flush().expect("it is taken");
        self
    }

    /// Exactly `count` bytes.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.rest.len() < count {
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(read @ 1..) => self.rest.extend_from_slice(&buffer[..read]),
                other => panic!("{} of {count} bytes, then {other:?}", self.rest.len()),
            }
        }
        self.rest.drain(..count).collect()
    }

    /// Head and body of one response with a Content-Length.
    pub fn response(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.exactly(1));
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length = length.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let body = String::from_utf8_lossy(&self.exactly(length)).into_owned();
        (head, body)
    }

    pub fn get(&mut self, host: &str) -> (String, String) {
        self.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).response()
    }
}
