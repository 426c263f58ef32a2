//! Variables in values: `$NAME`, `${NAME}`, `${NAME:-default}`, `-`, `:?`, `?`, `:+`, `+`, nested,
//! and `$$` for a dollar sign. Works on text and on whole trees; keys are never interpolated.

use crate::diagnostics::{Pos, Sink};
use crate::quantity;
use crate::rules::Rules;
use crate::tree::{Node, Value};
use std::cell::RefCell;
use std::sync::LazyLock;

/// Substitutions within the default of a substitution.
pub(crate) const MAX_NESTING: usize = 16;
/// Bytes one value may have after substitution.
pub(crate) const MAX_VALUE_BYTES: usize = 1 << 20;

/// Why a text could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("invalid substitution in `{0}`")]
    Syntax(String),
    #[error("required variable {name} is missing a value{}", reason(.message))]
    Required { name: String, message: String },
    #[error("substitutions are nested deeper than {MAX_NESTING} levels")]
    TooDeep,
    #[error("the value is longer than {MAX_VALUE_BYTES} bytes after substitution")]
    TooLong,
}

fn reason(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl TemplateError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            TemplateError::Syntax(_) => Some("write `$$` for a dollar sign, or close `${NAME}`".to_owned()),
            TemplateError::Required { name, .. } => Some(format!("set {name} in the environment or in .env")),
            TemplateError::TooDeep | TemplateError::TooLong => None,
        }
    }
}

/// Gives values to names and remembers which had none.
pub(crate) struct Expander<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: RefCell<Vec<String>>,
}

impl<'a> Expander<'a> {
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, unset: RefCell::new(Vec::new()) }
    }

    /// Names that had no value and no default since the last call.
    pub fn take_unset(&self) -> Vec<String> {
        std::mem::take(&mut self.unset.borrow_mut())
    }

    pub fn expand(&self, text: &str) -> Result<String, TemplateError> {
        self.expand_at(text, 0)
    }

    fn expand_at(&self, text: &str, nesting: usize) -> Result<String, TemplateError> {
        if nesting > MAX_NESTING {
            return Err(TemplateError::TooDeep);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        // `${NAME:-…}` may reach up to the last brace of its line; found once for each line.
        let mut line = Line::default();
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let start = text.len() - rest.len() + at;
            line.advance(text, start);
            rest = self.dollar(text, start + 1, line.last_brace, nesting, &mut out)?;
            if out.len() > MAX_VALUE_BYTES {
                return Err(TemplateError::TooLong);
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Expands what follows the dollar sign before `start` and returns what is left.
    fn dollar<'t>(
        &self,
        text: &'t str,
        start: usize,
        last_brace: Option<usize>,
        nesting: usize,
        out: &mut String,
    ) -> Result<&'t str, TemplateError> {
        let rest = &text[start..];
        if let Some(rest) = rest.strip_prefix('$') {
            out.push('$');
            return Ok(rest);
        }
        if let Some(inner) = rest.strip_prefix('{') {
            let (name, operation) = split_name(inner);
            let end = match operation.chars().next() {
                _ if name.is_empty() => None,
                Some('}') => Some(name.len()),
                Some(':' | '-' | '+' | '?') => last_brace
                    .and_then(|brace| brace.checked_sub(start + 1))
                    .filter(|last| *last >= name.len())
                    .map(|last| closing_brace(&inner[..=last]).unwrap_or(last)),
                _ => None,
            };
            let end = end.ok_or_else(|| TemplateError::Syntax(excerpt(text)))?;
            out.push_str(&self.braced(name, &inner[name.len()..end], text, nesting)?);
            return Ok(&inner[end + 1..]);
        }
        let (name, rest) = split_name(rest);
        match name {
            "" => out.push('$'),
            name => out.push_str(&self.value_or_empty(name)),
        }
        Ok(rest)
    }

    /// The word of an operation is expanded even where it is not needed, as the reference
    /// implementation does: what it requires is required.
    fn braced(
        &self,
        name: &str,
        operation: &str,
        whole: &str,
        nesting: usize,
    ) -> Result<String, TemplateError> {
        if operation.is_empty() {
            return Ok(self.value_or_empty(name));
        }
        let (colon, after) = match operation.strip_prefix(':') {
            Some(after) => (true, after),
            None => (false, operation),
        };
        let mut chars = after.chars();
        let operator = chars.next().filter(|c| matches!(c, '-' | '+' | '?'));
        let Some(operator) = operator else { return Err(TemplateError::Syntax(excerpt(whole))) };
        let word = self.expand_at(chars.as_str(), nesting + 1).map_err(|error| match error {
            TemplateError::Syntax(_) => TemplateError::Syntax(excerpt(whole)),
            other => other,
        })?;
        let value = (self.lookup)(name).filter(|value| !colon || !value.is_empty());
        match (operator, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => Err(TemplateError::Required { name: name.to_owned(), message: word }),
        }
    }

    fn value_or_empty(&self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            self.unset.borrow_mut().push(name.to_owned());
            String::new()
        })
    }
}

/// The start of a text, for messages.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 60;
    let line = text.lines().find(|line| line.contains('$')).unwrap_or(text);
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// The line a walk is in.
#[derive(Default)]
struct Line {
    end: usize,
    /// The last closing brace of it.
    last_brace: Option<usize>,
}

impl Line {
    fn advance(&mut self, text: &str, at: usize) {
        if at >= self.end {
            self.end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
            self.last_brace = text[at..self.end].rfind('}').map(|brace| at + brace);
        }
    }
}

