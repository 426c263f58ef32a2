//! What a sender is told, in the form in which it asked.

use super::schema::Signal;
use crate::protobuf::{put_bytes, put_message, put_number};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Protobuf,
    Json,
}

impl Form {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Everything was taken, or all but so many for this reason.
pub fn partial(form: Form, signal: Signal, refused: u64, why: &str) -> Vec<u8> {
    if refused == 0 {
        return if form == Form::Json { b"{}".to_vec() } else { Vec::new() };
    }
    if form == Form::Protobuf {
        let mut out = Vec::new();
        put_message(&mut out, 1, |out| {
            put_number(out, 1, refused);
            put_bytes(out, 2, why.as_bytes());
        });
        return out;
    }
    let name = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    };
    let told = serde_json::json!({ "partialSuccess": { name: refused.to_string(), "errorMessage": why } });
    told.to_string().into_bytes()
}

/// Nothing was taken: a `Status` with a code of gRPC.
pub fn failed(form: Form, code: u64, why: &str) -> Vec<u8> {
    match form {
        Form::Json => serde_json::json!({ "code": code, "message": why }).to_string().into_bytes(),
        Form::Protobuf => {
            let mut out = Vec::new();
            put_number(&mut out, 1, code);
            put_bytes(&mut out, 2, why.as_bytes());
            out
        }
    }
}
