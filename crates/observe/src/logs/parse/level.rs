//! How serious a row says it is, found as quickly as it can be: it is done for every row.

use super::access;
use super::json::{self, Kind};
use crate::logs::row::Level;

/// How much of a text is looked at.
const HEAD_BYTES: usize = 160;
/// Keys under which programs put their level.
const KEYS: [&str; 8] =
    ["level", "severity", "lvl", "levelname", "log.level", "loglevel", "severity_text", "@l"];

pub fn level(text: &str) -> Level {
    let text = text.trim_start();
    if text.starts_with('{') {
        return of_json(text).unwrap_or_default();
    }
    let head = &text[..text.floor_char_boundary(HEAD_BYTES)];
    if let Some(level) = of_words(head) {
        return level;
    }
    if head.contains("] \"") {
        return access::parse(text).map(|access| of_status(access.status)).unwrap_or_default();
    }
    // Only the lines of a stack trace are joined.
    if text.contains('\n') { Level::Error } else { Level::Unknown }
}

fn of_json(text: &str) -> Option<Level> {
    let mut found = None;
    json::each_raw(text, &mut |key, value, kind| {
        if !KEYS.iter().any(|known| known.eq_ignore_ascii_case(key)) {
            return true;
        }
        found = match kind {
            Kind::Other => value.parse().ok().and_then(of_number),
            _ => Level::parse(value),
        };
        found.is_none()
    })?;
    found
}

/// As bunyan and pino number them.
fn of_number(number: u32) -> Option<Level> {
    let of_tens = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];
    (10..70).contains(&number).then(|| of_tens[(number / 10 - 1) as usize])
}

fn of_status(status: &str) -> Level {
    match status.as_bytes().first() {
        Some(b'5') => Level::Error,
        Some(b'4') => Level::Warn,
        _ => Level::Info,
    }
}

/// A word that names a level counts where it is written as one: in capitals, in brackets, before a
/// colon, or after `level=`. Prose about errors is none.
fn of_words(head: &str) -> Option<Level> {
    if head.starts_with("Traceback (most recent call last)") || head.starts_with("Exception in thread ") {
        return Some(Level::Error);
    }
    if let Some(level) = of_glog(head) {
        return Some(level);
    }
    let bytes = head.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
            at += 1;
        }
        // No name of a level is shorter or longer; letters of ASCII begin and end where characters do.
        if (3..=11).contains(&(at - start)) {
            let word = &head[start..at];
            let (before, after) = (start.checked_sub(1).map(|at| bytes[at]), bytes.get(at).copied());
            let stands_alone = !before.is_some_and(is_part_of_word) && !after.is_some_and(is_part_of_word);
            let level = Level::parse(word).filter(|_| stands_alone);
            if level.is_some() && is_marked(word, &head[..start], before, after) {
                return level;
            }
        }
        at += 1;
    }
    None
}

fn is_part_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_marked(word: &str, until: &str, before: Option<u8>, after: Option<u8>) -> bool {
    let is_loud = || word.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_framed = || matches!((before, after), (Some(b'['), Some(b']')) | (Some(b'<'), Some(b'>')));
    let is_value = || {
        before.is_some_and(|byte| b"=\"".contains(&byte)) && {
            let key = until.trim_end_matches(['=', '"']);
            KEYS.iter().any(|known| key.to_ascii_lowercase().ends_with(known))
        }
    };
    let is_heading = || after == Some(b':') && (before.is_none() || before == Some(b' '));
    is_loud() || is_framed() || is_value() || is_heading()
}

/// `E1123 08:00:00.000000 …`, of Google's libraries.
fn of_glog(head: &str) -> Option<Level> {
    let bytes = head.as_bytes();
    if bytes.get(5) != Some(&b' ') || !bytes[1..5].iter().all(u8::is_ascii_digit) {
        return None;
    }
    match bytes[0] {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warn),
        b'E' => Some(Level::Error),
        b'F' => Some(Level::Fatal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_where_they_are_written_as_such() {
        for (text, expect) in [
            (r#"{"time":"x","level":"WARNING","msg":"error"}"#, Level::Warn),
            (r#"{"level":50,"msg":"x"}"#, Level::Error),
            (r#"{"msg":"no level"}"#, Level::Unknown),
            (r#"{"severity":"notice"}"#, Level::Info),
            ("{broken level: error", Level::Unknown),
            ("time=x level=debug msg=\"an error\"", Level::Debug),
            ("2026/11/23 08:00:00 [error] 7#7: *1 open() failed", Level::Error),
            ("2026-11-23 08:00:00,000 ERROR [main] c.e.App - failed", Level::Error),
            ("2026-11-23T08:00:00Z  WARN app::db: slow", Level::Warn),
            ("<err> kernel", Level::Error),
            ("panic: runtime error", Level::Fatal),
            ("error: cannot open", Level::Error),
            ("E1123 08:00:00.000000       1 main.go:7] x", Level::Error),
            ("Traceback (most recent call last):", Level::Error),
            ("for more info ask; there was no error", Level::Unknown),
            ("TERROR in INFORMATIONS", Level::Unknown),
            ("LOG:  database system is ready", Level::Unknown),
            (r#"1.2.3.4 - - [x] "GET /error HTTP/1.1" 502 7 "-" "INFORMER""#, Level::Error),
            (r#"1.2.3.4 - - [x] "GET / HTTP/1.1" 200 7"#, Level::Info),
            ("java.lang.IllegalStateException: no\n\tat a.B.c(B.java:7)", Level::Error),
            ("", Level::Unknown),
        ] {
            assert_eq!(level(text), expect, "{text}");
        }
    }
}
