//! Messages of syslog, RFC 5424 and RFC 3164, and how they follow each other on a connection.
//! <https://www.rfc-editor.org/rfc/rfc5424>, <https://www.rfc-editor.org/rfc/rfc3164>,
//! <https://www.rfc-editor.org/rfc/rfc6587>

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Structured data of a message that is read; more is left out.
const PARAMETERS_MAX: usize = 64;
/// A name that is longer is none, by the RFC.
const NAME_BYTES_MAX: usize = 255;

/// What a message says. Empty where it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// 0 (emergency) to 7 (debug).
    pub severity: Option<u8>,
    pub facility: Option<u8>,
    /// Nanoseconds since 1970.
    pub time_ns: Option<i64>,
    pub host: &'a str,
    pub program: &'a str,
    pub process: &'a str,
    pub id: &'a str,
    /// `NAME.PARAMETER` and value, what was escaped as it was meant.
    pub data: Vec<(String, String)>,
    pub text: &'a str,
}

/// Reads any text: what does not have the form of a message is the text of one. Times of RFC 3164 have
/// neither year nor zone: the year is that in which they are nearest to now.
pub fn read<'a>(text: &'a str, now: Timestamp, zone: &TimeZone) -> Message<'a> {
    let text = text.trim_end_matches(['\n', '\r', '\0']);
    let Some((priority, rest)) = priority(text) else {
        return Message { text, ..Message::default() };
    };
    let (severity, facility) = (Some(priority % 8), Some(priority / 8));
    let read = rest.strip_prefix("1 ").and_then(new_form).unwrap_or_else(|| old_form(rest, now, zone));
    Message { severity, facility, ..read }
}

/// `<34>`
fn priority(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let priority: u8 = digits.parse().ok().filter(|priority| is_number && *priority <= 191)?;
    Some((priority, rest))
}

fn new_form(rest: &str) -> Option<Message<'_>> {
    let mut parts = rest.splitn(6, ' ');
    let mut next = || parts.next();
    let (time, host, program, process, id) = (next()?, next()?, next()?, next()?, next()?);
    let rest = parts.next()?;
    let said = |text| if text == "-" { "" } else { text };
    let time_ns = match time {
        "-" => None,
        time => Some(i64::try_from(time.parse::<Timestamp>().ok()?.as_nanosecond()).ok()?),
    };
    let (data, text) = structured(rest)?;
    let [host, program, process, id] = [host, program, process, id].map(said);
    Some(Message { time_ns, host, program, process, id, data, text, ..Message::default() })
}

/// `[id a="b" c="d"][…] text`, or `- text`.
fn structured(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut found = Vec::new();
    let mut rest = match text.strip_prefix('-') {
        Some(rest) => rest,
        None => text,
    };
    while let Some(inner) = rest.strip_prefix('[') {
        let end = inner.find([' ', ']'])?;
        let (name, mut inner) = inner.split_at(end);
        while let Some(parameter) = inner.strip_prefix(' ') {
            let (key, value) = parameter.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            if found.len() < PARAMETERS_MAX && key.len() + name.len() <= NAME_BYTES_MAX {
                found.push((format!("{name}.{key}"), value));
            }
            inner = after;
        }
        rest = inner.strip_prefix(']')?;
    }
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let text = rest.strip_prefix(' ').unwrap_or(rest);
    Some((found, text.strip_prefix('\u{feff}').unwrap_or(text)))
}

