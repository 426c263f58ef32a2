//! A registry with its mirrors: what is only read comes from the first place that has it; a mirror
//! that fails is told once, left out from then on, and the registry itself is asked.

use super::endpoint::{Actions, Endpoint};
use super::login::LoginFiles;
use super::manifest::Fetched;
use super::reference::Reference;
use super::settings::Settings;
use crate::error::BuildError;
use crate::http::Http;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

pub struct Registry<'a> {
    /// Mirrors in their order, then the registry itself.
    endpoints: Vec<Endpoint<'a>>,
    remarks: Mutex<Vec<String>>,
}

impl<'a> Registry<'a> {
    pub fn new(
        http: &'a Http,
        logins: &'a LoginFiles,
        settings: &Settings,
        reference: &Reference,
        actions: Actions,
    ) -> Self {
        let (name, repository) = (reference.to_string(), &reference.repository);
        let endpoint = |place| Endpoint::new((http, logins), place, repository, name.clone(), actions);
        // What is stored goes to the registry itself.
        let mirrors =
            if actions == Actions::Pull { settings.mirrors(&reference.registry) } else { Vec::new() };
        let mut endpoints: Vec<_> = mirrors.into_iter().map(|place| endpoint(place).as_mirror()).collect();
        endpoints.push(endpoint(settings.origin(&reference.registry)));
        Self { endpoints, remarks: Mutex::default() }
    }

    /// The registry itself.
    pub fn origin(&self) -> &Endpoint<'a> {
        self.endpoints.last().expect("there is always the registry itself")
    }

    /// Asks the mirrors, then the registry.
    pub fn first<T>(
        &self,
        ask: impl Fn(&Endpoint<'a>) -> Result<Option<T>, BuildError>,
    ) -> Result<Option<T>, BuildError> {
        let (origin, mirrors) = self.endpoints.split_last().expect("as above");
        for mirror in mirrors.iter().filter(|mirror| !mirror.is_out()) {
            let reason = match ask(mirror) {
                Ok(Some(found)) => return Ok(Some(found)),
                // It may not have everything.
                Ok(None) => continue,
                Err(error @ (BuildError::Cancelled | BuildError::Io { .. })) => return Err(error),
                Err(error) => error.to_string(),
            };
            mirror.put_out();
            let remark = format!("warning: the mirror {} is left out: {reason}", mirror.host());
            self.remarks.lock().expect("nothing panics while it holds this").push(remark);
        }
        ask(origin)
    }

    pub fn manifest(&self, target: &str, cancel: &AtomicBool) -> Result<Fetched, BuildError> {
        let found = self.first(|endpoint| endpoint.manifest(target, cancel))?;
        found.ok_or_else(|| BuildError::NotFound { reference: self.origin().reference().to_owned() })
    }

    /// What is worth telling and was not told yet.
    pub fn remarks(&self) -> Vec<String> {
        std::mem::take(&mut *self.remarks.lock().expect("as above"))
    }
}
