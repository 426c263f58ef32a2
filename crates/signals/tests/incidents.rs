//! Incidents as stories: what is outside at which time, and what is told.

use model::range::Level;
use model::{ReleaseId, ServiceName, StackName};
use signals::incident::{Book, Context, Finding, NewsKind, Note, Silence, Subject};

const MINUTE: i64 = 60_000;

fn subject(name: &str) -> Subject {
    Subject::service(StackName::new("shop").expect("valid"), ServiceName::new(name).expect("valid"))
}

fn finding(service: &str, signal: &str, level: Level) -> Finding {
    Finding {
        subject: subject(service),
        signal: signal.to_owned(),
        level,
        release: Some(ReleaseId(3)),
        value: "1.4 s".to_owned(),
        range: "20 ms to 60 ms".to_owned(),
        beyond: 4.0,
        since_ms: 0,
    }
}

fn urgent(service: &str, signal: &str) -> Finding {
    finding(service, signal, Level::Urgent)
}

fn shop() -> Context {
    let mut context = Context::default();
    for (caller, called) in [("web", "api"), ("api", "db"), ("jobs", "db")] {
        context.calls.add(subject(caller), subject(called));
    }
    context
}

/// Carries a story out: at each minute so many findings; the lines of what is told.
fn told(book: &mut Book, context: &Context, story: &[(i64, Vec<Finding>)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (minute, findings) in story {
        for news in book.update(minute * MINUTE, findings, context) {
            let silent = if news.is_silenced { " (silent)" } else { "" };
            let incident = &news.incident;
            lines.push(format!(
                "{minute} #{} {} {}{silent}",
                incident.number,
                news.kind.word(),
                incident.subject
            ));
        }
    }
    lines
}

#[test]
fn one_incident_one_notification_and_one_at_its_end() {
    let findings = vec![urgent("web", "p95"), urgent("web", "errors")];
    let story =
        [(1, findings.clone()), (2, findings.clone()), (3, findings[..1].to_vec()), (4, vec![]), (5, vec![])];
    let mut book = Book::default();
    assert_eq!(told(&mut book, &shop(), &story), ["1 #1 opened shop/web", "4 #1 over shop/web"]);
    assert_eq!(book.get(1).expect("kept").sentence(), "shop/web: errors is 1.4 s, normal is 20 ms to 60 ms");
}

#[test]
fn what_calls_a_failed_dependency_is_part_of_its_incident() {
    let all = vec![
        urgent("web", "errors"),
        urgent("api", "errors"),
        urgent("db", "instances"),
        urgent("jobs", "errors"),
    ];
    let mut book = Book::default();
    assert_eq!(
        told(&mut book, &shop(), &[(1, all), (2, vec![])]),
        ["1 #1 opened shop/db", "2 #1 over shop/db"]
    );
    let suspects: Vec<String> = book.get(1).expect("kept").suspects().iter().map(|s| s.to_string()).collect();
    assert_eq!((suspects[0].as_str(), suspects.len()), ("shop/db", 3));
}

#[test]
fn a_dependency_that_is_found_later_takes_the_incident_over() {
    let first = vec![urgent("web", "errors")];
    let then = vec![urgent("web", "errors"), urgent("api", "errors"), urgent("db", "instances")];
    let mut book = Book::default();
    let story = [(1, first), (2, then.clone()), (3, then), (4, vec![])];
    let lines = told(&mut book, &shop(), &story);
    assert_eq!(lines, ["1 #1 opened shop/web", "2 #2 opened shop/db", "4 #2 over shop/db"]);
    assert_eq!(book.get(1).expect("kept").part_of, Some(2));
    assert_eq!(book.get(2).expect("kept").signals.len(), 3);
}

#[test]
fn services_that_have_nothing_to_do_with_each_other_are_two_incidents() {
    let all = vec![urgent("web", "cpu"), urgent("jobs", "cpu")];
    let mut book = Book::default();
    assert_eq!(told(&mut book, &Context::default(), &[(1, all)]).len(), 2);
}

#[test]
fn another_release_is_another_incident() {
    let mut second = urgent("web", "p95");
    second.release = Some(ReleaseId(4));
    second.signal = "errors".to_owned();
    let mut book = Book::default();
    let lines =
        told(&mut book, &shop(), &[(1, vec![urgent("web", "p95")]), (2, vec![urgent("web", "p95"), second])]);
    assert_eq!(lines, ["1 #1 opened shop/web", "2 #2 opened shop/web"]);
}

#[test]
fn flapping_is_damped() {
    let mut book = Book::default();
    let story: Vec<_> = (0..120)
        .map(|minute| (minute, if minute % 2 == 0 { vec![urgent("web", "p95")] } else { vec![] }))
        .collect();
    let lines = told(&mut book, &shop(), &story);
    assert!(lines.len() <= 4, "{lines:?}");
    let quiet: Vec<_> = (120..200).map(|minute| (minute, vec![])).collect();
    let over = told(&mut book, &shop(), &quiet);
    assert_eq!(over.len(), 1, "{over:?}");
}

#[test]
fn what_becomes_urgent_is_told_once_more() {
    let important = finding("web", "memory", Level::Important);
    let both = vec![important.clone(), urgent("web", "instances")];
    let mut book = Book::default();
    let lines = told(&mut book, &shop(), &[(1, vec![important]), (2, both.clone()), (3, both)]);
    assert_eq!(lines, ["1 #1 opened shop/web", "2 #1 worse shop/web"]);
}

#[test]
fn silence_covers_a_service_a_stack_or_a_signal_and_ends() {
    let mut book = Book::default();
    let silence = |subject, signal: Option<&str>| Silence {
        subject,
        signal: signal.map(str::to_owned),
        until_ms: 10 * MINUTE,
        by: "ada".to_owned(),
        why: String::new(),
    };
    assert!(book.silence(silence(Some(subject("web")), Some("p95")), 0));
    let lines = told(
        &mut book,
        &shop(),
        &[(1, vec![urgent("web", "p95")]), (2, vec![urgent("web", "p95"), urgent("api", "cpu")])],
    );
    assert_eq!(lines[0], "1 #1 opened shop/web (silent)");
    let whole = Subject { stack: Some(StackName::new("shop").expect("valid")), service: None };
    assert!(book.silence(silence(Some(whole), None), 0));
    assert_eq!(book.silences(0).count(), 2);
    assert_eq!(book.silences(11 * MINUTE).count(), 0);
}

#[test]
fn somebody_who_knows_is_written_down() {
    let mut book = Book::default();
    told(&mut book, &shop(), &[(1, vec![urgent("web", "p95")])]);
    let note = Note { by: "ada (cli)".to_owned(), at_ms: 2, why: String::new() };
    assert!(book.acknowledge(1, note.clone()) && !book.acknowledge(9, note));
    assert_eq!(book.get(1).and_then(|i| i.acknowledged.as_ref()).map(|n| n.by.as_str()), Some("ada (cli)"));
}

#[test]
fn there_are_limits_of_incidents_and_signals() {
    let many: Vec<Finding> = (0..300).map(|at| urgent(&format!("s{at}"), "cpu")).collect();
    let mut book = Book::default();
    book.update(MINUTE, &many, &Context::default());
    assert_eq!(book.open().count(), signals::incident::OPEN_MAX);
    let many: Vec<Finding> = (0..80).map(|at| urgent("web", &format!("signal {at}"))).collect();
    let mut book = Book::default();
    book.update(MINUTE, &many, &Context::default());
    let incident = book.get(1).expect("open");
    assert_eq!((incident.signals.len(), incident.more_signals), (50, 30));
    for round in 0..700i64 {
        let name = format!("t{round}");
        book.update((round * 2 + 2) * MINUTE, &[urgent(&name, "cpu")], &Context::default());
        book.update((round * 2 + 3) * MINUTE, &[], &Context::default());
    }
    assert!(book.all().count() <= signals::incident::CLOSED_KEPT);
}

#[test]
fn a_book_is_read_back_as_it_was_written() {
    let mut book = Book::default();
    told(
        &mut book,
        &shop(),
        &[(1, vec![urgent("web", "p95")]), (2, vec![]), (3, vec![urgent("db", "disk")])],
    );
    let text = serde_json::to_string(&book).expect("JSON");
    assert_eq!(serde_json::from_str::<Book>(&text).expect("read"), book);
    assert!(book.get(1).is_some_and(|incident| incident.closed_ms == Some(2 * MINUTE)));
    assert_eq!(NewsKind::Over.word(), "over");
}
