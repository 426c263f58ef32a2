//! `juchu doctor`, `verify`, `console`, and `exec`: this machine, its journal, and the ways in.

use super::args::{Exec, Read, StackArgs};
use super::screen::{Ended, Hue, Outcome, Paint, Screen, safe};
use super::{Hooks, reach, target};
use crate::caches;
use crate::home::Home;
use console::api::v1::EnterRequest;
use console::client::ClientError;
use console::words::{certificate_is_lacking, certificate_state};
use model::certificate::CertificateStatus;
use model::{Bytes, ErrorKind, Report};
use run::control::DaemonStatus;
use run::engine::{ExecRequest, Lack};
use serde::Serialize;
use std::env;
use std::fmt::Write;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use store::VerifyReport;

/// What `doctor --json` prints.
#[derive(Serialize)]
struct Checkup {
    /// Absent when none runs.
    daemon: Option<DaemonStatus>,
    lacks: Vec<Lack>,
    /// How each certificate of this machine's services stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<CertificateStatus>,
    /// What builds Dockerfiles here: a program's path, or that of a daemon's socket.
    dockerfiles: Option<PathBuf>,
    /// Why nothing does although something was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    dockerfiles_lack: Option<String>,
    /// What builds keep for later ones, and its bound.
    cache_bytes: u64,
    cache_max_bytes: u64,
}

/// Works without a daemon too: then this process looks at the machine itself.
pub async fn doctor(screen: &Screen, home: &Home, args: Read, hooks: &Hooks) -> Outcome {
    let environment =
        env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let environment = environment.collect();
    // It asks programs and sockets, each for seconds at most.
    let builder = tokio::task::spawn_blocking(move || engines::dockerfile::find(&environment)).await;
    let builder = builder.map_err(|_| Report::environment("look for a builder of Dockerfiles"))?;
    let (dockerfiles, dockerfiles_lack) = match builder {
        Ok(builder) => (builder.map(|builder| builder.path().to_owned()), None),
        Err(report) => (None, Some(report.error)),
    };
    let mut certificates = Vec::new();
    let (daemon, lacks) = match reach::running(home).await {
        Ok(client) => {
            let of_daemon = client.lacks().await?;
            let services = client.stacks().await?.into_iter().flat_map(|stack| stack.services);
            certificates.extend(services.filter_map(|service| service.certificate));
            let lacks = of_daemon.into_iter().chain((hooks.lacks)(home, true)).collect();
            (Some(client.daemon().await?), lacks)
        }
        Err(ClientError::NotRunning) => (None, (hooks.lacks)(home, false)),
        Err(error) => return Err(error.into()),
    };
    let (cache_bytes, cache_max_bytes) = (caches::held(home).bytes, caches::most(&home.state)?.0);
    let checkup =
        Checkup { daemon, lacks, certificates, dockerfiles, dockerfiles_lack, cache_bytes, cache_max_bytes };
    if args.output.json {
        screen.json(&checkup)?;
    } else {
        screen.print(&checkup.text(home, screen))?;
    }
    match checkup.lacks.iter().any(|lack| lack.fatal) {
        true => Err(Ended::Code(ErrorKind::Environment.exit_code())),
        false => Ok(()),
    }
}

impl Checkup {
    fn text(&self, home: &Home, screen: &Screen) -> String {
        let mut text = match &self.daemon {
            Some(daemon) => daemon_text(daemon, screen),
            None => {
                format!("□ the daemon is not running (home {}); `juchu up` starts it\n", home.state.display())
            }
        };
        if self.lacks.is_empty() {
            let _ = writeln!(
                text,
                "{} this machine has everything that is needed",
                screen.out.on(Hue::Good, "●")
            );
        }
        for lack in &self.lacks {
            text += &lack_text(lack, screen.out);
        }
        for certificate in &self.certificates {
            text += &certificate_line(certificate, screen);
        }
        text += &match (&self.dockerfiles, &self.dockerfiles_lack) {
            (None, Some(why)) => format!("{} no Dockerfiles: {}\n", screen.out.on(Hue::Warn, "▲"), safe(why)),
            (Some(path), _) => {
                format!("{} Dockerfiles are built by {}\n", screen.out.on(Hue::Good, "●"), path.display())
            }
            (None, None) => {
                format!("□ nothing here builds Dockerfiles; `{}` would\n", engines::dockerfile::INSTALL)
            }
        };
        let (held, most) = (Bytes(self.cache_bytes), Bytes(self.cache_max_bytes));
        let icon = screen.out.on(Hue::Good, "●");
        let _ = writeln!(text, "{icon} the caches of builds hold {held} of at most {most}");
        text
    }
}

