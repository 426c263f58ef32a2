//! `juchu up`: the change, then the logs, until Ctrl-C leaves the services running or stops them.

use super::args::{OnInterrupt, StackArgs, Up};
use super::change::{Wanted, declared, follow, left_alone, submit};
use super::ending::{Asked as Wish, tell};
use super::logs::Writer;
use super::screen::{Ended, Hue, Outcome, Screen};
use super::signals::{Asked, Signals};
use super::{reach, watch};
use crate::home::Home;
use console::client::{Client, ClientError};
use model::{DurationMs, ErrorKind, Report, ServiceName, StackName};
use run::control::{ChangeRequest, StackStatus, State};
use run::engine::LogQuery;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::time::Duration;
use store::record::v1::Intent;
use tokio::sync::oneshot;

/// Without an answer, Ctrl-C stops the services after this.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Log lines shown when nothing had to be changed.
const TAIL: usize = 10;
/// Started earlier than the change by at most this, as clocks of a machine go.
const EARLIER: DurationMs = DurationMs::from_secs(1);

pub async fn up(screen: &Screen, home: &Home, args: Up, stack: StackArgs) -> Outcome {
    let declared = declared(screen, &args.targets, &stack)?;
    let (name, services) = (declared.stack.name.clone(), declared.services);
    let prepared = match args.watch {
        true => Some(watch::prepare(screen, &declared.stack, &services)?),
        false => None,
    };
    let client = reach::started(home, screen).await?;
    let intent = if args.build { Intent::Deploy } else { Intent::Up };
    let json = args.change.json;
    let wanted = Wanted {
        stack: name.clone(),
        services: services.clone(),
        intent,
        declared: Some(declared.stack),
        args: &args.change,
    };
    let request = ChangeRequest { again: args.again, ..wanted.request() };
    let wish = Wish::of(&request, &stack, declared.directory.as_deref());
    let front = Front {
        screen,
        home,
        client: &client,
        stack: name,
        services,
        wish: &wish,
        json,
        on_interrupt: args.on_interrupt,
    };
    let mut signals = Signals::new()?;
    let began = console::when::now();
    let accepted = submit(screen, &client, &request, json).await?;
    let Some(conclusion) = follow(screen, home, &client, accepted.change, json, &mut signals).await? else {
        if args.detach {
            return Err(left_alone(screen));
        }
        return front.interrupted(Asked::Interrupt, Some(accepted.change), &mut signals).await;
    };
    tell(screen, &wish, &conclusion, json)?;
    front.show_link().await;
    if args.detach {
        return Ok(());
    }
    let unchanged = conclusion.outcome == store::Outcome::Unchanged;
    let query = match unchanged {
        true => LogQuery { follow: true, tail: Some(TAIL), since: None },
        false => LogQuery {
            follow: true,
            tail: None,
            since: Some(model::Timestamp(began.0.saturating_sub_unsigned(EARLIER.0))),
        },
    };
    let pending = Rc::new(Cell::new(None));
    let watched = front.watch(prepared, Rc::clone(&pending));
    let attended = tokio::select! {
        attended = front.attend(&query, &mut signals) => attended?,
        ended = watched => return Err(ended),
    };
    match attended {
        Some(asked) => front.interrupted(asked, pending.get(), &mut signals).await,
        None => Ok(()),
    }
}

/// The foreground of one stack.
struct Front<'a> {
    screen: &'a Screen,
    home: &'a Home,
    client: &'a Client,
    stack: StackName,
    services: Vec<ServiceName>,
    wish: &'a Wish,
    json: bool,
    on_interrupt: Option<OnInterrupt>,
}

