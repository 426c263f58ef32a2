//! Certificates that somebody else leaves in files, followed as they change.

use crate::pem::{self, Facts};
use crate::shelf;
use crate::{CertError, Shelf};
use std::path::Path;
use std::time::SystemTime;

/// By what a change of the two files is noticed.
pub type Seen = [Option<(SystemTime, u64)>; 2];

pub fn seen(certificate: &Path, key: &Path) -> Seen {
    [certificate, key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

/// Takes the files over if they belong together, have not ended and are valid for all hosts.
pub fn take(
    (name, hosts): (&str, &[String]),
    certificate: &Path,
    key: &Path,
    now_ms: i64,
    to: &Shelf,
) -> Result<Facts, CertError> {
    let mut chain = shelf::read(certificate)?;
    let secret = shelf::read(key)?;
    let facts = pem::look(&chain, &secret, (certificate, key))?;
    if facts.end_ms <= now_ms {
        return Err(CertError::Ended);
    }
    if let Some(host) = hosts.iter().find(|host| !facts.is_for(host)) {
        return Err(CertError::NotFor(host.clone()));
    }
    chain.push(b'\n');
    chain.extend_from_slice(&secret);
    to.put(name, &chain)?;
    Ok(facts)
}
