//! Images that programs of others wrote as an OCI layout, taken into the store with the checks that
//! images from a registry get: every blob by its digest, layers unpacked within limits.

use crate::archive::host_architecture;
use crate::document::{self, Config, Descriptor, Index, Manifest, Platform};
use crate::error::BuildError;
use crate::job::{Job, go_on};
use crate::layout::MAX_DOCUMENT_BYTES;
use crate::store::ImageStore;
use model::Digest;
use model::image::BuiltImage;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

const BUFFER: usize = 256 << 10;

/// Takes over the only image of the layout at `directory`. Its layers stay as they are.
pub fn layout(
    directory: &Path,
    store: &ImageStore,
    origin: &str,
    job: &Job<'_>,
) -> Result<BuiltImage, BuildError> {
    let _working = store.working()?;
    let source = Source { directory, shown: format!("the image of {origin}") };
    let (manifest, digest, bytes) = source.manifest()?;
    crate::pull::check_manifest(&manifest)
        .map_err(|reason| BuildError::malformed(source.shown.clone(), reason))?;
    let config_bytes = source.document(&manifest.config.digest)?;
    let config: Config = document::read(&source.shown, &config_bytes)?;
    if config.os != "linux" || config.architecture != host_architecture() {
        return Err(BuildError::Architecture {
            reference: source.shown,
            available: format!("{}/{}", config.os, config.architecture),
            wanted: format!("linux/{}", host_architecture()),
        });
    }
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        let reason = "its configuration and its manifest have different numbers of layers";
        return Err(BuildError::malformed(source.shown, reason));
    }
    let target = store.layout();
    for (number, (layer, diff_id)) in manifest.layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
        if !target.has(&layer.digest) {
            source.copy(layer, store, job.cancel)?;
        }
        for note in store.unpack_blob(&layer.digest, diff_id, job.cancel)? {
            job.say(&format!("warning: {note}"));
        }
        job.say(&format!("unpacked {} of {} layers", number + 1, manifest.layers.len()));
    }
    target.put(&config_bytes)?;
    target.put(&bytes)?;
    let entry = Descriptor {
        media_type: manifest.media_type.clone().unwrap_or_else(|| document::MANIFEST.to_owned()),
        digest: digest.clone(),
        size: bytes.len() as u64,
        platform: Some(Platform {
            architecture: config.architecture.clone(),
            os: config.os.clone(),
            variant: None,
        }),
        annotations: Default::default(),
        artifact_type: None,
    };
    target.put_image(entry, None, origin)?;
    let layers = config.rootfs.diff_ids;
    Ok(BuiltImage { manifest: digest, layers, config: config.config.into(), origin: origin.to_owned() })
}

struct Source<'a> {
    directory: &'a Path,
    shown: String,
}

