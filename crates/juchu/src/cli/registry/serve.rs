//! `juchu registry serve`: answers clients until it is told to end, and learns from the daemon, where
//! one runs, which images the releases have.

use super::super::args::{AnonymousArg, RegistryServe};
use super::super::reach;
use super::super::screen::{Outcome, Screen};
use super::super::signals::Signals;
use crate::home::Home;
use ::registry::serve::TlsFiles;
use ::registry::{Limits, Offered, Options, RESERVED, Registry, Users, listen};
use model::Report;
use run::control::ReleaseStanding;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{interval, timeout};

/// How often the daemon is asked which releases there are.
const RELEASES_EVERY: Duration = Duration::from_secs(5);
const RELEASES_TIMEOUT: Duration = Duration::from_secs(30);

pub fn serve(screen: &Screen, home: &Home, args: RegistryServe) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::environment(format!("the registry cannot be started: {error}")))?;
    runtime.block_on(run(screen, home, args))
}

async fn run(screen: &Screen, home: &Home, args: RegistryServe) -> Outcome {
    let store = super::store(home)?;
    let mut signals = Signals::new()?;
    let secure = args.tls_cert.is_some();
    let told = screen.clone();
    let options = Options {
        store: store.clone(),
        address: args.listen,
        tls: args.tls_cert.zip(args.tls_key).map(|(certificate, key)| TlsFiles { certificate, key }),
        plain_http: args.plain_http,
        anonymous: args.anonymous.into(),
        limits: Limits::default(),
        tell: Arc::new(move |text| told.note(text)),
    };
    let listening = listen(options).await?;
    let address = listening
        .address()
        .map_err(|error| Report::environment(format!("the address of the registry: {error}")))?;
    let scheme = if secure { "https" } else { "http" };
    screen.print(&format!("{scheme}://{address}\n"))?;
    screen.note(format!("images of this machine are below {RESERVED}/; Ctrl-C ends it"));
    if args.anonymous == AnonymousArg::Nothing
        && Users::open(&store).is_ok_and(|u| u.all().is_ok_and(|u| u.is_empty()))
    {
        screen.hint(
            "nobody may come in yet: `juchu registry user add NAME` makes a user, also while this runs",
        );
    }
    let registry = listening.registry();
    tokio::select! {
        () = listening.run(async { let _ = signals.next().await; }) => {}
        () = follow(home, &registry) => {}
    }
    Ok(())
}

/// Keeps the registry told of the releases. Without a daemon what was known stays.
async fn follow(home: &Home, registry: &Registry) {
    let mut ticks = interval(RELEASES_EVERY);
    loop {
        ticks.tick().await;
        if let Ok(Ok(offered)) = timeout(RELEASES_TIMEOUT, released(home)).await {
            registry.offer(offered);
        }
    }
}

async fn released(home: &Home) -> Result<Vec<Offered>, Report> {
    let client = reach::running(home).await.map_err(Report::from)?;
    let mut offered = Vec::new();
    for stack in client.stacks().await.map_err(Report::from)? {
        for release in client.releases(&stack.name).await.map_err(Report::from)? {
            if release.standing == ReleaseStanding::Collected {
                continue;
            }
            let tag = release.id.to_string();
            let images = release.manifests.iter().filter_map(|(service, digest)| {
                Offered::new(&format!("{}/{service}", stack.name), &tag, digest.clone())
            });
            offered.extend(images);
        }
    }
    Ok(offered)
}
