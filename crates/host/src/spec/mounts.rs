//! The `mounts` of a bundle: kernel file systems, volumes, placed files.

use crate::cgroup::Hierarchies;
use crate::durable;
use crate::record::{Job, JobNetwork, StartFailure};
use crate::rootfs::{Source, Tree, prepare_source};
use model::instance::InstanceNetwork;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A mount of the service, made ready.
pub struct Prepared {
    target: String,
    read_only: bool,
    options: Vec<String>,
    source: Source,
}

/// Of a read-only mount: what is mounted below it may be written to.
const WRITABLE_BELOW: &str = "writable-below";

const DEFAULT_SHM_BYTES: u64 = 64 << 20;
/// In `extra_hosts`: the address of this host.
const HOST_GATEWAY: &str = "host-gateway";
const HOST_RESOLVER: &str = "/etc/resolv.conf";
/// Domains looked through at most, as the C library has it.
const MAX_SEARCH: usize = 6;

/// Makes ready what the service mounts, in the order in which it is to be mounted.
pub fn prepare_mounts(job: &Job, tree: &Tree) -> Result<Vec<Prepared>, StartFailure> {
    let mut prepared = Vec::new();
    for (number, mount) in job.spec.mounts.iter().enumerate() {
        if !mount.target.starts_with('/') || mount.target == "/" {
            let reason = "a mount needs an absolute path below the root".to_owned();
            return Err(StartFailure::Mount { path: mount.target.clone().into(), reason });
        }
        let source = prepare_source(number, mount, &job.layout, &job.volumes, tree)?;
        let (target, options) = (mount.target.clone(), mount.options.clone());
        prepared.push(Prepared { target, read_only: mount.read_only, options, source });
    }
    prepared.extend(place_files(job)?);
    for (path, target) in super::limits::bound_devices(job)? {
        let (options, source) = (Vec::new(), Source::Path { path, recursive: false });
        prepared.push(Prepared { target, read_only: false, options, source });
    }
    share_memory(job)?;
    // Outer directories first.
    prepared.sort_by_key(|mount| Path::new(&mount.target).components().count());
    Ok(prepared)
}

pub fn section(job: &Job, prepared: &[Prepared], hierarchies: &Hierarchies) -> Value {
    let mut mounts = kernel_mounts(job, hierarchies);
    let own_dev = |path: &str| path == "/dev/shm" || path == "/dev/mqueue";
    mounts.retain(|mount| {
        let target = mount["destination"].as_str().unwrap_or_default();
        !(own_dev(target) && prepared.iter().any(|own| own.target == target))
    });
    mounts.extend(prepared.iter().map(Prepared::section));
    Value::Array(mounts)
}

