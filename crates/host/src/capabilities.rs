//! Capability names, the default set, and what `cap_add` and `cap_drop` make of it.

use crate::sys::CapabilityBits;
use std::collections::BTreeSet;

/// All names in the order of their numbers.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set without `MKNOD`, `NET_RAW` and `AUDIT_WRITE`: devices are bound in, ping
/// works through `ping_group_range`, and nothing in a service writes the kernel's audit log.
const DEFAULT: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The set of a service, as names without `CAP_`; `Err` names what is no capability.
pub fn resolve(add: &[String], drop: &[String], privileged: bool) -> Result<BTreeSet<String>, String> {
    let held = held();
    if privileged {
        return Ok(held);
    }
    let mut set: BTreeSet<String> = DEFAULT.iter().map(|name| name.to_string()).collect();
    let (add, drop) = (normalize(add)?, normalize(drop)?);
    if drop.contains("ALL") {
        set.clear();
    }
    if add.contains("ALL") {
        set = held;
    }
    set.retain(|name| !drop.contains(name) || add.contains(name));
    set.extend(add.into_iter().filter(|name| name != "ALL"));
    Ok(set)
}

fn normalize(names: &[String]) -> Result<BTreeSet<String>, String> {
    let mut set = BTreeSet::new();
    for given in names {
        let upper = given.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name != "ALL" && !NAMES.contains(&name) {
            return Err(format!("`{given}` is not a capability"));
        }
        set.insert(name.to_owned());
    }
    Ok(set)
}

/// What this process itself may hand on.
fn held() -> BTreeSet<String> {
    let bits = crate::sys::effective_capabilities();
    NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, name)| name.to_string())
        .collect()
}

/// The bits of a set of names, with or without `CAP_`; unknown names count for nothing.
pub fn bits<'a>(names: impl IntoIterator<Item = &'a str>) -> u64 {
    names
        .into_iter()
        .filter_map(|name| NAMES.iter().position(|known| *known == name.strip_prefix("CAP_").unwrap_or(name)))
        .fold(0, |bits, position| bits | 1 << position)
}

/// Root uses the set at once; others gain it only through files with set-user-id or capabilities.
pub fn for_user(set: &BTreeSet<String>, uid: u32) -> CapabilityBits {
    let all = bits(set.iter().map(String::as_str));
    let own = if uid == 0 { all } else { 0 };
    CapabilityBits { bounding: all, effective: own, permitted: own, inheritable: 0, ambient: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expect: Result<&[&str], &str>) {
        let strings = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let actual = resolve(&strings(add), &strings(drop), false);
        let actual = actual.as_ref().map(|set| set.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(actual.map_err(String::as_str), expect.map(<[_]>::to_vec));
    }

    #[test]
    fn names_are_added_and_dropped_as_compose_means_it() {
        check(&[], &["ALL"], Ok(&[]));
        check(&["net_admin", "CAP_CHOWN"], &["all"], Ok(&["CHOWN", "NET_ADMIN"]));
        check(&["NOPE"], &[], Err("`NOPE` is not a capability"));
        let mut without: Vec<_> = DEFAULT.into_iter().filter(|n| *n != "KILL").collect();
        without.sort_unstable();
        check(&[], &["CAP_KILL"], Ok(&without));
    }

    #[test]
    fn bits_are_the_kernels_numbers() {
        assert_eq!(bits(["CHOWN", "CAP_SYS_ADMIN", "NOPE"]), 1 | 1 << 21);
        assert_eq!(NAMES.iter().position(|n| *n == "CHECKPOINT_RESTORE"), Some(40));
    }
}
