//! A registry of one test, and requests to it.

use build::ImageStore;
use build::repositories::Algorithm;
use registry::access::Rule;
use registry::{Anonymous, Limits, Options, Registry, Users, listen};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use testkit::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Served {
    pub directory: TempDir,
    pub address: SocketAddr,
    pub registry: Arc<Registry>,
    end: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().expect("a code").to_owned()
    }
}

/// Room for tests on machines with little of it.
pub fn limits() -> Limits {
    Limits { disk_floor: 0, ..Limits::default() }
}

impl Served {
    pub fn open(anonymous: Anonymous) -> Self {
        Self::with(TempDir::new(), anonymous, limits())
    }

    pub fn with(directory: TempDir, anonymous: Anonymous, limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = Options {
            store: directory.path().to_owned(),
            address: "127.0.0.1:0".parse().expect("an address"),
            tls: None,
            plain_http: false,
            anonymous,
            limits,
            tell: Arc::new(|text| eprintln!("{text}")),
        };
        let listening = runtime.block_on(listen(options)).expect("it listens");
        let (address, registry) = (listening.address().expect("an address"), listening.registry());
        let (end, ended) = oneshot::channel::<()>();
        runtime.spawn(listening.run(async { drop(ended.await) }));
        Self { directory, address, registry, end: Some(end), runtime: Some(runtime) }
    }

    pub fn store(&self) -> ImageStore {
        ImageStore::open(self.directory.path()).expect("a store")
    }

    pub fn user(&self, name: &str, rules: &[Rule]) -> String {
        let users = Users::open(self.directory.path()).expect("users");
        users.add(name, rules.to_vec(), None).expect("added")
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        if !body.is_empty() || matches!(method, "PUT" | "PATCH" | "POST") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = self.connect();
        stream.write_all(format!("{head}\r\n").as_bytes()).expect("a head is taken");
        // One that refuses may not read on.
        let _ = stream.write_all(body);
        answer(stream, method == "HEAD")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a limit");
        stream.set_write_timeout(Some(TIMEOUT)).expect("a limit");
        stream
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    /// Pushes a blob and answers its digest.
    pub fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = Algorithm::Sha256.of(bytes).to_string();
        let reply = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), &[], bytes);
        assert_eq!(reply.status, 201);
        digest
    }

    pub fn put(&self, repository: &str, reference: &str, manifest: &str) -> Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.ask("PUT", &path, &[("content-type", MANIFEST)], manifest.as_bytes())
    }

    /// Pushes an image with one layer.
    pub fn image(&self, repository: &str, tag: &str, layer: &[u8]) -> String {
        let (config, layer) = (self.blob(repository, b"{}"), self.blob(repository, layer));
        let manifest = manifest(&config, &[&layer]);
        assert_eq!(self.put(repository, tag, &manifest).status, 201);
        Algorithm::Sha256.of(manifest.as_bytes()).to_string()
    }

    /// Begins an upload and answers where it goes on.
    pub fn begin(&self, repository: &str) -> String {
        let reply = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        assert_eq!(reply.status, 202);
        reply.header("location").expect("a location").to_owned()
    }

    pub fn uploads(&self) -> usize {
        files(&self.directory.path().join("registry/uploads"))
    }
    pub fn blobs(&self) -> usize {
        files(&self.directory.path().join("oci/blobs/sha256"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end.take();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

pub fn manifest(config: &str, layers: &[&str]) -> String {
    let part = |digest: &&str| format!(r#"{{"mediaType":"x/y","digest":"{digest}","size":2}}"#);
    let layers: Vec<String> = layers.iter().map(part).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
        part(&config),
        layers.join(",")
    )
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("a directory").count()
}

/// Reads an answer to its end.
pub fn answer(mut stream: TcpStream, head_only: bool) -> Reply {
    let mut bytes = Vec::new();
    // A connection that is reset after the answer has still answered.
    let _ = stream.read_to_end(&mut bytes);
    let at =
        bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {bytes:?}"));
    let head = String::from_utf8(bytes[..at].to_vec()).expect("text");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = headers.map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    let reply = Reply { status, headers, body: bytes[at + 4..].to_vec() };
    if let (Some(length), false) = (reply.header("content-length"), head_only) {
        assert_eq!(length.parse::<usize>().ok(), Some(reply.body.len()), "the body is whole");
    }
    reply
}
