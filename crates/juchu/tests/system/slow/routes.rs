//! Several services on one address, as a Compose file declares them.

use super::machine::Machine;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::free_port;

/// A service of nothing but busybox, which says its name.
fn service(name: &str, keys: &str) -> String {
    format!(
        "  {name}:\n    build: ./{name}\n    stop_grace_period: 1s\n    expose: [8080]\n    x-juchu:\n      builder: native\n      image: \
         {{kind: binary, user: root, entrypoint: [/app/busybox, httpd, -f, -p, \"8080\", -h, /site], files: {{\"/site/index.html\": index.html}}}}\n{keys}"
    )
}

fn project(machine: &Machine, name: &str, services: &[(&str, String)]) -> PathBuf {
    let declared: String = services.iter().map(|(name, keys)| service(name, keys)).collect();
    let directory = machine.project(name, &format!("name: {name}\nservices:\n{declared}"));
    for (service, _) in services {
        let app = directory.join(service);
        std::fs::create_dir_all(&app).expect("a directory");
        std::fs::copy(testkit::busybox_static(), app.join("busybox")).expect("busybox is there");
        std::fs::write(app.join("index.html"), format!("this is {service}")).expect("a page");
    }
    directory
}

/// Status and body of one request to a port of this host.
fn ask(port: u16, host: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is text");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

fn replace(directory: &Path, from: &str, to: &str) {
    let file = directory.join("compose.yaml");
    let before = std::fs::read_to_string(&file).expect("it was written");
    let after = before.replace(from, to);
    assert_ne!(before, after);
    std::fs::write(file, after).expect("it can be written");
}

#[test]
fn services_share_an_address_by_host_and_path_and_change_without_a_restart() {
    let Some(machine) = Machine::new("routes") else { return };
    let port = free_port();
    let web =
        format!("      gateway:\n        routes:\n          - {{host: shop.example, listen: {port}}}\n");
    let api = format!(
        "      gateway:\n        routes:\n          - {{host: shop.example, path: /api, listen: {port}, rewrite: {{prefix: /}}}}\n          - {{host: old.example, listen: {port}, redirect: {{host: shop.example}}}}\n"
    );
    let directory = project(&machine, "site", &[("web", web), ("api", api)]);
    let out = machine.must(&directory, &["up", "-d"]);
    assert!(out.contains(&format!("http://shop.example:{port}")), "{out}");
    assert_eq!(ask(port, "shop.example", "/"), (200, "this is web".into()));
    assert_eq!(ask(port, "shop.example", "/api/"), (200, "this is api".into()));
    assert_eq!(ask(port, "old.example", "/").0, 308);
    assert_eq!(ask(port, "other.example", "/").0, 404);

    // The gateway says beforehand what it does, and counts what it did.
    let told = machine.must(
        &directory,
        &["route", "test", &format!("http://shop.example:{port}/api/x"), "--at", "127.0.0.1"],
    );
    assert!(told.contains("site/api#1") && told.contains("GET /x"), "{told}");
    let nobody = machine.run(&directory, &["route", "test", "http://shop.example:1/"]);
    assert_eq!(nobody.code, 4, "{}{}", nobody.out, nobody.err);
    let shown = machine.must(&directory, &["top", "--once", "--interval", "100ms", "api"]);
    assert!(shown.contains("site/api:8080") && !shown.contains("site/web"), "{shown}");

    // A second stack on the same address: other hosts are welcome, the same ones are refused.
    let other =
        format!("      gateway:\n        routes:\n          - {{host: blog.example, listen: {port}}}\n");
    let blog = project(&machine, "blog", &[("blog", other)]);
    machine.must(&blog, &["up", "-d"]);
    assert_eq!(ask(port, "blog.example", "/"), (200, "this is blog".into()));
    assert_eq!(ask(port, "shop.example", "/"), (200, "this is web".into()));
    replace(&blog, "blog.example", "shop.example");
    let refused = machine.run(&blog, &["deploy"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(
        refused.err.contains("takes the same requests as one of web of the stack site"),
        "{}",
        refused.err
    );
    assert_eq!(ask(port, "blog.example", "/"), (200, "this is blog".into()), "what ran goes on");

    // Another route alone: the instances stay.
    let ids = |stack: &Path| machine.must(stack, &["ps", "--json"]);
    let before = ids(&directory);
    replace(&directory, "path: /api", "path: /v2");
    machine.must(&directory, &["deploy"]);
    assert_eq!(ask(port, "shop.example", "/v2"), (200, "this is api".into()));
    assert_eq!(ask(port, "shop.example", "/api").0, 404, "the web service has no such file");
    assert_eq!(instances(&before), instances(&ids(&directory)));
}

/// The ids in what `ps --json` prints.
fn instances(printed: &str) -> Vec<String> {
    fn collect(value: &serde_json::Value, ids: &mut Vec<String>) {
        match value {
            serde_json::Value::Array(all) => all.iter().for_each(|one| collect(one, ids)),
            serde_json::Value::Object(all) => {
                ids.extend(all.get("id").and_then(|id| id.as_str()).map(str::to_owned));
                all.values().for_each(|one| collect(one, ids));
            }
            _ => {}
        }
    }
    let mut ids = Vec::new();
    collect(&serde_json::from_str(printed).expect("it is JSON"), &mut ids);
    assert!(!ids.is_empty(), "{printed}");
    ids
}
