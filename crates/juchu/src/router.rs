//! The daemon's hold on the gateway: its own process, started when nobody answers, left alone when
//! the daemon goes.

use crate::unprivileged;
use async_trait::async_trait;
use certs::{Announce, Keeper};
use gateway::wire::{Refusal, Status};
use gateway::{ClientError, GatewayClient};
use juchu::home::Home;
use model::certificate::{CertificateStatus, CertificateWanted};
use model::flow;
use model::route::{ApplyReport, RouteTable};
use model::{DurationMs, InstanceId, Report};
use run::control::GatewayUpgrade;
use run::ports::Router;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// How long a new gateway may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(10);
const START_LOOK: Duration = Duration::from_millis(10);
/// How long a new gateway may take until it serves in the place of another.
const UPGRADE_LIMIT: Duration = Duration::from_secs(20);
/// Has a gateway take the place of the one that runs.
pub const TAKE_OVER: &str = "--take-over";
/// Followed by the network of the instances, where the gateway is not started in it.
pub const INSIDE: &str = "--inside";

pub struct GatewayProcess {
    socket: PathBuf,
    log: PathBuf,
    executable: PathBuf,
    home: Home,
    client: Mutex<Option<GatewayClient>>,
    certificates: Keeper,
}

/// Tells the gateway of a home that its certificates have changed.
struct Announcer(PathBuf);

#[async_trait]
impl Announce for Announcer {
    async fn announce(&self) -> Result<(), String> {
        let told = async { GatewayClient::connect(&self.0).await?.certificates().await };
        // What it found wrong it has said in its log.
        told.await.map(drop).map_err(|error: ClientError| error.to_string())
    }
}

/// Where the gateway of a home finds certificates.
pub fn certificates(home: &Home) -> PathBuf {
    home.join("certificates")
}

/// Where the gateway of a home has its control socket.
pub fn socket(home: &Home) -> PathBuf {
    home.runtime.join("gateway.sock")
}

impl GatewayProcess {
    /// Must be called within a runtime.
    pub fn new(home: &Home, executable: PathBuf) -> Self {
        let settings = certs::Settings {
            shelf: certificates(home),
            state: home.join("certs"),
            now: crate::machine::now,
            chance,
            look: certs::LOOK,
        };
        Self {
            socket: socket(home),
            log: home.join("gateway.log"),
            executable,
            home: home.clone(),
            client: Mutex::new(None),
            certificates: Keeper::start(settings, Arc::new(Announcer(socket(home)))),
        }
    }

    async fn connect(&self) -> Result<GatewayClient, Report> {
        if let Ok(client) = GatewayClient::connect(&self.socket).await {
            return Ok(client);
        }
        reap(self.spawn(&[])?);
        let begun = Instant::now();
        loop {
            match GatewayClient::connect(&self.socket).await {
                Ok(client) => return Ok(client),
                Err(error) if begun.elapsed() > START_LIMIT => {
                    return Err(report(&error).hint(format!("see {}", self.log.display())));
                }
                // It is starting; nobody announces the socket.
                Err(_) => sleep(START_LOOK).await,
            }
        }
    }

    /// In a process group of its own, so that nothing the daemon's terminal does reaches it.
    fn spawn(&self, options: &[&str]) -> Result<Child, Report> {
        let failed = |error: std::io::Error| {
            Report::environment(format!("start the gateway {}: {error}", self.executable.display()))
        };
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let mut command = Command::new(&self.executable);
        command.arg("gateway").args(options).envs(self.home.variables());
        if let Some(network) = unprivileged::network(&self.home) {
            command.arg(INSIDE).arg(network);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        command.spawn().map_err(failed)
    }

    /// Waits until the process serves; returns how many connections those before it still have.
    async fn took_over(&self, child: &mut Child) -> Result<u64, Report> {
        let failed = |what: String| {
            Report::environment(format!("the new gateway {what}; the one that runs goes on"))
                .hint(format!("see {}", self.log.display()))
        };
        let begun = Instant::now();
        while begun.elapsed() < UPGRADE_LIMIT {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Err(failed(format!("ended ({status})"))),
                Err(error) => return Err(failed(format!("cannot be watched ({error})"))),
            }
            if let Some(status) = self.status().await.filter(|status| status.pid == child.id()) {
                return Ok(status.predecessors.iter().map(|before| before.connections).sum());
            }
            // Nobody announces who serves.
            sleep(START_LOOK).await;
        }
        // It is of no use to anybody any more.
        let _ = child.kill();
        Err(failed(format!("did not serve within {} s", UPGRADE_LIMIT.as_secs())))
    }

