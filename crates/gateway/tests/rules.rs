//! Several ways on one address: who takes a request, and what becomes of it on the way.

mod common;

use common::{Gateway, Instance, Raw, endpoint, eventually, status_of};
use model::flow::{Outcome, Question, Standing, Verdict};
use model::route::{Backend, Listener, ROUTE_TABLE_VERSION, RouteTable};
use model::rule::{Action, Edits, HeaderEdits, PathMatch, Redirect, Rule, Sticky, Target};
use model::service::Protocol::Http;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A rule to the backend of this name.
fn rule(id: &str, hosts: &[&str], path: PathMatch, to: &str) -> Rule {
    Rule {
        id: id.into(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        path,
        methods: Vec::new(),
        headers: BTreeMap::new(),
        action: to_backends(&[(to, 1)]),
        edits: Edits::default(),
        priority: None,
    }
}

fn to_backends(to: &[(&str, u32)]) -> Action {
    let to = to.iter().map(|(backend, weight)| Target { backend: (*backend).to_owned(), weight: *weight });
    Action::Forward { to: to.collect(), sticky: None }
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

/// One listener with these rules, and backends that say their name.
struct Site {
    gateway: Gateway,
    address: SocketAddr,
    instances: Vec<(&'static str, Instance)>,
}

impl Site {
    fn new(names: &[&'static str], default: &str, rules: Vec<Rule>) -> Self {
        let instances: Vec<_> = names.iter().map(|name| (*name, Instance::saying(name))).collect();
        let mut gateway = Gateway::start();
        let table = table(gateway.next_revision(), &instances, default, rules);
        let report = gateway.apply(&table);
        assert_eq!(report.failed, []);
        let address = report.bound[0].1;
        Self { gateway, address, instances }
    }
    fn change(&mut self, default: &str, rules: Vec<Rule>) {
        let table = table(self.gateway.next_revision(), &self.instances, default, rules);
        assert_eq!(self.gateway.apply(&table).failed, []);
    }
    /// Status and body for a request with these lines behind the request line.
    fn ask(&self, line: &str, fields: &str) -> (u16, String) {
        let (head, body) = self.asked(line, fields);
        (status_of(&head), body)
    }
    fn asked(&self, line: &str, fields: &str) -> (String, String) {
        Raw::to(self.address).send(format!("{line} HTTP/1.1\r\n{fields}\r\n")).response()
    }
    fn received(&self, name: &str) -> String {
        self.instances.iter().find(|(known, _)| *known == name).expect("it was made").1.received()
    }
}

fn table(
    revision: u64,
    instances: &[(&'static str, Instance)],
    default: &str,
    rules: Vec<Rule>,
) -> RouteTable {
    let mut table = RouteTable { version: ROUTE_TABLE_VERSION, revision, ..RouteTable::empty() };
    for (name, instance) in instances {
        let backend = Backend { endpoints: vec![endpoint(instance.address)], ..Backend::default() };
        table.backends.insert((*name).to_owned(), backend);
    }
    table.listeners.push(Listener {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        protocol: Http,
        backend: default.to_owned(),
        public: true,
        last_port: 0,
        tls: None,
        https_port: None,
        proxied: None,
        rules,
    });
    table
}

#[test]
fn the_most_specific_rule_takes_a_request() {
    let mut get = rule("get", &["a.example"], prefix("/m"), "get");
    get.methods = vec!["GET".into()];
    let mut beta = rule("beta", &["a.example"], prefix("/m"), "beta");
    beta.headers = BTreeMap::from([("x-beta".into(), Some("yes".into()))]);
    let mut both = get.clone();
    (both.id, both.action) = ("both".into(), to_backends(&[("both", 1)]));
    both.headers = BTreeMap::from([("x-beta".into(), None)]);
    let site = Site::new(
        &["web", "api", "v2", "one", "wild", "deep", "any", "get", "beta", "both"],
        "web",
        vec![
            rule("any", &[], prefix("/any"), "any"),
            rule("wild", &["*.example"], prefix("/"), "wild"),
            rule("deep", &["*.b.example"], prefix("/"), "deep"),
            rule("api", &["a.example"], prefix("/api"), "api"),
            rule("v2", &["a.example"], prefix("/api/v2/"), "v2"),
            rule("one", &["a.example"], PathMatch::Exact("/api/one".into()), "one"),
            beta,
            get,
            both,
        ],
    );
    for (line, fields, expect) in [
        ("GET /", "Host: other\r\n", "web"),
        ("GET /any/x", "Host: other\r\n", "any"),
        ("GET /", "Host: x.example\r\n", "wild"),
        ("GET /", "Host: x.y.example\r\n", "wild"),
        ("GET /", "Host: x.b.example\r\n", "deep"),
        ("GET /api", "Host: a.example\r\n", "api"),
        ("GET /api/", "Host: A.EXAMPLE:8080\r\n", "api"),
        ("GET /api?x=/y", "Host: a.example.\r\n", "api"),
        ("GET /apis", "Host: a.example\r\n", "wild"),
        ("GET /api/v2", "Host: a.example\r\n", "v2"),
        ("GET /api/v2/x/y", "Host: a.example\r\n", "v2"),
        ("GET /api/v20", "Host: a.example\r\n", "api"),
        ("GET /api/one", "Host: a.example\r\n", "one"),
        ("GET /api/one/", "Host: a.example\r\n", "api"),
        ("GET /any", "Host: a.example\r\n", "wild"),
        ("GET //api//one", "Host: a.example\r\n", "one"),
        ("GET /x/../api/%6fne", "Host: a.example\r\n", "one"),
        ("GET /m", "Host: a.example\r\n", "get"),
        ("PUT /m", "Host: a.example\r\nContent-Length: 0\r\n", "wild"),
        ("PUT /m", "Host: a.example\r\nContent-Length: 0\r\nX-Beta: yes\r\n", "beta"),
        ("PUT /m", "Host: a.example\r\nContent-Length: 0\r\nX-Beta: no\r\n", "wild"),
        ("GET /m", "Host: a.example\r\nX-Beta: no\r\n", "both"),
        ("GET http://a.example/api", "Host: a.example\r\n", "api"),
        ("OPTIONS *", "Host: a.example\r\n", "web"),
    ] {
        assert_eq!(site.ask(line, fields), (200, expect.to_owned()), "{line} {fields}");
    }
}

#[test]
fn what_no_rule_takes_is_not_found_where_nothing_else_is_declared() {
    let mut site = Site::new(&["web"], "", vec![rule("web", &["a.example"], prefix("/"), "web")]);
    assert_eq!(site.ask("GET /", "Host: a.example\r\n"), (200, "web".into()));
    let (status, body) = site.ask("GET /", "Host: b.example\r\n");
    assert_eq!(status, 404);
    assert!(body.starts_with("404 Not Found: no route leads there"), "{body}");
    // A request counts once its answer is gone.
    eventually(|| {
        let counts = site.gateway.status().rules.remove(0).counts;
        (counts.requests, counts.classes[1], counts.bytes_out > 0) == (1, 1, true)
    });
}

#[test]
fn an_open_connection_follows_its_rules_request_by_request() {
    let mut site = Site::new(&["web", "api"], "web", vec![rule("r", &[], prefix("/x"), "api")]);
    let mut client = Raw::to(site.address);
    let mut ask = |path: &str| client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).response().1;
    assert_eq!((ask("/x"), ask("/y")), ("api".into(), "web".into()));
    site.change("web", vec![rule("r", &[], prefix("/y"), "api")]);
    assert_eq!((ask("/x"), ask("/y")), ("web".into(), "api".into()));
    site.change("web", Vec::new());
    assert_eq!((ask("/x"), ask("/y")), ("web".into(), "web".into()));
}

#[test]
fn a_prefix_a_host_and_fields_are_rewritten() {
    let mut one = rule("r", &[], prefix("/api"), "web");
    one.edits = Edits {
        prefix: Some("/v1".into()),
        host: Some("inside".into()),
        request: HeaderEdits {
            remove: vec!["x-secret".into()],
            set: BTreeMap::from([("x-by".into(), "gateway".into())]),
        },
        response: HeaderEdits {
            remove: vec!["server".into()],
            set: BTreeMap::from([("x-frame-options".into(), "DENY".into())]),
        },
    };
    let instance = Instance::start(|mut talk| {
        while talk.request().is_some() {
            talk.send("HTTP/1.1 200 OK\r\nServer: x\r\nX-Frame-Options: none\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut site = Site::new(&[], "", answering());
    site.instances.push(("web", instance));
    site.change("", vec![one]);
    for (path, expect) in
        [("/api/a?b=/api", "/v1/a?b=/api"), ("/api", "/v1"), ("/api/", "/v1/"), ("/x/..//api/%7Ea", "/v1/~a")]
    {
        let fields = "Host: a.example\r\nX-Secret: 1\r\nX_Secret: 2\r\nX-By: somebody\r\n";
        let (head, _) = site.asked(&format!("GET {path}"), fields);
        assert!(head.contains("x-frame-options: DENY\r\n"), "{head}");
        assert!(!head.contains("Server") && !head.contains("none"), "{head}");
        let received = site.received("web");
        let last = received.split("\r\n\r\n").filter(|head| !head.is_empty()).last().expect("one came");
        assert!(last.starts_with(&format!("GET {expect} HTTP/1.1\r\nHost: inside\r\n")), "{last}");
        assert!(last.contains("\r\nx-by: gateway\r\n"), "{last}");
        assert!(last.contains("\r\nX-Forwarded-Host: a.example\r\n"), "{last}");
        assert!(!last.contains("ecret") && !last.contains("somebody"), "{last}");
    }
}

/// A site needs a rule or a backend; what answers by itself is enough.
fn answering() -> Vec<Rule> {
    let mut rule = rule("none", &[], prefix("/"), "none");
    rule.action = Action::Answer { status: 204, body: String::new() };
    vec![rule]
}

#[test]
fn redirects_and_answers_come_from_the_gateway() {
    let redirect = |id: &str, host: &str, redirect: Redirect| {
        let mut rule = rule(id, &[host], prefix("/"), "web");
        rule.action = Action::Redirect(redirect);
        rule
    };
    let mut gone = rule("gone", &[], prefix("/gone"), "web");
    gone.action = Action::Answer { status: 410, body: "it was here\n".into() };
    let site = Site::new(
        &["web"],
        "web",
        vec![
            redirect(
                "https",
                "a",
                Redirect { status: 308, scheme: Some("https".into()), ..Redirect::default() },
            ),
            redirect(
                "www",
                "b",
                Redirect { status: 301, host: Some("www.b:81".into()), ..Redirect::default() },
            ),
            redirect("path", "c", Redirect { status: 302, path: Some("/new".into()), ..Redirect::default() }),
            redirect(
                "port",
                "e",
                Redirect {
                    status: 308,
                    scheme: Some("https".into()),
                    port: Some(8443),
                    ..Redirect::default()
                },
            ),
            gone,
        ],
    );
    for (host, status, location) in [
        ("e:8080", 308, "https://e:8443/x?y=z"),
        ("a:8080", 308, "https://a/x?y=z"),
        ("b", 301, "http://www.b:81/x?y=z"),
        ("c:81", 302, "http://c:81/new?y=z"),
    ] {
        let (head, _) = site.asked("GET /x?y=z", &format!("Host: {host}\r\n"));
        assert_eq!(status_of(&head), status);
        assert!(head.contains(&format!("\r\nLocation: {location}\r\n")), "{head}");
    }
    let mut client = Raw::to(site.address);
    for _ in 0..2 {
        let (head, body) = client.send("GET /gone HTTP/1.1\r\nHost: d\r\n\r\n").response();
        assert_eq!((status_of(&head), body.as_str()), (410, "it was here\n"));
    }
    client.send("HEAD /gone HTTP/1.1\r\nHost: d\r\n\r\nGET / HTTP/1.1\r\nHost: d\r\n\r\n");
    assert!(client.until("\r\n\r\n").starts_with("HTTP/1.1 410 Gone\r\n"));
    assert_eq!(client.response().1, "web", "no body came behind the head");
    let (head, _) = site.asked("POST /gone", "Host: d\r\nContent-Length: 5\r\n");
    assert!(head.contains("Connection: close\r\n"), "the body is not waited for: {head}");
}

#[test]
fn weights_share_requests_out_and_sticky_ones_stay() {
    let mut split = rule("split", &[], prefix("/"), "one");
    split.action = to_backends(&[("one", 3), ("two", 1)]);
    let mut sticky = split.clone();
    sticky.id = "sticky".into();
    sticky.path = prefix("/sticky");
    if let Action::Forward { sticky, .. } = &mut sticky.action {
        *sticky = Some(Sticky::Cookie("session".into()));
    }
    let site = Site::new(&["one", "two"], "", vec![split, sticky]);
    let ones = (0..400).filter(|_| site.ask("GET /", "Host: a\r\n").1 == "one").count();
    // Eight standard deviations of 300 ± 8.7.
    assert!((230..370).contains(&ones), "{ones}");
    let mut seen = BTreeMap::new();
    for user in 0..40 {
        let fields = format!("Host: a\r\nCookie: x=1; session={user}; y=2\r\n");
        let first = site.ask("GET /sticky", &fields).1;
        assert!((0..5).all(|_| site.ask("GET /sticky", &fields).1 == first), "{user}");
        *seen.entry(first).or_insert(0) += 1;
    }
    assert!(seen["one"] > seen["two"], "{seen:?}");
}

#[test]
fn bad_rules_refuse_the_table_and_the_last_one_stays() {
    let mut site = Site::new(&["web"], "", vec![rule("web", &[], prefix("/"), "web")]);
    let refused = |change: &dyn Fn(&mut Vec<Rule>)| {
        let mut rules = vec![rule("web", &[], prefix("/"), "web")];
        change(&mut rules);
        rules
    };
    for (rules, expect) in [
        (
            refused(&|rules| rules.push(rule("again", &[], prefix("/"), "web"))),
            "web and again take the same requests of 127.0.0.1:0",
        ),
        (
            refused(&|rules| rules[0].action = to_backends(&[("none", 1)])),
            "the rule web leads to none, which",
        ),
        (
            refused(&|rules| rules[0].path = prefix("a")),
            "the rule web has the path `a`, which no request has",
        ),
        (refused(&|rules| rules[0].path = prefix("/a/../b")), "which no request has"),
        (
            refused(&|rules| rules[0].edits.response.remove = vec!["content-length".into()]),
            "may not change the header field `content-length`",
        ),
        (
            refused(&|rules| {
                rules[0].edits.request.set = BTreeMap::from([("x".into(), "a\r\nHost: b".into())]);
            }),
            "sets the header field `x` to what no field can hold",
        ),
        (
            refused(&|rules| rules[0].edits.prefix = Some("/a b".into())),
            "rewrites to what no request can have",
        ),
    ] {
        let table = table(site.gateway.next_revision(), &site.instances, "", rules);
        let refusal =
            site.gateway.wait(async |client| client.apply(&table).await).expect_err("it is refused");
        assert!(refusal.to_string().contains(expect), "{refusal}");
        assert_eq!(site.ask("GET /", "Host: a\r\n"), (200, "web".into()));
    }
}

#[test]
fn ten_thousand_rules_are_found_as_one_is() {
    let mut rules: Vec<Rule> = (0..10_000)
        .map(|n| rule(&format!("r{n}"), &[&format!("h{n}.example")], prefix("/"), "web"))
        .collect();
    rules[9_999].action = to_backends(&[("last", 1)]);
    let mut site = Site::new(&["web", "last"], "", rules);
    assert_eq!(site.ask("GET /", "Host: h9999.example\r\n"), (200, "last".into()));
    assert_eq!(site.ask("GET /", "Host: h0.example\r\n"), (200, "web".into()));
    assert_eq!(site.ask("GET /", "Host: h10000.example\r\n").0, 404);
    eventually(|| site.gateway.status().rules.len() == 10_000);
}

fn question(target: &str, host: &str, port: u16) -> Question {
    Question {
        tls: false,
        host: host.into(),
        port,
        address: Some([127, 0, 0, 1].into()),
        method: "GET".into(),
        target: target.into(),
        headers: Vec::new(),
    }
}

#[test]
fn where_a_request_would_go_is_told_and_is_where_it_goes() {
    let mut beta = rule("beta", &["a.example"], prefix("/api"), "beta");
    beta.headers = BTreeMap::from([("x-beta".into(), Some("yes".into()))]);
    let mut api = rule("api", &["a.example"], prefix("/api"), "api");
    api.edits.prefix = Some("/v1".into());
    let mut old = rule("old", &["old.example"], prefix("/"), "web");
    old.action =
        Action::Redirect(Redirect { status: 308, host: Some("a.example".into()), ..Redirect::default() });
    let mut both = rule("both", &["both.example"], prefix("/"), "web");
    both.action = to_backends(&[("web", 1), ("api", 3)]);
    let mut site = Site::new(&["web", "api", "beta"], "", vec![api, beta, old, both]);
    let port = site.address.port();
    let mut explain = |question: Question| {
        let explained = site.gateway.wait(async |client| client.explain(question).await);
        explained.expect("it is a question")
    };

    let told = explain(question("/api/users?x=1", "a.example", port));
    let Outcome::Forwarded { line, host, to } = &told.outcome else { panic!("{told:?}") };
    assert_eq!(line.as_deref(), Some("GET /v1/users?x=1"));
    assert_eq!(host.as_deref(), Some(format!("a.example:{port}").as_str()));
    assert_eq!((to[0].backend.as_str(), to[0].share, to[0].instances.len()), ("api", 10_000, 1));
    assert_eq!(to[0].instances[0].standing, Standing::Serving);
    let verdicts: Vec<(&str, Verdict)> =
        told.considered.iter().map(|one| (one.rule.as_str(), one.verdict)).collect();
    assert_eq!(
        verdicts,
        [
            ("api", Verdict::Takes),
            ("beta", Verdict::OtherHeaders),
            ("old", Verdict::OtherHost),
            ("both", Verdict::OtherHost)
        ]
    );

    let mut asked = question("/api", "a.example", port);
    asked.headers.push(("X-Beta".into(), "yes".into()));
    let told = explain(asked);
    assert_eq!(told.considered[0].rule, "beta");
    assert_eq!(told.considered[1].verdict, Verdict::LessSpecific);

    let told = explain(question("/x?y=1", "old.example", port));
    let location = "http://a.example/x?y=1".to_owned();
    assert_eq!(told.outcome, Outcome::Redirected { status: 308, location });

    let told = explain(question("/", "both.example", port));
    let Outcome::Forwarded { to, .. } = &told.outcome else { panic!("{told:?}") };
    assert_eq!(to.iter().map(|one| one.share).collect::<Vec<_>>(), [2_500, 7_500]);

    let told = explain(question("/", "c.example", port));
    assert!(matches!(told.outcome, Outcome::Refused { status: 404, .. }), "{told:?}");
    let told = explain(question("/", "c.example", 1));
    assert_eq!(told.outcome, Outcome::NobodyListens { ports: vec![port] });
    let told = explain(Question { tls: true, ..question("/", "a.example", port) });
    assert_eq!(told.outcome, Outcome::OtherSecurity { tls: false });
    let bad = question("/ HTTP/1.1\r\nHost: b", "a.example", port);
    let refused = site.gateway.wait(async |client| client.explain(bad).await);
    assert!(refused.is_err(), "two requests in one: {refused:?}");

    // What is told is what happens.
    let (head, _) = site.asked("GET /api/users?x=1", "Host: a.example\r\n");
    assert_eq!(status_of(&head), 200);
    assert!(site.received("api").contains("GET /v1/users?x=1 HTTP/1.1"));
}
