//! What can be wrong with a component as it was asked for.

use model::{ErrorKind, Report, ServiceName};

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("there is no component `{name}`")]
    Unknown { name: String },
    #[error("`x-juchu.options` of the component {name} cannot be read: {reason}")]
    Options { name: String, reason: String },
    #[error("the component {name} has no version {version}")]
    Version { name: String, version: String, known: Vec<String> },
    #[error("the component {name} is not known for the suite `{suite}`")]
    Suite { name: String, suite: String, known: Vec<String> },
    #[error("service {service}: {replicas} instances of {title} would share one volume")]
    Replicas { service: ServiceName, replicas: u32, title: String },
}

impl CatalogError {
    /// The failure as a person is shown it.
    pub fn report(&self) -> Report {
        Report::from_error(ErrorKind::Usage, self).hint(self.hint())
    }

    fn hint(&self) -> String {
        match self {
            Self::Unknown { .. } => format!("use one of {}", crate::names().join(", ")),
            Self::Options { .. } => {
                "known are `version`, `packages` and `archive: {mirror, security, suite}`".to_owned()
            }
            Self::Version { known, .. } => format!("use one of {}", known.join(", ")),
            Self::Suite { known, .. } => {
                format!("use one of {} as `archive: {{suite: …}}`", known.join(", "))
            }
            Self::Replicas { .. } => {
                "remove `deploy.replicas` or `scale`; it runs as one instance".to_owned()
            }
        }
    }
}
