//! Repositories as a client and a collection of blobs see them.

use super::collect::{UNNAMED_FOR, UNTAGGED_FOR};
use super::record::REFERENCES_MAX;
use super::*;
use crate::ImageStore;
use crate::document::{INDEX, MANIFEST};
use testkit::TempDir;

struct Place {
    directory: TempDir,
    store: ImageStore,
    all: Repositories,
}

fn place() -> Place {
    let directory = TempDir::new();
    let store = ImageStore::open(directory.path()).expect("a store");
    let all = Repositories::open(directory.path()).expect("repositories");
    Place { directory, store, all }
}

impl Place {
    fn repository(&self, name: &str) -> Repository {
        self.all.get(&RepositoryName::new(name).expect("a name"))
    }

    /// What a client does with bytes it has sent.
    fn push_blob(&self, repository: &Repository, bytes: &[u8]) -> ContentDigest {
        let digest = Algorithm::Sha256.of(bytes);
        let file = self.directory.path().join("registry/upload");
        fs::write(&file, bytes).expect("a file");
        repository.adopt_blob(&file, &digest).expect("a blob");
        digest
    }

    fn push_image(&self, repository: &Repository, text: &str, tags: &[&str]) -> ContentDigest {
        let config = self.push_blob(repository, format!("config of {text}").as_bytes());
        let layer = self.push_blob(repository, format!("layer of {text}").as_bytes());
        put(repository, &image(&config, &[&layer], ""), MANIFEST, tags).expect("an image")
    }

    fn collect(&self) {
        self.store.collect(&BTreeSet::new(), Duration::ZERO).expect("collected");
    }

    fn has(&self, digest: &ContentDigest) -> bool {
        self.all.blob_path(digest).exists()
    }
}

fn image(config: &ContentDigest, layers: &[&ContentDigest], more: &str) -> String {
    let layers: Vec<String> = layers.iter().map(|d| format!(r#"{{"digest":"{d}","size":1}}"#)).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"x/config","digest":"{config}","size":1}},"layers":[{}]{more}}}"#,
        layers.join(",")
    )
}

fn put(
    repository: &Repository,
    text: &str,
    media_type: &str,
    tags: &[&str],
) -> Result<ContentDigest, RepositoryError> {
    let digest = Algorithm::Sha256.of(text.as_bytes());
    let tags = tags.iter().map(|tag| Tag::new(tag).expect("a tag")).collect();
    let placing = Placing { tags, instead_of: None };
    repository.put_manifest(text.as_bytes(), Some(media_type), &digest, &placing)?;
    Ok(digest)
}

fn age(path: &Path, by: Duration) {
    let file = File::options().append(true).open(path).expect("a file");
    file.set_modified(SystemTime::now() - by).expect("a time");
}

fn age_all(repository: &Repository, by: Duration) {
    for directory in ["manifests", "blobs"] {
        for name in entries(&repository.root.join(directory)).expect("entries") {
            age(&repository.root.join(directory).join(name), by);
        }
    }
}

#[test]
fn a_blob_is_had_through_the_repositories_it_was_pushed_to() {
    let place = place();
    let (one, two) = (place.repository("one"), place.repository("one/two"));
    let digest = place.push_blob(&one, b"bytes");
    assert_eq!(one.blob(&digest), Some(5));
    assert_eq!(two.blob(&digest), None);
    assert!(two.mount_blob(&digest).expect("mounted"));
    one.delete_blob(&digest).expect("deleted");
    assert_eq!((one.blob(&digest), two.blob(&digest)), (None, Some(5)));
    place.collect();
    assert_eq!(two.blob(&digest), Some(5), "one repository still has it");
    assert!(!two.mount_blob(&Algorithm::Sha512.of(b"nothing")).expect("no error"));
}

#[test]
fn a_manifest_needs_its_blobs_in_its_own_repository() {
    let place = place();
    let (one, two) = (place.repository("one"), place.repository("two"));
    let secret = place.push_blob(&one, b"of somebody else");
    let text = image(&secret, &[], "");
    let missing = put(&two, &text, MANIFEST, &["v1"]).expect_err("it has no such blob");
    assert!(matches!(missing, RepositoryError::Missing { ref digest } if *digest == secret), "{missing}");
    assert!(two.tags().expect("tags").is_empty());
    let elsewhere = Algorithm::Sha256.of(b"elsewhere");
    let layer = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{secret}"}},"layers":[{{"digest":"{elsewhere}","urls":["https://a.example"]}}]}}"#
    );
    put(&one, &layer, MANIFEST, &[]).expect("layers that lie elsewhere need not be here");
}

