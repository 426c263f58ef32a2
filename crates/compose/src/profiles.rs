//! Which services take part: those without a profile and those of an active one.

use crate::tree::Node;
use std::collections::BTreeMap;

/// Takes the inactive services out and returns them with their profiles.
pub(crate) fn select(root: &mut Node, active: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut inactive = BTreeMap::new();
    let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return inactive };
    services.retain(|name, entry| {
        let profiles: Vec<String> = entry
            .node
            .get("profiles")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .filter_map(Node::as_text)
            .map(str::to_owned)
            .collect();
        let keep = profiles.is_empty() || active.iter().any(|p| p == "*" || profiles.contains(p));
        if !keep {
            inactive.insert(name.clone(), profiles);
        }
        keep
    });
    inactive
}
