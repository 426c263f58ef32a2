//! Keys of a service that few files have: each does what it says, seen from inside.

use crate::fixture::{Fixture, groups, test};
use model::instance::{InstanceSpec, ResolvedMount};
use model::mount::MountSource;
use model::service::{BlockIo, Device, DeviceNumber};
use model::{Bytes, VolumeName};
use run::engine::{Engine, EngineError};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn mount(source: MountSource, target: &str, options: &[&str]) -> ResolvedMount {
    ResolvedMount {
        source,
        target: target.into(),
        read_only: false,
        options: options.iter().map(|option| option.to_string()).collect(),
        volume_options: BTreeMap::new(),
    }
}

fn bind(path: &Path, target: &str, options: &[&str]) -> ResolvedMount {
    let source = MountSource::Bind { path: path.to_owned(), create: false, recursive: true };
    mount(source, target, options)
}

/// A file of one of an instance's control groups, by its name on v1 and on v2.
fn limit(spec: &InstanceSpec, names: [&str; 2]) -> String {
    let found = groups(&spec.id).into_iter().flat_map(|dir| names.map(|name| dir.join(name)));
    let file = found.into_iter().find(|file| file.is_file()).expect("a file for this limit");
    fs::read_to_string(file).expect("it can be read").trim().to_owned()
}

fn some_block_device() -> Option<String> {
    use std::os::unix::fs::FileTypeExt;
    let mut devices = fs::read_dir("/dev").ok()?.flatten();
    let device = devices.find(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device()))?;
    Some(device.path().display().to_string())
}

fn is_v1() -> bool {
    Path::new("/sys/fs/cgroup/memory").is_dir()
}

#[test]
fn limits_of_time_and_disk_are_in_force() {
    test("cpu and blkio", async || {
        let mut fixture = Fixture::new().await;
        let mut spec = fixture.spec("sleep 100");
        spec.resources.cpu_quota_us = Some(25_000);
        spec.resources.cpu_period_us = Some(50_000);
        let device = some_block_device();
        let rate = DeviceNumber { path: device.clone().unwrap_or_default(), number: 1 << 20 };
        if device.is_some() {
            let io = BlockIo { device_read_bps: vec![rate], ..BlockIo::default() };
            spec.resources.block_io = Some(Box::new(io));
        }
        if is_v1() {
            spec.resources.memory = Some(Bytes::mib(64));
            spec.resources.swappiness = Some(7);
            spec.resources.oom_kill_disable = true;
        }
        fixture.run(&spec).await.unwrap();
        let quota = limit(&spec, ["cpu.cfs_quota_us", "cpu.max"]);
        assert!(quota == "25000" || quota == "25000 50000", "{quota}");
        if device.is_some() {
            let rates = limit(&spec, ["blkio.throttle.read_bps_device", "io.max"]);
            assert!(rates.contains("1048576"), "{rates}");
        }
        if is_v1() {
            assert_eq!(limit(&spec, ["memory.swappiness", ""]), "7");
            assert!(limit(&spec, ["memory.oom_control", ""]).starts_with("oom_kill_disable 1"));
        }
        let mut bad = fixture.spec("true");
        let nowhere = DeviceNumber { path: "/dev/nosuch".into(), number: 1 };
        let io = BlockIo { device_write_iops: vec![nowhere], ..BlockIo::default() };
        bad.resources.block_io = Some(Box::new(io));
        assert!(
            matches!(fixture.run(&bad).await, Err(EngineError::Mount { .. })),
            "a device that is not there"
        );
    });
}

