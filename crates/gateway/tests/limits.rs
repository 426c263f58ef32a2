//! A service that takes only so many requests at a time, and those that have to wait or to go.

mod common;

use common::{Gateway, Instance, Raw, endpoint, eventually, status_of};
use model::DurationMs;
use model::service::Protocol::Http;
use model::traffic::{Limit, Priority, PriorityFrom, Queue, Traffic};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Answers only what it is allowed to, and knows how many requests it had at a time, and which.
struct Gated {
    instance: Instance,
    open: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
    order: Arc<Mutex<Vec<String>>>,
}

fn gated() -> Gated {
    let (open, now, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::default());
    let order = Arc::<Mutex<Vec<String>>>::default();
    let (is_open, highest, seen): (_, Arc<AtomicUsize>, _) = (open.clone(), Arc::clone(&most), order.clone());
    let instance = Instance::start(move |mut talk| {
        while let Some(head) = talk.request() {
            highest.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            seen.lock().expect("no panic").push(path);
            while !is_open.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            now.fetch_sub(1, SeqCst);
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    Gated { instance, open, most, order }
}

fn serve(gateway: &mut Gateway, public: bool, instances: &[SocketAddr], traffic: &Traffic) -> SocketAddr {
    let mut table = common::table(gateway.next_revision(), &[(Http, public, instances)]);
    let backend = table.backends.values_mut().next().expect("one was made");
    backend.endpoints = instances.iter().map(|address| endpoint(*address)).collect();
    backend.traffic = traffic.clone();
    gateway.apply(&table).bound[0].1
}

fn limited(limit: u32, size: u32, timeout_ms: u64) -> Traffic {
    let queue = Queue { size: Some(size), timeout: Some(DurationMs(timeout_ms)) };
    Traffic { limit: Some(Limit::Fixed(limit)), queue, ..Traffic::default() }
}

fn patient() -> Gateway {
    Gateway::with(|options| options.limits.response_header = Duration::from_secs(15))
}

fn ask(address: SocketAddr, path: &str, fields: &str) -> Raw {
    let mut client = Raw::to(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n"));
    client
}

fn waiting(gateway: &mut Gateway) -> u64 {
    gateway.status().backends[0].queue.clone().unwrap_or_default().waiting
}

#[test]
fn an_instance_never_has_more_than_its_limit_and_all_are_served_in_order() {
    let gated = gated();
    let mut gateway = patient();
    let address = serve(&mut gateway, true, &[gated.instance.address], &limited(1, 40, 15_000));
    let mut clients = Vec::new();
    for number in 0..30 {
        clients.push(ask(address, &format!("/{number}"), ""));
        let begun = u64::from(number > 0) * number;
        eventually(|| waiting(&mut gateway) == begun);
    }
    gated.open.store(true, SeqCst);
    for client in &mut clients {
        assert_eq!(status_of(&client.response().0), 200, "{}", gateway.log());
    }
    assert_eq!(gated.most.load(SeqCst), 1);
    let expect: Vec<String> = (0..30).map(|number| format!("/{number}")).collect();
    assert_eq!(*gated.order.lock().expect("no panic"), expect);
    let status = gateway.status().backends[0].clone();
    let queue = status.queue.expect("there is a limit");
    assert_eq!((queue.waited, queue.waiting, queue.full, queue.late), (29, 0, 0, 0));
    assert_eq!(status.endpoints[0].limit, Some(1));
}

#[test]
fn a_full_queue_and_a_late_turn_are_said_and_who_leaves_makes_room() {
    let gated = gated();
    let mut gateway = patient();
    let address = serve(&mut gateway, true, &[gated.instance.address], &limited(1, 2, 1500));
    let mut first = ask(address, "/first", "");
    eventually(|| gated.most.load(SeqCst) == 1);
    let mut late = ask(address, "/late", "");
    let begun = Instant::now();
    let leaves = ask(address, "/leaves", "");
    eventually(|| waiting(&mut gateway) == 2);
    let (head, body) = ask(address, "/full", "").response();
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nRetry-After: 1\r\n"), "{head}");
    assert!(body.contains("too many requests wait for this service"), "{body}");
    drop(leaves);
    eventually(|| waiting(&mut gateway) == 1);
    let (head, body) = late.response();
    assert!(
        status_of(&head) == 503 && body.contains("no instance had room for the request in time"),
        "{body}"
    );
    assert!((Duration::from_millis(1400)..Duration::from_secs(10)).contains(&begun.elapsed()));
    gated.open.store(true, SeqCst);
    assert_eq!(status_of(&first.response().0), 200);
    assert_eq!(status_of(&ask(address, "/after", "").response().0), 200);
    let queue = gateway.status().backends[0].queue.clone().expect("there is a limit");
    assert_eq!((queue.full, queue.late, queue.waiting), (1, 1, 0));
    assert!(!gated.order.lock().expect("no panic").contains(&"/leaves".to_owned()));
}

#[test]
fn a_new_instance_and_another_limit_take_those_that_wait() {
    let (busy, helper) = (gated(), gated());
    helper.open.store(true, SeqCst);
    let mut gateway = patient();
    let address = serve(&mut gateway, true, &[busy.instance.address], &limited(1, 10, 15_000));
    let first = ask(address, "/first", "");
    eventually(|| busy.most.load(SeqCst) == 1);
    let mut second = ask(address, "/second", "");
    eventually(|| waiting(&mut gateway) == 1);
    let both = [busy.instance.address, helper.instance.address];
    serve(&mut gateway, true, &both, &limited(1, 10, 15_000));
    assert_eq!(status_of(&second.response().0), 200, "by the new instance");
    serve(&mut gateway, true, &[busy.instance.address], &limited(2, 10, 15_000));
    let third = ask(address, "/third", "");
    eventually(|| busy.most.load(SeqCst) == 2);
    busy.open.store(true, SeqCst);
    for mut client in [first, third] {
        assert_eq!(status_of(&client.response().0), 200);
    }
}

#[test]
fn the_lower_priority_goes_first_and_a_field_is_believed_inside_alone() {
    let gated = gated();
    let mut gateway = patient();
    let mut traffic = limited(1, 4, 15_000);
    traffic.priority = Some(PriorityFrom::Header("x-priority".into()));
    let inside = serve(&mut gateway, false, &[gated.instance.address], &traffic);
    let mut first = ask(inside, "/first", "");
    eventually(|| gated.most.load(SeqCst) == 1);
    let mut clients = Vec::new();
    for (number, priority) in ["low", "low", "normal", "normal"].into_iter().enumerate() {
        clients.push(ask(inside, &format!("/{priority}{number}"), &format!("X-Priority: {priority}\r\n")));
        eventually(|| waiting(&mut gateway) == number as u64 + 1);
    }
    let (head, body) = ask(inside, "/", "X-Priority: low\r\n").response();
    assert!(status_of(&head) == 503 && body.contains("too many requests wait"), "{body}");
    let mut high = ask(inside, "/high", "X-Priority: high\r\n");
    let (head, body) = clients[1].response();
    assert!(status_of(&head) == 503 && body.contains("others go first"), "{body}");
    gated.open.store(true, SeqCst);
    assert_eq!(status_of(&high.response().0), 200);
    for at in [0, 2, 3] {
        assert_eq!(status_of(&clients[at].response().0), 200);
    }
    first.response();
    let order = gated.order.lock().expect("no panic").clone();
    assert_eq!(order, ["/first", "/high", "/normal2", "/normal3", "/low0"]);
    assert_eq!(gateway.status().backends[0].queue.clone().expect("a limit").shed, [1, 0, 0]);
    assert_eq!(Priority::parse(b"HIGH"), Some(Priority::High));
}

#[test]
fn a_limit_that_finds_itself_holds_slow_instances_back() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (under_way, highest) = (now.clone(), most.clone());
    let instance = Instance::start(move |mut talk| {
        while talk.request().is_some() {
            let count = under_way.fetch_add(1, SeqCst) + 1;
            highest.fetch_max(count, SeqCst);
            // Slower the more it has at a time, as what works on one thing at a time is.
            std::thread::sleep(Duration::from_millis(2 * count as u64));
            under_way.fetch_sub(1, SeqCst);
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut gateway = patient();
    let limit = Some(Limit::Adaptive { min: Some(2), max: Some(30) });
    let address = serve(&mut gateway, true, &[instance.address], &Traffic { limit, ..Traffic::default() });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let mut client = Raw::to(address);
                while !stop.load(SeqCst) {
                    let status = status_of(&client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().0);
                    assert!(status == 200 || status == 503, "{status}");
                }
            });
        }
        let begun = Instant::now();
        let limit_now = |gateway: &mut Gateway| gateway.status().backends[0].endpoints[0].limit;
        let mut seen = limit_now(&mut gateway);
        while seen == Some(20) && begun.elapsed() < common::PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
            seen = limit_now(&mut gateway);
        }
        stop.store(true, SeqCst);
        assert!(seen.is_some_and(|limit| (2..=30).contains(&limit) && limit != 20), "{seen:?}");
    });
    assert!(most.load(SeqCst) <= 30);
}
