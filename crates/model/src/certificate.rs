//! Certificates: what a service declares, what is wanted because of it, and how it stands.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// `x-juchu.tls`: the service's published ports speak TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPolicy {
    pub source: CertificateSource,
    /// Names the certificate is to be valid for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Host ports that speak it; 443 if that is published, else all but 80, when none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Published ports without TLS lead to the first that speaks it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirect: bool,
    /// What answers say under `Strict-Transport-Security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<String>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum CertificateSource {
    /// An authority of this machine's own, for development.
    Internal,
    /// Two files in PEM; the key's content stays out of everything but the gateway's directory.
    Files { certificate: String, key: String },
    /// A certificate authority, by ACME.
    Auto(Acme),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Acme {
    /// Where the authority writes to before a certificate ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// URL of its directory; that of Let's Encrypt when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// File with the certificate by which the directory itself is trusted, for an authority of one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
    /// How hosts are proved; by HTTP and by TLS in turn when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Challenge {
    /// HTTP-01: over port 80.
    Http,
    /// TLS-ALPN-01: over port 443.
    Tls,
}

/// A certificate that a release in force needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateWanted {
    /// `STACK.SERVICE`: how listeners name it.
    pub name: String,
    pub hosts: Vec<String>,
    pub source: CertificateSource,
}

/// How one stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    pub name: String,
    pub hosts: Vec<String>,
    /// `internal`, `files` or `auto`.
    pub source: String,
    /// The end of the one that is shown; none is shown when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Why there is none, or why it could not be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When it is tried again, or renewed; absent for files, which are looked at all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// How often in a row it could not be had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl CertificateSource {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Files { .. } => "files",
            Self::Auto(_) => "auto",
        }
    }
}

/// How listeners name a service's certificate.
pub fn certificate_name(stack: &str, service: &str) -> String {
    format!("{stack}.{service}")
}
