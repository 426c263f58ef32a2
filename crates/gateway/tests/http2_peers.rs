//! Clients and servers of others: gRPC's own for Python, httpx, and the tools of nghttp2.

mod common;

use common::{Gateway, Instance, endpoint, eventually, table};
use model::service::Protocol::Http;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// What a program says on its standard output, and that it ends well.
fn says(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A service of gRPC that ends with the test.
struct GrpcService {
    child: Child,
    address: SocketAddr,
}

impl GrpcService {
    fn start(python: &Path) -> Self {
        let mut command = Command::new(python);
        command.arg(script("grpc_peer.py")).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("it can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says its port");
        let port: u16 = line.trim().parse().expect("it is a port");
        Self { child, address: ([127, 0, 0, 1], port).into() }
    }
}

impl Drop for GrpcService {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serving(gateway: &mut Gateway, instances: &[SocketAddr]) -> SocketAddr {
    let mut table = table(gateway.next_revision(), &[(Http, true, instances)]);
    table.backends.values_mut().for_each(|backend| backend.traffic.http2 = true);
    gateway.apply(&table).bound[0].1
}

#[test]
fn calls_of_grpc_pass_in_every_form() {
    let Some(python) = testkit::python_with_peers() else { return };
    let service = GrpcService::start(&python);
    let mut gateway = Gateway::with(|options| {
        options.limits = gateway::Limits::default();
        options.access_log = Some(options.control_socket.with_file_name("access"));
    });
    let address = serving(&mut gateway, &[service.address]);
    let call = |what: &str| {
        Command::new(&python).arg(script("grpc_peer.py")).arg(what).arg(address.to_string()).output()
    };
    let output = call("calls").expect("it can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = gateway.dir.path().join("access");
    eventually(|| {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        // The answers in turn: well, UNAVAILABLE, UNKNOWN and UNIMPLEMENTED.
        let count = |status: u32| {
            lines.matches(&format!("\"grpc_status\":{status}}}")).count()
                + lines.matches(&format!("\"grpc_status\":{status},")).count()
        };
        [0, 14, 2, 12].map(count) == [5, 1, 1, 1]
    });
    eventually(|| gateway.status().listeners[0].counts.active == 0);
}

#[test]
fn a_call_that_cannot_be_served_is_answered_as_grpc_has_it() {
    let Some(python) = testkit::python_with_peers() else { return };
    let mut gateway = Gateway::start();
    let address = serving(&mut gateway, &[]);
    let mut refused = Command::new(&python);
    refused.arg(script("grpc_peer.py")).arg("refused").arg(address.to_string());
    assert_eq!(says(&mut refused), "UNAVAILABLE: no instance is ready\n");
}

#[test]
fn an_instance_whose_calls_fail_is_left_alone() {
    let Some(python) = testkit::python_with_peers() else { return };
    let (service, other) = (GrpcService::start(&python), Instance::start(|mut talk| while talk.more() {}));
    let mut gateway = Gateway::start();
    let address = serving(&mut gateway, &[service.address]);
    drop(other);
    let refuse = "import grpc, sys\nchannel = grpc.insecure_channel(sys.argv[1])\nfor _ in range(20):\n    try:\n        channel.unary_unary('/juchu.test.Peer/Refuse')(b'', timeout=10, wait_for_ready=True)\n    except grpc.RpcError:\n        pass\n";
    // A second one, so that there is somebody to carry on.
    let second = GrpcService::start(&python);
    let mut next = table(gateway.next_revision(), &[(Http, true, &[service.address, second.address])]);
    next.backends.values_mut().for_each(|backend| backend.traffic.http2 = true);
    next.listeners[0].address = address;
    assert_eq!(next.backends["t/0:1"].endpoints[0], endpoint(service.address));
    gateway.apply(&next);
    says(Command::new(&python).args(["-c", refuse, &address.to_string()]));
    eventually(|| gateway.log().contains("fails again and again and is left alone for a while"));
}

#[test]
fn httpx_asks_for_many_things_at_a_time() {
    let Some(python) = testkit::python_with_peers() else { return };
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let said = says(Command::new(&python).arg(script("http2_peer.py")).arg(address.to_string()));
    assert_eq!(said, "ok\n");
    assert_eq!(gateway.status().listeners[0].counts.connections, 1);
}

#[test]
fn the_tools_of_nghttp2_are_served() {
    let Some(h2load) = testkit::needs("h2load", "nghttp2-client") else { return };
    let Some(nghttp) = testkit::needs("nghttp", "nghttp2-client") else { return };
    let instance = Instance::saying("hello");
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let uri = format!("http://{address}/");
    let said = says(Command::new(h2load).args(["-n", "2000", "-c", "4", "-m", "25", &uri]));
    assert!(said.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    let said = says(Command::new(nghttp).args(["-v", "--no-dep", &uri]));
    assert!(said.contains(":status: 200") && said.contains("hello"), "{said}");
    eventually(|| gateway.status().listeners[0].counts.requests == 2001);
}
