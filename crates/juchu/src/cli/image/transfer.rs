//! `juchu image pull` and `push`: images from and to registries.

use super::work;
use super::{all, meant, open};
use crate::cli::args::{ImagePull, ImagePush, PushCompression, StackArgs};
use crate::cli::screen::{Outcome, Screen};
use crate::home::Home;
use build::catalogue::{LOCAL, Stored};
use build::pull::{PullOptions, Reference};
use build::push::{Compression, PushOptions, Pushed};
use build::{ImageStore, pull as fetch, push as store_away};
use model::image::PullPolicy;
use model::{Bytes, Digest, Report};
use serde::Serialize;

/// What `pull --json` prints.
#[derive(Debug, Serialize)]
struct Pulled {
    reference: String,
    digest: Digest,
    size_bytes: u64,
    platform: String,
    /// Documents that belong to it, by type.
    documents: Vec<String>,
}

pub async fn pull(screen: &Screen, home: &Home, args: &ImagePull) -> Outcome {
    let store = ImageStore::open(&home.join("images")).map_err(|e| e.report())?;
    let name = args.reference.clone();
    let (platform, beside) = (args.platform.clone(), !args.no_referrers);
    let (store, image) =
        work::run(screen, "what was fetched of its layers is resumed by the next pull", move |job| {
            let job = build::Job::new(job.progress, job.cancel);
            let options = PullOptions { platform, beside, ..PullOptions::new(job, PullPolicy::Always) };
            let image = fetch(&name, &store, &options)?;
            Ok((store, image))
        })
        .await?;
    let images = all(&store)?;
    let found: &Stored = images
        .iter()
        .find(|i| i.digest == image.manifest)
        .ok_or_else(|| Report::internal("it is gone again"))?;
    let pulled = Pulled {
        reference: image.origin.clone(),
        digest: image.manifest.clone(),
        size_bytes: found.size_bytes,
        platform: found.platform.clone(),
        documents: found.referrers.keys().cloned().collect(),
    };
    match args.output.json {
        true => screen.json(&pulled),
        false => {
            screen.note(format!(
                "{} of layers and documents for {}",
                Bytes(pulled.size_bytes),
                pulled.platform
            ));
            screen.print(&format!("{}\n", with_digest(&pulled.reference, &pulled.digest)))
        }
    }
}

pub async fn push(screen: &Screen, home: &Home, args: &ImagePush, stack: &StackArgs) -> Outcome {
    let store = open(home)?;
    let images = all(&store)?;
    let image = meant(home, &images, &args.image, stack).await?;
    let reference = match &args.reference {
        Some(reference) => reference.clone(),
        None => own_name(image, &args.image)?,
    };
    let (digest, beside) = (image.digest.clone(), !args.no_referrers);
    let compression = match args.compression {
        PushCompression::Gzip => Compression::Gzip,
        PushCompression::Zstd => Compression::AsStored,
    };
    let pushed = work::run(screen, "the registry forgets what it got of it by itself", move |job| {
        let job = build::Job::new(job.progress, job.cancel);
        let options = PushOptions { compression, beside, ..PushOptions::new(job) };
        store_away(&store, &digest, &reference, &options)
    })
    .await?;
    if args.output.json {
        return screen.json(&pushed);
    }
    screen.note(summary(&pushed));
    if pushed.signatures == 0 && pushed.signatures_left > 0 {
        screen.warn("it was signed in another form than this one, so it is not signed there");
        screen.hint(format!("`juchu image sign {} --key FILE` signs both forms", args.image));
    }
    screen.print(&format!("{}\n", with_digest(&pushed.reference, &pushed.digest)))
}

/// The first name that leads to a registry; those of this machine do not.
fn own_name(image: &Stored, wanted: &str) -> Result<String, Report> {
    let names = image.names.iter().filter(|name| !name.starts_with(LOCAL));
    // Where it is pushed under a digest it would have to be there already.
    let name = names.into_iter().find(|name| !name.contains('@'));
    name.cloned().ok_or_else(|| {
        Report::usage(format!("`{wanted}` has no name in a registry"))
            .hint(format!("say where to: `juchu image push {wanted} registry.example/team/name:1`"))
    })
}

/// `HOST/NAME@sha256:…`, by which it is fetched again byte by byte.
fn with_digest(reference: &str, digest: &Digest) -> String {
    match Reference::parse(reference) {
        Ok(reference) => format!("{}/{}@{digest}", reference.registry, reference.repository),
        Err(_) => format!("{reference}@{digest}"),
    }
}

fn summary(pushed: &Pushed) -> String {
    let blobs = &pushed.blobs;
    let mut parts = vec![format!("{} sent in {} blobs", Bytes(pushed.sent_bytes), blobs.sent)];
    if blobs.mounted > 0 {
        parts.push(format!("{} taken over from other repositories", blobs.mounted));
    }
    if blobs.there > 0 {
        parts.push(format!("{} there already", blobs.there));
    }
    if pushed.documents > 0 {
        parts.push(format!("{} documents beside it", pushed.documents));
    }
    parts.join(", ")
}
