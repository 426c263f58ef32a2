//! The few calls that need `unsafe`, each with its reason; all run in single-threaded processes.

mod program;

pub use program::{Instruction, attach_device_program};

use seccompiler::{BpfProgram, sock_filter};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// As in `clone(2)`; wider than the constant of the library.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// In the child the answer is `None`.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: callers are single-threaded, so the child finds every lock free.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// The same, and the child begins in the control group of the v2 tree behind `group`: unlike a move
/// into it, that waits for nobody. An error where the kernel cannot.
pub fn fork_into(group: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // SAFETY: plain numbers, for which zero means "not asked for".
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    request.flags = CLONE_INTO_CGROUP;
    request.exit_signal = libc::SIGCHLD as u64;
    request.cgroup = group.as_raw_fd() as u64;
    // SAFETY: callers are single-threaded; without a stack of its own the child goes on with a copy
    // of this one, as after `fork`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of_val(&request)) };
    let pid = check(pid as libc::c_int)?;
    Ok((pid != 0).then_some(pid))
}

/// Ends the process at once, without destructors.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always sound; buffers of this crate are unbuffered files.
    unsafe { libc::_exit(code) }
}

/// This process becomes an administrator of a new user name space, so far without any user in it.
pub fn new_user_namespace() -> io::Result<()> {
    // SAFETY: the caller is single-threaded; only its own credentials change.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    Ok(())
}

pub fn new_network_namespace() -> io::Result<()> {
    // SAFETY: the caller is single-threaded; only its own view of the network changes.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    Ok(())
}

/// Supplementary groups of whoever started this process.
pub fn drop_groups() -> io::Result<()> {
    // SAFETY: an empty list is not read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    Ok(())
}

/// Mounts of the host go on arriving, none goes back.
pub fn new_mount_namespace() -> io::Result<()> {
    // SAFETY: the caller is single-threaded; only its own view of the file tree changes.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let none = std::ptr::null();
    // SAFETY: all pointers are null or a literal.
    check(unsafe { libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_SLAVE, none.cast()) })?;
    Ok(())
}

/// Mounts what another process has at `path` at `place` in this process's own mount name space. For
/// processes with one thread: they are in the other's name space for a moment.
pub fn take_mount(pid: i32, path: &std::path::Path, place: &std::path::Path) -> io::Result<()> {
    use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let own = std::fs::File::open("/proc/self/ns/mnt")?;
    let other = std::fs::File::open(format!("/proc/{pid}/ns/mnt"))?;
    move_into_link_name_space(other.as_fd(), Some(LinkNameSpaceType::Mount))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, path, flags);
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
    move_mount(tree?, "", rustix::fs::CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

/// Orphans of this process's children become its own children.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    Ok(())
}

/// This process is killed when its parent ends.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    Ok(())
}

pub fn set_process_name(name: &std::ffi::CStr) {
    // SAFETY: the kernel copies at most 16 bytes of a terminated string; failure changes nothing.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Installs one filter without setting `no_new_privs`, which `seccompiler` would.
pub fn install_filter(program: &BpfProgram) -> io::Result<()> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const sock_filter,
    }
    let program = Program { length: program.len() as u16, filter: program.as_ptr() };
    // SAFETY: the kernel copies the program, whose layout is that of `struct sock_fprog`.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    check(result as libc::c_int)?;
    Ok(())
}

/// Capability sets as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilityBits {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// Gives up everything beyond `bits`, for good.
pub fn drop_capabilities(bits: CapabilityBits) -> io::Result<()> {
    for capability in 0..64u64 {
        // SAFETY: takes numbers only; an unknown capability answers EINVAL.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        if held < 0 {
            break;
        }
        if held == 1 && bits.bounding & (1 << capability) == 0 {
            // SAFETY: takes numbers only.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })?;
        }
    }
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let data = [
        [low(bits.effective), low(bits.permitted), low(bits.inheritable)],
        [high(bits.effective), high(bits.permitted), high(bits.inheritable)],
    ];
    // SAFETY: header and data have the layout of version 3 of the interface.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } as libc::c_int)?;
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    // The kernel keeps ambient only what is also permitted and inheritable.
    let ambient = bits.ambient & bits.permitted & bits.inheritable;
    for capability in (0..64u64).filter(|c| ambient & (1 << c) != 0) {
        // SAFETY: takes numbers only.
        check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0) })?;
    }
    Ok(())
}

