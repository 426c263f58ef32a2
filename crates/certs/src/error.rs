//! What can go wrong with a certificate, as people are told.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} has more than {limit} bytes", .path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key in PEM", .0.display())]
    NoKey(PathBuf),
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error("certificate and key do not belong together")]
    Mismatch,
    #[error("the key cannot be used: {0}")]
    Key(String),
    #[error("the certificate has ended")]
    Ended,
    #[error("the certificate is not valid for {0}")]
    NotFor(String),
    #[error("a certificate could not be made: {0}")]
    Making(#[from] rcgen::Error),
    #[error("the authority's own certificate cannot be used; remove {} to make a new one", .0.display())]
    Authority(PathBuf),
    #[error("the account in {} cannot be read: {reason}", .path.display())]
    Account { path: PathBuf, reason: String },
    #[error("{0}")]
    Acme(String),
    #[error("the authority offers no proof by {0} for {1}")]
    NoChallenge(&'static str, String),
    #[error("the authority names a proof in a way that is no file name")]
    BadToken,
    #[error("the gateway could not be told: {0}")]
    Announce(String),
    #[error("it took longer than {0} s")]
    Slow(u64),
}

impl CertError {
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
