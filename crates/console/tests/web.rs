//! The web console as a browser sees it: over a real TCP connection, byte by byte.

use console::fake::measured::FakeMeasured;
use console::fake::rows::row;
use console::fake::visits::FakeVisits;
use console::fake::{FakeControl, guestbook_status, line, stack, troubled_entries, troubled_status};
use console::{Access, Attached, bind_http, serve_http};
use model::ReleaseId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use store::record::v1::Intent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Site {
    control: Arc<FakeControl>,
    measured: Arc<FakeMeasured>,
    access: Access,
    address: SocketAddr,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(start.as_str()))
    }
}

impl Site {
    async fn start(control: FakeControl) -> Self {
        let wanted = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listener, note) = bind_http(wanted).await.expect("a free port");
        assert_eq!(note, None);
        let address = listener.local_addr().expect("bound");
        let (control, access) = (Arc::new(control), Access::default());
        access.set_port(address.port());
        let measured = Arc::new(FakeMeasured::default());
        let visits = Some(Arc::new(FakeVisits) as Arc<dyn console::visits::Visits>);
        let attached = Attached { measured: Some(measured.clone()), visits, ..Attached::default() };
        tokio::spawn(serve_http(listener, control.clone(), access.clone(), attached, std::future::pending()));
        Self { control, measured, access, address }
    }

    fn host(&self) -> String {
        format!("juchu.localhost:{}", self.address.port())
    }

    async fn send(&self, method: &str, path: &str, host: &str, headers: &[&str], body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        for header in headers {
            head += &format!("{header}\r\n");
        }
        if !body.is_empty() {
            head += "content-type: application/x-www-form-urlencoded\r\n";
        }
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head[9..12].parse().expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        self.send("GET", path, &self.host(), &[&format!("cookie: {cookie}")], "").await
    }

    /// Bytes of an answer on the wire, as browsers ask for it.
    async fn weigh(&self, path: &str, cookie: &str) -> usize {
        self.raw(path, cookie).await.len()
    }

    async fn raw(&self, path: &str, cookie: &str) -> Vec<u8> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n",
            self.host()
        );
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("an answer");
        bytes
    }

    async fn post(&self, path: &str, cookie: &str, body: &str) -> Answer {
        self.send("POST", path, &self.host(), &[&format!("cookie: {cookie}")], body).await
    }

    /// Signs in as a person does, and gives the cookie.
    async fn sign_in(&self) -> String {
        let (token, _) = self.access.issue_link("ada (console)");
        let answer = self.post(&format!("/enter/{token}"), "", "").await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
        let cookie = answer.header("set-cookie").expect("a cookie");
        assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
        cookie.split(';').next().expect("name and value").to_owned()
    }

    /// The token in the forms of the first page.
    async fn form_token(&self, cookie: &str) -> String {
        let page = self.get("/", cookie).await.body;
        let start = page.find("name=\"token\" value=\"").expect("a form") + 20;
        page[start..start + 64].to_owned()
    }
}

#[tokio::test]
async fn a_stranger_is_told_how_to_get_in_and_sees_nothing() {
    let site = Site::start(FakeControl::guestbook()).await;
    for path in ["/", "/stacks/guestbook", "/live", "/stacks/guestbook/services/web", "/nothing"] {
        let answer = site.get(path, "juchu_session=0000").await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.body.contains("<code>juchu console</code>"), "{path}");
        assert!(!answer.body.contains("guestbook"), "{path}");
    }
    let answer = site.get("/api/v1/stacks", "").await;
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("\"hints\":[\"run `juchu console` for a link\"]"), "{}", answer.body);
}

#[tokio::test]
async fn a_link_works_once_and_looking_at_it_uses_nothing_up() {
    let site = Site::start(FakeControl::guestbook()).await;
    let (token, _) = site.access.issue_link("ada (console)");
    let address = format!("/enter/{token}");
    for _ in 0..2 {
        assert_eq!(site.get(&address, "").await.status, 200);
    }
    assert_eq!(site.post(&address, "", "").await.status, 303);
    assert_eq!(site.post(&address, "", "").await.status, 410);
    assert_eq!(site.get(&address, "").await.status, 410);
}

