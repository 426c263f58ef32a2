//! Charts as SVG drawn by the server: a number for each step, gaps where nothing was measured, and
//! the moments of changes. Every number is in the table below it, too.
//!
//! Lines differ by their strokes, not by colour, which is for states alone.

use super::parts::{NBSP, plain};
use super::unit::{Scale, Unit};
use crate::measured::{Asked, Course};
use crate::when::Clock;
use maud::{Markup, html};
use model::Timestamp;
use std::fmt::Write as _;

/// Lines of one chart; the busiest are drawn.
pub const LINES_MAX: usize = 6;
/// The height of a chart in the units of its paths.
const TOP: f64 = 1000.0;
/// The top of a band is shown up to so many times the highest line.
const BAND_MOST: f64 = 3.0;

/// A line with its name.
pub struct Line {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// A change, at its place in time.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub at: Timestamp,
    pub text: String,
}

/// From here to there a value is normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    pub low: f64,
    pub high: f64,
    /// Whether what lies outside is marked: there is one line, and it is what is held against it.
    pub marks_outside: bool,
}

pub struct Chart<'a> {
    pub id: &'a str,
    pub title: &'a str,
    pub unit: Unit,
    pub asked: &'a Asked,
    pub lines: Vec<Line>,
    /// Lines that are not drawn because there are too many.
    pub left_out: usize,
    pub marks: &'a [Mark],
    /// What is normal.
    pub band: Option<Band>,
    pub clock: &'a Clock,
}

impl Line {
    pub fn of(name: String, course: &Course, asked: &Asked) -> Self {
        Self { name, values: course.by_step(asked) }
    }

    fn present(&self) -> impl Iterator<Item = f64> + Clone {
        self.values.iter().flatten().copied()
    }

    pub fn most(&self) -> f64 {
        self.present().fold(0.0, f64::max)
    }

    fn mean(&self) -> Option<f64> {
        let count = self.present().count();
        (count > 0).then(|| self.present().sum::<f64>() / count as f64)
    }

    fn least(&self) -> Option<f64> {
        self.present().min_by(f64::total_cmp)
    }

    /// Of the last step; nothing when it has none.
    pub fn last(&self) -> Option<f64> {
        self.values.last().copied().flatten()
    }
}

/// Draws at most so many lines, those that reach highest.
pub fn busiest(mut lines: Vec<Line>) -> (Vec<Line>, usize) {
    lines.retain(|line| line.present().next().is_some());
    if lines.len() <= LINES_MAX {
        return (lines, 0);
    }
    lines.sort_by(|a, b| b.most().total_cmp(&a.most()).then_with(|| a.name.cmp(&b.name)));
    let left_out = lines.len() - LINES_MAX;
    lines.truncate(LINES_MAX);
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    (lines, left_out)
}

