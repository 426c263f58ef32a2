//! What a registry can do wrong, in words for who asked it.

use model::{Bytes, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    #[error("{host} asks for patience (status 429)")]
    Busy { host: String, after: Option<Duration> },
    #[error("{url} fails with status {status}{said}")]
    Failing { url: String, status: u16, said: String, after: Option<Duration> },
    #[error("{url} answered with status {status}{said}")]
    Unexpected { url: String, status: u16, said: String },
    #[error("{url} answered with {kind} instead of a document of a registry")]
    NoRegistry { url: String, kind: String },
    #[error("the registry {host} refuses {action} {reference}{said}")]
    Denied { host: String, action: &'static str, reference: String, said: String },
    #[error("{host} kept the manifest as {found} instead of {expected}")]
    KeptOther { host: String, expected: String, found: String },
    #[error("the image {reference} has no manifest for {wanted}, only for {available}")]
    Platform { reference: String, wanted: String, available: String },
    #[error("the registry {host} does not have the blob {digest} of the image")]
    NoBlob { host: String, digest: String },
    #[error("the registry asks for its token without TLS, at {realm}")]
    NoTls { realm: String },
    #[error("the program {program} {reason}")]
    Helper { program: String, reason: String },
    #[error("{} is malformed: {reason}", .path.display())]
    Settings { path: PathBuf, reason: String },
    #[error("a document beside the image is {size}, more than the limit of {limit}")]
    Referrer { size: Bytes, limit: Bytes },
}

impl RegistryError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Settings { .. } => ErrorKind::Usage,
            Self::Helper { .. } => ErrorKind::Environment,
            _ => ErrorKind::Build,
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Self::Busy { after: Some(after), .. } => {
                format!("run it again in {} s; a login often allows more", after.as_secs().max(1))
            }
            Self::Busy { .. } => "wait some minutes, then run it again; a login often allows more".to_owned(),
            Self::Failing { .. } => {
                "the fault is on its side: run it again later, or set a mirror in registries.toml".to_owned()
            }
            Self::Unexpected { url, .. } | Self::NoRegistry { url, .. } => {
                format!("look at what answers there with `curl -i {url}`")
            }
            Self::Denied { host, .. } => {
                format!("run `docker login {host}` as somebody who may, or choose a repository of your own")
            }
            Self::KeptOther { .. } => {
                "the registry changes what it is given: push with another one, or tell its operators"
                    .to_owned()
            }
            Self::Platform { .. } => "name one of these with `--platform`".to_owned(),
            Self::NoBlob { .. } => {
                "the image is not whole there: push it again, or choose another tag".to_owned()
            }
            Self::NoTls { .. } => "tell its operators: a login would be readable on the way".to_owned(),
            Self::Helper { program, .. } => {
                format!("try it with `echo HOST | {program} get`, or log in without it")
            }
            Self::Settings { path, .. } => format!("correct {}", path.display()),
            Self::Referrer { .. } => {
                "fetch it with another program, or leave it out with `--no-referrers`".to_owned()
            }
        }
    }

    /// How long the other side wants to be left alone, where asking again may help.
    pub fn pause(&self) -> Option<Option<Duration>> {
        match self {
            Self::Busy { after, .. } | Self::Failing { after, .. } => Some(*after),
            _ => None,
        }
    }
}
