//! Ports and networks as a Compose file declares them, with real containers and real clients.

use super::machine::{Machine, Said};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use testkit::{free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(5);

/// What this test's own program is asked to be inside a container: `serve:PORT` or `ask:HOST:PORT`.
const ROLE: &str = "JUCHU_TEST_UDP";

/// Not a test of its own: the UDP program of test containers, which busybox has none of.
#[test]
fn a_udp_program() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match role.split_once(':').expect("a role and what it needs") {
        ("serve", port) => serve(port.parse().expect("a port")),
        (_, address) => {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.set_read_timeout(Some(PATIENCE)).expect("an option");
            socket.connect(address).expect("the name is known");
            println!("answer={}", ask(&socket, "inside").expect("an answer"));
        }
    }
}

/// Answers each datagram with the version and what it said.
fn serve(port: u16) {
    let socket = UdpSocket::bind(("0.0.0.0", port)).expect("the port is free");
    let version = std::env::var("VERSION").expect("a version");
    let mut buffer = [0; 2048];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).expect("it can be heard");
        let text = format!("{version} {}", String::from_utf8_lossy(&buffer[..length]));
        // Whoever asked may be gone.
        let _ = socket.send_to(text.as_bytes(), peer);
    }
}

fn ask(socket: &UdpSocket, text: &str) -> std::io::Result<String> {
    socket.send(text.as_bytes())?;
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket.connect(("127.0.0.1", port)).expect("it can be sent to");
    socket
}

/// A service of nothing but busybox; `keys` are lines with an indentation of four.
fn service(name: &str, entrypoint: &str, keys: &str) -> String {
    format!(
        "  {name}:\n    build: ./app\n    stop_grace_period: 1s\n    x-juchu:\n      builder: native\n      image: \
         {{kind: binary, user: root, entrypoint: {entrypoint}, files: {{\"/site/index.html\": index.html}}}}\n{keys}"
    )
}

const SLEEP: &str = r#"["/app/busybox", "sleep", "100000"]"#;
const HTTPD: &str = r#"["/app/busybox", "httpd", "-f", "-p", "8080", "-h", "/site"]"#;

/// The same, running this test's own program with the libraries of this host.
fn program(name: &str, role: &str, version: &str, keys: &str) -> String {
    let own = std::env::current_exe().expect("a program has a path");
    let mounts: Vec<String> = ["/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"]
        .iter()
        .filter(|path| Path::new(path).exists())
        .map(|path| format!("      - {path}:{path}:ro\n"))
        .collect();
    let keys = format!(
        "    environment: {{{ROLE}: \"{role}\", VERSION: {version}}}\n    volumes:\n      - {}:/udp:ro\n{}{keys}",
        own.display(),
        mounts.concat()
    );
    service(name, r#"["/udp", "--exact", "slow::wires::a_udp_program", "--nocapture"]"#, &keys)
}

fn project(machine: &Machine, name: &str, compose: &str) -> PathBuf {
    let directory = machine.project(name, &format!("name: {name}\n{compose}"));
    let app = directory.join("app");
    std::fs::create_dir_all(&app).expect("a directory");
    std::fs::copy(testkit::busybox_static(), app.join("busybox")).expect("busybox is there");
    std::fs::write(app.join("index.html"), name).expect("a page");
    directory
}

/// Runs busybox in a service.
fn inside(machine: &Machine, directory: &Path, service: &str, command: &[&str]) -> Said {
    machine.run(directory, &[&["exec", "-T", service, "/app/busybox"], command].concat())
}

#[test]
fn udp_reaches_services_from_outside_and_by_name_and_a_deploy_loses_nothing() {
    let Some(machine) = Machine::new("udp") else { return };
    let port = free_port();
    let file = |version: &str| {
        let keys = format!("    ports: [\"{port}:5300/udp\"]\n    deploy: {{replicas: 2}}\n");
        let echo = program("echo", "serve:5300", version, &keys);
        let asker = program("asker", "serve:1", "none", "");
        format!("services:\n{echo}{asker}")
    };
    let directory = project(&machine, "udp", &file("one"));
    let out = machine.must(&directory, &["up", "-d"]);
    assert!(out.contains(&format!("udp://127.0.0.1:{port}")), "{out}");
    assert_eq!(ask(&client(port), "outside").expect("an answer"), "one outside");

    let role = format!("{ROLE}=ask:echo:5300");
    let test = "slow::wires::a_udp_program";
    let asked = ["exec", "-T", "-e", &role, "asker", "/udp", "--exact", test, "--nocapture"];
    let said = machine.must(&directory, &asked);
    assert!(said.contains("answer=one inside"), "by name, through the gateway: {said}");

    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let (mut asked, mut versions) = (0, std::collections::BTreeSet::new());
            while !stop.load(Relaxed) {
                // A client of its own each time, as for names.
                let answer = ask(&client(port), "load").expect("no datagram is lost");
                versions.insert(answer);
                asked += 1;
            }
            (asked, versions)
        })
    };
    machine.project("udp", &format!("name: udp\n{}", file("two")));
    machine.must(&directory, &["deploy"]);
    assert_eq!(ask(&client(port), "after").expect("an answer"), "two after");
    stop.store(true, Relaxed);
    let (asked, versions) = load.join().expect("every question was answered");
    assert!(asked > 10, "{asked}");
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), ["one load", "two load"]);
}

