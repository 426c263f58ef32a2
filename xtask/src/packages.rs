//! Debian packages that tests and benches call: the one list of them.
//!
//! Tests ask for them by `testkit::needs(BINARY, PACKAGE)`; a test keeps the list complete.

use crate::{Failure, Outcome, process, workspace};
use std::path::PathBuf;

pub struct Package {
    pub name: &'static str,
    pub why: &'static str,
    /// A single program that needs no more than the C library and whose package would start a
    /// service: it is unpacked below `target` instead of being installed.
    pub unpacked: bool,
}

const fn installed(name: &'static str, why: &'static str) -> Package {
    Package { name, why, unpacked: false }
}

const fn unpacked(name: &'static str, why: &'static str) -> Package {
    Package { name, why, unpacked: true }
}

pub const PACKAGES: &[Package] = &[
    installed("iproute2", "looks at the networks that tests make"),
    installed("nftables", "looks at the firewall rules of these networks"),
    installed("skopeo", "reads the images that we build, as others do"),
    installed("openssl", "verifies the signatures that we make, as others do"),
    installed("umoci", "unpacks the images that we push, as others do"),
    installed("podman", "runs containers through our OCI command line, and images that we push"),
    installed("uidmap", "gives users without root their ranges of ids"),
    installed("passt", "the way out of the networks of users without root"),
    installed("runc", "the OCI runtime that ours is compared with"),
    installed("pebble", "an authority for tests that certificates are ordered from"),
    installed("buildah", "builds Dockerfiles for us"),
    installed("nghttp2-client", "asks the gateway in HTTP/2"),
    installed("curl", "reads what the gateway compresses"),
    installed("bsdutils", "sends lines by syslog, as others do"),
    installed("goaccess", "counts the visitors of the same access log"),
    installed("sslscan", "looks for what is weak in the gateway's TLS"),
    installed("python3", "asks the gateway, as programs of others do"),
    installed("python3-venv", "holds the validators and the clients below"),
    unpacked("docker-registry", "a registry to pull images from"),
    unpacked("prometheus", "answers the same questions about the same measurements"),
    unpacked("prometheus-alertmanager", "takes the incidents that we tell it"),
    unpacked("prometheus-blackbox-exporter", "probes the same addresses at the same time"),
    unpacked("prometheus-node-exporter", "measures the same machine at the same time"),
    unpacked("victoria-metrics", "takes the samples that we send"),
];

/// From PyPI: they check documents of ours by the public schemas.
const VALIDATORS: [&str; 2] = ["cyclonedx-python-lib[json-validation]==11.12.0", "spdx-tools==0.8.5"];

/// From PyPI: clients and servers of HTTP/2 and gRPC that speak with the gateway, and a library by
/// which services show metrics.
const PYTHON_PEERS: [&str; 4] = [
    "grpcio==1.85.1",
    "httpx[http2]==0.28.1",
    "prometheus-client==0.26.0",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
];

/// What benches compare ours with, and the libraries it needs. Never installed itself: that would
/// start services.
const PEERS: &[Package] = &[
    installed("libpcre2-8-0", "nginx and HAProxy need it"),
    installed("libssl3", "nginx and HAProxy need it"),
    installed("liblua5.3-0", "HAProxy needs it"),
    installed("libopentracing-c-wrapper0", "HAProxy needs it"),
    unpacked("nginx", "a proxy that takes another configuration by a reload"),
    unpacked("libnginx-mod-stream", "nginx for plain TCP"),
    unpacked("haproxy", "a proxy with an API for its running state"),
];

/// What builds of images are compared with.
const IMAGE_PEERS: &[Package] = &[
    installed("debootstrap", "makes the slim base of these, and another release to build in"),
    installed("zstd", "the same compressor behind tar"),
];

