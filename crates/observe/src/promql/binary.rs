//! Operators between two expressions, and which series of both sides belong together.

use super::QueryError;
use super::eval::Scope;
use super::rows::{Row, Rows, unite};
use crate::values::{ABSENT, is_absent};
use crate::{Labels, NAME};
use promql_parser::parser::token::{self, TokenId};
use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};
use std::collections::HashMap;

pub fn eval(scope: &Scope<'_>, binary: &BinaryExpr) -> Result<Rows, QueryError> {
    let (left, right) = (scope.eval(&binary.lhs)?, scope.eval(&binary.rhs)?);
    let operator = Operator { id: binary.op.id(), is_bool: binary.return_bool() };
    match (left, right) {
        (Rows::Scalar(left), Rows::Scalar(right)) => {
            let pairs = left.into_iter().zip(right);
            Ok(Rows::Scalar(pairs.map(|(left, right)| operator.number(left, right)).collect()))
        }
        (Rows::Vector(rows), Rows::Scalar(numbers)) => {
            with_numbers(rows, operator, |step, value| operator.apply(value, numbers[step], value))
        }
        (Rows::Scalar(numbers), Rows::Vector(rows)) => {
            with_numbers(rows, operator, |step, value| operator.apply(numbers[step], value, value))
        }
        (Rows::Vector(left), Rows::Vector(right)) => {
            let modifier = binary.modifier.clone().unwrap_or_default();
            if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
                return Err(QueryError::Parse("fill values are not supported".into()));
            }
            match operator.id {
                token::T_LAND | token::T_LOR | token::T_LUNLESS => {
                    set(scope, left, right, operator.id, &modifier).map(Rows::Vector)
                }
                _ => matched(scope, left, right, operator, &modifier).map(Rows::Vector),
            }
        }
        _ => Err(QueryError::Evaluation(
            "binary expression must contain only scalar and instant vector types".into(),
        )),
    }
}

#[derive(Clone, Copy)]
struct Operator {
    id: TokenId,
    is_bool: bool,
}

impl Operator {
    fn is_comparison(self) -> bool {
        matches!(
            self.id,
            token::T_EQLC | token::T_NEQ | token::T_GTR | token::T_LSS | token::T_GTE | token::T_LTE
        )
    }

    fn holds(self, left: f64, right: f64) -> bool {
        match self.id {
            token::T_EQLC => left == right,
            token::T_NEQ => left != right,
            token::T_GTR => left > right,
            token::T_LSS => left < right,
            token::T_GTE => left >= right,
            _ => left <= right,
        }
    }

    /// Between numbers; a comparison is 0 or 1.
    fn number(self, left: f64, right: f64) -> f64 {
        match self.id {
            token::T_ADD => left + right,
            token::T_SUB => left - right,
            token::T_MUL => left * right,
            token::T_DIV => left / right,
            token::T_MOD => left % right,
            token::T_POW => left.powf(right),
            token::T_ATAN2 => left.atan2(right),
            _ => f64::from(u8::from(self.holds(left, right))),
        }
    }

    /// A comparison without `bool` keeps or drops `kept`.
    fn apply(self, left: f64, right: f64, kept: f64) -> Option<f64> {
        match self.is_comparison() && !self.is_bool {
            true => self.holds(left, right).then_some(kept),
            false => Some(self.number(left, right)),
        }
    }

    /// Whether the result is no longer what the name says.
    fn drops_name(self) -> bool {
        !self.is_comparison() || self.is_bool
    }
}

fn with_numbers(
    rows: Vec<Row>,
    operator: Operator,
    change: impl Fn(usize, f64) -> Option<f64>,
) -> Result<Rows, QueryError> {
    let changed = rows.into_iter().map(|row| {
        let labels = if operator.drops_name() { row.labels.without_name() } else { row.labels };
        Row { labels, values: row.values }.map(&change)
    });
    Ok(Rows::Vector(unite(changed.collect())?))
}

/// The labels by which series of both sides are compared.
fn signature(labels: &Labels, matching: &Option<LabelModifier>) -> Labels {
    match matching {
        Some(LabelModifier::Include(names)) => {
            labels.retain(|name| names.labels.iter().any(|kept| kept == name))
        }
        Some(LabelModifier::Exclude(names)) => {
            labels.retain(|name| name != NAME && !names.labels.iter().any(|left_out| left_out == name))
        }
        None => labels.without_name(),
    }
}

/// Rows by their signature.
fn by_signature(rows: &[Row], matching: &Option<LabelModifier>) -> HashMap<Labels, Vec<usize>> {
    let mut found: HashMap<Labels, Vec<usize>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        found.entry(signature(&row.labels, matching)).or_default().push(at);
    }
    found
}

