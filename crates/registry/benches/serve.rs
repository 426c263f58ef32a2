//! What serving costs: the same image pushed and pulled by the same skopeo, over ours and over
//! Debian's docker-registry, with the processor time of each server. `cargo bench -p registry`.

use registry::{Anonymous, Limits, Options, listen};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::{ProcessGuard, TempDir, free_port, needs, wait_until};

const LAYERS: u64 = 4;
const LAYER_BYTES: u64 = 64 << 20;
const PULLS: u32 = 5;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("serve") {
        return serve(Path::new(&arguments.next().expect("a store")));
    }
    let (Some(skopeo), Some(debian)) =
        (needs("skopeo", "skopeo"), needs("docker-registry", "docker-registry"))
    else {
        return;
    };
    let work = TempDir::new();
    layout(&work.path().join("layout"));
    println!(
        "{} MiB in {LAYERS} layers, {PULLS} pulls after one that is not counted",
        (LAYERS * LAYER_BYTES) >> 20
    );
    println!("server           push s  cpu s/GB   pull s  cpu s/GB");
    for _ in 0..2 {
        measure("juchu", ours(&work), &skopeo, work.path());
        measure("docker-registry", theirs(&work, &debian), &skopeo, work.path());
    }
}

/// The role of the child: a registry until it is killed.
fn serve(store: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = Options {
            store: store.to_owned(),
            address: "127.0.0.1:0".parse().expect("an address"),
            tls: None,
            plain_http: false,
            anonymous: Anonymous::Push,
            limits: Limits::default(),
            tell: Arc::new(|_| {}),
        };
        let listening = listen(options).await.expect("it listens");
        println!("{}", listening.address().expect("an address"));
        listening.run(std::future::pending()).await;
    });
}

fn ours(work: &TempDir) -> (ProcessGuard, String) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("serve").arg(work.path().join("ours")).stdout(Stdio::piped());
    let mut process = ProcessGuard::spawn(&mut command);
    let mut line = String::new();
    let out = process.child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("its address");
    (process, line.trim().to_owned())
}

fn theirs(work: &TempDir, program: &Path) -> (ProcessGuard, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let config = work.path().join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
        work.path().join("theirs").display()
    );
    fs::write(&config, text).expect("a file");
    let mut command = Command::new(program);
    command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    let process = ProcessGuard::spawn(&mut command);
    wait_until(Duration::from_secs(20), "it answers", || TcpStream::connect(&address).is_ok());
    (process, address)
}

fn measure(name: &str, (process, address): (ProcessGuard, String), skopeo: &Path, work: &Path) {
    let gigabytes = (LAYERS * LAYER_BYTES) as f64 / 1e9;
    let remote = format!("docker://{address}/bench/image:1");
    let copy = |from: &str, to: &str| {
        let mut command = Command::new(skopeo);
        command.args(["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
        assert!(command.current_dir(work).status().expect("it starts").success());
    };
    let cpu = || processor_seconds(process.pid());
    let (begun, before) = (Instant::now(), cpu());
    copy("oci:layout:it", &remote);
    let (push, push_cpu) = (begun.elapsed().as_secs_f64(), (cpu() - before) / gigabytes);
    let pull = || {
        copy(&remote, "dir:pulled");
        fs::remove_dir_all(work.join("pulled")).expect("removed");
    };
    pull();
    let (mut times, before) = (Vec::new(), cpu());
    for _ in 0..PULLS {
        let begun = Instant::now();
        pull();
        times.push(begun.elapsed().as_secs_f64());
    }
    let pull_cpu = (cpu() - before) / gigabytes / f64::from(PULLS);
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!("{name:15} {push:7.2}  {push_cpu:8.2}  {median:7.2}  {pull_cpu:8.2}");
    drop(process);
    let _ = fs::remove_dir_all(work.join("ours"));
    let _ = fs::remove_dir_all(work.join("theirs"));
}

/// In user and kernel mode, from `/proc/PID/stat`, where it counts hundredths.
fn processor_seconds(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let after_name = stat.rsplit_once(") ").expect("a name").1;
    let field =
        |n: usize| after_name.split(' ').nth(n).and_then(|text| text.parse::<f64>().ok()).expect("a number");
    (field(11) + field(12)) / 100.0
}

/// An image whose layers cannot be packed any smaller.
fn layout(directory: &Path) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let put = |bytes: &[u8]| {
        let digest = model::Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).expect("a blob");
        digest
    };
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut layers = Vec::new();
    for _ in 0..LAYERS {
        let mut bytes = Vec::with_capacity(LAYER_BYTES as usize);
        while (bytes.len() as u64) < LAYER_BYTES {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes.extend_from_slice(&random.to_le_bytes());
        }
        layers.push(put(&bytes));
    }
    let ids: Vec<String> = layers.iter().map(|digest| format!("\"{digest}\"")).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let part = |kind: &str, digest: &model::Digest, size: usize| {
        format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#)
    };
    let layers: Vec<String> =
        layers.iter().map(|digest| part("layer.v1.tar", digest, LAYER_BYTES as usize)).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        part("config.v1+json", &put(config.as_bytes()), config.len()),
        layers.join(",")
    );
    let entry = part("manifest.v1+json", &put(manifest.as_bytes()), manifest.len());
    let named = entry.replace('}', r#","annotations":{"org.opencontainers.image.ref.name":"it"}}"#);
    fs::write(directory.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{named}]}}"#))
        .expect("an index");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a marker");
}