#[test]
fn stacks_share_a_network_by_its_name() {
    let Some(machine) = Machine::new("shared") else { return };
    let first = format!(
        "services:\n{}{}networks: {{shared: {{name: wires-shared}}}}\n",
        service("web", HTTPD, "    networks: {shared: {aliases: [front]}}\n    container_name: the-web\n"),
        service("hidden", HTTPD, "")
    );
    let second = format!(
        "services:\n{}networks: {{outer: {{external: true, name: wires-shared}}}}\n",
        service("visitor", SLEEP, "    networks: [outer, default]\n    external_links: [\"the-web:old\"]\n")
    );
    let first = project(&machine, "owner", &first);
    let second = project(&machine, "guest", &second);
    let refused = machine.run(&second, &["up", "-d"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("there is no network `wires-shared`"), "{}", refused.err);
    assert!(refused.err.contains("juchu up"), "{}", refused.err);

    machine.must(&first, &["up", "-d"]);
    machine.must(&second, &["up", "-d"]);
    for name in ["web", "front", "the-web", "web.wires-shared", "old"] {
        let url = format!("http://{name}:8080/");
        let said =
            inside(&machine, &second, "visitor", &["timeout", "5", "/app/busybox", "wget", "-qO-", &url]);
        assert_eq!(said.out.trim(), "owner", "{name}: {}", said.err);
    }
    let hidden = inside(
        &machine,
        &second,
        "visitor",
        &["timeout", "2", "/app/busybox", "wget", "-qO-", "http://hidden:8080/"],
    );
    assert_ne!(hidden.code, 0, "networks that are not shared stay apart");
    let own = inside(&machine, &second, "visitor", &["nslookup", "visitor"]);
    assert_eq!(own.code, 0, "{}{}", own.out, own.err);

    // The network is there as long as somebody is on it.
    machine.must(&first, &["down"]);
    let still = inside(&machine, &second, "visitor", &["ip", "addr"]);
    assert!(still.out.contains("eth1"), "{}", still.out);
    machine.must(&first, &["up", "-d"]);
    let again = inside(
        &machine,
        &second,
        "visitor",
        &["timeout", "5", "/app/busybox", "wget", "-qO-", "http://web:8080/"],
    );
    assert_eq!(again.out.trim(), "owner", "{}", again.err);
    machine.must(&second, &["down"]);
    machine.must(&first, &["down"]);
}

#[test]
fn names_addresses_and_links_are_as_declared() {
    let Some(machine) = Machine::new("declared") else { return };
    let keys = "    networks:\n      lan: {ipv4_address: 10.207.93.20, mac_address: \"02:42:0a:cf:5d:14\", \
                interface_name: lan0, link_local_ips: [169.254.7.7]}\n      back: {gw_priority: 5}\n    \
                links: [\"db:store\"]\n    extra_hosts: [\"host.docker.internal:host-gateway\", \"fixed:10.1.2.3\"]\n    \
                dns_search: [example.test]\n    dns_opt: [\"timeout:2\"]\n    hostname: box\n";
    let compose = format!(
        "services:\n{}{}networks:\n  lan:\n    driver_opts: {{com.docker.network.driver.mtu: \"1400\"}}\n    ipam: \
         {{config: [{{subnet: 10.207.93.0/24, gateway: 10.207.93.254, ip_range: 10.207.93.192/27}}]}}\n  back: {{}}\n",
        service("web", SLEEP, keys),
        service("db", HTTPD, "    networks: [lan]\n"),
    );
    let directory = project(&machine, "declared", &compose);
    machine.must(&directory, &["up", "-d"]);
    let web = |command: &[&str]| {
        let said = inside(&machine, &directory, "web", command);
        assert_eq!(said.code, 0, "{command:?}: {}{}", said.out, said.err);
        said.out
    };
    let lan = web(&["ip", "addr", "show", "lan0"]);
    for expect in ["10.207.93.20/24", "169.254.7.7/16", "02:42:0a:cf:5d:14", "mtu 1400"] {
        assert!(lan.contains(expect), "{expect}: {lan}");
    }
    let route = web(&["ip", "route"]);
    let default = route.lines().find(|line| line.starts_with("default")).expect("a default route");
    assert!(!default.contains("10.207.93.254") && !default.contains("lan0"), "{route}");
    let hosts = web(&["cat", "/etc/hosts"]);
    let gateway = default.split_whitespace().nth(2).expect("its gateway");
    assert!(hosts.contains(&format!("{gateway}\thost.docker.internal")), "{hosts}");
    assert!(hosts.contains("10.1.2.3\tfixed") && hosts.contains("\tbox"), "{hosts}");
    let resolver = web(&["cat", "/etc/resolv.conf"]);
    assert!(
        resolver.contains("search example.test") && resolver.contains("options ndots:0 timeout:2"),
        "{resolver}"
    );
    // By a name that only this service knows, on a network that is not the one it asks on.
    assert_eq!(
        web(&["timeout", "5", "/app/busybox", "wget", "-qO-", "http://store:8080/"]).trim(),
        "declared"
    );
    assert_eq!(
        web(&["timeout", "5", "/app/busybox", "wget", "-qO-", "http://db.declared_lan:8080/"]).trim(),
        "declared"
    );
    let elsewhere = inside(&machine, &directory, "db", &["nslookup", "store"]);
    assert_ne!(elsewhere.code, 0, "a link is nobody else's: {}", elsewhere.out);
    let db = inside(&machine, &directory, "db", &["ip", "addr", "show", "eth0"]).out;
    let last = db.split("10.207.93.").nth(1).and_then(|rest| rest.split('/').next()?.parse::<u8>().ok());
    assert!(last.is_some_and(|last| (192..224).contains(&last)), "{db}");
    assert!(web(&["nslookup", "10.207.93.20"]).contains("declared-web-1.declared_lan"));
}

#[test]
fn who_shares_a_network_follows_it() {
    let Some(machine) = Machine::new("follow") else { return };
    let file = |colour: &str| {
        let gate = service(
            "gate",
            HTTPD,
            &format!("    container_name: gate\n    environment: {{COLOUR: {colour}}}\n"),
        );
        let beside = service("beside", SLEEP, "    network_mode: \"service:gate\"\n");
        let named = service("named", SLEEP, "    network_mode: \"container:gate\"\n");
        format!("services:\n{gate}{beside}{named}")
    };
    let directory = project(&machine, "follow", &file("red"));
    machine.must(&directory, &["up", "-d"]);
    let reaches = |service: &str| {
        let said = inside(
            &machine,
            &directory,
            service,
            &["timeout", "5", "/app/busybox", "wget", "-qO-", "http://127.0.0.1:8080/"],
        );
        said.out.trim() == "follow"
    };
    assert!(reaches("beside") && reaches("named"));
    let address = |service: &str| inside(&machine, &directory, service, &["ip", "addr", "show", "eth0"]).out;
    let before = address("gate");
    assert_eq!(address("beside"), before);
    machine.must(&directory, &["restart", "gate"]);
    wait_until(Duration::from_secs(20), "the network after a restart", || {
        reaches("beside") && reaches("named")
    });
    machine.project("follow", &format!("name: follow\n{}", file("blue")));
    machine.must(&directory, &["deploy"]);
    wait_until(Duration::from_secs(30), "the network of the new one", || {
        let now = address("gate");
        now != before && address("beside") == now && address("named") == now && reaches("beside")
    });
}
