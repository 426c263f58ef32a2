//! System call filters: the default profile, and those an OCI specification brings.
//!
//! The container library drops filters silently when built without its C library; here they are
//! compiled by `seccompiler` and installed by [`crate::executor`], and a test proves they act.

mod docker;
mod profile;

pub use profile::default_filters;

use model::service::ProcessSettings;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Programs in the order of installation; of several refusals the last one's number counts.
pub type Filters = Vec<BpfProgram>;

#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error("seccomp action `{0}` is not supported")]
    Action(String),
    #[error("seccomp comparison `{0}` is not supported")]
    Comparison(String),
    #[error("the seccomp profile is not understood: {0}")]
    Form(#[from] serde_json::Error),
    #[error("the seccomp profile could not be compiled: {0}")]
    Compile(String),
}

#[cfg(target_arch = "x86_64")]
const SYSCALLS: &str = include_str!("../data/syscalls-x86_64.txt");
#[cfg(target_arch = "aarch64")]
const SYSCALLS: &str = include_str!("../data/syscalls-aarch64.txt");

/// `linux.seccomp` of an OCI runtime specification.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub default_action: String,
    #[serde(default)]
    pub default_errno_ret: Option<u32>,
    #[serde(default)]
    pub syscalls: Vec<Rule>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub names: Vec<String>,
    pub action: String,
    #[serde(default)]
    pub errno_ret: Option<u32>,
    #[serde(default)]
    pub args: Option<Vec<Argument>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    pub index: u8,
    pub value: u64,
    #[serde(default)]
    pub value_two: u64,
    pub op: String,
}

/// The filters for a program with these settings and capabilities (names without `CAP_`).
pub fn filters_of(
    settings: &ProcessSettings,
    is_privileged: bool,
    capabilities: &BTreeSet<String>,
) -> Result<Filters, SeccompError> {
    match &settings.seccomp_profile {
        _ if is_privileged || settings.seccomp_unconfined => Ok(Vec::new()),
        Some(text) => compile(&docker::profile(text, capabilities)?),
        None => default_filters(capabilities),
    }
}

/// Compiles a profile. A filter has one action, so each action of the profile becomes one.
pub fn compile(profile: &Profile) -> Result<Filters, SeccompError> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let numbers = numbers();
    let mut by_action: Vec<(SeccompAction, BTreeMap<i64, Vec<SeccompRule>>)> = Vec::new();
    for rule in &profile.syscalls {
        let action = action(&rule.action, rule.errno_ret)?;
        if action == default {
            continue;
        }
        let index = by_action.iter().position(|(known, _)| *known == action).unwrap_or_else(|| {
            by_action.push((action, BTreeMap::new()));
            by_action.len() - 1
        });
        add_rule(&mut by_action[index].1, rule, &numbers)?;
    }
    // The filter that allows goes first: it answers the default, which later ones refine.
    by_action.sort_by_key(|(action, _)| *action != SeccompAction::Allow);
    let defaults_to_allow = default == SeccompAction::Allow;
    if !defaults_to_allow && by_action.first().is_none_or(|(action, _)| *action != SeccompAction::Allow) {
        return Err(SeccompError::Compile("it allows nothing".to_owned()));
    }
    by_action
        .into_iter()
        .filter(|(_, rules)| !rules.is_empty())
        .map(|(action, rules)| {
            let mismatch =
                if action == SeccompAction::Allow { default.clone() } else { SeccompAction::Allow };
            build(rules, mismatch, action)
        })
        .collect()
}

fn add_rule(
    rules: &mut BTreeMap<i64, Vec<SeccompRule>>,
    rule: &Rule,
    numbers: &BTreeMap<&str, i64>,
) -> Result<(), SeccompError> {
    let arguments = rule.args.as_deref().unwrap_or_default();
    for name in &rule.names {
        // Names of other architectures are no mistake in a profile.
        let Some(number) = numbers.get(name.as_str()) else { continue };
        if arguments.is_empty() {
            // No condition wins over any condition.
            rules.insert(*number, Vec::new());
        } else if rules.get(number).is_none_or(|known| !known.is_empty()) {
            let conditions = arguments.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
            rules.entry(*number).or_default().push(SeccompRule::new(conditions).map_err(compile_error)?);
        }
    }
    Ok(())
}

