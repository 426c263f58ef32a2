//! `juchu build`: images made here and now, without a daemon and without a deploy.

mod check;
mod plain;

pub use check::Checked;

use super::args::{Build, StackArgs};
use super::image_text::{built_text, check_text};
use super::screen::{Ended, Hue, Outcome, Screen, safe};
use super::signals::Signals;
use super::{Hooks, load, target};
use crate::home::Home;
use build::ImageStore;
use build::catalogue::{LOCAL, Stored, find, stored};
use model::image::{BuiltImage, ImageSource};
use model::{ErrorKind, Report, Service, ServiceName, StackName};
use run::ports::Say;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Below the home: what a build needs while it goes on, in a directory with a file `lock`.
pub const BUILDS_DIRECTORY: &str = "builds";
/// Lines that may wait to be shown.
const LINES_WAITING: usize = 256;
/// Columns of a service's name before a line.
const NAME_MAX: usize = 24;

/// What is to be made, and with what.
#[derive(Debug, Clone)]
pub struct BuildOrder {
    pub service: Service,
    /// Root of the image store.
    pub store: PathBuf,
    /// Downloads and compiler output.
    pub cache: PathBuf,
    /// Of the building process; its own unless stated.
    pub umask: Option<u32>,
    /// Beside the variables of this process.
    pub variables: BTreeMap<String, String>,
}

pub type Make = fn(&Home, BuildOrder, Say, &AtomicBool) -> Result<BuiltImage, Report>;

/// One image that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Built {
    pub service: ServiceName,
    pub name: String,
    pub digest: model::Digest,
    pub size_bytes: u64,
    pub took_ms: u64,
    pub layers: usize,
}

/// What is to be built, and what the images will be called.
struct Wanted {
    stack: Option<StackName>,
    services: Vec<Service>,
}

impl Wanted {
    fn name_of(&self, service: &Service) -> String {
        match &self.stack {
            Some(stack) => format!("{LOCAL}{stack}/{}:latest", service.name.as_str().to_ascii_lowercase()),
            None => format!("{LOCAL}{}:latest", service.name),
        }
    }
}

pub async fn build(screen: &Screen, home: &Home, args: Build, stack: StackArgs, hooks: &Hooks) -> Outcome {
    hooks.go_inside(home);
    let wanted = wanted(screen, &args, &stack)?;
    let mut bench = Bench::new(screen, home, hooks, &wanted)?;
    bench.locked = args.locked;
    if args.check {
        return check::check(&mut bench, &wanted, args.output.json).await;
    }
    let mut made = Vec::new();
    for service in &wanted.services {
        let began = Instant::now();
        let order = bench.order(service.clone());
        let image = bench.make(order).await?;
        let one = bench.keep(&wanted.name_of(service), service, &image, began.elapsed())?;
        screen
            .note(bench.line(&service.name, &format!("{} in {}", one.digest.short(), seconds(one.took_ms))));
        made.push(one);
    }
    match args.output.json {
        true => screen.json(&made),
        false => screen.print(&built_text(&made, screen)),
    }
}

pub fn seconds(milliseconds: u64) -> String {
    format!("{:.1} s", milliseconds as f64 / 1000.0)
}

/// The services to be built; a directory without a Compose file is one of its own.
fn wanted(screen: &Screen, args: &Build, stack: &StackArgs) -> Outcome<Wanted> {
    if let Some(service) = plain::project(&args.targets, stack)? {
        return Ok(Wanted { stack: None, services: vec![service] });
    }
    let (directory, named) = load::split_targets(&args.targets, stack);
    let declared = load::load_present(screen, stack, directory.as_deref())?;
    let named = target::services(&named, declared.services.keys())?;
    let mut services = Vec::new();
    for service in declared.services.values().filter(|s| named.is_empty() || named.contains(&s.name)) {
        match &service.image {
            ImageSource::Pull { reference, .. } if named.contains(&service.name) => screen.note(format!(
                "{} uses the image {}: there is nothing to build",
                service.name,
                safe(reference)
            )),
            ImageSource::Pull { .. } => {}
            _ => services.push(service.clone()),
        }
    }
    if services.is_empty() {
        return Err(Report::usage(format!("no service of {} is built", declared.name))
            .hint("a service is built when it has `build:`, `x-juchu.image` or `x-juchu.component`")
            .into());
    }
    Ok(Wanted { stack: Some(declared.name), services })
}

