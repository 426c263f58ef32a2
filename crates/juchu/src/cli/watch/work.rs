//! What the daemon is asked for: rebuilds and restarts, one change at a time. What is wanted while
//! one goes on is collected and becomes the next.

use super::told::{Told, listed, names};
use console::client::Client;
use model::{ErrorKind, Report, ServiceName, Stack, StackName};
use run::control::{ChangeRequest, Conclusion, Progress};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use store::record::v1::Intent;
use tokio::time::{Instant, sleep};

/// While somebody else changes the stack, this is asked again after so long.
const CONFLICT_PAUSE: Duration = Duration::from_millis(250);
/// And no longer than this.
const CONFLICT_LIMIT: Duration = Duration::from_secs(600);
/// Files named in the reason that is kept in the journal.
const CAUSES_MAX: usize = 20;

/// Why something is wanted.
#[derive(Debug)]
struct Cause {
    paths: BTreeSet<PathBuf>,
    noticed: Instant,
}

#[derive(Debug, Default)]
struct Wanted(BTreeMap<ServiceName, Cause>);

impl Wanted {
    fn add(&mut self, service: &ServiceName, path: &Path, noticed: Instant) {
        let new = || Cause { paths: BTreeSet::new(), noticed };
        let cause = self.0.entry(service.clone()).or_insert_with(new);
        if cause.paths.len() < CAUSES_MAX {
            cause.paths.insert(path.to_owned());
        }
    }

    /// All services, the paths, and when the first of them was noticed.
    fn take(&mut self) -> Option<(Vec<ServiceName>, Vec<PathBuf>, Instant)> {
        let noticed = self.0.values().map(|cause| cause.noticed).min()?;
        let all = std::mem::take(&mut self.0);
        let services = all.keys().cloned().collect();
        let paths: BTreeSet<PathBuf> = all.into_values().flat_map(|cause| cause.paths).collect();
        Some((services, paths.into_iter().collect(), noticed))
    }
}

/// How a change ended.
pub struct Ended {
    pub request: ChangeRequest,
    pub noticed: Instant,
    pub conclusion: Result<Conclusion, Report>,
}

impl Ended {
    /// What to say when it went well.
    pub fn told(&self, conclusion: &Conclusion) -> Told {
        let services = self.request.services.clone();
        let (outcome, took_ms) = (conclusion.outcome.word(), self.noticed.elapsed().as_millis() as u64);
        match self.request.intent {
            Intent::Restart { .. } => Told::Restarted { services, outcome, took_ms },
            _ => Told::Rebuilt { services, outcome, release: conclusion.release, took_ms },
        }
    }
}

type UnderWay = Pin<Box<dyn Future<Output = Ended>>>;

pub struct Work {
    client: Client,
    stack: Stack,
    rebuild: Wanted,
    restart: Wanted,
    under_way: Option<UnderWay>,
    /// The number of the change that goes on, for who ends the watch meanwhile.
    pending: Rc<Cell<Option<u64>>>,
}

impl Work {
    pub fn new(client: Client, stack: Stack, pending: Rc<Cell<Option<u64>>>) -> Self {
        let (rebuild, restart) = (Wanted::default(), Wanted::default());
        Self { client, stack, rebuild, restart, under_way: None, pending }
    }

    pub fn rebuild(&mut self, service: &ServiceName, path: &Path, noticed: Instant) {
        self.rebuild.add(service, path, noticed);
    }

    pub fn restart(&mut self, service: &ServiceName, path: &Path, noticed: Instant) {
        self.restart.add(service, path, noticed);
    }

    /// Begins what is wanted unless something goes on; what was begun, in words.
    pub fn begin(&mut self) -> Option<String> {
        if self.under_way.is_some() {
            return None;
        }
        // What is rebuilt starts anew anyway.
        self.restart.0.retain(|service, _| !self.rebuild.0.contains_key(service));
        if let Some(wanted) = self.rebuild.take() {
            let said = format!("{}: {} changed, rebuilding", listed(&wanted.0), self.names(&wanted.1));
            self.start(Intent::Deploy, wanted);
            return Some(said);
        }
        let wanted = self.restart.take()?;
        self.start(super::super::change::RESTART, wanted);
        None
    }

    fn start(
        &mut self,
        intent: Intent,
        (services, paths, noticed): (Vec<ServiceName>, Vec<PathBuf>, Instant),
    ) {
        let declared = (intent == Intent::Deploy).then(|| self.stack.clone());
        let why = format!("watch: {} changed", self.names(&paths));
        let stack: StackName = self.stack.name.clone();
        let request = ChangeRequest {
            stack,
            intent,
            declared,
            services,
            actor: String::new(),
            why,
            from: None,
            again: false,
        };
        let (client, pending) = (self.client.clone(), Rc::clone(&self.pending));
        self.under_way = Some(Box::pin(async move {
            let conclusion = carry_out(&client, &request, &pending).await;
            pending.set(None);
            Ended { request, noticed, conclusion }
        }));
    }

    fn names(&self, paths: &[PathBuf]) -> String {
        names(paths, &super::rules::resolve(&self.stack.directory))
    }

    /// The end of what goes on; never while nothing does.
    pub async fn ended(&mut self) -> Ended {
        match &mut self.under_way {
            Some(under_way) => {
                let ended = under_way.await;
                self.under_way = None;
                ended
            }
            None => std::future::pending().await,
        }
    }
}

async fn carry_out(
    client: &Client,
    request: &ChangeRequest,
    pending: &Cell<Option<u64>>,
) -> Result<Conclusion, Report> {
    let change = submit(client, request).await?;
    pending.set(Some(change));
    let mut lines = client.follow(change).await.map_err(Report::from)?;
    loop {
        match lines.next().await.map_err(Report::from)? {
            Some(Progress::Concluded(conclusion)) => return Ok(conclusion),
            Some(_) => {}
            None => {
                let error = format!("the daemon hung up while change {change} went on");
                return Err(Report::environment(error).hint("`juchu history` shows how it ends"));
            }
        }
    }
}

/// Waits while somebody else changes the stack.
async fn submit(client: &Client, request: &ChangeRequest) -> Result<u64, Report> {
    let begun = Instant::now();
    loop {
        match client.submit(request).await.map_err(Report::from) {
            Ok(accepted) => return Ok(accepted.change),
            Err(report) if report.kind == ErrorKind::Conflict && begun.elapsed() < CONFLICT_LIMIT => {
                sleep(CONFLICT_PAUSE).await;
            }
            Err(report) => return Err(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::service;

    #[test]
    fn what_is_wanted_while_something_goes_on_is_one_more() {
        let mut wanted = Wanted::default();
        let noticed = Instant::now();
        for name in ["a.py", "b.py", "a.py"] {
            wanted.add(&service("web"), Path::new(name), noticed);
        }
        wanted.add(&service("api"), Path::new("c.py"), noticed + Duration::from_secs(1));
        let (services, paths, first) = wanted.take().expect("wanted");
        assert_eq!(services, [service("api"), service("web")]);
        assert_eq!(paths, ["a.py", "b.py", "c.py"].map(PathBuf::from));
        assert_eq!(first, noticed);
        assert!(wanted.take().is_none());
    }

    #[test]
    fn the_reason_stays_short_whatever_changes() {
        let mut wanted = Wanted::default();
        (0..10_000).for_each(|n| wanted.add(&service("web"), Path::new(&n.to_string()), Instant::now()));
        assert_eq!(wanted.take().expect("wanted").1.len(), CAUSES_MAX);
    }
}
