//! Counts frames that carry nothing: they cost the sender a few bytes and us the work of a frame.
//! The protocol's library answers each of them and keeps none, so only their rate has to be bounded.

use crate::options::MAX_EMPTY_FRAMES;
use crate::snapshot::Moment;

/// Bytes before the first frame.
const PREFACE_BYTES: u32 = 24;
const HEADER_BYTES: usize = 9;
/// Time in which frames are counted together.
const WINDOW_MS: u64 = 1000;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// Follows the bytes that one peer sends.
#[derive(Debug)]
pub struct Meter {
    /// Bytes of a payload, or of the preface, that are still to come.
    skip: u32,
    header: [u8; HEADER_BYTES],
    have: usize,
    window_end: Moment,
    empty: u32,
}

impl Meter {
    pub fn new() -> Self {
        Self { skip: PREFACE_BYTES, header: [0; HEADER_BYTES], have: 0, window_end: 0, empty: 0 }
    }

    /// Whether there are more of them than any peer needs.
    pub fn is_flooded(&self) -> bool {
        self.empty > MAX_EMPTY_FRAMES
    }

    /// Follows bytes that arrived at this moment.
    pub fn pass(&mut self, mut bytes: &[u8], now: Moment) {
        if now >= self.window_end && !self.is_flooded() {
            self.window_end = now + WINDOW_MS;
            self.empty = 0;
        }
        while !bytes.is_empty() {
            let skipped = (self.skip as usize).min(bytes.len());
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            let taken = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER_BYTES {
                self.frame();
            }
        }
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.have = 0;
        self.skip = u32::from_be_bytes([0, a, b, c]);
        let carries = match kind {
            DATA => self.skip > 0 || flags & END_STREAM != 0,
            // Each window that is opened lets a frame of ours go.
            HEADERS | WINDOW_UPDATE => true,
            _ => false,
        };
        if !carries {
            self.empty = self.empty.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_BYTES + usize::from(length), 0xff);
        bytes
    }

    fn flooded_by(frames: &[u8], piece: usize) -> bool {
        let mut meter = Meter::new();
        meter.pass(&[b'P'; PREFACE_BYTES as usize], 0);
        frames.chunks(piece).for_each(|part| meter.pass(part, 0));
        meter.is_flooded()
    }

    #[test]
    fn frames_that_carry_nothing_are_counted_however_they_arrive() {
        let most = MAX_EMPTY_FRAMES as usize;
        for (kind, flags, length) in [(6, 0, 8), (4, 0, 0), (2, 0, 5), (DATA, 0, 0), (9, 0, 0), (0xbe, 0, 3)]
        {
            for piece in [1, 7, 4096] {
                let frames = frame(kind, flags, length).repeat(most);
                assert!(!flooded_by(&frames, piece), "{kind}");
                assert!(flooded_by(&[frames, frame(kind, flags, length)].concat(), piece), "{kind}");
            }
        }
    }

    #[test]
    fn what_carries_something_is_no_flood() {
        let many = MAX_EMPTY_FRAMES as usize * 3;
        for (kind, flags, length) in
            [(HEADERS, 4, 9), (DATA, 0, 1), (DATA, END_STREAM, 0), (WINDOW_UPDATE, 0, 4)]
        {
            assert!(!flooded_by(&frame(kind, flags, length).repeat(many), 333), "{kind}");
        }
    }

    #[test]
    fn pings_spread_over_time_are_no_flood() {
        let mut meter = Meter::new();
        meter.pass(&[0; PREFACE_BYTES as usize], 0);
        for second in 0..50 {
            meter.pass(&frame(6, 0, 8).repeat(MAX_EMPTY_FRAMES as usize / 2), second * WINDOW_MS);
        }
        assert!(!meter.is_flooded());
    }
}
