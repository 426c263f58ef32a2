//! A home of its own for a test, with everything that runs from it taken down at the end.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use testkit::{Person, TempDir, wait_until};

/// How long a single command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(240);

pub struct Machine {
    home: TempDir,
    /// Who uses it, where that is not root.
    person: Option<Person>,
    stacks: std::cell::RefCell<BTreeSet<String>>,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Machine {
    /// `None`, with the reason printed, where containers cannot run (never when `CI` is set).
    pub fn new(test: &str) -> Option<Self> {
        let made = || Self { home: TempDir::new(), person: None, stacks: Default::default() };
        testkit::require_root(test).then(made)
    }

    /// Used by somebody who is not root.
    pub fn of(person: Person) -> Self {
        let home = TempDir::reachable();
        person.give(home.path());
        Self { home, person: Some(person), stacks: Default::default() }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A directory with a Compose file; the stack is taken down at the end.
    pub fn project(&self, name: &str, compose: &str) -> PathBuf {
        let directory = self.home().join("projects").join(name);
        std::fs::create_dir_all(&directory).expect("a project directory");
        std::fs::write(directory.join("compose.yaml"), compose).expect("a Compose file");
        self.stacks.borrow_mut().insert(name.to_owned());
        directory
    }

    pub fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_juchu"));
        let mut command = match &self.person {
            None => Command::new(program),
            Some(person) => {
                // What a test has written there is meant to be theirs.
                let projects = self.home().join("projects");
                projects.exists().then(|| person.give(&projects));
                person.command(person.program(program))
            }
        };
        command
            .args(arguments)
            .current_dir(directory)
            .env("JUCHU_HOME", self.home())
            .env("JUCHU_CONSOLE", "127.0.0.1:0")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, directory: &Path, arguments: &[&str]) -> Said {
        self.finish(arguments, &mut self.command(directory, arguments))
    }

    /// Runs a command that was put together elsewhere.
    pub fn finish(&self, arguments: &[&str], command: &mut Command) -> Said {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        said(arguments, output_within(child, COMMAND_LIMIT))
    }

    /// Runs a command that has to succeed; its standard output.
    pub fn must(&self, directory: &Path, arguments: &[&str]) -> String {
        let said = self.run(directory, arguments);
        assert_eq!(said.code, 0, "juchu {arguments:?}\n{}\n{}\n{}", said.out, said.err, self.daemon_log());
        said.out
    }

    /// The process that listens on a socket below the run-time directory.
    fn listener(&self, socket: &str) -> Option<i32> {
        let stream = UnixStream::connect(self.home().join("run").join(socket)).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        Some(peer.pid.as_raw_nonzero().get())
    }

    pub fn daemon(&self) -> Option<i32> {
        self.listener("api.sock")
    }

    pub fn gateway(&self) -> Option<i32> {
        self.listener("gateway.sock")
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill_daemon(&self) {
        if let Some(pid) = self.daemon() {
            kill(pid);
            // Its other threads may hold the socket a moment longer than its first one lives; a
            // command that is under way may have started the next.
            wait_until(Duration::from_secs(10), "the socket to be let go", || self.daemon() != Some(pid));
        }
    }

    /// What keeps the name spaces of somebody who is not root, and the way out of them.
    pub fn keeper(&self) -> Option<(i32, Option<i32>)> {
        let text = std::fs::read_to_string(self.home().join("run/keeper.json")).ok()?;
        let record: serde_json::Value = serde_json::from_str(&text).expect("a record");
        let pid = |name: &str| Some(record[name]["pid"].as_i64()? as i32);
        Some((pid("keeper")?, pid("outbound")))
    }

    pub fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.home().join("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for stack in self.stacks.borrow().iter() {
            let taken_down = self.run(self.home(), &["down", "--volumes", "-p", stack]);
            if taken_down.code != 0 && !taken_down.err.contains("no stack") {
                eprintln!("down {stack}: {}", taken_down.err);
            }
        }
        let kept = self.keeper();
        [self.daemon(), self.gateway()].into_iter().flatten().for_each(kill);
        kept.into_iter().flat_map(|(keeper, way_out)| [Some(keeper), way_out]).flatten().for_each(kill);
    }
}

pub fn kill(pid: i32) {
    let Some(process) = rustix::process::Pid::from_raw(pid) else { return };
    let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait_until(Duration::from_secs(10), "the process to end", || {
        let state = state();
        state.is_empty() || state.contains(") Z ")
    });
}

fn output_within(mut child: std::process::Child, limit: Duration) -> Output {
    let pid = child.id() as i32;
    let (sender, ended) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            kill(pid);
        }
    });
    let mut out = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut err = Vec::new();
    child.stderr.take().expect("piped").read_to_end(&mut err).expect("readable");
    let stdout = reader.join().expect("no panic").expect("readable");
    let status = child.wait().expect("it ends");
    drop(sender);
    watchdog.join().expect("no panic");
    Output { status, stdout, stderr: err }
}

fn said(arguments: &[&str], output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or_else(|| panic!("juchu {arguments:?} did not end in time"));
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}

/// One HTTP request; status and body.
pub fn http(address: &str, request: &str) -> std::io::Result<(u16, String)> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status in {answer:?}")))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

pub fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// A project of one service that answers on `port` with `text`, made of nothing but busybox.
pub fn tiny(machine: &Machine, name: &str, port: u16, text: &str, extra: &str) -> PathBuf {
    let compose = format!(
        r#"
name: {name}
services:
  web:
    ports: ["{port}:8080"]
    stop_grace_period: 1s
    x-juchu:
      builder: native
      image:
        kind: binary
        user: root
        files: {{ "/site/index.html": "index.html" }}
        entrypoint: ["/app/busybox", "httpd", "-f", "-v", "-p", "8080", "-h", "/site"]
    build: ./web
{extra}
"#
    );
    let directory = machine.project(name, &compose);
    let web = directory.join("web");
    std::fs::create_dir_all(&web).expect("a directory");
    std::fs::copy(testkit::busybox_static(), web.join("busybox")).expect("busybox is there");
    std::fs::write(web.join("index.html"), text).expect("a page");
    directory
}
