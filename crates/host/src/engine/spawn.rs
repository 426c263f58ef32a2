//! Asks the shims' common parent for a new one; starts that parent when there is none.

use crate::shim::MAX_REQUEST;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

pub struct Spawner {
    executable: PathBuf,
    /// Tells the next engine that starts are under way.
    lock: PathBuf,
    parent: Mutex<Option<Parent>>,
}

struct Parent {
    socket: OwnedFd,
    process: Child,
}

impl Spawner {
    pub fn new(executable: PathBuf, lock: PathBuf) -> Self {
        Self { executable, lock, parent: Mutex::new(None) }
    }

    /// A new shim for a directory; the answer is the pipe on which it reports.
    pub fn spawn(&self, dir: &Path) -> io::Result<OwnedFd> {
        if dir.as_os_str().len() >= MAX_REQUEST {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let (report, inside) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut slot = self.parent.lock().expect("no holder of this lock can panic");
        if let Some(parent) = &*slot
            && parent.ask(dir, &inside).is_ok()
        {
            return Ok(report);
        }
        // There is none yet, or it was killed; its shims do not mind.
        *slot = None;
        let parent = slot.insert(Parent::start(&self.executable, &self.lock)?);
        parent.ask(dir, &inside)?;
        Ok(report)
    }
}

impl Parent {
    fn start(executable: &Path, lock: &Path) -> io::Result<Self> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let process = Command::new(executable)
            .args(["shim", "--serve"])
            .arg(lock)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { socket, process })
    }

    fn ask(&self, dir: &Path, report: &OwnedFd) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [report.as_fd()];
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        debug_assert!(fits, "the space is made for one descriptor");
        sendmsg(
            &self.socket,
            &[IoSlice::new(dir.as_os_str().as_bytes())],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // It ends by itself when the socket closes; this only waits for one that has ended already.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}
