//! A quick hash for tables whose keys are the operator's and the gateway's own: who asks chooses
//! what is looked for, and not what lies in the table, so that nothing is gained by collisions.

use crate::snapshot::mix;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<QuickHasher>>;

/// An odd number without a pattern (the golden ratio's digits).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Default)]
pub struct QuickHasher(u64);

impl QuickHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.add(u64::from_le_bytes(last));
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }
    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }
    fn finish(&self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};

    fn distinct(keys: impl Iterator<Item = impl Hash>) -> usize {
        let build = BuildHasherDefault::<QuickHasher>::default();
        // What a table of 64 Ki places looks at.
        keys.map(|key| build.hash_one(key) & 0xffff).collect::<HashSet<u64>>().len()
    }

    #[test]
    fn keys_that_are_alike_lie_apart() {
        // By chance 10,000 of 65,536 places meet so often that some 9,270 are different.
        for count in [
            distinct(0..10_000u64),
            distinct((0..10_000u64).map(|number| number << 40)),
            distinct((0..10_000).map(|number| format!("/path{number}").into_bytes().into_boxed_slice())),
            distinct((0..10_000).map(|number| format!("/shop/api/v1/items/{number}/with/more").into_bytes())),
        ] {
            assert!(count > 9_000, "{count}");
        }
    }
}
