//! What Elasticsearch answers for single rows. The peer is a small one of our own that speaks the bulk API:
//! no Debian package has the real one.

use super::scripted::{Answer, Scripted};
use super::{client, row, start, until};
use engines::elasticsearch::{Elasticsearch, put};
use serde_json::Value as Json;
use testkit::TempDir;

fn payload() -> String {
    let mut payload = String::new();
    for number in 0..4 {
        put(&mut payload, &row(number, &format!("row {number}\n\"quoted\"")));
    }
    payload
}

#[test]
fn a_row_is_an_action_and_a_document() {
    let payload = payload();
    let lines: Vec<Json> = payload.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 8);
    let ids: Vec<&str> =
        lines.iter().step_by(2).map(|line| line["create"]["_id"].as_str().expect("an id")).collect();
    assert!(ids.iter().all(|id| id.len() == 32) && ids[0] != ids[1]);
    let document = &lines[1];
    assert_eq!(document["@timestamp"], "2026-09-21T14:13:20.123456789Z");
    assert_eq!(document["message"], "row 0\n\"quoted\"");
    assert_eq!((&document["service"]["name"], &document["log"]["level"]), (&"web".into(), &"error".into()));
    assert_eq!(self::payload(), payload, "the same rows have the same identifiers");
}

#[test]
fn rows_that_are_too_many_come_again_alone() {
    let peer = Scripted::start();
    let first = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409}},
        {"create":{"status":429,"error":{"reason":"busy"}}},{"create":{"status":400,"error":{"reason":"no such field"}}}]}"#;
    let then = r#"{"errors":false,"items":[{"create":{"status":201}}]}"#;
    peer.script([Answer::status(200, "<html>"), Answer::status(200, first), Answer::status(200, then)]);
    let directory = TempDir::new();
    let deliverer = start(directory.path(), Box::new(Elasticsearch::new(client(&peer.url()))));
    let payload = payload();
    deliverer.push(payload.as_bytes(), 4).expect("room");
    let status = until(&deliverer, "all have an answer", |status| status.waiting == 0 && status.sent == 3);
    assert_eq!((status.lost, status.trouble), (1, None));
    let asked = peer.asked();
    assert!(asked[0].head.starts_with("post /logs-juchu-default/_bulk "), "{}", asked[0].head);
    let third: String = payload.split_inclusive('\n').skip(4).take(2).collect();
    assert_eq!(String::from_utf8_lossy(&asked[2].body), third);
}
