//! `juchu ps`: the services with their state.

use super::args::{Ps, StackArgs};
use super::ending::addresses;
use super::screen::{Hue, Outcome, Paint, Screen, look_of, safe};
use super::table::{Cell, Column, Table};
use super::{reach, target};
use crate::home::Home;
use crate::queue;
use console::client::ClientError;
use console::text::beyond;
use console::when::Clock;
use console::words::{certificate_is_lacking, certificate_text};
use model::{Report, StackName, Timestamp};
use run::control::{ServiceStatus, StackStatus, State};
use store::record::v1;

pub async fn ps(screen: &Screen, home: &Home, args: Ps, stack: StackArgs) -> Outcome {
    if !args.output.json {
        tell_builds(screen, home);
    }
    let client = reach::running(home).await?;
    if args.all {
        let stacks = client.stacks().await?;
        if args.output.json {
            return screen.json(&stacks);
        }
        if stacks.is_empty() {
            screen.note("no stack is known");
            screen.hint("`juchu up` in a folder with a compose.yaml makes one");
            return Ok(());
        }
        return screen.print(&stacks_text(&stacks, screen));
    }
    let name = target::stack(&client, &stack).await?;
    let mut status = match client.stack(&name).await {
        Ok(status) => status,
        // Somebody who types a name means one that is there.
        Err(error) if stack.rest.project_name.is_some() => return Err(Report::from(error).into()),
        Err(error) => return nothing_runs(screen, error, &name, &args),
    };
    let wanted = target::services(&args.services, status.services.iter().map(|s| &s.name))?;
    status.services.retain(|service| wanted.is_empty() || wanted.contains(&service.name));
    if args.output.json {
        return screen.json(&status);
    }
    screen.note(headline(&status, screen.err));
    screen.print(&services_text(&status.services, &screen.clock, screen.width, screen.out))?;
    screen.print(&addresses(&status.addresses, ""))?;
    if let Some(line) = rolled_back(&status, screen.err) {
        screen.note(line);
    }
    for line in certificates(&status, &screen.clock, screen.err) {
        screen.note(line);
    }
    Ok(())
}

/// That the newest release is not in force, and will not be by itself.
fn rolled_back(status: &StackStatus, paint: Paint) -> Option<String> {
    let release = status.rolled_back?;
    let mark = paint.on(Hue::Warn, "▲");
    Some(format!("{mark} {release} was rolled back and is not tried again without a change or `--again`"))
}

/// Which addresses have no certificate that could be shown, or soon will not, and why.
fn certificates(status: &StackStatus, clock: &Clock, paint: Paint) -> Vec<String> {
    let lacking = |service: &ServiceStatus| {
        let certificate = service.certificate.as_ref().filter(|one| certificate_is_lacking(one, clock))?;
        let of_service = status.addresses.iter().filter(|address| address.service == service.name);
        let secured =
            of_service.map(|address| address.url.as_str()).filter(|url| url.starts_with("https://"));
        let mut names: Vec<&str> = secured.collect();
        if names.is_empty() {
            names = certificate.hosts.iter().map(String::as_str).collect();
        }
        let (names, text) = (names.join(", "), certificate_text(certificate, clock));
        let mark = paint.on(Hue::Warn, "▲");
        Some(format!("{mark} {} {}: certificate {}", service.name, safe(&names), safe(&text)))
    };
    status.services.iter().filter_map(lacking).collect()
}

/// What is being built on this machine, and what waits for it.
fn tell_builds(screen: &Screen, home: &Home) {
    // Nobody may look there, or nothing was ever built.
    let builds = queue::read(&home.join("images")).unwrap_or_default();
    let Some((first, waiting)) = builds.split_first() else { return };
    let since = screen.clock.short(first.since);
    screen.note(format!("building {} since {since} (process {})", safe(&first.what), first.process));
    let names: Vec<_> = waiting.iter().map(|one| safe(&one.what)).collect();
    match names.len() {
        0 => {}
        1 => screen.note(format!("1 build waits: {}", names[0])),
        more => screen.note(format!("{more} builds wait: {}", names.join(", "))),
    }
}

/// An unknown stack is one that was never started, or was removed: nothing of it runs.
fn nothing_runs(screen: &Screen, error: ClientError, name: &StackName, args: &Ps) -> Outcome {
    let report = Report::from(error);
    if !report.error.contains(name.as_str()) || !args.services.is_empty() {
        return Err(report.into());
    }
    if args.output.json {
        return screen.json(&serde_json::Value::Null);
    }
    screen.note(format!("nothing of the stack {name} runs"));
    screen.hint("`juchu up` starts it");
    Ok(())
}

/// `guestbook r3, ready` and what is going on or went wrong last.
fn headline(status: &StackStatus, paint: Paint) -> String {
    let (icon, word, hue) = look_of(status.state);
    let release = status.release.map(|release| format!(" {release}")).unwrap_or_default();
    let mut text = format!("{} {}{release}: {word}", paint.on(hue, icon), status.name);
    match (&status.pending, &status.last_outcome) {
        (Some(pending), _) => text += &format!(", {}", safe(pending)),
        (None, Some((outcome, reason))) if !matches!(outcome, v1::Outcome::Kept | v1::Outcome::Unchanged) => {
            text += &format!(", last change {}: {}", outcome.word(), safe(reason));
        }
        _ => {}
    }
    text
}

