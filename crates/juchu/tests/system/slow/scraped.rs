//! Services show metrics of their own; they are read, found by a query, and end with their service.

use super::machine::Machine;
use serde_json::Value;
use std::time::Duration;
use testkit::wait_until;

const LIMIT: Duration = Duration::from_secs(60);

const COMPOSE: &str = r#"
name: shown
services:
  declared:
    build: ./web
    stop_signal: SIGKILL
    x-juchu:
      builder: native
      image: &image {kind: binary, user: root, entrypoint: ["/app/busybox", "httpd", "-f", "-p", "8000", "-h", "/app"]}
      metrics: {port: 8000, path: /metrics.txt, interval: 1s, labels: {team: blue}}
      probes: [{url: "http://127.0.0.1:PORT/metrics.txt", interval: 5s}, {url: "http://127.0.0.1:PORT/absent", interval: 5s}]
    ports: ["127.0.0.1:PORT:8000"]
  labelled:
    build: ./web
    stop_signal: SIGKILL
    scale: 2
    expose: ["8000"]
    labels: {prometheus.io/scrape: "true", prometheus.io/path: /metrics.txt, prometheus.io/interval: 1s}
    x-juchu: {builder: native, image: *image}
  broken:
    build: ./web
    stop_signal: SIGKILL
    x-juchu: {builder: native, image: *image, metrics: {port: 8000, path: /absent, interval: 1s}}
"#;

const METRICS: &str = "# TYPE hits_total counter\nhits_total{path=\"/\",job=\"inner\"} 42\n";

/// What a query answers: the labels of each series, and its value.
fn ask(machine: &Machine, query: &str) -> Vec<(Value, f64)> {
    let said = machine.run(machine.home(), &["query", "--json", query]);
    let data: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let all = data["result"].as_array().expect("a list");
    let value = |one: &Value| one["value"][1].as_str().expect("a value").parse().expect("a number");
    all.iter().map(|one| (one["metric"].clone(), value(one))).collect()
}

fn seconds_now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs_f64()
}

#[test]
fn metrics_of_services_are_read_and_end_with_them() {
    let Some(machine) = Machine::new("scraped") else { return };
    let port = testkit::free_port();
    let directory = machine.project("shown", &COMPOSE.replace("PORT", &port.to_string()));
    let web = directory.join("web");
    std::fs::create_dir_all(&web).expect("a directory");
    std::fs::copy(testkit::busybox_static(), web.join("busybox")).expect("busybox is there");
    std::fs::write(web.join("metrics.txt"), METRICS).expect("metrics");
    machine.must(&directory, &["up", "-d"]);

    wait_until(LIMIT, "all instances are read", || ask(&machine, "hits_total").len() == 3);
    let (labels, value) = ask(&machine, "hits_total{service='declared'}").remove(0);
    assert_eq!(value, 42.0);
    let expected =
        [("job", "declared"), ("stack", "shown"), ("team", "blue"), ("exported_job", "inner"), ("path", "/")];
    for (name, value) in expected {
        assert_eq!(labels[name], value, "{labels}");
    }
    // The same name as the instance has everywhere else.
    let joined = "hits_total * on (instance) group_left () (container_last_seen > bool 0)";
    wait_until(LIMIT, "both are measured", || ask(&machine, joined).len() == 3);
    assert_eq!(ask(&machine, "scrape_samples_scraped{service='labelled'}")[0].1, 1.0);

    wait_until(LIMIT, "what cannot be read is down", || !ask(&machine, "up{service='broken'}").is_empty());
    assert_eq!(ask(&machine, "up{service='broken'}")[0].1, 0.0);
    let said = machine.must(&directory, &["query", "--targets"]);
    let broken = said.lines().find(|line| line.contains("broken")).expect("it is listed");
    assert!(broken.contains("down") && broken.contains("the answer has status 404"), "{said}");

    wait_until(LIMIT, "both addresses are probed", || ask(&machine, "probe_success").len() == 2);
    let failed = ask(&machine, "probe_success == 0").remove(0).0;
    assert_eq!(failed["instance"], format!("http://127.0.0.1:{port}/absent"), "{failed}");
    assert_eq!(ask(&machine, "probe_http_status_code{service='declared'} == 404").len(), 1);
    let timed = "sum by (instance) (probe_http_duration_seconds{job='probe'}) > 0";
    assert_eq!(ask(&machine, timed).len(), 2);
    let address = format!("http://127.0.0.1:{port}/metrics.txt");
    let told = machine.must(&directory, &["probe", "--json", &address]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["status"], &told["within_budget"]), (&Value::from(200), &Value::from(true)));
    let absent = machine.run(&directory, &["probe", &format!("http://127.0.0.1:{port}/absent")]);
    assert_eq!(absent.code, 4, "{absent:?}");

    // The daemon dies and goes on; a service that is stopped has no samples any more.
    machine.kill_daemon();
    machine.must(&directory, &["up", "-d"]);
    wait_until(LIMIT, "the next daemon has read them all", || {
        let said = machine.must(&directory, &["query", "--targets"]);
        said.lines().count() == 5 && !said.contains("unknown")
    });
    let again = format!("timestamp(probe_success) > {}", seconds_now());
    wait_until(LIMIT, "and probed both addresses", || ask(&machine, &again).len() == 2);
    machine.must(&directory, &["stop", "labelled"]);
    wait_until(LIMIT, "those that stopped have ended", || {
        ask(&machine, "up{service='labelled'}").is_empty() && ask(&machine, "hits_total").len() == 1
    });
    machine.must(&directory, &["down"]);
    wait_until(LIMIT, "all have ended", || {
        ask(&machine, "{stack='shown', __name__=~'up|probe_success'}").is_empty()
    });
}
