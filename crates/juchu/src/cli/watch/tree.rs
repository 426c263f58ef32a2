//! The watched files as they were last seen. Events only say where to look; a change is what differs
//! from what was seen, so events that are lost, doubled or late change nothing.

use super::events::{Event, Events};
use super::rules::Rule;
use model::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Changes are handed on when nothing more has happened for so long: an editor saves by several steps.
const QUIET: Duration = Duration::from_millis(50);
/// Or when the first is so old, whatever goes on.
const HOLD: Duration = Duration::from_millis(400);
/// Files and directories that are watched at most.
pub const FILES_MAX: usize = 200_000;
/// Places to look at; beyond, everything is looked at.
const PLACES_MAX: usize = 20_000;

/// What makes a file another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    kind: u32,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    owner: (u32, u32),
    mode: u32,
}

impl Print {
    /// A directory is the same whatever is in it.
    fn of(about: &Metadata) -> Self {
        let is_dir = about.is_dir();
        Self {
            kind: about.mode() & 0o170_000,
            inode: about.ino(),
            size: if is_dir { 0 } else { about.size() },
            modified: if is_dir { (0, 0) } else { (about.mtime(), about.mtime_nsec()) },
            owner: (about.uid(), about.gid()),
            mode: about.mode() & 0o7777,
        }
    }

    const fn is_dir(&self) -> bool {
        self.kind == 0o040_000
    }
}

/// Files that changed; the same path may be gone and there again as something else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub gone: BTreeSet<PathBuf>,
    pub there: BTreeSet<PathBuf>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.there.is_empty()
    }

    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.gone.iter().chain(self.there.difference(&self.gone))
    }
}

/// Changes, and when the first of them was noticed.
#[derive(Debug)]
pub struct Batch {
    pub changes: Changes,
    pub noticed: Instant,
}

pub struct Tree {
    events: Events,
    rules: Rc<[Rule]>,
    roots: BTreeSet<PathBuf>,
    seen: BTreeMap<PathBuf, Print>,
    /// Where to look, and whether content was certainly changed there.
    places: BTreeMap<PathBuf, bool>,
    everywhere: bool,
    first: Option<Instant>,
    files_max: usize,
}

impl Tree {
    /// Watches everything the rules are about, as it is now.
    pub fn new(rules: Rc<[Rule]>) -> Result<Self, Report> {
        Self::with_limit(rules, FILES_MAX)
    }

    fn with_limit(rules: Rc<[Rule]>, files_max: usize) -> Result<Self, Report> {
        let roots: BTreeSet<PathBuf> = rules.iter().map(|rule| rule.root.clone()).collect();
        let (seen, places) = (BTreeMap::new(), BTreeMap::new());
        let events = Events::new()?;
        let mut tree = Self { events, rules, roots, seen, places, everywhere: false, first: None, files_max };
        tree.look_everywhere(&mut Changes::default())?;
        Ok(tree)
    }

