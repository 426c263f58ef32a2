//! What a gateway process is told at its start, and every limit it keeps, in one place.

use std::path::PathBuf;
use std::time::Duration;

/// Where a gateway finds and leaves its things.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Unix socket on which the daemon speaks to the gateway; only the same user may connect.
    pub control_socket: PathBuf,
    /// The last table that was put in force.
    pub table_file: PathBuf,
    /// Where the daemon leaves certificates.
    pub certificates: PathBuf,
    pub pid_file: Option<PathBuf>,
    /// Worker threads; one per core when absent.
    pub threads: Option<usize>,
    /// The gateway's own messages; standard error when absent.
    pub log: Option<PathBuf>,
    /// One JSON line for each request; none when absent.
    pub access_log: Option<PathBuf>,
    /// Where the host's resolvers are written.
    pub resolv_conf: PathBuf,
    /// Port on which names are answered.
    pub name_port: u16,
    /// Takes the sockets and the table of the gateway that runs there, instead of refusing to
    /// start beside it.
    pub take_over: bool,
    /// The network that instances and services' addresses are in, where that is not the host's.
    pub inside: Option<PathBuf>,
    pub limits: Limits,
}

impl GatewayOptions {
    pub fn new(control_socket: impl Into<PathBuf>, table_file: impl Into<PathBuf>) -> Self {
        let table_file = table_file.into();
        Self {
            control_socket: control_socket.into(),
            certificates: table_file.with_file_name("certificates"),
            table_file,
            pid_file: None,
            threads: None,
            log: None,
            access_log: None,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            name_port: 53,
            take_over: false,
            inside: None,
            limits: Limits::default(),
        }
    }
}

/// Request line and header fields together, in bytes (431 beyond).
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Header fields in one message (431 beyond).
pub const MAX_FIELDS: usize = 100;
/// Request target in bytes (414 beyond).
pub const MAX_TARGET_BYTES: usize = 8 * 1024;
/// Interim (1xx) responses before the final one.
pub const MAX_INTERIM: u32 = 16;
/// Upstream connections tried for one request, the first included.
pub const MAX_ATTEMPTS: u32 = 3;
/// Bytes read and thrown away after a refusal, so that the client can read the answer.
pub const MAX_LINGER_BYTES: usize = 256 * 1024;
/// Idle upstream connections kept by one thread for one endpoint.
pub const MAX_IDLE_UPSTREAM: usize = 256;
/// Requests and connections of one thread that wait for one backend to be ready (503 beyond).
pub const MAX_HELD: usize = 1024;
/// Bytes of one of them in memory beside its bookkeeping; what has sent more is not held.
pub const MAX_HELD_BYTES: usize = 24 * 1024;
/// Clients' addresses and ports that are talking over UDP at one time, of all and of one client's
/// address; beyond, questions that were answered a second ago make room, then datagrams are lost.
pub const MAX_FLOWS: usize = 65_536;
pub const MAX_FLOWS_OF_CLIENT: usize = 8192;
/// Bytes of datagrams waiting in one listening socket, beyond which they are lost.
pub const DATAGRAM_BUFFER_BYTES: usize = 4 << 20;
/// TLS handshakes of one thread under way; further connections are closed.
pub const MAX_HANDSHAKES: usize = 1024;
/// Streams that a client of HTTP/2 may have open on one connection, and all clients of one thread
/// together; further ones are refused, which says that they may be sent again.
pub const MAX_HTTP2_STREAMS: u32 = 128;
pub const MAX_STREAMS_OF_THREAD: usize = 32_768;
/// Bytes of requests' bodies that may be on their way in one stream and in one connection.
pub const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
pub const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams on one connection to an instance, fewer where it says so; further requests open another.
pub const MAX_UPSTREAM_STREAMS: u32 = 100;
/// Bytes of an instance's answer that may be on their way in one stream.
pub const HTTP2_UPSTREAM_WINDOW: u32 = 64 * 1024;
/// Bytes of one stream that wait for the socket.
pub const HTTP2_SEND_BUFFER: usize = 32 * 1024;
/// Streams of one connection that were reset and are still remembered: by the client before they
/// were looked at, and by us for what the client did wrong (GOAWAY beyond).
pub const MAX_RESETS: usize = 32;
/// Streams that a client outside may give up beyond those that it sees to their end (GOAWAY beyond).
pub const MAX_GIVEN_UP: u64 = 200;
/// Frames in one second that carry nothing, as pings and settings (GOAWAY beyond).
pub const MAX_EMPTY_FRAMES: u32 = 2000;
/// Certificates in the directory, and bytes of one with its chain and key.
pub const MAX_CERTIFICATES: usize = 4096;
pub const MAX_CERTIFICATE_BYTES: usize = 256 * 1024;
/// Pending connections of one listener.
pub const BACKLOG: i32 = 4096;
/// Pairs of a caller and a backend that are counted apart; the rest is counted together.
pub const MAX_PAIRS: usize = 1024;
/// Listeners, backends and zones of one table.
pub const MAX_TABLE_ENTRIES: usize = 4096;
/// Rules of one table.
pub const MAX_RULES: usize = 20_000;
/// Bytes of one line on the control socket.
pub const MAX_CONTROL_LINE: usize = 16 * 1024 * 1024;
/// Connections on the control socket at one time.
pub const MAX_CONTROL_CONNECTIONS: usize = 32;

