//! Reading whatever an archive or registry packs its data with, told apart by its first bytes.

use std::io::{self, Cursor, Read};

/// More memory than this no xz stream needs; Debian's use up to 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;
/// zstd's own bound for streams that do not ask for long distance matching, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const LONGEST_MAGIC: usize = 6;

/// The unpacked stream of an xz, gzip, zstd or plain one.
pub fn decompress<'a>(mut reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::with_capacity(LONGEST_MAGIC);
    reader.by_ref().take(LONGEST_MAGIC as u64).read_to_end(&mut head)?;
    let kind = (head.starts_with(b"\xFD7zXZ\0"), head.starts_with(&[0x1F, 0x8B]), is_zstd(&head));
    let whole = Cursor::new(head).chain(reader);
    Ok(match kind {
        (true, _, _) => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, liblzma::stream::CONCATENATED)
                    .map_err(io::Error::other)?;
            Box::new(liblzma::read::XzDecoder::new_stream(
                io::BufReader::with_capacity(64 << 10, whole),
                stream,
            ))
        }
        (_, true, _) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        (_, _, true) => {
            let mut decoder = zstd::stream::read::Decoder::new(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        _ => Box::new(whole),
    })
}

/// A frame, or a skippable frame such as those in which zstd:chunked keeps its index.
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(&[0x28, 0xB5, 0x2F, 0xFD])
        || (head.len() >= 4 && (0x50..=0x5F).contains(&head[0]) && head[1..4] == [0x2A, 0x4D, 0x18])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_form_is_told_by_its_beginning() {
        let text = b"the same text in every form".repeat(50);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        let forms = [
            text.clone(),
            gzip.finish().unwrap(),
            xz.finish().unwrap(),
            zstd::encode_all(&text[..], 1).unwrap(),
        ];
        for form in &forms {
            let mut out = Vec::new();
            decompress(&form[..]).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, text);
        }
        for form in &forms[1..] {
            let cut = &form[..form.len() - 3];
            assert!(decompress(cut).unwrap().read_to_end(&mut Vec::new()).is_err());
        }
    }
}
