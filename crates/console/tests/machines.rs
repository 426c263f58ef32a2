//! Programs of others at the console's door: a token lets them to what is attached, and nowhere else.

use axum::Router;
use axum::routing::{get, post};
use base64::Engine as _;
use console::fake::FakeControl;
use console::tokens::{May, TokenStatus, Tokens};
use console::{Access, Attached, bind_http, serve_http};
use model::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Site {
    address: SocketAddr,
    tokens: Tokens,
}

impl Site {
    async fn start() -> Self {
        let (listener, _) = bind_http(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let tokens = Tokens::default();
        let attached = Attached {
            readers: Router::new().route("/prometheus/read", get(async || "read")),
            writers: Router::new().route("/prometheus/send", post(async || "sent")),
            tokens: tokens.clone(),
            ..Attached::default()
        };
        let control = Arc::new(FakeControl::guestbook());
        tokio::spawn(serve_http(listener, control, Access::default(), attached, std::future::pending()));
        Self { address, tokens }
    }

    fn token(&self, name: &str, may: &[May]) -> String {
        let made = Timestamp(1);
        let status = TokenStatus { name: name.into(), may: may.to_vec(), actor: "ada (cli)".into(), made };
        let mut random = [0; 32];
        random[..name.len()].copy_from_slice(name.as_bytes());
        self.tokens.create(status, random).expect("a name").token
    }

    async fn ask(&self, line: &str, authorization: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let head = format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n{authorization}\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }
}

#[tokio::test]
async fn a_token_opens_what_it_may_and_nothing_else() {
    let site = Site::start().await;
    let reads = site.token("reads", &[May::Read]);
    let both = site.token("both", &[May::Read, May::Send]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let (read, send) = ("GET /prometheus/read", "POST /prometheus/send");
    assert_eq!(site.ask(read, "").await, 401);
    assert_eq!(site.ask(read, &bearer("juchu_wrong")).await, 401);
    assert_eq!(site.ask(read, &bearer(&reads)).await, 200);
    assert_eq!(site.ask(send, &bearer(&reads)).await, 403);
    assert_eq!(site.ask(send, &bearer(&both)).await, 200);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("anybody:{reads}"));
    assert_eq!(site.ask(read, &format!("Authorization: Basic {basic}\r\n")).await, 200);
    assert_eq!(site.ask(read, "Authorization: Basic !!\r\n").await, 401);
    // The console itself and its API stay closed, and under another name they are not even there.
    assert_eq!(site.ask("POST /api/v1/changes", &bearer(&both)).await, 421);
    assert_eq!(site.ask("GET /api/v1/stacks", &bearer(&both)).await, 307);
    site.tokens.remove("reads").expect("it is there");
    assert_eq!(site.ask(read, &bearer(&reads)).await, 401);
}
