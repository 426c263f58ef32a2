//! What must outlive the daemon: incidents with what was declared, written at each change, and what
//! was learned, written each half hour and grown by what came each minute. Version 1.

use super::ask::Overrides;
use super::grown::{Line, Log};
use run::ranges::SignalName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use signals::burn::Burn;
use signals::incident::Book;
use signals::range::Ranged;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FORM: u32 = 1;
const BOOK: &str = "incidents.json";
const SIGNALS: &str = "learned.json";
const GROWN: &str = "grown.jsonl";

#[derive(Debug)]
pub struct Keep {
    directory: PathBuf,
    log: Mutex<Log>,
}

/// What a file is; there is no other form yet.
trait Formed {
    fn form(&self) -> u32;
}

#[derive(Default, Serialize, Deserialize)]
struct Declared {
    form: u32,
    book: Book,
    #[serde(default)]
    overrides: Overrides,
}

#[derive(Default, Serialize, Deserialize)]
struct Learned {
    form: u32,
    /// Tells which log goes on from here.
    #[serde(default)]
    generation: u64,
    signals: BTreeMap<String, Ranged>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    burns: BTreeMap<String, Burn>,
}

/// All that is read at the start.
#[derive(Default)]
pub struct Known {
    pub signals: BTreeMap<SignalName, Ranged>,
    pub burns: BTreeMap<String, Burn>,
    pub book: Book,
    pub overrides: Overrides,
}

impl Formed for Declared {
    fn form(&self) -> u32 {
        self.form
    }
}

impl Formed for Learned {
    fn form(&self) -> u32 {
        self.form
    }
}

impl Keep {
    pub fn new(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let log = Mutex::new(Log::new(directory.join(GROWN)));
        Ok(Self { directory, log })
    }

    /// What is there. A file that cannot be understood is set aside, and said so.
    pub fn read(&self) -> Known {
        let declared: Declared = self.load(BOOK);
        let learned: Learned = self.load(SIGNALS);
        let (mut signals, mut burns) = (learned.signals, learned.burns);
        self.log().read(learned.generation, |line| match line {
            Line::Signal { name, grown } => signals.entry(name).or_default().grow(grown),
            Line::Burn { name, at_ms, all, bad } => burns.entry(name).or_default().add(at_ms, all, bad),
        });
        let named =
            signals.into_iter().filter_map(|(name, ranged)| Some((SignalName::parse(&name)?, ranged)));
        let signals = named.collect();
        Known { signals, burns, book: declared.book, overrides: declared.overrides }
    }

    pub fn write_book(&self, book: &Book, overrides: &Overrides) -> io::Result<()> {
        let declared = Declared { form: FORM, book: book.clone(), overrides: overrides.clone() };
        self.store(BOOK, &declared)
    }

    pub fn write_learned(
        &self,
        signals: BTreeMap<String, Ranged>,
        burns: BTreeMap<String, Burn>,
    ) -> io::Result<()> {
        let mut log = self.log();
        let generation = log.next_generation();
        self.store(SIGNALS, &Learned { form: FORM, generation, signals, burns })?;
        log.begin(generation)
    }

    /// Adds what came since. Fails until all was written once.
    pub fn grow(&self, lines: &[Line]) -> io::Result<()> {
        self.log().append(lines)
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load<T: DeserializeOwned + Default + Formed>(&self, name: &str) -> T {
        let path = self.directory.join(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
            Err(error) => {
                eprintln!("read {}: {error}; begun anew", path.display());
                return T::default();
            }
        };
        match serde_json::from_slice::<T>(&text) {
            Ok(read) if read.form() == FORM => read,
            _ => {
                let aside = path.with_extension("damaged");
                eprintln!("{} cannot be understood and is now {}", path.display(), aside.display());
                // What stays in the way is written over.
                let _ = fs::rename(&path, aside);
                T::default()
            }
        }
    }

    fn store(&self, name: &str, content: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(content)?;
        replace(&self.directory.join(name), &text)
    }
}

/// Wholly or not at all.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use signals::range::Rule;
    use testkit::TempDir;

