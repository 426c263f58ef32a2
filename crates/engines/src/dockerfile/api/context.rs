//! The context as the API takes it: one tar archive, without what is ignored, with the Dockerfile
//! under a name of its own that the other side is told to ignore.

use crate::dockerfile::arguments::Place;
use build::BuildError;
use build::kinds::{Visited, visit_context};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tar::{Builder, EntryType, Header};

/// No project has such a file.
pub const DOCKERFILE: &str = ".juchu-dockerfile";
const IGNORE: &str = ".dockerignore";

/// Writes the archive to a new file and opens it for reading.
pub fn pack(place: &Place, ignore: Option<&Path>, cancel: &AtomicBool) -> Result<File, BuildError> {
    let path = place.scratch.join("context.tar");
    let failed = || BuildError::io(format!("write {}", path.display()));
    let file = File::create_new(&path).map_err(failed())?;
    let mut archive = Builder::new(BufWriter::with_capacity(256 << 10, file));
    visit_context(&place.context, ignore, &mut |visited| {
        if cancel.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(BuildError::Cancelled);
        }
        if visited.path == IGNORE {
            return Ok(());
        }
        add(&mut archive, visited).map_err(BuildError::io(format!("read {}", visited.real.display())))
    })?;
    let ignored = format!("{IGNORE}\n{DOCKERFILE}\n");
    let texts = [(DOCKERFILE, place.text.as_bytes()), (IGNORE, ignored.as_bytes())];
    let finish = || -> io::Result<()> {
        for (name, text) in texts {
            let mut header = header(EntryType::Regular, 0o644);
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, name, text)?;
        }
        archive.into_inner()?.flush()
    };
    finish().map_err(failed())?;
    File::open(&path).map_err(failed())
}

/// Owners and times are not those of the project: what an image holds does not depend on them.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn add(archive: &mut Builder<impl Write>, visited: &Visited<'_>) -> io::Result<()> {
    let mode = visited.meta.permissions().mode() & 0o7777;
    if visited.meta.is_dir() {
        return archive.append_data(&mut header(EntryType::Directory, mode), visited.path, io::empty());
    }
    if visited.meta.is_symlink() {
        let target = fs::read_link(visited.real)?;
        return archive.append_link(&mut header(EntryType::Symlink, 0o777), visited.path, target);
    }
    let file = File::open(visited.real)?;
    // One that grows meanwhile must not shift what follows.
    let length = file.metadata()?.len();
    let mut header = header(EntryType::Regular, mode);
    header.set_size(length);
    let whole = Exactly { file, left: length };
    archive.append_data(&mut header, visited.path, whole)
}

/// A file with the length it had; one that became shorter is an error.
struct Exactly {
    file: File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.file.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}
