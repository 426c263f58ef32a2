//! The functions of PromQL by name. What is computed of a range is in `ranges`.

use super::QueryError;
use super::eval::{Scope, matchers, unwrapped};
use super::histogram::{self, Bucket};
use super::ranges::{self, Change, Window};
use super::rows::{Row, Rows, unite};
use super::{dates, labelling};
use crate::values::{ABSENT, is_absent};
use crate::{Labels, Want};
use promql_parser::parser::{Call, Expr, token};
use std::cmp::Ordering;
use std::collections::HashMap;

/// The label of a bucket's upper bound.
const BOUND: &str = "le";

pub fn eval(scope: &Scope<'_>, call: &Call) -> Result<Rows, QueryError> {
    let arguments = Arguments { scope, call };
    let name = call.func.name;
    match name {
        "time" => Ok(Rows::Scalar(scope.grid.times().map(|time| time as f64 / 1000.0).collect())),
        "pi" => Ok(Rows::Scalar(vec![std::f64::consts::PI; scope.steps()])),
        "scalar" => Ok(Rows::Scalar(single(scope, &arguments.vector(0)?))),
        "vector" => {
            let values = arguments.scalar(0)?;
            Ok(Rows::Vector(vec![Row { labels: Labels::default(), values }]))
        }
        "timestamp" => arguments.timestamp().map(Rows::Vector),
        "absent" => arguments.absent().map(Rows::Vector),
        "absent_over_time" => arguments.absent_over_time().map(Rows::Vector),
        "label_replace" => {
            let [target, replacement, source, expression] = [1, 2, 3, 4].map(|at| arguments.text(at));
            labelling::replace(arguments.vector(0)?, &target?, &replacement?, &source?, &expression?)
                .map(Rows::Vector)
        }
        "label_join" => {
            let sources = (3..call.args.len()).map(|at| arguments.text(at)).collect::<Result<Vec<_>, _>>()?;
            labelling::join(arguments.vector(0)?, &arguments.text(1)?, &arguments.text(2)?, &sources)
                .map(Rows::Vector)
        }
        "histogram_quantile" => {
            arguments.histogram(1, |numbers, buckets| histogram::quantile(numbers[0], buckets))
        }
        "histogram_fraction" => {
            arguments.histogram(2, |numbers, buckets| histogram::fraction(numbers[0], numbers[1], buckets))
        }
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
            arguments.vector(0).map(Rows::Vector)
        }
        "minute" | "hour" | "day_of_month" | "day_of_week" | "day_of_year" | "days_in_month" | "month"
        | "year" => arguments.date(name).map(Rows::Vector),
        _ => match arguments.over_time(name)? {
            Some(rows) => Ok(Rows::Vector(rows)),
            None => arguments.math(name).map(Rows::Vector),
        },
    }
}

