//! Whether a row matches a query, asked of many blocks at once first.
//!
//! Of blocks only a [`Span`] is known: those in which rows may match, and those in which every row does.
//! What a negation leaves out is then right as well.

use super::text::{TextMatch, finder};
use super::{Comparison, Query, Test};
use crate::logs::parse::each_field;
use crate::logs::row::{Level, Stream};
use crate::logs::tokens::tokens_of;
use regex::bytes::Regex;

/// Bits, one for each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Some rows may match.
    pub some: u64,
    /// Every row matches.
    pub all: u64,
}

impl Span {
    const MAYBE: Self = Self { some: u64::MAX, all: 0 };

    pub fn exactly(bits: u64) -> Self {
        Self { some: bits, all: bits }
    }
}

/// What is known of up to 64 blocks.
pub trait Facts {
    /// Blocks whose stream passes.
    fn streams(&self, passes: &dyn Fn(&Stream) -> bool) -> u64;
    /// Blocks of whose levels some pass, and of which all do.
    fn levels(&self, passes: &dyn Fn(Level) -> bool) -> Span;
    /// Blocks that may hold all these words.
    fn words(&self, tokens: &[u32]) -> u64;
}

/// A query made ready.
#[derive(Debug)]
pub struct Filter {
    root: Node,
}

#[derive(Debug)]
enum Node {
    All,
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Text(TextMatch),
    Regex(Regex),
    Stream(String, Test),
    Level(Comparison, Level),
    Field(FieldTest),
}

#[derive(Debug)]
struct FieldTest {
    name: String,
    test: Test,
    /// Words that a row with it has in any form.
    tokens: Vec<u32>,
    /// What a row with it has in any form.
    needs: Option<Regex>,
}

impl Filter {
    pub fn new(query: &Query) -> Self {
        Self { root: Node::new(query) }
    }

    /// In which of these blocks rows may match.
    pub fn blocks(&self, facts: &dyn Facts) -> u64 {
        self.root.blocks(facts).some
    }

    /// Whether one of many rows may match; much faster than asking of each.
    pub fn may_be_in(&self, rows: &[u8]) -> bool {
        self.root.may_be_in(rows)
    }

    pub fn matches(&self, stream: &Stream, level: Level, text: &[u8]) -> bool {
        self.root.matches(stream, level, text)
    }
}

impl Node {
    fn new(query: &Query) -> Self {
        let all = |parts: &[Query]| parts.iter().map(Self::new).collect();
        match query {
            Query::All => Self::All,
            Query::And(parts) => Self::And(all(parts)),
            Query::Or(parts) => Self::Or(all(parts)),
            Query::Not(part) => Self::Not(Box::new(Self::new(part))),
            Query::Text { text, is_prefix } => Self::Text(TextMatch::new(text, *is_prefix)),
            Query::Regex(regex) => Self::Regex(regex.clone()),
            Query::Field { name, test } => Self::field(name, test),
        }
    }

    fn field(name: &str, test: &Test) -> Self {
        match (name, test) {
            ("level", Test::Level(comparison, level)) => Self::Level(*comparison, *level),
            ("level", Test::Is(value)) => {
                Self::Level(Comparison::Equal, Level::parse(value).unwrap_or_default())
            }
            ("level", Test::Exists) => Self::Level(Comparison::Greater, Level::Unknown),
            (name, test) if Stream::FIELDS.contains(&name) => Self::Stream(name.into(), test.clone()),
            (name, test) => Self::Field(FieldTest::new(name, test)),
        }
    }