fn daemon_text(daemon: &DaemonStatus, screen: &Screen) -> String {
    let since = screen.clock.short(daemon.started);
    let mut text = format!(
        "{} the daemon {} runs since {since} (process {}, home {})\n",
        screen.out.on(Hue::Good, "●"),
        safe(&daemon.version),
        daemon.pid,
        safe(&daemon.home)
    );
    let own = env!("CARGO_PKG_VERSION");
    if daemon.version != own {
        let _ = writeln!(
            text,
            "{} this command is version {own}; `juchu upgrade` puts it in charge",
            screen.out.on(Hue::Warn, "▲"),
        );
    }
    text += &match daemon.gateway_pid {
        Some(pid) => format!("{} the gateway runs (process {pid})\n", screen.out.on(Hue::Good, "●")),
        None => format!("{} the gateway does not answer\n", screen.out.on(Hue::Bad, "✗")),
    };
    text
}

fn certificate_line(status: &CertificateStatus, screen: &Screen) -> String {
    let (icon, hue) = match certificate_is_lacking(status, &screen.clock) {
        true => ("▲", Hue::Warn),
        false => ("●", Hue::Good),
    };
    let hosts =
        if status.hosts.is_empty() { String::new() } else { format!(" ({})", status.hosts.join(", ")) };
    // The reason is told with what is lacking.
    let text = certificate_state(status, &screen.clock);
    let icon = screen.out.on(hue, icon);
    format!("{icon} certificate of {}{}: {}\n", safe(&status.name), safe(&hosts), safe(&text))
}

fn lack_text(lack: &Lack, paint: Paint) -> String {
    let (icon, hue) = if lack.fatal { ("✗", Hue::Bad) } else { ("▲", Hue::Warn) };
    let (what, effect, hint) = (safe(&lack.what), safe(&lack.effect), safe(&lack.hint));
    let hint_word = paint.on(Hue::Busy, "hint:");
    format!("{} {what}\n    {effect}\n    {hint_word} {hint}\n", paint.on(hue, icon))
}

pub async fn verify(screen: &Screen, home: &Home, args: Read) -> Outcome {
    let report = reach::running(home).await?.verify().await?;
    if args.output.json {
        screen.json(&report)?;
    } else {
        screen.print(&verify_text(&report, screen.out))?;
    }
    if report.is_whole() { Ok(()) } else { Err(Ended::Code(ErrorKind::Internal.exit_code())) }
}

fn verify_text(report: &VerifyReport, paint: Paint) -> String {
    if report.is_whole() {
        let entries = report.entries;
        return format!(
            "{} {entries} entries follow from each other; head {}\n",
            paint.on(Hue::Good, "●"),
            report.head
        );
    }
    let bad = paint.on(Hue::Bad, "✗");
    let mut text = String::new();
    if let Some(seq) = report.broken_at {
        let _ = writeln!(text, "{bad} entry {seq} of {} does not follow from the one before", report.entries);
    }
    for digest in &report.bad_blobs {
        let _ = writeln!(text, "{bad} content {digest} is missing or altered");
    }
    for stack in &report.bad_views {
        let _ = writeln!(text, "{bad} the view of {stack} differs from what the journal says");
    }
    text
}

pub async fn console(screen: &Screen, home: &Home, args: Read) -> Outcome {
    let link = reach::running(home).await?.console_link().await?;
    if args.output.json {
        return screen.json(&link);
    }
    screen.print(&format!("{}\n", link.url))?;
    screen.note("the link works once, for 10 minutes");
    Ok(())
}

/// Becomes the command inside the instance: its streams and its exit code are ours.
pub async fn exec(screen: &Screen, home: &Home, args: Exec, stack: StackArgs) -> Outcome {
    let client = reach::running(home).await?;
    let stack = target::stack(&client, &stack).await?;
    let service =
        target::running_services(&client, &stack, std::slice::from_ref(&args.service)).await?.remove(0);
    let tty = !args.no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let request = ExecRequest {
        argv: args.command,
        environment: environment(&args.environment, tty)?,
        user: args.user,
        working_dir: args.workdir,
        privileged: false,
        timeout: None,
        output_limit: 0,
    };
    let entrance = client.enter(&stack, &service, &EnterRequest { slot: args.index, request, tty }).await?;
    let Some((program, rest)) = entrance.argv.split_first() else {
        return Err(Report::internal("the daemon named no way into the instance").into());
    };
    let error = Command::new(program).args(rest).exec();
    screen.report(&Report::environment(format!("{program} cannot be run: {error}")));
    Err(Ended::Code(ErrorKind::Environment.exit_code()))
}

