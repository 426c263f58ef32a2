//! `juchu build --check`: each image made twice from nothing, where everything that must not matter
//! is different, then compared.

use super::{BUILDS_DIRECTORY, Bench, Wanted, check_text, refused, seconds};
use crate::cli::screen::Outcome;
use build::ImageStore;
use build::compare::{Comparison, compare};
use build::kinds::{Attributes, copy_inputs};
use build::layout::lock;
use model::image::ImageSource;
use model::{Digest, Report, Service, ServiceName};
use rustix::fs::FlockOperation;
use serde::Serialize;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Archives keep times in steps of two seconds at most.
const APART: Duration = Duration::from_secs(2);

/// What must not matter.
struct Surroundings {
    directory: &'static str,
    attributes: Attributes,
    variables: [(&'static str, &'static str); 4],
}

/// Different in every part.
const BUILDS: [Surroundings; 2] = [
    Surroundings {
        directory: "a",
        attributes: Attributes { owner: 1000, umask: 0o022, modified: 1_000_000_000 },
        variables: [("TZ", "UTC"), ("LANG", "C"), ("USER", "ada"), ("LOGNAME", "ada")],
    },
    Surroundings {
        directory: "another-place/with-a-longer-name",
        attributes: Attributes { owner: 4242, umask: 0o077, modified: 1_700_000_001 },
        variables: [
            ("TZ", "Asia/Kathmandu"),
            ("LANG", "tr_TR.UTF-8"),
            ("USER", "grace"),
            ("LOGNAME", "grace"),
        ],
    },
];

/// What came of one image.
#[derive(Debug, Serialize)]
pub struct Checked {
    pub service: ServiceName,
    pub same: bool,
    pub digests: [Digest; 2],
    /// Whether the builds were made from copies in other places.
    pub moved: bool,
    pub took_ms: [u64; 2],
    pub differences: Comparison,
}

pub async fn check(bench: &mut Bench<'_>, wanted: &Wanted, json: bool) -> Outcome {
    let mut checked = Vec::new();
    for service in &wanted.services {
        checked.push(check_one(bench, service).await?);
    }
    match json {
        true => bench.screen.json(&checked)?,
        false => bench.screen.print(&check_text(&checked, bench.screen))?,
    }
    match checked.iter().all(|one| one.same) {
        true => Ok(()),
        false => Err(refused()),
    }
}

async fn check_one(bench: &mut Bench<'_>, service: &Service) -> Outcome<Checked> {
    let place = Place::new(bench)?;
    let mut digests = Vec::new();
    let mut took = Vec::new();
    let mut moved = true;
    for (number, Surroundings { directory, attributes, variables }) in BUILDS.iter().enumerate() {
        if number > 0 {
            tokio::time::sleep(APART).await;
        }
        bench.screen.note(bench.line(&service.name, &format!("build {} of 2", number + 1)));
        let root = place.0.join(directory);
        let (copy, copied) = elsewhere(service, &root, attributes)?;
        moved &= copied;
        let mut order = bench.order(copy);
        order.store = store_at(&root, bench)?;
        order.cache = root.join("cache");
        order.umask = Some(attributes.umask);
        order.variables.extend(variables.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let began = Instant::now();
        digests.push(bench.make(order).await?.manifest);
        took.push(began.elapsed().as_millis() as u64);
        let text = format!("{} in {}", digests[number].short(), seconds(took[number]));
        bench.screen.note(bench.line(&service.name, &text));
    }
    let same = digests[0] == digests[1];
    let differences = if same { Comparison::default() } else { differences(&place.0, &digests)? };
    let pair = |list: Vec<Digest>| <[Digest; 2]>::try_from(list).expect("two builds");
    Ok(Checked {
        service: service.name.clone(),
        same,
        digests: pair(digests),
        moved,
        took_ms: [took[0], took[1]],
        differences,
    })
}

fn differences(place: &Path, digests: &[Digest]) -> Result<Comparison, Report> {
    let open = |number: usize| ImageStore::open(&place.join(BUILDS[number].directory).join("store"));
    let compared = || {
        let (one, other) = (open(0)?, open(1)?);
        compare((&one, &digests[0]), (&other, &digests[1]), &AtomicBool::new(false))
    };
    compared().map_err(|error| error.report())
}

/// The service with its inputs copied below `root`; as it is where they cannot be.
fn elsewhere(service: &Service, root: &Path, attributes: &Attributes) -> Result<(Service, bool), Report> {
    make_directory(root)?;
    let mut service = service.clone();
    let ImageSource::Build(spec) = &mut service.image else { return Ok((service, true)) };
    if engines::dockerfile::applies(spec) {
        // It may name what lies beside its context.
        return Ok((service, false));
    }
    let Some(context) = &spec.context else { return Ok((service, true)) };
    let copy = root.join(format!("{}-inputs", root.file_name().unwrap_or_default().to_string_lossy()));
    let copied = copy_inputs(context, &copy, attributes).map_err(|error| error.report())?;
    if copied {
        spec.context = Some(copy);
    }
    Ok((service, copied))
}

/// A store that holds nothing but what was fetched from the archive, which is checked on every use.
fn store_at(root: &Path, bench: &Bench<'_>) -> Result<PathBuf, Report> {
    let store = root.join("store");
    make_directory(&store)?;
    let archive = bench.store.root().join("archive");
    symlink(&archive, store.join("archive"))
        .map_err(|error| Report::environment(format!("make {}: {error}", store.display())))?;
    Ok(store)
}

fn make_directory(path: &Path) -> Result<(), Report> {
    fs::create_dir_all(path).map_err(|error| Report::environment(format!("make {}: {error}", path.display())))
}

/// A directory of one check, gone at its end; after a crash the next build finds it by its lock.
struct Place(PathBuf, #[expect(dead_code, reason = "the lock is released when it is dropped")] File);

impl Place {
    fn new(bench: &Bench<'_>) -> Result<Self, Report> {
        let path = bench.home.join(BUILDS_DIRECTORY).join(format!("check-{}", std::process::id()));
        make_directory(&path)?;
        let held = lock(&path.join("lock"), FlockOperation::LockExclusive).map_err(|e| e.report())?;
        let place = Self(path, held);
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o711))
            .map_err(|error| Report::environment(format!("open {}: {error}", place.0.display())))?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays is swept by the next build.
        let _ = fs::remove_dir_all(&self.0);
    }
}
