//! Metrics, rows and spans to collectors of OpenTelemetry and whoever else takes OTLP over HTTP.

use crate::send::{Client, Delivered, Destination};
use formats::otlp::{Signal, put};
use formats::packed::gzip;

/// Points, records or spans of one message, so that receivers with small limits take it.
pub const ITEMS_MAX: usize = 5_000;
/// Bytes of one message before it is packed, roughly: what collectors take unless told otherwise.
pub const BYTES_MAX: usize = 3 << 20;

/// What a message is, as the first byte of what waits on disk.
const MARKS: [(u8, Signal); 3] = [(b't', Signal::Traces), (b'm', Signal::Metrics), (b'l', Signal::Logs)];

pub struct Otlp {
    client: Client,
}

impl Otlp {
    /// The client's place is the address below which `/v1/…` is.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

/// A request as it waits.
pub fn payload(signal: Signal, request: &[u8]) -> Vec<u8> {
    let mark = MARKS.iter().find(|(_, known)| *known == signal).expect("all of them are known").0;
    let mut payload = vec![mark];
    payload.extend_from_slice(&gzip(request));
    payload
}

impl Destination for Otlp {
    fn deliver(&self, payload: &[u8], items: u64) -> Delivered {
        let known = payload.split_first().and_then(|(mark, packed)| {
            MARKS.iter().find(|(known, _)| known == mark).map(|(_, signal)| (*signal, packed))
        });
        let Some((signal, packed)) = known else {
            return Delivered::Lost { items, why: "what waited is no message of OTLP".to_owned() };
        };
        let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
        let answer = match self.client.post(put::path(signal), &headers, packed) {
            Ok(answer) => answer,
            Err(error) => return Delivered::Again { why: error.to_string(), after: None },
        };
        match (answer.delivered(items), put::refused(&answer.body)) {
            (Delivered::All, (refused @ 1.., why)) => {
                let why = if why.is_empty() { "no reason is given".to_owned() } else { why };
                Delivered::Lost { items: refused.min(items), why: format!("some were refused: {why}") }
            }
            (delivered, _) => delivered,
        }
    }
}
