//! Asks an address as a browser would, once, and says how long each part of it took.
//!
//! ```text
//!  name ─▶ connection ─▶ TLS ─▶ first byte ─▶ whole answer
//!  └──────── network ───────┘   └─ server ─┘  └ network ─┘
//! ```

mod exchange;
pub mod series;
mod tls;
mod url;

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

pub use url::{Url, UrlError};

/// What the server may take of a page's time.
pub const SERVER_BUDGET: Duration = Duration::from_millis(400);
/// What the way there and back may take.
pub const NETWORK_BUDGET: Duration = Duration::from_millis(400);

#[derive(Debug, Clone)]
pub struct Options {
    /// For all of it together.
    pub limit: Duration,
    /// Whether the certificate must be valid for the name.
    pub verify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { limit: Duration::from_secs(10), verify: true }
    }
}

/// How long each phase took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// The name was looked up.
    pub resolve: Duration,
    /// The connection was there.
    pub connect: Duration,
    /// TLS was agreed on; nothing without it.
    pub tls: Duration,
    /// From the request to the first byte of the answer.
    pub first_byte: Duration,
    /// From there to its end.
    pub transfer: Duration,
}

impl Phases {
    pub fn network(&self) -> Duration {
        self.resolve + self.connect + self.tls + self.transfer
    }

    pub fn total(&self) -> Duration {
        self.network() + self.first_byte
    }

    /// Whether server and network each stayed within what a page has.
    pub fn within_budget(&self) -> bool {
        self.first_byte <= SERVER_BUDGET && self.network() <= NETWORK_BUDGET
    }
}

/// What an address answered.
#[derive(Debug, Clone)]
pub struct Probed {
    pub address: SocketAddr,
    pub phases: Phases,
    pub status: u16,
    /// Of the body, as it came.
    pub bytes: u64,
    /// Of HTTP: `1.0` or `1.1`.
    pub version: &'static str,
    /// Where it sends clients on to; that is not followed.
    pub location: Option<String>,
    /// When the first of the server's certificates ends, in seconds since 1970.
    pub certificate_ends_s: Option<i64>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("look up {host}")]
    Resolve {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("agree on TLS with {host}")]
    Tls {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{host} cannot be the name of a certificate")]
    Name { host: String },
    #[error("ask {address}")]
    Exchange {
        address: SocketAddr,
        #[source]
        source: hyper::Error,
    },
    #[error("the answer of {address} is not HTTP")]
    NotHttp { address: SocketAddr },
    #[error("{phase} took longer than {limit:?} in all")]
    TimedOut { phase: &'static str, limit: Duration },
}

/// One that asks an address, as often as wanted.
#[derive(Debug)]
pub struct Prober {
    url: Url,
    options: Options,
    tls: Option<rustls::ClientConfig>,
}

impl Prober {
    /// Reads this machine's certificates where TLS is spoken, which takes a while.
    pub fn new(url: Url, options: Options) -> Result<Self, ProbeError> {
        let tls = url.is_tls.then(|| tls::config(options.verify)).transpose();
        let tls = tls.map_err(|source| ProbeError::Tls {
            host: url.host.clone(),
            source: std::io::Error::other(source),
        })?;
        Ok(Self { url, options, tls })
    }

    /// Asks once, without following where it leads.
    pub async fn ask(&self) -> Result<Probed, ProbeError> {
        ask(&self.url, &self.options, self.tls.clone()).await
    }
}

async fn ask(
    url: &Url,
    options: &Options,
    config: Option<rustls::ClientConfig>,
) -> Result<Probed, ProbeError> {
    let end = Instant::now() + options.limit;
    let late = |phase| move |_| ProbeError::TimedOut { phase, limit: options.limit };
    let mut phases = Phases::default();

    let begun = Instant::now();
    let found = timeout_at(end, resolve(url)).await.map_err(late("looking the name up"))?;
    let addresses = found?;
    phases.resolve = begun.elapsed();

    let begun = Instant::now();
    let connected = timeout_at(end, connect(&addresses)).await.map_err(late("connecting"))?;
    let (address, stream) = connected?;
    phases.connect = begun.elapsed();

    let Some(config) = config else {
        return finish(stream, url, address, phases, None, (end, options.limit)).await;
    };
    let begun = Instant::now();
    let agreed = timeout_at(end, tls::agree(stream, url, config)).await;
    let (stream, certificate_ends_s) = agreed.map_err(late("agreeing on TLS"))??;
    phases.tls = begun.elapsed();
    finish(stream, url, address, phases, certificate_ends_s, (end, options.limit)).await
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, ProbeError> {
    let host = url.host.trim_matches(['[', ']']);
    let found = tokio::net::lookup_host((host, url.port)).await;
    let found = found.map_err(|source| ProbeError::Resolve { host: host.into(), source })?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() { Err(ProbeError::NoAddress { host: host.into() }) } else { Ok(addresses) }
}

/// The first address that takes the connection.
async fn connect(addresses: &[SocketAddr]) -> Result<(SocketAddr, TcpStream), ProbeError> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Only the timing would suffer without it.
                let _ = stream.set_nodelay(true);
                return Ok((*address, stream));
            }
            Err(source) => last = Some(ProbeError::Connect { address: *address, source }),
        }
    }
    Err(last.expect("there is an address"))
}

