//! A chain with its key, as it comes in PEM: what it is valid for, and until when.

use crate::CertError;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::net::IpAddr;
use std::path::Path;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Names and addresses, lower case.
    pub hosts: Vec<String>,
    /// Milliseconds since 1970.
    pub begin_ms: i64,
    pub end_ms: i64,
}

/// Looks at a chain and its key; `from` names them where something is missing.
pub fn look(chain: &[u8], key: &[u8], from: (&Path, &Path)) -> Result<Facts, CertError> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().unwrap_or_default();
    let leaf = certificates.first().ok_or_else(|| CertError::NoCertificate(from.0.to_owned()))?;
    let facts = facts(leaf)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertError::NoKey(from.1.to_owned()))?;
    match CertifiedKey::from_der(certificates, key, &default_provider()) {
        Ok(_) => Ok(facts),
        Err(rustls::Error::InconsistentKeys(_)) => Err(CertError::Mismatch),
        Err(error) => Err(CertError::Key(error.to_string())),
    }
}

fn facts(leaf: &[u8]) -> Result<Facts, CertError> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|e| CertError::Unreadable(e.to_string()))?;
    let names = leaf.subject_alternative_name().map_err(|e| CertError::Unreadable(e.to_string()))?;
    let names = names.map(|found| found.value.general_names.as_slice()).unwrap_or_default();
    Ok(Facts {
        hosts: names.iter().filter_map(host).collect(),
        begin_ms: leaf.validity().not_before.timestamp() * 1000,
        end_ms: leaf.validity().not_after.timestamp() * 1000,
    })
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
            bytes => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    }
}

impl Facts {
    /// Whether it is valid for the host, by name or by a wildcard for one label.
    pub fn is_for(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.hosts.iter().any(|known| *known == host || Some(known) == wildcard.as_ref())
    }
}
