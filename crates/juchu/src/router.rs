//! The daemon's hold on the gateway: its own process, started when nobody answers, left alone when
//! the daemon goes.

use async_trait::async_trait;
use gateway::wire::Refusal;
use gateway::{ClientError, GatewayClient};
use juchu::home::Home;
use model::route::{ApplyReport, RouteTable};
use model::{DurationMs, InstanceId, Report};
use run::control::GatewayUpgrade;
use run::ports::Router;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// How long a new gateway may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(10);
const START_LOOK: Duration = Duration::from_millis(10);

pub struct GatewayProcess {
    socket: PathBuf,
    log: PathBuf,
    executable: PathBuf,
    client: Mutex<Option<GatewayClient>>,
}

/// Where the gateway of a home has its control socket.
pub fn socket(home: &Home) -> PathBuf {
    home.runtime.join("gateway.sock")
}

impl GatewayProcess {
    pub fn new(home: &Home, executable: PathBuf) -> Self {
        Self { socket: socket(home), log: home.join("gateway.log"), executable, client: Mutex::new(None) }
    }

    async fn connect(&self) -> Result<GatewayClient, Report> {
        if let Ok(client) = GatewayClient::connect(&self.socket).await {
            return Ok(client);
        }
        self.spawn()?;
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

    /// In a session of its own, so that nothing the daemon's terminal does reaches it.
    fn spawn(&self) -> Result<(), Report> {
        let failed = |error: std::io::Error| Report::environment(format!("start the gateway: {error}"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let mut command = Command::new(&self.executable);
        command.arg("gateway").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        // Reaps it when it ends while this daemon lives.
        std::thread::spawn(move || child.wait());
        Ok(())
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

fn report(error: &ClientError) -> Report {
    Report::from_error(model::ErrorKind::Environment, error)
}

#[async_trait]
impl Router for GatewayProcess {
    async fn apply(&self, table: &RouteTable) -> Result<ApplyReport, Report> {
        self.ask_to_apply(table).await
    }

    async fn drained(&self, instance: &InstanceId, limit: DurationMs) {
        // A conversation of its own: it may take long, and tables must not wait for it.
        if let Ok(mut client) = GatewayClient::connect(&self.socket).await {
            // Whatever is left at the limit is cut by the stop that follows.
            let _ = client.wait_drained(instance.as_str(), limit.as_std()).await;
        }
    }

    async fn pid(&self) -> Option<u32> {
        let mut client = GatewayClient::connect(&self.socket).await.ok()?;
        client.status().await.ok().map(|status| status.pid)
    }

    async fn upgrade(&self) -> Result<GatewayUpgrade, Report> {
        Err(Report::environment("handing the gateway over is not available yet"))
    }
}