#[test]
fn devices_are_given_as_far_as_declared() {
    test("devices", async || {
        let mut fixture = Fixture::new().await;
        // No device has this number: who may use it is told so, who may not is refused.
        let script = "mknod /dev/d c 42 7; cat /dev/d; mknod /dev/e c 42 8; cat /dev/e; ls /dev/given; \
                      echo x > /dev/given/null; echo x > /only; true";
        let dir = fixture.dir.join("devices");
        fs::create_dir(&dir).unwrap();
        for name in ["null", "zero"] {
            let number = rustix::fs::makedev(1, if name == "null" { 3 } else { 5 });
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                dir.join(name),
                rustix::fs::FileType::CharacterDevice,
                mode,
                number,
            )
            .unwrap();
        }
        fs::write(dir.join("file"), "").unwrap();
        let device = |source: &str, target: &str, permissions: &str| Device {
            source: source.into(),
            target: target.into(),
            permissions: permissions.into(),
        };
        let (exit, output) = fixture
            .script(script, |spec| {
                spec.process.cap_add = vec!["MKNOD".into()];
                spec.process.device_cgroup_rules = vec!["c 42:7 rw".into()];
                spec.process.devices = vec![
                    device(&dir.display().to_string(), "/dev/given", "rwm"),
                    device("/dev/kmsg", "/only", "r"),
                ];
            })
            .await;
        assert_eq!(exit.code, 0, "{output}");
        assert!(output.contains("'/dev/d': No such device"), "{output}");
        assert!(output.contains("'/dev/e': Operation not permitted"), "{output}");
        assert!(output.contains("null\nzero") && !output.contains("file"), "{output}");
        assert!(output.contains("/only: Operation not permitted"), "read only by the device group: {output}");
    });
}

#[test]
fn the_hosts_name_and_a_profile_of_a_file_are_used() {
    test("uts and seccomp", async || {
        let mut fixture = Fixture::new().await;
        let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#;
        let script = "hostname; cat /etc/hostname; mkdir /made || echo refused; mknod /p p && echo more";
        let output = fixture
            .says(script, |spec| {
                spec.process.host_uts = true;
                spec.process.seccomp_profile = Some(profile.into());
                spec.process.annotations.insert("example.key".into(), "value".into());
            })
            .await;
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert!(output.starts_with(&format!("{own}\n{own}\n")), "{output}");
        assert!(
            ["Permission denied", "refused", "more"].iter().all(|word| output.contains(word)),
            "{output}"
        );
        let refused = fixture.spec("true");
        let mut refused = InstanceSpec { ..refused };
        refused.process.seccomp_profile = Some("{\"defaultAction\": \"SCMP_ACT_ODD\"}".into());
        let error = fixture.run(&refused).await.expect_err("an action that is not known");
        assert!(error.to_string().contains("SCMP_ACT_ODD"), "{error}");
    });
}

/// Unmounted also when the test fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn output_that_nobody_wants_is_not_kept() {
    test("no log", async || {
        let mut fixture = Fixture::new().await;
        let (exit, output) =
            fixture.script("echo said; seq 1 20000; exit 4", |spec| spec.log_max_files = 0).await;
        assert_eq!(
            (exit.code, output.as_str()),
            (4, ""),
            "it is read, so that the program goes on, and dropped"
        );
    });
}

#[test]
fn options_of_mounts_count() {
    test("mount options", async || {
        let mut fixture = Fixture::new().await;
        let (one, other) = (fixture.dir.join("one"), fixture.dir.join("other"));
        fs::create_dir_all(one.join("sub")).unwrap();
        fs::create_dir_all(other.join("sub")).unwrap();
        let mut spec = fixture.spec(
            "for d in /fast /run; do cp /bin/busybox $d/true && $d/true && echo $d runs; done; \
             stat -c '%u %g' /run; sleep 100",
        );
        let tmpfs = || MountSource::Tmpfs { size: Some(Bytes::mib(8)), mode: None };
        spec.mounts = vec![
            mount(tmpfs(), "/fast", &[]),
            mount(tmpfs(), "/run", &["exec", "uid=1000", "gid=50"]),
            bind(&one, "/slave", &["rslave"]),
            bind(&other, "/private", &[]),
        ];
        let id = fixture.run(&spec).await.unwrap();
        fixture.said(&id, "/run runs").await;
        fixture.said(&id, "1000 50").await;
        let output = fixture.output(&id).await;
        assert!(output.contains("Permission denied") && !output.contains("/fast runs"), "{output}");
        let mounted: Vec<Mounted> = [&one, &other]
            .into_iter()
            .map(|dir| {
                let place = dir.join("sub");
                rustix::mount::mount("tmpfs", &place, "tmpfs", rustix::mount::MountFlags::empty(), c"")
                    .unwrap();
                fs::write(place.join("later"), "").unwrap();
                Mounted(place)
            })
            .collect();
        let seen = fixture.exec(&id, "ls /slave/sub; ls /private/sub").await.output;
        // Where the host shares its mounts with nobody, nothing can arrive.
        let shares = fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .any(|line| line.split(' ').nth(4) == Some("/") && line.contains(" shared:"));
        assert_eq!(seen, if shares { "later\n" } else { "" });
        drop(mounted);
    });
}