    fn blocks(&self, facts: &dyn Facts) -> Span {
        match self {
            Self::All => Span::exactly(u64::MAX),
            Self::And(parts) => parts.iter().fold(Span::exactly(u64::MAX), |so_far, part| {
                if so_far.some == 0 {
                    return so_far;
                }
                let Span { some, all } = part.blocks(facts);
                Span { some: so_far.some & some, all: so_far.all & all }
            }),
            Self::Or(parts) => parts.iter().fold(Span::exactly(0), |so_far, part| {
                let Span { some, all } = part.blocks(facts);
                Span { some: so_far.some | some, all: so_far.all | all }
            }),
            Self::Not(part) => {
                let Span { some, all } = part.blocks(facts);
                Span { some: !all, all: !some }
            }
            Self::Text(text) => Span { some: facts.words(&text.tokens), all: 0 },
            Self::Regex(_) => Span::MAYBE,
            Self::Stream(name, test) => {
                Span::exactly(facts.streams(&|stream| passes(test, stream.field(name))))
            }
            Self::Level(comparison, level) => {
                facts.levels(&|of_row| level_passes(*comparison, of_row, *level))
            }
            Self::Field(field) => Span { some: facts.words(&field.tokens), all: 0 },
        }
    }

    fn may_be_in(&self, rows: &[u8]) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.may_be_in(rows)),
            Self::Or(parts) => parts.iter().any(|part| part.may_be_in(rows)),
            Self::Text(text) => text.may_be_in(rows),
            Self::Regex(regex) => regex.is_match(rows),
            Self::Field(field) => field.needs.as_ref().is_none_or(|needs| needs.is_match(rows)),
            Self::All | Self::Not(_) | Self::Stream(..) | Self::Level(..) => true,
        }
    }

    fn matches(&self, stream: &Stream, level: Level, text: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::And(parts) => parts.iter().all(|part| part.matches(stream, level, text)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(stream, level, text)),
            Self::Not(part) => !part.matches(stream, level, text),
            Self::Text(words) => words.is_in(text),
            Self::Regex(regex) => regex.is_match(text),
            Self::Stream(name, test) => passes(test, stream.field(name)),
            Self::Level(comparison, wanted) => level_passes(*comparison, level, *wanted),
            Self::Field(field) => field.matches(text),
        }
    }
}

impl FieldTest {
    fn new(name: &str, test: &Test) -> Self {
        // Values may be escaped in the text of a row; these characters never are.
        let is_plain = |value: &&String| {
            value.chars().all(|c| c.is_ascii_alphanumeric() || " _-.:,;@%+*#()[]{}?!~^|$".contains(c))
        };
        let value = match test {
            Test::Is(value) | Test::Begins(value) => Some(value).filter(is_plain),
            _ => None,
        };
        let tokens = match test {
            Test::Is(_) => value.map(|value| tokens_of(value)).unwrap_or_default(),
            _ => Vec::new(),
        };
        // The fields of an access log have no name in the row.
        let needs = value.filter(|value| !value.is_empty()).map(|value| finder(value));
        Self { name: name.into(), test: test.clone(), tokens, needs }
    }

    fn matches(&self, row: &[u8]) -> bool {
        if self.needs.as_ref().is_some_and(|needs| !needs.is_match(row)) {
            return false;
        }
        let Ok(text) = std::str::from_utf8(row) else { return false };
        let mut found = false;
        each_field(text, &mut |name, value| {
            found = found || name == self.name && passes(&self.test, Some(value));
        });
        found
    }
}

fn passes(test: &Test, value: Option<&str>) -> bool {
    let Some(value) = value else { return false };
    match test {
        Test::Is(wanted) => value.eq_ignore_ascii_case(wanted),
        Test::Begins(begin) => value
            .as_bytes()
            .get(..begin.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(begin.as_bytes())),
        Test::Matches(regex) => regex.is_match(value.as_bytes()),
        Test::Compares(comparison, number) => {
            value.parse::<f64>().is_ok_and(|value| comparison.holds(value, *number))
        }
        Test::Level(comparison, level) => {
            Level::parse(value).is_some_and(|value| comparison.holds(value, *level))
        }
        Test::Exists => true,
    }
}

