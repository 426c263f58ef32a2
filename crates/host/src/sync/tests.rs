//! Against a plain directory as the instance's root.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

struct Pair {
    _dir: tempfile::TempDir,
    host: PathBuf,
    root: PathBuf,
    inside: Inside,
}

fn pair() -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let (host, root) = (dir.path().join("host"), dir.path().join("root"));
    fs::create_dir(&host).unwrap();
    fs::create_dir(&root).unwrap();
    let inside = Inside { tree: Tree::open(&root).unwrap() };
    Pair { _dir: dir, host, root, inside }
}

impl Pair {
    fn sync(&self, source: &str, target: &str) -> Result<Synced, SyncError> {
        self.inside.sync(&self.host.join(source), Path::new(target))
    }

    fn inside(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|error| error.to_string())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_file_is_copied_with_mode_and_time_and_then_left_alone() {
    let pair = pair();
    let file = pair.host.join("run.sh");
    fs::write(&file, "echo").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(pair.sync("run.sh", "/app/bin/run.sh").unwrap(), Synced::Written);
    let about = fs::metadata(pair.root.join("app/bin/run.sh")).unwrap();
    assert_eq!(about.mode() & 0o7777, 0o755, "no rights of somebody else");
    assert_eq!(about.mtime_nsec(), fs::metadata(&file).unwrap().mtime_nsec());
    assert_eq!(pair.names("app/bin"), ["run.sh"], "nothing is left beside it");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(pair.sync("run.sh", "/app/bin/run.sh").unwrap(), Synced::Unchanged);
    fs::write(&file, "echo 2").unwrap();
    assert_eq!(pair.sync("run.sh", "app/../app/bin/run.sh").unwrap(), Synced::Written);
    assert_eq!(pair.inside("app/bin/run.sh"), "echo 2");
}

#[test]
fn no_link_inside_leads_out() {
    let pair = pair();
    let outside = pair.host.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(pair.host.join("a"), "new").unwrap();
    fs::write(outside.join("a"), "host's").unwrap();
    symlink(&outside, pair.root.join("way-out")).unwrap();
    symlink("../../../../../..", pair.root.join("up")).unwrap();
    symlink(outside.join("a"), pair.root.join("file")).unwrap();
    // The absolute link means a place below the instance's own root.
    assert!(pair.sync("a", "/way-out/a").is_err(), "nothing is there inside");
    pair.sync("a", "/up/b").unwrap();
    pair.sync("a", "/file").unwrap();
    pair.sync("a", "/../../c").unwrap();
    assert_eq!(fs::read_to_string(outside.join("a")).unwrap(), "host's");
    assert_eq!(
        (pair.inside("b"), pair.inside("c"), pair.inside("file")),
        ("new".into(), "new".into(), "new".into())
    );
    assert!(!fs::symlink_metadata(pair.root.join("file")).unwrap().is_symlink());
    // Removing takes the link, not what it leads to.
    pair.inside.remove(Path::new("/way-out")).unwrap();
    assert!(outside.join("a").exists() && !pair.root.join("way-out").exists());
}

#[test]
fn a_link_of_the_host_is_copied_as_a_link() {
    let pair = pair();
    symlink("/etc/shadow", pair.host.join("secret")).unwrap();
    assert_eq!(pair.sync("secret", "/secret").unwrap(), Synced::Written);
    assert_eq!(fs::read_link(pair.root.join("secret")).unwrap(), Path::new("/etc/shadow"));
    assert_eq!(pair.sync("secret", "/secret").unwrap(), Synced::Unchanged);
}

#[test]
fn what_is_gone_here_goes_there_and_directories_with_all_they_hold() {
    let pair = pair();
    fs::create_dir_all(pair.root.join("app/sub/deep")).unwrap();
    fs::write(pair.root.join("app/sub/deep/x"), "").unwrap();
    symlink("/", pair.root.join("app/sub/root")).unwrap();
    assert_eq!(pair.sync("sub", "/app/sub").unwrap(), Synced::Removed);
    assert_eq!(pair.names("app"), Vec::<String>::new());
    assert_eq!(pair.sync("sub", "/app/sub").unwrap(), Synced::Unchanged);
    assert_eq!(pair.sync("sub", "/not/there/sub").unwrap(), Synced::Unchanged);
    assert!(matches!(pair.sync("sub", "/"), Err(SyncError::Unnamed(_))));
}

#[test]
fn kinds_change_into_each_other_but_a_full_directory_stays() {
    let pair = pair();
    fs::write(pair.host.join("file"), "text").unwrap();
    fs::create_dir(pair.host.join("dir")).unwrap();
    fs::create_dir_all(pair.root.join("empty")).unwrap();
    fs::create_dir_all(pair.root.join("full/x")).unwrap();
    fs::write(pair.root.join("plain"), "").unwrap();
    assert_eq!(pair.sync("file", "/empty").unwrap(), Synced::Written);
    assert!(matches!(pair.sync("file", "/full"), Err(SyncError::IsDirectory(_))));
    assert_eq!(pair.sync("dir", "/plain").unwrap(), Synced::Written);
    assert!(pair.root.join("plain").is_dir());
    assert!(matches!(pair.sync("file", "/empty/below"), Err(SyncError::NotBelowDirectory(_))));
}

#[test]
fn too_large_a_file_and_a_pipe_are_left_out() {
    let pair = pair();
    File::create(pair.host.join("large")).and_then(|file| file.set_len(FILE_MAX.0 + 1)).unwrap();
    let error = pair.sync("large", "/large").unwrap_err();
    assert!(error.to_string().ends_with("more than the 256 MiB that are copied"), "{error}");
    rustix::fs::mkfifoat(CWD, pair.host.join("pipe"), Mode::RUSR).unwrap();
    assert_eq!(pair.sync("pipe", "/pipe").unwrap(), Synced::Unchanged);
    assert_eq!(pair.names(""), Vec::<String>::new());
}

#[test]
fn a_process_with_this_hosts_root_is_no_instance() {
    let own = process::identify(std::process::id() as i32).unwrap();
    assert!(matches!(Inside::of_process(own), Err(SyncError::NotRunning)));
}
