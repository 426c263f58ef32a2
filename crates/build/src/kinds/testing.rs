//! A small project in a temporary directory, and a runner that fails or answers on purpose.

use super::runner::{NoRunner, RunOutcome, RunRequest, Runner, RunnerError};
use super::settings::{Context, Machine, Planned, Project};
use crate::BuildError;
use crate::archive::ArchiveChoice;
use crate::job::Job;
use crate::plan::{Entry, EntryKind, Source};
use model::image::{BuildSpec, Builder, NativeImage};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

pub struct Fixture {
    project: tempfile::TempDir,
    cache: tempfile::TempDir,
    spec: BuildSpec,
    pub environment: BTreeMap<String, String>,
    pub states_command: bool,
    job: Job<'static>,
}

impl Fixture {
    pub fn new() -> Self {
        let project = tempfile::tempdir().unwrap();
        let mut fixture = Self::without_context();
        fixture.spec.context = Some(project.path().to_owned());
        fixture.project = project;
        fixture
    }

    pub fn without_context() -> Self {
        let spec = BuildSpec { builder: Builder::Native, ..BuildSpec::default() };
        Self {
            project: tempfile::tempdir().unwrap(),
            cache: tempfile::tempdir().unwrap(),
            spec,
            environment: BTreeMap::new(),
            states_command: false,
            job: Job::unstoppable(&|_| {}),
        }
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        let path = self.project.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub fn copy(self, from: &Path, path: &str) -> Self {
        std::fs::copy(from, self.project.path().join(path)).unwrap();
        self
    }

    pub fn image(mut self, change: impl FnOnce(&mut NativeImage)) -> Self {
        change(&mut self.spec.image);
        self
    }

    pub fn spec(mut self, change: impl FnOnce(&mut BuildSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn root(&self) -> &Path {
        self.project.path()
    }

    pub fn cache(&self) -> &Path {
        self.cache.path()
    }

    pub fn place(&self) -> String {
        self.project.path().display().to_string()
    }

    pub fn context<'a>(&'a self, runner: &'a dyn Runner) -> Context<'a> {
        Context {
            cache: self.cache.path(),
            environment: &self.environment,
            runner,
            job: &self.job,
            archive: ArchiveChoice::default(),
            machine: Machine::host(),
            states_command: self.states_command,
        }
    }

    pub fn with<T>(&self, use_it: impl FnOnce(&Project) -> T) -> T {
        let context = self.context(&NoRunner);
        use_it(&Project::open(&self.spec, &context).unwrap())
    }

    pub fn plan(&self) -> Result<Planned, BuildError> {
        self.plan_by(&NoRunner)
    }

    /// The context is a directory of the fixture instead of the whole.
    pub fn in_directory(mut self, directory: &str) -> Self {
        self.spec.context = Some(self.project.path().join(directory));
        self
    }

    pub fn plan_until(&self, cancel: &std::sync::atomic::AtomicBool) -> Result<Planned, BuildError> {
        let job = Job::new(&|_| {}, cancel);
        super::plan_image(&self.spec, &Context { job: &job, ..self.context(&NoRunner) })
    }

    pub fn plan_by(&self, runner: &dyn Runner) -> Result<Planned, BuildError> {
        super::plan_image(&self.spec, &self.context(runner))
    }

    pub fn fingerprint(&self) -> model::Digest {
        super::fingerprint(&self.spec, &self.context(&NoRunner)).unwrap()
    }
}

/// The text of a planned file.
pub fn content(entries: &[Entry], path: &str) -> String {
    let entry = entries.iter().find(|entry| entry.path == path);
    let entry = entry.unwrap_or_else(|| panic!("no {path} is planned"));
    match &entry.kind {
        EntryKind::File(Source::Bytes(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
        EntryKind::File(Source::Path(path)) => std::fs::read_to_string(path).unwrap(),
        other => panic!("{path} is {other:?}"),
    }
}

type Behaviour = dyn Fn(&RunRequest) -> Result<i32, String> + Send + Sync;

/// Remembers what it was asked and does what the test says.
pub struct FakeRunner {
    behaviour: Box<Behaviour>,
    says: &'static str,
    pub asked: Mutex<Vec<Vec<String>>>,
}

impl FakeRunner {
    pub fn new(behaviour: impl Fn(&RunRequest) -> Result<i32, String> + Send + Sync + 'static) -> Self {
        Self { behaviour: Box::new(behaviour), says: "the tool says hello", asked: Mutex::new(Vec::new()) }
    }

    /// Prints this line instead.
    pub fn saying(self, says: &'static str) -> Self {
        Self { says, ..self }
    }
}

impl Runner for FakeRunner {
    fn run(&self, request: &RunRequest, output: &mut dyn FnMut(&str)) -> Result<RunOutcome, RunnerError> {
        self.asked.lock().unwrap().push(request.argv.clone());
        output(self.says);
        let code = (self.behaviour)(request).map_err(RunnerError)?;
        Ok(RunOutcome { code, timed_out: false })
    }
}
