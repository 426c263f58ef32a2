//! The port to what watches signals: their ranges, incidents, and who is told.
//!
//! The forms here are version 1 of the API; fields are added, never renamed.

use async_trait::async_trait;
use model::range::{Bounds, Declared, Level, Unit};
use model::{DurationMs, Report, ServiceName, StackName};
use serde::{Deserialize, Serialize};
pub use signals::incident::{Affected, Finding, Incident, Note, Silence, Subject};
use signals::range::{Band, Standing};

#[async_trait]
pub trait Ranges: Send + Sync {
    /// Every signal that is watched, the ones outside first.
    async fn ranges(&self) -> Result<Vec<RangeStatus>, Report>;
    /// Declares something of a signal beside what its file says, or takes that back.
    async fn set(&self, request: RangeChange) -> Result<RangeStatus, Report>;
    /// What a signal is now is normal from now on.
    async fn accept(&self, request: SignalNote) -> Result<RangeStatus, Report>;
    /// What services promise, and how that goes.
    async fn objectives(&self) -> Result<Vec<ObjectiveStatus>, Report> {
        Ok(Vec::new())
    }
    /// Oldest first.
    async fn incidents(&self) -> Result<Vec<IncidentStatus>, Report>;
    async fn acknowledge(&self, number: u64, request: Words) -> Result<IncidentStatus, Report>;
    async fn silence(&self, request: SilenceRequest) -> Result<Silence, Report>;
    async fn receivers(&self) -> Result<Vec<ReceiverStatus>, Report>;
    async fn add_receiver(&self, request: ReceiverRequest) -> Result<ReceiverStatus, Report>;
    async fn remove_receiver(&self, name: &str) -> Result<(), Report>;
    /// Tells a receiver something and says what came of it.
    async fn test_receiver(&self, name: &str) -> Result<(), Report>;
}

/// Which signal, written `shop/web/p95` or `machine/disk /`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignalName {
    #[serde(flatten)]
    pub subject: Subject,
    pub signal: String,
}

impl SignalName {
    /// None for what has no subject or no name.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, rest) = text.split_once('/')?;
        let (subject, signal) = match first {
            "machine" => (Subject::MACHINE, rest),
            stack => {
                let (service, signal) = rest.split_once('/')?;
                (Subject::service(StackName::new(stack).ok()?, ServiceName::new(service).ok()?), signal)
            }
        };
        (!signal.is_empty()).then(|| Self { subject, signal: signal.to_owned() })
    }
}

impl std::fmt::Display for SignalName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.subject, self.signal)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangeStatus {
    #[serde(flatten)]
    pub name: SignalName,
    pub unit: Unit,
    pub level: Level,
    pub standing: Standing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// Where the bounds come from.
    pub source: BoundsSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
    /// Widths beyond the band.
    pub beyond: f64,
    /// Since when it is inside, or outside.
    pub since_ms: i64,
    /// Since when it is learned; none when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_since_ms: Option<i64>,
    /// A steady rise that was found, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<String>,
    /// PromQL that gives it among others, where it is measured rather than seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// One promise of `x-juchu.objectives`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveStatus {
    #[serde(flatten)]
    pub subject: Subject,
    /// `availability`, or `answers within 300 ms`.
    pub name: String,
    /// The share of requests that is promised, 0 to 1.
    pub target: f64,
    /// The last hour, six hours and three days.
    pub windows: Vec<BurnWindow>,
    pub budget_days: u64,
    /// The share that is left of what may go wrong in so many days; negative when there was more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<f64>,
    /// How much it wants attention; absent while it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BurnWindow {
    pub minutes: u64,
    pub requests: u64,
    /// The share that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<f64>,
    /// How many times as fast as allowed; absent of fewer than ten requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundsSource {
    /// What signals of this kind never leave.
    Kind,
    /// `x-juchu.ranges`.
    File,
    /// `juchu range set`.
    Set,
    /// There are none.
    None,
}

impl RangeStatus {
    /// `20 ms to 60 ms, at most 400 ms`.
    pub fn range_text(&self) -> String {
        range_text(self.unit, self.bounds.as_ref(), self.band.as_ref())
    }
}

pub fn range_text(unit: Unit, bounds: Option<&Bounds>, band: Option<&Band>) -> String {
    let mut parts = Vec::new();
    if let Some(band) = band {
        parts.push(format!("{} to {}", unit.show(band.low), unit.show(band.high)));
    }
    match bounds.map(|bounds| (bounds.low(), bounds.high())) {
        Some((Some(low), Some(high))) => {
            parts.push(format!("within {} and {}", unit.show(low), unit.show(high)))
        }
        Some((Some(low), None)) => parts.push(format!("at least {}", unit.show(low))),
        Some((None, Some(high))) => parts.push(format!("at most {}", unit.show(high))),
        _ => {}
    }
    if parts.is_empty() { "not known yet".to_owned() } else { parts.join(", ") }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangeChange {
    pub signal: String,
    /// None: what was set before counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Declared>,
    /// Ends as people write them, `400ms`; they are read by the signal's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    #[serde(default)]
    pub actor: String,
    #[serde(default)]
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalNote {
    pub signal: String,
    #[serde(default)]
    pub actor: String,
    #[serde(default)]
    pub why: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    #[serde(default)]
    pub actor: String,
    #[serde(default)]
    pub why: String,
}

/// An incident with what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentStatus {
    #[serde(flatten)]
    pub incident: Incident,
    /// One sentence.
    pub text: String,
    pub suspects: Vec<String>,
    pub is_silenced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceRequest {
    /// All that this incident is about; otherwise what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<u64>,
    /// `shop`, `shop/web`, `shop/web/p95` or `machine`; everything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    pub lasting: DurationMs,
    #[serde(default)]
    pub actor: String,
    #[serde(default)]
    pub why: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverRequest {
    pub name: String,
    /// `webhook`, `slack` or `alertmanager`.
    pub kind: String,
    pub url: String,
    #[serde(default = "important")]
    pub least: Level,
}

/// The address is not for logs.
impl std::fmt::Debug for ReceiverRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReceiverRequest({}, {})", self.name, self.kind)
    }
}

const fn important() -> Level {
    Level::Important
}

/// Who is told, and how that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    pub name: String,
    pub kind: String,
    /// Its address without what may be secret.
    pub place: String,
    pub least: Level,
    pub waiting: usize,
    pub sent: u64,
    pub failures: u64,
    pub given_up: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_that_are_read_back() {
        for text in ["shop/web/p95", "machine/disk /var/lib", "shop/web/probe http://a/b"] {
            assert_eq!(SignalName::parse(text).expect("a name").to_string(), text);
        }
        for text in ["", "web", "shop/web", "shop/web/", "machine/", "Ä/b/c"] {
            assert_eq!(SignalName::parse(text), None, "{text}");
        }
    }
}
