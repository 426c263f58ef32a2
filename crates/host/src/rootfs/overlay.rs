//! The overlay mount of an instance's layers under its own writable one.

use crate::durable;
use crate::layout::Layout;
use rustix::mount::{MountFlags, mount};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::PathBuf;

/// The kernel takes no more lower layers than this with names as short as ours.
pub const MAX_LAYERS: usize = 500;

/// Mounts the layers, topmost first, at the layout's root directory.
///
/// All directories are named by short links in the working directory, so that neither their
/// length nor a comma, colon or backslash in a path can break the option string.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel takes the short names from here; the shim has no threads"
)]
///
/// Root of a user name space has no attributes of the kernel's own (`trusted.*`): there the overlay
/// keeps its notes in those of users, as the layers were unpacked.
pub fn mount_overlay(layout: &Layout, layers: &[PathBuf], is_unprivileged: bool) -> io::Result<()> {
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        return Err(io::Error::other(format!("an image has 1 to {MAX_LAYERS} layers, not {}", layers.len())));
    }
    let links = layout.bundle().join("l");
    durable::remove_tree(&links)?;
    durable::make_private_dir(&links)?;
    let own = [(layout.upper(), "u"), (layout.work(), "w")];
    for (dir, name) in &own {
        // Entered by the instance's users through its root directory.
        fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        symlink(dir, links.join(name))?;
    }
    for (number, layer) in layers.iter().enumerate() {
        symlink(layer, links.join(number.to_string()))?;
    }
    fs::create_dir_all(layout.rootfs())?;
    let lower: Vec<String> = (0..layers.len()).map(|number| number.to_string()).collect();
    let attributes = if is_unprivileged { ",userxattr" } else { "" };
    let options = format!("lowerdir={},upperdir=u,workdir=w{attributes}", lower.join(":"));
    let options = std::ffi::CString::new(options).expect("digits and letters");
    std::env::set_current_dir(&links)?;
    let mounted = mount("overlay", layout.rootfs(), "overlay", MountFlags::NODEV, Some(options.as_c_str()));
    std::env::set_current_dir("/")?;
    mounted.map_err(|errno| io::Error::other(format!("mount the image's {} layers: {errno}", layers.len())))
}