/// A row that says no level is neither more nor less serious than another.
fn level_passes(comparison: Comparison, of_row: Level, wanted: Level) -> bool {
    (of_row != Level::Unknown) && comparison.holds(of_row, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::query::parse;

    #[track_caller]
    fn check(query: &str, row: &str, expect: bool) {
        let filter = Filter::new(&parse(query).unwrap());
        let stream = Stream::new("shop", "web", "shop-web-1", "stdout");
        let level = crate::logs::parse::level(row);
        assert_eq!(filter.matches(&stream, level, row.as_bytes()), expect, "{query} of {row}");
        assert!(!expect || filter.may_be_in(row.as_bytes()), "{query} is looked for in {row}");
        let facts = One { stream, level, tokens: tokens_of(row) };
        assert!(!expect || filter.blocks(&facts) & 1 == 1, "the block is read for {query} in {row}");
    }

    struct One {
        stream: Stream,
        level: Level,
        tokens: Vec<u32>,
    }

    impl Facts for One {
        fn streams(&self, passes: &dyn Fn(&Stream) -> bool) -> u64 {
            u64::from(passes(&self.stream))
        }
        fn levels(&self, passes: &dyn Fn(Level) -> bool) -> Span {
            Span::exactly(u64::from(passes(self.level)))
        }
        fn words(&self, tokens: &[u32]) -> u64 {
            u64::from(tokens.iter().all(|token| self.tokens.contains(token)))
        }
    }

    #[test]
    fn rows_are_matched_by_words_fields_and_what_is_known_of_their_stream() {
        let json = r#"{"level":"error","msg":"cannot \"open\" a\u003cb","status":503,"user":{"id":"u-42"},"ok":true}"#;
        for (query, expect) in [
            ("", true),
            ("cannot open", true),
            ("cannot close", false),
            ("level:error", true),
            ("level>=warn", true),
            ("level<error", false),
            ("!level:error", false),
            ("status>=500", true),
            ("status<500", false),
            ("status:503", true),
            ("status:50*", true),
            ("status:5", false),
            ("user.id:U-42", true),
            ("user.id:/u-\\d+/", true),
            ("user.id:/u/", false),
            ("user.name:*", false),
            ("user.id:*", true),
            ("ok:true", true),
            ("msg:\"cannot \\\"open\\\" a<b\"", true),
            ("service:web stack:shop", true),
            ("service:db OR status:503", true),
            ("service:db", false),
            ("!service:db", true),
            ("source:stderr", false),
            ("/cann?ot/ !/close/", true),
            ("(status:200 OR status:503) AND !user.id:x", true),
        ] {
            check(query, json, expect);
        }
    }

    #[test]
    fn expressions_stay_within_a_row() {
        check("/GET .* 50[0-9]$/", "GET /x 503", true);
        check("/GET .* 50[0-9]$/", "GET /x 503 later", false);
        check("/^GET .*é.$/", "GET caféx", true);
        check("/^later/", "GET later", false);
        check("/first.*third/", "first\n  second\n  third", true);
        let rows = [&b"GET /x"[..], b"y 503"].join(&crate::logs::block::ROW_END);
        assert!(!Filter::new(&parse("/x.*y/").unwrap()).may_be_in(&rows), "no dot is the end of a row");
        assert!(Filter::new(&parse("/^y .*3$/").unwrap()).may_be_in(&rows), "each row begins anew");
    }

    #[test]
    fn fields_of_access_logs_and_logfmt_are_matched() {
        let access = r#"10.0.0.9 - ann [23/Nov/2026:08:00:00 +0000] "GET /api/users?x=1 HTTP/1.1" 404 512 "-" "curl/8""#;
        check("status>=400 method:get", access, true);
        check("path:\"/api/users?x=1\"", access, true);
        check("bytes>600", access, false);
        check("level:warn", access, true);
        let logfmt = r#"time=2026-11-23 level=info msg="all is \"well\"" took=12.5 path=/x"#;
        check("took>12 level:info", logfmt, true);
        check("msg:\"all is \\\"well\\\"\"", logfmt, true);
        check("took>13", logfmt, false);
    }
}
