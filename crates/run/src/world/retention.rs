//! Which releases are kept to go back to, and what else may go with those that are not.

use super::{World, tell};
use model::{Bytes, Digest, Release, ReleaseId, StackName};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::record::v1::Event;
use store::{BY_ITSELF, StackView};

/// Releases kept of a stack unless `x-juchu.releases.keep` says otherwise.
const KEEP: usize = 10;
/// Free space on the disk of the images below which fewer are kept, unless
/// `x-juchu.releases.disk_floor` says otherwise.
const DISK_FLOOR: Bytes = Bytes::mib(1024);
/// Contents that were used for a new release this lately are left alone.
const YOUNG: Duration = Duration::from_secs(600);
/// Releases kept even then, beside those that are needed.
const KEEP_AT_LEAST: usize = 1;

impl World {
    /// Lets go of releases beyond what is declared, then of the images and contents that only they
    /// needed.
    pub async fn collect(&mut self, name: &StackName) {
        let (keep, reason) = self.how_many(name);
        let Some(state) = self.stacks.get(name) else { return };
        let surplus = surplus(&state.view, keep);
        if !surplus.is_empty() {
            let event = Event::ReleasesCollected { releases: surplus, reason };
            if let Err(report) = self.record(name, BY_ITSELF, vec![(event, Vec::new())]).await {
                return tell(&report.to_string());
            }
        }
        self.collect_content();
    }

    fn how_many(&self, name: &StackName) -> (usize, String) {
        let policy = self.stacks.get(name).and_then(|s| s.active.as_ref()).map(|r| &r.stack.policy);
        let declared = policy.and_then(|p| p.get("releases"));
        let keep = declared.and_then(|r| r.get("keep")?.as_u64()).map_or(KEEP, |n| n.max(1) as usize);
        let floor =
            declared.and_then(|r| Bytes::parse(r.get("disk_floor")?.as_str()?).ok()).unwrap_or(DISK_FLOOR);
        match self.parts.machine.disk_free(&self.parts.home) {
            Some(free) if free < floor => {
                (KEEP_AT_LEAST.min(keep), format!("{free} are free on the disk, less than {floor}"))
            }
            _ => (keep, format!("{keep} releases are kept")),
        }
    }

    /// Images and contents that no remembered release needs; beside the loop, because removing
    /// takes long.
    fn collect_content(&self) {
        let mut images: Vec<model::image::BuiltImage> = Vec::new();
        let mut files: BTreeSet<Digest> = BTreeSet::new();
        for state in self.stacks.values() {
            if state.making.is_some() {
                // What is being made is not yet remembered anywhere.
                return;
            }
            images.extend(state.view.images.values().map(|(_, image)| image.clone()));
            for digest in state.view.releases.values() {
                // A release that cannot be read keeps everything where it is.
                let Ok(release) = self.blob::<Release>(digest) else { return };
                files.extend(release.files.into_values());
                images.extend(release.images.into_values());
            }
        }
        images.sort_by(|a, b| a.manifest.cmp(&b.manifest));
        images.dedup_by(|a, b| a.manifest == b.manifest);
        let store = Arc::clone(&self.parts.images);
        tokio::spawn(async move { store.keep_only(images).await });
        let in_use = self.observed.iter().flat_map(|o| &o.spec.files).map(|f| f.source.clone());
        let in_use: BTreeSet<_> = in_use.collect();
        let directory = self.parts.settings.files.clone();
        tokio::task::spawn_blocking(move || {
            let needed = |path: &Path| {
                let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                in_use.contains(path) || files.iter().any(|digest| digest.hex() == name)
            };
            if let Err(error) = remove_all_but(&directory, needed) {
                tell(&format!("{}: {error}", directory.display()));
            }
        });
    }
}

/// The releases beyond the number to be kept, by when they were in force last.
fn surplus(view: &StackView, keep: usize) -> Vec<ReleaseId> {
    let mut others: Vec<ReleaseId> =
        view.releases.keys().copied().filter(|id| !view.is_needed(*id)).collect();
    let last = |id: &ReleaseId| {
        let result = view.results.get(id);
        (view.is_good(*id), result.and_then(|r| r.in_force), *id)
    };
    others.sort_by_key(|id| std::cmp::Reverse(last(id)));
    let needed = view.releases.len() - others.len();
    others.split_off(keep.saturating_sub(needed).min(others.len()))
}

fn remove_all_but(directory: &Path, needed: impl Fn(&Path) -> bool) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let is_content = path.extension().is_none();
        if is_content && !needed(&path) && !is_young(&path)? {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// A release that needs it may be in the making.
fn is_young(path: &Path) -> std::io::Result<bool> {
    let modified = std::fs::metadata(path)?.modified()?;
    // A time in the future is one of a clock that was put back.
    Ok(modified.elapsed().is_ok_and(|age| age < YOUNG))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;
    use store::record::v1::{Intent, Outcome};

    fn view(releases: u64, kept: u64) -> StackView {
        let mut view = StackView::new(StackName::new("shop").expect("valid"));
        for id in 1..=releases {
            view.releases.insert(ReleaseId(id), Digest::of(b"bundle"));
            let result = store::ReleaseResult {
                made: Timestamp(0),
                change: id,
                intent: Intent::Up,
                actor: "ada".into(),
                why: String::new(),
                outcome: Some(if id == 3 { Outcome::RolledBack } else { Outcome::Kept }),
                reason: String::new(),
                changed: BTreeSet::new(),
                made_of: None,
                is_undecided: false,
                in_force: Some(id),
                collected: false,
            };
            view.results.insert(ReleaseId(id), result);
        }
        view.active = Some(ReleaseId(kept));
        view.kept = view.active;
        view
    }

    #[test]
    fn bad_ones_go_first_then_the_oldest_and_never_the_one_in_force() {
        let ids = |keep| surplus(&view(6, 1), keep).into_iter().map(|r| r.0).collect::<Vec<_>>();
        assert_eq!(ids(10), Vec::<u64>::new());
        assert_eq!(ids(5), [3]);
        assert_eq!(ids(3), [4, 2, 3]);
        assert_eq!(ids(1), [6, 5, 4, 2, 3]);
    }

    #[test]
    fn contents_that_are_needed_stay() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["needed", "old", "new.part"] {
            std::fs::write(directory.path().join(name), name).expect("written");
        }
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        for name in ["needed", "old", "new.part"] {
            let file = std::fs::File::open(directory.path().join(name)).expect("it is there");
            file.set_modified(hour_ago).expect("its time is set");
        }
        std::fs::write(directory.path().join("young"), "young").expect("written");
        remove_all_but(directory.path(), |path| path.ends_with("needed")).expect("removed");
        let left = |name: &str| directory.path().join(name).exists();
        assert!(left("needed") && left("new.part") && left("young") && !left("old"));
        remove_all_but(&directory.path().join("none"), |_| false).expect("nothing to remove");
    }
}
