//! Bodies as they travel: packed by gzip or snappy, unpacked to a limit.

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    #[error("what was sent cannot be unpacked by {0}")]
    Unreadable(&'static str),
    #[error("what was sent takes more than {limit} bytes unpacked")]
    TooLarge { limit: usize },
}

pub fn gunzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(limit as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(|_| UnpackError::Unreadable("gzip"))?;
    if unpacked.len() > limit { Err(UnpackError::TooLarge { limit }) } else { Ok(unpacked) }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory takes everything")
}

/// The block form, without frames, as Prometheus uses it.
pub fn unsnap(bytes: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
    let unreadable = |_| UnpackError::Unreadable("snappy");
    if snap::raw::decompress_len(bytes).map_err(unreadable)? > limit {
        return Err(UnpackError::TooLarge { limit });
    }
    snap::raw::Decoder::new().decompress_vec(bytes).map_err(unreadable)
}

pub fn snap(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("what is sent is shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bodies_come_back_up_to_the_limit() {
        let body = vec![7u8; 100_000];
        for (packed, unpack) in [(gzip(&body), gunzip as fn(&[u8], usize) -> _), (snap(&body), unsnap)] {
            assert!(packed.len() < 10_000);
            assert_eq!(unpack(&packed, body.len()).as_ref(), Ok(&body));
            let refused: Result<Vec<u8>, _> = unpack(&packed, body.len() - 1);
            assert_eq!(refused, Err(UnpackError::TooLarge { limit: 99_999 }));
            assert!(matches!(unpack(&packed[..packed.len() / 2], 1 << 20), Err(UnpackError::Unreadable(_))));
        }
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        // Says that it is 4 GiB less one byte.
        let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert_eq!(unsnap(&lie, 1 << 20), Err(UnpackError::TooLarge { limit: 1 << 20 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = gunzip(&bytes, 1000);
            let _ = unsnap(&bytes, 1000);
        }
    }
}
