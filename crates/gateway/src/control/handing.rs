//! The controller's part in a handover, on both sides: which sockets there are, in which order,
//! and when they are accepted from.

use super::bind;
use super::controller::{Controller, copies};
use super::table::check;
use crate::handover::Given;
use crate::wire::{HANDING_FORM, HandedListener, HandedPort, Handing, Refusal};
use crate::worker::Command;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

impl Controller {
    /// What a successor gets, and the descriptors beside the lock and the control socket.
    pub fn handing(&self, with_datagrams: bool) -> (Handing, Vec<BorrowedFd<'_>>) {
        let mut descriptors = Vec::new();
        let mut listeners = Vec::new();
        for ((asked, backend), bound) in &self.bound {
            listeners.push(HandedListener {
                asked: *asked,
                backend: backend.clone(),
                bound: bound.address,
                sockets: bound.sockets.len(),
            });
            descriptors.extend(bound.sockets.iter().map(AsFd::as_fd));
        }
        for (udp, tcp) in self.zones.values() {
            descriptors.extend([udp.as_fd(), tcp.as_fd()]);
        }
        let mut datagrams = Vec::new();
        for ((asked, backend), bound) in self.datagrams.iter().filter(|_| with_datagrams) {
            let (asked, backend) = (*asked, backend.clone());
            datagrams.push(HandedListener { asked, backend, bound: bound.address, sockets: 1 });
            descriptors.push(bound.socket.as_fd());
        }
        let ports = self.ports.iter().filter_map(|((asked, backend), port)| {
            Some(HandedPort { asked: *asked, backend: backend.clone()?, port: *port })
        });
        let handing = Handing {
            form: HANDING_FORM,
            pid: std::process::id(),
            table: self.table.clone(),
            ports: ports.collect(),
            listeners,
            zones: self.zones.keys().copied().collect(),
            datagrams,
        };
        (handing, descriptors)
    }

    pub fn has_handed_over(&self) -> bool {
        self.handed_over
    }

    /// Accepts nothing more: connections and questions wait in the sockets.
    pub async fn pause(&self) {
        self.confirmed(Command::Pause).await;
        self.relay.pause().await;
        for zone in self.zones.keys() {
            self.names.close(*zone).await;
        }
    }

    /// Goes on after [`Controller::pause`].
    pub async fn resume(&self) {
        for worker in &self.workers {
            self.tell(worker, Command::Resume).await;
        }
        self.read_datagrams().await;
        for (zone, sockets) in &self.zones {
            match copies(sockets) {
                Ok((udp, tcp)) => self.names.listen(*zone, udp, tcp).await,
                Err(error) => self.shared.log.say(&format!("names at {zone} cannot be answered: {error}")),
            }
        }
    }

    /// Lets all sockets go: the successor has them.
    pub async fn let_go(&mut self) {
        self.handed_over = true;
        self.failed.clear();
        for worker in &self.workers {
            self.tell(worker, Command::Release).await;
        }
        self.bound.values_mut().for_each(|bound| bound.sockets.clear());
        self.datagrams.clear();
        self.zones.clear();
    }

    /// Takes over table and sockets; nothing is accepted before [`Controller::accept_handed`].
    pub async fn adopt(&mut self, given: Given) -> Result<(), Refusal> {
        let Given { handing, sockets } = given;
        let failed = |error: std::io::Error| Refusal::NotHanded { reason: error.to_string() };
        check(&handing.table)?;
        self.ports = handing
            .ports
            .into_iter()
            .map(|handed| ((handed.asked, Some(handed.backend)), handed.port))
            .collect();
        let mut sockets = sockets.into_iter();
        for listener in handing.listeners {
            let own: Vec<TcpListener> =
                sockets.by_ref().take(listener.sockets).map(TcpListener::from).collect();
            let key = (listener.asked, listener.backend);
            self.keep_handed(key, listener.bound, own).map_err(failed)?;
        }
        for zone in handing.zones {
            if let (Some(udp), Some(tcp)) = (sockets.next(), sockets.next()) {
                // Those of an earlier version were not shared with ports that are published.
                bind::share(&udp).and_then(|()| bind::share(&tcp)).map_err(failed)?;
                self.zones.insert(zone, (UdpSocket::from(udp), TcpListener::from(tcp)));
            }
        }
        for listener in handing.datagrams {
            let Some(socket) = sockets.next() else { break };
            let key = (listener.asked, listener.backend);
            self.keep_datagrams(key, listener.bound, UdpSocket::from(socket)).map_err(failed)?;
        }
        self.publish(handing.table);
        self.synchronise().await;
        Ok(())
    }

    /// Accepts on the sockets that were taken over.
    pub async fn accept_handed(&self) {
        let snapshot = self.shared.snapshot.load_full();
        for bound in self.bound.values() {
            let Some(route) = snapshot.routes.get(&bound.id) else { continue };
            let sockets = bound.sockets.iter().map(TcpListener::try_clone).collect::<Result<Vec<_>, _>>();
            match sockets {
                Ok(sockets) => self.listen(bound.id, sockets, route).await,
                Err(error) => {
                    self.shared.log.say(&format!("{} cannot be accepted from: {error}", bound.address));
                }
            }
        }
        self.read_datagrams().await;
        for (zone, sockets) in &self.zones {
            match copies(sockets) {
                Ok((udp, tcp)) => self.names.listen(*zone, udp, tcp).await,
                Err(error) => self.shared.log.say(&format!("names at {zone} cannot be answered: {error}")),
            }
        }
        self.synchronise().await;
    }

    /// Binds what the predecessor could not, and drops what its table had no more.
    pub async fn complete(&mut self) {
        let table = self.table.clone();
        self.put_in_force(table).await;
        self.say_failed();
    }
}
