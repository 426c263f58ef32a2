//! How a change ended, for somebody who is tired: one word, what serves now, the numbers behind
//! it, what failed, and the next command.

use super::args::StackArgs;
use super::logs::text_of;
use super::screen::{Ended, Hue, Outcome, Paint, Screen, report_text, safe};
use console::when::Clock;
use console::words::{figures_text, milliseconds};
use model::{ErrorKind, ReleaseId, Report, ServiceName, StackName};
use run::control::{Address, ChangeRequest, Conclusion};
use std::path::Path;
use store::record::v1::{self, Intent, ServiceFigures};

/// Address, service and time stand this far apart.
const GAP: &str = "  ";
/// After a change each address was tried.
const NO_ANSWER: &str = "no answer yet";
/// Services whose figures are shown.
const FIGURES_MAX: usize = 20;

/// What was asked for, as far as its ending is told by it.
#[derive(Debug, Clone)]
pub struct Asked {
    stack: StackName,
    services: Vec<ServiceName>,
    intent: Intent,
    /// Whether a command typed in the same place finds the stack by itself.
    found_here: bool,
}

impl Asked {
    pub fn of(request: &ChangeRequest, args: &StackArgs, directory: Option<&Path>) -> Self {
        let rest = &args.rest;
        let here = args.files.is_empty() && rest.project_name.is_none() && rest.project_directory.is_none();
        Self {
            stack: request.stack.clone(),
            services: request.services.clone(),
            intent: request.intent,
            found_here: here && directory.is_none(),
        }
    }

    /// The same stack and services, asked to do something else.
    pub fn instead(&self, intent: Intent) -> Self {
        Self { intent, ..self.clone() }
    }

    /// The same stack, asked for something else of these services.
    pub fn about(&self, services: Vec<ServiceName>, intent: Intent) -> Self {
        Self { services, intent, ..self.clone() }
    }

    /// `juchu rollback web`, with `-p` where it is needed.
    fn command(&self, word: &str) -> String {
        let stack = if self.found_here { String::new() } else { format!(" -p {}", self.stack) };
        let services: String = self.services.iter().map(|service| format!(" {service}")).collect();
        format!("juchu{stack} {word}{services}")
    }

    /// The command that takes the change back.
    fn way_back(&self, to: ReleaseId) -> String {
        match self.intent {
            // The last release in which something differs may be another one than that.
            Intent::Rollback { .. } => format!("{} --to {to}", self.command("rollback")),
            _ => self.command("rollback"),
        }
    }

    const fn makes_releases(&self) -> bool {
        matches!(self.intent, Intent::Up | Intent::Deploy | Intent::Rollback { .. } | Intent::Promote { .. })
    }

    /// After a stop nobody wants to know where to go.
    const fn is_end(&self) -> bool {
        matches!(self.intent, Intent::Stop | Intent::Down { .. })
    }
}

/// Says how it ended: addresses as data, everything else beside it, and the exit code of a failure.
/// With `json` the conclusion was printed already.
pub fn tell(screen: &Screen, asked: &Asked, conclusion: &Conclusion, json: bool) -> Outcome {
    if let Some(report) = failure(asked, conclusion) {
        match json {
            true => screen.report(&report),
            false => screen.say(&failure_text(asked, conclusion, &report, screen.err)),
        }
        return Err(Ended::Code(report.kind.exit_code()));
    }
    if json {
        return Ok(());
    }
    screen.note(success_text(asked, conclusion, screen.err));
    if !asked.is_end() {
        screen.print(&addresses(&conclusion.addresses, NO_ANSWER))?;
    }
    if let Some(hint) = way_back_text(asked, conclusion, &screen.clock) {
        screen.hint(hint);
    }
    Ok(())
}

/// What to print as the error when it did not end well. Of a failure the report knows the kind
/// best; every other ending has its own.
fn failure(asked: &Asked, conclusion: &Conclusion) -> Option<Report> {
    let kind = match conclusion.outcome {
        v1::Outcome::Kept | v1::Outcome::Unchanged => return conclusion.report.clone(),
        v1::Outcome::Failed => conclusion.report.as_ref().map_or(ErrorKind::Unhealthy, |report| report.kind),
        v1::Outcome::RolledBack => ErrorKind::RolledBack,
        v1::Outcome::Undecided => ErrorKind::Undecided,
        v1::Outcome::Superseded => ErrorKind::Conflict,
    };
    let said = conclusion.report.clone();
    let mut report = said.unwrap_or_else(|| Report::new(kind, conclusion.reason.clone()));
    report.kind = kind;
    if report.hints.is_empty() {
        report.hints = next_commands(asked, conclusion);
    }
    Some(report)
}

