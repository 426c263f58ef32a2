//! Where content is read from: repositories that were pushed to, and below `juchu/` the images that
//! this machine made itself, which nobody can push to.
//!
//! `localhost/shop/web:latest` of the image store is `juchu/shop/web:latest` here, and the image of
//! that service in release 3 is `juchu/shop/web:r3`.

use crate::reply::Failure;
use build::catalogue::LOCAL;
use build::layout::Layout;
use build::repositories::{
    ContentDigest, Contents, Referrer, Repositories, Repository, RepositoryError, RepositoryName, Tag,
};
use model::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// The first component of the repositories of this machine's own images.
pub const RESERVED: &str = "juchu";

/// An image of this machine under the name of a repository and a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    pub repository: RepositoryName,
    pub tag: Tag,
    pub digest: Digest,
}

impl Offered {
    /// The image of a service; `None` where its name is none that registries have.
    pub fn new(path: &str, tag: &str, digest: Digest) -> Option<Self> {
        let repository = RepositoryName::new(&format!("{RESERVED}/{path}"))?;
        Some(Self { repository, tag: Tag::new(tag)?, digest })
    }
}

/// One repository to read from. Blocks.
pub enum Place {
    Pushed(Repository),
    Own(Own),
}

/// A repository of this machine's own images, as it is at this moment.
pub struct Own {
    layout: Arc<Layout>,
    tags: BTreeMap<Tag, ContentDigest>,
    /// By subject.
    referrers: BTreeMap<ContentDigest, BTreeSet<ContentDigest>>,
}

/// A manifest as it is handed out.
pub struct Found {
    pub digest: ContentDigest,
    pub media_type: String,
    pub size: u64,
    pub path: PathBuf,
}

/// All of this machine's own images that have a name here.
pub fn own_images(layout: &Layout, released: &[Offered]) -> Result<Vec<Offered>, Failure> {
    let built = layout.list().map_err(RepositoryError::from)?.into_iter().filter_map(|(name, digest)| {
        let name = name?;
        let (path, tag) = name.strip_prefix(LOCAL)?.rsplit_once(':')?;
        Offered::new(path, tag, digest)
    });
    let there = |offered: &&Offered| layout.has(&offered.digest);
    Ok(built.chain(released.iter().filter(there).cloned()).collect())
}

impl Place {
    pub fn is_reserved(name: &RepositoryName) -> bool {
        name.as_str().split('/').next() == Some(RESERVED)
    }

    pub fn open(
        all: &Repositories,
        layout: &Arc<Layout>,
        released: &[Offered],
        name: &RepositoryName,
    ) -> Result<Self, Failure> {
        if !Self::is_reserved(name) {
            return Ok(Self::Pushed(all.get(name)));
        }
        let mut own = Own { tags: BTreeMap::new(), referrers: BTreeMap::new(), layout: Arc::clone(layout) };
        for offered in own_images(&own.layout, released)?.into_iter().filter(|o| o.repository == *name) {
            own.tags.insert(offered.tag, ContentDigest::from(&offered.digest));
        }
        let images: BTreeSet<String> = own.tags.values().map(ContentDigest::to_string).collect();
        for entry in own.layout.entries().map_err(RepositoryError::from)? {
            let subject = Layout::subject_of(&entry).filter(|subject| images.contains(*subject));
            if let Some(subject) = subject.and_then(ContentDigest::parse) {
                own.referrers.entry(subject).or_default().insert(ContentDigest::from(&entry.digest));
            }
        }
        Ok(Self::Own(own))
    }

    pub fn exists(&self) -> bool {
        match self {
            Self::Pushed(repository) => repository.exists(),
            Self::Own(own) => !own.tags.is_empty(),
        }
    }

    pub fn tags(&self) -> Result<BTreeSet<Tag>, Failure> {
        match self {
            Self::Pushed(repository) => Ok(repository.tags()?),
            Self::Own(own) => Ok(own.tags.keys().cloned().collect()),
        }
    }

    pub fn resolve(&self, tag: &Tag) -> Result<Option<ContentDigest>, Failure> {
        match self {
            Self::Pushed(repository) => Ok(repository.resolve(tag)?),
            Self::Own(own) => Ok(own.tags.get(tag).cloned()),
        }
    }

    pub fn manifest(&self, all: &Repositories, digest: &ContentDigest) -> Result<Option<Found>, Failure> {
        let found = match self {
            Self::Pushed(repository) => {
                repository.manifest(digest)?.map(|record| (record.media_type, record.size))
            }
            Self::Own(own) => own.contents(digest).map(|(contents, size)| (contents.media_type, size)),
        };
        let found = found.map(|(media_type, size)| Found {
            digest: digest.clone(),
            media_type,
            size,
            path: all.blob_path(digest),
        });
        Ok(found)
    }

    /// The size of a blob that may be had here.
    pub fn blob(&self, digest: &ContentDigest) -> Option<u64> {
        match self {
            Self::Pushed(repository) => repository.blob(digest),
            Self::Own(own) => own.blob(digest),
        }
    }

    pub fn refresh_blob(&self, digest: &ContentDigest) {
        if let Self::Pushed(repository) = self {
            repository.refresh_blob(digest);
        }
    }

    pub fn referrers(&self, subject: &ContentDigest) -> Result<Vec<ContentDigest>, Failure> {
        match self {
            Self::Pushed(repository) => Ok(repository.referrers(subject)?),
            Self::Own(own) => Ok(own.referrers.get(subject).into_iter().flatten().cloned().collect()),
        }
    }

    pub fn referrer(&self, digest: &ContentDigest) -> Result<Option<Referrer>, Failure> {
        match self {
            Self::Pushed(repository) => Ok(repository.referrer(digest)?),
            Self::Own(own) => {
                let found = own.contents(digest);
                Ok(found.map(|(contents, size)| Referrer::new(contents, digest.clone(), size)))
            }
        }
    }
}

impl Own {
    fn manifests(&self) -> impl Iterator<Item = &ContentDigest> {
        self.tags.values().chain(self.referrers.values().flatten())
    }

    /// One of its manifests, read. One that is being collected counts as gone.
    fn contents(&self, digest: &ContentDigest) -> Option<(Contents, u64)> {
        self.manifests().find(|known| *known == digest)?;
        let bytes = self.layout.bytes(&Digest::new(digest.to_string()).ok()?).ok()?;
        // Images that others made may have left their type to the registry they came from.
        let contents = Contents::read(&bytes, None)
            .or_else(|_| Contents::read(&bytes, Some("application/vnd.oci.image.manifest.v1+json")));
        Some((contents.ok()?, bytes.len() as u64))
    }

    fn blob(&self, digest: &ContentDigest) -> Option<u64> {
        let named = |manifest| self.contents(manifest).is_some_and(|(c, _)| c.blobs.contains(digest));
        self.manifests().find(|manifest| named(*manifest))?;
        let digest = Digest::new(digest.to_string()).ok()?;
        fs::metadata(self.layout.blob_path(&digest)).ok().map(|m| m.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_registries_have_are_offered() {
        let digest = || Digest::of(b"");
        assert_eq!(
            Offered::new("shop/web", "r3", digest()).expect("offered").repository.as_str(),
            "juchu/shop/web"
        );
        assert!(Offered::new("shop/Web", "r3", digest()).is_none());
        assert!(Place::is_reserved(&RepositoryName::new("juchu/a").expect("a name")));
        assert!(!Place::is_reserved(&RepositoryName::new("juchus/a").expect("a name")));
    }
}
