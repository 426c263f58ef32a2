//! What was learned, as a file. Version 1.

use super::Name;
use model::{ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};
use signals::release::{Learner, Past};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FORM: u32 = 1;
const FILE: &str = "noise.json";

pub struct Keep {
    path: PathBuf,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// When it was last seen running.
    pub at: Timestamp,
    pub learner: Learner,
    #[serde(default)]
    pub past: Past,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    form: u32,
    /// By `stack/service`.
    services: BTreeMap<String, Kept>,
}

impl Keep {
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE) }
    }

    /// What is there. A file that cannot be understood is set aside, and said so.
    pub fn read(&self) -> BTreeMap<Name, Kept> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => {
                eprintln!("read {}: {error}; begun anew", self.path.display());
                return BTreeMap::new();
            }
        };
        match serde_json::from_slice::<Content>(&text) {
            Ok(content) if content.form == FORM => {
                content.services.into_iter().filter_map(|(name, kept)| Some((parse(&name)?, kept))).collect()
            }
            _ => {
                let aside = self.path.with_extension("damaged");
                eprintln!("{} cannot be understood and is now {}", self.path.display(), aside.display());
                // What stays in the way is written over.
                let _ = fs::rename(&self.path, aside);
                BTreeMap::new()
            }
        }
    }

    /// Wholly or not at all.
    pub fn write(&self, services: BTreeMap<Name, Kept>) -> io::Result<()> {
        let named = services.into_iter().map(|((stack, service), kept)| (format!("{stack}/{service}"), kept));
        let text = serde_json::to_vec(&Content { form: FORM, services: named.collect() })?;
        let beside = self.path.with_extension("new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        self.path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
    }
}

fn parse(name: &str) -> Option<Name> {
    let (stack, service) = name.split_once('/')?;
    Some((StackName::new(stack).ok()?, ServiceName::new(service).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("golden/noise-v1.json");

    #[test]
    fn form_1_is_read_and_written_as_it_always_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let keep = Keep::new(directory.path());
        assert!(keep.read().is_empty(), "nothing is there yet");
        fs::write(directory.path().join(FILE), GOLDEN).expect("written");
        let read = keep.read();
        let kept = read.values().next().expect("one service");
        assert!(kept.learner.is_enough() && kept.learner.is_sound(), "{kept:?}");
        keep.write(read).expect("written");
        let again = fs::read_to_string(directory.path().join(FILE)).expect("written");
        assert_eq!(again, GOLDEN.trim_end());
    }

    #[test]
    fn damage_is_set_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        let keep = Keep::new(directory.path());
        for damage in ["{", r#"{"form":2,"services":{}}"#, r#"{"form":1,"services":{"web":7}}"#] {
            fs::write(directory.path().join(FILE), damage).expect("written");
            assert!(keep.read().is_empty());
            assert!(directory.path().join("noise.damaged").exists());
        }
        fs::write(directory.path().join(FILE), r#"{"form":1,"services":{"web":{"at":1,"learner":{}}}}"#)
            .expect("written");
        assert!(keep.read().is_empty(), "a service without a stack is none");
    }
}
