//! Datagrams: of each client to one instance, and back from the address it was sent to.
//!
//! One thread serves all of them, so that a client's datagrams stay in their order. `socket` knows
//! to which address a datagram came; `flows` remembers who talks to whom; `relay` moves bytes.

mod flows;
mod relay;
mod socket;

use crate::drain::Drain;
use crate::snapshot::ListenerId;
use crate::worker::Shared;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Stack of the thread; futures live on the heap.
const STACK_BYTES: usize = 512 * 1024;
/// Commands the thread may be behind, and how long it may stay so.
const COMMANDS: usize = 64;
const TELL_LIMIT: Duration = Duration::from_secs(5);

enum Command {
    Listen {
        id: ListenerId,
        socket: UdpSocket,
    },
    /// Nothing more comes or goes by it.
    Close {
        id: ListenerId,
    },
    /// Confirms that the newest table is used from here on.
    Sync(oneshot::Sender<()>),
    /// Reads nothing more: datagrams wait in the sockets. Answers still go out.
    Pause(oneshot::Sender<()>),
    /// Completes when nothing was said for a moment, at the end of the time at the latest.
    Finish {
        drain: Drain,
        done: oneshot::Sender<()>,
    },
}

/// The control thread's end.
pub struct Handle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl Handle {
    pub async fn listen(&self, id: ListenerId, socket: UdpSocket) {
        self.tell(Command::Listen { id, socket }).await;
    }
    pub async fn close(&self, id: ListenerId) {
        self.tell(Command::Close { id }).await;
    }
    pub async fn synchronise(&self) {
        self.confirmed(Command::Sync).await;
    }
    pub async fn pause(&self) {
        self.confirmed(Command::Pause).await;
    }
    pub async fn finish(&self, drain: Drain) -> oneshot::Receiver<()> {
        let (done, finished) = oneshot::channel();
        self.tell(Command::Finish { drain, done }).await;
        finished
    }

    async fn confirmed(&self, command: impl Fn(oneshot::Sender<()>) -> Command) {
        let (done, confirmed) = oneshot::channel();
        self.tell(command(done)).await;
        if tokio::time::timeout(TELL_LIMIT, confirmed).await.is_err() {
            self.shared.log.say("the thread for datagrams did not confirm in time");
        }
    }
    async fn tell(&self, command: Command) {
        let told = tokio::time::timeout(TELL_LIMIT, self.commands.send(command)).await;
        if !matches!(told, Ok(Ok(()))) {
            self.shared.log.say("the thread for datagrams does not answer and is missed");
        }
    }
}

/// Starts the thread.
pub fn start(shared: Arc<Shared>) -> io::Result<Handle> {
    let (commands, received) = mpsc::channel(COMMANDS);
    let handle = Handle { commands, shared: shared.clone() };
    std::thread::Builder::new().name("datagrams".into()).stack_size(STACK_BYTES).spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        match runtime.enable_io().enable_time().build_local(Default::default()) {
            Ok(runtime) => runtime.block_on(relay::run(shared, received)),
            Err(error) => shared.log.say(&format!("datagrams cannot be relayed: {error}")),
        }
    })?;
    Ok(handle)
}
