//! YAML as lock files of package managers use it, as plain values: no tags, no merge keys, every
//! scalar a text, so that a version `1.10` stays what it is.

use granit_parser::{Event, Parser};
use serde_json::{Map, Value};

const DEPTH_LIMIT: usize = 64;
const NODE_LIMIT: usize = 2_000_000;

/// The first document. `Err` names line and column.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { open: Vec::new(), done: None, nodes: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let at = span.start;
        let wrong = |reason: &str| format!("{reason} at line {} column {}", at.line(), at.col() + 1);
        match event {
            Event::Scalar(text, ..) => reader.value(Value::String(text.into_owned())),
            Event::MappingStart(..) => reader.open(Open::Mapping(Map::new(), None)),
            Event::SequenceStart(..) => reader.open(Open::Sequence(Vec::new())),
            Event::MappingEnd | Event::SequenceEnd => reader.close(),
            Event::Alias(..) => Err("aliases are not used in lock files"),
            _ => Ok(()),
        }
        .map_err(wrong)?;
        if reader.done.is_some() {
            break;
        }
    }
    Ok(reader.done.unwrap_or(Value::Null))
}

enum Open {
    Mapping(Map<String, Value>, Option<String>),
    Sequence(Vec<Value>),
}

struct Reader {
    open: Vec<Open>,
    done: Option<Value>,
    nodes: usize,
}

impl Reader {
    fn open(&mut self, what: Open) -> Result<(), &'static str> {
        if self.open.len() == DEPTH_LIMIT {
            return Err("it is nested too deep");
        }
        self.open.push(what);
        Ok(())
    }

    fn close(&mut self) -> Result<(), &'static str> {
        match self.open.pop().expect("the parser closes only what it opened") {
            Open::Mapping(map, _) => self.value(Value::Object(map)),
            Open::Sequence(list) => self.value(Value::Array(list)),
        }
    }

    fn value(&mut self, value: Value) -> Result<(), &'static str> {
        self.nodes += 1;
        if self.nodes > NODE_LIMIT {
            return Err("it is too large");
        }
        match (self.open.last_mut(), value) {
            (None, value) => self.done = Some(value),
            (Some(Open::Sequence(list)), value) => list.push(value),
            (Some(Open::Mapping(_, key @ None)), Value::String(text)) => *key = Some(text),
            (Some(Open::Mapping(_, None)), _) => return Err("a key is not a text"),
            (Some(Open::Mapping(map, key)), value) => {
                map.insert(key.take().expect("the arms above took the other case"), value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_the_texts_they_are() {
        let found =
            parse("a:\n  version: 1.10\n  os: [darwin, '!win32']\n'@x/y@1': {integrity: sha512-a==}\n");
        let expect = serde_json::json!({
            "a": {"version": "1.10", "os": ["darwin", "!win32"]}, "@x/y@1": {"integrity": "sha512-a=="}
        });
        assert_eq!(found.unwrap(), expect);
        assert_eq!(parse("").unwrap(), Value::Null);
    }

    #[test]
    fn what_no_lock_file_has_is_an_error_with_its_place() {
        assert!(parse("a: &x 1\nb: *x\n").unwrap_err().contains("line 2"));
        assert!(parse("a: [1\nb: 2").is_err());
        assert!(
            parse(&format!("{}{}", "[".repeat(100), "]".repeat(100)))
                .unwrap_err()
                .contains("nested too deep")
        );
    }
}
