//! Times of the engine and of the OCI command line beside Debian's `runc`, and the size of shims.
//!
//! `cargo run --release -p host --example measure [rounds]`, as root. Prints one figure a line.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::{HostConfig, HostEngine, LayerSource};
use model::Digest;
use model::instance::{InstanceNetwork, InstanceSpec, InstanceState, Link, NetworkSpec};
use run::engine::{Engine, ExecRequest};

struct OneDir(PathBuf);

impl LayerSource for OneDir {
    fn layer_dir(&self, _: &Digest) -> Option<PathBuf> {
        Some(self.0.clone())
    }
}

fn main() -> ExitCode {
    // The engine runs this very program again.
    let mut arguments = std::env::args_os().skip(1).peekable();
    let role = arguments.peek().and_then(|role| role.to_str()).unwrap_or_default().to_owned();
    match role.as_str() {
        "shim" => return host::shim::main(arguments.skip(1)),
        "enter" => return host::enter::main(arguments.skip(1)),
        "oci" => return host::oci::main(arguments.skip(1)),
        _ => {}
    }
    let rounds: usize = role.parse().unwrap_or(60);
    let dir = testkit::TempDir::new();
    let rootfs = make_rootfs(&dir.join("bundle/rootfs"));
    println!("rounds: {rounds}, load: {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    compare_with_runc(&dir.join("bundle"), rounds);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure_engine(&dir, rootfs, rounds));
    ExitCode::SUCCESS
}

fn make_rootfs(rootfs: &Path) -> PathBuf {
    for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir_all(rootfs.join(name)).expect("a directory");
    }
    fs::copy(testkit::busybox_static(), rootfs.join("bin/busybox")).expect("a copy");
    for applet in ["sh", "true", "sleep", "seq"] {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("a link");
    }
    rootfs.to_owned()
}

/// The same bundle by both, one after the other in each round: create, start, wait, delete.
fn compare_with_runc(bundle: &Path, rounds: usize) {
    let spec = Command::new("runc").args(["spec", "-b"]).arg(bundle).status();
    if !spec.is_ok_and(|status| status.success()) {
        println!("runc: not installed, so not compared");
        return;
    }
    let text = fs::read_to_string(bundle.join("config.json")).expect("runc wrote it");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/bin/true"]);
    config["process"].as_object_mut().expect("an object").remove("rlimits");
    let path = "/juchu-oci/measure";
    config["linux"]["cgroupsPath"] = path.into();
    fs::write(bundle.join("config.json"), config.to_string()).expect("a file");
    let own = std::env::current_exe().expect("this program");
    let (own_root, runc_root) = (bundle.join("own"), bundle.join("runc"));
    let own_args = |tail: &[&str]| -> Vec<String> {
        ["oci", "--root", own_root.to_str().expect("UTF-8")]
            .iter()
            .chain(tail)
            .map(|a| a.to_string())
            .collect()
    };
    let runc_args = |tail: &[&str]| -> Vec<String> {
        ["--root", runc_root.to_str().expect("UTF-8")].iter().chain(tail).map(|a| a.to_string()).collect()
    };
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..rounds {
        let bundle = bundle.to_str().expect("UTF-8");
        let run = ["run", "--bundle", bundle, "m1"];
        times[0].push(timed(&own, &own_args(&run)));
        times[1].push(timed(Path::new("runc"), &runc_args(&run)));
        let steps =
            [vec!["create", "--bundle", bundle, "m2"], vec!["start", "m2"], vec!["delete", "--force", "m2"]];
        times[2].push(steps.iter().map(|step| timed(&own, &own_args(step))).sum());
        times[3].push(steps.iter().map(|step| timed(Path::new("runc"), &runc_args(step))).sum());
    }
    for (name, times) in
        ["juchu oci run", "runc run", "juchu create+start+delete", "runc create+start+delete"]
            .iter()
            .zip(&mut times)
    {
        report(name, times);
    }
    println!("ratio run: {:.2}", median(&times[0]).as_secs_f64() / median(&times[1]).as_secs_f64());
    println!(
        "ratio create+start+delete: {:.2}",
        median(&times[2]).as_secs_f64() / median(&times[3]).as_secs_f64()
    );
}

fn timed(program: &Path, arguments: &[String]) -> Duration {
    let begun = Instant::now();
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let took = begun.elapsed();
    assert!(status.is_ok_and(|status| status.success()), "{} {arguments:?}", program.display());
    took
}

async fn measure_engine(dir: &Path, rootfs: PathBuf, rounds: usize) {
    let config = HostConfig {
        state: dir.join("state"),
        runtime: dir.join("run"),
        layers: Arc::new(OneDir(rootfs)),
        volumes: dir.join("volumes"),
        executable: std::env::current_exe().expect("this program"),
        log_budget_bytes: 1 << 30,
        unprivileged: None,
    };
    let engine = HostEngine::open(config).await.expect("the engine opens");
    let (mut create, mut start, mut exec, mut remove) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        let spec = spec(&format!("m{}x{round}", std::process::id()), "exec sleep 100");
        let mut lap = Lap::new();
        engine.create(&spec).await.expect("created");
        create.push(lap.next());
        engine.start(&spec.id).await.expect("started");
        start.push(lap.next());
        let request =
            ExecRequest { argv: vec!["/bin/true".into()], output_limit: 100, ..ExecRequest::default() };
        assert_eq!(engine.exec(&spec.id, request).await.expect("run").code, 0);
        exec.push(lap.next());
        engine.remove(&spec.id).await.expect("removed");
        remove.push(lap.next());
    }
    report("engine create (durable)", &mut create);
    report("engine start to running", &mut start);
    report("engine exec", &mut exec);
    report("engine remove of a running instance", &mut remove);
    measure_pairs(&engine, rounds).await;
    measure_shims(&engine, dir).await;
    measure_output(&engine).await;
}

