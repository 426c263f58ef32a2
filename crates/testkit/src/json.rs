//! Where two JSON documents differ, path by path.

use serde_json::Value;

/// One place that differs; `None` is something that is not there.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Such as `.services.web.ports[0].mode`.
    pub path: String,
    pub left: Option<Value>,
    pub right: Option<Value>,
}

/// All places in which `left` and `right` differ. Lists of different length differ as a whole; `1`
/// and `1.0` are the same number.
pub fn differences(left: &Value, right: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(Some(left), Some(right), "", &mut found);
    found
}

fn walk(left: Option<&Value>, right: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    match (left, right) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let added = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(added) {
                walk(a.get(key), b.get(key), &format!("{path}.{key}"), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(Some(a), Some(b), &format!("{path}[{index}]"), found);
            }
        }
        (Some(Value::Number(a)), Some(Value::Number(b))) if a.as_f64() == b.as_f64() => {}
        _ if left == right => {}
        _ => {
            let (left, right) = (left.cloned(), right.cloned());
            found.push(Difference { path: path.to_owned(), left, right });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_difference_is_named_by_its_path() {
        let left = json!({"a": {"b": [1, 2]}, "c": 1, "d": null});
        let right = json!({"a": {"b": [1, 3]}, "c": 1.0, "e": [1]});
        let paths: Vec<_> = differences(&left, &right).into_iter().map(|d| d.path).collect();
        assert_eq!(paths, [".a.b[1]", ".d", ".e"]);
        assert_eq!(differences(&left, &left), []);
    }
}