#[tokio::test]
async fn the_first_page_is_small_and_says_how_things_are() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let page = site.get("/", &cookie).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("All 4 services are ready or done."));
    for expected in
        ["guestbook", "web", "http://127.0.0.1:8080", "2/2", "deploy web", "ada (cli, sudo)", "failed"]
    {
        assert!(page.body.contains(expected), "{expected}");
    }
    let mut total = site.weigh("/", &cookie).await;
    let mut requests = 1;
    for attribute in ["href=\"/style.css", "src=\"/live.js"] {
        let start = page.body.find(attribute).expect("linked") + attribute.find('/').expect("an address");
        let address = page.body[start..].split('"').next().expect("the end of it");
        let asset = site.get(address, &cookie).await;
        assert_eq!(asset.status, 200);
        assert!(asset.header("cache-control").is_some_and(|c| c.contains("immutable")));
        total += site.weigh(address, &cookie).await;
        requests += 1;
    }
    assert_eq!(page.body.matches("<script").count() + page.body.matches("stylesheet").count(), requests - 1);
    assert!(total <= 35_000, "{total} bytes in {requests} requests");
}

#[tokio::test]
async fn a_service_shows_what_passes_and_how_its_certificate_stands() {
    let control = FakeControl::guestbook();
    control
        .change(|held| held.stacks[0].services[3].certificate = Some(console::fake::lacking_certificate()));
    let site = Site::start(control).await;
    let cookie = site.sign_in().await;
    let page = site.get("/stacks/guestbook/services/web", &cookie).await.body;
    for expected in [
        "0.0.0.0:8080 guestbook/web:8000",
        "guestbook/web#1",
        "web-2",
        "left alone",
        "copies to guestbook/next:8000",
        "98\u{a0}ms",
        "none yet, from an authority by ACME",
        "no address of shop.example.org is known",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("guestbook/db:5432"), "of this service alone");
    let page = site.get("/stacks/guestbook/services/cache", &cookie).await.body;
    assert!(page.contains("Nothing of it passes through the gateway"));
}

#[tokio::test]
async fn the_main_panel_shows_nodes_and_what_is_served() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let page = site.get("/", &cookie).await.body;
    for expected in [
        "href=\"/nodes/vm-1\"",
        "Fullest disk",
        "Processing time",
        "Containers",
        "Logins",
        "measured since",
        "<svg",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    let asked = site.measured.asked.load(SeqCst);
    for _ in 0..5 {
        site.get("/", &cookie).await;
    }
    let again = site.measured.asked.load(SeqCst) - asked;
    // Each page may fall into the next ten seconds.
    assert!(again <= asked, "{again} questions for five pages, {asked} for the first");
}

#[tokio::test]
async fn a_panel_without_measurements_says_so() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    site.measured.fails.store(true, SeqCst);
    let page = site.get("/", &cookie).await;
    assert_eq!(page.status, 200, "the rest is shown");
    assert!(page.body.contains("query timed out") && page.body.contains("All 4 services"));
    site.measured.fails.store(false, SeqCst);
    site.measured.is_empty.store(true, SeqCst);
    let page = site.get("/", &cookie).await.body;
    assert!(page.contains("Measuring has just begun."));
}

#[tokio::test]
async fn charts_have_a_range_an_axis_and_the_moments_of_changes() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let service = "/stacks/guestbook/services/web";
    for (path, expected) in [
        ("/nodes/vm-1", "Time that work waited"),
        (service, "Share of errors"),
        ("/stacks/guestbook/services/web/instances/web1x7k2", "Threads"),
        ("/stacks/guestbook/services/web/routes/1", "Bytes passed on"),
    ] {
        let page = site.get(path, &cookie).await;
        assert_eq!(page.status, 200, "{path}");
        let ranges = [("1h", "true"), ("7d", "")];
        for (range, _) in ranges {
            assert!(page.body.contains(&format!("href=\"{path}?range={range}\"")), "{path} {range}");
        }
        assert!(page.body.contains(expected) && page.body.contains("class=\"area\""), "{path}");
        let week = site.get(&format!("{path}?range=7d"), &cookie).await.body;
        assert!(week.contains("data-step=\"5040000\""), "{path}: a week in 120 steps");
        assert!(week.contains("aria-current=\"true\">7 days"), "{path}");
    }
    for wrong in
        ["/nodes/", "/stacks/guestbook/services/web/routes/x", "/stacks/guestbook/services/no/routes/1"]
    {
        assert_eq!(site.get(wrong, &cookie).await.status, 404, "{wrong}");
    }
}

