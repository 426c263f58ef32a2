//! What a table says, checked and read before anything is done with it. Pure.

use crate::options::MAX_TABLE_ENTRIES;
use crate::rules;
use crate::snapshot::{Asker, Zone};
use crate::wire::Refusal;
use model::route::{Listener, NameZone, ROUTE_TABLE_VERSION, RouteTable};
use model::rule::HeaderEdits;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A listener over table changes: its address, and who asked for one of several ports.
pub type Key = (SocketAddr, Option<String>);

pub fn key(listener: &Listener) -> Key {
    let is_chosen = listener.address.port() == 0 || listener.last_port != 0;
    (listener.address, is_chosen.then(|| listener.backend.clone()))
}

/// What every answer says where TLS is spoken strictly.
pub fn edits(listener: &Listener) -> Option<HeaderEdits> {
    let hsts = listener.tls.as_ref()?.hsts.clone()?;
    let set = [("strict-transport-security".to_owned(), hsts)].into();
    Some(HeaderEdits { set, ..HeaderEdits::default() })
}

/// The zone as it is asked.
pub fn zone(named: &NameZone) -> Zone {
    let mut reverse = HashMap::new();
    // Of several names for one address the shortest is its own, the rest are aliases, unless the
    // table says which.
    for (name, addresses) in &named.names {
        for address in addresses {
            let best: &mut String = reverse.entry(*address).or_insert_with(|| name.clone());
            if (name.len(), name) < (best.len(), &*best) {
                best.clone_from(name);
            }
        }
    }
    reverse.extend(named.reverse.iter().map(|(address, name)| (*address, name.clone())));
    let names =
        named.names.iter().map(|(name, addresses)| (name.to_ascii_lowercase(), addresses.clone())).collect();
    Zone { names, reverse, forward: named.forward, domain: named.domain.to_ascii_lowercase() }
}

/// Those whose names mean more, by address.
pub fn askers(table: &RouteTable) -> HashMap<IpAddr, Arc<Asker>> {
    let asker = |(address, declared): (&IpAddr, &model::route::Asker)| {
        let aliases =
            declared.aliases.iter().map(|(from, to)| (from.to_ascii_lowercase(), to.to_ascii_lowercase()));
        let (zones, servers) = (declared.zones.clone(), declared.servers.clone());
        (*address, Arc::new(Asker { zones, aliases: aliases.collect(), servers }))
    };
    table.askers.iter().map(asker).collect()
}

/// What makes a table unusable as a whole.
pub fn check(table: &RouteTable) -> Result<(), Refusal> {
    let invalid = |reason: String| Err(Refusal::InvalidTable { reason });
    if table.version != ROUTE_TABLE_VERSION {
        return invalid(format!("it has version {}, known is {ROUTE_TABLE_VERSION}", table.version));
    }
    let endpoints: usize = table.backends.values().map(|backend| backend.endpoints.len()).sum();
    for (what, count) in [
        ("listeners", table.listeners.len()),
        ("listeners for UDP", table.datagrams.len()),
        ("askers", table.askers.len()),
        ("callers", table.callers.len()),
        ("backends", table.backends.len()),
        ("endpoints", endpoints),
        ("zones", table.zones.len()),
    ] {
        if count > MAX_TABLE_ENTRIES {
            return invalid(format!("it has {count} {what}, at most {MAX_TABLE_ENTRIES} are possible"));
        }
    }
    let streams = table.listeners.iter().map(|listener| ("TCP", listener));
    let datagrams = table.datagrams.iter().map(|listener| ("UDP", listener));
    let mut keys = HashSet::new();
    for (transport, listener) in streams.chain(datagrams) {
        let leads_nowhere = listener.backend.is_empty() && !listener.rules.is_empty();
        if !leads_nowhere && !table.backends.contains_key(&listener.backend) {
            return invalid(format!(
                "{} leads to {}, which it does not have",
                listener.address, listener.backend
            ));
        }
        if !keys.insert((transport, key(listener))) {
            return invalid(format!("{} is listened on twice", listener.address));
        }
    }
    rules::check(table).map_err(|reason| Refusal::InvalidTable { reason })?;
    let mut zones = HashSet::new();
    match table.zones.iter().find(|zone| !zones.insert(zone.listen)) {
        Some(twice) => invalid(format!("{} has two zones", twice.listen)),
        None => Ok(()),
    }
}
