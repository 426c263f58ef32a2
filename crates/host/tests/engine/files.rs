//! What a service sees in its file tree beside its image.

use crate::fixture::{Fixture, test};
use model::instance::{InstanceSpec, PlacedFile, ResolvedMount};
use model::mount::MountSource;
use model::{Bytes, VolumeName};
use run::engine::{Engine, EngineError};
use std::fs;
use std::os::unix::fs::MetadataExt;

fn mount(source: MountSource, target: &str) -> ResolvedMount {
    let (options, volume_options) = Default::default();
    ResolvedMount { source, target: target.into(), read_only: false, options, volume_options }
}

fn volume(name: &str) -> MountSource {
    MountSource::Volume { name: VolumeName::new(name).unwrap(), no_copy: false, subpath: None }
}

#[test]
fn host_paths_are_bound_or_named_when_missing() {
    test("bind", async || {
        let mut fixture = Fixture::new().await;
        let (there, missing) = (fixture.dir.join("a,b:c d"), fixture.dir.join("missing"));
        fs::create_dir(&there).unwrap();
        fs::write(there.join("f"), "text").unwrap();
        let bind = |path: &std::path::Path, create| MountSource::Bind {
            path: path.to_owned(),
            create,
            recursive: false,
        };
        let output = fixture
            .says("cat /in/f /one; echo x > /in/new; echo x > /ro/x || echo read-only", |spec| {
                spec.mounts = vec![
                    mount(bind(&there, false), "/in"),
                    mount(bind(&there.join("f"), false), "/one"),
                    ResolvedMount { read_only: true, ..mount(bind(&there, false), "/ro") },
                ];
            })
            .await;
        assert!(output.contains("texttextread-only"), "{output}");
        assert!(there.join("new").exists());
        let mut spec = fixture.spec("true");
        spec.mounts = vec![mount(bind(&missing, false), "/in")];
        match fixture.run(&spec).await {
            Err(EngineError::Mount { path, reason }) => {
                assert_eq!((path, reason.as_str()), (missing.clone(), "bind source path does not exist"));
            }
            other => panic!("{other:?}"),
        }
        fixture.says("test -d /in", |spec| spec.mounts = vec![mount(bind(&missing, true), "/in")]).await;
        assert!(missing.is_dir());
    });
}

#[test]
fn a_named_volume_begins_with_the_images_content_and_stays() {
    test("volume", async || {
        let mut fixture = Fixture::new().await;
        let with = |spec: &mut InstanceSpec| spec.mounts = vec![mount(volume("data"), "/srv/data")];
        let output =
            fixture.says("cat /srv/data/seed; stat -c %u /srv/data; echo mine > /srv/data/seed", with).await;
        assert_eq!(output, "from the image\n1000");
        assert_eq!(fixture.says("cat /srv/data/seed", with).await, "mine");
        let data = fixture.dir.join("volumes/data/data");
        assert_eq!(fs::metadata(&data).unwrap().uid(), 1000);
        fixture.engine.remove_volume(&VolumeName::new("data").unwrap()).await.unwrap();
        assert!(!data.exists());
        fs::write(fixture.dir.join("volumes/bad"), "").unwrap();
        let mut spec = fixture.spec("true");
        spec.mounts = vec![mount(volume("bad"), "/srv/data")];
        match fixture.run(&spec).await {
            Err(EngineError::Mount { reason, .. }) => assert_eq!(reason, "the volume is not a directory"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_anonymous_volume_lives_as_long_as_its_instance() {
    test("anonymous", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("cat /srv/data/seed; echo again > /srv/data/seed");
        spec.mounts = vec![mount(MountSource::Anonymous, "/srv/data")];
        let id = fixture.run(&spec).await.unwrap();
        fixture.exit(&id).await;
        fixture.engine.start(&id).await.unwrap();
        fixture.exit(&id).await;
        assert_eq!(fixture.output(&id).await, "from the image\nagain\n");
        fixture.engine.remove(&id).await.unwrap();
        assert!(!fixture.state_dir(&id).exists());
    });
}

#[test]
fn memory_is_mounted_with_its_size() {
    test("tmpfs", async || {
        let mut fixture = Fixture::new().await;
        let output = fixture
            .says("grep -E ' (/fast|/dev/shm) ' /proc/mounts; stat -c %a /fast; echo x > /fast/x", |spec| {
                spec.process.read_only = true;
                spec.process.shm_size = Some(Bytes::mib(8));
                spec.mounts =
                    vec![mount(MountSource::Tmpfs { size: Some(Bytes::mib(2)), mode: Some(0o700) }, "/fast")];
            })
            .await;
        assert!(output.contains("size=2048k") && output.contains("size=8192k"), "{output}");
        assert!(output.ends_with("700"), "{output}");
    });
}

#[test]
fn a_read_only_root_takes_no_writes() {
    test("read-only", async || {
        let mut fixture = Fixture::new().await;
        let script = "touch /x 2>&1; touch /dev/shm/x && echo shm; cat /etc/hostname";
        let output = fixture.says(script, |spec| spec.process.read_only = true).await;
        assert!(output.contains("Read-only file system") && output.ends_with("shm\nweb-1"), "{output}");
    });
}

#[test]
fn names_and_resolver_are_written() {
    test("hosts", async || {
        let mut fixture = Fixture::new().await;
        let output = fixture
            .says("cat /etc/hosts /etc/resolv.conf", |spec| {
                spec.process.extra_hosts.insert("db.example".into(), vec!["10.9.8.7".into()]);
                spec.process.dns = vec!["10.1.1.1".parse().unwrap()];
                spec.process.dns_search = vec!["example".into()];
            })
            .await;
        for line in [
            "127.0.0.1\tlocalhost",
            "127.0.1.1\tweb-1",
            "10.9.8.7\tdb.example",
            "nameserver 10.1.1.1",
            "search example",
            "options ndots:0",
        ] {
            assert!(output.lines().any(|l| l == line), "{line} in {output}");
        }
    });
}

#[test]
fn a_placed_file_is_the_users_and_nobody_elses() {
    test("secret", async || {
        let mut fixture = Fixture::new().await;
        let source = fixture.dir.write("secret", "hush");
        let place = |spec: &mut InstanceSpec| {
            spec.process.user = Some("app".into());
            spec.files = vec![PlacedFile {
                source: source.clone(),
                target: "/run/secrets/key".into(),
                uid: 1000,
                gid: 1000,
                mode: 0o400,
            }];
        };
        let script = "cat /run/secrets/key; echo; stat -c '%u %a' /run/secrets/key; echo x > /run/secrets/key || echo kept; sleep 100";
        let mut spec = fixture.spec(script);
        place(&mut spec);
        let id = fixture.run(&spec).await.unwrap();
        fixture.said(&id, "kept").await;
        assert!(fixture.output(&id).await.starts_with("hush\n1000 400\n"));
        let placed = fixture.runtime_dir(&id).join("placed");
        assert_eq!(fs::metadata(&placed).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(placed.join("0")).unwrap().mode() & 0o777, 0o400);
    });
}
