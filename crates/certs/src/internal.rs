//! The authority of this machine's own, for development: made once, its key readable by this user
//! alone, good for nothing that people have not told to trust it.

use crate::pem::{self, Facts};
use crate::shelf;
use crate::{CertError, Shelf};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

const ROOT_LIFE: Duration = Duration::days(3650);
/// Short, because nobody has to do anything for the next one.
const LEAF_LIFE: Duration = Duration::days(7);
/// Clocks of clients may be late.
const EARLIER: Duration = Duration::hours(1);

/// Where it is kept.
#[derive(Debug, Clone)]
pub struct Authority {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    /// That of the directory in which a keeper has its state.
    pub fn of(state: &Path) -> Self {
        Self::new(&state.join("authority"))
    }

    pub(crate) fn new(directory: &Path) -> Self {
        Self { certificate: directory.join("root.pem"), key: directory.join("root.key") }
    }

    /// Where its certificate is.
    pub fn path(&self) -> &Path {
        &self.certificate
    }

    /// Its certificate in PEM; made now if there is none.
    pub fn root(&self, now_ms: i64) -> Result<String, CertError> {
        self.make(now_ms)?;
        String::from_utf8(shelf::read(&self.certificate)?)
            .map_err(|_| CertError::Authority(self.certificate.clone()))
    }

    fn make(&self, now_ms: i64) -> Result<(), CertError> {
        if self.certificate.exists() && self.key.exists() {
            return Ok(());
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named("Juchu development authority");
        (params.not_before, params.not_after) = (at(now_ms) - EARLIER, at(now_ms) + ROOT_LIFE);
        let root = params.self_signed(&key)?;
        // The key first: a certificate without one would never be replaced.
        shelf::write(&self.key, key.serialize_pem().as_bytes())?;
        shelf::write(&self.certificate, root.pem().as_bytes())
    }

    /// A certificate for the hosts, with a new key.
    pub fn issue(&self, name: &str, hosts: &[String], now_ms: i64, to: &Shelf) -> Result<Facts, CertError> {
        let root = self.root(now_ms)?;
        let unusable = || CertError::Authority(self.certificate.clone());
        let key = String::from_utf8(shelf::read(&self.key)?).map_err(|_| unusable())?;
        let key = KeyPair::from_pem(&key).map_err(|_| unusable())?;
        let issuer = Issuer::from_ca_cert_pem(&root, key).map_err(|_| unusable())?;
        let mut params = CertificateParams::new(hosts.to_vec())?;
        params.distinguished_name = named(hosts.first().map_or(name, String::as_str));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = (at(now_ms) - EARLIER, at(now_ms) + LEAF_LIFE);
        let leaf_key = KeyPair::generate()?;
        let leaf = params.signed_by(&leaf_key, &issuer)?;
        let (chain, secret) = (leaf.pem(), leaf_key.serialize_pem());
        let facts = pem::look(chain.as_bytes(), secret.as_bytes(), (&self.certificate, &self.key))?;
        to.put(name, (chain + &secret).as_bytes())?;
        Ok(facts)
    }
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn at(ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(ms / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: i64 = 1_790_000_000_000;

    #[test]
    fn the_root_stays_and_leaves_are_short() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new(&directory.path().join("authority"));
        let shelf = Shelf::new(directory.path().join("certificates"));
        let root = authority.root(NOW).expect("it is made");
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let facts = authority.issue("shop.web", &hosts, NOW, &shelf).expect("it is made");
        assert!(hosts.iter().all(|host| facts.is_for(host)), "{facts:?}");
        assert_eq!(facts.end_ms - NOW, 7 * 86_400_000);
        assert_eq!(authority.root(NOW + 1000).expect("it is there"), root);
        let key = directory.path().join("authority/root.key");
        assert_eq!(key.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        assert!(shelf.get("shop.web").is_some_and(|pem| pem.starts_with(b"-----BEGIN CERTIFICATE")));
    }

    #[test]
    fn a_broken_authority_is_named_and_not_replaced() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new(directory.path());
        authority.root(NOW).expect("it is made");
        std::fs::write(directory.path().join("root.key"), "no key").expect("it is writable");
        let shelf = Shelf::new(directory.path());
        let error = authority.issue("a", &["localhost".to_owned()], NOW, &shelf).expect_err("it is broken");
        assert!(matches!(error, CertError::Authority(_)), "{error}");
    }
}
