//! The immutable bundle that is deployed and rolled back to.

use crate::image::BuiltImage;
use crate::{Digest, ReleaseId, ServiceName, Stack, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub id: ReleaseId,
    pub stack: Stack,
    /// One image for each service.
    pub images: BTreeMap<ServiceName, BuiltImage>,
    /// Content digests of configs and secrets by `config/KEY` and `secret/KEY`.
    pub files: BTreeMap<String, Digest>,
    /// Addresses of its networks, kept from release to release.
    pub addresses: BTreeMap<crate::NetworkName, NetworkAddresses>,
    pub made: Timestamp,
}

/// Which addresses a stack's network uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAddresses {
    pub bridge: String,
    pub gateway: std::net::Ipv4Addr,
    pub prefix_len: u8,
    pub internal: bool,
    /// The stable virtual address of each service on it.
    pub services: BTreeMap<ServiceName, std::net::Ipv4Addr>,
}
