//! From an instance's specification to the OCI runtime specification of its bundle.

mod limits;
mod mounts;

pub use limits::resources;
pub use mounts::{Prepared, prepare_mounts};

use crate::capabilities;
use crate::cgroup::Hierarchies;
use crate::record::{Job, JobNetwork, StartFailure};
use crate::rootfs::Tree;
use crate::rootless::IdMap;
use crate::users::{Accounts, Identity};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Everything that the start needs to know.
pub struct Plan {
    /// `config.json`; without capabilities and filter, which the executor sets.
    pub config: Value,
    pub identity: Identity,
    pub capabilities: BTreeSet<String>,
}

/// Hidden from programs: what tells about or reaches into the machine.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `resources` are those of [`resources`]; the container library gets them where it is to apply them.
pub fn plan(
    job: &Job,
    tree: &Tree,
    mounts: &[Prepared],
    hierarchies: &Hierarchies,
    resources: &Value,
) -> Result<Plan, StartFailure> {
    let process = &job.spec.process;
    let identity = identify(job, tree, process.user.as_deref())?;
    let capabilities = capabilities::resolve(&process.cap_add, &process.cap_drop, process.privileged)
        .map_err(program_problem)?;
    let cwd = working_dir(job, process.working_dir.as_deref());
    tree.make_dirs(Path::new(&cwd), Some((identity.uid, identity.gid))).map_err(|error| {
        StartFailure::Mount { path: cwd.clone().into(), reason: format!("working directory: {error}") }
    })?;
    let config = json!({
        "ociVersion": "1.0.2",
        "hostname": (!process.host_uts).then_some(&job.spec.hostname),
        "domainname": process.domainname.as_ref().filter(|_| !process.host_uts),
        "annotations": process.annotations,
        "root": { "path": job.layout.rootfs(), "readonly": process.read_only },
        "process": process_section(job, &identity, &cwd, &job.spec.argv)?,
        "mounts": mounts::section(job, mounts, hierarchies),
        "linux": linux_section(job, hierarchies, resources)?,
    });
    Ok(Plan { config: without_nulls(config), identity, capabilities })
}

/// Resolves a user by the accounts in the instance's file tree.
pub fn identify(job: &Job, tree: &Tree, user: Option<&str>) -> Result<Identity, StartFailure> {
    let read =
        |path: &str| tree.read_to_string(path).map_err(|error| program_problem(format!("{path}: {error}")));
    let accounts = Accounts { passwd: read("/etc/passwd")?, group: read("/etc/group")? };
    let user = user.unwrap_or(&job.spec.image_config.user);
    let mut identity = accounts.resolve(user, &job.spec.process.group_add).map_err(program_problem)?;
    if job.unprivileged.is_some() {
        check_mapped(&mut identity, &job.spec.process.group_add).map_err(program_problem)?;
    }
    Ok(identity)
}

/// In a user name space there are only the users and groups that were given to it.
fn check_mapped(identity: &mut Identity, declared: &[String]) -> Result<(), String> {
    let (users, groups) = (IdMap::of_users(), IdMap::of_groups());
    let refused = |what: &str, id: u32| {
        format!(
            "there is no {what} {id} among the ids of whoever runs juchu; `juchu doctor` shows how ids are had"
        )
    };
    if !users.has(identity.uid) {
        return Err(refused("user", identity.uid));
    }
    let groups_of_user = identity.supplementary.iter().filter(|_| !declared.is_empty());
    if let Some(missing) = groups_of_user.chain([&identity.gid]).find(|group| !groups.has(**group)) {
        return Err(refused("group", *missing));
    }
    // Those that only the image's accounts speak of.
    identity.supplementary.retain(|group| groups.has(*group) && !groups.is_single());
    Ok(())
}

pub fn working_dir(job: &Job, asked: Option<&str>) -> String {
    let dir = asked.unwrap_or(&job.spec.image_config.working_dir);
    if dir.is_empty() { "/".to_owned() } else { dir.to_owned() }
}

/// The `process` part, for the instance's program or for a command run inside.
pub fn process_section(
    job: &Job,
    identity: &Identity,
    cwd: &str,
    argv: &[String],
) -> Result<Value, StartFailure> {
    if !cwd.starts_with('/') {
        return Err(program_problem(format!("the working directory `{cwd}` is not absolute")));
    }
    let mut environment = crate::users::complete_environment(&job.spec.environment, identity);
    if job.spec.process.tty {
        environment.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
    }
    let environment: Vec<String> = environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(json!({
        "terminal": job.spec.process.tty,
        "user": { "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.supplementary, "umask": 0o022 },
        "args": argv,
        "env": environment,
        "cwd": cwd,
        "rlimits": limits::rlimits(&job.spec.process.ulimits)?,
        "noNewPrivileges": job.spec.process.no_new_privileges,
    }))
}

fn linux_section(job: &Job, hierarchies: &Hierarchies, resources: &Value) -> Result<Value, StartFailure> {
    let privileged = job.spec.process.privileged;
    Ok(json!({
        "namespaces": namespaces(job, hierarchies),
        "cgroupsPath": hierarchies.group(job.spec.id.as_str()).path(),
        "resources": if hierarchies.are_the_librarys() { resources.clone() } else { Value::Null },
        "devices": limits::devices(job)?,
        "sysctl": sysctls(job),
        "maskedPaths": if privileged { json!([]) } else { json!(MASKED) },
        "readonlyPaths": if privileged { json!([]) } else { json!(READ_ONLY) },
        "rootfsPropagation": "slave",
    }))
}

fn namespaces(job: &Job, hierarchies: &Hierarchies) -> Value {
    let process = &job.spec.process;
    let mut list = vec![json!({"type": "mount"})];
    if !process.host_uts {
        list.push(json!({"type": "uts"}));
    }
    let mut own_or_of = |kind: &str, is_host: bool, of: Option<i32>| match of {
        Some(pid) => list.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{kind}")})),
        None if is_host => {}
        None => list.push(json!({"type": kind})),
    };
    own_or_of("pid", process.host_pid, job.pid_of);
    own_or_of("ipc", process.host_ipc, job.ipc_of);
    if hierarchies.are_the_librarys() && !process.host_cgroup {
        list.push(json!({"type": "cgroup"}));
    }
    match &job.network {
        JobNetwork::Host => {}
        JobNetwork::None => list.push(json!({"type": "network"})),
        JobNetwork::Path(path) => list.push(json!({"type": "network", "path": path})),
    }
    Value::Array(list)
}

/// In a network of its own a program may bind low ports and send pings without being root.
fn sysctls(job: &Job) -> Value {
    let mut sysctls = job.spec.process.sysctls.clone();
    if matches!(job.network, JobNetwork::Path(_)) {
        sysctls.entry("net.ipv4.ip_unprivileged_port_start".to_owned()).or_insert_with(|| "0".to_owned());
        sysctls.entry("net.ipv4.ping_group_range".to_owned()).or_insert_with(|| net::all_groups(' '));
    }
    json!(sysctls)
}

fn program_problem(reason: String) -> StartFailure {
    StartFailure::Program { reason, code: 125 }
}

/// Absent and null differ for the specification's readers.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        other => other,
    }
}
