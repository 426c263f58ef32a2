//! An answer compressed on its way: read by its own framing, written in chunks. What the encoder
//! holds back is let go as soon as the instance has nothing more to say, so that nobody waits for
//! what was sent.

use super::Body;
use super::chunked::{self, Chunked, Into};
use super::transfer::{Fault, Transfer};
use crate::buffer::{BUFFER_BYTES, Buf, Scratch};
use crate::policy::compress::Encoding;
use crate::stream::client::ClientWrite;
use crate::stream::upstream::UpstreamRead;
use flate2::write::GzEncoder;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use zstd::zstd_safe::CParameter;

/// Answers that are compressed at a time in this process; the others pass as they are.
const MAX_ENCODERS: usize = 256;
/// Between the fastest and what still pays: nginx and Caddy have 1 and 5 for gzip.
const GZIP_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Bytes that zstd looks back, as a power of two: 128 KiB, where the level alone would take 2 MiB.
const ZSTD_WINDOW_LOG: u32 = 17;

static ENCODERS: AtomicUsize = AtomicUsize::new(0);

/// Whether another answer may be compressed now.
pub fn has_room() -> bool {
    ENCODERS.load(Relaxed) < MAX_ENCODERS
}

/// One answer's encoder.
pub struct Encoder {
    kind: Kind,
    /// Something was put in that has not come out.
    holds: bool,
    _place: Place,
}

enum Kind {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

struct Place;

impl Place {
    fn take() -> Self {
        ENCODERS.fetch_add(1, Relaxed);
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        ENCODERS.fetch_sub(1, Relaxed);
    }
}

impl Encoder {
    pub fn new(encoding: Encoding) -> io::Result<Self> {
        let place = Place::take();
        let kind = match encoding {
            Encoding::Gzip => Kind::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL))),
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
                Kind::Zstd(encoder)
            }
        };
        Ok(Self { kind, holds: false, _place: place })
    }

    pub fn put(&mut self, data: &[u8]) -> io::Result<()> {
        self.holds |= !data.is_empty();
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.write_all(data),
            Kind::Zstd(encoder) => encoder.write_all(data),
        }
    }

    /// Lets everything out that was put in.
    pub fn flush(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.holds) {
            return Ok(());
        }
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.flush(),
            Kind::Zstd(encoder) => encoder.flush(),
        }
    }

    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Gzip(encoder) => encoder.try_finish(),
            Kind::Zstd(encoder) => encoder.do_finish(),
        }
    }

    /// Moves what has come out behind `out`, as a chunk.
    pub fn take_into(&mut self, out: &mut Vec<u8>) {
        let packed = match &mut self.kind {
            Kind::Gzip(encoder) => encoder.get_mut(),
            Kind::Zstd(encoder) => encoder.get_mut(),
        };
        chunked::push_data(packed, Into::Chunks, out);
        packed.clear();
    }
}

/// Memory ran out, or the library is broken: the answer cannot be completed.
fn failed(_: io::Error) -> Fault {
    Fault::UpstreamBad("the response could not be compressed")
}

/// The content of an answer out of what frames it.
enum Content {
    Length(u64),
    Chunks(Box<Chunked>),
    UntilClose,
    Ended,
}

impl Content {
    fn of(body: Body) -> Self {
        match body {
            Body::None => Self::Ended,
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::Chunks(Box::new(Chunked::new())),
            Body::UntilClose => Self::UntilClose,
        }
    }

    /// Puts what is in `buf` into the encoder.
    fn pass(&mut self, buf: &mut Buf, encoder: &mut Encoder) -> Result<(), Fault> {
        match self {
            Self::Length(left) => {
                let count = (*left).min(buf.len() as u64) as usize;
                encoder.put(&buf.filled()[..count]).map_err(failed)?;
                buf.consume(count);
                *left -= count as u64;
            }
            Self::Chunks(chunked) => {
                let mut plain = Scratch::take();
                let taken =
                    chunked.step(buf.filled(), Into::Plain, &mut plain).map_err(Fault::UpstreamBad)?;
                encoder.put(&plain).map_err(failed)?;
                buf.consume(taken);
            }
            Self::UntilClose => {
                encoder.put(buf.filled()).map_err(failed)?;
                buf.consume(buf.len());
            }
            Self::Ended => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunks(chunked) => chunked.is_done(),
            Self::UntilClose => false,
            Self::Ended => true,
        }
    }
}

impl Transfer<'_> {
    /// Hands the answer on compressed; `out` begins with its head. Trailers are left away: what they
    /// say of the content is not so of what is sent.
    pub(super) async fn forward_encoded(
        &self,
        (encoding, body): (Encoding, Body),
        mut out: Scratch,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
        write: &mut ClientWrite<'_>,
    ) -> Result<(), Fault> {
        let mut encoder = Encoder::new(encoding).map_err(failed)?;
        let mut content = Content::of(body);
        loop {
            let passed = content.pass(buf, &mut encoder);
            if content.is_done() && passed.is_ok() {
                encoder.finish().map_err(failed)?;
                encoder.take_into(&mut out);
                out.extend_from_slice(b"0\r\n\r\n");
                return self.final_head(write, &out).await;
            }
            encoder.take_into(&mut out);
            if passed.is_err() || out.len() >= BUFFER_BYTES {
                self.final_head(write, &out).await?;
                out.clear();
                passed?;
            }
            let mut more = pin!(self.await_upstream(read, buf, BUFFER_BYTES, self.rules.idle));
            let count = match now(more.as_mut()).await {
                Some(outcome) => outcome?,
                None => {
                    encoder.flush().map_err(failed)?;
                    encoder.take_into(&mut out);
                    self.final_head(write, &out).await?;
                    out.clear();
                    // Writing has its own time, and has taken that of the wait away.
                    self.arm_upstream(self.rules.idle);
                    more.await?
                }
            };
            match content {
                _ if count > 0 => {}
                Content::UntilClose => content = Content::Ended,
                _ => return Err(Fault::UpstreamGone),
            }
        }
    }
}

/// What is there already.
async fn now<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn plain(encoding: Encoding, packed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Gzip => flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut out),
            Encoding::Zstd => {
                zstd::stream::read::Decoder::new(packed).expect("it is one").read_to_end(&mut out)
            }
        }
        .expect("it is whole");
        out
    }

    #[test]
    fn what_is_put_in_comes_out_after_each_flush_and_whole_at_the_end() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let mut encoder = Encoder::new(encoding).expect("there is memory");
            let (mut chunks, mut before) = (Vec::new(), 0);
            for part in [&b"one "[..], b"two ", b"three"] {
                encoder.put(part).expect("there is memory");
                encoder.flush().expect("there is memory");
                encoder.take_into(&mut chunks);
                assert!(chunks.len() > before, "{encoding:?}: a flush lets something out");
                before = chunks.len();
            }
            encoder.flush().expect("there is memory");
            encoder.take_into(&mut chunks);
            assert_eq!(chunks.len(), before, "{encoding:?}: nothing was held");
            encoder.finish().expect("there is memory");
            encoder.take_into(&mut chunks);
            chunks.extend_from_slice(b"0\r\n\r\n");
            let mut packed = Vec::new();
            Chunked::new().step(&chunks, Into::Plain, &mut packed).expect("they are chunks");
            assert_eq!(plain(encoding, &packed), b"one two three", "{encoding:?}");
        }
    }
}
