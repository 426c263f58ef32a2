//! Evaluates the tree of an expression over all steps at once, one series after the other.

use super::ranges::{Window, live};
use super::rows::{Row, Rows, unite};
use super::{Answer, QueryError, Settings, Value};
use crate::values::{ABSENT, is_absent, is_live};
use crate::{Labels, Matcher, NAME, Points, Samples, Series, Want, is_stale};
use promql_parser::label::MatchOp;
use promql_parser::parser::{AtModifier, Expr, MatrixSelector, Offset, SubqueryExpr, VectorSelector};
use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The steps of an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    pub start: i64,
    pub step: i64,
    pub count: usize,
}

impl Grid {
    pub fn time(&self, step: usize) -> i64 {
        self.start + self.step * step as i64
    }

    pub fn times(&self) -> impl Iterator<Item = i64> {
        (0..self.count).map(|step| self.time(step))
    }
}

/// What was used of the limits of a query, and what all its parts share.
pub struct Shared<'a> {
    samples: &'a dyn Samples,
    settings: &'a Settings<'a>,
    /// The ends of the whole query, for `@ start()` and `@ end()`.
    ends: (i64, i64),
    read: Cell<u64>,
    numbers: Cell<u64>,
}

pub struct Evaluator<'a> {
    shared: Shared<'a>,
    grid: Grid,
}

/// An evaluation over one grid; a subquery has one of its own.
pub struct Scope<'a> {
    shared: &'a Shared<'a>,
    pub grid: Grid,
}

/// The time of each step's range or sample.
struct Moment {
    at: Option<i64>,
    offset: i64,
}

impl Moment {
    fn of(&self, time: i64) -> i64 {
        self.at.unwrap_or(time) - self.offset
    }

    /// The earliest and the latest over a grid.
    fn ends(&self, grid: &Grid) -> (i64, i64) {
        (self.of(grid.start), self.of(grid.time(grid.count - 1)))
    }
}

impl<'a> Evaluator<'a> {
    pub fn new(
        samples: &'a dyn Samples,
        settings: &'a Settings<'a>,
        start: i64,
        end: i64,
        step: i64,
    ) -> Self {
        let count = ((end - start) / step) as usize + 1;
        let shared =
            Shared { samples, settings, ends: (start, end), read: Cell::new(0), numbers: Cell::new(0) };
        Self { shared, grid: Grid { start, step, count } }
    }

    fn scope(&self) -> Scope<'_> {
        Scope { shared: &self.shared, grid: self.grid }
    }

    pub fn instant(&self, expression: &Expr) -> Result<Value, QueryError> {
        let time_ms = self.grid.start;
        if let Expr::MatrixSelector(_) | Expr::Subquery(_) = unwrapped(expression) {
            return Ok(Value::Matrix(self.scope().range_samples(unwrapped(expression))?));
        }
        match self.scope().eval(expression)? {
            Rows::Scalar(values) => Ok(Value::Scalar { time_ms, value: values[0] }),
            Rows::Text(value) => Ok(Value::String { time_ms, value }),
            Rows::Vector(mut rows) => {
                super::functions::order(expression, &mut rows);
                Ok(Value::Vector(self.answers(rows)))
            }
        }
    }

    pub fn range(&self, expression: &Expr) -> Result<Value, QueryError> {
        let rows = match self.scope().eval(expression)? {
            Rows::Scalar(values) => vec![Row { labels: Labels::default(), values }],
            other => other.vector()?,
        };
        let mut answers = self.answers(rows);
        answers.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Value::Matrix(answers))
    }

    fn answers(&self, rows: Vec<Row>) -> Vec<Answer> {
        let answer = |row: Row| {
            let mut points = Points::default();
            let values = row.values.into_iter().enumerate().filter(|(_, value)| !is_absent(*value));
            values.for_each(|(step, value)| points.push(self.grid.time(step), value));
            Answer { labels: row.labels, points }
        };
        rows.into_iter().filter(|row| !row.is_empty()).map(answer).collect()
    }
}

/// Without parentheses around it.
pub fn unwrapped(expression: &Expr) -> &Expr {
    match expression {
        Expr::Paren(paren) => unwrapped(&paren.expr),
        other => other,
    }
}

