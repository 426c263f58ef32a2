//! `x-juchu.notify` of a file: who is told about incidents of its stack.

use crate::range::Level;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Receivers of one file.
pub const RECEIVERS_MAX: usize = 8;
/// Characters of a receiver's name.
pub const NAME_MAX: usize = 40;

/// One receiver; the address stands in a secret of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    pub kind: String,
    pub secret: String,
    #[serde(default = "important")]
    pub least: Level,
}

const fn important() -> Level {
    Level::Important
}

/// By name, from the policy of a stack. What is not understood is left out: it was told when the file
/// was read.
pub fn of(policy: &serde_json::Value) -> BTreeMap<String, Declared> {
    let all = policy.get("notify").and_then(serde_json::Value::as_object);
    let one = |(name, value): (&String, &serde_json::Value)| {
        Some((name.clone(), serde_json::from_value(value.clone()).ok()?))
    };
    all.into_iter().flatten().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_read_from_the_policy_of_a_stack() {
        let policy = serde_json::json!({"notify": {
            "ops": {"kind": "webhook", "secret": "hook", "least": "urgent"},
            "team": {"kind": "mail", "secret": "mail"},
            "wrong": {"kind": 3},
        }});
        let found = of(&policy);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["ops", "team"]);
        assert_eq!((found["ops"].least, found["team"].least), (Level::Urgent, Level::Important));
        assert!(of(&serde_json::Value::Null).is_empty());
    }
}
