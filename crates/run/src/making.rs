//! Making a release: images, contents of configs and secrets, addresses; then one bundle.

use crate::control::{Phase, Progress};
use crate::ports::{Images, Say};
use crate::story::Stories;
use model::image::{BuiltImage, ImageSource, PullPolicy};
use model::release::NetworkAddresses;
use model::stack::FileSource;
use model::subnet::Cidr;
use model::{Digest, NetworkName, Release, ReleaseId, Report, Service, ServiceName, Stack, Timestamp};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Largest config or secret: as Docker has it for configs, doubled.
const FILE_LIMIT: u64 = 1 << 20;

/// What a release is made from.
pub struct Order {
    pub change: u64,
    pub stack: Stack,
    /// Build anew even where the inputs are as before; these services, or all when empty.
    pub fresh: Option<Vec<ServiceName>>,
    pub previous: Option<Arc<Release>>,
    /// The release of another stack whose images are taken as they are.
    pub promoted: Option<Arc<Release>>,
    /// The newest image of each service and its inputs.
    pub known: BTreeMap<ServiceName, (Digest, BuiltImage)>,
    /// Subnets of the host and of other stacks.
    pub taken: Vec<Cidr>,
    /// The releases of the other stacks, whose networks this one may be on.
    pub others: Vec<Arc<Release>>,
    /// Tells apart two installations on one host.
    pub home: String,
    pub id: ReleaseId,
    pub now: Timestamp,
}

/// A release, and the images that were built for it.
pub struct Made {
    pub release: Release,
    pub built: Vec<(ServiceName, Digest, BuiltImage)>,
    /// Equal for releases that are made of the same.
    pub made_of: Digest,
}

/// Builds one image after the other; the first failure ends it with nothing changed.
pub async fn make(
    order: Order,
    images: Arc<dyn Images>,
    stories: Arc<Stories>,
    files: &Path,
    cancel: Arc<AtomicBool>,
) -> Result<Made, Report> {
    let mut all = BTreeMap::new();
    let mut built = Vec::new();
    let mut sources = BTreeMap::new();
    for service in order.stack.services.values() {
        if cancel.load(Ordering::Relaxed) {
            return Err(Report::usage("another change took its place"));
        }
        let (inputs, image, fresh) = image_of(&order, service, &images, &stories, &cancel).await?;
        sources.insert(service.name.clone(), source_of(service, &inputs, &image));
        if fresh {
            built.push((service.name.clone(), inputs, image.clone()));
        }
        if plan::spec::argv_of(service, &image.config).is_empty() {
            return Err(Report::usage(format!(
                "service {}: its image says no command and none is declared",
                service.name
            ))
            .hint(format!("add `command:` to the service {} in the Compose file", service.name)));
        }
        all.insert(service.name.clone(), image);
    }
    let addresses =
        addresses(&order.stack, order.previous.as_deref(), &order.taken, &order.home, &order.others)?;
    let contents = files_of(&order.stack, |digest, content| keep(files, digest, content))?;
    let made_of = made_of(&order.stack, &sources, &contents);
    let release = Release {
        id: order.id,
        stack: order.stack,
        images: all,
        files: contents,
        addresses,
        made: order.now,
        hashes: Default::default(),
    };
    Ok(Made { release, built, made_of })
}

/// What an image is told by: what was fetched by its content, what is built by all that it is built
/// from, as not every builder makes the same of the same.
pub fn source_of(service: &Service, inputs: &Digest, image: &BuiltImage) -> Digest {
    match service.image {
        ImageSource::Pull { .. } => image.manifest.clone(),
        ImageSource::Component { .. } | ImageSource::Build(_) => inputs.clone(),
    }
}

/// Equal for releases that are made of the same stack, sources and contents.
pub fn made_of(
    stack: &Stack,
    sources: &BTreeMap<ServiceName, Digest>,
    files: &BTreeMap<String, Digest>,
) -> Digest {
    Digest::of(&serde_json::to_vec(&(stack, sources, files)).expect("plain data always serialises"))
}

/// Subnets and addresses of the stack's networks.
pub fn addresses(
    stack: &Stack,
    previous: Option<&Release>,
    taken: &[Cidr],
    home: &str,
    others: &[Arc<Release>],
) -> Result<BTreeMap<NetworkName, NetworkAddresses>, Report> {
    let others: Vec<&Release> = others.iter().map(AsRef::as_ref).collect();
    plan::address::allocate(stack, previous, taken, home, &others).map_err(|error| {
        Report::usage(error.to_string()).hint("declare another `ipam.config.subnet`, or remove it")
    })
}

