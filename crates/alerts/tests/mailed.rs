//! Mail on its way: to a server that takes it, one that is busy first, and one that refuses.

use alerts::{Alerts, Kind, Message, Receiver, What, try_out};
use model::range::Level;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{TempDir, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// Speaks SMTP in clear; answers the end of each mail with the next of these, the last one for ever.
struct Server {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        std::thread::spawn(move || {
            let mut at = 0;
            for stream in listener.incoming().flatten() {
                if let Some(mail) = talk(stream, answers[at]) {
                    if answers[at].starts_with("250") {
                        kept.lock().expect("not poisoned").push(mail);
                    }
                    at = (at + 1).min(answers.len() - 1);
                }
            }
        });
        Self { address, mails }
    }

    fn receiver(&self) -> Receiver {
        let url =
            format!("smtp://bot:SECRET@{}?tls=none&from=juchu@example.org&to=ops@example.org", self.address);
        Receiver::new("team", Kind::Mail, &url, Level::Important).expect("valid")
    }

    fn mails(&self) -> Vec<String> {
        self.mails.lock().expect("not poisoned").clone()
    }
}

/// One conversation; the mail, head and body.
fn talk(stream: TcpStream, answer: &str) -> Option<String> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let mut say = |text: &str| write!(stream, "{text}\r\n").ok();
    say("220 here")?;
    let mut mail = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return mail;
        }
        match line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => say("250-here\r\n250 AUTH PLAIN")?,
            "AUTH" => say("235 welcome")?,
            "DATA" => {
                say("354 go on")?;
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    reader.read_line(&mut text).ok().filter(|read| *read > 0)?;
                }
                mail = Some(text);
                say(answer)?;
            }
            "QUIT" => {
                say("221 bye")?;
                return mail;
            }
            _ => say("250 well")?,
        }
    }
}

fn message(what: What) -> Message {
    Message {
        what,
        incident: 4,
        level: Level::Urgent,
        machine: "pine".to_owned(),
        subject: "shop/web".to_owned(),
        stack: Some("shop".to_owned()),
        service: Some("web".to_owned()),
        release: None,
        signal: "p95".to_owned(),
        value: "1.4 s".to_owned(),
        range: "20 ms to 60 ms".to_owned(),
        text: "shop/web: p95 is 1.4 s, normal is 20 ms to 60 ms".to_owned(),
        changed: "deploy web by ada, 2 min before".to_owned(),
        suspects: Vec::new(),
        command: "juchu incidents 4".to_owned(),
        opened_ms: 1_795_348_800_000,
        at_ms: 1_795_348_800_000,
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_millis() as i64
}

#[test]
fn a_mail_arrives_with_what_people_need() {
    let server = Server::start(&["250 taken"]);
    try_out(&server.receiver(), &message(What::Opened)).expect("taken");
    wait_until(SOON, "the conversation is over", || !server.mails().is_empty());
    let mail = server.mails().pop().expect("one mail");
    for part in ["Subject: urgent: shop/web: p95 is 1.4 s", "To: ops@example.org", "juchu incidents 4"] {
        assert!(mail.contains(part), "{part} is not in {mail}");
    }
    assert!(!mail.contains("SECRET"), "{mail}");
}

#[test]
fn a_busy_server_is_asked_again_and_one_that_refuses_is_not() {
    let directory = TempDir::new();
    let busy = Server::start(&["451 later", "250 taken"]);
    let alerts = Alerts::start(&directory.path().join("a"), vec![busy.receiver()], now).expect("started");
    alerts.tell(&message(What::Opened)).expect("queued");
    wait_until(SOON, "it is told at the second attempt", || busy.mails().len() == 1);
    wait_until(SOON, "it counts as sent", || alerts.status()[0].sent == 1);
    assert_eq!(alerts.status()[0].failures, 1);

    let refusing = Server::start(&["554 never"]);
    let alerts = Alerts::start(&directory.path().join("b"), vec![refusing.receiver()], now).expect("started");
    alerts.tell(&message(What::Opened)).expect("queued");
    wait_until(SOON, "it is given up", || alerts.status()[0].given_up == 1);
    let status = &alerts.status()[0];
    assert_eq!((status.waiting, status.sent), (0, 0));
    let shown = serde_json::to_string(status).expect("JSON");
    assert!(!shown.contains("SECRET") && shown.contains("ops@example.org by 127.0.0.1"), "{shown}");
}

#[test]
fn a_server_that_demands_nothing_of_tls_is_not_trusted_with_a_password() {
    let server = Server::start(&["250 taken"]);
    let url = format!("smtp://bot:SECRET@{}?from=juchu@example.org&to=ops@example.org", server.address);
    let receiver = Receiver::new("team", Kind::Mail, &url, Level::Important).expect("valid");
    let error = try_out(&receiver, &message(What::Test)).expect_err("it has no TLS").to_string();
    assert!(server.mails().is_empty() && !error.contains("SECRET"), "{error}");
}
