//! Where images come from: the native builder, the recipes of components, and registries. One at
//! a time, in threads that may block.

use async_trait::async_trait;
use build::archive::ArchiveChoice;
use build::kinds::{Context, Machine, Runner};
use build::pull::PullOptions;
use build::{ImageStore, assemble::Options, job::Job};
use model::image::{BuildSpec, Builder, BuiltImage, ImageSource};
use model::{Digest, ErrorKind, Report, Service, Stack};
use run::ports::{Images, Say};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Mutex;

/// Images younger than this are never collected: a build may be about to use them.
const COLLECT_GRACE: Duration = Duration::from_secs(600);

pub struct Builders {
    inner: Arc<Inner>,
    /// Builds wait here for their turn, so that they do not starve what runs.
    turn: Mutex<()>,
}

struct Inner {
    store: Arc<ImageStore>,
    cache: PathBuf,
    environment: BTreeMap<String, String>,
    runner: Box<dyn Runner>,
}

impl Builders {
    pub fn new(store: Arc<ImageStore>, cache: PathBuf, runner: Box<dyn Runner>) -> Self {
        // Variables that are no text cannot name a mirror or a proxy.
        let text = |(k, v): (std::ffi::OsString, std::ffi::OsString)| {
            Some((k.into_string().ok()?, v.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        Self { inner: Arc::new(Inner { store, cache, environment, runner }), turn: Mutex::new(()) }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Report> + Send + 'static,
    ) -> Result<T, Report> {
        let inner = Arc::clone(&self.inner);
        let worked = tokio::task::spawn_blocking(move || {
            let result = work(&inner);
            give_back_memory();
            result
        });
        match worked.await {
            Ok(result) => result,
            Err(panic) => Err(Report::internal(format!("the builder broke: {panic}"))),
        }
    }
}

/// Packages are decoded in buffers of many megabytes, which the allocator would keep for ever.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointer and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn states_command(service: &Service) -> bool {
    service.command.is_some() || service.entrypoint.is_some()
}

impl Inner {
    fn with_context<T>(
        &self,
        states_command: bool,
        job: &Job<'_>,
        work: impl FnOnce(&Context<'_>) -> Result<T, build::BuildError>,
    ) -> Result<T, Report> {
        let context = Context {
            cache: &self.cache,
            environment: &self.environment,
            runner: self.runner.as_ref(),
            job,
            archive: ArchiveChoice::default(),
            machine: Machine::host(),
            states_command,
        };
        work(&context).map_err(|error| error.report())
    }

    fn inputs(&self, service: &Service) -> Result<Digest, Report> {
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
            ImageSource::Build(spec) => {
                refuse_dockerfile(spec)?;
                let job = Job::unstoppable(&|_| {});
                let stated = states_command(service);
                self.with_context(stated, &job, |context| build::kinds::fingerprint(spec, context))
            }
        }
    }

    fn obtain(&self, service: &Service, say: &Say, cancel: &AtomicBool) -> Result<BuiltImage, Report> {
        let progress = |text: &str| say(text.to_owned());
        let job = Job::new(&progress, cancel);
        match &service.image {
            ImageSource::Pull { reference, policy } => {
                let options = PullOptions { job, policy: *policy, credentials: None };
                build::pull::pull(reference, &self.store, &options).map_err(|e| e.report())
            }
            ImageSource::Component { name, options } => {
                let plan =
                    catalog::image_plan(name, options, ArchiveChoice::default()).map_err(|e| e.report())?;
                self.assemble(&plan, job)
            }
            ImageSource::Build(spec) => {
                refuse_dockerfile(spec)?;
                let planned = self.with_context(states_command(service), &job, |context| {
                    build::kinds::plan_image(spec, context)
                })?;
                planned.notes.iter().for_each(|note| job.say(note));
                self.assemble(&planned.plan, job)
            }
        }
    }

    fn assemble(&self, plan: &build::ImagePlan, job: Job<'_>) -> Result<BuiltImage, Report> {
        let options = Options { job, force_fresh: false };
        build::assemble::assemble_with(plan, &self.store, &options).map_err(|e| e.report())
    }
}

/// Dockerfiles need an engine of somebody else's; that adapter is not there yet.
fn refuse_dockerfile(spec: &BuildSpec) -> Result<(), Report> {
    let present = || spec.context.as_ref().is_some_and(|c| c.join("Dockerfile").is_file());
    let declared = spec.dockerfile.is_some() || spec.dockerfile_inline.is_some();
    let wanted = match spec.builder {
        Builder::Native => false,
        Builder::Dockerfile => true,
        Builder::Auto => declared || present(),
    };
    if !wanted {
        return Ok(());
    }
    let place = spec.context.as_ref().map_or_else(|| "the service".to_owned(), |c| c.display().to_string());
    Err(Report::new(
        ErrorKind::Build,
        format!("{place} has a Dockerfile, and building from Dockerfiles is not there yet"),
    )
    .hint("add `x-juchu: {builder: native}` to the service to build it without the Dockerfile"))
}

#[async_trait]
impl Images for Builders {
    fn complete(&self, stack: &mut Stack) -> Result<(), Report> {
        catalog::complete(stack).map_err(|e| e.report())
    }

    async fn inputs(&self, service: &Service) -> Result<Digest, Report> {
        let service = service.clone();
        let name = service.name.clone();
        self.blocking(move |inner| inner.inputs(&service)).await.map_err(|mut report| {
            report.error = format!("service {name}: {}", report.error);
            report
        })
    }

    async fn obtain(
        &self,
        service: &Service,
        say: Say,
        cancel: Arc<AtomicBool>,
    ) -> Result<BuiltImage, Report> {
        let _turn = self.turn.lock().await;
        let service = service.clone();
        let obtained = move |inner: &Inner| {
            let image = inner.obtain(&service, &say, &cancel)?;
            inner.store.layout().touch(&image.manifest).map_err(|e| e.report())?;
            Ok(image)
        };
        self.blocking(obtained).await
    }

    async fn holds(&self, image: &BuiltImage) -> bool {
        let image = image.clone();
        let looked = self.blocking(move |inner| {
            let store = &inner.store;
            // From here until it is in the journal nobody else says that it is needed.
            let known = store.layout().touch(&image.manifest).is_ok();
            Ok(known && image.layers.iter().all(|layer| store.layer_dir(layer).is_ok()))
        });
        looked.await.unwrap_or(false)
    }

    async fn keep_only(&self, used: Vec<BuiltImage>) {
        let keep: BTreeSet<Digest> = used.into_iter().map(|image| image.manifest).collect();
        let swept = self.blocking(move |inner| {
            inner.store.collect(&keep, COLLECT_GRACE).map_err(|e| e.report())?;
            // What is kept need not be unpacked again after a restart of the machine.
            inner.store.settle().map_err(|e| e.report())
        });
        if let Err(report) = swept.await {
            eprintln!("{report}");
        }
    }
}
