//! `develop.watch`, followed by the command where the files are: files are copied straight into the
//! instances, and the daemon is asked for everything else.
//!
//! ```text
//!  inotify ─▶ tree (what differs) ─▶ rules ─┬▶ deliver ─▶ host::sync, into each instance
//!                                           ├▶ work    ─▶ daemon: rebuild, restart
//!                                           └▶ exec    ─▶ a command inside
//! ```

mod command;
mod deliver;
mod events;
mod exec;
mod rules;
mod told;
mod tree;
mod work;

pub use command::watch;

use super::ending::{Asked, tell};
use super::screen::{Ended, Hue, Outcome, Screen};
use crate::home::Home;
use console::client::{Client, ClientError};
use deliver::Deliveries;
use exec::{Commands, Job};
use model::watch::WatchAction;
use model::{InstanceId, Report, ServiceName, Stack};
use rules::Rule;
use run::control::{Conclusion, StackStatus};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;
use told::{Line, Told};
use tree::{Batch, Tree};
use work::Work;

/// A build that takes longer than this is announced; a shorter one is told when it is done.
const ANNOUNCE: Duration = Duration::from_millis(700);

/// The files are noted as they are now: what changes from here on is not missed.
pub struct Prepared {
    stack: Stack,
    rules: Rc<[Rule]>,
    tree: Tree,
}

/// Reads the rules of the services (all when none is named) and looks at their files.
pub fn prepare(screen: &Screen, stack: &Stack, services: &[ServiceName]) -> Outcome<Prepared> {
    let meant = stack.services.values().filter(|s| services.is_empty() || services.contains(&s.name));
    let (rules, remarks) = rules::of(meant)?;
    remarks.iter().for_each(|remark| screen.warn(remark));
    let rules: Rc<[Rule]> = rules.into();
    let tree = Tree::new(Rc::clone(&rules))?;
    Ok(Prepared { stack: stack.clone(), rules, tree })
}

/// A watch that goes on.
pub struct Session {
    screen: Screen,
    client: Client,
    json: bool,
    asked: Asked,
    stack: Stack,
    directory: PathBuf,
    rules: Rc<[Rule]>,
    tree: Tree,
    deliveries: Deliveries,
    work: Work,
    commands: Commands,
    /// Rules whose command has not run in every instance, because some did not run: where it has.
    missed: BTreeMap<usize, BTreeSet<InstanceId>>,
    /// What was begun and is not yet announced.
    announce: Option<(Instant, String)>,
}

enum Happened {
    Changed(Batch),
    States(StackStatus),
    Worked(Box<work::Ended>),
    Ran(Result<Told, Report>),
    Announced,
}

impl Session {
    pub fn new(
        screen: &Screen,
        home: &Home,
        client: &Client,
        prepared: Prepared,
        asked: Asked,
        json: bool,
        pending: Rc<Cell<Option<u64>>>,
    ) -> Self {
        let Prepared { stack, rules, tree } = prepared;
        Self {
            screen: screen.clone(),
            client: client.clone(),
            json,
            asked,
            directory: rules::resolve(&stack.directory),
            deliveries: Deliveries::new(&home.state, Rc::clone(&rules)),
            work: Work::new(client.clone(), stack.clone(), pending),
            commands: Commands::new(screen.clone(), client.clone(), stack.name.clone()),
            stack,
            rules,
            tree,
            missed: BTreeMap::new(),
            announce: None,
        }
    }

    /// Follows the rules until this is dropped, or cannot go on.
    pub async fn run(&mut self) -> Outcome<Infallible> {
        let mut states = self.client.watch().await?;
        let mut roots: Vec<PathBuf> = self.rules.iter().map(|rule| rule.root.clone()).collect();
        roots.sort();
        roots.dedup();
        let services: BTreeSet<_> = self.rules.iter().map(|rule| rule.service.clone()).collect();
        self.tell(&Told::Watching { services: services.into_iter().collect(), paths: roots })?;
        loop {
            let Self { tree, work, commands, announce, stack, .. } = self;
            let announced = async {
                match announce {
                    Some((at, _)) => tokio::time::sleep_until(*at).await,
                    None => std::future::pending().await,
                }
            };
            let happened = tokio::select! {
                batch = tree.next() => Happened::Changed(batch?),
                stacks = states.next() => match stacks {
                    Ok(Some(stacks)) => match stacks.into_iter().find(|s| s.name == stack.name) {
                        Some(status) => Happened::States(status),
                        None => continue,
                    },
                    Ok(None) | Err(ClientError::Broken(_)) => return Err(hung_up()),
                    Err(error) => return Err(error.into()),
                },
                ended = work.ended() => Happened::Worked(Box::new(ended)),
                ran = commands.ended() => Happened::Ran(ran),
                () = announced => Happened::Announced,
            };
            self.react(happened).await?;
            if let Some(text) = self.work.begin() {
                self.announce = Some((Instant::now() + ANNOUNCE, text));
            }
        }
    }