/// Up to the quote that ends it, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut all = text.char_indices();
    while let Some((at, c)) = all.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match all.next()?.1 {
                c @ ('"' | '\\' | ']') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

/// `Nov 23 08:00:00 host program[7]: text`, of which each part may be missing.
fn old_form<'a>(rest: &'a str, now: Timestamp, zone: &TimeZone) -> Message<'a> {
    let (time_ns, after) = match old_time(rest, now, zone) {
        Some((time, after)) => (Some(time), after),
        None => (None, rest),
    };
    let is_named = |text: &str| {
        let name = text.split([':', '[']).next().unwrap_or_default();
        !name.is_empty()
            && name.len() < text.len()
            && name.len() <= NAME_BYTES_MAX
            && !name.contains(char::is_whitespace)
    };
    // The library of C leaves the host out when it speaks with its own machine.
    let word = after.split(' ').next().unwrap_or_default();
    let (host, after) = match after.split_once(' ') {
        Some((host, after)) if time_ns.is_some() && !is_named(word) => (host, after.trim_start()),
        _ => ("", after),
    };
    let word = after.split(' ').next().unwrap_or_default();
    if !is_named(word) {
        return Message { time_ns, host, text: after, ..Message::default() };
    }
    let (tag, text) = after.split_once(':').unwrap_or((after, ""));
    let (program, process) = match tag.split_once('[') {
        Some((program, process)) => (program, process.trim_end_matches(']')),
        None => (tag, ""),
    };
    Message {
        time_ns,
        host,
        program,
        process,
        text: text.strip_prefix(' ').unwrap_or(text),
        ..Message::default()
    }
}

fn old_time<'a>(text: &'a str, now: Timestamp, zone: &TimeZone) -> Option<(i64, &'a str)> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (head, after) = text.split_at_checked("Nov 23 08:00:00".len())?;
    let month = MONTHS.iter().position(|month| head.starts_with(month))? as i8 + 1;
    let day: i8 = head.get(4..6)?.trim_start().parse().ok()?;
    let number = |range: std::ops::Range<usize>| head.get(range)?.parse::<i8>().ok();
    let (hour, minute, second) = (number(7..9)?, number(10..12)?, number(13..15)?);
    let year = now.to_zoned(zone.clone()).year();
    let times = [year - 1, year, year + 1].into_iter().filter_map(|year| {
        let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        let time = time.to_zoned(zone.clone()).ok()?.timestamp();
        i64::try_from(time.as_nanosecond()).ok()
    });
    let now_ns = i64::try_from(now.as_nanosecond()).ok()?;
    Some((times.min_by_key(|time| time.abs_diff(now_ns))?, after.strip_prefix(' ').unwrap_or(after)))
}

/// Bytes of a message on a connection; a longer one is cut off.
pub const FRAME_BYTES_MAX: usize = 64 << 10;

/// What the bytes of a connection begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A message lies in this range; what follows begins at `next`.
    Whole { start: usize, end: usize, next: usize },
    /// More has to be read.
    Part,
    /// A length is named that no message has: the connection cannot be followed any more.
    Broken,
}

