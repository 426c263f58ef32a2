//! Questions that no zone answers, put to the host's resolvers in their order.

use super::answer::HEADER_BYTES;
use crate::outside::Outside;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};

/// Resolvers asked one after the other.
const MAX_SERVERS: usize = 2;
/// The same of those that a service declares.
const MAX_DECLARED: usize = 3;
/// Time between two looks at whether the list of resolvers changed.
const LOOK: Duration = Duration::from_secs(1);
/// Answers that are not ours, read while waiting for one that is.
const MAX_STRAY: usize = 16;
/// Largest list of resolvers read.
const MAX_FILE_BYTES: u64 = 64 * 1024;
const MAX_UDP_BYTES: usize = 4096;
const PORT: u16 = 53;

/// The host's resolvers, read again when their file changes.
pub struct Resolvers {
    path: PathBuf,
    looked: Cell<Option<Instant>>,
    changed: Cell<Option<SystemTime>>,
    servers: RefCell<Vec<SocketAddr>>,
}

impl Resolvers {
    pub fn new(path: PathBuf) -> Self {
        Self { path, looked: Cell::new(None), changed: Cell::new(None), servers: RefCell::default() }
    }

    /// Those to ask, without the addresses we answer on ourselves: that would be a loop.
    pub fn servers(&self, own: &HashSet<IpAddr>) -> Vec<SocketAddr> {
        if self.looked.get().is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.looked.set(Some(Instant::now()));
            self.look();
        }
        let servers = self.servers.borrow();
        servers.iter().filter(|server| !own.contains(&server.ip())).take(MAX_SERVERS).copied().collect()
    }

    fn look(&self) {
        let Ok(meta) = std::fs::metadata(&self.path) else { return };
        let changed = meta.modified().ok();
        if (changed.is_some() && changed == self.changed.get()) || meta.len() > MAX_FILE_BYTES {
            return;
        }
        if let Ok(text) = std::fs::read_to_string(&self.path) {
            *self.servers.borrow_mut() = parse(&text);
            self.changed.set(changed);
        }
    }
}

/// Servers that a service declares, in its order, without those that we are ourselves.
pub fn declared(servers: &[IpAddr], own: &HashSet<IpAddr>) -> Vec<SocketAddr> {
    let others = servers.iter().filter(|server| !own.contains(server)).take(MAX_DECLARED);
    others.map(|server| SocketAddr::new(*server, PORT)).collect()
}

/// The `nameserver` lines; `address#port` is understood beside a plain address.
fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == "nameserver").then_some(())?;
            let word = words.next()?;
            let (address, port) = match word.split_once('#') {
                Some((address, port)) => (address, port.parse().ok()?),
                None => (word, PORT),
            };
            Some(SocketAddr::new(address.parse().ok()?, port))
        })
        .collect()
}

/// Asks over UDP; the answer carries the id of `query`. A truncated answer is passed on as it
/// is, and the asker comes again over TCP.
pub async fn over_udp(
    query: &[u8],
    server: SocketAddr,
    id: u16,
    limit: Duration,
    outside: &Outside,
) -> io::Result<Vec<u8>> {
    tokio::time::timeout(limit, async {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // A fresh socket each time: its port is half of what a forger has to guess.
        let socket = outside.run(move || std::net::UdpSocket::bind((any, 0)))??;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        socket.connect(server).await?;
        socket.send(&with_id(query, id)).await?;
        let mut answer = vec![0; MAX_UDP_BYTES];
        for _ in 0..MAX_STRAY {
            let length = socket.recv(&mut answer).await?;
            if answers(query, &answer[..length], id) {
                return Ok(with_id(&answer[..length], id_of(query)));
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    })
    .await?
}

pub async fn over_tcp(
    query: &[u8],
    server: SocketAddr,
    id: u16,
    limit: Duration,
    outside: &Outside,
) -> io::Result<Vec<u8>> {
    tokio::time::timeout(limit, async {
        let made = outside.run(move || match server.is_ipv4() {
            true => TcpSocket::new_v4(),
            false => TcpSocket::new_v6(),
        })??;
        let mut stream = made.connect(server).await?;
        let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = length.to_be_bytes().to_vec();
        message.extend_from_slice(&with_id(query, id));
        stream.write_all(&message).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        match answers(query, &answer, id) {
            true => Ok(with_id(&answer, id_of(query))),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    })
    .await?
}

fn id_of(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut message = message.to_vec();
    message[..2].copy_from_slice(&id.to_be_bytes());
    message
}

/// A reply, with our id, to the same question.
fn answers(query: &[u8], answer: &[u8], id: u16) -> bool {
    if answer.len() < HEADER_BYTES || id_of(answer) != id || answer[2] & 0x80 == 0 {
        return false;
    }
    let question = question(query);
    let echoed = question.len() + HEADER_BYTES <= answer.len()
        && answer[HEADER_BYTES..HEADER_BYTES + question.len()].eq_ignore_ascii_case(question);
    // A refusal may come without the question.
    echoed || (answer.len() == HEADER_BYTES && answer[3] & 15 != 0)
}

/// The bytes of the one question of a query that was read before: labels, type, class.
fn question(query: &[u8]) -> &[u8] {
    let mut at = HEADER_BYTES;
    while let Some(&length) = query.get(at) {
        at += usize::from(length) + 1;
        if length == 0 {
            break;
        }
    }
    query.get(HEADER_BYTES..at + 4).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_does() {
        let text = "# nameserver 1.1.1.1\nsearch lan\nnameserver 127.0.0.53\n nameserver fe80::1%eth0\nnameserver fd00::1 x\nnameserver 10.0.0.1#5353\n";
        let expect: Vec<SocketAddr> = ["127.0.0.53:53", "[fd00::1]:53", "10.0.0.1:5353"]
            .iter()
            .map(|a| a.parse().expect("valid"))
            .collect();
        assert_eq!(parse(text), expect);
    }

    #[test]
    fn we_never_ask_ourselves() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("resolv.conf");
        std::fs::write(
            &path,
            "nameserver 10.1.0.1\nnameserver 10.2.0.1\nnameserver 10.3.0.1\nnameserver 10.4.0.1\n",
        )
        .expect("writable");
        let resolvers = Resolvers::new(path);
        let own = HashSet::from(["10.1.0.1".parse().expect("an address")]);
        let expect: Vec<SocketAddr> =
            ["10.2.0.1:53", "10.3.0.1:53"].iter().map(|a| a.parse().expect("valid")).collect();
        assert_eq!(resolvers.servers(&own), expect);
    }

    #[test]
    fn only_the_answer_to_our_question_counts() {
        let query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x02ex\x00\x00\x01\x00\x01";
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        assert!(answers(query, &with_id(&answer, 9), 9));
        assert!(!answers(query, &with_id(&answer, 8), 9));
        assert!(!answers(query, &with_id(query, 9), 9));
        let mut other = with_id(&answer, 9);
        other[14] = b'X';
        assert!(!answers(query, &other, 9));
        assert!(!answers(query, b"", 9));
    }
}