fn kernel_mounts(job: &Job, hierarchies: &Hierarchies) -> Vec<Value> {
    let process = &job.spec.process;
    let shm_bytes = process.shm_size.map_or(DEFAULT_SHM_BYTES, |size| size.0);
    let kernel = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // The group of terminals, where there are groups.
    terminals.extend(job.unprivileged.as_ref().is_none_or(|user| user.has_ranges).then_some("gid=5"));
    let mut mounts = vec![
        kernel("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        kernel("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        kernel("/dev/pts", "devpts", &terminals),
    ];
    if process.host_ipc || job.ipc_of.is_some() {
        // Of another instance: taken over by [`share_memory`].
        let source = if process.host_ipc { "/dev/shm".into() } else { job.layout.shared_memory() };
        mounts.push(
            json!({ "destination": "/dev/shm", "type": "bind", "source": source, "options": ["rbind"] }),
        );
    } else {
        let size = format!("size={shm_bytes}");
        mounts.push(kernel("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
    }
    mounts.push(kernel("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    let sys: &[&str] = if process.privileged {
        &["nosuid", "noexec", "nodev"]
    } else {
        &["nosuid", "noexec", "nodev", "ro"]
    };
    mounts.push(match (&job.network, &job.unprivileged) {
        // The kernel shows a network's own view of /sys only to those whose network it is.
        (JobNetwork::Host, Some(_)) => json!({ "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "rro"] }),
        _ => kernel("/sys", "sysfs", sys),
    });
    // On v1 the container library ignores `ro` here, and root inside could raise its own limits.
    if hierarchies.are_the_librarys() {
        let options: &[&str] = &["nosuid", "noexec", "nodev", "relatime", "ro"];
        mounts.push(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options }));
    }
    mounts
}

impl Prepared {
    fn section(&self) -> Value {
        let mut options = Vec::new();
        let (kind, source) = match &self.source {
            Source::Path { path, recursive } => {
                options.push(if *recursive { "rbind" } else { "bind" }.to_owned());
                let propagation = self.options.iter().find(|option| is_propagation(option));
                options.push(propagation.map_or("rprivate", String::as_str).to_owned());
                ("bind", path.clone())
            }
            Source::Memory { size, mode } => {
                options.extend(["noexec", "nosuid", "nodev"].map(str::to_owned));
                options.push(format!("mode={mode:o}"));
                options.extend(size.map(|size| format!("size={size}")));
                options.extend(self.options.iter().cloned());
                ("tmpfs", PathBuf::from("tmpfs"))
            }
        };
        if self.read_only {
            let is_deep = matches!(self.source, Source::Path { recursive: true, .. });
            let is_writable_below = self.options.iter().any(|option| option == WRITABLE_BELOW);
            options.push(if is_deep && !is_writable_below { "rro" } else { "ro" }.to_owned());
        }
        json!({ "destination": self.target, "type": kind, "source": source, "options": options })
    }
}

/// Makes the `/dev/shm` of the instance whose memory is shared one of this name space.
fn share_memory(job: &Job) -> Result<(), StartFailure> {
    let Some(pid) = job.ipc_of else { return Ok(()) };
    let place = job.layout.shared_memory();
    let failed = |error: io::Error| StartFailure::Mount { path: place.clone(), reason: error.to_string() };
    durable::make_private_dir(&place).map_err(failed)?;
    crate::sys::take_mount(pid, Path::new("/dev/shm"), &place).map_err(failed)
}

fn is_propagation(option: &str) -> bool {
    matches!(option, "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared")
}

/// Names, resolver and configs as files in a directory that only root can enter, on a tmpfs.
fn place_files(job: &Job) -> Result<Vec<Prepared>, StartFailure> {
    let placed = job.layout.placed();
    let failed = |path: &Path, error: io::Error| StartFailure::Mount {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    durable::remove_tree(&placed)
        .and_then(|()| durable::make_private_dir(&placed))
        .map_err(|e| failed(&placed, e))?;
    let mut list = Vec::new();
    let mut bind = |path: PathBuf, target: String, read_only: bool| {
        let (options, source) = (Vec::new(), Source::Path { path, recursive: false });
        list.push(Prepared { target, read_only, options, source });
    };
    for (name, content) in system_files(job) {
        let target = format!("/etc/{name}");
        if job.spec.mounts.iter().any(|mount| mount.target == target) {
            continue;
        }
        let path = placed.join(name);
        write_file(&path, content.as_bytes(), (0, 0), 0o644).map_err(|e| failed(&path, e))?;
        bind(path, target, false);
    }
    for (number, file) in job.spec.files.iter().enumerate() {
        let path = placed.join(number.to_string());
        let content = fs::read(&file.source).map_err(|e| failed(&file.source, e))?;
        write_file(&path, &content, (file.uid, file.gid), file.mode).map_err(|e| failed(&path, e))?;
        bind(path, file.target.clone(), true);
    }
    Ok(list)
}

fn write_file(path: &Path, content: &[u8], owner: (u32, u32), mode: u32) -> io::Result<()> {
    use io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    chown(path, Some(owner.0), Some(owner.1))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))
}

fn system_files(job: &Job) -> Vec<(&'static str, String)> {
    if let Some(files) = files_of_other(job) {
        return files;
    }
    let hostname = match job.spec.process.host_uts {
        true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        false => job.spec.hostname.clone(),
    };
    let mut files = vec![("hostname", format!("{hostname}\n")), ("hosts", hosts(job))];
    if let Some(resolver) = resolver(job) {
        files.push(("resolv.conf", resolver));
    }
    files
}

/// Who shares another instance's network shares its names.
fn files_of_other(job: &Job) -> Option<Vec<(&'static str, String)>> {
    let InstanceNetwork::Instance { id } = &job.spec.network else { return None };
    let placed = job.layout.runtime.with_file_name(id.as_str()).join("placed");
    let read = |name| Some((name, fs::read_to_string(placed.join(name)).ok()?));
    Some(["hosts", "resolv.conf"].into_iter().filter_map(read).collect())
}

fn hosts(job: &Job) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    let own = match &job.spec.network {
        InstanceNetwork::Links { links, .. } => links.first().map(|link| link.address.to_string()),
        _ => Some("127.0.1.1".to_owned()),
    };
    let domain = job.spec.process.domainname.as_deref().filter(|domain| !domain.is_empty());
    if let Some(own) = own {
        let full = domain.map(|domain| format!("{}.{domain} ", job.spec.hostname)).unwrap_or_default();
        let _ = writeln!(text, "{own}\t{full}{}", job.spec.hostname);
    }
    for (name, addresses) in &job.spec.process.extra_hosts {
        for address in addresses {
            let address = if address == HOST_GATEWAY { host_address(job) } else { address.clone() };
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    text
}

/// Where this host is reached: at the bridge of the network, or here.
fn host_address(job: &Job) -> String {
    match &job.spec.network {
        InstanceNetwork::Links { links, .. } => links.first().map(|link| link.network.gateway.to_string()),
        _ => None,
    }
    .unwrap_or_else(|| "127.0.0.1".to_owned())
}

/// `None` leaves the image's own file, which is right where there is no network.
fn resolver(job: &Job) -> Option<String> {
    let process = &job.spec.process;
    let servers: Vec<String> = match &job.spec.network {
        InstanceNetwork::Links { dns, .. } => dns.iter().map(ToString::to_string).collect(),
        _ => process.dns.iter().map(ToString::to_string).collect(),
    };
    let shares_host = matches!(job.network, JobNetwork::Host);
    if servers.is_empty() && shares_host {
        return fs::read_to_string(HOST_RESOLVER).ok();
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let search = search(&process.dns_search, &fs::read_to_string(HOST_RESOLVER).unwrap_or_default());
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    // Names without a dot are those of the stack: they come first unless something else is declared.
    let says_dots = process.dns_opt.iter().any(|option| option.starts_with("ndots:"));
    let options = (!says_dots).then_some("ndots:0").into_iter();
    let options: Vec<&str> = options.chain(process.dns_opt.iter().map(String::as_str)).collect();
    let _ = writeln!(text, "options {}", options.join(" "));
    Some(text)
}

/// The domains that names are looked for in: declared, where `.` says none, else those of the host.
fn search(declared: &[String], host: &str) -> Vec<String> {
    let of_host = || {
        let mut lines = host.lines().filter_map(|line| line.trim().strip_prefix("search"));
        let line = lines.next_back().unwrap_or_default();
        line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = if declared.is_empty() { of_host() } else { declared.to_vec() };
    all.into_iter().filter(|domain| domain != ".").take(MAX_SEARCH).collect()
}

#[cfg(test)]
mod tests {
    use super::search;

    #[test]
    fn domains_are_those_declared_or_the_hosts() {
        let host = "nameserver 10.0.0.1\nsearch old\nsearch lan example.org\n";
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        for (declared, expect) in
            [(&[][..], &["lan", "example.org"][..]), (&["a.b"], &["a.b"]), (&["."], &[])]
        {
            assert_eq!(search(&texts(declared), host), texts(expect), "{declared:?}");
        }
        assert!(search(&[], "").is_empty());
    }
}
