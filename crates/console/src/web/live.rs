//! The same pages again whenever they would look different, as server-sent events.

use super::pages;
use super::refusal;
use super::subject::View;
use crate::api::{event, event_stream};
use crate::caller::Caller;
use crate::serve::App;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use futures_util::stream;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// A page is drawn at most so often.
const SPACING: Duration = Duration::from_millis(300);
/// And at least so often, for what changes without being told: memory, log lines.
const REFRESH: Duration = Duration::from_secs(2);
/// Without news a comment shows that the connection stands.
const SILENCE: Duration = Duration::from_secs(15);

pub async fn stream_of(State(app): State<App>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let view = match View::of(&uri) {
        Ok(view) => view,
        Err(failure) => return refusal(failure),
    };
    let changed = app.control.watch();
    let page = Page { app, caller, view, changed, last: None };
    event_stream(stream::unfold(page, |mut page| async move {
        let sent = page.next().await?;
        Some((Ok(sent), page))
    }))
}

struct Page {
    app: App,
    caller: Caller,
    view: View,
    changed: watch::Receiver<u64>,
    /// What the browser has.
    last: Option<String>,
}

impl Page {
    /// The page when it differs from the last one sent, else a sign of life; `None` when the
    /// session or the control plane has ended.
    async fn next(&mut self) -> Option<Bytes> {
        let silent_until = Instant::now() + SILENCE;
        while Instant::now() < silent_until {
            if self.last.is_some() {
                sleep(SPACING).await;
                let told = timeout_at(Instant::now() + REFRESH - SPACING, self.changed.changed()).await;
                if matches!(told, Ok(Err(_))) {
                    return None;
                }
            }
            if let Caller::Browser { secret, .. } = &self.caller {
                self.app.access.session(secret)?;
            }
            let main = pages::draw(&self.app, &self.caller, &self.view).await.main().into_string();
            if self.last.as_ref() != Some(&main) {
                let sent = event("page", &main);
                self.last = Some(main);
                return Some(sent);
            }
        }
        Some(Bytes::from_static(b": here\n\n"))
    }
}
