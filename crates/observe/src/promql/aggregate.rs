//! `sum by (…)` and its kin: groups are found once, each step is computed on its own.

use super::QueryError;
use super::eval::Scope;
use super::ranges::{extreme, mean, quantile, variance};
use super::rows::{Row, Rows, unite};
use crate::values::is_absent;
use crate::{Labels, NAME};
use promql_parser::parser::{AggregateExpr, LabelModifier, token};
use std::collections::HashMap;

/// Rows that are aggregated together.
struct Group {
    labels: Labels,
    rows: Vec<usize>,
}

pub fn eval(scope: &Scope<'_>, aggregate: &AggregateExpr) -> Result<Vec<Row>, QueryError> {
    let parameter = aggregate.param.as_ref().map(|parameter| scope.eval(parameter)).transpose()?;
    let rows = scope.eval(&aggregate.expr)?.vector()?;
    let groups = groups(&rows, &aggregate.modifier);
    match (aggregate.op.id(), parameter) {
        (token::T_TOPK, Some(count)) => Ok(best(scope, rows, &groups, &count.scalar()?, true)),
        (token::T_BOTTOMK, Some(count)) => Ok(best(scope, rows, &groups, &count.scalar()?, false)),
        (token::T_COUNT_VALUES, Some(label)) => {
            count_values(scope, &rows, &groups, &label.text()?, &aggregate.modifier)
        }
        (operator, parameter) => {
            let quantiles = match parameter {
                Some(Rows::Scalar(values)) => values,
                _ => Vec::new(),
            };
            let fold = |step: usize, values: &[f64]| reduce(operator, quantiles.get(step).copied(), values);
            reduce_groups(scope, &rows, groups, fold)
        }
    }
}

fn group_labels(labels: &Labels, modifier: &Option<LabelModifier>) -> Labels {
    match modifier {
        None => Labels::default(),
        Some(LabelModifier::Include(names)) => {
            labels.retain(|name| names.labels.iter().any(|kept| kept == name))
        }
        Some(LabelModifier::Exclude(names)) => {
            labels.retain(|name| name != NAME && !names.labels.iter().any(|left_out| left_out == name))
        }
    }
}

fn groups(rows: &[Row], modifier: &Option<LabelModifier>) -> Vec<Group> {
    let mut known: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let labels = group_labels(&row.labels, modifier);
        let group = *known.entry(labels.clone()).or_insert_with(|| {
            groups.push(Group { labels, rows: Vec::new() });
            groups.len() - 1
        });
        groups[group].rows.push(at);
    }
    groups
}

fn present(rows: &[Row], group: &Group, step: usize, into: &mut Vec<f64>) {
    into.clear();
    into.extend(group.rows.iter().map(|at| rows[*at].values[step]).filter(|value| !is_absent(*value)));
}

fn reduce_groups(
    scope: &Scope<'_>,
    rows: &[Row],
    groups: Vec<Group>,
    fold: impl Fn(usize, &[f64]) -> Option<f64>,
) -> Result<Vec<Row>, QueryError> {
    let mut values = Vec::new();
    let mut reduced = Vec::with_capacity(groups.len());
    for group in groups {
        let mut row = Row::empty(group.labels.clone(), scope.steps());
        for step in 0..scope.steps() {
            present(rows, &group, step, &mut values);
            if values.is_empty() {
                continue;
            }
            row.values[step] = fold(step, &values)
                .ok_or_else(|| QueryError::Evaluation("this aggregation is not known".into()))?;
        }
        reduced.push(row);
    }
    Ok(reduced)
}

/// One number of all that a group has at a step; `None` for an unknown operator.
fn reduce(operator: token::TokenId, parameter: Option<f64>, values: &[f64]) -> Option<f64> {
    Some(match operator {
        token::T_SUM => super::ranges::sum(values),
        token::T_AVG => mean(values),
        token::T_COUNT => values.len() as f64,
        token::T_GROUP => 1.0,
        token::T_MIN => extreme(values, |value, best| value < best),
        token::T_MAX => extreme(values, |value, best| value > best),
        token::T_STDVAR => variance(values),
        token::T_STDDEV => variance(values).sqrt(),
        token::T_QUANTILE => quantile(parameter?, values),
        _ => return None,
    })
}

/// The `count` largest or smallest of each group at each step, with their own labels. NaN come last.
fn best(scope: &Scope<'_>, rows: Vec<Row>, groups: &[Group], count: &[f64], is_top: bool) -> Vec<Row> {
    let mut chosen: Vec<Row> = rows.iter().map(|row| Row::empty(row.labels.clone(), scope.steps())).collect();
    for group in groups {
        for (step, count) in count.iter().enumerate() {
            let mut found: Vec<(usize, f64)> = group
                .rows
                .iter()
                .map(|at| (*at, rows[*at].values[step]))
                .filter(|(_, value)| !is_absent(*value))
                .collect();
            let order = |a: f64, b: f64| if is_top { b.total_cmp(&a) } else { a.total_cmp(&b) };
            found.sort_by(|(_, a), (_, b)| a.is_nan().cmp(&b.is_nan()).then_with(|| order(*a, *b)));
            let count = if *count >= 1.0 { *count as usize } else { 0 };
            for (at, value) in found.into_iter().take(count) {
                chosen[at].values[step] = value;
            }
        }
    }
    chosen.retain(|row| !row.is_empty());
    chosen
}

fn count_values(
    scope: &Scope<'_>,
    rows: &[Row],
    groups: &[Group],
    label: &str,
    modifier: &Option<LabelModifier>,
) -> Result<Vec<Row>, QueryError> {
    if !super::labelling::is_name(label) {
        return Err(QueryError::Evaluation(format!("invalid label name {label:?}")));
    }
    let mut counted: HashMap<Labels, Row> = HashMap::new();
    for group in groups {
        for at in &group.rows {
            for (step, value) in rows[*at].values.iter().enumerate().filter(|(_, value)| !is_absent(**value))
            {
                let text = number(*value);
                // The label may be one that the group is made by.
                let labels = match modifier {
                    Some(LabelModifier::Include(names)) if names.labels.iter().any(|name| name == label) => {
                        group_labels(&rows[*at].labels.with(label, &text), modifier)
                    }
                    _ => group.labels.with(label, &text),
                };
                let row = counted.entry(labels.clone()).or_insert_with(|| Row::empty(labels, scope.steps()));
                let count = &mut row.values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
    }
    unite(counted.into_values().collect())
}

/// As Go writes a number without an exponent.
fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => format!("{value}"),
    }
}
