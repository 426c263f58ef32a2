//! Whole images from a small archive in a directory.

use super::*;
use crate::archive::ArchiveChoice;
use crate::plan::{Entry, EntryKind, Source, User};
use crate::testing::{FakeArchive, FakeFile, FakePackage};
use model::Timestamp;
use model::image::ImageConfig;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

fn packages() -> Vec<FakePackage> {
    use FakeFile::{Directory, Hardlink, Script, Symlink, Text};
    vec![
        FakePackage::new(
            "app",
            "Depends: libx, debconf\nProvides: service",
            vec![
                ("./", Directory),
                ("./bin/", Directory),
                ("./bin/app", Script("#!/bin/sh\n")),
                ("./usr/bin/app-link", Symlink("../../bin/app")),
                ("./usr/bin/app-hard", Hardlink("./bin/app")),
                ("./usr/share/doc/app/README", Text("long")),
                ("./usr/share/doc/app/copyright", Text("free")),
                ("./usr/share/man/man1/app.1.gz", Text("man")),
                ("./etc/app.conf", Text("a=b\n")),
            ],
        ),
        FakePackage::new(
            "libx",
            "Priority: optional",
            vec![
                ("./lib/x86_64-linux-gnu/libx.so.1", Text("ELF")),
                ("./bin", Symlink("usr/bin")),
                ("./usr/share/doc/libx", Symlink("app")),
                ("./usr/bin/mawk", Text("awk")),
            ],
        ),
        FakePackage::new("debconf", "", vec![("./usr/bin/debconf", Text("never"))]),
        FakePackage::new(
            "ca-certificates",
            "",
            vec![
                ("./usr/share/ca-certificates/mozilla/B.crt", Text("second\n")),
                ("./usr/share/ca-certificates/mozilla/A.crt", Text("first\n\n")),
            ],
        ),
        FakePackage::new("evil", "", vec![("./../../etc/cron.d/evil", Text("x"))]),
        FakePackage::new("broken", "Depends: nowhere (>= 2)", vec![]),
    ]
}

struct Fixture {
    root: tempfile::TempDir,
    archive: FakeArchive,
    store: ImageStore,
    said: RefCell<Vec<String>>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|package| package)
    }

    fn with(change: impl Fn(FakePackage) -> FakePackage) -> Self {
        let root = tempfile::tempdir().unwrap();
        let packages: Vec<FakePackage> = packages().into_iter().map(change).collect();
        let archive = FakeArchive::new(root.path(), &packages);
        let store = ImageStore::open(&root.path().join("store")).unwrap();
        Self { root, archive, store, said: RefCell::new(Vec::new()) }
    }

    fn plan(&self, packages: &[&str]) -> ImagePlan {
        ImagePlan {
            packages: packages.iter().map(ToString::to_string).collect(),
            exclude: Vec::new(),
            archive: self.archive.choice(),
            users: vec![user("app", 10001)],
            app: vec![file("/srv/main", "hello", 0o644), file("/bin/run", "#!/bin/sh\n", 0o755)],
            base_extra: vec![file("/etc/extra", "more", 0o600)],
            config: ImageConfig { command: vec!["/bin/run".to_owned()], ..ImageConfig::default() },
            inputs: Digest::of(b"inputs"),
            origin: "a test".to_owned(),
            created: Timestamp(1_700_000_000_000),
        }
    }

    fn run(&self, plan: &ImagePlan) -> Result<BuiltImage, BuildError> {
        self.run_with(plan, false)
    }
    fn run_with(&self, plan: &ImagePlan, force_fresh: bool) -> Result<BuiltImage, BuildError> {
        let say = |text: &str| self.said.borrow_mut().push(text.to_owned());
        assemble_with(plan, &self.store, &Options { job: Job::unstoppable(&say), force_fresh })
    }
    fn error(&self, plan: &ImagePlan) -> String {
        let text = self.run(plan).unwrap_err().report().to_string();
        assert!(self.store.layout().list().unwrap().is_empty(), "nothing half-made stays");
        text.replace(&self.archive.url(), "MIRROR")
    }
    fn said(&self, text: &str) -> bool {
        self.said.borrow().iter().any(|line| line.contains(text))
    }
    fn other_store(&self) -> ImageStore {
        ImageStore::open(&self.root.path().join("other")).unwrap()
    }
}

fn user(name: &str, id: u32) -> User {
    User {
        name: name.to_owned(),
        uid: id,
        gid: id,
        home: format!("/home/{name}"),
        shell: "/bin/sh".to_owned(),
    }
}

