//! An engine in directories of its own with one busybox layer; everything ends with it.

use host::{HostConfig, HostEngine, LayerSource};
use model::instance::*;
use model::service::{ProcessSettings, Resources};
use model::{Digest, DurationMs, InstanceId, ReleaseId, ServiceName, StackName};
use run::engine::{Engine, EngineError, ExecOutcome, ExecRequest, LogQuery};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use testkit::TempDir;

pub struct Fixture {
    pub engine: HostEngine,
    pub dir: TempDir,
    ids: Vec<InstanceId>,
}

struct OneDir(PathBuf);

impl LayerSource for OneDir {
    fn layer_dir(&self, digest: &Digest) -> Option<PathBuf> {
        let dir = self.0.join(digest.hex());
        dir.is_dir().then_some(dir)
    }
}

const APPLETS: &[&str] = &[
    "sh", "ls", "cat", "echo", "sleep", "id", "env", "mount", "touch", "mkdir", "stat", "kill", "ps", "true",
    "false", "hostname", "head", "dd", "grep", "chown", "pwd", "mknod", "unshare", "tty", "yes", "test",
    "nc", "ip", "seq", "wc", "readlink", "cp",
];

/// The layer every test starts from.
pub fn layer() -> Digest {
    Digest::of(b"busybox")
}

impl Fixture {
    pub async fn new() -> Self {
        let dir = TempDir::new();
        make_layer(&dir.join("layers").join(layer().hex()));
        let engine = open(&dir).await;
        Self { engine, dir, ids: Vec::new() }
    }

    /// As after the daemon was started again.
    pub async fn reopen(&mut self) {
        self.engine = open(&self.dir).await;
    }

    pub fn layer_dir(&self) -> PathBuf {
        self.dir.join("layers").join(layer().hex())
    }

    pub fn state_dir(&self, id: &InstanceId) -> PathBuf {
        self.dir.join("state/instances").join(id.as_str())
    }

    pub fn runtime_dir(&self, id: &InstanceId) -> PathBuf {
        self.dir.join("run/instances").join(id.as_str())
    }

    /// A specification that runs `script` by the shell, without a network.
    pub fn spec(&mut self, script: &str) -> InstanceSpec {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let clock =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
        let id = InstanceId::new(format!("t{}x{clock}x{number}", std::process::id())).unwrap();
        self.ids.push(id.clone());
        InstanceSpec {
            id,
            stack: StackName::new("test").unwrap(),
            service: ServiceName::new("web").unwrap(),
            slot: 1,
            release: ReleaseId(1),
            spec_hash: Digest::of(b"spec"),
            image: Digest::of(b"image"),
            layers: vec![layer()],
            image_config: Default::default(),
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: BTreeMap::new(),
            process: ProcessSettings::default(),
            resources: Resources::default(),
            mounts: vec![],
            files: vec![],
            network: InstanceNetwork::None,
            hostname: "web-1".to_owned(),
            stop_signal: "SIGTERM".to_owned(),
            stop_grace_ms: 5_000,
            hooks: Default::default(),
            ipc_of: None,
            pid_of: None,
            log_max_bytes: 1 << 20,
            log_max_files: 3,
            labels: BTreeMap::new(),
        }
    }

    /// Creates and starts.
    pub async fn run(&self, spec: &InstanceSpec) -> Result<InstanceId, EngineError> {
        self.engine.create(spec).await?;
        self.engine.start(&spec.id).await?;
        Ok(spec.id.clone())
    }

    /// Runs a script to its end: how it ended and what it said.
    pub async fn script(&mut self, script: &str, change: impl FnOnce(&mut InstanceSpec)) -> (Exit, String) {
        let mut spec = self.spec(script);
        change(&mut spec);
        let id = self.run(&spec).await.unwrap_or_else(|error| panic!("start: {error}"));
        let exit = self.exit(&id).await;
        (exit, self.output(&id).await)
    }

    /// What a script says; it must succeed.
    pub async fn says(&mut self, script: &str, change: impl FnOnce(&mut InstanceSpec)) -> String {
        let (exit, output) = self.script(script, change).await;
        assert_eq!(exit.code, 0, "{}\n{output}", exit.describe());
        output.trim_end().to_owned()
    }

    pub async fn state(&self, id: &InstanceId) -> InstanceState {
        self.observed(id).await.state
    }

    pub async fn observed(&self, id: &InstanceId) -> Observed {
        let all = self.engine.observe().await.unwrap();
        all.into_iter().find(|observed| &observed.spec.id == id).expect("the instance is known")
    }

