//! Control groups without root: a part of the v2 tree that was given to this user.
//!
//! The kernel lets nobody limit a group that has both processes and groups below it. So whatever
//! is in the given group moves into one of its own first, and instances get others beside that.

use crate::cgroup::{GROUP_NAME, Hierarchies};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the processes go that were in the given group: daemon, gateway, the command that started them.
const OWN: &str = "juchu.own";
/// Processes moved at most.
const MOVED_MAX: usize = 10_000;

/// The group below which instances get theirs, made ready; `Err` says why there is none.
pub fn delegated() -> Result<String, String> {
    let (given, dir) = given_to_this_user()?;
    prepare(&dir).map_err(|error| format!("the control group `{given}` cannot be divided: {error}"))?;
    Ok(format!("{given}/{GROUP_NAME}"))
}

/// The group that this process is in, if it is this user's to divide, and its directory.
pub fn given_to_this_user() -> Result<(String, PathBuf), String> {
    let hierarchies = Hierarchies::detect().map_err(|error| format!("find the control groups: {error}"))?;
    if !hierarchies.is_pure_v2() {
        return Err("this machine has control groups of version 1, which only root can use".to_owned());
    }
    let mount = hierarchies.at("/").dir("memory").ok_or("no control groups are mounted")?;
    let text =
        fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("/proc/self/cgroup: {error}"))?;
    let given = given(&text).ok_or("this process is in no control group")?;
    let dir = mount.join(given.trim_start_matches('/'));
    if given == "/" || !is_ours(&dir) {
        return Err(format!("the control group `{given}` is not this user's"));
    }
    Ok((given, dir))
}

/// The group of this process, without the part that an earlier daemon made.
fn given(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let given = path.strip_suffix(OWN).map_or(path, |above| above.trim_end_matches('/'));
    Some(if given.is_empty() { "/".to_owned() } else { given.to_owned() })
}

fn is_ours(dir: &Path) -> bool {
    let may = |path: PathBuf| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    ["", "cgroup.procs", "cgroup.subtree_control"].into_iter().all(|file| may(dir.join(file)))
}

fn prepare(dir: &Path) -> io::Result<()> {
    let own = dir.join(OWN);
    for made in [&own, &dir.join(GROUP_NAME)] {
        match fs::create_dir(made) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let inside = fs::read_to_string(dir.join("cgroup.procs"))?;
    for pid in inside.lines().take(MOVED_MAX) {
        match fs::write(own.join("cgroup.procs"), pid) {
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            moved => moved?,
        }
    }
    let controllers = fs::read_to_string(dir.join("cgroup.controllers"))?;
    for parent in [dir, &dir.join(GROUP_NAME)] {
        for controller in controllers.split_whitespace() {
            // One that cannot be had here is missed when a limit asks for it.
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_group_is_the_one_above_our_own() {
        let check = |path: &str, expect: &str| {
            assert_eq!(given(&format!("1:name=systemd:/x\n0::{path}\n")).as_deref(), Some(expect));
        };
        check("/user.slice/a.scope", "/user.slice/a.scope");
        check("/user.slice/a.scope/juchu.own", "/user.slice/a.scope");
        check("/", "/");
        check("/juchu.own", "/");
        assert_eq!(given("1:memory:/x\n"), None);
    }
}
