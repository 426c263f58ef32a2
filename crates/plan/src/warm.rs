//! Which replaced instances are kept running, without traffic, so that going back is a swap.

use crate::spec::{spec_hash, update_order};
use model::service::{NetworkMode, Transport, UpdateOrder};
use model::{DurationMs, Release, Service, Timestamp};

/// How long a replaced release is kept warm unless `x-juchu.rollout.warm` says otherwise.
pub const WARM: DurationMs = DurationMs::from_secs(300);

/// How long replaced instances of this service are kept. Only what gets its work through the gateway
/// can be kept without working twice: a replaced queue worker is stopped.
pub fn time(release: &Release, service: &Service) -> DurationMs {
    let declared = service.policy.rollout.warm;
    let by_gateway = service.network_mode == NetworkMode::Stack && !service.policy.direct;
    match declared.unwrap_or(WARM) {
        _ if !by_gateway || update_order(service) == UpdateOrder::StopFirst => DurationMs(0),
        // A port that is only said to exist counts where nothing was declared, too.
        time if declared.is_some() || has_port(release, service) => time,
        _ => DurationMs(0),
    }
}

fn has_port(release: &Release, service: &Service) -> bool {
    let published = service.ports.iter().any(|p| p.transport == Transport::Tcp);
    let exposed = service.expose.iter().any(|p| p.transport == Transport::Tcp);
    let image =
        release.images.get(&service.name).is_some_and(|i| i.config.ports.iter().any(|(_, t)| t == "tcp"));
    published || exposed || image
}

/// Until when something of `previous` is kept beside `active`, which took its place at `since`.
pub fn until(previous: &Release, active: &Release, since: Timestamp) -> Option<Timestamp> {
    let replaced = active.stack.services.values().filter_map(|service| {
        let before = previous.stack.services.get(&service.name)?;
        let differs = spec_hash(previous, before) != spec_hash(active, service);
        differs.then(|| time(previous, before))
    });
    replaced.max().filter(|time| time.0 > 0).map(|time| since.plus(time))
}
