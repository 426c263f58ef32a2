//! Rows to Elasticsearch, OpenSearch and others by the bulk API, into a data stream.
//!
//! Each row has an identifier of its own, so that one that is sent twice is there once.

use crate::send::{Client, Delivered, Destination};
use serde::Deserialize;
use serde_json::json;
use sha2::Digest as _;
use std::fmt::Write as _;

/// The data stream: `logs-` and a name for the templates of Elasticsearch to find.
pub const STREAM: &str = "logs-juchu-default";

pub struct Elasticsearch {
    client: Client,
}

/// A row as it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    pub stack: &'a str,
    pub service: &'a str,
    pub instance: &'a str,
    pub source: &'a str,
    pub level: &'a str,
    pub text: &'a str,
    /// Tells rows apart that are the same otherwise.
    pub number: u64,
}

/// Appends a row to a payload: two lines.
pub fn put(payload: &mut String, row: &Row<'_>) {
    let time = jiff::Timestamp::from_nanosecond(row.time_ns.into()).unwrap_or_default();
    let mut document = json!({
        "@timestamp": time.to_string(),
        "message": row.text,
        "service": { "name": row.service, "node": { "name": row.instance } },
        "log": { "logger": row.source },
        "juchu": { "stack": row.stack },
    });
    if !row.level.is_empty() {
        document["log"]["level"] = row.level.into();
    }
    let told = format!(
        "{}\0{}\0{}\0{}\0{}\0{}\0{}",
        row.time_ns, row.stack, row.service, row.instance, row.source, row.number, row.text
    );
    let id: String =
        sha2::Sha256::digest(told.as_bytes())[..16].iter().fold(String::new(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        });
    let _ = write!(payload, "{}\n{document}\n", json!({ "create": { "_id": id } }));
}

impl Elasticsearch {
    /// The client's place is the root of the API.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

/// What is answered for each row, in their order.
#[derive(Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Result,
}

#[derive(Deserialize)]
struct Result {
    status: u16,
    #[serde(default)]
    error: serde_json::Value,
}

impl Destination for Elasticsearch {
    fn deliver(&self, payload: &[u8], items: u64) -> Delivered {
        let path = format!("/{STREAM}/_bulk");
        let answer = match self.client.post(&path, &[("Content-Type", "application/x-ndjson")], payload) {
            Ok(answer) => answer,
            Err(error) => return Delivered::Again { why: error.to_string(), after: None },
        };
        match answer.delivered(items) {
            Delivered::All => {}
            other => return other,
        }
        match serde_json::from_slice::<Answer>(&answer.body) {
            Ok(told) if told.errors => rest(payload, &told.items),
            Ok(_) => Delivered::All,
            Err(_) => Delivered::Again {
                why: format!("{} and no answer of a bulk request", answer.said()),
                after: None,
            },
        }
    }
}

/// Rows that are there already are well; those that were too many come again.
fn rest(payload: &[u8], items: &[Item]) -> Delivered {
    let mut lines = payload.split_inclusive(|byte| *byte == b'\n');
    let (mut again, mut again_items, mut lost) = (Vec::new(), 0, 0);
    let mut why = String::new();
    for item in items {
        let row = [lines.next(), lines.next()].map(Option::unwrap_or_default);
        match item.create.status {
            200..=299 | 409 => continue,
            429 | 500..=599 => {
                row.iter().for_each(|line| again.extend_from_slice(line));
                again_items += 1;
            }
            _ => lost += 1,
        }
        if why.is_empty() {
            let reason = item.create.error["reason"].as_str().unwrap_or("no reason is given");
            why = format!(
                "a row was answered {}: {}",
                item.create.status,
                &reason[..reason.floor_char_boundary(200)]
            );
        }
    }
    match again_items {
        0 if lost == 0 => Delivered::All,
        0 => Delivered::Lost { items: lost, why },
        items => Delivered::Rest { payload: again, items, lost, why },
    }
}
