//! The files of rows, version 1: how a segment and a log are laid out. Pure; golden files hold them still.

pub mod footer;
pub mod wal;

pub const HEADER_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"JUCHUROW";
const VERSION: u8 = 1;

/// The first bytes of a segment of rows.
pub fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8] = VERSION;
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}
