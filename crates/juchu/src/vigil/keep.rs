//! What must outlive the daemon, in two files: incidents with what was declared, written at each
//! change, and what was learned, written each half hour. Version 1.

use super::ask::Overrides;
use run::ranges::SignalName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use signals::incident::Book;
use signals::range::Ranged;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FORM: u32 = 1;
const BOOK: &str = "incidents.json";
const SIGNALS: &str = "learned.json";

#[derive(Debug, Clone)]
pub struct Keep {
    directory: PathBuf,
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
    signals: BTreeMap<String, Ranged>,
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
        Ok(Self { directory })
    }

    /// What is there. A file that cannot be understood is set aside, and said so.
    pub fn read(&self) -> (BTreeMap<SignalName, Ranged>, Book, Overrides) {
        let declared: Declared = self.load(BOOK);
        let learned: Learned = self.load(SIGNALS);
        let named = learned
            .signals
            .into_iter()
            .filter_map(|(name, ranged)| Some((SignalName::parse(&name)?, ranged)));
        (named.collect(), declared.book, declared.overrides)
    }

    pub fn write_book(&self, book: &Book, overrides: &Overrides) -> io::Result<()> {
        let declared = Declared { form: FORM, book: book.clone(), overrides: overrides.clone() };
        self.store(BOOK, &declared)
    }

    pub fn write_signals(&self, signals: BTreeMap<String, Ranged>) -> io::Result<()> {
        self.store(SIGNALS, &Learned { form: FORM, signals })
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
        assert!(keep.read().0.is_empty(), "nothing is there yet");
        let mut ranged = Ranged::default();
        ranged.evaluate(&Rule::default(), 1_790_000_000_000, Some(5.0), true);
        keep.write_signals(BTreeMap::from([("machine/cpu".to_owned(), ranged.clone())])).expect("written");
        keep.write_book(&Book::default(), &Overrides::from([("machine/cpu".into(), Default::default())]))
            .expect("written");
        let (signals, _, overrides) = keep.read();
        let read = signals.values().next().expect("one signal");
        assert_eq!(serde_json::to_string(read).ok(), serde_json::to_string(&ranged).ok());
        assert_eq!(overrides.len(), 1);
        for damage in ["{", r#"{"form":2,"signals":{}}"#] {
            std::fs::write(directory.path().join("vigil/learned.json"), damage).expect("written");
            assert!(keep.read().0.is_empty());
            assert!(directory.path().join("vigil/learned.damaged").exists());
        }
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
        let (signals, book, overrides) = keep.read();
        assert_eq!((signals.len(), book.all().count(), overrides.len()), (1, 1, 1));
        keep.write_book(&book, &overrides).expect("written");
        let again = std::fs::read_to_string(directory.path().join(BOOK)).expect("written");
        assert_eq!(again, include_str!("golden/incidents-v1.json").trim_end());
    }
}
