//! Network namespaces for tests, so that the machine's own network is left alone. A namespace
//! ends by itself when nothing refers to it any more: there is nothing to clean up.

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A network namespace; alive as long as this or a process in it.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
}

impl Netns {
    /// A new one with nothing but a loopback that is down. Needs root.
    #[allow(clippy::new_without_default, reason = "making a namespace is not a default value")]
    pub fn new() -> Self {
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: only the network namespace of this thread changes, and it ends at once.
                unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                    .expect("root may make a network namespace");
                // A machine that forwards would have its new name spaces forward as well.
                for name in ["all", "default"] {
                    let file = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
                    std::fs::write(&file, "0").unwrap_or_else(|error| panic!("{file}: {error}"));
                }
                Self::current()
            });
            made.join().expect("the thread does not panic as root")
        })
    }

    /// The one the calling thread is in.
    pub fn current() -> Self {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    #[track_caller]
    pub fn open(path: &Path) -> Self {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .unwrap_or_else(|error| panic!("open the namespace {}: {error}", path.display()));
        Self { file }
    }

    /// Runs `work` in the namespace, on a thread that ends with it. Sockets that it makes and
    /// processes that it starts stay in there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let run = || {
            enter(self.file.as_fd());
            work()
        };
        let name = crate::needs::current_test();
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, run);
            let result = thread.expect("a thread can be started").join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn enter(file: BorrowedFd<'_>) {
    rustix::thread::move_into_link_name_space(file, Some(LinkNameSpaceType::Network))
        .expect("root may enter a network namespace");
}

/// The calling thread, and the threads and processes it starts, are in a new network namespace
/// until this is dropped.
#[derive(Debug)]
pub struct NetnsGuard {
    before: Netns,
    own: Netns,
    /// A guard belongs to its thread.
    _not_send: PhantomData<*const ()>,
}

impl NetnsGuard {
    /// Needs root. The loopback in it is up.
    #[allow(clippy::new_without_default, reason = "entering a namespace is not a default value")]
    pub fn new() -> Self {
        let before = Netns::current();
        let own = Netns::new();
        enter(own.as_fd());
        loopback_up();
        Self { before, own, _not_send: PhantomData }
    }

    pub fn netns(&self) -> &Netns {
        &self.own
    }
}

impl Drop for NetnsGuard {
    fn drop(&mut self) {
        enter(self.before.as_fd());
    }
}

/// One netlink request: `RTM_NEWLINK` for interface 1, which is always the loopback, with
/// `IFF_UP`. Written out here so that tests of networks do not depend on what they test.
fn loopback_up() {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 5;
    let words: [u32; 8] = [32, u32::from(RTM_NEWLINK) | u32::from(REQUEST_AND_ACK) << 16, 1, 0, 0, 1, 1, 1];
    let message: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .expect("a netlink socket");
    rustix::net::send(&socket, &message, SendFlags::empty()).expect("a netlink request");
    let mut answer = [0u8; 256];
    rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()).expect("an answer");
    assert_eq!(answer[16..20], [0; 4], "the kernel refused to bring up the loopback");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_guard_isolates_its_thread_and_lets_it_go() {
        if !crate::require_root("a_guard_isolates_its_thread_and_lets_it_go") {
            return;
        }
        let name = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let outside = name();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let guard = NetnsGuard::new();
        assert_ne!(name(), outside);
        assert!(TcpStream::connect(address).is_err(), "the listener is in the namespace outside");
        let inside = TcpListener::bind(address).expect("the same port is free in here");
        let reached = guard.netns().run(|| TcpStream::connect(address).is_ok());
        assert!(reached, "the loopback in here is up");
        drop((guard, inside));
        assert_eq!(name(), outside);
        assert!(TcpStream::connect(address).is_ok());
    }
}
