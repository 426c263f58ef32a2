//! What a layer turns into on disk: hidden files, owners, replaced entries.

use super::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use tar::Header;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A tar in the making, entry by entry.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
    fn entry(mut self, path: &str, kind: EntryType, mode: u32, owner: u64, content: &str) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }
    fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, EntryType::Regular, 0o644, 0, content)
    }
    fn directory(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, 0o755, 0, "")
    }
    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }
    fn unpack(self) -> (tempfile::TempDir, Result<Vec<String>, BuildError>) {
        let directory = tempfile::tempdir().unwrap();
        let bytes = self.0.into_inner().unwrap();
        let done = stream_into(&bytes[..], bytes.len() as u64, directory.path(), Limits::default(), &GO_ON);
        (directory, done)
    }
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0u8; 8];
    let name = "trusted.overlay.opaque";
    rustix::fs::getxattr(path, name, &mut value[..]).is_ok_and(|n| &value[..n] == b"y")
}

#[test]
fn hidden_files_become_the_overlays_form() {
    if !testkit::require_root("hidden_files_become_the_overlays_form") {
        return;
    }
    let layer = Layer::new()
        .directory("etc/")
        .file("etc/.wh.gone", "")
        .file(".wh.top", "")
        .directory("all/")
        .file("all/.wh..wh..opq", "")
        .file("all/kept", "x")
        .file(".wh.replaced", "")
        .directory("replaced/")
        .directory("first/")
        .file(".wh.first", "")
        .file(".wh..wh.plnk", "");
    let (root, done) = layer.unpack();
    assert_eq!(done.unwrap(), Vec::<String>::new());
    let at = |path: &str| root.path().join(path);
    assert!(is_whiteout(&at("etc/gone")) && is_whiteout(&at("top")));
    assert!(is_opaque(&at("all")) && at("all/kept").is_file());
    assert!(is_opaque(&at("replaced")) && is_opaque(&at("first")));
    let names: Vec<_> = fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".wh.")), "{names:?}");
}

#[test]
fn owners_permissions_times_and_capabilities_are_kept() {
    if !testkit::require_root("owners_permissions_times_and_capabilities_are_kept") {
        return;
    }
    // Version 2, cap_net_bind_service, effective.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Layer::new()
        .entry("d/", EntryType::Directory, 0o1770, 7, "")
        .entry("d/suid", EntryType::Regular, 0o6755, 1000, "x")
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("uid", b"3000000"),
            ("mtime", b"2000000.5"),
        ])
        .entry("d/cap", EntryType::Regular, 0o755, 0, "x");
    let (root, done) = layer.unpack();
    done.unwrap();
    let meta = |path: &str| fs::symlink_metadata(root.path().join(path)).unwrap();
    let (suid, directory, cap) = (meta("d/suid"), meta("d"), meta("d/cap"));
    assert_eq!((suid.mode() & 0o7777, suid.uid(), suid.gid(), suid.mtime()), (0o6755, 1000, 1000, 1_000_000));
    assert_eq!((directory.mode() & 0o7777, directory.uid(), directory.mtime()), (0o1770, 7, 1_000_000));
    assert_eq!((cap.uid(), cap.mtime()), (3_000_000, 2_000_000));
    let mut value = [0u8; 64];
    let n = rustix::fs::getxattr(root.path().join("d/cap"), CAPABILITY, &mut value[..]).unwrap();
    assert_eq!(value[..n], capability);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let link = |layer: Layer, path: &str, to: &str| {
        let mut layer = layer;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        layer.0.append_link(&mut header, path, to).unwrap();
        layer
    };
    let layer = Layer::new().file("a", "1").file("a", "2").directory("b/").file("c", "1").directory("c/");
    let layer = link(link(layer, "b", "a"), "a", "elsewhere");
    let (root, done) = layer.unpack();
    done.unwrap();
    assert_eq!(fs::read_link(root.path().join("a")).unwrap(), Path::new("elsewhere"));
    assert_eq!(fs::read_link(root.path().join("b")).unwrap(), Path::new("a"));
    assert!(root.path().join("c").is_dir());
}

#[test]
fn devices_are_left_out_and_said() {
    let (root, done) = Layer::new().entry("dev/sda", EntryType::Block, 0o600, 0, "").file("x", "").unpack();
    assert_eq!(done.unwrap(), ["/dev/sda is a device or pipe and was left out"]);
    assert!(!root.path().join("dev/sda").exists() && root.path().join("x").exists());
}

#[test]
fn what_is_not_a_layer_is_refused() {
    for (layer, expect) in [
        (Layer::new().file("../x", ""), "leads out of the image"),
        (Layer::new().entry("x", EntryType::new(b'Q'), 0, 0, ""), "is of an unknown kind"),
        (Layer::new().entry("x", EntryType::Regular, 0, u64::from(u32::MAX), ""), "has no usable owner"),
    ] {
        let text = layer.unpack().1.unwrap_err().report().error;
        assert!(text.contains(expect), "{text}");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = Layer::new().file("x", "content").0.into_inner().unwrap();
    bytes.truncate(600);
    assert!(stream_into(&bytes[..], 600, directory.path(), Limits::default(), &GO_ON).is_err());
}

#[test]
fn ceilings_follow_the_limits() {
    let limits = Limits { unpacked_bytes: 1000, ratio_from_bytes: 100, ratio: 10 };
    assert_eq!((ceiling(5, limits), ceiling(50, limits), ceiling(500, limits)), (100, 500, 1000));
    assert_eq!(ceiling(u64::MAX, limits), 1000);
}