/// The only value of each step, or NaN.
fn single(scope: &Scope<'_>, rows: &[Row]) -> Vec<f64> {
    let one = |step: usize| {
        let mut present = rows.iter().map(|row| row.values[step]).filter(|value| !is_absent(*value));
        match (present.next(), present.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    (0..scope.steps()).map(one).collect()
}

struct Arguments<'a> {
    scope: &'a Scope<'a>,
    call: &'a Call,
}

impl Arguments<'_> {
    fn at(&self, at: usize) -> Result<&Expr, QueryError> {
        let found = self.call.args.args.get(at).map(|argument| &**argument);
        found.ok_or_else(|| {
            QueryError::Evaluation(format!("an argument of {} is missing", self.call.func.name))
        })
    }

    fn vector(&self, at: usize) -> Result<Vec<Row>, QueryError> {
        self.scope.eval(self.at(at)?)?.vector()
    }

    fn scalar(&self, at: usize) -> Result<Vec<f64>, QueryError> {
        self.scope.eval(self.at(at)?)?.scalar()
    }

    fn text(&self, at: usize) -> Result<String, QueryError> {
        self.scope.eval(self.at(at)?)?.text()
    }

    /// A function of each value, and of numbers, without the name of the metric.
    fn each(&self, change: impl Fn(usize, f64) -> Option<f64>) -> Result<Vec<Row>, QueryError> {
        let rows = self.vector(0)?;
        unite(
            rows.into_iter()
                .map(|row| Row { labels: row.labels.without_name(), ..row }.map(&change))
                .collect(),
        )
    }

    fn math(&self, name: &str) -> Result<Vec<Row>, QueryError> {
        match name {
            "round" => {
                let nearest =
                    if self.call.args.len() > 1 { self.scalar(1)? } else { vec![1.0; self.scope.steps()] };
                self.each(|step, value| {
                    let inverse = 1.0 / nearest[step];
                    Some((value * inverse + 0.5).floor() / inverse)
                })
            }
            "clamp" => {
                let (min, max) = (self.scalar(1)?, self.scalar(2)?);
                self.each(|step, value| {
                    (max[step] >= min[step]).then(|| greater(min[step], lesser(max[step], value)))
                })
            }
            "clamp_min" => {
                let min = self.scalar(1)?;
                self.each(|step, value| Some(greater(min[step], value)))
            }
            "clamp_max" => {
                let max = self.scalar(1)?;
                self.each(|step, value| Some(lesser(max[step], value)))
            }
            _ => {
                let function = one_number(name)
                    .ok_or_else(|| QueryError::Parse(format!("unknown function with name \"{name}\"")))?;
                self.each(|_, value| Some(function(value)))
            }
        }
    }

    fn timestamp(&self) -> Result<Vec<Row>, QueryError> {
        if let Expr::VectorSelector(selector) = unwrapped(self.at(0)?) {
            let rows = self.scope.instant_selector(selector, true)?;
            return unite(
                rows.into_iter().map(|row| Row { labels: row.labels.without_name(), ..row }).collect(),
            );
        }
        let grid = self.scope.grid;
        self.each(|step, _| Some(grid.time(step) as f64 / 1000.0))
    }

    fn date(&self, name: &str) -> Result<Vec<Row>, QueryError> {
        if self.call.args.is_empty() {
            let values =
                self.scope.grid.times().map(|time| dates::part(name, (time / 1000) as f64)).collect();
            return Ok(vec![Row { labels: Labels::default(), values }]);
        }
        self.each(|_, value| Some(dates::part(name, value)))
    }

    /// 1 at each step at which `rows` have nothing, with the labels that the selector demands.
    fn absent_of(&self, rows: &[Row]) -> Result<Vec<Row>, QueryError> {
        let is_there = |step: usize| rows.iter().any(|row| !is_absent(row.values[step]));
        let values = (0..self.scope.steps()).map(|step| if is_there(step) { ABSENT } else { 1.0 }).collect();
        unite(vec![Row { labels: demanded(self.at(0)?)?, values }])
    }

    fn absent(&self) -> Result<Vec<Row>, QueryError> {
        self.absent_of(&self.vector(0)?)
    }

    fn absent_over_time(&self) -> Result<Vec<Row>, QueryError> {
        let (rows, _) = self.scope.over_range(self.at(0)?, Want::Last, &|_, _| Some(1.0))?;
        self.absent_of(&rows)
    }

    /// Buckets by their other labels; `numbers` scalars come first.
    fn histogram(
        &self,
        numbers: usize,
        evaluate: impl Fn(&[f64], Vec<Bucket>) -> f64,
    ) -> Result<Rows, QueryError> {
        let scalars = (0..numbers).map(|at| self.scalar(at)).collect::<Result<Vec<_>, _>>()?;
        let rows = self.vector(numbers)?;
        let mut groups: HashMap<Labels, Vec<(f64, usize)>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            // Without a bound it is no bucket.
            let Some(bound) = parse_number(row.labels.get(BOUND)) else { continue };
            let labels = row.labels.without_name().with(BOUND, "");
            groups.entry(labels).or_default().push((bound, at));
        }
        let groups = groups.into_iter().map(|(labels, found)| {
            let mut result = Row::empty(labels, self.scope.steps());
            for step in 0..self.scope.steps() {
                let bucket =
                    |(upper, at): &(f64, usize)| Bucket { upper: *upper, count: rows[*at].values[step] };
                let buckets: Vec<Bucket> =
                    found.iter().map(bucket).filter(|bucket| !is_absent(bucket.count)).collect();
                if !buckets.is_empty() {
                    let numbers: Vec<f64> = scalars.iter().map(|scalar| scalar[step]).collect();
                    result.values[step] = evaluate(&numbers, buckets);
                }
            }
            result
        });
        Ok(Rows::Vector(unite(groups.collect())?))
    }

    /// Functions of a range; `None` where the name is none of theirs.
    fn over_time(&self, name: &str) -> Result<Option<Vec<Row>>, QueryError> {
        let rows = match name {
            "quantile_over_time" => {
                let quantiles = self.scalar(0)?;
                self.window_function(1, Want::Last, &|step, window| {
                    Some(ranges::quantile(quantiles[step], window.values))
                })?
            }
            "predict_linear" => {
                let ahead = self.scalar(1)?;
                self.window_function(0, Want::Last, &|step, window| {
                    let (slope, value) = ranges::regression(window, window.now)?;
                    Some(slope * ahead[step] + value)
                })?
            }
            "holt_winters" | "double_exponential_smoothing" => self.smoothed()?,
            "avg_over_time" => self.average()?,
            _ => match window_function(name) {
                Some((want, function)) => self.window_function(0, want, &|_, window| function(window))?,
                None => return Ok(None),
            },
        };
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let labelled =
            |row: Row| Row { labels: if keeps_name { row.labels } else { row.labels.without_name() }, ..row };
        unite(rows.into_iter().map(labelled).collect()).map(Some)
    }

    fn window_function(
        &self,
        at: usize,
        want: Want,
        function: &dyn Fn(usize, &Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Row>, QueryError> {
        Ok(self.scope.over_range(self.at(at)?, want, function)?.0)
    }

    fn smoothed(&self) -> Result<Vec<Row>, QueryError> {
        let (smoothing, trend) = (self.scalar(1)?, self.scalar(2)?);
        let is_factor = |factor: f64| factor > 0.0 && factor < 1.0;
        if let Some(wrong) = smoothing.iter().find(|factor| !is_factor(**factor)) {
            return Err(QueryError::Evaluation(format!(
                "invalid smoothing factor. Expected: 0 < sf < 1, got: {wrong:.6}"
            )));
        }
        if let Some(wrong) = trend.iter().find(|factor| !is_factor(**factor)) {
            return Err(QueryError::Evaluation(format!(
                "invalid trend factor. Expected: 0 < tf < 1, got: {wrong:.6}"
            )));
        }
        self.window_function(0, Want::Last, &|step, window| {
            ranges::smoothed(window.values, smoothing[step], trend[step])
        })
    }

    /// Of summaries, the mean is that of all the samples behind them.
    fn average(&self) -> Result<Vec<Row>, QueryError> {
        let argument = self.at(0)?;
        let (means, is_coarse) =
            self.scope.over_range(argument, Want::Last, &|_, window| Some(ranges::mean(window.values)))?;
        if !is_coarse {
            return Ok(means);
        }
        let total = |want| self.window_function(0, want, &|_, window| Some(ranges::sum(window.values)));
        let counts: HashMap<Labels, Vec<f64>> =
            total(Want::Count)?.into_iter().map(|row| (row.labels, row.values)).collect();
        let divided = total(Want::Sum)?.into_iter().filter_map(|row| {
            let counts = counts.get(&row.labels)?;
            Some(row.map(|step, sum| Some(sum / counts[step])))
        });
        Ok(divided.collect())
    }
}

type WindowFunction = fn(&Window<'_>) -> Option<f64>;

fn window_function(name: &str) -> Option<(Want, WindowFunction)> {
    let (want, function): (Want, WindowFunction) = match name {
        "rate" => (Want::Last, |window| ranges::extrapolated(window, Change::Rate)),
        "increase" => (Want::Last, |window| ranges::extrapolated(window, Change::Increase)),
        "delta" => (Want::Last, |window| ranges::extrapolated(window, Change::Delta)),
        "irate" => (Want::Last, |window| ranges::instant_change(window, true)),
        "idelta" => (Want::Last, |window| ranges::instant_change(window, false)),
        "deriv" => (Want::Last, |window| ranges::regression(window, window.times[0]).map(|(slope, _)| slope)),
        "changes" => (Want::Last, |window| Some(ranges::changes(window.values))),
        "resets" => (Want::Last, |window| Some(ranges::resets(window.values))),
        "sum_over_time" => (Want::Sum, |window| Some(ranges::sum(window.values))),
        "count_over_time" => (Want::Count, |window| Some(ranges::sum(window.values))),
        "min_over_time" => {
            (Want::Min, |window| Some(ranges::extreme(window.values, |value, best| value < best)))
        }
        "max_over_time" => {
            (Want::Max, |window| Some(ranges::extreme(window.values, |value, best| value > best)))
        }
        "stdvar_over_time" => (Want::Last, |window| Some(ranges::variance(window.values))),
        "stddev_over_time" => (Want::Last, |window| Some(ranges::variance(window.values).sqrt())),
        "mad_over_time" => (Want::Last, |window| Some(ranges::spread(window.values))),
        "first_over_time" => (Want::Last, |window| window.values.first().copied()),
        "last_over_time" => (Want::Last, |window| window.values.last().copied()),
        "present_over_time" => (Want::Last, |_| Some(1.0)),
        "ts_of_first_over_time" => (Want::Last, |window| Some(window.times[0] as f64 / 1000.0)),
        "ts_of_last_over_time" => (Want::Last, |window| Some(ranges::time_of(window, |_, _| true))),
        "ts_of_min_over_time" => {
            (Want::Last, |window| Some(ranges::time_of(window, |value, best| value <= best)))
        }
        "ts_of_max_over_time" => {
            (Want::Last, |window| Some(ranges::time_of(window, |value, best| value >= best)))
        }
        _ => return None,
    };
    Some((want, function))
}

fn one_number(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => f64::to_degrees,
        "rad" => f64::to_radians,
        "sgn" => |value| match value {
            value if value > 0.0 => 1.0,
            value if value < 0.0 => -1.0,
            value => value,
        },
        _ => return None,
    })
}

