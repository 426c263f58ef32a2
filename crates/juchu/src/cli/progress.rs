//! What a change is doing, one line for each service: redrawn in place on a terminal, a new line
//! for each step elsewhere.

use super::screen::{Hue, Paint, Screen, safe};
use console::text::cut;
use model::{DurationMs, ReleaseId, ServiceName};
use run::control::{Phase, Progress};
use std::time::{Duration, Instant};

/// What ends sooner needs no picture of its progress.
const QUIET_START: Duration = Duration::from_millis(250);
/// The picture is drawn again so often for its running times.
pub const REDRAW: Duration = Duration::from_millis(100);
/// Without a terminal a step that only changes its text says so at most this often.
const PLAIN_SPACING: Duration = Duration::from_secs(2);
/// Lines of the picture, however high the terminal is.
const LINES_MAX: usize = 40;

/// The services of a change in the order they were first heard of.
#[derive(Debug, Default)]
pub struct Board {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    service: ServiceName,
    phase: Phase,
    text: String,
    began: Duration,
    /// When it came to rest.
    rested: Option<Duration>,
    said: Option<Duration>,
}

impl Board {
    /// Takes a step in; `true` when a line of its own should tell it where nothing is redrawn.
    pub fn apply(&mut self, progress: &Progress, now: Duration) -> bool {
        let Progress::Service { service, phase, text, .. } = progress else { return false };
        let rested = is_rest(*phase).then_some(now);
        match self.rows.iter_mut().find(|row| row.service == *service) {
            Some(row) => {
                let moved = row.phase != *phase;
                let news = row.text != *text && row.said.is_none_or(|said| now >= said + PLAIN_SPACING);
                if moved || news {
                    row.said = Some(now);
                }
                (row.phase, row.text) = (*phase, text.clone());
                row.rested = rested.and(row.rested.filter(|_| !moved).or(rested));
                moved || news
            }
            None => {
                let (service, text, said) = (service.clone(), text.clone(), Some(now));
                self.rows.push(Row { service, phase: *phase, text, began: now, rested, said });
                true
            }
        }
    }

    /// The line of one service, without its time.
    pub fn line_of(&self, service: &ServiceName, paint: Paint) -> Option<String> {
        let row = self.rows.iter().find(|row| row.service == *service)?;
        Some(self.line(row, None, None, paint))
    }

    /// At most `height` lines: what moves before what rests.
    pub fn lines(&self, width: usize, height: usize, now: Duration, paint: Paint) -> Vec<String> {
        let mut shown: Vec<_> = self.rows.iter().collect();
        if shown.len() > height {
            shown.sort_by_key(|row| is_rest(row.phase));
            shown.truncate(height.saturating_sub(1));
        }
        let hidden = self.rows.len() - shown.len();
        let mut lines: Vec<_> =
            shown.iter().map(|row| self.line(row, Some(now), Some(width), paint)).collect();
        if hidden > 0 {
            lines.push(format!("… and {hidden} more"));
        }
        lines
    }

    fn line(&self, row: &Row, now: Option<Duration>, width: Option<usize>, paint: Paint) -> String {
        let (icon, word, hue) = look(row.phase);
        let wide = self.rows.iter().map(|row| row.service.as_str().len()).max().unwrap_or_default();
        let name = cut(row.service.as_str(), 32);
        let time =
            now.map(|now| took(row.rested.unwrap_or(now).saturating_sub(row.began))).unwrap_or_default();
        let head = format!("{name:wide$}  {word:9}", wide = wide.min(32));
        // Icon, head, text and time, with two spaces between them.
        let room = width.map_or(usize::MAX, |w| w.saturating_sub(head.chars().count() + time.len() + 6));
        let text = safe(&row.text).replace('\n', " ");
        let text = once(word, &text);
        let line =
            format!("{} {head}  {}  {}", paint.on(hue, icon), cut(text, room), paint.on(Hue::Quiet, &time));
        line.trim_end().to_owned()
    }
}

/// `waiting  waiting for db` would say it twice.
fn once<'a>(word: &str, text: &'a str) -> &'a str {
    match text.strip_prefix(word) {
        Some(rest) if rest.is_empty() || rest.starts_with([':', ' ']) => rest.trim_start_matches([':', ' ']),
        _ => text,
    }
}

const fn is_rest(phase: Phase) -> bool {
    matches!(phase, Phase::Ready | Phase::Stopped | Phase::Done | Phase::Failed)
}

const fn look(phase: Phase) -> (&'static str, &'static str, Hue) {
    match phase {
        Phase::Waiting => ("○", "waiting", Hue::Quiet),
        Phase::Building => ("◐", "building", Hue::Busy),
        Phase::Starting => ("◐", "starting", Hue::Busy),
        Phase::Checking => ("◐", "checking", Hue::Busy),
        Phase::Ready => ("●", "ready", Hue::Good),
        Phase::Stopping => ("◑", "stopping", Hue::Busy),
        Phase::Stopped => ("□", "stopped", Hue::Quiet),
        Phase::Done => ("✓", "done", Hue::Good),
        Phase::Failed => ("✗", "failed", Hue::Bad),
    }
}

fn took(duration: Duration) -> String {
    match duration.as_millis() {
        0..1000 => String::new(),
        ms => DurationMs(ms as u64).to_string(),
    }
}

/// Draws a board on standard error.
pub struct Live<'a> {
    screen: &'a Screen,
    board: Board,
    began: Instant,
    /// Lines that stand on the terminal now.
    drawn: usize,
    /// Columns and lines of the terminal, when it is one and progress is wanted.
    size: Option<(usize, usize)>,
}

