//! What of the repositories may go: manifests that no tag, index or subject holds, and blobs that no
//! manifest names, each after a while in which a client may still come back to it.

use super::{ContentDigest, Record, Repositories, Repository, RepositoryError, entries, failed};
use crate::error::BuildError;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A manifest stays this long after its last tag left it: others may run it by its digest.
pub const UNTAGGED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// A blob may wait this long for the manifest that names it.
pub const UNNAMED_FOR: Duration = Duration::from_secs(24 * 3600);

/// What is to be done, decided before anything is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Every blob and manifest that some repository keeps.
    pub used: BTreeSet<ContentDigest>,
    pub manifests: u64,
    remove: Vec<PathBuf>,
}

impl Repositories {
    /// Looks at everything. One record that cannot be read is an error: what it needs is not known.
    pub fn judge(&self, now: SystemTime) -> Result<Verdict, RepositoryError> {
        let mut verdict = Verdict::default();
        for name in self.names()? {
            self.get(&name).judge(now, &mut verdict)?;
        }
        Ok(verdict)
    }

    /// Carries a verdict out. The caller keeps everybody away from the store in between.
    pub fn carry_out(&self, verdict: &Verdict) -> Result<(), RepositoryError> {
        for path in &verdict.remove {
            fs::remove_file(path).map_err(failed("remove", path))?;
        }
        for name in self.names()? {
            let root = self.get(&name).root;
            for directory in entries(&root.join("referrers"))? {
                // Only an empty one goes.
                let _ = fs::remove_dir(root.join("referrers").join(directory));
            }
            if ["tags", "manifests", "blobs"].iter().all(|d| is_empty(&root.join(d))) {
                fs::remove_dir_all(&root).map_err(failed("remove", &root))?;
            }
        }
        Ok(())
    }
}

impl Repository {
    fn judge(&self, now: SystemTime, verdict: &mut Verdict) -> Result<(), RepositoryError> {
        let records = self.records()?;
        let kept = self.kept(&records, now)?;
        let mut named = BTreeSet::new();
        for (digest, record) in &records {
            match kept.contains(digest) {
                true => {
                    verdict.manifests += 1;
                    named.extend(record.blobs.iter());
                    verdict.used.insert(digest.clone());
                }
                false => {
                    let link =
                        record.subject.as_ref().map(|s| self.referrers_path(s).join(digest.file_name()));
                    verdict.remove.push(self.record_path(digest));
                    verdict.remove.extend(link.filter(|link| link.exists()));
                }
            }
        }
        for name in entries(&self.root.join("blobs"))? {
            let Some(digest) = ContentDigest::of_file(&name) else { continue };
            let link = self.link_path(&digest);
            match named.contains(&digest) || is_young(&link, now, UNNAMED_FOR) {
                true => drop(verdict.used.insert(digest)),
                false => verdict.remove.push(link),
            }
        }
        self.judge_leftovers(&records, verdict)
    }

    fn records(&self) -> Result<BTreeMap<ContentDigest, Record>, RepositoryError> {
        let mut records = BTreeMap::new();
        for digest in self.manifests()? {
            records.extend(self.manifest(&digest)?.map(|record| (digest, record)));
        }
        Ok(records)
    }

    /// Tagged or young, listed by one that is kept, or about one that is kept.
    fn kept(
        &self,
        records: &BTreeMap<ContentDigest, Record>,
        now: SystemTime,
    ) -> Result<BTreeSet<ContentDigest>, RepositoryError> {
        let mut kept = BTreeSet::new();
        for tag in self.tags()? {
            kept.extend(self.resolve(&tag)?);
        }
        kept.extend(records.keys().filter(|d| is_young(&self.record_path(d), now, UNTAGGED_FOR)).cloned());
        // Each round adds one at least, so there are at most as many as there are manifests.
        loop {
            let before = kept.len();
            for (digest, record) in records {
                if record.subject.as_ref().is_some_and(|subject| kept.contains(subject)) {
                    kept.insert(digest.clone());
                }
                if kept.contains(digest) {
                    kept.extend(record.manifests.iter().cloned());
                }
            }
            if kept.len() == before {
                return Ok(kept);
            }
        }
    }

    /// What a crash has left: files that were being written, referrers without their manifest.
    fn judge_leftovers(
        &self,
        records: &BTreeMap<ContentDigest, Record>,
        verdict: &mut Verdict,
    ) -> Result<(), RepositoryError> {
        for directory in ["tags", "manifests"] {
            verdict.remove.extend(unfinished(&self.root.join(directory))?);
        }
        for subject in entries(&self.root.join("referrers"))? {
            let directory = self.root.join("referrers").join(subject);
            for name in entries(&directory)? {
                let known = ContentDigest::of_file(&name).is_some_and(|digest| records.contains_key(&digest));
                if !known {
                    verdict.remove.push(directory.join(name));
                }
            }
        }
        Ok(())
    }
}

fn unfinished(directory: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut found = Vec::new();
    if !directory.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
        let entry = entry.map_err(failed("read", directory))?;
        if entry.file_name().to_string_lossy().starts_with(".tmp-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

fn is_young(path: &Path, now: SystemTime, grace: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|m| m.modified());
    modified.is_ok_and(|at| now.duration_since(at).unwrap_or_default() < grace)
}