fn condition(argument: &Argument) -> Result<SeccompCondition, SeccompError> {
    let mut value = argument.value;
    let operator = match argument.op.as_str() {
        "SCMP_CMP_EQ" => SeccompCmpOp::Eq,
        "SCMP_CMP_NE" => SeccompCmpOp::Ne,
        "SCMP_CMP_LT" => SeccompCmpOp::Lt,
        "SCMP_CMP_LE" => SeccompCmpOp::Le,
        "SCMP_CMP_GT" => SeccompCmpOp::Gt,
        "SCMP_CMP_GE" => SeccompCmpOp::Ge,
        "SCMP_CMP_MASKED_EQ" => {
            value = argument.value_two;
            SeccompCmpOp::MaskedEq(argument.value)
        }
        other => return Err(SeccompError::Comparison(other.to_owned())),
    };
    SeccompCondition::new(argument.index, SeccompCmpArgLen::Qword, operator, value).map_err(compile_error)
}

fn action(name: &str, errno: Option<u32>) -> Result<SeccompAction, SeccompError> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno.unwrap_or(libc::EPERM as u32)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(errno.unwrap_or(libc::EPERM as u32)),
        other => return Err(SeccompError::Action(other.to_owned())),
    })
}

fn build(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    mismatch: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, SeccompError> {
    let arch = std::env::consts::ARCH.try_into().map_err(compile_error)?;
    SeccompFilter::new(rules, mismatch, matched, arch)
        .map_err(compile_error)?
        .try_into()
        .map_err(compile_error)
}

fn compile_error(error: seccompiler::BackendError) -> SeccompError {
    SeccompError::Compile(error.to_string())
}

fn numbers() -> BTreeMap<&'static str, i64> {
    SYSCALLS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(n, v)| Some((n, v.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(names: &[&str], action: &str, args: Option<Vec<Argument>>) -> Rule {
        Rule {
            names: names.iter().map(|n| n.to_string()).collect(),
            action: action.into(),
            errno_ret: None,
            args,
        }
    }

    #[test]
    fn each_action_becomes_a_filter_and_allow_comes_first() {
        let profile = Profile {
            default_action: "SCMP_ACT_ERRNO".into(),
            default_errno_ret: Some(38),
            syscalls: vec![
                rule(&["mount"], "SCMP_ACT_ERRNO", None),
                rule(&["read", "nosuch"], "SCMP_ACT_ALLOW", None),
            ],
        };
        assert_eq!(compile(&profile).unwrap().len(), 2);
        let open = Profile { default_action: "SCMP_ACT_ALLOW".into(), ..Profile::default() };
        assert_eq!(compile(&open).unwrap().len(), 0);
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let profile =
            |syscalls| Profile { default_action: "SCMP_ACT_ALLOW".into(), default_errno_ret: None, syscalls };
        assert!(matches!(
            compile(&profile(vec![rule(&["read"], "SCMP_ACT_NOTIFY", None)])),
            Err(SeccompError::Action(_))
        ));
        let odd = Argument { op: "SCMP_CMP_ODD".into(), ..Argument::default() };
        let refused = compile(&profile(vec![rule(&["read"], "SCMP_ACT_ERRNO", Some(vec![odd]))]));
        assert!(matches!(refused, Err(SeccompError::Comparison(_))));
        let nothing = Profile { default_action: "SCMP_ACT_KILL".into(), ..Profile::default() };
        assert!(compile(&nothing).is_err());
    }

    #[test]
    fn the_table_agrees_with_the_c_library() {
        let numbers = numbers();
        for (name, number) in
            [("read", libc::SYS_read), ("openat2", libc::SYS_openat2), ("clone3", libc::SYS_clone3)]
        {
            assert_eq!(numbers.get(name), Some(&number), "{name}");
        }
    }
}