fn file(path: &str, text: &str, mode: u32) -> Entry {
    let kind = EntryKind::File(Source::Bytes(text.as_bytes().into()));
    Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0 }
}

fn read(directory: &Path, path: &str) -> String {
    fs::read_to_string(directory.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn mode(directory: &Path, path: &str) -> u32 {
    fs::symlink_metadata(directory.join(path)).unwrap().mode() & 0o7777
}

#[test]
fn packages_become_a_merged_base_without_documentation() {
    let fixture = Fixture::new();
    let image = fixture.run(&fixture.plan(&["app", "ca-certificates"])).unwrap();
    let base = fixture.store.layer_dir(&image.layers[0]).unwrap();
    assert_eq!(fs::read_link(base.join("bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(fs::read_link(base.join("lib")).unwrap(), Path::new("usr/lib"));
    assert_eq!(mode(&base, "usr/bin/app"), 0o4755);
    assert_eq!(read(&base, "usr/lib/x86_64-linux-gnu/libx.so.1"), "ELF");
    assert_eq!(read(&base, "usr/share/doc/app/copyright"), "free");
    assert_eq!(fs::metadata(base.join("usr/bin/app")).unwrap().nlink(), 2);
    for gone in ["usr/share/doc/app/README", "usr/share/man", "usr/bin/debconf"] {
        assert!(!base.join(gone).exists(), "{gone}");
    }
    assert_eq!(read(&base, "etc/ssl/certs/ca-certificates.crt"), "first\nsecond\n");
    assert_eq!(fs::read_link(base.join("usr/bin/awk")).unwrap(), Path::new("/usr/bin/mawk"));
    assert!(read(&base, "var/lib/dpkg/status.d/libx").starts_with("Package: libx\nVersion: 1.0\n"));
    assert!(read(&base, "etc/os-release").contains("ID=debian\n"));
    assert_eq!((mode(&base, "tmp"), mode(&base, "var/tmp"), mode(&base, "root")), (0o1777, 0o1777, 0o700));
    assert_eq!((read(&base, "etc/extra").as_str(), mode(&base, "etc/extra")), ("more", 0o600));
    let passwd = read(&base, "etc/passwd");
    assert!(
        passwd.contains("app:x:10001:10001:app:/home/app:/bin/sh\n") && passwd.starts_with("root:x:0:0:")
    );
    assert!(read(&base, "etc/group").contains("app:x:10001:\n"));
    assert_eq!(fs::metadata(base.join("usr/bin/app")).unwrap().mtime(), 1_700_000_000);
}

#[test]
fn the_application_lies_where_the_base_leads() {
    let fixture = Fixture::new();
    let mut plan = fixture.plan(&["app"]);
    plan.app.push(file("/tmp/x", "", 0o644));
    let image = fixture.run(&plan).unwrap();
    let app = fixture.store.layer_dir(&image.layers[1]).unwrap();
    assert_eq!(read(&app, "usr/bin/run"), "#!/bin/sh\n");
    assert!(!app.join("bin").exists(), "a directory would hide the link of the base");
    assert_eq!(mode(&app, "tmp"), 0o1777);
}

#[test]
fn the_same_plan_gives_the_same_bytes_anywhere() {
    let fixture = Fixture::new();
    let plan = fixture.plan(&["ca-certificates", "app"]);
    let first = fixture.run(&plan).unwrap();
    let other = fixture.other_store();
    assert_eq!(assemble(&plan, &other, &|_| {}).unwrap(), first);
    let blobs = |store: &ImageStore| -> BTreeSet<String> {
        let entries = fs::read_dir(store.layout().root().join("blobs/sha256")).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(blobs(&fixture.store), blobs(&other));
    assert_eq!(fixture.run_with(&plan, true).unwrap(), first);
}

#[test]
fn the_directory_and_the_blob_of_a_layer_are_one() {
    let fixture = Fixture::new();
    let image = fixture.run(&fixture.plan(&["app"])).unwrap();
    let listing = |store: &ImageStore| -> Vec<String> {
        let paths = image.layers.iter().map(|layer| store.layer_dir(layer).unwrap());
        paths.flat_map(|path| describe(&path, &path)).collect()
    };
    let direct = listing(&fixture.store);
    assert!(direct.len() > 30, "{direct:#?}");
    for layer in &image.layers {
        let path = fixture.store.root().join("layers").join(layer.hex());
        fs::remove_dir_all(path).unwrap();
    }
    assert_eq!(listing(&fixture.store), direct);
}

/// Every path with kind, permissions, owner, time and content.
fn describe(root: &Path, directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let m = fs::symlink_metadata(&path).unwrap();
        let content = match m.file_type() {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
            kind if kind.is_file() => Digest::of(&fs::read(&path).unwrap()).to_string(),
            _ => String::new(),
        };
        let nlink = if m.is_file() { m.nlink() } else { 0 };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        lines.push(format!("{name} {:o} {}:{} {} {nlink} {content}", m.mode(), m.uid(), m.gid(), m.mtime()));
        if m.is_dir() {
            lines.extend(describe(root, &path));
        }
    }
    lines
}

#[test]
fn a_base_is_made_once() {
    let fixture = Fixture::new();
    let mut plan = fixture.plan(&["app"]);
    let first = fixture.run(&plan).unwrap();
    assert!(fixture.said("assembling 2 packages"));
    fixture.said.borrow_mut().clear();
    plan.app[0] = file("/srv/main", "changed", 0o644);
    let second = fixture.run(&plan).unwrap();
    assert!(!fixture.said("assembling"));
    assert_eq!(first.layers[0], second.layers[0]);
    assert_ne!(first.layers[1], second.layers[1]);
    plan.users[0].uid = 5;
    assert_ne!(fixture.run(&plan).unwrap().layers[0], first.layers[0]);
    assert!(fixture.said("assembling"));
}

#[test]
fn an_image_from_nothing_has_one_layer_and_accounts() {
    let fixture = Fixture::new();
    let mut plan = fixture.plan(&[]);
    plan.archive = ArchiveChoice { mirror: "http://127.0.0.1:1".to_owned(), ..plan.archive };
    let image = fixture.run(&plan).unwrap();
    assert_eq!(image.layers.len(), 1);
    let directory = fixture.store.layer_dir(&image.layers[0]).unwrap();
    assert_eq!(read(&directory, "bin/run"), "#!/bin/sh\n");
    assert!(read(&directory, "etc/passwd").contains("app:x:10001:"));
    assert_eq!(read(&directory, "etc/extra"), "more");
}

#[test]
fn what_was_stored_is_found_again() {
    let fixture = Fixture::new();
    let image = fixture.run(&fixture.plan(&["app"])).unwrap();
    let again = ImageStore::open(fixture.store.root()).unwrap();
    assert_eq!(again.image(&image.manifest).unwrap(), Some(image.clone()));
    again.tag("web:latest", &image.manifest).unwrap();
    assert_eq!(again.image_named("web:latest").unwrap().unwrap().layers, image.layers);
    again.untag("web:latest").unwrap();
    assert_eq!(again.image_named("web:latest").unwrap(), None);
}

#[test]
fn collecting_keeps_what_is_wanted() {
    let fixture = Fixture::new();
    let mut plan = fixture.plan(&["app"]);
    let old = fixture.run(&plan).unwrap();
    plan.app.truncate(1);
    let kept = fixture.run(&plan).unwrap();
    let keep = BTreeSet::from([kept.manifest.clone()]);
    let young = fixture.store.collect(&keep, Duration::from_secs(3600)).unwrap();
    assert_eq!(young.files, 0, "what was made a moment ago stays");
    let swept = fixture.store.collect(&keep, Duration::ZERO).unwrap();
    assert!(swept.files >= 4 && swept.bytes > 0, "{swept:?}");
    assert_eq!(fixture.store.image(&old.manifest).unwrap(), None);
    assert!(!fixture.store.is_ready(&old.layers[1]));
    assert_eq!(fixture.store.image(&kept.manifest).unwrap(), Some(kept.clone()));
    kept.layers.iter().for_each(|layer| assert!(fixture.store.is_ready(layer)));
    assert_eq!(fixture.run(&plan).unwrap(), kept);
}

#[test]
fn the_archive_may_go_away_once_it_was_read() {
    let fixture = Fixture::new();
    let plan = fixture.plan(&["app"]);
    let first = fixture.run(&plan).unwrap();
    fs::rename(fixture.archive.mirror(), fixture.root.path().join("away")).unwrap();
    assert_eq!(fixture.run_with(&plan, true).unwrap(), first);
    assert!(fixture.said("warning: ") && fixture.said("cannot be reached"));
    let text = assemble(&plan, &fixture.other_store(), &|_| {}).unwrap_err().report().to_string();
    assert!(text.contains("cannot be reached: ") && text.contains("hint: "), "{text}");
}

#[test]
fn a_damaged_package_in_the_cache_is_fetched_anew() {
    let fixture = Fixture::new();
    let plan = fixture.plan(&["app"]);
    let first = fixture.run(&plan).unwrap();
    for entry in fs::read_dir(fixture.store.archive_cache().join("packages")).unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    assert_eq!(fixture.run_with(&plan, true).unwrap(), first);
}

#[test]
fn what_follows_from_the_same_lists_is_not_worked_out_twice() {
    let fixture = Fixture::new();
    let first = fixture.run(&fixture.plan(&["app"])).unwrap();
    let cache = fixture.store.archive_cache();
    let records = || fs::read_dir(cache.join("resolved")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(records().count(), 1);
    fs::remove_dir_all(cache.join("index")).unwrap();
    assert_eq!(fixture.run(&fixture.plan(&["app"])).unwrap(), first);
    assert!(fs::read_dir(cache.join("index")).unwrap().next().is_none(), "the lists are not read");
    // A damaged record is made anew, and other wishes have one of their own.
    fs::write(records().next().unwrap(), "damaged").unwrap();
    assert_eq!(fixture.run(&fixture.plan(&["app"])).unwrap(), first);
    fixture.run(&fixture.plan(&["libx"])).unwrap();
    assert_eq!(records().count(), 2);
}

#[test]
fn a_package_packed_by_xz_is_kept_in_a_quick_form_that_gives_the_same() {
    let fixture = Fixture::with(|package| package.packed_by_xz());
    let plan = fixture.plan(&["app"]);
    let first = fixture.run(&plan).unwrap();
    let packages = fixture.store.archive_cache().join("packages");
    let quick = || -> Vec<PathBuf> {
        let files = fs::read_dir(&packages).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|e| e == "quick")).collect()
    };
    assert_eq!(quick().len(), 2);
    assert_eq!(fixture.run_with(&plan, true).unwrap(), first);
    for path in quick() {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 6;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(fixture.run_with(&plan, true).unwrap(), first, "damaged copies are made anew");
}

/// A layer of packages does not tell whether its large contents were packed before.
#[test]
fn large_contents_are_taken_packed_and_give_the_same_layer() {
    let content: String = (0..20_000).map(|line| format!("{line}\n")).collect();
    let text: &'static str = content.clone().leak();
    let fixture = Fixture::with(|mut package| {
        if package.name == "app" {
            package.files.push(("./usr/lib/large", FakeFile::Text(text)));
            package.files.push(("./usr/lib/also", FakeFile::Hardlink("./usr/lib/large")));
        }
        package
    });
    let plan = fixture.plan(&["app"]);
    let first = fixture.run(&plan).unwrap();
    let layer = fixture.store.layer_dir(&first.layers[0]).unwrap();
    for name in ["usr/lib/large", "usr/lib/also"] {
        assert_eq!(fs::read_to_string(layer.join(name)).unwrap(), content);
    }
    let packages = fixture.store.archive_cache().join("packages");
    let copies = || {
        let files = fs::read_dir(&packages).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|e| e == "quick"))
    };
    assert!(copies().count() > 0);
    assert_eq!(fixture.run_with(&plan, true).unwrap(), first, "from copies");
    for copy in copies() {
        fs::remove_file(&copy).unwrap();
        // It cannot be made again either.
        fs::create_dir(&copy).unwrap();
    }
    assert_eq!(fixture.run_with(&plan, true).unwrap(), first, "without any");
}

#[test]
fn a_changed_package_or_index_is_refused() {
    let fixture = Fixture::new();
    let package = fixture.archive.mirror().join("pool/app_1.0.deb");
    let mut bytes = fs::read(&package).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&package, bytes).unwrap();
    let text = fixture.error(&fixture.plan(&["app"]));
    assert!(text.contains("MIRROR/pool/app_1.0.deb has digest"), "{text}");

    let fixture = Fixture::new();
    let release = fs::read_to_string(fixture.archive.release()).unwrap();
    fs::write(fixture.archive.release(), release.replace("Suite: stable", "Suite: stolen")).unwrap();
    let text = fixture.error(&fixture.plan(&["app"]));
    assert!(text.contains("the signature of MIRROR/dists/trixie/InRelease does not hold"), "{text}");

    let fixture = Fixture::new();
    let mut plan = fixture.plan(&["app"]);
    plan.archive.keyring = None;
    assert!(fixture.error(&plan).contains("none of the signing keys is trusted"));
}

#[test]
fn an_archive_half_way_through_an_update_is_asked_again_and_then_named() {
    let fixture = Fixture::new();
    let list =
        fixture.archive.release().with_file_name(format!("main/binary-{}/Packages", host_architecture()));
    let old = fs::read_to_string(&list).unwrap();
    fixture.archive.publish(&format!("{old}\n"), "");
    let new = fs::read_to_string(&list).unwrap();
    // The release file is the new one already, the list is not.
    fs::write(&list, &old).unwrap();
    let text = fixture.error(&fixture.plan(&["app"]));
    assert!(
        text.contains("the archive at MIRROR/dists/trixie/InRelease is half way through an update"),
        "{text}"
    );
    assert!(text.contains("hint: try again in some minutes"), "{text}");
    // It is complete when it is asked for the second time.
    let late = |line: &str| {
        if line.contains("asking again") {
            fs::write(&list, &new).unwrap();
        }
    };
    let options = Options { job: Job::unstoppable(&late), force_fresh: false };
    assert!(assemble_with(&fixture.plan(&["app"]), &fixture.store, &options).is_ok());
}

#[test]
fn a_package_that_was_replaced_since_is_found_in_newer_lists() {
    let fixture = Fixture::new();
    fixture.run(&fixture.plan(&["libx"])).unwrap();
    let newer = fixture.archive.index().replace("Filename: pool/app_1.0.deb", "Filename: pool/app_1.1.deb");
    fixture.archive.publish(&newer, "");
    let pool = fixture.archive.mirror().join("pool");
    fs::rename(pool.join("app_1.0.deb"), pool.join("app_1.1.deb")).unwrap();
    fixture.run(&fixture.plan(&["app"])).unwrap();
    assert!(fixture.said("pool/app_1.0.deb is gone; reading the archive's lists again"));
}

/// Runs `test` with a disk of this size at the path it is given, in a mount namespace of one thread.
fn on_a_small_disk(size: &str, test: impl FnOnce(&Path) + Send) {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let options = std::ffi::CString::new(format!("size={size}")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: this thread shares no file system state that another thread relies on.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            mount("tmpfs", directory, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
            test(directory);
        });
    });
}