    #[test]
    fn what_is_kept_is_read_back_and_damage_is_set_aside() {
        let directory = TempDir::new();
        let keep = Keep::new(directory.path().join("vigil")).expect("a directory");
        assert!(keep.read().signals.is_empty(), "nothing is there yet");
        let mut ranged = Ranged::default();
        ranged.evaluate(&Rule::default(), 1_790_000_000_000, Some(5.0), true);
        keep.write_learned(BTreeMap::from([("machine/cpu".to_owned(), ranged.clone())]), BTreeMap::new())
            .expect("written");
        keep.write_book(&Book::default(), &Overrides::from([("machine/cpu".into(), Default::default())]))
            .expect("written");
        let Known { signals, overrides, .. } = keep.read();
        let read = signals.values().next().expect("one signal");
        assert_eq!(serde_json::to_string(read).ok(), serde_json::to_string(&ranged).ok());
        assert_eq!(overrides.len(), 1);
        for damage in ["{", r#"{"form":2,"signals":{}}"#] {
            std::fs::write(directory.path().join("vigil/learned.json"), damage).expect("written");
            assert!(keep.read().signals.is_empty());
            assert!(directory.path().join("vigil/learned.damaged").exists());
        }
    }

    #[test]
    fn what_grew_is_read_back_after_the_rest_and_a_torn_end_is_left_out() {
        let directory = TempDir::new();
        let keep = Keep::new(directory.path().to_owned()).expect("a directory");
        let (rule, start) = (Rule::default(), 1_790_000_000_000);
        let mut ranged = Ranged::default();
        let name = || "machine/cpu".to_owned();
        let line = |ranged: &mut Ranged| Line::Signal { name: name(), grown: ranged.grown(true) };
        assert!(keep.grow(&[line(&mut ranged.clone())]).is_err(), "nothing is there to grow");
        ranged.evaluate(&rule, start, Some(5.0), true);
        ranged.grown(true);
        keep.write_learned(BTreeMap::from([(name(), ranged.clone())]), BTreeMap::new()).expect("written");
        for at in 1..20 {
            ranged.evaluate(&rule, start + at * 10_000, Some(at as f64), true);
            if at % 6 == 0 {
                keep.grow(&[line(&mut ranged)]).expect("written");
            }
        }
        let mut written = ranged.clone();
        // The daemon dies here; what came in the last minute was not written.
        let log = directory.path().join(GROWN);
        let mut text = std::fs::read_to_string(&log).expect("written");
        keep.grow(&[line(&mut written)]).expect("written");
        let whole = std::fs::read_to_string(&log).expect("written");
        let read = || {
            let again = Keep::new(directory.path().to_owned()).expect("a directory");
            let signals = again.read().signals;
            serde_json::to_value(signals.values().next().expect("one signal")).expect("JSON")
        };
        let known = serde_json::to_value(&ranged).expect("JSON");
        assert_eq!(read(), known);
        text.push_str(&whole[text.len()..whole.len() - 9]);
        std::fs::write(&log, &text).expect("written");
        assert_eq!(read()["all"].as_array().map(Vec::len), Some(19), "up to the last whole minute");
        std::fs::write(&log, whole.replace("\"generation\":1", "\"generation\":7")).expect("written");
        assert_eq!(read()["all"].as_array().map(Vec::len), Some(1), "that log is of another file");
    }

    /// Form 1 as it was first written; it is read for ever.
    #[test]
    fn form_1_is_read_as_it_always_was() {
        let directory = TempDir::new();
        let keep = Keep::new(directory.path().to_owned()).expect("a directory");
        std::fs::write(directory.path().join(BOOK), include_str!("golden/incidents-v1.json"))
            .expect("written");
        std::fs::write(directory.path().join(SIGNALS), include_str!("golden/learned-v1.json"))
            .expect("written");
        let Known { signals, book, overrides, .. } = keep.read();
        assert_eq!((signals.len(), book.all().count(), overrides.len()), (1, 1, 1));
        keep.write_book(&book, &overrides).expect("written");
        let again = std::fs::read_to_string(directory.path().join(BOOK)).expect("written");
        assert_eq!(again, include_str!("golden/incidents-v1.json").trim_end());
    }
}