#[test]
fn manifests_that_say_two_things_are_refused() {
    let place = place();
    let one = place.repository("one");
    let config = place.push_blob(&one, b"{}");
    let good = image(&config, &[], "");
    let part = format!(r#"{{"digest":"{config}"}}"#);
    let many = vec![part.as_str(); REFERENCES_MAX + 1].join(",");
    for (text, media_type) in [
        (good.as_str(), INDEX),
        (good.as_str(), "application/json"),
        (&image(&config, &[], r#","manifests":[]"#), MANIFEST),
        (&format!(r#"{{"schemaVersion":2,"manifests":[],"config":{part}}}"#), INDEX),
        (&format!(r#"{{"schemaVersion":1,"config":{part}}}"#), MANIFEST),
        (&format!(r#"{{"schemaVersion":2,"manifests":[{many}]}}"#), INDEX),
        (r#"{"schemaVersion":2,"config":{"digest":"sha256:../../etc/passwd"}}"#, MANIFEST),
        (r#"{"schemaVersion":2}"#, MANIFEST),
        (r#"{"schemaVersion":2}"#, INDEX),
        ("not json", MANIFEST),
        (&"[".repeat(1 << 20), MANIFEST),
        (&format!(r#"{{"a":{}"#, r#"{"a":"#.repeat(1 << 18)), MANIFEST),
    ] {
        let error = put(&one, text, media_type, &["v1"]).expect_err(&text[..text.len().min(200)]);
        assert!(matches!(error, RepositoryError::Invalid { .. }), "{error}");
    }
    assert!(one.manifests().expect("manifests").is_empty());
    let other = Algorithm::Sha256.of(b"other");
    let wrong = one.put_manifest(good.as_bytes(), Some(MANIFEST), &other, &Placing::default());
    assert!(matches!(wrong, Err(RepositoryError::Digest { .. })));
}

#[test]
fn tags_move_and_go_and_conditions_hold() {
    let place = place();
    let one = place.repository("one");
    let first = place.push_image(&one, "first", &["latest", "v1"]);
    let second = place.push_image(&one, "second", &["latest"]);
    let latest = Tag::new("latest").expect("a tag");
    assert_eq!(one.resolve(&latest).expect("resolved"), Some(second.clone()));
    let bytes = fs::read(place.all.blob_path(&first)).expect("the manifest");
    let placing = Placing { tags: vec![latest.clone()], instead_of: Some(first.clone()) };
    let moved = one.put_manifest(&bytes, Some(MANIFEST), &first, &placing);
    assert!(matches!(moved, Err(RepositoryError::Moved)));
    one.delete_tag(&latest).expect("deleted");
    assert!(matches!(one.delete_tag(&latest), Err(RepositoryError::Unknown { .. })));
    assert!(one.manifest(&second).expect("readable").is_some(), "it stays for a while");
    one.delete_manifest(&first).expect("deleted");
    assert!(one.tags().expect("tags").is_empty(), "v1 went with it");
    assert!(matches!(one.delete_manifest(&first), Err(RepositoryError::Unknown { .. })));
}

#[test]
fn what_something_needs_is_not_deleted() {
    let place = place();
    let one = place.repository("one");
    let digest = place.push_image(&one, "it", &[]);
    let layer = Algorithm::Sha256.of(b"layer of it");
    assert!(matches!(one.delete_blob(&layer), Err(RepositoryError::Needed { by }) if by == digest));
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{digest}"}}]}}"#);
    let index = put(&one, &index, INDEX, &["all"]).expect("an index");
    assert!(matches!(one.delete_manifest(&digest), Err(RepositoryError::Needed { by }) if by == index));
    one.delete_manifest(&index).expect("deleted");
    one.delete_manifest(&digest).expect("deleted");
    one.delete_blob(&layer).expect("deleted");
}

#[test]
fn referrers_are_listed_with_what_they_say_of_themselves() {
    let place = place();
    let one = place.repository("one");
    let subject = place.push_image(&one, "subject", &["v1"]);
    let config = place.push_blob(&one, b"{}");
    let more = format!(r#","annotations":{{"a":"b"}},"subject":{{"digest":"{subject}","size":1}}"#);
    let by_config = put(&one, &image(&config, &[], &more), MANIFEST, &[]).expect("put");
    let typed = put(&one, &image(&config, &[], &format!(r#","artifactType":"x/sbom"{more}"#)), MANIFEST, &[]);
    let typed = typed.expect("put");
    let listed = one.referrers(&subject).expect("listed");
    assert_eq!(BTreeSet::from_iter(listed), BTreeSet::from([by_config.clone(), typed.clone()]));
    let of = |digest| one.referrer(digest).expect("readable").expect("there");
    assert_eq!(of(&by_config).artifact_type.as_deref(), Some("x/config"));
    assert_eq!(of(&typed).artifact_type.as_deref(), Some("x/sbom"));
    assert_eq!(of(&typed).annotations["a"], "b");
    one.delete_manifest(&typed).expect("deleted");
    assert_eq!(one.referrers(&subject).expect("listed"), [by_config]);
    assert!(place.repository("nothing").referrers(&subject).expect("no error").is_empty());
}

#[test]
fn a_collection_keeps_what_is_tagged_and_what_belongs_to_it() {
    let place = place();
    let one = place.repository("one");
    let child = place.push_image(&one, "child", &[]);
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{child}"}}]}}"#);
    let index = put(&one, &index, INDEX, &["all"]).expect("an index");
    let config = place.push_blob(&one, b"{}");
    let more = format!(r#","subject":{{"digest":"{child}"}}"#);
    let about = put(&one, &image(&config, &[], &more), MANIFEST, &[]).expect("put");
    let loose = place.push_image(&one, "loose", &[]);
    let waiting = place.push_blob(&one, b"waiting for its manifest");
    age_all(&one, UNTAGGED_FOR + Duration::from_secs(1));
    one.mount_blob(&waiting).expect("renewed");
    place.collect();
    for kept in [&child, &index, &about, &config, &waiting, &Algorithm::Sha256.of(b"layer of child")] {
        assert!(place.has(kept), "{kept}");
    }
    for gone in [&loose, &Algorithm::Sha256.of(b"layer of loose")] {
        assert!(!place.has(gone), "{gone}");
    }
    assert!(one.manifest(&loose).expect("readable").is_none());
    // Its time begins when the tag goes.
    one.delete_tag(&Tag::new("all").expect("a tag")).expect("deleted");
    place.collect();
    assert!(place.has(&index) && place.has(&about), "it was tagged just now");
    age_all(&one, UNTAGGED_FOR + UNNAMED_FOR);
    place.collect();
    assert!(!one.exists(), "nothing of it is left");
    assert!(!place.has(&index) && !place.has(&about) && !place.has(&waiting));
}

#[test]
fn a_collection_clears_what_a_crash_left_and_stops_at_what_it_cannot_read() {
    let place = place();
    let one = place.repository("one");
    let digest = place.push_image(&one, "it", &["v1"]);
    let unfinished = one.root.join("manifests/.tmp-1-1-x");
    fs::write(&unfinished, "{").expect("a file");
    let orphan = one.referrers_path(&digest);
    fs::create_dir_all(&orphan).expect("a directory");
    fs::write(orphan.join(Algorithm::Sha256.of(b"never came").file_name()), "").expect("a file");
    place.collect();
    assert!(!unfinished.exists() && !orphan.exists());
    fs::write(one.record_path(&digest), "{").expect("a damaged record");
    let error = place.store.collect(&BTreeSet::new(), Duration::ZERO).expect_err("it must not guess");
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(place.has(&Algorithm::Sha256.of(b"layer of it")));
}

#[test]
fn a_blob_of_another_size_than_it_should_have_is_replaced() {
    let place = place();
    let one = place.repository("one");
    let digest = place.push_blob(&one, b"whole");
    fs::write(place.all.blob_path(&digest), b"who").expect("damaged");
    place.push_blob(&one, b"whole");
    assert_eq!(fs::read(place.all.blob_path(&digest)).expect("there"), b"whole");
}

/// The format on disk, kept for ever.
#[test]
fn records_of_version_1_are_read() {
    let a = "a".repeat(64);
    let golden = format!(
        r#"{{"version":1,"media_type":"{MANIFEST}","size":7,"blobs":["sha256:{a}"],"subject":"sha512:{a}{a}"}}"#
    );
    let record = Record::read(Path::new("x"), golden.as_bytes()).expect("a record");
    assert_eq!((record.size, record.blobs.len(), record.manifests.len()), (7, 1, 0));
    assert_eq!(String::from_utf8(record.write()).expect("text"), golden);
    let newer = golden.replace(r#""version":1"#, r#""version":2"#);
    assert!(Record::read(Path::new("x"), newer.as_bytes()).is_err());
}
