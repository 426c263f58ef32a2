//! Where output goes: data to standard output, everything else to standard error, and how each of
//! them likes to be written to.

use console::text::without_controls;
use console::when::Clock;
use model::Report;
use run::control::State;
use std::borrow::Cow;
use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Why a command ends before its end.
#[derive(Debug)]
pub enum Ended {
    /// Printed as `error:` and `hint:`.
    Failed(Report),
    /// Everything was said already.
    Code(u8),
    /// Nobody reads standard output any more.
    Closed,
}

impl From<Report> for Ended {
    fn from(report: Report) -> Self {
        Ended::Failed(report)
    }
}

impl From<console::client::ClientError> for Ended {
    fn from(error: console::client::ClientError) -> Self {
        Ended::Failed(error.into())
    }
}

pub type Outcome<T = ()> = Result<T, Ended>;

/// How much may be painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hue {
    Good,
    Busy,
    Warn,
    Bad,
    Quiet,
    Strong,
}

impl Paint {
    pub fn on(self, hue: Hue, text: &str) -> String {
        let code = match hue {
            Hue::Good => "32",
            Hue::Busy => "36",
            Hue::Warn => "33",
            Hue::Bad => "31",
            Hue::Quiet => "2",
            Hue::Strong => "1",
        };
        if self.0 && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The two streams of this process.
#[derive(Debug, Clone)]
pub struct Screen {
    pub out: Paint,
    pub err: Paint,
    /// Columns of standard output, when it is a terminal.
    pub width: Option<usize>,
    /// Columns of standard error, when it is a terminal.
    pub err_width: Option<usize>,
    pub quiet: bool,
    pub clock: Clock,
}

impl Screen {
    pub fn of_process(quiet: bool) -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        let (out, err) = (io::stdout(), io::stderr());
        Self {
            out: Paint(out.is_terminal() && !plain),
            err: Paint(err.is_terminal() && !plain),
            width: out.is_terminal().then(|| columns(&out)),
            err_width: err.is_terminal().then(|| columns(&err)),
            quiet,
            clock: Clock::system(),
        }
    }

    /// Data, as it is.
    pub fn print(&self, text: &str) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(out_failed)
    }

    pub fn json(&self, value: &impl serde::Serialize) -> Outcome {
        let mut text = serde_json::to_string_pretty(value).expect("our types have string keys only");
        text.push('\n');
        self.print(&text)
    }

    /// One document on one line.
    pub fn json_line(&self, value: &impl serde::Serialize) -> Outcome {
        let mut text = serde_json::to_string(value).expect("our types have string keys only");
        text.push('\n');
        self.print(&text)
    }

    /// A remark, left out with `--quiet`.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            self.say(&format!("{text}\n"));
        }
    }

    pub fn warn(&self, text: impl Display) {
        let word = self.err.on(Hue::Warn, "warning:");
        self.say(&format!("{word} {text}\n"));
    }

    pub fn hint(&self, text: impl Display) {
        if !self.quiet {
            self.say(&hint_line(self.err, &text.to_string()));
        }
    }

    pub fn report(&self, report: &Report) {
        self.say(&report_text(report, self.err));
    }

    /// Text for standard error. When that cannot be written there is nobody left to tell.
    pub fn say(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

/// `error: …`, then each `hint: …`.
pub fn report_text(report: &Report, paint: Paint) -> String {
    let error = safe(&report.error);
    let mut text = format!("{} {error}\n", paint.on(Hue::Bad, "error:"));
    for hint in &report.hints {
        text.push_str(&hint_line(paint, hint));
    }
    text
}

pub fn hint_line(paint: Paint, hint: &str) -> String {
    format!("{} {}\n", paint.on(Hue::Busy, "hint:"), commands(paint, &safe(hint)))
}

/// Commands stand between back quotes, and stand out. A hint that is a command alone gets its own.
fn commands(paint: Paint, hint: &str) -> String {
    let alone = !hint.contains('`') && (hint.starts_with("juchu ") || hint.starts_with("sudo "));
    if alone {
        return paint.on(Hue::Strong, &format!("`{hint}`"));
    }
    let mut text = String::new();
    for (position, part) in hint.split('`').enumerate() {
        match position % 2 {
            0 => text.push_str(part),
            _ => text.push_str(&paint.on(Hue::Strong, &format!("`{part}`"))),
        }
    }
    // Without a partner the last one is just a character.
    if hint.matches('`').count() % 2 == 1 { hint.to_owned() } else { text }
}

/// Text from elsewhere on its way to a terminal.
pub fn safe(text: &str) -> Cow<'_, str> {
    let mut safe = Cow::Borrowed("");
    for (position, line) in text.split('\n').enumerate() {
        if position > 0 {
            safe += "\n";
        }
        safe += without_controls(line, false);
    }
    safe
}

/// Icon and word of a state; the icon's shape differs from state to state.
pub const fn look_of(state: State) -> (&'static str, &'static str, Hue) {
    match state {
        State::Ready => ("●", "ready", Hue::Good),
        State::Done => ("✓", "done", Hue::Quiet),
        State::Stopped => ("□", "stopped", Hue::Quiet),
        State::Starting => ("◐", "starting", Hue::Busy),
        State::Stopping => ("◑", "stopping", Hue::Busy),
        State::Unhealthy => ("▲", "unhealthy", Hue::Warn),
        State::Failed => ("✗", "failed", Hue::Bad),
    }
}

fn columns(stream: impl std::os::fd::AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(stream).map_or(0, |size| usize::from(size.ws_col));
    if size == 0 { 80 } else { size }
}

fn out_failed(error: io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ended::Closed,
        _ => Report::environment(format!("standard output cannot be written: {error}"))
            .hint("look at the disk or the program that reads it")
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_a_sentence_and_its_hints() {
        let report = Report::usage("there is no service `wbe`").hint("did you mean `web`?");
        assert_eq!(
            report_text(&report, Paint(false)),
            "error: there is no service `wbe`\nhint: did you mean `web`?\n"
        );
        assert_eq!(
            report_text(&report, Paint(true)),
            "\u{1b}[31merror:\u{1b}[0m there is no service `wbe`\n\
             \u{1b}[36mhint:\u{1b}[0m did you mean \u{1b}[1m`web`\u{1b}[0m?\n"
        );
    }

    #[test]
    fn a_command_alone_is_quoted_like_every_other() {
        let line = |hint| hint_line(Paint(false), hint);
        assert_eq!(line("juchu history"), "hint: `juchu history`\n");
        assert_eq!(line("`juchu up` starts it"), "hint: `juchu up` starts it\n");
        assert_eq!(line("the stacks are a, b"), "hint: the stacks are a, b\n");
        assert_eq!(line("an odd ` stays"), "hint: an odd ` stays\n");
    }

    #[test]
    fn text_from_elsewhere_does_not_drive_the_terminal() {
        let report = Report::usage("a\u{1b}[2Jb\nc\u{7}");
        assert_eq!(report_text(&report, Paint(false)), "error: ab\nc\u{fffd}\n");
    }
}
