//! `label_replace` and `label_join`.

use super::QueryError;
use super::rows::{Row, unite};
use crate::labels::whole;

/// Whether Prometheus takes this as the name of a label.
pub fn is_name(text: &str) -> bool {
    let is_head = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let mut bytes = text.bytes();
    bytes.next().is_some_and(is_head) && bytes.all(|byte| is_head(byte) || byte.is_ascii_digit())
}

pub fn replace(
    rows: Vec<Row>,
    target: &str,
    replacement: &str,
    source: &str,
    expression: &str,
) -> Result<Vec<Row>, QueryError> {
    let regex = whole(expression).map_err(|_| {
        QueryError::Evaluation(format!("invalid regular expression in label_replace(): {expression}"))
    })?;
    if !is_name(target) {
        return Err(QueryError::Evaluation(format!(
            "invalid destination label name in label_replace(): {target}"
        )));
    }
    let replaced = rows.into_iter().map(|row| {
        let Some(found) = regex.captures(row.labels.get(source)) else { return row };
        let mut value = String::new();
        found.expand(replacement, &mut value);
        let labels = row.labels.with(target, &value);
        Row { labels, ..row }
    });
    unite(replaced.collect())
}

pub fn join(
    rows: Vec<Row>,
    target: &str,
    separator: &str,
    sources: &[String],
) -> Result<Vec<Row>, QueryError> {
    if let Some(source) = sources.iter().find(|source| !is_name(source)) {
        return Err(QueryError::Evaluation(format!("invalid source label name in label_join(): {source}")));
    }
    if !is_name(target) {
        return Err(QueryError::Evaluation(format!(
            "invalid destination label name in label_join(): {target}"
        )));
    }
    let joined = rows.into_iter().map(|row| {
        let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source)).collect();
        let labels = row.labels.with(target, &values.join(separator));
        Row { labels, ..row }
    });
    unite(joined.collect())
}
