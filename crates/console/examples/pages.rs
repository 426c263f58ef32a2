//! The console over a control plane that is made up, for pictures of its pages: prints a link that
//! works once, and serves until its input ends.

use console::fake::measured::FakeMeasured;
use console::fake::visits::FakeVisits;
use console::fake::{FakeControl, FakeRanges};
use console::{Access, Attached, bind_http, serve_http};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted = SocketAddr::from(([127, 0, 0, 1], 0));
    let (listener, _) = bind_http(wanted).await.expect("a free port on loopback");
    let access = Access::default();
    access.set_port(listener.local_addr().expect("it listens").port());
    let (token, _) = access.issue_link("ada (console)");
    println!("{}/enter/{token}", access.base_url().expect("the port was set"));
    let attached = Attached {
        measured: Some(Arc::new(FakeMeasured::default())),
        visits: Some(Arc::new(FakeVisits)),
        ..Attached::default()
    };
    let until = async {
        // Whoever started it ends it by closing this.
        let _ = tokio::io::stdin().read(&mut [0]).await;
    };
    let control = FakeControl::guestbook().watching(Arc::new(FakeRanges::default()));
    serve_http(listener, Arc::new(control), access, attached, until).await;
}