async fn image_of(
    order: &Order,
    service: &Service,
    images: &Arc<dyn Images>,
    stories: &Arc<Stories>,
    cancel: &Arc<AtomicBool>,
) -> Result<(Digest, BuiltImage, bool), Report> {
    if let Some(source) = &order.promoted {
        return promoted_image(source, service, images).await;
    }
    let inputs = images.inputs(service).await?;
    let wanted_fresh = order.fresh.as_ref().is_some_and(|f| f.is_empty() || f.contains(&service.name));
    let always = matches!(service.image, ImageSource::Pull { policy: PullPolicy::Always, .. });
    if let Some((known, image)) = order.known.get(&service.name).filter(|_| !wanted_fresh && !always)
        && *known == inputs
        && images.holds(image).await
    {
        return Ok((inputs, image.clone(), false));
    }
    let (change, name) = (order.change, service.name.clone());
    let at = order.now;
    let said = Arc::clone(stories);
    said.say_service(change, &name, Phase::Building, "building its image".to_owned(), at);
    let say: Say = {
        let (stories, name) = (Arc::clone(stories), name.clone());
        Arc::new(move |text| stories.say_service(change, &name, Phase::Building, text, at))
    };
    let image = images.obtain(service, say, Arc::clone(cancel)).await.map_err(|mut report| {
        report.error = format!("service {name}: {}", report.error);
        report
    });
    if image.is_err() {
        stories.say_service(change, &name, Phase::Failed, "its image could not be made".to_owned(), at);
    }
    Ok((inputs, image?, true))
}

/// The same image by digest; nothing is built, so nothing can differ from what was tried out.
pub async fn promoted_image(
    source: &Release,
    service: &Service,
    images: &Arc<dyn Images>,
) -> Result<(Digest, BuiltImage, bool), Report> {
    let from = format!("{} of the stack {}", source.id, source.stack.name);
    let Some(image) = source.images.get(&service.name) else {
        return Err(Report::usage(format!("{from} has no service {}", service.name))
            .hint(format!("deploy it there first, or leave {} out of the Compose file", service.name)));
    };
    if !images.holds(image).await {
        let text = format!("the image of {} in {from} is not in the store any more", service.name);
        return Err(Report::environment(text).hint(format!("juchu -p {} releases", source.stack.name)));
    }
    Ok((image.manifest.clone(), image.clone(), false))
}

/// The contents of configs and secrets by their digests; each is given away to be kept.
pub fn files_of(
    stack: &Stack,
    keep: impl Fn(&Digest, &[u8]) -> std::io::Result<()>,
) -> Result<BTreeMap<String, Digest>, Report> {
    let mut all = BTreeMap::new();
    let configs = stack.configs.iter().map(|c| ("config", c));
    let secrets = stack.secrets.iter().map(|s| ("secret", s));
    for (kind, (name, source)) in configs.chain(secrets) {
        let content = match source {
            FileSource::Inline(text) => text.clone().into_bytes(),
            FileSource::File(path) => read_limited(path)
                .map_err(|error| Report::usage(format!("{kind} {name}: {}: {error}", path.display())))?,
            FileSource::External(_) => continue,
        };
        let digest = Digest::of(&content);
        keep(&digest, &content)
            .map_err(|error| Report::environment(format!("keep {kind} {name}: {error}")))?;
        all.insert(format!("{kind}/{name}"), digest);
    }
    Ok(all)
}

fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let size = std::fs::metadata(path)?.len();
    if size > FILE_LIMIT {
        return Err(std::io::Error::other(format!("{size} bytes are more than the limit of {FILE_LIMIT}")));
    }
    std::fs::read(path)
}

/// Copies a content into the protected directory, under its digest.
fn keep(directory: &Path, digest: &Digest, content: &[u8]) -> std::io::Result<()> {
    let target = directory.join(digest.hex());
    if let Ok(held) = std::fs::File::open(&target) {
        // Young contents are not collected: a release that needs this one is being made.
        return held.set_modified(std::time::SystemTime::now());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = directory.join(format!("{}.part", digest.hex()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, &target)?;
    std::fs::File::open(directory)?.sync_all()
}

/// Tells followers what a release changes against the one in force.
pub fn tell_differences(
    stories: &Stories,
    change: u64,
    before: Option<&Release>,
    after: &Release,
) -> Vec<store::record::v1::Difference> {
    let differences = differences(before, after);
    stories.say(change, Progress::Planned { differences: differences.clone(), steps: Vec::new() });
    differences
}

/// The planner's comparison in the journal's form.
pub fn differences(before: Option<&Release>, after: &Release) -> Vec<store::record::v1::Difference> {
    let found = plan::compare::compare(before, after);
    let convert = |d: plan::compare::Difference| store::record::v1::Difference {
        service: d.service,
        field: d.field,
        before: d.before,
        after: d.after,
    };
    found.into_iter().map(convert).collect()
}

/// Nothing differs but number and time.
pub fn same(a: &Release, b: &Release) -> bool {
    a.stack == b.stack && a.images == b.images && a.files == b.files && a.addresses == b.addresses
}