fn state_cell(state: State) -> Cell {
    let (icon, word, hue) = look_of(state);
    Cell::from(format!("{icon} {word}")).hue(hue)
}

pub fn services_text(
    services: &[ServiceStatus],
    clock: &Clock,
    width: Option<usize>,
    paint: Paint,
) -> String {
    let mut table = Table::new(vec![
        Column::kept("SERVICE"),
        Column::kept("STATE"),
        Column::kept("READY").right(),
        Column::rank("CONDITION", 1),
        Column::rank("PORTS", 2),
        Column::rank("SINCE", 3),
        Column::rank("IMAGE", 4),
    ]);
    for service in services {
        table.row(vec![
            Cell::from(service.name.as_str()),
            state_cell(service.state),
            Cell::from(format!("{}/{}", service.ready, service.replicas)),
            Cell::from(beyond(look_of(service.state).1, &service.text)),
            Cell::from(service.ports.join(", ")),
            Cell::from(since(service).map(|at| clock.short(at)).unwrap_or_default()),
            Cell::from(service.image.as_str()).hue(Hue::Quiet),
        ]);
    }
    table.render(width, paint)
}

/// When its youngest instance came to its present state.
fn since(service: &ServiceStatus) -> Option<Timestamp> {
    service.instances.iter().filter_map(|instance| instance.since).max()
}

fn stacks_text(stacks: &[StackStatus], screen: &Screen) -> String {
    let mut table = Table::new(vec![
        Column::kept("STACK"),
        Column::kept("STATE"),
        Column::kept("SERVICES").right(),
        Column::rank("RELEASE", 1),
        Column::rank("ADDRESS", 2),
        Column::rank("DIRECTORY", 3),
    ]);
    for stack in stacks {
        let up = |s: &&ServiceStatus| matches!(s.state, State::Ready | State::Done);
        let ready = stack.services.iter().filter(up).count();
        table.row(vec![
            Cell::from(stack.name.as_str()),
            state_cell(stack.state),
            Cell::from(format!("{ready}/{}", stack.services.len())),
            Cell::from(stack.release.map(|release| release.to_string()).unwrap_or_default()),
            Cell::from(stack.addresses.first().map(|address| address.url.clone()).unwrap_or_default()),
            Cell::from(stack.directory.as_str()),
        ]);
    }
    table.render(screen.width, screen.out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::{NOW, certificate, guestbook_status, lacking_certificate, troubled_status};

    fn check(status: &StackStatus, width: Option<usize>) -> String {
        services_text(&status.services, &Clock::utc(NOW), width, Paint(false))
    }

    #[test]
    fn everything_is_shown_where_there_is_room() {
        insta::assert_snapshot!(check(&guestbook_status(), None), @"
        SERVICE  STATE    READY  CONDITION           PORTS               SINCE     IMAGE
        cache    ● ready    1/1  1 of 1 ready                            10:00:00  redis 7.0.15
        db       ● ready    1/1  1 of 1 ready                            10:00:00  postgres 15.14
        migrate  ✓ done     0/1  exited with code 0                      10:00:00  guestbook/web r3
        web      ● ready    2/2  2 of 2 ready        0.0.0.0:8080->8000  10:00:00  guestbook/web r3
        ");
    }

    #[test]
    fn trouble_is_told() {
        insta::assert_snapshot!(headline(&troubled_status(), Paint(false)), @"
        ✗ guestbook r3: failed, deploy by ada (cli) since 11:59:58
        ");
        insta::assert_snapshot!(check(&troubled_status(), Some(80)), @"
        SERVICE  STATE        READY  CONDITION
        cache    ◐ starting     0/1  waits for its first check
        db       ▲ unhealthy    0/1  0 of 1 ready: no answer within 3 s
        migrate  ✓ done         0/1  exited with code 0
        web      ✗ failed       0/2  restarts in 3 s: exited with code 1
        ");
    }

    #[test]
    fn an_address_without_a_certificate_is_told() {
        let mut status = guestbook_status();
        let clock = Clock::utc(NOW);
        status.services[3].certificate = Some(lacking_certificate());
        status.addresses[0].url = "https://shop.example.org".to_owned();
        insta::assert_snapshot!(certificates(&status, &clock, Paint(false)).join("\n"), @"▲ web https://shop.example.org: certificate none yet, from an authority by ACME, 2 tries failed, tried again at 12:03: the authority refused: no address of shop.example.org is known");
        status.services[3].certificate = Some(certificate());
        assert!(certificates(&status, &clock, Paint(false)).is_empty());
    }

    #[test]
    fn a_narrow_terminal_keeps_name_and_state() {
        insta::assert_snapshot!(check(&troubled_status(), Some(40)), @"
        SERVICE  STATE        READY
        cache    ◐ starting     0/1
        db       ▲ unhealthy    0/1
        migrate  ✓ done         0/1
        web      ✗ failed       0/2
        ");
    }

    #[test]
    fn colour_never_stands_alone() {
        let painted = services_text(&troubled_status().services, &Clock::utc(NOW), Some(80), Paint(true));
        assert!(painted.contains("\u{1b}[31m✗ failed\u{1b}[0m"), "{painted}");
        let plain = console::text::without_controls(&painted.replace('\n', "|"), false).replace('|', "\n");
        assert_eq!(plain, check(&troubled_status(), Some(80)));
    }
}
