//! The words of the output tables: how a value is printed, and when its key is left out.

/// How a value is printed, and what counts as nothing to print.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Left out when empty.
    Text,
    /// Left out when false.
    Flag,
    /// As it was given, false too.
    FlagGiven,
    /// Left out when 0.
    Int,
    /// As it was given, 0 too.
    IntGiven,
    /// A fraction in single precision, left out when 0.
    Fraction,
    /// Bytes as text, left out when 0.
    Size,
    /// The same where 0 is printed too.
    SizeGiven,
    /// Left out when 0.
    Duration,
    /// As it was given, 0 too.
    DurationGiven,
    /// Permission bits as octal text.
    Mode,
    /// Left out when empty; a single text is a list of one.
    Texts,
    /// Words; nothing given is null in JSON and left out of YAML.
    Command,
    /// A mapping of texts; null is an empty text.
    Pairs,
    /// The same where null stays null.
    Environment,
    /// `host=address`, sorted.
    Hosts,
    /// One number, or a soft and a hard one.
    Limit,
    /// Names of keys with their paths.
    Keys,
    /// A number of devices; `all` is -1.
    Count,
    /// A mapping from names to lists of texts.
    Options,
    /// An environment file: its path alone where it must be there.
    EnvFile,
    /// A mapping with these keys, printed when it was given.
    Record(&'static [Field]),
    /// The same; it is always there in JSON, in YAML when it says something.
    Part(&'static [Field]),
    /// A list of these, left out when empty.
    Each(&'static Form),
    /// A mapping from names to these, left out when empty; null is an empty one.
    Named(&'static Form),
    /// The same, there even when empty.
    NamedAlways(&'static Form),
    /// The same where null stays null.
    NamedOrNull(&'static Form),
}

/// A key in the place where it is printed.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub key: &'static str,
    /// The key in the output, where it differs: in JSON, in YAML.
    pub printed: Option<(&'static str, &'static str)>,
    pub form: Form,
}

pub(super) const fn field(key: &'static str, form: Form) -> Field {
    Field { key, printed: None, form }
}

pub(super) const fn text(key: &'static str) -> Field {
    field(key, Form::Text)
}

pub(super) const fn texts(key: &'static str) -> Field {
    field(key, Form::Texts)
}

pub(super) const fn flag(key: &'static str) -> Field {
    field(key, Form::Flag)
}

pub(super) const fn int(key: &'static str) -> Field {
    field(key, Form::Int)
}

pub(super) const fn size(key: &'static str) -> Field {
    field(key, Form::Size)
}

pub(super) const fn pairs(key: &'static str) -> Field {
    field(key, Form::Pairs)
}

pub(super) const fn record(key: &'static str, fields: &'static [Field]) -> Field {
    field(key, Form::Record(fields))
}

/// A key that is capital in JSON.
pub(super) const fn capital(key: &'static str, json: &'static str, form: Form) -> Field {
    Field { key, printed: Some((json, key)), form }
}
