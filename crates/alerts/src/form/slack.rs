//! Incoming webhooks as Slack has them, and those who take the same.

use crate::message::{Message, What};
use serde_json::{Value, json};

pub fn body(message: &Message) -> Value {
    let sign = match message.what {
        What::Over => "✔",
        What::Test => "·",
        _ => "✖",
    };
    let mut text = format!("{sign} *{}*", escaped(&message.title()));
    for line in message.lines() {
        text.push('\n');
        text.push_str(&escaped(&line));
    }
    json!({ "text": text })
}

/// The three characters that mean something in a message.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