/// Where the brace opened before `text` closes. A brace counts wherever it stands, except right
/// after an opening one.
pub(crate) fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open = 1usize;
    // The first character after the opening brace is not looked at.
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            b'{' => {
                open += 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

pub(crate) fn split_name(text: &str) -> (&str, &str) {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return ("", text);
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

/// What a text becomes at some places, so that a variable may stand where a number is wanted.
#[derive(Clone, Copy)]
enum Cast {
    Int,
    Number,
    Bool,
}

static CASTS: LazyLock<Rules<Cast>> = LazyLock::new(|| {
    let ints = [
        "services.*.cpu_count",
        "services.*.cpu_period",
        "services.*.cpu_quota",
        "services.*.cpu_rt_period",
        "services.*.cpu_rt_runtime",
        "services.*.cpu_shares",
        "services.*.deploy.replicas",
        "services.*.deploy.update_config.parallelism",
        "services.*.deploy.rollback_config.parallelism",
        "services.*.deploy.restart_policy.max_attempts",
        "services.*.deploy.placement.max_replicas_per_node",
        "services.*.healthcheck.retries",
        "services.*.oom_score_adj",
        "services.*.pids_limit",
        "services.*.ports.*.target",
        "services.*.scale",
        "services.*.ulimits.*",
        "services.*.ulimits.*.hard",
        "services.*.ulimits.*.soft",
    ];
    let numbers = [
        "services.*.cpu_percent",
        "services.*.cpus",
        "services.*.deploy.update_config.max_failure_ratio",
        "services.*.deploy.rollback_config.max_failure_ratio",
    ];
    let flags = [
        "services.*.init",
        "services.*.healthcheck.disable",
        "services.*.oom_kill_disable",
        "services.*.privileged",
        "services.*.read_only",
        "services.*.stdin_open",
        "services.*.tty",
        "services.*.volumes.*.read_only",
        "services.*.volumes.*.volume.nocopy",
        "networks.*.external",
        "networks.*.internal",
        "networks.*.attachable",
        "networks.*.enable_ipv4",
        "networks.*.enable_ipv6",
        "volumes.*.external",
        "secrets.*.external",
        "configs.*.external",
    ];
    let ints = ints.map(|place| (place, Cast::Int));
    let numbers = numbers.map(|place| (place, Cast::Number));
    let flags = flags.map(|place| (place, Cast::Bool));
    Rules::new(ints.into_iter().chain(numbers).chain(flags))
});

/// Expands every value of a tree in place.
pub(crate) fn tree(node: &mut Node, lookup: &dyn Fn(&str) -> Option<String>, sink: &mut Sink) {
    let mut walk = Walk { expander: Expander::new(lookup), sink, path: String::new() };
    walk.node(node, Some(&CASTS));
}

struct Walk<'a> {
    expander: Expander<'a>,
    sink: &'a mut Sink,
    /// For messages.
    path: String,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node, rules: Option<&Rules<Cast>>) {
        match &mut node.value {
            Value::Text(_) => self.text(node, rules.and_then(|rules| rules.rule)),
            Value::List(list) => {
                let rules = rules.and_then(Rules::item);
                for (index, item) in list.iter_mut().enumerate() {
                    self.within(&format!("[{index}]"), |walk| walk.node(item, rules));
                }
            }
            Value::Map(map) => {
                for (key, entry) in map.iter_mut() {
                    let rules = rules.and_then(|rules| rules.child(key));
                    self.within(key, |walk| walk.node(&mut entry.node, rules));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, node: &mut Node, cast: Option<Cast>) {
        let Value::Text(text) = &mut node.value else { return };
        if text.contains('$') {
            match self.expander.expand(text) {
                Ok(expanded) => *text = expanded,
                Err(error) => {
                    report(&error, node.pos, self.sink);
                    node.value = Value::Invalid;
                }
            }
            self.unset(node.pos);
        }
        if let (Some(cast), Value::Text(text)) = (cast, &node.value) {
            let text = text.clone();
            node.value = self.cast(&text, cast, node.pos);
        }
    }

    fn cast(&mut self, text: &str, cast: Cast, pos: Pos) -> Value {
        let (value, wanted) = match cast {
            Cast::Int => (text.parse().ok().map(Value::Int), "a whole number"),
            Cast::Number => {
                (text.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float), "a number")
            }
            Cast::Bool => (quantity::flag(text, pos, self.sink).map(Value::Bool), "`true` or `false`"),
        };
        value.unwrap_or_else(|| {
            let message =
                format!("`{}` must be {wanted}, `{text}` is not", self.path.trim_start_matches('.'));
            self.sink.error(pos, message);
            Value::Invalid
        })
    }

    fn unset(&mut self, pos: Pos) {
        for name in self.expander.take_unset() {
            self.sink.warning_hint(
                pos,
                format!("the variable {name} is not set, an empty text is used"),
                format!("set {name} in the environment or in .env, or give a default: ${{{name}:-value}}"),
            );
        }
    }

    fn within(&mut self, step: &str, walk: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        walk(self);
        self.path.truncate(length);
    }
}

pub(crate) fn report(error: &TemplateError, pos: Pos, sink: &mut Sink) {
    match error.hint() {
        Some(hint) => sink.error_hint(pos, error.to_string(), hint),
        None => sink.error(pos, error.to_string()),
    }
}
