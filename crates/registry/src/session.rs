//! Uploads that are under way: a file each, which outlives a connection and a restart of the
//! registry, and goes when nobody has gone on with it for a while.
//!
//! ```text
//! ROOT/registry/uploads/ID         what has come so far; locked by the request that writes
//! ROOT/registry/uploads/ID.name    the repository it is for
//! ```

use crate::limits::Limits;
use crate::reply::{Code, Failure, is_full};
use build::repositories::{Algorithm, ContentDigest, Hasher, Repository, RepositoryName};
use hyper::StatusCode;
use hyper::body::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock, statvfs};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Read at once when content is hashed again.
const PIECE: usize = 1 << 20;

/// A random UUID: who does not know it cannot go on with the upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadId([u8; 16]);

impl UploadId {
    fn new() -> Result<Self, Failure> {
        let mut bytes = [0; 16];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| Failure::broken("this machine gives no random numbers"))?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(bytes))
    }

    /// Only the form in which it was handed out.
    pub fn parse(text: &str) -> Option<Self> {
        let hex: String = text.split('-').collect();
        let mut bytes = [0; 16];
        if hex.len() != 32 || !hex.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        let id = Self(bytes);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// All of them, of one store.
pub struct Uploads {
    root: PathBuf,
    limits: Limits,
    /// How far each was hashed by this process. What is missing is hashed again at the end.
    hashed: Mutex<HashMap<UploadId, (u64, Hasher)>>,
    /// Those that a request of this process writes to.
    held: Mutex<HashSet<UploadId>>,
}

/// Keeps every other request away from an upload.
struct Hold(UploadId, Arc<Uploads>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.1.held().remove(&self.0);
    }
}

/// One upload, held by one request. Blocks.
pub struct Upload {
    pub id: UploadId,
    all: Arc<Uploads>,
    file: File,
    length: u64,
    hasher: Option<Hasher>,
    /// After the file: who may go on finds it unlocked.
    _hold: Hold,
}

fn gone() -> Failure {
    Failure::missing(Code::BlobUploadUnknown, "there is no such upload; begin a new one")
}

fn in_use() -> Failure {
    Failure::later(StatusCode::CONFLICT, Code::BlobUploadInvalid, "another request writes to this upload")
}

