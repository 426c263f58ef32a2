//! Files of a directory as answers: `find` by `path`, judged by `conditions`, opened by `open`, sent
//! by `send`. Disks are waited for beside the thread that serves, never in it.

pub mod conditions;
mod open;
pub mod path;
mod send;
mod types;

use crate::buffer::Scratch;
use crate::http::answer;
use crate::http::connection::Client;
use crate::http::exchange::{self, Finished, Next};
use crate::http::field;
use crate::http::request::{Refusal, Request};
use crate::policy::compress::Accepted;
use crate::rules::Rule;
use crate::stream;
use crate::watch::Side;
use conditions::Wanted;
use open::{Found, Opened};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

/// How long a disk may take for one look or one read.
pub(crate) const MAX_DISK_TIME: Duration = Duration::from_secs(30);
const NOT_FOUND: Refusal = Refusal { status: 404, reason: "there is no such file" };
const ONLY_READ: Refusal = Refusal { status: 405, reason: "files can only be read" };
const OTHER: Refusal = Refusal { status: 412, reason: "the file is another one by now" };
const UNREADABLE: Refusal = Refusal { status: 500, reason: "the file could not be read" };
const TOO_SLOW: Refusal = Refusal { status: 503, reason: "the disk did not answer in time" };

/// What an answer consists of.
enum Answer {
    Refused(Refusal),
    /// No such part of a file of so many bytes.
    NoPart(u64),
    /// To the same path with a slash behind it.
    Directory,
    File(Box<Opened>, Wanted),
}

/// Serves a request from the directory of its rule.
pub async fn serve(
    client: &mut Client,
    (request, head): (&Request, &[u8]),
    (rule, root): (&Rule, &Arc<PathBuf>),
    started: Instant,
) -> Next {
    let answer = look(client, request, head, rule, root).await;
    let keep = exchange::keeps(client, request);
    let mut out = Scratch::take();
    let (status, body) = write(&answer, (request, head), rule, !keep, &mut out);
    let stall = client.worker.shared.limits.write_stall;
    let (_, mut write) = client.stream.split();
    let mut sent = stream::write_all(&client.watch, Side::Output, &mut write, &out, stall).await;
    let mut bytes = out.len() as u64;
    drop(out);
    if let (Ok(()), Answer::File(opened, _), Some(part)) = (&sent, answer, body) {
        let (more, outcome) = send::part(&client.watch, &mut write, opened.file, part, stall).await;
        bytes += more;
        sent = outcome;
    }
    client.route.counters.shard(client.worker.index).sent(bytes);
    let fault = sent.is_err().then_some("the file was not sent to its end");
    let finished = Finished { status, bytes_in: 0, bytes_out: bytes, fault };
    exchange::note(client, request, head, &finished, None, started);
    match (sent.is_err(), keep) {
        (true, _) => Next::Abort,
        (false, true) => Next::Keep,
        (false, false) => Next::Linger,
    }
}

async fn look(client: &Client, request: &Request, head: &[u8], rule: &Rule, root: &Arc<PathBuf>) -> Answer {
    if !matches!(&head[request.method.clone()], b"GET" | b"HEAD") {
        return Answer::Refused(ONLY_READ);
    }
    let target = std::str::from_utf8(&head[request.target.clone()]).unwrap_or_default();
    // What a rewrite has put in place of the prefix is part of the path.
    let prefix = rule.prefix.as_deref().filter(|_| rule.edits.prefix.is_none()).unwrap_or_default();
    let Some(place) = path::place(target, prefix) else { return Answer::Refused(NOT_FOUND) };
    let (root, accepted) = (root.clone(), Accepted::of(head));
    let named = root.clone();
    let looking = spawn_blocking(move || open::find(&root, &place.path, place.is_directory, accepted));
    match tokio::time::timeout(MAX_DISK_TIME, looking).await {
        Err(_) => Answer::Refused(TOO_SLOW),
        Ok(Ok(Ok(Found::Nothing))) => Answer::Refused(NOT_FOUND),
        Ok(Ok(Ok(Found::Directory))) => Answer::Directory,
        Ok(Ok(Ok(Found::File(opened)))) => match conditions::judge(head, &opened.version) {
            Wanted::Other => Answer::Refused(OTHER),
            Wanted::NoPart => Answer::NoPart(opened.version.length),
            wanted => Answer::File(Box::new(opened), wanted),
        },
        Ok(Ok(Err(error))) => unreadable(client, &named, &error),
        Ok(Err(panicked)) => unreadable(client, &named, &io::Error::other(panicked)),
    }
}

