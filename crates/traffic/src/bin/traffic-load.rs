//! The load: `traffic-load --http ADDRESS --lines ADDRESS --requests N --report FILE --samples FILE`.
//!
//! Tells on standard output, one JSON document for each line, when it started, what failed, and
//! where it is; the report is written at the end. SIGTERM is an earlier end: what has begun is
//! finished and reported.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use traffic::arguments::Arguments;
use traffic::load::{News, Options, REQUESTS_LIMIT, run};
use traffic::report::write_samples;

const KNOWN: &[&str] =
    &["http", "lines", "rate", "requests", "websockets", "sessions", "seed", "report", "samples"];
/// Descriptors for all connections at one time.
const FILES: u64 = 16_384;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let ran = runtime.map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(load()));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn load() -> Result<(), String> {
    let arguments = Arguments::parse(std::env::args().skip(1), KNOWN)?;
    let options = Options {
        http: arguments.need::<SocketAddr>("http")?,
        lines: arguments.need::<SocketAddr>("lines")?,
        rate: arguments.or("rate", 1000)?,
        requests: arguments.need("requests")?,
        websockets: arguments.or("websockets", 100)?,
        sessions: arguments.or("sessions", 50)?,
        seed: arguments.or("seed", 1)?,
    };
    if options.rate == 0 || options.requests > REQUESTS_LIMIT {
        return Err(format!("`--rate` is at least 1 and `--requests` at most {REQUESTS_LIMIT}"));
    }
    let (report, samples) = (arguments.need::<PathBuf>("report")?, arguments.need::<PathBuf>("samples")?);
    allow_files()?;
    let mut asked = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let stop = async { _ = asked.recv().await };
    let (told, taken) = run(options, stop, tell).await.map_err(|e| e.to_string())?;
    let text = serde_json::to_vec_pretty(&told).map_err(|e| e.to_string())?;
    std::fs::write(&report, text).map_err(|e| format!("{}: {e}", report.display()))?;
    let file = std::fs::File::create(&samples).map_err(|e| format!("{}: {e}", samples.display()))?;
    write_samples(&taken, file).map_err(|e| format!("{}: {e}", samples.display()))
}

fn tell(news: News<'_>) {
    let line = match news {
        News::Started { at_us } => serde_json::json!({ "started_us": at_us }),
        News::Failed(failure) => serde_json::json!({ "failure": failure }),
        News::Second { done, failed, in_flight } => {
            serde_json::json!({ "done": done, "failed": failed, "in_flight": in_flight })
        }
    };
    println!("{line}");
}

fn allow_files() -> Result<(), String> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum.map_or(Some(FILES), |maximum| Some(maximum.min(FILES)));
    setrlimit(Resource::Nofile, files).map_err(|e| format!("descriptors: {e}"))
}
