//! Images as tools save them, one tar archive, made into an OCI layout. No name of an entry ever
//! becomes a path: contents get numbers first, and their digests as names then.

use build::BuildError;
use model::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tar::EntryType;

const ENTRIES_MAX: usize = 10_000;
const DOCUMENT_MAX: u64 = 8 << 20;
const LINKS_MAX: usize = 8;
const BUFFER: usize = 256 << 10;

/// The only image of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Makes the layout `out` from the archive at `path`, in either of the forms that tools write.
pub fn unpack(path: &Path, out: &Path) -> Result<(), BuildError> {
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(_) => BuildError::io(format!("unpack {}", path.display()))(error),
        None => malformed(error),
    };
    let entries = Entries::read(path, &out.with_extension("entries")).map_err(failed)?;
    let done = match entries.find("manifest.json") {
        Some(manifest) => of_docker(&entries, manifest, out),
        None => of_layout(&entries, out),
    };
    let cleared = fs::remove_dir_all(&entries.directory);
    done.map_err(failed)?;
    cleared.map_err(failed)
}

fn malformed(reason: impl ToString) -> BuildError {
    BuildError::Malformed { what: "the image that the builder saved".to_owned(), reason: reason.to_string() }
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// Contents by the names they have in the archive.
struct Entries {
    directory: PathBuf,
    files: BTreeMap<String, PathBuf>,
    links: BTreeMap<String, String>,
}

impl Entries {
    fn read(path: &Path, directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut found =
            Self { directory: directory.to_owned(), files: BTreeMap::new(), links: BTreeMap::new() };
        let mut archive = tar::Archive::new(io::BufReader::with_capacity(BUFFER, File::open(path)?));
        for (number, entry) in archive.entries()?.enumerate() {
            if number == ENTRIES_MAX {
                return Err(invalid(format!("it has more than {ENTRIES_MAX} entries")));
            }
            let mut entry = entry?;
            let name = tidy("", &String::from_utf8_lossy(&entry.path_bytes()));
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let own = directory.join(number.to_string());
                    io::copy(&mut entry, &mut File::create_new(&own)?)?;
                    found.files.insert(name, own);
                }
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let above = match entry.header().entry_type() {
                        EntryType::Symlink => name.rsplit_once('/').map_or("", |(above, _)| above),
                        _ => "",
                    };
                    let target = tidy(above, &String::from_utf8_lossy(&target));
                    found.links.insert(name, target);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn find(&self, name: &str) -> Option<&Path> {
        let mut name = tidy("", name);
        for _ in 0..LINKS_MAX {
            match self.links.get(&name) {
                Some(next) => name.clone_from(next),
                None => break,
            }
        }
        self.files.get(&name).map(PathBuf::as_path)
    }

    fn must(&self, name: &str) -> io::Result<&Path> {
        self.find(name).ok_or_else(|| invalid(format!("it names `{name}`, which is not in it")))
    }
}

/// `path` seen from `above`, without dots.
fn tidy(above: &str, path: &str) -> String {
    let mut parts: Vec<&str> = above.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn document(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > DOCUMENT_MAX {
        true => Err(invalid(format!("one of its documents has more than {} MiB", DOCUMENT_MAX >> 20))),
        false => Ok(bytes),
    }
}

fn of_docker(entries: &Entries, manifest: &Path, out: &Path) -> io::Result<()> {
    let saved: Vec<Saved> = serde_json::from_slice(&document(manifest)?)?;
    let [saved] = &saved[..] else {
        return Err(invalid(format!("it holds {} images instead of one", saved.len())));
    };
    let blobs = blobs(out)?;
    let config = without_traces(&document(entries.must(&saved.config)?)?)?;
    let own = entries.directory.join("config");
    fs::write(&own, config)?;
    let config = keep(&own, &blobs, CONFIG)?;
    let layers = saved.layers.iter().map(|layer| keep(entries.must(layer)?, &blobs, LAYER));
    let layers = layers.collect::<io::Result<Vec<_>>>()?;
    let manifest = Manifest { schema_version: 2, media_type: MANIFEST, config, layers };
    let bytes = serde_json::to_vec(&manifest)?;
    let digest = Digest::of(&bytes);
    fs::write(blobs.join(digest.hex()), &bytes)?;
    let entry = Descriptor { media_type: MANIFEST, digest: digest.to_string(), size: bytes.len() as u64 };
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(out.join("index.json"), serde_json::to_vec(&index)?)?;
    fs::write(out.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}

/// A configuration without what it says of the container in which it was made, which is another one
/// each time; no runtime reads that.
fn without_traces(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut config: serde_json::Value = serde_json::from_slice(bytes)?;
    let of_the_image = config.as_object_mut().ok_or_else(|| invalid("its configuration is no object"))?;
    for key in ["container", "container_config", "docker_version"] {
        of_the_image.remove(key);
    }
    if let Some(of_containers) = of_the_image.get_mut("config").and_then(serde_json::Value::as_object_mut) {
        for key in ["Hostname", "Domainname", "Image"] {
            of_containers.remove(key);
        }
    }
    Ok(serde_json::to_vec(&config)?)
}

/// It is a layout already: its blobs get the names of what they hold.
fn of_layout(entries: &Entries, out: &Path) -> io::Result<()> {
    let index = entries.must("index.json")?;
    document(index)?;
    let blobs = blobs(out)?;
    for (_, path) in entries.files.iter().filter(|(name, _)| name.starts_with("blobs/sha256/")) {
        keep(path, &blobs, LAYER)?;
    }
    fs::copy(index, out.join("index.json"))?;
    fs::write(out.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}

fn blobs(out: &Path) -> io::Result<PathBuf> {
    let blobs = out.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    Ok(blobs)
}

/// Links a content under its digest: archives may name one content twice.
fn keep(path: &Path, blobs: &Path, media_type: &'static str) -> io::Result<Descriptor> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                hasher.write_all(&buffer[..n])?;
                size += n as u64;
            }
        }
    }
    let digest = Digest::from_raw(hasher.finalize().into());
    match fs::hard_link(path, blobs.join(digest.hex())) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(Descriptor { media_type, digest: digest.to_string(), size }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, EntryType, &str)]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image.tar");
        let mut archive = tar::Builder::new(File::create(&path).expect("a file"));
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            // Names as they are, which the library would tidy.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let is_link = *kind == EntryType::Symlink;
            header.set_size(if is_link { 0 } else { content.len() as u64 });
            if is_link {
                header.set_link_name(content).expect("it fits");
            }
            header.set_cksum();
            let content = if is_link { "" } else { content };
            archive.append(&header, content.as_bytes()).expect("written");
        }
        archive.into_inner().expect("written");
        (directory, path)
    }

    const MANIFEST_JSON: &str =
        r#"[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar"]}]"#;

    #[test]
    fn a_saved_image_becomes_a_layout_and_a_shared_layer_counts_twice() {
        let (directory, path) = archive(&[
            ("a/layer.tar", EntryType::Regular, "one"),
            ("b/layer.tar", EntryType::Symlink, "../a/layer.tar"),
            (
                "c.json",
                EntryType::Regular,
                r#"{"container":"x","config":{"Hostname":"x","User":"1"},"os":"linux"}"#,
            ),
            ("manifest.json", EntryType::Regular, MANIFEST_JSON),
        ]);
        let out = directory.path().join("out");
        unpack(&path, &out).expect("a layout");
        let index = fs::read_to_string(out.join("index.json")).expect("an index");
        let digest = index.split("sha256:").nth(1).expect("a digest").split('"').next().expect("its end");
        let manifest = fs::read_to_string(out.join("blobs/sha256").join(digest)).expect("a manifest");
        let layer = Digest::of(b"one").to_string();
        assert_eq!(manifest.matches(&layer).count(), 2, "{manifest}");
        assert_eq!(
            fs::read(out.join("blobs/sha256").join(Digest::of(b"one").hex())).expect("a blob"),
            b"one"
        );
        let config = br#"{"config":{"User":"1"},"os":"linux"}"#;
        assert!(manifest.contains(&Digest::of(config).to_string()), "{manifest}");
        assert!(!out.with_extension("entries").exists());
    }

    #[test]
    fn names_never_become_paths_and_what_is_missing_is_told() {
        let (directory, path) = archive(&[
            ("../../escaped", EntryType::Regular, "x"),
            ("loop", EntryType::Symlink, "loop"),
            ("manifest.json", EntryType::Regular, r#"[{"Config":"loop","Layers":[]}]"#),
        ]);
        let error = unpack(&path, &directory.path().join("deep/er/out")).expect_err("refused").report().error;
        assert!(error.contains("it names `loop`, which is not in it"), "{error}");
        assert!(
            !directory.path().join("escaped").exists() && !directory.path().join("deep/escaped").exists()
        );
        let (directory, path) = archive(&[("x", EntryType::Regular, "x")]);
        let error = unpack(&path, &directory.path().join("out")).expect_err("refused").report().error;
        assert!(error.contains("index.json"), "{error}");
        fs::write(&path, "no archive").expect("written");
        assert!(unpack(&path, &directory.path().join("again")).is_err());
    }
}
