//! The certificate and key that people give, read again when the files change: a renewed
//! certificate counts without a restart.

use arc_swap::ArcSwap;
use model::Report;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

/// Certificates of one chain.
const CHAIN_MAX: usize = 16;

/// Where certificate and key are, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's own first, then what leads to a root.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

pub struct Tls {
    files: TlsFiles,
    loaded: ArcSwap<(Stamp, Arc<ServerConfig>)>,
}

type Stamp = [Option<SystemTime>; 2];

impl Tls {
    pub fn open(files: TlsFiles) -> Result<Self, Report> {
        let loaded = Arc::new((files.stamp(), files.load()?));
        Ok(Self { files, loaded: ArcSwap::new(loaded) })
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.loaded.load().1.clone())
    }

    /// Reads the files again if they have changed. What cannot be read leaves everything as it was.
    pub fn refresh(&self) -> Result<(), Report> {
        let stamp = self.files.stamp();
        if stamp != self.loaded.load().0 {
            let config = match self.files.load() {
                Ok(config) => config,
                Err(report) => {
                    // Said once for each state of the files.
                    let before = self.loaded.load().1.clone();
                    self.loaded.store(Arc::new((stamp, before)));
                    return Err(report);
                }
            };
            self.loaded.store(Arc::new((stamp, config)));
        }
        Ok(())
    }
}

impl TlsFiles {
    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| fs::metadata(path).and_then(|m| m.modified()).ok())
    }

    fn load(&self) -> Result<Arc<ServerConfig>, Report> {
        let hint = "both are PEM files: `--tls-cert` the chain, the server's own certificate first, `--tls-key` its key";
        let certificate = |reason: &dyn std::fmt::Display| {
            Report::usage(format!("the certificate {}: {reason}", self.certificate.display())).hint(hint)
        };
        let key = |reason: &dyn std::fmt::Display| {
            Report::usage(format!("the key {}: {reason}", self.key.display())).hint(hint)
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.certificate)
            .map_err(|error| certificate(&error))?
            .take(CHAIN_MAX)
            .collect();
        let chain = chain.map_err(|error| certificate(&error))?;
        if chain.is_empty() {
            return Err(certificate(&"it holds no certificate"));
        }
        let private = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| key(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Report::internal(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| key(&error))?;
        let mut config = config;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