#[test]
fn a_full_disk_is_named_and_keeps_nothing_that_is_not_whole() {
    if !testkit::require_root("a_full_disk_is_named_and_keeps_nothing_that_is_not_whole") {
        return;
    }
    let fixture = Fixture::new();
    let plan = fixture.plan(&["app"]);
    let noise = |seed: u32| {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..600_000).map(|_| next()).collect::<Vec<u8>>()
    };
    let large = |seed| Entry {
        kind: EntryKind::File(Source::Bytes(noise(seed).into())),
        ..file(&format!("/srv/{seed}"), "", 0o644)
    };
    on_a_small_disk("4m", |disk| {
        let store = ImageStore::open(&disk.join("store")).unwrap();
        let small = assemble(&plan, &store, &|_| {}).unwrap();
        let blobs = || fs::read_dir(store.layout().root().join("blobs/sha256")).unwrap().count();
        let before = blobs();
        let too_large = ImagePlan { app: (1..6).map(large).collect(), ..plan.clone() };
        let report = assemble(&too_large, &store, &|_| {}).unwrap_err().report();
        assert!(report.hints.iter().any(|hint| hint.contains("no space left")), "{report}");
        assert_eq!(store.layout().list().unwrap().len(), 1, "the image that was there stays alone");
        assert_eq!(blobs(), before, "no part of a layer stays");
        assert!(fs::read_dir(store.temporary()).unwrap().next().is_none());
        assert_eq!(assemble(&plan, &store, &|_| {}).unwrap(), small);
    });
}