impl Uploads {
    pub fn open(store: &Path, limits: Limits) -> io::Result<Arc<Self>> {
        let root = store.join("registry/uploads");
        fs::create_dir_all(&root)?;
        Ok(Arc::new(Self { root, limits, hashed: Mutex::default(), held: Mutex::default() }))
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn path(&self, id: UploadId) -> PathBuf {
        self.root.join(id.to_string())
    }
    fn name_path(&self, id: UploadId) -> PathBuf {
        self.root.join(format!("{id}.name"))
    }

    /// Begins one.
    pub fn begin(
        self: &Arc<Self>,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<Upload, Failure> {
        self.check_space(0)?;
        if fs::read_dir(&self.root)?.count() / 2 >= self.limits.uploads_max {
            let message = "too many uploads are under way here";
            return Err(Failure::later(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, message));
        }
        let id = UploadId::new()?;
        let hold = self.hold(id)?;
        fs::write(self.name_path(id), repository.as_str())?;
        let file = File::options().create_new(true).read(true).append(true).open(self.path(id))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)?;
        Ok(Upload {
            id,
            all: Arc::clone(self),
            file,
            length: 0,
            hasher: Some(Hasher::new(algorithm)),
            _hold: hold,
        })
    }

    fn hold(self: &Arc<Self>, id: UploadId) -> Result<Hold, Failure> {
        match self.held().insert(id) {
            true => Ok(Hold(id, Arc::clone(self))),
            false => Err(in_use()),
        }
    }

    /// How far one of this repository has come; asking keeps nobody from going on with it.
    pub fn length(&self, repository: &RepositoryName, id: UploadId) -> Result<u64, Failure> {
        let held = self.held();
        if held.contains(&id) {
            return Err(in_use());
        }
        self.check_name(repository, id)?;
        match fs::metadata(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(gone()),
            found => Ok(found?.len()),
        }
    }

    fn check_name(&self, repository: &RepositoryName, id: UploadId) -> Result<(), Failure> {
        match fs::read_to_string(self.name_path(id)).ok().as_deref() == Some(repository.as_str()) {
            true => Ok(()),
            false => Err(gone()),
        }
    }

    /// Goes on with one of this repository.
    pub fn resume(self: &Arc<Self>, repository: &RepositoryName, id: UploadId) -> Result<Upload, Failure> {
        self.check_name(repository, id)?;
        let hold = self.hold(id)?;
        let file = match File::options().read(true).append(true).open(self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            other => other?,
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(in_use());
        }
        let metadata = file.metadata()?;
        if metadata.nlink() == 0 || !self.path(id).exists() {
            return Err(gone());
        }
        let length = metadata.len();
        let hasher = match self.hashed().remove(&id) {
            Some((hashed, hasher)) if hashed == length => Some(hasher),
            _ if length == 0 => Some(Hasher::new(Algorithm::Sha256)),
            _ => None,
        };
        Ok(Upload { id, all: Arc::clone(self), file, length, hasher, _hold: hold })
    }

    /// Whether so many more bytes leave what must stay free.
    pub fn check_space(&self, more: u64) -> Result<(), Failure> {
        let disk = statvfs(&self.root).map_err(io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        match free >= more.saturating_add(self.limits.disk_floor) {
            true => Ok(()),
            false => Err(Failure::full()),
        }
    }

    /// Forgets what nobody has gone on with, and what a crash has left.
    pub fn expire(&self, now: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let modified = entry.metadata().and_then(|m| m.modified()).unwrap_or(now);
            if now.duration_since(modified).unwrap_or_default() < self.limits.upload_expiry {
                continue;
            }
            match UploadId::parse(name.strip_suffix(".name").unwrap_or(&name)) {
                // The name goes with its file.
                Some(id) if name.ends_with(".name") && self.path(id).exists() => {}
                Some(id) if !name.ends_with(".name") => self.expire_one(id)?,
                _ => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    fn expire_one(&self, id: UploadId) -> io::Result<()> {
        let file = File::open(self.path(id))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            self.forget(id)?;
        }
        Ok(())
    }

    /// Takes away what there is of one.
    pub fn forget(&self, id: UploadId) -> io::Result<()> {
        self.hashed().remove(&id);
        for path in [self.path(id), self.name_path(id)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<UploadId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hashed(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, (u64, Hasher)>> {
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds what came. Without space nothing of the upload is kept.
    pub fn write(&mut self, pieces: &[Bytes]) -> Result<(), Failure> {
        let more: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let fits = self.all.check_space(more).and_then(|()| self.append(pieces).map_err(Failure::from));
        if fits.as_ref().is_err_and(|failure| failure.status == StatusCode::INSUFFICIENT_STORAGE) {
            self.all.forget(self.id)?;
        }
        fits
    }

    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            if let Err(error) = self.file.write_all(piece) {
                self.hasher = None;
                self.length = self.file.metadata()?.len();
                return Err(if is_full(&error) { io::ErrorKind::StorageFull.into() } else { error });
            }
            if let Some(hasher) = &mut self.hasher {
                hasher.update(piece);
            }
            self.length += piece.len() as u64;
        }
        Ok(())
    }

    /// Leaves it for the next request.
    pub fn pause(mut self) {
        if let Some(hasher) = self.hasher.take() {
            let mut hashed = self.all.hashed();
            // What expires elsewhere is not taken out of here; hashing again is always possible.
            if hashed.len() >= self.all.limits.uploads_max {
                hashed.clear();
            }
            hashed.insert(self.id, (self.length, hasher));
        }
    }

    /// Ends it without a blob.
    pub fn cancel(self) -> Result<(), Failure> {
        Ok(self.all.forget(self.id)?)
    }

    /// Makes it the blob that it should be, on disk for good, or nothing.
    pub fn finish(mut self, repository: &Repository, expected: &ContentDigest) -> Result<(), Failure> {
        let finished = self.publish(repository, expected);
        self.all.forget(self.id)?;
        finished
    }

    fn publish(&mut self, repository: &Repository, expected: &ContentDigest) -> Result<(), Failure> {
        let found = match self.hasher.take().filter(|h| h.algorithm() == expected.algorithm()) {
            Some(hasher) => hasher.finish(),
            None => self.hash(expected.algorithm())?,
        };
        if found != *expected {
            let message =
                format!("what came has digest {found} instead of {expected}; nothing of it was kept");
            return Err(Failure::bad(Code::DigestInvalid, message));
        }
        self.file.sync_all()?;
        Ok(repository.adopt_blob(&self.all.path(self.id), expected)?)
    }

    fn hash(&mut self, algorithm: Algorithm) -> io::Result<ContentDigest> {
        let mut hasher = Hasher::new(algorithm);
        let mut piece = vec![0; PIECE];
        self.file.seek(SeekFrom::Start(0))?;
        loop {
            match self.file.read(&mut piece)? {
                0 => return Ok(hasher.finish()),
                n => hasher.update(&piece[..n]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use build::repositories::Repositories;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use testkit::TempDir;

    fn place(limits: Limits) -> (TempDir, Arc<Uploads>, Repository) {
        let directory = TempDir::new();
        build::ImageStore::open(directory.path()).expect("a store");
        let all = Repositories::open(directory.path()).expect("repositories");
        let uploads = Uploads::open(directory.path(), limits).expect("uploads");
        let repository = all.get(&RepositoryName::new("a/b").expect("a name"));
        (directory, uploads, repository)
    }

    fn limits() -> Limits {
        Limits { disk_floor: 0, ..Limits::default() }
    }

    fn is_empty(uploads: &Uploads) -> bool {
        fs::read_dir(&uploads.root).expect("a directory").next().is_none()
    }

    #[test]
    fn ids_have_one_form() {
        let id = UploadId::new().expect("an id");
        assert_eq!(UploadId::parse(&id.to_string()), Some(id));
        for bad in ["", "..", &id.to_string().to_uppercase(), &id.to_string().replace('-', ""), "ä"] {
            assert!(
                bad.chars().all(|c| c.is_ascii_digit() || c == '-') || UploadId::parse(bad).is_none(),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_upload_goes_on_in_another_process() {
        let (directory, uploads, repository) = place(limits());
        let digest = Algorithm::Sha512.of(b"one two");
        let mut upload = uploads.begin(repository.name(), Algorithm::Sha256).expect("begun");
        let id = upload.id;
        upload.write(&[Bytes::from_static(b"one ")]).expect("written");
        assert_eq!(uploads.resume(repository.name(), id).err().expect("it is held").status.as_u16(), 409);
        upload.pause();
        let other = Uploads::open(directory.path(), limits()).expect("uploads");
        let stranger = RepositoryName::new("a/c").expect("a name");
        assert_eq!(other.resume(&stranger, id).err().expect("not theirs").status.as_u16(), 404);
        let mut upload = other.resume(repository.name(), id).expect("resumed");
        assert_eq!(upload.length(), 4);
        upload.write(&[Bytes::from_static(b"two")]).expect("written");
        upload.finish(&repository, &digest).expect("finished");
        assert_eq!(repository.blob(&digest), Some(7));
        assert!(is_empty(&uploads));
        assert_eq!(uploads.resume(repository.name(), id).err().expect("it ended").status.as_u16(), 404);
    }

    #[test]
    fn what_is_not_what_it_should_be_is_not_kept() {
        let (_directory, uploads, repository) = place(limits());
        let mut upload = uploads.begin(repository.name(), Algorithm::Sha256).expect("begun");
        upload.write(&[Bytes::from_static(b"one")]).expect("written");
        let failure = upload.finish(&repository, &Algorithm::Sha256.of(b"two")).expect_err("another digest");
        assert_eq!((failure.status.as_u16(), failure.code), (400, Code::DigestInvalid));
        assert!(is_empty(&uploads));
    }

    #[test]
    fn uploads_are_counted_and_expire() {
        let (_directory, uploads, repository) = place(Limits { uploads_max: 2, ..limits() });
        let held = uploads.begin(repository.name(), Algorithm::Sha256).expect("begun");
        uploads.begin(repository.name(), Algorithm::Sha256).expect("begun").pause();
        let failure = uploads.begin(repository.name(), Algorithm::Sha256).err().expect("too many");
        assert_eq!(failure.status.as_u16(), 429);
        uploads.expire(SystemTime::now()).expect("nothing is old");
        let later = SystemTime::now() + uploads.limits.upload_expiry + Duration::from_secs(1);
        uploads.expire(later).expect("expired");
        assert_eq!(fs::read_dir(&uploads.root).expect("a directory").count(), 2, "one is held");
        held.cancel().expect("cancelled");
        assert!(is_empty(&uploads));
    }

    #[test]
    fn who_asks_how_far_it_is_keeps_nobody_from_going_on() {
        let (_directory, uploads, repository) = place(limits());
        let mut upload = uploads.begin(repository.name(), Algorithm::Sha256).expect("begun");
        upload.write(&[Bytes::from_static(b"one")]).expect("written");
        let id = upload.id;
        let length = || uploads.length(repository.name(), id);
        assert_eq!(length().expect_err("it grows").status.as_u16(), 409);
        assert_eq!(uploads.resume(repository.name(), id).err().expect("held").status.as_u16(), 409);
        upload.pause();
        let ends = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let _ = length();
                }
            });
            let refused = (0..2000)
                .filter(|_| uploads.resume(repository.name(), id).map(Upload::pause).is_err())
                .count();
            ends.store(true, Ordering::Relaxed);
            assert_eq!(refused, 0);
        });
        assert_eq!(length().expect("known"), 3);
        let stranger = RepositoryName::new("a/c").expect("a name");
        assert_eq!(uploads.length(&stranger, id).expect_err("not theirs").status.as_u16(), 404);
    }

    #[test]
    fn a_full_disk_is_seen_before_it_is_full() {
        let (_directory, uploads, repository) = place(limits());
        let mut upload = uploads.begin(repository.name(), Algorithm::Sha256).expect("begun");
        upload.write(&[Bytes::from_static(b"one")]).expect("written");
        let id = upload.id;
        upload.pause();
        let full = Arc::new(Uploads {
            root: uploads.root.clone(),
            limits: Limits { disk_floor: u64::MAX, ..limits() },
            hashed: Mutex::default(),
            held: Mutex::default(),
        });
        let mut upload = full.resume(repository.name(), id).expect("resumed");
        let failure = upload.write(&[Bytes::from_static(b"two")]).expect_err("no space");
        assert_eq!(failure.status.as_u16(), 507);
        assert!(is_empty(&uploads), "nothing is kept");
        assert_eq!(
            full.begin(repository.name(), Algorithm::Sha256).err().expect("full").status.as_u16(),
            507
        );
    }
}