#[test]
fn a_volume_is_what_its_driver_options_say() {
    test("driver_opts", async || {
        let mut fixture = Fixture::new().await;
        let (full, empty) = (fixture.dir.join("full"), fixture.dir.join("empty"));
        fs::create_dir(&full).unwrap();
        fs::create_dir(&empty).unwrap();
        fs::write(full.join("file"), "from the host\n").unwrap();
        let volume = |name: &str, target: &str, options: &[(&str, &str)]| {
            let name = VolumeName::new(name).unwrap();
            let source = MountSource::Volume { name, no_copy: false, subpath: None };
            let volume_options = options.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            ResolvedMount { volume_options: volume_options.collect(), ..mount(source, target, &[]) }
        };
        let (full_text, empty_text) = (full.display().to_string(), empty.display().to_string());
        let output = fixture
            .says("cat /bound/file; touch /bound/x 2>&1 || echo kept; cat /srv/data/seed; grep ' /memory ' /proc/mounts", |spec| {
                spec.mounts = vec![
                    volume("bound", "/bound", &[("type", "none"), ("o", "bind,ro"), ("device", &full_text)]),
                    volume("filled", "/srv/data", &[("type", "none"), ("o", "bind"), ("device", &empty_text)]),
                    volume("memory", "/memory", &[("type", "tmpfs"), ("o", "size=1m,noexec"), ("device", "tmpfs")]),
                ];
            })
            .await;
        assert!(output.starts_with("from the host\n"), "{output}");
        assert!(
            output.contains("Read-only file system") && output.contains("kept\nfrom the image"),
            "{output}"
        );
        assert!(output.contains("size=1024k") && output.contains("noexec"), "{output}");
        assert_eq!(
            fs::read_to_string(empty.join("seed")).unwrap(),
            "from the image\n",
            "filled like any volume"
        );
        let mut bad = fixture.spec("true");
        bad.mounts = vec![volume("gone", "/gone", &[("type", "none"), ("o", "bind"), ("device", "/nosuch")])];
        match fixture.run(&bad).await {
            Err(EngineError::Mount { path, .. }) => assert_eq!(path, Path::new("/nosuch")),
            other => panic!("{other:?}"),
        }
        assert!(
            !fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&fixture.dir.display().to_string())
        );
    });
}

#[test]
fn memory_and_processes_of_another_instance_are_shared() {
    test("ipc and pid", async || {
        let mut fixture = Fixture::new().await;
        let first = fixture.spec("echo hello > /dev/shm/word; echo written; sleep 4242");
        fixture.run(&first).await.unwrap();
        fixture.said(&first.id, "written").await;
        let script = "cat /dev/shm/word; ps; readlink /proc/self/ns/ipc; echo answer > /dev/shm/answer";
        let mut second = fixture.spec(script);
        second.ipc_of = Some(first.id.clone());
        second.pid_of = Some(first.id.clone());
        fixture.run(&second).await.unwrap();
        assert_eq!(fixture.exit(&second.id).await.code, 0);
        let output = fixture.output(&second.id).await;
        assert!(output.starts_with("hello\n") && output.contains("sleep 4242"), "{output}");
        let own = fixture.exec(&first.id, "readlink /proc/self/ns/ipc; cat /dev/shm/answer").await.output;
        let (namespace, answer) = own.split_once('\n').unwrap();
        assert!(output.contains(namespace), "{output}\n{own}");
        assert_eq!(answer, "answer\n");
        let mut alone = fixture.spec("true");
        fixture.engine.stop(&first.id, None).await.unwrap();
        alone.pid_of = Some(first.id.clone());
        assert!(matches!(fixture.run(&alone).await, Err(EngineError::NotRunning(id)) if id == first.id));
    });
}