fn unreadable(client: &Client, root: &Path, error: &io::Error) -> Answer {
    client.worker.say(&format!("files of {}: {error}", root.display()));
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Answer::Refused(NOT_FOUND),
        _ => Answer::Refused(UNREADABLE),
    }
}

/// Writes the head, and the body where it is not a file's; the status, and what of the file follows.
fn write(
    answer: &Answer,
    (request, head): (&Request, &[u8]),
    rule: &Rule,
    close: bool,
    out: &mut Vec<u8>,
) -> (u16, Option<(u64, u64)>) {
    let id = &head[request.id.clone()];
    match answer {
        Answer::Refused(refusal) => {
            answer::write(*refusal, Some(id), request.head, close, None, out);
            if refusal.status == 405 {
                answer::add_field(out, "Allow", b"GET, HEAD");
            }
            (refusal.status, None)
        }
        Answer::NoPart(length) => {
            let refusal = Refusal { status: 416, reason: "the file has no such part" };
            answer::write(refusal, Some(id), request.head, close, None, out);
            answer::add_field(out, "Content-Range", format!("bytes */{length}").as_bytes());
            (416, None)
        }
        Answer::Directory => {
            answer::begin(301, id, &rule.edits.response, close, out);
            field::push(out, "Location", &with_slash(request.target(head)));
            field::push_length(out, 0);
            out.extend_from_slice(b"\r\n");
            (301, None)
        }
        Answer::File(opened, wanted) => write_file(opened, wanted, (request, id), rule, close, out),
    }
}

fn write_file(
    opened: &Opened,
    wanted: &Wanted,
    (request, id): (&Request, &[u8]),
    rule: &Rule,
    close: bool,
    out: &mut Vec<u8>,
) -> (u16, Option<(u64, u64)>) {
    let length = opened.version.length;
    let (status, from, count) = match wanted {
        Wanted::Part(part) => (206, *part.start(), part.end() - part.start() + 1),
        Wanted::Known => (304, 0, 0),
        _ => (200, 0, length),
    };
    let edits = &rule.edits.response;
    answer::begin(status, id, edits, close, out);
    let mut push = |name: &str, value: &[u8]| {
        if !field::is_edited(edits, name) {
            field::push(out, name, value);
        }
    };
    if status != 304 {
        push("Content-Type", types::of(&opened.name).as_bytes());
        push("X-Content-Type-Options", b"nosniff");
        push("Accept-Ranges", b"bytes");
        if let Some(coding) = opened.packed {
            push("Content-Encoding", coding.as_bytes());
        }
    }
    push("ETag", opened.version.etag.as_bytes());
    push("Last-Modified", opened.version.date().as_bytes());
    if opened.varies {
        push("Vary", b"Accept-Encoding");
    }
    if status == 206 {
        field::push(out, "Content-Range", format!("bytes {from}-{}/{length}", from + count - 1).as_bytes());
    }
    if status != 304 {
        field::push_length(out, count);
    }
    out.extend_from_slice(b"\r\n");
    (status, (status != 304 && !request.head).then_some((from, count)))
}

/// The path of a target with a slash at its end. Not one with two at its beginning: that would name
/// another host.
fn with_slash(target: &[u8]) -> Vec<u8> {
    let end = target.iter().position(|&b| b == b'?').unwrap_or(target.len());
    let slashes = target[..end].iter().take_while(|&&b| b == b'/').count();
    let mut location = b"/".to_vec();
    location.extend_from_slice(&target[slashes..end]);
    location.push(b'/');
    location.extend_from_slice(&target[end..]);
    location
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_found_on_the_same_host() {
        for (target, expect) in [
            ("/a", "/a/"),
            ("/a?b=/c", "/a/?b=/c"),
            ("//evil.example", "/evil.example/"),
            ("///a/b", "/a/b/"),
        ] {
            assert_eq!(with_slash(target.as_bytes()), expect.as_bytes(), "{target}");
        }
    }
}