/// Instances start one by one, at rest: right after another the kernel has some of its waiting behind
/// it, and still takes the network of the removed one apart.
const SETTLE: Duration = Duration::from_millis(150);

/// From nothing to running, without a network and with one of its own, in turns.
async fn measure_pairs(engine: &HostEngine, rounds: usize) {
    let network = network();
    engine.ensure_network(&network).await.expect("a network");
    let mut times = [vec![], vec![]];
    for round in 0..rounds {
        for (number, times) in times.iter_mut().enumerate() {
            let mut spec = spec(&format!("p{}x{round}x{number}", std::process::id()), "exec sleep 100");
            if number == 1 {
                let address = "10.215.249.0".parse().expect("an address");
                let links = vec![Link::new(network.clone(), address)];
                spec.network = InstanceNetwork::Links { links, dns: vec![network.gateway] };
            }
            tokio::time::sleep(SETTLE).await;
            let mut lap = Lap::new();
            engine.create(&spec).await.expect("created");
            engine.start(&spec.id).await.expect("started");
            times.push(lap.next());
            engine.remove(&spec.id).await.expect("removed");
        }
    }
    let [bare, linked] = &mut times;
    report("created to running, no network", bare);
    report("created to running, network and names", linked);
    engine.remove_network(&network.bridge).await.expect("removed");
}

fn network() -> NetworkSpec {
    NetworkSpec {
        bridge: format!("jcm{}", std::process::id()),
        gateway: "10.215.248.1".parse().expect("an address"),
        prefix_len: 22,
        internal: false,
        virtual_addresses: Vec::new(),
        mtu: None,
    }
}

async fn measure_shims(engine: &HostEngine, dir: &Path) {
    let mut shims = Vec::new();
    let mut ids = Vec::new();
    for number in 0..10 {
        let spec = spec(&format!("s{}x{number}", std::process::id()), "exec sleep 100");
        engine.create(&spec).await.expect("created");
        engine.start(&spec.id).await.expect("started");
        let run = fs::read_to_string(dir.join("state/instances").join(spec.id.as_str()).join("run.json"))
            .expect("a record");
        let run: serde_json::Value = serde_json::from_str(&run).expect("JSON");
        shims.push(run["shim"]["pid"].as_u64().expect("a number"));
        ids.push(spec.id);
    }
    for key in ["Pss", "Private_Dirty", "Rss"] {
        let sum: u64 = shims.iter().map(|pid| rollup(*pid, key)).sum();
        println!("shim {key}, mean of 10: {} KiB", sum / 10);
    }
    if std::env::var_os("SMAPS").is_some() {
        print!("{}", fs::read_to_string(format!("/proc/{}/smaps", shims[5])).expect("readable"));
    }
    for id in ids {
        engine.remove(&id).await.expect("removed");
    }
}

fn rollup(pid: u64, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the shim runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("a field");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn measure_output(engine: &HostEngine) {
    let spec = spec(&format!("o{}", std::process::id()), "exec seq 1 3000000");
    engine.create(&spec).await.expect("created");
    let begun = Instant::now();
    engine.start(&spec.id).await.expect("started");
    loop {
        let all = engine.observe().await.expect("observed");
        if all.iter().any(|one| one.spec.id == spec.id && matches!(one.state, InstanceState::Exited(_))) {
            break;
        }
        engine.changed().await;
    }
    println!(
        "3,000,000 lines of output, start and end included: {:.0} ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    engine.remove(&spec.id).await.expect("removed");
}

fn spec(id: &str, script: &str) -> InstanceSpec {
    let digest = Digest::of(b"rootfs");
    let text = serde_json::json!({
        "id": id, "stack": "measure", "service": "one", "slot": 1, "release": 1,
        "spec_hash": digest, "image": digest, "layers": [digest], "image_config": {},
        "argv": ["/bin/sh", "-c", script], "environment": {}, "process": {}, "resources": { "memory": 67108864, "pids": 100 },
        "mounts": [], "files": [], "network": { "type": "none" }, "hostname": "one",
        "stop_signal": "SIGTERM", "stop_grace_ms": 1000, "log_max_bytes": 10485760, "log_max_files": 3, "labels": {},
    });
    let spec: InstanceSpec = serde_json::from_value(text).expect("a specification");
    assert_eq!(spec.network, InstanceNetwork::None);
    spec
}

struct Lap(Instant);

impl Lap {
    fn new() -> Self {
        Self(Instant::now())
    }
    fn next(&mut self) -> Duration {
        let took = self.0.elapsed();
        self.0 = Instant::now();
        took
    }
}

fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let p95 = times[times.len() * 95 / 100];
    println!("{name}: min {:.1} median {:.1} p95 {:.1} ms", ms(times[0]), ms(median(times)), ms(p95));
}
