//! Where images come from: signed or not, over TLS, and from a registry that is cut off half way.

use super::machine::{Machine, get, tiny};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use testkit::{ProcessGuard, free_port, wait_until};

const START: Duration = Duration::from_secs(30);
/// A command that was asked to end ends within this.
const END: Duration = Duration::from_secs(20);
/// What a relay lets through before it stands still: a manifest and the beginning of a layer.
const LET_THROUGH: u64 = 300_000;
const NOISE: usize = 4 << 20;

fn serve(machine: &Machine, address: &str, more: &[&str]) -> ProcessGuard {
    let arguments = [&["registry", "serve", "--listen", address, "--anonymous", "push"], more].concat();
    let mut command = machine.command(machine.home(), &arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let guard = ProcessGuard::from(command.spawn().expect("the program starts"));
    wait_until(START, "the registry answers", || TcpStream::connect(address).is_ok());
    guard
}

/// Random bytes, so that a layer is as large as they are.
fn noise() -> Vec<u8> {
    let mut bytes = vec![0; NOISE];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random bytes");
    bytes
}

/// A stack that runs an image from a registry.
fn runs(machine: &Machine, image: &str, port: u16) -> std::path::PathBuf {
    machine.project(
        "runs",
        &format!(
            "name: runs\nservices:\n  web: {{image: '{image}', ports: ['{port}:8080'], stop_grace_period: 1s}}\n"
        ),
    )
}

#[test]
fn what_is_not_signed_is_not_deployed_and_what_runs_goes_on() {
    let Some(maker) = Machine::new("signed") else { return };
    let Some(runner) = Machine::new("signed") else { return };
    let address = format!("127.0.0.1:{}", free_port());
    let _registry = serve(&maker, &address, &[]);
    let project = tiny(&maker, "made", free_port(), "signed", "");
    maker.must(&project, &["build"]);
    maker.must(&project, &["image", "keygen", "release.key"]);
    maker.must(&project, &["image", "sign", "web", "--key", "release.key"]);
    let name = |tag: &str| format!("{address}/team/app:{tag}");
    maker.must(&project, &["image", "push", "web", &name("1")]);

    let public = project.join("release.pub");
    let demand = format!("[registry.\"{address}/team\"]\nkey = \"{}\"\n", public.display());
    fs::write(runner.home().join("registries.toml"), demand).expect("written");
    let port = free_port();
    let stack = runs(&runner, &name("1"), port);
    runner.must(&stack, &["up", "-d"]);
    let page = || get(&format!("127.0.0.1:{port}"), "/").expect("it serves").1;
    assert_eq!(page(), "signed");

    // Another one, made later, that nobody has signed.
    fs::write(project.join("web/index.html"), "not signed").expect("written");
    maker.must(&project, &["build"]);
    maker.must(&project, &["image", "push", "made/web", &name("2")]);
    let file = stack.join("compose.yaml");
    let text = fs::read_to_string(&file).expect("it is there").replace(&name("1"), &name("2"));
    fs::write(&file, text).expect("written");
    for command in [&["deploy"][..], &["up", "-d"]] {
        let refused = runner.run(&stack, command);
        assert_ne!(refused.code, 0, "{}{}", refused.out, refused.err);
        assert!(
            refused.err.contains("no valid signature") && refused.err.contains("hint: "),
            "{}",
            refused.err
        );
    }
    assert_eq!(page(), "signed", "what ran goes on");
}

/// Passes bytes on to a registry, and after a while no more, until it is told to.
struct Relay {
    address: String,
    left: Arc<AtomicU64>,
}

impl Relay {
    fn to(registry: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let left = Arc::new(AtomicU64::new(LET_THROUGH));
        let (passing, registry) = (left.clone(), registry.to_owned());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&registry) else { return };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a copy"), to.try_clone().expect("a copy"));
                    let left = passing.clone();
                    std::thread::spawn(move || pass(from, to, &left));
                }
            }
        });
        Self { address, left }
    }

    fn stands_still(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn flow(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, left: &AtomicU64) {
    let mut part = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut part) {
        let take = |left: u64| Some(left.saturating_sub(count as u64));
        // A relay that stands still still holds its connections open.
        while left.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if to.write_all(&part[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn begin(machine: &Machine, directory: &Path, arguments: &[&str]) -> Child {
    let mut command = machine.command(directory, arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

fn ended(mut child: Child) -> Option<i32> {
    let mut code = None;
    wait_until(END, "the command has ended", || {
        code = child.try_wait().expect("ours").map(|status| status.code());
        code.is_some()
    });
    code.flatten()
}

/// Half-made files of the image store.
fn half_made(machine: &Machine) -> usize {
    fs::read_dir(machine.home().join("images/tmp")).map_or(0, Iterator::count)
}

#[test]
fn a_pull_or_push_that_is_given_up_or_killed_can_be_made_again() {
    let Some(maker) = Machine::new("cut off") else { return };
    let Some(taker) = Machine::new("cut off") else { return };
    let address = format!("127.0.0.1:{}", free_port());
    let _registry = serve(&maker, &address, &[]);
    let project = tiny(&maker, "large", free_port(), "large", "");
    fs::write(project.join("web/noise"), noise()).expect("written");
    maker.must(&project, &["build"]);
    let relay = Relay::to(&address);
    let by_relay = format!("{}/app/web:1", relay.address);
    let given_up = |child: Child| {
        let pid = Pid::from_raw(child.id() as i32).expect("a process");
        kill_process(pid, Signal::INT).expect("it is ours");
        ended(child)
    };

    let push = ["image", "push", "large/web", &by_relay];
    let child = begin(&maker, &project, &push);
    wait_until(START, "half is pushed", || relay.stands_still());
    assert_eq!(given_up(child), Some(130));
    relay.flow(LET_THROUGH);
    let mut child = begin(&maker, &project, &push);
    wait_until(START, "half is pushed again", || relay.stands_still());
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    relay.flow(u64::MAX);
    maker.must(&project, &push);

    relay.flow(LET_THROUGH);
    let pull = ["image", "pull", &by_relay];
    let child = begin(&taker, &project, &pull);
    wait_until(START, "half is pulled", || relay.stands_still());
    assert_eq!(given_up(child), Some(130));
    relay.flow(LET_THROUGH);
    let mut child = begin(&taker, &project, &pull);
    wait_until(START, "half is pulled again", || relay.stands_still());
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    let listed = taker.must(&project, &["image", "ls", "--json"]);
    assert!(!listed.contains("app/web"), "half an image is shown: {listed}");
    relay.flow(u64::MAX);
    taker.must(&project, &pull);
    taker.must(&project, &["image", "gc"]);
    assert_eq!(half_made(&taker), 0, "something half-made stays");
    taker.must(&project, &["image", "inspect", &by_relay]);
}

/// A certificate for this address, and its key, in these files.
fn certify(directory: &Path) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.self_signed(&key).expect("a certificate");
    // The key first: a reader between the two finds two that do not fit, and keeps what it has.
    fs::write(directory.join("key.pem"), key.serialize_pem()).expect("written");
    fs::write(directory.join("cert.pem"), certificate.pem()).expect("written");
    certificate.pem().into_bytes()
}

#[test]
fn a_registry_speaks_tls_and_takes_a_renewed_certificate() {
    let Some(maker) = Machine::new("tls registry") else { return };
    let Some(taker) = Machine::new("tls registry") else { return };
    let project = tiny(&maker, "secured", free_port(), "secured", "");
    maker.must(&project, &["build"]);
    let first = certify(&project);
    let address = format!("127.0.0.1:{}", free_port());
    let files = ["cert.pem", "key.pem"].map(|name| project.join(name).to_string_lossy().into_owned());
    let _registry = serve(&maker, &address, &["--tls-cert", &files[0], "--tls-key", &files[1]]);
    let name = format!("{address}/juchu/secured/web:latest");
    let trust = |pem: &[u8]| {
        fs::write(taker.home().join("ca.pem"), pem).expect("written");
        let ca = taker.home().join("ca.pem");
        let text = format!("[registry.\"{address}\"]\ninsecure = false\nca = \"{}\"\n", ca.display());
        fs::write(taker.home().join("registries.toml"), text).expect("written");
    };
    let pull = || taker.run(&project, &["image", "pull", &name]);
    let stranger = certify(taker.home());
    trust(&stranger);
    let refused = pull();
    assert_ne!(refused.code, 0, "a stranger's certificate is believed");
    assert!(refused.err.contains("certificate") && refused.err.contains("hint: "), "{}", refused.err);
    trust(&first);
    taker.must(&project, &["image", "pull", &name]);

    let second = certify(&project);
    trust(&second);
    wait_until(Duration::from_secs(90), "the renewed certificate is shown", || pull().code == 0);
}
