//! `juchu image`: what is in the store, which images differ how, and what may go.

mod signing;
mod transfer;
mod uses;
mod work;

use super::Hooks;
use super::args::{
    Image, ImageCommand, ImageDiff, ImageExport, ImageGc, ImageInspect, ImageLs, ImageSbom, SbomFormat,
    StackArgs,
};
use super::image_text::{difference_text, gc_text, inspect_text, list_text};
use super::screen::{Outcome, Screen};
use super::{load, reach};
use crate::caches;
use crate::home::Home;
use build::ImageStore;
use build::catalogue::{LOCAL, Stored, find, size_together, stored};
use build::compare::compare;
use build::sbom::Format;
use console::client::ClientError;
use model::{Digest, ErrorKind, Report};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use uses::Uses;

/// Images that came or were wanted this lately stay: a build may be about to use them.
const GRACE: Duration = Duration::from_secs(600);

static NEVER: AtomicBool = AtomicBool::new(false);

/// One image and who needs it, as `ls --json` and `inspect --json` print it.
#[derive(Debug, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub image: Stored,
    /// `STACK RELEASE SERVICE`.
    pub needed_by: Vec<String>,
}

/// What `gc --json` prints.
#[derive(Debug, Serialize)]
pub struct Collected {
    pub dry_run: bool,
    pub removed: Vec<Removed>,
    pub kept: usize,
    /// Packed layers and documents; their unpacked form comes on top.
    pub freed_bytes: u64,
    pub kept_bytes: u64,
    /// Downloads and output of compilers that builds keep for later ones, and their bound.
    pub cache_bytes: u64,
    pub cache_max_bytes: u64,
}

#[derive(Debug, Serialize)]
pub struct Removed {
    pub digest: Digest,
    pub name: String,
}

pub async fn image(screen: &Screen, home: &Home, args: Image, before: &StackArgs, hooks: &Hooks) -> Outcome {
    let over = |stack: &StackArgs| stack.clone().over(before);
    match args.command {
        ImageCommand::Ls(args) => ls(screen, home, &args).await,
        ImageCommand::Inspect(args) => inspect(screen, home, &args, &over(&args.stack)).await,
        ImageCommand::Sbom(args) => sbom(screen, home, &args, &over(&args.stack)).await,
        ImageCommand::Diff(args) => diff(screen, home, &args, &over(&args.stack)).await,
        ImageCommand::Gc(args) => {
            hooks.go_inside(home);
            gc(screen, home, &args).await
        }
        ImageCommand::Pull(args) => {
            hooks.go_inside(home);
            transfer::pull(screen, home, &args).await
        }
        ImageCommand::Keygen(args) => signing::keygen(screen, &args),
        ImageCommand::Sign(args) => signing::sign(screen, home, &args, &over(&args.stack)).await,
        ImageCommand::Verify(args) => signing::verify(screen, home, &args, &over(&args.stack)).await,
        ImageCommand::Push(args) => transfer::push(screen, home, &args, &over(&args.stack)).await,
        ImageCommand::Export(args) => export(screen, home, &args, &over(&args.stack)).await,
    }
}

/// The store, where there is one already.
fn open(home: &Home) -> Result<ImageStore, Report> {
    let root = home.join("images");
    if !root.is_dir() {
        return Err(Report::usage(format!("no image was made below {} yet", home.state.display()))
            .hint("`juchu build` makes one, and so does `juchu up`"));
    }
    ImageStore::open(&root).map_err(|error| error.report())
}

fn all(store: &ImageStore) -> Result<Vec<Stored>, Report> {
    stored(store).map_err(|error| error.report())
}

async fn ls(screen: &Screen, home: &Home, args: &ImageLs) -> Outcome {
    let images = all(&open(home)?)?;
    let uses = uses(screen, home).await?;
    let together = size_together(&images);
    let needed = |image: &Stored| uses.as_ref().map(|uses| uses.of(&image.digest)).unwrap_or_default();
    let entries: Vec<Entry> =
        images.into_iter().map(|image| Entry { needed_by: needed(&image), image }).collect();
    match args.output.json {
        true => screen.json(&entries),
        false => screen.print(&list_text(&entries, together, screen)),
    }
}

