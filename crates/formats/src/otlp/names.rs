//! Names of metrics and labels as Prometheus' own receiver of OTLP makes them: `http.server.duration` in
//! `ms` becomes `http_server_duration_milliseconds`.
//! <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>

/// What ends a name beside its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `_total`
    Counter,
    /// `_ratio` for what has the unit 1.
    Gauge,
    Other,
}

const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The name of a metric with its unit, of the characters that names have.
pub fn metric(name: &str, unit: &str, ending: Ending) -> String {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut words: Vec<String> =
        name.split(|c| !is_of_name(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let (main, per) = unit.trim().split_once('/').unwrap_or((unit.trim(), ""));
    add_unit(&mut words, main, &UNITS, None);
    add_unit(&mut words, per, &PER, Some("per"));
    let mut move_to_end = |last: &str| {
        words.retain(|word| word != last);
        words.push(last.to_owned());
    };
    match ending {
        Ending::Counter => move_to_end("total"),
        Ending::Gauge if unit.trim() == "1" => move_to_end("ratio"),
        Ending::Gauge | Ending::Other => {}
    }
    let joined = words.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// Nothing in braces counts, for it says what is counted rather than in what.
fn add_unit(words: &mut Vec<String>, unit: &str, known: &[(&str, &str)], before: Option<&str>) {
    let unit = unit.trim();
    if unit.is_empty() || unit.contains(['{', '}']) {
        return;
    }
    let name = known.iter().find(|(short, _)| *short == unit).map_or(unit, |(_, name)| name);
    let cleaned: Vec<&str> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let name = cleaned.join("_");
    if name.is_empty() || words.contains(&name) {
        return;
    }
    words.extend(before.map(str::to_owned));
    words.push(name);
}

/// The name of a label, of the characters that labels have.
pub fn label(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match clean.as_bytes().first() {
        Some(b'0'..=b'9') => format!("key_{clean}"),
        Some(b'_') if !clean.starts_with("__") => format!("key{clean}"),
        _ => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_prometheus() {
        for (name, unit, ending, expect) in [
            ("http.server.request.duration", "s", Ending::Other, "http_server_request_duration_seconds"),
            ("system.cpu.time", "s", Ending::Counter, "system_cpu_time_seconds_total"),
            ("requests.total.seen", "{request}", Ending::Counter, "requests_seen_total"),
            ("system.network.io", "By", Ending::Counter, "system_network_io_bytes_total"),
            ("speed", "m/s", Ending::Gauge, "speed_meters_per_second"),
            ("cpu.utilization", "1", Ending::Gauge, "cpu_utilization_ratio"),
            ("memory_bytes", "By", Ending::Gauge, "memory_bytes"),
            ("2xx", "", Ending::Gauge, "_2xx"),
            ("a--b..c", "widgets", Ending::Other, "a_b_c_widgets"),
            ("per.minute", "1/m", Ending::Other, "per_minute"),
        ] {
            assert_eq!(metric(name, unit, ending), expect, "{name} {unit}");
        }
    }

    #[test]
    fn labels_have_valid_names() {
        for (name, expect) in
            [("http.route", "http_route"), ("_x", "key_x"), ("__y", "__y"), ("1st", "key_1st"), ("ü", "key_")]
        {
            assert_eq!(label(name), expect);
        }
    }
}
