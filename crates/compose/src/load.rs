//! The way from files to a [`Stack`]: the stages in their order, and the public entry point.

use crate::diagnostics::Sink;
use crate::unit::{Loader, Unit};
use crate::{host_files, merge, profiles, project, resolve, schema, typed, validate};
use model::{Diagnostic, Stack};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file tree the loader reads from.
pub trait Files {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;
    fn is_dir(&self, path: &Path) -> bool;
    fn exists(&self, path: &Path) -> bool;
}

/// What to load, and everything around it that has a say.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// `-f`, absolute. Empty: `COMPOSE_FILE`, else `compose.yaml` and its like in `directory` or the
    /// nearest parent that has one, with its override file.
    pub files: Vec<PathBuf>,
    /// The working directory, absolute.
    pub directory: PathBuf,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `--project-name`.
    pub project_name: Option<String>,
    /// `--profile`; `*` is all of them. Empty: `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// `--env-file`. Empty: `COMPOSE_ENV_FILES`, else `.env` of the project directory.
    pub env_files: Vec<PathBuf>,
    /// The environment of the person or program that asks.
    pub environment: BTreeMap<String, String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// `None` when there are errors.
    pub stack: Option<Stack>,
    pub diagnostics: Vec<Diagnostic>,
    /// Errors about paths of this host that the stack names and that are not there. They do not keep
    /// the stack from being loaded, but whoever starts it should refuse.
    pub missing: Vec<Diagnostic>,
}

/// Loads a stack. Every problem is reported, not only the first.
pub fn load(input: &Input, files: &dyn Files) -> Loaded {
    let mut loader = Loader::new(files, Sink::new(&input.directory));
    let mut missing = Vec::new();
    let stack = load_with(input, &mut loader, &mut missing);
    let stack = stack.filter(|_| loader.sink.errors() == 0);
    Loaded { stack, diagnostics: loader.sink.finish(), missing }
}

fn load_with(input: &Input, loader: &mut Loader<'_>, missing: &mut Vec<Diagnostic>) -> Option<Stack> {
    let mut project = project::find(input, loader)?;
    let name = project::name(input, &project, loader);
    if let Some(name) = &name {
        project.environment.insert("COMPOSE_PROJECT_NAME".to_owned(), name.to_string());
    }
    let active_profiles = project::profiles(input, &project.environment);
    let environment = loader.add_environment(project.environment);
    let unit = Unit {
        files: project.files.iter().map(|path| (path.clone(), None)).collect(),
        directory: project.directory.clone(),
        environment,
        chain: Vec::new(),
    };
    let mut merged = loader.unit(&unit);
    // Without a file that could not be read, what is undefined may well be defined.
    if loader.broken {
        return None;
    }
    merge::finish(&mut merged.tree);
    let inactive = profiles::select(&mut merged.tree, &active_profiles);
    resolve::resolve(&mut merged, loader);
    validate::validate(&mut merged.tree, &inactive, loader);
    schema::warn_unsupported(&merged.tree, &mut loader.sink);
    *missing = host_files::missing(&merged.tree, &project.directory, loader);
    let name = name?;
    typed::stack(&merged, name, project.directory, project.files, loader)
}
