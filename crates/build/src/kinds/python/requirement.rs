//! One requirement and its marker, as PEP 508 writes them: `name[extra] >=1 ; python_version < "4"`.

use super::target::Target;
use super::version::{Version, satisfies};
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Normalised: lower case, `-` between words.
    pub name: String,
    pub extras: BTreeSet<String>,
    pub specifiers: String,
    /// `name @ URL`.
    pub url: Option<String>,
    pub marker: Option<String>,
}

/// PEP 503.
pub fn normalise(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for part in name.trim().split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !text.is_empty() {
            text.push('-');
        }
        text.push_str(&part.to_ascii_lowercase());
    }
    text
}

impl Requirement {
    pub fn parse(text: &str) -> Option<Self> {
        let (body, marker) = match split_marker(text) {
            Some((body, marker)) => (body, Some(marker.trim().to_owned())),
            None => (text, None),
        };
        let body = body.trim();
        let end = body
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'))
            .unwrap_or(body.len());
        let name = normalise(&body[..end]);
        let mut rest = body[end..].trim_start();
        let mut extras = BTreeSet::new();
        if let Some(inside) = rest.strip_prefix('[') {
            let (list, after) = inside.split_once(']')?;
            extras = list.split(',').map(normalise).filter(|extra| !extra.is_empty()).collect();
            rest = after.trim_start();
        }
        let url = rest.strip_prefix('@').map(|url| url.trim().to_owned());
        let specifiers = match url {
            Some(_) => String::new(),
            None => rest.trim_start_matches('(').trim_end_matches(')').trim().to_owned(),
        };
        let valid = !name.is_empty()
            && specifiers
                .split(',')
                .all(|s| s.trim().is_empty() || s.trim().starts_with(['=', '<', '>', '!', '~']));
        valid.then_some(Self { name, extras, specifiers, url, marker })
    }

    /// The version of `==VERSION` alone.
    pub fn pinned(&self) -> Option<&str> {
        let version = self.specifiers.strip_prefix("==")?.trim_start_matches('=').trim();
        let exact = !version.contains([',', '*']) && Version::parse(version).is_some();
        exact.then_some(version)
    }

    /// Whether it applies on `target` when its owner was asked for with `extras`.
    pub fn applies(&self, target: &Target, extras: &BTreeSet<String>) -> bool {
        let Some(marker) = &self.marker else { return true };
        let one = |extra: &str| evaluate(marker, target, extra);
        if extras.is_empty() { one("") } else { one("") || extras.iter().any(|extra| one(extra)) }
    }
}

/// A `;` starts the marker, but in a URL only after a blank.
fn split_marker(text: &str) -> Option<(&str, &str)> {
    match text.contains('@') && text.contains("://") {
        true => text.split_once(" ;"),
        false => text.split_once(';'),
    }
}

/// A marker that cannot be understood counts as true: too much is installed rather than too little.
pub fn evaluate(marker: &str, target: &Target, extra: &str) -> bool {
    let Some(tokens) = tokenize(marker) else { return true };
    let mut parser = Parser { tokens: &tokens, at: 0, target, extra, depth: 0 };
    parser.any().filter(|_| parser.at == tokens.len()).unwrap_or(true)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Operator(String),
    Open,
    Close,
}

const MARKER_LIMIT: usize = 4096;
const DEPTH_LIMIT: usize = 32;

