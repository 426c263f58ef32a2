//! An image as a registry serves it.

use super::{Answer, Request};
use crate::archive::host_architecture;
use model::Digest;
use std::collections::HashMap;
use tar::{EntryType, Header};

pub fn blob_digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// A tar of `(path, content)`; a content of `-> target` is a symbolic link, `= target` a hard one.
pub fn layer_tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let link = |header: &mut Header, to: &str| {
            header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
        };
        let (kind, body) = match (content.strip_prefix("-> "), content.strip_prefix("= ")) {
            (Some(to), _) => {
                link(&mut header, to);
                (EntryType::Symlink, "")
            }
            (_, Some(to)) => {
                link(&mut header, to);
                (EntryType::Link, "")
            }
            _ if path.ends_with('/') => (EntryType::Directory, ""),
            _ => (EntryType::Regular, *content),
        };
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000);
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Every document of one image, by digest and by tag.
#[derive(Clone)]
pub struct FakeImage {
    pub manifest: String,
    pub config: String,
    pub layers: Vec<Vec<u8>>,
    pub architecture: String,
}

impl FakeImage {
    /// An image of gzip layers made from these tars.
    pub fn new(tars: &[Vec<u8>]) -> Self {
        Self::for_architecture(tars, host_architecture())
    }

    pub fn for_architecture(tars: &[Vec<u8>], architecture: &str) -> Self {
        let diff_ids: Vec<String> = tars.iter().map(|tar| format!("{:?}", blob_digest(tar))).collect();
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{{"Cmd":["/hello"],"Env":["A=b"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        let layers: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
        let mut image =
            Self { manifest: String::new(), config, layers, architecture: architecture.to_owned() };
        image.write_manifest();
        image
    }

    /// After a layer was changed: the manifest that names it rightly.
    pub fn write_manifest(&mut self) {
        let layers: Vec<String> = self
            .layers
            .iter()
            .map(|layer| {
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":{}}}"#,
                    blob_digest(layer),
                    layer.len()
                )
            })
            .collect();
        self.manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{}]}}"#,
            blob_digest(self.config.as_bytes()),
            self.config.len(),
            layers.join(",")
        );
    }

    /// Answers like a registry that has this image as `app:1`.
    pub fn answer(&self, request: &Request) -> Answer {
        let mut documents: HashMap<String, Vec<u8>> = HashMap::new();
        let manifest = self.manifest.clone().into_bytes();
        documents.insert("/v2/app/manifests/1".to_owned(), manifest.clone());
        documents.insert(format!("/v2/app/manifests/{}", blob_digest(&manifest)), manifest);
        let config = self.config.clone().into_bytes();
        documents.insert(format!("/v2/app/blobs/{}", blob_digest(&config)), config);
        for layer in &self.layers {
            documents.insert(format!("/v2/app/blobs/{}", blob_digest(layer)), layer.clone());
        }
        documents.remove(&request.path).map_or(Answer::status(404), Answer::ok)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
