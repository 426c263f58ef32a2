//! Build commands run in containers with limits of their own: each limit that is reached is named,
//! secrets reach nothing but the command, and however a build ends nothing of it stays.

use super::machine::{Machine, Said, tiny};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testkit::{free_port, wait_until};

const SECRET: &str = "hunter2-is-no-password";

/// A package that runs `PIP_SCRIPT` while its wheel is made.
const BACKEND: &str = r#"
import os, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    exec(os.environ.get("PIP_SCRIPT", ""))
    name, info = "odd-1.0-py3-none-any.whl", "odd-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        wheel.writestr("odd.py", "x = 1\n")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    return name
"#;
const PROJECT: &str = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\
                       [project]\nname = \"odd\"\nversion = \"1.0\"\n";

/// A Python service whose only requirement is that package, from a directory.
struct Odd<'a> {
    machine: &'a Machine,
    directory: PathBuf,
}

impl<'a> Odd<'a> {
    fn new(machine: &'a Machine) -> Self {
        let directory = machine.project("odd", "");
        let odd = Self { machine, directory };
        odd.limits("network: false");
        odd.file("secret.txt", SECRET);
        odd.file("app/requirements.txt", "odd\n");
        odd.file("app/main.py", "import odd\n");
        odd.file("package/odd-1.0/pyproject.toml", PROJECT);
        odd.file("package/odd-1.0/backend.py", BACKEND);
        odd.file("package/odd-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n");
        fs::create_dir_all(odd.directory.join("links")).expect("a directory");
        let packed = Command::new("tar")
            .args(["-czf", "links/odd-1.0.tar.gz", "-C", "package", "odd-1.0"])
            .current_dir(&odd.directory)
            .status();
        assert!(packed.expect("tar is there").success());
        odd
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().expect("below the project")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    fn limits(&self, limits: &str) {
        self.file(
            "compose.yaml",
            &format!(
                "name: odd\nservices:\n  web:\n    build: {{context: ./app, secrets: [token]}}\n\
                 \x20   command: [python3, main.py]\n\
                 \x20   x-juchu: {{builder: native, build: {{{limits}}}}}\n\
                 secrets: {{token: {{file: ./secret.txt}}}}\n"
            ),
        );
    }

    fn command(&self, script: &str) -> Command {
        // What was resolved once is not resolved again.
        let _ = fs::remove_dir_all(self.machine.home().join("cache/resolved-python"));
        let mut command = self.machine.command(&self.directory, &["build"]);
        command
            .env("PIP_FIND_LINKS", self.directory.join("links"))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_SCRIPT", script);
        command
    }

    fn build(&self, script: &str) -> Said {
        self.machine.finish(&["build"], &mut self.command(script))
    }

    /// A build whose command makes this file and then waits.
    fn waiting(&self) -> Child {
        let child = self
            .command("open('/out/sign', 'w').close(); import time; time.sleep(600)")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        wait_until(Duration::from_secs(120), "the command", || !signs(self.machine.home()).is_empty());
        child
    }

    #[track_caller]
    fn refused(&self, limits: &str, script: &str, error: &str, hint: &str) {
        self.limits(&format!("network: false, {limits}"));
        let said = self.build(script);
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains(&format!("error: web: {error}")), "{}", said.err);
        assert!(said.err.contains(hint), "{}", said.err);
        nothing_stays(self.machine);
    }
}

fn signs(home: &Path) -> Vec<PathBuf> {
    let runs = fs::read_dir(home.join("cache/scratch")).into_iter().flatten().flatten();
    runs.map(|run| run.path().join("out/sign")).filter(|sign| sign.exists()).collect()
}