    /// A gateway that nobody needed yet is not started to be looked at.
    async fn client_of_running(&self) -> Result<GatewayClient, Report> {
        GatewayClient::connect(&self.socket).await.map_err(|_| {
            Report::environment("no gateway runs").hint("`juchu up` starts it with the first stack")
        })
    }

    async fn status(&self) -> Option<Status> {
        GatewayClient::connect(&self.socket).await.ok()?.status().await.ok()
    }

    /// Asks over the connection that is there; one that broke is made anew once.
    async fn ask_to_apply(&self, table: &RouteTable) -> Result<ApplyReport, Report> {
        let mut held = self.client.lock().await;
        for _ in 0..2 {
            let mut client = match held.take() {
                Some(client) => client,
                None => self.connect().await?,
            };
            let applied = match client.apply(table).await {
                // The clock went back, or the journal is new: go on from where the gateway is.
                Err(ClientError::Refused(Refusal::Stale { present, .. })) => {
                    let next = RouteTable { revision: present + 1, ..table.clone() };
                    client.apply(&next).await
                }
                other => other,
            };
            match applied {
                Ok(answer) => {
                    *held = Some(client);
                    return Ok(answer);
                }
                Err(error @ ClientError::Refused(_)) => {
                    *held = Some(client);
                    return Err(report(&error));
                }
                // The gateway was restarted since.
                Err(ClientError::Broken(_)) => {}
                Err(error) => return Err(report(&error)),
            }
        }
        Err(Report::environment("the gateway ends as soon as it is asked")
            .hint(format!("see {}", self.log.display())))
    }
}

/// By which times that would be the same for all are spread.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without it they fall together, which is harmless.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// Takes note of the end of a process while this daemon lives.
fn reap(mut child: Child) {
    std::thread::spawn(move || child.wait());
}

fn report(error: &ClientError) -> Report {
    Report::from_error(model::ErrorKind::Environment, error)
}

#[async_trait]
impl Router for GatewayProcess {
    async fn apply(&self, table: &RouteTable) -> Result<ApplyReport, Report> {
        self.ask_to_apply(table).await
    }

    async fn drained(&self, instance: &InstanceId, limit: DurationMs) {
        let end = Instant::now() + limit.as_std();
        // A conversation of its own: it may take long, and tables must not wait for it.
        while let Ok(mut client) = GatewayClient::connect(&self.socket).await {
            let left = end.saturating_duration_since(Instant::now());
            match client.wait_drained(instance.as_str(), left).await {
                // Another gateway took its place meanwhile; it knows what the one before still has.
                Err(ClientError::Broken(_)) if !left.is_zero() => sleep(START_LOOK).await,
                // Whatever is left at the limit is cut by the stop that follows.
                _ => return,
            }
        }
    }

    fn want_certificates(&self, wanted: Vec<CertificateWanted>) {
        self.certificates.want(wanted);
    }

    fn certificates(&self) -> Vec<CertificateStatus> {
        self.certificates.status()
    }

    async fn traffic(&self) -> Result<flow::Status, Report> {
        self.client_of_running().await?.status().await.map_err(|error| report(&error))
    }

    async fn spans(&self) -> Result<Vec<flow::PassedSpan>, Report> {
        self.client_of_running().await?.spans().await.map_err(|error| report(&error))
    }

    async fn explain(&self, question: flow::Question) -> Result<flow::Explanation, Report> {
        self.client_of_running().await?.explain(question).await.map_err(|error| match error {
            // Said by one that does not know the question, too.
            ClientError::Refused(Refusal::BadRequest { reason }) => {
                Report::usage(format!("the gateway cannot think this request through: {reason}"))
                    .hint("`juchu upgrade` puts the gateway of this program in its place, if it is older")
            }
            error => report(&error),
        })
    }

    async fn pid(&self) -> Option<u32> {
        self.status().await.map(|status| status.pid)
    }

    async fn upgrade(&self) -> Result<GatewayUpgrade, Report> {
        let Some(before) = self.pid().await else {
            // Nobody is there to hand anything over.
            let status = self.connect().await?.status().await.map_err(|error| report(&error))?;
            return Ok(GatewayUpgrade { before: None, after: status.pid, draining: 0 });
        };
        let mut child = self.spawn(&[TAKE_OVER])?;
        let draining = self.took_over(&mut child).await;
        let after = child.id();
        reap(child);
        Ok(GatewayUpgrade { before: Some(before), after, draining: draining? })
    }
}
