//! The daemon: the control loop, the API on its socket, the console on loopback.

use crate::images::origins::Built;
use crate::measure::{self, Measuring};
use crate::unprivileged::{self, Groups};
use crate::vigil::Vigil;
use crate::visits::Counting;
use crate::wire;
use console::report::Origins;
use console::tokens::Tokens;
use console::visits::Visits;
use console::{Access, Attached, access::Sources, attached::PROMETHEUS};
use juchu::cli::DaemonOptions;
use juchu::home::Home;
use model::Report;
use run::Controller;
use run::control::Control;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Threads of the control plane; requests of services never pass here.
const THREADS: usize = 2;
/// How long answers that are being given may take after the daemon was asked to end.
const END_LIMIT: Duration = Duration::from_millis(500);

/// How often memory is given back that only the start, or something rare, needed.
const TRIM_EVERY: Duration = Duration::from_secs(15);

/// Runs until it is asked to end. What it started goes on without it.
pub fn main(options: DaemonOptions) -> ExitCode {
    if let Err(report) = unprivileged::enter(&options.home, Groups::Wanted) {
        eprintln!("{report}");
        return ExitCode::from(report.kind.exit_code());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_keep_alive(Duration::from_secs(1))
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let ended = runtime.block_on(run(options));
    runtime.shutdown_timeout(END_LIMIT);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            eprintln!("{report}");
            ExitCode::from(report.kind.exit_code())
        }
    }
}

async fn run(options: DaemonOptions) -> Result<(), Report> {
    let home = options.home;
    let socket = console::bind_unix(&home.socket())?;
    let (parts, texts) = wire::parts(&home).await?;
    let engine = Arc::clone(&parts.engine);
    let controller = Controller::start(parts).await?;
    let control: Arc<dyn Control> = controller.clone();
    let mut measuring = Measuring::start(&home, Arc::clone(&control), engine, texts);
    let visits = Counting::start(&home, measuring.as_ref().ok().map(Measuring::metrics));
    let vigil = vigil(&home, &controller, &control, measuring.as_ref().ok());
    let attached = attached(&home, measuring.as_ref(), visits.as_ref());
    if let Ok(measuring) = &mut measuring {
        let senders = attached.clone();
        let serve = move |listener| tokio::spawn(console::serve_senders(listener, senders.clone()));
        measuring.open_declared(&home, Arc::new(serve));
        controller.set_lacks(Arc::new(measuring.lacks(&home)));
    }
    let access = Access::new(Sources { now: crate::machine::now, random });
    let (ending, ended) = tokio::sync::watch::channel(false);
    let until = |mut ended: tokio::sync::watch::Receiver<bool>| async move {
        // The sender is dropped only after everything has ended.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let api = tokio::spawn(console::serve_unix(
        socket,
        Arc::clone(&control),
        access.clone(),
        attached.clone(),
        until(ended.clone()),
    ));
    let pages = match options.console {
        Some(address) => {
            let (listener, note) = console::bind_http(address).await?;
            note.into_iter().for_each(|note| eprintln!("{note}"));
            Some(tokio::spawn(console::serve_http(listener, control, access, attached, until(ended))))
        }
        None => None,
    };
    eprintln!("juchu {} answers at {}", env!("CARGO_PKG_VERSION"), home.socket().display());
    let trimming = tokio::spawn(trim());
    asked_to_end().await?;
    trimming.abort();
    ending.send_replace(true);
    for task in std::iter::once(api).chain(pages) {
        // A server that broke has nothing left to end.
        let _ = task.await;
    }
    if let Some(vigil) = vigil {
        // What was learned since it was written last is learned again otherwise.
        let _ = tokio::time::timeout(END_LIMIT, tokio::task::spawn_blocking(move || vigil.end())).await;
    }
    if let Ok(visits) = visits {
        visits.end();
    }
    if let Ok(measuring) = measuring {
        measuring.end().await;
    }
    Ok(())
}

/// Watches signals, where something is measured. Services are run all the same.
fn vigil(
    home: &Home,
    controller: &Controller,
    control: &Arc<dyn Control>,
    measuring: Option<&Measuring>,
) -> Option<Arc<Vigil>> {
    let metrics = measuring?.metrics();
    match Vigil::start(home, control, metrics, measure::host_name()) {
        Ok(vigil) => {
            controller.set_ranges(vigil.as_ranges());
            Some(vigil)
        }
        Err(report) => {
            eprintln!("no signals are watched: {}", report.error);
            None
        }
    }
}

/// What programs of others reach through the console's doors.
fn attached(
    home: &Home,
    measuring: Result<&Measuring, &Report>,
    visits: Result<&Counting, &Report>,
) -> Attached {
    let tokens = Tokens::open(&home.join("tokens.json")).unwrap_or_else(|error| {
        // Services are run all the same.
        eprintln!("no token is let in: {error}");
        Tokens::closed(error.to_string())
    });
    let answers = match measuring {
        Ok(measuring) => measuring.router(),
        // Services are run all the same.
        Err(report) => {
            eprintln!("nothing is measured: {}", report.error);
            measure::answers_nothing(report)
        }
    };
    let readers = axum::Router::new().nest(PROMETHEUS, answers);
    let writers = measuring.map(Measuring::receivers).unwrap_or_default();
    let measured = measuring.ok().map(Measuring::charts);
    if let Err(report) = visits {
        eprintln!("visits are not counted: {}", report.error);
    }
    let visits = visits.ok().map(|visits| visits.counted() as Arc<dyn Visits>);
    let origins = Some(Arc::new(Built::of(home)) as Arc<dyn Origins>);
    Attached { readers, writers, tokens, measured, visits, origins }
}

async fn trim() {
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        host::memory::trim();
    }
}

async fn asked_to_end() -> Result<(), Report> {
    let failed = |error: std::io::Error| Report::environment(format!("listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

pub fn random(bytes: &mut [u8; 32]) {
    let mut filled = 0;
    while filled < bytes.len() {
        let got = rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty());
        filled += got.expect("the kernel gives random bytes");
    }
}
