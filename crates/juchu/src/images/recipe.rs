//! Which builder makes a service's image: the native one, a component's recipe, or a registry.

use super::secrets::SecretFile;
use build::archive::ArchiveChoice;
use build::assemble::Options;
use build::inventory::Package;
use build::kinds::{Context, Kind, Machine, NoRunner, Runner};
use build::pull::PullOptions;
use build::{ImageStore, Job};
use engines::dockerfile;
use model::image::{BuildSpec, BuiltImage, ImageSource};
use model::{Digest, Report, Service};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Kept beside the image, not in it: the same inputs give the same digest at every commit.
pub const REVISION: &str = "org.opencontainers.image.revision";
const BUILDER: &str = "dev.juchu.builder";
const INPUTS: &str = "dev.juchu.inputs";

/// What one build is given beside the project.
pub struct Desk<'a> {
    pub runner: &'a dyn Runner,
    /// Empty, for tools of others.
    pub scratch: &'a Path,
    /// Where their containers belong.
    pub group: Option<&'a str>,
    pub secrets: &'a [SecretFile],
}

/// Where images are made, and with what.
pub struct Workshop {
    pub cache: PathBuf,
    pub environment: BTreeMap<String, String>,
}

impl Workshop {
    /// With the environment of this process.
    pub fn new(cache: PathBuf) -> Self {
        // Variables that are no text cannot name a mirror or a proxy.
        let text = |(k, v): (std::ffi::OsString, std::ffi::OsString)| {
            Some((k.into_string().ok()?, v.into_string().ok()?))
        };
        Self { cache, environment: std::env::vars_os().filter_map(text).collect() }
    }

    /// What the image is a function of.
    pub fn inputs(&self, service: &Service) -> Result<Digest, Report> {
        match &service.image {
            ImageSource::Pull { reference, .. } => {
                let platform = service.platform.as_deref().unwrap_or_default();
                Ok(Digest::of(format!("pull\0{reference}\0{platform}").as_bytes()))
            }
            ImageSource::Component { name, options } => {
                let plan =
                    catalog::image_plan(name, options, ArchiveChoice::default()).map_err(|e| e.report())?;
                Ok(plan.inputs)
            }
            ImageSource::Build(spec) if dockerfile::applies(spec) => {
                dockerfile::inputs(spec, service.platform.as_deref())
            }
            ImageSource::Build(spec) => {
                let job = Job::unstoppable(&|_| {});
                let stated = states_command(service);
                self.with_context(stated, &job, &NoRunner, |context| build::kinds::fingerprint(spec, context))
            }
        }
    }

    /// Makes or fetches the image; it is in the store, unpacked, when this returns.
    pub fn obtain(
        &self,
        service: &Service,
        store: &ImageStore,
        desk: &Desk<'_>,
        job: Job<'_>,
    ) -> Result<BuiltImage, Report> {
        match &service.image {
            ImageSource::Pull { reference, policy } => {
                let options = PullOptions::new(job, *policy);
                build::pull::pull(reference, store, &options).map_err(|e| e.report())
            }
            ImageSource::Component { name, options } => {
                let plan =
                    catalog::image_plan(name, options, ArchiveChoice::default()).map_err(|e| e.report())?;
                assemble(&plan, store, job, Vec::new(), None)
            }
            ImageSource::Build(spec) if dockerfile::applies(spec) => {
                self.by_dockerfile(service, spec, store, desk, job)
            }
            ImageSource::Build(spec) => {
                let planned = self.with_context(states_command(service), &job, desk.runner, |context| {
                    build::kinds::plan_image(spec, context)
                })?;
                planned.notes.iter().for_each(|note| job.say(note));
                let context = spec.context.as_deref();
                let compiled_in = match (planned.kind, &planned.lock, context) {
                    (Kind::Rust, Some(lock), _) => crates_of(lock),
                    (Kind::Rust, None, Some(context)) => locked_crates(context),
                    _ => Vec::new(),
                };
                assemble(&planned.plan, store, job, compiled_in, context)
            }
        }
    }

    fn by_dockerfile(
        &self,
        service: &Service,
        spec: &BuildSpec,
        store: &ImageStore,
        desk: &Desk<'_>,
        job: Job<'_>,
    ) -> Result<BuiltImage, Report> {
        let platform = service.platform.as_deref();
        let inputs = dockerfile::inputs(spec, platform)?;
        let request = dockerfile::Request {
            spec,
            platform,
            scratch: desk.scratch,
            secrets: desk.secrets.iter().map(|secret| (secret.id.as_str(), secret.path.as_path())).collect(),
            group: desk.group,
            environment: &self.environment,
        };
        let image = dockerfile::build(&request, store, &job)?;
        account(store, &image, Vec::new(), &inputs, spec.context.as_deref())?;
        Ok(image)
    }

    fn with_context<T>(
        &self,
        states_command: bool,
        job: &Job<'_>,
        runner: &dyn Runner,
        work: impl FnOnce(&Context<'_>) -> Result<T, build::BuildError>,
    ) -> Result<T, Report> {
        let context = Context {
            cache: &self.cache,
            environment: &self.environment,
            runner,
            job,
            archive: ArchiveChoice::default(),
            machine: Machine::host(),
            states_command,
        };
        work(&context).map_err(|error| error.report())
    }
}

fn states_command(service: &Service) -> bool {
    service.command.is_some() || service.entrypoint.is_some()
}

/// Makes the image, and beside it the list of what it was made from.
fn assemble(
    plan: &build::ImagePlan,
    store: &ImageStore,
    job: Job<'_>,
    compiled_in: Vec<Package>,
    context: Option<&Path>,
) -> Result<BuiltImage, Report> {
    let options = Options { job, force_fresh: false };
    let image = build::assemble::assemble_with(plan, store, &options).map_err(|e| e.report())?;
    account(store, &image, compiled_in, &plan.inputs, context)?;
    Ok(image)
}

/// Keeps beside the image what it was made from.
fn account(
    store: &ImageStore,
    image: &BuiltImage,
    compiled_in: Vec<Package>,
    inputs: &Digest,
    context: Option<&Path>,
) -> Result<(), Report> {
    let mut annotations = BTreeMap::from([
        (BUILDER.to_owned(), format!("juchu {}", env!("CARGO_PKG_VERSION"))),
        (INPUTS.to_owned(), inputs.to_string()),
    ]);
    if let Some(commit) = context.and_then(build::revision::of) {
        annotations.insert(REVISION.to_owned(), commit);
    }
    build::sbom::attach(store, image, compiled_in, &annotations).map(|_| ()).map_err(|e| e.report())
}

/// The crates that the nearest lock file names: its own, or that of the workspace above.
fn locked_crates(context: &Path) -> Vec<Package> {
    let mut files = context.ancestors().map(|above| above.join("Cargo.lock"));
    files.find(|file| file.is_file()).map(|file| crates_of(&file)).unwrap_or_default()
}

fn crates_of(lock: &Path) -> Vec<Package> {
    // The build has read it already.
    let text = std::fs::read_to_string(lock).unwrap_or_default();
    build::inventory::of_cargo_lock(&text)
}
