//! The API over a real Unix socket, asked by the client that the command line uses.

use console::api::v1::{ChangeRequest, EnterRequest, ExecRequest, HistoryQuery, LogQuery, Progress, State};
use console::client::{Client, ClientError};
use console::fake::{FakeControl, NOW, line, service, stack};
use console::{Access, Attached, bind_unix, serve_unix};
use model::{ErrorKind, ReleaseId, Report, Timestamp};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use store::record::v1::Intent;

struct Daemon {
    control: Arc<FakeControl>,
    access: Access,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start(control: FakeControl) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("run/api.sock");
        let listener = bind_unix(&socket).expect("a free socket");
        let (control, access) = (Arc::new(control), Access::default());
        tokio::spawn(serve_unix(
            listener,
            control.clone(),
            access.clone(),
            Attached::default(),
            std::future::pending(),
        ));
        Self { control, access, socket, _directory: directory }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket).await.expect("the daemon listens")
    }
}

fn up() -> ChangeRequest {
    ChangeRequest {
        stack: stack("guestbook"),
        intent: Intent::Up,
        declared: None,
        services: vec![service("web")],
        actor: "somebody else".to_owned(),
        why: "because".to_owned(),
        from: None,
        again: false,
    }
}

#[tokio::test]
async fn what_is_asked_is_answered() {
    let daemon = Daemon::start(FakeControl::guestbook());
    let client = daemon.client().await;
    assert_eq!(client.stacks().await.expect("stacks"), daemon.control.held().stacks);
    assert_eq!(client.stack(&stack("guestbook")).await.expect("one").services.len(), 4);
    assert_eq!(client.verify().await.expect("verify").entries, 10);
    assert_eq!(client.lacks().await.expect("doctor"), []);
    assert_eq!(client.daemon().await.expect("daemon").gateway_pid, Some(4242));
    let query = HistoryQuery { service: Some(service("web")), limit: 2, ..HistoryQuery::default() };
    let entries = client.history(query).await.expect("history");
    assert_eq!(entries, daemon.control.held().entries[8..], "the newest two, oldest first");
    assert_eq!(client.preview(&up()).await.expect("preview").differences.len(), 3);
}

#[tokio::test]
async fn a_change_is_told_from_its_beginning_to_its_end() {
    let daemon = Daemon::start(FakeControl::guestbook());
    let client = daemon.client().await;
    let accepted = client.submit(&up()).await.expect("accepted");
    let mut lines = client.follow(accepted.change).await.expect("a stream");
    let mut story = Vec::new();
    while let Some(progress) = lines.next().await.expect("readable") {
        story.push(progress);
    }
    assert_eq!(story[0], Progress::Accepted { change: 101, at: NOW });
    assert_eq!(story[1..], daemon.control.held().story);
}

#[tokio::test]
async fn the_journal_names_who_the_kernel_names() {
    let daemon = Daemon::start(FakeControl::empty());
    let client = daemon.client().await;
    client.submit(&up()).await.expect("accepted");
    client.on_behalf_of(Some("ada".to_owned())).submit(&up()).await.expect("accepted");
    let actors: Vec<_> = daemon.control.held().asked.iter().map(|r| r.actor.clone()).collect();
    assert!(actors[0].ends_with(" (cli)"), "{actors:?}");
    if rustix::process::geteuid().is_root() {
        assert_eq!(actors, ["root (cli)", "ada (cli, sudo)"]);
    }
}

#[tokio::test]
async fn a_restart_counts_from_when_it_was_asked_for() {
    let daemon = Daemon::start(FakeControl::empty());
    let request = ChangeRequest { intent: Intent::Restart { at: Timestamp(0) }, ..up() };
    daemon.client().await.submit(&request).await.expect("accepted");
    let Intent::Restart { at } = daemon.control.held().asked[0].intent else { panic!("another intent") };
    assert!(at.0 > 0, "the daemon's clock decides");
}

#[tokio::test]
async fn a_refusal_keeps_its_kind_and_hints() {
    let daemon = Daemon::start(FakeControl::guestbook());
    let client = daemon.client().await;
    for kind in [
        ErrorKind::Usage,
        ErrorKind::Build,
        ErrorKind::Unhealthy,
        ErrorKind::Conflict,
        ErrorKind::Environment,
        ErrorKind::Internal,
    ] {
        let report = Report::new(kind, "it cannot be").hint("do otherwise");
        daemon.control.held().failure = Some(report.clone());
        let error = client.submit(&up()).await.expect_err("refused");
        assert_eq!(Report::from(error), report);
    }
    let unknown = client.stack(&stack("nothing")).await.expect_err("unknown");
    assert_eq!(Report::from(unknown).error, "there is no stack `nothing`");
}