    /// What a rule is about, among what is there.
    pub fn files_of<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = &'a PathBuf> {
        below(&self.seen, &rule.root).filter(|path| rule.is_about(path))
    }

    /// The next changes; nothing is lost when the call is abandoned.
    pub async fn next(&mut self) -> Result<Batch, Report> {
        loop {
            self.collect().await?;
            let noticed = self.first.take().unwrap_or_else(Instant::now);
            let changes = self.settle()?;
            if !changes.is_empty() {
                return Ok(Batch { changes, noticed });
            }
        }
    }

    /// Waits for something to happen, and until no more does.
    async fn collect(&mut self) -> Result<(), Report> {
        if self.first.is_none() {
            self.events.ready().await;
            self.first = Some(Instant::now());
            self.drain()?;
        }
        let latest = self.first.expect("it was set above") + HOLD;
        loop {
            let until = (Instant::now() + QUIET).min(latest);
            if timeout_at(until, self.events.ready()).await.is_err() {
                return Ok(());
            }
            self.drain()?;
        }
    }

    fn drain(&mut self) -> Result<(), Report> {
        let Self { events, places, everywhere, .. } = self;
        events.drain(|event| match event {
            Event::Overflow => *everywhere = true,
            Event::At { .. } if places.len() >= PLACES_MAX => *everywhere = true,
            Event::At { path, written } => *places.entry(path).or_default() |= written,
        })
    }

    /// Looks where something happened.
    fn settle(&mut self) -> Result<Changes, Report> {
        let mut changes = Changes::default();
        let places = std::mem::take(&mut self.places);
        // What is gone first: a directory that was moved is watched by its new name then.
        let (there, gone): (Vec<_>, Vec<_>) =
            places.into_iter().partition(|(path, _)| fs::symlink_metadata(path).is_ok());
        for (path, written) in gone.into_iter().chain(there) {
            self.look(&path, written, &mut changes)?;
        }
        if std::mem::take(&mut self.everywhere) {
            self.look_everywhere(&mut changes)?;
        }
        self.watch_ancestors()?;
        Ok(changes)
    }

    fn look_everywhere(&mut self, changes: &mut Changes) -> Result<(), Report> {
        self.watch_ancestors()?;
        for root in self.roots.clone() {
            self.look(&root, false, changes)?;
        }
        Ok(())
    }

    /// The nearest directory above each root, so that a root that comes, goes or is replaced is noticed.
    fn watch_ancestors(&mut self) -> Result<(), Report> {
        for root in self.roots.clone() {
            for directory in root.ancestors().skip(1) {
                if self.events.watch(directory)? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn look(&mut self, path: &Path, written: bool, changes: &mut Changes) -> Result<(), Report> {
        if !self.roots.iter().any(|root| path.starts_with(root)) {
            // Something above a root: the root may be there now, or gone.
            let below: Vec<_> = self.roots.iter().filter(|root| root.starts_with(path)).cloned().collect();
            return below.iter().try_for_each(|root| {
                self.watch_ancestors()?;
                self.look(root, false, changes)
            });
        }
        let Ok(about) = fs::symlink_metadata(path) else {
            self.gone(path, changes);
            return Ok(());
        };
        let (print, before) = (Print::of(&about), self.seen.get(path).copied());
        if before.is_some_and(|before| before.kind != print.kind) {
            self.gone(path, changes);
        }
        match print.is_dir() {
            true => {
                if before.is_some_and(|before| before.inode != print.inode) {
                    self.events.forget(path);
                }
                self.walk(path, print, changes)
            }
            false if written || before != Some(print) => self.see(path.to_owned(), print, changes),
            false => Ok(()),
        }
    }

    fn gone(&mut self, path: &Path, changes: &mut Changes) {
        let all: Vec<_> = below(&self.seen, path).cloned().collect();
        for path in all {
            self.seen.remove(&path);
            changes.gone.insert(path);
        }
        self.events.forget(path);
    }

    /// Notes what is there, where a rule is about it.
    fn see(&mut self, path: PathBuf, print: Print, changes: &mut Changes) -> Result<(), Report> {
        let is_wanted = self.rules.iter().any(|rule| rule.is_about(&path));
        if !is_wanted && !print.is_dir() {
            return Ok(());
        }
        if is_wanted {
            changes.there.insert(path.clone());
        }
        self.seen.insert(path, print);
        if self.seen.len() <= self.files_max {
            return Ok(());
        }
        let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
        let text =
            format!("there are more than {} files to watch below {}", self.files_max, roots.join(", "));
        Err(Report::environment(text)
            .hint("leave directories out: `ignore: [node_modules/]`, or name a smaller `path`"))
    }

    /// Everything in a directory, compared with what was seen.
    fn walk(&mut self, directory: &Path, print: Print, changes: &mut Changes) -> Result<(), Report> {
        let mut stale: BTreeSet<PathBuf> = below(&self.seen, directory).cloned().collect();
        let mut open = vec![(directory.to_owned(), print)];
        while let Some((directory, print)) = open.pop() {
            stale.remove(&directory);
            if self.rules.iter().all(|rule| rule.prunes(&directory)) {
                continue;
            }
            if self.seen.get(&directory) != Some(&print) {
                self.see(directory.clone(), print, changes)?;
            }
            // Watched before it is read: what comes later is told.
            if !self.events.watch(&directory)? {
                continue;
            }
            let entries = fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok);
            for path in entries.map(|entry| entry.path()) {
                let Ok(about) = fs::symlink_metadata(&path) else { continue };
                let (print, before) = (Print::of(&about), self.seen.get(&path).copied());
                stale.remove(&path);
                if before.is_some_and(|before| before.kind != print.kind) {
                    self.gone(&path, changes);
                }
                match print.is_dir() {
                    true => open.push((path, print)),
                    false if before != Some(print) => self.see(path, print, changes)?,
                    false => {}
                }
            }
        }
        for path in stale {
            if self.seen.contains_key(&path) {
                self.gone(&path, changes);
            }
        }
        Ok(())
    }
}

/// A path and everything seen below it.
fn below<'a>(seen: &'a BTreeMap<PathBuf, Print>, path: &Path) -> impl Iterator<Item = &'a PathBuf> {
    let path = path.to_owned();
    let from = seen.range::<Path, _>((Bound::Included(path.as_path()), Bound::Unbounded));
    from.map(|(found, _)| found).take_while(move |found| found.starts_with(&path))
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
