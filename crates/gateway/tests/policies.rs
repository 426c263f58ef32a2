//! A sick instance, and what others notice of it.

mod common;

use common::{Gateway, Instance, Raw, endpoint, eventually, status_of};
use model::service::Protocol::Http;
use model::traffic::{Breaker, Fault, Rate, RateKey, Retries, Timeouts, Traffic};
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
