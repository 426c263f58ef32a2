//! Which volumes belong to a stack.

use model::{Release, VolumeName};
use std::collections::BTreeSet;

/// The named volumes that `down --volumes` removes: those declared here and not external.
pub fn owned(release: &Release) -> BTreeSet<VolumeName> {
    release.stack.volumes.values().filter(|v| !v.external).map(|v| v.name.clone()).collect()
}
