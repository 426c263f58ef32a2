//! The controller's TCP listeners: bound for each thread, kept over tables, taken from another process.

use super::bind::{self, Sockets};
use super::controller::{Bound, Controller};
use super::table::{Key, key};
use crate::counters::Counters;
use crate::outside::Outside;
use crate::snapshot::ListenerId;
use model::route::{BindFailure, Listener, RouteTable};
use model::service::Transport;
use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Sockets bound for a table that is about to be in force.
pub(super) struct Opened {
    pub id: ListenerId,
    pub sockets: Vec<TcpListener>,
}

impl Controller {
    /// Drops the listeners the table has no more; returns their numbers.
    pub(super) fn forget_listeners(&mut self, table: &RouteTable) -> Vec<ListenerId> {
        let wanted: HashSet<Key> = table.listeners.iter().map(key).collect();
        let gone: Vec<Key> = self.bound.keys().filter(|key| !wanted.contains(*key)).cloned().collect();
        gone.iter().filter_map(|key| self.bound.remove(key)).map(|bound| bound.id).collect()
    }

    pub(super) fn open_listeners(&mut self, table: &RouteTable) -> Vec<Opened> {
        let mut opened = Vec::new();
        for listener in &table.listeners {
            let key = key(listener);
            if self.bound.contains_key(&key) {
                continue;
            }
            let bound = self.bind(listener, &key).and_then(|sockets| self.keep(key, sockets));
            match bound {
                Ok(listener) => opened.push(listener),
                Err(error) => {
                    let (address, transport) = (listener.address, Transport::Tcp);
                    self.failed.push(BindFailure { address, error, transport });
                }
            }
        }
        opened
    }

    /// Makes the sockets known.
    fn keep(&mut self, key: Key, sockets: Sockets) -> Result<Opened, String> {
        let Sockets { address, listeners, inodes } = sockets;
        let copies = listeners.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>();
        let copies = copies.map_err(|error| error.to_string())?;
        if key.1.is_some() {
            self.ports.insert(key.clone(), address.port());
        }
        let id = self.number();
        let counters = Arc::new(Counters::new(self.shared.shards()));
        self.bound.insert(key, Bound { id, address, inodes, counters, sockets: copies });
        Ok(Opened { id, sockets: listeners })
    }

    /// Takes over sockets that another process has bound; they are not accepted from yet. Each
    /// thread needs one, so that some are shared if there are fewer.
    pub(super) fn keep_handed(
        &mut self,
        key: Key,
        address: SocketAddr,
        sockets: Vec<TcpListener>,
    ) -> io::Result<()> {
        let inodes = sockets.iter().filter_map(bind::inode).collect();
        let missing = self.workers.len().saturating_sub(sockets.len());
        let shared = sockets.iter().cycle().take(missing).map(TcpListener::try_clone);
        let shared = shared.collect::<io::Result<Vec<_>>>()?;
        let listeners = sockets.into_iter().chain(shared).collect();
        self.keep(key, Sockets { address, listeners, inodes }).map_err(io::Error::other)?;
        Ok(())
    }

    fn bind(&self, listener: &Listener, key: &Key) -> Result<Sockets, String> {
        let own = self.own_streams();
        let mut reason = None;
        for address in self.candidates(listener, key) {
            let (count, held) = (self.workers.len(), own.clone());
            let bound = self.place(listener).run(move || bind::listen(address, count, &held));
            match bound.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(sockets) => return Ok(sockets),
                Err(error) => reason = Some(error),
            }
        }
        Err(reason.unwrap_or_else(|| "no port of the range is free".to_owned()))
    }

    /// The network a listener is in: published ports are in the host's.
    pub(super) fn place(&self, listener: &Listener) -> Outside {
        match listener.public {
            true => self.shared.outside.clone(),
            false => Outside::default(),
        }
    }

    /// Where to try to listen, in this order: the port of the last time, then what was asked for.
    pub(super) fn candidates(&self, listener: &Listener, key: &Key) -> Vec<SocketAddr> {
        let ip = listener.address.ip();
        let (first, last) = (listener.address.port(), listener.last_port.max(listener.address.port()));
        let before = self.ports.get(key).copied().filter(|_| key.1.is_some());
        let before = before.filter(|port| first == 0 || (first..=last).contains(port));
        let again = before.into_iter().chain((first..=last).filter(|port| Some(*port) != before));
        again.map(|port| SocketAddr::new(ip, port)).collect()
    }

    /// What this process has bound for TCP, names included.
    pub(super) fn own_streams(&self) -> Vec<(SocketAddr, Vec<u64>)> {
        let bound = self.bound.values().map(|bound| (bound.address, bound.inodes.clone()));
        let names = self.zones.iter().filter_map(|(zone, (_, tcp))| {
            Some((SocketAddr::new(*zone, self.options.name_port), vec![bind::inode(tcp)?]))
        });
        bound.chain(names).collect()
    }
}
