//! Where in the code something went wrong, from stack traces in rows: Python, Java and others of its
//! machine, JavaScript, Go, Rust, Ruby, PHP and .NET.

use serde::{Deserialize, Serialize};

/// Lines of one trace that are looked at.
const LINES_MAX: usize = 400;
/// Bytes of a place that can be one.
const PLACE_MAX: usize = 300;

/// One line of code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    pub file: String,
    pub line: u32,
    /// Empty where the trace does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub function: String,
}

/// Which end of a trace is the innermost call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Innermost {
    First,
    Last,
}

/// The innermost line of the program's own code, else the innermost of any; none without a trace.
pub fn place(text: &str) -> Option<Place> {
    let lines: Vec<&str> = text.lines().take(LINES_MAX).collect();
    let all: Vec<Found> = lines.iter().enumerate().filter_map(|(at, line)| found(&lines, at, line)).collect();
    let order = all.first()?.innermost;
    let mut inner: Vec<&Found> = all.iter().filter(|found| found.innermost == order).collect();
    if order == Innermost::Last {
        inner.reverse();
    }
    let own = inner.iter().find(|found| is_own(&found.place));
    own.or(inner.first()).map(|found| found.place.clone())
}

struct Found {
    place: Place,
    innermost: Innermost,
}

fn found(lines: &[&str], at: usize, line: &str) -> Option<Found> {
    let trimmed = line.trim();
    let last = |place| Found { place, innermost: Innermost::Last };
    let first = |place| Found { place, innermost: Innermost::First };
    if let Some(rest) = trimmed.strip_prefix("File \"") {
        return python(rest).map(last);
    }
    if let Some(rest) = trimmed.strip_prefix("at ") {
        // Rust names the function on the line above, after its number.
        let above = at.checked_sub(1).and_then(|above| rust_function(lines[above].trim()));
        return after_at(rest, above).map(first);
    }
    if let Some((_, rest)) = trimmed.split_once("panicked at ") {
        let place = rest.trim_end_matches(':').rsplit(", ").next()?;
        return file_and_line(place, "").map(first);
    }
    if let Some(rest) = trimmed.strip_prefix("from ") {
        return ruby(rest).map(first);
    }
    if let Some((number, rest)) = trimmed.strip_prefix('#').and_then(|rest| rest.split_once(' ')) {
        return number.bytes().all(|b| b.is_ascii_digit()).then(|| php(rest)).flatten().map(first);
    }
    // Go: the function, then its place with a tab before it.
    if line.starts_with('\t') && trimmed.contains(".go:") {
        let function =
            at.checked_sub(1).map_or("", |above| lines[above].split('(').next().unwrap_or_default());
        return file_and_line(trimmed.split(' ').next()?, function.trim()).map(first);
    }
    None
}

/// `/app/web.py", line 12, in index`
fn python(rest: &str) -> Option<Place> {
    let (file, rest) = rest.split_once("\", line ")?;
    let (line, function) = match rest.split_once(", in ") {
        Some((line, function)) => (line, function),
        None => (rest, ""),
    };
    made(file, line.trim(), function)
}

/// `a.b.Shop.pay(Shop.java:42)`, `pay (/app/shop.js:10:5)`, `/app/shop.js:10:5`,
/// `Shop.Pay() in /app/Shop.cs:line 7`, `src/main.rs:10:5`
fn after_at(rest: &str, above: Option<&str>) -> Option<Place> {
    if let Some((function, place)) = rest.split_once(" in ")
        && let Some((file, line)) = place.rsplit_once(":line ")
    {
        return made(file, line, function);
    }
    if let Some((function, inside)) = rest.strip_suffix(')').and_then(|rest| rest.rsplit_once('(')) {
        return file_and_line(inside, function.trim());
    }
    file_and_line(rest, above.unwrap_or_default())
}

/// `12: shop::pay`
fn rust_function(above: &str) -> Option<&str> {
    let (number, function) = above.split_once(": ")?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some(function)
}

/// `/app/shop.rb:10:in 'pay'`
fn ruby(rest: &str) -> Option<Place> {
    let (place, function) = rest.split_once(":in ")?;
    let function = function.trim_matches(|c| matches!(c, '`' | '\'' | '"'));
    file_and_line(place, function)
}

/// `/app/shop.php(10): pay()`
fn php(rest: &str) -> Option<Place> {
    let (file, rest) = rest.split_once('(')?;
    let (line, function) = rest.split_once(')')?;
    made(file, line, function.trim_start_matches(": ").split('(').next().unwrap_or_default())
}