#[tokio::test]
async fn names_that_were_measured_are_shown_and_never_obeyed() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let hostile = "<script>alert(1)</script>\"'&\u{1b}[31m/../x";
    *site.measured.names.lock().expect("nobody panicked") = vec![hostile.to_owned()];
    for path in ["/", "/nodes/vm-1", "/stacks/guestbook/services/web", "/nodes/%3Cscript%3E%22"] {
        let body = site.get(path, &cookie).await.body;
        assert!(!body.contains("<script>") && !body.contains('\u{1b}'), "{path}");
    }
    let home = site.get("/", &cookie).await.body;
    let start = home.find("href=\"/nodes/").expect("a link") + 6;
    let address = home[start..].split('"').next().expect("its end");
    assert_eq!(site.get(address, &cookie).await.status, 200, "{address}");
}

#[tokio::test]
async fn logs_are_searched_and_followed() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let hostile = "<script>alert(1)</script><img src=x>\"\u{1b}[31mred";
    site.control.kept_rows().held().push(row(0, hostile, hostile));
    let address = "/logs?q=level%3E%3Dwarn+%22%3Cb%3E%22&stack=guestbook&service=web&range=6h";
    let page = site.get(address, &cookie).await;
    assert_eq!(page.status, 200);
    for expected in [
        "value=\"level&gt;=warn &quot;&lt;b&gt;&quot;\"",
        "connection refused",
        "</svg>error</span>",
        "</svg>warn</span>",
        "service web of stack guestbook",
        "rel=\"next\">Older",
        "selected>6 hours",
    ] {
        assert!(page.body.contains(expected), "{expected}");
    }
    assert!(!page.body.contains("<script>") && !page.body.contains("<img") && !page.body.contains('\u{1b}'));
    let asked = site.control.kept_rows().asked();
    assert_eq!(asked[0].query, "level>=warn \"<b>\"");
    assert_eq!((asked[0].stack.as_deref(), asked[0].services.len()), (Some("guestbook"), 1));
    let wrong = site.get("/logs?q=a+(", &cookie).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("a bracket is not closed") && wrong.body.contains("value=\"a (\""));

    let followed = site.get("/logs?follow=1&service=web", &cookie).await.body;
    assert!(followed.contains("data-tail=\"/tail?service=web&amp;follow=1\""));
    let mut stream = TcpStream::connect(site.address).await.expect("it listens");
    let head = format!("GET /tail?service=web HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\n\r\n", site.host());
    stream.write_all(head.as_bytes()).await.expect("sent");
    while site.control.kept_rows().followers() == 0 {
        tokio::task::yield_now().await;
    }
    site.control.kept_rows().say(row(0, "error", "<b>it broke</b>"));
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains("it broke") {
        let read = stream.read(&mut buffer).await.expect("the stream goes on");
        assert_ne!(read, 0, "ended");
        seen += &String::from_utf8_lossy(&buffer[..read]);
    }
    assert!(seen.contains("event: rows") && seen.contains("&lt;b&gt;it broke"));
    assert_eq!(site.get("/tail?q=x", "juchu_session=0").await.status, 401);
}

#[tokio::test]
async fn visitors_are_shown_by_the_day_and_by_page() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let page = site.get("/visitors?days=30", &cookie).await;
    assert_eq!(page.status, 200);
    for expected in [
        "12 visitors in the last 5 minutes.",
        "shop.example/shop/cart",
        "</svg>slow</span>",
        "aria-current=\"true\">30 days",
        "17 views of pages",
        "thrown away when the day ends",
    ] {
        assert!(page.body.contains(expected), "{expected}");
    }
    let answer = site.get("/api/v1/visits?days=3", &cookie).await;
    let report: console::visits::VisitReport = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((report.days.len(), report.now), (3, 12));
    assert_eq!(site.get("/api/v1/visits?days=x", &cookie).await.status, 400);
}

