//! The application under load: `traffic-app --http ADDRESS --lines ADDRESS`.
//!
//! Its release is the text of `--release-file` and, after a `+`, of the variable `CONFIGURATION`:
//! the first changes with the image, the second with the environment. With `--on-stop exit` it does
//! not finish what it has when it is asked to stop: whoever stops it has seen to that.
//! `--fails-every N` and `--delay-ms N` make it a release that is bad on purpose.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use traffic::app::{App, Faults};
use traffic::arguments::Arguments;

const KNOWN: &[&str] =
    &["http", "lines", "release", "release-file", "start-delay-ms", "on-stop", "fails-every", "delay-ms"];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let served = runtime.map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(serve()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), String> {
    let arguments = Arguments::parse(std::env::args().skip(1), KNOWN)?;
    let (http, lines): (SocketAddr, SocketAddr) = (arguments.need("http")?, arguments.need("lines")?);
    let release = release(&arguments)?;
    tokio::time::sleep(Duration::from_millis(arguments.or("start-delay-ms", 0)?)).await;
    let mut asked = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let app = App::bind(http, lines, release.clone()).await.map_err(|e| format!("{http}, {lines}: {e}"))?;
    let app = app.with(Faults {
        fails_every: arguments.or("fails-every", 0)?,
        delay: Duration::from_millis(arguments.or("delay-ms", 0)?),
    });
    eprintln!("release {release} serves {http} and {lines}");
    let stop = async { _ = asked.recv().await };
    match arguments.or("on-stop", "finish".to_owned())?.as_str() {
        "finish" => app.run(stop).await,
        "exit" => tokio::select! { () = stop => {} () = app.run(std::future::pending()) => {} },
        other => return Err(format!("`--on-stop {other}`: it is `finish` or `exit`")),
    }
    eprintln!("release {release} has finished");
    Ok(())
}

fn release(arguments: &Arguments) -> Result<String, String> {
    let name = match arguments.get::<PathBuf>("release-file")? {
        Some(path) => std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?,
        None => arguments.or("release", "unnamed".to_owned())?,
    };
    let name = name.trim();
    Ok(match std::env::var("CONFIGURATION") {
        Ok(configuration) => format!("{name}+{configuration}"),
        Err(_) => name.to_owned(),
    })
}
