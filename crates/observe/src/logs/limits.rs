//! How much is taken, held and kept.

use std::time::Duration;

/// The bounds of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longer rows are cut.
    pub row_bytes: usize,
    /// Streams with rows in memory.
    pub streams: usize,
    /// Those of them that others send, so that these leave room for the output of services.
    pub sent_streams: usize,
    /// What all segments together may take; the oldest go first.
    pub bytes: u64,
    /// Segments whose newest row is older go.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            row_bytes: 64 << 10,
            streams: 4096,
            sent_streams: 2048,
            bytes: 4 << 30,
            age: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Text of a block before it is compressed. Longer blocks compress better, shorter ones are read faster.
pub const BLOCK_BYTES: usize = 128 << 10;
/// Rows of a block.
pub const BLOCK_ROWS_MAX: usize = 8192;
/// Text that waits in memory for the rest of its block, of all streams; then all blocks end.
pub const OPEN_BYTES_MAX: usize = 16 << 20;
/// Compressed blocks in memory that become a segment.
pub const SEGMENT_BYTES: usize = 16 << 20;
/// Compressed blocks in memory when segments cannot be written; then the oldest go.
pub const HELD_BYTES_MAX: usize = 64 << 20;
/// How long rows stay in memory.
pub const FLUSH_AGE: Duration = Duration::from_secs(15 * 60);
/// Places in files of others that are remembered.
pub const CURSORS_MAX: usize = 16_384;
/// Bytes of the name and of the value of a place.
pub const CURSOR_BYTES_MAX: usize = 512;
/// Bytes of one part of a stream's name; longer ones are cut.
pub const STREAM_PART_BYTES_MAX: usize = 256;
/// Rows may be this far ahead of the clock; later ones get the clock's time.
pub const FUTURE_MAX: Duration = Duration::from_secs(24 * 3600);