/// Where the daemon names no command.
fn next_commands(asked: &Asked, conclusion: &Conclusion) -> Vec<String> {
    let service = asked.services.first().or(conclusion.figures.first().map(|figures| &figures.service));
    let whole = Asked { services: vec![], ..asked.clone() };
    let why = match service {
        Some(service) => format!("`{} {service}` tells what changed and what it said", whole.command("why")),
        None => format!("`{}` tells what changed", whole.command("history")),
    };
    match conclusion.outcome {
        v1::Outcome::Undecided => {
            let (on, back) = (asked.command("deploy"), asked.command("rollback"));
            vec![why, format!("`{on}` goes on with it, `{back}` takes it back")]
        }
        _ => vec![why],
    }
}

fn success_text(asked: &Asked, conclusion: &Conclusion, paint: Paint) -> String {
    let word = paint.on(Hue::Good, &format!("✓ {}", conclusion.outcome.word()));
    let release = match (conclusion.before, conclusion.release) {
        (Some(before), Some(release)) if before != release && asked.makes_releases() => {
            format!("{before} → {release}, ")
        }
        (_, Some(release)) => format!("{release}, "),
        (_, None) => String::new(),
    };
    let mut text = format!("{word}: {} ({release}{})", safe(&conclusion.reason), conclusion.took);
    // Of what was meant to end, nobody wants to know how long it is away.
    let figures = if asked.is_end() { &[][..] } else { &conclusion.figures };
    for line in figures_lines(figures) {
        text += &format!("\n{line}");
    }
    text
}

/// The last it said, the word with what serves now, the numbers, then the cause and the next command.
fn failure_text(asked: &Asked, conclusion: &Conclusion, report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    if !conclusion.last_lines.is_empty() {
        text += &paint.on(Hue::Quiet, "the last it said:");
        text.push('\n');
        text += &text_of(&conclusion.last_lines, paint);
    }
    let (icon, hue) = look_of(conclusion.outcome);
    let word = paint.on(hue, &format!("{icon} {}", conclusion.outcome.word()));
    text += &match what_serves(asked, conclusion) {
        Some(serves) => format!("{word}: {serves} ({})\n", conclusion.took),
        None => format!("{word} ({})\n", conclusion.took),
    };
    // Where nothing was started there is nothing behind the failure.
    let started: Vec<_> = conclusion.figures.iter().filter(|f| f.instances > 0).cloned().collect();
    for line in figures_lines(&started) {
        text += &line;
        text.push('\n');
    }
    text + &report_text(report, paint)
}

/// Which release people are served by now.
fn what_serves(asked: &Asked, conclusion: &Conclusion) -> Option<String> {
    if !asked.makes_releases() {
        return None;
    }
    match (conclusion.outcome, conclusion.before, conclusion.release) {
        (v1::Outcome::RolledBack, Some(before), _) => Some(format!("{before} serves again")),
        (v1::Outcome::RolledBack, None, Some(release)) => Some(format!("{release} serves again")),
        (v1::Outcome::Failed, Some(before), Some(release)) if before == release => {
            Some(format!("{before} serves as before"))
        }
        (v1::Outcome::Failed, None, _) => Some("nothing is in force".to_owned()),
        (v1::Outcome::Undecided, Some(before), Some(release)) if before != release => {
            Some(format!("halted half way from {before} to {release}"))
        }
        (_, _, Some(release)) => Some(format!("{release} is in force")),
        _ => None,
    }
}

/// Icon and colour of an outcome; the icon's shape differs from outcome to outcome.
pub const fn look_of(outcome: v1::Outcome) -> (&'static str, Hue) {
    match outcome {
        v1::Outcome::Kept => ("●", Hue::Good),
        v1::Outcome::Unchanged => ("✓", Hue::Quiet),
        v1::Outcome::Failed => ("✗", Hue::Bad),
        v1::Outcome::RolledBack => ("◁", Hue::Warn),
        v1::Outcome::Undecided => ("▲", Hue::Warn),
        v1::Outcome::Superseded => ("□", Hue::Quiet),
    }
}

