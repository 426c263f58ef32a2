//! Attributes and their values, read when they are asked for.

use crate::Malformed;
use crate::protobuf::{Fields, Value};
use base64::Engine as _;
use std::fmt::Write;

/// Attributes of one thing that are read; more are left out and counted.
pub const ATTRIBUTES_MAX: usize = 128;
/// Bytes of a text that are taken over; it is cut beyond.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Lists and maps within each other; deeper ones are `null`.
const DEPTH_MAX: usize = 8;
/// Values of a list or a map; more are left out.
const VALUES_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Any<'a> {
    None,
    Text(&'a str),
    Flag(bool),
    Whole(i64),
    Float(f64),
    /// As messages that are read when they are written out.
    List(&'a [u8]),
    Map(&'a [u8]),
    Bytes(&'a [u8]),
}

/// Names and values in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes<'a> {
    pub all: Vec<(&'a str, Any<'a>)>,
    /// Those beyond the limit.
    pub surplus: usize,
}

impl<'a> Any<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut found = Self::None;
        for field in Fields::of(message) {
            let (number, value) = field?;
            found = match number {
                1 => Self::Text(value.text()?),
                2 => Self::Flag(value.number()? != 0),
                3 => Self::Whole(value.signed()?),
                4 => Self::Float(value.float()?),
                5 => Self::List(value.bytes()?),
                6 => Self::Map(value.bytes()?),
                7 => Self::Bytes(value.bytes()?),
                _ => found,
            };
        }
        Ok(found)
    }

    /// A text as it is, anything else as JSON has it.
    pub fn put_text(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(cut(text)),
            Self::None => {}
            other => other.put_json(out),
        }
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        self.put_text(&mut text);
        text
    }

    pub fn put_json(&self, out: &mut String) {
        self.put_nested(out, 0);
    }

    fn put_nested(&self, out: &mut String, depth: usize) {
        match self {
            Self::None => out.push_str("null"),
            Self::Text(text) => put_json_text(out, text),
            Self::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Whole(number) => _ = write!(out, "{number}"),
            Self::Float(number) if number.is_finite() => _ = write!(out, "{number}"),
            Self::Float(number) => _ = write!(out, "\"{number}\""),
            Self::Bytes(bytes) => {
                let bytes = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
                put_json_text(out, &base64::engine::general_purpose::STANDARD.encode(bytes));
            }
            Self::List(_) | Self::Map(_) if depth >= DEPTH_MAX => out.push_str("null"),
            Self::List(message) => {
                out.push('[');
                for (at, value) in values(message).enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    Any::read(value).unwrap_or(Any::None).put_nested(out, depth + 1);
                }
                out.push(']');
            }
            Self::Map(message) => {
                out.push('{');
                for (at, pair) in values(message).filter_map(|pair| pair_of(pair).ok()).enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    put_json_text(out, pair.0);
                    out.push(':');
                    pair.1.put_nested(out, depth + 1);
                }
                out.push('}');
            }
        }
    }
}

/// The messages of a list, or the pairs of a map.
fn values(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::of(message).map_while(Result::ok);
    fields.filter(|(number, _)| *number == 1).filter_map(|(_, value)| value.bytes().ok()).take(VALUES_MAX)
}

fn pair_of(message: &[u8]) -> Result<(&str, Any<'_>), Malformed> {
    let (mut name, mut content) = ("", Any::None);
    for field in Fields::of(message) {
        match field? {
            (1, value) => name = value.text()?,
            (2, value) => content = Any::read(value.bytes()?)?,
            _ => {}
        }
    }
    Ok((name, content))
}

impl<'a> Attributes<'a> {
    /// Takes one more in.
    pub fn add(&mut self, value: Value<'a>) -> Result<(), Malformed> {
        let pair = pair_of(value.bytes()?)?;
        if self.all.len() < ATTRIBUTES_MAX {
            self.all.push(pair);
        } else {
            self.surplus += 1;
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Any<'a>> {
        self.all.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The value as a text; empty where there is none.
    pub fn text(&self, name: &str) -> String {
        self.get(name).map(Any::text).unwrap_or_default()
    }
}

/// A text in quotes, what has to be escaped escaped, cut to [`TEXT_BYTES_MAX`].
pub fn put_json_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(cut(text)).to_string());
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::otlp::schema;

    fn shown(text: &str) -> String {
        let message = json::to_protobuf(&schema::ANY, text.as_bytes(), 1 << 20).unwrap();
        let mut out = String::new();
        Any::read(&message).unwrap().put_json(&mut out);
        out
    }

    #[test]
    fn values_are_written_as_json() {
        for (value, expect) in [
            (r#"{"stringValue":"a\"\n"}"#, r#""a\"\n""#),
            (r#"{"boolValue":true}"#, "true"),
            (r#"{"intValue":"-7"}"#, "-7"),
            (r#"{"doubleValue":0.5}"#, "0.5"),
            (r#"{"doubleValue":"NaN"}"#, "\"NaN\""),
            (r#"{"bytesValue":"AQI="}"#, "\"AQI=\""),
            (r#"{"arrayValue":{"values":[{"intValue":1},{}]}}"#, "[1,null]"),
            (r#"{"kvlistValue":{"values":[{"key":"a","value":{"boolValue":false}}]}}"#, r#"{"a":false}"#),
            ("{}", "null"),
        ] {
            assert_eq!(shown(value), expect, "{value}");
        }
    }

    #[test]
    fn depth_length_and_number_are_bounded() {
        let deep = format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(20), "]}}".repeat(20));
        assert_eq!(shown(&deep), "[[[[[[[[null]]]]]]]]");
        let long = format!(r#"{{"stringValue":"{}"}}"#, "ü".repeat(TEXT_BYTES_MAX));
        assert_eq!(shown(&long).len(), TEXT_BYTES_MAX + 2);
        let many = format!(r#"{{"arrayValue":{{"values":[{}{{}}]}}}}"#, "{},".repeat(1000));
        assert_eq!(shown(&many).matches("null").count(), VALUES_MAX);
    }
}
