//! How full file systems are.
//!
//! A mount whose server is gone holds whoever asks it, for ever. So a thread of its own asks; when it
//! does not come back, its mount is reported as failed and another thread asks the others.

use crate::collect::text::words;
use crate::collect::{Kept, Sink};
use rustix::fs::StatVfsMountFlags;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// How long one file system may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Threads that may be held at the same time; then nothing is asked any more.
const HELD_MAX: usize = 8;
/// The most file systems that are looked at.
const MOUNTS_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device: String,
    point: String,
    kind: String,
}

/// Asks file systems, now and then.
#[derive(Debug, Default)]
pub struct Filesystems {
    /// Mounts that have not answered yet.
    held: Arc<Mutex<Vec<String>>>,
}

impl Filesystems {
    /// Takes as long as all of them, and two seconds for each that does not answer.
    pub fn collect(&self) -> Kept {
        let text =
            ["/proc/1/mounts", "/proc/self/mounts"].iter().find_map(|path| fs::read_to_string(path).ok());
        let mut kept = Kept::default();
        for mount in mounts(&text.unwrap_or_default()) {
            let labels =
                [("device", &*mount.device), ("fstype", &*mount.kind), ("mountpoint", &*mount.point)];
            match self.ask(&mount.point) {
                Some(figures) => put(&labels, &figures, &mut kept),
                None => kept.gauge("node_filesystem_device_error", &labels, 1.0),
            }
        }
        kept
    }

    fn ask(&self, point: &str) -> Option<Figures> {
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.len() >= HELD_MAX || held.iter().any(|held| held == point) {
                return None;
            }
            held.push(point.to_owned());
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let (asked, held) = (point.to_owned(), Arc::clone(&self.held));
        let asking = std::thread::Builder::new().name("filesystem".into()).spawn(move || {
            let figures = Figures::of(&PathBuf::from(&asked));
            held.lock().unwrap_or_else(PoisonError::into_inner).retain(|held| *held != asked);
            // Nobody waits any more when it took too long.
            let _ = answer.send(figures);
        });
        if asking.is_err() {
            self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|held| held != point);
            return None;
        }
        answered.recv_timeout(ANSWER).ok().flatten()
    }
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    size: f64,
    free: f64,
    available: f64,
    files: f64,
    files_free: f64,
    is_readonly: bool,
}

impl Figures {
    fn of(point: &std::path::Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(point).ok()?;
        let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
        Some(Self {
            size: bytes(stat.f_blocks),
            free: bytes(stat.f_bfree),
            available: bytes(stat.f_bavail),
            files: stat.f_files as f64,
            files_free: stat.f_ffree as f64,
            is_readonly: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }
}

fn put(labels: &[(&str, &str)], figures: &Figures, sink: &mut dyn Sink) {
    sink.gauge("node_filesystem_device_error", labels, 0.0);
    sink.gauge("node_filesystem_size_bytes", labels, figures.size);
    sink.gauge("node_filesystem_free_bytes", labels, figures.free);
    sink.gauge("node_filesystem_avail_bytes", labels, figures.available);
    sink.gauge("node_filesystem_files", labels, figures.files);
    sink.gauge("node_filesystem_files_free", labels, figures.files_free);
    sink.gauge("node_filesystem_readonly", labels, if figures.is_readonly { 1.0 } else { 0.0 });
}

/// File systems that hold no data of anybody.
const KINDS_WITHOUT: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

/// Below these nothing is looked at.
const POINTS_WITHOUT: &[&str] =
    &["/dev", "/proc", "/sys", "/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"];

/// `/proc/mounts`, each mount point once; blanks in it are written in octal.
fn mounts(text: &str) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    for line in text.lines() {
        let mut words = words(line);
        let (Some(device), Some(point), Some(kind)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let is_below = |parent: &str| {
            point.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if KINDS_WITHOUT.contains(&kind) || POINTS_WITHOUT.iter().any(|parent| is_below(parent)) {
            continue;
        }
        let point = point.replace("\\040", " ").replace("\\011", "\t");
        // The last one lies over those before.
        found.retain(|mount| mount.point != point);
        found.push(Mount { device: device.to_owned(), point, kind: kind.to_owned() });
        if found.len() == MOUNTS_MAX {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_that_hold_data() {
        let text = "proc /proc proc rw 0 0\n/dev/vda / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/vdb /my\\040disk xfs rw 0 0\noverlay /x overlay rw 0 0\ntmpfs /devices tmpfs rw 0 0\n/dev/vdc / ext4 rw 0 0\n";
        let found: Vec<String> = mounts(text).iter().map(|m| format!("{} {}", m.device, m.point)).collect();
        assert_eq!(found, ["/dev/vdb /my disk", "tmpfs /devices", "/dev/vdc /"]);
    }

    #[test]
    fn one_that_is_held_is_not_asked_again_and_the_others_are() {
        let filesystems = Filesystems::default();
        filesystems.held.lock().unwrap().push("/nfs".into());
        assert!(filesystems.ask("/nfs").is_none());
        assert!(filesystems.ask("/").is_some_and(|figures| figures.size > 0.0));
        assert_eq!(*filesystems.held.lock().unwrap(), ["/nfs"]);
        filesystems.held.lock().unwrap().extend((1..HELD_MAX).map(|number| format!("/nfs{number}")));
        assert!(filesystems.ask("/").is_none(), "threads have a limit");
        let text = Filesystems::default().collect().to_string();
        assert!(text.contains("node_filesystem_size_bytes{"), "{text}");
    }
}
