//! Bodies that go on: NDJSON from a channel, and status snapshots as server-sent events.

use super::v1::StackStatus;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use run::control::Control;
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// At most one snapshot in this time, however often something changes.
pub const SNAPSHOT_SPACING: Duration = Duration::from_millis(250);
/// A comment this often shows both ends that the other is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One JSON document for each line. What waits is bounded by the channel; a slow reader holds it back.
pub fn ndjson<T: Serialize + Send + 'static>(receiver: mpsc::Receiver<T>) -> Response {
    let lines = stream::unfold(receiver, |mut receiver| async move {
        let mut text = line(&receiver.recv().await?);
        // What is there already goes out in one piece.
        while text.len() < 32 * 1024 {
            match receiver.try_recv() {
                Ok(item) => text.extend(line(&item)),
                Err(_) => break,
            }
        }
        Some((Ok::<_, Infallible>(Bytes::from(text)), receiver))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines)).into_response()
}

fn line(item: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(item).expect("API types have string keys only");
    text.push(b'\n');
    text
}

/// A server-sent event. A carriage return would end a line of it, so none is sent.
pub fn event(name: &str, data: &str) -> Bytes {
    let mut text = format!("event: {name}\n");
    for line in data.split('\n') {
        text.push_str("data: ");
        text.extend(line.chars().filter(|c| *c != '\r'));
        text.push('\n');
    }
    text.push('\n');
    Bytes::from(text)
}

pub fn event_stream(
    body: impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(body)).into_response()
}

/// The status of all stacks: now, and whenever it has changed.
pub fn snapshots(control: Arc<dyn Control>) -> Response {
    let mut changed = control.watch();
    changed.mark_changed();
    let source = Snapshots { control, changed, last: None };
    event_stream(stream::unfold(source, |mut source| async move {
        let sent = source.next().await?;
        Some((Ok(sent), source))
    }))
}

struct Snapshots {
    control: Arc<dyn Control>,
    changed: watch::Receiver<u64>,
    last: Option<Vec<StackStatus>>,
}

impl Snapshots {
    /// The next snapshot that differs, or a sign of life; `None` when the control plane ends.
    async fn next(&mut self) -> Option<Bytes> {
        if self.last.is_some() {
            tokio::time::sleep(SNAPSHOT_SPACING).await;
        }
        loop {
            match timeout(KEEP_ALIVE, self.changed.changed()).await {
                Err(_) => return Some(Bytes::from_static(b": here\n\n")),
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {}
            }
            let Ok(stacks) = self.control.stacks().await else { continue };
            if self.last.as_ref() != Some(&stacks) {
                let sent = event("stacks", &snapshot_text(&stacks));
                self.last = Some(stacks);
                return Some(sent);
            }
        }
    }
}

fn snapshot_text(stacks: &[StackStatus]) -> String {
    serde_json::to_string(stacks).expect("API types have string keys only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_line_ends_in_its_data() {
        assert_eq!(&event("page", "a\r\nb\rc\n")[..], b"event: page\ndata: a\ndata: bc\ndata: \n\n");
    }
}
