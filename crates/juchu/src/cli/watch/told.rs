//! What the watch says: one line for each thing done, with the time it took since the first of the
//! changes was noticed.

use super::deliver::Given;
use console::text::without_controls;
use model::{ReleaseId, ServiceName};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// File names in a line.
const NAMES_MAX: usize = 3;
/// File names in a line for programs.
const LISTED_MAX: usize = 100;

/// One thing that was done, as `--json` prints it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Told {
    Watching {
        services: Vec<ServiceName>,
        paths: Vec<PathBuf>,
    },
    Synced {
        service: ServiceName,
        written: Vec<PathBuf>,
        removed: Vec<PathBuf>,
        /// More than are listed.
        #[serde(skip_serializing_if = "is_zero")]
        more: usize,
        instances: usize,
        failures: Vec<String>,
        took_ms: u64,
    },
    Rebuilt {
        services: Vec<ServiceName>,
        outcome: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        release: Option<ReleaseId>,
        took_ms: u64,
    },
    Restarted {
        services: Vec<ServiceName>,
        outcome: &'static str,
        took_ms: u64,
    },
    Ran {
        service: ServiceName,
        slot: u32,
        command: Vec<String>,
        code: Option<i32>,
        took_ms: u64,
    },
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The same for every kind: `event` says that it is the watch that speaks.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    pub event: &'static str,
    #[serde(flatten)]
    pub told: &'a Told,
}

impl<'a> Line<'a> {
    pub fn of(told: &'a Told) -> Self {
        Self { event: "watch", told }
    }
}

/// What was given to the instances of a service.
#[derive(Debug)]
pub struct Done {
    pub service: ServiceName,
    pub written: BTreeSet<PathBuf>,
    pub removed: BTreeSet<PathBuf>,
    /// Instances that something was given to.
    pub instances: usize,
    pub failures: Vec<String>,
}

impl Done {
    pub fn new(service: ServiceName) -> Self {
        let (written, removed) = (BTreeSet::new(), BTreeSet::new());
        Self { service, written, removed, instances: 0, failures: Vec::new() }
    }

