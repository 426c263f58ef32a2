//! The form in which an image travels. Layers are kept packed with zstd here; gzip is what every
//! other program reads. The same layer packs to the same bytes, so the digest can be told before.

use super::known::{Form, Known};
use crate::compress::decompress;
use crate::document::{self, Descriptor, Manifest};
use crate::error::BuildError;
use crate::job::{Job, go_on};
use crate::layer::{Hashing, MEDIA_TYPE_GZIP, MEDIA_TYPE_ZSTD};
use crate::store::ImageStore;
use model::Digest;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What zlib and Docker take unless told otherwise.
const GZIP_LEVEL: u32 = 6;
const PARALLEL: usize = 4;
const BUFFER: usize = 128 << 10;
/// Names the error of a layer that does not pack to what it packed to before.
pub const REMEMBERED: &str = "a layer packed with gzip";

/// How layers travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    /// As they are stored: zstd where the image was built here, else as it came.
    AsStored,
}

/// A blob of the image in both its forms.
pub struct Part {
    pub stored: Descriptor,
    pub wire: Descriptor,
    /// The packed form, where it was made just now.
    pub made: Option<File>,
}

impl Part {
    pub fn as_it_is(of: &Descriptor) -> Self {
        Self { stored: of.clone(), wire: of.clone(), made: None }
    }

    /// The bytes that travel.
    pub fn open(&self, store: &ImageStore, cancel: &AtomicBool) -> Result<File, BuildError> {
        let path = store.layout().blob_path(&self.stored.digest);
        let failed = || BuildError::io(format!("read {}", path.display()));
        if let Some(made) = &self.made {
            return made.try_clone().map_err(failed());
        }
        if self.stored.digest == self.wire.digest {
            return File::open(&path).map_err(failed());
        }
        let (form, file) = gzip(store, &self.stored, cancel)?;
        if form.digest == self.wire.digest {
            return Ok(file);
        }
        let (expected, found) = (self.wire.digest.to_string(), form.digest.to_string());
        remember(store, &self.stored.digest, form)?;
        Err(BuildError::Digest { what: REMEMBERED.to_owned(), expected, found })
    }
}

/// An image as it travels.
pub struct Packed {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
    /// Layers, then the configuration.
    pub parts: Vec<Part>,
}

impl Packed {
    pub fn plan(
        store: &ImageStore,
        image: &Digest,
        stored: &Manifest,
        compression: Compression,
        job: &Job<'_>,
    ) -> Result<Self, BuildError> {
        let is_packed = |layer: &Descriptor| layer.media_type == MEDIA_TYPE_ZSTD;
        let mut parts = match compression {
            Compression::Gzip if stored.layers.iter().any(is_packed) => layers(store, &stored.layers, job)?,
            _ => stored.layers.iter().map(Part::as_it_is).collect(),
        };
        let same = parts.iter().all(|part| part.stored.digest == part.wire.digest);
        let bytes = match same {
            true => store.layout().bytes(image)?,
            false => {
                let wire = parts.iter().map(|part| part.wire.clone()).collect();
                document::write(&Manifest { layers: wire, ..stored.clone() })
            }
        };
        parts.push(Part::as_it_is(&stored.config));
        let media_type = stored.media_type.clone().unwrap_or_else(|| document::MANIFEST.to_owned());
        Ok(Self { digest: Digest::of(&bytes), media_type, bytes, parts })
    }

    pub fn descriptor(&self) -> Descriptor {
        crate::assemble::descriptor(&self.media_type, self.digest.clone(), self.bytes.len() as u64)
    }
}

/// The digest and size of the image's manifest once its layers are packed with gzip.
pub fn packed_digest(store: &ImageStore, image: &Digest, job: &Job<'_>) -> Result<Descriptor, BuildError> {
    let stored: Manifest = store.layout().document(image)?;
    let packed = Packed::plan(store, image, &stored, Compression::Gzip, job)?;
    Ok(packed.descriptor())
}

