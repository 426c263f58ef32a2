//! One verified download into a content-addressed file: resumed where it broke off, complete and
//! right or not there at all.

use crate::durable;
use crate::error::BuildError;
use crate::growing::Growing;
use crate::http::Http;
use crate::job::go_on;
use crate::layout;
use model::Bytes;
use ring::digest::{Context, SHA256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use ureq::Body;
use ureq::http::Response;

const MAX_ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LOCKS: u8 = 64;
const BUFFER: usize = 128 << 10;

const ENDED_AFTER: &str = "it ended after";

/// Whether there was less than was promised: a connection broke off each time, or what is there is
/// something else.
pub fn ended_early(error: &BuildError) -> bool {
    matches!(error, BuildError::Unreachable { reason, .. } if reason.starts_with(ENDED_AFTER))
}

/// What is to be there in the end.
pub struct Expected<'a> {
    /// Of where it comes from, for errors.
    pub url: &'a str,
    /// 64 hexadecimal digits.
    pub sha256: &'a str,
    pub size: Option<u64>,
    /// No more than this is read, whatever comes.
    pub limit: u64,
}

/// Where a download comes from.
pub trait Source {
    /// The bytes from `from` on; all of them where a part cannot be had.
    fn open(&self, from: u64) -> Result<Opened, BuildError>;
}

pub struct Opened {
    pub body: Box<dyn Read>,
    /// Whether it begins where it was asked to begin, rather than at the first byte.
    pub resumed: bool,
}

/// What is to be downloaded.
pub struct Wanted<'a> {
    pub url: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    /// 64 hexadecimal digits.
    pub sha256: &'a str,
    pub size: Option<u64>,
    /// No more than this is read, whatever the server sends.
    pub limit: u64,
}

/// Whether `path` holds exactly these bytes. A file that does not is removed.
pub fn is_intact(path: &Path, sha256: &str, cancel: &AtomicBool) -> Result<bool, BuildError> {
    let Ok(mut file) = File::open(path) else { return Ok(false) };
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; BUFFER];
    loop {
        go_on(cancel)?;
        match file.read(&mut buffer).map_err(BuildError::io(format!("read {}", path.display())))? {
            0 => break,
            n => context.update(&buffer[..n]),
        }
    }
    let intact = hex(context.finish().as_ref()) == sha256;
    if intact {
        durable::touch(path);
    } else {
        fs::remove_file(path).map_err(BuildError::io(format!("remove the damaged {}", path.display())))?;
    }
    Ok(intact)
}

/// Downloads to `target`. Two who want the same file wait for each other. What breaks off is
/// resumed; damaged data is fetched once more from its beginning.
pub fn to_file(
    http: &Http,
    wanted: &Wanted<'_>,
    target: &Path,
    cancel: &AtomicBool,
) -> Result<(), BuildError> {
    let expected =
        Expected { url: wanted.url, sha256: wanted.sha256, size: wanted.size, limit: wanted.limit };
    let source = Web { http, wanted };
    retry(cancel, || one_attempt(&source, &expected, target, None, cancel))
}

/// The same from any source, without trying again what the source gave up, and watched by who
/// wants to read it while it grows.
pub fn from_source(
    source: &dyn Source,
    expected: &Expected<'_>,
    target: &Path,
    growing: Option<&Growing>,
    cancel: &AtomicBool,
) -> Result<(), BuildError> {
    one_attempt(source, expected, target, growing, cancel)
}

/// Tries again what may pass by itself, with growing pauses.
pub fn retry<T>(
    cancel: &AtomicBool,
    mut attempt: impl FnMut() -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    for number in 1.. {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if number >= attempts(&error) {
            return Err(error);
        }
        pause(FIRST_PAUSE * 2u32.pow(number - 1), cancel)?;
    }
    unreachable!("attempts are counted")
}

/// How often an operation that fails like this is tried at all.
fn attempts(error: &BuildError) -> u32 {
    match error {
        BuildError::Unreachable { .. } => MAX_ATTEMPTS,
        BuildError::Status { status, .. } if *status >= 500 || *status == 429 => MAX_ATTEMPTS,
        BuildError::Digest { .. } => 2,
        _ => 1,
    }
}

/// One of 64 locks for all downloads into a directory, so that locks do not pile up.
fn lock_path(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let bucket = name.bytes().fold(0u8, |sum, b| sum.wrapping_mul(31).wrapping_add(b)) % LOCKS;
    target.with_file_name(format!(".lock-{bucket}"))
}

/// Where a download is kept until it is whole; it is resumed from there.
pub fn part_path(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".part-{name}"))
}

/// Waits in short steps, so that giving up is quick.
pub fn pause(total: Duration, cancel: &AtomicBool) -> Result<(), BuildError> {
    const STEP: Duration = Duration::from_millis(50);
    for _ in 0..total.as_millis().div_ceil(STEP.as_millis()) {
        go_on(cancel)?;
        std::thread::sleep(STEP);
    }
    Ok(())
}

