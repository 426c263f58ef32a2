//! The controller's UDP sockets: bound, kept over tables, handed over. One for each address,
//! because one thread reads them all.

use super::bind;
use super::controller::Controller;
use super::table::{Key, key};
use crate::counters::Counters;
use crate::snapshot::ListenerId;
use model::route::{BindFailure, Listener, RouteTable};
use model::service::Transport;
use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

/// An address at which datagrams are taken.
pub struct BoundDatagrams {
    pub id: ListenerId,
    pub address: SocketAddr,
    pub inode: u64,
    pub counters: Arc<Counters>,
    /// A copy of the thread's socket, for a successor.
    pub socket: UdpSocket,
}

impl Controller {
    /// Binds what the table has and we do not; gives what is to be read from once it is in force.
    pub(super) fn open_datagrams(&mut self, table: &RouteTable) -> Vec<(ListenerId, UdpSocket)> {
        let mut opened = Vec::new();
        for listener in &table.datagrams {
            let key = key(listener);
            if self.datagrams.contains_key(&key) {
                continue;
            }
            let bound = self.bind_datagrams(listener, &key);
            let kept = bound.and_then(|(address, socket)| {
                self.keep_datagrams(key, address, socket).map_err(|error| error.to_string())
            });
            match kept {
                Ok(ready) => opened.push(ready),
                Err(error) => {
                    let (address, transport) = (listener.address, Transport::Udp);
                    self.failed.push(BindFailure { address, error, transport });
                }
            }
        }
        opened
    }

    /// Makes the socket known; gives the copy to read from.
    pub(super) fn keep_datagrams(
        &mut self,
        key: Key,
        address: SocketAddr,
        socket: UdpSocket,
    ) -> io::Result<(ListenerId, UdpSocket)> {
        let copy = socket.try_clone()?;
        if key.1.is_some() {
            self.ports.insert(key.clone(), address.port());
        }
        let id = self.number();
        let counters = Arc::new(Counters::new(self.shared.shards()));
        let inode = bind::inode(&socket).unwrap_or_default();
        self.datagrams.insert(key, BoundDatagrams { id, address, inode, counters, socket });
        Ok((id, copy))
    }

    fn bind_datagrams(&self, listener: &Listener, key: &Key) -> Result<(SocketAddr, UdpSocket), String> {
        let own = self.own_datagrams();
        let mut reason = None;
        for address in self.candidates(listener, key) {
            let held = own.clone();
            let bound = self.place(listener).run(move || bind::datagrams(address, &held));
            match bound.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(socket) => return Ok((socket.local_addr().map_err(|e| e.to_string())?, socket)),
                Err(error) => reason = Some(error),
            }
        }
        Err(reason.unwrap_or_else(|| "no port of the range is free".to_owned()))
    }

    /// What this process has bound for UDP, names included.
    pub(super) fn own_datagrams(&self) -> Vec<(SocketAddr, Vec<u64>)> {
        let datagrams = self.datagrams.values().map(|bound| (bound.address, vec![bound.inode]));
        let names = self.zones.iter().filter_map(|(zone, (udp, _))| {
            Some((SocketAddr::new(*zone, self.options.name_port), vec![bind::inode(udp)?]))
        });
        datagrams.chain(names).collect()
    }

    /// Drops what the table has no more; returns the numbers.
    pub(super) fn forget_datagrams(&mut self, table: &RouteTable) -> Vec<ListenerId> {
        let wanted: HashSet<Key> = table.datagrams.iter().map(key).collect();
        let gone: Vec<Key> = self.datagrams.keys().filter(|key| !wanted.contains(*key)).cloned().collect();
        gone.iter().filter_map(|key| self.datagrams.remove(key)).map(|bound| bound.id).collect()
    }

    /// Reads again from every socket there is.
    pub(super) async fn read_datagrams(&self) {
        for bound in self.datagrams.values() {
            match bound.socket.try_clone() {
                Ok(socket) => self.relay.listen(bound.id, socket).await,
                Err(error) => {
                    self.shared.log.say(&format!("{} cannot be read from: {error}", bound.address));
                }
            }
        }
    }
}