#[tokio::test]
async fn the_map_shows_who_calls_whom_as_a_drawing_and_a_table() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let page = site.get("/map?minutes=60", &cookie).await;
    assert_eq!(page.status, 200);
    for expected in [
        "2.0\u{a0}% of what outside asks of guestbook/web fails.",
        "aria-current=\"true\">1 hour",
        "this host calls guestbook/web",
        "href=\"/stacks/guestbook/services/db\"",
        ">152/s ✗ 2.0\u{a0}%</text>",
        ">8 open</text>",
        "</svg>some fail</span>",
    ] {
        assert!(page.body.contains(expected), "{expected} is not in {}", page.body);
    }
    let answer = site.get("/api/v1/map?minutes=60", &cookie).await;
    let map: console::calls::CallMap = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((map.minutes, map.calls.len()), (60, 8));
    assert_eq!(site.get("/api/v1/map?minutes=x", &cookie).await.status, 400);
}

#[tokio::test]
async fn traces_are_searched_for_and_shown_as_a_waterfall() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let page = site.get("/traces?service=guestbook/web&min=200ms&errors=1", &cookie).await;
    assert_eq!(page.status, 200);
    let link = format!("href=\"/traces/{}\"", console::fake::traces::ID);
    assert!(page.body.contains(&link) && page.body.contains("</svg>failed</span>"), "{}", page.body);
    assert!(!page.body.contains("POST /api/orders"), "{}", page.body);
    assert_eq!(site.get("/traces?min=soon", &cookie).await.status, 400);
    let page = site.get(&format!("/traces/{}", console::fake::traces::ID), &cookie).await;
    for expected in [
        "GET /checkout of web",
        "connection refused by the database",
        "<dt>juchu.caller</dt><dd>outside</dd>",
        "<dt>after 208 ms</dt><dd>first byte</dd>",
        "href=\"/stacks/guestbook/services/db\"",
        "href=\"/logs?q=4bf92f3577b34da6a3ce929d0e0e4736\"",
    ] {
        assert!(page.body.contains(expected), "{expected} is not in {}", page.body);
    }
    assert_eq!(site.get("/traces/none", &cookie).await.status, 404);
}

#[tokio::test]
async fn pages_are_compressed_for_browsers_that_take_it() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let bytes = site.raw("/", &cookie).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert!(String::from_utf8_lossy(&bytes[..end]).contains("content-encoding: gzip"));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[end..]), &mut text).expect("gzip");
    assert!(text.contains("All 4 services are ready or done."));
    assert!(bytes.len() < text.len() / 2, "{} of {}", bytes.len(), text.len());
}

#[tokio::test]
async fn every_answer_keeps_browsers_careful() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    for path in ["/", "/enter/x", "/style.css", "/api/v1/stacks", "/nothing"] {
        let answer = site.get(path, &cookie).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert!(!answer.body.contains("style=\"") && !answer.body.contains("<script>"), "{path}");
    }
}

#[tokio::test]
async fn only_the_consoles_own_name_is_answered() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = format!("cookie: {}", site.sign_in().await);
    for host in ["evil.example", "juchu.localhost.evil.example", "127.0.0.1.evil.example", ""] {
        let answer = site.send("GET", "/", host, &[&cookie], "").await;
        assert_eq!(answer.status, 421, "{host}");
        assert!(!answer.body.contains("guestbook"));
    }
    // A session never stands under a name that it would share with what a stack publishes.
    let there = site.send("GET", "/stacks/a", "127.0.0.1:1234", &[&cookie], "").await;
    assert_eq!((there.status, there.header("location")), (307, Some("http://juchu.localhost:1234/stacks/a")));
    assert_eq!(site.send("POST", "/leave", "localhost", &[&cookie], "").await.status, 421);
}

#[tokio::test]
async fn a_change_needs_a_form_of_this_session_from_this_site() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let address = "/stacks/guestbook/services/web/restart";
    let page = site.get("/stacks/guestbook", &cookie).await.body;
    let start = page.find("name=\"token\" value=\"").expect("a form") + 20;
    let body = format!("token={}", &page[start..start + 64]);

    assert_eq!(site.get(address, &cookie).await.status, 405, "looking changes nothing");
    assert_eq!(site.post(address, &cookie, "token=0000").await.status, 403);
    assert_eq!(site.post(address, &cookie, "").await.status, 400);
    for header in ["origin: http://127.0.0.1:8080", "sec-fetch-site: same-site", "origin: null"] {
        let headers = [&*format!("cookie: {cookie}"), header];
        let answer = site.send("POST", address, &site.host(), &headers, &body).await;
        assert_eq!(answer.status, 403, "{header}");
    }
    let json = r#"{"stack":"guestbook","intent":{"intent":"stop"}}"#;
    assert_eq!(site.post("/api/v1/changes", &cookie, json).await.status, 403, "the API needs it too");
    assert!(site.control.held().asked.is_empty());

    let origin = format!("origin: http://{}", site.host());
    let headers = [&*format!("cookie: {cookie}"), &origin, "sec-fetch-site: same-origin"];
    let answer = site.send("POST", address, &site.host(), &headers, &body).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/stacks/guestbook/services/web")));
    let held = site.control.held();
    assert_eq!(held.asked[0].actor, "ada (console)");
    assert!(matches!(held.asked[0].intent, Intent::Restart { .. }));
}

