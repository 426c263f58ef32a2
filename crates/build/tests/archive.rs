//! Images from the real Debian archive. The cache of packages is shared between runs below the
//! target directory, so that only the first run fetches them.

use build::archive::ArchiveChoice;
use build::{Entry, EntryKind, ImagePlan, ImageStore, Job, Options, Source, User, assemble, assemble_with};
use model::image::ImageConfig;
use model::{Digest, Timestamp};
use std::path::Path;
use std::time::Instant;

fn plan(packages: &[&str]) -> ImagePlan {
    let text = b"print('hello')\n";
    ImagePlan {
        packages: packages.iter().map(ToString::to_string).collect(),
        exclude: Vec::new(),
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

#[test]
fn archive_python_runs_and_is_the_same_twice() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = plan(&["python3", "ca-certificates", "tzdata"]);
    let first_store = store(one.path());
    let say = |text: &str| eprintln!("{text}");
    let start = Instant::now();
    let first = assemble(&plan, &first_store, &say).unwrap();
    eprintln!("first: {:?}", start.elapsed());
    let start = Instant::now();
    let second = assemble(&plan, &store(two.path()), &say).unwrap();
    eprintln!("second, packages cached: {:?}", start.elapsed());
    let start = Instant::now();
    let third = assemble(&plan, &first_store, &say).unwrap();
    eprintln!("third, base there: {:?}", start.elapsed());
    assert_eq!(first, second);
    assert_eq!(first, third);
    let start = Instant::now();
    let fresh = Options { job: Job::unstoppable(&say), force_fresh: true };
    assert_eq!(assemble_with(&plan, &first_store, &fresh).unwrap(), first);
    eprintln!("fourth, forced: {:?}", start.elapsed());
}
