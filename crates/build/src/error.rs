//! What can go wrong between a recipe and an image on disk, and what a person can do about it.

use model::{ErrorKind, Report};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The project or its `x-juchu` section is wrong; `hint` says what to do.
    #[error("{message}")]
    Input { message: String, hint: Option<String> },
    #[error("{context}")]
    Io {
        context: String,
        #[source]
        source: std::io::Error,
    },
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
    /// The failure as a person is shown it.
    pub fn report(&self) -> Report {
        let report = Report::from_error(ErrorKind::Build, self);
        match self {
            Self::Input { hint: Some(hint), .. } => report.hint(hint),
            _ => report,
        }
    }
}
