//! The sockets of all zones, UDP and TCP.

use super::answer::{self, Transport, Verdict, View};
use super::forward::{self, Resolvers};
use super::{Command, Counters, count};
use crate::snapshot::{Asker, Random, Zone};
use crate::worker::Shared;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};

/// Largest query read; longer ones are cut and thereby malformed.
const MAX_QUERY_BYTES: usize = 1500;
/// Questions waiting for the host's resolvers at one time.
const MAX_FORWARDS: usize = 256;
/// TCP connections at one time, queries on one of them, and its longest silence.
const MAX_CONNECTIONS: usize = 64;
const MAX_QUERIES: usize = 100;
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of something (descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Zones, and what else an asker's names mean.
type Known = (Vec<Arc<Zone>>, Option<Arc<Asker>>);

struct Names {
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    resolvers: Resolvers,
    own: RefCell<HashSet<IpAddr>>,
    random: Random,
    forwards: Cell<usize>,
    connections: Cell<usize>,
}

/// Serves zones as they come and go.
pub async fn run(
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    resolvers: Resolvers,
    mut commands: mpsc::Receiver<Command>,
) {
    let names = Rc::new(Names {
        shared,
        counters,
        resolvers,
        own: RefCell::default(),
        random: Random::new(),
        forwards: Cell::new(0),
        connections: Cell::new(0),
    });
    let mut tasks: HashMap<IpAddr, [JoinHandle<()>; 2]> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen { zone, udp, tcp } => {
                match (UdpSocket::from_std(udp), TcpListener::from_std(tcp)) {
                    (Ok(udp), Ok(tcp)) => {
                        names.own.borrow_mut().insert(zone);
                        let udp = spawn_local(names.clone().serve_udp(zone, Rc::new(udp)));
                        let tcp = spawn_local(names.clone().serve_tcp(zone, tcp));
                        tasks.insert(zone, [udp, tcp]);
                    }
                    _ => names.shared.log.say(&format!("names at {zone} cannot be answered")),
                }
            }
            Command::Close { zone } => {
                names.own.borrow_mut().remove(&zone);
                tasks.remove(&zone).into_iter().flatten().for_each(|task| task.abort());
            }
        }
    }
}

impl Names {
    /// The zones that are looked through for `peer`, the one it asks first, and what else is known.
    fn zones(&self, listen: IpAddr, peer: IpAddr) -> Option<Known> {
        let snapshot = self.shared.snapshot.load();
        let mut zones = vec![snapshot.zones.get(&listen)?.clone()];
        let asker = snapshot.askers.get(&peer.to_canonical()).cloned();
        for other in asker.iter().flat_map(|asker| &asker.zones).filter(|other| **other != listen) {
            zones.extend(snapshot.zones.get(other).cloned());
        }
        Some((zones, asker))
    }

    fn turn(&self) -> usize {
        self.random.next() as usize
    }

    async fn serve_udp(self: Rc<Self>, listen: IpAddr, socket: Rc<UdpSocket>) {
        let mut buffer = [0; MAX_QUERY_BYTES];
        loop {
            let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
                // A port-unreachable of an earlier answer; the socket itself is fine.
                tokio::task::yield_now().await;
                continue;
            };
            let known = self.zones(listen, peer.ip()).filter(|_| is_near(peer.ip()));
            let Some((zones, asker)) = known else {
                count(&self.counters.dropped);
                continue;
            };
            let query = &buffer[..length];
            let view = View { zones: &zones, asker: asker.as_deref() };
            match answer::judge(query, &view, Transport::Udp, self.turn()) {
                Verdict::Drop => count(&self.counters.dropped),
                Verdict::Reply(reply) => {
                    count(&self.counters.answered);
                    // The asker asks again when an answer is lost.
                    let _ = socket.send_to(&reply, peer).await;
                }
                Verdict::Forward => {
                    let (names, socket, query) = (self.clone(), socket.clone(), query.to_vec());
                    spawn_local(async move {
                        let reply = names.forward(&query, Transport::Udp, asker.as_deref()).await;
                        let _ = socket.send_to(&reply, peer).await;
                    });
                }
            }
        }
    }

    async fn serve_tcp(self: Rc<Self>, listen: IpAddr, listener: TcpListener) {
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            if !is_near(peer.ip()) || self.connections.get() >= MAX_CONNECTIONS {
                count(&self.counters.dropped);
                continue;
            }
            let names = self.clone();
            self.connections.set(self.connections.get() + 1);
            spawn_local(async move {
                // Whatever ends the connection ends it for the asker too.
                let _ = names.converse(listen, stream, peer.ip()).await;
                names.connections.set(names.connections.get() - 1);
            });
        }
    }

    async fn converse(&self, listen: IpAddr, mut stream: TcpStream, peer: IpAddr) -> io::Result<()> {
        for _ in 0..MAX_QUERIES {
            let query = tokio::time::timeout(TCP_IDLE, read_message(&mut stream)).await??;
            let Some((zones, asker)) = self.zones(listen, peer) else { return Ok(()) };
            let view = View { zones: &zones, asker: asker.as_deref() };
            let reply = match answer::judge(&query, &view, Transport::Tcp, self.turn()) {
                Verdict::Reply(reply) => {
                    count(&self.counters.answered);
                    reply
                }
                Verdict::Forward => self.forward(&query, Transport::Tcp, asker.as_deref()).await,
                Verdict::Drop => {
                    count(&self.counters.dropped);
                    return Ok(());
                }
            };
            let length = u16::try_from(reply.len()).map_err(|_| io::ErrorKind::InvalidData)?;
            let mut message = length.to_be_bytes().to_vec();
            message.extend_from_slice(&reply);
            tokio::time::timeout(TCP_IDLE, stream.write_all(&message)).await??;
        }
        Ok(())
    }

    /// Asks the asker's resolvers, or the host's; a failure is an answer too.
    async fn forward(&self, query: &[u8], transport: Transport, asker: Option<&Asker>) -> Vec<u8> {
        if self.forwards.get() >= MAX_FORWARDS {
            count(&self.counters.failed);
            return answer::failure(query);
        }
        self.forwards.set(self.forwards.get() + 1);
        let own = self.own.borrow().clone();
        let servers = match asker.map(|asker| asker.servers.as_slice()) {
            Some(declared @ [_, ..]) => forward::declared(declared, &own),
            _ => self.resolvers.servers(&own),
        };
        let outside = &self.shared.outside;
        let mut reply = None;
        for server in servers {
            let (id, limit) = (self.random.next() as u16, self.shared.limits.name_forward);
            let asked = match transport {
                Transport::Udp => forward::over_udp(query, server, id, limit, outside).await,
                Transport::Tcp => forward::over_tcp(query, server, id, limit, outside).await,
            };
            if let Ok(answer) = asked {
                reply = Some(answer);
                break;
            }
        }
        self.forwards.set(self.forwards.get() - 1);
        count(if reply.is_some() { &self.counters.forwarded } else { &self.counters.failed });
        reply.unwrap_or_else(|| answer::failure(query))
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUERY_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Instances live on private addresses; a packet from elsewhere was routed here by mistake or by
/// someone who wants the answers sent to a forged address.
fn is_near(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
