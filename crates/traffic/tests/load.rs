//! The load against the application it is made for, and against others that fail it.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use traffic::app::App;
use traffic::load::{News, Options, run};
use traffic::report::{Class, Kind, Report, Sample};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(test)
}

fn options(http: SocketAddr, lines: SocketAddr) -> Options {
    Options { http, lines, rate: 500, requests: 1000, websockets: 5, sessions: 5, seed: 7 }
}

async fn load(options: Options) -> (Report, Vec<Sample>) {
    run(options, std::future::pending(), |_| {}).await.expect("the load runs")
}

/// The application on ports of its own; it stops when the sender says so.
async fn app(
    release: &str,
) -> (SocketAddr, SocketAddr, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let app = App::bind(ANY, ANY, release.to_owned()).await.expect("free ports");
    let (http, lines) = app.addresses().expect("bound");
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let serving = tokio::task::spawn_local(app.run(async { _ = stopped.await }));
    (http, lines, stop, serving)
}

#[test]
fn nothing_fails_where_nothing_is_wrong() {
    local(async {
        let (http, lines, stop, serving) = app("one").await;
        let (report, samples) = load(options(http, lines)).await;
        assert_eq!((report.failed, report.requests), (0, 1000), "{:?}", report.failures);
        assert_eq!(report.releases, ["one"]);
        assert_eq!(samples.len(), 1000);
        assert!(samples.iter().all(|sample| sample.release == 0 && !sample.failed));
        for kind in [Kind::KeepAlive, Kind::Close, Kind::SlowBody, Kind::Chunks, Kind::Upload] {
            assert!(report.by_kind.contains_key(&kind), "{kind:?} is in the mix");
        }
        assert_eq!((report.websockets.opened, report.sessions.opened), (5, 5));
        assert!(report.websockets.messages >= 10 && report.sessions.messages >= 10);
        stop.send(()).expect("it serves");
        serving.await.expect("it ends");
    });
}

/// Relays bytes to whichever application is in its turn, new connections only.
async fn relay(targets: Rc<std::cell::Cell<SocketAddr>>, listener: TcpListener) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else { return };
        let target = targets.get();
        tokio::task::spawn_local(async move {
            if let Ok(mut server) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

#[test]
fn an_application_that_is_asked_to_stop_cuts_nobody() {
    local(async {
        let (http_1, lines_1, stop_1, serving_1) = app("one").await;
        let (http_2, lines_2, _stop_2, _) = app("two").await;
        let (http, lines) = (Rc::new(http_1.into()), Rc::new(lines_1.into()));
        let (front, back) = (TcpListener::bind(ANY).await.unwrap(), TcpListener::bind(ANY).await.unwrap());
        // Kept connections have the race that the load counts; without them nothing may fail.
        let options = options(front.local_addr().unwrap(), back.local_addr().unwrap());
        tokio::task::spawn_local(relay(Rc::clone(&http), front));
        tokio::task::spawn_local(relay(Rc::clone(&lines), back));
        let mut stop_1 = Some(stop_1);
        let (report, _) = run(options, std::future::pending(), |news| {
            if let News::Second { done: 200.., .. } = news
                && let Some(stop) = stop_1.take()
            {
                http.set(http_2);
                lines.set(lines_2);
                stop.send(()).expect("it serves");
            }
        })
        .await
        .expect("the load runs");
        let cut: Vec<_> = report.failures.iter().filter(|failure| !failure.on_kept_connection).collect();
        assert!(cut.is_empty(), "{cut:?}");
        assert_eq!(report.releases, ["one", "two"]);
        assert_eq!((report.websockets.ended_politely, report.sessions.ended_politely), (5, 5));
        serving_1.await.expect("it ends");
    });
}

/// What a server that answers nobody well does to the requests of a short run.
async fn check<F: Future<Output = io::Result<()>> + 'static>(
    treat: impl Fn(TcpStream) -> F + 'static,
    expect: &[(Kind, Class)],
) {
    let listener = TcpListener::bind(ANY).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::task::spawn_local(treat(stream));
        }
    });
    let (report, samples) =
        load(Options { requests: 60, rate: 200, websockets: 2, sessions: 2, ..options(address, address) })
            .await;
    server.abort();
    assert!(samples.iter().all(|sample| sample.failed), "no request got what it wanted");
    for (kind, class) in expect {
        let all: Vec<_> = report.failures.iter().filter(|f| f.kind == *kind).collect();
        assert!(!all.is_empty() && all.iter().all(|f| f.class == *class), "{kind:?}, not {class:?}: {all:?}");
    }
}

async fn read_head(stream: &mut TcpStream) -> io::Result<()> {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") && !seen.ends_with(b"\n") {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn each_way_to_fail_has_its_class() {
    use Kind::{Close, KeepAlive, Session, WebSocket};
    let reset = |mut stream: TcpStream| async move {
        read_head(&mut stream).await?;
        stream.set_zero_linger()
    };
    let ends = |mut stream: TcpStream| async move {
        read_head(&mut stream).await?;
        stream.shutdown().await
    };
    let says = |text: &'static str| {
        move |mut stream: TcpStream| async move {
            read_head(&mut stream).await?;
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            // What is left unread would turn the end into a reset.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
        }
    };
    let unavailable = says("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let half = says("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\nhalf");
    let other = says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf");
    let rude = says(
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let nonsense = says("220 mail.example ESMTP\r\n");
    local(async {
        tokio::join!(
            check(reset, &[(KeepAlive, Class::ResetBeforeAnswer), (Session, Class::ResetInAnswer)]),
            check(ends, &[(Close, Class::EndBeforeAnswer), (WebSocket, Class::EndBeforeAnswer)]),
            check(unavailable, &[(KeepAlive, Class::WrongStatus), (WebSocket, Class::WrongStatus)]),
            check(half, &[(KeepAlive, Class::EndInAnswer), (Close, Class::EndInAnswer)]),
            check(other, &[(KeepAlive, Class::WrongBody), (Session, Class::WrongBody)]),
            check(rude, &[(WebSocket, Class::EndWithoutClose)]),
            check(nonsense, &[(KeepAlive, Class::WrongForm), (WebSocket, Class::WrongForm)]),
        )
    });
}

#[test]
fn an_earlier_end_finishes_what_has_begun() {
    local(async {
        let (http, lines, _stop, _) = app("one").await;
        let options = Options { requests: 1_000_000, ..options(http, lines) };
        let (now, asked) = tokio::sync::oneshot::channel();
        let mut now = Some(now);
        let (report, samples) = run(options, async { _ = asked.await }, |news| {
            if let News::Second { done: 100.., .. } = news
                && let Some(now) = now.take()
            {
                now.send(()).expect("the load runs");
            }
        })
        .await
        .expect("the load ends");
        assert_eq!(report.failed, 0, "{:?}", report.failures);
        assert_eq!(report.requests, samples.len() as u64);
        assert!((100..10_000).contains(&report.requests), "{}", report.requests);
    });
}

#[test]
fn nobody_there_is_told_as_such() {
    local(async {
        let nobody = TcpListener::bind(ANY).await.and_then(|listener| listener.local_addr()).expect("a port");
        let (report, samples) = load(Options { requests: 50, ..options(nobody, nobody) }).await;
        assert_eq!(report.by_class.keys().collect::<Vec<_>>(), [&Class::ConnectRefused]);
        assert!(report.failed >= 50 && samples.iter().all(|sample| sample.failed));
        assert!(report.failures[0].failed_us >= report.started_us - 2_000_000);
    });
}
