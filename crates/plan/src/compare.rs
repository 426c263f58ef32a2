//! What differs between two releases, said so that people can read it and secrets stay secret.

use crate::spec::{file_key, grants};
use model::{Digest, Release, Service, ServiceName};
use serde_json::Value;

/// One thing that differs. `before` or `after` is absent where it came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub service: Option<ServiceName>,
    pub field: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Differences from `before` to `after`, in the order of services and fields.
pub fn compare(before: Option<&Release>, after: &Release) -> Vec<Difference> {
    let mut found = Vec::new();
    let old = |name: &ServiceName| before.and_then(|r| r.stack.services.get(name));
    for (name, service) in &after.stack.services {
        match old(name) {
            None => found.push(came_or_went(name, None, Some(describe(after, service)))),
            Some(previous) => compare_service(before, previous, after, service, &mut found),
        }
    }
    if let Some(before) = before {
        for (name, service) in &before.stack.services {
            if !after.stack.services.contains_key(name) {
                found.push(came_or_went(name, Some(describe(before, service)), None));
            }
        }
        compare_files(before, after, &mut found);
    }
    found
}

fn came_or_went(name: &ServiceName, before: Option<String>, after: Option<String>) -> Difference {
    Difference { service: Some(name.clone()), field: "service".to_owned(), before, after }
}

fn describe(release: &Release, service: &Service) -> String {
    let image = release.images.get(&service.name).map_or("an image to be built", |i| i.origin.as_str());
    match service.replicas {
        1 => image.to_owned(),
        n => format!("{n} × {image}"),
    }
}

fn compare_service(
    before: Option<&Release>,
    previous: &Service,
    after: &Release,
    service: &Service,
    found: &mut Vec<Difference>,
) {
    let image = |r: Option<&Release>, s: &Service| {
        r.and_then(|r| r.images.get(&s.name)).map(|i| format!("{} ({})", i.manifest.short(), i.origin))
    };
    let (old_image, new_image) = (image(before, previous), image(Some(after), service));
    let push = |field: String, before: Option<String>, after: Option<String>, found: &mut Vec<Difference>| {
        found.push(Difference { service: Some(service.name.clone()), field, before, after });
    };
    if old_image != new_image {
        push("image".to_owned(), old_image, new_image, found);
    }
    let old = serde_json::to_value(previous).expect("plain data always serialises");
    let new = serde_json::to_value(service).expect("plain data always serialises");
    let mut fields = Vec::new();
    walk("", &old, &new, &mut fields);
    for (field, before, after) in fields {
        let secret = field.starts_with("environment.") || field.starts_with("image.args.");
        let show = |v: Option<String>| v.map(|v| if secret { fingerprint(&v) } else { v });
        push(field, show(before), show(after), found);
    }
}

/// A value that may be secret: enough to see that it changed, not what it is.
fn fingerprint(value: &str) -> String {
    format!("({} characters, {})", value.chars().count(), &Digest::of(value.as_bytes()).hex()[..6])
}

/// Contents of configs and secrets, for each service that is given them.
fn compare_files(before: &Release, after: &Release, found: &mut Vec<Difference>) {
    let short = |d: &Digest| d.short().to_owned();
    let keys: std::collections::BTreeSet<&String> = before.files.keys().chain(after.files.keys()).collect();
    for key in keys {
        let (old, new) = (before.files.get(key), after.files.get(key));
        if old == new {
            continue;
        }
        let users = users(after, key);
        let services = if users.is_empty() { vec![None] } else { users.into_iter().map(Some).collect() };
        found.extend(services.into_iter().map(|service| Difference {
            service,
            field: key.clone(),
            before: old.map(short),
            after: new.map(short),
        }));
    }
}

fn users(release: &Release, key: &str) -> Vec<ServiceName> {
    let uses = |s: &&Service| grants(s).any(|(kind, grant)| file_key(kind, grant) == key);
    release.stack.services.values().filter(uses).map(|s| s.name.clone()).collect()
}

type Change = (String, Option<String>, Option<String>);

/// Leaves that differ, by dotted path. Absent, null and empty are the same.
fn walk(path: &str, old: &Value, new: &Value, found: &mut Vec<Change>) {
    if old == new || (is_nothing(old) && is_nothing(new)) {
        return;
    }
    let empty = serde_json::Map::new();
    let (left, right) = match (old, new) {
        (Value::Object(l), Value::Object(r)) => (l, r),
        (Value::Object(l), nothing) if is_nothing(nothing) => (l, &empty),
        (nothing, Value::Object(r)) if is_nothing(nothing) => (&empty, r),
        _ => return found.push((path.to_owned(), text(old), text(new))),
    };
    let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for key in keys {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(&inner, left.get(key).unwrap_or(&Value::Null), right.get(key).unwrap_or(&Value::Null), found);
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        nothing if is_nothing(nothing) => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
