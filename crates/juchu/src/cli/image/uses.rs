//! Which releases need which images, as the daemon knows them.

use crate::cli::args::{Release, StackArgs};
use crate::cli::target;
use console::client::Client;
use model::{Digest, Report};
use run::control::{ReleaseStanding, ReleaseStatus};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Uses {
    by_digest: BTreeMap<Digest, Vec<String>>,
    /// A change that is under way; what it makes is not in any release yet.
    pub busy: Option<String>,
}

impl Uses {
    /// Asks for every release of every stack. One that cannot be read is an error: whatever it
    /// needs must not be taken for unneeded.
    pub async fn read(client: &Client) -> Result<Self, Report> {
        let mut uses = Self::default();
        for stack in client.stacks().await.map_err(Report::from)? {
            if let Some(pending) = &stack.pending {
                uses.busy = Some(format!("{}: {pending}", stack.name));
            }
            for release in client.releases(&stack.name).await.map_err(Report::from)? {
                if release.standing == ReleaseStanding::Collected {
                    continue;
                }
                if release.manifests.len() != release.images.len() || release.manifests.is_empty() {
                    return Err(unreadable(stack.name.as_str(), &release));
                }
                for (service, digest) in &release.manifests {
                    let text = format!("{} {} {service}", stack.name, release.id);
                    uses.by_digest.entry(digest.clone()).or_default().push(text);
                }
            }
        }
        Ok(uses)
    }

    pub fn needs(&self, digest: &Digest) -> bool {
        self.by_digest.contains_key(digest)
    }

    pub fn of(&self, digest: &Digest) -> Vec<String> {
        self.by_digest.get(digest).cloned().unwrap_or_default()
    }
}

fn unreadable(stack: &str, release: &ReleaseStatus) -> Report {
    Report::internal(format!("the images of release {} of {stack} cannot be read", release.id))
        .hint("`juchu verify` names what is damaged; a daemon of an older version does not tell them: `juchu upgrade`")
}

/// `SERVICE` in the release in force, or `SERVICE@r3`.
pub async fn of_service(client: &Client, wanted: &str, stack: &StackArgs) -> Result<Option<Digest>, Report> {
    let (service, release) = match wanted.split_once('@') {
        Some((service, release)) => match release.parse::<Release>() {
            Ok(release) => (service, Some(release.0)),
            Err(_) => return Ok(None),
        },
        None => (wanted, None),
    };
    let Ok(stack) = target::stack(client, stack).await else { return Ok(None) };
    let releases = client.releases(&stack).await.map_err(Report::from)?;
    let is_meant = |status: &&ReleaseStatus| match release {
        Some(release) => status.id == release,
        None => status.standing == ReleaseStanding::Active,
    };
    let found = releases.iter().find(is_meant);
    let digest = found.and_then(|found| found.manifests.iter().find(|(name, _)| name.as_str() == service));
    Ok(digest.map(|(_, digest)| digest.clone()))
}
