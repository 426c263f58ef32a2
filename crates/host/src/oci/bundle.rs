//! From a bundle's `config.json` to what the container library may be given.
//!
//! Filter and capabilities go to the executor, which puts them in force; limits of v1 are applied
//! here; its cgroup mount becomes read-only binds, because the library would mount it writable.

use super::hooks;
use crate::capabilities;
use crate::cgroup::Hierarchies;
use crate::seccomp::{self, Filters, Profile};
use crate::sys::CapabilityBits;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where containers whose specification names no group are placed.
const DEFAULT_PARENT: &str = "/juchu-oci";

pub struct Bundle {
    /// As it was written.
    pub original: Value,
    /// As the container library gets it.
    pub adapted: Value,
    /// `linux.resources`.
    pub resources: Value,
    pub cgroup: String,
}

/// `own` is a directory below which groups will be bound, by [`bind_groups`].
pub fn read(dir: &Path, own: &Path, id: &str, hierarchies: &Hierarchies) -> Result<Bundle, String> {
    let path = dir.join("config.json");
    let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let original: Value =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut adapted = original.clone();
    let root = adapted.pointer_mut("/root/path").ok_or("config.json has no root.path")?;
    let absolute = dir.join(root.as_str().ok_or("root.path is not a text")?);
    *root = json!(absolute);
    let cgroup = cgroup_path(&original, id)?;
    let linux =
        adapted.get_mut("linux").and_then(Value::as_object_mut).ok_or("config.json has no linux section")?;
    linux.insert("cgroupsPath".to_owned(), json!(cgroup));
    linux.remove("seccomp");
    let resources = linux.get("resources").cloned().unwrap_or_default();
    if !hierarchies.is_pure_v2() {
        linux.remove("resources");
    }
    if let Some(process) = adapted.get_mut("process").and_then(Value::as_object_mut) {
        process.remove("capabilities");
    }
    adapt_mounts(&mut adapted, hierarchies, &cgroup, own);
    hooks::adapt(&mut adapted, dir);
    Ok(Bundle { original, adapted, resources, cgroup })
}

fn cgroup_path(original: &Value, id: &str) -> Result<String, String> {
    match original.pointer("/linux/cgroupsPath").and_then(Value::as_str) {
        None | Some("") => Ok(format!("{DEFAULT_PARENT}/{id}")),
        Some(path) if path.split(':').count() == 3 => {
            Err(format!("cgroupsPath `{path}` is for systemd; use the engine's cgroupfs manager"))
        }
        Some(path) if path.split('/').any(|part| part == "..") => {
            Err(format!("cgroupsPath `{path}` leads upwards"))
        }
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        Some(path) => Ok(format!("{DEFAULT_PARENT}/{path}")),
    }
}

fn adapt_mounts(config: &mut Value, hierarchies: &Hierarchies, cgroup: &str, own: &Path) {
    let Some(mounts) = config.get_mut("mounts").and_then(Value::as_array_mut) else { return };
    let mut adapted = Vec::new();
    for mut mount in mounts.drain(..) {
        if mount["type"] == "cgroup" && !hierarchies.is_pure_v2() {
            adapted.extend(read_only_groups(&mount, hierarchies, cgroup, own));
            continue;
        }
        if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            // An extension of one engine that the library would hand to the kernel.
            options.retain(|option| option != "tmpcopyup");
        }
        adapted.push(mount);
    }
    *mounts = adapted;
}

fn read_only_groups(mount: &Value, hierarchies: &Hierarchies, cgroup: &str, own: &Path) -> Vec<Value> {
    let target = mount["destination"].as_str().unwrap_or("/sys/fs/cgroup");
    let mut mounts = vec![json!({
        "destination": target, "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "noexec", "nodev", "mode=755"],
    })];
    mounts.extend(hierarchies.at(cgroup).v1_dirs().keys().map(|name| {
        json!({
            "destination": format!("{target}/{name}"), "type": "bind", "source": groups_dir(own).join(name),
            "options": ["bind", "ro", "nosuid", "noexec", "nodev"],
        })
    }));
    mounts
}

