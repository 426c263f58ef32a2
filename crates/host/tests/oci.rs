//! The OCI command line: a container's life one call at a time, and podman over it.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use testkit::{TempDir, require_root, wait_until};

const RUNTIME: &str = env!("CARGO_BIN_EXE_host-test");

struct Bundle {
    dir: TempDir,
    id: String,
}

impl Bundle {
    fn new(script: &str, change: impl FnOnce(&mut Value)) -> Self {
        let dir = TempDir::new();
        make_rootfs(&dir.join("rootfs"));
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let mut config = json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": {
                "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["/bin/sh", "-c", script],
                "env": ["PATH=/bin"], "noNewPrivileges": false,
                "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] },
            },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
                { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] },
                { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"] },
            ],
            "linux": {
                "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "network" }, { "type": "uts" }, { "type": "ipc" }],
                "resources": { "memory": { "limit": 33554432 } },
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
                },
            },
            "annotations": { "a": "b" },
        });
        change(&mut config);
        fs::write(dir.join("config.json"), config.to_string()).unwrap();
        Self { dir, id: format!("o{}x{clock}", std::process::id()) }
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(RUNTIME);
        command.arg("oci").arg("--root").arg(self.dir.join("state")).arg("--log").arg(self.dir.join("log"));
        command.args(["--log-format", "json"]).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap().trim_end().to_owned()
    }

    /// Creates with output to files, as an engine does; the container keeps them.
    fn create(&self) {
        let out = fs::File::create(self.dir.join("out")).unwrap();
        let mut command = Command::new(RUNTIME);
        command
            .arg("oci")
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(["create", "--bundle"])
            .arg(self.dir.path());
        command.arg("--pid-file").arg(self.dir.join("pid")).arg(&self.id);
        let status = command.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
        assert!(status.success(), "{}", self.out());
    }

    fn out(&self) -> String {
        fs::read_to_string(self.dir.join("out")).unwrap()
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).unwrap()
    }

    fn becomes(&self, status: &str) {
        wait_until(Duration::from_secs(10), status, || self.state()["status"] == status);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
    }
}