impl Source<'_> {
    fn manifest(&self) -> Result<(Manifest, Digest, Vec<u8>), BuildError> {
        let path = self.directory.join("index.json");
        let index: Index = document::read(&self.shown, &self.read(&path)?)?;
        let [entry] = &index.manifests[..] else {
            let reason = format!("its layout holds {} images instead of one", index.manifests.len());
            return Err(BuildError::malformed(self.shown.clone(), reason));
        };
        let bytes = self.document(&entry.digest)?;
        Ok((document::read(&self.shown, &bytes)?, entry.digest.clone(), bytes))
    }

    /// The bytes of a small blob, checked.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, BuildError> {
        let bytes = self.read(&self.blob(digest))?;
        self.check(digest, &Digest::of(&bytes))?;
        Ok(bytes)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, BuildError> {
        let mut bytes = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(BuildError::io(format!("read {}", path.display())))?;
        match bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            true => Err(BuildError::TooLarge {
                what: self.shown.clone(),
                limit: model::Bytes(MAX_DOCUMENT_BYTES),
            }),
            false => Ok(bytes),
        }
    }

    /// Copied and not moved: whoever wrote it may still have it open.
    fn copy(&self, layer: &Descriptor, store: &ImageStore, cancel: &AtomicBool) -> Result<(), BuildError> {
        let temporary = store.layout().temporary();
        let copied = self.copy_to(layer, &temporary, cancel);
        match copied.and_then(|found| self.check(&layer.digest, &found)) {
            Ok(()) => store.layout().publish(&temporary, &layer.digest),
            Err(error) => {
                // A leftover has no name that anybody asks for.
                let _ = std::fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    fn copy_to(&self, layer: &Descriptor, target: &Path, cancel: &AtomicBool) -> Result<Digest, BuildError> {
        let path = self.blob(&layer.digest);
        let failed = || BuildError::io(format!("copy {} to {}", path.display(), target.display()));
        let mut from = File::open(&path).map_err(failed())?.take(layer.size.saturating_add(1));
        let mut to = File::create_new(target).map_err(failed())?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0u8; BUFFER];
        loop {
            go_on(cancel)?;
            match from.read(&mut buffer).map_err(failed())? {
                0 => break,
                n => {
                    hasher.update(&buffer[..n]);
                    to.write_all(&buffer[..n]).map_err(failed())?;
                }
            }
        }
        to.sync_all().map_err(failed())?;
        Ok(Digest::from_raw(hasher.finalize().into()))
    }

    fn check(&self, expected: &Digest, found: &Digest) -> Result<(), BuildError> {
        match expected == found {
            true => Ok(()),
            false => Err(BuildError::Digest {
                what: format!("a blob of {}", self.shown),
                expected: expected.to_string(),
                found: found.to_string(),
            }),
        }
    }

    fn blob(&self, digest: &Digest) -> std::path::PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{CONFIG, RootFs};
    use std::fs;

    /// A layout of one image with one layer; `spoil` may damage it.
    fn written(spoil: impl FnOnce(&Path, &mut Config)) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let blobs = directory.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8], media_type: &str| {
            let digest = Digest::of(bytes);
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
            Descriptor {
                media_type: media_type.to_owned(),
                digest,
                size: bytes.len() as u64,
                platform: None,
                annotations: Default::default(),
                artifact_type: None,
            }
        };
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, "hello", &b"world"[..]).unwrap();
        let layer = put(&tar.into_inner().unwrap(), "application/vnd.oci.image.layer.v1.tar");
        let mut config = Config {
            architecture: host_architecture().to_owned(),
            os: "linux".to_owned(),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.digest.clone()] },
            ..Config::default()
        };
        spoil(&blobs.join(layer.digest.hex()), &mut config);
        let config = put(&document::write(&config), CONFIG);
        let manifest = Manifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config,
            layers: vec![layer],
            subject: None,
            annotations: Default::default(),
        };
        let manifest = put(&document::write(&manifest), document::MANIFEST);
        let index = Index { schema_version: 2, media_type: None, manifests: vec![manifest] };
        fs::write(directory.path().join("index.json"), document::write(&index)).unwrap();
        directory
    }

    fn import(directory: &Path) -> (tempfile::TempDir, Result<BuiltImage, BuildError>) {
        let root = tempfile::tempdir().unwrap();
        let store = ImageStore::open(root.path()).unwrap();
        let result = layout(directory, &store, "Dockerfile", &Job::unstoppable(&|_| {}));
        if let Ok(image) = &result {
            let content = fs::read(store.layer_dir(&image.layers[0]).unwrap().join("hello")).unwrap();
            assert_eq!(content, b"world");
            assert!(store.image(&image.manifest).unwrap().is_some());
        }
        (root, result)
    }

    #[test]
    fn a_whole_image_is_taken_over_and_its_digest_stays() {
        let directory = written(|_, _| {});
        let (_store, image) = import(directory.path());
        let index: Index =
            document::read("index", &fs::read(directory.path().join("index.json")).unwrap()).unwrap();
        assert_eq!(image.unwrap().manifest, index.manifests[0].digest);
    }

    #[test]
    fn a_blob_with_other_content_and_another_architecture_are_refused() {
        let directory = written(|layer, _| fs::write(layer, "spoiled").unwrap());
        let (store, refused) = import(directory.path());
        assert!(matches!(refused, Err(BuildError::Digest { .. })), "{refused:?}");
        let left = fs::read_dir(store.path().join("oci/blobs/sha256")).unwrap().count();
        assert_eq!(left, 0, "nothing is kept that is not whole");
        let directory = written(|_, config| config.architecture = "s390x".to_owned());
        assert!(matches!(import(directory.path()).1, Err(BuildError::Architecture { .. })));
        let directory = written(|_, config| config.rootfs.diff_ids = vec![Digest::of(b"other")]);
        assert!(matches!(import(directory.path()).1, Err(BuildError::Digest { .. })));
    }
}
