//! Bounds on what clients may ask for and send.

use std::time::Duration;

/// Manifests larger than this are refused; clients may count on 4 MB.
pub const MANIFEST_MAX: u64 = 4 << 20;
/// Tags and repositories in one answer; the rest follows by a link.
pub const PAGE_MAX: usize = 10_000;
/// Text of referrers in one answer; the rest follows by a link.
pub const REFERRERS_BYTES_MAX: usize = 4 << 20;
/// Tags that come with one manifest.
pub const TAGS_MAX: usize = 32;
/// Repositories that a blob is looked for in when nobody says where it is.
pub const MOUNT_SEARCH_MAX: usize = 1_000;

/// Connections at the same time; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 256;
/// Bodies that are being received at the same time; more wait for their turn.
pub const RECEIVING_MAX: usize = 64;
/// Work on files at the same time, beside what is read for answers.
pub const FILE_WORK_MAX: usize = 32;

/// Of the head of a request, and of what is read of a body at once.
pub const HEAD_MAX: usize = 128 << 10;
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// When the program ends, requests under way have this long.
pub const END_TIMEOUT: Duration = Duration::from_secs(10);
/// What is left of a body that nobody wants is read up to this size, so that the answer arrives.
pub const DRAIN_MAX: u64 = 8 << 20;
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds that depend on the machine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest blob.
    pub blob_max: u64,
    /// Uploads that are begun and not finished.
    pub uploads_max: usize,
    /// An upload that nobody goes on with is forgotten after this.
    pub upload_expiry: Duration,
    /// So much of the disk stays free.
    pub disk_floor: u64,
    /// A peer that neither sends nor takes a byte for this long is hung up on.
    pub idle: Duration,
    /// After `idle`, a body has to come at this rate on average, in bytes per second.
    pub rate_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_max: 64 << 30,
            uploads_max: 256,
            upload_expiry: Duration::from_secs(2 * 3600),
            disk_floor: 256 << 20,
            idle: Duration::from_secs(60),
            rate_min: 1 << 10,
        }
    }
}