fn figures_lines(figures: &[ServiceFigures]) -> Vec<String> {
    let wide = figures.iter().map(|f| f.service.as_str().len()).max().unwrap_or_default();
    let line = |f: &ServiceFigures| format!("  {:wide$}  {}", f.service.as_str(), figures_text(f));
    let mut lines: Vec<_> = figures.iter().take(FIGURES_MAX).map(line).collect();
    if figures.len() > FIGURES_MAX {
        lines.push(format!("  and {} more services", figures.len() - FIGURES_MAX));
    }
    lines
}

fn way_back_text(asked: &Asked, conclusion: &Conclusion, clock: &Clock) -> Option<String> {
    let (before, until) = (conclusion.before?, conclusion.warm_until?);
    let command = asked.way_back(before);
    Some(format!("{before} is kept warm until {}: `{command}` goes back at once", clock.soon(until)))
}

/// One line for each address: where, what, and the measured time to its first byte, or what to say
/// without one.
pub fn addresses(addresses: &[Address], unmeasured: &str) -> String {
    let wide = addresses.iter().map(|a| a.url.chars().count()).max().unwrap_or_default();
    let names = addresses.iter().map(|a| a.service.as_str().len()).max().unwrap_or_default();
    let line = |address: &Address| {
        let time = match address.first_byte_us {
            Some(us) => format!("first byte in {}", milliseconds(us)),
            None => unmeasured.to_owned(),
        };
        let (url, service) = (safe(&address.url), &address.service);
        let line = format!("{url:wide$}{GAP}{service:names$}{GAP}{time}", service = service.as_str());
        line.trim_end().to_owned() + "\n"
    };
    addresses.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::{self, NOW};

    fn asked(services: &[&str], intent: Intent, args: &StackArgs) -> Asked {
        let request = ChangeRequest {
            stack: fake::stack("guestbook"),
            intent,
            declared: None,
            services: services.iter().copied().map(fake::service).collect(),
            actor: String::new(),
            why: String::new(),
            from: None,
            again: false,
        };
        Asked::of(&request, args, None)
    }

    fn check(asked: &Asked, conclusion: &Conclusion) -> String {
        let paint = Paint(false);
        match failure(asked, conclusion) {
            Some(report) => {
                let text = failure_text(asked, conclusion, &report, paint);
                format!("{text}(exit code {})", report.kind.exit_code())
            }
            None => {
                let back = way_back_text(asked, conclusion, &Clock::utc(NOW)).unwrap_or_default();
                format!(
                    "{}\n{}{back}",
                    success_text(asked, conclusion, paint),
                    addresses(&conclusion.addresses, NO_ANSWER)
                )
            }
        }
    }

    #[test]
    fn kept_says_what_it_cost_and_how_to_go_back() {
        let deploy = asked(&["web"], Intent::Deploy, &StackArgs::default());
        insta::assert_snapshot!(check(&deploy, &fake::kept()), @"
        ✓ kept: every service is ready (r4 → r5, 3.1 s)
          db   1 replica ready in 2.4 s, decided 40 ms later, gap of 1.9 s
          web  2 replicas ready in 1.9 s, decided 540 ms later, swapped in 0.4 ms, no gap
        http://127.0.0.1:8080  web  first byte in 2.8 ms
        r4 is kept warm until 12:03: `juchu rollback web` goes back at once
        ");
        let down = check(&deploy.instead(Intent::Down { volumes: false }), &fake::kept());
        assert!(down.starts_with("✓ kept: every service is ready (r5, 3.1 s)\nhttp"), "{down}");
        let back = deploy.instead(Intent::Rollback { to: None });
        assert!(check(&back, &fake::kept()).ends_with("`juchu rollback web --to r4` goes back at once"));
        let mut named = StackArgs::default();
        named.rest.project_name = Some("guestbook".to_owned());
        let named = check(&asked(&[], Intent::Up, &named), &fake::kept());
        assert!(named.ends_with("`juchu -p guestbook rollback` goes back at once"), "{named}");
    }

    #[test]
    fn every_other_ending_says_what_serves_why_and_what_next() {
        let deploy = asked(&["web"], Intent::Deploy, &StackArgs::default());
        insta::assert_snapshot!(check(&deploy, &fake::rolled_back()), @"
        the last it said:
        web-1 | listening on 0.0.0.0:8000
        web-1 | error: DEBUG must be 0 or 1, not `yes`
        ◁ rolled back: r4 serves again (8.4 s)
          web  1 replica, not ready, no gap
        error: service web: exited with code 1 three times
        hint: `juchu logs web`
        hint: `juchu diff r4 r5`
        (exit code 5)
        ");
        insta::assert_snapshot!(check(&deploy, &fake::failed()), @"
        ✗ failed: r4 serves as before (3.1 s)
        error: service web: requirements.txt:2: there is no package `falsk`
        hint: did you mean `flask`?
        (exit code 2)
        ");
        insta::assert_snapshot!(check(&deploy, &fake::undecided()), @"
        the last it said:
        web-1 | listening on 0.0.0.0:8000
        web-1 | error: DEBUG must be 0 or 1, not `yes`
        ▲ undecided: halted half way from r4 to r5 (3.1 s)
          web  1 replica, not ready, no gap
        error: service web: no answer on port 8000 within 30 s
        hint: `juchu logs web`
        hint: `juchu rollback`
        (exit code 6)
        ");
    }

    #[test]
    fn an_ending_without_a_report_names_commands_all_the_same() {
        let deploy = asked(&["web"], Intent::Deploy, &StackArgs::default());
        let bare = |conclusion| Conclusion { report: None, last_lines: vec![], ..conclusion };
        insta::assert_snapshot!(check(&deploy, &bare(fake::undecided())), @"
        ▲ undecided: halted half way from r4 to r5 (3.1 s)
          web  1 replica, not ready, no gap
        error: service web: no answer on port 8000 within 30 s
        hint: `juchu why web` tells what changed and what it said
        hint: `juchu deploy web` goes on with it, `juchu rollback web` takes it back
        (exit code 6)
        ");
        let first = Conclusion { before: None, release: None, figures: vec![], ..bare(fake::failed()) };
        insta::assert_snapshot!(check(&asked(&[], Intent::Up, &StackArgs::default()), &first), @"
        ✗ failed: nothing is in force (3.1 s)
        error: service web: requirements.txt:2: there is no package `falsk`
        hint: `juchu history` tells what changed
        (exit code 4)
        ");
        let stop = asked(&[], Intent::Stop, &StackArgs::default());
        let superseded = Conclusion { outcome: v1::Outcome::Superseded, ..bare(fake::failed()) };
        insta::assert_snapshot!(check(&stop, &superseded), @"
        □ superseded (3.1 s)
        error: service web: requirements.txt:2: there is no package `falsk`
        hint: `juchu history` tells what changed
        (exit code 7)
        ");
    }

    #[test]
    fn each_ending_has_its_exit_code() {
        let deploy = asked(&[], Intent::Deploy, &StackArgs::default());
        let code = |outcome, report: Option<Report>| {
            let conclusion = Conclusion { outcome, report, ..fake::kept() };
            failure(&deploy, &conclusion).map_or(0, |report| report.kind.exit_code())
        };
        assert_eq!(code(v1::Outcome::Kept, None), 0);
        assert_eq!(code(v1::Outcome::Unchanged, None), 0);
        assert_eq!(code(v1::Outcome::Failed, None), 4);
        assert_eq!(code(v1::Outcome::RolledBack, None), 5);
        assert_eq!(code(v1::Outcome::Undecided, None), 6);
        assert_eq!(code(v1::Outcome::Superseded, None), 7);
        let build = Some(Report::new(ErrorKind::Build, "no such package"));
        assert_eq!(code(v1::Outcome::Failed, build.clone()), 2);
        assert_eq!(code(v1::Outcome::RolledBack, build), 5, "the ending decides");
    }

    #[test]
    fn addresses_say_how_fast_they_answer() {
        let mut all = fake::guestbook_status().addresses;
        all.push(Address {
            url: "tcp://127.0.0.1:5432".to_owned(),
            service: fake::service("database"),
            first_byte_us: None,
        });
        insta::assert_snapshot!(addresses(&all, NO_ANSWER), @"
        http://127.0.0.1:8080  web       first byte in 2.8 ms
        tcp://127.0.0.1:5432   database  no answer yet
        ");
        assert!(addresses(&all[1..], "").ends_with("  database\n"), "nothing is claimed");
        assert_eq!(milliseconds(12_345), "12 ms");
    }
}
