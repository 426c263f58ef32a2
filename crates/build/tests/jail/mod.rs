//! Runs an assembled image for a test: its layers copied into a directory, entered by `unshare`
//! with own mounts and processes. Dropping the running program ends every process in it.

#![allow(dead_code, reason = "each test program uses its own part of it")]

use build::{ImagePlan, ImageStore};
use model::image::ImageConfig;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{NetnsGuard, ProcessGuard, TempDir};

/// Capabilities of the entry program, as the engine limits them.
const CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+setgid,+setuid";

pub struct Jail {
    root: TempDir,
    pub config: ImageConfig,
    pub environment: BTreeMap<String, String>,
    _network: NetnsGuard,
}

/// A started image.
pub struct Running {
    process: ProcessGuard,
    lines: Arc<Mutex<Vec<String>>>,
    /// Reads until nobody can write any more.
    reading: Option<std::thread::JoinHandle<()>>,
    root: PathBuf,
}

impl Jail {
    /// Must be called before any other socket of the test: from here on it is in a network of its own.
    pub fn new(plan: &ImagePlan) -> Self {
        let (config, root) = copy_image(plan);
        let environment = config.environment.clone();
        Self { root, config, environment, _network: NetnsGuard::new() }
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside.trim_start_matches('/'))
    }

    pub fn write(&self, inside: &str, text: &str) -> PathBuf {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts the image's entry point with `command`, or with its own command when that is empty.
    pub fn start(&self, command: &[&str]) -> Running {
        let own = self.config.command.iter().map(String::as_str).collect::<Vec<_>>();
        let command = if command.is_empty() { own.as_slice() } else { command };
        let user = self.config.user.split(':').next().unwrap_or("0");
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]);
        unshare.arg(format!("--root={}", self.root.path().display()));
        unshare.arg(format!("--wd={}", self.config.working_dir));
        // The image of a web server has no setpriv; such images start unprivileged.
        if self.path("/usr/bin/setpriv").exists() && user == "0" {
            unshare.args(["/usr/bin/setpriv", "--bounding-set", CAPABILITIES, "--inh-caps=-all", "--"]);
        } else {
            unshare.args([&format!("--setuid={user}"), &format!("--setgid={user}"), "--"]);
        }
        unshare.args(&self.config.entrypoint).args(command);
        unshare.env_clear().envs(&self.environment).stdin(Stdio::null());
        let (reader, writer) = std::io::pipe().unwrap();
        // As engines do, so that the program may open /dev/stdout by name.
        std::os::unix::fs::fchown(&writer, user.parse().ok(), None).unwrap();
        unshare.stdout(writer.try_clone().unwrap()).stderr(writer);
        let process = ProcessGuard::spawn(&mut unshare);
        drop(unshare);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Running { process, lines, reading: Some(reading), root: self.root.path().to_owned() }
    }
}

impl Running {
    /// A command beside the program, in its namespaces, as root.
    pub fn exec(&self, argv: &[&str], environment: &[(&str, &str)]) -> Output {
        let pid = self.first().map_or(0, |pid| pid);
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={pid}")).args(["--mount", "--pid", "--ipc"]);
        command.arg(format!("--root={}", self.root.display())).arg("--wd=/").args(argv);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/lib/postgresql/17/bin:/usr/bin:/bin");
        command.envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap()
    }

    /// Process 1 of the image, once it is there.
    pub fn first(&self) -> Option<i32> {
        let children = format!("/proc/{0}/task/{0}/children", self.process.pid());
        fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()
    }

    /// The command lines of everything that runs in it.
    pub fn command_lines(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut queue: Vec<i32> = self.first().into_iter().collect();
        while let Some(pid) = queue.pop() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            queue.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        found
    }

    /// The program was there and is gone.
    pub fn has_ended(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap_or_default();
        status.contains(") Z ")
    }

    pub fn output(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub fn signal_first(&self, signal: rustix::process::Signal) {
        let pid = self.first().and_then(rustix::process::Pid::from_raw).expect("it runs");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for the end; answers the exit code.
    pub fn ended(mut self, limit: Duration) -> (i32, String) {
        let status =
            testkit::wait_for(limit, "the program to end", || self.process.child.try_wait().unwrap());
        // What was said last is read by now; the other end closed with the program.
        self.reading.take().expect("it is taken once").join().expect("it does not panic");
        (status.code().unwrap_or(-1), self.output())
    }

    /// Kills everything at once, as a power cut would.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Running {
    /// Process 1 of the image takes all others with it; `unshare` ends when it has.
    fn drop(&mut self) {
        if let Some(pid) = self.first().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = self.process.child.wait();
        }
    }
}

/// The files of an image in a directory of their own. Downloads are kept below the target directory,
/// so that only the first run needs the network.
pub fn copy_image(plan: &ImagePlan) -> (ImageConfig, TempDir) {
    let store = ImageStore::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("jail-store")).unwrap();
    let image = build::assemble(plan, &store, &|line| eprintln!("{line}")).unwrap();
    let root = TempDir::new();
    for layer in &image.layers {
        let mut from = store.layer_dir(layer).unwrap().into_os_string();
        from.push("/.");
        run(Command::new("cp").arg("-a").arg("--reflink=auto").arg(from).arg(root.path()));
    }
    make_devices(root.path());
    (image.config, root)
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn make_devices(root: &Path) {
    let dev = root.join("dev");
    for directory in [dev.clone(), dev.join("shm"), root.join("proc"), root.join("tmp")] {
        fs::create_dir_all(&directory).unwrap();
    }
    for open in ["dev/shm", "tmp"] {
        run(Command::new("chmod").arg("1777").arg(root.join(open)));
    }
    for (name, minor) in [("null", "3"), ("zero", "5"), ("random", "8"), ("urandom", "9")] {
        if !dev.join(name).exists() {
            run(Command::new("mknod").args(["-m", "666"]).arg(dev.join(name)).args(["c", "1", minor]));
        }
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]
    {
        let _ = fs::remove_file(dev.join(name));
        symlink(target, dev.join(name)).unwrap();
    }
    File::create(root.join("etc/resolv.conf")).unwrap();
}
