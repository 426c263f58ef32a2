//! Checks a tree against its shape and converts scalars to the type the shape asks for, so that
//! later stages meet one type per key: `"true"`, `yes` and `true` all become a boolean.

use super::{Object, Shape, Unknown};
use crate::diagnostics::Sink;
use crate::quantity;
use crate::suggest;
use crate::tree::{Entry, Node, Tag, Value};
use model::{Bytes, DurationMs};

/// Reports everything in `node` that `shape` does not allow; `path` names it in messages.
pub(crate) fn check(node: &mut Node, shape: &'static Shape, sink: &mut Sink) {
    Checker { sink, path: String::new() }.value(node, shape);
}

struct Checker<'a> {
    sink: &'a mut Sink,
    path: String,
}

impl Checker<'_> {
    fn value(&mut self, node: &mut Node, shape: &'static Shape) {
        if node.tag == Tag::Reset || matches!(node.value, Value::Invalid) {
            return;
        }
        match shape {
            Shape::Any => {}
            Shape::Nullable(_) if node.is_null() => {}
            Shape::Nullable(inner) => self.value(node, inner),
            Shape::Either(shapes) => match shapes.iter().find(|shape| accepts(shape, node)) {
                Some(shape) => self.value(node, shape),
                None => self.wrong_kind(node, shape),
            },
            _ if !accepts(shape, node) => self.wrong_kind(node, shape),
            Shape::List(item) => self.list(node, item),
            Shape::Named(item) => self.named(node, item),
            Shape::Pairs => self.pairs(node),
            Shape::Object(object) => self.object(node, object),
            scalar => self.scalar(node, scalar),
        }
    }

    fn list(&mut self, node: &mut Node, item: &'static Shape) {
        let Value::List(list) = &mut node.value else { return };
        for (index, node) in list.iter_mut().enumerate() {
            self.within(&format!("[{index}]"), |checker| checker.value(node, item));
        }
    }

    fn named(&mut self, node: &mut Node, item: &'static Shape) {
        for (key, entry) in node.entries_mut() {
            let key = format!(".{key}");
            self.within(&key, |checker| checker.value(&mut entry.node, item));
        }
    }

    fn pairs(&mut self, node: &mut Node) {
        match node.value {
            Value::List(_) => self.list(node, &Shape::Text),
            _ => self.named(node, &Shape::Scalar),
        }
    }

    fn object(&mut self, node: &mut Node, object: &'static Object) {
        let pos = node.pos;
        let missing =
            object.required.iter().filter(|key| node.as_map().is_some_and(|map| !map.contains_key(**key)));
        for key in missing {
            self.sink.error(pos, format!("{} needs `{key}`", self.shown()));
        }
        for (key, entry) in node.entries_mut() {
            match object.fields.iter().find(|field| field.key == key) {
                Some(field) => {
                    let path = format!(".{key}");
                    self.within(&path, |checker| checker.value(&mut entry.node, &field.shape));
                }
                None if object.extensible && key.starts_with("x-") => {}
                None => self.unknown_key(key, entry, object),
            }
        }
    }

    fn unknown_key(&mut self, key: &str, entry: &Entry, object: &'static Object) {
        let known = object.fields.iter().map(|field| field.key);
        let hint = suggest::hint(key, known);
        let message = match self.path.as_str() {
            "" => format!("unknown top-level key `{key}`"),
            _ => format!("{} has an unknown key `{key}`", self.shown()),
        };
        match (object.unknown, hint) {
            (Unknown::Error, Some(hint)) => self.sink.error_hint(entry.key, message, hint),
            (Unknown::Error, None) => self.sink.error(entry.key, message),
            (Unknown::Warning, Some(hint)) => self.sink.warning_hint(entry.key, message, hint),
            (Unknown::Warning, None) => self.sink.warning(entry.key, message),
        }
    }

    fn scalar(&mut self, node: &mut Node, shape: &'static Shape) {
        match shape {
            Shape::Bool => self.bool(node),
            Shape::Int => self.int(node),
            Shape::Number => self.number(node),
            Shape::Mode => self.mode(node),
            Shape::TextOrNumber | Shape::Scalar => self.make_text(node),
            Shape::Word(words) => self.word(node, words),
            Shape::Duration => self.unit(node, |text| DurationMs::parse(text).map(drop)),
            Shape::Size => {
                self.make_text(node);
                let unlimited = self.path.ends_with("_limit");
                self.unit(node, |text| match text {
                    "-1" if unlimited => Ok(()),
                    text => Bytes::parse(text).map(drop),
                });
            }
            _ => {}
        }
    }

    fn bool(&mut self, node: &mut Node) {
        let Value::Text(text) = &node.value else { return };
        match quantity::boolean(text) {
            Some((value, old)) => {
                if old {
                    let message = format!("`{text}` is not a boolean of YAML 1.2");
                    self.sink.warning_hint(node.pos, message, format!("write `{value}`"));
                }
                node.value = Value::Bool(value);
            }
            None => self.wrong_text(node, &text.clone(), "`true` or `false`"),
        }
    }

    fn int(&mut self, node: &mut Node) {
        match &node.value {
            Value::Text(text) => match text.trim().parse() {
                Ok(value) => node.value = Value::Int(value),
                Err(_) => self.wrong_text(node, &text.clone(), "a whole number"),
            },
            Value::Float(value) => {
                self.wrong_text(node, &crate::tree::go_float(*value), "a whole number");
            }
            _ => {}
        }
    }

    fn number(&mut self, node: &mut Node) {
        let Value::Text(text) = &node.value else { return };
        match text.trim().parse::<f64>() {
            Ok(value) if value.is_finite() => node.value = Value::Float(value),
            _ => self.wrong_text(node, &text.clone(), "a number"),
        }
    }

    fn mode(&mut self, node: &mut Node) {
        let value = match &node.value {
            Value::Text(text) => quantity::octal_mode(text),
            Value::Int(value) => Some(*value).filter(|v| (0..=i64::from(quantity::MAX_MODE)).contains(v)),
            _ => None,
        };
        match value {
            Some(value) => node.value = Value::Int(value),
            None => {
                let text = node.scalar_text().unwrap_or_default();
                self.wrong_text(node, &text, "permission bits such as `0440`");
            }
        }
    }

    /// A number or boolean becomes text.
    fn make_text(&mut self, node: &mut Node) {
        if let Some(text) = node.scalar_text() {
            node.value = Value::Text(text);
        }
    }

    fn word(&mut self, node: &mut Node, words: &'static [&'static str]) {
        let Some(text) = node.as_text() else { return };
        if words.contains(&text) {
            return;
        }
        let message = format!("{} cannot be `{text}`", self.shown());
        let all = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let hint = suggest::hint(text, words.iter().copied()).unwrap_or_else(|| format!("use one of {all}"));
        self.sink.error_hint(node.pos, message, hint);
        node.value = Value::Invalid;
    }

    fn unit(&mut self, node: &mut Node, parse: impl Fn(&str) -> Result<(), model::UnitError>) {
        if let Some(text) = node.as_text()
            && let Err(error) = parse(text)
        {
            let message = format!("{}: `{}` is not a {}", self.shown(), error.value, error.what);
            self.sink.error_hint(node.pos, message, format!("write {}", error.expected));
            node.value = Value::Invalid;
        }
    }

    fn wrong_text(&mut self, node: &mut Node, text: &str, wanted: &str) {
        node.value = Value::Invalid;
        self.sink.error(node.pos, format!("{} must be {wanted}, `{text}` is not", self.shown()));
    }

    fn wrong_kind(&mut self, node: &mut Node, shape: &'static Shape) {
        let message = format!("{} must be {}, this is {}", self.shown(), describe(shape), node.kind());
        let quoted = node.scalar_text().filter(|_| accepts(shape, &Node::text(node.pos, "")));
        match quoted {
            Some(text) if !matches!(node.value, Value::Text(_)) => {
                self.sink.error_hint(node.pos, message, format!("put it in quotes: \"{text}\""));
            }
            _ if node.is_null() => self.sink.error_hint(node.pos, message, "give a value or remove the key"),
            _ => self.sink.error(node.pos, message),
        }
        node.value = Value::Invalid;
    }

    fn shown(&self) -> String {
        match self.path.strip_prefix('.') {
            Some(path) => format!("`{path}`"),
            None => "the file".to_owned(),
        }
    }

    fn within(&mut self, step: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(step);
        check(self);
        self.path.truncate(length);
    }
}