/// Gets what builds of images are compared with.
pub fn provide_image_peers() -> Outcome {
    let missing: Vec<&str> =
        IMAGE_PEERS.iter().map(|p| p.name).chain(["buildah"]).filter(|name| !is_installed(name)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Debian's registry, installed or unpacked.
pub fn docker_registry() -> Result<PathBuf, Failure> {
    match is_installed("docker-registry") {
        true => Ok(PathBuf::from("/usr/bin/docker-registry")),
        false => Ok(unpack("docker-registry", "usr/bin")?.join("usr/bin/docker-registry")),
    }
}

/// Makes the load of the gateway's bench.
const LOADS: &[Package] = &[
    installed("wrk", "load over HTTP/1.1"),
    installed("nghttp2-client", "load over HTTP/2"),
    installed("openssl", "handshakes, one after the other"),
    unpacked("caddy", "a proxy with automatic certificates"),
];

/// What the gateway is measured beside.
pub struct GatewayPeers {
    pub proxies: Peers,
    pub caddy: PathBuf,
}

/// Gets what the gateway is measured beside and with.
pub fn provide_gateway_peers() -> Result<GatewayPeers, Failure> {
    let missing: Vec<&str> =
        LOADS.iter().filter(|p| !p.unpacked && !is_installed(p.name)).map(|p| p.name).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    let caddy = unpack("caddy", "usr/bin/caddy")?.join("usr/bin/caddy");
    Ok(GatewayPeers { proxies: provide_peers()?, caddy })
}

/// Programs of [`PEERS`].
#[derive(Debug, Clone)]
pub struct Peers {
    pub nginx: PathBuf,
    pub nginx_stream: PathBuf,
    pub haproxy: PathBuf,
}

/// Gets the peers, where there is `apt-get`.
pub fn provide_peers() -> Result<Peers, Failure> {
    let missing: Vec<&str> =
        PEERS.iter().filter(|p| !p.unpacked && !is_installed(p.name)).map(|p| p.name).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    let of = |name: &str, path: &str| unpack(name, path).map(|directory| directory.join(path));
    Ok(Peers {
        nginx: of("nginx", "usr/sbin/nginx")?,
        nginx_stream: of("libnginx-mod-stream", "usr/lib/nginx/modules/ngx_stream_module.so")?,
        haproxy: of("haproxy", "usr/sbin/haproxy")?,
    })
}

/// The smallest of Debian's kernels, which emulated machines start.
const KERNEL: &str = "linux-image-cloud-amd64";
const EMULATOR: Package = installed("qemu-system-x86", "a machine with another kernel");

/// Gets a kernel with its modules, unpacked, and the emulator for it.
pub fn provide_kernel() -> Result<PathBuf, Failure> {
    if !is_installed(EMULATOR.name) {
        install(&[EMULATOR.name])?;
    }
    let root = workspace::root();
    let ask = || process::read(&root, "apt-cache", &["depends", KERNEL]);
    let depends = ask().or_else(|_| apt_get(&root, &["update"]).and_then(|()| ask()))?;
    let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let version = name.ok_or_else(|| format!("`{KERNEL}` of this Debian names no kernel"))?;
    unpack(&format!("linux-image-{version}"), "boot")
}

/// Gets what is missing, where there is `apt-get`. Returns directories for the front of `PATH`.
pub fn provide() -> Result<Vec<PathBuf>, Failure> {
    if !process::answers("apt-get", &["--version"]) {
        return Ok(Vec::new());
    }
    let missing = || PACKAGES.iter().filter(|package| !is_installed(package.name));
    let names: Vec<&str> = missing().filter(|p| !p.unpacked).map(|p| p.name).collect();
    if !names.is_empty() {
        install(&names)?;
    }
    for (name, wanted) in [("validators", &VALIDATORS[..]), ("peers", &PYTHON_PEERS)] {
        if let Err(error) = provide_python(name, wanted) {
            eprintln!("warning: tests that need {name} from PyPI will be skipped: {error}");
        }
    }
    let programs = |package: &Package| Ok(unpack(package.name, "usr/bin")?.join("usr/bin"));
    missing().filter(|p| p.unpacked).map(programs).collect()
}

/// An environment with these packages. Without them the tests that call them are skipped.
fn provide_python(name: &str, wanted: &[&str]) -> Outcome {
    let root = workspace::root();
    let directory = root.join("target/xtask").join(name);
    let done = directory.join(format!("done-{}", wanted.join("-").replace(['[', ']', '='], "_")));
    if done.exists() {
        return Ok(());
    }
    process::run(&root, "python3", &["-m", "venv", &directory.to_string_lossy()])?;
    let pip = directory.join("bin/pip").to_string_lossy().into_owned();
    process::run(&root, &pip, &[&["install", "-q", "--disable-pip-version-check"], wanted].concat())?;
    Ok(std::fs::write(done, "")?)
}

/// Where `docker-registry` is, fetched where it is missing.
pub fn provide_registry() -> Result<PathBuf, Failure> {
    if is_installed("docker-registry") {
        return Ok(PathBuf::from("docker-registry"));
    }
    Ok(unpack("docker-registry", "usr/bin/docker-registry")?.join("usr/bin/docker-registry"))
}

/// By `apt-get` as root; others are told what is missing.
pub fn install(names: &[&str]) -> Outcome {
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("warning: some tests will be skipped without: {}", names.join(" "));
        eprintln!("hint: sudo apt-get install {}", names.join(" "));
        return Ok(());
    }
    apt_get(&workspace::root(), &[&["install", "-y", "--no-install-recommends"], names].concat())
}

/// The directory into which a package was unpacked; it holds `content`.
pub fn unpack(name: &str, content: &str) -> Result<PathBuf, Failure> {
    let directory = workspace::root().join("target/xtask").join(name);
    if directory.join(content).exists() {
        return Ok(directory);
    }
    let download = directory.join("download");
    std::fs::create_dir_all(&download)?;
    apt_get(&download, &["download", name])?;
    let package = workspace::files(&download, ".deb")?.pop().ok_or("apt-get left no package")?;
    process::run(&directory, "dpkg-deb", &["-x", &package.to_string_lossy(), "."])?;
    Ok(directory)
}

/// The lists of a fresh machine are empty or old; only when something is not found are they
/// fetched.
fn apt_get(directory: &std::path::Path, arguments: &[&str]) -> Outcome {
    // Without a terminal, and as root also when the directory is not open to apt's own user.
    let command = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "APT::Sandbox::User=root"];
    let run = |arguments: &[&str]| process::run(directory, "env", &[&command, arguments].concat());
    run(arguments).or_else(|_| run(&["update"]).and_then(|()| run(arguments)))
}

fn is_installed(package: &str) -> bool {
    process::read(&workspace::root(), "dpkg-query", &["-W", "-f=${db:Status-Status}", package])
        .is_ok_and(|status| status == "installed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_package_stands_in_the_list_once_with_its_reason() {
        let all = || PACKAGES.iter().chain(PEERS).chain(IMAGE_PEERS).chain([&EMULATOR]);
        let names: BTreeSet<&str> = all().map(|package| package.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(all().all(|package| !package.why.is_empty()));
    }
}