impl<'a> Live<'a> {
    pub fn new(screen: &'a Screen) -> Self {
        let rows =
            rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_row));
        let rows = if rows == 0 { 24 } else { rows };
        let size = screen.err_width.filter(|_| !screen.quiet).map(|width| (width, rows.saturating_sub(2)));
        Self { screen, board: Board::default(), began: Instant::now(), drawn: 0, size }
    }

    pub fn apply(&mut self, progress: &Progress) {
        let tell = self.board.apply(progress, self.began.elapsed());
        if let Progress::Warning { text } = progress {
            self.clear();
            self.screen.warn(safe(text));
        }
        if let Progress::GoingBack { release, cause } = progress {
            self.clear();
            self.screen.note(going_back_line(*release, cause, self.screen.err));
        }
        match (self.size, progress) {
            (Some(_), _) => self.redraw(),
            (None, Progress::Service { service, .. }) if tell => {
                let line = self.board.line_of(service, self.screen.err);
                self.screen.note(line.unwrap_or_default());
            }
            _ => {}
        }
    }

    /// Draws the present picture over the last one.
    pub fn redraw(&mut self) {
        let Some((width, height)) = self.size else { return };
        if self.began.elapsed() < QUIET_START {
            return;
        }
        let lines = self.board.lines(width, height.min(LINES_MAX), self.began.elapsed(), self.screen.err);
        let mut text = self.above();
        for line in &lines {
            text.push_str(line);
            text.push_str("\u{1b}[K\n");
        }
        text.push_str("\u{1b}[J");
        self.drawn = lines.len();
        self.screen.say(&text);
    }

    /// Takes the picture away.
    pub fn clear(&mut self) {
        if self.drawn > 0 {
            let text = self.above() + "\u{1b}[J";
            self.screen.say(&text);
            self.drawn = 0;
        }
    }

    /// Takes the picture away and leaves its last state as plain lines where it was drawn.
    pub fn finish(mut self) {
        let seen = self.drawn > 0;
        self.clear();
        if let (true, Some((width, _))) = (seen, self.size) {
            let lines = self.board.lines(width, usize::MAX, self.began.elapsed(), self.screen.err);
            lines.iter().for_each(|line| self.screen.note(line));
        }
    }

    fn above(&self) -> String {
        if self.drawn > 0 { format!("\u{1b}[{}A\r", self.drawn) } else { String::new() }
    }
}

/// Said when it happens: the rest of the picture is the way back.
fn going_back_line(release: Option<ReleaseId>, cause: &str, paint: Paint) -> String {
    let doing = match release {
        Some(release) => format!("◁ going back to {release}"),
        None => "◁ taking it back".to_owned(),
    };
    format!("{}: {}", paint.on(Hue::Warn, &doing), safe(cause))
}

/// A command that ends early leaves no half picture behind.
impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;

    fn step(name: &str, phase: Phase, text: &str) -> Progress {
        let service = ServiceName::new(name).expect("valid");
        Progress::Service { service, phase, text: text.to_owned(), at: Timestamp(0) }
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn board() -> Board {
        let mut board = Board::default();
        board.apply(&step("db", Phase::Ready, "unchanged"), s(0));
        board.apply(&step("web", Phase::Building, "python 3.11 with 4 packages from the archive"), s(0));
        board.apply(&step("worker", Phase::Waiting, "waiting for db"), s(1));
        board.apply(&step("web", Phase::Failed, "exited with code 1\u{1b}[2J"), s(3));
        board
    }

    #[test]
    fn a_picture_has_one_line_for_each_service() {
        insta::assert_snapshot!(board().lines(80, 10, s(5), Paint(false)).join("\n"), @"
        ● db      ready      unchanged
        ✗ web     failed     exited with code 1  3 s
        ○ worker  waiting    for db  4 s
        ");
    }

    #[test]
    fn going_back_is_said_as_it_happens() {
        let line = |release| going_back_line(release, "web: exited with code 1\u{1b}[2J", Paint(false));
        assert_eq!(line(Some(ReleaseId(4))), "◁ going back to r4: web: exited with code 1");
        assert_eq!(line(None), "◁ taking it back: web: exited with code 1");
    }

    #[test]
    fn a_word_is_said_once() {
        assert_eq!(once("ready", "ready"), "");
        assert_eq!(once("stopping", "stopping: the stack is removed"), "the stack is removed");
        assert_eq!(once("start", "starting"), "starting");
    }

    #[test]
    fn a_picture_fits_its_terminal() {
        let lines = board().lines(34, 2, s(5), Paint(false));
        insta::assert_snapshot!(lines.join("\n"), @"
        ○ worker  waiting    for db  4 s
        … and 2 more
        ");
        let narrow = board().lines(30, 10, s(5), Paint(false));
        assert!(narrow.iter().all(|line| line.chars().count() <= 30), "{narrow:?}");
    }

    #[test]
    fn without_a_terminal_each_step_is_said_once() {
        let mut board = Board::default();
        assert!(board.apply(&step("web", Phase::Building, "1 of 9 packages"), s(0)));
        assert!(!board.apply(&step("web", Phase::Building, "2 of 9 packages"), s(1)), "too soon");
        assert!(board.apply(&step("web", Phase::Building, "7 of 9 packages"), s(2)));
        assert!(!board.apply(&step("web", Phase::Building, "7 of 9 packages"), s(9)), "nothing new");
        assert!(board.apply(&step("web", Phase::Ready, "1 of 1 ready"), s(9)));
        let web = ServiceName::new("web").expect("valid");
        assert_eq!(board.line_of(&web, Paint(false)).as_deref(), Some("● web  ready      1 of 1 ready"));
    }
}