/// Where images are made one after the other.
struct Bench<'a> {
    screen: &'a Screen,
    home: &'a Home,
    make: Make,
    store: ImageStore,
    signals: Signals,
    /// Columns of the longest name.
    wide: usize,
    /// Nothing may be chosen beside lock files.
    locked: bool,
}

impl<'a> Bench<'a> {
    fn new(screen: &'a Screen, home: &'a Home, hooks: &Hooks, wanted: &Wanted) -> Result<Self, Report> {
        let wide = wanted.services.iter().map(|s| s.name.as_str().len()).max().unwrap_or_default();
        let store = ImageStore::open(&home.join("images")).map_err(|e| e.report())?;
        let (wide, signals) = (wide.min(NAME_MAX), Signals::new()?);
        Ok(Self { screen, home, make: hooks.make, store, signals, wide, locked: false })
    }

    fn order(&self, service: Service) -> BuildOrder {
        let locked = self.locked.then(|| (build::kinds::LOCKED.to_owned(), "1".to_owned()));
        BuildOrder {
            service,
            store: self.store.root().to_owned(),
            cache: self.home.join("cache"),
            umask: None,
            variables: locked.into_iter().collect(),
        }
    }

    fn line(&self, service: &ServiceName, text: &str) -> String {
        let name = console::text::cut(service.as_str(), NAME_MAX);
        let name = self.screen.err.on(Hue::Quiet, &format!("{name:wide$}", wide = self.wide));
        format!("{name}  {}", safe(text))
    }

    /// Makes one image and shows what that says. Ctrl-C ends it and leaves nothing.
    async fn make(&mut self, order: BuildOrder) -> Outcome<BuiltImage> {
        let service = order.service.name.clone();
        let (lines, mut said) = mpsc::channel(LINES_WAITING);
        let say: Say = Arc::new(move |line| {
            // A line too many is not missed.
            let _ = lines.try_send(line);
        });
        let cancel = Arc::new(AtomicBool::new(false));
        let (sender, mut done) = oneshot::channel();
        let (make, home, stop) = (self.make, self.home.clone(), Arc::clone(&cancel));
        std::thread::spawn(move || {
            // Whoever waited has gone only when this process ends.
            let _ = sender.send(make(&home, order, say, &stop));
        });
        let result = loop {
            tokio::select! {
                biased;
                Some(line) = said.recv() => self.screen.note(self.line(&service, &line)),
                result = &mut done => break result,
                _ = self.signals.next() => cancel.store(true, Ordering::Relaxed),
            }
        };
        if cancel.load(Ordering::Relaxed) {
            self.screen.note("stopped; nothing of it is kept");
            return Err(Ended::Code(130));
        }
        let result = result.map_err(|_| Report::internal("the build broke off"))?;
        Ok(result.map_err(|mut report| {
            report.error = format!("{service}: {}", report.error);
            report
        })?)
    }

    fn keep(
        &self,
        name: &str,
        service: &Service,
        image: &BuiltImage,
        took: Duration,
    ) -> Result<Built, Report> {
        self.store.tag(name, &image.manifest).map_err(|e| e.report())?;
        let all = stored(&self.store).map_err(|e| e.report())?;
        let one: &Stored = find(&all, image.manifest.as_str()).map_err(|e| e.report())?;
        Ok(Built {
            service: service.name.clone(),
            name: name.to_owned(),
            digest: image.manifest.clone(),
            size_bytes: one.size_bytes,
            took_ms: took.as_millis() as u64,
            layers: one.layers.len(),
        })
    }
}

/// The exit code of a check that failed.
fn refused() -> Ended {
    Ended::Code(ErrorKind::Check.exit_code())
}