#[tokio::test]
async fn logs_are_chosen_and_followed() {
    let daemon = Daemon::start(FakeControl::guestbook());
    let client = daemon.client().await;
    let query = LogQuery { follow: true, tail: Some(2), since: None };
    let mut lines = client.logs(&stack("guestbook"), &[service("web")], &query).await.expect("a stream");
    for _ in 0..2 {
        lines.next().await.expect("readable").expect("an old line");
    }
    daemon.control.say(line("db", 1, NOW, "not asked for"));
    daemon.control.say(line("web", 1, NOW, "new\nand \"odd\" \u{1b}"));
    let new = lines.next().await.expect("readable").expect("a new line");
    assert_eq!(new, line("web", 1, NOW, "new\nand \"odd\" \u{1b}"));
}

#[tokio::test]
async fn watching_shows_now_and_each_change() {
    let daemon = Daemon::start(FakeControl::guestbook());
    let mut seen = daemon.client().await.watch().await.expect("a stream");
    assert_eq!(seen.next().await.expect("readable").expect("now")[0].state, State::Ready);
    daemon.control.change(|held| held.stacks[0].state = State::Failed);
    assert_eq!(seen.next().await.expect("readable").expect("changed")[0].state, State::Failed);
    daemon.control.change(|held| held.stacks.clear());
    assert_eq!(seen.next().await.expect("readable").expect("gone"), []);
}

#[tokio::test]
async fn entering_says_what_to_run() {
    let daemon = Daemon::start(FakeControl::guestbook());
    let request = ExecRequest { argv: vec!["sh".to_owned()], ..ExecRequest::default() };
    let request = EnterRequest { slot: Some(2), request, tty: true };
    let entrance = daemon.client().await.enter(&stack("guestbook"), &service("web"), &request).await;
    assert_eq!(entrance.expect("allowed").argv, ["/usr/bin/env", "--", "sh"]);
    assert_eq!(daemon.control.held().entered[0].1, Some(2));
}

#[tokio::test]
async fn a_console_link_needs_a_console() {
    let daemon = Daemon::start(FakeControl::empty());
    let client = daemon.client().await;
    let error = Report::from(client.console_link().await.expect_err("no web server"));
    assert_eq!(error.kind, ErrorKind::Environment);
    daemon.access.set_port(7766);
    let link = client.console_link().await.expect("a link");
    let token = link.url.strip_prefix("http://juchu.localhost:7766/enter/").expect("the console's address");
    assert!(daemon.access.link_is_open(token));
}

#[tokio::test]
async fn the_socket_is_private_and_has_one_owner() {
    let daemon = Daemon::start(FakeControl::empty());
    let mode = |path: &std::path::Path| path.metadata().expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.socket), 0o600);
    assert_eq!(mode(daemon.socket.parent().expect("a directory")), 0o700);
    assert_eq!(bind_unix(&daemon.socket).expect_err("taken").kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn a_socket_that_nobody_answers_is_replaced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket = directory.path().join("run/api.sock");
    drop(bind_unix(&socket).expect("a free socket"));
    assert!(matches!(Client::connect(&socket).await, Err(ClientError::NotRunning)));
    bind_unix(&socket).expect("the old one is no obstacle");
}

#[tokio::test]
async fn nobody_there_is_said_plainly() {
    let error = Client::connect(std::path::Path::new("/nonexistent/api.sock")).await.expect_err("nobody");
    assert_eq!(Report::from(error).error, "the daemon is not running");
}

#[tokio::test]
async fn releases_are_listed_and_compared() {
    let daemon = Daemon::start(FakeControl::guestbook());
    let client = daemon.client().await;
    let releases = client.releases(&stack("guestbook")).await.expect("releases");
    assert_eq!(releases, daemon.control.held().releases);
    let (from, to) = (ReleaseId(4), ReleaseId(5));
    let differences = client.compare(&stack("guestbook"), from, to).await.expect("differences");
    assert_eq!(differences, daemon.control.held().differences);
    assert_eq!(daemon.control.held().compared, [(from, to)]);
}

#[tokio::test]
async fn a_gateway_is_replaced_when_asked() {
    let daemon = Daemon::start(FakeControl::empty());
    let upgrade = daemon.client().await.upgrade_gateway().await.expect("replaced");
    assert_eq!((upgrade.before, upgrade.after, upgrade.draining), (Some(41), 42, 3));
    daemon.control.held().failure = Some(Report::environment("the new gateway ends as soon as it is asked"));
    let error = Report::from(daemon.client().await.upgrade_gateway().await.expect_err("refused"));
    assert_eq!(error.kind, ErrorKind::Environment);
}