    pub fn add(&mut self, given: Given) {
        self.instances += usize::from(!given.written.is_empty() || !given.removed.is_empty());
        self.written.extend(given.written);
        self.removed.extend(given.removed);
        for failure in given.failures {
            if !self.failures.contains(&failure) {
                self.failures.push(failure);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty() && self.failures.is_empty()
    }

    pub fn told(self, took: Duration) -> Told {
        let total = self.written.len() + self.removed.len();
        let listed = |paths: BTreeSet<PathBuf>| paths.into_iter().take(LISTED_MAX).collect::<Vec<_>>();
        let (written, removed) = (listed(self.written), listed(self.removed));
        Told::Synced {
            more: total - written.len() - removed.len(),
            service: self.service,
            written,
            removed,
            instances: self.instances,
            failures: self.failures,
            took_ms: took.as_millis() as u64,
        }
    }
}

impl Told {
    /// The line for people; paths are shown from `directory` on.
    pub fn text(&self, directory: &Path) -> String {
        match self {
            Self::Watching { services, paths } => {
                let services: Vec<_> = services.iter().map(ServiceName::as_str).collect();
                format!("watching {} for {}", names(paths, directory), services.join(", "))
            }
            Self::Synced { service, written, removed, more, instances, took_ms, .. } => {
                let instances = count(*instances, "instance");
                let took = time(*took_ms);
                let written_names = named(written, *more, directory);
                match (written.is_empty(), removed.is_empty()) {
                    (false, true) => format!("{service}: synced {written_names} to {instances} in {took}"),
                    (true, _) => {
                        let removed = named(removed, *more, directory);
                        format!("{service}: removed {removed} from {instances} in {took}")
                    }
                    (false, false) => {
                        let removed = names(removed, directory);
                        format!(
                            "{service}: synced {written_names} to {instances} and removed {removed} in {took}"
                        )
                    }
                }
            }
            Self::Rebuilt { services, outcome: "unchanged", took_ms, .. } => {
                format!("{}: built, and nothing is different ({})", listed(services), time(*took_ms))
            }
            Self::Rebuilt { services, took_ms, .. } => {
                format!("{}: rebuilt and serving in {}", listed(services), time(*took_ms))
            }
            Self::Restarted { services, took_ms, .. } => {
                format!("{}: restarted in {}", listed(services), time(*took_ms))
            }
            Self::Ran { service, slot, command, code, took_ms } => {
                let command = without_controls(&command.join(" "), false).into_owned();
                let took = time(*took_ms);
                match code {
                    Some(0) => format!("{service}-{slot}: ran `{command}` in {took}"),
                    Some(code) => {
                        format!("{service}-{slot}: `{command}` failed with exit code {code} after {took}")
                    }
                    None => format!("{service}-{slot}: `{command}` was ended by a signal after {took}"),
                }
            }
        }
    }
}

/// Few names, or their number.
pub fn names(paths: &[PathBuf], directory: &Path) -> String {
    named(paths, 0, directory)
}

fn named(paths: &[PathBuf], more: usize, directory: &Path) -> String {
    let total = paths.len() + more;
    if total > NAMES_MAX {
        return format!("{} and {} more", short(&paths[0], directory), total - 1);
    }
    let names: Vec<_> = paths.iter().map(|path| short(path, directory)).collect();
    names.join(", ")
}

/// From the directory of the stack on, where it is below it.
fn short(path: &Path, directory: &Path) -> String {
    let below = path.strip_prefix(directory).unwrap_or(path);
    let shown = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    without_controls(&shown.display().to_string(), false).into_owned()
}

pub fn listed(services: &[ServiceName]) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn time(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::service;

    fn paths(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(|name| Path::new("/shop").join(name)).collect()
    }

    fn synced(written: &[&str], removed: &[&str], instances: usize, ms: u64) -> String {
        let (written, removed) = (paths(written), paths(removed));
        let done = Done { service: service("web"), written, removed, instances, failures: Vec::new() };
        done.told(Duration::from_millis(ms)).text(Path::new("/shop"))
    }

    #[test]
    fn one_line_says_what_where_and_how_fast() {
        assert_eq!(synced(&["app.py"], &[], 2, 41), "web: synced app.py to 2 instances in 41 ms");
        assert_eq!(synced(&["a", "b", "c/d"], &[], 1, 5), "web: synced a, b, c/d to 1 instance in 5 ms");
        assert_eq!(
            synced(&["a", "b", "c", "d"], &[], 1, 1234),
            "web: synced a and 3 more to 1 instance in 1.2 s"
        );
        assert_eq!(synced(&[], &["old"], 2, 9), "web: removed old from 2 instances in 9 ms");
        assert_eq!(synced(&["a"], &["b"], 1, 9), "web: synced a to 1 instance and removed b in 9 ms");
        let many: Vec<_> = (0..500).map(|n| format!("f{n:03}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(synced(&many, &[], 1, 80), "web: synced f000 and 499 more to 1 instance in 80 ms");
    }

    #[test]
    fn changes_and_commands_are_told_in_the_same_way() {
        let here = Path::new("/shop");
        let services = vec![service("web")];
        let rebuilt =
            |outcome| Told::Rebuilt { services: services.clone(), outcome, release: None, took_ms: 1900 };
        assert_eq!(rebuilt("kept").text(here), "web: rebuilt and serving in 1.9 s");
        assert_eq!(rebuilt("unchanged").text(here), "web: built, and nothing is different (1.9 s)");
        let restarted = Told::Restarted { services: services.clone(), outcome: "kept", took_ms: 300 };
        assert_eq!(restarted.text(here), "web: restarted in 300 ms");
        let ran = |code| {
            let command = vec!["make".into(), "all".into()];
            Told::Ran { service: service("web"), slot: 1, command, code, took_ms: 20 }.text(here)
        };
        assert_eq!(ran(Some(0)), "web-1: ran `make all` in 20 ms");
        assert_eq!(ran(Some(2)), "web-1: `make all` failed with exit code 2 after 20 ms");
        let json = serde_json::to_string(&Line::of(&restarted)).expect("plain data");
        assert_eq!(
            json,
            r#"{"event":"watch","action":"restarted","services":["web"],"outcome":"kept","took_ms":300}"#
        );
    }
}
