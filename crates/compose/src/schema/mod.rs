//! The Compose Specification as data: which keys exist where, what type each has, and whether this
//! implementation acts on it. One walk checks and converts, another warns of what has no effect.

mod check;
mod keys;
mod service;
mod support;
mod xjuchu;

pub(crate) use check::{check, settle};
pub(crate) use support::report as report_support;

/// What a value may be.
pub(crate) enum Shape {
    Any,
    Text,
    /// A boolean, or a text that says one.
    Bool,
    /// A boolean and nothing else.
    Flag,
    Int,
    /// A whole number, not as text.
    OnlyInt,
    /// A number, not as text.
    OnlyNumber,
    /// A whole number that is not negative.
    Count,
    /// A whole number from one to another; as text any.
    IntIn(i64, i64),
    /// A number, kept as it is.
    Number,
    /// Text or a number; becomes text.
    TextOrNumber,
    /// Text, number, boolean or null; becomes text, null stays.
    Scalar,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text of a form.
    Pattern(Pattern),
    /// Text of the form `30s`.
    Duration,
    /// Permission bits: a number, or octal digits in quotes; becomes a number.
    Mode,
    /// A number of bytes or text of the form `64m`; becomes text.
    Size,
    /// The same, where a number must be whole.
    WholeSize,
    /// The same, where a number must not be negative.
    SizeFromZero,
    /// The same, as text alone.
    SizeText,
    /// A whole number, as text too, or `all`.
    DeviceCount,
    /// A number. As text it passes the schema of the specification, and nothing can be made of it.
    Bare,
    /// May be null as well.
    Nullable(&'static Shape),
    List(&'static Shape),
    /// A list without an item twice.
    Unique(&'static Shape),
    /// Any key, such as names of services.
    Named(&'static Shape),
    /// Keys of a form.
    Keyed(Keys, &'static Shape),
    /// `KEY=VALUE` items or a mapping of scalars.
    Pairs,
    Object(&'static Object),
    /// The first that fits the kind of the value.
    Either(&'static [Shape]),
}

/// What keys chosen by people may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Letters, digits, `.`, `_` and `-`.
    Names,
    /// The same; other keys are not looked at.
    SomeNames,
    /// Lower-case letters; other keys are not looked at.
    SomeLimits,
}

impl Keys {
    fn allows(self, key: &str) -> bool {
        let allowed = |c: char| match self {
            Keys::SomeLimits => c.is_ascii_lowercase(),
            _ => c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'),
        };
        !key.is_empty() && key.chars().all(allowed)
    }

    fn strict(self) -> bool {
        self == Keys::Names
    }

    fn hint(self) -> &'static str {
        "use letters, digits, `.`, `_` and `-`"
    }
}

/// What a text must contain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    ContainerName,
    PullPolicy,
}

impl Pattern {
    fn matches(self, text: &str) -> bool {
        match self {
            Pattern::ContainerName => text.as_bytes().windows(2).any(|pair| {
                pair[0].is_ascii_alphanumeric()
                    && (pair[1].is_ascii_alphanumeric() || matches!(pair[1], b'_' | b'.' | b'-'))
            }),
            Pattern::PullPolicy => {
                let words =
                    ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
                words.iter().any(|word| text.contains(word))
                    || text.split("every_").skip(1).any(starts_with_time)
            }
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Pattern::ContainerName => "write a letter or digit, then letters, digits, `_`, `.` and `-`",
            Pattern::PullPolicy => {
                "use one of `always`, `missing`, `never`, `build`, `daily`, `weekly`, `every_12h`"
            }
        }
    }
}

/// `12h`, and whatever follows.
fn starts_with_time(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < text.len() && unit.starts_with(['w', 'd', 'h', 'm', 's'])
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
    Allowed,
}

pub(crate) struct Field {
    pub key: &'static str,
    pub shape: Shape,
}

/// A key. What is done with it stands in `support/table.rs`.
pub(crate) const fn on(key: &'static str, shape: Shape) -> Field {
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

/// The same without `x-` keys.
pub(crate) const fn closed(object: Object) -> Object {
    Object { extensible: false, ..object }
}

/// The whole file.
pub(crate) static ROOT: Shape = Shape::Object(&keys::ROOT);
