//! What a port without TLS answers for TLS's sake: the way to https, and the proof that a
//! certificate authority asks for (HTTP-01, RFC 8555 section 8.3).

use super::Body;
use super::connection::Client;
use super::exchange::Next;
use super::field;
use super::request::Request;
use crate::buffer::Scratch;
use crate::log::Access;
use crate::stream;
use crate::watch::Side;

const PROOFS: &[u8] = b"/.well-known/acme-challenge/";
const HTTPS_PORT: u16 = 443;

/// An answer without an instance.
#[derive(Debug, PartialEq, Eq)]
pub enum Lead {
    Proof(Vec<u8>),
    Https(u16),
}

/// Whether some request may be answered here, whatever the rules say to it.
pub fn may_find(client: &Client) -> bool {
    client.route.https_port.is_some() || client.worker.shared.tls.proves()
}

/// What is answered to the request here, if anything is.
pub fn find(client: &Client, request: &Request, head: &[u8]) -> Option<Lead> {
    if client.stream.is_secured() || !client.route.public {
        return None;
    }
    let tls = &client.worker.shared.tls;
    if tls.proves()
        && let Some(token) = head[request.target.clone()].strip_prefix(PROOFS)
        && let Some(proof) = std::str::from_utf8(token).ok().and_then(|token| tls.proof(token))
    {
        return Some(Lead::Proof(proof));
    }
    client.route.https_port.map(Lead::Https)
}

/// Gives the answer, counts and logs.
pub async fn give(client: &mut Client, lead: &Lead, request: &Request, head: &[u8]) -> Next {
    let has_body = !matches!(request.body, Body::None | Body::Length(0));
    let close = has_body || !request.keep_alive || client.watch.retires();
    let mut out = Scratch::take();
    let status = write(lead, request, head, close, &mut out);
    let worker = client.worker.clone();
    let (_, mut write) = client.stream.split();
    let stall = worker.shared.limits.write_stall;
    let sent = stream::write_all(&client.watch, Side::Output, &mut write, &out, stall).await;
    let listener = client.route.counters.shard(worker.index);
    listener.sent(out.len() as u64);
    listener.request(status, 0);
    worker.log.access(&Access {
        rule: None,
        revision: client.route.revision,
        listener: client.route.address,
        backend: &client.route.backend.id,
        instance: None,
        client: &client.peer,
        agent: client.route.public.then(|| field::agent(head)),
        method: &head[request.method.clone()],
        host: &head[request.host.clone()],
        target: &head[request.target.clone()],
        id: &head[request.id.clone()],
        trace: &head[request.trace.clone()],
        status,
        bytes_in: 0,
        bytes_out: out.len() as u64,
        micros: 0,
        fault: None,
        version: client.stream.http_version(),
        grpc_status: None,
    });
    match sent {
        Err(_) => Next::Abort,
        Ok(()) if close => Next::Linger,
        Ok(()) => Next::Keep,
    }
}

/// The whole answer; returns its status.
pub fn write(lead: &Lead, request: &Request, head: &[u8], close: bool, out: &mut Vec<u8>) -> u16 {
    let (status, line, body): (u16, &[u8], &[u8]) = match lead {
        Lead::Proof(proof) => (200, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", proof),
        Lead::Https(_) => (308, b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://", b""),
    };
    out.extend_from_slice(line);
    if let Lead::Https(port) = lead {
        out.extend_from_slice(without_port(&head[request.host.clone()]));
        if *port != HTTPS_PORT {
            out.push(b':');
            field::push_number(out, u64::from(*port));
        }
        // What is asked of the whole server has no place of its own.
        let target = &head[request.target.clone()];
        out.extend_from_slice(if target == b"*" { b"/" } else { target });
        out.extend_from_slice(b"\r\n");
    }
    field::push_length(out, body.len() as u64);
    if close {
        field::push(out, "Connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    if !request.head {
        out.extend_from_slice(body);
    }
    status
}

/// A host that was checked before; brackets belong to it.
fn without_port(authority: &[u8]) -> &[u8] {
    let from = authority.iter().position(|byte| *byte == b']').unwrap_or(0);
    let colon = authority[from..].iter().position(|byte| *byte == b':');
    &authority[..colon.map_or(authority.len(), |colon| from + colon)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_without_its_port() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a.example:8080", "a.example"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("10.0.0.1:80", "10.0.0.1"),
        ] {
            assert_eq!(without_port(authority.as_bytes()), host.as_bytes());
        }
    }
}