#[tokio::test]
async fn one_goes_back_to_a_release_by_its_button() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let page = site.get("/stacks/guestbook", &cookie).await;
    assert!(page.head.len() + page.body.len() + 10_000 <= 35_000, "with its two assets: {}", page.body.len());
    for expected in ["in force", "warm until ", "kept on disk", "kept, was bad", "collected", "rolled back"] {
        assert!(page.body.contains(expected), "{expected}");
    }
    let button =
        |id: u64| page.body.contains(&format!("action=\"/stacks/guestbook/releases/{id}/rollback\""));
    let offered: Vec<u64> = (1..=5).filter(|id| button(*id)).collect();
    assert_eq!(offered, [2, 4], "kept and warm");

    let address = "/stacks/guestbook/releases/4/rollback";
    assert_eq!(site.get(address, &cookie).await.status, 405, "looking changes nothing");
    assert_eq!(site.post(address, &cookie, "token=0000").await.status, 403);
    assert_eq!(site.post(address, "", "token=0000").await.status, 401);
    assert!(site.control.held().asked.is_empty());
    let token = format!("token={}", site.form_token(&cookie).await);
    assert_eq!(site.post("/stacks/guestbook/releases/x/rollback", &cookie, &token).await.status, 404);
    let answer = site.post(address, &cookie, &token).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/stacks/guestbook")));
    let asked = site.control.held().asked.remove(0);
    assert_eq!(asked.intent, Intent::Rollback { to: Some(ReleaseId(4)) });
    assert_eq!((asked.actor.as_str(), asked.services.len()), ("ada (console)", 0));

    site.control.change(|held| held.stacks[0].pending = Some("deploy by root (cli)".to_owned()));
    let busy = site.get("/stacks/guestbook", &cookie).await.body;
    assert!(busy.contains("in force") && !busy.contains("/rollback\""), "one change at a time");
}

#[tokio::test]
async fn a_change_that_is_taken_back_is_told_on_the_page() {
    let control = FakeControl::guestbook();
    control.change(|held| held.entries = troubled_entries());
    let site = Site::start(control).await;
    let cookie = site.sign_in().await;
    let body = site.get("/stacks/guestbook", &cookie).await.body;
    for expected in [
        "going back",
        "back to release r4: service web: exited with code 1",
        "<span>by itself</span>",
        "release r5 → r4",
        "promote from staging r9",
        "web: 2\u{a0}replicas ready in 1.9\u{a0}s",
    ] {
        assert!(body.contains(expected), "{expected}");
    }
}

#[tokio::test]
async fn a_browser_cannot_make_links_or_enter_instances() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let token = site.form_token(&cookie).await;
    let headers = [&*format!("cookie: {cookie}"), &*format!("juchu-form-token: {token}")];
    for path in ["/api/v1/console-link", "/api/v1/stacks/guestbook/services/web/enter"] {
        let answer = site.send("POST", path, &site.host(), &headers, "").await;
        assert_eq!(answer.status, 403, "{path}");
    }
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let token = site.form_token(&cookie).await;
    assert_eq!(site.post("/leave", &cookie, &format!("token={token}")).await.status, 303);
    assert_eq!(site.get("/", &cookie).await.status, 401);
}

