//! Lines of one stack trace become one row: of Java, Python, Go, Node and Rust.
//!
//! Only a line that may begin a trace is held back; all others pass at once, and nothing is held for
//! longer than the caller waits.

/// Lines and bytes of a joined row; a trace that is longer goes on in another row.
pub const JOINED_LINES_MAX: usize = 500;
pub const JOINED_BYTES_MAX: usize = 48 << 10;

/// Joins the lines of one stream; `T` is what the caller wants to know of the first line (its time) and
/// of the last (its place).
#[derive(Debug)]
pub struct Joiner<T> {
    held: Option<Held<T>>,
}

#[derive(Debug)]
struct Held<T> {
    first: T,
    last: T,
    text: String,
    lines: usize,
    trace: Trace,
}

/// A row that is complete.
#[derive(Debug, PartialEq, Eq)]
pub struct Joined<T> {
    pub first: T,
    pub last: T,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trace {
    /// A line that may be the first of one with frames in lines of their own: Java, Node.
    Frames,
    /// Between `Traceback` and the line of the exception.
    Python,
    /// The line of the exception was there; another traceback may follow after an empty line.
    PythonEnd,
    Go,
    /// `panicked at …:` was there, the message comes next.
    RustMessage,
    Rust,
}

impl<T> Default for Joiner<T> {
    fn default() -> Self {
        Self { held: None }
    }
}

impl<T: Clone> Joiner<T> {
    /// Takes a line; hands out the rows that are complete by it, none, one or two.
    pub fn push(&mut self, of: T, line: &str, mut row: impl FnMut(Joined<T>)) {
        if let Some(held) = &mut self.held {
            let fits = held.lines < JOINED_LINES_MAX && held.text.len() + line.len() < JOINED_BYTES_MAX;
            if let (true, Some(next)) = (fits, continues(held.trace, line)) {
                held.text.push('\n');
                held.text.push_str(line);
                held.lines += 1;
                held.last = of;
                held.trace = next;
                return;
            }
            self.flush(&mut row);
        }
        match begins(line) {
            Some(trace) => {
                self.held =
                    Some(Held { first: of.clone(), last: of, text: line.to_owned(), lines: 1, trace });
            }
            None => row(Joined { first: of.clone(), last: of, text: line.to_owned() }),
        }
    }

    /// Hands out what is held: nothing came for a while, or nothing more will come.
    pub fn flush(&mut self, mut row: impl FnMut(Joined<T>)) {
        if let Some(Held { first, last, text, .. }) = self.held.take() {
            row(Joined { first, last, text: text.trim_end_matches('\n').to_owned() });
        }
    }