fn make_rootfs(rootfs: &Path) {
    for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    fs::copy(testkit::busybox_static(), rootfs.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "echo", "sleep", "id", "grep", "mkdir", "true", "kill"] {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
}

#[test]
fn a_container_lives_one_call_at_a_time() {
    if !require_root("oci life") {
        return;
    }
    let bundle =
        Bundle::new("trap 'echo ended; exit 0' TERM; echo up; while true; do sleep 0.05; done", |_| {});
    let id = bundle.id.clone();
    bundle.create();
    let state = bundle.state();
    assert_eq!((state["status"].as_str(), state["annotations"]["a"].as_str()), (Some("created"), Some("b")));
    assert_eq!(state["bundle"].as_str(), bundle.dir.to_str());
    assert_eq!(state["pid"].to_string(), fs::read_to_string(bundle.dir.join("pid")).unwrap());
    assert!(
        bundle.fails(&["create", "--bundle", bundle.dir.to_str().unwrap(), &id]).ends_with("exists already")
    );
    bundle.ok(&["start", &id]);
    assert!(bundle.fails(&["start", &id]).ends_with("cannot be started, it is running"));
    assert!(bundle.fails(&["delete", &id]).contains("stop it first, or use --force"));
    wait_until(Duration::from_secs(10), "its output", || bundle.out() == "up\n");
    bundle.ok(&["pause", &id]);
    assert_eq!(bundle.state()["status"], "paused");
    bundle.ok(&["resume", &id]);
    // A signal that does not end it must not make it "stopped".
    bundle.ok(&["kill", &id, "CONT"]);
    assert_eq!(bundle.state()["status"], "running");
    bundle.ok(&["kill", &id]);
    bundle.becomes("stopped");
    assert_eq!(bundle.out(), "up\nended\n");
    assert!(bundle.fails(&["kill", &id]).ends_with("is not running"));
    assert!(bundle.ok(&["list", "-q"]).contains(&id));
    bundle.ok(&["delete", &id]);
    assert!(bundle.fails(&["state", &id]).ends_with("does not exist"));
    let log = fs::read_to_string(bundle.dir.join("log")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert!(last["level"] == "error" && last["msg"].as_str().unwrap().ends_with("does not exist"));
}

#[test]
fn run_gives_the_exit_code_and_leaves_nothing() {
    if !require_root("oci run") {
        return;
    }
    let bundle = Bundle::new("echo out; exit 7", |_| {});
    let output = bundle.call(&["run", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(7), &b"out\n"[..]));
    assert_eq!(bundle.ok(&["list", "-q"]), "");
    assert!(!Path::new("/sys/fs/cgroup/memory/juchu-oci").join(&bundle.id).exists());
}

/// The library drops filters, and would mount control groups writable on v1.
#[test]
fn filter_capabilities_and_groups_are_in_force() {
    if !require_root("oci confinement") {
        return;
    }
    let script = "grep -E 'Seccomp:|CapBnd|CapEff' /proc/self/status; mkdir /tmp/x || echo refused; \
        for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do \
        test -e $f && cat $f && echo 99999999 > $f && echo RAISED; done; true";
    let bundle = Bundle::new(script, |config| {
        // Where there is one tree, its own part of it is shown only in a name space of its own.
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
        }
    });
    let output = bundle.call(&["run", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Seccomp:\t2") && text.contains("refused"), "{text}");
    assert!(
        text.contains("CapBnd:\t0000000000000020") && text.contains("CapEff:\t0000000000000020"),
        "{text}"
    );
    assert!(text.contains("33554432") && !text.contains("RAISED"), "{text}");
}

#[test]
fn exec_joins_with_the_same_confinement() {
    if !require_root("oci exec") {
        return;
    }
    let bundle = Bundle::new("sleep 100", |_| {});
    let id = bundle.id.clone();
    bundle.create();
    bundle.ok(&["start", &id]);
    let output = bundle.call(&[
        "exec",
        "-e",
        "A=b",
        "--cwd",
        "/tmp",
        &id,
        "/bin/sh",
        "-c",
        "echo $A; grep Seccomp: /proc/self/status; exit 9",
    ]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(9), &b"b\nSeccomp:\t2\n"[..]));
    let file = bundle.dir.write(
        "process.json",
        json!({ "user": { "uid": 5, "gid": 6 }, "cwd": "/", "args": ["/bin/id", "-u"], "env": [] })
            .to_string(),
    );
    assert_eq!(bundle.ok(&["exec", "--process", file.to_str().unwrap(), &id]), "5\n");
    assert_eq!(bundle.fails(&["exec", &id, "nosuch"]), "error: executable `nosuch` not found in the image");
}

#[test]
fn bad_bundles_are_explained_and_leave_nothing() {
    if !require_root("oci bad bundles") {
        return;
    }
    let check = |change: &dyn Fn(&mut Value), expect: &str| {
        let bundle = Bundle::new("true", change);
        let problem = bundle.fails(&["create", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id]);
        assert!(problem.contains(expect), "{problem}");
        assert_eq!(bundle.ok(&["list", "-q"]), "");
        bundle.ok(&["delete", "--force", &bundle.id]);
    };
    check(
        &|config| config["process"]["args"] = json!(["nosuch"]),
        "executable `nosuch` not found in the image",
    );
    check(&|config| config["linux"]["cgroupsPath"] = json!("a.slice:b:c"), "is for systemd");
    check(
        &|config| config["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY"),
        "`SCMP_ACT_NOTIFY` is not supported",
    );
    check(&|config| config["root"] = json!({}), "root.path");
    let bundle = Bundle::new("true", |_| {});
    assert!(bundle.fails(&["create", "--bundle", "/nonexistent", "x"]).contains("bundle /nonexistent: "));
    assert!(bundle.fails(&["--systemd-cgroup", "list"]).contains("is not supported"));
}

/// A hook that stores the state it is told as `NAME` in the bundle's directory.
fn telling(dir: &Path, name: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat > {}", dir.join(name).display())] }])
}

#[test]
fn hooks_are_told_the_container_and_its_own_bundle() {
    if !require_root("oci hooks") {
        return;
    }
    let bundle = Bundle::new("cat /told; exec sleep 60", |_| {});
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(bundle.dir.join("config.json")).unwrap()).unwrap();
    let outside = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for kind in outside {
        config["hooks"][kind] = telling(&bundle.dir, kind);
    }
    // Inside, by the program's own environment, because it states none.
    let inside = json!({ "path": "/bin/sh", "args": ["sh", "-c", "cat > /told; echo $PATH >> /told"] });
    config["hooks"]["startContainer"] = json!([inside]);
    fs::write(bundle.dir.join("config.json"), config.to_string()).unwrap();
    let told = |kind: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(bundle.dir.join(kind)).expect(kind)).expect(kind)
    };

    bundle.create();
    let pid = bundle.state()["pid"].clone();
    for (kind, pid) in [("prestart", &pid), ("createRuntime", &pid), ("createContainer", &pid)] {
        let told = told(kind);
        assert_eq!((told["id"].as_str(), &told["pid"]), (Some(&*bundle.id), pid), "{kind}: {told}");
        assert_eq!(told["bundle"].as_str(), bundle.dir.to_str(), "{kind}");
        assert_eq!(told["annotations"]["a"], "b", "{kind}");
    }
    bundle.ok(&["start", &bundle.id]);
    let told_running = told("poststart");
    assert_eq!((&told_running["status"], &told_running["pid"]), (&json!("running"), &pid));
    assert_eq!(told_running["bundle"].as_str(), bundle.dir.to_str());
    wait_until(Duration::from_secs(10), "the hook inside", || bundle.out().ends_with("/bin\n"));
    let told_inside = bundle.out();
    let inside: Value = serde_json::from_str(told_inside.trim_end_matches("/bin\n")).unwrap();
    assert_eq!((inside["bundle"].as_str(), &inside["pid"]), (bundle.dir.to_str(), &json!(1)));
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    bundle.becomes("stopped");
    bundle.ok(&["delete", &bundle.id]);
    let told_stopped = told("poststop");
    assert_eq!((&told_stopped["status"], &told_stopped["id"]), (&json!("stopped"), &json!(bundle.id)));
    assert_eq!(told_stopped["bundle"].as_str(), bundle.dir.to_str());
}

