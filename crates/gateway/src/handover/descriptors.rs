//! File descriptors over a Unix socket (`SCM_RIGHTS`), some with each message.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors in one message; the kernel takes 253 at most.
pub const BATCH: usize = 128;
/// The byte that carries them; without one nothing would be sent.
const CARRIER: &[u8] = b"d";

const SPACE: usize = rustix::cmsg_space!(ScmRights(BATCH));

/// Sends up to [`BATCH`] descriptors.
pub fn send(socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(descriptors.len() <= BATCH, "the caller cuts batches");
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "the space is for a batch");
    sendmsg(socket, &[IoSlice::new(CARRIER)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives the descriptors of one message; an end of the conversation is an error.
pub fn receive(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_arrive_in_their_order_and_as_many_as_a_batch() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (mut near, far) = UnixStream::pair().expect("a pair");
        let mut sent = vec![far.as_fd(); BATCH - 1];
        sent.insert(1, ours.as_fd());
        send(&ours, &sent).expect("a batch fits");
        let received = receive(&theirs).expect("it was sent");
        assert_eq!(received.len(), BATCH);
        let mut first = UnixStream::from(received.into_iter().next().expect("the first"));
        first.write_all(b"x").expect("room");
        let mut byte = [0];
        near.read_exact(&mut byte).expect("the descriptor is that of the other end");
        drop(ours);
        assert!(receive(&theirs).is_err(), "an end is no message");
    }
}
