//! The directory in which the daemon leaves certificates, read as a whole whenever it says so.
//!
//! ```text
//! certificates/NAME.pem                chain and key, as a listener names them
//! certificates/challenges/TOKEN.txt    what HTTP-01 is answered
//! certificates/challenges/HOST.pem     what TLS-ALPN-01 is shown
//! ```

use crate::options::{MAX_CERTIFICATE_BYTES, MAX_CERTIFICATES};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use webpki::EndEntityCert;

/// Where challenges of certificate authorities lie.
const CHALLENGES: &str = "challenges";

/// What can be shown to clients.
#[derive(Default)]
pub struct Certificates {
    named: HashMap<String, Arc<Named>>,
    /// By the names they are valid for, lower case; `*.` for one label.
    by_host: HashMap<String, Arc<CertifiedKey>>,
    challenges: HashMap<String, Arc<CertifiedKey>>,
    tokens: HashMap<String, Vec<u8>>,
}

struct Named {
    key: Arc<CertifiedKey>,
    hosts: Vec<String>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it has more than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLarge,
    #[error("it holds no certificate in PEM")]
    NoCertificate,
    #[error("it holds no private key in PEM")]
    NoKey,
    #[error("its key cannot be used: {0}")]
    Key(rustls::Error),
    #[error("its certificate cannot be read: {0:?}")]
    Certificate(webpki::Error),
}

impl Certificates {
    /// Reads the directory; what cannot be used is left out and told.
    pub fn load(directory: &Path, provider: &CryptoProvider) -> (Self, Vec<String>) {
        let mut shelf = Self::default();
        let mut faults = Vec::new();
        for (name, path) in files(directory, "pem", &mut faults) {
            match certified(&path, provider) {
                Ok((key, hosts)) => shelf.put(name, key, hosts),
                Err(error) => faults.push(format!("certificate {}: {error}", path.display())),
            }
        }
        let challenges = directory.join(CHALLENGES);
        for (host, path) in files(&challenges, "pem", &mut faults) {
            match proof(&path, provider) {
                Ok(key) => drop(shelf.challenges.insert(host.to_ascii_lowercase(), key)),
                Err(error) => faults.push(format!("challenge {}: {error}", path.display())),
            }
        }
        for (token, path) in files(&challenges, "txt", &mut faults) {
            match read(&path) {
                Ok(answer) => drop(shelf.tokens.insert(token, answer)),
                Err(error) => faults.push(format!("challenge {}: {error}", path.display())),
            }
        }
        (shelf, faults)
    }

    fn put(&mut self, name: String, key: Arc<CertifiedKey>, hosts: Vec<String>) {
        for host in &hosts {
            self.by_host.entry(host.clone()).or_insert_with(|| key.clone());
        }
        self.named.insert(name, Arc::new(Named { key, hosts }));
    }

    /// For a client that asks for `host`, or for none: the listener's own if it is valid for it,
    /// another that is, else the listener's own.
    pub fn choose(&self, own: &str, host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let own = self.named.get(own);
        let Some(host) = host.map(str::to_ascii_lowercase) else { return own.map(|own| own.key.clone()) };
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        if let Some(own) = own
            && own.hosts.iter().any(|known| *known == host || Some(known) == wildcard.as_ref())
        {
            return Some(own.key.clone());
        }
        let other = self.by_host.get(&host).or_else(|| self.by_host.get(&wildcard?));
        other.cloned().or_else(|| own.map(|own| own.key.clone()))
    }

    /// What proves to a certificate authority that the host is served here.
    pub fn challenge(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.challenges.get(&host.to_ascii_lowercase()).cloned()
    }

    /// The same by HTTP.
    pub fn token(&self, token: &str) -> Option<&[u8]> {
        self.tokens.get(token).map(Vec::as_slice)
    }

    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Names of the certificates that are there.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.named.keys().cloned().collect();
        names.sort();
        names
    }
}

/// The files of a kind by the names before their endings, in order; none if there is no directory.
fn files(directory: &Path, ending: &str, faults: &mut Vec<String>) -> Vec<(String, PathBuf)> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            faults.push(format!("{}: {error}", directory.display()));
            return Vec::new();
        }
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<(String, PathBuf)> = paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .collect();
    found.sort();
    if found.len() > MAX_CERTIFICATES {
        let more = found.len() - MAX_CERTIFICATES;
        faults.push(format!("{}: {more} files are too many and are left out", directory.display()));
        found.truncate(MAX_CERTIFICATES);
    }
    found
}