/// As Go has it: a NaN wins.
fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn lesser(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// A number as Go reads it.
fn parse_number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// The labels that a selector demands to be equal; of one demanded twice, none.
fn demanded(expression: &Expr) -> Result<Labels, QueryError> {
    let selector = match unwrapped(expression) {
        Expr::VectorSelector(selector) => selector,
        Expr::MatrixSelector(matrix) => &matrix.vs,
        _ => return Ok(Labels::default()),
    };
    let mut found: HashMap<String, Option<String>> = HashMap::new();
    for matcher in matchers(selector)?.iter().filter(|matcher| matcher.name != crate::NAME) {
        let value = matcher.wanted().map(str::to_owned);
        found.entry(matcher.name.clone()).and_modify(|before| *before = None).or_insert(value);
    }
    Ok(Labels::new(found.into_iter().filter_map(|(name, value)| Some((name, value?)))))
}

/// Puts the answers of an instant query in the order that its outermost function asks for.
pub fn order(expression: &Expr, rows: &mut [Row]) {
    let value = |row: &Row| row.values[0];
    let by_value = |a: &Row, b: &Row| value(a).partial_cmp(&value(b)).unwrap_or(Ordering::Equal);
    let nan_last = |a: &Row, b: &Row| value(a).is_nan().cmp(&value(b).is_nan());
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    match unwrapped(expression) {
        Expr::Call(call) => match call.func.name {
            "sort" => rows.sort_by(|a, b| nan_last(a, b).then(by_value(a, b))),
            "sort_desc" => rows.sort_by(|a, b| nan_last(a, b).then(by_value(b, a))),
            "sort_by_label" => rows.sort_by(|a, b| by_labels(call, a, b)),
            "sort_by_label_desc" => rows.sort_by(|a, b| by_labels(call, b, a)),
            _ => {}
        },
        Expr::Aggregate(aggregate) => match aggregate.op.id() {
            token::T_TOPK => rows.sort_by(|a, b| nan_last(a, b).then(by_value(b, a))),
            token::T_BOTTOMK => rows.sort_by(|a, b| nan_last(a, b).then(by_value(a, b))),
            _ => {}
        },
        _ => {}
    }
}

fn by_labels(call: &Call, a: &Row, b: &Row) -> Ordering {
    let names = call.args.args.iter().skip(1).filter_map(|argument| match &**argument {
        Expr::StringLiteral(text) => Some(&*text.val),
        _ => None,
    });
    names
        .map(|name| natural(a.labels.get(name), b.labels.get(name)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers within texts count as numbers: `a9` comes before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (of_a, of_b) = (digits(a), digits(b));
        if of_a > 0 && of_b > 0 {
            let (number_a, number_b) = (a[..of_a].trim_start_matches('0'), b[..of_b].trim_start_matches('0'));
            let order = number_a.len().cmp(&number_b.len()).then(number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[of_a..], &b[of_b..]);
            continue;
        }
        let (mut rest_a, mut rest_b) = (a.chars(), b.chars());
        match (rest_a.next(), rest_b.next()) {
            (None, None) => return Ordering::Equal,
            (first_a, first_b) if first_a != first_b => return first_a.cmp(&first_b),
            _ => (a, b) = (rest_a.as_str(), rest_b.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_texts_are_numbers() {
        assert_eq!(natural("a9", "a10"), Ordering::Less);
        assert_eq!(natural("a10b", "a10a"), Ordering::Greater);
        assert_eq!(natural("a", "a1"), Ordering::Less);
    }
}
