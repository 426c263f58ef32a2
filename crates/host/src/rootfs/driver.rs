//! Named volumes that are more than a directory: `driver_opts` of the local driver, which are those of
//! mount(8). Mounted where the instance is prepared, so that nothing is left when it ends.

use crate::record::StartFailure;
use rustix::mount::MountFlags;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

/// Options of mount(8) that are flags to the kernel, and whether they switch on.
const FLAGS: [(&str, MountFlags, bool); 16] = [
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("relatime", MountFlags::RELATIME, true),
    ("strictatime", MountFlags::STRICTATIME, true),
];

/// How a volume is mounted.
#[derive(Debug, PartialEq)]
struct Wish<'a> {
    kind: &'a str,
    device: &'a str,
    /// Bind mounts: `Some(true)` takes what is mounted below as well.
    bind: Option<bool>,
    flags: MountFlags,
    data: String,
}

impl<'a> Wish<'a> {
    fn of(options: &'a BTreeMap<String, String>) -> Self {
        let text = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
        let mut wish = Self {
            kind: text("type"),
            device: text("device"),
            bind: None,
            flags: MountFlags::empty(),
            data: String::new(),
        };
        let mut data = Vec::new();
        for option in text("o").split(',').map(str::trim).filter(|option| !option.is_empty()) {
            match FLAGS.iter().find(|(name, _, _)| *name == option) {
                Some((_, flag, on)) => wish.flags.set(*flag, *on),
                None if option == "bind" || option == "rbind" => wish.bind = Some(option == "rbind"),
                None => data.push(option),
            }
        }
        wish.data = data.join(",");
        wish
    }
}

/// Whether these options ask for anything beyond a directory.
pub fn asks_for_a_mount(options: &BTreeMap<String, String>) -> bool {
    ["type", "device", "o"].iter().any(|key| options.get(*key).is_some_and(|value| !value.is_empty()))
}

/// Mounts at `place`.
pub fn mount(place: &Path, options: &BTreeMap<String, String>) -> Result<(), StartFailure> {
    let wish = Wish::of(options);
    let failed = |error: io::Error| StartFailure::Mount {
        path: wish.device.into(),
        reason: format!("the volume cannot be mounted (type `{}`): {error}", wish.kind),
    };
    if let Some(recursive) = wish.bind {
        return bind(place, &wish, recursive).map_err(failed);
    }
    let data = with_address(&wish.data).map_err(failed)?;
    let data = CString::new(data).map_err(|error| failed(error.into()))?;
    rustix::mount::mount(wish.device, place, wish.kind, wish.flags, &*data)
        .map_err(|errno| failed(errno.into()))
}

fn bind(place: &Path, wish: &Wish<'_>, recursive: bool) -> io::Result<()> {
    let bind = if recursive {
        rustix::mount::mount_bind_recursive
    } else {
        |from, to| rustix::mount::mount_bind(from, to)
    };
    bind(Path::new(wish.device), place)?;
    if !wish.flags.is_empty() {
        rustix::mount::mount_remount(place, MountFlags::BIND | wish.flags, c"")?;
    }
    Ok(())
}

/// The kernel wants `addr=` as an address; files give names.
fn with_address(data: &str) -> io::Result<String> {
    let part = |option: &str| match option.strip_prefix("addr=") {
        Some(name) if name.parse::<IpAddr>().is_err() => {
            let found = (name, 0).to_socket_addrs()?.next();
            let address = found.ok_or_else(|| io::Error::other(format!("`{name}` has no address")))?;
            Ok(format!("addr={}", address.ip()))
        }
        _ => Ok(option.to_owned()),
    };
    Ok(data.split(',').map(part).collect::<io::Result<Vec<_>>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn options_are_read_as_mount_reads_them() {
        let all =
            options(&[("type", "nfs"), ("device", ":/export"), ("o", "addr=10.0.0.1,nolock,soft,ro,rw")]);
        let wish = Wish::of(&all);
        assert_eq!((wish.kind, wish.device, wish.bind), ("nfs", ":/export", None));
        assert_eq!((wish.flags, wish.data.as_str()), (MountFlags::empty(), "addr=10.0.0.1,nolock,soft"));
        let all = options(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]);
        assert_eq!((Wish::of(&all).bind, Wish::of(&all).flags), (Some(false), MountFlags::RDONLY));
        assert!(!asks_for_a_mount(&options(&[("type", "")])));
        assert_eq!(with_address("addr=127.0.0.1,soft").unwrap(), "addr=127.0.0.1,soft");
        assert_eq!(with_address("").unwrap(), "");
    }
}
