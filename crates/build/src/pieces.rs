//! Contents that go into a layer packed as they lie in the cache of packages, which saves most of
//! the time of packing. A layer has the same bytes whether its pieces were there or are made anew.

use crate::spool::COPY_BUFFER;
use model::Digest;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

/// Contents from this size on are pieces of a layer of packages; smaller ones pack better together.
pub const PIECE_MIN: u64 = 32 << 10;
/// Higher than that of streams: a piece is packed once and read often. It is in the name of the
/// list of pieces, so that none of another level is taken.
const LEVEL: i32 = 9;
const BLOCK: u64 = 512;

/// With the rest of its last block in a tar archive.
pub fn padded(len: u64) -> u64 {
    len.next_multiple_of(BLOCK)
}

/// One frame of zstd in a file of the cache.
#[derive(Debug, Clone)]
pub struct Piece {
    path: Arc<Path>,
    /// Tells whether the file is still the one that was read.
    inode: u64,
    offset: u64,
    len: u64,
}

impl Piece {
    /// Copies the frame; `false`, with nothing written, when the file is not there any more.
    pub fn copy(&self, out: &mut impl Write) -> io::Result<bool> {
        let Ok(file) = File::open(&self.path) else { return Ok(false) };
        let about = file.metadata()?;
        if about.ino() != self.inode || about.len() < self.offset + self.len {
            return Ok(false);
        }
        let mut buffer = vec![0; COPY_BUFFER.min(usize::try_from(self.len).unwrap_or(COPY_BUFFER))];
        let mut at = 0;
        while at < self.len {
            let want = buffer.len().min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
            file.read_exact_at(&mut buffer[..want], self.offset + at)?;
            out.write_all(&buffer[..want])?;
            at += want as u64;
        }
        Ok(true)
    }
}

/// Packs the next `len` bytes of `reader`, padded to whole blocks. Equal bytes give equal frames.
pub fn pack(reader: &mut dyn Read, len: u64, out: impl Write) -> io::Result<()> {
    let whole = padded(len);
    let mut encoder = zstd::stream::write::Encoder::new(out, LEVEL)?;
    encoder.set_pledged_src_size(Some(whole))?;
    encoder.include_checksum(true)?;
    let mut buffer = vec![0; COPY_BUFFER.min(usize::try_from(whole).unwrap_or(COPY_BUFFER))];
    let mut at = 0;
    while at < whole {
        let want = buffer.len().min(usize::try_from(whole - at).unwrap_or(usize::MAX));
        let content = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX).min(want);
        reader.read_exact(&mut buffer[..content])?;
        buffer[content..want].fill(0);
        encoder.write_all(&buffer[..want])?;
        at += want as u64;
    }
    encoder.finish().map(drop)
}

/// Where the pieces of one package lie in its copy in the cache, by their places in its archive.
#[derive(Debug, Default)]
pub struct Index(Vec<(u64, u64, u64)>);

impl Index {
    pub fn add(&mut self, in_archive: u64, offset: u64, len: u64) {
        self.0.push((in_archive, offset, len));
    }

    pub fn find(&self, in_archive: u64, path: &Arc<Path>, inode: u64) -> Option<Piece> {
        let at = self.0.binary_search_by_key(&in_archive, |(place, _, _)| *place).ok()?;
        let (_, offset, len) = self.0[at];
        Some(Piece { path: path.clone(), inode, offset, len })
    }

    /// Lines, and a digest of them: a place that is wrong would go unnoticed otherwise.
    pub fn to_text(&self) -> String {
        let lines = self.0.iter().map(|(place, offset, len)| format!("{place} {offset} {len}\n"));
        let text: String = lines.collect();
        format!("{text}{}\n", Digest::of(text.as_bytes()))
    }

    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_suffix('\n')?;
        let (lines, digest) = body.rsplit_once('\n').map_or(("", body), |(lines, digest)| (lines, digest));
        let lines = if lines.is_empty() { String::new() } else { format!("{lines}\n") };
        if Digest::of(lines.as_bytes()).to_string() != digest {
            return None;
        }
        let line = |line: &str| {
            let mut numbers = line.split(' ').map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??, numbers.next()??))
        };
        lines.lines().map(line).collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_back_and_a_changed_one_is_not() {
        let mut index = Index::default();
        assert!(Index::parse(&index.to_text()).is_some_and(|index| index.0.is_empty()));
        index.add(512, 100, 20);
        index.add(9000, 130, 7);
        let text = index.to_text();
        assert_eq!(Index::parse(&text).expect("it is whole").0, index.0);
        for changed in
            [text.replace("130", "131"), text.replace("512", "513"), String::new(), "x\n".to_owned()]
        {
            assert!(Index::parse(&changed).is_none(), "{changed}");
        }
    }

    #[test]
    fn a_piece_is_what_packing_anew_gives_and_only_of_the_file_that_was_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path: Arc<Path> = directory.path().join("cache").into();
        let content: Vec<u8> = (0..100_001u32).map(|n| (n % 251) as u8).collect();
        let mut frame = Vec::new();
        pack(&mut &content[..], content.len() as u64, &mut frame).expect("packed");
        let unpacked = zstd::decode_all(&frame[..]).expect("a frame");
        assert_eq!((unpacked.len() as u64, &unpacked[..content.len()]), (padded(100_001), &content[..]));
        std::fs::write(&path, [b"xyz", &frame[..]].concat()).expect("written");
        let mut index = Index::default();
        index.add(512, 3, frame.len() as u64);
        let inode = std::fs::metadata(&path).expect("it is there").ino();
        let piece = index.find(512, &path, inode).expect("it is in the index");
        assert!(index.find(513, &path, inode).is_none());
        let mut copied = Vec::new();
        assert!(piece.copy(&mut copied).expect("copied") && copied == frame);
        std::fs::write(directory.path().join("other"), "short").expect("written");
        std::fs::rename(directory.path().join("other"), &path).expect("replaced");
        copied.clear();
        assert!(!piece.copy(&mut copied).expect("no error") && copied.is_empty());
        std::fs::remove_file(&path).expect("removed");
        assert!(!piece.copy(&mut copied).expect("no error"));
    }
}