/// Messages have their length before them, or end with a new line; each says which by how it begins.
pub fn frame(bytes: &[u8]) -> Frame {
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        let head = &bytes[..bytes.len().min(8)];
        let Some(space) = head.iter().position(|byte| *byte == b' ') else {
            return if head.len() < 8 && head.iter().all(u8::is_ascii_digit) {
                Frame::Part
            } else {
                by_line(bytes)
            };
        };
        if !head[..space].iter().all(u8::is_ascii_digit) {
            return by_line(bytes);
        }
        let length = std::str::from_utf8(&head[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
        return match length {
            Some(length) if length > FRAME_BYTES_MAX => Frame::Broken,
            Some(length) if bytes.len() >= space + 1 + length => {
                let end = space + 1 + length;
                Frame::Whole { start: space + 1, end, next: end }
            }
            _ => Frame::Part,
        };
    }
    by_line(bytes)
}

fn by_line(bytes: &[u8]) -> Frame {
    match bytes.iter().take(FRAME_BYTES_MAX).position(|byte| *byte == b'\n' || *byte == 0) {
        Some(end) => Frame::Whole { start: 0, end, next: end + 1 },
        None if bytes.len() >= FRAME_BYTES_MAX => {
            Frame::Whole { start: 0, end: FRAME_BYTES_MAX, next: FRAME_BYTES_MAX }
        }
        None => Frame::Part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        "2026-01-02T00:00:00Z".parse().unwrap()
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let read = read(text, now(), &TimeZone::UTC);
        let time = read.time_ns.map(|ns| Timestamp::from_nanosecond(ns.into()).unwrap().to_string());
        let Message { severity, host, program, process, id, data, text, .. } = read;
        let data: Vec<String> = data.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let shown = format!(
            "{} {} {host}|{program}|{process}|{id}|{}|{text}",
            severity.map_or("-".to_owned(), |severity| severity.to_string()),
            time.unwrap_or("-".into()),
            data.join(",")
        );
        assert_eq!(shown, expect);
    }

    #[test]
    fn both_forms_are_read_and_anything_else_is_a_text() {
        check(
            "<34>1 2026-01-01T22:14:15.003Z mymachine su 12 ID47 - \u{feff}'su root' failed\n",
            "2 2026-01-01T22:14:15.003Z mymachine|su|12|ID47||'su root' failed",
        );
        check(
            r#"<165>1 - - - - - [a@1 x="1" y="q\"\]\\\n"][b z="ü"] text"#,
            r#"5 - ||||a@1.x=1,a@1.y=q"]\\n,b.z=ü|text"#,
        );
        check("<13>1 2026-01-01T00:00:00+02:00 h p - - -", "5 2025-12-31T22:00:00Z h|p||||");
        check("<13>Dec 31 23:59:00 host cron[7]: a: b", "5 2025-12-31T23:59:00Z host|cron|7|||a: b");
        check("<13>Jan  3 01:02:03 sudo: x", "5 2026-01-03T01:02:03Z |sudo||||x");
        check("<13>Jan  3 01:02:03 host only text here", "5 2026-01-03T01:02:03Z host|||||only text here");
        check("<13>no time: here", "5 - |||||no time: here");
        check("<13>app: here", "5 - |app||||here");
        check("<999>x", "- - |||||<999>x");
        check("plain", "- - |||||plain");
        check("<0>", "0 - |||||");
        check("<13>1 2026-99-01T00:00:00Z h p - - - x", "5 - |||||1 2026-99-01T00:00:00Z h p - - - x");
    }

    #[test]
    fn messages_follow_each_other_by_length_or_by_line() {
        for (bytes, expect) in [
            (&b"5 <1>ab7 "[..], Frame::Whole { start: 2, end: 7, next: 7 }),
            (b"5 <1>", Frame::Part),
            (b"12", Frame::Part),
            (b"<1>a\n<1>b", Frame::Whole { start: 0, end: 4, next: 5 }),
            (b"<1>a", Frame::Part),
            (b"7x\n", Frame::Whole { start: 0, end: 2, next: 3 }),
            (b"99999999 x\n", Frame::Whole { start: 0, end: 10, next: 11 }),
            (b"999999 x", Frame::Broken),
            (b"", Frame::Part),
        ] {
            assert_eq!(frame(bytes), expect, "{}", String::from_utf8_lossy(bytes));
        }
        let long = vec![b'<'; FRAME_BYTES_MAX + 7];
        assert_eq!(frame(&long), Frame::Whole { start: 0, end: FRAME_BYTES_MAX, next: FRAME_BYTES_MAX });
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"(<[0-9]{1,3}>)?(1 )?[ -~ü]{0,60}"#) {
            read(&text, now(), &TimeZone::UTC);
        }

        /// What a frame holds lies within the bytes, and there is always a way on.
        #[test]
        fn frames_lie_within_their_bytes(bytes in prop::collection::vec(prop_oneof![Just(b'1'), Just(b' '), Just(b'\n'), any::<u8>()], 0..60)) {
            if let Frame::Whole { start, end, next } = frame(&bytes) {
                prop_assert!(start <= end && end <= next && next <= bytes.len() && next > 0);
            }
        }
    }
}