#[test]
fn a_path_is_a_file_or_a_directory() {
    let fixture = Fixture::new();
    let mut plan = fixture.plan(&[]);
    plan.app = vec![file("/srv/a", "x", 0o644), file("/srv/a/b", "y", 0o644)];
    let report = fixture.run(&plan).unwrap_err().report();
    assert_eq!(report.error, "/srv/a is a file of the image, and /srv/a/b would lie in it");
}

#[test]
fn an_index_is_refused_when_it_is_too_old_or_another_suites() {
    let fixture = Fixture::new();
    let index = fixture.archive.index();
    fixture.archive.publish(&index, "Valid-Until: Sat, 13 Sep 2025 07:55:41 UTC\n");
    let text = fixture.error(&fixture.plan(&["app"]));
    assert!(
        text.contains("was valid until 2025-09-13 07:55 UTC") && text.contains("hint: check the clock"),
        "{text}"
    );
    fixture.archive.publish(&index, "Codename: bookworm\n");
    assert!(fixture.error(&fixture.plan(&["app"])).contains("it is the release file of bookworm"));
}

#[test]
fn an_older_index_does_not_replace_a_newer_one() {
    let fixture = Fixture::new();
    let plan = fixture.plan(&["app"]);
    let first = fixture.run(&plan).unwrap();
    fixture.archive.publish("Package: none\nVersion: 1\nSize: 1\n", "Date: Sat, 12 Sep 2020 07:55:41 UTC\n");
    assert_eq!(fixture.run_with(&plan, true).unwrap(), first);
    assert!(fixture.said("is older than what it was before"));
}