impl Chart<'_> {
    pub fn draw(&self) -> Markup {
        let most = self.lines.iter().map(Line::most).fold(0.0, f64::max);
        // A band far above the lines does not flatten them.
        let band = self
            .band
            .map_or(0.0, |band| if most > 0.0 { band.high.min(most * BAND_MOST) } else { band.high });
        let scale = Scale::of(self.unit, most.max(band));
        html! {
            figure.chart #{ "chart-" (self.id) } {
                figcaption { h3 { (self.title) } }
                div.plot {
                    div.side aria-hidden="true" {
                        span { (scale.text(1.0)) } span { (scale.text(0.5)) } span { (scale.text(0.0)) }
                    }
                    div.area tabindex="0" role="img" aria-label=(self.sentence())
                        data-from=(self.asked.from.0) data-step=(self.asked.step_ms)
                        data-top=(scale.top_number()) data-unit=(scale.unit_text()) {
                        svg viewBox={ "0 0 " (self.asked.steps() - 1) " 1000" } preserveAspectRatio="none" aria-hidden="true" {
                            path.grid d={ "M0 0H" (self.asked.steps()) "M0 500H" (self.asked.steps()) } {}
                            @if let Some(band) = self.band { path.band d=(self.banded(band, scale.top())) {} }
                            @for mark in self.marks { @if let Some(x) = self.place(mark) {
                                path.mark d={ "M" (x) " 0V1000" } {}
                            } }
                            @for (index, line) in self.lines.iter().enumerate() {
                                path.line.{ "l" (index) } d=(path(&line.values, scale.top())) data-name=(plain(&line.name)) {}
                            }
                            @if let Some(band) = self.band.filter(|band| band.marks_outside) { @for line in &self.lines {
                                path.out d=(outside(&line.values, band, scale.top())) {}
                            } }
                        }
                    }
                    div.foot aria-hidden="true" { @for at in self.times() { span { (self.time(at)) } } }
                }
                (self.table(&scale))
            }
        }
    }

    fn banded(&self, band: Band, top: f64) -> String {
        let y = |value: f64| TOP - ((value / top).clamp(0.0, 1.0) * TOP).round();
        format!("M0 {}H{}V{}H0z", y(band.low), self.asked.steps() - 1, y(band.high))
    }

    /// For those who do not see it.
    fn sentence(&self) -> String {
        let of = |line: &Line| match line.last() {
            Some(last) => format!("{} {}", plain(&line.name), self.unit.text(last)),
            None => format!("{} nothing now", plain(&line.name)),
        };
        let lines: Vec<_> = self.lines.iter().map(of).collect();
        format!("{}: {}", self.title, lines.join(", "))
    }

    fn table(&self, scale: &Scale) -> Markup {
        let number = |value: Option<f64>| value.map(|value| self.unit.text(value)).unwrap_or_default();
        html! {
            table.lines {
                thead { tr {
                    th scope="col" { span.unseen { "Line" } } th.number scope="col" { "now" } th.number scope="col" { "least" }
                    th.number scope="col" { "mean" } th.number scope="col" { "most" }
                } }
                tbody { @for (index, line) in self.lines.iter().enumerate() {
                    tr {
                        th scope="row" {
                            svg.sample viewBox="0 0 24 8" aria-hidden="true" { path.line.{ "l" (index) } d="M0 4H24" {} }
                            (plain(&line.name))
                        }
                        td.number { (number(line.last())) } td.number { (number(line.least())) }
                        td.number { (number(line.mean())) }
                        td.number { (number(Some(line.most()).filter(|_| line.least().is_some()))) }
                    }
                } }
            }
            @if self.left_out > 0 { p.quiet { "and " (self.left_out) " more that stay lower" } }
            @if scale.is_flat() { p.quiet { "0 all the time" } }
        }
    }

    /// Where a mark stands, in steps.
    fn place(&self, mark: &Mark) -> Option<String> {
        let inside = (self.asked.from.0..=self.asked.to.0).contains(&mark.at.0);
        inside.then(|| format!("{:.1}", (mark.at.0 - self.asked.from.0) as f64 / self.asked.step_ms as f64))
    }

    fn times(&self) -> [Timestamp; 4] {
        let third = (self.asked.to.0 - self.asked.from.0) / 3;
        [0, 1, 2, 3].map(|number| Timestamp(self.asked.from.0 + number * third))
    }

    fn time(&self, at: Timestamp) -> String {
        match self.asked.to.0 - self.asked.from.0 > 2 * 86_400_000 {
            true => self.clock.day(at),
            false => self.clock.minute(at),
        }
    }
}

/// A small chart beside a number: a line, and nothing else.
pub fn small(values: &[Option<f64>], most: f64) -> Markup {
    html! {
        svg.small viewBox={ "0 0 " (values.len().saturating_sub(1).max(1)) " 1000" } preserveAspectRatio="none" aria-hidden="true" {
            path.grid d={ "M0 1000H" (values.len().saturating_sub(1).max(1)) } {}
            path.line d=(path(values, most)) {}
        }
    }
}