    async fn react(&mut self, happened: Happened) -> Outcome {
        match happened {
            Happened::Changed(batch) => self.changed(&batch).await,
            Happened::States(status) => {
                self.deliveries.update(&status, &self.tree);
                self.deliver(Instant::now()).await?;
                let missed: Vec<usize> = self.missed.keys().copied().collect();
                missed.into_iter().for_each(|number| self.run_command(number));
                Ok(())
            }
            Happened::Worked(ended) => self.worked(&ended),
            Happened::Ran(Ok(told)) => self.tell(&told),
            Happened::Ran(Err(report)) => {
                self.screen.report(&report);
                Ok(())
            }
            Happened::Announced => {
                if let Some((_, text)) = self.announce.take()
                    && !self.json
                {
                    self.screen.note(text);
                }
                Ok(())
            }
        }
    }

    /// Each rule does its part: files first, then what needs them.
    async fn changed(&mut self, batch: &Batch) -> Outcome {
        let mut commands = BTreeSet::new();
        let rules = Rc::clone(&self.rules);
        for (number, rule) in rules.iter().enumerate() {
            let action = rule.declared.action;
            for path in batch.changes.paths().filter(|path| rule.is_about(path)) {
                if action.syncs() {
                    self.deliveries.note(number, path);
                }
                match action {
                    WatchAction::Rebuild => self.work.rebuild(&rule.service, path, batch.noticed),
                    WatchAction::Restart | WatchAction::SyncRestart => {
                        self.work.restart(&rule.service, path, batch.noticed);
                    }
                    WatchAction::SyncExec => _ = commands.insert(number),
                    WatchAction::Sync => {}
                }
            }
        }
        self.deliver(batch.noticed).await?;
        for number in commands {
            self.missed.insert(number, BTreeSet::new());
            self.run_command(number);
        }
        Ok(())
    }

    /// Runs the command of a rule in the instances that it has not run in since the file was saved.
    /// One that is just being restarted follows when it runs.
    fn run_command(&mut self, number: usize) {
        let rule = &self.rules[number];
        let exec = rule.declared.exec.clone().unwrap_or_default();
        let replicas = self.stack.services.get(&rule.service).map_or(0, |service| service.replicas);
        let done = self.missed.entry(number).or_default();
        for (instance, slot) in self.deliveries.running(&rule.service) {
            if !done.insert(instance.clone()) {
                continue;
            }
            let service = rule.service.clone();
            self.commands.run(Job { rule: number, service, instance, slot, exec: exec.clone() });
        }
        if done.len() >= replicas as usize {
            self.missed.remove(&number);
        }
    }

    async fn deliver(&mut self, since: Instant) -> Outcome {
        for done in self.deliveries.deliver().await {
            let (service, failures) = (done.service.clone(), done.failures.clone());
            if done.instances > 0 || self.json {
                self.tell(&done.told(since.elapsed()))?;
            }
            for failure in failures.iter().filter(|_| !self.json) {
                self.screen.warn(format!("{service}: not everything was synced: {failure}"));
            }
        }
        Ok(())
    }

    fn worked(&mut self, ended: &work::Ended) -> Outcome {
        self.announce = None;
        let conclusion = match &ended.conclusion {
            Ok(conclusion) => conclusion,
            Err(report) => {
                self.screen.report(report);
                return Ok(());
            }
        };
        if went_well(conclusion) {
            return self.tell(&ended.told(conclusion));
        }
        if self.json {
            self.tell(&ended.told(conclusion))?;
        }
        let asked = self.asked.about(ended.request.services.clone(), ended.request.intent);
        // It is told with its reason; what ran goes on, and so does the watch.
        match tell(&self.screen, &asked, conclusion, self.json) {
            Err(Ended::Closed) => Err(Ended::Closed),
            _ => Ok(()),
        }
    }

    fn tell(&self, told: &Told) -> Outcome {
        if self.json {
            return self.screen.json_line(&Line::of(told));
        }
        let text = told.text(&self.directory);
        let is_bad = matches!(told, Told::Ran { code, .. } if *code != Some(0));
        let (icon, hue) = if is_bad { ("✗", Hue::Bad) } else { ("●", Hue::Good) };
        match told {
            Told::Watching { .. } => self.screen.note(text),
            _ => self.screen.note(format!("{} {text}", self.screen.err.on(hue, icon))),
        }
        Ok(())
    }
}

fn went_well(conclusion: &Conclusion) -> bool {
    matches!(conclusion.outcome, store::Outcome::Kept | store::Outcome::Unchanged)
        && conclusion.report.is_none()
}

fn hung_up() -> Ended {
    Report::environment("the daemon hung up; the services go on running, the files are not watched")
        .hint("`juchu watch` goes on")
        .into()
}
