//! Syslog, as Debian's `logger` sends it and by hand.

use super::{Site, search};
use observe::logs::FoundRow;
use observe::receive::Listening;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(20);

async fn listening(site: &Site) -> Listening {
    site.receiver.listen_syslog(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port")
}

/// Waits until so many rows are found.
async fn found(site: &Site, query: &str, count: usize) -> Vec<FoundRow> {
    let end = Instant::now() + LIMIT;
    loop {
        let rows = search(&site.rows, query);
        if rows.len() >= count {
            assert_eq!(rows.len(), count, "{rows:?}");
            return rows;
        }
        assert!(Instant::now() < end, "{query}: {rows:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_logger_sends_is_kept_in_each_form() {
    let Some(logger) = testkit::needs("logger", "bsdutils") else { return };
    let site = Site::start().await;
    let listening = listening(&site).await;
    let port = listening.address.port().to_string();
    let forms = [
        &["--udp", "--rfc5424"][..],
        &["--udp", "--rfc3164"],
        &["--tcp", "--rfc5424", "--octet-count"],
        &["--tcp", "--rfc5424"],
        &["--tcp", "--rfc3164"],
    ];
    for (at, form) in forms.into_iter().enumerate() {
        let text = format!("form {} is sent with {}", at, form.join(" and "));
        let mut command = Command::new(&logger);
        command.args([
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--tag",
            "backup",
            "--priority",
            "daemon.err",
        ]);
        let said = command.args(form).arg("--").arg(&text).output().expect("it starts");
        assert!(said.status.success(), "{said:?}");
        let rows = found(&site, &format!("level:error service:backup source:syslog \"{text}\""), 1).await;
        assert_eq!(rows[0].text, text);
        let now = super::now_ns();
        assert!((now - rows[0].time_ns).abs() < 60_000_000_000, "{} {now}", rows[0].time_ns);
        assert!(!rows[0].stream.instance.is_empty() || form.contains(&"--rfc3164"), "{:?}", rows[0].stream);
    }
}

#[tokio::test]
async fn messages_are_told_apart_on_one_connection() {
    let site = Site::start().await;
    let listening = listening(&site).await;
    let mut stream = TcpStream::connect(listening.address).await.expect("it listens");
    for part in [
        "<11>1 - h a - - - one\n27 <11",
        ">1 - h a - - - two\nlines<11>1 - h a - - - th",
        "ree\n\n",
        "<11>1 - h a - m7 [x@1 k=\"v\"] last",
    ] {
        stream.write_all(part.as_bytes()).await.expect("sent");
        stream.flush().await.expect("sent");
    }
    drop(stream);
    let rows = found(&site, "service:a instance:h", 4).await;
    let mut texts: Vec<&str> = rows.iter().map(|row| &*row.text).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["one", "three", "two\nlines", r#"{"message":"last","id":"m7","x@1.k":"v"}"#]);
    assert_eq!(found(&site, "x@1.k:v", 1).await.len(), 1);
}

#[tokio::test]
async fn strangers_with_many_names_leave_room_for_others() {
    let site = Site::start().await;
    let listening = listening(&site).await;
    let mut stream = TcpStream::connect(listening.address).await.expect("it listens");
    for number in 0..600 {
        let text = format!("<14>1 - h program{number} - - - flood {number}\n");
        stream.write_all(text.as_bytes()).await.expect("sent");
    }
    found(&site, "flood", 600).await;
    found(&site, "flood service:syslog", 100).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.send_to(b"\xff\xfe no text", listening.address).await.expect("sent");
    found(&site, "service:syslog \"no text\"", 1).await;
}