/// Capabilities this process may use, as bits.
pub fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// Replaces the program; returns only on failure.
pub fn execute(path: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end with a null pointer and outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Makes `target` a copy of `source`.
pub fn replace_fd(source: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: callers pass 0, 1 or 2, which nothing in this program owns.
    check(unsafe { libc::dup2(source.as_raw_fd(), target) })?;
    Ok(())
}

/// Closes every descriptor beside the standard streams.
pub fn close_all() {
    close_range(FIRST_OTHER_FD, u32::MAX);
}

/// Closes every descriptor beside the standard streams and `kept`.
pub fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = kept.as_raw_fd() as u32;
    if kept > FIRST_OTHER_FD {
        close_range(FIRST_OTHER_FD, kept - 1);
    }
    close_range(FIRST_OTHER_FD.max(kept + 1), u32::MAX);
}

/// After the standard streams.
const FIRST_OTHER_FD: u32 = 3;

fn close_range(first: u32, last: u32) {
    // SAFETY: only called where no owner of such a descriptor is used again.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: sigfillset initialises the whole set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        set
    }
}

/// Children that end are not waited for; undone in them by [`reset_signals`].
pub fn ignore_children() {
    // SAFETY: ignoring needs no handler code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Writing to nobody is an error instead of the end; undone by [`reset_signals`].
pub fn ignore_broken_pipes() {
    // SAFETY: ignoring needs no handler code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Holds all signals back until [`next_signal`] takes them.
pub fn block_signals() {
    // SAFETY: the set is initialised; the old mask is not wanted.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &all_signals(), std::ptr::null_mut()) };
}

/// Lets all signals through and gives each its default action.
pub fn reset_signals() {
    // SAFETY: default actions need no handler code; the set is initialised.
    unsafe {
        for signal in 1..=31 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Waits for the next of the signals held back.
pub fn next_signal() -> i32 {
    loop {
        // SAFETY: the set is initialised; no details are asked for.
        let signal = unsafe { libc::sigwaitinfo(&all_signals(), std::ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// Signals held back, as a descriptor to poll.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before use; the new descriptor has no other owner.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        signals.iter().for_each(|signal| {
            libc::sigaddset(&mut set, *signal);
        });
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Any child that has ended: its number, and its exit code or signal.
pub fn reap() -> Option<(i32, Ending)> {
    let mut status = 0;
    // SAFETY: status is a valid place to write to.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then(|| (pid, Ending::from_status(status)))
}

/// Waits for one child.
pub fn wait_for(pid: i32) -> io::Result<Ending> {
    loop {
        let mut status = 0;
        // SAFETY: status is a valid place to write to.
        match check(unsafe { libc::waitpid(pid, &mut status, 0) }) {
            Ok(_) => return Ok(Ending::from_status(status)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Exited(i32),
    Signaled(i32),
}

impl Ending {
    fn from_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signaled(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
    /// As shells say it: 128 + signal when ended by one.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(_) => None,
            Self::Signaled(signal) => Some(signal),
        }
    }
}

/// Signals the process behind a pidfd.
pub fn signal_by_handle(handle: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers and a null pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            handle.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result as libc::c_int)?;
    Ok(())
}

/// Waits for a child, passing on the signals that this process gets meanwhile; answers the exit
/// code as shells say it. Other children are reaped on the way.
pub fn wait_passing_signals(child: i32) -> i32 {
    block_signals();
    // It may have ended before its signal was held back.
    let mut signal = libc::SIGCHLD;
    loop {
        if signal == libc::SIGCHLD {
            while let Some((ended, ending)) = reap() {
                if ended == child {
                    return ending.code();
                }
            }
        } else {
            // SAFETY: takes numbers; an ended child is not reaped yet, so its number is its own.
            unsafe { libc::kill(child, signal) };
        }
        signal = next_signal();
    }
}

/// False where other users' numbers are mapped: what is root here may be nobody outside.
pub fn is_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}
