//! `x-juchu.gateway`: routes.

mod support;

use model::gateway::{Route, RouteAction};
use model::rule::{PathMatch, Redirect, Sticky};
use model::subnet::Cidr;
use model::traffic::{Compression, Limit, Priority, PriorityFrom, ProxyVersion, Rate, RateKey};
use model::{Bytes, DurationMs};
use support::{Project, service, with_keys};

fn routes(yaml: &str) -> Vec<Route> {
    service(&format!("ports: ['8080:80', '9000']\nx-juchu:\n  gateway:\n    routes:\n{yaml}"))
        .policy
        .gateway
        .routes
}

#[test]
fn a_route_says_whom_it_takes_and_what_is_done() {
    let routes = routes(
        "      - {host: Shop.example.org, path: /api, method: get, headers: {X-Beta: 'yes', X-Any: true}, port: 90}
      - {host: [a.example, '*.b.example'], path: {exact: /x}, method: [GET, post], listen: '127.0.0.1:81'}
      - {host: old.example, redirect: {host: 'new.example:444', scheme: https}}
      - {path: /gone, answer: {status: 410, body: away}}
      - {path: /v1, rewrite: {prefix: /, host: inside}, request_headers: {set: {X-By: gateway}, remove: X-Secret},
         response_headers: {remove: [Server]}, to: [{service: a, weight: 9}, {service: a, port: 91}], sticky: {cookie: id}}",
    );
    assert_eq!((routes[0].hosts[0].as_str(), routes[0].path.text()), ("shop.example.org", "/api"));
    assert_eq!(routes[0].methods, ["GET"]);
    assert_eq!(routes[0].headers["x-beta"].as_deref(), Some("yes"));
    assert_eq!(routes[0].headers["x-any"], None);
    let RouteAction::Forward { to, .. } = &routes[0].action else { panic!("{:?}", routes[0]) };
    assert_eq!((to[0].service.as_str(), to[0].port, to[0].weight), ("a", Some(90), 1));
    assert_eq!(routes[1].path, PathMatch::Exact("/x".into()));
    assert_eq!(routes[1].methods, ["GET", "POST"]);
    assert_eq!(routes[1].listen.map(|listen| listen.to_string()).as_deref(), Some("127.0.0.1:81"));
    let (scheme, host) = (Some("https".into()), Some("new.example:444".into()));
    assert_eq!(
        routes[2].action,
        RouteAction::Redirect(Redirect { status: 308, scheme, host, ..Redirect::default() })
    );
    assert_eq!(routes[3].action, RouteAction::Answer { status: 410, body: "away".into() });
    let edits = &routes[4].edits;
    assert_eq!((edits.prefix.as_deref(), edits.host.as_deref()), (Some("/"), Some("inside")));
    assert_eq!(
        (edits.request.set["x-by"].as_str(), edits.request.remove[0].as_str()),
        ("gateway", "x-secret")
    );
    let RouteAction::Forward { to, sticky } = &routes[4].action else { panic!("{:?}", routes[4]) };
    assert_eq!((to[0].weight, to[1].port, sticky), (9, Some(91), &Some(Sticky::Cookie("id".into()))));
}

#[test]
fn tls_may_be_spoken_strictly() {
    let keys = |text: &str| format!("ports: ['443:80']\nx-juchu: {{tls: {{from: internal, hsts: {text}}}}}");
    let hsts = |text: &str| service(&keys(text)).policy.tls.expect("it is declared").hsts;
    assert_eq!((hsts("true").as_deref(), hsts("false")), (Some("max-age=15552000"), None));
    assert_eq!(hsts("{max_age: 1h, subdomains: true}").as_deref(), Some("max-age=3600; includeSubDomains"));
    let all = "{max_age: 8760h, subdomains: true, preload: true}";
    assert_eq!(hsts(all).as_deref(), Some("max-age=31536000; includeSubDomains; preload"));
    let said = with_keys(&keys("{preload: true}")).refused();
    assert!(said.contains("`preload` is for all names below and for a year at least; hint: add"), "{said}");
}

#[test]
fn files_are_seen_from_the_directory_of_the_compose_file() {
    let directory = |text: &str| match &routes(&format!("      - {{path: /static, files: {text}}}"))[0].action
    {
        RouteAction::Files { directory } => directory.clone(),
        other => panic!("{other:?}"),
    };
    assert!(directory("./public").ends_with("/public"), "{}", directory("./public"));
    assert_eq!(directory("/srv/public"), "/srv/public");
    let said = |route: &str| with_keys(&format!("x-juchu: {{gateway: {{routes: [{route}]}}}}")).refused();
    for (route, expect) in [
        ("{files: ''}", "`files` names no directory; hint: write `files: ./public`"),
        ("{files: ./a, to: a}", "a route has `to` or `files`, not both"),
        ("{files: [a]}", "files"),
    ] {
        let said = said(route);
        assert!(said.contains(expect) && said.contains("compose.yaml:4:"), "{route}: {said}");
    }
}

