//! Any bytes as a small project: `compose.yaml` and, after lines `-- NAME --`, further files. What
//! is accepted is printed, and what was printed is read again. Seeds are the cases of the corpus:
//!
//!     cargo +nightly fuzz run load fuzz/corpus/load tests/corpus/*/ -- -rss_limit_mb=200 -timeout=10

#![no_main]

use compose::{Files, Input, Loaded, load};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/srv/project";

struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn is_dir(&self, path: &Path) -> bool {
        self.0.keys().any(|file| file.starts_with(path) && file != path)
    }
    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path) || self.is_dir(path)
    }
}

/// The files of a case: a line `-- NAME --` begins one.
fn unpack(bytes: &[u8]) -> Memory {
    let mut files = BTreeMap::new();
    let mut name = "compose.yaml".to_owned();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).unwrap_or_default().trim_end();
        match text.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            // The golden results of seeds are no input.
            Some("expected.json" | "refused") => break,
            Some(next) => name = next.to_owned(),
            None => {
                let path = Path::new(DIRECTORY).join(&name);
                files.entry(path).or_insert_with(Vec::new).extend_from_slice(line);
            }
        }
    }
    Memory(files)
}

fn project(files: &Memory) -> Loaded {
    let environment = BTreeMap::from([("HOME".to_owned(), "/home/me".to_owned())]);
    let input = Input {
        directory: PathBuf::from(DIRECTORY),
        profiles: vec!["*".to_owned()],
        environment,
        ..Input::default()
    };
    load(&input, files)
}

fuzz_target!(|bytes: &[u8]| {
    let loaded = project(&unpack(bytes));
    match loaded.resolved {
        Some(resolved) => {
            let printed = resolved.json_text();
            serde_json::from_str::<serde_json::Value>(&printed).expect("what is printed is JSON");
        }
        None => assert!(loaded.diagnostics.iter().any(|d| d.is_error()), "refused without a reason"),
    }
});
