//! A registry as its clients see it (OCI distribution specification 1.1): names, who this machine
//! is to it, where else its images can be had, and requests that are tried again within limits.

mod endpoint;
mod error;
mod helper;
mod login;
mod manifest;
mod reference;
mod referrers;
mod registry;
mod settings;
mod token;

pub use endpoint::{Actions, Call, Endpoint, drain, pause_before, retry};
pub use error::RegistryError;
pub use login::LoginFiles;
pub use manifest::Fetched;
pub use reference::Reference;
pub use referrers::{MAX_REFERRERS, fallback_tag};
pub use registry::Registry;
pub use settings::Settings;
