//! What is sent and what must come back: bodies that anybody can make again and check.

/// Size of the answer to `GET /small`.
pub const SMALL_BYTES: usize = 1024;
/// Size of one part of an upload; every part is the same.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// The body of `GET /small`.
pub fn small() -> Vec<u8> {
    pattern(SMALL_BYTES, 7)
}

/// The repeated part of uploads.
pub fn block() -> Vec<u8> {
    pattern(BLOCK_BYTES, 11)
}

fn pattern(bytes: usize, step: usize) -> Vec<u8> {
    (0..bytes).map(|i| b' ' + ((i * step + i / 97) % 90) as u8).collect()
}

/// One part of the answer to `GET /chunks`.
pub fn chunk(number: u32, of: u32) -> String {
    format!("chunk {number} of {of}\n")
}

/// A digest of a body as it comes: good against what is lost, doubled or mixed up, not against
/// malice. Eight bytes at a time, each place counts (the multiplier is that of FNV-1a).
#[derive(Debug, Clone)]
pub struct Digest {
    value: u64,
    rest: [u8; 8],
    filled: usize,
    pub bytes: u64,
}

const MULTIPLIER: u64 = 0x0000_0100_0000_01b3;

impl Default for Digest {
    fn default() -> Self {
        Self { value: 0xcbf2_9ce4_8422_2325, rest: [0; 8], filled: 0, bytes: 0 }
    }
}

impl Digest {
    pub fn update(&mut self, mut data: &[u8]) {
        self.bytes += data.len() as u64;
        if self.filled > 0 {
            let wanted = (8 - self.filled).min(data.len());
            self.rest[self.filled..self.filled + wanted].copy_from_slice(&data[..wanted]);
            self.filled += wanted;
            data = &data[wanted..];
            if self.filled < 8 {
                return;
            }
            self.word(u64::from_le_bytes(self.rest));
        }
        let (words, rest) = data.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        self.rest[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    fn word(&mut self, word: u64) {
        self.value = (self.value.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }

    /// The answer to an upload: `BYTES DIGEST`.
    pub fn answer(mut self) -> String {
        let bytes = self.bytes;
        let rest = &mut self.rest;
        rest[self.filled..].fill(0);
        self.word(u64::from_le_bytes(self.rest));
        format!("{bytes} {:016x}\n", self.value ^ bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(parts: &[&[u8]]) -> String {
        let mut digest = Digest::default();
        parts.iter().for_each(|part| digest.update(part));
        digest.answer()
    }

    #[test]
    fn a_digest_does_not_depend_on_how_the_body_was_cut() {
        let body = block();
        for cut in [0, 1, 7, 8, 9, 1000, body.len()] {
            let (a, b) = body.split_at(cut);
            let (b, c) = b.split_at(b.len().min(3));
            assert_eq!(digest(&[a, b, c]), digest(&[&body]), "cut at {cut}");
        }
    }

    #[test]
    fn a_digest_sees_what_is_lost_doubled_or_swapped() {
        let whole = digest(&[b"0123456789abcdef"]);
        for other in [&b"0123456789abcde"[..], b"0123456789abcdeff", b"89abcdef01234567", b"0123456789abcdeg"]
        {
            assert_ne!(digest(&[other]), whole);
        }
        assert_ne!(digest(&[b"a"]), digest(&[b"a\0"]), "the size counts");
    }
}
