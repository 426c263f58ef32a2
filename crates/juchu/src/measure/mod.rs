//! Measuring, wired in: what is collected, when, and where it goes.
//!
//! A thread of its own takes a tick at each whole second, another looks at what changes rarely, a
//! third keeps the store; a task asks the control plane and the gateway, others read the metrics that
//! services show. None waits for another.

mod calls;
mod charts;
mod declared;
mod instances;
mod keep;
mod node;
mod probe;
mod pulse;
mod scrape;
mod sending;
mod stacks;
mod traffic;

use crate::wire::Texts;
use axum::http::StatusCode;
use console::measured::Measured;
use juchu::home::Home;
use model::{ErrorKind, Report};
use observe::api::{Api, Known};
use observe::keep::{Metrics, Settings};
use observe::receive::{Receiver, Stores};
use observe::scrape::fetch::Room;
use run::control::Control;
use run::engine::{Engine, Lack};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub struct Measuring {
    api: Api,
    receiver: Receiver,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    open: declared::Open,
    send: (sending::Sending, sending::Sources),
}

impl Measuring {
    /// Opens the store below the home and begins. Must be called within a runtime.
    pub fn start(
        home: &Home,
        control: Arc<dyn Control>,
        engine: Arc<dyn Engine>,
        texts: Texts,
    ) -> Result<Self, Report> {
        let directory = home.join("metrics");
        let metrics = Metrics::open(&directory, Settings::default(), now_ms()).map_err(|error| {
            Report::from_error(ErrorKind::Environment, &error).hint(format!(
                "move {} away to begin anew without the measurements so far",
                directory.display()
            ))
        })?;
        let metrics = Arc::new(metrics);
        let known = Known::default();
        let api = Api::new(Arc::clone(&metrics), known.clone(), now_ms);
        let (rows, spans) = (texts.rows.clone(), texts.spans.clone());
        let stores = Stores {
            metrics: Arc::clone(&metrics),
            known: known.clone(),
            rows: texts.rows,
            spans: texts.spans,
        };
        let receiver = Receiver::new(stores, crate::rows::now_ns);
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = instances::Seen::default();
        let threads = vec![
            spawn("keep", keep::Keep::new(Arc::clone(&metrics)).runner(Arc::clone(&is_over)))?,
            spawn("measure", node::runner(Arc::clone(&metrics), seen.clone(), Arc::clone(&is_over)))?,
        ];
        let scrapes = scrape::Scrapes {
            metrics: Arc::clone(&metrics),
            known,
            targets: api.targets().clone(),
            engine,
            room: Room::default(),
        };
        let open = declared::Open::default();
        let sending = sending::Sending::default();
        let send =
            (sending.clone(), sending::Sources { metrics: Arc::clone(&metrics), rows, spans: spans.clone() });
        let tasks = vec![
            tokio::spawn(traffic::follow(
                Arc::clone(&metrics),
                Arc::clone(&control),
                seen,
                (receiver.clone(), open.clone(), sending),
                spans.clone(),
            )),
            tokio::spawn(scrape::follow(scrapes, control)),
        ];
        Ok(Self { api, receiver, is_over, threads, tasks, open, send })
    }

    /// The HTTP API of Prometheus.
    pub fn router(&self) -> axum::Router {
        self.api.router()
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(self.api.metrics())
    }

    /// What the pages draw.
    pub fn charts(&self) -> Arc<dyn Measured> {
        Arc::new(charts::Charts::new(Arc::clone(self.api.metrics())))
    }

    /// Where programs of others send.
    pub fn receivers(&self) -> axum::Router {
        self.receiver.router()
    }

    /// What is wrong with what is declared for this home.
    pub fn lacks(&self, home: &Home) -> impl Fn() -> Vec<Lack> + Send + Sync + use<> {
        let (open, home) = (self.open.clone(), home.clone());
        move || open.lacks(&home)
    }

    /// Opens what is declared beside the console's address; `serve` lets in who shows a token.
    pub fn open_declared(&mut self, home: &Home, serve: declared::Serve) {
        let following = declared::follow(
            home.clone(),
            self.receiver.clone(),
            serve,
            self.open.clone(),
            self.send.clone(),
        );
        self.tasks.push(tokio::spawn(following));
    }

    /// Ends all of it; what was measured is on disk afterwards.
    pub async fn end(self) {
        self.tasks.iter().for_each(|task| task.abort());
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads;
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                thread.thread().unpark();
                // One that panicked has nothing left to end.
                let _ = thread.join();
            }
        });
        // Not longer than the daemon's own end may take; the log is read back at the next start.
        let _ = tokio::time::timeout(pulse::END_LIMIT, ended).await;
    }
}

/// Says to whoever asks why there are no measurements.
pub fn answers_nothing(report: &Report) -> axum::Router {
    let error = format!("nothing is measured: {}", report.error);
    let answer = serde_json::json!({ "status": "error", "errorType": "unavailable", "error": error });
    axum::Router::new().fallback(async move || (StatusCode::SERVICE_UNAVAILABLE, axum::Json(answer)))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Report> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|error| Report::environment(format!("start a thread that measures: {error}")))
}

pub fn now_ms() -> i64 {
    crate::machine::now().0
}

/// The name of this machine, as the kernel has it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn labels(job: &str) -> Vec<(String, String)> {
    vec![("job".to_owned(), job.to_owned()), ("instance".to_owned(), host_name())]
}
