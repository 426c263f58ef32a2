//! Kept connections, used in turns so that each is used now and then, as those of many people are.

use super::failing::{Cause, Stage};
use super::record::Record;
use crate::http::Wire;
use crate::report::Class;
use rustix::net::{RecvFlags, recv};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Kept connections at the start, and the most that are kept.
const KEPT: usize = 64;
const KEPT_LIMIT: usize = 512;
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);

pub struct Pool {
    address: SocketAddr,
    kept: RefCell<VecDeque<Wire>>,
    record: Rc<RefCell<Record>>,
}

pub struct Taken {
    pub wire: Wire,
    pub reused: bool,
}

impl Pool {
    pub fn new(address: SocketAddr, record: Rc<RefCell<Record>>) -> Self {
        Self { address, kept: RefCell::default(), record }
    }

    /// A connection: one that was kept, if that is wanted, else a new one.
    pub async fn wire(&self, kept: bool) -> Result<Taken, Cause> {
        while kept && let Some(wire) = self.take() {
            match is_open(&wire) {
                true => return Ok(Taken { wire, reused: true }),
                false => self.record.borrow_mut().ended_between_requests += 1,
            }
        }
        self.record.borrow_mut().connections += 1;
        Ok(Taken { wire: connect(self.address).await?, reused: false })
    }

    /// The one that was not used for longest, once there are enough of them.
    fn take(&self) -> Option<Wire> {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT { kept.pop_front() } else { None }
    }

    pub fn give_back(&self, wire: Wire) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < KEPT_LIMIT {
            kept.push_back(wire);
        }
    }
}

pub async fn connect(address: SocketAddr) -> Result<Wire, Cause> {
    let cause = |error: Error| Cause::of(&error, Stage::Connecting);
    let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
    let stream = stream.unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, "no connection")));
    let stream = stream.map_err(cause)?;
    stream.set_nodelay(true).map_err(|e| Cause::new(Class::Local, e.to_string()))?;
    Ok(Wire::new(stream))
}

/// Whether nothing has come since the last answer: neither an end nor a reset nor anything else.
fn is_open(wire: &Wire) -> bool {
    let mut byte = [0u8; 1];
    let looked = recv(&wire.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    wire.received.is_empty() && matches!(looked, Err(rustix::io::Errno::AGAIN))
}
