//! Names of a stack's services, answered by the gateway because it outlives the daemon.
//!
//! One thread serves all zones. `answer` is pure; `forward` asks the host's resolvers what no
//! zone knows; `server` holds the sockets.

pub mod answer;
mod forward;
mod server;

use crate::options::GatewayOptions;
use crate::wire::NameCounts;
use crate::worker::Shared;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;

/// Stack of the names thread.
const STACK_BYTES: usize = 256 * 1024;
/// Commands the thread may be behind, and how long it may stay so.
const COMMANDS: usize = 64;
const TELL_LIMIT: Duration = Duration::from_secs(5);

enum Command {
    Listen { zone: IpAddr, udp: UdpSocket, tcp: TcpListener },
    Close { zone: IpAddr },
}

#[derive(Default)]
struct Counters {
    answered: AtomicU64,
    forwarded: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The control thread's end of the names thread.
pub struct Handle {
    commands: mpsc::Sender<Command>,
    counters: Arc<Counters>,
    shared: Arc<Shared>,
}

impl Handle {
    pub async fn listen(&self, zone: IpAddr, udp: UdpSocket, tcp: TcpListener) {
        self.tell(Command::Listen { zone, udp, tcp }).await;
    }
    pub async fn close(&self, zone: IpAddr) {
        self.tell(Command::Close { zone }).await;
    }
    async fn tell(&self, command: Command) {
        let told = tokio::time::timeout(TELL_LIMIT, self.commands.send(command)).await;
        if !matches!(told, Ok(Ok(()))) {
            self.shared.log.say("the names thread does not answer and is missed");
        }
    }
    pub fn counts(&self) -> NameCounts {
        let Counters { answered, forwarded, failed, dropped } = &*self.counters;
        NameCounts {
            answered: answered.load(Relaxed),
            forwarded: forwarded.load(Relaxed),
            failed: failed.load(Relaxed),
            dropped: dropped.load(Relaxed),
        }
    }
}

/// Starts the thread.
pub fn start(shared: Arc<Shared>, options: &GatewayOptions) -> io::Result<Handle> {
    let (commands, received) = mpsc::channel(COMMANDS);
    let counters = Arc::new(Counters::default());
    let handle = Handle { commands, counters: counters.clone(), shared: shared.clone() };
    let resolvers = forward::Resolvers::new(options.resolv_conf.clone());
    std::thread::Builder::new().name("names".into()).stack_size(STACK_BYTES).spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        match runtime.enable_io().enable_time().build_local(Default::default()) {
            Ok(runtime) => runtime.block_on(server::run(shared, counters, resolvers, received)),
            Err(error) => shared.log.say(&format!("names cannot be answered: {error}")),
        }
    })?;
    Ok(handle)
}