/// The layers as they travel; those whose packed form is not known are packed, side by side.
fn layers(store: &ImageStore, stored: &[Descriptor], job: &Job<'_>) -> Result<Vec<Part>, BuildError> {
    let mut parts: Vec<Part> = stored.iter().map(Part::as_it_is).collect();
    let mut unknown = Vec::new();
    for part in parts.iter_mut().filter(|part| part.stored.media_type == MEDIA_TYPE_ZSTD) {
        match Known::of(store, &part.stored.digest).gzip {
            Some(form) => part.wire = wire(&part.stored, &form),
            None => unknown.push(part),
        }
    }
    if unknown.is_empty() {
        return Ok(parts);
    }
    let noun = if unknown.len() == 1 { "layer" } else { "layers" };
    job.say(&format!("packing {} {noun} with gzip", unknown.len()));
    let (next, cancel, failure) = (AtomicUsize::new(0), job.cancel, Mutex::new(None));
    let unknown: Vec<Mutex<&mut Part>> = unknown.into_iter().map(Mutex::new).collect();
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(unknown.len()) {
            scope.spawn(|| {
                while let Some(part) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let part = &mut **part.lock().expect("each is taken once");
                    if let Err(error) = pack(store, part, cancel) {
                        next.store(unknown.len(), Ordering::Relaxed);
                        failure.lock().expect("nothing panics with it").get_or_insert(error);
                    }
                }
            });
        }
    });
    drop(unknown);
    match failure.into_inner().expect("as above") {
        Some(error) => Err(error),
        None => Ok(parts),
    }
}

fn pack(store: &ImageStore, part: &mut Part, cancel: &AtomicBool) -> Result<(), BuildError> {
    let (form, file) = gzip(store, &part.stored, cancel)?;
    part.wire = wire(&part.stored, &form);
    part.made = Some(file);
    remember(store, &part.stored.digest, form)
}

fn remember(store: &ImageStore, blob: &Digest, form: Form) -> Result<(), BuildError> {
    let mut known = Known::of(store, blob);
    known.gzip = Some(form);
    known.keep(store, blob)
}

fn wire(stored: &Descriptor, form: &Form) -> Descriptor {
    let (digest, size) = (form.digest.clone(), form.size);
    Descriptor { media_type: MEDIA_TYPE_GZIP.to_owned(), digest, size, ..stored.clone() }
}

/// Packs a blob anew into a file without a name.
fn gzip(store: &ImageStore, stored: &Descriptor, cancel: &AtomicBool) -> Result<(Form, File), BuildError> {
    let path = store.layout().blob_path(&stored.digest);
    let failed = || BuildError::io(format!("pack {}", path.display()));
    let file = File::open(&path).map_err(failed())?;
    let mut packed = Hashing::new(BufReader::with_capacity(BUFFER, file));
    let mut reader = decompress(&mut packed).map_err(failed())?;
    let target = nameless(&store.temporary()).map_err(failed())?;
    let out = Hashing::new(BufWriter::with_capacity(BUFFER, target));
    let mut encoder = flate2::GzBuilder::new().mtime(0).write(out, flate2::Compression::new(GZIP_LEVEL));
    let mut buffer = vec![0; BUFFER];
    loop {
        go_on(cancel)?;
        match reader.read(&mut buffer).map_err(failed())? {
            0 => break,
            n => encoder.write_all(&buffer[..n]).map_err(failed())?,
        }
    }
    drop(reader);
    io::copy(&mut packed, &mut io::sink()).map_err(failed())?;
    let (_, found, _) = packed.finish();
    if found != stored.digest {
        let reason = format!("the blob {} has other content", stored.digest);
        return Err(BuildError::Store { path: store.root().to_owned(), reason });
    }
    let (out, digest, size) = encoder.finish().map_err(failed())?.finish();
    let file = out.into_inner().map_err(|e| failed()(e.into_error()))?;
    Ok((Form { digest, size }, file))
}

/// It vanishes when it is closed, also when this process is killed.
fn nameless(directory: &std::path::Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?))
}