/// Whether the kind of the value fits, its content aside.
fn accepts(shape: &Shape, node: &Node) -> bool {
    match (shape, &node.value) {
        (Shape::Any, _) => true,
        (Shape::Nullable(inner), value) => matches!(value, Value::Null) || accepts(inner, node),
        (Shape::Either(shapes), _) => shapes.iter().any(|shape| accepts(shape, node)),
        (Shape::Text | Shape::Word(_) | Shape::Duration, value) => matches!(value, Value::Text(_)),
        (Shape::Bool, value) => matches!(value, Value::Bool(_) | Value::Text(_)),
        (Shape::Int | Shape::Number | Shape::Mode | Shape::TextOrNumber | Shape::Size, value) => {
            matches!(value, Value::Int(_) | Value::Float(_) | Value::Text(_))
        }
        (Shape::Scalar, value) => !matches!(value, Value::List(_) | Value::Map(_)),
        (Shape::List(_), value) => matches!(value, Value::List(_)),
        (Shape::Named(_) | Shape::Object(_), value) => matches!(value, Value::Map(_)),
        (Shape::Pairs, value) => matches!(value, Value::List(_) | Value::Map(_)),
    }
}

fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Any => "anything".to_owned(),
        Shape::Text | Shape::Word(_) => "text".to_owned(),
        Shape::Duration => "a duration such as `30s`".to_owned(),
        Shape::Bool => "`true` or `false`".to_owned(),
        Shape::Int => "a whole number".to_owned(),
        Shape::Number => "a number".to_owned(),
        Shape::Mode => "permission bits such as `0440`".to_owned(),
        Shape::TextOrNumber => "text or a number".to_owned(),
        Shape::Size => "a size such as `64m`".to_owned(),
        Shape::Scalar => "text, a number or a boolean".to_owned(),
        Shape::List(_) => "a list".to_owned(),
        Shape::Named(_) | Shape::Object(_) => "a mapping".to_owned(),
        Shape::Pairs => "a mapping or a list of `NAME=value`".to_owned(),
        Shape::Nullable(inner) => describe(inner),
        Shape::Either(shapes) => {
            let mut all: Vec<String> = shapes.iter().map(describe).collect();
            all.dedup();
            all.join(" or ")
        }
    }
}