impl Front<'_> {
    /// Where a person watches on. A link is a key, so it is shown to a terminal only.
    async fn show_link(&self) {
        if self.json {
            return;
        }
        match self.client.console_link().await {
            Ok(link) if self.screen.err_width.is_some() => {
                let once = self.screen.err.on(Hue::Quiet, "(works once, for 10 minutes)");
                self.screen.note(format!("console: {} {once}", link.url));
            }
            Ok(_) => self.screen.note("console: `juchu console` prints a link"),
            // A daemon without a console is no fault of this command.
            Err(_) => {}
        }
    }

    /// Follows the rules, where there are any to follow, until that cannot go on.
    async fn watch(&self, prepared: Option<watch::Prepared>, pending: Rc<Cell<Option<u64>>>) -> Ended {
        let Some(prepared) = prepared else { return std::future::pending().await };
        let asked = self.wish.clone();
        let (screen, home, client) = (self.screen, self.home, self.client);
        let mut session = watch::Session::new(screen, home, client, prepared, asked, self.json, pending);
        match session.run().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    /// Shows the logs until Ctrl-C, or until there is nothing left to show.
    async fn attend(&self, query: &LogQuery, signals: &mut Signals) -> Outcome<Option<Asked>> {
        let mut lines = self.client.logs(&self.stack, &self.services, query).await?;
        let mut states = self.client.watch().await?;
        let names = self.client.stack(&self.stack).await?.services;
        let mut writer = Writer::new(self.screen.out, names.iter().map(|s| &s.name).collect());
        let mut reading = true;
        loop {
            tokio::select! {
                biased;
                asked = signals.next() => return Ok(Some(asked)),
                line = lines.next(), if reading => match line {
                    Ok(Some(line)) if self.json => self.screen.json_line(&line)?,
                    Ok(Some(line)) => self.screen.print(&writer.line(&line))?,
                    Ok(None) | Err(ClientError::Broken(_)) => reading = false,
                    Err(error) => return Err(error.into()),
                },
                stacks = states.next() => match stacks {
                    Ok(Some(stacks)) => if let Some(ending) = self.ending(&stacks) {
                        self.screen.note(ending);
                        return Ok(None);
                    },
                    Ok(None) | Err(ClientError::Broken(_)) => return Err(hung_up()),
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    /// Why there is nothing left to watch, if so.
    fn ending(&self, stacks: &[StackStatus]) -> Option<String> {
        let Some(stack) = stacks.iter().find(|stack| stack.name == self.stack) else {
            return Some(format!("{} was taken down", self.stack));
        };
        let mine = |name: &ServiceName| self.services.is_empty() || self.services.contains(name);
        let ended = |state: State| matches!(state, State::Done | State::Stopped);
        let mut services = stack.services.iter().filter(|service| mine(&service.name));
        (stack.pending.is_none() && services.all(|service| ended(service.state)))
            .then(|| format!("every service of {} has ended", self.stack))
    }

    /// Ctrl-C: leaves the services running or stops them, as asked.
    async fn interrupted(&self, asked: Asked, pending: Option<u64>, signals: &mut Signals) -> Outcome {
        if !self.stops(asked, signals).await {
            self.screen.note(format!("{} goes on running", self.stack));
            self.screen.hint(format!("`juchu -p {} stop` stops it", self.stack));
            return Ok(());
        }
        self.screen.note(format!("stopping {}; Ctrl-C again leaves it to the daemon", self.stack));
        let change = match self.submit_stop(pending, signals).await? {
            Some(change) => change,
            None => return Err(left_alone(self.screen)),
        };
        match follow(self.screen, self.home, self.client, change, self.json, signals).await? {
            Some(conclusion) => tell(self.screen, &self.wish.instead(Intent::Stop), &conclusion, self.json),
            None => Err(left_alone(self.screen)),
        }
    }

    /// A stop is refused while another change goes on: then its end is waited for.
    async fn submit_stop(&self, pending: Option<u64>, signals: &mut Signals) -> Outcome<Option<u64>> {
        let request = ChangeRequest {
            stack: self.stack.clone(),
            intent: Intent::Stop,
            declared: None,
            services: self.services.clone(),
            actor: String::new(),
            why: String::new(),
            from: None,
            again: false,
        };
        match (self.client.submit(&request).await, pending) {
            (Ok(accepted), _) => return Ok(Some(accepted.change)),
            (Err(ClientError::Refused(report)), Some(change)) if report.kind == ErrorKind::Conflict => {
                self.screen.note("the start is still going on; the stop follows when it has ended");
                if follow(self.screen, self.home, self.client, change, self.json, signals).await?.is_none() {
                    return Ok(None);
                }
            }
            (Err(error), _) => return Err(error.into()),
        }
        Ok(Some(self.client.submit(&request).await?.change))
    }

    async fn stops(&self, asked: Asked, signals: &mut Signals) -> bool {
        let can_ask = asked == Asked::Interrupt && io::stdin().is_terminal() && io::stderr().is_terminal();
        match self.on_interrupt.unwrap_or(OnInterrupt::Ask) {
            OnInterrupt::Keep => false,
            OnInterrupt::Stop => true,
            OnInterrupt::Ask if !can_ask => true,
            OnInterrupt::Ask => self.ask(signals).await,
        }
    }

    /// Yes, no, or no answer, which is yes; Ctrl-C again is no.
    async fn ask(&self, signals: &mut Signals) -> bool {
        let limit = ANSWER_LIMIT.as_secs();
        self.screen.say(&format!("\nstop {}? [Y/n] (yes in {limit} s, Ctrl-C again is no) ", self.stack));
        let (sender, answer) = oneshot::channel();
        // A thread of its own: it may still wait for a line when the command has ended.
        std::thread::spawn(move || sender.send(read_answer()));
        let yes = tokio::select! {
            answer = answer => answer.ok().flatten().is_none_or(|answer| !is_no(&answer)),
            _ = signals.next() => false,
        };
        self.screen.say("\n");
        yes
    }
}

/// A line typed within the limit.
fn read_answer() -> Option<String> {
    let stdin = io::stdin();
    let limit = Timespec { tv_sec: ANSWER_LIMIT.as_secs() as i64, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&limit)).ok()?;
    let mut line = String::new();
    (ready > 0 && stdin.read_line(&mut line).ok()? > 0).then_some(line)
}

fn is_no(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "n" | "no")
}

fn hung_up() -> Ended {
    Report::environment("the daemon hung up; the services go on running")
        .hint("`juchu up` starts it again; its log says why it ended")
        .into()
}
