//! Submits changes and follows them to their end: `deploy`, `rollback`, `stop`, `start`, `restart`,
//! `down`, and the beginning of `up` and `promote`.

use super::args::{ChangeArgs, Deploy, Down, Motion, Rollback, StackArgs};
use super::ending::{Asked, tell};
use super::progress::{Live, REDRAW};
use super::screen::{Ended, Outcome, Screen};
use super::signals::Signals;
use super::{load, plan, reach, target};
use crate::home::Home;
use console::client::{Client, ClientError};
use model::{Report, ServiceName, StackName, Timestamp};
use run::control::{Accepted, ChangeRequest, Conclusion, Progress};
use serde::Serialize;
use std::path::PathBuf;
use store::record::v1::Intent;

/// A daemon that dies while a change goes on is started again so often.
const REVIVALS_MAX: usize = 3;

/// Which change, of which stack.
pub struct Wanted<'a> {
    pub stack: StackName,
    pub services: Vec<ServiceName>,
    pub intent: Intent,
    pub declared: Option<model::Stack>,
    pub args: &'a ChangeArgs,
}

impl Wanted<'_> {
    pub fn request(self) -> ChangeRequest {
        ChangeRequest {
            stack: self.stack,
            intent: self.intent,
            declared: self.declared,
            services: self.services,
            actor: String::new(),
            why: self.args.why.clone(),
            from: None,
            again: false,
        }
    }
}

/// A stack as its Compose file declares it, and what of it is meant.
pub struct Declared {
    pub stack: model::Stack,
    pub services: Vec<ServiceName>,
    /// The directory named before the services.
    pub directory: Option<PathBuf>,
}

/// The declared stack and the services named on the command line.
pub fn declared(screen: &Screen, targets: &[String], args: &StackArgs) -> Outcome<Declared> {
    let (directory, named) = load::split_targets(targets, args);
    let stack = load::load_present(screen, args, directory.as_deref())?;
    let services = target::services(&named, stack.services.keys())?;
    Ok(Declared { stack, services, directory })
}

pub async fn deploy(screen: &Screen, home: &Home, args: Deploy, stack: StackArgs) -> Outcome {
    let declared = declared(screen, &args.targets, &stack)?;
    let client = reach::started(home, screen).await?;
    let intent = if args.no_build { Intent::Up } else { Intent::Deploy };
    let (name, services, directory) = (declared.stack.name.clone(), declared.services, declared.directory);
    let wanted = Wanted { stack: name, services, intent, declared: Some(declared.stack), args: &args.change };
    let request = ChangeRequest { again: args.again, ..wanted.request() };
    let asked = Asked::of(&request, &stack, directory.as_deref());
    to_the_end(screen, home, &client, request, &asked, args.change.json).await
}

pub async fn rollback(screen: &Screen, home: &Home, args: Rollback, stack: StackArgs) -> Outcome {
    let intent = Intent::Rollback { to: args.to.map(|release| release.0) };
    if args.dry_run {
        let client = reach::running(home).await?;
        let name = target::stack(&client, &stack).await?;
        let services = target::running_services(&client, &name, &args.services).await?;
        let wanted = Wanted { stack: name, services, intent, declared: None, args: &args.change };
        let preview = client.preview(&wanted.request()).await?;
        return plan::show(screen, &preview, args.change.json, "the same without `--dry-run`");
    }
    let motion = Motion { services: args.services, change: args.change, stack: StackArgs::default() };
    self::motion(screen, home, intent, motion, stack).await
}

pub async fn motion(screen: &Screen, home: &Home, intent: Intent, args: Motion, stack: StackArgs) -> Outcome {
    let client = reach::running(home).await?;
    let name = target::stack(&client, &stack).await?;
    let services = target::running_services(&client, &name, &args.services).await?;
    let wanted = Wanted { stack: name, services, intent, declared: None, args: &args.change };
    let request = wanted.request();
    let asked = Asked::of(&request, &stack, None);
    to_the_end(screen, home, &client, request, &asked, args.change.json).await
}