/// `and`, `or`, `unless`.
fn set(
    scope: &Scope<'_>,
    left: Vec<Row>,
    right: Vec<Row>,
    operator: TokenId,
    modifier: &BinModifier,
) -> Result<Vec<Row>, QueryError> {
    let matching = &modifier.matching;
    let (others, kept_when) = match operator {
        token::T_LOR => (by_signature(&left, matching), false),
        _ => (by_signature(&right, matching), operator == token::T_LAND),
    };
    let (against, filtered) = if operator == token::T_LOR { (&left, &right) } else { (&right, &left) };
    let is_there = |signature: &Labels, step: usize| {
        others.get(signature).is_some_and(|rows| rows.iter().any(|at| !is_absent(against[*at].values[step])))
    };
    let filter = |row: &Row| {
        let signature = signature(&row.labels, matching);
        let mut row = row.clone();
        for step in 0..scope.steps() {
            if is_there(&signature, step) != kept_when {
                row.values[step] = ABSENT;
            }
        }
        row
    };
    let mut result: Vec<Row> = filtered.iter().map(filter).collect();
    if operator == token::T_LOR {
        result.extend(left);
    }
    unite(result)
}

/// Arithmetic and comparisons between series of both sides.
fn matched(
    scope: &Scope<'_>,
    left: Vec<Row>,
    right: Vec<Row>,
    operator: Operator,
    modifier: &BinModifier,
) -> Result<Vec<Row>, QueryError> {
    let is_swapped = matches!(modifier.card, VectorMatchCardinality::OneToMany(_));
    let (many, one) = if is_swapped { (right, left) } else { (left, right) };
    let by_signature = by_signature(&one, &modifier.matching);
    ensure_unique(scope, &one, &by_signature, if is_swapped { "left" } else { "right" })?;
    let mut results: HashMap<Labels, Row> = HashMap::new();
    // Which signatures had a result at which step: one to one allows one.
    let mut taken: HashMap<Labels, Vec<bool>> = HashMap::new();
    let is_grouped = modifier.card != VectorMatchCardinality::OneToOne;
    for row in &many {
        let signature = signature(&row.labels, &modifier.matching);
        for at in by_signature.get(&signature).into_iter().flatten() {
            let other = &one[*at];
            let labels = result_labels(&row.labels, &other.labels, operator, modifier);
            let result = results.entry(labels.clone()).or_insert_with(|| Row::empty(labels, scope.steps()));
            let taken = taken.entry(signature.clone()).or_insert_with(|| vec![false; scope.steps()]);
            for (step, taken) in taken.iter_mut().enumerate() {
                let (value, other) = (row.values[step], other.values[step]);
                if is_absent(value) || is_absent(other) {
                    continue;
                }
                let (left, right) = if is_swapped { (other, value) } else { (value, other) };
                let Some(number) = operator.apply(left, right, left) else { continue };
                if is_grouped && !is_absent(result.values[step]) {
                    return Err(not_matched("grouping labels must ensure unique matches"));
                }
                if !is_grouped && std::mem::replace(taken, true) {
                    return Err(not_matched(
                        "many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
                result.values[step] = number;
            }
        }
    }
    unite(results.into_values().collect())
}

fn not_matched(why: &str) -> QueryError {
    QueryError::Evaluation(format!("multiple matches for labels: {why}"))
}

/// At no step may two series of the "one" side have the same signature.
fn ensure_unique(
    scope: &Scope<'_>,
    rows: &[Row],
    by_signature: &HashMap<Labels, Vec<usize>>,
    side: &str,
) -> Result<(), QueryError> {
    for (signature, found) in by_signature.iter().filter(|(_, found)| found.len() > 1) {
        for step in 0..scope.steps() {
            let present: Vec<usize> =
                found.iter().copied().filter(|at| !is_absent(rows[*at].values[step])).take(2).collect();
            if let [first, second] = present[..] {
                return Err(QueryError::Evaluation(format!(
                    "found duplicate series for the match group {signature} on the {side} hand-side of the operation: \
                     [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                    rows[second].labels, rows[first].labels,
                )));
            }
        }
    }
    Ok(())
}

fn result_labels(many: &Labels, one: &Labels, operator: Operator, modifier: &BinModifier) -> Labels {
    let labels = if operator.drops_name() { many.without_name() } else { many.clone() };
    match &modifier.card {
        VectorMatchCardinality::ManyToOne(included) | VectorMatchCardinality::OneToMany(included) => {
            included.labels.iter().fold(labels, |labels, name| labels.with(name, one.get(name)))
        }
        _ => match &modifier.matching {
            Some(LabelModifier::Include(names)) => {
                labels.retain(|name| names.labels.iter().any(|kept| kept == name))
            }
            Some(LabelModifier::Exclude(names)) => {
                labels.retain(|name| !names.labels.iter().any(|out| out == name))
            }
            None => labels,
        },
    }
}