#[test]
fn a_hook_that_fails_has_the_effect_of_its_moment() {
    if !require_root("oci hooks") {
        return;
    }
    let failing = |kind: &'static str| {
        Bundle::new("exec sleep 60", move |config| {
            config["hooks"][kind] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "exit 3"] }]);
        })
    };
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = failing(kind);
        let problem = bundle.fails(&["create", "--bundle", bundle.dir.to_str().unwrap(), &bundle.id]);
        assert!(problem.contains("hook"), "{kind}: {problem}");
        assert_eq!(bundle.ok(&["list", "-q"]), "", "{kind}");
    }
    let bundle = failing("poststart");
    bundle.create();
    let problem = bundle.fails(&["start", &bundle.id]);
    assert_eq!(problem, "error: poststart hook /bin/sh: exit status: 3");
    assert_eq!(bundle.state()["status"], "stopped", "it does not run on");
    // Deletion has happened; its hooks can only be warned about.
    let bundle = failing("poststop");
    bundle.create();
    let deleted = bundle.call(&["delete", "--force", &bundle.id]);
    assert!(deleted.status.success());
    assert_eq!(String::from_utf8_lossy(&deleted.stderr), "warning: poststop hook /bin/sh: exit status: 3\n");
    assert_eq!(bundle.ok(&["list", "-q"]), "");
}

#[test]
fn exec_joins_a_group_below_and_a_paused_container() {
    if !require_root("oci exec groups") {
        return;
    }
    let bundle = Bundle::new("exec sleep 60", |_| {});
    bundle.create();
    bundle.ok(&["start", &bundle.id]);
    let id = bundle.id.as_str();
    bundle.ok(&["exec", "--cgroup=/", id, "true"]);
    for (group, expect) in [
        ("nosuch", "does not exist"),
        ("pids:nosuch", "pids"),
        ("waaaaat:/", "no `waaaaat` control group"),
        ("../x", "leads upwards"),
    ] {
        let problem = bundle.fails(&["exec", "--cgroup", group, id, "true"]);
        assert!(problem.contains(expect), "{group}: {problem}");
    }
    bundle.ok(&["pause", id]);
    assert!(bundle.fails(&["exec", id, "true"]).contains("is paused"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bundle.ok(&["exec", "--ignore-paused", id, "echo", "thawed"]));
        bundle.ok(&["resume", id]);
        assert_eq!(waiting.join().unwrap(), "thawed\n");
    });
}

#[test]
fn options_may_follow_the_id() {
    if !require_root("oci options") {
        return;
    }
    let bundle = Bundle::new("exec sleep 60", |_| {});
    let out = fs::File::create(bundle.dir.join("out")).unwrap();
    let mut command = Command::new(RUNTIME);
    command.arg("oci").arg("--root").arg(bundle.dir.join("state"));
    command.args(["create", &bundle.id, "--bundle"]).arg(bundle.dir.path());
    let status = command.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
    assert!(status.success(), "{}", bundle.out());
    bundle.ok(&["start", &bundle.id]);
    bundle.ok(&["kill", &bundle.id, "KILL", "--all"]);
    bundle.becomes("stopped");
    bundle.ok(&["delete", &bundle.id, "--force"]);
}

#[test]
fn podman_runs_containers_by_it() {
    if !require_root("podman") {
        return;
    }
    let Some(podman) = testkit::needs("podman", "podman") else { return };
    let dir = TempDir::new();
    make_rootfs(&dir.join("rootfs"));
    let wrapper = dir.write("runtime", format!("#!/bin/sh\nexec {RUNTIME} oci \"$@\"\n"));
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&podman);
        command.arg("--root").arg(dir.join("storage")).arg("--runroot").arg(dir.join("run"));
        command
            .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime"])
            .arg(&wrapper);
        command.args(arguments).output().unwrap()
    };
    let limits = ["--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--memory=64m"];
    let script = "grep Seccomp: /proc/self/status; exit 5";
    let rootfs = dir.join("rootfs").display().to_string();
    let arguments: Vec<&str> = ["run", "--rm"]
        .into_iter()
        .chain(limits)
        .chain(["--rootfs", &rootfs, "/bin/sh", "-c", script])
        .collect();
    let output = run(&arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), &*output.stdout), (Some(5), &b"Seccomp:\t2\n"[..]), "{error}");
}
