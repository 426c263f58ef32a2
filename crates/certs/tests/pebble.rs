//! Certificates ordered from a real authority (Debian's pebble), both ways of proving a host.

use async_trait::async_trait;
use certs::{Announce, Authority, Keeper, Settings, Shelf};
use model::Timestamp;
use model::certificate::{Acme, CertificateSource, CertificateStatus, CertificateWanted, Challenge};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for anything; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ended with the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of loopback that was free a moment ago, for programs that take no port 0.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    listener.local_addr().expect("it is bound").port()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    Timestamp(i64::try_from(since.as_millis()).expect("it is before the end"))
}

/// What is on the shelf can be asked for at once here.
struct Nobody;

#[async_trait]
impl Announce for Nobody {
    async fn announce(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Answers as the gateway does: tokens by HTTP, proofs by TLS, both from the shelf. Its threads end
/// with the process of the test.
fn prove(challenges: &Path) -> (u16, u16) {
    let serve = |talk: Box<dyn Fn(TcpStream) + Send>| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || listener.incoming().flatten().for_each(talk));
        port
    };
    let tokens = challenges.to_owned();
    let http = serve(Box::new(move |mut stream| {
        let mut head = [0; 4096];
        let count = stream.read(&mut head).unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..count]).into_owned();
        let token = head.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let answer = std::fs::read_to_string(tokens.join(format!("{token}.txt"))).unwrap_or_default();
        // The authority sees an answer that does not fit, and says so.
        let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    }));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("known versions").with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(Proofs(challenges.to_owned())));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let config = Arc::new(config);
    let tls = serve(Box::new(move |mut stream| {
        let mut session = ServerConnection::new(config.clone()).expect("the settings are valid");
        while session.is_handshaking() && session.complete_io(&mut stream).is_ok() {}
    }));
    (http, tls)
}

#[derive(Debug)]
struct Proofs(PathBuf);

impl ResolvesServerCert for Proofs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pem = std::fs::read(self.0.join(format!("{}.pem", hello.server_name()?))).ok()?;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().ok()?;
        let key = PrivateKeyDer::from_pem_slice(&pem).ok()?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).ok()?;
        Some(Arc::new(CertifiedKey::new(chain, key)))
    }
}

/// The authority, its names, and the file by which its own https is trusted.
struct Pebble {
    directory: String,
    trust: PathBuf,
    _processes: [Process; 2],
}

impl Pebble {
    fn start(home: &Path, (http, tls): (u16, u16)) -> Option<Self> {
        let program = testkit::needs("pebble", "pebble")?;
        let names = testkit::needs("pebble-challtestsrv", "pebble")?;
        let [listen, manage, dns, names_manage] = std::array::from_fn(|_| free_port());
        let own = Authority::of(&home.join("pebble"));
        let shelf = Shelf::new(home.join("pebble"));
        own.issue("own", &["127.0.0.1".to_owned()], now().0, &shelf).expect("it is made");
        let own_pem = shelf.path("own").display().to_string();
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{listen}"),
            "managementListenAddress": format!("127.0.0.1:{manage}"),
            "certificate": own_pem, "privateKey": own_pem,
            "httpPort": http, "tlsPort": tls,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        let config_file = home.join("pebble.json");
        std::fs::write(&config_file, config.to_string()).expect("it is writable");
        let quiet = |mut command: Command| {
            let log = std::fs::File::create(home.join("pebble.log")).expect("it is writable");
            command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
            Process(command.spawn().expect("it can be started"))
        };
        let mut answer_names = Command::new(names);
        answer_names
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", ""])
            .args(["-tlsalpn01", "", "-dns01", &format!("127.0.0.1:{dns}")])
            .args(["-management", &format!("127.0.0.1:{names_manage}")]);
        let mut authority = Command::new(program);
        authority.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        authority.arg("-config").arg(&config_file).args(["-dnsserver", &format!("127.0.0.1:{dns}")]);
        Some(Self {
            directory: format!("https://127.0.0.1:{listen}/dir"),
            trust: own.path().to_owned(),
            _processes: [quiet(answer_names), quiet(authority)],
        })
    }
}

async fn until(keeper: &Keeper, what: impl Fn(&CertificateStatus) -> bool) -> CertificateStatus {
    let seen = async {
        loop {
            if let Some(status) = keeper.status().into_iter().find(|status| what(status)) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, seen).await;
    waited.unwrap_or_else(|_| panic!("it never came about: {:?}", keeper.status()))
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_ordered_and_hosts_proved_both_ways() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let shelf = Shelf::new(home.path().join("certificates"));
    let ports = prove(&home.path().join("certificates/challenges"));
    let Some(pebble) = Pebble::start(home.path(), ports) else { return };
    order(home.path(), &shelf, &pebble).await;
}

async fn order(home: &Path, shelf: &Shelf, pebble: &Pebble) {
    let settings = Settings {
        shelf: home.join("certificates"),
        state: home.join("certs"),
        now,
        chance: || 0.5,
        look: Duration::from_millis(50),
    };
    let keeper = Keeper::start(settings, Arc::new(Nobody));
    let want = |host: &str, challenge: Challenge| CertificateWanted {
        name: "shop.web".to_owned(),
        hosts: vec![host.to_owned(), format!("www.{host}")],
        source: CertificateSource::Auto(Acme {
            email: Some("admin@example.org".to_owned()),
            directory: Some(pebble.directory.clone()),
            trust: Some(pebble.trust.display().to_string()),
            challenge: Some(challenge),
        }),
    };
    wait_for(&pebble.directory).await;
    let mut before = None;
    for (host, challenge) in [("a.example.org", Challenge::Http), ("b.example.org", Challenge::Tls)] {
        keeper.want(vec![want(host, challenge)]);
        let status = until(&keeper, |s| s.hosts[0] == host && (s.expires.is_some() || s.problem.is_some()));
        let status = status.await;
        assert_eq!(status.problem, None, "{host}");
        let made = shelf.get("shop.web").expect("it is there");
        assert_ne!(before.as_ref(), Some(&made), "{host}");
        assert!(made.starts_with(b"-----BEGIN CERTIFICATE-----"));
        assert!(status.next < status.expires, "it is renewed before its end");
        before = Some(made);
        let left = std::fs::read_dir(home.join("certificates/challenges")).expect("it was made").count();
        assert_eq!(left, 0, "proofs do not stay");
    }
    let accounts = std::fs::read_dir(home.join("certs")).expect("it is there");
    let accounts = accounts.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("account-"))
    });
    assert_eq!(accounts.count(), 1, "one account for both");
}

/// Until somebody listens there.
async fn wait_for(url: &str) {
    let address: SocketAddr = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split('/').next())
        .and_then(|address| address.parse().ok())
        .expect("an address");
    let answered = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("pebble starts");
}
