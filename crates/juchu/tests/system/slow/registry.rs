//! A registry, a build, a collection, a pull and a push over one store are killed together at random
//! moments. What was acknowledged is whole afterwards, and nothing that is not whole is handed out.

use super::machine::{Machine, http, tiny};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use testkit::{ProcessGuard, free_port, wait_until};

const ROUNDS: u64 = 40;
/// Longest wait before a kill; each of the five takes about so long.
const LONGEST_WAIT_MS: u64 = 600;
/// All that was acknowledged is looked at this often, the latest each time.
const LOOK_AT_ALL_EVERY: u64 = 10;
/// Older than any grace.
const LONG_AGO: Duration = Duration::from_secs(60 * 24 * 3600);
const LAYER_BYTES: usize = 600_000;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Tags that the registry said it has, with the digests of their manifests.
type Acknowledged = Arc<Mutex<BTreeMap<String, model::Digest>>>;

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost_and_nothing_half_is_served() {
    let Some(machine) = Machine::new("registry") else { return };
    let Some(other) = Machine::new("registry") else { return };
    let project = tiny(&machine, "mortal", free_port(), "hello", "");
    machine.must(&project, &["build"]);
    let address = format!("127.0.0.1:{}", free_port());
    let own = format!("{address}/juchu/mortal/web:latest");
    let acknowledged = Acknowledged::default();
    let mut random = 0x2545_F491_4F6C_DD1D;
    for round in 1..=ROUNDS {
        let registry = serve(&machine, &address);
        let begin = |machine: &Machine, arguments: &[&str]| quiet(machine, &project, arguments);
        let work = [
            begin(&machine, &["image", "gc"]),
            begin(&machine, &["build"]),
            begin(&other, &["image", "pull", &own]),
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let pushing = push_on(&address, round, &acknowledged, &stop);
        std::thread::sleep(Duration::from_millis(next_random(&mut random) % LONGEST_WAIT_MS));
        let mut dead: Vec<ProcessGuard> = work.into_iter().map(ProcessGuard::from).collect();
        // The registry is not always the last to go.
        let at = (next_random(&mut random) % 4) as usize;
        dead.insert(at.min(dead.len()), registry);
        dead.into_iter().for_each(ProcessGuard::kill);
        stop.store(true, Ordering::Relaxed);
        pushing.join().expect("the client only stops");
        age(&machine.home().join("images/registry/repositories"));
        let _registry = serve(&machine, &address);
        let known = acknowledged.lock().expect("not poisoned").clone();
        let from = if round % LOOK_AT_ALL_EVERY == 0 { 0 } else { known.len().saturating_sub(3) };
        for (tag, digest) in known.iter().skip(from) {
            look(&address, "app/web", tag, Some(digest), &format!("round {round}"));
        }
        look(&address, "juchu/mortal/web", "latest", None, &format!("round {round}"));
    }
    let acknowledged = acknowledged.lock().expect("not poisoned");
    assert!(acknowledged.len() as u64 > ROUNDS / 4, "too little was pushed: {}", acknowledged.len());
    let _registry = serve(&machine, &address);
    machine.must(&project, &["image", "gc"]);
    for (tag, digest) in acknowledged.iter() {
        look(&address, "app/web", tag, Some(digest), "after all");
    }
    // A push whose answer was lost may be whole; what was cut off is gone.
    let links =
        fs::read_dir(machine.home().join("images/registry/repositories/app+web/blobs")).expect("there");
    let kept = links.count() as u64;
    let layers_and_config = acknowledged.len() as u64 + 1;
    assert!((layers_and_config..=layers_and_config + ROUNDS).contains(&kept), "{kept} blobs are kept");
    other.must(&project, &["image", "pull", &own]);
    machine.must(&project, &["image", "inspect", "mortal/web"]);
}

#[test]
fn releases_are_pulled_by_their_number_and_images_pushed_with_what_belongs_to_them() {
    let Some(machine) = Machine::new("registry") else { return };
    let project = tiny(&machine, "offered", free_port(), "hello", "");
    machine.must(&project, &["up", "-d"]);
    let address = format!("127.0.0.1:{}", free_port());
    let _registry = serve(&machine, &address);
    wait_until(Duration::from_secs(60), "the registry has learned of the release", || {
        fetch(&address, "/v2/juchu/offered/web/manifests/r1").0 == 200
    });
    look(&address, "juchu/offered/web", "r1", None, "a release");
    machine.must(&project, &["image", "push", "web", &format!("{address}/app/web:1")]);
    look(&address, "app/web", "1", None, "pushed by us");
    let manifest = model::Digest::of(&fetch(&address, "/v2/app/web/manifests/1").1);
    let (status, listed) = fetch(&address, &format!("/v2/app/web/referrers/{manifest}"));
    let listed: serde_json::Value = serde_json::from_slice(&listed).expect("an index");
    let of_own = listed["manifests"].as_array().expect("referrers").len();
    assert!(status == 200 && of_own >= 2, "its lists of contents came along: {listed}");
    let said = machine.must(&project, &["registry", "ls"]);
    assert!(said.contains("app/web"), "{said}");
    machine.must(&project, &["registry", "rm", "app/web", "--all"]);
    assert_eq!(fetch(&address, "/v2/app/web/manifests/1").0, 404);
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn quiet(machine: &Machine, directory: &Path, arguments: &[&str]) -> Child {
    let mut command = machine.command(directory, arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

fn serve(machine: &Machine, address: &str) -> ProcessGuard {
    let arguments = ["registry", "serve", "--listen", address, "--anonymous", "push"];
    let guard = ProcessGuard::from(quiet(machine, machine.home(), &arguments));
    wait_until(Duration::from_secs(30), "the registry answers", || TcpStream::connect(address).is_ok());
    guard
}

/// Pushes one image after the other until the registry is gone.
fn push_on(
    address: &str,
    round: u64,
    acknowledged: &Acknowledged,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    let (address, acknowledged, stop) = (address.to_owned(), Arc::clone(acknowledged), Arc::clone(stop));
    std::thread::spawn(move || {
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let tag = format!("r{round:03}-{number:04}");
            let Some(digest) = push(&address, &tag, round * 1000 + number) else { return };
            acknowledged.lock().expect("not poisoned").insert(tag, digest);
        }
    })
}

/// One image of a layer like no other; `None` once the registry does not answer.
fn push(address: &str, tag: &str, seed: u64) -> Option<model::Digest> {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let layer: Vec<u8> = (0..LAYER_BYTES / 8).flat_map(|_| next_random(&mut random).to_le_bytes()).collect();
    let layer = blob(address, &layer)?;
    let config = blob(address, b"{}")?;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"x/y","digest":"{config}","size":2}},"layers":[{{"mediaType":"x/y","digest":"{layer}","size":{LAYER_BYTES}}}]}}"#
    );
    let path = format!("/v2/app/web/manifests/{tag}");
    let (status, _) = send(address, "PUT", &path, manifest.as_bytes())?;
    (status == 201).then(|| model::Digest::of(manifest.as_bytes()))
}

