//! Probes beside Debian's blackbox_exporter, of the same targets at the same time.

use observe::collect::Kept;
use observe::probe::{Options, Prober, Url, series};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::{ProcessGuard, TempDir, free_port};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the server does before the first byte, and between the halves of the body.
const BEFORE: Duration = Duration::from_millis(120);
const BETWEEN: Duration = Duration::from_millis(60);
/// Times may differ by so much, or by a twentieth.
const MARGIN_S: f64 = 0.005;
/// Of so many looks the shortest of each phase counts: others use this machine, too.
const LOOKS: usize = 7;

const CONFIGURATION: &str = "modules:\n  page:\n    prober: http\n    http:\n      preferred_ip_protocol: ip4\n      enable_http2: false\n      tls_config: {insecure_skip_verify: true}\n";

type Found = BTreeMap<String, f64>;

#[tokio::test(flavor = "multi_thread")]
async fn phases_are_those_of_the_blackbox_exporter() {
    let Some(program) = testkit::needs("prometheus-blackbox-exporter", "prometheus-blackbox-exporter") else {
        return;
    };
    let directory = TempDir::new();
    let file = directory.path().join("blackbox.yml");
    std::fs::write(&file, CONFIGURATION).expect("a file");
    let port = free_port();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _exporter = ProcessGuard::spawn(&mut command);
    testkit::wait_until(Duration::from_secs(60), "the exporter listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let plain = served(None).await;
    let secured = served(Some(acceptor())).await;
    for url in [
        format!("http://localhost:{}/page", plain.port()),
        format!("https://localhost:{}/page", secured.port()),
    ] {
        let (mut ours, mut theirs) = (Found::new(), Found::new());
        for _ in 0..LOOKS {
            least(&mut ours, look(&url).await);
            least(&mut theirs, ask(port, &url).await);
        }
        compare(&url, &ours, &theirs);
    }
}

fn compare(url: &str, ours: &Found, theirs: &Found) {
    let mut compared = 0;
    for (series, value) in theirs {
        let Some(own) = ours.get(series) else { continue };
        compared += 1;
        let is_time = series.contains("duration") || series.contains("lookup");
        let margin = if is_time { MARGIN_S.max(value * 0.05) } else { 0.0 };
        assert!((own - value).abs() <= margin, "{url} {series}: {own}, and theirs {value}");
    }
    assert!(compared >= 12, "{url}: {compared} of {theirs:#?} were compared with {ours:#?}");
    let phase = |name: &str| ours[&format!("probe_http_duration_seconds{{phase=\"{name}\"}}")];
    // A first byte that is noticed late makes what follows it shorter.
    let is_as_long = |name: &str, least: Duration| phase(name) >= least.as_secs_f64() - MARGIN_S;
    assert!(is_as_long("processing", BEFORE) && is_as_long("transfer", BETWEEN), "{ours:#?}");
    assert_eq!(phase("tls") > 0.0, url.starts_with("https"));
    assert_eq!(ours.contains_key("probe_ssl_earliest_cert_expiry"), url.starts_with("https"));
}

fn least(all: &mut Found, found: Found) {
    for (series, value) in found {
        let least = all.entry(series).or_insert(value);
        *least = least.min(value);
    }
}

async fn look(url: &str) -> Found {
    let options = Options { verify: false, ..Options::default() };
    let prober = Prober::new(Url::parse(url).expect("an address"), options).expect("a prober");
    let begun = Instant::now();
    let found = prober.ask().await;
    let mut kept = Kept::default();
    series::put(&found, begun.elapsed(), &mut kept);
    read(&kept.to_string())
}

async fn ask(port: u16, url: &str) -> Found {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let request = format!("GET /probe?module=page&target={url} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    read(answer.split_once("\r\n\r\n").expect("a head").1)
}

fn read(text: &str) -> Found {
    let lines = text.lines().filter(|line| line.starts_with("probe_"));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(s, v)| Some((s.to_owned(), v.parse().ok()?)))
        .collect()
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a key that fits");
    TlsAcceptor::from(Arc::new(config))
}

/// A server that takes its time, until the runtime ends.
async fn served(acceptor: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => answer(acceptor.accept(stream).await.expect("a handshake")).await,
                    None => answer(stream).await,
                }
            });
        }
    });
    address
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = [0; 2048];
    if stream.read(&mut request).await.unwrap_or(0) == 0 {
        return;
    }
    tokio::time::sleep(BEFORE).await;
    let half = "x".repeat(500);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{half}");
    let _ = stream.write_all(head.as_bytes()).await;
    tokio::time::sleep(BETWEEN).await;
    let _ = stream.write_all(half.as_bytes()).await;
    let _ = stream.shutdown().await;
}
