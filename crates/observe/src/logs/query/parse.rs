//! Reads a query. Every mistake says where it is and what would be right.

use super::{Comparison, DEPTH_MAX, QUERY_BYTES_MAX, Query, REGEX_BYTES_MAX, TERMS_MAX, Test};
use crate::logs::row::Level;
use regex::bytes::{Regex, RegexBuilder};
use std::fmt;

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    pub message: String,
    /// In bytes from the beginning.
    pub at: usize,
    pub hint: String,
    query: String,
}

impl std::error::Error for QueryError {}

impl fmt::Display for QueryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.query.floor_char_boundary(self.at);
        let column = self.query[..at].chars().count() + 1;
        write!(out, "{} at column {column} of the query `{}`", self.message, self.query)
    }
}

/// Reads a query; an empty one asks for every row.
pub fn parse(text: &str) -> Result<Query, QueryError> {
    let mut parser = Parser { text, at: 0, terms: 0, depth: 0 };
    if text.len() > QUERY_BYTES_MAX {
        let message = format!("a query may have {QUERY_BYTES_MAX} bytes");
        return Err(parser.wrong(QUERY_BYTES_MAX, message, "ask for less at once"));
    }
    parser.skip_space();
    if parser.rest().is_empty() {
        return Ok(Query::All);
    }
    let query = parser.any_of()?;
    match parser.rest().chars().next() {
        None => Ok(query),
        Some(_) => {
            Err(parser.wrong(parser.at, "a bracket is closed that was not opened", "quote it: `\")\"`"))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    terms: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, at: usize, message: impl Into<String>, hint: impl Into<String>) -> QueryError {
        let shown = &self.text[..self.text.floor_char_boundary(200)];
        QueryError { message: message.into(), at, hint: hint.into(), query: shown.to_owned() }
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes a word of the language, which stands alone.
    fn keyword(&mut self, word: &str) -> bool {
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        let ends = after.chars().next().is_none_or(|next| next.is_whitespace() || "()\"!".contains(next));
        if ends {
            self.at += word.len();
            self.skip_space();
        }
        ends
    }

    fn any_of(&mut self) -> Result<Query, QueryError> {
        let mut parts = vec![self.all_of()?];
        while self.keyword("OR") {
            parts.push(self.all_of()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Query::Or(parts) })
    }

    fn all_of(&mut self) -> Result<Query, QueryError> {
        let mut parts = vec![self.one()?];
        loop {
            let joined = self.keyword("AND");
            let ends = self.rest().is_empty() || self.rest().starts_with(')');
            let before_or = self.rest().strip_prefix("OR").is_some_and(|after| {
                after.chars().next().is_none_or(|next| next.is_whitespace() || "()\"!".contains(next))
            });
            if !joined && (ends || before_or) {
                break;
            }
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Query::And(parts) })
    }

    fn one(&mut self) -> Result<Query, QueryError> {
        self.depth += 1;
        let start = self.at;
        if self.depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} brackets within each other");
            return Err(self.wrong(start, message, "write it flatter"));
        }
        let query = if self.rest().starts_with('!') || self.starts_with_not() {
            self.at += if self.rest().starts_with('!') { 1 } else { 3 };
            self.skip_space();
            Query::Not(Box::new(self.one()?))
        } else if self.rest().starts_with('(') {
            self.at += 1;
            self.skip_space();
            let query = self.any_of()?;
            if !self.rest().starts_with(')') {
                return Err(self.wrong(
                    start,
                    "the bracket opened here is not closed",
                    "add `)`, or quote it: `\"(\"`",
                ));
            }
            self.at += 1;
            query
        } else {
            self.term()?
        };
        self.skip_space();
        self.depth -= 1;
        Ok(query)
    }

    fn starts_with_not(&self) -> bool {
        self.rest().strip_prefix("NOT").is_some_and(|after| after.starts_with([' ', '\t', '(', '"']))
    }

    fn term(&mut self) -> Result<Query, QueryError> {
        self.terms += 1;
        let start = self.at;
        if self.terms > TERMS_MAX {
            return Err(self.wrong(
                start,
                format!("more than {TERMS_MAX} conditions"),
                "ask for less at once",
            ));
        }
        if self.keyword("AND") || self.keyword("OR") {
            return Err(self.wrong(
                start,
                "a condition is missing",
                "quote the word to look for it: `\"OR\"`",
            ));
        }
        match self.rest().chars().next() {
            None => {
                Err(self.wrong(start, "a condition is missing", "a word, `field:value`, or nothing at all"))
            }
            Some(')') => {
                Err(self.wrong(start, "a condition is missing", "quote the bracket to look for it: `\")\"`"))
            }
            Some('"') => {
                let text = self.quoted()?;
                self.text_query(start, text, false)
            }
            Some('/') => Ok(Query::Regex(self.regex(false)?)),
            Some('*') if self.word_length() == 1 => {
                self.at += 1;
                Ok(Query::All)
            }
            Some(_) => match self.field()? {
                Some(field) => Ok(field),
                None => {
                    let word = &self.rest()[..self.word_length()];
                    self.at += word.len();
                    let (text, is_prefix) =
                        word.strip_suffix('*').map_or((word, false), |begin| (begin, true));
                    self.text_query(start, text.to_owned(), is_prefix)
                }
            },
        }
    }

    fn text_query(&self, start: usize, text: String, is_prefix: bool) -> Result<Query, QueryError> {
        if text.trim().is_empty() {
            return Err(self.wrong(start, "there is nothing to look for", "leave it out to get every row"));
        }
        Ok(Query::Text { text, is_prefix })
    }

    /// Up to a space, a bracket or a quote.
    fn word_length(&self) -> usize {
        let rest = self.rest();
        rest.find(|c: char| c.is_whitespace() || "()\"".contains(c)).unwrap_or(rest.len())
    }

    /// `name:value`, `name>=5`, …; `None` when a plain word stands here.
    fn field(&mut self) -> Result<Option<Query>, QueryError> {
        let rest = self.rest();
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
        let length = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        let name = &rest[..length];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '@') {
            return Ok(None);
        }
        const SIGNS: [(&str, Option<Comparison>, bool); 7] = [
            (">=", Some(Comparison::GreaterOrEqual), false),
            ("<=", Some(Comparison::LessOrEqual), false),
            ("!=", None, true),
            (">", Some(Comparison::Greater), false),
            ("<", Some(Comparison::Less), false),
            (":", None, false),
            ("=", None, false),
        ];
        let after = &rest[length..];
        let Some((sign, comparison, negated)) = SIGNS.iter().find(|(sign, ..)| after.starts_with(sign))
        else {
            return Ok(None);
        };
        self.at += length + sign.len();
        let at = self.at;
        let test = match comparison {
            Some(comparison) => self.compared(name, *comparison)?,
            None => self.value(name)?,
        };
        if let (Test::Is(value), true) = (&test, name == "level") {
            let known = Level::parse(value);
            let hint = "trace, debug, info, warn, error or fatal";
            known.ok_or_else(|| self.wrong(at, format!("`{value}` is no level"), hint))?;
        }
        let field = Query::Field { name: name.to_owned(), test };
        Ok(Some(if *negated { Query::Not(Box::new(field)) } else { field }))
    }

    fn compared(&mut self, name: &str, comparison: Comparison) -> Result<Test, QueryError> {
        let at = self.at;
        let value = &self.rest()[..self.word_length()];
        self.at += value.len();
        if name == "level" {
            let hint = "trace, debug, info, warn, error or fatal";
            let level = Level::parse(value);
            let level = level.ok_or_else(|| self.wrong(at, format!("`{value}` is no level"), hint))?;
            return Ok(Test::Level(comparison, level));
        }
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        let hint = format!("`{name}>=500`; to look for a text: `{name}:TEXT`");
        let number = number.ok_or_else(|| self.wrong(at, format!("`{value}` is no number"), hint))?;
        Ok(Test::Compares(comparison, number))
    }

    fn value(&mut self, name: &str) -> Result<Test, QueryError> {
        let at = self.at;
        match self.rest().chars().next() {
            Some('"') => Ok(Test::Is(self.quoted()?)),
            Some('/') => Ok(Test::Matches(self.regex(true)?)),
            _ => {
                let value = &self.rest()[..self.word_length()];
                self.at += value.len();
                match value.strip_suffix('*') {
                    Some("") => Ok(Test::Exists),
                    Some(begin) => Ok(Test::Begins(begin.to_owned())),
                    None if value.is_empty() => {
                        let hint =
                            format!("`{name}:VALUE`, `{name}:*` for any, `{name}:\"\"` for an empty one");
                        Err(self.wrong(at, format!("the value of `{name}` is missing"), hint))
                    }
                    None => Ok(Test::Is(value.to_owned())),
                }
            }
        }
    }

    /// A text in quotes; `\"` and `\\` stand for themselves.
    fn quoted(&mut self) -> Result<String, QueryError> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, next @ ('"' | '\\'))) => text.push(next),
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, next)) => text.extend(['\\', next]),
                    None => break,
                },
                _ => text.push(c),
            }
        }
        Err(self.wrong(start, "the quote opened here is not closed", "add `\"` at its end"))
    }

    /// `/…/`, with `\/` for a slash, up to a space, a bracket or the end.
    fn regex(&mut self, is_whole: bool) -> Result<Regex, QueryError> {
        let start = self.at;
        let mut pattern = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '/' if chars.peek().is_none_or(|(_, next)| next.is_whitespace() || *next == ')') => {
                    self.at += at + 1;
                    return self.compile(start, &pattern, is_whole);
                }
                '/' => {
                    let hint = "`\\/` within the expression; to look for a path, quote it: `\"/api/users\"`";
                    return Err(self.wrong(
                        start + at,
                        "the regular expression ends before the word does",
                        hint,
                    ));
                }
                '\\' if chars.peek().is_some_and(|(_, next)| *next == '/') => {
                    pattern.push('/');
                    chars.next();
                }
                '\\' => {
                    pattern.push('\\');
                    pattern.extend(chars.next().map(|(_, next)| next));
                }
                _ => pattern.push(c),
            }
        }
        let hint = "add `/` at its end; to look for a path, quote it: `\"/api/users\"`";
        Err(self.wrong(start, "the regular expression begun here does not end", hint))
    }

    /// Of a field, the whole value must match.
    fn compile(&self, start: usize, pattern: &str, is_whole: bool) -> Result<Regex, QueryError> {
        let pattern = if is_whole { format!("^(?:{pattern})$") } else { pattern.to_owned() };
        // Rows end in 0xff; a block is looked through as a whole first.
        let mut builder = RegexBuilder::new(&pattern);
        builder.size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX);
        if !is_whole {
            builder.multi_line(true).line_terminator(crate::logs::block::ROW_END);
            // A dot is any character; the end of a row is none, so no dot reaches into the next row.
            builder.dot_matches_new_line(true);
        }
        builder.build().map_err(|error| {
            let told = error.to_string();
            let reason = told.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
            self.wrong(
                start,
                format!("the regular expression cannot be used: {reason}"),
                "the syntax is that of RE2 and Rust's `regex`",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The query in brackets, as it was understood.
    fn shown(query: &Query) -> String {
        let joined = |parts: &[Query], with: &str| {
            format!("({})", parts.iter().map(shown).collect::<Vec<_>>().join(with))
        };
        match query {
            Query::All => "*".into(),
            Query::And(parts) => joined(parts, " & "),
            Query::Or(parts) => joined(parts, " | "),
            Query::Not(part) => format!("!{}", shown(part)),
            Query::Text { text, is_prefix } => format!("{text:?}{}", if *is_prefix { "*" } else { "" }),
            Query::Regex(regex) => format!("/{regex}/"),
            Query::Field { name, test } => match test {
                Test::Matches(regex) => format!("{name}~/{regex}/"),
                test => format!("{name}:{test:?}"),
            },
        }
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(shown(&parse(text).unwrap()), expect, "{text}");
    }

    #[track_caller]
    fn wrong(text: &str, expect: &str) {
        let error = parse(text).expect_err(text);
        assert_eq!(error.to_string(), expect);
        assert!(!error.hint.is_empty());
    }

    #[test]
    fn queries_are_read() {
        check("", "*");
        check("  * ", "*");
        check("error timeout", r#"("error" & "timeout")"#);
        check("a b OR c AND d", r#"(("a" & "b") | ("c" & "d"))"#);
        check("a (b OR !c)", r#"("a" & ("b" | !"c"))"#);
        check("NOT (a)", r#"!"a""#);
        check(r#""conn \"x\" refused""#, r#""conn \"x\" refused""#);
        check("conn*", r#""conn"*"#);
        check("level:error", r#"level:Is("error")"#);
        check(
            "status>=500 bytes<10.5",
            "(status:Compares(GreaterOrEqual, 500.0) & bytes:Compares(Less, 10.5))",
        );
        check("level>=warn", "level:Level(GreaterOrEqual, Warn)");
        check("user.id=42", r#"user.id:Is("42")"#);
        check("path!=\"/a b\"", r#"!path:Is("/a b")"#);
        check("path:/^\\/api\\/.*/", "path~/^(?:^/api/.*)$/");
        check("/time(d )?out/", "/time(d )?out/");
        check("trace_id:* path:/x/", "(trace_id:Exists & path~/^(?:x)$/)");
        check("host:web*", r#"host:Begins("web")"#);
        check("10:30:15 ORDER", r#"("10:30:15" & "ORDER")"#);
        check("\"OR\"", r#""OR""#);
    }

    #[test]
    fn mistakes_say_where_they_are() {
        wrong("a (b", "the bracket opened here is not closed at column 3 of the query `a (b`");
        wrong("a)", "a bracket is closed that was not opened at column 2 of the query `a)`");
        wrong("ü \"b", "the quote opened here is not closed at column 3 of the query `ü \"b`");
        wrong("a OR", "a condition is missing at column 5 of the query `a OR`");
        wrong("OR a", "a condition is missing at column 1 of the query `OR a`");
        wrong("status>x", "`x` is no number at column 8 of the query `status>x`");
        wrong("level:loud", "`loud` is no level at column 7 of the query `level:loud`");
        wrong("a: b", "the value of `a` is missing at column 3 of the query `a: b`");
        wrong(
            "/api/users",
            "the regular expression ends before the word does at column 5 of the query `/api/users`",
        );
        wrong("\"\"", "there is nothing to look for at column 1 of the query `\"\"`");
        let error = parse("/a(/").unwrap_err();
        assert!(error.to_string().contains("unclosed group"), "{error}");
        let deep = "(".repeat(100) + "a" + &")".repeat(100);
        assert!(parse(&deep).unwrap_err().message.contains("within each other"));
        assert!(parse(&"a ".repeat(200)).unwrap_err().message.contains("conditions"));
        assert!(parse(&"a".repeat(5000)).unwrap_err().message.contains("4096 bytes"));
        assert!(parse("/(a{1000}){1000}/").unwrap_err().message.contains("cannot be used"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~ü\"/()!:*<>=\\\\ORANDNOT]{0,60}") {
            let _ = parse(&text).map_err(|error| error.to_string());
        }
    }
}
