//! Submits changes and tells how they go: `deploy`, `stop`, `start`, `restart`, `down`, and the
//! beginning of `up`.

use super::args::{ChangeArgs, Deploy, Down, Motion, StackArgs};
use super::logs::text_of;
use super::progress::{Live, REDRAW};
use super::screen::{Ended, Hue, Outcome, Screen, safe};
use super::signals::Signals;
use super::{load, reach, target};
use crate::home::Home;
use console::client::{Client, ClientError};
use model::{ErrorKind, Report, ServiceName, StackName, Timestamp};
use run::control::{Address, ChangeRequest, Conclusion, Progress};
use store::record::v1::{self, Intent};

/// A daemon that dies while a change goes on is started again so often.
const REVIVALS_MAX: usize = 3;
/// Address, service and time stand this far apart.
const GAP: &str = "  ";

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
        }
    }
}

/// The declared stack and the services named on the command line.
pub fn declared(
    screen: &Screen,
    targets: &[String],
    args: &StackArgs,
) -> Outcome<(model::Stack, Vec<ServiceName>)> {
    let (directory, named) = load::split_targets(targets, args);
    let stack = load::load_present(screen, args, directory.as_deref())?;
    let services = target::services(&named, stack.services.keys())?;
    Ok((stack, services))
}

pub async fn deploy(screen: &Screen, home: &Home, args: Deploy, stack: StackArgs) -> Outcome {
    let (declared, services) = declared(screen, &args.targets, &stack)?;
    let client = reach::started(home, screen).await?;
    let (stack, intent) = (declared.name.clone(), Intent::Deploy);
    let wanted = Wanted { stack, services, intent, declared: Some(declared), args: &args.change };
    to_the_end(screen, home, &client, wanted.request(), args.change.json).await
}

pub async fn motion(screen: &Screen, home: &Home, intent: Intent, args: Motion, stack: StackArgs) -> Outcome {
    let client = reach::running(home).await?;
    let stack = target::stack(&client, &stack).await?;
    let services = target::running_services(&client, &stack, &args.services).await?;
    let wanted = Wanted { stack, services, intent, declared: None, args: &args.change };
    to_the_end(screen, home, &client, wanted.request(), args.change.json).await
}

pub async fn down(screen: &Screen, home: &Home, args: Down, stack: StackArgs) -> Outcome {
    let client = reach::running(home).await?;
    let stack = target::stack(&client, &stack).await?;
    let intent = Intent::Down { volumes: args.volumes };
    let wanted = Wanted { stack, services: vec![], intent, declared: None, args: &args.change };
    to_the_end(screen, home, &client, wanted.request(), args.change.json).await
}

/// Everything that started before now; the daemon puts its own clock's time in.
pub const RESTART: Intent = Intent::Restart { at: Timestamp(0) };

async fn to_the_end(
    screen: &Screen,
    home: &Home,
    client: &Client,
    request: ChangeRequest,
    json: bool,
) -> Outcome {
    let mut signals = Signals::new()?;
    let ends = matches!(request.intent, Intent::Stop | Intent::Down { .. });
    let accepted = client.submit(&request).await?;
    match follow(screen, home, client, accepted.change, json, &mut signals).await? {
        Some(conclusion) if ends => tell(screen, &without_addresses(conclusion), json),
        Some(conclusion) => tell(screen, &conclusion, json),
        None => Err(left_alone(screen)),
    }
}

