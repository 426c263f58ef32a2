//! Which instance has yet to be given which files. Everything synced since the watch began is owed to
//! every instance, so one that starts later, is replaced or starts again is made the same.

use super::rules::Rule;
use super::told::Done;
use super::tree::Tree;
use host::sync::{Inside, SyncError, Synced};
use model::{InstanceId, ServiceName};
use run::control::StackStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Files noted one by one for a service; beyond, everything its rules are about is owed.
const NOTED_MAX: usize = 20_000;
/// Failures told of one delivery.
const FAILURES_MAX: usize = 5;

/// A file and the rule that says where it goes.
type Item = (usize, PathBuf);

/// An instance that runs.
#[derive(Debug)]
struct Instance {
    id: InstanceId,
    slot: u32,
    /// Of this start; another start has another.
    pid: i32,
    owed: BTreeSet<Item>,
}

#[derive(Debug, Default)]
struct Followed {
    noted: BTreeSet<Item>,
    /// Rules of which everything is owed.
    whole: BTreeSet<usize>,
    instances: Vec<Instance>,
}

pub struct Deliveries {
    /// The engine's directory.
    state: PathBuf,
    rules: Rc<[Rule]>,
    services: BTreeMap<ServiceName, Followed>,
}

impl Deliveries {
    pub fn new(state: &Path, rules: Rc<[Rule]>) -> Self {
        let mut services = BTreeMap::<ServiceName, Followed>::new();
        for (number, rule) in rules.iter().enumerate() {
            let followed = services.entry(rule.service.clone()).or_default();
            if rule.declared.action.syncs() && rule.declared.initial_sync {
                followed.whole.insert(number);
            }
        }
        Self { state: state.to_owned(), rules, services }
    }

    /// Takes over what runs now.
    pub fn update(&mut self, status: &StackStatus, tree: &Tree) {
        for service in &status.services {
            let Some(followed) = self.services.get_mut(&service.name) else { continue };
            let running = service.instances.iter().filter(|i| !i.replaced);
            let running: Vec<_> = running.filter_map(|i| Some((&i.id, i.slot, i.pid?))).collect();
            followed.instances.retain(|known| running.iter().any(|(id, _, pid)| known.is(id, *pid)));
            for (id, slot, pid) in running {
                if !followed.instances.iter().any(|known| known.is(id, pid)) {
                    let owed = followed.everything(&self.rules, tree);
                    followed.instances.push(Instance { id: id.clone(), slot, pid, owed });
                }
            }
        }
    }

    /// A file of this rule changed.
    pub fn note(&mut self, number: usize, path: &Path) {
        let Some(followed) = self.services.get_mut(&self.rules[number].service) else { return };
        let item = (number, path.to_owned());
        for instance in &mut followed.instances {
            instance.owed.insert(item.clone());
        }
        if followed.noted.len() >= NOTED_MAX {
            followed.whole.extend(followed.noted.iter().map(|(number, _)| *number));
            followed.noted.clear();
        }
        followed.noted.insert(item);
    }

    /// The instances of a service that run, by their places.
    pub fn running(&self, service: &ServiceName) -> Vec<(InstanceId, u32)> {
        let followed = self.services.get(service).into_iter();
        let mut all: Vec<_> = followed
            .flat_map(|f| &f.instances)
            .map(|instance| (instance.id.clone(), instance.slot))
            .collect();
        all.sort_by_key(|(_, slot)| *slot);
        all
    }

    /// Gives every instance what it is owed.
    pub async fn deliver(&mut self) -> Vec<Done> {
        let mut all = Vec::new();
        for (service, followed) in &mut self.services {
            let mut done = Done::new(service.clone());
            let mut jobs = Vec::new();
            for instance in followed.instances.iter_mut().filter(|instance| !instance.owed.is_empty()) {
                let owed = std::mem::take(&mut instance.owed);
                let files =
                    owed.into_iter().map(|(number, path)| File::of(&self.rules[number], path)).collect();
                let (state, id) = (self.state.clone(), instance.id.clone());
                jobs.push(tokio::task::spawn_blocking(move || give(&state, &id, files)));
            }
            for job in jobs {
                let given = job.await.expect("copying files does not panic");
                done.add(given);
            }
            if !done.is_empty() {
                all.push(done);
            }
        }
        all
    }
}

impl Instance {
    fn is(&self, id: &InstanceId, pid: i32) -> bool {
        self.id == *id && self.pid == pid
    }
}

impl Followed {
    /// What an instance is owed that has nothing yet.
    fn everything(&self, rules: &[Rule], tree: &Tree) -> BTreeSet<Item> {
        let whole = self.whole.iter().flat_map(|number| {
            let files = tree.files_of(&rules[*number]);
            files.map(|path| (*number, path.clone()))
        });
        whole.chain(self.noted.iter().cloned()).collect()
    }
}

/// One file on its way.
#[derive(Debug)]
struct File {
    source: PathBuf,
    target: PathBuf,
    /// The rule's own path: when it is gone, a directory it is meant for stays, without its files.
    is_root: bool,
}

impl File {
    fn of(rule: &Rule, source: PathBuf) -> Self {
        Self { target: rule.target(&source), is_root: source == rule.root, source }
    }

    fn give(&self, inside: &Inside) -> Result<Synced, SyncError> {
        match self.is_root && !self.is_there() {
            true => inside.remove_file(&self.target),
            false => inside.sync(&self.source, &self.target),
        }
    }

    fn is_there(&self) -> bool {
        self.source.symlink_metadata().is_ok()
    }
}

/// What became of the files given to one instance.
#[derive(Debug, Default)]
pub struct Given {
    pub written: BTreeSet<PathBuf>,
    pub removed: BTreeSet<PathBuf>,
    pub failures: Vec<String>,
}

/// Removals first: what becomes a file may have been a directory. An instance that has ended gets
/// everything when it starts again.
fn give(state: &Path, id: &InstanceId, files: Vec<File>) -> Given {
    let mut given = Given::default();
    let inside = match Inside::open(state, id) {
        Ok(inside) => inside,
        Err(SyncError::NotRunning) => return given,
        Err(error) => {
            given.failures.push(error.to_string());
            return given;
        }
    };
    let (there, gone): (Vec<_>, Vec<_>) = files.into_iter().partition(File::is_there);
    for file in gone.into_iter().chain(there) {
        match file.give(&inside) {
            // Of a directory only what is in it is worth a word.
            Ok(Synced::Written) if file.source.is_dir() => {}
            Ok(Synced::Written) => _ = given.written.insert(file.source),
            Ok(Synced::Removed) => _ = given.removed.insert(file.source),
            Ok(Synced::Unchanged) => {}
            Err(error) if given.failures.len() < FAILURES_MAX => given.failures.push(error.to_string()),
            Err(_) => {}
        }
    }
    given
}
