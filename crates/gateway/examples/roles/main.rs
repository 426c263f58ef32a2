//! What `cargo xtask bench gateway` measures with: a gateway that serves a table from a file, an
//! upstream that answers every request with the same bytes, `changes` of the table and a `load`.
//! Arguments: `gateway DIR THREADS` (DIR/wanted.json is the table, DIR/certificates what TLS shows),
//! `upstream PORT BYTES`, `changes DIR EVERY_MS SECONDS`, `load PORT PATH RATE CONNECTIONS SECONDS`.

mod changes;
mod load;

use gateway::{GatewayClient, GatewayOptions};
use model::route::RouteTable;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Looks for the gateway's socket, 5 ms apart.
const LOOKS: usize = 1_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["upstream", port, bytes] => upstream(port, bytes),
        ["gateway", dir, threads] => match threads.parse() {
            Ok(threads) => return serve(Path::new(dir), threads),
            Err(error) => Err(Box::from(error)),
        },
        ["changes", dir, every_ms, seconds] => change(Path::new(dir), every_ms, seconds),
        ["load", port, path, numbers @ ..] => put_on(port, path, numbers),
        _ => Err("usage: roles gateway | upstream | changes | load; the first lines say with what".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread for all that waits.
fn runtime() -> std::io::Result<tokio::runtime::LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())
}

fn change(dir: &Path, every_ms: &str, seconds: &str) -> Outcome<()> {
    runtime()?.block_on(changes::run(dir, every_ms.parse()?, seconds.parse()?))
}

fn put_on(port: &str, path: &str, numbers: &[&str]) -> Outcome<()> {
    let numbers = numbers.iter().map(|number| number.parse()).collect::<Result<Vec<u64>, _>>()?;
    let [rate, connections, seconds] = numbers[..] else { return Err("a load needs five words".into()) };
    let wanted = load::Wanted { port: port.parse()?, path: path.to_owned(), rate, connections, seconds };
    Ok(runtime()?.block_on(load::run(wanted))?)
}

fn upstream(port: &str, bytes: &str) -> Outcome<()> {
    let (port, bytes): (u16, usize) = (port.parse()?, bytes.parse()?);
    runtime()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let answer: &'static str = Box::leak(
            format!(
                "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Length: {bytes}\r\n\r\n{}",
                "x".repeat(bytes)
            )
            .into_boxed_str(),
        );
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
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

fn serve(dir: &Path, threads: usize) -> ExitCode {
    let mut options = GatewayOptions::new(dir.join("gateway.sock"), dir.join("table.json"));
    options.threads = Some(threads);
    options.certificates = dir.join("certificates");
    options.access_log = Some(dir.join("access.log"));
    let wanted = dir.join("wanted.json");
    std::thread::spawn(move || {
        if let Err(error) = apply(&wanted) {
            eprintln!("error: the table is not in force: {error}");
            std::process::exit(1);
        }
    });
    gateway::main(options)
}

fn apply(wanted: &Path) -> Outcome<()> {
    let table: RouteTable = serde_json::from_slice(&std::fs::read(wanted)?)?;
    let socket = wanted.with_file_name("gateway.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for _ in 0..LOOKS {
            if let Ok(mut client) = GatewayClient::connect(&socket).await {
                let report = client.apply(&table).await?;
                return match report.failed.first() {
                    Some(failed) => Err(format!("{}: {}", failed.address, failed.error).into()),
                    None => Ok(()),
                };
            }
            // Nobody announces the socket.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err("it does not answer".into())
    })
}
