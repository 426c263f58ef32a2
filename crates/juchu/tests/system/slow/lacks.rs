//! What the machine or the person lacks: disk, rights, the right kind of processor. Each is told in
//! one sentence with the next command, nothing half-made stays, and what ran goes on.

use super::machine::{Machine, Said, get, tiny};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use testkit::{TempDir, free_port};

const NOBODY: u32 = 65534;
const DISK: &std::ffi::CStr = c"size=512m,mode=0700";
/// Enough for the journal, not for a build, which leaves 256 MiB to everybody else.
const LEFT_FOR_THE_JOURNAL: usize = 2 << 20;
const IMAGE: usize = 8 << 20;

fn told(name: &str, said: &Said, code: i32, texts: &[&str]) {
    assert_eq!(said.code, code, "{name}: {}\n{}", said.out, said.err);
    for text in texts.iter().chain(&["error: ", "hint: "]) {
        assert!(said.err.contains(text), "{name}: `{text}` is not in\n{}", said.err);
    }
}

/// A file that fills the disk; gone before the machine is taken down, also when the test fails.
struct Ballast(PathBuf);

impl Ballast {
    /// Takes what is left of the disk but for `rest` bytes.
    fn fill(&self, rest: usize) {
        let mut file = File::create(&self.0).expect("a file");
        let block = vec![1; 4096];
        while file.write_all(&block).is_ok() {}
        let size = file.metadata().expect("a size").len();
        file.set_len(size.saturating_sub(rest as u64)).expect("it can be cut");
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("a file of ours");
    }
}

/// What no compression makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random bytes");
    bytes
}

#[test]
fn a_full_disk_is_told_and_what_ran_goes_on() {
    let Some(machine) = Machine::new("full disk") else { return };
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", machine.home(), "tmpfs", none, Some(DISK)).expect("a small disk");
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let running = tiny(&machine, "good", port, "still here", "");
    machine.must(&running, &["up", "-d"]);
    let large = tiny(&machine, "large", free_port(), "never seen", "");
    std::fs::write(large.join("web/noise"), noise(IMAGE)).expect("a large file");
    let ballast = Ballast(machine.home().join("ballast"));

    ballast.fill(LEFT_FOR_THE_JOURNAL);
    let said = machine.run(&large, &["up", "-d"]);
    told("a build", &said, 8, &["service web: ", "less than 256 MiB is left", "juchu image gc"]);
    let left: Vec<_> = std::fs::read_dir(machine.home().join("images/tmp")).expect("there").collect();
    assert!(left.is_empty(), "half an image stays: {left:?}");
    assert_eq!(get(&address, "/").expect("it goes on").1, "still here");

    ballast.fill(0);
    let said = machine.run(&running, &["restart", "web"]);
    told("the journal", &said, 8, &["the disk of the journal is full; nothing was changed", "df -h"]);
    assert_eq!(get(&address, "/").expect("it goes on").1, "still here");

    drop(ballast);
    machine.must(&running, &["restart", "web"]);
    machine.must(&large, &["up", "-d"]);
    assert_eq!(get(&address, "/").expect("it goes on").1, "still here");
    machine.must(&running, &["verify"]);
}

#[test]
fn a_person_without_rights_is_told_what_to_do() {
    let Some(machine) = Machine::new("no rights") else { return };
    let port = free_port();
    let running = tiny(&machine, "good", port, "still here", "");
    machine.must(&running, &["up", "-d"]);

    // Neither the program nor the project may be out of reach for another reason.
    let open = TempDir::reachable();
    let program = open.path().join("juchu");
    std::fs::copy(env!("CARGO_BIN_EXE_juchu"), &program).expect("a copy");
    open.write("compose.yaml", "name: mine\nservices:\n  web: {image: 'x:1'}\n");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let as_nobody = |home: Option<&Path>, arguments: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(arguments).current_dir(open.path()).uid(NOBODY).gid(NOBODY);
        command.env_remove("JUCHU_HOME").env("NO_COLOR", "1").env("JUCHU_CONSOLE", "127.0.0.1:0");
        command.envs(home.map(|home| ("JUCHU_HOME", home)));
        machine.finish(arguments, &mut command)
    };
    // Without root everything is in the person's home, and this one has none that is theirs.
    told("no home", &as_nobody(None, &["up", "-d"]), 8, &["Permission denied", "JUCHU_HOME"]);
    told("root's home", &as_nobody(Some(machine.home()), &["ps"]), 8, &["is for root", "sudo"]);
    told("root's home", &as_nobody(Some(machine.home()), &["up", "-d"]), 8, &["is for root", "sudo"]);
    assert_eq!(get(&format!("127.0.0.1:{port}"), "/").expect("it goes on").1, "still here");
}

/// Answers every request with an index of images for processors that this machine has not.
fn foreign_registry() -> (SocketAddr, std::thread::JoinHandle<()>) {
    let manifest = |architecture: &str| {
        let digest = format!("sha256:{}", "0".repeat(64));
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":2,"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        )
    };
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{},{}]}}"#,
        manifest("s390x"),
        manifest("riscv64")
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if !answer(stream, &index) {
                return;
            }
        }
    });
    (address, serving)
}

/// False when there was no request, which is how the registry is told to end.
fn answer(mut stream: TcpStream, body: &str) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return !head.is_empty(),
        }
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that has gone away has what it wanted.
    let _ = stream.write_all(answer.as_bytes());
    true
}

#[test]
fn an_image_for_another_processor_is_named() {
    let Some(machine) = Machine::new("another processor") else { return };
    let (registry, serving) = foreign_registry();
    let compose = format!("name: foreign\nservices:\n  web: {{image: '{registry}/tool:1'}}\n");
    let directory = machine.project("foreign", &compose);
    let said = machine.run(&directory, &["up", "-d"]);
    told("foreign", &said, 2, &["tool:1", "is for linux/riscv64, linux/s390x", "choose a tag"]);
    let ps = machine.run(&directory, &["ps", "-p", "foreign"]);
    assert!(!ps.out.contains("web"), "something half-made stays: {}", ps.out);
    drop(TcpStream::connect(registry));
    serving.join().expect("no panic");
}