#[test]
fn mistakes_are_named_with_a_way_on() {
    let fixture = Fixture::new();
    for (packages, expect) in [
        ("ap", "error: there is no package `ap` in trixie\nhint: did you mean `app`?"),
        (
            "Bad Name",
            "error: `Bad Name` is not the name of a Debian package\nhint: write it as `name` or `name=version`, in lower case",
        ),
        (
            "broken",
            "error: the dependency `nowhere (>= 2)` cannot be met: it is needed by broken\nhint: the suites of the archive may be out of step; try again, or set `x-juchu.image.archive`",
        ),
    ] {
        assert_eq!(fixture.error(&fixture.plan(&[packages])), expect);
    }
    assert!(fixture.error(&fixture.plan(&["evil"])).contains("leads out of the image"));
    let mut plan = fixture.plan(&["app"]);
    plan.app
        .push(Entry { kind: EntryKind::File(Source::Path("/nonexistent/x".into())), ..file("/x", "", 0) });
    assert!(fixture.run(&plan).unwrap_err().report().error.contains("read /nonexistent/x"));
    plan.app = vec![file("/../x", "", 0)];
    assert!(fixture.run(&plan).unwrap_err().report().error.contains("leads out of the image"));
    plan.users = vec![user("a:b", 1)];
    assert!(fixture.run(&plan).unwrap_err().report().error.contains("not a usable account"));
}

