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
    /// Specification hashes, computed by the planner when first asked for.
    #[serde(skip)]
    pub hashes: Memo<BTreeMap<ServiceName, Digest>>,
}

/// Something that follows from the rest of a value, computed once. It is no part of the value: a
/// clone begins without it, and all are equal.
#[derive(Debug, Default)]
pub struct Memo<T>(std::sync::OnceLock<T>);

impl<T> Memo<T> {
    pub fn get_or(&self, compute: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(compute)
    }
}

impl<T: Default> Clone for Memo<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T> PartialEq for Memo<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Instances get their addresses from this part of the subnet only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<crate::subnet::Cidr>,
    /// Given to nobody that did not ask for it: auxiliary and fixed addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<std::net::Ipv4Addr>,
}
