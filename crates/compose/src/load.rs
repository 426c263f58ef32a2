//! The way from files to a [`Stack`]: the stages in their order, and the public entry point.

use crate::diagnostics::Sink;
use crate::project::Project;
use crate::render::Resolved;
use crate::unit::{Loader, Merged, Unit};
use crate::{canonical, host_files, profiles, project, resolve, runnable, schema, typed, validate};
use model::{Diagnostic, Stack, StackName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file tree the loader reads from.
pub trait Files {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;
    fn is_dir(&self, path: &Path) -> bool;
    fn exists(&self, path: &Path) -> bool;
    /// The path with its first symbolic link, if it has one, replaced by what it leads to.
    fn follow(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
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
    /// What the files say; `None` when there are errors in them.
    pub resolved: Option<Resolved>,
    /// What is run; `None` when there are errors or refusals.
    pub stack: Option<Stack>,
    pub diagnostics: Vec<Diagnostic>,
    /// What is valid Compose and cannot be run by this program, with the reason.
    pub refusals: Vec<Diagnostic>,
    /// Errors about paths of this host that the stack names and that are not there. They do not keep
    /// the stack from being loaded, but whoever starts it should refuse.
    pub missing: Vec<Diagnostic>,
}

/// Loads a stack. Every problem is reported, not only the first.
pub fn load(input: &Input, files: &dyn Files) -> Loaded {
    let mut loader = Loader::new(files, Sink::new(&input.directory));
    let Some(Read { merged, project, name, inactive }) = read(input, &mut loader) else {
        let diagnostics = loader.sink.finish();
        return Loaded {
            resolved: None,
            stack: None,
            diagnostics,
            refusals: Vec::new(),
            missing: Vec::new(),
        };
    };
    // From here on an error is about what this program can run.
    let running = loader.sink.sibling();
    let reading = std::mem::replace(&mut loader.sink, running);
    let readable = reading.errors() == 0;
    let project_name = name.to_string();
    schema::report_support(&merged.tree, &mut loader.sink);
    runnable::check(&merged.tree, inactive, &mut loader.sink);
    let missing = host_files::missing(&merged.tree, &project.directory, &loader);
    let stack = typed::stack(&merged, name, project.directory, project.files, &mut loader);
    let stack = stack.filter(|_| readable && loader.sink.errors() == 0);
    let resolved = readable.then(|| Resolved::new(merged.tree, &project_name));
    let (mut refusals, warnings): (Vec<_>, Vec<_>) =
        loader.sink.finish().into_iter().partition(Diagnostic::is_error);
    let reading = reading.finish();
    // What could not be read there cannot be run either, which need not be said.
    refusals.retain(|refusal| !reading.iter().any(|error| error.is_error() && error.span == refusal.span));
    let diagnostics = [reading, warnings].concat();
    Loaded { resolved, stack, diagnostics, refusals, missing }
}

/// The merged and validated tree with what surrounds it.
struct Read {
    merged: Merged,
    project: Project,
    name: StackName,
    /// Services left out because of their profiles.
    inactive: usize,
}

fn read(input: &Input, loader: &mut Loader<'_>) -> Option<Read> {
    let mut project = project::find(input, loader)?;
    let name = project::name(input, &project, loader);
    if let Some(name) = &name {
        project.environment.insert("COMPOSE_PROJECT_NAME".to_owned(), name.to_string());
    }
    let active_profiles = project::profiles(input, &project.environment);
    let environment = loader.add_environment(std::mem::take(&mut project.environment));
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
    if merged.tree.as_map().is_none_or(|map| map.is_empty()) {
        let hint = "start it with `services:`";
        loader.sink.error_hint(merged.tree.pos, "the Compose file says nothing", hint);
    }
    canonical::settle(&mut merged.tree, &mut loader.sink);
    schema::settle(&mut merged.tree, &schema::ROOT, &mut loader.sink);
    let inactive = profiles::select(&mut merged.tree, &active_profiles);
    resolve::resolve(&mut merged, loader);
    validate::validate(&mut merged.tree, &inactive, loader);
    Some(Read { merged, project, name: name?, inactive: inactive.len() })
}