#[test]
fn it_can_be_stopped_and_leaves_nothing() {
    static STOP: AtomicBool = AtomicBool::new(true);
    let fixture = Fixture::new();
    let options = Options { job: Job::new(&|_| {}, &STOP), force_fresh: false };
    let plan = fixture.plan(&["app"]);
    assert!(matches!(assemble_with(&plan, &fixture.store, &options), Err(BuildError::Cancelled)));
    assert!(fixture.store.layout().list().unwrap().is_empty());
    assert!(fs::read_dir(fixture.store.temporary()).unwrap().next().is_none());
}

#[test]
fn many_at_once_agree() {
    let fixture = Fixture::new();
    let plan = fixture.plan(&["app", "ca-certificates"]);
    let images: BTreeSet<Digest> = std::thread::scope(|scope| {
        let (plan, store) = (&plan, &fixture.store);
        let runs: Vec<_> =
            (0..6).map(|_| scope.spawn(move || assemble(plan, store, &|_| {}).unwrap())).collect();
        runs.into_iter().map(|run| run.join().unwrap().manifest).collect()
    });
    assert_eq!(images.len(), 1);
    assert_eq!(fixture.store.layout().list().unwrap().len(), 1);
}

#[test]
fn other_tools_read_the_layout() {
    let Some(skopeo) = testkit::needs("skopeo", "skopeo") else { return };
    let fixture = Fixture::new();
    let image = fixture.run(&fixture.plan(&["app"])).unwrap();
    fixture.store.tag("web:1", &image.manifest).unwrap();
    let inspect = |directory: &Path| {
        let address = format!("oci:{}:web:1", directory.display());
        let out = Command::new(&skopeo).args(["inspect", "--config", &address]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let original = inspect(fixture.store.layout().root());
    assert!(original.contains(image.layers[1].as_str()) && original.contains("/bin/run"), "{original}");
    let exported = fixture.root.path().join("exported");
    crate::export::export_gzip(&fixture.store, &image.manifest, &exported, "web:1", &AtomicBool::new(false))
        .unwrap();
    assert_eq!(inspect(&exported), original);
    let copy = Command::new(&skopeo)
        .arg("copy")
        .arg(format!("oci:{}:web:1", exported.display()))
        .arg(format!("dir:{}", fixture.root.path().join("copied").display()))
        .output()
        .unwrap();
    assert!(copy.status.success(), "{}", String::from_utf8_lossy(&copy.stderr));
}
