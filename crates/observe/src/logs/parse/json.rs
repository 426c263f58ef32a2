//! Objects in one pass, without building a tree: `{"a":{"b":1}}` has the field `a.b`.

/// Objects within objects; deeper ones are one value.
const DEPTH_MAX: usize = 8;
/// Brackets within brackets of a value that is skipped.
const NESTING_MAX: usize = 64;

/// Whether the text is one whole object.
pub fn is_object(text: &str) -> bool {
    each_raw(text, &mut |_, _, _| true).is_some()
}

/// Calls with the path and the value of each field; texts come unescaped, lists as they are written.
pub fn each_field(text: &str, field: &mut dyn FnMut(&str, &str)) {
    let mut path = String::new();
    walk(text, &mut path, 0, field);
}

fn walk(text: &str, path: &mut String, depth: usize, field: &mut dyn FnMut(&str, &str)) {
    let before = path.len();
    each_raw(text, &mut |key, value, kind| {
        if before > 0 {
            path.push('.');
        }
        match unescaped(key) {
            Some(key) => path.push_str(&key),
            None => path.push_str(key),
        }
        match kind {
            Kind::Object if depth < DEPTH_MAX => walk(value, path, depth + 1, field),
            Kind::Text => match unescaped(value) {
                Some(value) => field(path, &value),
                None => field(path, value),
            },
            Kind::Object | Kind::List | Kind::Other => field(path, value),
        }
        path.truncate(before);
        true
    });
}

/// What stands for an escaped text; `None` when nothing in it is escaped.
pub fn unescaped(text: &str) -> Option<String> {
    text.contains('\\')
        .then(|| serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.to_owned()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Object,
    List,
    /// Numbers, `true`, `false`, `null`.
    Other,
}

/// Calls with each key and value as they are written, without the quotes, until it wants no more. `None`
/// when the text is no object.
pub fn each_raw<'a>(text: &'a str, each: &mut dyn FnMut(&'a str, &'a str, Kind) -> bool) -> Option<()> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.expect(b'{')?;
    if scanner.peek()? == b'}' {
        scanner.at += 1;
        return scanner.ends();
    }
    loop {
        scanner.space();
        let key = scanner.text_value()?;
        scanner.expect(b':')?;
        let (value, kind) = scanner.value()?;
        if !each(key, value, kind) {
            return Some(());
        }
        match scanner.peek()? {
            b',' => scanner.at += 1,
            b'}' => {
                scanner.at += 1;
                return scanner.ends();
            }
            _ => return None,
        }
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn space(&mut self) {
        while self.bytes().get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn ends(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Between two quotes.
    fn text_value(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.bytes().get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let value = self.text.get(start..self.at)?;
        self.at += 1;
        Some(value)
    }

    fn value(&mut self) -> Option<(&'a str, Kind)> {
        match self.peek()? {
            b'"' => Some((self.text_value()?, Kind::Text)),
            b'{' => Some((self.nested()?, Kind::Object)),
            b'[' => Some((self.nested()?, Kind::List)),
            _ => {
                let start = self.at;
                while self.bytes().get(self.at).is_some_and(|byte| !b",}] \t\r\n".contains(byte)) {
                    self.at += 1;
                }
                let value = &self.text[start..self.at];
                let is_number = value.starts_with(|c: char| c == '-' || c.is_ascii_digit());
                (is_number || ["true", "false", "null"].contains(&value)).then_some((value, Kind::Other))
            }
        }
    }

    /// To the end of what is opened here.
    fn nested(&mut self) -> Option<&'a str> {
        let start = self.at;
        let mut open = 0usize;
        loop {
            match self.bytes().get(self.at)? {
                b'"' => {
                    self.text_value()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return self.text.get(start..self.at);
            }
            if open > NESTING_MAX {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_paths() {
        let mut found = Vec::new();
        let text = r#" { "a" : {"b": [1, {"c": "]"}], "d\n": "x\"\u00fc"}, "e":null, "f": -1.5e3 ,"g":{} } "#;
        assert!(is_object(text));
        each_field(text, &mut |name, value| found.push(format!("{name}={value}")));
        assert_eq!(found, ["a.b=[1, {\"c\": \"]\"}]", "a.d\n=x\"ü", "e=null", "f=-1.5e3"]);
    }

    #[test]
    fn what_is_no_object_is_told() {
        for text in [
            "{",
            "{}x",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":"b}"#,
            r#"{"a":nope}"#,
            "{\"a\":\"\\",
        ] {
            assert!(!is_object(text), "{text}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        assert!(!is_object(&deep));
    }
}
