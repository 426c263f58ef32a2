//! Names, images and hashes of a project, as the reference implementation lists them.

use super::printed::{Language, Printed};
use super::{Resolved, json};
use std::collections::{BTreeMap, BTreeSet};

impl Resolved {
    /// Services, each after those it depends on.
    pub fn services(&self) -> Vec<String> {
        let printed = self.printed();
        let services: BTreeMap<&str, &Printed> = section(&printed, "services").into_iter().collect();
        let mut done = BTreeSet::new();
        let mut order = Vec::new();
        for name in services.keys() {
            after_dependencies(name, &services, &mut done, &mut order);
        }
        order
    }

    /// Keys of the volumes that services use.
    pub fn volumes(&self) -> Vec<String> {
        self.names("volumes")
    }

    /// Keys of the networks that services use.
    pub fn networks(&self) -> Vec<String> {
        self.names("networks")
    }

    fn names(&self, key: &str) -> Vec<String> {
        section(&self.printed(), key).into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    /// Image of each service; one that is built without a name has that of project and service.
    pub fn images(&self) -> Vec<String> {
        let printed = self.printed();
        let services = section(&printed, "services").into_iter();
        let built = |service: &str| format!("{}-{service}", self.about.project);
        services.map(|(name, service)| text(service, "image").unwrap_or_else(|| built(name))).collect()
    }

    /// Models that services use.
    pub fn models(&self) -> Vec<String> {
        let printed = self.printed();
        let models = section(&printed, "models").into_iter();
        models.filter_map(|(_, model)| text(model, "model")).collect()
    }

    /// Profiles of all services, active or not.
    pub fn profiles(&self) -> Vec<String> {
        self.about.profiles.iter().cloned().collect()
    }

    /// `NAME=value` of everything that can be put into the files.
    pub fn environment(&self) -> Vec<String> {
        let mut lines: Vec<_> =
            self.about.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.sort();
        lines
    }

    /// SHA-256 of each service's configuration, but for how it is built, how often it runs and what
    /// it depends on. Read without environment files, as the reference implementation does.
    pub fn hashes(&self) -> BTreeMap<String, String> {
        let printed = self.printed();
        let services = section(&printed, "services").into_iter();
        services.map(|(name, service)| (name.to_owned(), hash(service))).collect()
    }
}

fn section<'a>(printed: &'a Printed, key: &str) -> Vec<(&'a str, &'a Printed)> {
    let found = printed.entries(Language::Yaml).into_iter().find(|(name, _)| *name == key);
    found.map(|(_, value)| value.entries(Language::Yaml)).unwrap_or_default()
}

fn text(printed: &Printed, key: &str) -> Option<String> {
    printed.entries(Language::Yaml).into_iter().find_map(|(name, value)| match value {
        Printed::Text(text) if name == key => Some(text.clone()),
        _ => None,
    })
}

/// Depth first. The stack is explicit: files choose its depth.
fn after_dependencies(
    name: &str,
    services: &BTreeMap<&str, &Printed>,
    done: &mut BTreeSet<String>,
    order: &mut Vec<String>,
) {
    let dependencies = |name: &str| -> Vec<String> {
        let node = services.get(name).map(|service| section(service, "depends_on")).unwrap_or_default();
        node.into_iter()
            .map(|(name, _)| name.to_owned())
            .filter(|name| services.contains_key(&**name))
            .collect()
    };
    if !done.insert(name.to_owned()) {
        return;
    }
    let mut stack = vec![(name.to_owned(), dependencies(name))];
    while let Some((current, open)) = stack.last_mut() {
        match open.pop() {
            Some(next) if done.insert(next.clone()) => {
                let below = dependencies(&next);
                stack.push((next, below));
            }
            Some(_) => {}
            None => {
                order.push(std::mem::take(current));
                stack.pop();
            }
        }
    }
}

fn hash(service: &Printed) -> String {
    const LEFT_OUT: [&str; 5] = ["build", "pull_policy", "scale", "depends_on", "profiles"];
    let Printed::Record(entries) = service else { return String::new() };
    let kept = entries.iter().filter(|entry| !LEFT_OUT.contains(&entry.key.as_str()));
    let kept = kept.cloned().map(|mut entry| {
        if let ("deploy", Printed::Record(deploy)) = (entry.key.as_str(), &mut entry.value) {
            deploy.retain(|entry| entry.key != "replicas");
        }
        entry
    });
    let text = json::text(&Printed::Record(kept.collect()), false);
    model::Digest::of(text.as_bytes()).hex().to_owned()
}
