//! What can go wrong between a network as declared and the kernel.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("network {name}: {reason}")]
    Spec { name: String, reason: String },
    #[error("network {name}: {address} is not an IPv4 address, and IPv6 networks are not supported")]
    NotIpv4 { name: String, address: IpAddr },
    /// An interface of that name belongs to somebody else.
    #[error("the interface {0} exists and was not made by juchu")]
    NameTaken(String),
    #[error("no bridge {0}")]
    NoBridge(String),
    /// The kernel refused one request.
    #[error("{what}")]
    Kernel {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others kept changing the firewall while ours was being written.
    #[error("the firewall kept changing while the rules were being written ({attempts} attempts)")]
    RulesContended { attempts: u32 },
}

impl NetError {
    /// For `map_err`: says what was asked of the kernel.
    pub(crate) fn kernel<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Kernel { what, source: source.into() }
    }

    pub(crate) fn file<E: Into<io::Error>>(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source: source.into() }
    }

    /// Whether the process lacks the right to do this (root or CAP_NET_ADMIN and CAP_SYS_ADMIN).
    pub fn is_permission(&self) -> bool {
        match self {
            NetError::Kernel { source, .. } | NetError::File { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }
}
