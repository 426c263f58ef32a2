//! What this machine lacks for running instances, each with its effect and the way to get it.

use super::Inner;
use crate::capabilities;
use run::engine::Lack;
use std::fs;
use std::path::Path;

pub fn lacks(inner: &Inner) -> Vec<Lack> {
    let mut list = Vec::new();
    let mut lack = |what: &str, effect: &str, hint: &str, fatal: bool| {
        list.push(Lack { what: what.to_owned(), effect: effect.to_owned(), hint: hint.to_owned(), fatal });
    };
    if !rustix::process::geteuid().is_root() {
        lack("root", "instances need mounts, name spaces and control groups", "run `sudo juchu up`", true);
    }
    let held = crate::sys::effective_capabilities();
    let misses = |name: &str| held & capabilities::bits([name]) == 0;
    if misses("SYS_ADMIN") {
        lack(
            "the capability SYS_ADMIN",
            "no mount and no name space can be made",
            "start Juchu with CAP_SYS_ADMIN, for a container with `--privileged`",
            true,
        );
    }
    if misses("NET_ADMIN") {
        lack(
            "the capability NET_ADMIN",
            "instances get no network of their own",
            "start Juchu with CAP_NET_ADMIN",
            false,
        );
    }
    if misses("SYS_RESOURCE") {
        lack(
            "the capability SYS_RESOURCE",
            "hard limits (`ulimits`) and a lower `oom_score_adj` cannot be set above those of Juchu itself",
            "start Juchu with CAP_SYS_RESOURCE, or leave these keys out",
            false,
        );
    }
    if !has_filesystem("overlay") {
        lack("the overlay file system", "no image can be mounted", "run `modprobe overlay`", true);
    }
    for (name, file) in
        [("mount", "mnt"), ("process", "pid"), ("network", "net"), ("host name", "uts"), ("message", "ipc")]
    {
        if !Path::new("/proc/self/ns").join(file).exists() {
            lack(
                &format!("{name} name spaces"),
                "instances cannot be kept apart",
                "use a kernel built with CONFIG_NAMESPACES and its parts",
                true,
            );
        }
    }
    let controllers = [
        ("memory", "limits on memory are refused, running out of it is not noticed"),
        ("cpu", "limits on processors are refused"),
        ("cpuset", "`cpuset` is refused"),
        ("pids", "limits on the number of processes are refused"),
    ];
    if let Some(Err(why)) = inner.config.unprivileged.as_ref().map(|user| &user.groups) {
        let groups = crate::rootless::lack_of_groups(why);
        lack(&groups.what, &groups.effect, &groups.hint, groups.fatal);
    }
    for (controller, effect) in controllers.into_iter().filter(|_| inner.hierarchies.are_usable()) {
        if !inner.hierarchies.has(controller) {
            lack(
                &format!("the control group `{controller}`"),
                effect,
                "mount it below /sys/fs/cgroup, or boot with it enabled",
                false,
            );
        }
    }
    if !fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|text| text.contains("errno"))
    {
        lack(
            "system call filters",
            "services run only with `security_opt: [seccomp=unconfined]`",
            "use a kernel built with CONFIG_SECCOMP_FILTER",
            false,
        );
    }
    list
}

fn has_filesystem(name: &str) -> bool {
    let known = || fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known().lines().any(|line| line.split_whitespace().last() == Some(name)) {
        return true;
    }
    // The kernel loads the module at the first mount, where it has it.
    fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| {
        Path::new("/lib/modules").join(release.trim()).join("kernel/fs/overlayfs").is_dir()
    })
}