#[test]
fn routes_are_listened_for_where_the_service_publishes_or_on_port_80() {
    let listens = |keys: &str| {
        let service = service(keys);
        let route = service.policy.gateway.routes[0].clone();
        service.listens_for(&route).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(listens("x-juchu: {gateway: {routes: [{host: a}]}}"), ["0.0.0.0:80"]);
    let published =
        "ports: ['127.0.0.1:8080:80', '53:53/udp', '9000']\nx-juchu: {gateway: {routes: [{host: a}]}}";
    assert_eq!(listens(published), ["127.0.0.1:8080"]);
    assert_eq!(listens("ports: ['8080:80']\nx-juchu: {gateway: {routes: [{listen: 81}]}}"), ["0.0.0.0:81"]);
    let secured = |tls: &str| format!("x-juchu: {{tls: {tls}, gateway: {{routes: [{{host: a}}]}}}}");
    assert_eq!(listens(&secured("internal")), ["0.0.0.0:80", "0.0.0.0:443"]);
    let ports = service(&secured("{from: internal, ports: [443]}")).policy.tls.expect("it is declared").ports;
    assert_eq!(ports, [443]);
    let said = with_keys(&secured("{from: internal, ports: [444]}")).refused();
    assert!(said.contains("`444` in `x-juchu.tls.ports` is no published TCP port"), "{said}");
}

#[test]
fn how_instances_are_asked_is_declared() {
    let traffic = service(
        "x-juchu:
  gateway:
    timeouts: {connect: 500ms, response: 5s, idle: 1m}
    retries: {attempts: 1, on: [503], budget: 10%}
    breaker: {failures: 3, pause: 2s, stall: 800ms}
    rates: [{limit: 10/s}, {limit: 600/m, burst: 20, key: {header: X-Key}}, {limit: 5/h, key: all}]
    faults: [{share: 5%, delay: 200ms}, {share: 1%, status: 503}]",
    )
    .policy
    .gateway
    .traffic;
    assert_eq!(traffic.timeouts.response, Some(DurationMs(5000)));
    assert_eq!((traffic.retries.attempts, traffic.retries.on), (Some(1), Some(vec![503])));
    assert_eq!((traffic.breaker.failures, traffic.breaker.stall), (Some(3), Some(DurationMs(800))));
    let rate = |key, requests, per, burst| Rate { key, requests, per: DurationMs(per), burst };
    assert_eq!(
        traffic.rates,
        [
            rate(RateKey::Client, 10, 1000, 10),
            rate(RateKey::Header("x-key".into()), 600, 60_000, 20),
            rate(RateKey::All, 5, 3_600_000, 5),
        ]
    );
    assert_eq!((traffic.faults[0].delay, traffic.faults[1].status), (Some(DurationMs(200)), Some(503)));
    let compression = |text: &str| {
        service(&format!("x-juchu: {{gateway: {{compression: {text}}}}}")).policy.gateway.traffic.compression
    };
    assert_eq!((compression("false"), compression("true")), (None, Some(Compression::default())));
    let types = vec!["text/*".to_owned(), "application/json".to_owned()];
    let expect = Compression { types, min_size: Some(Bytes(2048)) };
    assert_eq!(compression("{types: [text/*, Application/JSON], min_size: 2k}"), Some(expect));
    let mirror = |text: &str| {
        let project = Project::new(&format!(
            "services:\n  a: {{image: a, x-juchu: {{gateway: {{mirror: {text}}}}}}}\n  b: {{image: b}}"
        ));
        project.clean().services["a"].policy.gateway.mirror.clone().expect("it is declared")
    };
    let some = mirror("{to: b, port: 81, share: 5%}");
    assert_eq!((some.to.as_str(), some.port, some.share.get()), ("b", Some(81), 5));
    assert_eq!(mirror("{to: b}").share.get(), 100);
    let trace = |text: &str| {
        service(&format!("x-juchu: {{gateway: {{trace: {text}}}}}")).policy.gateway.traffic.trace
    };
    assert_eq!((trace("false").off, trace("true").off), (true, false));
    assert_eq!(trace("{sampled: 10%}").sampled.map(|share| share.get()), Some(10));
    assert!(service("x-juchu: {gateway: {breaker: off}}").policy.gateway.traffic.breaker.off);
    let said = |keys: &str| with_keys(&format!("x-juchu: {{gateway: {{{keys}}}}}")).refused();
    for (keys, expect) in [
        ("timeouts: {connect: 0s}", "`connect` cannot be no time at all"),
        ("retries: {attempts: 9}", "`attempts` can be 5 at most"),
        ("retries: {on: [200]}", "the status cannot be 200 here; hint: use 500 to 599"),
        ("retries: {budget: 0}", "`budget`: "),
        ("breaker: {failures: 0}", "`failures` must be 1 at least"),
        ("breaker: on", "breaker"),
        ("rates: [{limit: '10'}]", "`limit`: `10` is not a rate; write it as 100/s"),
        ("rates: [{limit: 0/s}]", "`0/s` is not a rate"),
        ("rates: [{burst: 3}]", "needs `limit`"),
        ("rates: [{limit: 1/s, key: {header: 'a b'}}]", "`a b` is not the name of a header field"),
        ("faults: [{share: 5%}]", "this disturbance does nothing; hint: give it a `delay` or a `status`"),
        ("faults: [{share: 200%, delay: 1s}]", "`share`: "),
        ("faults: [{share: 5%, delay: 5m}]", "a `delay` can be 60s at most"),
        ("mirror: {share: 5%}", "needs `to`"),
        ("mirror: {to: b}", "requests are mirrored to `b`, which is not a service here; hint: copies go to"),
        ("mirror: {to: a}", "a service cannot be sent its own requests twice"),
        ("mirror: {to: b, share: 0}", "`share`: "),
        ("compression: {types: html}", "`html` is not a type of content; hint: write text/html, or text/*"),
        ("compression: {types: ['*/*']}", "`*/*` is not a type of content"),
        ("compression: {min_size: much}", "`min_size`: "),
        ("trace: {sampled: 0}", "`sampled`: "),
        ("trace: {share: 1%}", "unknown key `share`"),
        ("timeout: {}", "unknown key `timeout`; hint: did you mean `timeouts`?"),
    ] {
        let said = said(keys);
        assert!(said.contains(expect) && said.contains("compose.yaml:4:"), "{keys}: {said}");
    }
}

#[test]
fn how_much_at_a_time_is_declared() {
    let traffic = |keys: &str| service(&format!("x-juchu: {{gateway: {{{keys}}}}}")).policy.gateway.traffic;
    let some = traffic("limit: 50, queue: {size: 20, timeout: 2s}, priority: high");
    assert_eq!(some.limit, Some(Limit::Fixed(50)));
    assert_eq!((some.queue.size, some.queue.timeout), (Some(20), Some(DurationMs(2000))));
    assert_eq!(some.priority, Some(PriorityFrom::Fixed(Priority::High)));
    let some = traffic("limit: adaptive, queue: off, priority: {header: X-Priority}");
    assert_eq!((some.limit, some.queue.size), (Some(Limit::Adaptive { min: None, max: None }), Some(0)));
    assert_eq!(some.priority, Some(PriorityFrom::Header("x-priority".into())));
    let bounds = Limit::Adaptive { min: Some(2), max: Some(80) };
    assert_eq!(traffic("limit: {min: 2, max: 80}").limit, Some(bounds));
    assert_eq!(routes("      - {path: /reports, priority: low}")[0].priority, Some(Priority::Low));
    let said = |keys: &str| with_keys(&format!("x-juchu: {{gateway: {{{keys}}}}}")).refused();
    for (keys, expect) in [
        ("limit: 0", "`limit` cannot be `0`; hint: write how many requests an instance may have at a time"),
        ("limit: adaptiv", "`limit` cannot be `adaptiv`; hint: write how many"),
        ("limit: {min: 9, max: 3}", "`min` is 9 and `max` only 3"),
        ("limit: {max: 0}", "`max` must be 1 at least"),
        (
            "queue: {size: 3}",
            "a `queue` without a `limit` has nobody who waits; hint: give the service a `limit`",
        ),
        ("limit: 1, queue: {size: 20000}", "the `size` of a queue can be 10000 at most"),
        ("limit: 1, queue: {timeout: 1h}", "nobody can wait for longer than 5m"),
        ("limit: 1, queue: {timeout: 0s}", "`timeout` cannot be no time at all"),
        ("priority: urgent", "priority"),
        ("priority: {header: 'a b'}", "`a b` is not the name of a header field"),
        ("routes: [{priority: urgent}]", "priority"),
    ] {
        let said = said(keys);
        assert!(said.contains(expect) && said.contains("compose.yaml:4:"), "{keys}: {said}");
    }
}

#[test]
fn who_says_for_whom_it_speaks_is_declared() {
    let proxy = |keys: &str| {
        let keys =
            format!("ports: ['443:80', '81:81']\nx-juchu: {{gateway: {{proxy_protocol: {{{keys}}}}}}}");
        service(&keys).policy.gateway.proxy
    };
    let some = proxy("accept: true, from: [10.0.0.0/8, 192.0.2.7]");
    let from = ["10.0.0.0/8", "192.0.2.7/32"].map(|text| Cidr::parse(text).expect("a subnet"));
    assert_eq!(some.accepts(443), Some(from.to_vec()));
    let some = proxy("accept: [443], send: true");
    assert_eq!((some.accepts(443), some.accepts(81)), (Some(Vec::new()), None));
    assert_eq!(
        (some.sends(80), proxy("send: v1").sends(80)),
        (Some(ProxyVersion::V2), Some(ProxyVersion::V1))
    );
    let some = proxy("send: {'81': v1}");
    assert_eq!((some.sends(80), some.sends(81)), (None, Some(ProxyVersion::V1)));
    let said = |keys: &str| {
        with_keys(&format!("x-juchu: {{gateway: {{proxy_protocol: {{{keys}}}}}}}\nports: ['443:80']"))
            .refused()
    };
    for (keys, expect) in [
        ("", "`proxy_protocol` says nothing; hint: add `accept: true`"),
        ("accept: [444]", "444 in `accept` is no published TCP port; hint: name host ports"),
        ("accept: true, from: 10.0.0.0/99", "`10.0.0.0/99` is not a subnet"),
        ("from: 10.0.0.0/8", "`from` says who is believed, but nobody is asked; hint: add `accept: true`"),
        ("send: v3", "`v3` is no version of the PROXY protocol; write v1 or v2"),
        ("send: {web: v2}", "`web` is not a port of the container"),
        ("send: {'80': v3}", "v3"),
    ] {
        let said = said(keys);
        assert!(said.contains(expect) && said.contains("compose.yaml:4:"), "{keys}: {said}");
    }
}

#[test]
fn what_is_wrong_with_a_route_is_said_at_its_place() {
    let said = |route: &str| with_keys(&format!("x-juchu: {{gateway: {{routes: [{{{route}}}]}}}}")).refused();
    for (route, expect) in [
        (
            "host: 'http://a'",
            "`http://a` is not the name of a host; hint: write the name alone; paths have `path`",
        ),
        ("host: 'a:80'", "hint: write the name alone; ports have `listen`"),
        ("host: '*'", "hint: leave `host` away for every host"),
        ("host: 'a.*.b'", "hint: write shop.example.org, or *.example.org for every name below it"),
        ("path: api", "`api` is not the path of a request; hint: begin it with /"),
        ("path: /a/../b", "hint: write it without `//`, `.` and `..`"),
        ("path: '/a?b'", "hint: leave away what follows the path"),
        ("path: {exact: /a, prefix: /b}", "a path is either `exact` or a `prefix`"),
        ("method: 'G T'", "`G T` is not a method"),
        ("headers: {'a b': c}", "`a b` is not the name of a header field"),
        ("listen: 70000", "`70000` is not an address to listen on; hint: write a port such as 8080"),
        (
            "to: b",
            "the route leads to `b`, which is not a service here; hint: routes lead to services of the same stack",
        ),
        ("to: a, redirect: {scheme: https}", "a route has `to` or `redirect`, not both"),
        ("redirect: {status: 301}", "a redirect to the same address would go round in circles"),
        ("redirect: {host: a, status: 304}", "304 is no redirect; hint: use 301, 302, 303, 307 or 308"),
        ("answer: {status: 99}", "`status` cannot be 99; hint: use 200 to 599"),
        ("answer: {body: x}", "needs `status`"),
        ("sticky: {cookie: a, header: b}", "`sticky` does not say by what"),
        (
            "request_headers: {set: {Host: a}}",
            "the header field `Host` is the gateway's own; hint: Host has `rewrite",
        ),
        ("response_headers: {remove: transfer_encoding}", "`transfer_encoding` is the gateway's own"),
        ("request_headers: {set: {a: \"x\\r\\ny\"}}", "the value of `a` cannot stand in a header field"),
        ("hosts: a", "unknown key `hosts`; hint: did you mean `host`?"),
    ] {
        let said = said(route);
        assert!(said.contains(expect) && said.contains("compose.yaml:4:"), "{route}: {said}");
    }
}

#[test]
fn two_routes_for_the_same_requests_are_told_with_both_places() {
    let said = Project::new(
        "services:
  a:
    image: x
    x-juchu: {gateway: {routes: [{host: [s, t], path: /p}]}}
  b:
    image: x
    x-juchu: {gateway: {routes: [{host: u, path: /p}, {host: T, path: /p, listen: 80}]}}
",
    )
    .refused();
    assert_eq!(
        said,
        "compose.yaml:7:55: error: this route takes the same requests as the one in compose.yaml on line 4; hint: let them differ in host, path, method, headers or listen"
    );
}
