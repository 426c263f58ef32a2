//! The addresses that services want to be probed, asked by a task for each of them.

use super::scrape::{Scrapes, next};
use super::{now_ms, pulse};
use observe::collect::Recorder;
use observe::keep::Ends;
use observe::probe::{Options, ProbeError, Prober, Url, series};
use run::control::Probed;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Addresses that are asked.
const PROBES_MAX: usize = 200;

/// Those that are asked; each ends, and says so in the store, when its sender is dropped.
pub type Asked = BTreeMap<Probed, oneshot::Sender<()>>;

pub fn reconcile(scrapes: &Scrapes, asked: &mut Asked, wanted: Vec<Probed>) {
    asked.retain(|probed, _| wanted.contains(probed));
    for probed in wanted.into_iter().take(PROBES_MAX) {
        asked.entry(probed).or_insert_with_key(|probed| {
            let (until, ended) = oneshot::channel();
            tokio::spawn(ask(scrapes.clone(), probed.clone(), ended));
            until
        });
    }
}

/// Asks one address until that is not wanted any more.
async fn ask(scrapes: Scrapes, probed: Probed, mut ended: oneshot::Receiver<()>) {
    let probe = &probed.probe;
    let Ok(url) = Url::parse(&probe.url) else {
        eprintln!("{} of {}/{} cannot be probed", probe.url, probed.stack, probed.service);
        return;
    };
    let options = Options { limit: probe.timeout().as_std(), verify: !probe.insecure };
    let name = format!("probe/{}/{}/{}", probed.stack, probed.service, probe.url);
    let mut recorder = Recorder::new(&name, Ends::WhenMissing, labels(&probed));
    let mut prober: Option<Prober> = None;
    let mut last = i64::MIN;
    loop {
        let second = next(now_ms().max(last), probe.interval(), &name);
        let wait = Duration::from_millis((second - now_ms()).max(0) as u64);
        tokio::select! {
            () = sleep(wait) => {}
            _ = &mut ended => break,
        }
        last = second;
        if prober.is_none() {
            prober = made(&url, &options).await;
        }
        let Some(asked) = &prober else { continue };
        let begun = Instant::now();
        let found = tokio::select! {
            found = asked.ask() => found,
            _ = &mut ended => break,
        };
        let took = begun.elapsed();
        // One that comes too late is left out, as one that never came.
        let _ = recorder.tick(&scrapes.metrics, second, |sink| series::put(&found, took, sink));
        // Whom this machine trusts may have changed.
        if matches!(found, Err(ProbeError::Tls { .. })) {
            prober = None;
        }
    }
    if last != i64::MIN {
        let time = (now_ms() / pulse::TICK_MS * pulse::TICK_MS).max(last + 1);
        let _ = recorder.tick(&scrapes.metrics, time, |_| {});
    }
}

/// Reads this machine's certificates where TLS is spoken.
async fn made(url: &Url, options: &Options) -> Option<Prober> {
    let (url, options) = (url.clone(), options.clone());
    let made = tokio::task::spawn_blocking(move || Prober::new(url, options)).await;
    made.ok()?.ok()
}

fn labels(probed: &Probed) -> Vec<(String, String)> {
    let all = [
        ("job", "probe".to_owned()),
        ("instance", probed.probe.url.clone()),
        ("service", probed.service.to_string()),
        ("stack", probed.stack.to_string()),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).to_vec()
}
