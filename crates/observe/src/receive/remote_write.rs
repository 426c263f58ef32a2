//! Prometheus remote write: the same statuses as Prometheus' own receiver gives.

use super::body::{BodyError, UNPACKED_MAX};
use super::push::{Batch, Made};
use super::{Receiver, Taken};
use crate::keep::Kind;
use crate::{Labels, NAME};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use formats::packed::unsnap;
use formats::remote_write::{Metadata, Series, Sink, Version, read};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes of a description that are kept.
const HELP_BYTES_MAX: usize = 1024;
/// Says how many were kept, of version 2.
const WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");

pub async fn write(State(receiver): State<Receiver>, headers: HeaderMap, body: Body) -> Response {
    match take(receiver, &headers, body).await {
        Ok((Taken { taken, refused: 0, .. }, _)) => (StatusCode::NO_CONTENT, written(taken)).into_response(),
        // Everything else is kept: a sender that comes again changes nothing.
        Ok((Taken { taken, refused, why }, is_full)) => {
            let text = format!("{refused} of {} samples were not taken: {why}\n", taken + refused);
            match is_full {
                true => refuse(&BodyError::new(StatusCode::SERVICE_UNAVAILABLE, text)),
                false => (StatusCode::BAD_REQUEST, written(taken), text).into_response(),
            }
        }
        Err(error) => refuse(&error),
    }
}

fn written(count: u64) -> [(HeaderName, HeaderValue); 1] {
    [(WRITTEN, HeaderValue::from(count))]
}

fn refuse(error: &BodyError) -> Response {
    let mut response = (error.status, error.text.clone()).into_response();
    if error.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

async fn take(receiver: Receiver, headers: &HeaderMap, body: Body) -> Result<(Taken, bool), BodyError> {
    let version = version(headers)?;
    let held = receiver.0.room.read(headers, body).await?;
    let turn = receiver.turn().await?;
    let worked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let request = unsnap(&held.bytes, UNPACKED_MAX)?;
        receiver.keep_write(&request, version)
    });
    worked.await.expect("taking what was sent does not panic")
}

fn version(headers: &HeaderMap) -> Result<Version, BodyError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let unknown = |text: String| BodyError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    let encoding = text(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(unknown(format!("the encoding {encoding} is not known; snappy is\n")));
    }
    let kind = text(header::CONTENT_TYPE);
    let mut parts = kind.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-protobuf") || kind.is_empty())
    {
        return Err(unknown(format!("the content type {kind} is not known; application/x-protobuf is\n")));
    }
    match parts.find_map(|part| part.strip_prefix("proto=")) {
        None | Some("prometheus.WriteRequest") => Ok(Version::One),
        Some("io.prometheus.write.v2.Request") => Ok(Version::Two),
        Some(other) => Err(unknown(format!("messages of the kind {other} are not known\n"))),
    }
}

impl Receiver {
    fn keep_write(&self, request: &[u8], version: Version) -> Result<(Taken, bool), BodyError> {
        let stores = &self.0.stores;
        let (taken, is_full) = self
            .0
            .pusher
            .take(&stores.metrics, 0, |batch| read(request, version, &mut Writing { batch, receiver: self }))
            .map_err(|malformed| {
                BodyError::new(StatusCode::BAD_REQUEST, format!("the request cannot be read: {malformed}\n"))
            })?;
        self.0.received.samples.add(taken.taken, taken.refused);
        Ok((taken, is_full))
    }
}

struct Writing<'b, 'p> {
    batch: &'b mut Batch<'p>,
    receiver: &'b Receiver,
}

impl<'a> Sink<'a> for Writing<'_, '_> {
    fn series(&mut self, series: &Series<'a>) {
        if series.histograms > 0 {
            let why = format!("{}: native histograms are not taken", series.get(NAME));
            self.batch.taken.refuse(series.histograms as u64, why);
        }
        let samples = series.samples.len() as u64;
        if series.get(NAME).is_empty() || series.labels.iter().any(|(name, _)| name.is_empty()) {
            self.batch.taken.refuse(samples, "a series has no name, or a label without one");
            return;
        }
        if samples == 0 {
            return;
        }
        let mut hasher = DefaultHasher::new();
        ("write", &series.labels).hash(&mut hasher);
        let made = || Made {
            target: format!("write/{}/{}", series.get("job"), series.get("instance")),
            labels: Labels::new(series.labels.iter().copied()),
            kind: Kind::by_name(series.get(NAME)),
        };
        match self.batch.series(hasher.finish(), made) {
            Some(place) => {
                series.samples.iter().for_each(|(time_ms, value)| self.batch.put(place, *time_ms, *value));
            }
            // One is counted already.
            None => self.batch.taken.refused += samples - 1,
        }
    }

    fn metadata(&mut self, metadata: Metadata<'a>) {
        let help = &metadata.help[..metadata.help.floor_char_boundary(HELP_BYTES_MAX)];
        self.receiver.0.stores.known.learn(metadata.family, metadata.kind, help);
    }
}