pub async fn down(screen: &Screen, home: &Home, args: Down, stack: StackArgs) -> Outcome {
    let intent = Intent::Down { volumes: args.volumes };
    let motion = Motion { services: vec![], change: args.change, stack: StackArgs::default() };
    self::motion(screen, home, intent, motion, stack).await
}

/// Everything that started before now; the daemon puts its own clock's time in.
pub const RESTART: Intent = Intent::Restart { at: Timestamp(0) };

/// Asks for a change and stays until it has ended.
pub async fn to_the_end(
    screen: &Screen,
    home: &Home,
    client: &Client,
    request: ChangeRequest,
    asked: &Asked,
    json: bool,
) -> Outcome {
    let mut signals = Signals::new()?;
    let accepted = submit(screen, client, &request, json).await?;
    match follow(screen, home, client, accepted.change, json, &mut signals).await? {
        Some(conclusion) => tell(screen, asked, &conclusion, json),
        None => Err(left_alone(screen)),
    }
}

/// A change that was not accepted, as the only line of `--json`.
#[derive(Serialize)]
struct Refused<'a> {
    event: &'static str,
    #[serde(flatten)]
    report: &'a Report,
}

/// Asks for a change; with `json`, programs are told of a refusal where they read.
pub async fn submit(
    screen: &Screen,
    client: &Client,
    request: &ChangeRequest,
    json: bool,
) -> Outcome<Accepted> {
    let error = match client.submit(request).await {
        Ok(accepted) => return Ok(accepted),
        Err(error) => Report::from(error),
    };
    if json {
        screen.json_line(&Refused { event: "refused", report: &error })?;
    }
    Err(error.into())
}

/// Ctrl-C while a change goes on: it was accepted, so it is carried out.
pub fn left_alone(screen: &Screen) -> Ended {
    screen.note("the change goes on in the daemon");
    screen.hint("`juchu history` shows how it ends");
    Ended::Code(INTERRUPTED)
}

/// What shells say of a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// Follows a change to its end; `None` when Ctrl-C came before. An accepted change is carried out
/// whatever happens, so a daemon that dies is started again and asked again.
pub async fn follow(
    screen: &Screen,
    home: &Home,
    client: &Client,
    change: u64,
    json: bool,
    signals: &mut Signals,
) -> Outcome<Option<Conclusion>> {
    let mut client = client.clone();
    for _ in 0..=REVIVALS_MAX {
        match follow_once(screen, &client, change, json, signals).await? {
            Followed::Concluded(conclusion) => return Ok(Some(*conclusion)),
            Followed::Interrupted => return Ok(None),
            Followed::HungUp => {
                screen.warn("the daemon hung up; it is started again and goes on with the change");
                client = reach::started(home, screen).await?;
            }
        }
    }
    let error = format!("the daemon hung up {} times while change {change} went on", REVIVALS_MAX + 1);
    Err(Report::environment(error).hint(format!("its log is {}", home.daemon_log().display())).into())
}

enum Followed {
    Concluded(Box<Conclusion>),
    HungUp,
    Interrupted,
}

async fn follow_once(
    screen: &Screen,
    client: &Client,
    change: u64,
    json: bool,
    signals: &mut Signals,
) -> Outcome<Followed> {
    let mut lines = match client.follow(change).await {
        Err(ClientError::Broken(_) | ClientError::Cut | ClientError::NotRunning) => {
            return Ok(Followed::HungUp);
        }
        lines => lines?,
    };
    let mut live = Live::new(screen);
    let mut tick = tokio::time::interval(REDRAW);
    loop {
        let progress = tokio::select! {
            _ = tick.tick() => {
                live.redraw();
                continue;
            }
            _ = signals.next() => return Ok(Followed::Interrupted),
            progress = lines.next() => match progress {
                Ok(Some(progress)) => progress,
                Ok(None) | Err(ClientError::Broken(_)) => return Ok(Followed::HungUp),
                Err(error) => return Err(error.into()),
            },
        };
        if json {
            screen.json_line(&progress)?;
        } else {
            live.apply(&progress);
        }
        if let Progress::Concluded(conclusion) = progress {
            live.finish();
            return Ok(Followed::Concluded(Box::new(conclusion)));
        }
    }
}
