//! JSON with a schema turned into the same message in protocol buffers, so that one reader reads both.
//!
//! Nothing is built up: each value is written as it is met. What the schema does not know is left out.

use crate::protobuf::{put_bytes, put_fixed64, put_message, put_number};
use base64::Engine as _;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The fields of a message.
#[derive(Debug)]
pub struct Schema(pub &'static [Field]);

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub number: u32,
    pub kind: Kind,
}

/// How the value of a field is written in JSON and on the wire. Each may be repeated.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text,
    Base64,
    Hex,
    /// A whole number, also as a text.
    Number,
    Fixed64,
    Double,
    Message(&'static Schema),
}

pub const fn field(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind }
}

/// The message in protocol buffers; an error says where the text is wrong.
pub fn to_protobuf(schema: &'static Schema, text: &[u8], limit: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(text.len().min(limit));
    let mut reader = serde_json::Deserializer::from_slice(text);
    Message { schema, out: &mut out, limit }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(out)
}

struct Message<'o> {
    schema: &'static Schema,
    out: &'o mut Vec<u8>,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Known(self.schema))? {
            match field {
                Some(field) => map.next_value_seed(Content { field, out: self.out, limit: self.limit })?,
                None => map.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }
}

/// The field of a name.
struct Known(&'static Schema);

impl<'de> DeserializeSeed<'de> for Known {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Known {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.0.iter().find(|field| field.name == name))
    }
}

struct Content<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
    limit: usize,
}

impl Content<'_> {
    fn put<E: Error>(self, put: impl FnOnce(&mut Vec<u8>, u32)) -> Result<(), E> {
        if self.out.len() >= self.limit {
            return Err(E::custom("the message is too large"));
        }
        put(self.out, self.field.number);
        Ok(())
    }

    fn put_float<E: Error>(self, value: f64) -> Result<(), E> {
        self.put(|out, number| put_fixed64(out, number, value.to_bits()))
    }
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field.kind {
            Kind::Text => "a text",
            Kind::Base64 => "base64",
            Kind::Hex => "hexadecimal digits",
            Kind::Number | Kind::Fixed64 => "a whole number",
            Kind::Double => "a number",
            Kind::Message(_) => "an object",
        };
        write!(f, "{what} as {}", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.visit_u64(u64::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.put_float(value as f64),
            _ => self.visit_u64(value.cast_unsigned()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.field.kind {
            Kind::Number => self.put(|out, number| put_number(out, number, value)),
            Kind::Fixed64 => self.put(|out, number| put_fixed64(out, number, value)),
            Kind::Double => self.put_float(value as f64),
            _ => Err(E::invalid_type(serde::de::Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.put_float(value),
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let wrong = |content: &Self| E::invalid_value(serde::de::Unexpected::Str(text), content);
        match self.field.kind {
            Kind::Text => self.put(|out, number| put_bytes(out, number, text.as_bytes())),
            Kind::Base64 => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                let bytes = bytes.map_err(|_| wrong(&self))?;
                self.put(|out, number| put_bytes(out, number, &bytes))
            }
            Kind::Hex => {
                let bytes = unhex(text).ok_or_else(|| wrong(&self))?;
                self.put(|out, number| put_bytes(out, number, &bytes))
            }
            // Numbers of 64 bits are texts, since not every program keeps all their digits.
            Kind::Number | Kind::Fixed64 => match (text.parse::<u64>(), text.parse::<i64>()) {
                (Ok(value), _) => self.visit_u64(value),
                (_, Ok(value)) => self.visit_i64(value),
                _ => Err(wrong(&self)),
            },
            Kind::Double => match text {
                "NaN" => self.put_float(f64::NAN),
                "Infinity" => self.put_float(f64::INFINITY),
                "-Infinity" => self.put_float(f64::NEG_INFINITY),
                _ => Err(wrong(&self)),
            },
            Kind::Message(_) => Err(wrong(&self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(schema) = self.field.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        let limit = self.limit;
        let mut done = Ok(());
        self.put(|out, number| {
            done = put_message(out, number, |out| Message { schema, out, limit }.visit_map(map));
        })?;
        done
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        let Self { field, out, limit } = self;
        while all.next_element_seed(Content { field, out, limit })?.is_some() {}
        Ok(())
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Fields;
    use proptest::prelude::*;

    static INNER: Schema = Schema(&[field("more", 1, Kind::Message(&OUTER)), field("hex", 2, Kind::Hex)]);
    static OUTER: Schema = Schema(&[
        field("text", 1, Kind::Text),
        field("number", 2, Kind::Number),
        field("time", 3, Kind::Fixed64),
        field("value", 4, Kind::Double),
        field("inner", 5, Kind::Message(&INNER)),
        field("bytes", 6, Kind::Base64),
    ]);

    #[test]
    fn values_are_written_as_the_schema_says() {
        let text = r#"{"text":"a\u00fc","number":"-1","unknown":{"x":[1,{}]},"time":"18446744073709551615",
            "value":[1,2.5,"NaN"],"inner":[{"hex":"00ff"},{"more":{"number":true}}],"bytes":"AQI=","text":null}"#;
        let out = to_protobuf(&OUTER, text.as_bytes(), 1000).unwrap();
        let shown: Vec<String> = Fields::of(&out).map(|field| format!("{:?}", field.unwrap())).collect();
        assert_eq!(
            shown,
            [
                "(1, Bytes([97, 195, 188]))",
                "(2, Number(18446744073709551615))",
                "(3, Fixed64(18446744073709551615))",
                "(4, Fixed64(4607182418800017408))",
                "(4, Fixed64(4612811918334230528))",
                "(4, Fixed64(9221120237041090560))",
                "(5, Bytes([18, 2, 0, 255]))",
                "(5, Bytes([10, 130, 128, 128, 128, 0, 16, 1]))",
                "(6, Bytes([1, 2]))",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, told) in [
            ("{\"text\":7}", "invalid type: integer `7`, expected a text as text at line 1 column 9"),
            ("{\"number\":\"x\"}", "expected a whole number as number"),
            ("{\"inner\":[[]", "EOF while parsing a list"),
            ("[]", "invalid type: sequence, expected an object"),
            ("{} x", "trailing characters"),
        ] {
            let error = to_protobuf(&OUTER, text.as_bytes(), 1000).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn neither_depth_nor_length_is_without_bounds() {
        let deep = format!("{}{}", "{\"inner\":{\"more\":".repeat(200), "}}".repeat(200));
        assert!(to_protobuf(&OUTER, deep.as_bytes(), 1 << 20).is_err());
        let long = format!("{{\"inner\":[{}{{}}]}}", "{},".repeat(10_000));
        assert!(to_protobuf(&OUTER, long.as_bytes(), 10_000).is_err());
        // What is written takes at most a few times what was read.
        let out = to_protobuf(&OUTER, long.as_bytes(), 1 << 20).unwrap();
        assert!(out.len() <= long.len() * 5 && out.capacity() <= long.len() * 5, "{}", out.capacity());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[a-z0-9{}\[\]:,"\\ .-]{0,80}"#) {
            let _ = to_protobuf(&OUTER, text.as_bytes(), 1000);
        }
    }
}
