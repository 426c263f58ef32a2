//! Debian's Prometheus over the samples of a test, for as long as the test runs.

use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::TempDir;

pub struct Server {
    _process: testkit::ProcessGuard,
    _directory: TempDir,
    port: u16,
}

impl Server {
    pub fn start(program: &Path, tool: &Path, openmetrics: &str) -> Self {
        let directory = TempDir::new();
        let samples = directory.write("samples.txt", openmetrics);
        let config = directory.write("prometheus.yml", "");
        let data = directory.path().join("data");
        let status = Command::new(tool)
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            .args([&samples, &data])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "promtool takes the samples");
        let port = testkit::free_port();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--storage.tsdb.retention.time=100y", "--log.level=error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server =
            Self { _process: testkit::ProcessGuard::spawn(&mut command), _directory: directory, port };
        testkit::wait_until(Duration::from_secs(60), "Prometheus is ready", || {
            server.get("/-/ready", "").is_some_and(|(status, _)| status == 200)
        });
        server
    }

    /// The status and the body of an answer.
    fn get(&self, path: &str, form: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let method = if form.is_empty() { "GET" } else { "POST" };
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The answer to a range query, in the form in which ours is compared.
    pub fn range(&self, expression: &str, (start, end, step): (i64, i64, i64)) -> Json {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let form = format!("query={encoded}&start={start}&end={end}&step={step}");
        let (_, body) = self.get("/api/v1/query_range", &form).expect("Prometheus answers");
        let answer: Json = serde_json::from_str(&body).unwrap();
        if answer["status"] != "success" {
            return json!({ "error": answer["error"] });
        }
        let series = answer["data"]["result"].as_array().unwrap().iter().map(|series| {
            let labels: BTreeMap<&str, &str> = series["metric"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (&**name, value.as_str().unwrap()))
                .collect();
            (serde_json::to_string(&labels).unwrap(), series["values"].clone())
        });
        series.collect::<serde_json::Map<_, _>>().into()
    }
}
