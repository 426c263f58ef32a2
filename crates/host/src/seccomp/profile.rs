//! The default profile, from `data/seccomp-default.txt` and three rules on arguments.

use super::{Argument, Filters, Profile, Rule, SeccompError, compile};
use std::collections::BTreeSet;

const DEFAULT: &str = include_str!("../../data/seccomp-default.txt");

/// Flags of `clone` that make name spaces.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
const AF_VSOCK: u64 = 40;
/// Linux, its 32-bit form, their variants with `UNAME26`, and "tell me".
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default filters for a program with these capabilities (names without `CAP_`).
pub fn default_filters(capabilities: &BTreeSet<String>) -> Result<Filters, SeccompError> {
    compile(&default_profile(capabilities))
}

fn default_profile(capabilities: &BTreeSet<String>) -> Profile {
    let mut allowed = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for (heading, names) in sections() {
        let names = names.split_whitespace().map(str::to_owned);
        match heading.split_once(' ') {
            None => allowed.extend(names),
            Some(("allow", capability)) if capabilities.contains(capability) => allowed.extend(names),
            Some(_) => refused.extend(names),
        }
    }
    refused.retain(|name| !allowed.contains(name));
    let is_admin = capabilities.contains("SYS_ADMIN");
    // The C library falls back to clone, whose flags a filter can read.
    let clone3_missing = refused.remove("clone3");
    let mut syscalls = vec![
        rule(allowed, "SCMP_ACT_ALLOW", None, vec![]),
        rule(refused, "SCMP_ACT_ERRNO", Some(libc::EPERM), vec![]),
        one("socket", vec![argument(0, "SCMP_CMP_NE", AF_VSOCK)]),
    ];
    syscalls.extend(PERSONALITIES.map(|value| one("personality", vec![argument(0, "SCMP_CMP_EQ", value)])));
    if is_admin {
        syscalls.push(one("clone", vec![]));
    } else {
        let no_namespaces =
            Argument { index: 0, value: CLONE_NAMESPACES, value_two: 0, op: "SCMP_CMP_MASKED_EQ".to_owned() };
        syscalls.push(one("clone", vec![no_namespaces]));
    }
    debug_assert!(clone3_missing != is_admin);
    Profile {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(libc::ENOSYS as u32),
        syscalls,
    }
}

/// Headings (`allow`, `allow NAME`, `deny ERRNO`) with the names below them.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    DEFAULT
        .split("\n\n")
        .filter_map(|block| block.trim().split_once('\n'))
        .filter(|(heading, _)| heading.starts_with("allow") || heading.starts_with("deny"))
}

fn one(name: &str, args: Vec<Argument>) -> Rule {
    rule(BTreeSet::from([name.to_owned()]), "SCMP_ACT_ALLOW", None, args)
}

fn rule(names: BTreeSet<String>, action: &str, errno: Option<i32>, args: Vec<Argument>) -> Rule {
    Rule {
        names: names.into_iter().collect(),
        action: action.to_owned(),
        errno_ret: errno.map(|errno| errno as u32),
        args: Some(args),
    }
}

fn argument(index: u8, op: &str, value: u64) -> Argument {
    Argument { index, value, value_two: 0, op: op.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(profile: &Profile, name: &str) -> bool {
        profile.syscalls.iter().any(|rule| {
            rule.action == "SCMP_ACT_ALLOW"
                && rule.args.as_ref().is_none_or(Vec::is_empty)
                && rule.names.iter().any(|n| n == name)
        })
    }

    #[test]
    fn a_capability_opens_its_calls_and_nothing_else() {
        let plain = default_profile(&BTreeSet::new());
        let admin = default_profile(&BTreeSet::from(["SYS_ADMIN".to_owned()]));
        for name in ["mount", "unshare", "clone3", "clone", "bpf"] {
            assert!(!allows(&plain, name), "{name}");
            assert!(allows(&admin, name), "{name}");
        }
        for name in ["read", "execve", "capset", "prctl", "seccomp", "futex", "openat2"] {
            assert!(allows(&plain, name), "{name}");
        }
        for name in ["keyctl", "kexec_load", "io_uring_setup", "userfaultfd", "init_module"] {
            assert!(!allows(&admin, name), "{name}");
        }
    }

    #[test]
    fn the_default_compiles_to_two_filters_within_the_kernels_limit() {
        let filters = default_filters(&BTreeSet::new()).unwrap();
        assert_eq!(filters.len(), 2);
        assert!(filters.iter().all(|filter| filter.len() < 4096));
    }
}
