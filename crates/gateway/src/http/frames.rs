//! Where the frames of a WebSocket connection begin and end (RFC 6455, section 5.2). Only headers
//! are looked at; payloads are counted, never kept.

/// Longest header: two bytes, eight of length, four of the mask.
const MAX_HEADER_BYTES: usize = 14;
const CLOSE: u8 = 8;
/// "Going away", as two bytes.
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();

/// Follows one direction.
#[derive(Debug, Default)]
pub struct Frames {
    header: [u8; MAX_HEADER_BYTES],
    /// Bytes of the header seen; 0 between frames.
    seen: usize,
    payload_left: u64,
    in_payload: bool,
    is_close: bool,
    closed: bool,
}

impl Frames {
    /// Between two frames: another one could be put here.
    pub fn is_between(&self) -> bool {
        self.seen == 0 && !self.in_payload
    }

    /// A whole close frame has passed: no frame may follow it.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Follows all bytes.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.pass_frame(rest);
            rest = &rest[taken..];
        }
    }

    /// Follows bytes to the end of the frame they belong to, at most; returns how many.
    pub fn pass_frame(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_payload {
                let count = (bytes.len() - at).min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= count as u64;
                at += count;
            } else {
                self.header[self.seen] = bytes[at];
                self.seen += 1;
                at += 1;
                self.begin_payload();
            }
            if self.in_payload && self.payload_left == 0 {
                self.in_payload = false;
                self.closed |= self.is_close;
                return at;
            }
        }
        at
    }

    /// Goes on to the payload once the header is whole.
    fn begin_payload(&mut self) {
        let [first, second, ..] = self.header;
        if self.seen < 2 {
            return;
        }
        let (length_bytes, mask_bytes) = match second & 0x7f {
            126 => (2, 4 * usize::from(second >> 7)),
            127 => (8, 4 * usize::from(second >> 7)),
            _ => (0, 4 * usize::from(second >> 7)),
        };
        if self.seen < 2 + length_bytes + mask_bytes {
            return;
        }
        let length = &self.header[2..2 + length_bytes];
        self.payload_left = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        self.is_close = first & 0x0f == CLOSE;
        self.in_payload = true;
        self.seen = 0;
    }
}

/// A close frame from a server, with the code for "going away".
pub fn close_from_server() -> [u8; 4] {
    [0x80 | CLOSE, GOING_AWAY.len() as u8, GOING_AWAY[0], GOING_AWAY[1]]
}

/// The same from a client, whose frames are masked.
pub fn close_from_client(mask: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = mask;
    let masked = [GOING_AWAY[0] ^ a, GOING_AWAY[1] ^ b];
    [0x80 | CLOSE, 0x80 | GOING_AWAY.len() as u8, a, b, c, d, masked[0], masked[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame with this payload.
    fn frame(opcode: u8, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(bit | length as u8),
            126..65_536 => {
                frame.push(bit | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        frame.extend((0..length).map(|n| n as u8));
        frame
    }

    #[test]
    fn close_frames_are_what_they_are_taken_for() {
        for bytes in [&close_from_server()[..], &close_from_client([1, 2, 3, 4])[..]] {
            let mut frames = Frames::default();
            assert_eq!(frames.pass_frame(bytes), bytes.len());
            assert!(frames.is_closed() && frames.is_between());
        }
        let masked = close_from_client([0x55, 0xaa, 0, 0]);
        assert_eq!([masked[6] ^ 0x55, masked[7] ^ 0xaa], GOING_AWAY);
    }

    #[test]
    fn half_a_close_frame_is_none() {
        let mut frames = Frames::default();
        frames.pass(&close_from_server()[..3]);
        assert!(!frames.is_closed() && !frames.is_between());
    }

    proptest! {
        #[test]
        fn every_end_of_a_frame_is_found_however_it_arrives(
            sizes in prop::collection::vec((prop_oneof![0usize..130, 65_530usize..65_540], any::<bool>()), 1..5),
            piece in 1usize..70_000,
        ) {
            let mut wire = Vec::new();
            let mut ends = Vec::new();
            for (size, masked) in &sizes {
                wire.extend(frame(2, *size, masked.then_some([9, 8, 7, 6])));
                ends.push(wire.len());
            }
            let (mut frames, mut found, mut at) = (Frames::default(), Vec::new(), 0);
            for part in wire.chunks(piece) {
                let mut rest = part;
                while !rest.is_empty() {
                    let taken = frames.pass_frame(rest);
                    at += taken;
                    rest = &rest[taken..];
                    if frames.is_between() {
                        found.push(at);
                    }
                }
            }
            prop_assert_eq!(found, ends);
            prop_assert!(!frames.is_closed());
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            Frames::default().pass(&bytes);
        }
    }
}