impl Scope<'_> {
    pub fn steps(&self) -> usize {
        self.grid.count
    }

    pub fn eval(&self, expression: &Expr) -> Result<Rows, QueryError> {
        if (self.shared.settings.is_over)() {
            return Err(QueryError::TimedOut);
        }
        let rows = self.eval_one(expression)?;
        self.count(&rows)?;
        Ok(rows)
    }

    fn eval_one(&self, expression: &Expr) -> Result<Rows, QueryError> {
        match expression {
            Expr::Paren(paren) => self.eval(&paren.expr),
            Expr::NumberLiteral(number) => Ok(Rows::Scalar(vec![number.val; self.steps()])),
            Expr::StringLiteral(text) => Ok(Rows::Text(text.val.clone())),
            Expr::VectorSelector(selector) => self.instant_selector(selector, false).map(Rows::Vector),
            Expr::Unary(unary) => self.negate(&unary.expr),
            Expr::Binary(binary) => super::binary::eval(self, binary),
            Expr::Aggregate(aggregate) => super::aggregate::eval(self, aggregate).map(Rows::Vector),
            Expr::Call(call) => super::functions::eval(self, call),
            Expr::MatrixSelector(_) | Expr::Subquery(_) | Expr::Extension(_) => {
                Err(QueryError::Evaluation("a range vector cannot stand here".into()))
            }
        }
    }

    fn negate(&self, inner: &Expr) -> Result<Rows, QueryError> {
        match self.eval(inner)? {
            Rows::Scalar(values) => Ok(Rows::Scalar(values.into_iter().map(|value| -value).collect())),
            Rows::Vector(rows) => {
                let negated =
                    |row: Row| Row { labels: row.labels.without_name(), ..row }.map(|_, value| Some(-value));
                Ok(Rows::Vector(unite(rows.into_iter().map(negated).collect())?))
            }
            text => Ok(text),
        }
    }

    /// Adds to what the query has produced so far.
    fn count(&self, rows: &Rows) -> Result<(), QueryError> {
        let added = match rows {
            Rows::Vector(rows) => rows.len() * self.steps(),
            _ => self.steps(),
        };
        let numbers = self.shared.numbers.get() + added as u64;
        self.shared.numbers.set(numbers);
        if numbers > self.shared.settings.numbers_max { Err(QueryError::TooManySamples) } else { Ok(()) }
    }

    fn read(
        &self,
        series: &dyn Series,
        from: i64,
        to: i64,
        want: Want,
        into: &mut Points,
    ) -> Result<(), QueryError> {
        into.clear();
        if (self.shared.settings.is_over)() {
            return Err(QueryError::TimedOut);
        }
        series.read(from, to, want, into)?;
        let read = self.shared.read.get() + into.len() as u64;
        self.shared.read.set(read);
        if read > self.shared.settings.samples_max { Err(QueryError::TooManySamples) } else { Ok(()) }
    }

    fn select<'s>(
        &'s self,
        selector: &VectorSelector,
        from: i64,
        to: i64,
    ) -> Result<Vec<Box<dyn Series + 's>>, QueryError> {
        Ok(self.shared.samples.select(&matchers(selector)?, from, to)?)
    }

    fn moment(&self, at: &Option<AtModifier>, offset: &Option<Offset>) -> Moment {
        let offset = match offset {
            None => 0,
            Some(Offset::Pos(duration)) => millis(*duration),
            Some(Offset::Neg(duration)) => -millis(*duration),
        };
        let at = at.as_ref().map(|at| match at {
            AtModifier::Start => self.shared.ends.0,
            AtModifier::End => self.shared.ends.1,
            AtModifier::At(time) => since_epoch(*time),
        });
        Moment { at, offset }
    }

    /// The newest sample of each series that is not older than the lookback, or its time in seconds.
    pub fn instant_selector(
        &self,
        selector: &VectorSelector,
        wants_time: bool,
    ) -> Result<Vec<Row>, QueryError> {
        let moment = self.moment(&selector.at, &selector.offset);
        let (first, last) = moment.ends(&self.grid);
        let mut lookback = self.shared.settings.lookback_ms;
        let mut rows = Vec::new();
        let mut points = Points::default();
        for series in self.select(selector, first - lookback, last)? {
            self.read(&*series, first - lookback, last, Want::Last, &mut points)?;
            if points.spacing_ms * 3 / 2 > lookback {
                // Where only hours are left, the last one counts until the next.
                lookback = points.spacing_ms * 3 / 2;
                self.read(&*series, first - lookback, last, Want::Last, &mut points)?;
            }
            let mut row = Row::empty(series.labels().clone(), self.steps());
            let mut next = 0;
            for (step, time) in self.grid.times().enumerate() {
                let time = moment.of(time);
                next += points.times_ms[next..].iter().take_while(|sample| **sample <= time).count();
                let Some(at) = next.checked_sub(1) else { continue };
                let age = time - points.times_ms[at];
                let is_fresh =
                    if self.shared.settings.ranges_open { age < lookback } else { age <= lookback };
                if is_fresh && !is_stale(points.values[at]) {
                    row.values[step] =
                        if wants_time { points.times_ms[at] as f64 / 1000.0 } else { points.values[at] };
                }
            }
            if !row.is_empty() {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Calls a function with the samples of each series and step. Says also whether there were only
    /// summaries left. An empty range is passed over.
    pub fn over_range(
        &self,
        expression: &Expr,
        want: Want,
        function: &dyn Fn(usize, &Window<'_>) -> Option<f64>,
    ) -> Result<(Vec<Row>, bool), QueryError> {
        match unwrapped(expression) {
            Expr::MatrixSelector(matrix) => self.over_samples(matrix, want, function),
            Expr::Subquery(subquery) => Ok((self.over_subquery(subquery, function)?, false)),
            _ => Err(QueryError::Evaluation("a range vector is expected here".into())),
        }
    }

    fn over_samples(
        &self,
        matrix: &MatrixSelector,
        want: Want,
        function: &dyn Fn(usize, &Window<'_>) -> Option<f64>,
    ) -> Result<(Vec<Row>, bool), QueryError> {
        let moment = self.moment(&matrix.vs.at, &matrix.vs.offset);
        let range = millis(matrix.range);
        let (first, last) = moment.ends(&self.grid);
        let mut rows = Vec::new();
        let mut points = Points::default();
        let mut is_coarse = false;
        for series in self.select(&matrix.vs, first - range, last)? {
            self.read(&*series, first - range, last, want, &mut points)?;
            is_coarse |= points.spacing_ms > 0;
            let (times, values) = live(&points.times_ms, &points.values);
            rows.push(self.windows(series.labels().clone(), &times, &values, &moment, range, function));
        }
        Ok((rows, is_coarse))
    }

    fn windows(
        &self,
        labels: Labels,
        times: &[i64],
        values: &[f64],
        moment: &Moment,
        range: i64,
        function: &dyn Fn(usize, &Window<'_>) -> Option<f64>,
    ) -> Row {
        let is_open = self.shared.settings.ranges_open;
        // Found once, so that each range of a counter need not look for resets that are not there.
        let rises = values.is_sorted();
        let mut row = Row::empty(labels, self.steps());
        for (step, now) in self.grid.times().enumerate() {
            let end = moment.of(now);
            let start = end - range;
            let from = times.partition_point(|time| *time < start || is_open && *time == start);
            let to = times.partition_point(|time| *time <= end);
            if from < to {
                let (times, values) = (&times[from..to], &values[from..to]);
                let window = Window { times, values, start, end, now, is_open, rises };
                row.values[step] = function(step, &window).unwrap_or(ABSENT);
            }
        }
        row
    }

    fn over_subquery(
        &self,
        subquery: &SubqueryExpr,
        function: &dyn Fn(usize, &Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Row>, QueryError> {
        let moment = self.moment(&subquery.at, &subquery.offset);
        let range = millis(subquery.range);
        let (grid, rows) = self.subquery(subquery, &moment, range)?;
        let series = rows.into_iter().map(|row| {
            let samples = (0..grid.count).filter(|step| is_live(row.values[*step]));
            let (times, values): (Vec<i64>, Vec<f64>) =
                samples.map(|step| (grid.time(step), row.values[step])).unzip();
            self.windows(row.labels, &times, &values, &moment, range, function)
        });
        Ok(series.collect())
    }

    /// The expression of a subquery at all the times that any step needs.
    fn subquery(
        &self,
        subquery: &SubqueryExpr,
        moment: &Moment,
        range: i64,
    ) -> Result<(Grid, Vec<Row>), QueryError> {
        let step = subquery.step.map_or(self.shared.settings.subquery_step_ms, millis).max(1);
        let (first, last) = moment.ends(&self.grid);
        // Its times are multiples of the step.
        let begin = first - range;
        let mut start = begin.div_euclid(step) * step;
        if start < begin {
            start += step;
        }
        if last < start {
            return Ok((Grid { start, step, count: 0 }, Vec::new()));
        }
        let count = (last - start) / step + 1;
        if count as u64 > self.shared.settings.numbers_max {
            return Err(QueryError::TooManySamples);
        }
        let grid = Grid { start, step, count: count as usize };
        let scope = Scope { shared: self.shared, grid };
        let rows = match scope.eval(&subquery.expr)? {
            Rows::Scalar(values) => vec![Row { labels: Labels::default(), values }],
            other => other.vector()?,
        };
        Ok((grid, rows))
    }

    /// The samples of a range vector as they are.
    fn range_samples(&self, expression: &Expr) -> Result<Vec<Answer>, QueryError> {
        let mut answers = Vec::new();
        let mut points = Points::default();
        match expression {
            Expr::MatrixSelector(matrix) => {
                let end = self.moment(&matrix.vs.at, &matrix.vs.offset).of(self.grid.start);
                let start = end - millis(matrix.range) + i64::from(self.shared.settings.ranges_open);
                for series in self.select(&matrix.vs, start, end)? {
                    self.read(&*series, start, end, Want::Last, &mut points)?;
                    let (times_ms, values) = live(&points.times_ms, &points.values);
                    let points = Points {
                        times_ms: times_ms.into_owned(),
                        values: values.into_owned(),
                        spacing_ms: 0,
                    };
                    answers.push(Answer { labels: series.labels().clone(), points });
                }
            }
            Expr::Subquery(subquery) => {
                let moment = self.moment(&subquery.at, &subquery.offset);
                let (grid, rows) = self.subquery(subquery, &moment, millis(subquery.range))?;
                for row in rows {
                    let mut points = Points::default();
                    let values = row.values.iter().enumerate().filter(|(_, value)| is_live(**value));
                    values.for_each(|(step, value)| points.push(grid.time(step), *value));
                    answers.push(Answer { labels: row.labels, points });
                }
            }
            _ => return Err(QueryError::Evaluation("a range vector is expected here".into())),
        }
        answers.retain(|answer| !answer.points.is_empty());
        answers.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(answers)
    }
}

pub fn millis(duration: Duration) -> i64 {
    // A century is enough for any range.
    duration.as_millis().min(100 * 366 * 86_400_000) as i64
}

fn since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

/// What a selector asks of labels.
pub fn matchers(selector: &VectorSelector) -> Result<Vec<Matcher>, QueryError> {
    if !selector.matchers.or_matchers.is_empty() {
        return Err(QueryError::Parse("a selector cannot hold \"or\"".into()));
    }
    let name = selector.name.iter().map(|name| Ok(Matcher::equal(NAME, name)));
    let others = selector.matchers.matchers.iter().map(|matcher| {
        let (name, value) = (&*matcher.name, &*matcher.value);
        match matcher.op {
            MatchOp::Equal => Ok(Matcher::equal(name, value)),
            MatchOp::NotEqual => Ok(Matcher::differs(name, value)),
            MatchOp::Re(_) => Matcher::matches(name, value),
            MatchOp::NotRe(_) => Matcher::matches_not(name, value),
        }
    });
    name.chain(others)
        .collect::<Result<_, _>>()
        .map_err(|error: crate::LabelError| QueryError::Parse(error.to_string()))
}
