//! A netlink socket: sends batches of requests and collects every answer. The kernel works
//! through a batch inside `send`, so what one batch asks is done or refused when it returns.

use crate::wire::{self, HEADER_LEN, Message};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Requests per `send`: each answer takes up to 1 KiB of the socket's receive buffer of 208 KiB.
const BATCH_MAX: usize = 64;
/// Times a listing is repeated because it changed while it was read.
const LISTING_ATTEMPTS: u32 = 16;
/// The kernel answers at once; a longer silence is an error and never a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// More than the kernel puts in one datagram (32 KiB).
const BUFFER_LEN: usize = 64 * 1024;

/// One answer to a request: its message type and its body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub kind: u16,
    pub body: Vec<u8>,
}

pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// For links, addresses and routes, in the network namespace of the calling thread for good.
    pub fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// For the firewall.
    pub fn netfilter() -> io::Result<Self> {
        let protocol = u32::try_from(libc::NETLINK_NETFILTER).ok().and_then(std::num::NonZeroU32::new);
        Self::open(protocol.map(Protocol::from_raw))
    }

    /// For asking about sockets.
    pub fn diagnosis() -> io::Result<Self> {
        let protocol = u32::try_from(libc::NETLINK_INET_DIAG).ok().and_then(std::num::NonZeroU32::new);
        Self::open(protocol.map(Protocol::from_raw))
    }

    /// What `into_file` gave.
    pub fn from_file(fd: OwnedFd) -> Self {
        Self { fd, sequence: 1, buffer: vec![0; BUFFER_LEN] }
    }

    /// The socket without its buffer, to be kept for long.
    pub fn into_file(self) -> OwnedFd {
        self.fd
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        sockopt::set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self::from_file(fd))
    }

    /// Sends all requests, in order, and returns for each its answers or the kernel's refusal.
    /// A refusal does not stop the requests after it.
    pub fn ask(&mut self, requests: &[Message]) -> io::Result<Vec<Result<Vec<Answer>, Errno>>> {
        let mut results = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(BATCH_MAX) {
            results.extend(self.ask_chunk(chunk)?);
        }
        Ok(results)
    }

    /// One request whose refusal is an error.
    pub fn ask_one(&mut self, request: Message) -> io::Result<Vec<Answer>> {
        let mut results = self.ask(std::slice::from_ref(&request))?;
        Ok(results.remove(0)?)
    }

    fn ask_chunk(&mut self, requests: &[Message]) -> io::Result<Vec<Result<Vec<Answer>, Errno>>> {
        let first = self.sequence;
        let mut datagram = Vec::new();
        for (index, request) in (0u32..).zip(requests) {
            request.write(&mut datagram, libc::NLM_F_ACK as u16, first.wrapping_add(index));
        }
        self.sequence = first.wrapping_add(requests.len() as u32);
        self.send(&datagram)?;
        let mut results: Vec<Option<Result<(), Errno>>> = vec![None; requests.len()];
        let mut answers = vec![Vec::new(); requests.len()];
        while results.iter().any(Option::is_none) {
            let len = self.receive()?;
            for message in wire::messages(&self.buffer[..len]) {
                let index = message.sequence.wrapping_sub(first) as usize;
                if index >= requests.len() {
                    continue;
                }
                match acknowledgement(&message) {
                    Some(result) => results[index] = Some(result),
                    None => answers[index].push(Answer { kind: message.kind, body: message.body.to_vec() }),
                }
            }
        }
        let complete = results.into_iter().map(|r| r.expect("the loop ends when all are there"));
        Ok(complete.zip(answers).map(|(result, answers)| result.map(|()| answers)).collect())
    }

    /// Everything a listing request (`NLM_F_DUMP`) yields, repeated while it changes underfoot.
    pub fn list(&mut self, request: &Message) -> io::Result<Vec<Answer>> {
        for _ in 0..LISTING_ATTEMPTS {
            if let Some(answers) = self.list_once(request)? {
                return Ok(answers);
            }
        }
        Err(io::Error::other("the listing changed each time it was read"))
    }

    fn list_once(&mut self, request: &Message) -> io::Result<Option<Vec<Answer>>> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        request.write(&mut datagram, libc::NLM_F_DUMP as u16, sequence);
        self.send(&datagram)?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            let len = self.receive()?;
            for message in wire::messages(&self.buffer[..len]).filter(|m| m.sequence == sequence) {
                interrupted |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                if i32::from(message.kind) == libc::NLMSG_DONE {
                    return Ok((!interrupted).then_some(answers));
                }
                match acknowledgement(&message) {
                    Some(result) => result?,
                    None => answers.push(Answer { kind: message.kind, body: message.body.to_vec() }),
                }
            }
        }
    }

    /// Sends one transaction as it stands and returns the first refusal, if any. The sender set
    /// `NLM_F_ACK` on at least one message, so that an answer is certain.
    pub fn transact(&mut self, datagram: &[u8]) -> io::Result<Result<(), Errno>> {
        // The transaction must fit into one datagram; the default send buffer is 208 KiB.
        if sockopt::set_socket_send_buffer_size_force(&self.fd, 2 * datagram.len().max(BUFFER_LEN)).is_err() {
            sockopt::set_socket_send_buffer_size(&self.fd, 2 * datagram.len().max(BUFFER_LEN))?;
        }
        self.send(datagram)?;
        let mut refusal = Ok(());
        let mut flags = RecvFlags::empty();
        loop {
            let len = match rustix::net::recv(&self.fd, &mut self.buffer[..], flags) {
                Ok((_, len)) => len,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) if flags == RecvFlags::DONTWAIT => return Ok(refusal),
                Err(error) => return Err(error.into()),
            };
            // All answers are queued by the time `send` returns: wait for the first, drain the rest.
            flags = RecvFlags::DONTWAIT;
            for message in wire::messages(&self.buffer[..len]) {
                if let (Ok(()), Some(result)) = (refusal, acknowledgement(&message)) {
                    refusal = result;
                }
            }
        }
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, datagram, SendFlags::empty()))?;
        if sent != datagram.len() {
            return Err(io::Error::other("the kernel took only a part of the request"));
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<usize> {
        let fd = &self.fd;
        let buffer = &mut self.buffer;
        let (_, len) =
            rustix::io::retry_on_intr(|| rustix::net::recv(fd, &mut buffer[..], RecvFlags::empty()))?;
        if len < HEADER_LEN {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer shorter than its header"));
        }
        Ok(len)
    }
}

/// What an acknowledgement says; `None` for any other message.
fn acknowledgement(message: &wire::Received<'_>) -> Option<Result<(), Errno>> {
    if i32::from(message.kind) != libc::NLMSG_ERROR {
        return None;
    }
    let code = wire::u32_at(message.body, 0)? as i32;
    Some(if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code.wrapping_neg())) })
}