    /// Waits for the end of the instance, woken by the engine.
    pub async fn exit(&self, id: &InstanceId) -> Exit {
        let wait = async {
            loop {
                if let InstanceState::Exited(exit) = self.state(id).await {
                    return exit;
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), self.engine.changed()).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), wait).await {
            Ok(exit) => exit,
            Err(_) => panic!("the instance does not end: {:?}", self.state(id).await),
        }
    }

    pub async fn output(&self, id: &InstanceId) -> String {
        let mut lines = self.engine.logs(id, LogQuery::default()).await.unwrap();
        let mut text = String::new();
        while let Some(line) = lines.recv().await {
            text.push_str(&line.text);
            text.push('\n');
        }
        text
    }

    /// Waits until the instance has said a line.
    pub async fn said(&self, id: &InstanceId, line: &str) {
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let mut lines = self.engine.logs(id, query).await.unwrap();
        let wait = async {
            while let Some(said) = lines.recv().await {
                if said.text == line {
                    return;
                }
            }
            panic!("the output ended without `{line}`");
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("`{line}` was not said"));
    }

    pub async fn exec(&self, id: &InstanceId, script: &str) -> ExecOutcome {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        self.engine.exec(id, ExecRequest { argv, output_limit: 1 << 16, ..Default::default() }).await.unwrap()
    }

    pub async fn pid(&self, id: &InstanceId) -> i32 {
        match self.state(id).await {
            InstanceState::Running { pid, .. } => pid,
            other => panic!("not running: {other:?}"),
        }
    }
}

impl Drop for Fixture {
    /// Also when the test has failed: what runs is ended by its control group, by its id.
    fn drop(&mut self) {
        for id in &self.ids {
            end(&self.dir, id);
        }
    }
}

fn end(dir: &Path, id: &InstanceId) {
    let run = dir.join("state/instances").join(id.as_str()).join("run.json");
    let Ok(text) = fs::read_to_string(run) else { return };
    let Ok(run) = serde_json::from_str::<serde_json::Value>(&text) else { return };
    for process in ["init", "shim"] {
        let (pid, start) = (run[process]["pid"].as_i64(), run[process]["start_time"].as_u64());
        if let (Some(pid), Some(start)) = (pid, start)
            && start_time(pid) == Some(start)
        {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    for _ in 0..200 {
        let left: Vec<PathBuf> = groups(id);
        if left.iter().all(|dir| remove_group(dir)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn start_time(pid: i64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].split(' ').nth(19)?.parse().ok()
}

/// Control groups of an instance that are there.
pub fn groups(id: &InstanceId) -> Vec<PathBuf> {
    let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let all = roots.chain([PathBuf::from("/sys/fs/cgroup")]).map(|root| root.join("juchu").join(id.as_str()));
    all.filter(|dir| dir.is_dir()).collect()
}

fn remove_group(dir: &Path) -> bool {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    fs::remove_dir(dir).is_ok()
}

async fn open(dir: &Path) -> HostEngine {
    let config = HostConfig {
        state: dir.join("state"),
        runtime: dir.join("run"),
        layers: Arc::new(OneDir(dir.join("layers"))),
        volumes: dir.join("volumes"),
        executable: env!("CARGO_BIN_EXE_host-test").into(),
        log_budget_bytes: 64 << 20,
        unprivileged: None,
    };
    HostEngine::open(config).await.expect("the engine opens")
}

fn make_layer(dir: &Path) {
    for name in ["bin", "etc", "tmp", "srv/data", "proc", "sys", "dev", "root", "home/app"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::copy(testkit::busybox_static(), dir.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", dir.join("bin").join(applet)).unwrap();
    }
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
        .unwrap();
    fs::write(dir.join("etc/group"), "root:x:0:\napp:x:1000:\nstaff:x:50:app\n").unwrap();
    fs::write(dir.join("srv/data/seed"), "from the image\n").unwrap();
    std::os::unix::fs::chown(dir.join("srv/data"), Some(1000), Some(1000)).unwrap();
}

/// Runs an asynchronous test as root, or says why not.
pub fn test(name: &str, body: impl AsyncFnOnce()) {
    if !testkit::require_root(name) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(body());
}

/// A limit within which something has to happen: ten times as long where the processor is emulated.
pub fn patience(limit: DurationMs) -> DurationMs {
    DurationMs(if std::env::var_os("EMULATED").is_some() { limit.0 * 10 } else { limit.0 })
}