/// `KEY=VALUE` as it is, `KEY` with our own value; a terminal says which one it is.
fn environment(given: &[String], tty: bool) -> Result<Vec<(String, String)>, Report> {
    let mut variables = Vec::new();
    if let (true, Ok(term)) = (tty, env::var("TERM")) {
        variables.push(("TERM".to_owned(), term));
    }
    for text in given {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text.as_str(), env::var(text).ok()),
        };
        if key.is_empty() || key.contains('\0') {
            return Err(Report::usage(format!("`{text}` does not name a variable")).hint("`--env KEY=VALUE`"));
        }
        variables.extend(value.map(|value| (key.to_owned(), value)));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::when::Clock;
    use model::{Digest, StackName};

    fn screen() -> Screen {
        Screen {
            out: Paint(false),
            err: Paint(false),
            width: None,
            err_width: None,
            quiet: false,
            clock: Clock::utc(console::fake::NOW),
        }
    }

    #[test]
    fn what_is_lacking_comes_with_its_remedy() {
        let lack = |what: &str, fatal| Lack {
            what: what.to_owned(),
            effect: "memory limits are not in force".to_owned(),
            hint: "`mount -t cgroup2 none /sys/fs/cgroup`".to_owned(),
            fatal,
        };
        let home = Home { state: "/var/lib/juchu".into(), runtime: "/run/juchu".into() };
        let checkup = Checkup {
            daemon: None,
            lacks: vec![lack("no memory controller", true), lack("no swap", false)],
            certificates: vec![console::fake::certificate(), console::fake::lacking_certificate()],
            dockerfiles: None,
            dockerfiles_lack: None,
            cache_bytes: 3 << 20,
            cache_max_bytes: 10 << 30,
        };
        insta::assert_snapshot!(checkup.text(&home, &screen()), @"
        □ the daemon is not running (home /var/lib/juchu); `juchu up` starts it
        ✗ no memory controller
            memory limits are not in force
            hint: `mount -t cgroup2 none /sys/fs/cgroup`
        ▲ no swap
            memory limits are not in force
            hint: `mount -t cgroup2 none /sys/fs/cgroup`
        ● certificate of guestbook.web (shop.example.org): valid until 2027-02-20, from an authority by ACME, renewed Jan 21 12:00
        ▲ certificate of guestbook.web (shop.example.org): none yet, from an authority by ACME, 2 tries failed, tried again at 12:03
        □ nothing here builds Dockerfiles; `apt install buildah runc` would
        ● the caches of builds hold 3 MiB of at most 10 GiB
        ");
        let fine = Checkup { lacks: vec![], dockerfiles: Some("/usr/bin/buildah".into()), ..checkup };
        let text = fine.text(&home, &screen());
        assert!(text.contains("● this machine has everything"), "{text}");
        assert!(text.contains("● Dockerfiles are built by /usr/bin/buildah"), "{text}");
    }

    #[test]
    fn a_daemon_of_another_version_is_told() {
        let daemon = DaemonStatus {
            version: "0.0.1".to_owned(),
            pid: 7,
            started: console::fake::NOW,
            gateway_pid: None,
            home: "/var/lib/juchu".to_owned(),
        };
        insta::assert_snapshot!(daemon_text(&daemon, &screen()), @"
        ● the daemon 0.0.1 runs since 12:00:00 (process 7, home /var/lib/juchu)
        ▲ this command is version 0.1.0; `juchu upgrade` puts it in charge
        ✗ the gateway does not answer
        ");
    }

    #[test]
    fn a_broken_journal_is_told_in_full() {
        let mut report = VerifyReport {
            entries: 9,
            head: Digest::of(b""),
            broken_at: None,
            bad_blobs: vec![],
            bad_views: vec![],
        };
        assert!(verify_text(&report, Paint(false)).starts_with("● 9 entries follow from each other"));
        report.broken_at = Some(3);
        report.bad_views = vec![StackName::new("shop").expect("valid")];
        insta::assert_snapshot!(verify_text(&report, Paint(false)), @"
        ✗ entry 3 of 9 does not follow from the one before
        ✗ the view of shop differs from what the journal says
        ");
    }

    #[test]
    fn variables_are_given_or_passed_on() {
        let own = env::var("PATH").expect("tests have a PATH");
        let given = ["A=1=2", "PATH", "NOT_SET_ANYWHERE", "EMPTY="].map(str::to_owned);
        let expected =
            [("A", "1=2"), ("PATH", &own), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(environment(&given, false), Ok(expected.to_vec()));
        assert!(environment(&["=x".to_owned()], false).is_err());
    }
}