fn groups_dir(own: &Path) -> PathBuf {
    own.join("groups")
}

/// Makes the groups reachable below `own` where the bundle mounts them, because the container
/// library is about to be shown another tree in their place. In a mount name space of its own.
pub fn bind_groups(bundle: &Bundle, own: &Path, hierarchies: &Hierarchies) -> io::Result<()> {
    let dir = groups_dir(own);
    let mounts = bundle.adapted["mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_mounted =
        |mount: &Value| mount["source"].as_str().is_some_and(|source| Path::new(source).starts_with(&dir));
    if !mounts.iter().any(is_mounted) {
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    // In memory, so that there is nothing to remove later.
    rustix::mount::mount("tmpfs", &dir, "tmpfs", rustix::mount::MountFlags::empty(), None)?;
    for (name, group) in hierarchies.at(&bundle.cgroup).v1_dirs() {
        fs::create_dir(dir.join(&name))?;
        rustix::mount::mount_bind(group, dir.join(name))?;
    }
    Ok(())
}

/// The filters of a specification; none where it has none.
pub fn filters(original: &Value) -> Result<Filters, String> {
    let Some(section) = original.pointer("/linux/seccomp").filter(|section| !section.is_null()) else {
        return Ok(Filters::new());
    };
    let profile: Profile =
        serde_json::from_value(section.clone()).map_err(|error| format!("linux.seccomp: {error}"))?;
    seccomp::compile(&profile).map_err(|error| error.to_string())
}

/// The capabilities of a process section; `None` leaves all, as the specification says.
pub fn capability_bits(process: &Value) -> Option<CapabilityBits> {
    let sets = process.get("capabilities").filter(|sets| !sets.is_null())?;
    let bits = |name: &str| {
        let names = sets[name].as_array().map(Vec::as_slice).unwrap_or_default();
        // What this process itself lacks cannot be given on.
        capabilities::bits(names.iter().filter_map(Value::as_str)) & crate::sys::effective_capabilities()
    };
    Some(CapabilityBits {
        bounding: bits("bounding"),
        effective: bits("effective"),
        permitted: bits("permitted"),
        inheritable: bits("inheritable"),
        ambient: bits("ambient"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_paths_become_absolute() {
        let path = |value: Value| cgroup_path(&json!({ "linux": { "cgroupsPath": value } }), "c1");
        assert_eq!(path(Value::Null), Ok("/juchu-oci/c1".to_owned()));
        assert_eq!(path(json!("/a/b")), Ok("/a/b".to_owned()));
        assert_eq!(path(json!("a")), Ok("/juchu-oci/a".to_owned()));
        assert!(path(json!("system.slice:x:y")).is_err());
        assert!(path(json!("/a/../b")).is_err());
    }

    #[test]
    fn the_library_gets_neither_filter_nor_capabilities() {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "root": { "path": "rootfs" },
            "process": { "capabilities": { "bounding": ["CAP_CHOWN"] } },
            "mounts": [{ "destination": "/run", "type": "tmpfs", "options": ["tmpcopyup", "nodev"] }],
            "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW" } },
        });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let bundle = read(dir.path(), dir.path(), "c1", &Hierarchies::detect().unwrap()).unwrap();
        assert_eq!(bundle.adapted["root"]["path"], json!(dir.path().join("rootfs")));
        assert_eq!(bundle.adapted["process"], json!({}));
        assert_eq!(bundle.adapted["linux"], json!({ "cgroupsPath": "/juchu-oci/c1" }));
        assert_eq!(bundle.adapted["mounts"][0]["options"], json!(["nodev"]));
        assert_eq!(filters(&bundle.original).unwrap().len(), 0);
        assert!(capability_bits(&bundle.original["process"]).is_some());
        assert!(capability_bits(&json!({})).is_none());
    }
}