/// After a stop nobody wants to know where to go.
pub fn without_addresses(conclusion: Conclusion) -> Conclusion {
    Conclusion { addresses: Vec::new(), ..conclusion }
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

/// Says how it ended: addresses as data, everything else beside it, and the exit code of a failure.
pub fn tell(screen: &Screen, conclusion: &Conclusion, json: bool) -> Outcome {
    if let Some(report) = failure(conclusion) {
        if !json {
            screen.say(&text_of(&conclusion.last_lines, screen.err));
        }
        screen.report(&report);
        return Err(Ended::Code(report.kind.exit_code()));
    }
    if json {
        return Ok(());
    }
    screen.note(conclusion_line(screen, conclusion));
    screen.print(&addresses(&conclusion.addresses))
}

fn conclusion_line(screen: &Screen, conclusion: &Conclusion) -> String {
    let word = screen.err.on(Hue::Good, &format!("✓ {}", conclusion.outcome.word()));
    let release = conclusion.release.map(|release| format!("{release}, ")).unwrap_or_default();
    format!("{word}: {} ({release}{})", safe(&conclusion.reason), conclusion.took)
}

/// What to print when it did not end well.
fn failure(conclusion: &Conclusion) -> Option<Report> {
    let kind = match conclusion.outcome {
        v1::Outcome::Kept | v1::Outcome::Unchanged => return conclusion.report.clone(),
        v1::Outcome::Failed => ErrorKind::Unhealthy,
        v1::Outcome::RolledBack => ErrorKind::RolledBack,
        v1::Outcome::Undecided => ErrorKind::Undecided,
        v1::Outcome::Superseded => ErrorKind::Conflict,
    };
    Some(conclusion.report.clone().unwrap_or_else(|| {
        Report::new(kind, conclusion.reason.clone()).hint("`juchu history` and `juchu why SERVICE` tell more")
    }))
}

/// One line for each address: where, what, and the measured time to its first byte.
pub fn addresses(addresses: &[Address]) -> String {
    let wide = addresses.iter().map(|a| a.url.chars().count()).max().unwrap_or_default();
    let names = addresses.iter().map(|a| a.service.as_str().len()).max().unwrap_or_default();
    let line = |address: &Address| {
        let time = match address.first_byte_us {
            Some(us) => format!("first byte in {}", milliseconds(us)),
            None => "no answer yet".to_owned(),
        };
        let (url, service) = (safe(&address.url), &address.service);
        format!("{url:wide$}{GAP}{service:names$}{GAP}{time}\n", service = service.as_str())
    };
    addresses.iter().map(line).collect()
}

fn milliseconds(us: u64) -> String {
    match us {
        us if us < 10_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        us if us < 10_000_000 => format!("{} ms", us / 1000),
        us => format!("{} s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake;
    use model::DurationMs;

    fn ended(outcome: v1::Outcome, report: Option<Report>) -> Conclusion {
        Conclusion {
            change: 1,
            outcome,
            reason: "web did not become ready".to_owned(),
            release: None,
            took: DurationMs(1),
            addresses: vec![],
            report,
            last_lines: vec![],
            before: None,
            warm_until: None,
            figures: vec![],
        }
    }

    #[test]
    fn each_ending_has_its_exit_code() {
        let code = |outcome| failure(&ended(outcome, None)).map_or(0, |report| report.kind.exit_code());
        assert_eq!(code(v1::Outcome::Kept), 0);
        assert_eq!(code(v1::Outcome::Unchanged), 0);
        assert_eq!(code(v1::Outcome::Failed), 4);
        assert_eq!(code(v1::Outcome::RolledBack), 5);
        assert_eq!(code(v1::Outcome::Undecided), 6);
        assert_eq!(code(v1::Outcome::Superseded), 7);
        let build = Report::new(ErrorKind::Build, "no such package");
        assert_eq!(failure(&ended(v1::Outcome::Failed, Some(build.clone()))), Some(build));
    }

    #[test]
    fn addresses_say_how_fast_they_answer() {
        let mut all = fake::guestbook_status().addresses;
        all.push(Address {
            url: "tcp://127.0.0.1:5432".to_owned(),
            service: fake::service("database"),
            first_byte_us: None,
        });
        insta::assert_snapshot!(addresses(&all), @"
        http://127.0.0.1:8080  web       first byte in 2.8 ms
        tcp://127.0.0.1:5432   database  no answer yet
        ");
        assert_eq!(milliseconds(12_345), "12 ms");
    }
}
