//! Version 1 of the API byte for byte: what was ever sent can be read and is sent the same. A new
//! answer is another line in `golden/api-v1.jsonl`, never another form of an old one. The scenes of
//! the fake control plane that are sent here stay as they are, too.

use console::api::v1::*;
use console::fake::{self, NOW, ago, guestbook_differences, guestbook_releases, troubled_status};
use model::{Digest, ReleaseId, Report};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::record::v1::Intent;

const GOLDEN: &str = include_str!("golden/api-v1.jsonl");

/// The name and the bytes of one message, which must also be readable as what they are.
fn line<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, message: T) -> String {
    let text = serde_json::to_string(&message).expect("API types have string keys only");
    let read: T = serde_json::from_str(&text).expect("it reads what it writes");
    assert_eq!(read, message);
    format!("{{\"{name}\":{text}}}")
}

fn changes() -> Vec<String> {
    let intents = [
        Intent::Up,
        Intent::Deploy,
        Intent::Stop,
        Intent::Start,
        Intent::Restart { at: NOW },
        Intent::Down { volumes: true },
        Intent::Rollback { to: None },
        Intent::Rollback { to: Some(ReleaseId(3)) },
        Intent::Promote { release: None },
        Intent::Promote { release: Some(ReleaseId(5)) },
    ];
    let request = |intent| ChangeRequest {
        stack: fake::stack("guestbook"),
        intent,
        declared: None,
        services: vec![fake::service("web")],
        actor: String::new(),
        why: "because".to_owned(),
        again: false,
        from: matches!(intent, Intent::Promote { .. }).then(|| fake::stack("staging")),
    };
    let mut lines: Vec<_> = intents.map(|intent| line("change_request", request(intent))).into();
    lines.push(line("accepted", Accepted { change: 101 }));
    lines
}

fn progress() -> Vec<String> {
    let mut story = vec![
        Progress::Accepted { change: 101, at: NOW },
        Progress::Warning { text: "web publishes port 8080 on all addresses".to_owned() },
        Progress::GoingBack { release: None, cause: "service web: exited with code 1".to_owned() },
    ];
    for ending in [fake::kept(), fake::rolled_back(), fake::failed(), fake::undecided()] {
        story.extend(fake::story_to(ending));
    }
    story.into_iter().map(|progress| line("progress", progress)).collect()
}

fn answers() -> Vec<String> {
    let daemon = DaemonStatus {
        version: "0.1.0".to_owned(),
        pid: 7,
        started: ago(60),
        gateway_pid: Some(41),
        home: "/var/lib/juchu".to_owned(),
    };
    let lack = Lack {
        what: "no swap".to_owned(),
        effect: "memory limits are not in force".to_owned(),
        hint: "`mount -t cgroup2 none /sys/fs/cgroup`".to_owned(),
        fatal: false,
    };
    let verified = VerifyReport {
        entries: 9,
        head: Digest::of(b""),
        broken_at: Some(3),
        bad_blobs: vec![Digest::of(b"")],
        bad_views: vec![fake::stack("shop")],
    };
    let request = ExecRequest { argv: vec!["sh".to_owned()], ..ExecRequest::default() };
    let log_line = fake::line("web", 1, NOW, "error: refused");
    let preview = Preview {
        differences: guestbook_differences(),
        steps: vec!["start web 2".to_owned()],
        warnings: vec!["web is not reachable for about 2 s".to_owned()],
    };
    let mut lines = vec![
        line("stack_status", troubled_status()),
        line("preview", preview),
        line("differences", guestbook_differences()),
        line("compare_params", CompareParams { from: ReleaseId(4), to: ReleaseId(5) }),
        line("gateway_upgrade", GatewayUpgrade { before: Some(41), after: 42, draining: 3 }),
        line("daemon_status", daemon),
        line("lack", lack),
        line("verify_report", verified),
        line("service_line", log_line),
        line("enter_request", EnterRequest { slot: Some(2), request, tty: true }),
        line("entrance", Entrance { argv: vec!["juchu".to_owned(), "enter".to_owned()] }),
        line(
            "console_link",
            ConsoleLink { url: "http://juchu.localhost:7766/enter/x".to_owned(), expires: NOW },
        ),
        line("report", Report::usage("there is no stack `x`").hint("`juchu ps --all` lists them")),
    ];
    lines.extend(guestbook_releases().into_iter().map(|release| line("release_status", release)));
    lines.push(line("certificate_status", fake::certificate()));
    lines.push(line("certificate_status", fake::lacking_certificate()));
    lines
}

#[test]
fn what_is_sent_stays_the_same() {
    let written = [changes(), progress(), answers()].concat();
    for (number, (written, golden)) in written.iter().zip(GOLDEN.lines()).enumerate() {
        assert_eq!(written, golden, "line {}", number + 1);
    }
    assert_eq!(written.len(), GOLDEN.lines().count());
}

/// Clients of later versions send more; what is not known is no obstacle.
#[test]
fn what_is_not_known_yet_is_passed_over() {
    for text in GOLDEN.lines() {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let (name, content) = message.as_object().and_then(|m| m.iter().next()).expect("one message");
        if name == "change_request" {
            let mut content = content.clone();
            content["of_the_future"] = Value::from(1);
            serde_json::from_value::<ChangeRequest>(content).expect("it is passed over");
        }
    }
}