#[tokio::test]
async fn every_state_of_a_page_is_designed() {
    let site = Site::start(FakeControl::empty()).await;
    let cookie = site.sign_in().await;
    let empty = site.get("/", &cookie).await;
    assert!(empty.body.contains("Nothing runs here yet.") && empty.body.contains("juchu up"));

    let unknown = site.get("/stacks/nothing", &cookie).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("there is no stack `nothing`"));
    assert_eq!(site.get("/stacks/No%20Name", &cookie).await.status, 404);

    site.control.held().failure =
        Some(model::Report::internal("the journal is closed").hint("look at `daemon.log`"));
    let failed = site.get("/", &cookie).await;
    assert_eq!(failed.status, 500);
    assert!(failed.body.contains("the journal is closed") && failed.body.contains("<code>daemon.log</code>"));

    site.control.change(|held| held.stacks = vec![troubled_status()]);
    let troubled = site.get("/stacks/guestbook", &cookie).await.body;
    let place = |text: &str| troubled.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    assert!(place("2 of 4 services want attention.") < place("restarts in 3 s: exited with code 1"));
    assert!(place("services/web\"") < place("services/cache\""), "trouble first");
}

#[tokio::test]
async fn what_programs_say_is_shown_and_never_obeyed() {
    let hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u{1b}[31mred\r\nevent: page\n\n";
    let control = FakeControl::guestbook();
    control.change(|held| {
        held.lines = vec![line("web", 1, console::fake::NOW, hostile)];
        let mut status = guestbook_status();
        for service in &mut status.services {
            service.text = hostile.to_owned();
            service.image = hostile.to_owned();
            service.ports = vec![hostile.to_owned()];
        }
        status.directory = hostile.to_owned();
        status.pending = Some(hostile.to_owned());
        status.addresses[0].url = format!("javascript:{hostile}");
        held.stacks = vec![status];
    });
    let site = Site::start(control).await;
    let cookie = site.sign_in().await;
    for path in ["/", "/stacks/guestbook", "/stacks/guestbook/services/web"] {
        let body = site.get(path, &cookie).await.body;
        assert!(body.contains("alert(1)"), "{path}: shown");
        for raw in ["<script>", "<img", "href=\"javascript", "\u{1b}"] {
            assert!(!body.contains(raw), "{path}: {raw}");
        }
    }
}

#[tokio::test]
async fn a_page_is_sent_again_when_it_changes() {
    let site = Site::start(FakeControl::guestbook()).await;
    let cookie = site.sign_in().await;
    let mut stream = TcpStream::connect(site.address).await.expect("it listens");
    let head =
        format!("GET /live/stacks/guestbook HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\n\r\n", site.host());
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut seen = String::new();
    let mut until = async |wanted: &str| {
        let mut buffer = [0; 4096];
        while !seen.contains(wanted) {
            let read = stream.read(&mut buffer).await.expect("the stream goes on");
            assert_ne!(read, 0, "ended before {wanted}");
            seen += &String::from_utf8_lossy(&buffer[..read]);
        }
    };
    until("All 4 services are ready or done.").await;
    site.control.change(|held| held.stacks = vec![troubled_status()]);
    until("2 of 4 services want attention.").await;
    site.control.change(|held| held.stacks.retain(|s| s.name != stack("guestbook")));
    until("there is no stack `guestbook`").await;
}

#[tokio::test]
async fn a_taken_port_is_left_for_another_and_said() {
    let (first, _) = bind_http(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let taken = first.local_addr().expect("bound");
    let (second, note) = bind_http(taken).await.expect("another");
    let port = second.local_addr().expect("bound").port();
    assert_eq!(
        note.as_deref(),
        Some(&*format!("port {} is taken; the console listens on port {port}", taken.port()))
    );
    let outside = bind_http(SocketAddr::from(([0, 0, 0, 0], 0))).await.expect_err("not loopback");
    assert!(outside.hints[0].contains("ssh -L"));
}

mod escaping {
    //! Whatever text is put into a page, the page has the same tags.
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn text_never_becomes_markup(text in "[ -~äß<>&\"'`=/]{0,60}") {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let tags = |text: String| runtime.block_on(async {
                let control = FakeControl::guestbook();
                control.change(|held| {
                    held.stacks[0].services[3].text = text.clone();
                    held.stacks[0].services[3].image = text.clone();
                    held.lines = vec![line("web", 1, console::fake::NOW, &text)];
                });
                let site = Site::start(control).await;
                let cookie = site.sign_in().await;
                let body = site.get("/stacks/guestbook/services/web", &cookie).await.body;
                (body.matches('<').count(), body.matches('>').count(), body.matches('"').count())
            });
            prop_assert_eq!(tags(text), tags("x".to_owned()));
        }
    }
}
