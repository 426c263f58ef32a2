//! Checks a tree against its shape, twice: what was written, after each file, as the specification's
//! schema does; and, once everything is merged, that each value can become what its key needs.

use super::{Keys, Object, Pattern, Shape, Unknown};
use crate::diagnostics::Sink;
use crate::quantity;
use crate::suggest;
use crate::tree::{Entry, Node, Value};
use std::collections::HashSet;

/// Reports everything in what was written that `shape` does not allow.
pub(crate) fn check(node: &mut Node, shape: &'static Shape, sink: &mut Sink) {
    Checker { sink, path: String::new(), settle: false }.value(node, shape);
}

/// Converts scalars to the type the shape asks for, so that later stages meet one type for each key,
/// and reports what cannot be converted.
pub(crate) fn settle(node: &mut Node, shape: &'static Shape, sink: &mut Sink) {
    Checker { sink, path: String::new(), settle: true }.value(node, shape);
}

struct Checker<'a> {
    sink: &'a mut Sink,
    /// For messages.
    path: String,
    settle: bool,
}

impl Checker<'_> {
    fn value(&mut self, node: &mut Node, shape: &'static Shape) {
        if matches!(node.value, Value::Invalid) {
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
            Shape::Unique(item) => {
                self.list(node, item);
                if !self.settle {
                    self.repeated(node);
                }
            }
            Shape::Named(item) => self.named(node, item),
            Shape::Keyed(keys, item) => self.keyed(node, *keys, item),
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

    /// Items of most lists must differ.
    fn repeated(&mut self, node: &Node) {
        let mut seen = HashSet::new();
        for item in node.items() {
            let text = item.scalar_text().unwrap_or_else(|| item.to_json().to_string());
            let again = !seen.insert(text);
            if again {
                let shown = item.scalar_text().map_or("an item".to_owned(), |text| format!("`{text}`"));
                let message = format!("{shown} stands in {} twice", self.shown());
                self.sink.error_hint(item.pos, message, "keep one of the two");
            }
        }
    }

    fn named(&mut self, node: &mut Node, item: &'static Shape) {
        for (key, entry) in node.entries_mut() {
            let key = format!(".{key}");
            self.within(&key, |checker| checker.value(&mut entry.node, item));
        }
    }

    /// Keys are names of a form. Where others may stand beside them, those are not looked at.
    fn keyed(&mut self, node: &mut Node, keys: Keys, item: &'static Shape) {
        for (key, entry) in node.entries_mut() {
            if keys.allows(key) {
                let key = format!(".{key}");
                self.within(&key, |checker| checker.value(&mut entry.node, item));
            } else if keys.strict() && !self.settle {
                let message = format!("`{key}` cannot be a name in {}", self.shown());
                self.sink.error_hint(entry.key, message, keys.hint());
                entry.node.value = Value::Invalid;
            }
        }
    }

    fn pairs(&mut self, node: &mut Node) {
        match node.value {
            Value::List(_) => self.value(node, &Shape::Unique(&Shape::Text)),
            _ => {
                if let Some((_, entry)) = node.entries().find(|(key, _)| key.is_empty())
                    && !self.settle
                {
                    self.sink.error(entry.key, format!("a name in {} is empty", self.shown()));
                }
                self.named(node, &Shape::Scalar);
            }
        }
    }

    fn object(&mut self, node: &mut Node, object: &'static Object) {
        let pos = node.pos;
        let missing =
            object.required.iter().filter(|key| node.as_map().is_some_and(|map| !map.contains_key(**key)));
        for key in missing.filter(|_| !self.settle) {
            self.sink.error(pos, format!("{} needs `{key}`", self.shown()));
        }
        for (key, entry) in node.entries_mut() {
            match object.fields.iter().find(|field| field.key == key) {
                Some(field) => {
                    let path = format!(".{key}");
                    self.within(&path, |checker| checker.value(&mut entry.node, &field.shape));
                }
                None if object.extensible && key.starts_with("x-") => {}
                None if self.settle || object.unknown == Unknown::Allowed => {}
                None => self.unknown_key(key, entry, object),
            }
        }
    }

    fn unknown_key(&mut self, key: &str, entry: &Entry, object: &'static Object) {
        let known = object.fields.iter().map(|field| field.key);
        let hint = if self.sink.is_full() { None } else { suggest::hint(key, known) };
        let message = match self.path.as_str() {
            "" => format!("unknown top-level key `{key}`"),
            _ => format!("{} has an unknown key `{key}`", self.shown()),
        };
        match (object.unknown, hint) {
            (Unknown::Error, Some(hint)) => self.sink.error_hint(entry.key, message, hint),
            (Unknown::Error, None) => self.sink.error(entry.key, message),
            (Unknown::Warning, Some(hint)) => self.sink.warning_hint(entry.key, message, hint),
            (Unknown::Warning, None) => self.sink.warning(entry.key, message),
            (Unknown::Allowed, _) => {}
        }
    }

    fn scalar(&mut self, node: &mut Node, shape: &'static Shape) {
        match shape {
            Shape::Word(words) => self.word(node, words),
            Shape::Pattern(pattern) => self.pattern(node, *pattern),
            Shape::IntIn(low, high) => self.range(node, *low, *high),
            Shape::SizeFromZero => self.range(node, 0, i64::MAX),
            _ => {}
        }
        if self.settle {
            self.convert(node, shape);
        }
    }

    fn convert(&mut self, node: &mut Node, shape: &'static Shape) {
        match shape {
            Shape::Bool => self.bool(node),
            Shape::Int | Shape::OnlyInt | Shape::IntIn(..) => self.int(node),
            Shape::Count => self.count(node),
            Shape::Number => self.number(node),
            Shape::Mode => self.mode(node),
            Shape::TextOrNumber | Shape::Scalar => self.make_text(node),
            Shape::Duration => self.duration(node),
            Shape::Size | Shape::WholeSize | Shape::SizeFromZero | Shape::SizeText => self.size(node),
            Shape::DeviceCount if node.as_text().is_some_and(|text| text.eq_ignore_ascii_case("all")) => {}
            Shape::DeviceCount => self.int(node),
            Shape::Bare => self.bare(node),
            _ => {}
        }
    }

    fn range(&mut self, node: &mut Node, low: i64, high: i64) {
        let Value::Int(value) = node.value else { return };
        if !(low..=high).contains(&value) {
            let limits = match high {
                i64::MAX => format!("at least {low}"),
                high => format!("from {low} to {high}"),
            };
            self.wrong_text(node, &value.to_string(), &limits);
        }
    }

    fn pattern(&mut self, node: &mut Node, pattern: Pattern) {
        let Some(text) = node.as_text().filter(|text| !pattern.matches(text)) else { return };
        let message = format!("{} cannot be `{text}`", self.shown());
        self.sink.error_hint(node.pos, message, pattern.hint());
        node.value = Value::Invalid;
    }

    fn bool(&mut self, node: &mut Node) {
        let Value::Text(text) = &node.value else { return };
        match quantity::flag(text, node.pos, self.sink) {
            Some(value) => node.value = Value::Bool(value),
            None => self.wrong_text(node, &text.clone(), "`true` or `false`"),
        }
    }

    fn int(&mut self, node: &mut Node) {
        match &node.value {
            Value::Text(text) => match text.parse() {
                Ok(value) => node.value = Value::Int(value),
                Err(_) => self.wrong_text(node, &text.clone(), "a whole number"),
            },
            // What stands behind the point is dropped, as in the reference implementation.
            Value::Float(value) => node.value = Value::Int(*value as i64),
            _ => {}
        }
    }

    fn count(&mut self, node: &mut Node) {
        self.int(node);
        if let Value::Int(value) = node.value
            && value < 0
        {
            self.wrong_text(node, &value.to_string(), "at least 0");
        }
    }

    fn number(&mut self, node: &mut Node) {
        let Value::Text(text) = &node.value else { return };
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => node.value = Value::Float(value),
            _ => self.wrong_text(node, &text.clone(), "a number"),
        }
    }

    fn mode(&mut self, node: &mut Node) {
        let value = match &node.value {
            Value::Text(text) => quantity::octal_mode(text),
            Value::Int(value) => Some(*value),
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

    fn bare(&mut self, node: &mut Node) {
        match &node.value {
            Value::Text(text) => self.wrong_text(node, &text.clone(), "a number without quotes"),
            _ => self.count(node),
        }
    }

    /// A number or boolean becomes text.
    fn make_text(&mut self, node: &mut Node) {
        if let Some(text) = node.scalar_text() {
            node.value = Value::Text(text);
        }
    }

    fn duration(&mut self, node: &mut Node) {
        if let Some(text) = node.as_text()
            && !quantity::is_duration(text)
        {
            let message = format!("{}: `{text}` is not a duration", self.shown());
            self.sink.error_hint(
                node.pos,
                message,
                "write a number with a unit, such as `500ms`, `30s` or `1m30s`",
            );
            node.value = Value::Invalid;
        }
    }

    fn size(&mut self, node: &mut Node) {
        match &node.value {
            Value::Text(text) if quantity::bytes(text).is_none() => {
                let message = format!("{}: `{text}` is not a size", self.shown());
                self.sink.error_hint(node.pos, message, "write a number with a unit, such as `64m` or `1gb`");
                node.value = Value::Invalid;
            }
            // The reference implementation takes only whole numbers for what they are.
            Value::Float(_) => node.value = Value::Text("0".to_owned()),
            _ => self.make_text(node),
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

    fn wrong_text(&mut self, node: &mut Node, text: &str, wanted: &str) {
        node.value = Value::Invalid;
        self.sink.error(node.pos, format!("{} must be {wanted}, `{text}` is not", self.shown()));
    }

    fn wrong_kind(&mut self, node: &mut Node, shape: &'static Shape) {
        if let (Shape::Int | Shape::Count | Shape::IntIn(..), Value::Float(value)) = (shape, &node.value) {
            let text = crate::tree::go_float(*value);
            return self.wrong_text(node, &text, "a whole number");
        }
        let message = format!("{} must be {}, this is {}", self.shown(), describe(shape), node.kind());
        let quoted = node.scalar_text().filter(|_| accepts(shape, &Node::text(node.pos, "")));
        match quoted {
            Some(text) if !matches!(node.value, Value::Text(_)) => {
                self.sink.error_hint(node.pos, message, format!("put it in quotes: \"{text}\""));
            }
            _ if matches!(node.value, Value::Time(_)) => {
                self.sink.error_hint(node.pos, message, "put it in quotes, so that it is text");
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
    let whole = |value: &f64| value.fract() == 0.0;
    match (shape, &node.value) {
        (Shape::Any, _) => true,
        (Shape::Nullable(inner), value) => matches!(value, Value::Null) || accepts(inner, node),
        (Shape::Either(shapes), _) => shapes.iter().any(|shape| accepts(shape, node)),
        (Shape::Text | Shape::Word(_) | Shape::Duration | Shape::Pattern(_) | Shape::SizeText, value) => {
            matches!(value, Value::Text(_))
        }
        (Shape::Bool, value) => matches!(value, Value::Bool(_) | Value::Text(_)),
        (Shape::Flag, value) => matches!(value, Value::Bool(_)),
        (
            Shape::Int | Shape::Count | Shape::IntIn(..) | Shape::WholeSize | Shape::SizeFromZero,
            Value::Float(value),
        ) => whole(value),
        (
            Shape::Int
            | Shape::Count
            | Shape::IntIn(..)
            | Shape::Number
            | Shape::Mode
            | Shape::TextOrNumber
            | Shape::Size
            | Shape::WholeSize
            | Shape::SizeFromZero
            | Shape::DeviceCount
            | Shape::Bare,
            value,
        ) => matches!(value, Value::Int(_) | Value::Float(_) | Value::Text(_)),
        (Shape::OnlyInt, Value::Float(value)) => whole(value),
        (Shape::OnlyInt | Shape::OnlyNumber, value) => matches!(value, Value::Int(_) | Value::Float(_)),
        (Shape::Scalar, value) => !matches!(value, Value::List(_) | Value::Map(_) | Value::Time(_)),
        (Shape::List(_) | Shape::Unique(_), value) => matches!(value, Value::List(_)),
        (Shape::Named(_) | Shape::Keyed(..) | Shape::Object(_), value) => matches!(value, Value::Map(_)),
        (Shape::Pairs, value) => matches!(value, Value::List(_) | Value::Map(_)),
    }
}

fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Any => "anything".to_owned(),
        Shape::Text | Shape::Word(_) | Shape::Pattern(_) => "text".to_owned(),
        Shape::Duration => "a duration such as `30s`".to_owned(),
        Shape::Bool | Shape::Flag => "`true` or `false`".to_owned(),
        Shape::Int | Shape::OnlyInt | Shape::Count | Shape::IntIn(..) => "a whole number".to_owned(),
        Shape::Number | Shape::OnlyNumber | Shape::Bare => "a number".to_owned(),
        Shape::Mode => "permission bits such as `0440`".to_owned(),
        Shape::TextOrNumber => "text or a number".to_owned(),
        Shape::Size | Shape::WholeSize | Shape::SizeFromZero | Shape::SizeText => {
            "a size such as `64m`".to_owned()
        }
        Shape::DeviceCount => "a whole number or `all`".to_owned(),
        Shape::Scalar => "text, a number or a boolean".to_owned(),
        Shape::List(_) | Shape::Unique(_) => "a list".to_owned(),
        Shape::Named(_) | Shape::Keyed(..) | Shape::Object(_) => "a mapping".to_owned(),
        Shape::Pairs => "a mapping or a list of `NAME=value`".to_owned(),
        Shape::Nullable(inner) => describe(inner),
        Shape::Either(shapes) => {
            let mut all: Vec<String> = shapes.iter().map(describe).collect();
            all.dedup();
            all.join(" or ")
        }
    }
}
