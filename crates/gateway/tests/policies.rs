//! A sick instance, and what others notice of it.

mod common;

use common::{Gateway, Instance, Raw, endpoint, eventually, status_of};
use model::service::Protocol::Http;
use model::traffic::{Breaker, Fault, Rate, RateKey, Retries, Timeouts, Trace, Traffic};
use model::{DurationMs, Percent};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A gateway before these instances, which are asked in this way.
fn asked(instances: &[&Instance], traffic: Traffic) -> (Gateway, SocketAddr) {
    let mut gateway = Gateway::with(|options| options.limits.response_header = Duration::from_secs(10));
    let addresses: Vec<SocketAddr> = instances.iter().map(|instance| instance.address).collect();
    let mut table = common::table(gateway.next_revision(), &[(Http, true, &addresses)]);
    let backend = table.backends.values_mut().next().expect("one was made");
    (backend.endpoints, backend.traffic) = (addresses.iter().map(|a| endpoint(*a)).collect(), traffic);
    let address = gateway.apply(&table).bound[0].1;
    (gateway, address)
}

fn get(address: SocketAddr) -> (u16, String) {
    let (head, body) =
        Raw::to(address).send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").response();
    (status_of(&head), body)
}

/// Answers 200 while it is well, with this status while it is not, and counts what it is asked.
struct Moody {
    instance: Instance,
    sick: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

fn moody(status: u16) -> Moody {
    let (sick, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (is_sick, count) = (sick.clone(), asked.clone());
    let instance = Instance::start(move |mut talk| {
        while talk.request().is_some() {
            count.fetch_add(1, SeqCst);
            let status = if is_sick.load(SeqCst) { status } else { 200 };
            talk.send(&format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\nmoody"));
        }
    });
    Moody { instance, sick, asked }
}

#[test]
fn an_instance_that_says_503_is_asked_elsewhere_then_left_alone_then_taken_back() {
    let (moody, well) = (moody(503), Instance::saying("well"));
    let traffic = Traffic {
        breaker: Breaker { pause: Some(DurationMs(300)), ..Breaker::default() },
        ..Traffic::default()
    };
    let (gateway, address) = asked(&[&moody.instance, &well], traffic);
    for _ in 0..60 {
        assert_eq!(get(address), (200, "well".into()), "{}", gateway.log());
    }
    let asked_sick = moody.asked.load(SeqCst);
    assert!((5..20).contains(&asked_sick), "five failures, then trials: {asked_sick}");
    moody.sick.store(false, SeqCst);
    let begun = Instant::now();
    eventually(|| get(address).1 == "moody");
    assert!(begun.elapsed() < Duration::from_secs(5));
    eventually(|| {
        let log = gateway.log();
        log.contains("fails again and again") && log.contains("answers again")
    });
}

#[test]
fn what_must_not_be_sent_twice_gets_the_answer_there_is() {
    let (moody, other) = (moody(503), self::moody(503));
    let traffic = Traffic { breaker: Breaker { off: true, ..Breaker::default() }, ..Traffic::default() };
    let (_gateway, address) = asked(&[&moody.instance, &other.instance], traffic);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (head, body) = Raw::to(address).send(post).response();
    assert_eq!((status_of(&head), body.as_str()), (503, "moody"), "it is the instance's own");
    assert_eq!(moody.asked.load(SeqCst) + other.asked.load(SeqCst), 1);
    // What may is sent to each of them, and then the last one's answer counts.
    assert_eq!(get(address), (503, "moody".into()));
    assert_eq!(moody.asked.load(SeqCst) + other.asked.load(SeqCst), 1 + 3);
}

#[test]
fn nothing_is_repeated_where_that_is_declared() {
    let (moody, other) = (moody(503), self::moody(503));
    let retries = Retries { attempts: Some(0), ..Retries::default() };
    let (_gateway, address) =
        asked(&[&moody.instance, &other.instance], Traffic { retries, ..Traffic::default() });
    assert_eq!(get(address), (503, "moody".into()));
    assert_eq!(moody.asked.load(SeqCst) + other.asked.load(SeqCst), 1);
}

#[test]
fn one_that_alone_hangs_is_left_alone_and_comes_back() {
    let hangs = Arc::new(AtomicBool::new(true));
    let state = hangs.clone();
    let hanging = Instance::start(move |mut talk| {
        while talk.request().is_some() {
            while state.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
        }
    });
    let well = Instance::saying("well");
    let stall = Some(DurationMs(300));
    let breaker = Breaker { stall, pause: Some(DurationMs(300)), ..Breaker::default() };
    let (gateway, address) = asked(&[&hanging, &well], Traffic { breaker, ..Traffic::default() });
    // With nobody to choose between by load, half of these hang.
    let mut many: Vec<Raw> = (0..16).map(|_| Raw::to(address)).collect();
    for client in &mut many {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    eventually(|| {
        get_within(address, Duration::from_secs(2));
        gateway.log().contains("alone does not answer")
    });
    for _ in 0..50 {
        assert_eq!(get(address), (200, "well".into()), "a trial that hangs is repeated elsewhere");
    }
    hangs.store(false, SeqCst);
    for mut client in many {
        assert_eq!(status_of(&client.response().0), 200, "slow work was not cut");
    }
    eventually(|| get(address).1 == "back");
}

/// An answer in time, if there is one.
fn get_within(address: SocketAddr, limit: Duration) -> Option<u16> {
    let mut client = Raw::to(address);
    client.stream.set_read_timeout(Some(limit)).expect("an option");
    let all = client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").all();
    (!all.is_empty()).then(|| status_of(&all))
}

#[test]
fn times_are_the_services_own() {
    let slow = Instance::start(|mut talk| while talk.request().is_some() {});
    let timeouts = Timeouts { response: Some(DurationMs(300)), ..Timeouts::default() };
    let (_gateway, address) = asked(&[&slow], Traffic { timeouts, ..Traffic::default() });
    let begun = Instant::now();
    let (status, body) = get(address);
    assert_eq!(status, 504, "{body}");
    assert!((Duration::from_millis(200)..Duration::from_secs(5)).contains(&begun.elapsed()));
}

#[test]
fn rates_are_kept_by_key_and_said() {
    let well = Instance::saying("well");
    let (key, per) = (RateKey::Header("x-key".into()), DurationMs(3_600_000));
    let rates = vec![Rate { key, requests: 2, per, burst: 3 }];
    let (mut gateway, address) = asked(&[&well], Traffic { rates: rates.clone(), ..Traffic::default() });
    let ask = |key: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\nConnection: close\r\n\r\n");
        Raw::to(address).send(request).response().0
    };
    for key in ["a", "b"] {
        let passed = (0..5).filter(|_| status_of(&ask(key)) == 200).count();
        assert_eq!(passed, 3, "{key}");
    }
    let refused = ask("a");
    assert!(refused.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{refused}");
    let retry = refused.split("Retry-After: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let seconds: u64 = retry.and_then(|text| text.parse().ok()).expect("a number of seconds");
    assert!((1700..=1800).contains(&seconds), "{seconds}");
    // Another table with the same rates goes on counting.
    let mut table = common::table(gateway.next_revision(), &[(Http, true, &[well.address])]);
    table.backends.values_mut().next().expect("one").traffic.rates = rates;
    gateway.apply(&table);
    assert_eq!(status_of(&ask("a")), 429);
}

#[test]
fn disturbances_delay_and_answer_a_share() {
    let well = Instance::saying("well");
    let share = |text: &str| Percent::parse(text).expect("a share");
    let faults = vec![
        Fault { share: share("100%"), delay: Some(DurationMs(60)), status: None },
        Fault { share: share("50%"), delay: None, status: Some(418) },
    ];
    let (_gateway, address) = asked(&[&well], Traffic { faults, ..Traffic::default() });
    let begun = Instant::now();
    let answers: Vec<u16> = (0..60).map(|_| get(address).0).collect();
    assert!(begun.elapsed() >= Duration::from_millis(60 * 60));
    let disturbed = answers.iter().filter(|status| **status == 418).count();
    // Seven standard deviations of 30 ± 3.9.
    assert!((3..58).contains(&disturbed), "{disturbed}");
    assert_eq!(answers.len(), disturbed + answers.iter().filter(|status| **status == 200).count());
}

/// What the instance is asked with these fields of trace contexts.
fn traced(traffic: Traffic, fields: &str) -> (Vec<String>, Gateway) {
    let (seen, asked_with) = std::sync::mpsc::channel();
    let instance = Instance::start(move |mut talk| {
        while let Some(head) = talk.request() {
            let lines = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("trace"));
            let _ = seen.send(lines.map(str::to_ascii_lowercase).collect::<Vec<_>>());
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let (gateway, address) = asked(&[&instance], traffic);
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
    assert_eq!(status_of(&Raw::to(address).send(request).response().0), 200);
    (asked_with.recv_timeout(common::PATIENCE).expect("it was asked"), gateway)
}

#[test]
fn trace_contexts_pass_when_they_are_valid_and_are_made_when_not() {
    const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let given = format!("{PARENT}\r\nTracestate: a=1\r\n");
    let (seen, _) = traced(Traffic::default(), &given);
    assert_eq!(seen, ["tracestate: a=1", PARENT]);
    for fields in ["", "Tracestate: a=1\r\n", "Traceparent: 00-x\r\ntracestate: a=1\r\n"] {
        let (seen, _) = traced(Traffic::default(), fields);
        let [made] = seen.as_slice() else { panic!("{fields:?}: {seen:?}") };
        assert_eq!((made.len(), &made[..16], &made[65..]), (68, "traceparent: 00-", "-01"), "{fields:?}");
    }
    let twice = format!("{PARENT}\r\n{PARENT}\r\n");
    assert_ne!(traced(Traffic::default(), &twice).0, [PARENT], "of two nobody knows which counts");
    let trace = Trace { off: true, sampled: None };
    let (seen, _) = traced(Traffic { trace, ..Traffic::default() }, "Traceparent: 00-X\r\n");
    assert_eq!(seen, ["traceparent: 00-x"], "nothing is done where that is declared");
}

#[test]
fn the_access_record_names_the_trace() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("access.log");
    let mut gateway = Gateway::with(|options| options.access_log = Some(path.clone()));
    let well = Instance::saying("well");
    let address = gateway.serve(&[(Http, true, &[well.address])])[0];
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let fields = format!("traceparent: 00-{id}-00f067aa0ba902b7-01\r\nConnection: close\r\n");
    Raw::to(address).send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).response();
    let expect = format!("\"trace\":\"{id}\"");
    eventually(|| std::fs::read_to_string(&path).unwrap_or_default().contains(&expect));
}
