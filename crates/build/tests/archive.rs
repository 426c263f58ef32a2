//! Images from the real Debian archive. The cache of packages is shared between runs below the
//! target directory, so that only the first run fetches them.

use build::archive::ArchiveChoice;
use build::{Entry, EntryKind, ImagePlan, ImageStore, Job, Options, Source, User, assemble, assemble_with};
use model::image::{BuiltImage, ImageConfig};
use model::{Digest, Timestamp};
use std::path::Path;
use std::process::Command;

fn plan(packages: &[&str], exclude: &[&str]) -> ImagePlan {
    let text = b"print('hello')\n";
    ImagePlan {
        packages: packages.iter().map(ToString::to_string).collect(),
        exclude: exclude.iter().map(ToString::to_string).collect(),
        archive: ArchiveChoice::default(),
        users: vec![User {
            name: "app".to_owned(),
            uid: 10001,
            gid: 10001,
            home: "/app".to_owned(),
            shell: "/usr/sbin/nologin".to_owned(),
        }],
        app: vec![Entry {
            path: "/app/main.py".to_owned(),
            kind: EntryKind::File(Source::Bytes(text[..].into())),
            mode: 0o644,
            uid: 0,
            gid: 0,
        }],
        base_extra: Vec::new(),
        config: ImageConfig { entrypoint: vec!["/usr/bin/python3".to_owned()], ..ImageConfig::default() },
        inputs: Digest::of(b"test"),
        origin: "test".to_owned(),
        created: Timestamp(0),
    }
}

/// A store of its own whose package cache is kept between runs.
fn store(root: &Path) -> ImageStore {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("archive-cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(&cache, root.join("archive")).unwrap();
    ImageStore::open(root).unwrap()
}

/// Runs a program of the base layer in it; answers its output.
fn run(store: &ImageStore, image: &BuiltImage, argv: &[&str]) -> String {
    let base = store.layer_dir(&image.layers[0]).unwrap();
    let out = Command::new("/usr/sbin/chroot")
        .arg(base)
        .args(argv)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{argv:?}: {text}");
    text
}

#[test]
fn archive_python_runs_and_is_the_same_twice() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = plan(&["python3", "ca-certificates", "tzdata"], &[]);
    let (first_store, second_store) = (store(one.path()), store(two.path()));
    let say = |text: &str| eprintln!("{text}");
    let first = assemble(&plan, &first_store, &say).unwrap();
    assert_eq!(assemble(&plan, &second_store, &say).unwrap(), first);
    let fresh = Options { job: Job::unstoppable(&say), force_fresh: true };
    assert_eq!(assemble_with(&plan, &first_store, &fresh).unwrap(), first);
    if testkit::require_root("archive_python_runs_and_is_the_same_twice") {
        let script = "import ssl, sqlite3, zoneinfo, ctypes, hashlib, decimal, lzma, uuid, pwd\n\
            assert ssl.create_default_context().cert_store_stats()['x509_ca'] > 50\n\
            assert str(zoneinfo.ZoneInfo('Europe/Berlin')) == 'Europe/Berlin'\n\
            print(pwd.getpwnam('app').pw_uid)";
        assert_eq!(run(&first_store, &first, &["/usr/bin/python3", "-c", script]), "10001\n");
    }
}

#[test]
fn archive_servers_run_without_what_their_scripts_need() {
    if !testkit::require_root("archive_servers_run_without_what_their_scripts_need") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let plan =
        plan(&["postgresql-17", "redis-server", "dash"], &["postgresql-common", "postgresql-client-common"]);
    let image = assemble(&plan, &store, &|_| {}).unwrap();
    let base = store.layer_dir(&image.layers[0]).unwrap();
    for left_out in ["usr/bin/perl", "usr/bin/dpkg", "usr/bin/systemctl", "usr/sbin/adduser"] {
        assert!(!base.join(left_out).exists(), "{left_out}");
    }
    let version = |argv: &[&str]| run(&store, &image, argv);
    assert!(version(&["/usr/lib/postgresql/17/bin/postgres", "--version"]).contains("PostgreSQL) 17"));
    assert!(version(&["/usr/lib/postgresql/17/bin/initdb", "--version"]).contains("17."));
    assert!(version(&["/usr/bin/redis-server", "--version"]).contains("Redis server v="));
    assert!(version(&["/bin/sh", "-c", "echo shell"]).contains("shell"));
}

#[test]
fn archive_unknown_packages_come_with_proposals() {
    let root = tempfile::tempdir().unwrap();
    let error = assemble(&plan(&["pyhton3"], &[]), &store(root.path()), &|_| {}).unwrap_err();
    let text = error.report().to_string();
    assert!(
        text.starts_with("error: there is no package `pyhton3` in trixie\nhint: did you mean `python3`"),
        "{text}"
    );
}