fn tokenize(text: &str) -> Option<Vec<Token>> {
    if text.len() > MARKER_LIMIT {
        return None;
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' => {
                tokens.push(if first == '(' { Token::Open } else { Token::Close });
                1
            }
            '\'' | '"' => {
                let end = rest[1..].find(first)?;
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            '<' | '>' | '=' | '!' | '~' => {
                let end = rest.find(|c: char| !"<>=!~".contains(c)).unwrap_or(rest.len());
                tokens.push(Token::Operator(rest[..end].to_owned()));
                end
            }
            c if c.is_ascii_alphanumeric() || c == '_' => {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
                    .unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
            _ => return None,
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    target: &'a Target,
    extra: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn any(&mut self) -> Option<bool> {
        let mut value = self.all()?;
        while self.word("or") {
            value |= self.all()?;
        }
        Some(value)
    }

    fn all(&mut self) -> Option<bool> {
        let mut value = self.comparison()?;
        while self.word("and") {
            value &= self.comparison()?;
        }
        Some(value)
    }

    fn comparison(&mut self) -> Option<bool> {
        if self.tokens.get(self.at) == Some(&Token::Open) {
            self.depth += 1;
            self.at += 1;
            let value = if self.depth <= DEPTH_LIMIT { self.any()? } else { return None };
            self.depth -= 1;
            self.at += 1;
            return (self.tokens.get(self.at - 1) == Some(&Token::Close)).then_some(value);
        }
        let (left, left_is_version) = self.value()?;
        let operator = match self.tokens.get(self.at)? {
            Token::Operator(operator) => operator.clone(),
            Token::Word(word) if word == "in" => word.clone(),
            Token::Word(word) if word == "not" => {
                self.at += 1;
                "not in".to_owned()
            }
            _ => return None,
        };
        self.at += 1;
        let (right, right_is_version) = self.value()?;
        compare(&left, &operator, &right, left_is_version || right_is_version)
    }

    fn value(&mut self) -> Option<(String, bool)> {
        self.at += 1;
        match self.tokens.get(self.at - 1)? {
            Token::Text(text) => Some((text.clone(), false)),
            Token::Word(name) if name == "extra" => Some((normalise(self.extra), false)),
            Token::Word(name) => Some((self.target.marker_variable(name)?, name.ends_with("_version"))),
            _ => None,
        }
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(have)) if have == word);
        self.at += usize::from(found);
        found
    }
}

fn compare(left: &str, operator: &str, right: &str, versions: bool) -> Option<bool> {
    if versions
        && !operator.ends_with("in")
        && let Some(value) = satisfies(left, &format!("{operator}{right}"))
    {
        return Some(value);
    }
    Some(match operator {
        "==" | "===" => left == right || normalise(left) == normalise(right) && !left.is_empty(),
        "!=" => left != right,
        "in" => right.contains(left),
        "not in" => !right.contains(left),
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::settings::Machine;

    fn target() -> Target {
        Target { version: (3, 13), machine: Machine::X86_64, glibc: (2, 41) }
    }

    #[test]
    fn requirements_have_their_parts() {
        let r = Requirement::parse("Flask_SQLAlchemy[Async, x] >= 2, <4 ; python_version < '4'").unwrap();
        assert_eq!((r.name.as_str(), r.specifiers.as_str()), ("flask-sqlalchemy", ">= 2, <4"));
        assert_eq!(r.extras.iter().map(String::as_str).collect::<Vec<_>>(), ["async", "x"]);
        assert_eq!(Requirement::parse("a==1.0").unwrap().pinned(), Some("1.0"));
        assert_eq!(Requirement::parse("a==1.*").unwrap().pinned(), None);
        assert_eq!(Requirement::parse("a (>=1)").unwrap().specifiers, ">=1");
        assert!(Requirement::parse("a @ https://x/y.whl").unwrap().url.is_some());
        for bad in ["", "==1", "a b c", "a[x"] {
            assert_eq!(Requirement::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn markers_are_evaluated_for_the_target() {
        for (marker, expect) in [
            ("python_version >= '3.8'", true),
            ("python_version < '3.10'", false),
            ("python_full_version < '3.11.3'", false),
            ("sys_platform == 'win32'", false),
            ("sys_platform != 'win32' and platform_machine == 'x86_64'", true),
            ("(os_name == 'nt' or os_name == 'posix') and implementation_name == 'cpython'", true),
            ("'linux' in sys_platform", true),
            ("platform_machine not in 'x86_64 aarch64'", false),
            ("extra == 'tests'", false),
            ("what is this", true),
            ("unknown == 'x'", true),
        ] {
            assert_eq!(evaluate(marker, &target(), ""), expect, "{marker}");
        }
        assert!(evaluate("extra == 'Tests'", &target(), "tests"));
        assert!(evaluate(&"(".repeat(1000), &target(), ""));
    }
}
