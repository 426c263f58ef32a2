//! `key=value key="value with \"quotes\"" flag`, as many Go programs write.

/// Rows of at least two pairs that begin with one are taken for logfmt.
pub fn is_logfmt(text: &str) -> bool {
    let mut pairs = Pairs { rest: text };
    let is_pair = |pair: Option<(&str, Option<&str>)>| pair.is_some_and(|(_, value)| value.is_some());
    is_pair(pairs.next()) && is_pair(pairs.next())
}

pub fn each_field(text: &str, field: &mut dyn FnMut(&str, &str)) {
    for (key, value) in (Pairs { rest: text }) {
        let Some(value) = value else { continue };
        let quoted = value.strip_prefix('"').map(|value| value.strip_suffix('"').unwrap_or(value));
        match quoted {
            Some(inner) => match super::json::unescaped(inner) {
                Some(plain) => field(key, &plain),
                None => field(key, inner),
            },
            None => field(key, value),
        }
    }
}

/// Keys with their values, quotes included.
struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_start();
        let is_key = |c: char| c.is_ascii_alphanumeric() || "_.-/@".contains(c);
        let length = self.rest.find(|c: char| !is_key(c)).unwrap_or(self.rest.len());
        if length == 0 {
            return None;
        }
        let (key, after) = self.rest.split_at(length);
        let Some(value) = after.strip_prefix('=') else {
            let stands_alone = after.is_empty() || after.starts_with(char::is_whitespace);
            self.rest = after;
            return stands_alone.then_some((key, None));
        };
        let end = value_end(value);
        self.rest = &value[end..];
        Some((key, Some(&value[..end])))
    }
}

fn value_end(value: &str) -> usize {
    if !value.starts_with('"') {
        return value.find(char::is_whitespace).unwrap_or(value.len());
    }
    let mut is_escaped = false;
    for (at, byte) in value.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read() {
        let mut found = Vec::new();
        let text = r#"ts=2026 level=warn msg="a \"b\" c" empty= flag took=1.5ms open="x"#;
        assert!(is_logfmt(text));
        each_field(text, &mut |name, value| found.push(format!("{name}={value}")));
        assert_eq!(found, ["ts=2026", "level=warn", "msg=a \"b\" c", "empty=", "took=1.5ms", "open=x"]);
        assert!(!is_logfmt("x = y") && !is_logfmt("one=pair only") && !is_logfmt(""));
    }
}
