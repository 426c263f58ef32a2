//! What a run of the load leaves behind: a report for people and programs, and a sample for each
//! request for whoever wants to know about a part of the run.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A GET on a kept connection.
    KeepAlive,
    /// A GET on a connection of its own, with `Connection: close`.
    Close,
    /// A body that comes piece by piece over seconds.
    SlowBody,
    /// A body of 10 MiB at once.
    Upload,
    /// An answer in chunks over seconds.
    Chunks,
    /// One of the constant WebSockets.
    WebSocket,
    /// One of the constant sessions of lines over plain TCP.
    Session,
}

impl Kind {
    /// Requests, in the order of their numbers in a sample.
    pub const REQUESTS: [Kind; 5] =
        [Kind::KeepAlive, Kind::Close, Kind::SlowBody, Kind::Upload, Kind::Chunks];

    pub fn words(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Close => "Connection: close",
            Self::SlowBody => "slow body",
            Self::Upload => "upload",
            Self::Chunks => "chunked answer",
            Self::WebSocket => "WebSocket",
            Self::Session => "TCP session",
        }
    }

    /// Takes as long as the system under load makes it, not as long as the load itself.
    pub fn is_quick(self) -> bool {
        matches!(self, Self::KeepAlive | Self::Close)
    }
}

/// How something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    ConnectRefused,
    ConnectReset,
    ConnectTimeout,
    /// The stream was reset before anything of the answer came.
    ResetBeforeAnswer,
    ResetInAnswer,
    /// The stream ended before anything of the answer came.
    EndBeforeAnswer,
    EndInAnswer,
    WrongStatus,
    WrongBody,
    /// What came is not in the protocol's form.
    WrongForm,
    Timeout,
    /// A WebSocket that ended without a close frame.
    EndWithoutClose,
    /// A session or WebSocket that ended with a message unanswered for longer than the way takes.
    Lost,
    /// This machine had no more descriptors or ports for the load.
    Local,
}

impl Class {
    pub fn words(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connection refused",
            Self::ConnectReset => "reset while connecting",
            Self::ConnectTimeout => "no connection in time",
            Self::ResetBeforeAnswer => "reset before an answer",
            Self::ResetInAnswer => "reset within the answer",
            Self::EndBeforeAnswer => "end before an answer",
            Self::EndInAnswer => "end within the answer",
            Self::WrongStatus => "wrong status",
            Self::WrongBody => "wrong body",
            Self::WrongForm => "not the protocol",
            Self::Timeout => "no answer in time",
            Self::EndWithoutClose => "end without a close frame",
            Self::Lost => "message lost",
            Self::Local => "the load's own limits",
        }
    }
}

/// Times are microseconds of the machine's monotonic clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    pub kind: Kind,
    pub class: Class,
    /// One phrase: what came instead.
    pub detail: String,
    /// When it was to begin, and when it was seen to fail.
    pub intended_us: u64,
    pub failed_us: u64,
    /// Nothing of the answer had come on a connection that had served before. Browsers try again
    /// then, unnoticed; here it counts.
    pub on_kept_connection: bool,
    /// The port it came from.
    pub local_port: Option<u16>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KindReport {
    pub sent: u64,
    pub failed: u64,
    /// From the intended moment to the end of the answer, beyond what was planned to take long.
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub largest_us: u64,
}

/// The constant WebSockets or sessions.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct StreamReport {
    pub opened: u64,
    pub messages: u64,
    /// Ended by the other side as the protocol wants it.
    pub ended_politely: u64,
    /// Of these, how many met a message on its way (younger than `load::CROSSING`): told, not lost.
    pub crossed: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pacing {
    pub p50_us: u64,
    pub p99_us: u64,
    pub largest_us: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub started_us: u64,
    pub ended_us: u64,
    pub rate: u64,
    pub requests: u64,
    /// Of all kinds, streams included.
    pub failed: u64,
    pub by_kind: BTreeMap<Kind, KindReport>,
    pub by_class: BTreeMap<Class, u64>,
    /// The first ones (`load::FAILURES_KEPT`).
    pub failures: Vec<Failure>,
    pub websockets: StreamReport,
    pub sessions: StreamReport,
    pub connections: u64,
    /// Kept connections that the other side ended between two requests: as it should be.
    pub ended_between_requests: u64,
    /// How late requests began.
    pub pacing: Pacing,
    /// Processor time of the load itself.
    pub processor_us: u64,
    /// Values of `X-Release` in the order in which they were first seen; samples refer to them.
    pub releases: Vec<String>,
    /// Why the figures must not be used; empty for a valid run.
    pub invalid: Vec<String>,
}

/// One request. Times are microseconds; `intended` counts from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub intended_us: u32,
    /// As in [`KindReport`]; what it took until it failed, for one that did.
    pub latency_us: u32,
    /// Place in [`Report::releases`]; `NO_RELEASE` when no answer named one.
    pub release: u16,
    pub kind: Kind,
    pub failed: bool,
}

pub const NO_RELEASE: u16 = u16::MAX;
const SAMPLE_BYTES: usize = 12;

impl Sample {
    fn to_bytes(self) -> [u8; SAMPLE_BYTES] {
        let mut bytes = [0; SAMPLE_BYTES];
        bytes[..4].copy_from_slice(&self.intended_us.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.latency_us.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.release.to_le_bytes());
        let kind = Kind::REQUESTS.iter().position(|kind| *kind == self.kind);
        bytes[10] = kind.expect("samples are of requests") as u8;
        bytes[11] = u8::from(self.failed);
        bytes
    }

    fn from_bytes(bytes: &[u8; SAMPLE_BYTES]) -> Option<Self> {
        let [i0, i1, i2, i3, l0, l1, l2, l3, r0, r1, kind, failed] = *bytes;
        Some(Self {
            intended_us: u32::from_le_bytes([i0, i1, i2, i3]),
            latency_us: u32::from_le_bytes([l0, l1, l2, l3]),
            release: u16::from_le_bytes([r0, r1]),
            kind: *Kind::REQUESTS.get(usize::from(kind))?,
            failed: failed != 0,
        })
    }
}

pub fn write_samples(samples: &[Sample], to: impl Write) -> io::Result<()> {
    let mut to = io::BufWriter::new(to);
    samples.iter().try_for_each(|sample| to.write_all(&sample.to_bytes()))?;
    to.flush()
}

pub fn read_samples(mut from: impl Read) -> io::Result<Vec<Sample>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    let (samples, rest) = bytes.as_chunks::<SAMPLE_BYTES>();
    let read: Option<Vec<Sample>> = samples.iter().map(Sample::from_bytes).collect();
    read.filter(|_| rest.is_empty()).ok_or_else(|| io::Error::other("the file holds no samples"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_as_they_were_written() {
        let sample = |kind, failed| Sample { intended_us: 70_000, latency_us: 300, release: 2, kind, failed };
        let samples: Vec<Sample> = Kind::REQUESTS.iter().map(|kind| sample(*kind, kind.is_quick())).collect();
        let mut bytes = Vec::new();
        write_samples(&samples, &mut bytes).expect("memory takes it");
        assert_eq!(read_samples(&bytes[..]).expect("samples"), samples);
        assert!(read_samples(&bytes[1..]).is_err());
    }
}
