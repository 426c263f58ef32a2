//! The PROXY protocol: for whom a load balancer in front of the gateway speaks, and for whom the
//! gateway speaks to an instance.

pub mod parse;
mod write;

use crate::buffer::BUFFER_BYTES;
use crate::http::connection::Client;
use crate::snapshot::Route;
use crate::stream;
use crate::watch::Side;
use model::subnet::Cidr;
use parse::{Head, Told};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

pub use write::head;

/// Whoever the client is: as text where it is told on, and as an address.
#[derive(Debug, Clone)]
pub struct Peer {
    text: String,
    pub address: SocketAddr,
    /// Where it connected to, if somebody in front said so.
    pub destination: Option<SocketAddr>,
}

impl Peer {
    pub fn new(address: SocketAddr) -> Self {
        // IPv4 as IPv4.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { text: address.ip().to_string(), address, destination: None }
    }
}

impl Deref for Peer {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads the head that stands before everything else, within its time. None: the connection is not
/// served, which has been said.
pub async fn read(mut client: Client) -> Option<Client> {
    let route = client.route.clone();
    let from = route.proxied.as_deref()?;
    if !is_known(from, client.peer.address.ip()) {
        return refused(&client, &route, "it is not from where load balancers are");
    }
    client.watch.arm(Side::Input, client.worker.shared.limits.header);
    let (length, told) = loop {
        match parse::parse(client.buf.filled()) {
            Ok(Head::Whole { length, told }) => break (length, told),
            Ok(Head::Begun) => {}
            Err(reason) => return refused(&client, &route, reason),
        }
        let (mut read, _) = client.stream.split();
        match stream::fill(&client.watch, Side::Input, &mut read, &mut client.buf, BUFFER_BYTES).await {
            Ok(1..) => {}
            // Whoever looks whether the port is open says nothing.
            _ if client.buf.is_empty() => return None,
            _ => return refused(&client, &route, "its PROXY head did not come in time"),
        }
    };
    client.watch.disarm(Side::Input);
    client.buf.consume(length);
    if let Some(Told { from, to }) = told {
        client.peer = Peer { destination: Some(to), ..Peer::new(from) };
    }
    Some(client)
}

/// Without a list everybody is.
fn is_known(from: &[Cidr], ip: IpAddr) -> bool {
    let known = |ip| from.iter().any(|subnet| subnet.contains(ip));
    from.is_empty() || matches!(ip, IpAddr::V4(ip) if known(ip))
}

fn refused(client: &Client, route: &Route, reason: &str) -> Option<Client> {
    route.counters.shard(client.worker.index).error();
    client.stream.reset_on_close();
    client
        .worker
        .say(&format!("a connection from {} to {} is refused: {reason}", client.peer, route.address));
    None
}