    /// The last line that is held, if any.
    pub fn held(&self) -> Option<&T> {
        self.held.as_ref().map(|held| &held.last)
    }
}

fn begins(line: &str) -> Option<Trace> {
    // A record of its own that contains a trace has it within one line already.
    if line.starts_with('{') || line.len() > 4096 {
        return None;
    }
    if line.ends_with("Traceback (most recent call last):") {
        return Some(Trace::Python);
    }
    if line.starts_with("panic: ") || line.starts_with("fatal error: ") || is_goroutine(line) {
        return Some(Trace::Go);
    }
    if line.contains("' panicked at ") || line.contains("' panicked at:") || line.contains(") panicked at ") {
        return Some(if line.ends_with(':') { Trace::RustMessage } else { Trace::Rust });
    }
    let names_one = ["Exception", "Error", "Throwable"].iter().any(|name| line.contains(name));
    names_one.then_some(Trace::Frames)
}

fn is_goroutine(line: &str) -> bool {
    line.starts_with("goroutine ") && line.ends_with("]:")
}

/// What is expected after this line, if it belongs to the trace.
fn continues(trace: Trace, line: &str) -> Option<Trace> {
    let indented = line.starts_with([' ', '\t']);
    let inner = line.trim_start();
    match trace {
        Trace::Frames => {
            let is_frame =
                indented && (inner.starts_with("at ") || is_more(inner) || inner.starts_with("Suppressed: "));
            // Node shows the properties of an error between braces after its frames.
            let is_node = indented && (inner.starts_with("code: ") || inner.starts_with("[cause]: "));
            (is_frame || is_node || line.starts_with("Caused by: ")).then_some(Trace::Frames)
        }
        Trace::Python if indented => Some(Trace::Python),
        Trace::Python if line.is_empty() => None,
        Trace::Python => Some(Trace::PythonEnd),
        Trace::PythonEnd => {
            let is_chain = line.is_empty()
                || line.starts_with("During handling of the above exception")
                || line.starts_with("The above exception was the direct cause");
            if line.ends_with("Traceback (most recent call last):") {
                return Some(Trace::Python);
            }
            is_chain.then_some(Trace::PythonEnd)
        }
        Trace::Go => {
            let is_call = line.ends_with(')') && line.contains('(') && !line.contains(' ')
                || line.starts_with("created by ");
            let is_head = is_goroutine(line) || line.starts_with("[signal ") || line.starts_with("\tpanic: ");
            (line.is_empty()
                || indented
                || is_call
                || is_head
                || line.starts_with("exit status ")
                || line.contains("...additional frames"))
            .then_some(Trace::Go)
        }
        Trace::RustMessage => Some(Trace::Rust),
        Trace::Rust => {
            let is_note = line.starts_with("note: ") || line.starts_with("stack backtrace:");
            (indented || is_note).then_some(Trace::Rust)
        }
    }
}

/// `... 7 more`, `... 3 common frames omitted`.
fn is_more(inner: &str) -> bool {
    inner.starts_with("... ") && (inner.ends_with(" more") || inner.ends_with("omitted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows between lines of `--`.
    #[track_caller]
    fn check(lines: &str) {
        let mut joiner = Joiner::default();
        let mut rows = Vec::new();
        for (number, line) in lines.lines().filter(|line| *line != "--").enumerate() {
            joiner.push(number, line, |row| rows.push(row.text));
        }
        joiner.flush(|row| rows.push(row.text));
        assert_eq!(rows, lines.split("\n--\n").collect::<Vec<_>>());
    }

    #[test]
    fn traces_of_five_languages_are_rows() {
        check(
            "started\n--\n2026 ERROR failed\n--\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:7)\n\tat d.E.main(E.java:1)\nCaused by: java.io.IOException: x\n\tat f.G.h(G.java:2)\n\t... 2 more\n--\nnext",
        );
        check(
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\n    ^^^\nKeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    raise ValueError(\"y\")\nValueError: y\n--\nready",
        );
        check(
            "panic: boom [recovered]\n\tpanic: boom\n\ngoroutine 1 [running]:\nmain.f(...)\n\t/src/a.go:7\nmain.main()\n\t/src/a.go:3 +0x1d\nexit status 2\n--\nready at last",
        );
        check(
            "TypeError: x is undefined\n    at f (/app/a.js:1:7)\n    at Object.<anonymous> (/app/a.js:3:1)\n--\nok",
        );
        check(
            "thread 'main' panicked at src/main.rs:2:5:\nboom\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/library/std/src/panicking.rs:665:5\nnote: Some details are omitted\n--\nok",
        );
    }

    #[test]
    fn what_is_no_trace_passes_at_once() {
        let mut joiner = Joiner::default();
        let mut rows = Vec::new();
        for line in ["a", "  indented", "{\"Error\":1}"] {
            joiner.push(0, line, |row| rows.push(row.text));
        }
        assert_eq!(rows, ["a", "  indented", "{\"Error\":1}"]);
        assert!(joiner.held().is_none());
        joiner.push(7, "Error: x", |_| unreachable!("it may go on"));
        assert_eq!(joiner.held(), Some(&7));
    }

    #[test]
    fn a_trace_is_bounded() {
        let mut joiner = Joiner::default();
        let mut rows: Vec<Joined<usize>> = Vec::new();
        joiner.push(0, "Error: x", |_| unreachable!());
        for number in 1..2000 {
            joiner.push(number, "    at f", |row| rows.push(row));
        }
        assert_eq!(rows[0].text.lines().count(), JOINED_LINES_MAX);
        assert_eq!((rows[0].first, rows[0].last), (0, JOINED_LINES_MAX - 1));
        joiner.push(0, "Error: x", |row| rows.push(row));
        joiner.push(0, &format!("    at {}", "y".repeat(JOINED_BYTES_MAX)), |row| rows.push(row));
        assert!(rows.iter().rev().take(2).any(|row| row.text == "Error: x"));
    }
}
