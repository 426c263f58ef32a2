//! Processor time per request of the gateway and of Debian's nginx, in turns, same upstream.
//!
//! `cargo run --release -p gateway --example bench [ROUNDS]`; needs `nginx-light` and `wrk`.
//! Ratios of one run mean something, absolute figures only on a quiet machine.

use gateway::{GatewayClient, GatewayOptions};
use model::route::{Backend, Endpoint, Listener, ROUTE_TABLE_VERSION, RouteTable};
use model::service::Protocol;
use rustix::process::{Pid, Signal, kill_process};
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Outcome<T> = Result<T, Box<dyn Error>>;

const CONNECTIONS: &str = "64";
const SECONDS: &str = "3s";
const BODY_BYTES: usize = 1024;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["upstream", port_file] => upstream(Path::new(port_file)),
        ["gateway", dir] => return serve(Path::new(dir)),
        [] => compare(7),
        [rounds] => rounds.parse().map_err(Into::into).and_then(compare),
        _ => Err("usage: bench [ROUNDS]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers every request with the same kilobyte.
fn upstream(port_file: &Path) -> Outcome<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        std::fs::write(port_file, listener.local_addr()?.port().to_string())?;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Length: {BODY_BYTES}\r\n\r\n{}",
            "x".repeat(BODY_BYTES)
        );
        loop {
            let (mut stream, _) = listener.accept().await?;
            let answer = answer.clone();
            tokio::task::spawn_local(async move {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}

fn serve(dir: &Path) -> ExitCode {
    let mut options = GatewayOptions::new(dir.join("gateway.sock"), dir.join("table.json"));
    options.threads = Some(1);
    options.access_log = Some(dir.join("access.log"));
    gateway::main(options)
}

/// A child that ends with this process.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Asked rather than killed: nginx ends its workers only when it is asked.
        let asked = kill_process(Pid::from_child(&self.0), Signal::TERM);
        if asked.is_err() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

fn start(cpu: &str, program: &Path, args: &[&str]) -> Outcome<Running> {
    let child =
        Command::new("taskset").args(["-c", cpu]).arg(program).args(args).stdout(Stdio::null()).spawn()?;
    Ok(Running(child))
}

fn compare(rounds: usize) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let port_file = dir.path().join("port");
    let _upstream = start("1", &program, &["upstream", &port_file.to_string_lossy()])?;
    let port: u16 = wait_for(|| std::fs::read_to_string(&port_file).ok()?.parse().ok())?;
    let ours = start("0", &program, &["gateway", &dir.path().to_string_lossy()])?;
    let our_address = configure(dir.path(), SocketAddr::from(([127, 0, 0, 1], port)))?;
    let (theirs, their_address) = nginx(dir.path(), port)?;
    println!("{:>5} {:>12} {:>12} {:>7}", "round", "gateway µs", "nginx µs", "ratio");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let mut cost = [0.0; 2];
        let mut order = [(0, ours.0.id(), our_address), (1, theirs.0.id(), their_address)];
        if round % 2 == 1 {
            order.reverse();
        }
        for (index, pid, address) in order {
            cost[index] = measure(pid, address)?;
        }
        ratios.push(cost[0] / cost[1]);
        println!("{round:>5} {:>12.1} {:>12.1} {:>7.2}", cost[0], cost[1], cost[0] / cost[1]);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}, resident {} kB", ratios[ratios.len() / 2], resident(ours.0.id())?);
    Ok(())
}

/// Microseconds of processor time per request.
fn measure(pid: u32, address: SocketAddr) -> Outcome<f64> {
    let url = format!("http://{address}/some/path?with=query");
    let wrk = |seconds: &str| {
        Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", "-c", CONNECTIONS, "-d", seconds, &url])
            .output()
    };
    wrk("1s")?;
    let before = busy_ns(pid)?;
    let report = String::from_utf8(wrk(SECONDS)?.stdout)?;
    let spent = busy_ns(pid)? - before;
    if report.contains("Non-2xx") || report.contains("Socket errors") {
        return Err(format!("requests failed: {report}").into());
    }
    let requests =
        report.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse::<f64>().ok());
    Ok(spent as f64 / 1000.0 / requests.ok_or("wrk told no number of requests")?)
}

/// Of all threads of the process and of its children.
fn busy_ns(pid: u32) -> Outcome<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        let text = std::fs::read_to_string(task.join("schedstat"))?;
        sum += text.split(' ').next().ok_or("an empty schedstat")?.parse::<u64>()?;
        for child in std::fs::read_to_string(task.join("children"))?.split_ascii_whitespace() {
            sum += busy_ns(child.parse()?)?;
        }
    }
    Ok(sum)
}

fn resident(pid: u32) -> Outcome<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned())
}

fn configure(dir: &Path, upstream: SocketAddr) -> Outcome<SocketAddr> {
    let backend = "bench/web:80".to_owned();
    let endpoint = Endpoint {
        instance: "web1".into(),
        address: upstream,
        draining: false,
        drain_ms: 30_000,
        weight: 100,
    };
    let listener = Listener {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        protocol: Protocol::Http,
        backend: backend.clone(),
        public: true,
        last_port: 0,
        rules: Vec::new(),
        tls: None,
        https_port: None,
        proxied: None,
    };
    let mut table = RouteTable { version: ROUTE_TABLE_VERSION, revision: 1, ..RouteTable::empty() };
    table
        .backends
        .insert(backend, Backend { endpoints: vec![endpoint], hold_ms: 0, traffic: Default::default() });
    table.listeners.push(listener);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = dir.join("gateway.sock");
    wait_for(|| std::os::unix::net::UnixStream::connect(&socket).ok())?;
    let report = runtime.block_on(async { GatewayClient::connect(&socket).await?.apply(&table).await })?;
    Ok(report.bound.first().ok_or("the gateway bound nothing")?.1)
}

/// One worker, kept-alive upstream connections, a JSON log and a request id, as the gateway has.
fn nginx(dir: &Path, upstream: u16) -> Outcome<(Running, SocketAddr)> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = format!(
        "daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log;
         events {{ worker_connections 4096; }}
         http {{
           log_format j escape=json '{{\"time\":\"$time_iso8601\",\"client\":\"$remote_addr\",\"method\":\"$request_method\",\"host\":\"$host\",\"path\":\"$uri\",\"status\":$status,\"bytes\":$bytes_sent,\"duration\":$request_time,\"upstream\":\"$upstream_addr\",\"id\":\"$request_id\"}}';
           access_log {dir}/nginx-access.log j buffer=64k flush=1s;
           keepalive_requests 1000000000; tcp_nodelay on;
           upstream u {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
           server {{ listen {address}; location / {{
             proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
             proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
             proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Request-Id $request_id; }} }}
         }}",
        dir = dir.display()
    );
    let path = dir.join("nginx.conf");
    std::fs::write(&path, config)?;
    let running = start("0", Path::new("nginx"), &["-c", &path.to_string_lossy()])?;
    wait_for(|| std::net::TcpStream::connect(address).ok())?;
    Ok((running, address))
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> Outcome<T> {
    for _ in 0..1000 {
        if let Some(found) = what() {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err("something did not start in time".into())
}
