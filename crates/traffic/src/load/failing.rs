//! Which class an error belongs to: by what had been done and had come when it was seen.

use crate::report::Class;
use std::io::{Error, ErrorKind};

/// How far a request or stream had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Connecting,
    Sending,
    /// All is sent; nothing has come.
    Waiting,
    Receiving,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub class: Class,
    pub detail: String,
}

impl Cause {
    pub fn new(class: Class, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into() }
    }

    pub fn of(error: &Error, stage: Stage) -> Self {
        Self::new(class(error.kind(), stage), format!("{error} while {}", words(stage)))
    }
}

fn class(kind: ErrorKind, stage: Stage) -> Class {
    use ErrorKind as E;
    match (kind, stage) {
        (E::ConnectionRefused, _) => Class::ConnectRefused,
        (E::TimedOut, Stage::Connecting) => Class::ConnectTimeout,
        (E::ConnectionReset | E::BrokenPipe, Stage::Connecting) => Class::ConnectReset,
        (E::ConnectionReset | E::BrokenPipe, Stage::Sending | Stage::Waiting) => Class::ResetBeforeAnswer,
        (E::ConnectionReset | E::BrokenPipe, Stage::Receiving) => Class::ResetInAnswer,
        (E::UnexpectedEof, Stage::Receiving) => Class::EndInAnswer,
        (E::UnexpectedEof, _) => Class::EndBeforeAnswer,
        (E::InvalidData, _) => Class::WrongForm,
        (E::TimedOut, _) => Class::Timeout,
        // Out of ports, descriptors or memory.
        _ => Class::Local,
    }
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Connecting => "connecting",
        Stage::Sending => "sending",
        Stage::Waiting => "waiting for the answer",
        Stage::Receiving => "receiving the answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_told_by_what_had_come() {
        let of = |kind, stage| Cause::of(&Error::from(kind), stage).class;
        assert_eq!(of(ErrorKind::ConnectionReset, Stage::Waiting), Class::ResetBeforeAnswer);
        assert_eq!(of(ErrorKind::ConnectionReset, Stage::Receiving), Class::ResetInAnswer);
        assert_eq!(of(ErrorKind::UnexpectedEof, Stage::Sending), Class::EndBeforeAnswer);
        assert_eq!(of(ErrorKind::ConnectionRefused, Stage::Connecting), Class::ConnectRefused);
        assert_eq!(of(ErrorKind::AddrNotAvailable, Stage::Connecting), Class::Local);
    }
}
