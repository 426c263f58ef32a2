//! Messages on their way: to receivers that take, refuse, fail and are not there, and to
//! Alertmanager itself.

use alerts::{Alerts, Kind, Message, Receiver, What};
use model::range::Level;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{TempDir, wait_for, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// Answers with the next of the given statuses, the last one for ever, and keeps the bodies.
struct Hook {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    fn start(statuses: &'static [u16]) -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").expect("a free port"), statuses)
    }

    fn listening(listener: TcpListener, statuses: &'static [u16]) -> Self {
        let address = listener.local_addr().expect("bound");
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            let mut at = 0;
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let status = statuses[at];
                if let Some(body) = answer(stream, status) {
                    kept.lock().expect("not poisoned").push(body);
                    at = (at + 1).min(statuses.len() - 1);
                }
            }
        });
        Self { address, bodies }
    }

    fn receiver(&self, kind: Kind) -> Receiver {
        let url = format!("http://{}/hook/SECRET", self.address);
        Receiver::new("ops", kind, &url, Level::Important).expect("valid")
    }

    fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().expect("not poisoned").clone()
    }
}

fn answer(stream: TcpStream, status: u16) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 {status} said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    serde_json::from_slice(&body).ok()
}

fn message(incident: u64, what: What) -> Message {
    Message {
        what,
        incident,
        level: Level::Urgent,
        machine: "pine".to_owned(),
        subject: "shop/web".to_owned(),
        stack: Some("shop".to_owned()),
        service: Some("web".to_owned()),
        release: Some("r3".to_owned()),
        signal: "p95".to_owned(),
        value: "1.4 s".to_owned(),
        range: "20 ms to 60 ms".to_owned(),
        text: "shop/web: p95 is 1.4 s, normal is 20 ms to <60 ms".to_owned(),
        changed: "deploy web by ada, 2 min before".to_owned(),
        suspects: vec!["shop/db".to_owned(), "shop/web".to_owned()],
        command: "juchu incidents 4".to_owned(),
        opened_ms: now(),
        at_ms: now(),
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_millis() as i64
}

#[test]
fn a_webhook_gets_the_message_and_slack_a_text() {
    let (hook, slack) = (Hook::start(&[204]), Hook::start(&[200]));
    let directory = TempDir::new();
    let receivers = vec![
        hook.receiver(Kind::Webhook),
        Receiver::new("chat", Kind::Slack, &format!("http://{}/", slack.address), Level::Urgent)
            .expect("valid"),
    ];
    let alerts = Alerts::start(directory.path(), receivers, now).expect("a queue");
    let sent = message(4, What::Opened);
    alerts.tell(&sent).expect("kept");
    alerts.tell(&Message { level: Level::Important, ..message(5, What::Opened) }).expect("kept");
    wait_until(SOON, "both are told", || hook.bodies().len() == 2 && slack.bodies().len() == 1);
    assert_eq!(serde_json::from_value::<Message>(hook.bodies()[0].clone()).expect("the message"), sent);
    let text = slack.bodies()[0]["text"].as_str().expect("a text").to_owned();
    assert!(text.starts_with("✖ *urgent: shop/web: p95 is 1.4 s") && text.contains("&lt;60 ms"), "{text}");
    assert!(
        text.contains("changed before: deploy web by ada") && text.contains("juchu incidents 4"),
        "{text}"
    );
    wait_until(SOON, "the queue is empty", || alerts.status().iter().all(|status| status.waiting == 0));
}

#[test]
fn what_fails_is_tried_again_in_its_order_and_what_is_refused_is_given_up() {
    let hook = Hook::start(&[503, 200, 400, 200]);
    let directory = TempDir::new();
    let alerts = Alerts::start(directory.path(), vec![hook.receiver(Kind::Webhook)], now).expect("a queue");
    for incident in 1..=3 {
        alerts.tell(&message(incident, What::Opened)).expect("kept");
    }
    wait_until(SOON, "all were tried", || alerts.status()[0].waiting == 0);
    let incidents: Vec<u64> = hook.bodies().iter().filter_map(|body| body["incident"].as_u64()).collect();
    assert_eq!(incidents, [1, 1, 2, 3]);
    let status = alerts.status().remove(0);
    assert_eq!((status.sent, status.failures, status.given_up), (2, 2, 1));
    assert_eq!(status.trouble, None, "the last one went well");
}

#[test]
fn what_waits_outlives_the_daemon_and_a_broken_file_is_set_aside() {
    let port = testkit::free_port();
    let receiver =
        Receiver::new("ops", Kind::Webhook, &format!("http://127.0.0.1:{port}/SECRET"), Level::Urgent)
            .expect("valid");
    let directory = TempDir::new();
    let alerts = Alerts::start(directory.path(), vec![receiver.clone()], now).expect("a queue");
    alerts.tell(&message(7, What::Opened)).expect("kept");
    let trouble = wait_for(SOON, "it fails", || alerts.status()[0].trouble.clone());
    assert!(!trouble.contains("SECRET"), "{trouble}");
    drop(alerts);
    std::fs::write(directory.path().join("000000000099.json"), "{").expect("written");
    let hook = Hook::listening(TcpListener::bind(("127.0.0.1", port)).expect("still free"), &[200]);
    let alerts = Alerts::start(directory.path(), vec![receiver], now).expect("a queue");
    wait_until(SOON, "it is told at last", || hook.bodies().iter().any(|body| body["incident"] == 7));
    assert!(directory.path().join("000000000099.unreadable").exists());
    drop(alerts);
}

#[test]
fn one_that_hangs_holds_up_no_other() {
    // Accepts and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", hanging.local_addr().expect("bound"));
    let hook = Hook::start(&[200]);
    let directory = TempDir::new();
    let receivers = vec![
        Receiver::new("hangs", Kind::Webhook, &url, Level::Urgent).expect("valid"),
        hook.receiver(Kind::Webhook),
    ];
    let alerts = Alerts::start(directory.path(), receivers, now).expect("a queue");
    let begun = std::time::Instant::now();
    alerts.tell(&message(1, What::Opened)).expect("kept");
    wait_until(SOON, "the other is told", || hook.bodies().len() == 1);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Without this one nothing waits.
    alerts.set_receivers(vec![hook.receiver(Kind::Webhook)]);
    assert_eq!(alerts.status().len(), 1);
}

#[test]
fn there_is_room_for_so_many_and_the_oldest_goes() {
    let url = format!("http://127.0.0.1:{}/", testkit::free_port());
    let directory = TempDir::new();
    let receiver = Receiver::new("gone", Kind::Webhook, &url, Level::Urgent).expect("valid");
    let alerts = Alerts::start(directory.path(), vec![receiver], now).expect("a queue");
    for incident in 0..alerts::QUEUE_MAX as u64 + 5 {
        alerts.tell(&message(incident, What::Opened)).expect("kept");
    }
    assert_eq!((alerts.status()[0].waiting, alerts.dropped()), (alerts::QUEUE_MAX, 5));
}

#[test]
fn alertmanager_shows_an_incident_and_that_it_is_over() {
    let Some(program) = testkit::needs("prometheus-alertmanager", "prometheus-alertmanager") else { return };
    if !testkit::require_root("alertmanager_shows_an_incident_and_that_it_is_over") {
        return;
    }
    let directory = TempDir::new();
    directory.write("alertmanager.yml", "route: {receiver: none}\nreceivers: [{name: none}]\n");
    let port = testkit::free_port();
    let mut command = within(&directory, &program);
    command
        .args(["--config.file=/alertmanager.yml", "--storage.path=/data"])
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--cluster.listen-address=", "--log.level=error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _process = testkit::ProcessGuard::spawn(&mut command);
    wait_until(Duration::from_secs(60), "Alertmanager is ready", || get(port, "/-/ready").is_some());
    let url = format!("http://127.0.0.1:{port}");
    let receiver = Receiver::new("am", Kind::Alertmanager, &url, Level::Urgent).expect("valid");
    let alerts = Alerts::start(&directory.path().join("queue"), vec![receiver], now).expect("a queue");
    let shown = |state: &str| {
        let text = get(port, "/api/v2/alerts").unwrap_or_default();
        let all: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        all.into_iter()
            .filter(|alert| alert["labels"]["incident"] == "4" && alert["status"]["state"] == state)
            .count()
    };
    alerts.tell(&message(4, What::Opened)).expect("kept");
    wait_until(SOON, "it is shown", || shown("active") == 1);
    let opened = message(4, What::Over);
    alerts.tell(&Message { at_ms: now(), ..opened }).expect("kept");
    wait_until(SOON, "it is over", || shown("active") == 0);
    assert_eq!(alerts.status()[0].trouble, None);
}

/// The program finds its templates at one place only, where its package would put them: a root of its
/// own has them there, and the libraries that it needs.
fn within(root: &TempDir, program: &Path) -> Command {
    let said = Command::new("ldd").arg(program).output().expect("ldd is there").stdout;
    let said = String::from_utf8(said).expect("paths");
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let templates = program.with_file_name("../share/prometheus/alertmanager");
    let templates = std::fs::read_dir(templates).expect("the package has templates");
    let templates = templates.map(|entry| entry.expect("a template").path()).filter(|path| path.is_file());
    let place = Path::new("/usr/share/prometheus/alertmanager");
    let moved = templates.map(|from| (place.join(from.file_name().expect("a name")), from));
    for (to, from) in libraries
        .map(|path| (path.clone(), path))
        .chain(moved)
        .chain([("/program".into(), program.to_owned())])
    {
        let to = root.path().join(to.strip_prefix("/").expect("absolute"));
        std::fs::create_dir_all(to.parent().expect("below the root")).expect("made");
        std::fs::copy(from, to).expect("copied");
    }
    let mut command = Command::new("chroot");
    command.arg(root.path()).arg("/program");
    command
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: a\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}
