//! Images for tools that know nothing but gzip: a layout of its own with the same content.

use crate::compress::decompress;
use crate::document::{self, Descriptor, Manifest};
use crate::error::BuildError;
use crate::job::go_on;
use crate::layer::{Hashing, MEDIA_TYPE_GZIP, MEDIA_TYPE_ZSTD};
use crate::layout::Layout;
use crate::store::ImageStore;
use model::Digest;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Writes the image `manifest` into an OCI layout at `directory` under `name`, its layers packed
/// with gzip. The configuration, and with it the image's identity, stays the same.
pub fn export_gzip(
    store: &ImageStore,
    manifest: &Digest,
    directory: &Path,
    name: &str,
    cancel: &AtomicBool,
) -> Result<Digest, BuildError> {
    let _working = store.working()?;
    let (from, to) = (store.layout(), Layout::open(directory)?);
    let mut document: Manifest = from.document(manifest)?;
    let config = from.blob_path(&document.config.digest);
    to.put(&fs::read(&config).map_err(BuildError::io(format!("read {}", config.display())))?)?;
    for layer in &mut document.layers {
        *layer = match layer.media_type == MEDIA_TYPE_ZSTD {
            true => repack(from, &to, layer, cancel)?,
            false => copy(from, &to, layer, cancel)?,
        };
    }
    let bytes = document::write(&document);
    let digest = to.put(&bytes)?;
    let entry = Descriptor {
        media_type: document.media_type.unwrap_or_else(|| document::MANIFEST.to_owned()),
        digest: digest.clone(),
        size: bytes.len() as u64,
        platform: None,
        annotations: Default::default(),
        artifact_type: None,
    };
    to.put_image(entry, Some(name), name)?;
    Ok(digest)
}

fn repack(
    from: &Layout,
    to: &Layout,
    layer: &Descriptor,
    cancel: &AtomicBool,
) -> Result<Descriptor, BuildError> {
    let path = from.blob_path(&layer.digest);
    let reader =
        File::open(&path).and_then(decompress).map_err(BuildError::io(format!("read {}", path.display())))?;
    let (digest, size) = write_blob(
        to,
        cancel,
        reader,
        |out| flate2::GzBuilder::new().mtime(0).write(out, flate2::Compression::new(6)),
        |encoder| encoder.finish(),
    )?;
    Ok(Descriptor { media_type: MEDIA_TYPE_GZIP.to_owned(), digest, size, ..layer.clone() })
}

fn copy(
    from: &Layout,
    to: &Layout,
    layer: &Descriptor,
    cancel: &AtomicBool,
) -> Result<Descriptor, BuildError> {
    let path = from.blob_path(&layer.digest);
    let reader = File::open(&path).map_err(BuildError::io(format!("read {}", path.display())))?;
    write_blob(to, cancel, reader, |out| out, Ok)?;
    Ok(layer.clone())
}

type Out = Hashing<BufWriter<File>>;

fn write_blob<W: Write>(
    to: &Layout,
    cancel: &AtomicBool,
    mut reader: impl Read,
    wrap: impl FnOnce(Out) -> W,
    unwrap: impl FnOnce(W) -> io::Result<Out>,
) -> Result<(Digest, u64), BuildError> {
    let temporary = to.temporary();
    let failed = || BuildError::io(format!("write {}", temporary.display()));
    let mut writer = wrap(Hashing::new(BufWriter::new(File::create(&temporary).map_err(failed())?)));
    let mut buffer = vec![0; 128 << 10];
    loop {
        go_on(cancel)?;
        match reader.read(&mut buffer).map_err(failed())? {
            0 => break,
            n => writer.write_all(&buffer[..n]).map_err(failed())?,
        }
    }
    let (buffered, digest, size) = unwrap(writer).map_err(failed())?.finish();
    let file = buffered.into_inner().map_err(|e| failed()(e.into_error()))?;
    file.sync_data().map_err(failed())?;
    to.publish(&temporary, &digest)?;
    Ok((digest, size))
}
