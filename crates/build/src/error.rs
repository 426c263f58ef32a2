//! What can go wrong between a recipe and an image on disk, and what a person can do about it.

use crate::archive::{ResolveError, openpgp::OpenPgpError};
use crate::remote::RegistryError;
use crate::sign::SignError;
use model::{Bytes, ErrorKind, Report};
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The project or its `x-juchu` section is wrong; `hint` says what to do.
    #[error("{message}")]
    Input { message: String, hint: Option<String> },
    #[error("{url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    /// The archive's signed index cannot be believed.
    #[error("the signature of {url} does not hold")]
    Signature {
        url: String,
        #[source]
        source: OpenPgpError,
    },
    #[error("{url} is out of date: it was valid until {until}")]
    Expired { url: String, until: String },
    /// Its release file and its package lists do not belong together.
    #[error("the archive at {url} is half way through an update, or damaged: {reason}")]
    HalfUpdated { url: String, reason: String },
    #[error("{what} is malformed: {reason}")]
    Malformed { what: String, reason: String },
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Packages(#[from] ResolveError),
    #[error("{what} has digest {found} instead of {expected}")]
    Digest { what: String, expected: String, found: String },
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge { what: String, limit: Bytes },
    /// A registry does not have it, or does not say so without credentials.
    #[error("the image {reference} was not found")]
    NotFound { reference: String },
    #[error("the registry {registry} refuses access to {reference}")]
    Unauthorised { registry: String, reference: String },
    #[error("the image {reference} is for {available}, this machine is {wanted}")]
    Architecture { reference: String, available: String, wanted: String },
    #[error("`{reference}` is not an image reference: {reason}")]
    Reference { reference: String, reason: &'static str },
    #[error("the image {reference} is not on this machine and may not be fetched")]
    Absent { reference: String },
    #[error("{context}")]
    Io {
        context: String,
        #[source]
        source: std::io::Error,
    },
    /// The image store itself is damaged.
    #[error("the image store at {path} is damaged: {reason}")]
    Store { path: PathBuf, reason: String },
    /// What others pushed here cannot be read or changed.
    #[error("the repositories of the registry here cannot be used")]
    Repositories(#[source] Box<crate::repositories::RepositoryError>),
    #[error("cancelled")]
    Cancelled,
}

impl BuildError {
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input { message: message.into(), hint: None }
    }
    pub fn input_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { message: message.into(), hint: Some(hint.into()) }
    }
    /// For `map_err`: `fs::read(&p).map_err(BuildError::io(format!("read {}", p.display())))`.
    pub fn io(context: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }
    pub(crate) fn repositories(error: crate::repositories::RepositoryError) -> Self {
        match error {
            crate::repositories::RepositoryError::Store(error) => error,
            other => Self::Repositories(Box::new(other)),
        }
    }
    pub(crate) fn unreachable(url: &str, reason: &dyn std::fmt::Display) -> Self {
        Self::Unreachable { url: url.to_owned(), reason: reason.to_string() }
    }
    pub(crate) fn malformed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed { what: what.into(), reason: reason.to_string() }
    }

    /// The failure as a person is shown it.
    pub fn report(&self) -> Report {
        let report = Report::from_error(self.kind(), self);
        self.hints().into_iter().fold(report, Report::hint)
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Input { .. } | Self::Reference { .. } => ErrorKind::Usage,
            Self::Packages(ResolveError::Unknown { .. }) => ErrorKind::Usage,
            Self::Registry(error) => error.kind(),
            Self::Sign(error) => error.kind(),
            Self::Io { .. } | Self::Store { .. } => ErrorKind::Environment,
            _ => ErrorKind::Build,
        }
    }

    fn hints(&self) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match self {
            Self::Input { hint, .. } => hint.iter().cloned().collect(),
            Self::Unreachable { url, .. } if url.contains("/v2/") => vec![format!(
                "look at the registry with `curl -I {url}`; behind a proxy, set HTTPS_PROXY for the daemon"
            )],
            Self::Unreachable { url, .. } => vec![format!(
                "look at it with `curl -I {url}`; another archive is chosen by `x-juchu.image.archive.mirror`"
            )],
            Self::Status { status: 429, .. } => {
                one("the server asks for patience; wait some minutes, then run `juchu up` again")
            }
            Self::Status { .. } => one("check the address; for a Debian archive, its `mirror` and `suite`"),
            Self::Signature { .. } => {
                one("a proxy may have changed it, or the archive is signed by a key that is not known here; \
                 `juchu doctor` checks the default archive")
            }
            Self::Expired { .. } => one("check the clock with `date`, or choose another mirror"),
            Self::HalfUpdated { .. } => {
                one("try again in some minutes, or choose another mirror with `x-juchu.image.archive.mirror`")
            }
            Self::Packages(error) => package_hints(error),
            Self::Registry(error) => vec![error.hint()],
            Self::Sign(error) => vec![error.hint()],
            Self::Digest { .. } => {
                one("run it again; if it stays, the server holds damaged data: choose another mirror or tag")
            }
            Self::TooLarge { .. } => one(
                "what is served there is not what it should be: choose another tag or mirror, or tell its operators",
            ),
            Self::Malformed { .. } => one(
                "it is damaged or of another kind: correct it where it is yours, else choose another tag or mirror",
            ),
            Self::NotFound { reference } => vec![format!(
                "check the name and tag of `{reference}`; a private image needs `docker login` first"
            )],
            Self::Unauthorised { registry, .. } => {
                vec![format!("run `docker login {registry}`, which writes ~/.docker/config.json")]
            }
            Self::Architecture { .. } => {
                one("choose a tag that was built for this machine, or build it here with `build:`")
            }
            Self::Reference { .. } => one("write it as `name:tag`, `host:port/name:tag` or `name@sha256:…`"),
            Self::Absent { .. } => one("remove `pull_policy: never` from the service, then `juchu up`"),
            Self::Io { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => one(
                "there is no space left; see `df -h`; `juchu down` of a stack that is not needed frees its images",
            ),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                one("run it as root, or see `juchu doctor` for what an ordinary user may do")
            }
            Self::Store { path, .. } => {
                vec![format!("move {} away; images are then fetched and built anew", path.display())]
            }
            _ => Vec::new(),
        }
    }
}

fn package_hints(error: &ResolveError) -> Vec<String> {
    match error {
        ResolveError::Unknown { nearest, .. } if !nearest.is_empty() => {
            vec![format!("did you mean `{}`?", nearest.join("` or `"))]
        }
        ResolveError::Unknown { name, .. } => {
            vec![format!("search for it with `apt-cache search {name}` or at https://packages.debian.org")]
        }
        ResolveError::Unmet { .. } | ResolveError::Version { .. } => {
            vec![
                "the suites of the archive may be out of step; try again, or set `x-juchu.image.archive`"
                    .to_owned(),
            ]
        }
        ResolveError::Conflict { .. } => vec!["ask for one of the two under `packages`".to_owned()],
        ResolveError::TooMany => Vec::new(),
    }
}
