//! Frames of WebSockets (RFC 6455), as far as an echo needs them: whole messages, no extensions.

use crate::sha1::sha1;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Close code: the server goes away.
pub const GOING_AWAY: u16 = 1001;
/// Close code: done.
pub const NORMAL: u16 = 1000;

/// Longest payload that is taken.
pub const PAYLOAD_LIMIT: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(payload: &str) -> Self {
        Self { opcode: TEXT, payload: payload.as_bytes().to_vec() }
    }
    pub fn close(code: u16) -> Self {
        Self { opcode: CLOSE, payload: code.to_be_bytes().to_vec() }
    }

    /// The code of a close frame, if it has one.
    pub fn close_code(&self) -> Option<u16> {
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// As bytes; what a client sends is masked.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let length = self.payload.len();
        assert!(length <= PAYLOAD_LIMIT, "only short messages are sent");
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | self.opcode];
        match u16::try_from(length) {
            Ok(short @ ..=125) => bytes.push(masked | short as u8),
            Ok(long) => {
                bytes.push(masked | 126);
                bytes.extend(long.to_be_bytes());
            }
            Err(_) => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.iter().flatten());
        let start = bytes.len();
        bytes.extend(&self.payload);
        if let Some(mask) = mask {
            apply(&mut bytes[start..], mask);
        }
        bytes
    }
}

fn apply(payload: &mut [u8], mask: [u8; 4]) {
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// Takes the first whole frame out of what was received; `None` when more is needed.
pub fn take(received: &mut Vec<u8>) -> Result<Option<Frame>, String> {
    let Some((length, head)) = lengths(received) else { return Ok(None) };
    let [first, second, ..] = received[..] else { return Ok(None) };
    if first & 0xf0 != 0x80 {
        return Err(format!("a frame begins with {first:#04x}: no whole message without extensions"));
    }
    if length > PAYLOAD_LIMIT {
        return Err(format!("a frame of {length} bytes"));
    }
    let masked = second & 0x80 != 0;
    let start = head + if masked { 4 } else { 0 };
    if received.len() < start + length {
        return Ok(None);
    }
    let mut payload = received[start..start + length].to_vec();
    if masked {
        let mask = received[head..start].first_chunk().expect("four bytes of mask");
        apply(&mut payload, *mask);
    }
    received.drain(..start + length);
    Ok(Some(Frame { opcode: first & 0xf, payload }))
}

/// Length of the payload, and of the head up to the mask.
fn lengths(received: &[u8]) -> Option<(usize, usize)> {
    match received.get(1)? & 0x7f {
        126 => Some((usize::from(u16::from_be_bytes(*received.get(2..)?.first_chunk()?)), 4)),
        127 => {
            let length = u64::from_be_bytes(*received.get(2..)?.first_chunk()?);
            Some((usize::try_from(length).unwrap_or(usize::MAX), 10))
        }
        short => Some((usize::from(short), 2)),
    }
}

/// What a server answers to the key of a client (section 4.2.2).
pub fn accept(key: &str) -> String {
    BASE64_STANDARD.encode(sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From RFC 6455, sections 1.3 and 5.7.
    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let hello = Frame::text("Hello");
        assert_eq!(hello.encode(None), b"\x81\x05Hello");
        let masked = hello.encode(Some([0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let frame = Frame { opcode: TEXT, payload: vec![b'x'; length] };
            for mask in [None, Some([1, 2, 3, 4])] {
                let bytes = frame.encode(mask);
                let mut received = bytes[..bytes.len() - 1].to_vec();
                assert_eq!(take(&mut received), Ok(None), "{length}");
                received.extend([bytes[bytes.len() - 1], 0x89]);
                assert_eq!(take(&mut received).unwrap().as_ref(), Some(&frame), "{length}");
                assert_eq!(received, [0x89], "what follows stays");
            }
        }
    }

    #[test]
    fn what_is_no_frame_of_ours_is_an_error() {
        assert!(take(&mut b"HTTP/1.1 502".to_vec()).is_err());
        let mut huge = vec![0x81, 127];
        huge.extend(u64::MAX.to_be_bytes());
        assert!(take(&mut huge).is_err());
    }
}