/// Bars beside each other; each is as wide as its share of the time.
pub fn bars(counts: &[u64]) -> Markup {
    let most = counts.iter().copied().max().unwrap_or_default().max(1);
    let mut path = String::new();
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // What is there is seen, however little it is.
        let height = (*count as f64 / most as f64 * TOP).round().max(TOP / 20.0);
        let _ = write!(path, "M{at} 1000v-{height}h.8v{height}z");
    }
    html! {
        svg.barred viewBox={ "0 0 " (counts.len()) " 1000" } preserveAspectRatio="none" aria-hidden="true" {
            path.bar d=(path) {}
        }
    }
}

/// A dot for each value outside the band.
fn outside(values: &[Option<f64>], band: Band, top: f64) -> String {
    let mut path = String::new();
    for (step, value) in values.iter().enumerate() {
        let Some(value) = value.filter(|value| *value < band.low || *value > band.high) else { continue };
        let y = TOP - ((value / top).clamp(0.0, 1.0) * TOP).round();
        let _ = write!(path, "M{step} {y}h.1");
    }
    path
}

/// `M0 1000 1 980M5 20 6 40`: steps to the right, thousandths of the top from above. A value
/// alone between gaps becomes a line of one tenth of a step, so that it is seen.
fn path(values: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for (step, value) in values.iter().enumerate() {
        let Some(value) = value else {
            is_open = false;
            continue;
        };
        let share = if top > 0.0 { (value / top).clamp(0.0, 1.0) } else { 0.0 };
        let y = TOP - (share * TOP).round();
        let is_alone = !is_open && values.get(step + 1).is_none_or(Option::is_none);
        let lead = if is_open { " " } else { "M" };
        // Writing to a text cannot fail.
        let _ = write!(path, "{lead}{step} {y}");
        if is_alone {
            path.push_str("h.1");
        }
        is_open = true;
    }
    path
}

/// Numbers and units that belong together.
pub fn joined(number: &str, unit: &str) -> String {
    let space = if unit.is_empty() || unit.starts_with('/') { "" } else { NBSP };
    format!("{number}{space}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_gaps() {
        let values = [None, Some(1.0), Some(2.0), None, Some(4.0), None, Some(0.0), Some(9.0)];
        assert_eq!(path(&values, 4.0), "M1 750 2 500M4 0h.1M6 1000 7 0");
        assert_eq!(path(&[Some(0.0), Some(0.0)], 0.0), "M0 1000 1 1000");
        assert_eq!(path(&[], 1.0), "");
    }

    #[test]
    fn the_busiest_lines_are_drawn() {
        let line = |name: &str, value| Line { name: name.to_owned(), values: vec![value] };
        let many = (0..10).map(|number| line(&format!("web-{number}"), Some(f64::from(number))));
        let (lines, left_out) = busiest(many.chain([line("gone", None)]).collect());
        let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!((names, left_out), (vec!["web-4", "web-5", "web-6", "web-7", "web-8", "web-9"], 4));
    }

    #[test]
    fn marks_stand_where_they_happened_and_names_do_no_harm() {
        let asked =
            Asked { expression: String::new(), from: Timestamp(0), to: Timestamp(10_000), step_ms: 1000 };
        let marks = [2_500, 90_000].map(|at| Mark { at: Timestamp(at), text: "deploy".into() });
        let line = Line { name: "\"><script>\u{1b}[2J".into(), values: vec![Some(1.0); 11] };
        let clock = Clock::utc(Timestamp(10_000));
        let chart = Chart {
            id: "x",
            title: "X",
            unit: Unit::Count,
            asked: &asked,
            lines: vec![line],
            left_out: 0,
            marks: &marks,
            band: Some(Band { low: 0.2, high: 0.5, marks_outside: true }),
            clock: &clock,
        };
        let drawn = chart.draw().into_string();
        assert!(drawn.contains("d=\"M2.5 0V1000\"") && drawn.matches("class=\"mark\"").count() == 1);
        assert!(!drawn.contains("<script>") && !drawn.contains('\u{1b}'));
        assert!(drawn.contains("<span>00:00</span>"), "{drawn}");
        assert!(drawn.contains("class=\"band\" d=\"M0 800H10V500H0z\""), "{drawn}");
        assert!(drawn.contains("class=\"out\" d=\"M0 0h.1M1 0h.1"), "{drawn}");
    }
}