fn one_attempt(
    source: &dyn Source,
    expected: &Expected<'_>,
    target: &Path,
    growing: Option<&Growing>,
    cancel: &AtomicBool,
) -> Result<(), BuildError> {
    let part = part_path(target);
    let failed = |error| BuildError::io(format!("write {}", part.display()))(error);
    let _one_at_a_time = layout::lock_for_long(&lock_path(target), cancel)?;
    if target.exists() && is_intact(target, expected.sha256, cancel)? {
        return Ok(());
    }
    let mut file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&part).map_err(failed)?;
    let mut context = Context::new(&SHA256);
    let mut have = hash_existing(&mut file, &mut context).map_err(failed)?;
    if let Some(growing) = growing {
        growing.begin(file.try_clone().map_err(failed)?, have);
    }
    if expected.size.is_none_or(|size| have < size) {
        have = match receive(source, expected, &mut file, &mut context, (have, growing), cancel) {
            Err(error @ BuildError::Io { .. }) => {
                // What cannot be written to its end makes room again.
                let _ = fs::remove_file(&part);
                return Err(error);
            }
            other => other?,
        };
    }
    let found = hex(context.finish().as_ref());
    if found != expected.sha256 || expected.size.is_some_and(|size| size != have) {
        let _ = fs::remove_file(&part);
        let what = expected.url.to_owned();
        return Err(BuildError::Digest { what, expected: expected.sha256.to_owned(), found });
    }
    if let Some(growing) = growing {
        growing.end(true);
    }
    file.sync_data().map_err(failed)?;
    durable::publish(&part, target)
}

fn hash_existing(file: &mut File, context: &mut Context) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut have = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(have),
            n => {
                context.update(&buffer[..n]);
                have += n as u64;
            }
        }
    }
}

/// Appends what is missing to `file`; answers how much there is then.
fn receive(
    source: &dyn Source,
    expected: &Expected<'_>,
    file: &mut File,
    context: &mut Context,
    (mut have, growing): (u64, Option<&Growing>),
    cancel: &AtomicBool,
) -> Result<u64, BuildError> {
    let opened = match source.open(have) {
        Err(error @ BuildError::Status { status: 416, .. }) => {
            let _ = file.set_len(0);
            return Err(error);
        }
        other => other?,
    };
    if !opened.resumed && have > 0 {
        file.set_len(0).and_then(|()| file.rewind()).map_err(BuildError::io("start a download anew"))?;
        *context = Context::new(&SHA256);
        have = 0;
        growing.iter().for_each(|growing| growing.anew());
    }
    let (mut body, mut pace) = (opened.body, Pace::new());
    let limit = expected.size.unwrap_or(expected.limit).min(expected.limit);
    let mut buffer = vec![0; BUFFER];
    loop {
        go_on(cancel)?;
        let n = body.read(&mut buffer).map_err(|e| BuildError::unreachable(expected.url, &e))?;
        if n == 0 {
            return match expected.size {
                Some(size) if have < size => Err(BuildError::unreachable(
                    expected.url,
                    &format!("{ENDED_AFTER} {have} of {size} bytes"),
                )),
                _ => Ok(have),
            };
        }
        have += n as u64;
        if have > limit {
            let _ = file.set_len(0);
            return Err(BuildError::TooLarge { what: expected.url.to_owned(), limit: Bytes(limit) });
        }
        context.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(BuildError::io("write a download"))?;
        growing.iter().for_each(|growing| growing.advance(have));
        pace.went_on(n).map_err(|reason| BuildError::unreachable(expected.url, &reason))?;
    }
}

/// Gives up on who sends, but so little that it would never end.
struct Pace {
    since: Instant,
    bytes: usize,
}

impl Pace {
    /// Less than `BYTES` within `SPAN` is too little.
    const SPAN: Duration = Duration::from_secs(60);
    const BYTES: usize = 64 << 10;

    fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    fn went_on(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes += bytes;
        match self.since.elapsed() >= Self::SPAN {
            true if self.bytes < Self::BYTES => {
                Err(format!("it sent {} bytes in {} seconds", self.bytes, Self::SPAN.as_secs()))
            }
            true => {
                *self = Self::new();
                Ok(())
            }
            false => Ok(()),
        }
    }
}

/// A file of an archive or an index, by its URL.
struct Web<'a> {
    http: &'a Http,
    wanted: &'a Wanted<'a>,
}

impl Source for Web<'_> {
    fn open(&self, from: u64) -> Result<Opened, BuildError> {
        let url = self.wanted.url;
        if let Some(path) = url.strip_prefix("file://") {
            let mut source = open_local(url, Path::new(path))?;
            source.seek(SeekFrom::Start(from)).map_err(|e| BuildError::unreachable(url, &e))?;
            return Ok(Opened { body: Box::new(source), resumed: true });
        }
        let range = format!("bytes={from}-");
        let mut headers = self.wanted.headers.to_vec();
        if from > 0 {
            headers.push(("range", &range));
        }
        opened(url, self.http.get(url, &headers)?, from)
    }
}

/// The body of an answer to a question for all or a part.
pub fn opened(url: &str, answer: Response<Body>, from: u64) -> Result<Opened, BuildError> {
    let resumed = match answer.status().as_u16() {
        206 if from > 0 => true,
        200 => false,
        status => return Err(BuildError::Status { url: url.to_owned(), status }),
    };
    let body = answer.into_body().into_with_config().limit(u64::MAX).reader();
    Ok(Opened { body: Box::new(body), resumed })
}

/// A file of a `file://` archive, missing ones answered like a server does, a missing archive like
/// a server that is away.
pub fn open_local(url: &str, path: &Path) -> Result<File, BuildError> {
    let text = path.to_string_lossy();
    let base = ["/dists/", "/pool/"].iter().find_map(|part| text.split_once(part)).map(|(base, _)| base);
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if base.is_none_or(|base| Path::new(base).exists()) => {
            BuildError::Status { url: url.to_owned(), status: 404 }
        }
        _ => BuildError::unreachable(url, &error),
    })
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