/// Times and numbers that tests shorten; the defaults are the product.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long `auto` waits for the client's first bytes before it takes the protocol for raw TCP.
    pub detect: Duration,
    /// From the acceptance of a connection on a port that speaks TLS to the end of the handshake.
    pub handshake: Duration,
    /// From a request's first byte to the end of its header (408).
    pub header: Duration,
    /// A kept-alive client connection without a request.
    pub keep_alive: Duration,
    /// Within this much time a client must send [`Limits::min_progress`] bytes of its body (408).
    pub body_progress: Duration,
    pub min_progress: u64,
    /// A client that takes none of the bytes sent to it.
    pub write_stall: Duration,
    pub connect: Duration,
    /// From the request's end to the response's header (504).
    pub response_header: Duration,
    /// Silence inside a response body; long, because event streams are silent.
    pub response_idle: Duration,
    /// What a response may still take once the client has stopped sending for good.
    pub half_closed: Duration,
    /// An idle upstream connection is reused only this long; many servers close after 5 s.
    pub upstream_idle: Duration,
    /// The same for requests that cannot be repeated.
    pub upstream_idle_unsafe: Duration,
    /// An endpoint that could not be connected to is avoided this long while others are there.
    pub suspect: Duration,
    /// Time to read away what a refused client still sends.
    pub linger: Duration,
    /// Client connections of one thread; beyond, they wait in the listener's backlog.
    pub connections_per_thread: usize,
    /// Addresses that could not be bound are tried again this often.
    pub bind_retry: Duration,
    /// What SIGTERM, or a successor, leaves to what is under way.
    pub grace: Duration,
    /// How long a successor may take from the first word until it is ready, and from being let to
    /// serving; connections wait during the second.
    pub successor_ready: Duration,
    pub successor_serves: Duration,
    /// Access log: bytes before it is rotated, and how many rotated files stay.
    pub access_log_bytes: u64,
    pub access_log_files: u32,
    /// A UDP client that says and hears nothing is forgotten after this: one that kept talking for
    /// two seconds, and one that only asked something.
    pub datagram_idle: Duration,
    pub datagram_short_idle: Duration,
    /// How long one of the host's resolvers may take.
    pub name_forward: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            detect: Duration::from_millis(10),
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            body_progress: Duration::from_secs(30),
            min_progress: 1024,
            write_stall: Duration::from_secs(60),
            connect: Duration::from_secs(2),
            response_header: Duration::from_secs(60),
            response_idle: Duration::from_secs(600),
            half_closed: Duration::from_secs(5),
            upstream_idle: Duration::from_secs(4),
            upstream_idle_unsafe: Duration::from_secs(1),
            suspect: Duration::from_secs(1),
            linger: Duration::from_secs(2),
            connections_per_thread: 16_384,
            bind_retry: Duration::from_secs(3),
            grace: Duration::from_secs(30),
            successor_ready: Duration::from_secs(5),
            successor_serves: Duration::from_secs(2),
            access_log_bytes: 16 << 20,
            access_log_files: 3,
            datagram_idle: Duration::from_secs(60),
            datagram_short_idle: Duration::from_secs(10),
            name_forward: Duration::from_secs(2),
        }
    }
}
