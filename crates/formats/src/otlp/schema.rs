//! The messages of OTLP as JSON has them: names, numbers and kinds of their fields.

use crate::json::{Field, Kind, Schema, field, to_protobuf};

/// What is sent, each to an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// A request in JSON as the same one in protocol buffers of at most so many bytes.
    pub fn from_json(self, text: &[u8], limit: usize) -> Result<Vec<u8>, serde_json::Error> {
        let schema = match self {
            Self::Traces => &TRACES,
            Self::Metrics => &METRICS,
            Self::Logs => &LOGS,
        };
        to_protobuf(schema, text, limit)
    }
}

const fn message(name: &'static str, number: u32, schema: &'static Schema) -> Field {
    field(name, number, Kind::Message(schema))
}

pub static ANY: Schema = Schema(&[
    field("stringValue", 1, Kind::Text),
    field("boolValue", 2, Kind::Number),
    field("intValue", 3, Kind::Number),
    field("doubleValue", 4, Kind::Double),
    message("arrayValue", 5, &LIST),
    message("kvlistValue", 6, &MAP),
    field("bytesValue", 7, Kind::Base64),
]);
static LIST: Schema = Schema(&[message("values", 1, &ANY)]);
static MAP: Schema = Schema(&[message("values", 1, &PAIR)]);
static PAIR: Schema = Schema(&[field("key", 1, Kind::Text), message("value", 2, &ANY)]);
static RESOURCE: Schema = Schema(&[message("attributes", 1, &PAIR)]);
static SCOPE: Schema = Schema(&[field("name", 1, Kind::Text)]);

static TRACES: Schema = Schema(&[message("resourceSpans", 1, &RESOURCE_SPANS)]);
static RESOURCE_SPANS: Schema =
    Schema(&[message("resource", 1, &RESOURCE), message("scopeSpans", 2, &SCOPE_SPANS)]);
static SCOPE_SPANS: Schema = Schema(&[message("scope", 1, &SCOPE), message("spans", 2, &SPAN)]);
static SPAN: Schema = Schema(&[
    field("traceId", 1, Kind::Hex),
    field("spanId", 2, Kind::Hex),
    field("parentSpanId", 4, Kind::Hex),
    field("name", 5, Kind::Text),
    field("kind", 6, Kind::Number),
    field("startTimeUnixNano", 7, Kind::Fixed64),
    field("endTimeUnixNano", 8, Kind::Fixed64),
    message("attributes", 9, &PAIR),
    message("events", 11, &EVENT),
    message("links", 13, &LINK),
    message("status", 15, &STATUS),
]);
static EVENT: Schema = Schema(&[
    field("timeUnixNano", 1, Kind::Fixed64),
    field("name", 2, Kind::Text),
    message("attributes", 3, &PAIR),
]);
static LINK: Schema = Schema(&[field("traceId", 1, Kind::Hex), field("spanId", 2, Kind::Hex)]);
static STATUS: Schema = Schema(&[field("message", 2, Kind::Text), field("code", 3, Kind::Number)]);

static LOGS: Schema = Schema(&[message("resourceLogs", 1, &RESOURCE_LOGS)]);
static RESOURCE_LOGS: Schema =
    Schema(&[message("resource", 1, &RESOURCE), message("scopeLogs", 2, &SCOPE_LOGS)]);
static SCOPE_LOGS: Schema = Schema(&[message("scope", 1, &SCOPE), message("logRecords", 2, &LOG)]);
static LOG: Schema = Schema(&[
    field("timeUnixNano", 1, Kind::Fixed64),
    field("severityNumber", 2, Kind::Number),
    field("severityText", 3, Kind::Text),
    message("body", 5, &ANY),
    message("attributes", 6, &PAIR),
    field("traceId", 9, Kind::Hex),
    field("spanId", 10, Kind::Hex),
    field("observedTimeUnixNano", 11, Kind::Fixed64),
    field("eventName", 12, Kind::Text),
]);

static METRICS: Schema = Schema(&[message("resourceMetrics", 1, &RESOURCE_METRICS)]);
static RESOURCE_METRICS: Schema =
    Schema(&[message("resource", 1, &RESOURCE), message("scopeMetrics", 2, &SCOPE_METRICS)]);
static SCOPE_METRICS: Schema = Schema(&[message("scope", 1, &SCOPE), message("metrics", 2, &METRIC)]);
static METRIC: Schema = Schema(&[
    field("name", 1, Kind::Text),
    field("description", 2, Kind::Text),
    field("unit", 3, Kind::Text),
    message("gauge", 5, &GAUGE),
    message("sum", 7, &SUM),
    message("histogram", 9, &HISTOGRAM),
    message("exponentialHistogram", 10, &EXPONENTIAL),
    message("summary", 11, &SUMMARY),
]);
static GAUGE: Schema = Schema(&[message("dataPoints", 1, &NUMBER)]);
static SUM: Schema = Schema(&[
    message("dataPoints", 1, &NUMBER),
    field("aggregationTemporality", 2, Kind::Number),
    field("isMonotonic", 3, Kind::Number),
]);
static NUMBER: Schema = Schema(&[
    field("timeUnixNano", 3, Kind::Fixed64),
    field("asDouble", 4, Kind::Double),
    field("asInt", 6, Kind::Fixed64),
    message("attributes", 7, &PAIR),
    field("flags", 8, Kind::Number),
]);
static HISTOGRAM: Schema =
    Schema(&[message("dataPoints", 1, &BUCKETS), field("aggregationTemporality", 2, Kind::Number)]);
static BUCKETS: Schema = Schema(&[
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    field("bucketCounts", 6, Kind::Fixed64),
    field("explicitBounds", 7, Kind::Double),
    message("attributes", 9, &PAIR),
    field("flags", 10, Kind::Number),
]);
/// Only counted, for it is refused.
static EXPONENTIAL: Schema = Schema(&[message("dataPoints", 1, &Schema(&[]))]);
static SUMMARY: Schema = Schema(&[message("dataPoints", 1, &QUANTILES)]);
static QUANTILES: Schema = Schema(&[
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    message("quantileValues", 6, &QUANTILE),
    message("attributes", 7, &PAIR),
    field("flags", 8, Kind::Number),
]);
static QUANTILE: Schema = Schema(&[field("quantile", 1, Kind::Double), field("value", 2, Kind::Double)]);
