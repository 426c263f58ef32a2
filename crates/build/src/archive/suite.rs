//! One suite: its signed release file and its package index, from the network or from the cache.

use super::choice::SuiteAddress;
use super::index::{self, Index};
use super::openpgp::Keyring;
use super::release::Release;
use crate::compress::decompress;
use crate::download::{self, Wanted};
use crate::durable;
use crate::error::BuildError;
use crate::http::{self, Http};
use crate::job::Job;
use crate::layout;
use jiff::Timestamp;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const MAX_RELEASE_BYTES: u64 = 16 << 20;
const MAX_PACKED_INDEX_BYTES: u64 = 256 << 20;
const MAX_INDEX_BYTES: u64 = 1 << 30;
/// How often a release file and a list that do not belong together are asked for.
const UPDATE_ATTEMPTS: u32 = 3;
const UPDATE_PAUSE: Duration = Duration::from_millis(500);
/// Within this time a release file is not asked for again.
const FRESH: Duration = Duration::from_secs(3600);
/// The forms of an index in order of preference; xz is a third smaller than gzip.
const FORMS: [&str; 3] = ["Packages.xz", "Packages.gz", "Packages"];

/// What reading a suite needs to know.
pub struct Context<'a> {
    pub http: &'a Http,
    pub cache: &'a Path,
    pub keyring: &'a Keyring,
    /// Seconds since 1970.
    pub now: u64,
    /// Ask the archive even when it was asked a moment ago.
    pub refresh: bool,
}

/// The index of a suite; `None` where an optional suite does not exist. An archive that is being
/// updated has for a moment a release file that its lists do not match: both are asked for again.
pub fn open(
    address: &SuiteAddress,
    context: &Context<'_>,
    job: &Job<'_>,
) -> Result<Option<Index>, BuildError> {
    for attempt in 1.. {
        let refresh = context.refresh || attempt > 1;
        let Some(release) = release(address, context, refresh, job)? else { return Ok(None) };
        match index_of(address, &release, context, job) {
            Err(error) if !does_not_match(&error) => return Err(error),
            Err(error) if attempt == UPDATE_ATTEMPTS => {
                let url = address.url("InRelease");
                return Err(BuildError::HalfUpdated { url, reason: error.to_string() });
            }
            Err(_) => {
                job.say(&format!("{} does not match its lists; asking again", address.url("InRelease")));
                download::pause(UPDATE_PAUSE, job.cancel)?;
            }
            Ok(index) => return Ok(Some(index)),
        }
    }
    unreachable!("attempts are counted")
}

/// The digest of the list that the suite's release file names, without reading the list; `None`
/// where an optional suite does not exist.
pub fn list_digest(
    address: &SuiteAddress,
    context: &Context<'_>,
    job: &Job<'_>,
) -> Result<Option<String>, BuildError> {
    let release = release(address, context, context.refresh, job)?;
    let of = |release: Release| list_of(&release).map(|(_, (sha256, _))| sha256.clone());
    Ok(release.and_then(of))
}

/// The form of the list that is fetched, and its digest and size.
fn list_of(release: &Release) -> Option<(&'static str, &(String, u64))> {
    let folder = folder();
    FORMS.iter().find_map(|form| Some((*form, release.indexes.get(&format!("{folder}/{form}"))?)))
}

fn folder() -> String {
    format!("main/binary-{}", super::host_architecture())
}

fn does_not_match(error: &BuildError) -> bool {
    matches!(error, BuildError::Digest { .. } | BuildError::Status { status: 404, .. })
        || matches!(error, BuildError::TooLarge { .. })
        || download::ended_early(error)
}

/// The verified release file. The cached one serves while it is fresh, and for as long as it is
/// valid when the archive cannot be reached.
fn release(
    address: &SuiteAddress,
    context: &Context<'_>,
    refresh: bool,
    job: &Job<'_>,
) -> Result<Option<Release>, BuildError> {
    let url = address.url("InRelease");
    let path = cache_path(context.cache, &url);
    let cached = fs::read(&path).ok().and_then(|bytes| verify(address, &url, &bytes, context).ok());
    // An optional suite that did not exist is remembered in the same way as one that did.
    let absent = path.with_extension("absent");
    let was_absent = address.optional && cached.is_none() && absent.exists();
    let was_asked = is_fresh(&path, context.now) || is_fresh(&absent, context.now);
    if !refresh && was_asked && (cached.is_some() || was_absent) {
        return Ok(cached);
    }
    let fetched = fetch_release(&url, context.http)
        .and_then(|bytes| Ok((verify(address, &url, &bytes, context)?, bytes)));
    match (fetched, cached) {
        (Ok((release, _)), Some(cached)) if release.date < cached.date => {
            job.say(&format!("warning: {url} is older than what it was before; the newer one is used"));
            Ok(Some(cached))
        }
        (Ok((release, bytes)), _) => {
            durable::write(&path, &bytes)?;
            Ok(Some(release))
        }
        (Err(BuildError::Unreachable { reason, .. }), Some(cached)) => {
            job.say(&format!(
                "warning: {url} cannot be reached ({reason}); the copy from {} is used",
                date(cached.date)
            ));
            Ok(Some(cached))
        }
        (Err(BuildError::Status { status: 404, .. }), None) if address.optional => {
            durable::write(&absent, b"")?;
            Ok(None)
        }
        (Err(BuildError::Unreachable { .. }), None) if was_absent => Ok(None),
        (Err(error), _) => Err(error),
    }
}

