//! The way from files to a [`Stack`]: the stages in their order, and the public entry point.

use crate::diagnostics::{Pos, Sink};
use crate::project::Project;
use crate::render::{About, Resolved};
use crate::trace::Trace;
use crate::unit::{Loader, Merged, Unit};
use crate::{canonical, host_files, profiles, project, resolve, runnable, schema, typed, validate};
use model::{Diagnostic, Stack, StackName};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Only these services and what they depend on, their profiles switched on; empty: all.
    pub services: Vec<String>,
    pub skip: Skip,
    /// Remember where everything came from, for `Resolved::explain`.
    pub trace: bool,
}

/// Stages that are left out. Where one is, nothing can be run of what comes of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skip {
    /// Variables stay as they are written, and with them every short form that could hold one;
    /// services of every profile are there.
    pub interpolation: bool,
    /// Names and defaults are not filled in.
    pub normalization: bool,
    /// Relative paths stay relative.
    pub paths: bool,
    /// Whether everything fits together is not looked at.
    pub consistency: bool,
    /// Environment files are not read.
    pub env_files: bool,
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
    loader.skip = input.skip;
    loader.trace = input.trace.then(Trace::default);
    let Some(Read { merged, project, name, inactive, profiles }) = read(input, &mut loader) else {
        return Loaded::unreadable(loader.sink.finish());
    };
    let about = About {
        project: name.to_string(),
        environment: project.environment.clone(),
        profiles,
        skip: input.skip,
        outer: if input.trace { input.environment.clone() } else { BTreeMap::new() },
        trace: loader.finished_trace(),
    };
    if input.skip != Skip::default() {
        let resolved = (loader.sink.errors() == 0).then(|| Resolved::new(merged.tree, about));
        return Loaded { resolved, ..Loaded::unreadable(loader.sink.finish()) };
    }
    // From here on an error is about what this program can run.
    let running = loader.sink.sibling();
    let reading = std::mem::replace(&mut loader.sink, running);
    let readable = reading.errors() == 0;
    schema::report_support(&merged.tree, &mut loader.sink);
    runnable::check(&merged.tree, inactive, &mut loader.sink);
    let missing = host_files::missing(&merged.tree, &project.directory, &loader);
    let stack = typed::stack(&merged, name, project.directory, project.files, &mut loader);
    let stack = stack.filter(|_| readable && loader.sink.errors() == 0);
    let resolved = readable.then(|| Resolved::new(merged.tree, about));
    let (mut refusals, warnings): (Vec<_>, Vec<_>) =
        loader.sink.finish().into_iter().partition(Diagnostic::is_error);
    let reading = reading.finish();
    // What could not be read there cannot be run either, which need not be said.
    refusals.retain(|refusal| !reading.iter().any(|error| error.is_error() && error.span == refusal.span));
    let diagnostics = [reading, warnings].concat();
    Loaded { resolved, stack, diagnostics, refusals, missing }
}

impl Loaded {
    fn unreadable(diagnostics: Vec<Diagnostic>) -> Self {
        Self { resolved: None, stack: None, diagnostics, refusals: Vec::new(), missing: Vec::new() }
    }
}

/// The merged and validated tree with what surrounds it.
struct Read {
    merged: Merged,
    project: Project,
    name: StackName,
    /// Services left out because of their profiles.
    inactive: usize,
    /// Of every service, active or not.
    profiles: BTreeSet<String>,
}

fn read(input: &Input, loader: &mut Loader<'_>) -> Option<Read> {
    let mut project = project::find(input, loader)?;
    let name = project::name(input, &project, loader);
    if let Some(name) = &name {
        project.environment.insert("COMPOSE_PROJECT_NAME".to_owned(), name.to_string());
    }
    let active_profiles = project::profiles(input, &project.environment);
    let environment = loader.add_environment(project.environment.clone());
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
        let pos = Pos::start(loader.sink.add_file(&project.files[0]));
        loader.sink.error_hint(pos, "the Compose file is empty", hint);
    }
    let profiles = profiles::all(&merged.tree);
    let inactive = match input.skip.interpolation {
        true => BTreeMap::new(),
        false => settle(&mut merged, &active_profiles, input, loader),
    };
    if !input.skip.normalization {
        validate::imply_dependencies(&mut merged.tree);
    }
    if !input.skip.consistency && !input.skip.interpolation {
        validate::validate(&mut merged.tree, &inactive, loader);
    }
    if !input.skip.interpolation {
        profiles::keep_named(&mut merged.tree, &input.services, &mut loader.sink);
        validate::unique_container_names(&merged.tree, &mut loader.sink);
    }
    Some(Read { merged, project, name: name?, inactive: inactive.len(), profiles })
}

/// What follows once all variables have their values; returns the services left out.
fn settle(
    merged: &mut Merged,
    profiles: &[String],
    input: &Input,
    loader: &mut Loader<'_>,
) -> BTreeMap<String, Vec<String>> {
    canonical::settle(&mut merged.tree, &mut loader.sink);
    schema::settle(&mut merged.tree, &schema::ROOT, &mut loader.sink);
    let profiles = profiles::with_named(&merged.tree, profiles, &input.services);
    let inactive = profiles::select(&mut merged.tree, &profiles);
    resolve::resolve(merged, loader);
    inactive
}
