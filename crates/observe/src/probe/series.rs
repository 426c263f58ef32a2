//! What a probe found, with the names that blackbox_exporter has for it.

use super::{ProbeError, Probed};
use crate::collect::Sink;
use std::time::Duration;

/// Whether the address works: it answered, with success or by sending the client on.
pub fn is_success(found: &Result<Probed, ProbeError>) -> bool {
    found.as_ref().is_ok_and(|probed| (200..400).contains(&probed.status))
}

/// Of an address that did not answer, only that it did not.
pub fn put(found: &Result<Probed, ProbeError>, took: Duration, sink: &mut dyn Sink) {
    let truth = |is: bool| if is { 1.0 } else { 0.0 };
    sink.gauge("probe_success", &[], truth(is_success(found)));
    sink.gauge("probe_duration_seconds", &[], took.as_secs_f64());
    let Ok(probed) = found else { return };
    let phases = &probed.phases;
    sink.gauge("probe_dns_lookup_time_seconds", &[], phases.resolve.as_secs_f64());
    for (phase, took) in [
        ("resolve", phases.resolve),
        ("connect", phases.connect),
        ("tls", phases.tls),
        ("processing", phases.first_byte),
        ("transfer", phases.transfer),
    ] {
        sink.gauge("probe_http_duration_seconds", &[("phase", phase)], took.as_secs_f64());
    }
    sink.gauge("probe_http_status_code", &[], f64::from(probed.status));
    sink.gauge("probe_http_uncompressed_body_length", &[], probed.bytes as f64);
    sink.gauge("probe_http_version", &[], if probed.version == "1.0" { 1.0 } else { 1.1 });
    sink.gauge("probe_http_ssl", &[], truth(probed.certificate_ends_s.is_some()));
    sink.gauge("probe_ip_protocol", &[], if probed.address.is_ipv4() { 4.0 } else { 6.0 });
    if let Some(ends) = probed.certificate_ends_s {
        sink.gauge("probe_ssl_earliest_cert_expiry", &[], ends as f64);
    }
}