/// Neither files, nor groups, nor mounts, nor processes of a build.
#[track_caller]
pub fn nothing_stays(machine: &Machine) {
    let entries = |path: &str| {
        let all = fs::read_dir(machine.home().join(path)).into_iter().flatten().flatten();
        all.map(|entry| entry.path()).filter(|path| !path.ends_with(".lock")).collect::<Vec<_>>()
    };
    for path in ["builds", "run/builds", "images/queue", "images/tmp", "cache/scratch"] {
        assert_eq!(entries(path), Vec::<PathBuf>::new());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    // Instances that run have mounts elsewhere.
    let own = ["builds", "run/builds"].map(|path| machine.home().join(path).display().to_string());
    let left: Vec<_> = mounts.lines().filter(|line| own.iter().any(|path| line.contains(path))).collect();
    assert_eq!(left, Vec::<&str>::new());
}

/// The control groups whose names builds of this machine wrote down.
fn groups(machine: &Machine) -> Vec<PathBuf> {
    let builds = fs::read_dir(machine.home().join("builds")).into_iter().flatten().flatten();
    let names = builds.filter_map(|build| fs::read_to_string(build.path().join("group")).ok());
    let roots = ["/sys/fs/cgroup/pids/juchu", "/sys/fs/cgroup/juchu"].map(PathBuf::from);
    names
        .flat_map(|name| roots.clone().map(|root| root.join(name.trim())))
        .filter(|dir| dir.is_dir())
        .collect()
}

#[test]
fn a_limit_that_is_reached_ends_the_build_and_is_named() {
    let Some(machine) = Machine::new("build limits") else { return };
    let odd = Odd::new(&machine);
    odd.refused(
        "memory: 128m",
        "x = bytearray(600 << 20)",
        "the build needed more than its limit of 128 MiB of memory",
        "`x-juchu: {build: {memory: 256m}}`",
    );
    let many =
        "[open(f'/tmp/{i}', 'wb').write(b'x' * (8 << 20)) for i in range(40)]; import time; time.sleep(60)";
    odd.refused(
        "disk: 100m",
        many,
        "the build wrote more than its limit of 100 MiB",
        "`x-juchu: {build: {disk: 200m}}`",
    );
    let forks = "import os, time\nfor i in range(60):\n    if os.fork() == 0: time.sleep(5); os._exit(0)";
    odd.refused(
        "pids: 40",
        forks,
        "the build wanted more than its limit of 40 processes and threads",
        "`x-juchu: {build: {pids: 80}}`",
    );
    odd.refused(
        "timeout: 8s",
        "import time; time.sleep(600)",
        "the build took longer than its limit of 8 s and was ended",
        "`x-juchu: {build: {timeout: 16s}}`",
    );
}

#[test]
fn a_build_reaches_no_network_and_its_secrets_reach_nobody_else() {
    let Some(machine) = Machine::new("build secrets") else { return };
    let odd = Odd::new(&machine);
    let check = "import os\nassert os.listdir('/sys/class/net') == ['lo'], os.listdir('/sys/class/net')\n";
    let read = "token = open('/run/secrets/token').read()\n";
    let tell =
        "print(token); os.system('cat /run/secrets/token; env; cat /proc/*/environ'); print(os.environ)\n";
    let said = odd.build(&format!("{check}{read}assert token.startswith('hunter2')\n{tell}"));
    assert_eq!(said.code, 0, "{}", said.err);
    let failed = odd.build(&format!("{check}{read}{tell}raise SystemExit(token)"));
    assert_eq!(failed.code, 1, "{}", failed.err);
    for text in [&said.out, &said.err, &failed.out, &failed.err] {
        assert!(!text.contains(SECRET), "{text}");
    }
    no_file_holds(machine.home(), SECRET, &odd.directory);
    nothing_stays(&machine);
}

/// Layers are looked at unpacked; packed ones could hide it.
#[track_caller]
pub fn no_file_holds(directory: &Path, secret: &str, except: &Path) {
    for entry in fs::read_dir(directory).expect("readable").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("readable"));
        if path == except {
            continue;
        }
        if kind.is_dir() {
            no_file_holds(&path, secret, except);
        } else if kind.is_file() && !path.parent().is_some_and(|parent| parent.ends_with("netns")) {
            // A network name space is a file that nobody reads.
            let content = fs::read(&path).expect("readable");
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds the secret", path.display());
        }
    }
}

#[test]
fn what_a_killed_build_left_is_cleared_by_the_next() {
    let Some(machine) = Machine::new("killed builds") else { return };
    let odd = Odd::new(&machine);
    let next = tiny(&machine, "next", free_port(), "next", "");

    // The command itself, which holds the engine.
    let mut child = odd.waiting();
    assert!(!groups(&machine).is_empty());
    let group = groups(&machine).remove(0);
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    assert!(!signs(machine.home()).is_empty(), "it had no time to clean up");
    machine.must(&next, &["build"]);
    assert!(!group.exists(), "{}", group.display());
    nothing_stays(&machine);

    // By the keyboard: at once.
    let mut child = odd.waiting();
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is ours");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    nothing_stays(&machine);

    // The daemon.
    let daemon = ["up", "-d"];
    machine.must(&next, &daemon);
    let pid = machine.daemon().expect("it runs");
    machine.kill_daemon();
    let mut child = odd.waiting();
    machine.must(&next, &daemon);
    assert_ne!(machine.daemon(), Some(pid), "another one runs, and leaves builds of others alone");
    assert_eq!(child.try_wait().expect("it can be asked"), None);
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
}

#[test]
fn builds_wait_for_each_other_and_say_for_whom() {
    let Some(machine) = Machine::new("queue of builds") else { return };
    let odd = Odd::new(&machine);
    let next = tiny(&machine, "next", free_port(), "next", "");
    let mut first = odd.waiting();
    let log = machine.home().join("second.log");
    let mut second = machine
        .command(&next, &["build"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("it starts");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let expected = format!("waiting for the build of web ({}) to end", odd.directory.join("app").display());
    wait_until(Duration::from_secs(20), "the second to wait", || said().contains(&expected));
    let seen = machine.run(&next, &["ps"]);
    assert!(seen.err.contains("building web"), "{}", seen.err);
    assert!(seen.err.contains("1 build waits: web"), "{}", seen.err);
    first.kill().expect("it is ours");
    first.wait().expect("it ends");
    assert_eq!(second.wait().expect("it ends").code(), Some(0), "{}", said());
    nothing_stays(&machine);
}
