//! What each kind of receiver wants to get: the path below its address, and a JSON body.

mod alertmanager;
mod slack;

use crate::message::Message;
use crate::receiver::{Kind, Receiver};
use serde_json::Value;

/// The whole address and the body.
pub fn request(receiver: &Receiver, message: &Message) -> (String, Value) {
    let url = receiver.url();
    match receiver.kind {
        // Mail has a way of its own.
        Kind::Webhook | Kind::Mail => {
            (url.to_owned(), serde_json::to_value(message).expect("messages have string keys only"))
        }
        Kind::Slack => (url.to_owned(), slack::body(message)),
        Kind::Alertmanager => {
            (format!("{}/api/v2/alerts", url.trim_end_matches('/')), alertmanager::body(message))
        }
    }
}
