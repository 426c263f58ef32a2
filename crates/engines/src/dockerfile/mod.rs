//! Images from Dockerfiles, made by programs of others, whichever is there: from scratch every time,
//! with nothing left at the other side; the result becomes an image of ours.

mod api;
mod arguments;
mod buildkit;
mod child;
mod failure;
mod inputs;
mod registries;
mod run_root;
mod saved;
mod tool;

pub use inputs::inputs;
pub use tool::{Builder, CHOICE, INSTALL, Tool, find};

use arguments::Place;
use build::{BuildError, ImageStore, Job};
use model::Report;
use model::image::{BuildSpec, BuiltImage};
use run_root::RunRoot;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything a build is a function of, and where it may work.
pub struct Request<'a> {
    pub spec: &'a BuildSpec,
    /// `platform` of the service.
    pub platform: Option<&'a str>,
    /// Empty; whoever asks removes it.
    pub scratch: &'a Path,
    /// Id and file.
    pub secrets: Vec<(&'a str, &'a Path)>,
    /// Absolute path of the control group for its containers.
    pub group: Option<&'a str>,
    /// Of the person who builds: `PATH`, `HOME`, proxies, `SOURCE_DATE_EPOCH`.
    pub environment: &'a BTreeMap<String, String>,
}

/// Whether a Dockerfile decides over this build, as far as the context tells.
pub fn applies(spec: &BuildSpec) -> bool {
    let declared = spec.dockerfile.is_some() || spec.dockerfile_inline.is_some();
    let present = || spec.context.as_ref().is_some_and(|context| context.join("Dockerfile").is_file());
    match spec.builder {
        model::image::Builder::Native => false,
        model::image::Builder::Dockerfile => true,
        model::image::Builder::Auto => declared || present(),
    }
}

/// Builds the image and takes it over; it is in the store, unpacked, when this returns.
pub fn build(request: &Request<'_>, store: &ImageStore, job: &Job<'_>) -> Result<BuiltImage, Report> {
    let builder = find(request.environment)?.ok_or_else(|| no_builder(request.spec))?;
    let place = prepare(request)?;
    job.say(&format!("building with {}", builder.name()));
    match &builder {
        Builder::Program(tool) => by_program(tool, request, &place, job)?,
        Builder::Daemon(socket) => api::build(socket, request, &place, job)?,
    }
    let origin = format!("{} with {}", place.shown, builder.name());
    build::import::layout(&place.out, store, &origin, job).map_err(|error| error.report())
}

/// Writes the image to `place.out`.
fn by_program(tool: &Tool, request: &Request<'_>, place: &Place, job: &Job<'_>) -> Result<(), Report> {
    let run = |line| {
        let ended = child::run(tool, &line, place, request, job)?;
        match ended.is_success() {
            true => Ok(()),
            false => Err(failure::report(&ended, place, job)),
        }
    };
    run(arguments::build(tool, request, place)?)?;
    match arguments::write_out(tool, place) {
        Some(line) => run(line),
        None => saved::unpack(&place.scratch.join(buildkit::ARCHIVE), &place.out).map_err(|e| e.report()),
    }
}

/// The Dockerfile, and directories for the tool.
fn prepare(request: &Request<'_>) -> Result<Place, Report> {
    let (file, shown, text) = inputs::dockerfile(request.spec)?;
    let at = |name: &str| request.scratch.join(name);
    for name in ["root", "tmp"] {
        fs::create_dir_all(at(name)).map_err(failed(&at(name)))?;
    }
    let context = match &request.spec.context {
        Some(context) => context.clone(),
        None => {
            fs::create_dir_all(at("empty")).map_err(failed(&at("empty")))?;
            at("empty")
        }
    };
    let file = match file {
        Some(file) => file,
        None => write(at("Dockerfile"), &text)?,
    };
    let registries = match registries::needed(&text) {
        Some(text) => Some(write(at("registries.conf"), &text)?),
        None => None,
    };
    let scratch = request.scratch.to_owned();
    let run = RunRoot::new(&scratch).map_err(failed(&at("run")))?;
    Ok(Place { out: at("out"), scratch, run, context, file, shown, text, registries })
}

fn write(path: PathBuf, text: &str) -> Result<PathBuf, Report> {
    fs::write(&path, text).map_err(failed(&path))?;
    Ok(path)
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Report {
    let context = format!("write {}", path.display());
    move |error| BuildError::io(context)(error).report()
}

fn no_builder(spec: &BuildSpec) -> Report {
    let place = spec.context.as_ref().map_or_else(|| "the service".to_owned(), |c| c.display().to_string());
    Report::new(
        model::ErrorKind::Build,
        format!("{place} has a Dockerfile, and this machine has neither buildah nor podman nor another builder for it"),
    )
    .hint(INSTALL)
    .hint("or add `x-juchu: {builder: native}` to the service to build it without the Dockerfile")
}
