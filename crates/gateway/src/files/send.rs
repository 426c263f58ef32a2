//! Sends a part of a file. What lies in memory already is read at once; what does not is read beside
//! the thread that serves, which goes on with others meanwhile.

use super::MAX_DISK_TIME;
use crate::stream::{self, Sink};
use crate::watch::{Side, Watch};
use rustix::io::{ReadWriteFlags, preadv2};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Bytes read at a time: few enough that others of the thread do not wait for one.
const PIECE_BYTES: usize = 64 * 1024;

/// Sends so many bytes from an offset on; how many were sent, and whether that is all.
pub async fn part(
    watch: &Watch,
    write: &mut impl Sink,
    file: File,
    (from, count): (u64, u64),
    stall: Duration,
) -> (u64, io::Result<()>) {
    let file = Arc::new(file);
    let mut piece = Vec::new();
    let mut sent = 0;
    while sent < count {
        piece.resize((count - sent).min(PIECE_BYTES as u64) as usize, 0);
        let outcome = match read(&file, from + sent, &mut piece).await {
            // It has become shorter than was promised.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                let written = stream::write_all(watch, Side::Output, write, &piece[..read], stall).await;
                written.map(|()| sent += read as u64)
            }
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            return (sent, outcome);
        }
    }
    (sent, Ok(()))
}

async fn read(file: &Arc<File>, at: u64, piece: &mut Vec<u8>) -> io::Result<usize> {
    // Any error, such as that of a file system without this, is told by the other way of reading.
    if let Ok(count @ 1..) = preadv2(file, &mut [IoSliceMut::new(piece)], at, ReadWriteFlags::NOWAIT) {
        return Ok(count);
    }
    let (file, mut room) = (file.clone(), std::mem::take(piece));
    let reading = spawn_blocking(move || {
        let outcome = file.read_at(&mut room, at);
        (room, outcome)
    });
    match tokio::time::timeout(MAX_DISK_TIME, reading).await {
        Ok(Ok((room, outcome))) => {
            *piece = room;
            outcome
        }
        Ok(Err(panicked)) => Err(io::Error::other(panicked)),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
