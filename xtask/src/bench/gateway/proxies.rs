//! The proxies, each with the same job: one upstream, kept-alive connections to it, the fields that
//! say for whom it asks, one worker.

use crate::Failure;
use crate::packages::GatewayPeers;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const PROXY_CPU: &str = "0";
pub const LOAD_CPU: &str = "1";
const BOTH_CPUS: &str = "0,1";
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running proxy and where it listens; a port that it does not have is 0.
pub struct Proxy {
    pub name: String,
    /// Where ours has its files.
    pub directory: PathBuf,
    child: Running,
    pub http: u16,
    pub http2: u16,
    pub tls: u16,
    pub tcp: u16,
    path: String,
}

pub struct Upstream {
    child: Running,
    pub port: u16,
}

impl Upstream {
    /// It does nothing more, and everything that comes waits in its sockets.
    pub fn hang(&self) -> Result<(), Failure> {
        self.child.signal(libc::SIGSTOP)
    }

    pub fn go_on(&self) -> Result<(), Failure> {
        self.child.signal(libc::SIGCONT)
    }
}

/// Ends with this value.
struct Running(Child);

impl Running {
    fn signal(&self, signal: libc::c_int) -> Result<(), Failure> {
        let pid = libc::pid_t::try_from(self.0.id())?;
        // SAFETY: a signal to a child that was not waited for yet.
        match unsafe { libc::kill(pid, signal) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that hangs hears nothing until it goes on.
        let _ = self.signal(libc::SIGCONT);
        // Asked rather than killed: nginx ends its workers only when it is asked.
        if self.signal(libc::SIGTERM).is_err() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// The program on these processors.
pub fn pinned_command(cpus: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cpus]).arg(program);
    command
}

impl Proxy {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.http, self.path)
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Processor time of all its processes and threads.
    pub fn busy_ns(&self) -> Result<u64, Failure> {
        busy_ns(self.child.0.id())
    }

    pub fn resident_kb(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
    }
}

fn busy_ns(pid: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may end between two looks.
        let Ok(text) = fs::read_to_string(task.join("schedstat")) else { continue };
        sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        for child in fs::read_to_string(task.join("children")).unwrap_or_default().split_whitespace() {
            sum += busy_ns(child.parse()?)?;
        }
    }
    Ok(sum)
}

