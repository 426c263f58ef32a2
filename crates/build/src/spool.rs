//! File contents on their way into a layer, kept in a nameless temporary file rather than in
//! memory, so that a large image does not need a large machine. It vanishes with its last user.

use crate::error::BuildError;
use crate::pieces::Piece;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Enough that most files take one call.
pub const COPY_BUFFER: usize = 128 << 10;

/// Copies everything through `buffer`; answers how much it was.
pub fn copy(reader: &mut dyn Read, writer: &mut dyn Write, buffer: &mut [u8]) -> io::Result<u64> {
    let mut copied = 0;
    loop {
        let n = reader.read(buffer)?;
        if n == 0 {
            return Ok(copied);
        }
        writer.write_all(&buffer[..n])?;
        copied += n as u64;
    }
}

/// The content of one file.
#[derive(Debug, Clone)]
pub enum Content {
    Bytes(Arc<[u8]>),
    Spooled {
        file: Arc<File>,
        offset: u64,
        len: u64,
        /// The same, packed, where a package's copy has it.
        piece: Option<Piece>,
    },
}

impl Content {
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Spooled { len, .. } => *len,
        }
    }
    pub fn piece(&self) -> Option<&Piece> {
        match self {
            Self::Bytes(_) => None,
            Self::Spooled { piece, .. } => piece.as_ref(),
        }
    }
    pub fn reader(&self) -> ContentReader<'_> {
        ContentReader { content: self, at: 0 }
    }
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len() as usize);
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

pub struct ContentReader<'a> {
    content: &'a Content,
    at: u64,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.len() - self.at;
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = match self.content {
            Content::Bytes(bytes) => {
                let start = self.at as usize;
                buffer[..want].copy_from_slice(&bytes[start..start + want]);
                want
            }
            Content::Spooled { file, offset, .. } => file.read_at(&mut buffer[..want], offset + self.at)?,
        };
        self.at += n as u64;
        Ok(n)
    }
}

/// Where contents are written one after the other.
pub struct Spool {
    file: Arc<File>,
    writer: BufWriter<File>,
    written: u64,
    limit: u64,
}

impl Spool {
    /// A spool on the filesystem of `directory` that refuses to hold more than `limit` bytes.
    pub fn new(directory: &Path, limit: u64) -> Result<Self, BuildError> {
        let open = || -> io::Result<(File, File)> {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?);
            let writer = file.try_clone()?;
            Ok((file, writer))
        };
        let (file, writer) =
            open().map_err(BuildError::io(format!("make a temporary file in {}", directory.display())))?;
        Ok(Self {
            file: Arc::new(file),
            writer: BufWriter::with_capacity(256 << 10, writer),
            written: 0,
            limit,
        })
    }

    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Copies a file of this machine as it is now.
    pub fn copy(&mut self, path: &Path) -> Result<Content, BuildError> {
        let offset = self.written;
        let read = BuildError::io(format!("read {}", path.display()));
        // A pipe or device put in place of a file must not be waited for.
        let mut source = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(error) => return Err(read(error)),
        };
        match source.metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(BuildError::input(format!("{} is not an ordinary file", path.display()))),
            Err(error) => return Err(read(error)),
        }
        let len = copy(&mut source, self, &mut vec![0; COPY_BUFFER]).map_err(read)?;
        self.flush().map_err(BuildError::io("write a temporary file"))?;
        Ok(Content::Spooled { file: self.file.clone(), offset, len, piece: None })
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written + bytes.len() as u64 > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the content is larger than the limit of {}", model::Bytes(self.limit)),
            ));
        }
        let n = self.writer.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_back_and_the_limit_holds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "hello").unwrap();
        let mut spool = Spool::new(directory.path(), 12).unwrap();
        let (one, two) = (spool.copy(&path).unwrap(), spool.copy(&path).unwrap());
        assert_eq!(one.read_all().unwrap(), b"hello");
        assert_eq!(two.read_all().unwrap(), b"hello");
        assert!(spool.copy(&path).unwrap_err().report().error.contains("limit of 12 B"));
        assert!(spool.copy(directory.path()).is_err());
    }
}
