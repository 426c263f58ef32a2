//! What is spoken on a connection whose port does not say: the client's first bytes tell.
//!
//! A client that says nothing within the window waits for the server to speak first, as those of
//! many databases and mail servers do; it is relayed as it is.

use crate::buffer::BUFFER_BYTES;
use crate::http;
use crate::http::connection::Client;
use crate::stream;
use crate::tcp;
use crate::watch::Side;

/// Longest method looked for.
const MAX_METHOD_BYTES: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    Http,
    Other,
    /// Could become a request line.
    Unclear,
}

/// Looks at the first bytes, then serves the connection accordingly.
pub async fn serve(mut client: Client) {
    let window = client.worker.shared.limits.detect;
    match tokio::time::timeout(window, look(&mut client)).await {
        Ok(Some(Guess::Http)) => http::connection::serve(client).await,
        Ok(None) => {}
        _ => tcp::serve(client).await,
    }
}

/// Reads until the bytes are clear; `None` if the client left.
async fn look(client: &mut Client) -> Option<Guess> {
    let (mut read, _) = client.stream.split();
    loop {
        // Some may have come together with what stood before them.
        match guess(client.buf.filled()) {
            Guess::Unclear => {}
            clear => return Some(clear),
        }
        match stream::fill(&client.watch, Side::Input, &mut read, &mut client.buf, BUFFER_BYTES).await {
            // A client that has only closed its side may still wait for the server's words.
            Ok(0) => return Some(Guess::Other),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// A method of capital letters, a space, and the start of a target.
fn guess(bytes: &[u8]) -> Guess {
    let letters = bytes.iter().take_while(|b| b.is_ascii_uppercase() || **b == b'-').count();
    match &bytes[letters..] {
        _ if letters > MAX_METHOD_BYTES => Guess::Other,
        [] | [b' '] if letters > 0 => Guess::Unclear,
        [] => Guess::Unclear,
        [b' ', b'/' | b'*' | b'h' | b'H', ..] if letters > 0 => Guess::Http,
        _ => Guess::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_are_told_from_other_protocols() {
        for (bytes, expect) in [
            (&b"GET / HTTP/1.1\r\n"[..], Guess::Http),
            (b"OPTIONS *", Guess::Http),
            (b"M-SEARCH http://a/", Guess::Http),
            (b"GE", Guess::Unclear),
            (b"GET ", Guess::Unclear),
            (b"", Guess::Unclear),
            (b" GET /", Guess::Other),
            (b"\x16\x03\x01\x02", Guess::Other),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Guess::Other),
            (b"*1\r\n$4\r\nPING\r\n", Guess::Other),
            (b"PING\r\n", Guess::Other),
            (b"SET a b\r\n", Guess::Other),
            (b"SET / b\r\n", Guess::Http),
            (b"EHLO mail.example\r\n", Guess::Other),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAA", Guess::Other),
        ] {
            assert_eq!(guess(bytes), expect, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
