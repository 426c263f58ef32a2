//! The network outside, where this process is in one that is not the host's: without root the
//! instances are in a network of their own. One thread stays behind in the host's network and makes
//! the sockets there; sockets stay where they were made, whoever uses them.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Errands that wait for the thread.
const WAITING_MAX: usize = 64;

type Errand = Box<dyn FnOnce() + Send>;

/// The host's network: here, or where a thread was left behind.
#[derive(Debug, Clone, Default)]
pub struct Outside(Option<SyncSender<Errand>>);

impl Outside {
    /// Leaves a thread behind and takes the caller, and all threads it starts from here on, into the
    /// network at `inside`. Called before there are other threads.
    pub fn leave_for(inside: &Path) -> io::Result<Self> {
        let network = File::open(inside)?;
        let (sender, errands) = sync_channel::<Errand>(WAITING_MAX);
        std::thread::Builder::new().name("outside".to_owned()).spawn(move || {
            while let Ok(errand) = errands.recv() {
                errand();
            }
        })?;
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(Self(Some(sender)))
    }

    /// Runs `work` in the host's network and waits for it: making a socket takes microseconds.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let Some(errands) = &self.0 else { return Ok(work()) };
        let (sender, done) = sync_channel(1);
        let errand = Box::new(move || {
            // Whoever asked waits.
            let _ = sender.send(work());
        });
        let gone = || io::Error::other("the thread in the host's network has ended");
        errands.send(errand).map_err(|_| gone())?;
        done.recv().map_err(|_| gone())
    }
}
