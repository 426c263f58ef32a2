//! Network namespaces kept alive by a bind mount, as `ip netns` keeps them. A namespace is
//! entered only by a helper thread that ends at once: no other thread ever changes its own.

use crate::NetError;
use crate::socket::Socket;
use crate::sysctl;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// `NSFS_MAGIC` of `include/uapi/linux/magic.h`: the file system of namespace files.
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// Mounts on top of each other that removal takes away; more than one is somebody's mistake.
const MOUNTS_MAX: u32 = 16;
/// The namespace of the calling thread.
pub const OWN: &str = "/proc/thread-self/ns/net";

/// An open namespace and a netlink socket inside it, usable from any thread.
pub struct Namespace {
    file: OwnedFd,
    pub socket: Socket,
}

impl Namespace {
    /// Opens the namespace at `path`, or makes one there.
    pub fn ensure(path: &Path) -> Result<Self, NetError> {
        match open(path)? {
            Some(file) => Self::enter(path, file),
            None => Self::create(path),
        }
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn enter(path: &Path, file: OwnedFd) -> Result<Self, NetError> {
        on_helper_thread(|| {
            rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(NetError::file("enter the network namespace", path))?;
            prepare()
        })
        .map(|socket| Self { file, socket })
    }

    fn create(path: &Path) -> Result<Self, NetError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(NetError::file("create the directory", parent))?;
        let mode = Mode::from_raw_mode(0o444);
        rustix::fs::openat(CWD, path, OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC, mode)
            .map_err(NetError::file("create the file", path))?;
        let socket = on_helper_thread(|| {
            // SAFETY: only the network namespace of this thread changes; its file descriptors and
            // memory stay shared with the others, which is what makes other flags unsound.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .map_err(NetError::kernel("make a network namespace"))?;
            rustix::mount::mount_bind(OWN, path)
                .map_err(NetError::file("mount the network namespace on", path))?;
            prepare()
        })?;
        let file = open(path)?.ok_or_else(|| {
            NetError::file("open the network namespace", path)(io::Error::from(io::ErrorKind::NotFound))
        })?;
        Ok(Self { file, socket })
    }
}

/// Run by a thread inside the namespace: settings every instance starts with, and the socket.
fn prepare() -> Result<Socket, NetError> {
    // As in other container engines: any user may listen on port 80 and send an echo request.
    sysctl::set_if_known("ipv4/ip_unprivileged_port_start", "0")?;
    sysctl::set_if_known("ipv4/ping_group_range", &sysctl::all_groups('\t'))?;
    // No link-local IPv6 addresses: the networks are IPv4; `::1` stays.
    sysctl::set_if_known("ipv6/conf/default/addr_gen_mode", "1")?;
    Socket::route().map_err(NetError::kernel("open a netlink socket"))
}

/// Runs `work` on a thread of its own, whose namespace dies with it.
pub fn on_helper_thread<T: Send>(work: impl FnOnce() -> Result<T, NetError> + Send) -> Result<T, NetError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        let handle = thread.spawn_scoped(scope, work).map_err(NetError::kernel("start a thread"))?;
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The namespace mounted at `path`; `None` when nothing is, or only the file for it.
fn open(path: &Path) -> Result<Option<OwnedFd>, NetError> {
    let file = match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(NetError::file("open the network namespace", path)(error)),
    };
    let info = rustix::fs::fstatfs(&file).map_err(NetError::file("examine", path))?;
    #[allow(clippy::unnecessary_cast, reason = "the width of f_type differs between architectures")]
    Ok((info.f_type as i64 == NSFS_MAGIC).then_some(file))
}

/// Unmounts and removes what is at `path`; nothing there is fine. The namespace itself ends when
/// the last process in it has.
pub fn remove(path: &Path) -> Result<(), NetError> {
    for _ in 0..MOUNTS_MAX {
        if open(path)?.is_none() {
            break;
        }
        rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(NetError::file("unmount", path))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NetError::file("remove", path)(error)),
        _ => Ok(()),
    }
}
