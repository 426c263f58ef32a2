//! Bodies that cannot be read, are too large, or ask for more than the limits allow.

use super::{Site, now_ns};
use formats::packed::gzip;
use observe::keep::{Limits, Settings};
use observe::receive::{BODY_MAX, UNPACKED_MAX};
use proptest::prelude::*;

const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

#[tokio::test]
async fn what_cannot_be_read_is_never_asked_for_again() {
    let site = Site::start().await;
    for (headers, body, status, told) in [
        (&[PROTOBUF][..], &[0x0a, 0xff][..], 400, "the request cannot be read: a number does not end"),
        (&[PROTOBUF, GZIP], b"plain", 400, "what was sent cannot be unpacked by gzip"),
        (&[JSON], b"{\"resourceSpans\":7}", 400, "line 1 column 18"),
        (&[JSON], b"[[[[", 400, "expected an object"),
        (&[("Content-Type", "text/plain")], b"x", 415, "the content type must be"),
        (&[PROTOBUF, ("Content-Encoding", "br")], b"x", 415, "the encoding br is not known"),
    ] {
        let (found, head, answer) = site.post("/v1/traces", headers, body).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(found == status && text.contains(told), "{found} {text}");
        assert!(!head.contains("retry-after"));
    }
}

#[tokio::test]
async fn bodies_have_a_limit_packed_and_unpacked() {
    let site = Site::start().await;
    let (status, _, _) = site.post("/v1/logs", &[PROTOBUF], &vec![0; BODY_MAX + 1]).await;
    assert_eq!(status, 413);
    let bomb = gzip(&vec![0; UNPACKED_MAX + 1]);
    assert!(bomb.len() < BODY_MAX / 20);
    let (status, _, answer) = site.post("/v1/logs", &[PROTOBUF, GZIP], &bomb).await;
    assert_eq!(status, 413, "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn series_beyond_the_limit_are_refused_by_name_and_the_rest_goes_on() {
    let limits = Limits { series_per_target: 5, ..Limits::default() };
    let site = Site::with(Settings { limits }, observe::logs::Limits::default()).await;
    let now = now_ns();
    let points: Vec<String> = (0..10)
        .map(|number| {
            format!(r#"{{"timeUnixNano":"{now}","asInt":"{number}","attributes":[{{"key":"n","value":{{"intValue":{number}}}}}]}}"#)
        })
        .collect();
    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"many","gauge":{{"dataPoints":[{}]}}}}]}}]}}]}}"#,
        points.join(",")
    );
    let (status, _, answer) = site.post("/v1/metrics", &[JSON], body.as_bytes()).await;
    let text = String::from_utf8(answer).unwrap();
    assert!(
        status == 200 && text.contains("\"5\"") && text.contains("the target has 5 series already"),
        "{text}"
    );
    assert_eq!(site.ask("many").len(), 5);
    let named = site.stores.metrics.status().offenders;
    assert!(named.iter().any(|one| one.series.contains("n=\"9\"")), "{named:?}");
}

#[tokio::test]
async fn a_span_never_grows_beyond_a_row() {
    let site = Site::start().await;
    let attributes: Vec<String> = (0..300)
        .map(|number| {
            format!(r#"{{"key":"k{number}","value":{{"stringValue":"{}"}}}}"#, "ü\\\"".repeat(3000))
        })
        .collect();
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"big","startTimeUnixNano":"{}","attributes":[{}]}},{{"traceId":"00","spanId":"1","name":"none"}}]}}]}}]}}"#,
        now_ns(),
        attributes.join(",")
    );
    let (status, _, answer) = site.post("/v1/traces", &[JSON], body.as_bytes()).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    // Hexadecimal digits come in pairs.
    assert!(status == 400 && text.contains("hexadecimal"), "{text}");
    let body = body.replace(r#""spanId":"1""#, r#""spanId":"01""#);
    let (status, _, answer) = site.post("/v1/traces", &[JSON], body.as_bytes()).await;
    assert!(status == 200 && String::from_utf8_lossy(&answer).contains("\"rejectedSpans\":\"1\""));
    let found =
        observe::traces::search::trace(&site.spans, "4bf92f3577b34da6a3ce929d0e0e4736", &|| false).found;
    assert!(found[0].span.left_out >= 172 + 100 && !found[0].span.attributes.is_empty());
    assert_eq!(site.spans.status().cut_rows, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever comes, it is answered; what is kept can be read.
    #[test]
    fn no_bytes_break_a_receiver(
        body in prop::collection::vec(prop_oneof![Just(0x0au8), Just(0x12), Just(0x4a), Just(2), any::<u8>()], 0..200)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let site = Site::start().await;
            for path in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
                for kind in [PROTOBUF, JSON] {
                    let (status, _, _) = site.post(path, &[kind], &body).await;
                    assert!(status == 200 || status == 400, "{status}");
                }
            }
        });
    }
}
