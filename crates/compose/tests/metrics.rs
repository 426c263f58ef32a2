//! `x-juchu.metrics`, and the labels by which metrics are found.

mod support;

use model::Service;
use support::{check, service, with_keys};

/// Each endpoint on a line.
fn shown(service: &Service) -> String {
    let one = |endpoint: &model::metrics::MetricsEndpoint| {
        let mut text = format!("{}{} every {}", endpoint.port, endpoint.path, endpoint.interval());
        if let Some(timeout) = endpoint.timeout {
            text.push_str(&format!(" within {timeout}"));
        }
        endpoint.job.iter().for_each(|job| text.push_str(&format!(" job {job}")));
        endpoint.labels.iter().for_each(|(name, value)| text.push_str(&format!(" {name}={value}")));
        text
    };
    service.policy.metrics.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn endpoints_in_all_forms() {
    for (keys, expect) in [
        ("x-juchu: {metrics: 9100}", "9100/metrics every 10 s"),
        ("x-juchu: {metrics: '9100'}", "9100/metrics every 10 s"),
        ("x-juchu: {metrics: 9100/probe?name=x}", "9100/probe?name=x every 10 s"),
        ("x-juchu: {metrics: true}\nports: ['8080:80', '53:53/udp']", "80/metrics every 10 s"),
        ("x-juchu: {metrics: {path: m}}\nexpose: [80]\nports: ['80']", "80/m every 10 s"),
        (
            "x-juchu: {metrics: {port: 1, path: /m, interval: 2s, timeout: 500ms, job: j, labels: {team: x, n: 1}}}",
            "1/m every 2 s within 500 ms job j n=1 team=x",
        ),
        (
            "x-juchu: {metrics: [1, {port: 2, job: other}]}",
            "1/metrics every 10 s, 2/metrics every 10 s job other",
        ),
        ("ports: ['80']", ""),
    ] {
        assert_eq!(shown(&service(keys)), expect, "{keys}");
    }
}

#[test]
fn labels_of_prometheus_find_an_endpoint() {
    for (labels, expect) in [
        ("{prometheus.io/scrape: 'true', prometheus.io/port: 9100}", "9100/metrics every 10 s"),
        ("{prometheus.io/scrape: true}", "80/metrics every 10 s"),
        (
            "['prometheus.io.scrape=true', 'prometheus.io.path=m', 'prometheus.io.interval=5s']",
            "80/m every 5 s",
        ),
        ("{prometheus.io/scrape: 'false', prometheus.io/port: 9100}", ""),
        ("{prometheus.io/port: 9100}", ""),
    ] {
        let keys = format!("ports: ['8080:80']\nlabels: {labels}");
        assert_eq!(shown(&service(&keys)), expect, "{labels}");
        let declared = format!("{keys}\nx-juchu: {{metrics: 7}}");
        assert_eq!(shown(&service(&declared)), "7/metrics every 10 s", "what is declared wins over {labels}");
        assert_eq!(shown(&service(&format!("{keys}\nx-juchu: {{metrics: false}}"))), "", "{labels}");
    }
}

#[test]
fn metrics_are_told_apart_from_what_instances_are() {
    check("x-juchu: {metrics: 9100}", |s| serde_json::to_string(&s.policy.metrics).is_ok(), "true");
    let without = serde_json::to_value(&service("x-juchu: {direct: true}").policy).expect("JSON");
    assert!(without.get("metrics").is_none(), "a file without it is kept as it was");
}

#[track_caller]
fn refused(keys: &str, expect: &str) {
    assert_eq!(with_keys(keys).refused(), format!("compose.yaml:{expect}"), "\n{keys}");
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    refused(
        "x-juchu: {metrics: true}",
        "4:24: error: which port of `a` shows its metrics is not said, and it has none; hint: write `metrics: 9100`, or `metrics: {port: 9100, path: /metrics}`",
    );
    refused(
        "x-juchu: {metrics: true}\nexpose: [80, 81]",
        "4:24: error: which port of `a` shows its metrics is not said; hint: write `metrics: 80`, or `metrics: {port: 80, path: /metrics}`",
    );
    refused(
        "x-juchu: {metrics: 99999}",
        "4:24: error: `99999` is not a port, which is a number from 1 to 65535",
    );
    refused(
        "x-juchu: {metrics: {port: 1, interval: 5m}}",
        "4:44: error: `interval` must be whole seconds between 1s and 2m",
    );
    refused(
        "x-juchu: {metrics: {port: 1, interval: 1500ms}}",
        "4:44: error: `interval` must be whole seconds between 1s and 2m",
    );
    refused(
        "x-juchu: {metrics: {port: 1, interval: 2s, timeout: 3s}}",
        "4:57: error: `timeout` must be more than nothing and at most the interval, 2 s",
    );
    refused(
        "x-juchu: {metrics: {port: 1, path: '/a b'}}",
        "4:40: error: `/a b` is not the path of an address; hint: write it as /metrics, or /metrics?name=value",
    );
    refused(
        "x-juchu: {metrics: {port: 1, labels: {job: x}}}",
        "4:43: error: the label `job` is given by Juchu; hint: set `job` beside `labels`",
    );
    refused(
        "x-juchu: {metrics: {port: 1, labels: {a-b: x}}}",
        "4:43: error: `a-b` cannot be the name of a label; hint: use letters, digits and _, not beginning with a digit or __",
    );
    refused(
        "x-juchu: {metrics: [1, 2]}",
        "4:28: error: two endpoints of `metrics` are the job `a`; hint: give one of them another `job`",
    );
    refused(
        "x-juchu: {metrics: [1, 2, 3, 4, 5, 6, 7, 8, 9]}",
        "4:24: error: `metrics` can have 8 endpoints at most",
    );
    refused(
        "network_mode: none\nx-juchu: {metrics: 80}",
        "5:24: error: metrics of `a` cannot be read: it has no network; hint: remove `metrics`, or `network_mode: none`",
    );
}

#[test]
fn addresses_to_probe() {
    let shown = |service: &Service| {
        let one = |probe: &model::probe::Probe| {
            let insecure = if probe.insecure { " insecure" } else { "" };
            format!("{} every {} within {}{insecure}", probe.url, probe.interval(), probe.timeout())
        };
        service.policy.probes.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    for (probes, expect) in [
        ("https://a.b/c?d", "https://a.b/c?d every 30 s within 10 s"),
        (
            "['http://[::1]:80', {url: 'https://a', interval: 5s, insecure: true}]",
            "http://[::1]:80 every 30 s within 10 s, https://a every 5 s within 5 s insecure",
        ),
    ] {
        assert_eq!(shown(&service(&format!("x-juchu: {{probes: {probes}}}"))), expect);
    }
    for wrong in [
        "a.b",
        "'ftp://a'",
        "'http://'",
        "'http://u:p@a'",
        "'http://a b'",
        "'http://a:0'",
        "'http://a:99999'",
    ] {
        let said = with_keys(&format!("x-juchu: {{probes: {wrong}}}")).refused();
        let text = wrong.trim_matches('\'');
        let expect = format!(
            "compose.yaml:4:23: error: `{text}` is not an address that can be probed; hint: write it as https://example.org/page, without a user"
        );
        assert_eq!(said, expect);
    }
    refused(
        "x-juchu: {probes: [{url: 'http://a', interval: 1s}]}",
        "4:52: error: `interval` must be whole seconds between 5s and 2m",
    );
    refused(
        "x-juchu: {probes: [{url: 'http://a', timeout: 40s}]}",
        "4:51: error: `timeout` must be more than nothing and at most the interval, 30 s",
    );
    refused("x-juchu: {probes: ['http://a', 'http://a']}", "4:36: error: http://a is probed twice");
    let many: Vec<String> = (0..17).map(|at| format!("'http://a{at}'")).collect();
    refused(
        &format!("x-juchu: {{probes: [{}]}}", many.join(", ")),
        "4:23: error: `probes` can have 16 addresses at most",
    );
}