async fn finish(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
    address: SocketAddr,
    mut phases: Phases,
    certificate_ends_s: Option<i64>,
    (end, limit): (Instant, Duration),
) -> Result<Probed, ProbeError> {
    let exchanged = timeout_at(end, exchange::exchange(stream, url)).await;
    let answer =
        exchanged.map_err(|_| ProbeError::TimedOut { phase: "the answer", limit })?.map_err(|source| {
            match source.is_parse() {
                true => ProbeError::NotHttp { address },
                false => ProbeError::Exchange { address, source },
            }
        })?;
    phases.first_byte = answer.first_byte;
    phases.transfer = answer.transfer;
    let exchange::Answer { status, bytes, version, location, .. } = answer;
    Ok(Probed { address, phases, status, bytes, version, location, certificate_ends_s })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What a server that answers with these pieces, each after a pause, looks like.
    async fn check(pieces: &'static [(u64, &'static str)], limit_ms: u64) -> Result<Probed, ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/page?a=b", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            for (pause_ms, piece) in pieces {
                tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
                stream.write_all(piece.as_bytes()).await.unwrap();
            }
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let options = Options { limit: Duration::from_millis(limit_ms), verify: true };
        let probed = Prober::new(url, options).unwrap().ask().await;
        if probed.is_ok() {
            let request = server.await.unwrap();
            assert!(request.starts_with("GET /page?a=b HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        }
        probed
    }

    #[tokio::test]
    async fn each_phase_is_timed_by_itself() {
        let pieces = &[(120, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"), (60, "12345678")];
        let probed = check(pieces, 10_000).await.unwrap();
        assert_eq!((probed.status, probed.certificate_ends_s), (200, None));
        assert_eq!(probed.bytes, 8);
        let Phases { tls, first_byte, transfer, .. } = probed.phases;
        assert_eq!(tls, Duration::ZERO);
        assert!(first_byte >= Duration::from_millis(115), "{first_byte:?}");
        assert!(transfer >= Duration::from_millis(55), "{transfer:?}");
    }

    #[tokio::test]
    async fn an_answer_without_a_length_ends_with_its_connection() {
        let pieces = &[(0, "HTTP/1.0 302 Found\r\nLocation: /there\r\n\r\n"), (0, "body")];
        let probed = check(pieces, 10_000).await.unwrap();
        assert_eq!((probed.status, probed.location.as_deref()), (302, Some("/there")));
    }

    #[tokio::test]
    async fn what_goes_wrong_is_named() {
        let text = |probed: Result<Probed, ProbeError>| probed.unwrap_err().to_string();
        assert!(text(check(&[(0, "SSH-2.0-OpenSSH\r\n\r\n")], 10_000).await).ends_with("is not HTTP"));
        assert_eq!(text(check(&[(5_000, "")], 50).await), "the answer took longer than 50ms in all");
        let cut = check(&[(0, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n1234")], 10_000).await;
        assert!(text(cut).starts_with("ask 127.0.0.1:"));
        let nobody = Url::parse(&format!("http://127.0.0.1:{}/", testkit::free_port())).unwrap();
        assert!(
            text(Prober::new(nobody, Options::default()).unwrap().ask().await)
                .starts_with("connect to 127.0.0.1:")
        );
    }

    #[test]
    fn a_page_has_a_budget_for_each_side() {
        let ms = Duration::from_millis;
        let phases = Phases {
            resolve: ms(100),
            connect: ms(100),
            tls: ms(100),
            first_byte: ms(400),
            transfer: ms(100),
        };
        assert!(phases.within_budget());
        assert!(!Phases { transfer: ms(101), ..phases }.within_budget());
        assert!(!Phases { first_byte: ms(401), transfer: ms(0), ..phases }.within_budget());
        assert_eq!(phases.total(), ms(800));
    }
}
