//! A part of a file as the content of an answer, read ahead by threads that may block.

use hyper::body::Bytes;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::{JoinHandle, spawn_blocking};

/// Read at once; two of them are in memory for each answer.
const PIECE: u64 = 256 << 10;

pub struct FileBody {
    file: Arc<File>,
    /// Not read yet.
    unread: u64,
    /// Not handed on yet.
    remaining: u64,
    next: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    /// `length` bytes from `start`, which the file has. Blocks.
    pub fn new(mut file: File, start: u64, length: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { file: Arc::new(file), unread: length, remaining: length, next: None })
    }

    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.next.is_none() {
            self.read_ahead();
        }
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let read = ready!(Pin::new(next).poll(context));
        self.next = None;
        let piece = read.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        if let Ok(piece) = &piece {
            self.remaining -= piece.len() as u64;
            self.read_ahead();
        }
        Poll::Ready(Some(piece))
    }

    fn read_ahead(&mut self) {
        let length = self.unread.min(PIECE);
        if length == 0 {
            return;
        }
        self.unread -= length;
        let file = Arc::clone(&self.file);
        self.next = Some(spawn_blocking(move || {
            let mut piece = Vec::with_capacity(length as usize);
            (&*file).take(length).read_to_end(&mut piece)?;
            match piece.len() as u64 == length {
                true => Ok(Bytes::from(piece)),
                // Ending early makes the client see that something is missing.
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }));
    }
}