/// `file:line` or `file:line:column`.
fn file_and_line(text: &str, function: &str) -> Option<Place> {
    let text = text.strip_prefix("file://").unwrap_or(text);
    let (rest, last) = text.rsplit_once(':')?;
    match rest.rsplit_once(':') {
        Some((file, line)) if is_number(line) && is_number(last) => made(file, line, function),
        _ => made(rest, last, function),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn made(file: &str, line: &str, function: &str) -> Option<Place> {
    let line = line.parse().ok().filter(|line| *line > 0)?;
    let is_file = !file.is_empty() && file.len() <= PLACE_MAX && file.contains(['.', '/', '\\']);
    let function: String = function.chars().take(PLACE_MAX).collect();
    (is_file && !file.contains(['\n', '"'])).then(|| Place { file: file.to_owned(), line, function })
}

/// What others wrote, by where it usually lies.
fn is_own(place: &Place) -> bool {
    const OTHERS: [&str; 13] = [
        "site-packages/",
        "dist-packages/",
        "/lib/python",
        "node_modules/",
        "node:internal",
        "/usr/lib/",
        "/usr/local/go/",
        "/go/pkg/mod/",
        "/rustc/",
        "/.cargo/registry/",
        "/gems/",
        "/vendor/",
        "<frozen",
    ];
    const PACKAGES: [&str; 8] =
        ["java.", "javax.", "jdk.", "sun.", "std::", "core::", "runtime.", "org.springframework."];
    !OTHERS.iter().any(|other| place.file.contains(other))
        && !PACKAGES.iter().any(|package| place.function.starts_with(package))
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if self.function.is_empty() { Ok(()) } else { write!(f, " in {}", self.function) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(trace: &str, expect: &str) {
        assert_eq!(place(trace).map(|place| place.to_string()).as_deref(), Some(expect), "{trace}");
    }

    #[test]
    fn the_innermost_line_of_own_code_is_found() {
        check(
            "Traceback (most recent call last):\n  File \"/app/web.py\", line 9, in index\n    pay()\n  \
             File \"/app/shop.py\", line 12, in pay\n    x\n  File \"/usr/lib/python3/dist-packages/psycopg2/a.py\", line 3, in run\nKeyError: 'x'",
            "/app/shop.py:12 in pay",
        );
        check(
            "java.lang.IllegalStateException: no\n\tat java.util.List.get(List.java:3)\n\tat shop.Cart.pay(Cart.java:42)\n\tat shop.Main.main(Main.java:7)",
            "Cart.java:42 in shop.Cart.pay",
        );
        check(
            "TypeError: x\n    at Object.run (node:internal/x:1:2)\n    at pay (/app/shop.js:10:5)\n    at /app/web.js:3:1",
            "/app/shop.js:10 in pay",
        );
        check(
            "panic: boom\n\ngoroutine 1 [running]:\nmain.pay(0x1)\n\t/src/shop.go:17 +0x1d\nmain.main()\n\t/src/main.go:4 +0x20",
            "/src/shop.go:17 in main.pay",
        );
        check("thread 'main' panicked at src/shop.rs:10:5:\nno room", "src/shop.rs:10");
        check(
            "stack backtrace:\n   0: std::panicking::begin\n             at /rustc/abc/library/std/src/panicking.rs:5:1\n   1: shop::pay\n             at ./src/shop.rs:8:3",
            "./src/shop.rs:8 in shop::pay",
        );
        check("shop.rb:1:in `x': no (E)\n\tfrom /app/shop.rb:10:in `pay'", "/app/shop.rb:10 in pay");
        check("#0 /app/shop.php(10): pay()\n#1 {main}", "/app/shop.php:10 in pay");
        check("   at Shop.Cart.Pay() in /app/Cart.cs:line 7", "/app/Cart.cs:7 in Shop.Cart.Pay()");
    }

    #[test]
    fn where_all_of_it_is_of_others_the_innermost_is_named() {
        check(
            "Traceback:\n  File \"/usr/lib/python3/a.py\", line 1, in a\n  File \"/usr/lib/python3/b.py\", line 2, in b",
            "/usr/lib/python3/b.py:2 in b",
        );
    }

    #[test]
    fn what_is_no_trace_has_no_place() {
        for text in [
            "",
            "GET / 200",
            "at noon: 12:30",
            "from here to there",
            "File \"x\", line y",
            "#1 of 3",
            "at (a)",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
        assert!(place(&"  File \"/a.py\", line 1\n".repeat(10_000)).is_some(), "long ones end");
    }
}
