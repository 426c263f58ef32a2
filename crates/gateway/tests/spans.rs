//! Spans of the gateway itself: what asks to be recorded, and what fails, is; the rest costs nothing.

mod common;

use common::{Gateway, Instance, Raw, eventually, status_of};
use gateway::wire::{Caller, PassedSpan};
use model::service::Protocol::Http;
use model::traffic::Trace;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Answers 500 below `/fail`, else 200, and both with the context it was asked with.
fn telling() -> Instance {
    Instance::start(|mut talk| {
        while let Some(head) = talk.request() {
            let context = head.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap_or("none");
            let status = if head.starts_with("GET /fail") { 500 } else { 200 };
            talk.send(&format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{context}", context.len()));
        }
    })
}

/// The context that the instance saw.
fn ask(client: &mut Raw, path: &str, fields: &str) -> String {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).response().1
}

fn taken(gateway: &mut Gateway, count: u64) -> Vec<PassedSpan> {
    eventually(|| gateway.status().spans.waiting == count);
    gateway.wait(async |client| client.spans().await.expect("the gateway answers"))
}

#[test]
fn what_asks_to_be_recorded_is_and_stands_between_caller_and_service() {
    let instance = telling();
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    let seen = ask(&mut client, "/cart?secret=1", &format!("traceparent: 00-{ID}-{PARENT}-01\r\n"));
    let made = ask(&mut client, "/", "");
    let spans = taken(&mut gateway, 2);
    let [passed, root] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((passed.trace.as_str(), passed.parent.as_deref()), (ID, Some(PARENT)));
    assert_eq!(seen, format!("00-{ID}-{}-01", passed.span), "the service's parent is the gateway's span");
    assert_eq!((passed.method.as_str(), passed.path.as_str(), passed.status), ("GET", "/cart", 200));
    assert_eq!((passed.backend.as_str(), &passed.caller, passed.failed), ("t/0:1", &Caller::Host, false));
    assert_eq!(passed.instance, Some(format!("i{}", instance.address.port())));
    assert!(passed.first_byte_us.is_some_and(|us| us <= passed.duration_us), "{passed:?}");
    assert_eq!(root.parent, None);
    assert_eq!(made, format!("00-{}-{}-01", root.trace, root.span));
    assert_eq!(taken(&mut gateway, 0), [], "they are taken once");
    assert_eq!(gateway.status().spans.recorded, 2);
}

#[test]
fn what_does_not_ask_passes_as_it_is_and_is_recorded_when_it_fails() {
    let instance = telling();
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    let context = format!("00-{ID}-{PARENT}-00");
    let fields = format!("traceparent: {context}\r\n");
    assert_eq!(ask(&mut client, "/", &fields), context);
    assert_eq!(ask(&mut client, "/fail", &fields), context);
    let spans = taken(&mut gateway, 1);
    assert_eq!(
        (spans[0].path.as_str(), spans[0].failed, spans[0].parent.as_deref()),
        ("/fail", true, Some(PARENT))
    );
    assert_ne!(spans[0].span, PARENT);
    // Of a second only so many.
    for _ in 0..200 {
        ask(&mut client, "/fail", &fields);
    }
    let recorded = gateway.status().spans.recorded;
    assert!((2..=100).contains(&recorded), "{recorded}");
}

#[test]
fn nothing_is_recorded_where_contexts_are_left_alone() {
    let instance = telling();
    let mut gateway = Gateway::start();
    let mut table = common::table(gateway.next_revision(), &[(Http, true, &[instance.address])]);
    let backend = table.backends.get_mut("t/0:1").expect("it is there");
    backend.traffic.trace = Trace { off: true, sampled: None };
    let address = gateway.apply(&table).bound[0].1;
    let mut client = Raw::to(address);
    let context = format!("00-{ID}-{PARENT}-01");
    assert_eq!(ask(&mut client, "/fail", &format!("traceparent: {context}\r\n")), context);
    assert_eq!(status_of(&client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().0), 200);
    assert_eq!(gateway.status().spans.recorded, 0);
}

#[test]
fn many_requests_leave_few_spans() {
    let instance = telling();
    let mut gateway = Gateway::start();
    let address = gateway.serve(&[(Http, true, &[instance.address])])[0];
    let mut client = Raw::to(address);
    for _ in 0..3000 {
        ask(&mut client, "/", "");
    }
    let counts = gateway.status().spans;
    assert!(counts.recorded < 1000 && counts.lost == 0, "{counts:?}");
}