/// A directory for configurations and a certificate, gone at the end.
pub struct Place {
    directory: PathBuf,
    program: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Place {
    pub fn new(program: PathBuf) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("juchu-bench-gateway-{}", std::process::id()));
        fs::create_dir_all(directory.join("certificates"))?;
        let place = Self { directory, program };
        let request = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=bench.example",
            "-addext",
            "subjectAltName=DNS:bench.example",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ];
        let made = Command::new("openssl").args(request).current_dir(&place.directory).output()?;
        if !made.status.success() {
            return Err(format!("openssl req: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let read = |name: &str| fs::read_to_string(place.directory.join(name));
        let both = read("cert.pem")? + &read("key.pem")?;
        fs::write(place.directory.join("both.pem"), both)?;
        Ok(place)
    }

    fn start(&self, cpus: &str, program: &Path, arguments: &[&str]) -> Result<Running, Failure> {
        let mut command = pinned_command(cpus, program);
        command.args(arguments).env("GOMAXPROCS", "1").env("HOME", &self.directory);
        let errors = fs::File::create(self.directory.join("said"))?;
        Ok(Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn()?))
    }

    /// Waits until it answers on a port.
    fn answers(&self, mut child: Running, port: u16) -> Result<Running, Failure> {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.0.try_wait()?;
            if ended.is_some() || began.elapsed() > START_LIMIT {
                let said = fs::read_to_string(self.directory.join("said")).unwrap_or_default();
                return Err(format!("it does not answer: {}", said.trim()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(child)
    }

    fn write(&self, name: &str, text: &str) -> Result<String, Failure> {
        let path = self.directory.join(name);
        fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }

    pub fn upstream(&self, bytes: usize) -> Result<Upstream, Failure> {
        let port = testkit::free_port();
        let arguments = ["upstream", &port.to_string(), &bytes.to_string()];
        let child = self.start(LOAD_CPU, &self.program, &arguments)?;
        Ok(Upstream { child: self.answers(child, port)?, port })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// With one thread and one listener for HTTP, by the table that is made for its port.
    pub fn ours_by(&self, name: &str, table: impl FnOnce(u16) -> Value) -> Result<Proxy, Failure> {
        let http = testkit::free_port();
        let directory = self.directory.join(name);
        fs::create_dir_all(directory.join("certificates"))?;
        fs::write(directory.join("wanted.json"), table(http).to_string())?;
        let arguments = ["gateway", &directory.to_string_lossy(), "1"];
        let child = self.answers(self.start(PROXY_CPU, &self.program, &arguments)?, http)?;
        let (name, path) = (name.to_owned(), "/".to_owned());
        Ok(Proxy { name, directory, child, http, http2: http, tls: 0, tcp: 0, path })
    }

    /// With so many routes by host and path, of which the last takes the requests of the bench.
    pub fn ours(
        &self,
        name: &str,
        threads: usize,
        routes: usize,
        to: u16,
        large: u16,
    ) -> Result<Proxy, Failure> {
        let [http, tls, tcp] = [(); 3].map(|()| testkit::free_port());
        let directory = self.directory.join(name.replace([' ', ','], ""));
        fs::create_dir_all(directory.join("certificates"))?;
        fs::copy(self.directory.join("both.pem"), directory.join("certificates/bench.pem"))?;
        fs::write(directory.join("wanted.json"), table(http, tls, tcp, routes, to, large).to_string())?;
        let cpus = if threads == 1 { PROXY_CPU } else { BOTH_CPUS };
        let arguments = ["gateway", &directory.to_string_lossy(), &threads.to_string()];
        let child = self.answers(self.start(cpus, &self.program, &arguments)?, http)?;
        let path = format!("/path{}/with?query", routes - 1);
        Ok(Proxy { name: name.to_owned(), directory, child, http, http2: http, tls, tcp, path })
    }

    pub fn nginx(&self, peers: &GatewayPeers, to: u16, large: u16) -> Result<Proxy, Failure> {
        let [http, http2, tls, tcp] = [(); 4].map(|()| testkit::free_port());
        let dir = self.directory.display();
        let text = format!(
            "load_module {stream};
daemon off; user root; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log;
events {{ worker_connections 8192; }}
stream {{ server {{ listen 127.0.0.1:{tcp}; proxy_pass 127.0.0.1:{large}; }} }}
http {{
  access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem; ssl_session_tickets on;
  upstream u {{ server 127.0.0.1:{to}; keepalive 128; keepalive_requests 1000000000; }}
  proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Request-Id $request_id;
  server {{ listen 127.0.0.1:{http}; location / {{ proxy_pass http://u; }} }}
  server {{ listen 127.0.0.1:{http2} http2; location / {{ proxy_pass http://u; }} }}
  server {{ listen 127.0.0.1:{tls} ssl; location / {{ proxy_pass http://u; }} }}
}}
",
            stream = peers.proxies.nginx_stream.display()
        );
        let config = self.write("nginx.conf", &text)?;
        let child = self.start(PROXY_CPU, &peers.proxies.nginx, &["-c", &config])?;
        let child = self.answers(child, http)?;
        let (directory, path) = (self.directory.clone(), "/some/path?query".into());
        Ok(Proxy { name: "nginx".into(), directory, child, http, http2, tls, tcp, path })
    }

    pub fn haproxy(&self, peers: &GatewayPeers, to: u16, large: u16) -> Result<Proxy, Failure> {
        let [http, http2, tls, tcp] = [(); 4].map(|()| testkit::free_port());
        let both = self.directory.join("both.pem");
        let text = format!(
            "global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
  unique-id-format %[uuid()]
  unique-id-header X-Request-Id
frontend h1
  bind 127.0.0.1:{http}
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend web
frontend h2
  bind 127.0.0.1:{http2} proto h2
  default_backend web
frontend tls
  bind 127.0.0.1:{tls} ssl crt {both}
  default_backend web
backend web
  server a 127.0.0.1:{to} pool-max-conn 256
frontend lines
  mode tcp
  bind 127.0.0.1:{tcp}
  default_backend large
backend large
  mode tcp
  server a 127.0.0.1:{large}
",
            both = both.display()
        );
        let config = self.write("haproxy.cfg", &text)?;
        let child = self.start(PROXY_CPU, &peers.proxies.haproxy, &["-db", "-f", &config])?;
        let child = self.answers(child, http)?;
        let (directory, path) = (self.directory.clone(), "/some/path?query".into());
        Ok(Proxy { name: "haproxy".into(), directory, child, http, http2, tls, tcp, path })
    }

    pub fn caddy(&self, peers: &GatewayPeers, to: u16) -> Result<Proxy, Failure> {
        let http = testkit::free_port();
        let text = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://:{http} {{\n\tbind 127.0.0.1\n\treverse_proxy 127.0.0.1:{to}\n}}\n"
        );
        let config = self.write("Caddyfile", &text)?;
        let arguments = ["run", "--config", &config, "--adapter", "caddyfile"];
        let child = self.start(PROXY_CPU, &peers.caddy, &arguments)?;
        let child = self.answers(child, http)?;
        let (directory, path) = (self.directory.clone(), "/some/path?query".into());
        Ok(Proxy { name: "caddy".into(), directory, child, http, http2: 0, tls: 0, tcp: 0, path })
    }
}

fn table(http: u16, tls: u16, tcp: u16, routes: usize, to: u16, large: u16) -> Value {
    let backend = |port: u16| json!({ "endpoints": [{ "instance": format!("bench.{port}"), "address": format!("127.0.0.1:{port}") }] });
    let rules: Vec<Value> = (0..routes)
        .map(|number| {
            json!({
                "id": format!("bench/web#{number}"),
                "hosts": if number + 1 == routes { Vec::new() } else { vec![format!("host{}.example", number % 100)] },
                "path": { "prefix": format!("/path{number}") },
                "action": { "forward": { "to": [{ "backend": "bench/web:80", "weight": 1 }] } },
            })
        })
        .collect();
    let listener = |port: u16, protocol: &str, backend: &str| json!({ "address": format!("127.0.0.1:{port}"), "protocol": protocol, "backend": backend, "public": true });
    let mut plain = listener(http, "http", "bench/web:80");
    plain["rules"] = rules.into();
    let mut secured = listener(tls, "http", "bench/web:80");
    secured["tls"] = json!({ "certificate": "bench" });
    json!({
        "version": 1,
        "revision": 1,
        "listeners": [plain, secured, listener(tcp, "tcp", "bench/large:80")],
        "backends": { "bench/web:80": backend(to), "bench/large:80": backend(large) },
        "zones": [],
    })
}
