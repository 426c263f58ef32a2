//! What is mounted over the image: host paths, named and anonymous volumes, memory.

use super::{Tree, copy, driver};
use crate::durable;
use crate::layout::Layout;
use crate::record::StartFailure;
use model::instance::ResolvedMount;
use model::mount::MountSource;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

/// A mount made ready.
pub enum Source {
    Path { path: PathBuf, recursive: bool },
    Memory { size: Option<u64>, mode: u32 },
}

pub fn prepare_source(
    number: usize,
    mount: &ResolvedMount,
    layout: &Layout,
    volumes: &Path,
    tree: &Tree,
) -> Result<Source, StartFailure> {
    match &mount.source {
        MountSource::Bind { path, create, recursive } => {
            prepare_bind(path, *create)?;
            Ok(Source::Path { path: path.clone(), recursive: *recursive })
        }
        MountSource::Volume { name, no_copy, subpath } => {
            let home = volumes.join(name.as_str());
            let content = (!no_copy && subpath.is_none()).then_some((tree, mount.target.as_str()));
            let data = match driver::asks_for_a_mount(&mount.volume_options) {
                true => prepare_mounted(&home, mount, content)?,
                false => prepare_volume(&home, content)?,
            };
            let path = match subpath {
                Some(subpath) => inside(&data, subpath)?,
                None => data,
            };
            Ok(Source::Path { path, recursive: false })
        }
        MountSource::Anonymous => {
            let data = prepare_volume(&layout.anonymous(number), Some((tree, mount.target.as_str())))?;
            Ok(Source::Path { path: data, recursive: false })
        }
        MountSource::Tmpfs { size, mode } => {
            Ok(Source::Memory { size: size.map(|size| size.0), mode: mode.unwrap_or(0o1777) })
        }
    }
}

fn prepare_bind(path: &Path, create: bool) -> Result<(), StartFailure> {
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => fs::create_dir_all(path)
            .map_err(|error| failure(path, format!("the bind source cannot be made: {error}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(failure(path, "bind source path does not exist".to_owned()))
        }
        Err(error) => Err(failure(path, error.to_string())),
    }
}

/// `<home>/data`, filled once from the image. The copy is made beside it and renamed, so that a
/// crash leaves either nothing or the whole; a lock keeps two first users apart.
fn prepare_volume(home: &Path, content: Option<(&Tree, &str)>) -> Result<PathBuf, StartFailure> {
    let failed = |error: io::Error| failure(home, format!("the volume cannot be made: {error}"));
    let data = home.join("data");
    for path in [home, data.as_path()] {
        if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(failure(path, "the volume is not a directory".to_owned()));
        }
    }
    if data.is_dir() {
        return Ok(data);
    }
    durable::make_private_dir(home).map_err(failed)?;
    let lock = File::create(home.join("lock")).map_err(failed)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| failed(errno.into()))?;
    if !data.is_dir() {
        fill(home, &data, content).map_err(failed)?;
    }
    Ok(data)
}

/// `<home>/data` as the place of a mount that `driver_opts` ask for; what is mounted is given the
/// image's content when it is empty.
fn prepare_mounted(
    home: &Path,
    mount: &ResolvedMount,
    content: Option<(&Tree, &str)>,
) -> Result<PathBuf, StartFailure> {
    let data = prepare_volume(home, None)?;
    let failed = |error: io::Error| failure(home, format!("the volume cannot be made: {error}"));
    let lock = File::create(home.join("lock")).map_err(failed)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| failed(errno.into()))?;
    // Two mounts of one instance may be of the same volume: the later one lies over the earlier.
    driver::mount(&data, &mount.volume_options)?;
    let is_empty = fs::read_dir(&data).map_err(failed)?.next().is_none();
    if let Some((tree, target)) = content.filter(|_| is_empty) {
        copy_content(tree, target, &data).map_err(failed)?;
    }
    Ok(data)
}

fn copy_content(tree: &Tree, target: &str, to: &Path) -> io::Result<()> {
    match tree.find(Path::new(target), OFlags::RDONLY | OFlags::DIRECTORY) {
        // By its descriptor, so that no link in the path is followed again.
        Ok(fd) => copy::copy_tree(
            Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())).canonicalize()?.as_path(),
            to,
        ),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn fill(home: &Path, data: &Path, content: Option<(&Tree, &str)>) -> io::Result<()> {
    let partial = home.join("partial");
    durable::remove_tree(&partial)?;
    fs::create_dir(&partial)?;
    if let Some((tree, target)) = content {
        copy_content(tree, target, &partial)?;
    }
    rustix::fs::syncfs(File::open(&partial)?)?;
    fs::rename(&partial, data)?;
    durable::sync_dir(home)
}

/// A directory below a volume, made when missing, never outside of it.
fn inside(data: &Path, subpath: &str) -> Result<PathBuf, StartFailure> {
    let path = data.join(subpath);
    if !Path::new(subpath).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(failure(&path, "a subpath stays below its volume".to_owned()));
    }
    let made = Tree::open(data).and_then(|tree| tree.make_dirs(Path::new(subpath), None));
    made.map_err(|error| failure(&path, format!("the subpath cannot be used: {error}")))?;
    let resolved = path.canonicalize().map_err(|error| failure(&path, error.to_string()))?;
    match data.canonicalize() {
        Ok(root) if resolved.starts_with(&root) => Ok(resolved),
        _ => Err(failure(&path, "a subpath stays below its volume".to_owned())),
    }
}

fn failure(path: &Path, reason: String) -> StartFailure {
    StartFailure::Mount { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(result: Result<impl Sized, StartFailure>) -> String {
        result.err().expect("an error").reason()
    }

    #[test]
    fn bad_sources_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(reason(prepare_bind(&missing, false)).ends_with("missing: bind source path does not exist"));
        prepare_bind(&missing, true).unwrap();
        assert!(missing.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(
            reason(prepare_volume(&dir.path().join("file"), None))
                .ends_with("file: the volume is not a directory")
        );
    }

    #[test]
    fn a_volume_is_filled_once_and_a_half_made_copy_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::create_dir_all(image.join("srv")).unwrap();
        fs::write(image.join("srv/seed"), "1").unwrap();
        let tree = Tree::open(&image).unwrap();
        let home = dir.path().join("volume");
        fs::create_dir_all(home.join("partial")).unwrap();
        fs::write(home.join("partial/rubbish"), "").unwrap();
        let data = prepare_volume(&home, Some((&tree, "/srv"))).unwrap();
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
        fs::write(data.join("seed"), "2").unwrap();
        prepare_volume(&home, Some((&tree, "/srv"))).unwrap();
        assert_eq!(fs::read_to_string(data.join("seed")).unwrap(), "2");
    }

    #[test]
    fn a_subpath_cannot_leave_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("etc")).unwrap();
        for bad in ["../x", "/etc", "etc"] {
            assert!(inside(dir.path(), bad).is_err(), "{bad}");
        }
        assert!(inside(dir.path(), "a/b").unwrap().is_dir());
    }
}