fn read(path: &Path) -> Result<Vec<u8>, ShelfError> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_CERTIFICATE_BYTES as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_CERTIFICATE_BYTES { Err(ShelfError::TooLarge) } else { Ok(content) }
}

/// A proof has an extension that must be understood by whoever checks it, which here is nobody.
fn proof(path: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, ShelfError> {
    let pem = read(path)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| ShelfError::NoKey)?;
    let key = provider.key_provider.load_private_key(key).map_err(ShelfError::Key)?;
    Ok(Arc::new(CertifiedKey::new(chain(&pem)?, key)))
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ShelfError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| ShelfError::NoCertificate)?;
    if chain.is_empty() { Err(ShelfError::NoCertificate) } else { Ok(chain) }
}

fn certified(path: &Path, provider: &CryptoProvider) -> Result<(Arc<CertifiedKey>, Vec<String>), ShelfError> {
    let pem = read(path)?;
    let chain = chain(&pem)?;
    let leaf = chain.first().ok_or(ShelfError::NoCertificate)?;
    let hosts = {
        let leaf = EndEntityCert::try_from(leaf).map_err(ShelfError::Certificate)?;
        leaf.valid_dns_names().map(str::to_ascii_lowercase).collect()
    };
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| ShelfError::NoKey)?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(ShelfError::Key)?;
    Ok((Arc::new(key), hosts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;

    fn pem(hosts: &[&str]) -> String {
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("names are valid");
        made.cert.pem() + &made.signing_key.serialize_pem()
    }

    /// As RFC 8737 wants it: with a critical extension.
    fn proof_of(host: &str) -> String {
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).expect("a name");
        params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem() + &key.serialize_pem()
    }

    fn shelf(files: &[(&str, &str)]) -> (Certificates, Vec<String>) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join(CHALLENGES)).expect("it is new");
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).expect("it is writable");
        }
        Certificates::load(directory.path(), &default_provider())
    }

    fn leaf(shelf: &Certificates, own: &str, host: Option<&str>) -> Option<Vec<u8>> {
        shelf.choose(own, host).map(|key| key.cert[0].to_vec())
    }

    #[test]
    fn the_certificate_is_chosen_by_host_then_by_listener() {
        let (shelf, faults) = shelf(&[
            ("a.web.pem", &pem(&["a.example", "shared.example"])),
            ("b.web.pem", &pem(&["*.b.example", "shared.example"])),
        ]);
        assert_eq!(faults, [] as [String; 0]);
        assert_eq!(shelf.names(), ["a.web", "b.web"]);
        let (a, b) = (leaf(&shelf, "a.web", None), leaf(&shelf, "b.web", None));
        assert!(a.is_some() && b.is_some() && a != b);
        for (own, host, expect) in [
            ("a.web", "A.example", &a),
            ("b.web", "a.example", &a),
            ("a.web", "x.b.example", &b),
            ("a.web", "x.y.b.example", &a),
            ("a.web", "shared.example", &a),
            ("b.web", "shared.example", &b),
            ("a.web", "unknown.example", &a),
            ("missing", "a.example", &a),
            ("missing", "unknown.example", &None),
        ] {
            assert_eq!(&leaf(&shelf, own, Some(host)), expect, "{own} {host}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_and_stops_nothing_else() {
        let good = pem(&["a.example"]);
        let (other, _) = good.split_once("-----BEGIN PRIVATE").expect("a key follows");
        let foreign = other.to_owned() + &pem(&["b.example"])[other.len()..];
        let (shelf, faults) = shelf(&[
            ("good.pem", &good),
            ("empty.pem", ""),
            ("keyless.pem", other),
            ("foreign.pem", &foreign),
            ("large.pem", &"x".repeat(MAX_CERTIFICATE_BYTES + 1)),
            ("notes.txt", "no certificate"),
            ("challenges/tok_en-1.txt", "tok_en-1.thumb"),
            ("challenges/c.example.pem", &proof_of("c.example")),
        ]);
        assert_eq!(shelf.names(), ["good"]);
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert_eq!(shelf.token("tok_en-1"), Some(&b"tok_en-1.thumb"[..]));
        assert!(shelf.challenge("C.example").is_some() && shelf.challenge("d.example").is_none());
    }
}