/// In two pieces and a closing request.
fn blob(address: &str, bytes: &[u8]) -> Option<model::Digest> {
    let digest = model::Digest::of(bytes);
    let (status, head) = send(address, "POST", "/v2/app/web/blobs/uploads/", b"")?;
    let place = head.lines().find_map(|line| line.strip_prefix("location: "))?.trim().to_owned();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let pieces = [first, second].map(|piece| send(address, "PATCH", &place, piece).map(|(status, _)| status));
    let (closed, _) = send(address, "PUT", &format!("{place}?digest={digest}"), b"")?;
    (status == 202 && pieces == [Some(202); 2] && closed == 201).then_some(digest)
}

fn send(address: &str, method: &str, path: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {MANIFEST}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some((answer.get(9..12)?.parse().ok()?, answer))
}

fn fetch(address: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("it answers");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let status = std::str::from_utf8(&answer[9..12]).ok().and_then(|text| text.parse().ok());
    (status.expect("a status"), answer.split_off(at))
}

/// A tag with all that it needs, byte by byte.
fn look(address: &str, repository: &str, tag: &str, expect: Option<&model::Digest>, when: &str) {
    let (status, manifest) = fetch(address, &format!("/v2/{repository}/manifests/{tag}"));
    assert_eq!(status, 200, "{when}: {repository}:{tag}");
    let found = model::Digest::of(&manifest);
    assert!(expect.is_none_or(|expect| *expect == found), "{when}: {repository}:{tag} is another");
    let document: serde_json::Value = serde_json::from_slice(&manifest).expect("a manifest");
    let layers = document["layers"].as_array().expect("layers").iter();
    for part in layers.chain([&document["config"]]) {
        let digest = part["digest"].as_str().expect("a digest");
        let (status, bytes) = fetch(address, &format!("/v2/{repository}/blobs/{digest}"));
        assert_eq!(status, 200, "{when}: {digest} of {repository}:{tag}");
        assert_eq!(model::Digest::of(&bytes).as_str(), digest, "{when}: of {repository}:{tag}");
    }
    let (status, _) =
        http(address, "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it lives");
    assert_eq!(status, 200);
}

/// Makes everything that was pushed old, so that the next collection takes what nothing holds.
fn age(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => age(&entry.path()),
            false => {
                let file = File::options().append(true).open(entry.path()).expect("a file");
                file.set_modified(SystemTime::now() - LONG_AGO).expect("a time");
            }
        }
    }
}