/// Who needs what; `None`, and a remark, without a daemon.
async fn uses(screen: &Screen, home: &Home) -> Result<Option<Uses>, Report> {
    match reach::running(home).await {
        Ok(client) => Uses::read(&client).await.map(Some),
        Err(ClientError::NotRunning) => {
            screen.note("the daemon is not running; which release needs an image is not shown");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn inspect(screen: &Screen, home: &Home, args: &ImageInspect, stack: &StackArgs) -> Outcome {
    let images = all(&open(home)?)?;
    let image = meant(home, &images, &args.image, stack).await?.clone();
    let needed_by = match reach::running(home).await {
        Ok(client) => Uses::read(&client).await?.of(&image.digest),
        Err(_) => Vec::new(),
    };
    let entry = Entry { image, needed_by };
    match args.output.json {
        true => screen.json(&entry),
        false => screen.print(&inspect_text(&entry, screen)),
    }
}

async fn sbom(screen: &Screen, home: &Home, args: &ImageSbom, stack: &StackArgs) -> Outcome {
    let store = open(home)?;
    let images = all(&store)?;
    let image = meant(home, &images, &args.image, stack).await?;
    let format = match args.format {
        SbomFormat::Cyclonedx => Format::CycloneDx,
        SbomFormat::Spdx => Format::Spdx,
    };
    let (bytes, made_with_it) = build::sbom::of(&store, image, format).map_err(|e| e.report())?;
    if !made_with_it {
        screen.note("it was not built here: this is what its files tell; what was compiled in is missing");
    }
    screen.print(&String::from_utf8_lossy(&bytes))
}

async fn diff(screen: &Screen, home: &Home, args: &ImageDiff, stack: &StackArgs) -> Outcome {
    let store = open(home)?;
    let images = all(&store)?;
    let from = meant(home, &images, &args.from, stack).await?;
    let to = meant(home, &images, &args.to, stack).await?;
    let _working = store.working().map_err(|e| e.report())?;
    let found = compare((&store, &from.digest), (&store, &to.digest), &NEVER).map_err(|e| e.report())?;
    match args.output.json {
        true => screen.json(&found),
        false => screen.print(&difference_text(&found, screen)),
    }
}

/// By digest or name; else as a service of a stack, in its release in force or in `SERVICE@r3`, or as
/// `juchu build` made it last.
async fn meant<'a>(
    home: &Home,
    images: &'a [Stored],
    wanted: &str,
    stack: &StackArgs,
) -> Result<&'a Stored, Report> {
    let unknown = match find(images, wanted) {
        Ok(found) => return Ok(found),
        Err(error) => error.report(),
    };
    if let Ok(client) = reach::running(home).await
        && let Some(digest) = uses::of_service(&client, wanted, stack).await?
    {
        return find(images, digest.as_str()).map_err(|error| error.report());
    }
    built_here(images, wanted, stack).ok_or(unknown)
}

/// A service of the Compose file here that was built and is in no release yet; needs no daemon.
fn built_here<'a>(images: &'a [Stored], service: &str, stack: &StackArgs) -> Option<&'a Stored> {
    let name = match &stack.rest.project_name {
        Some(name) => name.clone(),
        None => load::quietly(stack, None).ok()?.stack?.name.to_string(),
    };
    find(images, &format!("{name}/{}", service.to_ascii_lowercase())).ok()
}

async fn gc(screen: &Screen, home: &Home, args: &ImageGc) -> Outcome {
    let store = open(home)?;
    let uses = Uses::read(&reach::started(home, screen).await?).await?;
    if let Some(busy) = &uses.busy {
        return Err(Report::new(ErrorKind::Conflict, format!("{busy}; its images are not known yet"))
            .hint("wait until it has ended, then run `juchu image gc` again")
            .into());
    }
    let images = all(&store)?;
    let keep: BTreeSet<Digest> = images
        .iter()
        .filter(|image| uses.needs(&image.digest) || (!args.built && is_built(image)))
        .map(|image| image.digest.clone())
        .collect();
    let (gone, mut swept) = store.would_collect(&keep, GRACE).map_err(|e| e.report())?;
    if !args.dry_run {
        swept = collect(screen, &store, &keep)?;
    }
    let (removed, kept): (Vec<_>, Vec<_>) = images.iter().partition(|image| gone.contains(&image.digest));
    let name = |image: &Stored| image.names.first().unwrap_or(&image.origin).clone();
    let collected = Collected {
        dry_run: args.dry_run,
        removed: removed.iter().map(|i| Removed { digest: i.digest.clone(), name: name(i) }).collect(),
        kept: kept.len(),
        freed_bytes: swept.bytes,
        kept_bytes: size_together(kept.iter().copied()),
        cache_bytes: caches::held(home).bytes,
        cache_max_bytes: caches::most(&home.state)?.0,
    };
    match args.output.json {
        true => screen.json(&collected),
        false => screen.print(&gc_text(&collected, screen)),
    }
}

fn is_built(image: &Stored) -> bool {
    image.names.iter().any(|name| name.starts_with(LOCAL))
}

fn collect(
    screen: &Screen,
    store: &ImageStore,
    keep: &BTreeSet<Digest>,
) -> Result<build::layout::Swept, Report> {
    if store.is_busy().map_err(|e| e.report())? {
        screen.note("waiting for a build or a fetch to end");
    }
    store.collect(keep, GRACE).map_err(|error| error.report())
}

async fn export(screen: &Screen, home: &Home, args: &ImageExport, stack: &StackArgs) -> Outcome {
    let store = open(home)?;
    let images = all(&store)?;
    let image = meant(home, &images, &args.image, stack).await?;
    let name = args.name.clone().or(image.names.first().cloned()).unwrap_or_else(|| "latest".to_owned());
    check_target(&args.directory)?;
    let digest = build::export::export_gzip(&store, &image.digest, &args.directory, &name, &NEVER);
    let digest = digest.map_err(|error| error.report())?;
    screen.print(&format!("{digest}\n"))?;
    screen.hint(format!("`skopeo inspect oci:{}:{name}` reads it", args.directory.display()));
    Ok(())
}

/// A layout of before is added to; anything else would be mixed up with it.
fn check_target(directory: &Path) -> Result<(), Report> {
    let is_empty = std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none());
    if is_empty || directory.join("oci-layout").is_file() {
        return Ok(());
    }
    Err(Report::usage(format!("{} is neither empty nor an OCI layout", directory.display()))
        .hint("name a new directory"))
}
