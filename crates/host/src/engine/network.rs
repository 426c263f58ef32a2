//! Names this crate's errors where the network primitives of the crate `net` are used.

use model::InstanceId;
use model::instance::{Link, NetworkSpec};
use run::engine::EngineError;
use std::path::Path;

pub fn ensure(network: &NetworkSpec) -> Result<(), EngineError> {
    named(&network.bridge, net::ensure_bridge(network))
}

pub fn remove(bridge: &str) -> Result<(), EngineError> {
    named(bridge, net::remove_bridge(bridge))
}

pub fn ensure_instance(netns: &Path, id: &InstanceId, links: &[Link]) -> Result<(), EngineError> {
    let bridges: Vec<&str> = links.iter().map(|link| link.network.bridge.as_str()).collect();
    named(&bridges.join(", "), net::ensure_instance(netns, id, links))
}

pub fn remove_instance(netns: &Path, id: &InstanceId) -> Result<(), EngineError> {
    named(id.as_str(), net::remove_instance(netns, id))
}

fn named(name: &str, result: Result<(), net::NetError>) -> Result<(), EngineError> {
    result.map_err(|error| EngineError::Network {
        name: name.to_owned(),
        reason: crate::container::chain(&error),
    })
}
