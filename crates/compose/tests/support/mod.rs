//! A project in memory, and the checks every test speaks through.
#![allow(dead_code, reason = "each test file uses its own part")]

use compose::{Files, Input, Loaded, load};
use model::{Service, Severity, Stack};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Files in memory below `/p/app`, the working directory of every test.
#[derive(Default, Clone)]
pub struct Project {
    files: BTreeMap<PathBuf, Vec<u8>>,
    pub input: Input,
}

pub const DIRECTORY: &str = "/p/app";

impl Project {
    /// A project whose `compose.yaml` is `yaml`.
    pub fn new(yaml: &str) -> Self {
        Self::empty().file("compose.yaml", yaml)
    }

    pub fn empty() -> Self {
        let environment = BTreeMap::from([("HOME".to_owned(), "/home/me".to_owned())]);
        let input = Input { directory: PathBuf::from(DIRECTORY), environment, ..Input::default() };
        Self { files: BTreeMap::new(), input }
    }

    pub fn file(self, path: &str, text: &str) -> Self {
        self.bytes(path, text.as_bytes())
    }

    pub fn bytes(mut self, path: &str, bytes: &[u8]) -> Self {
        self.files.insert(Path::new(DIRECTORY).join(path), bytes.to_owned());
        self
    }

    /// `-f`, in order.
    pub fn named(mut self, files: &[&str]) -> Self {
        self.input.files = files.iter().map(|file| Path::new(DIRECTORY).join(file)).collect();
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.input.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn profiles(mut self, profiles: &[&str]) -> Self {
        self.input.profiles = profiles.iter().map(|profile| (*profile).to_owned()).collect();
        self
    }

    pub fn load(&self) -> Loaded {
        load(&self.input, self)
    }

    /// The stack; any diagnostic fails the test.
    pub fn clean(&self) -> Stack {
        let loaded = self.load();
        assert_eq!(said(&loaded), "", "no diagnostics were expected");
        loaded.stack.expect("no errors, so there is a stack")
    }

    /// The stack and what was said; errors fail the test.
    pub fn warned(&self) -> (Stack, String) {
        let loaded = self.load();
        let said = said(&loaded);
        (loaded.stack.unwrap_or_else(|| panic!("errors:\n{said}")), said)
    }

    /// What was said, of a project that must not load.
    pub fn refused(&self) -> String {
        let loaded = self.load();
        assert!(loaded.stack.is_none(), "an error was expected, said:\n{}", said(&loaded));
        said(&loaded)
    }
}

impl Files for Project {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
    fn is_dir(&self, path: &Path) -> bool {
        self.files.keys().any(|file| file.starts_with(path) && file != path)
    }
    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(path) || self.is_dir(path)
    }
}

/// All diagnostics as lines: `file:line:column: error: text; hint: text`.
pub fn said(loaded: &Loaded) -> String {
    let line = |diagnostic: &model::Diagnostic| {
        let place = diagnostic.span.as_ref().map_or("-".to_owned(), ToString::to_string);
        let kind = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let hint = diagnostic.hint.as_ref().map_or(String::new(), |hint| format!("; hint: {hint}"));
        format!("{place}: {kind}: {}{hint}", diagnostic.message)
    };
    loaded.diagnostics.iter().chain(&loaded.refusals).map(line).collect::<Vec<_>>().join("\n")
}

/// The only service `a` of a file that has `image: x` and these further keys.
pub fn service(keys: &str) -> Service {
    with_keys(keys).clean().services.remove("a").expect("the service a")
}

/// A project with one service `a`, `image: x` and these keys, each on its own line.
pub fn with_keys(keys: &str) -> Project {
    let body: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    Project::new(&format!("services:\n  a:\n    image: x\n{body}"))
}

/// Compares the debug form of a part of the service with these keys.
#[track_caller]
pub fn check<T: std::fmt::Debug>(keys: &str, part: impl Fn(&Service) -> T, expect: &str) {
    assert_eq!(format!("{:?}", part(&service(keys))), expect, "\n{keys}");
}
