//! A directory as a machine of its own: processes, mounts, no trace when it is closed.
//!
//! A holder, this very program, is the first process of its name spaces. It reads from a pipe of
//! ours and ends when that closes, also when we are killed; the kernel then ends all else in there.

use crate::process::{read, run};
use crate::{Failure, Outcome, workspace};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where this machine's Rust stands in there.
const RUST: &str = "/opt/rust";
/// Where this machine's root is for a moment.
const OLD_ROOT: &str = "/mnt";
/// The holder's role, on the command line.
pub const HOLD: &str = "hold-fresh-machine";
/// How long the name spaces may take to stand.
const HOLDER_LIMIT: Duration = Duration::from_secs(10);
/// Variables that reach the inside: how the network is reached.
const PASSED_ON: &[&str] =
    &["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

pub struct Room {
    directory: PathBuf,
    unshare: Child,
    /// The holder, as this name space numbers it.
    holder: String,
}

impl Room {
    pub fn new(directory: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory)?;
        let unshare = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation=private"])
            .arg(std::env::current_exe()?)
            .arg(HOLD)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("unshare: {e}"))?;
        let mut room = Self { directory: directory.to_owned(), unshare, holder: String::new() };
        room.holder = room.find_holder()?;
        Ok(room)
    }

    /// The only child of `unshare`, as soon as it has become another program.
    fn find_holder(&self) -> Result<String, Failure> {
        let begun = Instant::now();
        let pid = self.unshare.id();
        while begun.elapsed() < HOLDER_LIMIT {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            if let Some(child) = children.split_whitespace().next()
                && std::fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|c| c.trim() != "unshare")
            {
                return Ok(child.to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("the name spaces do not stand; `unshare --mount --pid --fork true` shows why".into())
    }

    /// Mounts what a machine has, and Rust; then the directory becomes the root of all in there. A
    /// mere chroot would not do: who enters a container's mounts from one comes out at the host's root.
    pub fn open(&self) -> Outcome {
        let rust = read(&workspace::root(), "rustc", &["--print", "sysroot"])?;
        let inside =
            |path: &str| self.directory.join(path.trim_start_matches('/')).to_string_lossy().into_owned();
        std::fs::create_dir_all(inside(RUST))?;
        let root = inside("");
        self.mount(&["--bind", &root, &root])?;
        self.mount(&["--bind", rust.trim(), &inside(RUST)])?;
        self.mount(&["-o", "remount,bind,ro", &inside(RUST)])?;
        self.mount(&["-t", "proc", "proc", &inside("proc")])?;
        self.mount(&["--rbind", "/sys", &inside("sys")])?;
        self.mount(&["--rbind", "/dev", &inside("dev")])?;
        std::fs::create_dir_all(inside(OLD_ROOT))?;
        self.prepare("pivot_root", &[&root, &inside(OLD_ROOT)])?;
        self.prepare("umount", &["--lazy", OLD_ROOT])
    }

    fn mount(&self, arguments: &[&str]) -> Outcome {
        self.prepare("mount", arguments)
    }

    fn prepare(&self, program: &str, arguments: &[&str]) -> Outcome {
        let enter = ["--target", &self.holder, "--mount", "--pid", program];
        run(Path::new("/"), "nsenter", &[&enter, arguments].concat())
    }

    /// Runs a command in there as root, in `place`, with our standard streams.
    pub fn run(&self, place: &str, command: &[String]) -> Outcome {
        eprintln!("fresh$ {}", command.join(" "));
        let mut process = Command::new("nsenter");
        process
            .args(["--target", &self.holder, "--mount", "--pid", "env", "-C", place])
            .args(command)
            .env_clear()
            .env("PATH", format!("{RUST}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8")
            // Nothing is skipped for want of a tool.
            .env("CI", "1")
            .stdin(Stdio::null());
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                process.env(name, value);
            }
        }
        let status = process.status().map_err(|e| format!("nsenter: {e}"))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("on the fresh machine `{}`: {status}", command.join(" ")).into()),
        }
    }
}

/// Is the first process of a machine: ends when standard input does, and is a parent to orphans.
pub fn hold() -> Outcome {
    // SAFETY: ignoring needs no handler code; whoever ends is then not waited for.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        // It ends with the holder, and with that all processes and mounts.
        let _ = self.unshare.wait();
        if let Err(failure) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("warning: {}: {failure}", self.directory.display());
        }
    }
}
