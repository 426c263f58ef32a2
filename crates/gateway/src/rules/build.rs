//! From the rules of a table to those that are looked through, and what makes them unusable.

use super::{Action, Paths, Rule, Rules};
use crate::counters::Lazy;
use crate::http::field::{self, Kind};
use crate::options::MAX_RULES;
use crate::policy::trace;
use crate::snapshot::Backend;
use model::route::RouteTable;
use model::rule::{Action as Wanted, HeaderEdits, PathMatch, Rule as Declared};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The rules of a listener, with the counters that are kept for each.
pub fn build(
    declared: &[Declared],
    backends: &BTreeMap<&str, Arc<Backend>>,
    counters: &HashMap<String, Arc<Lazy>>,
) -> Rules {
    let mut rules = Rules::default();
    for one in declared {
        let Some(rule) = rule(one, backends, counters) else { continue };
        let rule = Arc::new(rule);
        if one.hosts.is_empty() {
            rules.any.add(&one.path, &rule);
        }
        for host in &one.hosts {
            let paths = match host.strip_prefix('*') {
                Some(below) => rules.below.entry(below.as_bytes().into()).or_default(),
                None => rules.hosts.entry(host.as_bytes().into()).or_default(),
            };
            paths.add(&one.path, &rule);
        }
    }
    rules.hosts.values_mut().for_each(Paths::sort);
    rules.below.values_mut().for_each(Paths::sort);
    rules.any.sort();
    rules
}

fn rule(
    declared: &Declared,
    backends: &BTreeMap<&str, Arc<Backend>>,
    counters: &HashMap<String, Arc<Lazy>>,
) -> Option<Rule> {
    let action = match &declared.action {
        Wanted::Forward { to, sticky } => {
            let to =
                to.iter().map(|target| Some((backends.get(target.backend.as_str())?.clone(), target.weight)));
            Action::Forward { to: to.collect::<Option<_>>()?, sticky: sticky.clone() }
        }
        Wanted::Redirect(redirect) => Action::Redirect(redirect.clone()),
        Wanted::Files { directory } => Action::Files(Arc::new(directory.into())),
        Wanted::Answer { status, body } => Action::Answer { status: *status, body: body.clone() },
    };
    let headers = declared.headers.iter();
    // As the first service has it: the head is written before one of several is chosen.
    let trace = match &action {
        Action::Forward { to, .. } => to.first().map(|(backend, _)| backend.policy.trace).unwrap_or_default(),
        Action::Redirect(_) | Action::Answer { .. } | Action::Files(_) => trace::Settings::off(),
    };
    Some(Rule {
        id: declared.id.clone(),
        methods: declared.methods.clone(),
        headers: headers
            .map(|(name, value)| (name.clone(), value.as_ref().map(|value| value.clone().into_bytes())))
            .collect(),
        prefix: match &declared.path {
            PathMatch::Prefix(path) => Some(stem(path).to_vec()),
            PathMatch::Exact(_) => None,
        },
        action,
        edits: declared.edits.clone(),
        priority: declared.priority,
        trace,
        counters: counters.get(&declared.id)?.clone(),
    })
}

/// A prefix as it is looked for.
fn stem(path: &str) -> &[u8] {
    path.strip_suffix('/').unwrap_or(path).as_bytes()
}

impl Paths {
    fn add(&mut self, path: &PathMatch, rule: &Arc<Rule>) {
        let list = match path {
            PathMatch::Exact(path) => self.exact.entry(path.as_bytes().into()).or_default(),
            PathMatch::Prefix(path) => {
                self.longest = self.longest.max(stem(path).len());
                self.prefixes.entry(stem(path).into()).or_default()
            }
        };
        list.push(rule.clone());
    }

    /// The more specific first; those that are alike stay in their order.
    fn sort(&mut self) {
        for list in self.exact.values_mut().chain(self.prefixes.values_mut()) {
            list.sort_by_key(|rule| (rule.methods.is_empty(), Reverse(rule.headers.len())));
        }
    }
}

/// What makes the rules of a table unusable, in words.
pub fn check(table: &RouteTable) -> Result<(), String> {
    let count: usize = table.listeners.iter().map(|listener| listener.rules.len()).sum();
    if count > MAX_RULES {
        return Err(format!("it has {count} rules, at most {MAX_RULES} are possible"));
    }
    let mut ids = HashSet::new();
    for listener in &table.listeners {
        let mut seen = HashMap::new();
        for rule in &listener.rules {
            if !ids.insert((listener.address, rule.id.as_str())) {
                return Err(format!("{} has two rules called {}", listener.address, rule.id));
            }
            one(table, rule).map_err(|reason| format!("the rule {} {reason}", rule.id))?;
            for host in rule.hosts.iter().map(String::as_str).chain(rule.hosts.is_empty().then_some("")) {
                let mut methods = rule.methods.clone();
                methods.sort();
                let key = (host, &rule.path, methods, &rule.headers);
                if let Some(other) = seen.insert(format!("{key:?}"), &rule.id) {
                    return Err(format!(
                        "{other} and {} take the same requests of {}",
                        rule.id, listener.address
                    ));
                }
            }
        }
    }
    Ok(())
}

fn one(table: &RouteTable, rule: &Declared) -> Result<(), String> {
    match &rule.action {
        Wanted::Forward { to, .. } if to.is_empty() => return Err("leads nowhere".to_owned()),
        Wanted::Forward { to, .. } => {
            let missing = to.iter().find(|target| !table.backends.contains_key(&target.backend));
            if let Some(target) = missing {
                return Err(format!("leads to {}, which the table does not have", target.backend));
            }
        }
        Wanted::Redirect(redirect) if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) => {
            return Err(format!("redirects with status {}", redirect.status));
        }
        Wanted::Answer { status, .. } if !(200..=599).contains(status) => {
            return Err(format!("answers with status {status}"));
        }
        Wanted::Files { directory } if !directory.starts_with('/') => {
            return Err(format!("has the files of `{directory}`, which is not a whole path"));
        }
        Wanted::Redirect(_) | Wanted::Answer { .. } | Wanted::Files { .. } => {}
    }
    if !rule.path.text().starts_with('/') || super::normal(rule.path.text()) != rule.path.text() {
        return Err(format!("has the path `{}`, which no request has", rule.path.text()));
    }
    edits(&rule.edits.request)?;
    edits(&rule.edits.response)?;
    let texts = [&rule.edits.prefix, &rule.edits.host];
    match texts.into_iter().flatten().any(|text| !is_word(text)) {
        true => Err("rewrites to what no request can have".to_owned()),
        false => Ok(()),
    }
}

/// Visible characters only.
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What would change where a message ends, or whom it concerns, is the gateway's own.
fn edits(edits: &HeaderEdits) -> Result<(), String> {
    for name in edits.remove.iter().chain(edits.set.keys()) {
        let is_name = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        if !is_name || field::kind(name) != Kind::Pass {
            return Err(format!("may not change the header field `{name}`"));
        }
    }
    let is_value = |value: &String| value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    match edits.set.iter().find(|(_, value)| !is_value(value)) {
        Some((name, _)) => Err(format!("sets the header field `{name}` to what no field can hold")),
        None => Ok(()),
    }
}
