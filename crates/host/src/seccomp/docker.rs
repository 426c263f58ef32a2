//! Profiles as Docker and Podman write them: rules that hold with certain capabilities, on certain
//! processors and kernels only.

use super::{Profile, Rule, SeccompError};
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Option<Vec<WrittenRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRule {
    /// The older form of `names`.
    #[serde(default)]
    name: String,
    #[serde(flatten)]
    rule: OptionalNames,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OptionalNames {
    #[serde(default)]
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<super::Argument>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The rules of `text` that hold for a program with these capabilities (names without `CAP_`) here.
pub fn profile(text: &str, capabilities: &BTreeSet<String>) -> Result<Profile, SeccompError> {
    let written: Written = serde_json::from_str(text)?;
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy();
    let holds = |rule: &WrittenRule| {
        rule.includes.as_ref().is_none_or(|condition| condition.all_hold(capabilities, &kernel))
            && !rule.excludes.as_ref().is_some_and(|condition| condition.any_holds(capabilities, &kernel))
    };
    let rules = written.syscalls.unwrap_or_default().into_iter().filter(holds);
    let syscalls = rules.map(|rule| {
        let mut names = rule.rule.names;
        names.extend(Some(rule.name).filter(|name| !name.is_empty()));
        let OptionalNames { action, errno_ret, args, .. } = rule.rule;
        Rule { names, action, errno_ret, args }
    });
    Ok(Profile {
        default_action: written.default_action,
        default_errno_ret: written.default_errno_ret,
        syscalls: syscalls.collect(),
    })
}

impl Condition {
    fn all_hold(&self, capabilities: &BTreeSet<String>, kernel: &str) -> bool {
        let has = |cap: &String| has_capability(capabilities, cap);
        self.caps.iter().flatten().all(has)
            && (self.arches.iter().flatten().next().is_none()
                || self.arches.iter().flatten().any(|arch| is_own_arch(arch)))
            && self.min_kernel.iter().all(|wanted| is_at_least(kernel, wanted))
    }

    fn any_holds(&self, capabilities: &BTreeSet<String>, kernel: &str) -> bool {
        let has = |cap: &String| has_capability(capabilities, cap);
        self.caps.iter().flatten().any(has)
            || self.arches.iter().flatten().any(|arch| is_own_arch(arch))
            || self.min_kernel.iter().any(|wanted| is_at_least(kernel, wanted))
    }
}

fn has_capability(capabilities: &BTreeSet<String>, name: &str) -> bool {
    capabilities.contains(name.strip_prefix("CAP_").unwrap_or(name))
}

/// Names as Go and as seccomp have them.
fn is_own_arch(name: &str) -> bool {
    let own: &[&str] = match std::env::consts::ARCH {
        "x86_64" => &["amd64", "SCMP_ARCH_X86_64"],
        "aarch64" => &["arm64", "SCMP_ARCH_AARCH64"],
        other => &[other],
    };
    own.contains(&name)
}

/// Of a release such as `6.1.0-30-amd64`, the first two numbers count.
fn is_at_least(kernel: &str, wanted: &str) -> bool {
    let numbers = |text: &str| {
        let mut parts = text.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    numbers(kernel) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold_where_their_conditions_do() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [], "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": {}, "excludes": {}},
            {"name": "write", "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
            {"names": ["arch"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}}]}"#;
        let names = |capabilities: &[&str]| {
            let capabilities = capabilities.iter().map(|name| name.to_string()).collect();
            let rules = profile(text, &capabilities).expect("a profile").syscalls;
            rules.into_iter().flat_map(|rule| rule.names).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&[]), "read write clone ptrace");
        assert_eq!(names(&["SYS_ADMIN"]), "read write mount ptrace");
        assert!(matches!(profile("[]", &BTreeSet::new()), Err(SeccompError::Form(_))));
    }
}
