//! The Compose Specification as data: which keys exist where, what type each has, and whether this
//! implementation acts on it. One walk checks and converts, another warns of what has no effect.

mod check;
mod keys;
mod service;
mod support;
mod xjuchu;

pub(crate) use check::check;
pub(crate) use support::report as report_support;

/// What a value may be.
pub(crate) enum Shape {
    Any,
    Text,
    Bool,
    Int,
    /// A number, kept as it is.
    Number,
    /// Text or a number; becomes text.
    TextOrNumber,
    /// Text, number, boolean or null; becomes text, null stays.
    Scalar,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text of the form `30s`.
    Duration,
    /// Permission bits: a number, or octal digits in quotes; becomes a number.
    Mode,
    /// A number of bytes or text of the form `64m`; becomes text.
    Size,
    /// May be null as well.
    Nullable(&'static Shape),
    List(&'static Shape),
    /// Any key, such as names of services.
    Named(&'static Shape),
    /// `KEY=VALUE` items or a mapping of scalars.
    Pairs,
    Object(&'static Object),
    /// The first that fits the kind of the value.
    Either(&'static [Shape]),
}

/// A mapping with known keys.
pub(crate) struct Object {
    pub fields: &'static [Field],
    pub required: &'static [&'static str],
    /// `x-` keys are allowed.
    pub extensible: bool,
    pub unknown: Unknown,
}

/// What an unknown key is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Error,
    Warning,
}

pub(crate) struct Field {
    pub key: &'static str,
    pub shape: Shape,
}

/// A key. What is done with it stands in `support/table.rs`.
pub(crate) const fn on(key: &'static str, shape: Shape) -> Field {
    Field { key, shape }
}

/// The same; the text is for whoever reads the schema.
pub(crate) const fn off(key: &'static str, shape: Shape, _why: &'static str) -> Field {
    Field { key, shape }
}

/// A mapping of the specification.
pub(crate) const fn object(fields: &'static [Field]) -> Object {
    Object { fields, required: &[], extensible: true, unknown: Unknown::Error }
}

/// As [`object`], with keys that must be there.
pub(crate) const fn object_with(fields: &'static [Field], required: &'static [&'static str]) -> Object {
    Object { fields, required, extensible: true, unknown: Unknown::Error }
}

/// The whole file.
pub(crate) static ROOT: Shape = Shape::Object(&keys::ROOT);