fn cache_path(cache: &Path, url: &str) -> PathBuf {
    let name = model::Digest::of(url.as_bytes());
    cache.join("lists").join(format!("{}.InRelease", &name.hex()[..32]))
}

fn is_fresh(path: &Path, now: u64) -> bool {
    let written = fs::metadata(path).and_then(|m| m.modified()).ok();
    let written = written.and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
    written.is_some_and(|at| now >= at.as_secs() && now - at.as_secs() < FRESH.as_secs())
}

fn fetch_release(url: &str, http: &Http) -> Result<Vec<u8>, BuildError> {
    if let Some(path) = url.strip_prefix("file://") {
        let mut bytes = Vec::new();
        let file = download::open_local(url, Path::new(path))?;
        file.take(MAX_RELEASE_BYTES).read_to_end(&mut bytes).map_err(|e| BuildError::unreachable(url, &e))?;
        return Ok(bytes);
    }
    let answer = http.get(url, &[("cache-control", "max-age=0")])?;
    match answer.status().as_u16() {
        200 => http::read_body(url, answer.into_body(), MAX_RELEASE_BYTES),
        status => Err(BuildError::Status { url: url.to_owned(), status }),
    }
}

fn verify(
    address: &SuiteAddress,
    url: &str,
    bytes: &[u8],
    context: &Context<'_>,
) -> Result<Release, BuildError> {
    let text = std::str::from_utf8(bytes).map_err(|_| BuildError::malformed(url, "it is not text"))?;
    let signed = context
        .keyring
        .verify_clearsigned(text, context.now)
        .map_err(|source| BuildError::Signature { url: url.to_owned(), source })?;
    let release = Release::parse(&signed).map_err(|error| BuildError::malformed(url, error))?;
    if release.codename != address.suite && release.suite != address.suite {
        let reason = format!("it is the release file of {}, not of {}", release.codename, address.suite);
        return Err(BuildError::malformed(url, reason));
    }
    match release.valid_until {
        Some(until) if until < context.now && !address.is_snapshot() => {
            Err(BuildError::Expired { url: url.to_owned(), until: date(until) })
        }
        _ => Ok(release),
    }
}

fn date(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok()).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn index_of(
    address: &SuiteAddress,
    release: &Release,
    context: &Context<'_>,
    job: &Job<'_>,
) -> Result<Index, BuildError> {
    let folder = folder();
    let (form, (sha256, size)) = list_of(release).ok_or_else(|| {
        BuildError::malformed(address.url("InRelease"), format!("it lists no package index {folder}"))
    })?;
    let compact = context.cache.join("index").join(format!("{sha256}.v1"));
    if let Some(index) = read_compact(&compact) {
        return Ok(index);
    }
    let _one_at_a_time = layout::lock_for_long(&context.cache.join("index/.lock"), job.cancel)?;
    if let Some(index) = read_compact(&compact) {
        return Ok(index);
    }
    job.say(&format!("fetching the package index of {} ({})", address.suite, model::Bytes(*size)));
    let url = match release.by_hash {
        true => address.url(&format!("{folder}/by-hash/SHA256/{sha256}")),
        false => address.url(&format!("{folder}/{form}")),
    };
    let packed = context.cache.join("index").join(format!("{sha256}.packed"));
    let wanted = Wanted { url: &url, headers: &[], sha256, size: Some(*size), limit: MAX_PACKED_INDEX_BYTES };
    if !download::is_intact(&packed, sha256, job.cancel)? {
        download::to_file(context.http, &wanted, &packed, job.cancel)?;
    }
    let text = unpack_index(&packed, &url)?;
    let bytes = index::compact(&text).map_err(|error| BuildError::malformed(url.as_str(), error))?;
    durable::write(&compact, &bytes)?;
    let _ = fs::remove_file(&packed);
    Index::open(bytes).map_err(|error| BuildError::malformed(url, error))
}

fn read_compact(path: &Path) -> Option<Index> {
    let index = Index::open(fs::read(path).ok()?).ok()?;
    durable::touch(path);
    Some(index)
}

fn unpack_index(packed: &Path, url: &str) -> Result<String, BuildError> {
    let file = fs::File::open(packed).map_err(BuildError::io(format!("read {}", packed.display())))?;
    let mut text = String::new();
    let mut reader = decompress(file).map_err(|e| BuildError::malformed(url, e))?.take(MAX_INDEX_BYTES + 1);
    reader.read_to_string(&mut text).map_err(|e| BuildError::malformed(url, e))?;
    match text.len() as u64 > MAX_INDEX_BYTES {
        true => Err(BuildError::TooLarge { what: url.to_owned(), limit: model::Bytes(MAX_INDEX_BYTES) }),
        false => Ok(text),
    }
}
